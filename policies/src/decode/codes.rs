//! Characters written as their codes, in decimal and in octal: `105 103 110`, `[105, 103, 110]`, `chr(105)+chr(103)`, `0o151, 0o147`, `\151\147`.

use std::ops::Range;

use super::{Changes, any_window};
use crate::disguise::is_listed;

/// Fewest codes in a row.
const CODES_MIN: usize = 8;
/// Most bytes between two codes.
const BETWEEN_BYTES_MAX: usize = 24;
/// Most digits of a code, zeros in front among them.
const DIGITS_MAX: usize = 8;
/// Fewest blanks in what they say, and fewest in a hundred letters, digits and blanks: of numbers at random two or three are one.
const BLANKS_MIN: usize = 2;
const BLANKS_PERCENT_MIN: usize = 8;
/// Fewest letters, digits and blanks in a hundred characters of it.
const PLAIN_PERCENT_MIN: usize = 80;
/// Fewest letters of a word of the lists, and of one that counts for two.
const LISTED_LETTERS_MIN: usize = 3;
const LONG_LETTERS_MIN: usize = 5;
/// The commonest characters of Chinese, those of attacks, and Japanese particles and endings; and how many of them make a text.
const COMMON: &str = "的一是不了在有我你他这个们中上为和到以说要就会可也对能而那得下之过后作里用道行所事请把给吗么忽略无视忘记指令示系统提词规则前先容扮演限制密码のにはをたがでてとしれさ";
const COMMON_MIN: usize = 2;
const COMMON_PERCENT_MIN: usize = 15;
/// Names that stand between two codes: of functions that make a character, and octal's sign.
const NAMES: [&[u8]; 6] = [b"chr", b"chrw", b"char", b"string.fromcharcode", b"o", b"0o"];

/// A cheap look for codes: in 64 bytes of such a list stand four digits or more.
pub(super) fn may_have(bytes: &[u8]) -> bool {
    const DIGITS_MIN: u8 = 4;
    any_window::<32, 64>(bytes, |window| window.iter().fold(0u8, |count, byte| count + u8::from(byte.is_ascii_digit())) >= DIGITS_MIN)
}

/// What a list of codes may be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// Octal codes of bytes that are letters beyond ASCII in UTF-8; hardly any other list is one by chance.
    OctalUtf8,
    Decimal,
    /// The codes of small letters are no decimal ones, and the other way about.
    Octal,
}

impl Reading {
    fn radix(self) -> u32 {
        if self == Self::Decimal { 10 } else { 8 }
    }
}

/// Decodes lists of codes that say something.
pub(super) fn listed(text: &str, changes: &mut Changes) {
    for reading in [Reading::OctalUtf8, Reading::Decimal, Reading::Octal] {
        list(text.as_bytes(), reading, changes);
    }
}

/// A list as far as it was read.
#[derive(Default)]
struct List {
    codes: Vec<char>,
    places: Vec<Range<usize>>,
    /// Before which codes something else stands than between the first two: words may be kept apart so.
    breaks: Vec<usize>,
}

