//! The search: one text in, candidates out.
//!
//! For each pattern the law is: the candidate at a position is the leftmost-first match that starts there; from left to right the
//! first candidate that is accepted (its keyword, stop words, entropy, check, context and score all hold) is taken, and the search
//! goes on at its end. What is taken therefore depends on nothing before the last match but the bytes of left context, which is
//! what makes a stream give the same result as the whole text.

mod search;
mod seeing;

use std::cell::OnceCell;
use std::ops::Range;

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use regex_automata::util::pool::Pool;

use self::search::Search;
use self::seeing::Window;
use crate::automaton::Scratch;
use crate::compile::{Groups, Matchers};
use crate::model::Category;
use crate::pack::{Rule, Variant};
use crate::view::Views;
use crate::words::ContextWords;

/// How many raw bytes before a match are looked at for context words.
pub(crate) const CONTEXT_BYTES: usize = 120;

/// Most groups of a pattern.
pub(crate) const GROUPS_MAX: usize = 16;

/// Makes a thread's scratch.
type NewScratch = Box<dyn Fn() -> Scratch + Send + Sync + std::panic::UnwindSafe + std::panic::RefUnwindSafe>;

/// All rules, ready to search.
pub(crate) struct Engine {
    pub rules: Vec<Rule>,
    pub matchers: Matchers,
    /// For each rule, for each of its variants.
    pub context: Vec<Vec<Option<ContextWords>>>,
    /// For each rule, for each of its variants: its keywords, one of which every match holds.
    keywords: Vec<Vec<Option<AhoCorasick>>>,
    scratches: Pool<Scratch, NewScratch>,
}

impl Engine {
    /// Forgets the states that a rule's own patterns met in its examples.
    pub(crate) fn forget_rule(&self, rule: usize) {
        let mut scratch = self.scratches.get();
        let own = self.matchers.all.iter().zip(&mut scratch.patterns).filter(|(matcher, _)| matcher.rule == rule);
        own.for_each(|(_, states)| *states = None);
    }
}

/// Sorts candidates and drops what two views or two patterns of one rule found alike.
fn in_order(mut candidates: Vec<Candidate>) -> Vec<Candidate> {
    candidates.sort_by(|a, b| {
        (a.rule, a.span.start, a.span.end, a.extent.start, a.extent.end)
            .cmp(&(b.rule, b.span.start, b.span.end, b.extent.start, b.extent.end))
            .then(b.score.total_cmp(&a.score))
    });
    candidates.dedup_by(|later, kept| later.rule == kept.rule && later.span == kept.span && later.extent == kept.extent);
    candidates
}

fn keywords(variant: &Variant) -> Option<AhoCorasick> {
    if variant.keywords.is_empty() {
        return None;
    }
    // Fails only for gigabytes of keywords, which no pack file can hold.
    AhoCorasick::builder().ascii_case_insensitive(true).kind(Some(AhoCorasickKind::ContiguousNFA)).build(&variant.keywords).ok()
}

fn scratches(matchers: &Matchers) -> Pool<Scratch, NewScratch> {
    let (patterns, kinds) = (matchers.all.len(), matchers.called.len());
    Pool::new(Box::new(move || Scratch::new(patterns, kinds)))
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

impl Engine {
    /// Puts compiled rules together.
    pub(crate) fn new(rules: Vec<Rule>, matchers: Matchers) -> Self {
        let words = |rule: &Rule| rule.variants.iter().map(|variant| variant.context.as_ref().map(ContextWords::new)).collect();
        let context = rules.iter().map(words).collect();
        let keywords = rules.iter().map(|rule| rule.variants.iter().map(keywords).collect()).collect();
        let scratches = scratches(&matchers);
        Self { rules, matchers, context, keywords, scratches }
    }

    /// Returns floors with which every rule looks and everything it finds is taken.
    pub(crate) fn floors(&self) -> Vec<f32> {
        vec![0.0; self.rules.len()]
    }

    /// Forgets what was learnt from texts so far, as after the examples: each of them met states that other texts hardly meet.
    pub(crate) fn forget(&mut self) {
        for matcher in &mut self.matchers.all {
            matcher.automaton.forget();
            matcher.groups.iter_mut().for_each(Groups::forget);
        }
        self.scratches = scratches(&self.matchers);
    }

    /// Finds all candidates that start at raw byte `from` or later and score at least their rule's floor; a rule whose floor is infinite
    /// does not look.
    pub(crate) fn candidates(&self, views: &Views<'_>, from: usize, floors: &[f32]) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        let mut scratch = self.scratches.get();
        let attacks = OnceCell::new();
        for view in views.searched() {
            let floors = if views.is_disguise(view) { attacks.get_or_init(|| self.attacks(floors)) } else { floors };
            let text = views.text(view);
            let from = views.at_raw(view, from);
            let windows = self.windows(text, from, floors, &mut scratch);
            let mut search = Search { engine: self, floors, views, view, text, scratch: &mut scratch, out: &mut candidates };
            let mut behind = (usize::MAX, 0);
            for window in windows {
                // A match may reach into its matcher's next window, which is then entered behind it.
                let low = if behind.0 == window.matcher { window.low.max(behind.1) } else { window.low };
                behind = (window.matcher, search.run(&Window { low, ..window }));
            }
        }
        in_order(candidates)
    }

    /// Leaves of the rules that look those for attacks and forbidden subjects: a guess at a disguise is searched for nothing else.
    fn attacks(&self, floors: &[f32]) -> Vec<f32> {
        let attacks = [Category::Injection, Category::Jailbreak, Category::Sensitive];
        let floor = |(rule, floor): (&Rule, &f32)| if attacks.contains(&rule.info.category) { *floor } else { f32::INFINITY };
        self.rules.iter().zip(floors).map(floor).collect()
    }
}

#[cfg(test)]
impl Engine {
    /// The law of the search taken at its word, without announcements: every pattern at every place.
    pub(crate) fn candidates_by_law(&self, views: &Views<'_>, floors: &[f32]) -> Vec<Candidate> {
        let (mut candidates, mut scratch) = (Vec::new(), self.scratches.get());
        for view in views.searched() {
            let text = views.text(view);
            let mut search = Search { engine: self, floors, views, view, text, scratch: &mut scratch, out: &mut candidates };
            for (number, matcher) in self.matchers.all.iter().enumerate() {
                let mut at = if floors[matcher.rule].is_finite() { 0 } else { text.len() };
                while at < text.len() {
                    at = search.take(number, at);
                }
            }
        }
        in_order(candidates)
    }
}
