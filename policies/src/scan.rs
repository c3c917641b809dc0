//! The search: one text in, candidates out.
//!
//! For each pattern the law is: the candidate at a position is the leftmost-first match that starts there; from left to right the
//! first candidate that is accepted (its keyword, stop words, entropy, check, context and score all hold) is taken, and the search
//! goes on at its end. What is taken therefore depends on nothing before the last match but the bytes of left context, which is
//! what makes a stream give the same result as the whole text.

use std::ops::Range;

use regex_automata::util::captures::Captures;
use regex_automata::{Anchored, Input};

use crate::compile::{Matcher, Matchers};
use crate::pack::{Rule, Variant};
use crate::view::{Views, boundary_up};
use crate::words::{ContextWords, spaced};

/// How many raw bytes before a match are looked at for context words.
pub(crate) const CONTEXT_BYTES: usize = 120;
/// Up to so many start positions are tried one by one instead of by a search.
const STARTS_TRIED: usize = 4;

/// All rules, ready to search.
pub(crate) struct Engine {
    pub rules: Vec<Rule>,
    pub matchers: Matchers,
    /// For each rule, for each of its variants.
    pub context: Vec<Vec<Option<ContextWords>>>,
}

/// Something one rule found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Candidate {
    /// Index of the rule.
    pub rule: usize,
    /// What is reported and redacted, in raw bytes.
    pub span: Range<usize>,
    /// The whole match with its anchors, in raw bytes.
    pub extent: Range<usize>,
    pub score: f32,
}

/// Start positions worth trying, for one matcher: both ends included.
struct Window {
    matcher: usize,
    low: usize,
    high: usize,
}

impl Engine {
    /// Finds all candidates that start at raw byte `from` or later and score `threshold` or more, for rules that `active`
    /// says yes to.
    pub(crate) fn candidates(&self, views: &Views<'_>, from: usize, threshold: f32, active: &dyn Fn(usize) -> bool) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        for view in views.searched() {
            let text = views.text(view);
            let from = views.at_raw(view, from);
            let mut search = Search { engine: self, threshold, views, view, text, out: &mut candidates };
            let mut behind = (usize::MAX, 0);
            for window in self.windows(text, from, active) {
                // A match may reach into its matcher's next window, which is then entered behind it.
                let low = if behind.0 == window.matcher { window.low.max(behind.1) } else { window.low };
                behind = (window.matcher, search.run(&Window { low, ..window }));
            }
        }
        candidates.sort_by(|a, b| {
            (a.rule, a.span.start, a.span.end, a.extent.start, a.extent.end)
                .cmp(&(b.rule, b.span.start, b.span.end, b.extent.start, b.extent.end))
                .then(b.score.total_cmp(&a.score))
        });
        candidates.dedup_by(|later, kept| later.rule == kept.rule && later.span == kept.span && later.extent == kept.extent);
        candidates
    }

    /// Lists where each matcher is worth running; disjoint and in order for each matcher, matchers together.
    fn windows(&self, text: &str, from: usize, active: &dyn Fn(usize) -> bool) -> Vec<Window> {
        let matchers = &self.matchers;
        let mut windows = Collected::new(matchers.all.len());
        let input = aho_corasick::Input::new(text).span(from..text.len());
        for hit in matchers.literals.find_overlapping_iter(input) {
            for lead in &matchers.leads[hit.pattern()] {
                if active(matchers.all[lead.matcher].rule) {
                    windows.add(lead.matcher, hit.start().saturating_sub(lead.before).max(from), hit.start());
                }
            }
        }
        if !matchers.digits.is_empty() {
            self.digit_windows(text, from, active, &mut windows);
        }
        for &matcher in &matchers.everywhere {
            if active(matchers.all[matcher].rule) {
                windows.add(matcher, from, text.len());
            }
        }
        windows.in_order()
    }

    /// Opens windows where enough digits stand close together.
    fn digit_windows(&self, text: &str, from: usize, active: &dyn Fn(usize) -> bool, windows: &mut Collected) {
        let places: Vec<usize> = (from..text.len()).filter(|&at| text.as_bytes()[at].is_ascii_digit()).collect();
        for &(matcher, count) in &self.matchers.digits {
            let Matcher { rule, max, .. } = self.matchers.all[matcher];
            if places.len() < count || !active(rule) {
                continue;
            }
            for group in places.windows(count) {
                let (first, last) = (group[0], group[count - 1]);
                if last - first < max {
                    windows.add(matcher, (last + 1).saturating_sub(max).max(from), first);
                }
            }
        }
    }
}

