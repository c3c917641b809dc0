//! What the audit trail says of a request, held against a policy as it is now.
//!
//! The trail holds no prompt, only features: rules, places, actions, the guard's score, and where the policy says so the redacted text.

use std::path::Path;
use std::process::ExitCode;

use anyhow::bail;
use portcullis_audit::{Event, Filter, FindingRecord, Guard, Kind, Reader};
use portcullis_policies::{DECODING_BUDGET, Direction, KnownAttack, ModelSignal, Policy};
use serde_json::{Value, json};

use super::title;
use crate::cli::say;
use crate::record::KNOWN_ATTACK;

/// Most events of one request: its decision, its completion, and one to notice that there is more.
const EVENTS_MAX: usize = 8;

/// Explains one request from its events.
pub(super) fn explain(policy: &Policy, path: &Path, store: &Path, request: &str, as_json: bool) -> anyhow::Result<ExitCode> {
    let filter = Filter { request_id: Some(request.to_owned()), ..Filter::default() };
    let events: Vec<Event> = Reader::open(store)?.tail(Some(0), EVENTS_MAX, &filter)?.into_iter().map(|stored| stored.event).collect();
    if events.is_empty() {
        bail!("{}: no event of a request {request}", store.display());
    }
    if as_json {
        let events: Vec<Value> = events.iter().map(|event| value(policy, event)).collect();
        say(json!({"request_id": request, "policy": policy.name(), "version": policy.version(), "events": events}))?;
    } else {
        say(title(policy, path))?;
        for event in &events {
            print(policy, event)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print(policy: &Policy, event: &Event) -> anyhow::Result<()> {
    let decision = event.decision.map_or("-", |decision| decision.as_str());
    let intended = event.intended.filter(|intended| Some(*intended) != event.decision);
    let intended = intended.map(|intended| format!(" (mode: enforce would {})", intended.as_str())).unwrap_or_default();
    let outcome = if event.outcome.is_empty() { String::new() } else { format!(", {}", event.outcome) };
    say(format!("\n{} {}: {decision}{intended}{outcome}", event.time, event.kind.as_str()))?;
    if event.kind == Kind::Decision {
        let stands = if event.policy_version == policy.version() { "the same as now" } else { "not the one given here" };
        say(format!("  by policy `{}` {}: {stands}", event.policy, event.policy_version))?;
        match &event.guard {
            Some(Guard::Scored { label, score, version, known }) => {
                let by = if version.is_empty() { String::new() } else { format!(" by {version}") };
                let near = known.as_ref().map(|known| format!(", near the known attack {} ({:.2})", known.id, known.similarity));
                say(format!("  guard: {label} {score:.2}{by}{}", near.unwrap_or_default()))?;
            }
            Some(Guard::Unavailable { reason }) => say(format!("  guard: no answer ({reason})"))?,
            Some(Guard::Skipped) | None => {}
        }
        if !event.coverage_limits.is_empty() {
            say(format!("  not screened in every form: {}", event.coverage_limits.join(", ")))?;
        }
    }
    if event.findings.is_empty() {
        say("  no finding")?;
    }
    for finding in &event.findings {
        let (rule, action, direction) = (&finding.rule, finding.action.as_str(), finding.direction.as_str());
        say(format!(
            "  {rule}: {} times in the {direction}, {action} ({} {})",
            finding.count,
            finding.severity.as_str(),
            finding.category
        ))?;
        let places: Vec<String> = finding.spans.iter().map(|span| format!("{} {}..{}", span.leaf, span.start, span.end)).collect();
        say(format!("    at {}", places.join(", ")))?;
        say(format!("    {}", now_in_words(policy, finding)))?;
    }
    Ok(())
}

fn value(policy: &Policy, event: &Event) -> Value {
    let findings: Vec<Value> = event
        .findings
        .iter()
        .map(|finding| {
            let spans: Vec<Value> =
                finding.spans.iter().map(|span| json!({"leaf": span.leaf, "start": span.start, "end": span.end})).collect();
            let rule = policy.rules().find(|rule| rule.id == finding.rule);
            json!({
                "rule": finding.rule, "category": finding.category, "severity": finding.severity.as_str(), "count": finding.count,
                "direction": finding.direction.as_str(), "action": finding.action.as_str(), "spans": spans,
                "now": rule.map(|rule| json!({
                    "title": rule.title, "why": rule.why,
                    "action": policy.action_for(&rule.id, direction(finding)).map(|action| action.as_str()),
                })),
            })
        })
        .collect();
    json!({
        "kind": event.kind.as_str(), "time": event.time, "decision": event.decision.map(|decision| decision.as_str()),
        "intended": event.intended.map(|intended| intended.as_str()), "outcome": event.outcome, "policy": event.policy,
        "policy_version": event.policy_version, "is_same_version": event.policy_version == policy.version(),
        "guard": event.guard, "coverage_limits": event.coverage_limits, "findings": findings,
    })
}

/// What the policy says now about the rule of a finding.
fn now_in_words(policy: &Policy, finding: &FindingRecord) -> String {
    if finding.rule == DECODING_BUDGET {
        return format!("now: {}; the setting on_decoding_budget", policy.on_decoding_budget().as_str());
    }
    if finding.category == KNOWN_ATTACK {
        return format!("now: {}; the setting guard.known", policy.on_known_attack().as_str());
    }
    let Some(rule) = policy.rules().find(|rule| rule.id == finding.rule) else {
        return "this policy has no such rule: it would not be found".to_owned();
    };
    let action = policy.action_for(&rule.id, direction(finding)).map_or("-", |action| action.as_str());
    let threshold = policy.threshold_for(&rule.id).unwrap_or_default();
    format!("now: {action} from a score of {threshold:.2}; {} ({})", rule.title, rule.why)
}

pub(super) fn direction(finding: &FindingRecord) -> Direction {
    match finding.direction {
        portcullis_audit::Direction::Request => Direction::Request,
        portcullis_audit::Direction::Response => Direction::Response,
    }
}

/// The guard's word as it was stored.
pub(super) fn signal(event: &Event) -> ModelSignal {
    match &event.guard {
        Some(Guard::Scored { label, score, version, known }) => ModelSignal::Scored {
            label: label.clone(),
            score: *score,
            version: version.clone(),
            known: known.as_ref().map(|known| KnownAttack { id: known.id.clone(), similarity: known.similarity }),
        },
        Some(Guard::Unavailable { reason }) => ModelSignal::Unavailable { reason: reason.clone() },
        Some(Guard::Skipped) | None => ModelSignal::Skipped,
    }
}
