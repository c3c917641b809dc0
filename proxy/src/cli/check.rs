//! `portcullis check`: would the gateway start with this?

use std::path::PathBuf;
use std::process::ExitCode;

use portcullis_policies::Policy;

use crate::config::Settings;
use crate::server::preflight;

use super::{say, say_error};

/// Check a configuration.
#[derive(Debug, clap::Args)]
pub struct Check {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

impl Check {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let settings = Settings::load(&self.config)?;
        say(format!("{}: ok", self.config.display()))?;
        let mut failed = false;
        for (name, path) in &settings.policies {
            match Policy::load(path) {
                Err(error) => {
                    failed = true;
                    say_error(&anyhow::Error::new(error));
                }
                Ok(policy) => {
                    let failures = policy.run_tests();
                    failed |= !failures.is_empty();
                    for failure in &failures {
                        say_error(&anyhow::anyhow!(
                            "{}: line {}: test `{}`: expected {}, got {}",
                            path.display(),
                            failure.line,
                            failure.name,
                            failure.expected,
                            failure.got
                        ));
                    }
                    let state = if failures.is_empty() { "ok" } else { "FAILS its tests" };
                    say(format!(
                        "{}: policy `{name}` {} with {} rules: {state}",
                        path.display(),
                        policy.version(),
                        policy.rules().count()
                    ))?;
                }
            }
        }
        if failed {
            return Ok(ExitCode::FAILURE);
        }
        let checked = preflight(&settings)?;
        say(format!("{}: ok, keys: {}", settings.keys.display(), checked.keys.keys.len()))?;
        Ok(ExitCode::SUCCESS)
    }
}
