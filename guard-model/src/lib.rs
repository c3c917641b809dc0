//! The guard: a classifier of prompts behind one trait.
//!
//! The gateway asks for the scores of all texts of a request at once and gives a deadline; it gets one [`Judged`] per text or
//! [`Unavailable`] with the reason, never a wait past the deadline and never a silent "safe".
//!
//! A model is served by a [`Batcher`]: texts become [`Window`]s, windows of many requests become batches, and one thread runs them
//! through the [`Network`].

mod batcher;
mod cache;
pub mod config;
mod device;
mod edition;
pub mod encoder;
pub mod error;
pub mod eval;
pub mod folder;
mod known;
mod linear;
pub mod manifest;
mod math;
pub mod memory;
mod model;
mod network;
mod ops;
pub mod packed;
mod prepare;
mod scripted;
mod source;
pub mod tokenize;
#[cfg(test)]
mod toy;
pub mod train;
pub mod weights;

use std::sync::Arc;
use std::time::Instant;

use futures_util::future::BoxFuture;

pub use batcher::{Batcher, CircuitState, Failure, News, Serving, State, SwapError};
pub use device::{DeviceNetwork, gpu};
pub use known::{KnownAttack, KnownError, read_known};
pub use model::{CpuNetwork, Model, Place};
pub use network::{Network, NetworkError, Verdict, Window};
pub use prepare::StartError;
pub use scripted::{Phrase, Script, Scripted};
pub use source::{Build, Source, Windows};

/// Who speaks in a text. The same sentence is a request from a user and an attack in a tool's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Speaker {
    /// The operator's own instructions.
    System,
    /// The person or program that calls.
    User,
    /// An earlier answer of the model.
    Assistant,
    /// A tool result, a document, a tool's description.
    Tool,
}

/// One text to score.
#[derive(Clone, Debug)]
pub struct Input {
    /// Who speaks.
    pub speaker: Speaker,
    /// The whole text; it is never cut silently.
    pub text: String,
}

/// What the classifier says of one text. The three probabilities add up to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scores {
    /// P(benign), 0..=1.
    pub benign: f32,
    /// P(injection), 0..=1.
    pub injection: f32,
    /// P(jailbreak), 0..=1.
    pub jailbreak: f32,
}

impl Scores {
    /// `1 - P(benign)`: how sure the classifier is that the text attacks, 0..=1.
    pub fn attack(&self) -> f32 {
        (1.0 - self.benign).clamp(0.0, 1.0)
    }

    /// The most probable label: `benign`, `injection` or `jailbreak`.
    pub fn label(&self) -> &'static str {
        if self.benign >= self.injection && self.benign >= self.jailbreak {
            "benign"
        } else if self.injection >= self.jailbreak {
            "injection"
        } else {
            "jailbreak"
        }
    }

    /// True when every number is a probability: a NaN or an infinity is an error, never "safe".
    pub fn is_sound(&self) -> bool {
        [self.benign, self.injection, self.jailbreak].iter().all(|p| p.is_finite() && (0.0..=1.0).contains(p))
    }
}

/// A known attack that a text comes near to.
#[derive(Clone, Debug, PartialEq)]
pub struct Near {
    /// Id of the attack in the file of known attacks.
    pub id: Arc<str>,
    /// Dot product of the two sentence vectors, 0..=1; 1 is the same text.
    pub similarity: f32,
}

/// What is known of one text.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// The scores of its worst window.
    pub scores: Scores,
    /// The known attack that one of its windows is nearest to, where one is near enough.
    pub known: Option<Near>,
}

/// What is known of all texts of a request, all by the same version of the classifier.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The version that judged.
    pub version: Arc<str>,
    /// One for each text, in the order they were given.
    pub judged: Vec<Judged>,
}

/// Why there are no scores. The policy decides what happens then (default: block).
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Unavailable {
    /// The deadline passed.
    #[error("the classifier did not answer before the deadline")]
    Late,
    /// There was more to do than can be done before the deadline.
    #[error("the classifier has more to do than it can before the deadline")]
    Overloaded,
    /// The model failed or gave a number that is no probability.
    #[error("the classifier failed: {0}")]
    Failed(String),
}

/// A classifier of prompts.
pub trait Classifier: Send + Sync {
    /// A name and version for the audit trail, such as `small-1`; that of the version in force now.
    fn version(&self) -> Arc<str>;

    /// Judges `inputs`, one [`Judged`] for each in the same order, before `deadline`.
    fn classify(&self, inputs: Vec<Input>, deadline: Instant) -> BoxFuture<'_, Result<Answer, Unavailable>>;
}
