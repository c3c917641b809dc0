//! The audit event: what is remembered of a request, every part of it bounded. Schema version 1.
//!
//! On disk an event is one JSON object with the fields below under their Rust names; absent means unknown or not applicable.
//! A request leaves exactly one event that answers it (`decision`, `rejected`, `auth_failure` or `limit`) and, only where it was
//! forwarded (a `decision` of allow, flag, pseudonymize or redact), exactly one `completion`. The other kinds belong to no request.

use serde::{Deserialize, Serialize};

use crate::change::PolicyChange;
use crate::words::{ChangeOutcome, Decision, Direction, Kind, Mode, Severity, TokensSource};

/// The version of the event's layout, written into each event.
pub const SCHEMA_VERSION: u16 = 1;
/// Bytes kept of a name: model, route, client address, ids, labels.
pub const NAME_BYTES_MAX: usize = 256;
/// Bytes kept of a redacted prompt and of a redacted answer, each.
pub const REDACTED_BYTES_MAX: usize = 65_536;
/// Finding records kept of an event.
pub const FINDINGS_MAX: usize = 128;
/// Spans kept of a finding record.
pub const SPANS_MAX: usize = 16;
/// Names of failed-open controls kept of an event.
pub const FAILED_OPEN_MAX: usize = 16;
/// Names of bounds that kept text from being screened in every form, of an event.
pub const COVERAGE_LIMITS_MAX: usize = 8;

/// One audit event. Start from [`Event::new`] or [`Event::completion_of`] and set what is known.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Event {
    /// Layout of this event: [`SCHEMA_VERSION`].
    pub schema: u16,
    /// UUIDv7; the event's identity everywhere it travels. Recording it twice stores it once.
    pub event_id: String,
    /// What happened.
    pub kind: Kind,
    /// The moment, RFC 3339, UTC, six digits of fraction. Derived from `time_us` when the event is recorded.
    pub time: String,
    /// The moment in microseconds since 1970-01-01T00:00:00Z.
    pub time_us: i64,
    /// The gateway's own id of the request, unique per request; empty only where there never was a request (a broken head, a change of
    /// the policy).
    pub request_id: String,
    /// Name of the gateway instance.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub gateway: String,
    /// Tenant of the key; empty where the caller is unknown.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tenant: String,
    /// Id of the key, never the key.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key_id: String,
    /// Address of the peer, as the gateway saw it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client_addr: String,
    /// What the client calls the session this request belongs to.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub session_id: String,
    /// Keyed fingerprint of the prompt's texts (`Fingerprint`): equal for equal prompts of this store.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub prompt_hash: String,
    /// Path of the request.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub route: String,
    /// Model the client asked for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub model: String,
    /// Name of the upstream it went to.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub upstream: String,
    /// Which text the event's decision is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<Direction>,
    /// What was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// What `mode: enforce` would have done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intended: Option<Decision>,
    /// Severity of the worst finding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// The findings, one record per rule, direction and action; at most [`FINDINGS_MAX`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<FindingRecord>,
    /// What the guard model said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guard: Option<Guard>,
    /// Name of the policy.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub policy: String,
    /// Version of the policy.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub policy_version: String,
    /// Mode of the policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Names of the controls that failed and, as the policy allows, let the request pass; at most [`FAILED_OPEN_MAX`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failed_open: Vec<String>,
    /// Names of the bounds that kept text from being screened in every form (`decoding_budget`); at most [`COVERAGE_LIMITS_MAX`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub coverage_limits: Vec<String>,
    /// Requests that were served without a record, since the store could not be written and the configuration allows it; in events of
    /// kind `admin` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unrecorded: Option<u64>,
    /// What became of the policy in force; in events of kind `policy_change` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<PolicyChange>,
    /// How it ended, a stable class: `ok`, `blocked_output`, `client_gone`, `client_slow`, `upstream_timeout`, `panic`, `incomplete` ...
    #[serde(skip_serializing_if = "String::is_empty")]
    pub outcome: String,
    /// HTTP status the client got.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Tokens of the prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_in: Option<u64>,
    /// Tokens of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_out: Option<u64>,
    /// Where the token counts come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_source: Option<TokensSource>,
    /// Bytes of the request body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_in: Option<u64>,
    /// Bytes of the response body sent to the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_out: Option<u64>,
    /// Bytes of text found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_bytes: Option<u64>,
    /// Bytes of text screened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub screened_bytes: Option<u64>,
    /// Time spent per stage, microseconds.
    #[serde(skip_serializing_if = "Latencies::is_empty")]
    pub latencies_us: Latencies,
    /// The prompt after redaction, only where the policy stores it; at most [`REDACTED_BYTES_MAX`] bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redacted_prompt: Option<String>,
    /// The answer after redaction, only where the policy stores it; at most [`REDACTED_BYTES_MAX`] bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redacted_answer: Option<String>,
    /// The prompt after redaction as it is stored: sealed with the key of its tenant and key id, see `seal.rs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sealed_prompt: Option<String>,
    /// The answer after redaction as it is stored, sealed likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sealed_answer: Option<String>,
    /// Something above was longer than its bound and was cut.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
}

