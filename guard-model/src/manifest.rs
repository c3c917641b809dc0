//! `manifest.json` of a model folder: the SHA-256 of each file, checked before a byte of it is used.
//!
//! ```json
//! {"files": {"config.json": "<64 hex digits>", "model.safetensors": "...", "tokenizer.json": "..."}}
//! ```

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufReader, Read as _},
    path::Path,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::ModelError;

/// The manifest's name inside the folder.
pub const MANIFEST: &str = "manifest.json";
/// The files that a model folder must hold, in Hugging Face's names.
pub const FILES: [&str; 3] = ["config.json", "tokenizer.json", "model.safetensors"];

/// What `manifest.json` says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    files: BTreeMap<String, String>,
}

impl Manifest {
    /// Reads the manifest of `dir` and compares every file of [`FILES`] with it.
    ///
    /// # Errors
    /// A file that is missing, not named, or other than the manifest says.
    pub fn verify(dir: &Path) -> Result<Self, ModelError> {
        let path = dir.join(MANIFEST);
        let text = std::fs::read_to_string(&path).map_err(|e| {
            ModelError::file(&path, format!("{e}; a model folder holds {MANIFEST} (`portcullis guard manifest DIR` writes it)"))
        })?;
        let manifest: Self = serde_json::from_str(&text).map_err(|e| ModelError::content(&path, e))?;
        for name in FILES {
            let file = dir.join(name);
            let expected = manifest.files.get(name).ok_or_else(|| ModelError::content(&path, format!("it does not name {name}")))?;
            let found = digest(&file)?;
            if !found.eq_ignore_ascii_case(expected) {
                return Err(ModelError::Hash { path: file, found, expected: expected.clone() });
            }
        }
        Ok(manifest)
    }

    /// Writes the manifest of the files in `dir`, for weights that their owner made or changed.
    ///
    /// # Errors
    /// A file that is missing, or a folder that cannot be written.
    pub fn write(dir: &Path) -> Result<(), ModelError> {
        let mut files = BTreeMap::new();
        for name in FILES {
            files.insert(name.to_owned(), digest(&dir.join(name))?);
        }
        let path = dir.join(MANIFEST);
        let text = serde_json::to_string_pretty(&Self { files }).map_err(|e| ModelError::content(&path, e))?;
        std::fs::write(&path, text + "\n").map_err(|e| ModelError::file(&path, e))
    }

    /// The first twelve hex digits over all files' digests: which weights these are, whatever they are called.
    pub fn fingerprint(&self) -> String {
        let mut sum = Sha256::new();
        for (name, digest) in &self.files {
            sum.update(format!("{name} {}\n", digest.to_ascii_lowercase()));
        }
        hex::encode(sum.finalize())[..12].to_owned()
    }
}

/// The SHA-256 of a file, in hex.
fn digest(path: &Path) -> Result<String, ModelError> {
    let wrong = |e: std::io::Error| ModelError::file(path, e);
    let mut reader = BufReader::new(File::open(path).map_err(wrong)?);
    let (mut sum, mut buffer) = (Sha256::new(), vec![0; 1 << 16]);
    loop {
        match reader.read(&mut buffer).map_err(wrong)? {
            0 => return Ok(hex::encode(sum.finalize())),
            read => sum.update(&buffer[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        FILES.iter().for_each(|name| std::fs::write(dir.path().join(name), format!("{name} of a model")).unwrap());
        Manifest::write(dir.path()).unwrap();
        dir
    }

    #[test]
    fn a_folder_as_it_was_written_is_taken_and_has_a_fingerprint() {
        let dir = folder();
        let first = Manifest::verify(dir.path()).unwrap().fingerprint();
        assert_eq!(first.len(), 12);
        std::fs::write(dir.path().join(FILES[2]), "other weights").unwrap();
        Manifest::write(dir.path()).unwrap();
        assert_ne!(first, Manifest::verify(dir.path()).unwrap().fingerprint());
    }

    #[test]
    fn a_file_changed_cut_or_gone_is_named() {
        for name in FILES {
            for change in [None, Some(""), Some("config.json of a modem")] {
                let dir = folder();
                let path = dir.path().join(name);
                match change {
                    None => std::fs::remove_file(&path).unwrap(),
                    Some(text) => std::fs::write(&path, text).unwrap(),
                }
                let error = Manifest::verify(dir.path()).unwrap_err().to_string();
                assert!(error.contains(name), "{error}");
            }
        }
    }

    #[test]
    fn a_manifest_that_is_missing_or_leaves_a_file_out_is_refused() {
        let dir = folder();
        std::fs::write(dir.path().join(MANIFEST), r#"{"files": {"config.json": "00"}}"#).unwrap();
        assert!(Manifest::verify(dir.path()).is_err());
        std::fs::remove_file(dir.path().join(MANIFEST)).unwrap();
        assert!(Manifest::verify(dir.path()).unwrap_err().to_string().contains("guard manifest"));
    }
}
