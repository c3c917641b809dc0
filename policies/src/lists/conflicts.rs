//! Values that an allow list and a deny list both name: the deny list wins, which may not be what was meant.

use std::collections::HashMap;

use regex_automata::meta;

use super::ListForms;
use super::form::DenyListForm;
use super::values::{Written, digest, hash, searched, whole};
use crate::error::Fault;
use crate::inherit::Placed;
use crate::pack::Rule;
use crate::value::{folded, normalised};

/// Most conflicts that are told of.
const CONFLICTS_MAX: usize = 100;
/// Most of a value that is shown, in characters.
const VALUE_SHOWN: usize = 60;

/// A value as it is written, with its line.
type Place<'a> = (&'a str, u64);

/// The values of one list, by the form they are compared in.
struct Named<'a> {
    literals: HashMap<String, Place<'a>>,
    hashes: HashMap<[u8; 32], Place<'a>>,
    regexes: Vec<(meta::Regex, Place<'a>)>,
}

impl<'a> Named<'a> {
    fn new(written: Written<'a>, compile: &dyn Fn(&str) -> Result<meta::Regex, String>) -> Self {
        let literals = written.literals.iter().map(|value| (normalised(&value.value), (value.value.as_str(), value.referenced.line())));
        let hashes =
            written.sha256.iter().filter_map(|value| Some((hash(&value.value).ok()?, (value.value.as_str(), value.referenced.line()))));
        let regexes =
            written.regexes.iter().filter_map(|value| Some((compile(&value.value).ok()?, (value.value.as_str(), value.referenced.line()))));
        Self { literals: literals.collect(), hashes: hashes.collect(), regexes: regexes.collect() }
    }

    /// Returns the first expression that takes a literal.
    fn taken(&self, literal: &str) -> Option<Place<'a>> {
        let folded = folded(literal);
        self.regexes.iter().find(|(regex, _)| regex.is_match(&folded)).map(|(_, place)| *place)
    }
}

/// Lists what is both allowed and denied, at the place where it is allowed.
pub(crate) fn conflicts(forms: &ListForms, rules: &[Rule]) -> Vec<Fault> {
    let mut faults = Vec::new();
    let denied: Vec<(&Placed<DenyListForm>, Named<'_>)> = forms
        .deny
        .iter()
        .map(|list| (list, Named::new(list.value.written(), if list.value.is_searched() { &searched } else { &whole })))
        .collect();
    for allow in &forms.allow {
        let (named, scope) = (Named::new(allow.value.written(), &whole), allow.value.scope(rules));
        for (deny, others) in &denied {
            let concerns = deny.value.is_searched() || deny.value.scope(rules).iter().any(|rule| scope.contains(rule));
            if !concerns {
                continue;
            }
            for (allowed, denied, how) in both(&named, others) {
                let subject = format!("allow_lists.{}", allow.value.name);
                let (value, line) = (shown(allowed.0), allowed.1);
                let (by, place) = (&deny.value.name, format!("{}:{}", deny.path.display(), denied.1));
                let denied = shown(denied.0);
                let reason = match how {
                    How::Same => format!("{value} is on deny_lists.{by}, too ({place}); what is denied is never allowed"),
                    How::Hash => {
                        format!("{value} is {denied} of deny_lists.{by} ({place}), one of them as a hash; what is denied is never allowed")
                    }
                    How::Allowed => format!("{value} matches {denied} of deny_lists.{by} ({place}); what is denied is never allowed"),
                    How::Denied => format!("{value} matches {denied} of deny_lists.{by} ({place}), which stays denied"),
                };
                faults.push(Fault { path: allow.path.to_path_buf(), line, subject, reason });
            }
        }
    }
    faults.sort_by(|a, b| (&a.path, a.line, &a.reason).cmp(&(&b.path, b.line, &b.reason)));
    if let Some(last) = faults.get(CONFLICTS_MAX).cloned() {
        let more = faults.len() - CONFLICTS_MAX;
        faults.truncate(CONFLICTS_MAX);
        faults.push(Fault { reason: format!("and {more} more values that are both allowed and denied"), ..last });
    }
    faults
}

/// How a value comes to be on both lists.
enum How {
    /// Written alike.
    Same,
    /// One is the hash of the other.
    Hash,
    /// An allowed literal that an expression denies.
    Allowed,
    /// A denied literal that an expression allows.
    Denied,
}

/// Pairs what is allowed with what is denied.
fn both<'a>(allow: &Named<'a>, deny: &Named<'a>) -> Vec<(Place<'a>, Place<'a>, How)> {
    let mut both = Vec::new();
    for (form, &allowed) in &allow.literals {
        if let Some(&denied) = deny.literals.get(form) {
            both.push((allowed, denied, How::Same));
        } else if let Some(&denied) = deny.hashes.get(&digest(form)) {
            both.push((allowed, denied, How::Hash));
        } else if let Some(denied) = deny.taken(allowed.0) {
            both.push((allowed, denied, How::Allowed));
        }
    }
    for (form, &denied) in deny.literals.iter().filter(|(form, _)| !allow.literals.contains_key(*form)) {
        if let Some(&allowed) = allow.hashes.get(&digest(form)) {
            both.push((allowed, denied, How::Hash));
        } else if let Some(allowed) = allow.taken(denied.0) {
            both.push((allowed, denied, How::Denied));
        }
    }
    let same_hash = allow.hashes.iter().filter_map(|(hash, &allowed)| Some((allowed, *deny.hashes.get(hash)?, How::Same)));
    both.extend(same_hash);
    for (_, allowed) in &allow.regexes {
        both.extend(deny.regexes.iter().filter(|(_, denied)| denied.0 == allowed.0).map(|(_, denied)| (*allowed, *denied, How::Same)));
    }
    both
}

