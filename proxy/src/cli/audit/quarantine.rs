//! `portcullis audit quarantine`: the events that ClickHouse would not take, and another try with them.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{anyhow, bail};
use portcullis_audit::ship::{self, Fate, Quarantined, Retried, ShipOptions};
use serde_json::json;

use crate::cli::{say, say_note};
use crate::config::Settings;

/// Print the events that ClickHouse would not take, each with the reason; they are still in the store, under the same number.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("where").required(true).multiple(true).args(["store", "config"]))]
pub(super) struct Quarantine {
    /// The audit store. Without it: that of --config
    #[arg(long, value_name = "FILE")]
    store: Option<PathBuf>,
    /// The gateway's configuration: its store, and its ClickHouse for --retry
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Offer all of them to ClickHouse again, row by row: what it takes leaves the quarantine, what it refuses stays with the new reason.
    /// Works while the gateway runs; may be broken off and run again. Exit 0 when none stays, 1 when one does
    #[arg(long, requires = "config")]
    retry: bool,
    /// How many to print
    #[arg(long, short = 'n', default_value_t = 100, conflicts_with = "retry")]
    limit: u32,
    /// As JSON lines
    #[arg(long)]
    json: bool,
}

impl Quarantine {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let settings = self.config.as_deref().map(Settings::load).transpose()?;
        let Some(store) = self.store.as_deref().or(settings.as_ref().map(|settings| settings.audit_path.as_path())) else {
            bail!("name --store or --config");
        };
        if self.retry {
            let options = settings.as_ref().and_then(|settings| settings.clickhouse.as_ref());
            let options = options.ok_or_else(|| {
                anyhow!("--retry: the configuration has no audit.clickhouse to offer the events to; name a --config with it")
            })?;
            return self.retry(store, options);
        }
        for row in ship::quarantine(store, self.limit)? {
            say(self.line(&row, None))?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn retry(&self, store: &Path, options: &ShipOptions) -> anyhow::Result<ExitCode> {
        let (mut delivered, mut refused) = (0_u64, 0_u64);
        let mut printed = Ok(());
        let done = ship::retry_quarantine(store, options, |Retried { row, fate }| {
            match fate {
                Fate::Delivered => delivered += 1,
                Fate::Refused => refused += 1,
            }
            // A reader that has gone away stops the printing and not the delivery.
            if printed.is_ok() {
                printed = writeln!(std::io::stdout().lock(), "{}", self.line(&row, Some(fate)));
            }
        });
        say_note(&format!("{delivered} delivered, {refused} refused again"));
        done?;
        printed?;
        Ok(if refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn line(&self, row: &Quarantined, fate: Option<Fate>) -> String {
        let fate = fate.map(|fate| match fate {
            Fate::Delivered => "delivered",
            Fate::Refused => "refused",
        });
        let Quarantined { seq, event_id, code, reason } = row;
        if self.json {
            let mut line = json!({"seq": seq, "event_id": event_id, "code": code, "reason": reason});
            if let Some(fate) = fate {
                line["fate"] = fate.into();
            }
            return line.to_string();
        }
        let what = fate.map(|fate| format!("{fate} ")).unwrap_or_default();
        format!("{seq:>10} {} {what}{reason}", event_id.escape_debug()).trim_end().to_owned()
    }
}
