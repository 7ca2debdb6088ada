//! TLS in front of a receiver: certificates good and bad, and handshakes that go wrong.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

/// What stands in front of a receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Front {
    /// A certificate for 127.0.0.1 of the authority that the daemon trusts.
    Trusted,
    /// The same, but its time is over.
    Expired,
    /// The same, but for another name.
    OtherName,
    /// A certificate for 127.0.0.1 that nobody vouches for.
    SelfSigned,
    /// Like `Trusted`, but it speaks HTTP/2 only, and answers 200 itself.
    Http2,
    /// Resets the connection when the handshake begins.
    Reset,
    /// Answers in plain HTTP whatever comes.
    Plain,
}

/// Who vouches for certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap())
    }

    /// What the daemon has to trust.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// What makes the handshakes of a front.
    pub(crate) fn acceptor(&self, front: Front) -> TlsAcceptor {
        TlsAcceptor::from(Arc::new(self.server(front)))
    }

    fn server(&self, front: Front) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let name = if front == Front::OtherName { "other.example" } else { "127.0.0.1" };
        let mut parameters = CertificateParams::new(vec![name.to_owned()]).unwrap();
        parameters.distinguished_name.push(DnType::CommonName, "a receiver");
        if front == Front::Expired {
            (parameters.not_before, parameters.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
        }
        let certificate = match front {
            Front::SelfSigned => parameters.self_signed(&key).unwrap(),
            _ => parameters.signed_by(&key, &self.0).unwrap(),
        };
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let mut config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        config.alpn_protocols = vec![if front == Front::Http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        config
    }
}

/// A running front; it ends when it is dropped.
pub(crate) struct TlsFront {
    pub(crate) address: SocketAddr,
    http2_requests: Arc<AtomicU64>,
    task: AbortHandle,
}

impl TlsFront {
    /// Starts a front that hands on what it deciphers.
    pub(crate) async fn start(front: Front, authority: &Authority, receiver: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = authority.acceptor(front);
        let http2_requests = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&http2_requests);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(front, stream, acceptor.clone(), receiver, Arc::clone(&counted)));
            }
        });
        Self { address, http2_requests, task: task.abort_handle() }
    }

    /// How many requests came over HTTP/2.
    pub(crate) fn http2_requests(&self) -> u64 {
        self.http2_requests.load(Ordering::SeqCst)
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    front: Front,
    mut stream: TcpStream,
    acceptor: TlsAcceptor,
    receiver: SocketAddr,
    http2_requests: Arc<AtomicU64>,
) {
    if front == Front::Reset {
        // A connection that is closed with something unread in it is reset.
        let _ = stream.peek(&mut [0]).await;
        return;
    }
    if front == Front::Plain {
        let _ = stream.read(&mut [0; 4_096]).await;
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
        return;
    }
    let Ok(mut tls) = acceptor.accept(stream).await else { return };
    if front == Front::Http2 {
        let Ok(mut connection) = h2::server::handshake(tls).await else { return };
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            http2_requests.fetch_add(1, Ordering::SeqCst);
            let _ = respond.send_response(axum::http::Response::new(()), true);
        }
    } else {
        let mut behind = TcpStream::connect(receiver).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut tls, &mut behind).await;
    }
}
