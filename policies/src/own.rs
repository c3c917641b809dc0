//! Rules that a policy brings itself: those of its deny lists and of its canaries. They go through the same search as a pack's.

use std::path::PathBuf;
use std::sync::Arc;

use crate::model::{Category, Direction, Role, RuleInfo, Severity};
use crate::pack::{Origin, Rule, Scope, Variant};

/// The pack that a policy's own rules are in.
pub(crate) const OWN_PACK: &str = "policy";

/// Returns a rule id for a name, or why the name is none.
pub(crate) fn own_id(prefix: &str, name: &str) -> Result<String, String> {
    let named = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.len() > 60 || !name.chars().all(named) {
        return Err("name must be 1 to 60 letters, digits, - and _".into());
    }
    Ok(format!("{prefix}_{}", name.replace('-', "_").to_ascii_uppercase()))
}

/// What a policy's own rule looks for.
pub(crate) struct Own {
    pub id: String,
    pub title: String,
    pub category: Category,
    pub severity: Severity,
    pub why: &'static str,
    pub tags: Vec<String>,
    pub directions: Vec<Direction>,
    pub literals: Vec<String>,
    pub patterns: Vec<String>,
    pub insensitive: bool,
}

impl Own {
    /// Makes a rule of it.
    pub(crate) fn rule(self, path: PathBuf, line: u64) -> Rule {
        let info = RuleInfo {
            id: self.id,
            title: self.title,
            category: self.category,
            severity: self.severity,
            tags: self.tags,
            why: self.why.to_owned(),
            pack: OWN_PACK.to_owned(),
        };
        let (literals, patterns) = (self.literals, self.patterns);
        let variant = |literals, patterns| Variant {
            line,
            patterns,
            literals,
            keywords: vec![],
            insensitive: self.insensitive,
            group: 0,
            max_bytes: None,
            score: 1.0,
            check: None,
            context: None,
            entropy: None,
            stop_words: vec![],
        };
        let is_written = !literals.is_empty() || !patterns.is_empty();
        Rule {
            info: Arc::new(info),
            origin: Origin { path, line },
            variants: if is_written { vec![variant(literals, patterns)] } else { vec![] },
            scope: Scope::new(&self.directions, &Role::ALL),
            must_match: vec![],
            weak_match: vec![],
            must_not_match: vec![],
            is_proved: false,
        }
    }
}
