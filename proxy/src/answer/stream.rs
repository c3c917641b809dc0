//! Screening a streamed answer, chunk by chunk.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use portcullis_policies::{Allowance, Policy, Refusal};

use super::grown::{self, Grown};
use super::whole::{Screen, Whole};
use super::{Found, Stop, drop_unscreened, usage};
use crate::dialect::chunk::{self, Slot};
use crate::dialect::sse::EventReader;
use crate::json::Node;
use crate::kept;
use crate::record::Tokens;

/// Most texts that may grow at the same time in one answer.
const SLOTS_MAX: usize = 256;
/// Most places outside the growing texts, and most unknown keys.
const WHOLE_MAX: usize = 1024;

/// Screens a streamed answer.
pub struct AnswerStream {
    policy: Arc<Policy>,
    allowance: Allowance,
    reader: EventReader,
    screens: HashMap<Slot, Grown>,
    /// Slots in the order of their first text, so that what is held back comes out in that order.
    order: Vec<Slot>,
    /// The last chunk's head, for chunks of our own.
    like: Node,
    /// What comes whole, by its place.
    whole: HashMap<Slot, Whole>,
    /// Keys that the dialect does not know and that were screened.
    keys: HashSet<String>,
    /// Choices that have ended; nothing may be said in them any more.
    finished: HashSet<u64>,
    /// Chunks that end choices, kept back until the stream goes on to something else.
    ends: Vec<Node>,
    done: bool,
    restored: u64,
    /// The text for the record, where the policy keeps it: with its pseudonyms.
    pub kept: Option<String>,
    /// What was found since it was last taken.
    pub found: Vec<Found>,
    /// The upstream's own count of tokens.
    pub tokens: Option<Tokens>,
    /// Bytes of text seen.
    pub text_bytes: usize,
}

impl AnswerStream {
    /// A screen for one answer; events may be `event_bytes_max` long.
    pub fn new(policy: Arc<Policy>, allowance: Allowance, event_bytes_max: usize) -> Self {
        Self {
            kept: kept::keeps_answers(&policy).then(String::new),
            policy,
            allowance,
            reader: EventReader::new(event_bytes_max),
            screens: HashMap::new(),
            order: Vec::new(),
            like: Node::Null,
            whole: HashMap::new(),
            keys: HashSet::new(),
            finished: HashSet::new(),
            ends: Vec::new(),
            done: false,
            restored: 0,
            found: Vec::new(),
            tokens: None,
            text_bytes: 0,
        }
    }

    /// Whether `[DONE]` has come.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Values put back.
    pub fn restored(&self) -> u64 {
        self.restored
    }

    /// Bytes of text held back now.
    pub fn held_bytes(&self) -> usize {
        self.screens.values().map(Grown::held_bytes).sum()
    }

