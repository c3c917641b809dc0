//! Lazy automata: one for each pattern, and two for what stands around the announcements of all patterns.
//!
//! A determinised automaton answers in about a nanosecond a byte; building it while it runs keeps memory to the states that texts really
//! reach. Each thread that screens has states of its own ([`Scratch`]), so nothing is locked in between.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::OnceLock;

use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson::pikevm::PikeVM;
use regex_automata::nfa::thompson::{self, WhichCaptures};
use regex_automata::{Anchored, Input, MatchKind};
use regex_syntax::hir::Hir;

use crate::marks::Marks;
use crate::written::Written;

/// Largest compiled form of one pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Largest compiled form of the surroundings of all announcements of one kind, in bytes.
const SURROUNDINGS_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Memory for the states of one pattern that a thread has met, in bytes; when it is full they are forgotten and met again.
const STATES_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The same for the surroundings of all announcements of one kind, each way.
const SURROUNDINGS_STATES_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The states of all automata that one thread has met.
#[derive(Default)]
pub(crate) struct Scratch {
    pub patterns: Vec<Option<Box<Cache>>>,
    pub surroundings: Vec<Surrounded>,
    /// For each pattern, where its newest window is in the list being made; an entry from an earlier list is told by its pattern.
    pub newest: Vec<u32>,
    /// Patterns that may stand at the place being looked at, a bit for each.
    pub fit: Vec<u64>,
    /// Where keywords stand in the text being searched.
    pub marks: Marks,
}

/// What one thread knows of one [`Surroundings`].
#[derive(Default)]
pub(crate) struct Surrounded {
    after: Walked,
    before: Walked,
    /// Patterns found, a bit for each; and those of them of which something is asked before.
    found: Vec<u64>,
    guarded: Vec<u64>,
}

/// The states of one automaton that a thread has met.
#[derive(Default)]
struct Walked {
    cache: Option<Box<Cache>>,
    /// For each state that matches, the patterns it matches.
    matched: HashMap<LazyStateID, SomeBits, BuildHasherDefault<StateHasher>>,
    /// How often the cache had been emptied when `matched` was filled: its states are others after that.
    cleared: usize,
}

/// A set of bits: its words that are not zero, each with its number.
type SomeBits = Box<[(u32, u64)]>;

/// Hashes the number of a state, which nobody chooses, with one product.
#[derive(Default)]
struct StateHasher(u64);

