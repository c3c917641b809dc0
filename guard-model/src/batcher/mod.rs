//! The batcher: many requests, one network, one thread that owns it.
//!
//! A request's texts are cut into windows; those that came before are answered from the cache, the others wait in the bounded
//! [`queue`] until the [`worker`] runs them in a batch with windows of other requests. A text counts as its worst window. Nobody waits past
//! the deadline; whoever leaves is taken out of the queue; a full queue, an open circuit and a dead thread are answered at once.
//!
//! Another version of the network, or other known attacks, are put in force between two batches. Requests that came before keep the version
//! they began with: at most two networks live at a time, and the older one goes when its last request has.

mod circuit;
mod news;
mod queue;
mod worker;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, try_join_all};
use tokio::sync::oneshot;
use tokio::time::timeout_at;

pub use circuit::CircuitState;
pub use news::{Failure, News, State};

use self::circuit::Circuit;
use self::queue::{Asked, Key, Queue, Seen};
use self::worker::{Seat, Worker};
use crate::edition::{Edition, attack_windows};
use crate::known::{VECTORS_MAX, Vectors};
use crate::prepare::Prepared;
use crate::{Answer, Classifier, Input, Judged, KnownAttack, Source, StartError, Unavailable, Window};

/// Most networks at a time: the one in force and the one before it.
const SEATS_MAX: usize = 2;
/// Texts of a request that are cut on the thread that serves other requests too, in bytes: a millisecond's worth or so.
const INLINE_BYTES_MAX: usize = 16 << 10;
/// How often a request begins anew when the version it began with is gone before it is queued.
const TRIES_MAX: usize = 3;
/// How many attacks are read at once while requests run.
const ATTACKS_AT_ONCE: usize = 8;
/// How long one attack may wait for its vectors. Requests are more urgent, until then.
const ATTACK_PATIENCE: Duration = Duration::from_secs(20);

/// How a model is served. [`Serving::default`] suits a small model on a few cores.
#[derive(Clone, Debug)]
pub struct Serving {
    /// Most windows that wait, of all requests together.
    pub queue_windows_max: usize,
    /// Most tokens of a batch, padding included.
    pub batch_tokens_max: usize,
    /// Most windows whose verdict is kept.
    pub cache_windows_max: usize,
    /// From which dot product on a window is near a known attack, 0..=1.
    pub known_threshold: f32,
    /// Failures in a row that open the circuit.
    pub failures_max: u32,
    /// How long the circuit stays open before a probe.
    pub circuit_pause: Duration,
}

impl Default for Serving {
    fn default() -> Self {
        Self {
            queue_windows_max: 16_384,
            batch_tokens_max: 512,
            cache_windows_max: 4096,
            known_threshold: 0.97,
            failures_max: 3,
            circuit_pause: Duration::from_secs(5),
        }
    }
}

/// Why other weights or known attacks are not put in force; those before stay.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SwapError {
    /// The new version does not run.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The version before the present one is still in use.
    #[error("the guard still answers requests with the version before; try again")]
    Busy,
    /// The network gave no vectors for the attacks.
    #[error("the known attacks could not be read by the network: {0}")]
    Known(#[from] Unavailable),
}

/// What all threads see.
struct Shared {
    served: Mutex<Served>,
    /// Rings when there is work.
    bell: Condvar,
}

struct Served {
    queue: Queue,
    circuit: Circuit,
    edition: Arc<Edition>,
    /// A network on its way to the thread that owns them.
    incoming: Option<Seat>,
    /// The numbers of the networks that live, the present one last.
    seats: Vec<u64>,
    /// Nobody runs batches any more.
    closed: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Served> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A model behind the [`Classifier`] trait.
pub struct Batcher {
    shared: Arc<Shared>,
    serving: Serving,
    told: Arc<dyn Fn(News) + Send + Sync>,
    /// Held while something is put in force; what the known attacks are.
    changing: tokio::sync::Mutex<Vec<KnownAttack>>,
}

impl Batcher {
    /// Makes the network, warms it up, has it read the known attacks, and starts the thread that owns it. Takes seconds.
    ///
    /// `told` hears what happens, on whatever thread it happens; it must be quick.
    ///
    /// # Errors
    /// [`StartError`]; nothing runs then.
    pub fn start(
        source: Source,
        attacks: Vec<KnownAttack>,
        serving: Serving,
        told: impl Fn(News) + Send + Sync + 'static,
    ) -> Result<Self, StartError> {
        let told: Arc<dyn Fn(News) + Send + Sync> = Arc::new(told);
        let Prepared { network, build, edition, tokens_per_second } = Prepared::new(source, 0, &attacks, &serving)?;
        let mut queue = Queue::new(serving.queue_windows_max, serving.batch_tokens_max);
        queue.reset_speed(tokens_per_second);
        let served = Served {
            queue,
            circuit: Circuit::new(serving.failures_max, serving.circuit_pause),
            edition: Arc::new(edition),
            incoming: None,
            seats: vec![0],
            closed: false,
        };
        let shared = Arc::new(Shared { served: Mutex::new(served), bell: Condvar::new() });
        let worker = Worker::new(Arc::clone(&shared), Seat { number: 0, network: Some(network), build }, Arc::clone(&told));
        let thread = std::thread::Builder::new().name("guard".into()).spawn(move || worker.run());
        thread.map_err(|e| StartError::Thread(e.to_string()))?;
        Ok(Self { shared, serving, told, changing: tokio::sync::Mutex::new(attacks) })
    }

