//! What was served without a record, where `audit.on_failure: serve_and_count` says that a request is served all the same: counted at
//! once, and put on record as soon as the store takes an event again.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use portcullis_audit::{AuditError, Commit, Event, Kind, Receipt};
use serde::Deserialize;
use tokio::time::timeout;

use crate::gate::Gate;

/// Longest wait for a decision to be durable; after that it counts as one that cannot be, though it may still come on record.
const DURABLE_WAIT_MAX: Duration = Duration::from_secs(10);
/// The control that failed, in events and metrics.
const CONTROL: &str = "audit";
/// The outcome of the event that tells how many there were.
const OUTCOME: &str = "served_unrecorded";

/// What becomes of a request whose decision cannot be made durable.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// It is refused: 503, nothing served.
    #[default]
    AuditOrRefuse,
    /// It is served and counted.
    ServeAndCount,
}

/// Requests served without a record that no event tells of yet.
#[derive(Debug, Default)]
pub struct Unrecorded(AtomicU64);

/// Why a decision is not known to be durable.
#[derive(Debug)]
pub enum NotDurable {
    /// The store says so.
    Failed(AuditError),
    /// It said nothing for [`DURABLE_WAIT_MAX`].
    Late,
}

impl NotDurable {
    /// A stable class for the log.
    pub fn class(&self) -> &'static str {
        match self {
            Self::Failed(error) => error.class(),
            Self::Late => "late",
        }
    }

    /// Whether the disk is at fault. A conflict is a fault of ours: whatever the configuration says, no second answer to one request.
    fn may_be_served(&self) -> bool {
        !matches!(self, Self::Failed(AuditError::Conflict { .. }))
    }
}

/// Waits for a commit, at most `wait`.
async fn settled(commit: Commit, wait: Duration) -> Result<Receipt, NotDurable> {
    timeout(wait, commit).await.map_err(|_| NotDurable::Late)?.map_err(NotDurable::Failed)
}

/// Waits until a decision is durable. True when it is; false when it is not and the request is served all the same.
///
/// # Errors
/// When it is not, and the request is to be refused.
pub async fn durable_or_counted(gate: &Gate, commit: Commit) -> Result<bool, NotDurable> {
    match settled(commit, DURABLE_WAIT_MAX).await {
        Ok(_) => {
            tell(gate).await;
            Ok(true)
        }
        Err(why) if gate.on_failure == OnFailure::ServeAndCount && why.may_be_served() => {
            gate.unrecorded.0.fetch_add(1, Relaxed);
            gate.metrics.failed_open(CONTROL);
            if gate.warnings.check().is_ok() {
                tracing::error!(class = why.class(), "requests are served without a record");
            }
            Ok(false)
        }
        Err(why) => Err(why),
    }
}

/// Puts on record how many requests were served without one. Whoever finds the store working again waits for it before its own answer.
pub async fn tell(gate: &Gate) {
    if gate.unrecorded.0.load(Relaxed) == 0 {
        return;
    }
    let count = gate.unrecorded.0.swap(0, Relaxed);
    if count == 0 {
        return;
    }
    let mut event = Event::new(Kind::Admin, "");
    OUTCOME.clone_into(&mut event.outcome);
    event.failed_open.push(CONTROL.to_owned());
    event.unrecorded = Some(count);
    if settled(gate.store.record(event), DURABLE_WAIT_MAX).await.is_err() {
        gate.unrecorded.0.fetch_add(count, Relaxed);
    }
}

/// Marks an event of a request whose decision is not on record.
pub fn mark(event: &mut Event) {
    event.failed_open.push(CONTROL.to_owned());
}

#[cfg(test)]
mod tests {
    use portcullis_audit::{Decision, Reader, Store, StoreOptions};

    use super::*;

    fn decision(id: &str) -> Event {
        Event { decision: Some(Decision::Block), ..Event::new(Kind::Decision, id) }
    }

    #[tokio::test]
    async fn a_store_that_says_nothing_is_waited_for_so_long_and_no_longer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.db");
        let store = Store::open(&path, StoreOptions::default()).unwrap();
        settled(store.record(decision("a")), DURABLE_WAIT_MAX).await.unwrap();

        // As a disk that hangs: the file is held, so the writer waits.
        let held = rusqlite::Connection::open(&path).unwrap();
        held.execute_batch("BEGIN IMMEDIATE").unwrap();
        let late = settled(store.record(decision("b")), Duration::ZERO).await.unwrap_err();
        assert_eq!((late.class(), late.may_be_served()), ("late", true));
        assert_eq!(Reader::open(&path).unwrap().count().unwrap(), 1);

        // Given up is the wait, not the event.
        drop(held);
        settled(store.record(decision("c")), DURABLE_WAIT_MAX).await.unwrap();
        let ids: Vec<String> =
            Reader::open(&path).unwrap().events_after(0, 9).unwrap().into_iter().map(|stored| stored.event.request_id).collect();
        assert_eq!(ids, ["a", "b", "c"]);
    }

    #[tokio::test]
    async fn what_the_store_says_itself_is_not_called_late() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("audit.db"), StoreOptions::default()).unwrap();
        settled(store.record(decision("a")), DURABLE_WAIT_MAX).await.unwrap();
        let conflict = settled(store.record(decision("a")), DURABLE_WAIT_MAX).await.unwrap_err();
        assert!(!conflict.may_be_served(), "{conflict:?}");
        store.clone().close().unwrap();
        let closed = settled(store.record(decision("b")), Duration::ZERO).await.unwrap_err();
        assert!(closed.may_be_served() && closed.class() != "late", "{closed:?}");
    }
}
