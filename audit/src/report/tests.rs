//! Exact numbers on a small known set, from events and from a store, in every form.

use std::path::Path;

use super::*;
use crate::proof::Against;
use crate::store::tests::place;
use crate::{Decision, Direction, Event, FindingRecord, Guard, Kind, Latencies, Mode, Severity, Store, StoreOptions, TokensSource};

const DAY: i64 = 86_400_000_000;
/// 2026-11-01.
const START: i64 = 1_793_491_200_000_000;
const HOSTILE: &str = "<script>alert(1)</script>\"'\u{202e}\n=cmd|' /C calc'!A0";

fn november() -> Scope {
    Scope { period: Period::new(START, START + 30 * DAY).unwrap(), tenant: None, key_id: None }
}

fn finding(rule: &str, severity: Severity, direction: Direction, action: Decision, count: u32) -> FindingRecord {
    FindingRecord { rule: rule.into(), category: "pii".into(), severity, direction, action, count, spans: Vec::new() }
}

fn decided(id: &str, at: i64, decision: Decision, findings: Vec<FindingRecord>) -> Event {
    let mut event = Event {
        gateway: "gw-1".into(),
        tenant: "acme".into(),
        key_id: "alice".into(),
        client_addr: "10.0.0.1:5000".into(),
        model: "small".into(),
        decision: Some(decision),
        intended: Some(decision),
        severity: findings.iter().map(|finding| finding.severity).max(),
        findings,
        guard: Some(Guard::Skipped),
        policy: "default".into(),
        policy_version: "aaaa".into(),
        mode: Some(Mode::Enforce),
        latencies_us: Latencies { screen_rules: Some(50), ..Latencies::default() },
        ..Event::new(Kind::Decision, id)
    };
    event.stamp(at);
    event
}

fn completed(decision: &Event, outcome: &str, findings: Vec<FindingRecord>) -> Event {
    let mut event = Event {
        outcome: outcome.into(),
        findings,
        tokens_in: Some(10),
        tokens_out: Some(20),
        tokens_source: Some(TokensSource::Measured),
        latencies_us: Latencies { total: Some(1_000), ..Latencies::default() },
        ..Event::completion_of(decision)
    };
    event.stamp(decision.time_us + 1_000_000);
    event
}

fn refused(id: &str, kind: Kind, outcome: &str, at: i64) -> Event {
    let known = kind == Kind::Limit;
    let mut event = Event {
        gateway: "gw-2".into(),
        tenant: if known { "acme".into() } else { String::new() },
        key_id: if known { "bob".into() } else { String::new() },
        client_addr: "10.0.0.9:6000".into(),
        decision: Some(Decision::Refused),
        outcome: outcome.into(),
        ..Event::new(kind, id)
    };
    event.stamp(at);
    event
}

/// Ten events of November, and one at each edge that is not.
fn known() -> Vec<Event> {
    let email = || finding("EMAIL_ADDRESS", Severity::Medium, Direction::Request, Decision::Redact, 3);
    let card = |action| finding("CREDIT_CARD", Severity::Critical, Direction::Request, action, 1);
    let before = decided("r0", START - 1, Decision::Allow, vec![]);
    let first = Event { failed_open: vec!["guard".into(), "guard".into()], ..decided("r1", START, Decision::Redact, vec![email()]) };
    let second = Event {
        policy_version: "bbbb".into(),
        failed_open: vec!["guard".into()],
        guard: Some(Guard::Unavailable { reason: "late".into() }),
        ..decided("r2", START + 30_000_000, Decision::Allow, vec![])
    };
    let blocked = decided("r3", START + DAY, Decision::Block, vec![card(Decision::Block), card(Decision::Flag)]);
    let mut leaked =
        completed(&second, "blocked_output", vec![finding("CREDIT_CARD", Severity::Critical, Direction::Response, Decision::Block, 2)]);
    leaked.decision = Some(Decision::Block);
    let late = decided("r9", START + 30 * DAY, Decision::Allow, vec![]);
    vec![
        before,
        completed(&first, "ok", vec![]),
        first,
        second,
        leaked,
        blocked,
        refused("r4", Kind::Limit, "requests_per_minute", START + DAY),
        refused("r5", Kind::Limit, "requests_per_minute", START + DAY + 1),
        refused("r6", Kind::AuthFailure, "unknown_key", START + 2 * DAY),
        refused("", Kind::Rejected, "bad_request", START + 2 * DAY),
        decided("r7", START + 30 * DAY - 1, Decision::Allow, vec![]),
        late,
    ]
}

