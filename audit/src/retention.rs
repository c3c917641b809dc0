//! Retention: the oldest events go, in order and in small batches, and a signed cut stays behind.
//!
//! A batch and its cut are one transaction, so a crash leaves either both or neither. `verify` begins at the cut.

use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};

use crate::chain::Head;
use crate::notary::Notary;

/// Events removed in one transaction at most.
const BATCH_EVENTS: i64 = 512;
/// Pages given back to the file system after a batch at most.
const PAGES_GIVEN_BACK: i64 = 1_024;
/// Bytes a row takes beside its body, its share of the indexes included; an estimate that only says how many to remove at once.
const ROW_BYTES: i64 = 400;

/// How long events are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// Events older than this go. `None`: age is no reason.
    pub age: Option<Duration>,
    /// When the events take more bytes than this, the oldest go until they take a sixteenth less. `None`: size is no reason.
    pub bytes: Option<u64>,
    /// Whether only events go that were passed on, as [`Store::delivered`](crate::Store::delivered) says.
    pub delivered_only: bool,
}

impl Retention {
    /// Whether anything ever goes.
    pub fn is_on(&self) -> bool {
        self.age.is_some() || self.bytes.is_some()
    }
}

/// One run of retention, over as many batches as it takes.
#[derive(Debug, Default)]
pub(crate) struct Round {
    /// Bytes the events may take at the end of this run; set while it is under way because of them.
    bytes_wanted: Option<i64>,
}

impl Round {
    /// Removes one batch. Returns how many events went; 0 when there is nothing to remove (any more).
    pub fn batch(
        &mut self,
        connection: &mut Connection,
        notary: &Notary,
        retention: &Retention,
        delivered: i64,
    ) -> rusqlite::Result<usize> {
        let Some((cut, events)) = self.find(connection, retention, delivered)? else {
            self.bytes_wanted = None;
            return Ok(0);
        };
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute("DELETE FROM events WHERE seq <= ?1", [cut.seq])?;
        transaction.execute("DELETE FROM open_requests WHERE seq <= ?1", [cut.seq])?;
        let checkpoint = notary.cut(&transaction, cut)?;
        transaction.commit()?;
        notary.publish(&checkpoint);
        let mut vacuum = connection.prepare(&format!("PRAGMA incremental_vacuum({PAGES_GIVEN_BACK})"))?;
        let mut steps = vacuum.query([])?;
        while steps.next()?.is_some() {}
        Ok(events)
    }

    /// The last event of the batch that is to go, and how many it has.
    fn find(&mut self, connection: &Connection, retention: &Retention, delivered: i64) -> rusqlite::Result<Option<(Head, usize)>> {
        let now_us = jiff::Timestamp::now().as_microsecond();
        let age_us = retention.age.map(|age| i64::try_from(age.as_micros()).unwrap_or(i64::MAX));
        let cutoff_us = age_us.map_or(i64::MIN, |age| now_us.saturating_sub(age));
        let mut excess = self.excess(connection, retention)?;
        let last = if retention.delivered_only { delivered } else { i64::MAX };
        let mut statement =
            connection.prepare_cached("SELECT seq, chain_hash, ts_us, length(body) FROM events WHERE seq <= ?1 ORDER BY seq LIMIT ?2")?;
        let mut rows = statement.query([last, BATCH_EVENTS])?;
        let (mut cut, mut events) = (None, 0);
        while let Some(row) = rows.next()? {
            if row.get::<_, i64>(2)? >= cutoff_us && excess <= 0 {
                break;
            }
            excess -= row.get::<_, i64>(3)? + ROW_BYTES;
            cut = Some(Head { seq: row.get(0)?, hash: row.get(1)? });
            events += 1;
        }
        Ok(cut.map(|cut| (cut, events)))
    }

    /// Bytes by which the events take more than they may.
    fn excess(&mut self, connection: &Connection, retention: &Retention) -> rusqlite::Result<i64> {
        let Some(limit) = retention.bytes else { return Ok(0) };
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
        let used = (number("page_count")? - number("freelist_count")?) * number("page_size")?;
        if used > limit {
            self.bytes_wanted.get_or_insert(limit - limit / 16);
        }
        Ok(self.bytes_wanted.map_or(0, |wanted| used - wanted))
    }
}
