//! Why a text is judged as it is: what every rule saw in it, what became of that, and what would change it.
//!
//! Nothing is judged here a second time. The engine is asked again with rules whose demands (keywords, stop words, entropy, check,
//! context) are taken away, and then put back one by one: what a rule with one demand does not find any more fails that demand.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use crate::check;
use crate::compile;
use crate::coverage::DECODING_BUDGET;
use crate::model::{Action, Direction, Finding, Role, RuleInfo, Text};
use crate::pack::{Context, Rule, Scope, Variant};
use crate::policy::Policy;
use crate::scan::{Candidate, Engine};
use crate::view::Views;
use crate::words::ContextWords;

/// Most things explained in one text; the first in the text are kept.
const SEEN_MAX: usize = 200;
/// Most context words tried to name the one that was found.
const WORDS_TRIED_MAX: usize = 200;

/// One thing that one rule saw.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// The rule.
    pub rule: Arc<RuleInfo>,
    /// The pack file.
    pub path: PathBuf,
    /// Line of the rule or of its variant, from 1.
    pub line: u64,
    /// What is or would be reported, in bytes of the text.
    pub span: Range<usize>,
    /// The whole match with its anchors.
    pub extent: Range<usize>,
    /// The score without context.
    pub base_score: f32,
    /// The score with it.
    pub score: f32,
    /// What the rule says of context.
    pub context: Option<ContextSeen>,
    /// Name of the check it has to pass.
    pub check: Option<String>,
    /// Least score that the policy takes for a finding.
    pub threshold: f32,
    /// What the policy does about it.
    pub action: Action,
    /// What became of it.
    pub fate: Fate,
    /// What would change that, each in a line.
    pub changes: Vec<String>,
}

/// A rule's context words, and which of them was there.
#[derive(Debug, Clone, PartialEq)]
pub struct ContextSeen {
    /// The words.
    pub words: Vec<String>,
    /// What one of them adds to the score.
    pub boost: f32,
    /// Whether there is no finding without one.
    pub required: bool,
    /// The one that was found.
    pub found: Option<String>,
}

/// What became of something a rule saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is a finding.
    Found,
    /// It is a finding, less what these rules take.
    Shortened(Vec<String>),
    /// These rules took its place.
    Lost(Vec<String>),
    /// Its score is below the threshold.
    Weak,
    /// A demand of the rule does not hold.
    Fails(Demand),
    /// The rule does not look at texts of this direction and role.
    OutOfScope,
    /// The policy lets it pass.
    Allowed,
}

/// What a rule may ask of a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    /// One of the keywords inside.
    Keyword,
    /// None of the stop words inside.
    StopWord,
    /// Enough entropy.
    Entropy,
    /// The check passes.
    Check,
    /// A context word before.
    Context,
    /// Nothing; another match of the rule begins before it and covers it.
    Place,
}

impl Demand {
    const ALL: [Demand; 5] = [Demand::Keyword, Demand::StopWord, Demand::Entropy, Demand::Check, Demand::Context];

    /// Returns a word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Demand::Keyword => "keyword",
            Demand::StopWord => "stop_word",
            Demand::Entropy => "entropy",
            Demand::Check => "check",
            Demand::Context => "context",
            Demand::Place => "place",
        }
    }

    fn is_asked(self, variant: &Variant) -> bool {
        match self {
            Demand::Keyword => !variant.keywords.is_empty(),
            Demand::StopWord => !variant.stop_words.is_empty(),
            Demand::Entropy => variant.entropy.is_some(),
            Demand::Check => variant.check.is_some(),
            Demand::Context => variant.context.as_ref().is_some_and(|context| context.required),
            Demand::Place => false,
        }
    }
}

impl Fate {
    /// Returns a word for it.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Fate::Found => "found",
            Fate::Shortened(_) => "shortened",
            Fate::Lost(_) => "lost",
            Fate::Weak => "weak",
            Fate::Fails(_) => "fails",
            Fate::OutOfScope => "out_of_scope",
            Fate::Allowed => "allowed",
        }
    }
}

