//! One chunk of a streamed answer, taken apart into the pieces of text that grow from chunk to chunk.
//!
//! A piece belongs to a [`Slot`]: the choice, and the field inside it (`delta.content`, `delta.tool_calls[2].function.arguments`,
//! `text`, or one that nobody has heard of yet). Pieces of one slot put together are one text; slots never mix.

use crate::json::Node;

/// Where a growing text stands inside one choice.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Slot {
    /// The choice's `index`.
    pub choice: u64,
    /// The way to it inside the choice.
    pub path: Vec<Step>,
}

/// One step on the way to a text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Into an object's field.
    Field(String),
    /// Into the element of an array whose `index` field says so.
    Element(u64),
}

impl Slot {
    /// Whether the text is itself JSON.
    pub fn is_json(&self) -> bool {
        matches!(self.path.last(), Some(Step::Field(name)) if name == "arguments")
    }

    /// The slot as a JSON pointer, for the record.
    pub fn pointer(&self) -> String {
        let mut pointer = format!("/choices/{}", self.choice);
        for step in &self.path {
            match step {
                Step::Field(name) => pointer.push_str(&format!("/{name}")),
                Step::Element(index) => pointer.push_str(&format!("/{index}")),
            }
        }
        pointer
    }
}

/// Calls `visit` with every growing text of the chunk, and `still` with every other text (whole in itself).
pub fn visit(chunk: &mut Node, growing: &mut dyn FnMut(Slot, &mut String), still: &mut dyn FnMut(&str, &mut String)) {
    let Node::Object(fields) = chunk else { return };
    for (name, value) in fields {
        if name != "choices" {
            other(value, name, still);
            continue;
        }
        let Node::Array(choices) = value else {
            other(value, name, still);
            continue;
        };
        for (position, choice) in choices.iter_mut().enumerate() {
            let index = choice.field("index").and_then(Node::as_u64).unwrap_or(position as u64);
            let Node::Object(fields) = choice else { continue };
            for (name, value) in fields {
                let mut path = vec![Step::Field(name.clone())];
                match name.as_str() {
                    "delta" | "text" | "message" => grow(value, index, &mut path, growing, still),
                    _ => other(value, name, still),
                }
            }
        }
    }
}

/// Fields of a delta that come whole and name something.
fn is_whole(name: &str) -> bool {
    matches!(name, "role" | "id" | "type" | "name" | "tool_call_id")
}

fn grow(
    node: &mut Node,
    choice: u64,
    path: &mut Vec<Step>,
    growing: &mut dyn FnMut(Slot, &mut String),
    still: &mut dyn FnMut(&str, &mut String),
) {
    match node {
        Node::String(text) => match path.last() {
            Some(Step::Field(name)) if is_whole(name) => still(name, text),
            _ => growing(Slot { choice, path: path.clone() }, text),
        },
        Node::Array(items) => {
            for item in items {
                match item.field("index").and_then(Node::as_u64) {
                    Some(index) => {
                        path.push(Step::Element(index));
                        grow(item, choice, path, growing, still);
                        path.pop();
                    }
                    None => other(item, "", still),
                }
            }
        }
        Node::Object(fields) => {
            for (name, value) in fields {
                path.push(Step::Field(name.clone()));
                grow(value, choice, path, growing, still);
                path.pop();
            }
        }
        Node::Null | Node::Bool(_) | Node::Number(_) => {}
    }
}

fn other(node: &mut Node, name: &str, still: &mut dyn FnMut(&str, &mut String)) {
    match node {
        Node::String(text) => still(name, text),
        Node::Array(items) => items.iter_mut().for_each(|item| other(item, name, still)),
        Node::Object(fields) => fields.iter_mut().for_each(|(name, value)| other(value, name, still)),
        Node::Null | Node::Bool(_) | Node::Number(_) => {}
    }
}

/// A chunk that carries `text` in `slot` and nothing else, with the head (`id`, `object`, `created`, `model`) of `like`.
pub fn carrying(like: &Node, slot: &Slot, text: String) -> Node {
    let mut inner = Node::String(text);
    for step in slot.path.iter().rev() {
        inner = match step {
            Step::Field(name) => Node::Object(vec![(name.clone(), inner)]),
            Step::Element(index) => {
                let mut fields = vec![("index".to_owned(), Node::Number((*index).into()))];
                if let Node::Object(more) = inner {
                    fields.extend(more);
                }
                Node::Array(vec![Node::Object(fields)])
            }
        };
    }
    let mut choice = vec![("index".to_owned(), Node::Number(slot.choice.into()))];
    if let Node::Object(fields) = inner {
        choice.extend(fields);
    }
    choice.push(("finish_reason".to_owned(), Node::Null));
    let mut fields: Vec<(String, Node)> = ["id", "object", "created", "model"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), like.field(name)?.clone())))
        .collect();
    fields.push(("choices".to_owned(), Node::Array(vec![Node::Object(choice)])));
    Node::Object(fields)
}

