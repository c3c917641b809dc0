//! The count itself: events in, one by one and in any order, a report out. Memory is bounded whatever the events say.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;

use super::figures::{
    Address, Caller, CallerLimit, Category, Count, Day, Decided, FailedOpen, Guarded, Model, PolicyPeriod, Report, Rule, Severe, Stage,
};
use super::names::Names;
use super::period::DAY_US;
use super::{Histogram, Scope};
use crate::event::rfc3339;
use crate::{Decision, Event, FindingRecord, Guard, Kind, Latencies, Mode, Severity, TokensSource};

/// Callers and addresses named.
const TOP: usize = 10;
const MINUTE_US: i64 = 60_000_000;
pub(super) type Time = fn(&Latencies) -> Option<u64>;
/// The stages in the order of a request's way, with their times.
pub(super) const STAGES: [(&str, Time); 13] = [
    ("receive", |times| times.receive),
    ("authenticate", |times| times.authenticate),
    ("limit", |times| times.limit),
    ("parse", |times| times.parse),
    ("screen_rules", |times| times.screen_rules),
    ("screen_model", |times| times.screen_model),
    ("decide", |times| times.decide),
    ("record", |times| times.record),
    ("connect", |times| times.connect),
    ("first_byte", |times| times.first_byte),
    ("upstream", |times| times.upstream),
    ("screen_back", |times| times.screen_back),
    ("total", |times| times.total),
];

/// A count under way.
#[derive(Debug)]
pub struct Tally {
    scope: Scope,
    pub(super) report: Report,
    pub(super) kinds: [u64; Kind::ALL.len()],
    /// By decision: of requests, of answers, intended.
    pub(super) decisions: [[u64; 3]; Decision::ALL.len()],
    /// By severity: findings, requests, answers.
    pub(super) severities: [[u64; 3]; Severity::ALL.len()],
    pub(super) gateways: Names<String, u64>,
    pub(super) outcomes: Names<String, u64>,
    pub(super) categories: Names<String, Category>,
    pub(super) rules: Names<String, RuleRow>,
    pub(super) models: Names<String, Model>,
    pub(super) callers: Names<(String, String), Caller>,
    pub(super) limits: Names<(String, String, String), u64>,
    pub(super) auth_failures: Names<String, u64>,
    pub(super) auth_addresses: Names<String, u64>,
    pub(super) failed_open: Names<String, OpenRow>,
    pub(super) stages: [Histogram; STAGES.len()],
    pub(super) policies: Names<(String, String, Option<&'static str>), PolicyRow>,
    /// By day since 1970: requests by decision, and blocked answers.
    pub(super) days: BTreeMap<i64, ([u64; Decision::ALL.len()], u64)>,
}

#[derive(Debug, Default)]
pub(super) struct RuleRow {
    /// Moment, severity and category of the latest event; of several at that moment the greatest.
    last: Option<(i64, Severity, String)>,
    pub(super) in_requests: u64,
    pub(super) in_answers: u64,
    pub(super) events: u64,
    pub(super) actions: [u64; 5],
}

#[derive(Debug, Default)]
pub(super) struct OpenRow {
    pub(super) requests: u64,
    minutes: HashSet<i64>,
    /// Minutes that were counted elsewhere.
    pub(super) minutes_counted: u64,
    pub(super) span: Span,
}

#[derive(Debug, Default)]
pub(super) struct PolicyRow {
    pub(super) requests: u64,
    pub(super) span: Span,
}

/// First and last moment.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Span(Option<(i64, i64)>);

impl Span {
    pub(super) fn add(&mut self, time_us: i64) {
        let (first, last) = self.0.unwrap_or((time_us, time_us));
        self.0 = Some((first.min(time_us), last.max(time_us)));
    }

    fn both(self) -> (i64, i64) {
        self.0.unwrap_or_default()
    }
}

impl Tally {
    /// Begins to count the events of `scope`.
    pub fn new(scope: Scope) -> Self {
        Self {
            scope,
            report: Report::default(),
            kinds: [0; _],
            decisions: [[0; 3]; _],
            severities: [[0; 3]; _],
            gateways: Names::new(),
            outcomes: Names::new(),
            categories: Names::new(),
            rules: Names::new(),
            models: Names::new(),
            callers: Names::new(),
            limits: Names::new(),
            auth_failures: Names::new(),
            auth_addresses: Names::new(),
            failed_open: Names::new(),
            stages: std::array::from_fn(|_| Histogram::default()),
            policies: Names::new(),
            days: BTreeMap::new(),
        }
    }

