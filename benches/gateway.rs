//! What the gateway adds to a call: latency and throughput through it and straight to the same backend, with all rules on.
//!
//! The backend and the generator live in this process, the gateway is a child: `PORTCULLIS_BIN`, or the release build. Each point
//! lasts `PORTCULLIS_BENCH_SECONDS` (default 4) on each side. `benches/README.md` says how to read the table.
#![allow(clippy::print_stdout, clippy::expect_used, reason = "a bench prints its result, and one that cannot run stops and says why")]

use std::sync::Arc;
use std::time::Duration;

use harness::{Backend, Gateway, Key, Request, Script, Setup, canned, executable};
use portcullis_benches::{Kind, Load, Measured, Row, drive, machine, stages, table, text};

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
    let mut rows = Vec::new();
    let mut told = Vec::new();
    for (variant, durability, in_memory, thinking) in [
        ("audit before_response, disk", "before_response", false, None),
        ("audit before_forward, disk", "before_forward", false, None),
        ("audit before_response, memory", "before_response", true, None),
        ("audit before_response, disk, 50 ms model", "before_response", false, Some(THINKING)),
    ] {
        let backend = Backend::start_unrecorded().await;
        let answer = Script::json(&canned::chat_completion(&text(Kind::Prose, 512)));
        backend.always(thinking.map_or_else(Script::new, |time| Script::new().think(time)).then(answer));
        // The store in memory shows what the gateway costs without the disk: tmpfs takes no time to sync.
        let memory = in_memory.then(|| tempfile_in("/dev/shm"));
        let key = Key::named("bench").set("concurrent", 4096).set("requests_per_minute", 60_000_000).set("burst", 1_000_000);
        let mut setup = Setup::before(&backend)
            .shipped_policy()
            .keys(std::slice::from_ref(&key))
            .set("audit.durability", durability)
            .set("log", "warn");
        if let Some(folder) = &memory {
            setup = setup.set("audit.path", folder.join("audit.db").display().to_string());
        }
        let gateway = setup.start().await;
        let prompt = format!("{} My card is 4111 1111 1111 1111 and my mail jane.doe@example.org.", text(Kind::Prose, PROMPT_BYTES));
        let request: Arc<[u8]> = Request::chat(&key, &canned::chat(&prompt)).bytes().into();
        assert_eq!(gateway.chat(&canned::chat(&prompt)).await.status(), 200, "the prompt passes");
        for load in LOADS {
            rows.push(point(variant, &backend, &gateway, &request, load, duration).await);
        }
        told.push(format!("## {variant}: the gateway's own numbers\n\n{}", stages(&gateway.metrics().await)));
        drop(gateway);
        if let Some(folder) = memory {
            drop(std::fs::remove_dir_all(folder));
        }
    }
    println!("{}\n{}", table(&rows), told.join("\n"));
}

async fn point(variant: &'static str, backend: &Backend, gateway: &Gateway, request: &Arc<[u8]>, load: Load, duration: Duration) -> Row {
    let measure = async |address| -> Measured {
        drive(address, Arc::clone(request), load, WARM_UP).await;
        drive(address, Arc::clone(request), load, duration).await
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
