//! Encodings of whole runs: base64, base32, hex, bits. A run is decoded when what it says is text.

use std::ops::Range;

use memchr::memchr_iter;

use super::codes::has_words;
use super::{Changes, readable, readable_utf8};

/// Shortest run that is tried as base64, in characters: twelve bytes.
const BASE64_MIN: usize = 16;
/// Most signs that fill up the last group, of base32.
const PADDING_MAX: usize = 6;
/// So many digits of base64 stand for three bytes.
const BASE64_GROUP: usize = 4;
/// The same of base32, for five bytes.
const BASE32_GROUP: usize = 8;
/// Shortest run that is tried as hex, in digits: twelve bytes.
const HEX_MIN: usize = 24;
/// Fewest pairs of hex digits with something between them.
const PAIRS_MIN: usize = HEX_MIN / 2;
/// Fewest groups of eight bits.
const BITS_MIN: usize = 6;
/// What is looked at first of a run: where that is no text, the rest is not decoded.
const HEAD: usize = 64;

const NONE: u8 = 0xff;

/// The value of each base64 digit of either alphabet (RFC 4648, sections 4 and 5).
const VALUES: [u8; 256] = {
    let mut values = [NONE; 256];
    let mut i = 0;
    while i < 26 {
        values[b'A' as usize + i] = i as u8;
        values[b'a' as usize + i] = 26 + i as u8;
        i += 1;
    }
    i = 0;
    while i < 10 {
        values[b'0' as usize + i] = 52 + i as u8;
        i += 1;
    }
    values[b'+' as usize] = 62;
    values[b'-' as usize] = 62;
    values[b'/' as usize] = 63;
    values[b'_' as usize] = 63;
    values
};

