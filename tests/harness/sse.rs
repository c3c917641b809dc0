//! Server-sent events as a client sees them, and the texts put together from their deltas.

use std::collections::BTreeMap;

use serde_json::Value;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The `event:` field.
    pub name: Option<String>,
    /// The `data:` lines, joined by line feeds.
    pub data: String,
}

impl Event {
    /// The data as JSON; the test fails when it is not.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|error| panic!("an event that is not JSON ({error}): {}", self.data))
    }

    /// Whether this is the usual end of a stream.
    pub fn is_done(&self) -> bool {
        self.data == "[DONE]"
    }

    /// The `error` object, when the event carries one.
    pub fn error(&self) -> Option<Value> {
        serde_json::from_str::<Value>(&self.data).ok()?.get("error").filter(|error| error.is_object()).cloned()
    }
}

/// Takes the first whole event off `buffer`. The gateway writes `\n\n` and nothing else after an event, and this reader holds it to that.
pub(crate) fn take_event(buffer: &mut Vec<u8>) -> Option<Event> {
    loop {
        let end = buffer.windows(2).position(|w| w == b"\n\n")? + 2;
        let block: Vec<u8> = buffer.drain(..end).collect();
        let text = String::from_utf8(block).expect("an event stream is UTF-8");
        let (mut name, mut data) = (None, Vec::new());
        for line in text.lines() {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => name = Some(value.to_owned()),
                "data" => data.push(value),
                _ => {}
            }
        }
        if !data.is_empty() {
            return Some(Event { name, data: data.join("\n") });
        }
    }
}

/// How a streamed answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The body's framing ended as it should.
    Complete,
    /// The connection closed before the body's framing had ended.
    Cut,
}

/// A streamed answer, read to its end.
#[derive(Clone, Debug)]
pub struct Streamed {
    /// Every event in order, `[DONE]` too.
    pub events: Vec<Event>,
    /// How it ended.
    pub ending: Ending,
    /// Bytes after the last whole event.
    pub rest: Vec<u8>,
}

impl Streamed {
    /// The content of every choice, its deltas joined.
    pub fn contents(&self) -> BTreeMap<u64, String> {
        self.joined(|delta| vec![(0, delta["content"].as_str().unwrap_or_default().to_owned())])
            .into_iter()
            .map(|((choice, _), text)| (choice, text))
            .collect()
    }

    /// The content of choice 0.
    pub fn content(&self) -> String {
        self.contents().remove(&0).unwrap_or_default()
    }

    /// The arguments of every tool call, by choice and tool index.
    pub fn tool_arguments(&self) -> BTreeMap<(u64, u64), String> {
        self.joined(|delta| {
            let calls = delta["tool_calls"].as_array().cloned().unwrap_or_default();
            calls
                .iter()
                .map(|call| (call["index"].as_u64().unwrap_or(0), call["function"]["arguments"].as_str().unwrap_or_default().to_owned()))
                .collect()
        })
    }

    /// Whether the stream ended with `[DONE]` and sound framing.
    pub fn is_done(&self) -> bool {
        self.ending == Ending::Complete && self.events.last().is_some_and(Event::is_done)
    }

    /// Whether `[DONE]` occurs at all.
    pub fn has_done(&self) -> bool {
        self.events.iter().any(Event::is_done)
    }

    /// The error the stream carries, if any.
    pub fn error(&self) -> Option<Value> {
        self.events.iter().find_map(Event::error)
    }

    fn joined(&self, read: impl Fn(&Value) -> Vec<(u64, String)>) -> BTreeMap<(u64, u64), String> {
        let mut texts: BTreeMap<(u64, u64), String> = BTreeMap::new();
        for event in self.events.iter().filter(|event| !event.is_done()) {
            let body = event.json();
            for choice in body["choices"].as_array().into_iter().flatten() {
                for (index, text) in read(&choice["delta"]) {
                    texts.entry((choice["index"].as_u64().unwrap_or(0), index)).or_default().push_str(&text);
                }
            }
        }
        texts
    }
}
