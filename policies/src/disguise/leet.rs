//! Letters written as digits and signs: `1gn0r3 4ll pr3v10u5 rul3$`.

use std::ops::Range;

use super::words::{is_attack, is_known};
use crate::decode::{Changes, any_window};
use crate::view::Decoded;

/// Longest word that is read, in bytes.
const WORD_BYTES_MAX: usize = 24;
/// Longest number that may be a word: `411` is `all`.
const NUMBER_BYTES_MAX: usize = 4;
/// Most signs in one word that are read both ways.
const EITHER_MAX: u32 = 4;

/// Words spelled out.
pub(super) struct Spelled(Vec<(Range<usize>, String)>);

impl Spelled {
    /// The text with its words spelled out.
    pub(super) fn applied(self, text: &str) -> Option<Decoded> {
        let mut changes = Changes::default();
        for (place, word) in self.0 {
            changes.push(place, &word);
        }
        changes.applied(text)
    }

    /// The same for a text that was joined before: words keep their length, so that the places of letters stay.
    pub(super) fn after(self, mut joined: Decoded) -> Decoded {
        for (place, word) in self.0 {
            joined.text.replace_range(place, &word);
        }
        joined
    }
}

fn is_sign(byte: u8) -> bool {
    byte.is_ascii_digit() | (byte == b'@') | (byte == b'$') | (byte == b'!') | (byte == b'|')
}

/// A cheap look for a sign that touches a letter: before it, or, if it is no exclamation mark, behind it.
fn may_have(bytes: &[u8]) -> bool {
    const PLACES: usize = 32;
    any_window::<PLACES, { PLACES + 1 }>(bytes, |window| {
        if !window.iter().fold(false, |found, &byte| found | is_sign(byte)) {
            return false;
        }
        let mut found = false;
        for i in 0..PLACES {
            let (this, next) = (window[i], window[i + 1]);
            let letters = (this.is_ascii_alphabetic(), next.is_ascii_alphabetic());
            found |= (is_sign(this) & letters.1) | (letters.0 & is_sign(next) & (next != b'!') & (next != b'|'));
        }
        found
    })
}

/// Fewest letters of a known word that says something about its text.
const TELLING_LETTERS_MIN: usize = 4;
/// So many such words are as good as a word of an attack.
const TELLING_WORDS_MIN: usize = 2;

/// Spells out the words of a text that mix letters with such signs; none where no word of an attack comes out, nor two common words.
pub(super) fn spelled(text: &str) -> Option<Spelled> {
    let bytes = text.as_bytes();
    if !may_have(bytes) {
        return None;
    }
    let places = mixed(bytes);
    let long = places.iter().filter(|place| place.len() >= TELLING_LETTERS_MIN);
    let tells = long.map(|place| match spell(&bytes[place.clone()]) {
        (word, true) if is_attack(&word.to_ascii_lowercase()) => TELLING_WORDS_MIN,
        (_, is_known) => usize::from(is_known),
    });
    if tells.sum::<usize>() < TELLING_WORDS_MIN {
        return None;
    }
    let words = places.into_iter().filter_map(|place| {
        let word = &bytes[place.clone()];
        let (spelled, is_known) = spell(word);
        // A number is a word only if it is one of the lists.
        (is_known || word.iter().any(u8::is_ascii_alphabetic)).then_some((place, spelled))
    });
    Some(Spelled(words.collect()))
}

/// Lists the words with such signs in them, and short numbers.
fn mixed(bytes: &[u8]) -> Vec<Range<usize>> {
    let takes = |byte: &u8| byte.is_ascii_alphabetic() || is_sign(*byte);
    let (mut places, mut at) = (Vec::new(), 0);
    while let Some(skipped) = bytes[at..].iter().position(|&byte| is_sign(byte)) {
        let sign = at + skipped;
        let start = sign - bytes[at..sign].iter().rev().take_while(|&byte| takes(byte)).count();
        at = sign + bytes[sign..].iter().take_while(|&byte| takes(byte)).count();
        // What ends a sentence is no letter.
        let end = start + bytes[start..at].iter().rposition(|byte| !matches!(byte, b'!' | b'|')).map_or(0, |last| last + 1);
        let word = &bytes[start..end];
        let letters = word.iter().filter(|byte| byte.is_ascii_alphabetic()).count();
        let longest = if letters == 0 { NUMBER_BYTES_MAX } else { WORD_BYTES_MAX };
        if (2..=longest).contains(&word.len()) && letters < word.len() {
            places.push(start..end);
        }
    }
    places
}

/// Spells one word out, and says whether it is one of the lists.
fn spell(word: &[u8]) -> (String, bool) {
    let either = word.iter().filter(|byte| matches!(byte, b'1' | b'!' | b'|')).count() as u32;
    let ways = if either <= EITHER_MAX { 1u32 << either } else { 1 };
    let written = |way: u32| {
        let mut nth = 0;
        let letter = |&byte: &u8| {
            let letter = match byte {
                b'0' => b'o',
                b'1' | b'!' | b'|' => {
                    nth += 1;
                    if way >> (nth - 1) & 1 == 0 { b'i' } else { b'l' }
                }
                b'2' => b'z',
                b'3' => b'e',
                b'4' | b'@' => b'a',
                b'5' | b'$' => b's',
                b'6' | b'9' => b'g',
                b'7' => b't',
                b'8' => b'b',
                other => other,
            };
            char::from(letter)
        };
        word.iter().map(letter).collect::<String>()
    };
    let mut guesses = (0..ways).map(written);
    let known = |guess: &String| {
        let lower = guess.to_ascii_lowercase();
        is_known(&lower) || is_attack(&lower)
    };
    match guesses.find(known) {
        Some(word) => (word, true),
        None => (written_plainly(word, written), false),
    }
}

/// The guess for a word of no list: a doubled 1 is more often `ll`.
fn written_plainly(word: &[u8], written: impl FnOnce(u32) -> String) -> String {
    written(if word.windows(2).any(|two| two == b"11") { u32::MAX } else { 0 })
}