    /// Takes the next bytes of the upstream and appends to `out` what the client may have.
    ///
    /// # Errors
    /// [`Stop`]; what stands in `out` may still be sent, and nothing after it.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Stop> {
        let events = self.reader.push(bytes).map_err(|_| Stop::Broken("an event of its stream is too long"))?;
        for event in events {
            if self.done {
                break;
            }
            if event == b"[DONE]" {
                self.settle_ends(out)?;
                self.flush(None, out)?;
                out.extend_from_slice(b"data: [DONE]\n\n");
                self.done = true;
            } else if !event.is_empty() {
                self.event(&event, out)?;
            }
        }
        Ok(())
    }

    /// The upstream has no more bytes: settles what is held back.
    ///
    /// # Errors
    /// [`Stop::Broken`] when the stream ended without `[DONE]`, after what it said was settled.
    pub fn end(&mut self, out: &mut Vec<u8>) -> Result<(), Stop> {
        if self.done {
            return Ok(());
        }
        self.settle_ends(out)?;
        self.flush(None, out)?;
        Err(Stop::Broken("its stream ended before it was done"))
    }

    fn event(&mut self, event: &[u8], out: &mut Vec<u8>) -> Result<(), Stop> {
        let mut chunk = Node::parse(event).map_err(|_| Stop::Broken("an event of its stream is not valid JSON"))?;
        if !matches!(chunk, Node::Object(_)) || chunk.field("error").is_some_and(|error| *error != Node::Null) {
            return Err(Stop::Broken("it reported an error in its stream"));
        }
        drop_unscreened(&mut chunk, &self.policy);
        self.tokens = usage(&chunk).or(self.tokens);
        let mut stop = None;
        let held = self.grow(&mut chunk, &mut stop)?;
        self.remember_head(&chunk);
        if let Some(refusal) = stop {
            // What was said before the refused text goes out, and it is not the end that the upstream thinks it is.
            chunk::finished(&chunk).into_iter().for_each(|choice| chunk::go_on(&mut chunk, choice));
            if !chunk::is_hollow(&chunk) {
                write(&chunk, out);
            }
            return Err(Stop::Refused(refusal));
        }
        if !chunk::finished(&chunk).is_empty() {
            return self.postpone(chunk, out);
        }
        if chunk.field("choices").is_some_and(|choices| choices.items().is_empty()) {
            self.settle_ends(out)?;
        }
        if !(held && chunk::is_hollow(&chunk)) {
            write(&chunk, out);
        }
        Ok(())
    }

    /// Says the texts of a chunk that ends a choice, and keeps the end itself back: the rest of the choice has to come before it, and
    /// some servers say with every chunk that it is the last.
    fn postpone(&mut self, mut chunk: Node, out: &mut Vec<u8>) -> Result<(), Stop> {
        let mut said = Said::default();
        // It was walked before.
        let _ = chunk::visit(&mut chunk, &mut said);
        for (slot, text) in said.texts {
            write(&chunk::carrying(&self.like, &slot, text), out);
        }
        if self.ends.len() == SLOTS_MAX {
            return Err(Stop::Broken("its choices do not come to an end"));
        }
        self.ends.push(chunk);
        Ok(())
    }

    /// Settles the choices that have ended, each before its end.
    fn settle_ends(&mut self, out: &mut Vec<u8>) -> Result<(), Stop> {
        for chunk in std::mem::take(&mut self.ends) {
            for choice in chunk::finished(&chunk) {
                self.flush(Some(choice), out)?;
                self.finished.insert(choice);
            }
            write(&chunk, out);
        }
        Ok(())
    }

    /// Puts into every text of the chunk what may be said now. True when a text was changed.
    fn grow(&mut self, chunk: &mut Node, stop: &mut Option<Refusal>) -> Result<bool, Stop> {
        let mut growth = Growth { stream: self, changed: false, stop: None };
        chunk::visit(chunk, &mut growth).map_err(|_| Stop::Broken("an event of its stream is no chunk of a completion"))?;
        let Growth { changed, stop: stopped, .. } = growth;
        match stopped {
            None => Ok(changed),
            // What was said before the refused text may still go out.
            Some(Halted::Within(refusal)) => {
                *stop = Some(refusal);
                Ok(changed)
            }
            Some(Halted::Whole(stop)) => Err(stop),
        }
    }

    /// Notes what a text says now, for the record.
    fn note(&mut self, slot: &Slot, said: &grown::Said) {
        self.restored += said.restored;
        if let Some(kept) = &mut self.kept {
            kept::keep(kept, &said.step.text);
        }
        if !said.step.findings.is_empty() {
            self.found.push((slot.pointer(), said.step.findings.clone()));
        }
    }

    fn remember_head(&mut self, chunk: &Node) {
        let head = ["id", "object", "created", "model"];
        if self.like == Node::Null {
            self.like = Node::Object(head.iter().filter_map(|name| Some(((*name).to_owned(), chunk.field(name)?.clone()))).collect());
        }
    }

    /// Settles the texts of one choice, or of all, and writes what they held back.
    fn flush(&mut self, choice: Option<u64>, out: &mut Vec<u8>) -> Result<(), Stop> {
        let (now, later): (Vec<Slot>, Vec<Slot>) =
            std::mem::take(&mut self.order).into_iter().partition(|slot| choice.is_none() || choice == slot.choice);
        self.order = later;
        for slot in now {
            let Some(grown) = self.screens.remove(&slot) else { continue };
            let said = grown.finish();
            self.note(&slot, &said);
            if !said.text.is_empty() {
                write(&chunk::carrying(&self.like, &slot, said.text), out);
            }
            if let Some(refusal) = said.step.refusal {
                return Err(Stop::Refused(refusal));
            }
        }
        Ok(())
    }
}

enum Halted {
    /// Inside a growing text: what was said before it may go out.
    Within(Refusal),
    /// The chunk as a whole may not go out.
    Whole(Stop),
}

