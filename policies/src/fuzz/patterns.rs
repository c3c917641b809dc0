//! Made-up patterns over made-up texts: whatever a pattern is, what announces it must never hide a match of it.

use std::fmt::Write as _;
use std::path::Path;

use regex_syntax::hir::{Class, Hir, HirKind};

use super::numbers::Numbers;
use super::shrunk;
use crate::Encoding;
use crate::compile::compile;
use crate::pack;
use crate::scan::{Candidate, Engine};
use crate::syntax;
use crate::view::Views;

/// Sets of rules that are made up, rules of each, and texts that each is tried with.
const ENGINES: u64 = 60;
const RULES: usize = 8;
const TEXTS: usize = 10;
/// Longest match of a made-up pattern, in bytes.
const MATCH_BYTES_MAX: usize = 2000;

const PIECES: &[&str] = &[
    "id",
    "card",
    "sk-",
    "@",
    ":",
    "=",
    "_",
    "/",
    "é",
    "号码",
    "Щ",
    "9",
    "2024",
    "AB",
    "[a-f]",
    "[A-Z0-9]",
    "[^\\n]",
    "[^0-9A-Za-z.]",
    "[._ -]",
    "[一-龥]",
    "[а-я]",
    "\\d",
    "\\w",
    "\\s",
    "\\W",
    ".",
    "\\d{3}",
    "[A-Za-z0-9]{25,30}",
    "[a-z]{2,5}",
    "(?i:key)",
    "(?:token|secret|pin)",
];
const EDGES: &[&str] = &["\\b", "^", "$", "(?:^|[^0-9A-Za-z])", "(?:\\b|_)", "\\B"];
const TIMES: &[&str] = &["?", "{0,3}", "{1,4}", "{2}", "{3,30}", "{0,60}", "{16,18}", "{0,12}?"];
const KEYWORDS: &[&str] = &["card", "token", "号码", "sk-", "a secret pin"];
const BETWEEN: &[&str] = &[
    " ",
    "\n",
    "a",
    "7",
    "Z",
    "_",
    "@",
    ".",
    "é",
    "中",
    "\0",
    "the card ",
    "AB12",
    "1 2 3 ",
    "ｋ",
    "\u{200b}",
    "xxxxxxxxxxxxxxxxxxxxxxxxxxx",
];

fn pattern(numbers: &mut Numbers, depth: usize) -> String {
    let mut made = String::new();
    for _ in 0..=numbers.below(4) {
        let inner = match numbers.below(8) {
            0 => {
                made += numbers.word(EDGES);
                continue;
            }
            1 if depth > 0 => format!("(?:{}|{})", pattern(numbers, depth - 1), pattern(numbers, depth - 1)),
            2 if depth > 0 => format!("({})", pattern(numbers, depth - 1)),
            _ => format!("(?:{})", numbers.word(PIECES)),
        };
        made += &inner;
        if numbers.below(3) == 0 {
            made += numbers.word(TIMES);
        }
    }
    made
}

/// Rules of made-up patterns, and the patterns parsed.
fn engine(numbers: &mut Numbers) -> (Engine, Vec<Hir>, String) {
    let (mut yaml, mut hirs) = (String::from("pack: p\nrules:\n"), Vec::new());
    while hirs.len() < RULES {
        let (pattern, insensitive) = (pattern(numbers, 2), numbers.below(3) == 0);
        let Ok(hir) = syntax::parse(&pattern, insensitive, None) else { continue };
        let properties = hir.properties();
        if properties.minimum_len().is_none_or(|least| least == 0) || properties.maximum_len().is_none_or(|most| most > MATCH_BYTES_MAX) {
            continue;
        }
        let (nth, case) = (hirs.len(), if insensitive { "insensitive" } else { "sensitive" });
        let keywords = if numbers.below(5) == 0 { format!(", keywords: ['{}']", numbers.word(KEYWORDS)) } else { String::new() };
        let group = usize::from(properties.explicit_captures_len() > 0 && numbers.below(2) == 0);
        let pattern = pattern.replace('\'', "''");
        let _ = writeln!(
            yaml,
            "  - {{ id: R{nth}, title: t, category: pii, severity: high, why: w, pattern: '{pattern}', case: {case}, group: {group}{keywords}, must_match: [a], must_not_match: [b] }}"
        );
        hirs.push(hir);
    }
    let mut faults = Vec::new();
    let rules = pack::parse(Path::new("p.yaml"), &yaml, false, &mut faults).unwrap_or_else(|error| panic!("{error}\n{yaml}"));
    assert_eq!(rules.len(), RULES, "{faults:?}\n{yaml}");
    let matchers = compile(&rules, &mut faults).unwrap();
    (Engine::new(rules, matchers), hirs, yaml)
}

