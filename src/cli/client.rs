//! Talks to the daemon: over its Unix socket, or to a URL with a bearer token.
//!
//! Knows no command; answers are data or a [`ClientError`] that a command can act on.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{self, HeaderMap};
use reqwest::{Method, StatusCode};
use rustls::{ClientConfig, RootCertStore};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;

use super::exit::{Exit, Failure, with_causes};
use super::patience;
use super::problem::Problem;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a whole exchange may take.
const TOTAL: Duration = Duration::from_mins(2);
/// How long a stream may go on before it is listened to anew.
const LISTEN: Duration = Duration::from_hours(24);
/// Most bytes read of an answer.
const MAX_ANSWER: usize = 256 << 20;
/// The host in requests over the socket, where it means nothing.
const SOCKET_BASE: &str = "http://localhost/";

/// Where the daemon is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// At its Unix socket.
    Socket(PathBuf),
    /// At a URL.
    Url(Url),
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "the socket {}", path.display()),
            Self::Url(url) => write!(f, "{url}"),
        }
    }
}

/// A connection to the daemon. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    base: Url,
    endpoint: Endpoint,
    token: Option<SecretString>,
}

/// An answer of the daemon.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    /// The status.
    pub(super) status: StatusCode,
    /// The `Retry-After` header.
    pub(super) retry_after: Option<String>,
    /// All headers.
    pub(super) headers: HeaderMap,
    /// The body.
    pub(super) body: Bytes,
}

/// Why there is no good answer.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum ClientError {
    /// Nobody answers there.
    #[error("{endpoint} does not answer: {why}")]
    Unreachable {
        /// Where.
        endpoint: Endpoint,
        /// What the system said.
        why: String,
    },
    /// The system does not let us connect.
    #[error("{endpoint} may not be opened by this user")]
    Forbidden {
        /// Where.
        endpoint: Endpoint,
    },
    /// The daemon answered that it will not.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// The answer makes no sense.
    #[error("{endpoint} answered what a daemon of this version does not: {why}")]
    Nonsense {
        /// Where.
        endpoint: Endpoint,
        /// What is wrong with it.
        why: String,
    },
}

impl ClientError {
    /// The failure of `what`; `next` is what to try when the daemon refused.
    pub(super) fn into_failure(self, what: &str, next: &str) -> Failure {
        match self {
            Self::Problem(problem) => problem.into_failure(what, next),
            Self::Unreachable { .. } => Failure::new(
                Exit::Unreachable,
                what,
                &self,
                "see whether the daemon runs (systemctl status postbackd), or name it with --config or --url",
            ),
            Self::Forbidden { .. } => Failure::new(
                Exit::Auth,
                what,
                &self,
                "run as the daemon's user (sudo -u postbackd …) or as a member of the socket's group",
            ),
            Self::Nonsense { .. } => Failure::new(
                Exit::Error,
                what,
                &self,
                "compare `postbackd --version` with the daemon's, and check that --url names a postbackd",
            ),
        }
    }

    /// The failure of `what`, where the daemon's own words say enough.
    pub(super) fn failing(self, what: &str) -> Failure {
        self.into_failure(what, "")
    }
}

impl Client {
    /// A client of the socket.
    ///
    /// # Errors
    /// When the client does not come together.
    pub(super) fn of_socket(path: &Path) -> Result<Self, Failure> {
        let base = Url::parse(SOCKET_BASE).map_err(|error| unusable(&error))?;
        let http = builder(tls(RootCertStore::empty())?).unix_socket(path).build().map_err(|error| unusable(&error))?;
        Ok(Self { http, base, endpoint: Endpoint::Socket(path.to_path_buf()), token: None })
    }

    /// A client of a URL, with a token.
    ///
    /// # Errors
    /// When the URL is none that can be talked to.
    pub(super) fn of_url(text: &str, token: Option<SecretString>) -> Result<Self, Failure> {
        let wrong = |why: &str| {
            Failure::new(Exit::Usage, format!("--url {text}"), why, "write it as https://postbackd.internal:8480")
        };
        let mut base = Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
        let roots = match base.scheme() {
            "https" => system_roots(),
            "http" => RootCertStore::empty(),
            _ => return Err(wrong("only http and https can be talked to")),
        };
        if base.cannot_be_a_base() || !base.has_host() {
            return Err(wrong("it names no host"));
        }
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let http = builder(tls(roots)?).build().map_err(|error| unusable(&error))?;
        Ok(Self { http, endpoint: Endpoint::Url(base.clone()), base, token })
    }

