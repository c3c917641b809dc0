//! The configuration: what the file says ([`ConfigFile`]) and what the program needs ([`Settings`]).
//!
//! Unknown keys are errors, with file and line. Relative paths are relative to the file. Secrets come from the environment: the
//! file names the variable.

pub mod clickhouse;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_audit::StoreOptions;
use portcullis_audit::alert::ChannelSettings;
use portcullis_audit::ship::ShipOptions;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

use crate::alert_config::{self, AlertFile};
use crate::audit_config::AuditFile;
use crate::guard::{GuardFile, GuardSettings};
use crate::policy_files::{self, PolicyFile, PolicySettings};
use crate::rollout::Track;
use crate::unrecorded::OnFailure;
use crate::vault::VaultLimits;

/// Why a configuration cannot be used. Names the file and, where there is one, the line.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("{}: cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no YAML of the expected form.
    #[error("{}: {reason}", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What and where.
        reason: String,
    },
    /// Two parts of the file disagree, or a value cannot be used.
    #[error("{}: {what}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The setting, what is wrong with it and what to do.
        what: String,
    },
}

/// `gateway.yaml` as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    #[serde(deserialize_with = "address")]
    listen: SocketAddr,
    #[serde(default)]
    tls: Option<TlsFile>,
    #[serde(deserialize_with = "address")]
    admin: SocketAddr,
    keys: PathBuf,
    policies: BTreeMap<String, PolicyFile>,
    upstreams: Vec<UpstreamFile>,
    models: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "GuardFile::read")]
    guard: GuardFile,
    #[serde(default)]
    limits: Limits,
    #[serde(default)]
    timeouts: Timeouts,
    audit: AuditFile,
    #[serde(default)]
    alerts: Vec<AlertFile>,
    #[serde(default)]
    vault: VaultLimits,
    #[serde(default = "info")]
    log: String,
    #[serde(default)]
    threads: Option<usize>,
}

fn info() -> String {
    "info".into()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsFile {
    certificate: PathBuf,
    key: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct UpstreamFile {
    name: String,
    url: String,
    #[serde(default)]
    credential_env: Option<String>,
    #[serde(default)]
    ca: Option<PathBuf>,
}

/// When the decision's record has to be durable.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// Before the first byte of the answer. The commit runs while the model works, so it costs no latency.
    #[default]
    #[serde(alias = "strict")]
    BeforeResponse,
    /// Before the prompt is sent to the upstream. Costs one commit per request, some milliseconds on a usual disk.
    BeforeForward,
    /// Before the first byte of the answer it is committed, and synced to the disk a moment later: a kill of the process loses nothing,
    /// a loss of power the last moment.
    Relaxed,
}

/// Sizes and numbers that a request may not pass.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Longest request body in bytes.
    pub body_bytes: usize,
    /// Longest request head in bytes.
    pub head_bytes: usize,
    /// Most header fields.
    pub head_fields: usize,
    /// Memory for all request bodies being handled, in bytes.
    pub memory_bytes: usize,
    /// Most open client connections.
    pub connections: usize,
    /// Longest whole (not streamed) answer of an upstream in bytes.
    pub response_bytes: usize,
    /// Longest server-sent event of an upstream in bytes.
    pub sse_event_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 4 << 20,
            head_bytes: 32 << 10,
            head_fields: 64,
            memory_bytes: 256 << 20,
            connections: 10_000,
            response_bytes: 32 << 20,
            sse_event_bytes: 1 << 20,
        }
    }
}

