//! The encoder on a CPU, made for serving: windows of any lengths side by side without padding, weights in eight bits, one pass
//! over memory for all that lies between two products. It gives what `encoder` gives, to the precision of its bytes.

mod attention;
mod far;
mod product;

use candle_core::Result;

use self::{
    attention::Room,
    far::Far,
    product::{Dense, Rows},
};
use crate::{
    config::{LABELS, NetworkConfig},
    math::{self, Width, widest},
    network::Window,
    weights::Weights,
};

/// Tokens of the windows that go through the layers together: enough to be worth a pass over the weights, few enough that what lies
/// between two layers stays in the cache.
const TOGETHER_TOKENS: usize = 256;

/// The network.
pub struct Packed {
    word: Words,
    position: Vec<f32>,
    norm: Norm,
    layers: Vec<Layer>,
    head: Head,
    hidden: usize,
    heads: usize,
    epsilon: f32,
}

/// What the network gives for one window.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// In the order of [`LABELS`], before temperature and softmax.
    pub logits: [f32; 3],
    /// The mean of the tokens' vectors, scaled to length 1, `[hidden]`.
    pub vector: Vec<f32>,
}

/// The word vectors, in bytes when they are stored so.
enum Words {
    Bytes { bytes: Vec<u8>, scales: Vec<f32> },
    Wide(Vec<f32>),
}

struct Norm {
    gain: Vec<f32>,
    bias: Vec<f32>,
}

struct Layer {
    query: Dense,
    key: Dense,
    value: Dense,
    output: Dense,
    attention_norm: Norm,
    up: Dense,
    down: Dense,
    feed_norm: Norm,
}

enum Head {
    Pooler { dense: Vec<f32>, dense_bias: Vec<f32>, classifier: Vec<f32>, bias: Vec<f32> },
    Three { classifier: Vec<f32>, bias: Vec<f32> },
}

/// Room for what lies between the layers.
#[derive(Default)]
struct Between {
    x: Vec<f32>,
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
    seen: Vec<f32>,
    wide: Vec<f32>,
    rows: Rows,
    room: Room,
}

impl Packed {
    /// Packs the network of `config` from `weights` for this processor.
    ///
    /// # Errors
    /// A tensor that is missing or has another shape; prefixes and adapters, which only the candle encoder runs.
    pub fn new(weights: &Weights, config: &NetworkConfig) -> Result<Self> {
        Self::with_width(weights, config, math::width())
    }

    /// A tensor of these weights that only the candle encoder runs, if there is one.
    pub fn cannot(weights: &Weights) -> Option<String> {
        weights.names().into_iter().find(|name| [".prefix.", ".adapter.", ".lora."].iter().any(|part| name.contains(part)))
    }

    fn with_width(weights: &Weights, config: &NetworkConfig, width: Width) -> Result<Self> {
        let plain = Self::without(&[], weights, config, width)?;
        if width != Width::Avx512 {
            return Ok(plain);
        }
        let mut between = Between { rows: Rows::watching(), ..Between::default() };
        plain.together(&far::probes(config), &mut between)?;
        Self::without(&Far::of(&between.rows.reached()), weights, config, width)
    }

    /// Packs the network, the inputs `far` of each layer left out of its bytes.
    fn without(far: &[Far], weights: &Weights, config: &NetworkConfig, width: Width) -> Result<Self> {
        if let Some(name) = Self::cannot(weights) {
            candle_core::bail!("{name}: weights with prefixes, adapters or low-rank corrections beside them are not run packed");
        }
        let (hidden, wide, vocabulary) = (config.hidden_size, config.intermediate_size, config.vocab_size);
        let norm = |name: &str| -> Result<Norm> {
            let part = |part: &str| weights.wide(&format!("{name}.{part}"), &[hidden])?.to_vec1();
            Ok(Norm { gain: part("weight")?, bias: part("bias")? })
        };
        let mut position = weights.wide("embeddings.position_embeddings.weight", &[config.max_position_embeddings, hidden])?;
        if weights.has("embeddings.token_type_embeddings.weight") {
            let segments = weights.wide("embeddings.token_type_embeddings.weight", &[2, hidden])?;
            position = position.broadcast_add(&segments.get(0)?)?;
        }
        let mut layers = Vec::with_capacity(config.num_hidden_layers);
        for n in 0..config.num_hidden_layers {
            let name = |part: &str| format!("encoder.layer.{n}.{part}");
            let dense = |part: &str, from, to, far: &[usize]| Dense::open(weights, &name(part), (from, to), far, width);
            let none = Far::default();
            let far = far.get(n).unwrap_or(&none);
            layers.push(Layer {
                query: dense("attention.self.query", hidden, hidden, &far.block)?,
                key: dense("attention.self.key", hidden, hidden, &far.block)?,
                value: dense("attention.self.value", hidden, hidden, &far.block)?,
                output: dense("attention.output.dense", hidden, hidden, &[])?,
                attention_norm: norm(&name("attention.output.LayerNorm"))?,
                up: dense("intermediate.dense", hidden, wide, &far.feed)?,
                down: dense("output.dense", wide, hidden, &far.wide)?,
                feed_norm: norm(&name("output.LayerNorm"))?,
            });
        }
        Ok(Self {
            word: Words::open(weights, vocabulary, hidden)?,
            position: position.flatten_all()?.to_vec1()?,
            norm: norm("embeddings.LayerNorm")?,
            layers,
            head: Head::open(weights, hidden)?,
            hidden,
            heads: config.num_attention_heads,
            epsilon: config.layer_norm_eps as f32,
        })
    }