impl Policy {
    /// Explains what every rule saw in one text, in the order of the text. Slow: rules are compiled anew.
    ///
    /// # Errors
    /// When the rules do not compile in the forms this needs.
    pub fn explain(&self, direction: Direction, text: &Text<'_>) -> Result<Vec<Seen>, String> {
        let views = Views::new(text.text, text.encoding, true);
        let findings = self.screen(direction, text);
        // One rule for each variant, so that a candidate says which it is.
        let all: Vec<(usize, &Variant)> = self
            .engine()
            .rules
            .iter()
            .enumerate()
            .flat_map(|(index, rule)| rule.variants.iter().map(move |variant| (index, variant)))
            .collect();
        let candidates = |keep: &dyn Fn(Demand) -> bool| {
            let rules = all.iter().map(|&(index, variant)| single(&self.engine().rules[index], with(variant, keep))).collect();
            let engine = engine(rules)?;
            Ok::<_, String>(engine.candidates(&views, 0, &engine.floors()))
        };
        let accepted = candidates(&|_| true)?;
        let mut near = candidates(&|_| false)?;
        near.retain(|near| {
            let same = |other: &&Candidate| other.rule == near.rule;
            !accepted.iter().filter(same).any(|other| other.span.start < near.span.end && near.span.start < other.span.end)
        });
        let asked = Asked { policy: self, direction, text, views: &views, findings: &findings };
        let mut seen = Vec::new();
        for (candidate, is_accepted) in accepted.into_iter().map(|c| (c, true)).chain(near.into_iter().map(|c| (c, false))) {
            let (index, variant) = all[candidate.rule];
            seen.push(asked.seen(&Candidate { rule: index, ..candidate }, variant, is_accepted)?);
            if seen.len() >= SEEN_MAX {
                break;
            }
        }
        seen.sort_by(|a, b| (a.span.start, a.span.end, &a.rule.id).cmp(&(b.span.start, b.span.end, &b.rule.id)));
        Ok(seen)
    }
}

impl Policy {
    /// Returns the strongest thing that the policy does about a rule's findings; none when it has no such rule.
    #[must_use]
    pub fn action_for(&self, id: &str, direction: Direction) -> Option<Action> {
        if id == DECODING_BUDGET {
            return Some(self.on_decoding_budget());
        }
        let rule = self.engine().rules.iter().position(|rule| rule.info.id == id)?;
        let surest = Candidate { rule, span: 0..0, extent: 0..0, score: 1.0 };
        Role::ALL.iter().map(|&role| self.action_of(direction, role, &surest)).max()
    }

    /// Returns the least score of a rule's finding; none when the policy has no such rule.
    #[must_use]
    pub fn threshold_for(&self, id: &str) -> Option<f32> {
        self.engine().rules.iter().position(|rule| rule.info.id == id).map(|rule| self.threshold_of(rule))
    }
}

/// One text being explained.
struct Asked<'a> {
    policy: &'a Policy,
    direction: Direction,
    text: &'a Text<'a>,
    views: &'a Views<'a>,
    findings: &'a [Finding],
}

