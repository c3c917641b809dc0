//! How long to wait before the next try: longer each time up to a bound, and never the same for two gateways.

use std::time::Duration;

/// The first wait, at most.
const FIRST: Duration = Duration::from_millis(200);
/// The longest wait, at most.
const LONGEST: Duration = Duration::from_secs(30);

/// The waits between tries of one batch.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    tries: u32,
}

impl Backoff {
    /// Returns the next wait: between half and all of a bound that doubles.
    pub fn next(&mut self) -> Duration {
        let mut random = [0; 4];
        // Without randomness two gateways may wait alike; they are still right.
        let _ = getrandom::fill(&mut random);
        self.next_with(f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX))
    }

    /// `share`: 0 to 1.
    fn next_with(&mut self, share: f64) -> Duration {
        let bound = FIRST.saturating_mul(1 << self.tries.min(16)).min(LONGEST);
        self.tries = self.tries.saturating_add(1);
        bound.mul_f64(0.5 + share / 2.0)
    }

    /// Begins anew, after a success.
    pub fn reset(&mut self) {
        self.tries = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_their_bound_and_begin_anew() {
        let mut backoff = Backoff::default();
        let waits: Vec<u128> = (0..10).map(|_| backoff.next_with(1.0).as_millis()).collect();
        assert_eq!(waits, [200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000]);
        for _ in 0..100 {
            assert!(backoff.next() <= LONGEST);
        }
        backoff.reset();
        assert_eq!(backoff.next_with(0.0), FIRST / 2);
    }
}
