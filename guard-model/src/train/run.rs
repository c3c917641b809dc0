//! The training loop: batches, worst windows, steps, evaluation on sources that are held out.

use std::{path::PathBuf, time::Instant};

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{
    adamw::AdamW,
    batches::{Candidates, Changes, Examples},
    checkpoint::Saved,
    data::{Label, Row},
    method::{Method, Prepared, merged, prepare},
};
use crate::{
    config::NetworkConfig,
    encoder::{Batch, Encoder},
    error::ModelError,
    eval::{self, metrics},
    memory,
    network::Window,
    tokenize::Tokenizer,
    weights::Weights,
};

/// Share of the steps over which the rate rises from zero; after them it falls to zero along a cosine.
const WARM_UP: f64 = 0.06;
/// Taken from the right label and given to all three.
const SMOOTHING: f64 = 0.05;
const WEIGHT_DECAY: f64 = 0.01;
/// Windows that are judged at once to find a text's worst one.
const JUDGED_AT_ONCE: usize = 64;

/// How to train.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Settings {
    /// Which tensors.
    pub method: Method,
    /// Times that the data is gone through; 0: nothing is trained.
    pub epochs: usize,
    /// Steps at most; 0: as many as the epochs have.
    pub steps_max: usize,
    /// Highest learning rate; none: what suits the method.
    pub rate: Option<f64>,
    /// Tokens of a batch.
    pub batch_tokens: usize,
    /// Rows of one source in an epoch, at most.
    pub source_rows_max: usize,
    /// The same seed, data and settings give the same network on the same machine.
    pub seed: u64,
    /// Steps between two evaluations (and checkpoints).
    pub steps_between: usize,
    /// Evaluations without a better one before the run stops; 0: it never stops early.
    pub patience: usize,
    /// Share of direct injections that are put into documents.
    pub planted: f32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            method: Method::Full,
            epochs: 2,
            steps_max: 0,
            rate: None,
            batch_tokens: 2048,
            source_rows_max: 1200,
            seed: 1,
            steps_between: 250,
            patience: 0,
            planted: 0.3,
        }
    }
}

/// What a run tells while it goes on.
#[derive(Clone, Debug)]
pub enum Progress {
    /// After a step.
    Step {
        /// Steps done.
        step: usize,
        /// Steps in all.
        steps: usize,
        /// Mean loss of late.
        loss: f64,
    },
    /// After an evaluation on the rows held out: the area under the ROC curve, and whether it is the best so far.
    Held {
        /// Steps done.
        step: usize,
        /// The mean over the held-out attack sources.
        auc: f64,
        /// True when the tensors were kept.
        best: bool,
    },
}

/// What came of a run.
#[derive(Debug)]
pub struct Trained {
    /// The tensors, corrections merged.
    pub weights: Weights,
    /// Parameters in training.
    pub trained: usize,
    /// Parameters in all.
    pub total: usize,
    /// Steps done.
    pub steps: usize,
    /// Wall time of the run in seconds, that before an interruption included up to its last checkpoint.
    pub seconds: f64,
    /// The most memory that a process of the run held up to its last checkpoint, in bytes; 0: not known.
    pub bytes: u64,
}

/// What a run works on.
pub struct Material<'a> {
    /// The network to start from.
    pub base: &'a Weights,
    /// Its shape.
    pub config: &'a NetworkConfig,
    /// Its tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// Rows to learn from.
    pub rows: &'a [Row],
    /// Rows to judge by.
    pub held: &'a [Row],
    /// Where checkpoints are kept, and found again; none: nowhere.
    pub checkpoint: Option<PathBuf>,
}

impl Material<'_> {
    /// What a checkpoint must be of to be gone on with: these settings, these rows, this network.
    fn run_of(&self, settings: &Settings) -> Result<String, ModelError> {
        let mut sum = Sha256::new();
        for row in self.rows.iter().chain(self.held) {
            sum.update([row.label as u8]);
            sum.update(row.text.len().to_le_bytes());
            sum.update(&row.text);
        }
        let run = (settings, self.config, self.rows.len(), hex::encode(sum.finalize()));
        serde_json::to_string(&run).map_err(|e| ModelError::Setting(e.to_string()))
    }
}

