//! A policy for one route: who is held to it, that it is loaded, tried and replaced as others are, and that its version is on record.
#![allow(clippy::expect_used, clippy::panic, reason = "test code")]

use harness::{Backend, Gateway, Key, Request, Setup, canned, eventually_asked, run};
use portcullis_audit::{Decision, Event};
use serde_json::{Value, json};

const BASE: &str = include_str!("../data/policy.yaml");
const MAIL: &str = "jane.doe@example.org";
const CHAT: &str = "/v1/chat/completions";
const EMBEDDINGS: &str = "/v1/embeddings";

/// A policy laid over `base` that does something else with personal data.
fn over(base: &str, name: &str, action: &str) -> String {
    format!("name: {name}\nextends: {base}\nactions: {{ request: {{ pii: {action} }} }}\n")
}

/// `default` redacts and `strict` refuses personal data; embeddings are flagged by default and pass by the policy `strict`.
fn setup(backend: &Backend) -> Setup {
    let policies = json!({
        "default": {"path": "policy.yaml", "routes": {EMBEDDINGS: "embeddings.yaml"}},
        "strict": {"path": "strict.yaml", "routes": {EMBEDDINGS: {"path": "strict-embeddings.yaml"}}},
    });
    Setup::before(backend)
        .set("policies", policies)
        .file("embeddings.yaml", &over("policy.yaml", "embeddings", "flag"))
        .file("strict.yaml", &over("policy.yaml", "strict", "block"))
        .file("strict-embeddings.yaml", &over("strict.yaml", "strict-embeddings", "allow"))
}

fn body(route: &str) -> Value {
    if route == CHAT { canned::chat(MAIL) } else { json!({"model": "small-embed", "input": MAIL}) }
}

/// The event of the decision about a prompt with personal data.
async fn decided(gateway: &Gateway, key: &Key, route: &str) -> Event {
    let answer = gateway.exchange(&Request::post(key, route, &body(route))).await;
    gateway.trail().answered(answer.head.request_id()).await.remove(0)
}

fn version(event: &Event) -> &str {
    &event.policy_version
}

#[tokio::test]
async fn the_key_comes_first_then_the_file_of_the_route_then_the_policy() {
    let backend = Backend::start().await;
    let keys = [
        Key::named("plain"),
        Key::named("strict").set("policy", "strict"),
        Key::named("chat-strict").set("routes", json!({CHAT: "strict"})),
        Key::named("embeds-strict").set("routes", json!({EMBEDDINGS: "strict"})),
    ];
    let gateway = setup(&backend).keys(&keys).start().await;
    let mut versions = std::collections::BTreeMap::new();
    for (key, route, policy, decision) in [
        (&keys[0], CHAT, "harness", Decision::Redact),
        (&keys[0], EMBEDDINGS, "embeddings", Decision::Flag),
        (&keys[1], CHAT, "strict", Decision::Block),
        (&keys[1], EMBEDDINGS, "strict-embeddings", Decision::Allow),
        (&keys[2], CHAT, "strict", Decision::Block),
        (&keys[2], EMBEDDINGS, "embeddings", Decision::Flag),
        (&keys[3], CHAT, "harness", Decision::Redact),
        (&keys[3], EMBEDDINGS, "strict-embeddings", Decision::Allow),
    ] {
        let event = decided(&gateway, key, route).await;
        assert_eq!((event.policy.as_str(), event.decision), (policy, Some(decision)), "{} {route}", key.id);
        let known = versions.entry(policy).or_insert_with(|| version(&event).to_owned());
        assert_eq!(known, version(&event), "one version of one policy");
    }
    assert_eq!(versions.values().collect::<std::collections::BTreeSet<_>>().len(), 4, "{versions:?}");
    let named: Vec<(String, String)> =
        gateway.trail().changes(4).await.into_iter().map(|event| (event.policy, event.policy_version)).collect();
    let by_name = [
        ("default", "harness"),
        ("default/v1/embeddings", "embeddings"),
        ("strict", "strict"),
        ("strict/v1/embeddings", "strict-embeddings"),
    ];
    assert_eq!(named, by_name.map(|(name, policy)| (name.to_owned(), versions[policy].clone())));
}

