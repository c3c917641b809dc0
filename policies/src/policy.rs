//! A policy: the packs it names, compiled, and what it says is done about what they find.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use crate::decide::decide;
use crate::error::PolicyError;
use crate::hold::Hold;
use crate::load;
use crate::model::{Action, Direction, Encoding, Finding, Mode, ModelSignal, Role, RuleInfo, Text, Unscreenable};
use crate::policy_form::{GuardForm, PolicyForm};
use crate::resolve::resolve;
use crate::scan::{Candidate, Engine};
use crate::view::Views;

/// A compiled policy; immutable, shared as `Arc<Policy>`.
pub struct Policy {
    form: PolicyForm,
    version: String,
    engine: Engine,
    /// For each rule: what is done on a request, and on a response.
    actions: Vec<[Action; 2]>,
    /// For each direction and role: which rules look at such a text.
    active: [[Vec<bool>; 4]; 2],
    /// For requests and for responses: what a stream holds back.
    holds: [OnceLock<Option<Hold>>; 2],
}

/// What loading has put together.
pub(crate) struct Loaded {
    pub form: PolicyForm,
    pub engine: Engine,
    pub version: String,
}

/// One of the policy's own tests that did not come out as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestFailure {
    /// Line of the policy file, from 1.
    pub line: u64,
    /// Position in the list of tests, from 0.
    pub index: usize,
    /// Name of the test.
    pub name: String,
    /// What the file expects.
    pub expected: String,
    /// What came out: action and rule ids, never the text.
    pub got: String,
}

impl std::fmt::Debug for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Policy").field("name", &self.form.name).field("version", &self.version).finish_non_exhaustive()
    }
}

impl Policy {
    /// Loads a policy file and the packs it names, and proves every rule by its own examples.
    ///
    /// # Errors
    /// Everything wrong with the files, each with file, line, rule and reason.
    pub fn load(path: &Path) -> Result<Policy, PolicyError> {
        load::load(path)
    }

    pub(crate) fn new(loaded: Loaded) -> Result<Policy, String> {
        let Loaded { form, engine, version } = loaded;
        let action = |info: &RuleInfo, direction| {
            let own = form.rules.get(&info.id).and_then(|own| match direction {
                Direction::Request => own.value.request,
                Direction::Response => own.value.response,
            });
            own.unwrap_or_else(|| form.actions.action(direction, info.category, info.severity))
        };
        let actions: Vec<[Action; 2]> =
            engine.rules.iter().map(|rule| Direction::ALL.map(|direction| action(&rule.info, direction))).collect();
        let looks = |direction: Direction, role| {
            let rules = engine.rules.iter().zip(&actions);
            rules.map(|(rule, actions)| rule.scope.holds(direction, role) && actions[direction as usize] > Action::Allow).collect()
        };
        let active = Direction::ALL.map(|direction| Role::ALL.map(|role| looks(direction, role)));
        let policy = Policy { form, version, engine, actions, active, holds: [OnceLock::new(), OnceLock::new()] };
        // Answers stream: refuse now what could only be found out then.
        let hold = policy.build_hold(Direction::Response)?;
        let _ = policy.holds[Direction::Response as usize].set(Some(hold));
        Ok(policy)
    }

    fn build_hold(&self, direction: Direction) -> Result<Hold, String> {
        let rules = &self.engine.rules;
        let active = |rule: usize| rules[rule].scope.holds_any(direction) && self.action(direction, rule) > Action::Allow;
        Hold::new(self.engine.matchers.all.iter().filter(|matcher| active(matcher.rule)))
    }

    /// Returns the first position from which a text that goes on may still become a match.
    pub(crate) fn open(&self, direction: Direction, views: &Views<'_>, from: usize) -> usize {
        let hold = self.holds[direction as usize].get_or_init(|| self.build_hold(direction).ok());
        // Without an automaton nothing is certain before the end.
        hold.as_ref().map_or(from, |hold| hold.open(views, from))
    }

