//! What the gate counts, in Prometheus' words. Every label has a closed set of values; nothing a client sends becomes one.

mod delivery;
mod guard;

use std::sync::OnceLock;
use std::time::Duration;

use portcullis_audit::alert::{Alerts, STATS_LABELS};
use portcullis_guard_model::{News, State};
use portcullis_policies::CoverageLimit;
use prometheus::{
    CounterVec, Encoder as _, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, TextEncoder,
};

/// Seconds: from ten microseconds, where a screened kilobyte lies, to a slow model.
const STAGE_BUCKETS: &[f64] = &[
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0, 30.0, 60.0,
];

/// The stages of the path, as the `stage` label names them.
#[derive(Clone, Copy, Debug)]
pub enum Stage {
    /// Reading the body.
    Receive,
    /// Parsing it.
    Parse,
    /// Screening with rules.
    Rules,
    /// Screening with the guard model.
    Guard,
    /// Waiting for the decision to be durable.
    Record,
    /// From sending upstream to the head of the answer.
    FirstByte,
    /// Screening the answer, all pieces together.
    ScreenBack,
    /// Everything.
    Total,
}

impl Stage {
    fn name(self) -> &'static str {
        match self {
            Stage::Receive => "receive",
            Stage::Parse => "parse",
            Stage::Rules => "screen_rules",
            Stage::Guard => "screen_model",
            Stage::Record => "record",
            Stage::FirstByte => "first_byte",
            Stage::ScreenBack => "screen_back",
            Stage::Total => "total",
        }
    }
}

/// All metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    stages: HistogramVec,
    findings: IntCounterVec,
    tokens: IntCounterVec,
    upstream_up: GaugeVec,
    upstream_results: IntCounterVec,
    failed_open: IntCounterVec,
    coverage_limits: IntCounterVec,
    policy_info: IntGaugeVec,
    policy_reloads: IntCounterVec,
    policy_reload_failures: IntCounterVec,
    policy_rollbacks: IntCounterVec,
    policy_decisions: IntCounterVec,
    policy_screen: CounterVec,
    /// Requests being served.
    pub in_flight: IntGauge,
    /// Panics caught.
    pub panics: IntCounter,
    /// Bytes of memory budget in use.
    pub memory_in_use: IntGauge,
    /// Open client connections.
    pub connections: IntGauge,
    /// Key files that could not be reloaded.
    pub key_reload_failures: IntCounter,
    /// Refusals of callers without a key that were counted and not recorded.
    pub unrecorded: IntCounter,
    /// Canary tokens found in answers.
    pub canaries: IntCounter,
    /// Values that left as pseudonyms.
    pub pseudonyms_issued: IntCounter,
    /// Values put back into answers.
    pub pseudonyms_restored: IntCounter,
    vault_conversations: IntGauge,
    vault_bytes: IntGauge,
    vault_dropped: IntCounterVec,
    /// Text bytes held back at the end of each streamed piece.
    pub held_back: Histogram,
    audit: AuditGauges,
    delivery: OnceLock<Option<delivery::Delivery>>,
    guard: OnceLock<Option<guard::Guard>>,
    guard_unavailable: IntCounterVec,
    alerts: IntCounterVec,
    alerts_missed: IntCounter,
}

#[derive(Debug)]
struct AuditGauges {
    queued: IntGauge,
    committed: IntGauge,
    failed: IntGauge,
    overloaded: IntGauge,
    healthy: IntGauge,
    commit_seconds: Gauge,
    removed: IntGauge,
    bytes: IntGauge,
}

