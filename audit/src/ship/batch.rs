//! What is sent in one insert: a range of events that never changes once it was begun, and the token by which ClickHouse knows it.

use jiff::tz::TimeZone;
use sha2::{Digest as _, Sha256};

use crate::{AuditError, Reader, StoredEvent};

/// Bytes of events in a batch, beyond which no further event joins it.
pub(crate) const BATCH_BYTES_MAX: usize = 8 << 20;
/// Events read at once: bounds what is in memory beyond a batch, since one event may have some 200 KiB.
const PAGE: usize = 128;
/// Times that ClickHouse's types and the table's TTL can hold: 1970 to 2070, microseconds.
pub(crate) const TS_US_MAX: i64 = 3_155_760_000_000_000;

/// Events with rising numbers, all of one month, so that the table writes them as one part: all of them or none.
#[derive(Debug, PartialEq)]
pub(crate) struct Batch {
    events: Vec<StoredEvent>,
}

impl Batch {
    /// Takes the events after number `after`: at most `events_max`, at most [`BATCH_BYTES_MAX`] (or one event), none of another month,
    /// none that a loss of power could still take.
    pub fn next(reader: &Reader, after: i64, events_max: usize) -> Result<Option<Self>, AuditError> {
        let mut events: Vec<StoredEvent> = Vec::new();
        let (mut bytes, mut last) = (0, after);
        let synced = reader.synced_seq()?.unwrap_or(i64::MAX);
        loop {
            let page = reader.events_after(last, PAGE.min(events_max - events.len()))?;
            if page.is_empty() {
                return Ok(Self::of(events));
            }
            for stored in page {
                let full = events.len() >= events_max || bytes >= BATCH_BYTES_MAX || stored.seq > synced;
                if full || events.first().is_some_and(|first| month(first) != month(&stored)) {
                    return Ok(Self::of(events));
                }
                last = stored.seq;
                bytes += stored.body.len();
                events.push(stored);
            }
            if events.len() >= events_max {
                return Ok(Self::of(events));
            }
        }
    }

    /// Reads a batch again that was begun before: the events from `first` to `last`.
    pub fn again(reader: &Reader, first: i64, last: i64) -> Result<Option<Self>, AuditError> {
        let mut events: Vec<StoredEvent> = Vec::new();
        let mut after = first - 1;
        loop {
            let mut page = reader.events_after(after, PAGE)?;
            page.retain(|stored| stored.seq <= last);
            let Some(newest) = page.last() else { return Ok(Self::of(events)) };
            after = newest.seq;
            events.extend(page);
        }
    }

    fn of(events: Vec<StoredEvent>) -> Option<Self> {
        (!events.is_empty()).then_some(Self { events })
    }

    /// Its events; at least one.
    pub fn events(&self) -> &[StoredEvent] {
        &self.events
    }
}

/// The time of an event's row, microseconds since 1970, within what the table can hold. The body has the event's own.
pub(crate) fn row_time(stored: &StoredEvent) -> i64 {
    stored.event.time_us.clamp(0, TS_US_MAX)
}

fn month(stored: &StoredEvent) -> (i16, i8) {
    let time = jiff::Timestamp::from_microsecond(row_time(stored)).unwrap_or_default().to_zoned(TimeZone::UTC);
    (time.year(), time.month())
}

/// The name under which ClickHouse takes these events once: `<store id>:<first>-<last>:<digest>`. The digest, over numbers and bodies,
/// makes it impossible that other events ever come under the same name, as those of a store that was put back from a copy.
pub(crate) fn token(store_id: &str, events: &[StoredEvent]) -> String {
    let mut hash = Sha256::new();
    for stored in events {
        hash.update(stored.seq.to_le_bytes());
        hash.update((stored.body.len() as u64).to_le_bytes());
        hash.update(&stored.body);
    }
    let [first, last] = [events.first(), events.last()].map(|stored| stored.map_or(0, |stored| stored.seq));
    format!("{store_id}:{first}-{last}:{}", hex::encode(&hash.finalize()[..8]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{allowed, open, place};
    use crate::{Durability, Event, Store, StoreOptions};

    fn seqs(batch: Option<Batch>) -> Vec<i64> {
        batch.map_or_else(Vec::new, |batch| batch.events().iter().map(|stored| stored.seq).collect())
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
            after = batch.events().last().unwrap().seq;
            batches.push(seqs(Some(batch)));
        }
        assert_eq!(batches, [vec![1, 2], vec![3], vec![4], vec![5, 6], vec![7, 8]]);
        assert_eq!(seqs(Batch::next(&reader, 0, 1).unwrap()), [1]);
        assert_eq!(seqs(Batch::next(&reader, 8, 5).unwrap()), [0_i64; 0]);
    }

    #[test]
    fn a_batch_is_bounded_in_bytes() {
        let (_folder, path) = place();
        let store = open(&path);
        let text = "x".repeat(60_000);
        for _ in 0..200 {
            record(&store, 1, &text);
        }
        let reader = Reader::open(&path).unwrap();
        let events = Batch::next(&reader, 0, 10_000).unwrap().unwrap().events;
        let bytes: usize = events.iter().map(|stored| stored.body.len()).sum();
        assert!((BATCH_BYTES_MAX..BATCH_BYTES_MAX + 61_000).contains(&bytes), "{bytes}");
    }

    #[test]
    fn what_is_not_synced_yet_is_not_sent() {
        let (_folder, path) = place();
        let options = StoreOptions { durability: Durability::Relaxed, ..StoreOptions::default() };
        let store = Store::open(&path, options).unwrap();
        for n in 0..20 {
            record(&store, 1, &n.to_string());
            let (sent, synced) = (seqs(Batch::next(&Reader::open(&path).unwrap(), 0, 100).unwrap()), || {
                Reader::open(&path).unwrap().synced_seq().unwrap().unwrap()
            });
            assert!(sent.last().copied().unwrap_or_default() <= synced(), "{sent:?}");
        }
        let began = std::time::Instant::now();
        while seqs(Batch::next(&Reader::open(&path).unwrap(), 0, 100).unwrap()).len() < 20 {
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
        assert_eq!(batch, again);
        assert_eq!(token("s", batch.events()), token("s", again.events()));
        assert!(token("s", batch.events()).starts_with("s:11-160:"));
    }

    #[test]
    fn other_events_have_another_token() {
        let (_folder, path) = place();
        let store = open(&path);
        record(&store, 1, "a");
        let one = Reader::open(&path).unwrap().events_after(0, 1).unwrap();
        let mut other = one.clone();
        other[0].body.push(' ');
        assert_ne!(token("s", &one), token("s", &other));
        assert_ne!(token("s", &one), token("t", &one));
    }
}
