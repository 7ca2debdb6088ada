//! Opens connections to receivers: TCP, and TLS where the URL is https.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tower::Service;

use super::bounded::Bounded;
use super::egress::EgressPolicy;
use super::gate::admit;
use super::phases::BoxError;
use super::resolver::Resolver;

/// Opens connections within a deadline.
#[derive(Clone)]
pub(super) struct Connector {
    tcp: HttpConnector<Resolver>,
    tls: TlsConnector,
    egress: Arc<EgressPolicy>,
    deadline: Duration,
    response_cap: usize,
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// An open connection.
pub(super) struct Wire {
    stream: TokioIo<Box<dyn Duplex>>,
    remote: Option<Remote>,
    is_http2: bool,
}

/// The address at the other end, which every response of a connection carries.
#[derive(Debug, Clone, Copy)]
pub(super) struct Remote(pub(super) SocketAddr);

impl Connector {
    /// A connector that divides the deadline among the addresses of a name.
    pub(super) fn new(tls: Arc<ClientConfig>, resolver: Resolver, deadline: Duration, response_cap: usize) -> Self {
        let egress = resolver.egress();
        let mut tcp = HttpConnector::new_with_resolver(resolver);
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(deadline));
        Self { tcp, tls: tls.into(), egress, deadline, response_cap }
    }

    async fn open(mut self, destination: Uri) -> Result<Wire, BoxError> {
        let host = destination.host().unwrap_or_default().trim_matches(['[', ']']);
        // The resolver is not asked for literal addresses.
        if let Ok(address) = host.parse() {
            admit(&self.egress, address)?;
        }
        let name = (destination.scheme_str() == Some("https")).then(|| host.to_owned());
        let stream = self.tcp.call(destination).await?.into_inner();
        let remote = stream.peer_addr().ok().map(Remote);
        let stream = Bounded::new(stream, self.response_cap);
        let Some(name) = name else {
            return Ok(Wire { stream: TokioIo::new(Box::new(stream)), remote, is_http2: false });
        };
        let stream = self.tls.connect(ServerName::try_from(name)?, stream).await?;
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok(Wire { stream: TokioIo::new(Box::new(stream)), remote, is_http2 })
    }
}

impl Service<Uri> for Connector {
    type Response = Wire;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Wire, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, destination: Uri) -> Self::Future {
        let opening = tokio::time::timeout(self.deadline, self.clone().open(destination));
        Box::pin(async move { opening.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))? })
    }
}

impl Connection for Wire {
    fn connected(&self) -> Connected {
        let connected = self.remote.iter().fold(Connected::new(), |connected, remote| connected.extra(*remote));
        if self.is_http2 { connected.negotiated_h2() } else { connected }
    }
}

impl Read for Wire {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, into)
    }
}

impl Write for Wire {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
