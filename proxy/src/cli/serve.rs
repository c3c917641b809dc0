//! `portcullis serve`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::json;
use tracing_subscriber::EnvFilter;

use crate::config::Settings;
use crate::server::Gateway;

/// Run the gateway.
#[derive(Debug, clap::Args)]
pub struct Serve {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Write {"listen","admin","pid"} to this file once the listeners are bound
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

impl Serve {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let settings = Settings::load(&self.config)?;
        let filter =
            EnvFilter::try_new(&settings.log).with_context(|| format!("log: `{}` is no filter; write info or debug", settings.log))?;
        tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .init();
        // The framework takes the process-wide TLS provider; a second one being there already is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        std::panic::set_hook(Box::new(|panic| {
            // Where, not what: a panic's message may quote what it was working on.
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            tracing::error!(place, "panic");
        }));
        let gateway = Gateway::build(settings)?;
        tracing::info!(listen = %gateway.listen, admin = %gateway.admin, version = env!("CARGO_PKG_VERSION"), "listening");
        if let Some(path) = &self.ready_file {
            let ready = json!({"listen": gateway.listen.to_string(), "admin": gateway.admin.to_string(), "pid": std::process::id()});
            write_whole(path, &ready.to_string()).with_context(|| format!("cannot write {}", path.display()))?;
        }
        gateway.run()?;
        tracing::info!("stopped");
        Ok(ExitCode::SUCCESS)
    }
}

/// Whoever waits for the file sees all of it or none.
fn write_whole(path: &Path, text: &str) -> std::io::Result<()> {
    let next = path.with_extension("new");
    std::fs::write(&next, text)?;
    std::fs::rename(&next, path)
}
