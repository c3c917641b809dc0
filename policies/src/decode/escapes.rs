//! Encodings of one character at a time: percent-encoding, entities, backslash escapes, code points, quoted-printable.

use std::ops::Range;

use memchr::{memchr, memchr2};
use unicode_normalization::char::compose;

use super::Changes;

/// Bytes of one character, as they come in one by one.
#[derive(Default)]
struct Utf8 {
    bytes: Vec<u8>,
    /// Where each byte was written.
    places: Vec<Range<usize>>,
}

impl Utf8 {
    /// Takes the next byte; those that do not follow one another belong to no common character.
    fn push(&mut self, place: Range<usize>, byte: u8, changes: &mut Changes) {
        if self.places.last().is_some_and(|last| last.end != place.start) {
            self.flush(changes);
        }
        self.bytes.push(byte);
        self.places.push(place);
    }

    /// Writes the characters that the bytes make; a byte that makes none is read as Latin-1.
    fn flush(&mut self, changes: &mut Changes) {
        let mut at = 0;
        for chunk in self.bytes.utf8_chunks() {
            for c in chunk.valid().chars() {
                let end = at + c.len_utf8();
                changes.push_char(self.places[at].start..self.places[end - 1].end, c);
                at = end;
            }
            for &byte in chunk.invalid() {
                changes.push_char(self.places[at].clone(), char::from(byte));
                at += 1;
            }
        }
        self.bytes.clear();
        self.places.clear();
    }
}

fn hex(digits: Option<&[u8]>) -> Option<u32> {
    digits?.iter().try_fold(0u32, |value, &digit| Some((value << 4) | char::from(digit).to_digit(16)?))
}

fn hex_byte(bytes: &[u8], at: usize) -> Option<u8> {
    hex(bytes.get(at..at + 2)).map(|value| value as u8)
}

/// `%69`, `%E5%BF%BD`, `%u5ffd` (RFC 3986, section 2.1).
pub(super) fn percent(text: &str, changes: &mut Changes) {
    let bytes = text.as_bytes();
    let (mut utf8, mut at) = (Utf8::default(), 0);
    while let Some(found) = memchr(b'%', &bytes[at..]) {
        at += found;
        if let Some(byte) = hex_byte(bytes, at + 1) {
            utf8.push(at..at + 3, byte, changes);
            at += 3;
        } else if let (Some(b'u'), Some(c)) = (bytes.get(at + 1), hex(bytes.get(at + 2..at + 6)).and_then(char::from_u32)) {
            changes.push_char(at..at + 6, c);
            at += 6;
        } else {
            at += 1;
        }
    }
    utf8.flush(changes);
}

/// Longest name of an entity that is read.
const ENTITY_NAME_BYTES_MAX: usize = 10;

/// `&#105;`, `&#x69;`, `&amp;`: the names that write what attacks are written with.
pub(super) fn entities(text: &str, changes: &mut Changes) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(found) = memchr(b'&', &bytes[at..]) {
        at += found;
        match entity(&bytes[at + 1..]) {
            Some((c, length)) => {
                changes.push_char(at..at + 1 + length, c);
                at += 1 + length;
            }
            None => at += 1,
        }
    }
}

/// Reads an entity behind its `&`: the character and the length.
fn entity(bytes: &[u8]) -> Option<(char, usize)> {
    let digits = |from: usize, radix| bytes[from..].iter().take(8).take_while(|&&b| char::from(b).is_digit(radix)).count();
    let (from, radix) = match bytes {
        [b'#', b'x' | b'X', ..] => (2, 16),
        [b'#', ..] => (1, 10),
        _ => {
            let length = bytes.iter().take(ENTITY_NAME_BYTES_MAX).take_while(|b| b.is_ascii_alphanumeric()).count();
            let name = std::str::from_utf8(&bytes[..length]).ok()?;
            return (bytes.get(length) == Some(&b';')).then(|| named(name)).flatten().map(|c| (c, length + 1));
        }
    };
    let end = from + digits(from, radix);
    let number = std::str::from_utf8(&bytes[from..end]).ok()?;
    let c = char::from_u32(u32::from_str_radix(number, radix).ok()?)?;
    Some((c, end + usize::from(bytes.get(end) == Some(&b';'))))
}

