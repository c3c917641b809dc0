//! Literals one of which every match of a pattern begins with, and what looking for them costs.

use regex_syntax::hir::literal::{Extractor, Literal, Seq};

use crate::frequency::rate;
use crate::literals::LITERAL_BYTES_MIN;

/// Longest literal that is looked for, in bytes; more would not make it rarer.
const LITERAL_BYTES_MAX: usize = 20;
/// What one more literal costs, in nanoseconds per byte of ordinary text: another window that other text may be taken for.
const LITERAL_COST: f64 = 8e-5;
/// Most literals that are looked for in the place of one pattern.
const LITERALS_MAX: usize = 300;

pub(super) fn extractor() -> Extractor {
    let mut extractor = Extractor::new();
    extractor.limit_class(40).limit_repeat(4).limit_literal_len(LITERAL_BYTES_MAX).limit_total(LITERALS_MAX);
    extractor
}

/// Returns literals one of which every match begins with, in lower case; `beginnings` is what each of its parts begins with and `work` is
/// what a search for one costs.
pub(super) fn required_literals(beginnings: &[Seq], work: f64) -> Option<Vec<Vec<u8>>> {
    let literals = literals(&joined(beginnings), LITERAL_BYTES_MIN)?;
    // Short heads are few but common, long ones rare but many.
    let cost = |&length: &usize| cut(&literals, length).map(|head| literal_cost(head, work)).sum::<f64>();
    let lengths = [3, 4, 5, 6, 7, 8, 10, 13, LITERAL_BYTES_MAX];
    let best = lengths.iter().min_by(|a, b| cost(a).total_cmp(&cost(b)))?;
    Some(heads(&literals, *best))
}

/// What parts in a row begin with, from what each of them begins with: as an [`Extractor`] joins them, without reading each part again for
/// every part before it.
fn joined(beginnings: &[Seq]) -> Seq {
    let mut all = Seq::singleton(Literal::exact(Vec::new()));
    for next in beginnings {
        if all.is_inexact() {
            break;
        }
        let mut next = next.clone();
        if all.max_cross_len(&next).is_some_and(|count| count > LITERALS_MAX) {
            next.make_infinite();
        }
        all.cross_forward(&mut next);
        all.keep_first_bytes(LITERAL_BYTES_MAX);
    }
    all
}

/// Lists literals sorted, in lower case and as long as they can be told; none when there is no end of them or one is shorter than `bytes_min`.
pub(super) fn literals(beginnings: &Seq, bytes_min: usize) -> Option<Vec<Vec<u8>>> {
    let mut literals: Vec<Vec<u8>> = beginnings.literals()?.iter().map(|literal| literal.as_bytes().to_ascii_lowercase()).collect();
    if literals.is_empty() || literals.iter().any(|literal| literal.len() < bytes_min) {
        return None;
    }
    literals.sort();
    Some(literals)
}

/// Cuts sorted literals to a length and drops those that begin with another.
pub(super) fn heads(literals: &[Vec<u8>], length: usize) -> Vec<Vec<u8>> {
    cut(literals, length).map(<[u8]>::to_vec).collect()
}

fn cut(literals: &[Vec<u8>], length: usize) -> impl Iterator<Item = &[u8]> {
    let mut last: Option<&[u8]> = None;
    literals.iter().map(move |literal| &literal[..literal.len().min(length)]).filter(move |head| {
        let is_new = !last.is_some_and(|shorter| head.starts_with(shorter));
        if is_new {
            last = Some(head);
        }
        is_new
    })
}

/// Expected cost of looking for these literals, in nanoseconds per byte of text; `work` is what finding one costs.
pub(super) fn literals_cost(literals: &[Vec<u8>], work: f64) -> f64 {
    literals.iter().map(|literal| literal_cost(literal, work)).sum()
}

fn literal_cost(literal: &[u8], work: f64) -> f64 {
    rate(literal) * work + LITERAL_COST
}
