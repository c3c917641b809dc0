//! Delivery to ClickHouse, with the real engine and faults: every event once, in whatever way the server fails. D1 to D11.
#![allow(clippy::expect_used, clippy::panic, reason = "test code")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use harness::{ClickHouse, eventually, resident_bytes, within};
use portcullis_audit::ship::{
    Fate, Layout, Retried, ShipError, ShipOptions, ShipStats, Shipper, migrate, quarantine, retry_quarantine, sql,
};
use portcullis_audit::{
    Decision, Direction, Event, FindingRecord, Guard, Kind, KnownAttack, Reader, Retention, Severity, Store, StoreOptions,
};

/// A store, and where it is to be delivered.
struct Place {
    folder: tempfile::TempDir,
    store: Store,
    options: ShipOptions,
}

impl Place {
    /// A store with `events` events, and a server with its tables.
    async fn new(server: &ClickHouse, events: usize) -> Self {
        let place = Self::without_tables(&server.url(), events);
        place.migrate().await;
        place
    }

    fn without_tables(url: &str, events: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("audit.db"), StoreOptions::default()).expect("a store");
        let place = Self { folder, store, options: ShipOptions { interval: Duration::from_millis(20), ..ShipOptions::new(url) } };
        place.record(events);
        place
    }

    /// Offers what is in quarantine again, and returns what was told of each row.
    async fn retry(&self) -> (Result<(), ShipError>, Vec<(i64, Fate, u32)>) {
        let (path, options) = (self.path(), self.options.clone());
        let retry = move || {
            let mut told = Vec::new();
            let done = retry_quarantine(&path, &options, |Retried { row, fate }| told.push((row.seq, fate, row.code)));
            (done, told)
        };
        tokio::task::spawn_blocking(retry).await.expect("no panic")
    }

    async fn migrate(&self) {
        let options = self.options.clone();
        let done = tokio::task::spawn_blocking(move || migrate(&options, &Layout::new("portcullis"))).await.expect("no panic");
        done.expect("a migration");
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("audit.db")
    }

    fn record(&self, events: usize) {
        for _ in 0..events {
            self.put(event("r"));
        }
        self.settle();
    }

    fn put(&self, event: Event) {
        drop(self.store.record(event));
    }

    /// Waits until all that was recorded is in the store.
    fn settle(&self) {
        while self.store.stats().queued > 0 {
            std::thread::yield_now();
        }
        tokio::task::block_in_place(|| self.store.record(event("last")).wait()).expect("a durable event");
    }

    fn ship(&self) -> Shipper {
        self.ship_with(&self.options)
    }

    fn ship_with(&self, options: &ShipOptions) -> Shipper {
        Shipper::start(&self.path(), options.clone(), |_| ()).expect("a shipper")
    }

    fn recorded(&self) -> u64 {
        Reader::open(&self.path()).expect("a reader").count().expect("a count")
    }

    /// Waits until everything recorded is delivered, and checks that it is there once.
    async fn delivered(&self, server: &ClickHouse, shipper: &Shipper) -> ShipStats {
        let newest = Reader::open(&self.path()).expect("a reader").backlog(0).expect("a backlog").newest_seq;
        let stats = eventually(&format!("{newest} events to be delivered"), || {
            let stats = shipper.stats();
            (stats.delivered_seq >= newest && stats.degraded.is_none()).then_some(stats)
        })
        .await;
        let wanted = self.recorded() - stats.quarantined;
        assert_eq!(server.query(COUNT).await, format!("{wanted}\t{wanted}"), "each once");
        stats
    }
}

const COUNT: &str = "SELECT count(), uniqExact(event_id) FROM portcullis.events";

fn event(request: &str) -> Event {
    let id = if request.is_empty() { String::new() } else { format!("{request}-{}", uuid()) };
    Event {
        tenant: "acme".into(),
        key_id: "demo".into(),
        model: "m".into(),
        decision: Some(Decision::Block),
        ..Event::new(Kind::Decision, id)
    }
}

/// The verdict of a guard model that found a known attack near.
fn judged(version: &str) -> Guard {
    let known = Some(KnownAttack { id: "acme-7".into(), similarity: 0.9 });
    Guard::Scored { label: "injection".into(), score: 0.5, version: version.into(), known }
}

fn uuid() -> String {
    Event::new(Kind::Decision, "").event_id
}

async fn degraded(shipper: &Shipper, class: &str) -> String {
    eventually(&format!("`{class}`"), || shipper.stats().degraded.filter(|degraded| degraded.class == class)).await.message
}

