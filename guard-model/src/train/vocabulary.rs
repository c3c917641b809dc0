//! A vocabulary for many languages around an English one: what the English network knows is kept, pieces of the other languages are
//! learned from texts in them, and their first vectors are made of what is known (pieces, and a glossary).

use std::collections::{BTreeMap, HashMap, HashSet};

use candle_core::{Device, Tensor};
use serde::Deserialize;
use serde_json::{Value, json};
use tokenizers::{
    Tokenizer,
    models::{TrainerWrapper, wordpiece::WordPieceTrainer},
};

use super::random::Random;
use crate::config::NetworkConfig;

/// Special tokens, first in the vocabulary; padding is 0.
pub const SPECIAL: [&str; 9] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[SYSTEM]", "[USER]", "[ASSISTANT]", "[TOOL]"];
/// Those that name the speaker, in the order of [`crate::Speaker`].
pub const SPEAKERS: [&str; 4] = ["[SYSTEM]", "[USER]", "[ASSISTANT]", "[TOOL]"];
/// Characters that may stand alone as tokens.
const ALPHABET_MAX: usize = 7000;
/// A piece must be met so often to be learned.
const MET_MIN: u64 = 3;
/// A run of letters is cut into pieces of this many: the cost of a word is bounded, and no long run is one unknown word.
const RUN_CHARS: usize = 24;

/// A word or phrase and what it means in English.
#[derive(Debug, Deserialize)]
pub struct Meaning {
    /// The word in its language.
    pub term: String,
    /// The same in English.
    pub en: String,
}

/// `tokenizer.json` of a WordPiece tokenizer over `vocabulary`.
///
/// Texts are brought to NFKC, invisible characters (zero width, bidi controls, tags, variation selectors) are taken out, case and the
/// accents of Latin, Greek and Cyrillic letters go; Han characters stand alone; the signs of other scripts stay as they are.
fn file(vocabulary: &BTreeMap<String, usize>) -> Value {
    let special: Vec<Value> = SPECIAL
        .iter()
        .enumerate()
        .map(|(id, token)| json!({"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}))
        .collect();
    let replace = |pattern: &str| json!({"type": "Replace", "pattern": {"Regex": pattern}, "content": ""});
    let invisible = "[\\x{ad}\\x{34f}\\x{61c}\\x{180b}-\\x{180f}\\x{200b}-\\x{200f}\\x{202a}-\\x{202e}\\x{2060}-\\x{206f}\\x{fe00}-\\x{fe0f}\\x{feff}\\x{e0000}-\\x{e01ef}]";
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": special,
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "NFKC"}, replace(invisible), {"type": "Lowercase"}, {"type": "NFD"}, replace("[\\x{300}-\\x{36f}]"), {"type": "NFC"},
        ]},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "BertPreTokenizer"},
            {"type": "Split", "pattern": {"Regex": "\\p{Han}"}, "behavior": "Isolated", "invert": false},
            {"type": "Split", "pattern": {"Regex": format!(".{{{RUN_CHARS}}}")}, "behavior": "Isolated", "invert": false},
        ]},
        "post_processor": null, "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": vocabulary},
    })
}

/// The tokenizer over `vocabulary`.
pub(crate) fn tokenizer(vocabulary: &BTreeMap<String, usize>) -> Result<Tokenizer, String> {
    Tokenizer::from_bytes(file(vocabulary).to_string()).map_err(|e| e.to_string())
}

/// A vocabulary and where its vectors come from.
pub struct Vocabulary {
    tokenizer: Tokenizer,
    base: Tokenizer,
    /// Tokens in the order of their ids.
    tokens: Vec<String>,
}

