//! A request body, parsed once at the edge into a form that holds only what the dialect knows.
//!
//! A field that is not in the table of its route is refused, and every parameter has its range: what reaches the upstream is what
//! was understood here. That closes the doors that are opened by fields a gateway passes on unread (`base_url`, `extra_body`, a
//! huge `n`, images fetched by the backend).

use portcullis_policies::{Cleared, Policy, Unscreenable};

use super::leaves::{self, Joined, Leaf, Side};
use crate::edge::Route;
use crate::json::Node;
use crate::reply::No;

/// Most messages in a conversation.
const MESSAGES_MAX: usize = 4096;
/// Most texts in one batch of prompts or inputs.
const BATCH_MAX: usize = 2048;
/// Most tools a request may offer.
const TOOLS_MAX: usize = 512;
/// Most answers a request may ask for.
const CHOICES_MAX: u64 = 16;
/// Longest model name in bytes.
const MODEL_BYTES_MAX: usize = 128;

/// A request that is well formed, with every text it holds.
#[derive(Debug)]
pub struct Parsed {
    document: Node,
    /// Every text leaf, in the order of the document.
    pub leaves: Vec<Leaf>,
    /// Texts that stand in several leaves; screened for what crosses their edges.
    pub joined: Vec<Joined>,
    /// The model asked for.
    pub model: String,
    /// Whether the answer is to be streamed.
    pub stream: bool,
}

/// A body that may be forwarded. Only [`Parsed::rewrite`] makes one, and only from what `decide` cleared.
#[derive(Debug)]
pub struct ClearedBody {
    /// The JSON to send.
    pub bytes: Vec<u8>,
}

impl Parsed {
    /// Reads the body of a request to `route`. `policy` says which parts that cannot be screened may pass.
    ///
    /// # Errors
    /// [`No::BadField`] or [`No::Unscreenable`] with the path of the field.
    pub fn read(route: Route, body: &[u8], policy: &Policy) -> Result<Self, No> {
        let mut document = Node::parse(body).map_err(|e| bad("body", e.to_string()))?;
        let fields = match &document {
            Node::Object(fields) => fields,
            _ => return Err(bad("body", "must be a JSON object")),
        };
        for (name, value) in fields {
            let kind = table(route)
                .iter()
                .find(|(known, _)| known == name)
                .map(|(_, kind)| kind)
                .ok_or_else(|| bad(shown(name), "unknown field; only documented fields are forwarded"))?;
            check(kind, name, value, policy)?;
        }
        for name in required(route) {
            if document.field(name).is_none() {
                return Err(bad(name, "is missing"));
            }
        }
        let model = document.field("model").and_then(Node::as_str).unwrap_or_default().to_owned();
        let stream = document.field("stream") == Some(&Node::Bool(true));
        let leaves = leaves::read(&mut document, Side::Request);
        let joined = leaves::join(&leaves);
        Ok(Self { document, leaves, joined, model, stream })
    }

    /// Bytes of text found.
    pub fn text_bytes(&self) -> usize {
        self.leaves.iter().map(|leaf| leaf.text.len()).sum()
    }

    /// The body to forward: this request with the redactions that go with its clearance.
    pub fn rewrite(mut self, cleared: &Cleared) -> ClearedBody {
        assert_eq!(cleared.len(), self.leaves.len() + self.joined.len(), "a clearance is for exactly the texts that were screened");
        leaves::rewrite(&mut self.document, Side::Request, |index| cleared.redacted(index));
        ClearedBody { bytes: self.document.to_bytes() }
    }
}

/// What a field may hold.
enum Kind {
    Text,
    Model,
    Bool,
    Int(i64, i64),
    Range(f64, f64),
    Word(&'static [&'static str]),
    Messages,
    Tools,
    Functions,
    Stop,
    LogitBias,
    StreamOptions,
    Texts,
    Modalities,
    ChatLogprobs,
    CompletionLogprobs,
    /// Any JSON; all of its texts, keys and long numbers are screened.
    Free,
}

