//! A raw HTTP/1.1 client: it sends any bytes, reads answers piece by piece, and never waits for ever.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::sse::{Ending, Event, Streamed, take_event};
use crate::wait::soon;

/// The head of an answer.
#[derive(Clone, Debug)]
pub struct Head {
    /// The status code.
    pub status: u16,
    /// Names in lower case with their values, in order.
    pub headers: Vec<(String, String)>,
}

impl Head {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The gateway's id of the request; the test fails when the answer has none.
    pub fn request_id(&self) -> &str {
        self.header("x-request-id").unwrap_or_else(|| panic!("an answer without x-request-id: {self:?}"))
    }
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its head.
    pub head: Head,
    /// Its body, transfer coding removed.
    pub body: Vec<u8>,
}

impl Answer {
    /// The status code.
    pub fn status(&self) -> u16 {
        self.head.status
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("a body in UTF-8")
    }

    /// The body as JSON; the test fails when it is not.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("not JSON ({error}): {}", String::from_utf8_lossy(&self.body)))
    }

    /// `error.code` of an error answer.
    pub fn error_code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_else(|| panic!("no error code in {}", self.text())).to_owned()
    }

    /// Fails the test unless this is an error of the documented shape with this status and code.
    pub fn assert_error(&self, status: u16, code: &str) {
        assert_eq!(self.status(), status, "{:?} {}", self.head, self.text());
        assert_eq!(self.head.header("content-type"), Some("application/json"), "{:?}", self.head);
        assert!(!self.head.request_id().is_empty());
        let body = self.json();
        let error = body["error"].as_object().unwrap_or_else(|| panic!("no error object in {body}"));
        assert_eq!(body.as_object().map(serde_json::Map::len), Some(1), "more than an error in {body}");
        for field in ["message", "type", "code", "param"] {
            assert!(error.contains_key(field), "no {field} in {body}");
        }
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "no message in {body}");
        assert!(error["type"].is_string(), "no type in {body}");
        assert_eq!(error["code"], code, "{body}");
    }

    /// The content of the first choice.
    pub fn content(&self) -> String {
        self.json()["choices"][0]["message"]["content"].as_str().unwrap_or_else(|| panic!("no content in {}", self.text())).to_owned()
    }
}

/// How the rest of the present body is framed.
#[derive(Clone, Copy, Debug)]
enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
    Ended,
}

/// One connection.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    framing: Framing,
    events: Vec<u8>,
}

