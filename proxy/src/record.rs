//! One request's page in the audit trail: opened when the head is read, written at the decision and at the end, whatever the end.
//!
//! Dropping a [`Ledger`] that still owes an event writes it: a client that left, a task that was cancelled, a panic. So every
//! request leaves exactly one decision (or refusal), and exactly one completion if it was forwarded.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use pingora::http::RequestHeader;
use portcullis_audit::{
    Commit, Decision as AuditDecision, Direction as AuditDirection, Event, FindingRecord, Guard, Kind, KnownAttack, Mode as AuditMode,
    SPANS_MAX, Severity as AuditSeverity, Span, Store, TokensSource, crash,
};
use portcullis_policies::{
    Action, CoverageLimit, Decision, Direction, Finding, KNOWN_ATTACK_SEVERITY, Mode, ModelSignal, Policy, Severity,
};

use crate::dialect::leaves::Leaf;
use crate::metrics::{Metrics, Stage};
use crate::named;
use crate::reply::No;
use crate::rollout::Tally;

/// What an answer's usage says, or our estimate of it.
#[derive(Clone, Copy, Debug)]
pub struct Tokens {
    /// Tokens of the prompt.
    pub prompt: u64,
    /// Tokens of the answer.
    pub answer: u64,
    /// Whether the upstream said so.
    pub measured: bool,
}

/// Names the session a request belongs to; it goes into the record and no further.
const SESSION_HEADER: &str = "x-session-id";
/// Category of the findings that say that a text comes near a known attack. Their rules are `known:<id>`.
pub const KNOWN_ATTACK: &str = "known_attack";
/// Longest name of a session that is kept, in bytes; longer ones are none.
const SESSION_BYTES_MAX: usize = 128;

/// The page.
pub struct Ledger {
    store: Store,
    metrics: Arc<Metrics>,
    /// What is known so far; becomes the decision event.
    pub event: Event,
    completion: Option<Event>,
    findings: Findings,
    tally: Option<Arc<Tally>>,
    route: &'static str,
    began: Instant,
    done: bool,
}

impl Ledger {
    /// Opens a page for a new request.
    pub fn open(store: Store, metrics: Arc<Metrics>, request_id: &str, client_addr: String) -> Self {
        metrics.in_flight.inc();
        let mut event = Event::new(Kind::Rejected, request_id);
        event.client_addr = client_addr;
        Self {
            store,
            metrics,
            event,
            completion: None,
            findings: Findings::default(),
            tally: None,
            route: "none",
            began: Instant::now(),
            done: false,
        }
    }

    /// Notes the route.
    pub fn route(&mut self, route: &'static str) {
        self.route = route;
        route.clone_into(&mut self.event.route);
    }

    /// Notes what the client calls its session, as far as the policy lets it be kept.
    pub fn session(&mut self, head: &RequestHeader, policy: &Policy) {
        let given = head.headers.get(SESSION_HEADER).and_then(|value| value.to_str().ok());
        if let Some(id) = given.filter(|id| id.len() <= SESSION_BYTES_MAX && id.bytes().all(|byte| byte.is_ascii_graphic())) {
            named::kept(policy, id).clone_into(&mut self.event.session_id);
        }
    }

    /// Notes the fingerprint of the prompt.
    pub fn fingerprint(&mut self, leaves: &[Leaf]) {
        let texts = leaves.iter().map(|leaf| (leaf.role.as_str(), leaf.text.as_str()));
        self.event.prompt_hash = self.store.fingerprint().of(texts);
    }

    /// Notes the policy in force.
    pub fn policy(&mut self, policy: &Policy) {
        policy.name().clone_into(&mut self.event.policy);
        policy.version().clone_into(&mut self.event.policy_version);
        self.event.mode = Some(match policy.mode() {
            Mode::Enforce => AuditMode::Enforce,
            Mode::Monitor => AuditMode::Monitor,
        });
        self.event.client_addr = policy.client_address().kept(&self.event.client_addr);
    }

    /// Notes where the decision is counted for its version of the policy.
    pub fn tally(&mut self, tally: &Arc<Tally>) {
        self.tally = Some(Arc::clone(tally));
    }

    /// Notes that a text was not screened in every form. Counted once for a request.
    pub fn limited(&mut self, limit: CoverageLimit) {
        if !self.event.coverage_limits.iter().any(|known| known == limit.as_str()) {
            self.event.coverage_limits.push(limit.as_str().to_owned());
            self.metrics.coverage_limit(limit);
        }
    }

    /// Notes what was found in one text.
    pub fn found(&mut self, direction: Direction, pointer: &str, findings: &[Finding]) {
        for finding in findings {
            if finding.rule.is_canary() {
                self.metrics.canaries.inc();
                let Event { request_id, tenant, key_id, model, .. } = &self.event;
                tracing::error!(request_id, tenant, key_id, model, rule = finding.rule.id, "an answer holds a canary token");
            }
            self.findings.add(direction, pointer, finding);
        }
    }

