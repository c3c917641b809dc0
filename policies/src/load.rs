//! Loading: files read, rules checked and compiled, every rule proved by its own examples.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::choice::ChoiceForm;
use crate::compile;
use crate::error::{Fault, PolicyError};
use crate::file;
use crate::inherit::{self, Settings, Source};
use crate::lists::Lists;
use crate::model::{Action, Category, Direction, Encoding, Redaction};
use crate::pack::{self, Example, RULES_MAX, Rule};
use crate::policy::{Loaded, Policy};
use crate::proved;
use crate::scan::Engine;
use crate::style::{KEY_BYTES_MIN, Key};
use crate::threads;
use crate::view::Views;

/// Examples are proved at this threshold, whatever the policy's own is: a pack is right or wrong by itself.
const EXAMPLE_THRESHOLD: f32 = 0.5;
/// Most of an example that an error shows, in characters.
const EXAMPLE_SHOWN: usize = 80;

/// Gives the value of an environment variable.
pub(crate) type Variable<'v> = dyn Fn(&str) -> Option<Zeroizing<String>> + 'v;

/// The files a policy is made of, as they are read: their names in order, and the version that their bytes make.
pub(crate) struct Reading<'a> {
    files: &'a mut Vec<PathBuf>,
    hash: Sha256,
}

impl<'a> Reading<'a> {
    /// Nothing read; `files` is emptied, and names every file that is asked for from now on, also one that cannot be read.
    pub(crate) fn new(files: &'a mut Vec<PathBuf>) -> Self {
        files.clear();
        Self { files, hash: Sha256::new() }
    }

    /// Reads one file. It enters the version with its length, so that no two lists of files give the same bytes.
    pub(crate) fn read(&mut self, path: &Path) -> Result<String, PolicyError> {
        self.files.push(path.to_path_buf());
        let text = file::read(path)?;
        self.hash.update((text.len() as u64).to_le_bytes());
        self.hash.update(text.as_bytes());
        Ok(text)
    }

    /// Returns the version of what was read: the first 16 hex digits of SHA-256.
    pub(crate) fn version(self) -> String {
        hex::encode(self.hash.finalize())[..16].to_owned()
    }
}

/// Returns the version that the files have now; none when one of them cannot be read.
pub(crate) fn version_of(files: &[PathBuf]) -> Option<String> {
    let mut read = Vec::with_capacity(files.len());
    let mut reading = Reading::new(&mut read);
    for file in files {
        reading.read(file).ok()?;
    }
    Some(reading.version())
}

/// How much of what was proved before is proved again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// Nothing: the shipped packs as they are were proved where the program was built, all others are proved now.
    Needed,
    /// Everything.
    All,
}

/// Loads a policy, what it extends, and the packs they name. `files` becomes the list of files it was looked for in.
pub(crate) fn load(path: &Path, files: &mut Vec<PathBuf>, proof: Proof, variable: &Variable<'_>) -> Result<Policy, PolicyError> {
    let mut reading = Reading::new(files);
    let sources = inherit::sources(path, &mut reading)?;
    let mut faults: Vec<Fault> = sources.iter().flat_map(written).collect();
    let mut rules = Vec::new();
    for path in packs(&sources, &mut faults) {
        let yaml = reading.read(&path)?;
        let is_proved = proof == Proof::Needed && proved::is_proved(&yaml);
        rules.extend(pack::parse(&path, &yaml, is_proved, &mut faults).map_err(file::hinted)?);
    }
    let settings = Settings::new(&sources);
    let own_actions = own_rules(&settings, &mut rules, &mut faults);
    unique(&rules, &mut faults);
    sources.iter().for_each(|source| named(source, &rules, &mut faults));
    undisabled(&sources, &mut faults);
    let key = key(&sources, variable, &mut faults);
    guard(path, &settings, &mut faults);
    rules.retain(|rule| !sources.iter().any(|source| source.form.disable.iter().any(|id| id.value == rule.info.id)));
    let lists = Lists::new(&settings.lists, &rules, &mut faults);
    let mut engine = engine(rules, &mut faults).map_err(|reason| fault(path, 1, "packs", reason))?;
    faults.extend(unproved(&engine));
    engine.forget();
    if !faults.is_empty() {
        return Err(PolicyError::Faults(faults));
    }
    let version = reading.version();
    Policy::new(Loaded { settings, engine, version, files: files.clone(), key, lists, own_actions })
        .map_err(|reason| PolicyError::Faults(vec![fault(path, 1, "packs", reason)]))
}