/// Writes something that the pattern may match; what its edges ask for is left to chance.
fn write_match(numbers: &mut Numbers, hir: &Hir, out: &mut Vec<u8>) {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => out.extend_from_slice(&literal.0),
        HirKind::Class(Class::Unicode(class)) if !class.ranges().is_empty() => {
            let range = numbers.one_of(class.ranges());
            let (first, last) = (range.start() as u32, range.end() as u32);
            let chosen = char::from_u32(first + numbers.below((last - first) as usize + 1) as u32).unwrap_or(range.start());
            out.extend_from_slice(chosen.encode_utf8(&mut [0; 4]).as_bytes());
        }
        HirKind::Class(Class::Bytes(class)) if !class.ranges().is_empty() => {
            let range = numbers.one_of(class.ranges());
            out.push(range.start() + numbers.below(usize::from(range.end() - range.start()) + 1) as u8);
        }
        HirKind::Class(_) => {}
        HirKind::Capture(capture) => write_match(numbers, &capture.sub, out),
        HirKind::Repetition(repetition) => {
            let most = repetition.max.unwrap_or(repetition.min);
            let times = repetition.min + numbers.below((most - repetition.min) as usize + 1) as u32;
            (0..times).for_each(|_| write_match(numbers, &repetition.sub, out));
        }
        HirKind::Concat(parts) => parts.iter().for_each(|part| write_match(numbers, part, out)),
        HirKind::Alternation(ways) => write_match(numbers, numbers.clone().one_of(ways), out),
    }
}

fn text(numbers: &mut Numbers, hirs: &[Hir]) -> String {
    let length = *numbers.one_of(&[30, 200, 1100, 2200]);
    let mut out = Vec::new();
    while out.len() < length {
        if numbers.below(3) == 0 {
            out.extend_from_slice(numbers.word(BETWEEN).as_bytes());
            continue;
        }
        let begun = out.len();
        write_match(numbers, numbers.clone().one_of(hirs), &mut out);
        match numbers.below(6) {
            0 => out[begun..].make_ascii_uppercase(),
            1 => out.truncate(begun + numbers.below(out.len() - begun + 1)),
            _ => {}
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[test]
fn made_up_patterns_are_found_wherever_they_match() {
    for seed in 0..ENGINES {
        let mut numbers = Numbers::new(seed);
        let (engine, hirs, yaml) = engine(&mut numbers);
        let floors = engine.floors();
        let both = |text: &str| -> [Vec<Candidate>; 2] {
            let views = Views::new(text, Encoding::Plain, true);
            [engine.candidates(&views, 0, &floors), engine.candidates_by_law(&views, &floors)]
        };
        let differs = |text: &str| {
            let [seen, lawful] = both(text);
            seen != lawful
        };
        for _ in 0..TEXTS {
            let text = text(&mut numbers, &hirs);
            if differs(&text) {
                let text = shrunk(&text, &differs);
                let [seen, lawful] = both(&text);
                panic!("of {text:?} are found\n{seen:?}, and by the law\n{lawful:?}\nwith\n{yaml}");
            }
        }
    }
}
