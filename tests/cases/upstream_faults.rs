//! Backends that fail: the caller gets a clear 502 or 504 in time, the record is whole, and nothing unscreened comes through.
#![allow(clippy::expect_used, clippy::panic, reason = "test code")]

use std::net::TcpListener;
use std::time::{Duration, Instant};

use harness::{Backend, Gate, Gateway, Request, Script, Setup, Welcome, canned};
use serde_json::json;

/// How long after the client has left its upstream call may still run.
const CANCEL_WITHIN: Duration = Duration::from_millis(250);

async fn pair() -> (Backend, Gateway) {
    let backend = Backend::start().await;
    let setup = Setup::before(&backend).set("timeouts.connect", "500ms").set("timeouts.first_byte", "700ms").set("timeouts.idle", "500ms");
    (backend, setup.start().await)
}

/// One chat request against `script`: the status wanted, and a whole record that does not say `ok`.
async fn fails(backend: &Backend, gateway: &Gateway, what: &str, script: Script, status: u16, code: &str) {
    let before = backend.request_count();
    backend.once(script);
    let answer = gateway.say("hi").await;
    assert_eq!(answer.status(), status, "{what}: {}", answer.text());
    answer.assert_error(status, code);
    assert!(
        !answer.text().contains("127.0.0.1") && !answer.text().contains(&backend.address().port().to_string()),
        "{what}: {}",
        answer.text()
    );
    assert_eq!(backend.request_count(), before + 1, "{what}: the backend executed it more than once");
    let (_, completion) = gateway.trail().whole(answer.head.request_id()).await;
    assert!(!completion.outcome.is_empty() && completion.outcome != "ok", "{what}: {completion:#?}");
    assert_eq!(completion.status, Some(status), "{what}");
}

#[tokio::test]
async fn a_backend_that_cannot_be_reached_is_502_or_504_in_time() {
    let port = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("its address").port();
    for (what, url, statuses) in [
        ("U1 refused", format!("http://127.0.0.1:{port}"), &[502][..]),
        // TEST-NET-1 of RFC 5737: nothing answers there, or the host says at once that it has no route.
        ("U1 silence", "http://192.0.2.1:9".to_owned(), &[502, 504]),
        ("U1 no such name", "http://no-such-name.invalid:80".to_owned(), &[502, 504]),
        // The plain backend takes the handshake for the start of a head and waits for its end.
        ("U1 TLS to a plain port", String::new(), &[502, 504]),
    ] {
        let plain = Backend::start().await;
        let url = if url.is_empty() { plain.url().replace("http:", "https:") } else { url };
        let gateway = Setup::with_upstream(&url).set("timeouts.connect", "500ms").start().await;
        let begun = Instant::now();
        let answer = gateway.say("hi").await;
        assert!(statuses.contains(&answer.status()), "{what}: {} {}", answer.status(), answer.text());
        answer.assert_error(answer.status(), if answer.status() == 502 { "upstream_error" } else { "upstream_timeout" });
        assert!(begun.elapsed() < Duration::from_secs(8), "{what}: after {:?}", begun.elapsed());
        let (_, completion) = gateway.trail().whole(answer.head.request_id()).await;
        assert_ne!(completion.outcome, "ok", "{what}");
    }
}

