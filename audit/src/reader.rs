//! Reading events back, from any process, also while the gateway writes.

use std::cell::OnceCell;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use crate::subjects::SubjectKeys;
use crate::{AuditError, ChainHash, Decision, Event, Kind, PublicKey, file, meta, proof, schema, seal};

/// Events returned by one read at most, whatever limit is asked for.
pub const READ_EVENTS_MAX: usize = 10_000;

/// The columns [`stored_event`] reads.
pub(crate) const COLUMNS: &str = "events.seq, events.event_id, events.ts_us, events.kind, events.tenant, events.request_id, events.decision, events.body, events.chain_hash";

/// Places of two of them.
const BODY: usize = 7;
const CHAIN_HASH: usize = 8;

/// An event with its number.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredEvent {
    /// The store's own numbering: 1, 2, 3 ... without holes, never reused.
    pub seq: i64,
    /// The event. Where its stored form cannot be read any more: what the columns still say, with outcome `unreadable`.
    pub event: Event,
    /// The event's JSON, exactly as it is stored.
    pub body: String,
    /// What `chain.rs` says over this event and all before it.
    pub chain_hash: ChainHash,
}

/// An event while it is read: its body is not copied.
pub(crate) struct Seen<'a> {
    pub seq: i64,
    pub event: Event,
    pub body: &'a str,
    pub chain_hash: ChainHash,
}

/// Which events a read returns; an absent part matches all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// Only this tenant's.
    pub tenant: Option<String>,
    /// Only of this kind.
    pub kind: Option<Kind>,
    /// Only with this decision.
    pub decision: Option<Decision>,
    /// Only of this request.
    pub request_id: Option<String>,
}

/// What somebody who passes events on has still before them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// The number of the newest event; 0 in an empty store.
    pub newest_seq: i64,
    /// The moment of the first event not yet passed on, microseconds since 1970; absent where there is none.
    pub oldest_us: Option<i64>,
}

/// A read-only view of a store.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    store_id: String,
    connection: Connection,
    keys: OnceCell<SubjectKeys>,
}

impl Reader {
    /// Opens the store at `path` for reading.
    ///
    /// # Errors
    /// `Newer`, `Older`, `Foreign`, `Corrupt`, or `Open` where there is no such file.
    pub fn open(path: &Path) -> Result<Self, AuditError> {
        // Links resolved: what lies beside the store lies beside the file, not beside the link.
        let path = &path.canonicalize().map_err(|error| AuditError::open_io(path, &error))?;
        let (connection, version) = file::look(path)?;
        if version < schema::VERSION {
            return Err(AuditError::Older { path: path.into(), found: version, known: schema::VERSION });
        }
        let store_id = meta::store_id(&connection).map_err(|error| AuditError::read(path, &error))?;
        Ok(Self { path: path.into(), store_id, connection, keys: OnceCell::new() })
    }

    /// Returns the store's id: a UUID made once, when the store was made.
    pub fn store_id(&self) -> &str {
        &self.store_id
    }

    /// The store's file, with links resolved.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the keys that signed checkpoints of the store, the newest last; as far as the store itself can be believed.
    ///
    /// # Errors
    /// `Read`.
    pub fn public_keys(&self) -> Result<Vec<PublicKey>, AuditError> {
        proof::trusted(&self.connection, &[]).map(|(keys, _)| keys).map_err(|error| AuditError::read(&self.path, &error))
    }

    /// Returns matching events in rising order: the first ones after number `after`, or without it the newest ones. Sealed texts are
    /// put back into words where their key is there, and are [`ERASED`](crate::ERASED) where it is not.
    ///
    /// # Errors
    /// `Read`.
    pub fn tail(&self, after: Option<i64>, limit: usize, filter: &Filter) -> Result<Vec<StoredEvent>, AuditError> {
        let mut found = self.find(after, limit, filter)?;
        for stored in found.iter_mut().filter(|stored| seal::is_sealed(&stored.event)) {
            let Event { tenant, key_id, .. } = &stored.event;
            let keys = self.keys()?;
            let key =
                keys.map(|keys| keys.find(tenant, key_id)).transpose().map_err(|error| AuditError::read(&self.path, &error))?.flatten();
            seal::open(key.as_ref(), &mut stored.event);
        }
        Ok(found)
    }

    /// The keys of stored texts; the file may come later than the reader.
    fn keys(&self) -> Result<Option<&SubjectKeys>, AuditError> {
        if self.keys.get().is_none()
            && let Some(keys) = SubjectKeys::look(&self.path)?
        {
            // Nobody else can have set it.
            let _ = self.keys.set(keys);
        }
        Ok(self.keys.get())
    }

