//! A fine-tuning from a model folder to a model folder: train, calibrate what is stored, write, and say what came of it.

use std::path::{Path, PathBuf};

use candle_core::Device;
use serde::{Deserialize, Serialize};

use super::{
    data::{Label, Row},
    method::Method,
    run::{Material, Progress, Settings, run},
};
use crate::{
    config::NetworkConfig,
    error::ModelError,
    eval::{self, metrics, scorer::softmax},
    folder::{Contents, Folder, write_config},
    manifest::{FILES, Manifest},
    memory,
};

/// Where checkpoints are kept inside the folder that a run writes.
pub const CHECKPOINT: &str = "checkpoint";

/// What to do.
pub struct Order {
    /// The folder to start from.
    pub model: PathBuf,
    /// The folder to write; a run that was interrupted goes on in it.
    pub out: PathBuf,
    /// Name and version of what is made; none: that of the model.
    pub version: Option<String>,
    /// Rows to learn from.
    pub rows: Vec<Row>,
    /// Rows to judge and to calibrate by.
    pub held: Vec<Row>,
    /// True to store matrices in eight bits.
    pub bytes: bool,
    /// How.
    pub settings: Settings,
}

/// What came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// Which tensors were trained.
    pub method: Method,
    /// Name and version of what was made.
    pub version: String,
    /// Rows learned from.
    pub rows: usize,
    /// Parameters in training.
    pub trained: usize,
    /// Parameters in all.
    pub total: usize,
    /// Steps done.
    pub steps: usize,
    /// Seconds that the steps and evaluations took.
    pub seconds: f64,
    /// The most memory that a process of the run held at once, in bytes; none where the system does not say.
    pub memory_bytes_max: Option<u64>,
    /// Logits are divided by it.
    pub temperature: f64,
    /// Figures on the rows held out; none without such rows.
    pub held: Option<Held>,
}

/// Figures on the rows held out, of the model as it is stored and calibrated.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Held {
    /// Rows.
    pub rows: usize,
    /// Share of rows whose most probable label is right, of three.
    pub accuracy: f64,
    /// Area under the ROC curve, attacks against benign rows.
    pub auc: f64,
    /// Share of attacks found at the threshold that calls 1 % of the benign rows attacks.
    pub recall: f64,
    /// Expected calibration error.
    pub calibration_error: f64,
}

impl Order {
    /// Does it.
    ///
    /// # Errors
    /// A folder, a checkpoint or rows that cannot be used; what the training says.
    pub fn carry_out(&self, tell: &mut dyn FnMut(Progress)) -> Result<Outcome, ModelError> {
        let is_same = |a: &Path, b: &Path| matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b);
        if is_same(&self.model, &self.out) {
            return Err(ModelError::Setting("--out must be another folder than --model: a run in place could not start again".into()));
        }
        let base = Folder::open(&self.model)?;
        let material = Material {
            base: &base.weights,
            config: &base.config,
            tokenizer: &base.tokenizer,
            rows: &self.rows,
            held: &self.held,
            checkpoint: Some(self.out.join(CHECKPOINT)),
        };
        let done = run(&material, &self.settings, &Device::Cpu, tell)?;
        let path = self.model.join(FILES[1]);
        let tokenizer = std::fs::read_to_string(&path).map_err(|e| ModelError::file(&path, e))?;
        let mut config = base.config.clone();
        config.guard.version = self.version.clone().unwrap_or(config.guard.version);
        Contents { config: &config, tokenizer: &tokenizer, weights: &done.weights, bytes: self.bytes }.write(&self.out)?;
        let held = if self.held.is_empty() { None } else { Some(self.calibrate(&mut config)?) };
        Ok(Outcome {
            method: self.settings.method,
            version: config.guard.version,
            rows: self.rows.len(),
            trained: done.trained,
            total: done.total,
            steps: done.steps,
            seconds: done.seconds,
            memory_bytes_max: memory::most_bytes().map(|bytes| bytes.max(done.bytes)),
            temperature: config.guard.temperature,
            held,
        })
    }

    /// Finds the temperature for the model as it is stored, eight bits included, and writes it.
    fn calibrate(&self, config: &mut NetworkConfig) -> Result<Held, ModelError> {
        let folder = Folder::open(&self.out)?;
        let logits = eval::logits(&folder.encoder()?, &folder.tokenizer, &self.held, &Device::Cpu, &mut |_| {})?;
        let rows: Vec<([f64; 3], usize)> =
            logits.iter().zip(&self.held).map(|(logits, row)| (logits.map(f64::from), row.label as usize)).collect();
        config.guard.temperature = metrics::temperature(&rows);
        write_config(&self.out.join(FILES[0]), config)?;
        Manifest::write(&self.out)?;
        Ok(Held::of(&rows, config.guard.temperature))
    }
}

