//! Letters written as digits and signs: `1gn0r3 4ll pr3v10u5 rul3$`.

use std::ops::Range;

use super::words::{is_attack, is_known};
use crate::decode::Changes;
use crate::view::Decoded;

/// Longest word that is read, in bytes.
const WORD_BYTES_MAX: usize = 24;
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
    let look = |window: &[u8; PLACES + 1]| {
        let mut found = false;
        for i in 0..PLACES {
            let (this, next) = (window[i], window[i + 1]);
            let letters = (this.is_ascii_alphabetic(), next.is_ascii_alphabetic());
            found |= (is_sign(this) & letters.1) | (letters.0 & is_sign(next) & (next != b'!') & (next != b'|'));
        }
        found
    };
    let mut at = 0;
    while let Some(Ok(window)) = bytes.get(at..at + PLACES + 1).map(<&[u8; PLACES + 1]>::try_from) {
        if look(window) {
            return true;
        }
        at += PLACES;
    }
    let mut rest = [0; PLACES + 1];
    rest[..bytes.len() - at].copy_from_slice(&bytes[at..]);
    look(&rest)
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
    let (mut words, mut telling, mut at) = (Vec::new(), 0, 0);
    let takes = |byte: &u8| byte.is_ascii_alphabetic() || is_sign(*byte);
    while let Some(skipped) = bytes[at..].iter().position(takes) {
        let start = at + skipped;
        at = start + bytes[start..].iter().take_while(|&byte| takes(byte)).count();
        // What ends a sentence is no letter, unless nothing else is left of the word.
        let end = start + bytes[start..at].iter().rposition(|byte| !matches!(byte, b'!' | b'|')).map_or(0, |last| last + 1);
        let word = &bytes[start..end];
        let letters = word.iter().filter(|byte| byte.is_ascii_alphabetic()).count();
        if word.len() < 2 || word.len() > WORD_BYTES_MAX || letters == word.len() || (letters == 0 && word.len() > 4) {
            continue;
        }
        let (word, is_known_word) = spell(word);
        if letters == 0 && !is_known_word {
            continue;
        }
        if is_known_word && word.len() >= TELLING_LETTERS_MIN {
            telling += if is_attack(&word.to_ascii_lowercase()) { TELLING_WORDS_MIN } else { 1 };
        }
        words.push((start..end, word));
    }
    (telling >= TELLING_WORDS_MIN).then_some(Spelled(words))
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
