//! The fields of each route and what each may hold. A field that is not here is refused.

use portcullis_policies::{Policy, Unscreenable};

use super::messages::{TOOLS_MAX, check_messages, check_tools};
use crate::edge::Route;
use crate::json::Node;
use crate::reply::No;

/// Most texts in one batch of prompts or inputs.
const BATCH_MAX: usize = 2048;
/// Most answers a request may ask for.
const CHOICES_MAX: u64 = 16;
/// Longest model name in bytes.
const MODEL_BYTES_MAX: usize = 128;

/// Checks the top of a body: known fields only, each with what it may hold, none missing.
///
/// # Errors
/// [`No::BadField`] or [`No::Unscreenable`] with the path of the field.
pub(super) fn check(route: Route, fields: &[(String, Node)], policy: &Policy) -> Result<(), No> {
    for (name, value) in fields {
        let kind = table(route)
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, kind)| kind)
            .ok_or_else(|| bad(shown(name), "unknown field; only documented fields are forwarded"))?;
        check_value(kind, name, value, policy)?;
    }
    match required(route).iter().find(|required| fields.iter().all(|(name, _)| name != *required)) {
        Some(name) => Err(bad(name, "is missing")),
        None => Ok(()),
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

/// A refusal of one field.
pub(super) fn bad(param: &str, why: impl Into<String>) -> No {
    No::BadField { param: param.to_owned(), why: why.into() }
}

/// A client's field name as it may be shown: only when it is a plain word, as it may be anything.
pub(super) fn shown(name: &str) -> &str {
    let plain = (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    if plain { name } else { "(a field whose name is no plain word)" }
}

fn check_value(kind: &Kind, name: &str, value: &Node, policy: &Policy) -> Result<(), No> {
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
pub(super) fn allow(policy: &Policy, kind: Unscreenable, param: &str) -> Result<(), No> {
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

/// One of a closed set of words.
pub(super) fn check_word(name: &str, value: &Node, words: &[&str]) -> Result<(), No> {
    match value.as_str() {
        Some(word) if words.contains(&word) => Ok(()),
        _ => Err(bad(name, format!("must be one of {}", words.join(", ")))),
    }
}

/// An array of at most so many elements.
pub(super) fn check_list<'a>(name: &str, value: &'a Node, most: usize) -> Result<&'a [Node], No> {
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
