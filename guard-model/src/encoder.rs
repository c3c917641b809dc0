//! The encoder: BERT's layers in candle, for training and for every device (source: Devlin et al., arXiv:1810.04805).
//!
//! On a CPU the serving path is `packed`, which does the same sums faster; a test holds the two together.

use candle_core::{D, DType, Device, Result, Tensor};

use crate::{
    config::{LABELS, NetworkConfig},
    linear::Linear,
    network::Window,
    ops,
    weights::Weights,
};

/// Added to the score of a key that is padding.
const MASKED: f32 = -1e9;

/// Windows of one batch as tensors, padded to the longest.
pub struct Batch {
    /// `[batch, tokens]`, u32; padding is id 0.
    ids: Tensor,
    /// `[batch, tokens]`: 0 for a token, [`MASKED`] for padding.
    mask: Tensor,
    /// `[batch, tokens, 1]`: 1 for a token, 0 for padding.
    present: Tensor,
}

impl Batch {
    /// Lays windows side by side.
    ///
    /// # Errors
    /// What the device says.
    pub fn of(windows: &[&Window], device: &Device, dtype: DType) -> Result<Self> {
        let tokens = windows.iter().map(|window| window.ids.len()).max().unwrap_or(1);
        let mut ids = vec![0u32; windows.len() * tokens];
        let mut mask = vec![MASKED; ids.len()];
        let mut present = vec![0f32; ids.len()];
        for (row, window) in windows.iter().enumerate() {
            let range = row * tokens..row * tokens + window.ids.len();
            ids[range.clone()].copy_from_slice(&window.ids);
            mask[range.clone()].fill(0.0);
            present[range].fill(1.0);
        }
        let shape = (windows.len(), tokens);
        Ok(Self {
            ids: Tensor::from_vec(ids, shape, device)?,
            mask: Tensor::from_vec(mask, shape, device)?,
            present: Tensor::from_vec(present, (windows.len(), tokens, 1), device)?.to_dtype(dtype)?,
        })
    }
}

/// What the encoder gives for a batch.
pub struct Outputs {
    /// `[batch, 3]`, in the order of [`LABELS`], before temperature and softmax.
    pub logits: Tensor,
    /// `[batch, hidden]`: the mean of the tokens' vectors, scaled to length 1.
    pub vector: Tensor,
}

/// The whole network.
pub struct Encoder {
    word: Tensor,
    position: Tensor,
    norm: Norm,
    layers: Vec<Layer>,
    head: Head,
    dtype: DType,
}

struct Norm {
    gain: Tensor,
    bias: Tensor,
    epsilon: f64,
}

struct Layer {
    heads: usize,
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    attention_norm: Norm,
    up: Linear,
    down: Linear,
    feed_norm: Norm,
    /// Keys and values that stand before the text's, each `[prefix, hidden]`.
    prefix: Option<(Tensor, Tensor)>,
    adapter: Option<(Linear, Linear)>,
}

/// How token vectors become logits.
enum Head {
    /// BERT's own: the vector of `[CLS]` through a dense layer and tanh.
    Pooler(Linear, Linear),
    /// The vector of `[CLS]`, the mean and the maximum over the tokens, side by side: one planted sentence moves the maximum.
    Three(Linear),
}

impl Encoder {
    /// Builds the network of `config` from `weights`, on `device`, computing in `dtype`.
    ///
    /// # Errors
    /// A tensor that is missing or has another shape than `config` says.
    pub fn new(weights: &Weights, config: &NetworkConfig, device: &Device, dtype: DType) -> Result<Self> {
        let at = Place { weights, device, dtype, hidden: config.hidden_size, epsilon: config.layer_norm_eps };
        let word = at.tensor("embeddings.word_embeddings.weight", &[config.vocab_size, config.hidden_size])?;
        let position = at.tensor("embeddings.position_embeddings.weight", &[config.max_position_embeddings, config.hidden_size])?;
        // There is one segment: its embedding is part of every position's.
        let position = match weights.has("embeddings.token_type_embeddings.weight") {
            true => position.broadcast_add(&at.tensor("embeddings.token_type_embeddings.weight", &[2, config.hidden_size])?.get(0)?)?,
            false => position,
        };
        let norm = at.norm("embeddings.LayerNorm")?;
        let layers = (0..config.num_hidden_layers).map(|n| Layer::new(&at, config, n)).collect::<Result<_>>()?;
        let head = Head::new(&at, config)?;
        Ok(Self { word, position, norm, layers, head, dtype })
    }

    /// The outputs for a batch.
    ///
    /// # Errors
    /// What the device says.
    pub fn forward(&self, batch: &Batch) -> Result<Outputs> {
        let (count, tokens) = batch.ids.dims2()?;
        let hidden = self.position.dim(1)?;
        let words = self.word.index_select(&batch.ids.flatten_all()?, 0)?.reshape((count, tokens, hidden))?;
        let mut x = self.norm.forward(&words.broadcast_add(&self.position.narrow(0, 0, tokens)?)?)?;
        for layer in &self.layers {
            x = layer.forward(&x, &batch.mask)?;
        }
        let sum = x.broadcast_mul(&batch.present)?.sum(1)?;
        let mean = sum.broadcast_div(&batch.present.sum(1)?)?;
        let logits = self.head.forward(&x, &mean, &batch.mask)?.to_dtype(DType::F32)?;
        let mean = mean.to_dtype(DType::F32)?;
        let vector = mean.broadcast_div(&(mean.sqr()?.sum_keepdim(1)? + 1e-12)?.sqrt()?)?;
        Ok(Outputs { logits, vector })
    }

