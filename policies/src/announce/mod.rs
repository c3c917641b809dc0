//! What announces a match: the cheapest thing to look for such that wherever a pattern matches, it is there.
//!
//! For each pattern the planner looks at every part of it in turn: what follows may begin with one of a few literals. Or every match has a
//! digit, or a rare byte such as `@`: then the rest of the pattern from the first one on, its *core*, is tried where such a byte is seen,
//! together with the cores of all other patterns. Each announcement says how far before it a match may begin.

mod clip;
mod required;

use regex_syntax::hir::literal::Seq;
use regex_syntax::hir::{Capture, Class, ClassBytes, ClassBytesRange, Hir, HirKind, Look};

use self::clip::{first_parts, last_parts};
use self::required::{extractor, heads, literals, literals_cost, required_literals};
use crate::first::{Bytes, from_first};
use crate::frequency::rate;
use crate::literals::{LITERAL_BYTES_MIN, LONG_RUN_BYTES_MIN};
use crate::marks::keywords;
use crate::outline::ByteSet;
use crate::pack::Variant;
use crate::syntax;

/// A pattern that costs less than this, in nanoseconds per byte of text, is not taken apart.
const CHEAP: f64 = 0.05;
/// What a pattern costs that long runs of letters and digits announce, in the same measure; ordinary text hardly has them.
const LONG_RUN_COST: f64 = 0.02;
/// What a pattern costs that runs over the whole text, in the same measure.
const NOTHING_COST: f64 = 6.0;
/// Shortest and longest beginning that is looked for in a window, in bytes.
const BEGINNING_BYTES_MIN: usize = 2;
const BEGINNING_BYTES_MAX: usize = 5;
/// Parts of a pattern that are looked at.
const PARTS_MAX: usize = 64;
/// Up to so many start positions are tried one by one instead of by a search.
pub(crate) const STARTS_TRIED: usize = 8;

/// How far before its announcement a match may begin, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reach {
    pub min: usize,
    pub max: usize,
}

impl Reach {
    /// Returns true when a match may begin at few places only.
    pub(crate) fn is_narrow(self) -> bool {
        self.max - self.min < STARTS_TRIED
    }
}

/// What must stand around an announcement for a match to be there.
#[derive(Clone)]
pub(crate) struct Around {
    pub reach: Reach,
    /// The bytes that can stand between the beginning of a match and its announcement, where those are not nearly all.
    pub within: Option<ByteSet>,
    /// What ends where the announcement begins; a superset.
    pub before: Hir,
    /// What begins with the announcement; a superset.
    pub after: Hir,
}

/// What announces a match.
pub(crate) enum Announcement {
    /// One of these literals, in lower case.
    Literals { literals: Vec<Vec<u8>>, around: Around },
    /// One of these bytes; `0` stands for a digit that begins a run of them, `A` for a capital or digit that begins a run of those,
    /// `a` for a long run of letters and digits.
    Bytes { bytes: Vec<u8>, around: Around },
    /// Nothing: the pattern runs over the whole text.
    Nothing,
}

/// A pattern, or one alternative of it, with its announcement.
pub(crate) struct Plan {
    pub hir: Hir,
    pub announcement: Announcement,
    /// Other literals, in lower case, one of which every match holds as well; empty where none are rare enough to be worth asking for.
    pub companions: Vec<Vec<u8>>,
    /// What it costs, expected, in nanoseconds per byte of ordinary text.
    pub cost: f64,
}

/// Returns literals, in lower case, one of which every match begins with: what tells where to try a pattern whose announcement lies deep
/// inside it. None where matches begin in too many ways.
pub(crate) fn beginnings(hir: &Hir, announcement: &Announcement) -> Option<Vec<Vec<u8>>> {
    let reach = match announcement {
        Announcement::Literals { around, .. } | Announcement::Bytes { around, .. } => around.reach,
        Announcement::Nothing => return None,
    };
    if reach.is_narrow() {
        return None;
    }
    let plain = syntax::lowered(&syntax::without_captures(hir));
    // Short ones will do: they are looked for in a window, not in a text.
    literals(&extractor().extract(&plain), BEGINNING_BYTES_MIN).map(|literals| heads(&literals, BEGINNING_BYTES_MAX))
}

/// Chooses what announces a pattern's matches; takes an alternation apart where that is cheaper. `max` is its longest match.
pub(crate) fn plan(hir: Hir, variant: &Variant, max: usize) -> Vec<Plan> {
    planned(hir, variant, max, SPLITS_MAX)
}

