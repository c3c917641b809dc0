//! An event on its way into the table: its columns, its body, and its texts while they are still to be sealed.

use std::path::Path;

use crate::subjects::SubjectKeys;
use crate::{AuditError, Decision, Event, Fault, Kind, Severity};

/// An event as it goes into the table.
pub(crate) struct Row {
    pub event_id: String,
    pub ts_us: i64,
    pub kind: Kind,
    pub tenant: String,
    pub request_id: Option<String>,
    pub decision: Option<Decision>,
    pub severity: Option<Severity>,
    pub forwards: bool,
    /// The event itself, where it has texts that are still to be sealed; then there is no body yet.
    unsealed: Option<Box<Event>>,
    /// Why it cannot be stored.
    pub refused: Option<AuditError>,
    pub body: String,
    bytes: usize,
}

impl Row {
    pub fn new(event: Event) -> serde_json::Result<Self> {
        let texts = [&event.redacted_prompt, &event.redacted_answer].into_iter().flatten().map(String::len).sum::<usize>();
        let has_text = event.redacted_prompt.is_some() || event.redacted_answer.is_some();
        let body = if has_text { String::new() } else { serde_json::to_string(&event)? };
        Ok(Self {
            unsealed: has_text.then(|| Box::new(event.clone())),
            refused: None,
            // Sealed, a text takes a third more, for base64.
            bytes: size_of::<Self>() + body.len() + texts + texts / 3 + event.tenant.len() + event.event_id.len() + event.request_id.len(),
            body,
            forwards: event.forwards(),
            ts_us: event.time_us,
            kind: event.kind,
            decision: event.decision,
            severity: event.severity,
            event_id: event.event_id,
            tenant: event.tenant,
            request_id: Some(event.request_id).filter(|id| !id.is_empty()),
        })
    }

    /// Bytes it takes in the queue and, nearly, in the file.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gives an event with texts its body, the texts sealed. What cannot be sealed is refused, alone.
    pub fn seal(&mut self, keys: &mut Option<SubjectKeys>, path: &Path) {
        let Some(mut event) = self.unsealed.take() else { return };
        let sealed = match keys {
            Some(keys) => keys.seal(&mut event),
            None => SubjectKeys::open_or_make(path).and_then(|opened| keys.insert(opened).seal(&mut event)),
        };
        let body = sealed.and_then(|()| {
            serde_json::to_string(&event).map_err(|error| AuditError::Write { fault: Fault::Other, cause: error.to_string().into() })
        });
        match body {
            Ok(body) => self.body = body,
            Err(error) => {
                tracing::error!(%error, "audit store: a text could not be sealed, its event is not stored");
                *keys = None;
                self.refused = Some(error);
            }
        }
    }
}
