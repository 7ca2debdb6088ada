//! The daemon as a process of its own: its memory and its processor time are its own, and it can be killed.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::client::{Client, Load};
use super::figure::Measured;
use super::server::PATIENCE;
use super::{BenchError, failed, sample};
use crate::ops::clock::monotonic;
use crate::receiver::{LedgerSnapshot, Receiver};

/// How often it is asked whether all is settled.
const LOOK_PAUSE: Duration = Duration::from_millis(10);

/// A running daemon; killed when dropped.
#[derive(Debug)]
pub(super) struct Child {
    process: std::process::Child,
    pub(super) address: SocketAddr,
    /// From the start of the process until it was ready.
    pub(super) ready_after: Duration,
}

impl Child {
    /// Starts the daemon of a configuration, and waits until it is ready.
    pub(super) async fn start(config: &Path) -> Result<Self, BenchError> {
        let program: PathBuf = std::env::current_exe().map_err(failed)?;
        let mut command = Command::new(program);
        command.arg("--config").arg(config).arg("run").stdin(Stdio::null()).stdout(Stdio::null());
        let began = monotonic();
        let mut process = command.stderr(Stdio::piped()).spawn().map_err(failed)?;
        let log = process.stderr.take().ok_or_else(|| failed("the daemon has no log"))?;
        let (ready, readiness) = mpsc::channel();
        // Reads on until the daemon ends: a full pipe would stop it.
        std::thread::spawn(move || {
            let mut last = String::new();
            for line in BufReader::new(log).lines().map_while(Result::ok) {
                if let Some(address) = address_in(&line) {
                    // Fails once nobody waits any more.
                    let _ = ready.send(Ok(address));
                }
                last = line;
            }
            let _ = ready.send(Err(last));
        });
        let waited = tokio::task::spawn_blocking(move || readiness.recv_timeout(PATIENCE)).await.map_err(failed)?;
        let child = |address| Self { process, address, ready_after: monotonic().duration_since(began) };
        match waited {
            Ok(Ok(address)) => Ok(child(address)),
            Ok(Err(last)) => Err(failed(format!("the daemon ended: {last}"))),
            Err(_) => Err(failed("the daemon was not ready in time")),
        }
    }

    /// Bytes of memory that it holds.
    pub(super) fn resident_bytes(&self) -> Result<f64, BenchError> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).map_err(failed)?;
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok());
        kib.map(|kib: f64| kib * 1_024.0).ok_or_else(|| failed("the kernel does not tell the memory of the daemon"))
    }

    /// Processor time of its threads so far, by their names (proc(5), `schedstat`).
    pub(super) fn cpu(&self) -> Result<BTreeMap<String, Duration>, BenchError> {
        let mut by_name = BTreeMap::<String, Duration>::new();
        for task in std::fs::read_dir(format!("/proc/{}/task", self.process.id())).map_err(failed)? {
            let task = task.map_err(failed)?.path();
            // A thread may end while it is looked at.
            let Ok(stat) = std::fs::read_to_string(task.join("schedstat")) else { continue };
            let Ok(name) = std::fs::read_to_string(task.join("comm")) else { continue };
            let nanos = stat.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or_default();
            *by_name.entry(name.trim().to_owned()).or_default() += Duration::from_nanos(nanos);
        }
        Ok(by_name)
    }

    /// Lets an affiliate's deliveries go out.
    pub(super) async fn resume(&self, affiliate: usize) -> Result<(), BenchError> {
        let path = format!("/v1/affiliates/{}/resume", sample::affiliate(affiliate));
        let answer = Client::connect(self.address).await?.ask("POST", &path, "{\"reason\":\"bench\"}").await?;
        if answer.status == 200 { Ok(()) } else { Err(failed(format!("{path} was answered {}", answer.status))) }
    }

    /// Deliveries that have arrived since the store was made.
    pub(super) async fn delivered(&self) -> Result<u64, BenchError> {
        let answer = Client::connect(self.address).await?.ask("GET", "/v1/stats", "").await?;
        let stats: Value = serde_json::from_slice(&answer.body).map_err(failed)?;
        let delivered = stats.get("deliveries").and_then(|counts| counts.get("delivered"));
        Ok(delivered.and_then(Value::as_u64).unwrap_or_default())
    }

    /// Hands events in, and waits until all of them are received and settled.
    pub(super) async fn whole_way(&self, receiver: &Receiver, load: Load) -> Result<Measured, BenchError> {
        receiver.start_over();
        let before = self.delivered().await?;
        let started = monotonic();
        load.run(self.address).await?;
        self.settled(receiver, before, load.count()).await?;
        Ok(Measured { count: load.count(), took: monotonic().duration_since(started), times: Vec::new() })
    }

    /// Waits until so many more are received and settled than there were before.
    pub(super) async fn settled(&self, receiver: &Receiver, before: u64, count: usize) -> Result<(), BenchError> {
        let count = count as u64;
        let done = |ledger: &LedgerSnapshot| ledger.accepted_keys >= count;
        let waited = receiver.wait_for(done, PATIENCE).await;
        waited.map_err(|ledger| failed(format!("only {} of {count} arrived", ledger.accepted_keys)))?;
        let until = monotonic() + PATIENCE;
        while self.delivered().await? < before + count {
            if monotonic() > until {
                return Err(failed("not everything was settled"));
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        Ok(())
    }

    /// Ends it as an operator does, and waits for its end.
    pub(super) async fn stop(mut self) -> Result<(), BenchError> {
        let pid = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| failed("the daemon has no process id"))?;
        kill_process(pid, Signal::TERM).map_err(failed)?;
        let ended = tokio::task::spawn_blocking(move || self.process.wait()).await.map_err(failed)?.map_err(failed)?;
        if ended.success() { Ok(()) } else { Err(failed(format!("the daemon ended with {ended}"))) }
    }

    /// Kills it, as the kernel does where memory is short.
    pub(super) fn kill(mut self) -> Result<(), BenchError> {
        self.process.kill().map_err(failed)?;
        self.process.wait().map(drop).map_err(failed)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The address in the line of the log that says that the daemon is ready.
fn address_in(line: &str) -> Option<SocketAddr> {
    let line: Value = serde_json::from_str(line).ok()?;
    let fields = line.get("fields").unwrap_or(&line);
    let is_ready = fields.get("message").and_then(Value::as_str) == Some("daemon.ready");
    fields.get("address").filter(|_| is_ready)?.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_stands_in_the_line_that_says_ready() {
        let line = |message: &str| format!("{{\"fields\":{{\"message\":\"{message}\",\"address\":\"127.0.0.1:7\"}}}}");
        assert_eq!(address_in(&line("daemon.ready")), Some(SocketAddr::from(([127, 0, 0, 1], 7))));
        assert_eq!(address_in(&line("listener.inherited")), None);
        assert_eq!(address_in("not json"), None);
    }
}