/// The findings of one rule, without the text it matched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingRecord {
    /// Id of the rule.
    pub rule: String,
    /// Category of the rule, in the policy's words.
    pub category: String,
    /// Severity of the rule.
    pub severity: Severity,
    /// Which text it was found in.
    pub direction: Direction,
    /// What the policy says for it.
    pub action: Decision,
    /// How many there were, including those without a span below.
    pub count: u32,
    /// Where the first [`SPANS_MAX`] were.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spans: Vec<Span>,
}

/// Where a finding was: bytes `start..end` of the text at `leaf`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// JSON pointer of the text in the body, for example `/messages/1/content`.
    pub leaf: String,
    /// First byte.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
}

/// What the guard model said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Guard {
    /// It was not asked: off, or nothing to ask about.
    Skipped,
    /// It was asked and gave no score.
    Unavailable {
        /// Why, a stable class.
        reason: String,
    },
    /// It scored the text.
    Scored {
        /// The label of the worst window.
        label: String,
        /// 1 - P(benign), 0..=1.
        score: f32,
        /// Name and version of the model.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        version: String,
        /// The known attack that a text came nearest to, where one was near.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        known: Option<KnownAttack>,
    },
}

/// A known attack that a text came near to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KnownAttack {
    /// Its id in the file of known attacks.
    pub id: String,
    /// How near, 0..=1.
    pub similarity: f32,
}

/// Time spent per stage of a request, microseconds; absent where the stage did not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Latencies {
    /// Reading the request's body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receive: Option<u64>,
    /// Checking the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authenticate: Option<u64>,
    /// Asking the limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Parsing the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parse: Option<u64>,
    /// Screening the prompt with rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub screen_rules: Option<u64>,
    /// Screening the prompt with the guard model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub screen_model: Option<u64>,
    /// Deciding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decide: Option<u64>,
    /// Waiting for the decision event to be durable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<u64>,
    /// Getting a connection to the upstream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect: Option<u64>,
    /// From the request sent to the first byte of the upstream's answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_byte: Option<u64>,
    /// From the request sent to the last byte of the upstream's answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<u64>,
    /// Screening the answer, all windows together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub screen_back: Option<u64>,
    /// From the head read to the last byte sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
}

impl Latencies {
    /// Whether no stage has a time.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Event {
    /// Starts an event: fresh id, the present moment, nothing else known.
    pub fn new(kind: Kind, request_id: impl Into<String>) -> Self {
        let mut event = Self { schema: SCHEMA_VERSION, kind, request_id: request_id.into(), ..Self::default() };
        event.event_id = uuid::Uuid::now_v7().to_string();
        event.stamp(jiff::Timestamp::now().as_microsecond());
        event
    }