/// How long each part may take. Written as `500ms`, `10s`, `2m`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// The whole request head, from the first byte.
    #[serde(deserialize_with = "duration")]
    pub head: Duration,
    /// The whole request body.
    #[serde(deserialize_with = "duration")]
    pub body: Duration,
    /// Between two requests on one client connection.
    #[serde(deserialize_with = "duration")]
    pub keep_alive: Duration,
    /// Connecting to the upstream, TLS included.
    #[serde(deserialize_with = "duration")]
    pub connect: Duration,
    /// From the sent request to the head of the upstream's answer.
    #[serde(deserialize_with = "duration")]
    pub first_byte: Duration,
    /// Between two pieces of the upstream's answer.
    #[serde(deserialize_with = "duration")]
    pub idle: Duration,
    /// The whole exchange with the upstream.
    #[serde(deserialize_with = "duration")]
    pub total: Duration,
    /// Writing one piece of the answer to the client.
    #[serde(deserialize_with = "duration")]
    pub client_write: Duration,
    /// The guard model's verdict.
    #[serde(deserialize_with = "duration")]
    pub guard: Duration,
    /// So much more for each KiB of text that it is asked about: a long document is many windows.
    #[serde(deserialize_with = "duration")]
    pub guard_per_kib: Duration,
    /// For requests still running when the gateway is told to stop.
    #[serde(deserialize_with = "duration")]
    pub shutdown: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            body: Duration::from_secs(30),
            keep_alive: Duration::from_secs(60),
            connect: Duration::from_secs(2),
            first_byte: Duration::from_secs(60),
            idle: Duration::from_secs(30),
            total: Duration::from_secs(600),
            client_write: Duration::from_secs(30),
            guard: Duration::from_millis(500),
            guard_per_kib: Duration::from_millis(150),
            shutdown: Duration::from_secs(30),
        }
    }
}

impl Timeouts {
    /// How long the guard may take over texts of so many bytes together.
    pub fn guard_for(&self, bytes: usize) -> Duration {
        self.guard.saturating_add(self.guard_per_kib.saturating_mul(u32::try_from(bytes >> 10).unwrap_or(u32::MAX)))
    }
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse()
        .map_err(|_| D::Error::custom(format!("`{text}` is no address; write 127.0.0.1:8080 or [::1]:8080, names are not looked up")))
}

pub(crate) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let span: jiff::SignedDuration =
        text.parse().map_err(|_| D::Error::custom(format!("`{text}` is no duration; write 500ms, 10s or 2m")))?;
    Duration::try_from(span)
        .ok()
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| D::Error::custom(format!("`{text}` must be more than nothing")))
}

/// Where an upstream is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamPlace {
    /// The built-in echo.
    Echo,
    /// An OpenAI-compatible server.
    Server {
        /// Whether over TLS.
        tls: bool,
        /// Host name or address.
        host: String,
        /// TCP port.
        port: u16,
        /// Path before `/v1/...`, without a slash at its end; often empty.
        prefix: String,
    },
}

/// One upstream, ready for use.
#[derive(Clone)]
pub struct UpstreamSettings {
    /// Its name in `models`, metrics and audit events.
    pub name: String,
    /// Where it is.
    pub place: UpstreamPlace,
    /// Sent as `authorization: Bearer ...`; wiped when dropped.
    pub credential: Option<Zeroizing<String>>,
    /// Certificates (PEM) to trust instead of the system's.
    pub ca: Option<PathBuf>,
}

impl fmt::Debug for UpstreamSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamSettings").field("name", &self.name).field("place", &self.place).finish_non_exhaustive()
    }
}

/// Certificate and key of the public listener.
#[derive(Clone, Debug)]
pub struct Tls {
    /// PEM chain.
    pub certificate: PathBuf,
    /// PEM key.
    pub key: PathBuf,
}

/// Everything the program needs, checked.
#[derive(Debug)]
pub struct Settings {
    /// Public address.
    pub listen: SocketAddr,
    /// TLS of the public listener.
    pub tls: Option<Tls>,
    /// Address of health, readiness and metrics; loopback only.
    pub admin: SocketAddr,
    /// The key file.
    pub keys: PathBuf,
    /// Policies by name; a route's own file has a name of its own (`policy_files::on_route`).
    pub policies: BTreeMap<String, PolicySettings>,
    /// Upstreams.
    pub upstreams: Vec<UpstreamSettings>,
    /// Model name (or `*`) to an index into `upstreams`.
    pub models: BTreeMap<String, usize>,
    /// The guard.
    pub guard: GuardSettings,
    /// Sizes and numbers.
    pub limits: Limits,
    /// Times.
    pub timeouts: Timeouts,
    /// The audit store's file.
    pub audit_path: PathBuf,
    /// How it is opened: signing, retention.
    pub audit_store: StoreOptions,
    /// When a decision must be durable.
    pub durability: Durability,
    /// What becomes of a request whose decision cannot be made durable.
    pub on_audit_failure: OnFailure,
    /// Where the events are delivered to.
    pub clickhouse: Option<ShipOptions>,
    /// Where alerts go.
    pub alerts: Vec<ChannelSettings>,
    /// What is remembered of conversations.
    pub vault: VaultLimits,
    /// Filter for the log, in `tracing` syntax.
    pub log: String,
    /// Worker threads; the number of cores when absent.
    pub threads: Option<usize>,
}

