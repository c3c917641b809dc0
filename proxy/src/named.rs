//! Names that callers choose and the record keeps: of a session, of a model. Whoever can choose one can put a key or a person's number there,
//! and the record must hold neither.

use portcullis_policies::{Direction, Encoding, Policy, Role, Text};

/// What is kept instead.
pub const WITHHELD: &str = "[withheld]";
/// How a caller's key begins, and the fewest characters behind that.
const KEY_BEGINS: &str = "pk-";
const KEY_REST_MIN: usize = 40;

/// The name, or that it is withheld: where the policy's rules find anything in it, or it holds what looks like a caller's key.
/// Both kinds of names come with at most 128 bytes, so looking through one takes microseconds.
pub fn kept<'n>(policy: &Policy, name: &'n str) -> &'n str {
    let text = Text { role: Role::User, encoding: Encoding::Plain, redactable: false, text: name };
    let may_be_kept = !holds_key(name) && policy.screen(Direction::Request, &text).is_empty();
    if may_be_kept { name } else { WITHHELD }
}

fn holds_key(name: &str) -> bool {
    let is_of_key = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    name.match_indices(KEY_BEGINS)
        .any(|(at, _)| name.as_bytes()[at + KEY_BEGINS.len()..].iter().take_while(|byte| is_of_key(byte)).count() >= KEY_REST_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_seen_wherever_it_stands() {
        let key = format!("pk-{}", "aB3_-".repeat(9));
        assert!(holds_key(&key) && holds_key(&format!("session/{key}")) && !holds_key("pk-gpt-4o-mini") && !holds_key(""));
    }
}
