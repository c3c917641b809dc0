//! The writer thread: takes all events that wait, makes them durable in one commit, answers everyone who waits.
//!
//! Nothing is delayed to make a group larger: the events of the next group gather while the disk is busy with this one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::alert::Matter;
use crate::disk::Disk;
use crate::meter::Meter;
use crate::row::Row;
use crate::{AuditError, Fault, Receipt};

/// Events in one commit at most.
const GROUP_EVENTS_MAX: usize = 4_096;
/// Bytes in one commit, beyond which no further event joins it.
const GROUP_BYTES_MAX: usize = 8 << 20;

pub(crate) enum Message {
    Event(Box<Pending>),
    Close,
}

/// An event on its way to the disk.
pub(crate) struct Pending {
    pub row: Row,
    pub reply: oneshot::Sender<Answer>,
    /// What may be worth an alert, once it is durable.
    pub matter: Option<Box<Matter>>,
}

/// Who waits for an event, and what is to be told of it.
struct Waiting {
    reply: oneshot::Sender<Answer>,
    matter: Option<Box<Matter>>,
}

/// What becomes of one event.
pub(crate) type Answer = Result<Receipt, AuditError>;

/// Writes until a [`Message::Close`] or until all handles are gone, then closes the disk.
pub(crate) fn run(receiver: &Receiver<Message>, meter: &Meter, mut disk: Disk) {
    let _ended = MarkEnded(meter);
    let mut wait = disk.leisure();
    loop {
        let Group { mut rows, replies, last } = Group::take(receiver, meter, wait);
        if !rows.is_empty() {
            let began = Instant::now();
            let result = guarded(|| disk.commit(&mut rows));
            if result.is_ok() {
                meter.commit_took(began.elapsed());
            }
            answer(replies, result, meter);
            // After the answers, so that nobody waits for it.
            if let Err(error) = guarded(|| disk.tidy(&rows, meter)) {
                tracing::error!(path = %disk.path().display(), %error, "audit store: checkpoint failed");
                meter.failure(&error);
            }
        }
        if let Err(error) = guarded(|| disk.sync_if_due()) {
            tracing::error!(path = %disk.path().display(), %error, "audit store: events answered without a sync could not be synced later");
            meter.failure(&error);
        }
        let chores = guarded(|| if last { disk.end(meter).map(|()| false) } else { disk.chores(meter) });
        let more = chores.unwrap_or_else(|error| {
            tracing::error!(path = %disk.path().display(), %error, "audit store: checkpoint or retention failed");
            false
        });
        wait = if more { Duration::ZERO } else { disk.leisure() };
        if last {
            return;
        }
    }
}

/// Whatever way the writer ends, the store is no longer healthy.
struct MarkEnded<'a>(&'a Meter);

impl Drop for MarkEnded<'_> {
    fn drop(&mut self) {
        self.0.broken.store(true, Relaxed);
    }
}

struct Group {
    rows: Vec<Row>,
    replies: Vec<Waiting>,
    last: bool,
}

impl Group {
    /// Waits for one message, at most `wait`, then takes what else is there, up to the bounds.
    fn take(receiver: &Receiver<Message>, meter: &Meter, wait: Duration) -> Self {
        let mut group = Self { rows: Vec::new(), replies: Vec::new(), last: false };
        let mut bytes = 0;
        let mut next = match receiver.recv_timeout(wait) {
            Ok(message) => Some(message),
            Err(RecvTimeoutError::Timeout) => return group,
            Err(RecvTimeoutError::Disconnected) => None,
        };
        loop {
            match next {
                Some(Message::Event(pending)) => {
                    let Pending { row, reply, matter } = *pending;
                    meter.queued.fetch_sub(1, Relaxed);
                    meter.queued_bytes.fetch_sub(row.bytes(), Relaxed);
                    bytes += row.bytes();
                    group.rows.push(row);
                    group.replies.push(Waiting { reply, matter });
                }
                Some(Message::Close) => group.last = true,
                // Only the blocking receive can say so for good; an empty queue just ends the group.
                None => group.last = group.rows.is_empty(),
            }
            if group.last || group.rows.len() >= GROUP_EVENTS_MAX || bytes >= GROUP_BYTES_MAX {
                return group;
            }
            match receiver.try_recv() {
                Ok(message) => next = Some(message),
                Err(_) => return group,
            }
        }
    }
}

