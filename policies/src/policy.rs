//! A policy: the packs it names, compiled, and what it says is done about what they find.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use zeroize::Zeroizing;

use crate::address::ClientAddress;
use crate::allowance::Allowance;
use crate::choice::{Cases, ChoiceForm};
use crate::coverage::{self, CoverageLimit, Screened};
use crate::day::Day;
use crate::decide::{Refusal, decide};
use crate::error::PolicyError;
use crate::hold::Hold;
use crate::inherit::{Guard, Placed, Settings};
use crate::lists::{ListForms, Lists, Notice};
use crate::load::{self, Proof};
use crate::model::{Action, Direction, Encoding, Finding, Mode, ModelSignal, Redaction, Role, RuleInfo, Text, Unscreenable};
use crate::policy_form::OnKnown;
use crate::refuse::{Language, LanguageForm, language_of};
use crate::resolve::{Verdict, resolve};
use crate::scan::{Candidate, Engine};
use crate::style::{self, Key};
use crate::view::Views;

/// A compiled policy; immutable, shared as `Arc<Policy>`.
pub struct Policy {
    settings: Settings,
    version: String,
    /// The policy file and everything it names, in the order of the version.
    files: Vec<PathBuf>,
    engine: Engine,
    /// For each rule, what the policy says of it.
    plans: Vec<Plan>,
    /// For each direction and role, for each rule: the least score of a finding; infinite for a rule that does not look at such a text.
    floors: [[Vec<f32>; 4]; 2],
    /// The key of keyed hashes and synthetic values, where the policy names one.
    key: Option<Key>,
    lists: Lists,
    /// For requests and for responses: what a stream holds back.
    holds: [OnceLock<Option<Hold>>; 2],
}

/// What is asked of the rules: which way a text goes, who speaks it, how it is written, and what is let off in it.
pub(crate) struct Asked<'a> {
    pub direction: Direction,
    pub role: Role,
    pub encoding: Encoding,
    pub allowance: &'a Allowance,
}

/// What the policy says of one rule.
struct Plan {
    /// What is done on a request, and on a response.
    cases: [Cases; 2],
    /// Least score of a finding.
    threshold: f32,
    /// Whether it is only watched.
    monitored: bool,
    /// What takes the place of what is redacted.
    redaction: Redaction,
}

impl Plan {
    fn new(settings: &Settings, info: &RuleInfo, own_action: Option<Action>) -> Self {
        let own = settings.rules.get(&info.id);
        let cases = |direction| {
            let of_category = || settings.actions[direction as usize].get(&info.category);
            let of_itself = own_action.map(ChoiceForm::One);
            let choice = own.and_then(|own| own.of(direction)).or(of_itself.as_ref()).or_else(of_category);
            choice.map(|choice| choice.cases(info.severity)).unwrap_or_default()
        };
        Self {
            cases: Direction::ALL.map(cases),
            threshold: own.and_then(|own| own.threshold).unwrap_or(settings.threshold),
            monitored: own.and_then(|own| own.monitor).unwrap_or(false),
            redaction: own.and_then(|own| own.redaction).map(|style| style.0).or(settings.redaction.of(info.category)).unwrap_or_default(),
        }
    }
}

/// What loading has put together.
pub(crate) struct Loaded {
    pub settings: Settings,
    pub engine: Engine,
    pub version: String,
    pub key: Option<Key>,
    pub lists: Lists,
    /// What the policy's own rules do, where nothing else is said, by their ids.
    pub own_actions: HashMap<String, Action>,
    pub files: Vec<PathBuf>,
}

/// One of the policy's own tests that did not come out as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestFailure {
    /// The policy file that the test stands in: the policy's own or one that it extends.
    pub path: PathBuf,
    /// Line of that file, from 1.
    pub line: u64,
    /// Position in the list of all tests, those of the base first, from 0.
    pub index: usize,
    /// Name of the test.
    pub name: String,
    /// What the file expects.
    pub expected: String,
    /// What came out: action and rule ids, never the text.
    pub got: String,
}

fn environment(name: &str) -> Option<Zeroizing<String>> {
    std::env::var(name).ok().map(Zeroizing::new)
}

impl std::fmt::Debug for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Policy").field("name", &self.settings.name).field("version", &self.version).finish_non_exhaustive()
    }
}