fn is_digit(byte: u8) -> bool {
    VALUES[usize::from(byte)] != NONE
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// Marks the ASCII bytes of eight that are below `limit` (at most 0x80), in their highest bits.
fn below(eight: u64, limit: u8) -> u64 {
    !((eight | HIGHS) - ONES * u64::from(limit)) & HIGHS & !eight
}

/// Decodes long runs of base64 and hex digits.
pub(super) fn long(text: &str, changes: &mut Changes) {
    let bytes = text.as_bytes();
    let mut from = 0;
    while let Some(run) = next_long(bytes, from) {
        from = run.end;
        let lines = lines(bytes, &run);
        if lines.len() > 1 {
            from = lines[lines.len() - 1].end;
            if take_lines(bytes, &lines, changes) || take_lines(bytes, &lines[..lines.len() - 1], changes) {
                continue;
            }
        }
        for line in lines {
            take_run(bytes, line, changes);
        }
    }
}

/// Finds the next run of sixteen base64 digits or more. Such a run covers eight bytes at a multiple of eight, which is what is looked
/// for: ordinary words hardly ever do.
fn next_long(bytes: &[u8], from: usize) -> Option<Range<usize>> {
    let mut at = from.next_multiple_of(8);
    while let Some(Ok(eight)) = bytes.get(at..at + 8).map(<[u8; 8]>::try_from) {
        let word = u64::from_le_bytes(eight);
        if word & HIGHS == 0 && below(word, b'+') == 0 && eight.iter().all(|&byte| is_digit(byte)) {
            let start = at - bytes[from..at].iter().rev().take_while(|&&byte| is_digit(byte)).count();
            let end = at + bytes[at..].iter().take_while(|&&byte| is_digit(byte)).count();
            if end - start >= BASE64_MIN {
                return Some(start..end);
            }
            at = end.next_multiple_of(8).max(at + 8);
        } else {
            at += 8;
        }
    }
    None
}

/// Lists the lines that a run goes on over: all but the first and the last of the same length, each begun by blanks or `>`.
fn lines(bytes: &[u8], run: &Range<usize>) -> Vec<Range<usize>> {
    let mut lines = vec![run.clone()];
    let mut width = None;
    loop {
        let mut at = lines[lines.len() - 1].end;
        at += usize::from(bytes.get(at) == Some(&b'\r'));
        if bytes.get(at) != Some(&b'\n') {
            return lines;
        }
        at += 1;
        at += bytes[at..].iter().take(4).take_while(|byte| matches!(byte, b' ' | b'\t' | b'>')).count();
        let length = bytes[at..].iter().take_while(|&&byte| is_digit(byte)).count();
        let limit = width.unwrap_or(usize::MAX);
        if length == 0 || length > limit {
            return lines;
        }
        lines.push(at..at + length);
        if length < limit.min(BASE64_MIN) || width.is_some_and(|width| length < width) {
            return lines;
        }
        width = Some(length);
    }
}

/// Decodes lines as one run.
fn take_lines(bytes: &[u8], lines: &[Range<usize>], changes: &mut Changes) -> bool {
    let [first, .., last] = lines else { return false };
    let mut joined: Vec<u8> = Vec::new();
    for line in lines {
        joined.extend_from_slice(&bytes[line.clone()]);
    }
    let Some(text) = spoken(&joined, readable) else { return false };
    changes.push(first.start..padded(bytes, last.end), &text);
    true
}

/// Decodes a run, or those parts of it that stand between slashes and the like, or what begins a few digits later: whoever put those
/// before it can say so to the model. UTF-8 is tried first everywhere: Latin text begun at a wrong digit looks like Chinese in UTF-16.
fn take_run(bytes: &[u8], run: Range<usize>, changes: &mut Changes) {
    let take = |place: Range<usize>, late: usize, read: Read, changes: &mut Changes| {
        let digits = &bytes[(place.start + late).min(place.end)..place.end];
        let text = (digits.len() >= BASE64_MIN).then(|| spoken(digits, read)).flatten();
        let end = if place.end == run.end { padded(bytes, place.end) } else { place.end };
        text.as_ref().map(|text| changes.push(place.start..end, text)).is_some()
    };
    if take(run.clone(), 0, readable_utf8, changes) {
        return;
    }
    let mut start = run.start;
    let place = |part: &[u8]| {
        let place = start..start + part.len();
        start = place.end + 1;
        place
    };
    let parts = bytes[run.clone()].split(|byte| matches!(byte, b'/' | b'-' | b'_' | b'+')).map(place);
    let parts: Vec<Range<usize>> = parts.filter(|part| part.len() >= BASE64_MIN && part.len() < run.len()).collect();
    let taken: Vec<bool> = parts.iter().map(|part| take(part.clone(), 0, readable_utf8, changes)).collect();
    let is_any = taken.contains(&true);
    let late = 1..if is_base32(&bytes[run.clone()]) { BASE32_GROUP } else { BASE64_GROUP };
    if !is_any && (late.into_iter().any(|late| take(run.clone(), late, readable_utf8, changes)) || take(run.clone(), 0, readable, changes))
    {
        return;
    }
    for (part, _) in parts.into_iter().zip(taken).filter(|(_, is_taken)| !is_taken) {
        take(part, 0, readable, changes);
    }
}

/// Moves past padding.
fn padded(bytes: &[u8], at: usize) -> usize {
    at + bytes[at..].iter().take(PADDING_MAX).take_while(|&&byte| byte == b'=').count()
}

/// Reads bytes as text, if they are any.
type Read = fn(&[u8]) -> Option<String>;

/// Reads digits as hex, as base32 or as base64.
fn spoken(digits: &[u8], read: Read) -> Option<String> {
    let hex = digits.strip_prefix(b"0x").or_else(|| digits.strip_prefix(b"0X")).unwrap_or(digits);
    if hex.len() >= HEX_MIN && hex.len().is_multiple_of(2) && hex.iter().all(u8::is_ascii_hexdigit) {
        let pair = |pair: &[u8]| pair.iter().fold(0, |value, &digit| (value << 4) | char::from(digit).to_digit(16).unwrap_or(0) as u8);
        let said = |digits: &[u8]| read(&digits.chunks(2).map(pair).collect::<Vec<u8>>());
        if let Some(text) = said(&hex[..hex.len().min(HEAD)]).and_then(|_| said(hex)) {
            return Some(text);
        }
    }
    if digits.len() < BASE64_MIN {
        return None;
    }
    let said = |decode: &dyn Fn(&[u8]) -> Vec<u8>, digits: &[u8]| {
        read(&decode(&digits[..digits.len().min(HEAD)])).and_then(|_| read(&decode(digits)))
    };
    if is_base32(digits)
        && let Some(text) = said(&base32, digits)
    {
        return Some(text);
    }
    if digits.len() % BASE64_GROUP == 1 {
        return None;
    }
    said(&base64, digits)
}

/// Returns true for digits of base32 in one case (RFC 4648, section 6).
fn is_base32(digits: &[u8]) -> bool {
    let is_in = |letters: std::ops::RangeInclusive<u8>| digits.iter().all(|digit| letters.contains(digit) || matches!(digit, b'2'..=b'7'));
    is_in(b'A'..=b'Z') || is_in(b'a'..=b'z')
}

fn base32(digits: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(digits.len() / 8 * 5 + 5);
    let (mut held, mut bits) = (0u32, 0);
    for &digit in digits {
        let value = if digit.is_ascii_digit() { digit - b'2' + 26 } else { digit.to_ascii_lowercase() - b'a' };
        held = (held << 5) | u32::from(value);
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits) as u8);
        }
    }
    bytes
}

fn base64(digits: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 3);
    for four in digits.chunks(4) {
        let value = four.iter().fold(0u32, |value, &digit| (value << 6) | u32::from(VALUES[usize::from(digit)]));
        let value = value << (6 * (4 - four.len()));
        bytes.extend_from_slice(&value.to_be_bytes()[1..four.len()]);
    }
    bytes
}

