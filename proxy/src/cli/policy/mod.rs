//! `portcullis policy`: working with policies. Each subcommand has a file.

mod diff;
mod explain;
mod junit;
mod reference;
mod schema;
mod stored;
mod test;

use std::path::Path;
use std::process::ExitCode;

use clap::Subcommand;
use portcullis_policies::{Action, Decision, Direction, Finding, ModelSignal, Policy as Rules, Text, decide};

/// Work with policies.
#[derive(Debug, clap::Args)]
pub struct Policy {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the policy's own tests, and count false alarms over ordinary texts; exit 1 when a test fails or there are too many
    Test(test::Test),
    /// Say why a text, or a request on record, was decided as it was, and what would change that
    Explain(explain::Explain),
    /// Judge texts, or what is on record, by two policies, and list the verdicts that differ
    Diff(diff::Diff),
    /// List every rule of a policy in Markdown
    Reference(reference::Reference),
    /// Print the JSON Schema of policy or pack files
    Schema(schema::Schema),
}

impl Policy {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Test(command) => command.run(),
            Command::Explain(command) => command.run(),
            Command::Diff(command) => command.run(),
            Command::Reference(command) => command.run(),
            Command::Schema(command) => command.run(),
        }
    }
}

/// A policy's name, version and file, as every subcommand begins.
fn title(policy: &Rules, path: &Path) -> String {
    format!("policy `{}` {} ({})", policy.name(), policy.version(), path.display())
}

/// What the rules find in a text and what is decided about it alone, with what the guard model says of it.
fn judged_with(policy: &Rules, direction: Direction, text: Text<'_>, guard: &ModelSignal) -> (Vec<Finding>, Decision) {
    let findings = policy.screen(direction, &text);
    let decision = decide(policy, &[text], std::slice::from_ref(&findings), guard);
    (findings, decision)
}

/// The same without a guard model.
fn judged(policy: &Rules, direction: Direction, text: Text<'_>) -> (Vec<Finding>, Decision) {
    judged_with(policy, direction, text, &ModelSignal::Skipped)
}

/// The ids of the rules whose finding is of this action, each once.
fn rules_of(findings: &[Finding], action: Action) -> Vec<String> {
    let mut ids: Vec<String> = findings.iter().filter(|finding| finding.action == action).map(|finding| finding.rule.id.clone()).collect();
    ids.sort();
    ids.dedup();
    ids
}