/// Alternations inside one another that are taken apart.
const SPLITS_MAX: usize = 1;
/// A pattern with a longer match, in bytes, stays together: taking it apart would multiply something large.
const SPLIT_BYTES_MAX: usize = 400;
/// Alternations of one pattern that are looked at.
const ALTERNATIONS_MAX: usize = 3;
/// Alternations with more ways than this stay together.
const SPLIT_WAYS_MAX: usize = 32;

fn planned(hir: Hir, variant: &Variant, max: usize, splits: usize) -> Vec<Plan> {
    let together = cheapest(hir, variant, max);
    if splits == 0 || together.cost < CHEAP || max > SPLIT_BYTES_MAX {
        return vec![together];
    }
    let mut best = vec![together];
    for ways in alternations(&best[0].hir).into_iter().take(ALTERNATIONS_MAX) {
        let apart: Vec<Plan> = ways.into_iter().flat_map(|way| planned(way, variant, max, splits - 1)).collect();
        if total_cost(&apart) < 0.6 * total_cost(&best) {
            best = apart;
            break;
        }
    }
    best
}

fn total_cost(plans: &[Plan]) -> f64 {
    plans.iter().map(|plan| plan.cost).sum()
}

/// Lists the ways to take one alternation of a pattern apart: for each, the pattern written once per alternative.
fn alternations(hir: &Hir) -> Vec<Vec<Hir>> {
    let some = |ways: &Vec<Hir>| (2..=SPLIT_WAYS_MAX).contains(&ways.len()) && !syntax::is_one_character_of(ways);
    match hir.kind() {
        HirKind::Alternation(ways) if some(ways) => vec![ways.clone()],
        HirKind::Capture(capture) => {
            let again = |sub: Hir| Hir::capture(Capture { sub: Box::new(sub), ..capture.clone() });
            alternations(&capture.sub).into_iter().map(|ways| ways.into_iter().map(again).collect()).collect()
        }
        HirKind::Concat(parts) => {
            let at = |nth: usize| {
                let with = |way: Hir| {
                    let mut parts = parts.clone();
                    parts[nth] = way;
                    Hir::concat(parts)
                };
                alternations(&parts[nth]).into_iter().map(move |ways| ways.into_iter().map(with).collect::<Vec<Hir>>()).collect::<Vec<_>>()
            };
            (0..parts.len()).flat_map(at).collect()
        }
        _ => Vec::new(),
    }
}

/// Expected cost of finding out about one announcement, in nanoseconds: what stands around it is looked at, and in a share
/// of the cases that pass the pattern itself has to be run.
fn verification(reach: Reach, max: usize, passes: f64) -> f64 {
    let starts = reach.max - reach.min + 1;
    let run = if starts <= STARTS_TRIED { 100.0 + 10.0 * starts as f64 } else { 150.0 + 1.5 * (starts + max.min(400)) as f64 };
    80.0 + passes * run
}

/// The cheapest announcement so far.
struct Best {
    announcement: Announcement,
    cost: f64,
    /// The part of the pattern that it stands for, where it stands for one.
    part: Option<usize>,
}

impl Best {
    fn offer(&mut self, announcement: Announcement, cost: f64, part: Option<usize>) {
        if cost < self.cost {
            *self = Best { announcement, cost, part };
        }
    }
}

/// What finding a companion costs, in nanoseconds, and how much of what a pattern costs its companions may cost together.
const COMPANION_COST: f64 = 20.0;
const COMPANION_SHARE_MAX: f64 = 0.03;
/// How probable a companion may be within the longest match.
const COMPANION_CHANCE_MAX: f64 = 0.7;
/// A pattern with a shorter longest match, in bytes, is not worth asking for companions.
const COMPANION_BYTES_MIN: usize = 60;

/// Chooses the rarest literals that stand in another part of a pattern than its announcement; `cost` is what the pattern costs.
fn companions(beginnings: &[Seq], announced: Option<usize>, max: usize, cost: f64) -> Vec<Vec<u8>> {
    if max < COMPANION_BYTES_MIN {
        return Vec::new();
    }
    let others = (0..beginnings.len().min(PARTS_MAX)).filter(|part| Some(*part) != announced);
    let literals = others.filter_map(|part| {
        let literals = required_literals(&beginnings[part..], COMPANION_COST)?;
        let rate = literals.iter().map(|literal| rate(literal)).sum::<f64>();
        let pays = rate * max as f64 <= COMPANION_CHANCE_MAX && rate * COMPANION_COST <= COMPANION_SHARE_MAX * cost;
        pays.then_some((rate, literals))
    });
    literals.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, literals)| literals).unwrap_or_default()
}

