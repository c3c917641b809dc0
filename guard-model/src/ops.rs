//! What an encoder does between its matrix products, each as one pass over memory with a backward pass of its own.
//!
//! candle composes a layer norm, a GELU or a masked softmax of many passes, each on one core; here one pass on all cores does it.
//! On another device than the CPU the composed forms of candle are used.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, DType, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use crate::math::{self, widest};

/// Floats that one task takes: less would cost more to hand out than to do.
const TASK: usize = 1 << 14;

/// The floats of a contiguous CPU tensor.
fn floats<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let CpuStorage::F32(values) = storage else { bail!("expected f32 on the CPU") };
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&values[start..end]),
        None => bail!("expected a contiguous tensor"),
    }
}

fn made(values: Vec<f32>, layout: &Layout) -> Result<(CpuStorage, Shape)> {
    Ok((CpuStorage::F32(values), layout.shape().clone()))
}

/// True when the fused form can be used.
fn fused(x: &Tensor) -> bool {
    x.device().is_cpu() && x.dtype() == DType::F32
}

/// Rows of a task, for rows of `width`.
fn rows(width: usize) -> usize {
    (TASK / width.max(1)).max(1)
}

widest! { fn gelu_rows(x: &[f32], y: &mut [f32]) = x.iter().zip(y).for_each(|(x, y)| *y = math::gelu(*x)) }
widest! {
    fn gelu_back(x: &[f32], g: &[f32], y: &mut [f32]) = for ((x, g), y) in x.iter().zip(g).zip(y) {
        let (below, density) = math::normal(*x);
        *y = g * (below + x * density);
    }
}

struct Gelu;

impl CustomOp1 for Gelu {
    fn name(&self) -> &'static str {
        "gelu"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = floats(storage, layout)?;
        let mut y = vec![0.0; x.len()];
        x.par_chunks(TASK).zip(y.par_chunks_mut(TASK)).for_each(|(x, y)| gelu_rows(x, y));
        made(y, layout)
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        x.apply_op2_no_bwd(&grad.contiguous()?, &GeluBack).map(Some)
    }
}

struct GeluBack;

impl CustomOp2 for GeluBack {
    fn name(&self) -> &'static str {
        "gelu-back"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, g: &CpuStorage, lg: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, g) = (floats(x, lx)?, floats(g, lg)?);
        let mut y = vec![0.0; x.len()];
        (x.par_chunks(TASK), g.par_chunks(TASK), y.par_chunks_mut(TASK)).into_par_iter().for_each(|(x, g, y)| gelu_back(x, g, y));
        made(y, lx)
    }
}

/// GELU in its exact form.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    if fused(x) { x.contiguous()?.apply_op1(Gelu) } else { x.gelu_erf() }
}

widest! {
    fn norm_rows(x: &[f32], gain: &[f32], bias: &[f32], epsilon: f32, y: &mut [f32]) = {
        y.copy_from_slice(x);
        y.chunks_exact_mut(gain.len()).for_each(|row| math::layer_norm(row, gain, bias, epsilon));
    }
}
widest! {
    // With n = (x - mean) / deviation and u = gain * g: dx = (u - mean(u) - n mean(u n)) / deviation.
    fn norm_back(x: &[f32], gain: &[f32], g: &[f32], epsilon: f32, y: &mut [f32]) = {
        let width = gain.len();
        let count = width as f32;
        for ((x, g), y) in x.chunks_exact(width).zip(g.chunks_exact(width)).zip(y.chunks_exact_mut(width)) {
            let mean = math::sum(x, |x| x) / count;
            let scale = 1.0 / (math::sum(x, |x| (x - mean) * (x - mean)) / count + epsilon).sqrt();
            let flat = math::sum2(gain, g, |a, b| a * b) / count;
            for i in 0..width {
                y[i] = gain[i] * g[i];
            }
            let slope = math::sum2(y, x, |u, x| u * (x - mean)) * scale / count;
            for i in 0..width {
                y[i] = (y[i] - flat - (x[i] - mean) * scale * slope) * scale;
            }
        }
    }
}
widest! {
    // Adds to `into`: first the gains' gradient (g n), then the biases' (g).
    fn norm_back_gains(x: &[f32], g: &[f32], epsilon: f32, into: &mut [f32]) = {
        let width = into.len() / 2;
        let (gains, biases) = into.split_at_mut(width);
        for (x, g) in x.chunks_exact(width).zip(g.chunks_exact(width)) {
            let mean = math::sum(x, |x| x) / width as f32;
            let scale = 1.0 / (math::sum(x, |x| (x - mean) * (x - mean)) / width as f32 + epsilon).sqrt();
            for i in 0..width {
                gains[i] += g[i] * (x[i] - mean) * scale;
                biases[i] += g[i];
            }
        }
    }
}

