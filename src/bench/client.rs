//! Clients that cost little: they share two cores with the server that is measured.
//!
//! HTTP/1.1 over one connection each, one request after the other. They understand what our own server answers, and
//! nothing else.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::figure::Measured;
use super::server::TOKEN;
use super::{BenchError, failed, sample};
use crate::ops::clock::monotonic;

/// How long a client waits that is told to come back.
const NOT_NOW: Duration = Duration::from_millis(5);
/// Longest answer that is understood.
const MAX_ANSWER: usize = 4 << 20;

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

/// One connection to a server.
#[derive(Debug)]
pub(super) struct Client {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Client {
    pub(super) async fn connect(address: SocketAddr) -> Result<Self, BenchError> {
        let stream = TcpStream::connect(address).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        Ok(Self { stream, read: Vec::with_capacity(4_096) })
    }

    /// Asks, and reads the whole answer.
    pub(super) async fn ask(&mut self, method: &str, path: &str, body: &str) -> Result<Answer, BenchError> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {TOKEN}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream.write_all(request.as_bytes()).await.map_err(failed)?;
        self.read.clear();
        loop {
            if let Some(answer) = whole(&self.read)? {
                return Ok(answer);
            }
            if self.read.len() > MAX_ANSWER {
                return Err(failed("an answer is too long"));
            }
            if self.stream.read_buf(&mut self.read).await.map_err(failed)? == 0 {
                return Err(failed("the server closed a connection"));
            }
        }
    }

    /// Hands in events until they are all taken: "not now" is waited out, as a backend does.
    pub(super) async fn hand_in(&mut self, events: &[String]) -> Result<(), BenchError> {
        let (path, body) = match events {
            [event] => ("/v1/events", event.clone()),
            many => ("/v1/events/batch", format!("[{}]", many.join(","))),
        };
        loop {
            let answer = self.ask("POST", path, &body).await?;
            let said = String::from_utf8_lossy(&answer.body);
            match answer.status {
                202 => return Ok(()),
                200 if said.contains(&format!("\"accepted\":{},", events.len())) => return Ok(()),
                429 | 503 => tokio::time::sleep(NOT_NOW).await,
                status => {
                    let said: String = said.chars().take(500).collect();
                    return Err(failed(format!("{path} was answered {status}: {said}")));
                }
            }
        }
    }
}

/// The answer, once all of it is there.
fn whole(read: &[u8]) -> Result<Option<Answer>, BenchError> {
    let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let (head, body) = read.split_at(end + 4);
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    let (Some(status), Some(length)) = (status, length) else {
        return Err(failed(format!("an answer was not understood: {head}")));
    };
    Ok(body.get(..length).map(|body| Answer { status, body: body.to_vec() }))
}

/// What a number of clients hands in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    /// At once, each waiting for an answer before it goes on.
    pub(super) clients: usize,
    /// Events of one request.
    pub(super) batch: usize,
    /// Events in all, about.
    pub(super) events: usize,
    /// The number of the first event.
    pub(super) first: usize,
    /// The first of the affiliates that they are spread over.
    pub(super) first_affiliate: usize,
    /// The number of these.
    pub(super) affiliates: usize,
}

impl Load {
    /// Requests of each client.
    fn rounds(self) -> usize {
        (self.events / (self.clients * self.batch)).max(1)
    }

    /// Events that are really handed in.
    pub(super) fn count(self) -> usize {
        self.rounds() * self.clients * self.batch
    }

    /// The events of one request.
    fn events_of(self, client: usize, round: usize) -> Vec<String> {
        let first = self.first + (client * self.rounds() + round) * self.batch;
        let event = |number| {
            let affiliate = self.first_affiliate + number % self.affiliates;
            sample::json(&sample::transaction(number), number, affiliate)
        };
        (first..first + self.batch).map(event).collect()
    }

    /// Hands it all in; the clock begins once all are connected. The times are those of requests.
    pub(super) async fn run(self, address: SocketAddr) -> Result<Measured, BenchError> {
        let mut clients = Vec::with_capacity(self.clients);
        for _ in 0..self.clients {
            clients.push(Client::connect(address).await?);
        }
        let mut tasks = JoinSet::new();
        let started = monotonic();
        for (number, mut client) in clients.into_iter().enumerate() {
            tasks.spawn(async move {
                let mut times = Vec::with_capacity(self.rounds());
                for round in 0..self.rounds() {
                    let events = self.events_of(number, round);
                    let begun = monotonic();
                    client.hand_in(&events).await?;
                    times.push(monotonic().duration_since(begun));
                }
                Ok::<_, BenchError>(times)
            });
        }
        let mut times = Vec::new();
        while let Some(done) = tasks.join_next().await {
            times.extend(done.map_err(failed)??);
        }
        Ok(Measured { count: self.count(), took: monotonic().duration_since(started), times })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_with_its_last_byte() {
        let bytes = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}";
        for end in 0..bytes.len() {
            assert!(whole(&bytes[..end]).unwrap().is_none(), "{end}");
        }
        let answer = whole(bytes).unwrap().unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (202, b"{}".as_slice()));
        assert!(whole(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
    }

    #[test]
    fn every_event_of_a_load_has_a_transaction_of_its_own() {
        let load = Load { clients: 3, batch: 4, events: 30, first: 100, first_affiliate: 2, affiliates: 7 };
        let mut all: Vec<String> = Vec::new();
        for client in 0..3 {
            all.extend((0..load.rounds()).flat_map(|round| load.events_of(client, round)));
        }
        let transactions: std::collections::BTreeSet<String> = all
            .iter()
            .map(|json| serde_json::from_str::<serde_json::Value>(json).unwrap()["transaction_id"].to_string())
            .collect();
        assert_eq!((all.len(), transactions.len(), load.count()), (24, 24, 24));
        assert_eq!(transactions.first().unwrap(), "\"dep-000000000100\"");
        assert_eq!(transactions.last().unwrap(), "\"dep-000000000123\"");
    }
}
