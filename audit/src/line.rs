//! One event as one line for people: aligned, and safe to print whatever a client put into its names.

use std::fmt::Write;

use crate::{Event, Guard, PolicyChange, StoredEvent};

/// Characters shown of a name.
const NAME_SHOWN: usize = 40;
/// Rules shown of an event.
const RULES_SHOWN: usize = 8;

/// Formats an event: time (UTC), kind, decision, status, outcome, tenant/key, model, request id, rules; of a change, what changed.
/// Control characters, white space and characters that change the direction or show of text are escaped, so no name can break
/// the line, imitate a column or steer the terminal.
pub fn format_line(stored: &StoredEvent) -> String {
    let Event { time, kind, decision, status, outcome, tenant, key_id, model, request_id, .. } = &stored.event;
    let caller = format!("{}/{}", shown(tenant), shown(key_id));
    let status = status.map_or_else(|| "-".into(), |status| status.to_string());
    let decision = decision.map_or("-", |decision| decision.as_str());
    let mut line = format!(
        "{:<27} {:<13} {decision:<7} {status:>3} {:<16} {caller:<20} {:<20} {}",
        shown(time),
        kind.as_str(),
        shown(outcome),
        shown(model),
        shown(request_id),
    );
    append_details(&mut line, &stored.event);
    line
}

fn append_details(line: &mut String, event: &Event) {
    let mut rules: Vec<&str> = Vec::new();
    for finding in &event.findings {
        if !rules.contains(&finding.rule.as_str()) {
            rules.push(&finding.rule);
        }
    }
    if !rules.is_empty() {
        let names: Vec<String> = rules.iter().take(RULES_SHOWN).map(|rule| shown(rule)).collect();
        let _ = write!(line, " rules={}", names.join(","));
        if rules.len() > RULES_SHOWN {
            let _ = write!(line, ",+{}", rules.len() - RULES_SHOWN);
        }
    }
    if let Some(intended) = event.intended.filter(|intended| Some(*intended) != event.decision) {
        let _ = write!(line, " intended={}", intended.as_str());
    }
    if let Some(Guard::Unavailable { reason }) = &event.guard {
        let _ = write!(line, " guard=unavailable({})", shown(reason));
    }
    for (word, names) in [("failed_open", &event.failed_open), ("coverage_limits", &event.coverage_limits)] {
        if !names.is_empty() {
            let names: Vec<String> = names.iter().map(|name| shown(name)).collect();
            let _ = write!(line, " {word}={}", names.join(","));
        }
    }
    if let Some(count) = event.unrecorded {
        let _ = write!(line, " unrecorded={count}");
    }
    if let Some(change) = &event.change {
        append_change(line, event, change);
    }
}

/// ` policy=default track=stable version=0123456789abcdef->fedcba9876543210 by=file_watch reason=faults`
fn append_change(line: &mut String, event: &Event, change: &PolicyChange) {
    let PolicyChange { source, track, version_before, percent, reason } = change;
    let (before, now) = (shown(version_before), shown(&event.policy_version));
    let _ = write!(line, " policy={} track={} version={before}->{now} by={}", shown(&event.policy), shown(track), source.as_str());
    if let Some(percent) = percent {
        let _ = write!(line, " percent={percent}");
    }
    if !reason.is_empty() {
        let _ = write!(line, " reason={}", shown(reason));
    }
}

/// A name fit to be shown: never empty, escaped, not too long.
fn shown(name: &str) -> String {
    if name.is_empty() {
        return "-".into();
    }
    let mut text = String::new();
    for (index, character) in name.chars().enumerate() {
        if index == NAME_SHOWN {
            text.push('…');
            break;
        }
        match character {
            '\\' | '\n' | '\r' | '\t' => text.extend(character.escape_default()),
            // By number: `escape_default` leaves a blank as it is.
            _ if deceives(character) => text.extend(character.escape_unicode()),
            _ => text.push(character),
        }
    }
    text
}

/// Control characters, white space, and the invisible ones: zero width, bidirectional, tags, variation selectors.
pub(crate) fn deceives(character: char) -> bool {
    character.is_control()
        || character.is_whitespace()
        || matches!(character, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ChangeOutcome, ChangeSource, Decision, Direction, FindingRecord, Kind, Severity};

    fn stored(event: Event) -> StoredEvent {
        StoredEvent { seq: 1, event, body: String::new(), chain_hash: [0; 32] }
    }

    #[test]
    fn a_line_tells_what_happened() {
        let finding = |rule: &str| FindingRecord {
            rule: rule.into(),
            category: "pii".into(),
            severity: Severity::High,
            direction: Direction::Request,
            action: Decision::Redact,
            count: 1,
            spans: Vec::new(),
        };
        let mut event = Event {
            tenant: "acme".into(),
            key_id: "demo".into(),
            model: "gpt-4o".into(),
            decision: Some(Decision::Flag),
            intended: Some(Decision::Redact),
            status: Some(200),
            outcome: "ok".into(),
            findings: vec![finding("CREDIT_CARD"), finding("EMAIL_ADDRESS"), finding("CREDIT_CARD")],
            failed_open: vec!["guard".into()],
            coverage_limits: vec!["decoding_budget".into()],
            ..Event::new(Kind::Decision, "req-1")
        };
        event.stamp(1_700_000_000_000_000);
        assert_eq!(
            format_line(&stored(event)),
            "2023-11-14T22:13:20.000000Z decision      flag    200 ok               acme/demo            gpt-4o               req-1 \
             rules=CREDIT_CARD,EMAIL_ADDRESS intended=redact failed_open=guard coverage_limits=decoding_budget"
        );
    }

    #[test]
    fn a_line_tells_what_changed_and_on_whose_word() {
        let told = |outcome, change, version: &str| {
            let mut event = Event { policy_version: version.into(), ..Event::of_change("default", outcome, change) };
            event.stamp(1_700_000_000_000_000);
            format_line(&stored(event))
        };
        let change = |source, reason: &str, percent| PolicyChange {
            source,
            track: "stable".into(),
            version_before: "aaaa".into(),
            percent,
            reason: reason.into(),
        };
        assert_eq!(
            told(ChangeOutcome::Refused, change(ChangeSource::Sighup, "faults", None), ""),
            "2023-11-14T22:13:20.000000Z policy_change -         - refused          -/-                  -                    - \
             policy=default track=stable version=aaaa->- by=sighup reason=faults"
        );
        let started = told(ChangeOutcome::RolloutStart, change(ChangeSource::Start, "", Some(12.5)), "bbbb");
        assert!(started.ends_with("policy=default track=stable version=aaaa->bbbb by=start percent=12.5"), "{started}");
    }

    #[test]
    fn no_name_can_break_or_imitate_a_line() {
        let hostile = "x\n2026 block\t\0\u{1b}[2J\u{202e}\u{200b}\u{e0041} \\n";
        let event = Event {
            model: hostile.into(),
            tenant: hostile.into(),
            key_id: hostile.into(),
            outcome: hostile.into(),
            failed_open: vec![hostile.into()],
            ..Event::new(Kind::Decision, hostile)
        };
        let line = format_line(&stored(event));
        assert!(!line.chars().any(|character| character != ' ' && deceives(character)), "{line:?}");
        assert_eq!(shown("a b\n\\"), r"a\u{20}b\n\\");
        assert_eq!(shown(""), "-");
        assert_eq!(shown(&"模".repeat(50)), format!("{}…", "模".repeat(40)));
    }
}
