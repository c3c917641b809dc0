//! Rules compiled: one automaton per pattern, and what announces it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::OnceLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use regex_automata::meta;
use regex_syntax::hir::Hir;

use crate::announce::{Announcement, Around, Plan, Reach, beginnings, plan};
use crate::automaton::{Automaton, Surroundings};
use crate::error::Fault;
use crate::literals::{CODE_CLASS, Classes, DIGIT_CLASS, Literals, NO_CLASS};
use crate::marks::{Marked, markable};
use crate::outline::{Announced, Beginning, ByteSet, Outlines, Signs};
use crate::pack::{MATCH_BYTES_MAX, Rule, Variant};
use crate::scan::GROUPS_MAX;
use crate::syntax;
use crate::threads;
use crate::written::Written;

/// Largest compiled form of a pattern with its groups, in bytes.
const PATTERN_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Largest one-pass automaton for the groups of a pattern, in bytes; patterns with larger ones are matched again, slower.
const ONE_PASS_BYTES_MAX: usize = 256 * 1024;
/// Most bytes that announce something, the digits counted as one.
const CLASSES_MAX: usize = 255;

/// One pattern of one rule.
pub(crate) struct Matcher {
    /// Index of the rule.
    pub rule: usize,
    /// Index of its variant.
    pub variant: usize,
    /// Tells from a few bytes where no match begins.
    pub beginning: Beginning,
    pub automaton: Automaton,
    /// Finds the groups of a match, where the rule names one.
    pub groups: Option<Groups>,
    /// Finds what matches begin with, where the announcement lies deep inside them.
    pub beginnings: Option<AhoCorasick>,
    /// Sets of literals, by number among the marked ones; every match holds one of each.
    pub asks: Vec<u32>,
    /// True when one of those is the keywords of its variant.
    pub asks_keywords: bool,
    /// Longest match, in bytes.
    pub max: usize,
}

/// What finds the groups of a pattern. It is needed for what matches and nothing else, so for most rules never: it is made when it is first
/// asked for.
pub(crate) struct Groups {
    pattern: Written,
    regex: OnceLock<Option<meta::Regex>>,
}

impl Groups {
    /// Keeps a pattern whose groups are known to be found.
    fn later(hir: &Hir) -> Self {
        Self { pattern: Written::new(hir), regex: OnceLock::new() }
    }

    /// Checks that the groups can be found, and keeps how.
    fn new(hir: &Hir) -> Result<Self, String> {
        let regex = groups(hir)?;
        Ok(Self { pattern: Written::new(hir), regex: OnceLock::from(Some(regex)) })
    }

    /// Returns what finds them.
    pub(crate) fn get(&self) -> Option<&meta::Regex> {
        // The pattern was compiled once before, so it can be again.
        self.regex.get_or_init(|| self.pattern.read().and_then(|hir| groups(&hir)).ok()).as_ref()
    }

    /// Forgets what was made of the pattern.
    pub(crate) fn forget(&mut self) {
        self.regex.take();
    }
}

/// A matcher that is worth running where something was seen.
pub(crate) struct Lead {
    pub matcher: usize,
    pub reach: Reach,
    /// The bytes that can stand between the beginning of a match and what was seen, where those are not nearly all.
    pub within: Option<ByteSet>,
}

/// All patterns that have announcements of one kind: literals, digits, or one certain byte.
pub(crate) struct Called {
    /// Tells from a few bytes which patterns of the surroundings cannot be there.
    pub outlines: Outlines,
    pub surroundings: Surroundings,
    /// Bytes that may follow the announcing byte.
    pub second: [bool; 256],
    /// Pattern n of the surroundings calls `leads[n]`.
    pub leads: Vec<Lead>,
}

/// All matchers and what calls them.
pub(crate) struct Matchers {
    pub all: Vec<Matcher>,
    /// Finds every literal and every announcing byte.
    pub literals: Literals,
    /// What must stand around each literal.
    pub signs: Signs,
    /// Which literals are in which of the sets that matchers ask for.
    pub marked: Marked,
    /// What is called by literals (0), digits (1), codes (2), long runs (3), and by byte class n (n).
    pub called: Vec<Called>,
    /// Matchers that nothing announces: they run over the whole text.
    pub everywhere: Vec<usize>,
}

