//! Streamed answers: the client sees the same screened text however the backend cut the stream, and nothing after a block.
#![allow(clippy::expect_used, clippy::panic, reason = "test code")]

use std::time::Duration;

use harness::{Backend, Client, Ending, Gate, Gateway, Request, Script, Setup, Streamed, canned, within};
use portcullis_audit::Decision;
use serde_json::{Value, json};

const TEXT: &str =
    "Dear Jane, card 4111 1111 1111 1111, mail <jane.doe@example.org>; 卡号5500-0000-0000-0004。 Bye \u{1f44b} tok_0123456789abcdef!";
const SCREENED: &str = "Dear Jane, card [CREDIT_CARD], mail <[EMAIL_ADDRESS]>; 卡号[CREDIT_CARD]。 Bye \u{1f44b} [HARNESS_TOKEN]!";
const FORBIDDEN: &str = "the vault opens at midnight";

async fn pair() -> (Backend, Gateway) {
    let backend = Backend::start().await;
    let gateway = Setup::before(&backend).start().await;
    (backend, gateway)
}

/// Has the backend answer with `script` and reads the stream on a kept connection.
async fn streamed(backend: &Backend, gateway: &Gateway, client: &mut Client, script: Script) -> Streamed {
    backend.once(script);
    client.exchange_stream(Request::chat(gateway.key(), &canned::chat_stream("hi")).bytes()).await
}

fn cut_at<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    let mut from = 0;
    for &cut in cuts {
        pieces.push(&bytes[from..cut]);
        from = cut;
    }
    pieces.push(&bytes[from..]);
    pieces
}

fn parts_at<'a>(text: &'a str, cuts: &[usize]) -> Vec<&'a str> {
    cut_at(text.as_bytes(), cuts).into_iter().map(|part| std::str::from_utf8(part).expect("cut between characters")).collect()
}

fn boundaries(text: &str) -> Vec<usize> {
    (0..=text.len()).filter(|&at| text.is_char_boundary(at)).collect()
}

/// A small generator of numbers that are the same in every run (xorshift, Marsaglia 2003).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).expect("below a usize")
    }

    fn pair_below(&mut self, bound: usize) -> [usize; 2] {
        let mut pair = [self.below(bound), self.below(bound)];
        pair.sort_unstable();
        pair
    }
}

#[tokio::test]
async fn a_text_cut_into_deltas_anywhere_is_screened_alike() {
    let (backend, gateway) = pair().await;
    let mut client = gateway.client().await;
    let places = boundaries(TEXT);
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let mut cuts: Vec<Vec<usize>> = places.iter().map(|&at| vec![at]).collect();
    cuts.extend((0..150).map(|_| numbers.pair_below(places.len()).map(|index| places[index]).to_vec()));
    cuts.push(places.clone());
    for cut in cuts {
        let parts = parts_at(TEXT, &cut);
        let answer = streamed(&backend, &gateway, &mut client, Script::event_stream(canned::stream_of(&parts))).await;
        assert_eq!(answer.content(), SCREENED, "cut into deltas at {cut:?}");
        assert!(answer.is_done(), "cut into deltas at {cut:?}: {answer:?}");
    }
    // An upstream that takes its time to end a stream loses its connection, so on a busy machine there may be a few.
    assert!(backend.connection_count() < 20, "connections are used again: {}", backend.connection_count());
}

#[tokio::test]
async fn a_stream_cut_into_segments_anywhere_is_screened_alike() {
    let (backend, gateway) = pair().await;
    let mut client = gateway.client().await;
    let bytes = canned::stream_of(&parts_at(TEXT, &[22, 50, 80])).concat();
    let mut numbers = Numbers(0x2545_f491_4f6c_dd1d);
    let mut cuts: Vec<Vec<usize>> = (0..=bytes.len()).map(|at| vec![at]).collect();
    cuts.extend((0..150).map(|_| numbers.pair_below(bytes.len() + 1).to_vec()));
    cuts.push((0..=bytes.len()).collect());
    for cut in cuts {
        let answer = streamed(&backend, &gateway, &mut client, Script::event_stream(cut_at(&bytes, &cut))).await;
        assert_eq!(answer.content(), SCREENED, "cut into segments at {cut:?}");
        assert!(answer.is_done(), "cut into segments at {cut:?}: {answer:?}");
    }
}

#[tokio::test]
async fn the_shipped_policy_screens_a_cut_answer_alike() {
    let backend = Backend::start().await;
    let gateway = Setup::before(&backend).shipped_policy().start().await;
    let mut client = gateway.client().await;
    let text = "Her card is 4111 1111 1111 1111 and her mail jane.doe@example.org, as said.";
    for cut in boundaries(text) {
        let answer = streamed(&backend, &gateway, &mut client, Script::event_stream(canned::stream_of(&parts_at(text, &[cut])))).await;
        assert_eq!(answer.content(), "Her card is [CREDIT_CARD] and her mail [EMAIL_ADDRESS], as said.", "cut at {cut}");
    }
}

