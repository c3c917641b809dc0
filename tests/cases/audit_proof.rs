//! The record can be proved: what was changed, cut off or erased shows, and nothing else does.
#![allow(clippy::expect_used, clippy::panic, reason = "test code")]

use std::path::Path;

use harness::{Backend, Gate, Gateway, Ran, Request, Script, Setup, canned, eventually, run};
use portcullis_audit::{Kind, SigningKey};
use serde_json::{Value, json};
use tokio::task::JoinSet;

async fn pair() -> (Backend, Gateway) {
    let backend = Backend::start().await;
    let setup = Setup::before(&backend).set("audit.checkpoint", json!({"events": 5, "every": "1s"}));
    let gateway = setup.start().await;
    (backend, gateway)
}

async fn verify(gateway: &Gateway, more: &[&str]) -> Ran {
    run(gateway.folder(), &[&["audit", "verify"], more].concat(), "").await
}

async fn verify_store(gateway: &Gateway) -> (Option<i32>, Value) {
    let ran = verify(gateway, &["--store", "audit.db", "--json"]).await;
    let report = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    (ran.code, report)
}

/// Flips one bit of the last place where `needle` stands in a file.
fn flip(path: &Path, needle: &str) {
    let mut bytes = std::fs::read(path).expect("a file to tamper with");
    let at = bytes.windows(needle.len()).rposition(|window| window == needle.as_bytes()).expect("the text to tamper with");
    bytes[at + needle.len() - 1] ^= 1;
    std::fs::write(path, bytes).expect("a file to tamper with");
}

#[tokio::test]
async fn the_record_is_good_while_the_gateway_runs_and_after_and_one_bit_is_found() {
    let (_backend, mut gateway) = pair().await;
    for n in 0..8 {
        assert_eq!(gateway.say(&format!("hello {n}")).await.status(), 200);
    }
    let (code, report) = verify_store(&gateway).await;
    assert_eq!((code, &report["good"]), (Some(0), &json!(true)), "{report:#}");
    assert!(gateway.stop().await.success());
    let (code, report) = verify_store(&gateway).await;
    // The start's policy is on record too.
    assert_eq!((code, &report["events"], &report["signed_to"]), (Some(0), &json!(17), &json!(17)), "{report:#}");

    let key = run(gateway.folder(), &["audit", "key", "--store", "audit.db"], "").await.stdout.trim().to_owned();
    assert!(gateway.log().contains(&key), "the start says whose signature counts");
    let from_file = SigningKey::load(&gateway.folder().join("audit.db.signing-key")).expect("a signing key beside the store");
    assert_eq!(from_file.public_key().to_string(), key);
    let pinned = verify(&gateway, &["--store", "audit.db", "--public-key", &key]).await;
    assert_eq!(pinned.code, Some(0), "{pinned:?}");
    std::fs::write(gateway.folder().join("key.pem"), from_file.public_key().to_pem()).expect("a folder to write to");
    assert_eq!(verify(&gateway, &["--store", "audit.db", "--public-key", "key.pem"]).await.code, Some(0));
    let stranger = SigningKey::load_or_make(&gateway.folder().join("other-key")).expect("a key").public_key().to_string();
    assert_eq!(verify(&gateway, &["--store", "audit.db", "--public-key", &stranger]).await.code, Some(1));

    let exported = run(gateway.folder(), &["audit", "export", "--store", "audit.db", "--from", "3", "-o", "part.jsonl"], "").await;
    assert_eq!(exported.code, Some(0), "{exported:?}");
    let offline = verify(&gateway, &["--export", "part.jsonl", "--public-key", &key]).await;
    assert!(offline.code == Some(0) && offline.stdout.contains("15 events, seq 3 to 17"), "{offline:?}");
    flip(&gateway.folder().join("part.jsonl"), "tenant-demo");
    let offline = verify(&gateway, &["--export", "part.jsonl"]).await;
    assert!(offline.code == Some(1) && offline.stdout.contains("seq 17, event 0"), "{offline:?}");

    let few = run(gateway.folder(), &["audit", "export", "--store", "audit.db", "--from", "1", "--to", "1", "-o", "few.jsonl"], "").await;
    assert_eq!(few.code, Some(0), "{few:?}");
    let unproven = verify(&gateway, &["--export", "few.jsonl", "--public-key", &key]).await;
    assert!(unproven.code == Some(2) && unproven.stdout.contains("NOT PROVEN"), "{unproven:?}");
    let unproven = verify(&gateway, &["--export", "few.jsonl", "--unsigned-max", "0"]).await;
    assert_eq!(unproven.code, Some(2), "{unproven:?}");

    flip(&gateway.store(), "\"tenant\":\"tenant-demo");
    let (code, report) = verify_store(&gateway).await;
    assert_eq!((code, &report["good"]), (Some(1), &json!(false)), "{report:#}");
    assert!(report["first_problems"][0].as_str().is_some_and(|problem| problem.starts_with("seq ")), "{report:#}");
    for unknown in [&["--store", "absent.db"][..], &["--export", "gateway.yaml"], &["--store", "audit.db", "--public-key", "absent"], &[]] {
        assert_eq!(verify(&gateway, unknown).await.code, Some(2), "{unknown:?}");
    }
}

