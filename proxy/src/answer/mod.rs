//! Screening the way back: a whole answer at once, a streamed one piece by piece, by the same rules and the same policy.
//!
//! No input or output here: bytes of the upstream go in, bytes for the client come out. What the client gets does not depend on
//! how the upstream cut its stream.

mod grown;
mod stream;
mod whole;

use portcullis_policies::{Direction, Finding, ModelSignal, Outcome, Policy, Refusal, Text, Unscreenable, decide};

use crate::dialect::leaves::{self, Side};
use crate::json::Node;
use crate::record::Tokens;

pub use stream::AnswerStream;

/// Why an answer stops.
#[derive(Debug)]
pub enum Stop {
    /// The policy refuses it.
    Refused(Refusal),
    /// The upstream's answer is not what it should be.
    Broken(&'static str),
}

/// What was found in one text of an answer.
pub type Found = (String, Vec<Finding>);

/// Screens a whole JSON answer and returns the bytes for the client, the findings and the usage.
///
/// # Errors
/// [`Stop`], with whatever was found until then in `found`.
pub fn screen_whole(policy: &Policy, body: &[u8], found: &mut Vec<Found>) -> Result<(Vec<u8>, Option<Tokens>), Stop> {
    let mut document = Node::parse(body).map_err(|_| Stop::Broken("its answer is not valid JSON"))?;
    if !matches!(document, Node::Object(_)) || document.field("error").is_some_and(|error| *error != Node::Null) {
        return Err(Stop::Broken("its answer is not an answer"));
    }
    drop_unscreened(&mut document, policy);
    let leaves = leaves::read(&mut document, Side::Answer);
    let texts: Vec<Text<'_>> = leaves
        .iter()
        .map(|leaf| Text { role: leaf.role, encoding: leaf.encoding, redactable: leaf.redactable, text: &leaf.text })
        .collect();
    let findings: Vec<Vec<Finding>> = texts.iter().map(|text| policy.screen(Direction::Response, text)).collect();
    let decision = decide(policy, &texts, &findings, &ModelSignal::Skipped);
    found.extend(leaves.iter().zip(&findings).filter(|(_, f)| !f.is_empty()).map(|(leaf, f)| (leaf.pointer.clone(), f.clone())));
    match decision.outcome {
        Outcome::Refuse(refusal) => Err(Stop::Refused(refusal)),
        Outcome::Forward(cleared) => {
            leaves::rewrite(&mut document, Side::Answer, |index| cleared.redacted(index));
            Ok((document.to_bytes(), usage(&document)))
        }
    }
}

/// Fields that repeat the answer token by token, past any redaction; wherever they stand.
const TOKEN_FIELDS: [&str; 6] = ["logprobs", "prompt_logprobs", "top_logprobs", "token_ids", "prompt_token_ids", "tokens"];

/// Empties what cannot be screened, and the random padding that some servers add to each chunk.
fn drop_unscreened(node: &mut Node, policy: &Policy) {
    if !policy.allows_unscreenable(Unscreenable::Logprobs) {
        drop_fields(node, &TOKEN_FIELDS);
    }
    if let Node::Object(fields) = node {
        fields.retain(|(name, _)| name != "obfuscation");
    }
}

fn drop_fields(node: &mut Node, names: &[&str]) {
    match node {
        Node::Array(items) => items.iter_mut().for_each(|item| drop_fields(item, names)),
        Node::Object(fields) => {
            for (name, value) in fields {
                if names.contains(&name.as_str()) && matches!(value, Node::Array(_) | Node::Object(_)) {
                    *value = Node::Null;
                } else {
                    drop_fields(value, names);
                }
            }
        }
        _ => {}
    }
}

fn usage(document: &Node) -> Option<Tokens> {
    let usage = document.field("usage")?;
    let prompt = usage.field("prompt_tokens")?.as_u64()?;
    let answer = usage.field("completion_tokens").and_then(Node::as_u64).unwrap_or(0);
    // A number no context window can hold is no measurement.
    (prompt < 1 << 40 && answer < 1 << 40).then_some(Tokens { prompt, answer, measured: true })
}
