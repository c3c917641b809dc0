//! Where events leave the store for the alerts: never waits, and costs nothing where an event is not bad enough.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::sync::mpsc::Sender;

use crate::alert::{Matter, Topic};
use crate::{Event, Severity};

/// Matters between the store and the alerts.
pub(crate) const TAP_MATTERS_MAX: usize = 4_096;

#[derive(Debug)]
pub(crate) struct Tap {
    at_least: Severity,
    sender: Sender<Matter>,
    missed: Arc<AtomicU64>,
}

impl Tap {
    /// A tap for what is at least this bad.
    pub fn new(at_least: Severity, sender: Sender<Matter>, missed: Arc<AtomicU64>) -> Self {
        Self { at_least, sender, missed }
    }

    /// What of an event may be worth an alert.
    pub fn of(&self, event: &Event) -> Option<Box<Matter>> {
        Matter::of(event, self.at_least).map(Box::new)
    }

    /// Hands it on, or counts it as missed.
    pub fn tell(&self, matter: Matter) {
        if self.sender.try_send(matter).is_err() {
            self.missed.fetch_add(1, Relaxed);
        }
    }

    /// Hands on what the gateway itself raises.
    pub fn raise(&self, topic: Topic, note: &str) {
        self.tell(Matter::raised(topic, note));
    }
}
