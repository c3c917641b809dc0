//! A message to one channel, before it is put in words.

use std::time::Duration;

use crate::alert::Topic;
use crate::alert::matter::{Item, Lead, Matter};
use crate::{Decision, Severity};

/// Why a message is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Something happened.
    First,
    /// It went on: the counts are of events since the last message.
    Summary { window: Duration },
    /// Alerts that the channel's rate held back, and how many.
    HeldBack { events: u64 },
}

/// A message to one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// UUIDv7; the same in each attempt to deliver it.
    pub id: String,
    pub(crate) form: Form,
    pub(crate) lead: Lead,
    pub(crate) items: Vec<Item>,
}

impl Message {
    pub(crate) fn new(form: Form, lead: Lead, items: Vec<Item>) -> Self {
        Self { id: uuid::Uuid::now_v7().to_string(), form, lead, items }
    }

    /// A message by which a person sees that a channel works.
    pub fn test() -> Self {
        let Matter { lead, items } = Matter::raised(Topic::Test, "");
        Self::new(Form::First, lead, items)
    }

    /// The worst of it.
    pub(crate) fn severity(&self) -> Severity {
        self.items.iter().map(|item| item.severity).max().unwrap_or(Severity::Low)
    }

    pub(crate) fn decision(&self) -> Option<Decision> {
        self.lead.decision
    }

    /// Events or findings together.
    pub(crate) fn count(&self) -> u64 {
        match self.form {
            Form::HeldBack { events } => events,
            Form::First | Form::Summary { .. } => self.items.iter().map(|item| item.count).sum(),
        }
    }
}
