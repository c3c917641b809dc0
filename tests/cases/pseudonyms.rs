//! Pseudonyms: the model sees placeholders, the caller never does, and nobody else's values come out of them.
#![allow(clippy::expect_used, clippy::panic, reason = "test code")]

use harness::{Backend, Gateway, Key, Recorded, Request, Script, Setup, canned};
use portcullis_audit::Decision;
use serde_json::{Value, json};

const POLICY: &str = "name: harness
packs: [pack.yaml]
store_redacted_text: true
actions:
  request:  { pii: pseudonymize, secret: redact, sensitive: block }
  response: { pii: redact, secret: redact, sensitive: block }
";
const ADA: &str = "ada@example.org";
const BOB: &str = "bob@example.org";

async fn pair() -> (Backend, Gateway) {
    let backend = Backend::start().await;
    let gateway = Setup::before(&backend).policy(POLICY).start().await;
    (backend, gateway)
}

fn user(text: &str) -> Value {
    json!({"role": "user", "content": text})
}

fn chat(messages: &[Value]) -> Value {
    json!({"model": "small-chat", "messages": messages})
}

/// What the backend was told last, message by message.
fn told(backend: &Backend) -> Vec<String> {
    let request = backend.last_request().json();
    let messages = request["messages"].as_array().expect("messages");
    messages.iter().map(|message| message["content"].as_str().unwrap_or_default().to_owned()).collect()
}

/// A backend that says what it was told last, in a stream cut everywhere when a stream is asked for.
fn parrot(request: &Recorded) -> Script {
    let body = request.json();
    let last = body["messages"].as_array().and_then(|messages| messages.last()).expect("a message");
    let text = last["content"].as_str().expect("a text").to_owned();
    if body["stream"] == json!(true) {
        let letters: Vec<String> = text.chars().map(String::from).collect();
        return Script::event_stream(canned::stream_of(&letters));
    }
    Script::json(&canned::chat_completion(&text))
}

#[tokio::test]
async fn what_the_caller_sent_comes_back_whole_and_streamed() {
    let (backend, gateway) = pair().await;
    backend.responds(parrot);
    let text = format!("From {ADA} to {BOB}, again {ADA}; tok_0123456789abcdef <EMAIL_ADDRESS_7> 中文");
    let sent = "From <EMAIL_ADDRESS_1> to <EMAIL_ADDRESS_2>, again <EMAIL_ADDRESS_1>; [HARNESS_TOKEN] <EMAIL_ADDRESS_7> 中文";
    let back = text.replace("tok_0123456789abcdef", "[HARNESS_TOKEN]");
    let answer = gateway.say(&text).await;
    assert_eq!((answer.status(), answer.content()), (200, back.clone()));
    assert_eq!(told(&backend), [sent]);
    let streamed = gateway.say_streamed(&text).await;
    assert!(streamed.is_done());
    assert_eq!(streamed.content(), back);
    assert!(!backend.requests().iter().any(|request| request.contains(ADA) || request.contains(BOB)));
    let (decision, completion) = gateway.trail().whole(answer.head.request_id()).await;
    assert_eq!(decision.decision, Some(Decision::Redact), "the stronger of the two");
    let actions: Vec<Decision> = decision.findings.iter().map(|finding| finding.action).collect();
    assert_eq!(actions, [Decision::Pseudonymize, Decision::Redact]);
    // The record has what left the building and what the model said.
    assert!(!decision.redacted_prompt.expect("a prompt on record").contains(ADA));
    assert_eq!(completion.redacted_answer.as_deref(), Some(sent));
    let completions = gateway.trail().completions(2).await;
    assert_eq!(completions[1].redacted_answer.as_deref(), Some(sent));
    assert!(gateway.files_holding(ADA).is_empty());
    let metrics = gateway.metrics().await;
    assert!(metrics.sum("portcullis_pseudonyms_issued_total", &[]) >= 4.0);
    assert!(metrics.sum("portcullis_pseudonyms_restored_total", &[]) >= 6.0);
    assert!(metrics.sum("portcullis_vault_conversations", &[]) >= 1.0);
}