    /// Puts another version of the model in force, with the known attacks as they are. Requests go on; those that came before keep the
    /// version they began with.
    ///
    /// # Errors
    /// [`SwapError`]; the version before stays in force.
    pub async fn swap(&self, source: Source) -> Result<(), SwapError> {
        let attacks = self.changing.lock().await;
        let number = {
            let served = self.shared.lock();
            if served.seats.len() >= SEATS_MAX {
                return Err(SwapError::Busy);
            }
            served.edition.network + 1
        };
        let (known, serving) = (attacks.clone(), self.serving.clone());
        let prepared = tokio::task::spawn_blocking(move || Prepared::new(source, number, &known, &serving)).await;
        let Prepared { network, build, edition, tokens_per_second } = prepared.map_err(|e| StartError::Thread(e.to_string()))??;
        let mut served = self.shared.lock();
        if served.closed {
            return Err(StartError::Thread("it has ended; start the gateway again".into()).into());
        }
        served.seats.push(number);
        served.incoming = Some(Seat { number, network: Some(network), build });
        served.edition = Arc::new(edition);
        served.queue.reset_speed(tokens_per_second);
        drop(served);
        self.shared.bell.notify_one();
        Ok(())
    }

    /// Puts other known attacks in force. Only texts that are new are read by the network, between the requests.
    ///
    /// # Errors
    /// [`SwapError`]; the attacks before stay in force.
    pub async fn replace_known(&self, attacks: Vec<KnownAttack>) -> Result<(), SwapError> {
        let mut current = self.changing.lock().await;
        let edition = Arc::clone(&self.shared.lock().edition);
        let old: HashMap<&str, &Arc<Vectors>> = edition.known.attacks().iter().map(|old| (&*old.attack.text, old)).collect();
        let mut known = Vec::with_capacity(attacks.len());
        let mut left = VECTORS_MAX;
        for some in attacks.chunks(ATTACKS_AT_ONCE) {
            let read = some.iter().map(|attack| async {
                match old.get(&*attack.text) {
                    Some(before) => Ok(before.vectors.clone()),
                    None => self.vectors(&edition, attack).await,
                }
            });
            for (attack, vectors) in some.iter().zip(try_join_all(read).await?) {
                left = left.checked_sub(vectors.len()).ok_or(StartError::KnownTooMany)?;
                known.push(Arc::new(Vectors { attack: attack.clone(), vectors }));
            }
        }
        // No other network came meanwhile: whoever brings one holds `changing`.
        self.shared.lock().edition = Arc::new(edition.with_known(known, &self.serving));
        *current = attacks;
        Ok(())
    }

    async fn vectors(&self, edition: &Arc<Edition>, attack: &KnownAttack) -> Result<Vec<Vec<f32>>, Unavailable> {
        let windows = attack_windows(&*edition.windows, attack).map_err(Unavailable::Failed)?;
        let deadline = Instant::now() + ATTACK_PATIENCE;
        let asked = Asked { edition: Arc::clone(edition), deadline, windows, wants_vectors: true };
        let seen = self.ask(asked).await?.ok_or_else(|| Unavailable::Failed("the network was replaced".into()))?;
        Ok(seen.into_iter().filter_map(|seen| seen.vector).collect())
    }

    /// How it stands now.
    pub fn state(&self) -> State {
        let served = self.shared.lock();
        State {
            version: Arc::clone(&served.edition.version),
            queued_windows: served.queue.waiting(),
            circuit: served.circuit.state(),
            known_attacks: served.edition.known.attacks().len(),
            is_dead: served.closed,
        }
    }

    /// Has the queue answer, or not, until the deadline. `None`: the network is gone, begin anew.
    async fn ask(&self, asked: Asked) -> Result<Option<Vec<Seen>>, Unavailable> {
        let (deadline, (reply, answer)) = (asked.deadline, oneshot::channel());
        let key = {
            let mut served = self.shared.lock();
            served.refused()?;
            if !served.seats.contains(&asked.edition.network) {
                return Ok(None);
            }
            served.queue.push(asked, reply, Instant::now())?
        };
        let _ticket = Ticket { shared: &self.shared, key };
        self.shared.bell.notify_one();
        match timeout_at(deadline.into(), answer).await {
            Err(_) => Err(Unavailable::Late),
            Ok(Err(_)) => Err(Unavailable::Failed("its thread has ended; start the gateway again".into())),
            Ok(Ok(answer)) => answer.map(Some),
        }
    }

