//! Coverage: personal data planted in any text of a full request is redacted before the backend sees it, or the request is refused.
#![allow(clippy::expect_used, clippy::panic, reason = "test code")]

use harness::{Backend, Gateway, Request, Setup, canned};
use serde_json::{Map, Value, json};

const MAIL: &str = "jane.canary@example.org";
const CARD: u64 = 4_111_111_111_111_111;
/// What must not reach the backend, in any of the forms it was planted in.
const TRACES: [&str; 4] = ["jane.canary", "\\u006aane", "4111111111111111", "amFuZS5jYW5hcnlAZXhhbXBsZS5vcmc"];

fn full() -> Value {
    serde_json::from_str(include_str!("../data/full_chat_request.json")).expect("JSON")
}

/// The pointers of every value below `value`, its own first.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Array(items) => items.iter().enumerate().for_each(|(index, item)| pointers(item, &format!("{at}/{index}"), found)),
        Value::Object(fields) => {
            fields.iter().for_each(|(name, field)| pointers(field, &format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")), found))
        }
        _ => {}
    }
}

fn places(value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    pointers(value, "", &mut found);
    found
}

/// Every way to plant the canary at one place of `body`, each named.
fn planted(body: &Value, place: &str) -> Vec<(String, Vec<u8>)> {
    let put = |value: Value| {
        let mut body = body.clone();
        *body.pointer_mut(place).expect("a place") = value;
        body.to_string().into_bytes()
    };
    let here = body.pointer(place).expect("a place");
    let mut ways = Vec::new();
    match here {
        Value::String(text) => {
            ways.push((format!("{place} whole"), put(json!(MAIL))));
            ways.push((format!("{place} in the middle"), put(json!(format!("{text} {MAIL} {text}")))));
            // The same text written with escapes, as the body may come.
            let escaped =
                String::from_utf8(put(json!(format!("{text} {MAIL}")))).expect("UTF-8").replace("jane.canary@", "\\u006aane.canary\\u0040");
            ways.push((format!("{place} escaped"), escaped.into_bytes()));
            if let Ok(inner @ Value::Object(_)) = serde_json::from_str::<Value>(text) {
                for inner_place in places(&inner) {
                    if inner.pointer(&inner_place).is_some_and(Value::is_string) {
                        let mut changed = inner.clone();
                        *changed.pointer_mut(&inner_place).expect("a place") = json!(format!("a {MAIL}"));
                        ways.push((format!("{place} JSON inside {inner_place}"), put(json!(changed.to_string()))));
                        let escaped = changed.to_string().replace("jane.canary@", "\\u006aane.canary\\u0040");
                        ways.push((format!("{place} escaped JSON inside {inner_place}"), put(json!(escaped))));
                        // JSON in JSON in JSON
                        *changed.pointer_mut(&inner_place).expect("a place") = json!(json!({"deeper": MAIL}).to_string());
                        ways.push((format!("{place} JSON two deep {inner_place}"), put(json!(changed.to_string()))));
                    }
                }
                let mut keyed = inner.clone();
                keyed[MAIL] = json!(1);
                ways.push((format!("{place} key of the JSON inside"), put(json!(keyed.to_string()))));
            }
        }
        // A seed goes to the sampler; no model reads it.
        Value::Number(_) if place == "/seed" => {}
        Value::Number(_) => ways.push((format!("{place} as a number"), put(json!(CARD)))),
        Value::Object(fields) => {
            let mut more = fields.clone();
            more.insert(MAIL.into(), json!("x"));
            ways.push((format!("{place} as a key"), put(Value::Object(more))));
            let mut more = fields.clone();
            more.insert("unknown_field".into(), json!(MAIL));
            ways.push((format!("{place} in an unknown field"), put(Value::Object(more))));
            let mut more = fields.clone();
            more.insert("unknown_field".into(), json!({"deep": [{"deeper": MAIL}]}));
            ways.push((format!("{place} deep in an unknown field"), put(Value::Object(more))));
        }
        Value::Array(items) => {
            let mut more = items.clone();
            more.push(json!(MAIL));
            ways.push((format!("{place} as one more item"), put(Value::Array(more))));
        }
        Value::Bool(_) | Value::Null => ways.push((format!("{place} in its stead"), put(json!(MAIL)))),
    }
    ways
}

