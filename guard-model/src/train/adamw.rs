//! AdamW (Loshchilov and Hutter, arXiv:1711.05101) whose moments can be saved, so that a run can go on where it stopped.

use std::collections::HashMap;

use candle_core::{CpuStorage, InplaceOp2, InplaceOp3, Layout, Result, Tensor, Var, backprop::GradStore, bail};
use rayon::prelude::*;

/// Decay of the mean of gradients, and of the mean of their squares.
const BETAS: (f64, f64) = (0.9, 0.999);
const EPSILON: f64 = 1e-8;
/// Gradients are scaled down to this length.
const NORM_MAX: f64 = 1.0;
/// Floats of one task.
const TASK: usize = 1 << 16;

/// A tensor that is trained.
pub struct Parameter {
    /// Its name in the weights.
    pub name: String,
    /// The tensor.
    pub var: Var,
    /// The run's learning rate is multiplied by it.
    pub rate: f64,
    /// True for matrices: their weights decay.
    pub decays: bool,
}

/// The optimiser.
pub struct AdamW {
    parameters: Vec<Parameter>,
    moments: Vec<[Tensor; 2]>,
    steps: usize,
    decay: f64,
}

impl AdamW {
    /// Starts with moments of zero.
    ///
    /// # Errors
    /// No memory.
    pub fn new(parameters: Vec<Parameter>, decay: f64) -> Result<Self> {
        let moments = parameters.iter().map(|p| Ok([p.var.zeros_like()?, p.var.zeros_like()?])).collect::<Result<_>>()?;
        Ok(Self { parameters, moments, steps: 0, decay })
    }

    /// Takes one step at this learning rate. Gives the gradients' length before it was cut to 1.
    ///
    /// # Errors
    /// What the device says.
    pub fn step(&mut self, gradients: &GradStore, rate: f64) -> Result<f64> {
        self.steps += 1;
        let mut squares = 0.0;
        for p in &self.parameters {
            if let Some(g) = gradients.get(p.var.as_tensor()) {
                squares += f64::from(g.sqr()?.sum_all()?.to_scalar::<f32>()?);
            }
        }
        let norm = squares.sqrt();
        if !norm.is_finite() {
            bail!("the gradient is not finite; a lower learning rate helps");
        }
        let scale = (NORM_MAX / norm.max(1e-12)).min(1.0);
        let n = self.steps as i32;
        let corrections = (1.0 - BETAS.0.powi(n), 1.0 - BETAS.1.powi(n));
        for (p, [mean, square]) in self.parameters.iter().zip(&self.moments) {
            let Some(g) = gradients.get(p.var.as_tensor()) else { continue };
            let g = (g.contiguous()? * scale)?;
            mean.inplace_op2(&g, &Moment { beta: BETAS.0 as f32, squared: false })?;
            square.inplace_op2(&g, &Moment { beta: BETAS.1 as f32, squared: true })?;
            let rate = rate * p.rate;
            let update = Update { rate: rate as f32, decay: if p.decays { (rate * self.decay) as f32 } else { 0.0 }, corrections };
            p.var.as_tensor().inplace_op3(mean, square, &update)?;
        }
        Ok(norm)
    }

    /// Everything that a run needs to go on: parameters and moments by name.
    pub fn state(&self) -> HashMap<String, Tensor> {
        let mut state = HashMap::new();
        for (p, [mean, square]) in self.parameters.iter().zip(&self.moments) {
            state.insert(p.name.clone(), p.var.as_tensor().clone());
            state.insert(format!("{}.mean", p.name), mean.clone());
            state.insert(format!("{}.square", p.name), square.clone());
        }
        state
    }

    /// Goes on from a state that [`AdamW::state`] gave after `steps`.
    ///
    /// # Errors
    /// A tensor that is missing or has another shape.
    pub fn restore(&mut self, state: &HashMap<String, Tensor>, steps: usize) -> Result<()> {
        let of = |name: String| state.get(&name).cloned().ok_or_else(|| candle_core::Error::Msg(format!("the checkpoint lacks {name}")));
        for (p, moments) in self.parameters.iter().zip(&mut self.moments) {
            p.var.set(&of(p.name.clone())?)?;
            *moments = [of(format!("{}.mean", p.name))?, of(format!("{}.square", p.name))?];
        }
        self.steps = steps;
        Ok(())
    }
}

