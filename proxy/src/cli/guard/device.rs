//! Where the guard runs, as the commands take it.

use std::path::PathBuf;

use portcullis_guard_model::Place;
use portcullis_guard_model::error::ModelError;
use portcullis_guard_model::eval::scorer::Scorer;

use crate::cli::texts::cores;

/// A model, and where it runs.
#[derive(Debug, clap::Args)]
pub(super) struct Device {
    /// The model folder
    #[arg(long, value_name = "DIR", default_value = "guard-model/weights/small")]
    pub model: PathBuf,
    /// Where it runs: cpu, or cuda (the first GPU), cuda:1 and so on (built with --features cuda)
    #[arg(long, value_name = "cpu|cuda[:N]", default_value = "cpu", value_parser = place)]
    device: Place,
    /// Threads on the CPU [default: one for each core]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

fn place(word: &str) -> Result<Place, String> {
    match word.split_once(':') {
        None if word == "cpu" => Ok(Place::Cpu(0)),
        None if word == "cuda" => Ok(Place::Gpu(0)),
        Some(("cuda", number)) => number.parse().map(Place::Gpu).map_err(|_| "write cuda, or cuda:1 for the second GPU".to_owned()),
        _ => Err("it is cpu, cuda, cuda:1 and so on".to_owned()),
    }
}

impl Device {
    /// Opens the model there.
    pub(super) fn open(&self) -> Result<Scorer, ModelError> {
        Scorer::open(&self.model, self.place())
    }

    /// Where it runs, threads settled.
    pub(super) fn place(&self) -> Place {
        match self.device {
            Place::Cpu(_) => Place::Cpu(self.threads.unwrap_or_else(cores).max(1)),
            gpu => gpu,
        }
    }

    /// The same, as people read it.
    pub(super) fn words(&self) -> String {
        match self.place() {
            Place::Cpu(1) => "cpu, 1 thread".into(),
            Place::Cpu(threads) => format!("cpu, {threads} threads"),
            Place::Gpu(n) => format!("cuda:{n}"),
        }
    }
}
