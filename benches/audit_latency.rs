//! What the record adds to a call: latency through the gateway when the decision must be durable before the answer, before the prompt is
//! sent on, written but not synced, and with a store in memory, where being durable takes no time.
//!
//! The four gateways take turns, round by round, so that a machine that is busy is busy for all of them. `PORTCULLIS_BENCH_SECONDS`
//! (default 4) is the time of each point on each gateway, all rounds together; `PORTCULLIS_BIN` names another executable than the
//! release build.
#![allow(clippy::print_stdout, clippy::expect_used, reason = "a bench prints its result, and one that cannot run stops and says why")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use harness::{Backend, Gateway, Key, Request, Script, Setup, canned};
use portcullis_benches::{Kind, Load, Requests, drive, machine, text};

const PROMPT_BYTES: usize = 1024;
const ROUNDS: u32 = 4;
const WARM_UP: Duration = Duration::from_millis(300);
const CONNECTIONS: [usize; 3] = [1, 32, 256];
/// Name, `audit.durability`, whether the store is in memory. The last one is what the others are compared with.
const VARIANTS: [(&str, &str, bool); 4] = [
    ("strict", "strict", false),
    ("before_forward", "before_forward", false),
    ("relaxed", "relaxed", false),
    ("in memory", "strict", true),
];

fn main() {
    // `cargo test --benches` and `cargo nextest` call a bench with other arguments, to see that it starts.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let seconds = std::env::var("PORTCULLIS_BENCH_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(4_u32).clamp(1, 60);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(bench(Duration::from_secs(1) * seconds / ROUNDS));
}

async fn bench(round: Duration) {
    println!("# What the record adds to a call\n\n{}", machine("make bench-audit"));
    println!("- load at the start: {}", load());
    let backend = Backend::start_unrecorded().await;
    backend.always(Script::json(&canned::chat_completion(&text(Kind::Prose, 512))));
    let key = Key::named("bench").set("concurrent", 4096).set("requests_per_minute", 60_000_000).set("burst", 1_000_000);
    let memory = Memory::new();
    let mut gateways = Vec::new();
    for (_, durability, in_memory) in VARIANTS {
        let mut setup = Setup::before(&backend).keys(std::slice::from_ref(&key)).set("audit.durability", durability).set("log", "warn");
        if in_memory {
            setup = setup.set("audit.path", memory.0.join("audit.db").display().to_string());
        }
        gateways.push(setup.start().await);
    }
    let prompt = text(Kind::Prose, PROMPT_BYTES);
    let requests = Requests::one(Request::chat(&key, &canned::chat(&prompt)).bytes());
    println!("\n| connections | record | p50 ms | p99 ms | added p50 | added p99 | req/s | errors |\n|--:|---|--:|--:|--:|--:|--:|--:|");
    for connections in CONNECTIONS {
        point(connections, &gateways, &requests, round).await;
    }
    println!("\nload at the end: {}", load());
}

/// One row for each gateway.
async fn point(connections: usize, gateways: &[Gateway], requests: &Arc<Requests>, round: Duration) {
    let load = Load::Closed { connections };
    let mut measured = Vec::new();
    for gateway in gateways {
        measured.push(drive(gateway.address(), requests, load, WARM_UP).await);
    }
    for (number, gateway) in (0..ROUNDS).flat_map(|number| gateways.iter().map(move |gateway| (number, gateway))) {
        let index = gateways.iter().position(|other| other.address() == gateway.address()).expect("one of them");
        let more = drive(gateway.address(), requests, load, round).await;
        let Some(all) = measured.get_mut(index) else { continue };
        if number == 0 {
            // What was measured so far was the warm-up.
            *all = more;
        } else {
            all.latency_us.add(&more.latency_us).expect("the same bounds");
            all.errors += more.errors;
            all.took += more.took;
        }
    }
    let Some(base) = measured.last().cloned() else { return };
    for (one, (name, ..)) in measured.iter().zip(VARIANTS) {
        let [p50, p99] = [0.5, 0.99].map(|quantile| one.quantile_ms(quantile));
        let [b50, b99] = [0.5, 0.99].map(|quantile| base.quantile_ms(quantile));
        let (per_second, errors) = (one.per_second(), one.errors);
        println!("| {connections} | {name} | {p50:.2} | {p99:.2} | {:.2} | {:.2} | {per_second:.0} | {errors} |", p50 - b50, p99 - b99);
    }
}

fn load() -> String {
    std::fs::read_to_string("/proc/loadavg").map_or_else(|_| "unknown".into(), |text| text.split(' ').take(3).collect::<Vec<_>>().join(" "))
}

/// A folder on tmpfs, which takes no time to sync.
struct Memory(PathBuf);

impl Memory {
    fn new() -> Self {
        let folder = PathBuf::from("/dev/shm").join(format!("portcullis-bench-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder in memory");
        Self(folder)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}
