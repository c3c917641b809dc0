//! The store's handle: takes events from async code, never blocks it, and says when each one is durable.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::alert::{Tap, Topic};
use crate::disk::Disk;
use crate::meter::Meter;
use crate::row::Row;
use crate::writer::{self, Message, Pending};
use crate::{AuditError, Event, Fault, Fingerprint, PublicKey, Retention, StoreStats};

/// How a store is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreOptions {
    /// Name of the gateway instance, written into events that come without one.
    pub gateway: String,
    /// Events that may wait for the writer; one more is answered [`AuditError::Overloaded`].
    pub queue_events_max: usize,
    /// Bytes that those events may have together.
    pub queue_bytes_max: usize,
    /// Bytes that the database file may have; a write beyond is a [`Fault::DiskFull`]. `None`: as much as the disk has.
    pub bytes_max: Option<u64>,
    /// What to do with a damaged file.
    pub on_corrupt: OnCorrupt,
    /// Which key signs checkpoints.
    pub signing: Signing,
    /// Events after which a checkpoint is signed ...
    pub checkpoint_events: u64,
    /// ... or time, if there were events in it.
    pub checkpoint_interval: Duration,
    /// How long events are kept.
    pub retention: Retention,
    /// What a receipt promises.
    pub durability: Durability,
}

/// What a receipt promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// The event is synced to the disk: it survives a kill of the process and a loss of power.
    #[default]
    Strict,
    /// The event is committed and handed to the system: it survives a kill of the process. A loss of power may take the newest events,
    /// those of the last [`RELAXED_SYNC_INTERVAL`] and of the sync that runs then, always a whole end of the chain and no piece out of it.
    Relaxed,
}

/// Longest time that a committed event waits for its sync under [`Durability::Relaxed`].
pub const RELAXED_SYNC_INTERVAL: Duration = Duration::from_millis(100);

/// Where the key is that signs checkpoints. A file that is not there is made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Signing {
    /// In `<store>.signing-key`.
    #[default]
    Beside,
    /// In this file.
    File(PathBuf),
    /// Nowhere: no checkpoint is signed, and retention removes nothing, for it could not sign what it removed.
    Off,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            gateway: String::new(),
            queue_events_max: 65_536,
            queue_bytes_max: 64 << 20,
            bytes_max: None,
            on_corrupt: OnCorrupt::Refuse,
            signing: Signing::Beside,
            checkpoint_events: 1_000,
            checkpoint_interval: Duration::from_secs(60),
            retention: Retention::default(),
            durability: Durability::Strict,
        }
    }
}

/// What to do when the file is found damaged at opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnCorrupt {
    /// Refuse to open.
    #[default]
    Refuse,
    /// Move the file and its log to `<path>.corrupt-<time>`, say so in the log, and begin a new one.
    SetAside,
}

/// Proof that an event is durable, as the store's [`Durability`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// The event's number in the store.
    pub seq: i64,
}

