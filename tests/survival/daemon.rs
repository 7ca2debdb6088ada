//! The real daemon as a process: started, watched and killed; and commands of the same binary.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde_json::Value;
use tokio::sync::watch;

use crate::world::World;

/// Longest that a start may take.
const PATIENCE: Duration = Duration::from_mins(1);
/// The pause between two looks at a process: its end gives no signal that could be awaited here.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// Bytes of a log that are kept: its end.
const LOG_KEPT: usize = 64 << 10;

/// A daemon that was started.
pub(crate) struct Daemon {
    child: Mutex<Child>,
    begun: Instant,
    log: Arc<Mutex<String>>,
    ready: watch::Receiver<Option<String>>,
}

/// A daemon that did not become ready.
#[derive(Debug)]
pub(crate) struct NotReady {
    /// Its exit code, where it ended.
    pub(crate) code: Option<i32>,
    /// The end of its log.
    pub(crate) log: String,
}

fn binary() -> Command {
    tame(Command::new(env!("CARGO_BIN_EXE_postbackd")))
}

fn tame(mut command: Command) -> Command {
    for variable in ["POSTBACKD_CONFIG", "POSTBACKD_URL", "POSTBACKD_TOKEN_FILE", "NOTIFY_SOCKET"] {
        command.env_remove(variable);
    }
    command.env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

/// Runs a command of the binary to its end.
pub(crate) async fn command(configuration: &Path, arguments: &[&str]) -> Output {
    let mut command = binary();
    command.arg("--config").arg(configuration).args(arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

impl Daemon {
    /// Starts it; with words before its own on the command line, such as those of a tracer that stays its parent or not.
    pub(crate) fn start(world: &World, before: &[String]) -> Self {
        let mut command = match before {
            [] => binary(),
            [program, arguments @ ..] => {
                let mut command = tame(Command::new(program));
                command.args(arguments).arg(env!("CARGO_BIN_EXE_postbackd"));
                command
            }
        };
        command.arg("run").arg("--config").arg(world.configuration());
        let begun = Instant::now();
        let mut child =
            command.current_dir(world.path("")).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(String::new()));
        let (said, ready) = watch::channel(None);
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Ok(event) = serde_json::from_str::<Value>(&line)
                    && event["message"] == "daemon.ready"
                {
                    let _ = said.send(event["address"].as_str().map(str::to_owned));
                }
                let mut kept = kept.lock().unwrap();
                kept.push_str(&line);
                kept.push('\n');
                if kept.len() > 2 * LOG_KEPT {
                    let from = kept.ceil_char_boundary(kept.len() - LOG_KEPT);
                    kept.drain(..from);
                }
            }
        });
        Self { child: Mutex::new(child), begun, log, ready }
    }

    /// Waits until it is ready; returns where it listens, and how long it took.
    pub(crate) async fn ready(&self) -> Result<(String, Duration), NotReady> {
        let mut ready = self.ready.clone();
        let waited = tokio::time::timeout(PATIENCE, ready.wait_for(Option::is_some)).await;
        if let Ok(Ok(address)) = waited {
            let address = format!("http://{}", address.as_deref().unwrap_or_default());
            return Ok((address, self.begun.elapsed()));
        }
        let code = if waited.is_ok() { self.ended(PATIENCE).await } else { None };
        Err(NotReady { code, log: self.log() })
    }

    /// Its exit code, once it has ended of itself; `None` where it has not in time, or was killed by a signal.
    pub(crate) async fn ended(&self, within: Duration) -> Option<i32> {
        if !self.over(within).await {
            return None;
        }
        self.child.lock().unwrap().try_wait().unwrap().and_then(|status| status.code())
    }

    /// Waits until it has ended, however it did; false where it has not in time.
    pub(crate) async fn over(&self, within: Duration) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < within {
            if self.child.lock().unwrap().try_wait().unwrap().is_some() {
                return true;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        false
    }

    /// Waits until it has died; longer than this it does not live.
    pub(crate) async fn dead(&self, within: Duration) {
        self.over(within).await;
        self.kill();
    }

    /// Kills it as a crash would.
    pub(crate) fn kill(&self) {
        let mut child = self.child.lock().unwrap();
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let _ = rustix::process::kill_process(Pid::from_child(&self.child.lock().unwrap()), signal);
    }

    /// The end of its log.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}
