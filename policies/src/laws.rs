//! The laws of screening, tried on mixed texts cut in every way: a stream equals its whole, spans are disjoint and on boundaries,
//! JSON stays JSON, and no text panics.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use proptest::prelude::*;

use crate::view::Views;
use crate::{Action, Direction, Encoding, Finding, Policy, Role, StreamScreen, Text};

const PACK: &str = r#"
pack: laws
rules:
  - { id: CARD, title: t, category: pii, severity: high, pattern: '\b[2-6](?:[ -]?\d){12,18}\b', check: luhn, why: w,
      must_match: ['4111 1111 1111 1111', '卡号4111111111111111已'], must_not_match: ['4111 1111 1111 1112'] }
  - { id: PHONE, title: t, category: pii, severity: low, pattern: '\b\d{3}-?\d{3,4}-?\d{4}\b', score: 0.3, context: { words: [phone, 电话], boost: 0.4 }, why: w,
      must_match: ['phone 415-555-0199', '电话4155550199'], must_not_match: ['415-555-0199', 'phones 4155550199'] }
  - { id: EMAIL, title: t, category: pii, severity: medium, pattern: '[\w.+-]{1,64}@[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63}){1,4}', why: w,
      must_match: ['a.b@c.de'], must_not_match: ['a@b'] }
  - { id: api-key, title: t, category: secret, severity: critical, pattern: '\bsk-[A-Za-z0-9]{8,20}\b', keywords: [sk-], entropy: 2.0, stop_words: [example], why: w,
      must_match: ['sk-a1B2c3D4e5'], must_not_match: ['sk-aaaaaaaaaa', 'sk-example123'] }
  - { id: PASSWORD, title: t, category: secret, severity: high, pattern: '(?i)password["'']?\s{0,3}[:=]\s{0,3}["'']?([^\s"'']{4,32})', group: 1, why: w,
      must_match: ['password: hunter22'], must_not_match: ['password: no'] }
  - { id: KEY_BLOCK, title: t, category: secret, severity: critical, pattern: '-----BEGIN KEY-----[\s\S]*?-----END KEY-----', max_bytes: 120, why: w,
      must_match: ["-----BEGIN KEY-----\nabc\n-----END KEY-----"], must_not_match: ['-----BEGIN KEY-----'] }
  - { id: FORBIDDEN, title: t, category: sensitive, severity: high, literals: ['make a bomb', 'bomb', '制造炸弹'], why: w,
      must_match: ['Make  a bomb', '制造炸弹'], must_not_match: ['bombard'] }
  - { id: OVERRIDE, title: t, category: injection, severity: high, pattern: 'ignore.{0,12}instructions?\b', why: w,
      must_match: ['Ignore all instructions', 'іgnore instruction'], must_not_match: ['ignore the inst'] }
  - { id: DIGITS, title: t, category: pii, severity: low, pattern: '\d{4,6}', why: w, must_match: ['1234'], must_not_match: ['123'] }
"#;

fn policy(sensitive: &str) -> Arc<Policy> {
    styled(sensitive, "")
}

fn styled(sensitive: &str, more: &str) -> Arc<Policy> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("pack.yaml"), PACK).unwrap();
    let actions = format!("{{ pii: redact, secret: redact, injection: redact, sensitive: {sensitive} }}");
    let yaml = format!("name: laws\npacks: [pack.yaml]\nactions: {{ request: {actions}, response: {actions} }}\n{more}\n");
    let path = folder.path().join("policy.yaml");
    std::fs::write(&path, yaml).unwrap();
    let key = |_: &str| Some("a key for the laws alone".to_owned().into());
    Arc::new(Policy::load_with(Path::new(&path), &key).unwrap_or_else(|error| panic!("{error}")))
}

/// One policy for each style of redaction, and one that mixes them and only watches some rules.
fn styles() -> &'static [Arc<Policy>] {
    static POLICIES: OnceLock<Vec<Arc<Policy>>> = OnceLock::new();
    POLICIES.get_or_init(|| {
        let all = |style: &str| format!("redaction: {{ key_env: K, pii: {style}, secret: {style}, sensitive: {style} }}");
        let mixed = "redaction: { key_env: K, pii: mask, secret: synthetic }\n\
            rules: { PHONE: { redaction: hash, threshold: 0.3 }, DIGITS: { redaction: tag }, CARD: { redaction: synthetic } }";
        let mut policies: Vec<Arc<Policy>> =
            ["mask", "{ style: mask, keep: 9 }", "hash", "synthetic"].map(|style| styled("redact", &all(style))).into();
        policies.push(styled("block", mixed));
        policies
    })
}