/// Trains, and gives the tensors that did best on the rows held out (the last ones when none are).
///
/// # Errors
/// No memory, a gradient that is no number, a checkpoint of other settings or that cannot be written.
pub fn run(material: &Material<'_>, settings: &Settings, device: &Device, tell: &mut dyn FnMut(Progress)) -> Result<Trained, ModelError> {
    let Material { config, tokenizer, .. } = material;
    let benign = material.held.iter().filter(|row| row.label == Label::Benign).count();
    if !material.held.is_empty() && (benign == 0 || benign == material.held.len()) {
        return Err(ModelError::Setting("the rows held out must be of both sorts, benign and attacks; hold out another source".into()));
    }
    let Prepared { weights, parameters } = prepare(material.base, config, settings.method, settings.seed, device)?;
    let encoder = Encoder::new(&weights, config, device, DType::F32)?;
    let changes = Changes { masked: 0.08, planted: settings.planted, by_tool: 0.25 };
    let examples = Examples::of(material.rows, tokenizer, changes)?;
    let trained = parameters.iter().map(|p| p.var.elem_count()).sum();
    let total = weights.names().iter().filter_map(|name| weights.stored(name).ok()).map(Tensor::elem_count).sum();
    let optimiser = AdamW::new(parameters, WEIGHT_DECAY)?;
    let mut state = Run { encoder, weights, optimiser, class: class_weights(examples.counts()), material, device, loss: 0.0 };
    let mut saved = Saved::open(material.checkpoint.as_deref(), &material.run_of(settings)?, &mut state.optimiser)?;
    let (began, before) = (Instant::now(), saved.mark.seconds);
    let rate = settings.rate.unwrap_or_else(|| settings.method.rate());
    let epoch = |n| examples.epoch(tokenizer, settings.seed, n, settings.source_rows_max, settings.batch_tokens);
    let steps_max = if settings.steps_max == 0 { usize::MAX } else { settings.steps_max };
    let steps = if settings.epochs == 0 { 0 } else { (epoch(0).len() * settings.epochs).min(steps_max) };
    let mut at = 0;
    'run: for n in 0..settings.epochs {
        for batch in epoch(n) {
            if at == steps_max || settings.patience > 0 && saved.mark.worse >= settings.patience {
                break 'run;
            }
            at += 1;
            if at <= saved.mark.step {
                continue;
            }
            state.step(&batch, rate * schedule(at, steps.max(at)))?;
            saved.mark.step = at;
            tell(Progress::Step { step: at, steps: steps.max(at), loss: state.loss });
            if at.is_multiple_of(settings.steps_between.max(1)) {
                saved.mark.seconds = before + began.elapsed().as_secs_f64();
                state.judge(&mut saved, tell)?;
            }
        }
    }
    // The last steps count too, when they are better than what was kept.
    if saved.judged != Some(saved.mark.step) && saved.mark.step > 0 {
        state.judge(&mut saved, tell)?;
    }
    let weights = merged(saved.best.as_ref().unwrap_or(&state.weights))?;
    let seconds = before + began.elapsed().as_secs_f64();
    Ok(Trained { weights, trained, total, steps: saved.mark.step, seconds, bytes: saved.mark.bytes })
}

struct Run<'a> {
    encoder: Encoder,
    /// What the encoder computes with, those in training among them.
    weights: Weights,
    optimiser: AdamW,
    class: [f32; 3],
    material: &'a Material<'a>,
    device: &'a Device,
    loss: f64,
}

