//! A store that was torn, flipped, deleted or put in an impossible place: K2 to K4.
#![allow(clippy::expect_used, clippy::panic, reason = "test code")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use harness::{Setup, WatchedDisk, run};
use portcullis_audit::{Against, AuditError, Decision, Event, Kind, Reader, Store, StoreOptions, verify_store};

/// Bytes of the head of SQLite's log, and of the head of each page in it.
const LOG_HEAD: usize = 32;
const FRAME_HEAD: usize = 24;
const PAGE: usize = 4096;
/// Bytes between two places inside a page ...
const STRIDE: usize = 509;
/// ... and in its head: page number, size of the database, salts, checksums.
const STRIDE_HEAD: usize = 3;

fn event(request: &str) -> Event {
    Event { tenant: "acme".into(), decision: Some(Decision::Block), ..Event::new(Kind::Decision, request) }
}

/// What a kill leaves of a store: the database, its log, and how long the log was when each event was promised.
struct Crashed {
    database: Vec<u8>,
    log: Vec<u8>,
    promised: Vec<(String, usize)>,
    signing_key: Vec<u8>,
    checkpoints: Vec<u8>,
}

fn crashed() -> Crashed {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("audit.db");
    let store = Store::open(&path, StoreOptions { checkpoint_events: 2, ..StoreOptions::default() }).expect("a store");
    let beside = |suffix: &str| std::fs::read(folder.path().join(format!("audit.db{suffix}"))).unwrap_or_default();
    let promised = ["a", "b", "c", "d", "e"].map(|request| {
        store.record(event(request)).wait().expect("a durable event");
        (request.to_owned(), beside("-wal").len())
    });
    Crashed {
        promised: promised.into(),
        database: beside(""),
        log: beside("-wal"),
        signing_key: beside(".signing-key"),
        checkpoints: beside(".checkpoints"),
    }
}

impl Crashed {
    /// Writes it with another log into a new folder.
    fn write(&self, log: &[u8]) -> (tempfile::TempDir, PathBuf, WatchedDisk) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.db");
        for (suffix, bytes) in [("", &*self.database), ("-wal", log), (".signing-key", &*self.signing_key)] {
            std::fs::write(folder.path().join(format!("audit.db{suffix}")), bytes).expect("a writable folder");
        }
        // No test of the machine's own disk, and quicker.
        let disk = WatchedDisk::over(folder.path());
        (folder, path, disk)
    }
}

fn requests(path: &Path) -> BTreeSet<String> {
    let events = Reader::open(path).expect("a reader").events_after(0, 100).expect("events");
    events.into_iter().map(|stored| stored.event.request_id).collect()
}

fn is_good(path: &Path) -> bool {
    verify_store(path, &Against::default(), |_, _| {}).expect("a check").report.is_good()
}

/// The bytes of a log worth a look: the heads in small strides, the pages in large ones, and both ends of each.
fn places(log: &[u8]) -> impl Iterator<Item = usize> {
    let frame = FRAME_HEAD + PAGE;
    (0..log.len()).filter(move |at| {
        let inside = at.saturating_sub(LOG_HEAD) % frame;
        let head = *at < LOG_HEAD || inside < FRAME_HEAD;
        (head && at.is_multiple_of(STRIDE_HEAD)) || inside == 0 || inside.is_multiple_of(STRIDE) || inside == frame - 1
    })
}

#[test]
fn k2_a_torn_tail_is_dropped_and_everything_before_it_kept() {
    let crashed = crashed();
    let last = crashed.promised[crashed.promised.len() - 2].1;
    let cuts = places(&crashed.log).filter(|cut| *cut >= last || cut % 7 == 0);
    let mut tried = 0;
    for cut in cuts {
        let (_folder, path, _disk) = crashed.write(&crashed.log[..cut]);
        let store = Store::open(&path, StoreOptions::default()).unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
        let there = requests(&path);
        for (place, (request, length)) in crashed.promised.iter().enumerate() {
            assert!(there.contains(request) || *length > cut, "cut at {cut}: {request} is gone");
            assert!(!there.contains(request) || crashed.promised[..place].iter().all(|(before, _)| there.contains(before)), "{there:?}");
        }
        store.record(event("after")).wait().expect("a durable event");
        store.close().expect("to close");
        assert!(is_good(&path), "cut at {cut}");
        tried += 1;
    }
    assert!(tried > 100, "{tried}");
}

