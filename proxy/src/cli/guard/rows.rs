//! Rows for training and evaluation, as the commands take them.

use std::path::PathBuf;

use anyhow::bail;
use portcullis_guard_model::train::data::{Row, hold_out, read};

/// Rows to learn from, and rows to judge by.
#[derive(Debug, clap::Args)]
pub(super) struct Rows {
    /// Rows to learn from: JSON lines {"text","label","role"?,"lang"?,"kind"?}; a folder means its .jsonl files; may be repeated
    #[arg(long, value_name = "PATH", required = true, num_args = 1..)]
    pub data: Vec<PathBuf>,
    /// Sources (file names without .jsonl) of --data that are not learned from but judged by, separated by commas
    #[arg(long, value_name = "SOURCE", value_delimiter = ',')]
    pub held_out: Vec<String>,
    /// More rows to judge by; may be repeated
    #[arg(long, value_name = "PATH", num_args = 1..)]
    pub held_data: Vec<PathBuf>,
}

impl Rows {
    /// Rows to learn from, and those held out.
    pub(super) fn open(&self) -> anyhow::Result<(Vec<Row>, Vec<Row>)> {
        let all = read(&self.data)?;
        for source in &self.held_out {
            if !all.iter().any(|row| row.source == *source) {
                let mut sources: Vec<&str> = all.iter().map(|row| row.source.as_str()).collect();
                sources.sort_unstable();
                sources.dedup();
                bail!("--held-out {}: there is no such source; there are {}", source.escape_debug(), sources.join(", "));
            }
        }
        let (mut held, rows) = hold_out(all, &self.held_out);
        if rows.is_empty() {
            bail!("every row is held out; leave some to learn from");
        }
        if !self.held_data.is_empty() {
            held.extend(read(&self.held_data)?);
        }
        Ok((rows, held))
    }
}