/// The choices whose last chunk this is.
pub fn finished(chunk: &Node) -> Vec<u64> {
    let choices = chunk.field("choices").map(Node::items).unwrap_or_default();
    choices
        .iter()
        .enumerate()
        .filter(|(_, choice)| choice.field("finish_reason").is_some_and(|reason| *reason != Node::Null))
        .map(|(position, choice)| choice.field("index").and_then(Node::as_u64).unwrap_or(position as u64))
        .collect()
}

/// Whether the chunk says nothing any more, as all its text was held back.
pub fn is_hollow(chunk: &Node) -> bool {
    if !matches!(chunk.field("usage"), None | Some(Node::Null)) {
        return false;
    }
    let choices = chunk.field("choices").map(Node::items).unwrap_or_default();
    !choices.is_empty()
        && choices.iter().all(|choice| {
            matches!(choice.field("finish_reason"), None | Some(Node::Null))
                && choice.field("delta").is_none_or(says_nothing)
                && choice.field("text").is_none_or(says_nothing)
        })
}

fn says_nothing(node: &Node) -> bool {
    match node {
        Node::Null => true,
        Node::String(text) => text.is_empty(),
        Node::Array(items) => items.iter().all(says_nothing),
        Node::Object(fields) => fields.iter().all(|(name, value)| name == "index" || says_nothing(value)),
        Node::Bool(_) | Node::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(value: serde_json::Value) -> Node {
        Node::parse(value.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn texts_of_choices_fields_and_tool_calls_are_kept_apart() {
        let mut chunk = node(serde_json::json!({"id": "c", "choices": [
            {"index": 1, "delta": {"role": "assistant", "content": "a", "reasoning": "b",
                "tool_calls": [{"index": 3, "id": "t", "function": {"name": "f", "arguments": "{"}}]}},
            {"index": 0, "text": "d", "finish_reason": "stop"}]}));
        let (mut growing, mut still) = (vec![], vec![]);
        visit(&mut chunk, &mut |slot, text| growing.push((slot.pointer(), text.clone())), &mut |name, text| still.push((name.to_owned(), text.clone())));
        let pairs = |list: &[(&str, &str)]| list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect::<Vec<_>>();
        assert_eq!(growing, pairs(&[("/choices/1/delta/content", "a"), ("/choices/1/delta/reasoning", "b"), ("/choices/1/delta/tool_calls/3/function/arguments", "{"), ("/choices/0/text", "d")]));
        assert_eq!(still, pairs(&[("id", "c"), ("role", "assistant"), ("id", "t"), ("name", "f"), ("finish_reason", "stop")]));
        assert_eq!(finished(&chunk), vec![0]);
    }

    #[test]
    fn a_carrying_chunk_comes_apart_into_its_slot_again() {
        let like = node(serde_json::json!({"id": "c", "model": "m", "choices": []}));
        let slot = Slot { choice: 2, path: vec![Step::Field("delta".into()), Step::Field("tool_calls".into()), Step::Element(1), Step::Field("function".into()), Step::Field("arguments".into())] };
        let mut chunk = carrying(&like, &slot, "x".into());
        let mut found = vec![];
        visit(&mut chunk, &mut |slot, text| found.push((slot, text.clone())), &mut |_, _| {});
        assert_eq!(found, vec![(slot, "x".to_owned())]);
        assert_eq!(chunk.field("model").and_then(Node::as_str), Some("m"));
    }

    #[test]
    fn a_chunk_is_hollow_only_when_nothing_is_left_to_say() {
        for (chunk, hollow) in [
            (serde_json::json!({"choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": null}]}), true),
            (serde_json::json!({"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": ""}}]}}]}), true),
            (serde_json::json!({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}), false),
            (serde_json::json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}), false),
            (serde_json::json!({"choices": [], "usage": {"total_tokens": 3}}), false),
            (serde_json::json!({"choices": [{"index": 0, "delta": {"content": ""}}], "usage": {"total_tokens": 3}}), false),
        ] {
            assert_eq!(is_hollow(&node(chunk.clone())), hollow, "{chunk}");
        }
    }
}
