//! What the audit trail takes: events a second into the store and on to ClickHouse, bytes an event in both, reports from both, and the
//! memory of the delivery behind a long backlog.
//!
//! `PORTCULLIS_BENCH_EVENTS` (default 1,000,000) says how many events are recorded, delivered and reported; `PORTCULLIS_BENCH_BACKLOG` (default
//! 10,000,000, 0 for none) how many there are for the last part, which delivers for `PORTCULLIS_BENCH_DRAIN_SECONDS` (default 60).
//! ClickHouse is the engine of the tests, in a Python process beside: one statement at a time, on the same cores.
#![allow(clippy::print_stdout, clippy::expect_used, reason = "a bench prints its result, and one that cannot run stops and says why")]

use std::path::Path;
use std::time::{Duration, Instant};

use harness::{ClickHouse, made_up, resident_bytes};
use portcullis_audit::report::{Embedded, Period, Report, Scope, Source, Warehouse};
use portcullis_audit::ship::{Layout, ShipOptions, Shipper, migrate};
use portcullis_audit::{Against, Commit, Event, Reader, Store, StoreOptions};
use portcullis_benches::machine;
use rusqlite::Connection;

/// 2026-11-01, and the thirty days from then on.
const FROM_US: i64 = 1_793_491_200_000_000;
const LENGTH_US: i64 = 30 * 86_400_000_000;
/// Events recorded before the first of them is waited for.
const WAITING: usize = 4_096;
/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// Reports made of each kind; the median is told.
const REPORTS: usize = 3;
/// Rows copied in one transaction for the backlog.
const COPIED: i64 = 100_000;

fn main() {
    // `cargo test --benches` and `cargo nextest` call a bench with other arguments, to see that it starts.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let asked = |name: &str, default| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let events = asked("PORTCULLIS_BENCH_EVENTS", 1_000_000_u64);
    let backlog = asked("PORTCULLIS_BENCH_BACKLOG", 10_000_000_u64);
    let drain = Duration::from_secs(asked("PORTCULLIS_BENCH_DRAIN_SECONDS", 60));
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("audit.db");
    println!("# The audit trail\n\n{}- load: {}\n", machine("make bench-audit"), load());
    println!("| what | figure | |\n|---|--:|---|");

    let (recorded, busy) = fill(&store, events);
    let count = Reader::open(&store).and_then(|reader| reader.count()).expect("a store");
    row("recorded", rate(count, recorded), "events/s, each group synced");
    row("", per(busy, count), "microseconds of a core an event");
    row("store", std::fs::metadata(&store).expect("a file").len() as f64 / count as f64, "bytes an event");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let server = runtime.block_on(ClickHouse::start());
    let options = ShipOptions::new(server.url());
    migrate(&options, &Layout::new("portcullis")).expect("a migration");
    let ask = |sql: &str| runtime.block_on(server.query(sql));

    let there = cpu(server.id());
    let drained = deliver(&store, &options, Duration::from_secs(3_600));
    let there = cpu(server.id()).saturating_sub(there);
    row("delivered", rate(drained.events, drained.took), "events/s, every insert synced");
    row("", per(drained.busy, drained.events), "microseconds of a core an event, the shipper's");
    row("", per(there, drained.events), "microseconds of a core an event, ClickHouse's");
    row("delivered to recorded", rate(drained.events, drained.took) / rate(count, recorded), "times as fast");
    row("memory while delivering", drained.grown_mib, "MiB more");
    let sizes = "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = 'portcullis' AND table";
    for (name, table) in [("ClickHouse, events", "= 'events'"), ("ClickHouse, hourly sums", "!= 'events'")] {
        row(name, ask(&format!("{sizes} {table}")).parse::<f64>().expect("a number") / count as f64, "bytes an event");
    }

    let embedded = Embedded { path: &store, against: Against::default() };
    let own = std::process::id();
    let (from_store, slow, busy) = report(&embedded, &[own]);
    row("report from the store", slow.as_secs_f64(), "s, with the proof of the chain");
    row("", busy.as_secs_f64(), "s of a core");
    let (from_clickhouse, fast, busy) = report(&Warehouse::new(options.clone()), &[own, server.id()]);
    assert_eq!(from_store, from_clickhouse, "both sources say the same");
    row("report from ClickHouse", fast.as_secs_f64(), "s, the same numbers");
    row("", busy.as_secs_f64(), "s of a core, ClickHouse's");

    let (recorded, took, behind) = both(&store, &options, events / 4);
    row("recorded while delivering", rate(recorded, took), "events/s");
    row("of them delivered meanwhile", 100.0 * (recorded.saturating_sub(behind)) as f64 / recorded as f64, "%");

    if backlog > count {
        copy(&store, backlog.cast_signed());
        let drained = deliver(&store, &options, drain);
        row("backlog", drained.backlog as f64, "events not delivered");
        row("delivered behind it", rate(drained.events, drained.took), "events/s");
        row("memory while delivering behind it", drained.grown_mib, "MiB more");
    }
    println!("\nload at the end: {}", load());
}