/// Turns a panic into an error for those who wait. The disk is fit for further use: it holds no connection across a failure.
fn guarded<T>(work: impl FnOnce() -> Result<T, AuditError>) -> Result<T, AuditError> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(AuditError::Write { fault: Fault::Panic, cause: "the commit panicked".into() }))
}

/// Gives each waiting event its answer and counts it.
fn answer(replies: Vec<Waiting>, result: Result<Vec<Answer>, AuditError>, meter: &Meter) {
    let answers = match result {
        Ok(answers) => {
            meter.batches.fetch_add(1, Relaxed);
            meter.works();
            answers
        }
        Err(error) => {
            tracing::error!(%error, events = replies.len(), "audit store: commit failed");
            meter.failure(&error);
            vec![Err(error); replies.len()]
        }
    };
    let durable = answers.iter().filter(|answer| answer.is_ok()).count() as u64;
    meter.committed.fetch_add(durable, Relaxed);
    meter.failed.fetch_add(answers.len() as u64 - durable, Relaxed);
    for (Waiting { reply, matter }, answer) in replies.into_iter().zip(answers) {
        if let (Some(matter), true, Some(tap)) = (matter, answer.is_ok(), meter.tap.get()) {
            tap.tell(*matter);
        }
        // Nobody may be waiting any more; the event is written all the same.
        let _ = reply.send(answer);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;
    use crate::store::tests::allowed;

    const NOW: Duration = Duration::ZERO;

    fn pending(id: &str) -> (Message, oneshot::Receiver<Answer>) {
        let (reply, answer) = oneshot::channel();
        let row = Row::new(allowed(id)).unwrap();
        (Message::Event(Box::new(Pending { row, reply, matter: None })), answer)
    }

    #[test]
    fn a_panic_in_a_commit_is_an_error_for_all_who_wait() {
        let meter = Meter::default();
        let waiting = |(reply, answer)| (Waiting { reply, matter: None }, answer);
        let (replies, answers): (Vec<_>, Vec<_>) = (0..3).map(|_| waiting(oneshot::channel())).unzip();
        answer(replies, guarded(|| panic!("a broken promise")), &meter);
        for waiting in answers {
            let answer = waiting.blocking_recv().unwrap();
            assert!(matches!(answer, Err(AuditError::Write { fault: Fault::Panic, .. })), "{answer:?}");
        }
        let stats = meter.snapshot();
        assert_eq!((stats.failed, stats.healthy, stats.last_error), (3, false, Some("panic")));
    }

    #[test]
    fn a_group_ends_at_its_bound_and_at_a_close() {
        let meter = Meter::default();
        meter.queued.store(usize::MAX / 2, Relaxed);
        meter.queued_bytes.store(usize::MAX / 2, Relaxed);
        let (sender, receiver) = sync_channel(GROUP_EVENTS_MAX + 8);
        for n in 0..GROUP_EVENTS_MAX + 2 {
            sender.try_send(pending(&format!("r{n}")).0).ok().unwrap();
        }
        sender.try_send(Message::Close).ok().unwrap();
        sender.try_send(pending("after").0).ok().unwrap();
        let sizes: Vec<_> = (0..2).map(|_| Group::take(&receiver, &meter, NOW)).map(|group| (group.rows.len(), group.last)).collect();
        assert_eq!(sizes, [(GROUP_EVENTS_MAX, false), (2, true)]);
    }

    #[test]
    fn an_event_the_writer_never_reached_is_answered_too() {
        let (sender, receiver) = sync_channel(8);
        let (message, answer) = pending("r1");
        sender.try_send(message).ok().unwrap();
        drop(receiver);
        assert!(answer.blocking_recv().is_err(), "the store turns this into `Closed`");
    }

    #[test]
    fn a_queue_without_senders_is_the_end() {
        let (sender, receiver) = sync_channel::<Message>(8);
        drop(sender);
        assert!(Group::take(&receiver, &Meter::default(), NOW).last);
    }
}