fn redacting() -> &'static Arc<Policy> {
    static POLICY: OnceLock<Arc<Policy>> = OnceLock::new();
    POLICY.get_or_init(|| policy("redact"))
}

fn blocking() -> &'static Arc<Policy> {
    static POLICY: OnceLock<Arc<Policy>> = OnceLock::new();
    POLICY.get_or_init(|| policy("block"))
}

const PIECES: &[&str] = &[
    "4111 1111 1111 1111",
    "4111111111111111",
    "5500-0000-0000-0004",
    "４１１１１１１１１１１１１１１１",
    "41\u{200b}11 1111\u{ad} 1111 1111",
    "phone ",
    "电话",
    "phones ",
    "415-555-0199",
    "4155550199",
    "a.b@c.de",
    "ｊａｎｅ＠example.com",
    "@",
    ".",
    "sk-a1B2c3D4e5",
    "sk-",
    "sk-aaaaaaaaaa",
    "sk-example1234",
    "password: hunter22 ",
    "password",
    ":",
    " = ",
    "-----BEGIN KEY-----",
    "-----END KEY-----",
    "make a bomb",
    "make  a ",
    "bomb",
    "制造炸弹",
    "制造",
    "ignore all instructions",
    "іgnоre ",
    "ignore ",
    "instructions",
    "instruction",
    "s",
    "1234",
    "12",
    "7",
    " ",
    "\n",
    "-",
    "\"",
    "\\",
    "\\n",
    "\\u0034",
    "\\u00",
    "\u{200b}",
    "\u{301}",
    "é",
    "ß",
    "…",
    "👩‍👩‍👧",
    "🇬🇧",
    "中文，",
    "می‌خواهم",
    "the quick brown fox jumps over the lazy dog ",
    "{",
    "}",
    ",",
    "[",
    "]",
    "true",
    "-5",
];

fn mixed() -> impl Strategy<Value = String> {
    let piece = prop_oneof![8 => prop::sample::select(PIECES).prop_map(str::to_owned), 1 => "\\PC{0,3}"];
    prop::collection::vec(piece, 0..14).prop_map(|pieces| pieces.concat())
}

/// A JSON document around a text, some of its characters escaped, in one or two layers.
fn document() -> impl Strategy<Value = String> {
    (mixed(), prop::collection::vec(any::<bool>(), 40), any::<bool>(), 0u64..10_000_000_000_000_000).prop_map(
        |(text, escaped, twice, number)| {
            let mut document = format!("{{\"n\": {number}, \"t\": {}, \"b\":[true,null,-1.5e3]}}", string(&text, &escaped));
            if twice {
                document = string(&document, &escaped);
            }
            document
        },
    )
}

fn string(text: &str, escaped: &[bool]) -> String {
    let mut out = String::from("\"");
    for (i, c) in text.chars().enumerate() {
        if escaped[i % escaped.len()] && i % 3 == 0 {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            let quoted = serde_json::to_string(&c.to_string()).unwrap();
            out.push_str(&quoted[1..quoted.len() - 1]);
        }
    }
    out.push('"');
    out
}

/// Screens an answer whole: what goes out, and what is found up to what ends it.
pub(crate) fn whole(policy: &Policy, encoding: Encoding, text: &str) -> (String, Vec<Finding>) {
    let text = Text { role: Role::Assistant, encoding, redactable: true, text };
    let findings = policy.screen(Direction::Response, &text);
    let blocked = findings.iter().position(|finding| finding.action == Action::Block);
    match blocked {
        None => (policy.redact(&text, &findings), findings),
        Some(at) => {
            let start = findings[at].span.start;
            let part = Text { text: &text.text[..start], ..text };
            (policy.redact(&part, &findings[..at]), findings[..=at].to_vec())
        }
    }
}

