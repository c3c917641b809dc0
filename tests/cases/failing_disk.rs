//! A disk that is full, fails or is slow, under a store that must not lie: K6 to K9.
#![allow(clippy::expect_used, clippy::panic, reason = "test code")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use harness::{Dice, PATIENCE, WatchedDisk};
use portcullis_audit::{
    Against, AuditError, Decision, Durability, Event, Fault, Filter, Kind, Reader, Retention, Store, StoreOptions, verify_store,
};

/// How long a sync of the slow disk takes.
const SLOW_SYNC: Duration = Duration::from_millis(100);
/// More syncs than the workload has of which each fails once.
const SYNCS_MAX: u64 = 100;
/// Bytes of an event's text, so that a few of them fill a log.
const TEXT_BYTES: usize = 60_000;

fn event(request: &str, text_bytes: usize) -> Event {
    let text = (text_bytes > 0).then(|| "x".repeat(text_bytes));
    Event {
        tenant: "acme".into(),
        key_id: "demo".into(),
        decision: Some(Decision::Allow),
        redacted_prompt: text,
        ..Event::new(Kind::Decision, request)
    }
}

/// A store on a watched disk.
struct Place {
    folder: tempfile::TempDir,
    disk: WatchedDisk,
    store: Store,
}

impl Place {
    fn new(options: StoreOptions) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.db");
        Store::open(&path, options.clone()).expect("a store").close().expect("to close");
        let disk = WatchedDisk::over(folder.path());
        Self { store: Store::open(&path, options).expect("a store"), folder, disk }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("audit.db")
    }

    fn record(&self, request: &str, text_bytes: usize) -> Result<(), AuditError> {
        self.store.record(event(request, text_bytes)).wait().map(drop)
    }

    fn requests(&self) -> BTreeSet<String> {
        requests(&self.path())
    }

    fn until(&self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let began = Instant::now();
        while !done(self) {
            assert!(began.elapsed() < PATIENCE, "waited for {what}: {:?}", self.store.stats());
            std::thread::sleep(Duration::from_millis(3));
        }
    }
}

fn requests(store: &Path) -> BTreeSet<String> {
    let events = Reader::open(store).expect("a reader").events_after(0, 10_000).expect("events");
    let decisions = events.into_iter().filter(|stored| stored.event.kind == Kind::Decision);
    decisions.map(|stored| stored.event.request_id).collect()
}

/// The requests whose text can still be read.
fn with_text(store: &Path) -> BTreeSet<String> {
    let events = Reader::open(store).expect("a reader").tail(Some(0), 10_000, &Filter::default()).expect("events");
    let whole = events.into_iter().filter(|stored| stored.event.redacted_prompt.as_ref().is_some_and(|text| text.len() == TEXT_BYTES));
    whole.map(|stored| stored.event.request_id).collect()
}

fn holds(store: &Path) {
    let verified = verify_store(store, &Against::default(), |_, _| {}).expect("a check");
    assert!(verified.report.is_good(), "{:?}", verified.report.problems);
}

#[test]
fn k6_a_full_disk_is_said_nothing_is_written_in_part_and_it_heals_by_itself() {
    for durability in [Durability::Strict, Durability::Relaxed] {
        let place = Place::new(StoreOptions { durability, ..StoreOptions::default() });
        // Every amount of room ends in another place of a commit.
        for (round, room) in (0..24_000).step_by(1_500).enumerate() {
            place.record(&format!("before-{round}"), 0).expect("a durable event");
            let known = place.requests();
            place.disk.leave_room(room);
            let mut kept = known.clone();
            let error = (0..40).find_map(|n| match place.record(&format!("full-{round}-{n}"), 0) {
                Ok(()) => {
                    kept.insert(format!("full-{round}-{n}"));
                    None
                }
                Err(error) => Some(error),
            });
            let Some(AuditError::Write { fault: Fault::DiskFull, .. }) = error else { panic!("{room} bytes left: {error:?}") };
            let stats = place.store.stats();
            assert!(!stats.healthy && stats.last_error == Some("disk_full"), "{stats:?}");
            assert_eq!(place.requests(), kept, "{room} bytes left: what was refused is not there, what was promised is");
            place.disk.empty();
            if round % 8 == 0 {
                place.until("the store to notice that there is room again", |place| place.store.stats().healthy);
            }
            place.record(&format!("after-{round}"), 0).expect("room again");
            assert!(place.store.stats().healthy);
        }
        holds(&place.path());
    }
}

#[test]
fn k7_after_a_failed_sync_nothing_that_is_promised_later_is_lost_with_the_power() {
    let mut failed = 0;
    // Each sync of a workload fails once: of the log, of the database as the log is moved into it, of the keys of texts.
    for first in 0..SYNCS_MAX {
        let place = Place::new(StoreOptions { checkpoint_events: 10, ..StoreOptions::default() });
        place.disk.fail_syncs(first, 1);
        let mut promised = BTreeSet::new();
        for n in 0..18 {
            let request = format!("{n}");
            match place.record(&request, TEXT_BYTES) {
                Ok(()) => {
                    promised.insert(request);
                }
                // The file of keys of texts is opened with the first text, and again after it failed.
                Err(error) => {
                    assert!(matches!(error, AuditError::Write { fault: Fault::Io, .. } | AuditError::Open { .. }), "sync {first}: {error}")
                }
            }
        }
        assert!(promised.len() >= 17, "sync {first}: only the events of one commit are refused: {promised:?}");
        // The file of keys has a rollback journal: SQLite writes back what stood there before it syncs once more, which is sound.
        let again: Vec<_> = place.disk.synced_again().into_iter().filter(|name| !name.starts_with("audit.db.keys")).collect();
        assert!(again.is_empty(), "sync {first}: {again:?} were synced again by the handle on which that had failed");
        if !place.disk.has_failed() {
            break;
        }
        failed += 1;
        for seed in [0, 2] {
            let mut dice = Dice::new(seed);
            let crash = place.disk.crash(place.disk.notes(), || dice.below(3) < seed);
            let folder = tempfile::tempdir().expect("a folder");
            crash.write(folder.path());
            // No test of the machine's own disk, and quicker.
            let _disk = WatchedDisk::over(folder.path());
            let path = folder.path().join("audit.db");
            Store::open(&path, StoreOptions::default()).expect("a store").close().expect("to close");
            let lost: Vec<_> = promised.difference(&with_text(&path)).cloned().collect();
            assert!(lost.is_empty(), "sync {first}, seed {seed}: {lost:?} were promised");
            holds(&path);
        }
    }
    assert!(failed >= 20, "only {failed} failures happened");
}

