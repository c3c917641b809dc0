//! The search: one text in, candidates out.
//!
//! For each pattern the law is: the candidate at a position is the leftmost-first match that starts there; from left to right the
//! first candidate that is accepted (its keyword, stop words, entropy, check, context and score all hold) is taken, and the search
//! goes on at its end. What is taken therefore depends on nothing before the last match but the bytes of left context, which is
//! what makes a stream give the same result as the whole text.

use std::cell::OnceCell;
use std::ops::Range;

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use regex_automata::util::pool::Pool;
use regex_automata::{Anchored, Input};

use crate::announce::STARTS_TRIED;
use crate::automaton::Scratch;
use crate::compile::{Groups, Lead, Matcher, Matchers};
use crate::literals::{LONG_CLASS, Literals, Sight};
use crate::model::Category;
use crate::pack::{Rule, Variant};
use crate::view::{Views, boundary_up};
use crate::words::{ContextWords, spaced};

/// How many raw bytes before a match are looked at for context words.
pub(crate) const CONTEXT_BYTES: usize = 120;

/// How far behind the last start a beginning may reach, in bytes.
const BEGINNING_REACH: usize = 8;

/// So many start positions are searched for a match before they are tried one by one: a search goes on to the end of the longest match
/// that could begin there, a try mostly ends after a few bytes.
const SEARCHED_FROM: usize = 48;

/// Most groups of a pattern.
pub(crate) const GROUPS_MAX: usize = 16;

/// What is called by literals.
const LITERAL_KIND: usize = 0;

/// Makes a thread's scratch.
type NewScratch = Box<dyn Fn() -> Scratch + Send + Sync + std::panic::UnwindSafe + std::panic::RefUnwindSafe>;

/// All rules, ready to search.
pub(crate) struct Engine {
    pub rules: Vec<Rule>,
    pub matchers: Matchers,
    /// For each rule, for each of its variants.
    pub context: Vec<Vec<Option<ContextWords>>>,
    /// For each rule, for each of its variants: its keywords, one of which every match holds.
    keywords: Vec<Vec<Option<AhoCorasick>>>,
    scratches: Pool<Scratch, NewScratch>,
}

impl Engine {
    /// Forgets the states that a rule's own patterns met in its examples.
    pub(crate) fn forget_rule(&self, rule: usize) {
        let mut scratch = self.scratches.get();
        let own = self.matchers.all.iter().zip(&mut scratch.patterns).filter(|(matcher, _)| matcher.rule == rule);
        own.for_each(|(_, states)| *states = None);
    }
}

/// Sorts candidates and drops what two views or two patterns of one rule found alike.
fn in_order(mut candidates: Vec<Candidate>) -> Vec<Candidate> {
    candidates.sort_by(|a, b| {
        (a.rule, a.span.start, a.span.end, a.extent.start, a.extent.end)
            .cmp(&(b.rule, b.span.start, b.span.end, b.extent.start, b.extent.end))
            .then(b.score.total_cmp(&a.score))
    });
    candidates.dedup_by(|later, kept| later.rule == kept.rule && later.span == kept.span && later.extent == kept.extent);
    candidates
}

fn keywords(variant: &Variant) -> Option<AhoCorasick> {
    if variant.keywords.is_empty() {
        return None;
    }
    // Fails only for gigabytes of keywords, which no pack file can hold.
    AhoCorasick::builder().ascii_case_insensitive(true).kind(Some(AhoCorasickKind::ContiguousNFA)).build(&variant.keywords).ok()
}

fn scratches(matchers: &Matchers) -> Pool<Scratch, NewScratch> {
    let (patterns, kinds) = (matchers.all.len(), matchers.called.len());
    Pool::new(Box::new(move || Scratch::new(patterns, kinds)))
}

/// Something one rule found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Candidate {
    /// Index of the rule.
    pub rule: usize,
    /// What is reported and redacted, in raw bytes.
    pub span: Range<usize>,
    /// The whole match with its anchors, in raw bytes.
    pub extent: Range<usize>,
    pub score: f32,
}

