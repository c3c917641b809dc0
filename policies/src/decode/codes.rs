//! Characters written as their codes: `105 103 110`, `[105, 103, 110]`, `chr(105)+chr(103)`, `\\151\\147`, in decimal and in octal.

use std::ops::Range;

use super::{Changes, any_window};

/// Fewest codes in a row.
const CODES_MIN: usize = 8;
/// Most bytes between two codes.
const BETWEEN_BYTES_MAX: usize = 9;
/// Most digits of a code: U+10FFFF is 1114111.
const DIGITS_MAX: usize = 7;
/// Fewest letters and blanks in a hundred characters of what they say.
const LETTERS_PERCENT_MIN: usize = 80;
/// Most capitals behind small letters in a hundred characters: words have them in front, measurements between 60 and 120 anywhere.
const CAPITALS_INSIDE_PERCENT_MAX: usize = 10;

/// A cheap look for codes: in 64 bytes of such a list stand eight digits or more.
pub(super) fn may_have(bytes: &[u8]) -> bool {
    const DIGITS_MIN: u8 = 8;
    any_window::<32, 64>(bytes, |window| window.iter().fold(0u8, |count, byte| count + u8::from(byte.is_ascii_digit())) >= DIGITS_MIN)
}

/// Decodes lists of codes that say words. Decimal is tried first: the codes of small letters are no octal ones and the other way about.
pub(super) fn listed(text: &str, changes: &mut Changes) {
    for radix in [10, 8] {
        list(text.as_bytes(), radix, changes);
    }
}

/// Decodes the lists of one radix, in one pass.
fn list(bytes: &[u8], radix: u32, changes: &mut Changes) {
    let (mut at, mut place, mut codes) = (0, 0..0, String::new());
    let mut close = |codes: &mut String, place: Range<usize>| {
        if let Some(said) = said(codes) {
            changes.push(place, &said);
        }
        codes.clear();
    };
    while at < bytes.len() {
        if !bytes[at].is_ascii_digit() {
            at += 1;
            continue;
        }
        let length = bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if !codes.is_empty() && !is_between(&bytes[place.end..at]) {
            close(&mut codes, place.clone());
        }
        match code(&bytes[at..at + length], radix) {
            Some(c) => {
                place = if codes.is_empty() { at } else { place.start }..at + length;
                codes.push(c);
            }
            None => close(&mut codes, place.clone()),
        }
        at += length;
    }
    close(&mut codes, place);
}

/// What codes say: characters, or the bytes of characters in UTF-8. None where it is too short, or no words.
fn said(codes: &str) -> Option<String> {
    if codes.chars().count() < CODES_MIN {
        return None;
    }
    let bytes: Option<Vec<u8>> = codes.chars().map(|c| u8::try_from(c).ok()).collect();
    let said = bytes.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_else(|| codes.to_owned());
    reads_like_words(&said).then_some(said)
}

/// Reads a code, if it is one of a character that texts have.
fn code(digits: &[u8], radix: u32) -> Option<char> {
    if digits.len() > DIGITS_MAX || digits.len() < 2 && digits != b"9" {
        return None;
    }
    let value = digits.iter().try_fold(0u32, |value, &digit| Some(value * radix + char::from(digit).to_digit(radix)?))?;
    char::from_u32(value).filter(|c| matches!(c, ' '..='~' | '\n' | '\r' | '\t') || !c.is_ascii())
}

/// Returns true for what stands between two codes of a list: signs, and the name of a function that makes a character.
fn is_between(between: &[u8]) -> bool {
    let is_sign = |byte: &u8| {
        matches!(
            byte,
            b' ' | b',' | b';' | b'|' | b'-' | b'_' | b'+' | b'(' | b')' | b'[' | b']' | b'\'' | b'"' | b'\\' | b'\n' | b'\r' | b'\t'
        )
    };
    let start = between.iter().take_while(|byte| is_sign(byte)).count();
    let end = between.iter().rev().take_while(|byte| is_sign(byte)).count();
    let word = between.get(start..between.len() - end).unwrap_or_default();
    !between.is_empty()
        && between.len() <= BETWEEN_BYTES_MAX
        && (word.is_empty() || [&b"chr"[..], b"char", b"o", b"0o"].iter().any(|name| word.eq_ignore_ascii_case(name)))
}

fn reads_like_words(said: &str) -> bool {
    let (mut all, mut letters, mut capitals_inside, mut before) = (0, 0, 0, ' ');
    for c in said.chars() {
        all += 1;
        letters += usize::from(c.is_alphabetic() || c == ' ');
        capitals_inside += usize::from(before.is_lowercase() && c.is_uppercase());
        before = c;
    }
    letters * 100 >= all * LETTERS_PERCENT_MIN && capitals_inside * 100 <= all * CAPITALS_INSIDE_PERCENT_MAX
}
