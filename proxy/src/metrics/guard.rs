//! The metrics of a guard model; there once one is configured.

use std::time::Duration;

use portcullis_guard_model::{CircuitState, Failure, News, State};
use prometheus::core::Collector;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

/// Seconds: from a cached device's fraction of a millisecond to a deadline and more.
const SECONDS: &[f64] = &[0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];
const WINDOWS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];
const TOKENS: &[f64] = &[16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16_384.0, 32_768.0];

/// The metrics `portcullis_guard_*`.
#[derive(Debug)]
pub(super) struct Guard {
    queued: IntGauge,
    waited: Histogram,
    batch_windows: Histogram,
    batch_tokens: Histogram,
    ran: Histogram,
    tokens: IntCounter,
    windows: IntCounterVec,
    failures: IntCounterVec,
    circuit: IntGaugeVec,
    known: IntGauge,
    loaded: IntGauge,
    info: IntGaugeVec,
    reload_failures: IntCounterVec,
}

impl Guard {
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        fn there<M: Collector + Clone + 'static>(registry: &Registry, metric: M) -> Result<M, prometheus::Error> {
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        }
        let name = |name: &str| format!("portcullis_guard_{name}");
        let gauge = |what: &str, help: &str| there(registry, IntGauge::new(name(what), help)?);
        let counters = |what: &str, help: &str, label: &str| there(registry, IntCounterVec::new(Opts::new(name(what), help), &[label])?);
        let gauges = |what: &str, help: &str, label: &str| there(registry, IntGaugeVec::new(Opts::new(name(what), help), &[label])?);
        let histogram = |what: &str, help: &str, buckets: &[f64]| {
            there(registry, Histogram::with_opts(HistogramOpts::new(name(what), help).buckets(buckets.to_vec()))?)
        };
        let guard = Self {
            queued: gauge("queued_windows", "Windows that wait for a batch")?,
            waited: histogram("wait_seconds", "How long a request waited for its first batch", SECONDS)?,
            batch_windows: histogram("batch_windows", "Windows of a batch", WINDOWS)?,
            batch_tokens: histogram("batch_tokens", "Tokens of a batch, without padding", TOKENS)?,
            ran: histogram("run_seconds", "How long the model took for a batch", SECONDS)?,
            tokens: there(registry, IntCounter::new(name("tokens_total"), "Tokens that the model read")?)?,
            windows: counters("windows_total", "Windows judged, by whether the model was asked", "by")?,
            failures: counters("failures_total", "Batches or windows without a verdict, by reason", "reason")?,
            circuit: gauges("circuit", "1 for the state of the circuit", "state")?,
            known: gauge("known_attacks", "Known attacks in force")?,
            loaded: gauge("loaded", "1 when there is a model and its thread runs")?,
            info: gauges("info", "1 for the version of the model in force", "version")?,
            reload_failures: counters("reload_failures_total", "Changed files that are not in force, by what they hold", "what")?,
        };
        // There from the start, so that an alert on them has a zero to rise from.
        for by in ["model", "cache"] {
            guard.windows.with_label_values(&[by]);
        }
        for failure in Failure::ALL {
            guard.failures.with_label_values(&[failure.as_str()]);
        }
        for what in ["model", "known"] {
            guard.reload_failures.with_label_values(&[what]);
        }
        guard.circuit_is(CircuitState::Closed);
        Ok(guard)
    }

    /// Takes in what the batcher tells.
    pub fn told(&self, news: &News) {
        let seconds = |time: &Duration| time.as_secs_f64();
        match news {
            News::Ran { windows, tokens, took } => {
                self.batch_windows.observe(*windows as f64);
                self.batch_tokens.observe(*tokens as f64);
                self.ran.observe(seconds(took));
                self.tokens.inc_by(*tokens as u64);
                self.windows.with_label_values(&["model"]).inc_by(*windows as u64);
            }
            News::Waited(time) => self.waited.observe(seconds(time)),
            News::Cached { windows } => self.windows.with_label_values(&["cache"]).inc_by(*windows as u64),
            News::Failed(failure) => self.failures.with_label_values(&[failure.as_str()]).inc(),
            News::Circuit(state) => self.circuit_is(*state),
        }
    }

    /// Takes over how the batcher stands.
    pub fn stands(&self, state: Option<&State>) {
        let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.loaded.set(i64::from(state.is_some_and(|state| !state.is_dead)));
        self.queued.set(state.map_or(0, |state| number(state.queued_windows)));
        self.known.set(state.map_or(0, |state| number(state.known_attacks)));
        // Only the version in force is kept.
        self.info.reset();
        if let Some(state) = state {
            self.info.with_label_values(&[&*state.version]).set(1);
            self.circuit_is(state.circuit);
        }
    }

    /// Counts files that are not put in force.
    pub fn reload_failed(&self, what: &str) {
        self.reload_failures.with_label_values(&[what]).inc();
    }

    fn circuit_is(&self, state: CircuitState) {
        for (name, one) in [("closed", CircuitState::Closed), ("half_open", CircuitState::HalfOpen), ("open", CircuitState::Open)] {
            self.circuit.with_label_values(&[name]).set(i64::from(one == state));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_batcher_tells_is_counted_and_one_state_of_the_circuit_is_one() {
        let guard = Guard::register(&Registry::new()).unwrap();
        for news in [
            News::Ran { windows: 3, tokens: 70, took: Duration::from_millis(4) },
            News::Waited(Duration::from_millis(1)),
            News::Cached { windows: 2 },
            News::Failed(Failure::NotFinite),
            News::Circuit(CircuitState::Open),
        ] {
            guard.told(&news);
        }
        assert_eq!((guard.tokens.get(), guard.batch_windows.get_sample_sum(), guard.waited.get_sample_count()), (70, 3.0, 1));
        assert_eq!((guard.windows.with_label_values(&["model"]).get(), guard.windows.with_label_values(&["cache"]).get()), (3, 2));
        let circuit = |guard: &Guard| ["closed", "half_open", "open"].map(|state| guard.circuit.with_label_values(&[state]).get());
        assert_eq!(circuit(&guard), [0, 0, 1]);
        let state = State { version: "small-1".into(), queued_windows: 4, circuit: CircuitState::Closed, known_attacks: 9, is_dead: false };
        guard.stands(Some(&state));
        assert_eq!((guard.loaded.get(), guard.queued.get(), guard.known.get(), circuit(&guard)), (1, 4, 9, [1, 0, 0]));
        guard.stands(None);
        assert_eq!((guard.loaded.get(), guard.queued.get()), (0, 0));
    }
}
