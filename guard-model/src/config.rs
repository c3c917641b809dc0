//! The network's shape: `config.json` of a model folder, as Hugging Face writes it for BERT, with the guard's own settings in `guard`.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::ModelError;

/// Labels in the order of the network's outputs.
pub const LABELS: [&str; 3] = ["benign", "injection", "jailbreak"];

/// Longest window that a configuration can ask for, in tokens.
const WINDOW_TOKENS_MAX: usize = 4096;

/// `config.json`. Fields that this program does not use are kept out of its way and not checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetworkConfig {
    /// Entries of the vocabulary.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Heads of attention; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Width between the two halves of a feed-forward block.
    pub intermediate_size: usize,
    /// Positions that have an embedding.
    pub max_position_embeddings: usize,
    /// Added to the variance in layer norms.
    #[serde(default = "epsilon")]
    pub layer_norm_eps: f64,
    /// What only the guard needs.
    #[serde(default)]
    pub guard: GuardConfig,
}

/// The guard's part of `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GuardConfig {
    /// The name and version that the audit trail carries, such as `small-1`.
    pub version: String,
    /// Tokens of a window, with the special ones.
    pub window_tokens: usize,
    /// Tokens that a window shares with the one before it.
    pub overlap_tokens: usize,
    /// Logits are divided by it before the softmax; found by calibration on held-out data.
    pub temperature: f64,
    /// The tokens that name the speaker, in the order system, user, assistant, tool; empty: the network does not know speakers.
    pub speaker_tokens: Vec<String>,
}

impl Default for GuardConfig {
    fn default() -> Self {
        Self { version: "unnamed".into(), window_tokens: 128, overlap_tokens: 32, temperature: 1.0, speaker_tokens: Vec::new() }
    }
}

fn epsilon() -> f64 {
    1e-12
}

impl NetworkConfig {
    /// Reads and checks `config.json`.
    ///
    /// # Errors
    /// The file and the field that cannot be.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let text = std::fs::read_to_string(path).map_err(|e| ModelError::file(path, e))?;
        let config: Self = serde_json::from_str(&text).map_err(|e| ModelError::content(path, e))?;
        config.check().map_err(|reason| ModelError::content(path, reason))?;
        Ok(config)
    }

    /// Width of one head.
    pub fn head_size(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }

    /// The dense layers of each layer: the name after `encoder.layer.N.`, inputs, outputs.
    pub fn dense_layers(&self) -> [(&'static str, usize, usize); 6] {
        let (hidden, wide) = (self.hidden_size, self.intermediate_size);
        [
            ("attention.self.query", hidden, hidden),
            ("attention.self.key", hidden, hidden),
            ("attention.self.value", hidden, hidden),
            ("attention.output.dense", hidden, hidden),
            ("intermediate.dense", hidden, wide),
            ("output.dense", wide, hidden),
        ]
    }

    fn check(&self) -> Result<(), String> {
        let sizes = [
            ("vocab_size", self.vocab_size, 1 << 24),
            ("hidden_size", self.hidden_size, 1 << 14),
            ("num_hidden_layers", self.num_hidden_layers, 256),
            ("num_attention_heads", self.num_attention_heads, 256),
            ("intermediate_size", self.intermediate_size, 1 << 16),
            ("max_position_embeddings", self.max_position_embeddings, 1 << 16),
        ];
        for (name, value, max) in sizes {
            if value == 0 || value > max {
                return Err(format!("{name} is {value}; it must be from 1 to {max}"));
            }
        }
        if !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            return Err(format!("hidden_size {} is no multiple of num_attention_heads {}", self.hidden_size, self.num_attention_heads));
        }
        let GuardConfig { window_tokens, overlap_tokens, temperature, speaker_tokens, .. } = &self.guard;
        if *window_tokens < 8 || *window_tokens > self.max_position_embeddings.min(WINDOW_TOKENS_MAX) {
            return Err(format!(
                "guard.window_tokens is {window_tokens}; it must be from 8 to the {} positions",
                self.max_position_embeddings
            ));
        }
        if *overlap_tokens > window_tokens / 2 {
            return Err(format!("guard.overlap_tokens is {overlap_tokens}; it must not be more than half of the window's {window_tokens}"));
        }
        if !(0.01..=100.0).contains(temperature) {
            return Err(format!("guard.temperature is {temperature}; it must be from 0.01 to 100"));
        }
        if !matches!(speaker_tokens.len(), 0 | 4) {
            return Err("guard.speaker_tokens must name four tokens (system, user, assistant, tool), or none".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"model_type": "bert", "vocab_size": 100, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 16, "max_position_embeddings": 64, "guard": {"window_tokens": 32, "overlap_tokens": 8}}"#;

    fn open(text: &str) -> Result<NetworkConfig, ModelError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        std::fs::write(&path, text).unwrap();
        NetworkConfig::open(&path)
    }

    #[test]
    fn a_configuration_of_hugging_face_is_read_and_fields_unknown_are_left() {
        let config = open(GOOD).unwrap();
        assert_eq!((config.head_size(), config.guard.window_tokens, config.guard.temperature), (4, 32, 1.0));
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_field() {
        for (old, new, said) in [
            ("\"hidden_size\": 8", "\"hidden_size\": 9", "no multiple"),
            ("\"hidden_size\": 8", "\"hidden_size\": 0", "hidden_size is 0"),
            ("\"window_tokens\": 32", "\"window_tokens\": 65", "64 positions"),
            ("\"overlap_tokens\": 8", "\"overlap_tokens\": 17", "half"),
            ("\"overlap_tokens\": 8", "\"overlap_tokens\": 8, \"temperature\": 0", "temperature"),
            ("\"overlap_tokens\": 8", "\"overlap_tokens\": 8, \"speaker_tokens\": [\"a\"]", "four tokens"),
            ("\"vocab_size\": 100,", "", "vocab_size"),
        ] {
            let error = open(&GOOD.replace(old, new)).unwrap_err().to_string();
            assert!(error.contains(said) && error.contains("config.json"), "{new}: {error}");
        }
    }
}
