//! What is sent in one insert: a range of events that never changes once it was begun, and the token by which ClickHouse knows it.

use std::ops::ControlFlow;
use std::ops::Range;

use clickhouse::Compression;
use clickhouse::insert_formatted::CompressedData;
use jiff::tz::TimeZone;
use sha2::{Digest as _, Sha256};

use super::ShipError;
use super::error::Refusal;
use super::native::Block;
use super::row::EventRow;
use crate::reader::Seen;
use crate::{Event, Reader};

/// Bytes of events in a batch, beyond which no further event joins it.
pub(crate) const BATCH_BYTES_MAX: usize = 16 << 20;
/// Bytes of events written as one block: what is in memory before it is compressed.
const BLOCK_BYTES_MAX: usize = 4 << 20;
/// Times that ClickHouse's types and the table's TTL can hold: 1970 to 2070, microseconds.
pub(crate) const TS_US_MAX: i64 = 3_155_760_000_000_000;

/// Events with rising numbers, all of one month, so that the table writes them as one part: all of them or none. Written and compressed
/// already; what is to be sent again is read again.
pub(crate) struct Batch {
    /// The number of its first event.
    pub first: i64,
    /// The number of its last event.
    pub last: i64,
    /// The last event's id.
    pub last_event: String,
    /// How many events it has; at least one.
    pub rows: u64,
    /// Whether it ended at a bound, so that more may be there at once.
    pub full: bool,
    /// The name under which ClickHouse takes these events once: `<store id>:<first>-<last>:<digest>`. The digest, over numbers and bodies,
    /// makes it impossible that other events ever come under the same name, as those of a store that was put back from a copy.
    pub token: String,
    /// Why one of them has no place in the table.
    pub unfit: Option<Refusal>,
    blocks: Vec<CompressedData>,
}

impl Batch {
    /// Takes the events after number `after`: at most `events_max`, at most [`BATCH_BYTES_MAX`] (or one event), none of another month,
    /// none that a loss of power could still take.
    pub fn next(reader: &Reader, after: i64, events_max: usize) -> Result<Option<Self>, ShipError> {
        let synced = reader.synced_seq()?.unwrap_or(i64::MAX);
        Making::new(reader.store_id()).all(reader, after, synced, Some(events_max))
    }

    /// Reads a range again that was begun before: the events from `first` to `last`.
    pub fn again(reader: &Reader, first: i64, last: i64) -> Result<Option<Self>, ShipError> {
        Making::new(reader.store_id()).all(reader, first - 1, last, None)
    }

    /// Makes a batch of one event of the store `store_id`, which may be gone from there.
    pub fn single(store_id: &str, seen: &Seen<'_>) -> Result<Option<Self>, ShipError> {
        let mut making = Making::new(store_id);
        making.add(seen)?;
        making.end()
    }

    /// What is sent of it, once.
    pub fn take_blocks(&mut self) -> Vec<CompressedData> {
        std::mem::take(&mut self.blocks)
    }
}

/// A batch that is being made.
struct Making<'a> {
    store_id: &'a str,
    ends: Option<(i64, i64)>,
    last_event: String,
    month: Range<i64>,
    rows: u64,
    bytes: usize,
    full: bool,
    digest: Sha256,
    unfit: Option<Refusal>,
    block: Block,
    block_bytes: usize,
    blocks: Vec<CompressedData>,
}

impl<'a> Making<'a> {
    fn new(store_id: &'a str) -> Self {
        Self {
            store_id,
            ends: None,
            last_event: String::new(),
            month: 0..0,
            rows: 0,
            bytes: 0,
            full: false,
            digest: Sha256::new(),
            unfit: None,
            block: Block::new(),
            block_bytes: 0,
            blocks: Vec::new(),
        }
    }

