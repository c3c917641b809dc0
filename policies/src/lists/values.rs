//! Values that a list names: as literals, as hashes, by expressions.

use std::collections::HashSet;

use regex_automata::meta;
use serde_saphyr::Spanned;
use sha2::{Digest, Sha256};

use crate::syntax;
use crate::value::{folded, normalised};

/// Most values in one list.
const VALUES_MAX: usize = 100_000;

/// Values as written, each with its place.
#[derive(Clone, Copy, Default)]
pub(crate) struct Written<'a> {
    pub literals: &'a [Spanned<String>],
    pub regexes: &'a [Spanned<String>],
    pub sha256: &'a [Spanned<String>],
}

impl Written<'_> {
    pub(crate) fn is_empty(&self) -> bool {
        self.literals.is_empty() && self.regexes.is_empty() && self.sha256.is_empty()
    }
}

/// Values, in every way they can be named.
#[derive(Default)]
pub(crate) struct Values {
    literals: HashSet<String>,
    hashes: HashSet<[u8; 32]>,
    regexes: Vec<meta::Regex>,
}

impl Values {
    /// Brings written values into the form they are compared in; the error says which value is none.
    pub(crate) fn new(written: Written<'_>) -> Result<Self, String> {
        let Written { literals, regexes, sha256 } = written;
        if literals.len() + regexes.len() + sha256.len() > VALUES_MAX {
            return Err(format!("more than {VALUES_MAX} values"));
        }
        let literals: HashSet<String> = literals.iter().map(|literal| normalised(&literal.value)).collect();
        if literals.contains("") {
            return Err("a literal is empty".into());
        }
        let hashes = sha256.iter().map(|text| hash(&text.value)).collect::<Result<_, _>>()?;
        let regexes = regexes.iter().map(|pattern| whole(&pattern.value)).collect::<Result<_, _>>()?;
        Ok(Self { literals, hashes, regexes })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.literals.is_empty() && self.hashes.is_empty() && self.regexes.is_empty()
    }

    /// Returns true for a value that is named here.
    pub(crate) fn holds(&self, value: &str) -> bool {
        if !self.literals.is_empty() || !self.hashes.is_empty() {
            let form = normalised(value);
            if self.literals.contains(&form) {
                return true;
            }
            if !self.hashes.is_empty() && self.hashes.contains(&digest(&form)) {
                return true;
            }
        }
        !self.regexes.is_empty() && {
            let folded = folded(value);
            self.regexes.iter().any(|regex| regex.is_match(&folded))
        }
    }
}

/// Hashes a value that is in its normal form.
pub(crate) fn digest(form: &str) -> [u8; 32] {
    Sha256::digest(form).into()
}

/// Reads a written hash.
pub(crate) fn hash(text: &str) -> Result<[u8; 32], String> {
    let mut hash = [0; 32];
    hex::decode_to_slice(text, &mut hash).map_err(|_| format!("{text:?} is no SHA-256 in 64 hexadecimal digits"))?;
    Ok(hash)
}

/// Compiles an expression that has to match all of a value.
pub(crate) fn whole(pattern: &str) -> Result<meta::Regex, String> {
    // By itself first: no parenthesis of it may close ours.
    syntax::parse(pattern, false, None)?;
    compiled(&format!(r"\A(?:{pattern})\z"), false)
}

/// Compiles an expression as a deny list searches for it.
pub(crate) fn searched(pattern: &str) -> Result<meta::Regex, String> {
    compiled(pattern, true)
}

fn compiled(pattern: &str, insensitive: bool) -> Result<meta::Regex, String> {
    let hir = syntax::parse(pattern, insensitive, None)?;
    let config = meta::Config::new().nfa_size_limit(Some(1 << 20));
    meta::Builder::new()
        .configure(config)
        .build_from_hir(&hir)
        .map_err(|error| format!("the regular expression {pattern:?} is too large: {error}"))
}
