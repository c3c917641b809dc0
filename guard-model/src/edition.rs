//! One version of the guard, ready to serve: how it cuts texts, what it knows of attacks and of windows it has seen.
//!
//! A request takes one [`Edition`] and is judged by it whole, whatever is put in force meanwhile. The network itself is not in it: that
//! belongs to one thread, and an edition names it by its number.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::cache::Cache;
use crate::known::{Known, KnownAttack, Vectors};
use crate::source::Windows;
use crate::{Judged, Speaker, Verdict, Window};

/// Whose words an attack is looked for in: what users say, and what tools bring.
const ATTACKERS: [Speaker; 2] = [Speaker::User, Speaker::Tool];

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
pub(crate) fn attack_windows(windows: &dyn Windows, attack: &KnownAttack) -> Result<Vec<Window>, String> {
    let mut all: Vec<Window> = Vec::new();
    for speaker in ATTACKERS {
        let cut = windows.windows(speaker, &attack.text)?;
        all.extend(cut.into_iter().filter(|window| !all.contains(window)).collect::<Vec<_>>());
    }
    Ok(all)
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