    /// Where it connects to.
    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Gets a document. `path` is a list of segments.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, String)],
    ) -> Result<T, ClientError> {
        let answer = self.exchange(Method::GET, path, query, None).await?;
        self.document(&answer)
    }

    /// Gets a document, also from a daemon that is busy for a moment.
    pub(super) async fn get_patiently<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, String)],
    ) -> Result<T, ClientError> {
        let answer = patience::read(self, path, query).await?;
        self.document(&answer)
    }

    /// Posts a document and gets one.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| self.nonsense(&error))?;
        let answer = self.exchange(Method::POST, path, &[], Some(body.into())).await?;
        self.document(&answer)
    }

    /// Puts a document and gets one.
    pub(super) async fn put<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| self.nonsense(&error))?;
        let answer = self.exchange(Method::PUT, path, &[], Some(body.into())).await?;
        self.document(&answer)
    }

    /// Listens to a stream of server-sent events, behind the last one that was heard.
    pub(super) async fn listen(
        &self,
        path: &[&str],
        query: &[(&str, String)],
        last: Option<&str>,
    ) -> Result<reqwest::Response, ClientError> {
        let request = self.http.get(self.url(path, query)).header(header::ACCEPT, "text/event-stream").timeout(LISTEN);
        let request = match last {
            Some(id) => request.header("last-event-id", id),
            None => request,
        };
        self.opened(request).await
    }

    /// The answer to a request for a stream, once it begins.
    async fn opened(&self, request: reqwest::RequestBuilder) -> Result<reqwest::Response, ClientError> {
        let response = self.send(request).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let (status, headers) = (response.status(), response.headers().clone());
        let answer = Answer { status, retry_after: None, headers, body: self.read(response).await? };
        Err(ClientError::Problem(Box::new(answer.problem())))
    }

    /// Gets a stream of bytes.
    pub(super) async fn stream(&self, path: &[&str]) -> Result<reqwest::Response, ClientError> {
        self.opened(self.http.get(self.url(path, &[])).timeout(LISTEN)).await
    }

    /// Whether somebody listens there; a URL is always asked.
    pub(super) async fn is_reachable(&self) -> bool {
        let Endpoint::Socket(socket) = &self.endpoint else { return true };
        match tokio::net::UnixStream::connect(socket).await {
            Ok(_) => true,
            Err(error) => !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused),
        }
    }

    fn url(&self, path: &[&str], query: &[(&str, String)]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<reqwest::Response, ClientError> {
        let request = match &self.token {
            Some(token) => request.bearer_auth(token.expose_secret()),
            None => request,
        };
        request.send().await.map_err(|error| self.unreachable(&error))
    }

    /// Exchanges a request, with a JSON body where there is one, for an answer of any status.
    pub(super) async fn exchange(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
        body: Option<Bytes>,
    ) -> Result<Answer, ClientError> {
        let mut request = self.http.request(method, self.url(path, query)).header(header::ACCEPT, "application/json");
        if let Some(body) = body {
            request = request.header(header::CONTENT_TYPE, "application/json").body(body);
        }
        let response = self.send(request).await?;
        let status = response.status();
        let retry_after = response.headers().get(header::RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok()).map(str::to_owned);
        let headers = response.headers().clone();
        Ok(Answer { status, retry_after, headers, body: self.read(response).await? })
    }

    async fn read(&self, mut response: reqwest::Response) -> Result<Bytes, ClientError> {
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(self.nonsense(&"the answer is larger than 256 MiB"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }

    fn document<T: DeserializeOwned>(&self, answer: &Answer) -> Result<T, ClientError> {
        if !answer.status.is_success() {
            return Err(ClientError::Problem(Box::new(answer.problem())));
        }
        serde_json::from_slice(&answer.body).map_err(|error| self.nonsense(&error))
    }

    /// An answer that is not understood.
    pub(super) fn nonsense(&self, why: &dyn std::fmt::Display) -> ClientError {
        ClientError::Nonsense { endpoint: self.endpoint.clone(), why: why.to_string() }
    }

    fn unreachable(&self, error: &reqwest::Error) -> ClientError {
        let endpoint = self.endpoint.clone();
        if io_kind(error) == Some(io::ErrorKind::PermissionDenied) {
            return ClientError::Forbidden { endpoint };
        }
        ClientError::Unreachable { endpoint, why: root_cause(error) }
    }
}

impl Answer {
    /// The problem that it carries, when it is no success.
    pub(super) fn problem(&self) -> Problem {
        Problem::of_response(self.status.as_u16(), &self.body)
    }
}

/// Whether what is sent to a URL can be read on the way.
pub(super) fn sends_openly(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    let stays_here = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => true,
    };
    url.scheme() == "http" && !stays_here
}

/// Reads the token for `--url` from its file.
///
/// # Errors
/// When the file cannot be read or holds no token.
pub(super) fn read_token(path: &Path) -> Result<SecretString, Failure> {
    let failed = |why: &dyn std::fmt::Display| {
        let next = "let the file hold the bearer token alone, readable by you only";
        Failure::new(Exit::Auth, format!("reading the token of {}", path.display()), why, next)
    };
    let text = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
    let token = text.trim();
    if token.is_empty() || !token.chars().all(|c| c.is_ascii_graphic()) {
        return Err(failed(&"it holds no token"));
    }
    Ok(SecretString::from(token))
}

fn builder(tls: ClientConfig) -> reqwest::ClientBuilder {
    // No proxy: a bearer token is for the daemon alone. No redirect: the daemon makes none.
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .tls_backend_preconfigured(tls)
        .connect_timeout(CONNECT)
        .timeout(TOTAL)
        .user_agent(concat!("postbackd/", env!("CARGO_PKG_VERSION")))
}

fn tls(roots: RootCertStore) -> Result<ClientConfig, Failure> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&error))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

