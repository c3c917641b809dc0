//! Context words: whole words before a match that make it likelier.

use crate::fold::{Fold, fold};
use crate::pack::Context;

/// A rule's context words, prepared for plain and for folded text.
pub(crate) struct ContextWords {
    plain: Vec<String>,
    folded: Vec<String>,
    pub boost: f32,
    pub required: bool,
}

impl ContextWords {
    /// Prepares the words.
    pub(crate) fn new(context: &Context) -> Self {
        Self {
            plain: context.words.iter().map(|word| word.to_lowercase()).collect(),
            folded: context.words.iter().map(|word| folded(word).to_lowercase()).collect(),
            boost: context.boost,
            required: context.required,
        }
    }

    /// Returns true when one of the words stands in `before`.
    pub(crate) fn found(&self, before: &str, is_folded: bool) -> bool {
        let before = before.to_lowercase();
        let words = if is_folded { &self.folded } else { &self.plain };
        words.iter().any(|word| whole_word(&before, word))
    }
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

/// Returns true when `word` stands in `text` with no letter or digit of its own kind touching it.
fn whole_word(text: &str, word: &str) -> bool {
    let (Some(first), Some(last)) = (word.chars().next(), word.chars().next_back()) else { return false };
    text.match_indices(word).any(|(at, _)| {
        let left = text[..at].chars().next_back();
        let right = text[at + word.len()..].chars().next();
        let joined = |edge: char, neighbour: Option<char>| spaced(edge) && neighbour.is_some_and(spaced);
        !joined(first, left) && !joined(last, right)
    })
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

    #[test]
    fn latin_words_are_whole_and_chinese_words_are_anywhere() {
        assert!(whole_word("my card: ", "card") && !whole_word("discard ", "card") && !whole_word("cards ", "card"));
        assert!(whole_word("我的卡号是", "卡号") && whole_word("银行card号", "card"));
        assert!(whole_word("x driver license y", "driver license") && !whole_word("моякарта ", "карта"));
    }

    #[test]
    fn words_are_folded_for_folded_text() {
        let context = Context { words: vec!["карта".into()], boost: 0.3, required: false };
        let words = ContextWords::new(&context);
        assert!(words.found("моя КАРТА ", false) && words.found(&folded("карта "), true));
    }
}
