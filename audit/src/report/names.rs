//! Counts by name, with a bound: clients choose some of the names.

use std::collections::HashMap;
use std::hash::Hash;

/// Names counted one by one in a table; what comes with further ones is counted together, without a name.
pub const NAMES_MAX: usize = 100_000;

/// One count, or row of counts, for each name.
#[derive(Debug)]
pub(crate) struct Names<K, V> {
    rows: HashMap<K, V>,
    others: V,
    /// Whether `others` counts anything.
    overflowed: bool,
    names_max: usize,
}

impl<K: Hash + Eq + Clone + Ord, V: Default> Names<K, V> {
    pub fn new() -> Self {
        Self::bounded(NAMES_MAX)
    }

    fn bounded(names_max: usize) -> Self {
        Self { rows: HashMap::new(), others: V::default(), overflowed: false, names_max }
    }

    /// The row of a name.
    pub fn row<Q>(&mut self, name: &Q) -> &mut V
    where
        K: std::borrow::Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        // Asked twice, because a name that is there needs no copy.
        if !self.rows.contains_key(name) {
            if self.rows.len() >= self.names_max {
                self.overflowed = true;
                return &mut self.others;
            }
            self.rows.insert(name.to_owned(), V::default());
        }
        self.rows.get_mut(name).unwrap_or(&mut self.others)
    }

    /// All rows in the order of their names, and what the further names have together.
    pub fn finish(self) -> (Vec<(K, V)>, Option<V>) {
        let mut rows: Vec<(K, V)> = self.rows.into_iter().collect();
        rows.sort_by(|(one, _), (other, _)| one.cmp(other));
        (rows, self.overflowed.then_some(self.others))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_names_are_counted_together() {
        let mut names: Names<String, u64> = Names::bounded(2);
        for name in ["b", "a", "b", "c", "d", "a"] {
            *names.row(name) += 1;
        }
        assert_eq!(names.finish(), (vec![("a".to_owned(), 2), ("b".to_owned(), 2)], Some(2)));
        assert_eq!(Names::<String, u64>::bounded(2).finish(), (Vec::new(), None));
    }
}
