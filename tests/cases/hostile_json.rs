//! Hostile JSON: what two parsers could read differently, or what no request needs, is refused before anything is forwarded.
#![allow(clippy::expect_used, clippy::panic, reason = "test code")]

use harness::{Backend, Gateway, Request, Setup, canned};
use portcullis_audit::Kind;

async fn pair() -> (Backend, Gateway) {
    let backend = Backend::start().await;
    let gateway = Setup::before(&backend).start().await;
    (backend, gateway)
}

/// Posts each body to the chat route: one of the statuses, the documented shape, nothing at the backend, one audit event.
async fn all_refused(cases: &[(&str, Vec<u8>)], statuses: &[u16]) {
    let (backend, gateway) = pair().await;
    let mut wrong = Vec::new();
    for (name, body) in cases {
        let answer = gateway.exchange(&Request::post_bytes(gateway.key(), "/v1/chat/completions", body.clone())).await;
        if !statuses.contains(&answer.status()) {
            wrong.push(format!("{name}: {} instead of {statuses:?}: {}", answer.status(), answer.text()));
            continue;
        }
        answer.assert_error(answer.status(), &answer.error_code());
        let events = gateway.trail().answered(answer.head.request_id()).await;
        if events.len() != 1 || events[0].kind != Kind::Rejected {
            wrong.push(format!("{name}: audit events {events:#?}"));
        }
    }
    if backend.request_count() != 0 {
        wrong.push(format!(
            "{} requests at the backend, the last: {}",
            backend.request_count(),
            String::from_utf8_lossy(&backend.last_request().body)
        ));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn named<'a>(name: &'a str, bodies: &[&str]) -> Vec<(&'a str, Vec<u8>)> {
    bodies.iter().map(|body| (name, body.as_bytes().to_vec())).collect()
}

#[tokio::test]
async fn keys_that_come_twice() {
    let cases = named(
        "J2",
        &[
            r#"{"model":"m","model":"n","messages":[{"role":"user","content":"hi"}]}"#,
            r#"{"model":"m","messages":[],"messages":[{"role":"user","content":"hi"}]}"#,
            r#"{"model":"m","messages":[{"role":"user","content":"hi","content":"ho"}]}"#,
            r#"{"model":"m","messages":[{"role":"user","content":"hi","\u0063ontent":"ho"}]}"#,
            r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"metadata":{"a":"1","\u0061":"2"}}"#,
            r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"a","text":"b"}]}]}"#,
            r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","type":"object"}}}]}"#,
        ],
    );
    all_refused(&cases, &[400]).await;
}

