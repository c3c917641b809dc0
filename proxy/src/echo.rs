//! The built-in upstream `echo`: it answers with precisely the text that would have left the building.
//!
//! For a first look and for trying a policy without a model. It is a real HTTP server on a loopback port, reached like any other
//! upstream. A chat answer is the text of the messages, one per line; when tools are offered, the first one is called with that
//! text. An embedding is a fixed function of the input, of no use but to look at.

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use pingora::apps::{HttpPersistentSettings, HttpServerApp, ReusedHttpStream};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use pingora::server::ShutdownWatch;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Characters of one streamed piece: small, so that what is redacted has been cut in the middle.
const PIECE_CHARS: usize = 5;
/// Length of an embedding when the request names none.
const DIMENSIONS: usize = 8;
const BODY_BYTES_MAX: usize = 64 << 20;

/// The echo server.
pub struct Echo;

#[async_trait]
impl HttpServerApp for Echo {
    async fn process_new_http(self: &Arc<Self>, mut session: ServerSession, _: &ShutdownWatch) -> Option<ReusedHttpStream> {
        session.set_keepalive(Some(60));
        if !matches!(session.read_request().await, Ok(true)) {
            return None;
        }
        let mut body = Vec::new();
        while let Some(piece) = session.read_request_body().await.ok()? {
            if body.len() + piece.len() > BODY_BYTES_MAX {
                return None;
            }
            body.extend_from_slice(&piece);
        }
        let request: Value = serde_json::from_slice(&body).unwrap_or_default();
        let path = session.req_header().uri.path().to_owned();
        let answer = answer(&path, &request);
        write(&mut session, answer).await.ok()?;
        let settings = HttpPersistentSettings::for_session(&session);
        let reusable = session.finish().await.ok()??;
        Some(ReusedHttpStream::from_reusable_stream(reusable, settings))
    }
}

enum Answer {
    Json(Value),
    Events(Vec<Value>),
    NotFound,
}

async fn write(session: &mut ServerSession, answer: Answer) -> pingora::Result<()> {
    let (status, content_type, body) = match answer {
        Answer::Json(value) => (200, "application/json", vec![value.to_string()]),
        Answer::Events(events) => {
            let mut body: Vec<String> = events.iter().map(|event| format!("data: {event}\n\n")).collect();
            body.push("data: [DONE]\n\n".to_owned());
            (200, "text/event-stream", body)
        }
        Answer::NotFound => (404, "application/json", vec![json!({"error": {"message": "not found"}}).to_string()]),
    };
    let mut head = ResponseHeader::build(status, Some(2))?;
    head.insert_header("content-type", content_type)?;
    head.insert_header("transfer-encoding", "chunked")?;
    session.write_response_header(Box::new(head)).await?;
    for piece in body {
        session.write_response_body(Bytes::from(piece), false).await?;
    }
    session.write_response_body(Bytes::new(), true).await
}

fn answer(path: &str, request: &Value) -> Answer {
    match path {
        "/v1/chat/completions" => chat(request),
        "/v1/completions" => completions(request),
        "/v1/embeddings" => Answer::Json(embeddings(request)),
        "/v1/models" => {
            Answer::Json(json!({"object": "list", "data": [{"id": "echo", "object": "model", "created": 0, "owned_by": "portcullis"}]}))
        }
        _ => Answer::NotFound,
    }
}

fn chat(request: &Value) -> Answer {
    let text = said(&request["messages"]);
    let answered = request["messages"].as_array().is_some_and(|messages| messages.iter().any(|message| message["role"] == "tool"));
    let tool = request["tools"][0]["function"]["name"].as_str().filter(|_| !answered && request["tool_choice"] != "none");
    let choices = request["n"].as_u64().unwrap_or(1);
    let usage = usage(&text);
    if request["stream"] == true {
        return Answer::Events(chat_events(request, &text, tool, choices, &usage));
    }
    let (message, reason) = match tool {
        Some(name) => (
            json!({"role": "assistant", "content": null, "tool_calls": [
                {"id": "call_echo", "type": "function", "function": {"name": name, "arguments": arguments(&text)}}]}),
            "tool_calls",
        ),
        None => (json!({"role": "assistant", "content": text}), "stop"),
    };
    let choices: Vec<Value> = (0..choices).map(|index| json!({"index": index, "message": message, "finish_reason": reason})).collect();
    Answer::Json(
        json!({"id": "chatcmpl-echo", "object": "chat.completion", "created": 0, "model": request["model"], "choices": choices, "usage": usage}),
    )
}