fn cheapest(hir: Hir, variant: &Variant, max: usize) -> Plan {
    let mut best = Best { announcement: Announcement::Nothing, cost: NOTHING_COST, part: None };
    let plain = syntax::without_captures(&hir);
    let parts = match plain.kind() {
        HirKind::Concat(parts) => parts.clone(),
        _ => vec![plain.clone()],
    };
    let beginnings: Vec<Seq> = parts.iter().map(|part| extractor().extract(&syntax::led(&syntax::lowered(part)))).collect();
    let mut reach = Reach { min: 0, max: 0 };
    for (i, part) in parts.iter().enumerate().take(PARTS_MAX) {
        let before = last_parts(&parts[..i]);
        // Where something is asked of what stands before, few places pass.
        let work = verification(reach, max, if before.properties().minimum_len() > Some(1) { 0.1 } else { 0.3 });
        if let Some(literals) = required_literals(&beginnings[i..], work) {
            let cost = literals_cost(&literals, work);
            if cost < best.cost {
                let around = Around { reach, within: within(&parts[..i]), before, after: first_parts(&parts[i..]) };
                best = Best { announcement: Announcement::Literals { literals, around }, cost, part: Some(i) };
            }
        }
        reach.min = (reach.min + part.properties().minimum_len().unwrap_or(0)).min(max);
        reach.max = reach.max.saturating_add(part.properties().maximum_len().unwrap_or(max)).min(max);
    }
    let sets = if best.cost < CHEAP { Vec::new() } else { announcing(&plain) };
    for bytes in sets {
        let Some(around) = core(&plain, &bytes, max) else { continue };
        let passes = if around.before.properties().minimum_len() > Some(1) { 0.1 } else { 0.3 };
        let work = chance(&around.after) * verification(around.reach, max, passes);
        let cost = bytes.iter().map(|&byte| byte_rate(byte)).sum::<f64>() * (2.0 + work);
        best.offer(Announcement::Bytes { bytes, around }, cost, None);
    }
    if let HirKind::Look(Look::WordAscii | Look::WordStartAscii) = parts[0].kind()
        && run_min(&parts[1..]) >= LONG_RUN_BYTES_MIN
    {
        let reach = Reach { min: 0, max: 0 };
        let around = Around { reach, within: None, before: Hir::empty(), after: first_parts(&parts) };
        best.offer(Announcement::Bytes { bytes: vec![b'a'], around }, LONG_RUN_COST, None);
    }
    if !variant.keywords.is_empty() && variant.keywords.iter().all(|keyword| keyword.len() >= LITERAL_BYTES_MIN) {
        let literals = keywords(variant);
        let reach = Reach { min: 0, max };
        let cost = literals_cost(&literals, verification(reach, max, 1.0));
        let after = Hir::alternation(literals.iter().map(|literal| any_case(literal)).collect());
        best.offer(Announcement::Literals { literals, around: Around { reach, within: None, before: Hir::empty(), after } }, cost, None);
    }
    let mut companions = companions(&beginnings, best.part, max, best.cost);
    // Parts that say nothing pass the next one's literals on: those that announce the pattern are no second ones.
    if matches!(&best.announcement, Announcement::Literals { literals, .. } if *literals == companions) {
        companions.clear();
    }
    Plan { hir, announcement: best.announcement, companions, cost: best.cost }
}

/// Returns the bytes that can stand in these parts; none where words can.
fn within(parts: &[Hir]) -> Option<ByteSet> {
    let set = parts.iter().fold(ByteSet::default(), |set, part| set.with(&ByteSet::of(part)));
    (!set.has(b' ') || !set.has(b'e')).then_some(set)
}

/// A literal in any mixture of case.
fn any_case(literal: &[u8]) -> Hir {
    let byte = |&byte: &u8| {
        let ranges = [byte.to_ascii_lowercase(), byte.to_ascii_uppercase()].map(|byte| ClassBytesRange::new(byte, byte));
        Hir::class(Class::Bytes(ClassBytes::new(ranges)))
    };
    Hir::concat(literal.iter().map(byte).collect())
}

