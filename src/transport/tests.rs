//! What goes over the wire and what comes back, over real sockets.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use rustls::RootCertStore;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::client::{Exchange, Transport};
use super::egress::EgressPolicy;
use super::resolver::{LookUp, Resolver};
use crate::domain::concealed::Concealed;
use crate::domain::outcome::Failure;
use crate::domain::postback::Timeouts;
use crate::domain::request::{PreparedRequest, RecordedRequest};
use crate::receiver::{Receiver, ReceiverOptions, Script};

const RESPONSE_CAP: usize = 64 * 1024;

fn timeouts(connect: u64, first_byte: u64, total: u64) -> Timeouts {
    let millis = Duration::from_millis;
    Timeouts { connect: millis(connect), first_byte: millis(first_byte), total: millis(total) }
}

fn patient() -> Timeouts {
    timeouts(20_000, 20_000, 20_000)
}

fn get(url: &str) -> PreparedRequest {
    let (method, url, body) = ("GET".to_owned(), url.to_owned(), String::new());
    let record = RecordedRequest { method: method.clone(), url: url.clone(), headers: Vec::new(), body };
    PreparedRequest {
        method,
        url,
        headers: Vec::new(),
        body: Bytes::new(),
        record,
        digest: [0; 32],
        concealed: Concealed::default(),
    }
}

/// A transport that may connect to a network and finds these addresses for every name.
fn transport(allowed: &str, ports: &[u16], addresses: &[IpAddr]) -> Transport {
    let egress = Arc::new(EgressPolicy { allow: vec![allowed.parse().unwrap()], ports: ports.to_vec() });
    let addresses = addresses.to_vec();
    let look_up: LookUp = Arc::new(move |_| Ok(addresses.clone()));
    let resolver = Resolver::asking(Arc::clone(&egress), look_up);
    Transport::assembled(egress, RESPONSE_CAP, resolver, RootCertStore::empty()).unwrap()
}

async fn receiver(listen: SocketAddr, script: &str) -> Receiver {
    let script = Script::parse(script).unwrap();
    Receiver::start(ReceiverOptions { listen, script, ..ReceiverOptions::default() }).await.unwrap()
}

/// What one request to a receiver with such a script comes to.
async fn exchange(script: &str, timeouts: Timeouts) -> (Exchange, Receiver) {
    let receiver = receiver(SocketAddr::from(([127, 0, 0, 1], 0)), script).await;
    let transport = transport("127.0.0.0/8", &[receiver.address().port()], &[]);
    (transport.send(get(&receiver.url("/postback")), timeouts).await, receiver)
}

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const SILENT: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// An address that answers no connection: its queue is full, so that the system drops what comes.
struct Silence {
    port: u16,
    _listener: TcpListener,
    _queued: TcpStream,
}

async fn silence() -> Silence {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(SILENT, 0)).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let queued = TcpStream::connect(address).await.unwrap();
    Silence { port: address.port(), _listener: listener, _queued: queued }
}

#[tokio::test]
async fn an_address_that_does_not_answer_leaves_time_for_the_next() {
    let silence = silence().await;
    let receiver = receiver(SocketAddr::new(HERE, silence.port), "200").await;
    let transport = transport("127.0.0.0/8", &[silence.port], &[SILENT, HERE]);
    let url = format!("http://two.example:{}/postback", silence.port);
    let sent = transport.send(get(&url), timeouts(2_000, 20_000, 20_000)).await;
    assert_eq!(sent.result.unwrap().status, 200);
    assert_eq!(sent.remote, Some(receiver.address()));
    let connect = sent.timings.connect.unwrap();
    assert!(connect >= Duration::from_millis(900), "the first address was tried for its half: {connect:?}");
    assert!(sent.timings.dns.is_some() && sent.timings.tls.is_none());
}

#[tokio::test]
async fn addresses_that_do_not_answer_are_given_up_at_the_connect_deadline() {
    let silence = silence().await;
    let url = format!("http://one.example:{}/postback", silence.port);
    for addresses in [&[SILENT][..], &[SILENT, SILENT, SILENT]] {
        let transport = transport("127.0.0.0/8", &[silence.port], addresses);
        let sent = transport.send(get(&url), timeouts(150, 20_000, 20_000)).await;
        let stopped = sent.result.unwrap_err();
        assert_eq!((stopped.failure, stopped.error.as_str()), (Failure::Unreachable, "no connection within 150ms"));
        assert!(sent.timings.total < Duration::from_secs(10), "{:?}", sent.timings);
    }
}

#[tokio::test]
async fn a_name_with_one_forbidden_address_is_not_connected_to_at_all() {
    let receiver = receiver(SocketAddr::from(([127, 0, 0, 1], 0)), "200").await;
    let port = receiver.address().port();
    for addresses in [[HERE, SILENT], [SILENT, HERE]] {
        let transport = transport("127.0.0.1/32", &[port], &addresses);
        let sent = transport.send(get(&format!("http://two.example:{port}/")), patient()).await;
        let stopped = sent.result.unwrap_err();
        assert_eq!(stopped.failure, Failure::Blocked);
        assert!(stopped.error.contains("127.0.0.2"), "{}", stopped.error);
    }
    let transport = transport("127.0.0.1/32", &[port], &[HERE]);
    let sent = transport.send(get(&format!("http://127.0.0.2:{port}/")), patient()).await;
    assert_eq!(sent.result.unwrap_err().failure, Failure::Blocked, "a literal address");
    assert_eq!(receiver.ledger().requests, 0);
}

