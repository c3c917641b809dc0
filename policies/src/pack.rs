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
    variants: Vec<Spanned<VariantForm>>,
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
    #[serde(default)]
    weak_match: Vec<Spanned<String>>,
    must_not_match: Vec<Spanned<String>>,
}

/// One way of writing what a rule looks for, with demands of its own; what it leaves out is as in the rule.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct VariantForm {
    pattern: Option<String>,
    #[serde(default)]
    patterns: Vec<String>,
    #[serde(default)]
    literals: Vec<String>,
    keywords: Option<Vec<String>>,
    group: Option<usize>,
    check: Option<String>,
    case: Option<Case>,
    score: Option<f32>,
    context: Option<ContextForm>,
    entropy: Option<f32>,
    stop_words: Option<Vec<String>>,
    max_bytes: Option<usize>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Case {
    Sensitive,
    Insensitive,
}

#[derive(Deserialize, Clone)]
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
    pub variants: Vec<Variant>,
    pub scope: Scope,
    pub must_match: Vec<Example>,
    /// Found, but with a score below the usual threshold.
    pub weak_match: Vec<Example>,
    pub must_not_match: Vec<Example>,
    /// True when its pack, byte for byte, was proved by its examples where the program was built.
    pub is_proved: bool,
}

/// One way of writing what a rule looks for, and everything asked of a match.
pub(crate) struct Variant {
    /// Line of the pack file, from 1.
    pub line: u64,
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
/// `is_proved`: its examples were proved before.
pub(crate) fn parse(path: &Path, yaml: &str, is_proved: bool, faults: &mut Vec<Fault>) -> Result<Vec<Rule>, PolicyError> {
    let form: PackForm = from_yaml(path, yaml)?;
    let mut rules = Vec::with_capacity(form.rules.len());
    for Spanned { value, referenced, .. } in form.rules {
        let line = referenced.line();
        let subject = format!("rule {}", value.id);
        match checked(&form.pack, Origin { path: path.to_path_buf(), line }, value) {
            Ok(rule) => rules.push(Rule { is_proved, ..rule }),
            Err(reason) => {
                faults.push(Fault { path: path.to_path_buf(), line, subject, reason });
            }
        }
    }
    Ok(rules)
}

/// Checks the values of one rule. The error is the reason, with a hint.
fn checked(pack: &str, origin: Origin, mut form: RuleForm) -> Result<Rule, String> {
    let named = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if form.id.is_empty() || form.id.len() > 80 || !form.id.chars().all(named) {
        return Err("id must be 1 to 80 letters, digits, - and _".into());
    }
    if form.must_match.is_empty() || form.must_not_match.is_empty() {
        return Err("give at least one text under must_match and one under must_not_match".into());
    }
    let directions = form.applies_to.take().unwrap_or_else(|| Direction::ALL.to_vec());
    let roles = form.roles.take().unwrap_or_else(|| Role::ALL.to_vec());
    if directions.is_empty() || roles.is_empty() {
        return Err("applies_to and roles must not be empty; leave them out for all".into());
    }
    let variants = variants(&mut form, origin.line)?;
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
        variants,
        scope: Scope::new(&directions, &roles),
        must_match: examples(form.must_match),
        weak_match: examples(form.weak_match),
        must_not_match: examples(form.must_not_match),
        is_proved: false,
    })
}

/// Gives every variant its own demands and, where it has none, the rule's.
fn variants(form: &mut RuleForm, line: u64) -> Result<Vec<Variant>, String> {
    let own = VariantForm {
        pattern: form.pattern.take(),
        patterns: std::mem::take(&mut form.patterns),
        literals: std::mem::take(&mut form.literals),
        ..VariantForm::default()
    };
    let mut forms: Vec<(u64, VariantForm)> =
        std::mem::take(&mut form.variants).into_iter().map(|v| (v.referenced.line(), v.value)).collect();
    if own.is_written() || forms.is_empty() {
        forms.insert(0, (line, own));
    }
    let several = forms.len() > 1;
    let at = |line: u64, reason: String| if several { format!("the variant in line {line}: {reason}") } else { reason };
    forms.into_iter().map(|(line, variant)| variant.checked(form, line).map_err(|reason| at(line, reason))).collect()
}

impl VariantForm {
    fn is_written(&self) -> bool {
        self.pattern.is_some() || !self.patterns.is_empty() || !self.literals.is_empty()
    }

    fn checked(self, rule: &RuleForm, line: u64) -> Result<Variant, String> {
        let patterns: Vec<String> = self.pattern.into_iter().chain(self.patterns).collect();
        if patterns.is_empty() == self.literals.is_empty() {
            return Err("give either pattern (or patterns) or literals".into());
        }
        if self.literals.iter().any(|literal| literal.trim().is_empty()) {
            return Err("a literal is empty".into());
        }
        let keywords = self.keywords.unwrap_or_else(|| rule.keywords.clone());
        if keywords.iter().any(String::is_empty) {
            return Err("a keyword is empty".into());
        }
        let check = match self.check.as_ref().or(rule.check.as_ref()).filter(|name| *name != "none") {
            Some(name) => Some(check::by_name(name).ok_or_else(|| unknown_check(name))?),
            None => None,
        };
        let score = self.score.unwrap_or(rule.score);
        if !(0.0..=1.0).contains(&score) {
            return Err("score must be between 0 and 1".into());
        }
        let entropy = self.entropy.or(rule.entropy);
        if entropy.is_some_and(|floor| !(0.0..=8.0).contains(&floor)) {
            return Err("entropy must be between 0 and 8 bits per character".into());
        }
        let max_bytes = self.max_bytes.or(rule.max_bytes);
        if max_bytes.is_some_and(|max| !(1..=MATCH_BYTES_MAX).contains(&max)) {
            return Err(format!("max_bytes must be between 1 and {MATCH_BYTES_MAX}"));
        }
        let exact = matches!(rule.category, Category::Pii | Category::Secret);
        let stop_words = self.stop_words.as_ref().unwrap_or(&rule.stop_words);
        Ok(Variant {
            line,
            patterns,
            literals: self.literals,
            keywords,
            insensitive: self.case.or(rule.case).map_or(!exact, |case| case == Case::Insensitive),
            group: self.group.unwrap_or(rule.group),
            max_bytes,
            score,
            check,
            context: self.context.or_else(|| rule.context.clone()).map(context).transpose()?,
            entropy,
            stop_words: stop_words.iter().map(|word| word.to_lowercase()).collect(),
        })
    }
}

fn unknown_check(name: &str) -> String {
    let names = check::names();
    match crate::file::closest(name, names.split(", ")) {
        Some(near) => format!("unknown check {name}; did you mean {near}?"),
        None => format!("unknown check {name}; known are {names}"),
    }
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
