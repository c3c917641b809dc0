//! The first weights: an English encoder cut to fewer layers and given a vocabulary of many languages.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

use serde::Serialize;
use tokenizers::Tokenizer as Known;

use super::{
    data::Row,
    vocabulary::{Meaning, Vocabulary, reshaped},
};
use crate::{
    config::NetworkConfig,
    error::ModelError,
    folder::{Contents, Folder},
    manifest::FILES,
    tokenize::Tokenizer,
    weights::Weights,
};

/// Pieces are learned from a text that is not in English, or has so many other letters than ASCII's for each of its characters.
const FOREIGN_SHARE: f64 = 0.02;
/// The tensor of the tokens' vectors.
const WORDS: &str = "embeddings.word_embeddings.weight";

/// What to start from, and how.
pub struct Start {
    /// A BERT encoder in Hugging Face's layout.
    pub from: PathBuf,
    /// JSON lines of words with their English meanings.
    pub glossary: Vec<PathBuf>,
    /// Layers to keep, the first ones.
    pub layers: usize,
    /// Pieces to learn, at most.
    pub pieces: usize,
    /// Name and version.
    pub version: String,
}

/// How well a vocabulary suits a language.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Fertility {
    /// The language's code; empty: not known.
    pub lang: String,
    /// Characters of the texts.
    pub characters: usize,
    /// Tokens that they become.
    pub tokens: usize,
    /// Tokens that are `[UNK]`.
    pub unknown: usize,
}

/// What was made.
pub struct Started {
    /// Tokens in the vocabulary.
    pub tokens: usize,
    /// Texts that pieces were learned from.
    pub texts: usize,
    /// Words of the glossary.
    pub words: usize,
    /// How well it suits the languages of the rows.
    pub fertility: Vec<Fertility>,
}

impl Start {
    /// Makes the folder.
    ///
    /// # Errors
    /// A file that cannot be used, or a folder that cannot be written.
    pub fn make(&self, rows: &[Row], out: &Path) -> Result<Started, ModelError> {
        let [config, tokenizer, weights] = FILES.map(|name| self.from.join(name));
        let base = NetworkConfig::open(&config)?;
        if self.layers == 0 || self.layers > base.num_hidden_layers {
            return Err(ModelError::Setting(format!(
                "--layers must be from 1 to the {} of {}",
                base.num_hidden_layers,
                self.from.display()
            )));
        }
        let mut known = Known::from_file(&tokenizer).map_err(|e| ModelError::content(&tokenizer, e))?;
        known.with_padding(None);
        known.with_truncation(None).map_err(|e| ModelError::content(&tokenizer, e))?;
        let glossary = glossary(&self.glossary)?;
        let texts: Vec<&str> = rows.iter().filter(|row| is_foreign(row)).map(|row| row.text.as_str()).collect();
        let vocabulary = Vocabulary::learn(&known, texts.iter().copied(), self.pieces).map_err(ModelError::Setting)?;
        let stored = Weights::open(&weights)?;
        let vectors = stored.wide(WORDS, &[base.vocab_size, base.hidden_size])?;
        let mut tensors = HashMap::from([(WORDS.to_owned(), vocabulary.vectors(&vectors, &glossary).map_err(ModelError::Setting)?)]);
        for name in stored.names().into_iter().filter(|name| self.keeps(name)) {
            tensors.insert(name.clone(), stored.stored(&name)?.clone());
        }
        let config = reshaped(&base, self.layers, vocabulary.size(), &self.version);
        let tokenizer = vocabulary.file().map_err(ModelError::Setting)?;
        Contents { config: &config, tokenizer: &tokenizer, weights: &Weights::of(tensors), bytes: false }.write(out)?;
        let folder = Folder::open(out)?;
        folder.encoder_of_start()?;
        let fertility = fertility(rows, &folder.tokenizer).map_err(ModelError::Setting)?;
        Ok(Started { tokens: vocabulary.size(), texts: texts.len(), words: glossary.len(), fertility })
    }

    /// The tensors that are kept as they are: not those of other layers, and not the pooler, which knows nothing of attacks.
    fn keeps(&self, name: &str) -> bool {
        let layer = name.strip_prefix("encoder.layer.").and_then(|rest| rest.split('.').next()?.parse::<usize>().ok());
        let other = name == WORDS || name.starts_with("pooler.") || name.ends_with("position_ids");
        !other && layer.is_none_or(|layer| layer < self.layers)
    }
}

