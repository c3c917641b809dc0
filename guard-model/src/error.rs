//! What can go wrong before a network runs: files, shapes, training data.

use std::path::PathBuf;

/// Why a model, a vocabulary or a data file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The file cannot be read or written.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The file's bytes are not those of the manifest.
    #[error(
        "{path}: its SHA-256 is {found}, the manifest says {expected}; fetch the file again, or run `portcullis guard manifest` if you changed it"
    )]
    Hash {
        /// The file.
        path: PathBuf,
        /// What its bytes give, in hex.
        found: String,
        /// What `manifest.json` says, in hex.
        expected: String,
    },
    /// The file holds something else than a model needs.
    #[error("{path}: {reason}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// A line of a data file.
    #[error("{path}:{line}: {reason}")]
    Line {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A setting of a command.
    #[error("{0}")]
    Setting(String),
    /// The tensors' library, most often no memory.
    #[error("tensors: {}", told(.0))]
    Tensor(#[from] candle_core::Error),
}

/// What the tensors' library says, in one line: its errors print where in the program they were made, where `RUST_BACKTRACE` is set.
pub fn told(error: &candle_core::Error) -> String {
    use candle_core::Error::{Context, WithBacktrace, WithPath};
    match error {
        WithBacktrace { inner, .. } => told(inner),
        Context { inner, context } => format!("{context}: {}", told(inner)),
        WithPath { inner, path } => format!("{}: {}", path.display(), told(inner)),
        other => other.to_string(),
    }
}

impl ModelError {
    /// A file that cannot be read or written.
    pub fn file(path: impl Into<PathBuf>, reason: impl ToString) -> Self {
        Self::File { path: path.into(), reason: reason.to_string() }
    }

    /// A file that holds the wrong thing.
    pub fn content(path: impl Into<PathBuf>, reason: impl ToString) -> Self {
        Self::Content { path: path.into(), reason: reason.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_library_says_is_told_without_where_it_was_made() {
        let backtrace = Box::new(std::backtrace::Backtrace::force_capture());
        let inner = Box::new(candle_core::Error::Msg("no memory".into()));
        let error = candle_core::Error::WithBacktrace { inner, backtrace }.context("layer 2");
        assert!(error.to_string().lines().count() > 2);
        assert_eq!(told(&error), "layer 2: no memory");
        assert_eq!(ModelError::from(error).to_string(), "tensors: layer 2: no memory");
    }
}