#[tokio::test]
async fn a_name_that_leads_elsewhere_the_second_time_is_not_followed() {
    let receiver = receiver(SocketAddr::new(SILENT, 0), "200 connection=close").await;
    let port = receiver.address().port();
    let canary = TcpListener::bind(SocketAddr::new(HERE, port)).await.unwrap();
    let asked = AtomicUsize::new(0);
    let look_up: LookUp =
        Arc::new(move |_| Ok(vec![if asked.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) { SILENT } else { HERE }]));
    let egress = Arc::new(EgressPolicy { allow: vec!["127.0.0.2/32".parse().unwrap()], ports: vec![port] });
    let resolver = Resolver::asking(Arc::clone(&egress), look_up);
    let transport = Transport::assembled(egress, RESPONSE_CAP, resolver, RootCertStore::empty()).unwrap();
    for round in 0..6 {
        let sent = transport.send(get(&format!("http://rebinding.example:{port}/")), patient()).await;
        match (round % 2, sent.result) {
            (0, result) => assert_eq!(result.unwrap().status, 200),
            (_, result) => assert_eq!(result.unwrap_err().failure, Failure::Blocked),
        }
    }
    assert!(canary.into_std().unwrap().accept().is_err(), "nobody came");
    assert_eq!(receiver.ledger().requests, 3);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_kept_as_far_as_it_came() {
    let (sent, _receiver) = exchange("502 header=\"X-Trace: 7\" half body=\"so far\"", patient()).await;
    let stopped = sent.result.unwrap_err();
    assert_eq!(stopped.failure, Failure::Lost);
    let partial = stopped.partial.unwrap();
    assert_eq!((partial.status, partial.header("x-trace")), (502, Some("7")));
    assert_eq!(partial.body, b"so far");
    assert!(sent.timings.first_byte.is_some() && sent.remote.is_some());
}

#[tokio::test]
async fn a_body_that_takes_too_long_is_kept_as_far_as_it_came() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let slow = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        assert!(stream.read(&mut [0; 1_024]).await.unwrap() > 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nso far").await.unwrap();
        // Until the other end gives up; nothing more is sent.
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    });
    let transport = transport("127.0.0.0/8", &[address.port()], &[]);
    let sent = transport.send(get(&format!("http://{address}/")), timeouts(20_000, 20_000, 1_000)).await;
    let stopped = sent.result.unwrap_err();
    assert_eq!((stopped.failure, stopped.error.as_str()), (Failure::Lost, "no whole answer within 1s"));
    let partial = stopped.partial.unwrap();
    assert_eq!((partial.status, partial.over_cap), (200, false));
    assert_eq!(partial.body, b"so far");
    slow.await.unwrap();
}

#[tokio::test]
async fn an_answer_that_never_begins_ends_at_its_own_deadline() {
    let (sent, _receiver) = exchange("hang", timeouts(20_000, 100, 20_000)).await;
    let stopped = sent.result.unwrap_err();
    assert_eq!((stopped.failure, stopped.error.as_str()), (Failure::Lost, "no whole answer within 100ms"));
    assert!(stopped.partial.is_none() && sent.timings.first_byte.is_none());
    assert!(sent.timings.total < Duration::from_secs(10), "{:?}", sent.timings);
}

#[tokio::test]
async fn headers_without_end_and_bodies_without_end_end_at_their_caps() {
    let (sent, _receiver) = exchange("headers-flood", patient()).await;
    assert_eq!(sent.result.unwrap_err().failure, Failure::Lost);
    let (sent, _receiver) = exchange("endless", patient()).await;
    let received = sent.result.unwrap();
    assert_eq!((received.body.len(), received.over_cap), (RESPONSE_CAP, true));
}

#[tokio::test]
async fn what_never_becomes_an_answer_ends_at_its_bound_and_not_at_the_deadline() {
    let (sent, _receiver) = exchange("200 1xx-flood count=1000000", timeouts(20_000, 300_000, 300_000)).await;
    let stopped = sent.result.unwrap_err();
    assert_eq!(stopped.failure, Failure::Lost);
    assert!(stopped.error.contains("bytes came without an end of the answer"), "{}", stopped.error);
}

#[tokio::test]
async fn an_answer_is_taken_as_it_is() {
    let (sent, tracker) = exchange("302 location=/elsewhere", patient()).await;
    let received = sent.result.unwrap();
    assert_eq!((received.status, received.header("location")), (302, Some("/elsewhere")));
    assert_eq!(tracker.ledger().requests, 1, "no redirect is followed");
    let (sent, tracker) = exchange("200 header=\"Content-Encoding: gzip\" body=\"not packed\"", patient()).await;
    assert_eq!(sent.result.unwrap().body, b"not packed", "nothing is unpacked");
    let seen = tracker.ledger().entries()[0].to_json().to_string();
    assert!(!seen.contains("accept-encoding"), "{seen}");
}

#[tokio::test]
async fn a_connection_that_is_refused_or_broken_says_so() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let transport = transport("127.0.0.0/8", &[address.port()], &[]);
    let stopped = transport.send(get(&format!("http://{address}/")), patient()).await.result.unwrap_err();
    assert_eq!(stopped.failure, Failure::Unreachable);
    assert!(stopped.error.contains("refused"), "{}", stopped.error);
    let (sent, _receiver) = exchange("reset", patient()).await;
    assert_eq!(sent.result.unwrap_err().failure, Failure::Lost);
}
