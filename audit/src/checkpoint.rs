//! Signed statements about the chain: how far it had come at a moment, or where retention cut it.
//!
//! A line is one JSON object:
//!
//!     {"checkpoint":1,"kind":"mark","store":"<UUID>","seq":1000,"chain_hash":"<hex>","count":1000,"time":"<RFC 3339>",
//!      "key":"<base64>","signature":"<base64>"}
//!
//! Signed (Ed25519) is `"portcullis-checkpoint-v1" || kind || length of the store id || store id || seq || chain_hash || count || time`:
//! `kind` one byte (1 mark, 2 cut), the length 4 bytes, `seq`, `count` and `time` (microseconds since 1970) 8 bytes, all big-endian.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use crate::chain::ChainHash;
use crate::event::rfc3339;
use crate::signing::{PublicKey, SIGNATURE_BYTES, SigningKey};

/// The version of the line.
const VERSION: u16 = 1;
/// Separates these signatures from all others.
const DOMAIN: &[u8] = b"portcullis-checkpoint-v1";

/// What a checkpoint says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckpointKind {
    /// The event `seq` had this hash.
    Mark,
    /// The event `seq` had this hash, and retention removed it and all before it.
    Cut,
}

impl CheckpointKind {
    /// Returns the word used on disk.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mark => "mark",
            Self::Cut => "cut",
        }
    }
}

/// What is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// What it says.
    pub kind: CheckpointKind,
    /// The store's id.
    pub store_id: String,
    /// The event it is about.
    pub seq: i64,
    /// That event's hash.
    pub chain_hash: ChainHash,
    /// Events in the store at that moment.
    pub count: i64,
    /// The moment, microseconds since 1970 (UTC).
    pub time_us: i64,
}

impl Statement {
    fn message(&self) -> Vec<u8> {
        let kind = match self.kind {
            CheckpointKind::Mark => 1,
            CheckpointKind::Cut => 2,
        };
        let mut message = DOMAIN.to_vec();
        message.push(kind);
        message.extend(u32::try_from(self.store_id.len()).unwrap_or(u32::MAX).to_be_bytes());
        message.extend(self.store_id.as_bytes());
        message.extend(self.seq.to_be_bytes());
        message.extend(self.chain_hash);
        message.extend(self.count.to_be_bytes());
        message.extend(self.time_us.to_be_bytes());
        message
    }
}

/// A signed statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// What is signed.
    pub statement: Statement,
    /// Whose signature it bears.
    pub public_key: PublicKey,
    signature: [u8; SIGNATURE_BYTES],
}

impl Checkpoint {
    /// Signs a statement.
    pub fn sign(statement: Statement, key: &SigningKey) -> Self {
        let signature = key.sign(&statement.message());
        Self { statement, public_key: key.public_key(), signature }
    }

    /// Whether the signature is that of its key over its statement.
    pub fn is_genuine(&self) -> bool {
        self.public_key.verifies(&self.statement.message(), &self.signature)
    }

    /// Returns the line.
    pub fn to_line(&self) -> String {
        let Statement { kind, store_id, seq, chain_hash, count, time_us } = &self.statement;
        let line = Line {
            checkpoint: VERSION,
            kind: *kind,
            store: store_id.clone(),
            seq: *seq,
            chain_hash: hex::encode(chain_hash),
            count: *count,
            time: rfc3339(*time_us),
            key: self.public_key.to_string(),
            signature: BASE64.encode(self.signature),
        };
        // A struct of texts and numbers always has a JSON form.
        serde_json::to_string(&line).unwrap_or_default()
    }

    /// Reads a line. Whether it is genuine is another question.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_line(line: &str) -> Result<Self, String> {
        let line: Line = serde_json::from_str(line).map_err(|error| format!("is no checkpoint: {error}"))?;
        if line.checkpoint != VERSION {
            return Err(format!("is a checkpoint of version {}, this program knows {VERSION}", line.checkpoint));
        }
        let hash = hex::decode(&line.chain_hash).ok().and_then(|bytes| ChainHash::try_from(bytes).ok());
        let signature = BASE64.decode(&line.signature).ok().and_then(|bytes| <[u8; SIGNATURE_BYTES]>::try_from(bytes).ok());
        let time: Result<jiff::Timestamp, _> = line.time.parse();
        let (Some(chain_hash), Some(signature), Ok(time)) = (hash, signature, time) else {
            return Err("is no checkpoint: a hash, signature or time cannot be read".into());
        };
        let (seq, count, time_us) = (line.seq, line.count, time.as_microsecond());
        let statement = Statement { kind: line.kind, store_id: line.store, seq, chain_hash, count, time_us };
        Ok(Self { statement, public_key: line.key.parse().map_err(|error| format!("its key {error}"))?, signature })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    checkpoint: u16,
    kind: CheckpointKind,
    store: String,
    seq: i64,
    chain_hash: String,
    count: i64,
    time: String,
    key: String,
    signature: String,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A fresh key.
    pub(crate) fn key() -> SigningKey {
        SigningKey::load_or_make(&tempfile::tempdir().unwrap().path().join("key")).unwrap()
    }

    #[test]
    fn a_line_comes_back_and_no_part_of_it_can_be_changed() {
        let statement = Statement {
            kind: CheckpointKind::Mark,
            store_id: "0190a2b4-0000-7000-8000-000000000000".into(),
            seq: 7,
            chain_hash: [9; 32],
            count: 5,
            time_us: 1_700_000_000_123_456,
        };
        let checkpoint = Checkpoint::sign(statement, &key());
        let line = checkpoint.to_line();
        assert_eq!(Checkpoint::from_line(&line).as_ref(), Ok(&checkpoint));
        assert!(checkpoint.is_genuine());
        for (from, to) in [
            ("\"mark\"", "\"cut\""),
            ("0190a2b4", "0190a2b5"),
            ("\"seq\":7", "\"seq\":8"),
            ("\"09", "\"0a"),
            ("\"count\":5", "\"count\":6"),
            (".123456Z", ".123457Z"),
        ] {
            assert!(line.contains(from), "{from} in {line}");
            assert!(!Checkpoint::from_line(&line.replacen(from, to, 1)).unwrap().is_genuine(), "{from}");
        }
        let other = Checkpoint { public_key: key().public_key(), ..checkpoint };
        assert!(!other.is_genuine());
        for length in 0..line.len() {
            assert!(Checkpoint::from_line(&line[..length]).is_err());
        }
    }
}