#[tokio::test]
async fn a_stream_without_framing_is_read_to_the_close() {
    let (backend, gateway) = pair().await;
    let bytes = canned::stream_of(&[TEXT]).concat();
    let mut client = gateway.client().await;
    let answer = streamed(&backend, &gateway, &mut client, Script::event_stream_until_close(bytes.chunks(9))).await;
    assert_eq!(answer.content(), SCREENED);
    assert!(answer.is_done());
}

#[tokio::test]
async fn every_form_of_line_end_and_field_is_read() {
    let (backend, gateway) = pair().await;
    let mut client = gateway.client().await;
    let plain = String::from_utf8(canned::stream_of(&parts_at(TEXT, &[30, 60])).concat()).expect("UTF-8");
    for (what, bytes) in [
        ("LF", plain.clone()),
        ("CRLF", plain.replace('\n', "\r\n")),
        ("CR", plain.replace('\n', "\r")),
        ("comments", plain.replace("data:", ": keep-alive\n: \ndata:")),
        ("other fields", plain.replace("data:", "event: message\nid: 7\nretry: 10\nunknown: x\ndata:")),
        ("no space", plain.replace("data: ", "data:")),
        ("a byte order mark", format!("\u{feff}{plain}")),
        ("several data lines", plain.replace(",\"choices\"", ",\ndata: \"choices\"")),
        ("blank lines", plain.replace("\n\n", "\n\n\n\n")),
    ] {
        for size in [1, 2, 3, 64, bytes.len()] {
            let answer = streamed(&backend, &gateway, &mut client, Script::event_stream(bytes.as_bytes().chunks(size))).await;
            assert_eq!(answer.content(), SCREENED, "{what} in pieces of {size}");
            assert!(answer.is_done(), "{what} in pieces of {size}");
        }
    }
}

#[tokio::test]
async fn choices_and_tool_calls_are_screened_apart() {
    let (backend, gateway) = pair().await;
    let mut client = gateway.client().await;
    let content = |choice, text: &str| canned::event(&canned::chunk(choice, json!({"content": text}), None));
    let tool = |choice, index: u64, text: &str| {
        canned::event(&canned::chunk(choice, json!({"tool_calls": [{"index": index, "function": {"arguments": text}}]}), None))
    };
    let open = |choice, index: u64| {
        canned::event(&canned::chunk(
            choice,
            json!({"tool_calls": [{"index": index, "id": format!("call_{index}"), "type": "function", "function": {"name": "send", "arguments": ""}}]}),
            None,
        ))
    };
    let end = |choice, reason| canned::event(&canned::chunk(choice, json!({}), Some(reason)));
    let events = [
        open(0, 0),
        open(0, 1),
        content(0, "card 4111 1111 "),
        content(1, "mail jane.doe@"),
        tool(0, 0, "{\"to\":\"jane.d"),
        tool(0, 1, "{\"card\":\"4111 11"),
        content(1, "example.org is"),
        content(0, "1111 1111, yes"),
        tool(0, 1, "11 1111 1111\",\"n\":1}"),
        tool(0, 0, "oe@example.org\",\"s\":\"\\u00e9\\n\"}"),
        end(0, "tool_calls"),
        content(1, " hers"),
        end(1, "stop"),
        canned::done(),
    ];
    let bytes = events.concat();
    for size in [1, 7, bytes.len()] {
        let answer = streamed(&backend, &gateway, &mut client, Script::event_stream(bytes.chunks(size))).await;
        assert_eq!(answer.contents(), [(0, "card [CREDIT_CARD], yes".into()), (1, "mail [EMAIL_ADDRESS] is hers".into())].into());
        let arguments: Vec<Value> =
            answer.tool_arguments().values().map(|text| serde_json::from_str(text).expect("arguments stay JSON")).collect();
        assert_eq!(arguments, [json!({"to": "[EMAIL_ADDRESS]", "s": "\u{e9}\n"}), json!({"card": "[CREDIT_CARD]", "n": 1})]);
        let named = answer.events.iter().filter(|event| event.data.contains("\"send\"")).count();
        assert_eq!(named, 2, "each tool call is named once");
        assert!(answer.is_done());
    }
}