/// Windows as they are found, each joined to its matcher's last one when they touch.
struct Collected {
    windows: Vec<Window>,
    /// For each window, the one of the same matcher found before it.
    previous: Vec<u32>,
    /// For each matcher, its last window.
    last: Vec<u32>,
}

/// No window.
const NONE: u32 = u32::MAX;

impl Collected {
    fn new(matchers: usize) -> Self {
        Self { windows: Vec::new(), previous: Vec::new(), last: vec![NONE; matchers] }
    }

    fn add(&mut self, matcher: usize, low: usize, high: usize) {
        let last = self.last[matcher];
        if let Some(window) = self.windows.get_mut(last as usize)
            && low <= window.high + 1
            && high + 1 >= window.low
        {
            window.low = window.low.min(low);
            window.high = window.high.max(high);
            return;
        }
        self.last[matcher] = self.windows.len() as u32;
        self.previous.push(last);
        self.windows.push(Window { matcher, low, high });
    }

    /// Returns the windows matcher by matcher, each matcher's in order and disjoint.
    fn in_order(self) -> Vec<Window> {
        let mut ordered: Vec<Window> = Vec::with_capacity(self.windows.len());
        for &last in &self.last {
            let first = ordered.len();
            let mut at = last as usize;
            while let Some(&Window { matcher, low, high }) = self.windows.get(at) {
                ordered.push(Window { matcher, low, high });
                at = self.previous[at] as usize;
            }
            let own = &mut ordered[first..];
            own.reverse();
            // Literals of different lengths may be found out of order.
            if !own.is_sorted_by_key(|window| window.low) {
                own.sort_unstable_by_key(|window| window.low);
            }
        }
        ordered.dedup_by(|later, kept| {
            let joined = later.matcher == kept.matcher && later.low <= kept.high + 1;
            if joined {
                kept.high = kept.high.max(later.high);
            }
            joined
        });
        ordered
    }
}

/// One view being searched.
struct Search<'s, 'v> {
    engine: &'s Engine,
    threshold: f32,
    views: &'s Views<'v>,
    view: usize,
    text: &'s str,
    out: &'s mut Vec<Candidate>,
}

impl Search<'_, '_> {
    /// Takes what starts in a window, by the law in the file's header, and returns where the search came to.
    fn run(&mut self, window: &Window) -> usize {
        let matcher = &self.engine.matchers.all[window.matcher];
        let mut at = window.low;
        while at <= window.high.min(self.text.len()) {
            let Some(found) = self.next(matcher, at, window.high) else { break };
            at = match self.accept(matcher, found.clone()) {
                Some(candidate) => {
                    self.out.push(candidate);
                    found.end
                }
                None => boundary_up(self.text, found.start + 1),
            };
        }
        at
    }

    /// Returns the first match that starts between `low` and `high`.
    fn next(&self, matcher: &Matcher, low: usize, high: usize) -> Option<Range<usize>> {
        if high - low.min(high) <= STARTS_TRIED {
            return (low..=high).find_map(|start| self.at(matcher, start));
        }
        let mut low = low;
        while low <= high {
            let end = self.text.len().min(high + matcher.max);
            let found = matcher.regex.search(&Input::new(self.text).range(low..end))?;
            if found.start() > high {
                return None;
            }
            if !matcher.cut {
                return Some(found.range());
            }
            // The pattern itself has a longer reach: what counts is the match within `max` bytes from its start.
            match self.at(matcher, found.start()) {
                Some(found) => return Some(found),
                None => low = boundary_up(self.text, found.start() + 1),
            }
        }
        None
    }

