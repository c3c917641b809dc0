//! Requests as bytes: the sound ones a test starts from.

use serde_json::Value;

use crate::key::Key;

/// A request under construction; [`Request::bytes`] writes it exactly as put together.
#[derive(Clone, Debug)]
pub struct Request {
    start: String,
    headers: Vec<String>,
    body: Vec<u8>,
}

impl Request {
    /// A request with a host and nothing else.
    pub fn new(method: &str, target: &str) -> Self {
        Self { start: format!("{method} {target} HTTP/1.1"), headers: vec!["host: gateway.test".into()], body: Vec::new() }
    }

    /// A GET with a key.
    pub fn get(key: &Key, target: &str) -> Self {
        Self::new("GET", target).key(key)
    }

    /// A JSON POST with a key, a type and a length.
    pub fn post(key: &Key, target: &str, body: &Value) -> Self {
        Self::post_bytes(key, target, body.to_string())
    }

    /// The same with a body as it stands.
    pub fn post_bytes(key: &Key, target: &str, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        let length = format!("content-length: {}", body.len());
        Self::new("POST", target).key(key).line("content-type: application/json").line(&length).body(body)
    }

    /// A POST to `/v1/chat/completions`.
    pub fn chat(key: &Key, body: &Value) -> Self {
        Self::post(key, "/v1/chat/completions", body)
    }

    /// Adds the credential.
    pub fn key(self, key: &Key) -> Self {
        let line = format!("authorization: Bearer {}", key.secret);
        self.line(&line)
    }

    /// Adds a header line as it stands.
    pub fn line(mut self, line: &str) -> Self {
        self.headers.push(line.to_owned());
        self
    }

    /// Removes the headers of this name.
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|line| !line.split(':').next().unwrap_or_default().eq_ignore_ascii_case(name));
        self
    }

    /// Puts another line in place of the headers of this name.
    pub fn replace(self, name: &str, line: &str) -> Self {
        self.without(name).line(line)
    }

    /// Sets the first line.
    pub fn start(mut self, start: &str) -> Self {
        start.clone_into(&mut self.start);
        self
    }

    /// Sets the body; no header changes.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// The head's bytes.
    pub fn head_bytes(&self) -> Vec<u8> {
        format!("{}\r\n{}\r\n\r\n", self.start, self.headers.join("\r\n")).into_bytes()
    }

    /// All bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}
