//! A report from ClickHouse says what one from the store says of the same events, number by number; and why there is none.
#![allow(clippy::expect_used, clippy::panic, reason = "test code")]

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use harness::{Backend, ClickHouse, Setup, eventually, made_up, run};
use portcullis_audit::report::{Answer, Embedded, Histogram, Period, Report, ReportError, Scope, Source as _, Warehouse};
use portcullis_audit::ship::{Layout, ShipError, ShipOptions, Shipper, migrate};
use portcullis_audit::{
    Against, Decision, Direction, Event, FindingRecord, Guard, Kind, Mode, Reader, Severity, Store, StoreOptions, TokensSource,
};
use serde_json::{Value, json};

const DAY: i64 = 86_400_000_000;
/// 2026-11-01.
const START: i64 = 1_793_491_200_000_000;
const HOSTILE: &str = "a' OR 1=1 -- \\ ? \"`\n\u{202e}é";

fn scope(from_us: i64, to_us: i64) -> Scope {
    Scope { period: Period::new(from_us, to_us).expect("a period"), tenant: None, key_id: None }
}

fn november() -> Scope {
    scope(START, START + 30 * DAY)
}

/// A store whose events are in ClickHouse too.
struct Place {
    folder: tempfile::TempDir,
    store: Store,
    options: ShipOptions,
}

impl Place {
    async fn new(server: &ClickHouse, events: Vec<Event>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("audit.db"), StoreOptions::default()).expect("a store");
        let options = ShipOptions { interval: Duration::from_millis(20), ..ShipOptions::new(server.url()) };
        let place = Self { folder, store, options };
        let options = place.options.clone();
        let done = tokio::task::spawn_blocking(move || migrate(&options, &Layout::new("portcullis"))).await;
        done.expect("no panic").expect("a migration");
        place.record(events).await;
        place.deliver().await;
        place
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("audit.db")
    }

    async fn record(&self, events: Vec<Event>) {
        let mut commits = Vec::new();
        for event in events {
            commits.push(self.store.record(event));
        }
        for commit in commits {
            commit.await.expect("an event recorded");
        }
    }

    async fn deliver(&self) {
        let shipper = Shipper::start(&self.path(), self.options.clone(), |_| ()).expect("a shipper");
        let newest = Reader::open(&self.path()).expect("a reader").backlog(0).expect("a backlog").newest_seq;
        eventually("all delivered", || (shipper.stats().delivered_seq >= newest).then_some(())).await;
        tokio::task::block_in_place(|| shipper.stop());
    }

    fn store_answer(&self, scope: &Scope) -> Answer {
        Embedded { path: &self.path(), against: Against::default() }.answer(scope, &mut |_, _| {}).expect("a report from the store")
    }

    async fn clickhouse_answer(&self, scope: &Scope) -> Result<Answer, ReportError> {
        let (warehouse, scope) = (Warehouse { answer_max: Duration::from_secs(30), ..Warehouse::new(self.options.clone()) }, scope.clone());
        tokio::task::spawn_blocking(move || warehouse.answer(&scope, &mut |_, _| {})).await.expect("no panic")
    }

    async fn same(&self, scope: &Scope) -> Report {
        let answer = self.clickhouse_answer(scope).await.expect("a report from ClickHouse");
        assert_eq!(answer.report, self.store_answer(scope).report, "{scope:?}");
        assert!(answer.chain.is_none(), "nothing is proven there");
        answer.report
    }
}

/// A thousand requests of a month, and whatever else an event can say.
fn trail() -> Vec<Event> {
    let mut events: Vec<Event> = (0..1_000).flat_map(|n| made_up(n, 1_000, START, 30 * DAY)).collect();
    events.extend(odd_findings());
    events.extend(odd_kinds());
    events.extend(odd_names());
    // Both edges of the period, and of the days within, from either side.
    for at in [0, DAY, 2 * DAY, 30 * DAY].into_iter().flat_map(|edge| [START + edge - 1, START + edge]) {
        let mut event = decided(at);
        event.failed_open = vec!["guard".into()];
        events.push(event);
    }
    // The borders of the buckets of latencies, one by one and far apart.
    let borders = (0..3_776).step_by(37).map(Histogram::greatest);
    for value in borders.flat_map(|last| [last, last.saturating_add(1)]).chain([0, 63, 64, 127, 128, u64::MAX]) {
        let mut event = decided(START + DAY);
        event.latencies_us.parse = Some(value);
        event.latencies_us.total = Some(value / 3);
        events.push(event);
    }
    events
}