    /// Takes the events after `after` up to `last`; with `events_max` only as many as may be in a new batch.
    fn all(mut self, reader: &Reader, after: i64, last: i64, events_max: Option<usize>) -> Result<Option<Batch>, ShipError> {
        let mut failed = None;
        reader.each_after(after, |seen| {
            if seen.seq > last {
                return ControlFlow::Break(());
            }
            if events_max.is_some_and(|events_max| self.is_full(&seen, events_max)) {
                self.full = true;
                return ControlFlow::Break(());
            }
            match self.add(&seen) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        failed.map_or_else(|| self.end(), Err)
    }

    fn is_full(&self, seen: &Seen<'_>, events_max: usize) -> bool {
        let other_month = self.rows > 0 && !self.month.contains(&row_time(&seen.event));
        self.rows >= events_max as u64 || self.bytes >= BATCH_BYTES_MAX || other_month
    }

    fn add(&mut self, seen: &Seen<'_>) -> Result<(), ShipError> {
        if self.rows == 0 {
            self.month = month(row_time(&seen.event));
        }
        self.rows += 1;
        self.bytes += seen.body.len();
        self.ends = Some((self.ends.map_or(seen.seq, |(first, _)| first), seen.seq));
        self.last_event.clone_from(&seen.event.event_id);
        self.digest.update(seen.seq.to_le_bytes());
        self.digest.update((seen.body.len() as u64).to_le_bytes());
        self.digest.update(seen.body);
        match EventRow::of(self.store_id, seen) {
            Ok(row) => self.block.push(&row),
            Err(refusal) => self.unfit = Some(refusal),
        }
        self.block_bytes += seen.body.len();
        if self.block_bytes >= BLOCK_BYTES_MAX {
            self.write_block()?;
        }
        Ok(())
    }

    fn write_block(&mut self) -> Result<(), ShipError> {
        if self.block.rows() > 0 {
            self.blocks.push(CompressedData::new(&self.block.take(), Compression::Lz4)?);
        }
        self.block_bytes = 0;
        Ok(())
    }

    fn end(mut self) -> Result<Option<Batch>, ShipError> {
        self.write_block()?;
        let Self { last_event, rows, full, unfit, blocks, .. } = self;
        let Some((first, last)) = self.ends else { return Ok(None) };
        let token = format!("{}:{first}-{last}:{}", self.store_id, hex::encode(&self.digest.finalize()[..8]));
        Ok(Some(Batch { first, last, last_event, rows, full, token, unfit, blocks }))
    }
}

/// The time of an event's row, microseconds since 1970, within what the table can hold. The body has the event's own.
pub(crate) fn row_time(event: &Event) -> i64 {
    event.time_us.clamp(0, TS_US_MAX)
}

/// The month (UTC) of a time: its first moment, and the next one's.
fn month(time_us: i64) -> Range<i64> {
    let day = jiff::Timestamp::from_microsecond(time_us).unwrap_or_default().to_zoned(TimeZone::UTC).date();
    let moment = |day: jiff::civil::Date| day.to_zoned(TimeZone::UTC).map_or(time_us, |day| day.timestamp().as_microsecond());
    // Within its bounds every time has a next month.
    let next = day.last_of_month().tomorrow().map_or(i64::MAX, moment);
    moment(day.first_of_month())..next
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{allowed, open, place};
    use crate::{Durability, Event, Store, StoreOptions};

    fn ends(batch: Option<Batch>) -> Option<(i64, i64, u64)> {
        batch.map(|batch| (batch.first, batch.last, batch.rows))
    }

    fn record(store: &Store, time_us: i64, text: &str) {
        let mut event = Event { redacted_prompt: Some(text.into()), ..allowed("") };
        event.stamp(time_us);
        store.record(event).wait().unwrap();
    }

    #[test]
    fn a_batch_ends_at_its_bounds_and_at_a_month() {
        let (_folder, path) = place();
        let store = open(&path);
        let [november, december] = [1_700_000_000_000_000, 1_701_388_800_000_000];
        for time in [november, november, december, december - 1, i64::MIN, 0, i64::MAX, i64::MAX - 1] {
            record(&store, time, "x");
        }
        let reader = Reader::open(&path).unwrap();
        let mut batches = Vec::new();
        let mut after = 0;
        while let Some(batch) = Batch::next(&reader, after, 5).unwrap() {
            after = batch.last;
            batches.push((batch.first, batch.last, batch.full));
        }
        assert_eq!(batches, [(1, 2, true), (3, 3, true), (4, 4, true), (5, 6, true), (7, 8, false)]);
        assert_eq!(ends(Batch::next(&reader, 0, 1).unwrap()), Some((1, 1, 1)));
        assert_eq!(ends(Batch::next(&reader, 8, 5).unwrap()), None);
    }

    #[test]
    fn a_month_begins_at_its_first_moment_and_ends_before_the_next_one() {
        for (time, first, next) in [
            (0, 0, 31 * 86_400_000_000),
            (1_701_388_799_999_999, 1_698_796_800_000_000, 1_701_388_800_000_000),
            (1_701_388_800_000_000, 1_701_388_800_000_000, 1_704_067_200_000_000),
        ] {
            assert_eq!(month(time), first..next);
        }
        assert!(month(TS_US_MAX).contains(&TS_US_MAX));
    }

    #[test]
    fn a_batch_is_bounded_in_bytes() {
        let (_folder, path) = place();
        let store = open(&path);
        let text = "x".repeat(60_000);
        for _ in 0..500 {
            record(&store, 1, &text);
        }
        let reader = Reader::open(&path).unwrap();
        let rows = Batch::next(&reader, 0, 10_000).unwrap().unwrap().rows;
        let bytes: usize = reader.events_after(0, 10_000).unwrap().iter().take(rows as usize).map(|stored| stored.body.len()).sum();
        assert!((BATCH_BYTES_MAX..BATCH_BYTES_MAX + 90_000).contains(&bytes), "{bytes}");
    }

    #[test]
    fn what_is_not_synced_yet_is_not_sent() {
        let (_folder, path) = place();
        let options = StoreOptions { durability: Durability::Relaxed, ..StoreOptions::default() };
        let store = Store::open(&path, options).unwrap();
        let sent = || Batch::next(&Reader::open(&path).unwrap(), 0, 100).unwrap().map_or(0, |batch| batch.last);
        for n in 0..20 {
            record(&store, 1, &n.to_string());
            let last = sent();
            assert!(last <= Reader::open(&path).unwrap().synced_seq().unwrap().unwrap(), "{last}");
        }
        let began = std::time::Instant::now();
        while sent() < 20 {
            assert!(began.elapsed() < std::time::Duration::from_secs(30), "the last events are never sent");
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        store.close().unwrap();
        open(&path).close().unwrap();
        assert_eq!(Reader::open(&path).unwrap().synced_seq().unwrap(), None, "where every commit is synced nothing waits");
    }

    #[test]
    fn a_batch_read_again_is_the_same_and_has_the_same_token() {
        let (_folder, path) = place();
        let store = open(&path);
        for n in 0..300 {
            record(&store, 1, &n.to_string());
        }
        let reader = Reader::open(&path).unwrap();
        let batch = Batch::next(&reader, 10, 150).unwrap().unwrap();
        for _ in 0..5 {
            record(&store, 1, "later");
        }
        let again = Batch::again(&reader, 11, 160).unwrap().unwrap();
        assert_eq!((batch.first, batch.last, batch.rows, &batch.last_event), (11, 160, 150, &again.last_event));
        assert_eq!((&batch.token, batch.unfit), (&again.token, again.unfit));
        let stored = reader.events_after(10, 1).unwrap().remove(0);
        let seen = Seen { seq: stored.seq, event: stored.event, body: &stored.body, chain_hash: stored.chain_hash };
        let single = Batch::single(reader.store_id(), &seen).unwrap().unwrap();
        assert_eq!(single.token, Batch::again(&reader, 11, 11).unwrap().unwrap().token, "alone it is what the shipper sends alone");
    }

    #[test]
    fn other_events_have_another_token() {
        let (_folder, path) = place();
        let store = open(&path);
        record(&store, 1, "a");
        record(&store, 1, "b");
        let tokens = |path: &std::path::Path| {
            let reader = Reader::open(path).unwrap();
            [(1, 1), (2, 2), (1, 2)].map(|(first, last)| Batch::again(&reader, first, last).unwrap().unwrap().token)
        };
        let [one, two, both] = tokens(&path);
        assert!(one != two && both.contains(":1-2:") && one.contains(":1-1:"), "{one} {two} {both}");
        store.close().unwrap();
        rusqlite::Connection::open(&path).unwrap().execute("UPDATE events SET body = body || ' ' WHERE seq = 1", []).unwrap();
        let [changed, same, _] = tokens(&path);
        assert!(changed != one && same == two);
    }

    #[test]
    fn an_event_without_a_place_in_the_table_is_told() {
        let (_folder, path) = place();
        let store = open(&path);
        let first = allowed("a");
        store.record(first.clone()).wait().unwrap();
        store.record(Event { event_id: "no uuid".into(), request_id: "b".into(), ..first }).wait().unwrap();
        let reader = Reader::open(&path).unwrap();
        let batch = Batch::next(&reader, 0, 9).unwrap().unwrap();
        assert_eq!((batch.rows, batch.unfit.unwrap().code), (2, 0));
        assert!(Batch::again(&reader, 1, 1).unwrap().unwrap().unfit.is_none());
    }
}
