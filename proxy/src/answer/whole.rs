//! A text of a stream that comes whole: a name, an id, whatever stands outside the deltas.
//!
//! It is screened by itself and redacted like any text. As nobody can be sure that it does not grow after all, what a place says over
//! the stream is also looked at put together: once a finding crosses from one piece into the next, the stream is cut off before the
//! piece that completes it.

use portcullis_policies::{Allowance, Direction, Encoding, Finding, Mode, ModelSignal, Outcome, Policy, Role, Text, decide};

use super::{Found, Stop};

/// How much of what a place has said is looked at together with what it says next, in bytes.
const SAID_BYTES_MAX: usize = 1024;

/// One place and what it has said.
#[derive(Default)]
pub(super) struct Whole {
    last: String,
    shown: String,
    said: String,
    edges: Vec<usize>,
}

impl Whole {
    /// Screens what the place says now and puts the redacted text in its stead.
    pub(super) fn settle(&mut self, screen: &Screen<'_>, pointer: &str, text: &mut String, found: &mut Vec<Found>) -> Result<(), Stop> {
        // In most streams the same words come with every chunk.
        if *text == self.last {
            self.shown.clone_into(text);
            return Ok(());
        }
        self.note(text);
        if !self.edges.is_empty() && screen.policy.mode() == Mode::Enforce && self.crosses(screen) {
            return Err(Stop::Broken("its stream says in pieces what may not be said"));
        }
        text.clone_into(&mut self.last);
        if let Some(redacted) = screen.one(pointer, text, true, found)? {
            *text = redacted;
        }
        text.clone_into(&mut self.shown);
        Ok(())
    }

    fn note(&mut self, text: &str) {
        if !self.said.is_empty() {
            self.edges.push(self.said.len());
        }
        self.said.push_str(text);
        if self.said.len() > 2 * SAID_BYTES_MAX {
            let cut = self.said.ceil_char_boundary(self.said.len() - SAID_BYTES_MAX);
            self.said.drain(..cut);
            self.edges = self.edges.iter().filter_map(|edge| edge.checked_sub(cut).filter(|&edge| edge > 0)).collect();
        }
    }

    fn crosses(&self, screen: &Screen<'_>) -> bool {
        let crossing = |finding: &Finding| self.edges.iter().any(|edge| finding.span.start < *edge && *edge < finding.span.end);
        let findings = screen.policy.screen_with(Direction::Response, &text_of(&self.said, false), screen.allowance);
        findings.iter().any(|finding| finding.in_force().hides() && crossing(finding))
    }
}

fn text_of(text: &str, redactable: bool) -> Text<'_> {
    Text { role: Role::Assistant, encoding: Encoding::Plain, redactable, text }
}

/// What texts of one answer are screened with.
pub(super) struct Screen<'s> {
    pub policy: &'s Policy,
    pub allowance: &'s Allowance,
}

impl Screen<'_> {
    /// Screens one text by itself; gives its redacted form when that differs.
    pub(super) fn one(&self, pointer: &str, text: &str, redactable: bool, found: &mut Vec<Found>) -> Result<Option<String>, Stop> {
        let texts = [text_of(text, redactable)];
        let findings = [self.policy.screen_with(Direction::Response, &texts[0], self.allowance)];
        let decision = decide(self.policy, &texts, &findings, &ModelSignal::Skipped);
        let [findings] = findings;
        if !findings.is_empty() {
            found.push((pointer.to_owned(), findings));
        }
        match decision.outcome {
            Outcome::Refuse(refusal) => Err(Stop::Refused(refusal)),
            Outcome::Forward(cleared) => Ok(cleared.redacted(0).map(str::to_owned)),
        }
    }
}
