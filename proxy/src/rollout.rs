//! A new version of a policy for some keys first: which keys, what is counted of both, and when it is taken back.
//!
//! A key belongs to the canary by a hash of the policy's name and its own id: the same keys at every start, and when the percentage
//! grows all that were in stay in. Both versions are counted alike. When the canary refuses clearly more or is clearly slower than the
//! version beside it, it is taken back: every key is held to the other version until the canary's file changes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use portcullis_policies::Policy;
use sha2::{Digest as _, Sha256};

use crate::freed;

/// Fewer requests in a window say nothing.
const REQUESTS_MIN: u64 = 50;
/// A share of refusals below this is taken for this: twice next to nothing is no alarm.
const BLOCK_RATE_FLOOR: f64 = 0.02;
/// A mean screening time below this is never too long.
const SCREEN_MICROS_FLOOR: f64 = 200.0;
/// What a request costs beside its text, counted as so many bytes of it.
const REQUEST_BYTES: u64 = 512;
/// Parts that the keys are sorted into: a percentage has two places.
const PARTS: u64 = 10_000;

/// Which version of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Track {
    /// The one that most keys are held to.
    Stable,
    /// The one that is tried.
    Canary,
}

impl Track {
    /// The word for it in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Track::Stable => "stable",
            Track::Canary => "canary",
        }
    }
}

/// A version in force, and what is counted of it.
#[derive(Clone)]
pub struct Held {
    /// The policy.
    pub policy: Arc<Policy>,
    /// The counts.
    pub tally: Arc<Tally>,
}

impl Held {
    /// Nothing counted yet. What screens streamed answers is made meanwhile; where no thread can be had, the first stream makes it.
    pub fn new(name: &str, track: Track, policy: Policy) -> Self {
        let policy = Arc::new(policy);
        let streams = Arc::downgrade(&policy);
        let prepare = move || {
            if let Some(policy) = streams.upgrade() {
                policy.prepare_streams();
                freed::give_back();
            }
        };
        let _ = std::thread::Builder::new().name("streams".into()).spawn(prepare);
        Self { policy, tally: Arc::new(Tally::new(name, track)) }
    }
}

/// What is counted of one version while it is in force.
#[derive(Debug)]
pub struct Tally {
    /// Name of the policy in the configuration.
    pub policy: String,
    /// Which version.
    pub track: Track,
    requests: AtomicU64,
    blocked: AtomicU64,
    bytes: AtomicU64,
    micros: AtomicU64,
}

impl Tally {
    fn new(policy: &str, track: Track) -> Self {
        let zero = AtomicU64::default;
        Self { policy: policy.to_owned(), track, requests: zero(), blocked: zero(), bytes: zero(), micros: zero() }
    }

    /// Counts one decided request: whether it was refused, how much text it had and how long its screening took.
    pub fn count(&self, blocked: bool, bytes: u64, micros: u64) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.blocked.fetch_add(u64::from(blocked), Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    fn now(&self) -> Counts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts { requests: read(&self.requests), blocked: read(&self.blocked), bytes: read(&self.bytes), micros: read(&self.micros) }
    }
}

/// Counts over some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    requests: u64,
    blocked: u64,
    bytes: u64,
    micros: u64,
}

impl Counts {
    fn since(self, before: Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(before.requests),
            blocked: self.blocked.saturating_sub(before.blocked),
            bytes: self.bytes.saturating_sub(before.bytes),
            micros: self.micros.saturating_sub(before.micros),
        }
    }

    fn says_something(&self) -> bool {
        self.requests >= REQUESTS_MIN
    }

    fn block_rate(&self) -> f64 {
        self.blocked as f64 / self.requests.max(1) as f64
    }

    fn mean_micros(&self) -> f64 {
        self.micros as f64 / self.requests.max(1) as f64
    }

    /// Microseconds a byte, so that callers with long texts weigh the same.
    fn cost(&self) -> f64 {
        self.micros as f64 / (self.bytes + self.requests * REQUEST_BYTES).max(1) as f64
    }
}

/// When a canary is taken back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rollback {
    /// It refuses more than so many times the share that the other version refuses.
    pub block_rate_factor: f64,
    /// Its screening takes more than so many times as long.
    pub latency_factor: f64,
    /// Over this time.
    pub window: Duration,
}

impl Rollback {
    /// What is wrong with the canary, if anything is.
    fn reason(&self, stable: Counts, canary: Counts) -> Option<&'static str> {
        if !canary.says_something() {
            return None;
        }
        let usual = if stable.says_something() { stable.block_rate() } else { 0.0 };
        if canary.block_rate() > self.block_rate_factor * usual.max(BLOCK_RATE_FLOOR) {
            return Some("block_rate");
        }
        let slow = stable.says_something() && canary.cost() > self.latency_factor * stable.cost();
        (slow && canary.mean_micros() > SCREEN_MICROS_FLOOR).then_some("latency")
    }
}

/// A version that is tried on some keys.
#[derive(Clone)]
pub struct Canary {
    /// The version.
    pub held: Held,
    /// Share of the keys, in percent.
    pub percent: f64,
    /// When it is taken back.
    pub rollback: Rollback,
}

