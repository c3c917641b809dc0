//! More layers for a model, which go on from where it is: a deeper network that gives nearly the same scores, to be trained further.
//!
//! A new layer is a copy of one before it that adds nothing yet: the matrices that write to the residual stream are zero (as in Goyal et
//! al., "Accurate, Large Minibatch SGD", 2017, section 5.1, for residual blocks), so that only its two layer norms act, and these give back
//! what comes in, in the mean of the tokens. The copies are of the last layers in turn (Gong et al., "Efficient Training of BERT by
//! Progressively Stacking", 2019).

use std::collections::HashMap;
use std::path::Path;

use candle_core::Tensor;

use crate::{
    error::ModelError,
    folder::{Contents, Folder, check_result},
    weights::Weights,
};

/// What writes to the residual stream.
const WRITERS: [&str; 3] = ["attention.output.dense.", "output.dense.", "adapter.up."];

/// Writes `dir` with `layers` layers into the folder `out`, in `f32`, under another version if one is given.
///
/// # Errors
/// Not more layers than there are, more than twice as many, and what cannot be read or written.
pub fn deepen(dir: &Path, layers: usize, version: Option<&str>, out: &Path) -> Result<(), ModelError> {
    check_result([dir], version, out)?;
    let Folder { mut config, weights, .. } = Folder::open(dir)?;
    let known = config.num_hidden_layers;
    if layers <= known || layers > 2 * known {
        return Err(ModelError::Setting(format!("--layers {layers}: the model has {known}; give from {} to {}", known + 1, 2 * known)));
    }
    let mut tensors: HashMap<String, Tensor> = HashMap::new();
    for name in weights.unscaled_names() {
        let dims = weights.stored(&name)?.dims().to_vec();
        tensors.insert(name.clone(), weights.wide(&name, &dims)?);
    }
    let prefix = |layer: usize| format!("encoder.layer.{layer}.");
    let (scale, shift) = norm_that_keeps(&tensors, &prefix(known - 1))?;
    for layer in known..layers {
        let source = prefix(layer - (layers - known));
        for (name, part) in weights.unscaled_names().iter().filter_map(|name| Some((name, name.strip_prefix(&source)?))) {
            let copy = &tensors[name];
            let tensor = match part {
                "attention.output.LayerNorm.weight" | "output.LayerNorm.weight" => copy.affine(0.0, scale)?,
                "attention.output.LayerNorm.bias" | "output.LayerNorm.bias" => copy.affine(0.0, shift)?,
                _ if WRITERS.iter().any(|writer| part.starts_with(writer)) => copy.zeros_like()?,
                _ => copy.clone(),
            };
            tensors.insert(prefix(layer) + part, tensor);
        }
    }
    config.num_hidden_layers = layers;
    if let Some(version) = version {
        config.guard.version = version.to_owned();
    }
    Contents { config: &config, tokenizer: &Folder::words(dir)?, weights: &Weights::of(tensors), bytes: false }.write(out)
}

/// Weight and bias of a layer norm that gives back what a layer puts out: its values have, over the width, nearly the same deviation and
/// mean for every token.
fn norm_that_keeps(tensors: &HashMap<String, Tensor>, last: &str) -> Result<(f64, f64), ModelError> {
    let values = |name: &str| -> Result<Vec<f64>, ModelError> {
        let tensor = tensors.get(&format!("{last}output.LayerNorm.{name}"));
        let tensor = tensor.ok_or_else(|| ModelError::Setting(format!("there is no tensor {last}output.LayerNorm.{name}")))?;
        Ok(tensor.to_vec1::<f32>()?.into_iter().map(f64::from).collect())
    };
    let (weight, bias) = (values("weight")?, values("bias")?);
    let mean = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / weight.len() as f64;
    let shift = mean(&mut bias.iter().copied());
    let variance = mean(&mut weight.iter().map(|w| w * w)) + mean(&mut bias.iter().map(|b| (b - shift) * (b - shift)));
    Ok((variance.sqrt(), shift))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Place, Speaker, model::Model, toy};

    #[test]
    fn a_deeper_model_goes_on_from_where_the_other_is() {
        let [one, two, out] = [(); 3].map(|()| tempfile::tempdir().unwrap());
        toy::headed(one.path());
        let layers = Folder::open(one.path()).unwrap().config.num_hidden_layers;
        deepen(one.path(), layers + 1, Some("toy-deep"), two.path()).unwrap();
        let deep = Folder::open(two.path()).unwrap();
        assert_eq!((deep.config.num_hidden_layers, deep.config.guard.version.as_str()), (layers + 1, "toy-deep"));
        let score = |dir: &Path, text: &str| Model::open(dir, Place::Cpu(1)).unwrap().score(Speaker::User, text).unwrap().attack();
        for row in toy::rows(12, 5) {
            let (shallow, deep) = (score(one.path(), &row.text), score(two.path(), &row.text));
            assert!((shallow - deep).abs() < 1e-3, "{shallow} {deep}: {}", row.text);
        }
        for wrong in [0, 1, layers, 2 * layers + 1] {
            let error = deepen(one.path(), wrong, None, out.path()).unwrap_err().to_string();
            assert!(error.contains(&format!("give from {} to {}", layers + 1, 2 * layers)), "{error}");
        }
        assert!(deepen(one.path(), layers + 1, None, one.path()).unwrap_err().to_string().contains("the model itself"));
    }
}
