//! One chunk of a streamed answer, taken apart into the pieces of text that grow from chunk to chunk.
//!
//! A piece belongs to a [`Slot`]: the choice, and the field inside it (`delta.content`, `delta.tool_calls[2].function.arguments`,
//! `text`, or one that nobody has heard of yet). Pieces of one slot put together are one text; slots never mix.

use super::leaves::{NUMBER_CHARS_MIN, is_known_key};
use crate::json::Node;

/// Where a text stands in a chunk.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Slot {
    /// The choice's `index`; none outside the choices.
    pub choice: Option<u64>,
    /// The way to it inside the choice, or inside the chunk.
    pub path: Vec<Step>,
}

/// One step on the way to a text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Into an object's field.
    Field(String),
    /// Into the element of an array whose `index` field says so, or that stands there.
    Element(u64),
}

impl Slot {
    /// Whether the text is itself JSON.
    pub fn is_json(&self) -> bool {
        matches!(self.path.last(), Some(Step::Field(name)) if name == "arguments")
    }

    /// The slot like a JSON pointer, for the record: without keys that are somebody's text.
    pub fn pointer(&self) -> String {
        let mut pointer = self.choice.map_or_else(String::new, |choice| format!("/choices/{choice}"));
        for step in &self.path {
            match step {
                Step::Field(name) if is_known_key(name) => pointer.push_str(&format!("/{name}")),
                Step::Field(_) => pointer.push_str("/#"),
                Step::Element(index) => pointer.push_str(&format!("/{index}")),
            }
        }
        pointer
    }

    fn within<T>(&mut self, step: Step, go: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(step);
        let done = go(self);
        self.path.pop();
        done
    }
}

/// Who is shown the parts of a chunk.
pub trait Visit {
    /// A piece of a text that grows from chunk to chunk.
    fn growing(&mut self, slot: Slot, text: &mut String);
    /// A text that comes whole: a name, an id, a long number, or whatever stands outside the deltas.
    fn whole(&mut self, slot: Slot, text: &mut String);
    /// A key that the dialect does not know: somebody's text.
    fn key(&mut self, key: &str);
}

/// Why a chunk is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the event is no chunk of the dialect")]
pub struct NoChunk;

/// Shows `visitor` every text and every unknown key of the chunk.
///
/// # Errors
/// [`NoChunk`] when there is no list of choices, something in it is no object, or an index is no index: texts that nobody here could
/// put together are not passed on.
pub fn visit(chunk: &mut Node, visitor: &mut dyn Visit) -> Result<(), NoChunk> {
    let Node::Object(fields) = chunk else { return Err(NoChunk) };
    let mut has_choices = false;
    for (name, value) in fields {
        known(name, visitor);
        match value {
            Node::Array(choices) if name == "choices" => {
                has_choices = true;
                visit_choices(choices, visitor)?;
            }
            _ => still(value, &mut Slot { choice: None, path: vec![Step::Field(name.clone())] }, visitor),
        }
    }
    if has_choices { Ok(()) } else { Err(NoChunk) }
}

fn visit_choices(choices: &mut [Node], visitor: &mut dyn Visit) -> Result<(), NoChunk> {
    for (position, choice) in choices.iter_mut().enumerate() {
        let index = index_of(choice, position)?;
        let Node::Object(fields) = choice else { return Err(NoChunk) };
        for (name, value) in fields {
            known(name, visitor);
            let mut slot = Slot { choice: Some(index), path: vec![Step::Field(name.clone())] };
            match name.as_str() {
                "delta" | "text" | "message" => grow(value, &mut slot, visitor)?,
                _ => still(value, &mut slot, visitor),
            }
        }
    }
    Ok(())
}

/// What an element says of its place, or else its place.
fn index_of(element: &Node, position: usize) -> Result<u64, NoChunk> {
    match element.field("index") {
        None => Ok(position as u64),
        Some(index) => index.as_u64().ok_or(NoChunk),
    }
}

fn known(key: &str, visitor: &mut dyn Visit) {
    if !is_known_key(key) {
        visitor.key(key);
    }
}

/// Fields of a delta that come whole and name something.
fn is_whole(name: &str) -> bool {
    matches!(name, "role" | "id" | "type" | "name" | "tool_call_id")
}

fn grow(node: &mut Node, slot: &mut Slot, visitor: &mut dyn Visit) -> Result<(), NoChunk> {
    match node {
        Node::String(text) => match slot.path.last() {
            Some(Step::Field(name)) if is_whole(name) => visitor.whole(slot.clone(), text),
            _ => visitor.growing(slot.clone(), text),
        },
        Node::Array(items) => {
            for (position, item) in items.iter_mut().enumerate() {
                let index = index_of(item, position)?;
                slot.within(Step::Element(index), |slot| grow(item, slot, visitor))?;
            }
        }
        Node::Object(fields) => {
            for (name, value) in fields {
                known(name, visitor);
                slot.within(Step::Field(name.clone()), |slot| grow(value, slot, visitor))?;
            }
        }
        Node::Number(number) => {
            let before = number.to_string();
            let mut text = before.clone();
            if text.len() >= NUMBER_CHARS_MIN && !matches!(slot.path.last(), Some(Step::Field(name)) if name == "index") {
                visitor.whole(slot.clone(), &mut text);
            }
            if text != before {
                *node = Node::String(text);
            }
        }
        Node::Null | Node::Bool(_) => {}
    }
    Ok(())
}

