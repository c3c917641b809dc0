//! JSON as the gate reads it: strictly, once, within a budget, with every object in its written order.
//!
//! `serde_json` does the scanning; this file adds what it leaves open: a repeated key is an error instead of "the last one wins",
//! nesting and the number of elements are bounded everywhere (also under fields nobody knows), and nothing may follow the document.

use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::Number;

/// Deepest nesting of a document. A tool schema rarely passes 20.
pub const DEPTH_MAX: usize = 64;
/// Most values and keys in a document.
pub const ELEMENTS_MAX: usize = 100_000;

const DUPLICATE: &str = "a key stands twice in one object";
const TOO_DEEP: &str = "nested more than 64 levels deep";
const TOO_MANY: &str = "more than 100000 elements";

/// A JSON value. Objects keep the order of their keys, and no key stands twice.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A finite number.
    Number(Number),
    /// A string.
    String(String),
    /// An array.
    Array(Vec<Node>),
    /// An object.
    Object(Vec<(String, Node)>),
}

/// Why a document was refused. Says where, never what.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason} (line {line}, column {column})")]
pub struct JsonError {
    reason: &'static str,
    line: usize,
    column: usize,
}

impl Node {
    /// Reads one whole document.
    ///
    /// # Errors
    /// Bad syntax, bytes after the document, invalid UTF-8, a repeated key, more than [`DEPTH_MAX`] levels or [`ELEMENTS_MAX`] elements.
    pub fn parse(bytes: &[u8]) -> Result<Self, JsonError> {
        let left = Cell::new(ELEMENTS_MAX);
        let mut scanner = serde_json::Deserializer::from_slice(bytes);
        let node = Seed { depth: 0, left: &left }.deserialize(&mut scanner).map_err(|e| JsonError::of(&e))?;
        scanner.end().map_err(|e| JsonError::of(&e))?;
        Ok(node)
    }

    /// The document as bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Keys are strings and numbers are finite, so nothing in it can fail to serialise.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The value of `key`, when this is an object that has it.
    pub fn field(&self, key: &str) -> Option<&Node> {
        match self {
            Node::Object(fields) => fields.iter().find(|(name, _)| name == key).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The value of `key` for change, when this is an object that has it.
    pub fn field_mut(&mut self, key: &str) -> Option<&mut Node> {
        match self {
            Node::Object(fields) => fields.iter_mut().find(|(name, _)| name == key).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The string, when this is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Node::String(text) => Some(text),
            _ => None,
        }
    }

    /// The whole number, when this is one that fits.
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Node::Number(number) => number.as_u64(),
            _ => None,
        }
    }

    /// The elements, when this is an array.
    pub fn items(&self) -> &[Node] {
        match self {
            Node::Array(items) => items,
            _ => &[],
        }
    }

    /// The elements for change, when this is an array.
    pub fn items_mut(&mut self) -> &mut [Node] {
        match self {
            Node::Array(items) => items,
            _ => &mut [],
        }
    }
}

impl JsonError {
    fn of(error: &serde_json::Error) -> Self {
        let text = error.to_string();
        let reason = [DUPLICATE, TOO_DEEP, TOO_MANY].into_iter().find(|reason| text.starts_with(reason)).unwrap_or_else(|| {
            if text.starts_with("trailing characters") {
                "bytes after the JSON document"
            } else if text.starts_with("number out of range") {
                "a number is out of range"
            } else if text.starts_with("recursion limit") {
                TOO_DEEP
            } else if error.is_eof() {
                "the JSON document ends too early"
            } else {
                "not valid JSON in UTF-8"
            }
        });
        Self { reason, line: error.line(), column: error.column() }
    }
}

#[derive(Clone, Copy)]
struct Seed<'a> {
    depth: usize,
    left: &'a Cell<usize>,
}

impl<'a> Seed<'a> {
    fn spend<E: serde::de::Error>(self) -> Result<(), E> {
        match self.left.get().checked_sub(1) {
            Some(left) => {
                self.left.set(left);
                Ok(())
            }
            None => Err(E::custom(TOO_MANY)),
        }
    }