/// Makes the rules that the policy brings itself, and says what each does where nothing else is said.
fn own_rules(settings: &Settings, rules: &mut Vec<Rule>, faults: &mut Vec<Fault>) -> HashMap<String, Action> {
    let mut actions = HashMap::new();
    let lists = settings.lists.deny.iter().map(|list| (list.value.action, list.rule()));
    let canaries = settings.canaries.iter().map(|canary| (canary.value.action, canary.rule()));
    for (action, rule) in lists.chain(canaries) {
        match rule {
            Ok(rule) => {
                actions.insert(rule.info.id.clone(), action);
                rules.push(rule);
            }
            Err(fault) => faults.push(fault),
        }
    }
    actions
}

/// Lists the packs of all files, each with the path it has from here. One that a base has already is not taken twice.
fn packs(sources: &[Source], faults: &mut Vec<Fault>) -> Vec<PathBuf> {
    let mut packs: Vec<PathBuf> = Vec::new();
    for source in sources {
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        let of_bases: HashSet<PathBuf> = packs.iter().map(|path| real(path)).collect();
        let named = source.form.packs.iter().flatten().map(|name| source.beside(&name.value));
        packs.extend(named.filter(|path| !of_bases.contains(&real(path))));
    }
    if let (None, Some(last)) = (sources.iter().find(|source| source.form.packs.is_some()), sources.last()) {
        faults.push(last.fault(1, "packs", "name the packs, or extend a policy that does"));
    }
    packs
}

impl From<Fault> for PolicyError {
    fn from(fault: Fault) -> Self {
        PolicyError::Faults(vec![fault])
    }
}

fn fault(path: &Path, line: u64, subject: &str, reason: String) -> Fault {
    Fault { path: path.to_path_buf(), line, subject: subject.to_owned(), reason }
}

/// Checks what the classifier's scores mean together.
fn guard(path: &Path, settings: &Settings, faults: &mut Vec<Fault>) {
    let (unit, guard) = (0.0..=1.0, settings.guard);
    if !unit.contains(&guard.flag_at) || !unit.contains(&guard.block_at) || guard.flag_at > guard.block_at {
        let reason = "flag_at and block_at must be between 0 and 1, flag_at not above block_at";
        faults.push(fault(path, 1, "guard", reason.into()));
    }
}

/// Checks the values of one policy file by themselves.
fn written(source: &Source) -> Vec<Fault> {
    let (path, form) = (&*source.path, &source.form);
    let mut faults = Vec::new();
    let unit = 0.0..=1.0;
    if form.threshold.is_some_and(|threshold| !unit.contains(&threshold)) {
        faults.push(fault(path, 1, "threshold", "must be between 0 and 1".into()));
    }
    if let Some(reason) = form.refusal_messages.fault() {
        faults.push(fault(path, 1, "refusal_messages", reason));
    }
    for direction in Direction::ALL {
        for (category, choice) in form.actions.of(direction) {
            let subject = format!("actions.{}.{}", direction.as_str(), category.as_str());
            choices(path, choice.referenced.line(), &subject, direction, &choice.value, &mut faults);
        }
    }
    for (id, own) in &form.rules {
        let line = own.referenced.line();
        if own.value.threshold.is_some_and(|threshold| !unit.contains(&threshold)) {
            faults.push(fault(path, line, &format!("rules.{id}.threshold"), "must be between 0 and 1".into()));
        }
        if form.disable.iter().any(|disabled| disabled.value == *id) {
            faults.push(fault(path, line, &format!("rules.{id}"), "the rule is also listed under disable; keep one of the two".into()));
        }
        for direction in Direction::ALL {
            if let Some(choice) = own.value.of(direction) {
                choices(path, line, &format!("rules.{id}.{}", direction.as_str()), direction, choice, &mut faults);
            }
        }
    }
    faults
}

