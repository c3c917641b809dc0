//! Evaluation: scores of rows and the figures of them; what a network costs.

pub mod card;
pub mod load;
pub mod metrics;
pub mod plot;
pub mod report;
pub mod scorer;
pub mod speed;
pub mod table;

use candle_core::{Device, Tensor};

use crate::{
    Speaker,
    encoder::{Batch, Encoder},
    error::ModelError,
    network::Window,
    tokenize::Tokenizer,
    train::data::Row,
};

/// Tokens of a batch in evaluation.
const BATCH_TOKENS: usize = 4096;

/// Softmax of `[batch, 3]` logits, as one array for each row.
///
/// # Errors
/// What the device says.
pub fn probabilities(logits: &Tensor) -> candle_core::Result<Vec<[f32; 3]>> {
    let rows: Vec<Vec<f32>> = candle_nn::ops::softmax_last_dim(&logits.contiguous()?)?.to_vec2()?;
    Ok(rows.into_iter().map(|row| [row[0], row[1], row[2]]).collect())
}

/// `1 - P(benign)` of `[batch, 3]` logits.
///
/// # Errors
/// What the device says.
pub fn attacks(logits: &Tensor) -> candle_core::Result<Vec<f32>> {
    Ok(probabilities(logits)?.into_iter().map(|[benign, ..]| 1.0 - benign).collect())
}

/// The logits of each row's worst window.
///
/// # Errors
/// What the device or the tokenizer says.
pub fn logits(
    encoder: &Encoder,
    tokenizer: &Tokenizer,
    rows: &[Row],
    device: &Device,
    tell: &mut dyn FnMut(usize),
) -> Result<Vec<[f32; 3]>, ModelError> {
    let mut windows: Vec<(usize, Window)> = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        let some = tokenizer.windows(row.speaker.unwrap_or(Speaker::User), &row.text).map_err(ModelError::Setting)?;
        windows.extend(some.into_iter().map(|window| (at, window)));
    }
    windows.sort_by_key(|(_, window)| window.ids.len());
    let (mut worst, mut rest, mut done) = (vec![([0f32; 3], f32::NEG_INFINITY); rows.len()], windows.as_slice(), 0);
    while let Some((_, last)) = rest.first() {
        let count = (BATCH_TOKENS / last.ids.len()).clamp(1, rest.len());
        let (some, others) = rest.split_at(count);
        rest = others;
        let batch: Vec<&Window> = some.iter().map(|(_, window)| window).collect();
        let logits = encoder.forward(&Batch::of(&batch, device, encoder.dtype())?)?.logits.detach();
        let scores = attacks(&logits)?;
        for (((at, _), logits), score) in some.iter().zip(logits.to_vec2::<f32>()?).zip(scores) {
            if score > worst[*at].1 {
                worst[*at] = ([logits[0], logits[1], logits[2]], score);
            }
        }
        done += count;
        tell(done);
    }
    Ok(worst.into_iter().map(|(logits, _)| logits).collect())
}

/// The probabilities of each row's worst window, in the order of the labels.
///
/// # Errors
/// What the device or the tokenizer says.
pub fn score(
    encoder: &Encoder,
    tokenizer: &Tokenizer,
    rows: &[Row],
    device: &Device,
    tell: &mut dyn FnMut(usize),
) -> Result<Vec<[f32; 3]>, ModelError> {
    let logits = logits(encoder, tokenizer, rows, device, tell)?;
    let count = logits.len();
    Ok(probabilities(&Tensor::from_vec(logits.concat(), (count, 3), &Device::Cpu)?)?)
}
