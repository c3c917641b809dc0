//! `portcullis guard train`.

use std::path::PathBuf;
use std::process::ExitCode;

use portcullis_guard_model::train::{
    comparison::{memory, time},
    fine_tune::{Order, Outcome},
    method::Method,
    run::Settings,
};

use super::{bars::Training, rows::Rows};
use crate::cli::{say, say_note};

/// Fine-tune a model.
#[derive(Debug, clap::Args)]
#[command(disable_version_flag = true)]
pub(super) struct Train {
    /// The model folder to start from
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    #[command(flatten)]
    rows: Rows,
    #[command(flatten)]
    way: Way,
    /// Which tensors are trained: full, lora, qlora, prefix, adapter, head (`guard advise` names one)
    #[arg(long, default_value = "full", value_parser = method)]
    method: Method,
    /// The model folder to write; checkpoints are in its folder `checkpoint`, and a run with the same options goes on from there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Name and version of what is made, for the audit trail, such as small-2; without it that of --model
    #[arg(long, value_name = "NAME")]
    version: Option<String>,
    /// Store matrices in eight bits: a quarter of the size, scores differ by little
    #[arg(long)]
    bytes: bool,
    /// Print what came of it as JSON
    #[arg(long)]
    json: bool,
}

/// How long and how fast.
#[derive(Debug, clap::Args)]
pub(super) struct Way {
    /// Times that the rows are gone through; 0 trains nothing and only finds the temperature anew
    #[arg(long, value_name = "N", default_value_t = 2)]
    epochs: usize,
    /// Steps at most; 0: as many as the epochs have
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub steps: usize,
    /// The highest learning rate; without it what suits the method
    #[arg(long, value_name = "RATE")]
    rate: Option<f64>,
    /// Tokens of a batch
    #[arg(long, value_name = "N", default_value_t = 2048)]
    batch_tokens: usize,
    /// Rows of one source in an epoch, at most: a large source does not drown the others
    #[arg(long, value_name = "N", default_value_t = 1200)]
    source_rows_max: usize,
    /// Share of direct injections that are put into a document, as a tool's result, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.3)]
    planted: f32,
    /// The same seed, rows and options give the same model on the same machine
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Steps between two evaluations on the rows held out (and checkpoints)
    #[arg(long, value_name = "N", default_value_t = 250)]
    steps_between: usize,
    /// Evaluations without a better one before the run stops; 0: it never stops early
    #[arg(long, value_name = "N", default_value_t = 0)]
    patience: usize,
}

/// Reads a method's name.
pub(super) fn method(word: &str) -> Result<Method, String> {
    let names = Method::ALL.map(Method::name);
    Method::ALL.into_iter().find(|method| method.name() == word).ok_or_else(|| format!("it is one of {}", names.join(", ")))
}

impl Way {
    pub(super) fn settings(&self, method: Method) -> anyhow::Result<Settings> {
        anyhow::ensure!((0.0..=1.0).contains(&self.planted), "--planted must be from 0 to 1");
        anyhow::ensure!(self.rate.is_none_or(|rate| rate > 0.0 && rate <= 1.0), "--rate must be above 0 and at most 1");
        anyhow::ensure!(self.batch_tokens >= 16, "--batch-tokens must be at least 16");
        anyhow::ensure!(self.source_rows_max > 0 && self.steps_between > 0, "--source-rows-max and --steps-between must be at least 1");
        Ok(Settings {
            method,
            epochs: self.epochs,
            steps_max: self.steps,
            rate: self.rate,
            batch_tokens: self.batch_tokens,
            source_rows_max: self.source_rows_max,
            seed: self.seed,
            steps_between: self.steps_between,
            patience: self.patience,
            planted: self.planted,
        })
    }

    /// The options that ask for the same in another process.
    pub(super) fn words(&self) -> Vec<String> {
        let mut words = vec![
            format!("--epochs={}", self.epochs),
            format!("--steps={}", self.steps),
            format!("--batch-tokens={}", self.batch_tokens),
            format!("--source-rows-max={}", self.source_rows_max),
            format!("--planted={}", self.planted),
            format!("--seed={}", self.seed),
            format!("--steps-between={}", self.steps_between),
            format!("--patience={}", self.patience),
        ];
        words.extend(self.rate.map(|rate| format!("--rate={rate}")));
        words
    }
}

impl Train {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let settings = self.way.settings(self.method)?;
        let (rows, held) = self.rows.open()?;
        say_note(&format!("{}: {} rows to learn from, {} held out", self.method.name(), rows.len(), held.len()));
        if held.is_empty() {
            say_note("nothing is held out: the last weights are kept, and the temperature is not calibrated; see --held-out");
        }
        let order = Order { model: self.model, out: self.out, version: self.version, rows, held, bytes: self.bytes, settings };
        let mut shown = Training::new(self.method.name());
        let outcome = order.carry_out(&mut |progress| shown.show(&progress));
        shown.end();
        let outcome = outcome?;
        if self.json {
            say(serde_json::to_string(&outcome)?)?;
        } else {
            tell(&outcome, &order)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn tell(outcome: &Outcome, order: &Order) -> anyhow::Result<()> {
    let Outcome { trained, total, steps, seconds, memory_bytes_max, temperature, .. } = outcome;
    say(format!("{} is written, version {}", order.out.display(), outcome.version))?;
    say(format!("trained {trained} of {total} parameters in {steps} steps, {}, at most {}", time(*seconds), memory(*memory_bytes_max)))?;
    if let Some(held) = &outcome.held {
        say(format!(
            "on {} rows held out: accuracy {:.3}, AUC {:.4}, recall at 1 % false positives {:.3}, calibration error {:.3} at temperature {temperature:.3}",
            held.rows, held.accuracy, held.auc, held.recall, held.calibration_error
        ))?;
    }
    Ok(())
}
