//! `portcullis audit quarantine`: the events that ClickHouse would not take.

use std::path::PathBuf;

use portcullis_audit::ship;
use serde_json::json;

use crate::cli::say;

/// Print the events that ClickHouse would not take, each with the reason; they are still in the store, under the same number.
#[derive(Debug, clap::Args)]
pub(super) struct Quarantine {
    /// The audit store
    #[arg(long, value_name = "FILE")]
    store: PathBuf,
    /// How many to print
    #[arg(long, short = 'n', default_value_t = 100)]
    limit: u32,
    /// As JSON lines
    #[arg(long)]
    json: bool,
}

impl Quarantine {
    pub(super) fn run(self) -> anyhow::Result<()> {
        for row in ship::quarantine(&self.store, self.limit)? {
            if self.json {
                say(json!({"seq": row.seq, "event_id": row.event_id, "code": row.code, "reason": row.reason}))?;
            } else {
                say(format!("{:>10} {} {}", row.seq, row.event_id.escape_debug(), row.reason))?;
            }
        }
        Ok(())
    }
}
