//! The built gateway as a child process with a folder of its own: started, asked, stopped, killed, started again.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::audit::AuditTrail;
use crate::canned;
use crate::client::{Answer, Client};
use crate::key::Key;
use crate::metrics::Metrics;
use crate::recorded::holds;
use crate::request::Request;
use crate::setup::Setup;
use crate::sse::Streamed;
use crate::wait::{eventually, soon};

/// Files of the gateway's folder that the test wrote itself.
const WRITTEN_BY_THE_TEST: [&str; 4] = ["gateway.yaml", "keys.yaml", "policy.yaml", "pack.yaml"];

/// A running gateway; dropping it kills the process and removes the folder.
#[derive(Debug)]
pub struct Gateway {
    folder: TempDir,
    setup: Setup,
    child: Child,
    address: SocketAddr,
    admin: SocketAddr,
}

impl Gateway {
    pub(crate) async fn start(setup: Setup) -> Self {
        let folder = tempfile::Builder::new().prefix("portcullis-").tempdir().expect("a temporary folder");
        setup.write(folder.path());
        let (child, address, admin) = launch(folder.path(), &setup).await;
        Self { folder, setup, child, address, admin }
    }

    /// The public listener.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The admin listener.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// The process's id.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("a gateway that runs")
    }

    /// The first of its keys.
    pub fn key(&self) -> &Key {
        &self.setup.keys[0]
    }

    /// The folder with its configuration, store and log.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A new connection to the public listener.
    pub async fn client(&self) -> Client {
        Client::connect(self.address).await
    }

    /// Sends a request on a new connection.
    pub async fn exchange(&self, request: &Request) -> Answer {
        self.client().await.exchange(request.bytes()).await
    }

    /// Posts a chat request on a new connection.
    pub async fn chat(&self, body: &Value) -> Answer {
        self.exchange(&Request::chat(self.key(), body)).await
    }

    /// Posts a chat request with one user message on a new connection.
    pub async fn say(&self, text: &str) -> Answer {
        self.chat(&canned::chat(text)).await
    }

    /// Posts a chat request for a stream on a new connection and reads it to its end.
    pub async fn say_streamed(&self, text: &str) -> Streamed {
        self.client().await.exchange_stream(Request::chat(self.key(), &canned::chat_stream(text)).bytes()).await
    }

    /// A GET on the admin listener.
    pub async fn admin(&self, target: &str) -> Answer {
        Client::connect(self.admin).await.exchange(Request::new("GET", target).bytes()).await
    }

    /// What `/metrics` says now.
    pub async fn metrics(&self) -> Metrics {
        let answer = self.admin("/metrics").await;
        assert_eq!(answer.status(), 200, "/metrics");
        Metrics::parse(&answer.text())
    }

    /// The whole lines it has logged.
    pub fn log(&self) -> String {
        let mut log = std::fs::read(self.folder().join("gateway.log")).unwrap_or_default();
        log.truncate(log.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1));
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Waits until its log holds all of `words` in one line, and returns that line.
    pub async fn logged(&self, words: &[&str]) -> String {
        crate::eventually(&format!("a line of the log with {words:?}"), || {
            self.log().lines().find(|line| words.iter().all(|word| line.contains(word))).map(str::to_owned)
        })
        .await
    }

    /// What it has put on record.
    pub fn trail(&self) -> AuditTrail {
        AuditTrail::new(self.store())
    }

    /// The audit store's file.
    pub fn store(&self) -> PathBuf {
        self.folder().join("audit.db")
    }

    /// The files the gateway wrote (log, audit store and what lies beside it) in which `needle` occurs.
    pub fn files_holding(&self, needle: &str) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.folder()).expect("the gateway's folder");
        entries
            .map(|entry| entry.expect("an entry of the gateway's folder").path())
            .filter(|path| path.is_file() && !WRITTEN_BY_THE_TEST.iter().any(|name| path.ends_with(name)))
            .filter(|path| holds(&std::fs::read(path).unwrap_or_default(), needle.as_bytes()))
            .collect()
    }

    /// Whether the process has ended.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Asks it to stop (SIGTERM) and waits until it has.
    pub async fn stop(&mut self) -> ExitStatus {
        signal(self.pid(), libc::SIGTERM);
        soon("the gateway to stop after SIGTERM", self.child.wait()).await.expect("a child to wait for")
    }

    /// Tells it to read its files again (SIGHUP).
    pub fn hang_up(&self) {
        signal(self.pid(), libc::SIGHUP);
    }

    /// Puts another text in the place of a file of its folder, at once, as editors and configuration managers do.
    pub fn replace_file(&self, name: &str, text: &str) {
        let next = self.folder().join(format!("{name}.next"));
        std::fs::write(&next, text).unwrap_or_else(|error| panic!("{}: {error}", next.display()));
        std::fs::rename(&next, self.folder().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    }

    /// Kills it (SIGKILL) and waits until it is gone.
    pub async fn kill(&mut self) {
        soon("the gateway to be killed", self.child.kill()).await.expect("a child to kill");
    }

    /// Starts it again on the same folder, after [`Gateway::stop`] or [`Gateway::kill`].
    pub async fn restart(&mut self) {
        let (child, address, admin) = launch(self.folder.path(), &self.setup).await;
        (self.child, self.address, self.admin) = (child, address, admin);
    }

    /// Waits until the process has ended by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        soon("the gateway to end", self.child.wait()).await.expect("a child to wait for")
    }

    /// Takes a variable out of its environment; for the next start.
    pub fn forget_env(&mut self, name: &str) {
        self.setup.environment.retain(|(known, _)| known != name);
    }

    /// Memory held (`VmRSS`), in bytes.
    pub fn resident_bytes(&self) -> u64 {
        resident_bytes(self.pid())
    }
}