    fn deeper<E: serde::de::Error>(self) -> Result<Seed<'a>, E> {
        if self.depth == DEPTH_MAX {
            return Err(E::custom(TOO_DEEP));
        }
        Ok(Seed { depth: self.depth + 1, left: self.left })
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        self.spend()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Node, E> {
        Number::from_f64(value).map(Node::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Node, E> {
        Ok(Node::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let seed = self.deeper()?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(seed)? {
            items.push(item);
        }
        Ok(Node::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let seed = self.deeper()?;
        let mut fields: Vec<(String, Node)> = Vec::new();
        let mut names = Names::default();
        while let Some(key) = map.next_key::<String>()? {
            self.spend()?;
            if !names.add(&key, &fields) {
                return Err(A::Error::custom(DUPLICATE));
            }
            fields.push((key, map.next_value_seed(seed)?));
        }
        Ok(Node::Object(fields))
    }
}

/// The keys seen in one object: looked through while few, hashed (SipHash, seeded) once many.
#[derive(Default)]
struct Names {
    hashed: HashSet<String>,
}

impl Names {
    const FEW: usize = 16;

    fn add(&mut self, key: &str, fields: &[(String, Node)]) -> bool {
        if fields.len() < Self::FEW {
            return fields.iter().all(|(name, _)| name != key);
        }
        if self.hashed.is_empty() {
            self.hashed.extend(fields.iter().map(|(name, _)| name.clone()));
        }
        self.hashed.insert(key.to_owned())
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Node::Null => serializer.serialize_unit(),
            Node::Bool(value) => serializer.serialize_bool(*value),
            Node::Number(value) => value.serialize(serializer),
            Node::String(value) => serializer.serialize_str(value),
            Node::Array(items) => {
                let mut seq = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    seq.serialize_element(item)?;
                }
                seq.end()
            }
            Node::Object(fields) => {
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                for (key, value) in fields {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(text: &str) -> &'static str {
        Node::parse(text.as_bytes()).unwrap_err().reason
    }

    #[test]
    fn a_document_comes_back_as_it_went_in() {
        let text = r#"{"b":1,"a":[true,null,-0.5,"x\"\n中"],"c":{"d":{}}}"#;
        assert_eq!(String::from_utf8(Node::parse(text.as_bytes()).unwrap().to_bytes()).unwrap(), text);
    }

    #[test]
    fn a_repeated_key_is_refused_at_any_depth_and_in_any_spelling() {
        assert_eq!(reason(r#"{"a":1,"a":2}"#), DUPLICATE);
        assert_eq!(reason(r#"{"x":[{"content":1,"\u0063ontent":2}]}"#), DUPLICATE);
        let many: Vec<String> = (0..40).map(|i| format!("\"k{i}\":0")).collect();
        assert!(Node::parse(format!("{{{}}}", many.join(",")).as_bytes()).is_ok());
        assert_eq!(reason(&format!("{{{},\"k3\":1}}", many.join(","))), DUPLICATE);
        assert_eq!(reason(&format!("{{{},\"k39\":1}}", many.join(","))), DUPLICATE);
    }

    #[test]
    fn depth_is_bounded_at_the_limit_and_one_over() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(Node::parse(nested(DEPTH_MAX).as_bytes()).is_ok());
        assert_eq!(reason(&nested(DEPTH_MAX + 1)), TOO_DEEP);
        assert_eq!(reason(&nested(100_000)), TOO_DEEP);
    }

    #[test]
    fn elements_are_bounded() {
        let list = |n: usize| format!("[{}]", vec!["0"; n].join(","));
        assert!(Node::parse(list(ELEMENTS_MAX - 1).as_bytes()).is_ok());
        assert_eq!(reason(&list(ELEMENTS_MAX)), TOO_MANY);
    }

    #[test]
    fn what_is_no_single_utf8_document_is_refused() {
        for text in ["", "{", "{} {}", "{}x", "\u{feff}{}", "{/*c*/}", "NaN", "1e400", "\"\\ud800\"", "[1,]", "'a'", "{\"a\":01}"] {
            assert!(Node::parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(Node::parse(b"\"\xff\"").is_err());
        assert!(Node::parse(b"\"\xc0\x80\"").is_err());
    }
}