impl Run<'_> {
    /// Evaluates on the rows held out, keeps the tensors if they are the best so far, and writes a checkpoint.
    fn judge(&self, saved: &mut Saved, tell: &mut dyn FnMut(Progress)) -> Result<(), ModelError> {
        if !self.material.held.is_empty() {
            let auc = held_out(&self.encoder, self.material, self.device)?;
            let best = saved.best.is_none() || auc > saved.mark.auc;
            tell(Progress::Held { step: saved.mark.step, auc, best });
            if best {
                (saved.mark.auc, saved.mark.worse) = (auc, 0);
                saved.best = Some(copied(&self.weights)?);
            } else {
                saved.mark.worse += 1;
            }
        }
        saved.judged = Some(saved.mark.step);
        saved.mark.bytes = saved.mark.bytes.max(memory::most_bytes().unwrap_or(0));
        match &self.material.checkpoint {
            Some(dir) => saved.write(dir, &self.optimiser),
            None => Ok(()),
        }
    }

    fn step(&mut self, batch: &[Candidates], rate: f64) -> Result<(), ModelError> {
        let windows = self.worst(batch)?;
        let labels: Vec<usize> = batch.iter().map(|row| row.label as usize).collect();
        let weights: Vec<f32> = labels.iter().map(|label| self.class[*label]).collect();
        let mut targets = vec![SMOOTHING as f32 / 3.0; labels.len() * 3];
        labels.iter().enumerate().for_each(|(row, label)| targets[row * 3 + label] += 1.0 - SMOOTHING as f32);
        let logits = self.encoder.forward(&Batch::of(&windows, self.device, DType::F32)?)?.logits;
        let targets = Tensor::from_vec(targets, (labels.len(), 3), self.device)?;
        let sum: f32 = weights.iter().sum();
        let weights = Tensor::from_vec(weights, labels.len(), self.device)?;
        let each = (candle_nn::ops::log_softmax(&logits, 1)? * targets)?.sum(1)?.neg()?;
        let loss = ((each * weights)?.sum_all()? / f64::from(sum))?;
        let value = f64::from(loss.to_scalar::<f32>()?);
        self.loss = if self.loss == 0.0 { value } else { 0.98 * self.loss + 0.02 * value };
        self.optimiser.step(&loss.backward()?, rate)?;
        Ok(())
    }

    /// The window of each row that the network now finds most like an attack: in a document with one planted sentence it is the one
    /// with the sentence, in a harmless text the one that would be a false alarm. That is how texts are scored later.
    fn worst<'b>(&self, batch: &'b [Candidates]) -> Result<Vec<&'b Window>, ModelError> {
        let many: Vec<&Window> = batch.iter().filter(|row| row.windows.len() > 1).flat_map(|row| &row.windows).collect();
        let mut scores = Vec::with_capacity(many.len());
        for some in many.chunks(JUDGED_AT_ONCE) {
            let logits = self.encoder.forward(&Batch::of(some, self.device, DType::F32)?)?.logits;
            scores.extend(eval::attacks(&logits.detach())?);
        }
        let mut scores = scores.into_iter();
        Ok(batch
            .iter()
            .map(|row| match row.windows.len() {
                1 => &row.windows[0],
                count => {
                    let mut best = (f32::NEG_INFINITY, &row.windows[0]);
                    for (score, window) in scores.by_ref().take(count).zip(&row.windows) {
                        if score > best.0 {
                            best = (score, window);
                        }
                    }
                    best.1
                }
            })
            .collect())
    }
}

/// Weights of the labels: the rarer, the more, by the square root, so that the benign majority still counts.
fn class_weights(counts: [usize; 3]) -> [f32; 3] {
    let total: usize = counts.iter().sum();
    counts.map(|count| (total as f32 / (3.0 * count.max(1) as f32)).sqrt().clamp(0.5, 3.0))
}

fn schedule(step: usize, steps: usize) -> f64 {
    let done = step as f64 / steps as f64;
    if done < WARM_UP { done / WARM_UP } else { 0.5 * (1.0 + (std::f64::consts::PI * (done - WARM_UP) / (1.0 - WARM_UP)).cos()) }
}

/// The mean over the attack sources held out of the area under the ROC curve, each against all benign rows held out.
fn held_out(encoder: &Encoder, material: &Material<'_>, device: &Device) -> Result<f64, ModelError> {
    let scores = eval::score(encoder, material.tokenizer, material.held, device, &mut |_| {})?;
    let attack = |at: &usize| 1.0 - f64::from(scores[*at][0]);
    let benign: Vec<f64> = (0..scores.len()).filter(|at| material.held[*at].label == Label::Benign).map(|at| attack(&at)).collect();
    let mut sources: Vec<&str> = material.held.iter().filter(|row| row.label != Label::Benign).map(|row| row.source.as_str()).collect();
    sources.sort();
    sources.dedup();
    let areas = sources.iter().map(|source| {
        let is = |at: &usize| material.held[*at].label != Label::Benign && material.held[*at].source == *source;
        metrics::auc(&(0..scores.len()).filter(is).map(|at| attack(&at)).collect::<Vec<_>>(), &benign)
    });
    Ok(areas.sum::<f64>() / sources.len().max(1) as f64)
}