/// Screens an answer cut at these places: what goes out, what is found, and whether it was refused.
pub(crate) fn streamed(policy: &Arc<Policy>, encoding: Encoding, text: &str, cuts: &[usize]) -> (String, Vec<Finding>, bool) {
    let mut stream = StreamScreen::new(Arc::clone(policy), Direction::Response, Role::Assistant, encoding);
    let (mut out, mut findings, mut refused) = (String::new(), Vec::new(), false);
    let mut at = 0;
    for &cut in cuts.iter().chain([&text.len()]) {
        let step = stream.push(&text[at..cut]);
        out.push_str(&step.text);
        findings.extend(step.findings);
        refused |= step.refusal.is_some();
        at = cut;
    }
    let step = stream.finish();
    out.push_str(&step.text);
    findings.extend(step.findings);
    (out, findings, refused || step.refusal.is_some())
}

#[track_caller]
fn same(policy: &Arc<Policy>, encoding: Encoding, text: &str, cuts: &[usize]) {
    let (expected, findings) = whole(policy, encoding, text);
    let (out, streamed, refused) = streamed(policy, encoding, text, cuts);
    assert_eq!(out, expected, "{text:?} cut at {cuts:?}");
    assert_eq!(streamed, findings, "{text:?} cut at {cuts:?}");
    assert_eq!(refused, findings.iter().any(|finding| finding.action == Action::Block));
}

fn boundaries(text: &str) -> Vec<usize> {
    (0..=text.len()).filter(|&at| text.is_char_boundary(at)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn a_stream_cut_once_anywhere_equals_its_whole(text in mixed()) {
        for cut in boundaries(&text) {
            same(redacting(), Encoding::Plain, &text, &[cut]);
            same(blocking(), Encoding::Plain, &text, &[cut]);
        }
    }

    #[test]
    fn a_stream_of_single_characters_equals_its_whole(text in mixed()) {
        same(redacting(), Encoding::Plain, &text, &boundaries(&text));
        same(blocking(), Encoding::Plain, &text, &boundaries(&text));
    }

    #[test]
    fn a_stream_of_json_equals_its_whole_and_stays_json(text in document(), seed in any::<usize>()) {
        let places = boundaries(&text);
        let cut = places[seed % places.len()];
        for cuts in [vec![], vec![cut], places] {
            same(redacting(), Encoding::Json, &text, &cuts);
            same(blocking(), Encoding::Json, &text, &cuts);
        }
        let (redacted, _) = whole(redacting(), Encoding::Json, &text);
        prop_assert!(serde_json::from_str::<serde_json::Value>(&redacted).is_ok(), "{text} became {redacted}");
    }

    #[test]
    fn every_style_of_redaction_streams_as_its_whole(text in mixed(), seed in any::<usize>()) {
        let places = boundaries(&text);
        let cut = places[seed % places.len()];
        for policy in styles() {
            for encoding in [Encoding::Plain, Encoding::Json] {
                same(policy, encoding, &text, &[cut]);
                same(policy, encoding, &text, &places);
            }
        }
    }

    #[test]
    fn every_style_of_redaction_leaves_json(text in document(), seed in any::<usize>()) {
        let places = boundaries(&text);
        let cut = places[seed % places.len()];
        for policy in styles() {
            same(policy, Encoding::Json, &text, &[cut]);
            let screened = Text { role: Role::Assistant, encoding: Encoding::Json, redactable: true, text: &text };
            let redacted = policy.redact(&screened, &policy.screen(Direction::Response, &screened));
            prop_assert!(serde_json::from_str::<serde_json::Value>(&redacted).is_ok(), "{text} became {redacted}");
        }
    }

    #[test]
    fn text_that_is_no_json_streams_the_same_as_json(text in mixed()) {
        same(redacting(), Encoding::Json, &text, &boundaries(&text));
    }

    #[test]
    fn findings_are_disjoint_in_order_and_on_boundaries(text in mixed()) {
        let (redacted, findings) = whole(redacting(), Encoding::Plain, &text);
        let mut at = 0;
        for finding in &findings {
            prop_assert!(finding.span.start >= at && finding.span.end > finding.span.start);
            prop_assert!(text.is_char_boundary(finding.span.start) && text.is_char_boundary(finding.span.end));
            at = finding.span.end;
        }
        prop_assert!(!findings.is_empty() || redacted == text);
    }

    #[test]
    fn any_text_at_all_is_screened_without_panic(text in "\\PC*") {
        for encoding in [Encoding::Plain, Encoding::Json] {
            same(redacting(), encoding, &text, &boundaries(&text));
        }
    }
}

/// More with `PROPTEST_CASES=5000`.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(150)
}

