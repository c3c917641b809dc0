//! Letters with something between them: `i g n o r e`, `i.g.n.o.r.e`, one letter per line.

use std::ops::Range;

use super::words::{WORD_LETTERS_MAX, is_known};
use crate::decode::Changes;
use crate::view::Decoded;

/// Fewest single letters in a row that are joined.
const LETTERS_MIN: usize = 5;
/// Longest piece between two letters, in bytes.
const BETWEEN_BYTES_MAX: usize = 6;
/// Most letters of one text that are told apart into words where nothing else does.
const SEGMENTED_LETTERS_MAX: usize = 16 * 1024;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// A cheap look: eight bytes with three or more of blank, `-`, `.`, `*` and the like, or `x_x_x`; or Chinese letters with the
/// same byte after each of three.
fn may_have(bytes: &[u8]) -> bool {
    let mut chunks = bytes.chunks_exact(8);
    let mut is_ascii = true;
    for eight in &mut chunks {
        let Ok(eight) = <[u8; 8]>::try_from(eight) else { break };
        let word = u64::from_le_bytes(eight);
        is_ascii &= word & HIGHS == 0;
        let below_0 = !((word | HIGHS) - ONES * 0x30) & HIGHS & !word;
        let without_two = below_0 & below_0.wrapping_sub(1);
        let without_two = without_two & without_two.wrapping_sub(1);
        if without_two != 0 {
            return true;
        }
        let joined = eight[1] | 0x20 | eight[3] | eight[5];
        if (eight[1] == eight[3] && eight[3] == eight[5] && matches!(joined, b'_' | b'|' | 0x7f | b'~'))
            || (eight[0] == eight[2] && eight[2] == eight[4] && matches!(eight[0], b'_' | b'|' | b'~'))
        {
            return true;
        }
    }
    !is_ascii
        && bytes.len() >= 13
        && (0..bytes.len() - 12)
            .any(|i| bytes[i] < 0x80 && bytes[i] == bytes[i + 4] && bytes[i] == bytes[i + 8] && bytes[i] == bytes[i + 12])
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
        let next_is_letter = characters.peek().is_some_and(|&(_, next)| joins(next));
        let is_single =
            is_letter && !(before_is_letter || next_is_letter) || is_letter && is_han(c) && !before_is_letter && !next_is_letter;
        before_is_letter = joins(c);
        let far = run.last().is_some_and(|(last, _)| at - last.end > BETWEEN_BYTES_MAX);
        if far || (joins(c) && !is_single) {
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

/// What makes its neighbour part of a longer word.
fn joins(c: char) -> bool {
    is_letter(c)
}

fn is_han(c: char) -> bool {
    !c.is_ascii()
}

/// Writes a run of single letters as words.
fn take(text: &str, run: &[(Range<usize>, char)], changes: &mut Changes, budget: &mut usize) {
    if run.len() < LETTERS_MIN {
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
