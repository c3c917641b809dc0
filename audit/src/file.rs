//! The store's file: found or founded, locked, checked, opened with everything durability asks for, or set aside.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::{AuditError, Durability, notary, schema};

/// How long a write waits for a foreign process that holds the file's write lock, and a checkpoint for readers.
pub(crate) const BUSY_WAIT: Duration = Duration::from_secs(5);
/// Bytes the log file is cut back to when it starts over.
const LOG_BYTES_KEPT: i64 = 16 << 20;
/// Size up to which the whole database is checked at opening; beyond, that would keep the gateway from starting.
const CHECK_BYTES_MAX: u64 = 256 << 20;
/// Newest events read at opening in any case.
pub(crate) const CHECK_EVENTS: i64 = 256;

/// Resolves links, so that two names of one file are one store, and makes the folder if there is none.
pub(crate) fn resolve(path: &Path) -> Result<PathBuf, AuditError> {
    let failed = |error: std::io::Error| AuditError::open_io(path, &error);
    if path.symlink_metadata().is_ok() {
        return path.canonicalize().map_err(failed);
    }
    let Some(name) = path.file_name() else {
        return Err(AuditError::Open { path: path.into(), cause: "the path names no file".into() });
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(failed)?;
    Ok(folder.canonicalize().map_err(failed)?.join(name))
}

/// Takes the lock for as long as the returned file lives. It is never deleted: another process could be about to lock it.
pub(crate) fn lock(path: &Path) -> Result<File, AuditError> {
    let failed = |error: std::io::Error| AuditError::open_io(path, &error);
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(beside(path, ".lock")).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(AuditError::Locked { path: path.into() }),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Opens the file, or founds it, checks it and brings it to the present version.
pub(crate) fn open_checked(path: &Path, bytes_max: Option<u64>) -> Result<Connection, AuditError> {
    let failed = |error: rusqlite::Error| AuditError::open(path, &error);
    let corrupt = |what: &str| AuditError::Corrupt { path: path.into(), what: what.into() };
    let size = match fs::metadata(path) {
        // SQLite takes an empty file for a new database and throws its log away. Ours are never empty: they are founded aside.
        Ok(found) if found.len() == 0 => return Err(corrupt("it is empty")),
        Ok(found) => found.len(),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(AuditError::open_io(path, &error)),
        Err(_) if fs::metadata(beside(path, "-wal")).is_ok_and(|log| log.len() > 0) => {
            return Err(corrupt("its write-ahead log is there, the database is gone"));
        }
        Err(_) => {
            tell_of_lost(path);
            create(path)?;
            0
        }
    };
    // Looked at read-only first: what is refused is left as it was, its log included.
    let (look, version) = look(path)?;
    if size <= CHECK_BYTES_MAX {
        let verdict: String = look.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(failed)?;
        if verdict != "ok" {
            return Err(corrupt(&verdict));
        }
    }
    drop(look);
    // What is done at opening is always synced.
    let mut connection = connect(path, bytes_max, Durability::Strict).map_err(failed)?;
    schema::migrate(&mut connection, version).map_err(failed)?;
    connection
        .query_row("SELECT sum(length(body)) FROM (SELECT body FROM events ORDER BY seq DESC LIMIT ?1)", [CHECK_EVENTS], |_| Ok(()))
        .map_err(failed)?;
    if checkpoint(&connection, "TRUNCATE").map_err(failed)?.busy {
        tracing::warn!(path = %path.display(), "audit store: a reader keeps the write-ahead log from starting over");
    }
    Ok(connection)
}

/// Says so when there was a store before the one that is about to be founded.
fn tell_of_lost(path: &Path) {
    let checkpoints = notary::checkpoints_file(path);
    if fs::metadata(&checkpoints).is_ok_and(|found| found.len() > 0) {
        tracing::error!(
            path = %path.display(), checkpoints = %checkpoints.display(),
            "audit store: signed checkpoints are there, the events are gone; a new store begins: put the old one back, or keep its checkpoints"
        );
    }
}

/// Founds a store under another name and renames it, so that the file is either absent or whole.
fn create(path: &Path) -> Result<(), AuditError> {
    let failed = |error: rusqlite::Error| AuditError::open(path, &error);
    let failed_io = |error: std::io::Error| AuditError::open_io(path, &error);
    let draft = beside(path, ".new");
    for leftover in [draft.clone(), beside(&draft, "-journal")] {
        match fs::remove_file(&leftover) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed_io(error)),
            _ => {}
        }
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).map_err(failed_io)?;
    let mut connection = Connection::open_with_flags(&draft, flags()).map_err(failed)?;
    schema::found(&connection).map_err(failed)?;
    schema::migrate(&mut connection, 0).map_err(failed)?;
    connection.close().map_err(|(_, error)| failed(error))?;
    file.sync_all().map_err(failed_io)?;
    fs::rename(&draft, path).map_err(failed_io)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed_io)
}

