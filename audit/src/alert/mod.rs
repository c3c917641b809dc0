//! Alerts: what is worth waking somebody is told in chat rooms, to other programs, and by mail.
//!
//!     record ── durable ──> tap ──> desk of each channel ──> queue ──> courier ──> the network
//!                           bounded    rule, groups, rate     bounded    timeout, retries
//!
//! Everything right of `durable` runs on one thread of its own; what stands left of it never waits for that thread: a full tap loses
//! the alert and counts it. A message holds ids, counts and severities, never a text that was screened. Nothing here is kept over a
//! restart.

mod backoff;
mod channel;
mod courier;
mod desk;
mod group;
mod http;
mod ledger;
mod mail;
mod matter;
mod message;
mod payload;
mod queue;
mod rate;
mod rule;
mod run;
mod secret;
mod settings;
mod tap;
mod template;
mod topic;
mod trust;

pub use channel::{Answered, Channel, Failure};
pub use message::Message;
pub use rule::Rule;
pub use run::{Alerts, ChannelStats, STATS_LABELS};
pub use secret::{Secret, SecretUrl};
pub use settings::{ChannelSettings, Mail, MailTls, Retry, Target};
pub use template::Language;
pub use topic::Topic;

pub(crate) use matter::Matter;
pub(crate) use tap::Tap;
