//! The text that a policy keeps on record: what left the building, cut to a bound.

use portcullis_policies::{Finding, Mode, Policy, Text};

use crate::json::Node;

/// Most bytes of redacted text kept for the record of one request.
const STORED_TEXT_BYTES_MAX: usize = 64 << 10;

/// The prompt with everything redacted that a rule would redact or block, also where the policy only watches and the prompt leaves as
/// it came. Names and keys are left out.
pub fn prompt(policy: &Policy, texts: &[Text<'_>], findings: &[Vec<Finding>]) -> String {
    let mut prompt = String::new();
    for (text, findings) in texts.iter().zip(findings).filter(|(text, _)| text.redactable) {
        keep(&mut prompt, &policy.redact(text, findings));
        keep(&mut prompt, "\n");
    }
    prompt
}

/// Whether answers are kept. Not where the policy only watches: there they go out as they came.
pub fn keeps_answers(policy: &Policy) -> bool {
    policy.stores_redacted_text() && policy.mode() == Mode::Enforce
}

/// The text of an answer or of a chunk as it left: contents of messages and deltas, and arguments of tool calls.
pub fn answer(json: &[u8]) -> String {
    let mut text = String::new();
    if let Ok(document) = Node::parse(json) {
        for choice in document.field("choices").map(Node::items).unwrap_or_default() {
            let said = choice.field("message").or_else(|| choice.field("delta")).unwrap_or(choice);
            for name in ["reasoning_content", "content", "refusal", "text"] {
                keep(&mut text, said.field(name).and_then(Node::as_str).unwrap_or_default());
            }
            for call in said.field("tool_calls").map(Node::items).unwrap_or_default() {
                let arguments = call.field("function").and_then(|function| function.field("arguments"));
                keep(&mut text, arguments.and_then(Node::as_str).unwrap_or_default());
            }
        }
    }
    text
}

/// Appends `text` as far as there is room.
pub fn keep(kept: &mut String, text: &str) {
    let room = STORED_TEXT_BYTES_MAX.saturating_sub(kept.len());
    kept.push_str(&text[..text.floor_char_boundary(room.min(text.len()))]);
}
