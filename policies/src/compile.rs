//! Rules compiled: one regular expression per pattern, and the cheapest way to know where it is worth running.

use std::collections::HashMap;

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use regex_automata::meta;
use regex_syntax::hir::literal::Extractor;
use regex_syntax::hir::{Hir, HirKind};

use crate::error::Fault;
use crate::pack::{MATCH_BYTES_MAX, Rule, Variant};
use crate::syntax;

/// Largest compiled form of one pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Longest literal the prefilter looks for, in bytes; more would not make it rarer.
const LITERAL_BYTES_MAX: usize = 20;
/// Shortest literal worth looking for, in bytes.
const LITERAL_BYTES_MIN: usize = 3;
/// Literals whose searches are expected to cost less than this, per byte of text, need not be longer.
const RARE_ENOUGH: f64 = 1e-5;
/// What one more literal costs the prefilter, in the same measure as searches.
const LITERAL_COST: f64 = 2e-5;
/// Alternatives are compiled one by one when together they are expected to start a search more often than this, per byte.
const SPLIT_COST: f64 = 0.2;

/// One pattern of one rule.
pub(crate) struct Matcher {
    /// Index of the rule.
    pub rule: usize,
    /// Index of its variant.
    pub variant: usize,
    pub regex: meta::Regex,
    /// Longest match, in bytes.
    pub max: usize,
    /// True when the pattern could match more than `max` and the search must be cut.
    pub cut: bool,
    pub hir: Hir,
}

/// A matcher that is worth running where a literal was seen.
pub(crate) struct Lead {
    pub matcher: usize,
    /// How far before the literal a match may start, in bytes.
    pub before: usize,
}

/// All matchers and what calls them.
pub(crate) struct Matchers {
    pub all: Vec<Matcher>,
    /// Finds every literal, ignoring ASCII case; pattern n calls `leads[n]`.
    pub literals: AhoCorasick,
    pub leads: Vec<Vec<Lead>>,
    /// Matchers that need at least so many digits in one match.
    pub digits: Vec<(usize, usize)>,
    /// Matchers that nothing announces: they run over the whole text.
    pub everywhere: Vec<usize>,
}

/// What announces a match.
enum Plan {
    Literals { literals: Vec<Vec<u8>>, before: usize },
    Digits(usize),
    Everywhere,
}

/// Compiles the patterns of all rules. Rules that do not compile are left out and listed in `faults`.
pub(crate) fn compile(rules: &[Rule], faults: &mut Vec<Fault>) -> Result<Matchers, String> {
    let mut all = Vec::new();
    let mut found: HashMap<Vec<u8>, Vec<Lead>> = HashMap::new();
    let (mut digits, mut everywhere) = (Vec::new(), Vec::new());
    let variants = rules
        .iter()
        .enumerate()
        .flat_map(|(index, rule)| rule.variants.iter().enumerate().map(move |(v, variant)| (index, rule, v, variant)));
    for (index, rule, number, variant) in variants {
        for (hir, max) in hirs(rule, variant, faults) {
            let mut parts = Vec::new();
            plan(hir, variant, max, &mut parts);
            for (hir, plan) in parts {
                let regex = match regex(&hir) {
                    Ok(regex) => regex,
                    Err(reason) => {
                        faults.push(rule.fault_at(variant.line, reason));
                        continue;
                    }
                };
                let matcher = all.len();
                match plan {
                    Plan::Literals { literals, before } => {
                        for literal in literals {
                            found.entry(literal).or_default().push(Lead { matcher, before });
                        }
                    }
                    Plan::Digits(count) => digits.push((matcher, count)),
                    Plan::Everywhere => everywhere.push(matcher),
                }
                let cut = hir.properties().maximum_len().is_none_or(|longest| longest > max);
                all.push(Matcher { rule: index, variant: number, regex, max, cut, hir });
            }
        }
    }
    let (words, leads): (Vec<_>, Vec<_>) = found.into_iter().unzip();
    let literals = AhoCorasick::builder()
        .ascii_case_insensitive(true)
        .kind(Some(if words.len() > 6000 { AhoCorasickKind::ContiguousNFA } else { AhoCorasickKind::DFA }))
        .build(&words)
        .map_err(|error| format!("the literals of all rules do not compile together: {error}"))?;
    Ok(Matchers { all, literals, leads, digits, everywhere })
}

