//! The store's file in the hands of its one owner: opening, group commits, checkpoints, and a fresh start after every failure.
//!
//! After a failed commit the connection is closed and never used again: what a failed fsync left in the system's cache is unknown.
//! The next commit, or [`upkeep`] within a second if none comes, opens a new one and first moves the whole write-ahead log into the
//! database (checkpoint `TRUNCATE`), so that no event that is promised later ever stands behind bytes that may not be on the disk.

mod upkeep;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use crate::chain::Head;
use crate::meter::Meter;
use crate::notary::Notary;
use crate::retention::Round;
use crate::row::Row;
use crate::signing::PublicKey;
use crate::store::OnCorrupt;
use crate::subjects::SubjectKeys;
use crate::writer::Answer;
use crate::{AuditError, Decision, Durability, Fault, Kind, Receipt, Retention, Severity, StoreOptions, chain, crash, file, meta, recover};

/// Bytes of events after which the log is moved into the database.
const CHECKPOINT_BYTES: usize = 1 << 20;
/// Commits after which it is, however small they were.
const CHECKPOINT_COMMITS: usize = 512;
/// Pages of log beyond which a checkpoint insists that readers let go of it (64 MiB) ...
const LOG_PAGES_MAX: i64 = 16_384;
/// ... and how long it insists, while all commits wait.
const INSIST_WAIT: Duration = Duration::from_millis(100);

pub(crate) struct Disk {
    path: PathBuf,
    store_id: String,
    bytes_max: Option<u64>,
    /// `None` after a failure, until the next commit.
    connection: Option<Connection>,
    bytes_since_checkpoint: usize,
    commits_since_checkpoint: usize,
    notary: Option<Notary>,
    /// Opened when the first text is to be sealed.
    keys: Option<SubjectKeys>,
    /// Whether it was told that they cannot be opened.
    keys_broken: bool,
    /// Name of the gateway instance.
    gateway: String,
    retention: Retention,
    round: Round,
    /// What the file says of [`Meter::delivered`].
    delivered: i64,
    chores_due: Instant,
    durability: Durability,
    /// Since when a commit waits for its sync; `None` where none does.
    unsynced_since: Option<Instant>,
    /// When it is next tried to get over a failure without an event to write.
    heal_due: Option<Instant>,
    /// Bytes of the events tried last; what the disk has to take before it counts as healed.
    tried_bytes: usize,
    /// Last, so that it is given back after the connection is closed.
    _lock: File,
}