/// The tokens of all inserts of events, in order.
async fn tokens(server: &ClickHouse) -> Vec<String> {
    let seen = server.seen().await;
    let inserts = seen.iter().filter(|one| one["query"].as_str().expect("a query").starts_with("INSERT INTO `events`"));
    inserts.map(|one| one["settings"]["insert_deduplication_token"].as_str().expect("a token").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_arrive_once_with_all_their_fields() {
    let server = ClickHouse::start().await;
    let place = Place::new(&server, 0).await;
    let finding = FindingRecord {
        rule: "CREDIT_CARD".into(),
        category: "pii".into(),
        severity: Severity::High,
        direction: Direction::Request,
        action: Decision::Redact,
        count: 3,
        spans: Vec::new(),
    };
    let mut given = Event {
        severity: Some(Severity::High),
        status: Some(403),
        tokens_in: Some(0),
        failed_open: vec!["guard".into()],
        findings: vec![finding.clone(), FindingRecord { rule: "IBAN_CODE".into(), count: 1, ..finding }],
        redacted_prompt: Some("my card is <CREDIT_CARD>".into()),
        guard: Some(judged("small-2")),
        ..event("fields")
    };
    given.latencies_us.total = Some(1234);
    place.put(given.clone());
    place.settle();
    let shipper = place.ship();
    place.delivered(&server, &shipper).await;
    let row = server
        .query(&format!(
            "SELECT tenant, toUnixTimestamp64Micro(ts), kind, decision, severity, status, tokens_in, tokens_out, failed_open, findings.rule, \
             findings.count, total_us, guard_state, guard_label, guard_score, guard_version, known_attack, sealed_prompt, hex(chain_hash) FROM portcullis.events_read WHERE request_id = '{}'",
            given.request_id
        ))
        .await;
    let stored = Reader::open(&place.path()).expect("a reader").events_after(0, 10).expect("events");
    let stored = stored.iter().find(|stored| stored.event.request_id == given.request_id).expect("the event");
    let sealed = stored.event.sealed_prompt.clone().expect("a text is stored sealed");
    assert!(!stored.body.contains("my card"), "{}", stored.body);
    let link = hex::encode_upper(stored.chain_hash);
    assert_eq!(
        row,
        format!(
            "acme\t{}\tdecision\tblock\thigh\t403\t0\t\\N\t['guard']\t['CREDIT_CARD','IBAN_CODE']\t[3,1]\t1234\tscored\tinjection\t0.5\tsmall-2\tacme-7\t{sealed}\t{link}",
            given.time_us
        )
    );
    let usage = "SELECT sum(requests), sum(blocked), sum(failed_open) FROM portcullis.usage_hourly WHERE tenant = 'acme'";
    assert_eq!(server.query(usage).await, "3\t3\t1");
    let rules = "SELECT rule, action, sum(events), sum(findings) FROM portcullis.rules_hourly GROUP BY ALL ORDER BY rule";
    assert_eq!(server.query(rules).await, "CREDIT_CARD\tredact\t1\t3\nIBAN_CODE\tredact\t1\t1");
}

#[tokio::test(flavor = "multi_thread")]
async fn d1_a_server_that_is_away_gets_everything_when_it_comes_back() {
    let mut server = ClickHouse::start().await;
    let place = Place::new(&server, 50).await;
    server.kill().await;
    let shipper = place.ship();
    let message = degraded(&shipper, "unreachable").await;
    assert!(message.contains("audit.clickhouse.url"), "{message}");
    place.record(50);
    let stats = eventually("the backlog to be measured", || Some(shipper.stats()).filter(|stats| stats.backlog == 102)).await;
    assert!(stats.oldest_us.is_some() && stats.delivered_seq == 0 && stats.failures["unreachable"] > 0, "{stats:?}");
    server.restart().await;
    place.delivered(&server, &shipper).await;
    assert_eq!(shipper.stats().backlog, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn d2_an_insert_that_was_applied_and_not_answered_is_not_applied_twice() {
    let server = ClickHouse::start().await;
    let place = Place::new(&server, 20).await;
    server.fault("kind=drop_after", 2, "INSERT").await;
    let shipper = place.ship();
    let stats = place.delivered(&server, &shipper).await;
    assert_eq!((stats.retries, stats.batches, stats.rows, stats.failures["unreachable"]), (2, 1, 21, 2));
    let tokens = tokens(&server).await;
    assert!(tokens.len() == 3 && tokens.iter().all(|token| token == &tokens[0]), "{tokens:?}");
    assert_eq!(server.query("SELECT sum(requests) FROM portcullis.usage_hourly").await, "21", "the sums count it once too");
}

#[tokio::test(flavor = "multi_thread")]
async fn d2_a_slow_answer_is_not_waited_for_and_the_same_batch_is_sent_again() {
    let server = ClickHouse::start().await;
    let place = Place::new(&server, 20).await;
    server.fault("kind=delay&ms=2500", 1, "INSERT").await;
    let shipper = place.ship_with(&ShipOptions { timeout: Duration::from_secs(2), ..place.options.clone() });
    degraded(&shipper, "timed_out").await;
    place.delivered(&server, &shipper).await;
    let tokens = tokens(&server).await;
    assert!(tokens.len() >= 2 && tokens.iter().all(|token| token == &tokens[0]), "{tokens:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn d3_a_server_without_room_gets_the_same_batch_until_it_takes_it() {
    let server = ClickHouse::start().await;
    let place = Place::new(&server, 0).await;
    let shipper = place.ship();
    for code in [241, 243, 252, 202] {
        place.delivered(&server, &shipper).await;
        server.fault(&format!("kind=error&status=500&code={code}"), 2, "INSERT").await;
        place.record(5);
        degraded(&shipper, "busy").await;
    }
    let stats = place.delivered(&server, &shipper).await;
    assert_eq!((stats.failures["busy"], stats.retries), (8, 8));
}

#[tokio::test(flavor = "multi_thread")]
async fn d4_a_server_killed_again_and_again_has_each_event_once() {
    let mut server = ClickHouse::start().await;
    let place = Place::new(&server, 0).await;
    let options = ShipOptions { batch_events: 40, ..place.options.clone() };
    let shipper = place.ship_with(&options);
    for round in 0..4 {
        place.record(200 + round);
        let before = shipper.stats().batches;
        eventually("a batch more", || (shipper.stats().batches > before).then_some(())).await;
        server.kill().await;
        place.record(10);
        server.restart().await;
    }
    place.delivered(&server, &shipper).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d4_a_shipper_that_dies_within_an_insert_sends_the_same_range_after_its_restart() {
    let server = ClickHouse::start().await;
    let place = Place::new(&server, 30).await;
    // Applied, never answered, and the shipper ends: what a kill at the worst moment leaves behind.
    server.fault("kind=drop_after", 1, "INSERT").await;
    let shipper = place.ship();
    degraded(&shipper, "unreachable").await;
    server.fault("kind=error&status=500&code=241", 100, "").await;
    shipper.stop();
    assert_eq!(shipper.stats().delivered_seq, 0);
    server.fault("kind=none", 0, "").await;
    // More events, another size of batches: the range that was begun stays what it was.
    place.record(30);
    let shipper = place.ship_with(&ShipOptions { batch_events: 7, ..place.options.clone() });
    place.delivered(&server, &shipper).await;
    let tokens = tokens(&server).await;
    let first: Vec<&String> = tokens.iter().filter(|token| token.contains(":1-31:")).collect();
    assert!(first.len() >= 2 && first.iter().all(|token| *token == first[0]), "{tokens:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn d5_a_row_that_is_refused_goes_to_quarantine_and_the_others_arrive() {
    let server = ClickHouse::start().await;
    let place = Place::new(&server, 9).await;
    server.query("ALTER TABLE portcullis.events ADD CONSTRAINT no_poison CHECK model != 'poison'").await;
    let poison = Event { model: "poison".into(), redacted_prompt: Some("a text that no log may show".into()), ..event("poison") };
    place.put(poison.clone());
    place.record(9);
    place.put(Event { event_id: "no uuid".into(), ..event("odd") });
    place.record(3);
    let shipper = place.ship();
    let stats = place.delivered(&server, &shipper).await;
    assert_eq!((stats.quarantined, stats.batches), (2, 1));
    let rows = quarantine(&place.path(), 10).expect("the quarantine");
    let told: Vec<_> = rows.iter().map(|row| (row.event_id.as_str(), row.code)).collect();
    assert_eq!(told, [(poison.event_id.as_str(), 469), ("no uuid", 0)]);
    assert!(rows[0].reason.contains("no_poison") && rows[1].reason.contains("no UUID"), "{rows:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn d5_what_is_in_quarantine_leaves_it_when_clickhouse_takes_it() {
    let server = ClickHouse::start().await;
    let place = Place::new(&server, 0).await;
    assert!(matches!(place.retry().await, (Ok(()), told) if told.is_empty()), "nothing to do");
    for model in ["one", "two"] {
        server.query(&format!("ALTER TABLE portcullis.events ADD CONSTRAINT no_{model} CHECK model != '{model}'")).await;
        place.put(Event { model: model.into(), ..event("poison") });
    }
    place.put(Event { event_id: "no uuid".into(), ..event("odd") });
    place.settle();
    let shipper = place.ship();
    assert_eq!(place.delivered(&server, &shipper).await.quarantined, 3);

    let (done, told) = place.retry().await;
    done.expect("all offered");
    assert_eq!(told, [(2, Fate::Refused, 469), (3, Fate::Refused, 469), (4, Fate::Refused, 0)]);
    server.query("ALTER TABLE portcullis.events DROP CONSTRAINT no_two").await;
    let (done, told) = place.retry().await;
    done.expect("all offered");
    assert_eq!(told, [(2, Fate::Refused, 469), (3, Fate::Delivered, 0), (4, Fate::Refused, 0)]);
    server.query("ALTER TABLE portcullis.events DROP CONSTRAINT no_one").await;
    // An answer that is lost: the row is there, and nobody was told.
    server.fault("kind=drop_after", 1, "INSERT").await;
    let (done, told) = place.retry().await;
    assert!(matches!(done, Err(ShipError::Unreachable(_))) && told.is_empty(), "{done:?} {told:?}");
    assert_eq!(quarantine(&place.path(), 10).expect("the quarantine").len(), 2, "what is not acknowledged stays");
    let (done, told) = place.retry().await;
    done.expect("all offered");
    assert_eq!(told, [(2, Fate::Delivered, 0), (4, Fate::Refused, 0)]);
    eventually("the shipper to see it", || (shipper.stats().quarantined == 1).then_some(())).await;
    place.delivered(&server, &shipper).await;
    let usage = "SELECT sum(requests) FROM portcullis.usage_hourly";
    assert_eq!(server.query(usage).await, "4", "the sums count each once too");
}

#[tokio::test(flavor = "multi_thread")]
async fn d5_an_event_that_retention_removed_meanwhile_is_delivered_from_quarantine() {
    let server = ClickHouse::start().await;
    let mut place = Place::new(&server, 0).await;
    server.query("ALTER TABLE portcullis.events ADD CONSTRAINT no_poison CHECK model != 'poison'").await;
    place.put(Event { model: "poison".into(), ..event("poison") });
    place.settle();
    let shipper = place.ship();
    place.delivered(&server, &shipper).await;
    shipper.stop();
    let stored = Reader::open(&place.path()).expect("a reader").events_after(1, 1).expect("events").remove(0);
    place.store.close().expect("to close");
    let retention = Retention { age: Some(Duration::ZERO), ..Retention::default() };
    place.store =
        Store::open(&place.folder.path().join("audit.db"), StoreOptions { retention, ..StoreOptions::default() }).expect("a store");
    eventually("the events to go", || (place.store.stats().removed >= 3).then_some(())).await;
    server.query("ALTER TABLE portcullis.events DROP CONSTRAINT no_poison").await;
    let (done, told) = place.retry().await;
    done.expect("all offered");
    assert_eq!(told, [(2, Fate::Delivered, 0)]);
    let row = server.query("SELECT event_id, seq, hex(chain_hash), body FROM portcullis.events_read WHERE model = 'poison'").await;
    assert_eq!(row, format!("{}\t2\t{}\t{}", stored.event.event_id, hex::encode_upper(stored.chain_hash), stored.body));
}

#[tokio::test(flavor = "multi_thread")]
async fn d5_a_table_that_refuses_everything_is_told_and_not_emptied_into_quarantine() {
    let server = ClickHouse::start().await;
    let place = Place::new(&server, 200).await;
    server.query("ALTER TABLE portcullis.events ADD CONSTRAINT wrong CHECK tenant = 'other'").await;
    let shipper = place.ship();
    let message = degraded(&shipper, "refuses_all").await;
    assert!(message.contains("64 rows") && message.contains("constraints"), "{message}");
    assert_eq!(shipper.stats().quarantined, 64);
    server.query("ALTER TABLE portcullis.events DROP CONSTRAINT wrong").await;
    place.delivered(&server, &shipper).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d5_a_view_that_fails_is_told_and_no_row_is_blamed() {
    let server = ClickHouse::start().await;
    let place = Place::new(&server, 20).await;
    server.query("CREATE TABLE portcullis.extra (n UInt64) ENGINE = MergeTree ORDER BY n").await;
    let view = "CREATE MATERIALIZED VIEW portcullis.extra_fill TO portcullis.extra AS SELECT throwIf(seq > 5) AS n FROM portcullis.events";
    server.query(view).await;
    let shipper = place.ship();
    degraded(&shipper, "view").await;
    server.query("DROP TABLE portcullis.extra_fill").await;
    let stats = place.delivered(&server, &shipper).await;
    assert_eq!(stats.quarantined, 0);
    assert_eq!(server.query("SELECT sum(requests) FROM portcullis.usage_hourly").await, "21");
}

#[tokio::test(flavor = "multi_thread")]
async fn d6_a_table_that_changes_is_told_and_healed_without_a_restart() {
    let server = ClickHouse::start().await;
    let place = Place::new(&server, 5).await;
    let shipper = place.ship();
    place.delivered(&server, &shipper).await;
    let alter = async |change: &str| server.query(&format!("ALTER TABLE portcullis.events {change}")).await;

    alter("ADD COLUMN site String DEFAULT 'here' FIRST").await;
    place.record(5);
    place.delivered(&server, &shipper).await;
    for (breaks, heals) in [
        ("ADD COLUMN must_be_given String", "DROP COLUMN must_be_given"),
        ("DROP COLUMN bytes_in", "ADD COLUMN bytes_in Nullable(UInt64)"),
        ("MODIFY COLUMN screened_bytes Nullable(String)", "MODIFY COLUMN screened_bytes Nullable(UInt64)"),
    ] {
        if breaks.contains("bytes_in") {
            server.query("DROP TABLE portcullis.usage_hourly_fill").await;
        }
        alter(breaks).await;
        if breaks.starts_with("ADD") {
            // ClickHouse itself fills such a column; the client refuses it as soon as it looks at the table again.
            server.fault("kind=error&status=500&code=241", 1, "INSERT").await;
        }
        place.record(5);
        let message = degraded(&shipper, "schema_drift").await;
        assert!(message.contains("DEFAULT"), "{message}");
        alter(heals).await;
        place.delivered(&server, &shipper).await;
    }
    server.query("RENAME TABLE portcullis.events TO portcullis.away").await;
    place.record(5);
    let message = degraded(&shipper, "schema_missing").await;
    assert!(message.contains("portcullis audit migrate"), "{message}");
    server.query("RENAME TABLE portcullis.away TO portcullis.events").await;
    place.delivered(&server, &shipper).await;
    server.fault("kind=error&status=403&code=497", 1, "INSERT").await;
    place.record(5);
    degraded(&shipper, "forbidden").await;
    place.delivered(&server, &shipper).await;
    assert_eq!(shipper.stats().quarantined, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn d6_tables_that_are_missing_or_old_wait_for_their_migration() {
    let server = ClickHouse::start().await;
    let place = Place::without_tables(&server.url(), 5);
    let shipper = place.ship();
    degraded(&shipper, "schema_missing").await;
    place.migrate().await;
    place.delivered(&server, &shipper).await;
    drop(shipper);
    server.query("TRUNCATE TABLE portcullis.schema_migrations").await;
    place.record(5);
    let shipper = place.ship();
    let message = degraded(&shipper, "schema_old").await;
    assert!(message.contains("have version 0") && message.contains("portcullis audit migrate"), "{message}");
    place.migrate().await;
    place.delivered(&server, &shipper).await;
    server.query("INSERT INTO portcullis.schema_migrations (version, name) VALUES (99, 'of the future')").await;
    drop(shipper);
    place.record(5);
    let shipper = place.ship();
    place.delivered(&server, &shipper).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d6_tables_of_version_2_are_told_and_brought_forward_with_the_rows_they_have() {
    let server = ClickHouse::start().await;
    let all = sql(&Layout::new("portcullis")).expect("the statements");
    let (second, _) = all.split_once("(3, '0003_guard')").expect("a third version");
    let (second, _) = second.rsplit_once("VALUES (2, '0002_hourly')").expect("a second version");
    for statement in format!("{second}VALUES (2, '0002_hourly')").split(";\n") {
        server.query(statement).await;
    }
    // What an older gateway delivered: it knew neither column.
    let body =
        r#"{"guard":{"state":"scored","label":"injection","score":0.5,"version":"small-1","known":{"id":"acme-3","similarity":0.9}}}"#;
    let row = format!(
        "INSERT INTO portcullis.events (tenant, ts, event_id, store_id, kind, body) SELECT 'old', now(), generateUUIDv4(), 's', 'decision', '{body}'"
    );
    server.query(&row).await;

    let place = Place::without_tables(&server.url(), 5);
    place.put(Event { guard: Some(judged("small-2")), ..event("new") });
    place.settle();
    let shipper = place.ship();
    let message = degraded(&shipper, "schema_old").await;
    assert!(message.contains("have version 2") && message.contains("portcullis audit migrate"), "{message}");
    place.migrate().await;
    eventually("all to be delivered", || (shipper.stats().delivered_seq >= 8).then_some(())).await;
    let columns = "SELECT guard_version, known_attack, count() FROM portcullis.events_read GROUP BY ALL ORDER BY ALL";
    assert_eq!(server.query(columns).await, "\t\t7\nsmall-1\tacme-3\t1\nsmall-2\tacme-7\t1");
    // An older gateway goes on with the newer tables, by the same statement.
    server.query(&row.replace("acme-3", "acme-4")).await;
    assert_eq!(server.query("SELECT count() FROM portcullis.events_read WHERE known_attack = 'acme-4'").await, "1");
    let codec = "SELECT compression_codec FROM system.columns WHERE database = 'portcullis' AND table = 'events' AND name = 'body'";
    assert_eq!(server.query(codec).await, "CODEC(ZSTD(1))");
}

#[tokio::test(flavor = "multi_thread")]
async fn d7_clickhouse_drops_other_rows_under_a_known_token_and_ours_never_share_one() {
    let server = ClickHouse::start().await;
    let place = Place::new(&server, 5).await;
    let insert = |rows: &str| format!("INSERT INTO portcullis.t SETTINGS insert_deduplication_token = 'x' VALUES {rows}");
    server
        .query("CREATE TABLE portcullis.t (n UInt8) ENGINE = MergeTree ORDER BY n SETTINGS non_replicated_deduplication_window = 9")
        .await;
    server.query(&insert("(1)")).await;
    server.query(&insert("(2)")).await;
    assert_eq!(server.query("SELECT groupArray(n) FROM portcullis.t").await, "[1]", "dropped with a 200");

    let shipper = place.ship();
    place.delivered(&server, &shipper).await;
    drop(shipper);
    // A store begun anew in the place of the old one gives the same numbers to other events.
    let Place { folder, store, options } = place;
    store.close().expect("to close");
    for suffix in ["", "-wal", "-shm"] {
        drop(std::fs::remove_file(folder.path().join(format!("audit.db{suffix}"))));
    }
    let store = Store::open(&folder.path().join("audit.db"), StoreOptions::default()).expect("a store");
    let place = Place { folder, store, options };
    place.record(5);
    let shipper = place.ship();
    eventually("the other store's events", || (shipper.stats().delivered_seq == 6).then_some(())).await;
    assert_eq!(server.query(COUNT).await, "12\t12");
}

#[tokio::test(flavor = "multi_thread")]
async fn d8_events_sent_again_past_the_window_are_read_once() {
    let server = ClickHouse::start().await;
    let place = Place::new(&server, 20).await;
    server.query("SYSTEM STOP MERGES portcullis.events").await;
    let shipper = place.ship();
    place.delivered(&server, &shipper).await;
    drop(shipper);
    std::fs::remove_file(place.folder.path().join("audit.db.ship")).expect("to lose the notes");
    let shipper = place.ship();
    eventually("everything once more", || (shipper.stats().delivered_seq == 21).then_some(())).await;
    assert_eq!(server.query(COUNT).await, "21\t21", "the same tokens within the window");
    drop(shipper);
    server.query("ALTER TABLE portcullis.events MODIFY SETTING non_replicated_deduplication_window = 0").await;
    std::fs::remove_file(place.folder.path().join("audit.db.ship")).expect("to lose the notes");
    let shipper = place.ship();
    eventually("everything once more", || (shipper.stats().delivered_seq == 21).then_some(())).await;
    assert_eq!(server.query(COUNT).await, "42\t21");
    assert_eq!(server.query("SELECT count(), uniqExact(event_id) FROM portcullis.events_read").await, "21\t21");
}

#[tokio::test(flavor = "multi_thread")]
async fn d9_inserts_are_synchronous_whatever_the_server_prefers() {
    let server = ClickHouse::start().await;
    let place = Place::new(&server, 5).await;
    let shipper = place.ship();
    place.delivered(&server, &shipper).await;
    let seen = server.seen().await;
    let insert = seen.iter().find(|one| one["query"].as_str().expect("a query").starts_with("INSERT INTO `events`")).expect("an insert");
    let query = insert["query"].as_str().expect("a query");
    assert!(query.ends_with("FORMAT Native"), "{query}");
    for (name, value) in [
        ("async_insert", "0"),
        ("wait_end_of_query", "1"),
        ("decompress", "1"),
        ("insert_deduplicate", "1"),
        ("deduplicate_blocks_in_dependent_materialized_views", "1"),
    ] {
        assert_eq!(insert["settings"][name], value, "{insert}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d10_a_wrong_password_and_a_read_only_user_are_told_apart() {
    let server = ClickHouse::with_user("gate", "right").await;
    let mut place = Place::without_tables(&server.url(), 5);
    place.options.user = Some("gate".into());
    place.options.password = Some(String::from("right").into());
    place.migrate().await;
    let wrong = ShipOptions { password: Some(String::from("wrong-secret").into()), ..place.options.clone() };
    let shipper = place.ship_with(&wrong);
    let message = degraded(&shipper, "credentials").await;
    assert!(message.contains("password_env") && !message.contains("wrong-secret"), "{message}");
    drop(shipper);
    server.fault("kind=error&status=500&code=164", 1, "INSERT").await;
    let shipper = place.ship();
    let message = degraded(&shipper, "forbidden").await;
    assert!(message.contains("grant INSERT"), "{message}");
    place.delivered(&server, &shipper).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d10_a_server_in_another_time_zone_has_the_same_moments() {
    let server = ClickHouse::in_time_zone("Asia/Kolkata").await;
    assert_eq!(server.query("SELECT timezone()").await, "Asia/Kolkata");
    let place = Place::new(&server, 0).await;
    let mut given = event("zone");
    given.stamp(given.time_us / 3_600_000_000 * 3_600_000_000 + 1);
    place.put(given.clone());
    place.settle();
    let shipper = place.ship();
    place.delivered(&server, &shipper).await;
    let row =
        format!("SELECT toString(ts), toUnixTimestamp64Micro(ts) FROM portcullis.events_read WHERE request_id = '{}'", given.request_id);
    let shown = given.time.replace('T', " ").replace('Z', "");
    assert_eq!(server.query(&row).await, format!("{shown}\t{}", given.time_us));
    let hour = given.time_us / 1_000_000 / 3600 * 3600;
    let hours = format!("SELECT count() > 0 FROM portcullis.usage_hourly WHERE toUnixTimestamp(hour) = {hour}");
    assert_eq!(server.query(&hours).await, "1", "hours begin with those of UTC");
}

#[tokio::test(flavor = "multi_thread")]
async fn d10_a_certificate_must_be_known_and_in_date() {
    let folder = tempfile::tempdir().expect("a folder");
    let [certificate, key] = ["cert.pem", "key.pem"].map(|name| folder.path().join(name));
    for (expired, trusted, class) in [(false, false, "tls"), (true, true, "tls"), (false, true, "schema_missing")] {
        let pair = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).expect("parameters");
        if expired {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        }
        let made = params.self_signed(&pair).expect("a certificate");
        std::fs::write(&certificate, made.pem()).expect("to write");
        std::fs::write(&key, pair.serialize_pem()).expect("to write");
        let server = ClickHouse::with_tls(&certificate, &key).await;
        let mut place = Place::without_tables(&server.url(), 5);
        place.options.ca_file = trusted.then(|| certificate.clone());
        let shipper = place.ship();
        degraded(&shipper, class).await;
        if class == "schema_missing" {
            place.migrate().await;
            eventually("delivery over TLS", || (shipper.stats().delivered_seq == 6).then_some(())).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d11_any_text_comes_back_as_it_was() {
    let server = ClickHouse::start().await;
    let place = Place::new(&server, 0).await;
    let texts = [
        "tab \t line \n return \r nul \0 quote ' \" ` \\ \\N \\x41 end",
        "\u{1}\u{2}\u{7f}\u{80}\u{ff}\u{202e}中文 👩‍💻",
        "__exception__\r\nCode: 241. DB::Exception: no (X)\r\n",
        "', ''); DROP TABLE portcullis.events; --",
        "{\"json\": [1, null]}\u{feff}",
        "",
    ];
    for text in texts {
        for part in [text.to_owned(), text.repeat(100)] {
            let event = Event { model: part.clone(), tenant: text.into(), outcome: part.clone(), redacted_prompt: Some(part), ..event("") };
            place.put(event);
        }
    }
    place.settle();
    let shipper = place.ship();
    place.delivered(&server, &shipper).await;
    let stored = Reader::open(&place.path()).expect("a reader").events_after(0, 100).expect("events");
    let answer =
        server.query("SELECT hex(tenant), hex(model), hex(sealed_prompt), hex(body) FROM portcullis.events_read ORDER BY seq").await;
    let wanted: Vec<String> = stored
        .iter()
        .map(|stored| {
            let event = &stored.event;
            let prompt = event.sealed_prompt.as_deref().unwrap_or_default();
            [&event.tenant, &event.model, prompt, &stored.body].map(hex::encode_upper).join("\t")
        })
        .collect();
    let got: Vec<&str> = answer.lines().collect();
    assert_eq!(got, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_is_delivered_when_the_shipper_is_told_to_stop() {
    let server = ClickHouse::start().await;
    let place = Place::new(&server, 0).await;
    let slow = ShipOptions { interval: Duration::from_secs(600), ..place.options.clone() };
    let shipper = place.ship_with(&slow);
    eventually("the first look", || (shipper.stats().delivered_seq == 1).then_some(())).await;
    place.record(10);
    tokio::task::block_in_place(|| shipper.stop());
    assert_eq!(server.query(COUNT).await, "12\t12");
}

/// Prints what a backlog costs to drain; `PORTCULLIS_BACKLOG` sets its size.
#[tokio::test(flavor = "multi_thread")]
async fn k10_a_backlog_is_drained_in_bounded_memory() {
    let events: usize = std::env::var("PORTCULLIS_BACKLOG").ok().and_then(|count| count.parse().ok()).unwrap_or(20_000);
    let server = ClickHouse::start().await;
    let place = Place::new(&server, 0).await;
    let recorded = fill(&place, events);
    let before = resident_bytes(std::process::id());
    let began = Instant::now();
    let shipper = place.ship();
    let mut most = before;
    within(Duration::from_secs(3600), "the backlog to be drained", async {
        while shipper.stats().backlog > 0 || shipper.stats().batches == 0 {
            most = most.max(resident_bytes(std::process::id()));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let drained = began.elapsed();
    place.delivered(&server, &shipper).await;
    let rate = |took: Duration| events as f64 / took.as_secs_f64();
    let grown = most.saturating_sub(before) >> 20;
    println!("{events} events: recorded {:.0}/s, delivered {:.0}/s, memory +{grown} MiB", rate(recorded), rate(drained));
    assert!(grown < 256, "{grown} MiB more while draining");

    if events >= 100_000 {
        for sql in [
            "SELECT tenant, count() FROM portcullis.events GROUP BY tenant",
            "SELECT tenant, count() FROM portcullis.events_read GROUP BY tenant",
            "SELECT tenant, count() FROM (SELECT * FROM portcullis.events LIMIT 1 BY event_id) GROUP BY tenant",
            "SELECT tenant, uniqExact(event_id) FROM portcullis.events GROUP BY tenant",
        ] {
            server.query(sql).await;
            let began = Instant::now();
            server.query(sql).await;
            println!("{:8.1} ms  {sql}", began.elapsed().as_secs_f64() * 1e3);
        }
    }
}

/// Records as a gateway does: a decision with a finding and its completion, of ten tenants. Returns how long it took.
fn fill(place: &Place, events: usize) -> Duration {
    const WAITING_MAX: usize = 20_000;
    let began = Instant::now();
    for n in 0..events / 2 {
        let finding = FindingRecord {
            rule: "EMAIL_ADDRESS".into(),
            category: "pii".into(),
            severity: Severity::Medium,
            direction: Direction::Request,
            action: Decision::Redact,
            count: 1,
            spans: Vec::new(),
        };
        let decision = Event {
            tenant: format!("tenant-{}", n % 10),
            decision: Some(Decision::Redact),
            findings: vec![finding],
            bytes_in: Some(1000),
            redacted_prompt: Some("Write to <EMAIL_ADDRESS> about the invoice, please. ".repeat(10)),
            ..event("load")
        };
        let completion = Event { outcome: "ok".into(), tokens_out: Some(200), ..Event::completion_of(&decision) };
        place.put(decision);
        place.put(completion);
        while place.store.stats().queued > WAITING_MAX {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    place.settle();
    began.elapsed()
}