    /// Notes that one text comes near a known attack, and what the policy says to that. The whole text is the place.
    pub fn found_known(&mut self, leaf: &Leaf, id: &str, said: Action) {
        self.findings.add_known(leaf, id, said);
    }

    /// Times `work` and notes it under `stage`.
    pub fn timed<T>(&mut self, stage: Stage, work: impl FnOnce(&mut Self) -> T) -> T {
        let began = Instant::now();
        let done = work(self);
        self.took(stage, began);
        done
    }

    /// Notes a stage that began at `began` and ends now. Several times add up.
    pub fn took(&mut self, stage: Stage, began: Instant) {
        let took = began.elapsed();
        self.metrics.stage(stage, took);
        let event = self.completion.as_mut().unwrap_or(&mut self.event);
        let times = &mut event.latencies_us;
        let slot = match stage {
            Stage::Receive => &mut times.receive,
            Stage::Parse => &mut times.parse,
            Stage::Rules => &mut times.screen_rules,
            Stage::Guard => &mut times.screen_model,
            Stage::Record => &mut times.record,
            Stage::FirstByte => &mut times.first_byte,
            Stage::ScreenBack => &mut times.screen_back,
            Stage::Total => &mut times.total,
        };
        *slot = Some(slot.unwrap_or(0) + u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// Writes the decision event. If the request goes on, a completion is owed from now on.
    pub fn decide(&mut self, decision: &Decision, signal: &ModelSignal, status: Option<u16>) -> Commit {
        self.event.kind = Kind::Decision;
        self.event.direction = Some(AuditDirection::Request);
        self.event.decision = Some(action(decision.action));
        self.event.intended = Some(action(decision.intended));
        self.event.severity = decision.severity.map(severity);
        self.event.status = status;
        self.event.guard = Some(match signal {
            ModelSignal::Skipped => Guard::Skipped,
            ModelSignal::Unavailable { reason } => Guard::Unavailable { reason: reason.clone() },
            ModelSignal::Scored { label, score, version, known } => Guard::Scored {
                label: label.clone(),
                score: *score,
                version: version.clone(),
                known: known.as_ref().map(|known| KnownAttack { id: known.id.clone(), similarity: known.similarity }),
            },
        });
        if decision.failed_open {
            self.event.failed_open.push("guard".to_owned());
            self.metrics.failed_open("guard");
        }
        self.event.findings = self.findings.take(&self.metrics);
        let refused = decision.action == Action::Block;
        if let (Some(tally), Some(bytes)) = (&self.tally, self.event.text_bytes) {
            let micros = self.event.latencies_us.screen_rules.unwrap_or_default();
            tally.count(refused, bytes, micros);
            self.metrics.decided(&tally.policy, tally.track.as_str(), action(decision.action).as_str(), micros);
        }
        if refused {
            "blocked".clone_into(&mut self.event.outcome);
        } else {
            self.completion = Some(Event::completion_of(&self.event));
        }
        let commit = self.store.record(self.event.clone());
        if refused {
            self.close("blocked");
        }
        commit
    }

    /// Writes the event of a request that was refused before any decision about its content.
    pub fn refuse(&mut self, no: &No) -> Option<Commit> {
        if self.done || self.completion.is_some() {
            return None;
        }
        let answer = no.answer();
        self.event.kind = match no {
            No::BadKey => Kind::AuthFailure,
            No::Limit { .. } => Kind::Limit,
            _ => Kind::Rejected,
        };
        self.event.decision = Some(AuditDecision::Refused);
        self.event.status = Some(answer.status);
        self.event.outcome = match no {
            No::Limit { name, .. } => (*name).to_owned(),
            _ => answer.code.to_owned(),
        };
        let outcome = if matches!(no, No::Limit { .. }) { "limited" } else { answer.code };
        let commit = self.store.record(self.event.clone());
        self.close(outcome);
        Some(commit)
    }

    /// The completion under way, once the request is forwarded.
    pub fn completion(&mut self) -> Option<&mut Event> {
        self.completion.as_mut()
    }

    /// Writes the completion event; `outcome` is one of a closed set of words.
    pub fn complete(&mut self, outcome: &'static str, status: Option<u16>, tokens: Option<Tokens>) {
        self.took(Stage::Total, self.began);
        let Some(mut event) = self.completion.take() else { return };
        // Derived from the moment of its end, not of its beginning.
        event.stamp(jiff::Timestamp::now().as_microsecond());
        outcome.clone_into(&mut event.outcome);
        event.status = status;
        event.direction = Some(AuditDirection::Response);
        let in_force = self.findings.in_force;
        event.findings = self.findings.take(&self.metrics);
        raise(&mut event, in_force, outcome == "blocked_output");
        event.severity = event.severity.max(event.findings.iter().map(|finding| finding.severity).max());
        if let Some(tokens) = tokens {
            event.tokens_in = Some(tokens.prompt);
            event.tokens_out = Some(tokens.answer);
            event.tokens_source = Some(if tokens.measured { TokensSource::Measured } else { TokensSource::Estimated });
            self.metrics.tokens(tokens.prompt, tokens.answer);
        }
        crash::point("before_completion");
        // Durable soon after; the decision, which is what an answer waits for, already is.
        drop(self.store.record(event));
        crash::point("after_completion");
        self.close(outcome);
    }

    /// Whether the caller is not known (yet).
    pub fn is_strangers(&self) -> bool {
        self.event.key_id.is_empty()
    }

    /// Leaves the request off the record; only for callers without a key who ask too often.
    pub fn forget(&mut self, outcome: &'static str) {
        self.close(outcome);
    }

    fn close(&mut self, outcome: &'static str) {
        if !std::mem::replace(&mut self.done, true) {
            self.metrics.request(self.route, outcome);
            // The audit trail is the record of requests; a line each is for looking on while something is wrong.
            tracing::debug!(
                request_id = %self.event.request_id,
                route = self.route,
                outcome,
                tenant = %self.event.tenant,
                key_id = %self.event.key_id,
                total_us = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX),
                "request"
            );
            self.metrics.in_flight.dec();
        }
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        if self.completion.is_some() {
            self.complete("abandoned", None, None);
        } else {
            // The client left before it had sent a whole request.
            self.event.decision = Some(AuditDecision::Refused);
            "client_gone".clone_into(&mut self.event.outcome);
            drop(self.store.record(self.event.clone()));
            self.close("client_gone");
        }
    }
}

/// Findings by rule, direction and action.
#[derive(Default)]
struct Findings {
    records: BTreeMap<(String, &'static str, Action), FindingRecord>,
    /// The strongest action carried out, where the policy enforces.
    in_force: Option<Action>,
}

impl Findings {
    fn add(&mut self, direction: Direction, pointer: &str, finding: &Finding) {
        self.in_force = self.in_force.max(Some(finding.in_force()));
        let key = (finding.rule.id.clone(), direction.as_str(), finding.action);
        let record = self.records.entry(key).or_insert_with(|| FindingRecord {
            rule: finding.rule.id.clone(),
            category: finding.rule.category.as_str().to_owned(),
            severity: severity(finding.rule.severity),
            direction: match direction {
                Direction::Request => AuditDirection::Request,
                Direction::Response => AuditDirection::Response,
            },
            action: action(finding.action),
            count: 0,
            spans: Vec::new(),
        });
        record.count += 1;
        if record.spans.len() < SPANS_MAX {
            record.spans.push(Span { leaf: pointer.to_owned(), start: finding.span.start as u64, end: finding.span.end as u64 });
        }
    }

