//! Streams that break: they end in an error event and never in `[DONE]`, and what came is screened or refused as what it is.
#![allow(clippy::expect_used, clippy::panic, reason = "test code")]

use std::time::{Duration, Instant};

use harness::{Backend, Ending, Gate, Gateway, Request, Script, Setup, canned};
use serde_json::json;

const TEXT: &str = "card 4111 1111 1111 1111, mail jane.doe@example.org";

async fn pair() -> (Backend, Gateway) {
    let backend = Backend::start().await;
    let gateway = Setup::before(&backend).start().await;
    (backend, gateway)
}

/// An event as another provider's API sends it.
fn foreign(text: &str) -> [Vec<u8>; 2] {
    let body = json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}});
    [b"event: content_block_delta\n".to_vec(), canned::event(&body)]
}

/// Streams that end in an error event and never in `[DONE]`, whatever was sent before.
#[tokio::test]
async fn broken_streams_end_in_an_error_event() {
    let backend = Backend::start().await;
    let gateway = Setup::before(&backend).set("limits.sse_event_bytes", 65_536).set("timeouts.idle", "500ms").start().await;
    let good = canned::event(&canned::chunk(0, json!({"content": "Fine. "}), None));
    let big = canned::event(&canned::chunk(0, json!({"content": "a".repeat(70_000)}), None));
    let head = || Script::event_stream_head().chunk(&good);
    let mut wrong = Vec::new();
    for (what, script) in [
        ("S3 an event over the limit", head().chunk(&big).chunk(canned::done()).last_chunk()),
        ("S3 an event that never ends", big[..69_000].chunks(1000).fold(head(), Script::chunk).hang()),
        ("S9 malformed JSON", head().chunk(b"data: {\"choices\":[\n\n").chunk(canned::done()).last_chunk()),
        ("S9 JSON of another shape", head().chunk(b"data: [1,2]\n\n").chunk(canned::done()).last_chunk()),
        ("S9 no [DONE]", head().last_chunk()),
        ("S9 an event cut short", head().chunk(&good[..good.len() - 9]).last_chunk()),
        (
            "S11 another provider's events",
            foreign("jane.doe@exam").into_iter().chain(foreign("ple.org")).fold(head(), Script::chunk).chunk(canned::done()).last_chunk(),
        ),
        (
            "S4 invalid UTF-8",
            head().chunk(b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\xff\"}}]}\n\n").chunk(canned::done()).last_chunk(),
        ),
        (
            "S9 the backend's own error",
            head().chunk(b"data: {\"error\":{\"message\":\"backend jane.doe@example.org at 10.0.0.7\"}}\n\n").last_chunk(),
        ),
        ("U3 a stall", head().hang()),
        ("U4 a reset", head().reset()),
        ("U4 a close before the last chunk", head().close()),
        ("U4 a broken chunk", head().write("zz\r\nnonsense").close()),
    ] {
        backend.once(script);
        let mut client = gateway.client().await;
        client.send(Request::chat(gateway.key(), &canned::chat_stream("hi")).bytes()).await;
        let head = client.head().await;
        if head.status != 200 {
            wrong.push(format!("{what}: status {}", head.status));
            continue;
        }
        let answer = client.streamed().await;
        if answer.has_done() || answer.error().is_none() {
            wrong.push(format!("{what}: {:?}", answer.events));
        }
        if answer
            .events
            .iter()
            .any(|event| event.data.contains("jane.doe") || event.data.contains("10.0.0.7") || event.data.contains("aaaaaaaaaa"))
        {
            wrong.push(format!("{what}: passed on {:?}", answer.events));
        }
        let (_, completion) = gateway.trail().whole(head.request_id()).await;
        if completion.outcome == "ok" || completion.outcome.is_empty() {
            wrong.push(format!("{what}: outcome {:?}", completion.outcome));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(gateway.say("still there").await.status(), 200);
}

#[tokio::test]
async fn bytes_after_the_end_are_dropped() {
    let (backend, gateway) = pair().await;
    let after = canned::event(&canned::chunk(0, json!({"content": "AFTER jane.doe@example.org"}), None));
    let mut events = canned::stream_of(&["Fine."]);
    events.extend([after, canned::done()]);
    backend.once(Script::event_stream([events.concat()]));
    let answer = gateway.say_streamed("hi").await;
    assert_eq!(answer.content(), "Fine.");
    assert_eq!(answer.events.iter().filter(|event| event.is_done()).count(), 1);
    assert_eq!(answer.ending, Ending::Complete);
}

#[tokio::test]
async fn an_answer_of_the_wrong_kind_is_screened_as_what_it_is_or_refused() {
    let (backend, gateway) = pair().await;
    let stream = canned::stream_of(&[TEXT]).concat();
    for (what, request, script) in [
        ("S10 JSON to a stream", canned::chat_stream("hi"), Script::json(&canned::chat_completion(TEXT))),
        ("S10 a stream to JSON", canned::chat("hi"), Script::event_stream([stream])),
        ("S10 HTML", canned::chat("hi"), Script::answer(200, &[("content-type", "text/html")], format!("<p>{TEXT}</p>"))),
        (
            "S10 HTML to a stream",
            canned::chat_stream("hi"),
            Script::answer(200, &[("content-type", "text/html")], format!("<p>{TEXT}</p>")),
        ),
        ("S10 no type", canned::chat_stream("hi"), Script::answer(200, &[], canned::chat_completion(TEXT).to_string())),
    ] {
        backend.once(script);
        let answer = gateway.chat(&request).await;
        let text = answer.text();
        assert!(!text.contains("4111") && !text.contains("jane.doe"), "{what} passed unscreened: {text}");
        match answer.status() {
            200 => assert!(text.contains("[CREDIT_CARD]"), "{what}: {text}"),
            status => {
                assert_eq!(status, 502, "{what}: {text}");
                answer.assert_error(502, "upstream_error");
            }
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_mid_stream_cancels_the_backend_at_once() {
    let (backend, gateway) = pair().await;
    let never = Gate::new();
    for (round, reset) in [(1, false), (2, true)] {
        let parts = canned::stream_of(&["Once upon a time. "]);
        backend.once(Script::event_stream_head().chunk(parts[..2].concat()).wait(&never));
        let mut client = gateway.client().await;
        client.send(Request::chat(gateway.key(), &canned::chat_stream("hi")).bytes()).await;
        let head = client.head().await;
        client.event().await.expect("a first event");
        let left = Instant::now();
        if reset {
            client.reset()
        } else {
            drop(client)
        }
        let request = backend.request(round).await;
        let closed = backend.closed(&request).await;
        assert!(closed.duration_since(left) < Duration::from_millis(250), "C1 after {:?}", closed.duration_since(left));
        let (_, completion) = gateway.trail().whole(head.request_id()).await;
        assert_eq!(completion.outcome, "client_gone");
    }
}