    fn find(&self, after: Option<i64>, limit: usize, filter: &Filter) -> Result<Vec<StoredEvent>, AuditError> {
        let mut conditions = vec!["1 = 1"];
        let mut values: Vec<Value> = Vec::new();
        let mut only = |condition, value: Option<Value>| {
            if let Some(value) = value {
                conditions.push(condition);
                values.push(value);
            }
        };
        only("seq > ?", after.map(Value::from));
        only("tenant = ?", filter.tenant.clone().map(Value::from));
        only("kind = ?", filter.kind.map(|kind| Value::from(kind.as_str().to_owned())));
        only("decision = ?", filter.decision.map(|decision| Value::from(decision.as_str().to_owned())));
        only("request_id = ?", filter.request_id.clone().map(Value::from));
        values.push(Value::from(i64::try_from(limit.min(READ_EVENTS_MAX)).unwrap_or(i64::MAX)));
        let order = if after.is_some() { "ASC" } else { "DESC" };
        let sql = format!("SELECT {COLUMNS} FROM events WHERE {} ORDER BY seq {order} LIMIT ?", conditions.join(" AND "));
        let mut events = self.read(&sql, values)?;
        if after.is_none() {
            events.reverse();
        }
        Ok(events)
    }

    /// Returns the events numbered above `seq`, in order and without exception: the range read for whoever passes them on.
    /// An event seen once never changes, and none appears later below a number already returned. Texts stay sealed, so that what is
    /// passed on can be erased too.
    ///
    /// # Errors
    /// `Read`.
    pub fn events_after(&self, seq: i64, limit: usize) -> Result<Vec<StoredEvent>, AuditError> {
        self.find(Some(seq), limit, &Filter::default())
    }

