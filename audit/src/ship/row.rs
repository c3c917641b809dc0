//! An event as a row of ClickHouse's table `events`: which columns are sent, and what stands in each. The table itself stands in
//! `audit/clickhouse/0001_events.sql` and those after it.

use uuid::Uuid;

use super::batch::row_time;
use super::error::Refusal;
use super::native::Value;
use crate::reader::Seen;
use crate::{Event, Guard};

/// What a row is made of.
pub(crate) struct EventRow<'a> {
    store_id: &'a str,
    event_id: Uuid,
    seen: &'a Seen<'a>,
}

impl<'a> EventRow<'a> {
    /// Makes the row of an event.
    ///
    /// # Errors
    /// The event's id is no UUID, so that it has no place in the table.
    pub fn of(store_id: &'a str, seen: &'a Seen<'a>) -> Result<Self, Refusal> {
        let event_id = Uuid::parse_str(&seen.event.event_id).map_err(|error| Refusal {
            code: 0,
            name: "EVENT_ID_IS_NO_UUID".into(),
            text: format!("the event's id is no UUID: {error}"),
        })?;
        Ok(Self { store_id, event_id, seen })
    }

    fn event(&self) -> &'a Event {
        &self.seen.event
    }
}

const STRING: &str = "String";
const STRINGS: &str = "Array(String)";
const COUNT: &str = "Nullable(UInt64)";

/// A column: its name, its type, and what stands in it.
pub(crate) struct Column(pub &'static str, pub &'static str, pub for<'a> fn(&'a EventRow<'a>) -> Value<'a>);

