//! The numbers of a report, and what each of them counts.
//!
//! *Requests* are the events that answer one: `decision`, `rejected`, `auth_failure`, `limit`; each request has exactly one. *Answers* are
//! the `completion` events, one for each request that was forwarded. Rows are in the order of what they count, greatest first, then of
//! their names, except where a field says otherwise. A name that is empty is one that the event does not have.

use serde::Serialize;

use crate::{Decision, Mode, Severity};

/// What happened in a period.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Report {
    /// Events of the period and the caller asked for, of every kind.
    pub events: u64,
    /// Requests.
    pub requests: u64,
    /// Answers.
    pub answers: u64,
    /// Events by kind, each kind once, in the order of their declaration.
    pub kinds: Vec<Count>,
    /// Events of which something was cut to its bound: their findings may be more than counted.
    pub cut: u64,
    /// Moment of the first event, microseconds since 1970.
    pub first_us: Option<i64>,
    /// Moment of the last.
    pub last_us: Option<i64>,
    /// Gateways, with their events.
    pub gateways: Vec<Count>,
    /// Requests and answers by decision, each decision once, in the order of their declaration.
    pub decisions: Vec<Decided>,
    /// Answers by how they ended.
    pub outcomes: Vec<Count>,
    /// By severity, each once, the worst first.
    pub severities: Vec<Severe>,
    /// Findings by category.
    pub categories: Vec<Category>,
    /// Findings by rule.
    pub rules: Vec<Rule>,
    /// By the model asked for.
    pub models: Vec<Model>,
    /// The ten callers with the most high-risk events; see [`Caller`].
    pub callers: Vec<Caller>,
    /// Callers that had a request.
    pub callers_total: u64,
    /// High-risk events of all callers.
    pub high_risk: u64,
    /// Requests refused for a limit, by limit and caller.
    pub limits: Vec<CallerLimit>,
    /// Requests refused for their key, by reason.
    pub auth_failures: Vec<Count>,
    /// The ten addresses with the most of them.
    pub auth_addresses: Vec<Address>,
    /// Controls that failed and let requests pass.
    pub failed_open: Vec<FailedOpen>,
    /// What the guard model said of decided requests.
    pub guard: Guarded,
    /// Latencies by stage, in the order of the way of a request.
    pub stages: Vec<Stage>,
    /// Tokens, of answers.
    pub tokens: Tokens,
    /// Versions of policies, in the order of their first request.
    pub policies: Vec<PolicyPeriod>,
    /// Days (UTC) with requests, in their order.
    pub days: Vec<Day>,
}

/// A name and how often it was met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Count {
    /// The name.
    pub name: String,
    /// How often.
    pub count: u64,
}

/// One decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decided {
    /// The decision.
    pub decision: Decision,
    /// Requests about which it was taken, before they were forwarded.
    pub requests: u64,
    /// Answers about which it was taken over both ways: the strongest of request and answer.
    pub answers: u64,
    /// Requests about which `mode: enforce` would have taken it.
    pub intended: u64,
}

/// One severity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Severe {
    /// The severity.
    pub severity: Severity,
    /// Findings of it.
    pub findings: u64,
    /// Requests whose worst finding is of it.
    pub requests: u64,
    /// Answers whose own worst finding is of it.
    pub answers: u64,
}

/// One category of findings.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Category {
    /// Its name.
    pub category: String,
    /// Findings in requests.
    pub in_requests: u64,
    /// Findings in answers.
    pub in_answers: u64,
    /// Events with at least one of them.
    pub events: u64,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// Its id.
    pub rule: String,
    /// Its category, as the latest event says; of several at that moment the greatest.
    pub category: String,
    /// Its severity, likewise.
    pub severity: Severity,
    /// Findings in requests.
    pub in_requests: u64,
    /// Findings in answers.
    pub in_answers: u64,
    /// Events with at least one of them.
    pub events: u64,
    /// Findings for which the policy says `allow`, `flag`, `pseudonymize`, `redact`, `block`, in this order.
    pub actions: [u64; 5],
}

/// One model, by the name that clients asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Model {
    /// The name.
    pub model: String,
    /// Requests.
    pub requests: u64,
    /// Requests that were blocked for their text, and answers that were.
    pub blocked: u64,
    /// Requests refused for another reason.
    pub refused: u64,
    /// Answers.
    pub answers: u64,
    /// Tokens of prompts.
    pub tokens_in: u64,
    /// Tokens of answers.
    pub tokens_out: u64,
}

/// One caller: a key of a tenant. Callers without a known key are in no row.
///
/// An event is *high-risk* when its worst finding is high or critical, or when its text was blocked or would have been in
/// `mode: enforce`. Callers are in the order of their high-risk events, then critical ones, then requests, then their names.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Caller {
    /// The tenant.
    pub tenant: String,
    /// The id of the key.
    pub key_id: String,
    /// Requests.
    pub requests: u64,
    /// High-risk requests and answers.
    pub high_risk: u64,
    /// Requests and answers whose worst finding is critical.
    pub critical: u64,
    /// Requests and answers that were blocked for their text.
    pub blocked: u64,
}

/// One limit of one caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CallerLimit {
    /// Which limit.
    pub limit: String,
    /// The tenant.
    pub tenant: String,
    /// The id of the key.
    pub key_id: String,
    /// Requests refused for it.
    pub count: u64,
}

/// Failures to authenticate from one address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Address {
    /// The address of the peer, without its port.
    pub address: String,
    /// Failures.
    pub count: u64,
}

/// One control that failed open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FailedOpen {
    /// Its name.
    pub control: String,
    /// Requests it let pass.
    pub requests: u64,
    /// Minutes (UTC) in which it let at least one pass.
    pub minutes: u64,
    /// Moment of the first, microseconds since 1970.
    pub first_us: i64,
    /// Moment of the last.
    pub last_us: i64,
}

/// What the guard model said of decided requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Guarded {
    /// Was not asked.
    pub skipped: u64,
    /// Gave a score.
    pub scored: u64,
    /// Was asked and gave none.
    pub unavailable: u64,
}

/// Latencies of one stage, microseconds. Percentiles are upper bounds, see [`Histogram`](crate::report::Histogram).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stage {
    /// The stage.
    pub stage: &'static str,
    /// Requests that have a time for it.
    pub count: u64,
    /// Half of them took no longer.
    pub p50: u64,
    /// 95 of a hundred.
    pub p95: u64,
    /// 99 of a hundred.
    pub p99: u64,
    /// The longest, exactly.
    pub max: u64,
}

/// Tokens of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Tokens {
    /// Of prompts, as the upstream says.
    pub measured_in: u64,
    /// Of answers, as the upstream says.
    pub measured_out: u64,
    /// Of prompts, as the gateway estimates.
    pub estimated_in: u64,
    /// Of answers, as the gateway estimates.
    pub estimated_out: u64,
    /// Answers without a count.
    pub unknown: u64,
}

/// A version of a policy, and when requests were decided by it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PolicyPeriod {
    /// The policy.
    pub policy: String,
    /// Its version.
    pub version: String,
    /// Whether it acted.
    pub mode: Option<Mode>,
    /// Moment of the first request, microseconds since 1970.
    pub first_us: i64,
    /// Moment of the last.
    pub last_us: i64,
    /// Requests decided by it.
    pub requests: u64,
}

/// One day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Day {
    /// The day, `2026-11-01`.
    pub day: String,
    /// Requests by decision, in the order of [`Report::decisions`].
    pub decisions: [u64; 6],
    /// Answers that were blocked.
    pub blocked_answers: u64,
}
