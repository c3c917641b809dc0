//! Fingerprints of prompts: keyed, so that an event tells whether a known prompt was sent and nothing about an unknown one.
//!
//! HMAC-SHA-256 (RFC 2104) over each text of a request in turn: the speaker's word, a zero byte, the length of the text in bytes (u64, big
//! endian), the text. The key lies beside the store, in base64; without it nobody can try out short texts against the trail.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::hmac::{self, HMAC_SHA256};
use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

use crate::AuditError;

/// Bytes of the key.
const KEY_BYTES: usize = 32;

/// The key of a store's fingerprints.
#[derive(Debug, Clone)]
pub struct Fingerprint {
    key: hmac::Key,
}

/// The file with the key of the store at `store`.
fn file(store: &Path) -> PathBuf {
    let mut name = store.as_os_str().to_owned();
    name.push(".fingerprint-key");
    name.into()
}

impl Fingerprint {
    /// Reads the key of the store at `store`.
    ///
    /// # Errors
    /// `FingerprintKey` with the file and what to do.
    pub fn load(store: &Path) -> Result<Self, AuditError> {
        let path = file(store);
        let broken = |cause: String| AuditError::FingerprintKey { path: path.clone(), cause };
        let text = Zeroizing::new(fs::read_to_string(&path).map_err(|error| broken(error.to_string()))?);
        let key = BASE64.decode(text.trim()).map(Zeroizing::new).map_err(|_| broken("it is no base64".into()))?;
        if key.len() != KEY_BYTES {
            return Err(broken(format!("it holds {} bytes instead of {KEY_BYTES}", key.len())));
        }
        Ok(Self { key: hmac::Key::new(HMAC_SHA256, &key) })
    }

    /// Reads the key of the store at `store`, or makes one if there is none, readable by its owner only.
    ///
    /// # Errors
    /// `FingerprintKey` with the file and what to do.
    pub(crate) fn load_or_make(store: &Path) -> Result<Self, AuditError> {
        let path = file(store);
        if let Ok(false) = fs::exists(&path) {
            make(&path).map_err(|cause| AuditError::FingerprintKey { path, cause })?;
        }
        Self::load(store)
    }

    /// Returns the fingerprint of a request's texts, each with the word for its speaker: 64 hexadecimal digits.
    pub fn of<'t>(&self, texts: impl IntoIterator<Item = (&'t str, &'t str)>) -> String {
        let mut context = hmac::Context::with_key(&self.key);
        for (speaker, text) in texts {
            context.update(speaker.as_bytes());
            context.update(&[0]);
            context.update(&(text.len() as u64).to_be_bytes());
            context.update(text.as_bytes());
        }
        context.sign().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

fn make(path: &Path) -> Result<(), String> {
    let mut key = Zeroizing::new([0u8; KEY_BYTES]);
    SystemRandom::new().fill(&mut *key).map_err(|_| "the system gives no randomness".to_owned())?;
    let text = Zeroizing::new(format!("{}\n", BASE64.encode(*key)));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|error| error.to_string())?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_key_is_made_once_and_kept_to_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("audit.db");
        assert!(Fingerprint::load(&store).unwrap_err().to_string().contains("fingerprint-key"));
        let first = Fingerprint::load_or_make(&store).unwrap();
        assert_eq!(fs::metadata(file(&store)).unwrap().permissions().mode() & 0o777, 0o600);
        let texts = [("user", "hello"), ("tool", "")];
        assert_eq!(first.of(texts), Fingerprint::load(&store).unwrap().of(texts));
        assert_eq!(first.of(texts).len(), 64);
        for broken in ["", "AAAA", "no base64!"] {
            fs::write(file(&store), broken).unwrap();
            assert!(Fingerprint::load_or_make(&store).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn other_texts_speakers_borders_and_keys_have_other_fingerprints() {
        let folder = tempfile::tempdir().unwrap();
        let one = Fingerprint::load_or_make(&folder.path().join("a.db")).unwrap();
        let other = Fingerprint::load_or_make(&folder.path().join("b.db")).unwrap();
        let mut all = vec![
            one.of([("user", "ab")]),
            one.of([("system", "ab")]),
            one.of([("user", "a"), ("user", "b")]),
            one.of([("user", "b"), ("user", "a")]),
            one.of([]),
            other.of([("user", "ab")]),
        ];
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 6);
    }
}
