//! What the shipper must not forget, in a small SQLite file of its own beside the store: how far it is, which batch is on its way,
//! and which rows ClickHouse would not take.
//!
//! On disk: `<store>.ship`, `application_id` = "PtcS", `user_version` = 2, WAL, for its owner only. Lost, everything is sent again,
//! and ClickHouse shows each event once all the same. Version 1 kept of a refused row neither its store nor its hash.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};

use super::error::{Refusal, ShipError};
use crate::file::BUSY_WAIT;
use crate::{ChainHash, StoredEvent};

/// "PtcS" in ASCII.
const APPLICATION_ID: i64 = 0x5074_6353;
const VERSION: i64 = 2;
/// What brings a file of each version to the next one: an empty one first. `first` and `last` are the batch on its way; both NULL between
/// two batches.
const MIGRATIONS: [&str; VERSION as usize] = [
    "
CREATE TABLE progress (
    id              INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    store_id        TEXT    NOT NULL,
    delivered_seq   INTEGER NOT NULL,
    delivered_event TEXT    NOT NULL,
    first           INTEGER,
    last            INTEGER
) STRICT;
CREATE TABLE quarantine (
    event_id TEXT    NOT NULL PRIMARY KEY,
    seq      INTEGER NOT NULL,
    at_us    INTEGER NOT NULL,
    code     INTEGER NOT NULL,
    reason   TEXT    NOT NULL,
    body     TEXT    NOT NULL
) STRICT;",
    "
ALTER TABLE quarantine ADD COLUMN store_id TEXT;
ALTER TABLE quarantine ADD COLUMN chain_hash BLOB;",
];

/// How far the delivery is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The store that `delivered_seq` counts in.
    pub store_id: String,
    /// The last event delivered; 0 at the beginning.
    pub delivered_seq: i64,
    /// Its id, by which a store put back to an earlier state is noticed.
    pub delivered_event: String,
    /// The batch on its way: these numbers and no others, until it is acknowledged.
    pub sending: Option<(i64, i64)>,
}

/// A row that ClickHouse would not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// The event's number in the store, where it still is.
    pub seq: i64,
    /// Its id.
    pub event_id: String,
    /// ClickHouse's number of the reason; 0 where the row was not even sent.
    pub code: u32,
    /// The reason in words. May quote the event.
    pub reason: String,
}

/// A row in quarantine as it was refused, whatever became of the store it is from.
pub(crate) struct Kept {
    pub seq: i64,
    pub event_id: String,
    pub body: String,
    /// The store it is from and its hash there; absent in a row that version 1 kept.
    pub origin: Option<(String, ChainHash)>,
}

pub(crate) struct Ledger {
    path: PathBuf,
    connection: Connection,
}

/// The file of the notes that belong to a store.
pub(crate) fn beside(store: &Path) -> PathBuf {
    let mut name = store.as_os_str().to_owned();
    name.push(".ship");
    name.into()
}

impl Ledger {
    /// Opens the notes beside `store`, or begins them.
    pub fn open(store: &Path) -> Result<Self, ShipError> {
        let path = beside(store);
        let failed = |cause: String| ShipError::Ledger { path: path.clone(), cause };
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(|error| failed(error.to_string()))?;
        let connection = prepared(&path).map_err(|error| failed(error.to_string()))?.map_err(failed)?;
        Ok(Self { path, connection })
    }

    pub fn progress(&self) -> Result<Option<Progress>, ShipError> {
        let row = self.connection.query_row("SELECT store_id, delivered_seq, delivered_event, first, last FROM progress", [], |row| {
            Ok(Progress {
                store_id: row.get(0)?,
                delivered_seq: row.get(1)?,
                delivered_event: row.get(2)?,
                sending: row.get::<_, Option<i64>>(3)?.zip(row.get(4)?),
            })
        });
        row.optional().map_err(|error| self.failed(&error))
    }

    /// Begins at the first event of a store.
    pub fn begin_store(&self, store_id: &str) -> Result<Progress, ShipError> {
        let sql = "INSERT OR REPLACE INTO progress (id, store_id, delivered_seq, delivered_event) VALUES (1, ?1, 0, '')";
        self.connection.execute(sql, [store_id]).map_err(|error| self.failed(&error))?;
        Ok(Progress { store_id: store_id.into(), delivered_seq: 0, delivered_event: String::new(), sending: None })
    }

    /// Fixes the numbers of the next batch, before any of it is sent.
    pub fn begin_batch(&self, first: i64, last: i64) -> Result<(), ShipError> {
        let done = self.connection.execute("UPDATE progress SET first = ?1, last = ?2", [first, last]);
        done.map(drop).map_err(|error| self.failed(&error))
    }

