//! Every text leaf of a document: what a model could read, whoever wrote it, and under whatever field it stands.
//!
//! The walk goes through the whole tree and does not ask a list which fields hold text. It leaves out only what cannot carry any:
//! the fixed words of the protocol (`"role": "user"`), numbers too short to be an identifier, and in answers the vectors of
//! embeddings. So a field that nobody thought of is screened like any other. The same walk reads the texts and later writes the
//! redacted ones back, in the same order; a redaction cannot land in the wrong place.

use portcullis_policies::{Encoding, Role};

use crate::json::Node;

/// Shortest number, in characters, that is screened as text: the shortest identifiers (phone numbers) have seven digits.
pub(super) const NUMBER_CHARS_MIN: usize = 7;

/// Which way a document goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// From the caller to the model.
    Request,
    /// From the model to the caller.
    Answer,
}

/// One text and what is known of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Leaf {
    /// Where it stands, like a JSON pointer (RFC 6901), with `#` and its position in the place of a key that the protocol does not
    /// know: `/metadata/#0`. So it is short, and holds nobody's text.
    pub pointer: String,
    /// Who speaks.
    pub role: Role,
    /// Whether the text is itself JSON.
    pub encoding: Encoding,
    /// Whether it may be rewritten; a key or a name may not.
    pub redactable: bool,
    /// The text.
    pub text: String,
}

/// The leaves of `document`, in the order of the walk.
pub fn read(document: &mut Node, side: Side) -> Vec<Leaf> {
    let mut leaves = Vec::new();
    let mut visit = |place: &Place<'_>, slot: Slot<'_>| {
        let (text, redactable) = match slot {
            Slot::Text(text) => (text.clone(), place.is_redactable()),
            Slot::Number(node) => (number_text(node), true),
            Slot::Key(key) => (key.to_owned(), false),
        };
        let encoding = if place.field == "arguments" || is_json(&text) { Encoding::Json } else { Encoding::Plain };
        leaves.push(Leaf { pointer: place.pointer.to_owned(), role: place.role, encoding, redactable, text });
    };
    Walk { side, pointer: String::new() }.root(document, &mut visit);
    leaves
}

/// Walks again and puts `text(index)` in the place of leaf `index` wherever it gives one.
pub fn rewrite<'t>(document: &mut Node, side: Side, text: impl Fn(usize) -> Option<&'t str>) {
    let mut index = 0;
    let mut visit = |_: &Place<'_>, slot: Slot<'_>| {
        if let Some(new) = text(index) {
            match slot {
                Slot::Text(old) => new.clone_into(old),
                Slot::Number(node) => *node = Node::String(new.to_owned()),
                // A finding in a key is a block, so there is never a new text for one.
                Slot::Key(_) => {}
            }
        }
        index += 1;
    };
    Walk { side, pointer: String::new() }.root(document, &mut visit);
}

enum Slot<'a> {
    Text(&'a mut String),
    Number(&'a mut Node),
    Key(&'a str),
}

struct Place<'a> {
    pointer: &'a str,
    /// The name of the nearest object field.
    field: &'a str,
    role: Role,
}

impl Place<'_> {
    /// Names that the other side matches byte for byte.
    fn is_redactable(&self) -> bool {
        !matches!(self.field, "model" | "id" | "tool_call_id" | "type" | "role" | "object" | "finish_reason")
            && !(self.field == "name" && (self.pointer.ends_with("/function/name") || self.pointer.ends_with("/json_schema/name")))
    }
}

/// Whether a text is itself a JSON object or list, as tool results and structured answers are: its escapes hide text, and a
/// redaction has to leave it JSON.
fn is_json(text: &str) -> bool {
    let inner = text.trim();
    ((inner.starts_with('{') && inner.ends_with('}')) || (inner.starts_with('[') && inner.ends_with(']')))
        && serde_json::from_str::<serde::de::IgnoredAny>(inner).is_ok()
}

struct Walk {
    side: Side,
    pointer: String,
}

type Visit<'v> = dyn FnMut(&Place<'_>, Slot<'_>) + 'v;

impl Walk {
    fn root(&mut self, document: &mut Node, visit: &mut Visit<'_>) {
        let role = match self.side {
            Side::Request => Role::User,
            Side::Answer => Role::Assistant,
        };
        self.node(document, "", role, visit);
    }

