//! The audit trail of the gateway: events in, durable rows out; this crate owns the disk.
//!
//! [`Store`] takes [`Event`]s from async code without ever blocking it, writes them in groups and answers each one when it is durable.
//! [`Reader`] reads them back, also while the gateway runs. What is promised, and what is not, stands in `audit/README.md`.

mod disk;
mod error;
mod event;
mod file;
mod line;
mod meter;
mod reader;
mod recover;
mod schema;
pub mod ship;
mod store;
mod words;
mod writer;

pub use error::{AuditError, Fault};
pub use event::{
    Event, FAILED_OPEN_MAX, FINDINGS_MAX, FindingRecord, Guard, Latencies, NAME_BYTES_MAX, REDACTED_BYTES_MAX, SCHEMA_VERSION, SPANS_MAX,
    Span,
};
pub use line::format_line;
pub use meter::StoreStats;
pub use reader::{Backlog, Filter, READ_EVENTS_MAX, Reader, StoredEvent};
pub use store::{Commit, OnCorrupt, Receipt, Store, StoreOptions};
pub use words::{Decision, Direction, Kind, Mode, Severity, TokensSource};
