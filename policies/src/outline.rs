//! The outline of a pattern: which bytes can stand at each of its first places, or of its last ones.
//!
//! Place by place, without regard to what stands at the other places: far more than the pattern allows, but told from a few bytes of text
//! with a few loads. It sorts out most of what an announcement calls before any automaton is walked.

use std::collections::HashMap;

use regex_syntax::hir::{Class, Hir, HirKind};
use regex_syntax::utf8::Utf8Sequences;

use crate::announce::Around;

/// Places looked at from an announcing byte on.
const PLACES_AFTER: usize = 12;
/// Places looked at before an announcement.
const PLACES_BEFORE: usize = 4;
/// Places looked at behind an announcing literal.
const PLACES_BEHIND: usize = 8;
/// A repetition is followed so many rounds; then anything goes.
const ROUNDS_MAX: u32 = 32;

/// A set of bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub(crate) struct ByteSet([u64; 4]);

impl ByteSet {
    const ALL: Self = Self([u64::MAX; 4]);

    fn add(&mut self, first: u8, last: u8) {
        for byte in first..=last {
            self.0[usize::from(byte >> 6)] |= 1 << (byte & 63);
        }
    }

    /// Both sets together.
    pub(crate) fn with(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|word| self.0[word] | other.0[word]))
    }

    /// Every byte that stands in some match of a pattern; bytes beyond ASCII all together.
    pub(crate) fn of(hir: &Hir) -> Self {
        let mut set = Self::default();
        set.add_all(hir);
        set
    }

    fn add_all(&mut self, hir: &Hir) {
        match hir.kind() {
            HirKind::Empty | HirKind::Look(_) => {}
            HirKind::Literal(literal) => literal.0.iter().for_each(|&byte| self.add(byte, byte)),
            HirKind::Class(Class::Bytes(class)) => class.ranges().iter().for_each(|range| self.add(range.start(), range.end())),
            HirKind::Class(Class::Unicode(class)) => {
                for range in class.ranges() {
                    if range.start().is_ascii() {
                        self.add(range.start() as u8, range.end().min('\x7f') as u8);
                    }
                    if !range.end().is_ascii() {
                        self.add(0x80, 0xff);
                    }
                }
            }
            HirKind::Capture(capture) => self.add_all(&capture.sub),
            HirKind::Repetition(repetition) => self.add_all(&repetition.sub),
            HirKind::Alternation(parts) | HirKind::Concat(parts) => parts.iter().for_each(|part| self.add_all(part)),
        }
    }

    /// Returns true when the byte is in the set.
    #[inline]
    pub(crate) fn has(&self, byte: u8) -> bool {
        self.0[usize::from(byte >> 6)] >> (byte & 63) & 1 == 1
    }
}

/// Which bytes can stand at each place, counted from where the outline begins, in the direction it is read.
type Outline = Vec<ByteSet>;

/// In which direction a pattern is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Read {
    Forward,
    Backward,
}

/// Returns the outline of everything that begins like a match of `hir`, if it begins with `known` (in lower case, read in any case).
fn after(hir: &Hir, known: &[u8], places: usize) -> Outline {
    outline(hir, Read::Forward, known, places)
}

/// Returns the outline of everything that ends like a match of `hir`; the last byte is at the first place.
fn before(hir: &Hir) -> Outline {
    outline(hir, Read::Backward, &[], PLACES_BEFORE)
}

fn outline(hir: &Hir, read: Read, known: &[u8], places: usize) -> Outline {
    let mut tracer = Tracer { places: vec![ByteSet::default(); places], read, known };
    let ends = tracer.trace(hir, 1);
    // Behind the shortest match anything may stand.
    if ends != 0 {
        tracer.open(ends.trailing_zeros() as usize);
    }
    tracer.places
}

/// Follows a pattern; a set of places is a number with a bit for each.
struct Tracer<'k> {
    places: Outline,
    read: Read,
    /// What stands at the first places.
    known: &'k [u8],
}

