//! The audit trail of the gateway: events in, durable rows out; this crate owns the disk.
//!
//! [`Store`] takes [`Event`]s from async code without ever blocking it, writes them in groups and answers each one when it is durable.
//! [`Reader`] reads them back, also while the gateway runs. What is promised, and what is not, stands in `audit/README.md`.

pub mod alert;
mod chain;
mod change;
mod checkpoint;
#[doc(hidden)]
pub mod crash;
mod disk;
mod error;
mod event;
mod export;
mod file;
mod fingerprint;
mod line;
mod meta;
mod meter;
mod notary;
mod proof;
mod reader;
mod recover;
pub mod report;
mod retention;
mod row;
mod schema;
mod seal;
pub mod ship;
mod signing;
mod store;
mod subjects;
mod verify;
mod words;
mod writer;

pub use chain::{ChainHash, first_prev, link};
pub use change::PolicyChange;
pub use checkpoint::{Checkpoint, CheckpointKind, Statement};
pub use error::{AuditError, Fault};
pub use event::{
    COVERAGE_LIMITS_MAX, Event, FAILED_OPEN_MAX, FINDINGS_MAX, FindingRecord, Guard, KnownAttack, Latencies, NAME_BYTES_MAX,
    REDACTED_BYTES_MAX, SCHEMA_VERSION, SPANS_MAX, Span,
};
pub use export::{Bound, Exported, Range, export, verify_export};
pub use fingerprint::Fingerprint;
pub use line::format_line;
pub use meter::StoreStats;
pub use proof::{Against, Verified, verify_store};
pub use reader::{Backlog, Filter, READ_EVENTS_MAX, Reader, StoredEvent};
pub use retention::Retention;
pub use seal::ERASED;
pub use signing::{PublicKey, SigningKey};
pub use store::{Commit, Durability, OnCorrupt, RELAXED_SYNC_INTERVAL, Receipt, Signing, Store, StoreOptions};
pub use subjects::erase;
pub use verify::{ChainRow, Extent, PROBLEMS_MAX, Problem, Report, Verifier, verify};
pub use words::{ChangeOutcome, ChangeSource, Decision, Direction, Kind, Mode, Severity, TokensSource};
