//! The HTTP client: one pool of connections, one attempt at a time per call.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, Url};

use super::egress::EgressPolicy;
use super::failure::{Means, Stop, failure};
use super::phases::{CONNECTING, PhaseLayer, SharedPhases};
use super::resolver::Resolver;
use super::tls;
use crate::domain::outcome::Failure;
use crate::domain::postback::Timeouts;
use crate::domain::record::Timings;
use crate::domain::request::PreparedRequest;
use crate::ops::clock::monotonic;

/// Idle connections kept for each receiver.
const IDLE_PER_HOST: usize = 64;
/// How long an idle connection is kept; shorter than what common servers grant.
const IDLE_FOR: Duration = Duration::from_secs(50);
/// Most headers of a response.
const MAX_HEADERS: usize = 100;
/// Most bytes of an HTTP/2 header list.
const MAX_HEADER_BYTES: u32 = 64 * 1024;

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
    /// The HTTP client does not come together.
    #[error("setting up the HTTP client")]
    Client(#[from] reqwest::Error),
}

/// Sends requests over pooled connections. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Transport {
    clients: Arc<Clients>,
    egress: Arc<EgressPolicy>,
    response_cap: usize,
}

/// An HTTP client for each connect deadline that is configured: it divides that deadline among the addresses of a
/// name, and takes it for all of its connections alike.
#[derive(Debug)]
struct Clients {
    tls: rustls::ClientConfig,
    /// Whether any certificate is trusted.
    trusts: bool,
    resolver: Resolver,
    by_deadline: Mutex<HashMap<Duration, Client>>,
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
        let tls = tls::client_config(roots)?;
        let clients = Arc::new(Clients { tls, trusts, resolver, by_deadline: Mutex::default() });
        // What does not come together now would not do so later.
        clients.build(Duration::from_secs(1))?;
        Ok(Self { clients, egress, response_cap })
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
        let client = self.clients.with_deadline(timeouts.connect).map_err(Stop::Client)?;
        let answered = tokio::time::timeout(timeouts.first_byte, client.execute(request)).await;
        let mut response = answered.map_err(|_| Stop::Deadline(timeouts.first_byte))?.map_err(Stop::Http)?;
        let headers = response.headers().iter().map(readable).collect();
        let head = Received { status: response.status().as_u16(), headers, body: Vec::new(), over_cap: false };
        let received = on_head(response.remote_addr(), head);
        while let Some(chunk) = response.chunk().await.map_err(Stop::Http)? {
            let room = self.response_cap - received.body.len();
            received.body.extend_from_slice(chunk.get(..room.min(chunk.len())).unwrap_or_default());
            if chunk.len() > room {
                received.over_cap = true;
                break;
            }
        }
        Ok(())
    }

    fn build(&self, request: PreparedRequest) -> Result<reqwest::Request, Stop> {
        let invalid = |what: &str| Stop::Invalid(format!("{what} cannot be sent as HTTP"));
        let url = Url::parse(&request.url).map_err(|_| invalid("the URL"))?;
        if url.as_str() != request.url {
            return Err(invalid("the URL is not in its normal form and"));
        }
        self.egress.check_url(&url).map_err(|forbidden| Stop::Forbidden(forbidden.to_string()))?;
        let method = Method::from_bytes(request.method.as_bytes()).map_err(|_| invalid("the method"))?;
        let mut headers = HeaderMap::with_capacity(request.headers.len());
        for (name, value) in &request.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid("a header name"))?;
            let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| invalid("a header value"))?;
            headers.append(name, value);
        }
        let mut built = reqwest::Request::new(method, url);
        *built.headers_mut() = headers;
        if !request.body.is_empty() {
            *built.body_mut() = Some(request.body.into());
        }
        Ok(built)
    }
}

impl Clients {
    fn with_deadline(&self, connect: Duration) -> Result<Client, reqwest::Error> {
        let mut clients = self.by_deadline.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&connect) {
            return Ok(client.clone());
        }
        let client = self.build(connect)?;
        clients.insert(connect, client.clone());
        Ok(client)
    }

    fn build(&self, connect: Duration) -> Result<Client, reqwest::Error> {
        Client::builder()
            .tls_backend_preconfigured(self.tls.clone())
            .dns_resolver(self.resolver.clone())
            .connect_timeout(connect)
            .connector_layer(PhaseLayer)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .referer(false)
            .pool_max_idle_per_host(IDLE_PER_HOST)
            .pool_idle_timeout(IDLE_FOR)
            .http1_max_headers(MAX_HEADERS)
            .http2_max_header_list_size(MAX_HEADER_BYTES)
            .tcp_nodelay(true)
            .build()
    }
}

fn readable((name, value): (&HeaderName, &HeaderValue)) -> (String, String) {
    (name.as_str().to_owned(), value.as_bytes().escape_ascii().to_string())
}

/// A client for our own API: the same TLS, but none of the rules for receivers.
///
/// # Errors
/// When TLS or the client cannot be set up.
pub fn api_client() -> Result<reqwest::ClientBuilder, TransportError> {
    Ok(Client::builder().tls_backend_preconfigured(tls::client_config(tls::system_roots())?).no_proxy())
}
