//! Texts that stand apart in a request and that a server puts together: the text parts of one message.
//!
//! A sentence or a number split over parts is whole again in front of the model, so it is screened whole here too.

use portcullis_policies::Encoding;

use super::leaves::{Leaf, is_message};

/// Text parts put together.
#[derive(Clone, Debug, PartialEq)]
pub struct Joined {
    /// The joined text; it cannot be rewritten, as it stands nowhere.
    pub leaf: Leaf,
    /// Where one part ends and the next begins, in bytes.
    pub edges: Vec<usize>,
}

/// The text parts of each message as one text: put together without anything between, and with a line end, as servers do either.
pub fn join(leaves: &[Leaf]) -> Vec<Joined> {
    let mut joined = Vec::new();
    let mut rest = leaves.iter().filter_map(|leaf| Some((part_of(&leaf.pointer)?, leaf))).peekable();
    while let Some((message, first)) = rest.next() {
        let mut parts = vec![first];
        while let Some((_, leaf)) = rest.next_if(|(of, _)| *of == message) {
            parts.push(leaf);
        }
        if parts.len() > 1 {
            joined.extend(["", "\n"].map(|between| joined_by(&parts, between)));
        }
    }
    joined
}

/// The message that a text part belongs to: `/messages/N` of `/messages/N/content/M/text`.
fn part_of(pointer: &str) -> Option<&str> {
    let message = &pointer[..pointer.find("/content/")?];
    (is_message(message) && pointer.ends_with("/text")).then_some(message)
}

fn joined_by(parts: &[&Leaf], between: &str) -> Joined {
    let mut leaf =
        Leaf { pointer: parts[0].pointer.clone(), role: parts[0].role, encoding: Encoding::Plain, redactable: false, text: String::new() };
    let mut edges = Vec::new();
    for part in parts {
        if !leaf.text.is_empty() {
            edges.push(leaf.text.len());
            leaf.text.push_str(between);
        }
        leaf.text.push_str(&part.text);
    }
    Joined { leaf, edges }
}

#[cfg(test)]
mod tests {
    use super::super::leaves::{Side, read};
    use super::*;
    use crate::json::Node;

    #[test]
    fn text_parts_of_one_message_are_also_one_text() {
        let part = |text: &str| serde_json::json!({"type": "text", "text": text});
        let mut body = Node::parse(
            serde_json::json!({"messages": [
            {"role": "user", "content": [part("ab"), part("cd")]}, {"role": "user", "content": [part("alone")]}]})
            .to_string()
            .as_bytes(),
        )
        .unwrap();
        let joined = join(&read(&mut body, Side::Request));
        let texts: Vec<(&str, &[usize])> = joined.iter().map(|j| (j.leaf.text.as_str(), j.edges.as_slice())).collect();
        assert_eq!(texts, [("abcd", &[2][..]), ("ab\ncd", &[2][..])]);
    }
}
