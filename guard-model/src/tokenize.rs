//! Texts to windows of token ids.
//!
//! A window is `[CLS] [speaker] tokens [SEP]`; a text longer than one window is cut into overlapping ones, the last of which ends
//! where the text ends, so that every token stands in a window and none is cut off silently.

use std::path::Path;

use crate::{Speaker, config::NetworkConfig, error::ModelError, network::Window};

/// Bytes that the tokenizer is given at once: its bookkeeping takes a multiple of the text.
const SLICE_BYTES: usize = 16 << 10;
/// A slice ends at a space when there is one this near to its end.
const SPACE_BYTES: usize = 256;

/// The tokenizer of a model.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    cls: u32,
    sep: u32,
    speakers: Option<[u32; 4]>,
    /// Text tokens in a window.
    body: usize,
    /// Text tokens from one window's start to the next.
    stride: usize,
}

impl Tokenizer {
    /// Opens `tokenizer.json` for the network that `config` describes.
    ///
    /// # Errors
    /// A file that is no tokenizer, lacks a special token, or has ids beyond the network's vocabulary.
    pub fn open(path: &Path, config: &NetworkConfig) -> Result<Self, ModelError> {
        let bytes = std::fs::read(path).map_err(|e| ModelError::file(path, e))?;
        let inner = tokenizers::Tokenizer::from_bytes(bytes).map_err(|e| ModelError::content(path, e))?;
        Self::new(inner, config).map_err(|reason| ModelError::content(path, reason))
    }

    fn new(mut inner: tokenizers::Tokenizer, config: &NetworkConfig) -> Result<Self, String> {
        // A text that spells a special token is a text; what a file asks for in cutting and padding is not ours.
        inner.set_encode_special_tokens(true);
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|e| e.to_string())?;
        let size = inner.get_vocab_size(true);
        if size > config.vocab_size {
            return Err(format!("it has {size} tokens, the network {}", config.vocab_size));
        }
        let id = |token: &str| inner.token_to_id(token).ok_or_else(|| format!("it lacks the token {token}"));
        let (cls, sep) = (id("[CLS]")?, id("[SEP]")?);
        let mut speakers = None;
        if let [system, user, assistant, tool] = config.guard.speaker_tokens.as_slice() {
            speakers = Some([id(system)?, id(user)?, id(assistant)?, id(tool)?]);
        }
        let body = config.guard.window_tokens - 2 - usize::from(speakers.is_some());
        let stride = body.saturating_sub(config.guard.overlap_tokens).max(1);
        Ok(Self { inner, cls, sep, speakers, body, stride })
    }

    /// The windows of a text; at least one.
    ///
    /// # Errors
    /// What the tokenizer says; not known to happen.
    pub fn windows(&self, speaker: Speaker, text: &str) -> Result<Vec<Window>, String> {
        let ids = self.ids(text)?;
        Ok(self.starts(ids.len()).map(|start| self.window(speaker, &ids[start..(start + self.body).min(ids.len())])).collect())
    }

    /// Where the windows of a text of `length` tokens start.
    pub fn starts(&self, length: usize) -> impl Iterator<Item = usize> + use<> {
        starts(length, self.body, self.stride)
    }

    /// The token ids of a text, without special tokens.
    ///
    /// # Errors
    /// What the tokenizer says; not known to happen.
    pub fn ids(&self, text: &str) -> Result<Vec<u32>, String> {
        let mut ids = Vec::with_capacity(text.len() / 4);
        for slice in slices(text) {
            ids.extend_from_slice(self.inner.encode_fast(slice, false).map_err(|e| e.to_string())?.get_ids());
        }
        Ok(ids)
    }

    /// One window around tokens that fit.
    pub fn window(&self, speaker: Speaker, tokens: &[u32]) -> Window {
        let mut ids = Vec::with_capacity(tokens.len() + 3);
        ids.push(self.cls);
        ids.extend(self.speakers.map(|speakers| speakers[speaker as usize]));
        ids.extend_from_slice(tokens);
        ids.push(self.sep);
        Window { ids }
    }

    /// Text tokens that a window holds.
    pub fn body(&self) -> usize {
        self.body
    }

    /// The id of a token, if the vocabulary has it.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }
}

/// Where windows of `body` tokens start, for a text of `length`.
fn starts(length: usize, body: usize, stride: usize) -> impl Iterator<Item = usize> + use<> {
    let last = length.saturating_sub(body);
    (0..last.div_ceil(stride)).map(move |n| n * stride).chain([last])
}

/// `text` in slices of bounded size, cut at a space where there is one near.
fn slices(mut text: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        if text.is_empty() {
            return None;
        }
        let mut end = text.len();
        if end > SLICE_BYTES {
            end = text.floor_char_boundary(SLICE_BYTES);
            let near = text.floor_char_boundary(end - SPACE_BYTES);
            end = text[near..end].rfind(char::is_whitespace).map_or(end, |at| near + at);
        }
        let (slice, rest) = text.split_at(end);
        text = rest;
        Some(slice)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_stands_in_a_window_and_no_window_is_too_long() {
        for length in 0..60 {
            let starts: Vec<usize> = starts(length, 10, 7).collect();
            let mut seen = vec![false; length];
            starts.iter().for_each(|start| (*start..(start + 10).min(length)).for_each(|at| seen[at] = true));
            assert!(seen.iter().all(|seen| *seen), "{length}");
            assert!(starts.windows(2).all(|pair| pair[0] < pair[1] && pair[1] - pair[0] <= 7), "{length}: {starts:?}");
            assert!(!starts.is_empty());
        }
    }

    #[test]
    fn slices_are_bounded_end_at_spaces_and_lose_nothing() {
        let spaced = "word 字 ".repeat(10_000);
        let solid = "字".repeat(30_000);
        for text in [spaced.as_str(), &solid, "short", ""] {
            let parts: Vec<&str> = slices(text).collect();
            assert_eq!(parts.concat(), text);
            assert!(parts.iter().all(|part| part.len() <= SLICE_BYTES));
        }
        assert!(slices(&spaced).skip(1).all(|part| part.starts_with(' ')));
    }
}
