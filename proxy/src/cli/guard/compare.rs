//! `portcullis guard compare`: each method in a process of its own, so that its memory is its own.

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, bail};
use portcullis_guard_model::train::{comparison::Comparison, fine_tune::Outcome, method::Method};

use super::eval::write;
use super::rows::Rows;
use super::train::{Way, method};
use crate::cli::texts::cores;
use crate::cli::{say, say_note, say_text};

/// Compare ways to fine-tune.
#[derive(Debug, clap::Args)]
pub(super) struct Compare {
    /// The model folder that each starts from
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    #[command(flatten)]
    rows: Rows,
    #[command(flatten)]
    way: Way,
    /// The methods, separated by commas
    #[arg(long, value_delimiter = ',', value_parser = method, default_value = "full,lora,qlora,prefix,adapter,head")]
    methods: Vec<Method>,
    /// Where to: a model folder for each method, comparison.json and comparison.svg
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

impl Compare {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let (rows, held) = self.rows.open()?;
        if held.is_empty() {
            bail!("nothing is held out, so there is nothing to compare by; give --held-out or --held-data");
        }
        say_note(&format!("{} rows to learn from, {} held out, {} methods", rows.len(), held.len(), self.methods.len()));
        drop((rows, held));
        let mut outcomes = Vec::with_capacity(self.methods.len());
        for method in &self.methods {
            self.way.settings(*method)?;
            outcomes.push(self.trained(*method)?);
        }
        let model = outcomes.first().map_or_else(String::new, |outcome| outcome.version.clone());
        let comparison = Comparison { model, cores: cores(), outcomes };
        let json = serde_json::to_string(&comparison)?;
        write(&self.out, "comparison.json", &format!("{json}\n"))?;
        write(&self.out, "comparison.svg", &comparison.plot())?;
        if self.json {
            say(json)?
        } else {
            say_text(&comparison.markdown())?
        }
        say_note(&format!("{}: comparison.json, comparison.svg", self.out.display()));
        Ok(ExitCode::SUCCESS)
    }

    /// Runs `guard train` with one method.
    fn trained(&self, method: Method) -> anyhow::Result<Outcome> {
        let program = std::env::current_exe().context("cannot find this program to run it again")?;
        let mut command = Command::new(program);
        command.args(["guard", "train", "--json", "--method", method.name()]).args(self.way.words());
        command.arg("--model").arg(&self.model).arg("--out").arg(self.out.join(method.name()));
        for (option, paths) in [("--data", &self.rows.data), ("--held-data", &self.rows.held_data)] {
            for path in paths {
                command.arg(option).arg(path);
            }
        }
        command.args(self.rows.held_out.iter().map(|source| format!("--held-out={source}")));
        // Its progress is shown as it is; what it prints is its outcome.
        let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().context("cannot run the training")?;
        if !output.status.success() {
            bail!("{}: the training ended with {}; what it said is above", method.name(), output.status);
        }
        serde_json::from_slice(&output.stdout).with_context(|| format!("{}: its outcome cannot be read", method.name()))
    }
}
