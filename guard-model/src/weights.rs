//! `model.safetensors`: names to tensors.
//!
//! Besides plain `f32`, `f16` and `bf16` tensors a matrix may be stored in eight bits: `NAME` as `u8` with the zero at 128 and
//! `NAME.scale` as `f32`, one for each row, so that `weight = (byte - 128) * scale`. The same weights are used on every device.

use std::{collections::HashMap, path::Path};

use candle_core::{DType, Device, Result, Tensor};

use crate::error::{ModelError, told};

/// The zero of a stored byte.
const ZERO: f64 = 128.0;

/// Tensors by their names, as stored.
#[derive(Clone, Debug, Default)]
pub struct Weights {
    tensors: HashMap<String, Tensor>,
}

impl Weights {
    /// Reads a file; nothing is widened yet. A `bert.` in front of the names is taken off.
    ///
    /// # Errors
    /// A file that cannot be read, is cut short, or is no safetensors file.
    pub fn open(path: &Path) -> std::result::Result<Self, ModelError> {
        let stored = candle_core::safetensors::load(path, &Device::Cpu)
            .map_err(|e| ModelError::content(path, format!("no safetensors file: {}", told(&e))))?;
        let plain = |name: String| name.strip_prefix("bert.").map_or(name.clone(), str::to_owned);
        Ok(Self { tensors: stored.into_iter().map(|(name, tensor)| (plain(name), tensor)).collect() })
    }

    /// Of tensors that are at hand.
    pub fn of(tensors: HashMap<String, Tensor>) -> Self {
        Self { tensors }
    }

    /// Writes the tensors; matrices with `bytes`, the others in `f32`.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn save(&self, path: &Path, bytes: bool) -> std::result::Result<(), ModelError> {
        let mut stored = HashMap::new();
        for (name, tensor) in &self.tensors {
            let tensor = tensor.to_dtype(DType::F32)?;
            if bytes && tensor.rank() == 2 {
                let (values, scale) = narrow(&tensor)?;
                stored.insert(format!("{name}.scale"), scale);
                stored.insert(name.clone(), values);
            } else {
                stored.insert(name.clone(), tensor);
            }
        }
        candle_core::safetensors::save(&stored, path).map_err(|e| ModelError::file(path, told(&e)))
    }

    /// True when there is a tensor of that name.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// All names, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.tensors.keys().cloned().collect();
        names.sort();
        names
    }

    /// The same without the scales of matrices in eight bits.
    pub fn unscaled_names(&self) -> Vec<String> {
        let is_scale = |name: &String| name.strip_suffix(".scale").is_some_and(|of| self.has(of));
        self.names().into_iter().filter(|name| !is_scale(name)).collect()
    }

    /// A tensor as it is stored.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn stored(&self, name: &str) -> Result<&Tensor> {
        self.tensors.get(name).ok_or_else(|| candle_core::Error::Msg(format!("there is no tensor {name}")))
    }

    /// A tensor of this shape, in `f32`.
    ///
    /// # Errors
    /// When there is none, or it has another shape.
    pub fn wide(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let tensor = self.stored(name)?;
        if tensor.dims() != shape {
            return Err(candle_core::Error::Msg(format!("tensor {name} has the shape {:?}, not {shape:?}", tensor.dims())));
        }
        if tensor.dtype() != DType::U8 {
            return tensor.to_dtype(DType::F32);
        }
        (tensor.to_dtype(DType::F32)? - ZERO)?.broadcast_mul(&self.scale(name, shape[0])?.unsqueeze(1)?)
    }

    /// The scales of a matrix that is stored in eight bits, one for each row.
    ///
    /// # Errors
    /// When there are none, or not `rows`.
    pub fn scale(&self, name: &str, rows: usize) -> Result<Tensor> {
        let scale = self.stored(&format!("{name}.scale"))?.to_dtype(DType::F32)?;
        if scale.dims() == [rows] { Ok(scale) } else { Err(candle_core::Error::Msg(format!("tensor {name}.scale has not {rows} entries"))) }
    }
}

/// A matrix in eight bits: bytes with the zero at 128, and a scale for each row.
fn narrow(matrix: &Tensor) -> Result<(Tensor, Tensor)> {
    let most = matrix.abs()?.max_keepdim(1)?;
    let scale = (most / 127.0)?.maximum(1e-12)?;
    let values = (matrix.broadcast_div(&scale)?.round()? + ZERO)?.to_dtype(DType::U8)?;
    Ok((values, scale.squeeze(1)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensors() -> HashMap<String, Tensor> {
        let matrix = Tensor::randn(0f32, 1f32, (6, 32), &Device::Cpu).unwrap();
        HashMap::from([
            ("bert.a.weight".to_owned(), matrix.clone()),
            ("bert.a.bias".to_owned(), matrix.get(0).unwrap()),
            ("bert.zero.weight".to_owned(), matrix.zeros_like().unwrap()),
        ])
    }

    #[test]
    fn bytes_come_back_within_half_a_step_and_vectors_exactly() {
        let (dir, kept) = (tempfile::tempdir().unwrap(), tensors());
        let path = dir.path().join("model.safetensors");
        Weights::of(kept.clone()).save(&path, true).unwrap();
        let read = Weights::open(&path).unwrap();
        let rows: Vec<Vec<f32>> = kept["bert.a.weight"].to_vec2().unwrap();
        let back: Vec<Vec<f32>> = read.wide("a.weight", &[6, 32]).unwrap().to_vec2().unwrap();
        for (row, back) in rows.iter().zip(&back) {
            let step = row.iter().fold(0f32, |most, x| most.max(x.abs())) / 127.0;
            assert!(row.iter().zip(back).all(|(x, y)| (x - y).abs() <= step * 0.51));
        }
        assert_eq!(read.wide("a.bias", &[32]).unwrap().to_vec1::<f32>().unwrap(), rows[0]);
        assert!(read.wide("zero.weight", &[6, 32]).unwrap().to_vec2::<f32>().unwrap().concat().iter().all(|x| *x == 0.0));
    }

    #[test]
    fn what_is_missing_misshapen_or_cut_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.safetensors");
        Weights::of(tensors()).save(&path, true).unwrap();
        let read = Weights::open(&path).unwrap();
        assert!(read.wide("b", &[1]).unwrap_err().to_string().contains("no tensor b"));
        assert!(read.wide("a.weight", &[32, 6]).unwrap_err().to_string().contains("a.weight"));
        let bytes = std::fs::read(&path).unwrap();
        for length in [0, 7, 100, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..length]).unwrap();
            assert!(Weights::open(&path).is_err(), "{length} bytes");
        }
    }
}
