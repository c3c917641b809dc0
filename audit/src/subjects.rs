//! The keys of data subjects: a small SQLite file of its own, `<store>.keys`, from which a key can be destroyed for good.
//!
//! One random key for each tenant and key id, made when the first text of it is stored. The file is made with the first key, readable
//! by its owner only. It has a rollback journal and no write-ahead log, so that no copy of a destroyed key stays in a log; what is
//! deleted is overwritten (`secure_delete`), and the file is written anew (`VACUUM`).
//!
//! Whoever destroys keys leaves a word of it here in the same transaction; the store's owner puts it on record and takes it away.
//! So keys can be destroyed while a gateway runs, and the store still has one writer.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom as _, SystemRandom};
use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior, params};
use zeroize::Zeroizing;

use crate::seal::{KEY_BYTES, SubjectKey};
use crate::{AuditError, Event, Kind, file};

/// "PtcK" in ASCII: marks a database as the keys of an audit store.
const APPLICATION_ID: i64 = 0x5074_634b;
/// The layout of the file.
const VERSION: i64 = 1;
const SCHEMA: &str = "
    CREATE TABLE subject_keys (
        tenant  TEXT    NOT NULL,
        key_id  TEXT    NOT NULL,
        key     BLOB    NOT NULL CHECK (length(key) = 32),
        made_us INTEGER NOT NULL,
        PRIMARY KEY (tenant, key_id)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE erasures (event_id TEXT NOT NULL PRIMARY KEY, event TEXT NOT NULL) STRICT, WITHOUT ROWID;
";
/// Erasures put on record at once.
const ERASURES_AT_ONCE: usize = 256;

/// The outcome of the event that tells of destroyed keys.
const KEYS_ERASED: &str = "keys_erased";

/// The open file.
#[derive(Debug)]
pub(crate) struct SubjectKeys {
    path: PathBuf,
    connection: Connection,
}

/// The file beside the store at `path`.
pub(crate) fn keys_file(path: &Path) -> PathBuf {
    file::beside(path, ".keys")
}

impl SubjectKeys {
    /// Opens the keys of the store at `store` for writing, founding the file if there is none.
    pub fn open_or_make(store: &Path) -> Result<Self, AuditError> {
        let path = keys_file(store);
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(failed_io(&path, &error)),
            _ => {}
        }
        let keys = Self::connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        keys.found().map_err(|error| failed(&keys.path, &error))?;
        keys.identify()?;
        Ok(keys)
    }

    /// Opens the keys of the store at `store` for reading; `None` where there are none.
    pub fn look(store: &Path) -> Result<Option<Self>, AuditError> {
        let path = keys_file(store);
        // Empty in the moment between its making and its founding.
        if std::fs::metadata(&path).map_or(true, |found| found.len() == 0) {
            return Ok(None);
        }
        let keys = Self::connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        keys.identify()?;
        Ok(Some(keys))
    }

    fn connect(path: PathBuf, flags: OpenFlags) -> Result<Self, AuditError> {
        let connect = || {
            let connection = Connection::open_with_flags(&path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
            connection.busy_timeout(file::BUSY_WAIT)?;
            connection.pragma_update(None, "trusted_schema", false)?;
            connection.pragma_update_and_check(None, "secure_delete", true, |_| Ok(()))?;
            // The journal's removal is what commits; not synced, a loss of power takes back a key that texts are sealed with, or brings
            // back one that was destroyed.
            connection.pragma_update(None, "synchronous", "EXTRA")?;
            connection.pragma_update(None, "fullfsync", true)?;
            // No sorting or vacuuming leaves keys in a temporary file.
            connection.pragma_update(None, "temp_store", "MEMORY")?;
            Ok(connection)
        };
        let connection = connect().map_err(|error| failed(&path, &error))?;
        Ok(Self { path, connection })
    }

    fn found(&self) -> rusqlite::Result<()> {
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        let tables: i64 = self.connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        if tables == 0 {
            self.connection.execute_batch(SCHEMA)?;
            self.connection.pragma_update(None, "application_id", APPLICATION_ID)?;
            self.connection.pragma_update(None, "user_version", VERSION)?;
        }
        self.connection.execute_batch("COMMIT")
    }

    fn identify(&self) -> Result<(), AuditError> {
        let number = |pragma| self.connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
        let found = number("application_id").and_then(|id| Ok((id, number("user_version")?)));
        match found.map_err(|error| failed(&self.path, &error))? {
            (APPLICATION_ID, VERSION) => Ok(()),
            (APPLICATION_ID, found) => Err(AuditError::Newer { path: self.path.clone(), found, known: VERSION }),
            _ => Err(AuditError::Foreign { path: self.path.clone() }),
        }
    }

    /// Returns the subject's key if there is one.
    pub fn find(&self, tenant: &str, key_id: &str) -> rusqlite::Result<Option<SubjectKey>> {
        let mut statement = self.connection.prepare_cached("SELECT key FROM subject_keys WHERE tenant = ?1 AND key_id = ?2")?;
        let bytes: Option<[u8; KEY_BYTES]> = statement.query_row([tenant, key_id], |row| row.get(0)).optional()?;
        Ok(bytes.map(Zeroizing::new).and_then(|bytes| SubjectKey::new(&bytes)))
    }

    /// Returns the subject's key, durable; makes it if there is none.
    fn find_or_make(&self, tenant: &str, key_id: &str) -> Result<SubjectKey, AuditError> {
        let error = |error: rusqlite::Error| AuditError::write(&error);
        if let Some(key) = self.find(tenant, key_id).map_err(error)? {
            return Ok(key);
        }
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        SystemRandom::new().fill(&mut *bytes).map_err(|_| broken("the system gives no randomness"))?;
        let sql = "INSERT INTO subject_keys (tenant, key_id, key, made_us) VALUES (?1, ?2, ?3, ?4)";
        let now_us = jiff::Timestamp::now().as_microsecond();
        self.connection.execute(sql, params![tenant, key_id, &bytes[..], now_us]).map_err(error)?;
        SubjectKey::new(&bytes).ok_or_else(|| broken("the cipher refuses a key"))
    }

    /// Seals the texts of an event with its subject's key.
    pub fn seal(&self, event: &mut Event) -> Result<(), AuditError> {
        let key = self.find_or_make(&event.tenant, &event.key_id)?;
        key.seal(event).ok_or_else(|| broken("a text could not be sealed"))
    }

    /// What was erased and is not on record yet.
    pub fn erasures(&self) -> rusqlite::Result<Vec<Event>> {
        let mut statement = self.connection.prepare_cached("SELECT event FROM erasures LIMIT ?1")?;
        let texts = statement.query_map([ERASURES_AT_ONCE as i64], |row| row.get::<_, String>(0))?;
        texts.filter_map(|text| text.map(|text| serde_json::from_str(&text).ok()).transpose()).collect()
    }

    /// Takes an erasure away that is on record.
    pub fn recorded(&self, event_id: &str) -> rusqlite::Result<()> {
        self.connection.execute("DELETE FROM erasures WHERE event_id = ?1", [event_id]).map(drop)
    }

    /// Destroys keys and leaves a word of it. Returns how many.
    fn destroy(&mut self, tenant: &str, key_id: Option<&str>) -> rusqlite::Result<usize> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let sql = "DELETE FROM subject_keys WHERE tenant = ?1 AND (?2 IS NULL OR key_id = ?2)";
        let destroyed = transaction.execute(sql, params![tenant, key_id])?;
        if destroyed > 0 {
            let event = Event {
                tenant: tenant.to_owned(),
                key_id: key_id.unwrap_or_default().to_owned(),
                outcome: KEYS_ERASED.to_owned(),
                ..Event::new(Kind::Admin, "")
            }
            .bounded();
            let text = serde_json::to_string(&event).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
            transaction.execute("INSERT INTO erasures (event_id, event) VALUES (?1, ?2)", [&event.event_id, &text])?;
        }
        transaction.commit()?;
        self.connection.execute_batch("VACUUM")?;
        Ok(destroyed)
    }
}

