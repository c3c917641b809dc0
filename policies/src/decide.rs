//! The decision: findings, the classifier's word and the policy, turned into what happens next.

use crate::inherit::Guard;
use crate::model::{Action, Category, Finding, Mode, ModelSignal, Severity, Text};
use crate::policy::Policy;
use crate::policy_form::Unavailable;
use crate::pseudonym::{Issue, Pseudonyms, Restoration};
use crate::redact::redact;

/// How bad it is when a text comes near a known attack.
pub const KNOWN_ATTACK_SEVERITY: Severity = Severity::High;

/// What happens to a request or an answer.
#[derive(Debug)]
pub struct Decision {
    /// The action in force.
    pub action: Action,
    /// The action that would be in force if nothing were only monitored.
    pub intended: Action,
    /// The worst severity found.
    pub severity: Option<Severity>,
    /// True when a stage was unavailable and the policy let the text through.
    pub failed_open: bool,
    /// The way on.
    pub outcome: Outcome,
}

/// The way on.
#[derive(Debug)]
pub enum Outcome {
    /// The texts may go on, with the redactions listed.
    Forward(Cleared),
    /// They may not.
    Refuse(Refusal),
}

/// Why texts may not go on; names rules, never text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Ids of the rules that block, sorted.
    pub rules: Vec<String>,
    /// Their categories, sorted.
    pub categories: Vec<Category>,
    /// Who said no.
    pub reason: RefusalReason,
    /// What to tell the caller, where somebody has put it into words already; else [`Refusal::words`].
    pub message: Option<String>,
}

/// Who said no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalReason {
    /// A rule's action is block.
    Rule,
    /// The classifier's score reached the policy's `block_at`.
    Model,
    /// A text comes near a known attack.
    KnownAttack,
    /// The classifier gave no answer and the policy does not let texts pass without it.
    GuardUnavailable,
    /// A redaction was due where nothing can be rewritten, or a stream held back more than its bound.
    Unredactable,
}

impl RefusalReason {
    /// Returns the name used in events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            RefusalReason::Rule => "rule",
            RefusalReason::Model => "model",
            RefusalReason::KnownAttack => "known_attack",
            RefusalReason::GuardUnavailable => "guard_unavailable",
            RefusalReason::Unredactable => "unredactable",
        }
    }
}

/// Proof that texts were screened and may be forwarded, with their redactions. Only [`decide`] makes one.
#[derive(Debug)]
pub struct Cleared {
    redacted: Vec<Option<String>>,
    restoration: Restoration,
}

impl Cleared {
    /// Returns the new text where text `index` changed.
    #[must_use]
    pub fn redacted(&self, index: usize) -> Option<&str> {
        self.redacted.get(index)?.as_deref()
    }

    /// Returns the way back for the pseudonyms in these texts.
    #[must_use]
    pub fn restoration(&self) -> Restoration {
        self.restoration.clone()
    }

    /// Returns how many texts were cleared.
    #[must_use]
    pub fn len(&self) -> usize {
        self.redacted.len()
    }

    /// Returns true when no text was cleared.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.redacted.is_empty()
    }
}