fn store(path: &Path, events: &[Event]) {
    let store = Store::open(path, StoreOptions { checkpoint_events: 4, ..StoreOptions::default() }).unwrap();
    for event in events {
        store.record(event.clone()).wait().unwrap();
    }
    store.close().unwrap();
}

/// The store has no completion before its decision.
fn in_order() -> Vec<Event> {
    let mut events = known();
    events.swap(1, 2);
    let mut more: Vec<Event> = Vec::new();
    for event in &events {
        if event.forwards() && !events.iter().any(|other| other.kind == Kind::Completion && other.request_id == event.request_id) {
            // Far from the period, so that no number changes.
            let mut end = completed(event, "ok", vec![]);
            end.stamp(START + 90 * DAY);
            more.push(end);
        }
    }
    events.extend(more);
    events
}

fn catalogue() -> Catalogue {
    let rule = |rule: &str, tags: &[&str]| RuleTags { rule: rule.into(), tags: tags.iter().map(|tag| (*tag).to_owned()).collect() };
    Catalogue {
        rules: vec![
            rule("EMAIL_ADDRESS", &["OWASP-LLM02:2025", "GDPR-Art4"]),
            rule("CREDIT_CARD", &["OWASP-LLM02:2025", "PCI-DSS-3.4", "=HOUSE<b>"]),
            rule("INJECTION", &["OWASP-LLM01:2025"]),
        ],
        versions: vec!["aaaa".into()],
    }
}

fn form(format: Format, lang: Lang, catalogue: Option<&Catalogue>) -> Form<'_> {
    Form { format, lang, catalogue, made_us: START + 31 * DAY }
}

#[test]
fn every_number_of_a_known_set_is_exact() {
    let report = known().answer(&november(), &mut |_, _| {}).unwrap().report;
    assert_eq!((report.events, report.requests, report.answers, report.high_risk, report.callers_total), (10, 8, 2, 2, 2));
    assert_eq!((report.first_us, report.last_us), (Some(START), Some(START + 30 * DAY - 1)));
    let decisions: Vec<_> = report.decisions.iter().map(|row| (row.decision.as_str(), row.requests, row.answers, row.intended)).collect();
    assert_eq!(
        decisions,
        [("allow", 2, 0, 2), ("flag", 0, 0, 0), ("pseudonymize", 0, 0, 0), ("redact", 1, 1, 1), ("block", 1, 1, 1), ("refused", 4, 0, 0)]
    );
    let severities: Vec<_> = report.severities.iter().map(|row| (row.severity.as_str(), row.findings, row.requests, row.answers)).collect();
    assert_eq!(severities, [("critical", 4, 1, 1), ("high", 0, 0, 0), ("medium", 3, 1, 0), ("low", 0, 0, 0)]);
    let rules: Vec<_> =
        report.rules.iter().map(|row| (row.rule.as_str(), row.in_requests, row.in_answers, row.events, row.actions)).collect();
    assert_eq!(rules, [("CREDIT_CARD", 2, 2, 2, [0, 1, 0, 0, 3]), ("EMAIL_ADDRESS", 3, 0, 1, [0, 0, 0, 3, 0])]);
    assert_eq!(report.categories, [Category { category: "pii".into(), in_requests: 5, in_answers: 2, events: 3 }]);
    let small = report.models.iter().find(|row| row.model == "small").unwrap();
    assert_eq!((small.requests, small.blocked, small.refused, small.answers, small.tokens_in, small.tokens_out), (4, 2, 0, 2, 20, 40));
    assert_eq!(
        report.callers,
        [Caller { tenant: "acme".into(), key_id: "alice".into(), requests: 4, high_risk: 2, critical: 2, blocked: 2 }]
    );
    assert_eq!(report.limits, [CallerLimit { limit: "requests_per_minute".into(), tenant: "acme".into(), key_id: "bob".into(), count: 2 }]);
    assert_eq!(report.auth_failures, [Count { name: "unknown_key".into(), count: 1 }]);
    assert_eq!(report.auth_addresses, [Address { address: "10.0.0.9".into(), count: 1 }]);
    assert_eq!(
        report.failed_open,
        [FailedOpen { control: "guard".into(), requests: 2, minutes: 1, first_us: START, last_us: START + 30_000_000 }]
    );
    assert_eq!(report.guard, Guarded { skipped: 3, scored: 0, unavailable: 1 });
    let stages: Vec<_> = report.stages.iter().map(|row| (row.stage, row.count, row.p50, row.max)).collect();
    assert_eq!(stages, [("screen_rules", 4, 50, 50), ("total", 2, 1_000, 1_000)]);
    assert_eq!(report.tokens, Tokens { measured_in: 20, measured_out: 40, ..Tokens::default() });
    let policies: Vec<_> = report.policies.iter().map(|row| (row.version.as_str(), row.first_us, row.last_us, row.requests)).collect();
    assert_eq!(policies, [("aaaa", START, START + 30 * DAY - 1, 3), ("bbbb", START + 30_000_000, START + 30_000_000, 1)]);
    let days: Vec<_> = report.days.iter().map(|row| (row.day.as_str(), row.decisions, row.blocked_answers)).collect();
    assert_eq!(
        days,
        [
            ("2026-11-01", [1, 0, 0, 1, 0, 0], 1),
            ("2026-11-02", [0, 0, 0, 0, 1, 2], 0),
            ("2026-11-03", [0, 0, 0, 0, 0, 2], 0),
            ("2026-11-30", [1, 0, 0, 0, 0, 0], 0)
        ]
    );
    assert_eq!(report.gateways, [Count { name: "gw-1".into(), count: 6 }, Count { name: "gw-2".into(), count: 4 }]);
}

