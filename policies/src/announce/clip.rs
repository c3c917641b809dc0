//! A pattern cut to what is looked at around an announcement: what its matches begin with, or end with, as far as that goes.

use regex_syntax::hir::{Hir, HirKind, Repetition};

use crate::syntax;

/// Most bytes of a pattern, each way from its announcement, that are tried together with those of all other patterns.
const AROUND_BYTES_MAX: usize = 40;
/// A repetition that may take more bytes than this is a gap, where that ends.
const GAP_BYTES_MIN: usize = 16;

/// Returns what every match of these parts begins with, up to a gap.
pub(super) fn first_parts(parts: &[Hir]) -> Hir {
    clip_parts(parts, AROUND_BYTES_MAX, Side::First).0
}

/// Returns what every match of these parts ends with, from a gap on.
pub(super) fn last_parts(parts: &[Hir]) -> Hir {
    clip_parts(parts, AROUND_BYTES_MAX, Side::Last).0
}

/// From which end a pattern is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    First,
    Last,
}

/// Returns what every match begins (or ends) with, and how much of the budget is left; nothing is left where something was cut off.
fn clip(hir: &Hir, budget: usize, side: Side) -> (Hir, usize) {
    let longest = hir.properties().maximum_len().unwrap_or(usize::MAX);
    match hir.kind() {
        HirKind::Repetition(repetition) if longest > GAP_BYTES_MIN || longest > budget => match repetition.min {
            0 => (Hir::empty(), 0),
            min => (rounds(repetition, min, budget, side), 0),
        },
        HirKind::Concat(parts) => clip_parts(parts, budget, side),
        HirKind::Alternation(ways) => {
            let left = |left: usize, way: &(Hir, usize)| left.min(way.1);
            let ways: Vec<(Hir, usize)> = ways.iter().map(|way| clip(way, budget, side)).collect();
            let left = ways.iter().fold(budget, left);
            let mut different: Vec<Hir> = Vec::with_capacity(ways.len());
            for (way, _) in ways {
                if !different.contains(&way) {
                    different.push(way);
                }
            }
            (Hir::alternation(different), left)
        }
        HirKind::Literal(literal) if longest > budget => {
            let bytes = if side == Side::First { &literal.0[..budget] } else { &literal.0[longest - budget..] };
            (Hir::literal(bytes.to_vec()), 0)
        }
        _ if longest > budget => (Hir::empty(), 0),
        // A class of letters beyond ASCII takes hundreds of states; here any character beyond ASCII will do.
        HirKind::Class(class) => (syntax::widened(class), budget - longest),
        HirKind::Repetition(repetition) => {
            let sub = Box::new(clip(&repetition.sub, longest, side).0);
            (Hir::repetition(Repetition { sub, ..repetition.clone() }), budget - longest)
        }
        _ => (hir.clone(), budget - longest),
    }
}

/// Most bytes that the rounds of one repetition take up: by then hardly any text is left that it is not.
const ROUNDS_BYTES_MAX: usize = 16;

/// Returns what the rounds begin (or end) with that a repetition takes at least, as many as fit.
fn rounds(repetition: &Repetition, min: u32, budget: usize, side: Side) -> Hir {
    let longest = repetition.sub.properties().maximum_len().unwrap_or(usize::MAX);
    let (sub, left) = clip(&repetition.sub, budget, side);
    let rounds = min.min(u32::try_from(budget.min(ROUNDS_BYTES_MAX) / longest.max(1)).unwrap_or(u32::MAX));
    // A round that was cut off says nothing about where the next one begins.
    if left == 0 || rounds < 2 {
        return sub;
    }
    Hir::repetition(Repetition { min: rounds, max: Some(rounds), greedy: true, sub: Box::new(sub) })
}

/// The same for a pattern in parts.
fn clip_parts(parts: &[Hir], budget: usize, side: Side) -> (Hir, usize) {
    let (mut kept, mut left) = (Vec::new(), budget);
    for nth in 0..parts.len() {
        if left == 0 {
            break;
        }
        let part = if side == Side::First { &parts[nth] } else { &parts[parts.len() - 1 - nth] };
        let (part, rest) = clip(part, left, side);
        kept.push(part);
        left = rest;
    }
    if side == Side::Last {
        kept.reverse();
    }
    (Hir::concat(kept), left)
}