/// Named character references (HTML Living Standard, section 13.5): punctuation, blanks, and letters with accents.
fn named(name: &str) -> Option<char> {
    const ACCENTS: [(&str, char); 8] = [
        ("acute", '\u{301}'),
        ("grave", '\u{300}'),
        ("circ", '\u{302}'),
        ("uml", '\u{308}'),
        ("tilde", '\u{303}'),
        ("cedil", '\u{327}'),
        ("ring", '\u{30a}'),
        ("caron", '\u{30c}'),
    ];
    let mut letters = name.chars();
    let first = letters.next()?;
    if let Some((_, accent)) = ACCENTS.iter().find(|(accent, _)| *accent == letters.as_str()) {
        return Some(compose(first, *accent).unwrap_or(first));
    }
    Some(match name {
        "oslash" => 'ø',
        "Oslash" => 'Ø',
        "amp" | "AMP" => '&',
        "lt" | "LT" => '<',
        "gt" | "GT" => '>',
        "quot" | "QUOT" | "ldquo" | "rdquo" => '"',
        "apos" | "lsquo" | "rsquo" => '\'',
        "nbsp" => '\u{a0}',
        "ensp" | "emsp" | "thinsp" | "Space" => ' ',
        "Tab" => '\t',
        "NewLine" => '\n',
        "shy" => '\u{ad}',
        "zwj" => '\u{200d}',
        "zwnj" => '\u{200c}',
        "excl" => '!',
        "quest" => '?',
        "num" => '#',
        "dollar" => '$',
        "percnt" => '%',
        "lpar" => '(',
        "rpar" => ')',
        "lsqb" | "lbrack" => '[',
        "rsqb" | "rbrack" => ']',
        "lcub" | "lbrace" => '{',
        "rcub" | "rbrace" => '}',
        "ast" => '*',
        "plus" => '+',
        "comma" => ',',
        "period" => '.',
        "hyphen" | "dash" | "ndash" | "mdash" => '-',
        "sol" => '/',
        "bsol" => '\\',
        "colon" => ':',
        "semi" => ';',
        "equals" => '=',
        "commat" => '@',
        "lowbar" => '_',
        "verbar" | "vert" => '|',
        "hellip" => '…',
        "szlig" => 'ß',
        _ => return None,
    })
}

/// Most backslashes in a row that are taken for those of one escape: JSON in JSON in JSON doubles them.
const BACKSLASHES_MAX: usize = 8;

/// `\u0069`, `\u{69}`, `\U00000069`, `\x69`, however often the backslash is doubled.
pub(super) fn backslashes(text: &str, changes: &mut Changes) {
    let bytes = text.as_bytes();
    let (mut utf8, mut at) = (Utf8::default(), 0);
    while let Some(found) = memchr(b'\\', &bytes[at..]) {
        at += found;
        let run = bytes[at..].iter().take_while(|&&byte| byte == b'\\').count();
        let letter = at + run;
        let start = letter - run.min(BACKSLASHES_MAX);
        at = letter;
        match bytes.get(letter) {
            Some(b'x') => {
                if let Some(byte) = hex_byte(bytes, letter + 1) {
                    at = letter + 3;
                    utf8.push(start..at, byte, changes);
                }
            }
            Some(b'u' | b'U') => {
                if let Some((c, end)) = unicode(bytes, letter) {
                    at = end;
                    changes.push_char(start..at, c);
                }
            }
            _ => {}
        }
    }
    utf8.flush(changes);
}

