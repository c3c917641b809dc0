//! The strict edge: what a request head must be before anything acts on it.
//!
//! The HTTP/1 parser underneath is lenient by design (it accepts bare line feeds, `content-length` beside `transfer-encoding`,
//! folded lines, and more), and two readers who differ about a head are how requests are smuggled. So the raw bytes are read once
//! more here, by the letter of RFC 9112, and whatever is ambiguous is refused and the connection closed.

use http::Method;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, EXPECT};
use pingora::http::RequestHeader;
use serde::{Deserialize, Serialize};

use crate::config::Limits;
use crate::reply::No;

/// Longest request target that is looked at.
const TARGET_BYTES_MAX: usize = 2048;

/// The routes there are. Paths are compared byte for byte: no dot segments, no escapes, no query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Route {
    /// `POST /v1/chat/completions`
    #[serde(rename = "/v1/chat/completions")]
    Chat,
    /// `POST /v1/completions`
    #[serde(rename = "/v1/completions")]
    Completions,
    /// `POST /v1/embeddings`
    #[serde(rename = "/v1/embeddings")]
    Embeddings,
    /// `GET /v1/models`
    #[serde(rename = "/v1/models")]
    Models,
}

impl Route {
    /// All routes, in the order of declaration.
    pub const ALL: [Route; 4] = [Route::Chat, Route::Completions, Route::Embeddings, Route::Models];

    /// The path, here and at the upstream.
    pub fn path(self) -> &'static str {
        match self {
            Route::Chat => "/v1/chat/completions",
            Route::Completions => "/v1/completions",
            Route::Embeddings => "/v1/embeddings",
            Route::Models => "/v1/models",
        }
    }

    /// A short name for metrics and audit events.
    pub fn name(self) -> &'static str {
        match self {
            Route::Chat => "chat",
            Route::Completions => "completions",
            Route::Embeddings => "embeddings",
            Route::Models => "models",
        }
    }

    fn method(self) -> &'static str {
        match self {
            Route::Models => "GET",
            _ => "POST",
        }
    }

    /// The route of a path.
    pub fn of(path: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|route| route.path().as_bytes() == path)
    }
}

/// How the body comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// There is none.
    None,
    /// So many bytes.
    Known(usize),
    /// Chunked, or HTTP/2 without a length.
    Unknown,
}

/// A head that passed.
#[derive(Clone, Debug)]
pub struct Head {
    /// Where it goes.
    pub route: Route,
    /// How its body comes.
    pub body: BodyLength,
    /// Whether the client waits for `100 Continue`.
    pub expects_continue: bool,
}

/// Checks the raw bytes of an HTTP/1 head (up to and with the blank line).
///
/// # Errors
/// [`No::BadHead`], [`No::HeadTooLarge`] or [`No::TargetTooLong`]; all of them close the connection.
pub fn check_raw(raw: &[u8], limits: &Limits) -> Result<(), No> {
    let raw = skip_blank_lines(raw);
    if raw.len() > limits.head_bytes {
        return Err(No::HeadTooLarge { limit: format!("{} bytes", limits.head_bytes) });
    }
    let mut lines = Lines { rest: raw };
    let request_line = lines.next_line()?;
    check_request_line(request_line)?;
    let mut seen = Seen::default();
    let mut fields = 0_usize;
    loop {
        let line = lines.next_line()?;
        if line.is_empty() {
            break;
        }
        fields += 1;
        if fields > limits.head_fields {
            return Err(No::HeadTooLarge { limit: format!("{} header fields", limits.head_fields) });
        }
        seen.field(line)?;
    }
    seen.finish(request_line.ends_with(b"HTTP/1.1"))
}

/// RFC 9112 section 2.2: a server should ignore empty lines before the request line.
fn skip_blank_lines(mut raw: &[u8]) -> &[u8] {
    while let Some(rest) = raw.strip_prefix(b"\r\n") {
        raw = rest;
    }
    raw
}

struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Lines<'a> {
    fn next_line(&mut self) -> Result<&'a [u8], No> {
        let end = self.rest.iter().position(|&b| b == b'\n').ok_or(No::BadHead("a line without an end"))?;
        let line = &self.rest[..end];
        self.rest = &self.rest[end + 1..];
        let line = line.strip_suffix(b"\r").ok_or(No::BadHead("a line ends with LF instead of CRLF"))?;
        if line.iter().any(|&b| b == b'\r' || b == 0 || b == 0x7f || (b < 0x20 && b != b'\t')) {
            return Err(No::BadHead("a control character"));
        }
        Ok(line)
    }
}

