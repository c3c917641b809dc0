//! Values that are named one by one: what is allowed, what is denied, and what is excepted for a while.
//!
//! A value is compared in the form that its spellings share (`value::normalised`); a regular expression has to match all of it. Whether a
//! find is let off or denied depends on nothing but its own text, so a stream decides as the whole text does.

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;

use regex_automata::meta;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::allowance::Allowance;
use crate::day::Day;
use crate::error::Fault;
use crate::inherit::Placed;
use crate::model::{Action, Category, Direction, Encoding, Severity};
use crate::own::{OWN_PACK, Own, own_id};
use crate::pack::Rule;
use crate::syntax;
use crate::value::{decoded, folded, normalised};

/// Days that an exception goes on to hold after it has expired, while it is warned about.
const GRACE_DAYS: i32 = 7;
/// Most values in one list.
const VALUES_MAX: usize = 100_000;

/// Values that rules may find and that are nothing.
#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
pub(crate) struct AllowListForm {
    pub name: String,
    #[serde(default)]
    pub rules: Vec<String>,
    #[serde(default)]
    pub categories: Vec<Category>,
    #[serde(default)]
    pub literals: Vec<String>,
    #[serde(default)]
    pub regexes: Vec<String>,
    #[serde(default)]
    pub sha256: Vec<String>,
}

/// Values that may not pass, searched for in the texts, or among what some rules find.
#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
pub(crate) struct DenyListForm {
    pub name: String,
    #[serde(default = "sensitive")]
    pub category: Category,
    #[serde(default = "high")]
    pub severity: Severity,
    #[serde(default = "block")]
    pub action: Action,
    #[serde(default)]
    pub rules: Vec<String>,
    #[serde(default)]
    pub categories: Vec<Category>,
    #[serde(default)]
    pub literals: Vec<String>,
    #[serde(default)]
    pub regexes: Vec<String>,
    #[serde(default)]
    pub sha256: Vec<String>,
}

fn sensitive() -> Category {
    Category::Sensitive
}

fn high() -> Severity {
    Severity::High
}

fn block() -> Action {
    Action::Block
}

/// A rule that does not hold for a while, for somebody or for some value.
#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExceptionForm {
    pub rule: String,
    pub owner: String,
    pub reason: String,
    pub expires: Day,
    #[serde(default)]
    pub tenants: Vec<String>,
    #[serde(default)]
    pub keys: Vec<String>,
    pub literal: Option<String>,
    pub regex: Option<String>,
}

/// Values, in every way they can be named.
#[derive(Default)]
struct Values {
    literals: HashSet<String>,
    hashes: HashSet<[u8; 32]>,
    regexes: Vec<meta::Regex>,
}

impl Values {
    fn new(literals: &[String], regexes: &[String], sha256: &[String]) -> Result<Self, String> {
        if literals.len() + regexes.len() + sha256.len() > VALUES_MAX {
            return Err(format!("more than {VALUES_MAX} values"));
        }
        let literals: HashSet<String> = literals.iter().map(|literal| normalised(literal)).collect();
        if literals.contains("") {
            return Err("a literal is empty".into());
        }
        let hash = |text: &String| {
            let mut hash = [0; 32];
            hex::decode_to_slice(text, &mut hash).map_err(|_| format!("{text:?} is no SHA-256 in 64 hexadecimal digits"))?;
            Ok::<_, String>(hash)
        };
        let hashes = sha256.iter().map(hash).collect::<Result<_, _>>()?;
        let regexes = regexes.iter().map(|pattern| regex(pattern)).collect::<Result<_, _>>()?;
        Ok(Self { literals, hashes, regexes })
    }

    fn is_empty(&self) -> bool {
        self.literals.is_empty() && self.hashes.is_empty() && self.regexes.is_empty()
    }

    /// Returns true for a value that is named here.
    fn holds(&self, value: &str) -> bool {
        if !self.literals.is_empty() || !self.hashes.is_empty() {
            let form = normalised(value);
            if self.literals.contains(&form) {
                return true;
            }
            if !self.hashes.is_empty() && self.hashes.contains::<[u8; 32]>(&Sha256::digest(&form).into()) {
                return true;
            }
        }
        !self.regexes.is_empty() && {
            let folded = folded(value);
            self.regexes.iter().any(|regex| regex.is_match(&folded))
        }
    }
}

