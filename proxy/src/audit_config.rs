//! The `audit` part of the configuration: where the store is, which key signs, how long events are kept.

use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_audit::{Retention, Signing, StoreOptions};
use serde::Deserialize;

use crate::config::clickhouse::ClickHouseFile;
use crate::config::{Durability, duration};
use crate::unrecorded::OnFailure;

/// Fewest bytes of events to keep that are worth a store.
const RETENTION_BYTES_MIN: u64 = 1 << 20;
/// Smallest quota of a store that is worth one.
const QUOTA_BYTES_MIN: u64 = 1 << 20;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuditFile {
    pub path: PathBuf,
    #[serde(default)]
    pub durability: Durability,
    #[serde(default)]
    pub on_failure: OnFailure,
    #[serde(default)]
    bytes_max: Option<u64>,
    #[serde(default)]
    gateway: Option<String>,
    #[serde(default)]
    signing_key: Option<PathBuf>,
    #[serde(default)]
    checkpoint: CheckpointFile,
    #[serde(default)]
    retention: RetentionFile,
    #[serde(default)]
    pub clickhouse: Option<ClickHouseFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct CheckpointFile {
    events: u64,
    #[serde(deserialize_with = "duration")]
    every: Duration,
}

impl Default for CheckpointFile {
    fn default() -> Self {
        Self { events: 1_000, every: Duration::from_secs(60) }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RetentionFile {
    days: Option<u32>,
    bytes: Option<u64>,
}

impl AuditFile {
    /// How the store is opened.
    pub fn store(&self, base: &Path) -> Result<StoreOptions, String> {
        if self.checkpoint.events == 0 {
            return Err("audit.checkpoint.events: must be above 0".into());
        }
        if self.retention.days == Some(0) {
            return Err("audit.retention.days: must be above 0; leave it out to keep events however old".into());
        }
        if self.retention.bytes.is_some_and(|bytes| bytes < RETENTION_BYTES_MIN) {
            return Err(format!("audit.retention.bytes: must be at least {RETENTION_BYTES_MIN}; leave it out to keep events however many"));
        }
        if self.bytes_max.is_some_and(|bytes| bytes < QUOTA_BYTES_MIN) {
            return Err(format!("audit.bytes_max: must be at least {QUOTA_BYTES_MIN}; leave it out to use the disk as far as it goes"));
        }
        if let (Some(quota), Some(kept)) = (self.bytes_max, self.retention.bytes)
            && quota <= kept
        {
            return Err("audit.bytes_max: must be above audit.retention.bytes, or the store is full before its oldest events go".into());
        }
        Ok(StoreOptions {
            bytes_max: self.bytes_max,
            durability: match self.durability {
                Durability::BeforeResponse | Durability::BeforeForward => portcullis_audit::Durability::Strict,
                Durability::Relaxed => portcullis_audit::Durability::Relaxed,
            },
            gateway: self.gateway.clone().unwrap_or_else(host_name),
            signing: self.signing_key.as_ref().map_or(Signing::Beside, |path| Signing::File(base.join(path))),
            checkpoint_events: self.checkpoint.events,
            checkpoint_interval: self.checkpoint.every,
            retention: Retention {
                age: self.retention.days.map(|days| Duration::from_secs(u64::from(days) * 24 * 60 * 60)),
                bytes: self.retention.bytes,
                delivered_only: self.clickhouse.is_some(),
            },
            ..StoreOptions::default()
        })
    }
}

/// The machine's name; nothing where the system does not say.
fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_audit::Durability as Promise;

    fn read(more: &str) -> (AuditFile, Result<StoreOptions, String>) {
        let file: AuditFile = serde_saphyr::from_str(&format!("{{path: a.db{more}}}")).unwrap();
        let options = file.store(Path::new("."));
        (file, options)
    }

    #[test]
    fn nothing_is_served_without_a_synced_record_unless_it_says_so() {
        let (file, options) = read("");
        assert_eq!((file.durability, file.on_failure), (Durability::BeforeResponse, OnFailure::AuditOrRefuse));
        assert_eq!(options.unwrap().durability, Promise::Strict);
        for (word, durability, promise) in [
            ("strict", Durability::BeforeResponse, Promise::Strict),
            ("before_forward", Durability::BeforeForward, Promise::Strict),
            ("relaxed", Durability::Relaxed, Promise::Relaxed),
        ] {
            let (file, options) = read(&format!(", durability: {word}, on_failure: serve_and_count"));
            assert_eq!((file.durability, file.on_failure), (durability, OnFailure::ServeAndCount), "{word}");
            assert_eq!(options.unwrap().durability, promise, "{word}");
        }
    }

    #[test]
    fn a_quota_leaves_room_for_what_retention_keeps() {
        let error = read(", bytes_max: 1000").1.unwrap_err();
        assert!(error.contains("audit.bytes_max") && error.contains("1048576"), "{error}");
        let error = read(", bytes_max: 2000000, retention: {bytes: 2000000}").1.unwrap_err();
        assert!(error.contains("must be above audit.retention.bytes"), "{error}");
        assert_eq!(read(", bytes_max: 2000001, retention: {bytes: 2000000}").1.unwrap().bytes_max, Some(2_000_001));
    }
}
