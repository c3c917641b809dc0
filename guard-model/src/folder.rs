//! A model folder, opened and written whole: `config.json`, `tokenizer.json`, `model.safetensors`, and the manifest over them.

use std::path::Path;

use candle_core::{DType, Device};
use serde_json::{Value, json};

use crate::{
    config::NetworkConfig,
    encoder::Encoder,
    error::ModelError,
    manifest::{FILES, Manifest},
    tokenize::Tokenizer,
    weights::Weights,
};

/// A model that is read, not yet a network.
pub struct Folder {
    /// Its shape.
    pub config: NetworkConfig,
    /// How it reads texts.
    pub tokenizer: Tokenizer,
    /// Its tensors.
    pub weights: Weights,
    /// Which files these are: twelve hex digits.
    pub fingerprint: String,
}

impl Folder {
    /// Opens a folder whose files are those that its manifest names.
    ///
    /// # Errors
    /// A file that is missing, changed, or holds something else.
    pub fn open(dir: &Path) -> Result<Self, ModelError> {
        let fingerprint = Manifest::verify(dir)?.fingerprint();
        let [config, tokenizer, weights] = FILES.map(|name| dir.join(name));
        let config = NetworkConfig::open(&config)?;
        let tokenizer = Tokenizer::open(&tokenizer, &config)?;
        Ok(Self { config, tokenizer, weights: Weights::open(&weights)?, fingerprint })
    }

    /// The text of a folder's `tokenizer.json`.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn words(dir: &Path) -> Result<String, ModelError> {
        let path = dir.join(FILES[1]);
        std::fs::read_to_string(&path).map_err(|e| ModelError::file(&path, e))
    }

    /// The network, on the CPU.
    ///
    /// # Errors
    /// A tensor that is missing or has another shape than the configuration says.
    pub fn encoder(&self) -> Result<Encoder, ModelError> {
        Ok(Encoder::new(&self.weights, &self.config, &Device::Cpu, DType::F32)?)
    }
}

/// Checks where a model that is made of others goes, and what it is called.
///
/// # Errors
/// `out` that is one of the others, and a version that is no name in one line.
pub(crate) fn check_result<'a>(made_of: impl IntoIterator<Item = &'a Path>, version: Option<&str>, out: &Path) -> Result<(), ModelError> {
    let is_same = |dir: &Path| matches!((dir.canonicalize(), out.canonicalize()), (Ok(a), Ok(b)) if a == b);
    if made_of.into_iter().any(is_same) {
        return Err(ModelError::Setting(format!("--out {} is the model itself; name another folder", out.display())));
    }
    if version.is_some_and(|version| version.is_empty() || version.chars().any(char::is_control)) {
        return Err(ModelError::Setting("--version must be a name in one line, such as ours-2".into()));
    }
    Ok(())
}

/// What a folder is written from.
pub struct Contents<'a> {
    /// Its shape.
    pub config: &'a NetworkConfig,
    /// The text of `tokenizer.json`.
    pub tokenizer: &'a str,
    /// Its tensors.
    pub weights: &'a Weights,
    /// True to store matrices in eight bits.
    pub bytes: bool,
}

impl Contents<'_> {
    /// Writes the folder; the manifest last, so that a folder half written is refused and not used.
    ///
    /// # Errors
    /// What cannot be written.
    pub fn write(&self, dir: &Path) -> Result<(), ModelError> {
        std::fs::create_dir_all(dir).map_err(|e| ModelError::file(dir, e))?;
        let [config, tokenizer, weights] = FILES.map(|name| dir.join(name));
        self.weights.save(&weights, self.bytes)?;
        std::fs::write(&tokenizer, self.tokenizer).map_err(|e| ModelError::file(&tokenizer, e))?;
        write_config(&config, self.config)?;
        Manifest::write(dir)
    }
}

/// Writes `config.json` with the words by which other programs know the architecture.
///
/// # Errors
/// A file that cannot be written.
pub fn write_config(path: &Path, config: &NetworkConfig) -> Result<(), ModelError> {
    let mut value = json!({"model_type": "bert", "hidden_act": "gelu", "type_vocab_size": 1});
    let own = serde_json::to_value(config).map_err(|e| ModelError::content(path, e))?;
    if let (Value::Object(value), Value::Object(own)) = (&mut value, own) {
        value.extend(own);
    }
    let text = serde_json::to_string_pretty(&value).map_err(|e| ModelError::content(path, e))?;
    std::fs::write(path, text + "\n").map_err(|e| ModelError::file(path, e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy;

    #[test]
    fn a_folder_written_is_read_again_and_one_changed_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        toy::folder(dir.path());
        let folder = Folder::open(dir.path()).unwrap();
        assert_eq!((folder.config, folder.fingerprint.len()), (toy::config(), 12));
        std::fs::write(dir.path().join("tokenizer.json"), "{}").unwrap();
        assert!(matches!(Folder::open(dir.path()), Err(ModelError::Hash { .. })));
    }
}
