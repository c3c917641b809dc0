//! `portcullis check`: would the gateway start with this, and is anything odd about its policies?

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use portcullis_policies::Policy;

use crate::config::Settings;
use crate::guard::{Guard, Model};
use crate::rollout::Track;
use crate::server::preflight;

use super::{say, say_error};

/// How many of the slowest rules are named.
const SLOWEST_NAMED: usize = 5;
/// How often a search is timed; the best counts, so that another process does not.
const TIMED: usize = 3;

/// Check a configuration.
#[derive(Debug, clap::Args)]
pub struct Check {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Also time every rule over texts made of its own examples, and name the slowest
    #[arg(long)]
    speed: bool,
    /// Exit 1 also when something is odd: a rule in the shadow of others, a setting that contradicts another
    #[arg(long)]
    strict: bool,
}

impl Check {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let settings = Settings::load(&self.config)?;
        say(format!("{}: ok", self.config.display()))?;
        let mut failed = false;
        for (name, track, path) in settings.policy_files() {
            let word = if track == Track::Canary { " (canary)" } else { "" };
            failed |= !self.policy(&format!("`{name}`{word}"), path)?;
        }
        if failed {
            return Ok(ExitCode::FAILURE);
        }
        let checked = preflight(&settings)?;
        say(format!("{}: ok, keys: {}", settings.keys.display(), checked.keys.keys.len()))?;
        let guard = Guard::start(&settings.guard, Arc::new(|_| {}))?;
        match guard.as_ref().and_then(Guard::model).map(Model::state) {
            None => {}
            Some(Ok(state)) => say(format!("guard: ok, model {}, known attacks: {}", state.version, state.known_attacks))?,
            Some(Err(reason)) => {
                say(format!("{}: the guard would be unavailable: {reason}", if self.strict { "error" } else { "note" }))?;
                if self.strict {
                    return Ok(ExitCode::FAILURE);
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Checks one policy. True when it is sound.
    fn policy(&self, name: &str, path: &Path) -> anyhow::Result<bool> {
        let policy = match Policy::proved(path) {
            Ok(policy) => policy,
            Err(error) => {
                say_error(&anyhow::Error::new(error));
                return Ok(false);
            }
        };
        let failures = policy.run_tests();
        for failure in &failures {
            say_error(&anyhow!(
                "{}: line {}: test `{}`: expected {}, got {}",
                path.display(),
                failure.line,
                failure.name,
                failure.expected,
                failure.got
            ));
        }
        let state = if failures.is_empty() { "ok" } else { "FAILS its tests" };
        say(format!("{}: policy {name} {} with {} rules: {state}", path.display(), policy.version(), policy.rules().count()))?;
        let oddities = policy.oddities();
        for odd in &oddities {
            say(format!("{}: {odd}", if self.strict { "error" } else { "note" }))?;
        }
        if self.speed {
            for (rule, nanoseconds) in slowest(&policy) {
                say(format!("  {nanoseconds:8.1} ns a byte at worst  {rule}"))?;
            }
        }
        Ok(failures.is_empty() && (oddities.is_empty() || !self.strict))
    }
}

/// The slowest rules, each with what a byte of the worst of its texts costs on top of the search for all rules' literals.
fn slowest(policy: &Policy) -> Vec<(String, f64)> {
    let mut costs: Vec<(String, f64)> = Vec::new();
    for rule in policy.rules() {
        let cost = |text: &String| {
            let (alone, base) = (best(policy, Some(&rule.id), text), best(policy, None, text));
            alone.saturating_sub(base).as_nanos() as f64 / text.len() as f64
        };
        let worst = policy.hostile_texts(&rule.id).iter().map(cost).fold(0.0, f64::max);
        costs.push((rule.id.clone(), worst));
    }
    costs.sort_by(|a, b| b.1.total_cmp(&a.1));
    costs.truncate(SLOWEST_NAMED);
    costs
}

fn best(policy: &Policy, rule: Option<&str>, text: &str) -> Duration {
    let timed = |_| {
        let began = Instant::now();
        std::hint::black_box(policy.search_alone(rule, std::hint::black_box(text)));
        began.elapsed()
    };
    (0..TIMED).map(timed).min().unwrap_or_default()
}