fn still(node: &mut Node, slot: &mut Slot, visitor: &mut dyn Visit) {
    match node {
        Node::String(text) => visitor.whole(slot.clone(), text),
        Node::Array(items) => {
            for (position, item) in items.iter_mut().enumerate() {
                slot.within(Step::Element(position as u64), |slot| still(item, slot, visitor));
            }
        }
        Node::Object(fields) => {
            for (name, value) in fields {
                known(name, visitor);
                slot.within(Step::Field(name.clone()), |slot| still(value, slot, visitor));
            }
        }
        Node::Null | Node::Bool(_) | Node::Number(_) => {}
    }
}

/// Whether a choice says that it ends here. Some servers send an empty reason with every chunk, which says nothing.
fn is_finish(choice: &Node) -> bool {
    !matches!(choice.field("finish_reason"), None | Some(Node::Null)) && choice.field("finish_reason").and_then(Node::as_str) != Some("")
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
    let mut choice = vec![("index".to_owned(), Node::Number(slot.choice.unwrap_or(0).into()))];
    if let Node::Object(fields) = inner {
        choice.extend(fields);
    }
    choice.push(("finish_reason".to_owned(), Node::Null));
    let mut fields: Vec<(String, Node)> =
        ["id", "object", "created", "model"].into_iter().filter_map(|name| Some((name.to_owned(), like.field(name)?.clone()))).collect();
    fields.push(("choices".to_owned(), Node::Array(vec![Node::Object(choice)])));
    Node::Object(fields)
}

/// Takes back that `choice` ends with this chunk.
pub fn go_on(chunk: &mut Node, choice: u64) {
    let Some(choices) = chunk.field_mut("choices") else { return };
    for (position, node) in choices.items_mut().iter_mut().enumerate() {
        if node.field("index").and_then(Node::as_u64).unwrap_or(position as u64) == choice
            && let Some(reason) = node.field_mut("finish_reason")
        {
            *reason = Node::Null;
        }
    }
}

/// The choices whose last chunk this is.
pub fn finished(chunk: &Node) -> Vec<u64> {
    let choices = chunk.field("choices").map(Node::items).unwrap_or_default();
    choices
        .iter()
        .enumerate()
        .filter(|(_, choice)| is_finish(choice))
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
            !is_finish(choice) && choice.field("delta").is_none_or(says_nothing) && choice.field("text").is_none_or(says_nothing)
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

    #[derive(Default)]
    struct Seen {
        growing: Vec<(Slot, String)>,
        whole: Vec<(String, String)>,
        keys: Vec<String>,
    }

    impl Visit for Seen {
        fn growing(&mut self, slot: Slot, text: &mut String) {
            self.growing.push((slot, text.clone()));
        }

        fn whole(&mut self, slot: Slot, text: &mut String) {
            self.whole.push((slot.pointer(), text.clone()));
        }

        fn key(&mut self, key: &str) {
            self.keys.push(key.to_owned());
        }
    }

    #[test]
    fn another_providers_event_is_no_chunk_and_unknown_keys_are_shown() {
        for event in [
            serde_json::json!({"type": "content_block_delta", "delta": {"text": "a"}}),
            serde_json::json!({"choices": ["a"]}),
            serde_json::json!([1]),
        ] {
            assert_eq!(visit(&mut node(event), &mut Seen::default()), Err(NoChunk));
        }
        let mut seen = Seen::default();
        visit(&mut node(serde_json::json!({"a@b": 1, "choices": [{"c@d": 1, "delta": {"e@f": {"g@h": 1}}}]})), &mut seen).unwrap();
        assert_eq!(seen.keys, ["a@b", "c@d", "e@f", "g@h"]);
    }

    #[test]
    fn texts_of_choices_fields_and_tool_calls_are_kept_apart() {
        let mut chunk = node(serde_json::json!({"id": "c", "choices": [
            {"index": 1, "delta": {"role": "assistant", "content": "a", "reasoning": "b",
                "tool_calls": [{"index": 3, "id": "t", "function": {"name": "f", "arguments": "{"}}]}},
            {"index": 0, "text": "d", "finish_reason": "stop"}]}));
        let mut seen = Seen::default();
        visit(&mut chunk, &mut seen).unwrap();
        let pairs = |list: &[(&str, &str)]| list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect::<Vec<_>>();
        let growing: Vec<(String, String)> = seen.growing.iter().map(|(slot, text)| (slot.pointer(), text.clone())).collect();
        assert_eq!(
            growing,
            pairs(&[
                ("/choices/1/delta/content", "a"),
                ("/choices/1/delta/reasoning", "b"),
                ("/choices/1/delta/tool_calls/3/function/arguments", "{"),
                ("/choices/0/text", "d")
            ])
        );
        assert_eq!(
            seen.whole,
            pairs(&[
                ("/id", "c"),
                ("/choices/1/delta/role", "assistant"),
                ("/choices/1/delta/tool_calls/3/id", "t"),
                ("/choices/1/delta/tool_calls/3/function/name", "f"),
                ("/choices/0/finish_reason", "stop")
            ])
        );
        assert_eq!(finished(&chunk), vec![0]);
    }

    #[test]
    fn a_carrying_chunk_comes_apart_into_its_slot_again() {
        let like = node(serde_json::json!({"id": "c", "model": "m", "choices": []}));
        let slot = Slot {
            choice: Some(2),
            path: vec![
                Step::Field("delta".into()),
                Step::Field("tool_calls".into()),
                Step::Element(1),
                Step::Field("function".into()),
                Step::Field("arguments".into()),
            ],
        };
        let mut chunk = carrying(&like, &slot, "x".into());
        let mut seen = Seen::default();
        visit(&mut chunk, &mut seen).unwrap();
        assert_eq!(seen.growing, vec![(slot, "x".to_owned())]);
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