fn floats<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    let CpuStorage::F32(values) = storage else { bail!("expected f32") };
    let Some((start, end)) = layout.contiguous_offsets() else { bail!("expected a contiguous tensor") };
    Ok(&mut values[start..end])
}

fn read<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let CpuStorage::F32(values) = storage else { bail!("expected f32") };
    let Some((start, end)) = layout.contiguous_offsets() else { bail!("expected a contiguous tensor") };
    Ok(&values[start..end])
}

struct Moment {
    beta: f32,
    squared: bool,
}

impl InplaceOp2 for Moment {
    fn name(&self) -> &'static str {
        "adamw-moment"
    }

    fn cpu_fwd(&self, m: &mut CpuStorage, lm: &Layout, g: &CpuStorage, lg: &Layout) -> Result<()> {
        let (m, g, beta) = (floats(m, lm)?, read(g, lg)?, self.beta);
        m.par_chunks_mut(TASK).zip(g.par_chunks(TASK)).for_each(|(m, g)| {
            m.iter_mut().zip(g).for_each(|(m, g)| *m = beta * *m + (1.0 - beta) * if self.squared { g * g } else { *g });
        });
        Ok(())
    }
}

struct Update {
    rate: f32,
    decay: f32,
    corrections: (f64, f64),
}

impl InplaceOp3 for Update {
    fn name(&self) -> &'static str {
        "adamw-update"
    }

    fn cpu_fwd(&self, p: &mut CpuStorage, lp: &Layout, m: &CpuStorage, lm: &Layout, v: &CpuStorage, lv: &Layout) -> Result<()> {
        let (p, m, v) = (floats(p, lp)?, read(m, lm)?, read(v, lv)?);
        let (first, second) = ((1.0 / self.corrections.0) as f32, (1.0 / self.corrections.1) as f32);
        (p.par_chunks_mut(TASK), m.par_chunks(TASK), v.par_chunks(TASK)).into_par_iter().for_each(|(p, m, v)| {
            for i in 0..p.len() {
                p[i] -= self.decay * p[i] + self.rate * m[i] * first / ((v[i] * second).sqrt() + EPSILON as f32);
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn optimiser() -> AdamW {
        let var = Var::from_vec(vec![5f32, -3.0], 2, &Device::Cpu).unwrap();
        AdamW::new(vec![Parameter { name: "x".into(), var, rate: 1.0, decays: false }], 0.01).unwrap()
    }

    fn step(optimiser: &mut AdamW) {
        let x = optimiser.parameters[0].var.as_tensor().clone();
        let loss = (x - 1.0).unwrap().sqr().unwrap().sum_all().unwrap();
        optimiser.step(&loss.backward().unwrap(), 0.1).unwrap();
    }

    fn value(optimiser: &AdamW) -> Vec<f32> {
        optimiser.parameters[0].var.to_vec1().unwrap()
    }

    #[test]
    fn a_bowl_is_descended() {
        let mut optimiser = optimiser();
        (0..300).for_each(|_| step(&mut optimiser));
        assert!(value(&optimiser).iter().all(|x| (x - 1.0).abs() < 0.05), "{:?}", value(&optimiser));
    }

    #[test]
    fn a_run_restored_takes_the_same_steps() {
        let mut one = optimiser();
        (0..5).for_each(|_| step(&mut one));
        let mut two = optimiser();
        let state = one.state().into_iter().map(|(name, tensor)| (name, tensor.copy().unwrap())).collect();
        two.restore(&state, 5).unwrap();
        (0..5).for_each(|_| (step(&mut one), step(&mut two)).0);
        assert_eq!(value(&one), value(&two));
    }

    #[test]
    fn a_gradient_that_is_no_number_is_an_error() {
        let mut optimiser = optimiser();
        let x = optimiser.parameters[0].var.as_tensor().clone();
        let loss = (x.log().unwrap()).sum_all().unwrap();
        assert!(optimiser.step(&(loss * f64::NAN).unwrap().backward().unwrap(), 0.1).is_err());
    }
}