impl Tracer<'_> {
    /// The places that are looked at; at most 63.
    fn seen(&self) -> u64 {
        (1 << self.places.len()) - 1
    }

    /// Follows `hir` from each of the places in `from` and returns where it can end; what lies beyond the last place is dropped.
    fn trace(&mut self, hir: &Hir, from: u64) -> u64 {
        let from = from & self.seen();
        if from == 0 {
            return 0;
        }
        match hir.kind() {
            HirKind::Empty | HirKind::Look(_) => from,
            HirKind::Literal(literal) => match self.read {
                Read::Forward => literal.0.iter().fold(from, |at, &byte| self.byte(byte, byte, at)),
                Read::Backward => literal.0.iter().rev().fold(from, |at, &byte| self.byte(byte, byte, at)),
            },
            HirKind::Class(Class::Bytes(class)) => {
                class.ranges().iter().fold(0, |ends, range| ends | self.byte(range.start(), range.end(), from))
            }
            HirKind::Class(Class::Unicode(class)) => {
                let mut ends = 0;
                for sequence in class.ranges().iter().flat_map(|range| Utf8Sequences::new(range.start(), range.end())) {
                    let bytes = sequence.as_slice();
                    ends |= match self.read {
                        Read::Forward => bytes.iter().fold(from, |at, range| self.byte(range.start, range.end, at)),
                        Read::Backward => bytes.iter().rev().fold(from, |at, range| self.byte(range.start, range.end, at)),
                    };
                }
                ends
            }
            HirKind::Capture(capture) => self.trace(&capture.sub, from),
            HirKind::Alternation(ways) => ways.iter().fold(0, |ends, way| ends | self.trace(way, from)),
            HirKind::Concat(parts) => match self.read {
                Read::Forward => parts.iter().fold(from, |at, part| self.trace(part, at)),
                Read::Backward => parts.iter().rev().fold(from, |at, part| self.trace(part, at)),
            },
            HirKind::Repetition(repetition) => {
                let mut at = from;
                let mut ends = if repetition.min == 0 { from } else { 0 };
                for round in 1..=repetition.max.unwrap_or(u32::MAX) {
                    at = self.trace(&repetition.sub, at);
                    if round > ROUNDS_MAX && at != 0 {
                        self.open(at.trailing_zeros() as usize);
                        return ends | (self.seen() << at.trailing_zeros());
                    }
                    if round >= repetition.min {
                        ends |= at;
                    }
                    if at & self.seen() == 0 {
                        break;
                    }
                }
                ends
            }
        }
    }

    /// Lets a byte of a range stand at each of the places, and returns the next ones.
    fn byte(&mut self, first: u8, last: u8, at: u64) -> u64 {
        let mut next = 0;
        let mut left = at & self.seen();
        while left != 0 {
            let place = left.trailing_zeros() as usize;
            left &= left - 1;
            let range = first..=last;
            if self.known.get(place).is_none_or(|byte| range.contains(byte) || range.contains(&byte.to_ascii_uppercase())) {
                self.places[place].add(first, last);
                next |= 1 << (place + 1);
            }
        }
        next
    }

    /// Lets anything stand from a place on.
    fn open(&mut self, place: usize) {
        self.places.iter_mut().skip(place).for_each(|set| *set = ByteSet::ALL);
    }
}

/// Places of a match at which it is told from a few bytes that none begins there.
const PLACES_FIRST: usize = 3;

/// What can stand at the first places of a pattern's matches.
pub(crate) struct Beginning(Outline);

impl Beginning {
    pub(crate) fn new(hir: &Hir) -> Self {
        Self(after(hir, &[], PLACES_FIRST))
    }

    /// Returns false when no match begins at the beginning of this text.
    #[inline]
    pub(crate) fn fits(&self, text: &[u8]) -> bool {
        self.0.iter().zip(text).all(|(set, &byte)| set.has(byte))
    }
}

/// What stands around a literal that announces a pattern.
struct Sign {
    /// The pattern, by its number among the announced ones.
    pattern: u32,
    /// The sets of bytes behind the literal and before it, by number.
    behind: [u16; PLACES_BEHIND],
    before: [u16; PLACES_BEFORE],
}

/// For each literal, what must stand around it for each of the patterns it announces.
pub(crate) struct Signs {
    /// All sets of bytes in use.
    sets: Vec<ByteSet>,
    /// Where the signs of each literal begin; one more at the end.
    index: Vec<u32>,
    signs: Vec<Sign>,
}

/// A pattern announced by literals: their numbers and what stands around them, outlined.
pub(crate) struct Announced {
    before: Outline,
    behind: Vec<(usize, Outline)>,
}

impl Announced {
    /// Outlines what stands before and after each of the literals, which come with their numbers and in lower case.
    pub(crate) fn new(around: &Around, literals: &[(usize, &[u8])]) -> Self {
        let behind = |&(number, literal): &(usize, &[u8])| {
            let outline = after(&around.after, literal, literal.len() + PLACES_BEHIND);
            (number, outline[literal.len()..].to_vec())
        };
        Self { before: before(&around.before), behind: literals.iter().map(behind).collect() }
    }
}

