//! How the guard reads a text: its escapes written out, and then what it says when it is decoded.

use std::borrow::Cow;

use portcullis_policies::readings;

use super::plain::plain;

/// A text as the guard is shown it, and, if `decode`, what else it says; see [`readings`].
pub fn read(text: &str, decode: bool) -> (Cow<'_, str>, Vec<String>) {
    let text = plain(text);
    let decoded = if decode { readings(&text) } else { Vec::new() };
    (text, decoded)
}