/// Reads the key that the policy's styles of redaction need.
fn key(sources: &[Source], variable: &Variable<'_>, faults: &mut Vec<Fault>) -> Option<Key> {
    let keyed = |style: Redaction| matches!(style, Redaction::Hash | Redaction::Synthetic);
    let named = sources.iter().rev().find_map(|source| Some((source, source.form.redaction.key_env.as_ref()?)));
    let Some((source, name)) = named else {
        for source in sources {
            if let Some(category) = Category::ALL.into_iter().find(|category| source.form.redaction.of(*category).is_some_and(keyed)) {
                faults.push(source.fault(1, &format!("redaction.{}", category.as_str()), KEY_MISSING));
            }
            for (id, own) in source.form.rules.iter().filter(|(_, own)| own.value.redaction.is_some_and(|style| keyed(style.0))) {
                faults.push(source.fault(own.referenced.line(), &format!("rules.{id}.redaction"), KEY_MISSING));
            }
        }
        return None;
    };
    let (line, name) = (name.referenced.line(), &name.value);
    let Some(secret) = variable(name) else {
        let reason = format!("the environment has no variable `{name}`; export it before the start");
        faults.push(source.fault(line, "redaction.key_env", reason));
        return None;
    };
    let key = Key::new(secret);
    if key.is_none() {
        let reason = format!("the variable `{name}` holds less than {KEY_BYTES_MIN} bytes; `openssl rand -hex 32` makes a good key");
        faults.push(source.fault(line, "redaction.key_env", reason));
    }
    key
}

const KEY_MISSING: &str = "hash and synthetic need a key: name the environment variable that holds it under redaction.key_env";

/// Finds what cannot be meant in one choice of actions.
fn choices(path: &Path, line: u64, subject: &str, direction: Direction, choice: &ChoiceForm, faults: &mut Vec<Fault>) {
    for (own_line, reason) in choice.contradictions() {
        faults.push(fault(path, own_line.unwrap_or(line), subject, reason));
    }
    if direction == Direction::Response && choice.actions().contains(&Action::Pseudonymize) {
        let reason = "an answer is where pseudonyms are put back, so nothing can be pseudonymized in it; write redact";
        faults.push(fault(path, line, subject, reason.into()));
    }
}

/// Finds ids used twice, and too many rules.
fn unique(rules: &[Rule], faults: &mut Vec<Fault>) {
    let mut seen: HashMap<&str, &Rule> = HashMap::new();
    for rule in rules {
        if let Some(first) = seen.insert(&rule.info.id, rule) {
            let place = format!("{}:{}", first.origin.path.display(), first.origin.line);
            faults.push(rule.fault(format!("the id is already used at {place}")));
        }
    }
    if let Some(rule) = rules.get(RULES_MAX) {
        faults.push(rule.fault(format!("more than {RULES_MAX} rules")));
    }
}

/// Finds rule ids in a policy file that no pack has.
fn named(source: &Source, rules: &[Rule], faults: &mut Vec<Fault>) {
    let form = &source.form;
    let known = |id: &str| rules.iter().any(|rule| rule.info.id == id);
    let disabled = form.disable.iter().map(|id| (&id.value, id.referenced.line(), "disable"));
    let overridden = form.rules.iter().map(|(id, form)| (id, form.referenced.line(), "rules"));
    let tested = form.tests.iter().flat_map(|test| test.value.rules.iter().map(|id| (id, test.referenced.line(), "tests")));
    let excepted = form.exceptions.iter().map(|written| (&written.value.rule, written.referenced.line(), "exceptions"));
    let allowed = form.allow_lists.iter().flat_map(|list| list.value.rules.iter().map(|id| (id, list.referenced.line(), "allow_lists")));
    let denied = form.deny_lists.iter().flat_map(|list| list.value.rules.iter().map(|id| (id, list.referenced.line(), "deny_lists")));
    for (id, line, subject) in disabled.chain(overridden).chain(tested).chain(excepted).chain(allowed).chain(denied) {
        if !known(id) {
            let hint = file::closest(id, rules.iter().map(|rule| rule.info.id.as_str()));
            let hint = hint.map(|known| format!("; did you mean `{known}`?")).unwrap_or_default();
            faults.push(source.fault(line, subject, format!("no pack has a rule {id}{hint}")));
        }
    }
}