fn copied(weights: &Weights) -> Result<Weights, ModelError> {
    let mut tensors = std::collections::HashMap::new();
    for name in weights.names() {
        tensors.insert(name.clone(), weights.stored(&name)?.detach().copy()?);
    }
    Ok(Weights::of(tensors))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{toy, train::checkpoint::MARK};

    fn settings(method: Method) -> Settings {
        // Few tensors of a random network learn slowly at the rates that suit a trained one.
        let rate = if method == Method::Full { 5e-3 } else { 2e-3 };
        Settings { method, epochs: 8, rate: Some(rate), batch_tokens: 256, steps_between: 20, ..Settings::default() }
    }

    fn trained(settings: &Settings, held: &[Row], checkpoint: Option<PathBuf>, tell: &mut dyn FnMut(Progress)) -> Trained {
        let dir = tempfile::tempdir().unwrap();
        toy::folder(dir.path());
        let folder = crate::folder::Folder::open(dir.path()).unwrap();
        let material = Material {
            base: &folder.weights,
            config: &folder.config,
            tokenizer: &folder.tokenizer,
            rows: &toy::rows(400, 1),
            held,
            checkpoint,
        };
        run(&material, settings, &Device::Cpu, tell).unwrap()
    }

    #[test]
    fn every_method_learns_a_toy_problem() {
        let held = toy::rows(120, 2);
        for method in Method::ALL {
            let mut areas = Vec::new();
            let done = trained(&settings(method), &held, None, &mut |progress| {
                if let Progress::Held { auc, .. } = progress {
                    areas.push(auc);
                }
            });
            let best = areas.iter().copied().fold(0.0, f64::max);
            assert!(best > 0.95, "{}: {areas:?}", method.name());
            assert!(done.trained > 0 && (done.trained == done.total) == (method == Method::Full), "{}", method.name());
        }
    }

    #[test]
    fn a_run_resumed_gives_the_tensors_of_one_that_was_not_interrupted() {
        let (dir, held) = (tempfile::tempdir().unwrap(), toy::rows(80, 2));
        for method in [Method::Full, Method::Lora] {
            let settings = Settings { epochs: 2, steps_between: 7, ..settings(method) };
            let whole = trained(&settings, &held, None, &mut |_| {});
            let place = dir.path().join(method.name());
            // Interrupted between two checkpoints: the steps after the first are done again.
            let stop = std::panic::catch_unwind(|| {
                trained(&settings, &held, Some(place.clone()), &mut |progress| {
                    assert!(!matches!(progress, Progress::Step { step: 10, .. }), "a machine that goes away");
                })
            });
            assert!(stop.is_err());
            let state = place.join("state.safetensors");
            let mut tensors = candle_core::safetensors::load(&state, &Device::Cpu).unwrap();
            let mut mark = tensors[MARK].to_vec1::<f64>().unwrap();
            assert!(mark[4] > 1e6, "the memory of the process that stopped is there: {mark:?}");
            mark[4] = 9e12;
            tensors.insert(MARK.to_owned(), Tensor::from_vec(mark, 5, &Device::Cpu).unwrap());
            candle_core::safetensors::save(&tensors, &state).unwrap();
            let mut first = None;
            let resumed = trained(&settings, &held, Some(place), &mut |progress| {
                if let Progress::Step { step, .. } = progress {
                    first.get_or_insert(step);
                }
            });
            assert_eq!((first, resumed.steps), (Some(8), whole.steps));
            assert_eq!(resumed.bytes, 9_000_000_000_000, "what another process held counts");
            assert_eq!(resumed.weights.names(), whole.weights.names());
            for name in whole.weights.names() {
                let values = |run: &Trained| run.weights.stored(&name).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
                assert_eq!(values(&resumed), values(&whole), "{} {name}", method.name());
            }
        }
    }

    #[test]
    fn a_run_stops_at_its_steps_and_when_it_gets_no_better() {
        let (held, few) = (toy::rows(80, 2), Settings { steps_max: 5, ..settings(Method::Head) });
        assert_eq!(trained(&few, &held, None, &mut |_| {}).steps, 5);
        let idle = Settings { rate: Some(0.0), steps_between: 2, patience: 3, ..settings(Method::Head) };
        assert_eq!(trained(&idle, &held, None, &mut |_| {}).steps, 8, "the first evaluation is the best; three more are not better");
        let none = Settings { epochs: 0, ..settings(Method::Full) };
        assert_eq!(trained(&none, &held, None, &mut |_| {}).steps, 0);
    }
}