    /// Returns the match that starts exactly here.
    fn at(&self, matcher: &Matcher, start: usize) -> Option<Range<usize>> {
        let input = self.anchored(matcher, start)?;
        matcher.regex.search(&input).map(|found| found.range())
    }

    fn anchored(&self, matcher: &Matcher, start: usize) -> Option<Input<'_>> {
        let end = self.text.len().min(start + matcher.max);
        (start < end).then(|| Input::new(self.text).range(start..end).anchored(Anchored::Yes))
    }

    /// Asks everything the rule asks of a match.
    fn accept(&self, matcher: &Matcher, found: Range<usize>) -> Option<Candidate> {
        let variant = self.variant(matcher);
        let span = match variant.group {
            0 => found.clone(),
            group => self.group(matcher, found.start, group)?,
        };
        let whole = self.text.get(found.clone())?;
        let part = self.text.get(span.clone()).filter(|part| !part.is_empty())?;
        let holds = |keyword: &String| contains_ignoring_ascii_case(whole, keyword);
        if !variant.keywords.is_empty() && !variant.keywords.iter().any(holds) {
            return None;
        }
        if !variant.stop_words.is_empty() {
            let lower = part.to_lowercase();
            if variant.stop_words.iter().any(|word| lower.contains(word)) {
                return None;
            }
        }
        if variant.entropy.is_some_and(|floor| entropy(part) < floor) || variant.check.is_some_and(|check| !check(part)) {
            return None;
        }
        let score = self.score(matcher, found.start)?;
        (score >= self.threshold).then(|| Candidate {
            rule: matcher.rule,
            span: self.views.raw_span(self.view, span),
            extent: self.views.raw_span(self.view, found),
            score,
        })
    }

    fn variant(&self, matcher: &Matcher) -> &Variant {
        &self.engine.rules[matcher.rule].variants[matcher.variant]
    }

    fn group(&self, matcher: &Matcher, start: usize, group: usize) -> Option<Range<usize>> {
        let input = self.anchored(matcher, start)?;
        let mut captures: Captures = matcher.regex.create_captures();
        matcher.regex.search_captures(&input, &mut captures);
        captures.get_group(group).map(|span| span.range())
    }

    /// Returns the score with its context; none when the rule asks for context and there is none.
    fn score(&self, matcher: &Matcher, start: usize) -> Option<f32> {
        let base = self.variant(matcher).score;
        let Some(context) = &self.engine.context[matcher.rule][matcher.variant] else { return Some(base) };
        let raw = self.views.raw_start(self.view, start);
        let low = self.views.at_raw(self.view, raw.saturating_sub(CONTEXT_BYTES)).min(start);
        // A word that the window cuts in two is no word.
        let is_cut = self.text.get(..low)?.chars().next_back().is_some_and(spaced);
        let before = self.text.get(low..start)?;
        let before = if is_cut { before.trim_start_matches(spaced) } else { before };
        match context.found(before, self.views.is_folded(self.view)) {
            true => Some((base + context.boost).min(1.0)),
            false => (!context.required).then_some(base),
        }
    }
}

fn contains_ignoring_ascii_case(text: &str, word: &str) -> bool {
    text.as_bytes().windows(word.len()).any(|window| window.eq_ignore_ascii_case(word.as_bytes()))
}

/// Shannon's entropy of the characters of a text, in bits per character.
fn entropy(text: &str) -> f32 {
    let mut characters: Vec<char> = text.chars().collect();
    characters.sort_unstable();
    let total = characters.len() as f32;
    let runs = characters.chunk_by(|a, b| a == b).map(|run| run.len() as f32 / total);
    -runs.map(|share| share * share.log2()).sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_counts_bits_per_character() {
        assert_eq!(entropy("aaaa"), 0.0);
        assert_eq!(entropy("abcd"), 2.0);
        assert!((entropy("aabb中中") - 3f32.log2()).abs() < 1e-6);
    }

    #[test]
    fn keywords_ignore_ascii_case_only() {
        assert!(contains_ignoring_ascii_case("xSK-ANTy", "sk-ant"));
        assert!(!contains_ignoring_ascii_case("sk", "sk-ant"));
    }
}
