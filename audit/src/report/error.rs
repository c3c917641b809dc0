//! Why there is no report, one variant per thing that somebody can act on.

use crate::AuditError;
use crate::ship::{Refusal, ShipError};

/// Why a source could not answer.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The store on this machine cannot be read.
    #[error(transparent)]
    Store(#[from] AuditError),
    /// ClickHouse cannot be reached, does not let the user in, or has other tables; the error says what to do.
    #[error("{0}; or make the report from the store: --source store")]
    ClickHouse(ShipError),
    /// ClickHouse lets the user in, but not to the events.
    #[error("ClickHouse does not let the user read the events: {0}; grant SELECT on the database, or use --source store")]
    Forbidden(Refusal),
    /// ClickHouse has no memory, no time, or too much to do.
    #[error("ClickHouse cannot answer now: {0}; ask for a shorter period, ask later, or use --source store")]
    Busy(Refusal),
    /// Events came or went each time while they were counted.
    #[error("the events in ClickHouse changed while they were counted, {tries} times; end the period before now, with --to")]
    Moving {
        /// How often it was tried.
        tries: u32,
    },
    /// An event says something in a word that this program does not know.
    #[error(
        "ClickHouse holds events with the {what} `{}`, which this program does not know; make the report with the newest gateway's",
        word.escape_debug()
    )]
    Unknown {
        /// What the word is for.
        what: &'static str,
        /// The word.
        word: String,
    },
}

impl From<ShipError> for ReportError {
    fn from(error: ShipError) -> Self {
        match error {
            ShipError::Store(error) => Self::Store(error),
            ShipError::Forbidden(refusal) => Self::Forbidden(refusal),
            ShipError::Busy(refusal) => Self::Busy(refusal),
            // Of a question there is no row to blame: a column has another type than the question is for.
            ShipError::Content(refusal) => Self::ClickHouse(ShipError::Drift(refusal.text)),
            other => Self::ClickHouse(other),
        }
    }
}
