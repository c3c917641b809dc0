//! Rules over prompts and answers: text in, findings and a decision out. No clock, no network, no async.

mod address;
mod allowance;
mod announce;
mod automaton;
mod canary;
mod check;
mod choice;
mod compile;
mod corpus;
mod coverage;
mod day;
mod decide;
mod decode;
mod disguise;
mod error;
#[cfg(test)]
mod evasion;
mod explain;
mod file;
mod first;
mod fold;
mod frequency;
#[cfg(test)]
mod fuzz;
mod hold;
mod inherit;
#[cfg(test)]
mod laws;
mod lint;
mod lists;
mod literals;
mod load;
mod map;
mod marks;
mod model;
mod outline;
mod own;
mod pack;
mod policy;
mod policy_form;
mod proved;
mod pseudonym;
mod readings;
mod redact;
mod refuse;
mod resolve;
mod scan;
mod schema;
#[cfg(test)]
mod shipped;
mod stream;
mod style;
mod syntax;
mod threads;
mod value;
mod view;
mod words;
mod written;

pub use address::ClientAddress;
pub use allowance::Allowance;
pub use corpus::BENIGN;
pub use coverage::{CoverageLimit, DECODING_BUDGET, Screened};
pub use day::Day;
pub use decide::{Cleared, Decision, KNOWN_ATTACK_SEVERITY, Outcome, Refusal, RefusalReason, decide, decide_in};
pub use error::{Fault, PolicyError};
pub use explain::{ContextSeen, Demand, Fate, Seen};
pub use lint::RuleFacts;
pub use lists::Notice;
pub use model::{
    Action, Category, Direction, Encoding, Finding, KnownAttack, Mode, ModelSignal, Redaction, Role, RuleInfo, Severity, Text, Unscreenable,
};
pub use policy::{Policy, TestFailure};
pub use pseudonym::{PSEUDONYMS_MAX, Pseudonyms, Restoration, Restorer};
pub use readings::readings;
pub use refuse::Language;
pub use schema::{PACK_SCHEMA, POLICY_SCHEMA};
pub use stream::{Step, StreamScreen};