fn table(route: Route) -> &'static [(&'static str, Kind)] {
    match route {
        Route::Chat => CHAT,
        Route::Completions => COMPLETIONS,
        Route::Embeddings => EMBEDDINGS,
        Route::Models => &[],
    }
}

fn required(route: Route) -> &'static [&'static str] {
    match route {
        Route::Chat => &["model", "messages"],
        Route::Completions => &["model", "prompt"],
        Route::Embeddings => &["model", "input"],
        Route::Models => &[],
    }
}

const EFFORTS: &[&str] = &["none", "minimal", "low", "medium", "high", "xhigh"];

const CHAT: &[(&str, Kind)] = &[
    ("model", Kind::Model),
    ("messages", Kind::Messages),
    ("stream", Kind::Bool),
    ("stream_options", Kind::StreamOptions),
    ("temperature", Kind::Range(0.0, 2.0)),
    ("top_p", Kind::Range(0.0, 1.0)),
    ("top_k", Kind::Int(-1, 100_000)),
    ("min_p", Kind::Range(0.0, 1.0)),
    ("n", Kind::Int(1, CHOICES_MAX as i64)),
    ("max_tokens", Kind::Int(1, 4_000_000)),
    ("max_completion_tokens", Kind::Int(1, 4_000_000)),
    ("presence_penalty", Kind::Range(-2.0, 2.0)),
    ("frequency_penalty", Kind::Range(-2.0, 2.0)),
    ("repetition_penalty", Kind::Range(0.0, 10.0)),
    ("seed", Kind::Int(i64::MIN, i64::MAX)),
    ("stop", Kind::Stop),
    ("logit_bias", Kind::LogitBias),
    ("logprobs", Kind::ChatLogprobs),
    ("top_logprobs", Kind::Int(0, 20)),
    ("tools", Kind::Tools),
    ("tool_choice", Kind::Free),
    ("parallel_tool_calls", Kind::Bool),
    ("functions", Kind::Functions),
    ("function_call", Kind::Free),
    ("response_format", Kind::Free),
    ("prediction", Kind::Free),
    ("reasoning_effort", Kind::Word(EFFORTS)),
    ("verbosity", Kind::Word(&["low", "medium", "high"])),
    ("modalities", Kind::Modalities),
    ("service_tier", Kind::Word(&["auto", "default", "flex", "scale", "priority"])),
    ("store", Kind::Bool),
    ("metadata", Kind::Free),
    ("user", Kind::Text),
    ("safety_identifier", Kind::Text),
    ("prompt_cache_key", Kind::Text),
];

const COMPLETIONS: &[(&str, Kind)] = &[
    ("model", Kind::Model),
    ("prompt", Kind::Texts),
    ("suffix", Kind::Text),
    ("stream", Kind::Bool),
    ("stream_options", Kind::StreamOptions),
    ("temperature", Kind::Range(0.0, 2.0)),
    ("top_p", Kind::Range(0.0, 1.0)),
    ("top_k", Kind::Int(-1, 100_000)),
    ("min_p", Kind::Range(0.0, 1.0)),
    ("n", Kind::Int(1, CHOICES_MAX as i64)),
    ("best_of", Kind::Int(1, CHOICES_MAX as i64)),
    ("echo", Kind::Bool),
    ("max_tokens", Kind::Int(0, 4_000_000)),
    ("presence_penalty", Kind::Range(-2.0, 2.0)),
    ("frequency_penalty", Kind::Range(-2.0, 2.0)),
    ("repetition_penalty", Kind::Range(0.0, 10.0)),
    ("seed", Kind::Int(i64::MIN, i64::MAX)),
    ("stop", Kind::Stop),
    ("logit_bias", Kind::LogitBias),
    ("logprobs", Kind::CompletionLogprobs),
    ("user", Kind::Text),
];

const EMBEDDINGS: &[(&str, Kind)] = &[
    ("model", Kind::Model),
    ("input", Kind::Texts),
    ("encoding_format", Kind::Word(&["float", "base64"])),
    ("dimensions", Kind::Int(1, 65_536)),
    ("user", Kind::Text),
];

fn bad(param: &str, why: impl Into<String>) -> No {
    No::BadField { param: param.to_owned(), why: why.into() }
}

