//! The bounded queue: windows of many requests, handed out as batches of like length, the most urgent request first.
//!
//! A batch begins with the longest waiting window of the request whose deadline is nearest and takes more windows of the same bucket of
//! lengths, request after request in the order of their deadlines, up to the token budget. Padded to the longest of them, no window costs
//! more than twice its length. At first no request gets more than half of the budget, so that a long text does not keep short ones
//! waiting; what is left is filled up. Requests past their deadline and requests whose caller has left are taken out uncomputed.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::edition::{Edition, is_over};
use crate::{Judged, Unavailable, Window};

/// Longest window of each bucket, in tokens; the last bucket takes all longer ones.
const BUCKETS: [usize; 6] = [16, 32, 64, 128, 256, usize::MAX];

/// What is known of one window of a request.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub judged: Judged,
    /// The sentence vector, where it was asked for.
    pub vector: Option<Vec<f32>>,
}

/// Where the answer to a request goes.
pub(super) type Reply = oneshot::Sender<Result<Vec<Seen>, Unavailable>>;

/// A request's place in the order of service.
pub(super) type Key = (Instant, u64);

/// What a request asks.
pub(super) struct Asked {
    pub edition: Arc<Edition>,
    pub deadline: Instant,
    /// At least one; all of the edition.
    pub windows: Vec<Window>,
    /// For known attacks: the vectors are wanted, which no cache has.
    pub wants_vectors: bool,
}

/// A request in the queue.
struct Job {
    edition: Arc<Edition>,
    queued: Instant,
    windows: Vec<Option<Window>>,
    /// The windows that no batch has taken yet, by bucket.
    waiting: [Vec<usize>; BUCKETS.len()],
    seen: Vec<Option<Seen>>,
    /// How many have no answer yet.
    open: usize,
    wants_vectors: bool,
    was_picked: bool,
    reply: Reply,
}

/// Windows to run at once.
pub(super) struct Batch {
    pub edition: Arc<Edition>,
    /// Each once.
    pub windows: Vec<Window>,
    /// Who waits for each of them.
    pub takers: Vec<Vec<Taker>>,
    /// All ids together.
    pub tokens: usize,
}

/// A window of a request that waits for a window of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taker {
    pub job: Key,
    pub slot: usize,
    pub wants_vector: bool,
}

/// What picking found out, for the metrics.
#[derive(Debug, Default)]
pub(super) struct Picked {
    /// How long requests waited for their first window to be taken.
    pub waited: Vec<Duration>,
    /// Windows that were answered without being computed.
    pub hits: usize,
}

/// The queue.
pub(super) struct Queue {
    windows_max: usize,
    tokens_max: usize,
    jobs: BTreeMap<Key, Job>,
    waiting: usize,
    next: u64,
    hasher: RandomState,
}

impl Queue {
    /// Holds at most `windows_max` windows; a batch has at most `tokens_max` tokens, padding included, and at least one window.
    pub(super) fn new(windows_max: usize, tokens_max: usize) -> Self {
        Self { windows_max, tokens_max, jobs: BTreeMap::new(), waiting: 0, next: 0, hasher: RandomState::new() }
    }

    /// Windows that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Whether a request waits for this network.
    pub(super) fn needs(&self, network: u64) -> bool {
        self.jobs.values().any(|job| job.edition.network == network)
    }

    /// Takes a request in.
    ///
    /// # Errors
    /// [`Unavailable::Overloaded`] when its windows do not fit.
    pub(super) fn push(&mut self, asked: Asked, reply: Reply, now: Instant) -> Result<Key, Unavailable> {
        let Asked { edition, deadline, windows, wants_vectors } = asked;
        let count = windows.len();
        if count > self.windows_max.saturating_sub(self.waiting) {
            return Err(Unavailable::Overloaded);
        }
        let mut waiting: [Vec<usize>; BUCKETS.len()] = Default::default();
        for (slot, window) in windows.iter().enumerate() {
            waiting[bucket(window)].push(slot);
        }
        // Taken from the end: the first window of a text goes first.
        waiting.iter_mut().for_each(|slots| slots.reverse());
        let key = (deadline, self.next);
        self.next += 1;
        self.waiting += count;
        let windows = windows.into_iter().map(Some).collect();
        let (seen, open) = (vec![None; count], count);
        self.jobs.insert(key, Job { edition, queued: now, windows, waiting, seen, open, wants_vectors, was_picked: false, reply });
        Ok(key)
    }

