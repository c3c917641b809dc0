//! The counters of the delivery to ClickHouse; there once a delivery is configured.

use portcullis_audit::ship::{ShipError, ShipStats};
use prometheus::core::Collector;
use prometheus::{Gauge, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// The metrics `portcullis_clickhouse_*`.
#[derive(Debug)]
pub(super) struct Delivery {
    healthy: IntGauge,
    backlog: IntGauge,
    lag: Gauge,
    batches: IntCounter,
    rows: IntCounter,
    retries: IntCounter,
    failures: IntCounterVec,
    quarantined: IntGauge,
}

impl Delivery {
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        fn there<M: Collector + Clone + 'static>(registry: &Registry, metric: M) -> Result<M, prometheus::Error> {
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        }
        let name = |name: &str| format!("portcullis_clickhouse_{name}");
        let gauge = |what: &str, help: &str| there(registry, IntGauge::new(name(what), help)?);
        let counter = |what: &str, help: &str| there(registry, IntCounter::new(name(what), help)?);
        let failures = Opts::new(name("failures_total"), "Tries to deliver that failed, by class");
        let delivery = Self {
            healthy: gauge("healthy", "1 unless the last try to deliver failed")?,
            backlog: gauge("backlog_events", "Events not yet delivered, at most")?,
            lag: there(registry, Gauge::new(name("lag_seconds"), "Age of the first event not yet delivered")?)?,
            batches: counter("batches_total", "Batches acknowledged")?,
            rows: counter("rows_total", "Rows acknowledged")?,
            retries: counter("retries_total", "Batches sent again after a failure")?,
            failures: there(registry, IntCounterVec::new(failures, &["class"])?)?,
            quarantined: gauge("quarantined_events", "Events that ClickHouse would not take")?,
        };
        // There from the start, so that an alert on them has a zero to rise from.
        for class in ShipError::CLASSES {
            delivery.failures.with_label_values(&[class]);
        }
        Ok(delivery)
    }

    /// Takes over the shipper's own numbers.
    pub fn set(&self, stats: &ShipStats) {
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let rise = |counter: &IntCounter, to: u64| counter.inc_by(to.saturating_sub(counter.get()));
        self.healthy.set(i64::from(stats.degraded.is_none()));
        self.backlog.set(number(stats.backlog));
        self.lag.set(stats.lag(jiff::Timestamp::now().as_microsecond()).as_secs_f64());
        rise(&self.batches, stats.batches);
        rise(&self.rows, stats.rows);
        rise(&self.retries, stats.retries);
        for (class, count) in &stats.failures {
            rise(&self.failures.with_label_values(&[*class]), *count);
        }
        self.quarantined.set(number(stats.quarantined));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_taken_over_and_counters_only_rise() {
        let delivery = Delivery::register(&Registry::new()).unwrap();
        let mut stats = ShipStats { rows: 5, backlog: 7, failures: [("busy", 2)].into(), ..ShipStats::default() };
        delivery.set(&stats);
        delivery.set(&stats);
        assert_eq!((delivery.rows.get(), delivery.failures.with_label_values(&["busy"]).get()), (5, 2));
        assert_eq!((delivery.healthy.get(), delivery.backlog.get()), (1, 7));
        stats.rows = 3;
        stats.degraded = Some(portcullis_audit::ship::Degraded { class: "busy", message: String::new() });
        delivery.set(&stats);
        assert_eq!((delivery.rows.get(), delivery.healthy.get()), (5, 0));
    }
}