    /// Runs the policy's own `tests:` and returns those that failed.
    #[must_use]
    pub fn run_tests(&self) -> Vec<TestFailure> {
        let mut failures = Vec::new();
        for (index, test) in self.form.tests.iter().enumerate() {
            let (line, test) = (test.referenced.line(), &test.value);
            let text = Text { role: test.role, encoding: Encoding::Plain, redactable: true, text: &test.text };
            let findings = vec![self.screen(test.direction, &text)];
            let decision = decide(self, &[text], &findings, &ModelSignal::Skipped);
            let mut ids: Vec<&str> = findings[0].iter().map(|finding| finding.rule.id.as_str()).collect();
            ids.dedup();
            let all_there = test.rules.iter().all(|id| ids.contains(&id.as_str()));
            if decision.intended != test.expect || !all_there {
                let written = |action: Action, ids: String| format!("{} [{ids}]", action.as_str());
                failures.push(TestFailure {
                    line,
                    index,
                    name: test.name.clone(),
                    expected: written(test.expect, test.rules.join(", ")),
                    got: written(decision.intended, ids.join(", ")),
                });
            }
        }
        failures
    }

    /// Returns the policy's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.form.name
    }

    /// Returns the first 16 hex digits of SHA-256 over the bytes of the policy and its packs.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Returns whether the policy acts or only watches.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.form.mode
    }

    /// Returns the rules in force.
    pub fn rules(&self) -> impl Iterator<Item = &RuleInfo> {
        self.engine.rules.iter().map(|rule| rule.info.as_ref())
    }

    /// Returns whether the redacted text is kept in the record.
    #[must_use]
    pub fn stores_redacted_text(&self) -> bool {
        self.form.store_redacted_text
    }

    /// Returns whether content that rules cannot read may pass.
    #[must_use]
    pub fn allows_unscreenable(&self, kind: Unscreenable) -> bool {
        self.form.unscreenable.contains(&kind)
    }

    /// Finds everything in one text. The findings are disjoint and sorted by the start of their span.
    #[must_use]
    pub fn screen(&self, direction: Direction, text: &Text<'_>) -> Vec<Finding> {
        let views = match direction {
            Direction::Request => Views::decoded(text.text, text.encoding),
            // An answer is screened whole as it is screened while it streams.
            Direction::Response => Views::new(text.text, text.encoding, true),
        };
        self.resolve(direction, self.candidates(direction, text.role, &views, 0))
    }

    /// Returns the text with every finding that is to be redacted or blocked replaced by its rule's tag. This is for people
    /// who look at results; what is forwarded comes from [`decide`] only.
    #[must_use]
    pub fn redact(&self, text: &Text<'_>, findings: &[Finding]) -> String {
        crate::redact::redact(text.text, text.encoding, findings, Action::Redact)
    }

    pub(crate) fn candidates(&self, direction: Direction, role: Role, views: &Views<'_>, from: usize) -> Vec<Candidate> {
        self.engine.candidates(views, from, self.form.threshold, &self.active[direction as usize][role as usize])
    }

    pub(crate) fn resolve(&self, direction: Direction, candidates: Vec<Candidate>) -> Vec<Finding> {
        resolve(candidates, &|rule| (Arc::clone(&self.engine.rules[rule].info), self.action(direction, rule)))
    }

    /// Returns every example text of every rule.
    #[cfg(test)]
    pub(crate) fn examples(&self) -> Vec<String> {
        let rules = self.engine.rules.iter();
        let examples = rules.flat_map(|rule| rule.must_match.iter().chain(&rule.weak_match).chain(&rule.must_not_match));
        examples.map(|example| example.text.clone()).collect()
    }

    fn action(&self, direction: Direction, rule: usize) -> Action {
        self.actions[rule][direction as usize]
    }

    pub(crate) fn guard(&self) -> GuardForm {
        self.form.guard
    }
}
