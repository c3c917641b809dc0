//! A ClickHouse of its own for a test: `tests/clickhouse/server.py`, the real engine, with faults on demand.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::client::Client;
use crate::gateway::executable;
use crate::request::Request;
use crate::setup::repository;
use crate::wait::within;

/// A start of Python and of the engine, on a machine that may be busy.
const START_MAX: Duration = Duration::from_secs(60);

/// A running server; dropping it kills the process and removes its data.
#[derive(Debug)]
pub struct ClickHouse {
    folder: TempDir,
    options: Vec<String>,
    zone: String,
    tls: bool,
    child: Child,
    address: SocketAddr,
}

impl ClickHouse {
    /// Starts one on a free port that anybody may use.
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// Starts one that knows this one user.
    pub async fn with_user(user: &str, password: &str) -> Self {
        Self::with(&["--user", user, "--password", password]).await
    }

    /// Starts one behind TLS. [`ClickHouse::query`] and [`ClickHouse::fault`] do not speak to it.
    pub async fn with_tls(certificate: &Path, key: &Path) -> Self {
        Self::with(&["--certificate", &certificate.to_string_lossy(), "--key", &key.to_string_lossy()]).await
    }

    /// Starts one whose clock shows another time of day.
    pub async fn in_time_zone(zone: &str) -> Self {
        Self::with_zone(&[], zone).await
    }

    async fn with(options: &[&str]) -> Self {
        Self::with_zone(options, "UTC").await
    }

    async fn with_zone(options: &[&str], zone: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("clickhouse-").tempdir().expect("a temporary folder");
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        let (child, address) = launch(folder.path(), 0, &options, zone).await;
        Self { tls: options.iter().any(|option| option == "--certificate"), folder, options, zone: zone.to_owned(), child, address }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The process id; 0 once it has ended.
    pub fn id(&self) -> u32 {
        self.child.id().unwrap_or(0)
    }

    /// Its address as clients write it.
    pub fn url(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, self.address)
    }

    /// Runs a statement and returns its result, tab-separated; the test fails when it is refused.
    pub async fn query(&self, sql: &str) -> String {
        let (status, text) = self.ask("POST", "/", sql).await;
        assert_eq!(status, 200, "{sql}: {text}");
        text.trim_end_matches('\n').to_owned()
    }

    /// Has the next `count` statements that contain `only` at their head fail; `fault` as the server names it, as
    /// `kind=error&status=500&code=241`.
    pub async fn fault(&self, fault: &str, count: usize, only: &str) {
        let (status, text) = self.ask("POST", &format!("/__fault?{fault}&count={count}&only={only}"), "").await;
        assert_eq!(status, 200, "{text}");
    }

    /// The last statements it was sent, `{"query", "settings"}` each.
    pub async fn seen(&self) -> Vec<Value> {
        let (_, text) = self.ask("GET", "/__seen", "").await;
        serde_json::from_str(&text).expect("a JSON list")
    }

    async fn ask(&self, method: &str, target: &str, body: &str) -> (u16, String) {
        let mut request = Request::new(method, target).line(&format!("content-length: {}", body.len()));
        // The one user it may know, as the tests write it.
        if let [user_option, user, _, password] = self.options.as_slice()
            && user_option == "--user"
        {
            request = request.line(&format!("X-ClickHouse-User: {user}")).line(&format!("X-ClickHouse-Key: {password}"));
        }
        let answer = Client::connect(self.address).await.exchange(request.body(body).bytes()).await;
        (answer.status(), answer.text())
    }

    /// Kills it (SIGKILL) and waits until it is gone; its data stays.
    pub async fn kill(&mut self) {
        within(START_MAX, "the server to be killed", self.child.kill()).await.expect("a child to kill");
    }

    /// Starts it again at the same address with the same data.
    pub async fn restart(&mut self) {
        let (child, address) = launch(self.folder.path(), self.address.port(), &self.options, &self.zone).await;
        (self.child, self.address) = (child, address);
    }
}

/// `PORTCULLIS_CLICKHOUSE_PYTHON`, or the environment that `tests/clickhouse/setup.sh` makes.
fn python() -> PathBuf {
    if let Some(path) = std::env::var_os("PORTCULLIS_CLICKHOUSE_PYTHON") {
        return path.into();
    }
    let target = executable().ancestors().nth(2).map(PathBuf::from);
    let places = [target, Some(repository().join("target"))];
    let found = places.into_iter().flatten().map(|target| target.join("clickhouse-venv/bin/python")).find(|path| path.exists());
    found.expect("no ClickHouse engine in target/clickhouse-venv: run `make test`, or `tests/clickhouse/setup.sh` once")
}

async fn launch(folder: &Path, port: u16, options: &[String], zone: &str) -> (Child, SocketAddr) {
    let log = folder.join("server.log");
    let errors = std::fs::File::create(&log).expect("a log file");
    let mut child = Command::new(python())
        .arg(repository().join("tests/clickhouse/server.py"))
        .arg("--path")
        .arg(folder.join("data"))
        .args(["--port", &port.to_string()])
        .args(options)
        .env("TZ", zone)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(errors)
        .kill_on_drop(true)
        .spawn()
        .expect("Python starts");
    let mut lines = BufReader::new(child.stdout.take().expect("a piped stdout")).lines();
    let line = within(START_MAX, "the ClickHouse server's first line", lines.next_line()).await.expect("a readable stdout");
    let line = line.unwrap_or_else(|| {
        let reason = std::fs::read_to_string(&log).unwrap_or_default();
        panic!("tests/clickhouse/server.py ended at its start:\n{reason}")
    });
    let told: Value = serde_json::from_str(&line).expect("JSON on its first line");
    let address: SocketAddr = told["address"].as_str().and_then(|text| text.parse().ok()).expect("an address");
    assert_eq!(address.ip(), Ipv4Addr::LOCALHOST);
    (child, address)
}