impl Disk {
    /// Takes the lock, opens or creates the file, checks it, and completes what an earlier run left open.
    pub fn open(path: &Path, options: &StoreOptions, meter: &Meter) -> Result<Self, AuditError> {
        let path = file::resolve(path)?;
        let lock = file::lock(&path)?;
        let mut opened = file::open_checked(&path, options.bytes_max);
        if let (Err(AuditError::Corrupt { what, .. }), OnCorrupt::SetAside) = (&opened, options.on_corrupt) {
            let aside = file::set_aside(&path)?;
            tracing::error!(path = %path.display(), aside = %aside.display(), what, "audit store was damaged and is set aside; a new one begins");
            opened = file::open_checked(&path, options.bytes_max);
        }
        let mut connection = opened?;
        let store_id = meta::store_id(&connection).map_err(|error| AuditError::open(&path, &error))?;
        if let Some(seq) = chain::first_break(&connection, file::CHECK_EVENTS).map_err(|error| AuditError::open(&path, &error))? {
            tracing::error!(path = %path.display(), seq, "audit store: the hash chain is broken at this event; run `portcullis audit verify`");
            meter.chain_broken.store(seq, Relaxed);
        }
        let notary = Notary::open(&connection, &path, options)?;
        if let Some(seq) = notary.as_ref().and_then(|notary| notary.broken_at) {
            meter.chain_broken.store(seq, Relaxed);
        }
        let delivered = meta::get(&connection, meta::DELIVERED_SEQ).map_err(|error| AuditError::open(&path, &error))?.unwrap_or(0);
        let recovered = recover::complete_open_requests(&mut connection).map_err(|error| AuditError::open(&path, &error))?;
        if recovered > 0 {
            tracing::warn!(path = %path.display(), recovered, "audit store: requests an earlier run left open are completed as `incomplete`");
        }
        upkeep::begin(&connection, options.durability).map_err(|error| AuditError::open(&path, &error))?;
        meter.delivered.store(delivered, Relaxed);
        meter.recovered.store(recovered, Relaxed);
        meter.bytes.store(file::bytes_on_disk(&path), Relaxed);
        Ok(Self {
            path,
            store_id,
            bytes_max: options.bytes_max,
            connection: Some(connection),
            bytes_since_checkpoint: 0,
            commits_since_checkpoint: 0,
            notary,
            keys: None,
            keys_broken: false,
            gateway: options.gateway.clone(),
            retention: options.retention,
            round: Round::default(),
            delivered,
            chores_due: Instant::now(),
            durability: options.durability,
            unsynced_since: None,
            heal_due: None,
            tried_bytes: 0,
            _lock: lock,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn store_id(&self) -> &str {
        &self.store_id
    }

    pub fn public_key(&self) -> Option<PublicKey> {
        self.notary.as_ref().map(Notary::public_key)
    }

    /// Makes all rows durable in one transaction, or none; what durable means is the store's [`Durability`]. The answers stand in the order of the rows.
    pub fn commit(&mut self, rows: &mut [Row]) -> Result<Vec<Answer>, AuditError> {
        for row in &mut *rows {
            row.seal(&mut self.keys, &self.path);
        }
        // Taken out, so that every way out of here but the good one, a panic too, closes the connection.
        // Counted from the first failure, not from each: where requests never pause there would be no time to heal.
        let heal_before = self.heal_due;
        self.heal_due = heal_before.or_else(|| Some(Instant::now() + upkeep::HEAL_INTERVAL));
        self.tried_bytes = rows.iter().map(Row::bytes).sum();
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.reconnect()?,
        };
        let answers = write(&mut connection, rows).map_err(|error| AuditError::write(&error))?;
        self.connection = Some(connection);
        self.heal_due = heal_before;
        if self.durability == Durability::Relaxed {
            self.unsynced_since.get_or_insert_with(Instant::now);
        }
        Ok(answers)
    }

    /// Moves the log into the database when it is time, and counts the bytes on disk.
    pub fn tidy(&mut self, rows: &[Row], meter: &Meter) -> Result<(), AuditError> {
        self.bytes_since_checkpoint += rows.iter().map(Row::bytes).sum::<usize>();
        self.commits_since_checkpoint += 1;
        meter.bytes.store(file::bytes_on_disk(&self.path), Relaxed);
        if self.bytes_since_checkpoint < CHECKPOINT_BYTES && self.commits_since_checkpoint < CHECKPOINT_COMMITS {
            return Ok(());
        }
        let Some(connection) = self.connection.take() else { return Ok(()) };
        crash::point("before_log_moved");
        let pages = file::checkpoint(&connection, "PASSIVE").map_err(|error| AuditError::write(&error))?.log_pages;
        if pages > LOG_PAGES_MAX {
            let insisted = connection
                .busy_timeout(INSIST_WAIT)
                .and_then(|()| file::checkpoint(&connection, "TRUNCATE"))
                .and_then(|found| connection.busy_timeout(file::BUSY_WAIT).map(|()| found));
            if insisted.map_err(|error| AuditError::write(&error))?.busy {
                tracing::warn!(path = %self.path.display(), pages, "audit store: a reader keeps the write-ahead log from starting over");
            }
        }
        self.connection = Some(connection);
        (self.bytes_since_checkpoint, self.commits_since_checkpoint) = (0, 0);
        crash::point("after_log_moved");
        Ok(())
    }

    fn reconnect(&self) -> Result<Connection, AuditError> {
        let failed = |error: rusqlite::Error| AuditError::write(&error);
        let connection = file::connect(&self.path, self.bytes_max, self.durability).map_err(failed)?;
        if file::checkpoint(&connection, "TRUNCATE").map_err(failed)?.busy {
            let cause = "after a failed commit the write-ahead log must start over, and a reader holds it".into();
            return Err(AuditError::Write { fault: Fault::Busy, cause });
        }
        Ok(connection)
    }
}

/// Inserts the rows in one transaction, each chained to the one before it. Where the chain ends is read from the file each time, so
/// that a failed commit leaves neither a hole nor a hash behind.
pub(crate) fn write(connection: &mut Connection, rows: &[Row]) -> rusqlite::Result<Vec<Answer>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut head = Head::read(&transaction)?;
    let answers = rows.iter().map(|row| insert(&transaction, &mut head, row)).collect::<rusqlite::Result<_>>()?;
    crash::point("appended");
    transaction.commit()?;
    crash::point("committed");
    Ok(answers)
}

fn insert(transaction: &Transaction<'_>, head: &mut Head, row: &Row) -> rusqlite::Result<Answer> {
    if let Some(error) = &row.refused {
        return Ok(Err(error.clone()));
    }
    let mut next = *head;
    next.append(row.body.as_bytes());
    let mut statement = transaction.prepare_cached(
        "INSERT INTO events (seq, event_id, ts_us, kind, phase, tenant, request_id, decision, severity, body, chain_hash) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT DO NOTHING",
    )?;
    let inserted = statement.execute(params![
        next.seq,
        row.event_id,
        row.ts_us,
        row.kind.as_str(),
        phase(row.kind),
        row.tenant,
        row.request_id,
        row.decision.map(Decision::as_str),
        row.severity.map(Severity::as_str),
        row.body,
        next.hash,
    ])?;
    if inserted == 0 {
        return already_there(transaction, row);
    }
    *head = next;
    let seq = next.seq;
    if let Some(request_id) = &row.request_id {
        if row.forwards {
            // A completion may have come first: then there is nothing to wait for.
            transaction
                .prepare_cached(
                    "INSERT INTO open_requests (request_id, seq) \
                     SELECT ?1, ?2 WHERE NOT EXISTS (SELECT 1 FROM events WHERE request_id = ?1 AND phase = 1)",
                )?
                .execute(params![request_id, seq])?;
        } else if row.kind == Kind::Completion {
            transaction.prepare_cached("DELETE FROM open_requests WHERE request_id = ?1")?.execute([request_id])?;
        }
    }
    Ok(Ok(Receipt { seq }))
}

/// 0 for the event that answers a request, 1 for its completion.
pub(crate) fn phase(kind: Kind) -> i64 {
    i64::from(kind == Kind::Completion)
}

/// The same event recorded again is the same event; anything else under its id or in its place is refused, alone.
fn already_there(transaction: &Transaction<'_>, row: &Row) -> rusqlite::Result<Answer> {
    let found: Option<(i64, String)> = transaction
        .prepare_cached("SELECT seq, body FROM events WHERE event_id = ?1")?
        .query_row([&row.event_id], |found| Ok((found.get(0)?, found.get(1)?)))
        .optional()?;
    let what = match found {
        Some((seq, body)) if body == row.body => return Ok(Ok(Receipt { seq })),
        Some(_) => "another event stands under this id",
        None if row.kind == Kind::Completion => "its request already has a completion",
        None => "its request already has a decision",
    };
    Ok(Err(AuditError::Conflict { event_id: row.event_id.clone(), what }))
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use crate::store::tests::{allowed, open, place};
    use crate::{AuditError, Event, Fault, Reader, Store, StoreOptions};

    fn large(id: &str) -> Event {
        Event { redacted_prompt: Some("x".repeat(20_000)), ..allowed(id) }
    }

    #[test]
    fn a_full_disk_is_an_error_for_those_who_wait_and_over_when_there_is_space_again() {
        let (_folder, path) = place();
        let options = StoreOptions { bytes_max: Some(400_000), ..StoreOptions::default() };
        let store = Store::open(&path, options).unwrap();
        let mut kept = 0_u64;
        let error = (0..100)
            .find_map(|n| match store.record(large(&format!("r{n}"))).wait() {
                Ok(_) => {
                    kept += 1;
                    None
                }
                Err(error) => Some(error),
            })
            .unwrap();
        assert!(matches!(error, AuditError::Write { fault: Fault::DiskFull, .. }), "{error}");
        assert!(matches!(store.record(large("again")).wait(), Err(AuditError::Write { fault: Fault::DiskFull, .. })));
        let stats = store.stats();
        assert_eq!((stats.committed, stats.failed, stats.healthy, stats.last_error), (kept, 2, false, Some("disk_full")));
        assert_eq!(Reader::open(&path).unwrap().count().unwrap(), kept, "no partial record");

        Connection::open(&path).unwrap().execute("DELETE FROM events WHERE seq < 10", []).unwrap();
        let receipt = store.record(large("after")).wait().unwrap();
        assert!(store.stats().healthy);
        let read = Reader::open(&path).unwrap().events_after(0, 100).unwrap();
        assert_eq!(read.last().map(|stored| (stored.seq, &*stored.event.request_id)), Some((receipt.seq, "after")));
    }

    #[test]
    fn a_failed_commit_is_followed_by_one_on_a_fresh_connection() {
        let (_folder, path) = place();
        let store = open(&path);
        store.record(allowed("r1")).wait().unwrap();
        let outside = Connection::open(&path).unwrap();
        outside.execute_batch("ALTER TABLE events RENAME TO gone").unwrap();
        let error = store.record(allowed("r2")).wait().unwrap_err();
        assert_eq!(error.class(), "other", "{error}");
        outside.execute_batch("ALTER TABLE gone RENAME TO events").unwrap();
        assert_eq!(store.record(allowed("r3")).wait().unwrap().seq, 2);
        assert!(store.stats().healthy);
    }

    #[test]
    fn the_log_is_moved_into_the_database_as_it_grows() {
        let (folder, path) = place();
        let store = open(&path);
        for n in 0..600 {
            drop(store.record(large(&format!("r{n}"))));
        }
        store.record(allowed("last")).wait().unwrap();
        // The checkpoint comes after the answer; one more event is answered after it.
        store.record(allowed("later")).wait().unwrap();
        let size = |name: &str| std::fs::metadata(folder.path().join(name)).unwrap().len();
        assert!(size("audit.db") > 8 << 20, "{} bytes in the database", size("audit.db"));
        store.close().unwrap();
        assert!(!folder.path().join("audit.db-wal").exists(), "a clean end leaves no log");
    }
}
