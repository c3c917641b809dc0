//! The harness holds to its own word: what the scripted backend is told to send is what a client receives.
#![allow(clippy::expect_used, clippy::panic, reason = "test code")]

use harness::{Backend, ClickHouse, Client, Ending, Gate, Key, Metrics, Request, Script, Welcome, canned};
use serde_json::json;

#[tokio::test]
async fn a_request_is_recorded_and_answered_on_a_kept_connection() {
    let backend = Backend::start().await;
    let key = Key::named("demo");
    let mut client = Client::connect(backend.address()).await;
    for text in ["one", "two"] {
        let answer = client.exchange(Request::chat(&key, &canned::chat(text)).bytes()).await;
        assert_eq!((answer.status(), answer.content().as_str()), (200, "Fine, thanks."));
    }
    let requests = backend.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(backend.connection_count(), 1);
    assert_eq!(requests[1].json()["messages"][0]["content"], "two");
    assert!(requests[0].contains("content-type: application/json"));
    assert!(!backend.is_closed(&requests[1]));
    drop(client);
    backend.closed(&requests[1]).await;
}

#[tokio::test]
async fn a_stream_waits_at_its_gate_and_ends_as_told() {
    let backend = Backend::start().await;
    let gate = Gate::new();
    let parts = canned::stream_of(&["a", "b"]);
    backend.once(Script::event_stream_head().chunk(&parts[0]).chunk(&parts[1]).wait(&gate).chunk(&parts[2]).reset());
    let mut client = Client::connect(backend.address()).await;
    client.send(Request::chat(&Key::named("demo"), &canned::chat_stream("hi")).bytes()).await;
    assert_eq!(client.head().await.status, 200);
    assert!(client.event().await.expect("an event").data.contains("assistant"));
    assert!(client.event().await.expect("an event").data.contains("\"a\""));
    gate.open();
    let rest = client.streamed().await;
    assert_eq!(rest.ending, Ending::Cut);
    assert!(!rest.has_done());
}

#[tokio::test]
async fn a_canned_stream_is_read_whole_however_it_is_framed() {
    let backend = Backend::start().await;
    let key = Key::named("demo");
    let whole = canned::stream_of(&["Fine", ", ", "thanks."]).concat();
    let bytes: Vec<&[u8]> = whole.chunks(1).collect();
    for script in [Script::event_stream([&whole]), Script::event_stream(bytes.clone()), Script::event_stream_until_close(bytes)] {
        backend.once(script);
        let mut client = Client::connect(backend.address()).await;
        let streamed = client.exchange_stream(Request::chat(&key, &canned::chat_stream("hi")).bytes()).await;
        assert_eq!(streamed.content(), "Fine, thanks.");
        assert!(streamed.is_done());
        assert!(streamed.rest.is_empty());
    }
}

#[tokio::test]
async fn tool_arguments_and_choices_are_put_together_apart() {
    let backend = Backend::start().await;
    let tool = |choice, index: u64, text: &str| {
        canned::event(&canned::chunk(choice, json!({"tool_calls": [{"index": index, "function": {"arguments": text}}]}), None))
    };
    let text = |choice, text: &str| canned::event(&canned::chunk(choice, json!({"content": text}), None));
    let events = [text(0, "a"), tool(1, 0, "{\"x\":"), text(1, "B"), tool(1, 1, "[]"), tool(1, 0, "1}"), text(0, "b"), canned::done()];
    backend.always(Script::event_stream(events));
    let mut client = Client::connect(backend.address()).await;
    let streamed = client.exchange_stream(Request::chat(&Key::named("demo"), &canned::chat_stream("hi")).bytes()).await;
    assert_eq!(streamed.contents(), [(0, "ab".into()), (1, "B".into())].into());
    let arguments = streamed.tool_arguments();
    assert_eq!((arguments[&(1, 0)].as_str(), arguments[&(1, 1)].as_str()), ("{\"x\":1}", "[]"));
}

#[tokio::test]
async fn an_unwelcome_connection_is_closed_before_a_request_is_read() {
    let backend = Backend::start().await;
    for welcome in [Welcome::Close, Welcome::Reset] {
        backend.welcome(welcome);
        let mut client = Client::connect(backend.address()).await;
        client.send(Request::new("GET", "/v1/models").bytes()).await;
        assert!(client.closed().await.is_empty());
    }
    assert_eq!((backend.request_count(), backend.connection_count()), (0, 2));
}

#[test]
fn metrics_are_parsed_with_their_labels() {
    let metrics = Metrics::parse("# HELP x y\nx_total{a=\"1\",b=\"q\\\"r,s\"} 3\nx_total{a=\"2\",b=\"\"} 4\ny 0.5\n");
    assert_eq!(metrics.sum("x_total", &[]), 7.0);
    assert_eq!(metrics.sum("x_total", &[("b", "q\"r,s")]), 3.0);
    assert_eq!(metrics.names(), ["x_total", "y"]);
}

#[test]
fn a_key_has_the_form_the_gateway_issues_and_stays_the_same() {
    let key = Key::named("demo");
    assert_eq!(key.secret.len(), "pk-".len() + 43);
    assert_eq!(key.secret, Key::named("demo").secret);
    assert_ne!(key.secret, Key::named("other").secret);
}

#[tokio::test]
async fn a_clickhouse_answers_fails_as_told_and_keeps_its_data() {
    let mut server = ClickHouse::start().await;
    server.query("CREATE TABLE t (n UInt8, CONSTRAINT not_six CHECK n != 6) ENGINE = MergeTree ORDER BY n").await;
    let insert = |row: &str| {
        Request::new("POST", "/?query=INSERT%20INTO%20t%20FORMAT%20CSV").line(&format!("content-length: {}", row.len())).body(row).bytes()
    };
    let send = async |row: &str| Client::connect(server.address()).await.exchange(insert(row)).await;
    assert_eq!(send("1").await.status(), 200);
    let refused = send("6").await;
    assert!(refused.status() == 500 && refused.text().contains("VIOLATED_CONSTRAINT"), "{}", refused.text());
    server.fault("kind=error&status=503&code=241", 1, "INSERT").await;
    assert_eq!(server.query("SELECT count() FROM t").await, "1", "only inserts fail");
    assert_eq!(send("2").await.status(), 503);
    assert_eq!(send("2").await.status(), 200);
    server.fault("kind=drop_after", 1, "INSERT").await;
    let mut client = Client::connect(server.address()).await;
    client.send(insert("3")).await;
    assert!(client.try_head().await.is_none(), "no answer");
    assert_eq!(server.query("SELECT groupArray(n) FROM (SELECT n FROM t ORDER BY n)").await, "[1,2,3]", "but applied");
    server.kill().await;
    server.restart().await;
    assert_eq!(server.query("SELECT count() FROM t").await, "3");
    assert_eq!(server.seen().await.len(), 1);
}