/// Compiles an expression that has to match all of a value.
fn regex(pattern: &str) -> Result<meta::Regex, String> {
    // By itself first: no parenthesis of it may close ours.
    syntax::parse(pattern, false, None)?;
    let hir = syntax::parse(&format!(r"\A(?:{pattern})\z"), false, None)?;
    let config = meta::Config::new().nfa_size_limit(Some(1 << 20));
    meta::Builder::new()
        .configure(config)
        .build_from_hir(&hir)
        .map_err(|error| format!("the regular expression {pattern:?} is too large: {error}"))
}

/// One exception, ready to be asked.
struct Exception {
    path: PathBuf,
    line: u64,
    /// Index of the rule.
    rule: usize,
    form: ExceptionForm,
    /// None for every value.
    values: Option<Values>,
}

impl Exception {
    /// Returns true when it is for this caller.
    fn is_for(&self, tenant: &str, key: &str) -> bool {
        let named = |names: &[String], name: &str| names.is_empty() || names.iter().any(|known| known == name);
        named(&self.form.tenants, tenant) && named(&self.form.keys, key)
    }

    /// Returns the last day it holds.
    fn last(&self) -> Day {
        self.form.expires.plus(GRACE_DAYS)
    }

    /// Returns true when it is for this value.
    fn holds(&self, value: &str) -> bool {
        self.values.as_ref().is_none_or(|values| values.holds(value))
    }
}

/// All lists of a policy.
#[derive(Default)]
pub(crate) struct Lists {
    allow: Vec<Values>,
    deny: Vec<(Values, usize)>,
    /// For each rule, the lists that hold for it.
    by_rule: Vec<ByRule>,
    exceptions: Vec<Exception>,
}

#[derive(Default, Clone)]
struct ByRule {
    allow: Vec<usize>,
    deny: Vec<usize>,
}

/// The lists as written, each with its place.
#[derive(Default)]
pub(crate) struct ListForms {
    pub allow: Vec<Placed<AllowListForm>>,
    pub deny: Vec<Placed<DenyListForm>>,
    pub exceptions: Vec<Placed<ExceptionForm>>,
}

impl<T> Placed<T> {
    /// Returns a fault of this.
    pub(crate) fn fault(&self, subject: &str, reason: impl Into<String>) -> Fault {
        Fault { path: self.path.to_path_buf(), line: self.line, subject: subject.to_owned(), reason: reason.into() }
    }
}

impl Lists {
    /// Resolves the rules that lists name. `rules` holds the deny lists' own rules, too.
    pub(crate) fn new(forms: &ListForms, rules: &[Rule], faults: &mut Vec<Fault>) -> Self {
        let mut lists = Self { by_rule: vec![ByRule::default(); rules.len()], ..Self::default() };
        for list in &forms.allow {
            let subject = format!("allow_lists.{}", list.value.name);
            let AllowListForm { rules: ids, categories, literals, regexes, sha256, .. } = &list.value;
            let scope = scope(ids, categories, rules);
            match Values::new(literals, regexes, sha256) {
                Err(reason) => faults.push(list.fault(&subject, reason)),
                Ok(values) if values.is_empty() => faults.push(list.fault(&subject, NO_VALUES)),
                Ok(_) if scope.is_empty() => {
                    faults.push(list.fault(&subject, "say under rules or categories what is allowed these values"));
                }
                Ok(values) => {
                    scope.into_iter().for_each(|rule| lists.by_rule[rule].allow.push(lists.allow.len()));
                    lists.allow.push(values);
                }
            }
        }
        for list in &forms.deny {
            let subject = format!("deny_lists.{}", list.value.name);
            let Some(own) = rules.iter().position(|rule| rule.info.id == list.value.id()) else { continue };
            let DenyListForm { rules: ids, categories, literals, regexes, sha256, .. } = &list.value;
            let searched = list.value.is_searched();
            let (literals, regexes) = if searched { (&[][..], &[][..]) } else { (&literals[..], &regexes[..]) };
            let scope = match searched {
                // A hash can be compared with what rules find only: with all of that.
                true => scope(&[], &Category::ALL, rules),
                false => scope(ids, categories, rules),
            };
            match Values::new(literals, regexes, sha256) {
                Err(reason) => faults.push(list.fault(&subject, reason)),
                Ok(values) if !values.is_empty() => {
                    scope.into_iter().for_each(|rule| lists.by_rule[rule].deny.push(lists.deny.len()));
                    lists.deny.push((values, own));
                }
                Ok(_) => {}
            }
        }
        for exception in &forms.exceptions {
            lists.except(exception, rules, faults);
        }
        lists
    }

