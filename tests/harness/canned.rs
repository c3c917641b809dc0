//! Bodies in the OpenAI shapes: what a backend would answer, and the requests tests send.

use serde_json::{Value, json};

use crate::recorded::Recorded;
use crate::script::Script;

/// A plausible answer to any request the gateway may forward.
pub fn answer(request: &Recorded) -> Script {
    let body: Value = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
    let streamed = body["stream"] == json!(true);
    match (request.target.as_str(), streamed) {
        (target, true) if target.ends_with("/chat/completions") => Script::event_stream(stream_of(&["Fine", ", thanks."])),
        (target, true) if target.ends_with("/completions") => {
            Script::event_stream([event(&text_chunk("Fine, thanks.", None)), event(&text_chunk("", Some("stop"))), done()])
        }
        (target, false) if target.ends_with("/chat/completions") => Script::json(&chat_completion("Fine, thanks.")),
        (target, false) if target.ends_with("/completions") => Script::json(&text_completion("Fine, thanks.")),
        (target, _) if target.ends_with("/embeddings") => Script::json(&embeddings(&body)),
        (target, _) if target.ends_with("/models") => Script::json(&models(&["small-chat"])),
        _ => Script::json_status(
            404,
            &json!({"error": {"message": "no such route", "type": "invalid_request_error", "code": null, "param": null}}),
        ),
    }
}

/// A chat request with one user message.
pub fn chat(text: &str) -> Value {
    json!({"model": "small-chat", "messages": [{"role": "user", "content": text}]})
}

/// The same, asking for a stream.
pub fn chat_stream(text: &str) -> Value {
    json!({"model": "small-chat", "stream": true, "messages": [{"role": "user", "content": text}]})
}

/// A whole chat answer with one choice.
pub fn chat_completion(text: &str) -> Value {
    chat_completion_of(vec![
        json!({"index": 0, "finish_reason": "stop", "logprobs": null, "message": {"role": "assistant", "content": text, "refusal": null}}),
    ])
}

/// A whole chat answer with these choices.
pub fn chat_completion_of(choices: Vec<Value>) -> Value {
    json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1_700_000_000, "model": "small-chat", "choices": choices,
        "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}})
}

/// A whole completion of the older kind.
pub fn text_completion(text: &str) -> Value {
    json!({"id": "cmpl-1", "object": "text_completion", "created": 1_700_000_000, "model": "small-chat",
        "choices": [{"index": 0, "text": text, "logprobs": null, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}})
}

/// One chunk of a streamed completion of the older kind.
pub fn text_chunk(text: &str, finish_reason: Option<&str>) -> Value {
    json!({"id": "cmpl-1", "object": "text_completion", "created": 1_700_000_000, "model": "small-chat",
        "choices": [{"index": 0, "text": text, "logprobs": null, "finish_reason": finish_reason}]})
}

/// Two-dimensional vectors, one for each input, as floats or in base64 as the request says.
pub fn embeddings(request: &Value) -> Value {
    let count = request["input"].as_array().map_or(1, |inputs| if inputs.first().is_some_and(Value::is_number) { 1 } else { inputs.len() });
    let vector = if request["encoding_format"] == json!("base64") {
        // 0.5f32 and -1.0f32, little-endian
        json!("AAAAPwAAgL8=")
    } else {
        json!([0.5, -1.0])
    };
    let data: Vec<Value> = (0..count).map(|index| json!({"object": "embedding", "index": index, "embedding": vector})).collect();
    json!({"object": "list", "model": "small-embed", "data": data, "usage": {"prompt_tokens": 3, "total_tokens": 3}})
}

/// A list of models.
pub fn models(ids: &[&str]) -> Value {
    let data: Vec<Value> =
        ids.iter().map(|id| json!({"id": id, "object": "model", "created": 1_700_000_000, "owned_by": "backend"})).collect();
    json!({"object": "list", "data": data})
}

/// One chunk of a streamed chat answer.
pub fn chunk(choice: usize, delta: Value, finish_reason: Option<&str>) -> Value {
    json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "small-chat",
        "choices": [{"index": choice, "delta": delta, "logprobs": null, "finish_reason": finish_reason}]})
}

/// One server-sent event with this body.
pub fn event(body: &Value) -> Vec<u8> {
    format!("data: {body}\n\n").into_bytes()
}

/// The event that ends a stream.
pub fn done() -> Vec<u8> {
    b"data: [DONE]\n\n".to_vec()
}

/// The events of a streamed chat answer of one choice whose content comes in these parts.
pub fn stream_of<S: AsRef<str>>(parts: &[S]) -> Vec<Vec<u8>> {
    let mut events = vec![event(&chunk(0, json!({"role": "assistant", "content": ""}), None))];
    events.extend(parts.iter().map(|part| event(&chunk(0, json!({"content": part.as_ref()}), None))));
    events.push(event(&chunk(0, json!({}), Some("stop"))));
    events.push(done());
    events
}

/// A text whose decoded forms pass their budget: every piece shows words of attacks in several disguises and has to be decoded, at every
/// level again.
pub fn too_much_to_decode() -> String {
    "vtaber ertnzv rongi erongi 1gn0r3 i g n o r e ｘ&amp;amp;amp;amp; ".repeat(4000)
}
