//! The ways to fine-tune: which tensors are trained, and which are added to the network.

use std::collections::HashMap;

use candle_core::{DType, Device, Result, Tensor, Var};
use serde::{Deserialize, Serialize};

use super::{adamw::Parameter, random::Random};
use crate::{
    config::{LABELS, NetworkConfig},
    linear::{LORA_ALPHA, LOW_RANK, QUANTISED},
    weights::Weights,
};

/// Rank of a low-rank correction.
const RANK: usize = 8;
/// Keys and values put before the text's in each layer.
const PREFIX_TOKENS: usize = 16;
/// Width of an adapter's narrow side.
const ADAPTER_WIDTH: usize = 48;
/// Deviation of new matrices.
const DEVIATION: f32 = 0.02;
/// Embeddings learn so much faster: a token is met in few batches.
const EMBEDDING_RATE: f64 = 4.0;
/// What is new learns so much faster than what is known.
const NEW_RATE: f64 = 10.0;

/// A way to fine-tune.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Every tensor.
    Full,
    /// Low-rank corrections beside every dense layer, and the head.
    Lora,
    /// The same over matrices in four bits.
    Qlora,
    /// Trained keys and values before the text's, and the head (Li and Liang, arXiv:2101.00190).
    Prefix,
    /// A narrow network after each feed-forward block, and the head (Houlsby et al., arXiv:1902.00751).
    Adapter,
    /// The head alone.
    Head,
}

impl Method {
    /// All of them, the heaviest first.
    pub const ALL: [Self; 6] = [Self::Full, Self::Lora, Self::Qlora, Self::Prefix, Self::Adapter, Self::Head];

    /// The name in commands.
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Lora => "lora",
            Self::Qlora => "qlora",
            Self::Prefix => "prefix",
            Self::Adapter => "adapter",
            Self::Head => "head",
        }
    }

    /// The learning rate that suits it, for parameters at the usual rate.
    pub fn rate(self) -> f64 {
        match self {
            Self::Full => 6e-5,
            Self::Lora | Self::Qlora | Self::Adapter => 1e-4,
            Self::Prefix => 3e-4,
            Self::Head => 5e-4,
        }
    }
}

/// A network made ready for training.
pub struct Prepared {
    /// All tensors, those in training among them.
    pub weights: Weights,
    /// Those in training.
    pub parameters: Vec<Parameter>,
}

/// Makes `base` ready for `method`: adds what it adds, on `device`.
///
/// # Errors
/// A tensor that is missing, or no memory.
pub fn prepare(base: &Weights, config: &NetworkConfig, method: Method, seed: u64, device: &Device) -> Result<Prepared> {
    let mut random = Random::new(seed);
    let mut tensors = widened(base, device)?;
    let mut new = HashMap::new();
    if !tensors.contains_key("classifier.weight") {
        let (rows, width) = (LABELS.len(), 3 * config.hidden_size);
        new.insert("classifier.weight".to_owned(), Tensor::from_vec(random.normals(rows * width, DEVIATION), (rows, width), device)?);
        new.insert("classifier.bias".to_owned(), Tensor::zeros(rows, DType::F32, device)?);
    }
    for n in 0..config.num_hidden_layers {
        for (name, shape) in additions(config, method, n) {
            // What an earlier run of this method added is trained on.
            if let Some(known) = tensors.get(&name) {
                new.insert(name, known.clone());
                continue;
            }
            // A correction that starts at nothing starts from what the network knows.
            let nothing = [LOW_RANK[1], "adapter.up.weight"].iter().any(|end| name.ends_with(end));
            let values = random.normals(shape.0 * shape.1, if nothing { 0.0 } else { DEVIATION });
            new.insert(name, Tensor::from_vec(values, shape, device)?);
        }
        if method == Method::Adapter {
            for (name, width) in [("down", ADAPTER_WIDTH), ("up", config.hidden_size)] {
                let name = format!("encoder.layer.{n}.adapter.{name}.bias");
                let known = tensors.get(&name).cloned().map_or_else(|| Tensor::zeros(width, DType::F32, device), Ok)?;
                new.insert(name, known);
            }
        }
    }
    tensors.extend(new.iter().map(|(name, tensor)| (name.clone(), tensor.clone())));
    if method == Method::Qlora {
        tensors.insert(QUANTISED.into(), Tensor::zeros(1, DType::F32, device)?);
    }
    let trained = |name: &str| name != QUANTISED && (method == Method::Full || name.starts_with("classifier.") || new.contains_key(name));
    let mut parameters = Vec::new();
    for (name, tensor) in &mut tensors {
        if trained(name) {
            let var = Var::from_tensor(tensor)?;
            *tensor = var.as_tensor().clone();
            let rate = match name.as_str() {
                "embeddings.word_embeddings.weight" => EMBEDDING_RATE,
                name if name.starts_with("classifier.") || new.contains_key(name) => NEW_RATE,
                _ => 1.0,
            };
            parameters.push(Parameter { name: name.clone(), decays: var.rank() == 2, var, rate });
        }
    }
    parameters.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Prepared { weights: Weights::of(tensors), parameters })
}

