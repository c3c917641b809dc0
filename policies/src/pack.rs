//! A pack file: the form it is written in, and the rules it becomes once checked.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde_saphyr::Spanned;

use crate::check::{self, Check};
use crate::error::{Fault, PolicyError};
use crate::model::{Category, Direction, Role, RuleInfo, Severity};

/// Largest pack or policy file, in bytes.
pub(crate) const FILE_BYTES_MAX: u64 = 10 * 1024 * 1024;
/// Most rules in all packs together.
pub(crate) const RULES_MAX: usize = 5000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PackForm {
    pack: String,
    rules: Vec<Spanned<RuleForm>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleForm {
    id: String,
    title: String,
    category: Category,
    severity: Severity,
    #[serde(default)]
    tags: Vec<String>,
    pattern: Option<String>,
    #[serde(default)]
    patterns: Vec<String>,
    #[serde(default)]
    literals: Vec<String>,
    #[serde(default)]
    keywords: Vec<String>,
    #[serde(default)]
    group: usize,
    check: Option<String>,
    case: Option<Case>,
    #[serde(default = "one")]
    score: f32,
    context: Option<ContextForm>,
    entropy: Option<f32>,
    #[serde(default)]
    stop_words: Vec<String>,
    applies_to: Option<Vec<Direction>>,
    roles: Option<Vec<Role>>,
    max_bytes: Option<usize>,
    why: String,
    must_match: Vec<Spanned<String>>,
    must_not_match: Vec<Spanned<String>>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Case {
    Sensitive,
    Insensitive,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ContextForm {
    words: Vec<String>,
    #[serde(default)]
    boost: f32,
    #[serde(default)]
    required: bool,
}

fn one() -> f32 {
    1.0
}

/// A rule as the engine needs it: values in range, names resolved, patterns not yet compiled.
pub(crate) struct Rule {
    pub info: Arc<RuleInfo>,
    pub origin: Origin,
    pub patterns: Vec<String>,
    pub literals: Vec<String>,
    pub keywords: Vec<String>,
    pub insensitive: bool,
    pub group: usize,
    pub max_bytes: Option<usize>,
    pub score: f32,
    pub check: Option<Check>,
    pub context: Option<Context>,
    pub entropy: Option<f32>,
    /// In lower case.
    pub stop_words: Vec<String>,
    pub scope: Scope,
    pub must_match: Vec<Example>,
    pub must_not_match: Vec<Example>,
}

/// Where a rule is written down.
#[derive(Clone)]
pub(crate) struct Origin {
    pub path: PathBuf,
    pub line: u64,
}

/// Words that make a finding more likely when they stand before it.
pub(crate) struct Context {
    pub words: Vec<String>,
    pub boost: f32,
    pub required: bool,
}

/// One example text with its line.
pub(crate) struct Example {
    pub line: u64,
    pub text: String,
}

/// The texts a rule looks at, one bit for each direction and role.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scope(u8);

impl Scope {
    /// Returns the scope of all given directions and roles.
    pub(crate) fn new(directions: &[Direction], roles: &[Role]) -> Self {
        let pairs = directions.iter().flat_map(|&d| roles.iter().map(move |&r| Self::bit(d, r)));
        Self(pairs.fold(0, |all, bit| all | bit))
    }

    /// Returns true when the scope holds that direction and role.
    pub(crate) fn holds(self, direction: Direction, role: Role) -> bool {
        self.0 & Self::bit(direction, role) != 0
    }

    /// Returns true when the scope holds that direction with any role.
    pub(crate) fn holds_any(self, direction: Direction) -> bool {
        Role::ALL.iter().any(|&role| self.holds(direction, role))
    }

    fn bit(direction: Direction, role: Role) -> u8 {
        1 << (direction as u8 * 4 + role as u8)
    }
}

impl Rule {
    /// Returns a fault of this rule.
    pub(crate) fn fault(&self, reason: impl Into<String>) -> Fault {
        self.fault_at(self.origin.line, reason)
    }

    /// Returns a fault of this rule at another line, an example's.
    pub(crate) fn fault_at(&self, line: u64, reason: impl Into<String>) -> Fault {
        let subject = format!("rule {}", self.info.id);
        Fault { path: self.origin.path.clone(), line, subject, reason: reason.into() }
    }
}

/// Reads a file within the size limit.
pub(crate) fn read(path: &Path) -> Result<String, PolicyError> {
    let unreadable = |source| PolicyError::Unreadable { path: path.to_path_buf(), source };
    let bytes = std::fs::metadata(path).map_err(unreadable)?.len();
    if bytes > FILE_BYTES_MAX {
        let (path, limit) = (path.to_path_buf(), FILE_BYTES_MAX);
        return Err(PolicyError::TooLarge { path, bytes, limit });
    }
    std::fs::read_to_string(path).map_err(unreadable)
}

/// Reads YAML of a given form.
pub(crate) fn from_yaml<'a, T: Deserialize<'a>>(path: &Path, yaml: &'a str) -> Result<T, PolicyError> {
    serde_saphyr::from_str(yaml).map_err(|error| {
        let line = error.location().map_or(0, |location| location.line());
        let reason = error.render_with_options(serde_saphyr::render_options! {
            snippets: serde_saphyr::SnippetMode::Off,
        });
        PolicyError::Form { path: path.to_path_buf(), line, reason }
    })
}

/// Turns a pack's text into rules. What is wrong goes to `faults`; a rule with a fault is left out.
pub(crate) fn parse(path: &Path, yaml: &str, faults: &mut Vec<Fault>) -> Result<Vec<Rule>, PolicyError> {
    let form: PackForm = from_yaml(path, yaml)?;
    let mut rules = Vec::with_capacity(form.rules.len());
    for Spanned { value, referenced, .. } in form.rules {
        let line = referenced.line();
        let subject = format!("rule {}", value.id);
        match checked(&form.pack, Origin { path: path.to_path_buf(), line }, value) {
            Ok(rule) => rules.push(rule),
            Err(reason) => {
                faults.push(Fault { path: path.to_path_buf(), line, subject, reason });
            }
        }
    }
    Ok(rules)
}

/// Checks the values of one rule. The error is the reason, with a hint.
fn checked(pack: &str, origin: Origin, form: RuleForm) -> Result<Rule, String> {
    let named = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if form.id.is_empty() || form.id.len() > 80 || !form.id.chars().all(named) {
        return Err("id must be 1 to 80 letters, digits, - and _".into());
    }
    let patterns: Vec<String> = form.pattern.into_iter().chain(form.patterns).collect();
    if patterns.is_empty() == form.literals.is_empty() {
        return Err("give either pattern (or patterns) or literals".into());
    }
    if form.literals.iter().any(|literal| literal.trim().is_empty()) {
        return Err("a literal is empty".into());
    }
    if form.keywords.iter().any(String::is_empty) {
        return Err("a keyword is empty".into());
    }
    let check = match form.check {
        Some(name) => Some(check::by_name(&name).ok_or_else(|| format!("unknown check {name}; known are {}", check::names()))?),
        None => None,
    };
    if !(0.0..=1.0).contains(&form.score) {
        return Err("score must be between 0 and 1".into());
    }
    if form.entropy.is_some_and(|floor| !(0.0..=8.0).contains(&floor)) {
        return Err("entropy must be between 0 and 8 bits per character".into());
    }
    if form.max_bytes.is_some_and(|max| !(1..=MATCH_BYTES_MAX).contains(&max)) {
        return Err(format!("max_bytes must be between 1 and {MATCH_BYTES_MAX}"));
    }
    if form.must_match.is_empty() || form.must_not_match.is_empty() {
        return Err("give at least one text under must_match and one under must_not_match".into());
    }
    let context = form.context.map(context).transpose()?;
    let directions = form.applies_to.unwrap_or_else(|| Direction::ALL.to_vec());
    let roles = form.roles.unwrap_or_else(|| Role::ALL.to_vec());
    if directions.is_empty() || roles.is_empty() {
        return Err("applies_to and roles must not be empty; leave them out for all".into());
    }
    let exact = matches!(form.category, Category::Pii | Category::Secret);
    let info = RuleInfo {
        id: form.id,
        title: form.title,
        category: form.category,
        severity: form.severity,
        tags: form.tags,
        why: form.why,
        pack: pack.to_owned(),
    };
    Ok(Rule {
        info: Arc::new(info),
        origin,
        patterns,
        literals: form.literals,
        keywords: form.keywords,
        insensitive: form.case.map_or(!exact, |case| case == Case::Insensitive),
        group: form.group,
        max_bytes: form.max_bytes,
        score: form.score,
        check,
        context,
        entropy: form.entropy,
        stop_words: form.stop_words.iter().map(|word| word.to_lowercase()).collect(),
        scope: Scope::new(&directions, &roles),
        must_match: examples(form.must_match),
        must_not_match: examples(form.must_not_match),
    })
}

/// Longest match any rule may have, in bytes; also what a stream may have to hold back for one rule.
pub(crate) const MATCH_BYTES_MAX: usize = 16 * 1024;

fn context(form: ContextForm) -> Result<Context, String> {
    if form.words.is_empty() || form.words.iter().any(|word| word.trim().is_empty()) {
        return Err("context.words must not be empty".into());
    }
    if !(0.0..=1.0).contains(&form.boost) {
        return Err("context.boost must be between 0 and 1".into());
    }
    Ok(Context { words: form.words, boost: form.boost, required: form.required })
}

fn examples(texts: Vec<Spanned<String>>) -> Vec<Example> {
    texts.into_iter().map(|text| Example { line: text.referenced.line(), text: text.value }).collect()
}