/// Parses a variant's patterns and phrases; each comes with its longest match.
fn hirs(rule: &Rule, variant: &Variant, faults: &mut Vec<Fault>) -> Vec<(Hir, usize)> {
    let mut patterns = variant.patterns.clone();
    if !variant.literals.is_empty() {
        // Longest first: among alternatives the first that matches wins.
        let mut phrases = variant.literals.clone();
        phrases.sort_by_key(|phrase| std::cmp::Reverse(phrase.len()));
        let phrases: Vec<String> = phrases.iter().map(|phrase| syntax::phrase_pattern(phrase)).collect();
        patterns.push(phrases.join("|"));
    }
    let mut hirs = Vec::with_capacity(patterns.len());
    for pattern in patterns {
        match syntax::parse(&pattern, variant.insensitive, variant.max_bytes).and_then(|hir| bounded(variant, hir)) {
            Ok(hir) => hirs.push(hir),
            Err(reason) => faults.push(rule.fault_at(variant.line, reason)),
        }
    }
    hirs
}

/// Refuses what a stream could not decide about.
fn bounded(variant: &Variant, hir: Hir) -> Result<(Hir, usize), String> {
    let properties = hir.properties();
    let Some(longest) = properties.maximum_len() else {
        return Err("pattern has no upper bound on its match; write {0,64} for * and {1,64} for +, or give max_bytes".into());
    };
    let max = variant.max_bytes.map_or(longest, |max| max.min(longest));
    if max > MATCH_BYTES_MAX {
        return Err(format!("pattern may match {max} bytes, the limit is {MATCH_BYTES_MAX}; tighten it or give max_bytes"));
    }
    if properties.minimum_len().is_none_or(|shortest| shortest == 0) {
        return Err("pattern matches the empty text".into());
    }
    if variant.group > properties.explicit_captures_len() {
        return Err(format!("group {} does not exist, the pattern has {}", variant.group, properties.explicit_captures_len()));
    }
    let hir = if variant.group == 0 { syntax::without_captures(&hir) } else { hir };
    Ok((hir, max))
}

fn regex(hir: &Hir) -> Result<meta::Regex, String> {
    let config = meta::Regex::config().utf8_empty(false).nfa_size_limit(Some(PATTERN_BYTES_MAX)).hybrid_cache_capacity(4 * 1024 * 1024);
    meta::Regex::builder().configure(config).build_from_hir(hir).map_err(|error| {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        format!("pattern is too large: {}", cause.unwrap_or_else(|| error.to_string()))
    })
}

/// Chooses what announces a pattern's matches; takes an alternation apart when that makes it cheaper.
fn plan(hir: Hir, variant: &Variant, max: usize, parts: &mut Vec<(Hir, Plan)>) {
    let (plan_, cost) = cheapest(&hir, variant, max);
    match hir.kind() {
        HirKind::Alternation(alternatives) if cost > SPLIT_COST && variant.group == 0 => {
            for alternative in alternatives.clone() {
                plan(alternative, variant, max, parts);
            }
        }
        _ => parts.push((hir, plan_)),
    }
}

