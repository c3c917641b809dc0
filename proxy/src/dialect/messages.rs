//! Messages, their parts, tools and calls: the deep fields of a chat request.

use portcullis_policies::{Policy, Unscreenable};

use super::fields::{allow, bad, check_list, check_word, shown};
use super::leaves::PICTURES;
use crate::json::Node;
use crate::reply::No;

/// Most messages in a conversation.
const MESSAGES_MAX: usize = 4096;
/// Most tools a request may offer.
pub(super) const TOOLS_MAX: usize = 512;

/// The tools offered.
pub(super) fn check_tools(value: &Node) -> Result<(), No> {
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

/// The conversation.
pub(super) fn check_messages(value: &Node, policy: &Policy) -> Result<(), No> {
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
    let carried = PICTURES.iter().any(|prefix| url.starts_with(prefix));
    carried.then_some(()).ok_or_else(|| {
        bad(&format!("{path}.image_url.url"), "must be a data: URL of a png, jpeg, webp or gif; images are not fetched for a client")
    })
}