    /// The type that the network computes in.
    pub fn dtype(&self) -> DType {
        self.dtype
    }
}

/// Where tensors come from and go to.
struct Place<'a> {
    weights: &'a Weights,
    device: &'a Device,
    dtype: DType,
    hidden: usize,
    epsilon: f64,
}

impl Place<'_> {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        self.weights.wide(name, shape)?.to_device(self.device)?.to_dtype(self.dtype)
    }

    fn norm(&self, name: &str) -> Result<Norm> {
        let shape = &[self.hidden];
        let [gain, bias] = [self.tensor(&format!("{name}.weight"), shape)?, self.tensor(&format!("{name}.bias"), shape)?];
        Ok(Norm { gain, bias, epsilon: self.epsilon })
    }

    fn linear(&self, name: &str, from: usize, to: usize) -> Result<Linear> {
        Linear::open(self.weights, name, (from, to), self.device, self.dtype)
    }
}

impl Norm {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::layer_norm(x, &self.gain, &self.bias, self.epsilon)
    }
}

impl Layer {
    fn new(at: &Place<'_>, config: &NetworkConfig, n: usize) -> Result<Self> {
        let (hidden, wide) = (config.hidden_size, config.intermediate_size);
        let name = |part: &str| format!("encoder.layer.{n}.{part}");
        let weights = at.weights;
        let mut prefix = None;
        if weights.has(&name("prefix.key")) {
            let count = weights.stored(&name("prefix.key"))?.dim(0)?;
            prefix = Some((at.tensor(&name("prefix.key"), &[count, hidden])?, at.tensor(&name("prefix.value"), &[count, hidden])?));
        }
        let mut adapter = None;
        if weights.has(&name("adapter.down.weight")) {
            let narrow = weights.stored(&name("adapter.down.weight"))?.dim(0)?;
            adapter = Some((at.linear(&name("adapter.down"), hidden, narrow)?, at.linear(&name("adapter.up"), narrow, hidden)?));
        }
        Ok(Self {
            heads: config.num_attention_heads,
            query: at.linear(&name("attention.self.query"), hidden, hidden)?,
            key: at.linear(&name("attention.self.key"), hidden, hidden)?,
            value: at.linear(&name("attention.self.value"), hidden, hidden)?,
            output: at.linear(&name("attention.output.dense"), hidden, hidden)?,
            attention_norm: at.norm(&name("attention.output.LayerNorm"))?,
            up: at.linear(&name("intermediate.dense"), hidden, wide)?,
            down: at.linear(&name("output.dense"), wide, hidden)?,
            feed_norm: at.norm(&name("output.LayerNorm"))?,
            prefix,
            adapter,
        })
    }

    fn forward(&self, x: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let x = self.attention_norm.forward(&(self.attend(x, mask)? + x)?)?;
        let mut fed = self.down.forward(&ops::gelu(&self.up.forward(&x)?)?)?;
        if let Some((down, up)) = &self.adapter {
            fed = (up.forward(&ops::gelu(&down.forward(&fed)?)?)? + &fed)?;
        }
        self.feed_norm.forward(&(fed + x)?)
    }

    fn attend(&self, x: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let (count, _, hidden) = x.dims3()?;
        let (mut key, mut value, mut mask) = (self.key.forward(x)?, self.value.forward(x)?, mask.clone());
        if let Some((keys, values)) = &self.prefix {
            let prefix = keys.dim(0)?;
            let stand = |prefix: &Tensor| prefix.unsqueeze(0)?.broadcast_as((count, prefix.dim(0)?, hidden))?.contiguous();
            key = Tensor::cat(&[&stand(keys)?, &key], 1)?;
            value = Tensor::cat(&[&stand(values)?, &value], 1)?;
            mask = Tensor::cat(&[&Tensor::zeros((count, prefix), DType::F32, x.device())?, &mask], 1)?;
        }
        let split = |x: &Tensor| {
            let (count, tokens, _) = x.dims3()?;
            x.reshape((count, tokens, self.heads, ()))?.transpose(1, 2)?.contiguous()
        };
        let size = (hidden / self.heads) as f64;
        let query = (split(&self.query.forward(x)?)? * size.powf(-0.5))?;
        let weights = ops::masked_softmax(&query.matmul(&split(&key)?.t()?)?, &mask)?;
        let seen = weights.matmul(&split(&value)?)?.transpose(1, 2)?.flatten_from(2)?;
        self.output.forward(&seen)
    }
}

impl Head {
    fn new(at: &Place<'_>, config: &NetworkConfig) -> Result<Self> {
        let hidden = config.hidden_size;
        if at.weights.has("pooler.dense.weight") {
            return Ok(Self::Pooler(at.linear("pooler.dense", hidden, hidden)?, at.linear("classifier", hidden, LABELS.len())?));
        }
        Ok(Self::Three(at.linear("classifier", 3 * hidden, LABELS.len())?))
    }

    fn forward(&self, x: &Tensor, mean: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let cls = x.narrow(1, 0, 1)?.squeeze(1)?;
        match self {
            Self::Pooler(dense, classifier) => classifier.forward(&dense.forward(&cls)?.tanh()?),
            Self::Three(classifier) => {
                let most = x.broadcast_add(&mask.unsqueeze(2)?.to_dtype(x.dtype())?)?.max(1)?;
                classifier.forward(&Tensor::cat(&[&cls, mean, &most], D::Minus1)?)
            }
        }
    }
}
