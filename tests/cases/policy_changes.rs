//! Changes of policies on record: which version was in force when, on whose word, and which one was refused.
#![allow(clippy::expect_used, clippy::panic, reason = "test code")]

use harness::{Backend, Gateway, Key, Request, Setup, canned, eventually_asked};
use portcullis_audit::{ChangeOutcome, ChangeSource, Event, Kind};
use serde_json::json;

const REDACTS: &str = include_str!("../data/policy.yaml");
const MAIL: &str = "write to jane.doe@example.org";

fn blocks() -> String {
    REDACTS.replacen("pii: redact", "pii: block", 1)
}

/// What an event says changed: policy, track, outcome, source, reason, version before and after.
fn told(event: &Event) -> (&str, &str, &str, ChangeSource, &str, &str, &str) {
    let change = event.change.as_ref().expect("a change");
    assert_eq!((event.kind, event.request_id.as_str(), event.decision), (Kind::PolicyChange, "", None));
    (&event.policy, &change.track, &event.outcome, change.source, &change.reason, &change.version_before, &event.policy_version)
}

async fn decided_by(gateway: &Gateway, key: &Key) -> String {
    let answer = gateway.exchange(&Request::chat(key, &canned::chat("hi"))).await;
    gateway.trail().answered(answer.head.request_id()).await.remove(0).policy_version
}

#[tokio::test]
async fn starts_reloads_and_refusals_are_on_record_with_both_versions_and_who_asked() {
    let backend = Backend::start().await;
    let gateway = Setup::before(&backend).start().await;
    let first = decided_by(&gateway, gateway.key()).await;
    let start = gateway.trail().changes(1).await;
    assert_eq!(told(&start[0]), ("default", "stable", ChangeOutcome::InForce.as_str(), ChangeSource::Start, "", "", first.as_str()));

    gateway.replace_file("policy.yaml", &blocks());
    let changes = gateway.trail().changes(2).await;
    let (_, _, outcome, source, reason, before, second) = told(&changes[1]);
    assert_eq!((outcome, source, reason, before), ("in_force", ChangeSource::FileWatch, "", first.as_str()));
    assert_ne!(second, first);
    eventually_asked("the second version", async || (decided_by(&gateway, gateway.key()).await == second).then_some(())).await;

    let failing = format!("{REDACTS}tests:\n  - {{ name: t, text: '{MAIL}', expect: block }}\n");
    for (count, text, class) in [(3, "name: [", "form"), (4, "name: p\npacks: [absent.yaml]\n", "unreadable"), (5, &failing, "tests")] {
        gateway.replace_file("policy.yaml", text);
        gateway.hang_up();
        let changes = gateway.trail().changes(count).await;
        assert_eq!(changes.len(), count, "one event each");
        let (policy, track, outcome, source, reason, before, version) = told(&changes[count - 1]);
        assert_eq!((policy, track, outcome, reason, before, version), ("default", "stable", "refused", class, second, ""));
        assert!(matches!(source, ChangeSource::Sighup | ChangeSource::FileWatch), "{source:?}");
        assert_eq!(decided_by(&gateway, gateway.key()).await, second);
    }
    // The bytes that are in force already are no change.
    gateway.replace_file("policy.yaml", &blocks());
    gateway.hang_up();
    gateway.replace_file("policy.yaml", REDACTS);
    gateway.hang_up();
    let changes = gateway.trail().changes(6).await;
    assert_eq!((changes.len(), told(&changes[5]).2, told(&changes[5]).6), (6, "in_force", first.as_str()));
}

#[tokio::test]
async fn a_rollout_is_on_record_from_its_start_to_its_end() {
    let backend = Backend::start().await;
    let keys: Vec<Key> = (0..40).map(|n| Key::named(&format!("key-{n}"))).collect();
    let canary = json!({"path": "canary.yaml", "percent": 50});
    let policies = json!({"default": {"path": "policy.yaml", "canary": canary}});
    let harmless = REDACTS.replace("jailbreak: block", "jailbreak: flag");
    let gateway = Setup::before(&backend).keys(&keys).file("canary.yaml", &harmless).set("policies", policies).start().await;
    let start = gateway.trail().changes(2).await;
    let stable = told(&start[0]).6.to_owned();
    let (policy, track, outcome, source, _, before, tried) = told(&start[1]);
    assert_eq!((policy, track, outcome, source, before), ("default", "canary", "rollout_start", ChangeSource::Start, ""));
    assert_eq!(start[1].change.as_ref().and_then(|change| change.percent), Some(50.0));

    gateway.replace_file("canary.yaml", &blocks());
    let changes = gateway.trail().changes(3).await;
    let (_, track, outcome, source, _, before, refusing) = told(&changes[2]);
    assert_eq!((track, outcome, source, before), ("canary", "rollout_step", ChangeSource::FileWatch, tried));
    // It refuses far more: it is taken back.
    eventually_asked("the canary to be taken back", async || {
        for key in &keys {
            gateway.exchange(&Request::chat(key, &canned::chat(MAIL))).await;
        }
        (gateway.metrics().await.sum("portcullis_policy_rollbacks_total", &[]) >= 1.0).then_some(())
    })
    .await;
    let changes = gateway.trail().changes(4).await;
    assert_eq!(told(&changes[3]), ("default", "canary", "rolled_back", ChangeSource::Rollout, "block_rate", refusing, stable.as_str()));
    // Tried again with another text, and then put in force for all.
    gateway.replace_file("canary.yaml", &harmless);
    let changes = gateway.trail().changes(5).await;
    assert_eq!((told(&changes[4]).2, told(&changes[4]).5, told(&changes[4]).6), ("rollout_start", "", tried));
    gateway.replace_file("policy.yaml", &harmless);
    let changes = gateway.trail().changes(6).await;
    assert_eq!(told(&changes[5]), ("default", "stable", "rollout_complete", ChangeSource::FileWatch, "", stable.as_str(), tried));
    assert_eq!(changes.len(), 6);
}