/// Lets the texts of a stream grow by one chunk.
struct Growth<'s> {
    stream: &'s mut AnswerStream,
    changed: bool,
    stop: Option<Halted>,
}

impl Growth<'_> {
    fn refuse(&mut self, stop: Stop) {
        if !matches!(self.stop, Some(Halted::Whole(_))) {
            self.stop = Some(Halted::Whole(stop));
        }
    }
}

impl chunk::Visit for Growth<'_> {
    fn growing(&mut self, slot: Slot, text: &mut String) {
        if self.stop.is_some() {
            // Nothing that comes after the refused text is said any more.
            text.clear();
            return;
        }
        let stream = &mut *self.stream;
        let ended = slot.choice.is_some_and(|choice| stream.finished.contains(&choice));
        if ended && !text.is_empty() {
            return self.refuse(Stop::Broken("its stream goes on after the end of a choice"));
        }
        if text.is_empty() {
            return;
        }
        stream.ends.iter_mut().for_each(|end| chunk::go_on(end, slot.choice.unwrap_or(0)));
        stream.ends.retain(|end| !chunk::is_hollow(end));
        if !stream.screens.contains_key(&slot) {
            if stream.screens.len() == SLOTS_MAX {
                return self.refuse(Stop::Broken("its answer has too many parts"));
            }
            stream.screens.insert(slot.clone(), Grown::default());
            stream.order.push(slot.clone());
        }
        let Some(grown) = stream.screens.get_mut(&slot) else { return };
        stream.text_bytes += text.len();
        let said = grown.push(&stream.policy, &stream.allowance, &slot, text);
        stream.note(&slot, &said);
        self.changed |= said.text != *text;
        *text = said.text;
        if let Some(refusal) = said.step.refusal {
            self.stop = Some(Halted::Within(refusal));
        }
    }

    fn whole(&mut self, slot: Slot, text: &mut String) {
        let stream = &mut *self.stream;
        if text.is_empty() {
            return;
        }
        if !stream.whole.contains_key(&slot) && stream.whole.len() == WHOLE_MAX {
            return self.refuse(Stop::Broken("its answer has too many parts"));
        }
        let pointer = slot.pointer();
        let whole = stream.whole.entry(slot).or_default();
        let screen = Screen { policy: &stream.policy, allowance: &stream.allowance };
        if let Err(stop) = whole.settle(&screen, &pointer, text, &mut stream.found) {
            text.clear();
            self.refuse(stop);
        }
    }

    fn key(&mut self, key: &str) {
        let stream = &mut *self.stream;
        if stream.keys.contains(key) {
            return;
        }
        // A key cannot be rewritten.
        let screen = Screen { policy: &stream.policy, allowance: &stream.allowance };
        match screen.one("/#", key, false, &mut stream.found) {
            Err(stop) => self.refuse(stop),
            Ok(_) if stream.keys.len() < WHOLE_MAX => {
                stream.keys.insert(key.to_owned());
            }
            Ok(_) => self.refuse(Stop::Broken("its answer has too many parts")),
        }
    }
}

/// Takes what a chunk says out of it.
#[derive(Default)]
struct Said {
    texts: Vec<(Slot, String)>,
}

impl chunk::Visit for Said {
    fn growing(&mut self, slot: Slot, text: &mut String) {
        if !text.is_empty() {
            self.texts.push((slot, std::mem::take(text)));
        }
    }

    fn whole(&mut self, _: Slot, _: &mut String) {}

    fn key(&mut self, _: &str) {}
}