/// Announcements as they are found.
#[derive(Default)]
struct Seen {
    literals: Vec<(Around, usize)>,
    /// For each of those, its literals.
    words: Vec<Vec<Vec<u8>>>,
    /// Sets of literals to be marked, and the number of each.
    marked: Vec<Vec<Vec<u8>>>,
    numbers: HashMap<Vec<Vec<u8>>, u32>,
    bytes: BTreeMap<u8, Vec<(Around, usize)>>,
    everywhere: Vec<usize>,
}

/// Compiles the patterns of all rules, on all cores. Rules that do not compile are left out and listed in `faults`.
pub(crate) fn compile(rules: &[Rule], faults: &mut Vec<Fault>) -> Result<Matchers, String> {
    let mut all = Vec::new();
    let mut seen = Seen::default();
    for (compiled, wrong) in threads::each(rules, compiled) {
        faults.extend(wrong);
        for (mut matcher, announcement, companions) in compiled {
            seen.add(all.len(), announcement);
            let keywords = markable(&rules[matcher.rule].variants[matcher.variant]);
            matcher.asks_keywords = keywords.is_some();
            let sets = keywords.into_iter().chain((!companions.is_empty()).then_some(companions));
            matcher.asks = sets.map(|set| seen.marked(set)).collect();
            all.push(matcher);
        }
    }
    seen.matchers(all)
}

/// A pattern compiled, what announces it, and its companions.
type Planned = (Matcher, Announcement, Vec<Vec<u8>>);

/// Compiles the patterns of one rule.
fn compiled(index: usize, rule: &Rule) -> (Vec<Planned>, Vec<Fault>) {
    let (mut all, mut faults) = (Vec::new(), Vec::new());
    for (number, variant) in rule.variants.iter().enumerate() {
        for (hir, max) in hirs(rule, variant, &mut faults) {
            for plan in plan(hir, variant, max) {
                match matcher((index, rule), number, &plan, max) {
                    Ok(matcher) => all.push((matcher, plan.announcement, plan.companions)),
                    Err(reason) => faults.push(rule.fault_at(variant.line, reason)),
                }
            }
        }
    }
    (all, faults)
}

fn matcher((index, rule): (usize, &Rule), number: usize, plan: &Plan, max: usize) -> Result<Matcher, String> {
    let plain = syntax::without_captures(&plan.hir);
    let has_group = rule.variants[number].group > 0;
    let (automaton, groups) = if rule.is_proved {
        (Automaton::later(&plain), has_group.then(|| Groups::later(&plan.hir)))
    } else {
        (Automaton::new(&plain)?, has_group.then(|| Groups::new(&plan.hir)).transpose()?)
    };
    let beginnings = beginnings(&plan.hir, &plan.announcement).and_then(|literals| {
        let kind = Some(AhoCorasickKind::ContiguousNFA);
        AhoCorasick::builder().ascii_case_insensitive(true).kind(kind).build(literals).ok()
    });
    let beginning = Beginning::new(&plain);
    Ok(Matcher { rule: index, variant: number, beginning, automaton, groups, beginnings, asks: Vec::new(), asks_keywords: false, max })
}

/// The engine that finds groups: it runs on matches only, so it needs none of the means to find them.
fn groups(hir: &Hir) -> Result<meta::Regex, String> {
    let config = meta::Regex::config()
        .utf8_empty(false)
        .nfa_size_limit(Some(PATTERN_BYTES_MAX))
        .hybrid(false)
        .dfa(false)
        .onepass_size_limit(Some(ONE_PASS_BYTES_MAX))
        .auto_prefilter(false);
    meta::Regex::builder().configure(config).build_from_hir(hir).map_err(|error| {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        format!("pattern is too large: {}", cause.unwrap_or_else(|| error.to_string()))
    })
}

impl Seen {
    /// Returns the number of a set of literals to be marked.
    fn marked(&mut self, set: Vec<Vec<u8>>) -> u32 {
        *self.numbers.entry(set).or_insert_with_key(|set| {
            self.marked.push(set.clone());
            (self.marked.len() - 1) as u32
        })
    }