impl Signs {
    /// Prepares what is announced by so many literals, pattern by pattern.
    pub(crate) fn new(announced: &[Announced], literals: usize) -> Self {
        let mut numbers: HashMap<ByteSet, u16> = HashMap::new();
        let mut sets = Vec::new();
        let mut number = |set: &ByteSet| {
            *numbers.entry(*set).or_insert_with(|| {
                // With more sets than can be numbered, which no pack comes near, the last one lets anything stand.
                if sets.len() == usize::from(u16::MAX) {
                    sets[usize::from(u16::MAX) - 1] = ByteSet::ALL;
                    return u16::MAX - 1;
                }
                sets.push(*set);
                (sets.len() - 1) as u16
            })
        };
        let mut signs: Vec<(usize, Sign)> = Vec::new();
        for (pattern, announced) in announced.iter().enumerate() {
            let before = std::array::from_fn(|place| number(&announced.before[place]));
            for (literal, behind) in &announced.behind {
                let behind = std::array::from_fn(|place| number(&behind[place]));
                signs.push((*literal, Sign { pattern: pattern as u32, behind, before }));
            }
        }
        signs.sort_by_key(|(literal, sign)| (*literal, sign.pattern));
        let mut index = vec![0; literals + 1];
        signs.iter().for_each(|(literal, _)| index[literal + 1] += 1);
        for at in 1..index.len() {
            index[at] += index[at - 1];
        }
        Self { sets, index, signs: signs.into_iter().map(|(_, sign)| sign).collect() }
    }

    /// Calls `found` with each pattern announced by this literal, which stands at `start..end`, whose outline fits what stands around it.
    #[inline]
    pub(crate) fn fit(&self, literal: usize, text: &[u8], start: usize, end: usize, mut found: impl FnMut(usize)) {
        let signs = &self.signs[self.index[literal] as usize..self.index[literal + 1] as usize];
        let fits = |(set, &byte): (&u16, &u8)| self.sets[usize::from(*set)].has(byte);
        for sign in signs {
            if sign.before.iter().zip(text[..start].iter().rev()).all(fits) && sign.behind.iter().zip(&text[end..]).all(fits) {
                found(sign.pattern as usize);
            }
        }
    }
}

/// The outlines of many patterns, laid out so that those which fit a place of a text are told for all of them at once.
pub(crate) struct Outlines {
    /// For each byte, its column; bytes that no outline tells apart share one.
    columns: [u8; 256],
    /// For each place and column, the patterns that allow it, a bit for each.
    after: Vec<u64>,
    before: Vec<u64>,
    width: usize,
    words: usize,
}

impl Outlines {
    /// Prepares the outlines of what stands after and before, pattern by pattern.
    pub(crate) fn new(arounds: &[&Around]) -> Self {
        let outlines: Vec<(Outline, Outline)> =
            arounds.iter().map(|around| (after(&around.after, &[], PLACES_AFTER), before(&around.before))).collect();
        let words = outlines.len().div_ceil(64);
        let mut columns = [0u8; 256];
        let mut known: Vec<Vec<u64>> = Vec::new();
        for byte in 0..=255u8 {
            let mut column = vec![0u64; (PLACES_AFTER + PLACES_BEFORE) * words];
            for (pattern, (after, before)) in outlines.iter().enumerate() {
                for (place, set) in after.iter().chain(before).enumerate() {
                    column[place * words + pattern / 64] |= u64::from(set.has(byte)) << (pattern % 64);
                }
            }
            let number = known.iter().position(|other| *other == column).unwrap_or(known.len());
            if number == known.len() {
                known.push(column);
            }
            columns[usize::from(byte)] = number as u8;
        }
        let width = known.len();
        let side = |places: std::ops::Range<usize>| -> Vec<u64> {
            places.flat_map(|place| known.iter().flat_map(move |column| column[place * words..(place + 1) * words].to_vec())).collect()
        };
        let (after, before) = (side(0..PLACES_AFTER), side(PLACES_AFTER..PLACES_AFTER + PLACES_BEFORE));
        Self { columns, after, before, width, words }
    }

