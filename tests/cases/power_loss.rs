//! K5: the power goes at any moment, and of what was not synced any part is on the disk: nothing that was promised is lost.
#![allow(clippy::expect_used, clippy::panic, reason = "test code")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use harness::{Crash, Dice, WatchedDisk};
use portcullis_audit::{Against, Decision, Durability, Event, Kind, Reader, Store, StoreOptions, StoredEvent, verify_store};
use proptest::prelude::{Strategy, any};
use proptest::test_runner::{Config, TestRunner};

/// Moments at which the power goes; `PORTCULLIS_CRASHES` sets another number.
const CRASHES: u32 = 128;
/// Threads that record, each waiting for its answer before it goes on.
const CLIENTS: u64 = 4;

/// What was done, and the disk's account of it.
struct Past {
    folder: tempfile::TempDir,
    disk: WatchedDisk,
    /// Where in the account the log began to move into the database, about: the moments worth most crashes.
    busy: usize,
}

fn options(durability: Durability) -> StoreOptions {
    StoreOptions { durability, checkpoint_events: 10, ..StoreOptions::default() }
}

fn store_in(folder: &Path) -> PathBuf {
    folder.join("audit.db")
}

fn decision(request: u64, text_bytes: usize) -> Event {
    let text = (text_bytes > 0).then(|| "x".repeat(text_bytes));
    Event {
        tenant: "acme".into(),
        key_id: "demo".into(),
        decision: Some(Decision::Allow),
        redacted_prompt: text,
        ..Event::new(Kind::Decision, request.to_string())
    }
}

/// Records small events, then large ones until the log has been moved into the database, then small ones again.
fn live(durability: Durability) -> (Past, Store) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = store_in(folder.path());
    Store::open(&path, options(durability)).expect("a store").close().expect("to close");
    let disk = WatchedDisk::over(folder.path());
    let store = Store::open(&path, options(durability)).expect("a store");
    let next = AtomicU64::new(1);
    let record = |count: u64, text_bytes: usize| {
        std::thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| {
                    for _ in 0..count / CLIENTS {
                        let request = next.fetch_add(1, Relaxed);
                        store.record(decision(request, text_bytes)).wait().expect("a durable event");
                        disk.mark(request);
                    }
                });
            }
        });
    };
    record(40, 0);
    let busy = disk.notes();
    record(28, 50_000);
    record(40, 0);
    (Past { folder, disk, busy }, store)
}

/// Opens what a crash left, and returns its events as they were before anything was completed. The chain must hold.
fn reopened(crash: &Crash, durability: Durability) -> Result<Vec<StoredEvent>, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    crash.write(folder.path());
    // No test of the machine's own disk, and quicker.
    let _disk = WatchedDisk::over(folder.path());
    let path = store_in(folder.path());
    let store = Store::open(&path, options(durability)).map_err(|error| error.to_string())?;
    store.record(decision(0, 0)).wait().map_err(|error| format!("it takes no event any more: {error}"))?;
    store.close().map_err(|error| error.to_string())?;
    let verified = verify_store(&path, &Against::default(), |_, _| {}).map_err(|error| error.to_string())?;
    if !verified.report.is_good() {
        return Err(format!("the chain does not hold: {:?}", verified.report.problems));
    }
    let mut events = Vec::new();
    let reader = Reader::open(&path).map_err(|error| error.to_string())?;
    while let page =
        reader.events_after(events.last().map_or(0, |last: &StoredEvent| last.seq), 1_000).map_err(|error| error.to_string())?
        && !page.is_empty()
    {
        events.extend(page);
    }
    let ids: BTreeSet<&str> = events.iter().map(|stored| &*stored.event.event_id).collect();
    if ids.len() != events.len() {
        return Err("an event is there twice".into());
    }
    let kinds = |kind| events.iter().filter(|stored| stored.event.kind == kind && stored.event.request_id != "0").count();
    if kinds(Kind::Decision) != kinds(Kind::Completion) {
        return Err("a request was left open".into());
    }
    events.retain(|stored| stored.event.kind == Kind::Decision && stored.event.request_id != "0");
    Ok(events)
}

/// Lets the power go at many moments, and holds `check` to be true of what is left; it is told whether all that was written is.
fn crash_often(past: &Past, durability: Durability, check: impl Fn(&Crash, &[StoredEvent], bool) -> Result<(), String>) {
    let cases = std::env::var("PORTCULLIS_CRASHES").ok().and_then(|text| text.parse().ok()).unwrap_or(CRASHES);
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, max_shrink_iters: 64, ..Config::default() });
    let all = past.disk.notes();
    let moments = (any::<bool>(), 0..=all).prop_map(|(anywhere, at)| if anywhere { at } else { past.busy + at % (all - past.busy + 1) });
    let result = runner.run(&(moments, any::<u64>(), 0_u64..=4), |(moment, seed, share)| {
        let mut dice = Dice::new(seed);
        // From nothing of what was not synced to all of it.
        let crash = past.disk.crash(moment, || dice.below(4) < share);
        let events = reopened(&crash, durability).and_then(|events| check(&crash, &events, share == 4));
        events.map_err(|error| proptest::test_runner::TestCaseError::fail(format!("moment {moment}, seed {seed}, share {share}: {error}")))
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

fn lost(crash: &Crash, events: &[StoredEvent]) -> Option<u64> {
    let there: BTreeSet<u64> = events.iter().filter_map(|stored| stored.event.request_id.parse().ok()).collect();
    crash.promised.iter().copied().find(|request| !there.contains(request))
}

#[test]
fn k5_strict_loses_nothing_that_was_promised_when_the_power_goes() {
    let (past, store) = live(Durability::Strict);
    drop(store);
    crash_often(&past, Durability::Strict, |crash, events, _| match lost(crash, events) {
        Some(request) => Err(format!("the event of request {request} was promised and is gone")),
        None => Ok(()),
    });
}

#[test]
fn k5_relaxed_keeps_the_beginning_of_the_chain_when_the_power_goes_and_everything_when_only_the_process_does() {
    let (past, store) = live(Durability::Relaxed);
    let written: BTreeMap<i64, String> = {
        let reader = Reader::open(&store_in(past.folder.path())).expect("a reader");
        let events = reader.events_after(0, 10_000).expect("events");
        events.into_iter().map(|stored| (stored.seq, stored.event.event_id)).collect()
    };
    crash_often(&past, Durability::Relaxed, |crash, events, all_written| {
        for (place, stored) in events.iter().enumerate() {
            if stored.seq != place as i64 + 1 || written.get(&stored.seq) != Some(&stored.event.event_id) {
                return Err(format!("event {} is not what stood there", stored.seq));
            }
        }
        match lost(crash, events) {
            Some(request) if all_written => Err(format!("a kill of the process took the event of request {request}")),
            _ => Ok(()),
        }
    });
    drop(store);
}

#[test]
fn k5_relaxed_has_synced_everything_a_moment_later() {
    let (past, store) = live(Durability::Relaxed);
    let promised = past.disk.crash(past.disk.notes(), || false).promised.len();
    let began = std::time::Instant::now();
    loop {
        let crash = past.disk.crash(past.disk.notes(), || false);
        let events = reopened(&crash, Durability::Relaxed).expect("a store");
        if lost(&crash, &events).is_none() {
            assert_eq!(crash.promised.len(), promised);
            break;
        }
        assert!(began.elapsed() < harness::PATIENCE, "the newest events were never synced");
    }
    drop(store);
}
