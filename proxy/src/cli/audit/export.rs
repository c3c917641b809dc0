//! `portcullis audit export`.

use std::fs::OpenOptions;
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use anyhow::Context as _;
use portcullis_audit::{AuditError, Bound, Range, export};

use super::progress;
use crate::cli::{moment, say_note};

#[derive(Debug, clap::Args)]
pub(super) struct Export {
    /// The audit store; works while the gateway runs
    #[arg(long, value_name = "FILE")]
    store: PathBuf,
    /// The first event: its number, or a moment such as 2026-11-01 or 2026-11-01T08:00:00Z; the oldest when left out
    #[arg(long, value_name = "SEQ|T", value_parser = bound)]
    from: Option<Bound>,
    /// The last event: its number, or a moment it is before; the newest when left out
    #[arg(long, value_name = "SEQ|T", value_parser = bound)]
    to: Option<Bound>,
    /// The form
    #[arg(long, value_name = "jsonl", default_value = "jsonl", value_parser = ["jsonl"])]
    format: String,
    /// Where to; made new, for its owner only. Standard output when left out
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

fn bound(word: &str) -> Result<Bound, String> {
    match word.parse::<i64>() {
        Ok(seq) => Ok(Bound::Seq(seq)),
        Err(_) => moment(word).map(Bound::Time),
    }
}

impl Export {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let range = Range { from: self.from, to: self.to };
        let mut out: Box<dyn Write> = match &self.output {
            Some(path) => {
                let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
                Box::new(BufWriter::new(file.with_context(|| format!("{}: cannot be made", path.display()))?))
            }
            None => Box::new(BufWriter::new(std::io::stdout().lock())),
        };
        let (bar, moved) = progress();
        let exported = export(&self.store, &range, &mut out, moved);
        bar.finish_and_clear();
        match exported {
            Ok(Some(exported)) => say_note(&format!("exported seq {} to {}", exported.first, exported.last)),
            Ok(None) => anyhow::bail!("{}: no event in that range", self.store.display()),
            // Whoever read it (such as `head`) has enough.
            Err(AuditError::Export { broken_pipe: true, .. }) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}