/// Opens a store for reading only, after making sure that it is one. Returns its version too.
pub(crate) fn look(path: &Path) -> Result<(Connection, i64), AuditError> {
    let failed = |error: rusqlite::Error| AuditError::open(path, &error);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(BUSY_WAIT).map_err(failed)?;
    connection.pragma_update(None, "trusted_schema", false).map_err(failed)?;
    let version = schema::identify(&connection, path)?;
    Ok((connection, version))
}

fn flags() -> OpenFlags {
    OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX
}

/// Opens an existing file for writing, with everything durability asks for.
pub(crate) fn connect(path: &Path, bytes_max: Option<u64>, durability: Durability) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, flags())?;
    connection.busy_timeout(BUSY_WAIT)?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    set_sync(&connection, durability)?;
    connection.pragma_update(None, "fullfsync", true)?;
    connection.pragma_update(None, "checkpoint_fullfsync", true)?;
    // The writer does it itself, after it has answered.
    connection.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
    connection.pragma_update_and_check(None, "journal_size_limit", LOG_BYTES_KEPT, |_| Ok(()))?;
    // A connection that is given up after a failed sync must not sync the same handle once more on its way out.
    set_checkpoint_at_close(&connection, false)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    if let Some(bytes_max) = bytes_max {
        let page: u64 = connection.pragma_query_value(None, "page_size", |row| row.get::<_, i64>(0))?.unsigned_abs().max(1);
        let pages = i64::try_from(bytes_max / page).unwrap_or(i64::MAX).clamp(1, i64::from(u32::MAX) - 1);
        connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
    }
    Ok(connection)
}

/// Says whether a commit syncs the log (`FULL`), or leaves that to a later one and to checkpoints (`NORMAL`).
pub(crate) fn set_sync(connection: &Connection, durability: Durability) -> rusqlite::Result<()> {
    let how = match durability {
        Durability::Strict => "FULL",
        Durability::Relaxed => "NORMAL",
    };
    connection.pragma_update(None, "synchronous", how)
}

/// Says whether closing the connection moves the log into the database and removes it.
pub(crate) fn set_checkpoint_at_close(connection: &Connection, wanted: bool) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, !wanted).map(drop)
}

/// What a checkpoint found: whether someone was in its way, and how many pages the log has.
pub(crate) struct Checkpoint {
    pub busy: bool,
    pub log_pages: i64,
}

/// Moves the log into the database. `PASSIVE` as far as readers let it; `TRUNCATE` all of it, or `busy` after the wait.
pub(crate) fn checkpoint(connection: &Connection, how: &str) -> rusqlite::Result<Checkpoint> {
    connection.query_row(&format!("PRAGMA wal_checkpoint({how})"), [], |row| {
        Ok(Checkpoint { busy: row.get::<_, i64>(0)? != 0, log_pages: row.get(1)? })
    })
}

