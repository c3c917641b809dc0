//! Texts that stand apart in a request and that a server puts together: the text parts of one message.
//!
//! A sentence or a number split over parts is whole again in front of the model, so it is screened whole here too.

use std::ops::Range;

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

impl Joined {
    /// What lies within `reach` bytes of an edge, pieces that touch put together: all that can only be read over an edge.
    pub fn seams(&self, reach: usize) -> Vec<&str> {
        let text = self.leaf.text.as_str();
        let mut ranges: Vec<Range<usize>> = Vec::new();
        for edge in &self.edges {
            let range = text.floor_char_boundary(edge.saturating_sub(reach))..text.ceil_char_boundary(edge.saturating_add(reach));
            match ranges.last_mut() {
                Some(last) if range.start <= last.end => last.end = range.end,
                _ => ranges.push(range),
            }
        }
        ranges.into_iter().filter_map(|range| text.get(range)).collect()
    }
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
    fn joined(parts: &[&str]) -> Vec<Joined> {
        let parts: Vec<_> = parts.iter().map(|text| serde_json::json!({"type": "text", "text": text})).collect();
        let body = serde_json::json!({"messages": [{"role": "user", "content": parts}]}).to_string();
        join(&read(&mut Node::parse(body.as_bytes()).unwrap(), Side::Request))
    }

    #[test]
    fn around_an_edge_parts_are_one_text_and_pieces_that_touch_are_too() {
        let seams =
            |parts: &[&str], reach| joined(parts).iter().flat_map(|joined| joined.seams(reach)).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(seams(&["0123456789", "abcdefghij"], 3), ["789abc", "789\nab"]);
        assert_eq!(seams(&["0123456789", "abcdefghij", "ABCDEFGHIJ"], 3), ["789abc", "hijABC", "789\nab", "hij\nAB"]);
        assert_eq!(seams(&["0123456789", "abcdef", "ABC"], 3), ["789abcdefABC", "789\nab", "def\nAB"]);
        assert_eq!(seams(&["ig", "no", "re"], 100), ["ignore", "ig\nno\nre"]);
        assert_eq!(seams(&["字字字", "句句句"], 4), ["字字句句", "字字\n句"], "whole characters");
        assert_eq!(seams(&["alone"], 3), Vec::<String>::new());
        assert_eq!(seams(&["", "", ""], 3), Vec::<String>::new());
    }
}
