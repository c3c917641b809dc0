//! A token bucket, with the clock given from outside.

use std::time::Instant;

/// Nanoseconds of a minute: what one message costs, where each nanosecond brings in the rate. Whole numbers, so nothing is rounded.
const MESSAGE_COST: u128 = 60_000_000_000;

/// So many a minute, and as many at once.
#[derive(Debug)]
pub(crate) struct Bucket {
    per_minute: u128,
    credit: u128,
    filled: Instant,
}

impl Bucket {
    pub fn new(per_minute: u32, now: Instant) -> Self {
        let per_minute = u128::from(per_minute);
        Self { per_minute, credit: per_minute * MESSAGE_COST, filled: now }
    }

    /// Takes one, if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        let earned = now.saturating_duration_since(self.filled).as_nanos().saturating_mul(self.per_minute);
        self.credit = self.credit.saturating_add(earned).min(self.per_minute * MESSAGE_COST);
        self.filled = self.filled.max(now);
        let left = self.credit.checked_sub(MESSAGE_COST);
        self.credit = left.unwrap_or(self.credit);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn so_many_at_once_and_then_so_many_a_minute() {
        let begin = Instant::now();
        let mut bucket = Bucket::new(6, begin);
        assert_eq!((0..10).filter(|_| bucket.take(begin)).count(), 6);
        assert!(!bucket.take(begin + Duration::from_secs(9)));
        assert!(bucket.take(begin + Duration::from_secs(10)));
        assert!(!bucket.take(begin + Duration::from_secs(10)));
        assert_eq!(
            (0..10).filter(|_| bucket.take(begin + Duration::from_secs(3_600))).count(),
            6,
            "no more than a minute's worth is saved"
        );
        assert!(!bucket.take(begin), "a clock that goes back gives nothing");
    }
}
