//! `portcullis guard average`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use portcullis_guard_model::train::average::{Part, average};

use crate::cli::say_note;

/// Average models.
#[derive(Debug, clap::Args)]
#[command(disable_version_flag = true)]
pub(super) struct Average {
    /// Model folders of one shape, each with its share: a=0.3 b=0.7; without shares all have the same
    #[arg(value_name = "DIR[=SHARE]", required = true, num_args = 1.., value_parser = part)]
    models: Vec<(PathBuf, Option<f64>)>,
    /// Name and version for the audit trail, such as small-3; without it that of the first
    #[arg(long, value_name = "NAME")]
    version: Option<String>,
    /// The model folder to write, in f32; `guard train --model DIR --epochs 0 --bytes` finds its temperature and makes it small
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Reads a folder and its share.
fn part(word: &str) -> Result<(PathBuf, Option<f64>), String> {
    match word.rsplit_once('=') {
        None => Ok((word.into(), None)),
        Some(_) if Path::new(word).is_dir() => Ok((word.into(), None)),
        Some((dir, share)) => match share.parse() {
            Ok(share) => Ok((dir.into(), Some(share))),
            Err(_) => Err("what follows `=` is its share, a number from 0 to 1".into()),
        },
    }
}

impl Average {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let (shared, all) = (self.models.iter().filter(|(_, share)| share.is_some()).count(), self.models.len());
        anyhow::ensure!(shared == 0 || shared == all, "{shared} of {all} models have a share; give one to all of them or to none");
        let each = 1.0 / all as f64;
        let parts: Vec<Part> = self.models.into_iter().map(|(dir, share)| Part { dir, share: share.unwrap_or(each) }).collect();
        average(&parts, self.version.as_deref(), &self.out)?;
        say_note(&format!("{}: written, the mean of {all}", self.out.display()));
        Ok(ExitCode::SUCCESS)
    }
}
