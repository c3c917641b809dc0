//! `portcullis key`: the key file by hand.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use serde_json::json;

use crate::edge::Route;
use crate::keys::{KeyFile, KeyRecord, generate};

use super::say;

/// Make, list and revoke keys.
#[derive(Debug, clap::Args)]
pub struct Key {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a key and print it, this once; the file keeps its SHA-256 only
    New(New),
    /// List the keys of a file
    List {
        /// The key file
        #[arg(long, value_name = "FILE")]
        keys: PathBuf,
    },
    /// Refuse a key from now on; a running gateway notices within a second
    Revoke {
        /// The key file
        #[arg(long, value_name = "FILE")]
        keys: PathBuf,
        /// The key's id
        #[arg(long)]
        id: String,
    },
}

#[derive(Debug, clap::Args)]
struct New {
    /// The key file; made if it is not there
    #[arg(long, value_name = "FILE")]
    keys: PathBuf,
    /// The key's name in logs and audit events
    #[arg(long)]
    id: String,
    /// Whose it is
    #[arg(long, default_value = "default")]
    tenant: String,
    /// A model it may use; may be repeated; all when left out
    #[arg(long = "model", value_name = "MODEL")]
    models: Vec<String>,
    /// The policy its requests are held to
    #[arg(long, default_value = "default")]
    policy: String,
    /// The policy of one route, such as /v1/embeddings=strict; may be repeated
    #[arg(long = "route-policy", value_name = "PATH=POLICY", value_parser = route_policy)]
    routes: Vec<(Route, String)>,
    /// Requests per minute in the long run
    #[arg(long, default_value_t = 600)]
    requests_per_minute: u32,
    /// Requests that may come at once
    #[arg(long, default_value_t = 60)]
    burst: u32,
    /// Requests that may run at the same time
    #[arg(long, default_value_t = 16)]
    concurrent: u32,
    /// Print {"id","key"} instead of words
    #[arg(long)]
    json: bool,
}

fn route_policy(word: &str) -> Result<(Route, String), String> {
    let (path, policy) = word.split_once('=').ok_or("write PATH=POLICY")?;
    let route = Route::of(path.as_bytes()).ok_or_else(|| {
        let paths = Route::ALL.map(Route::path);
        format!("`{}` is no route; there are {}", path.escape_debug(), paths.join(", "))
    })?;
    Ok((route, policy.to_owned()))
}

impl Key {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::New(new) => new.run()?,
            Command::List { keys } => list(&KeyFile::load(&keys)?)?,
            Command::Revoke { keys, id } => {
                let mut file = KeyFile::load(&keys)?;
                let key =
                    file.keys.iter_mut().find(|key| key.id == id).with_context(|| format!("{}: there is no key `{id}`", keys.display()))?;
                key.revoked = true;
                file.save(&keys)?;
                say(format!("key {id} is revoked"))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl New {
    fn run(self) -> anyhow::Result<()> {
        let mut file = if self.keys.exists() { KeyFile::load(&self.keys)? } else { KeyFile::default() };
        if file.keys.iter().any(|key| key.id == self.id) {
            bail!("{}: there is a key `{}` already; choose another --id", self.keys.display(), self.id);
        }
        let (key, sha256) = generate().context("the system gives no randomness")?;
        file.keys.push(KeyRecord {
            id: self.id.clone(),
            sha256,
            tenant: self.tenant,
            models: if self.models.is_empty() { vec!["*".to_owned()] } else { self.models },
            policy: self.policy,
            routes: self.routes.into_iter().collect(),
            requests_per_minute: self.requests_per_minute,
            burst: self.burst,
            concurrent: self.concurrent,
            revoked: false,
        });
        file.save(&self.keys)?;
        if self.json {
            return say(json!({"id": self.id, "key": key.as_str()}));
        }
        say(format!("{}\n\nThis is the only time it is shown; {} keeps its SHA-256.", key.as_str(), self.keys.display()))
    }
}

fn list(file: &KeyFile) -> anyhow::Result<()> {
    say(format!(
        "{:<20} {:<16} {:<12} {:>8} {:>6} {:>10}  {:<8} models",
        "id", "tenant", "policy", "per min", "burst", "concurrent", "state"
    ))?;
    for key in &file.keys {
        let state = if key.revoked { "revoked" } else { "valid" };
        let routes: Vec<String> = key.routes.iter().map(|(route, policy)| format!("  {}={policy}", route.path())).collect();
        say(format!(
            "{:<20} {:<16} {:<12} {:>8} {:>6} {:>10}  {:<8} {}{}",
            key.id,
            key.tenant,
            key.policy,
            key.requests_per_minute,
            key.burst,
            key.concurrent,
            state,
            key.models.join(","),
            routes.concat()
        ))?;
    }
    Ok(())
}
