//! One connection's bytes: reads HTTP/1.1 requests strictly, writes whatever it is told.
//!
//! Refuses to know scripts and ledgers. Reading is strict on purpose: a sloppy request is the sender's
//! fault and shall be seen in a test (RFC 9112).

use std::io;
use std::ops::Range;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The longest request line and header section that is read.
pub const HEADER_LIMIT: usize = 64 * 1024;
/// The longest request body that is read.
pub const BODY_LIMIT: usize = 16 << 20;
/// The longest line of chunked framing.
const CHUNK_LINE_LIMIT: usize = 4 * 1024;
/// What is read at once.
const READ_SIZE: usize = 8 * 1024;
/// How long and how much is read from a peer after a refusal, so that it can read the refusal.
const FAREWELL: (Duration, usize) = (Duration::from_secs(1), BODY_LIMIT);

/// Where the name and the value of a header field stand.
type Field = (Range<usize>, Range<usize>);

/// One request as it came.
#[derive(Debug, Default)]
pub(super) struct Request {
    head: String,
    method: Range<usize>,
    target: Range<usize>,
    fields: Vec<Field>,
    /// The body without its framing.
    pub(super) body: Vec<u8>,
    /// Whether the sender allows another request on the connection.
    pub(super) keep_alive: bool,
}

/// Why no request could be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// The connection broke.
    #[error("the connection broke")]
    Broken(#[from] io::Error),
    /// The bytes are not a request that is taken.
    #[error("{status} {reason}")]
    Refused {
        /// The status to answer with.
        status: u16,
        /// What is wrong.
        reason: &'static str,
    },
}

fn refused(status: u16, reason: &'static str) -> ReadError {
    ReadError::Refused { status, reason }
}

fn bad(reason: &'static str) -> ReadError {
    refused(400, reason)
}

impl Request {
    /// The method, as written.
    pub(super) fn method(&self) -> &str {
        self.head.get(self.method.clone()).unwrap_or_default()
    }

    /// The path and query, as written.
    pub(super) fn target(&self) -> &str {
        self.head.get(self.target.clone()).unwrap_or_default()
    }

    /// The path, as written.
    pub(super) fn path(&self) -> &str {
        self.target().split_once('?').map_or(self.target(), |(path, _)| path)
    }

    /// The query without its question mark.
    pub(super) fn query(&self) -> &str {
        self.target().split_once('?').map_or("", |(_, query)| query)
    }

    /// The header fields in their order.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        let text = |range: &Range<usize>| self.head.get(range.clone()).unwrap_or_default();
        self.fields.iter().map(move |(name, value)| (text(name), text(value)))
    }

    /// The first value of a header field.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.fields().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The first value of a query parameter, decoded.
    pub(super) fn parameter(&self, name: &str) -> Option<String> {
        let plain = |text: &str| !text.contains(['%', '+']);
        self.query().split('&').find_map(|pair| {
            let (known, value) = pair.split_once('=').unwrap_or((pair, ""));
            if plain(pair) {
                return (known == name).then(|| value.to_owned());
            }
            url::form_urlencoded::parse(pair.as_bytes())
                .next()
                .filter(|(known, _)| known == name)
                .map(|(_, value)| value.into_owned())
        })
    }

    fn parse(head: String) -> Result<(Self, Framing), ReadError> {
        let line_end = head.find("\r\n").unwrap_or(head.len());
        let line = head.get(..line_end).unwrap_or_default();
        let mut parts = line.split(' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(bad("the request line is not \"METHOD target HTTP/1.1\""));
        };
        if method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(bad("the method is not a token"));
        }
        if !target.starts_with('/') || !target.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(bad("the target does not start with / or holds raw characters"));
        }
        let persistent = match version {
            "HTTP/1.1" => true,
            "HTTP/1.0" => false,
            _ => return Err(refused(505, "the version is not HTTP/1.1")),
        };
        let method_end = method.len();
        let target_range = method_end + 1..method_end + 1 + target.len();
        let fields = field_ranges(&head, line_end + 2)?;
        let mut request = Self {
            head,
            method: 0..method_end,
            target: target_range,
            fields,
            body: Vec::new(),
            keep_alive: persistent,
        };
        if persistent && request.field("host").is_none() {
            return Err(bad("the host header is missing"));
        }
        if request.field("connection").is_some_and(|value| value.to_ascii_lowercase().contains("close")) {
            request.keep_alive = false;
        }
        let framing = request.framing()?;
        Ok((request, framing))
    }

    fn framing(&self) -> Result<Framing, ReadError> {
        let mut length = None;
        let mut chunked = false;
        for (name, value) in self.fields() {
            if name.eq_ignore_ascii_case("content-length") {
                let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
                if !digits || length.is_some() {
                    return Err(bad("content-length is not one number"));
                }
                length = Some(value.parse::<usize>().unwrap_or(usize::MAX));
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                if chunked || !value.eq_ignore_ascii_case("chunked") {
                    return Err(refused(501, "only the transfer-encoding chunked is understood"));
                }
                chunked = true;
            }
        }
        match (length, chunked) {
            (Some(_), true) => Err(bad("content-length and transfer-encoding exclude each other")),
            (Some(length), false) if length > BODY_LIMIT => Err(refused(413, "the body is longer than 16 MiB")),
            (Some(length), false) => Ok(Framing::Length(length)),
            (None, true) => Ok(Framing::Chunked),
            (None, false) => Ok(Framing::Length(0)),
        }
    }
}