    /// The outputs of windows, in their order, on the calling thread.
    ///
    /// # Errors
    /// An id beyond the vocabulary, a window longer than the positions, or no memory.
    pub fn run(&self, windows: &[Window]) -> Result<Vec<Output>> {
        let mut between = Between::default();
        let mut outputs = Vec::with_capacity(windows.len());
        let mut rest = windows;
        while !rest.is_empty() {
            let mut tokens = 0;
            let count = rest.iter().take_while(|window| {
                tokens += window.ids.len();
                tokens <= TOGETHER_TOKENS
            });
            let (some, others) = rest.split_at(count.count().max(1));
            rest = others;
            self.together(some, &mut between)?;
            let mut at = 0;
            for window in some {
                let end = at + window.ids.len() * self.hidden;
                outputs.push(self.head.output(&between.x[at..end], self.hidden));
                at = end;
            }
        }
        Ok(outputs)
    }

    /// Leaves the last layer's vectors of all tokens in `between.x`.
    fn together(&self, windows: &[Window], between: &mut Between) -> Result<()> {
        let hidden = self.hidden;
        self.embed(windows, &mut between.x)?;
        norm_rows(&mut between.x, &self.norm.gain, &self.norm.bias, self.epsilon);
        let scale = ((hidden / self.heads) as f32).powf(-0.5);
        for layer in &self.layers {
            let Between { x, query, key, value, seen, wide, rows, room } = &mut *between;
            layer.query.apply(x, rows, query)?;
            layer.key.apply_filled(x, rows, key)?;
            layer.value.apply_filled(x, rows, value)?;
            scale_all(query, scale);
            seen.clear();
            seen.resize(x.len(), 0.0);
            let mut at = 0;
            for window in windows {
                let range = at..at + window.ids.len() * hidden;
                at = range.end;
                let (query, key, value) = (&query[range.clone()], &key[range.clone()], &value[range.clone()]);
                attention::attend(query, key, value, (hidden, self.heads), room, &mut seen[range]);
            }
            layer.output.apply(seen, rows, query)?;
            add_norm_rows(x, query, &layer.attention_norm.gain, &layer.attention_norm.bias, self.epsilon);
            layer.up.apply(x, rows, wide)?;
            gelu_all(wide);
            layer.down.apply(wide, rows, query)?;
            add_norm_rows(x, query, &layer.feed_norm.gain, &layer.feed_norm.bias, self.epsilon);
        }
        Ok(())
    }

    fn embed(&self, windows: &[Window], x: &mut Vec<f32>) -> Result<()> {
        let hidden = self.hidden;
        x.clear();
        for window in windows {
            let positions = self.position.chunks_exact(hidden);
            if window.ids.is_empty() || window.ids.len() > positions.len() {
                candle_core::bail!("a window of {} tokens; the network has {} positions", window.ids.len(), positions.len());
            }
            for (id, position) in window.ids.iter().zip(positions) {
                let start = x.len();
                x.extend_from_slice(position);
                self.word.add(*id as usize, &mut x[start..])?;
            }
        }
        Ok(())
    }
}

