//! The bounded queue: windows of many requests, handed out as batches of like length, the most urgent request first.
//!
//! A batch begins with the longest waiting window of the request whose deadline is nearest and takes more windows of the same bucket of
//! lengths, request after request in the order of their deadlines, up to the token budget. Padded to the longest of them, no window costs
//! more than twice its length. At first no request gets more than half of the budget, so that a long text does not keep short ones
//! waiting; what is left is filled up. What cannot be done before its deadline, by what full batches took so far and with what is due before it,
//! is not taken in: a queue of requests that all will be late helps nobody. Requests past their deadline and requests whose caller has left are taken out uncomputed.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::edition::{Edition, is_over};
use crate::{Judged, Unavailable, Window};

/// Longest window of each bucket, in tokens; the last bucket takes all longer ones.
const BUCKETS: [usize; 6] = [16, 32, 64, 128, 256, usize::MAX];

/// How much more than was measured the network is trusted with: a request that might just be in time is let try.
const HOPE: f64 = 1.25;
/// A request with no more windows than this is short.
const SHORT_WINDOWS: usize = 8;
/// How much one measurement counts beside those before.
const MEASUREMENT_SHARE: f64 = 0.2;

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
    waiting_tokens: usize,
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
    waiting_tokens: usize,
    /// Tokens a second of full batches; `None` before the first one.
    tokens_per_second: Option<f64>,
    next: u64,
    hasher: RandomState,
}

impl Queue {
    /// Holds at most `windows_max` windows, and an eighth more of short requests; a batch has at most `tokens_max` tokens, padding included, and at least one window.
    pub(super) fn new(windows_max: usize, tokens_max: usize) -> Self {
        Self {
            windows_max,
            tokens_max,
            jobs: BTreeMap::new(),
            waiting: 0,
            waiting_tokens: 0,
            tokens_per_second: None,
            next: 0,
            hasher: RandomState::new(),
        }
    }

    /// Windows that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Whether a request waits for this network.
    pub(super) fn needs(&self, network: u64) -> bool {
        self.jobs.values().any(|job| job.edition.network == network)
    }

    /// Notes how long a batch took. Small ones say nothing of what the network can do.
    pub(super) fn measured(&mut self, tokens: usize, took: Duration) {
        if tokens >= self.tokens_max.div_ceil(2) && !took.is_zero() {
            let now = tokens as f64 / took.as_secs_f64();
            self.tokens_per_second = Some(self.tokens_per_second.map_or(now, |before| before + MEASUREMENT_SHARE * (now - before)));
        }
    }

    /// Takes over what another network can do.
    pub(super) fn reset_speed(&mut self, tokens_per_second: f64) {
        self.tokens_per_second = Some(tokens_per_second);
    }

