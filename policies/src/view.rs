//! The forms of one text that are searched: as written, unescaped, folded, decoded; each with its way back to the raw bytes.

use std::ops::Range;

use memchr::memchr;

use crate::decode;
use crate::disguise;
use crate::fold::{Fold, fold};
use crate::map::Map;
use crate::model::Encoding;

/// How often JSON is unescaped: JSON inside a JSON string inside a JSON string.
const JSON_LEVELS: usize = 3;
/// How often a text is decoded: base64 of percent-encoding of entities.
const DECODE_LEVELS: usize = 3;
/// Most bytes of all decoded forms together, for each byte of the text, and so many more for every text; a form that would go beyond is
/// left out, and the policy says what is done about that. Only texts made for it come near.
const DECODED_TIMES_MAX: usize = 8;
const DECODED_BYTES_MORE: usize = 64 * 1024;

/// A text and its derived forms.
pub(crate) struct Views<'a> {
    raw: &'a str,
    layers: Vec<Layer>,
    /// True when the raw text is only the spelling of its first unescaped form, which is searched in its place.
    raw_is_spelling: bool,
    /// True when a decoded form was left out because there was no room for it.
    over_budget: bool,
}

/// A form derived from another: `parent` 0 is the raw text, n is layer n - 1.
struct Layer {
    parent: usize,
    text: String,
    map: Map,
    /// Where in the parent this form stops, because an escape has begun there and its end is not known yet.
    stop: Option<usize>,
    folded: bool,
    origin: Origin,
}

/// What a form shows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// The text itself.
    Written,
    /// What an encoding in it says.
    Decoded,
    /// What it might say if it is disguised: a guess, for rules that look for attacks and for nothing else.
    Disguise,
}

/// A text in which encoded places are replaced by what they say, and its map.
pub(crate) struct Decoded {
    pub text: String,
    pub map: Map,
}

impl<'a> Views<'a> {
    /// Derives all forms. `whole` is false while more text may follow: then forms stop before an unfinished escape.
    pub(crate) fn new(raw: &'a str, encoding: Encoding, whole: bool) -> Self {
        let mut views = Self { raw, layers: Vec::new(), raw_is_spelling: false, over_budget: false };
        let mut newest = 0;
        if encoding == Encoding::Json {
            for _ in 0..JSON_LEVELS {
                let Some(layer) = unescaped(newest, views.text(newest), whole) else { break };
                views.layers.push(layer);
                newest = views.layers.len();
                views.raw_is_spelling = true;
            }
        }
        for view in 0..=newest {
            if let Some(layer) = (view > 0 || newest == 0).then(|| folded(view, views.text(view))).flatten() {
                views.layers.push(layer);
            }
        }
        views
    }

    /// Derives all forms of a whole text, what it encodes and what it may be a disguise of among them.
    pub(crate) fn decoded(raw: &'a str, encoding: Encoding) -> Self {
        let mut views = Self::new(raw, encoding, true);
        let mut budget = raw.len() * DECODED_TIMES_MAX + DECODED_BYTES_MORE;
        let newest = views.layers.iter().rposition(|layer| !layer.folded).map_or(0, |layer| layer + 1);
        // As written, and in its plainest form; then the same of what it encodes.
        let mut forms = vec![(newest, views.layers.len())];
        for _ in 0..DECODE_LEVELS {
            let (_, plainest) = forms[forms.len() - 1];
            let Some(decoded) = decode::decoded(views.text(plainest)) else { break };
            let Some(view) = views.add(plainest, decoded, Origin::Decoded, &mut budget) else { break };
            forms.push((view, views.layers.len()));
        }
        for (written, plainest) in forms {
            for decoded in disguise::hidden(views.text(written)) {
                let Some(view) = views.add(written, decoded, Origin::Disguise, &mut budget) else { continue };
                if let Some(decoded) = decode::decoded(views.text(view)) {
                    views.add(view, decoded, Origin::Disguise, &mut budget);
                }
            }
            for decoded in disguise::disguised(views.text(plainest)) {
                views.add(plainest, decoded, Origin::Disguise, &mut budget);
            }
        }
        views
    }

