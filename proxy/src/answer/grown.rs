//! A text that grows from chunk to chunk, its screen, and what puts pseudonyms' values back behind it.

use std::sync::Arc;

use portcullis_policies::{Allowance, Direction, Encoding, Policy, Restorer, Role, Step, StreamScreen};

use crate::dialect::chunk::Slot;

/// Blanks at the beginning of a text that are waited through to see whether it is JSON, in bytes.
const LEAD_BYTES_MAX: usize = 256;

/// A text that grows, and its screen. Whether it is JSON is known from its field, or with its first visible character.
#[derive(Default)]
pub(super) struct Grown {
    /// Blanks that wait for the first visible character.
    lead: String,
    screen: Option<(StreamScreen, Restorer)>,
}

/// What a text says now.
#[derive(Default)]
pub(super) struct Said {
    /// What the screen let go.
    pub step: Step,
    /// The same for the client: with the values in the place of their pseudonyms.
    pub text: String,
    /// How many values that were.
    pub restored: u64,
}

impl Grown {
    pub(super) fn push(&mut self, policy: &Arc<Policy>, allowance: &Allowance, slot: &Slot, piece: &str) -> Said {
        if let Some((screen, restorer)) = &mut self.screen {
            return said(screen.push(piece), restorer, false);
        }
        self.lead.push_str(piece);
        let encoding = match self.lead.trim_start().chars().next() {
            _ if slot.is_json() => Encoding::Json,
            Some('{') => Encoding::Json,
            Some(_) => Encoding::Plain,
            None if self.lead.len() > LEAD_BYTES_MAX => Encoding::Plain,
            None => return Said::default(),
        };
        let screen = StreamScreen::with(Arc::clone(policy), Direction::Response, Role::Assistant, encoding, allowance.clone());
        let restorer = Restorer::new(allowance.restoration().clone(), encoding);
        let (screen, restorer) = self.screen.insert((screen, restorer));
        said(screen.push(&std::mem::take(&mut self.lead)), restorer, false)
    }

    pub(super) fn finish(self) -> Said {
        match self.screen {
            Some((mut screen, mut restorer)) => said(screen.finish(), &mut restorer, true),
            None => Said { text: self.lead.clone(), step: Step { text: self.lead, ..Step::default() }, restored: 0 },
        }
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.lead.len() + self.screen.as_ref().map_or(0, |(screen, restorer)| screen.held_bytes() + restorer.held_bytes())
    }
}

fn said(step: Step, restorer: &mut Restorer, ended: bool) -> Said {
    let before = restorer.restored;
    let mut text = restorer.push(&step.text);
    if ended || step.refusal.is_some() {
        text.push_str(&restorer.finish());
    }
    Said { step, text, restored: restorer.restored - before }
}
