//! What one key and the whole gateway may use at a time: requests per minute, concurrent requests, memory.
//!
//! Everything taken is a guard that gives itself back when dropped, however the request ends.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use governor::clock::{Clock, QuantaClock};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::keys::KeyRecord;
use crate::reply::No;

/// The limits of one key.
#[derive(Debug)]
pub struct KeyLimits {
    rate: DefaultDirectRateLimiter,
    running: Arc<Semaphore>,
    clock: QuantaClock,
}

impl KeyLimits {
    /// Limits as the key's record says, all free.
    pub fn new(key: &KeyRecord) -> Self {
        let one = NonZeroU32::MIN;
        let quota = Quota::per_minute(NonZeroU32::new(key.requests_per_minute).unwrap_or(one))
            .allow_burst(NonZeroU32::new(key.burst).unwrap_or(one));
        Self { rate: RateLimiter::direct(quota), running: Arc::new(Semaphore::new(key.concurrent as usize)), clock: QuantaClock::default() }
    }

    /// Takes one request's share. Concurrency is asked first: a caller turned away for it has not used up its rate.
    ///
    /// # Errors
    /// [`No::Limit`] with the name of the limit and when to try again.
    pub fn take(&self) -> Result<Permit, No> {
        let running = Arc::clone(&self.running)
            .try_acquire_owned()
            .map_err(|_| No::Limit { name: "concurrent", retry_after: Duration::from_secs(1) })?;
        self.rate
            .check()
            .map_err(|until| No::Limit { name: "requests_per_minute", retry_after: until.wait_time_from(self.clock.now()) })?;
        Ok(Permit { _running: running })
    }
}

/// One running request of a key.
#[derive(Debug)]
pub struct Permit {
    _running: OwnedSemaphorePermit,
}

/// How many refusals of unknown callers are put on record for one address at once, and per minute after that.
const STRANGER_BURST: NonZeroU32 = NonZeroU32::new(600).unwrap();
const STRANGER_PER_MINUTE: NonZeroU32 = NonZeroU32::new(60).unwrap();
/// Addresses remembered before those that have been quiet are forgotten.
const STRANGERS_MAX: usize = 10_000;

/// Keeps callers without a key from filling the audit store: past a rate per address their refusals are counted, not recorded.
#[derive(Debug)]
pub struct Strangers {
    rates: DefaultKeyedRateLimiter<IpAddr>,
}

impl Default for Strangers {
    fn default() -> Self {
        Self { rates: RateLimiter::keyed(Quota::per_minute(STRANGER_PER_MINUTE).allow_burst(STRANGER_BURST)) }
    }
}

impl Strangers {
    /// Whether one more refusal of this address is put on record. An IPv6 network of /64 counts as one address.
    pub fn is_recorded(&self, address: IpAddr) -> bool {
        if self.rates.len() > STRANGERS_MAX {
            self.rates.retain_recent();
        }
        let network = match address {
            IpAddr::V4(_) => address,
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        };
        self.rates.check_key(&network).is_ok()
    }
}

/// A number of things (bytes, connections) shared by all, of which parts can be taken.
#[derive(Clone, Debug)]
pub struct Budget {
    left: Arc<AtomicUsize>,
}

impl Budget {
    /// A budget of `total`.
    pub fn new(total: usize) -> Self {
        Self { left: Arc::new(AtomicUsize::new(total)) }
    }

    /// Takes `amount`, or `None` when there is not so much left.
    pub fn take(&self, amount: usize) -> Option<Share> {
        let mut share = Share { left: Arc::clone(&self.left), amount: 0 };
        share.grow(amount).then_some(share)
    }

    /// What is left.
    pub fn left(&self) -> usize {
        self.left.load(Ordering::Relaxed)
    }
}

/// A part of a [`Budget`], given back when dropped.
#[derive(Debug)]
pub struct Share {
    left: Arc<AtomicUsize>,
    amount: usize,
}

impl Share {
    /// Takes `more`; false, and nothing taken, when there is not so much left.
    pub fn grow(&mut self, more: usize) -> bool {
        let taken = self.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(more)).is_ok();
        if taken {
            self.amount += more;
        }
        taken
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.left.fetch_add(self.amount, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(requests_per_minute: u32, burst: u32, concurrent: u32) -> KeyRecord {
        KeyRecord {
            id: "k".into(),
            sha256: String::new(),
            tenant: "t".into(),
            models: vec![],
            policy: "default".into(),
            routes: std::collections::BTreeMap::new(),
            requests_per_minute,
            burst,
            concurrent,
            revoked: false,
        }
    }

    #[test]
    fn a_burst_passes_and_one_more_waits_for_its_share() {
        let limits = KeyLimits::new(&key(60, 3, 10));
        for _ in 0..3 {
            drop(limits.take().unwrap());
        }
        let Err(No::Limit { name, retry_after }) = limits.take() else { panic!("a fourth passed") };
        assert_eq!(name, "requests_per_minute");
        assert!(retry_after <= Duration::from_secs(1));
    }

    #[test]
    fn a_slot_comes_back_when_its_permit_is_dropped_and_costs_no_rate_when_refused() {
        let limits = KeyLimits::new(&key(60, 2, 1));
        let first = limits.take().unwrap();
        for _ in 0..50 {
            assert!(matches!(limits.take(), Err(No::Limit { name: "concurrent", .. })));
        }
        drop(first);
        assert!(limits.take().is_ok());
    }

    #[test]
    fn an_address_is_put_on_record_so_often_and_no_more() {
        let strangers = Strangers::default();
        let at = |last: &str| format!("2001:db8::{last}").parse::<IpAddr>().unwrap();
        assert_eq!((0..1000).filter(|i| strangers.is_recorded(at(if i % 2 == 0 { "1" } else { "2" }))).count(), 600);
        assert!(strangers.is_recorded("192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn a_budget_is_whole_again_after_its_shares() {
        let budget = Budget::new(10);
        let mut share = budget.take(4).unwrap();
        assert!(share.grow(6));
        assert!(!share.grow(1));
        assert!(budget.take(1).is_none());
        drop(share);
        assert_eq!(budget.left(), 10);
    }
}