/// Start positions worth trying, for one matcher: both ends included.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Window {
    matcher: usize,
    low: usize,
    high: usize,
}

impl Engine {
    /// Puts compiled rules together.
    pub(crate) fn new(rules: Vec<Rule>, matchers: Matchers) -> Self {
        let words = |rule: &Rule| rule.variants.iter().map(|variant| variant.context.as_ref().map(ContextWords::new)).collect();
        let context = rules.iter().map(words).collect();
        let keywords = rules.iter().map(|rule| rule.variants.iter().map(keywords).collect()).collect();
        let scratches = scratches(&matchers);
        Self { rules, matchers, context, keywords, scratches }
    }

    /// Returns floors with which every rule looks and everything it finds is taken.
    pub(crate) fn floors(&self) -> Vec<f32> {
        vec![0.0; self.rules.len()]
    }

    /// Forgets what was learnt from texts so far, as after the examples: each of them met states that other texts hardly meet.
    pub(crate) fn forget(&mut self) {
        for matcher in &mut self.matchers.all {
            matcher.automaton.forget();
            matcher.groups.iter_mut().for_each(Groups::forget);
        }
        self.scratches = scratches(&self.matchers);
    }

    /// Finds all candidates that start at raw byte `from` or later and score at least their rule's floor; a rule whose floor is infinite
    /// does not look.
    pub(crate) fn candidates(&self, views: &Views<'_>, from: usize, floors: &[f32]) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        let mut scratch = self.scratches.get();
        let attacks = OnceCell::new();
        for view in views.searched() {
            let floors = if views.is_disguise(view) { attacks.get_or_init(|| self.attacks(floors)) } else { floors };
            let text = views.text(view);
            let from = views.at_raw(view, from);
            let windows = self.windows(text, from, floors, &mut scratch);
            let mut search = Search { engine: self, floors, views, view, text, scratch: &mut scratch, out: &mut candidates };
            let mut behind = (usize::MAX, 0);
            for window in windows {
                // A match may reach into its matcher's next window, which is then entered behind it.
                let low = if behind.0 == window.matcher { window.low.max(behind.1) } else { window.low };
                behind = (window.matcher, search.run(&Window { low, ..window }));
            }
        }
        in_order(candidates)
    }

    /// Leaves of the rules that look those for attacks and forbidden subjects: a guess at a disguise is searched for nothing else.
    fn attacks(&self, floors: &[f32]) -> Vec<f32> {
        let attacks = [Category::Injection, Category::Jailbreak, Category::Sensitive];
        let floor = |(rule, floor): (&Rule, &f32)| if attacks.contains(&rule.info.category) { *floor } else { f32::INFINITY };
        self.rules.iter().zip(floors).map(floor).collect()
    }

    /// Lists where each matcher is worth running; disjoint and in order for each matcher, matchers together.
    fn windows(&self, text: &str, from: usize, floors: &[f32], scratch: &mut Scratch) -> Vec<Window> {
        let matchers = &self.matchers;
        scratch.marks.clear();
        let mut seeing = Seeing { matchers, text: text.as_bytes(), from, floors, scratch, windows: Vec::new() };
        matchers.literals.look(text.as_bytes(), from, &mut seeing);
        if !matchers.called[usize::from(LONG_CLASS)].leads.is_empty() {
            Literals::long_runs(text.as_bytes(), from, |at| seeing.call(usize::from(LONG_CLASS), at));
        }
        let mut windows = seeing.windows;
        for &matcher in &matchers.everywhere {
            if floors[matchers.all[matcher].rule].is_finite() {
                windows.push(Window { matcher, low: from, high: text.len() });
            }
        }
        windows.sort_unstable();
        windows.dedup_by(|later, kept| {
            let joined = later.matcher == kept.matcher && later.low <= kept.high + 1;
            if joined {
                kept.high = kept.high.max(later.high);
            }
            joined
        });
        windows
    }
}

