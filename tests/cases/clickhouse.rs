//! The gateway with a ClickHouse behind its audit store: the tables made by its own command, requests that never wait for it, and every
//! event of every request there once.
#![allow(clippy::expect_used, clippy::panic, reason = "test code")]

use std::time::{Duration, Instant};

use harness::{ClickHouse, Gateway, Ran, Request, Setup, canned, eventually_asked, run, run_with, within};
use portcullis_audit::Kind;
use serde_json::{Value, json};

/// What is on record of requests, as `AuditTrail::all` gives it.
const COUNT: &str = "SELECT count(), uniqExact(event_id) FROM portcullis.events WHERE kind != 'policy_change'";

async fn migrate(server: &ClickHouse, more: &[&str]) -> Ran {
    let folder = tempfile::tempdir().expect("a folder");
    run(folder.path(), &[&["audit", "migrate", "--url", &server.url()], more].concat(), "").await
}

fn setup(server: &ClickHouse) -> Setup {
    Setup::echo().set("audit.clickhouse", json!({"url": server.url(), "interval": "20ms", "timeout": "2s"}))
}

async fn readiness(gateway: &Gateway) -> Value {
    let answer = gateway.admin("/readyz").await;
    assert_eq!(answer.status(), 200, "ClickHouse is no reason not to serve: {}", answer.text());
    answer.json()
}

async fn degraded(gateway: &Gateway, class: &str) -> Value {
    let what = format!("`{class}` in /readyz");
    eventually_asked(&what, async || Some(readiness(gateway).await).filter(|ready| ready["clickhouse"]["class"] == class)).await
}

