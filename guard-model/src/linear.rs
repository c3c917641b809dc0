//! A dense layer, plain or with a low-rank correction beside it (LoRA; Hu et al., arXiv:2106.09685), over weights that may be
//! kept in four bits while only the correction is trained (QLoRA; Dettmers et al., arXiv:2305.14314).

use std::sync::Arc;

use candle_core::{
    CpuStorage, CustomOp1, DType, Device, Layout, Result, Shape, Tensor,
    quantized::{GgmlDType, QTensor},
};

use crate::{ops, weights::Weights};

/// A dense layer, `[.., from]` to `[.., to]`.
pub struct Linear {
    weight: Weight,
    bias: Tensor,
    low_rank: Option<LowRank>,
}

enum Weight {
    /// `[to, from]`.
    Plain(Tensor),
    /// The same in four bits.
    Quantised(Arc<QTensor>),
}

/// `scale * up (down x)`: `down` is `[rank, from]`, `up` is `[to, rank]`.
struct LowRank {
    down: Tensor,
    up: Tensor,
    scale: f64,
}

/// Names of a layer's low-rank matrices, after the layer's own name.
pub const LOW_RANK: [&str; 2] = ["lora.down", "lora.up"];
/// A correction counts as `LORA_ALPHA / rank`.
pub const LORA_ALPHA: f64 = 16.0;
/// A layer of this name with `.quantised` in the weights keeps its matrix in four bits.
pub const QUANTISED: &str = "quantised";

impl Linear {
    /// Reads the layer `name`, with its correction if there is one.
    ///
    /// # Errors
    /// A tensor that is missing or has another shape.
    pub fn open(weights: &Weights, name: &str, (from, to): (usize, usize), device: &Device, dtype: DType) -> Result<Self> {
        let here = |tensor: Tensor| tensor.to_device(device)?.to_dtype(dtype);
        let matrix = here(weights.wide(&format!("{name}.weight"), &[to, from])?)?;
        let weight = match weights.has(QUANTISED) {
            true => Weight::Quantised(Arc::new(QTensor::quantize(&matrix, GgmlDType::Q4_0)?)),
            false => Weight::Plain(matrix),
        };
        let bias = here(weights.wide(&format!("{name}.bias"), &[to])?)?;
        let [down, up] = LOW_RANK.map(|part| format!("{name}.{part}"));
        let mut low_rank = None;
        if weights.has(&down) {
            let rank = weights.stored(&down)?.dim(0)?;
            let (down, up) = (here(weights.wide(&down, &[rank, from])?)?, here(weights.wide(&up, &[to, rank])?)?);
            low_rank = Some(LowRank { down, up, scale: LORA_ALPHA / rank as f64 });
        }
        Ok(Self { weight, bias, low_rank })
    }

    /// `W x + b`, and the correction.
    ///
    /// # Errors
    /// What the device says.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut shape = x.dims().to_vec();
        let flat = x.reshape(((), shape.pop().unwrap_or(1)))?;
        let mut y = match &self.weight {
            Weight::Plain(weight) => flat.matmul(&weight.t()?)?,
            Weight::Quantised(weight) => flat.apply_op1(Widened(weight.clone()))?,
        };
        if let Some(LowRank { down, up, scale }) = &self.low_rank {
            y = (y + (flat.matmul(&down.t()?)?.matmul(&up.t()?)? * *scale)?)?;
        }
        shape.push(y.dim(1)?);
        ops::add_bias(&y, &self.bias)?.reshape(shape)
    }
}

/// A product with a matrix in four bits, which is widened for the moment of the product, forwards and backwards.
struct Widened(Arc<QTensor>);

impl CustomOp1 for Widened {
    fn name(&self) -> &'static str {
        "widened-product"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let CpuStorage::F32(values) = storage else { candle_core::bail!("expected f32") };
        let Some((start, end)) = layout.contiguous_offsets() else { candle_core::bail!("expected a contiguous tensor") };
        let x = Tensor::from_slice(&values[start..end], layout.shape(), &Device::Cpu)?;
        let y = x.matmul(&self.0.dequantize(&Device::Cpu)?.t()?)?;
        let shape = y.shape().clone();
        Ok((CpuStorage::F32(y.flatten_all()?.to_vec1()?), shape))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        grad.matmul(&self.0.dequantize(grad.device())?).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use candle_core::Var;

    use super::*;

    fn layer(more: &[(&str, Tensor)]) -> HashMap<String, Tensor> {
        let random = |shape: &[usize]| Tensor::randn(0f32, 1f32, shape, &Device::Cpu).unwrap();
        let mut tensors = HashMap::from([("l.weight".to_owned(), random(&[8, 32])), ("l.bias".to_owned(), random(&[8]))]);
        tensors.extend(more.iter().map(|(name, tensor)| (format!("l.{name}"), tensor.clone())));
        tensors
    }

    fn open(tensors: HashMap<String, Tensor>) -> Linear {
        Linear::open(&Weights::of(tensors), "l", (32, 8), &Device::Cpu, DType::F32).unwrap()
    }

    fn apart(a: &Tensor, b: &Tensor) -> f32 {
        (a - b).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar().unwrap()
    }

    #[test]
    fn a_correction_is_added_at_its_scale() {
        let random = |shape: &[usize]| Tensor::randn(0f32, 1f32, shape, &Device::Cpu).unwrap();
        let (down, up, x) = (random(&[4, 32]), random(&[8, 4]), random(&[2, 3, 32]));
        let mut tensors = layer(&[("lora.down", down.clone()), ("lora.up", up.clone())]);
        let corrected = open(tensors.clone()).forward(&x).unwrap();
        assert_eq!(corrected.dims(), [2, 3, 8]);
        let merged = (&tensors["l.weight"] + (up.matmul(&down).unwrap() * (LORA_ALPHA / 4.0)).unwrap()).unwrap();
        tensors.retain(|name, _| !name.contains("lora"));
        tensors.insert("l.weight".into(), merged);
        assert!(apart(&corrected, &open(tensors).forward(&x).unwrap()) < 1e-3);
    }

    #[test]
    fn four_bits_are_near_and_let_gradients_through() {
        let x = Var::randn(0f32, 1f32, (3, 32), &Device::Cpu).unwrap();
        let mut tensors = layer(&[]);
        let plain = open(tensors.clone());
        tensors.insert(QUANTISED.into(), Tensor::zeros(1, DType::F32, &Device::Cpu).unwrap());
        let quantised = open(tensors);
        let (a, b) = (plain.forward(&x).unwrap(), quantised.forward(&x).unwrap());
        assert!(apart(&a, &b) > 0.0 && apart(&a, &b) < 3.0);
        let gradient = |y: Tensor| y.sum_all().unwrap().backward().unwrap().get(x.as_tensor()).unwrap().clone();
        assert!(apart(&gradient(a), &gradient(b)) < 2.0);
    }
}
