//! The `audit` part of the configuration: where the store is, which key signs, how long events are kept.

use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_audit::{Retention, Signing, StoreOptions};
use serde::Deserialize;

use crate::config::clickhouse::ClickHouseFile;
use crate::config::{Durability, duration};

/// Fewest bytes of events to keep that are worth a store.
const RETENTION_BYTES_MIN: u64 = 1 << 20;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuditFile {
    pub path: PathBuf,
    #[serde(default)]
    pub durability: Durability,
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
        Ok(StoreOptions {
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
