//! The bounded cache of what is known of windows: a window that comes again is not computed again.
//!
//! It belongs to one version of the network and one state of the known attacks, and goes with them. Windows are compared id by id; the
//! hash has a random key, so that nobody can choose windows that share a slot. Two halves stand in for an order of use: what is looked
//! up moves to the young half, and when that is full the old half is forgotten.

use std::collections::HashMap;

use crate::Judged;

type Half = HashMap<Box<[u32]>, Judged>;

/// The cache.
pub(crate) struct Cache {
    half_max: usize,
    young: Half,
    old: Half,
}

impl Cache {
    /// Keeps at most `windows_max` windows; below 2, none.
    pub(crate) fn new(windows_max: usize) -> Self {
        Self { half_max: windows_max / 2, young: Half::new(), old: Half::new() }
    }

    /// Returns what is known of a window.
    pub(crate) fn find(&mut self, ids: &[u32]) -> Option<Judged> {
        if let Some(judged) = self.young.get(ids) {
            return Some(judged.clone());
        }
        let (ids, judged) = self.old.remove_entry(ids)?;
        self.keep(ids, judged.clone());
        Some(judged)
    }

    /// Keeps what is known of a window.
    pub(crate) fn keep(&mut self, ids: Box<[u32]>, judged: Judged) {
        if self.half_max == 0 {
            return;
        }
        if self.young.len() >= self.half_max {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(ids, judged);
    }

    /// Returns how many windows are kept.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scores;

    fn judged(benign: f32) -> Judged {
        Judged { scores: Scores { benign, injection: 1.0 - benign, jailbreak: 0.0 }, known: None }
    }

    #[test]
    fn what_was_kept_is_found_and_nothing_else_is() {
        let mut cache = Cache::new(8);
        cache.keep([1, 2, 3].into(), judged(0.25));
        assert_eq!(cache.find(&[1, 2, 3]), Some(judged(0.25)));
        for other in [&[1, 2][..], &[1, 2, 3, 0], &[3, 2, 1], &[]] {
            assert_eq!(cache.find(other), None, "{other:?}");
        }
    }

    #[test]
    fn it_never_holds_more_than_its_bound_and_forgets_what_is_not_asked_for() {
        let mut cache = Cache::new(10);
        for id in 0..1000 {
            cache.keep([id].into(), judged(0.5));
            assert!(cache.find(&[0]).is_some(), "it is in use: {id}");
            assert!(cache.len() <= 10, "{}", cache.len());
        }
        assert_eq!(cache.find(&[500]), None);
    }

    #[test]
    fn a_cache_of_nothing_keeps_nothing() {
        for none in [0, 1] {
            let mut cache = Cache::new(none);
            cache.keep([1].into(), judged(0.5));
            assert_eq!((cache.find(&[1]), cache.len()), (None, 0));
        }
    }
}
