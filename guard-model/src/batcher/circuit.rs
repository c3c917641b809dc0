//! The circuit: after some failures in a row nobody is made to wait for a network that does not answer.
//!
//! Open, requests are refused at once. When the pause is over the circuit is half open: still nobody is let in, and one probe, a short
//! window of our own, says whether it closes or stays open for another pause.

use std::time::{Duration, Instant};

/// Whether the network is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CircuitState {
    /// It is.
    Closed,
    /// A probe asks it, requests do not.
    HalfOpen,
    /// It is not.
    Open,
}

/// The circuit.
#[derive(Debug)]
pub(super) struct Circuit {
    failures_max: u32,
    pause: Duration,
    failures: u32,
    open_until: Option<Instant>,
    probing: bool,
}

impl Circuit {
    /// Opens after `failures_max` failures in a row, for `pause`.
    pub(super) fn new(failures_max: u32, pause: Duration) -> Self {
        Self { failures_max: failures_max.max(1), pause, failures: 0, open_until: None, probing: false }
    }

    pub(super) fn state(&self) -> CircuitState {
        match (self.open_until, self.probing) {
            (None, _) => CircuitState::Closed,
            (Some(_), true) => CircuitState::HalfOpen,
            (Some(_), false) => CircuitState::Open,
        }
    }

    /// How long until a probe is due; `None` where none is.
    pub(super) fn until_probe(&self, now: Instant) -> Option<Duration> {
        self.open_until.map(|until| until.saturating_duration_since(now))
    }

    /// Notes that a probe is on its way.
    pub(super) fn probe(&mut self) {
        self.probing = self.open_until.is_some();
    }

    /// Notes that the network answered.
    pub(super) fn succeeded(&mut self) {
        (self.failures, self.open_until, self.probing) = (0, None, false);
    }

    /// Notes that it did not. True when the circuit is open now.
    pub(super) fn failed(&mut self, now: Instant) -> bool {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= self.failures_max {
            self.open_until = Some(now + self.pause);
        }
        self.probing = false;
        self.open_until.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(5);

    #[test]
    fn it_opens_after_failures_in_a_row_and_not_before() {
        let (now, mut circuit) = (Instant::now(), Circuit::new(3, PAUSE));
        assert!(!circuit.failed(now) && !circuit.failed(now));
        circuit.succeeded();
        assert!(!circuit.failed(now) && !circuit.failed(now), "a success begins the count anew");
        assert_eq!(circuit.until_probe(now), None);
        assert!(circuit.failed(now));
        assert_eq!(circuit.state(), CircuitState::Open);
        assert_eq!(circuit.until_probe(now), Some(PAUSE));
    }

    #[test]
    fn one_probe_decides_whether_it_closes() {
        let (now, mut circuit) = (Instant::now(), Circuit::new(1, PAUSE));
        circuit.probe();
        assert_eq!(circuit.state(), CircuitState::Closed, "there is nothing to probe");
        circuit.failed(now);
        assert_eq!(circuit.until_probe(now + PAUSE), Some(Duration::ZERO));
        circuit.probe();
        assert_eq!(circuit.state(), CircuitState::HalfOpen);
        assert!(circuit.failed(now + PAUSE));
        assert_eq!(circuit.until_probe(now + PAUSE), Some(PAUSE), "another whole pause");
        circuit.probe();
        circuit.succeeded();
        assert_eq!((circuit.state(), circuit.until_probe(now)), (CircuitState::Closed, None));
    }
}
