//! What the gateway put on record, read from its store while it runs.

use std::path::PathBuf;

use portcullis_audit::{Event, Filter, Kind, READ_EVENTS_MAX, Reader};

use crate::wait::eventually;

/// The audit store of one gateway.
#[derive(Clone, Debug)]
pub struct AuditTrail {
    store: PathBuf,
}

impl AuditTrail {
    pub(crate) fn new(store: PathBuf) -> Self {
        Self { store }
    }

    /// Every event that belongs to a request, in order.
    pub fn all(&self) -> Vec<Event> {
        self.read(&Filter::default()).into_iter().filter(|event| event.kind != Kind::PolicyChange).collect()
    }

    /// Every event of a change of a policy, in order, once there are `count`.
    pub async fn changes(&self, count: usize) -> Vec<Event> {
        let filter = Filter { kind: Some(Kind::PolicyChange), ..Filter::default() };
        eventually(&format!("{count} changes of policies"), || Some(self.read(&filter)).filter(|events| events.len() >= count)).await
    }

    /// The events of one request, as far as they are on record now.
    pub fn of(&self, request_id: &str) -> Vec<Event> {
        self.read(&Filter { request_id: Some(request_id.to_owned()), ..Filter::default() })
    }

    /// The events of a request that was answered without being forwarded; waits for the first.
    pub async fn answered(&self, request_id: &str) -> Vec<Event> {
        eventually(&format!("an audit event of request {request_id}"), || Some(self.of(request_id)).filter(|events| !events.is_empty()))
            .await
    }

    /// The decision and the completion of a forwarded request; waits for the completion. The test fails when there is more.
    pub async fn whole(&self, request_id: &str) -> (Event, Event) {
        let what = format!("a completion of request {request_id}");
        let events =
            eventually(&what, || Some(self.of(request_id)).filter(|events| events.iter().any(|event| event.kind == Kind::Completion)))
                .await;
        match events.as_slice() {
            [decision, completion] if decision.kind == Kind::Decision && completion.kind == Kind::Completion => {
                (decision.clone(), completion.clone())
            }
            _ => panic!("not one decision and one completion: {events:#?}"),
        }
    }

    /// All completions, once there are `count`.
    pub async fn completions(&self, count: usize) -> Vec<Event> {
        let filter = Filter { kind: Some(Kind::Completion), ..Filter::default() };
        eventually(&format!("{count} completions"), || Some(self.read(&filter)).filter(|events| events.len() >= count)).await
    }

    fn read(&self, filter: &Filter) -> Vec<Event> {
        let reader = Reader::open(&self.store).unwrap_or_else(|error| panic!("the audit store: {error}"));
        let mut events = Vec::new();
        let mut after = 0;
        loop {
            let page = reader.tail(Some(after), READ_EVENTS_MAX, filter).unwrap_or_else(|error| panic!("the audit store: {error}"));
            let Some(last) = page.last() else { return events };
            after = last.seq;
            events.extend(page.into_iter().map(|stored| stored.event));
        }
    }
}
