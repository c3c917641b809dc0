//! `portcullis guard`: make, train, measure, compare and use the guard model.

mod advise;
mod average;
mod bars;
mod bench;
mod compare;
mod deepen;
mod device;
mod eval;
mod init;
mod judge;
mod rows;
mod score;
mod train;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use portcullis_guard_model::manifest::{MANIFEST, Manifest};

pub(super) use judge::judge;

use super::say_note;

/// Train, measure and use the guard model.
#[derive(Debug, clap::Args)]
pub struct Guard {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Score texts: JSON lines {"id","text","role"?} on standard input, {"id","label","score","scores"} on standard output
    Score(score::Score),
    /// Fine-tune a model on JSON lines {"text","label","role"?,"lang"?,"kind"?}; an interrupted run goes on where it was
    Train(train::Train),
    /// Measure a model: AUC, recall and false positives by source, language and kind, with plots
    Eval(eval::Eval),
    /// Measure what a model costs on this machine: latency, throughput, memory, and whether a score depends on its batch
    Bench(bench::Bench),
    /// Train each method on the same rows, and show accuracy, AUC, parameters, memory and time side by side
    Compare(compare::Compare),
    /// Name the method that suits the rows at hand, and what is odd about them
    Advise(advise::Advise),
    /// Average models of one shape: points along a training run are often better together than each
    Average(average::Average),
    /// Give a model more layers that go on from where it is, to train a larger one
    Deepen(deepen::Deepen),
    /// Make first weights of a sentence encoder in Hugging Face's layout: fewer layers, a vocabulary of many languages
    Init(init::Init),
    /// Write manifest.json, the SHA-256 of a model folder's files; without it, or with another, a model is not used
    Manifest {
        /// The model folder
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
}

impl Guard {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Score(command) => command.run(),
            Command::Train(command) => command.run(),
            Command::Eval(command) => command.run(),
            Command::Bench(command) => command.run(),
            Command::Compare(command) => command.run(),
            Command::Advise(command) => command.run(),
            Command::Average(command) => command.run(),
            Command::Deepen(command) => command.run(),
            Command::Init(command) => command.run(),
            Command::Manifest { dir } => {
                Manifest::write(&dir)?;
                let fingerprint = Manifest::verify(&dir)?.fingerprint();
                say_note(&format!("{}: fingerprint {fingerprint}", dir.join(MANIFEST).display()));
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}