impl Words {
    fn open(weights: &Weights, vocabulary: usize, hidden: usize) -> Result<Self> {
        let name = "embeddings.word_embeddings.weight";
        let wide = || weights.wide(name, &[vocabulary, hidden])?.flatten_all()?.to_vec1();
        let stored = weights.stored(name)?;
        if stored.dtype() != candle_core::DType::U8 {
            return Ok(Self::Wide(wide()?));
        }
        if stored.dims() != [vocabulary, hidden] {
            candle_core::bail!("tensor {name} has the shape {:?}, not {:?}", stored.dims(), [vocabulary, hidden]);
        }
        Ok(Self::Bytes { bytes: stored.flatten_all()?.to_vec1()?, scales: weights.scale(name, vocabulary)?.to_vec1()? })
    }

    /// Adds the vector of `id` to `x`.
    fn add(&self, id: usize, x: &mut [f32]) -> Result<()> {
        let range = id * x.len()..(id + 1) * x.len();
        match self {
            Self::Bytes { bytes, scales } => match (bytes.get(range), scales.get(id)) {
                (Some(bytes), Some(scale)) => x.iter_mut().zip(bytes).for_each(|(x, b)| *x += (f32::from(*b) - 128.0) * scale),
                _ => candle_core::bail!("token id {id} is beyond the vocabulary"),
            },
            Self::Wide(wide) => match wide.get(range) {
                Some(row) => x.iter_mut().zip(row).for_each(|(x, w)| *x += w),
                None => candle_core::bail!("token id {id} is beyond the vocabulary"),
            },
        }
        Ok(())
    }
}

impl Head {
    fn open(weights: &Weights, hidden: usize) -> Result<Self> {
        let flat = |name: &str, shape: &[usize]| weights.wide(name, shape)?.flatten_all()?.to_vec1();
        let bias = flat("classifier.bias", &[LABELS.len()])?;
        if weights.has("pooler.dense.weight") {
            return Ok(Self::Pooler {
                dense: flat("pooler.dense.weight", &[hidden, hidden])?,
                dense_bias: flat("pooler.dense.bias", &[hidden])?,
                classifier: flat("classifier.weight", &[LABELS.len(), hidden])?,
                bias,
            });
        }
        Ok(Self::Three { classifier: flat("classifier.weight", &[LABELS.len(), 3 * hidden])?, bias })
    }

    /// Of one window's token vectors, `[tokens, hidden]`.
    fn output(&self, x: &[f32], hidden: usize) -> Output {
        let (mut mean, mut most) = (vec![0f32; hidden], vec![f32::NEG_INFINITY; hidden]);
        for row in x.chunks_exact(hidden) {
            for ((x, mean), most) in row.iter().zip(&mut mean).zip(&mut most) {
                *mean += x;
                // Written so that a NaN goes through.
                *most = if *x <= *most { *most } else { *x };
            }
        }
        let count = (x.len() / hidden) as f32;
        mean.iter_mut().for_each(|mean| *mean /= count);
        let cls = &x[..hidden];
        let linear = |weights: &[f32], bias: &[f32], x: &[f32]| -> Vec<f32> {
            weights.chunks_exact(x.len()).zip(bias).map(|(row, b)| math::sum2(row, x, |w, x| w * x) + b).collect()
        };
        let logits = match self {
            Self::Pooler { dense, dense_bias, classifier, bias } => {
                let pooled: Vec<f32> = linear(dense, dense_bias, cls).iter().map(|x| x.tanh()).collect();
                linear(classifier, bias, &pooled)
            }
            Self::Three { classifier, bias } => linear(classifier, bias, &[cls, &mean, &most].concat()),
        };
        let length = (math::sum(&mean, |x| x * x) + 1e-12).sqrt();
        mean.iter_mut().for_each(|mean| *mean /= length);
        Output { logits: [logits[0], logits[1], logits[2]], vector: mean }
    }
}