    /// Moves past a batch that is acknowledged.
    pub fn delivered(&self, seq: i64, event_id: &str) -> Result<(), ShipError> {
        let sql = "UPDATE progress SET delivered_seq = ?1, delivered_event = ?2, first = NULL, last = NULL";
        self.connection.execute(sql, params![seq, event_id]).map(drop).map_err(|error| self.failed(&error))
    }

    /// Keeps a row of the store `store_id` that ClickHouse would not take, once, however often it is refused.
    pub fn quarantine(&self, store_id: &str, stored: &StoredEvent, refusal: &Refusal) -> Result<(), ShipError> {
        let sql = "INSERT OR REPLACE INTO quarantine (event_id, seq, at_us, code, reason, body, store_id, chain_hash) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        let StoredEvent { seq, event, body, chain_hash } = stored;
        let row = params![event.event_id, seq, now_us(), refusal.code, refusal.text, body, store_id, chain_hash];
        self.connection.execute(sql, row).map(drop).map_err(|error| self.failed(&error))
    }

    /// Notes why a row in quarantine was refused once more.
    pub fn refused_again(&self, event_id: &str, refusal: &Refusal) -> Result<(), ShipError> {
        let sql = "UPDATE quarantine SET at_us = ?2, code = ?3, reason = ?4 WHERE event_id = ?1";
        let done = self.connection.execute(sql, params![event_id, now_us(), refusal.code, refusal.text]);
        done.map(drop).map_err(|error| self.failed(&error))
    }

    /// Lets a row out of quarantine.
    pub fn release(&self, event_id: &str) -> Result<(), ShipError> {
        let done = self.connection.execute("DELETE FROM quarantine WHERE event_id = ?1", [event_id]);
        done.map(drop).map_err(|error| self.failed(&error))
    }

    /// The first row in quarantine after the one with this number and id.
    pub fn kept_after(&self, seq: i64, event_id: &str) -> Result<Option<Kept>, ShipError> {
        let sql = "SELECT seq, event_id, body, store_id, chain_hash FROM quarantine WHERE (seq, event_id) > (?1, ?2) \
                   ORDER BY seq, event_id LIMIT 1";
        let row = self.connection.query_row(sql, params![seq, event_id], |row| {
            let (store_id, chain_hash): (Option<String>, Option<ChainHash>) = (row.get(3)?, row.get(4)?);
            Ok(Kept { seq: row.get(0)?, event_id: row.get(1)?, body: row.get(2)?, origin: store_id.zip(chain_hash) })
        });
        row.optional().map_err(|error| self.failed(&error))
    }

    /// How many rows are in quarantine.
    pub fn quarantined(&self) -> Result<u64, ShipError> {
        let count = self.connection.query_row("SELECT count(*) FROM quarantine", [], |row| row.get::<_, i64>(0));
        count.map(i64::unsigned_abs).map_err(|error| self.failed(&error))
    }

    /// The rows in quarantine, by number, at most `limit`.
    pub fn quarantine_rows(&self, limit: u32) -> Result<Vec<Quarantined>, ShipError> {
        let read = || {
            let mut statement = self.connection.prepare("SELECT seq, event_id, code, reason FROM quarantine ORDER BY seq LIMIT ?1")?;
            let rows = statement.query_map([limit], |row| {
                Ok(Quarantined { seq: row.get(0)?, event_id: row.get(1)?, code: row.get(2)?, reason: row.get(3)? })
            })?;
            rows.collect::<rusqlite::Result<_>>()
        };
        read().map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &rusqlite::Error) -> ShipError {
        ShipError::Ledger { path: self.path.clone(), cause: error.to_string() }
    }
}

/// A connection to the notes, with their tables. The inner error: it is not a file of ours.
fn prepared(path: &Path) -> rusqlite::Result<Result<Connection, String>> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_WAIT)?;
    let number = |connection: &Connection, pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables > 0 && number(&connection, "application_id")? != APPLICATION_ID {
        return Ok(Err("is a database, but no notes of a shipper; move it away".into()));
    }
    let version = number(&connection, "user_version")?;
    if version > VERSION {
        return Ok(Err(format!("has version {version}, this program knows up to {VERSION}; run a newer one")));
    }
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    if version < VERSION {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Asked again: another process may have brought it forward meanwhile.
        let done = number(&transaction, "user_version")?;
        for migration in MIGRATIONS.iter().skip(usize::try_from(done).unwrap_or(0)) {
            transaction.execute_batch(migration)?;
        }
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", VERSION.max(done))?;
        transaction.commit()?;
    }
    Ok(Ok(connection))
}