impl Client {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = soon("a connection to the gateway", TcpStream::connect(address)).await.expect("the gateway accepts");
        stream.set_nodelay(true).expect("a socket takes TCP_NODELAY");
        Self { stream, buffer: Vec::new(), framing: Framing::Ended, events: Vec::new() }
    }

    /// Connects, where somebody listens.
    pub async fn try_connect(address: SocketAddr) -> Option<Self> {
        let stream = soon("a connection to the gateway, or its refusal", TcpStream::connect(address)).await.ok()?;
        stream.set_nodelay(true).ok()?;
        Some(Self { stream, buffer: Vec::new(), framing: Framing::Ended, events: Vec::new() })
    }

    /// Sends bytes as they stand. A peer that has closed already is no failure here: what it answered tells.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let sent = soon("the gateway to take bytes", self.stream.write_all(bytes.as_ref())).await;
        drop(sent);
    }

    /// Sends no more (FIN) and keeps reading.
    pub async fn finish_sending(&mut self) {
        drop(self.stream.shutdown().await);
    }

    /// Closes so that the peer sees a reset.
    pub fn reset(self) {
        self.stream.set_zero_linger().expect("a socket takes SO_LINGER");
    }

    /// Sends a request and reads the whole answer.
    pub async fn exchange(&mut self, request: impl AsRef<[u8]>) -> Answer {
        self.send(request).await;
        self.answer().await
    }

    /// Reads the next head, 1xx ones too.
    pub async fn head(&mut self) -> Head {
        self.try_head()
            .await
            .unwrap_or_else(|| panic!("the connection closed before an answer; got {:?}", String::from_utf8_lossy(&self.buffer)))
    }

    /// Reads the next head; `None` when the connection closed instead.
    pub async fn try_head(&mut self) -> Option<Head> {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            if !self.fill("an answer").await {
                return None;
            }
        };
        let bytes: Vec<u8> = self.buffer.drain(..end).collect();
        let text = String::from_utf8(bytes).expect("an answer's head is ASCII");
        let mut lines = text.split("\r\n");
        let start = lines.next().unwrap_or_default();
        assert!(start.starts_with("HTTP/1.1 "), "not an HTTP/1.1 answer: {start:?}");
        let status = start[9..].split(' ').next().and_then(|code| code.parse().ok()).expect("a status code");
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let head = Head { status, headers };
        self.framing = framing(&head);
        Some(head)
    }

    /// Reads the next final head and its whole body.
    pub async fn answer(&mut self) -> Answer {
        let head = loop {
            let head = self.head().await;
            if head.status >= 200 {
                break head;
            }
        };
        let body = self.body().await;
        Answer { head, body }
    }

    /// Reads the body that follows the head read last.
    pub async fn body(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        while let Some(piece) = self.piece().await.expect("the connection stays open to the end of the body") {
            body.extend_from_slice(&piece);
        }
        body
    }

    /// The next event of a streamed answer; `None` at its end.
    pub async fn event(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = take_event(&mut self.events) {
                return Some(event);
            }
            let piece = self.piece().await??;
            self.events.extend_from_slice(&piece);
        }
    }

    /// Reads a streamed answer to its end.
    pub async fn streamed(&mut self) -> Streamed {
        let mut events = Vec::new();
        let ending = loop {
            while let Some(event) = take_event(&mut self.events) {
                events.push(event);
            }
            match self.piece().await {
                Some(Some(piece)) => self.events.extend_from_slice(&piece),
                Some(None) => break Ending::Complete,
                None => break Ending::Cut,
            }
        };
        Streamed { events, ending, rest: std::mem::take(&mut self.events) }
    }

    /// Sends a request for a stream and reads it to its end; an answer of another kind fails the test.
    pub async fn exchange_stream(&mut self, request: impl AsRef<[u8]>) -> Streamed {
        self.send(request).await;
        let head = self.head().await;
        if head.status != 200 {
            panic!("no stream: {head:?}");
        }
        let kind = head.header("content-type").unwrap_or_default();
        assert!(kind.starts_with("text/event-stream"), "no stream: {head:?}");
        self.streamed().await
    }

    /// Waits until the peer closes, and returns what it still sent.
    pub async fn closed(&mut self) -> Vec<u8> {
        while self.fill("the gateway to close the connection").await {}
        std::mem::take(&mut self.buffer)
    }

    /// The same for no longer than `limit`; `None` when it is still open then.
    pub async fn closed_within(&mut self, limit: Duration) -> Option<Vec<u8>> {
        tokio::time::timeout(limit, self.closed()).await.ok()
    }

    /// The next piece of the body: `Some(None)` at its end, `None` when the connection closed before.
    async fn piece(&mut self) -> Option<Option<Vec<u8>>> {
        match self.framing {
            Framing::Ended => Some(None),
            Framing::Length(0) => {
                self.framing = Framing::Ended;
                Some(None)
            }
            Framing::Length(left) => {
                if self.buffer.is_empty() && !self.fill("the body").await {
                    return None;
                }
                let taken = left.min(self.buffer.len());
                self.framing = Framing::Length(left - taken);
                Some(Some(self.buffer.drain(..taken).collect()))
            }
            Framing::UntilClose => {
                if self.buffer.is_empty() && !self.fill("the body").await {
                    self.framing = Framing::Ended;
                    return Some(None);
                }
                Some(Some(std::mem::take(&mut self.buffer)))
            }
            Framing::Chunked => self.chunk().await,
        }
    }

    async fn chunk(&mut self) -> Option<Option<Vec<u8>>> {
        let line_end = loop {
            if let Some(at) = self.buffer.windows(2).position(|w| w == b"\r\n") {
                break at;
            }
            if !self.fill("a chunk").await {
                return None;
            }
        };
        let size = std::str::from_utf8(&self.buffer[..line_end]).ok().and_then(|line| usize::from_str_radix(line, 16).ok());
        let size = size.unwrap_or_else(|| panic!("not a chunk size: {:?}", String::from_utf8_lossy(&self.buffer[..line_end])));
        let end = line_end + 2 + size + 2;
        while self.buffer.len() < end {
            if !self.fill("a chunk's bytes").await {
                return None;
            }
        }
        let bytes: Vec<u8> = self.buffer.drain(..end).collect();
        assert!(bytes.ends_with(b"\r\n"), "a chunk without its line end");
        if size == 0 {
            self.framing = Framing::Ended;
            return Some(None);
        }
        Some(Some(bytes[line_end + 2..line_end + 2 + size].to_vec()))
    }

    /// Reads some bytes; false when the peer has closed.
    async fn fill(&mut self, what: &str) -> bool {
        matches!(soon(what, self.stream.read_buf(&mut self.buffer)).await, Ok(1..))
    }
}

fn framing(head: &Head) -> Framing {
    if head.status < 200 || head.status == 204 || head.status == 304 {
        return Framing::Ended;
    }
    if head.header("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked")) {
        return Framing::Chunked;
    }
    match head.header("content-length") {
        Some(length) => Framing::Length(length.parse().expect("a content-length that is a number")),
        None => Framing::UntilClose,
    }
}