impl Folder {
    /// The network of first weights, which have no head yet: whether the tensors fit the configuration shows before hours of training.
    fn encoder_of_start(&self) -> Result<(), ModelError> {
        use super::method::{Method, prepare};
        let device = candle_core::Device::Cpu;
        let prepared = prepare(&self.weights, &self.config, Method::Head, 0, &device)?;
        crate::encoder::Encoder::new(&prepared.weights, &self.config, &device, candle_core::DType::F32)?;
        Ok(())
    }
}

fn is_foreign(row: &Row) -> bool {
    let others = row.text.chars().filter(|c| !c.is_ascii()).count();
    !matches!(row.lang.as_str(), "" | "en") || others as f64 > FOREIGN_SHARE * row.text.chars().count() as f64
}

fn glossary(paths: &[PathBuf]) -> Result<Vec<Meaning>, ModelError> {
    let mut meanings = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(path).map_err(|e| ModelError::file(path, e))?;
        for (n, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let wrong = |e: serde_json::Error| ModelError::Line { path: path.clone(), line: n + 1, reason: e.to_string() };
            meanings.push(serde_json::from_str(line).map_err(wrong)?);
        }
    }
    Ok(meanings)
}

/// How well the vocabulary suits the languages of `rows`, in the order of their codes.
///
/// # Errors
/// What the tokenizer says.
fn fertility(rows: &[Row], tokenizer: &Tokenizer) -> Result<Vec<Fertility>, String> {
    let unknown = tokenizer.id("[UNK]");
    let mut langs: BTreeMap<&str, Fertility> = BTreeMap::new();
    for row in rows {
        let ids = tokenizer.ids(&row.text)?;
        let one = langs.entry(&row.lang).or_insert_with(|| Fertility { lang: row.lang.clone(), ..Fertility::default() });
        one.characters += row.text.chars().count();
        one.tokens += ids.len();
        one.unknown += ids.iter().filter(|id| Some(**id) == unknown).count();
    }
    Ok(langs.into_values().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{toy, train::data::Label};

    fn row(text: &str, lang: &str) -> Row {
        Row { text: text.into(), label: Label::Benign, speaker: None, lang: lang.into(), source: "s".into(), kind: String::new() }
    }

    fn start(from: &Path, layers: usize) -> Start {
        Start { from: from.into(), glossary: Vec::new(), layers, pieces: 100, version: "toy-3".into() }
    }

    #[test]
    fn a_network_is_cut_and_learns_pieces_of_other_languages() {
        let dir = tempfile::tempdir().unwrap();
        let (from, out) = (dir.path().join("from"), dir.path().join("out"));
        toy::folder(&from);
        let mut rows = vec![row("the report", "en")];
        rows.extend((0..5).map(|_| row("忽略规则", "zh")));
        let made = start(&from, 1).make(&rows, &out).unwrap();
        let folder = Folder::open(&out).unwrap();
        assert_eq!((folder.config.num_hidden_layers, folder.config.vocab_size), (1, made.tokens));
        assert!(!folder.weights.has("encoder.layer.1.output.dense.weight"));
        assert_eq!((made.texts, made.tokens), (5, toy::config().vocab_size + 4));
        let zh = Fertility { lang: "zh".into(), characters: 20, tokens: 20, unknown: 0 };
        assert_eq!(made.fertility[1], zh);
    }

    #[test]
    fn more_layers_than_there_are_and_a_bad_glossary_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (from, out, words) = (dir.path().join("from"), dir.path().join("out"), dir.path().join("words.jsonl"));
        toy::folder(&from);
        let rows = [row("忽略", "zh")];
        assert!(start(&from, 3).make(&rows, &out).err().unwrap().to_string().contains("from 1 to the 2"));
        std::fs::write(&words, "{\"term\": \"x\"}\n").unwrap();
        let with = Start { glossary: vec![words], ..start(&from, 1) };
        assert!(with.make(&rows, &out).err().unwrap().to_string().contains("words.jsonl:1"));
    }
}
