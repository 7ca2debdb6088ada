//! The HTTP client: one pool of connections, one attempt at a time per call.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, Url};

use super::egress::EgressPolicy;
use super::phases::{CONNECTING, Connecting, PhaseLayer, Phases, SharedPhases, note};
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
    client: Client,
    egress: Arc<EgressPolicy>,
    response_cap: usize,
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
}

impl Transport {
    /// Sets up the client.
    ///
    /// # Errors
    /// When TLS or the client cannot be set up.
    pub fn new(options: &TransportOptions) -> Result<Self, TransportError> {
        let egress = Arc::new(options.egress.clone());
        let client = Client::builder()
            .tls_backend_preconfigured(tls::client_config()?)
            .dns_resolver(EgressResolver(Arc::clone(&egress)))
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
            .build()?;
        Ok(Self { client, egress, response_cap: options.response_cap })
    }

    /// Sends one request and reads its answer, within the deadlines. Never fails: what went wrong is the result.
    pub async fn send(&self, request: PreparedRequest, timeouts: Timeouts) -> Exchange {
        let begun = monotonic();
        let phases = SharedPhases::default();
        let connecting = Connecting { phases: Arc::clone(&phases), deadline: timeouts.connect };
        let mut first_byte = None;
        let mut remote = None;
        let sending = self.exchange(request, timeouts.first_byte, |address| {
            first_byte = Some(monotonic().duration_since(begun));
            remote = address;
        });
        let sent = CONNECTING.scope(connecting, tokio::time::timeout(timeouts.total, sending)).await;
        let phases = phases.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let result = match sent {
            Ok(Ok(received)) => Ok(received),
            Ok(Err(stop)) => Err(failure(stop, &phases)),
            Err(_) => Err(failure(Stop::Deadline(timeouts.total), &phases)),
        };
        let (dns, connect, tls) = (phases.dns(), phases.connect(), phases.tls());
        let total = monotonic().duration_since(begun);
        Exchange { result, timings: Timings { dns, connect, tls, first_byte, total }, remote }
    }

    async fn exchange(
        &self,
        request: PreparedRequest,
        first_byte: Duration,
        on_head: impl FnOnce(Option<SocketAddr>),
    ) -> Result<Received, Stop> {
        let request = self.build(request)?;
        let answered = tokio::time::timeout(first_byte, self.client.execute(request)).await;
        let mut response = answered.map_err(|_| Stop::Deadline(first_byte))?.map_err(Stop::Http)?;
        on_head(response.remote_addr());
        let headers = response.headers().iter().map(readable).collect();
        let mut received = Received { status: response.status().as_u16(), headers, body: Vec::new(), over_cap: false };
        while let Some(chunk) = response.chunk().await.map_err(Stop::Http)? {
            let room = self.response_cap - received.body.len();
            received.body.extend_from_slice(chunk.get(..room.min(chunk.len())).unwrap_or_default());
            if chunk.len() > room {
                received.over_cap = true;
                break;
            }
        }
        Ok(received)
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

/// Why an exchange ended early.
enum Stop {
    Forbidden(String),
    Invalid(String),
    Deadline(Duration),
    Http(reqwest::Error),
}

fn failure(stop: Stop, phases: &Phases) -> SendFailure {
    if let Some(forbidden) = &phases.forbidden {
        return SendFailure { failure: Failure::Blocked, error: forbidden.to_string() };
    }
    let unsent = match phases.tls_started {
        Some(_) => Failure::Tls,
        None => Failure::Unreachable,
    };
    match stop {
        Stop::Forbidden(error) => SendFailure { failure: Failure::Blocked, error },
        Stop::Invalid(error) => SendFailure { failure: Failure::Unrenderable, error },
        Stop::Deadline(after) if phases.given_up => {
            SendFailure { failure: unsent, error: format!("no connection within {after:?}") }
        }
        Stop::Deadline(after) => {
            SendFailure { failure: Failure::Lost, error: format!("no whole answer within {after:?}") }
        }
        Stop::Http(error) => {
            let failure = if !error.is_connect() && !error.is_builder() {
                Failure::Lost
            } else if phases.tls_started.is_some() {
                Failure::Tls
            } else {
                Failure::Unreachable
            };
            SendFailure { failure, error: chain(&error.without_url()) }
        }
    }
}

/// An error with its causes; the URL stays out, it may hold secrets.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

fn readable((name, value): (&HeaderName, &HeaderValue)) -> (String, String) {
    (name.as_str().to_owned(), value.as_bytes().escape_ascii().to_string())
}

/// Resolves names and keeps forbidden addresses from the connector. A name with any forbidden address is
/// refused whole: it must not depend on the order of answers where a connection goes.
struct EgressResolver(Arc<EgressPolicy>);

impl Resolve for EgressResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let egress = Arc::clone(&self.0);
        Box::pin(async move {
            let addresses: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            for address in &addresses {
                if let Err(forbidden) = egress.check_address(address.ip()) {
                    note(|phases, _| phases.forbidden = Some(forbidden.clone()));
                    return Err(forbidden.into());
                }
            }
            note(|phases, now| phases.resolved = Some(now));
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// A client for our own API: the same TLS, but none of the rules for receivers.
///
/// # Errors
/// When TLS or the client cannot be set up.
pub fn api_client() -> Result<reqwest::ClientBuilder, TransportError> {
    Ok(Client::builder().tls_backend_preconfigured(tls::client_config()?).no_proxy())
}
