//! What the shipper counts, shared between its thread, the metrics page and health.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::error::ShipError;

/// A snapshot of the shipper's counters. Totals count from its start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ShipStats {
    /// Number of the last event that ClickHouse acknowledged, or that is in quarantine.
    pub delivered_seq: i64,
    /// Events not yet delivered, at most; numbers of the store that were never given count too.
    pub backlog: u64,
    /// The moment of the first event not yet delivered, microseconds since 1970.
    pub oldest_us: Option<i64>,
    /// Batches acknowledged, each once.
    pub batches: u64,
    /// Rows acknowledged, each once.
    pub rows: u64,
    /// Inserts sent again after a failure.
    pub retries: u64,
    /// Rows that ClickHouse would not take, also before this start.
    pub quarantined: u64,
    /// Failures by class.
    pub failures: BTreeMap<&'static str, u64>,
    /// Why nothing is delivered at present; absent while all is well.
    pub degraded: Option<Degraded>,
}

/// Why nothing is delivered at present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Degraded {
    /// The class of the failure.
    pub class: &'static str,
    /// The failure, and what to do.
    pub message: String,
}

impl ShipStats {
    /// Returns how long the first event not yet delivered has waited, as of `now_us`.
    pub fn lag(&self, now_us: i64) -> Duration {
        let waited = self.oldest_us.map_or(0, |oldest| now_us.saturating_sub(oldest).max(0));
        Duration::from_micros(waited.unsigned_abs())
    }
}

#[derive(Debug, Default)]
pub(crate) struct Meter(Mutex<ShipStats>);

impl Meter {
    pub fn snapshot(&self) -> ShipStats {
        self.lock().clone()
    }

    pub fn change(&self, change: impl FnOnce(&mut ShipStats)) {
        change(&mut self.lock());
    }

    /// Counts a failure; says whether it is news.
    pub fn failed(&self, error: &ShipError) -> bool {
        let mut stats = self.lock();
        *stats.failures.entry(error.class()).or_default() += 1;
        let degraded = Degraded { class: error.class(), message: error.to_string() };
        let news = stats.degraded.as_ref().is_none_or(|before| before.class != degraded.class);
        stats.degraded = Some(degraded);
        news
    }

    fn lock(&self) -> MutexGuard<'_, ShipStats> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_news_when_its_class_changes() {
        let meter = Meter::default();
        let [one, other] = [|| ShipError::TimedOut(Duration::from_secs(1)), || ShipError::Unreachable("x".into())];
        assert_eq!([meter.failed(&one()), meter.failed(&one()), meter.failed(&other())], [true, false, true]);
        let stats = meter.snapshot();
        assert_eq!((stats.failures["timed_out"], stats.failures["unreachable"]), (2, 1));
        assert_eq!(stats.degraded.unwrap().class, "unreachable");
    }

    #[test]
    fn lag_is_the_age_of_the_first_event_that_waits() {
        assert_eq!(ShipStats::default().lag(5), Duration::ZERO);
        let waiting = ShipStats { oldest_us: Some(1_000_000), ..ShipStats::default() };
        assert_eq!(waiting.lag(3_500_000), Duration::from_millis(2_500));
        assert_eq!(waiting.lag(0), Duration::ZERO, "a clock that was set back is no lag");
    }
}
