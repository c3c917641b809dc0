//! What a test says about its gateway, and the files this becomes.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::backend::Backend;
use crate::gateway::Gateway;
use crate::key::Key;

/// The configuration of a gateway to be started.
#[derive(Clone, Debug)]
pub struct Setup {
    config: Value,
    pub(crate) keys: Vec<Key>,
    policy: PolicySource,
    pub(crate) environment: Vec<(String, String)>,
    files: Vec<(String, String)>,
}

#[derive(Clone, Debug)]
enum PolicySource {
    /// Copied with the fixture pack into the gateway's folder.
    Text(String),
    File(PathBuf),
}

impl Setup {
    /// A gateway in front of `backend`.
    pub fn before(backend: &Backend) -> Self {
        Self::with_upstream(&backend.url())
    }

    /// A gateway with its built-in upstream.
    pub fn echo() -> Self {
        Self::with_upstream("echo")
    }

    /// A gateway in front of a URL.
    pub fn with_upstream(url: &str) -> Self {
        let config = json!({
            "listen": "127.0.0.1:0",
            "admin": "127.0.0.1:0",
            "keys": "keys.yaml",
            "policies": {"default": "policy.yaml"},
            "upstreams": [{"name": "local", "url": url}],
            "models": {"*": "local"},
            "audit": {"path": "audit.db", "durability": "before_response"},
            "log": "debug",
        });
        let policy = include_str!("../data/policy.yaml").to_owned();
        Self { config, keys: vec![Key::named("demo")], policy: PolicySource::Text(policy), environment: Vec::new(), files: Vec::new() }
    }

    /// Sets one value of `gateway.yaml`, its path written with dots: `limits.body_bytes`.
    pub fn set(mut self, path: &str, value: impl Into<Value>) -> Self {
        let mut place = &mut self.config;
        for part in path.split('.') {
            place = match part.parse::<usize>() {
                Ok(index) => &mut place[index],
                Err(_) => &mut place[part],
            };
        }
        *place = value.into();
        self
    }

    /// Puts these keys in the place of the one named `demo`.
    pub fn keys(mut self, keys: &[Key]) -> Self {
        self.keys = keys.to_vec();
        self
    }

    /// Runs another policy text; `pack.yaml` beside it is the fixture pack.
    pub fn policy(mut self, text: &str) -> Self {
        self.policy = PolicySource::Text(text.to_owned());
        self
    }

    /// Runs the policy the project ships.
    pub fn shipped_policy(mut self) -> Self {
        self.policy = PolicySource::File(repository().join("policies/policy.yaml"));
        self
    }

    /// Puts a file more into the gateway's folder.
    pub fn file(mut self, name: &str, text: &str) -> Self {
        self.files.push((name.to_owned(), text.to_owned()));
        self
    }

    /// Sets an environment variable of the gateway.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts it and waits until it listens.
    pub async fn start(self) -> Gateway {
        Gateway::start(self).await
    }

    /// Writes the files into `folder` and returns the path of `gateway.yaml`.
    pub fn write(&self, folder: &Path) -> PathBuf {
        let mut config = self.config.clone();
        match &self.policy {
            PolicySource::Text(text) => {
                write(folder, "policy.yaml", text);
                write(folder, "pack.yaml", include_str!("../data/pack.yaml"));
            }
            PolicySource::File(path) => config["policies"]["default"] = json!(path),
        }
        for (name, text) in &self.files {
            write(folder, name, text);
        }
        let entries: Vec<&Value> = self.keys.iter().map(Key::entry).collect();
        // JSON is YAML, so no writer of YAML is needed here.
        write(folder, "keys.yaml", &format!("{:#}", json!({"keys": entries})));
        write(folder, "gateway.yaml", &format!("{config:#}"))
    }
}

/// The root of the repository.
pub fn repository() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("tests lie in the repository").to_owned()
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    path
}
