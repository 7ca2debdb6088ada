//! The real daemon as a process of its own: started, asked, killed and started again.

use std::io::{BufRead as _, BufReader, Read};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::{TOKEN, patience};

/// A running daemon.
pub(crate) struct Daemon {
    directory: PathBuf,
    child: Child,
    address: String,
    log: UnboundedReceiver<String>,
    environment: Vec<(String, String)>,
    listeners: Option<Listeners>,
    client: reqwest::Client,
}

/// Listeners that the test holds in systemd's stead.
pub(crate) struct Listeners {
    pub(crate) tcp: TcpListener,
    pub(crate) socket: UnixListener,
}

/// An answer of the API.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

/// A command that has ended.
pub(crate) struct Finished {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A command that runs.
pub(crate) struct Running {
    child: Child,
    lines: UnboundedReceiver<String>,
    words: UnboundedReceiver<String>,
}

impl Running {
    /// The next line of its standard output.
    pub(crate) async fn line(&mut self) -> String {
        next(&mut self.lines).await
    }

    /// Waits for a line of its standard error that contains these words.
    pub(crate) async fn says(&mut self, words: &str) {
        while !next(&mut self.words).await.contains(words) {}
    }

    /// Interrupts it, as a person does with Ctrl-C.
    pub(crate) fn interrupt(&self) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    }