/// Decides about `texts`, given one list of findings per text and the classifier's word.
///
/// Texts without a list of findings were not screened, and are refused. Pseudonyms are numbered from 1; [`decide_in`] goes on with those of
/// a conversation.
#[must_use]
pub fn decide(policy: &Policy, texts: &[Text<'_>], findings: &[Vec<Finding>], signal: &ModelSignal) -> Decision {
    decide_in(policy, texts, findings, signal, &mut Pseudonyms::default())
}

/// Decides about `texts` as [`decide`] does, in a conversation whose values keep their pseudonyms.
#[must_use]
pub fn decide_in(
    policy: &Policy,
    texts: &[Text<'_>],
    findings: &[Vec<Finding>],
    signal: &ModelSignal,
    pseudonyms: &mut Pseudonyms,
) -> Decision {
    let all = || findings.iter().flatten();
    let known = known_action(policy, signal);
    let severity = all().map(|finding| finding.rule.severity).chain((known > Action::Allow).then_some(KNOWN_ATTACK_SEVERITY)).max();
    let (score, failed_open) = guard_action(policy.guard(), signal);
    let guard = score.max(known);
    // What comes out when this is taken for the action of each finding.
    let verdict = |taken: &dyn Fn(&Finding) -> Action| {
        let rules = all().map(taken).max().unwrap_or(Action::Allow);
        let is_stuck =
            |(text, found): (&Text<'_>, &Vec<Finding>)| !text.redactable && found.iter().any(|finding| taken(finding).rewrites());
        let reason = if rules == Action::Block {
            Some(RefusalReason::Rule)
        } else if texts.len() != findings.len() || texts.iter().zip(findings).any(is_stuck) {
            Some(RefusalReason::Unredactable)
        } else if known == Action::Block {
            Some(RefusalReason::KnownAttack)
        } else if score == Action::Block {
            Some(match signal {
                ModelSignal::Scored { .. } => RefusalReason::Model,
                _ => RefusalReason::GuardUnavailable,
            })
        } else {
            None
        };
        (if reason.is_some() { Action::Block } else { rules.max(guard) }, reason)
    };
    let (intended, _) = verdict(&|finding| finding.action);
    let (in_force, reason) = verdict(&Finding::in_force);
    let action = match policy.mode() {
        Mode::Enforce => in_force,
        Mode::Monitor => in_force.min(Action::Flag),
    };
    let outcome = match reason {
        Some(reason) if action == Action::Block => {
            let found: Vec<Finding> = findings.iter().flatten().cloned().collect();
            let mut refusal = refusal(&found, reason);
            if let (RefusalReason::KnownAttack, ModelSignal::Scored { known: Some(known), .. }) = (reason, signal) {
                refusal.rules.push(known.id.clone());
            }
            Outcome::Refuse(refusal)
        }
        _ => Outcome::Forward(cleared(policy, texts, findings, action, pseudonyms)),
    };
    // In monitor mode a classifier that gave no answer lets the text pass too.
    let failed_open = failed_open || (action != Action::Block && matches!(signal, ModelSignal::Unavailable { .. }));
    Decision { action, intended, severity, failed_open, outcome }
}

/// Replaces what is to be replaced, when that is the action in force.
fn cleared(policy: &Policy, texts: &[Text<'_>], findings: &[Vec<Finding>], action: Action, pseudonyms: &mut Pseudonyms) -> Cleared {
    if !action.rewrites() {
        return Cleared { redacted: vec![None; texts.len()], restoration: Restoration::default() };
    }
    let mut issue = Issue::new(pseudonyms, texts, findings);
    let redacted = texts.iter().zip(findings).map(|(text, found)| {
        let due = || found.iter().filter(|finding| finding.in_force().rewrites());
        let mut replace = |finding: &Finding, piece: &str| {
            let pseudonym = (finding.action == Action::Pseudonymize).then(|| issue.pseudonym(finding, piece, text.encoding)).flatten();
            pseudonym.unwrap_or_else(|| policy.shown(finding, piece, text.encoding))
        };
        due().next()?;
        Some(redact(text.text, text.encoding, due(), &mut replace))
    });
    Cleared { redacted: redacted.collect(), restoration: issue.restoration() }
}

/// Says what the policy makes of a text that comes near a known attack.
fn known_action(policy: &Policy, signal: &ModelSignal) -> Action {
    match signal {
        ModelSignal::Scored { known: Some(_), .. } => policy.on_known_attack(),
        _ => Action::Allow,
    }
}

/// Says what the policy makes of the classifier's word, and whether it let texts pass without one.
fn guard_action(guard: Guard, signal: &ModelSignal) -> (Action, bool) {
    match signal {
        ModelSignal::Skipped => (Action::Allow, false),
        ModelSignal::Unavailable { .. } => match guard.unavailable {
            Unavailable::Block => (Action::Block, false),
            Unavailable::Allow => (Action::Allow, true),
        },
        // A score that is no number is no answer.
        ModelSignal::Scored { score, .. } if score.is_nan() => (Action::Block, false),
        ModelSignal::Scored { score, .. } if *score >= guard.block_at => (Action::Block, false),
        ModelSignal::Scored { score, .. } if *score >= guard.flag_at => (Action::Flag, false),
        ModelSignal::Scored { .. } => (Action::Allow, false),
    }
}

/// Names the rules that stand in the way: those that block, or, where nothing can be rewritten, those that would redact.
pub(crate) fn refusal(findings: &[Finding], reason: RefusalReason) -> Refusal {
    let in_the_way = |finding: &&Finding| match reason {
        RefusalReason::Rule => finding.in_force() == Action::Block,
        RefusalReason::Unredactable => finding.in_force().hides(),
        RefusalReason::Model | RefusalReason::KnownAttack | RefusalReason::GuardUnavailable => false,
    };
    let found: Vec<&Finding> = findings.iter().filter(in_the_way).collect();
    let mut rules: Vec<String> = found.iter().map(|finding| finding.rule.id.clone()).collect();
    let mut categories: Vec<Category> = found.iter().map(|finding| finding.rule.category).collect();
    rules.sort();
    rules.dedup();
    categories.sort();
    categories.dedup();
    Refusal { rules, categories, reason, message: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Direction, Encoding, KnownAttack, Role};

    const PACK: &str = "
pack: p
rules:
  - { id: name-a, title: t, category: pii, severity: high, literals: [alpha], why: w, must_match: [alpha], must_not_match: [x] }
  - { id: NAME_B, title: t, category: injection, severity: medium, literals: [bravo], why: w, must_match: [bravo], must_not_match: [x] }
  - { id: NAME_C, title: t, category: sensitive, severity: low, literals: [charlie], why: w, must_match: [charlie], must_not_match: [x] }
";

    fn policy(extra: &str) -> Policy {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("p.yaml"), PACK).unwrap();
        let path = folder.path().join("policy.yaml");
        let actions = "actions: { request: { pii: redact, injection: block, sensitive: flag } }";
        let actions = if extra.contains("actions:") { "" } else { actions };
        std::fs::write(&path, format!("name: p\npacks: [p.yaml]\n{actions}\n{extra}\n")).unwrap();
        Policy::load(&path).unwrap_or_else(|error| panic!("{error}"))
    }

    fn decided(policy: &Policy, redactable: bool, texts: &[&str], signal: &ModelSignal) -> Decision {
        let text = |&text| Text { role: Role::User, encoding: Encoding::Plain, redactable, text };
        let texts: Vec<Text<'_>> = texts.iter().map(text).collect();
        let findings: Vec<_> = texts.iter().map(|text| policy.screen(Direction::Request, text)).collect();
        decide(policy, &texts, &findings, signal)
    }

    fn refused(decision: &Decision) -> (&[String], RefusalReason) {
        match &decision.outcome {
            Outcome::Refuse(refusal) => (&refusal.rules, refusal.reason),
            Outcome::Forward(_) => panic!("forwarded"),
        }
    }

    fn scored(score: f32) -> ModelSignal {
        ModelSignal::Scored { label: "injection".into(), score, version: "small-1".into(), known: None }
    }

    #[test]
    fn the_strongest_action_over_all_texts_decides() {
        let policy = policy("");
        let none = decided(&policy, true, &["x"], &ModelSignal::Skipped);
        assert_eq!((none.action, none.severity), (Action::Allow, None));
        let flag = decided(&policy, true, &["charlie"], &ModelSignal::Skipped);
        assert_eq!((flag.action, flag.severity), (Action::Flag, Some(Severity::Low)));
        let redact = decided(&policy, true, &["x", "an alpha, charlie"], &ModelSignal::Skipped);
        assert_eq!(redact.action, Action::Redact);
        let Outcome::Forward(cleared) = redact.outcome else { panic!("refused") };
        assert_eq!((cleared.len(), cleared.redacted(0), cleared.redacted(1)), (2, None, Some("an [NAME_A], charlie")));
        let block = decided(&policy, true, &["alpha", "bravo"], &ModelSignal::Skipped);
        assert_eq!(refused(&block), (&["NAME_B".to_owned()][..], RefusalReason::Rule));
    }

    #[test]
    fn what_cannot_be_rewritten_is_refused() {
        let block = decided(&policy(""), false, &["alpha"], &ModelSignal::Skipped);
        assert_eq!(refused(&block), (&["name-a".to_owned()][..], RefusalReason::Unredactable));
        let unscreened = Text { role: Role::User, encoding: Encoding::Plain, redactable: true, text: "x" };
        let decision = decide(&policy(""), &[unscreened], &[], &ModelSignal::Skipped);
        assert_eq!(decision.action, Action::Block);
    }

    #[test]
    fn the_classifier_flags_and_blocks_at_the_policys_scores() {
        let policy = policy("guard: { flag_at: 0.5, block_at: 0.8 }");
        for (score, action) in
            [(0.49, Action::Allow), (0.5, Action::Flag), (0.79, Action::Flag), (0.8, Action::Block), (f32::NAN, Action::Block)]
        {
            assert_eq!(decided(&policy, true, &["x"], &scored(score)).action, action, "{score}");
        }
        assert_eq!(refused(&decided(&policy, true, &["x"], &scored(0.9))).1, RefusalReason::Model);
    }

    #[test]
    fn a_text_near_a_known_attack_is_refused_by_its_id_unless_the_policy_says_otherwise() {
        let known = Some(KnownAttack { id: "acme-7".into(), similarity: 0.95 });
        let near = ModelSignal::Scored { label: "benign".into(), score: 0.1, version: "small-1".into(), known };
        let blocked = decided(&policy(""), true, &["x"], &near);
        assert_eq!(refused(&blocked), (&["acme-7".to_owned()][..], RefusalReason::KnownAttack));
        assert_eq!(blocked.severity, Some(KNOWN_ATTACK_SEVERITY));
        for (setting, action) in [("block", Action::Block), ("flag", Action::Flag), ("'off'", Action::Allow)] {
            let decision = decided(&policy(&format!("guard: {{ known: {setting} }}")), true, &["x"], &near);
            assert_eq!((decision.action, decision.severity.is_some()), (action, action > Action::Allow), "{setting}");
        }
        let watched = decided(&policy("mode: monitor"), true, &["x"], &near);
        assert_eq!((watched.action, watched.intended), (Action::Flag, Action::Block));
        // A rule that blocks is the better reason.
        assert_eq!(refused(&decided(&policy(""), true, &["bravo"], &near)).1, RefusalReason::Rule);
    }

    #[test]
    fn a_classifier_that_is_away_closes_the_gate_unless_the_policy_says_otherwise() {
        let away = ModelSignal::Unavailable { reason: "late".into() };
        let closed = decided(&policy(""), true, &["x"], &away);
        assert!(!closed.failed_open && refused(&closed).1 == RefusalReason::GuardUnavailable);
        let open = decided(&policy("guard: { unavailable: allow }"), true, &["x"], &away);
        assert!(open.failed_open && open.action == Action::Allow);
    }

    #[test]
    fn monitor_mode_says_what_it_would_do_and_changes_nothing() {
        let policy = policy("mode: monitor");
        for text in ["alpha", "bravo"] {
            let decision = decided(&policy, true, &[text], &ModelSignal::Skipped);
            assert_eq!(decision.action, Action::Flag);
            assert!(decision.intended >= Action::Redact);
            assert!(matches!(decision.outcome, Outcome::Forward(cleared) if cleared.redacted(0).is_none()));
        }
    }

    #[test]
    fn a_rule_that_is_only_watched_is_recorded_and_not_carried_out() {
        let policy = policy("rules: { name-a: { monitor: true }, NAME_B: { monitor: true } }");
        for (text, intended) in [("alpha", Action::Redact), ("bravo", Action::Block)] {
            let decision = decided(&policy, true, &[text], &ModelSignal::Skipped);
            assert_eq!((decision.action, decision.intended), (Action::Flag, intended));
            assert!(matches!(decision.outcome, Outcome::Forward(cleared) if cleared.redacted(0).is_none()));
            assert_eq!(decided(&policy, false, &[text], &ModelSignal::Skipped).action, Action::Flag);
        }
        let other = decided(&policy, true, &["bravo and charlie"], &ModelSignal::Skipped);
        assert_eq!((other.action, other.intended), (Action::Flag, Action::Block));
    }

    #[test]
    fn cases_look_at_score_and_role_and_a_rule_may_have_a_threshold_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let pack = "
pack: p
rules:
  - { id: WEAK, title: t, category: pii, severity: high, literals: [alpha], score: 0.4, context: { words: [name], boost: 0.5 }, why: w,
      must_match: [name alpha], weak_match: [alpha], must_not_match: [x] }
  - { id: LONG, title: t, category: pii, severity: low, pattern: 'al.{0,20}beta', score: 0.4, context: { words: [name], boost: 0.5 }, why: w,
      must_match: [name al beta], weak_match: [al beta], must_not_match: [x] }
";
        std::fs::write(folder.path().join("p.yaml"), pack).unwrap();
        let path = folder.path().join("policy.yaml");
        let load = |rules: &str| {
            let cases = "[{ roles: [system], action: allow }, { score_min: 0.8, action: block }, { action: redact }]";
            std::fs::write(&path, format!("name: p\npacks: [p.yaml]\nactions: {{ request: {{ pii: {cases} }} }}\n{rules}")).unwrap();
            Policy::load(&path).unwrap_or_else(|error| panic!("{error}"))
        };
        let found = |policy: &Policy, role, text| {
            let text = Text { role, encoding: Encoding::Plain, redactable: true, text };
            let findings = policy.screen(Direction::Request, &text);
            findings.iter().map(|finding| (finding.rule.id.clone(), finding.action)).collect::<Vec<_>>()
        };
        let usual = load("");
        assert_eq!(found(&usual, Role::User, "alpha"), []);
        assert_eq!(found(&usual, Role::User, "name alpha"), [("WEAK".to_owned(), Action::Block)]);
        assert_eq!(found(&usual, Role::System, "name alpha"), []);
        let lower = load("rules: { WEAK: { threshold: 0.3 } }");
        assert_eq!(found(&lower, Role::User, "alpha"), [("WEAK".to_owned(), Action::Redact)]);
        // The other rule keeps its threshold, and what is too weak for it hides nothing.
        assert_eq!(found(&lower, Role::User, "al beta"), []);
        assert_eq!(found(&lower, Role::User, "al name al beta"), [("LONG".to_owned(), Action::Block)]);
    }
}
