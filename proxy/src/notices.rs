//! Exceptions that have expired, told in the log once a day: with the first request of a day, and so after each start.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use portcullis_policies::{Day, Policy};

use crate::gate::Gate;

/// The day that the log was last told about.
static TOLD: AtomicI32 = AtomicI32::new(i32::MIN);

/// What day it is, by UTC.
pub fn today() -> Day {
    Day(i32::try_from(jiff::Timestamp::now().as_second().div_euclid(86_400)).unwrap_or(i32::MAX))
}

/// Tells the log about the policies in force, unless it knows for today.
pub fn tell(gate: &Gate, today: Day) {
    if TOLD.load(Ordering::Relaxed) == today.0 || TOLD.swap(today.0, Ordering::Relaxed) == today.0 {
        return;
    }
    let callers = gate.callers();
    let policies: BTreeMap<&str, &Arc<Policy>> =
        callers.values().flat_map(|caller| caller.held.all()).map(|held| (held.policy.version(), &held.policy)).collect();
    for policy in policies.into_values() {
        for notice in policy.notices(today) {
            tracing::warn!(policy = policy.name(), rule = notice.rule, owner = notice.owner, holds = notice.holds, "{notice}");
        }
    }
}