fn decided(at: i64) -> Event {
    let mut event = Event {
        gateway: "gateway-1".into(),
        tenant: "acme".into(),
        key_id: "alice".into(),
        model: "m".into(),
        decision: Some(Decision::Allow),
        intended: Some(Decision::Allow),
        policy: "default".into(),
        policy_version: "aaaa".into(),
        mode: Some(Mode::Enforce),
        ..Event::new(Kind::Decision, format!("request-{}", Event::new(Kind::Decision, "").event_id))
    };
    event.stamp(at);
    event
}

fn finding(rule: &str, category: &str, severity: Severity, direction: Direction, action: Decision, count: u32) -> FindingRecord {
    FindingRecord { rule: rule.into(), category: category.into(), severity, direction, action, count, spans: Vec::new() }
}

/// One rule with several records, in both directions, with another category and severity later, and at the same moment.
fn odd_findings() -> Vec<Event> {
    use Decision::{Allow, Block, Flag, Pseudonymize, Redact, Refused};
    use Direction::{Request, Response};
    let mut events = Vec::new();
    for (at, category, severity) in
        [(5, "pii", Severity::Low), (9, "secret", Severity::High), (9, "pii", Severity::High), (2, "zzz", Severity::Critical)]
    {
        for action in [Allow, Flag, Pseudonymize, Redact, Block, Refused] {
            let mut event = decided(START + at * DAY + 7);
            event.severity = Some(severity);
            event.intended = Some(action);
            event.findings = vec![
                finding("R1", category, severity, Request, action, 2),
                finding("R1", category, severity, Request, Flag, 1),
                finding("R2", category, Severity::Low, Request, action, u32::MAX),
            ];
            let mut end = Event::completion_of(&event);
            end.stamp(event.time_us + DAY);
            end.outcome = if action == Block { "blocked_output".into() } else { "ok".into() };
            end.findings = vec![finding("R1", "other", severity, Response, action, 3)];
            end.tokens_in = Some(u64::MAX);
            end.tokens_out = (action == Flag).then_some(7);
            end.tokens_source = [None, Some(TokensSource::Measured), Some(TokensSource::Estimated)][action as usize % 3];
            events.extend([event, end]);
        }
    }
    // A severity without findings, a finding's action that would have blocked, monitoring.
    let severe = Event { severity: Some(Severity::Critical), ..decided(START + DAY) };
    let watched = Event { decision: Some(Flag), intended: Some(Block), mode: Some(Mode::Monitor), ..decided(START + DAY) };
    let end = Event { outcome: "ok".into(), ..Event::completion_of(&watched) };
    events.extend([severe, watched, end]);
    events
}

/// The other kinds, also with what they usually do not have.
fn odd_kinds() -> Vec<Event> {
    let mut events = Vec::new();
    for kind in [Kind::Rejected, Kind::AuthFailure, Kind::Limit, Kind::PolicyChange, Kind::Admin, Kind::Alert] {
        for decision in [None, Some(Decision::Refused), Some(Decision::Block)] {
            let mut event = decided(START + 3 * DAY);
            event.kind = kind;
            event.decision = decision;
            event.outcome = "reason".into();
            event.failed_open = vec!["guard".into(), "guard".into(), "model".into()];
            event.findings = vec![finding("R3", "pii", Severity::Critical, Direction::Request, Decision::Block, 1)];
            event.cut = decision.is_none();
            event.latencies_us.total = Some(9);
            events.push(event);
        }
    }
    for (minute, guard) in [(0, None), (0, Some(Guard::Skipped)), (1, Some(Guard::Unavailable { reason: "deadline".into() }))] {
        let mut event = decided(START + 4 * DAY + minute * 60_000_000);
        event.guard = guard;
        event.failed_open = vec!["guard".into(), "guard".into(), "model".into()];
        event.mode = None;
        events.push(event);
    }
    let addresses = [
        "10.0.0.1:1",
        "10.0.0.1:65535",
        "10.0.0.1:65536",
        "10.0.0.1",
        "10.0.0.0/24",
        "[::1]:80",
        "[::1]:81",
        "[0:0::1]:80",
        "::1",
        "::2",
        "",
        ":80",
        "[]:80",
        "256.0.0.1:80",
        "256.0.0.1:81",
        "1.2.3:80",
        "1.2.3:81",
    ];
    for (n, address) in addresses.into_iter().enumerate() {
        for _ in 0..=n {
            let mut event = decided(START + 5 * DAY);
            event.kind = Kind::AuthFailure;
            event.client_addr = address.into();
            event.key_id = String::new();
            event.outcome = "invalid_api_key".into();
            events.push(event);
        }
    }
    events
}

