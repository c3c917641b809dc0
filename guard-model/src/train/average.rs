//! The mean of several models of one shape: points along one training run, or runs from one start, whose mean is often better than
//! each of them and costs nothing when it is used (Wortsman et al., "Model soups", 2022).

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::Tensor;

use crate::{
    config::NetworkConfig,
    error::ModelError,
    folder::{Contents, Folder, check_result},
    weights::Weights,
};

/// Most that the shares may differ from 1 together: they are written by hand, in decimals.
const SHARES_OFF_MAX: f64 = 1e-3;

/// A model, and its share in the mean.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// The model folder, with matrices in `f32`, `f16`, `bf16` or eight bits.
    pub dir: PathBuf,
    /// From 0 to 1; those of all parts are 1 together.
    pub share: f64,
}

/// Writes the mean of `parts` into the folder `out`, in `f32`, under another version if one is given. Its temperature is that of the first
/// part; `guard train --epochs 0` finds a new one.
///
/// # Errors
/// Shares that are not 1 together, models that differ in shape or vocabulary, and what cannot be read or written.
pub fn average(parts: &[Part], version: Option<&str>, out: &Path) -> Result<(), ModelError> {
    let Some(first) = parts.first() else { return Err(ModelError::Setting("there is no model to average".into())) };
    if let Some(Part { dir, share }) = parts.iter().find(|part| !(0.0..=1.0).contains(&part.share)) {
        return Err(ModelError::Setting(format!("{}: its share is {share}; it must be from 0 to 1", dir.display())));
    }
    let sum: f64 = parts.iter().map(|part| part.share).sum();
    if (sum - 1.0).abs() > SHARES_OFF_MAX {
        return Err(ModelError::Setting(format!("the shares must be 1 together; these are {sum}")));
    }
    check_result(parts.iter().map(|part| part.dir.as_path()), version, out)?;
    let (folder, tokenizer) = (Folder::open(&first.dir)?, Folder::words(&first.dir)?);
    let mut sums: HashMap<String, Tensor> = HashMap::new();
    for part in parts {
        let other = Folder::open(&part.dir)?;
        let differ = |what| Err(ModelError::content(&part.dir, format!("its {what} differs from that of {}", first.dir.display())));
        if shape(&other.config) != shape(&folder.config) {
            return differ("shape");
        }
        if Folder::words(&part.dir)? != tokenizer {
            return differ("vocabulary");
        }
        let names = other.weights.unscaled_names();
        if !sums.is_empty() && (names.len() != sums.len() || names.iter().any(|name| !sums.contains_key(name))) {
            return differ("set of tensors");
        }
        for name in names {
            let dims = other.weights.stored(&name)?.dims().to_vec();
            let tensor = (other.weights.wide(&name, &dims)? * (part.share / sum))?;
            if !tensor.flatten_all()?.to_vec1::<f32>()?.iter().all(|x| x.is_finite()) {
                return Err(ModelError::content(&part.dir, format!("tensor {name} holds a number that is not finite")));
            }
            let whole = match sums.get(&name) {
                Some(sum) if sum.dims() != dims => return differ("shape"),
                Some(sum) => (sum + tensor)?,
                None => tensor,
            };
            sums.insert(name, whole);
        }
    }
    let mut config = folder.config;
    if let Some(version) = version {
        config.guard.version = version.to_owned();
    }
    Contents { config: &config, tokenizer: &tokenizer, weights: &Weights::of(sums), bytes: false }.write(out)
}

/// What two models must have in common: all but the version and the temperature.
fn shape(config: &NetworkConfig) -> NetworkConfig {
    let mut config = config.clone();
    config.guard.version = String::new();
    config.guard.temperature = 1.0;
    config
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy;

    fn part(dir: &Path, share: f64) -> Part {
        Part { dir: dir.to_owned(), share }
    }

    /// One tensor's first numbers.
    fn numbers(dir: &Path) -> Vec<f32> {
        let weights = Folder::open(dir).unwrap().weights;
        let tensor = weights.stored("classifier.weight").unwrap();
        let dims = tensor.dims().to_vec();
        weights.wide("classifier.weight", &dims).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn the_mean_lies_between_its_parts_by_their_shares() {
        let [a, b, out] = [(); 3].map(|()| tempfile::tempdir().unwrap());
        toy::headed(a.path());
        toy::headed(b.path());
        // The same model, three times as strong in one tensor.
        let folder = Folder::open(b.path()).unwrap();
        let mut tensors: HashMap<String, Tensor> = HashMap::new();
        for name in folder.weights.names() {
            let tensor = folder.weights.stored(&name).unwrap();
            tensors.insert(name.clone(), if name == "classifier.weight" { (tensor * 3.0).unwrap() } else { tensor.clone() });
        }
        let tokenizer = std::fs::read_to_string(b.path().join("tokenizer.json")).unwrap();
        Contents { config: &folder.config, tokenizer: &tokenizer, weights: &Weights::of(tensors), bytes: false }.write(b.path()).unwrap();

        average(&[part(a.path(), 0.75), part(b.path(), 0.25)], Some("toy-mean"), out.path()).unwrap();
        let (alone, mean) = (numbers(a.path()), numbers(out.path()));
        assert!(alone.iter().zip(&mean).all(|(alone, mean)| (alone * 1.5 - mean).abs() < 1e-5), "{alone:?} {mean:?}");
        assert_eq!(Folder::open(out.path()).unwrap().config.guard.version, "toy-mean");
        average(&[part(a.path(), 1.0)], None, out.path()).unwrap();
        assert_eq!(numbers(out.path()), alone);
    }

    #[test]
    fn shares_and_models_that_do_not_fit_are_refused() {
        let [a, b, out] = [(); 3].map(|()| tempfile::tempdir().unwrap());
        toy::headed(a.path());
        toy::folder(b.path());
        let refused = |parts: &[Part]| average(parts, None, out.path()).unwrap_err().to_string();
        assert!(refused(&[]).contains("no model"));
        for share in [0.0, 0.4] {
            assert!(refused(&[part(a.path(), share)]).contains("1 together"), "{share}");
        }
        for share in [1.1, -1.0, f64::NAN, f64::INFINITY] {
            assert!(refused(&[part(a.path(), share)]).contains("from 0 to 1"), "{share}");
        }
        let taken = average(&[part(a.path(), 1.0)], None, a.path()).unwrap_err().to_string();
        assert!(taken.contains("is the model itself"), "{taken}");
        for version in ["", "a\nb"] {
            assert!(average(&[part(a.path(), 1.0)], Some(version), out.path()).unwrap_err().to_string().contains("--version"));
        }
        assert!(refused(&[part(a.path(), 0.5), part(b.path(), 0.5)]).contains("set of tensors"));
        let path = b.path().join("tokenizer.json");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text + "\n").unwrap();
        crate::manifest::Manifest::write(b.path()).unwrap();
        assert!(refused(&[part(a.path(), 0.5), part(b.path(), 0.5)]).contains("vocabulary"));
    }
}
