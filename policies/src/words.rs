//! Context words: whole words before a match that make it likelier.

use aho_corasick::{AhoCorasick, AhoCorasickKind};

use crate::fold::{Fold, fold};
use crate::pack::Context;

/// A rule's context words, prepared for plain and for folded text.
pub(crate) struct ContextWords {
    plain: Option<AhoCorasick>,
    folded: Option<AhoCorasick>,
    /// True when each word holds a letter: then a text without any holds no word.
    has_letters: bool,
    pub boost: f32,
    pub required: bool,
}

impl ContextWords {
    /// Prepares the words.
    pub(crate) fn new(context: &Context) -> Self {
        let plain: Vec<String> = context.words.iter().map(|word| read(word)).collect();
        let folded: Vec<String> = context.words.iter().map(|word| read(&folded(word))).collect();
        let automaton = |words: &[String]| AhoCorasick::builder().kind(Some(AhoCorasickKind::ContiguousNFA)).build(words).ok();
        let has_letters = plain.iter().chain(&folded).all(|word| word.bytes().any(is_letter));
        Self { plain: automaton(&plain), folded: automaton(&folded), has_letters, boost: context.boost, required: context.required }
    }

    /// Returns true when one of the words stands in `before`.
    pub(crate) fn found(&self, before: &str, is_folded: bool) -> bool {
        let words = if is_folded { &self.folded } else { &self.plain };
        // A row of numbers asks this at each of them.
        if self.has_letters && !before.bytes().fold(false, |any, byte| any | is_letter(byte)) {
            return false;
        }
        let before = read(before);
        // Without an automaton (there would have to be gigabytes of words) nothing is found, as if the words were not there.
        words.as_ref().is_some_and(|words| words.find_overlapping_iter(&before).any(|found| is_whole(&before, found.start(), found.end())))
    }
}

/// Returns true for what may be part of a letter: everything beyond ASCII as well.
fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || !byte.is_ascii()
}

/// Text as context is read: in lower case, and `_` is a blank (`driving_licence`).
fn read(text: &str) -> String {
    // What a sigma becomes depends on what stands around it.
    if text.contains('Σ') {
        return text.to_lowercase().replace('_', " ");
    }
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '_' => plain.push(' '),
            c if c.is_ascii() => plain.push(c.to_ascii_lowercase()),
            c if has_no_case(c) => plain.push(c),
            c => plain.extend(c.to_lowercase()),
        }
    }
    plain
}

/// Returns true for letters of scripts that know no capitals, Hebrew to Burmese, Chinese, Japanese and Korean: asking for their small
/// letters takes longer than everything else here.
fn has_no_case(c: char) -> bool {
    matches!(c as u32, 0x590..=0x109f | 0x2e80..=0xa63f | 0xac00..=0xfaff)
}

fn folded(word: &str) -> String {
    let mut plain = String::with_capacity(word.len());
    for c in word.chars() {
        match fold(c) {
            Fold::Same => plain.push(c),
            Fold::Gone => {}
            Fold::To(c) => plain.push(c),
            Fold::Many(many) => plain.push_str(many),
        }
    }
    plain
}

/// Returns true when no letter or digit of its own kind touches the word that stands there.
fn is_whole(text: &str, start: usize, end: usize) -> bool {
    let word = &text[start..end];
    let left = text[..start].chars().next_back();
    let right = text[end..].chars().next();
    let joined = |edge: Option<char>, neighbour: Option<char>| edge.is_some_and(spaced) && neighbour.is_some_and(spaced);
    !joined(word.chars().next(), left) && !joined(word.chars().next_back(), right)
}

/// Returns true for letters and digits of scripts that put spaces between words.
pub(crate) fn spaced(c: char) -> bool {
    let unspaced = matches!(c as u32,
        0xe00..=0xeff | 0x1000..=0x109f | 0x1780..=0x17ff | 0x3040..=0x30ff | 0x3400..=0x9fff
        | 0xac00..=0xd7ff | 0xf900..=0xfaff | 0x20000..=0x3ffff);
    c.is_alphanumeric() && !unspaced
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole_word(text: &str, word: &str) -> bool {
        ContextWords::new(&Context { words: vec![word.into()], boost: 0.3, required: false }).found(text, false)
    }

    #[test]
    fn latin_words_are_whole_and_chinese_words_are_anywhere() {
        assert!(whole_word("my card: ", "card") && !whole_word("discard ", "card") && !whole_word("cards ", "card"));
        assert!(whole_word("我的卡号是", "卡号") && whole_word("银行card号", "card"));
        assert!(whole_word("x driver license y", "driver license") && !whole_word("моякарта ", "карта"));
        assert!(whole_word("DRIVING_LICENCE_NO: ", "driving licence"));
    }

    #[test]
    fn text_is_read_in_lower_case() {
        let all: String = (0..=0x2_ffff).filter_map(char::from_u32).filter(|&c| c != 'Σ').collect();
        assert_eq!(read(&all), all.to_lowercase().replace('_', " "));
        assert_eq!(read("ΑΡΙΘΜΟΣ_X"), "αριθμος x");
    }

    #[test]
    fn words_are_folded_for_folded_text() {
        let context = Context { words: vec!["карта".into()], boost: 0.3, required: false };
        let words = ContextWords::new(&context);
        assert!(words.found("моя КАРТА ", false) && words.found(&folded("карта "), true));
    }
}
