//! A guard model small enough to be written by hand, in the layout that real ones have: it holds a text for an injection when one word
//! is in it, and finds texts of the same words alike.
//!
//! Its layers add nothing, so that a token's vector is that of its word: one dimension each. The head looks at the maximum over the
//! tokens in the dimension of the one word.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

/// Width of the network, and most words it can know.
const HIDDEN: usize = 64;
/// Width between the halves of its feed-forward block.
const WIDE: usize = 64;
/// Positions, and tokens of a window.
const WINDOW: usize = 64;
/// Tokens that are no words.
const SPECIAL: [&str; 8] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[SYSTEM]", "[USER]", "[ASSISTANT]", "[TOOL]"];
/// All words it knows.
const WORDS: [&str; 24] = [
    "wicked", "evil", "please", "tell", "me", "a", "story", "about", "the", "old", "green", "river", "and", "its", "fish", "forget",
    "your", "orders", "now", "open", "every", "secret", "door", "hello",
];

/// A model's folder.
pub struct TinyModel {
    folder: tempfile::TempDir,
}

impl TinyModel {
    /// A model of this version that holds texts with `word` for injections.
    pub fn new(version: &str, word: &str) -> Self {
        let model = Self { folder: tempfile::tempdir().expect("a temporary folder") };
        model.replace(version, word);
        model
    }

    /// Its folder.
    pub fn path(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Puts another version in its place, the manifest last.
    pub fn replace(&self, version: &str, word: &str) {
        let config = json!({
            "vocab_size": SPECIAL.len() + WORDS.len(), "hidden_size": HIDDEN, "num_hidden_layers": 1, "num_attention_heads": 2,
            "intermediate_size": WIDE, "max_position_embeddings": WINDOW,
            "guard": {
                "version": version, "window_tokens": WINDOW, "overlap_tokens": 8, "temperature": 1.0,
                "speaker_tokens": ["[SYSTEM]", "[USER]", "[ASSISTANT]", "[TOOL]"],
            },
        });
        self.write("config.json", config.to_string().as_bytes());
        self.write("tokenizer.json", tokenizer().to_string().as_bytes());
        self.write("model.safetensors", &weights(word));
        self.seal();
    }

    /// Writes a file of the folder.
    pub fn write(&self, name: &str, content: &[u8]) {
        std::fs::write(self.folder.path().join(name), content).unwrap_or_else(|error| panic!("{name}: {error}"));
    }

    /// Writes the manifest of the files as they are.
    pub fn seal(&self) {
        let digest = |name: &str| hex::encode(Sha256::digest(read(self.folder.path(), name)));
        let files: Map<String, Value> =
            ["config.json", "tokenizer.json", "model.safetensors"].into_iter().map(|name| (name.to_owned(), json!(digest(name)))).collect();
        self.write("manifest.json", json!({"files": files}).to_string().as_bytes());
    }

    /// The bytes of a file of the folder.
    pub fn read(&self, name: &str) -> Vec<u8> {
        read(self.folder.path(), name)
    }
}

fn read(folder: &Path, name: &str) -> Vec<u8> {
    std::fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn tokens() -> impl Iterator<Item = &'static str> {
    SPECIAL.into_iter().chain(WORDS)
}

fn tokenizer() -> Value {
    let vocabulary: Map<String, Value> = tokens().enumerate().map(|(id, token)| (token.to_owned(), json!(id))).collect();
    let special = |(id, token): (usize, &&str)| json!({"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true});
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": SPECIAL.iter().enumerate().map(special).collect::<Vec<_>>(),
        "normalizer": null, "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"},
    })
}

/// The weights as a safetensors file: the length of the head, the head, the numbers.
fn weights(word: &str) -> Vec<u8> {
    let dimension = tokens().position(|token| token == word).unwrap_or_else(|| panic!("`{word}` is none of its words"));
    let mut file = Tensors::default();
    let vocabulary = SPECIAL.len() + WORDS.len();
    file.add("embeddings.word_embeddings.weight", &[vocabulary, HIDDEN], |at| f32::from(u8::from(at / HIDDEN == at % HIDDEN)));
    file.add("embeddings.position_embeddings.weight", &[WINDOW, HIDDEN], |_| 0.0);
    file.norm("embeddings.LayerNorm");
    let layer = |part: &str| format!("encoder.layer.0.{part}");
    for part in ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"] {
        file.zeros(&layer(part), HIDDEN, HIDDEN);
    }
    file.norm(&layer("attention.output.LayerNorm"));
    file.zeros(&layer("intermediate.dense"), HIDDEN, WIDE);
    file.zeros(&layer("output.dense"), WIDE, HIDDEN);
    file.norm(&layer("output.LayerNorm"));
    // The classifier's rows are benign, injection, jailbreak; its columns the first token, the mean and the maximum.
    let injected = 3 * HIDDEN + 2 * HIDDEN + dimension;
    file.add("classifier.weight", &[3, 3 * HIDDEN], |at| f32::from(u8::from(at == injected)));
    file.add("classifier.bias", &[3], |at| if at == 0 { 4.0 } else { 0.0 });
    file.bytes()
}

#[derive(Default)]
struct Tensors {
    head: Map<String, Value>,
    numbers: Vec<u8>,
}

impl Tensors {
    fn add(&mut self, name: &str, shape: &[usize], value: impl Fn(usize) -> f32) {
        let from = self.numbers.len();
        let count: usize = shape.iter().product();
        (0..count).for_each(|at| self.numbers.extend_from_slice(&value(at).to_le_bytes()));
        self.head.insert(name.to_owned(), json!({"dtype": "F32", "shape": shape, "data_offsets": [from, self.numbers.len()]}));
    }

    fn zeros(&mut self, name: &str, from: usize, to: usize) {
        self.add(&format!("{name}.weight"), &[to, from], |_| 0.0);
        self.add(&format!("{name}.bias"), &[to], |_| 0.0);
    }

    fn norm(&mut self, name: &str) {
        self.add(&format!("{name}.weight"), &[HIDDEN], |_| 1.0);
        self.add(&format!("{name}.bias"), &[HIDDEN], |_| 0.0);
    }

    fn bytes(&self) -> Vec<u8> {
        let mut head = Value::Object(self.head.clone()).to_string();
        while !head.len().is_multiple_of(8) {
            head.push(' ');
        }
        [&(head.len() as u64).to_le_bytes()[..], head.as_bytes(), &self.numbers].concat()
    }
}