impl Policy {
    /// Loads a policy file and the packs it names, and proves every rule by its own examples; those of shipped packs that were not changed
    /// were proved where the program was built.
    ///
    /// # Errors
    /// Everything wrong with the files, each with file, line, rule and reason.
    pub fn load(path: &Path) -> Result<Policy, PolicyError> {
        Self::load_noting(path, &mut Vec::new())
    }

    /// The same, and the shipped packs are proved again.
    ///
    /// # Errors
    /// As [`Policy::load`].
    pub fn proved(path: &Path) -> Result<Policy, PolicyError> {
        load::load(path, &mut Vec::new(), Proof::All, &environment)
    }

    /// [`Policy::load`]; `files` becomes the list of files that were read or looked for, also where the policy does not load.
    ///
    /// # Errors
    /// As [`Policy::load`].
    pub fn load_noting(path: &Path, files: &mut Vec<PathBuf>) -> Result<Policy, PolicyError> {
        load::load(path, files, Proof::Needed, &environment)
    }

    /// Does the same with other surroundings: `variable` gives the value of an environment variable.
    ///
    /// # Errors
    /// As [`Policy::load`].
    pub fn load_with(path: &Path, variable: &dyn Fn(&str) -> Option<Zeroizing<String>>) -> Result<Policy, PolicyError> {
        load::load(path, &mut Vec::new(), Proof::Needed, variable)
    }

    /// Returns whether the files still are what was loaded, byte for byte.
    #[must_use]
    pub fn is_current(&self) -> bool {
        load::version_of(&self.files).is_some_and(|version| version == self.version)
    }

    /// Returns the policy file and the files it names.
    #[must_use]
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    pub(crate) fn new(loaded: Loaded) -> Result<Policy, String> {
        let Loaded { settings, engine, version, files, key, lists, own_actions } = loaded;
        let plans: Vec<Plan> =
            engine.rules.iter().map(|rule| Plan::new(&settings, &rule.info, own_actions.get(&rule.info.id).copied())).collect();
        let floors = Default::default();
        let mut policy = Policy { settings, version, files, engine, plans, floors, key, lists, holds: [OnceLock::new(), OnceLock::new()] };
        policy.floors = Direction::ALL.map(|direction| Role::ALL.map(|role| policy.floors_of(direction, role)));
        // Answers stream: refuse now what could only be found out then. What ships was put together where the program was built.
        if policy.engine.rules.iter().any(|rule| !rule.is_proved) {
            let hold = policy.build_hold(Direction::Response)?;
            let _ = policy.holds[Direction::Response as usize].set(Some(hold));
        }
        Ok(policy)
    }

    /// Makes what screens streamed answers, if that was not done yet; it takes some tenths of a second. Otherwise the first stream waits
    /// for it.
    pub fn prepare_streams(&self) {
        self.hold(Direction::Response);
    }

    fn hold(&self, direction: Direction) -> Option<&Hold> {
        self.holds[direction as usize].get_or_init(|| self.build_hold(direction).ok()).as_ref()
    }

    fn build_hold(&self, direction: Direction) -> Result<Hold, String> {
        let active = |rule: usize| Role::ALL.iter().any(|&role| self.is_active(direction, role, rule));
        Hold::new(self.engine.matchers.all.iter().filter(|matcher| active(matcher.rule)))
    }

    /// Returns the first position from which a text that goes on may still become a match.
    pub(crate) fn open(&self, direction: Direction, views: &Views<'_>, from: usize) -> usize {
        // Without an automaton nothing is certain before the end.
        self.hold(direction).map_or(from, |hold| hold.open(views, from))
    }

    /// Runs the policy's own `tests:` and returns those that failed.
    #[must_use]
    pub fn run_tests(&self) -> Vec<TestFailure> {
        let mut failures = Vec::new();
        for (index, Placed { path, line, value: test }) in self.settings.tests.iter().enumerate() {
            let text = Text { role: test.role, encoding: Encoding::Plain, redactable: true, text: &test.text };
            let allowance = test.day.map(|day| self.allowance(&test.tenant, &test.key, day)).unwrap_or_default();
            let findings = vec![self.screen_with(test.direction, &text, &allowance)];
            let decision = decide(self, &[text], &findings, &ModelSignal::Skipped);
            let mut ids: Vec<&str> = findings[0].iter().map(|finding| finding.rule.id.as_str()).collect();
            ids.dedup();
            let all_there = test.rules.iter().all(|id| ids.contains(&id.as_str()));
            if decision.intended != test.expect || !all_there {
                let written = |action: Action, ids: String| format!("{} [{ids}]", action.as_str());
                failures.push(TestFailure {
                    path: path.to_path_buf(),
                    line: *line,
                    index,
                    name: test.name.clone(),
                    expected: written(test.expect, test.rules.join(", ")),
                    got: written(decision.intended, ids.join(", ")),
                });
            }
        }
        failures
    }