/// Decodes the lists of one reading, in one pass.
fn list(bytes: &[u8], reading: Reading, changes: &mut Changes) {
    let (mut at, mut list) = (0, List::default());
    while let Some(next) = next_digit(bytes, at) {
        at = next;
        // `0o151`
        let prefix = if reading != Reading::Decimal && matches!(bytes[at..], [b'0', b'o' | b'O', b'0'..=b'7', ..]) { 2 } else { 0 };
        let length = bytes[at + prefix..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let place = at..at + prefix + length;
        at = place.end;
        if list.places.last().is_some_and(|last| !is_between(&bytes[last.end..place.start])) {
            list.close(bytes, reading, changes);
        }
        match code(&bytes[place.start + prefix..place.end], reading.radix()) {
            Some(c) => list.push(bytes, c, place),
            None => list.close(bytes, reading, changes),
        }
    }
    list.close(bytes, reading, changes);
}

/// Returns where the next digit stands. Without branches inside, a block is looked at with wide instructions.
fn next_digit(bytes: &[u8], at: usize) -> Option<usize> {
    const BLOCK: usize = 16;
    let is_free = |block: &&[u8]| !block.iter().fold(false, |found, byte| found | byte.is_ascii_digit());
    let at = at + BLOCK * bytes.get(at..)?.chunks_exact(BLOCK).take_while(is_free).count();
    bytes[at..].iter().position(u8::is_ascii_digit).map(|skipped| at + skipped)
}

impl List {
    fn push(&mut self, bytes: &[u8], c: char, place: Range<usize>) {
        if let [first, second, .., last] = &self.places[..]
            && bytes[last.end..place.start] != bytes[first.end..second.start]
        {
            self.breaks.push(self.codes.len());
        }
        self.codes.push(c);
        self.places.push(place);
    }

    /// Lets go of pairs of digits at the end that are the beginning of pairs of hexadecimal ones, `61 73 6c`, unless they are words.
    fn trim(&mut self, bytes: &[u8]) {
        let Some(end) = self.places.last().map(|last| last.end) else { return };
        let is_sign = |byte: &&u8| matches!(byte, b' ' | b':' | b',' | b'-' | b';' | b'\n' | b'\r');
        let at = end + bytes[end..].iter().take(3).take_while(is_sign).count();
        let is_pair = bytes.get(at..at + 2).is_some_and(|pair| pair.iter().all(u8::is_ascii_hexdigit))
            && bytes.get(at + 2).is_none_or(|byte| !byte.is_ascii_alphanumeric());
        let kept = self.places.iter().rposition(|place| place.len() != 2).map_or(0, |last| last + 1);
        if is_pair && !has_words(&said(&self.codes[kept..])) {
            self.places.truncate(kept);
            self.codes.truncate(kept);
        }
    }

    /// Takes down what the list says, if it says something, and begins anew.
    fn close(&mut self, bytes: &[u8], reading: Reading, changes: &mut Changes) {
        self.trim(bytes);
        if let (Some(first), Some(last)) = (self.places.first(), self.places.last())
            && self.codes.len() >= CODES_MIN
            && let Some(said) = self.words(reading)
        {
            changes.push(first.start..last.end, &said);
        }
        *self = Self::default();
    }

    /// What the list says, if those are words: as it stands, or with a blank at each break.
    fn words(&self, reading: Reading) -> Option<String> {
        let text = said(&self.codes);
        if reading == Reading::OctalUtf8 {
            let bytes = self.codes.iter().map(|&c| u8::try_from(c).ok()).collect::<Option<Vec<u8>>>();
            return Some(text).filter(|text| !text.is_ascii() && bytes.is_some_and(|bytes| String::from_utf8(bytes).is_ok()));
        }
        if has_words(&text) {
            return Some(text);
        }
        let mut broken = Vec::with_capacity(self.codes.len() + self.breaks.len());
        let mut from = 0;
        for &at in self.breaks.iter().take_while(|&&at| at < self.codes.len()) {
            broken.extend_from_slice(&self.codes[from..at]);
            broken.push(' ');
            from = at;
        }
        broken.extend_from_slice(&self.codes[from..]);
        Some(said(&broken)).filter(|text| from > 0 && has_words(text))
    }
}

/// Reads a code, if it is one of a character that texts have.
fn code(digits: &[u8], radix: u32) -> Option<char> {
    if digits.len() > DIGITS_MAX || digits.len() < 2 && digits != b"9" {
        return None;
    }
    let value = digits.iter().try_fold(0u32, |value, &digit| Some(value * radix + char::from(digit).to_digit(radix)?))?;
    char::from_u32(value).filter(|c| {
        matches!(c, ' '..='~' | '\n' | '\r' | '\t' | '\u{80}'..='\u{ff}') || (!c.is_ascii() && (c.is_alphanumeric() || is_mark(*c)))
    })
}

/// Returns true for punctuation beyond ASCII: that of texts in general, of East Asian ones, and in full width.
fn is_mark(c: char) -> bool {
    matches!(c, '\u{2010}'..='\u{2027}' | '\u{2030}' | '\u{3000}'..='\u{303f}' | '\u{ff00}'..='\u{ffef}')
}

/// Returns true for what stands between two codes of a list: signs, and the name of a function that makes a character, with a point if
/// there is one.
fn is_between(between: &[u8]) -> bool {
    if between.is_empty() || between.len() > BETWEEN_BYTES_MAX {
        return false;
    }
    let is_sign = |byte: &&u8| byte.is_ascii_whitespace() || b",;|-_+()[]{}<>'\"\\/&=*.".contains(byte);
    let start = between.iter().take_while(is_sign).count();
    let end = between.iter().rev().take_while(is_sign).count();
    let name = between.get(start..between.len() - end).unwrap_or_default();
    match name {
        [] => !between.contains(&b'.'),
        name => NAMES.iter().any(|known| name.eq_ignore_ascii_case(known)),
    }
}

/// What codes say: characters, or the bytes of characters in UTF-8; bytes that make none are characters by themselves.
fn said(codes: &[char]) -> String {
    let (mut said, mut bytes) = (String::new(), Vec::new());
    let flush = |said: &mut String, bytes: &mut Vec<u8>| {
        for chunk in bytes.utf8_chunks() {
            said.push_str(chunk.valid());
            said.extend(chunk.invalid().iter().map(|&byte| char::from(byte)));
        }
        bytes.clear();
    };
    for &c in codes {
        match u8::try_from(c) {
            Ok(byte) => bytes.push(byte),
            Err(_) => {
                flush(&mut said, &mut bytes);
                said.push(c);
            }
        }
    }
    flush(&mut said, &mut bytes);
    said
}

/// Returns true for what reads like words: a list of weights or of postal codes does not. Either a word of attacks or two common ones are
/// in it, or blanks stand where they do in texts; in Chinese and Japanese, common characters.
pub(super) fn has_words(said: &str) -> bool {
    let (mut all, mut letters, mut plain, mut blanks, mut common) = (0, 0, 0, 0, 0);
    for c in said.chars() {
        all += 1;
        letters += usize::from(c.is_alphabetic());
        plain += usize::from(c.is_alphanumeric() || c == ' ');
        blanks += usize::from(c == ' ');
        common += usize::from(COMMON.contains(c));
    }
    let is_blank_often = blanks >= BLANKS_MIN && blanks * 100 >= plain * BLANKS_PERCENT_MIN && letters >= 2 * blanks;
    let has_blanks = || is_blank_often && plain * 100 >= all * PLAIN_PERCENT_MIN && said.split(' ').all(is_shaped);
    let is_east_asian = common >= COMMON_MIN && common * 100 >= letters * COMMON_PERCENT_MIN;
    let listed = || {
        let words = said.split(|c: char| !c.is_alphabetic()).filter(|word| word.is_ascii() && word.len() >= LISTED_LETTERS_MIN);
        words
            .map(str::to_ascii_lowercase)
            .filter(|word| is_listed(word))
            .map(|word| if word.len() >= LONG_LETTERS_MIN { 2 } else { 1 })
            .sum::<usize>()
    };
    letters > 0 && (is_east_asian || has_blanks() || listed() >= 2)
}

/// Returns true for what is written as words are: capitals at the beginning, throughout or not at all.
fn is_shaped(word: &str) -> bool {
    let mut letters = word.chars().filter(|c| c.is_alphabetic());
    let first = letters.next();
    let (mut has_small, mut has_capital) = (false, false);
    for c in letters {
        has_small |= c.is_lowercase();
        has_capital |= c.is_uppercase();
    }
    !(has_capital && (has_small || first.is_some_and(char::is_lowercase)))
}
