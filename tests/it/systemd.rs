//! What systemd and the daemon tell each other: readiness, progress, the end, and listeners that outlive a restart.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::process::Signal;
use serde_json::json;
use tokio::net::UnixDatagram;

use crate::harness::{INGEST_TOKEN, Listeners, QUICK_RETRY, World, activated, ftd, partner, patience};

/// The socket that systemd would listen to, and what is said on it.
struct Manager {
    directory: tempfile::TempDir,
    socket: UnixDatagram,
}

impl Manager {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        Self { directory, socket }
    }

    fn path(&self) -> String {
        self.directory.path().join("notify").to_str().unwrap().to_owned()
    }

    /// The next thing that it is told.
    async fn told(&self) -> String {
        let mut buffer = [0; 4096];
        let length = tokio::time::timeout(patience(), self.socket.recv(&mut buffer)).await.expect("a word in time");
        String::from_utf8(buffer[..length.unwrap()].to_vec()).unwrap()
    }

    /// Waits until it is told this, and returns all that it was told, this last.
    async fn until(&self, words: &str) -> Vec<String> {
        let mut told = Vec::new();
        loop {
            told.push(self.told().await);
            if told.last().unwrap().contains(words) {
                return told;
            }
        }
    }
}

#[tokio::test]
async fn systemd_is_told_of_the_start_of_progress_and_of_the_stop() {
    let manager = Manager::new();
    let environment = [("NOTIFY_SOCKET", &*manager.path()), ("WATCHDOG_USEC", "1000000")];
    let partners = vec![partner("acme", "delay 1500ms 200")];
    let mut world = World::in_environment(partners, QUICK_RETRY, &environment).await;
    let opening = manager.told().await;
    assert!(opening.contains("EXTEND_TIMEOUT_USEC=60000000\n"), "{opening}");
    let ready = manager.until("READY=1\n").await;
    assert!(ready.iter().all(|told| !told.contains("WATCHDOG=1")), "{ready:?}");
    for _ in 0..3 {
        assert_eq!(manager.told().await, "WATCHDOG=1\n");
    }
    let id = world.accept(ftd("acme", "dep-1")).await;
    world.received("acme", |ledger| ledger.requests == 1).await;
    world.daemon.signal(Signal::TERM);
    let stopping = manager.until("STOPPING=1\n").await.pop().unwrap();
    // [dispatch] shutdown, 30 s by default, and what the store needs to close.
    assert!(stopping.contains("EXTEND_TIMEOUT_USEC=45000000\n"), "{stopping}");
    assert_eq!(manager.told().await, "WATCHDOG=1\n", "what is in flight takes longer than the watchdog waits");
    assert_eq!(world.daemon.wait().await, Some(0));
    world.daemon.start_again();
    assert_eq!(world.until(&id, "delivered").await["delivery"]["attempts"], 1);
}

fn listeners(world: &World) -> Listeners {
    let path = world.path("inherited.sock");
    Listeners { tcp: TcpListener::bind("127.0.0.1:0").unwrap(), socket: UnixListener::bind(path).unwrap() }
}

/// Hands events in one by one, each on a connection of its own, until it is told to end; returns those acknowledged.
async fn produce(
    address: std::net::SocketAddr,
    name: usize,
    progress: Arc<AtomicUsize>,
    end: Arc<AtomicBool>,
) -> Vec<String> {
    let client = postbackd::transport::api_client().unwrap().pool_max_idle_per_host(0).build().unwrap();
    let mut acknowledged = Vec::new();
    while !end.load(Ordering::Relaxed) {
        let transaction = format!("dep-{name}-{}", acknowledged.len());
        let request = client.post(format!("http://{address}/v1/events")).bearer_auth(INGEST_TOKEN);
        let request = request.header("content-type", "application/json").body(ftd("acme", &transaction).to_string());
        let answer = request.send().await.unwrap_or_else(|error| panic!("{transaction} was turned away: {error:?}"));
        assert_eq!(answer.status(), 202);
        acknowledged.push(transaction);
        progress.fetch_add(1, Ordering::Relaxed);
    }
    acknowledged
}