    /// Adds a decoded form and its folded form, if there is room; returns the view of the first.
    fn add(&mut self, parent: usize, decoded: Decoded, origin: Origin, budget: &mut usize) -> Option<usize> {
        let mut layers = vec![Layer { parent, text: decoded.text, map: decoded.map, stop: None, folded: false, origin }];
        let view = self.layers.len() + 1;
        layers.extend(folded(view, &layers[0].text).map(|layer| Layer { origin, ..layer }));
        let bytes: usize = layers.iter().map(|layer| layer.text.len()).sum();
        let left = budget.checked_sub(bytes);
        self.over_budget |= left.is_none();
        *budget = left?;
        self.layers.append(&mut layers);
        Some(view)
    }

    /// Returns true when decoded forms were left out for want of room.
    pub(crate) fn is_over_budget(&self) -> bool {
        self.over_budget
    }

    /// Returns the forms to search.
    pub(crate) fn searched(&self) -> Range<usize> {
        usize::from(self.raw_is_spelling)..self.layers.len() + 1
    }

    /// Returns the text of a form.
    pub(crate) fn text(&self, view: usize) -> &str {
        match view.checked_sub(1) {
            None => self.raw,
            Some(layer) => &self.layers[layer].text,
        }
    }

    /// Returns true for a folded form.
    pub(crate) fn is_folded(&self, view: usize) -> bool {
        view.checked_sub(1).is_some_and(|layer| self.layers[layer].folded)
    }

    /// Returns true for a form that is a guess at what is disguised.
    pub(crate) fn is_disguise(&self, view: usize) -> bool {
        view.checked_sub(1).is_some_and(|layer| self.layers[layer].origin == Origin::Disguise)
    }

    /// Returns true for a form that holds only what was decoded and what stands near it.
    pub(crate) fn is_decoded(&self, view: usize) -> bool {
        view.checked_sub(1).is_some_and(|layer| self.layers[layer].origin != Origin::Written)
    }

    /// Returns true when a span shows something that its form's source does not, and nothing in it was left out.
    pub(crate) fn is_new(&self, view: usize, span: &Range<usize>) -> bool {
        let Some(layer) = view.checked_sub(1).map(|layer| &self.layers[layer]) else { return true };
        match (layer.origin, layer.folded) {
            (Origin::Written, _) => true,
            (_, true) => self.is_new(layer.parent, &(layer.map.start(span.start)..layer.map.end(span.end))),
            (_, false) => layer.map.is_new(span),
        }
    }

    /// Lists the places of a decoded form that its source does not show, in order. None for a form that was not decoded, and for what
    /// only folds one.
    pub(crate) fn said(&self, view: usize) -> Option<Vec<Range<usize>>> {
        let layer = view.checked_sub(1).map(|layer| &self.layers[layer])?;
        (layer.origin != Origin::Written && !layer.folded).then(|| layer.map.new_places(layer.text.len()))
    }

    /// Maps a span of a form to raw bytes, on character boundaries and around whole escapes.
    pub(crate) fn raw_span(&self, view: usize, span: Range<usize>) -> Range<usize> {
        let start = self.raw_start(view, span.start);
        let mut end = span.end;
        let mut at = view;
        while let Some(layer) = at.checked_sub(1).map(|layer| &self.layers[layer]) {
            end = layer.map.end(end);
            at = layer.parent;
        }
        boundary_down(self.raw, start)..boundary_up(self.raw, end.max(start))
    }

    /// Maps the start of something in a form to raw bytes.
    pub(crate) fn raw_start(&self, view: usize, at: usize) -> usize {
        let (mut view, mut at) = (view, at);
        while let Some(layer) = view.checked_sub(1).map(|layer| &self.layers[layer]) {
            at = layer.map.start(at);
            view = layer.parent;
        }
        at
    }

    /// Returns the first position of a form that belongs to raw byte `raw` or later.
    pub(crate) fn at_raw(&self, view: usize, raw: usize) -> usize {
        let at = match view.checked_sub(1).map(|layer| &self.layers[layer]) {
            None => raw,
            Some(layer) => layer.map.forward(self.at_raw(layer.parent, raw)),
        };
        boundary_up(self.text(view), at.min(self.text(view).len()))
    }

    /// Returns the raw position at which some form had to stop before an unfinished escape.
    pub(crate) fn stop(&self) -> usize {
        let stops = self.layers.iter().filter_map(|layer| layer.stop.map(|at| self.raw_start(layer.parent, at)));
        stops.min().unwrap_or(self.raw.len())
    }