    fn add_known(&mut self, leaf: &Leaf, id: &str, said: Action) {
        self.in_force = self.in_force.max(Some(said));
        // No rule of a pack has a colon in its id.
        let rule = format!("known:{id}");
        let record = self.records.entry((rule.clone(), Direction::Request.as_str(), said)).or_insert_with(|| FindingRecord {
            rule,
            category: KNOWN_ATTACK.to_owned(),
            severity: severity(KNOWN_ATTACK_SEVERITY),
            direction: AuditDirection::Request,
            action: action(said),
            count: 0,
            spans: Vec::new(),
        });
        record.count += 1;
        if record.spans.len() < SPANS_MAX {
            record.spans.push(Span { leaf: leaf.pointer.clone(), start: 0, end: leaf.text.len() as u64 });
        }
    }

    fn take(&mut self, metrics: &Metrics) -> Vec<FindingRecord> {
        self.in_force = None;
        let records: Vec<FindingRecord> = std::mem::take(&mut self.records).into_values().collect();
        for record in &records {
            metrics.findings(&record.category, record.direction.as_str(), record.action.as_str(), u64::from(record.count));
        }
        records
    }
}

/// The completion's decision is the strongest over both ways: an answer that was redacted is no `allow`.
fn raise(event: &mut Event, in_force: Option<Action>, blocked: bool) {
    let rank = |decision: AuditDecision| AuditDecision::ALL.iter().position(|known| *known == decision);
    let strongest = |decisions: [Option<AuditDecision>; 3]| decisions.into_iter().flatten().max_by_key(|decision| rank(*decision));
    let found = event.findings.iter().map(|finding| finding.action).max_by_key(|action| rank(*action));
    let blocked = blocked.then_some(AuditDecision::Block);
    event.intended = strongest([found, event.intended, blocked]);
    let monitoring = event.mode == Some(AuditMode::Monitor);
    let in_force = in_force.map(|action_in_force| action(if monitoring { action_in_force.min(Action::Flag) } else { action_in_force }));
    event.decision = strongest([event.decision, in_force, blocked]);
}

fn action(action: Action) -> AuditDecision {
    match action {
        Action::Allow => AuditDecision::Allow,
        Action::Flag => AuditDecision::Flag,
        Action::Pseudonymize => AuditDecision::Pseudonymize,
        Action::Redact => AuditDecision::Redact,
        Action::Block => AuditDecision::Block,
    }
}

fn severity(severity: Severity) -> AuditSeverity {
    match severity {
        Severity::Low => AuditSeverity::Low,
        Severity::Medium => AuditSeverity::Medium,
        Severity::High => AuditSeverity::High,
        Severity::Critical => AuditSeverity::Critical,
    }
}