impl Metrics {
    /// Registers everything.
    ///
    /// # Errors
    /// Only when two metrics have one name.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counters = |name: &str, help: &str, labels: &[&str]| -> Result<IntCounterVec, prometheus::Error> {
            let metric = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let gauge = |name: &str, help: &str| -> Result<IntGauge, prometheus::Error> {
            let metric = IntGauge::new(name, help)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let counter = |name: &str, help: &str| -> Result<IntCounter, prometheus::Error> {
            let metric = IntCounter::new(name, help)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let stages = HistogramVec::new(
            HistogramOpts::new("portcullis_stage_seconds", "Time of each stage of the path").buckets(STAGE_BUCKETS.to_vec()),
            &["stage"],
        )?;
        registry.register(Box::new(stages.clone()))?;
        let upstream_up =
            GaugeVec::new(Opts::new("portcullis_upstream_up", "1 when the last connection attempt succeeded"), &["upstream"])?;
        registry.register(Box::new(upstream_up.clone()))?;
        let held_back = Histogram::with_opts(
            HistogramOpts::new("portcullis_held_back_bytes", "Text held back after each streamed piece")
                .buckets(vec![0.0, 8.0, 16.0, 32.0, 64.0, 128.0, 512.0, 4096.0, 65_536.0]),
        )?;
        registry.register(Box::new(held_back.clone()))?;
        let commit_seconds = Gauge::new("portcullis_audit_commit_seconds", "Duration of the last durable commit")?;
        registry.register(Box::new(commit_seconds.clone()))?;
        let failed_open =
            counters("portcullis_failed_open_total", "Requests let through although a control was not available", &["control"])?;
        let coverage_limits = counters(
            "portcullis_coverage_limits_total",
            "Requests with text that was not screened in every form, by the bound",
            &["limit"],
        )?;
        let policy_info = IntGaugeVec::new(
            Opts::new("portcullis_policy_info", "1 for the version of a policy that is in force"),
            &["policy", "track", "version"],
        )?;
        registry.register(Box::new(policy_info.clone()))?;
        let policy_screen = CounterVec::new(
            Opts::new("portcullis_policy_screen_seconds_total", "Time spent screening prompts, by version of the policy"),
            &["policy", "track"],
        )?;
        registry.register(Box::new(policy_screen.clone()))?;
        let guard_unavailable =
            counters("portcullis_guard_unavailable_total", "Requests about which the guard gave no verdict, by reason", &["reason"])?;
        // There from the start, so that an alert on it has a zero to rise from.
        for control in ["guard", "audit"] {
            failed_open.with_label_values(&[control]);
        }
        for reason in ["late", "overloaded", "failed"] {
            guard_unavailable.with_label_values(&[reason]);
        }
        for limit in CoverageLimit::ALL {
            coverage_limits.with_label_values(&[limit.as_str()]);
        }
        Ok(Self {
            requests: counters("portcullis_requests_total", "Requests by route and how they ended", &["route", "outcome"])?,
            stages,
            findings: counters(
                "portcullis_findings_total",
                "Findings by category, direction and action",
                &["category", "direction", "action"],
            )?,
            tokens: counters("portcullis_tokens_total", "Tokens by direction", &["direction"])?,
            upstream_up,
            upstream_results: counters(
                "portcullis_upstream_requests_total",
                "Exchanges with upstreams by result",
                &["upstream", "result"],
            )?,
            failed_open,
            coverage_limits,
            policy_info,
            policy_reloads: counters("portcullis_policy_reloads_total", "Changed policies put in force", &["policy"])?,
            policy_reload_failures: counters(
                "portcullis_policy_reload_failures_total",
                "Changed policies that did not load; the one before stayed in force",
                &["policy"],
            )?,
            policy_rollbacks: counters("portcullis_policy_rollbacks_total", "Canary policies taken back", &["policy", "reason"])?,
            policy_decisions: counters(
                "portcullis_policy_decisions_total",
                "Decisions by version of the policy",
                &["policy", "track", "decision"],
            )?,
            policy_screen,
            in_flight: gauge("portcullis_requests_in_flight", "Requests being served")?,
            panics: counter("portcullis_panics_total", "Requests ended by a broken promise of our own")?,
            memory_in_use: gauge("portcullis_memory_budget_bytes_in_use", "Bytes of the memory budget in use")?,
            connections: gauge("portcullis_connections", "Open client connections")?,
            key_reload_failures: counter("portcullis_key_reload_failures_total", "Key files that could not be reloaded")?,
            unrecorded: counter(
                "portcullis_unrecorded_refusals_total",
                "Refusals of callers without a key past the rate that is recorded",
            )?,
            canaries: counter("portcullis_canaries_total", "Canary tokens found in answers")?,
            pseudonyms_issued: counter("portcullis_pseudonyms_issued_total", "Values that left as pseudonyms, once for each request")?,
            pseudonyms_restored: counter("portcullis_pseudonyms_restored_total", "Values put back into answers")?,
            vault_conversations: gauge("portcullis_vault_conversations", "Conversations whose pseudonyms are remembered")?,
            vault_bytes: gauge("portcullis_vault_bytes", "Memory that they take, about")?,
            vault_dropped: counters("portcullis_vault_dropped_total", "Conversations forgotten, by reason", &["reason"])?,
            held_back,
            audit: AuditGauges {
                queued: gauge("portcullis_audit_queued_events", "Events waiting to be durable")?,
                committed: gauge("portcullis_audit_committed_events", "Events made durable since the start")?,
                failed: gauge("portcullis_audit_failed_events", "Events that could not be made durable since the start")?,
                overloaded: gauge("portcullis_audit_overloaded_events", "Events not taken because too many waited, since the start")?,
                healthy: gauge("portcullis_audit_healthy", "1 when the last commit succeeded")?,
                commit_seconds,
                bytes: gauge("portcullis_audit_store_bytes", "Size of the audit store")?,
                removed: gauge("portcullis_audit_removed_events", "Events that retention removed since the start")?,
            },
            delivery: OnceLock::new(),
            guard: OnceLock::new(),
            guard_unavailable,
            alerts: counters("portcullis_alerts_total", "Alerts by channel and what became of them", &["channel", "result"])?,
            alerts_missed: counter("portcullis_alerts_missed_total", "Alerts that came faster than they could be sorted")?,
            registry,
        })
    }

    /// Counts a request's end.
    pub fn request(&self, route: &str, outcome: &str) {
        self.requests.with_label_values(&[route, outcome]).inc();
    }

    /// Notes how long a stage took.
    pub fn stage(&self, stage: Stage, took: Duration) {
        self.stages.with_label_values(&[stage.name()]).observe(took.as_secs_f64());
    }

    /// Counts findings of one kind.
    pub fn findings(&self, category: &str, direction: &str, action: &str, count: u64) {
        self.findings.with_label_values(&[category, direction, action]).inc_by(count);
    }

    /// Counts tokens in and out.
    pub fn tokens(&self, prompt: u64, answer: u64) {
        self.tokens.with_label_values(&["in"]).inc_by(prompt);
        self.tokens.with_label_values(&["out"]).inc_by(answer);
    }

    /// Counts an exchange and notes whether the upstream could be reached.
    pub fn upstream(&self, name: &str, result: &str, up: bool) {
        self.upstream_results.with_label_values(&[name, result]).inc();
        self.upstream_state(name, up);
    }

    /// Notes whether an upstream can be reached.
    pub fn upstream_state(&self, name: &str, up: bool) {
        self.upstream_up.with_label_values(&[name]).set(f64::from(u8::from(up)));
    }

    /// Counts a request let through without a control.
    pub fn failed_open(&self, control: &str) {
        self.failed_open.with_label_values(&[control]).inc();
    }

    /// Counts a request with text that was not screened in every form.
    pub fn coverage_limit(&self, limit: CoverageLimit) {
        self.coverage_limits.with_label_values(&[limit.as_str()]).inc();
    }

    /// Counts conversations that the vault forgot.
    pub fn vault_dropped(&self, reason: &str, count: usize) {
        if count > 0 {
            self.vault_dropped.with_label_values(&[reason]).inc_by(count as u64);
        }
    }

    /// Notes what the vault holds.
    pub fn vault_holds(&self, conversations: usize, bytes: usize) {
        self.vault_conversations.set(i64::try_from(conversations).unwrap_or(i64::MAX));
        self.vault_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Notes which version of a policy is in force. Policy names come from the configuration; of versions only the present one is kept.
    pub fn policy_in_force(&self, policy: &str, track: &str, before: Option<&str>, version: &str) {
        match before {
            // Both counters are there from the start, so that an alert on them has a zero to rise from.
            None => {
                self.policy_reloads.with_label_values(&[policy]);
                self.policy_reload_failures.with_label_values(&[policy]);
            }
            Some(before) => {
                let _ = self.policy_info.remove_label_values(&[policy, track, before]);
                self.policy_reloads.with_label_values(&[policy]).inc();
            }
        }
        self.policy_info.with_label_values(&[policy, track, version]).set(1);
    }

    /// Notes that a canary was taken back.
    pub fn policy_taken_back(&self, policy: &str, version: &str, reason: &str) {
        let _ = self.policy_info.remove_label_values(&[policy, "canary", version]);
        self.policy_rollbacks.with_label_values(&[policy, reason]).inc();
    }

    /// Counts a decision for its version of the policy.
    pub fn decided(&self, policy: &str, track: &str, decision: &str, screen_micros: u64) {
        self.policy_decisions.with_label_values(&[policy, track, decision]).inc();
        self.policy_screen.with_label_values(&[policy, track]).inc_by(screen_micros as f64 / 1e6);
    }

    /// Counts a changed policy that did not load.
    pub fn policy_reload_failed(&self, policy: &str) {
        self.policy_reload_failures.with_label_values(&[policy]).inc();
    }

    /// Takes over the audit store's own numbers.
    pub fn audit(&self, stats: &portcullis_audit::StoreStats) {
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        self.audit.queued.set(number(stats.queued as u64));
        self.audit.committed.set(number(stats.committed));
        self.audit.failed.set(number(stats.failed));
        self.audit.overloaded.set(number(stats.overloaded));
        self.audit.healthy.set(i64::from(stats.healthy));
        self.audit.commit_seconds.set(stats.commit_last.as_secs_f64());
        self.audit.bytes.set(number(stats.bytes));
        self.audit.removed.set(number(stats.removed));
    }

    /// Takes over the numbers of the delivery to ClickHouse. Its metrics are there from the first time on.
    pub fn delivery(&self, stats: &portcullis_audit::ship::ShipStats) {
        // Registering fails only where a name is taken, which the tests would show.
        let delivery = self.delivery.get_or_init(|| delivery::Delivery::register(&self.registry).ok());
        if let Some(delivery) = delivery {
            delivery.set(stats);
        }
    }

    /// Counts a request about which the guard gave no verdict; `reason` is one of a closed set of words.
    pub fn guard_unavailable(&self, reason: &str) {
        self.guard_unavailable.with_label_values(&[reason]).inc();
    }

    /// Takes in what a guard model tells. Its metrics are there from the first time on.
    pub fn guard_told(&self, news: &News) {
        self.with_guard(|guard| guard.told(news));
    }

    /// Takes over how a guard model stands; `None`: it is not loaded.
    pub fn guard_stands(&self, state: Option<&State>) {
        self.with_guard(|guard| guard.stands(state));
    }

    /// Counts changed files of a guard model that are not put in force.
    pub fn guard_reload_failed(&self, what: &str) {
        self.with_guard(|guard| guard.reload_failed(what));
    }

    fn with_guard(&self, work: impl FnOnce(&guard::Guard)) {
        // Registering fails only where a name is taken, which the tests would show.
        if let Some(guard) = self.guard.get_or_init(|| guard::Guard::register(&self.registry).ok()) {
            work(guard);
        }
    }

    /// Takes over the counts of alerts. Channels are named by the configuration.
    pub fn alerts(&self, alerts: &Alerts) {
        let raise = |counter: &IntCounter, to: u64| counter.inc_by(to.saturating_sub(counter.get()));
        for channel in alerts.stats() {
            for (result, count) in STATS_LABELS.iter().zip(channel.counts) {
                raise(&self.alerts.with_label_values(&[channel.name.as_str(), result]), count);
            }
        }
        raise(&self.alerts_missed, alerts.missed());
    }

    /// Everything in the text format of Prometheus.
    pub fn text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        // Writing to memory cannot fail.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        text
    }
}
