//! What the shipper must not forget, in a small SQLite file of its own beside the store: how far it is, which batch is on its way,
//! and which rows ClickHouse would not take.
//!
//! On disk: `<store>.ship`, `application_id` = "PtcS", `user_version` = 1, WAL, for its owner only. Lost, everything is sent again,
//! and ClickHouse shows each event once all the same.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension as _, params};

use super::error::{Refusal, ShipError};
use crate::StoredEvent;
use crate::file::BUSY_WAIT;

/// "PtcS" in ASCII.
const APPLICATION_ID: i64 = 0x5074_6353;
const VERSION: i64 = 1;
/// `first` and `last` are the batch on its way; both NULL between two batches.
const SCHEMA: &str = "
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
) STRICT;";

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

    /// Keeps a row that ClickHouse would not take, once, however often it is refused.
    pub fn quarantine(&self, stored: &StoredEvent, refusal: &Refusal) -> Result<(), ShipError> {
        let sql = "INSERT OR REPLACE INTO quarantine (event_id, seq, at_us, code, reason, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let now = jiff::Timestamp::now().as_microsecond();
        let row = params![stored.event.event_id, stored.seq, now, refusal.code, refusal.text, stored.body];
        self.connection.execute(sql, row).map(drop).map_err(|error| self.failed(&error))
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
    if tables == 0 {
        let transaction = connection.transaction()?;
        transaction.execute_batch(SCHEMA)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
        transaction.commit()?;
    }
    Ok(Ok(connection))
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
            ledger.quarantine(&poison, &refusal).unwrap();
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
    fn a_file_of_another_program_or_version_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("audit.db");
        Connection::open(folder.path().join("audit.db.ship")).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
        assert!(Ledger::open(&store).err().unwrap().to_string().contains("no notes of a shipper"));
        let store = folder.path().join("other.db");
        drop(Ledger::open(&store).unwrap());
        Connection::open(folder.path().join("other.db.ship")).unwrap().pragma_update(None, "user_version", 2).unwrap();
        assert!(Ledger::open(&store).err().unwrap().to_string().contains("run a newer one"));
    }
}
