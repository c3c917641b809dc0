//! What became of each message: counted, told in the log, and put on record.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use crate::alert::rate::Bucket;
use crate::alert::{Answered, Channel, ChannelSettings, Failure, Message};
use crate::store::WeakStore;
use crate::{Event, Kind};

/// Events of kind `alert` a minute, of all channels together; more is counted only.
pub(crate) const EVENTS_PER_MINUTE: u32 = 60;

/// The counters of one channel.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub sent: AtomicU64,
    pub failed: AtomicU64,
    pub dropped: AtomicU64,
    pub suppressed: AtomicU64,
    /// Messages queued or being sent.
    pub in_hand: AtomicU64,
}

/// Puts on record what became of messages.
pub(crate) struct Ledger {
    store: WeakStore,
    rate: Mutex<Bucket>,
}

impl Ledger {
    pub fn new(store: WeakStore) -> Self {
        Self { store, rate: Mutex::new(Bucket::new(EVENTS_PER_MINUTE, Instant::now())) }
    }

    /// A message was taken, or given up for good.
    pub fn note(&self, channel: &Channel, counters: &Counters, message: &Message, attempts: u32, end: &Result<Answered, Failure>) {
        let ChannelSettings { name, .. } = channel.settings();
        match end {
            Ok(_) => {
                counters.sent.fetch_add(1, Relaxed);
                tracing::info!(channel = name, topic = message.lead.topic.as_str(), id = message.id, attempts, "alert sent");
            }
            Err(failure) => {
                counters.failed.fetch_add(1, Relaxed);
                // Not what the other side said: it may say anything.
                tracing::error!(
                    channel = name,
                    topic = message.lead.topic.as_str(),
                    id = message.id,
                    attempts,
                    class = failure.class,
                    "alert given up; try `portcullis alert test`"
                );
            }
        }
        self.record(channel, message, if end.is_ok() { "sent" } else { "given_up" });
    }

    /// A message had to make room for a newer one.
    pub fn dropped(&self, channel: &Channel, counters: &Counters, message: &Message) {
        if counters.dropped.fetch_add(1, Relaxed) == 0 {
            tracing::error!(channel = channel.settings().name, "alerts are dropped: the channel takes them more slowly than they come");
        }
        self.record(channel, message, "dropped");
    }

    fn record(&self, channel: &Channel, message: &Message, outcome: &str) {
        if !self.rate.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now()) {
            return;
        }
        let lead = &message.lead;
        // Without the request's id: under that stand its decision and its completion and nothing else.
        let event = Event {
            tenant: lead.tenant.clone(),
            key_id: lead.key_id.clone(),
            policy: lead.policy.clone(),
            policy_version: lead.policy_version.clone(),
            route: channel.settings().target.kind().to_owned(),
            upstream: channel.settings().name.clone(),
            outcome: outcome.to_owned(),
            ..Event::new(Kind::Alert, "")
        };
        if let Some(store) = self.store.upgrade() {
            // Nobody waits for it; where the store fails, the store's own alarm says so.
            drop(store.record(event));
        }
    }
}