#[test]
fn tenant_and_key_narrow_the_count() {
    let count = |tenant: Option<&str>, key: Option<&str>| {
        let scope = Scope { tenant: tenant.map(Into::into), key_id: key.map(Into::into), ..november() };
        known().answer(&scope, &mut |_, _| {}).unwrap().report.events
    };
    assert_eq!(
        (count(Some("acme"), None), count(None, Some("bob")), count(Some("acme"), Some("alice")), count(Some("x"), None)),
        (8, 2, 6, 0)
    );
}

#[test]
fn monitoring_counts_what_would_have_been_blocked_once_for_a_request() {
    let mut request = decided("m", START, Decision::Flag, vec![]);
    request.intended = Some(Decision::Block);
    let answer = completed(&request, "ok", vec![]);
    let report = [request, answer].answer(&november(), &mut |_, _| {}).unwrap().report;
    assert_eq!((report.high_risk, report.callers[0].high_risk, report.callers[0].blocked), (1, 1, 0));
}

#[test]
fn a_store_answers_as_its_events_do_and_proves_them() {
    let (_folder, path) = place();
    let events = in_order();
    store(&path, &events);
    let embedded = Embedded { path: &path, against: Against::default() };
    let mut heard = Vec::new();
    let answer = embedded.answer(&november(), &mut |done, total| heard.push((done, total))).unwrap();
    assert_eq!(answer.report, events.answer(&november(), &mut |_, _| {}).unwrap().report);
    let chain = answer.chain.unwrap();
    assert_eq!((chain.standing, chain.unsigned, chain.problem_count), (Standing::Proven, 0, 0), "{chain:?}");
    assert_eq!((chain.period_first, chain.period_last), (Some(2), Some(11)));
    assert!(chain.keys_self_named && chain.keys.len() == 1);
    assert_eq!(heard.last().map(|(done, total)| done == total), Some(true));
    // Of the second day: from its neighbour before to the checkpoint behind.
    let scope = Scope { period: Period::new(START + DAY, START + 2 * DAY).unwrap(), ..november() };
    let chain = embedded.answer(&scope, &mut |_, _| {}).unwrap().chain.unwrap();
    assert_eq!((chain.standing, chain.first, chain.period_first, chain.period_last), (Standing::Proven, Some(5), Some(6), Some(8)));
}

#[test]
fn tampering_in_the_period_or_at_its_edges_is_told() {
    for (sql, standing) in [
        ("UPDATE events SET body = replace(body, 'alice', 'alicf') WHERE seq = 6", Standing::Tampered),
        ("DELETE FROM events WHERE seq = 6", Standing::Tampered),
        ("DELETE FROM events WHERE seq BETWEEN 6 AND 8", Standing::Tampered),
        ("UPDATE events SET ts_us = 0 WHERE seq = 6", Standing::Tampered),
        ("UPDATE events SET body = 'no json' WHERE seq = 7", Standing::Tampered),
        ("DELETE FROM checkpoints", Standing::Unproven),
    ] {
        let (_folder, path) = place();
        store(&path, &in_order());
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection.execute_batch(sql).unwrap();
        drop(connection);
        let none = path.with_extension("none");
        std::fs::write(&none, "").unwrap();
        let against = Against { trusted: &[], checkpoints: (standing == Standing::Unproven).then_some(&*none) };
        let scope = Scope { period: Period::new(START + DAY, START + 2 * DAY).unwrap(), ..november() };
        let answer = Embedded { path: &path, against }.answer(&scope, &mut |_, _| {}).unwrap();
        let chain = answer.chain.as_ref().unwrap();
        assert_eq!(chain.standing, standing, "{sql}: {chain:?}");
        for lang in [Lang::En, Lang::Zh] {
            let page = render(&scope, &answer, &form(Format::Html, lang, None));
            let word =
                if standing == Standing::Tampered { lang.say("TAMPERED", "已被篡改") } else { lang.say("NOT PROVEN", "未证明") };
            assert!(page.contains(word), "{sql}");
        }
    }
}

