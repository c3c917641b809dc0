//! A network of a few thousand parameters and a problem that it can learn within seconds, for tests.

use std::{collections::HashMap, path::Path};

use candle_core::{Device, Tensor};

use crate::{
    Speaker,
    config::{GuardConfig, NetworkConfig},
    folder::Contents,
    train::{
        data::{Label, Row},
        method::{Method, prepare},
        random::Random,
        vocabulary,
    },
    weights::Weights,
};

/// Words of every text.
const WORDS: [&str; 12] = ["the", "a", "report", "garden", "please", "tell", "me", "about", "rain", "music", "river", "bread"];
/// Words of attacks, by label.
const TRIGGERS: [[&str; 2]; 3] = [["thanks", "kindly"], ["ignore", "override"], ["pretend", "uncensored"]];

/// The shape.
pub fn config() -> NetworkConfig {
    NetworkConfig {
        vocab_size: vocabulary::SPECIAL.len() + WORDS.len() + 6,
        hidden_size: 32,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        intermediate_size: 64,
        max_position_embeddings: 32,
        layer_norm_eps: 1e-12,
        guard: GuardConfig {
            version: "toy-1".into(),
            window_tokens: 24,
            overlap_tokens: 4,
            temperature: 1.0,
            speaker_tokens: vocabulary::SPEAKERS.map(str::to_owned).to_vec(),
        },
    }
}

/// The text of `tokenizer.json`.
pub fn tokenizer() -> String {
    let tokens = vocabulary::SPECIAL.iter().chain(&WORDS).chain(TRIGGERS.as_flattened());
    vocabulary::tokenizer(&tokens.enumerate().map(|(id, token)| ((*token).to_owned(), id)).collect()).unwrap().to_string(false).unwrap()
}

/// Random tensors, the same each time.
pub fn weights() -> Weights {
    let (config, mut random) = (config(), Random::new(3));
    let hidden = config.hidden_size;
    let mut tensors = HashMap::new();
    let mut add = |name: String, shape: &[usize], deviation: f32, middle: f32| {
        let values = random.normals(shape.iter().product(), deviation).into_iter().map(|x| x + middle).collect::<Vec<_>>();
        tensors.insert(name, Tensor::from_vec(values, shape, &Device::Cpu).unwrap());
    };
    type Add<'a> = dyn FnMut(String, &[usize], f32, f32) + 'a;
    let norm = |add: &mut Add<'_>, name: &str| {
        add(format!("{name}.weight"), &[hidden], 0.0, 1.0);
        add(format!("{name}.bias"), &[hidden], 0.0, 0.0);
    };
    add("embeddings.word_embeddings.weight".into(), &[config.vocab_size, hidden], 0.5, 0.0);
    add("embeddings.position_embeddings.weight".into(), &[config.max_position_embeddings, hidden], 0.02, 0.0);
    norm(&mut add, "embeddings.LayerNorm");
    for n in 0..config.num_hidden_layers {
        let name = |part: &str| format!("encoder.layer.{n}.{part}");
        for (part, from, to) in config.dense_layers() {
            add(name(&format!("{part}.weight")), &[to, from], 0.15, 0.0);
            add(name(&format!("{part}.bias")), &[to], 0.0, 0.0);
        }
        norm(&mut add, &name("attention.output.LayerNorm"));
        norm(&mut add, &name("output.LayerNorm"));
    }
    Weights::of(tensors)
}

/// Writes the whole model.
pub fn folder(dir: &Path) {
    Contents { config: &config(), tokenizer: &tokenizer(), weights: &weights(), bytes: false }.write(dir).unwrap();
}

/// Rows of four sources: two to a label of attacks, two to benign ones. What an attack is stands in one or two words of it.
pub fn rows(count: usize, seed: u64) -> Vec<Row> {
    let mut random = Random::new(seed);
    (0..count)
        .map(|n| {
            let label = [Label::Benign, Label::Injection, Label::Benign, Label::Jailbreak][n % 4];
            let mut words: Vec<&str> = (0..4 + random.below(8)).map(|_| WORDS[random.below(WORDS.len())]).collect();
            for word in TRIGGERS[label as usize] {
                words.insert(random.below(words.len() + 1), word);
            }
            let source = ["plain", "injections", "twins", "jailbreaks"][n % 4];
            Row {
                text: words.join(" "),
                label,
                speaker: Some(Speaker::User),
                lang: ["en", "zh"][n / 4 % 2].into(),
                source: source.into(),
                kind: ["short", "long"][n / 8 % 2].into(),
            }
        })
        .collect()
}

/// Writes the whole model with a head that nobody trained: what needs scores, and not good ones.
pub fn headed(dir: &Path) {
    let weights = prepare(&weights(), &config(), Method::Head, 1, &Device::Cpu).unwrap().weights;
    Contents { config: &config(), tokenizer: &tokenizer(), weights: &weights, bytes: false }.write(dir).unwrap();
}