    /// Answers from the cache what it can, and asks for the rest. `None`: begin anew.
    async fn judged(&self, edition: &Arc<Edition>, windows: Vec<Window>, deadline: Instant) -> Result<Option<Vec<Judged>>, Unavailable> {
        let mut judged: Vec<Option<Judged>> = windows.iter().map(|window| edition.cached(window)).collect();
        // The missing windows, each once, and where each of them stands among those.
        let (mut missing, mut places, mut place_of) = (Vec::new(), Vec::new(), HashMap::new());
        for (window, _) in windows.into_iter().zip(&judged).filter(|(_, known)| known.is_none()) {
            let place = *place_of.entry(window.clone()).or_insert(missing.len());
            if place == missing.len() {
                missing.push(window);
            }
            places.push(place);
        }
        let hits = judged.len() - missing.len();
        if hits > 0 {
            (self.told)(News::Cached { windows: hits });
        }
        if !missing.is_empty() {
            let asked = Asked { edition: Arc::clone(edition), deadline, windows: missing, wants_vectors: false };
            let Some(seen) = self.ask(asked).await? else { return Ok(None) };
            for (open, place) in judged.iter_mut().filter(|known| known.is_none()).zip(places) {
                *open = seen.get(place).map(|seen| seen.judged.clone());
            }
        }
        judged.into_iter().collect::<Option<Vec<_>>>().map(Some).ok_or_else(|| Unavailable::Failed("a window has no verdict".into()))
    }

    async fn answer(&self, inputs: Vec<Input>, deadline: Instant) -> Result<Answer, Unavailable> {
        let inputs: Arc<[Input]> = inputs.into();
        for _ in 0..TRIES_MAX {
            let edition = {
                let served = self.shared.lock();
                served.refused()?;
                Arc::clone(&served.edition)
            };
            let cut = cut(&edition, &inputs, deadline).await?;
            let counts: Vec<usize> = cut.iter().map(Vec::len).collect();
            if counts.contains(&0) {
                return Err(Unavailable::Failed("a text became no window".into()));
            }
            if let Some(judged) = self.judged(&edition, cut.into_iter().flatten().collect(), deadline).await? {
                return Ok(Answer { version: Arc::clone(&edition.version), judged: by_text(&judged, &counts) });
            }
        }
        Err(Unavailable::Failed("its network was replaced again and again".into()))
    }
}

impl Served {
    /// # Errors
    /// Why no request is taken in.
    fn refused(&self) -> Result<(), Unavailable> {
        if self.closed {
            return Err(Unavailable::Failed("its thread has ended; start the gateway again".into()));
        }
        match self.circuit.state() {
            CircuitState::Closed => Ok(()),
            CircuitState::HalfOpen | CircuitState::Open => Err(Unavailable::Failed("it failed several times in a row".into())),
        }
    }
}

impl Classifier for Batcher {
    fn version(&self) -> Arc<str> {
        Arc::clone(&self.shared.lock().edition.version)
    }

    fn classify(&self, inputs: Vec<Input>, deadline: Instant) -> BoxFuture<'_, Result<Answer, Unavailable>> {
        Box::pin(self.answer(inputs, deadline))
    }
}

impl Drop for Batcher {
    /// Tells the thread to end after the batch it is at.
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.bell.notify_one();
    }
}

/// A request's place in the queue; given back when the request ends, however it ends.
struct Ticket<'a> {
    shared: &'a Shared,
    key: Key,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut served = self.shared.lock();
        served.queue.remove(self.key);
        let others_are_old = served.seats.len() > 1;
        drop(served);
        if others_are_old {
            // It may have been the last one that needed the network before.
            self.shared.bell.notify_one();
        }
    }
}

/// Cuts all texts; long ones on a thread of their own.
async fn cut(edition: &Arc<Edition>, inputs: &Arc<[Input]>, deadline: Instant) -> Result<Vec<Vec<Window>>, Unavailable> {
    let bytes: usize = inputs.iter().map(|input| input.text.len()).sum();
    let (edition, inputs) = (Arc::clone(edition), Arc::clone(inputs));
    let work = move || inputs.iter().map(|input| edition.windows.windows(input.speaker, &input.text)).collect::<Result<Vec<_>, String>>();
    if bytes <= INLINE_BYTES_MAX {
        return work().map_err(Unavailable::Failed);
    }
    match timeout_at(deadline.into(), tokio::task::spawn_blocking(work)).await {
        Err(_) => Err(Unavailable::Late),
        Ok(Err(_)) => Err(Unavailable::Failed("a text could not be cut".into())),
        Ok(Ok(cut)) => cut.map_err(Unavailable::Failed),
    }
}

/// Puts the windows of each text together: the worst scores, the nearest known attack.
fn by_text(judged: &[Judged], counts: &[usize]) -> Vec<Judged> {
    let mut rest = judged;
    let mut texts = Vec::with_capacity(counts.len());
    for &count in counts {
        let (own, next) = rest.split_at(count.min(rest.len()));
        rest = next;
        let worst = own.iter().max_by(|a, b| a.scores.attack().total_cmp(&b.scores.attack()));
        let near = own.iter().filter_map(|one| one.known.as_ref()).max_by(|a, b| a.similarity.total_cmp(&b.similarity));
        texts.extend(worst.map(|worst| Judged { scores: worst.scores, known: near.cloned() }));
    }
    texts
}
