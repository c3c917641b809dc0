//! A model folder, opened for serving: checked, packed for the CPU or put on a GPU.

use std::{path::Path, sync::Arc};

use crate::{
    Scores, Speaker,
    config::NetworkConfig,
    device::{self, DeviceNetwork},
    error::{ModelError, told},
    folder::Folder,
    network::{Network, NetworkError, Verdict, Window},
    packed::{Output, Packed},
    tokenize::Tokenizer,
    weights::Weights,
};

/// A network with its tokenizer and its name.
pub struct Model {
    version: String,
    tokenizer: Arc<Tokenizer>,
    network: Box<dyn Network>,
}

/// Where a network runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On so many threads; 0 counts as 1.
    Cpu(usize),
    /// On the GPU of this number.
    Gpu(usize),
}

/// The packed network on a number of threads.
pub struct CpuNetwork {
    packed: Packed,
    temperature: f32,
    threads: rayon::ThreadPool,
}

impl Model {
    /// Opens a folder in Hugging Face's layout (`config.json`, `tokenizer.json`, `model.safetensors`) with a `manifest.json`, to be run
    /// at `place`.
    ///
    /// # Errors
    /// The file that is missing, cut, other than the manifest says, or does not fit the others, and why; a GPU that is not there.
    pub fn open(dir: &Path, place: Place) -> Result<Self, ModelError> {
        let Folder { config, tokenizer, weights, fingerprint } = Folder::open(dir)?;
        let network = network(&weights, &config, place).map_err(|e| ModelError::content(dir.join("model.safetensors"), told(&e)))?;
        let version = format!("{}+{fingerprint}", config.guard.version);
        Ok(Self { version, tokenizer: Arc::new(tokenizer), network })
    }

    /// The model's name and the beginning of its manifest's digest, such as `small-1+0123456789ab`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The tokenizer, for threads that prepare windows.
    pub fn tokenizer(&self) -> Arc<Tokenizer> {
        self.tokenizer.clone()
    }

    /// The network, for the thread that owns it.
    pub fn into_network(self) -> Box<dyn Network> {
        self.network
    }

    /// Scores one text on the calling thread: its worst window.
    ///
    /// # Errors
    /// What the tokenizer or the network says.
    pub fn score(&mut self, speaker: Speaker, text: &str) -> Result<Scores, ModelError> {
        let windows = self.tokenizer.windows(speaker, text).map_err(ModelError::Setting)?;
        let verdicts = self.network.run(&windows).map_err(|e| ModelError::Setting(e.to_string()))?;
        let worst = verdicts.into_iter().max_by(|a, b| a.scores.attack().total_cmp(&b.scores.attack()));
        worst.map(|verdict| verdict.scores).ok_or_else(|| ModelError::Setting("a text without a window".into()))
    }
}

/// Weights with prefixes or adapters are run by candle also on a CPU; all others packed.
fn network(weights: &Weights, config: &NetworkConfig, place: Place) -> candle_core::Result<Box<dyn Network>> {
    let threads = match place {
        Place::Gpu(n) => return Ok(Box::new(DeviceNetwork::new(weights, config, &device::gpu(n)?)?)),
        Place::Cpu(_) if Packed::cannot(weights).is_some() => {
            return Ok(Box::new(DeviceNetwork::new(weights, config, &candle_core::Device::Cpu)?));
        }
        Place::Cpu(threads) => threads.max(1),
    };
    let threads = rayon::ThreadPoolBuilder::new().num_threads(threads).thread_name(|n| format!("guard-{n}")).build();
    let threads = threads.map_err(|e| candle_core::Error::Msg(format!("the guard's threads cannot be started: {e}")))?;
    Ok(Box::new(CpuNetwork { packed: Packed::new(weights, config)?, temperature: config.guard.temperature as f32, threads }))
}

impl Network for CpuNetwork {
    fn run(&mut self, windows: &[Window]) -> Result<Vec<Verdict>, NetworkError> {
        let outputs = self.outputs(windows).map_err(|e| NetworkError::Device(told(&e)))?;
        outputs
            .into_iter()
            .map(|Output { logits, vector }| {
                let scores = softmax(logits.map(|x| x / self.temperature));
                let sound = scores.is_sound() && vector.iter().all(|x| x.is_finite());
                if sound { Ok(Verdict { scores, vector }) } else { Err(NetworkError::NotFinite) }
            })
            .collect()
    }
}

impl CpuNetwork {
    /// The outputs of windows: each thread takes a run of them with about as many tokens as the others.
    fn outputs(&self, windows: &[Window]) -> candle_core::Result<Vec<Output>> {
        let threads = self.threads.current_num_threads();
        if threads == 1 || windows.len() == 1 {
            return self.packed.run(windows);
        }
        let share = windows.iter().map(|window| window.ids.len()).sum::<usize>().div_ceil(threads);
        let (mut parts, mut first, mut tokens) = (Vec::with_capacity(threads), 0, 0);
        for (n, window) in windows.iter().enumerate() {
            tokens += window.ids.len();
            if tokens >= share || n + 1 == windows.len() {
                parts.push(&windows[first..=n]);
                (first, tokens) = (n + 1, 0);
            }
        }
        use rayon::prelude::*;
        let outputs: Vec<Vec<Output>> =
            self.threads.install(|| parts.par_iter().map(|part| self.packed.run(part)).collect::<candle_core::Result<_>>())?;
        Ok(outputs.concat())
    }
}

fn softmax(logits: [f32; 3]) -> Scores {
    let most = logits.iter().fold(f32::NEG_INFINITY, |most, x| if *x > most { *x } else { most });
    let [benign, injection, jailbreak] = logits.map(|x| (x - most).exp());
    let sum = benign + injection + jailbreak;
    Scores { benign: benign / sum, injection: injection / sum, jailbreak: jailbreak / sum }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        eval::speed::{Samples, agreement},
        toy,
    };

    /// A model at two places says the same of the same windows, and at each of them of a window alone and among others.
    fn agree(here: Place, there: Place, apart_max: f32) {
        let dir = tempfile::tempdir().unwrap();
        toy::headed(dir.path());
        let [here, there] = [here, there].map(|place| {
            let model = Model::open(dir.path(), place).unwrap();
            let tokenizer = model.tokenizer();
            let (apart, scored) = agreement(&mut *model.into_network(), &mut Samples::new(&tokenizer).unwrap()).unwrap();
            assert!(apart < 1e-3, "{place:?}: {apart}");
            scored
        });
        for (here, there) in here.iter().zip(&there) {
            assert_eq!(here.ids, there.ids);
            assert!(here.scores.iter().zip(there.scores).all(|(a, b)| (a - b).abs() < apart_max), "{here:?} {there:?}");
        }
    }

    #[test]
    fn the_number_of_threads_changes_no_score() {
        agree(Place::Cpu(1), Place::Cpu(3), 1e-6);
    }

    /// With the feature the tests need a GPU.
    #[cfg(feature = "cuda")]
    #[test]
    fn a_gpu_says_what_the_cpu_says() {
        agree(Place::Gpu(0), Place::Cpu(1), 1e-2);
    }

    #[test]
    fn probabilities_add_up_and_a_nan_is_seen() {
        let scores = softmax([1000.0, 999.0, -1000.0]);
        assert!((scores.benign + scores.injection + scores.jailbreak - 1.0).abs() < 1e-6 && scores.is_sound());
        assert!(scores.benign > 0.7 && scores.injection > 0.2);
        assert!(!softmax([f32::NAN, 0.0, 0.0]).is_sound());
        assert!(!softmax([f32::INFINITY, 0.0, 0.0]).is_sound());
    }
}
