//! Pseudonyms: `<EMAIL_ADDRESS_1>` stands for a value on the way to the model, and the value for it on the way back.
//!
//! - The same value has the same number wherever it stands in a conversation; numbers follow the first occurrence.
//! - A number that somebody wrote in the texts himself is never given to a value, so nothing he wrote is ever put back.
//! - Only what was issued for these very texts is put back; the rest is left alone.
//! - [`Pseudonyms`], which outlives a request, knows values by keyed hashes only. The values live in a [`Restoration`], as long as the
//!   request, and are wiped with it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::model::{Action, Encoding, Finding, Text};
use crate::style::mac;
use crate::value::{decoded, escaped, unit};

/// Most values one conversation may have. A request that would bring more starts it over; what one request has more is redacted.
pub const PSEUDONYMS_MAX: usize = 4096;
/// What one value of a conversation takes in memory, about, in bytes.
const ENTRY_BYTES: usize = 48;

/// The numbers of one conversation.
#[derive(Default)]
pub struct Pseudonyms {
    key: Zeroizing<[u8; 32]>,
    /// Keyed hash of tag and value, to the value's number.
    numbers: HashMap<[u8; 16], u32>,
    /// For each tag, the last number given.
    last: HashMap<String, u32>,
}

impl fmt::Debug for Pseudonyms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pseudonyms").field("values", &self.numbers.len()).finish_non_exhaustive()
    }
}

impl Pseudonyms {
    /// Starts a conversation whose values are remembered under this key.
    #[must_use]
    pub fn keyed(key: [u8; 32]) -> Self {
        Self { key: Zeroizing::new(key), ..Self::default() }
    }

    /// Returns how many values have a number.
    #[must_use]
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Returns true when no value has a number.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// Returns about how much memory this takes, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.numbers.len() * ENTRY_BYTES + self.last.keys().map(|tag| tag.len() + ENTRY_BYTES).sum::<usize>()
    }

    /// Starts over.
    fn forget(&mut self) {
        self.numbers.clear();
        self.last.clear();
    }

    /// Returns the number of a value, a new one if it has none or has one that is `taken`. None when there is no room.
    fn number(&mut self, tag: &str, value: &str, taken: &HashSet<u32>) -> Option<u32> {
        let whole = mac(&*self.key, "pseudonym", &[tag.as_bytes(), value.as_bytes()]);
        let mut digest = [0; 16];
        digest.copy_from_slice(&whole[..16]);
        let known = self.numbers.get(&digest).copied();
        if let Some(number) = known.filter(|number| !taken.contains(number)) {
            return Some(number);
        }
        if known.is_none() && self.numbers.len() >= PSEUDONYMS_MAX {
            return None;
        }
        let last = self.last.entry(tag.to_owned()).or_default();
        let mut next = last.checked_add(1)?;
        while taken.contains(&next) {
            next = next.checked_add(1)?;
        }
        *last = next;
        self.numbers.insert(digest, next);
        Some(next)
    }
}

/// Gives pseudonyms out for the texts of one request.
pub(crate) struct Issue<'p> {
    pseudonyms: &'p mut Pseudonyms,
    /// For each tag, the numbers that stand in the texts already.
    taken: HashMap<String, HashSet<u32>>,
    issued: BTreeMap<String, Zeroizing<String>>,
}

impl<'p> Issue<'p> {
    /// Looks through the texts for what must not be given out.
    pub(crate) fn new(pseudonyms: &'p mut Pseudonyms, texts: &[Text<'_>], findings: &[Vec<Finding>]) -> Self {
        let due = findings.iter().flatten().filter(|finding| finding.in_force() == Action::Pseudonymize);
        let words: Vec<String> = due.map(word).collect();
        if pseudonyms.len() + words.len() > PSEUDONYMS_MAX {
            // A beginning that many conversations share: better new numbers than none.
            pseudonyms.forget();
        }
        let mut taken: HashMap<String, HashSet<u32>> = words.into_iter().map(|word| (word, HashSet::new())).collect();
        if !taken.is_empty() {
            for text in texts {
                let said = said(text);
                for (tag, numbers) in &mut taken {
                    numbers.extend(written(&said, tag));
                }
            }
        }
        Self { pseudonyms, taken, issued: BTreeMap::new() }
    }

    /// Gives the pseudonym of a finding whose text is `piece`. None when it cannot have one: it is a piece of a value, crosses the parts
    /// of a JSON document, or there is no room.
    pub(crate) fn pseudonym(&mut self, finding: &Finding, piece: &str, encoding: Encoding) -> Option<String> {
        if !finding.whole {
            return None;
        }
        let value = decoded(piece, encoding)?;
        let tag = word(finding);
        let none = HashSet::new();
        let number = self.pseudonyms.number(&tag, &value, self.taken.get(&tag).unwrap_or(&none))?;
        let pseudonym = format!("<{tag}_{number}>");
        self.issued.insert(pseudonym.clone(), Zeroizing::new(value.into_owned()));
        Some(pseudonym)
    }

    /// Ends it and gives the way back.
    pub(crate) fn restoration(self) -> Restoration {
        Restoration(Arc::new(self.issued))
    }
}