    /// Waits for its end; returns its exit code.
    pub(crate) async fn wait(&mut self) -> Option<i32> {
        end_of(&mut self.child, "the command").await
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn next(lines: &mut UnboundedReceiver<String>) -> String {
    tokio::time::timeout(patience(), lines.recv()).await.expect("a line in time").expect("a line before the end")
}

/// The lines of a pipe as they come.
fn lines_of(pipe: impl Read + Send + 'static) -> UnboundedReceiver<String> {
    let (sender, lines) = unbounded_channel();
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    lines
}

async fn end_of(child: &mut Child, what: &str) -> Option<i32> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        assert!(started.elapsed() < patience(), "{what} does not end");
        // The end of a process gives no signal that could be awaited here, and the receivers must go on meanwhile.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postbackd"));
    for variable in ["POSTBACKD_CONFIG", "POSTBACKD_URL", "POSTBACKD_TOKEN_FILE", "NOTIFY_SOCKET"] {
        command.env_remove(variable);
    }
    command.env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

/// The binary with two descriptors as systemd hands them over: 3 and 4, and the process that they are for. They reach the
/// shell that becomes the binary as its standard input and output, so that no other process gets them.
pub(crate) fn activated(third: OwnedFd, fourth: OwnedFd) -> Command {
    let mut command = Command::new("sh");
    let script = "export LISTEN_PID=$$ LISTEN_FDS=2; exec \"$0\" \"$@\" 3<&0 4<&1 </dev/null >/dev/null";
    command.args(["-c", script, env!("CARGO_BIN_EXE_postbackd")]);
    command.env("NO_COLOR", "1").stdin(third).stdout(fourth).stderr(Stdio::piped());
    command
}

/// Runs a command of the binary to its end.
pub(crate) fn command(directory: &Path, arguments: &[&str]) -> Finished {
    let output: Output = binary().current_dir(directory).args(arguments).output().unwrap();
    Finished {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

impl Daemon {
    /// Starts the daemon of a directory with these variables, and waits until it is ready.
    pub(crate) fn start_in(directory: &Path, environment: &[(&str, &str)]) -> Self {
        let environment: Vec<_> = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let (child, address, log) = spawn(directory, &environment, None);
        let client = postbackd::transport::api_client().unwrap().build().unwrap();
        Self { directory: directory.to_path_buf(), child, address, log, environment, listeners: None, client }
    }

    /// Ends it, and starts it again on these listeners, as systemd does; they stay open from now on.
    pub(crate) async fn start_on(&mut self, listeners: Listeners) {
        self.signal(rustix::process::Signal::TERM);
        assert_eq!(self.wait().await, Some(0));
        self.listeners = Some(listeners);
        self.start_again();
    }

    /// Where its files are.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Kills the daemon as a crash would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again on the same directory.
    pub(crate) fn start_again(&mut self) {
        (self.child, self.address, self.log) = spawn(&self.directory, &self.environment, self.listeners.as_ref());
    }

    /// Waits for a line of its log that contains these words; returns those since the last that was waited for, it last.
    pub(crate) async fn logs(&mut self, words: &str) -> Vec<String> {
        let mut seen = Vec::new();
        loop {
            let line = next(&mut self.log).await;
            let is_it = line.contains(words);
            seen.push(line);
            if is_it {
                return seen;
            }
        }
    }

    /// Sends a signal, by its number.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, signal).unwrap();
    }

    /// Its process.
    pub(crate) fn process(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    /// Waits for its end; returns its exit code.
    pub(crate) async fn wait(&mut self) -> Option<i32> {
        end_of(&mut self.child, "the daemon").await
    }

    /// Where its API listens.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Posts JSON with the token that may do everything.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_as(TOKEN, path, "application/json", body.to_string()).await
    }

    /// Posts a body of a type with a token.
    pub(crate) async fn post_as(&self, token: &str, path: &str, kind: &str, body: String) -> Answer {
        let request = self.client.post(self.url(path)).bearer_auth(token).header("content-type", kind).body(body);
        answer(request.send().await.unwrap()).await
    }

    /// Puts JSON with the token that may do everything.
    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        let request = self.client.put(self.url(path)).bearer_auth(TOKEN).header("content-type", "application/json");
        answer(request.body(body.to_string()).send().await.unwrap()).await
    }

    /// Gets with the token that may do everything.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.get_as(TOKEN, path).await
    }

    /// Gets with a token.
    pub(crate) async fn get_as(&self, token: &str, path: &str) -> Answer {
        answer(self.client.get(self.url(path)).bearer_auth(token).send().await.unwrap()).await
    }

    /// Asks again and again until the answer is as told.
    pub(crate) async fn poll(&self, path: &str, done: impl Fn(&Value) -> bool) -> Value {
        let started = Instant::now();
        loop {
            let answer = self.get(path).await;
            if answer.status == 200 && done(&answer.body) {
                return answer.body;
            }
            assert!(started.elapsed() < patience(), "{path} did not get there: {:#}", answer.body);
            // The API has no signal for a change of a single delivery.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Runs a command against this daemon.
    pub(crate) fn command(&self, arguments: &[&str]) -> Finished {
        let config = self.directory.join("postbackd.toml");
        let config = config.to_str().unwrap();
        command(&self.directory, &[&["--config", config], arguments].concat())
    }

    /// Starts a command that is to be killed; nobody reads what it says.
    pub(crate) fn begin_process(&self, arguments: &[&str]) -> Child {
        let mut command = binary();
        command.current_dir(&self.directory).args(["--config", "postbackd.toml"]).args(arguments);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Begins a command against this daemon. With `deaf`, nobody reads its standard output.
    pub(crate) fn begin(&self, arguments: &[&str], deaf: bool) -> Running {
        let mut command = binary();
        command.current_dir(&self.directory).arg("--config").arg(self.directory.join("postbackd.toml")).args(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let lines = if deaf { unbounded_channel().1 } else { lines_of(stdout) };
        Running { child, lines, words: lines_of(stderr) }
    }

    /// Asks anything, with a token where there is one.
    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: Option<&Value>,
    ) -> reqwest::Response {
        let request = self.client.request(method.parse().unwrap(), self.url(path));
        let request = token.into_iter().fold(request, reqwest::RequestBuilder::bearer_auth);
        let request = body.into_iter().fold(request, |request, body| request.body(body.to_string()));
        request.send().await.unwrap()
    }

    /// Listens to a stream with a token, behind a place in it where there is one.
    pub(crate) async fn listen(&self, token: &str, path: &str, behind: Option<&str>) -> reqwest::Response {
        let request = self.client.get(self.url(path)).bearer_auth(token);
        let request = behind.into_iter().fold(request, |request, place| request.header("last-event-id", place));
        request.send().await.unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn answer(response: reqwest::Response) -> Answer {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = response.bytes().await.unwrap();
    Answer { status, headers, body: serde_json::from_slice(&body).unwrap_or(Value::Null) }
}

/// Starts the process; its log says when it is ready and where. The rest of the log is read so that it never blocks.
fn spawn(
    directory: &Path,
    environment: &[(String, String)],
    listeners: Option<&Listeners>,
) -> (Child, String, UnboundedReceiver<String>) {
    let config = directory.join("postbackd.toml");
    let mut command = binary();
    command.stdout(Stdio::null());
    if let Some(Listeners { tcp, socket }) = listeners {
        command = activated(tcp.try_clone().unwrap().into(), socket.try_clone().unwrap().into());
    }
    command.current_dir(directory).arg("run").arg("--config").arg(&config).stderr(Stdio::piped());
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    let mut child = command.spawn().unwrap();
    let log = BufReader::new(child.stderr.take().unwrap());
    let (ready, waiting) = mpsc::channel();
    let (sender, lines) = unbounded_channel();
    std::thread::spawn(move || {
        let mut seen = String::new();
        for line in log.lines().map_while(Result::ok) {
            if let Ok(event) = serde_json::from_str::<Value>(&line)
                && event["message"] == "daemon.ready"
            {
                let _ = ready.send(Ok(event["address"].as_str().unwrap().to_owned()));
            }
            if seen.len() < 20_000 {
                seen.push_str(&line);
                seen.push('\n');
            }
            // Most tests do not look at it.
            let _ = sender.send(line);
        }
        let _ = ready.send(Err(seen));
    });
    match waiting.recv_timeout(patience()) {
        Ok(Ok(address)) => (child, address, lines),
        Ok(Err(log)) => panic!("the daemon did not become ready:\n{log}"),
        Err(late) => panic!("the daemon did not become ready in time: {late}"),
    }
}