#[tokio::test]
async fn nesting_without_end() {
    let deep = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    let mut cases = Vec::new();
    for depth in [129, 1000, 100_000] {
        for body in [
            format!(r#"{{"model":"m","messages":{}}}"#, deep(depth)),
            format!(r#"{{"model":"m","messages":[{{"role":"user","content":"hi"}}],"unknown":{}}}"#, deep(depth)),
            format!(
                r#"{{"model":"m","messages":[{{"role":"user","content":"hi"}}],"tools":[{{"type":"function","function":{{"name":"f","parameters":{}}}}}]}}"#,
                deep(depth)
            ),
            deep(depth),
            "[".repeat(depth),
        ] {
            cases.push(("J3", body.into_bytes()));
        }
    }
    all_refused(&cases, &[400, 413]).await;
}

#[tokio::test]
async fn strings_that_are_not_unicode() {
    let around = |content: &[u8]| [br#"{"model":"m","messages":[{"role":"user","content":""#, content, br#""}]}"#].concat();
    let cases: Vec<(&str, Vec<u8>)> = [
        ("J4 a lone continuation", &b"\x80"[..]),
        ("J4 overlong", b"\xc0\xaf"),
        ("J4 a surrogate in UTF-8", b"\xed\xa0\x80"),
        ("J4 beyond Unicode", b"\xf4\x90\x80\x80"),
        ("J4 cut short", b"\xe4\xb8"),
        ("J4 a lone high surrogate", br"\ud800"),
        ("J4 a lone low surrogate", br"\udc00"),
        ("J4 surrogates in the wrong order", br"\udc00\ud800"),
        ("J4 a raw control character", b"a\x01b"),
        ("J4 a raw line feed", b"a\nb"),
        ("J4 an unknown escape", br"\x41"),
        ("J4 a short escape", br"\u12"),
    ]
    .map(|(name, content)| (name, around(content)))
    .to_vec();
    all_refused(&cases, &[400]).await;
}

#[tokio::test]
async fn numbers_out_of_reason() {
    let mut cases = Vec::new();
    for field in [
        r#""temperature":1e400"#,
        r#""temperature":"0.5""#,
        r#""temperature":NaN"#,
        r#""n":1000000000"#,
        r#""n":0"#,
        r#""n":-1"#,
        r#""n":1.5"#,
        r#""n":99999999999999999999"#,
        r#""max_tokens":-1"#,
        r#""max_tokens":"5""#,
        r#""max_tokens":99999999999999999999"#,
        r#""max_tokens":[5]"#,
        r#""stream":"true""#,
        r#""stream":1"#,
        r#""seed":01"#,
        r#""top_p":+1"#,
        r#""top_p":.5"#,
    ] {
        cases.push((field, format!(r#"{{"model":"m","messages":[{{"role":"user","content":"hi"}}],{field}}}"#).into_bytes()));
    }
    all_refused(&cases, &[400]).await;
}

#[tokio::test]
async fn more_or_less_than_one_document() {
    let sound = canned::chat("hi").to_string();
    let cases: Vec<(&str, Vec<u8>)> = [
        ("J6 trailing text", format!("{sound}x")),
        ("J6 two documents", format!("{sound}{sound}")),
        ("J6 two lines", format!("{sound}\n{sound}")),
        ("J6 a byte order mark", format!("\u{feff}{sound}")),
        ("J6 a comment", format!("/* hi */{sound}")),
        ("J6 a trailing comma", sound.replace("}]}", "},]}")),
        ("J6 single quotes", sound.replace('"', "'")),
        ("J6 cut short", sound[..sound.len() - 1].to_owned()),
        ("J6 an array", "[]".into()),
        ("J6 a string", "\"hi\"".into()),
        ("J6 null", "null".into()),
        ("J6 white space", " \n".into()),
        ("J6 nothing", String::new()),
        ("J6 NUL", "\0".into()),
        ("J6 UTF-16", sound.encode_utf16().map(|unit| char::from(unit as u8)).flat_map(|c| [c, '\0']).collect()),
    ]
    .into_iter()
    .map(|(name, body)| (name, body.into_bytes()))
    .collect();
    all_refused(&cases, &[400]).await;
}

#[tokio::test]
async fn elements_without_end() {
    let many = |item: &str, count: usize| vec![item; count].join(",");
    let keys: Vec<String> = (0..200_000).map(|n| format!("\"k{n}\":1")).collect();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("J7 messages", format!(r#"{{"model":"m","messages":[{}]}}"#, many(r#"{"role":"user","content":"a"}"#, 100_000)).into_bytes()),
        (
            "J7 keys",
            format!(r#"{{"model":"m","messages":[{{"role":"user","content":"a"}}],"metadata":{{{}}}}}"#, keys.join(",")).into_bytes(),
        ),
        (
            "J7 parts",
            format!(r#"{{"model":"m","messages":[{{"role":"user","content":[{}]}}]}}"#, many(r#"{"type":"text","text":"a"}"#, 130_000))
                .into_bytes(),
        ),
        (
            "J7 numbers",
            format!(r#"{{"model":"m","messages":[{{"role":"user","content":"a"}}],"stop":[{}]}}"#, many("\"a\"", 900_000)).into_bytes(),
        ),
    ];
    assert!(cases.iter().all(|(_, body)| body.len() < 4 << 20), "under the body's limit, so that it is not this that refuses");
    all_refused(&cases, &[400, 413]).await;
}

#[tokio::test]
async fn a_request_without_its_parts() {
    let cases = named(
        "a part is missing or of another kind",
        &[
            r#"{}"#,
            r#"{"model":"m"}"#,
            r#"{"messages":[{"role":"user","content":"hi"}]}"#,
            r#"{"model":"","messages":[{"role":"user","content":"hi"}]}"#,
            r#"{"model":7,"messages":[{"role":"user","content":"hi"}]}"#,
            r#"{"model":"m","messages":[]}"#,
            r#"{"model":"m","messages":"hi"}"#,
            r#"{"model":"m","messages":["hi"]}"#,
            r#"{"model":"m","messages":[{"content":"hi"}]}"#,
            r#"{"model":"m","messages":[{"role":"wizard","content":"hi"}]}"#,
            r#"{"model":"m","messages":[{"role":"user","content":7}]}"#,
            r#"{"model":"m","messages":[{"role":"user","content":{"text":"hi"}}]}"#,
            r#"{"model":"m","messages":[{"role":"user","content":[{"type":"mystery","mystery":"hi"}]}]}"#,
            r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"tools":"all"}"#,
        ],
    );
    all_refused(&cases, &[400]).await;
}

#[tokio::test]
async fn unknown_fields_are_refused_or_left_behind() {
    let (backend, gateway) = pair().await;
    for field in
        ["api_base", "base_url", "user_config", "extra_body", "prompt_embeds", "logprob_token_ids", "custom_llm_provider", "__proto__"]
    {
        let mut body = canned::chat("hi");
        body[field] = "http://169.254.169.254/unknown".into();
        let answer = gateway.chat(&body).await;
        match answer.status() {
            200 => assert!(!backend.last_request().contains("unknown"), "J8 {field} was forwarded"),
            status => answer.assert_error(status, "invalid_request"),
        }
        for inner in ["/messages/0", "/messages/0/content/0"] {
            let mut body = canned::chat("hi");
            body["messages"][0]["content"] = serde_json::json!([{"type": "text", "text": "hi"}]);
            body.pointer_mut(inner).expect("a place")[field] = "http://169.254.169.254/unknown".into();
            let answer = gateway.chat(&body).await;
            assert!(answer.status() == 400 || !backend.last_request().contains("unknown"), "J8 {inner}/{field} was forwarded");
        }
    }
}

#[tokio::test]
async fn content_types_other_than_json() {
    let (backend, gateway) = pair().await;
    let sound = Request::chat(gateway.key(), &canned::chat("hi"));
    for (line, status) in [
        ("content-type: application/json; charset=utf-8", 200),
        ("content-type: application/json; charset=\"UTF-8\"", 200),
        ("content-type: Application/JSON", 200),
        ("content-type: text/plain", 415),
        ("content-type: application/json, text/plain", 415),
        ("content-type: application/jsonp", 415),
        ("content-type: application/json; charset=utf-16", 415),
        ("content-type: application/json; charset=ibm500", 415),
        ("content-type: multipart/form-data; boundary=x", 415),
        ("content-type: ", 415),
        ("x-nothing: here", 415),
        ("content-type: application/json\r\ncontent-type: application/json", 400),
    ] {
        backend.forget();
        let answer = gateway.exchange(&sound.clone().replace("content-type", line)).await;
        assert_eq!(answer.status(), status, "J12 {line}: {}", answer.text());
        assert_eq!(backend.request_count(), usize::from(status == 200), "J12 {line}");
    }
}