/// The rule's tag without its brackets.
fn word(finding: &Finding) -> String {
    finding.rule.redaction_tag().trim_matches(['[', ']']).to_owned()
}

/// What a text says to somebody who undoes its escapes.
fn said<'t>(text: &Text<'t>) -> std::borrow::Cow<'t, str> {
    if text.encoding == Encoding::Plain || !text.text.contains('\\') {
        return text.text.into();
    }
    let (mut said, mut rest) = (String::with_capacity(text.text.len()), text.text);
    while let Some(unit) = unit(rest) {
        said.extend(unit.character);
        rest = &rest[unit.bytes..];
    }
    said.into()
}

/// The numbers that follow `TAG_` in a text, with or without brackets.
fn written(text: &str, tag: &str) -> Vec<u32> {
    let number = |(at, _): (usize, &str)| {
        let digits = text[at + tag.len()..].strip_prefix('_')?;
        let length = digits.bytes().take_while(u8::is_ascii_digit).count();
        digits[..length].parse().ok()
    };
    text.match_indices(tag).filter_map(number).collect()
}

/// The pseudonyms issued for one request and the values they stand for; wiped when the last copy is dropped.
#[derive(Clone, Default)]
pub struct Restoration(Arc<BTreeMap<String, Zeroizing<String>>>);

impl fmt::Debug for Restoration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Restoration").field(&self.0.len()).finish()
    }
}

/// What a text is to the pseudonyms issued.
enum Match<'r> {
    Whole(&'r str),
    Beginning,
    None,
}

impl Restoration {
    /// Returns how many pseudonyms were issued.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns true when none was issued.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts values back into a whole text. None when there are none to put back; else also how many.
    #[must_use]
    pub fn restore(&self, text: &str, encoding: Encoding) -> Option<(String, u64)> {
        let mut restorer = Restorer::new(self.clone(), encoding);
        let mut restored = restorer.push(text);
        restored.push_str(&restorer.finish());
        (restorer.restored > 0).then_some((restored, restorer.restored))
    }

    /// Returns true for an issued pseudonym, also without its brackets.
    pub(crate) fn is_issued(&self, piece: &str) -> bool {
        !self.0.is_empty() && self.0.contains_key(&format!("<{}>", piece.trim_start_matches('<').trim_end_matches('>')))
    }

    fn matched(&self, text: &str) -> Match<'_> {
        let from = (std::ops::Bound::Included(text), std::ops::Bound::Unbounded);
        match self.0.range::<str, _>(from).next() {
            Some((pseudonym, value)) if pseudonym == text => Match::Whole(value),
            Some((pseudonym, _)) if pseudonym.starts_with(text) => Match::Beginning,
            _ => Match::None,
        }
    }
}

/// Puts values back into a text that arrives in pieces; holds back no more than the beginning of one pseudonym.
#[derive(Debug)]
pub struct Restorer {
    restoration: Restoration,
    encoding: Encoding,
    /// What may still become a pseudonym; begins at no inside of an escape.
    held: String,
    /// How many values were put back.
    pub restored: u64,
}

impl Restorer {
    /// Starts a text.
    #[must_use]
    pub fn new(restoration: Restoration, encoding: Encoding) -> Self {
        Self { restoration, encoding, held: String::new(), restored: 0 }
    }

    /// Takes the next piece and gives what is certain by now.
    pub fn push(&mut self, piece: &str) -> String {
        if self.restoration.is_empty() {
            return piece.to_owned();
        }
        self.held.push_str(piece);
        self.settle(false)
    }

    /// Ends the text and gives the rest.
    pub fn finish(&mut self) -> String {
        self.settle(true)
    }

