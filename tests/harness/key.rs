//! Client keys of the form the gateway issues, the same in every run.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// A key and what its entry in the key file allows.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its name in the key file.
    pub id: String,
    /// What the client sends.
    pub secret: String,
    entry: Value,
}

impl Key {
    /// A key for all models with limits no test reaches by accident.
    pub fn named(id: &str) -> Self {
        let secret = format!("pk-{}", URL_SAFE_NO_PAD.encode(Sha256::digest(format!("harness key {id}"))));
        let entry = json!({
            "id": id, "sha256": hex::encode(Sha256::digest(&secret)), "tenant": format!("tenant-{id}"), "models": ["*"], "policy": "default",
            "requests_per_minute": 600_000, "burst": 100_000, "concurrent": 256, "revoked": false,
        });
        Self { id: id.to_owned(), secret, entry }
    }

    /// Sets one field of the key file's entry.
    pub fn set(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.entry[field] = value.into();
        self
    }

    pub(crate) fn entry(&self) -> &Value {
        &self.entry
    }
}