/// Turns what is seen into windows.
struct Seeing<'s> {
    matchers: &'s Matchers,
    text: &'s [u8],
    from: usize,
    floors: &'s [f32],
    scratch: &'s mut Scratch,
    windows: Vec<Window>,
}

impl Seeing<'_> {
    /// Opens a window for every pattern of this kind of announcement that may match around `at`.
    fn call(&mut self, kind: usize, at: usize) {
        let Self { matchers, text, from, floors, scratch, windows, .. } = self;
        let Scratch { surroundings, newest, fit, .. } = &mut **scratch;
        let called = &matchers.called[kind];
        if !called.outlines.fit(text, at, fit) {
            return;
        }
        called.surroundings.at(&mut surroundings[kind], fit, text, at, |pattern| {
            let lead = &called.leads[pattern];
            if floors[matchers.all[lead.matcher].rule].is_finite() {
                open(windows, newest, lead, text, at, *from);
            }
        });
    }
}

/// Opens a window where a lead points to.
fn open(windows: &mut Vec<Window>, newest: &mut [u32], lead: &Lead, text: &[u8], at: usize, from: usize) {
    let Some(high) = at.checked_sub(lead.reach.min).filter(|&high| high >= from) else { return };
    let mut low = at.saturating_sub(lead.reach.max).max(from);
    if let Some(within) = &lead.within {
        let far = text[low..at].iter().rposition(|&byte| !within.has(byte));
        low += far.map_or(0, |far| far + 1);
    }
    if low > high {
        return;
    }
    // A run of announcements makes one window: hostile text must not make millions.
    let newest = &mut newest[lead.matcher];
    if let Some(window) = windows.get_mut(*newest as usize)
        && window.matcher == lead.matcher
        && window.low <= low
        && low <= window.high + 1
    {
        window.high = window.high.max(high);
        return;
    }
    *newest = windows.len() as u32;
    windows.push(Window { matcher: lead.matcher, low, high });
}

impl Sight for Seeing<'_> {
    fn literal(&mut self, literal: usize, start: usize, end: usize) {
        let Self { matchers, text, from, floors, scratch, windows, .. } = self;
        let Scratch { surroundings, newest, fit, marks, .. } = &mut **scratch;
        matchers.marked.note(marks, literal, start);
        let called = &matchers.called[LITERAL_KIND];
        let mut open = |pattern: usize| {
            let lead = &called.leads[pattern];
            if floors[matchers.all[lead.matcher].rule].is_finite() {
                open(windows, newest, lead, text, start, *from);
            }
        };
        fit.clear();
        matchers.signs.fit(literal, text, start, end, |pattern| {
            if called.leads[pattern].reach.is_narrow() {
                open(pattern);
            } else {
                fit.resize(called.leads.len().div_ceil(64), 0);
                fit[pattern / 64] |= 1 << (pattern % 64);
            }
        });
        if !fit.is_empty() {
            called.surroundings.at(&mut surroundings[LITERAL_KIND], fit, text, start, open);
        }
    }

    fn byte(&mut self, class: u8, at: usize) {
        let kind = usize::from(class);
        if self.text.get(at + 1).is_none_or(|&next| self.matchers.called[kind].second[usize::from(next)]) {
            self.call(kind, at);
        }
    }
}

/// One view being searched.
struct Search<'s, 'v> {
    engine: &'s Engine,
    floors: &'s [f32],
    views: &'s Views<'v>,
    view: usize,
    text: &'s str,
    scratch: &'s mut Scratch,
    out: &'s mut Vec<Candidate>,
}