/// Memory held by a process (`VmRSS`), in bytes.
pub fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the status of a running process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS in the status");
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("VmRSS in kB");
    kibibytes * 1024
}

/// The gateway's executable: `PORTCULLIS_BIN`, or the one in the target folder of the profile this test was built with.
pub fn executable() -> PathBuf {
    if let Some(path) = std::env::var_os("PORTCULLIS_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().expect("the path of this executable");
    let profile = test.ancestors().find(|folder| folder.join("deps").is_dir() && folder.join("build").is_dir());
    let path = profile.expect("a test lies in a target folder").join("portcullis");
    assert!(path.is_file(), "{} is missing: build it with `cargo build -p portcullis`, or run `make test`", path.display());
    path
}

/// Runs a subcommand to its end with `stdin`, in `folder`.
pub async fn run(folder: &Path, arguments: &[&str], stdin: &str) -> Ran {
    run_with(folder, arguments, &[], stdin).await
}

/// The same, with more variables in its environment.
pub async fn run_with(folder: &Path, arguments: &[&str], variables: &[(&str, &str)], stdin: &str) -> Ran {
    use tokio::io::AsyncWriteExt as _;
    let mut child = Command::new(executable())
        .args(arguments)
        .envs(variables.iter().copied())
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the gateway's executable starts");
    let mut pipe = child.stdin.take().expect("a piped stdin");
    let feed = async move {
        // A command that does not read its input closes the pipe.
        drop(pipe.write_all(stdin.as_bytes()).await);
    };
    let (output, ()) = soon(&format!("portcullis {arguments:?}"), async { tokio::join!(child.wait_with_output(), feed) }).await;
    let output = output.expect("the output of a child");
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("UTF-8 on stdout"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8 on stderr"),
    }
}

/// A subcommand that has ended.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Its exit code; `None` after a signal.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it complained.
    pub stderr: String,
}

async fn launch(folder: &Path, setup: &Setup) -> (Child, SocketAddr, SocketAddr) {
    let ready = folder.join("ready.json");
    drop(std::fs::remove_file(&ready));
    let log = File::options().create(true).append(true).open(folder.join("gateway.log")).expect("a log file");
    let mut child = Command::new(executable())
        .args(["serve", "--config", "gateway.yaml", "--ready-file", "ready.json"])
        .current_dir(folder)
        .envs(setup.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a second handle on the log"))
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .expect("the gateway's executable starts");
    let announced: Value = eventually("the gateway's ready file", || {
        if let Ok(Some(status)) = child.try_wait() {
            let log = std::fs::read_to_string(folder.join("gateway.log")).unwrap_or_default();
            panic!("the gateway ended at its start ({status}):\n{log}");
        }
        // Half a file is no JSON yet.
        serde_json::from_slice(&std::fs::read(&ready).ok()?).ok()
    })
    .await;
    let address = |name: &str| announced[name].as_str().and_then(|text| text.parse().ok()).expect("an address in the ready file");
    (child, address("listen"), address("admin"))
}

/// Sends a signal to a child of this process.
#[expect(unsafe_code, reason = "libc::kill takes two integers and touches no memory; std offers SIGKILL only")]
fn signal(pid: u32, signal: i32) {
    let pid = i32::try_from(pid).expect("a process id fits");
    // SAFETY: `kill` reads its two arguments and nothing else; the child has not been waited for, so its id is still its own.
    let result = unsafe { libc::kill(pid, signal) };
    assert_eq!(result, 0, "signal {signal} to {pid}");
}