/// A cloneable handle over one audit store. The last handle dropped writes what waits and ends the writer.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    gateway: String,
    store_id: String,
    public_key: Option<PublicKey>,
    fingerprint: Fingerprint,
    sender: SyncSender<Message>,
    queue_bytes_max: usize,
    meter: Arc<Meter>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Store {
    /// Opens the store at `path`, creating it and its folder if there is none, and completes what an earlier run left open.
    /// Blocks on the disk: call it before serving.
    ///
    /// # Errors
    /// `Locked`, `Newer`, `Foreign`, `Corrupt`, `SigningKey`, `FingerprintKey` or `Open`, each with the path and what to do.
    pub fn open(path: &Path, options: StoreOptions) -> Result<Self, AuditError> {
        let meter = Arc::new(Meter::default());
        let disk = Disk::open(path, &options, &meter)?;
        let (path, store_id, public_key) = (disk.path().to_path_buf(), disk.store_id().to_owned(), disk.public_key());
        let fingerprint = Fingerprint::load_or_make(&path)?;
        let (sender, receiver) = sync_channel(options.queue_events_max);
        let thread_meter = Arc::clone(&meter);
        let writer = std::thread::Builder::new()
            .name("audit-writer".into())
            .spawn(move || writer::run(&receiver, &thread_meter, disk))
            .map_err(|error| AuditError::open_io(&path, &error))?;
        let (queue_bytes_max, writer) = (options.queue_bytes_max, Mutex::new(Some(writer)));
        let inner = Inner { path, gateway: options.gateway, store_id, public_key, fingerprint, sender, queue_bytes_max, meter, writer };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The key of this store's fingerprints.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.inner.fingerprint
    }

    /// Hands an event to the writer. Never blocks. The event is written whether or not the returned future is awaited or kept.
    pub fn record(&self, mut event: Event) -> Commit {
        if event.gateway.is_empty() {
            event.gateway.clone_from(&self.inner.gateway);
        }
        let event = event.bounded();
        let matter = self.inner.meter.tap.get().and_then(|tap| tap.of(&event));
        let row = match Row::new(event) {
            Ok(row) => row,
            Err(error) => return Commit::ready(Err(AuditError::Write { fault: Fault::Other, cause: error.to_string().into() })),
        };
        let Inner { sender, queue_bytes_max, meter, .. } = &*self.inner;
        let bytes = row.bytes();
        // Counted before it is sent, so that the writer never subtracts what was not yet added.
        let queued = meter.queued.fetch_add(1, Relaxed);
        let queued_bytes = meter.queued_bytes.fetch_add(bytes, Relaxed);
        let (reply, answer) = oneshot::channel();
        let sent = if queued_bytes.saturating_add(bytes) > *queue_bytes_max {
            Err(AuditError::Overloaded { queued })
        } else {
            sender.try_send(Message::Event(Box::new(Pending { row, reply, matter }))).map_err(|error| match error {
                TrySendError::Full(_) => AuditError::Overloaded { queued },
                TrySendError::Disconnected(_) => AuditError::Closed,
            })
        };
        let Err(error) = sent else { return Commit { state: State::Waiting(answer) } };
        meter.queued.fetch_sub(1, Relaxed);
        meter.queued_bytes.fetch_sub(bytes, Relaxed);
        if matches!(error, AuditError::Overloaded { .. }) {
            meter.overloaded.fetch_add(1, Relaxed);
        }
        Commit::ready(Err(error))
    }

    /// Returns the present counters.
    pub fn stats(&self) -> StoreStats {
        self.inner.meter.snapshot()
    }

    /// Returns the store's file, with links resolved.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Returns the store's id: a UUID made once, when the store was made.
    pub fn store_id(&self) -> &str {
        &self.inner.store_id
    }

    /// Returns the key whose signatures its checkpoints bear; `None` where it signs none.
    pub fn public_key(&self) -> Option<PublicKey> {
        self.inner.public_key
    }

    /// Notes that all events up to `seq` were passed on. Never blocks, never goes back; on disk within seconds, so after a crash
    /// [`Store::delivered_seq`] may be a little lower and events are to be passed on again.
    pub fn delivered(&self, seq: i64) {
        self.inner.meter.delivered.fetch_max(seq, Relaxed);
    }

    /// Returns up to which number events were passed on; 0 where none was.
    pub fn delivered_seq(&self) -> i64 {
        self.inner.meter.delivered.load(Relaxed)
    }

    /// Raises an alert that no event tells of; nothing happens where no channel is configured. Never blocks. `note` is shown as it is:
    /// it says what is wrong in words of our own, and nothing of any request.
    pub fn raise(&self, topic: Topic, note: &str) {
        if let Some(tap) = self.inner.meter.tap.get() {
            tap.raise(topic, note);
        }
    }

    /// Has durable events told to `tap` from now on. False where they are told to another one already.
    pub(crate) fn tap(&self, tap: Tap) -> bool {
        self.inner.meter.tap.set(tap).is_ok()
    }

    /// A handle that does not keep the store open.
    pub(crate) fn downgrade(&self) -> WeakStore {
        WeakStore(Arc::downgrade(&self.inner))
    }

    /// Writes everything that waits, closes the file and gives the lock back. Blocks until done.
    /// Whoever records through another handle from now on gets [`AuditError::Closed`].
    ///
    /// # Errors
    /// `Closed` when the writer had died before.
    pub fn close(self) -> Result<(), AuditError> {
        self.inner.finish()
    }
}

/// A handle that does not keep the store open.
pub(crate) struct WeakStore(Weak<Inner>);

impl WeakStore {
    /// The store, while others hold it.
    pub fn upgrade(&self) -> Option<Store> {
        self.0.upgrade().map(|inner| Store { inner })
    }
}

impl Inner {
    fn finish(&self) -> Result<(), AuditError> {
        let Some(writer) = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take() else { return Ok(()) };
        // May wait for room in the queue: the writer is emptying it, and if it is gone the send fails at once.
        let sent = self.sender.send(Message::Close);
        let joined = writer.join();
        if sent.is_err() || joined.is_err() { Err(AuditError::Closed) } else { Ok(()) }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Err(error) = self.finish() {
            tracing::error!(path = %self.path.display(), %error, "audit writer had ended before its store");
        }
    }
}

/// The answer to a recorded event: ready when the event is durable, or cannot be. Dropping it does not take the event back.
#[derive(Debug)]
#[must_use = "await it where the event must be durable before going on; drop it where that does not matter"]
pub struct Commit {
    state: State,
}

