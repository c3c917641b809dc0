//! The value that a finding stands for: read out of its JSON spelling, and brought into one form that spellings share.

use std::borrow::Cow;

use crate::fold::{Fold, fold};
use crate::model::Encoding;

/// Reads what a piece of text says: itself, or what its JSON escapes (RFC 8259, section 7) stand for. None when the piece is more than
/// the inside of one JSON string or number.
pub(crate) fn decoded(piece: &str, encoding: Encoding) -> Option<Cow<'_, str>> {
    if encoding == Encoding::Plain {
        return Some(Cow::Borrowed(piece));
    }
    if piece.bytes().any(|byte| byte == b'"') && !only_escaped_quotes(piece) {
        return None;
    }
    if !piece.contains('\\') {
        return Some(Cow::Borrowed(piece));
    }
    let mut out = String::with_capacity(piece.len());
    let mut rest = piece;
    while let Some(unit) = unit(rest) {
        out.push(unit.character?);
        rest = &rest[unit.bytes..];
    }
    Some(Cow::Owned(out))
}

fn only_escaped_quotes(piece: &str) -> bool {
    let mut rest = piece;
    while let Some(unit) = unit(rest) {
        if rest.starts_with('"') {
            return false;
        }
        rest = &rest[unit.bytes..];
    }
    true
}

/// One character of a JSON string as it is spelled.
pub(crate) struct Unit {
    /// How long its spelling is.
    pub bytes: usize,
    /// What it stands for; none for an escape that is wrong or not whole.
    pub character: Option<char>,
    /// True when more text could make an escape of it.
    pub unfinished: bool,
}

/// Reads the first character of a text with JSON escapes. None at its end.
pub(crate) fn unit(text: &str) -> Option<Unit> {
    let first = text.chars().next()?;
    if first != '\\' {
        return Some(Unit { bytes: first.len_utf8(), character: Some(first), unfinished: false });
    }
    let bytes = text.as_bytes();
    let whole = |bytes, c| Some(Unit { bytes, character: Some(c), unfinished: false });
    let Some(&second) = bytes.get(1) else { return Some(Unit { bytes: 1, character: None, unfinished: true }) };
    match second {
        b'n' => whole(2, '\n'),
        b't' => whole(2, '\t'),
        b'r' => whole(2, '\r'),
        b'b' => whole(2, '\u{8}'),
        b'f' => whole(2, '\u{c}'),
        b'"' | b'\\' | b'/' => whole(2, char::from(second)),
        b'u' => Some(unicode(bytes)),
        _ => Some(Unit { bytes: 1, character: None, unfinished: false }),
    }
}

fn unicode(bytes: &[u8]) -> Unit {
    let wrong = Unit { bytes: 1, character: None, unfinished: false };
    let short = Unit { bytes: 1, character: None, unfinished: true };
    let high = match hex4(bytes, 2) {
        Hex::Code(code) => code,
        Hex::Short => return short,
        Hex::Wrong => return wrong,
    };
    if let Some(c) = char::from_u32(high) {
        return Unit { bytes: 6, character: Some(c), unfinished: false };
    }
    // The first half of a surrogate pair.
    let rest = &bytes[6..];
    if high >= 0xdc00 || !b"\\u".starts_with(&rest[..rest.len().min(2)]) {
        return wrong;
    }
    match hex4(bytes, 8) {
        Hex::Short => short,
        Hex::Code(low @ 0xdc00..0xe000) => {
            let character = char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00));
            Unit { bytes: 12, character, unfinished: false }
        }
        Hex::Code(_) | Hex::Wrong => wrong,
    }
}

enum Hex {
    Code(u32),
    Short,
    Wrong,
}

fn hex4(bytes: &[u8], at: usize) -> Hex {
    let digits = &bytes[at.min(bytes.len())..(at + 4).min(bytes.len())];
    match digits.iter().try_fold(0, |code, &digit| Some(code * 16 + char::from(digit).to_digit(16)?)) {
        Some(code) if digits.len() == 4 => Hex::Code(code),
        Some(_) => Hex::Short,
        None => Hex::Wrong,
    }
}

/// Writes a text so that it may stand inside a JSON string.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out
}

/// Brings a value into the form that its spellings share, for lists and keyed hashes: folded, in lower case; of numbers the digits
/// only; of what has digits and no `@` without blanks and hyphens; blanks otherwise single.
pub(crate) fn normalised(value: &str) -> String {
    let folded = folded(value).to_lowercase();
    let is_number = folded.chars().any(|c| c.is_ascii_digit())
        && folded.chars().all(|c| c.is_ascii_digit() || c.is_whitespace() || "-./()+".contains(c));
    if is_number {
        return folded.chars().filter(char::is_ascii_digit).collect();
    }
    if folded.chars().any(|c| c.is_ascii_digit()) && !folded.contains('@') {
        return folded.chars().filter(|&c| !c.is_whitespace() && c != '-').collect();
    }
    folded.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Folds a text as matching does.
pub(crate) fn folded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match fold(c) {
            Fold::Same => out.push(c),
            Fold::Gone => {}
            Fold::To(to) => out.push(to),
            Fold::Many(many) => out.push_str(many),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_json_spelling_is_read_and_written_back() {
        for (piece, value) in [
            ("jane\\u0040x.org", Some("jane@x.org")),
            ("a\\\"b\\\\c\\/d\\n", Some("a\"b\\c/d\n")),
            ("\\ud83d\\ude00", Some("😀")),
            ("12345", Some("12345")),
            ("a\"b", None),
            ("a\\", None),
            ("\\u00", None),
            ("\\ud83d", None),
            ("\\ud83dx", None),
            ("\\x", None),
        ] {
            assert_eq!(decoded(piece, Encoding::Json).as_deref(), value, "{piece}");
        }
        assert_eq!(decoded("a\"\\b", Encoding::Plain).as_deref(), Some("a\"\\b"));
        for text in ["plain", "a\"b\\c\nd\te\u{1}f", "中文😀"] {
            assert_eq!(decoded(&escaped(text), Encoding::Json).as_deref(), Some(text));
            let json: String = serde_json::from_str(&format!("\"{}\"", escaped(text))).unwrap();
            assert_eq!(json, text);
        }
    }

    #[test]
    fn spellings_of_one_value_share_a_form() {
        for (value, form) in [
            ("4111 1111 1111 1111", "4111111111111111"),
            ("４１１１-1111\u{200b}.1111/1111", "4111111111111111"),
            ("+44 (20) 7946-0018", "442079460018"),
            ("de89 3704 0044", "de8937040044"),
            ("DE89-3704-0044", "de8937040044"),
            ("Jane.Doe-1@Example.org", "jane.doe-1@example.org"),
            ("Project  Blue\nSky", "project blue sky"),
            ("蓝天 项目", "蓝天 项目"),
            ("-", "-"),
            ("", ""),
        ] {
            assert_eq!(normalised(value), form, "{value}");
        }
    }
}