#[tokio::test]
async fn a_stream_cut_anywhere_is_restored_alike() {
    let (backend, gateway) = pair().await;
    let mut client = gateway.client().await;
    let said = "Hi <EMAIL_ADDRESS_1>, <EMAIL_ADDRESS_2> and <EMAIL_ADDRESS_9> <EMAIL";
    let expected = format!("Hi {ADA}, {BOB} and <EMAIL_ADDRESS_9> <EMAIL");
    let request = Request::chat(gateway.key(), &canned::chat_stream(&format!("{ADA} {BOB}")));
    for cut in 0..=said.len() {
        backend.once(Script::event_stream(canned::stream_of(&[&said[..cut], &said[cut..]])));
        let answer = client.exchange_stream(request.bytes()).await;
        assert_eq!(answer.content(), expected, "cut at {cut}");
    }
}

#[tokio::test]
async fn arguments_of_tool_calls_are_restored_and_stay_json() {
    let (backend, gateway) = pair().await;
    let arguments = r#"{"to":"<EMAIL_ADDRESS_1>","cc":["\u003cEMAIL_ADDRESS_2\u003e"],"n":"a\n<EMAIL_ADDRESS_3>"}"#;
    let expected = json!({"to": ADA, "cc": [BOB], "n": "a\n<EMAIL_ADDRESS_3>"});
    let call = |text: &str| json!({"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": {"name": "send", "arguments": text}}]});
    backend.once(Script::json(&canned::chat_completion_of(vec![
        json!({"index": 0, "finish_reason": "tool_calls", "message": {"role": "assistant", "content": null, "tool_calls": call(arguments)["tool_calls"]}}),
    ])));
    let text = format!("write to {ADA} and {BOB}");
    let answer = gateway.say(&text).await.json();
    let restored = answer["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"].as_str().expect("arguments").to_owned();
    assert_eq!(serde_json::from_str::<Value>(&restored).expect("JSON"), expected);
    let mut client = gateway.client().await;
    let delta = |text: &str| canned::event(&canned::chunk(0, json!({"tool_calls": [{"index": 0, "function": {"arguments": text}}]}), None));
    for cut in 0..=arguments.len() {
        let end = canned::event(&canned::chunk(0, json!({}), Some("tool_calls")));
        backend.once(Script::event_stream([delta(&arguments[..cut]), delta(&arguments[cut..]), end, canned::done()]));
        let answer = client.exchange_stream(Request::chat(gateway.key(), &canned::chat_stream(&text)).bytes()).await;
        let restored = answer.tool_arguments().remove(&(0, 0)).unwrap_or_default();
        assert_eq!(serde_json::from_str::<Value>(&restored).ok(), Some(expected.clone()), "cut at {cut}: {restored}");
    }
    // The next request brings the call back as the caller saw it.
    let history = [
        user(&text),
        json!({"role": "assistant", "content": null, "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "send", "arguments": format!("{{\"to\":\"{ADA}\"}}")}}]}),
        json!({"role": "tool", "tool_call_id": "call_1", "content": format!("{{\"sent\":\"{BOB}\"}}")}),
    ];
    assert_eq!(gateway.chat(&chat(&history)).await.status(), 200);
    let request = backend.last_request().json();
    assert_eq!(request["messages"][1]["tool_calls"][0]["function"]["arguments"], "{\"to\":\"<EMAIL_ADDRESS_1>\"}");
    assert_eq!(request["messages"][2]["content"], "{\"sent\":\"<EMAIL_ADDRESS_2>\"}");
}

