//! What the scripted backend does with one request: a list of steps over raw bytes, so that a test controls every one of them.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;

/// A point in a script that waits until the test opens it; once open it stays open, for every script that waits at it.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<watch::Sender<bool>>);

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets scripts pass, those that wait and those that come.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    /// Whether it is open.
    pub fn is_open(&self) -> bool {
        *self.0.borrow()
    }

    pub(crate) async fn passed(&self) {
        let mut state = self.0.subscribe();
        let open = state.wait_for(|open| *open).await;
        assert!(open.is_ok(), "the gate lives as long as its script");
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// One write, flushed at once and sent without Nagle's delay.
    Write(Vec<u8>),
    Wait(Gate),
    Think(Duration),
    /// Nothing more, until the peer closes.
    Hang,
    Close,
    /// A close that the peer sees as a reset.
    Reset,
}

/// The steps taken after one request has been read whole. A script without an ending leaves the connection open for the next request.
#[derive(Clone, Debug, Default)]
pub struct Script {
    pub(crate) steps: Vec<Step>,
}

impl Script {
    /// A script that does nothing and keeps the connection.
    pub fn new() -> Self {
        Self::default()
    }

    /// A whole answer with a correct `content-length`.
    pub fn answer(status: u16, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        let mut bytes = head(status, headers, &format!("content-length: {}\r\n", body.len()));
        bytes.extend_from_slice(body);
        Self::new().write(bytes)
    }

    /// A 200 with a JSON body.
    pub fn json(body: &Value) -> Self {
        Self::json_status(200, body)
    }

    /// A JSON body under another status.
    pub fn json_status(status: u16, body: &Value) -> Self {
        Self::answer(status, &[("content-type", "application/json")], body.to_string())
    }

    /// A whole event stream in chunked transfer coding, each piece one chunk and one write.
    pub fn event_stream<P: AsRef<[u8]>>(pieces: impl IntoIterator<Item = P>) -> Self {
        pieces.into_iter().fold(Self::event_stream_head(), |script, piece| script.chunk(piece)).last_chunk()
    }

    /// The head of a chunked event stream; go on with [`Script::chunk`].
    pub fn event_stream_head() -> Self {
        Self::new().head(200, &[("content-type", "text/event-stream"), ("transfer-encoding", "chunked")])
    }

    /// A whole event stream that ends with the connection, each piece one write.
    pub fn event_stream_until_close<P: AsRef<[u8]>>(pieces: impl IntoIterator<Item = P>) -> Self {
        let head = Self::new().head(200, &[("content-type", "text/event-stream"), ("connection", "close")]);
        pieces.into_iter().fold(head, |script, piece| script.write(piece.as_ref())).close()
    }

    /// A head, as written: no length is added.
    pub fn head(self, status: u16, headers: &[(&str, &str)]) -> Self {
        self.write(head(status, headers, ""))
    }

    /// Bytes as they stand, in one write.
    pub fn write(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.steps.push(Step::Write(bytes.into()));
        self
    }

    /// One chunk of chunked transfer coding. An empty piece writes nothing: it would end the body.
    pub fn chunk(self, piece: impl AsRef<[u8]>) -> Self {
        let piece = piece.as_ref();
        if piece.is_empty() {
            return self;
        }
        let mut bytes = format!("{:x}\r\n", piece.len()).into_bytes();
        bytes.extend_from_slice(piece);
        bytes.extend_from_slice(b"\r\n");
        self.write(bytes)
    }

    /// The end of chunked transfer coding.
    pub fn last_chunk(self) -> Self {
        self.write("0\r\n\r\n")
    }

    /// Waits for the test.
    pub fn wait(mut self, gate: &Gate) -> Self {
        self.steps.push(Step::Wait(gate.clone()));
        self
    }

    /// Takes some time, as a model does. For load; a test waits at a [`Gate`].
    pub fn think(mut self, time: Duration) -> Self {
        self.steps.push(Step::Think(time));
        self
    }

    /// Sends nothing more and keeps the connection until the peer closes it.
    pub fn hang(mut self) -> Self {
        self.steps.push(Step::Hang);
        self
    }

    /// Closes in the usual way (FIN).
    pub fn close(mut self) -> Self {
        self.steps.push(Step::Close);
        self
    }

    /// Closes with a reset (RST).
    pub fn reset(mut self) -> Self {
        self.steps.push(Step::Reset);
        self
    }

    /// These steps, then those of `next`.
    pub fn then(mut self, next: Script) -> Self {
        self.steps.extend(next.steps);
        self
    }
}

fn head(status: u16, headers: &[(&str, &str)], length: &str) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status} {}\r\n", reason(status));
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(length);
    head.push_str("\r\n");
    head.into_bytes()
}

fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        103 => "Early Hints",
        200 => "OK",
        204 => "No Content",
        302 => "Found",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        400 => "Bad Request",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Scripted",
    }
}
