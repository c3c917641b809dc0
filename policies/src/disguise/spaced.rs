//! Letters with something between them: `i g n o r e`, `i.g.n.o.r.e`, one letter per line.

use std::ops::Range;

use super::words::{WORD_LETTERS_MAX, is_known};
use crate::decode::{Changes, any_window};
use crate::view::Decoded;

/// Fewest single letters in a row that are joined.
const LETTERS_MIN: usize = 5;
/// Longest piece between two letters, in bytes.
const BETWEEN_BYTES_MAX: usize = 6;
/// Most letters of one text that are told apart into words where nothing else does.
const SEGMENTED_LETTERS_MAX: usize = 16 * 1024;

/// A cheap look for the same sign, or the same two, between each two of five letters, or the same byte behind each of four Chinese ones.
fn may_have(bytes: &[u8]) -> bool {
    const PLACES: usize = 32;
    let is_sign = |byte: u8| (byte < b'0') | (byte == b'_') | (byte == b'|') | (byte == b'~');
    let is_spaced = any_window::<PLACES, { PLACES + 10 }>(bytes, |window| {
        let mut found = false;
        for i in 0..PLACES {
            let same =
                |step: usize| (window[i] == window[i + step]) & (window[i] == window[i + 2 * step]) & (window[i] == window[i + 3 * step]);
            let singly = same(2) & (window[i] != window[i + 1]);
            let doubly = same(3) & is_sign(window[i + 1]) & (window[i + 1] == window[i + 4]) & (window[i] != window[i + 2]);
            found |= (singly | doubly) & is_sign(window[i]) & (window[i] != 0);
        }
        found
    });
    is_spaced
        || !bytes.is_ascii()
            && any_window::<PLACES, { PLACES + 16 }>(bytes, |window| {
                let mut found = false;
                for i in 0..PLACES {
                    let byte = window[i];
                    let is_same = (byte == window[i + 4]) & (byte == window[i + 8]) & (byte == window[i + 12]);
                    found |= is_same & (byte < 0x80) & (byte != 0) & (window[i + 1] >= 0x80);
                }
                found
            })
}

/// Joins single letters; a wider gap among them is a blank.
pub(super) fn joined(text: &str) -> Option<Decoded> {
    if !may_have(text.as_bytes()) {
        return None;
    }
    let mut changes = Changes::default();
    let mut budget = SEGMENTED_LETTERS_MAX;
    let mut run: Vec<(Range<usize>, char)> = Vec::new();
    let mut before_is_letter = false;
    let mut characters = text.char_indices().peekable();
    while let Some((at, c)) = characters.next() {
        let is_letter = is_letter(c);
        let next_is_letter = characters.peek().is_some_and(|&(_, next)| self::is_letter(next));
        let is_single = is_letter && !before_is_letter && !next_is_letter;
        before_is_letter = is_letter;
        let far = run.last().is_some_and(|(last, _)| at - last.end > BETWEEN_BYTES_MAX);
        if far || (is_letter && !is_single) {
            take(text, &run, &mut changes, &mut budget);
            run.clear();
        }
        if is_single {
            run.push((at..at + c.len_utf8(), c));
        }
    }
    take(text, &run, &mut changes, &mut budget);
    changes.applied(text)
}

/// What may be a letter of a spaced word: digits and signs may stand for letters.
fn is_letter(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '@' | '$')
}

/// Writes a run of single letters as words.
fn take(text: &str, run: &[(Range<usize>, char)], changes: &mut Changes, budget: &mut usize) {
    // A row of digits is a row of digits, whatever some of them might stand for among letters.
    if run.len() < LETTERS_MIN || !run.iter().any(|(_, c)| c.is_alphabetic()) {
        return;
    }
    let between: Vec<&str> = run.windows(2).map(|two| &text[two[0].0.end..two[1].0.start]).collect();
    let narrow = usual(&between);
    let mut words = String::new();
    let mut has_gap = false;
    for (nth, (_, c)) in run.iter().enumerate() {
        words.push(*c);
        // Another sign of the same length that is no blank joins as well.
        if between.get(nth).is_some_and(|gap| *gap != narrow && (gap.len() > narrow.len() || gap.contains([' ', '\n']))) {
            words.push(' ');
            has_gap = true;
        }
    }
    if !has_gap && words.is_ascii() && run.len() <= *budget {
        *budget -= run.len();
        words = told_apart(&words);
    }
    changes.push(run[0].0.start..run[run.len() - 1].0.end, &words);
}

/// The commonest of some pieces; the shortest of those.
fn usual<'t>(pieces: &[&'t str]) -> &'t str {
    let mut sorted = pieces.to_vec();
    sorted.sort_unstable();
    let most = sorted.chunk_by(|a, b| a == b).max_by_key(|same| (same.len(), std::cmp::Reverse(same[0].len())));
    most.map_or("", |same| same[0])
}

/// Tells joined words apart, so that as few letters as can be belong to no word of the lists.
fn told_apart(letters: &str) -> String {
    /// What a word costs, and a letter of none: a known word is better than none, one long word better than two.
    const WORD: u32 = 1;
    const LETTER: u32 = 3;
    let lower = letters.to_ascii_lowercase();
    let end = lower.len();
    // For each place: the cheapest way to the end, and the length of its first word; 0 for a letter of none.
    let mut best = vec![(0u32, 0usize); end + 1];
    for at in (0..end).rev() {
        best[at] = (best[at + 1].0 + LETTER, 0);
        for length in 1..=WORD_LETTERS_MAX.min(end - at) {
            let cost = best[at + length].0 + if length == 1 { LETTER } else { WORD };
            if cost <= best[at].0 && is_known(&lower[at..at + length]) {
                best[at] = (cost, length);
            }
        }
    }
    let mut words = String::with_capacity(end + end / 4);
    let (mut at, mut was_word) = (0, true);
    while at < end {
        let length = best[at].1;
        if at > 0 && (length > 0 || was_word) {
            words.push(' ');
        }
        words.push_str(&letters[at..at + length.max(1)]);
        was_word = length > 0;
        at += length.max(1);
    }
    words
}