/// Finds overrides of rules that a base has disabled: they would do nothing.
fn undisabled(sources: &[Source], faults: &mut Vec<Fault>) {
    for (at, source) in sources.iter().enumerate() {
        for (id, own) in &source.form.rules {
            let in_base =
                sources[..at].iter().find_map(|base| Some((base, base.form.disable.iter().find(|disabled| disabled.value == *id)?)));
            if let Some((base, disabled)) = in_base {
                let reason = format!("the rule is disabled in {}:{}", base.path.display(), disabled.referenced.line());
                faults.push(source.fault(own.referenced.line(), &format!("rules.{id}"), reason));
            }
        }
    }
}

fn engine(rules: Vec<Rule>, faults: &mut Vec<Fault>) -> Result<Engine, String> {
    let matchers = compile::compile(&rules, faults)?;
    Ok(Engine::new(rules, matchers))
}

/// Runs the examples of every rule that was not proved before, on all cores, and lists those that come out wrong.
fn unproved(engine: &Engine) -> Vec<Fault> {
    let rules: Vec<(usize, &Rule)> = engine.rules.iter().enumerate().filter(|(_, rule)| !rule.is_proved).collect();
    threads::each(&rules, |_, (index, rule)| unproved_rule(engine, *index, rule)).into_iter().flatten().collect()
}

fn unproved_rule(engine: &Engine, index: usize, rule: &Rule) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut floors = vec![f32::INFINITY; engine.rules.len()];
    floors[index] = 0.0;
    let score = |text: &str| {
        let views = Views::new(text, Encoding::Plain, true);
        let candidates = engine.candidates(&views, 0, &floors);
        candidates.iter().map(|candidate| candidate.score).max_by(f32::total_cmp)
    };
    let found = |text: &str| score(text).is_some_and(|score| score >= EXAMPLE_THRESHOLD);
    let weak = |text: &str| score(text).is_some_and(|score| score < EXAMPLE_THRESHOLD);
    let mut prove = |list: &str, examples: &[Example], holds: &dyn Fn(&str) -> bool, wrong: &str| {
        for (i, example) in examples.iter().enumerate().filter(|(_, example)| !holds(&example.text)) {
            faults.push(rule.fault_at(example.line, format!("{list} example {i} {wrong}: {}", shown(&example.text))));
        }
    };
    prove("must_match", &rule.must_match, &found, "is not found");
    prove("weak_match", &rule.weak_match, &weak, "is not found with a score below 0.5");
    prove("must_not_match", &rule.must_not_match, &|text| !found(text), "is found");
    engine.forget_rule(index);
    if !Direction::ALL.iter().any(|&direction| rule.scope.holds_any(direction)) {
        faults.push(rule.fault("applies to no text"));
    }
    faults
}

