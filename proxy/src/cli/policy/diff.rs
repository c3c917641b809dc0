//! `portcullis policy diff`: what would be decided otherwise if this policy took the place of that one.
//!
//! Over texts both policies judge everything. Over the audit trail they can judge only what is stored: the rules that were found then,
//! the guard's score, and the redacted prompt where a policy keeps it. A rule that looks for something new finds it there only in such
//! prompts; the report says how many there were.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::bail;
use portcullis_audit::{ERASED, Event, Filter, Kind, READ_EVENTS_MAX, Reader};
use portcullis_policies::{Action, Direction, Encoding, Finding, Policy, Role, Text, decide};
use serde_json::{Value, json};

use super::{judged, stored, title};
use crate::cli::say;
use crate::cli::texts::{Texts, Way, cores};

/// Most ids listed for one kind of change.
const IDS_LISTED_MAX: usize = 20;

/// Compare two policies.
#[derive(Debug, clap::Args)]
pub struct Diff {
    /// The policy in force
    #[arg(value_name = "A")]
    before: PathBuf,
    /// The policy to take its place
    #[arg(value_name = "B")]
    after: PathBuf,
    /// Texts as JSON lines {"id","text","role"}; `-` is standard input
    #[arg(long, value_name = "FILE", required_unless_present = "store")]
    traffic: Option<PathBuf>,
    #[command(flatten)]
    way: Way,
    /// Judge the decisions in this audit store instead
    #[arg(long, value_name = "FILE", conflicts_with = "traffic")]
    store: Option<PathBuf>,
    /// Only decisions from this moment on, such as 2026-11-01 or 2026-11-01T08:00:00Z
    #[arg(long, value_name = "T", requires = "store", value_parser = crate::cli::moment)]
    from: Option<i64>,
    /// Only decisions before this moment
    #[arg(long, value_name = "T", requires = "store", value_parser = crate::cli::moment)]
    to: Option<i64>,
    /// For programs
    #[arg(long)]
    json: bool,
    /// Exit 1 when a verdict changes
    #[arg(long)]
    fail_on_change: bool,
}

/// One verdict under both policies.
struct Compared {
    before: Action,
    after: Action,
    /// Rules that only one of them found or treats in this way: `-` before, `+` after.
    rules: Vec<String>,
}

impl Compared {
    fn new(before: (Action, Vec<(String, Action)>), after: (Action, Vec<(String, Action)>)) -> Self {
        let said = |sign: char, (id, action): &(String, Action)| format!("{sign}{id} {}", action.as_str());
        let gone = before.1.iter().filter(|rule| !after.1.contains(rule)).map(|rule| said('-', rule));
        let come = after.1.iter().filter(|rule| !before.1.contains(rule)).map(|rule| said('+', rule));
        let mut rules: Vec<String> = gone.chain(come).collect();
        rules.sort();
        rules.dedup();
        Self { before: before.0, after: after.0, rules }
    }
}

/// All that was compared.
#[derive(Default)]
struct Report {
    judged: usize,
    /// Same verdict, other rules.
    other_findings: usize,
    /// From one action to another: how many, by rule, and which.
    changes: BTreeMap<(Action, Action), Change>,
}

#[derive(Default)]
struct Change {
    count: usize,
    rules: BTreeMap<String, usize>,
    ids: Vec<Value>,
}

impl Report {
    fn add(&mut self, id: Value, compared: Compared) {
        self.judged += 1;
        if compared.before == compared.after {
            self.other_findings += usize::from(!compared.rules.is_empty());
            return;
        }
        let change = self.changes.entry((compared.before, compared.after)).or_default();
        change.count += 1;
        compared.rules.into_iter().for_each(|rule| *change.rules.entry(rule).or_default() += 1);
        change.ids.push(id);
    }

    fn changed(&self) -> usize {
        self.changes.values().map(|change| change.count).sum()
    }
}