#[test]
fn k3_a_flipped_bit_in_the_log_costs_what_stands_behind_it_and_signed_events_are_missed() {
    let crashed = crashed();
    let from = crashed.promised[1].1;
    let mut missed = 0;
    for at in places(&crashed.log).filter(|at| *at < LOG_HEAD || *at >= from) {
        let mut log = crashed.log.clone();
        log[at] ^= 1 << (at % 8);
        let (_folder, path, _disk) = crashed.write(&log);
        let store = Store::open(&path, StoreOptions::default()).unwrap_or_else(|error| panic!("bit of byte {at}: {error}"));
        let there = requests(&path);
        for (request, length) in &crashed.promised {
            assert!(there.contains(request) || *length > at, "bit of byte {at}: {request} stands before it and is gone");
        }
        store.close().expect("to close");
        assert!(is_good(&path), "bit of byte {at}: what is left is a whole chain");
        // The plain file of checkpoints says what was there.
        let signed = path.with_extension("shipped");
        std::fs::write(&signed, &crashed.checkpoints).expect("a writable folder");
        let against = Against { checkpoints: Some(&signed), ..Against::default() };
        let report = verify_store(&path, &against, |_, _| {}).expect("a check").report;
        let signed_lost = !there.contains("d");
        assert_eq!(report.is_good(), !signed_lost, "bit of byte {at}: {there:?} {:?}", report.problems);
        missed += u32::from(signed_lost);
    }
    assert!(missed > 10, "{missed}");
}

#[test]
fn k3_a_flipped_bit_in_a_stored_event_is_named_and_the_others_are_still_read() {
    let crashed = crashed();
    let (folder, path, _disk) = crashed.write(&crashed.log);
    Store::open(&path, StoreOptions::default()).expect("a store").close().expect("to close");
    let whole = std::fs::read(&path).expect("a database");
    let body = Reader::open(&path).expect("a reader").events_after(2, 1).expect("events").remove(0).body;
    let at = whole.windows(body.len()).position(|bytes| bytes == body.as_bytes()).expect("the body in the file");
    for offset in 0..body.len() {
        let mut bytes = whole.clone();
        bytes[at + offset] ^= 1 << (offset % 7);
        std::fs::write(&path, bytes).expect("a writable folder");
        match Store::open(&path, StoreOptions::default()) {
            Ok(store) => {
                assert_eq!(store.stats().chain_broken, Some(3), "byte {offset}: health says where");
                store.close().expect("to close");
            }
            Err(error) => assert!(matches!(error, AuditError::Corrupt { .. }), "byte {offset}: {error}"),
        }
        let events = Reader::open(&path).expect("a reader").events_after(0, 100).expect("events");
        let others: BTreeSet<_> = events.iter().filter(|stored| stored.seq != 3).map(|stored| &*stored.event.request_id).collect();
        assert!(["a", "b", "d", "e"].iter().all(|request| others.contains(request)), "byte {offset}: {others:?}");
        assert!(!is_good(&path), "byte {offset}");
    }
    drop(folder);
}

#[tokio::test]
async fn k4_a_store_that_was_deleted_is_missed() {
    let mut gateway = Setup::echo().start().await;
    assert_eq!(gateway.say("hello").await.status(), 200);
    assert!(gateway.stop().await.success());
    for suffix in ["", "-wal", "-shm"] {
        drop(std::fs::remove_file(gateway.folder().join(format!("audit.db{suffix}"))));
    }
    gateway.restart().await;
    assert_eq!(gateway.say("hello").await.status(), 200);
    gateway.logged(&["signed checkpoints are there, the events are gone"]).await;
    let verified = run(gateway.folder(), &["audit", "verify", "--store", "audit.db"], "").await;
    assert_ne!(verified.code, Some(0), "{}", verified.stdout);
}

#[tokio::test]
async fn k4_files_that_cannot_be_a_store_stop_the_start_with_one_line() {
    for (name, bytes, told) in [
        ("audit.db", Some(&b""[..]), "it is empty"),
        ("audit.db", Some(&b"this is a letter to my aunt, and no database at all"[..]), "audit.db"),
        ("/proc/audit.db", None, "/proc/audit.db"),
        ("/dev/full", None, "/dev/full"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        Setup::echo().set("audit.path", name).write(folder.path());
        if let Some(bytes) = bytes {
            std::fs::write(folder.path().join(name), bytes).expect("a writable folder");
        }
        let ran = run(folder.path(), &["serve", "--config", "gateway.yaml"], "").await;
        assert_ne!(ran.code, Some(0), "{name}");
        let complaint = ran.stderr + &ran.stdout;
        let lines: Vec<&str> = complaint.lines().filter(|line| line.contains(told)).collect();
        assert!(!lines.is_empty() && !complaint.contains("panicked"), "{name}: {complaint}");
    }
}