/// Sends each body: refused with a 4xx in the documented shape, or forwarded without a trace. Returns what was forwarded of each.
async fn none_leaks(backend: &Backend, gateway: &Gateway, target: &str, bodies: Vec<(String, Vec<u8>)>) -> (usize, usize) {
    let mut client = gateway.client().await;
    let mut wrong = Vec::new();
    let (mut forwarded, mut refused) = (0, 0);
    for (name, body) in bodies {
        backend.forget();
        let answer = client.exchange(Request::post_bytes(gateway.key(), target, body).bytes()).await;
        let seen = backend.requests();
        match answer.status() {
            200 => {
                forwarded += 1;
                assert_eq!(seen.len(), 1, "{name}");
            }
            400 | 403 | 404 => {
                refused += 1;
                answer.assert_error(answer.status(), &answer.error_code());
                if !seen.is_empty() {
                    wrong.push(format!("{name}: refused with {} and forwarded all the same", answer.status()));
                }
                // An unknown key may be named: how else would the caller find it. What stands under it may not.
                if !name.ends_with(" as a key") && TRACES.iter().any(|trace| answer.text().contains(trace)) {
                    wrong.push(format!("{name}: the refusal repeats it: {}", answer.text()));
                }
            }
            status => wrong.push(format!("{name}: {status} {}", answer.text())),
        }
        for request in &seen {
            if let Some(trace) = TRACES.iter().find(|trace| request.contains(trace)) {
                wrong.push(format!("{name}: {trace} reached the backend"));
            }
        }
        if answer.head.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            client = gateway.client().await;
        }
    }
    assert!(wrong.is_empty(), "{} leaks or failures:\n{}", wrong.len(), wrong.join("\n"));
    (forwarded, refused)
}

#[tokio::test]
async fn the_full_request_is_forwarded_as_it_is() {
    let backend = Backend::start().await;
    let gateway = Setup::before(&backend).start().await;
    let answer = gateway.chat(&full()).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert_eq!(backend.last_request().json(), full());
}

#[tokio::test]
async fn a_canary_in_any_place_of_a_chat_request_never_reaches_the_backend() {
    let backend = Backend::start().await;
    let gateway = Setup::before(&backend).start().await;
    let body = full();
    let bodies: Vec<(String, Vec<u8>)> =
        places(&body).iter().filter(|place| !place.is_empty()).flat_map(|place| planted(&body, place)).collect();
    assert!(bodies.len() > 300, "{} ways", bodies.len());
    let (forwarded, refused) = none_leaks(&backend, &gateway, "/v1/chat/completions", bodies).await;
    assert!(forwarded > 80, "only {forwarded} were redacted and forwarded, {refused} refused");
}

#[tokio::test]
async fn a_canary_in_ordinary_text_is_redacted_and_not_refused() {
    let backend = Backend::start().await;
    let gateway = Setup::before(&backend).start().await;
    for place in [
        "/messages/0/content",
        "/messages/1/content/0/text",
        "/messages/2/content",
        "/messages/3/content/1/text",
        "/messages/4/content",
        "/messages/4/refusal",
        "/messages/5/content/1/refusal",
        "/messages/7/content",
        "/messages/9/content/0/text",
        "/tools/0/function/description",
        "/tools/0/function/parameters/description",
        "/tools/0/function/parameters/properties/city/description",
        "/prediction/content/0/text",
        "/response_format/json_schema/schema/properties/advice/description",
    ] {
        let mut body = full();
        *body.pointer_mut(place).expect("a place") = json!(format!("ask {MAIL} now"));
        let answer = gateway.chat(&body).await;
        assert_eq!(answer.status(), 200, "{place}: {}", answer.text());
        assert_eq!(backend.last_request().json().pointer(place), Some(&json!("ask [EMAIL_ADDRESS] now")), "{place}");
    }
    for (place, inner) in [
        ("/messages/4/tool_calls/0/function/arguments", "/note"),
        ("/messages/4/tool_calls/1/function/arguments", "/city"),
        ("/messages/6/function_call/arguments", "/city"),
        ("/messages/8/content", "/sky"),
    ] {
        let mut body = full();
        let mut arguments: Value = serde_json::from_str(body.pointer(place).and_then(Value::as_str).expect("a text")).expect("JSON");
        *arguments.pointer_mut(inner).expect("a place") = json!(format!("ask \"{MAIL}\"\n now"));
        let mut expected = arguments.clone();
        *expected.pointer_mut(inner).expect("a place") = json!("ask \"[EMAIL_ADDRESS]\"\n now");
        *body.pointer_mut(place).expect("a place") = json!(arguments.to_string());
        let answer = gateway.chat(&body).await;
        assert_eq!(answer.status(), 200, "{place}: {}", answer.text());
        let seen = backend.last_request().json();
        let seen: Value = serde_json::from_str(seen.pointer(place).and_then(Value::as_str).expect("a text")).expect("arguments stay JSON");
        assert_eq!(seen, expected, "{place}");
    }
}

