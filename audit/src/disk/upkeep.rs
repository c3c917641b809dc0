//! What the owner of the file does beside writing events: syncs that may come later, checkpoints, retention, erasures on record, and
//! getting over a failure when no event comes that would.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::{Disk, write};
use crate::chain::Head;
use crate::meter::Meter;
use crate::row::Row;
use crate::store::RELAXED_SYNC_INTERVAL;
use crate::subjects::{self, SubjectKeys};
use crate::{AuditError, Durability, Event, file, meta};

/// How often it is looked whether there is anything to do beside writing events ...
const CHORES_INTERVAL: Duration = Duration::from_secs(1);
/// ... and how long not, after that failed.
const CHORES_REST: Duration = Duration::from_secs(30);
/// How long after a failure it is tried whether the disk takes something again.
pub(super) const HEAL_INTERVAL: Duration = Duration::from_secs(1);
/// Bytes written to find that out, beside as many as the events that failed have.
const PROBE_BYTES: usize = 64 << 10;
/// Name under which they are written, and removed again.
const PROBE: &str = "probe";

/// Makes a connection just opened, on which everything was synced until now, what the store's durability wants.
pub(super) fn begin(connection: &Connection, durability: Durability) -> rusqlite::Result<()> {
    match durability {
        Durability::Strict => meta::remove(connection, meta::SYNCED_SEQ),
        Durability::Relaxed => {
            meta::set(connection, meta::SYNCED_SEQ, Head::read(connection)?.seq)?;
            file::set_sync(connection, Durability::Relaxed)
        }
    }
}

/// Does `work` with every commit synced, and with it all that was committed before.
fn synced<T>(
    connection: &mut Connection,
    durability: Durability,
    work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    if durability == Durability::Strict {
        return work(connection);
    }
    file::set_sync(connection, Durability::Strict)?;
    let done = work(connection)?;
    file::set_sync(connection, durability)?;
    Ok(done)
}

impl Disk {
    /// How long the writer may wait for events until there is something else to do.
    pub fn leisure(&self) -> Duration {
        match self.unsynced_since {
            Some(since) if self.connection.is_some() => RELAXED_SYNC_INTERVAL.saturating_sub(since.elapsed()),
            _ => CHORES_INTERVAL,
        }
    }

    /// Syncs what was committed without, when it has waited long enough.
    pub fn sync_if_due(&mut self) -> Result<(), AuditError> {
        if self.unsynced_since.is_none_or(|since| since.elapsed() < RELAXED_SYNC_INTERVAL) {
            return Ok(());
        }
        // Without a connection there was a failure; the next one begins with moving the whole log into the database, which syncs it.
        let Some(mut connection) = self.connection.take() else { return Ok(()) };
        let note = |connection: &mut Connection| {
            let head = Head::read(connection)?;
            meta::set(connection, meta::SYNCED_SEQ, head.seq)
        };
        synced(&mut connection, self.durability, note).map_err(|error| AuditError::write(&error))?;
        self.connection = Some(connection);
        self.unsynced_since = None;
        Ok(())
    }

    /// Does what is due beside writing events: a checkpoint, noting what was delivered, one batch of retention. Returns whether there
    /// is more of it to do at once.
    pub fn chores(&mut self, meter: &Meter) -> Result<bool, AuditError> {
        let Some(mut connection) = self.connection.take() else { return Ok(self.heal(meter)) };
        let began = Instant::now();
        let timely = began >= self.chores_due;
        // Set first, so that it also rests after a failure.
        self.chores_due = if timely { began + CHORES_REST } else { self.chores_due };
        // What is signed or removed must not come before what it stands on.
        let durability = self.durability;
        let chores = |connection: &mut Connection| self.chores_with(connection, meter, timely);
        let more = synced(&mut connection, durability, chores).map_err(|error| AuditError::write(&error))?;
        self.connection = Some(connection);
        if timely {
            self.chores_due = if more { began } else { began + CHORES_INTERVAL };
        }
        Ok(more)
    }