fn row(what: &str, figure: f64, unit: &str) {
    let figure = if figure < 100.0 { format!("{figure:.2}") } else { format!("{figure:.0}") };
    println!("| {what} | {figure} | {unit} |");
}

/// Microseconds of a core for each event.
fn per(busy: Duration, events: u64) -> f64 {
    busy.as_secs_f64() * 1e6 / events as f64
}

/// Time that a process had of the cores, which other processes on the machine do not lengthen as they do the time on the clock.
fn cpu(id: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    // Behind the name, which may hold blanks: the 12th and 13th field, in hundredths of a second.
    let behind = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = behind.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

fn rate(events: u64, took: Duration) -> f64 {
    events as f64 / took.as_secs_f64()
}

fn load() -> String {
    std::fs::read_to_string("/proc/loadavg").map_or_else(|_| "unknown".into(), |text| text.split(' ').take(3).collect::<Vec<_>>().join(" "))
}

/// Records events as fast as the store takes them: the time on the clock, and of the cores.
fn fill(path: &Path, events: u64) -> (Duration, Duration) {
    let requests = events * 100 / 192;
    let store = Store::open(path, StoreOptions::default()).expect("a store");
    let (mut took, mut busy) = (Duration::ZERO, Duration::ZERO);
    let own = std::process::id();
    let mut n = 0;
    while n < requests {
        // Made before the clock runs: the store is measured, not what makes events up.
        let until = (n + 50_000).min(requests);
        let made: Vec<Event> = (n..until).flat_map(|n| made_up(n, requests, FROM_US, LENGTH_US)).collect();
        n = until;
        let (began, before) = (Instant::now(), cpu(own));
        record(&store, made);
        took += began.elapsed();
        busy += cpu(own).saturating_sub(before);
    }
    store.close().expect("a store closed");
    (took, busy)
}

fn record(store: &Store, events: Vec<Event>) {
    let mut waiting: Vec<Commit> = Vec::new();
    for event in events {
        waiting.push(store.record(event));
        if waiting.len() >= 2 * WAITING {
            // The older half: the writer always has something before it.
            waiting.drain(..WAITING).for_each(|commit| _ = commit.wait().expect("an event recorded"));
        }
    }
    waiting.into_iter().for_each(|commit| _ = commit.wait().expect("an event recorded"));
}

/// What a delivery came to.
struct Delivered {
    backlog: u64,
    events: u64,
    took: Duration,
    busy: Duration,
    grown_mib: f64,
}

/// Delivers until nothing is left, or so long.
fn deliver(store: &Path, options: &ShipOptions, longest: Duration) -> Delivered {
    let own = std::process::id();
    let before = resident_bytes(own);
    let newest = Reader::open(store).and_then(|reader| reader.backlog(0)).expect("a backlog").newest_seq;
    let (began, busy) = (Instant::now(), cpu(own));
    let shipper = Shipper::start(store, options.clone(), |_| ()).expect("a shipper");
    let first = shipper.stats().delivered_seq;
    let mut most = before;
    while shipper.stats().delivered_seq < newest && began.elapsed() < longest {
        most = most.max(resident_bytes(own));
        std::thread::sleep(LOOK);
    }
    let (took, busy, delivered) = (began.elapsed(), cpu(own).saturating_sub(busy), shipper.stats().delivered_seq);
    shipper.stop();
    let (backlog, events) = ((newest - first).unsigned_abs(), (delivered - first).unsigned_abs());
    Delivered { backlog, events, took, busy, grown_mib: most.saturating_sub(before) as f64 / f64::from(1 << 20) }
}

/// Makes reports over the thirty days; the last one, the median of the times, and the time that these processes had of the cores for one.
fn report(source: &impl Source, processes: &[u32]) -> (Report, Duration, Duration) {
    let period = Period::new(FROM_US, FROM_US + LENGTH_US + 86_400_000_000).expect("a period");
    let scope = Scope { period, tenant: None, key_id: None };
    let mut times = Vec::new();
    let mut last = Report::default();
    let busy = || processes.iter().map(|id| cpu(*id)).sum::<Duration>();
    let before = busy();
    for _ in 0..REPORTS {
        let began = Instant::now();
        last = source.answer(&scope, &mut |_, _| {}).expect("a report").report;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    (last, times[REPORTS / 2], busy().saturating_sub(before) / REPORTS as u32)
}

/// Records and delivers at the same time. Returns how many were recorded, how long it took, and how many were not delivered then.
fn both(path: &Path, options: &ShipOptions, events: u64) -> (u64, Duration, u64) {
    let store = Store::open(path, StoreOptions::default()).expect("a store");
    let made: Vec<Event> = (0..events / 2).flat_map(|n| made_up(n, events / 2, FROM_US, LENGTH_US)).collect();
    let recorded = made.len() as u64;
    let made = made.into_iter().map(|event| Event { request_id: format!("{}-again", event.request_id), ..event }).collect();
    let shipper = Shipper::start(path, options.clone(), |_| ()).expect("a shipper");
    let began = Instant::now();
    record(&store, made);
    let took = began.elapsed();
    let behind = portcullis_audit::ship::missing(path).expect("the notes").undelivered;
    shipper.stop();
    store.close().expect("a store closed");
    (recorded, took, behind)
}

/// Fills the store up with copies under new ids, straight into its file: their chain is not right, which the delivery does not look at.
fn copy(path: &Path, events: i64) {
    let connection = Connection::open(path).expect("the store's file");
    connection.execute_batch("PRAGMA synchronous = OFF").expect("a setting");
    let newest = || connection.query_row("SELECT max(seq) FROM events", [], |row| row.get::<_, i64>(0)).expect("a number");
    let original = newest();
    while newest() < events {
        let (from, to) = (newest(), events.min(newest() + COPIED));
        let sql = "INSERT INTO events (seq, event_id, ts_us, kind, phase, tenant, decision, severity, body, chain_hash)
             SELECT s.n, substr(e.event_id, 1, 24) || printf('%012x', s.n), e.ts_us, e.kind, e.phase, e.tenant, e.decision, e.severity,
                 replace(e.body, e.event_id, substr(e.event_id, 1, 24) || printf('%012x', s.n)), e.chain_hash
             FROM (WITH RECURSIVE numbers(n) AS (SELECT ?1 + 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?2) SELECT n FROM numbers) AS s
             JOIN events AS e ON e.seq = 1 + (s.n - 1) % ?3";
        connection.execute(sql, [from, to, original]).expect("copies");
    }
}