    /// Tells of a change of the policy that the configuration calls `policy`. The caller adds its new version.
    pub fn of_change(policy: impl Into<String>, outcome: ChangeOutcome, change: PolicyChange) -> Self {
        let outcome = outcome.as_str().to_owned();
        Self { policy: policy.into(), outcome, change: Some(change), ..Self::new(Kind::PolicyChange, "") }
    }

    /// Starts the completion of a decided request: a new event of the same request, caller, route and policy.
    pub fn completion_of(decision: &Self) -> Self {
        Self {
            gateway: decision.gateway.clone(),
            tenant: decision.tenant.clone(),
            key_id: decision.key_id.clone(),
            client_addr: decision.client_addr.clone(),
            session_id: decision.session_id.clone(),
            prompt_hash: decision.prompt_hash.clone(),
            route: decision.route.clone(),
            model: decision.model.clone(),
            upstream: decision.upstream.clone(),
            decision: decision.decision,
            intended: decision.intended,
            severity: decision.severity,
            policy: decision.policy.clone(),
            policy_version: decision.policy_version.clone(),
            mode: decision.mode,
            ..Self::new(Kind::Completion, decision.request_id.clone())
        }
    }

    /// Sets the moment, in microseconds since 1970 (UTC).
    pub fn stamp(&mut self, time_us: i64) {
        self.time_us = time_us;
        self.time = rfc3339(time_us);
    }

    /// Whether this event is a decision that let the request through, so that a completion must follow.
    pub fn forwards(&self) -> bool {
        self.kind == Kind::Decision
            && matches!(self.decision, Some(Decision::Allow | Decision::Flag | Decision::Pseudonymize | Decision::Redact))
    }

    /// Returns the event with everything cut to its bound; `cut` says whether anything was.
    pub(crate) fn bounded(mut self) -> Self {
        self.schema = SCHEMA_VERSION;
        self.time = rfc3339(self.time_us);
        let mut cut = self.cut;
        for name in [
            &mut self.event_id,
            &mut self.request_id,
            &mut self.gateway,
            &mut self.tenant,
            &mut self.key_id,
            &mut self.client_addr,
            &mut self.session_id,
            &mut self.prompt_hash,
            &mut self.route,
            &mut self.model,
            &mut self.upstream,
            &mut self.policy,
            &mut self.policy_version,
            &mut self.outcome,
        ] {
            cut |= shorten(name, NAME_BYTES_MAX);
        }
        for text in [&mut self.redacted_prompt, &mut self.redacted_answer].into_iter().flatten() {
            cut |= shorten(text, REDACTED_BYTES_MAX);
        }
        for (names, names_max) in [(&mut self.failed_open, FAILED_OPEN_MAX), (&mut self.coverage_limits, COVERAGE_LIMITS_MAX)] {
            cut |= names.len() > names_max;
            names.truncate(names_max);
            cut |= names.iter_mut().fold(false, |cut, name| cut | shorten(name, NAME_BYTES_MAX));
        }
        cut |= self.change.as_mut().is_some_and(PolicyChange::bound);
        cut |= self.findings.len() > FINDINGS_MAX;
        self.findings.truncate(FINDINGS_MAX);
        for finding in &mut self.findings {
            cut |= finding.bound();
        }
        match &mut self.guard {
            // JSON has no NaN: a score that is no number would come back as no event at all.
            Some(Guard::Scored { score, .. }) if !score.is_finite() => {
                self.guard = Some(Guard::Unavailable { reason: "score_not_finite".into() });
            }
            Some(Guard::Scored { label, version, known, .. }) => {
                cut |= shorten(label, NAME_BYTES_MAX) | shorten(version, NAME_BYTES_MAX);
                // As above; the attack's id says enough.
                if let Some(known) = known {
                    cut |= shorten(&mut known.id, NAME_BYTES_MAX);
                    known.similarity = if known.similarity.is_finite() { known.similarity } else { 0.0 };
                }
            }
            Some(Guard::Unavailable { reason }) => cut |= shorten(reason, NAME_BYTES_MAX),
            Some(Guard::Skipped) | None => {}
        }
        self.cut = cut;
        self
    }
}

