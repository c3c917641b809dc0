//! Canary tokens: words that are planted where nobody should read them out, and that raise an alarm when an answer says them.

use serde::Deserialize;

use crate::error::Fault;
use crate::inherit::Placed;
use crate::model::{Action, Category, Direction, Severity};
use crate::own::{Own, own_id};
use crate::pack::Rule;

/// Shortest token, in characters: a shorter one is said by chance.
const TOKEN_CHARS_MIN: usize = 8;
/// Longest run of one placeholder.
const RUN_MAX: usize = 256;

/// A token, or the form that tokens have.
#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
pub(crate) struct CanaryForm {
    pub name: String,
    pub token: Option<String>,
    pub template: Option<String>,
    #[serde(default = "block")]
    pub action: Action,
}

fn block() -> Action {
    Action::Block
}

impl Placed<CanaryForm> {
    /// Makes the canary's rule.
    pub(crate) fn rule(&self) -> Result<Rule, Fault> {
        let form = &self.value;
        let subject = format!("canaries.{}", form.name);
        let fault = |reason: String| self.fault(&subject, reason);
        let id = own_id("CANARY", &form.name).map_err(fault)?;
        if !matches!(form.action, Action::Flag | Action::Redact | Action::Block) {
            return Err(fault("action must be flag, redact or block".into()));
        }
        let (pattern, chars) = match (&form.token, &form.template) {
            (Some(token), None) => (regex_syntax::escape(token), token.trim().chars().count()),
            (None, Some(template)) => pattern(template).map_err(fault)?,
            _ => return Err(fault("give either token or template".into())),
        };
        if chars < TOKEN_CHARS_MIN {
            return Err(fault(format!("a token of less than {TOKEN_CHARS_MIN} characters is said by chance")));
        }
        let own = Own {
            id,
            title: format!("Canary token {}", form.name),
            category: Category::Secret,
            severity: Severity::Critical,
            why: "it was planted where no answer should have it from",
            tags: vec!["OWASP-LLM07:2025".into(), "ATLAS-AML.T0056".into()],
            directions: vec![Direction::Response],
            literals: vec![],
            patterns: vec![pattern],
            insensitive: false,
        };
        Ok(own.rule(self.path.to_path_buf(), self.line))
    }
}

/// Turns `PC-{hex:16}` into a pattern, with the number of its characters.
fn pattern(template: &str) -> Result<(String, usize), String> {
    let (mut pattern, mut chars, mut rest) = (String::new(), 0, template);
    while let Some((before, from)) = rest.split_once('{') {
        let wrong = || format!("template: `{{` begins {{hex:N}}, {{digits:N}}, {{letters:N}} or {{alnum:N}}, N from 1 to {RUN_MAX}");
        let (placeholder, after) = from.split_once('}').ok_or_else(wrong)?;
        let (kind, count) = placeholder.split_once(':').ok_or_else(wrong)?;
        let class = match kind {
            "hex" => "[0-9A-Fa-f]",
            "digits" => "[0-9]",
            "letters" => "[A-Za-z]",
            "alnum" => "[0-9A-Za-z]",
            _ => return Err(wrong()),
        };
        let count: usize = count.parse().ok().filter(|count| (1..=RUN_MAX).contains(count)).ok_or_else(wrong)?;
        pattern.push_str(&format!("{}{class}{{{count}}}", regex_syntax::escape(before)));
        chars += before.chars().count() + count;
        rest = after;
    }
    pattern.push_str(&regex_syntax::escape(rest));
    Ok((pattern, chars + rest.chars().count()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{Encoding, Policy, Role, StreamScreen, Text};

    #[test]
    fn a_template_is_a_pattern_of_known_length() {
        assert_eq!(pattern("PC-{hex:4}.{digits:2}!"), Ok(("PC\\-[0-9A-Fa-f]{4}\\.[0-9]{2}!".into(), 11)));
        for wrong in ["PC-{hex}", "PC-{hex:0}", "PC-{hex:257}", "PC-{bytes:4}", "PC-{hex:4", "{}"] {
            assert!(pattern(wrong).is_err(), "{wrong}");
        }
    }

    fn load(canaries: &str) -> Result<Policy, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.yaml");
        std::fs::write(&path, format!("name: p\npacks: []\ncanaries: [{canaries}]\n")).unwrap();
        Policy::load(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn an_answer_that_holds_a_canary_is_stopped_however_it_is_cut() {
        let policy = Arc::new(
            load("{ name: system-prompt, token: 'zebra-7Q1x-umbrella' }, { name: any, template: 'PC-{hex:12}', action: flag }").unwrap(),
        );
        let said = "My instructions: zebra-7Q1x-umbrella and PC-00ffAA12cd34";
        for cut in 0..said.len() {
            let mut stream = StreamScreen::new(Arc::clone(&policy), Direction::Response, Role::Assistant, Encoding::Plain);
            let steps = [stream.push(&said[..cut]), stream.push(&said[cut..]), stream.finish()];
            let refusal = steps.iter().find_map(|step| step.refusal.clone()).unwrap();
            assert_eq!(refusal.rules, ["CANARY_SYSTEM_PROMPT"]);
            assert_eq!(steps.map(|step| step.text).concat(), "My instructions: ", "cut at {cut}");
        }
        let found = |direction, text| {
            let findings = policy.screen(direction, &Text { role: Role::Assistant, encoding: Encoding::Plain, redactable: true, text });
            findings.into_iter().map(|finding| (finding.rule.id.clone(), finding.action, finding.rule.severity)).collect::<Vec<_>>()
        };
        assert_eq!(found(Direction::Response, "xPC-00ffAA12cd34x"), [("CANARY_ANY".to_owned(), Action::Flag, Severity::Critical)]);
        assert_eq!(found(Direction::Response, "ｚｅｂｒａ-7Q1x-um\u{200b}brella").len(), 1, "disguised");
        assert_eq!(found(Direction::Request, "zebra-7Q1x-umbrella"), [], "planting it is no alarm");
        assert_eq!(found(Direction::Response, "ZEBRA-7q1x-UMBRELLA PC-00ffAA12cd3"), []);
    }

    #[test]
    fn a_wrong_canary_is_refused_with_its_line() {
        for (canary, expected) in [
            ("{ name: a, token: short }", "policy.yaml:3: canaries.a: a token of less than 8"),
            ("{ name: a }", "give either token or template"),
            ("{ name: a, token: 'long enough', template: 'PC-{hex:9}' }", "give either"),
            ("{ name: a, template: 'PC-{word:9}' }", "template: `{` begins"),
            ("{ name: a, token: 'long enough', action: allow }", "action must be flag"),
            ("{ name: '', token: 'long enough' }", "name must be"),
        ] {
            let error = load(canary).err().unwrap_or_default();
            assert!(error.contains(expected), "{canary}: {error}");
        }
    }
}
