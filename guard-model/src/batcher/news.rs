//! What the batcher tells of itself, for metrics and health.

use std::sync::Arc;
use std::time::Duration;

use super::circuit::CircuitState;
use crate::NetworkError;

/// Something happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A batch ran, whether it gave verdicts or not.
    Ran {
        /// Its windows.
        windows: usize,
        /// Their ids together, without padding.
        tokens: usize,
        /// How long the network took.
        took: Duration,
    },
    /// A request's first window was taken from the queue.
    Waited(Duration),
    /// Windows were answered without being computed: from the cache, or with an equal one of the same batch.
    Cached {
        /// How many.
        windows: usize,
    },
    /// A batch gave no verdicts, or a verdict was none.
    Failed(Failure),
    /// The circuit opened or closed.
    Circuit(CircuitState),
}

/// What failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The device failed, or has no memory for the batch.
    Device,
    /// A number that is no probability came out.
    NotFinite,
    /// The network broke a promise of its own.
    Panic,
    /// The network could not be made anew.
    Build,
}

impl Failure {
    /// All of them.
    pub const ALL: [Failure; 4] = [Failure::Device, Failure::NotFinite, Failure::Panic, Failure::Build];

    /// Returns the word for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Failure::Device => "device",
            Failure::NotFinite => "not_finite",
            Failure::Panic => "panic",
            Failure::Build => "build",
        }
    }
}

impl From<&NetworkError> for Failure {
    fn from(error: &NetworkError) -> Self {
        match error {
            NetworkError::Device(_) => Failure::Device,
            NetworkError::NotFinite => Failure::NotFinite,
        }
    }
}

/// How the batcher stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The version in force.
    pub version: Arc<str>,
    /// Windows that wait.
    pub queued_windows: usize,
    /// Whether the network is asked.
    pub circuit: CircuitState,
    /// Known attacks in force.
    pub known_attacks: usize,
    /// Whether the thread that owns the network has ended: nothing is answered any more.
    pub is_dead: bool,
}