    /// Returns the largest raw position up to `at` that cuts no character and no escape of any form.
    pub(crate) fn align_down(&self, at: usize) -> usize {
        let mut at = boundary_down(self.raw, at);
        loop {
            let mut aligned = at;
            for view in 1..=self.layers.len() {
                aligned = aligned.min(self.align_in(view, aligned));
            }
            if aligned == at {
                return at;
            }
            at = aligned;
        }
    }

    /// Aligns a raw position to the units of one form.
    fn align_in(&self, view: usize, raw: usize) -> usize {
        let layer = &self.layers[view - 1];
        if layer.parent == 0 {
            return layer.map.align_down(raw);
        }
        let raw = self.align_in(layer.parent, raw);
        let at = self.at_raw(layer.parent, raw);
        let aligned = layer.map.align_down(at);
        if aligned == at { raw } else { self.raw_start(layer.parent, aligned) }
    }

    /// Returns true when every form shows at least one character in these raw bytes.
    pub(crate) fn all_visible(&self, raw: Range<usize>) -> bool {
        (0..=self.layers.len()).all(|view| self.at_raw(view, raw.start) < self.at_raw(view, raw.end))
    }
}

/// Undoes one level of JSON escapes (RFC 8259, section 7). None when there are none.
fn unescaped(parent: usize, text: &str, whole: bool) -> Option<Layer> {
    let mut next = memchr(b'\\', text.as_bytes())?;
    let (mut out, mut map, mut copied, mut stop) = (String::with_capacity(text.len()), Map::default(), 0, None);
    loop {
        let length = match escape(&text.as_bytes()[next..], whole) {
            Escape::Character(c, length) => {
                out.push_str(&text[copied..next]);
                let to = out.len();
                out.push(c);
                map.push(next..next + length, to..out.len());
                copied = next + length;
                length
            }
            Escape::None => 1,
            Escape::Unfinished => {
                stop = Some(next);
                break;
            }
        };
        match memchr(b'\\', &text.as_bytes()[next + length..]) {
            Some(found) => next += length + found,
            None => break,
        }
    }
    if map.is_empty() && stop.is_none() {
        return None;
    }
    out.push_str(&text[copied..stop.unwrap_or(text.len())]);
    Some(Layer { parent, text: out, map, stop, folded: false, origin: Origin::Written })
}

enum Escape {
    /// An escape for this character, of this length.
    Character(char, usize),
    /// A backslash that begins no escape.
    None,
    /// Too short to tell.
    Unfinished,
}

fn escape(bytes: &[u8], whole: bool) -> Escape {
    let simple = |c| Escape::Character(c, 2);
    match bytes.get(1) {
        None if whole => Escape::None,
        None => Escape::Unfinished,
        Some(b'n') => simple('\n'),
        Some(b't') => simple('\t'),
        Some(b'r') => simple('\r'),
        Some(b'b') => simple('\u{8}'),
        Some(b'f') => simple('\u{c}'),
        Some(b'"') => simple('"'),
        Some(b'\\') => simple('\\'),
        Some(b'/') => simple('/'),
        Some(b'u') => unicode_escape(bytes, whole),
        Some(_) => Escape::None,
    }
}

fn unicode_escape(bytes: &[u8], whole: bool) -> Escape {
    let short = if whole { Escape::None } else { Escape::Unfinished };
    let unit = |at: usize| -> Result<u32, bool> {
        let digits = &bytes[at.min(bytes.len())..(at + 4).min(bytes.len())];
        let value = digits.iter().try_fold(0, |value, &digit| Some(value * 16 + char::from(digit).to_digit(16)?));
        match value {
            Some(value) if digits.len() == 4 => Ok(value),
            // True: what is there is right so far, there is too little of it.
            Some(_) => Err(true),
            None => Err(false),
        }
    };
    let first = match unit(2) {
        Ok(first) => first,
        Err(true) => return short,
        Err(false) => return Escape::None,
    };
    if !(0xd800..0xdc00).contains(&first) {
        return Escape::Character(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), 6);
    }
    let alone = Escape::Character(char::REPLACEMENT_CHARACTER, 6);
    match (bytes.get(6), bytes.get(7)) {
        (None, _) | (Some(b'\\'), None) if !whole => short,
        (Some(b'\\'), Some(b'u')) => match unit(8) {
            Ok(second) if (0xdc00..0xe000).contains(&second) => {
                let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                Escape::Character(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 12)
            }
            Err(true) if !whole => short,
            _ => alone,
        },
        _ => alone,
    }
}