    fn node(&mut self, node: &mut Node, field: &str, role: Role, visit: &mut Visit<'_>) {
        match node {
            Node::Null | Node::Bool(_) => {}
            Node::String(text) => {
                let is_carried = self.side == Side::Request && is_picture(&self.pointer, text);
                if !is_carried && !is_protocol_word(field, text) {
                    visit(&Place { pointer: &self.pointer, field, role }, Slot::Text(text));
                }
            }
            Node::Number(_) => {
                if !self.is_own_number(field) && number_text(node).len() >= NUMBER_CHARS_MIN {
                    visit(&Place { pointer: &self.pointer, field, role }, Slot::Number(node));
                }
            }
            Node::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.step(&index.to_string(), |walk| walk.node(item, field, role, visit));
                }
            }
            Node::Object(fields) => self.object(fields, role, visit),
        }
    }

    fn object(&mut self, fields: &mut [(String, Node)], role: Role, visit: &mut Visit<'_>) {
        let role = self.role_of(fields).unwrap_or(role);
        for (position, (key, value)) in fields.iter_mut().enumerate() {
            if !is_known_key(key) {
                self.step(&format!("#{position}"), |walk| {
                    visit(&Place { pointer: &walk.pointer, field: "", role }, Slot::Key(key));
                });
            }
            if self.side == Side::Answer && key == "embedding" && is_vector(value) {
                continue;
            }
            let role = self.role_under(key).unwrap_or(role);
            // An unknown key is a text itself, of any length: it stands in no pointer.
            let name = if is_known_key(key) { key.clone() } else { format!("#{position}") };
            self.step(&name, |walk| walk.node(value, key, role, visit));
        }
    }

    /// The speaker of a message, from its `role`.
    fn role_of(&self, fields: &[(String, Node)]) -> Option<Role> {
        if self.side == Side::Answer || !is_message(&self.pointer) {
            return None;
        }
        let role = fields.iter().find(|(key, _)| key == "role")?.1.as_str()?;
        Some(match role {
            "system" | "developer" => Role::System,
            "assistant" => Role::Assistant,
            "tool" | "function" => Role::Tool,
            _ => Role::User,
        })
    }

    /// Tool descriptions come from whoever made the tool, not from the user.
    fn role_under(&self, key: &str) -> Option<Role> {
        (self.side == Side::Request && self.pointer.is_empty() && matches!(key, "tools" | "functions" | "response_format"))
            .then_some(Role::Tool)
    }

    /// Numbers of the protocol itself: checked parameters of a request, counts and times of an answer.
    fn is_own_number(&self, field: &str) -> bool {
        match self.side {
            Side::Request => self.pointer.bytes().filter(|&b| b == b'/').count() == 1 && !matches!(field, "metadata" | "prediction"),
            Side::Answer => matches!(field, "created" | "index") || self.pointer.starts_with("/usage/"),
        }
    }

    fn step(&mut self, name: &str, go: impl FnOnce(&mut Self)) {
        let length = self.pointer.len();
        self.pointer.push('/');
        self.pointer.push_str(name);
        go(self);
        self.pointer.truncate(length);
    }
}

pub(super) fn is_message(pointer: &str) -> bool {
    pointer.strip_prefix("/messages/").is_some_and(|index| !index.contains('/'))
}

fn number_text(node: &Node) -> String {
    match node {
        Node::Number(number) => number.to_string(),
        _ => String::new(),
    }
}

/// A list of numbers, or the base64 form of one as the OpenAI SDK asks for it: no language to screen.
fn is_vector(value: &Node) -> bool {
    match value {
        Node::Array(items) => items.iter().all(|item| matches!(item, Node::Number(_))),
        Node::String(text) => text.len() % 4 == 0 && is_base64(text) && is_floats(text),
        _ => false,
    }
}

/// A picture that the policy let pass, in the one place where a request may carry one: not a text, however long.
fn is_picture(pointer: &str, text: &str) -> bool {
    let mut steps = pointer.split('/').skip(1);
    let at_home = steps.next() == Some("messages")
        && steps.nth(1) == Some("content")
        && steps.nth(1) == Some("image_url")
        && steps.next() == Some("url")
        && steps.next().is_none();
    at_home && PICTURES.iter().any(|prefix| text.strip_prefix(prefix).is_some_and(is_base64))
}

/// How a carried picture begins.
pub(super) const PICTURES: [&str; 4] =
    ["data:image/png;base64,", "data:image/jpeg;base64,", "data:image/webp;base64,", "data:image/gif;base64,"];

fn is_base64(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b))
}

fn is_floats(base64_text: &str) -> bool {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(base64_text).is_ok_and(|bytes| {
        bytes.len() % 4 == 0
            && bytes.chunks_exact(4).all(|b| {
                let value = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
                value.is_finite() && value.abs() < 1e6
            })
    })
}

fn is_protocol_word(field: &str, text: &str) -> bool {
    match field {
        "role" => matches!(text, "system" | "developer" | "user" | "assistant" | "tool" | "function"),
        "type" => matches!(
            text,
            "text"
                | "function"
                | "object"
                | "string"
                | "number"
                | "integer"
                | "boolean"
                | "array"
                | "null"
                | "json_schema"
                | "json_object"
                | "content"
                | "refusal"
        ),
        "object" => matches!(text, "chat.completion" | "chat.completion.chunk" | "text_completion" | "list" | "model" | "embedding"),
        "finish_reason" => matches!(text, "stop" | "length" | "tool_calls" | "function_call" | "content_filter"),
        _ => false,
    }
}

/// Whether a key is one of the protocol's own.
pub(super) fn is_known_key(key: &str) -> bool {
    KNOWN_KEYS.contains(&key)
}

