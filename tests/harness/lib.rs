//! What whole-system tests share: a scripted backend, the gateway as a child process, and a client that controls every byte.
//!
//! Nothing here sleeps to be safe, uses a fixed port or retries: each wait has a deadline and says what it waited for.
#![allow(clippy::expect_used, clippy::panic, reason = "test code: a broken expectation is a failed test, and says so")]

mod audit;
mod backend;
pub mod canned;
mod clickhouse;
mod client;
mod dice;
mod gateway;
mod key;
mod mail;
mod metrics;
mod model;
mod recorded;
mod request;
mod script;
mod setup;
mod sse;
mod trail;
mod wait;
mod watched_disk;

pub use audit::AuditTrail;
pub use backend::{Backend, Welcome};
pub use clickhouse::ClickHouse;
pub use client::{Answer, Client, Head};
pub use dice::Dice;
pub use gateway::{Gateway, Ran, executable, resident_bytes, run, run_with};
pub use key::Key;
pub use mail::{Letter, MailServer};
pub use metrics::{Metrics, Sample};
pub use model::TinyModel;
pub use recorded::{Recorded, holds};
pub use request::Request;
pub use script::{Gate, Script};
pub use setup::{Setup, repository};
pub use sse::{Ending, Event, Streamed};
pub use trail::made_up;
pub use wait::{PATIENCE, eventually, eventually_asked, soon, within};
pub use watched_disk::{Crash, WatchedDisk};