#[tokio::test]
async fn the_file_of_a_route_is_reloaded_alone_and_with_what_it_extends() {
    let backend = Backend::start().await;
    let gateway = setup(&backend).start().await;
    let key = gateway.key().clone();
    let (chat, embeddings) = (decided(&gateway, &key, CHAT).await, decided(&gateway, &key, EMBEDDINGS).await);
    gateway.replace_file("embeddings.yaml", &over("policy.yaml", "embeddings", "block"));
    eventually_asked("the route's new file", async || {
        (decided(&gateway, &key, EMBEDDINGS).await.decision == Some(Decision::Block)).then_some(())
    })
    .await;
    assert_eq!(version(&decided(&gateway, &key, CHAT).await), version(&chat), "the other routes stay where they were");
    let changes = gateway.trail().changes(5).await;
    let change = changes[4].change.as_ref().expect("a change");
    assert_eq!((changes[4].policy.as_str(), change.version_before.as_str()), ("default/v1/embeddings", version(&embeddings)));

    // What all of them extend changes all of them.
    gateway.replace_file("policy.yaml", &BASE.replace("jailbreak: block", "jailbreak: flag"));
    let changes = gateway.trail().changes(9).await;
    let mut named: Vec<&str> = changes[5..].iter().map(|event| event.policy.as_str()).collect();
    named.sort_unstable();
    assert_eq!(named, ["default", "default/v1/embeddings", "strict", "strict/v1/embeddings"]);

    // A broken file of a route changes nothing.
    let before = decided(&gateway, &key, EMBEDDINGS).await;
    gateway.replace_file("embeddings.yaml", "name: [");
    gateway.hang_up();
    let changes = gateway.trail().changes(10).await;
    assert_eq!((changes[9].policy.as_str(), changes[9].outcome.as_str()), ("default/v1/embeddings", "refused"));
    assert_eq!(gateway.metrics().await.sum("portcullis_policy_reload_failures_total", &[("policy", "default/v1/embeddings")]), 1.0);
    assert_eq!(version(&decided(&gateway, &key, EMBEDDINGS).await), version(&before));
}

#[tokio::test]
async fn a_route_has_a_canary_of_its_own() {
    let backend = Backend::start().await;
    let keys: Vec<Key> = (0..20).map(|n| Key::named(&format!("key-{n}"))).collect();
    let canary = json!({"path": "next.yaml", "percent": 100, "rollback": {"block_rate_factor": 100}});
    let policies = json!({"default": {"path": "policy.yaml", "routes": {EMBEDDINGS: {"path": "policy.yaml", "canary": canary}}}});
    let setup = Setup::before(&backend).keys(&keys).set("policies", policies).file("next.yaml", &over("policy.yaml", "next", "block"));
    let gateway = setup.start().await;
    for key in &keys {
        assert_eq!(decided(&gateway, key, EMBEDDINGS).await.decision, Some(Decision::Block), "{}", key.id);
        assert_eq!(decided(&gateway, key, CHAT).await.decision, Some(Decision::Redact), "{}", key.id);
    }
    let metrics = gateway.metrics().await;
    let decisions = |policy, track| metrics.sum("portcullis_policy_decisions_total", &[("policy", policy), ("track", track)]);
    assert_eq!((decisions("default/v1/embeddings", "canary"), decisions("default/v1/embeddings", "stable")), (20.0, 0.0));
    assert_eq!((decisions("default", "stable"), decisions("default", "canary")), (20.0, 0.0));
}

#[tokio::test]
async fn check_and_the_start_know_the_files_of_routes_and_the_policies_that_keys_name_for_them() {
    let backend = Backend::start().await;
    let check = async |setup: &Setup| {
        let folder = tempfile::tempdir().expect("a folder");
        setup.write(folder.path());
        run(folder.path(), &["check", "--config", "gateway.yaml"], "").await
    };
    let sound = check(&setup(&backend)).await;
    assert_eq!(sound.code, Some(0), "{sound:?}");
    assert!(sound.stdout.contains("embeddings.yaml: policy `default/v1/embeddings`"), "{sound:?}");
    let broken = check(&setup(&backend).file("embeddings.yaml", "name: e\nextends: nowhere.yaml\n")).await;
    assert!(broken.code == Some(1) && broken.stderr.contains("embeddings.yaml:2: extends: there is no file"), "{broken:?}");
    let stray = check(&setup(&backend).keys(&[Key::named("demo").set("routes", json!({CHAT: "absent"}))])).await;
    assert!(stray.code == Some(1) && stray.stderr.contains("key demo: there is no policy named `absent`"), "{stray:?}");
    let unknown = check(&setup(&backend).keys(&[Key::named("demo").set("routes", json!({"/v1/images": "strict"}))])).await;
    assert!(unknown.code == Some(1) && unknown.stderr.contains("/v1/images"), "{unknown:?}");

    // The command line writes what the gateway reads.
    let folder = tempfile::tempdir().expect("a folder");
    setup(&backend).write(folder.path());
    let route = format!("{EMBEDDINGS}=strict");
    let new = ["key", "new", "--keys", "keys.yaml", "--id", "routed", "--route-policy", &route];
    assert_eq!(run(folder.path(), &new, "").await.code, Some(0));
    let listed = run(folder.path(), &["key", "list", "--keys", "keys.yaml"], "").await;
    assert!(listed.stdout.contains(&route), "{listed:?}");
    assert_eq!(run(folder.path(), &["check", "--config", "gateway.yaml"], "").await.code, Some(0));
    let wrong = run(folder.path(), &["key", "new", "--keys", "keys.yaml", "--id", "w", "--route-policy", "/v1/images=strict"], "").await;
    assert!(wrong.code == Some(2) && wrong.stderr.contains("is no route; there are /v1/chat/completions"), "{wrong:?}");
}