    /// Counts an event; one that is not of the scope is passed over.
    pub fn add(&mut self, event: &Event) {
        let Scope { period, tenant, key_id } = &self.scope;
        let asked = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|wanted| wanted == is);
        if !period.contains(event.time_us) || !asked(tenant, &event.tenant) || !asked(key_id, &event.key_id) {
            return;
        }
        let report = &mut self.report;
        report.events += 1;
        report.cut += u64::from(event.cut);
        report.first_us = Some(report.first_us.unwrap_or(event.time_us).min(event.time_us));
        report.last_us = Some(report.last_us.unwrap_or(event.time_us).max(event.time_us));
        self.kinds[event.kind as usize] += 1;
        *self.gateways.row(event.gateway.as_str()) += 1;
        if let Some(count) = event.unrecorded {
            self.opened("audit", count, event.time_us);
        }
        // What the gateway did, and no request.
        if matches!(event.kind, Kind::Admin | Kind::PolicyChange | Kind::Alert) {
            return;
        }
        for (histogram, (_, time)) in self.stages.iter_mut().zip(STAGES) {
            time(&event.latencies_us).into_iter().for_each(|time| histogram.add(time));
        }
        self.findings(event);
        if event.kind == Kind::Completion {
            self.answer(event)
        } else {
            self.request(event)
        }
        self.caller(event);
    }

    fn request(&mut self, event: &Event) {
        self.report.requests += 1;
        let model = self.models.row(event.model.as_str());
        model.requests += 1;
        model.blocked += u64::from(event.decision == Some(Decision::Block));
        model.refused += u64::from(event.decision == Some(Decision::Refused));
        let (decisions, _) = self.days.entry(event.time_us.div_euclid(DAY_US)).or_default();
        if let Some(decision) = event.decision {
            self.decisions[decision as usize][0] += 1;
            decisions[decision as usize] += 1;
        }
        if let Some(intended) = event.intended {
            self.decisions[intended as usize][2] += 1;
        }
        match event.kind {
            Kind::Limit => {
                *self.limits.row(&(event.outcome.clone(), event.tenant.clone(), event.key_id.clone())) += 1;
            }
            Kind::AuthFailure => {
                *self.auth_failures.row(event.outcome.as_str()) += 1;
                *self.auth_addresses.row(address(&event.client_addr).as_str()) += 1;
            }
            Kind::Decision => self.decided(event),
            Kind::Rejected | Kind::Completion | Kind::Admin | Kind::PolicyChange | Kind::Alert => {}
        }
    }

    fn decided(&mut self, event: &Event) {
        let Guarded { skipped, scored, unavailable } = &mut self.report.guard;
        match &event.guard {
            Some(Guard::Scored { .. }) => *scored += 1,
            Some(Guard::Unavailable { .. }) => *unavailable += 1,
            Some(Guard::Skipped) | None => *skipped += 1,
        }
        let policy = self.policies.row(&(event.policy.clone(), event.policy_version.clone(), event.mode.map(Mode::as_str)));
        policy.requests += 1;
        policy.span.add(event.time_us);
        for (index, control) in event.failed_open.iter().enumerate() {
            if event.failed_open[..index].contains(control) {
                continue;
            }
            self.opened(control, 1, event.time_us);
        }
    }

    /// Counts requests that were let through without a control.
    fn opened(&mut self, control: &str, requests: u64, time_us: i64) {
        let open = self.failed_open.row(control);
        open.requests += requests;
        open.minutes.insert(time_us.div_euclid(MINUTE_US));
        open.span.add(time_us);
    }

    fn answer(&mut self, event: &Event) {
        self.report.answers += 1;
        *self.outcomes.row(event.outcome.as_str()) += 1;
        let model = self.models.row(event.model.as_str());
        model.answers += 1;
        if let Some(decision) = event.decision {
            self.decisions[decision as usize][1] += 1;
        }
        if is_blocked(event) {
            model.blocked += 1;
            self.days.entry(event.time_us.div_euclid(DAY_US)).or_default().1 += 1;
        }
        let (prompt, answer) = (event.tokens_in.unwrap_or_default(), event.tokens_out.unwrap_or_default());
        model.tokens_in = model.tokens_in.saturating_add(prompt);
        model.tokens_out = model.tokens_out.saturating_add(answer);
        let tokens = &mut self.report.tokens;
        let (to_in, to_out) = match event.tokens_source {
            Some(TokensSource::Measured) => (&mut tokens.measured_in, &mut tokens.measured_out),
            _ => (&mut tokens.estimated_in, &mut tokens.estimated_out),
        };
        *to_in = to_in.saturating_add(prompt);
        *to_out = to_out.saturating_add(answer);
        tokens.unknown += u64::from(event.tokens_in.is_none() && event.tokens_out.is_none());
    }

