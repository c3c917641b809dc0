//! An event as a row of ClickHouse's table `events`; the columns stand in `audit/clickhouse/0001_events.sql`.

use clickhouse::Row;
use serde::Serialize;
use uuid::Uuid;

use super::batch::row_time;
use super::error::Refusal;
use crate::{FindingRecord, Guard, StoredEvent};

/// One row. Borrowed from the event; the names are the columns'.
#[derive(Row, Serialize)]
pub(crate) struct EventRow<'a> {
    tenant: &'a str,
    ts: i64,
    #[serde(with = "clickhouse::serde::uuid")]
    event_id: Uuid,
    store_id: &'a str,
    seq: u64,
    chain_hash: [u8; 32],
    schema: u16,
    kind: &'a str,
    request_id: &'a str,
    gateway: &'a str,
    key_id: &'a str,
    client_addr: &'a str,
    session_id: &'a str,
    prompt_hash: &'a str,
    route: &'a str,
    model: &'a str,
    upstream: &'a str,
    direction: &'a str,
    decision: &'a str,
    intended: &'a str,
    severity: &'a str,
    #[serde(rename = "findings.rule")]
    findings_rule: Vec<&'a str>,
    #[serde(rename = "findings.category")]
    findings_category: Vec<&'a str>,
    #[serde(rename = "findings.severity")]
    findings_severity: Vec<&'a str>,
    #[serde(rename = "findings.direction")]
    findings_direction: Vec<&'a str>,
    #[serde(rename = "findings.action")]
    findings_action: Vec<&'a str>,
    #[serde(rename = "findings.count")]
    findings_count: Vec<u32>,
    guard_state: &'a str,
    guard_label: &'a str,
    guard_reason: &'a str,
    guard_score: Option<f32>,
    policy: &'a str,
    policy_version: &'a str,
    mode: &'a str,
    failed_open: Vec<&'a str>,
    coverage_limits: Vec<&'a str>,
    outcome: &'a str,
    status: u16,
    tokens_in: Option<u64>,
    tokens_out: Option<u64>,
    tokens_source: &'a str,
    bytes_in: Option<u64>,
    bytes_out: Option<u64>,
    text_bytes: Option<u64>,
    screened_bytes: Option<u64>,
    receive_us: Option<u64>,
    authenticate_us: Option<u64>,
    limit_us: Option<u64>,
    parse_us: Option<u64>,
    screen_rules_us: Option<u64>,
    screen_model_us: Option<u64>,
    decide_us: Option<u64>,
    record_us: Option<u64>,
    connect_us: Option<u64>,
    first_byte_us: Option<u64>,
    upstream_us: Option<u64>,
    screen_back_us: Option<u64>,
    total_us: Option<u64>,
    cut: bool,
    body: &'a str,
}

impl<'a> EventRow<'a> {
    /// Makes the row of an event.
    ///
    /// # Errors
    /// The event's id is no UUID, so that it has no place in the table.
    pub fn of(store_id: &'a str, stored: &'a StoredEvent) -> Result<Self, Refusal> {
        let event = &stored.event;
        let event_id = Uuid::parse_str(&event.event_id).map_err(|error| Refusal {
            code: 0,
            name: "EVENT_ID_IS_NO_UUID".into(),
            text: format!("the event's id is no UUID: {error}"),
        })?;
        let (guard_state, guard_label, guard_reason, guard_score) = guard(event.guard.as_ref());
        let times = &event.latencies_us;
        Ok(Self {
            tenant: &event.tenant,
            ts: row_time(stored),
            event_id,
            store_id,
            seq: stored.seq.unsigned_abs(),
            chain_hash: stored.chain_hash,
            schema: event.schema,
            kind: event.kind.as_str(),
            request_id: &event.request_id,
            gateway: &event.gateway,
            key_id: &event.key_id,
            client_addr: &event.client_addr,
            session_id: &event.session_id,
            prompt_hash: &event.prompt_hash,
            route: &event.route,
            model: &event.model,
            upstream: &event.upstream,
            direction: event.direction.map_or("", |word| word.as_str()),
            decision: event.decision.map_or("", |word| word.as_str()),
            intended: event.intended.map_or("", |word| word.as_str()),
            severity: event.severity.map_or("", |word| word.as_str()),
            findings_rule: column(&event.findings, |finding| &*finding.rule),
            findings_category: column(&event.findings, |finding| &*finding.category),
            findings_severity: column(&event.findings, |finding| finding.severity.as_str()),
            findings_direction: column(&event.findings, |finding| finding.direction.as_str()),
            findings_action: column(&event.findings, |finding| finding.action.as_str()),
            findings_count: column(&event.findings, |finding| finding.count),
            guard_state,
            guard_label,
            guard_reason,
            guard_score,
            policy: &event.policy,
            policy_version: &event.policy_version,
            mode: event.mode.map_or("", |word| word.as_str()),
            failed_open: event.failed_open.iter().map(String::as_str).collect(),
            coverage_limits: event.coverage_limits.iter().map(String::as_str).collect(),
            outcome: &event.outcome,
            status: event.status.unwrap_or(0),
            tokens_in: event.tokens_in,
            tokens_out: event.tokens_out,
            tokens_source: event.tokens_source.map_or("", |word| word.as_str()),
            bytes_in: event.bytes_in,
            bytes_out: event.bytes_out,
            text_bytes: event.text_bytes,
            screened_bytes: event.screened_bytes,
            receive_us: times.receive,
            authenticate_us: times.authenticate,
            limit_us: times.limit,
            parse_us: times.parse,
            screen_rules_us: times.screen_rules,
            screen_model_us: times.screen_model,
            decide_us: times.decide,
            record_us: times.record,
            connect_us: times.connect,
            first_byte_us: times.first_byte,
            upstream_us: times.upstream,
            screen_back_us: times.screen_back,
            total_us: times.total,
            cut: event.cut,
            body: &stored.body,
        })
    }
}

fn column<'a, T>(findings: &'a [FindingRecord], take: impl Fn(&'a FindingRecord) -> T) -> Vec<T> {
    findings.iter().map(take).collect()
}

fn guard(guard: Option<&Guard>) -> (&str, &str, &str, Option<f32>) {
    match guard {
        None => ("", "", "", None),
        Some(Guard::Skipped) => ("skipped", "", "", None),
        Some(Guard::Unavailable { reason }) => ("unavailable", "", reason, None),
        Some(Guard::Scored { label, score, .. }) => ("scored", label, "", Some(*score)),
    }
}
