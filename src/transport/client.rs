//! The HTTP client: one pool of connections, one attempt at a time per call.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Body as _;
use hyper::header::{ACCEPT, CONTENT_LENGTH, HeaderName, HeaderValue};
use hyper::{Method, Request, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::connector::{Connector, Remote};
use super::egress::EgressPolicy;
use super::failure::{Means, Stop, failure};
use super::origins::{Origins, Refused};
use super::phases::{CONNECTING, PhaseConnector, SharedPhases};
use super::resolver::Resolver;
use super::tls;
use crate::domain::outcome::Failure;
use crate::domain::postback::Timeouts;
use crate::domain::record::Timings;
use crate::domain::request::PreparedRequest;
use crate::ops::clock::monotonic;
use crate::planted::{Bug, planted};

/// Idle connections kept for each receiver: many affiliates may be on one platform, each with its own concurrency, and a
/// connection above this is closed behind every answer.
const IDLE_PER_HOST: usize = 512;
/// How long an idle connection is kept; shorter than what common servers grant.
const IDLE_FOR: Duration = Duration::from_secs(50);
/// Most headers of a response.
const MAX_HEADERS: usize = 100;
/// Most bytes of a response's head.
const MAX_HEADER_BYTES: u32 = 64 * 1024;
/// Bytes that one answer over HTTP/2, and all answers of its connection, may bring before they are read.
const WINDOWS: (u32, u32) = (128 * 1024, 1024 * 1024);
/// A connection of HTTP/2 on which nothing comes for so long is asked whether it is alive, and given up when it does
/// not answer: every attempt at its receiver would be lost on it until the system notices.
const ALIVE: (Duration, Duration) = (Duration::from_secs(8), Duration::from_secs(4));

/// What the transport needs to know.
#[derive(Debug, Clone)]
pub struct TransportOptions {
    /// Which addresses may be connected to.
    pub egress: EgressPolicy,
    /// Most bytes read of a response body.
    pub response_cap: usize,
}

/// Why the transport cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The TLS configuration does not come together.
    #[error("setting up TLS")]
    Tls(#[from] rustls::Error),
    /// The HTTP client for our own API does not come together.
    #[error("setting up the HTTP client")]
    Client(#[from] reqwest::Error),
}

type HttpClient = Client<PhaseConnector<Connector>, Full<Bytes>>;

/// Sends requests over pooled connections. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Transport {
    clients: Arc<Clients>,
    egress: Arc<EgressPolicy>,
    origins: Arc<Origins>,
    response_cap: usize,
}

/// An HTTP client for each connect deadline that is configured: it divides that deadline among the addresses of a
/// name, and takes it for all of its connections alike.
#[derive(Debug)]
struct Clients {
    tls: Arc<rustls::ClientConfig>,
    /// Whether any certificate is trusted.
    trusts: bool,
    resolver: Resolver,
    response_cap: usize,
    by_deadline: Mutex<HashMap<Duration, HttpClient>>,
}

/// One attempt on the wire.
#[derive(Debug)]
pub struct Exchange {
    /// The response, or why there is none.
    pub result: Result<Received, SendFailure>,
    /// How long each part took.
    pub timings: Timings,
    /// The address at the other end.
    pub remote: Option<SocketAddr>,
}

/// A response, its body read up to the cap.
#[derive(Debug)]
pub struct Received {
    /// Status code.
    pub status: u16,
    /// Headers; what is not ASCII is shown escaped.
    pub headers: Vec<(String, String)>,
    /// The body up to the cap.
    pub body: Vec<u8>,
    /// Whether there was more.
    pub over_cap: bool,
}

impl Received {
    /// The first header of a name, in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// Why there is no whole response.
#[derive(Debug)]
pub struct SendFailure {
    /// How far the attempt got.
    pub failure: Failure,
    /// What happened, for people.
    pub error: String,
    /// What came of a response that broke off.
    pub partial: Option<Received>,
}

impl Transport {
    /// Sets up the client.
    ///
    /// # Errors
    /// When TLS or the client cannot be set up.
    pub fn new(options: &TransportOptions) -> Result<Self, TransportError> {
        let egress = Arc::new(options.egress.clone());
        let resolver = Resolver::new(Arc::clone(&egress));
        Self::assembled(egress, options.response_cap, resolver, tls::system_roots())
    }

    /// A transport of parts, of which tests replace some.
    pub(super) fn assembled(
        egress: Arc<EgressPolicy>,
        response_cap: usize,
        resolver: Resolver,
        roots: rustls::RootCertStore,
    ) -> Result<Self, TransportError> {
        let trusts = !roots.is_empty();
        let tls = Arc::new(tls::client_config(roots)?);
        let clients = Arc::new(Clients { tls, trusts, resolver, response_cap, by_deadline: Mutex::default() });
        Ok(Self { clients, egress, origins: Arc::default(), response_cap })
    }

    /// The addresses of a name, as attempts find them; whether they may be connected to is not asked here.
    ///
    /// # Errors
    /// Why there are none.
    pub async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, String> {
        let found = self.clients.resolver.find(name).await;
        found.map(|addresses| addresses.to_vec()).map_err(|error| error.to_string())
    }

    /// Sends one request and reads its answer, within the deadlines. Never fails: what went wrong is the result.
    pub async fn send(&self, request: PreparedRequest, timeouts: Timeouts) -> Exchange {
        let begun = monotonic();
        let phases = SharedPhases::default();
        let mut first_byte = None;
        let mut remote = None;
        let mut received = None;
        let sending = self.exchange(request, timeouts, |address, head| {
            first_byte = Some(monotonic().duration_since(begun));
            remote = address;
            received.insert(head)
        });
        let sent = CONNECTING.scope(Arc::clone(&phases), tokio::time::timeout(timeouts.total, sending)).await;
        let phases = phases.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let stopped = match sent {
            Ok(Ok(())) => None,
            Ok(Err(stop)) => Some(stop),
            Err(_) => Some(Stop::Deadline(timeouts.total)),
        };
        let means = Means { connect: timeouts.connect, trusts: self.clients.trusts };
        let result = match (stopped, received) {
            (None, Some(received)) => Ok(received),
            (None, None) => Err(failure(Stop::Deadline(timeouts.total), &phases, means)),
            (Some(stop), partial) => Err(SendFailure { partial, ..failure(stop, &phases, means) }),
        };
        let (dns, connect, tls) = (phases.dns(), phases.connect(), phases.tls());
        let total = monotonic().duration_since(begun);
        Exchange { result, timings: Timings { dns, connect, tls, first_byte, total }, remote }
    }

    /// Sends and receives into what `on_head` gives it, so that what came is kept wherever this ends.
    async fn exchange<'r>(
        &self,
        request: PreparedRequest,
        timeouts: Timeouts,
        on_head: impl FnOnce(Option<SocketAddr>, Received) -> &'r mut Received,
    ) -> Result<(), Stop> {
        let request = self.build(request)?;
        let client = self.clients.with_deadline(timeouts.connect);
        let answer = client.request(request);
        // Where it would come no earlier, the deadline of the whole is enough.
        let answered = if timeouts.first_byte < timeouts.total {
            let answered = tokio::time::timeout(timeouts.first_byte, answer).await;
            answered.map_err(|_| Stop::Deadline(timeouts.first_byte))?
        } else {
            answer.await
        };
        let response = answered.map_err(Stop::Request)?;
        let headers = response.headers().iter().map(readable).collect();
        let head = Received { status: response.status().as_u16(), headers, body: Vec::new(), over_cap: false };
        let received = on_head(response.extensions().get().map(|Remote(address)| *address), head);
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            // Trailers are nothing to anybody.
            let Ok(chunk) = frame.map_err(Stop::Body)?.into_data() else { continue };
            let cap = if planted(Bug::BodyUncapped) { usize::MAX } else { self.response_cap };
            let room = cap - received.body.len();
            received.body.extend_from_slice(chunk.get(..room.min(chunk.len())).unwrap_or_default());
            if chunk.len() > room {
                received.over_cap = true;
                break;
            }
        }
        Ok(())
    }

    fn build(&self, request: PreparedRequest) -> Result<Request<Full<Bytes>>, Stop> {
        let invalid = |what: &str| Stop::Invalid(format!("{what} cannot be sent as HTTP"));
        self.origins.check(&request.url, &self.egress).map_err(|refused| match refused {
            Refused::Url => invalid("the URL"),
            Refused::NotNormal => invalid("the URL is not in its normal form and"),
            Refused::Forbidden(forbidden) => Stop::Forbidden(forbidden.to_string()),
        })?;
        let mut built = Request::new(Full::new(request.body));
        *built.method_mut() = Method::from_bytes(request.method.as_bytes()).map_err(|_| invalid("the method"))?;
        *built.uri_mut() = Uri::try_from(request.url).map_err(|_| invalid("the URL"))?;
        for (name, value) in &request.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid("a header name"))?;
            let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| invalid("a header value"))?;
            built.headers_mut().append(name, value);
        }
        built.headers_mut().entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
        if built.body().size_hint().exact() == Some(0) && matches!(built.method().as_str(), "POST" | "PUT" | "PATCH") {
            // Some servers refuse such a request without a length (411).
            built.headers_mut().entry(CONTENT_LENGTH).or_insert(HeaderValue::from_static("0"));
        }
        Ok(built)
    }
}