    /// Returns how many bytes are held back.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.held.len()
    }

    fn settle(&mut self, whole: bool) -> String {
        let text = std::mem::take(&mut self.held);
        let mut out = String::with_capacity(text.len());
        // Where what is not written yet begins, where a pseudonym may have begun, and what it says so far.
        let (mut copied, mut begun, mut said) = (0, 0, String::new());
        let mut at = 0;
        while let Some((bytes, character, unfinished)) = self.next(&text[at..]) {
            if unfinished && !whole {
                break;
            }
            let end = at + bytes;
            if !said.is_empty() {
                said.extend(character);
                match self.restoration.matched(&said) {
                    _ if character.is_none() => said.clear(),
                    Match::Whole(value) => {
                        out.push_str(&text[copied..begun]);
                        match self.encoding {
                            Encoding::Plain => out.push_str(value),
                            Encoding::Json => out.push_str(&escaped(value)),
                        }
                        self.restored += 1;
                        copied = end;
                        said.clear();
                        at = end;
                        continue;
                    }
                    Match::Beginning => {}
                    Match::None => said.clear(),
                }
            }
            if said.is_empty() && character == Some('<') {
                begun = at;
                said.push('<');
            }
            at = end;
        }
        let keep = if whole {
            text.len()
        } else if said.is_empty() {
            at
        } else {
            begun
        };
        out.push_str(&text[copied..keep]);
        self.held.push_str(&text[keep..]);
        out
    }

    fn next(&self, rest: &str) -> Option<(usize, Option<char>, bool)> {
        match self.encoding {
            Encoding::Plain => rest.chars().next().map(|c| (c.len_utf8(), Some(c), false)),
            Encoding::Json => unit(rest).map(|unit| (unit.bytes, unit.character, unit.unfinished)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Allowance, Direction, ModelSignal, Outcome, Policy, Role, StreamScreen, decide_in};

    const PACK: &str = r#"
pack: p
rules:
  - { id: EMAIL_ADDRESS, title: t, category: pii, severity: medium, pattern: '[\w.+-]{1,64}@[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63}){1,4}', why: w,
      must_match: [a.b@c.de], must_not_match: [a@b] }
  - { id: PASSWORD, title: t, category: secret, severity: high, pattern: '(?i)password: (\S{4,32})', group: 1, why: w,
      must_match: ['password: hunter22'], must_not_match: ['password: no'] }
"#;

    fn policy() -> Policy {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("p.yaml"), PACK).unwrap();
        let path = folder.path().join("policy.yaml");
        let yaml = "name: p\npacks: [p.yaml]\nactions: { request: { pii: pseudonymize, secret: pseudonymize }, response: { pii: redact, secret: redact } }\n";
        std::fs::write(&path, yaml).unwrap();
        Policy::load(&path).unwrap_or_else(|error| panic!("{error}"))
    }

    /// What is forwarded for these texts, and the way back.
    fn forwarded(policy: &Policy, texts: &[(&str, Encoding)], pseudonyms: &mut Pseudonyms) -> (Vec<String>, Restoration) {
        let of = |&(text, encoding): &(_, _)| Text { role: Role::User, encoding, redactable: true, text };
        let texts: Vec<Text<'_>> = texts.iter().map(of).collect();
        let findings: Vec<_> = texts.iter().map(|text| policy.screen(Direction::Request, text)).collect();
        let decision = decide_in(policy, &texts, &findings, &ModelSignal::Skipped, pseudonyms);
        let Outcome::Forward(cleared) = decision.outcome else { panic!("refused") };
        let new = |(index, text): (usize, &Text<'_>)| cleared.redacted(index).unwrap_or(text.text).to_owned();
        (texts.iter().enumerate().map(new).collect(), cleared.restoration())
    }

    fn plain<'t>(texts: &[&'t str]) -> Vec<(&'t str, Encoding)> {
        texts.iter().map(|text| (*text, Encoding::Plain)).collect()
    }

    #[test]
    fn a_value_has_one_number_in_a_conversation_and_comes_back() {
        let (policy, mut pseudonyms) = (policy(), Pseudonyms::keyed([7; 32]));
        let texts = plain(&["from a@b.org to c@d.org", "again a@b.org, Password: hunter22"]);
        let (sent, way_back) = forwarded(&policy, &texts, &mut pseudonyms);
        assert_eq!(sent, ["from <EMAIL_ADDRESS_1> to <EMAIL_ADDRESS_2>", "again <EMAIL_ADDRESS_1>, Password: <PASSWORD_1>"]);
        for (sent, (text, _)) in sent.iter().zip(&texts) {
            assert_eq!(way_back.restore(sent, Encoding::Plain).unwrap().0, *text);
        }
        // The next request of the conversation, its beginning left out: the numbers stay.
        let (sent, _) = forwarded(&policy, &plain(&["e@f.org, c@d.org"]), &mut pseudonyms);
        assert_eq!(sent, ["<EMAIL_ADDRESS_3>, <EMAIL_ADDRESS_2>"]);
        assert_eq!(forwarded(&policy, &plain(&["c@d.org"]), &mut Pseudonyms::default()).0, ["<EMAIL_ADDRESS_1>"]);
    }

    #[test]
    fn what_the_caller_wrote_himself_is_never_given_out_and_never_put_back() {
        let (policy, mut pseudonyms) = (policy(), Pseudonyms::default());
        forwarded(&policy, &plain(&["a@b.org"]), &mut pseudonyms);
        for (literal, encoding) in [
            ("what is <EMAIL_ADDRESS_1>?", Encoding::Plain),
            ("{\"t\":\"\\u003cEMAIL_ADDRESS_1\\u003e\"}", Encoding::Json),
            ("＜EMAIL_ADDRESS_1＞", Encoding::Plain),
        ] {
            let (sent, way_back) = forwarded(&policy, &[(literal, encoding), ("a@b.org", Encoding::Plain)], &mut pseudonyms);
            assert_eq!(sent, [literal, "<EMAIL_ADDRESS_2>"]);
            assert_eq!(way_back.restore(&sent[0], encoding), None);
            assert_eq!(way_back.restore("<EMAIL_ADDRESS_2>", Encoding::Plain).unwrap().0, "a@b.org");
        }
        // Only what was issued for these texts.
        let (_, way_back) = forwarded(&policy, &plain(&["nothing"]), &mut pseudonyms);
        assert!(way_back.is_empty() && way_back.restore("<EMAIL_ADDRESS_2>", Encoding::Plain).is_none());
    }

    #[test]
    fn an_answer_may_hold_what_was_issued_and_nothing_like_it() {
        let (policy, mut pseudonyms) = (Arc::new(policy()), Pseudonyms::default());
        let (_, way_back) = forwarded(&policy, &plain(&["password: hunter22"]), &mut pseudonyms);
        let allowance = Allowance::default().issued(way_back.clone());
        let answer = "password: <PASSWORD_1> password: <PASSWORD_2> password: hunter23 a@b.org";
        let expected = "password: <PASSWORD_1> password: [PASSWORD] password: [PASSWORD] [EMAIL_ADDRESS]";
        let text = Text { role: Role::Assistant, encoding: Encoding::Plain, redactable: true, text: answer };
        let findings = policy.screen_with(Direction::Response, &text, &allowance);
        assert_eq!(policy.redact(&text, &findings), expected);
        for cut in 0..answer.len() {
            let mut stream =
                StreamScreen::with(Arc::clone(&policy), Direction::Response, Role::Assistant, Encoding::Plain, allowance.clone());
            let steps = [stream.push(&answer[..cut]), stream.push(&answer[cut..]), stream.finish()];
            assert_eq!(steps.map(|step| step.text).concat(), expected, "cut at {cut}");
        }
        assert!(way_back.restore(expected, Encoding::Plain).unwrap().0.starts_with("password: hunter22 password: [PASSWORD]"));
    }

    #[test]
    fn values_go_into_json_and_back_with_their_escapes() {
        let (policy, mut pseudonyms) = (policy(), Pseudonyms::default());
        let (sent, way_back) = forwarded(
            &policy,
            &[("{\"a\":\"x\\u0040y.org\",\"n\":1}", Encoding::Json), ("x@y.org, password: a\"b\\c", Encoding::Plain)],
            &mut pseudonyms,
        );
        assert_eq!(sent, ["{\"a\":\"<EMAIL_ADDRESS_1>\",\"n\":1}", "<EMAIL_ADDRESS_1>, password: <PASSWORD_1>"]);
        for written in ["{\"p\":\"<PASSWORD_1>\"}", "{\"p\":\"\\u003cPASSWORD_1\\u003E\"}"] {
            let (json, count) = way_back.restore(written, Encoding::Json).unwrap();
            assert_eq!((serde_json::from_str::<serde_json::Value>(&json).unwrap()["p"].as_str(), count), (Some("a\"b\\c"), 1));
        }
        assert_eq!(way_back.restore("{\"p\":\"\\\\u003cPASSWORD_1>\"}", Encoding::Json), None, "an escaped backslash is no escape");
        for other in ["<PASSWORD_2>", "<PASSWORD_1", "PASSWORD_1>", "<password_1>", "<PASSWORD_11>", "< PASSWORD_1>"] {
            assert_eq!(way_back.restore(other, Encoding::Plain), None, "{other}");
        }
        assert_eq!(way_back.restore("<<PASSWORD_1<PASSWORD_1>>", Encoding::Plain).unwrap().0, "<<PASSWORD_1a\"b\\c>");
    }

    #[test]
    fn a_conversation_is_bounded_and_starts_over_and_what_has_no_number_is_redacted() {
        let mut pseudonyms = Pseudonyms::default();
        let none = HashSet::new();
        for index in 0..PSEUDONYMS_MAX {
            assert!(pseudonyms.number("T", &index.to_string(), &none).is_some());
        }
        assert_eq!(pseudonyms.number("T", "one more", &none), None);
        assert_eq!(pseudonyms.number("T", "0", &none), Some(1));
        assert!(pseudonyms.bytes() <= (PSEUDONYMS_MAX + 2) * ENTRY_BYTES);
        assert_eq!(forwarded(&policy(), &plain(&["a@b.org"]), &mut pseudonyms).0, ["<EMAIL_ADDRESS_1>"], "it starts over");
        assert_eq!(pseudonyms.len(), 1);
        let many: Vec<String> = (0..=PSEUDONYMS_MAX).map(|n| format!("a{n}@b.org")).collect();
        let (sent, way_back) = forwarded(&policy(), &plain(&[&many.join(" ")]), &mut pseudonyms);
        assert!(sent[0].ends_with(&format!("<EMAIL_ADDRESS_{PSEUDONYMS_MAX}> [EMAIL_ADDRESS]")) && way_back.len() == PSEUDONYMS_MAX);
        assert!(!format!("{pseudonyms:?}").contains("one more"));
    }

    fn answers() -> impl Strategy<Value = String> {
        let pieces = [
            "<EMAIL_ADDRESS_1>",
            "<EMAIL_ADDRESS_2>",
            "<PASSWORD_1>",
            "<EMAIL_ADDRESS_",
            "<",
            ">",
            "1>",
            "<EMAIL",
            "_ADDRESS_1>",
            "\\u003c",
            "\\u00",
            "3c",
            "\\",
            "PASSWORD_1>",
            "\\u003ePASSWORD_1\\u003e",
            "\"",
            "中文",
            "text ",
            "\\n",
            "<EMAIL_ADDRESS_12>",
        ];
        prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn a_text_in_pieces_is_restored_as_its_whole(text in answers()) {
            let texts = [("a@b.org c@d.org password: x\"y\\z", Encoding::Plain)];
            let (_, way_back) = forwarded(&policy(), &texts, &mut Pseudonyms::default());
            let places: Vec<usize> = (0..=text.len()).filter(|&at| text.is_char_boundary(at)).collect();
            for encoding in [Encoding::Plain, Encoding::Json] {
                let whole = way_back.restore(&text, encoding).map_or(text.clone(), |(whole, _)| whole);
                for cuts in places.iter().map(|&cut| vec![cut]).chain([places.clone()]) {
                    let mut restorer = Restorer::new(way_back.clone(), encoding);
                    let (mut out, mut at) = (String::new(), 0);
                    for cut in cuts.into_iter().chain([text.len()]) {
                        out.push_str(&restorer.push(&text[at..cut]));
                        prop_assert!(restorer.held_bytes() <= "\\u003cEMAIL_ADDRESS_1".len() * 6);
                        at = cut;
                    }
                    out.push_str(&restorer.finish());
                    prop_assert_eq!(&out, &whole);
                }
            }
        }

        #[test]
        fn what_is_forwarded_comes_back_as_it_was(words in prop::collection::vec("[a-c]{1,2}@[a-c]\\.org|[a-z<>\\\\\"]{1,6}|<EMAIL_ADDRESS_[1-3]>|中", 0..10)) {
            let text = words.join(" ");
            let (sent, way_back) = forwarded(&policy(), &plain(&[&text]), &mut Pseudonyms::default());
            let back = way_back.restore(&sent[0], Encoding::Plain).map_or(sent[0].clone(), |(back, _)| back);
            prop_assert_eq!(back, text);
        }
    }
}
