//! Lazy automata: one for each pattern, and two for what stands around the announcements of all patterns.
//!
//! A determinised automaton answers in about a nanosecond a byte; building it while it runs keeps memory to the states that texts really
//! reach. Each thread that screens has states of its own ([`Scratch`]), so nothing is locked in between.

use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson::pikevm::PikeVM;
use regex_automata::nfa::thompson::{self, WhichCaptures};
use regex_automata::{Anchored, Input, MatchKind};
use regex_syntax::hir::Hir;

use crate::marks::Marks;

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
    after: Option<Box<Cache>>,
    before: Option<Box<Cache>>,
    /// Patterns whose `after` was found.
    found: Vec<usize>,
    /// The same, pattern by pattern.
    is_found: Vec<bool>,
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

/// The automaton of one pattern; leftmost-first.
pub(crate) struct Automaton {
    dfa: DFA,
}

impl Automaton {
    /// Compiles a pattern.
    pub(crate) fn new(pattern: &Hir) -> Result<Self, String> {
        automaton(&[pattern], false, MatchKind::LeftmostFirst, PATTERN_BYTES_MAX, STATES_BYTES_MAX).map(|dfa| Self { dfa })
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
        let cache = cache.get_or_insert_with(|| Box::new(self.dfa.create_cache()));
        match self.dfa.try_search_fwd(cache, input) {
            Ok(found) => found.map(|found| found.offset()),
            // An automaton that gives up has not said no. It is not set up to give up; if it ever does, the slow way answers.
            Err(_) => {
                let vm = PikeVM::new_from_nfa(self.dfa.get_nfa().clone()).ok()?;
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
    /// The pattern of each pattern of `before`.
    guarded: Vec<usize>,
    /// True for the patterns in `guarded`; nothing is asked of what stands before the others.
    is_guarded: Vec<bool>,
}

impl Surroundings {
    /// Compiles what stands after and before, pattern by pattern.
    pub(crate) fn new(after: &[&Hir], before: &[&Hir]) -> Result<Self, String> {
        let all = |hirs: &[&Hir], reverse| automaton(hirs, reverse, MatchKind::All, SURROUNDINGS_BYTES_MAX, SURROUNDINGS_STATES_BYTES_MAX);
        let is_guarded: Vec<bool> = before.iter().map(|before| before.properties().minimum_len() != Some(0) || has_look(before)).collect();
        let guarded: Vec<usize> = (0..before.len()).filter(|&pattern| is_guarded[pattern]).collect();
        let before: Vec<&Hir> = guarded.iter().map(|&pattern| before[pattern]).collect();
        Ok(Self { after: all(after, false)?, before: all(&before, true)?, guarded, is_guarded })
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
        let Surrounded { after, before, found: list, is_found } = scratch;
        list.clear();
        is_found.resize(self.after.pattern_len(), false);
        let mut guarded = 0;
        walk_forward(&self.after, after, text, at, &mut |pattern| {
            if fits(fit, pattern) && !is_found[pattern] {
                is_found[pattern] = true;
                list.push(pattern);
                match self.is_guarded[pattern] {
                    true => guarded += 1,
                    false => found(pattern),
                }
            }
        });
        if guarded > 0 {
            walk_backward(&self.before, before, text, at, &mut |nth| {
                let pattern = self.guarded[nth];
                if is_found[pattern] {
                    is_found[pattern] = false;
                    found(pattern);
                }
            });
        }
        list.iter().for_each(|&pattern| is_found[pattern] = false);
    }
}

fn fits(fit: &[u64], pattern: usize) -> bool {
    fit[pattern / 64] >> (pattern % 64) & 1 == 1
}

/// Returns true when a pattern that may be empty still asks something of its place.
fn has_look(hir: &Hir) -> bool {
    !hir.properties().look_set().is_empty()
}

fn walk_forward(dfa: &DFA, cache: &mut Option<Box<Cache>>, text: &[u8], at: usize, found: &mut impl FnMut(usize)) {
    let cache = cache.get_or_insert_with(|| Box::new(dfa.create_cache()));
    let input = Input::new(text).range(at..).anchored(Anchored::Yes);
    let start = dfa.start_state_forward(cache, &input).ok();
    if start.and_then(|start| walk(dfa, cache, start, text[at..].iter(), found)).is_none() {
        // What cannot be told counts as found, and the patterns themselves decide.
        (0..dfa.pattern_len()).for_each(found);
    }
}

fn walk_backward(dfa: &DFA, cache: &mut Option<Box<Cache>>, text: &[u8], at: usize, found: &mut impl FnMut(usize)) {
    let cache = cache.get_or_insert_with(|| Box::new(dfa.create_cache()));
    let input = Input::new(text).range(..at).anchored(Anchored::Yes);
    let start = dfa.start_state_reverse(cache, &input).ok();
    if start.and_then(|start| walk(dfa, cache, start, text[..at].iter().rev(), found)).is_none() {
        (0..dfa.pattern_len()).for_each(found);
    }
}

/// Walks until nothing is alive any more; `None` when the automaton gives up.
fn walk<'t>(
    dfa: &DFA,
    cache: &mut Cache,
    start: LazyStateID,
    bytes: impl Iterator<Item = &'t u8>,
    found: &mut impl FnMut(usize),
) -> Option<()> {
    let mut state = start;
    for &byte in bytes {
        state = dfa.next_state(cache, state, byte).ok()?;
        if state.is_tagged() {
            if state.is_match() {
                (0..dfa.match_len(cache, state)).for_each(|nth| found(dfa.match_pattern(cache, state, nth).as_usize()));
            } else if state.is_dead() {
                return Some(());
            } else if state.is_quit() {
                return None;
            }
        }
    }
    let state = dfa.next_eoi_state(cache, state).ok()?;
    if state.is_match() {
        (0..dfa.match_len(cache, state)).for_each(|nth| found(dfa.match_pattern(cache, state, nth).as_usize()));
    }
    Some(())
}
