//! The loop of the shipper's thread: one batch after the other, each until it is acknowledged.

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::backoff::Backoff;
use super::batch::Batch;
use super::error::{Refusal, ShipError};
use super::ledger::{Ledger, Progress};
use super::meter::{Degraded, Meter};
use super::table::Table;
use super::{BATCH_EVENTS_MAX, News, STALLED_AFTER, STOP_MAX, ShipOptions, Told};
use crate::{Reader, crash};

/// How often the backlog is measured while a wait lasts.
const MEASURE_EVERY: Duration = Duration::from_secs(1);
/// Rows refused one after the other, none taken between, from which on the fault is looked for in the table.
const REFUSED_MAX: usize = 64;

/// All that the thread owns.
pub(crate) struct Run {
    options: ShipOptions,
    reader: Reader,
    ledger: Ledger,
    table: Table,
    told: Told,
    meter: Arc<Meter>,
    stop: watch::Receiver<bool>,
    progress: Progress,
    /// The batch on its way.
    work: Option<Work>,
    ahead: Option<Ahead>,
    /// Reads ahead; away while it does.
    second_reader: Option<Reader>,
    /// Whether the tables were found to be those this program knows.
    tables_checked: bool,
    refused_in_a_row: usize,
    ill: Ill,
}

/// Whether nothing is delivered at present, and whether that was told.
#[derive(Clone, Copy)]
enum Ill {
    No,
    Since(Instant),
    Told,
}

/// A batch, by the numbers of its events, and the pieces of it that are still to be acknowledged, the next one last.
struct Work {
    last: i64,
    last_event: String,
    /// Whether more events were there when it was made.
    full: bool,
    pieces: Vec<RangeInclusive<i64>>,
    /// What the next piece is sent as; read again where it is not there.
    made: Option<Batch>,
}

/// The next batch, which is read and written while the one before is on its way.
struct Ahead {
    /// The number after which it begins.
    after: i64,
    making: JoinHandle<(Reader, Result<Option<Batch>, ShipError>)>,
}

/// What one step came to.
enum Step {
    Delivered,
    Idle,
}

impl Run {
    pub fn new(store: &Path, options: ShipOptions, told: Told, meter: Arc<Meter>, stop: watch::Receiver<bool>) -> Result<Self, ShipError> {
        if options.batch_events == 0 || options.batch_events > BATCH_EVENTS_MAX {
            return Err(ShipError::Options(format!("audit.clickhouse.batch_events must be from 1 to {BATCH_EVENTS_MAX}")));
        }
        let reader = Reader::open(store)?;
        let ledger = Ledger::open(store)?;
        let table = Table::new(&options)?;
        let progress = begin(&reader, &ledger)?;
        let quarantined = ledger.quarantined()?;
        meter.change(|stats| {
            stats.delivered_seq = progress.delivered_seq;
            stats.quarantined = quarantined;
        });
        told(News::Delivered(progress.delivered_seq));
        Ok(Self {
            options,
            told,
            reader,
            ledger,
            table,
            meter,
            stop,
            progress,
            work: None,
            ahead: None,
            second_reader: None,
            tables_checked: false,
            refused_in_a_row: 0,
            ill: Ill::No,
        })
    }

