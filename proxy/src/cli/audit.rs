//! `portcullis audit`: reading the audit trail, and the tables it is delivered to.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;
use portcullis_audit::{Filter, Reader, StoredEvent, format_line};

use super::say;

/// How often `--follow` looks for new events.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(300);
/// Events read at once.
const PAGE: usize = 1000;

/// Read the audit trail, and prepare ClickHouse for it.
#[derive(Debug, clap::Args)]
pub struct Audit {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the newest events, one line each; works while the gateway runs
    Tail(Tail),
    /// Make the tables in ClickHouse, or bring them to the version of this gateway
    Migrate(super::migrate::Migrate),
    /// Print the events that ClickHouse would not take, each with the reason
    Quarantine(super::quarantine::Quarantine),
}

#[derive(Debug, clap::Args)]
struct Tail {
    /// The audit store
    #[arg(long, value_name = "FILE")]
    store: PathBuf,
    /// Go on printing events as they come
    #[arg(long, short)]
    follow: bool,
    /// How many of the newest events to begin with
    #[arg(long, short = 'n', default_value_t = 20)]
    limit: usize,
    /// Whole events as JSON lines
    #[arg(long)]
    json: bool,
    /// Only this tenant's
    #[arg(long)]
    tenant: Option<String>,
    /// Only of this kind: decision, completion, rejected, auth_failure or limit
    #[arg(long)]
    kind: Option<portcullis_audit::Kind>,
    /// Only with this decision: allow, flag, redact, block or refused
    #[arg(long)]
    decision: Option<portcullis_audit::Decision>,
    /// Only of this request
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
}

impl Audit {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Tail(tail) => tail.run()?,
            Command::Migrate(migrate) => migrate.run()?,
            Command::Quarantine(quarantine) => quarantine.run()?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Tail {
    fn run(self) -> anyhow::Result<()> {
        let filter = Filter { tenant: self.tenant.clone(), kind: self.kind, decision: self.decision, request_id: self.request_id.clone() };
        let reader = Reader::open(&self.store)?;
        let newest = reader.tail(None, self.limit, &filter)?;
        let mut last = newest.last().map_or(0, |stored| stored.seq);
        for stored in &newest {
            self.print(stored)?;
        }
        if !self.follow {
            return Ok(());
        }
        loop {
            let more = reader.tail(Some(last), PAGE, &filter)?;
            for stored in &more {
                self.print(stored)?;
            }
            match more.last() {
                Some(stored) => last = stored.seq,
                None => std::thread::sleep(FOLLOW_INTERVAL),
            }
        }
    }

    fn print(&self, stored: &StoredEvent) -> anyhow::Result<()> {
        if self.json { say(&stored.body) } else { say(format_line(stored)) }
    }
}
