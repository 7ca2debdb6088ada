//! The demo's affiliates: receivers of every temper, and the configuration that leads to them.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};
use tokio::net::TcpSocket;

use super::DemoError;
use crate::receiver::{LedgerKey, Receiver, ReceiverOptions, Script};

/// How a receiver behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Temper {
    /// Answers 200.
    Healthy,
    /// Fails now and then, and recovers.
    Flaky,
    /// Asks to wait now and then.
    Throttling,
    /// Hangs or resets now and then, and recognises duplicates.
    Hanging,
    /// Refuses every connection.
    Dead,
    /// Answers 200 with an error in the body now and then.
    Lying,
    /// Hangs now and then, and does not recognise duplicates.
    Forgetful,
    /// Hears of everybody's events.
    Global,
}

impl Temper {
    /// The temper for people.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Flaky => "500 now and then",
            Self::Throttling => "429 now and then",
            Self::Hanging => "hangs and resets",
            Self::Dead => "refuses connections",
            Self::Lying => "200 with an error",
            Self::Forgetful => "hangs, no dedupe",
            Self::Global => "hears of everybody",
        }
    }

    fn script(self) -> &'static str {
        match self {
            Self::Healthy | Self::Global | Self::Dead => "200 body=\"OK\"",
            Self::Flaky => "20% => 500,200\n3% seed=2 => 502,503,500,200",
            Self::Throttling => "2% => 429 retry-after=1,200",
            Self::Hanging => "2% => hang,200\n4% seed=3 => reset,200\n2% seed=5 => reset-after-headers,200",
            Self::Lying => "20% => 200 body=\"success=false; err_msg=Invalid Trans. ID\"\n200 body=\"success=true;\"",
            Self::Forgetful => "2% => hang",
        }
    }

    /// What the affiliate's file says beside the URL.
    fn settings(self) -> &'static str {
        match self {
            Self::Healthy | Self::Flaky | Self::Throttling | Self::Hanging | Self::Forgetful | Self::Global => "",
            Self::Dead => "[postback.retry]\nschedule = [\"100ms\", \"200ms\"]\n",
            Self::Lying => {
                "[[postback.response]]\nwhen = { status = \"200\", body_contains = \"success=false\" }\nthen = \"rejected\"\n"
            }
        }
    }
}

/// One affiliate with its receiver.
pub(crate) struct Player {
    pub(crate) id: &'static str,
    pub(crate) temper: Temper,
    pub(crate) receiver: Receiver,
    url: String,
    _closed: Option<ClosedPort>,
}

/// All of them.
pub(crate) struct Cast {
    pub(crate) players: Vec<Player>,
}

/// The affiliates that players of the casino come from.
pub(crate) const AFFILIATES: [(&str, Temper); 7] = [
    ("aurora", Temper::Healthy),
    ("borealis", Temper::Flaky),
    ("cobalt", Temper::Throttling),
    ("drift", Temper::Hanging),
    ("ember", Temper::Dead),
    ("fable", Temper::Lying),
    ("glacier", Temper::Forgetful),
];
/// The one that hears of everybody's events.
pub(crate) const GLOBAL: &str = "harbor";

pub(crate) async fn start(_seed: u64) -> Result<Cast, DemoError> {
    let mut players = Vec::new();
    for (id, temper) in AFFILIATES.into_iter().chain([(GLOBAL, Temper::Global)]) {
        let script = Script::parse(temper.script()).map_err(|error| DemoError::Script(error.to_string()))?;
        let key: LedgerKey =
            "eid".parse().map_err(|error: crate::receiver::LedgerKeyError| DemoError::Script(error.to_string()))?;
        let receiver = Receiver::start(ReceiverOptions { script, key, ..ReceiverOptions::default() }).await?;
        let closed = if temper == Temper::Dead { Some(ClosedPort::take()?) } else { None };
        let url = closed.as_ref().map_or_else(|| receiver.url("/postback"), ClosedPort::url);
        players.push(Player { id, temper, receiver, url, _closed: closed });
    }
    Ok(Cast { players })
}

/// A port that nobody listens on, and that nobody else is given: the next receiver would be, if it were only free.
struct ClosedPort {
    _socket: TcpSocket,
    address: SocketAddr,
}

impl ClosedPort {
    fn take() -> Result<Self, DemoError> {
        let take = || {
            let socket = TcpSocket::new_v4()?;
            socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
            Ok(Self { address: socket.local_addr()?, _socket: socket })
        };
        take().map_err(|source| DemoError::Write { path: "a closed port".into(), source })
    }

    fn url(&self) -> String {
        format!("http://{}/postback", self.address)
    }
}

impl Cast {
    /// The files of the configuration, by name.
    pub(crate) fn files(&self, token: &str) -> Vec<(PathBuf, String)> {
        let ports = self.players.iter().filter_map(|player| player.url.split(['/', ':']).nth(4));
        let ports: Vec<&str> = ports.collect();
        let daemon = format!(
            "events = \"events.toml\"\naffiliates = \"affiliates\"\n\
             [outbox]\npath = \"outbox\"\nkeep_free = \"64MiB\"\n\
             [api]\nlisten = \"127.0.0.1:0\"\n\
             [[api.token]]\nname = \"casino-backend\"\nsha256 = \"{}\"\nscopes = [\"ingest\"]\n\
             [egress]\nallow = [\"127.0.0.0/8\"]\nports = [{}]\n\
             [defaults]\ninsecure_http = true\n\
             [defaults.timeout]\ntotal = \"700ms\"\nconnect = \"500ms\"\n\
             [defaults.retry]\ninitial = \"150ms\"\nfactor = 2.0\nmax_delay = \"2s\"\nmax_attempts = 8\n",
            hex::encode(Sha256::digest(token)),
            ports.join(", ")
        );
        let mut files = vec![
            (PathBuf::from("postbackd.toml"), daemon),
            (PathBuf::from("events.toml"), include_str!("../../config/events.toml").into()),
        ];
        for player in &self.players {
            files.push((PathBuf::from(format!("affiliates/{}.toml", player.id)), player.file()));
        }
        files
    }
}

impl Player {
    fn file(&self) -> String {
        let Self { id, temper, url, .. } = self;
        // The demo is over in seconds: a breaker would still be probing the dead receiver tomorrow.
        let breaker = "[limits.breaker]\nfailures = 0\n";
        let concurrency = match temper {
            Temper::Hanging | Temper::Forgetful => 16,
            _ => 8,
        };
        let retry = if *temper == Temper::Dead { temper.settings() } else { "" };
        let rules = if *temper == Temper::Dead { "" } else { temper.settings() };
        format!(
            "id = \"{id}\"\nname = \"{id}\"\nglobal = {}\n[limits]\nconcurrency = {concurrency}\n{breaker}\
             [[postback]]\nname = \"conversions\"\nevents = \"*\"\nmethod = \"GET\"\nreceiver_dedupes = {}\n\
             url = \"{url}?eid={{event_id}}&cid={{click_id}}&txid={{transaction_id}}&goal={{type}}&status={{status}}\
             &payout={{payout|fixed(2)}}&cur={{currency}}&sub1={{sub_ids.sub1}}&orig={{reverses}}\"\n{retry}{rules}",
            *temper == Temper::Global,
            *temper != Temper::Forgetful,
        )
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_closed_port_refuses_and_is_nobody_elses() {
        let closed = ClosedPort::take().unwrap();
        assert_eq!(TcpStream::connect(closed.address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        assert_eq!(TcpListener::bind(closed.address).unwrap_err().kind(), ErrorKind::AddrInUse);
    }
}
