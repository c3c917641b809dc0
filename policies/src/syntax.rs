//! Patterns as written, turned into the form the engine runs: ASCII boundaries and digits, bounded repetitions.

use regex_syntax::ast::{self, Ast, ClassPerl, ClassPerlKind, ClassSetItem};
use regex_syntax::hir::{Capture, Class, ClassBytes, ClassBytesRange, ClassUnicode, ClassUnicodeRange, Hir, HirKind, Look, Repetition};

/// Parses a pattern. `\d \w \s \b \B` mean their ASCII forms, everything else is Unicode.
///
/// Unicode `\b` makes the lazy DFA give up at the first non-ASCII character (measured: 125 to 0.23 MB/s), and sees no
/// boundary between a digit and a Chinese or Thai letter.
pub(crate) fn parse(pattern: &str, insensitive: bool, unbounded_max: Option<usize>) -> Result<Hir, String> {
    let ast = ast::parse::Parser::new().parse(pattern).map_err(|error| one_line(&error))?;
    let ascii = with_ascii_classes(pattern, &ast);
    let hir = regex_syntax::ParserBuilder::new()
        .utf8(false)
        .case_insensitive(insensitive)
        .build()
        .parse(&ascii)
        .map_err(|error| one_line(&error))?;
    Ok(rewrite(hir, unbounded_max))
}

/// Reads a pattern that was written from its parsed form (`Hir`'s `Display`).
pub(crate) fn reread(written: &str) -> Result<Hir, String> {
    regex_syntax::ParserBuilder::new().utf8(false).nest_limit(REREAD_NEST_MAX).build().parse(written).map_err(|error| one_line(&error))
}

/// How deep a written form may nest: it has a group around each part that needs one, which the pattern need not have had.
const REREAD_NEST_MAX: u32 = 1000;

/// Writes a phrase as a pattern: word-bounded where it begins or ends with a Latin word character, any white space between
/// its words.
pub(crate) fn phrase_pattern(phrase: &str) -> String {
    let words: Vec<String> = phrase.split_whitespace().map(regex_syntax::escape).collect();
    let word = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    let left = if word(phrase.trim().chars().next()) { r"\b" } else { "" };
    let right = if word(phrase.trim().chars().next_back()) { r"\b" } else { "" };
    format!("{left}{}{right}", words.join(r"\s{1,4}"))
}

/// Keeps the last line of a parser's message, which says what is wrong; the lines before draw it.
fn one_line(error: &dyn std::error::Error) -> String {
    let message = error.to_string();
    let last = message.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("");
    let hint =
        if last.contains("look-around") || last.contains("backreference") { "; use a capture group with `group:`, or a check" } else { "" };
    format!("pattern: {}{hint}", last.trim_start_matches("error: "))
}