    /// Takes a request out without an answer.
    pub(super) fn remove(&mut self, key: Key) {
        if let Some(job) = self.jobs.remove(&key) {
            self.waiting -= job.waiting();
        }
    }

    /// Ends a request without scores.
    pub(super) fn fail(&mut self, key: Key, reason: &Unavailable) {
        if let Some(job) = self.jobs.remove(&key) {
            self.waiting -= job.waiting();
            let _ = job.reply.send(Err(reason.clone()));
        }
    }

    /// Ends all requests without scores.
    pub(super) fn fail_all(&mut self, reason: &Unavailable) {
        for (_, job) in std::mem::take(&mut self.jobs) {
            let _ = job.reply.send(Err(reason.clone()));
        }
        self.waiting = 0;
    }

    /// Notes what is known of a window; the request's last one ends it.
    pub(super) fn settle(&mut self, taker: Taker, seen: Seen) {
        let Some(job) = self.jobs.get_mut(&taker.job) else { return };
        job.settle(taker.slot, seen);
        self.end_if_done(taker.job);
    }

    /// Whether anyone waits for this window of a batch.
    pub(super) fn is_wanted(&self, takers: &[Taker], now: Instant) -> bool {
        takers.iter().any(|taker| self.jobs.get(&taker.job).is_some_and(|job| !is_over(taker.job.0, now) && !job.reply.is_closed()))
    }

    /// Takes the next batch. `None` when nothing is left that has to be computed.
    pub(super) fn pick(&mut self, now: Instant, picked: &mut Picked) -> Option<Batch> {
        self.take_out_late(now);
        loop {
            let batch = self.fill(now, picked)?;
            // Where every window was known meanwhile, there is nothing to run.
            if !batch.windows.is_empty() {
                return Some(batch);
            }
        }
    }

    /// Takes at least one window from the queue.
    fn fill(&mut self, now: Instant, picked: &mut Picked) -> Option<Batch> {
        let seed = self.jobs.values().find(|job| job.waiting() > 0)?;
        let bucket = seed.waiting.iter().rposition(|slots| !slots.is_empty())?;
        let mut filling = Filling::new(Arc::clone(&seed.edition), bucket, self.tokens_max);
        let mut done = Vec::new();
        // First at most half for each request, then whatever there is.
        for share in [self.tokens_max / 2, self.tokens_max] {
            for (key, job) in &mut self.jobs {
                if !Arc::ptr_eq(&job.edition, &filling.batch.edition) {
                    continue;
                }
                let before = job.waiting();
                let is_full = filling.take_from(*key, job, share, &self.hasher, picked);
                self.waiting -= before - job.waiting();
                if before > job.waiting() && !std::mem::replace(&mut job.was_picked, true) {
                    picked.waited.push(now.saturating_duration_since(job.queued));
                }
                if job.open == 0 {
                    done.push(*key);
                }
                if is_full {
                    break;
                }
            }
        }
        done.into_iter().for_each(|key| self.end_if_done(key));
        Some(filling.batch)
    }

    fn take_out_late(&mut self, now: Instant) {
        while let Some(key) = self.jobs.keys().next().copied().filter(|key| is_over(key.0, now)) {
            self.fail(key, &Unavailable::Late);
        }
    }

    fn end_if_done(&mut self, key: Key) {
        if self.jobs.get(&key).is_some_and(|job| job.open == 0)
            && let Some(job) = self.jobs.remove(&key)
        {
            let _ = job.reply.send(Ok(job.seen.into_iter().flatten().collect()));
        }
    }
}

impl Job {
    fn waiting(&self) -> usize {
        self.waiting.iter().map(Vec::len).sum()
    }

    fn settle(&mut self, slot: usize, seen: Seen) {
        if let Some(place @ None) = self.seen.get_mut(slot) {
            *place = Some(seen);
            self.open -= 1;
        }
    }
}

/// A batch that is being filled.
struct Filling {
    batch: Batch,
    bucket: usize,
    tokens_max: usize,
    longest: usize,
    /// Where a window of this hash stands in the batch.
    places: HashMap<u64, usize>,
    /// Windows that each request has in the batch.
    shares: HashMap<Key, usize>,
}

