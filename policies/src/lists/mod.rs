//! Values that are named one by one: what is allowed, what is denied, and what is excepted for a while.
//!
//! A value is compared in the form that its spellings share (`value::normalised`); a regular expression has to match all of it. Whether a
//! find is let off or denied depends on nothing but its own text, so a stream decides as the whole text does. What is denied is never
//! allowed; an exception lets off both.

mod conflicts;
mod exception;
mod form;
mod values;

pub(crate) use conflicts::conflicts;
use exception::Exception;
pub(crate) use exception::ExceptionForm;
pub use exception::Notice;
use form::NO_VALUES;
pub(crate) use form::{AllowListForm, DenyListForm};
use values::Values;

use crate::allowance::Allowance;
use crate::day::Day;
use crate::error::Fault;
use crate::inherit::Placed;
use crate::model::Encoding;
use crate::pack::Rule;
use crate::value::decoded;

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
            let scope = list.value.scope(rules);
            match Values::new(list.value.written()) {
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
            let (written, scope) = list.value.compared(rules);
            match Values::new(written) {
                Err(reason) => faults.push(list.fault(&subject, reason)),
                Ok(values) if !values.is_empty() => {
                    scope.into_iter().for_each(|rule| lists.by_rule[rule].deny.push(lists.deny.len()));
                    lists.deny.push((values, own));
                }
                Ok(_) => {}
            }
        }
        lists.exceptions = forms.exceptions.iter().filter_map(|exception| Exception::new(exception, rules, faults)).collect();
        lists
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
        let in_force = self.exceptions.iter().enumerate().filter(|(_, exception)| exception.is_in_force(tenant, key, today));
        let (places, expired): (Vec<usize>, Vec<bool>) = in_force.map(|(at, exception)| (at, exception.is_expired(today))).unzip();
        Allowance::excepting(places, expired.contains(&true))
    }

    /// Lists the exceptions that have expired.
    pub(crate) fn notices(&self, today: Day) -> Vec<Notice> {
        self.exceptions.iter().filter(|exception| exception.is_expired(today)).map(|exception| exception.notice(today)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sha2::{Digest, Sha256};

    use super::*;
    use crate::model::{Action, Direction, Role};
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
