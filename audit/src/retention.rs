//! Retention: the oldest events go, in order and in small batches, and a signed cut stays behind.
//!
//! A batch and its cut are one transaction, so a crash leaves either both or neither. `verify` begins at the cut.

use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};

use crate::chain::Head;
use crate::crash;
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
    /// Removes one batch, or gives back space that an earlier one left. Returns how many events went, and whether there is more to do.
    pub fn batch(
        &mut self,
        connection: &mut Connection,
        notary: &Notary,
        retention: &Retention,
        delivered: i64,
    ) -> rusqlite::Result<(usize, bool)> {
        let Some((cut, events)) = self.find(connection, retention, delivered)? else {
            self.bytes_wanted = None;
            let free: i64 = connection.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
            if free > PAGES_GIVEN_BACK {
                give_back(connection)?;
            }
            return Ok((0, free > PAGES_GIVEN_BACK));
        };
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute("DELETE FROM events WHERE seq <= ?1", [cut.seq])?;
        transaction.execute("DELETE FROM open_requests WHERE seq <= ?1", [cut.seq])?;
        let checkpoint = notary.cut(&transaction, cut)?;
        crash::point("before_removal");
        transaction.commit()?;
        crash::point("removed");
        notary.publish(&checkpoint);
        give_back(connection)?;
        Ok((events, true))
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

/// Gives free pages back to the file system.
fn give_back(connection: &Connection) -> rusqlite::Result<()> {
    let mut vacuum = connection.prepare(&format!("PRAGMA incremental_vacuum({PAGES_GIVEN_BACK})"))?;
    // Each step gives back one page.
    let mut steps = vacuum.query([])?;
    while steps.next()?.is_some() {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Instant;

    use super::*;
    use crate::store::tests::{allowed, place};
    use crate::{Against, Event, Reader, Report, Store, StoreOptions, verify_store};

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn open(path: &Path, retention: Retention) -> Store {
        Store::open(path, StoreOptions { retention, checkpoint_events: 100, ..StoreOptions::default() }).unwrap()
    }

    /// An event of `days` ago, with a text of `bytes`.
    fn aged(id: usize, days: i64, bytes: usize) -> Event {
        let mut event = Event { outcome: "x".repeat(bytes.min(200)), ..allowed(&format!("r{id}")) };
        event.stamp(event.time_us - days * 86_400_000_000);
        event
    }

    fn fill(path: &Path, count: usize, days: i64) {
        let store = open(path, Retention::default());
        let commits: Vec<_> = (0..count).map(|n| store.record(aged(n, days, 200))).collect();
        assert!(commits.into_iter().all(|commit| commit.wait().is_ok()));
        // Each has its completion, so that opening again adds none.
        drop(store);
        drop(open(path, Retention::default()));
    }

    fn until(what: &str, mut done: impl FnMut() -> bool) {
        let began = Instant::now();
        while !done() {
            assert!(began.elapsed() < Duration::from_secs(60), "waited for {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn first(path: &Path) -> Option<i64> {
        Reader::open(path).unwrap().events_after(0, 1).unwrap().first().map(|stored| stored.seq)
    }

    fn good(path: &Path) -> Report {
        let report = verify_store(path, &Against::default(), |_, _| {}).unwrap().report;
        assert!(report.is_good(), "{:?}", report.problems);
        report
    }

    #[test]
    fn old_events_go_in_order_behind_a_signed_cut_and_the_space_is_given_back() {
        let (_folder, path) = place();
        fill(&path, 1_500, 40);
        let full = std::fs::metadata(&path).unwrap().len();
        let store = open(&path, Retention { age: Some(30 * DAY), ..Retention::default() });
        store.record(allowed("young")).wait().unwrap();
        until("the decisions to go", || store.stats().removed == 1_500);
        assert_eq!(first(&path), Some(1_501), "completions were written now");
        let report = good(&path);
        assert_eq!(report.removed.map(|(seq, _)| seq), Some(1_500));
        let next = store.record(allowed("next")).wait().unwrap().seq;
        store.close().unwrap();
        assert_eq!(good(&path).last, Some(next));
        let now = std::fs::metadata(&path).unwrap().len();
        assert!(now * 4 < full * 3, "{full} bytes before, {now} after");
        // The same once more, to the last event: numbers go on where they were.
        let store = open(&path, Retention { age: Some(Duration::ZERO), ..Retention::default() });
        until("all to go", || first(&path).is_none());
        good(&path);
        let seq = store.record(aged(7, -1, 0)).wait().unwrap().seq;
        assert!(seq > next);
        store.close().unwrap();
        assert_eq!(good(&path).first, Some(seq));
    }

    #[test]
    fn over_its_size_the_store_loses_its_oldest_events_until_it_is_a_little_below() {
        let (_folder, path) = place();
        fill(&path, 1_500, 0);
        let (full, limit) = (std::fs::metadata(&path).unwrap().len(), 1_000_000);
        assert!(full > limit);
        let store = open(&path, Retention { bytes: Some(limit), ..Retention::default() });
        let mut before = 0;
        until("the size to settle", || {
            let removed = store.stats().removed;
            let settled = removed > 0 && removed == std::mem::replace(&mut before, removed);
            std::thread::sleep(Duration::from_millis(1_200));
            settled
        });
        store.close().unwrap();
        let now = std::fs::metadata(&path).unwrap().len();
        assert!(now <= limit && now > limit / 2, "{now} bytes");
        assert!(good(&path).removed.is_some());
    }

    #[test]
    fn what_was_not_passed_on_stays() {
        let (_folder, path) = place();
        fill(&path, 100, 40);
        let retention = Retention { age: Some(Duration::ZERO), delivered_only: true, ..Retention::default() };
        let store = open(&path, retention);
        assert_eq!(store.delivered_seq(), 0);
        store.delivered(60);
        store.delivered(50);
        until("the delivered to go", || store.stats().removed == 60);
        assert_eq!((first(&path), store.delivered_seq()), (Some(61), 60));
        store.close().unwrap();
        let store = open(&path, retention);
        assert_eq!(store.delivered_seq(), 60, "remembered");
        good(&path);
    }

    #[test]
    fn who_cannot_sign_the_cut_removes_nothing() {
        let (_folder, path) = place();
        fill(&path, 10, 40);
        let retention = Retention { age: Some(DAY), ..Retention::default() };
        let options = StoreOptions { retention, signing: crate::Signing::Off, ..StoreOptions::default() };
        let store = Store::open(&path, options).unwrap();
        store.record(allowed("young")).wait().unwrap();
        store.close().unwrap();
        assert_eq!(first(&path), Some(1));
    }
}