#[test]
fn events_cut_off_at_the_end_are_missed_in_the_last_period() {
    let (_folder, path) = place();
    store(&path, &known()[2..11].iter().filter(|event| event.kind != Kind::Completion).cloned().collect::<Vec<_>>());
    let last = rusqlite::Connection::open(&path).unwrap();
    last.execute_batch("DELETE FROM events WHERE seq > 4").unwrap();
    drop(last);
    for from in [START, START + DAY] {
        let scope = Scope { period: Period::new(from, START + 30 * DAY).unwrap(), ..november() };
        let chain = Embedded { path: &path, against: Against::default() }.answer(&scope, &mut |_, _| {}).unwrap().chain.unwrap();
        assert_eq!(chain.standing, Standing::Tampered, "{chain:?}");
    }
}

#[test]
fn the_last_events_of_a_running_gateway_are_told_as_not_signed() {
    let (_folder, path) = place();
    let store = Store::open(&path, StoreOptions { checkpoint_events: 1_000, ..StoreOptions::default() }).unwrap();
    store.record(decided("r1", START, Decision::Block, vec![])).wait().unwrap();
    let embedded = Embedded { path: &path, against: Against::default() };
    let answer = embedded.answer(&november(), &mut |_, _| {}).unwrap();
    let chain = answer.chain.unwrap();
    assert_eq!((answer.report.events, chain.unsigned), (1, 1));
    assert!(matches!(chain.standing, Standing::Unproven | Standing::PartlySigned), "{chain:?}");
    store.close().unwrap();
    assert_eq!(embedded.answer(&november(), &mut |_, _| {}).unwrap().chain.unwrap().standing, Standing::Proven);
}

#[test]
fn findings_are_grouped_by_the_controls_that_their_rules_name() {
    let report = known().answer(&november(), &mut |_, _| {}).unwrap().report;
    let frameworks = coverage(&report, None, &catalogue());
    let row = |framework: &str, control: &str| {
        let framework = frameworks.iter().find(|row| row.id == framework).unwrap();
        let row = framework.controls.iter().find(|row| row.control == control).unwrap();
        (row.coverage, row.rules, row.rules_with_findings, row.findings)
    };
    assert_eq!(row("owasp_llm_2025", "LLM02:2025"), (Coverage::Findings, 2, 2, 7));
    assert_eq!(row("owasp_llm_2025", "LLM01:2025"), (Coverage::NoFindings, 1, 0, 0));
    assert_eq!(row("owasp_llm_2025", "LLM03:2025"), (Coverage::NoRules, 0, 0, 0));
    assert_eq!(row("gdpr", "Art. 4(1)"), (Coverage::Findings, 1, 1, 3));
    assert_eq!(row("pci_dss", "3.4"), (Coverage::Findings, 1, 1, 4));
    assert_eq!(row("pci_dss", "10.2.1.4"), (Coverage::Record, 0, 0, 1));
    assert_eq!(row("eu_ai_act_12", "Art. 12(1)"), (Coverage::Record, 0, 0, 10));
    assert_eq!(row("eu_ai_act_12", "Art. 12(2)(a)"), (Coverage::Record, 0, 0, 2));
    assert_eq!(row("other", "=HOUSE<b>"), (Coverage::Findings, 1, 1, 4));
}

#[test]
fn an_empty_period_is_a_whole_report_in_every_form() {
    let (_folder, path) = place();
    store(&path, &[]);
    let answer = Embedded { path: &path, against: Against::default() }.answer(&november(), &mut |_, _| {}).unwrap();
    assert_eq!(answer.chain.as_ref().unwrap().standing, Standing::Empty);
    for lang in [Lang::En, Lang::Zh] {
        for format in [Format::Table, Format::Json, Format::Csv, Format::Html] {
            let text = render(&november(), &answer, &form(format, lang, Some(&catalogue())));
            assert!(text.contains("2026-11-01") && !text.contains("NaN"), "{text}");
        }
    }
}

