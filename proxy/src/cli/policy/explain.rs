//! `portcullis policy explain`: which rule, where, how sure, why not, and what would change the verdict.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow, bail, ensure};
use portcullis_guard_model::Place;
use portcullis_guard_model::eval::scorer::Scorer;
use portcullis_policies::{Allowance, CoverageLimit, Decision, Direction, Encoding, Fate, ModelSignal, Policy, Role, Seen, Text};
use serde_json::{Value, json};

use super::{judged_with, stored, title};
use crate::cli::guard::judge;
use crate::cli::say;
use crate::cli::scan::rounded;
use crate::cli::texts::{Way, cores};
use crate::guard::speaker;

/// Explain a verdict.
#[derive(Debug, clap::Args)]
pub struct Explain {
    /// The policy file
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// The text; standard input when absent
    #[arg(long, value_name = "TEXT", conflicts_with = "store")]
    text: Option<String>,
    #[command(flatten)]
    way: Way,
    /// Ask this guard model too, a model folder; known attacks are not compared
    #[arg(long, value_name = "DIR", conflicts_with = "store")]
    guard: Option<PathBuf>,
    /// Explain a request on record in this audit store, from what was stored of it
    #[arg(long, value_name = "FILE", requires = "request")]
    store: Option<PathBuf>,
    /// Id of the request, as in `x-request-id`
    #[arg(long, value_name = "ID", requires = "store")]
    request: Option<String>,
    /// For programs
    #[arg(long)]
    json: bool,
    /// Show the text of each span
    #[arg(long)]
    show: bool,
    /// Show only what was found, not what was looked at and left
    #[arg(long)]
    found: bool,
}

/// What is decided about the text, and the bound that kept it from being searched in every form.
struct Verdict {
    decision: Decision,
    limit: Option<CoverageLimit>,
    guard: ModelSignal,
}