impl Hasher for StateHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(u64::from(byte)));
    }

    fn write_u32(&mut self, state: u32) {
        self.write_u64(u64::from(state));
    }

    fn write_u64(&mut self, state: u64) {
        // The table takes its place from the low bits and a tag from the high ones.
        self.0 = (self.0 ^ state).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_right(32);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Scratch {
    /// Returns a scratch for so many patterns and sets of cores.
    pub(crate) fn new(patterns: usize, surroundings: usize) -> Self {
        let newest = vec![u32::MAX; patterns];
        let patterns = (0..patterns).map(|_| None).collect();
        Self {
            patterns,
            newest,
            fit: Vec::new(),
            marks: Marks::default(),
            surroundings: (0..surroundings).map(|_| Surrounded::default()).collect(),
        }
    }
}

/// Compiles patterns into one automaton.
fn automaton(patterns: &[&Hir], reverse: bool, kind: MatchKind, nfa_bytes: usize, states_bytes: usize) -> Result<DFA, String> {
    let config = thompson::Config::new().utf8(false).reverse(reverse).which_captures(WhichCaptures::None).nfa_size_limit(Some(nfa_bytes));
    let too_large = |error: &dyn std::error::Error| {
        let cause = error.source().map(ToString::to_string);
        format!("pattern is too large: {}", cause.unwrap_or_else(|| error.to_string()))
    };
    let nfa = thompson::Compiler::new().configure(config).build_many_from_hir(patterns).map_err(|error| too_large(&error))?;
    let config = DFA::config().match_kind(kind).cache_capacity(states_bytes).skip_cache_capacity_check(true).starts_for_each_pattern(false);
    DFA::builder().configure(config).build_from_nfa(nfa).map_err(|error| too_large(&error))
}

/// The automaton of one pattern; leftmost-first. Most texts need those of a few patterns, so it is made when it is first asked for.
pub(crate) struct Automaton {
    pattern: Written,
    dfa: OnceLock<Option<DFA>>,
}

impl Automaton {
    /// Keeps a pattern that is known to compile.
    pub(crate) fn later(pattern: &Hir) -> Self {
        Self { pattern: Written::new(pattern), dfa: OnceLock::new() }
    }

    /// Compiles a pattern.
    pub(crate) fn new(pattern: &Hir) -> Result<Self, String> {
        let dfa = Self::compiled(pattern)?;
        Ok(Self { pattern: Written::new(pattern), dfa: OnceLock::from(Some(dfa)) })
    }

    fn compiled(pattern: &Hir) -> Result<DFA, String> {
        automaton(&[pattern], false, MatchKind::LeftmostFirst, PATTERN_BYTES_MAX, STATES_BYTES_MAX)
    }

    /// Forgets what was made of the pattern, until it is needed again.
    pub(crate) fn forget(&mut self) {
        self.dfa.take();
    }

    /// The pattern, parsed.
    pub(crate) fn pattern(&self) -> Result<Hir, String> {
        self.pattern.read()
    }

    /// Returns where the match that begins at `start` ends, if there is one that ends at `limit` or before.
    pub(crate) fn end(&self, cache: &mut Option<Box<Cache>>, text: &str, start: usize, limit: usize) -> Option<usize> {
        self.search(cache, &Input::new(text).range(start..limit).anchored(Anchored::Yes))
    }

    /// Returns true when a match begins at `low` or later and ends at `limit` or before.
    pub(crate) fn is_within(&self, cache: &mut Option<Box<Cache>>, text: &str, low: usize, limit: usize) -> bool {
        self.search(cache, &Input::new(text).range(low..limit).earliest(true)).is_some()
    }

    fn search(&self, cache: &mut Option<Box<Cache>>, input: &Input<'_>) -> Option<usize> {
        let dfa = self.dfa.get_or_init(|| self.pattern().and_then(|pattern| Self::compiled(&pattern)).ok());
        // It was compiled once before, here or where the program was built, so it can be again. If it ever cannot, what is asked about is
        // taken for a match, and the rule's other demands decide.
        let Some(dfa) = dfa else { return Some(input.end()) };
        let cache = cache.get_or_insert_with(|| Box::new(dfa.create_cache()));
        match dfa.try_search_fwd(cache, input) {
            Ok(found) => found.map(|found| found.offset()),
            // An automaton that gives up has not said no. It is not set up to give up; if it ever does, the slow way answers.
            Err(_) => {
                let vm = PikeVM::new_from_nfa(dfa.get_nfa().clone()).ok()?;
                vm.find(&mut vm.create_cache(), input.clone()).map(|found| found.end())
            }
        }
    }
}

/// What must stand around an announcement, for all patterns that have announcements of one kind: two automata for all of them, which
/// tell in a few steps that hardly any is there.
pub(crate) struct Surroundings {
    after: DFA,
    before: DFA,
    /// The pattern of each pattern of `after`, and of `before`.
    every: Vec<usize>,
    guarded: Vec<usize>,
    /// The patterns in `guarded`, a bit for each; nothing is asked of what stands before the others.
    is_guarded: Vec<u64>,
}

impl Surroundings {
    /// Compiles what stands after and before, pattern by pattern.
    pub(crate) fn new(after: &[&Hir], before: &[&Hir]) -> Result<Self, String> {
        let all = |hirs: &[&Hir], reverse| automaton(hirs, reverse, MatchKind::All, SURROUNDINGS_BYTES_MAX, SURROUNDINGS_STATES_BYTES_MAX);
        let asks = |before: &Hir| before.properties().minimum_len() != Some(0) || has_look(before);
        let guarded: Vec<usize> = (0..before.len()).filter(|&pattern| asks(before[pattern])).collect();
        let before: Vec<&Hir> = guarded.iter().map(|&pattern| before[pattern]).collect();
        let mut is_guarded = vec![0; after.len().div_ceil(64)];
        guarded.iter().for_each(|pattern| is_guarded[pattern / 64] |= 1 << (pattern % 64));
        Ok(Self { after: all(after, false)?, before: all(&before, true)?, every: (0..after.len()).collect(), guarded, is_guarded })
    }

    /// Returns which bytes may follow the first one.
    pub(crate) fn second(&self) -> [bool; 256] {
        let dfa = &self.after;
        let mut cache = dfa.create_cache();
        let mut second = [false; 256];
        let Ok(start) = dfa.start_state_forward(&mut cache, &Input::new("").anchored(Anchored::Yes)) else { return [true; 256] };
        for first in 0..=255 {
            let Ok(state) = dfa.next_state(&mut cache, start, first) else { return [true; 256] };
            for next in (0..=255u8).filter(|_| !state.is_dead()) {
                let dies = dfa.next_state(&mut cache, state, next).is_ok_and(|state| state.is_dead());
                second[usize::from(next)] |= !dies;
            }
        }
        second
    }

    /// Calls `found` with the number of every pattern of `fit` (a bit for each) that may match around `at`.
    pub(crate) fn at(&self, scratch: &mut Surrounded, fit: &[u64], text: &[u8], at: usize, mut found: impl FnMut(usize)) {
        let Surrounded { after, before, found: bits, guarded } = scratch;
        let input = Input::new(text).range(at..).anchored(Anchored::Yes);
        let start = |cache: &mut Cache| self.after.start_state_forward(cache, &input).ok();
        after.walk(&self.after, &self.every, start, text[at..].iter(), fit, bits);
        guarded.clear();
        guarded.extend(bits.iter().zip(&self.is_guarded).map(|(found, guarded)| found & guarded));
        each(bits.iter().zip(&self.is_guarded).map(|(found, guarded)| found & !guarded), &mut found);
        if guarded.iter().any(|word| *word != 0) {
            let input = Input::new(text).range(..at).anchored(Anchored::Yes);
            let start = |cache: &mut Cache| self.before.start_state_reverse(cache, &input).ok();
            before.walk(&self.before, &self.guarded, start, text[..at].iter().rev(), guarded, bits);
            each(bits.iter().copied(), &mut found);
        }
    }
}

/// Calls `found` with the number of each bit that is set.
fn each(words: impl Iterator<Item = u64>, found: &mut impl FnMut(usize)) {
    for (nth, mut word) in words.enumerate() {
        while word != 0 {
            found(nth * 64 + word.trailing_zeros() as usize);
            word &= word - 1;
        }
    }
}

/// Returns true when a pattern that may be empty still asks something of its place.
fn has_look(hir: &Hir) -> bool {
    !hir.properties().look_set().is_empty()
}

impl Walked {
    /// Walks until nothing is alive any more and sets in `found` those patterns of `fit` that match; `numbers` are the patterns of the
    /// automaton's patterns. What cannot be told counts as found, and the patterns themselves decide.
    fn walk<'t>(
        &mut self,
        dfa: &DFA,
        numbers: &[usize],
        start: impl FnOnce(&mut Cache) -> Option<LazyStateID>,
        bytes: impl Iterator<Item = &'t u8>,
        fit: &[u64],
        found: &mut Vec<u64>,
    ) {
        found.clear();
        found.resize(fit.len(), 0);
        if self.try_walk(dfa, numbers, start, bytes, fit, found).is_none() {
            found.copy_from_slice(fit);
        }
    }

    /// The same; `None` when the automaton gives up.
    fn try_walk<'t>(
        &mut self,
        dfa: &DFA,
        numbers: &[usize],
        start: impl FnOnce(&mut Cache) -> Option<LazyStateID>,
        bytes: impl Iterator<Item = &'t u8>,
        fit: &[u64],
        found: &mut [u64],
    ) -> Option<()> {
        let cache = self.cache.get_or_insert_with(|| Box::new(dfa.create_cache()));
        let mut state = start(cache)?;
        // Patterns of `fit` that are not found yet.
        let mut missing = fit.iter().map(|word| word.count_ones()).sum::<u32>();
        let mut matched = |cache: &Cache, state: LazyStateID| {
            if self.cleared != cache.clear_count() {
                self.matched.clear();
                self.cleared = cache.clear_count();
            }
            let patterns = self.matched.entry(state).or_insert_with(|| {
                let mut patterns = vec![0; fit.len()];
                for nth in 0..dfa.match_len(cache, state) {
                    let number = numbers[dfa.match_pattern(cache, state, nth).as_usize()];
                    patterns[number / 64] |= 1 << (number % 64);
                }
                (0..).zip(patterns).filter(|(_, word)| *word != 0).collect()
            });
            for (nth, patterns) in patterns {
                let (found, fit) = (&mut found[*nth as usize], fit[*nth as usize]);
                let new = *patterns & fit & !*found;
                *found |= new;
                missing -= new.count_ones();
            }
            missing == 0
        };
        for &byte in bytes {
            state = dfa.next_state(cache, state, byte).ok()?;
            if state.is_tagged() {
                if state.is_match() {
                    if matched(cache, state) {
                        return Some(());
                    }
                } else if state.is_dead() {
                    return Some(());
                } else if state.is_quit() {
                    return None;
                }
            }
        }
        let state = dfa.next_eoi_state(cache, state).ok()?;
        if state.is_match() {
            matched(cache, state);
        }
        Some(())
    }
}