/// Nobody is refused while the daemon restarts under load: the kernel keeps whoever connects meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_connects_during_a_restart_waits() {
    let mut world = World::with(vec![partner("acme", "200")]).await;
    let held = listeners(&world);
    let address = held.tcp.local_addr().unwrap();
    world.daemon.start_on(held).await;
    assert_eq!(world.daemon.address(), address.to_string());
    let (progress, end) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let producers: Vec<_> =
        (0..4).map(|name| tokio::spawn(produce(address, name, Arc::clone(&progress), Arc::clone(&end)))).collect();
    for round in 1..=5 {
        while progress.load(Ordering::Relaxed) < round * 40 {
            assert!(producers.iter().all(|producer| !producer.is_finished()), "a producer was turned away");
            tokio::task::yield_now().await;
        }
        world.daemon.signal(Signal::TERM);
        assert_eq!(world.daemon.wait().await, Some(0));
        world.daemon.start_again();
    }
    end.store(true, Ordering::Relaxed);
    let mut acknowledged = BTreeSet::new();
    for producer in producers {
        acknowledged.extend(producer.await.unwrap());
    }
    let stats = world.at_rest().await;
    assert_eq!(stats["totals"]["accepted"], json!(acknowledged.len()));
    assert_eq!(stats["deliveries"], json!({ "delivered": acknowledged.len() }));
    assert_eq!(world.receiver("acme").ledger().duplicate_keys, 0);
}

#[tokio::test]
async fn listeners_of_systemd_win_are_left_behind_and_a_difference_is_told() {
    let mut world = World::with(vec![partner("acme", "200")]).await;
    let held = listeners(&world);
    world.daemon.start_on(held).await;
    for key in ["[api] listen", "[api] socket"] {
        let line = world.daemon.logs("listener.inherited").await.pop().unwrap();
        assert!(line.contains("WARN") && line.contains(key), "{line}");
    }
    assert!(!world.path("postbackd.sock").exists(), "the configured socket is not bound");
    let file = world.path("postbackd.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let same = text.replace("postbackd.sock", world.path("inherited.sock").to_str().unwrap());
    std::fs::write(&file, same).unwrap();
    world.daemon.signal(Signal::TERM);
    assert_eq!(world.daemon.wait().await, Some(0));
    assert!(world.path("inherited.sock").exists(), "the file is systemd's to remove");
    world.daemon.start_again();
    world.daemon.logs("[api] listen").await;
    let line = world.daemon.logs("listener.inherited").await.pop().unwrap();
    assert!(line.contains("INFO") && line.contains("inherited.sock"), "{line}");
    assert_eq!(world.daemon.command(&["stats", "--json"]).code, 0, "the command finds it by its socket");
}

#[tokio::test]
async fn what_cannot_be_listened_on_is_refused() {
    let world = World::with(vec![partner("acme", "200")]).await;
    let tcp = || TcpListener::bind("127.0.0.1:0").unwrap();
    let connection = std::net::TcpStream::connect(world.daemon.address()).unwrap();
    let file = std::fs::File::open("/dev/null").unwrap();
    let cases: [(OwnedFd, OwnedFd, &str); 3] = [
        (tcp().into(), tcp().into(), "more than one TCP listener"),
        (tcp().into(), connection.into(), "Accept=yes"),
        (tcp().into(), file.into(), "listener 1 from systemd is neither"),
    ];
    for (third, fourth, why) in cases {
        let mut command = activated(third, fourth);
        let output = command.current_dir(world.directory.path()).args(["run", "--config", "postbackd.toml"]).output();
        let output = output.unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.contains(why), "{why}: {told}");
        assert_eq!(output.status.code(), Some(7), "systemd must not start it again and again");
    }
}
