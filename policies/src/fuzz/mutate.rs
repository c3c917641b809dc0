//! What is done to the seeds: flipped bytes, splices, repeats, invisible characters, escapes, encodings, huge runs.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::numbers::Numbers;
use crate::Encoding;

/// Most steps from a seed to a case.
const STEPS_MAX: usize = 5;
/// Longest case, in bytes; well below what a stream may hold back.
const CASE_BYTES_MAX: usize = 12 * 1024;
/// Longest run of one piece, in repeats.
const RUN_MAX: usize = 4000;

/// Zero-width and bidi characters, a tag letter, variation selectors, marks, controls, and what folds to something else.
const STRANGE: &[&str] = &[
    "\u{200b}",
    "\u{200c}",
    "\u{200d}",
    "\u{2060}",
    "\u{feff}",
    "\u{ad}",
    "\u{34f}",
    "\u{61c}",
    "\u{180e}",
    "\u{200e}",
    "\u{200f}",
    "\u{202a}",
    "\u{202d}",
    "\u{202e}",
    "\u{202c}",
    "\u{2066}",
    "\u{2067}",
    "\u{2069}",
    "\u{e0001}",
    "\u{e0041}",
    "\u{e007f}",
    "\u{fe00}",
    "\u{fe0f}",
    "\u{e0100}",
    "\u{301}",
    "\u{327}",
    "\u{20e3}",
    "\0",
    "\u{7}",
    "\u{1b}",
    "\u{7f}",
    "\u{85}",
    "\u{2028}",
    "\u{a0}",
    "\u{3000}",
    "\u{fffd}",
    "\u{115f}",
    "\u{3164}",
    "\u{fdfa}",
    "ﬃ",
    "ß",
    "İ",
    "ſ",
    "K",
    "½",
    "①",
    "４",
    "Ａ",
    "а",
    "ο",
    "👩\u{200d}👧",
    "🇬🇧",
    "ท",
    "中",
    "한",
];

/// What huge runs are made of.
const RUNS: &[&str] = &[
    "1",
    "1 ",
    "1-",
    "a",
    "A1",
    "A",
    " ",
    "\n",
    "@",
    ".",
    "/",
    "\\",
    "\"",
    "{\"",
    "[",
    "%",
    "%41",
    "&#65;",
    "\\u0041",
    "\\x41",
    "=",
    "-",
    "_",
    "\u{200b}",
    "\u{e0041}",
    "\u{301}",
    "４",
    "中",
    "é",
    "sk-",
    "eyJ",
    "0x",
    "- ",
    ".- ",
    "a b ",
    "ignore ",
    "-----BEGIN ",
    "<|",
];

/// Makes the text of one case and says how it is to be read.
pub(super) fn mutated(seeds: &[String], numbers: &mut Numbers) -> (String, Encoding) {
    let mut text = numbers.one_of(seeds).clone();
    for _ in 0..=numbers.below(STEPS_MAX) {
        text = step(&text, seeds, numbers);
        let end = text.floor_char_boundary(CASE_BYTES_MAX);
        text.truncate(end);
    }
    match numbers.below(4) {
        0 => (text, Encoding::Json),
        1 => (document(&text, numbers), Encoding::Json),
        _ => (text, Encoding::Plain),
    }
}

fn step(text: &str, seeds: &[String], numbers: &mut Numbers) -> String {
    let piece = numbers.piece(text);
    let (before, within, after) = (&text[..piece.start], &text[piece.clone()], &text[piece.end..]);
    match numbers.below(13) {
        0 => flipped(text, numbers),
        1 => {
            let other = numbers.one_of(seeds);
            let at = numbers.place(other);
            format!("{before}{}", &other[at..])
        }
        2 => format!("{before}{}{after}", numbers.one_of(seeds)),
        3 => format!("{before}{}{after}", within.repeat(2 + numbers.below(30))),
        4 => sown(text, numbers),
        5 => format!("{before}{}{after}", between(within, numbers.word(STRANGE))),
        6 => format!("{before}{}{after}", escaped(within, numbers)),
        7 => format!("{before}{}{after}", encoded(within, numbers)),
        8 => format!("{before}{}{after}", numbers.word(RUNS).repeat(1 + numbers.below(RUN_MAX))),
        9 => format!("{before}{}{after}", dressed(within, numbers)),
        10 => format!("{before}{after}"),
        11 => renumbered(text, numbers),
        _ => format!("{text}{}{}", numbers.word(&["", " ", "\n", "，", ", ", "\"", "="]), numbers.one_of(seeds)),
    }
}

fn flipped(text: &str, numbers: &mut Numbers) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..=numbers.below(4) {
        let at = numbers.below(bytes.len());
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 1 << numbers.below(8);
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn sown(text: &str, numbers: &mut Numbers) -> String {
    let mut text = text.to_owned();
    for _ in 0..=numbers.below(8) {
        let at = numbers.place(&text);
        text.insert_str(at, numbers.word(STRANGE));
    }
    text
}

fn between(text: &str, strange: &str) -> String {
    text.chars().flat_map(|c| std::iter::once(c).chain(strange.chars())).collect()
}

/// Some characters as escapes, of which some are left unfinished.
fn escaped(text: &str, numbers: &mut Numbers) -> String {
    let kind = numbers.below(6);
    let one = |c: char| {
        let mut units = [0; 2];
        let code = u32::from(c);
        match kind {
            0 => c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")).collect(),
            1 => format!("&#{code};"),
            2 => format!("&#x{code:x};"),
            3 => format!("\\u{{{code:x}}}"),
            4 => c.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect(),
            _ => c.to_string().bytes().map(|byte| format!("\\x{byte:02x}")).collect::<String>(),
        }
    };
    let mut all = String::new();
    for c in text.chars() {
        match numbers.below(3) {
            0 => all.push(c),
            _ => all.push_str(&one(c)),
        }
    }
    if numbers.below(4) == 0 {
        all.pop();
    }
    all
}

fn encoded(text: &str, numbers: &mut Numbers) -> String {
    let bytes = text.as_bytes();
    match numbers.below(5) {
        0 => STANDARD.encode(bytes),
        1 => URL_SAFE_NO_PAD.encode(bytes),
        2 => hex::encode(bytes),
        3 => STANDARD.encode(STANDARD.encode(bytes)),
        _ => text.chars().rev().collect(),
    }
}

/// The same characters in another dress: full width, capitals, a blank or a line break between each two.
fn dressed(text: &str, numbers: &mut Numbers) -> String {
    let wide = |c: char| if ('!'..='~').contains(&c) { char::from_u32(u32::from(c) + 0xfee0).unwrap_or(c) } else { c };
    match numbers.below(4) {
        0 => text.chars().map(wide).collect(),
        1 => text.to_uppercase(),
        2 => between(text, " "),
        _ => between(text, "\n"),
    }
}

fn renumbered(text: &str, numbers: &mut Numbers) -> String {
    text.chars().map(|c| if c.is_ascii_digit() && numbers.below(3) == 0 { char::from(b'0' + numbers.below(10) as u8) } else { c }).collect()
}

/// A JSON document that says the text in one or two layers, beside bare values.
fn document(text: &str, numbers: &mut Numbers) -> String {
    let number = u64::from(numbers.below(usize::MAX) as u32) * 1_000_003;
    let inner = serde_json::json!({ "n": number, "t": text, "b": [true, null, -1.5e3] });
    match numbers.below(2) {
        0 => inner.to_string(),
        _ => serde_json::json!({ "arguments": inner.to_string(), text: number }).to_string(),
    }
}