impl Settings {
    /// Every policy file, with the name and the track it is for.
    pub fn policy_files(&self) -> impl Iterator<Item = (&str, Track, &Path)> {
        self.policies.iter().flat_map(|(name, policy)| {
            let canary = policy.canary.as_ref().map(|canary| (Track::Canary, canary.path.as_path()));
            std::iter::once((Track::Stable, policy.path.as_path())).chain(canary).map(move |(track, path)| (name.as_str(), track, path))
        })
    }

    /// Reads and checks a configuration file.
    ///
    /// # Errors
    /// [`ConfigError`] with the file, and the line or the setting.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.into(), source })?;
        let file: ConfigFile = serde_saphyr::from_str(&text).map_err(|e| ConfigError::Form { path: path.into(), reason: e.to_string() })?;
        file.settings(path.parent().unwrap_or(Path::new("."))).map_err(|what| ConfigError::Value { path: path.into(), what })
    }
}

impl ConfigFile {
    fn settings(self, base: &Path) -> Result<Settings, String> {
        if !self.admin.ip().is_loopback() {
            return Err(format!("admin: {} is not a loopback address; metrics and health are not for the outside", self.admin));
        }
        if !is_log_filter(&self.log) {
            return Err(format!(
                "log: `{}` is no level; write error, warn, info, debug or trace, or a filter such as portcullis=debug",
                self.log
            ));
        }
        if self.policies.is_empty() {
            return Err("policies: name at least one policy file".into());
        }
        let policies = policy_files::settings(self.policies, base)?;
        let upstreams = self.upstreams.into_iter().map(|upstream| upstream.settings(base)).collect::<Result<Vec<_>, _>>()?;
        let mut models = BTreeMap::new();
        for (model, name) in self.models {
            let index = upstreams
                .iter()
                .position(|upstream| upstream.name == name)
                .ok_or_else(|| format!("models.{model}: there is no upstream named `{name}`"))?;
            models.insert(model, index);
        }
        if models.is_empty() {
            return Err("models: name at least one model, or `\"*\": <upstream>` for all".into());
        }
        if self.limits.body_bytes == 0 || self.limits.head_fields == 0 || self.limits.head_bytes < 256 {
            return Err("limits: body_bytes and head_fields must be above 0 and head_bytes at least 256".into());
        }
        Ok(Settings {
            listen: self.listen,
            tls: self.tls.map(|tls| Tls { certificate: base.join(tls.certificate), key: base.join(tls.key) }),
            admin: self.admin,
            keys: base.join(self.keys),
            policies,
            upstreams,
            models,
            guard: self.guard.settings(base)?,
            limits: self.limits,
            timeouts: self.timeouts,
            audit_store: self.audit.store(base)?,
            audit_path: base.join(self.audit.path),
            durability: self.audit.durability,
            on_audit_failure: self.audit.on_failure,
            clickhouse: self.audit.clickhouse.map(|clickhouse| clickhouse.settings(base)).transpose()?,
            alerts: alert_config::channels(self.alerts, base)?,
            vault: self.vault,
            log: self.log,
            threads: self.threads.filter(|&n| n > 0),
        })
    }
}

/// A bare word that is no level would be taken for the name of a module, and silence everything else.
fn is_log_filter(log: &str) -> bool {
    matches!(log, "off" | "error" | "warn" | "info" | "debug" | "trace") || log.contains('=')
}

impl UpstreamFile {
    fn settings(self, base: &Path) -> Result<UpstreamSettings, String> {
        let name = self.name;
        let place = place(&self.url).map_err(|why| format!("upstreams.{name}.url: {why}"))?;
        let credential = match &self.credential_env {
            None => None,
            Some(variable) => Some(Zeroizing::new(credential(variable).map_err(|why| format!("upstreams.{name}.credential_env: {why}"))?)),
        };
        Ok(UpstreamSettings { name, place, credential, ca: self.ca.map(|ca| base.join(ca)) })
    }
}