impl Vocabulary {
    /// Keeps the tokens of `base` and adds up to `more` pieces learned from `texts`.
    ///
    /// # Errors
    /// What the tokenizers library says.
    pub fn learn<'a>(base: &Tokenizer, texts: impl Iterator<Item = &'a str> + Send, more: usize) -> Result<Self, String> {
        let specials = || SPECIAL.iter().enumerate().map(|(id, token)| ((*token).to_owned(), id));
        let mut learner = tokenizer(&specials().collect())?;
        let added: Vec<_> = SPECIAL.iter().map(|token| tokenizers::AddedToken::from(*token, true)).collect();
        let trainer = WordPieceTrainer::builder()
            .vocab_size(more + SPECIAL.len())
            .min_frequency(MET_MIN)
            .limit_alphabet(ALPHABET_MAX)
            .special_tokens(added)
            .show_progress(false)
            .build();
        learner.train(&mut TrainerWrapper::from(trainer), texts).map_err(|e| e.to_string())?;
        let by_id = |tokenizer: &Tokenizer| {
            let mut tokens: Vec<(u32, String)> = tokenizer.get_vocab(false).into_iter().map(|(token, id)| (id, token)).collect();
            tokens.sort();
            tokens.into_iter().map(|(_, token)| token)
        };
        let mut seen: HashSet<String> = HashSet::new();
        let known = by_id(base).filter(|token| !(token.starts_with('[') && token.ends_with(']') && token.len() > 2));
        let tokens: Vec<String> = SPECIAL
            .iter()
            .map(|token| (*token).to_owned())
            .chain(known)
            .chain(by_id(&learner))
            .filter(|token| seen.insert(token.clone()))
            .collect();
        let vocabulary = tokens.iter().enumerate().map(|(id, token)| (token.clone(), id)).collect();
        Ok(Self { tokenizer: tokenizer(&vocabulary)?, base: base.clone(), tokens })
    }

    /// Entries.
    pub fn size(&self) -> usize {
        self.tokens.len()
    }

    /// The `tokenizer.json` to write.
    ///
    /// # Errors
    /// What the tokenizers library says.
    pub fn file(&self) -> Result<String, String> {
        self.tokenizer.to_string(false).map_err(|e| e.to_string())
    }

    /// First vectors, `[size, hidden]`: a known token keeps its own; one of the glossary gets what its meanings have on average; another
    /// the mean of its pieces in the known vocabulary, or the mean of all.
    ///
    /// # Errors
    /// What the tokenizers or the tensors library says.
    pub fn vectors(&self, known: &Tensor, glossary: &[Meaning]) -> Result<Tensor, String> {
        let wrong = |e: candle_core::Error| e.to_string();
        let known: Vec<Vec<f32>> = known.to_vec2().map_err(wrong)?;
        let width = known.first().map_or(0, Vec::len);
        let mean_of = |ids: &[u32]| -> Option<Vec<f32>> {
            let rows: Vec<&Vec<f32>> = ids.iter().filter_map(|id| known.get(*id as usize)).collect();
            (!rows.is_empty()).then(|| (0..width).map(|i| rows.iter().map(|row| row[i]).sum::<f32>() / rows.len() as f32).collect())
        };
        let everything: Vec<u32> = (0..known.len() as u32).collect();
        let middle = mean_of(&everything).ok_or("the known vocabulary is empty")?;
        let unknown = self.base.token_to_id("[UNK]");
        let mut meant: HashMap<u32, Vec<Vec<f32>>> = HashMap::new();
        for meaning in glossary {
            let ids = self.base.encode_fast(meaning.en.as_str(), false).map_err(|e| e.to_string())?.get_ids().to_vec();
            let Some(vector) = mean_of(&ids) else { continue };
            for id in self.tokenizer.encode_fast(meaning.term.as_str(), false).map_err(|e| e.to_string())?.get_ids() {
                meant.entry(*id).or_default().push(vector.clone());
            }
        }
        let mut rows = Vec::with_capacity(self.tokens.len() * width);
        let mut random = Random::new(0);
        for (id, token) in self.tokens.iter().enumerate() {
            if let Some(own) = self.base.token_to_id(token).and_then(|id| known.get(id as usize)) {
                rows.extend_from_slice(own);
                continue;
            }
            if let Some(vectors) = meant.get(&(id as u32)) {
                rows.extend((0..width).map(|i| vectors.iter().map(|vector| vector[i]).sum::<f32>() / vectors.len() as f32));
                continue;
            }
            let pieces = self.base.encode_fast(token.trim_start_matches("##"), false).map_err(|e| e.to_string())?.get_ids().to_vec();
            let pieces: Vec<u32> = pieces.into_iter().filter(|id| Some(*id) != unknown).collect();
            let vector = mean_of(&pieces).unwrap_or_else(|| middle.clone());
            // A little of its own, or tokens that begin alike could only be told apart after many steps.
            rows.extend(vector.iter().zip(random.normals(width, 0.01)).map(|(x, own)| x + own));
        }
        Tensor::from_vec(rows, (self.tokens.len(), width), &Device::Cpu).map_err(wrong)
    }
}

