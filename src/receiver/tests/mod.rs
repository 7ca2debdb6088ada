//! The receiver as a raw client sees it, over real sockets.

mod answers;
mod control;
mod counts;
mod requests;
mod signatures;

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Receiver, ReceiverOptions, Script};

/// Longer than anything here takes; a test that gets so far has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// A receiver on a free port with this script.
async fn receiver(script: &str) -> Receiver {
    let script = Script::parse(script).unwrap();
    Receiver::start(ReceiverOptions { script, ..ReceiverOptions::default() }).await.unwrap()
}

/// A client that sees every byte.
struct Client {
    stream: TcpStream,
    ahead: Vec<u8>,
}

/// A whole response.
#[derive(Debug)]
struct Response {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Response {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

impl Client {
    async fn connect(receiver: &Receiver) -> Self {
        let stream = TcpStream::connect(receiver.address()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, ahead: Vec::new() }
    }

    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        timeout(PATIENCE, self.stream.write_all(bytes.as_ref())).await.unwrap().unwrap();
    }

    /// Sends a GET and reads the response.
    async fn get(&mut self, target: &str) -> Response {
        self.send(format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
        self.response().await
    }

    /// Reads until the peer closes or resets; what came, and how it ended.
    async fn rest(mut self) -> (Vec<u8>, io::Result<()>) {
        let mut bytes = std::mem::take(&mut self.ahead);
        let end = timeout(PATIENCE, self.stream.read_to_end(&mut bytes)).await.unwrap();
        (bytes, end.map(drop))
    }

    async fn fill(&mut self) {
        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.ahead)).await.unwrap().unwrap();
        assert!(read > 0, "the peer closed after {:?}", String::from_utf8_lossy(&self.ahead));
    }

    async fn head(&mut self) -> String {
        loop {
            if let Some(at) = self.ahead.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = self.ahead.drain(..at + 4).collect();
                return String::from_utf8(head).unwrap();
            }
            self.fill().await;
        }
    }

    async fn response(&mut self) -> Response {
        let head = self.head().await;
        assert!(head.starts_with("HTTP/1.1 "), "{head}");
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut response = Response { status, head, body: Vec::new() };
        let length: usize = response.field("content-length").map_or(0, |length| length.parse().unwrap());
        while self.ahead.len() < length {
            self.fill().await;
        }
        response.body = self.ahead.drain(..length).collect();
        response
    }
}

/// The error of a connection that was reset.
fn is_reset(end: &io::Result<()>) -> bool {
    end.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset)
}