struct LayerNorm {
    epsilon: f32,
}

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        gain: &CpuStorage,
        lgain: &Layout,
        bias: &CpuStorage,
        lbias: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, gain, bias) = (floats(x, lx)?, floats(gain, lgain)?, floats(bias, lbias)?);
        let (mut y, task) = (vec![0.0; x.len()], rows(gain.len()) * gain.len());
        x.par_chunks(task).zip(y.par_chunks_mut(task)).for_each(|(x, y)| norm_rows(x, gain, bias, self.epsilon, y));
        made(y, lx)
    }

    fn bwd(
        &self,
        x: &Tensor,
        gain: &Tensor,
        _: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let dx = x.apply_op3_no_bwd(gain, &grad, &NormBack { epsilon: self.epsilon })?;
        let both = x.apply_op2_no_bwd(&grad, &NormBackGains { epsilon: self.epsilon })?;
        Ok((Some(dx), Some(both.get(0)?), Some(both.get(1)?)))
    }
}

struct NormBack {
    epsilon: f32,
}

impl CustomOp3 for NormBack {
    fn name(&self) -> &'static str {
        "layer-norm-back"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        gain: &CpuStorage,
        lgain: &Layout,
        g: &CpuStorage,
        lg: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, gain, g) = (floats(x, lx)?, floats(gain, lgain)?, floats(g, lg)?);
        let (mut y, task) = (vec![0.0; x.len()], rows(gain.len()) * gain.len());
        (x.par_chunks(task), g.par_chunks(task), y.par_chunks_mut(task))
            .into_par_iter()
            .for_each(|(x, g, y)| norm_back(x, gain, g, self.epsilon, y));
        made(y, lx)
    }
}

struct NormBackGains {
    epsilon: f32,
}

impl CustomOp2 for NormBackGains {
    fn name(&self) -> &'static str {
        "layer-norm-back-gains"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, g: &CpuStorage, lg: &Layout) -> Result<(CpuStorage, Shape)> {
        let width = lx.shape().dims().last().copied().unwrap_or(1);
        let (x, g) = (floats(x, lx)?, floats(g, lg)?);
        let mut both = vec![0.0; 2 * width];
        norm_back_gains(x, g, self.epsilon, &mut both);
        Ok((CpuStorage::F32(both), Shape::from((2, width))))
    }
}

/// Layer norm over the last dimension.
pub fn layer_norm(x: &Tensor, gain: &Tensor, bias: &Tensor, epsilon: f64) -> Result<Tensor> {
    if fused(x) {
        return x.contiguous()?.apply_op3(gain, bias, LayerNorm { epsilon: epsilon as f32 });
    }
    // In f32 whatever the tensor's type is: a mean of squares in half precision is no mean.
    let wide = x.to_dtype(DType::F32)?;
    let centred = wide.broadcast_sub(&wide.mean_keepdim(candle_core::D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(candle_core::D::Minus1)?;
    let normed = centred.broadcast_div(&(variance + epsilon)?.sqrt()?)?.to_dtype(x.dtype())?;
    normed.broadcast_mul(gain)?.broadcast_add(bias)
}

widest! { fn bias_rows(x: &[f32], bias: &[f32], y: &mut [f32]) = {
    for (x, y) in x.chunks_exact(bias.len()).zip(y.chunks_exact_mut(bias.len())) {
        for i in 0..bias.len() {
            y[i] = x[i] + bias[i];
        }
    }
} }

struct AddBias;

impl CustomOp2 for AddBias {
    fn name(&self) -> &'static str {
        "add-bias"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, bias: &CpuStorage, lbias: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, bias) = (floats(x, lx)?, floats(bias, lbias)?);
        let (mut y, task) = (vec![0.0; x.len()], rows(bias.len()) * bias.len());
        x.par_chunks(task).zip(y.par_chunks_mut(task)).for_each(|(x, y)| bias_rows(x, bias, y));
        made(y, lx)
    }

    fn bwd(&self, _: &Tensor, bias: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let flat = grad.reshape(((), bias.elem_count()))?;
        // A sum over rows is a product with ones, which runs at the speed of products.
        let ones = Tensor::ones((1, flat.dim(0)?), DType::F32, grad.device())?;
        Ok((Some(grad.clone()), Some(ones.matmul(&flat)?.squeeze(0)?)))
    }
}

/// `x + bias` over the last dimension.
pub fn add_bias(x: &Tensor, bias: &Tensor) -> Result<Tensor> {
    if fused(x) { x.contiguous()?.apply_op2(bias, AddBias) } else { x.broadcast_add(bias) }
}

widest! { fn softmax_rows(x: &mut [f32], width: usize) = x.chunks_exact_mut(width).for_each(math::softmax) }
widest! { fn softmax_back(y: &[f32], g: &[f32], d: &mut [f32], width: usize) = {
    for ((y, g), d) in y.chunks_exact(width).zip(g.chunks_exact(width)).zip(d.chunks_exact_mut(width)) {
        let mean = math::sum2(y, g, |y, g| y * g);
        for i in 0..width {
            d[i] = y[i] * (g[i] - mean);
        }
    }
} }

/// Softmax over keys, of scores `[batch, heads, queries, keys]` and a mask `[batch, keys]` that is added to them.
struct MaskedSoftmax;