fn check_request_line(line: &[u8]) -> Result<(), No> {
    let mut parts = line.split(|&b| b == b' ');
    let (Some(method), Some(target), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(No::BadHead("the request line is not `METHOD target HTTP/1.1`"));
    };
    if method.is_empty() || !method.iter().all(u8::is_ascii_alphabetic) {
        return Err(No::BadHead("the method"));
    }
    if target.len() > TARGET_BYTES_MAX {
        return Err(No::TargetTooLong);
    }
    if target.iter().any(|&b| b == b'#' || !b.is_ascii_graphic()) {
        return Err(No::BadHead("the target holds a byte that no path has"));
    }
    if !target.starts_with(b"/") && method != b"CONNECT" && method != b"OPTIONS" {
        return Err(No::BadHead("the target must be a path"));
    }
    if version != b"HTTP/1.1" && version != b"HTTP/1.0" {
        return Err(No::BadHead("the version is neither HTTP/1.1 nor HTTP/1.0"));
    }
    Ok(())
}

/// What the fields said so far, for the rules that span several of them.
#[derive(Default)]
struct Seen {
    host: bool,
    length: bool,
    coding: bool,
    authorization: bool,
    content_type: bool,
    content_encoding: bool,
    expect: bool,
}

impl Seen {
    fn field(&mut self, line: &[u8]) -> Result<(), No> {
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            return Err(No::BadHead("a folded header line"));
        }
        let colon = line.iter().position(|&b| b == b':').ok_or(No::BadHead("a header line without a colon"))?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.is_empty() || !name.iter().all(|&b| is_token(b)) {
            return Err(No::BadHead("a header name"));
        }
        match name.to_ascii_lowercase().as_slice() {
            b"host" => once(&mut self.host, "two host headers")?,
            b"authorization" => once(&mut self.authorization, "two authorization headers")?,
            b"content-type" => once(&mut self.content_type, "two content-type headers")?,
            b"content-encoding" => once(&mut self.content_encoding, "two content-encoding headers")?,
            b"expect" => {
                once(&mut self.expect, "two expect headers")?;
                if !value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(No::BadHead("an expectation other than 100-continue"));
                }
            }
            b"content-length" => {
                once(&mut self.length, "two content-length headers")?;
                if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
                    return Err(No::BadHead("content-length is not a plain number"));
                }
            }
            b"transfer-encoding" => {
                once(&mut self.coding, "two transfer-encoding headers")?;
                if !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(No::BadHead("a transfer-encoding other than chunked"));
                }
            }
            b"upgrade" => return Err(No::BadHead("protocol upgrades are not served")),
            // Readers that fold `_` into `-` would take these for fields of ours.
            b"x_request_id" | b"content_length" | b"transfer_encoding" => return Err(No::BadHead("a header name with `_`")),
            _ => {}
        }
        Ok(())
    }

    fn finish(&self, http11: bool) -> Result<(), No> {
        if self.length && self.coding {
            return Err(No::BadHead("both content-length and transfer-encoding"));
        }
        if self.coding && !http11 {
            return Err(No::BadHead("transfer-encoding in HTTP/1.0"));
        }
        if http11 && !self.host {
            return Err(No::BadHead("no host header"));
        }
        Ok(())
    }
}

fn once(seen: &mut bool, why: &'static str) -> Result<(), No> {
    if std::mem::replace(seen, true) { Err(No::BadHead(why)) } else { Ok(()) }
}

/// RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Finds the route and reads the body's description. HTTP/1 heads have passed [`check_raw`]; HTTP/2 heads come with their framing
/// already checked by the protocol.
///
/// # Errors
/// [`No::NoRoute`], [`No::WrongMethod`], [`No::ForbiddenMethod`], [`No::LengthRequired`], [`No::BodyTooLarge`], [`No::UnsupportedBody`] or [`No::BadHead`].
pub fn read_head(header: &RequestHeader, is_http2: bool, limits: &Limits) -> Result<Head, No> {
    let method = &header.method;
    if method == Method::CONNECT || method == Method::TRACE {
        return Err(No::ForbiddenMethod);
    }
    let route = Route::of(header.raw_path()).ok_or(No::NoRoute)?;
    if method.as_str() != route.method() {
        return Err(No::WrongMethod { allow: route.method() });
    }
    let body = body_length(header, is_http2)?;
    match (route, body) {
        (Route::Models, BodyLength::None | BodyLength::Known(0)) => {}
        (Route::Models, BodyLength::Unknown) if is_http2 => {}
        (Route::Models, _) => return Err(No::BadHead("a GET with a body")),
        (_, BodyLength::None) => return Err(No::LengthRequired),
        (_, BodyLength::Known(length)) if length > limits.body_bytes => {
            return Err(No::BodyTooLarge { limit: limits.body_bytes });
        }
        _ => check_body_kind(header)?,
    }
    let expects_continue = header.headers.contains_key(EXPECT);
    Ok(Head { route, body, expects_continue })
}

fn body_length(header: &RequestHeader, is_http2: bool) -> Result<BodyLength, No> {
    let mut lengths = header.headers.get_all("content-length").iter();
    match (lengths.next(), lengths.next()) {
        (Some(_), Some(_)) => Err(No::BadHead("two content-length headers")),
        (Some(value), None) => value
            .to_str()
            .ok()
            .filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|text| text.parse().ok())
            .map(BodyLength::Known)
            .ok_or(No::BadHead("content-length is not a plain number")),
        (None, _) if is_http2 || header.headers.contains_key("transfer-encoding") => Ok(BodyLength::Unknown),
        (None, _) => Ok(BodyLength::None),
    }
}