fn shown(value: &str) -> String {
    let cut: String = value.chars().take(VALUE_SHOWN).collect();
    format!("`{}`", cut.escape_debug())
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use crate::{Direction, Encoding, Policy, Role, Text};

    const PACK: &str = r#"
pack: p
rules:
  - { id: EMAIL, title: t, category: pii, severity: medium, pattern: '[\w.+-]{1,64}@[a-z0-9.-]{1,63}', why: w, must_match: [a.b@c.de], must_not_match: [a@] }
  - { id: CARD, title: t, category: pii, severity: high, pattern: '\b4(?:[ -]?\d){15}\b', why: w, must_match: ['4111 1111 1111 1111'], must_not_match: ['4111'] }
"#;

    fn policy(lists: &str) -> (tempfile::TempDir, Policy) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("p.yaml"), PACK).unwrap();
        let path = folder.path().join("policy.yaml");
        std::fs::write(&path, format!("name: p\npacks: [p.yaml]\nactions: {{ request: {{ pii: redact }} }}\n{lists}")).unwrap();
        let policy = Policy::load(&path).unwrap_or_else(|error| panic!("{error}"));
        (folder, policy)
    }

    fn told(lists: &str) -> Vec<(u64, String)> {
        let (folder, policy) = policy(lists);
        let place = format!("{}/", folder.path().display());
        policy.oddities().into_iter().map(|odd| (odd.line, format!("{}: {}", odd.subject, odd.reason).replace(&place, ""))).collect()
    }

    fn lists(allow: &str, deny: &str) -> String {
        format!("allow_lists:\n  - name: a\n    rules: [EMAIL]\n    {allow}\ndeny_lists:\n  - name: d\n    {deny}\n")
    }

    #[test]
    fn a_value_on_both_lists_is_told_with_both_places() {
        let hash = hex::encode(Sha256::digest("eve@evil.org"));
        for (allow, deny, expected) in [
            (
                "literals: [x@y.z, Eve@evil.org]",
                "literals: [eve@EVIL.org]",
                "`Eve@evil.org` is on deny_lists.d, too (policy.yaml:10); what is denied is never",
            ),
            ("literals: [eve@evil.org]", &format!("sha256: [{hash}]"), "one of them as a hash"),
            (&format!("sha256: [{hash}]"), "literals: [eve@evil.org]", "one of them as a hash"),
            (&format!("sha256: [{hash}]"), &format!("sha256: [{hash}]"), "is on deny_lists.d, too"),
            ("regexes: ['.*@evil\\.org']", "{ regexes: ['.*@evil\\.org'], rules: [EMAIL] }", "is on deny_lists.d, too"),
            (
                "literals: [eve@evil.org]",
                "regexes: ['@EVIL\\.org']",
                "`eve@evil.org` matches `@EVIL\\\\.org` of deny_lists.d (policy.yaml:10)",
            ),
            (
                "regexes: ['.*@evil\\.org']",
                "literals: [eve@evil.org]",
                "`.*@evil\\\\.org` matches `eve@evil.org` of deny_lists.d (policy.yaml:10), which stays denied",
            ),
        ] {
            let deny = deny.trim_matches(['{', '}', ' ']).replace(", rules:", "\n    rules:");
            let told = told(&lists(allow, &deny));
            assert_eq!(told.len(), 1, "{allow} {deny}: {told:?}");
            assert!(told[0].0 == 7 && told[0].1.starts_with("allow_lists.a: ") && told[0].1.contains(expected), "{allow} {deny}: {told:?}");
        }
    }

    #[test]
    fn lists_that_cannot_meet_are_no_conflict() {
        for (allow, deny) in [
            ("literals: [eve@evil.org]", "literals: [adam@evil.org]"),
            ("literals: [eve@evil.org]", "literals: [eve@evil.org]\n    rules: [CARD]"),
            ("literals: [eve@evil.org]", "regexes: ['eve']\n    rules: [EMAIL]"),
            ("regexes: ['.*@evil\\.org']", "literals: [evil.org]"),
        ] {
            assert_eq!(told(&lists(allow, deny)), [], "{allow} {deny}");
        }
    }

    #[test]
    fn no_more_are_told_than_somebody_reads() {
        let many: Vec<String> = (0..150).map(|n| format!("a{n}@b.c")).collect();
        let many = format!("literals: [{}]", many.join(", "));
        let told = told(&lists(&many, &many));
        assert_eq!(told.len(), super::CONFLICTS_MAX + 1);
        assert!(told[super::CONFLICTS_MAX].1.contains("and 50 more values"), "{:?}", told[super::CONFLICTS_MAX]);
    }

    #[test]
    fn what_is_on_both_lists_is_denied() {
        for deny in ["literals: [eve@evil.org]", "regexes: ['@evil\\.org']", "literals: [eve@evil.org]\n    rules: [EMAIL]"] {
            let (_folder, policy) = policy(&lists("literals: [eve@evil.org]", deny));
            let text = Text { role: Role::User, encoding: Encoding::Plain, redactable: true, text: "to eve@evil.org" };
            let findings = policy.screen(Direction::Request, &text);
            assert_eq!(findings.iter().map(|finding| finding.rule.id.as_str()).collect::<Vec<_>>(), ["DENY_LIST_D"], "{deny}");
        }
    }
}