impl CustomOp2 for MaskedSoftmax {
    fn name(&self) -> &'static str {
        "masked-softmax"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, mask: &CpuStorage, lmask: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, heads, queries, keys) = lx.shape().dims4()?;
        let (x, mask) = (floats(x, lx)?, floats(mask, lmask)?);
        let (mut y, per_window) = (x.to_vec(), heads * queries * keys);
        y.par_chunks_mut(per_window).zip(mask.par_chunks(keys)).for_each(|(window, mask)| {
            window.chunks_exact_mut(keys).for_each(|row| row.iter_mut().zip(mask).for_each(|(x, m)| *x += m));
            softmax_rows(window, keys);
        });
        made(y, lx)
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, y: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((Some(y.apply_op2_no_bwd(&grad.contiguous()?, &SoftmaxBack)?), None))
    }
}

struct SoftmaxBack;

impl CustomOp2 for SoftmaxBack {
    fn name(&self) -> &'static str {
        "softmax-back"
    }

    fn cpu_fwd(&self, y: &CpuStorage, ly: &Layout, g: &CpuStorage, lg: &Layout) -> Result<(CpuStorage, Shape)> {
        let width = ly.shape().dims().last().copied().unwrap_or(1);
        let (y, g) = (floats(y, ly)?, floats(g, lg)?);
        let (mut d, task) = (vec![0.0; y.len()], rows(width) * width);
        (y.par_chunks(task), g.par_chunks(task), d.par_chunks_mut(task)).into_par_iter().for_each(|(y, g, d)| softmax_back(y, g, d, width));
        made(d, ly)
    }
}

/// Softmax over the last dimension of `scores`, `[batch, heads, queries, keys]`, after `mask`, `[batch, keys]`, is added.
pub fn masked_softmax(scores: &Tensor, mask: &Tensor) -> Result<Tensor> {
    if fused(scores) {
        return scores.contiguous()?.apply_op2(mask, MaskedSoftmax);
    }
    let scores = scores.broadcast_add(&mask.unsqueeze(1)?.unsqueeze(1)?.to_dtype(scores.dtype())?)?;
    candle_nn::ops::softmax_last_dim(&scores)
}

#[cfg(test)]
mod tests {
    use candle_core::{D, Device, Var};

    use super::*;

    fn random(shape: &[usize]) -> Var {
        Var::randn(0f32, 1f32, shape, &Device::Cpu).unwrap()
    }

    fn apart(a: &Tensor, b: &Tensor) -> f32 {
        (a - b).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar().unwrap()
    }

    /// The fused form and the composed one agree, in value and in every gradient.
    fn agree(inputs: &[&Var], fused: impl Fn() -> Tensor, composed: impl Fn() -> Tensor) {
        let (a, b) = (fused(), composed());
        assert!(apart(&a, &b) < 1e-5, "value");
        let pull = Tensor::randn(0f32, 1f32, a.shape(), &Device::Cpu).unwrap();
        let ga = (a * &pull).unwrap().sum_all().unwrap().backward().unwrap();
        let gb = (b * &pull).unwrap().sum_all().unwrap().backward().unwrap();
        for (n, input) in inputs.iter().enumerate() {
            assert!(apart(ga.get(input.as_tensor()).unwrap(), gb.get(input.as_tensor()).unwrap()) < 1e-4, "gradient {n}");
        }
    }

    #[test]
    fn fused_forms_are_their_compositions() {
        let (x, gain, bias) = (random(&[3, 5, 24]), random(&[24]), random(&[24]));
        agree(&[&x], || gelu(&x).unwrap(), || x.gelu_erf().unwrap());
        agree(&[&x, &bias], || add_bias(&x, &bias).unwrap(), || x.broadcast_add(&bias).unwrap());
        agree(
            &[&x, &gain, &bias],
            || layer_norm(&x, &gain, &bias, 1e-6).unwrap(),
            || {
                let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1).unwrap()).unwrap();
                let variance = (centred.sqr().unwrap().mean_keepdim(D::Minus1).unwrap() + 1e-6).unwrap();
                let normed = centred.broadcast_div(&variance.sqrt().unwrap()).unwrap();
                normed.broadcast_mul(&gain).unwrap().broadcast_add(&bias).unwrap()
            },
        );
    }

    #[test]
    fn a_masked_key_gets_no_weight_and_no_gradient() {
        let scores = random(&[2, 3, 4, 5]);
        let mask = Tensor::new(&[[0f32, 0.0, 0.0, 0.0, -1e9], [0.0, 0.0, -1e9, -1e9, -1e9]], &Device::Cpu).unwrap();
        let wide = mask.unsqueeze(1).unwrap().unsqueeze(1).unwrap();
        agree(
            &[&scores],
            || masked_softmax(&scores, &mask).unwrap(),
            || candle_nn::ops::softmax(&scores.broadcast_add(&wide).unwrap(), D::Minus1).unwrap(),
        );
        let y = masked_softmax(&scores, &mask).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(y[4], 0.0);
    }
}