    fn except(&mut self, placed: &Placed<ExceptionForm>, rules: &[Rule], faults: &mut Vec<Fault>) {
        let form = &placed.value;
        let subject = format!("exceptions.{}", form.rule);
        if form.owner.trim().is_empty() || form.reason.trim().is_empty() {
            faults.push(placed.fault(&subject, "owner and reason must not be empty: somebody has to answer for it"));
        }
        // A rule that is disabled needs no exception; one that does not exist was told before.
        let Some(rule) = rules.iter().position(|rule| rule.info.id == form.rule) else { return };
        let (literal, regex) = (form.literal.as_slice(), form.regex.as_slice());
        let values = match Values::new(literal, regex, &[]) {
            Ok(values) => (!values.is_empty()).then_some(values),
            Err(reason) => return faults.push(placed.fault(&subject, reason)),
        };
        self.exceptions.push(Exception { path: placed.path.to_path_buf(), line: placed.line, rule, form: form.clone(), values });
    }

    /// Returns true when some list denies values that the rule finds.
    pub(crate) fn may_deny(&self, rule: usize) -> bool {
        self.by_rule.get(rule).is_some_and(|lists| !lists.deny.is_empty())
    }

    /// Returns the rule that a find belongs to in the end: its own, or that of the list that denies it. None when it is let off.
    pub(crate) fn judged(&self, rule: usize, piece: &str, encoding: Encoding, allowance: &Allowance) -> Option<usize> {
        if allowance.lets_off(piece) {
            return None;
        }
        let excepted = |rule| allowance.excepted().iter().filter_map(|at| self.exceptions.get(*at)).filter(move |e| e.rule == rule);
        let lists = self.by_rule.get(rule).filter(|lists| !lists.allow.is_empty() || !lists.deny.is_empty());
        if lists.is_none() && excepted(rule).next().is_none() {
            return Some(rule);
        }
        // What is more than one JSON value is compared as it is written.
        let value = decoded(piece, encoding).unwrap_or(piece.into());
        let mut denied = lists.into_iter().flat_map(|lists| &lists.deny).map(|list| &self.deny[*list]);
        let in_the_end = match denied.find(|(values, _)| values.holds(&value)) {
            Some((_, own)) => *own,
            None if lists.is_some_and(|lists| lists.allow.iter().any(|list| self.allow[*list].holds(&value))) => return None,
            None => rule,
        };
        (!excepted(in_the_end).any(|exception| exception.holds(&value))).then_some(in_the_end)
    }

    /// Returns what is let off for a caller on a day.
    pub(crate) fn allowance(&self, tenant: &str, key: &str, today: Day) -> Allowance {
        let holds = |exception: &Exception| exception.is_for(tenant, key) && today <= exception.last();
        let exceptions = self.exceptions.iter().enumerate().filter(|(_, exception)| holds(exception));
        let (places, expiries): (Vec<usize>, Vec<Day>) = exceptions.map(|(at, exception)| (at, exception.form.expires)).unzip();
        Allowance::excepting(places, expiries.into_iter().any(|expires| expires < today))
    }

    /// Lists the exceptions that have expired.
    pub(crate) fn notices(&self, today: Day) -> Vec<Notice> {
        let expired = self.exceptions.iter().filter(|exception| exception.form.expires < today);
        let notice = |exception: &Exception| Notice {
            path: exception.path.clone(),
            line: exception.line,
            rule: exception.form.rule.clone(),
            owner: exception.form.owner.clone(),
            expired: exception.form.expires,
            last: exception.last(),
            holds: today <= exception.last(),
        };
        expired.map(notice).collect()
    }
}

/// An exception that has expired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The file it is written in.
    pub path: PathBuf,
    /// Its line, from 1.
    pub line: u64,
    /// The rule it is from.
    pub rule: String,
    /// Who answers for it.
    pub owner: String,
    /// The day it expired.
    pub expired: Day,
    /// The last day it holds all the same.
    pub last: Day,
    /// Whether it still holds.
    pub holds: bool,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Notice { path, line, rule, owner, expired, last, holds } = self;
        write!(f, "{}:{line}: the exception from {rule} expired on {expired} ", path.display())?;
        match holds {
            true => write!(f, "and holds until {last}; {owner} has to renew or remove it"),
            false => write!(f, "and does not hold any more; {owner} has to remove it"),
        }
    }
}