    /// Runs until it is told to stop.
    pub fn until_stopped(mut self) {
        let mut ended = MarkEnded { meter: Arc::clone(&self.meter), in_peace: false };
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::error!(%error, "no runtime for the audit shipper");
                return;
            }
        };
        let mut stop = self.stop.clone();
        runtime.block_on(async {
            let patience = async {
                // An error here means that all handles are gone, which is a stop too.
                let _ = stop.wait_for(|stop| *stop).await;
                tokio::time::sleep(STOP_MAX).await;
            };
            tokio::select! {
                () = self.deliver_all() => {}
                () = patience => tracing::warn!("stopping: the rest of the audit events is delivered after the next start"),
            }
        });
        ended.in_peace = true;
    }

    async fn deliver_all(&mut self) {
        let mut backoff = Backoff::default();
        loop {
            let wait = match self.step().await {
                Ok(step) => {
                    backoff.reset();
                    self.is_well();
                    match step {
                        Step::Delivered => continue,
                        Step::Idle => self.options.interval,
                    }
                }
                Err(error) => {
                    self.is_ill(&error);
                    backoff.next()
                }
            };
            if self.stops() {
                return;
            }
            self.pause(wait).await;
        }
    }

    /// Delivers the batch on its way, or the next one.
    async fn step(&mut self) -> Result<Step, ShipError> {
        if !self.tables_checked {
            self.table.check().await?;
            self.tables_checked = true;
        }
        let Some(mut work) = self.take_work().await? else { return Ok(Step::Idle) };
        if work.full {
            self.read_ahead(work.last)?;
        }
        if let Err(error) = self.deliver(&mut work).await {
            self.work = Some(work);
            return Err(error);
        }
        crash::point("inserted");
        self.ledger.delivered(work.last, &work.last_event)?;
        (self.told)(News::Delivered(work.last));
        crash::point("acknowledged");
        self.progress.delivered_seq = work.last;
        self.progress.sending = None;
        self.meter.change(|stats| stats.batches += 1);
        self.measure();
        Ok(Step::Delivered)
    }

    /// The batch that failed before, or one that an earlier run began, or a new one, which is begun here.
    async fn take_work(&mut self) -> Result<Option<Work>, ShipError> {
        if let Some(work) = self.work.take() {
            self.meter.change(|stats| stats.retries += 1);
            return Ok(Some(work));
        }
        let mut batch = None;
        if let Some((first, last)) = self.progress.sending {
            batch = Batch::again(&self.reader, first, last)?;
        }
        if batch.is_none() {
            batch = self.next_batch().await?;
            if let Some(Batch { first, last, .. }) = batch {
                self.ledger.begin_batch(first, last)?;
                crash::point("batch_begun");
                self.progress.sending = Some((first, last));
            }
        }
        Ok(batch.map(|batch| Work {
            last: batch.last,
            last_event: batch.last_event.clone(),
            full: batch.full,
            pieces: vec![batch.first..=batch.last],
            made: Some(batch),
        }))
    }

    /// The batch that was read ahead, if it is the next one, or else one that is read now.
    async fn next_batch(&mut self) -> Result<Option<Batch>, ShipError> {
        let after = self.progress.delivered_seq;
        if let Some(Ahead { after: there, making }) = self.ahead.take() {
            let (reader, made) = making.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
            self.second_reader = Some(reader);
            if let Some(batch) = made?.filter(|_| there == after) {
                return Ok(Some(batch));
            }
        }
        Batch::next(&self.reader, after, self.options.batch_events)
    }

    /// Begins to read what comes after `after`, on a thread of its own.
    fn read_ahead(&mut self, after: i64) -> Result<(), ShipError> {
        if self.ahead.is_some() {
            return Ok(());
        }
        let reader = self.second_reader.take().map_or_else(|| Reader::open(self.reader.path()), Ok)?;
        let events_max = self.options.batch_events;
        let making = tokio::task::spawn_blocking(move || {
            let made = Batch::next(&reader, after, events_max);
            (reader, made)
        });
        self.ahead = Some(Ahead { after, making });
        Ok(())
    }

    /// Inserts piece after piece. A piece that is refused for what is in it is halved, until the row that it is for stands alone.
    async fn deliver(&mut self, work: &mut Work) -> Result<(), ShipError> {
        while let Some(piece) = work.pieces.last().cloned() {
            let (first, last) = piece.into_inner();
            let made = work.made.take().map_or_else(|| Batch::again(&self.reader, first, last), |batch| Ok(Some(batch)))?;
            // Whatever was of it is gone from the store.
            let Some(mut batch) = made else {
                work.pieces.pop();
                continue;
            };
            match self.table.insert(&mut batch).await {
                Ok(()) => {
                    self.refused_in_a_row = 0;
                    self.meter.change(|stats| stats.rows += batch.rows);
                    work.pieces.pop();
                }
                Err(ShipError::Content(refusal)) if batch.rows == 1 => {
                    self.quarantine(batch.first, refusal)?;
                    work.pieces.pop();
                }
                Err(ShipError::Content(_)) => {
                    work.pieces.pop();
                    let middle = first + (last - first) / 2;
                    work.pieces.push(middle + 1..=last);
                    work.pieces.push(first..=middle);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Puts a row aside, unless so many were refused that the fault is hardly in them.
    fn quarantine(&mut self, seq: i64, refusal: Refusal) -> Result<(), ShipError> {
        if self.refused_in_a_row >= REFUSED_MAX {
            return Err(ShipError::RefusesAll { rows: self.refused_in_a_row, refusal });
        }
        self.refused_in_a_row += 1;
        let Some(stored) = self.reader.events_after(seq - 1, 1)?.pop().filter(|stored| stored.seq == seq) else { return Ok(()) };
        self.ledger.quarantine(self.reader.store_id(), &stored, &refusal)?;
        let quarantined = self.ledger.quarantined()?;
        self.meter.change(|stats| stats.quarantined = quarantined);
        tracing::error!(seq, event_id = %stored.event.event_id, reason = %refusal, "ClickHouse refuses an audit event; it is in quarantine");
        Ok(())
    }

    fn is_well(&mut self) {
        self.ill = Ill::No;
        let mut before = None;
        self.meter.change(|stats| before = stats.degraded.take());
        if before.is_some() {
            tracing::info!("audit events are delivered to ClickHouse again");
        }
    }

    fn is_ill(&mut self, error: &ShipError) {
        self.ill = match self.ill {
            Ill::No => Ill::Since(Instant::now()),
            Ill::Since(since) if since.elapsed() >= STALLED_AFTER => {
                (self.told)(News::Stalled(error.class()));
                Ill::Told
            }
            as_before => as_before,
        };
        if self.meter.failed(error) {
            tracing::error!(class = error.class(), %error, "audit events are not delivered to ClickHouse; they are kept and sent again");
        }
        self.measure();
        // What was known of the tables may be what was wrong.
        self.tables_checked = false;
    }

    fn stops(&self) -> bool {
        *self.stop.borrow()
    }

    /// Waits, or until told to stop, and measures the backlog meanwhile.
    async fn pause(&mut self, wait: Duration) {
        let end = tokio::time::Instant::now() + wait;
        loop {
            let next = end.min(tokio::time::Instant::now() + MEASURE_EVERY);
            let stopped = tokio::time::timeout_at(next, self.stop.wait_for(|stop| *stop)).await.is_ok();
            self.measure();
            if stopped || next == end {
                return;
            }
        }
    }

    fn measure(&self) {
        let delivered = self.progress.delivered_seq;
        match self.reader.backlog(delivered) {
            Ok(backlog) => self.meter.change(|stats| {
                stats.delivered_seq = delivered;
                stats.backlog = backlog.newest_seq.saturating_sub(delivered).max(0).unsigned_abs();
                stats.oldest_us = backlog.oldest_us;
            }),
            Err(error) => tracing::warn!(%error, "the backlog of audit events cannot be measured"),
        }
        // An operator may have let some out.
        match self.ledger.quarantined() {
            Ok(quarantined) => self.meter.change(|stats| stats.quarantined = quarantined),
            Err(error) => tracing::warn!(%error, "the audit events in quarantine cannot be counted"),
        }
    }
}

/// How far the delivery of this store is. A store that is not the one before (another file, or one put back from a copy) is delivered
/// from its first event; its tokens differ, since they tell of the events themselves.
fn begin(reader: &Reader, ledger: &Ledger) -> Result<Progress, ShipError> {
    let Some(progress) = ledger.progress()? else { return ledger.begin_store(reader.store_id()) };
    let delivered = progress.delivered_seq;
    let same = match reader.events_after(delivered - 1, 1)?.first() {
        _ if progress.store_id != reader.store_id() => false,
        _ if delivered == 0 => true,
        Some(found) if found.seq == delivered => found.event.event_id == progress.delivered_event,
        // The last event delivered is gone: by age, if there are later ones.
        Some(_) => true,
        None => false,
    };
    if same {
        return Ok(progress);
    }
    tracing::warn!(
        delivered,
        "the audit store is not the one that was delivered from before; all of it is delivered, from its first event"
    );
    ledger.begin_store(reader.store_id())
}

/// Whatever way the thread ends but the good one, nothing is delivered any more, and health says so.
struct MarkEnded {
    meter: Arc<Meter>,
    in_peace: bool,
}

impl Drop for MarkEnded {
    fn drop(&mut self) {
        if !self.in_peace {
            let message = "the shipper has ended by a fault of its own; restart the gateway, and report this".into();
            self.meter.change(|stats| stats.degraded = Some(Degraded { class: "panic", message }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{allowed, open, place};

    #[test]
    fn a_store_that_was_put_back_or_begun_anew_is_delivered_from_its_first_event() {
        let (_folder, path) = place();
        let store = open(&path);
        for id in ["a", "b", "c"] {
            store.record(allowed(id)).wait().unwrap();
        }
        let reader = Reader::open(&path).unwrap();
        let ledger = Ledger::open(&path).unwrap();
        let first = begin(&reader, &ledger).unwrap();
        assert_eq!((first.delivered_seq, begin(&reader, &ledger).unwrap().store_id), (0, first.store_id.clone()), "nothing delivered yet");

        let second = reader.events_after(1, 1).unwrap().remove(0);
        ledger.delivered(2, &second.event.event_id).unwrap();
        let same = begin(&reader, &ledger).unwrap();
        assert_eq!((same.delivered_seq, &same.store_id), (2, &first.store_id));

        for (seq, event_id) in [(2, "of another store"), (9, "past the end of a copy")] {
            ledger.delivered(seq, event_id).unwrap();
            let anew = begin(&reader, &ledger).unwrap();
            assert_eq!(anew.delivered_seq, 0, "{event_id}");
        }
    }

    #[test]
    fn a_size_of_batches_that_cannot_be_is_refused() {
        let (_folder, path) = place();
        let _store = open(&path);
        for batch_events in [0, BATCH_EVENTS_MAX + 1] {
            let (_stop, stopped) = watch::channel(false);
            let options = ShipOptions { batch_events, ..ShipOptions::new("http://127.0.0.1:1") };
            assert!(matches!(Run::new(&path, options, Box::new(|_| ()), Arc::default(), stopped), Err(ShipError::Options(_))));
        }
    }
}