impl Asked<'_> {
    fn seen(&self, candidate: &Candidate, variant: &Variant, is_accepted: bool) -> Result<Seen, String> {
        let rule = &self.policy.engine().rules[candidate.rule];
        let context = match &variant.context {
            None => None,
            Some(context) => Some(ContextSeen {
                words: context.words.clone(),
                boost: context.boost,
                required: context.required,
                found: self.context_word(candidate, rule, variant, context)?,
            }),
        };
        let mut seen = Seen {
            rule: Arc::clone(&rule.info),
            path: rule.origin.path.clone(),
            line: variant.line,
            span: candidate.span.clone(),
            extent: candidate.extent.clone(),
            base_score: variant.score,
            score: candidate.score,
            context,
            check: variant.check.and_then(check_name),
            threshold: self.policy.threshold_of(candidate.rule),
            action: self.policy.action_of(self.direction, self.text.role, candidate),
            fate: Fate::Found,
            changes: Vec::new(),
        };
        seen.fate = if is_accepted { self.fate(&seen, rule.scope) } else { Fate::Fails(self.failing(candidate, rule, variant)?) };
        seen.changes = self.changes(&seen, variant);
        Ok(seen)
    }

    fn fate(&self, seen: &Seen, scope: Scope) -> Fate {
        if !scope.holds(self.direction, self.text.role) {
            return Fate::OutOfScope;
        }
        if seen.action == Action::Allow {
            return Fate::Allowed;
        }
        if seen.score < seen.threshold {
            return Fate::Weak;
        }
        let overlap = |finding: &&Finding| finding.span.start < seen.span.end && seen.span.start < finding.span.end;
        let (own, others): (Vec<&Finding>, Vec<&Finding>) =
            self.findings.iter().filter(overlap).partition(|finding| finding.rule.id == seen.rule.id);
        let mut others: Vec<String> = others.iter().map(|finding| finding.rule.id.clone()).collect();
        others.dedup();
        match (own.is_empty(), others.is_empty()) {
            // A longer finding of the same rule covers it.
            (_, true) => Fate::Found,
            (false, false) => Fate::Shortened(others),
            (true, false) => Fate::Lost(others),
        }
    }

    /// Returns the first demand that the match fails by itself.
    fn failing(&self, candidate: &Candidate, rule: &Rule, variant: &Variant) -> Result<Demand, String> {
        for demand in Demand::ALL.into_iter().filter(|demand| demand.is_asked(variant)) {
            let engine = engine(vec![single(rule, with(variant, &|kept| kept == demand))])?;
            let found = engine.candidates(self.views, 0, &engine.floors());
            if !found.iter().any(|found| found.span == candidate.span) {
                return Ok(demand);
            }
        }
        Ok(Demand::Place)
    }

    /// Returns the first context word with which alone the match would have context.
    fn context_word(&self, candidate: &Candidate, rule: &Rule, variant: &Variant, context: &Context) -> Result<Option<String>, String> {
        let mut engine = engine(vec![single(rule, with(variant, &|_| false))])?;
        for word in context.words.iter().take(WORDS_TRIED_MAX) {
            let alone = Context { words: vec![word.clone()], boost: 0.0, required: true };
            engine.context = vec![vec![Some(ContextWords::new(&alone))]];
            let found = engine.candidates(self.views, 0, &engine.floors());
            if found.iter().any(|found| found.span == candidate.span) {
                return Ok(Some(word.clone()));
            }
        }
        Ok(None)
    }

    fn changes(&self, seen: &Seen, variant: &Variant) -> Vec<String> {
        let id = &seen.rule.id;
        let direction = self.direction.as_str();
        let mut changes = Vec::new();
        let missing = seen.context.as_ref().filter(|context| context.found.is_none());
        match &seen.fate {
            Fate::Found | Fate::Shortened(_) => {
                if let Some(ContextSeen { found: Some(word), required, .. }) = &seen.context {
                    if *required {
                        changes.push(format!("without the word `{word}` before it there is no finding"));
                    } else if seen.base_score < seen.threshold {
                        changes.push(format!("without the word `{word}` before it the score is {:.2}: too weak", seen.base_score));
                    }
                }
                if seen.score < 1.0 {
                    changes.push(format!("a threshold above {:.2} leaves it out (now {:.2})", seen.score, seen.threshold));
                }
                changes.push(format!("`rules: {{ {id}: {{ {direction}: flag }} }}` lets it pass, `disable: [{id}]` drops the rule"));
            }
            Fate::Weak => {
                if let Some(context) = missing {
                    let score = (seen.base_score + context.boost).min(1.0);
                    changes.push(format!("{} in the 120 bytes before it makes the score {score:.2}", one_of(&context.words)));
                }
                changes.push(format!("a threshold of {:.2} or less takes it (now {:.2})", seen.score, seen.threshold));
            }
            Fate::Lost(rules) => changes.push(format!("it is found where {} is not", rules.join(", "))),
            Fate::Fails(Demand::Keyword) => changes.push(format!("{} inside the match makes it one", one_of(&variant.keywords))),
            Fate::Fails(Demand::StopWord) => changes.push(format!("it is one without {} inside", one_of(&variant.stop_words))),
            Fate::Fails(Demand::Entropy) => {
                changes.push(format!("it is one with {:.1} bits of entropy a character", variant.entropy.unwrap_or_default()));
            }
            Fate::Fails(Demand::Check) => {
                changes.push(format!("it is one when it passes the check {}", seen.check.as_deref().unwrap_or("of the rule")));
            }
            Fate::Fails(Demand::Context) => {
                let words = variant.context.as_ref().map(|context| one_of(&context.words)).unwrap_or_default();
                changes.push(format!("{words} in the 120 bytes before it makes it one"));
            }
            Fate::Fails(Demand::Place) => changes.push("the rule's search goes on behind another match here".to_owned()),
            Fate::OutOfScope => changes.push("the rule's `applies_to` and `roles` leave out texts of this kind".to_owned()),
            Fate::Allowed => changes.push(format!("`rules: {{ {id}: {{ {direction}: flag }} }}` has it found")),
        }
        changes
    }
}

