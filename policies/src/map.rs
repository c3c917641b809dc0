//! The way back from a derived text to the one it was made from.

use std::ops::Range;

/// The places where two texts differ, in order; between them they are equal, byte for byte.
#[derive(Default)]
pub(crate) struct Map {
    units: Vec<Unit>,
    /// True when no letter is what it was, though each stands where it stood.
    is_new_throughout: bool,
}

struct Unit {
    from: usize,
    from_end: usize,
    to: usize,
    to_end: usize,
    /// Only left out, not decoded.
    is_gap: bool,
}

impl Map {
    /// A map of a text whose letters changed in their places.
    pub(crate) fn new_throughout() -> Self {
        Self { units: Vec::new(), is_new_throughout: true }
    }

    /// Adds a place where `from` became `to`.
    pub(crate) fn push(&mut self, from: Range<usize>, to: Range<usize>) {
        self.units.push(Unit { from: from.start, from_end: from.end, to: to.start, to_end: to.end, is_gap: false });
    }

    /// Adds a place where `from` was left out and `to` stands for it.
    pub(crate) fn push_gap(&mut self, from: Range<usize>, to: Range<usize>) {
        self.units.push(Unit { from: from.start, from_end: from.end, to: to.start, to_end: to.end, is_gap: true });
    }

    /// Returns true when the two texts are equal.
    pub(crate) fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    /// Source position of what starts at `at` in the target; what vanished before it is left out.
    pub(crate) fn start(&self, at: usize) -> usize {
        match self.units[..self.units.partition_point(|unit| unit.to <= at)].last() {
            None => at,
            Some(unit) if at < unit.to_end => unit.from,
            Some(unit) => unit.from_end + (at - unit.to_end),
        }
    }

    /// Source position where what ends at `at` in the target ends; what vanished after it is left out.
    pub(crate) fn end(&self, at: usize) -> usize {
        match self.units[..self.units.partition_point(|unit| unit.to < at)].last() {
            None => at,
            Some(unit) if at <= unit.to_end && unit.to != unit.to_end => unit.from_end,
            Some(unit) => unit.from_end + (at - unit.to_end),
        }
    }

    /// First target position that belongs to source `at` or later.
    pub(crate) fn forward(&self, at: usize) -> usize {
        match self.units[..self.units.partition_point(|unit| unit.from < at)].last() {
            None => at,
            Some(unit) if at < unit.from_end => unit.to_end,
            Some(unit) => unit.to_end + (at - unit.from_end),
        }
    }

    /// Largest source position up to `at` that does not cut a unit in two.
    pub(crate) fn align_down(&self, at: usize) -> usize {
        match self.units[..self.units.partition_point(|unit| unit.from < at)].last() {
            Some(unit) if at < unit.from_end => unit.from,
            _ => at,
        }
    }

    /// Lists the places of a target of `length` bytes that were decoded.
    pub(crate) fn new_places(&self, length: usize) -> Vec<Range<usize>> {
        if self.is_new_throughout {
            return std::iter::once(0..length).collect();
        }
        self.units.iter().filter(|unit| !unit.is_gap && unit.to < unit.to_end).map(|unit| unit.to..unit.to_end).collect()
    }

    /// Returns true when something in this span of the target was decoded and nothing in it was left out.
    pub(crate) fn is_new(&self, span: &Range<usize>) -> bool {
        let first = self.units.partition_point(|unit| unit.to_end <= span.start);
        let mut is_new = self.is_new_throughout;
        for unit in self.units[first..].iter().take_while(|unit| unit.to < span.end) {
            if unit.is_gap {
                return false;
            }
            is_new = true;
        }
        is_new
    }
}