#[tokio::test]
async fn a_value_keeps_its_number_in_its_conversation_and_only_there() {
    let backend = Backend::start().await;
    let keys = [Key::named("demo"), Key::named("other")];
    let gateway = Setup::before(&backend).policy(POLICY).keys(&keys).start().await;
    let first = user("Please help me with two letters.");
    gateway.chat(&chat(&[first.clone(), user(&format!("{ADA} and {BOB}"))])).await;
    assert_eq!(told(&backend)[1], "<EMAIL_ADDRESS_1> and <EMAIL_ADDRESS_2>");
    // The middle of the conversation is left out.
    gateway.chat(&chat(&[first.clone(), user(&format!("now {BOB}, then new@example.org"))])).await;
    assert_eq!(told(&backend)[1], "now <EMAIL_ADDRESS_2>, then <EMAIL_ADDRESS_3>");
    // Another beginning, another key, another session: other numbers.
    gateway.chat(&chat(&[user("Something else."), user(BOB)])).await;
    assert_eq!(told(&backend)[1], "<EMAIL_ADDRESS_1>");
    gateway.exchange(&Request::chat(&keys[1], &chat(&[first.clone(), user(BOB)]))).await;
    assert_eq!(told(&backend)[1], "<EMAIL_ADDRESS_1>");
    let session = |name: &str, text: &str| json!({"model": "small-chat", "messages": [user(text)], "metadata": {"session_id": name}});
    gateway.chat(&session("s1", ADA)).await;
    gateway.chat(&session("s1", BOB)).await;
    assert_eq!(told(&backend), ["<EMAIL_ADDRESS_2>"]);
    gateway.chat(&session("s2", BOB)).await;
    assert_eq!(told(&backend), ["<EMAIL_ADDRESS_1>"]);
}

#[tokio::test]
async fn only_what_was_issued_for_this_request_is_put_back() {
    let (backend, gateway) = pair().await;
    backend.responds(|_| Script::json(&canned::chat_completion("<EMAIL_ADDRESS_1> <EMAIL_ADDRESS_2>")));
    assert_eq!(gateway.say(ADA).await.content(), format!("{ADA} <EMAIL_ADDRESS_2>"));
    assert_eq!(gateway.say("Who is it?").await.content(), "<EMAIL_ADDRESS_1> <EMAIL_ADDRESS_2>");
    // What the caller wrote himself is his, also where the conversation had given the number to a value.
    let opening = user(ADA);
    assert_eq!(gateway.chat(&chat(&[opening.clone(), user("say <EMAIL_ADDRESS_1>")])).await.content(), format!("<EMAIL_ADDRESS_1> {ADA}"));
    assert_eq!(told(&backend), ["<EMAIL_ADDRESS_2>", "say <EMAIL_ADDRESS_1>"]);
}

#[tokio::test]
async fn the_answers_own_data_is_screened_and_the_callers_is_not() {
    let (backend, gateway) = pair().await;
    let said = "<EMAIL_ADDRESS_1>, eve@example.org, the vault opens";
    for (text, status) in [(said.to_owned(), 200), (format!("{said} at midnight"), 403)] {
        backend.once(Script::json(&canned::chat_completion(&text)));
        let answer = gateway.say(ADA).await;
        assert_eq!(answer.status(), status);
        if status == 200 {
            assert_eq!(answer.content(), format!("{ADA}, [EMAIL_ADDRESS], the vault opens"));
        }
    }
    let events = canned::stream_of(&[said, " at midnight"]);
    backend.once(Script::event_stream(events));
    let streamed = gateway.say_streamed(ADA).await;
    assert_eq!(streamed.content(), format!("{ADA}, [EMAIL_ADDRESS], "));
    assert!(streamed.error().is_some());
}

#[tokio::test]
async fn a_value_where_nothing_can_be_rewritten_is_refused() {
    let (backend, gateway) = pair().await;
    let body = json!({"model": "small-chat", "messages": [user("hi")], "metadata": {"ada@example.org": "x"}});
    gateway.chat(&body).await.assert_error(403, "content_blocked");
    let part = |text: &str| json!({"type": "text", "text": text});
    let body = chat(&[json!({"role": "user", "content": [part("ada@exam"), part("ple.org")]})]);
    gateway.chat(&body).await.assert_error(403, "content_blocked");
    assert_eq!(backend.request_count(), 0);
}