widest! { fn scale_all(x: &mut [f32], scale: f32) = x.iter_mut().for_each(|x| *x *= scale) }
widest! { fn gelu_all(x: &mut [f32]) = x.iter_mut().for_each(|x| *x = math::gelu(*x)) }
widest! {
    fn norm_rows(x: &mut [f32], gain: &[f32], bias: &[f32], epsilon: f32) =
        x.chunks_exact_mut(gain.len()).for_each(|row| math::layer_norm(row, gain, bias, epsilon))
}
widest! {
    fn add_norm_rows(x: &mut [f32], y: &[f32], gain: &[f32], bias: &[f32], epsilon: f32) = {
        for (x, y) in x.chunks_exact_mut(gain.len()).zip(y.chunks_exact(gain.len())) {
            x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
            math::layer_norm(x, gain, bias, epsilon);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use candle_core::{DType, Device, Tensor};

    use super::*;
    use crate::{
        config::GuardConfig,
        encoder::{Batch, Encoder},
        train::random::Random,
    };

    fn config() -> NetworkConfig {
        NetworkConfig {
            vocab_size: 50,
            hidden_size: 64,
            num_hidden_layers: 3,
            num_attention_heads: 2,
            intermediate_size: 256,
            max_position_embeddings: 64,
            layer_norm_eps: 1e-12,
            guard: GuardConfig::default(),
        }
    }

    fn weights(config: &NetworkConfig, pooler: bool) -> Weights {
        let mut random = Random::new(5);
        let mut tensors = HashMap::new();
        let mut put = |name: String, shape: &[usize], deviation: f32, around: f32| {
            let values = random.normals(shape.iter().product(), deviation).into_iter().map(|x| x + around).collect();
            tensors.insert(name, Tensor::from_vec(values, shape, &Device::Cpu).unwrap());
        };
        let hidden = config.hidden_size;
        put("embeddings.word_embeddings.weight".into(), &[config.vocab_size, hidden], 0.5, 0.0);
        put("embeddings.position_embeddings.weight".into(), &[config.max_position_embeddings, hidden], 0.1, 0.0);
        put("embeddings.token_type_embeddings.weight".into(), &[2, hidden], 0.1, 0.0);
        let mut names = vec!["embeddings.LayerNorm".to_owned()];
        for n in 0..config.num_hidden_layers {
            let name = |part: &str| format!("encoder.layer.{n}.{part}");
            for (part, from, to) in config.dense_layers() {
                put(name(&format!("{part}.weight")), &[to, from], 0.1, 0.0);
                put(name(&format!("{part}.bias")), &[to], 0.1, 0.0);
            }
            names.extend([name("attention.output.LayerNorm"), name("output.LayerNorm")]);
        }
        for name in names {
            put(format!("{name}.weight"), &[hidden], 0.1, 1.0);
            put(format!("{name}.bias"), &[hidden], 0.1, 0.0);
        }
        if pooler {
            put("pooler.dense.weight".into(), &[hidden, hidden], 0.1, 0.0);
            put("pooler.dense.bias".into(), &[hidden], 0.1, 0.0);
        }
        put("classifier.weight".into(), &[3, if pooler { hidden } else { 3 * hidden }], 0.1, 0.0);
        put("classifier.bias".into(), &[3], 0.1, 0.0);
        Weights::of(tensors)
    }

    fn windows() -> Vec<Window> {
        [1, 2, 17, 64, 33, 5, 64, 64, 64, 9].iter().map(|n| Window { ids: (0..*n).map(|i| (i * 7 + n) % 50).collect() }).collect()
    }

    /// Of candle, one window at a time.
    fn wanted(weights: &Weights) -> Vec<Vec<f32>> {
        let encoder = Encoder::new(weights, &config(), &Device::Cpu, DType::F32).unwrap();
        let one = |window: &Window| {
            let outputs = encoder.forward(&Batch::of(&[window], &Device::Cpu, DType::F32).unwrap()).unwrap();
            [outputs.logits.get(0).unwrap().to_vec1::<f32>().unwrap(), outputs.vector.get(0).unwrap().to_vec1::<f32>().unwrap()].concat()
        };
        windows().iter().map(one).collect()
    }

    fn got(packed: &Packed) -> Vec<Vec<f32>> {
        packed.run(&windows()).unwrap().into_iter().map(|output| [output.logits.to_vec(), output.vector].concat()).collect()
    }

    fn farthest(a: &[Vec<f32>], b: &[Vec<f32>]) -> f32 {
        a.iter().flatten().zip(b.iter().flatten()).fold(0f32, |most, (a, b)| most.max((a - b).abs()))
    }

    #[test]
    fn it_gives_what_candle_gives() {
        for pooler in [false, true] {
            let weights = weights(&config(), pooler);
            let want = wanted(&weights);
            let plain = Packed::with_width(&weights, &config(), Width::Plain).unwrap();
            assert!(farthest(&got(&plain), &want) < 1e-4, "{}", farthest(&got(&plain), &want));
            let here = Packed::new(&weights, &config()).unwrap();
            assert!(farthest(&got(&here), &want) < 0.1, "{}", farthest(&got(&here), &want));
        }
    }

    #[test]
    fn candle_gives_the_same_in_a_batch_as_alone() {
        let weights = weights(&config(), false);
        let encoder = Encoder::new(&weights, &config(), &Device::Cpu, DType::F32).unwrap();
        let windows = windows();
        let all: Vec<&Window> = windows.iter().collect();
        let outputs = encoder.forward(&Batch::of(&all, &Device::Cpu, DType::F32).unwrap()).unwrap();
        let logits: Vec<Vec<f32>> = outputs.logits.to_vec2().unwrap();
        let alone: Vec<Vec<f32>> = wanted(&weights).into_iter().map(|row| row[..3].to_vec()).collect();
        assert!(farthest(&logits, &alone) < 1e-3);
    }

    #[test]
    fn a_window_alone_gives_what_it_gives_among_others() {
        let packed = Packed::new(&weights(&config(), false), &config()).unwrap();
        let together = packed.run(&windows()).unwrap();
        for (window, together) in windows().iter().zip(together) {
            let alone = packed.run(std::slice::from_ref(window)).unwrap();
            assert!(farthest(&[alone[0].logits.to_vec()], &[together.logits.to_vec()]) < 1e-4);
        }
    }

    #[test]
    fn what_cannot_be_run_is_an_error() {
        let packed = Packed::new(&weights(&config(), false), &config()).unwrap();
        for ids in [vec![], vec![50], vec![0; 65]] {
            assert!(packed.run(&[Window { ids }]).is_err());
        }
    }

    #[test]
    fn weights_that_are_no_numbers_give_no_probabilities() {
        let good = weights(&config(), false);
        for name in ["encoder.layer.1.output.dense.weight", "embeddings.LayerNorm.bias", "classifier.weight"] {
            let mut tensors: HashMap<String, Tensor> =
                good.names().into_iter().map(|name| (name.clone(), good.stored(&name).unwrap().clone())).collect();
            let shape = tensors[name].dims().to_vec();
            let count = shape.iter().product();
            tensors.insert(name.into(), Tensor::from_vec(vec![f32::NAN; count], shape, &Device::Cpu).unwrap());
            for width in [Width::Plain, math::width()] {
                // Refused when they are packed, or seen in the result.
                let Ok(packed) = Packed::with_width(&Weights::of(tensors.clone()), &config(), width) else { continue };
                assert!(packed.run(&windows()).unwrap().iter().all(|output| output.logits.iter().any(|x| x.is_nan())), "{name} {width:?}");
            }
        }
    }

    /// Windows of the evaluation's texts, the first of every tenth text.
    fn evaluated(folder: &crate::folder::Folder) -> Vec<Window> {
        let data = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("data/eval");
        let rows = crate::train::data::read(&[data]).unwrap();
        let speaker = |row: &crate::train::data::Row| row.speaker.unwrap_or(crate::Speaker::User);
        rows.iter().step_by(10).map(|row| folder.tokenizer.windows(speaker(row), &row.text).unwrap().remove(0)).collect()
    }

    #[test]
    fn the_shipped_weights_give_in_eight_bits_what_they_give_in_floats() {
        let folder = crate::folder::Folder::open(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("weights/small")).unwrap();
        let windows = evaluated(&folder);
        let scores = |width| -> Vec<f64> {
            let outputs = Packed::with_width(&folder.weights, &folder.config, width).unwrap().run(&windows).unwrap();
            let calibrated = |output: &Output| output.logits.map(|x| f64::from(x) / folder.config.guard.temperature);
            outputs.iter().map(|output| 1.0 - crate::eval::scorer::softmax(calibrated(output))[0]).collect()
        };
        let (wide, near) = (scores(Width::Plain), scores(math::width()));
        let mut off: Vec<f64> = wide.iter().zip(&near).map(|(a, b)| (a - b).abs()).collect();
        off.sort_by(f64::total_cmp);
        let (count, most) = (off.len(), off[off.len() - 1]);
        let far = off.iter().filter(|off| **off > 0.01).count();
        println!("{count} texts: median {:.4}, 90 % {:.4}, most {most:.4}, {far} over 0.01", off[count / 2], off[count * 9 / 10]);
        assert!(count > 100 && off[count * 9 / 10] < 0.01 && most < 0.03);
    }
}