/// Folds every character. None when the text is its own folded form.
fn folded(parent: usize, text: &str) -> Option<Layer> {
    let (mut out, mut map, mut copied, mut at) = (String::new(), Map::default(), 0, 0);
    while let Some(found) = first_non_ascii(&text.as_bytes()[at..]) {
        at += found;
        let Some(c) = text[at..].chars().next() else { break };
        let end = at + c.len_utf8();
        let change = fold(c);
        if change != Fold::Same {
            out.push_str(&text[copied..at]);
            let to = out.len();
            match change {
                Fold::Same | Fold::Gone => {}
                Fold::To(c) => out.push(c),
                Fold::Many(many) => out.push_str(many),
            }
            map.push(at..end, to..out.len());
            copied = end;
        }
        at = end;
    }
    if map.is_empty() {
        return None;
    }
    out.push_str(&text[copied..]);
    Some(Layer { parent, text: out, map, stop: None, folded: true, origin: Origin::Written })
}

fn first_non_ascii(bytes: &[u8]) -> Option<usize> {
    let skipped = bytes.chunks_exact(16).take_while(|chunk| chunk.is_ascii()).count() * 16;
    bytes[skipped..].iter().position(|byte| !byte.is_ascii()).map(|at| skipped + at)
}

/// Returns the character boundary at or before `at`.
pub(crate) fn boundary_down(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

/// Returns the character boundary at or after `at`.
pub(crate) fn boundary_up(text: &str, at: usize) -> usize {
    (at..text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forms(raw: &str, encoding: Encoding) -> Vec<String> {
        let views = Views::new(raw, encoding, true);
        views.searched().map(|view| views.text(view).to_owned()).collect()
    }

    #[test]
    fn plain_ascii_has_one_form_and_disguised_text_two() {
        assert_eq!(forms("hello \\n", Encoding::Plain), ["hello \\n"]);
        assert_eq!(forms("４１", Encoding::Plain), ["４１", "41"]);
        assert_eq!(forms("中文", Encoding::Plain), ["中文"]);
    }

    #[test]
    fn json_is_read_through_its_escapes_at_every_level() {
        assert_eq!(forms(r#"{"a":"\u0034\n"}"#, Encoding::Json), ["{\"a\":\"4\n\"}"]);
        assert_eq!(forms(r#""\ud83d\ude00 \ud83d x \q""#, Encoding::Json)[0], "\"😀 \u{fffd} x \\q\"");
        let nested = forms(r#""{\"b\":\"\\uff14\"}""#, Encoding::Json);
        assert_eq!(nested, [r#""{"b":"\uff14"}""#, r#""{"b":"４"}""#, r#""{"b":"4"}""#]);
    }

    #[test]
    fn spans_map_back_to_whole_characters_and_escapes() {
        let views = Views::new("x４\u{200b}１y", Encoding::Plain, true);
        assert_eq!(views.text(1), "x41y");
        assert_eq!(views.raw_span(1, 1..3), 1..10);
        assert_eq!(views.raw_span(1, 1..2), 1..4);
        assert_eq!(views.raw_span(1, 2..3), 7..10);
        let views = Views::new(r"a\u0034b", Encoding::Json, true);
        assert_eq!(views.raw_span(1, 1..2), 1..7);
        assert_eq!(views.align_down(4), 1);
        assert_eq!(views.at_raw(1, 7), 2);
    }

    #[test]
    fn a_text_that_goes_on_stops_before_an_unfinished_escape() {
        for (raw, stop) in [("ab\\", 2), ("ab\\u00", 2), ("ab\\ud83d", 2), ("ab\\ud83d\\", 2), ("ab\\ud83dx", 9), ("ab\\q", 4)] {
            let views = Views::new(raw, Encoding::Json, false);
            assert_eq!(views.stop(), stop, "{raw}");
        }
        assert_eq!(Views::new("ab\\", Encoding::Json, true).stop(), 3);
    }
}