#[tokio::test]
async fn after_kill_9_the_chain_is_whole_and_goes_on() {
    let (backend, mut gateway) = pair().await;
    for round in 1..=3 {
        let mut requests = JoinSet::new();
        let never = Gate::new();
        for n in 0..16 {
            if n % 4 == 0 {
                backend.once(Script::event_stream_head().chunk(canned::stream_of(&["a. "])[..2].concat()).wait(&never));
            } else {
                backend.once(Script::event_stream(canned::stream_of(&["whole. "])));
            }
            let bytes = Request::chat(gateway.key(), &canned::chat_stream("hi")).bytes();
            let mut client = gateway.client().await;
            requests.spawn(async move {
                client.send(bytes).await;
                let head = client.try_head().await?;
                drop(client.streamed().await);
                Some(head.request_id().to_owned())
            });
        }
        for _ in 0..round * 4 {
            drop(harness::soon("an answer", requests.join_next()).await);
        }
        gateway.kill().await;
        backend.drop_unclaimed();
        while requests.join_next().await.is_some() {}
        gateway.restart().await;
        let (code, report) = verify_store(&gateway).await;
        assert_eq!((code, &report["good"]), (Some(0), &json!(true)), "K1 round {round}: {report:#}");
        assert_eq!(report["events"], report["last"], "numbers without holes");
    }
    assert_eq!(gateway.say("still there").await.status(), 200);
    assert!(gateway.stop().await.success());
    let (code, report) = verify_store(&gateway).await;
    assert_eq!((code, &report["signed_to"]), (Some(0), &report["last"]), "{report:#}");
    assert!(!gateway.log().contains("chain is broken"));
}

#[tokio::test]
async fn a_tenants_texts_are_erased_while_the_gateway_runs_and_the_chain_stands() {
    let backend = Backend::start().await;
    let policy = format!("{}store_redacted_text: true\n", include_str!("../data/policy.yaml"));
    let mut gateway = Setup::before(&backend).policy(&policy).start().await;
    gateway.say("an errand in the town of Aarau").await;
    let tail = ["audit", "tail", "--store", "audit.db", "--text"];
    let told = run(gateway.folder(), &tail, "").await.stdout;
    assert!(told.contains("prompt: an errand in the town of Aarau"), "{told}");
    let erased = run(gateway.folder(), &["audit", "erase", "--store", "audit.db", "--tenant", "tenant-demo"], "").await;
    assert!(erased.code == Some(0) && erased.stdout.starts_with("1 keys of tenant-demo are destroyed"), "{erased:?}");
    let told = run(gateway.folder(), &tail, "").await.stdout;
    assert!(told.contains("prompt: [erased]") && !told.contains("Aarau"), "{told}");
    let trail = gateway.trail();
    eventually("the erasure on record", || {
        trail.all().into_iter().find(|event| event.kind == Kind::Admin && event.tenant == "tenant-demo" && event.outcome == "keys_erased")
    })
    .await;
    assert!(gateway.stop().await.success());
    assert_eq!(gateway.files_holding("Aarau"), Vec::<std::path::PathBuf>::new());
    assert_eq!(verify_store(&gateway).await.0, Some(0));
    let again = run(gateway.folder(), &["audit", "erase", "--store", "audit.db", "--tenant", "tenant-demo"], "").await;
    assert!(again.code == Some(0) && again.stdout.contains("nothing to erase"), "{again:?}");
}

#[tokio::test]
async fn retention_in_a_gateway_that_is_killed_leaves_a_chain_that_begins_at_its_cut() {
    let backend = Backend::start().await;
    let setup = Setup::before(&backend).set("audit.checkpoint", json!({"events": 50, "every": "1s"}));
    let mut gateway = setup.set("audit.retention", json!({"bytes": 1 << 20})).set("log", "info").start().await;
    let busy = async |gateway: &Gateway| {
        for _ in 0..20 {
            let mut requests = JoinSet::new();
            for _ in 0..32 {
                let (address, bytes) = (gateway.address(), Request::chat(gateway.key(), &canned::chat("hi")).bytes());
                requests.spawn(async move { harness::Client::connect(address).await.exchange(bytes).await.status() });
            }
            while let Some(status) = requests.join_next().await {
                assert_eq!(status.expect("a task that ends"), 200);
            }
        }
    };
    busy(&gateway).await;
    harness::eventually_asked("the first events to go", async || {
        (verify_store(&gateway).await.1["removed_to"].as_i64() > Some(0)).then_some(())
    })
    .await;
    busy(&gateway).await;
    gateway.kill().await;
    let (code, report) = verify_store(&gateway).await;
    assert_eq!((code, report["removed_to"].as_i64().map(|cut| cut + 1)), (Some(0), report["first"].as_i64()), "{report:#}");
    gateway.restart().await;
    assert_eq!(gateway.say("still there").await.status(), 200);
    assert!(gateway.stop().await.success());
    let ran = verify(&gateway, &["--store", "audit.db"]).await;
    assert!(ran.code == Some(0) && ran.stdout.contains("were removed by retention on 20"), "{ran:?}");
}

#[tokio::test]
async fn a_broken_signing_key_or_retention_stops_the_start_with_a_reason() {
    for (setting, value, reason) in [
        ("audit.signing_key", json!("gateway.yaml"), "audit signing key"),
        ("audit.retention", json!({"days": 0}), "audit.retention.days"),
        ("audit.retention", json!({"bytes": 5}), "audit.retention.bytes"),
        ("audit.checkpoint", json!({"events": 0}), "audit.checkpoint.events"),
    ] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Setup::echo().set(setting, value).write(folder.path());
        let ran = run(folder.path(), &["serve", "--config", "gateway.yaml"], "").await;
        assert!(ran.code == Some(1) && ran.stderr.contains(reason), "{ran:?}");
    }
}
