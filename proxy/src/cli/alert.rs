//! `portcullis alert`: does what should wake somebody arrive?

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{anyhow, bail};
use clap::Subcommand;
use portcullis_audit::alert::{Channel, Message};

use crate::cli::say;
use crate::config::Settings;

/// Try the channels that alerts go to.
#[derive(Debug, clap::Args)]
pub struct Alert {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Send one test message through each channel and print what came back; exit 1 if one was not taken
    Test(Test),
}

#[derive(Debug, clap::Args)]
struct Test {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Only through this channel
    #[arg(long, value_name = "NAME")]
    channel: Option<String>,
}

impl Alert {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Test(test) => test.run(),
        }
    }
}

impl Test {
    fn run(self) -> anyhow::Result<ExitCode> {
        let mut channels = Settings::load(&self.config)?.alerts;
        let known: Vec<String> = channels.iter().map(|channel| channel.name.clone()).collect();
        if let Some(name) = &self.channel {
            channels.retain(|channel| channel.name == *name);
            if channels.is_empty() {
                bail!("there is no channel named `{}`; there are: {}", name.escape_debug(), known.join(", "));
            }
        }
        if channels.is_empty() {
            bail!("{}: has no `alerts`; see docs/alerts.md", self.config.display());
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut failed = false;
        for settings in channels {
            let (name, kind) = (settings.name.clone(), settings.target.kind());
            let sent = match Channel::new(settings) {
                Ok(channel) => {
                    runtime.block_on(channel.send(&Message::test())).map_err(|failure| anyhow!("{}: {}", failure.class, failure.what))
                }
                Err(error) => Err(error.into()),
            };
            failed |= sent.is_err();
            match sent {
                Ok(answered) => say(format!("{name} ({kind}): sent: {}", answered.said))?,
                Err(error) => say(format!("{name} ({kind}): NOT SENT: {error}"))?,
            }
        }
        // A look-up of a host name that never ends is not waited for.
        runtime.shutdown_background();
        Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}
