//! Redaction: findings replaced, without breaking the text around them.

use std::ops::Range;

use crate::model::{Encoding, Finding};

/// Says what takes the place of a finding, given its own text.
pub(crate) type Replace<'r> = dyn FnMut(&Finding, &str) -> String + 'r;

/// Replaces these findings, which are disjoint and in order.
pub(crate) fn redact<'f>(text: &str, encoding: Encoding, findings: impl Iterator<Item = &'f Finding>, replace: &mut Replace<'_>) -> String {
    let mut json = JsonState::default();
    redact_part(text, encoding, findings.map(|finding| (finding.span.clone(), finding)), replace, &mut json)
}

/// Replaces findings in one part of a text; `json` carries over to the next part. Spans are bytes of `part`.
pub(crate) fn redact_part<'f>(
    part: &str,
    encoding: Encoding,
    findings: impl Iterator<Item = (Range<usize>, &'f Finding)>,
    replace: &mut Replace<'_>,
    json: &mut JsonState,
) -> String {
    let due = findings.map(|(span, finding)| (span.clone(), replace(finding, &part[span])));
    match encoding {
        Encoding::Plain => plain(part, due),
        Encoding::Json => json_part(part, due, json),
    }
}

fn plain(part: &str, due: impl Iterator<Item = (Range<usize>, String)>) -> String {
    let mut out = String::with_capacity(part.len());
    let mut at = 0;
    for (span, tag) in due {
        out.push_str(&part[at..span.start]);
        out.push_str(&tag);
        at = span.end;
    }
    out.push_str(&part[at..]);
    out
}

/// Where in a JSON document a part begins.
#[derive(Default, Clone, Copy)]
pub(crate) struct JsonState {
    in_string: bool,
}

/// A piece of a JSON document, in bytes of the part.
enum Token {
    /// What stands between two quotes, or what there is of it.
    Inside(Range<usize>),
    /// A number, `true`, `false` or `null`.
    Bare(Range<usize>),
    /// Quotes, punctuation, white space.
    Other(Range<usize>),
}

/// Replaces inside strings in place, bare values as a whole by a quoted replacement, and never touches the structure.
fn json_part(part: &str, due: impl Iterator<Item = (Range<usize>, String)>, json: &mut JsonState) -> String {
    let due: Vec<(Range<usize>, String)> = due.collect();
    let mut out = String::with_capacity(part.len());
    let (mut at, mut first) = (0, 0);
    while let Some(token) = token(part, at, json) {
        let (Token::Inside(range) | Token::Bare(range) | Token::Other(range)) = &token;
        while due.get(first).is_some_and(|(span, _)| span.end <= range.start) {
            first += 1;
        }
        let touching = due[first..].iter().take_while(|(span, _)| span.start < range.end);
        match token {
            Token::Other(ref range) => out.push_str(&part[range.clone()]),
            Token::Bare(ref range) => match { touching }.next() {
                Some((_, tag)) => {
                    out.push('"');
                    out.push_str(tag);
                    out.push('"');
                }
                None => out.push_str(&part[range.clone()]),
            },
            Token::Inside(ref range) => {
                let mut at = range.start;
                for (span, tag) in touching {
                    out.push_str(&part[at..span.start.max(at)]);
                    out.push_str(tag);
                    at = span.end.min(range.end);
                }
                out.push_str(&part[at..range.end]);
            }
        }
        at = range.end;
    }
    out
}

/// Reads the token at `at` and moves the state past it.
fn token(part: &str, at: usize, json: &mut JsonState) -> Option<Token> {
    let bytes = &part.as_bytes()[at..];
    let &head = bytes.first()?;
    if json.in_string && head != b'"' {
        let end = at + string_length(bytes);
        return Some(Token::Inside(at..end));
    }
    if head == b'"' {
        json.in_string = !json.in_string;
        return Some(Token::Other(at..at + 1));
    }
    let length = bytes.iter().take_while(|&&byte| is_bare(byte)).count();
    if length > 0 {
        return Some(Token::Bare(at..at + length));
    }
    let length = bytes.iter().take_while(|&&byte| byte != b'"' && !is_bare(byte)).count();
    Some(Token::Other(at..at + length))
}