#[tokio::test]
async fn arguments_cut_anywhere_stay_json() {
    let (backend, gateway) = pair().await;
    let mut client = gateway.client().await;
    let arguments = r#"{"to":"jane.doe\u0040example.org","q":"a \"4111 1111 1111 1111\" b\\","e":"\ud83d\ude00"}"#;
    for cut in 0..=arguments.len() {
        let delta =
            |text: &str| canned::event(&canned::chunk(0, json!({"tool_calls": [{"index": 0, "function": {"arguments": text}}]}), None));
        let events = [
            delta(&arguments[..cut]),
            delta(&arguments[cut..]),
            canned::event(&canned::chunk(0, json!({}), Some("tool_calls"))),
            canned::done(),
        ];
        let answer = streamed(&backend, &gateway, &mut client, Script::event_stream(events)).await;
        let text = answer.tool_arguments().remove(&(0, 0)).unwrap_or_default();
        let parsed: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("cut at {cut}: {error}: {text}"));
        assert_eq!(parsed, json!({"to": "[EMAIL_ADDRESS]", "q": "a \"[CREDIT_CARD]\" b\\", "e": "\u{1f600}"}), "cut at {cut}");
    }
}

#[tokio::test]
async fn a_block_in_mid_stream_ends_it_and_is_on_record() {
    let (backend, gateway) = pair().await;
    let never = Gate::new();
    let mut places = boundaries(FORBIDDEN);
    places.push(usize::MAX);
    for place in places {
        let text = format!("Listen: {FORBIDDEN}");
        let parts = if place == usize::MAX { vec![text.clone()] } else { vec![text[..8 + place].to_owned(), text[8 + place..].to_owned()] };
        let events = canned::stream_of(&parts);
        // After the forbidden words the backend goes on, and then waits for ever: only the gateway can end this.
        let mut script = Script::event_stream_head();
        for event in &events[..=parts.len()] {
            script = script.chunk(event);
        }
        backend.once(script.chunk(canned::event(&canned::chunk(0, json!({"content": ". And more."}), None))).wait(&never));
        let count = backend.request_count() + 1;
        let mut client = gateway.client().await;
        client.send(Request::chat(gateway.key(), &canned::chat_stream("hi")).bytes()).await;
        let head = client.head().await;
        let answer = client.streamed().await;
        assert_eq!(answer.content(), "Listen: ", "cut at {place}");
        assert!(!answer.has_done(), "cut at {place}: {answer:?}");
        let error = answer.error().unwrap_or_else(|| panic!("cut at {place}: no error event in {answer:?}"));
        assert_eq!(error["code"], "content_blocked");
        let message = error["message"].as_str().expect("a message");
        assert!(message.contains("HARNESS_FORBIDDEN") && !message.contains("midnight"), "{message}");
        let request = backend.request(count).await;
        backend.closed(&request).await;
        let (decision, completion) = gateway.trail().whole(head.request_id()).await;
        assert_eq!(decision.decision, Some(Decision::Allow));
        assert_eq!((completion.decision, completion.outcome.as_str()), (Some(Decision::Block), "blocked_output"));
        assert!(completion.findings.iter().any(|finding| finding.rule == "HARNESS_FORBIDDEN"), "{completion:#?}");
    }
}

#[tokio::test]
async fn what_can_no_longer_match_is_not_held_back() {
    let (backend, gateway) = pair().await;
    let gate = Gate::new();
    let parts = canned::stream_of(&["Once upon a time. ", "there was a fox."]);
    let script = Script::event_stream_head().chunk(&parts[0]).chunk(&parts[1]).wait(&gate).chunk(parts[2..].concat()).last_chunk();
    backend.once(script);
    let mut client = gateway.client().await;
    client.send(Request::chat(gateway.key(), &canned::chat_stream("hi")).bytes()).await;
    assert_eq!(client.head().await.status, 200);
    let mut seen = String::new();
    within(Duration::from_secs(5), "text before the backend has sent it all", async {
        while !seen.contains("Once upon a") {
            let event = client.event().await.expect("an event");
            seen.push_str(event.json()["choices"][0]["delta"]["content"].as_str().unwrap_or_default());
        }
    })
    .await;
    gate.open();
    let rest = client.streamed().await;
    assert_eq!(seen + &rest.content(), "Once upon a time. there was a fox.");
    assert!(rest.is_done());
}