fn credential(variable: &str) -> Result<String, String> {
    let value = std::env::var(variable).map_err(|_| format!("the environment has no variable `{variable}`; export it before the start"))?;
    let value = value.trim().to_owned();
    if value.is_empty() || !value.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(format!("the variable `{variable}` holds no usable credential"));
    }
    Ok(value)
}

fn place(url: &str) -> Result<UpstreamPlace, String> {
    if url == "echo" {
        return Ok(UpstreamPlace::Echo);
    }
    let bad = || format!("`{url}` is neither `echo` nor http://host:port nor https://host");
    let uri: http::Uri = url.parse().map_err(|_| bad())?;
    let tls = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err(bad()),
    };
    let authority = uri.authority().filter(|a| !a.as_str().contains('@')).ok_or_else(bad)?;
    if uri.query().is_some() {
        return Err(format!("`{url}` has a query; credentials come from the environment (credential_env)"));
    }
    let prefix = uri.path().trim_end_matches('/');
    let prefix = prefix.strip_suffix("/v1").unwrap_or(prefix);
    Ok(UpstreamPlace::Server {
        tls,
        host: authority.host().trim_matches(['[', ']']).to_owned(),
        port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
        prefix: prefix.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guard_may_take_longer_over_a_longer_text() {
        let timeouts = Timeouts::default();
        assert_eq!(timeouts.guard_for(0), timeouts.guard);
        assert_eq!(timeouts.guard_for(1023), timeouts.guard);
        assert_eq!(timeouts.guard_for(100 << 10), timeouts.guard + timeouts.guard_per_kib * 100);
        assert!(timeouts.guard_for(usize::MAX) > timeouts.total, "no overflow");
    }

    const MINIMAL: &str = "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\nkeys: k.yaml\npolicies: {default: p.yaml}\n\
        upstreams: [{name: local, url: echo}]\nmodels: {'*': local}\naudit: {path: a.db}\n";

    fn load(text: &str) -> Result<Settings, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.yaml");
        std::fs::write(&path, text).unwrap();
        Settings::load(&path)
    }

    #[test]
    fn a_minimal_file_is_enough() {
        let settings = load(MINIMAL).unwrap();
        assert_eq!(settings.models["*"], 0);
        assert_eq!(settings.limits.body_bytes, 4 << 20);
        assert_eq!(settings.durability, Durability::BeforeResponse);
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let error = load(&format!("{MINIMAL}limist: {{}}\n")).unwrap_err().to_string();
        assert!(error.contains("gateway.yaml") && error.contains("limist") && error.contains('8'), "{error}");
    }

    #[test]
    fn a_value_that_cannot_work_is_named() {
        let outside = load(&MINIMAL.replace("admin: 127.0.0.1:0", "admin: 0.0.0.0:0")).unwrap_err().to_string();
        assert!(outside.contains("admin"), "{outside}");
        let nowhere = load(&MINIMAL.replace("'*': local", "'*': other")).unwrap_err().to_string();
        assert!(nowhere.contains("no upstream named `other`"), "{nowhere}");
        let unset = load(&MINIMAL.replace("url: echo", "url: 'http://a', credential_env: PORTCULLIS_NO_SUCH")).unwrap_err().to_string();
        assert!(unset.contains("PORTCULLIS_NO_SUCH"), "{unset}");
        let time = load(&format!("{MINIMAL}timeouts: {{head: soon}}\n")).unwrap_err().to_string();
        assert!(time.contains("soon"), "{time}");
    }

    #[test]
    fn an_upstream_url_is_taken_apart() {
        let server = |tls, host: &str, port, prefix: &str| UpstreamPlace::Server { tls, host: host.into(), port, prefix: prefix.into() };
        assert_eq!(place("https://api.example.com").unwrap(), server(true, "api.example.com", 443, ""));
        assert_eq!(place("http://10.0.0.7:8000/v1/").unwrap(), server(false, "10.0.0.7", 8000, ""));
        assert_eq!(place("http://[::1]:8000/openai/v1").unwrap(), server(false, "::1", 8000, "/openai"));
        for bad in ["ftp://a", "a", "http://user:pw@a", "http://a?key=1", ""] {
            assert!(place(bad).is_err(), "{bad}");
        }
    }
}
