//! A version of the guard before it is put in force: how it cuts texts, and how its network is made.

use std::path::Path;
use std::sync::Arc;

use crate::error::ModelError;
use crate::tokenize::Tokenizer;
use crate::{Model, Network, NetworkError, Place, Speaker, Window};

/// How texts become windows.
pub trait Windows: Send + Sync {
    /// Cuts a text into overlapping windows that cover it whole, at least one, also of an empty text.
    ///
    /// # Errors
    /// Why the text cannot be cut, without quoting it.
    fn windows(&self, speaker: Speaker, text: &str) -> Result<Vec<Window>, String>;
}

impl Windows for Tokenizer {
    fn windows(&self, speaker: Speaker, text: &str) -> Result<Vec<Window>, String> {
        Tokenizer::windows(self, speaker, text)
    }
}

/// Makes the network anew, the same version each time: at the start, and after it broke.
pub type Build = Box<dyn FnMut() -> Result<Box<dyn Network>, NetworkError> + Send>;

/// A version of the guard, to be put in force.
pub struct Source {
    /// Name and version for the audit trail.
    pub version: Arc<str>,
    /// How it cuts texts.
    pub windows: Arc<dyn Windows>,
    /// How its network is made.
    pub build: Build,
}

impl Source {
    /// Opens a model folder, to be run at `place`. The network is there already; after it broke it is read from the folder again, which
    /// fails where the folder holds another version by then.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn open(dir: &Path, place: Place) -> Result<Self, ModelError> {
        let model = Model::open(dir, place)?;
        let (version, windows): (Arc<str>, Arc<Tokenizer>) = (model.version().into(), model.tokenizer());
        let (dir, expected, mut first) = (dir.to_path_buf(), Arc::clone(&version), Some(model.into_network()));
        let build: Build = Box::new(move || {
            if let Some(network) = first.take() {
                return Ok(network);
            }
            let model = Model::open(&dir, place).map_err(|e| NetworkError::Device(e.to_string()))?;
            if *model.version() != *expected {
                return Err(NetworkError::Device(format!("{} holds {} now, not {expected}", dir.display(), model.version())));
            }
            Ok(model.into_network())
        });
        Ok(Self { version, windows, build })
    }
}
