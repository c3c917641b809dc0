//! What takes the place of redacted text: tag, mask, keyed hash, or another value of the same form.
//!
//! Each is a function of the finding's own text, the rule's id and the key, so a stream shows the same as the whole text. None of them
//! holds a quote, a backslash or a control character: inside a JSON string they stand as they are.

use std::fmt;

use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::model::{Action, Encoding, Finding, Redaction};
use crate::value::{decoded, folded, normalised};

/// Shortest key, in bytes.
pub(crate) const KEY_BYTES_MIN: usize = 16;
/// Hexadecimal digits of a keyed hash that are shown.
const HASH_SHOWN: usize = 8;
/// What stands for the hidden part of a mask: always the same, so that it does not tell how long the value is.
const MASK: &str = "****";

/// The key of keyed hashes and synthetic values (HMAC-SHA-256, RFC 2104); wiped when dropped.
#[derive(Clone)]
pub(crate) struct Key(Zeroizing<Vec<u8>>);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Key {
    /// Takes a key. None when it is too short.
    pub(crate) fn new(secret: Zeroizing<String>) -> Option<Self> {
        (secret.trim().len() >= KEY_BYTES_MIN).then(|| Self(Zeroizing::new(secret.trim().as_bytes().to_vec())))
    }

    /// Returns the keyed hash of a list of parts, for one use.
    fn hash(&self, use_of_it: &str, parts: &[&[u8]]) -> [u8; 32] {
        mac(&self.0, use_of_it, parts)
    }
}

/// HMAC-SHA-256 over parts, each with its length, so that no two lists give the same bytes.
pub(crate) fn mac(key: &[u8], use_of_it: &str, parts: &[&[u8]]) -> [u8; 32] {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { unreachable!("HMAC takes a key of any length") };
    for part in [use_of_it.as_bytes()].iter().chain(parts) {
        mac.update(&(part.len() as u64).to_le_bytes());
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// Returns what takes the place of a finding whose text is `piece`. What no style can show becomes the rule's tag: a piece of a value, what
/// crosses the parts of a JSON document, and what is blocked or would be pseudonymized and has nobody to do it.
pub(crate) fn shown(finding: &Finding, piece: &str, encoding: Encoding, key: Option<&Key>) -> String {
    let tag = finding.rule.redaction_tag();
    if !finding.whole || finding.action != Action::Redact {
        return tag;
    }
    let Some(value) = decoded(piece, encoding) else { return tag };
    // JSON inside JSON: what looks like a letter may be part of an escape of the inner one.
    if encoding == Encoding::Json && value.contains('\\') {
        return tag;
    }
    let styled = match (finding.redaction, key) {
        (Redaction::Tag, _) => None,
        (Redaction::Mask { keep }, _) => Some(masked(&value, keep)),
        (Redaction::Hash, Some(key)) => {
            let hash = hex::encode(key.hash("hash", &[finding.rule.id.as_bytes(), normalised(&value).as_bytes()]));
            Some(format!("{}:{}]", tag.trim_end_matches(']'), &hash[..HASH_SHOWN]))
        }
        (Redaction::Synthetic, Some(key)) => synthetic(&value, &finding.rule.id, key),
        (Redaction::Hash | Redaction::Synthetic, None) => None,
    };
    styled.unwrap_or(tag)
}

/// Keeps the last letters and digits, at most half of them.
fn masked(value: &str, keep: u8) -> String {
    let visible: Vec<char> = value.chars().filter(|c| c.is_alphanumeric()).collect();
    let kept = usize::from(keep).min(visible.len() / 2);
    let tail: String = visible[visible.len() - kept..].iter().collect();
    format!("{MASK}{tail}")
}

/// Puts another digit for each digit and another letter for each letter, and keeps the rest. A number with a right check digit after
/// Luhn (ISO/IEC 7812-1, annex B) gets a right one again. None when there is nothing to change.
fn synthetic(value: &str, rule: &str, key: &Key) -> Option<String> {
    let form = normalised(value);
    let mut stream = Stream { key, rule, form: &form, block: [0; 32], next: 0 };
    let plain = folded(value);
    let first_digit = plain.chars().position(|c| c.is_ascii_digit());
    let mut made: Vec<char> = plain.chars().enumerate().map(|(at, c)| other(c, Some(at) == first_digit, &mut stream)).collect();
    let digits = |text: &[char]| text.iter().filter_map(|c| c.to_digit(10)).collect::<Vec<u32>>();
    let before: Vec<char> = plain.chars().collect();
    if (12..=19).contains(&digits(&before).len()) && luhn_rest(&digits(&before)) == 0 {
        fix_check_digit(&mut made);
    }
    let made: String = made.into_iter().collect();
    let safe = !made.chars().any(|c| c == '"' || c == '\\' || c < ' ');
    (safe && made != plain).then_some(made)
}

/// Bytes without end, made of the key and the value.
struct Stream<'s> {
    key: &'s Key,
    rule: &'s str,
    form: &'s str,
    block: [u8; 32],
    next: u64,
}

impl Stream<'_> {
    fn below(&mut self, bound: u32) -> u32 {
        let at = (self.next % 16) as usize * 2;
        if at == 0 {
            let number = (self.next / 16).to_le_bytes();
            self.block = self.key.hash("synthetic", &[self.rule.as_bytes(), self.form.as_bytes(), &number]);
        }
        self.next += 1;
        u32::from(u16::from_le_bytes([self.block[at], self.block[at + 1]])) % bound
    }
}