impl Search<'_, '_> {
    /// Takes what starts in a window, by the law in the file's header, and returns where the search came to.
    fn run(&mut self, window: &Window) -> usize {
        let engine = self.engine;
        let matcher = &engine.matchers.all[window.matcher];
        let high = window.high.min(self.text.len());
        let mut at = window.low;
        let is_wide = high.saturating_sub(at) >= STARTS_TRIED;
        if !self.may_be_whole(matcher, at, high, is_wide) {
            return at;
        }
        if is_wide {
            if let Some(beginnings) = &matcher.beginnings {
                return self.run_from(window.matcher, beginnings, at, high);
            }
            if high - at >= SEARCHED_FROM && !self.is_within(window.matcher, at, high) {
                return at;
            }
        }
        // A match has at least one byte, so none starts at the end of the text.
        while at <= high && at < self.text.len() {
            let begins = matcher.beginning.fits(&self.text.as_bytes()[at..]);
            at = if begins { self.take(window.matcher, at) } else { boundary_up(self.text, at + 1) };
        }
        at
    }

    /// The same, trying only where a match can begin.
    fn run_from(&mut self, matcher: usize, beginnings: &AhoCorasick, low: usize, high: usize) -> usize {
        let limit = self.text.len().min(high + BEGINNING_REACH);
        let mut starts: Vec<usize> =
            beginnings.find_overlapping_iter(&self.text.as_bytes()[low..limit]).map(|found| low + found.start()).collect();
        starts.sort_unstable();
        starts.dedup();
        let mut at = low;
        for start in starts {
            if (at..=high).contains(&start) {
                at = self.take(matcher, start);
            }
        }
        at
    }

    /// Takes the match that starts exactly here, if it is accepted, and returns where the search goes on.
    fn take(&mut self, matcher: usize, start: usize) -> usize {
        let engine = self.engine;
        let accepted = self.end(matcher, start).and_then(|end| Some((end, self.accept(&engine.matchers.all[matcher], start..end)?)));
        match accepted {
            Some((end, candidate)) => {
                self.out.push(candidate);
                end
            }
            None => boundary_up(self.text, start + 1),
        }
    }

    /// Returns false when no match that starts between `low` and `high` can hold what every match must hold besides its announcement;
    /// keywords that were not marked are searched for only where that `pays`.
    fn may_be_whole(&self, matcher: &Matcher, low: usize, high: usize, pays: bool) -> bool {
        let limit = self.text.len().min(high + matcher.max);
        if !matcher.asks.iter().all(|&set| self.scratch.marks.may_be_in(set, low..limit)) {
            return false;
        }
        if matcher.asks_keywords || !pays {
            return true;
        }
        let keywords = &self.engine.keywords[matcher.rule][matcher.variant];
        keywords.as_ref().is_none_or(|keywords| keywords.is_match(&self.text.as_bytes()[low..limit]))
    }

    /// Returns true when a match may start between `low` and `high`.
    fn is_within(&mut self, matcher: usize, low: usize, high: usize) -> bool {
        let Matcher { automaton, max, .. } = &self.engine.matchers.all[matcher];
        automaton.is_within(&mut self.scratch.patterns[matcher], self.text, low, self.text.len().min(high + max))
    }

    /// Returns the end of the match that starts exactly here.
    fn end(&mut self, matcher: usize, start: usize) -> Option<usize> {
        let Matcher { automaton, max, .. } = &self.engine.matchers.all[matcher];
        let limit = self.text.len().min(start + max);
        if start >= limit {
            return None;
        }
        automaton.end(&mut self.scratch.patterns[matcher], self.text, start, limit)
    }