    fn chores_with(&mut self, connection: &mut Connection, meter: &Meter, timely: bool) -> rusqlite::Result<bool> {
        if let Some(notary) = &mut self.notary {
            notary.mark_if_due(connection)?;
            if let Some(seq) = notary.broken_at {
                meter.chain_broken.store(seq, Relaxed);
            }
        }
        if !timely {
            return Ok(false);
        }
        let delivered = meter.delivered.load(Relaxed);
        if delivered != self.delivered {
            meta::set(connection, meta::DELIVERED_SEQ, delivered)?;
            self.delivered = delivered;
        }
        self.record_erasures(connection, meter)?;
        let Some(notary) = self.notary.as_ref().filter(|_| self.retention.is_on()) else { return Ok(false) };
        let (removed, more) = self.round.batch(connection, notary, &self.retention, delivered)?;
        meter.removed.fetch_add(removed as u64, Relaxed);
        if more {
            file::checkpoint(connection, "PASSIVE")?;
            meter.bytes.store(file::bytes_on_disk(&self.path), Relaxed);
        }
        Ok(more)
    }

    /// After a failure: opens the file again, makes room where retention can, and looks whether it takes a write. Says whether there is
    /// more to do at once. A failure here is told by the health that stays what it is.
    fn heal(&mut self, meter: &Meter) -> bool {
        if self.heal_due.is_some_and(|due| Instant::now() < due) {
            return false;
        }
        self.heal_due = Some(Instant::now() + HEAL_INTERVAL);
        let healed = self.reconnect().and_then(|connection| {
            self.connection = Some(connection);
            self.chores_due = Instant::now();
            let more = self.chores(meter)?;
            let Some(connection) = self.connection.take() else { return Ok(false) };
            probe(&connection, PROBE_BYTES + self.tried_bytes).map_err(|error| AuditError::write(&error))?;
            self.connection = Some(connection);
            Ok(more)
        });
        match healed {
            Ok(more) => {
                self.heal_due = None;
                meter.works();
                more
            }
            Err(error) => {
                tracing::debug!(path = %self.path.display(), %error, "audit store: still failing");
                false
            }
        }
    }

    /// Puts on record which keys were destroyed.
    fn record_erasures(&mut self, connection: &mut Connection, meter: &Meter) -> rusqlite::Result<()> {
        if self.keys.is_none() && !subjects::keys_file(&self.path).exists() {
            return Ok(());
        }
        if self.keys.is_none() {
            match SubjectKeys::open_or_make(&self.path) {
                Ok(keys) => self.keys = Some(keys),
                Err(error) => {
                    if !std::mem::replace(&mut self.keys_broken, true) {
                        tracing::error!(%error, "audit store: the keys of stored texts cannot be opened");
                    }
                    return Ok(());
                }
            }
        }
        let Some(keys) = &self.keys else { return Ok(()) };
        let events = keys.erasures()?;
        if events.is_empty() {
            return Ok(());
        }
        let ids: Vec<String> = events.iter().map(|event| event.event_id.clone()).collect();
        let failed = |error: serde_json::Error| rusqlite::Error::ToSqlConversionFailure(error.into());
        let tap = meter.tap.get();
        let matters: Vec<_> = events.iter().filter_map(|event| tap?.of(event)).collect();
        let named = |event: Event| Event { gateway: self.gateway.clone(), ..event };
        let rows = events.into_iter().map(|event| Row::new(named(event).bounded())).collect::<Result<Vec<_>, _>>().map_err(failed)?;
        write(connection, &rows)?;
        if let Some(tap) = tap {
            matters.into_iter().for_each(|matter| tap.tell(*matter));
        }
        ids.iter().try_for_each(|id| keys.recorded(id))
    }

    /// Signs a last checkpoint.
    pub fn end(&mut self, meter: &Meter) -> Result<(), AuditError> {
        let Some(mut connection) = self.connection.take() else { return Ok(()) };
        let failed = |error: rusqlite::Error| AuditError::write(&error);
        file::set_sync(&connection, Durability::Strict).map_err(failed)?;
        meta::set(&connection, meta::DELIVERED_SEQ, meter.delivered.load(Relaxed)).map_err(failed)?;
        self.record_erasures(&mut connection, meter).map_err(failed)?;
        if let Some(notary) = &mut self.notary {
            notary.mark(&connection).map_err(failed)?;
        }
        file::set_checkpoint_at_close(&connection, true).map_err(failed)
    }
}

/// Writes something and takes it away again.
fn probe(connection: &Connection, bytes: usize) -> rusqlite::Result<()> {
    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
    connection.execute("INSERT OR REPLACE INTO meta (name, value) VALUES (?1, zeroblob(?2))", rusqlite::params![PROBE, bytes])?;
    meta::remove(connection, PROBE)
}