/// Reads a Unicode escape from its `u` on: the character and where it ends.
fn unicode(bytes: &[u8], at: usize) -> Option<(char, usize)> {
    if bytes[at] == b'U' {
        return Some((char::from_u32(hex(bytes.get(at + 1..at + 9))?)?, at + 9));
    }
    if bytes.get(at + 1) == Some(&b'{') {
        let length = bytes[at + 2..].iter().take(7).position(|&byte| byte == b'}').filter(|&length| length > 0)?;
        let end = at + 2 + length;
        return Some((char::from_u32(hex(bytes.get(at + 2..end))?)?, end + 1));
    }
    let unit = hex(bytes.get(at + 1..at + 5))?;
    if let Some(c) = char::from_u32(unit) {
        return Some((c, at + 5));
    }
    // A surrogate: its second half is another escape.
    let run = bytes[at + 5..].iter().take(BACKSLASHES_MAX).take_while(|&&byte| byte == b'\\').count();
    let second = at + 5 + run;
    if run > 0 && bytes.get(second) == Some(&b'u') {
        let low = hex(bytes.get(second + 1..second + 5)).filter(|low| (0xdc00..0xe000).contains(low))?;
        let high = unit.checked_sub(0xd800).filter(|&high| high < 0x400)?;
        return Some((char::from_u32(0x1_0000 + (high << 10) + (low - 0xdc00))?, second + 5));
    }
    None
}

/// `U+0069 U+0067`: what stands between two code points is not said, a blank is U+0020.
pub(super) fn code_points(text: &str, changes: &mut Changes) {
    let bytes = text.as_bytes();
    let (mut at, mut end_of_last) = (0, usize::MAX);
    while let Some(found) = memchr2(b'U', b'u', &bytes[at..]) {
        at += found;
        let length = bytes[at + 1..].iter().skip(1).take(6).take_while(|byte| byte.is_ascii_hexdigit()).count();
        let digits = bytes.get(at + 2..at + 2 + length);
        let c = (bytes.get(at + 1) == Some(&b'+') && length >= 4).then(|| hex(digits).and_then(char::from_u32)).flatten();
        let Some(c) = c else {
            at += 1;
            continue;
        };
        let end = at + 2 + length;
        let between = bytes.get(end_of_last..at).unwrap_or(b"-----");
        let joins = between.len() <= 2 && between.iter().all(|byte| matches!(byte, b' ' | b',' | b'\n' | b';'));
        changes.push_char(if joins { end_of_last } else { at }..end, c);
        (at, end_of_last) = (end, end);
    }
}

/// Fewest escapes that make a text quoted-printable: `x=20` stands in any program.
const QUOTED_MIN: usize = 3;

/// `=69=67=` and line ends behind `=` (RFC 2045, section 6.7).
pub(super) fn quoted_printable(text: &str, changes: &mut Changes) {
    let bytes = text.as_bytes();
    if quoted(bytes).take(QUOTED_MIN).count() < QUOTED_MIN {
        return;
    }
    let mut utf8 = Utf8::default();
    for (place, byte) in quoted(bytes) {
        match byte {
            Some(byte) => utf8.push(place, byte, changes),
            None => changes.push(place, ""),
        }
    }
    utf8.flush(changes);
}

/// Lists what is quoted: where, and the byte; none for a line end that is not meant.
fn quoted(bytes: &[u8]) -> impl Iterator<Item = (Range<usize>, Option<u8>)> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let start = at + memchr(b'=', &bytes[at..])?;
            at = start + 1;
            let digits = bytes.get(at..at + 2).filter(|digits| !digits.iter().any(u8::is_ascii_lowercase));
            if let Some(byte) = hex(digits) {
                at += 2;
                return Some((start..at, Some(byte as u8)));
            }
            let is_padding = start > 0 && bytes[start - 1] == b'=';
            let line_end = match &bytes[at..] {
                [b'\r', b'\n', ..] => 2,
                [b'\n', ..] => 1,
                _ => 0,
            };
            if line_end > 0 && !is_padding {
                at += line_end;
                return Some((start..at, None));
            }
        }
    })
}