    /// Asks everything the rule asks of a match.
    fn accept(&self, matcher: &Matcher, found: Range<usize>) -> Option<Candidate> {
        if !self.views.is_new(self.view, &found) {
            return None;
        }
        let variant = self.variant(matcher);
        let floor = self.floors[matcher.rule];
        // Where nothing but context can make it a finding, that is asked first: it is cheaper than groups and checks.
        let early = match &variant.context {
            Some(context) if context.required || variant.score < floor => Some(self.score(matcher, found.start)?),
            _ => None,
        };
        if early.is_some_and(|score| score < floor) {
            return None;
        }
        let span = match variant.group {
            0 => found.clone(),
            group => self.group(matcher, found.start, group)?,
        };
        let whole = self.text.get(found.clone())?;
        let part = self.text.get(span.clone()).filter(|part| !part.is_empty())?;
        if self.engine.keywords[matcher.rule][matcher.variant].as_ref().is_some_and(|keywords| !keywords.is_match(whole)) {
            return None;
        }
        if !variant.stop_words.is_empty() {
            let lower = part.to_lowercase();
            if variant.stop_words.iter().any(|word| lower.contains(word)) {
                return None;
            }
        }
        if variant.entropy.is_some_and(|floor| entropy(part) < floor) || variant.check.is_some_and(|check| !check(part)) {
            return None;
        }
        let score = match early {
            Some(score) => score,
            None => self.score(matcher, found.start)?,
        };
        (score >= floor).then(|| Candidate {
            rule: matcher.rule,
            span: self.views.raw_span(self.view, span),
            extent: self.views.raw_span(self.view, found),
            score,
        })
    }

    fn variant(&self, matcher: &Matcher) -> &Variant {
        &self.engine.rules[matcher.rule].variants[matcher.variant]
    }

    fn group(&self, matcher: &Matcher, start: usize, group: usize) -> Option<Range<usize>> {
        let groups = matcher.groups.as_ref()?.get()?;
        let input = Input::new(self.text).range(start..self.text.len().min(start + matcher.max)).anchored(Anchored::Yes);
        let mut slots = [None; 2 * (GROUPS_MAX + 1)];
        groups.search_slots(&input, slots.get_mut(..2 * (group + 1))?)?;
        Some(slots[2 * group]?.get()..slots[2 * group + 1]?.get())
    }

    /// Returns the score with its context; none when the rule asks for context and there is none.
    fn score(&self, matcher: &Matcher, start: usize) -> Option<f32> {
        let base = self.variant(matcher).score;
        let Some(context) = &self.engine.context[matcher.rule][matcher.variant] else { return Some(base) };
        let low = match self.views.is_decoded(self.view) {
            true => boundary_up(self.text, start.saturating_sub(CONTEXT_BYTES)),
            false => {
                let raw = self.views.raw_start(self.view, start);
                self.views.at_raw(self.view, raw.saturating_sub(CONTEXT_BYTES)).min(start)
            }
        };
        // A word that the window cuts in two is no word.
        let is_cut = self.text.get(..low)?.chars().next_back().is_some_and(spaced);
        let before = self.text.get(low..start)?;
        let before = if is_cut { before.trim_start_matches(spaced) } else { before };
        match context.found(before, self.views.is_folded(self.view)) {
            true => Some((base + context.boost).min(1.0)),
            false => (!context.required).then_some(base),
        }
    }
}

/// Shannon's entropy of the characters of a text, in bits per character.
fn entropy(text: &str) -> f32 {
    let mut characters: Vec<char> = text.chars().collect();
    characters.sort_unstable();
    let total = characters.len() as f32;
    let runs = characters.chunk_by(|a, b| a == b).map(|run| run.len() as f32 / total);
    -runs.map(|share| share * share.log2()).sum::<f32>()
}

#[cfg(test)]
impl Engine {
    /// The law of the search taken at its word, without announcements: every pattern at every place.
    pub(crate) fn candidates_by_law(&self, views: &Views<'_>, floors: &[f32]) -> Vec<Candidate> {
        let (mut candidates, mut scratch) = (Vec::new(), self.scratches.get());
        for view in views.searched() {
            let text = views.text(view);
            let mut search = Search { engine: self, floors, views, view, text, scratch: &mut scratch, out: &mut candidates };
            for (number, matcher) in self.matchers.all.iter().enumerate() {
                let mut at = if floors[matcher.rule].is_finite() { 0 } else { text.len() };
                while at < text.len() {
                    at = search.take(number, at);
                }
            }
        }
        in_order(candidates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_counts_bits_per_character() {
        assert_eq!(entropy("aaaa"), 0.0);
        assert_eq!(entropy("abcd"), 2.0);
        assert!((entropy("aabb中中") - 3f32.log2()).abs() < 1e-6);
    }
}
