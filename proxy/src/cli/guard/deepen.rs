//! `portcullis guard deepen`.

use std::path::PathBuf;
use std::process::ExitCode;

use portcullis_guard_model::train::deepen::deepen;

use crate::cli::say_note;

/// Give a model more layers.
#[derive(Debug, clap::Args)]
#[command(disable_version_flag = true)]
pub(super) struct Deepen {
    /// The model folder to begin with
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Layers that the new one has, up to twice as many
    #[arg(long, value_name = "N")]
    layers: usize,
    /// Name and version for the audit trail, such as base-1; without it that of the first
    #[arg(long, value_name = "NAME")]
    version: Option<String>,
    /// The model folder to write, in f32, to be trained with `guard train`
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

impl Deepen {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        deepen(&self.model, self.layers, self.version.as_deref(), &self.out)?;
        say_note(&format!("{}: written, with {} layers; train it before you use it", self.out.display(), self.layers));
        Ok(ExitCode::SUCCESS)
    }
}