impl Clients {
    fn with_deadline(&self, connect: Duration) -> HttpClient {
        let mut clients = self.by_deadline.lock().unwrap_or_else(PoisonError::into_inner);
        clients.entry(connect).or_insert_with(|| self.build(connect)).clone()
    }

    fn build(&self, connect: Duration) -> HttpClient {
        let (of_answer, of_connection) = WINDOWS;
        let (silent, late) = ALIVE;
        let connector = Connector::new(Arc::clone(&self.tls), self.resolver.clone(), connect, self.response_cap);
        Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(IDLE_PER_HOST)
            .pool_idle_timeout(IDLE_FOR)
            .http1_max_headers(MAX_HEADERS)
            .http1_max_buf_size(MAX_HEADER_BYTES as usize)
            .http2_max_header_list_size(MAX_HEADER_BYTES)
            .http2_initial_stream_window_size(of_answer)
            .http2_initial_connection_window_size(of_connection)
            .http2_keep_alive_interval(silent)
            .http2_keep_alive_timeout(late)
            .http2_keep_alive_while_idle(true)
            .build(PhaseConnector::new(connector))
    }
}

fn readable((name, value): (&HeaderName, &HeaderValue)) -> (String, String) {
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\'' | b'\\');
    let value = match value.to_str() {
        Ok(text) if text.as_bytes().iter().all(is_plain) => text.to_owned(),
        _ => value.as_bytes().escape_ascii().to_string(),
    };
    (name.as_str().to_owned(), value)
}

/// A client for our own API: the same TLS, but none of the rules for receivers.
///
/// # Errors
/// When TLS or the client cannot be set up.
pub fn api_client() -> Result<reqwest::ClientBuilder, TransportError> {
    Ok(reqwest::Client::builder().tls_backend_preconfigured(tls::client_config(tls::system_roots())?).no_proxy())
}
