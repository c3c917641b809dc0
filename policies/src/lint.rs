//! What is odd about a policy that loads: rules that never have a say, and settings that contradict each other. And the texts that
//! make a rule work hardest, for whoever has a clock.

use crate::error::Fault;
use crate::lists::conflicts;
use crate::model::{Action, Direction, Encoding, Role, Text};
use crate::pack::Rule;
use crate::policy::Policy;
use crate::view::Views;

/// Size of a text that is to make a rule work, in bytes.
const HOSTILE_BYTES: usize = 4096;
/// Most such texts for one rule.
const HOSTILE_TEXTS_MAX: usize = 24;

/// Facts about a rule, for a list of rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleFacts {
    /// Its id.
    pub id: String,
    /// How many texts it must and must not match.
    pub examples: usize,
    /// Whether it looks at requests and at responses.
    pub directions: Vec<Direction>,
    /// Whether one of its ways of writing asks for context or a check.
    pub has_context: bool,
    /// The same of a check.
    pub has_check: bool,
}

impl Policy {
    /// Lists what is odd. None of it stops a start.
    #[must_use]
    pub fn oddities(&self) -> Vec<Fault> {
        let mut odd = Vec::new();
        for rule in &self.engine().rules {
            let ways = Direction::ALL.iter().flat_map(|&direction| Role::ALL.iter().map(move |&role| (direction, role)));
            let acts = |&(direction, role): &(Direction, Role)| {
                rule.scope.holds(direction, role) && self.action_for(&rule.info.id, direction).is_some_and(|action| action > Action::Allow)
            };
            if let Some((direction, role)) = ways.into_iter().find(acts) {
                odd.extend(self.never_found(rule, direction, role));
            }
        }
        odd.extend(self.contradictions());
        odd.extend(conflicts(self.list_forms(), &self.engine().rules));
        odd
    }

    /// A rule none of whose own examples is found by it under this policy.
    fn never_found(&self, rule: &Rule, direction: Direction, role: Role) -> Option<Fault> {
        if rule.must_match.is_empty() {
            // A deny list's or a canary's own rule; those of packs have examples.
            return None;
        }
        let mut instead: Vec<String> = Vec::new();
        for example in &rule.must_match {
            let text = Text { role, encoding: Encoding::Plain, redactable: true, text: &example.text };
            for finding in self.screen(direction, &text) {
                if finding.rule.id == rule.info.id {
                    return None;
                }
                if !instead.contains(&finding.rule.id) {
                    instead.push(finding.rule.id.clone());
                }
            }
        }
        Some(rule.fault(if instead.is_empty() {
            let threshold = self.threshold_for(&rule.info.id).unwrap_or_default();
            format!("none of its must_match texts reaches the policy's threshold of {threshold:.2}: the rule finds nothing")
        } else {
            format!("every must_match text is taken by {}: the rule is in its shadow", instead.join(", "))
        }))
    }

    /// Rules that the policy gives an action of their own although it allows their whole category.
    fn contradictions(&self) -> Vec<Fault> {
        let mut odd = Vec::new();
        for (id, path, line) in self.overridden() {
            let Some(rule) = self.engine().rules.iter().find(|rule| rule.info.id == id) else {
                continue;
            };
            for direction in Direction::ALL {
                let acts = |id: &str| self.action_for(id, direction).is_some_and(|action| action > Action::Allow);
                let mut others = self.rules().filter(|other| other.category == rule.info.category && other.id != id).peekable();
                if acts(id) && others.peek().is_some() && !others.any(|other| acts(&other.id)) {
                    let (category, direction) = (rule.info.category.as_str(), direction.as_str());
                    let reason = format!("{id} acts on a {direction}, while every other {category} rule is allowed there");
                    odd.push(Fault { path: path.to_path_buf(), line, subject: "rules".to_owned(), reason });
                }
            }
        }
        odd
    }

    /// Returns texts made of a rule's examples, whole and cut short, over and over: much to try and, cut, nothing to find.
    #[must_use]
    pub fn hostile_texts(&self, id: &str) -> Vec<String> {
        let Some(rule) = self.engine().rules.iter().find(|rule| rule.info.id == id) else {
            return Vec::new();
        };
        let examples = rule.must_match.iter().chain(&rule.weak_match).chain(&rule.must_not_match);
        let mut texts = Vec::new();
        for example in examples {
            let text = example.text.as_str();
            let cut = |share: usize| text.chars().take(text.chars().count() * share / 10).collect::<String>();
            for piece in [format!("{text} "), cut(9), cut(5)] {
                if !piece.is_empty() {
                    texts.push(piece.repeat(HOSTILE_BYTES.div_ceil(piece.len())));
                }
            }
        }
        texts.truncate(HOSTILE_TEXTS_MAX);
        texts
    }

