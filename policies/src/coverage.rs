//! What could not be searched in full, and what the policy does about it.
//!
//! A text whose decoded forms pass their budget (`view.rs`) was searched as written and in the forms that fit. Only texts made for it
//! come near, so it is a finding by itself, of a rule that no pack has: `DECODING_BUDGET`, at the beginning of the text.

use std::sync::{Arc, LazyLock};

use serde::Deserialize;

use crate::model::{Action, Category, Finding, Redaction, RuleInfo, Severity};
use crate::own::OWN_PACK;

/// The id of the rule of texts whose decoded forms pass their budget.
pub const DECODING_BUDGET: &str = "DECODING_BUDGET";

/// A bound that kept a text from being searched in every form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CoverageLimit {
    /// Decoded forms were left out.
    DecodingBudget,
}

impl CoverageLimit {
    /// All limits.
    pub const ALL: [CoverageLimit; 1] = [CoverageLimit::DecodingBudget];

    /// Returns the name used in events and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            CoverageLimit::DecodingBudget => "decoding_budget",
        }
    }
}

/// What was found in one text, and whether it was searched in full.
#[derive(Debug, Clone, PartialEq)]
pub struct Screened {
    /// The findings, disjoint and sorted by the start of their span.
    pub findings: Vec<Finding>,
    /// The bound that was reached, if one was; also where the policy allows it.
    pub limit: Option<CoverageLimit>,
}

/// `on_decoding_budget` as written.
#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnLimit {
    Allow,
    Flag,
    Block,
}

impl From<OnLimit> for Action {
    fn from(on_limit: OnLimit) -> Self {
        match on_limit {
            OnLimit::Allow => Action::Allow,
            OnLimit::Flag => Action::Flag,
            OnLimit::Block => Action::Block,
        }
    }
}

static RULE: LazyLock<Arc<RuleInfo>> = LazyLock::new(|| {
    Arc::new(RuleInfo {
        id: DECODING_BUDGET.to_owned(),
        title: "Text that is too much to decode".to_owned(),
        category: Category::Injection,
        severity: Severity::Medium,
        tags: vec!["OWASP-LLM01:2025".to_owned()],
        why: "ordinary text never comes near the budget; what was left out may say anything".to_owned(),
        pack: OWN_PACK.to_owned(),
    })
});

/// The finding of a text that was not decoded in full; none where the policy allows it.
pub(crate) fn finding(action: Action) -> Option<Finding> {
    (action > Action::Allow).then(|| Finding {
        rule: Arc::clone(&RULE),
        span: 0..0,
        score: 1.0,
        action,
        monitored: false,
        redaction: Redaction::Tag,
        whole: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Allowance, Direction, Encoding, ModelSignal, Outcome, Policy, Role, Text, decide};

    fn load(more: &str) -> Result<Policy, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.yaml");
        let deny = "deny_lists: [{ name: d, action: redact, literals: [project blue] }]";
        std::fs::write(&path, format!("name: p\npacks: []\n{deny}\n{more}\n")).unwrap();
        Policy::load(&path).map_err(|error| error.to_string())
    }

    /// Every piece shows words of attacks in five disguises and wants to be decoded, at every level again.
    fn excessive() -> String {
        "vtaber ertnzv rongi erongi 1gn0r3 i g n o r e ｘ&amp;amp;amp;amp; ".repeat(4000)
    }

    fn screened(policy: &Policy, direction: Direction, text: &str) -> Screened {
        let text = Text { role: Role::User, encoding: Encoding::Plain, redactable: true, text };
        policy.screened(direction, &text, &Allowance::default())
    }

    #[test]
    fn a_text_past_the_budget_is_a_finding_and_the_policy_decides() {
        let text = format!("{} project blue", excessive());
        for (more, action) in [("", Action::Flag), ("on_decoding_budget: flag", Action::Flag), ("on_decoding_budget: block", Action::Block)]
        {
            let policy = load(more).unwrap();
            let screened = screened(&policy, Direction::Request, &text);
            assert_eq!(screened.limit, Some(CoverageLimit::DecodingBudget));
            let found: Vec<_> = screened.findings.iter().map(|finding| (finding.rule.id.as_str(), finding.action)).collect();
            assert_eq!(found, [(DECODING_BUDGET, action), ("DENY_LIST_D", Action::Redact)], "{more}");
            assert_eq!(policy.action_for(DECODING_BUDGET, Direction::Request), Some(action));
            let asked = Text { role: Role::User, encoding: Encoding::Plain, redactable: true, text: &text };
            let decision = decide(&policy, &[asked], &[screened.findings], &ModelSignal::Skipped);
            match decision.outcome {
                Outcome::Refuse(refusal) => assert_eq!((action, refusal.rules), (Action::Block, vec![DECODING_BUDGET.to_owned()])),
                Outcome::Forward(cleared) => {
                    let forwarded = cleared.redacted(0).unwrap();
                    assert!(action == Action::Flag && forwarded.starts_with("vtaber") && forwarded.ends_with(" [DENY_LIST_D]"));
                }
            }
        }
    }

    #[test]
    fn a_policy_may_allow_it_and_it_is_told_all_the_same() {
        let policy = load("on_decoding_budget: allow").unwrap();
        let screened = screened(&policy, Direction::Request, &excessive());
        assert_eq!((screened.findings, screened.limit), (vec![], Some(CoverageLimit::DecodingBudget)));
    }

    #[test]
    fn what_fits_and_what_is_not_decoded_reaches_no_bound() {
        let policy = load("on_decoding_budget: block").unwrap();
        for (direction, text) in [
            (Direction::Request, "vtaber i g n o r e &amp;amp;".to_owned()),
            (Direction::Request, "plain words ".repeat(50_000)),
            (Direction::Response, excessive()),
        ] {
            assert_eq!(screened(&policy, direction, &text), Screened { findings: vec![], limit: None });
        }
    }

    #[test]
    fn another_word_is_refused_with_its_line() {
        let error = load("on_decoding_budget: redact").unwrap_err();
        assert!(error.contains("policy.yaml:4") && error.contains("redact"), "{error}");
    }
}
