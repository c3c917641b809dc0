//! Hostile framing: each head or body that two readers could read differently is refused, alone, and nothing of it goes further.
//!
//! The names at the left of the tables are those of the fault catalogue.
#![allow(clippy::expect_used, clippy::panic, reason = "test code")]

use std::time::{Duration, Instant};

use harness::{Answer, Backend, Client, Gateway, Key, Request, Setup, canned};
use portcullis_audit::{Decision, Kind};

/// A case: its name, its bytes, and the statuses it may get.
type Case = (String, Vec<u8>, &'static [u16]);

/// How long after a refusal the connection may stay open.
const CLOSE_WITHIN: Duration = Duration::from_secs(4);
const HEAD_BYTES: usize = 32_768;
const HEAD_FIELDS: usize = 64;
const BODY_BYTES: usize = 65_536;

async fn pair() -> (Backend, Gateway) {
    let backend = Backend::start().await;
    let setup = Setup::before(&backend)
        .set("limits.head_bytes", HEAD_BYTES)
        .set("limits.head_fields", HEAD_FIELDS)
        .set("limits.body_bytes", BODY_BYTES);
    (backend, setup.start().await)
}

fn sound(key: &Key) -> Request {
    Request::chat(key, &canned::chat("hi"))
}

fn chunked(key: &Key, body: impl AsRef<[u8]>) -> Vec<u8> {
    sound(key).replace("content-length", "transfer-encoding: chunked").body(body.as_ref()).bytes()
}

/// Sends each case on a connection of its own: an error in the documented shape, the connection closed, nothing at the backend, one
/// audit event. Reports every case that fails, not the first.
async fn all_refused(backend: &Backend, gateway: &Gateway, cases: Vec<Case>) {
    let mut wrong = Vec::new();
    for (name, bytes, statuses) in cases {
        let mut client = gateway.client().await;
        client.send(&bytes).await;
        let Some(answer) = first_answer(&mut client).await else {
            wrong.push(format!("{name}: closed without an answer"));
            continue;
        };
        if !statuses.contains(&answer.status()) {
            wrong.push(format!("{name}: {} instead of {statuses:?}: {}", answer.status(), answer.text()));
            continue;
        }
        answer.assert_error(answer.status(), &answer.error_code());
        match client.closed_within(CLOSE_WITHIN).await {
            Some(rest) if rest.is_empty() => {}
            Some(rest) => wrong.push(format!("{name}: answered a second time: {}", String::from_utf8_lossy(&rest))),
            None => wrong.push(format!("{name}: refused with {} and not closed after {CLOSE_WITHIN:?}", answer.status())),
        }
        let events = gateway.trail().answered(answer.head.request_id()).await;
        if events.len() != 1
            || events[0].kind != Kind::Rejected
            || events[0].decision != Some(Decision::Refused)
            || events[0].status != Some(answer.status())
        {
            wrong.push(format!("{name}: audit events {events:#?}"));
        }
    }
    if backend.connection_count() != 0 {
        wrong.push(format!("{} connections and {} requests at the backend", backend.connection_count(), backend.request_count()));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(gateway.say("still there").await.status(), 200);
}

async fn first_answer(client: &mut Client) -> Option<Answer> {
    let head = client.try_head().await?;
    let body = client.body().await;
    Some(Answer { head, body })
}

#[tokio::test]
async fn lengths_and_codings_that_can_be_read_two_ways() {
    let (backend, gateway) = pair().await;
    let key = gateway.key();
    let sound = sound(key);
    let smuggled = Request::chat(key, &canned::chat("smuggled")).bytes();
    let mut cases: Vec<Case> = vec![
        (
            "H1 CL.TE".into(),
            sound.clone().line("transfer-encoding: chunked").body([b"0\r\n\r\n".to_vec(), smuggled.clone()].concat()).bytes(),
            &[400],
        ),
        (
            "H1 TE.CL".into(),
            sound.clone().without("content-length").line("transfer-encoding: chunked").line("content-length: 4").body("0\r\n\r\n").bytes(),
            &[400],
        ),
        (
            "H2 equal".into(),
            sound.clone().line("content-length: 2").replace("content-length", "content-length: 2").line("content-length: 2").bytes(),
            &[400],
        ),
        ("H2 differing".into(), sound.clone().line("content-length: 2").bytes(), &[400]),
        ("H2 list".into(), sound.clone().replace("content-length", "content-length: 2, 2").bytes(), &[400]),
        (
            "H12 websocket".into(),
            [sound.clone().line("connection: upgrade").line("upgrade: websocket").bytes(), smuggled.clone()].concat(),
            &[400],
        ),
        (
            "H12 h2c".into(),
            sound.clone().line("connection: upgrade, http2-settings").line("upgrade: h2c").line("http2-settings: AAMAAABk").bytes(),
            &[400],
        ),
    ];
    for length in ["+2", "-1", "0x2", "12345678901234567890", "", "1 2", "2.0", "two", "\u{0662}"] {
        cases.push((
            format!("H3 {length:?}"),
            sound.clone().replace("content-length", &format!("content-length: {length}")).bytes(),
            &[400],
        ));
    }
    for coding in [
        "xchunked",
        "chunked, identity",
        "identity, chunked",
        "chunked, chunked",
        "\u{b}chunked",
        "identity",
        "gzip, chunked",
        "chunked;q=1",
        "",
    ] {
        let request = sound.clone().replace("content-length", &format!("transfer-encoding: {coding}")).body("0\r\n\r\n");
        cases.push((format!("H4 {coding:?}"), request.bytes(), &[400]));
    }
    let twice = sound.clone().replace("content-length", "transfer-encoding: chunked").line("transfer-encoding: chunked").body("0\r\n\r\n");
    cases.push(("H4 twice".into(), twice.bytes(), &[400]));
    cases.push(("H4 folded".into(), sound.replace("content-length", "transfer-encoding:\r\n chunked").body("0\r\n\r\n").bytes(), &[400]));
    all_refused(&backend, &gateway, cases).await;
}

#[tokio::test]
async fn lines_that_are_not_http() {
    let (backend, gateway) = pair().await;
    let sound = sound(gateway.key());
    let text = String::from_utf8(sound.bytes()).expect("ASCII");
    let mut cases: Vec<Case> = vec![
        ("H5 space".into(), sound.clone().line("x-a: b\r\n c").bytes(), &[400]),
        ("H5 tab".into(), sound.clone().line("x-a: b\r\n\tc").bytes(), &[400]),
        ("H6 bare LF everywhere".into(), text.replace("\r\n", "\n").into_bytes(), &[400]),
        ("H6 bare LF once".into(), text.replacen("gateway.test\r\n", "gateway.test\n", 1).into_bytes(), &[400]),
        ("H6 bare CR".into(), sound.clone().line("x-a: b\rx-b: c").bytes(), &[400]),
        ("H6 NUL in a value".into(), sound.clone().line("x-a: b\0c").bytes(), &[400]),
        ("H6 control in a name".into(), sound.clone().line("x-\u{1}a: b").bytes(), &[400]),
        ("H6 DEL in a value".into(), sound.clone().line("x-a: \u{7f}").bytes(), &[400]),
        ("H7 space before the colon".into(), sound.clone().line("x-a : b").bytes(), &[400]),
        ("H7 no name".into(), sound.clone().line(": b").bytes(), &[400]),
        ("H7 no colon".into(), sound.clone().line("x-a").bytes(), &[400]),
        ("H7 underscored twin".into(), sound.clone().line("content_length: 2").bytes(), &[400]),
        ("H8 no host".into(), sound.clone().without("host").bytes(), &[400]),
        ("H8 two hosts".into(), sound.clone().line("host: other.test").bytes(), &[400]),
        ("H8 absolute form".into(), sound.clone().start("POST http://other.test/v1/chat/completions HTTP/1.1").bytes(), &[400]),
        ("H8 authority form".into(), sound.clone().start("POST gateway.test:80 HTTP/1.1").bytes(), &[400]),
        ("T3 two keys".into(), sound.clone().line("authorization: Bearer other").bytes(), &[400]),
    ];
    for start in [
        "POST  /v1/chat/completions HTTP/1.1",
        "POST\t/v1/chat/completions HTTP/1.1",
        "POST /v1/chat/completions HTTP/1.1 ",
        " POST /v1/chat/completions HTTP/1.1",
        "POST /v1/chat/completions",
        "POST /v1/chat/completions HTTP/2.0",
        "POST /v1/chat/completions HTTP/1.2",
        "POST /v1/chat/completions http/1.1",
        "P@ST /v1/chat/completions HTTP/1.1",
    ] {
        cases.push((format!("H11 {start:?}"), sound.clone().start(start).bytes(), &[400, 405]));
    }
    cases.push((
        "H11 1.0 chunked".into(),
        sound
            .clone()
            .start("POST /v1/chat/completions HTTP/1.0")
            .replace("content-length", "transfer-encoding: chunked")
            .body("0\r\n\r\n")
            .bytes(),
        &[400],
    ));
    all_refused(&backend, &gateway, cases).await;
}

#[tokio::test]
async fn methods_that_no_route_takes() {
    let (backend, gateway) = pair().await;
    let sound = sound(gateway.key());
    let mut wrong = Vec::new();
    for (start, statuses) in [
        ("TRACE /v1/chat/completions HTTP/1.1", &[400, 405][..]),
        ("CONNECT gateway.test:80 HTTP/1.1", &[400, 405]),
        ("PUT /v1/chat/completions HTTP/1.1", &[405]),
        ("DELETE /v1/models HTTP/1.1", &[405]),
        ("HEAD /v1/chat/completions HTTP/1.1", &[405]),
        ("post /v1/chat/completions HTTP/1.1", &[400, 405]),
        ("OPTIONS * HTTP/1.1", &[400, 404, 405]),
        ("GET /v1/chat/completions/../models HTTP/1.1", &[404]),
        ("GET /v1/%6dodels HTTP/1.1", &[404]),
        ("GET /v1/models  HTTP/1.1", &[400, 404]),
        ("GET /v1/mod els HTTP/1.1", &[400, 404]),
        ("GET /v1/models%00 HTTP/1.1", &[404]),
        ("GET //v1/models HTTP/1.1", &[404]),
        ("GET /v1/models#x HTTP/1.1", &[400, 404]),
        ("GET /v1/m\u{f6}dels HTTP/1.1", &[400, 404]),
    ] {
        let request = sound.clone().start(start).without("content-length").without("content-type").body("");
        let mut client = gateway.client().await;
        client.send(request.bytes()).await;
        let head = client.head().await;
        if !statuses.contains(&head.status) {
            wrong.push(format!("H9/H10 {start}: {} instead of {statuses:?}", head.status));
        }
        let events = gateway.trail().answered(head.request_id()).await;
        if events.len() != 1 {
            wrong.push(format!("H9/H10 {start}: audit events {events:#?}"));
        }
    }
    let long = sound.clone().start(&format!("GET /{} HTTP/1.1", "a".repeat(8192))).without("content-length").body("");
    gateway.exchange(&long).await.assert_error(414, "target_too_long");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(backend.connection_count(), 0);
}

#[tokio::test]
async fn broken_chunks() {
    let (backend, gateway) = pair().await;
    let key = gateway.key();
    let body = canned::chat("hi").to_string();
    let size = format!("{:x}", body.len());
    let cases: Vec<Case> = [
        ("H15 overflow", format!("{}{size}\r\n{body}\r\n0\r\n\r\n", "f".repeat(20))),
        ("H15 0x", format!("0x{size}\r\n{body}\r\n0\r\n\r\n")),
        ("H15 sign", format!("+{size}\r\n{body}\r\n0\r\n\r\n")),
        ("H15 empty size", format!("\r\n{body}\r\n0\r\n\r\n")),
        ("H15 bare LF after the size", format!("{size}\n{body}\r\n0\r\n\r\n")),
        ("H15 no CRLF after the chunk", format!("{size}\r\n{body}0\r\n\r\n")),
        ("H15 bare LF after the chunk", format!("{size}\r\n{body}\n0\r\n\r\n")),
        ("H15 too short a chunk", format!("2\r\n{body}\r\n0\r\n\r\n")),
        ("H15 bare LF at the end", format!("{size}\r\n{body}\r\n0\n\n")),
        ("H15 space before the size", format!(" {size}\r\n{body}\r\n0\r\n\r\n")),
        ("H15 bare CR in an extension", format!("{size};a\rb\r\n{body}\r\n0\r\n\r\n")),
        ("H15 extension of 65k", format!("{size};{}\r\n{body}\r\n0\r\n\r\n", "e".repeat(65_536))),
    ]
    .into_iter()
    .map(|(name, body)| (name.into(), chunked(key, body), &[400_u16, 413][..]))
    .collect();
    all_refused(&backend, &gateway, cases).await;
}

/// The chunk parser underneath takes an empty size line for the last chunk. What follows is never served.
#[tokio::test]
async fn nothing_after_a_chunked_body_is_read_as_a_request() {
    let (backend, gateway) = pair().await;
    let key = gateway.key();
    let body = canned::chat("hi").to_string();
    let second = format!("GET /v1/models HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n\r\n", key.secret);
    for end in ["0\r\n\r\n", "\r\n"] {
        let before = backend.request_count();
        let mut client = gateway.client().await;
        let answer = client.exchange(chunked(key, format!("{:x}\r\n{body}\r\n{end}{second}", body.len()))).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(backend.request_count(), before + 1, "only the first is served");
        assert!(client.closed().await.is_empty(), "nothing else is answered");
    }
}

#[tokio::test]
async fn trailers_are_dropped() {
    let (backend, gateway) = pair().await;
    let body = canned::chat("hi").to_string();
    let bytes = chunked(
        gateway.key(),
        format!("{:x}\r\n{body}\r\n0\r\nauthorization: Bearer trailer\r\ncontent-length: 1\r\nx-trailer: trailer\r\n\r\n", body.len()),
    );
    let answer = gateway.client().await.exchange(bytes).await;
    match answer.status() {
        200 => assert!(!backend.last_request().contains("trailer")),
        status => answer.assert_error(status, &answer.error_code()),
    }
}

#[tokio::test]
async fn bodies_where_none_belongs_and_none_where_one_must_be() {
    let (backend, gateway) = pair().await;
    let sound = sound(gateway.key());
    let cases: Vec<Case> = vec![
        ("H17 GET with a body".into(), sound.clone().start("GET /v1/models HTTP/1.1").bytes(), &[400]),
        (
            "H17 GET with chunks".into(),
            sound
                .clone()
                .start("GET /v1/models HTTP/1.1")
                .replace("content-length", "transfer-encoding: chunked")
                .body("0\r\n\r\n")
                .bytes(),
            &[400],
        ),
        ("H17 POST without a length".into(), sound.clone().without("content-length").body("").bytes(), &[411]),
        ("E1 gzip".into(), sound.clone().line("content-encoding: gzip").bytes(), &[415]),
        ("E6 utf-16".into(), sound.clone().replace("content-type", "content-type: application/json; charset=utf-16").bytes(), &[415]),
    ];
    all_refused(&backend, &gateway, cases).await;
}

#[tokio::test]
async fn a_continue_is_sent_only_to_a_caller_whose_head_is_sound() {
    let (backend, gateway) = pair().await;
    let sound = sound(gateway.key()).line("expect: 100-continue");
    let body = canned::chat("hi").to_string();

    let mut client = gateway.client().await;
    client.send(sound.head_bytes()).await;
    assert_eq!(client.head().await.status, 100);
    assert_eq!(backend.connection_count(), 0, "the backend is not asked before the prompt is there");
    client.send(&body).await;
    assert_eq!(client.answer().await.status(), 200);
    assert_eq!(backend.last_request().header("expect"), None);

    for (what, request, status) in [
        ("a stranger", Request::chat(&Key::named("stranger"), &canned::chat("hi")).line("expect: 100-continue"), 401),
        ("too large a body", sound.clone().replace("content-length", &format!("content-length: {}", BODY_BYTES + 1)), 413),
        ("no such route", sound.clone().start("POST /v1/nothing HTTP/1.1"), 404),
        ("another expectation", sound.clone().replace("expect", "expect: a-miracle"), 400),
    ] {
        let mut client = gateway.client().await;
        client.send(request.head_bytes()).await;
        assert_eq!(client.head().await.status, status, "H18 {what}");
    }
    assert_eq!(backend.request_count(), 1);
}

#[tokio::test]
async fn a_body_promised_and_never_sent_ends_at_the_deadline() {
    let backend = Backend::start().await;
    let gateway = Setup::before(&backend).set("timeouts.body", "300ms").start().await;
    let sound = sound(gateway.key());
    for request in
        [sound.clone().line("expect: 100-continue"), sound.clone(), sound.clone().replace("content-length", "transfer-encoding: chunked")]
    {
        let mut client = gateway.client().await;
        let begun = Instant::now();
        client.send(request.head_bytes()).await;
        client.send(if request.head_bytes().ends_with(b"chunked\r\n\r\n") { &b"1\r\n{"[..] } else { b"" }).await;
        let answer = client.answer().await;
        answer.assert_error(408, "body_timeout");
        assert!(begun.elapsed() < Duration::from_secs(5), "after {:?}", begun.elapsed());
        client.closed().await;
        assert_eq!(gateway.trail().answered(answer.head.request_id()).await.len(), 1);
    }
    assert_eq!(backend.connection_count(), 0);
}

#[tokio::test]
async fn slow_heads_are_closed_at_the_deadline_and_others_are_served_meanwhile() {
    let backend = Backend::start().await;
    let gateway = Setup::before(&backend).set("timeouts.head", "500ms").start().await;
    let head = sound(gateway.key()).head_bytes();
    let begun = Instant::now();
    let mut slow = Vec::new();
    for at in 0..50 {
        let mut client = gateway.client().await;
        client.send(&head[..at * (head.len() - 3) / 50]).await;
        slow.push(client);
    }
    assert_eq!(gateway.say("hi").await.status(), 200);
    for (at, client) in slow.iter_mut().enumerate() {
        let rest = client.closed().await;
        assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 408 "), "L1 {at}: {}", String::from_utf8_lossy(&rest));
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "after {:?}", begun.elapsed());
    assert_eq!(backend.request_count(), 1);
}

#[tokio::test]
async fn heads_at_the_limit_pass_and_one_over_does_not() {
    let (backend, gateway) = pair().await;
    let sound = sound(gateway.key());
    // host, authorization, content-type, content-length stand already
    let fields = |n: usize| (0..n - 4).fold(sound.clone(), |request, _| request.line("x-a: b"));
    let filled = |n: usize| {
        let bare = sound.clone().line("x-a: ").head_bytes().len();
        sound.clone().line(&format!("x-a: {}", "b".repeat(n - bare)))
    };
    assert_eq!(gateway.exchange(&fields(HEAD_FIELDS)).await.status(), 200);
    assert_eq!(gateway.exchange(&filled(HEAD_BYTES)).await.status(), 200);
    assert_eq!(backend.request_count(), 2);
    let backend = Backend::start().await;
    let cases: Vec<Case> = vec![
        ("L5 one field over".into(), fields(HEAD_FIELDS + 1).bytes(), &[431]),
        ("L5 200 fields".into(), fields(200).bytes(), &[431]),
        ("L5 one byte over".into(), filled(HEAD_BYTES + 1).bytes(), &[431]),
        ("L5 1 MB".into(), filled(1 << 20).bytes(), &[431]),
    ];
    all_refused(&backend, &gateway, cases).await;
}

#[tokio::test]
async fn bodies_at_the_limit_pass_and_one_over_is_refused_from_its_head() {
    let (backend, gateway) = pair().await;
    let key = gateway.key();
    let padded = |bytes: usize| {
        let bare = canned::chat("").to_string().len();
        canned::chat(&"a".repeat(bytes - bare)).to_string()
    };
    let answer = gateway.exchange(&Request::post_bytes(key, "/v1/chat/completions", padded(BODY_BYTES))).await;
    assert_eq!(answer.status(), 200, "L7 at the limit: {}", answer.text());
    gateway.exchange(&Request::post_bytes(key, "/v1/chat/completions", "")).await.assert_error(400, "invalid_request");
    let before = gateway.resident_bytes();
    for length in [BODY_BYTES + 1, 10_000_000_000] {
        let mut client = gateway.client().await;
        client.send(sound(key).replace("content-length", &format!("content-length: {length}")).head_bytes()).await;
        client.answer().await.assert_error(413, "body_too_large");
    }
    let mut client = gateway.client().await;
    client.send(chunked(key, "")).await;
    let megabyte = format!("{:x}\r\n{}\r\n", 1 << 20, "a".repeat(1 << 20));
    for _ in 0..8 {
        client.send(&megabyte).await;
    }
    let head = client.try_head().await;
    assert!(head.is_none_or(|head| head.status == 413), "L7 chunks without end");
    assert!(gateway.resident_bytes() < before + (16 << 20), "L7 memory grew from {before} to {}", gateway.resident_bytes());
    assert_eq!(backend.request_count(), 1);
}
