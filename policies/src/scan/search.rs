//! A pattern run in its windows, and what its rule asks of a match.

use std::ops::Range;

use aho_corasick::AhoCorasick;
use regex_automata::{Anchored, Input};

use super::seeing::Window;
use super::{CONTEXT_BYTES, Candidate, Engine, GROUPS_MAX};
use crate::announce::STARTS_TRIED;
use crate::automaton::Scratch;
use crate::compile::Matcher;
use crate::pack::Variant;
use crate::view::{Views, boundary_up};
use crate::words::spaced;

/// How far behind the last start a beginning may reach, in bytes.
const BEGINNING_REACH: usize = 8;

/// So many start positions are searched for a match before they are tried one by one: a search goes on to the end of the longest match
/// that could begin there, a try mostly ends after a few bytes.
const SEARCHED_FROM: usize = 48;
/// A pattern with a longer match, in bytes, is searched for in any window that is not narrow: a gap may keep each try going for as long.
const TRIED_BYTES_MAX: usize = 400;

/// One view being searched.
pub(super) struct Search<'s, 'v> {
    pub engine: &'s Engine,
    pub floors: &'s [f32],
    pub views: &'s Views<'v>,
    pub view: usize,
    pub text: &'s str,
    pub scratch: &'s mut Scratch,
    pub out: &'s mut Vec<Candidate>,
}

impl Search<'_, '_> {
    /// Takes what starts in a window, by the law that the module begins with, and returns where the search came to.
    pub(super) fn run(&mut self, window: &Window) -> usize {
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
            let pays = high - at >= SEARCHED_FROM || matcher.max > TRIED_BYTES_MAX;
            if pays && !self.is_within(window.matcher, at, high) {
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
    pub(super) fn take(&mut self, matcher: usize, start: usize) -> usize {
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
mod tests {
    use super::*;

    #[test]
    fn entropy_counts_bits_per_character() {
        assert_eq!(entropy("aaaa"), 0.0);
        assert_eq!(entropy("abcd"), 2.0);
        assert!((entropy("aabb中中") - 3f32.log2()).abs() < 1e-6);
    }
}
