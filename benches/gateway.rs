//! What the gateway adds to a call: latency and throughput through it and straight to the same backend, with all rules on.
//!
//! The backend and the generator live in this process, the gateway is a child: `PORTCULLIS_BIN`, or the release build. Each point
//! lasts `PORTCULLIS_BENCH_SECONDS` (default 4) on each side; with `PORTCULLIS_BENCH_ONLY` only gateways with that word in their name are
//! measured. `benches/README.md` says how to read the table.
#![allow(clippy::print_stdout, clippy::expect_used, reason = "a bench prints its result, and one that cannot run stops and says why")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use harness::{Backend, Gateway, Key, Metrics, Request, Script, Setup, canned, executable};
use portcullis_benches::{Kind, Load, Measured, Requests, Row, drive, machine, stages, table, text, texts};
use serde_json::json;

/// Bytes of prose in the prompt; a card number and an e-mail address come on top, so that each request is redacted.
const PROMPT_BYTES: usize = 1024;
/// A model's time to its answer, in the variant that has one.
const THINKING: Duration = Duration::from_millis(50);
/// Before each point, so that connections, caches and the store's file are warm.
const WARM_UP: Duration = Duration::from_millis(500);

const LOADS: [Load; 5] = [
    Load::Closed { connections: 1 },
    Load::Closed { connections: 8 },
    Load::Closed { connections: 32 },
    Load::Open { per_second: 100 },
    Load::Open { per_second: 400 },
];
/// With the guard model, which takes a core for some milliseconds for each request.
const GUARD_LOADS: [Load; 3] = [Load::Closed { connections: 1 }, Load::Closed { connections: 8 }, Load::Open { per_second: 50 }];
/// Different prompts, with several windows each: more than the guard's cache holds, so that none is there when it comes again.
const GUARD_PROMPTS: usize = 4000;
/// The guard may take that long: what it cannot do in time shows as latency, and not as refusals.
const GUARD_PATIENCE: &str = "20s";

/// A gateway, and what is sent to it.
struct Variant {
    name: &'static str,
    durability: &'static str,
    /// The store in memory shows what the gateway costs without the disk: tmpfs takes no time to sync.
    in_memory: bool,
    thinking: Option<Duration>,
    guard: bool,
    /// How many different prompts.
    prompts: usize,
    loads: &'static [Load],
}

const PLAIN: Variant = Variant {
    name: "audit before_response, disk",
    durability: "before_response",
    in_memory: false,
    thinking: None,
    guard: false,
    prompts: 1,
    loads: &LOADS,
};

const VARIANTS: [Variant; 6] = [
    PLAIN,
    Variant { name: "audit before_forward, disk", durability: "before_forward", ..PLAIN },
    Variant { name: "audit before_response, memory", in_memory: true, ..PLAIN },
    Variant { name: "audit before_response, disk, 50 ms model", thinking: Some(THINKING), ..PLAIN },
    Variant { name: "guard off, prompts differ", prompts: GUARD_PROMPTS, loads: &GUARD_LOADS, ..PLAIN },
    Variant { name: "guard on, prompts differ", guard: true, prompts: GUARD_PROMPTS, loads: &GUARD_LOADS, ..PLAIN },
];

fn main() {
    // `cargo test --benches` and `cargo nextest` call a bench with other arguments, to see that it starts.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let seconds = std::env::var("PORTCULLIS_BENCH_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(4_u64).clamp(1, 60);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(bench(Duration::from_secs(seconds)));
}

async fn bench(duration: Duration) {
    println!("# Added latency of the gateway\n\n{}", machine("cargo bench -p portcullis-benches --bench gateway"));
    let binary = executable();
    println!(
        "- gateway: {}, shipped policy, every pack on, each prompt (1 KB) redacted",
        binary.strip_prefix(harness::repository()).unwrap_or(&binary).display()
    );
    println!("- each point {} s on each side, latencies in milliseconds\n", duration.as_secs());
    let (mut rows, mut told) = (Vec::new(), Vec::new());
    let only = std::env::var("PORTCULLIS_BENCH_ONLY").unwrap_or_default();
    for variant in VARIANTS.iter().filter(|variant| variant.name.contains(&only)) {
        let backend = Backend::start_unrecorded().await;
        let answer = Script::json(&canned::chat_completion(&text(Kind::Prose, 512)));
        backend.always(variant.thinking.map_or_else(Script::new, |time| Script::new().think(time)).then(answer));
        let memory = variant.in_memory.then(|| tempfile_in("/dev/shm"));
        let key = Key::named("bench").set("concurrent", 4096).set("requests_per_minute", 60_000_000).set("burst", 1_000_000);
        let gateway = variant.setup(&backend, &key, memory.as_deref()).start().await;
        let prompt = |prose: &String| format!("{prose} My card is 4111 1111 1111 1111 and my mail jane.doe@example.org.");
        let prompts: Vec<String> = texts(Kind::Prose, PROMPT_BYTES, variant.prompts).iter().map(prompt).collect();
        assert_eq!(gateway.chat(&canned::chat(&prompts[0])).await.status(), 200, "the prompt passes");
        let requests = Requests::new(prompts.iter().map(|prompt| Request::chat(&key, &canned::chat(prompt)).bytes()).collect());
        for load in variant.loads {
            rows.push(point(variant.name, &backend, &gateway, &requests, *load, duration).await);
        }
        let metrics = gateway.metrics().await;
        told.push(format!("## {}: the gateway's own numbers\n\n{}{}", variant.name, stages(&metrics), windows(variant, &metrics)));
        drop(gateway);
        if let Some(folder) = memory {
            drop(std::fs::remove_dir_all(folder));
        }
    }
    println!("{}\n{}", table(&rows), told.join("\n"));
}

impl Variant {
    fn setup(&self, backend: &Backend, key: &Key, memory: Option<&Path>) -> Setup {
        let mut setup = Setup::before(backend)
            .shipped_policy()
            .keys(std::slice::from_ref(key))
            .set("audit.durability", self.durability)
            .set("log", "warn");
        if let Some(folder) = memory {
            setup = setup.set("audit.path", folder.join("audit.db").display().to_string());
        }
        if self.guard {
            let folder = harness::repository().join("guard-model");
            let guard = json!({"kind": "model", "path": folder.join("weights/small"), "known": folder.join("data/known-attacks.jsonl")});
            setup = setup.set("guard", guard).set("timeouts.guard", GUARD_PATIENCE);
        }
        setup
    }
}

/// Where the guard's verdicts came from.
fn windows(variant: &Variant, metrics: &Metrics) -> String {
    let by = |source| metrics.sum("portcullis_guard_windows_total", &[("by", source)]);
    if variant.guard { format!("Guard: {} windows by the model, {} from its cache\n", by("model"), by("cache")) } else { String::new() }
}

async fn point(
    variant: &'static str,
    backend: &Backend,
    gateway: &Gateway,
    requests: &Arc<Requests>,
    load: Load,
    duration: Duration,
) -> Row {
    let measure = async |address| -> Measured {
        drive(address, requests, load, WARM_UP).await;
        drive(address, requests, load, duration).await
    };
    let direct = measure(backend.address()).await;
    let through = measure(gateway.address()).await;
    Row { variant, load, direct, gateway: through, resident_bytes: gateway.resident_bytes() }
}

fn tempfile_in(parent: &str) -> std::path::PathBuf {
    let folder = std::path::Path::new(parent).join(format!("portcullis-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder in memory");
    folder
}