#[tokio::test]
async fn a_connection_closed_before_a_request_is_502() {
    let (backend, gateway) = pair().await;
    for welcome in [Welcome::Close, Welcome::Reset] {
        backend.welcome(welcome);
        gateway.say("hi").await.assert_error(502, "upstream_error");
    }
    backend.welcome(Welcome::Serve);
    assert_eq!(gateway.say("hi").await.status(), 200);
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_504() {
    let (backend, gateway) = pair().await;
    fails(&backend, &gateway, "U2 no head", Script::new().hang(), 504, "upstream_timeout").await;
    fails(&backend, &gateway, "U2 half a head", Script::new().write("HTTP/1.1 200 OK\r\ncontent-").hang(), 504, "upstream_timeout").await;
    let half = Script::new().head(200, &[("content-type", "application/json"), ("content-length", "100")]).write("{\"id\":");
    fails(&backend, &gateway, "U3 half a body", half.hang(), 504, "upstream_timeout").await;
    assert_eq!(gateway.say("hi").await.status(), 200);
}

#[tokio::test]
async fn an_answer_cut_short_or_broken_is_502() {
    let (backend, gateway) = pair().await;
    let json = [("content-type", "application/json")];
    let body = canned::chat_completion("ok").to_string();
    let with_length = |length: usize| Script::new().head(200, &[json[0], ("content-length", &length.to_string())]);
    let chunked = || Script::new().head(200, &[json[0], ("transfer-encoding", "chunked")]);
    for (what, script) in [
        ("U4 closed after the request", Script::new().close()),
        ("U4 reset after the request", Script::new().reset()),
        ("U4 closed in the head", Script::new().write("HTTP/1.1 200 OK\r\ncontent-").close()),
        ("U4 length too long", with_length(body.len() + 5).write(body.as_str()).close()),
        ("U4 length too short", with_length(body.len() - 5).write(body.as_str()).close()),
        ("U4 reset in the body", with_length(body.len()).write(&body.as_bytes()[..9]).reset()),
        ("U4 bad chunk", chunked().write("zz\r\n{}\r\n0\r\n\r\n").close()),
        ("U4 chunks without an end", chunked().chunk(&body).close()),
        ("U4 not HTTP", Script::new().write("SSH-2.0-OpenSSH_9.2\r\n").close()),
        ("not JSON", Script::answer(200, &json, "{\"choices\":[")),
        ("JSON of another shape", Script::answer(200, &json, "[\"jane.doe@example.org\"]")),
        (
            "a duplicate key",
            Script::answer(200, &json, body.replacen("\"content\":", "\"content\":\"jane.doe@example.org\",\"content\":", 1)),
        ),
        ("U7 204 with a body", Script::answer(204, &[], "")),
        ("U7 304", Script::answer(304, &[], "")),
        ("U7 to the metadata service", Script::answer(302, &[("location", "http://169.254.169.254/latest/meta-data")], "")),
        ("U7 to itself", Script::answer(307, &[("location", "/v1/chat/completions")], "")),
        (
            "U9 a split head",
            Script::new().write(format!("HTTP/1.1 200 OK\r\nx-a: b\rc\r\ncontent-length: {}\r\n\r\n{body}", body.len())).close(),
        ),
        ("an error of its own", Script::json_status(500, &json!({"error": {"message": "backend stack trace jane.doe@example.org"}}))),
        (
            "its refusal of our credential",
            Script::json_status(401, &json!({"error": {"message": "Incorrect API key provided: sk-backend"}})),
        ),
    ] {
        fails(&backend, &gateway, what, script, 502, "upstream_error").await;
    }
    assert_eq!(gateway.say("hi").await.status(), 200);
}

#[tokio::test]
async fn a_broken_connection_is_not_used_again() {
    let (backend, gateway) = pair().await;
    let body = canned::chat_completion("ok").to_string();
    let smuggled = format!(
        "{body}HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{}",
        canned::chat_completion("smuggled").to_string().len(),
        canned::chat_completion("smuggled")
    );
    let length = body.len().to_string();
    backend.once(Script::new().head(200, &[("content-type", "application/json"), ("content-length", &length)]).write(smuggled));
    drop(gateway.say("first").await);
    assert_eq!(gateway.say("second").await.content(), "Fine, thanks.");
}

#[tokio::test]
async fn a_huge_answer_is_502_and_costs_no_memory() {
    let backend = Backend::start().await;
    let gateway = Setup::before(&backend).set("limits.response_bytes", 1 << 20).start().await;
    let fields = (0..1000).fold(String::new(), |head, n| format!("{head}x-h{n}: {}\r\n", "a".repeat(20)));
    let line = "a".repeat(1 << 20);
    let body = canned::chat_completion("ok").to_string();
    let json = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    for (what, script) in [
        ("U8 1000 fields", Script::new().write(format!("{json}{fields}content-length: {}\r\n\r\n{body}", body.len()))),
        ("U8 a field of 1 MB", Script::new().write(format!("{json}x-a: {line}\r\ncontent-length: {}\r\n\r\n{body}", body.len()))),
        ("a body over the limit", Script::json(&canned::chat_completion(&"a".repeat(2 << 20)))),
        (
            "a body over the limit in chunks",
            (0..64)
                .fold(Script::new().head(200, &[("content-type", "application/json"), ("transfer-encoding", "chunked")]), |script, _| {
                    script.chunk("b".repeat(65_536))
                })
                .last_chunk(),
        ),
    ] {
        let before = gateway.resident_bytes();
        fails(&backend, &gateway, what, script, 502, "upstream_error").await;
        assert!(gateway.resident_bytes() < before + (24 << 20), "{what}: memory grew from {before} to {}", gateway.resident_bytes());
    }
}

#[tokio::test]
async fn a_compressed_answer_is_never_passed_unread() {
    let (backend, gateway) = pair().await;
    // {"a":1} in gzip
    let gzip = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 3, 0xab, 0x56, 0x4a, 0x54, 0xb2, 0x32, 0xac, 5, 0, 0xf1, 0x69, 0x9d, 0xaf, 7, 0, 0, 0];
    for coding in ["gzip", "br", "zstd", "deflate", "unheard-of"] {
        let script = Script::answer(200, &[("content-type", "application/json"), ("content-encoding", coding)], gzip);
        fails(&backend, &gateway, coding, script, 502, "upstream_error").await;
    }
    // The body is plain although the head says otherwise: a client would not read what was screened.
    let script = Script::answer(
        200,
        &[("content-type", "application/json"), ("content-encoding", "gzip")],
        canned::chat_completion("ok").to_string(),
    );
    fails(&backend, &gateway, "a lying coding", script, 502, "upstream_error").await;
}