#[derive(Debug)]
enum State {
    Waiting(oneshot::Receiver<Result<Receipt, AuditError>>),
    Ready(Result<Receipt, AuditError>),
}

impl Commit {
    fn ready(result: Result<Receipt, AuditError>) -> Self {
        Self { state: State::Ready(result) }
    }

    /// Waits for the answer on a thread that may block. Panics inside an async runtime.
    ///
    /// # Errors
    /// As awaiting it.
    pub fn wait(self) -> Result<Receipt, AuditError> {
        match self.state {
            State::Waiting(answer) => answer.blocking_recv().unwrap_or(Err(AuditError::Closed)),
            State::Ready(result) => result,
        }
    }
}

impl Future for Commit {
    type Output = Result<Receipt, AuditError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.state {
            // A sender dropped without an answer means that the writer ended with this event in its hands.
            State::Waiting(answer) => Pin::new(answer).poll(context).map(|answer| answer.unwrap_or(Err(AuditError::Closed))),
            State::Ready(result) => Poll::Ready(result.clone()),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::{Decision, Filter, Kind, Reader};

    fn together(commits: Vec<Commit>) -> Vec<Result<Receipt, AuditError>> {
        commits.into_iter().map(Commit::wait).collect()
    }

    /// A folder that goes away with the test, and the store's path in it.
    pub(crate) fn place() -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.db");
        (folder, path)
    }

    /// A forwarded decision for request `id`.
    pub(crate) fn allowed(id: &str) -> Event {
        Event { tenant: "acme".into(), decision: Some(Decision::Allow), ..Event::new(Kind::Decision, id) }
    }

    /// A store at `path` with the usual options.
    pub(crate) fn open(path: &Path) -> Store {
        Store::open(path, StoreOptions::default()).unwrap()
    }

    /// Holds the file's write lock as a foreign process would, so that the writer waits until it is dropped.
    fn stall(path: &Path) -> rusqlite::Connection {
        let connection = rusqlite::Connection::open(path).unwrap();
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        connection
    }

    #[test]
    fn many_waiting_events_share_one_commit_and_keep_their_order() {
        let (_folder, path) = place();
        let store = open(&path);
        let stalled = stall(&path);
        let commits: Vec<Commit> = (0..1000).map(|n| store.record(allowed(&format!("r{n}")))).collect();
        drop(stalled);
        let seqs: Vec<i64> = together(commits).into_iter().map(|answer| answer.unwrap().seq).collect();
        assert!(seqs.is_sorted_by(|a, b| a < b), "events are numbered in the order they were recorded");
        let stats = store.stats();
        assert_eq!((stats.committed, stats.failed, stats.queued, stats.queued_bytes), (1000, 0, 0, 0));
        assert!(stats.batches <= 2, "1000 events took {} commits", stats.batches);
        assert!(stats.commit_max >= stats.commit_last && stats.bytes > 0 && stats.healthy);
        let read = Reader::open(&path).unwrap().events_after(0, 2000).unwrap();
        let ids: Vec<String> = read.iter().map(|stored| stored.event.request_id.clone()).collect();
        assert_eq!(ids, (0..1000).map(|n| format!("r{n}")).collect::<Vec<_>>());
    }

    #[test]
    fn an_acknowledged_event_can_be_read_from_outside_while_the_store_is_open() {
        let (_folder, path) = place();
        let store = open(&path);
        let receipt = store.record(allowed("r1")).wait().unwrap();
        let read = Reader::open(&path).unwrap().tail(None, 10, &Filter::default()).unwrap();
        assert_eq!((read.len(), read[0].seq), (1, receipt.seq));
    }

    #[test]
    fn events_recorded_from_many_threads_are_all_there_once() {
        let (_folder, path) = place();
        let store = open(&path);
        std::thread::scope(|scope| {
            for thread in 0..16 {
                let store = store.clone();
                scope.spawn(move || {
                    for n in 0..8 {
                        store.record(allowed(&format!("{thread}-{n}"))).wait().unwrap();
                    }
                });
            }
        });
        let stats = store.stats();
        assert_eq!(stats.committed, 128);
        assert!(stats.batches < 128, "no commit was shared");
        assert_eq!(Reader::open(&path).unwrap().count().unwrap(), 128);
    }

    #[test]
    fn a_commit_can_be_awaited() {
        let (_folder, path) = place();
        let store = open(&path);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let seq = runtime.block_on(async { store.record(allowed("r1")).await.unwrap().seq });
        assert_eq!(seq, 1);
    }

    #[test]
    fn an_event_whose_commit_was_dropped_is_written() {
        let (_folder, path) = place();
        let store = open(&path);
        let stalled = stall(&path);
        for n in 0..10 {
            drop(store.record(allowed(&format!("r{n}"))));
        }
        drop(stalled);
        store.close().unwrap();
        assert_eq!(Reader::open(&path).unwrap().count().unwrap(), 10);
    }

