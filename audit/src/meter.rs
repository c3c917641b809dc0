//! The store's counters, shared between the handles, the writer and the metrics page.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crate::AuditError;
use crate::alert::Tap;

/// A snapshot of the store's counters. Totals count from the opening of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreStats {
    /// Events that wait for the writer.
    pub queued: usize,
    /// Bytes of those.
    pub queued_bytes: usize,
    /// Events made durable.
    pub committed: u64,
    /// Events taken and not made durable.
    pub failed: u64,
    /// Events refused because the queue was full.
    pub overloaded: u64,
    /// Durable commits, each a group of one or more events.
    pub batches: u64,
    /// Completions written at opening for requests that an earlier run left open.
    pub recovered: u64,
    /// Events removed by retention.
    pub removed: u64,
    /// Duration of the last commit.
    pub commit_last: Duration,
    /// Duration of the longest commit.
    pub commit_max: Duration,
    /// Bytes of the database and its write-ahead log on disk.
    pub bytes: u64,
    /// Class of the last failure, kept after recovery.
    pub last_error: Option<&'static str>,
    /// Whether the last commit worked and the writer runs.
    pub healthy: bool,
    /// Where the chain was found broken, or signed events gone: the number of an event near it. `audit verify` says it all.
    pub chain_broken: Option<i64>,
}

#[derive(Debug, Default)]
pub(crate) struct Meter {
    pub queued: AtomicUsize,
    pub queued_bytes: AtomicUsize,
    pub committed: AtomicU64,
    pub failed: AtomicU64,
    pub overloaded: AtomicU64,
    pub batches: AtomicU64,
    pub recovered: AtomicU64,
    pub bytes: AtomicU64,
    /// Up to which number events were passed on, as [`Store::delivered`](crate::Store::delivered) says.
    pub delivered: AtomicI64,
    pub removed: AtomicU64,
    pub broken: AtomicBool,
    /// Number of the event where the chain was found broken; 0 where it was not.
    pub chain_broken: AtomicI64,
    /// Where events go that may be worth an alert.
    pub tap: OnceLock<Tap>,
    commit_last_us: AtomicU64,
    commit_max_us: AtomicU64,
    last_error: Mutex<Option<&'static str>>,
}

impl Meter {
    pub fn commit_took(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.commit_last_us.store(micros, Relaxed);
        self.commit_max_us.fetch_max(micros, Relaxed);
    }

    /// Notes that the disk takes writes.
    pub fn works(&self) {
        if self.broken.swap(false, Relaxed) {
            tracing::info!("audit store: writes succeed again");
        }
    }

    pub fn failure(&self, error: &AuditError) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.class());
        self.broken.store(true, Relaxed);
    }

    pub fn snapshot(&self) -> StoreStats {
        StoreStats {
            queued: self.queued.load(Relaxed),
            queued_bytes: self.queued_bytes.load(Relaxed),
            committed: self.committed.load(Relaxed),
            failed: self.failed.load(Relaxed),
            overloaded: self.overloaded.load(Relaxed),
            batches: self.batches.load(Relaxed),
            recovered: self.recovered.load(Relaxed),
            removed: self.removed.load(Relaxed),
            commit_last: Duration::from_micros(self.commit_last_us.load(Relaxed)),
            commit_max: Duration::from_micros(self.commit_max_us.load(Relaxed)),
            bytes: self.bytes.load(Relaxed),
            last_error: *self.last_error.lock().unwrap_or_else(PoisonError::into_inner),
            healthy: !self.broken.load(Relaxed),
            chain_broken: Some(self.chain_broken.load(Relaxed)).filter(|seq| *seq != 0),
        }
    }
}