/// A client's field name as it may be shown: only when it is a plain word, as it may be anything.
fn shown(name: &str) -> &str {
    let plain = (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    if plain { name } else { "(a field whose name is no plain word)" }
}

fn check(kind: &Kind, name: &str, value: &Node, policy: &Policy) -> Result<(), No> {
    // `null` stands for "not given" wherever the SDKs may send it.
    if *value == Node::Null && !matches!(kind, Kind::Model | Kind::Messages | Kind::Texts) {
        return Ok(());
    }
    match kind {
        Kind::Text => value.as_str().map(drop).ok_or_else(|| bad(name, "must be a string")),
        Kind::Model => check_model(value),
        Kind::Bool => matches!(value, Node::Bool(_)).then_some(()).ok_or_else(|| bad(name, "must be true or false")),
        Kind::Int(low, high) => check_int(name, value, *low, *high),
        Kind::Range(low, high) => check_range(name, value, *low, *high),
        Kind::Word(words) => check_word(name, value, words),
        Kind::Messages => check_messages(value, policy),
        Kind::Tools => check_tools(value),
        Kind::Functions => check_list(name, value, TOOLS_MAX).map(drop),
        Kind::Stop => check_stop(value),
        Kind::LogitBias => check_logit_bias(value),
        Kind::StreamOptions => check_stream_options(value),
        Kind::Texts => check_texts(name, value, policy),
        Kind::Modalities => match value.items() {
            [Node::String(only)] if only == "text" => Ok(()),
            _ => Err(No::Unscreenable { param: name.into(), kind: "audio" }),
        },
        Kind::ChatLogprobs => match value {
            Node::Bool(false) => Ok(()),
            Node::Bool(true) => allow(policy, Unscreenable::Logprobs, name),
            _ => Err(bad(name, "must be true or false")),
        },
        Kind::CompletionLogprobs => {
            check_int(name, value, 0, 20)?;
            allow(policy, Unscreenable::Logprobs, name)
        }
        Kind::Free => Ok(()),
    }
}

/// Lets a part that cannot be screened pass if the policy says so.
fn allow(policy: &Policy, kind: Unscreenable, param: &str) -> Result<(), No> {
    if policy.allows_unscreenable(kind) {
        return Ok(());
    }
    let kind = match kind {
        Unscreenable::Image => "image",
        Unscreenable::Audio => "audio",
        Unscreenable::File => "file",
        Unscreenable::TokenArray => "token_array",
        Unscreenable::Logprobs => "logprobs",
    };
    Err(No::Unscreenable { param: param.to_owned(), kind })
}

fn check_model(value: &Node) -> Result<(), No> {
    let model = value.as_str().ok_or_else(|| bad("model", "must be a string"))?;
    let sound =
        !model.is_empty() && model.len() <= MODEL_BYTES_MAX && model.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:/@+".contains(&b));
    sound.then_some(()).ok_or_else(|| bad("model", "must be 1 to 128 letters, digits or any of -_.:/@+"))
}

fn check_int(name: &str, value: &Node, low: i64, high: i64) -> Result<(), No> {
    match value {
        Node::Number(number) if number.as_i64().is_some_and(|n| (low..=high).contains(&n)) => Ok(()),
        _ => Err(bad(name, format!("must be a whole number from {low} to {high}"))),
    }
}

fn check_range(name: &str, value: &Node, low: f64, high: f64) -> Result<(), No> {
    match value {
        Node::Number(number) if number.as_f64().is_some_and(|n| (low..=high).contains(&n)) => Ok(()),
        _ => Err(bad(name, format!("must be a number from {low} to {high}"))),
    }
}

fn check_word(name: &str, value: &Node, words: &[&str]) -> Result<(), No> {
    match value.as_str() {
        Some(word) if words.contains(&word) => Ok(()),
        _ => Err(bad(name, format!("must be one of {}", words.join(", ")))),
    }
}

fn check_list<'a>(name: &str, value: &'a Node, most: usize) -> Result<&'a [Node], No> {
    match value {
        Node::Array(items) if items.len() <= most => Ok(items),
        Node::Array(_) => Err(bad(name, format!("has more than {most} elements"))),
        _ => Err(bad(name, "must be an array")),
    }
}