impl Filling {
    fn new(edition: Arc<Edition>, bucket: usize, tokens_max: usize) -> Self {
        let batch = Batch { edition, windows: Vec::new(), takers: Vec::new(), tokens: 0 };
        Self { batch, bucket, tokens_max, longest: 0, places: HashMap::new(), shares: HashMap::new() }
    }

    /// Takes windows of one request, up to its share of the tokens. True when the batch is full.
    fn take_from(&mut self, key: Key, job: &mut Job, share: usize, hasher: &RandomState, picked: &mut Picked) -> bool {
        while let Some(slot) = job.waiting[self.bucket].last().copied() {
            let Some(window) = job.windows[slot].as_ref() else { return false };
            let taker = Taker { job: key, slot, wants_vector: job.wants_vectors };
            let hash = hasher.hash_one(window);
            if let Some(&place) = self.places.get(&hash).filter(|&&place| self.batch.windows[place] == *window) {
                self.batch.takers[place].push(taker);
                job.waiting[self.bucket].pop();
                picked.hits += 1;
                continue;
            }
            // It may have been computed since it was queued.
            if !job.wants_vectors
                && let Some(judged) = self.batch.edition.cached(window)
            {
                job.waiting[self.bucket].pop();
                job.settle(slot, Seen { judged, vector: None });
                picked.hits += 1;
                continue;
            }
            let (length, taken) = (window.ids.len(), self.batch.windows.len());
            let (longest, own) = (self.longest.max(length), self.shares.entry(key).or_default());
            if taken > 0 && longest * (taken + 1) > self.tokens_max {
                return true;
            }
            if *own > 0 && longest * (*own + 1) > share {
                return false;
            }
            *own += 1;
            self.longest = longest;
            self.batch.tokens += length;
            job.waiting[self.bucket].pop();
            if let Some(window) = job.windows[slot].take() {
                self.places.insert(hash, taken);
                self.batch.windows.push(window);
                self.batch.takers.push(vec![taker]);
            }
        }
        false
    }
}

