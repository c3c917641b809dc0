//! Checkpoints: a run that was interrupted goes on at its last evaluation, with the same steps as if nothing had happened.
//!
//! A folder holds `run.json`, what the run works on; `best.safetensors`, the tensors that did best on the rows held out; and `state.safetensors`: the
//! parameters, their moments and `mark`, `[step, auc, worse, seconds, bytes]` in f64. The state is written last and renamed, so that it is
//! whole or the one before it. A best that is newer than the state is found again by the same steps.

use std::{collections::HashMap, path::Path};

use candle_core::{Device, Tensor};

use super::adamw::AdamW;
use crate::{
    error::{ModelError, told},
    weights::Weights,
};

/// The tensor that says how far a run is.
pub(super) const MARK: &str = "mark";

/// How far a run is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Mark {
    /// Steps done.
    pub step: usize,
    /// The best area under the ROC curve so far.
    pub auc: f64,
    /// Evaluations since then.
    pub worse: usize,
    /// Seconds that the steps took.
    pub seconds: f64,
    /// The most memory that a process of the run held, in bytes; 0: not known.
    pub bytes: u64,
}

/// What a run keeps beside the tensors in training.
#[derive(Default)]
pub struct Saved {
    /// How far it is.
    pub mark: Mark,
    /// The tensors that did best; none before the first evaluation.
    pub best: Option<Weights>,
    /// The step after which it was last evaluated.
    pub judged: Option<usize>,
}

impl Saved {
    /// The state of the run in `dir`, put into the optimiser; a run at its start when there is none. `run` says in words of its own what
    /// the run works on.
    ///
    /// # Errors
    /// A checkpoint of another run, or one that is broken.
    pub fn open(dir: Option<&Path>, run: &str, optimiser: &mut AdamW) -> Result<Self, ModelError> {
        let Some(dir) = dir else { return Ok(Self::default()) };
        let (path, state) = (dir.join("run.json"), dir.join("state.safetensors"));
        if !state.exists() {
            std::fs::create_dir_all(dir).map_err(|e| ModelError::file(dir, e))?;
            std::fs::write(&path, run).map_err(|e| ModelError::file(&path, e))?;
            return Ok(Self::default());
        }
        let found = std::fs::read_to_string(&path).map_err(|e| ModelError::file(&path, e))?;
        if found != run {
            return Err(ModelError::content(
                &path,
                "the checkpoint is of a run with other settings, rows or weights; give another --out, or remove the folder",
            ));
        }
        let broken = |e: candle_core::Error| ModelError::content(&state, format!("{}; remove the folder to start again", told(&e)));
        let tensors = candle_core::safetensors::load(&state, &Device::Cpu).map_err(broken)?;
        let mark = Mark::of(&tensors).map_err(broken)?;
        optimiser.restore(&tensors, mark.step).map_err(broken)?;
        let best = dir.join("best.safetensors");
        let best = if best.exists() { Some(Weights::open(&best)?) } else { None };
        Ok(Self { mark, best, judged: Some(mark.step) })
    }

    /// Writes the state of a run.
    ///
    /// # Errors
    /// What cannot be written.
    pub fn write(&self, dir: &Path, optimiser: &AdamW) -> Result<(), ModelError> {
        let put = |fresh: &Path, name: &str| std::fs::rename(fresh, dir.join(name)).map_err(|e| ModelError::file(dir, e));
        let fresh = dir.join("new");
        // Only a best of this very step is new.
        if let Some(best) = self.best.as_ref().filter(|_| self.mark.worse == 0) {
            best.save(&fresh, false)?;
            put(&fresh, "best.safetensors")?;
        }
        let Mark { step, auc, worse, seconds, bytes } = self.mark;
        let mut tensors: HashMap<String, Tensor> = optimiser.state();
        tensors.insert(MARK.into(), Tensor::from_vec(vec![step as f64, auc, worse as f64, seconds, bytes as f64], 5, &Device::Cpu)?);
        candle_core::safetensors::save(&tensors, &fresh)?;
        put(&fresh, "state.safetensors")
    }
}

impl Mark {
    fn of(tensors: &HashMap<String, Tensor>) -> candle_core::Result<Self> {
        let numbers = match tensors.get(MARK) {
            Some(mark) => mark.to_vec1::<f64>()?,
            None => Vec::new(),
        };
        // A checkpoint of an older program has no bytes.
        let [step, auc, worse, seconds, ref rest @ ..] = numbers[..] else {
            candle_core::bail!("the checkpoint does not say how far it is")
        };
        let bytes = rest.first().map_or(0, |bytes| *bytes as u64);
        Ok(Self { step: step as usize, auc, worse: worse as usize, seconds, bytes })
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::*;
    use crate::train::adamw::Parameter;

    fn optimiser() -> AdamW {
        let var = Var::from_vec(vec![5f32, -3.0], 2, &Device::Cpu).unwrap();
        AdamW::new(vec![Parameter { name: "x".into(), var, rate: 1.0, decays: false }], 0.01).unwrap()
    }

    #[test]
    fn a_state_comes_back_with_its_mark_and_other_settings_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let at = Some(dir.path());
        let mut saved = Saved::open(at, "one", &mut optimiser()).unwrap();
        assert_eq!((saved.mark, saved.judged), (Mark::default(), None));
        saved.mark = Mark { step: 70, auc: 0.75, worse: 2, seconds: 1.5, bytes: 3 << 30 };
        saved.write(dir.path(), &optimiser()).unwrap();
        let found = Saved::open(at, "one", &mut optimiser()).unwrap();
        assert_eq!((found.mark, found.best.is_none()), (saved.mark, true));
        assert!(Saved::open(at, "another", &mut optimiser()).err().unwrap().to_string().contains("other settings"));
    }

    #[test]
    fn a_state_that_is_cut_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let saved = Saved::open(Some(dir.path()), "one", &mut optimiser()).unwrap();
        saved.write(dir.path(), &optimiser()).unwrap();
        std::fs::write(dir.path().join("state.safetensors"), "cut").unwrap();
        let error = Saved::open(Some(dir.path()), "one", &mut optimiser()).err().unwrap().to_string();
        assert!(error.contains("state.safetensors") && error.contains("start again"), "{error}");
    }
}