fn shown(text: &str) -> String {
    let cut: String = text.chars().take(EXAMPLE_SHOWN).collect();
    format!("{cut:?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Mode;

    fn error(policy: &str, pack: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("p.yaml"), pack).unwrap();
        let path = folder.path().join("policy.yaml");
        std::fs::write(&path, policy).unwrap();
        let variable = |name: &str| match name {
            "GOOD_KEY" => Some(Zeroizing::new("0123456789abcdef".to_owned())),
            "SHORT_KEY" => Some(Zeroizing::new("0123".to_owned())),
            _ => None,
        };
        match load(&path, &mut Vec::new(), Proof::Needed, &variable) {
            Ok(_) => String::new(),
            Err(error) => error.to_string().replace(&format!("{}/", folder.path().display()), ""),
        }
    }

    fn rule(extra: &str) -> String {
        let examples = "must_match: [abc1], must_not_match: [x]";
        format!("pack: p\nrules:\n  - {{ id: R, title: t, category: pii, severity: low, why: w, {examples}, {extra} }}\n")
    }

    const POLICY: &str = "name: p\npacks: [p.yaml]\n";

    #[test]
    fn a_good_rule_loads() {
        assert_eq!(error(POLICY, &rule("pattern: 'abc\\d'")), "");
    }

    #[test]
    fn a_bad_rule_is_refused_with_its_file_line_id_and_a_hint() {
        for (extra, expected) in [
            ("pattern: 'abc\\d+'", "pattern has no upper bound"),
            ("pattern: '(?=a)abc1'", "look-around"),
            ("pattern: 'a{0,3}'", "matches the empty text"),
            ("pattern: 'abc\\d', check: lunh", "unknown check lunh; did you mean luhn?"),
            ("pattern: 'abc\\d', group: 1", "group 1 does not exist"),
            ("pattern: 'abc\\d', literals: [a]", "give either pattern"),
            ("pattern: 'abc\\d', score: 1.5", "score must be between"),
            ("pattern: 'abd\\d'", "must_match example 0 is not found: \"abc1\""),
            ("pattern: 'abc\\d|x'", "must_not_match example 0 is found: \"x\""),
            ("pattern: 'abc\\d', weak_match: [abc2]", "weak_match example 0 is not found with a score below 0.5: \"abc2\""),
            ("pattern: 'abc\\d', variants: [{ pattern: 'x{1,9}y', score: 2 }]", "the variant in line 3: score must be"),
        ] {
            let error = error(POLICY, &rule(extra));
            assert!(error.starts_with("p.yaml:3: rule R: ") && error.contains(expected), "{extra}: {error}");
        }
        let unknown = error(POLICY, &rule("pattern: 'abc\\d', scroe: 1"));
        assert!(unknown.starts_with("p.yaml:3") && unknown.contains("scroe"), "{unknown}");
    }

    #[test]
    fn a_variant_asks_what_it_says_itself_and_else_what_the_rule_says() {
        let weak = "pattern: 'abc\\d', keywords: [abc], variants: [{ pattern: 'def\\d', keywords: [], score: 0.3 }], weak_match: [def1]";
        assert_eq!(error(POLICY, &rule(weak)), "");
        let kept = "pattern: 'abc\\d', keywords: [abc], variants: [{ pattern: 'def\\d', score: 0.3 }], weak_match: [def1]";
        assert!(error(POLICY, &rule(kept)).contains("weak_match example 0"), "the rule's keyword stays asked for");
    }

    #[test]
    fn a_bad_policy_is_refused_too() {
        let pack = rule("pattern: 'abc\\d'");
        for (policy, expected) in [
            ("name: p\npacks: [q.yaml]\n", "q.yaml: cannot be read"),
            ("name: p\npacks: [p.yaml, p.yaml]\n", "the id is already used at p.yaml:3"),
            ("name: p\npacks: [p.yaml]\ndisable: [S]\n", "policy.yaml:3: disable: no pack has a rule S"),
            ("name: p\npacks: [p.yaml]\nrules: { S: { request: block } }\n", "no pack has a rule S"),
            ("name: p\npacks: [p.yaml]\nthreshold: 2\n", "threshold: must be between"),
            ("name: p\npacks: [p.yaml]\nmodus: monitor\n", "modus"),
            (
                "name: p\npacks: [p.yaml]\nactions: { request: { pii: { low: block, high: flag } } }\n",
                "policy.yaml:3: actions.request.pii: high is milder than low",
            ),
            (
                "name: p\npacks: [p.yaml]\nactions:\n  request:\n    pii:\n      - { action: flag }\n      - { severity: low, action: block }\n",
                "policy.yaml:7: actions.request.pii: this case is never reached: the one in line 6",
            ),
            ("name: p\npacks: [p.yaml]\nactions: { response: { pii: pseudonymize } }\n", "actions.response.pii: an answer is where"),
            ("name: p\npacks: [p.yaml]\nactions: { request: { pii: flag, pii: block } }\n", "duplicate"),
            ("name: p\npacks: [p.yaml]\ndisable: [R]\nrules: { R: { request: block } }\n", "also listed under disable"),
            ("name: p\npacks: [p.yaml]\nredaction: { pii: hash }\n", "redaction.pii: hash and synthetic need a key"),
            ("name: p\npacks: [p.yaml]\nrules: { R: { redaction: synthetic } }\n", "policy.yaml:3: rules.R.redaction: hash and"),
            ("name: p\npacks: [p.yaml]\nredaction: { key_env: NO_KEY }\n", "policy.yaml:3: redaction.key_env: the environment has no"),
            ("name: p\npacks: [p.yaml]\nredaction: { key_env: SHORT_KEY }\n", "`SHORT_KEY` holds less than 16 bytes"),
            ("name: p\npacks: [p.yaml]\nredaction: { pii: { style: tag, keep: 3 } }\n", "only a mask"),
            ("name: p\npacks: [p.yaml]\nredaction: { pii: maks }\n", "maks"),
            ("name: p\npacks: [p.yaml]\nrules: { R: { threshold: 1.5 } }\n", "policy.yaml:3: rules.R.threshold: must be between"),
            ("name: p\npacks: [p.yaml]\nactions: { request: { pii: blok } }\n", "policy.yaml:3"),
            ("name: p\npacks: [p.yaml]\nguard: { flag_at: 0.9, block_at: 0.5 }\n", "flag_at not above block_at"),
        ] {
            let error = error(policy, &pack);
            assert!(error.contains(expected), "{policy}: {error}");
        }
    }

    #[test]
    fn every_style_of_redaction_loads() {
        let pack = rule("pattern: 'abc\\d'");
        let styles = "redaction: { key_env: GOOD_KEY, pii: { style: mask, keep: 2 }, secret: hash, sensitive: synthetic }";
        assert_eq!(error(&format!("{POLICY}{styles}\nrules: {{ R: {{ redaction: tag }} }}\n"), &pack), "");
    }

    /// Writes files, loads the first of them.
    fn family(files: &[(&str, &str)]) -> Result<Policy, String> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let loaded = load(&folder.path().join(files[0].0), &mut Vec::new(), Proof::Needed, &|_| None);
        loaded.map_err(|error| error.to_string().replace(&format!("{}/", folder.path().display()), ""))
    }

    const TWO_RULES: &str = "pack: p