/// Destroys the key of `tenant` and `key_id`, or all keys of the tenant, so that no text stored with them can be read again; the
/// events stay, and their chain. Works while a gateway runs, which then puts it on record within seconds; otherwise the next one does
/// when it starts. Returns how many keys there were.
///
/// # Errors
/// Where the store or its keys cannot be opened or changed.
pub fn erase(store: &Path, tenant: &str, key_id: Option<&str>) -> Result<usize, AuditError> {
    let store = store.canonicalize().map_err(|error| AuditError::open_io(store, &error))?;
    // A name for another file would otherwise look like a store without keys.
    file::look(&store)?;
    if SubjectKeys::look(&store)?.is_none() {
        return Ok(0);
    }
    let mut keys = SubjectKeys::open_or_make(&store)?;
    keys.destroy(tenant, key_id).map_err(|error| failed(&keys.path, &error))
}

fn broken(what: &str) -> AuditError {
    AuditError::Write { fault: crate::Fault::Other, cause: what.into() }
}

fn failed(path: &Path, error: &rusqlite::Error) -> AuditError {
    AuditError::open(path, error)
}

fn failed_io(path: &Path, error: &std::io::Error) -> AuditError {
    AuditError::open_io(path, error)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::store::tests::{allowed, open, place};
    use crate::{Against, ERASED, Filter, Reader, verify_store};

    fn said(tenant: &str, key_id: &str, text: &str) -> Event {
        let event = Event { request_id: uuid::Uuid::now_v7().to_string(), ..allowed("") };
        Event { tenant: tenant.into(), key_id: key_id.into(), redacted_prompt: Some(text.into()), ..event }
    }

    fn read(path: &Path) -> Vec<Option<String>> {
        let filter = Filter { kind: Some(Kind::Decision), ..Filter::default() };
        let read = Reader::open(path).unwrap().tail(None, 100, &filter).unwrap();
        read.into_iter().map(|stored| stored.event.redacted_prompt).collect()
    }

    fn holding(folder: &Path, needle: &[u8]) -> Vec<PathBuf> {
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| std::fs::read(path).unwrap().windows(needle.len()).any(|window| window == needle)).collect()
    }

    fn erasures(path: &Path) -> Vec<(String, String)> {
        let filter = Filter { kind: Some(Kind::Admin), ..Filter::default() };
        let read = Reader::open(path).unwrap().tail(None, 100, &filter).unwrap();
        read.into_iter().map(|stored| (stored.event.tenant, stored.event.key_id)).collect()
    }

    fn good(path: &Path) {
        let report = verify_store(path, &Against::default(), |_, _| {}).unwrap().report;
        assert!(report.is_good(), "{:?}", report.problems);
    }

    #[test]
    fn a_text_is_on_disk_only_sealed_and_is_read_with_its_key() {
        let (folder, path) = place();
        let store = open(&path);
        store.record(allowed("nothing said")).wait().unwrap();
        assert!(!keys_file(&path).exists(), "no text, no keys");
        let event = said("acme", "one", "a secret errand");
        let receipt = store.record(event.clone()).wait().unwrap();
        assert_eq!(store.record(event.clone()).wait().unwrap(), receipt, "the same event is sealed the same");
        assert_eq!(std::fs::metadata(keys_file(&path)).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read(&path), [None, Some("a secret errand".into())]);
        let passed_on = Reader::open(&path).unwrap().events_after(1, 9).unwrap();
        assert!(passed_on[0].event.sealed_prompt.is_some() && passed_on[0].event.redacted_prompt.is_none(), "passed on as it is stored");
        store.close().unwrap();
        assert_eq!(holding(folder.path(), b"secret errand"), Vec::<PathBuf>::new());
    }

    #[test]
    fn an_erased_key_is_nowhere_and_its_texts_are_gone_while_the_chain_stands() {
        let (folder, path) = place();
        let store = open(&path);
        for (tenant, key_id) in [("acme", "one"), ("acme", "two"), ("other", "one")] {
            store.record(said(tenant, key_id, "text")).wait().unwrap();
        }
        let bytes: Vec<u8> = Connection::open(keys_file(&path))
            .unwrap()
            .query_row("SELECT key FROM subject_keys WHERE tenant = 'acme' AND key_id = 'one'", [], |row| row.get(0))
            .unwrap();
        assert_eq!(holding(folder.path(), &bytes), [keys_file(&path)]);
        let text = || Some("text".to_owned());
        let erased = || Some(ERASED.to_owned());

        assert_eq!(erase(&path, "acme", Some("one")).unwrap(), 1);
        assert_eq!(read(&path), [erased(), text(), text()]);
        assert_eq!(holding(folder.path(), &bytes), Vec::<PathBuf>::new());
        let began = Instant::now();
        while erasures(&path).is_empty() {
            assert!(began.elapsed() < Duration::from_secs(30), "the running gateway did not record it");
            std::thread::sleep(Duration::from_millis(10));
        }
        // Text stored from now on has a new key, and the old stays erased.
        store.record(said("acme", "one", "again")).wait().unwrap();
        assert_eq!(read(&path), [erased(), text(), text(), Some("again".into())]);
        store.close().unwrap();

        assert_eq!(erase(&path, "acme", None).unwrap(), 2);
        assert_eq!(erase(&path, "acme", None).unwrap(), 0);
        assert_eq!(erase(&path, "nobody", None).unwrap(), 0);
        assert_eq!(read(&path), [erased(), erased(), text(), erased()]);
        open(&path).close().unwrap();
        assert_eq!(erasures(&path), [("acme".into(), "one".into()), ("acme".into(), String::new())]);
        open(&path).close().unwrap();
        assert_eq!(erasures(&path).len(), 2, "recorded once");
        good(&path);
    }

    #[test]
    fn a_lost_key_file_shows_erased_texts_and_a_broken_one_stops_only_events_with_text() {
        let (_folder, path) = place();
        let store = open(&path);
        store.record(said("acme", "one", "text")).wait().unwrap();
        store.close().unwrap();
        std::fs::remove_file(keys_file(&path)).unwrap();
        assert_eq!(read(&path), [Some(ERASED.into())]);
        std::fs::write(keys_file(&path), "no keys at all, and long enough to be looked at".repeat(100)).unwrap();
        assert!(erase(&path, "acme", None).is_err());
        let store = open(&path);
        store.record(allowed("without text")).wait().unwrap();
        assert!(matches!(store.record(said("acme", "one", "new")).wait(), Err(AuditError::Write { .. } | AuditError::Corrupt { .. })));
        store.record(allowed("without text, too")).wait().unwrap();
        store.close().unwrap();
        good(&path);
    }

    #[test]
    fn erasing_needs_a_store() {
        let (folder, path) = place();
        assert!(erase(&path, "acme", None).is_err());
        std::fs::write(folder.path().join("other"), "text").unwrap();
        assert!(erase(&folder.path().join("other"), "acme", None).is_err());
    }
}
