//! Small facts about a store, kept in the store: see `schema/0002_chain.sql`.

use rusqlite::types::FromSql;
use rusqlite::{Connection, OptionalExtension, ToSql};

/// Name of the store's id.
pub(crate) const STORE_ID: &str = "store_id";
/// Name of the list of public keys that signed checkpoints, in order, separated by blanks.
pub(crate) const PUBLIC_KEYS: &str = "public_keys";
/// Name of the number up to which events were passed on.
pub(crate) const DELIVERED_SEQ: &str = "delivered_seq";
/// Name of the number up to which events are known to be synced; absent where every commit is.
pub(crate) const SYNCED_SEQ: &str = "synced_seq";

/// Reads one value; `None` where it was never set.
pub(crate) fn get<T: FromSql>(connection: &Connection, name: &str) -> rusqlite::Result<Option<T>> {
    connection.prepare_cached("SELECT value FROM meta WHERE name = ?1")?.query_row([name], |row| row.get(0)).optional()
}

/// Sets one value.
pub(crate) fn set(connection: &Connection, name: &str, value: impl ToSql) -> rusqlite::Result<()> {
    let sql = "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    connection.execute(sql, rusqlite::params![name, value]).map(drop)
}

/// Forgets one value.
pub(crate) fn remove(connection: &Connection, name: &str) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM meta WHERE name = ?1", [name]).map(drop)
}

/// Reads the store's id, which every store has since its first migration to a chain.
pub(crate) fn store_id(connection: &Connection) -> rusqlite::Result<String> {
    get(connection, STORE_ID)?.ok_or(rusqlite::Error::QueryReturnedNoRows)
}