fn check_stop(value: &Node) -> Result<(), No> {
    let ok = match value {
        Node::String(_) => true,
        Node::Array(items) => items.len() <= 16 && items.iter().all(|item| item.as_str().is_some()),
        _ => false,
    };
    ok.then_some(()).ok_or_else(|| bad("stop", "must be a string or up to 16 strings"))
}

fn check_logit_bias(value: &Node) -> Result<(), No> {
    let why = "must map up to 1024 token ids to numbers from -100 to 100";
    let Node::Object(fields) = value else { return Err(bad("logit_bias", why)) };
    let token = |key: &str| (1..=7).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_digit());
    if fields.len() > 1024 || !fields.iter().all(|(key, _)| token(key)) {
        return Err(bad("logit_bias", why));
    }
    fields.iter().try_for_each(|(_, bias)| check_range("logit_bias", bias, -100.0, 100.0))
}

fn check_stream_options(value: &Node) -> Result<(), No> {
    let Node::Object(fields) = value else { return Err(bad("stream_options", "must be an object")) };
    for (key, option) in fields {
        if !matches!(key.as_str(), "include_usage" | "include_obfuscation") || !matches!(option, Node::Bool(_)) {
            return Err(bad("stream_options", "may hold include_usage and include_obfuscation, true or false"));
        }
    }
    Ok(())
}

/// A prompt or input: a string or strings. Token ids are text that nobody can read here.
fn check_texts(name: &str, value: &Node, policy: &Policy) -> Result<(), No> {
    match value {
        Node::String(_) => Ok(()),
        Node::Array(items) if items.is_empty() || items.len() > BATCH_MAX => Err(bad(name, format!("must hold 1 to {BATCH_MAX} strings"))),
        Node::Array(items) if items.iter().all(|item| item.as_str().is_some()) => Ok(()),
        Node::Array(items) if is_tokens(items) || items.iter().all(|item| matches!(item, Node::Array(inner) if is_tokens(inner))) => {
            allow(policy, Unscreenable::TokenArray, name)
        }
        _ => Err(bad(name, "must be a string or an array of strings")),
    }
}

fn is_tokens(items: &[Node]) -> bool {
    !items.is_empty() && items.iter().all(|item| item.as_u64().is_some())
}

fn check_tools(value: &Node) -> Result<(), No> {
    for (index, tool) in check_list("tools", value, TOOLS_MAX)?.iter().enumerate() {
        let path = format!("tools[{index}]");
        only(&path, tool, &["type", "function"])?;
        if tool.field("type").and_then(Node::as_str) != Some("function") {
            return Err(bad(&format!("{path}.type"), "must be `function`"));
        }
        let function = tool.field("function").ok_or_else(|| bad(&path, "has no function"))?;
        let path = format!("{path}.function");
        only(&path, function, &["name", "description", "parameters", "strict"])?;
        check_name(&path, function)?;
    }
    Ok(())
}

