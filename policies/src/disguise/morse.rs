//! Morse code (ITU-R M.1677-1): letters only, between blanks; words between `/`, `|` or wider blanks.

use memchr::memchr_iter;

use super::words::is_attack;
use crate::decode::Changes;
use crate::view::Decoded;

/// Fewest letters that are read.
const LETTERS_MIN: usize = 6;

const LETTERS: [&str; 36] = [
    ".-", "-...", "-.-.", "-..", ".", "..-.", "--.", "....", "..", ".---", "-.-", ".-..", "--", "-.", "---", ".--.", "--.-", ".-.", "...",
    "-", "..-", "...-", ".--", "-..-", "-.--", "--..", "-----", ".----", "..---", "...--", "....-", ".....", "-....", "--...", "---..",
    "----.",
];

fn letter(signs: &str) -> Option<char> {
    let nth = LETTERS.iter().position(|&letter| letter == signs)?;
    Some(char::from(if nth < 26 { b'a' + nth as u8 } else { b'0' + nth as u8 - 26 }))
}

fn is_sign(byte: u8) -> bool {
    matches!(byte, b'.' | b'-' | b' ' | b'/' | b'|' | b'\n')
}

/// Reads runs of dots and dashes in which a word of an attack stands.
pub(super) fn read(text: &str) -> Option<Decoded> {
    let bytes = text.as_bytes();
    // A dot beside a dash: `N` or `A` or any longer letter.
    memchr_iter(b'-', bytes).find(|&at| bytes.get(at + 1) == Some(&b'.') || (at > 0 && bytes[at - 1] == b'.'))?;
    let mut changes = Changes::default();
    let mut at = 0;
    while let Some(skipped) = bytes[at..].iter().position(|byte| matches!(byte, b'.' | b'-')) {
        let start = at + skipped;
        at = start + bytes[start..].iter().take_while(|&&byte| is_sign(byte)).count();
        let run = text[start..at].trim_end_matches([' ', '\n', '/', '|']);
        if let Some(said) = said(run) {
            changes.push(start..start + run.len(), &said);
        }
    }
    changes.applied(text)
}

fn said(run: &str) -> Option<String> {
    let (mut said, mut letters) = (String::new(), 0);
    for (nth, piece) in run.split(' ').enumerate() {
        let is_gap = piece.is_empty() || piece.bytes().all(|byte| matches!(byte, b'/' | b'|' | b'\n'));
        if is_gap {
            if nth > 0 && !said.ends_with(' ') {
                said.push(' ');
            }
            continue;
        }
        for (nth, signs) in piece.split(['/', '|', '\n']).enumerate() {
            if nth > 0 && !said.ends_with(' ') {
                said.push(' ');
            }
            if !signs.is_empty() {
                said.push(letter(signs)?);
                letters += 1;
            }
        }
    }
    (letters >= LETTERS_MIN && said.split(' ').any(is_attack)).then_some(said)
}