fn check_body_kind(header: &RequestHeader) -> Result<(), No> {
    if header.headers.contains_key(CONTENT_ENCODING) {
        return Err(No::UnsupportedBody("compressed bodies are not read; send the JSON as it is, without content-encoding"));
    }
    let mut types = header.headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (types.next(), types.next()) else {
        return Err(No::UnsupportedBody("send exactly one content-type: application/json"));
    };
    let value = value.to_str().unwrap_or_default().to_ascii_lowercase();
    let mut parts = value.split(';').map(str::trim);
    let is_json = parts.next() == Some("application/json");
    let is_utf8 = parts.all(|parameter| matches!(parameter, "charset=utf-8" | "charset=\"utf-8\""));
    if is_json && is_utf8 { Ok(()) } else { Err(No::UnsupportedBody("the body must be application/json in UTF-8")) }
}

/// The key in `authorization: Bearer <key>`.
///
/// # Errors
/// [`No::BadKey`] when there is none, more than one, or it is no printable token of at most 256 bytes.
pub fn bearer(header: &RequestHeader) -> Result<&str, No> {
    let mut values = header.headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(No::BadKey);
    };
    let value = value.to_str().map_err(|_| No::BadKey)?;
    let (scheme, key) = value.split_once(' ').ok_or(No::BadKey)?;
    let sound = !key.is_empty() && key.len() <= 256 && key.bytes().all(|b| b.is_ascii_graphic());
    if scheme.eq_ignore_ascii_case("bearer") && sound { Ok(key) } else { Err(No::BadKey) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(raw: &str) -> Result<(), No> {
        check_raw(raw.as_bytes(), &Limits::default())
    }

    const GOOD: &str = "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n";

    #[test]
    fn an_ordinary_head_passes() {
        assert_eq!(check(GOOD), Ok(()));
        assert_eq!(check(&format!("\r\n\r\n{GOOD}")), Ok(()));
        assert_eq!(check("POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\n"), Ok(()));
    }

    #[test]
    fn an_ambiguous_head_is_refused() {
        let with = |fields: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        for fields in [
            "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n",
            "Content-Length: 2\r\nContent-Length: 2\r\n",
            "Content-Length: 2, 2\r\n",
            "Content-Length: +2\r\n",
            "Content-Length: 0x2\r\n",
            "Content-Length: \r\n",
            "Content-Length: 1 2\r\n",
            "Content-Length: 12345678901234567890\r\n",
            "Transfer-Encoding: xchunked\r\n",
            "Transfer-Encoding: chunked, identity\r\n",
            "Transfer-Encoding: identity, chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding:\x0bchunked\r\n",
            "X: a\r\n b\r\n",
            "X: a\nY: b\r\n",
            "X: a\rb\r\n",
            "X: a\0b\r\n",
            "X : a\r\n",
            ": a\r\n",
            "Ho\u{1}st: a\r\n",
            "Host: b\r\n",
            "Upgrade: websocket\r\n",
            "Expect: a-miracle\r\n",
        ] {
            assert!(matches!(check(&with(fields)), Err(No::BadHead(_))), "{fields:?}");
        }
        for raw in [
            "POST / HTTP/1.1\r\n\r\n",
            "POST / HTTP/2.0\r\nHost: a\r\n\r\n",
            "POST  / HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\nHost: a\r\n\r\n",
        ] {
            assert!(matches!(check(raw), Err(No::BadHead(_))), "{raw:?}");
        }
    }

    #[test]
    fn fields_and_bytes_are_counted_at_the_limit_and_one_over() {
        let limits = Limits::default();
        let fields = |n: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: 1\r\n".repeat(n - 1));
        assert_eq!(check(&fields(limits.head_fields)), Ok(()));
        assert!(matches!(check(&fields(limits.head_fields + 1)), Err(No::HeadTooLarge { .. })));
        let empty = "GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n".len();
        let sized = |n: usize| format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(n - empty));
        assert_eq!(check(&sized(limits.head_bytes)), Ok(()));
        assert!(matches!(check(&sized(limits.head_bytes + 1)), Err(No::HeadTooLarge { .. })));
    }

    #[test]
    fn routes_are_compared_byte_for_byte() {
        assert_eq!(Route::of(b"/v1/chat/completions"), Some(Route::Chat));
        for path in [
            "/v1/chat/completions/",
            "/v1//chat/completions",
            "/v1/chat/../chat/completions",
            "/v1/chat/completions?x=1",
            "/v1/chat%2fcompletions",
            "/V1/models",
        ] {
            assert_eq!(Route::of(path.as_bytes()), None, "{path}");
        }
    }
}
