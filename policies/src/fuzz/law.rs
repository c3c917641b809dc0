//! What must hold for any text at all.

use std::sync::Arc;

use super::numbers::Numbers;
use crate::laws::{streamed, whole};
use crate::view::Views;
use crate::{Action, Direction, Encoding, Finding, ModelSignal, Policy, Role, Text, decide};

/// Longest text that is also searched without announcements, in bytes: every pattern at every place.
const BY_LAW_BYTES_MAX: usize = 400;
/// Longest text that is also streamed character by character, in bytes.
const EACH_BYTES_MAX: usize = 600;

/// Checks all laws; the error says which one broke.
pub(super) fn all(policy: &Arc<Policy>, text: &str, encoding: Encoding, numbers: &mut Numbers, by_law: bool) -> Result<(), String> {
    let role = *numbers.one_of(&Role::ALL);
    screened(policy, Text { role, encoding, redactable: true, text })?;
    let cuts = (0..numbers.below(12)).map(|_| numbers.place(text));
    let mut cuts: Vec<usize> = cuts.collect();
    cuts.sort_unstable();
    stream(policy, encoding, text, &cuts)?;
    if text.len() <= EACH_BYTES_MAX {
        let each: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        stream(policy, encoding, text, &each)?;
    }
    if by_law && text.len() <= BY_LAW_BYTES_MAX {
        announced(policy, encoding, text)?;
    }
    Ok(())
}

/// A request is screened, decided and redacted: spans disjoint, in order, on boundaries; every other byte kept; JSON stays JSON.
fn screened(policy: &Policy, screened: Text<'_>) -> Result<(), String> {
    let text = screened.text;
    let findings = policy.screen(Direction::Request, &screened);
    let mut at = 0;
    for Finding { span, rule, score, .. } in &findings {
        let sound = span.start >= at && span.start < span.end && span.end <= text.len();
        if !sound || !text.is_char_boundary(span.start) || !text.is_char_boundary(span.end) {
            return Err(format!("{} at {span:?} after {at} in a request of {} bytes", rule.id, text.len()));
        }
        if !(0.0..=1.0).contains(score) {
            return Err(format!("{} has the score {score}", rule.id));
        }
        at = span.end;
    }
    let redacted = policy.redact(&screened, &findings);
    if screened.encoding == Encoding::Plain && !keeps_the_rest(text, &findings, &redacted) {
        return Err(format!("redaction loses bytes beside its findings: {redacted:?}"));
    }
    let is_json = |text: &str| serde_json::from_str::<serde_json::Value>(text).is_ok();
    if screened.encoding == Encoding::Json && is_json(text) && !is_json(&redacted) {
        return Err(format!("redaction breaks a JSON document: {redacted:?}"));
    }
    let found = [findings];
    let _ = decide(policy, &[screened], &found, &ModelSignal::Skipped);
    Ok(())
}

fn keeps_the_rest(text: &str, findings: &[Finding], redacted: &str) -> bool {
    let (mut at, mut rest) = (0, redacted);
    for finding in findings.iter().filter(|finding| finding.action.hides()) {
        let kept = &text[at..finding.span.start];
        // What was put in the place before may be of any length.
        match rest.find(kept) {
            Some(place) if at > 0 || place == 0 => rest = &rest[place + kept.len()..],
            _ => return false,
        }
        at = finding.span.end;
    }
    if at == 0 { rest == text } else { rest.ends_with(&text[at..]) }
}

/// An answer cut at these places gives what the whole gives.
fn stream(policy: &Arc<Policy>, encoding: Encoding, text: &str, cuts: &[usize]) -> Result<(), String> {
    let (expected, findings) = whole(policy, encoding, text);
    let (out, found, refused) = streamed(policy, encoding, text, cuts);
    if out != expected || found != findings || refused != findings.iter().any(|finding| finding.action == Action::Block) {
        let shown = |findings: &[Finding]| -> String {
            findings.iter().map(|finding| format!(" {}@{}..{}", finding.rule.id, finding.span.start, finding.span.end)).collect()
        };
        let (whole, cut) = (shown(&findings), shown(&found));
        return Err(format!(
            "a stream cut at {cuts:?} gives {out:?} with{cut}, refused {refused}; whole it gives {expected:?} with{whole}"
        ));
    }
    Ok(())
}

/// A search without announcements finds the same.
fn announced(policy: &Policy, encoding: Encoding, text: &str) -> Result<(), String> {
    let (engine, views) = (policy.engine(), Views::new(text, encoding, true));
    let floors = engine.floors();
    let (fast, slow) = (engine.candidates(&views, 0, &floors), engine.candidates_by_law(&views, &floors));
    let ids = |candidates: &[crate::scan::Candidate], beside: &[crate::scan::Candidate]| -> Vec<String> {
        let only = candidates.iter().filter(|candidate| !beside.contains(candidate));
        only.map(|candidate| format!("{} at {:?}", engine.rules[candidate.rule].info.id, candidate.span)).collect()
    };
    match fast == slow {
        true => Ok(()),
        false => Err(format!("found only where announced: {:?}; found only elsewhere: {:?}", ids(&fast, &slow), ids(&slow, &fast))),
    }
}
