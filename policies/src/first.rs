//! A pattern from its first digit on (or its first `@`, or colon ...): what is left to match where such a byte is seen.

use regex_syntax::hir::{Class, ClassBytes, ClassBytesRange, Hir, HirKind, Look, Repetition};

/// More ways than this to come to the first such byte are not followed.
const WAYS_MAX: usize = 60;

/// The bytes looked for.
pub(crate) type Bytes = [bool; 256];

/// What is left of a pattern from the first byte of a set on.
pub(crate) struct First {
    /// What comes before that byte and what follows from it on, at least; one of these.
    pub ways: Vec<Way>,
    /// Fewest and most bytes of a match before it.
    pub before: (usize, usize),
    /// True when a match may begin with that byte and nothing says that none stands before it.
    pub is_open: bool,
    /// The matches without any such byte, if there are some.
    free: Option<Free>,
}

/// One way to come to the first such byte.
pub(crate) struct Way {
    /// Everything before it.
    pub before: Hir,
    /// The byte and everything behind it.
    pub after: Hir,
}

/// Matches without a byte of the set.
#[derive(Clone, Copy)]
struct Free {
    min: usize,
    max: usize,
    /// True when it may be empty, and nothing says that no byte of the set stands before.
    is_open: bool,
}

/// Returns what is left of a pattern from its first byte of the set on; `None` when a match may do without, or there are too many ways.
pub(crate) fn from_first(hir: &Hir, set: &Bytes) -> Option<First> {
    if may_do_without(hir, set) {
        return None;
    }
    let first = first(hir, set);
    (first.free.is_none() && (1..=WAYS_MAX).contains(&first.ways.len())).then_some(first)
}

const NEVER: First = First { ways: Vec::new(), before: (usize::MAX, 0), is_open: false, free: None };

fn free(min: usize, max: usize, is_open: bool) -> First {
    First { free: Some(Free { min, max, is_open }), ..NEVER }
}

/// Returns true when some match has no byte of the set.
fn may_do_without(hir: &Hir, set: &Bytes) -> bool {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => true,
        HirKind::Literal(literal) => !literal.0.iter().any(|&byte| set[byte as usize]),
        HirKind::Class(class) => of_class(class, hir, set).free.is_some(),
        HirKind::Capture(capture) => may_do_without(&capture.sub, set),
        HirKind::Repetition(repetition) => repetition.min == 0 || may_do_without(&repetition.sub, set),
        HirKind::Alternation(ways) => ways.iter().any(|way| may_do_without(way, set)),
        HirKind::Concat(parts) => parts.iter().all(|part| may_do_without(part, set)),
    }
}

fn first(hir: &Hir, set: &Bytes) -> First {
    let first = ways_to(hir, set);
    // Too many ways: as if a match may do without, which nothing is made of.
    if first.ways.len() > WAYS_MAX { free(0, usize::MAX, true) } else { first }
}

fn ways_to(hir: &Hir, set: &Bytes) -> First {
    match hir.kind() {
        HirKind::Empty => free(0, 0, true),
        HirKind::Look(look) => {
            free(0, 0, !matches!(look, Look::WordAscii | Look::WordStartAscii | Look::Start | Look::StartLF | Look::StartCRLF))
        }
        HirKind::Literal(literal) => match literal.0.iter().position(|&byte| set[byte as usize]) {
            Some(at) => {
                let (before, after) = literal.0.split_at(at);
                let way = Way { before: Hir::literal(before.to_vec()), after: Hir::literal(after.to_vec()) };
                First { ways: vec![way], before: (at, at), is_open: at == 0, free: None }
            }
            None => free(literal.0.len(), literal.0.len(), false),
        },
        HirKind::Class(class) => of_class(class, hir, set),
        HirKind::Capture(capture) => first(&capture.sub, set),
        HirKind::Repetition(repetition) => of_repetition(repetition, set),
        HirKind::Alternation(ways) => ways.iter().map(|way| first(way, set)).fold(NEVER, either),
        HirKind::Concat(parts) => of_concat(parts, set),
    }
}

fn either(a: First, b: First) -> First {
    let free = match (a.free, b.free) {
        (Some(a), Some(b)) => Some(Free { min: a.min.min(b.min), max: a.max.max(b.max), is_open: a.is_open || b.is_open }),
        (one, other) => one.or(other),
    };
    let before = (a.before.0.min(b.before.0), a.before.1.max(b.before.1));
    First { ways: a.ways.into_iter().chain(b.ways).collect(), before, is_open: a.is_open || b.is_open, free }
}

fn of_class(class: &Class, hir: &Hir, set: &Bytes) -> First {
    let ranges: Vec<(u32, u32)> = match class {
        Class::Unicode(class) => class.ranges().iter().map(|range| (u32::from(range.start()), u32::from(range.end()))).collect(),
        Class::Bytes(class) => class.ranges().iter().map(|range| (u32::from(range.start()), u32::from(range.end()))).collect(),
    };
    let members = || ranges.iter().flat_map(|&(start, end)| start..=end.min(0x7f));
    let inside: Vec<ClassBytesRange> =
        members().filter(|&byte| set[byte as usize]).map(|byte| ClassBytesRange::new(byte as u8, byte as u8)).collect();
    let has_others = ranges.iter().any(|&(_, end)| end > 0x7f) || members().any(|byte| !set[byte as usize]);
    let properties = hir.properties();
    let others =
        has_others.then(|| Free { min: properties.minimum_len().unwrap_or(1), max: properties.maximum_len().unwrap_or(4), is_open: false });
    if inside.is_empty() {
        return First { free: others, ..NEVER };
    }
    let way = Way { before: Hir::empty(), after: Hir::class(Class::Bytes(ClassBytes::new(inside))) };
    First { ways: vec![way], before: (0, 0), is_open: true, free: others }
}

