//! Rules over prompts and answers: text in, findings and a decision out. No clock, no network, no async.

mod announce;
mod automaton;
mod check;
mod compile;
mod decide;
mod decode;
mod disguise;
mod error;
#[cfg(test)]
mod evasion;
mod first;
mod fold;
mod frequency;
mod hold;
#[cfg(test)]
mod laws;
mod literals;
mod load;
mod map;
mod model;
mod pack;
mod policy;
mod policy_form;
mod redact;
mod resolve;
mod scan;
#[cfg(test)]
mod shipped;
mod stream;
mod syntax;
mod view;
mod words;

pub use decide::{Cleared, Decision, Outcome, Refusal, RefusalReason, decide};
pub use error::{Fault, PolicyError};
pub use model::{Action, Category, Direction, Encoding, Finding, Mode, ModelSignal, Role, RuleInfo, Severity, Text, Unscreenable};
pub use policy::{Policy, TestFailure};
pub use stream::{Step, StreamScreen};