/// Returns how far a string's content reaches: to its closing quote or to the end.
fn string_length(bytes: &[u8]) -> usize {
    let mut at = 0;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at.min(bytes.len())
}

/// Returns true for bytes of bare values. Anything that is no JSON at all counts too, so that nothing found stays readable.
pub(crate) fn is_bare(byte: u8) -> bool {
    !matches!(byte, b'"' | b'{' | b'}' | b'[' | b']' | b',' | b':' | b' ' | b'\t' | b'\n' | b'\r')
}

impl JsonState {
    /// Returns the state after `part`, and where in it the last bare value begins if it reaches the end.
    pub(crate) fn open_bare(mut self, part: &str, until: usize) -> Option<usize> {
        let mut at = 0;
        while at < until {
            match token(part, at, &mut self)? {
                Token::Bare(range) if range.start < until && range.end >= until => return Some(range.start),
                Token::Inside(range) | Token::Bare(range) | Token::Other(range) => at = range.end,
            }
        }
        None
    }
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "one finding is a list of one span")]
mod tests {
    use super::*;
    use crate::model::{Action, Category, Redaction, RuleInfo, Severity};
    use std::sync::Arc;

    fn finding(span: Range<usize>) -> Finding {
        let rule = RuleInfo {
            id: "a-key".into(),
            title: String::new(),
            category: Category::Secret,
            severity: Severity::High,
            tags: vec![],
            why: String::new(),
            pack: String::new(),
        };
        Finding { rule: Arc::new(rule), span, score: 1.0, action: Action::Redact, monitored: false, redaction: Redaction::Tag, whole: true }
    }

    fn json(text: &str, spans: &[Range<usize>]) -> String {
        let findings: Vec<Finding> = spans.iter().cloned().map(finding).collect();
        let redacted = redact(text, Encoding::Json, findings.iter(), &mut |finding, _| finding.rule.redaction_tag());
        serde_json::from_str::<serde_json::Value>(&redacted).unwrap_or_else(|error| panic!("{redacted}: {error}"));
        redacted
    }

    #[test]
    fn plain_text_keeps_every_other_byte() {
        let findings = [finding(1..3), finding(4..5)];
        assert_eq!(
            redact("abcdefg", Encoding::Plain, findings.iter(), &mut |finding, _| finding.rule.redaction_tag()),
            "a[A_KEY]d[A_KEY]fg"
        );
    }

    #[test]
    fn json_stays_json_wherever_a_finding_lies() {
        assert_eq!(json(r#"{"a":"xy z"}"#, &[6..8]), r#"{"a":"[A_KEY] z"}"#);
        assert_eq!(json(r#"{"a": 1234, "b": 5}"#, &[7..9]), r#"{"a": "[A_KEY]", "b": 5}"#);
        assert_eq!(json(r#"[true,null]"#, &[1..3, 7..8]), r#"["[A_KEY]","[A_KEY]"]"#);
        assert_eq!(json(r#"{"ab":"cd"}"#, &[3..8]), r#"{"a[A_KEY]":"[A_KEY]d"}"#);
        assert_eq!(json(r#"{"k":"a\"b\\"}"#, &[6..9]), r#"{"k":"[A_KEY]b\\"}"#);
    }

    #[test]
    fn text_that_is_no_json_does_not_panic() {
        for text in ["\"", "\"\\", "{{{", "中文 \"", "a\"b"] {
            for start in 0..text.len() {
                for end in start..=text.len() {
                    if text.is_char_boundary(start) && text.is_char_boundary(end) {
                        let _ = redact(text, Encoding::Json, [finding(start..end)].iter(), &mut |finding, _| finding.rule.redaction_tag());
                    }
                }
            }
        }
    }
}
