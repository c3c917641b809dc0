//! Overlaps: candidates in, disjoint findings out.
//!
//! Candidates that overlap, directly or through others, form a cluster. In a cluster the order is: stronger action, a score of 0.5 or
//! more, higher severity, longer span, earlier start, higher score, smaller rule id; what is only watched comes after what is carried out. The first is taken
//! whole; each next one is taken if it overlaps nothing taken. One that does overlap and is to be hidden keeps what the others leave
//! uncovered, so that nothing sensitive shows at the edges; one that is only flagged is dropped. Pieces of one rule that touch become
//! one finding.

use std::cmp::Reverse;
use std::ops::Range;
use std::sync::Arc;

use crate::model::{Action, Finding, Redaction, RuleInfo};
use crate::scan::Candidate;

/// A finding with a lower score never displaces one that has it.
const STRONG_SCORE: f32 = 0.5;

/// What the policy says about a candidate.
pub(crate) struct Verdict {
    pub rule: Arc<RuleInfo>,
    pub action: Action,
    pub monitored: bool,
    pub redaction: Redaction,
}

/// Resolves candidates into disjoint findings, sorted by start.
pub(crate) fn resolve(mut candidates: Vec<Candidate>, verdict: &dyn Fn(&Candidate) -> Verdict) -> Vec<Finding> {
    candidates.sort_by_key(|candidate| (candidate.span.start, candidate.span.end));
    let mut findings = Vec::with_capacity(candidates.len());
    let mut cluster: Vec<Finding> = Vec::new();
    let mut end = 0;
    for candidate in candidates {
        let Verdict { rule, action, monitored, redaction } = verdict(&candidate);
        let Candidate { span, score, .. } = candidate;
        if span.start >= end {
            findings.append(&mut settle(std::mem::take(&mut cluster)));
        }
        end = end.max(span.end);
        cluster.push(Finding { rule, span, score, action, monitored, redaction, whole: true });
    }
    findings.append(&mut settle(cluster));
    findings
}

/// Resolves one cluster.
fn settle(mut cluster: Vec<Finding>) -> Vec<Finding> {
    if cluster.len() < 2 {
        return cluster;
    }
    cluster.sort_by(|a, b| {
        let key = |finding: &Finding| {
            let actions = (Reverse(finding.in_force()), Reverse(finding.action));
            let strong = Reverse(finding.score >= STRONG_SCORE);
            (actions, strong, Reverse(finding.rule.severity), Reverse(finding.span.len()), finding.span.start)
        };
        key(a).cmp(&key(b)).then(b.score.total_cmp(&a.score)).then_with(|| a.rule.id.cmp(&b.rule.id))
    });
    // Kept sorted by start and disjoint.
    let mut taken: Vec<Finding> = Vec::new();
    for candidate in cluster {
        let pieces = uncovered(&taken, &candidate.span);
        let whole = pieces.len() == 1 && pieces[0] == candidate.span;
        if !whole && !candidate.in_force().hides() {
            continue;
        }
        for span in pieces {
            let at = taken.partition_point(|finding| finding.span.start < span.start);
            taken.insert(at, Finding { span, whole, ..candidate.clone() });
        }
    }
    taken.dedup_by(|next, kept| {
        let one = next.rule.id == kept.rule.id && next.span.start == kept.span.end;
        if one {
            kept.span.end = next.span.end;
            kept.score = kept.score.max(next.score);
            kept.whole = false;
        }
        one
    });
    taken
}

