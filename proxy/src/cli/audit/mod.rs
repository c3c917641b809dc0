//! `portcullis audit`: reading the audit trail, proving it, passing parts of it on, and destroying what must go.

mod erase;
mod export;
mod fingerprint;
mod key;
mod migrate;
mod quarantine;
mod tail;
mod verify;

pub(super) use verify::public_key;

use std::process::ExitCode;

use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};

/// Read the audit trail, prove that it is whole, export parts of it, erase texts.
#[derive(Debug, clap::Args)]
pub struct Audit {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the newest events, one line each; works while the gateway runs
    Tail(tail::Tail),
    /// Check that no event was changed, removed or moved; exit 0 if so, 1 if not, 2 if it could not be checked
    Verify(verify::Verify),
    /// Write events with their hashes and checkpoints as JSON lines, which `verify --export` checks without the store
    Export(export::Export),
    /// Destroy the keys of stored texts: the texts can never be read again, the events and their chain stay
    Erase(erase::Erase),
    /// Print the fingerprint of a request on standard input, to look for it in the trail's `prompt_hash`
    Fingerprint(fingerprint::Print),
    /// Print the public key whose signatures the checkpoints bear
    Key(key::Key),
    /// Make the tables in ClickHouse, or bring them to the version of this gateway
    Migrate(migrate::Migrate),
    /// Print the events that ClickHouse would not take, each with the reason, or offer them to it again
    Quarantine(quarantine::Quarantine),
}

impl Audit {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Tail(command) => command.run()?,
            Command::Verify(command) => return command.run(),
            Command::Export(command) => command.run()?,
            Command::Erase(command) => command.run()?,
            Command::Fingerprint(command) => command.run()?,
            Command::Key(command) => command.run()?,
            Command::Migrate(command) => command.run()?,
            Command::Quarantine(command) => return command.run(),
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A bar over events on standard error, where a person waits; and what moves it.
pub(super) fn progress() -> (ProgressBar, impl FnMut(u64, u64)) {
    let style = ProgressStyle::with_template("{bar:40} {human_pos} of {human_len} events, {eta} left");
    let bar = ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let moved = bar.clone();
    (bar, move |done, total| {
        moved.set_length(total);
        moved.set_position(done);
    })
}
