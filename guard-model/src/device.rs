//! The candle encoder as a network to serve: on a GPU, and on the CPU for weights that are not packed.

use candle_core::{DType, Device, Result, Tensor};

use crate::{
    Scores,
    config::NetworkConfig,
    encoder::{Batch, Encoder},
    network::{Network, NetworkError, Verdict, Window},
    weights::Weights,
};

/// Tokens of a batch on the device, padding included.
const BATCH_TOKENS_MAX: usize = 32_768;
/// A window shorter than this share of the longest one of its batch goes into another: padding is work for nothing.
const SHORTEST_SHARE: f64 = 0.7;

/// The network on a device.
pub struct DeviceNetwork {
    encoder: Encoder,
    device: Device,
    temperature: f64,
}

/// The `n`th GPU.
///
/// # Errors
/// A program without GPU support, or no such GPU.
pub fn gpu(n: usize) -> Result<Device> {
    if cfg!(feature = "cuda") {
        return Device::new_cuda(n);
    }
    candle_core::bail!("this program was built without GPU support; build it with `--features cuda`, or set the guard's device to cpu")
}

impl DeviceNetwork {
    /// Puts the network of `config` on `device`: in half precision on a GPU, in `f32` on a CPU.
    ///
    /// # Errors
    /// A tensor that is missing or has another shape, or no memory on the device.
    pub fn new(weights: &Weights, config: &NetworkConfig, device: &Device) -> Result<Self> {
        let dtype = if device.is_cpu() { DType::F32 } else { DType::F16 };
        Ok(Self { encoder: Encoder::new(weights, config, device, dtype)?, device: device.clone(), temperature: config.guard.temperature })
    }

    /// Verdicts of windows of like length; the numbers leave the device once.
    fn batch(&self, windows: &[&Window]) -> Result<Vec<(Scores, Vec<f32>)>> {
        let outputs = self.encoder.forward(&Batch::of(windows, &self.device, self.encoder.dtype())?)?;
        let probabilities = candle_nn::ops::softmax_last_dim(&(outputs.logits / self.temperature)?)?;
        let rows: Vec<Vec<f32>> = Tensor::cat(&[&probabilities, &outputs.vector], 1)?.to_vec2()?;
        Ok(rows.into_iter().map(|row| (Scores { benign: row[0], injection: row[1], jailbreak: row[2] }, row[3..].to_vec())).collect())
    }
}

/// Runs of `order` (indices of windows, the longest first) that fit a batch and are of like length.
fn buckets<'a>(order: &'a [usize], windows: &[Window]) -> impl Iterator<Item = &'a [usize]> {
    let mut rest = order;
    let lengths: Vec<usize> = order.iter().map(|at| windows[*at].ids.len()).collect();
    std::iter::from_fn(move || {
        let from = lengths.len() - rest.len();
        let longest = *lengths.get(from)?;
        let fits =
            |(n, length): &(usize, &usize)| (n + 1) * longest <= BATCH_TOKENS_MAX && **length as f64 >= SHORTEST_SHARE * longest as f64;
        let count = lengths[from..].iter().enumerate().take_while(fits).count().max(1);
        let (some, others) = rest.split_at(count);
        rest = others;
        Some(some)
    })
}

impl Network for DeviceNetwork {
    fn run(&mut self, windows: &[Window]) -> std::result::Result<Vec<Verdict>, NetworkError> {
        let mut order: Vec<usize> = (0..windows.len()).collect();
        order.sort_by_key(|at| std::cmp::Reverse(windows[*at].ids.len()));
        let mut verdicts = vec![None; windows.len()];
        for some in buckets(&order, windows) {
            let batch: Vec<&Window> = some.iter().map(|at| &windows[*at]).collect();
            let judged = self.batch(&batch).map_err(|e| NetworkError::Device(e.to_string()))?;
            for (at, (scores, vector)) in some.iter().zip(judged) {
                if !scores.is_sound() || vector.iter().any(|x| !x.is_finite()) {
                    return Err(NetworkError::NotFinite);
                }
                verdicts[*at] = Some(Verdict { scores, vector });
            }
        }
        verdicts.into_iter().collect::<Option<_>>().ok_or_else(|| NetworkError::Device("it gave fewer verdicts than windows".into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_of_like_length_go_together_and_none_is_left_out() {
        let windows: Vec<Window> = (0..300).map(|n| Window { ids: vec![1; 1 + (n * 37) % 128] }).collect();
        let mut order: Vec<usize> = (0..windows.len()).collect();
        order.sort_by_key(|at| std::cmp::Reverse(windows[*at].ids.len()));
        let mut seen = Vec::new();
        for some in buckets(&order, &windows) {
            let lengths: Vec<usize> = some.iter().map(|at| windows[*at].ids.len()).collect();
            assert!(lengths[lengths.len() - 1] as f64 >= SHORTEST_SHARE * lengths[0] as f64);
            assert!(lengths[0] * lengths.len() <= BATCH_TOKENS_MAX);
            seen.extend_from_slice(some);
        }
        assert_eq!(seen, order);
    }
}
