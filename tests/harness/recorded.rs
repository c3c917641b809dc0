//! One request as the scripted backend received it, byte for byte, and the reading of it from a socket.

use std::time::Instant;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Upper bound on a request the backend reads; a gateway that sends more is broken.
const REQUEST_BYTES_MAX: usize = 64 << 20;

/// A request received.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The method word.
    pub method: String,
    /// The request target as sent.
    pub target: String,
    /// Header names in lower case with their values, in order.
    pub headers: Vec<(String, String)>,
    /// The head's bytes with the blank line.
    pub raw_head: Vec<u8>,
    /// The body, transfer coding removed.
    pub body: Vec<u8>,
    /// Which of the backend's connections it came on, counted from 0.
    pub connection: usize,
    /// When its last byte was read.
    pub at: Instant,
}

impl Recorded {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the gateway forwards JSON")
    }

    /// Whether `needle` occurs anywhere in head or body.
    pub fn contains(&self, needle: &str) -> bool {
        holds(&self.raw_head, needle.as_bytes()) || holds(&self.body, needle.as_bytes())
    }
}

/// Whether `needle` occurs in `haystack`.
pub fn holds(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// Reads one request; `None` when the peer closed or broke the framing. What was read beyond it stays in `buffer`.
pub(crate) async fn read_request(reader: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>, connection: usize) -> Option<Recorded> {
    let head_end = loop {
        if let Some(at) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        more(reader, buffer).await?;
    };
    let raw_head: Vec<u8> = buffer.drain(..head_end).collect();
    let text = String::from_utf8_lossy(&raw_head).into_owned();
    let mut lines = text.split("\r\n");
    let mut start = lines.next()?.split(' ');
    let (method, target) = (start.next()?.to_owned(), start.next()?.to_owned());
    let headers: Vec<(String, String)> =
        lines.filter_map(|line| line.split_once(':')).map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
    let value = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    let body = if value("transfer-encoding").is_some() {
        read_chunked(reader, buffer).await?
    } else {
        let length = value("content-length").map_or(Some(0), |v| v.parse().ok())?;
        take(reader, buffer, length).await?
    };
    Some(Recorded { method, target, headers, raw_head, body, connection, at: Instant::now() })
}

async fn read_chunked(reader: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line_end = loop {
            if let Some(at) = buffer.windows(2).position(|w| w == b"\r\n") {
                break at;
            }
            more(reader, buffer).await?;
        };
        let line: Vec<u8> = buffer.drain(..line_end + 2).collect();
        let size = usize::from_str_radix(std::str::from_utf8(&line[..line_end]).ok()?.split(';').next()?.trim(), 16).ok()?;
        let chunk = take(reader, buffer, size + 2).await?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(&chunk[..size]);
    }
}

async fn take(reader: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>, length: usize) -> Option<Vec<u8>> {
    while buffer.len() < length {
        more(reader, buffer).await?;
    }
    Some(buffer.drain(..length).collect())
}

async fn more(reader: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> Option<()> {
    if buffer.len() > REQUEST_BYTES_MAX {
        return None;
    }
    match reader.read_buf(buffer).await {
        Ok(1..) => Some(()),
        Ok(0) | Err(_) => None,
    }
}
