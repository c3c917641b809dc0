//! What a network takes and gives: windows of token ids in, scores and a sentence vector out.

use crate::Scores;

/// A piece of a text that fits the network, as token ids with the special tokens in place: `[CLS] [role] text [SEP]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// Ids into the vocabulary; never empty, never longer than the network's window.
    pub ids: Vec<u32>,
}

/// What the network says of one window.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The calibrated probabilities.
    pub scores: Scores,
    /// The sentence vector, `[hidden]`, of length 1: texts of like meaning lie close (dot product near 1).
    pub vector: Vec<f32>,
}

/// Why a batch has no verdicts.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum NetworkError {
    /// The device failed, or has no memory for the batch.
    #[error("the device failed: {0}")]
    Device(String),
    /// A number that is no probability came out: never "safe".
    #[error("the network gave a number that is no probability")]
    NotFinite,
}

/// A classifier network on its device. One thread owns it.
pub trait Network: Send {
    /// The verdicts of `windows`, in their order. A window's verdict does not depend on the others of its batch (to 1e-3).
    ///
    /// # Errors
    /// [`NetworkError`]; the network can be asked again.
    fn run(&mut self, windows: &[Window]) -> Result<Vec<Verdict>, NetworkError>;
}
