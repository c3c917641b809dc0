//! The official OpenAI SDK for Python as a client: `tests/sdk/sdk_test.py` against the gateway, with both kinds of upstream.
#![allow(clippy::expect_used, clippy::panic, reason = "test code")]

use std::path::PathBuf;
use std::time::Duration;

use harness::{Backend, Gateway, Key, Recorded, Script, Setup, canned, executable, repository, within};
use serde_json::{Value, json};
use tokio::process::Command;

/// A start of Python and some twenty requests, on a machine that may be busy.
const SDK_RUN_MAX: Duration = Duration::from_secs(120);

/// `PORTCULLIS_PYTHON`, or the environment that `tests/sdk/setup.sh` makes.
fn python() -> PathBuf {
    if let Some(path) = std::env::var_os("PORTCULLIS_PYTHON") {
        return path.into();
    }
    let target = executable().ancestors().nth(2).map(PathBuf::from);
    let places = [target, Some(repository().join("target"))];
    let found = places.into_iter().flatten().map(|target| target.join("venv/bin/python")).find(|path| path.exists());
    found.expect("no Python environment in target/venv: run `make test`, or `tests/sdk/setup.sh` once")
}

async fn run(kind: &str, gateway: &Gateway, small: &Key) {
    let mut command = Command::new(python());
    command.arg(repository().join("tests/sdk/sdk_test.py")).args([
        kind,
        &format!("http://{}", gateway.address()),
        &gateway.key().secret,
        &small.secret,
    ]);
    // Nothing of this machine's own settings (a proxy, another key) reaches the SDK.
    command.env_clear().kill_on_drop(true);
    let output = within(SDK_RUN_MAX, "the SDK's tests", command.output()).await.expect("Python starts");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(told.lines().count() > 10 && told.lines().all(|line| line.starts_with("ok ")), "{told}");
}

fn setup(setup: Setup) -> (Setup, Key) {
    let small = Key::named("small").set("requests_per_minute", 1).set("burst", 1);
    let models = json!({"small-chat": "local", "small-embed": "local"});
    (setup.set("models", models).keys(&[Key::named("demo"), small.clone()]), small)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sdk_works_with_the_built_in_upstream() {
    let (setup, small) = setup(Setup::echo());
    let gateway = setup.start().await;
    run("echo", &gateway, &small).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sdk_works_with_a_backend() {
    let backend = Backend::start().await;
    backend.responds(scene);
    let (setup, small) = setup(Setup::before(&backend));
    let gateway = setup.start().await;
    run("scripted", &gateway, &small).await;
    assert!(
        backend.requests().iter().all(|request| !request.contains("jane.doe") && !request.contains("4111") && !request.contains("pk-"))
    );
}

/// Plays what the text names; otherwise repeats the last message.
fn scene(request: &Recorded) -> Script {
    if !request.target.ends_with("/chat/completions") {
        return canned::answer(request);
    }
    let body = request.json();
    let messages = body["messages"].as_array().expect("messages");
    let text = match &messages.last().expect("a message")["content"] {
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join(" "),
        content => content.as_str().unwrap_or_default().to_owned(),
    };
    let call = |arguments: &str| json!({"id": "call_1", "type": "function", "function": {"name": "send", "arguments": arguments}});
    match text.as_str() {
        "SCENE tool" => {
            Script::json(&canned::chat_completion_of(vec![json!({"index": 0, "finish_reason": "tool_calls", "logprobs": null,
            "message": {"role": "assistant", "content": null, "refusal": null, "tool_calls": [call("{\"to\":\"jane.doe@example.org\"}")]}})]))
        }
        "SCENE tool stream" => {
            let more = |arguments: &str| {
                canned::event(&canned::chunk(0, json!({"tool_calls": [{"index": 0, "function": {"arguments": arguments}}]}), None))
            };
            let mut opening = call("");
            opening["index"] = json!(0);
            let first = canned::event(&canned::chunk(0, json!({"role": "assistant", "content": null, "tool_calls": [opening]}), None));
            let last = canned::event(&canned::chunk(0, json!({}), Some("tool_calls")));
            Script::event_stream([first, more("{\"to\":\"jane.d"), more("oe@example"), more(".org\"}"), last, canned::done()])
        }
        "SCENE schema" => Script::json(&canned::chat_completion("{\"advice\":\"a coat\"}")),
        "SCENE forbidden" => Script::event_stream(canned::stream_of(&["Listen: ", "the vault ", "opens at mid", "night. ", "More."])),
        "SCENE broken" => Script::new().close(),
        _ if body["stream"] == json!(true) => Script::event_stream(canned::stream_of(&text.split_inclusive(' ').collect::<Vec<_>>())),
        _ => {
            let count = body["n"].as_u64().unwrap_or(1);
            let choice = |index: u64| json!({"index": index, "finish_reason": "stop", "logprobs": null, "message": {"role": "assistant", "content": text, "refusal": null}});
            Script::json(&canned::chat_completion_of((0..count).map(choice).collect()))
        }
    }
}
