//! `portcullis scan`: the policy over JSON lines, without a gateway.

use std::io::{BufRead as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use portcullis_policies::{Decision, Direction, Encoding, Finding, ModelSignal, Outcome, Policy, Role, Text, decide};
use serde::Deserialize;
use serde_json::{Value, json};

/// Screen texts.
#[derive(Debug, clap::Args)]
pub struct Scan {
    /// The policy file
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// Which way the texts go
    #[arg(long, value_parser = ["request", "response"], default_value = "request")]
    direction: String,
    /// Who speaks in them, unless a line says so itself
    #[arg(long, value_parser = ["user", "system", "assistant", "tool"], default_value = "user")]
    role: String,
    /// Leave the guard model out
    #[arg(long)]
    no_guard: bool,
}

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    id: Value,
    text: String,
    #[serde(default)]
    role: Option<String>,
}

impl Scan {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let policy = Policy::load(&self.policy)?;
        let direction = if self.direction == "response" { Direction::Response } else { Direction::Request };
        let input = std::io::stdin().lock();
        let mut output = std::io::BufWriter::new(std::io::stdout().lock());
        for (number, line) in input.split(b'\n').enumerate() {
            let line = line.context("standard input")?;
            if line.trim_ascii().is_empty() {
                continue;
            }
            let line: Line = serde_json::from_slice(&line)
                .with_context(|| format!("standard input, line {}: expected {{\"id\", \"text\"}}", number + 1))?;
            let verdict = self.scan(&policy, direction, &line);
            if let Err(e) = writeln!(output, "{verdict}") {
                // Whoever read the output has had enough.
                return if e.kind() == std::io::ErrorKind::BrokenPipe { Ok(ExitCode::SUCCESS) } else { Err(e.into()) };
            }
        }
        output.flush()?;
        Ok(ExitCode::SUCCESS)
    }

    fn scan(&self, policy: &Policy, direction: Direction, line: &Line) -> Value {
        let text =
            Text { role: role(line.role.as_deref().unwrap_or(&self.role)), encoding: Encoding::Plain, redactable: true, text: &line.text };
        let findings = policy.screen(direction, &text);
        let decision = decide(policy, &[text], std::slice::from_ref(&findings), &ModelSignal::Skipped);
        verdict(line, &findings, &decision)
    }
}

fn role(name: &str) -> Role {
    match name {
        "system" => Role::System,
        "assistant" => Role::Assistant,
        "tool" => Role::Tool,
        _ => Role::User,
    }
}

fn verdict(line: &Line, findings: &[Finding], decision: &Decision) -> Value {
    let list: Vec<Value> = findings
        .iter()
        .map(|finding| {
            json!({
                "rule": finding.rule.id,
                "category": finding.rule.category.as_str(),
                "severity": finding.rule.severity.as_str(),
                "score": (f64::from(finding.score) * 1000.0).round() / 1000.0,
                "start": finding.span.start,
                "end": finding.span.end,
            })
        })
        .collect();
    let redacted = match &decision.outcome {
        Outcome::Forward(cleared) => json!(cleared.redacted(0).unwrap_or(&line.text)),
        Outcome::Refuse(_) => Value::Null,
    };
    // Without a guard model there is no label; the field stays so that readers find it in its place.
    json!({"id": line.id, "decision": decision.action.as_str(), "findings": list, "redacted": redacted, "guard": null})
}