impl FindingRecord {
    /// Cuts the record to its bounds. Spans left out are no cut: `count` tells of them.
    fn bound(&mut self) -> bool {
        self.spans.truncate(SPANS_MAX);
        let spans = self.spans.iter_mut().fold(false, |cut, span| cut | shorten(&mut span.leaf, NAME_BYTES_MAX));
        shorten(&mut self.rule, NAME_BYTES_MAX) | shorten(&mut self.category, NAME_BYTES_MAX) | spans
    }
}

/// Cuts `text` to at most `bytes_max` bytes at a character boundary; says whether it had to.
pub(crate) fn shorten(text: &mut String, bytes_max: usize) -> bool {
    if text.len() <= bytes_max {
        return false;
    }
    let end = (0..=bytes_max).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    text.truncate(end);
    true
}

pub(crate) fn rfc3339(time_us: i64) -> String {
    // Out of the calendar's range only for a time nobody can have meant; the microseconds are kept as they are.
    jiff::Timestamp::from_microsecond(time_us).map_or_else(|_| String::new(), |time| format!("{time:.6}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_event_knows_its_id_and_its_time() {
        let event = Event::new(Kind::Decision, "r1");
        assert_eq!(uuid::Uuid::parse_str(&event.event_id).unwrap().get_version_num(), 7);
        let mut event = event;
        event.stamp(1_700_000_000_000_001);
        assert_eq!(event.time, "2023-11-14T22:13:20.000001Z");
        event.stamp(0);
        assert_eq!(event.time, "1970-01-01T00:00:00.000000Z");
        event.stamp(i64::MAX);
        assert_eq!(event.time, "", "a time outside the calendar is no panic");
    }

    #[test]
    fn names_are_cut_at_their_bound_and_at_a_character() {
        for (given, kept, cut) in [
            ("a".repeat(NAME_BYTES_MAX), NAME_BYTES_MAX, false),
            ("a".repeat(NAME_BYTES_MAX + 1), NAME_BYTES_MAX, true),
            // 256 is no multiple of three.
            ("中".repeat(100), 255, true),
            (String::new(), 0, false),
        ] {
            let event =
                Event { model: given.clone(), client_addr: given.clone(), route: given, ..Event::new(Kind::Decision, "r") }.bounded();
            assert_eq!((event.model.len(), event.client_addr.len(), event.route.len(), event.cut), (kept, kept, kept, cut));
        }
    }

    #[test]
    fn every_list_and_text_has_its_bound() {
        let span = Span { leaf: "/x".repeat(400), start: 0, end: 1 };
        let finding = FindingRecord {
            rule: "R".repeat(1000),
            category: "pii".into(),
            severity: Severity::High,
            direction: Direction::Request,
            action: Decision::Redact,
            count: 40,
            spans: vec![span; 40],
        };
        let event = Event {
            findings: vec![finding; 1000],
            failed_open: vec!["guard".repeat(100); 100],
            coverage_limits: vec!["decoding_budget".repeat(100); 100],
            redacted_prompt: Some("é".repeat(REDACTED_BYTES_MAX)),
            redacted_answer: Some("x".repeat(REDACTED_BYTES_MAX)),
            guard: Some(Guard::Scored {
                label: "l".repeat(1000),
                score: 0.5,
                version: "v".repeat(1000),
                known: Some(KnownAttack { id: "k".repeat(1000), similarity: f32::NAN }),
            }),
            ..Event::new(Kind::Decision, "r")
        }
        .bounded();
        assert!(event.cut);
        assert_eq!((event.findings.len(), event.findings[0].spans.len(), event.findings[0].count), (FINDINGS_MAX, SPANS_MAX, 40));
        assert_eq!((event.findings[0].rule.len(), event.findings[0].spans[0].leaf.len()), (NAME_BYTES_MAX, NAME_BYTES_MAX));
        assert_eq!((event.failed_open.len(), event.failed_open[0].len()), (FAILED_OPEN_MAX, NAME_BYTES_MAX));
        assert_eq!((event.coverage_limits.len(), event.coverage_limits[0].len()), (COVERAGE_LIMITS_MAX, NAME_BYTES_MAX));
        assert_eq!(event.redacted_prompt.map(|text| text.len()), Some(REDACTED_BYTES_MAX));
        assert_eq!(event.redacted_answer.map(|text| text.len()), Some(REDACTED_BYTES_MAX));
        let Some(Guard::Scored { label, version, known: Some(known), .. }) = event.guard else { panic!("{:?}", event.guard) };
        assert_eq!([label.len(), version.len(), known.id.len()], [NAME_BYTES_MAX; 3]);
        assert_eq!(known.similarity, 0.0);
    }

    #[test]
    fn sixteen_spans_of_many_are_no_cut() {
        let span = Span { leaf: "/messages/0/content".into(), start: 3, end: 9 };
        let finding = FindingRecord {
            rule: "EMAIL_ADDRESS".into(),
            category: "pii".into(),
            severity: Severity::Medium,
            direction: Direction::Request,
            action: Decision::Redact,
            count: 17,
            spans: vec![span; 17],
        };
        let event = Event { findings: vec![finding], ..Event::new(Kind::Decision, "r") }.bounded();
        assert_eq!((event.findings[0].spans.len(), event.cut), (SPANS_MAX, false));
    }

    #[test]
    fn a_score_that_is_no_number_is_recorded_as_unavailable() {
        for score in [f32::NAN, f32::INFINITY] {
            let guard = Some(Guard::Scored { label: "benign".into(), score, version: String::new(), known: None });
            let event = Event { guard, ..Event::new(Kind::Decision, "r") }.bounded();
            assert_eq!(event.guard, Some(Guard::Unavailable { reason: "score_not_finite".into() }));
        }
    }

    #[test]
    fn an_event_survives_json_and_the_unknown_is_left_out() {
        let mut event = Event::new(Kind::AuthFailure, "r1");
        let json = serde_json::to_string(&event).unwrap();
        let keys: Vec<String> = serde_json::from_str::<serde_json::Map<_, _>>(&json).unwrap().keys().cloned().collect();
        assert_eq!(keys, ["schema", "event_id", "kind", "time", "time_us", "request_id"]);
        assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), event);
        event.guard = Some(Guard::Scored { label: "injection".into(), score: 0.1, version: String::new(), known: None });
        event.latencies_us.total = Some(u64::MAX);
        event.tokens_source = Some(TokensSource::Estimated);
        let json = serde_json::to_string(&event).unwrap();
        assert!(json.contains(r#""guard":{"state":"scored","label":"injection","score":0.1}"#), "{json}");
        assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), event);
        let known = Some(KnownAttack { id: "acme-7".into(), similarity: 0.5 });
        event.guard = Some(Guard::Scored { label: "injection".into(), score: 0.5, version: "small-1".into(), known });
        let json = serde_json::to_string(&event).unwrap();
        assert!(json.contains(r#""score":0.5,"version":"small-1","known":{"id":"acme-7","similarity":0.5}}"#), "{json}");
        assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), event);
    }

    #[test]
    fn only_a_decision_that_lets_through_awaits_a_completion() {
        for (kind, decision, awaits) in [
            (Kind::Decision, Some(Decision::Allow), true),
            (Kind::Decision, Some(Decision::Flag), true),
            (Kind::Decision, Some(Decision::Pseudonymize), true),
            (Kind::Decision, Some(Decision::Redact), true),
            (Kind::Decision, Some(Decision::Block), false),
            (Kind::Decision, None, false),
            (Kind::Rejected, Some(Decision::Refused), false),
            (Kind::Completion, Some(Decision::Allow), false),
        ] {
            let event = Event { decision, ..Event::new(kind, "r") };
            assert_eq!(event.forwards(), awaits, "{kind:?} {decision:?}");
        }
    }
}