/// Says some words, and how many more there are.
fn one_of(words: &[String]) -> String {
    const SHOWN: usize = 6;
    let mut shown: Vec<String> = words.iter().take(SHOWN).map(|word| format!("`{word}`")).collect();
    if words.len() > SHOWN {
        shown.push(format!("or one of {} more", words.len() - SHOWN));
    }
    shown.join(", ")
}

/// The name of a check. Two names for the same arithmetic are one check; the first is as good.
fn check_name(wanted: check::Check) -> Option<String> {
    let is_it = |name: &&str| check::by_name(name).is_some_and(|check| std::ptr::fn_addr_eq(check, wanted));
    check::names().split(", ").find(is_it).map(str::to_owned)
}

/// The same way of writing, asking only for what `keep` says.
fn with(variant: &Variant, keep: &dyn Fn(Demand) -> bool) -> Variant {
    let words = |demand, words: &Vec<String>| if keep(demand) { words.clone() } else { Vec::new() };
    // Context that is not asked for leaves the score as it is, so that everything is found.
    let context = variant.context.as_ref().filter(|_| keep(Demand::Context));
    Variant {
        line: variant.line,
        patterns: variant.patterns.clone(),
        literals: variant.literals.clone(),
        keywords: words(Demand::Keyword, &variant.keywords),
        insensitive: variant.insensitive,
        group: variant.group,
        max_bytes: variant.max_bytes,
        score: variant.score,
        check: variant.check.filter(|_| keep(Demand::Check)),
        context: context.map(|context| Context { words: context.words.clone(), boost: context.boost, required: context.required }),
        entropy: variant.entropy.filter(|_| keep(Demand::Entropy)),
        stop_words: words(Demand::StopWord, &variant.stop_words),
    }
}

/// A rule of one variant and without examples.
fn single(rule: &Rule, variant: Variant) -> Rule {
    Rule {
        info: Arc::clone(&rule.info),
        origin: rule.origin.clone(),
        variants: vec![variant],
        scope: rule.scope,
        must_match: Vec::new(),
        weak_match: Vec::new(),
        must_not_match: Vec::new(),
        is_proved: false,
    }
}

