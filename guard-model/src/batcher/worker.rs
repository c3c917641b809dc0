//! The thread that owns the networks: takes batches, runs them, hands the verdicts out, and comes through whatever the network does.
//!
//! A batch that fails ends the requests that have windows in it, and no others. Where a number came out that is no probability, the
//! windows are run once more one by one, so that only the request with such a window fails. A panic is caught, and the network is made
//! anew before it is asked again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use super::Shared;
use super::news::{Failure, News};
use super::queue::{Batch, Picked, Seen, Taker};
use crate::edition::{Edition, is_sound};
use crate::{Build, Judged, Network, NetworkError, Unavailable, Verdict, Window};

/// A network and how to make it anew.
pub(super) struct Seat {
    pub number: u64,
    /// `None` after it broke.
    pub network: Option<Box<dyn Network>>,
    pub build: Build,
}

/// What is to be done next.
enum Work {
    Run(Batch),
    Probe(Arc<Edition>),
    Take(Seat),
    /// Networks that nobody needs any more; dropped without the lock.
    Retire(Vec<u64>),
    End,
}

/// The owner.
pub(super) struct Worker {
    shared: Arc<Shared>,
    seats: Vec<Seat>,
    told: Arc<dyn Fn(News) + Send + Sync>,
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>, seat: Seat, told: Arc<dyn Fn(News) + Send + Sync>) -> Self {
        Self { shared, seats: vec![seat], told }
    }

    pub(super) fn run(mut self) {
        // However this ends, nobody waits for it any more.
        let _closing = Closing(Arc::clone(&self.shared));
        loop {
            let mut picked = Picked::default();
            let work = self.next(&mut picked);
            self.tell(&picked);
            match work {
                Work::Run(batch) => self.serve(batch),
                Work::Probe(edition) => self.probe(&edition),
                Work::Take(seat) => self.seats.push(seat),
                Work::Retire(numbers) => self.seats.retain(|seat| !numbers.contains(&seat.number)),
                Work::End => return,
            }
        }
    }

    /// Waits for something to do.
    fn next(&self, picked: &mut Picked) -> Work {
        let mut served = self.shared.lock();
        loop {
            if served.closed {
                return Work::End;
            }
            if let Some(seat) = served.incoming.take() {
                return Work::Take(seat);
            }
            let (old, present) = (served.seats.clone(), served.edition.network);
            let (kept, gone): (Vec<u64>, Vec<u64>) = old.into_iter().partition(|number| *number == present || served.queue.needs(*number));
            served.seats = kept;
            if !gone.is_empty() {
                return Work::Retire(gone);
            }
            let now = Instant::now();
            match served.circuit.until_probe(now) {
                Some(wait) if wait.is_zero() => {
                    served.circuit.probe();
                    return Work::Probe(Arc::clone(&served.edition));
                }
                Some(wait) => served = self.shared.bell.wait_timeout(served, wait).unwrap_or_else(PoisonError::into_inner).0,
                None => match served.queue.pick(now, picked) {
                    Some(batch) => return Work::Run(batch),
                    // Told before the next wait, which may be long.
                    None if picked.hits > 0 => return Work::Retire(Vec::new()),
                    None => served = self.shared.bell.wait(served).unwrap_or_else(PoisonError::into_inner),
                },
            }
        }
    }

    fn tell(&self, picked: &Picked) {
        for waited in &picked.waited {
            (self.told)(News::Waited(*waited));
        }
        if picked.hits > 0 {
            (self.told)(News::Cached { windows: picked.hits });
        }
    }

    fn serve(&mut self, batch: Batch) {
        let Batch { edition, windows, takers, tokens } = batch;
        match self.attempt(edition.network, &windows, tokens) {
            Ok(verdicts) => {
                let any_sound = self.hand_out(&edition, windows, &takers, verdicts);
                self.note_answer(&edition, any_sound);
            }
            Err((Failure::NotFinite, reason)) if windows.len() > 1 => self.one_by_one(&edition, windows, &takers, &reason),
            Err((failure, reason)) => {
                self.fail(takers.iter().flatten(), &reason);
                if failure == Failure::NotFinite {
                    return self.note_answer(&edition, false);
                }
                self.note(Err(failure));
            }
        }
    }

    /// Runs the windows of a batch again, each by itself: the one at fault fails alone.
    fn one_by_one(&mut self, edition: &Arc<Edition>, windows: Vec<Window>, takers: &[Vec<Taker>], reason: &Unavailable) {
        (self.told)(News::Failed(Failure::NotFinite));
        let mut answered = false;
        for (window, takers) in windows.into_iter().zip(takers) {
            if !self.shared.lock().queue.is_wanted(takers, Instant::now()) {
                continue;
            }
            let tokens = window.ids.len();
            match self.attempt(edition.network, std::slice::from_ref(&window), tokens) {
                Ok(verdicts) => answered |= self.hand_out(edition, vec![window], std::slice::from_ref(takers), verdicts),
                Err(_) => self.fail(takers.iter(), reason),
            }
        }
        self.note_answer(edition, answered);
    }

    /// Notes a run. One that gave no probability at all may have been given a window that no network can judge: whoever sends such must
    /// not open the circuit for everybody, so a window of our own is asked about.
    fn note_answer(&mut self, edition: &Arc<Edition>, any_sound: bool) {
        if any_sound || self.judges(edition) {
            if !any_sound {
                (self.told)(News::Failed(Failure::NotFinite));
            }
            return self.note(Ok(()));
        }
        self.note(Err(Failure::NotFinite));
    }

    /// Whether the network judges a window of our own.
    fn judges(&mut self, edition: &Arc<Edition>) -> bool {
        let answer = self.attempt(edition.network, std::slice::from_ref(&edition.probe), edition.probe.ids.len());
        answer.is_ok_and(|verdicts| verdicts.iter().all(is_sound))
    }

    /// Asks the network, made anew if it broke before.
    fn attempt(&mut self, number: u64, windows: &[Window], tokens: usize) -> Result<Vec<Verdict>, (Failure, Unavailable)> {
        let failed = |failure, reason: String| (failure, Unavailable::Failed(reason));
        let Some(seat) = self.seats.iter_mut().find(|seat| seat.number == number) else {
            return Err(failed(Failure::Build, "its network is gone".into()));
        };
        if seat.network.is_none() {
            match catch_unwind(AssertUnwindSafe(&mut seat.build)) {
                Ok(Ok(network)) => seat.network = Some(network),
                Ok(Err(error)) => return Err(failed(Failure::Build, error.to_string())),
                Err(_) => return Err(failed(Failure::Build, "the network panicked when it was made".into())),
            }
        }
        let Some(network) = seat.network.as_mut() else {
            return Err(failed(Failure::Build, "its network is gone".into()));
        };
        let began = Instant::now();
        let ran = catch_unwind(AssertUnwindSafe(|| network.run(windows)));
        let took = began.elapsed();
        self.shared.lock().queue.measured(tokens, took);
        (self.told)(News::Ran { windows: windows.len(), tokens, took });
        match ran {
            Ok(Ok(verdicts)) if verdicts.len() == windows.len() => Ok(verdicts),
            Ok(Ok(_)) => Err(failed(Failure::Device, "the network gave another number of verdicts".into())),
            Ok(Err(error)) => Err(failed(Failure::from(&error), error.to_string())),
            Err(_) => {
                seat.network = None;
                Err(failed(Failure::Panic, "the network panicked".into()))
            }
        }
    }

    /// Gives each taker its verdict. False when none of them was one.
    fn hand_out(&self, edition: &Arc<Edition>, windows: Vec<Window>, takers: &[Vec<Taker>], verdicts: Vec<Verdict>) -> bool {
        let unsound = Unavailable::Failed(NetworkError::NotFinite.to_string());
        let mut any_sound = false;
        // Judged before the lock is taken: the known attacks may be many.
        let judged: Vec<Option<(Judged, Verdict)>> = windows
            .into_iter()
            .zip(verdicts)
            .map(|(window, verdict)| is_sound(&verdict).then(|| (edition.judged(window, &verdict), verdict)))
            .collect();
        let mut unsound_count = 0;
        let mut served = self.shared.lock();
        for (takers, known) in takers.iter().zip(judged) {
            any_sound |= known.is_some();
            unsound_count += usize::from(known.is_none());
            for taker in takers {
                match &known {
                    None => served.queue.fail(taker.job, &unsound),
                    Some((judged, verdict)) => {
                        let vector = taker.wants_vector.then(|| verdict.vector.clone());
                        served.queue.settle(*taker, Seen { judged: judged.clone(), vector });
                    }
                }
            }
        }
        drop(served);
        if any_sound && unsound_count > 0 {
            (self.told)(News::Failed(Failure::NotFinite));
        }
        any_sound
    }

    fn fail<'a>(&self, takers: impl Iterator<Item = &'a Taker>, reason: &Unavailable) {
        let mut served = self.shared.lock();
        takers.for_each(|taker| served.queue.fail(taker.job, reason));
    }

    /// Asks the network for a window of our own. It is made anew first: a device that was lost does not come back by itself.
    fn probe(&mut self, edition: &Arc<Edition>) {
        (self.told)(News::Circuit(self.shared.lock().circuit.state()));
        if let Some(seat) = self.seats.iter_mut().find(|seat| seat.number == edition.network) {
            seat.network = None;
        }
        let answer = self.attempt(edition.network, std::slice::from_ref(&edition.probe), edition.probe.ids.len());
        self.note(match answer {
            Ok(verdicts) if verdicts.iter().all(is_sound) => Ok(()),
            Ok(_) => Err(Failure::NotFinite),
            Err((failure, _)) => Err(failure),
        });
    }

    /// Keeps count of failures in a row; when the circuit opens, nobody waits any more.
    fn note(&self, outcome: Result<(), Failure>) {
        let mut served = self.shared.lock();
        let before = served.circuit.state();
        if outcome.is_ok() {
            served.circuit.succeeded();
        } else if served.circuit.failed(Instant::now()) {
            served.queue.fail_all(&Unavailable::Failed("it failed several times in a row".into()));
        }
        let after = served.circuit.state();
        drop(served);
        if let Err(failure) = outcome {
            (self.told)(News::Failed(failure));
        }
        if before != after {
            (self.told)(News::Circuit(after));
        }
    }
}

/// Tells everybody that the thread has ended.
struct Closing(Arc<Shared>);

impl Drop for Closing {
    fn drop(&mut self) {
        let mut served = self.0.lock();
        served.closed = true;
        served.queue.fail_all(&Unavailable::Failed("its thread has ended; start the gateway again".into()));
    }
}