    /// Returns the policy's own tests: name and line of each.
    pub fn tests(&self) -> impl Iterator<Item = (&str, u64)> {
        self.settings.tests.iter().map(|test| (test.value.name.as_str(), test.line))
    }

    /// Returns the policy's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// Returns the first 16 hex digits of SHA-256 over the bytes of the policy, what it extends, and their packs.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Returns whether the policy acts or only watches.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.settings.mode
    }

    /// Returns the rules in force.
    pub fn rules(&self) -> impl Iterator<Item = &RuleInfo> {
        self.engine.rules.iter().map(|rule| rule.info.as_ref())
    }

    /// Returns whether the redacted text is kept in the record.
    #[must_use]
    pub fn stores_redacted_text(&self) -> bool {
        self.settings.store_redacted_text
    }

    /// Returns how much of a client's address is kept in the record.
    #[must_use]
    pub fn client_address(&self) -> ClientAddress {
        self.settings.client_address
    }

    /// Returns whether content that rules cannot read may pass.
    #[must_use]
    pub fn allows_unscreenable(&self, kind: Unscreenable) -> bool {
        self.settings.unscreenable.contains(&kind)
    }

    /// Finds everything in one text. The findings are disjoint and sorted by the start of their span.
    #[must_use]
    pub fn screen(&self, direction: Direction, text: &Text<'_>) -> Vec<Finding> {
        self.screen_with(direction, text, &Allowance::default())
    }

    /// Does the same and lets off what the allowance says.
    #[must_use]
    pub fn screen_with(&self, direction: Direction, text: &Text<'_>, allowance: &Allowance) -> Vec<Finding> {
        self.screened(direction, text, allowance).findings
    }

    /// Does the same and says whether the text was searched in full.
    #[must_use]
    pub fn screened(&self, direction: Direction, text: &Text<'_>, allowance: &Allowance) -> Screened {
        let views = match direction {
            Direction::Request => Views::decoded(text.text, text.encoding),
            // An answer is screened whole as it is screened while it streams.
            Direction::Response => Views::new(text.text, text.encoding, true),
        };
        let asked = Asked { direction, role: text.role, encoding: text.encoding, allowance };
        let mut findings = self.resolve(&asked, self.candidates(&asked, &views, 0));
        let limit = views.is_over_budget().then_some(CoverageLimit::DecodingBudget);
        if let Some(finding) = limit.and_then(|_| self.undecoded()) {
            findings.insert(0, finding);
        }
        Screened { findings, limit }
    }

    /// The finding of a text of which not all was read that it says when it is decoded; none where the policy allows such.
    #[must_use]
    pub fn undecoded(&self) -> Option<Finding> {
        coverage::finding(self.settings.on_decoding_budget)
    }

    /// Returns what is done about a text whose decoded forms pass their budget: allow, flag or block.
    #[must_use]
    pub fn on_decoding_budget(&self) -> Action {
        self.settings.on_decoding_budget
    }

    /// Returns the text with every finding that is to be redacted or blocked replaced. This is for people
    /// who look at results; what is forwarded comes from [`decide`] only.
    #[must_use]
    pub fn redact(&self, text: &Text<'_>, findings: &[Finding]) -> String {
        crate::redact::redact(text.text, text.encoding, findings.iter().filter(|finding| finding.action.hides()), &mut |finding, piece| {
            self.shown(finding, piece, text.encoding)
        })
    }

    /// Returns what takes the place of a finding whose text is `piece`.
    pub(crate) fn shown(&self, finding: &Finding, piece: &str, encoding: Encoding) -> String {
        style::shown(finding, piece, encoding, self.key.as_ref())
    }

    /// Finds what the rules find at `from` or later, each at its own threshold, and leaves out what the policy or the allowance lets off.
    pub(crate) fn candidates(&self, asked: &Asked<'_>, views: &Views<'_>, from: usize) -> Vec<Candidate> {
        let mut candidates = self.engine.candidates(views, from, &self.floors[asked.direction as usize][asked.role as usize]);
        let text = views.text(0);
        candidates.retain_mut(|candidate| {
            let piece = &text[candidate.span.clone()];
            match self.lists.judged(candidate.rule, piece, asked.encoding, asked.allowance) {
                None => return false,
                Some(rule) if rule != candidate.rule => (candidate.rule, candidate.score) = (rule, 1.0),
                Some(_) => {}
            }
            self.action(asked, candidate) > Action::Allow
        });
        candidates
    }

    /// Returns the language to refuse these texts in.
    #[must_use]
    pub fn language(&self, texts: &[Text<'_>]) -> Language {
        match self.settings.refusal_language {
            LanguageForm::Auto => language_of(texts),
            LanguageForm::En => Language::English,
            LanguageForm::Zh => Language::Chinese,
        }
    }

    /// Returns a refusal in words: the policy's own message, if it has one.
    #[must_use]
    pub fn words(&self, refusal: &Refusal, language: Language) -> String {
        refusal.words_of(language, self.settings.refusal_messages.of(language))
    }

    /// Returns what is let off for a caller on a day: the exceptions that hold. They hold for a week after they have expired.
    #[must_use]
    pub fn allowance(&self, tenant: &str, key: &str, today: Day) -> Allowance {
        self.lists.allowance(tenant, key, today)
    }

    /// Lists the exceptions that have expired: those that still hold for a while, and those that do nothing any more.
    #[must_use]
    pub fn notices(&self, today: Day) -> Vec<Notice> {
        self.lists.notices(today)
    }

    pub(crate) fn resolve(&self, asked: &Asked<'_>, candidates: Vec<Candidate>) -> Vec<Finding> {
        resolve(candidates, &|candidate| Verdict {
            rule: Arc::clone(&self.engine.rules[candidate.rule].info),
            action: self.action(asked, candidate),
            monitored: self.plans[candidate.rule].monitored,
            redaction: self.plans[candidate.rule].redaction,
        })
    }

    /// Returns every example text of every rule.
    #[cfg(test)]
    pub(crate) fn examples(&self) -> Vec<String> {
        let rules = self.engine.rules.iter();
        let examples = rules.flat_map(|rule| rule.must_match.iter().chain(&rule.weak_match).chain(&rule.must_not_match));
        examples.map(|example| example.text.clone()).collect()
    }

    fn action(&self, asked: &Asked<'_>, candidate: &Candidate) -> Action {
        self.action_of(asked.direction, asked.role, candidate)
    }

    /// The lists as written, for whoever compares them.
    pub(crate) fn list_forms(&self) -> &ListForms {
        &self.settings.lists
    }

    /// The rules, for whoever explains them.
    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Returns the rules that the policy says something of their own about, each with its file and line.
    pub(crate) fn overridden(&self) -> impl Iterator<Item = (&str, &Path, u64)> {
        self.settings.rules_at.iter().map(|(id, (path, line))| (id.as_str(), path.as_ref(), *line))
    }

    /// Returns the least score that a rule's finding must have.
    pub(crate) fn threshold_of(&self, rule: usize) -> f32 {
        self.plans[rule].threshold
    }

    /// Returns what is done about a candidate in a text of this direction and role.
    pub(crate) fn action_of(&self, direction: Direction, role: Role, candidate: &Candidate) -> Action {
        self.plans[candidate.rule].cases[direction as usize].action(role, candidate.score)
    }

    fn floors_of(&self, direction: Direction, role: Role) -> Vec<f32> {
        let floor = |rule| if self.is_active(direction, role, rule) { self.plans[rule].threshold } else { f32::INFINITY };
        (0..self.engine.rules.len()).map(floor).collect()
    }

    fn is_active(&self, direction: Direction, role: Role, rule: usize) -> bool {
        let strongest = || self.plans[rule].cases[direction as usize].strongest(role);
        self.engine.rules[rule].scope.holds(direction, role) && (strongest() > Action::Allow || self.lists.may_deny(rule))
    }

    /// Returns what is done about a text that comes near a known attack.
    #[must_use]
    pub fn on_known_attack(&self) -> Action {
        match self.settings.guard.known {
            OnKnown::Block => Action::Block,
            OnKnown::Flag => Action::Flag,
            OnKnown::Off => Action::Allow,
        }
    }

    /// Returns the scores of a guard model from which on a text is flagged and blocked; above 1 for never.
    #[must_use]
    pub fn guard_thresholds(&self) -> (f32, f32) {
        (self.settings.guard.flag_at, self.settings.guard.block_at)
    }

    pub(crate) fn guard(&self) -> Guard {
        self.settings.guard
    }
}
