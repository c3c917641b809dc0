//! Alerts in operation: one thread that watches the store, sorts what comes through the tap, and drives the couriers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{Receiver, channel};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::alert::desk::Desk;
use crate::alert::ledger::{Counters, Ledger};
use crate::alert::queue::Queue;
use crate::alert::tap::TAP_MATTERS_MAX;
use crate::alert::{Channel, Matter, Message, Tap, Topic, courier};
use crate::store::WeakStore;
use crate::{AuditError, Severity, Store, StoreStats};

/// How often windows and the store's health are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// How often it is looked whether everything was delivered.
const SETTLE_INTERVAL: Duration = Duration::from_millis(20);

/// The results that [`ChannelStats`] counts, as metric labels.
pub const STATS_LABELS: [&str; 4] = ["sent", "failed", "dropped", "suppressed"];

/// The counters of one channel since the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelStats {
    /// The channel's name.
    pub name: String,
    /// Messages taken, messages given up, messages that made room for newer ones, and alerts that became no message of their own
    /// (repetitions within a window, and what the rate held back); in the order of [`STATS_LABELS`].
    pub counts: [u64; 4],
}

/// A cloneable handle over running alerts.
#[derive(Clone)]
pub struct Alerts {
    counters: Arc<Vec<(String, Arc<Counters>)>>,
    missed: Arc<AtomicU64>,
    tapped: tokio::sync::mpsc::WeakSender<Matter>,
}

/// One channel at work.
struct Post {
    channel: Arc<Channel>,
    desk: Desk,
    queue: Arc<Queue>,
    counters: Arc<Counters>,
}

impl Alerts {
    /// Starts telling `channels` of what `store` records from now on. For one call on a store.
    ///
    /// # Errors
    /// `Alert` where the thread cannot be started or the store has alerts already.
    pub fn start(store: &Store, channels: Vec<Channel>) -> Result<Self, AuditError> {
        let failed = |cause: String| AuditError::Alert { channel: "all".into(), cause };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| failed(error.to_string()))?;
        let at_least = channels.iter().map(|channel| channel.settings().rule.severity).min().unwrap_or(Severity::Critical);
        let (sender, receiver) = channel(TAP_MATTERS_MAX);
        let (missed, tapped) = (Arc::new(AtomicU64::new(0)), sender.downgrade());
        if !store.tap(Tap::new(at_least, sender, Arc::clone(&missed))) {
            return Err(failed("the store's events are already told to others".into()));
        }
        let now = Instant::now();
        let posts: Vec<Post> = channels.into_iter().map(|channel| Post::new(channel, now)).collect();
        let counters = posts.iter().map(|post| (post.channel.settings().name.clone(), Arc::clone(&post.counters))).collect();
        let ledger = Arc::new(Ledger::new(store.downgrade()));
        let watched = store.downgrade();
        std::thread::Builder::new()
            .name("audit-alerts".into())
            .spawn(move || {
                runtime.block_on(run(receiver, posts, &watched, &ledger));
                runtime.shutdown_background();
            })
            .map_err(|error| failed(error.to_string()))?;
        Ok(Self { counters: Arc::new(counters), missed, tapped })
    }

    /// The counters of all channels.
    pub fn stats(&self) -> Vec<ChannelStats> {
        let read = |(name, counters): &(String, Arc<Counters>)| ChannelStats {
            name: name.clone(),
            counts: [&counters.sent, &counters.failed, &counters.dropped, &counters.suppressed].map(|counter| counter.load(Relaxed)),
        };
        self.counters.iter().map(read).collect()
    }

    /// Alerts that came faster than they could be sorted, and are in no count of a channel.
    pub fn missed(&self) -> u64 {
        self.missed.load(Relaxed)
    }

    /// Waits until what was told so far is delivered or given up, at most `patience`. Counts of open windows are not sent.
    pub async fn settle(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        let idle = || {
            let tap_is_empty = self.tapped.upgrade().is_none_or(|tap| tap.capacity() == tap.max_capacity());
            tap_is_empty && self.counters.iter().all(|(_, counters)| counters.in_hand.load(Relaxed) == 0)
        };
        while !idle() && Instant::now() < deadline {
            tokio::time::sleep(SETTLE_INTERVAL).await;
        }
    }
}

impl Post {
    fn new(channel: Channel, now: Instant) -> Self {
        let settings = channel.settings();
        let desk = Desk::new(settings.rule.clone(), settings.window, settings.per_minute, now);
        Self { desk, channel: Arc::new(channel), queue: Arc::default(), counters: Arc::default() }
    }

    fn take(&mut self, now: Instant, matter: &Matter, ledger: &Ledger) {
        let message = self.desk.take(now, matter);
        self.send(message, ledger);
    }

    fn look(&mut self, now: Instant, ledger: &Ledger) {
        let due = self.desk.due(now);
        self.send(due, ledger);
    }

    fn send(&self, messages: impl IntoIterator<Item = Message>, ledger: &Ledger) {
        self.counters.suppressed.store(self.desk.suppressed, Relaxed);
        for message in messages {
            self.counters.in_hand.fetch_add(1, Relaxed);
            if let Some(overboard) = self.queue.push(message) {
                self.counters.in_hand.fetch_sub(1, Relaxed);
                ledger.dropped(&self.channel, &self.counters, &overboard);
            }
        }
    }
}

async fn run(mut receiver: Receiver<Matter>, mut posts: Vec<Post>, store: &WeakStore, ledger: &Arc<Ledger>) {
    let mut couriers = JoinSet::new();
    for post in &posts {
        couriers.spawn(courier::run(Arc::clone(&post.channel), Arc::clone(&post.queue), Arc::clone(&post.counters), Arc::clone(ledger)));
    }
    let mut watch = Watch::default();
    let mut looks = tokio::time::interval(LOOK_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let matters = tokio::select! {
            matter = receiver.recv() => match matter {
                Some(matter) => vec![matter],
                None => return,
            },
            _ = looks.tick() => {
                for post in &mut posts {
                    post.look(Instant::now(), ledger);
                }
                match store.upgrade() {
                    Some(store) => watch.look(&store.stats()),
                    None => return,
                }
            }
        };
        let now = Instant::now();
        for matter in &matters {
            for post in &mut posts {
                post.take(now, matter, ledger);
            }
        }
    }
}

/// What was last seen of the store's health.
#[derive(Default)]
struct Watch {
    failing: bool,
    broken_at: Option<i64>,
}

impl Watch {
    /// What is new about it.
    fn look(&mut self, stats: &StoreStats) -> Vec<Matter> {
        let mut matters = Vec::new();
        if !std::mem::replace(&mut self.failing, !stats.healthy) && self.failing {
            matters.push(Matter::raised(Topic::StoreFailing, stats.last_error.unwrap_or("unknown")));
        }
        if stats.chain_broken != self.broken_at {
            self.broken_at = stats.chain_broken;
            if let Some(seq) = stats.chain_broken {
                matters.push(Matter::raised(Topic::ChainBroken, &format!("at event number {seq}")));
            }
        }
        matters
    }
}