#[tokio::test]
async fn what_was_held_back_comes_out_before_the_end() {
    let (backend, gateway) = pair().await;
    let mut client = gateway.client().await;
    for text in [
        "write to jane.doe@",
        "card 4111 1111 1111 111",
        "the vault opens at",
        "tok_0123456789abcde",
        "mail jane.doe@example.org",
        "4111 1111 1111 1111",
    ] {
        let expected = text.replace("jane.doe@example.org", "[EMAIL_ADDRESS]").replace("4111 1111 1111 1111", "[CREDIT_CARD]");
        let with_finish = canned::stream_of(&[text]);
        let without_finish = [&with_finish[..2], &with_finish[3..]].concat();
        for events in [with_finish, without_finish] {
            let answer = streamed(&backend, &gateway, &mut client, Script::event_stream(events)).await;
            assert_eq!(answer.content(), expected);
            assert!(answer.is_done(), "{answer:?}");
            let finish = answer.events.iter().position(|event| event.data.contains("\"stop\""));
            let last_text = answer.events.iter().rposition(|event| {
                !event.is_done() && event.json()["choices"][0]["delta"]["content"].as_str().is_some_and(|text| !text.is_empty())
            });
            assert!(finish.is_none_or(|finish| last_text.is_some_and(|text| text <= finish)), "text after the finish reason: {answer:?}");
        }
    }
}

#[tokio::test]
async fn a_finish_reason_on_every_chunk_opens_no_gap() {
    let (backend, gateway) = pair().await;
    for cut in boundaries(TEXT) {
        let mut events: Vec<Vec<u8>> = parts_at(TEXT, &[cut])
            .into_iter()
            .map(|part| canned::event(&canned::chunk(0, json!({"content": part}), Some("stop"))))
            .collect();
        events.push(canned::done());
        backend.once(Script::event_stream(events));
        // Screened as one text, or cut off: never in pieces that are looked at alone.
        let answer = gateway.say_streamed("hi").await;
        let content = answer.content();
        assert!(content == SCREENED || (!answer.has_done() && SCREENED.starts_with(&content)), "cut at {cut}: {content}");
    }
}

#[tokio::test]
async fn every_field_of_a_delta_is_screened_over_its_cuts() {
    let (backend, gateway) = pair().await;
    let mut client = gateway.client().await;
    let mut wrong = Vec::new();
    for (what, delta) in [
        ("content", &(|text: &str| json!({"content": text})) as &dyn Fn(&str) -> Value),
        ("refusal", &|text| json!({"refusal": text})),
        ("reasoning_content", &|text| json!({"reasoning_content": text})),
        ("reasoning", &|text| json!({"reasoning": text})),
        ("an unknown field", &|text| json!({"thinking": text})),
        ("an unknown object", &|text| json!({"thought": {"text": text}})),
        ("the older function call", &|text| json!({"function_call": {"arguments": text}})),
        ("a tool's name", &|text| json!({"tool_calls": [{"index": 0, "function": {"name": text}}]})),
        ("parts", &|text| json!({"content": [{"type": "text", "text": text}]})),
    ] {
        let events = ["jane.do", "e@exam", "ple.org is hers "].map(|text| canned::event(&canned::chunk(0, delta(text), None)));
        let script = events.iter().fold(Script::event_stream_head(), |script, event| script.chunk(event));
        let end = canned::event(&canned::chunk(0, json!({}), Some("stop")));
        backend.once(script.chunk(end).chunk(canned::done()).last_chunk());
        client.send(Request::chat(gateway.key(), &canned::chat_stream("hi")).bytes()).await;
        let head = client.head().await;
        let answer = client.streamed().await;
        let text: String =
            answer.events.iter().filter(|event| !event.is_done()).map(|event| strings(&event.json()["choices"][0]["delta"])).collect();
        if text.contains("jane.doe@example.org") {
            wrong.push(format!("{what}: reached the client in pieces: {text}"));
        }
        if head.status != 200 || answer.ending == Ending::Cut {
            client = gateway.client().await;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// All strings below a value, one after the other.
fn strings(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(strings).collect(),
        Value::Object(fields) => fields.values().map(strings).collect(),
        _ => String::new(),
    }
}

#[tokio::test]
async fn an_older_completion_is_screened_over_its_cuts() {
    let (backend, gateway) = pair().await;
    let mut client = gateway.client().await;
    for cut in boundaries(TEXT) {
        let events: Vec<Vec<u8>> = parts_at(TEXT, &[cut]).into_iter().map(|part| canned::event(&canned::text_chunk(part, None))).collect();
        let end = [canned::event(&canned::text_chunk("", Some("stop"))), canned::done()];
        backend.once(Script::event_stream(events.into_iter().chain(end)));
        let body = json!({"model": "small", "prompt": "hi", "stream": true});
        let answer = client.exchange_stream(Request::post(gateway.key(), "/v1/completions", &body).bytes()).await;
        let text: String = answer
            .events
            .iter()
            .filter(|event| !event.is_done())
            .filter_map(|event| event.json()["choices"][0]["text"].as_str().map(str::to_owned))
            .collect();
        assert_eq!(text, SCREENED, "cut at {cut}");
        assert!(answer.is_done());
    }
}