rules:
  - { id: A, title: t, category: pii, severity: low, literals: [alpha], why: w, must_match: [alpha], must_not_match: [x] }
  - { id: B, title: t, category: pii, severity: high, literals: [bravo], why: w, must_match: [bravo], must_not_match: [x] }
";
    const BASE: &str = "name: base
packs: [p.yaml]
actions: { request: { pii: redact, secret: block } }
rules: { A: { request: flag, response: block } }
guard: { flag_at: 0.2, block_at: 0.4 }
tests: [{ name: bravo leaves redacted, text: bravo, expect: redact, rules: [B] }]
";

    #[test]
    fn a_policy_is_laid_over_the_one_it_extends() {
        let tenant = "name: tenant\nextends: ../base.yaml\npacks: [../p.yaml, q.yaml]\nrules: { A: { request: block } }\nguard: { block_at: 0.5 }\n\
            tests: [{ name: alpha is blocked, text: alpha, expect: block }, { name: charlie, text: charlie, expect: redact, rules: [C] }]\n";
        let more = "pack: q\nrules: [{ id: C, title: t, category: pii, severity: low, literals: [charlie], why: w, must_match: [charlie], must_not_match: [x] }]\n";
        let key = "name: key\nextends: tenant.yaml\nmode: monitor\ndisable: [C]\n";
        let files = [
            ("tenants/key.yaml", key),
            ("tenants/tenant.yaml", tenant),
            ("base.yaml", BASE),
            ("p.yaml", TWO_RULES),
            ("tenants/q.yaml", more),
        ];
        let policy = family(&files[1..]).unwrap();
        assert_eq!((policy.name(), policy.run_tests()), ("tenant", vec![]));
        assert_eq!((policy.guard().flag_at, policy.guard().block_at), (0.2, 0.5));
        let loaded = family(&files).unwrap();
        assert_eq!((loaded.name(), loaded.mode(), loaded.rules().count()), ("key", Mode::Monitor, 2));
        let failed = loaded.run_tests();
        assert!(
            matches!(&failed[..], [one] if one.name == "charlie" && one.path.ends_with("tenants/tenant.yaml") && one.line == 6),
            "{failed:?}"
        );
    }

    #[test]
    fn the_tests_of_a_base_hold_for_what_extends_it() {
        let weaker = "name: weaker\nextends: base.yaml\nactions: { request: { pii: flag } }\n";
        let failed = family(&[("weaker.yaml", weaker), ("base.yaml", BASE), ("p.yaml", TWO_RULES)]).unwrap().run_tests();
        assert!(matches!(&failed[..], [one] if one.path.ends_with("base.yaml") && one.expected == "redact [B]" && one.got == "flag [B]"));
    }

    #[test]
    fn the_version_is_over_all_files() {
        let version = |base: &str| {
            let files = [("child.yaml", "name: c\nextends: base.yaml\n"), ("base.yaml", base), ("p.yaml", TWO_RULES)];
            family(&files).unwrap().version().to_owned()
        };
        assert_eq!(version(BASE), version(BASE));
        assert_ne!(version(BASE), version(&format!("{BASE}# a comment\n")));
    }

    #[test]
    fn inheritance_that_cannot_be_is_refused_with_its_line() {
        let chain: Vec<(String, String)> = (0..10).map(|n| (format!("{n}.yaml"), format!("name: n\nextends: {}.yaml\n", n + 1))).collect();
        let chain: Vec<(&str, &str)> = chain.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        for (files, expected) in [
            (vec![("a.yaml", "name: a\nextends: a.yaml\n")], "a.yaml:2: extends: a.yaml extends itself"),
            (
                vec![("a.yaml", "name: a\nextends: b.yaml\n"), ("b.yaml", "name: b\n\nextends: ./a.yaml\n")],
                "b.yaml:3: extends: ./a.yaml extends itself, through 2 files",
            ),
            (chain, "7.yaml:2: extends: more than 8 files deep"),
            (vec![("a.yaml", "name: a\nextends: nowhere.yaml\n")], "a.yaml:2: extends: there is no file nowhere.yaml"),
            (vec![("a.yaml", "name: a\nextends: b.yaml\n"), ("b.yaml", "name: b\n")], "a.yaml:1: packs: name the packs"),
            (
                vec![
                    ("a.yaml", "name: a\nextends: b.yaml\nrules: { A: { request: block } }\n"),
                    ("b.yaml", "name: b\npacks: [p.yaml]\ndisable: [A]\n"),
                    ("p.yaml", TWO_RULES),
                ],
                "a.yaml:3: rules.A: the rule is disabled in b.yaml:3",
            ),
        ] {
            let error = family(&files).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn the_files_are_known_and_so_is_a_change_of_one() {
        let folder = tempfile::tempdir().unwrap();
        let (path, pack) = (folder.path().join("policy.yaml"), folder.path().join("p.yaml"));
        std::fs::write(&path, POLICY).unwrap();
        let mut files = Vec::new();
        assert!(load(&path, &mut files, Proof::Needed, &|_| None).is_err());
        assert_eq!(files, [path.clone(), pack.clone()], "also the one that is not there");
        std::fs::write(&pack, rule("pattern: 'abc\\d'")).unwrap();
        let policy = load(&path, &mut files, Proof::Needed, &|_| None).unwrap();
        assert_eq!(policy.files(), [path, pack.clone()]);
        assert!(policy.is_current());
        std::fs::write(&pack, rule("pattern: 'ab[c]\\d'")).unwrap();
        assert!(!policy.is_current());
        std::fs::remove_file(&pack).unwrap();
        assert!(!policy.is_current());
    }

    #[test]
    fn all_faults_are_listed_at_once() {
        let pack = "pack: p\nrules:\n  - { id: A, title: t, category: pii, severity: low, why: w, must_match: [a, b], must_not_match: [x], literals: [x] }\n";
        assert_eq!(error(POLICY, pack).lines().count(), 3);
    }
}
