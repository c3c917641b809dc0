//! Escapes written out for the guard, which reads words: `\u0049gnore` is `Ignore` to a model that is handed a tool's JSON, and to this one too.

use std::borrow::Cow;

/// The text with JSON's escapes replaced by what they stand for, line ends and tabs by themselves. What is no escape stays.
pub fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let (c, bytes) = escape(rest).unwrap_or(('\\', 1));
        out.push(c);
        rest = &rest[bytes..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// The escape that a text begins with, and its length in bytes.
fn escape(text: &str) -> Option<(char, usize)> {
    let c = match text.as_bytes().get(1)? {
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'"' => '"',
        b'/' => '/',
        b'\\' => '\\',
        b'u' => return unicode(text),
        _ => return None,
    };
    Some((c, 2))
}

/// `\uXXXX`, or two of them that are one character.
fn unicode(text: &str) -> Option<(char, usize)> {
    const BYTES: usize = 6;
    let unit = |text: &str| {
        let digits = text.strip_prefix("\\u")?.get(..4)?;
        digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u16::from_str_radix(digits, 16).ok()).flatten()
    };
    let first = unit(text)?;
    if let Some(c) = char::from_u32(u32::from(first)) {
        return Some((c, BYTES));
    }
    let second = unit(text.get(BYTES..)?)?;
    let c = char::decode_utf16([first, second]).next()?.ok()?;
    Some((c, 2 * BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_written_out_and_the_rest_stays() {
        for (text, expected) in [
            (r"\u0049gnore\nall \u5ffd\u7565 \ud83d\ude00", "Ignore\nall 忽略 😀"),
            (r#"{"a": "say \"hi\"", "path": "C:\\dir\/x"}"#, r#"{"a": "say "hi"", "path": "C:\dir/x"}"#),
            (r"\u12 \ud83d \ud83d\u0041 \q \", r"\u12 \ud83d \ud83dA \q \"),
            ("nothing", "nothing"),
            ("字\\", "字\\"),
        ] {
            assert_eq!(plain(text), expected);
        }
    }
}
