//! What a report over many events takes: fills a store with made-up events and runs `portcullis report` on it, in each form.
//!
//! `PORTCULLIS_BENCH_EVENTS` (default 1,000,000) says how many; `PORTCULLIS_BIN` names another executable than the release build;
//! `PORTCULLIS_BENCH_STORE` keeps the store in that folder, and uses the one that is there.
#![allow(clippy::print_stdout, clippy::expect_used, reason = "a bench prints its result, and one that cannot run stops and says why")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use harness::{executable, made_up, repository};
use portcullis_audit::{Commit, Reader, Store, StoreOptions};
use portcullis_benches::machine;

/// 2026-11-01, and the thirty days from then on.
const FROM_US: i64 = 1_793_491_200_000_000;
const LENGTH_US: i64 = 30 * 86_400_000_000;
/// Events recorded before the first of them is waited for.
const WAITING: usize = 4_096;
/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(20);

fn main() {
    // `cargo test --benches` and `cargo nextest` call a bench with other arguments, to see that it starts.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let events = std::env::var("PORTCULLIS_BENCH_EVENTS").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000_000_u64);
    let own = tempfile::tempdir().expect("a folder");
    let folder = std::env::var_os("PORTCULLIS_BENCH_STORE").map_or_else(|| own.path().to_owned(), PathBuf::from);
    let store = folder.join("audit.db");
    if !store.exists() {
        fill(&store, events);
    }
    let count = Reader::open(&store).and_then(|reader| reader.count()).expect("a store");
    println!("# A report over {count} events\n\n{}", machine("cargo bench -p portcullis-benches --bench audit_report"));
    println!("| form | seconds | peak RSS MiB | output KiB |\n|---|--:|--:|--:|");
    for format in ["table", "json", "csv", "html"] {
        let (took, resident, bytes) = report(&store, &folder.join(format!("report.{format}")), format);
        println!("| {format} | {:.2} | {:.0} | {:.0} |", took.as_secs_f64(), resident as f64 / 1024.0, bytes as f64 / 1024.0);
    }
}

fn fill(path: &Path, events: u64) {
    let store = Store::open(path, StoreOptions::default()).expect("a store");
    let requests = events * 100 / 192;
    let mut waiting: Vec<Commit> = Vec::new();
    for n in 0..requests {
        waiting.extend(made_up(n, requests, FROM_US, LENGTH_US).into_iter().map(|event| store.record(event)));
        if waiting.len() >= WAITING {
            waiting.drain(..).for_each(|commit| _ = commit.wait().expect("an event recorded"));
        }
    }
    waiting.into_iter().for_each(|commit| _ = commit.wait().expect("an event recorded"));
    store.close().expect("a store closed");
}

/// Runs one report: its time, its greatest resident memory in KiB, and the bytes it wrote.
fn report(store: &Path, out: &Path, format: &str) -> (Duration, u64, u64) {
    let policy = repository().join("policies/policy.yaml");
    let began = Instant::now();
    let mut child = Command::new(executable())
        .args(["report", "--from", "2026-11-01", "--to", "2026-12-01", "--format", format])
        .arg("--store")
        .arg(store)
        .arg("--policy")
        .arg(policy)
        .arg("--out")
        .arg(out)
        .stderr(Stdio::null())
        .spawn()
        .expect("the executable starts");
    let mut resident = 0;
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child to wait for") {
            break status;
        }
        resident = resident.max(peak(child.id()).unwrap_or(0));
        std::thread::sleep(LOOK);
    };
    assert!(status.success(), "the report failed");
    (began.elapsed(), resident, std::fs::metadata(out).expect("a report").len())
}

fn peak(id: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().trim_end_matches(" kB").parse().ok()
}