impl Held {
    fn of(rows: &[([f64; 3], usize)], temperature: f64) -> Self {
        let (mut right, mut scores) = (0, Vec::with_capacity(rows.len()));
        for (logits, label) in rows {
            let probabilities = softmax(logits.map(|x| x / temperature));
            right += usize::from(probabilities.iter().all(|p| *p <= probabilities[*label]));
            scores.push((1.0 - probabilities[0], *label != Label::Benign as usize));
        }
        let of = |attacks: bool| scores.iter().filter(|(_, is)| *is == attacks).map(|(score, _)| *score).collect::<Vec<_>>();
        let (attacks, benign) = (of(true), of(false));
        Self {
            rows: rows.len(),
            accuracy: right as f64 / rows.len().max(1) as f64,
            auc: metrics::auc(&attacks, &benign),
            recall: metrics::share(&attacks, metrics::threshold(&benign, 0.01)),
            calibration_error: metrics::calibration(&scores).1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy;

    fn order(dir: &Path) -> Order {
        toy::folder(&dir.join("model"));
        let settings = Settings { epochs: 6, rate: Some(5e-3), batch_tokens: 256, steps_between: 50, ..Settings::default() };
        Order {
            model: dir.join("model"),
            out: dir.join("out"),
            version: Some("toy-2".into()),
            rows: toy::rows(400, 1),
            held: toy::rows(120, 2),
            bytes: true,
            settings,
        }
    }

    #[test]
    fn a_model_trained_is_calibrated_as_it_is_stored_and_can_be_trained_on() {
        let dir = tempfile::tempdir().unwrap();
        let first = order(dir.path());
        let done = first.carry_out(&mut |_| {}).unwrap();
        let held = done.held.unwrap();
        assert!(held.auc > 0.95 && held.accuracy > 0.8 && held.calibration_error < 0.2, "{held:?}");
        assert!(done.memory_bytes_max.is_none_or(|bytes| bytes > 1 << 20));
        let folder = Folder::open(&first.out).unwrap();
        assert_eq!((folder.config.guard.version.as_str(), folder.config.guard.temperature), ("toy-2", done.temperature));
        assert!(folder.weights.has("classifier.weight.scale"));
        // No epochs: the weights stay, the temperature is found again.
        let settings = Settings { epochs: 0, ..first.settings.clone() };
        let again = Order { model: first.out, out: dir.path().join("again"), version: None, settings, ..order(dir.path()) };
        let again = again.carry_out(&mut |_| {}).unwrap();
        assert_eq!((again.steps, again.version.as_str()), (0, "toy-2"));
        assert!((again.temperature - done.temperature).abs() < 0.1, "{} {}", again.temperature, done.temperature);
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let same = Order { out: dir.path().join("model"), ..order(dir.path()) };
        assert!(same.carry_out(&mut |_| {}).unwrap_err().to_string().contains("another folder"));
        let mut held = toy::rows(40, 2);
        held.retain(|row| row.label == Label::Benign);
        let one_sort = Order { held, ..order(dir.path()) };
        assert!(one_sort.carry_out(&mut |_| {}).unwrap_err().to_string().contains("both sorts"));
    }
}