/// Common characters, for names in Chinese.
const HAN: [char; 16] = ['安', '平', '和', '明', '文', '海', '山', '云', '林', '江', '星', '华', '宁', '远', '青', '石'];

fn other(c: char, is_first_digit: bool, stream: &mut Stream<'_>) -> char {
    let from = |first: char, count: u32, stream: &mut Stream<'_>| char::from_u32(first as u32 + stream.below(count)).unwrap_or(c);
    match c {
        // A number begins with a zero or does not.
        '0' if is_first_digit => c,
        '1'..='9' if is_first_digit => from('1', 9, stream),
        '0'..='9' => from('0', 10, stream),
        'a'..='z' => from('a', 26, stream),
        'A'..='Z' => from('A', 26, stream),
        c if c.is_alphanumeric() && !c.is_ascii() => HAN[stream.below(16) as usize],
        c => c,
    }
}

/// Luhn's sum modulo 10; 0 for a right number.
fn luhn_rest(digits: &[u32]) -> u32 {
    let doubled = |digit: u32| if digit > 4 { 2 * digit - 9 } else { 2 * digit };
    digits.iter().rev().enumerate().map(|(at, &digit)| if at % 2 == 1 { doubled(digit) } else { digit }).sum::<u32>() % 10
}

fn fix_check_digit(made: &mut [char]) {
    let digits: Vec<u32> = made.iter().filter_map(|c| c.to_digit(10)).collect();
    if let Some(last) = made.iter_mut().rev().find(|c| c.is_ascii_digit())
        && let Some(digit) = last.to_digit(10)
    {
        let right = (digit + 10 - luhn_rest(&digits)) % 10;
        *last = char::from_digit(right, 10).unwrap_or(*last);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{Category, RuleInfo, Severity};

    fn key() -> Key {
        Key::new(Zeroizing::new("0123456789abcdef".to_owned())).unwrap()
    }

    fn finding(redaction: Redaction) -> Finding {
        let rule = RuleInfo {
            id: "CREDIT_CARD".into(),
            title: String::new(),
            category: Category::Pii,
            severity: Severity::High,
            tags: vec![],
            why: String::new(),
            pack: String::new(),
        };
        Finding { rule: Arc::new(rule), span: 0..1, score: 1.0, action: Action::Redact, monitored: false, redaction, whole: true }
    }

    fn plain(redaction: Redaction, piece: &str) -> String {
        shown(&finding(redaction), piece, Encoding::Plain, Some(&key()))
    }

    #[test]
    fn the_mac_is_that_of_rfc_4231() {
        // Test case 2 of RFC 4231, through the crate itself: our parts carry their lengths.
        let mut mac = Hmac::<Sha256>::new_from_slice(b"Jefe").unwrap();
        mac.update(b"what do ya want for nothing?");
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(hex::encode(mac.finalize().into_bytes()), expected);
        assert_ne!(super::mac(b"k", "u", &[b"ab", b"c"]), super::mac(b"k", "u", &[b"a", b"bc"]));
    }

    #[test]
    fn a_mask_keeps_the_end_and_never_more_than_half() {
        let mask = |keep, piece| plain(Redaction::Mask { keep }, piece);
        assert_eq!(mask(4, "4111 1111 1111 1234"), "****1234");
        assert_eq!(mask(4, "078-05-1120"), "****1120");
        assert_eq!(mask(4, "12-3"), "****3");
        assert_eq!(mask(0, "4111"), "****");
        assert_eq!(mask(2, "张三丰"), "****丰");
        assert_eq!(mask(4, "--"), "****");
    }

    #[test]
    fn a_hash_is_the_same_for_every_spelling_and_another_for_another_key() {
        let hash = |piece| plain(Redaction::Hash, piece);
        let one = hash("4111 1111 1111 1234");
        assert_eq!((one.len(), &one[..13]), ("[CREDIT_CARD:12345678]".len(), "[CREDIT_CARD:"));
        assert_eq!(one, hash("4111-1111-1111-1234"));
        assert_ne!(one, hash("4111-1111-1111-1235"));
        let other = Key::new(Zeroizing::new("fedcba9876543210".to_owned())).unwrap();
        assert_ne!(one, shown(&finding(Redaction::Hash), "4111 1111 1111 1234", Encoding::Plain, Some(&other)));
        assert!(Key::new(Zeroizing::new("short".to_owned())).is_none());
    }

    #[test]
    fn a_synthetic_value_keeps_the_form_and_the_check_digit() {
        let card = plain(Redaction::Synthetic, "4111 1111-1111 1111");
        let digits: Vec<u32> = card.chars().filter_map(|c| c.to_digit(10)).collect();
        assert!(card != "4111 1111-1111 1111" && digits.len() == 16 && luhn_rest(&digits) == 0, "{card}");
        assert_eq!((&card[4..5], &card[9..10], &card[14..15]), (" ", "-", " "));
        assert_eq!(card, plain(Redaction::Synthetic, "4111 1111-1111 1111"));
        let again: String = plain(Redaction::Synthetic, "4111111111111111");
        assert_eq!(again, card.replace([' ', '-'], ""), "another spelling is the same number");
        let mail = plain(Redaction::Synthetic, "Jane.Doe7@example.org");
        assert!(mail.chars().nth(9) == Some('@') && mail.chars().nth(4) == Some('.') && mail != "Jane.Doe7@example.org", "{mail}");
        assert!(mail.chars().next().unwrap().is_ascii_uppercase());
        assert_eq!(plain(Redaction::Synthetic, "--"), "[CREDIT_CARD]");
    }

    #[test]
    fn what_no_style_can_show_becomes_a_tag() {
        for redaction in [Redaction::Mask { keep: 4 }, Redaction::Hash, Redaction::Synthetic] {
            let tag = "[CREDIT_CARD]";
            let piece = Finding { whole: false, ..finding(redaction) };
            assert_eq!(shown(&piece, "41111111", Encoding::Plain, Some(&key())), tag);
            let blocked = Finding { action: Action::Block, ..finding(redaction) };
            assert_eq!(shown(&blocked, "41111111", Encoding::Plain, Some(&key())), tag);
            for across in ["11\",\"11", "\\\\u0031111", "\\u00"] {
                assert_eq!(shown(&finding(redaction), across, Encoding::Json, Some(&key())), tag, "{across}");
            }
        }
        assert_eq!(shown(&finding(Redaction::Hash), "41111111", Encoding::Plain, None), "[CREDIT_CARD]");
    }
}
