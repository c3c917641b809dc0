//! `portcullis guard eval`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use portcullis_guard_model::Speaker;
use portcullis_guard_model::eval::{card, plot, report::Report, table};
use portcullis_guard_model::train::data::read;

use super::bars;
use super::device::Device;
use super::judge::judge;
use crate::cli::{say, say_note, say_text};

/// Measure a model.
#[derive(Debug, clap::Args)]
pub(super) struct Eval {
    #[command(flatten)]
    device: Device,
    /// Rows that the model has not learned from: JSON lines {"text","label","role"?,"lang"?,"kind"?}; may be repeated
    #[arg(long, value_name = "PATH", required = true, num_args = 1..)]
    data: Vec<PathBuf>,
    /// A model card: the tables replace what stands between <!-- eval:begin --> and <!-- eval:end -->
    #[arg(long, value_name = "FILE.md")]
    card: Option<PathBuf>,
    /// Write roc.svg and calibration.svg into this folder
    #[arg(long, value_name = "DIR")]
    plots: Option<PathBuf>,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

impl Eval {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let rows = read(&self.data)?;
        let mut scorer = self.device.open()?;
        let texts: Vec<(Speaker, &str)> = rows.iter().map(|row| (row.speaker.unwrap_or(Speaker::User), row.text.as_str())).collect();
        let bar = bars::windows();
        let scores = judge(&mut scorer, &texts, &mut |done, of| {
            bar.set_length(of as u64);
            bar.set_position(done as u64);
        });
        bar.finish_and_clear();
        let report = Report::of(&scorer.name, &rows, &scores?);
        let tables = table::markdown(&report);
        if let Some(path) = &self.card {
            card::update(path, &tables)?;
            say_note(&format!("{}: the tables are replaced", path.display()));
        }
        if let Some(dir) = &self.plots {
            write(dir, "roc.svg", &plot::roc(&report))?;
            write(dir, "calibration.svg", &plot::calibration(&report))?;
        }
        if self.json {
            say(serde_json::to_string(&report)?)?
        } else {
            say_text(&tables)?
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Writes a file into a folder that is made if it is not there.
pub(super) fn write(dir: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    let path = dir.join(name);
    let written = std::fs::create_dir_all(dir).and_then(|()| std::fs::write(&path, text));
    written.with_context(|| format!("{}: cannot be written", path.display()))
}