    fn findings(&mut self, event: &Event) {
        let records = &event.findings;
        for (index, finding) in records.iter().enumerate() {
            let FindingRecord { rule, category, severity, direction, action, count, .. } = finding;
            let count = u64::from(*count);
            // A rule has a record for each direction and action: its event counts once.
            let first = |same: &dyn Fn(&FindingRecord) -> bool| u64::from(!records[..index].iter().any(same));
            let (in_requests, in_answers) = match direction {
                crate::Direction::Request => (count, 0),
                crate::Direction::Response => (0, count),
            };
            let row = self.rules.row(rule.as_str());
            row.last_is(event.time_us, *severity, category);
            row.in_requests += in_requests;
            row.in_answers += in_answers;
            row.events += first(&|other| other.rule == *rule);
            if let Some(actions) = row.actions.get_mut(*action as usize) {
                *actions += count;
            }
            let row = self.categories.row(category.as_str());
            row.in_requests += in_requests;
            row.in_answers += in_answers;
            row.events += first(&|other| other.category == *category);
            self.severities[*severity as usize][0] += count;
        }
        if let Some(worst) = worst(event) {
            self.severities[worst as usize][if event.kind == Kind::Completion { 2 } else { 1 }] += 1;
        }
    }

    fn caller(&mut self, event: &Event) {
        let (high_risk, critical) = (is_high_risk(event), worst(event) == Some(Severity::Critical));
        self.report.high_risk += u64::from(high_risk);
        if event.key_id.is_empty() {
            return;
        }
        let caller = self.callers.row(&(event.tenant.clone(), event.key_id.clone()));
        caller.requests += u64::from(event.kind != Kind::Completion);
        caller.high_risk += u64::from(high_risk);
        caller.critical += u64::from(critical);
        caller.blocked += u64::from(is_blocked(event));
    }

    /// Ends the count.
    pub fn finish(self) -> Report {
        let mut report = self.report;
        let counts = |names: Names<String, u64>| {
            let mut counts: Vec<Count> = named(names).into_iter().map(|(name, count)| Count { name, count }).collect();
            counts.sort_by_key(|count| std::cmp::Reverse(count.count));
            counts
        };
        report.kinds = Kind::ALL.iter().zip(self.kinds).map(|(kind, count)| Count { name: kind.as_str().into(), count }).collect();
        report.decisions = Decision::ALL
            .iter()
            .zip(self.decisions)
            .map(|(decision, [requests, answers, intended])| Decided { decision: *decision, requests, answers, intended })
            .collect();
        report.severities = Severity::ALL
            .iter()
            .zip(self.severities)
            .rev()
            .map(|(severity, [findings, requests, answers])| Severe { severity: *severity, findings, requests, answers })
            .collect();
        report.gateways = counts(self.gateways);
        report.outcomes = counts(self.outcomes);
        report.auth_failures = counts(self.auth_failures);
        let addresses = counts(self.auth_addresses).into_iter().take(TOP);
        report.auth_addresses = addresses.map(|Count { name, count }| Address { address: name, count }).collect();
        report.categories = named(self.categories).into_iter().map(|(category, row)| Category { category, ..row }).collect();
        report.categories.sort_by_key(|row| std::cmp::Reverse(row.in_requests + row.in_answers));
        report.rules = named(self.rules).into_iter().map(|(rule, row)| row.named(rule)).collect();
        report.rules.sort_by_key(|row| std::cmp::Reverse(row.in_requests + row.in_answers));
        report.models = named(self.models).into_iter().map(|(model, row)| Model { model, ..row }).collect();
        report.models.sort_by_key(|row| std::cmp::Reverse(row.requests.max(row.answers)));
        let (callers, _) = self.callers.finish();
        report.callers_total = callers.len() as u64;
        report.callers = callers.into_iter().map(|((tenant, key_id), row)| Caller { tenant, key_id, ..row }).collect();
        report.callers.sort_by_key(|row| std::cmp::Reverse((row.high_risk, row.critical, row.requests)));
        report.callers.retain(|row| row.high_risk > 0);
        report.callers.truncate(TOP);
        let (limits, others) = self.limits.finish();
        let others = others.map(|count| ((OTHERS.into(), OTHERS.into(), OTHERS.into()), count));
        let limits = limits.into_iter().chain(others);
        report.limits = limits.map(|((limit, tenant, key_id), count)| CallerLimit { limit, tenant, key_id, count }).collect();
        report.limits.sort_by_key(|row| std::cmp::Reverse(row.count));
        report.failed_open = named(self.failed_open).into_iter().map(|(control, row)| row.named(control)).collect();
        report.failed_open.sort_by_key(|row| std::cmp::Reverse(row.requests));
        let stages = STAGES.iter().zip(&self.stages).filter(|(_, times)| times.count() > 0);
        report.stages = stages.map(|((stage, _), times)| stage_row(stage, times)).collect();
        let (policies, _) = self.policies.finish();
        report.policies = policies.into_iter().map(policy_period).collect();
        report.policies.sort_by_key(|row| row.first_us);
        report.days =
            self.days.into_iter().map(|(day, (decisions, blocked_answers))| Day { day: date(day), decisions, blocked_answers }).collect();
        report
    }
}