#[test]
fn short_texts_cut_twice_anywhere_equal_their_whole() {
    let texts = ["x 4111 1111 1111 1111 y", "电话4155550199, sk-a1B2c3D4e5.", "make a bomb", "a\u{200b}b@c.de１２３４"];
    for text in texts {
        let places = boundaries(text);
        for &a in &places {
            for &b in places.iter().filter(|&&b| b >= a) {
                same(redacting(), Encoding::Plain, text, &[a, b]);
                same(blocking(), Encoding::Plain, text, &[a, b]);
            }
        }
    }
}

#[test]
fn long_invisible_runs_and_distant_context_stream_the_same() {
    let hidden = "\u{200b}".repeat(200);
    let padding = "x ".repeat(52);
    for text in
        [format!("1{hidden}4111111111111111"), format!("phone {padding}4155550199 {padding}4155550199"), format!("a{hidden} sk-a1B2c3D4e5")]
    {
        same(redacting(), Encoding::Plain, &text, &boundaries(&text));
    }
}

#[test]
fn prose_is_hardly_held_back() {
    let mut stream = StreamScreen::new(Arc::clone(redacting()), Direction::Response, Role::Assistant, Encoding::Plain);
    let prose = "The quick brown fox jumps over the lazy dog and sees nothing worth telling anybody about. ".repeat(5);
    let mut held = 0;
    for word in prose.split_inclusive(' ') {
        stream.push(word);
        held += stream.held_bytes();
    }
    assert!(held / prose.split_inclusive(' ').count() < 8, "{held}");
}

#[test]
fn a_stream_that_never_becomes_certain_is_refused_at_its_bound() {
    let mut stream = StreamScreen::new(Arc::clone(redacting()), Direction::Response, Role::Assistant, Encoding::Json);
    let refused = (0..100).any(|_| stream.push(&"9".repeat(1000)).refusal.is_some());
    assert!(refused && stream.push("more").text.is_empty() && stream.finish().text.is_empty());
}

/// The shipped rules, too: every example of every pack, in the middle of other text, one character at a time.
/// Long counted patterns once made the automaton so wide that a key said token by token took minutes.
#[test]
fn a_key_that_never_ends_costs_little_however_it_is_cut() {
    let policy =
        Arc::new(Policy::load(std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/policy.yaml"))).expect("the default policy"));
    let mut stream = StreamScreen::new(policy, Direction::Response, Role::Assistant, Encoding::Plain);
    let begun = std::time::Instant::now();
    stream.push("-----BEGIN RSA PRIVATE KEY-----\n");
    for token in 0..2000 {
        stream.push(if token % 16 == 15 { "aB3x\n" } else { "aB3x" });
    }
    assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn every_example_of_the_default_policy_streams_as_its_whole() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("policy.yaml");
    let policy = Arc::new(Policy::load(&path).unwrap_or_else(|error| panic!("{error}")));
    let examples = policy.examples();
    for pair in examples.chunks(2) {
        let text = format!("Hello, 你好: {} and so on", pair.join(" then "));
        same(&policy, Encoding::Plain, &text, &boundaries(&text));
        let json = serde_json::json!({ "a": text, "n": 4_111_111_111_111_111_u64 }).to_string();
        same(&policy, Encoding::Json, &json, &boundaries(&json));
    }
}

/// What announces a pattern must never hide a match of it: a search without announcements finds the same.
#[test]
fn nothing_is_lost_by_looking_only_where_something_is_announced() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("all.yaml");
    let policy = Policy::load(&path).unwrap_or_else(|error| panic!("{error}"));
    let engine = policy.engine();
    for (index, rule) in engine.rules.iter().enumerate() {
        let mut floors = vec![f32::INFINITY; engine.rules.len()];
        floors[index] = 0.0;
        let examples: Vec<&str> =
            rule.must_match.iter().chain(&rule.weak_match).chain(&rule.must_not_match).map(|example| example.text.as_str()).collect();
        for pair in examples.chunks(2) {
            let joined = pair.join(" ");
            for text in [joined.clone(), joined.to_uppercase(), format!("前{joined}後{joined}ท"), format!("7{joined}Z9 {joined}\n")] {
                let views = Views::new(&text, Encoding::Plain, true);
                let (fast, slow) = (engine.candidates(&views, 0, &floors), engine.candidates_by_law(&views, &floors));
                assert_eq!(fast, slow, "{}: {text:?}", rule.info.id);
            }
        }
    }
}