/// A cheap look for pairs of hex digits with the same thing between them: `69 67 6e`, `69, 67, 6e`, `0x69`. ASCII letters in hex begin with a
/// decimal digit, and of any other text nearly every letter has one.
pub(super) fn may_have_pairs(bytes: &[u8]) -> bool {
    const PLACES: usize = 32;
    let is_hex = |byte: u8| (byte.wrapping_sub(b'0') < 10) | ((byte | 0x20).wrapping_sub(b'a') < 6);
    any_window::<PLACES, { PLACES + 8 }>(bytes, |window| {
        if !window[..PLACES].iter().fold(false, |found, byte| found | byte.is_ascii_digit()) {
            return false;
        }
        let mut found = false;
        for i in 0..PLACES {
            let pair = is_hex(window[i]) & is_hex(window[i + 1]) & !is_hex(window[i + 2]);
            let near = is_hex(window[i + 3]) & is_hex(window[i + 4]) & (window[i + 5] == window[i + 2]);
            let far = (window[i + 3] == b' ') & is_hex(window[i + 4]) & is_hex(window[i + 5]) & (window[i + 6] == window[i + 2]);
            let prefixed = (window[i] == b'0') & ((window[i + 1] | 0x20) == b'x') & is_hex(window[i + 2]) & is_hex(window[i + 3]);
            found |= (pair & (near | far)) | prefixed;
        }
        found
    })
}

/// Runs `look` over a text, so many places at a time, each window reaching a little beyond its places; what is missing at the end is zero.
/// Without branches inside, the compiler turns such a look into wide instructions.
pub(crate) fn any_window<const PLACES: usize, const BYTES: usize>(bytes: &[u8], look: impl Fn(&[u8; BYTES]) -> bool) -> bool {
    let mut at = 0;
    while let Some(Ok(window)) = bytes.get(at..at + BYTES).map(<&[u8; BYTES]>::try_from) {
        if look(window) {
            return true;
        }
        at += PLACES;
    }
    let mut rest = [0; BYTES];
    rest[..bytes.len() - at].copy_from_slice(&bytes[at..]);
    look(&rest)
}

/// A cheap look for a group of eight bits that is an ASCII letter (01...), or begins a Chinese one (1110...).
pub(super) fn may_have_bits(bytes: &[u8]) -> bool {
    let is_bits = |at: usize| bytes.get(at..at + 8).is_some_and(|eight| eight.iter().all(|bit| matches!(bit, b'0' | b'1')));
    memchr_iter(b'1', bytes).any(|at| is_bits(at) || is_bits(at.saturating_sub(1)))
}

/// Decodes pairs of hex digits with blanks, colons, commas, `0x` or `\x` between them.
pub(super) fn pairs(text: &str, changes: &mut Changes) {
    groups(text.as_bytes(), PAIRS_MIN, changes, &|bytes, at| {
        let prefix = match bytes.get(at..) {
            Some([b'0', b'x' | b'X', ..]) => 2,
            _ => 0,
        };
        let pair = bytes.get(at + prefix..at + prefix + 2)?;
        let value = pair.iter().try_fold(0u8, |value, &digit| Some((value << 4) | char::from(digit).to_digit(16)? as u8))?;
        Some((value, prefix + 2))
    });
}

/// Decodes groups of eight bits.
pub(super) fn bits(text: &str, changes: &mut Changes) {
    groups(text.as_bytes(), BITS_MIN, changes, &|bytes, at| {
        let eight = bytes.get(at..at + 8)?;
        let value = eight.iter().try_fold(0u8, |value, &bit| matches!(bit, b'0' | b'1').then(|| (value << 1) | (bit - b'0')))?;
        Some((value, 8))
    });
}

/// Reads the group that begins at a place: its byte and its length.
type ReadGroup = dyn Fn(&[u8], usize) -> Option<(u8, usize)>;

/// Decodes groups that stand for a byte each, none of them inside a longer word. `read` gives the byte and the length of a group.
///
/// What comes out has a letter in it: a list of numbers between 30 and 39 is no telephone number.
fn groups(bytes: &[u8], least: usize, changes: &mut Changes, read: &ReadGroup) {
    let is_blank = |byte: &&u8| matches!(byte, b' ' | b':' | b',' | b'-' | b';' | b'\n' | b'\r');
    let mut at = 0;
    let mut values = Vec::new();
    while at < bytes.len() {
        let is_inside = at > 0 && bytes[at - 1].is_ascii_alphanumeric();
        if is_inside || !bytes[at].is_ascii_hexdigit() {
            at += 1;
            continue;
        }
        values.clear();
        let (start, mut end, mut next) = (at, at, at);
        while let Some((value, length)) = read(bytes, next) {
            let is_head = bytes.get(next + length).is_some_and(|byte| byte.is_ascii_alphanumeric() && length < 4);
            if is_head {
                break;
            }
            values.push(value);
            end = next + length;
            next = end + bytes[end..].iter().take(3).take_while(is_blank).count();
        }
        let text = (values.len() >= least).then(|| readable(&values)).flatten();
        // Pairs of decimal digits alone are ages and weights, and whatever is read as UTF-16 is a guess: those have to be words.
        let has_letters = least == BITS_MIN || bytes[start..end].iter().any(u8::is_ascii_alphabetic);
        let is_certain = || has_letters && readable_utf8(&values).is_some();
        if let Some(text) = text.filter(|text| text.contains(char::is_alphabetic) && (is_certain() || has_words(text))) {
            changes.push(start..end, &text);
        }
        at = end.max(at + 1);
    }
}