fn cheapest(hir: &Hir, variant: &Variant, max: usize) -> (Plan, f64) {
    // A search costs about as much as reading so many bytes.
    const SEARCH: f64 = 60.0;
    let reach = SEARCH + 2.0 * max as f64;
    let mut best = (Plan::Everywhere, 1.0 * SEARCH);
    let mut offer = |plan: Plan, cost: f64| {
        if cost < best.1 {
            best = (plan, cost);
        }
    };
    let digits = syntax::digits_min(hir);
    if digits > 0 {
        let rate = [0.02, 0.01, 0.004, 0.002, 0.001, 0.0005, 0.0001][digits.min(7) - 1];
        offer(Plan::Digits(digits), rate * reach.min(400.0));
    }
    let lowered = syntax::lowered(hir);
    let parts = match lowered.kind() {
        HirKind::Concat(parts) => parts.clone(),
        _ => vec![lowered.clone()],
    };
    let mut before = 0usize;
    for (i, part) in parts.iter().enumerate().take(64) {
        let tail = Hir::concat(parts[i..].to_vec());
        let reach = if before == 0 { SEARCH } else { SEARCH + (before + max) as f64 };
        if let Some(literals) = required_literals(&tail, reach) {
            let (cost, many) = (total_rate(&literals), literals.len() as f64 * LITERAL_COST);
            offer(Plan::Literals { literals, before }, cost * reach + many);
        }
        before = before.saturating_add(part.properties().maximum_len().unwrap_or(max)).min(max);
    }
    if !variant.keywords.is_empty() {
        let literals: Vec<Vec<u8>> = variant.keywords.iter().map(|keyword| keyword.to_ascii_lowercase().into_bytes()).collect();
        let (cost, many) = (total_rate(&literals), literals.len() as f64 * LITERAL_COST);
        offer(Plan::Literals { literals, before: max }, cost * reach + many);
    }
    best
}

/// Returns literals one of which every match begins with, in lower case; `reach` is what a search for one costs.
fn required_literals(hir: &Hir, reach: f64) -> Option<Vec<Vec<u8>>> {
    let mut extractor = Extractor::new();
    extractor.limit_class(16).limit_repeat(8).limit_literal_len(LITERAL_BYTES_MAX).limit_total(200);
    let sequence = extractor.extract(hir);
    let literals: Vec<Vec<u8>> = sequence.literals()?.iter().map(|literal| literal.as_bytes().to_ascii_lowercase()).collect();
    if literals.is_empty() || literals.iter().any(Vec::is_empty) {
        return None;
    }
    // The shortest heads that are rare enough: fewer and shorter literals keep the prefilter small and fast.
    let lengths = (LITERAL_BYTES_MIN..LITERAL_BYTES_MAX).map(|length| heads(&literals, length));
    let rare = |heads: &Vec<Vec<u8>>| total_rate(heads) * reach < RARE_ENOUGH;
    Some(lengths.into_iter().find(rare).unwrap_or_else(|| heads(&literals, LITERAL_BYTES_MAX)))
}

/// Cuts literals to a length and drops those that begin with another.
fn heads(literals: &[Vec<u8>], length: usize) -> Vec<Vec<u8>> {
    let mut heads: Vec<Vec<u8>> = literals.iter().map(|literal| literal[..literal.len().min(length)].to_vec()).collect();
    heads.sort();
    heads.dedup();
    // Sorted, so a literal that begins with another follows it.
    let mut kept: Vec<Vec<u8>> = Vec::with_capacity(heads.len());
    for head in heads {
        if !kept.last().is_some_and(|shorter| head.starts_with(shorter)) {
            kept.push(head);
        }
    }
    kept
}

fn total_rate(literals: &[Vec<u8>]) -> f64 {
    literals.iter().map(|literal| rate(literal)).sum()
}

/// Guesses how often a literal occurs per byte of ordinary text, from the frequencies of its letters in English.
fn rate(literal: &[u8]) -> f64 {
    literal.iter().map(|&byte| byte_rate(byte)).product()
}

fn byte_rate(byte: u8) -> f64 {
    const LETTERS: [f64; 26] = [
        0.065, 0.012, 0.022, 0.034, 0.101, 0.018, 0.016, 0.05, 0.056, 0.001, 0.006, 0.033, 0.02, 0.056, 0.06, 0.015, 0.001, 0.048, 0.05,
        0.073, 0.022, 0.008, 0.019, 0.0015, 0.016, 0.0007,
    ];
    match byte.to_ascii_lowercase() {
        letter @ b'a'..=b'z' => LETTERS[usize::from(letter - b'a')],
        b' ' => 0.17,
        b'\n' | b'.' | b',' | b'"' => 0.02,
        b'0'..=b'9' | b'-' | b':' | b'/' | b'=' | b'_' | b'<' | b'(' => 0.006,
        // A byte of a CJK character says little.
        0x80.. => 0.05,
        _ => 0.001,
    }
}
