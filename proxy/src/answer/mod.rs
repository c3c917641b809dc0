//! Screening the way back: a whole answer at once, a streamed one piece by piece, by the same rules and the same policy.
//!
//! No input or output here: bytes of the upstream go in, bytes for the client come out. What the client gets does not depend on
//! how the upstream cut its stream.

mod grown;
mod stream;
mod whole;

use portcullis_policies::{Allowance, Direction, Finding, ModelSignal, Outcome, Policy, Refusal, Restoration, Text, Unscreenable, decide};

use crate::dialect::leaves::{self, Side};
use crate::json::Node;
use crate::kept;
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

/// A whole answer, screened.
#[derive(Debug)]
pub struct Screened {
    /// The bytes for the client.
    pub bytes: Vec<u8>,
    /// The text for the record, where the policy keeps it: with its pseudonyms.
    pub kept: Option<String>,
    /// The upstream's own count.
    pub tokens: Option<Tokens>,
    /// Values put back.
    pub restored: u64,
}

/// Screens a whole JSON answer and puts back what left as pseudonyms.
///
/// # Errors
/// [`Stop`], with whatever was found until then in `found`.
pub fn screen_whole(policy: &Policy, allowance: &Allowance, body: &[u8], found: &mut Vec<Found>) -> Result<Screened, Stop> {
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
    let findings: Vec<Vec<Finding>> = texts.iter().map(|text| policy.screen_with(Direction::Response, text, allowance)).collect();
    let decision = decide(policy, &texts, &findings, &ModelSignal::Skipped);
    found.extend(leaves.iter().zip(&findings).filter(|(_, f)| !f.is_empty()).map(|(leaf, f)| (leaf.pointer.clone(), f.clone())));
    match decision.outcome {
        Outcome::Refuse(refusal) => Err(Stop::Refused(refusal)),
        Outcome::Forward(cleared) => {
            leaves::rewrite(&mut document, Side::Answer, |index| cleared.redacted(index));
            let tokens = usage(&document);
            let bytes = document.to_bytes();
            let kept = kept::keeps_answers(policy).then(|| kept::answer(&bytes));
            if allowance.restoration().is_empty() {
                return Ok(Screened { bytes, kept, tokens, restored: 0 });
            }
            let restored = restore(&mut document, allowance.restoration());
            Ok(Screened { bytes: document.to_bytes(), kept, tokens, restored })
        }
    }
}

/// Puts values back into every text that may be rewritten. What was screened is done with: nobody looks at the values again.
fn restore(document: &mut Node, restoration: &Restoration) -> u64 {
    let mut count = 0;
    let leaves = leaves::read(document, Side::Answer);
    let texts: Vec<Option<String>> = leaves
        .iter()
        .map(|leaf| {
            let (text, restored) = leaf.redactable.then(|| restoration.restore(&leaf.text, leaf.encoding)).flatten()?;
            count += restored;
            Some(text)
        })
        .collect();
    leaves::rewrite(document, Side::Answer, |index| texts[index].as_deref());
    count
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
