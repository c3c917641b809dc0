//! How long to wait before the next attempt: twice as long each time, with chance in it, so that many gateways do not come back at once.

use std::time::Duration;

/// Longest wait between two attempts, whatever the channel asks for.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(60);

/// The wait after attempt number `attempt` (from 1); `chance` from 0 to 1. What the channel asked for is kept, up to the bound.
pub(crate) fn wait(first: Duration, attempt: u32, asked: Option<Duration>, chance: f64) -> Duration {
    let whole = first.saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1))).min(WAIT_MAX);
    let spread = whole.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0);
    spread.max(asked.unwrap_or_default().min(WAIT_MAX))
}

/// Chance, from 0 to 1; without a source of it, its middle.
pub(crate) fn chance() -> f64 {
    getrandom::u32().map_or(0.5, |number| f64::from(number) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_spread_and_end() {
        let first = Duration::from_secs(1);
        assert_eq!(wait(first, 1, None, 1.0), first);
        assert_eq!(wait(first, 1, None, 0.0), first / 2);
        assert_eq!(wait(first, 4, None, 1.0), 8 * first);
        assert_eq!(wait(first, u32::MAX, None, 1.0), WAIT_MAX);
        assert_eq!(wait(first, 1, Some(Duration::from_secs(7)), 0.0), Duration::from_secs(7));
        assert_eq!(wait(first, 1, Some(Duration::MAX), 0.0), WAIT_MAX, "no channel holds us longer");
        assert!((0.0..=1.0).contains(&chance()));
    }
}
