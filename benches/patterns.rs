//! The patterns of pack files as a program without our engine would have them: one plain expression each.

use std::path::Path;

use serde::Deserialize;

/// What is read of a pack file; the rest of it does not concern a plain expression.
#[derive(Deserialize)]
struct Pack {
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    category: String,
    case: Option<String>,
    #[serde(flatten)]
    own: Written,
    #[serde(default)]
    variants: Vec<Variant>,
}

#[derive(Deserialize)]
struct Variant {
    case: Option<String>,
    #[serde(flatten)]
    own: Written,
}

#[derive(Deserialize)]
struct Written {
    pattern: Option<String>,
    #[serde(default)]
    patterns: Vec<String>,
    #[serde(default)]
    literals: Vec<String>,
}

/// The packs that a policy file names.
#[derive(Deserialize)]
struct Policy {
    packs: Vec<String>,
}

/// Returns the names of the packs of a policy file, relative to its folder.
pub fn packs_of(policy: &Path) -> Vec<String> {
    read::<Policy>(policy).packs
}

/// Returns every pattern of a pack file as an expression for `regex::bytes`: boundaries and classes in their ASCII forms, as the engine
/// reads them, and the phrases of a rule as one alternation.
pub fn patterns_of(pack: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for rule in read::<Pack>(pack).rules {
        let exact = matches!(rule.category.as_str(), "pii" | "secret");
        let insensitive = |case: Option<&String>| case.or(rule.case.as_ref()).map_or(!exact, |case| case == "insensitive");
        all.extend(rule.own.expressions(insensitive(None)));
        for variant in &rule.variants {
            all.extend(variant.own.expressions(insensitive(variant.case.as_ref())));
        }
    }
    all
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> T {
    let yaml = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_saphyr::from_str(&yaml).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

impl Written {
    fn expressions(&self, insensitive: bool) -> Vec<String> {
        let phrases: Vec<String> = self.literals.iter().map(|phrase| expression_of(phrase)).collect();
        let phrases = (!phrases.is_empty()).then(|| phrases.join("|"));
        let written = self.pattern.iter().chain(&self.patterns).map(|pattern| in_ascii(pattern)).chain(phrases);
        written.map(|pattern| if insensitive { format!("(?i){pattern}") } else { pattern }).collect()
    }
}

fn expression_of(phrase: &str) -> String {
    let words: Vec<String> = phrase.split_whitespace().map(regex::escape).collect();
    let boundary = |c: Option<char>| if c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_') { r"(?-u:\b)" } else { "" };
    let (first, last) = (phrase.trim().chars().next(), phrase.trim().chars().next_back());
    format!("{}{}{}", boundary(first), words.join("[\\t\\n\\v\\f\\r ]{1,4}"), boundary(last))
}

/// A boundary in its Unicode form would keep the lazy automaton from text that is not ASCII; that is not what is compared here.
fn in_ascii(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() * 2);
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('b') => out.push_str(r"(?-u:\b)"),
            Some('B') => out.push_str(r"(?-u:\B)"),
            Some('d') => out.push_str("[0-9]"),
            Some('D') => out.push_str("[^0-9]"),
            Some('w') => out.push_str("[0-9A-Za-z_]"),
            Some('W') => out.push_str("[^0-9A-Za-z_]"),
            Some('s') => out.push_str(r"[\t\n\v\f\r\x20]"),
            Some('S') => out.push_str(r"[^\t\n\v\f\r\x20]"),
            Some(other) => out.extend(['\\', other]),
            None => out.push('\\'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_keeps_its_meaning_in_ascii() {
        let found = |pattern: &str, text: &str| regex::bytes::Regex::new(&in_ascii(pattern)).unwrap().is_match(text.as_bytes());
        assert!(found(r"\b\d{2}\b", "号12号"));
        assert!(!found(r"\b\d{2}\b", "a12"));
        assert!(!found(r"^\w$", "é") && found(r"^[^\s\d]+$", "é") && found(r"^\\d$", "\\d"));
    }

    #[test]
    fn every_shipped_pattern_is_an_expression() {
        let folder = harness::repository().join("policies");
        let packs = packs_of(&folder.join("policy.yaml"));
        let all: Vec<String> = packs.iter().flat_map(|pack| patterns_of(&folder.join(pack))).collect();
        assert!(all.len() > 1000, "{}", all.len());
        let wrong = all.iter().filter(|pattern| regex_is_wrong(pattern));
        assert_eq!(wrong.collect::<Vec<_>>(), Vec::<&String>::new());
    }

    fn regex_is_wrong(pattern: &str) -> bool {
        matches!(regex::bytes::RegexBuilder::new(pattern).size_limit(64 << 20).build(), Err(regex::Error::Syntax(_)))
    }
}
