//! A text that grows from chunk to chunk, and its screen.

use std::sync::Arc;

use portcullis_policies::{Direction, Encoding, Policy, Role, Step, StreamScreen};

use crate::dialect::chunk::Slot;

/// Blanks at the beginning of a text that are waited through to see whether it is JSON, in bytes.
const LEAD_BYTES_MAX: usize = 256;

/// A text that grows, and its screen. Whether it is JSON is known from its field, or with its first visible character.
#[derive(Default)]
pub(super) struct Grown {
    /// Blanks that wait for the first visible character.
    lead: String,
    screen: Option<StreamScreen>,
}

impl Grown {
    pub(super) fn push(&mut self, policy: &Arc<Policy>, slot: &Slot, piece: &str) -> Step {
        if let Some(screen) = &mut self.screen {
            return screen.push(piece);
        }
        self.lead.push_str(piece);
        let encoding = match self.lead.trim_start().chars().next() {
            _ if slot.is_json() => Encoding::Json,
            Some('{') => Encoding::Json,
            Some(_) => Encoding::Plain,
            None if self.lead.len() > LEAD_BYTES_MAX => Encoding::Plain,
            None => return Step::default(),
        };
        let mut screen = StreamScreen::new(Arc::clone(policy), Direction::Response, Role::Assistant, encoding);
        let step = screen.push(&std::mem::take(&mut self.lead));
        self.screen = Some(screen);
        step
    }

    pub(super) fn finish(self) -> Step {
        match self.screen {
            Some(mut screen) => screen.finish(),
            None => Step { text: self.lead, ..Step::default() },
        }
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.lead.len() + self.screen.as_ref().map_or(0, StreamScreen::held_bytes)
    }
}