    #[test]
    fn dropping_the_last_handle_writes_what_waits() {
        let (_folder, path) = place();
        let store = open(&path);
        drop(store.record(allowed("r1")));
        drop(store);
        assert_eq!(Reader::open(&path).unwrap().count().unwrap(), 1);
    }

    #[test]
    fn a_full_queue_answers_at_once_and_takes_again_later() {
        let (_folder, path) = place();
        let store = Store::open(&path, StoreOptions { queue_events_max: 2, ..StoreOptions::default() }).unwrap();
        let stalled = stall(&path);
        let mut taken = Vec::new();
        let refused = (0..1000).find_map(|n| {
            let commit = store.record(allowed(&format!("r{n}")));
            match commit.state {
                State::Ready(result) => Some(result),
                State::Waiting(_) => {
                    taken.push(commit);
                    None
                }
            }
        });
        assert!(matches!(refused, Some(Err(AuditError::Overloaded { .. }))), "{refused:?}");
        assert_eq!(store.stats().overloaded, 1);
        drop(stalled);
        let count = taken.len() as u64;
        assert!(together(taken).iter().all(Result::is_ok));
        store.record(allowed("later")).wait().unwrap();
        assert_eq!(Reader::open(&path).unwrap().count().unwrap(), count + 1, "the refused event is not there");
        assert_eq!((store.stats().queued, store.stats().queued_bytes), (0, 0));
    }

    #[test]
    fn a_queue_over_its_bytes_answers_overloaded() {
        let (_folder, path) = place();
        let store = Store::open(&path, StoreOptions { queue_bytes_max: 4_096, ..StoreOptions::default() }).unwrap();
        let event = Event { redacted_prompt: Some("x".repeat(4_096)), ..allowed("r1") };
        assert!(matches!(store.record(event).wait(), Err(AuditError::Overloaded { .. })));
        store.record(allowed("r2")).wait().unwrap();
    }

    #[test]
    fn a_closed_store_refuses_and_gives_its_lock_back() {
        let (_folder, path) = place();
        let store = open(&path);
        let other = store.clone();
        store.close().unwrap();
        assert!(matches!(other.record(allowed("r1")).wait(), Err(AuditError::Closed)));
        assert!(!other.stats().healthy);
        open(&path).close().unwrap();
    }

    #[test]
    fn the_same_event_twice_is_stored_once_and_another_under_its_id_is_refused_alone() {
        let (_folder, path) = place();
        let store = open(&path);
        let event = allowed("r1");
        let forged = Event { model: "other".into(), ..event.clone() };
        let stalled = stall(&path);
        let commits = [event.clone(), event, forged, allowed("r2")].map(|event| store.record(event));
        drop(stalled);
        let [first, again, forged, next] = commits.map(Commit::wait);
        assert_eq!(first.unwrap(), again.unwrap());
        assert!(matches!(forged, Err(AuditError::Conflict { .. })));
        next.unwrap();
        assert!(store.stats().healthy, "a refused event is no failure of the store");
        assert_eq!(Reader::open(&path).unwrap().count().unwrap(), 2);
    }

    #[test]
    fn a_request_has_one_decision_and_one_completion() {
        let (_folder, path) = place();
        let store = open(&path);
        let decision = allowed("r1");
        store.record(decision.clone()).wait().unwrap();
        store.record(Event::completion_of(&decision)).wait().unwrap();
        for second in [allowed("r1"), Event::new(Kind::Limit, "r1"), Event::completion_of(&decision)] {
            assert!(matches!(store.record(second).wait(), Err(AuditError::Conflict { .. })));
        }
        for _ in 0..2 {
            store.record(Event::new(Kind::Rejected, "")).wait().unwrap();
        }
        assert_eq!(Reader::open(&path).unwrap().count().unwrap(), 4);
    }

    #[test]
    fn any_text_comes_back_as_it_was() {
        let (_folder, path) = place();
        let store = open(&path);
        let nasty = "nul \0 tab \t line \n quotes \" ' \\ `, {\"json\": 1}, \u{202e}abc, 中文, 👩‍💻, \u{1b}[31m, __exception__";
        let event = Event {
            model: nasty.into(),
            tenant: nasty.into(),
            redacted_prompt: Some(nasty.repeat(20)),
            failed_open: vec![nasty.into()],
            ..allowed(nasty)
        };
        store.record(event.clone()).wait().unwrap();
        let reader = Reader::open(&path).unwrap();
        let filter = Filter { tenant: Some(nasty.into()), request_id: Some(nasty.into()), ..Filter::default() };
        assert_eq!(reader.tail(None, 10, &filter).unwrap()[0].event, event);
    }
}