    /// Searches a text for one rule alone, or for none without an id, and returns how often it was found; for taking the time.
    #[must_use]
    pub fn search_alone(&self, id: Option<&str>, text: &str) -> usize {
        let wanted = id.and_then(|id| self.engine().rules.iter().position(|rule| rule.info.id == id));
        let views = Views::new(text, Encoding::Plain, true);
        let mut floors = vec![f32::INFINITY; self.engine().rules.len()];
        if let Some(wanted) = wanted {
            floors[wanted] = 0.0;
        }
        self.engine().candidates(&views, 0, &floors).len()
    }

    /// Returns facts about every rule in force, in the order of [`Policy::rules`].
    pub fn facts(&self) -> impl Iterator<Item = RuleFacts> {
        self.engine().rules.iter().map(|rule| RuleFacts {
            id: rule.info.id.clone(),
            examples: rule.must_match.len() + rule.weak_match.len() + rule.must_not_match.len(),
            directions: Direction::ALL.into_iter().filter(|&direction| rule.scope.holds_any(direction)).collect(),
            has_context: rule.variants.iter().any(|variant| variant.context.is_some()),
            has_check: rule.variants.iter().any(|variant| variant.check.is_some()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACK: &str = "
pack: p
rules:
  - { id: SMALL, title: t, category: pii, severity: low, pattern: '\\bab\\d{3}\\b', why: w, must_match: [ab123, 'x ab999'], must_not_match: [x] }
  - { id: LARGE, title: t, category: pii, severity: high, pattern: '\\bab\\d{2,4}\\b', why: w, must_match: [ab1234], must_not_match: [x] }
  - { id: UNSURE, title: t, category: pii, severity: low, literals: [perhaps], score: 0.6, why: w, must_match: [perhaps], must_not_match: [x] }
  - { id: A, title: t, category: sensitive, severity: low, literals: [alpha], why: w, must_match: [alpha], must_not_match: [x] }
  - { id: B, title: t, category: sensitive, severity: low, literals: [bravo], why: w, must_match: [bravo], must_not_match: [x] }
";

    fn policy(extra: &str) -> (tempfile::TempDir, Policy) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("p.yaml"), PACK).unwrap();
        let path = folder.path().join("policy.yaml");
        std::fs::write(&path, format!("name: p\npacks: [p.yaml]\nactions: {{ request: {{ pii: redact, sensitive: allow }} }}\n{extra}"))
            .unwrap();
        let policy = Policy::load(&path).unwrap_or_else(|error| panic!("{error}"));
        (folder, policy)
    }

    fn told(extra: &str) -> Vec<(u64, String)> {
        policy(extra).1.oddities().into_iter().map(|odd| (odd.line, format!("{}: {}", odd.subject, odd.reason))).collect()
    }

    #[test]
    fn a_rule_in_the_shadow_of_another_is_told_and_one_that_wins_once_is_not() {
        let told = told("");
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].0 == 4 && told[0].1.contains("rule SMALL: every must_match text is taken by LARGE"), "{told:?}");
        assert_eq!(self::told("disable: [LARGE]\n"), []);
    }

    #[test]
    fn a_rule_below_the_threshold_and_one_of_an_allowed_category_are_told() {
        let strict = told("disable: [LARGE]\nthreshold: 0.7\n");
        assert!(strict.len() == 1 && strict[0].1.contains("rule UNSURE: none of its must_match texts reaches"), "{strict:?}");
        let alone = told("disable: [LARGE]\nrules:\n  A: { request: block }\n");
        assert_eq!(alone.len(), 1, "{alone:?}");
        assert!(alone[0].0 == 6 && alone[0].1.contains("A acts on a request, while every other sensitive rule is allowed"), "{alone:?}");
    }

    #[test]
    fn hostile_texts_are_made_of_the_rules_own_examples() {
        let (_folder, policy) = policy("");
        let texts = policy.hostile_texts("LARGE");
        assert!(texts.len() == 4 && texts.iter().all(|text| text.len() >= HOSTILE_BYTES), "{}", texts.len());
        assert!(policy.search_alone(Some("LARGE"), &texts[0]) > 100);
        assert_eq!((policy.search_alone(None, &texts[0]), policy.search_alone(Some("NONE"), &texts[0])), (0, 0));
    }
}
