//! Getting a version of the guard ready: its network is made, warmed up, and has read the known attacks before anybody waits for it.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::batcher::Serving;
use crate::cache::Cache;
use crate::edition::{Edition, attack_windows, sound};
use crate::known::{Known, KnownAttack, VECTORS_MAX, Vectors};
use crate::source::{Build, Source, Windows};
use crate::{Network, NetworkError, Speaker, Verdict, Window};

/// Lengths, in words, of the texts that warm a network up: each runs another shape of batch.
const WARM_UP_WORDS: [usize; 6] = [1, 12, 28, 56, 112, 240];
/// Why a version of the guard is not put in force.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum StartError {
    /// The network could not be made, or gave no sound answer to a first text.
    #[error("the guard model {version} does not run: {reason}")]
    Network {
        /// Its version.
        version: Arc<str>,
        /// Why.
        reason: NetworkError,
    },
    /// The network broke a promise of its own when it was first run.
    #[error("the guard model {version} does not run: {what}")]
    Broken {
        /// Its version.
        version: Arc<str>,
        /// Which.
        what: String,
    },
    /// The known attacks are too many windows together.
    #[error("the known attacks have more than {VECTORS_MAX} windows together; shorten their texts")]
    KnownTooMany,
    /// The thread that owns the network could not be started, or has ended.
    #[error("the guard's thread does not run: {0}")]
    Thread(String),
}

/// A network that has answered soundly, and the edition that speaks for it.
pub(crate) struct Prepared {
    pub network: Box<dyn Network>,
    pub build: Build,
    pub edition: Edition,
    /// What it did in full batches of its own text, at best.
    pub tokens_per_second: f64,
}

impl Prepared {
    /// Makes the network of `source`, its edition numbered `number`. Takes seconds; not for the path of a request.
    ///
    /// # Errors
    /// [`StartError`]; the network is gone then.
    pub(crate) fn new(source: Source, number: u64, attacks: &[KnownAttack], serving: &Serving) -> Result<Self, StartError> {
        let Source { version, windows, mut build } = source;
        let network = build().map_err(|reason| StartError::Network { version: Arc::clone(&version), reason })?;
        let mut fresh = Fresh { network, version, windows, tokens_max: serving.batch_tokens_max };
        let (probe, tokens_per_second) = fresh.warm_up()?;
        let known = Known::new(fresh.read(attacks)?, serving.known_threshold);
        let cache = Mutex::new(Cache::new(serving.cache_windows_max));
        let Fresh { network, version, windows, .. } = fresh;
        let edition = Edition { network: number, version, windows, known, probe, cache };
        Ok(Self { network, build, edition, tokens_per_second })
    }
}

/// A network that has not been asked anything yet.
struct Fresh {
    network: Box<dyn Network>,
    version: Arc<str>,
    windows: Arc<dyn Windows>,
    tokens_max: usize,
}

impl Fresh {
    fn broken(&self, what: impl Into<String>) -> StartError {
        StartError::Broken { version: Arc::clone(&self.version), what: what.into() }
    }

    fn run(&mut self, windows: &[Window]) -> Result<Vec<Verdict>, StartError> {
        let verdicts = self.network.run(windows).map_err(|reason| StartError::Network { version: Arc::clone(&self.version), reason })?;
        if sound(&verdicts, windows.len()) { Ok(verdicts) } else { Err(self.broken("an answer of its is no probability")) }
    }

    /// Runs windows of all lengths, alone and in full batches. Gives the shortest, and the tokens a second of the best batch.
    fn warm_up(&mut self) -> Result<(Window, f64), StartError> {
        let (mut probe, mut tokens_per_second) = (None, 0.0_f64);
        for words in WARM_UP_WORDS {
            let text = "word ".repeat(words);
            let cut = self.windows.windows(Speaker::User, text.trim_end()).map_err(|reason| self.broken(reason))?;
            let window = cut.into_iter().next().filter(|window| !window.ids.is_empty());
            let window = window.ok_or_else(|| self.broken("a text became no window"))?;
            let full = (self.tokens_max / window.ids.len()).max(1);
            self.run(std::slice::from_ref(&window))?;
            let began = Instant::now();
            self.run(&vec![window.clone(); full])?;
            let seconds = began.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
            tokens_per_second = tokens_per_second.max((full * window.ids.len()) as f64 / seconds);
            probe.get_or_insert(window);
        }
        let probe = probe.ok_or_else(|| self.broken("a text became no window"))?;
        Ok((probe, tokens_per_second))
    }

    /// Reads the known attacks, in batches.
    fn read(&mut self, attacks: &[KnownAttack]) -> Result<Vec<Arc<Vectors>>, StartError> {
        let (mut windows, mut counts) = (Vec::new(), Vec::with_capacity(attacks.len()));
        for attack in attacks {
            let cut = attack_windows(&*self.windows, attack).map_err(|reason| self.broken(reason))?;
            counts.push(cut.len());
            windows.extend(cut);
            if windows.len() > VECTORS_MAX {
                return Err(StartError::KnownTooMany);
            }
        }
        let mut vectors = Vec::with_capacity(windows.len());
        let mut rest = &windows[..];
        while !rest.is_empty() {
            let mut longest = 0;
            let fits = |(n, window): &(usize, &Window)| {
                longest = longest.max(window.ids.len());
                longest * (n + 1) <= self.tokens_max
            };
            let count = rest.iter().enumerate().take_while(fits).count().max(1);
            let (batch, others) = rest.split_at(count);
            rest = others;
            vectors.extend(self.run(batch)?.into_iter().map(|verdict| verdict.vector));
        }
        let mut vectors = vectors.into_iter();
        let read = |(attack, count): (&KnownAttack, usize)| {
            Arc::new(Vectors { attack: attack.clone(), vectors: vectors.by_ref().take(count).collect() })
        };
        Ok(attacks.iter().zip(counts).map(read).collect())
    }
}
