//! `portcullis audit tail`.

use std::path::PathBuf;
use std::time::Duration;

use portcullis_audit::{Filter, Reader, StoredEvent, format_line};

use crate::cli::say;

/// How often `--follow` looks for new events.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(300);
/// Events read at once.
const PAGE: usize = 1000;

#[derive(Debug, clap::Args)]
pub(super) struct Tail {
    /// The audit store
    #[arg(long, value_name = "FILE")]
    store: PathBuf,
    /// Go on printing events as they come
    #[arg(long, short)]
    follow: bool,
    /// How many of the newest events to begin with
    #[arg(long, short = 'n', default_value_t = 20)]
    limit: usize,
    /// Whole events as JSON lines; stored texts in words where their key is there, [erased] where it is not
    #[arg(long)]
    json: bool,
    /// Also the stored texts, below each line
    #[arg(long, conflicts_with = "json")]
    text: bool,
    /// Only this tenant's
    #[arg(long)]
    tenant: Option<String>,
    /// Only of this kind: decision, completion, rejected, auth_failure, limit, policy_change, admin or alert
    #[arg(long)]
    kind: Option<portcullis_audit::Kind>,
    /// Only with this decision: allow, flag, redact, pseudonymize, block or refused
    #[arg(long)]
    decision: Option<portcullis_audit::Decision>,
    /// Only of this request
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
}

impl Tail {
    pub(super) fn run(self) -> anyhow::Result<()> {
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
        let event = &stored.event;
        let texts = [("prompt", &event.redacted_prompt), ("answer", &event.redacted_answer)];
        let mut texts = texts.into_iter().filter_map(|(name, text)| Some((name, text.as_deref()?))).peekable();
        if self.json {
            // The body holds texts sealed.
            return if texts.peek().is_some() { say(serde_json::to_string(event)?) } else { say(&stored.body) };
        }
        say(format_line(stored))?;
        for (name, text) in texts.filter(|_| self.text) {
            say(format!("    {name}: {}", text.escape_debug()))?;
        }
        Ok(())
    }
}