    /// Takes a request in.
    ///
    /// # Errors
    /// [`Unavailable::Overloaded`] when its windows do not fit, or cannot be done in time.
    pub(super) fn push(&mut self, asked: Asked, reply: Reply, now: Instant) -> Result<Key, Unavailable> {
        let Asked { edition, deadline, windows, wants_vectors } = asked;
        let count = windows.len();
        // A little room is left for short requests: two long ones must not fill the queue for everybody.
        let room = if count <= SHORT_WINDOWS { self.windows_max + self.windows_max / 8 } else { self.windows_max };
        if count > room.saturating_sub(self.waiting) {
            return Err(Unavailable::Overloaded);
        }
        let tokens: usize = windows.iter().map(|window| window.ids.len()).sum();
        let seconds = deadline.saturating_duration_since(now).as_secs_f64();
        // What is due later waits for this one: a long text with its long deadline keeps nobody out.
        let ahead: usize = self.jobs.range(..=(deadline, u64::MAX)).map(|(_, job)| job.waiting_tokens).sum();
        if self.tokens_per_second.is_some_and(|speed| (ahead + tokens) as f64 > speed * seconds * HOPE) {
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
        self.waiting_tokens += tokens;
        let windows = windows.into_iter().map(Some).collect();
        let (seen, open) = (vec![None; count], count);
        let job =
            Job { edition, queued: now, windows, waiting, waiting_tokens: tokens, seen, open, wants_vectors, was_picked: false, reply };
        self.jobs.insert(key, job);
        Ok(key)
    }

    /// Takes a request out without an answer.
    pub(super) fn remove(&mut self, key: Key) {
        self.take_out(key);
    }

    fn take_out(&mut self, key: Key) -> Option<Job> {
        let job = self.jobs.remove(&key)?;
        self.waiting -= job.waiting();
        self.waiting_tokens -= job.waiting_tokens;
        Some(job)
    }

    /// Ends a request without scores.
    pub(super) fn fail(&mut self, key: Key, reason: &Unavailable) {
        if let Some(job) = self.take_out(key) {
            let _ = job.reply.send(Err(reason.clone()));
        }
    }

    /// Ends all requests without scores.
    pub(super) fn fail_all(&mut self, reason: &Unavailable) {
        for (_, job) in std::mem::take(&mut self.jobs) {
            let _ = job.reply.send(Err(reason.clone()));
        }
        (self.waiting, self.waiting_tokens) = (0, 0);
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
                let (before, tokens_before) = (job.waiting(), job.waiting_tokens);
                let is_full = filling.take_from(*key, job, share, &self.hasher, picked);
                self.waiting -= before - job.waiting();
                self.waiting_tokens -= tokens_before - job.waiting_tokens;
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
            && let Some(job) = self.take_out(key)
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
                job.waiting_tokens -= window.ids.len();
                job.waiting[self.bucket].pop();
                picked.hits += 1;
                continue;
            }
            // It may have been computed since it was queued.
            if !job.wants_vectors
                && let Some(judged) = self.batch.edition.cached(window)
            {
                job.waiting_tokens -= window.ids.len();
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
            job.waiting_tokens -= length;
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
        assert_eq!((line.queue.waiting(), line.queue.waiting_tokens), (0, 0));
    }

    #[test]
    fn long_requests_leave_room_for_short_ones() {
        let mut line = Line::new(80, 100);
        line.push(MINUTE, vec![window(10, 1); 80]).unwrap();
        assert_eq!(line.push(MINUTE, vec![window(10, 2); SHORT_WINDOWS + 1]), Err(Unavailable::Overloaded), "long, and the queue is full");
        line.push(MINUTE, vec![window(10, 3); SHORT_WINDOWS]).expect("an eighth is left for short ones");
        line.push(MINUTE, vec![window(10, 4); 2]).unwrap();
        assert_eq!(line.push(MINUTE, vec![window(10, 5)]), Err(Unavailable::Overloaded), "and no more than that");
    }

    #[test]
    fn what_cannot_be_done_in_time_is_refused_at_once() {
        let mut line = Line::new(10_000, 100);
        line.push(MINUTE, vec![window(100, 1); 60]).unwrap();
        // 60 tokens a second, with hope 75: 4500 in a minute.
        line.queue.measured(10, Duration::from_nanos(1));
        assert_eq!(line.queue.tokens_per_second, None, "a small batch says nothing");
        line.queue.measured(60, Duration::from_secs(1));
        assert_eq!(line.push(MINUTE, vec![window(1, 2)]), Err(Unavailable::Overloaded), "6000 wait already");
        assert_eq!(line.push(10 * MINUTE, vec![window(100, 3); 391]), Err(Unavailable::Overloaded), "45000 in ten, 6000 before it");
        line.push(10 * MINUTE, vec![window(100, 3); 390]).unwrap();
        line.queue.fail_all(&Unavailable::Late);
        assert_eq!(line.push(MINUTE, vec![window(100, 4); 46]), Err(Unavailable::Overloaded), "too long for its deadline");
        line.push(MINUTE, vec![window(100, 5); 45]).unwrap();
        line.queue.fail_all(&Unavailable::Late);
        line.push(10 * MINUTE, vec![window(100, 7); 400]).unwrap();
        line.push(MINUTE, vec![window(10, 8)]).expect("what is due later is no hindrance");
        assert_eq!(line.pick()[0], 8, "and is served later");
        line.queue.fail_all(&Unavailable::Late);
        for _ in 0..100 {
            line.queue.measured(100, Duration::from_millis(100));
        }
        line.push(MINUTE, vec![window(100, 6); 46]).unwrap();
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
        assert_eq!((line.queue.waiting(), line.queue.waiting_tokens), (0, 0));
    }
}