fn chat_events(request: &Value, text: &str, tool: Option<&str>, choices: u64, usage: &Value) -> Vec<Value> {
    let chunk = |index: u64, delta: Value, reason: Value| {
        json!({"id": "chatcmpl-echo", "object": "chat.completion.chunk", "created": 0, "model": request["model"],
            "choices": [{"index": index, "delta": delta, "finish_reason": reason}]})
    };
    let mut events = Vec::new();
    for index in 0..choices {
        events.push(chunk(index, json!({"role": "assistant"}), Value::Null));
        if let Some(name) = tool {
            let call = json!({"index": 0, "id": "call_echo", "type": "function", "function": {"name": name, "arguments": ""}});
            events.push(chunk(index, json!({"tool_calls": [call]}), Value::Null));
            for piece in pieces(&arguments(text)) {
                events.push(chunk(index, json!({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}), Value::Null));
            }
        } else {
            events.extend(pieces(text).into_iter().map(|piece| chunk(index, json!({"content": piece}), Value::Null)));
        }
        events.push(chunk(index, json!({}), json!(if tool.is_some() { "tool_calls" } else { "stop" })));
    }
    if request["stream_options"]["include_usage"] == true {
        events.push(json!({"id": "chatcmpl-echo", "object": "chat.completion.chunk", "created": 0, "model": request["model"], "choices": [], "usage": usage}));
    }
    events
}

fn completions(request: &Value) -> Answer {
    let text = strings(&request["prompt"]).join("\n");
    let head = json!({"id": "cmpl-echo", "object": "text_completion", "created": 0, "model": request["model"]});
    let with = |choices: Value| {
        let mut whole = head.clone();
        whole["choices"] = choices;
        whole
    };
    if request["stream"] == true {
        let mut events: Vec<Value> =
            pieces(&text).into_iter().map(|piece| with(json!([{"index": 0, "text": piece, "finish_reason": null}]))).collect();
        events.push(with(json!([{"index": 0, "text": "", "finish_reason": "stop"}])));
        return Answer::Events(events);
    }
    let mut whole = with(json!([{"index": 0, "text": text, "finish_reason": "stop"}]));
    whole["usage"] = usage(&text);
    Answer::Json(whole)
}

fn embeddings(request: &Value) -> Value {
    let dimensions = request["dimensions"].as_u64().map_or(DIMENSIONS, |n| n as usize);
    let inputs = strings(&request["input"]);
    let data: Vec<Value> = inputs
        .iter()
        .enumerate()
        .map(|(index, text)| {
            let vector = vector(text, dimensions);
            let embedding = if request["encoding_format"] == "base64" {
                json!(STANDARD.encode(vector.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>()))
            } else {
                json!(vector)
            };
            json!({"object": "embedding", "index": index, "embedding": embedding})
        })
        .collect();
    let tokens = tokens(&inputs.concat());
    json!({"object": "list", "data": data, "model": request["model"], "usage": {"prompt_tokens": tokens, "total_tokens": tokens}})
}

fn vector(text: &str, dimensions: usize) -> Vec<f32> {
    let digest = Sha256::digest(text.as_bytes());
    (0..dimensions).map(|i| f32::from(digest[i % digest.len()]) / 255.0).collect()
}

fn arguments(text: &str) -> String {
    json!({"text": text}).to_string()
}

/// The text of messages, whichever form their content has, one line for each.
fn said(messages: &Value) -> String {
    let of = |message: &Value| match &message["content"] {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join("\n"),
        _ => String::new(),
    };
    let lines: Vec<String> = messages.as_array().map(|list| list.iter().map(of).collect()).unwrap_or_default();
    lines.join("\n").trim().to_owned()
}

fn strings(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect(),
        _ => Vec::new(),
    }
}

fn pieces(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    chars.chunks(PIECE_CHARS).map(|piece| piece.iter().collect()).collect()
}

/// Four bytes a token, the usual rule of thumb.
fn tokens(text: &str) -> usize {
    text.len().div_ceil(4)
}

fn usage(text: &str) -> Value {
    let tokens = tokens(text);
    json!({"prompt_tokens": tokens, "completion_tokens": tokens, "total_tokens": 2 * tokens})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pieces_of_a_stream_are_the_text() {
        let request = json!({"stream": true, "messages": [{"role": "user", "content": [{"type": "text", "text": "héllo 世界, again"}]}]});
        let Answer::Events(events) = answer("/v1/chat/completions", &request) else { panic!("no stream") };
        let text: String = events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect();
        assert_eq!(text, "héllo 世界, again");
    }

    #[test]
    fn an_embedding_has_the_form_asked_for() {
        let floats = embeddings(&json!({"input": ["a", "b"], "dimensions": 3}));
        assert_eq!(floats["data"][1]["embedding"].as_array().unwrap().len(), 3);
        let packed = embeddings(&json!({"input": "a", "encoding_format": "base64"}));
        assert_eq!(STANDARD.decode(packed["data"][0]["embedding"].as_str().unwrap()).unwrap().len(), 4 * DIMENSIONS);
    }
}
