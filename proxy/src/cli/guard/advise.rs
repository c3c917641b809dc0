//! `portcullis guard advise`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use portcullis_guard_model::train::{
    advice::{Advice, Way, advise},
    comparison::Comparison,
    data::read,
};

use crate::cli::say;

/// Name the method that suits some rows.
#[derive(Debug, clap::Args)]
pub(super) struct Advise {
    /// The rows: JSON lines {"text","label","role"?,"lang"?,"kind"?}; a folder means its .jsonl files
    #[arg(value_name = "DATA", required = true)]
    data: Vec<PathBuf>,
    /// What `guard compare` measured: its comparison.json
    #[arg(long, value_name = "FILE.json")]
    comparison: Option<PathBuf>,
    /// Print the advice as JSON
    #[arg(long)]
    json: bool,
}

impl Advise {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let rows = read(&self.data)?;
        let measured = self.comparison.as_ref().map(|path| -> anyhow::Result<Comparison> {
            let text = std::fs::read_to_string(path).with_context(|| format!("{}: cannot be read", path.display()))?;
            serde_json::from_str(&text).with_context(|| format!("{}: is no comparison", path.display()))
        });
        let advice = advise(&rows, measured.transpose()?.as_ref());
        if self.json {
            say(serde_json::to_string(&advice)?)?
        } else {
            tell(&advice)?
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn tell(advice: &Advice) -> anyhow::Result<()> {
    let [benign, injection, jailbreak] = advice.labels;
    say(format!("{} different texts: {benign} benign, {injection} injection, {jailbreak} jailbreak", advice.texts))?;
    say(match (advice.way, advice.method) {
        (Way::PrefixOrAdapter, Some(method)) => format!("advice: prefix or adapter; guard train --method {}", method.name()),
        (_, Some(method)) => format!("advice: {0}; guard train --method {0}", method.name()),
        (_, None) => "advice: do not train; write rules, and add the attacks to the known attacks".to_owned(),
    })?;
    for reason in &advice.reasons {
        say(format!("  because {reason}"))?;
    }
    for warning in &advice.warnings {
        say(format!("  warning: {warning}"))?;
    }
    Ok(())
}
