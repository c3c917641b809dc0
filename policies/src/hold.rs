//! How much of a text that goes on may still become part of a match.
//!
//! All patterns run together as one lazy automaton, anchored, from each position of the tail in turn. While the automaton lives at
//! the end of the text, what follows may complete or change a match that starts there; once it is dead nothing can. So the first
//! position from which it lives is where holding back begins: exact up to what checks and context will say, and on prose a few bytes.

use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson;
use regex_automata::util::pool::Pool;
use regex_automata::{Anchored, Input, MatchKind};
use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, Hir, HirKind, Repetition};

use crate::compile::Matcher;
use crate::syntax;
use crate::threads;
use crate::view::Views;

/// Largest automaton of all patterns of one direction, in bytes.
const AUTOMATON_BYTES_MAX: usize = 512 * 1024 * 1024;
/// Memory for the states met, for each thread that screens streams, in bytes.
const CACHE_BYTES: usize = 8 * 1024 * 1024;

/// Most places a counted repetition may take in the automaton before its count is let go.
const REPEAT_PLACES_MAX: usize = 256;

/// A class of more ranges than this is widened: `\w` has hundreds, each in several states of an automaton of bytes.
const RANGES_MAX: usize = 16;
/// Everything beyond ASCII but punctuation, which is what ends most that is held back.
const BEYOND: [(char, char); 4] = [('\u{80}', '\u{1fff}'), ('\u{2070}', '\u{2fff}'), ('\u{3040}', '\u{feff}'), ('\u{fff0}', char::MAX)];

/// A class that takes what `class` takes and every character of [`BEYOND`].
fn widened(class: &ClassUnicode) -> Hir {
    let mut wide = ClassUnicode::new(BEYOND.map(|(first, last)| ClassUnicodeRange::new(first, last)));
    wide.union(class);
    Hir::class(Class::Unicode(wide))
}

/// A pattern that matches at least what `hir` matches, in fewer places: a repetition that would be written out too often becomes one
/// without a count. Holding back for it is safe, as `reach` bounds it; an automaton with thousands of places in one state is slow to
/// walk and overflows its cache. Gives the pattern and how many places it takes.
fn loosened(hir: &Hir) -> (Hir, usize) {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => (hir.clone(), 0),
        HirKind::Literal(literal) => (hir.clone(), literal.0.len()),
        HirKind::Class(Class::Unicode(class)) if class.ranges().len() > RANGES_MAX => (widened(class), 1),
        HirKind::Class(_) => (hir.clone(), 1),
        HirKind::Capture(capture) => loosened(&capture.sub),
        HirKind::Concat(parts) => {
            let (parts, places): (Vec<Hir>, Vec<usize>) = parts.iter().map(loosened).unzip();
            (Hir::concat(parts), places.iter().sum())
        }
        HirKind::Alternation(_) if syntax::is_one_character(hir) => (hir.clone(), 1),
        HirKind::Alternation(parts) => {
            let (parts, places): (Vec<Hir>, Vec<usize>) = parts.iter().map(loosened).unzip();
            (Hir::alternation(parts), places.iter().sum())
        }
        HirKind::Repetition(repetition) => {
            let (sub, places) = loosened(&repetition.sub);
            let times = repetition.max.unwrap_or(repetition.min.max(1)) as usize;
            let keeps = places.saturating_mul(times) <= REPEAT_PLACES_MAX;
            let (min, max, places) = if keeps { (repetition.min, repetition.max, places * times) } else { (0, None, places) };
            (Hir::repetition(Repetition { min, max, greedy: repetition.greedy, sub: Box::new(sub) }), places)
        }
    }
}

/// The automaton of one direction.
pub(crate) struct Hold {
    dfa: DFA,
    caches: Pool<Cache, Box<dyn Fn() -> Cache + Send + Sync + std::panic::UnwindSafe + std::panic::RefUnwindSafe>>,
    /// Longest match of all patterns, in bytes.
    reach: usize,
}

impl Hold {
    /// Builds the automaton of these patterns.
    pub(crate) fn new<'m>(matchers: impl Iterator<Item = &'m Matcher>) -> Result<Self, String> {
        let matchers: Vec<&Matcher> = matchers.collect();
        let reach = matchers.iter().map(|matcher| matcher.max).max().unwrap_or(0);
        let config = thompson::Config::new()
            .utf8(false)
            .shrink(false)
            .which_captures(thompson::WhichCaptures::None)
            .nfa_size_limit(Some(AUTOMATON_BYTES_MAX));
        let hir = |_, matcher: &&Matcher| Ok(loosened(&matcher.automaton.pattern()?).0);
        let hirs: Vec<Hir> = threads::each(&matchers, hir).into_iter().collect::<Result<_, String>>()?;
        let too_large = |error: &dyn std::fmt::Display| format!("all patterns together are too large: {error}");
        let nfa = thompson::Compiler::new().configure(config).build_many_from_hir(&hirs).map_err(|error| too_large(&error))?;
        let config = DFA::config().match_kind(MatchKind::All).cache_capacity(CACHE_BYTES).skip_cache_capacity_check(true);
        let dfa = DFA::builder().configure(config).build_from_nfa(nfa).map_err(|error| too_large(&error))?;
        let maker = dfa.clone();
        Ok(Self { dfa, caches: Pool::new(Box::new(move || maker.create_cache())), reach })
    }

    /// Returns the first raw position, at `from` or later, from which the text may still become a match.
    pub(crate) fn open(&self, views: &Views<'_>, from: usize) -> usize {
        let mut cache = self.caches.get();
        let mut open = views.stop();
        for view in views.searched() {
            let text = views.text(view);
            let from = views.at_raw(view, from).max(text.len().saturating_sub(self.reach));
            let mut starts = (from..text.len()).filter(|&at| text.is_char_boundary(at));
            if let Some(start) = starts.find(|&start| self.lives(&mut cache, text.as_bytes(), start)) {
                open = open.min(views.raw_start(view, start));
            }
        }
        open
    }

    /// Returns true when some match may start here and go on past the end.
    fn lives(&self, cache: &mut Cache, text: &[u8], start: usize) -> bool {
        let input = Input::new(text).range(start..).anchored(Anchored::Yes);
        // An automaton that gives up has not said no.
        let Ok(mut state) = self.dfa.start_state_forward(cache, &input) else { return true };
        for &byte in &text[start..] {
            state = match self.dfa.next_state(cache, state, byte) {
                Ok(state) => state,
                Err(_) => return true,
            };
            if state.is_dead() {
                return false;
            }
        }
        true
    }
}