fn write(chunk: &Node, out: &mut Vec<u8>) {
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(&chunk.to_bytes());
    out.extend_from_slice(b"\n\n");
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::{Screened, screen_whole};
    use super::*;

    const PACK: &str = r#"
pack: test
rules:
  - {id: EMAIL_ADDRESS, title: e-mail, category: pii, severity: medium, tags: [GDPR], why: test, keywords: ['@'],
     pattern: '\b[A-Za-z0-9._-]{1,64}@[A-Za-z0-9-]{1,63}\.[A-Za-z]{2,12}\b', must_match: [ada@example.org], must_not_match: [ada]}
  - {id: secret-plan, title: plan, category: sensitive, severity: high, tags: [X], why: test,
     literals: ['the secret plan'], must_match: [this is the secret plan], must_not_match: [a plan]}
"#;
    const POLICY: &str = "name: test\npacks: [pack.yaml]\nactions:\n  request: {pii: redact, sensitive: flag}\n  response: {pii: redact, sensitive: block}\n";

    fn policy() -> Arc<Policy> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("pack.yaml"), PACK).unwrap();
        std::fs::write(folder.path().join("policy.yaml"), POLICY).unwrap();
        Arc::new(Policy::load(&folder.path().join("policy.yaml")).unwrap())
    }

    fn chunk(choice: u64, delta: &Value, reason: &Value) -> String {
        format!(
            "data: {}\n\n",
            json!({"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [{"index": choice, "delta": delta, "finish_reason": reason}]})
        )
    }

    /// What a client puts together: the text of each slot, whether `[DONE]` came, and the chunks in order.
    fn gather(out: &[u8]) -> (HashMap<String, String>, bool) {
        let mut texts: HashMap<String, String> = HashMap::new();
        let mut done = false;
        for event in EventReader::new(1 << 20).push(out).unwrap() {
            assert!(!done, "an event after [DONE]");
            if event == b"[DONE]" {
                done = true;
                continue;
            }
            let mut node = Node::parse(&event).unwrap();
            let mut said = Said::default();
            chunk::visit(&mut node, &mut said).unwrap();
            for (slot, text) in said.texts {
                texts.entry(slot.pointer()).or_default().push_str(&text);
            }
        }
        (texts, done)
    }

    fn run(policy: &Arc<Policy>, stream: &[u8], cuts: &[usize]) -> (Vec<u8>, Result<(), Stop>) {
        let mut screen = AnswerStream::new(Arc::clone(policy), Allowance::default(), 1 << 20);
        let mut out = Vec::new();
        let mut from = 0;
        for &cut in cuts.iter().chain([&stream.len()]) {
            if let Err(stop) = screen.push(&stream[from..cut], &mut out) {
                return (out, Err(stop));
            }
            from = cut;
        }
        let ended = screen.end(&mut out);
        (out, ended)
    }

    fn two_choices_and_a_call() -> Vec<u8> {
        let mut stream =
            chunk(1, &json!({"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "{\"t\": \""}}]}), &Value::Null);
        let texts = ["Write to ad", "a@exam", "ple.org or 世界", " to bob@example.org", "."];
        for text in texts {
            stream.push_str(&chunk(0, &json!({"content": text}), &Value::Null));
            stream.push_str(&chunk(1, &json!({"tool_calls": [{"index": 0, "function": {"arguments": text}}]}), &Value::Null));
        }
        stream.push_str(&chunk(0, &json!({"content": " eve@exam"}), &json!("stop")));
        stream.push_str(&chunk(1, &json!({"tool_calls": [{"index": 0, "function": {"arguments": "\"}"}}]}), &json!("tool_calls")));
        stream.push_str("data: [DONE]\n\n");
        stream.into_bytes()
    }

    #[test]
    fn a_stream_cut_at_every_byte_says_the_same() {
        let policy = policy();
        let stream = two_choices_and_a_call();
        let mut expected: HashMap<String, String> = HashMap::new();
        expected.insert("/choices/0/delta/content".into(), "Write to [EMAIL_ADDRESS] or 世界 to [EMAIL_ADDRESS]. eve@exam".into());
        expected.insert(
            "/choices/1/delta/tool_calls/0/function/arguments".into(),
            "{\"t\": \"Write to [EMAIL_ADDRESS] or 世界 to [EMAIL_ADDRESS].\"}".into(),
        );
        for cut in 0..stream.len() {
            let (out, ended) = run(&policy, &stream, &[cut]);
            assert!(ended.is_ok());
            assert_eq!(gather(&out), (expected.clone(), true), "cut at {cut}");
        }
    }

    #[test]
    fn a_text_cut_at_every_character_into_two_chunks_says_the_same() {
        let policy = policy();
        let text = "mail ada@example.org and 世界 bob.b@example.org";
        for (cut, _) in text.char_indices() {
            let stream = chunk(0, &json!({"content": &text[..cut]}), &Value::Null)
                + &chunk(0, &json!({"content": &text[cut..]}), &json!("stop"))
                + "data: [DONE]\n\n";
            let (out, _) = run(&policy, stream.as_bytes(), &[]);
            assert_eq!(gather(&out).0["/choices/0/delta/content"], "mail [EMAIL_ADDRESS] and 世界 [EMAIL_ADDRESS]", "cut at {cut}");
        }
    }

    #[test]
    fn a_refused_text_ends_the_stream_and_says_nothing_after_it() {
        let policy = policy();
        for cut in 0.."the secret plan".len() {
            let (one, two) = "the secret plan".split_at(cut);
            let stream = chunk(0, &json!({"content": format!("here is {one}")}), &Value::Null)
                + &chunk(0, &json!({"content": format!("{two}, and more")}), &Value::Null)
                + &chunk(1, &json!({"content": "never"}), &json!("stop"))
                + "data: [DONE]\n\n";
            let (out, ended) = run(&policy, stream.as_bytes(), &[]);
            assert!(matches!(ended, Err(Stop::Refused(refusal)) if refusal.rules == ["secret-plan"]));
            let (texts, done) = gather(&out);
            assert!(!done);
            assert_eq!(texts.get("/choices/0/delta/content").map(String::as_str), Some("here is "), "cut at {cut}");
            assert_eq!(texts.get("/choices/1/delta/content"), None);
        }
    }

    #[test]
    fn a_choice_that_ends_with_every_chunk_is_one_text() {
        let text = "mail ada@example.org today";
        for cut in 0..text.len() {
            let stream = chunk(0, &json!({"content": &text[..cut]}), &json!("stop"))
                + &chunk(0, &json!({"content": &text[cut..]}), &json!("stop"))
                + "data: [DONE]\n\n";
            let (out, ended) = run(&policy(), stream.as_bytes(), &[]);
            assert!(ended.is_ok());
            assert_eq!(gather(&out).0["/choices/0/delta/content"], "mail [EMAIL_ADDRESS] today", "cut at {cut}");
            assert_eq!(String::from_utf8(out).unwrap().matches("\"stop\"").count(), 1);
        }
    }

    #[test]
    fn a_refused_text_is_not_said_to_be_finished() {
        let stream = chunk(0, &json!({"content": "here is the secret plan."}), &json!("stop")) + "data: [DONE]\n\n";
        let (out, ended) = run(&policy(), stream.as_bytes(), &[]);
        assert!(matches!(ended, Err(Stop::Refused(_))));
        assert!(!String::from_utf8(out).unwrap().contains("stop"));
    }

    #[test]
    fn a_choice_that_goes_on_after_its_end_or_says_a_name_in_pieces_is_broken() {
        let policy = policy();
        let usage = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}\n\n";
        let after =
            chunk(0, &json!({"content": "ada@exam"}), &json!("stop")) + usage + &chunk(0, &json!({"content": "ple.org"}), &json!("stop"));
        let name = |text: &str| chunk(0, &json!({"tool_calls": [{"index": 0, "function": {"name": text}}]}), &Value::Null);
        for stream in [after, name("ada@exam") + &name("ple.org")] {
            let (out, ended) = run(&policy, stream.as_bytes(), &[]);
            assert!(matches!(ended, Err(Stop::Broken(_))));
            assert!(!String::from_utf8(out).unwrap().contains("ple.org"));
        }
    }

    #[test]
    fn a_text_that_is_json_is_seen_through_and_stays_json() {
        let policy = policy();
        let text = r#" {"to": "ada\u0040example.org"}"#;
        for cut in 0..text.len() {
            let stream = chunk(0, &json!({"content": &text[..cut]}), &Value::Null)
                + &chunk(0, &json!({"content": &text[cut..]}), &json!("stop"))
                + "data: [DONE]\n\n";
            let (out, _) = run(&policy, stream.as_bytes(), &[]);
            assert_eq!(gather(&out).0["/choices/0/delta/content"], r#" {"to": "[EMAIL_ADDRESS]"}"#, "cut at {cut}");
        }
    }

    #[test]
    fn a_text_is_one_text_wherever_it_stands_in_a_choice() {
        let policy = policy();
        let deltas: [fn(&str) -> Value; 3] = [
            |text| json!({"content": [{"type": "text", "text": text}]}),
            |text| json!({"never heard of": {"it": text}}),
            |text| json!({"reasoning": text}),
        ];
        for delta in deltas {
            let stream =
                chunk(0, &delta("mail ada@exam"), &Value::Null) + &chunk(0, &delta("ple.org now"), &Value::Null) + "data: [DONE]\n\n";
            let (out, ended) = run(&policy, stream.as_bytes(), &[]);
            assert!(ended.is_ok());
            let texts = gather(&out).0;
            assert!(texts.values().any(|text| text == "mail [EMAIL_ADDRESS] now"), "{texts:?}");
        }
        let call = |text: &str| chunk(0, &json!({"tool_calls": [{"function": {"arguments": text}}]}), &Value::Null);
        let stream = call(r#"{"to": "ada\u00"#) + &call(r#"40example.org"}"#) + "data: [DONE]\n\n";
        let (out, _) = run(&policy, stream.as_bytes(), &[]);
        assert_eq!(gather(&out).0["/choices/0/delta/tool_calls/0/function/arguments"], r#"{"to": "[EMAIL_ADDRESS]"}"#);
    }

    #[test]
    fn a_text_outside_the_deltas_is_cut_off_before_it_is_complete() {
        let policy = policy();
        let outside = |text: &str| format!("data: {}\n\n", json!({"choices": [], "output": text}));
        let beside = |text: &str| format!("data: {}\n\n", json!({"choices": [{"index": 0, "content": text}]}));
        let number = |text: &str| format!("data: {}\n\n", json!({"choices": [{"index": 1.0, "delta": {"content": text}}]}));
        for stream in
            [outside("ada@exam") + &outside("ple.org"), beside("ada@exam") + &beside("ple.org"), number("ada@exam") + &number("ple.org")]
        {
            let (out, ended) = run(&policy, stream.as_bytes(), &[]);
            assert!(matches!(ended, Err(Stop::Broken(_))), "{stream}");
            assert!(!String::from_utf8(out).unwrap().contains("ple.org"));
        }
        let same = outside("stable words") + &outside("stable words") + "data: [DONE]\n\n";
        assert!(run(&policy, same.as_bytes(), &[]).1.is_ok());
    }

    #[test]
    fn token_by_token_copies_of_the_text_are_dropped_wherever_they_stand() {
        let policy = policy();
        let tokens = json!({"content": [{"token": "ada@exam"}]});
        let stream = format!(
            "data: {}\n\ndata: [DONE]\n\n",
            json!({"choices": [{"index": 0, "delta": {"content": "hi", "logprobs": tokens}, "logprobs": tokens}], "obfuscation": "xyz"})
        );
        let (out, _) = run(&policy, stream.as_bytes(), &[]);
        let said = String::from_utf8(out).unwrap();
        assert!(!said.contains("ada") && !said.contains("xyz") && said.contains("hi"));
    }

    #[test]
    fn what_is_no_stream_is_broken_and_not_passed_on() {
        let policy = policy();
        for stream in ["data: {\"choices\":\n\n", "data: hello\n\n", "data: [1]\n\n", "data: {\"error\":{\"message\":\"x\"}}\n\n"] {
            let (out, ended) = run(&policy, stream.as_bytes(), &[]);
            assert!(matches!(ended, Err(Stop::Broken(_))) && out.is_empty(), "{stream}");
        }
        let (out, ended) = run(&policy, chunk(0, &json!({"content": "hi ada@exam"}), &Value::Null).as_bytes(), &[]);
        assert!(matches!(ended, Err(Stop::Broken(_))), "without [DONE]");
        assert_eq!(gather(&out).0["/choices/0/delta/content"], "hi ada@exam");
    }

    #[test]
    fn a_whole_answer_is_redacted_in_every_choice_and_call_and_loses_its_logprobs() {
        let body = json!({"choices": [
            {"index": 0, "message": {"content": "ada@example.org"}, "logprobs": {"content": [{"token": "ada"}]}},
            {"index": 1, "message": {"content": null, "tool_calls": [{"function": {"name": "f", "arguments": "{\"to\":\"bob@example.org\"}"}}]}}
        ], "usage": {"prompt_tokens": 5, "completion_tokens": 7}});
        let mut found = Vec::new();
        let Screened { bytes, tokens, .. } =
            screen_whole(&policy(), &Allowance::default(), body.to_string().as_bytes(), &mut found).unwrap();
        let answer: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(answer["choices"][0]["message"]["content"], "[EMAIL_ADDRESS]");
        assert_eq!(answer["choices"][0]["logprobs"], Value::Null);
        assert_eq!(answer["choices"][1]["message"]["tool_calls"][0]["function"]["arguments"], "{\"to\":\"[EMAIL_ADDRESS]\"}");
        assert_eq!(tokens.map(|t| (t.prompt, t.answer, t.measured)), Some((5, 7, true)));
        assert_eq!(found.len(), 2);
    }
}