    fn add(&mut self, matcher: usize, announcement: Announcement) {
        match announcement {
            Announcement::Literals { literals, around } => {
                self.words.push(literals);
                self.literals.push((around, matcher));
            }
            Announcement::Bytes { bytes, around } => {
                for byte in bytes {
                    self.bytes.entry(byte).or_default().push((around.clone(), matcher));
                }
            }
            Announcement::Nothing => self.everywhere.push(matcher),
        }
    }

    fn matchers(self, all: Vec<Matcher>) -> Result<Matchers, String> {
        let words: HashSet<&[u8]> = self.words.iter().chain(&self.marked).flatten().map(Vec::as_slice).collect();
        let mut words: Vec<&[u8]> = words.into_iter().collect();
        words.sort_unstable();
        let announced: Vec<(&Around, &Vec<Vec<u8>>)> = self.literals.iter().map(|(around, _)| around).zip(&self.words).collect();
        let announced = threads::each(&announced, |_, (around, literals)| {
            let literals = literals.iter().map(Vec::as_slice);
            let numbered = literals.filter_map(|literal| Some((words.binary_search(&literal).ok()?, literal)));
            Announced::new(around, &numbered.collect::<Vec<_>>())
        });
        let signs = Signs::new(&announced, words.len());
        let numbers = |set: &Vec<Vec<u8>>| set.iter().filter_map(|literal| words.binary_search(&literal.as_slice()).ok()).collect();
        let marked = Marked::new(&self.marked.iter().map(numbers).collect::<Vec<_>>(), words.len());
        let mut classes = [NO_CLASS; 256];
        let mut bytes = self.bytes;
        let digits = bytes.remove(&b'0').unwrap_or_default();
        if !digits.is_empty() {
            classes[usize::from(b'0')..=usize::from(b'9')].fill(DIGIT_CLASS);
        }
        let codes = bytes.remove(&b'A').unwrap_or_default();
        if !codes.is_empty() {
            classes[usize::from(b'0')..=usize::from(b'9')].fill(DIGIT_CLASS);
            classes[usize::from(b'A')..=usize::from(b'Z')].fill(CODE_CLASS);
        }
        let long = bytes.remove(&b'a').unwrap_or_default();
        let mut called = vec![call(self.literals)?, call(digits)?, call(codes)?, call(long)?];
        for (byte, found) in bytes.into_iter().take(CLASSES_MAX - called.len()) {
            classes[usize::from(byte)] = called.len() as u8;
            called.push(call(found)?);
        }
        let may_follow = |class: u8, next: u8| called.get(usize::from(class)).is_some_and(|called| called.second[usize::from(next)]);
        let literals = Literals::new(&words, Classes::new(classes, may_follow));
        Ok(Matchers { all, literals, signs, marked, called, everywhere: self.everywhere })
    }
}

fn call(found: Vec<(Around, usize)>) -> Result<Called, String> {
    let after: Vec<&Hir> = found.iter().map(|(around, _)| &around.after).collect();
    let before: Vec<&Hir> = found.iter().map(|(around, _)| &around.before).collect();
    let surroundings = Surroundings::new(&after, &before)?;
    let second = surroundings.second();
    let outlines = Outlines::new(&found.iter().map(|(around, _)| around).collect::<Vec<_>>());
    let leads = found.iter().map(|(around, matcher)| Lead { matcher: *matcher, reach: around.reach, within: around.within }).collect();
    Ok(Called { outlines, surroundings, second, leads })
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
    if variant.group > GROUPS_MAX {
        return Err(format!(
            "group {} is beyond the limit of {GROUPS_MAX}; write (?:...) for the groups that nobody asks for",
            variant.group
        ));
    }
    if variant.group > properties.explicit_captures_len() {
        return Err(format!("group {} does not exist, the pattern has {}", variant.group, properties.explicit_captures_len()));
    }
    let hir = if variant.group == 0 { syntax::without_captures(&hir) } else { hir };
    Ok((hir, max))
}