/// OpenAI's own form of a function name; what fits it cannot carry a sentence past the rules.
fn check_name(path: &str, function: &Node) -> Result<(), No> {
    let name = function.field("name").and_then(Node::as_str).unwrap_or_default();
    let sound = (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    sound.then_some(()).ok_or_else(|| bad(&format!("{path}.name"), "must be 1 to 64 letters, digits or any of -_."))
}

/// Refuses an object with other fields than `known`.
fn only(path: &str, value: &Node, known: &[&str]) -> Result<(), No> {
    let Node::Object(fields) = value else { return Err(bad(path, "must be an object")) };
    match fields.iter().find(|(name, _)| !known.contains(&name.as_str())) {
        Some((name, _)) => Err(bad(&format!("{path}.{}", shown(name)), "unknown field; only documented fields are forwarded")),
        None => Ok(()),
    }
}

fn check_messages(value: &Node, policy: &Policy) -> Result<(), No> {
    let messages = check_list("messages", value, MESSAGES_MAX)?;
    if messages.is_empty() {
        return Err(bad("messages", "must hold at least one message"));
    }
    messages.iter().enumerate().try_for_each(|(index, message)| check_message(&format!("messages[{index}]"), message, policy))
}

const MESSAGE_FIELDS: &[&str] = &[
    "role",
    "content",
    "name",
    "tool_calls",
    "tool_call_id",
    "function_call",
    "refusal",
    "reasoning",
    "reasoning_content",
    "annotations",
    "audio",
];

fn check_message(path: &str, message: &Node, policy: &Policy) -> Result<(), No> {
    only(path, message, MESSAGE_FIELDS)?;
    check_word(
        &format!("{path}.role"),
        message.field("role").unwrap_or(&Node::Null),
        &["system", "developer", "user", "assistant", "tool", "function"],
    )?;
    match message.field("content") {
        None | Some(Node::Null | Node::String(_)) => {}
        Some(Node::Array(parts)) => {
            for (index, part) in parts.iter().enumerate() {
                check_part(&format!("{path}.content[{index}]"), part, policy)?;
            }
        }
        Some(_) => return Err(bad(&format!("{path}.content"), "must be a string or an array of parts")),
    }
    for name in ["name", "tool_call_id", "refusal", "reasoning", "reasoning_content"] {
        if !matches!(message.field(name), None | Some(Node::Null | Node::String(_))) {
            return Err(bad(&format!("{path}.{name}"), "must be a string"));
        }
    }
    if !matches!(message.field("audio"), None | Some(Node::Null)) {
        allow(policy, Unscreenable::Audio, &format!("{path}.audio"))?;
    }
    match message.field("tool_calls") {
        None | Some(Node::Null) => Ok(()),
        Some(calls) => {
            let path = format!("{path}.tool_calls");
            let calls = check_list(&path, calls, TOOLS_MAX)?;
            calls.iter().enumerate().try_for_each(|(index, call)| check_call(&format!("{path}[{index}]"), call))
        }
    }
}

fn check_call(path: &str, call: &Node) -> Result<(), No> {
    only(path, call, &["id", "type", "function", "index"])?;
    let function = call.field("function").ok_or_else(|| bad(path, "has no function"))?;
    let path = format!("{path}.function");
    only(&path, function, &["name", "arguments"])?;
    check_name(&path, function)?;
    match function.field("arguments") {
        None | Some(Node::String(_)) => Ok(()),
        Some(_) => Err(bad(&format!("{path}.arguments"), "must be a string of JSON")),
    }
}

fn check_part(path: &str, part: &Node, policy: &Policy) -> Result<(), No> {
    let kind = part.field("type").and_then(Node::as_str).unwrap_or_default();
    let text = match kind {
        "text" => "text",
        "refusal" => "refusal",
        "image_url" => return check_image(path, part, policy),
        "input_audio" => return allow(policy, Unscreenable::Audio, path),
        "file" => return allow(policy, Unscreenable::File, path),
        _ => return Err(bad(&format!("{path}.type"), "must be text, refusal, image_url, input_audio or file")),
    };
    only(path, part, &["type", text])?;
    match part.field(text) {
        Some(Node::String(_)) => Ok(()),
        _ => Err(bad(&format!("{path}.{text}"), "must be a string")),
    }
}

/// An image by address would have the backend fetch what a client names; only images carried in the request can be allowed.
fn check_image(path: &str, part: &Node, policy: &Policy) -> Result<(), No> {
    allow(policy, Unscreenable::Image, path)?;
    only(path, part, &["type", "image_url"])?;
    let image = part.field("image_url").ok_or_else(|| bad(path, "has no image_url"))?;
    only(&format!("{path}.image_url"), image, &["url", "detail"])?;
    let url = image.field("url").and_then(Node::as_str).unwrap_or_default();
    let carried = leaves::PICTURES.iter().any(|prefix| url.starts_with(prefix));
    carried.then_some(()).ok_or_else(|| {
        bad(&format!("{path}.image_url.url"), "must be a data: URL of a png, jpeg, webp or gif; images are not fetched for a client")
    })
}