/// The columns in the order in which they are sent, with their types and values. Where the table has `LowCardinality`, the server makes it.
pub(crate) const COLUMNS: [Column; 62] = [
    Column("tenant", STRING, |row| Value::Text(&row.event().tenant)),
    Column("ts", "DateTime64(6, 'UTC')", |row| Value::I64(row_time(row.event()))),
    Column("event_id", "UUID", |row| Value::Uuid(row.event_id)),
    Column("store_id", STRING, |row| Value::Text(row.store_id)),
    Column("seq", "UInt64", |row| Value::U64(row.seen.seq.unsigned_abs())),
    Column("chain_hash", "FixedString(32)", |row| Value::Fixed(&row.seen.chain_hash)),
    Column("schema", "UInt16", |row| Value::U16(row.event().schema)),
    Column("kind", STRING, |row| Value::Text(row.event().kind.as_str())),
    Column("request_id", STRING, |row| Value::Text(&row.event().request_id)),
    Column("gateway", STRING, |row| Value::Text(&row.event().gateway)),
    Column("key_id", STRING, |row| Value::Text(&row.event().key_id)),
    Column("client_addr", STRING, |row| Value::Text(&row.event().client_addr)),
    Column("session_id", STRING, |row| Value::Text(&row.event().session_id)),
    Column("prompt_hash", STRING, |row| Value::Text(&row.event().prompt_hash)),
    Column("route", STRING, |row| Value::Text(&row.event().route)),
    Column("model", STRING, |row| Value::Text(&row.event().model)),
    Column("upstream", STRING, |row| Value::Text(&row.event().upstream)),
    Column("direction", STRING, |row| Value::Text(row.event().direction.map_or("", |word| word.as_str()))),
    Column("decision", STRING, |row| Value::Text(row.event().decision.map_or("", |word| word.as_str()))),
    Column("intended", STRING, |row| Value::Text(row.event().intended.map_or("", |word| word.as_str()))),
    Column("severity", STRING, |row| Value::Text(row.event().severity.map_or("", |word| word.as_str()))),
    Column("findings.rule", STRINGS, |row| Value::OfFindings(&row.event().findings, |finding| &finding.rule)),
    Column("findings.category", STRINGS, |row| Value::OfFindings(&row.event().findings, |finding| &finding.category)),
    Column("findings.severity", STRINGS, |row| Value::OfFindings(&row.event().findings, |finding| finding.severity.as_str())),
    Column("findings.direction", STRINGS, |row| Value::OfFindings(&row.event().findings, |finding| finding.direction.as_str())),
    Column("findings.action", STRINGS, |row| Value::OfFindings(&row.event().findings, |finding| finding.action.as_str())),
    Column("findings.count", "Array(UInt32)", |row| Value::Counts(&row.event().findings)),
    Column("guard_state", STRING, |row| Value::Text(guard(row.event()).state)),
    Column("guard_label", STRING, |row| Value::Text(guard(row.event()).label)),
    Column("guard_reason", STRING, |row| Value::Text(guard(row.event()).reason)),
    Column("guard_score", "Nullable(Float32)", |row| Value::MaybeF32(guard(row.event()).score)),
    Column("guard_version", STRING, |row| Value::Text(guard(row.event()).version)),
    Column("known_attack", STRING, |row| Value::Text(guard(row.event()).known)),
    Column("policy", STRING, |row| Value::Text(&row.event().policy)),
    Column("policy_version", STRING, |row| Value::Text(&row.event().policy_version)),
    Column("mode", STRING, |row| Value::Text(row.event().mode.map_or("", |word| word.as_str()))),
    Column("failed_open", STRINGS, |row| Value::Names(&row.event().failed_open)),
    Column("coverage_limits", STRINGS, |row| Value::Names(&row.event().coverage_limits)),
    Column("outcome", STRING, |row| Value::Text(&row.event().outcome)),
    Column("status", "UInt16", |row| Value::U16(row.event().status.unwrap_or(0))),
    Column("tokens_in", COUNT, |row| Value::MaybeU64(row.event().tokens_in)),
    Column("tokens_out", COUNT, |row| Value::MaybeU64(row.event().tokens_out)),
    Column("tokens_source", STRING, |row| Value::Text(row.event().tokens_source.map_or("", |word| word.as_str()))),
    Column("bytes_in", COUNT, |row| Value::MaybeU64(row.event().bytes_in)),
    Column("bytes_out", COUNT, |row| Value::MaybeU64(row.event().bytes_out)),
    Column("text_bytes", COUNT, |row| Value::MaybeU64(row.event().text_bytes)),
    Column("screened_bytes", COUNT, |row| Value::MaybeU64(row.event().screened_bytes)),
    Column("receive_us", COUNT, |row| Value::MaybeU64(row.event().latencies_us.receive)),
    Column("authenticate_us", COUNT, |row| Value::MaybeU64(row.event().latencies_us.authenticate)),
    Column("limit_us", COUNT, |row| Value::MaybeU64(row.event().latencies_us.limit)),
    Column("parse_us", COUNT, |row| Value::MaybeU64(row.event().latencies_us.parse)),
    Column("screen_rules_us", COUNT, |row| Value::MaybeU64(row.event().latencies_us.screen_rules)),
    Column("screen_model_us", COUNT, |row| Value::MaybeU64(row.event().latencies_us.screen_model)),
    Column("decide_us", COUNT, |row| Value::MaybeU64(row.event().latencies_us.decide)),
    Column("record_us", COUNT, |row| Value::MaybeU64(row.event().latencies_us.record)),
    Column("connect_us", COUNT, |row| Value::MaybeU64(row.event().latencies_us.connect)),
    Column("first_byte_us", COUNT, |row| Value::MaybeU64(row.event().latencies_us.first_byte)),
    Column("upstream_us", COUNT, |row| Value::MaybeU64(row.event().latencies_us.upstream)),
    Column("screen_back_us", COUNT, |row| Value::MaybeU64(row.event().latencies_us.screen_back)),
    Column("total_us", COUNT, |row| Value::MaybeU64(row.event().latencies_us.total)),
    Column("cut", "Bool", |row| Value::Bool(row.event().cut)),
    Column("body", STRING, |row| Value::Text(row.seen.body)),
];

/// What the columns of the guard model hold; empty where it does not apply.
#[derive(Default)]
struct Judged<'a> {
    state: &'static str,
    label: &'a str,
    reason: &'a str,
    score: Option<f32>,
    version: &'a str,
    /// The known attack's id.
    known: &'a str,
}

fn guard(event: &Event) -> Judged<'_> {
    match &event.guard {
        None => Judged::default(),
        Some(Guard::Skipped) => Judged { state: "skipped", ..Judged::default() },
        Some(Guard::Unavailable { reason }) => Judged { state: "unavailable", reason, ..Judged::default() },
        Some(Guard::Scored { label, score, version, known }) => Judged {
            state: "scored",
            label,
            score: Some(*score),
            version,
            known: known.as_ref().map_or("", |known| &known.id),
            ..Judged::default()
        },
    }
}
