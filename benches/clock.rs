//! How long a thread has worked, however many other programs shared its core.

use std::time::{Duration, Instant};

/// A thread's own clock. Where the system does not tell a thread's time on a core, it is the time that passed.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    begun: Instant,
    worked: Option<Duration>,
}

impl Clock {
    /// Starts it on this thread.
    #[must_use]
    pub fn start() -> Self {
        Self { begun: Instant::now(), worked: worked() }
    }

    /// Returns the time this thread has spent on a core since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        match (self.worked, worked()) {
            (Some(before), Some(now)) => now.saturating_sub(before),
            _ => self.begun.elapsed(),
        }
    }

    /// Returns true where it is the time on a core that is told.
    #[must_use]
    pub fn tells_work(&self) -> bool {
        self.worked.is_some()
    }
}

/// The first number of Linux' `schedstat`: nanoseconds this thread has been on a core.
fn worked() -> Option<Duration> {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    told.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleep_is_no_work_and_a_loop_is() {
        let clock = Clock::start();
        let mut sum = 0_u64;
        while clock.elapsed() < Duration::from_millis(20) && clock.begun.elapsed() < Duration::from_secs(20) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(clock.elapsed() >= Duration::from_millis(20) && clock.elapsed() <= clock.begun.elapsed() + Duration::from_millis(5));
    }
}