fn unusable(error: &dyn std::error::Error) -> Failure {
    Failure::new(Exit::Error, "setting up the HTTP client", with_causes(error), "")
}

/// What the system said; the layers above it add the request, which the reader knows.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

fn io_kind(error: &reqwest::Error) -> Option<io::ErrorKind> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return Some(io.kind());
        }
        cause = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_urls_that_can_be_talked_to_are_taken() {
        for wrong in ["ftp://x/", "localhost:8480", "mailto:a@b", "", "http://"] {
            assert_eq!(Client::of_url(wrong, None).unwrap_err().exit(), Exit::Usage, "{wrong:?}");
        }
        assert!(Client::of_url("http://127.0.0.1:8480", None).is_ok());
        assert!(Client::of_url("https://postbackd.example/base", None).is_ok());
        let open =
            ["http://127.0.0.1:8480", "http://localhost", "http://[::1]/", "https://x.example", "http://x.example"];
        assert_eq!(open.map(sends_openly), [false, false, false, false, true]);
    }

    #[test]
    fn a_token_file_holds_a_token_alone() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        assert_eq!(read_token(&file).unwrap_err().exit(), Exit::Auth);
        std::fs::write(&file, "two words").unwrap();
        assert_eq!(read_token(&file).unwrap_err().exit(), Exit::Auth);
        std::fs::write(&file, "abc\n").unwrap();
        assert_eq!(read_token(&file).unwrap().expose_secret(), "abc");
    }

    #[tokio::test]
    async fn a_socket_that_is_not_there_is_unreachable() {
        let client = Client::of_socket(Path::new("/nonexistent/p.sock")).unwrap();
        let error = client.get::<serde_json::Value>(&["v1", "stats"], &[]).await.unwrap_err();
        assert!(matches!(&error, ClientError::Unreachable { why, .. } if why.starts_with("No such file")), "{error:?}");
        assert_eq!(error.failing("x").exit(), Exit::Unreachable);
    }
}