#[test]
fn the_forms_say_the_same_numbers() {
    let answer = known().answer(&november(), &mut |_, _| {}).unwrap();
    let rendered = |format| render(&november(), &answer, &form(format, Lang::En, Some(&catalogue())));
    let value: serde_json::Value = serde_json::from_str(&rendered(Format::Json)).unwrap();
    assert_eq!(value["figures"]["rules"][0]["in_answers"], 2);
    assert_eq!((&value["from"], &value["chain"]), (&"2026-11-01T00:00:00.000000Z".into(), &serde_json::Value::Null));
    assert_eq!(value["frameworks"][0]["controls"][1]["findings"], 7);
    let csv = rendered(Format::Csv);
    for line in [
        "rules,CREDIT_CARD,pii,critical,in_answers,2",
        "totals,events,,,count,10",
        "gdpr,Art. 4(1),Personal data,findings,findings,3",
        "days,2026-11-02,,,block,1",
        "latencies,total,,,p99_us,1000",
        "other,\"'=HOUSE<b>\",,findings,findings,4",
    ] {
        assert!(csv.contains(&format!("{line}\r\n")), "{line}\n{csv}");
    }
    let table = rendered(Format::Table);
    assert!(table.contains("EMAIL_ADDRESS  pii       medium"), "{table}");
    let page = rendered(Format::Html);
    assert!(page.contains("<th scope=\"row\">CREDIT_CARD</th>") && page.contains("=HOUSE&lt;b&gt;"), "{page}");
}

#[test]
fn no_name_of_the_record_can_speak_in_a_form() {
    let mut event = decided("r1", START, Decision::Block, vec![finding(HOSTILE, Severity::High, Direction::Request, Decision::Block, 1)]);
    for name in [&mut event.tenant, &mut event.key_id, &mut event.model, &mut event.gateway, &mut event.policy, &mut event.policy_version] {
        HOSTILE.clone_into(name);
    }
    event.findings[0].category = HOSTILE.into();
    event.failed_open = vec![HOSTILE.into()];
    let limit = Event { outcome: HOSTILE.into(), tenant: HOSTILE.into(), ..refused("r2", Kind::Limit, "", START) };
    let failure = Event { outcome: HOSTILE.into(), client_addr: HOSTILE.into(), ..refused("r3", Kind::AuthFailure, "", START) };
    let ended = Event { outcome: HOSTILE.into(), ..completed(&event, "", vec![]) };
    let events = [event, limit, failure, ended];
    let scope = Scope { tenant: None, ..november() };
    let answer = events.answer(&scope, &mut |_, _| {}).unwrap();
    let catalogue =
        Catalogue { rules: vec![RuleTags { rule: HOSTILE.into(), tags: vec![HOSTILE.into()] }], versions: vec![HOSTILE.into()] };
    for lang in [Lang::En, Lang::Zh] {
        let page = render(&scope, &answer, &form(Format::Html, lang, Some(&catalogue)));
        assert!(!page.contains("<script") && !page.contains('\u{202e}') && page.contains("&lt;script&gt;"), "{page}");
        assert!(page.matches("alert(1)").count() >= 10);
        assert!(!page.contains("http-equiv=\"refresh") && !page.contains("src=") && !page.contains("href=\"http"));
        assert!(page.contains("default-src 'none'"));
    }
    let table = render(&scope, &answer, &form(Format::Table, Lang::En, Some(&catalogue)));
    assert!(!table.chars().any(|character| character != '\n' && crate::line::deceives(character) && character != ' '), "{table:?}");
    let csv = render(&scope, &answer, &form(Format::Csv, Lang::En, Some(&catalogue)));
    assert!(csv.lines().all(|line| !line.starts_with('=')) && !csv.contains(",=") && !csv.contains(",\"=") && !csv.contains('\u{202e}'));
    let formula = Event { tenant: "=HYPERLINK(1)".into(), model: "+1".into(), ..decided("r4", START, Decision::Block, vec![]) };
    let answer = [formula].answer(&scope, &mut |_, _| {}).unwrap();
    let csv = render(&scope, &answer, &form(Format::Csv, Lang::En, None));
    assert!(csv.contains("\"'=HYPERLINK(1)\"") && csv.contains("\"'+1\"") && !csv.contains(",=") && !csv.contains(",+"), "{csv}");
    let json = render(&scope, &events.answer(&scope, &mut |_, _| {}).unwrap(), &form(Format::Json, Lang::En, None));
    assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap()["figures"]["callers"][0]["tenant"], HOSTILE);
}
