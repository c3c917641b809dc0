//! `portcullis policy reference`: every rule of a policy, for people.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use portcullis_policies::{Direction, Policy, RuleFacts, RuleInfo};

use crate::cli::say;

/// List every rule.
#[derive(Debug, clap::Args)]
pub struct Reference {
    /// The policy file
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
}

impl Reference {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let policy = Policy::load(&self.policy)?;
        let text = reference(&policy);
        say(text.trim_end())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The list in Markdown, pack by pack, sorted, without anything that changes by itself.
fn reference(policy: &Policy) -> String {
    let facts: BTreeMap<String, RuleFacts> = policy.facts().map(|facts| (facts.id.clone(), facts)).collect();
    let mut packs: BTreeMap<&str, Vec<&RuleInfo>> = BTreeMap::new();
    for rule in policy.rules() {
        packs.entry(&rule.pack).or_default().push(rule);
    }
    let examples: usize = facts.values().map(|facts| facts.examples).sum();
    let mut text = format!(
        "# Rules\n\n{} rules with {examples} examples. Written by `make reference`; do not edit.\n\
         *evidence*: `check` a check of the value, `context` words before it; *way*: where it looks, both ways where nothing is said.\n",
        facts.len()
    );
    for (pack, mut rules) in packs {
        rules.sort_by(|a, b| a.id.cmp(&b.id));
        text += &format!(
            "\n## {pack}\n\n| rule | what it finds | category, severity | evidence | way | catalogues | examples |\n|---|---|---|---|---|---|---|\n"
        );
        for rule in rules {
            let Some(facts) = facts.get(&rule.id) else { continue };
            let evidence: Vec<&str> = [(facts.has_check, "check"), (facts.has_context, "context")]
                .into_iter()
                .filter(|(has, _)| *has)
                .map(|(_, word)| word)
                .collect();
            let way = match facts.directions.as_slice() {
                [Direction::Request] => "request",
                [Direction::Response] => "response",
                _ => "",
            };
            let title = rule.title.replace('|', "\\|");
            let (category, severity) = (rule.category.as_str(), rule.severity.as_str());
            let (tags, evidence) = (rule.tags.join(" "), evidence.join(", "));
            text += &format!("| `{}` | {title} | {category}, {severity} | {evidence} | {way} | {tags} | {} |\n", rule.id, facts.examples);
        }
    }
    text
}
