//! Loading: files read, rules checked and compiled, every rule proved by its own examples.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::compile;
use crate::error::{Fault, PolicyError};
use crate::model::{Direction, Encoding};
use crate::pack::{self, Example, RULES_MAX, Rule};
use crate::policy::{Loaded, Policy};
use crate::policy_form::PolicyForm;
use crate::scan::Engine;
use crate::view::Views;
use crate::words::ContextWords;

/// Examples are proved at this threshold, whatever the policy's own is: a pack is right or wrong by itself.
const EXAMPLE_THRESHOLD: f32 = 0.5;
/// Most of an example that an error shows, in characters.
const EXAMPLE_SHOWN: usize = 80;

/// The files a policy is made of, as they are read: their names in order, and the version that their bytes make.
pub(crate) struct Sources<'a> {
    files: &'a mut Vec<PathBuf>,
    hash: Sha256,
}

impl<'a> Sources<'a> {
    /// Nothing read; `files` is emptied, and names every file that is asked for from now on, also one that cannot be read.
    pub(crate) fn new(files: &'a mut Vec<PathBuf>) -> Self {
        files.clear();
        Self { files, hash: Sha256::new() }
    }

    /// Reads one file. It enters the version with its length, so that no two lists of files give the same bytes.
    pub(crate) fn read(&mut self, path: &Path) -> Result<String, PolicyError> {
        self.files.push(path.to_path_buf());
        let text = pack::read(path)?;
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
    let mut sources = Sources::new(&mut read);
    for file in files {
        sources.read(file).ok()?;
    }
    Some(sources.version())
}

/// Loads a policy and the packs it names. `files` becomes the list of files it was looked for in.
pub(crate) fn load(path: &Path, files: &mut Vec<PathBuf>) -> Result<Policy, PolicyError> {
    let mut sources = Sources::new(files);
    let yaml = sources.read(path)?;
    let form: PolicyForm = pack::from_yaml(path, &yaml)?;
    let mut faults = settings(path, &form);
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut rules = Vec::new();
    for name in &form.packs {
        let path = folder.join(&name.value);
        let yaml = sources.read(&path)?;
        rules.extend(pack::parse(&path, &yaml, &mut faults)?);
    }
    unique(&rules, &mut faults);
    named(path, &form, &rules, &mut faults);
    rules.retain(|rule| !form.disable.iter().any(|id| id.value == rule.info.id));
    let engine = engine(rules, &mut faults).map_err(|reason| fault(path, 1, "packs", reason))?;
    faults.extend(unproved(&engine));
    if !faults.is_empty() {
        return Err(PolicyError::Faults(faults));
    }
    let version = sources.version();
    Policy::new(Loaded { form, engine, version, files: files.clone() })
        .map_err(|reason| PolicyError::Faults(vec![fault(path, 1, "packs", reason)]))
}

impl From<Fault> for PolicyError {
    fn from(fault: Fault) -> Self {
        PolicyError::Faults(vec![fault])
    }
}

fn fault(path: &Path, line: u64, subject: &str, reason: String) -> Fault {
    Fault { path: path.to_path_buf(), line, subject: subject.to_owned(), reason }
}

/// Checks the policy's own values.
fn settings(path: &Path, form: &PolicyForm) -> Vec<Fault> {
    let mut faults = Vec::new();
    let unit = 0.0..=1.0;
    if !unit.contains(&form.threshold) {
        faults.push(fault(path, 1, "threshold", "must be between 0 and 1".into()));
    }
    let guard = form.guard;
    if !unit.contains(&guard.flag_at) || !unit.contains(&guard.block_at) || guard.flag_at > guard.block_at {
        let reason = "flag_at and block_at must be between 0 and 1, flag_at not above block_at";
        faults.push(fault(path, 1, "guard", reason.into()));
    }
    faults
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

/// Finds rule ids in the policy that no pack has.
fn named(path: &Path, form: &PolicyForm, rules: &[Rule], faults: &mut Vec<Fault>) {
    let known = |id: &str| rules.iter().any(|rule| rule.info.id == id);
    let disabled = form.disable.iter().map(|id| (&id.value, id.referenced.line(), "disable"));
    let overridden = form.rules.iter().map(|(id, form)| (id, form.referenced.line(), "rules"));
    for (id, line, subject) in disabled.chain(overridden) {
        if !known(id) {
            faults.push(fault(path, line, subject, format!("no pack has a rule {id}")));
        }
    }
    for test in &form.tests {
        for id in test.value.rules.iter().filter(|id| !known(id)) {
            faults.push(fault(path, test.referenced.line(), "tests", format!("no pack has a rule {id}")));
        }
    }
}

fn engine(rules: Vec<Rule>, faults: &mut Vec<Fault>) -> Result<Engine, String> {
    let matchers = compile::compile(&rules, faults)?;
    let words = |rule: &Rule| rule.variants.iter().map(|variant| variant.context.as_ref().map(ContextWords::new)).collect();
    let context = rules.iter().map(words).collect();
    Ok(Engine { rules, matchers, context })
}

/// Runs every rule's examples and lists those that come out wrong.
fn unproved(engine: &Engine) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (index, rule) in engine.rules.iter().enumerate() {
        let score = |text: &str| {
            let views = Views::new(text, Encoding::Plain, true);
            let candidates = engine.candidates(&views, 0, 0.0, &|rule| rule == index);
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
        if !Direction::ALL.iter().any(|&direction| rule.scope.holds_any(direction)) {
            faults.push(rule.fault("applies to no text"));
        }
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

    fn error(policy: &str, pack: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("p.yaml"), pack).unwrap();
        let path = folder.path().join("policy.yaml");
        std::fs::write(&path, policy).unwrap();
        match load(&path, &mut Vec::new()) {
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
            ("pattern: 'abc\\d', check: lunh", "unknown check lunh; known are luhn"),
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
            ("name: p\npacks: [p.yaml]\nguard: { flag_at: 0.9, block_at: 0.5 }\n", "flag_at not above block_at"),
        ] {
            let error = error(policy, &pack);
            assert!(error.contains(expected), "{policy}: {error}");
        }
    }

    #[test]
    fn the_files_are_known_and_so_is_a_change_of_one() {
        let folder = tempfile::tempdir().unwrap();
        let (path, pack) = (folder.path().join("policy.yaml"), folder.path().join("p.yaml"));
        std::fs::write(&path, POLICY).unwrap();
        let mut files = Vec::new();
        assert!(load(&path, &mut files).is_err());
        assert_eq!(files, [path.clone(), pack.clone()], "also the one that is not there");
        std::fs::write(&pack, rule("pattern: 'abc\\d'")).unwrap();
        let policy = load(&path, &mut files).unwrap();
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