/// Waits until ClickHouse has everything that is on record, once; completions come on record a moment after their answers.
async fn delivered(gateway: &Gateway, server: &ClickHouse) {
    eventually_asked("all that is on record in ClickHouse", async || {
        let count = server.query(COUNT).await;
        let wanted = gateway.trail().all();
        let of = |kind| wanted.iter().filter(|event| event.kind == kind).count();
        let complete = of(Kind::Completion) == of(Kind::Decision);
        (complete && count == format!("{0}\t{0}", wanted.len())).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_is_served_is_in_clickhouse_a_moment_later() {
    let server = ClickHouse::start().await;
    let first = migrate(&server, &[]).await;
    assert_eq!((first.code, first.stdout.as_str()), (Some(0), "portcullis: from version 0 to 3\n"), "{}", first.stderr);
    let again = migrate(&server, &[]).await;
    assert_eq!((again.code, again.stdout.as_str()), (Some(0), "portcullis: version 3, nothing to do\n"), "{}", again.stderr);

    let gateway = setup(&server).start().await;
    let answer = gateway.say("mail jane.doe@example.org").await;
    assert_eq!(answer.status(), 200);
    gateway.trail().whole(answer.head.request_id()).await;
    delivered(&gateway, &server).await;
    let sql = "SELECT kind, decision, outcome, findings.rule FROM portcullis.events_read WHERE kind != 'policy_change' ORDER BY seq";
    assert_eq!(server.query(sql).await, "decision\tredact\t\t['EMAIL_ADDRESS']\ncompletion\tredact\tok\t[]");
    let bodies = server.query("SELECT countIf(position(body, 'jane.doe') > 0) FROM portcullis.events_read").await;
    assert_eq!(bodies, "0", "what was redacted is not delivered either");

    let ready = readiness(&gateway).await;
    assert_eq!((&ready["ready"], &ready["clickhouse"]["state"]), (&json!(true), &json!("ok")), "{ready}");
    assert_eq!(gateway.admin("/healthz").await.text(), "ok\n");
    let metrics = gateway.metrics().await;
    let value = |name: &str| metrics.sum(&format!("portcullis_clickhouse_{name}"), &[]);
    assert_eq!((value("healthy"), value("rows_total"), value("backlog_events"), value("quarantined_events")), (1.0, 3.0, 0.0, 0.0));
    assert_eq!((value("failures_total"), value("retries_total"), value("lag_seconds")), (0.0, 0.0, 0.0));
    assert!(metrics.samples("portcullis_clickhouse_failures_total").len() > 10, "every class is there before it happens");
}

#[tokio::test]
async fn requests_go_on_without_clickhouse_and_health_says_why() {
    let mut server = ClickHouse::start().await;
    migrate(&server, &[]).await;
    server.kill().await;
    let gateway = setup(&server).start().await;
    assert_eq!(gateway.say("hello").await.status(), 200);
    let ready = degraded(&gateway, "unreachable").await;
    assert!(ready["ready"] == json!(true) && ready["clickhouse"]["reason"].as_str().is_some_and(|why| why.contains("url")), "{ready}");
    let health = gateway.admin("/healthz").await;
    assert_eq!((health.status(), health.text().as_str()), (200, "degraded: clickhouse: unreachable\n"));
    let metrics = gateway.metrics().await;
    assert_eq!(metrics.sum("portcullis_clickhouse_healthy", &[]), 0.0);
    assert!(metrics.sum("portcullis_clickhouse_failures_total", &[("class", "unreachable")]) > 0.0);

    server.restart().await;
    // An answer that does not come: a server that is there and silent.
    server.fault("kind=delay&ms=600000", 1, "").await;
    for _ in 0..20 {
        let answer = within(Duration::from_secs(2), "an answer although ClickHouse is silent", gateway.say("hello")).await;
        assert_eq!(answer.status(), 200);
    }
    degraded(&gateway, "timed_out").await;
    delivered(&gateway, &server).await;
    eventually_asked("health", async || (gateway.admin("/healthz").await.text() == "ok\n").then_some(())).await;
}

#[tokio::test]
async fn a_gateway_started_before_its_tables_waits_for_them() {
    let server = ClickHouse::start().await;
    let gateway = setup(&server).start().await;
    assert_eq!(gateway.say("hello").await.status(), 200);
    let ready = degraded(&gateway, "schema_missing").await;
    assert!(ready["clickhouse"]["reason"].as_str().is_some_and(|why| why.contains("portcullis audit migrate")), "{ready}");
    migrate(&server, &[]).await;
    delivered(&gateway, &server).await;
}

#[tokio::test]
async fn a_gateway_killed_again_and_again_delivers_each_event_once() {
    let server = ClickHouse::start().await;
    migrate(&server, &[]).await;
    let mut gateway = setup(&server).set("audit.clickhouse.batch_events", 3).start().await;
    for round in 0..5 {
        server.fault("kind=drop_after", round % 3, "INSERT").await;
        for _ in 0..10 {
            assert_eq!(gateway.say("hello").await.status(), 200);
        }
        gateway.kill().await;
        gateway.restart().await;
    }
    delivered(&gateway, &server).await;
    assert!(gateway.trail().all().len() >= 100);
}

#[tokio::test]
async fn a_stopped_gateway_leaves_nothing_behind() {
    let server = ClickHouse::start().await;
    migrate(&server, &[]).await;
    let mut gateway = setup(&server).set("audit.clickhouse.interval", "10m").start().await;
    for _ in 0..5 {
        assert_eq!(gateway.say("hello").await.status(), 200);
    }
    assert!(gateway.stop().await.success());
    delivered(&gateway, &server).await;
    assert_eq!(gateway.trail().all().len(), 10);
}

#[tokio::test]
async fn the_password_comes_from_the_environment_and_stays_out_of_every_file() {
    let server = ClickHouse::with_user("gate", "open-sesame-4711").await;
    let gateway = setup(&server)
        .set("audit.clickhouse.user", "gate")
        .set("audit.clickhouse.password_env", "TEST_CLICKHOUSE_PASSWORD")
        .env("TEST_CLICKHOUSE_PASSWORD", "open-sesame-4711")
        .start()
        .await;
    gateway.say("hello").await;
    degraded(&gateway, "schema_missing").await;
    let ran = migrate(&server, &["--user", "gate"]).await;
    assert!(ran.code == Some(1) && ran.stderr.contains("user or password"), "{ran:?}");
    let ran = migrate(&server, &["--user", "gate", "--password-env", "NO_SUCH_VARIABLE"]).await;
    assert!(ran.code == Some(1) && ran.stderr.contains("NO_SUCH_VARIABLE"), "{ran:?}");
    assert!(gateway.files_holding("open-sesame").is_empty());
}

#[tokio::test]
async fn a_dry_run_prints_what_clickhouse_understands_for_one_server_and_for_a_cluster() {
    let server = ClickHouse::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    for more in [&[] as &[&str], &["--cluster", "main", "--database", "trail", "--keep-days", "30"]] {
        let ran = run(folder.path(), &[&["audit", "migrate", "--dry-run"], more].concat(), "").await;
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        assert_eq!(ran.stdout.contains("ReplicatedReplacingMergeTree"), !more.is_empty());
        for statement in ran.stdout.split(";\n").map(str::trim).filter(|statement| !statement.is_empty()) {
            if !statement.starts_with("INSERT") {
                // Comments first, then the statement itself.
                let at = ["CREATE", "ALTER"].iter().filter_map(|word| statement.find(word)).min().expect("a statement");
                server.query(&format!("EXPLAIN AST {}", &statement[at..])).await;
            }
        }
    }
    let ran = run(folder.path(), &["audit", "migrate", "--dry-run", "--database", "a`b"], "").await;
    assert!(ran.code == Some(1) && ran.stderr.contains("is no name"), "{ran:?}");
}

#[tokio::test]
async fn what_clickhouse_would_not_take_is_told_with_the_reason() {
    let server = ClickHouse::start().await;
    migrate(&server, &[]).await;
    server.query("ALTER TABLE portcullis.events ADD CONSTRAINT no_completions CHECK kind != 'completion'").await;
    let gateway = setup(&server).start().await;
    let answer = gateway.say("hello").await;
    let (_, completion) = gateway.trail().whole(answer.head.request_id()).await;
    let quarantined = async || gateway.metrics().await.sum("portcullis_clickhouse_quarantined_events", &[]);
    eventually_asked("the quarantine", async || (quarantined().await == 1.0).then_some(())).await;
    assert_eq!(server.query(COUNT).await, "1\t1");
    assert_eq!(gateway.admin("/healthz").await.text(), "ok\n", "one row is no failure of the delivery");
    let ran = run(gateway.folder(), &["audit", "quarantine", "--store", "audit.db"], "").await;
    assert!(ran.code == Some(0) && ran.stdout.contains(&completion.event_id) && ran.stdout.contains("no_completions"), "{ran:?}");
    let ran = run(gateway.folder(), &["audit", "quarantine", "--store", "none.db"], "").await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
}

#[tokio::test]
async fn an_operator_offers_again_what_clickhouse_would_not_take_and_may_be_killed_meanwhile() {
    let server = ClickHouse::start().await;
    migrate(&server, &[]).await;
    server.query("ALTER TABLE portcullis.events ADD CONSTRAINT no_completions CHECK kind != 'completion'").await;
    let gateway = setup(&server).set("audit.clickhouse.timeout", "30s").start().await;
    let retry = async |more: &[&str]| {
        run(gateway.folder(), &[&["audit", "quarantine", "--config", "gateway.yaml", "--retry"], more].concat(), "").await
    };
    for _ in 0..2 {
        let answer = gateway.say("hello").await;
        gateway.trail().whole(answer.head.request_id()).await;
    }
    let quarantined = async |wanted: f64| {
        let now = async || gateway.metrics().await.sum("portcullis_clickhouse_quarantined_events", &[]);
        eventually_asked("the quarantine", async || (now().await == wanted).then_some(())).await;
    };
    quarantined(2.0).await;
    let ran = retry(&[]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stdout.matches(" refused Code: 469").count() == 2 && ran.stderr.contains("0 delivered, 2 refused again"), "{ran:?}");

    server.query("ALTER TABLE portcullis.events DROP CONSTRAINT no_completions").await;
    // Ended between ClickHouse's word and the notes: the row is there, and in quarantine still.
    let variables = [("PORTCULLIS_CRASH_AT", "offered_again:1")];
    let ran = run_with(gateway.folder(), &["audit", "quarantine", "--config", "gateway.yaml", "--retry"], &variables, "").await;
    assert!(ran.code.is_none() && ran.stdout.is_empty(), "{ran:?}");
    assert_eq!(server.query(COUNT).await, "3\t3");
    let ran = retry(&["--json"]).await;
    assert!(ran.code == Some(0) && ran.stderr.contains("2 delivered, 0 refused again"), "{ran:?}");
    let lines: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(lines.len() == 2 && lines.iter().all(|line| line["fate"] == "delivered"), "{ran:?}");
    delivered(&gateway, &server).await;
    quarantined(0.0).await;
    assert_eq!(server.query("SELECT sum(completed) FROM portcullis.usage_hourly").await, "2");

    let folder = tempfile::tempdir().expect("a folder");
    Setup::echo().write(folder.path());
    let ran = run(folder.path(), &["audit", "quarantine", "--config", "gateway.yaml", "--retry"], "").await;
    assert!(ran.code == Some(1) && ran.stderr.contains("has no audit.clickhouse"), "{ran:?}");
    let ran = run(gateway.folder(), &["audit", "quarantine", "--store", "audit.db", "--retry"], "").await;
    assert!(ran.code == Some(2) && ran.stderr.contains("--config"), "{ran:?}");
}

#[tokio::test]
async fn settings_that_cannot_work_are_named_before_the_start() {
    for (key, value, words) in [
        ("url", json!("tcp://localhost:9000"), "audit.clickhouse.url"),
        ("batch_events", json!(0), "audit.clickhouse.batch_events"),
        ("password_env", json!("NO_SUCH_VARIABLE"), "audit.clickhouse.password_env"),
        ("ca_file", json!("missing.pem"), "audit.clickhouse.ca_file"),
        ("interval", json!("soon"), "soon"),
        ("passwort", json!("x"), "passwort"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut clickhouse = json!({"url": "http://127.0.0.1:8123"});
        clickhouse[key] = value;
        Setup::echo().set("audit.clickhouse", clickhouse).write(folder.path());
        let ran = run(folder.path(), &["check", "--config", "gateway.yaml"], "").await;
        assert!(ran.code == Some(1) && ran.stderr.contains(words), "{words}: {ran:?}");
    }
}

/// Requests measured on each gateway, in rounds that take turns, so that a busy machine is busy for both.
const ROUNDS: usize = 20;
const REQUESTS_A_ROUND: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d1_requests_are_as_fast_with_clickhouse_away_as_without_it() {
    let server = ClickHouse::start().await;
    migrate(&server, &[]).await;
    let with = setup(&server).start().await;
    let gone = ClickHouse::start().await;
    let away = setup(&gone).start().await;
    drop(gone);
    let without = Setup::echo().start().await;
    let gateways = [("without ClickHouse", &without), ("ClickHouse away", &away), ("delivering", &with)];
    let mut took = [const { Vec::<Duration>::new() }; 3];
    for _ in 0..ROUNDS {
        for (place, (_, gateway)) in gateways.iter().enumerate() {
            let request = Request::chat(gateway.key(), &canned::chat("mail jane.doe@example.org")).bytes();
            let mut client = gateway.client().await;
            for _ in 0..REQUESTS_A_ROUND {
                let began = Instant::now();
                assert_eq!(client.exchange(&request).await.status(), 200);
                took[place].push(began.elapsed());
            }
        }
        // ClickHouse's own work is not charged to the next one.
        delivered(&with, &server).await;
    }
    let quantile = |times: &[Duration], share: f64| times[(times.len() as f64 * share) as usize].as_secs_f64() * 1e3;
    for (times, (name, _)) in took.iter_mut().zip(gateways) {
        times.sort_unstable();
        println!("{name:>18}: p50 {:.2} ms, p99 {:.2} ms", quantile(times, 0.5), quantile(times, 0.99));
    }
    let [without_p50, away_p50, with_p50] = [0, 1, 2].map(|place| quantile(&took[place], 0.5));
    // Wide, because the machine may be busy: a request that waited for ClickHouse would take seconds.
    assert!(with_p50 < without_p50 * 3.0 + 20.0 && away_p50 < without_p50 * 3.0 + 20.0, "{without_p50} {with_p50} {away_p50}");
}
