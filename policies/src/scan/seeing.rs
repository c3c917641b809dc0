//! Where the patterns are worth running: what the first look sees, turned into windows.

use super::Engine;
use crate::automaton::Scratch;
use crate::compile::{Lead, Matchers};
use crate::literals::{LONG_CLASS, Literals, Sight};

/// What is called by literals.
const LITERAL_KIND: usize = 0;

/// Start positions worth trying, for one matcher: both ends included.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Window {
    pub matcher: usize,
    pub low: usize,
    pub high: usize,
    /// How far the text was looked through for bytes that no match has in front of what was seen, from `low` on.
    pub seen: usize,
}

impl Engine {
    /// Lists where each matcher is worth running; disjoint and in order for each matcher, matchers together.
    pub(super) fn windows(&self, text: &str, from: usize, floors: &[f32], scratch: &mut Scratch) -> Vec<Window> {
        let matchers = &self.matchers;
        scratch.marks.clear();
        let mut seeing = Seeing { matchers, text: text.as_bytes(), from, floors, scratch, windows: Vec::new() };
        matchers.literals.look(text.as_bytes(), from, &mut seeing);
        if !matchers.called[usize::from(LONG_CLASS)].leads.is_empty() {
            Literals::long_runs(text.as_bytes(), from, |at| seeing.call(usize::from(LONG_CLASS), at));
        }
        let mut windows = seeing.windows;
        for &matcher in &matchers.everywhere {
            if floors[matchers.all[matcher].rule].is_finite() {
                windows.push(Window { matcher, low: from, high: text.len(), seen: from });
            }
        }
        windows.sort_unstable();
        windows.dedup_by(|later, kept| {
            let joined = later.matcher == kept.matcher && later.low <= kept.high + 1;
            if joined {
                kept.high = kept.high.max(later.high);
            }
            joined
        });
        windows
    }
}

/// Turns what is seen into windows.
struct Seeing<'s> {
    matchers: &'s Matchers,
    text: &'s [u8],
    from: usize,
    floors: &'s [f32],
    scratch: &'s mut Scratch,
    windows: Vec<Window>,
}

impl Seeing<'_> {
    /// Opens a window for every pattern of this kind of announcement that may match around `at`.
    fn call(&mut self, kind: usize, at: usize) {
        let Self { matchers, text, from, floors, scratch, windows, .. } = self;
        let Scratch { surroundings, newest, fit, .. } = &mut **scratch;
        let called = &matchers.called[kind];
        if !called.outlines.fit(text, at, fit) {
            return;
        }
        called.surroundings.at(&mut surroundings[kind], fit, text, at, |pattern| {
            let lead = &called.leads[pattern];
            if floors[matchers.all[lead.matcher].rule].is_finite() {
                open(windows, newest, lead, text, at, *from);
            }
        });
    }
}

/// Opens a window where a lead points to.
fn open(windows: &mut Vec<Window>, newest: &mut [u32], lead: &Lead, text: &[u8], at: usize, from: usize) {
    let Some(high) = at.checked_sub(lead.reach.min).filter(|&high| high >= from) else { return };
    let mut low = at.saturating_sub(lead.reach.max).max(from);
    let newest = &mut newest[lead.matcher];
    let window = windows.get_mut(*newest as usize).filter(|window| window.matcher == lead.matcher);
    if let Some(within) = &lead.within {
        let mut looked = low;
        // What was looked through before is not looked through again: in a row of announcements each would go back over all the others.
        if let Some(window) = &window
            && (window.low <= low || window.low <= at && !within.has(text[window.low - 1]))
        {
            low = low.max(window.low);
            looked = low.max(window.seen.min(at));
        }
        if let Some(far) = text[looked..at].iter().rposition(|&byte| !within.has(byte)) {
            low = looked + far + 1;
        }
    }
    if low > high {
        return;
    }
    // A run of announcements makes one window: hostile text must not make millions.
    if let Some(window) = window
        && window.low <= low
        && low <= window.high + 1
    {
        window.high = window.high.max(high);
        window.seen = window.seen.max(at);
        return;
    }
    *newest = windows.len() as u32;
    windows.push(Window { matcher: lead.matcher, low, high, seen: at });
}

impl Sight for Seeing<'_> {
    fn literal(&mut self, literal: usize, start: usize, end: usize) {
        let Self { matchers, text, from, floors, scratch, windows, .. } = self;
        let Scratch { surroundings, newest, fit, marks, .. } = &mut **scratch;
        matchers.marked.note(marks, literal, start);
        let called = &matchers.called[LITERAL_KIND];
        let mut open = |pattern: usize| {
            let lead = &called.leads[pattern];
            if floors[matchers.all[lead.matcher].rule].is_finite() {
                open(windows, newest, lead, text, start, *from);
            }
        };
        fit.clear();
        matchers.signs.fit(literal, text, start, end, |pattern| {
            if called.leads[pattern].reach.is_narrow() {
                open(pattern);
            } else {
                fit.resize(called.leads.len().div_ceil(64), 0);
                fit[pattern / 64] |= 1 << (pattern % 64);
            }
        });
        if !fit.is_empty() {
            called.surroundings.at(&mut surroundings[LITERAL_KIND], fit, text, start, open);
        }
    }

    fn byte(&mut self, class: u8, at: usize) {
        let kind = usize::from(class);
        if self.text.get(at + 1).is_none_or(|&next| self.matchers.called[kind].second[usize::from(next)]) {
            self.call(kind, at);
        }
    }
}