#[test]
fn k7_a_disk_that_fails_every_sync_is_unhealthy_until_it_works_again() {
    for durability in [Durability::Strict, Durability::Relaxed] {
        let place = Place::new(StoreOptions { durability, ..StoreOptions::default() });
        place.record("before", 0).expect("a durable event");
        place.disk.fail_syncs(0, u64::MAX / 4);
        if durability == Durability::Strict {
            assert!(matches!(place.record("failing", 0), Err(AuditError::Write { fault: Fault::Io, .. })));
        } else {
            // The answer does not wait for the sync; that it failed is known a moment later.
            drop(place.record("failing", 0));
        }
        place.until("the failure to be known", |place| !place.store.stats().healthy);
        assert_eq!(place.store.stats().last_error, Some("io"));
        place.disk.fail_syncs(0, 0);
        place.until("the store to heal", |place| place.store.stats().healthy);
        place.record("after", 0).expect("a durable event");
        assert!(place.requests().is_superset(&["before".to_owned(), "after".to_owned()].into()), "{:?}", place.requests());
        assert_eq!(place.disk.synced_again(), [""; 0]);
        holds(&place.path());
    }
}

#[test]
fn k8_on_a_slow_disk_one_sync_serves_all_who_wait() {
    const CLIENTS: u64 = 64;
    const EACH: u64 = 8;
    let place = Place::new(StoreOptions::default());
    place.disk.slow_syncs(SLOW_SYNC);
    let (before, began) = (place.disk.syncs(), Instant::now());
    let record = |client, n| {
        let (before, began) = (place.disk.syncs(), Instant::now());
        place.record(&format!("{client}-{n}"), 0).expect("a durable event");
        (place.disk.syncs() - before, began.elapsed())
    };
    let slowest = std::thread::scope(|scope| {
        let work = |client| scope.spawn(move || (0..EACH).map(|n| record(client, n)).max().unwrap_or_default());
        let clients: Vec<_> = (0..CLIENTS).map(work).collect();
        clients.into_iter().map(|client| client.join().expect("no panic")).max().unwrap_or_default()
    });
    let (took, syncs) = (began.elapsed(), place.disk.syncs() - before);
    let each = SLOW_SYNC.as_millis();
    println!(
        "{CLIENTS} clients, {EACH} events each: {syncs} syncs of {each} ms, {took:.2?}; the slowest answer {} syncs, {:.2?}",
        slowest.0, slowest.1
    );
    // An event that just misses a group waits for its sync and for that of the next; a signed checkpoint may come between.
    assert!(slowest.0 <= 4, "{slowest:?}");
    // Were each event synced by itself, it would be as many as there are events.
    assert!(syncs <= CLIENTS * EACH / 4, "{syncs} syncs in {took:?}");
}

#[test]
fn relaxed_answers_do_not_wait_for_the_disk() {
    let place = Place::new(StoreOptions { durability: Durability::Relaxed, ..StoreOptions::default() });
    place.disk.slow_syncs(SLOW_SYNC);
    let (before, began) = (place.disk.syncs(), Instant::now());
    for n in 0..200 {
        place.record(&n.to_string(), 0).expect("a committed event");
    }
    let (took, syncs) = (began.elapsed(), place.disk.syncs() - before);
    println!("200 events, one after the other: {took:.2?}, {syncs} syncs of {} ms meanwhile", SLOW_SYNC.as_millis());
    assert!(took < SLOW_SYNC * 100, "{took:?}: strict would take {:?}", SLOW_SYNC * 200);
}

#[test]
fn k9_a_quota_reached_while_nothing_is_delivered_refuses_and_ends_when_something_is() {
    let retention = Retention { bytes: Some(1 << 20), delivered_only: true, ..Retention::default() };
    let place = Place::new(StoreOptions { bytes_max: Some(2 << 20), retention, ..StoreOptions::default() });
    let mut kept = 0;
    let error = (0..200).find_map(|n| {
        let recorded = place.record(&n.to_string(), TEXT_BYTES);
        kept += i64::from(recorded.is_ok());
        recorded.err()
    });
    assert!(matches!(error, Some(AuditError::Write { fault: Fault::DiskFull, .. })), "{error:?}");
    assert!(kept > 10, "{kept}");
    assert_eq!(place.store.stats().removed, 0, "nothing undelivered goes");
    place.store.delivered(kept);
    place.until("what was delivered to make room", |place| place.store.stats().healthy && place.store.stats().removed > 0);
    place.record("after", TEXT_BYTES).expect("room again");
    holds(&place.path());
}
