//! `portcullis policy schema`: the form of the files, for editors.

use std::process::ExitCode;

use portcullis_policies::{PACK_SCHEMA, POLICY_SCHEMA};

use crate::cli::say;

/// Print a JSON Schema.
#[derive(Debug, clap::Args)]
pub struct Schema {
    /// Of which file
    #[arg(value_parser = ["policy", "pack"], default_value = "policy")]
    file: String,
}

impl Schema {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let schema = if self.file == "pack" { PACK_SCHEMA } else { POLICY_SCHEMA };
        say(schema.trim_end())?;
        Ok(ExitCode::SUCCESS)
    }
}
