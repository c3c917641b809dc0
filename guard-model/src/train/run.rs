//! The training loop: batches, worst windows, steps, evaluation on sources that are held out, checkpoints.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

use super::{
    adamw::AdamW,
    batches::{Candidates, Changes, Examples},
    data::{Label, Row},
    method::{Method, Prepared, merged, prepare},
};
use crate::{
    config::NetworkConfig,
    encoder::{Batch, Encoder},
    error::ModelError,
    eval::{self, metrics},
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
    /// Times that the data is gone through.
    pub epochs: usize,
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
    /// Wall time of this process's part, in seconds.
    pub seconds: f64,
}

#[derive(Serialize, Deserialize)]
struct Mark {
    settings: Settings,
    step: usize,
    best: f64,
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

/// Trains, and gives the tensors that did best on the rows held out (the last ones when none are).
///
/// # Errors
/// No memory, a gradient that is no number, a checkpoint of other settings or that cannot be written.
pub fn run(material: &Material<'_>, settings: &Settings, device: &Device, tell: &mut dyn FnMut(Progress)) -> Result<Trained, ModelError> {
    let Material { config, tokenizer, .. } = material;
    let prepared = prepare(material.base, config, settings.method, settings.seed, device)?;
    let encoder = Encoder::new(&prepared.weights, config, device, DType::F32)?;
    let changes = Changes { masked: 0.08, planted: settings.planted, by_tool: 0.25 };
    let examples = Examples::of(material.rows, tokenizer, changes)?;
    let Prepared { weights, parameters } = prepared;
    let trained = parameters.iter().map(|p| p.var.elem_count()).sum();
    let total = weights.names().iter().filter_map(|name| weights.stored(name).ok()).map(Tensor::elem_count).sum();
    let mut state =
        Run { encoder, optimiser: AdamW::new(parameters, WEIGHT_DECAY)?, class: class_weights(examples.counts()), device, loss: 0.0 };
    let mut mark = Mark { settings: settings.clone(), step: 0, best: f64::NEG_INFINITY };
    let (mut kept, mut worse) = (None, 0);
    if let Some(dir) = &material.checkpoint
        && let Some(found) = resume(dir, settings, &mut state.optimiser)?
    {
        mark = found;
        kept = Weights::open(&dir.join("best.safetensors")).ok();
    }
    let (began, rate) = (Instant::now(), settings.rate.unwrap_or_else(|| settings.method.rate()));
    let per_epoch = examples.epoch(tokenizer, settings.seed, 0, settings.source_rows_max, settings.batch_tokens).len();
    let steps = per_epoch * settings.epochs;
    let mut at = 0;
    'run: for epoch in 0..settings.epochs {
        for batch in examples.epoch(tokenizer, settings.seed, epoch, settings.source_rows_max, settings.batch_tokens) {
            at += 1;
            if at <= mark.step {
                continue;
            }
            state.step(&batch, rate * schedule(at, steps.max(at)))?;
            mark.step = at;
            tell(Progress::Step { step: at, steps: steps.max(at), loss: state.loss });
            if !at.is_multiple_of(settings.steps_between) {
                continue;
            }
            let auc = if material.held.is_empty() { f64::NAN } else { held_out(&state.encoder, material, device)? };
            let best = auc.is_nan() || auc > mark.best;
            tell(Progress::Held { step: at, auc, best });
            if best {
                (mark.best, worse) = (auc.max(mark.best), 0);
                kept = (!auc.is_nan()).then(|| copied(&weights)).transpose()?;
            } else {
                worse += 1;
            }
            if let Some(dir) = &material.checkpoint {
                keep(dir, &mark, &state.optimiser, kept.as_ref())?;
            }
            if settings.patience > 0 && worse >= settings.patience {
                break 'run;
            }
        }
    }
    // The last steps count too, when they are better than what was kept.
    if let Some(best) = kept.take()
        && held_out(&state.encoder, material, device)? <= mark.best
    {
        return Ok(Trained { weights: merged(&best)?, trained, total, steps: mark.step, seconds: began.elapsed().as_secs_f64() });
    }
    Ok(Trained { weights: merged(&weights)?, trained, total, steps: mark.step, seconds: began.elapsed().as_secs_f64() })
}

struct Run<'a> {
    encoder: Encoder,
    optimiser: AdamW,
    class: [f32; 3],
    device: &'a Device,
    loss: f64,
}

impl Run<'_> {
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

fn keep(dir: &Path, mark: &Mark, optimiser: &AdamW, best: Option<&Weights>) -> Result<(), ModelError> {
    let wrong = |e: std::io::Error| ModelError::file(dir, e);
    std::fs::create_dir_all(dir).map_err(wrong)?;
    let fresh = dir.join("state.new");
    candle_core::safetensors::save(&optimiser.state(), &fresh)?;
    if let Some(best) = best {
        best.save(&dir.join("best.safetensors"), false)?;
    }
    std::fs::rename(&fresh, dir.join("state.safetensors")).map_err(wrong)?;
    let text = serde_json::to_string(mark).map_err(|e| ModelError::content(dir, e))?;
    std::fs::write(dir.join("mark.json"), text).map_err(wrong)
}

fn resume(dir: &Path, settings: &Settings, optimiser: &mut AdamW) -> Result<Option<Mark>, ModelError> {
    let path = dir.join("mark.json");
    let Ok(text) = std::fs::read_to_string(&path) else { return Ok(None) };
    let mark: Mark = serde_json::from_str(&text).map_err(|e| ModelError::content(&path, e))?;
    if mark.settings != *settings {
        return Err(ModelError::content(&path, "the checkpoint is of a run with other settings; give another --out, or remove it"));
    }
    let state = candle_core::safetensors::load(dir.join("state.safetensors"), &Device::Cpu)?;
    optimiser.restore(&state, mark.step)?;
    Ok(Some(mark))
}