/// What is in force under one name.
#[derive(Clone)]
pub struct Rollout {
    /// For most keys.
    pub stable: Held,
    /// For some.
    pub canary: Option<Canary>,
}

/// All policies by name.
pub type Policies = BTreeMap<String, Rollout>;

impl Rollout {
    /// What this key is held to.
    pub fn held(&self, key_id: &str) -> &Held {
        match &self.canary {
            Some(canary) if is_among(&self.stable.tally.policy, key_id, canary.percent) => &canary.held,
            _ => &self.stable,
        }
    }

    /// The share of the keys that try a version, in percent; none on the stable track.
    pub fn percent(&self, track: Track) -> Option<f64> {
        self.canary.as_ref().filter(|_| track == Track::Canary).map(|canary| canary.percent)
    }

    /// The version on one track.
    pub fn on(&self, track: Track) -> Option<&Held> {
        match track {
            Track::Stable => Some(&self.stable),
            Track::Canary => self.canary.as_ref().map(|canary| &canary.held),
        }
    }
}

/// Whether a key is among the first so many percent.
fn is_among(policy: &str, key_id: &str, percent: f64) -> bool {
    let digest = Sha256::digest(format!("{policy}/{key_id}"));
    let head = digest.iter().take(8).fold(0_u64, |head, byte| head << 8 | u64::from(*byte));
    ((head % PARTS) as f64) < percent / 100.0 * PARTS as f64
}

/// The time over which a canary and the version beside it are compared.
pub struct Window {
    began: Instant,
    tallies: [Arc<Tally>; 2],
    before: [Counts; 2],
}

impl Window {
    /// A window that begins now; none without a canary.
    pub fn open(rollout: &Rollout) -> Option<Self> {
        let canary = rollout.canary.as_ref()?;
        let tallies = [Arc::clone(&rollout.stable.tally), Arc::clone(&canary.held.tally)];
        let before = [tallies[0].now(), tallies[1].now()];
        Some(Self { began: Instant::now(), tallies, before })
    }

    /// Whether it compares the versions that are in force.
    pub fn compares(&self, rollout: &Rollout) -> bool {
        let [stable, canary] = &self.tallies;
        Arc::ptr_eq(stable, &rollout.stable.tally) && rollout.canary.as_ref().is_some_and(|new| Arc::ptr_eq(canary, &new.held.tally))
    }

    /// Whether another one has to take its place.
    pub fn is_over(&self, rollout: &Rollout) -> bool {
        !self.compares(rollout) || rollout.canary.as_ref().is_none_or(|canary| self.began.elapsed() >= canary.rollback.window)
    }

    /// Why the canary has to be taken back, if it has to.
    pub fn reason(&self, rollout: &Rollout) -> Option<&'static str> {
        let [stable, canary] = [self.tallies[0].now(), self.tallies[1].now()];
        let lately = stable.since(self.before[0]);
        // Where hardly anybody is left beside the canary, all that was ever counted there has to do.
        let beside = if lately.says_something() { lately } else { stable };
        rollout.canary.as_ref()?.rollback.reason(beside, canary.since(self.before[1]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(requests: u64, blocked: u64, micros: u64) -> Counts {
        Counts { requests, blocked, bytes: requests * 1000, micros }
    }

    #[test]
    fn the_same_keys_are_chosen_and_stay_in_when_the_share_grows() {
        let among = |percent| (0..2000).filter(|n| is_among("default", &format!("key-{n}"), percent)).collect::<Vec<_>>();
        assert!(among(0.0).is_empty());
        assert_eq!(among(100.0).len(), 2000);
        let (some, more) = (among(10.0), among(30.0));
        assert!((150..250).contains(&some.len()) && (520..680).contains(&more.len()), "{} {}", some.len(), more.len());
        assert!(some.iter().all(|key| more.contains(key)));
        assert_ne!(some, (0..2000).filter(|n| is_among("other", &format!("key-{n}"), 10.0)).collect::<Vec<_>>());
    }

    #[test]
    fn a_canary_is_taken_back_for_clearly_more_refusals_or_clearly_slower_screening() {
        let rollback = Rollback { block_rate_factor: 2.0, latency_factor: 2.0, window: Duration::from_secs(300) };
        let stable = counts(1000, 50, 1_000_000);
        for (canary, reason) in [
            (counts(100, 5, 100_000), None),
            (counts(100, 10, 100_000), None),
            (counts(100, 11, 100_000), Some("block_rate")),
            (counts(49, 49, 100_000), None),
            (counts(100, 0, 200_000), None),
            (counts(100, 0, 201_000), Some("latency")),
        ] {
            assert_eq!(rollback.reason(stable, canary), reason, "{canary:?}");
        }
        // Next to nothing, twice, is no alarm; nor is a fast policy that became a little less fast.
        assert_eq!(rollback.reason(counts(1000, 0, 1000), counts(100, 4, 19_000)), None);
        assert_eq!(rollback.reason(counts(1000, 0, 1000), counts(100, 5, 100)), Some("block_rate"));
        assert_eq!(rollback.reason(counts(0, 0, 0), counts(100, 0, 900_000)), None, "nothing to compare with");
        assert_eq!(rollback.reason(counts(0, 0, 0), counts(100, 50, 0)), Some("block_rate"));
    }
}
