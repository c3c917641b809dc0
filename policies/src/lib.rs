//! Rules over prompts and answers: text in, findings and a decision out. No clock, no network, no async.

mod check;
mod compile;
mod corpus;
mod decide;
mod error;
mod explain;
mod fold;
mod hold;
#[cfg(test)]
mod laws;
mod lint;
mod load;
mod model;
mod pack;
mod policy;
mod policy_form;
mod redact;
mod resolve;
mod scan;
mod schema;
#[cfg(test)]
mod shipped;
mod stream;
mod syntax;
mod view;
mod words;

pub use corpus::BENIGN;
pub use decide::{Cleared, Decision, Outcome, Refusal, RefusalReason, decide};
pub use error::{Fault, PolicyError};
pub use explain::{ContextSeen, Demand, Fate, Seen};
pub use lint::RuleFacts;
pub use model::{Action, Category, Direction, Encoding, Finding, Mode, ModelSignal, Role, RuleInfo, Severity, Text, Unscreenable};
pub use policy::{Policy, TestFailure};
pub use schema::{PACK_SCHEMA, POLICY_SCHEMA};
pub use stream::{Step, StreamScreen};