/// The matrices that a method adds to a layer.
fn additions(config: &NetworkConfig, method: Method, n: usize) -> Vec<(String, (usize, usize))> {
    let hidden = config.hidden_size;
    let name = |part: &str| format!("encoder.layer.{n}.{part}");
    let dense = config.dense_layers();
    match method {
        Method::Full | Method::Head => Vec::new(),
        Method::Lora | Method::Qlora => dense
            .iter()
            .flat_map(|(part, from, to)| {
                [(name(&format!("{part}.{}", LOW_RANK[0])), (RANK, *from)), (name(&format!("{part}.{}", LOW_RANK[1])), (*to, RANK))]
            })
            .collect(),
        Method::Prefix => ["prefix.key", "prefix.value"].map(|part| (name(part), (PREFIX_TOKENS, hidden))).to_vec(),
        Method::Adapter => {
            vec![(name("adapter.down.weight"), (ADAPTER_WIDTH, hidden)), (name("adapter.up.weight"), (hidden, ADAPTER_WIDTH))]
        }
    }
}

/// All tensors in `f32`, without what is folded into others: the one segment's embedding goes into the positions'.
fn widened(base: &Weights, device: &Device) -> Result<HashMap<String, Tensor>> {
    let mut tensors = HashMap::new();
    for name in base.names() {
        if name.ends_with(".scale") || name.starts_with("pooler.") && !base.has("classifier.weight") || name == "embeddings.position_ids" {
            continue;
        }
        let shape = base.stored(&name)?.dims().to_vec();
        tensors.insert(name.clone(), base.wide(&name, &shape)?.to_device(device)?);
    }
    if let Some(segments) = tensors.remove("embeddings.token_type_embeddings.weight")
        && let Some(positions) = tensors.get_mut("embeddings.position_embeddings.weight")
    {
        *positions = positions.broadcast_add(&segments.get(0)?)?;
    }
    Ok(tensors)
}

/// The tensors to keep after training: low-rank corrections are added into their matrices.
///
/// # Errors
/// No memory.
pub fn merged(weights: &Weights) -> Result<Weights> {
    let mut tensors = HashMap::new();
    for name in weights.names() {
        let stored = weights.stored(&name)?;
        if name == QUANTISED || LOW_RANK.iter().any(|part| name.ends_with(part)) {
            continue;
        }
        let layer = name.strip_suffix(".weight").unwrap_or_default();
        let [down, up] = LOW_RANK.map(|part| format!("{layer}.{part}"));
        let kept = match weights.has(&down) {
            true => {
                let (down, up) = (weights.stored(&down)?, weights.stored(&up)?);
                (stored + (up.matmul(down)? * (LORA_ALPHA / down.dim(0)? as f64))?)?
            }
            false => stored.clone(),
        };
        tensors.insert(name, kept.detach());
    }
    Ok(Weights::of(tensors))
}