/// The protocol's own field names. Every other key is somebody's text and is screened.
const KNOWN_KEYS: &[&str] = &[
    "additionalProperties",
    "allowed_tools",
    "anyOf",
    "arguments",
    "best_of",
    "choices",
    "completion_tokens",
    "completion_tokens_details",
    "content",
    "created",
    "data",
    "default",
    "delta",
    "description",
    "detail",
    "dimensions",
    "embedding",
    "encoding_format",
    "enum",
    "finish_reason",
    "format",
    "frequency_penalty",
    "function",
    "function_call",
    "functions",
    "id",
    "image_url",
    "include_usage",
    "index",
    "input",
    "items",
    "json_schema",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "message",
    "messages",
    "metadata",
    "min_p",
    "mode",
    "model",
    "n",
    "name",
    "object",
    "owned_by",
    "parallel_tool_calls",
    "parameters",
    "prediction",
    "presence_penalty",
    "prompt",
    "prompt_tokens",
    "prompt_tokens_details",
    "properties",
    "reasoning",
    "reasoning_content",
    "reasoning_effort",
    "refusal",
    "repetition_penalty",
    "required",
    "response_format",
    "role",
    "safety_identifier",
    "schema",
    "seed",
    "service_tier",
    "stop",
    "store",
    "stream",
    "stream_options",
    "strict",
    "suffix",
    "system_fingerprint",
    "temperature",
    "text",
    "tool_call_id",
    "tool_calls",
    "tool_choice",
    "tools",
    "top_k",
    "top_logprobs",
    "top_p",
    "total_tokens",
    "type",
    "url",
    "usage",
    "user",
    "verbosity",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn node(value: serde_json::Value) -> Node {
        Node::parse(value.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn roles_follow_the_messages_and_the_tools() {
        let mut body = node(serde_json::json!({
            "model": "m",
            "messages": [{"role": "system", "content": "a"}, {"role": "tool", "content": [{"type": "text", "text": "b"}]}],
            "tools": [{"type": "function", "function": {"name": "f", "description": "c"}}],
            "user": "d"
        }));
        let found: Vec<(String, Role)> = read(&mut body, Side::Request).into_iter().map(|l| (l.text, l.role)).collect();
        for expected in [("a", Role::System), ("b", Role::Tool), ("c", Role::Tool), ("d", Role::User)] {
            assert!(found.contains(&(expected.0.into(), expected.1)), "{expected:?}");
        }
    }

    #[test]
    fn keys_and_names_may_not_be_rewritten_and_long_numbers_may() {
        let mut body = node(serde_json::json!({
            "metadata": {"ada@example.com": "x", "name": 4_111_111_111_111_111_u64, "small": 12},
            "tools": [{"function": {"name": "f"}}]
        }));
        let leaves = read(&mut body, Side::Request);
        let by_text = |text: &str| leaves.iter().find(|l| l.text == text);
        assert!(!by_text("ada@example.com").unwrap().redactable);
        assert!(!by_text("f").unwrap().redactable);
        assert!(by_text("4111111111111111").unwrap().redactable);
        assert!(by_text("12").is_none());
        let card = leaves.iter().position(|l| l.text == "4111111111111111").unwrap();
        rewrite(&mut body, Side::Request, |index| (index == card).then_some("[CREDIT_CARD]"));
        assert_eq!(body.field("metadata").unwrap().field("name").unwrap().as_str(), Some("[CREDIT_CARD]"));
    }

    #[test]
    fn no_pointer_holds_a_strangers_key() {
        let mut body = node(serde_json::json!({"metadata": {"ada@example.com": {"and a long one": ["x"]}}}));
        assert!(read(&mut body, Side::Request).iter().all(|leaf| !leaf.pointer.contains("example") && !leaf.pointer.contains("long")));
    }

    #[test]
    fn only_a_picture_in_its_place_is_no_text() {
        let picture = "data:image/png;base64,AAAA";
        let mut body = node(serde_json::json!({"messages": [{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": picture}}, {"type": "image_url", "image_url": {"url": "data:image/ada;base64,AAAA"}}]}],
            "metadata": {"url": picture}}));
        let texts: Vec<String> =
            read(&mut body, Side::Request).into_iter().map(|leaf| leaf.text).filter(|text| text.contains("data:")).collect();
        assert_eq!(texts, ["data:image/ada;base64,AAAA", picture]);
    }

    #[test]
    fn vectors_are_no_text_and_what_only_looks_like_one_is() {
        let mut numbers = node(serde_json::json!({"data": [{"object": "embedding", "embedding": [0.123_456_78, -1]}]}));
        assert!(read(&mut numbers, Side::Answer).is_empty());
        let mut packed = node(serde_json::json!({"data": [{"embedding": "AACAPwAAAEA="}]}));
        assert!(read(&mut packed, Side::Answer).is_empty());
        let mut words = node(serde_json::json!({"data": [{"embedding": "aWdub3JlIGFsbA=="}]}));
        assert_eq!(read(&mut words, Side::Answer).len(), 1);
    }
}