/// Returns the pieces of `span` that no taken finding covers.
fn uncovered(taken: &[Finding], span: &Range<usize>) -> Vec<Range<usize>> {
    let mut pieces = Vec::new();
    let mut at = span.start;
    let first = taken.partition_point(|finding| finding.span.end <= span.start);
    for finding in taken[first..].iter().take_while(|finding| finding.span.start < span.end) {
        if finding.span.start > at {
            pieces.push(at..finding.span.start);
        }
        at = at.max(finding.span.end);
    }
    if at < span.end {
        pieces.push(at..span.end);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Category, Severity};

    fn found(list: &[(&str, Severity, Action, Range<usize>)]) -> Vec<(String, Range<usize>)> {
        found_watched(list, &[])
    }

    fn found_watched(list: &[(&str, Severity, Action, Range<usize>)], monitored: &[&str]) -> Vec<(String, Range<usize>)> {
        scored(list, monitored, &vec![1.0; list.len()])
    }

    fn scored(list: &[(&str, Severity, Action, Range<usize>)], monitored: &[&str], scores: &[f32]) -> Vec<(String, Range<usize>)> {
        let candidates = list.iter().zip(scores).enumerate().map(|(rule, ((.., span), &score))| Candidate {
            rule,
            span: span.clone(),
            extent: span.clone(),
            score,
        });
        let info = |candidate: &Candidate| {
            let (id, severity, action, _) = &list[candidate.rule];
            let info = RuleInfo {
                id: (*id).to_owned(),
                title: String::new(),
                category: Category::Pii,
                severity: *severity,
                tags: vec![],
                why: String::new(),
                pack: String::new(),
            };
            let monitored = monitored.contains(&info.id.as_str());
            Verdict { rule: Arc::new(info), action: *action, monitored, redaction: Redaction::Tag }
        };
        resolve(candidates.collect(), &info).into_iter().map(|f| (f.rule.id.clone(), f.span)).collect()
    }

    #[test]
    fn the_stronger_action_wins_then_severity_then_length() {
        use Action::{Block, Flag, Redact};
        use Severity::{High, Low};
        assert_eq!(found(&[("a", High, Flag, 0..9), ("b", Low, Redact, 2..4)]), [("b".into(), 2..4)]);
        assert_eq!(found(&[("a", Low, Redact, 0..9), ("b", High, Redact, 0..9)]), [("b".into(), 0..9)]);
        assert_eq!(found(&[("a", Low, Redact, 0..4), ("b", Low, Redact, 0..9)]), [("b".into(), 0..9)]);
        assert_eq!(found(&[("b", Low, Block, 0..4), ("a", Low, Block, 0..4)]), [("a".into(), 0..4)]);
    }

    #[test]
    fn a_weak_finding_displaces_no_strong_one_and_the_surer_of_two_alike_wins() {
        use Action::Redact;
        use Severity::{High, Low};
        assert_eq!(scored(&[("a", High, Redact, 0..9), ("b", Low, Redact, 0..9)], &[], &[0.4, 0.5]), [("b".into(), 0..9)]);
        assert_eq!(scored(&[("a", Low, Redact, 0..9), ("b", Low, Redact, 0..9)], &[], &[0.6, 0.8]), [("b".into(), 0..9)]);
    }

    #[test]
    fn a_loser_that_is_redacted_keeps_what_is_uncovered() {
        use Action::Redact;
        use Severity::{High, Low};
        let all = found(&[("a", Low, Redact, 0..10), ("b", High, Redact, 4..6), ("c", Low, Redact, 9..12)]);
        assert_eq!(all, [("a".into(), 0..4), ("b".into(), 4..6), ("a".into(), 6..10), ("c".into(), 10..12)]);
        assert_eq!(found(&[("a", Low, Redact, 0..4), ("a", Low, Redact, 2..9)]), [("a".into(), 0..9)]);
    }

    #[test]
    fn what_is_only_watched_takes_nothing_from_what_is_carried_out() {
        use Action::{Block, Flag, Redact};
        use Severity::{High, Low};
        let list = [("a", High, Block, 0..9), ("b", Low, Redact, 2..4)];
        assert_eq!(found_watched(&list, &["a"]), [("b".into(), 2..4)]);
        let list = [("a", High, Block, 0..9), ("b", Low, Flag, 2..4)];
        assert_eq!(found_watched(&list, &["a"]), [("a".into(), 0..9)]);
    }

    #[test]
    fn neighbours_that_only_touch_stay_apart() {
        use Action::Redact;
        use Severity::Low;
        assert_eq!(found(&[("a", Low, Redact, 0..4), ("a", Low, Redact, 4..8)]).len(), 2);
    }
}
