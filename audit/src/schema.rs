//! The layout of the store's file: how it is recognised, created whole, and brought to the present version.
//!
//! On disk: one SQLite database in WAL mode, `application_id` = "PtcA", `user_version` = number of the last migration applied.
//! Beside it `<path>-wal` and `<path>-shm` (SQLite's own) and `<path>.lock` (held by the owning process, never deleted).

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use crate::{AuditError, chain};

/// "PtcA" in ASCII: marks a database as an audit store.
const APPLICATION_ID: i64 = 0x5074_6341;

/// One step forward: the tables, then what they are filled with.
struct Migration {
    sql: &'static str,
    fill: fn(&Connection) -> rusqlite::Result<()>,
}

/// The migrations in order; number n brings the file from version n - 1 to n. Never edited once released, only added to.
const MIGRATIONS: &[Migration] = &[
    Migration { sql: include_str!("../schema/0001_events.sql"), fill: |_| Ok(()) },
    Migration { sql: include_str!("../schema/0002_chain.sql"), fill: chain::chain_existing },
];

/// The version this program writes.
pub(crate) const VERSION: i64 = MIGRATIONS.len() as i64;

/// Refuses a database that is none of ours or of a later version. Returns its version.
pub(crate) fn identify(connection: &Connection, path: &Path) -> Result<i64, AuditError> {
    let number =
        |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0)).map_err(|error| AuditError::open(path, &error));
    if number("application_id")? != APPLICATION_ID {
        return Err(AuditError::Foreign { path: path.into() });
    }
    let found = number("user_version")?;
    if found > VERSION {
        return Err(AuditError::Newer { path: path.into(), found, known: VERSION });
    }
    Ok(found)
}

/// Marks an empty database as an audit store, with everything that can only be set before the first table.
pub(crate) fn found(connection: &Connection) -> rusqlite::Result<()> {
    // Incremental, so that retention can give space back later; it cannot be switched on in a file that has tables.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update(None, "application_id", APPLICATION_ID)
}

/// Applies the migrations above `version`, each with its version number in one transaction.
pub(crate) fn migrate(connection: &mut Connection, version: i64) -> rusqlite::Result<()> {
    for (number, migration) in (1_i64..).zip(MIGRATIONS).filter(|(number, _)| *number > version) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(migration.sql)?;
        (migration.fill)(&transaction)?;
        transaction.pragma_update(None, "user_version", number)?;
        transaction.commit()?;
    }
    Ok(())
}