#[tokio::test]
async fn interim_answers_are_read_over() {
    let (backend, gateway) = pair().await;
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </backend>\r\n\r\n";
    backend.once(Script::new().write(interim).then(Script::json(&canned::chat_completion("after"))));
    assert_eq!(gateway.say("hi").await.content(), "after");
    backend.once(Script::new().write(interim).then(Script::event_stream(canned::stream_of(&["after"]))));
    assert_eq!(gateway.say_streamed("hi").await.content(), "after");
    let endless = Script::new().write("HTTP/1.1 100 Continue\r\n\r\n".repeat(10_000)).hang();
    backend.once(endless);
    let answer = gateway.say("hi").await;
    assert!([502, 504].contains(&answer.status()), "{}", answer.text());
}

#[tokio::test]
async fn the_backends_own_limit_is_passed_on_and_its_wait_is_capped() {
    let (backend, gateway) = pair().await;
    let body = json!({"error": {"message": "backend's words", "type": "x", "code": "y", "param": null}}).to_string();
    for (value, expected) in
        [(Some("7"), Some(7)), (Some("99999999999"), None), (Some("-5"), None), (Some("Wed, 21 Oct 2099 07:28:00 GMT"), None), (None, None)]
    {
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(value.map(|value| ("retry-after", value)));
        backend.once(Script::answer(429, &headers, &body));
        let answer = gateway.say("hi").await;
        assert_eq!(answer.status(), 429, "{}", answer.text());
        assert!(!answer.text().contains("backend's words"), "{}", answer.text());
        assert_eq!(answer.head.header("x-portcullis-limit"), None, "it is not ours");
        let wait: Option<u64> = answer.head.header("retry-after").map(|text| text.parse().expect("seconds"));
        assert!(wait.is_none_or(|seconds| (1..=3600).contains(&seconds)), "retry-after {value:?} became {wait:?}");
        if expected.is_some() {
            assert_eq!(wait, expected);
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_while_waiting_cancels_the_backend_at_once() {
    let backend = Backend::start().await;
    let gateway = Setup::before(&backend).start().await;
    let never = Gate::new();
    backend.always(Script::new().wait(&never));
    for (round, stream, reset) in [(1, false, false), (2, false, true), (3, true, false), (4, true, true)] {
        let mut client = gateway.client().await;
        let body = if stream { canned::chat_stream("hi") } else { canned::chat("hi") };
        client.send(Request::chat(gateway.key(), &body).bytes()).await;
        let request = backend.request(round).await;
        let left = Instant::now();
        if reset {
            client.reset()
        } else {
            drop(client)
        }
        let closed = backend.closed(&request).await;
        assert!(closed.duration_since(left) < CANCEL_WITHIN, "round {round}: after {:?}", closed.duration_since(left));
        let completion = gateway.trail().completions(round).await.pop().expect("a completion");
        assert_eq!(completion.outcome, "client_gone", "round {round}");
    }
}

#[tokio::test]
async fn an_idle_connection_the_backend_has_closed_costs_no_request() {
    let (backend, gateway) = pair().await;
    for round in 0..5 {
        backend.once(Script::json(&canned::chat_completion("ok")).close());
        let answer = gateway.say("hi").await;
        assert_eq!(answer.status(), 200, "U11 round {round}: {}", answer.text());
    }
    assert_eq!(backend.request_count(), 5);
}
