//! Where the literals stand that a match must hold besides what announces it, keywords among them: seen in the one look at a text, so that
//! a window without any is passed over without reading it.

use std::ops::Range;

use crate::frequency::rate;
use crate::literals::LITERAL_BYTES_MIN;
use crate::pack::Variant;

/// Keywords that are expected more often than this, per byte of ordinary text, are searched for in the windows instead.
const RATE_MAX: f64 = 0.02;
/// Marks no further apart than this, in bytes, are kept as one run: a text made of keywords must not fill the memory.
const RUN_GAP_MAX: usize = 64;

/// The sets of literals of which a match must hold one, looked for together with the announcing literals.
pub(crate) struct Marked {
    /// For each literal, where its sets begin in `members`; one more at the end.
    index: Vec<u32>,
    members: Vec<u32>,
}

/// Longest part of a keyword that is looked for, in bytes.
const KEYWORD_BYTES_MAX: usize = 40;

/// Returns what a variant's keywords begin with, in lower case: every match holds one of them.
pub(crate) fn keywords(variant: &Variant) -> Vec<Vec<u8>> {
    let head = |keyword: &String| keyword.as_bytes()[..keyword.len().min(KEYWORD_BYTES_MAX)].to_ascii_lowercase();
    variant.keywords.iter().map(head).collect()
}

/// Returns those that are worth marking; none where there are none or they are too short or too common.
pub(crate) fn markable(variant: &Variant) -> Option<Vec<Vec<u8>>> {
    let keywords = keywords(variant);
    let common = keywords.iter().map(|keyword| rate(keyword)).sum::<f64>() > RATE_MAX;
    let short = keywords.iter().any(|keyword| keyword.len() < LITERAL_BYTES_MIN);
    (!keywords.is_empty() && !common && !short).then_some(keywords)
}

impl Marked {
    /// Prepares sets of literals, which come by their numbers; `literals` is how many there are.
    pub(crate) fn new(sets: &[Vec<usize>], literals: usize) -> Self {
        let pairs = sets.iter().enumerate().flat_map(|(set, members)| members.iter().map(move |&literal| (literal, set as u32)));
        let mut pairs: Vec<(usize, u32)> = pairs.collect();
        pairs.sort_unstable();
        pairs.dedup();
        let mut index = vec![0; literals + 1];
        pairs.iter().for_each(|(literal, _)| index[literal + 1] += 1);
        for at in 1..index.len() {
            index[at] += index[at - 1];
        }
        Self { index, members: pairs.into_iter().map(|(_, set)| set).collect() }
    }

    /// Notes a literal that stands at `at`.
    #[inline]
    pub(crate) fn note(&self, marks: &mut Marks, literal: usize, at: usize) {
        for &set in &self.members[self.index[literal] as usize..self.index[literal + 1] as usize] {
            marks.note(set, at);
        }
    }
}

/// The marks of one text, set by set, as runs from a first to a last place.
#[derive(Default)]
pub(crate) struct Marks {
    runs: Vec<Vec<(usize, usize)>>,
    /// Sets that have any.
    seen: Vec<u32>,
}

impl Marks {
    /// Forgets everything, for the next text.
    pub(crate) fn clear(&mut self) {
        for set in self.seen.drain(..) {
            self.runs[set as usize].clear();
        }
    }

    /// Places come block by block, in a block in any order, and a literal is seen by its rarest part, which may be its last.
    fn note(&mut self, set: u32, at: usize) {
        let number = set as usize;
        if self.runs.len() <= number {
            self.runs.resize_with(number + 1, Vec::new);
        }
        let runs = &mut self.runs[number];
        if runs.is_empty() {
            self.seen.push(set);
        }
        // Runs are in order and further apart than a gap, so only the last few begin behind what is noted.
        let mut nth = runs.iter().rposition(|(first, _)| *first <= at + RUN_GAP_MAX).map_or(0, |before| before + 1);
        match nth.checked_sub(1).and_then(|before| runs.get_mut(before)) {
            Some((first, last)) if at <= *last + RUN_GAP_MAX => {
                *first = at.min(*first);
                *last = at.max(*last);
                nth -= 1;
            }
            _ => runs.insert(nth, (at, at)),
        }
        // What was widened downwards may touch those before.
        while nth > 0 && runs[nth].0 <= runs[nth - 1].1 + RUN_GAP_MAX {
            let (first, last) = runs.remove(nth);
            nth -= 1;
            runs[nth] = (first.min(runs[nth].0), last.max(runs[nth].1));
        }
    }

    /// Returns false when no literal of the set begins in this range.
    pub(crate) fn may_be_in(&self, set: u32, range: Range<usize>) -> bool {
        let Some(runs) = self.runs.get(set as usize) else { return false };
        let next = runs.partition_point(|(_, last)| *last < range.start);
        runs.get(next).is_some_and(|(first, _)| *first < range.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_answered_by_the_runs_it_touches() {
        let mut marks = Marks::default();
        for at in [10, 8, 40, 500, 900] {
            marks.note(3, at);
        }
        for (range, expected) in [(0..8, false), (0..9, true), (20..30, true), (41..500, false), (41..501, true), (901..2000, false)] {
            assert_eq!(marks.may_be_in(3, range.clone()), expected, "{range:?}");
        }
        assert!(!marks.may_be_in(2, 0..2000) && !marks.may_be_in(9, 0..2000));
        marks.clear();
        assert!(!marks.may_be_in(3, 0..2000));
    }

    #[test]
    fn places_may_come_in_any_order() {
        for places in [&[51, 122, 27, 98, 300, 200, 0, 1000, 640][..], &[100, 170, 106, 60], &[500, 400, 300, 200, 450, 350, 250]] {
            let mut marks = Marks::default();
            places.iter().for_each(|&at| marks.note(0, at));
            for at in 0..1100 {
                let near = places.iter().any(|place| place.abs_diff(at) <= RUN_GAP_MAX);
                let may = marks.may_be_in(0, at..at + 1);
                assert!(may || !places.contains(&at), "{at} of {places:?}");
                assert!(!may || near, "{at} of {places:?}");
            }
            assert!(marks.runs[0].is_sorted_by(|a, b| a.1 + RUN_GAP_MAX < b.0), "{:?}", marks.runs[0]);
        }
    }

    #[test]
    fn a_text_made_of_keywords_makes_one_run() {
        let mut marks = Marks::default();
        (0..100_000).for_each(|nth| marks.note(0, nth * 5));
        assert_eq!(marks.runs[0].len(), 1);
    }
}