#[tokio::test]
async fn a_canary_in_a_completion_or_an_embedding_never_reaches_the_backend() {
    let backend = Backend::start().await;
    let gateway = Setup::before(&backend).start().await;
    let completion = json!({"model": "small", "prompt": ["Once", "upon"], "suffix": "a time", "stop": ["END"], "user": "customer-17", "max_tokens": 5, "logit_bias": {"50256": -100}, "echo": false});
    let embedding =
        json!({"model": "small-embed", "input": ["Once", "upon"], "user": "customer-17", "encoding_format": "float", "dimensions": 2});
    for (target, body) in [("/v1/completions", completion), ("/v1/embeddings", embedding)] {
        let bodies = places(&body).iter().filter(|place| !place.is_empty()).flat_map(|place| planted(&body, place)).collect();
        let (forwarded, _) = none_leaks(&backend, &gateway, target, bodies).await;
        assert!(forwarded > 3, "{target}: only {forwarded} were redacted and forwarded");
    }
}

/// Numbers of an answer that the backend's software writes and no model does.
fn is_a_count(place: &str) -> bool {
    place.starts_with("/usage") || place == "/created" || place.ends_with("index")
}

/// Every text field of an answer that a client may read.
#[tokio::test]
async fn a_canary_in_any_text_of_an_answer_never_reaches_the_client() {
    let backend = Backend::start().await;
    let gateway = Setup::before(&backend).start().await;
    let mut answer = canned::chat_completion_of(vec![json!({"index": 0, "finish_reason": "stop", "logprobs": null, "message": {
        "role": "assistant", "content": "Wear a coat.", "refusal": "No refusal.", "reasoning_content": "It is cold.", "reasoning": "It is cold.",
        "annotations": [{"type": "url_citation", "url_citation": {"url": "https://example.org", "title": "Weather", "start_index": 0, "end_index": 1}}],
        "tool_calls": [{"id": "call_one", "type": "function", "function": {"name": "weather", "arguments": "{\"city\":\"Oslo\"}"}}],
        "function_call": {"name": "weather", "arguments": "{\"city\":\"Oslo\"}"}}})]);
    answer["system_fingerprint"] = json!("fp_1");
    answer["service_tier"] = json!("default");
    let mut client = gateway.client().await;
    let mut wrong = Vec::new();
    let (mut passed, mut refused) = (0, 0);
    for place in places(&answer).iter().filter(|place| !place.is_empty()) {
        for (name, body) in planted(&answer, place) {
            if is_a_count(place) {
                continue;
            }
            backend.once(harness::Script::answer(200, &[("content-type", "application/json")], body));
            let answer = client.exchange(Request::chat(gateway.key(), &canned::chat("hi")).bytes()).await;
            if TRACES.iter().any(|trace| answer.text().contains(trace)) {
                wrong.push(format!("{name}: reached the client: {}", answer.text()));
            }
            match answer.status() {
                200 => passed += 1,
                403 | 502 => refused += 1,
                status => wrong.push(format!("{name}: {status} {}", answer.text())),
            }
        }
    }
    assert!(wrong.is_empty(), "{} leaks or failures:\n{}", wrong.len(), wrong.join("\n"));
    assert!(passed > 20, "only {passed} were screened and passed, {refused} refused");
}

/// The same of one streamed delta.
#[tokio::test]
async fn a_canary_in_any_text_of_a_stream_never_reaches_the_client() {
    let backend = Backend::start().await;
    let gateway = Setup::before(&backend).start().await;
    let chunk: Map<String, Value> = canned::chunk(0, json!({"role": "assistant", "content": "Wear a coat.", "refusal": "No.", "reasoning_content": "It is cold.", "reasoning": "Cold.",
        "tool_calls": [{"index": 0, "id": "call_one", "type": "function", "function": {"name": "weather", "arguments": "{\"city\":\"Oslo\"}"}}]}), None).as_object().cloned().expect("an object");
    let chunk = Value::Object(chunk);
    let mut wrong = Vec::new();
    let mut passed = 0;
    for place in places(&chunk).iter().filter(|place| !place.is_empty()) {
        for (name, body) in planted(&chunk, place) {
            if is_a_count(place) {
                continue;
            }
            let event = [b"data: ".to_vec(), body, b"\n\n".to_vec()].concat();
            backend.once(harness::Script::event_stream([event, canned::event(&canned::chunk(0, json!({}), Some("stop"))), canned::done()]));
            let mut client = gateway.client().await;
            client.send(Request::chat(gateway.key(), &canned::chat_stream("hi")).bytes()).await;
            let head = client.head().await;
            let streamed = client.streamed().await;
            let text = format!("{:?}", streamed.events);
            if TRACES.iter().any(|trace| text.contains(trace)) {
                wrong.push(format!("{name}: reached the client: {text}"));
            }
            if head.status == 200 && streamed.is_done() {
                passed += 1;
            }
        }
    }
    assert!(wrong.is_empty(), "{} leaks or failures:\n{}", wrong.len(), wrong.join("\n"));
    assert!(passed > 15, "only {passed} were screened and passed");
}
