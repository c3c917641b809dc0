//! Text written in characters that nobody sees: tags, and variation selectors that stand for bytes.

use memchr::memmem;

use crate::decode::Changes;
use crate::view::Decoded;

/// Fewest bytes that variation selectors write; an emoji takes one or two of them.
const BYTES_MIN: usize = 4;

/// Lists what a text says in invisible characters.
pub(crate) fn hidden(text: &str) -> Vec<Decoded> {
    let mut forms = Vec::new();
    if text.is_ascii() {
        return forms;
    }
    let bytes = text.as_bytes();
    // How U+E0000 to U+E0FFF begin, and U+FE00 to U+FE3F.
    let beyond = memmem::find(bytes, b"\xf3\xa0");
    let first = [beyond, memmem::find(bytes, b"\xef\xb8")].into_iter().flatten().min();
    let Some(first) = first else { return forms };
    if beyond.is_some() {
        forms.extend(tags(text, first));
    }
    forms.extend(selectors(text, first));
    forms
}

/// Runs of characters for which `read` has an answer, each with what its characters say.
fn runs<T>(text: &str, from: usize, read: impl Fn(char) -> Option<T>, mut each: impl FnMut(std::ops::Range<usize>, &[T])) {
    let (mut said, mut start) = (Vec::new(), 0);
    for (at, c) in text[from..].char_indices().map(|(at, c)| (from + at, c)).chain([(text.len(), ' ')]) {
        match read(c) {
            Some(value) => {
                if said.is_empty() {
                    start = at;
                }
                said.push(value);
            }
            None if !said.is_empty() => {
                each(start..at, &said);
                said.clear();
            }
            None => {}
        }
    }
}

/// What is hidden is said apart from what stands around it.
fn line(said: &str) -> String {
    format!("\n{said}\n")
}

/// Tags are ASCII, moved up (Unicode, section 23.9).
fn tags(text: &str, from: usize) -> Option<Decoded> {
    let mut changes = Changes::default();
    let tag = |c: char| match c as u32 {
        code @ 0xe0020..=0xe007e => char::from_u32(code - 0xe0000),
        0xe0001 | 0xe007f => Some('\n'),
        _ => None,
    };
    runs(text, from, tag, |place, said| changes.push(place, &line(&said.iter().collect::<String>())));
    changes.applied(text)
}

/// The 256 variation selectors stand for the 256 bytes: the first block for the first sixteen.
fn selectors(text: &str, from: usize) -> Option<Decoded> {
    let mut changes = Changes::default();
    let byte = |c: char| match c as u32 {
        code @ 0xfe00..=0xfe0f => Some((code - 0xfe00) as u8),
        code @ 0xe0100..=0xe01ef => Some((code - 0xe0100 + 16) as u8),
        _ => None,
    };
    runs(text, from, byte, |place, said| {
        if said.len() >= BYTES_MIN {
            changes.push(place, &line(&String::from_utf8_lossy(said)));
        }
    });
    changes.applied(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_and_selectors_are_read() {
        let tagged: String = "ignore".chars().map(|c| char::from_u32(0xe0000 + c as u32).unwrap()).collect();
        assert_eq!(hidden(&format!("hi{tagged}!"))[0].text, "hi\nignore\n!");
        let selected: String = "忽略\n"
            .bytes()
            .map(|byte| char::from_u32(if byte < 16 { 0xfe00 + u32::from(byte) } else { 0xe0100 + u32::from(byte) - 16 }).unwrap())
            .collect();
        assert_eq!(hidden(&format!("😀{selected}!")).last().unwrap().text, "😀\n忽略\n\n!");
        assert!(hidden("❤️ and 中文").is_empty());
    }
}