fn bucket(window: &Window) -> usize {
    BUCKETS.iter().position(|longest| window.ids.len() <= *longest).unwrap_or(BUCKETS.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scores;

    const MINUTE: Duration = Duration::from_secs(60);

    fn window(length: usize, id: u32) -> Window {
        Window { ids: (0..length as u32).map(|n| id * 10_000 + n).collect() }
    }

    struct Line {
        queue: Queue,
        edition: Arc<Edition>,
        now: Instant,
        answers: Vec<oneshot::Receiver<Result<Vec<Seen>, Unavailable>>>,
    }

    impl Line {
        fn new(windows_max: usize, tokens_max: usize) -> Self {
            let edition = super::super::tests::edition();
            Self { queue: Queue::new(windows_max, tokens_max), edition, now: Instant::now(), answers: Vec::new() }
        }

        fn push(&mut self, deadline: Duration, windows: Vec<Window>) -> Result<Key, Unavailable> {
            let (reply, answer) = oneshot::channel();
            self.answers.push(answer);
            let asked = Asked { edition: Arc::clone(&self.edition), deadline: self.now + deadline, windows, wants_vectors: false };
            self.queue.push(asked, reply, self.now)
        }

        /// The next batch, as the ids that its windows were made with.
        fn pick(&mut self) -> Vec<u32> {
            let batch = self.queue.pick(self.now, &mut Picked::default());
            let Some(batch) = batch else { return Vec::new() };
            let longest = batch.windows.iter().map(|window| window.ids.len()).max().unwrap();
            assert!(batch.windows.len() == 1 || longest * batch.windows.len() <= self.queue.tokens_max, "over the budget");
            assert_eq!(batch.tokens, batch.windows.iter().map(|window| window.ids.len()).sum::<usize>());
            batch.windows.iter().map(|window| window.ids[0] / 10_000).collect()
        }
    }

    #[test]
    fn the_nearest_deadline_goes_first_and_brings_windows_of_like_length() {
        let mut line = Line::new(100, 100);
        line.push(3 * MINUTE, vec![window(10, 1)]).unwrap();
        line.push(2 * MINUTE, vec![window(60, 2)]).unwrap();
        line.push(MINUTE, vec![window(12, 3), window(50, 4)]).unwrap();
        line.push(4 * MINUTE, vec![window(16, 5), window(17, 6)]).unwrap();
        assert_eq!(line.pick(), [4], "the longest of the most urgent; 60 beside it would be 120");
        assert_eq!(line.pick(), [3, 1, 5]);
        assert_eq!(line.pick(), [2]);
        assert_eq!(line.pick(), [6]);
        assert!(line.pick().is_empty());
        assert_eq!(line.queue.waiting(), 0);
    }

    #[test]
    fn a_batch_is_full_at_its_budget_with_padding_and_takes_one_window_in_any_case() {
        let mut line = Line::new(100, 30);
        line.push(MINUTE, vec![window(10, 1), window(10, 2), window(10, 3), window(10, 4)]).unwrap();
        assert_eq!(line.pick(), [1, 2, 3], "exactly the budget");
        line.push(MINUTE, vec![window(15, 5), window(16, 6)]).unwrap();
        assert_eq!(line.pick(), [4, 5], "16 beside them would be padded over it");
        assert_eq!(line.pick(), [6]);
        line.push(MINUTE, vec![window(500, 7)]).unwrap();
        assert_eq!(line.pick(), [7]);
    }

    #[test]
    fn a_request_gets_half_of_a_batch_while_others_wait_and_all_of_it_alone() {
        let mut line = Line::new(100, 40);
        line.push(MINUTE, (1..=8).map(|id| window(10, id)).collect()).unwrap();
        line.push(2 * MINUTE, vec![window(10, 20)]).unwrap();
        assert_eq!(line.pick(), [1, 2, 20, 3]);
        assert_eq!(line.pick(), [4, 5, 6, 7]);
        assert_eq!(line.pick(), [8]);
    }

    #[test]
    fn what_is_late_is_told_so_and_not_handed_out() {
        let mut line = Line::new(4, 100);
        line.push(MINUTE, vec![window(10, 1), window(10, 2)]).unwrap();
        line.push(2 * MINUTE, vec![window(10, 3)]).unwrap();
        assert_eq!(line.push(MINUTE, vec![window(10, 4), window(10, 5)]), Err(Unavailable::Overloaded));
        line.now += MINUTE;
        assert_eq!(line.pick(), [3], "at its deadline a request is late");
        assert!(matches!(line.answers[0].try_recv(), Ok(Err(Unavailable::Late))));
        line.push(2 * MINUTE, (6..10).map(|id| window(10, id)).collect()).unwrap();
        assert_eq!(line.queue.waiting(), 4);
    }

    #[test]
    fn a_window_that_was_computed_meanwhile_is_not_handed_out_again() {
        let mut line = Line::new(100, 100);
        let judged = Judged { scores: Scores { benign: 0.5, injection: 0.5, jailbreak: 0.0 }, known: None };
        line.push(MINUTE, vec![window(10, 1)]).unwrap();
        line.push(MINUTE, vec![window(10, 2)]).unwrap();
        for id in [1, 2] {
            line.edition.cache.lock().unwrap().keep(window(10, id).ids.into(), judged.clone());
        }
        assert!(line.pick().is_empty());
        for answer in &mut line.answers {
            assert_eq!(answer.try_recv().unwrap().unwrap()[0].judged, judged);
        }
    }

    #[test]
    fn an_answer_that_comes_for_a_request_that_is_gone_or_twice_changes_nothing() {
        let mut line = Line::new(100, 100);
        let key = line.push(MINUTE, vec![window(10, 1), window(10, 2)]).unwrap();
        assert_eq!(line.pick(), [1, 2]);
        let judged = Judged { scores: Scores { benign: 0.5, injection: 0.5, jailbreak: 0.0 }, known: None };
        let seen = Seen { judged, vector: None };
        let taker = |slot| Taker { job: key, slot, wants_vector: false };
        line.queue.settle(taker(0), seen.clone());
        line.queue.settle(taker(0), seen.clone());
        assert!(line.answers[0].try_recv().is_err(), "one window is still open");
        line.queue.settle(taker(1), seen.clone());
        assert_eq!(line.answers[0].try_recv().unwrap().unwrap().len(), 2);
        line.queue.settle(taker(1), seen);
        line.queue.fail(key, &Unavailable::Late);
        line.queue.remove(key);
        assert_eq!(line.queue.waiting(), 0);
    }
}