const NO_VALUES: &str = "give at least one value under literals, regexes or sha256";

/// The rules that a list is for. An id without a rule was told before.
fn scope(ids: &[String], categories: &[Category], rules: &[Rule]) -> Vec<usize> {
    let in_scope = |rule: &Rule| {
        let info = &rule.info;
        info.pack != OWN_PACK && (categories.contains(&info.category) || ids.contains(&info.id))
    };
    (0..rules.len()).filter(|&rule| in_scope(&rules[rule])).collect()
}

impl DenyListForm {
    fn id(&self) -> String {
        own_id("DENY_LIST", &self.name).unwrap_or_default()
    }

    /// Whether its literals and expressions are searched in the texts, and not among what some rules find.
    fn is_searched(&self) -> bool {
        self.rules.is_empty() && self.categories.is_empty()
    }
}

impl Placed<DenyListForm> {
    /// Makes the list's own rule.
    pub(crate) fn rule(&self) -> Result<Rule, Fault> {
        let form = &self.value;
        let subject = format!("deny_lists.{}", form.name);
        let id = own_id("DENY_LIST", &form.name).map_err(|reason| self.fault(&subject, reason))?;
        if form.literals.is_empty() && form.regexes.is_empty() && form.sha256.is_empty() {
            return Err(self.fault(&subject, NO_VALUES));
        }
        if !matches!(form.action, Action::Flag | Action::Redact | Action::Block) {
            return Err(self.fault(&subject, "action must be flag, redact or block"));
        }
        if form.literals.iter().any(|literal| literal.trim().is_empty()) {
            return Err(self.fault(&subject, "a literal is empty"));
        }
        let searched = form.is_searched();
        let written = |list: &[String]| if searched { list.to_vec() } else { vec![] };
        let own = Own {
            id,
            title: format!("Deny list {}", form.name),
            category: form.category,
            severity: form.severity,
            why: "it is named in the policy's deny list",
            tags: vec![],
            directions: Direction::ALL.to_vec(),
            literals: written(&form.literals),
            patterns: written(&form.regexes),
            insensitive: true,
        };
        Ok(own.rule(self.path.to_path_buf(), self.line))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::Role;
    use crate::{Policy, StreamScreen, Text};

    const PACK: &str = r#"
pack: p
rules:
  - { id: EMAIL, title: t, category: pii, severity: medium, pattern: '[\w.+-]{1,64}@[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63}){1,4}', why: w,
      must_match: [a.b@c.de], must_not_match: [a@b] }
  - { id: CARD, title: t, category: pii, severity: high, pattern: '\b4(?:[ -]?\d){15}\b', why: w,
      must_match: ['4111 1111 1111 1111'], must_not_match: ['4111'] }
"#;

    fn load(more: &str) -> Result<Policy, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("p.yaml"), PACK).unwrap();
        let path = folder.path().join("policy.yaml");
        let actions = "{ pii: redact }";
        std::fs::write(&path, format!("name: p\npacks: [p.yaml]\nactions: {{ request: {actions}, response: {actions} }}\n{more}\n"))
            .unwrap();
        Policy::load(&path).map_err(|error| error.to_string().replace(&format!("{}/", folder.path().display()), ""))
    }

    fn policy(more: &str) -> Policy {
        load(more).unwrap_or_else(|error| panic!("{error}"))
    }

    fn found_with(policy: &Policy, text: &str, encoding: Encoding, allowance: &Allowance) -> Vec<(String, Action)> {
        let text = Text { role: Role::User, encoding, redactable: true, text };
        let findings = policy.screen_with(Direction::Request, &text, allowance);
        findings.iter().map(|finding| (finding.rule.id.clone(), finding.action)).collect()
    }

    fn found(policy: &Policy, text: &str) -> Vec<(String, Action)> {
        found_with(policy, text, Encoding::Plain, &Allowance::default())
    }

    fn one(id: &str, action: Action) -> Vec<(String, Action)> {
        vec![(id.to_owned(), action)]
    }

    #[test]
    fn what_is_allowed_is_no_finding_in_any_spelling() {
        let hash = hex::encode(Sha256::digest("4111111111111111"));
        let policy = policy(&format!(
            "allow_lists:\n  - {{ name: ours, rules: [EMAIL], literals: [Help@Acme.org], regexes: ['[a-z]+@test\\.org'] }}\n  - {{ name: test-cards, categories: [pii], sha256: [{hash}] }}"
        ));
        for text in ["help@acme.org", "HELP@acme.org", "joe@test.org", "4111 1111 1111 1111", "４１１１-1111-1111-1111"] {
            assert_eq!(found(&policy, text), [], "{text}");
        }
        for text in ["help@acme.org.cn", "joe@test.org.cn", "joe1@test.org", "xhelp@acme.org"] {
            assert_eq!(found(&policy, text), one("EMAIL", Action::Redact), "{text}");
        }
        assert_eq!(found(&policy, "4111 1111 1111 1112"), one("CARD", Action::Redact));
        let json = r#"{"a":"help\u0040acme.org"}"#;
        assert_eq!(found_with(&policy, json, Encoding::Json, &Allowance::default()), []);
    }

    #[test]
    fn what_is_denied_is_a_finding_of_its_list() {
        let hash = hex::encode(Sha256::digest("eve@evil.org"));
        let policy = policy(&format!(
            "deny_lists:\n  - {{ name: projects, literals: [Project Blue, 蓝天], regexes: ['PX-\\d{{4}}'] }}\n  - {{ name: people, category: pii, action: redact, sha256: [{hash}] }}\n  \
             - {{ name: cards, rules: [CARD], literals: ['4111111111111111'], action: flag }}\nallow_lists: [{{ name: a, rules: [EMAIL, CARD], regexes: ['.*'] }}]\n\
             tests: [{{ name: t, text: project blue, expect: block, rules: [DENY_LIST_PROJECTS] }}]\nrules: {{ CARD: {{ request: allow, response: allow }} }}"
        ));
        assert_eq!(policy.run_tests(), []);
        for text in ["the project  blue", "关于蓝天的", "px-1234", "ＰＸ-1234"] {
            assert_eq!(found(&policy, text), one("DENY_LIST_PROJECTS", Action::Block), "{text}");
        }
        assert_eq!(found(&policy, "projects blue, PX-12"), []);
        assert_eq!(found(&policy, "EVE@evil.org"), one("DENY_LIST_PEOPLE", Action::Redact), "denied before allowed");
        assert_eq!(found(&policy, "adam@evil.org"), []);
        assert_eq!(found(&policy, "4111-1111-1111-1111 4111-1111-1111-1112"), one("DENY_LIST_CARDS", Action::Flag));
    }

    #[test]
    fn lists_decide_in_a_stream_as_in_the_whole() {
        let policy = Arc::new(policy(
            "deny_lists: [{ name: d, action: redact, literals: [project blue] }, { name: e, rules: [EMAIL], action: redact, literals: [eve@evil.org] }]\n\
             allow_lists: [{ name: a, rules: [EMAIL], literals: [help@acme.org] }]",
        ));
        let text = "help@acme.org, eve@evil.org, joe@acme.org: Project Blue";
        let expected = "help@acme.org, [DENY_LIST_E], [EMAIL]: [DENY_LIST_D]";
        for cut in 0..text.len() {
            let mut stream = StreamScreen::new(Arc::clone(&policy), Direction::Response, Role::Assistant, Encoding::Plain);
            let steps = [stream.push(&text[..cut]), stream.push(&text[cut..]), stream.finish()];
            assert_eq!(steps.map(|step| step.text).concat(), expected, "cut at {cut}");
        }
    }

    #[test]
    fn an_exception_holds_for_its_callers_and_values_until_a_week_after_its_day() {
        let policy = policy(
            "exceptions:\n  - { rule: EMAIL, owner: ada, reason: migration, expires: 2026-03-31, tenants: [acme], literal: joe@acme.org }\n  \
             - { rule: CARD, owner: bob, reason: test cards, expires: 2026-12-31, keys: [k1], regex: '4111.*' }",
        );
        let on = |day: &str, tenant, key, text| {
            let allowance = policy.allowance(tenant, key, day.parse().unwrap());
            (found_with(&policy, text, Encoding::Plain, &allowance).is_empty(), allowance.is_lapsed())
        };
        assert_eq!(on("2026-03-31", "acme", "k", "joe@acme.org"), (true, false));
        assert_eq!(on("2026-04-01", "acme", "k", "joe@acme.org"), (true, true));
        assert_eq!(on("2026-04-07", "acme", "k", "joe@acme.org"), (true, true));
        assert_eq!(on("2026-04-08", "acme", "k", "joe@acme.org"), (false, false));
        assert_eq!(on("2026-03-31", "umbrella", "k", "joe@acme.org"), (false, false));
        assert_eq!(on("2026-03-31", "acme", "k", "jim@acme.org"), (false, false));
        assert_eq!(on("2026-03-31", "any", "k1", "4111 1111 1111 1111"), (true, false));
        assert_eq!(on("2026-03-31", "any", "k2", "4111 1111 1111 1111"), (false, false));
        assert_eq!(found(&policy, "joe@acme.org"), one("EMAIL", Action::Redact), "nobody and no day: no exception");
        let notices = |day: &str| policy.notices(day.parse().unwrap());
        assert_eq!(notices("2026-03-31"), []);
        let lapsed = notices("2026-04-07").remove(0).to_string();
        assert!(
            lapsed.ends_with(
                "policy.yaml:5: the exception from EMAIL expired on 2026-03-31 and holds until 2026-04-07; ada has to renew or remove it"
            ),
            "{lapsed}"
        );
        assert!(!notices("2026-04-08")[0].holds);
    }

    #[test]
    fn a_policys_test_may_say_who_and_when() {
        let exception = "exceptions: [{ rule: EMAIL, owner: a, reason: r, expires: 2026-03-31, tenants: [acme] }]\n";
        let test = |more: &str, expect: &str| {
            policy(&format!("{exception}tests: [{{ name: t, text: a@b.org, expect: {expect}{more} }}]")).run_tests().len()
        };
        assert_eq!(test(", tenant: acme, day: 2026-03-31", "allow"), 0);
        assert_eq!(test(", tenant: acme, day: 2026-04-08", "redact"), 0);
        assert_eq!(test(", tenant: acme", "redact"), 0);
    }

    #[test]
    fn wrong_lists_and_exceptions_are_refused_with_their_line() {
        let whole = "rule: EMAIL, owner: a, reason: r, expires: 2026-03-31";
        for (more, expected) in [
            ("allow_lists: [{ name: a, literals: [x] }]", "policy.yaml:4: allow_lists.a: say under rules or categories"),
            ("allow_lists: [{ name: a, rules: [EMAIL] }]", "allow_lists.a: give at least one value"),
            ("allow_lists: [{ name: a, rules: [MAIL], literals: [x] }]", "policy.yaml:4: allow_lists: no pack has a rule MAIL"),
            ("allow_lists: [{ name: a, rules: [EMAIL], regexes: ['('] }]", "allow_lists.a: pattern"),
            ("allow_lists: [{ name: a, rules: [EMAIL], regexes: ['a)|(?:b'] }]", "allow_lists.a: pattern"),
            ("allow_lists: [{ name: a, rules: [EMAIL], sha256: [abc] }]", "\"abc\" is no SHA-256"),
            ("deny_lists: [{ name: a }]", "policy.yaml:4: deny_lists.a: give at least one value"),
            ("deny_lists: [{ name: 'a b', literals: [x] }]", "name must be"),
            ("deny_lists: [{ name: a, literals: [x] }, { name: A, literals: [y] }]", "rule DENY_LIST_A: the id is already used"),
            ("deny_lists: [{ name: a, regexes: ['x+'] }]", "policy.yaml:4: rule DENY_LIST_A: pattern has no upper bound"),
            ("deny_lists: [{ name: a, literals: [' '] }]", "a literal is empty"),
            ("deny_lists: [{ name: a, literals: [x], action: allow }]", "action must be"),
            (&format!("exceptions: [{{ {whole}, until: x }}]"), "until"),
            (&format!("exceptions: [{{ {} }}]", whole.replace("03-31", "02-30")), "`2026-02-30` is no day"),
            (
                &format!("exceptions: [{{ {} }}]", whole.replace("owner: a", "owner: ''")),
                "policy.yaml:4: exceptions.EMAIL: owner and reason",
            ),
            (&format!("exceptions: [{{ {} }}]", whole.replace("EMAIL", "MAIL")), "policy.yaml:4: exceptions: no pack has a rule MAIL"),
            ("exceptions: [{ rule: EMAIL, reason: r, expires: 2026-03-31 }]", "owner"),
        ] {
            let error = load(more).err().unwrap_or_default();
            assert!(error.contains(expected), "{more}: {error}");
        }
    }
}