/// Replaces `\d \D \w \W \s \S` by their ASCII classes. Nested brackets keep them valid inside a class.
fn with_ascii_classes(pattern: &str, ast: &Ast) -> String {
    struct Found(Vec<(usize, usize, &'static str)>);
    impl Found {
        fn add(&mut self, class: &ClassPerl) {
            let ascii = match (&class.kind, class.negated) {
                (ClassPerlKind::Digit, false) => "[0-9]",
                (ClassPerlKind::Digit, true) => "[^0-9]",
                (ClassPerlKind::Word, false) => "[0-9A-Za-z_]",
                (ClassPerlKind::Word, true) => "[^0-9A-Za-z_]",
                (ClassPerlKind::Space, false) => r"[\t\n\v\f\r\x20]",
                (ClassPerlKind::Space, true) => r"[^\t\n\v\f\r\x20]",
            };
            self.0.push((class.span.start.offset, class.span.end.offset, ascii));
        }
    }
    impl ast::Visitor for Found {
        type Output = Vec<(usize, usize, &'static str)>;
        type Err = std::convert::Infallible;
        fn finish(self) -> Result<Self::Output, Self::Err> {
            Ok(self.0)
        }
        fn visit_pre(&mut self, ast: &Ast) -> Result<(), Self::Err> {
            if let Ast::ClassPerl(class) = ast {
                self.add(class);
            }
            Ok(())
        }
        fn visit_class_set_item_pre(&mut self, item: &ClassSetItem) -> Result<(), Self::Err> {
            if let ClassSetItem::Perl(class) = item {
                self.add(class);
            }
            Ok(())
        }
    }
    let Ok(mut spans) = ast::visit(ast, Found(Vec::new()));
    spans.sort_unstable();
    let mut written = String::with_capacity(pattern.len() * 2);
    let mut at = 0;
    for (start, end, ascii) in spans {
        written.push_str(&pattern[at..start]);
        written.push_str(ascii);
        at = end;
    }
    written.push_str(&pattern[at..]);
    written
}

/// Gives the engine's form: ASCII boundaries, no letters that only Unicode case folding brings in (the long s and the Kelvin
/// sign, which the folded view covers), and unbounded repetitions cut at `unbounded_max`.
fn rewrite(hir: Hir, unbounded_max: Option<usize>) -> Hir {
    let again = |hir: Hir| rewrite(hir, unbounded_max);
    match hir.into_kind() {
        HirKind::Empty => Hir::empty(),
        HirKind::Literal(literal) => Hir::literal(literal.0),
        HirKind::Class(class) => anything_beyond_ascii(without_case_strays(class)),
        HirKind::Look(look) => Hir::look(ascii_look(look)),
        HirKind::Repetition(repetition) => {
            let bound = unbounded_max.map(|max| (max as u32).max(repetition.min));
            Hir::repetition(Repetition { max: repetition.max.or(bound), sub: Box::new(again(*repetition.sub)), ..repetition })
        }
        HirKind::Capture(capture) => Hir::capture(Capture { sub: Box::new(again(*capture.sub)), ..capture }),
        HirKind::Concat(parts) => Hir::concat(parts.into_iter().map(again).collect()),
        HirKind::Alternation(parts) => Hir::alternation(parts.into_iter().map(again).collect()),
    }
}

/// A class that takes every character beyond ASCII becomes a few byte ranges. The texts are UTF-8, so they say the same, and the compiled
/// form of a gap such as `[^\n]{0,80}` shrinks to a fifth.
fn anything_beyond_ascii(class: Class) -> Hir {
    let Class::Unicode(unicode) = &class else { return Hir::class(class) };
    let beyond = unicode.ranges().last().is_some_and(|last| last.start() <= '\u{80}' && last.end() == char::MAX);
    if !beyond {
        return Hir::class(class);
    }
    let ascii = unicode.ranges().iter().filter(|range| range.start() < '\u{80}');
    let ascii: Vec<ClassUnicodeRange> = ascii.map(|range| ClassUnicodeRange::new(range.start(), range.end().min('\u{7f}'))).collect();
    let bytes = |start, end| Hir::class(Class::Bytes(ClassBytes::new([ClassBytesRange::new(start, end)])));
    let following = |times: u32| vec![bytes(0x80, 0xbf); times as usize];
    let character = |start, end, times| Hir::concat(std::iter::once(bytes(start, end)).chain(following(times)).collect());
    let mut ways = vec![character(0xc2, 0xdf, 1), character(0xe0, 0xef, 2), character(0xf0, 0xf4, 3)];
    if !ascii.is_empty() {
        ways.insert(0, Hir::class(Class::Unicode(ClassUnicode::new(ascii))));
    }
    Hir::alternation(ways)
}

/// The class itself, or one that takes every character beyond ASCII where it takes many of them.
pub(crate) fn widened(class: &Class) -> Hir {
    const FEW: usize = 4;
    match class {
        Class::Unicode(unicode) if unicode.ranges().iter().filter(|range| range.end() >= '\u{80}').count() > FEW => {
            let mut wide = unicode.clone();
            wide.push(ClassUnicodeRange::new('\u{80}', char::MAX));
            anything_beyond_ascii(Class::Unicode(wide))
        }
        class => Hir::class(class.clone()),
    }
}

/// Returns true for what [`anything_beyond_ascii`] makes: one character, whatever it takes to write it.
pub(crate) fn is_one_character(hir: &Hir) -> bool {
    matches!(hir.kind(), HirKind::Alternation(ways) if is_one_character_of(ways))
}

/// The same for the alternatives.
pub(crate) fn is_one_character_of(ways: &[Hir]) -> bool {
    let begins_above = |way: &Hir, byte| match way.kind() {
        HirKind::Concat(parts) => {
            matches!(parts[0].kind(), HirKind::Class(Class::Bytes(class)) if class.ranges().first().is_some_and(|range| range.start() == byte))
        }
        _ => false,
    };
    ways.last().is_some_and(|way| begins_above(way, 0xf0))
}

fn ascii_look(look: Look) -> Look {
    match look {
        Look::WordUnicode => Look::WordAscii,
        Look::WordUnicodeNegate => Look::WordAsciiNegate,
        Look::WordStartUnicode => Look::WordStartAscii,
        Look::WordEndUnicode => Look::WordEndAscii,
        Look::WordStartHalfUnicode => Look::WordStartHalfAscii,
        Look::WordEndHalfUnicode => Look::WordEndHalfAscii,
        other => other,
    }
}

fn without_case_strays(class: Class) -> Class {
    const STRAYS: [char; 2] = ['\u{17f}', '\u{212a}'];
    let Class::Unicode(unicode) = &class else { return class };
    let small = unicode.ranges().len() <= 4 && unicode.ranges().iter().map(|range| range.len()).sum::<usize>() <= 4;
    let ascii = |c: char| unicode.ranges().iter().any(|range| range.start() <= c && c <= range.end());
    if !small || !(ascii('s') || ascii('k')) {
        return class;
    }
    let kept = unicode.ranges().iter().filter(|range| !STRAYS.contains(&range.start()));
    Class::Unicode(ClassUnicode::new(kept.map(|range| ClassUnicodeRange::new(range.start(), range.end()))))
}

/// Drops capture groups, which cost the engine its fast paths where nobody asks for them.
pub(crate) fn without_captures(hir: &Hir) -> Hir {
    map(hir, &|hir| match hir.kind() {
        HirKind::Capture(capture) => Some(without_captures(&capture.sub)),
        _ => None,
    })
}

/// Writes every ASCII letter in lower case, for a prefilter that ignores ASCII case.
pub(crate) fn lowered(hir: &Hir) -> Hir {
    map(hir, &|hir| match hir.kind() {
        HirKind::Literal(literal) => Some(Hir::literal(literal.0.to_ascii_lowercase())),
        HirKind::Class(Class::Unicode(class)) if class.is_ascii() => {
            let mut lower: Vec<char> = Vec::new();
            for range in class.ranges() {
                lower.extend((range.start()..=range.end()).map(|c| c.to_ascii_lowercase()));
            }
            let ranges = lower.into_iter().map(|c| ClassUnicodeRange::new(c, c));
            Some(Hir::class(Class::Unicode(ClassUnicode::new(ranges))))
        }
        HirKind::Capture(capture) => Some(lowered(&capture.sub)),
        _ => None,
    })
}

/// Writes a class of many characters that begin alike in UTF-8 by what they begin with: more than the class takes, but literals can be
/// read from it.
pub(crate) fn led(hir: &Hir) -> Hir {
    map(hir, &|hir| match hir.kind() {
        HirKind::Class(Class::Unicode(class)) => {
            let last = Hir::class(Class::Bytes(ClassBytes::new([ClassBytesRange::new(0x80, 0xbf)])));
            let way = |beginning: Vec<u8>| {
                let is_whole = beginning[0] < 0xf0;
                let literal = Hir::literal(beginning);
                if is_whole { literal } else { Hir::concat(vec![literal, last.clone()]) }
            };
            beginnings(class).map(|beginnings| Hir::alternation(beginnings.into_iter().map(way).collect()))
        }
        _ => None,
    })
}

/// Returns the first three bytes of each character of a class, if all have so many and there are few of them.
fn beginnings(class: &ClassUnicode) -> Option<Vec<Vec<u8>>> {
    /// Fewer characters than this can be told one by one, and more than that are not gone through.
    const CHARACTERS: std::ops::Range<usize> = 41..1024;
    const BEGINNINGS_MAX: usize = 40;
    let characters = class.ranges().iter().map(|range| range.len()).sum::<usize>();
    if !CHARACTERS.contains(&characters) || class.ranges().first()?.start() < '\u{800}' {
        return None;
    }
    let mut beginnings: Vec<Vec<u8>> = Vec::new();
    for c in class.ranges().iter().flat_map(|range| range.start()..=range.end()) {
        let mut bytes = [0; 4];
        let beginning = &c.encode_utf8(&mut bytes).as_bytes()[..3];
        if !beginnings.iter().any(|known| known == beginning) {
            beginnings.push(beginning.to_vec());
        }
    }
    (beginnings.len() <= BEGINNINGS_MAX).then_some(beginnings)
}

/// Rebuilds a pattern, with `change` deciding about each node before its children are looked at.
fn map(hir: &Hir, change: &dyn Fn(&Hir) -> Option<Hir>) -> Hir {
    if let Some(changed) = change(hir) {
        return changed;
    }
    match hir.kind() {
        HirKind::Repetition(repetition) => {
            let sub = Box::new(map(&repetition.sub, change));
            Hir::repetition(Repetition { sub, ..repetition.clone() })
        }
        HirKind::Capture(capture) => {
            let sub = Box::new(map(&capture.sub, change));
            Hir::capture(Capture { sub, ..capture.clone() })
        }
        HirKind::Concat(parts) => Hir::concat(parts.iter().map(|part| map(part, change)).collect()),
        HirKind::Alternation(parts) => Hir::alternation(parts.iter().map(|part| map(part, change)).collect()),
        _ => hir.clone(),
    }
}

/// Returns how many ASCII digits every match holds at least.
pub(crate) fn digits_min(hir: &Hir) -> usize {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => 0,
        HirKind::Literal(literal) => literal.0.iter().filter(|byte| byte.is_ascii_digit()).count(),
        HirKind::Class(Class::Unicode(class)) => {
            let digits = class.ranges().iter().all(|range| range.start() >= '0' && range.end() <= '9');
            usize::from(digits)
        }
        HirKind::Class(Class::Bytes(_)) => 0,
        HirKind::Repetition(repetition) => digits_min(&repetition.sub).saturating_mul(repetition.min as usize),
        HirKind::Capture(capture) => digits_min(&capture.sub),
        HirKind::Concat(parts) => parts.iter().map(digits_min).fold(0, usize::saturating_add),
        HirKind::Alternation(parts) => parts.iter().map(digits_min).min().unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_and_boundaries_are_ascii_and_the_rest_is_unicode() {
        let hir = parse(r"\b[\d.-]\w\S.", false, None).unwrap();
        let regex = regex_automata::meta::Regex::builder().build_from_hir(&hir).unwrap();
        assert!(regex.is_match("卡4a中中") && !regex.is_match("卡٤a中中"));
        assert!(!format!("{hir:?}").contains("Unicode(WordUnicode"));
    }

    #[test]
    fn letters_that_only_case_folding_brings_in_are_left_out() {
        let hir = lowered(&parse("SK", true, None).unwrap());
        assert!(matches!(hir.kind(), HirKind::Literal(literal) if &*literal.0 == b"sk"));
    }

    #[test]
    fn a_bound_can_be_given_to_a_pattern_without_one() {
        assert_eq!(parse("a+b", false, None).unwrap().properties().maximum_len(), None);
        assert_eq!(parse("a+b", false, Some(9)).unwrap().properties().maximum_len(), Some(10));
        assert_eq!(digits_min(&parse(r"(?:\d{4}[ -]?){3}\d?", false, None).unwrap()), 12);
    }

    #[test]
    fn a_pattern_read_again_is_the_same() {
        for pattern in
            [r"\b(\d{3})-[^\n]{0,80}?(?:é|中|x)+$", r"(?i:Key)[^a-z中]{2,4}\B", r"[\x00-\x1f]|[!-~]{3}", "(a|ab)(c|bcd)", r"\\\.\-\["]
        {
            let hir = parse(pattern, true, Some(40)).unwrap();
            assert_eq!(reread(&hir.to_string()).unwrap(), hir, "{pattern}");
        }
    }

    #[test]
    fn phrases_are_bounded_where_they_are_latin() {
        assert_eq!(phrase_pattern("how to"), r"\bhow\s{1,4}to\b");
        assert_eq!(phrase_pattern("忽略 a"), r"忽略\s{1,4}a\b");
    }
}
