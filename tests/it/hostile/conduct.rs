//! How a hostile receiver treats those who connect: byte for byte, and when.
//!
//! It knows nothing of HTTP: a [`Kind`] says what goes over the wire, right or wrong.

use std::any::Any;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::AbortHandle;

use crate::harness::{Authority, Front};

/// One thing that a receiver does.
#[derive(Clone)]
pub(super) enum Step {
    /// Waits for what the other end says first.
    Hear,
    /// Says this.
    Say(Vec<u8>),
    /// Says this over and over, as fast as it goes.
    Flood(Vec<u8>),
    /// Says this over and over, a byte at a time.
    Drip(Vec<u8>),
    /// Does nothing for a while.
    Pause(Duration),
    /// Says that it will say no more, and goes on listening.
    Finish,
    /// Does nothing until the other end leaves.
    Hang,
}

/// What a receiver's port is like.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Port {
    /// Nobody listens at it.
    Closed,
    /// Its queue is full, so that the system drops what comes.
    Full,
    /// Connections are taken.
    Open,
}

/// A way to be hostile, and what the contract makes of it.
#[derive(Clone)]
pub(super) struct Kind {
    /// Its name, which is its affiliate's, too.
    pub(super) name: &'static str,
    pub(super) port: Port,
    /// Whether its URL is https.
    pub(super) secure: bool,
    /// What makes a good handshake before the steps, where one is made.
    pub(super) front: Option<Front>,
    pub(super) steps: Vec<Step>,
    /// Whether the connection ends with a reset.
    pub(super) resets: bool,
    /// The outcome of an attempt; with `|` between two where it depends on who is first.
    pub(super) outcome: &'static str,
    /// What the rule or the error of the attempt says.
    pub(super) says: &'static str,
}

/// The pause between two bytes of a drip.
const DRIP: Duration = Duration::from_millis(100);

/// How many connections there were.
#[derive(Default)]
pub(super) struct Count {
    pub(super) ever: AtomicU64,
    open: AtomicU64,
    most: AtomicU64,
}

impl Count {
    /// Most that were open at once.
    pub(super) fn most(&self) -> u64 {
        self.most.load(Ordering::SeqCst)
    }

    fn opened(self: &Arc<Self>) -> Open {
        self.ever.fetch_add(1, Ordering::SeqCst);
        let open = self.open.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(open, Ordering::SeqCst);
        Open(Arc::clone(self))
    }
}

/// A connection that counts as open.
struct Open(Arc<Count>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A running hostile receiver; it ends when it is dropped.
pub(super) struct Host {
    pub(super) kind: Kind,
    pub(super) address: SocketAddr,
    /// Keeps a closed or full port as it is.
    _kept: Box<dyn Any + Send + Sync>,
    task: Option<AbortHandle>,
}

impl Host {
    /// Starts a receiver of a kind, whose connections are counted.
    pub(super) async fn start(kind: Kind, authority: &Authority, counts: Vec<Arc<Count>>) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = socket.local_addr().unwrap();
        let (kept, task): (Box<dyn Any + Send + Sync>, _) = match kind.port {
            Port::Closed => (Box::new(socket), None),
            Port::Full => {
                let listener = socket.listen(0).unwrap();
                let queued = TcpStream::connect(address).await.unwrap();
                (Box::new((listener, queued)), None)
            }
            Port::Open => {
                let listener = socket.listen(1_024).unwrap();
                let acceptor = kind.front.map(|front| authority.acceptor(front));
                let serving = kind.clone();
                let task = tokio::spawn(async move {
                    while let Ok((stream, _)) = listener.accept().await {
                        let open: Vec<_> = counts.iter().map(Count::opened).collect();
                        let (kind, acceptor) = (serving.clone(), acceptor.clone());
                        tokio::spawn(async move {
                            let _open = open;
                            if kind.resets {
                                stream.set_zero_linger().unwrap();
                            }
                            match acceptor {
                                None => Box::pin(act(stream, &kind.steps)).await,
                                Some(acceptor) => match acceptor.accept(stream).await {
                                    Ok(stream) => Box::pin(act(stream, &kind.steps)).await,
                                    Err(_) => None,
                                },
                            }
                        });
                    }
                });
                (Box::new(()), Some(task.abort_handle()))
            }
        };
        Self { kind, address, _kept: kept, task }
    }

    pub(super) fn url(&self) -> String {
        format!("{}://{}/postback", if self.kind.secure { "https" } else { "http" }, self.address)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Goes through the steps; ends early when the other end has left.
async fn act(mut stream: impl AsyncRead + AsyncWrite + Unpin, steps: &[Step]) -> Option<()> {
    for step in steps {
        match step {
            Step::Hear => {
                stream.read_buf(&mut Vec::with_capacity(16 * 1_024)).await.ok()?;
            }
            Step::Say(bytes) => say(&mut stream, bytes).await?,
            Step::Flood(bytes) => loop {
                say(&mut stream, bytes).await?;
            },
            Step::Drip(bytes) => loop {
                for byte in bytes {
                    say(&mut stream, &[*byte]).await?;
                    tokio::time::sleep(DRIP).await;
                }
            },
            Step::Pause(time) => tokio::time::sleep(*time).await,
            Step::Finish => stream.shutdown().await.ok()?,
            Step::Hang => {
                tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.ok()?;
            }
        }
    }
    Some(())
}

async fn say(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Option<()> {
    stream.write_all(bytes).await.ok()?;
    stream.flush().await.ok()
}