/// What stands for the names beyond the bound.
const OTHERS: &str = "(others)";

fn named<V: Default>(names: Names<String, V>) -> Vec<(String, V)> {
    let (mut rows, others) = names.finish();
    rows.extend(others.map(|others| (OTHERS.to_owned(), others)));
    rows
}

impl RuleRow {
    fn named(self, rule: String) -> Rule {
        let Self { last, in_requests, in_answers, events, actions } = self;
        let (_, severity, category) = last.unwrap_or((0, Severity::Low, String::new()));
        Rule { rule, category, severity, in_requests, in_answers, events, actions }
    }

    /// Notes what an event says the rule's severity and category are.
    pub(super) fn last_is(&mut self, time_us: i64, severity: Severity, category: &str) {
        let later = |(time, worst, name): &(i64, Severity, String)| (time_us, severity, category) > (*time, *worst, name);
        if self.last.as_ref().is_none_or(later) {
            self.last = Some((time_us, severity, category.to_owned()));
        }
    }
}

impl OpenRow {
    fn named(self, control: String) -> FailedOpen {
        let (first_us, last_us) = self.span.both();
        FailedOpen { control, requests: self.requests, minutes: self.minutes.len() as u64 + self.minutes_counted, first_us, last_us }
    }
}

fn policy_period(((policy, version, mode), row): ((String, String, Option<&'static str>), PolicyRow)) -> PolicyPeriod {
    let (first_us, last_us) = row.span.both();
    let mode = mode.and_then(|mode| mode.parse().ok());
    PolicyPeriod { policy, version, mode, first_us, last_us, requests: row.requests }
}

fn stage_row(stage: &'static str, times: &Histogram) -> Stage {
    let [p50, p95, p99] = [50, 95, 99].map(|percent| times.percentile(percent));
    Stage { stage, count: times.count(), p50, p95, p99, max: times.max() }
}

/// The worst finding of this event itself: a completion repeats its request's severity.
fn worst(event: &Event) -> Option<Severity> {
    event.findings.iter().map(|finding| finding.severity).max().or(event.severity.filter(|_| event.kind != Kind::Completion))
}

fn is_blocked(event: &Event) -> bool {
    if event.kind == Kind::Completion { event.outcome == "blocked_output" } else { event.decision == Some(Decision::Block) }
}

fn is_high_risk(event: &Event) -> bool {
    let would = |finding: &FindingRecord| finding.action == Decision::Block;
    // A completion repeats what its request would have met; what is its own are its findings.
    let intended = event.kind != Kind::Completion && event.intended == Some(Decision::Block);
    is_blocked(event) || intended || event.findings.iter().any(would) || worst(event) >= Some(Severity::High)
}

/// The address of a peer without its port, which is another for each connection.
pub(super) fn address(peer: &str) -> String {
    peer.parse::<SocketAddr>().map_or_else(|_| peer.to_owned(), |peer| peer.ip().to_string())
}

fn date(day: i64) -> String {
    rfc3339(day.saturating_mul(DAY_US)).chars().take(10).collect()
}