fn of_repetition(repetition: &Repetition, set: &Bytes) -> First {
    let sub = first(&repetition.sub, set);
    let max = repetition.max.unwrap_or(u32::MAX);
    let times = |bytes: usize, count: u32| bytes.saturating_mul(count as usize);
    let mut all = NEVER;
    if let Some(sub) = sub.free {
        let is_open = repetition.min == 0 || sub.is_open;
        all.free = Some(Free { min: times(sub.min, repetition.min), max: times(sub.max, max), is_open });
    } else if repetition.min == 0 {
        all.free = Some(Free { min: 0, max: 0, is_open: true });
    }
    if sub.ways.is_empty() || max == 0 {
        return all;
    }
    // Rounds without such a byte may come before the round that has one.
    let before = sub.free.map_or(0, |sub| times(sub.max, max - 1));
    let min = if sub.free.is_some() { 0 } else { repetition.min.saturating_sub(1) };
    let rest = Repetition { min, max: repetition.max.map(|max| max - 1), greedy: repetition.greedy, sub: repetition.sub.clone() };
    let rest = Hir::repetition(rest);
    let rounds = match sub.free {
        None => Hir::empty(),
        Some(_) => Hir::repetition(Repetition { min: 0, max: Some(max - 1), greedy: true, sub: repetition.sub.clone() }),
    };
    let around =
        |way: Way| Way { before: Hir::concat(vec![rounds.clone(), way.before]), after: Hir::concat(vec![way.after, rest.clone()]) };
    all.ways = sub.ways.into_iter().map(around).collect();
    all.before = (sub.before.0, sub.before.1.saturating_add(before));
    all.is_open = sub.is_open;
    all
}

fn of_concat(parts: &[Hir], set: &Bytes) -> First {
    let mut all = NEVER;
    let mut so_far = Free { min: 0, max: 0, is_open: true };
    for (i, part) in parts.iter().enumerate() {
        let part = first(part, set);
        if !part.ways.is_empty() {
            let (earlier, rest) = (Hir::concat(parts[..i].to_vec()), Hir::concat(parts[i + 1..].to_vec()));
            let around = |way: Way| Way {
                before: Hir::concat(vec![earlier.clone(), way.before]),
                after: Hir::concat(vec![way.after, rest.clone()]),
            };
            all.ways.extend(part.ways.into_iter().map(around));
            all.before.0 = all.before.0.min(so_far.min.saturating_add(part.before.0));
            all.before.1 = all.before.1.max(so_far.max.saturating_add(part.before.1));
            all.is_open |= so_far.is_open && part.is_open;
        }
        if all.ways.len() > WAYS_MAX {
            return all;
        }
        let Some(free) = part.free else { return all };
        so_far.min = so_far.min.saturating_add(free.min);
        so_far.max = so_far.max.saturating_add(free.max);
        so_far.is_open &= free.is_open;
    }
    all.free = Some(so_far);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syntax::parse;

    fn digits() -> Bytes {
        let mut set = [false; 256];
        set[b'0' as usize..=b'9' as usize].fill(true);
        set
    }

    fn core(pattern: &str) -> Option<((usize, usize), bool, usize)> {
        let hir = crate::syntax::without_captures(&parse(pattern, false, None).unwrap());
        from_first(&hir, &digits()).map(|first| (first.before, first.is_open, first.ways.len()))
    }

    #[test]
    fn a_pattern_is_cut_at_its_first_digit() {
        assert_eq!(core(r"\d{4}"), Some(((0, 0), true, 1)));
        assert_eq!(core(r"\b\d{4}"), Some(((0, 0), false, 1)));
        assert_eq!(core(r"(?:^|[^0-9A-Za-z.]|[^0-9]\.)(4\d{3})\b"), Some(((0, 5), false, 1)));
        assert_eq!(core(r"\b[A-Z]{2}\d{6}[A-D]?\b"), Some(((2, 2), false, 1)));
        assert_eq!(core(r"\b(?:\+\d{1,3} ?)?\(?\d{3}"), Some(((0, 1), false, 2)));
        assert_eq!(core(r"\b[0-9A-F]{2}\d"), Some(((0, 2), false, 2)));
    }

    #[test]
    fn a_pattern_that_may_do_without_has_none() {
        assert_eq!(core(r"\b[A-Z0-9]{8}\b"), None);
        assert_eq!(core(r"abc\d?"), None);
    }

    #[test]
    fn a_digit_behind_an_optional_one_may_stand_in_a_run() {
        assert_eq!(core(r"[A-Z]?\d{3}"), Some(((0, 1), true, 1)), "nothing says that no digit stands before");
    }
}