/// How the body is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunked,
}

fn field_ranges(head: &str, start: usize) -> Result<Vec<Field>, ReadError> {
    let Some(section) = head.get(start..) else { return Ok(Vec::new()) };
    let mut fields = Vec::with_capacity(12);
    let mut at = start;
    for line in section.split("\r\n") {
        let (name, value) = line.split_once(':').ok_or_else(|| bad("a header line has no colon"))?;
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(token) {
            return Err(bad("a header name is not a token"));
        }
        if value.contains(['\r', '\n', '\0']) {
            return Err(bad("a header value holds a line break"));
        }
        let lead = value.len() - value.trim_start_matches([' ', '\t']).len();
        let trimmed = value.trim_matches([' ', '\t']);
        let value_at = at + name.len() + 1 + if trimmed.is_empty() { 0 } else { lead };
        fields.push((at..at + name.len(), value_at..value_at + trimmed.len()));
        at += line.len() + 2;
    }
    Ok(fields)
}

/// A connection with the bytes read ahead.
#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    ahead: BytesMut,
    /// Bytes read since the start.
    pub(super) received: u64,
    /// Bytes written since the start.
    pub(super) sent: u64,
}

impl Wire {
    /// Takes over a connection.
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, ahead: BytesMut::with_capacity(READ_SIZE), received: 0, sent: 0 }
    }

    /// Reads the next request; `None` when the peer left between two.
    pub(super) async fn request(&mut self) -> Result<Option<Request>, ReadError> {
        let Some(end) = self.head_end().await? else { return Ok(None) };
        let head = self.ahead.split_to(end);
        self.ahead.advance(4);
        let head = std::str::from_utf8(&head).map_err(|_| bad("the header section is not UTF-8"))?.to_owned();
        let (mut request, framing) = Request::parse(head)?;
        let expects = request.field("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue"));
        if expects && framing != Framing::Length(0) && self.ahead.is_empty() {
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        request.body = match framing {
            Framing::Length(0) => Vec::new(),
            Framing::Length(length) => self.take(length).await?,
            Framing::Chunked => self.chunks().await?,
        };
        Ok(Some(request))
    }

    async fn head_end(&mut self) -> Result<Option<usize>, ReadError> {
        let mut searched = 0;
        loop {
            let fresh = self.ahead.get(searched..).unwrap_or_default();
            if let Some(at) = fresh.windows(4).position(|window| window == b"\r\n\r\n") {
                return Ok(Some(searched + at));
            }
            if self.ahead.len() > HEADER_LIMIT {
                return Err(refused(431, "the header section is longer than 64 KiB"));
            }
            searched = self.ahead.len().saturating_sub(3);
            if self.fill().await? == 0 {
                return if self.ahead.is_empty() { Ok(None) } else { Err(left_early().into()) };
            }
        }
    }

    async fn fill(&mut self) -> io::Result<usize> {
        self.ahead.reserve(READ_SIZE);
        let read = self.stream.read_buf(&mut self.ahead).await?;
        self.received += read as u64;
        Ok(read)
    }

    async fn take(&mut self, length: usize) -> Result<Vec<u8>, ReadError> {
        while self.ahead.len() < length {
            if self.fill().await? == 0 {
                return Err(left_early().into());
            }
        }
        Ok(self.ahead.split_to(length).to_vec())
    }

    async fn chunk_line(&mut self) -> Result<BytesMut, ReadError> {
        loop {
            if let Some(at) = self.ahead.windows(2).position(|window| window == b"\r\n") {
                let line = self.ahead.split_to(at);
                self.ahead.advance(2);
                return Ok(line);
            }
            if self.ahead.len() > CHUNK_LINE_LIMIT {
                return Err(bad("a line of the chunked framing is too long"));
            }
            if self.fill().await? == 0 {
                return Err(left_early().into());
            }
        }
    }

    async fn chunks(&mut self) -> Result<Vec<u8>, ReadError> {
        let mut body = Vec::new();
        loop {
            let line = self.chunk_line().await?;
            let line = std::str::from_utf8(&line).map_err(|_| bad("a chunk size is not UTF-8"))?;
            let digits = line.split(';').next().unwrap_or_default().trim_end();
            let hexadecimal = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            let size = usize::from_str_radix(digits, 16).unwrap_or(usize::MAX);
            if !hexadecimal {
                return Err(bad("a chunk size is not hexadecimal"));
            }
            if size == 0 {
                break;
            }
            if size > BODY_LIMIT - body.len() {
                return Err(refused(413, "the body is longer than 16 MiB"));
            }
            body.extend_from_slice(&self.take(size).await?);
            if !self.chunk_line().await?.is_empty() {
                return Err(bad("a chunk is longer than its size"));
            }
        }
        let mut trailers = 0;
        loop {
            let line = self.chunk_line().await?;
            trailers += line.len();
            if line.is_empty() {
                return Ok(body);
            }
            if trailers > HEADER_LIMIT {
                return Err(refused(431, "the trailer section is longer than 64 KiB"));
            }
        }
    }

    /// Writes all of `bytes`.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.sent += bytes.len() as u64;
        Ok(())
    }

    /// Returns when the peer has left; keeps at most a header section of what it sends meanwhile.
    pub(super) async fn peer_gone(&mut self) {
        while self.ahead.len() < HEADER_LIMIT {
            match self.fill().await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
        let mut discarded = vec![0; READ_SIZE];
        while let Ok(1..) = self.stream.read(&mut discarded).await {}
    }

    /// Breaks the connection with a TCP reset.
    pub(super) fn reset(self) -> io::Result<()> {
        self.stream.set_zero_linger()
    }

    /// Ends the connection so that the peer can still read what was written, even if it goes on sending.
    pub(super) async fn farewell(mut self) {
        let (patience, mut allowance) = FAREWELL;
        let drain = async {
            self.stream.shutdown().await?;
            let mut discarded = vec![0; READ_SIZE];
            while allowance > 0 {
                match self.stream.read(&mut discarded).await? {
                    0 => break,
                    read => allowance = allowance.saturating_sub(read),
                }
            }
            io::Result::Ok(())
        };
        if !matches!(tokio::time::timeout(patience, drain).await, Ok(Ok(()))) {
            tracing::debug!("a peer did not close its side after the answer");
        }
    }
}

fn left_early() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the peer left within a request")
}