    /// Fills `fit` with the patterns whose outlines fit what stands at `at`, a bit for each, and returns true when there are any.
    #[inline]
    pub(crate) fn fit(&self, text: &[u8], at: usize, fit: &mut Vec<u64>) -> bool {
        fit.clear();
        fit.resize(self.words, u64::MAX);
        let row = |side: &[u64], place: usize, byte: u8, fit: &mut [u64]| {
            let start = (place * self.width + usize::from(self.columns[usize::from(byte)])) * self.words;
            let mut any = 0;
            if let Some(row) = side.get(start..start + self.words) {
                for (fit, row) in fit.iter_mut().zip(row) {
                    *fit &= row;
                    any |= *fit;
                }
            }
            any != 0
        };
        for (place, &byte) in text[at..].iter().take(PLACES_AFTER).enumerate() {
            if !row(&self.after, place, byte, fit) {
                return false;
            }
        }
        for (place, &byte) in text[..at].iter().rev().take(PLACES_BEFORE).enumerate() {
            if !row(&self.before, place, byte, fit) {
                return false;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::announce::Reach;
    use crate::syntax::parse;
    use proptest::prelude::*;
    use regex_automata::meta::Regex;
    use regex_automata::{Anchored, Input};

    fn around(before: &str, after: &str) -> Around {
        let parse = |pattern| parse(pattern, false, Some(80)).unwrap();
        Around { reach: Reach { min: 0, max: 0 }, within: None, before: parse(before), after: parse(after) }
    }

    fn fits(before: &str, after: &str, text: &str, at: usize) -> bool {
        Outlines::new(&[&around(before, after)]).fit(text.as_bytes(), at, &mut Vec::new())
    }

    #[test]
    fn places_tell_what_may_stand_there() {
        assert!(fits("", r"[A-Z]{2}\d{3}", "AB123", 0) && !fits("", r"[A-Z]{2}\d{3}", "The cat", 0));
        assert!(fits("", r"a{1,3}b", "aab", 0) && !fits("", r"a{1,3}b", "acb", 0));
        assert!(fits("", r"\d{2}", "12 and anything", 0), "behind the match anything may stand");
        assert!(fits("", "[中文]x", "文x", 0) && !fits("", "[中文]x", "字x", 0));
    }

    #[test]
    fn what_stands_before_is_read_backwards() {
        let fit = |text: &str| fits(r"key[ :]", "", text, text.len());
        assert!(fit("my key:") && fit("key ") && !fit("key=") && !fit("my kea:"));
    }

    #[test]
    fn a_literal_says_which_way_is_taken() {
        let around = around("", r"(?i:answer|respond) \d");
        let literals: [(usize, &[u8]); 2] = [(0, b"answ"), (1, b"resp")];
        let signs = Signs::new(&[Announced::new(&around, &literals)], 2);
        let fits = |literal: usize, text: &str| {
            let mut found = false;
            signs.fit(literal, text.as_bytes(), 0, 4, |_| found = true);
            found
        };
        assert!(fits(0, "ANSWER 4") && fits(1, "respond 4") && fits(0, "answ"), "what is not there yet may still come");
        assert!(!fits(0, "answond 4") && !fits(0, "answer x") && !fits(1, "responds"));
    }

    proptest! {
        #[test]
        fn every_match_fits_its_outline(text in "[a-c0-2中é ]{0,20}", nth in 0usize..6) {
            let patterns = ["a[bc]{0,2}\\d", "(?:ab|c)?\\d{2,40}", "[中é]a{2}", "\\b(?:a|bb|ccc){1,3} ?\\d", "[^a]{3}b", "a*b{0,90}c"];
            let arounds: Vec<[Around; 2]> = patterns.iter().map(|pattern| [around("", pattern), around(pattern, "")]).collect();
            let all = Outlines::new(&arounds.iter().map(|[after, _]| after).collect::<Vec<_>>());
            let ends = Outlines::new(&arounds.iter().map(|[_, before]| before).collect::<Vec<_>>());
            let regex = Regex::builder().build_from_hir(&arounds[nth][0].after).unwrap();
            let mut fit = Vec::new();
            for at in (0..text.len()).filter(|&at| text.is_char_boundary(at)) {
                if let Some(found) = regex.find(Input::new(&text).range(at..).anchored(Anchored::Yes)) {
                    prop_assert!(all.fit(text.as_bytes(), at, &mut fit) && fit[0] >> nth & 1 == 1, "{at}");
                    if found.end() < text.len() {
                        prop_assert!(ends.fit(text.as_bytes(), found.end(), &mut fit) && fit[0] >> nth & 1 == 1, "{at}");
                    }
                    let known = text[at..found.end()].chars().next().map_or(0, char::len_utf8);
                    let literal: (usize, &[u8]) = (0, &text.as_bytes()[at..at + known]);
                    let signs = Signs::new(&[Announced::new(&arounds[nth][0], &[literal])], 1);
                    let mut fits = false;
                    signs.fit(0, text.as_bytes(), at, at + known, |_| fits = true);
                    prop_assert!(fits, "{at}");
                }
            }
        }
    }
}