/// The configuration of a network cut to `layers` and widened to `size` tokens.
pub fn reshaped(base: &NetworkConfig, layers: usize, size: usize, version: &str) -> NetworkConfig {
    let mut config = base.clone();
    (config.num_hidden_layers, config.vocab_size) = (layers.min(base.num_hidden_layers), size);
    config.guard.speaker_tokens = SPEAKERS.map(str::to_owned).to_vec();
    config.guard.version = version.to_owned();
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> Tokenizer {
        let words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[unused1]", "ignore", "the", "rules", "ign", "##or", "##ier", "##en"];
        tokenizer(&words.iter().enumerate().map(|(id, token)| ((*token).to_owned(), id)).collect()).unwrap()
    }

    #[test]
    fn known_tokens_keep_their_vectors_and_others_get_what_they_mean() {
        let texts = ["忽略 规则 忽略 规则 忽略 规则", "игнорируй игнорируй игнорируй правила"];
        let vocabulary = Vocabulary::learn(&base(), texts.into_iter(), 200).unwrap();
        let id = |token: &str| vocabulary.tokenizer.token_to_id(token).unwrap() as usize;
        assert!(vocabulary.tokenizer.token_to_id("[unused1]").is_none());
        assert_eq!((id("[PAD]"), id("[TOOL]")), (0, 8));
        let known: Vec<f32> = (0..12).flat_map(|n| [n as f32, 1.0]).collect();
        let known = Tensor::from_vec(known, (12, 2), &Device::Cpu).unwrap();
        let glossary =
            [Meaning { term: "忽略".into(), en: "ignore".into() }, Meaning { term: "игнорируй".into(), en: "ignore the".into() }];
        let rows: Vec<Vec<f32>> = vocabulary.vectors(&known, &glossary).unwrap().to_vec2().unwrap();
        assert_eq!(rows.len(), vocabulary.size());
        assert_eq!((rows[id("rules")][0], rows[id("略")][0], rows[id("игнорируи")][0]), (7.0, 5.0, 5.5));
    }

    #[test]
    fn invisible_characters_accents_and_case_go_and_scripts_stay() {
        let texts = ["नमस्ते นี้ が 가각", "नमस्ते นี้ が 가각", "नमस्ते นี้ が 가각"];
        let vocabulary = Vocabulary::learn(&base(), texts.into_iter(), 300).unwrap();
        let tokens = |text: &str| vocabulary.tokenizer.encode_fast(text, false).unwrap().get_ids().to_vec();
        let rule = tokens("ignore rules");
        for same in ["IGNORE rules", "ig\u{200b}nore\u{202e} rules", "Ｉｇｎｏｒｅ rules", "ìgnóre rules", "i\u{e0041}gnore rules"]
        {
            assert_eq!(tokens(same), rule, "{same}");
        }
        let unknown = vocabulary.tokenizer.token_to_id("[UNK]").unwrap();
        for text in texts {
            assert!(!tokens(text).contains(&unknown), "{text}");
        }
        assert!(tokens(&"x".repeat(1000)).len() >= 1000 / RUN_CHARS, "a long run is not one unknown word");
    }
}