fn engine(rules: Vec<Rule>) -> Result<Engine, String> {
    let mut faults = Vec::new();
    let matchers = compile::compile(&rules, &mut faults)?;
    if let Some(fault) = faults.first() {
        return Err(fault.to_string());
    }
    Ok(Engine::new(rules, matchers))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Encoding;

    const PACK: &str = "
pack: p
rules:
  - { id: CARD, title: t, category: pii, severity: high, pattern: '\\b\\d{4}(?: ?\\d{4}){3}\\b', check: luhn, why: w,
      must_match: ['4111 1111 1111 1111'], must_not_match: ['4111 1111 1111 1112'] }
  - { id: WEAK, title: t, category: pii, severity: low, pattern: '\\bW\\d{4}\\b', score: 0.4, context: { words: [badge, 工号], boost: 0.4 }, why: w,
      must_match: ['badge W1234'], weak_match: [W1234], must_not_match: [x] }
  - { id: NEEDY, title: t, category: pii, severity: low, pattern: '\\bN\\d{4}\\b', context: { words: [note], required: true }, why: w,
      must_match: ['note N1234'], must_not_match: [N1234] }
  - { id: KEYED, title: t, category: secret, severity: low, pattern: '\\bk[a-z]{4,9}\\b', keywords: [key], stop_words: [test], why: w,
      must_match: [kakey], must_not_match: [kaabc, ktestkey] }
  - { id: SAID, title: t, category: injection, severity: high, literals: [open up], roles: [user], why: w, must_match: [open up], must_not_match: [x] }
  - { id: SAID_LONG, title: t, category: injection, severity: high, literals: [open up now], why: w, must_match: [open up now], must_not_match: [x] }
  - { id: QUIET, title: t, category: sensitive, severity: low, literals: [hush], why: w, must_match: [hush], must_not_match: [x] }
";
    const POLICY: &str =
        "name: p\npacks: [p.yaml]\nactions: { request: { pii: redact, secret: redact, injection: flag, sensitive: allow } }\n";

    fn explained(role: Role, text: &str) -> Vec<(String, Fate, Range<usize>)> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("p.yaml"), PACK).unwrap();
        let path = folder.path().join("policy.yaml");
        std::fs::write(&path, POLICY).unwrap();
        let policy = Policy::load(&path).unwrap_or_else(|error| panic!("{error}"));
        let text = Text { role, encoding: Encoding::Plain, redactable: true, text };
        let seen = policy.explain(Direction::Request, &text).unwrap();
        assert!(seen.iter().all(|seen| !seen.changes.is_empty() && seen.line > 0));
        seen.into_iter().map(|seen| (seen.rule.id.clone(), seen.fate, seen.span)).collect()
    }

    #[test]
    fn what_was_found_and_what_was_not_is_told_with_its_reason() {
        use Fate::{Allowed, Fails, Found, Lost, OutOfScope, Weak};
        for (role, text, id, fate, span) in [
            (Role::User, "4111 1111 1111 1111", "CARD", Found, 0..19),
            (Role::User, "４111 1111 1111 1111", "CARD", Found, 0..21),
            (Role::User, "4111 1111 1111 1112", "CARD", Fails(Demand::Check), 0..19),
            (Role::User, "W1234", "WEAK", Weak, 0..5),
            (Role::User, "badge W1234", "WEAK", Found, 6..11),
            (Role::User, "N1234", "NEEDY", Fails(Demand::Context), 0..5),
            (Role::User, "kaabc", "KEYED", Fails(Demand::Keyword), 0..5),
            (Role::User, "ktestkey", "KEYED", Fails(Demand::StopWord), 0..8),
            (Role::User, "open up now", "SAID", Lost(vec!["SAID_LONG".into()]), 0..7),
            (Role::Tool, "open up", "SAID", OutOfScope, 0..7),
            (Role::User, "hush", "QUIET", Allowed, 0..4),
        ] {
            let seen = explained(role, text);
            assert!(seen.contains(&(id.to_owned(), fate.clone(), span)), "{text}: {id} {fate:?} in {seen:?}");
        }
        assert_eq!(explained(Role::User, "nothing here"), []);
    }

    #[test]
    fn the_word_that_was_found_is_named_and_what_would_change_the_verdict() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("p.yaml"), PACK).unwrap();
        let path = folder.path().join("policy.yaml");
        std::fs::write(&path, POLICY).unwrap();
        let policy = Policy::load(&path).unwrap();
        let text = Text { role: Role::User, encoding: Encoding::Plain, redactable: true, text: "工号W1234" };
        let seen = policy.explain(Direction::Request, &text).unwrap().remove(0);
        assert_eq!((seen.base_score, seen.score, seen.action), (0.4, 0.8, Action::Redact));
        assert_eq!(seen.context.unwrap().found.as_deref(), Some("工号"));
        assert!(seen.changes[0].contains("without the word `工号`"), "{:?}", seen.changes);
        let text = Text { text: "4111 1111 1111 1112", ..text };
        let seen = policy.explain(Direction::Request, &text).unwrap().remove(0);
        assert!(seen.check.is_some() && seen.changes[0].contains("luhn"), "{seen:?}");
    }
}