fn odd_names() -> Vec<Event> {
    let mut event = decided(START + 6 * DAY);
    for name in [&mut event.tenant, &mut event.key_id, &mut event.model, &mut event.gateway, &mut event.policy, &mut event.policy_version] {
        HOSTILE.clone_into(name);
    }
    event.failed_open = vec![HOSTILE.into()];
    event.findings = vec![finding(HOSTILE, HOSTILE, Severity::High, Direction::Request, Decision::Block, 1)];
    let mut limit = Event { outcome: HOSTILE.into(), ..event.clone() };
    (limit.kind, limit.event_id, limit.request_id) = (Kind::Limit, Event::new(Kind::Limit, "").event_id, "limited".into());
    let mut nameless = decided(START + 6 * DAY);
    for name in [&mut nameless.tenant, &mut nameless.model, &mut nameless.gateway, &mut nameless.policy] {
        name.clear();
    }
    vec![event, limit, nameless]
}

#[tokio::test(flavor = "multi_thread")]
async fn clickhouse_and_the_store_answer_alike_in_every_number() {
    let server = ClickHouse::start().await;
    let place = Place::new(&server, trail()).await;
    let whole = place.same(&november()).await;
    assert!(whole.events > 2_000 && whole.stages.len() > 5 && whole.rules.len() > 8 && whole.days.len() > 29, "{whole:#?}");
    assert!(!whole.failed_open.is_empty() && whole.auth_addresses.len() == 10 && whole.limits.len() > 2 && whole.policies.len() > 3);
    let only =
        |tenant: Option<&str>, key: Option<&str>| Scope { tenant: tenant.map(Into::into), key_id: key.map(Into::into), ..november() };
    for (tenant, key) in [
        (Some("acme"), None),
        (None, Some("key-3")),
        (Some("tenant-7"), Some("key-3")),
        (Some(HOSTILE), None),
        (Some(HOSTILE), Some(HOSTILE)),
        (Some(""), None),
        (None, Some("")),
    ] {
        assert!(place.same(&only(tenant, key)).await.events > 0, "{tenant:?} {key:?}");
    }
    assert_eq!(place.same(&only(Some("nobody"), None)).await, place.same(&scope(START - 9 * DAY, START - 8 * DAY)).await);
    for (from, to) in
        [(START - 1, START), (START, START + 1), (START, START + DAY), (START + DAY, START + 2 * DAY), (START + 7, START + 9 * DAY)]
    {
        assert!(place.same(&scope(from, to)).await.events > 0, "{from}..{to}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_clock_that_is_wrong_are_counted_at_their_own_moment() {
    let server = ClickHouse::start().await;
    let times = [i64::MIN, -1, 0, 1, DAY - 1, START, 3_155_760_000_000_000, 3_155_760_000_000_001, i64::MAX];
    let place = Place::new(&server, Vec::new()).await;
    server.query("ALTER TABLE portcullis.events REMOVE TTL").await;
    place.record(times.into_iter().map(decided).collect()).await;
    place.deliver().await;
    for (from, to) in [
        (-DAY, DAY),
        (-1, 0),
        (0, 1),
        (START, 3_155_760_000_000_000),
        (3_155_760_000_000_000 - DAY, 3_155_760_000_000_000),
        (3_155_760_000_000_000, 3_155_760_000_000_001),
        (3_155_760_000_000_001, 3_155_760_000_000_002),
    ] {
        let range = if to - from > 3_000 * DAY { scope(to - 3_000 * DAY, to) } else { scope(from, to) };
        let report = place.same(&range).await;
        assert!(report.events > 0 || range.period.to_us == 3_155_760_000_000_000, "{range:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_stands_there_twice_is_counted_once() {
    let server = ClickHouse::start().await;
    let place = Place::new(&server, trail()).await;
    let before = place.same(&november()).await;
    server.query("SYSTEM STOP MERGES portcullis.events").await;
    server.query("ALTER TABLE portcullis.events MODIFY SETTING non_replicated_deduplication_window = 0").await;
    for _ in 0..2 {
        std::fs::remove_file(place.folder.path().join("audit.db.ship")).expect("to lose the notes");
        place.deliver().await;
    }
    let counts = server.query("SELECT count() > uniqExact(event_id) FROM portcullis.events").await;
    assert_eq!(counts, "1", "the rows are there more than once");
    assert_eq!(place.same(&november()).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_could_not_be_read_when_it_was_sent_is_in_no_number() {
    let server = ClickHouse::start().await;
    let place = Place::new(&server, vec![decided(START), decided(START + 1)]).await;
    server.query("INSERT INTO portcullis.events (tenant, ts, event_id, seq, kind, outcome, body) SELECT 'acme', ts, generateUUIDv4(), 99, 'decision', 'unreadable', 'no json' FROM portcullis.events LIMIT 1").await;
    assert_eq!(place.same(&november()).await.events, 2);
}

/// Makes a report, and puts a row with each of these numbers into the table while it is made: the next one whenever the first question was
/// answered.
async fn meanwhile(server: &ClickHouse, warehouse: Warehouse, seqs: Vec<u64>) -> Result<Answer, ReportError> {
    let address = server.address();
    tokio::task::spawn_blocking(move || {
        let mut seqs = seqs.into_iter();
        warehouse.answer(&november(), &mut |done, of| {
            if done < of / 10
                && let Some(seq) = seqs.next()
            {
                let sql = format!(
                    "INSERT INTO portcullis.events (tenant, ts, event_id, store_id, seq, kind, decision) \
                     SELECT 'acme', '2026-11-02 00:00:00', generateUUIDv4(), any(store_id), {seq}, 'decision', 'allow' FROM portcullis.events"
                );
                let mut stream = std::net::TcpStream::connect(address).expect("a connection");
                write!(stream, "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{sql}", sql.len()).expect("to write");
                let mut answer = [0; 15];
                stream.read_exact(&mut answer).expect("an answer");
                assert_eq!(&answer, b"HTTP/1.1 200 OK");
            }
        })
    })
    .await
    .expect("no panic")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_made_while_events_arrive_is_of_one_moment() {
    let server = ClickHouse::start().await;
    let place = Place::new(&server, (0..50).map(|n| decided(START + n)).collect()).await;
    let warehouse = Warehouse::new(place.options.clone());
    // The first one makes it ask again; the second one comes after what it then asks for.
    let report = meanwhile(&server, warehouse.clone(), vec![1_000, 1_001]).await.expect("a report").report;
    let gateways: u64 = report.gateways.iter().map(|row| row.count).sum();
    assert_eq!([report.events, report.requests, gateways, report.models.iter().map(|row| row.requests).sum()], [51; 4]);
    // Numbers that were there already: whatever it asks for, they are among it.
    let error = meanwhile(&server, warehouse, vec![1, 2, 3]).await.expect_err("no report");
    assert!(matches!(error, ReportError::Moving { tries: 3 }) && error.to_string().contains("--to"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_answer_the_error_says_what_to_do() {
    let mut server = ClickHouse::with_user("gate", "right").await;
    let bare = Warehouse::new(ShipOptions {
        user: Some("gate".into()),
        password: Some(String::from("right").into()),
        timeout: Duration::from_secs(5),
        ..ShipOptions::new(server.url())
    });
    let ask = async |warehouse: &Warehouse| {
        let warehouse = warehouse.clone();
        let answer = tokio::task::spawn_blocking(move || warehouse.answer(&november(), &mut |_, _| {})).await.expect("no panic");
        answer.expect_err("an error")
    };
    let with = |change: &dyn Fn(&mut ShipOptions)| {
        let mut warehouse = bare.clone();
        change(&mut warehouse.options);
        warehouse
    };
    let said = |error: &ReportError, words: &[&str]| {
        let text = error.to_string();
        assert!(words.iter().all(|word| text.contains(word)) && !text.contains("wrong-secret"), "{text}");
    };
    let error = ask(&bare).await;
    assert!(matches!(error, ReportError::ClickHouse(ShipError::Missing(_))), "{error:?}");
    said(&error, &["portcullis audit migrate", "--source store"]);
    let error = ask(&with(&|options| options.password = Some(String::from("wrong-secret").into()))).await;
    assert!(matches!(error, ReportError::ClickHouse(ShipError::Credentials(_))), "{error:?}");
    said(&error, &["password_env"]);

    let options = bare.options.clone();
    let done = tokio::task::spawn_blocking(move || migrate(&options, &Layout::new("portcullis"))).await;
    done.expect("no panic").expect("a migration");
    for (code, words) in
        [(497, ["grant SELECT", "--source store"]), (241, ["shorter period", "--source store"]), (159, ["shorter period", "later"])]
    {
        server.fault(&format!("kind=error&status=500&code={code}"), 1, "WITH").await;
        let error = ask(&bare).await;
        assert!(matches!((code, &error), (497, ReportError::Forbidden(_)) | (_, ReportError::Busy(_))), "{code}: {error:?}");
        said(&error, &words);
    }
    server.fault("kind=delay&ms=3000", 1, "WITH").await;
    let error = ask(&Warehouse { answer_max: Duration::from_millis(200), ..bare.clone() }).await;
    assert!(matches!(error, ReportError::ClickHouse(ShipError::TimedOut(_))), "{error:?}");

    server
        .query("INSERT INTO portcullis.events (ts, event_id, kind) VALUES ('2026-11-03 00:00:00', generateUUIDv4(), 'seen_tomorrow')")
        .await;
    let error = ask(&bare).await;
    assert!(matches!(error, ReportError::Unknown { .. }), "{error:?}");
    said(&error, &["seen_tomorrow", "newest gateway"]);
    server.query("TRUNCATE TABLE portcullis.events").await;
    for change in ["MODIFY COLUMN total_us Nullable(String)", "DROP COLUMN guard_state", "RENAME COLUMN outcome TO result"] {
        server.query("DROP TABLE IF EXISTS portcullis.usage_hourly_fill").await;
        server.query(&format!("ALTER TABLE portcullis.events {change}")).await;
        let error = ask(&bare).await;
        assert!(matches!(error, ReportError::ClickHouse(ShipError::Drift(_))), "{change}: {error:?}");
        said(&error, &["table is not the one this program knows"]);
    }
    server.query("TRUNCATE TABLE portcullis.schema_migrations").await;
    let error = ask(&bare).await;
    assert!(matches!(error, ReportError::ClickHouse(ShipError::Old { .. })), "{error:?}");
    server.kill().await;
    let error = ask(&bare).await;
    assert!(matches!(error, ReportError::ClickHouse(ShipError::Unreachable(_))), "{error:?}");
    said(&error, &["audit.clickhouse.url", "--source store"]);
}

#[tokio::test]
async fn the_command_asks_clickhouse_where_it_is_configured_and_the_store_for_its_proof() {
    let server = ClickHouse::start().await;
    let options = ShipOptions::new(server.url());
    tokio::task::spawn_blocking(move || migrate(&options, &Layout::new("portcullis"))).await.expect("no panic").expect("a migration");
    let backend = Backend::start().await;
    let clickhouse = json!({"url": server.url(), "interval": "20ms"});
    let mut gateway = Setup::before(&backend).set("audit.clickhouse", clickhouse).start().await;
    for n in 0..4 {
        assert_eq!(gateway.say(&format!("hello {n}")).await.status(), 200);
    }
    gateway.trail().completions(4).await;
    assert!(gateway.stop().await.success(), "what is left is delivered at the end");
    let base = ["report", "--config", "gateway.yaml", "--last", "1h", "--format", "json"];
    let report = async |more: &[&str]| run(gateway.folder(), &[&base[..], more].concat(), "").await;
    let mut figures = Vec::new();
    for (more, proven) in
        [(&[] as &[&str], false), (&["--source", "clickhouse"], false), (&["--source", "store"], true), (&["--store", "audit.db"], true)]
    {
        let ran = report(more).await;
        let value: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
        assert_eq!((ran.code, value["chain"].is_object()), (Some(0), proven), "{more:?}: {value:#}");
        assert!(value["frameworks"].as_array().is_some_and(|frameworks| frameworks.len() >= 8));
        figures.push(value["figures"].clone());
    }
    assert!(figures[0]["requests"] == 4 && figures.iter().all(|one| *one == figures[0]), "{figures:#?}");
    for format in ["table", "html"] {
        let ran = run(gateway.folder(), &["report", "--config", "gateway.yaml", "--last", "1h", "--format", format], "").await;
        assert!(ran.code == Some(0) && ran.stdout.contains("--source store checks the chain"), "{ran:?}");
    }
    for (more, said) in
        [(&["--source", "clickhouse", "--store", "audit.db"][..], "are of --source store"), (&["--source", "elsewhere"], "clickhouse")]
    {
        let ran = report(more).await;
        assert!(ran.code != Some(0) && ran.stderr.contains(said), "{more:?}: {ran:?}");
    }
    let ran = run(gateway.folder(), &["report", "--store", "audit.db", "--last", "1h", "--source", "clickhouse"], "").await;
    assert!(ran.code == Some(1) && ran.stderr.contains("are of --source store"), "{ran:?}");
    // Events that are not there yet are told.
    std::fs::remove_file(gateway.folder().join("audit.db.ship")).expect("to lose the notes");
    let ran = report(&[]).await;
    assert!(ran.code == Some(0) && ran.stderr.contains("9 events are not delivered yet"), "{ran:?}");
    drop(server);
    let ran = report(&[]).await;
    assert!(ran.code == Some(1) && ran.stderr.contains("audit.clickhouse.url") && ran.stderr.contains("--source store"), "{ran:?}");
}
