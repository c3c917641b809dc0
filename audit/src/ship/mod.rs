//! From the store to ClickHouse: every event, in order, once.
//!
//! A thread of its own reads the store behind its writer, so that requests never wait for ClickHouse. What stays true whatever fails:
//! an event leaves the backlog only when ClickHouse has acknowledged it (or refused it for its content, then it is in quarantine), and
//! a batch once begun is sent with the same events under the same token until then, also after a crash (`ledger.rs`, `batch.rs`).

mod backoff;
mod batch;
mod error;
mod ledger;
mod meter;
mod migrate;
mod native;
mod retry;
mod row;
mod run;
mod table;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;
use zeroize::Zeroizing;

pub use error::{Refusal, ShipError};
pub use ledger::Quarantined;
pub use meter::{Degraded, ShipStats};
pub use migrate::{Layout, Migrated, migrate, sql};
pub use retry::{Fate, Retried, retry_quarantine};

pub(crate) use batch::TS_US_MAX;
pub(crate) use migrate::check_version;
pub(crate) use table::client;

use meter::Meter;

/// Most events in one batch that may be asked for.
pub const BATCH_EVENTS_MAX: usize = 100_000;
/// How long a shipper that is told to stop goes on with what is left.
const STOP_MAX: Duration = Duration::from_secs(5);

/// Where ClickHouse is and how it is fed.
#[derive(Clone)]
pub struct ShipOptions {
    /// `http://host:port` or `https://host:port`, the HTTP interface.
    pub url: String,
    /// The database with the tables.
    pub database: String,
    /// The user; ClickHouse's `default` when absent.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<Zeroizing<String>>,
    /// Certificates (PEM) to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Events in one insert at most.
    pub batch_events: usize,
    /// How often the store is looked at once all is delivered: the usual delay, and the most inserts in that time.
    pub interval: Duration,
    /// How long one insert may take.
    pub timeout: Duration,
}

impl ShipOptions {
    /// Where, with the defaults for all the rest.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            database: "portcullis".into(),
            user: None,
            password: None,
            ca_file: None,
            batch_events: 50_000,
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(30),
        }
    }
}

impl std::fmt::Debug for ShipOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShipOptions").field("url", &self.url).field("database", &self.database).finish_non_exhaustive()
    }
}

/// What the shipper tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// All events up to this number are delivered.
    Delivered(i64),
    /// Nothing was delivered for [`STALLED_AFTER`]; why, a stable class. Told once until something is delivered again.
    Stalled(&'static str),
}

/// How long nothing must be delivered, though something should be, before that is told.
pub const STALLED_AFTER: Duration = Duration::from_secs(60);

/// Hears the news.
type Told = Box<dyn Fn(News) + Send>;

/// A cloneable handle over the thread that delivers. The last handle dropped tells it to stop and waits for it.
#[derive(Debug, Clone)]
pub struct Shipper(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    stop: watch::Sender<bool>,
    meter: Arc<Meter>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Shipper {
    /// Begins to deliver the events of the store at `store`, which must be open. ClickHouse need not be there yet. `told` hears up to
    /// which number events are delivered, at once and after each batch, and when nothing is.
    ///
    /// # Errors
    /// `Options`, `Certificates`, `Store` or `Ledger`: what no waiting mends.
    pub fn start(store: &Path, options: ShipOptions, told: impl Fn(News) + Send + 'static) -> Result<Self, ShipError> {
        let meter = Arc::new(Meter::default());
        let (stop, stopped) = watch::channel(false);
        let run = run::Run::new(store, options, Box::new(told), Arc::clone(&meter), stopped)?;
        let thread = std::thread::Builder::new()
            .name("audit-shipper".into())
            .spawn(move || run.until_stopped())
            .map_err(|error| ShipError::Options(format!("no thread for the shipper: {error}")))?;
        Ok(Self(Arc::new(Inner { stop, meter, thread: Mutex::new(Some(thread)) })))
    }

    /// Returns the present counters.
    pub fn stats(&self) -> ShipStats {
        self.0.meter.snapshot()
    }

    /// Delivers what is left, as far as that works at once and within five seconds, and ends. What stays behind is delivered after
    /// the next start.
    pub fn stop(&self) {
        self.0.finish();
    }
}

impl Inner {
    fn finish(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let _ = self.stop.send(true);
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the audit shipper had ended by a panic");
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.finish();
    }
}

/// The rows of the store at `store` that ClickHouse would not take, by number, at most `limit`; works while the gateway runs.
///
/// # Errors
/// `Store` where there is no store, `Ledger`.
pub fn quarantine(store: &Path, limit: u32) -> Result<Vec<Quarantined>, ShipError> {
    crate::Reader::open(store)?;
    ledger::Ledger::open(store)?.quarantine_rows(limit)
}

/// What a store has and ClickHouse has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    /// Events that are not delivered yet.
    pub undelivered: u64,
    /// Events that ClickHouse would not take.
    pub quarantined: u64,
}

impl Missing {
    /// Whether anything is missing.
    pub fn any(self) -> bool {
        self.undelivered > 0 || self.quarantined > 0
    }
}

/// What the store at `store` has and ClickHouse has not; works while the gateway runs.
///
/// # Errors
/// `Store` where there is no store, `Ledger`.
pub fn missing(store: &Path) -> Result<Missing, ShipError> {
    let reader = crate::Reader::open(store)?;
    if !ledger::beside(store).exists() {
        // Nothing was ever sent; the notes are the shipper's to make.
        return Ok(Missing { undelivered: reader.backlog(0)?.newest_seq.max(0).unsigned_abs(), quarantined: 0 });
    }
    let ledger = ledger::Ledger::open(store)?;
    let delivered =
        ledger.progress()?.filter(|progress| progress.store_id == reader.store_id()).map_or(0, |progress| progress.delivered_seq);
    let undelivered = reader.backlog(delivered)?.newest_seq.saturating_sub(delivered).max(0).unsigned_abs();
    Ok(Missing { undelivered, quarantined: ledger.quarantined()? })
}