impl Explain {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let policy = Policy::load(&self.policy)?;
        if let (Some(store), Some(request)) = (&self.store, &self.request) {
            return stored::explain(&policy, &self.policy, store, request, self.json);
        }
        let text = match &self.text {
            Some(text) => text.clone(),
            None => {
                let mut text = String::new();
                std::io::stdin().read_to_string(&mut text).context("standard input: expected a text in UTF-8")?;
                text.strip_suffix('\n').unwrap_or(&text).to_owned()
            }
        };
        let asked = Text { role: self.way.role, encoding: Encoding::Plain, redactable: true, text: &text };
        let mut seen = policy.explain(self.way.direction, &asked).map_err(|reason| anyhow!("{}: {reason}", self.policy.display()))?;
        if self.found {
            seen.retain(|seen| is_found(&seen.fate));
        }
        let guard = self.asked_guard(&text)?;
        let verdict = Verdict {
            decision: judged_with(&policy, self.way.direction, asked, &guard).1,
            guard,
            limit: policy.screened(self.way.direction, &asked, &Allowance::default()).limit,
        };
        if self.json { self.print_json(&policy, &verdict, &seen, &text) } else { self.print(&policy, &verdict, &seen, &text) }?;
        Ok(ExitCode::SUCCESS)
    }

    /// What the guard model says of the text, where one is named and the gateway would ask it.
    fn asked_guard(&self, text: &str) -> anyhow::Result<ModelSignal> {
        let Some(dir) = &self.guard else { return Ok(ModelSignal::Skipped) };
        ensure!(
            self.way.direction == Direction::Request && self.way.role != Role::System,
            "--guard: the guard reads requests, and what operators write in them is not its business"
        );
        let mut scorer = Scorer::open(dir, Place::Cpu(cores()))?;
        let scores = judge(&mut scorer, &[(speaker(self.way.role), text)], &mut |_, _| {})?;
        let Some(worst) = scores.first() else { bail!("{}: the model gave no score", dir.display()) };
        Ok(ModelSignal::Scored { label: worst.label().to_owned(), score: worst.attack(), version: scorer.name, known: None })
    }

    /// A line about the guard model.
    fn say_guard(&self, policy: &Policy, guard: &ModelSignal) -> anyhow::Result<()> {
        let (flag, block) = policy.guard_thresholds();
        match guard {
            ModelSignal::Scored { label, score, version, .. } => say(format!(
                "guard: {label}, score {score:.2} (flag from {flag:.2} on, block from {block:.2} on; {version}; known attacks not compared)"
            )),
            _ if self.way.direction == Direction::Request => say("guard: not asked; --guard DIR asks a model"),
            _ => Ok(()),
        }
    }

    fn print(&self, policy: &Policy, verdict: &Verdict, seen: &[Seen], text: &str) -> anyhow::Result<()> {
        let way = format!("{}, {}", self.way.direction.as_str(), self.way.role.as_str());
        say(format!("{}\n{way}: {}", title(policy, &self.policy), in_words(&verdict.decision)))?;
        self.say_guard(policy, &verdict.guard)?;
        if let Some(CoverageLimit::DecodingBudget) = verdict.limit {
            let action = policy.on_decoding_budget().as_str();
            say(format!("not decoded in full: its decoded forms pass their budget, some were not searched; on_decoding_budget: {action}"))?;
        }
        for (heading, wanted) in [("found", true), ("looked at and left", false)] {
            let part: Vec<&Seen> = seen.iter().filter(|seen| is_found(&seen.fate) == wanted).collect();
            if part.is_empty() {
                continue;
            }
            say(format!("\n{heading}:"))?;
            let width = part.iter().map(|seen| seen.rule.id.len()).max().unwrap_or_default();
            for seen in part {
                let place = format!("{}..{}", seen.span.start, seen.span.end);
                let (id, action, fate) = (&seen.rule.id, seen.action.as_str(), fate(&seen.fate));
                say(format!("  {id:width$}  {place:>9}  {action:6}  {:15}  {fate}", score(seen)))?;
                if self.show {
                    say(format!("  {:width$}  {:?}", "", text.get(seen.span.clone()).unwrap_or_default()))?;
                }
                let check = seen.check.as_ref().map(|check| format!(", check {check}")).unwrap_or_default();
                let (severity, category) = (seen.rule.severity.as_str(), seen.rule.category.as_str());
                let place = format!("{}:{}", seen.path.display(), seen.line);
                say(format!("  {:width$}  {}: {severity} {category}{check}; {place}", "", seen.rule.title))?;
                for change in &seen.changes {
                    say(format!("  {:width$}  - {change}", ""))?;
                }
            }
        }
        Ok(())
    }

    fn print_json(&self, policy: &Policy, verdict: &Verdict, seen: &[Seen], text: &str) -> anyhow::Result<()> {
        let Verdict { decision, limit, guard } = verdict;
        let guard = match guard {
            ModelSignal::Scored { label, score, version, .. } => json!({"label": label, "score": rounded(*score), "version": version}),
            _ => Value::Null,
        };
        let limits: Vec<&str> = limit.iter().map(|limit| limit.as_str()).collect();
        let seen: Vec<Value> = seen.iter().map(|seen| self.value(seen, text)).collect();
        say(json!({
            "policy": policy.name(), "version": policy.version(), "direction": self.way.direction.as_str(), "role": self.way.role.as_str(),
            "decision": decision.action.as_str(), "intended": decision.intended.as_str(), "coverage_limits": limits, "guard": guard, "seen": seen,
        }))
    }

    fn value(&self, seen: &Seen, text: &str) -> Value {
        let context = seen.context.as_ref().map(|context| {
            json!({"words": context.words, "boost": rounded(context.boost), "required": context.required, "found": context.found})
        });
        let (reason, rules) = match &seen.fate {
            Fate::Fails(demand) => (Some(demand.as_str()), None),
            Fate::Lost(rules) | Fate::Shortened(rules) => (None, Some(rules)),
            _ => (None, None),
        };
        let mut value = json!({
            "rule": seen.rule.id, "title": seen.rule.title, "category": seen.rule.category.as_str(), "severity": seen.rule.severity.as_str(),
            "file": seen.path, "line": seen.line, "start": seen.span.start, "end": seen.span.end,
            "match_start": seen.extent.start, "match_end": seen.extent.end, "base_score": rounded(seen.base_score),
            "score": rounded(seen.score), "threshold": rounded(seen.threshold), "context": context, "check": seen.check,
            "action": seen.action.as_str(), "fate": seen.fate.as_str(), "fails": reason, "to": rules, "changes": seen.changes,
        });
        if self.show {
            value["text"] = json!(text.get(seen.span.clone()));
        }
        value
    }
}

fn is_found(fate: &Fate) -> bool {
    matches!(fate, Fate::Found | Fate::Shortened(_))
}

fn fate(fate: &Fate) -> String {
    match fate {
        Fate::Found => "found".to_owned(),
        Fate::Shortened(rules) => format!("found, less what {} takes", rules.join(", ")),
        Fate::Lost(rules) => format!("lost to {}", rules.join(", ")),
        Fate::Weak => "too weak".to_owned(),
        Fate::Fails(demand) => format!("fails: {}", demand.as_str().replace('_', " ")),
        Fate::OutOfScope => "not for such texts".to_owned(),
        Fate::Allowed => "allowed by the policy".to_owned(),
    }
}

/// `0.80 = 0.40 + 0.40`, or the score alone where nothing was added.
fn score(seen: &Seen) -> String {
    if seen.score > seen.base_score {
        format!("{:.2} = {:.2}+{:.2}", seen.score, seen.base_score, seen.score - seen.base_score)
    } else {
        format!("{:.2}", seen.score)
    }
}

fn in_words(decision: &Decision) -> String {
    if decision.action == decision.intended {
        decision.action.as_str().to_owned()
    } else {
        format!("{} (mode: enforce would {})", decision.action.as_str(), decision.intended.as_str())
    }
}
