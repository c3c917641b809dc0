//! Who may call: the key file, and finding the caller of a key.
//!
//! ```yaml
//! keys:
//!   - {id: demo, sha256: 9f86..., tenant: acme, models: ["*"], policy: default, requests_per_minute: 600, burst: 60, concurrent: 16}
//!   - {id: other, sha256: 60e3..., tenant: acme, policy: acme, routes: {/v1/embeddings: strict}}
//! ```
//!
//! The file holds SHA-256 digests only; a key has 256 random bits, so a slow hash would protect nothing. A lookup hashes the
//! presented key, finds the digest in a table and compares it in constant time: how long it takes says nothing of any stored key.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::edge::Route;

/// Most keys in a file.
pub const KEYS_MAX: usize = 100_000;

/// The key file as written.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct KeyFile {
    /// The keys.
    #[serde(default)]
    pub keys: Vec<KeyRecord>,
}

/// One key: whose it is and what it may do.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRecord {
    /// Its name in logs and audit events.
    pub id: String,
    /// SHA-256 of the key, 64 hexadecimal digits.
    pub sha256: String,
    /// Whose it is.
    pub tenant: String,
    /// Models it may use; `*` stands for all.
    #[serde(default = "every_model")]
    pub models: Vec<String>,
    /// Name of the policy its requests are held to.
    #[serde(default = "default_policy")]
    pub policy: String,
    /// For single routes, the name of another policy.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub routes: BTreeMap<Route, String>,
    /// Requests per minute in the long run.
    #[serde(default = "default_rate")]
    pub requests_per_minute: u32,
    /// Requests that may come at once.
    #[serde(default = "default_burst")]
    pub burst: u32,
    /// Requests that may run at the same time.
    #[serde(default = "default_concurrent")]
    pub concurrent: u32,
    /// A revoked key is refused and stays on file for the record.
    #[serde(default)]
    pub revoked: bool,
}

fn every_model() -> Vec<String> {
    vec!["*".into()]
}

fn default_policy() -> String {
    "default".into()
}

fn default_rate() -> u32 {
    600
}

fn default_burst() -> u32 {
    60
}

fn default_concurrent() -> u32 {
    16
}

impl KeyRecord {
    /// Whether the key may use `model`.
    pub fn allows(&self, model: &str) -> bool {
        self.models.iter().any(|allowed| allowed == "*" || allowed == model)
    }

    /// The name of the policy that requests of a route are held to.
    pub fn policy_on(&self, route: Route) -> &str {
        self.routes.get(&route).unwrap_or(&self.policy)
    }

    /// Every policy that the key names.
    pub fn policies(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.policy).chain(self.routes.values()).map(String::as_str)
    }
}

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// It could not be read or written.
    #[error("{}: cannot be read or written{}", path.display(), advice(source))]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is no key file.
    #[error("{}: {reason}", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What and where.
        reason: String,
    },
}

fn advice(error: &std::io::Error) -> &'static str {
    if error.kind() == std::io::ErrorKind::NotFound { "; `portcullis key new --keys FILE --id NAME` makes a key file" } else { "" }
}

impl KeyFile {
    /// Reads and checks a key file.
    ///
    /// # Errors
    /// [`KeysError`] with the file and the key's id.
    pub fn load(path: &Path) -> Result<Self, KeysError> {
        let text = std::fs::read_to_string(path).map_err(|source| KeysError::File { path: path.into(), source })?;
        let form = |reason: String| KeysError::Form { path: path.into(), reason };
        let file: Self = serde_saphyr::from_str(&text).map_err(|e| form(e.to_string()))?;
        file.check().map_err(form)?;
        Ok(file)
    }

    /// Writes the file so that a crash leaves either the old or the new one, readable by its owner only.
    ///
    /// # Errors
    /// [`KeysError`] when it cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), KeysError> {
        let form = |reason: String| KeysError::Form { path: path.into(), reason };
        self.check().map_err(form)?;
        let text = serde_saphyr::to_string(self).map_err(|e| form(e.to_string()))?;
        replace(path, text.as_bytes()).map_err(|source| KeysError::File { path: path.into(), source })
    }

    fn check(&self) -> Result<(), String> {
        if self.keys.len() > KEYS_MAX {
            return Err(format!("more than {KEYS_MAX} keys"));
        }
        let (mut ids, mut digests) = (HashSet::new(), HashSet::new());
        for key in &self.keys {
            let id = &key.id;
            if id.is_empty() || id.len() > 64 || !id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
                return Err(format!("key `{}`: an id is 1 to 64 letters, digits, `-`, `_` or `.`", id.escape_debug()));
            }
            if !ids.insert(id) {
                return Err(format!("key {id}: the id stands twice"));
            }
            let digest = digest_of_hex(&key.sha256).ok_or_else(|| format!("key {id}: sha256 is not 64 hexadecimal digits"))?;
            if !digests.insert(digest) {
                return Err(format!("key {id}: the same sha256 stands twice"));
            }
            if key.requests_per_minute == 0 || key.burst == 0 || key.concurrent == 0 {
                return Err(format!("key {id}: limits must be above 0; revoke the key to shut it off"));
            }
        }
        Ok(())
    }
}

fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let next = path.with_extension("yaml.new");
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&next, path)
}

fn digest_of_hex(text: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    hex::decode_to_slice(text, &mut digest).ok()?;
    Some(digest)
}

/// Makes a key: `pk-` and 32 random bytes in base64url, and the hexadecimal SHA-256 to store.
///
/// # Errors
/// When the system gives no randomness.
pub fn generate() -> Result<(Zeroizing<String>, String), getrandom::Error> {
    let mut secret = Zeroizing::new([0_u8; 32]);
    getrandom::fill(secret.as_mut())?;
    let key = Zeroizing::new(format!("pk-{}", URL_SAFE_NO_PAD.encode(secret.as_ref())));
    let digest = hex::encode(Sha256::digest(key.as_bytes()));
    Ok((key, digest))
}

/// Finds the record of a key by its digest.
#[derive(Debug, Default)]
pub struct KeyTable<T> {
    by_digest: HashMap<[u8; 32], T>,
}

impl<T> KeyTable<T> {
    /// A table over the valid keys of `file`; `make` gives what is kept for each, or nothing to leave it out.
    pub fn new(file: &KeyFile, mut make: impl FnMut(&KeyRecord) -> Option<T>) -> Self {
        let by_digest =
            file.keys.iter().filter(|key| !key.revoked).filter_map(|key| Some((digest_of_hex(&key.sha256)?, make(key)?))).collect();
        Self { by_digest }
    }

    /// What is kept for `key`, if it is known and valid.
    pub fn find(&self, key: &str) -> Option<&T> {
        let digest: [u8; 32] = Sha256::digest(key.as_bytes()).into();
        let (stored, value) = self.by_digest.get_key_value(&digest)?;
        bool::from(stored.ct_eq(&digest)).then_some(value)
    }

    /// The same keys, with what `make` gives for what was kept.
    pub fn map(&self, mut make: impl FnMut(&T) -> T) -> Self {
        Self { by_digest: self.by_digest.iter().map(|(digest, kept)| (*digest, make(kept))).collect() }
    }

    /// What is kept for every key.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.by_digest.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str, sha256: &str) -> KeyRecord {
        KeyRecord {
            id: id.into(),
            sha256: sha256.into(),
            tenant: "t".into(),
            models: every_model(),
            policy: default_policy(),
            routes: BTreeMap::new(),
            requests_per_minute: 1,
            burst: 1,
            concurrent: 1,
            revoked: false,
        }
    }

    #[test]
    fn a_made_key_is_found_and_a_revoked_or_other_one_is_not() {
        let (key, digest) = generate().unwrap();
        assert!(key.starts_with("pk-") && key.len() == 46);
        let mut file = KeyFile { keys: vec![record("a", &digest)] };
        assert_eq!(KeyTable::new(&file, |k| Some(k.id.clone())).find(&key), Some(&"a".to_string()));
        assert_eq!(KeyTable::new(&file, |k| Some(k.id.clone())).find(&key[..45]), None);
        file.keys[0].revoked = true;
        assert_eq!(KeyTable::new(&file, |k| Some(k.id.clone())).find(&key), None);
    }

    #[test]
    fn a_saved_file_comes_back_and_is_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.yaml");
        let routes = BTreeMap::from([(Route::Embeddings, "strict".to_owned())]);
        let routed = KeyRecord { routes, ..record("b", &generate().unwrap().1) };
        let file = KeyFile { keys: vec![record("a", &generate().unwrap().1), routed] };
        file.save(&path).unwrap();
        assert_eq!(KeyFile::load(&path).unwrap().keys, file.keys);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_route_that_is_none_is_refused_with_those_there_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.yaml");
        let digest = generate().unwrap().1;
        std::fs::write(&path, format!("keys:\n  - {{id: a, sha256: {digest}, tenant: t, routes: {{/v1/embedings: strict}}}}\n")).unwrap();
        let error = KeyFile::load(&path).unwrap_err().to_string();
        assert!(error.contains("/v1/embedings") && error.contains("/v1/embeddings"), "{error}");
    }

    #[test]
    fn a_broken_key_file_names_the_key() {
        let digest = generate().unwrap().1;
        for (keys, needle) in [
            (vec![record("a", "00")], "key a"),
            (vec![record("a", &digest), record("b", &digest)], "key b"),
            (vec![record("a", &digest), record("a", &generate().unwrap().1)], "twice"),
            (vec![record("a b", &digest)], "an id is"),
            (vec![KeyRecord { burst: 0, ..record("a", &digest) }], "above 0"),
        ] {
            let error = KeyFile { keys }.check().unwrap_err();
            assert!(error.contains(needle), "{error}");
        }
    }
}
