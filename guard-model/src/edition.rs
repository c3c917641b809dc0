//! One version of the guard, ready to serve: how it cuts texts, what it knows of attacks and of windows it has seen.
//!
//! A request takes one [`Edition`] and is judged by it whole, whatever is put in force meanwhile. The network itself is not in it: that
//! belongs to one thread, and an edition names it by its number.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::cache::Cache;
use crate::known::{Known, KnownAttack, VECTORS_MAX, Vectors};
use crate::{Judged, Network, NetworkError, Speaker, Verdict, Window};

/// Lengths, in words, of the texts that warm a network up: each runs another shape of batch.
const WARM_UP_WORDS: [usize; 6] = [1, 12, 28, 56, 112, 240];
/// Whose words an attack is looked for in: what users say, and what tools bring.
const ATTACKERS: [Speaker; 2] = [Speaker::User, Speaker::Tool];

/// How texts become windows.
pub trait Windows: Send + Sync {
    /// Cuts a text into overlapping windows that cover it whole, at least one, also of an empty text.
    fn windows(&self, speaker: Speaker, text: &str) -> Vec<Window>;
}

/// Makes the network anew, the same version each time: at the start, and after it broke.
pub type Build = Box<dyn FnMut() -> Result<Box<dyn Network>, NetworkError> + Send>;

/// A version of the guard, to be put in force.
pub struct Source {
    /// Name and version for the audit trail.
    pub version: Arc<str>,
    /// How it cuts texts.
    pub windows: Arc<dyn Windows>,
    /// How its network is made.
    pub build: Build,
}

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
        what: &'static str,
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
}

/// A version of the guard and what belongs to it.
pub(crate) struct Edition {
    /// Which network judges for it.
    pub network: u64,
    pub version: Arc<str>,
    pub windows: Arc<dyn Windows>,
    pub known: Known,
    /// A short window that every sound network can judge.
    pub probe: Window,
    /// Only for this version and these known attacks.
    pub cache: Mutex<Cache>,
}

impl Edition {
    /// Makes the network, warms it up and has it read the known attacks. Takes seconds; not for the path of a request.
    pub(crate) fn prepare(
        source: Source,
        number: u64,
        attacks: &[KnownAttack],
        settings: &super::batcher::Serving,
    ) -> Result<Prepared, StartError> {
        let Source { version, windows, mut build } = source;
        let failed = |reason| StartError::Network { version: Arc::clone(&version), reason };
        let broken = |what| StartError::Broken { version: Arc::clone(&version), what };
        let mut network = build().map_err(failed)?;
        let mut run = |windows: &[Window]| {
            let verdicts = network.run(windows).map_err(failed)?;
            if sound(&verdicts, windows.len()) { Ok(verdicts) } else { Err(broken("an answer of its is no probability")) }
        };
        let mut probe = None;
        for words in WARM_UP_WORDS {
            let text = "word ".repeat(words);
            let window = windows.windows(Speaker::User, text.trim_end()).into_iter().next().filter(|window| !window.ids.is_empty());
            let window = window.ok_or_else(|| broken("a text became no window"))?;
            let full = (settings.batch_tokens_max / window.ids.len()).max(1);
            run(std::slice::from_ref(&window))?;
            run(&vec![window.clone(); full])?;
            probe.get_or_insert(window);
        }
        let probe = probe.ok_or_else(|| broken("a text became no window"))?;
        let mut known = Vec::with_capacity(attacks.len());
        let mut left = VECTORS_MAX;
        for attack in attacks {
            let cut = attack_windows(&*windows, attack);
            left = left.checked_sub(cut.len()).ok_or(StartError::KnownTooMany)?;
            let mut vectors = Vec::with_capacity(cut.len());
            for window in &cut {
                vectors.extend(run(std::slice::from_ref(window))?.into_iter().map(|verdict| verdict.vector));
            }
            known.push(Arc::new(Vectors { attack: attack.clone(), vectors }));
        }
        let known = Known::new(known, settings.known_threshold);
        let cache = Mutex::new(Cache::new(settings.cache_windows_max));
        let edition = Self { network: number, version: Arc::clone(&version), windows, known, probe, cache };
        Ok(Prepared { network, build, edition })
    }

    /// The same network with other known attacks; what was cached is judged anew.
    pub(crate) fn with_known(&self, attacks: Vec<Arc<Vectors>>, settings: &super::batcher::Serving) -> Self {
        Self {
            network: self.network,
            version: Arc::clone(&self.version),
            windows: Arc::clone(&self.windows),
            known: Known::new(attacks, settings.known_threshold),
            probe: self.probe.clone(),
            cache: Mutex::new(Cache::new(settings.cache_windows_max)),
        }
    }

    /// Returns what is known of a window that came before.
    pub(crate) fn cached(&self, window: &Window) -> Option<Judged> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner).find(&window.ids)
    }

    /// Judges a verdict of the network, and keeps it for the next time.
    pub(crate) fn judged(&self, window: Window, verdict: &Verdict) -> Judged {
        let judged = Judged { scores: verdict.scores, known: self.known.nearest(&verdict.vector) };
        self.cache.lock().unwrap_or_else(PoisonError::into_inner).keep(window.ids.into(), judged.clone());
        judged
    }
}

/// The windows of a known attack: those that it has in every attacker's mouth, each once.
pub(crate) fn attack_windows(windows: &dyn Windows, attack: &KnownAttack) -> Vec<Window> {
    let mut all: Vec<Window> = Vec::new();
    for speaker in ATTACKERS {
        let cut = windows.windows(speaker, &attack.text);
        all.extend(cut.into_iter().filter(|window| !all.contains(window)).collect::<Vec<_>>());
    }
    all
}

/// Whether there are `count` verdicts and each is one.
pub(crate) fn sound(verdicts: &[Verdict], count: usize) -> bool {
    verdicts.len() == count && verdicts.iter().all(is_sound)
}

/// Whether every number of a verdict is one that a network may give.
pub(crate) fn is_sound(verdict: &Verdict) -> bool {
    verdict.scores.is_sound() && verdict.vector.iter().all(|number| number.is_finite())
}

/// Whether a moment is in the past.
pub(crate) fn is_over(deadline: Instant, now: Instant) -> bool {
    deadline <= now
}
