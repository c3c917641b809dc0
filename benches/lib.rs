//! What the benches share: texts to screen, connections that measure, and the load they are driven with.
#![allow(clippy::expect_used, clippy::panic, reason = "a bench that cannot run stops and says why")]

mod clock;
mod connection;
mod corpus;
mod load;
mod patterns;
mod report;

pub use clock::Clock;
pub use connection::Connection;
pub use corpus::{Kind, text, texts};
pub use load::{Load, Measured, Requests, drive};
pub use patterns::{packs_of, patterns_of};
pub use report::{Row, machine, stages, table};