/// Returns how many letters and digits every match of these parts begins with, at least.
fn run_min(parts: &[Hir]) -> usize {
    let mut bytes = 0;
    for part in parts {
        if !is_run(part) {
            break;
        }
        bytes += part.properties().minimum_len().unwrap_or(0);
    }
    bytes
}

/// Returns true when a match consists of letters and digits.
fn is_run(hir: &Hir) -> bool {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => true,
        HirKind::Literal(literal) => literal.0.iter().all(u8::is_ascii_alphanumeric),
        HirKind::Class(Class::Unicode(class)) => {
            class.is_ascii() && class.ranges().iter().all(|range| (range.start()..=range.end()).all(|c| c.is_ascii_alphanumeric()))
        }
        HirKind::Class(Class::Bytes(class)) => {
            class.ranges().iter().all(|range| (range.start()..=range.end()).all(|byte| byte.is_ascii_alphanumeric()))
        }
        HirKind::Capture(capture) => is_run(&capture.sub),
        HirKind::Repetition(repetition) => is_run(&repetition.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => parts.iter().all(is_run),
    }
}

/// Lists the bytes that might announce a pattern: digits (as `0`), codes (as `A`), and each small set of punctuation that it names.
fn announcing(hir: &Hir) -> Vec<Vec<u8>> {
    let mut sets = vec![vec![b'0'], vec![b'A']];
    collect(hir, &mut sets);
    sets.sort();
    sets.dedup();
    sets
}

fn collect(hir: &Hir, sets: &mut Vec<Vec<u8>>) {
    /// Most bytes of one set.
    const BYTES_MAX: usize = 3;
    match hir.kind() {
        HirKind::Literal(literal) => {
            sets.extend(literal.0.iter().filter(|byte| byte.is_ascii_punctuation()).map(|&byte| vec![byte]));
        }
        HirKind::Class(Class::Unicode(class)) => {
            let members: usize = class.ranges().iter().map(|range| range.len()).sum();
            if members <= BYTES_MAX && class.is_ascii() {
                let bytes = class.ranges().iter().flat_map(|range| range.start() as u8..=range.end() as u8);
                let bytes: Vec<u8> = bytes.collect();
                if bytes.iter().all(u8::is_ascii_punctuation) {
                    sets.push(bytes);
                }
            }
        }
        HirKind::Repetition(repetition) if repetition.min > 0 => collect(&repetition.sub, sets),
        HirKind::Concat(parts) => parts.iter().for_each(|part| collect(part, sets)),
        HirKind::Alternation(ways) => ways.iter().for_each(|way| collect(way, sets)),
        _ => {}
    }
}

/// Returns what stands around a pattern's first announcing byte, if every match has one.
fn core(hir: &Hir, bytes: &[u8], max: usize) -> Option<Around> {
    let mut set: Bytes = [false; 256];
    bytes.iter().for_each(|&byte| set[usize::from(byte)] = true);
    let is_run = matches!(bytes, [b'0' | b'A']);
    if is_run {
        set[usize::from(b'0')..=usize::from(b'9')].fill(true);
        set[usize::from(b'A')..=usize::from(b'Z')].fill(bytes == [b'A']);
    }
    let first = from_first(hir, &set)?;
    if is_run && first.is_open {
        // The first byte might stand inside a run, which is told of only where it begins.
        return None;
    }
    let reach = Reach { min: first.before.0.min(max), max: first.before.1.min(max) };
    let (before, after): (Vec<Hir>, Vec<Hir>) = first.ways.into_iter().map(|way| (way.before, way.after)).unzip();
    Some(Around {
        reach,
        within: within(&before),
        before: last_parts(&[Hir::alternation(before)]),
        after: first_parts(&[Hir::alternation(after)]),
    })
}

/// How often an announcing byte comes in ordinary text: a run of digits begins less often than a word with a capital.
fn byte_rate(byte: u8) -> f64 {
    match byte {
        b'0' => 0.012,
        b'A' => 0.05,
        _ => rate(&[byte]),
    }
}

/// Guesses how likely a core matches where its byte stands, from how many digits and certain bytes it asks for.
fn chance(core: &Hir) -> f64 {
    let digits = syntax::digits_min(core).saturating_sub(1).min(12) as f64;
    let other = core.properties().minimum_len().unwrap_or(1).saturating_sub(syntax::digits_min(core)).saturating_sub(1).min(6) as f64;
    0.45f64.powf(digits) * 0.6f64.powf(other)
}