fn now_us() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Event, Kind};

    #[test]
    fn what_was_noted_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("audit.db");
        let ledger = Ledger::open(&store).unwrap();
        assert_eq!(ledger.progress().unwrap(), None);
        ledger.begin_store("s").unwrap();
        ledger.begin_batch(1, 5).unwrap();
        let poison = StoredEvent { seq: 3, event: Event::new(Kind::Decision, "r"), body: "{}".into(), chain_hash: [0; 32] };
        let refusal = Refusal { code: 469, name: "VIOLATED_CONSTRAINT".into(), text: "Code: 469 ...".into() };
        for _ in 0..2 {
            ledger.quarantine("s", &poison, &refusal).unwrap();
        }
        drop(ledger);
        let ledger = Ledger::open(&store).unwrap();
        let begun = Progress { store_id: "s".into(), delivered_seq: 0, delivered_event: String::new(), sending: Some((1, 5)) };
        assert_eq!(ledger.progress().unwrap(), Some(begun.clone()));
        ledger.delivered(5, "e5").unwrap();
        let delivered = Progress { delivered_seq: 5, delivered_event: "e5".into(), sending: None, ..begun };
        assert_eq!(ledger.progress().unwrap(), Some(delivered));
        assert_eq!(ledger.quarantined().unwrap(), 1);
        let rows = ledger.quarantine_rows(9).unwrap();
        assert_eq!((rows[0].seq, rows[0].code, &*rows[0].event_id), (3, 469, &*poison.event.event_id));
    }

    #[test]
    fn rows_in_quarantine_are_gone_through_in_order_and_let_out_one_by_one() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&folder.path().join("audit.db")).unwrap();
        let refusal = |code| Refusal { code, name: "X".into(), text: format!("Code: {code}") };
        // Of two stores: numbers come twice.
        for (seq, id) in [(2, "b"), (1, "c"), (2, "a")] {
            let event = Event { event_id: id.into(), ..Event::new(Kind::Decision, "r") };
            ledger.quarantine("s", &StoredEvent { seq, event, body: "{}".into(), chain_hash: [7; 32] }, &refusal(469)).unwrap();
        }
        let all = || {
            let mut ids = Vec::new();
            let mut last = (i64::MIN, String::new());
            while let Some(kept) = ledger.kept_after(last.0, &last.1).unwrap() {
                assert_eq!(kept.origin, Some(("s".into(), [7; 32])));
                last = (kept.seq, kept.event_id.clone());
                ids.push(kept.event_id);
            }
            ids
        };
        assert_eq!(all(), ["c", "a", "b"]);
        ledger.release("a").unwrap();
        ledger.refused_again("b", &refusal(6)).unwrap();
        ledger.refused_again("a", &refusal(6)).unwrap();
        assert_eq!(all(), ["c", "b"], "what is let out does not come back by being refused");
        let rows = ledger.quarantine_rows(9).unwrap();
        assert_eq!((rows[1].code, rows[1].reason.as_str()), (6, "Code: 6"));
    }

    #[test]
    fn notes_of_version_1_are_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let old = Connection::open(folder.path().join("audit.db.ship")).unwrap();
        old.execute_batch(MIGRATIONS[0]).unwrap();
        old.execute_batch(
            "INSERT INTO quarantine VALUES ('e', 4, 1, 469, 'why', '{}'); INSERT INTO progress VALUES (1, 's', 9, 'd', 10, 12)",
        )
        .unwrap();
        old.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
        old.pragma_update(None, "user_version", 1).unwrap();
        drop(old);
        let ledger = Ledger::open(&folder.path().join("audit.db")).unwrap();
        assert_eq!(ledger.progress().unwrap().unwrap().sending, Some((10, 12)));
        let kept = ledger.kept_after(i64::MIN, "").unwrap().unwrap();
        assert!(kept.seq == 4 && kept.origin.is_none());
        assert_eq!(number_of(&ledger, "user_version"), VERSION);
    }

    fn number_of(ledger: &Ledger, pragma: &str) -> i64 {
        ledger.connection.pragma_query_value(None, pragma, |row| row.get(0)).unwrap()
    }

    #[test]
    fn a_file_of_another_program_or_version_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("audit.db");
        Connection::open(folder.path().join("audit.db.ship")).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
        assert!(Ledger::open(&store).err().unwrap().to_string().contains("no notes of a shipper"));
        let store = folder.path().join("other.db");
        drop(Ledger::open(&store).unwrap());
        Connection::open(folder.path().join("other.db.ship")).unwrap().pragma_update(None, "user_version", VERSION + 1).unwrap();
        assert!(Ledger::open(&store).err().unwrap().to_string().contains("run a newer one"));
    }
}
