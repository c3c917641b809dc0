//! `portcullis scan`: the policy over JSON lines, without a gateway.

use std::cell::RefCell;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use portcullis_policies::{Decision, Finding, ModelSignal, Outcome, Policy, decide};
use serde_json::{Value, json};

use super::texts::{Line, Texts, Way, cores};

/// Screen texts.
#[derive(Debug, clap::Args)]
pub struct Scan {
    /// JSON lines {"id","text","role"}; standard input when absent
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// The policy file
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    #[command(flatten)]
    way: Way,
    /// Leave the guard model out
    #[arg(long)]
    no_guard: bool,
    /// Add to each finding the text it matched; the output then holds what the policy keeps out of logs
    #[arg(long)]
    show: bool,
    /// How many threads work [default: one for each core]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

impl Scan {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let policy = Policy::load(&self.policy)?;
        let texts = Texts::open(self.file.as_ref())?;
        let output = RefCell::new(std::io::BufWriter::new(std::io::stdout().lock()));
        let (way, show) = (self.way, self.show);
        texts.each(
            self.threads.unwrap_or_else(cores),
            move |line| scanned(&policy, way, show, &line).to_string(),
            |_, verdict| written(writeln!(output.borrow_mut(), "{verdict}")),
            || written(output.borrow_mut().flush()),
        )?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Whoever reads the output may have had enough of it; that is no error.
fn written(result: std::io::Result<()>) -> anyhow::Result<()> {
    match result {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        result => Ok(result?),
    }
}

fn scanned(policy: &Policy, way: Way, show: bool, line: &Line) -> Value {
    let text = line.text(way);
    let findings = policy.screen(way.direction, &text);
    let decision = decide(policy, &[text], std::slice::from_ref(&findings), &ModelSignal::Skipped);
    verdict(line, show, &findings, &decision)
}

fn verdict(line: &Line, show: bool, findings: &[Finding], decision: &Decision) -> Value {
    let finding = |finding: &Finding| {
        let mut value = json!({
            "rule": finding.rule.id,
            "category": finding.rule.category.as_str(),
            "severity": finding.rule.severity.as_str(),
            "score": rounded(finding.score),
            "start": finding.span.start,
            "end": finding.span.end,
        });
        if show {
            value["text"] = json!(line.text.get(finding.span.clone()));
        }
        value
    };
    let list: Vec<Value> = findings.iter().map(finding).collect();
    let redacted = match &decision.outcome {
        Outcome::Forward(cleared) => json!(cleared.redacted(0).unwrap_or(&line.text)),
        Outcome::Refuse(_) => Value::Null,
    };
    // Without a guard model there is no label; the field stays so that readers find it in its place.
    json!({"id": line.id, "decision": decision.action.as_str(), "findings": list, "redacted": redacted, "guard": null})
}

/// A score as people read it.
pub(super) fn rounded(score: f32) -> f64 {
    (f64::from(score) * 1000.0).round() / 1000.0
}