    /// Shows the events numbered above `seq` one after the other, as [`Reader::events_after`] returns them, until `see` has seen enough.
    ///
    /// # Errors
    /// `Read`.
    pub(crate) fn each_after(&self, seq: i64, mut see: impl FnMut(Seen<'_>) -> ControlFlow<()>) -> Result<(), AuditError> {
        let mut read = || {
            let sql = format!("SELECT {COLUMNS} FROM events WHERE seq > ?1 ORDER BY seq");
            let mut statement = self.connection.prepare_cached(&sql)?;
            let mut rows = statement.query([seq])?;
            while let Some(row) = rows.next()? {
                let body = row.get_ref(BODY)?.as_str()?;
                let (seq, event) = event(row, body)?;
                if see(Seen { seq, event, body, chain_hash: row.get(CHAIN_HASH)? }).is_break() {
                    break;
                }
            }
            Ok(())
        };
        read().map_err(|error| AuditError::read(&self.path, &error))
    }

    /// Returns what stands after number `seq`: what somebody who passed on all up to it has still to pass on.
    ///
    /// # Errors
    /// `Read`.
    pub fn backlog(&self, seq: i64) -> Result<Backlog, AuditError> {
        let sql = "SELECT coalesce(max(seq), 0), (SELECT ts_us FROM events WHERE seq > ?1 ORDER BY seq LIMIT 1) FROM events";
        let read =
            || self.connection.prepare_cached(sql)?.query_row([seq], |row| Ok(Backlog { newest_seq: row.get(0)?, oldest_us: row.get(1)? }));
        read().map_err(|error| AuditError::read(&self.path, &error))
    }

    /// Returns up to which number events are synced, where commits are not: what stands above may still be lost with the power, and
    /// is not to be passed on.
    pub(crate) fn synced_seq(&self) -> Result<Option<i64>, AuditError> {
        meta::get(&self.connection, meta::SYNCED_SEQ).map_err(|error| AuditError::read(&self.path, &error))
    }

    /// Returns how many events the store has. Reads a whole index: for reports, not for every second.
    ///
    /// # Errors
    /// `Read`.
    pub fn count(&self) -> Result<u64, AuditError> {
        let count = self.connection.query_row("SELECT count(*) FROM events", [], |row| row.get::<_, i64>(0));
        count.map(i64::unsigned_abs).map_err(|error| AuditError::read(&self.path, &error))
    }

    fn read(&self, sql: &str, values: Vec<Value>) -> Result<Vec<StoredEvent>, AuditError> {
        let read = || self.connection.prepare_cached(sql)?.query_map(params_from_iter(values), stored_event)?.collect::<Result<_, _>>();
        read().map_err(|error| AuditError::read(&self.path, &error))
    }
}

/// Reads one row of [`COLUMNS`].
pub(crate) fn stored_event(row: &rusqlite::Row<'_>) -> rusqlite::Result<StoredEvent> {
    let body: String = row.get(BODY)?;
    let (seq, event) = event(row, &body)?;
    Ok(StoredEvent { seq, event, body, chain_hash: row.get(CHAIN_HASH)? })
}

/// The event of a row and its number. A body that is no event any more does not stop the reading of the others.
fn event(row: &rusqlite::Row<'_>, body: &str) -> rusqlite::Result<(i64, Event)> {
    let seq = row.get(0)?;
    let event = match serde_json::from_str(body) {
        Ok(event) => event,
        Err(error) => {
            tracing::error!(seq, %error, "audit event cannot be read");
            from_columns(row)?
        }
    };
    Ok((seq, event))
}

fn from_columns(row: &rusqlite::Row<'_>) -> rusqlite::Result<Event> {
    let kind = row.get::<_, String>(3)?.parse().unwrap_or_default();
    let mut event = Event::new(kind, row.get::<_, Option<String>>(5)?.unwrap_or_default());
    event.event_id = row.get(1)?;
    event.stamp(row.get(2)?);
    event.tenant = row.get(4)?;
    event.decision = row.get::<_, Option<String>>(6)?.and_then(|word| word.parse().ok());
    event.outcome = "unreadable".into();
    Ok(event)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{allowed, open, place};

    #[test]
    fn a_filter_and_a_range_return_what_they_name() {
        let (_folder, path) = place();
        let store = open(&path);
        let blocked = |id: &str| Event { tenant: "other".into(), decision: Some(Decision::Block), ..allowed(id) };
        let first = allowed("a");
        for event in [first.clone(), blocked("b"), Event::completion_of(&first), allowed("c"), blocked("d")] {
            store.record(event).wait().unwrap();
        }
        let reader = Reader::open(&path).unwrap();
        let seqs = |after, limit, filter: &Filter| -> Vec<i64> {
            reader.tail(after, limit, filter).unwrap().iter().map(|stored| stored.seq).collect()
        };
        let all = Filter::default();
        assert_eq!(seqs(None, 2, &all), [4, 5], "the newest, in rising order");
        assert_eq!(seqs(Some(0), 2, &all), [1, 2], "the first after a number");
        assert_eq!(seqs(Some(5), 2, &all), [0_i64; 0]);
        assert_eq!(seqs(None, 0, &all), [0_i64; 0]);
        assert_eq!(seqs(None, usize::MAX, &all), [1, 2, 3, 4, 5]);
        assert_eq!(seqs(None, 9, &Filter { tenant: Some("other".into()), ..all.clone() }), [2, 5]);
        assert_eq!(seqs(Some(2), 9, &Filter { decision: Some(Decision::Block), ..all.clone() }), [5]);
        assert_eq!(seqs(None, 9, &Filter { kind: Some(Kind::Completion), ..all.clone() }), [3]);
        assert_eq!(seqs(None, 9, &Filter { request_id: Some("a".into()), ..all.clone() }), [1, 3]);
        assert_eq!(seqs(None, 9, &Filter { request_id: Some("' OR 1=1 --".into()), ..all }), [0_i64; 0]);
        assert_eq!(reader.events_after(3, 9).unwrap().iter().map(|stored| stored.seq).collect::<Vec<_>>(), [4, 5]);
        assert_eq!(reader.count().unwrap(), 5);
        assert_eq!(reader.backlog(0).unwrap(), Backlog { newest_seq: 5, oldest_us: Some(first.time_us) });
        assert_eq!(reader.backlog(5).unwrap(), Backlog { newest_seq: 5, oldest_us: None });
    }

    #[test]
    fn a_reader_opened_before_sees_what_comes_after() {
        let (_folder, path) = place();
        let store = open(&path);
        let reader = Reader::open(&path).unwrap();
        assert_eq!(reader.count().unwrap(), 0);
        store.record(allowed("a")).wait().unwrap();
        assert_eq!(reader.events_after(0, 9).unwrap().len(), 1);
        store.close().unwrap();
        assert_eq!(reader.events_after(0, 9).unwrap().len(), 1, "also after the gateway has gone");
    }

    #[test]
    fn a_reader_changes_nothing_and_needs_a_store() {
        let (_folder, path) = place();
        assert!(matches!(Reader::open(&path), Err(AuditError::Open { .. })));
        assert!(!path.exists());
        open(&path).close().unwrap();
        let reader = Reader::open(&path).unwrap();
        assert!(reader.connection.execute("DELETE FROM events", []).is_err());
    }

    #[test]
    fn an_event_that_cannot_be_read_does_not_hide_the_others() {
        let (_folder, path) = place();
        let store = open(&path);
        for id in ["a", "b", "c"] {
            store.record(allowed(id)).wait().unwrap();
        }
        store.close().unwrap();
        Connection::open(&path).unwrap().execute("UPDATE events SET body = 'no json' WHERE seq = 2", []).unwrap();
        let read = Reader::open(&path).unwrap().events_after(0, 9).unwrap();
        assert_eq!(read.iter().map(|stored| &*stored.event.outcome).collect::<Vec<_>>(), ["", "unreadable", ""]);
        assert_eq!((&*read[1].event.request_id, read[1].event.decision), ("b", Some(Decision::Allow)));
    }
}