/// Moves a damaged store out of the way; returns its new name.
pub(crate) fn set_aside(path: &Path) -> Result<PathBuf, AuditError> {
    let aside = beside(path, &format!(".corrupt-{}", jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S%6fZ")));
    // Its checkpoints too: they say nothing of the store to come.
    for suffix in ["-shm", "-wal", ".checkpoints", ""] {
        match fs::rename(beside(path, suffix), beside(&aside, suffix)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(AuditError::open_io(path, &error)),
            _ => {}
        }
    }
    Ok(aside)
}

pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Bytes of the database and its log.
pub(crate) fn bytes_on_disk(path: &Path) -> u64 {
    ["", "-wal"].iter().filter_map(|suffix| fs::metadata(beside(path, suffix)).ok()).map(|found| found.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{allowed, open, place};
    use crate::{OnCorrupt, Reader, Store, StoreOptions};

    fn refused(path: &Path) -> AuditError {
        Store::open(path, StoreOptions::default()).unwrap_err()
    }

    /// A store with three events, copied with its log while it was open: what a kill -9 leaves.
    fn crashed(folder: &Path) -> PathBuf {
        let path = folder.join("live.db");
        let store = open(&path);
        for id in ["a", "b", "c"] {
            store.record(allowed(id)).wait().unwrap();
        }
        let copy = folder.join("copy.db");
        for suffix in ["", "-wal"] {
            fs::copy(beside(&path, suffix), beside(&copy, suffix)).unwrap();
        }
        copy
    }

    #[test]
    fn a_second_owner_is_refused_by_any_name_of_the_file() {
        let (folder, path) = place();
        let store = open(&path);
        let link = folder.path().join("link.db");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        for name in [path.clone(), link, folder.path().join("../").join(folder.path().file_name().unwrap()).join("audit.db")] {
            let error = refused(&name);
            assert!(matches!(&error, AuditError::Locked { path: named } if *named == path.canonicalize().unwrap()), "{error}");
        }
        drop(store);
        open(&path).close().unwrap();
    }

    #[test]
    fn a_missing_folder_is_made_and_the_file_is_for_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let (folder, _) = place();
        let path = folder.path().join("var/audit/audit.db");
        let store = open(&path);
        store.record(allowed("r1")).wait().unwrap();
        for suffix in ["", "-wal", ".lock"] {
            assert_eq!(fs::metadata(beside(&path, suffix)).unwrap().permissions().mode() & 0o777, 0o600, "{suffix}");
        }
    }

    #[test]
    fn a_path_that_cannot_be_a_store_is_refused_with_the_reason() {
        let (folder, _) = place();
        assert!(matches!(refused(folder.path()), AuditError::Open { .. }));
        assert!(matches!(refused(Path::new("/")), AuditError::Open { .. }));
        let file = folder.path().join("file");
        fs::write(&file, "text").unwrap();
        assert!(matches!(refused(&file.join("audit.db")), AuditError::Open { .. }));
    }

    #[test]
    fn a_newer_store_is_refused_and_not_touched() {
        let (_folder, path) = place();
        open(&path).close().unwrap();
        let outside = Connection::open(&path).unwrap();
        outside.pragma_update(None, "user_version", schema::VERSION + 1).unwrap();
        outside.close().unwrap();
        let message = format!("has schema version {}, this program knows up to {}", schema::VERSION + 1, schema::VERSION);
        for error in [refused(&path), Reader::open(&path).unwrap_err()] {
            assert!(matches!(error, AuditError::Newer { .. }) && error.to_string().contains(&message), "{error}");
        }
    }

    #[test]
    fn a_database_of_another_program_is_refused_and_not_touched() {
        let (_folder, path) = place();
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
        let before = fs::read(&path).unwrap();
        for error in [refused(&path), Reader::open(&path).unwrap_err()] {
            assert!(matches!(error, AuditError::Foreign { .. }), "{error}");
        }
        assert!(fs::read(&path).unwrap() == before);
    }

    #[test]
    fn an_empty_or_half_missing_store_is_never_taken_for_a_new_one() {
        let (folder, path) = place();
        fs::write(&path, "").unwrap();
        assert!(matches!(refused(&path), AuditError::Corrupt { .. }));
        let copy = crashed(folder.path());
        fs::remove_file(&copy).unwrap();
        assert!(refused(&copy).to_string().contains("its write-ahead log is there, the database is gone"));
        assert!(beside(&copy, "-wal").exists(), "what is left is kept");
    }

    #[test]
    fn an_interrupted_founding_is_begun_again() {
        let (_folder, path) = place();
        fs::write(beside(&path, ".new"), "half").unwrap();
        fs::write(beside(&path, ".new-journal"), "half").unwrap();
        open(&path).record(allowed("r1")).wait().unwrap();
    }

    #[test]
    fn a_damaged_store_is_refused_or_set_aside_as_the_options_say() {
        let (folder, path) = place();
        let store = open(&path);
        for n in 0..200 {
            drop(store.record(allowed(&format!("r{n}"))));
        }
        store.close().unwrap();
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2 / 4096 * 4096;
        bytes[middle..middle + 512].fill(0xa5);
        fs::write(&path, &bytes).unwrap();
        let error = refused(&path);
        assert!(matches!(error, AuditError::Corrupt { .. }), "{error}");
        assert!(fs::read(&path).unwrap() == bytes, "refusing leaves the file as it is");

        let options = StoreOptions { on_corrupt: OnCorrupt::SetAside, ..StoreOptions::default() };
        let store = Store::open(&path, options).unwrap();
        store.record(allowed("new")).wait().unwrap();
        let aside = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
        let aside: Vec<_> =
            aside.filter(|path| path.to_string_lossy().contains(".corrupt-") && path.to_string_lossy().ends_with('Z')).collect();
        assert_eq!(aside.len(), 1, "{aside:?}");
        assert!(fs::read(&aside[0]).unwrap() == bytes);
        assert!(crate::verify_store(&path, &crate::Against::default(), |_, _| {}).unwrap().report.is_good());
    }

    #[test]
    fn a_file_that_is_no_database_is_refused() {
        let (_folder, path) = place();
        fs::write(&path, "these are not the events you are looking for".repeat(100)).unwrap();
        assert!(matches!(refused(&path), AuditError::Corrupt { .. }));
    }

    #[test]
    fn after_a_kill_everything_acknowledged_is_there() {
        let (folder, _) = place();
        let copy = crashed(folder.path());
        let store = open(&copy);
        assert_eq!(store.stats().recovered, 3);
        assert_eq!(Reader::open(&copy).unwrap().count().unwrap(), 6);
    }

    #[test]
    fn a_log_torn_at_any_byte_of_its_last_frame_keeps_all_earlier_events() {
        const FRAME: u64 = 24 + 4096;
        let (folder, _) = place();
        let copy = crashed(folder.path());
        let log = beside(&copy, "-wal");
        let whole = fs::metadata(&log).unwrap().len();
        assert_eq!((whole - 32) % FRAME, 0, "the log is a header and whole frames");
        for length in (whole - FRAME..whole).rev() {
            fs::OpenOptions::new().write(true).open(&log).unwrap().set_len(length).unwrap();
            let _ = fs::remove_file(beside(&copy, "-shm"));
            let read = Reader::open(&copy).unwrap().events_after(0, 9).unwrap();
            let ids: Vec<_> = read.iter().map(|stored| stored.event.request_id.as_str()).collect();
            assert_eq!(ids, ["a", "b"], "torn at byte {length}");
        }
        let store = open(&copy);
        assert_eq!(store.record(allowed("d")).wait().unwrap().seq, 5, "after the completions of a and b");
        let report = crate::verify_store(&copy, &crate::Against::default(), |_, _| {}).unwrap().report;
        assert!(report.is_good() && report.events == 5, "{:?}", report.problems);
    }
}