impl Diff {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let (before, after) = (Arc::new(Policy::load(&self.before)?), Arc::new(Policy::load(&self.after)?));
        let (report, note) = match &self.store {
            Some(store) => self.over_trail(&before, &after, store)?,
            None => (self.over_texts(&before, &after)?, None),
        };
        if self.json {
            self.print_json(&before, &after, &report, note.as_deref())?;
        } else {
            self.print(&before, &after, &report, note.as_deref())?;
        }
        Ok(if self.fail_on_change && report.changed() > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    fn over_texts(&self, before: &Arc<Policy>, after: &Arc<Policy>) -> anyhow::Result<Report> {
        let (before, after, way) = (Arc::clone(before), Arc::clone(after), self.way);
        let mut report = Report::default();
        Texts::open(self.traffic.as_ref())?.each(
            cores(),
            move |line| {
                let of = |policy: &Policy| {
                    let (findings, decision) = judged(policy, way.direction, line.text(way));
                    (decision.intended, rules(&findings))
                };
                (Compared::new(of(&before), of(&after)), line.id)
            },
            |number, (compared, id)| {
                report.add(if id.is_null() { json!(number) } else { id }, compared);
                Ok(())
            },
            || Ok(()),
        )?;
        Ok(report)
    }

    fn over_trail(&self, before: &Policy, after: &Policy, store: &std::path::Path) -> anyhow::Result<(Report, Option<String>)> {
        let reader = Reader::open(store)?;
        let filter = Filter { kind: Some(Kind::Decision), ..Filter::default() };
        let (mut report, mut last, mut with_text) = (Report::default(), 0, 0);
        loop {
            let page = reader.tail(Some(last), READ_EVENTS_MAX, &filter)?;
            let Some(newest) = page.last() else { break };
            last = newest.seq;
            for event in page.into_iter().map(|stored| stored.event) {
                let time = event.time_us;
                if self.from.is_some_and(|from| time < from) || self.to.is_some_and(|to| time >= to) {
                    continue;
                }
                with_text += usize::from(event.redacted_prompt.as_deref().is_some_and(|text| text != ERASED));
                let compared = Compared::new(from_features(before, &event), from_features(after, &event));
                report.add(json!(event.request_id), compared);
            }
        }
        if report.judged == 0 {
            bail!("{}: no decision on record in that time", store.display());
        }
        let note = format!(
            "judged from what is on record: the rules found then and the guard's score; {with_text} of {} decisions also hold the redacted \
             prompt, and only there could a rule find something new",
            report.judged
        );
        Ok((report, Some(note)))
    }

    fn print(&self, before: &Policy, after: &Policy, report: &Report, note: Option<&str>) -> anyhow::Result<()> {
        say(format!("A: {}\nB: {}", title(before, &self.before), title(after, &self.after)))?;
        let changed = report.changed();
        let same = report.judged - changed - report.other_findings;
        say(format!(
            "{} judged: {changed} verdicts change, {} keep theirs by other rules, {same} are the same",
            report.judged, report.other_findings
        ))?;
        if let Some(note) = note {
            say(format!("({note})"))?;
        }
        for ((from, to), change) in &report.changes {
            let word = if to > from { "stricter" } else { "milder" };
            say(format!("\n{} -> {}: {} ({word})", from.as_str(), to.as_str(), change.count))?;
            let mut rules: Vec<(&String, &usize)> = change.rules.iter().collect();
            rules.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
            for (rule, count) in rules {
                say(format!("  {count:6}  {rule}"))?;
            }
            let ids: Vec<String> = change.ids.iter().take(IDS_LISTED_MAX).map(in_words).collect();
            let more = change.ids.len().saturating_sub(IDS_LISTED_MAX);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            say(format!("  ids: {}{more}", ids.join(", ")))?;
        }
        Ok(())
    }

    fn print_json(&self, before: &Policy, after: &Policy, report: &Report, note: Option<&str>) -> anyhow::Result<()> {
        let changes: Vec<Value> = report
            .changes
            .iter()
            .map(|((from, to), change)| {
                json!({"before": from.as_str(), "after": to.as_str(), "count": change.count, "rules": change.rules, "ids": change.ids})
            })
            .collect();
        let of = |policy: &Policy, path: &PathBuf| json!({"policy": policy.name(), "version": policy.version(), "file": path});
        say(json!({
            "a": of(before, &self.before), "b": of(after, &self.after), "judged": report.judged, "changed": report.changed(),
            "other_findings": report.other_findings, "note": note, "changes": changes,
        }))
    }
}

fn in_words(id: &Value) -> String {
    id.as_str().map_or_else(|| id.to_string(), str::to_owned)
}

/// The rules found and what is done about each, each once.
fn rules(findings: &[Finding]) -> Vec<(String, Action)> {
    let mut rules: Vec<(String, Action)> = findings.iter().map(|finding| (finding.rule.id.clone(), finding.action)).collect();
    rules.sort();
    rules.dedup();
    rules
}

/// The verdict of a policy over what is stored of a decision.
fn from_features(policy: &Policy, event: &Event) -> (Action, Vec<(String, Action)>) {
    let mut found: Vec<(String, Action)> = event
        .findings
        .iter()
        .filter_map(|finding| Some((finding.rule.clone(), policy.action_for(&finding.rule, stored::direction(finding))?)))
        .filter(|(_, action)| *action > Action::Allow)
        .collect();
    let text = event.redacted_prompt.as_deref().filter(|text| *text != ERASED).unwrap_or_default();
    // Who spoke which part is not stored.
    let text = Text { role: Role::User, encoding: Encoding::Plain, redactable: true, text };
    found.extend(rules(&policy.screen(Direction::Request, &text)));
    found.sort();
    found.dedup();
    let guard = decide(policy, &[], &[], &stored::signal(event)).intended;
    let strongest = found.iter().map(|(_, action)| *action).max().unwrap_or(Action::Allow);
    (strongest.max(guard), found)
}
