//! What can go wrong with the audit store, one variant per thing the caller can act on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An error of the audit store. Clones freely, because one failed commit answers everyone who waited for it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AuditError {
    /// Another process (or another [`Store`](crate::Store) of this one) owns the file.
    #[error("audit store {}: already in use by another gateway (its lock is held)", path.display())]
    Locked {
        /// The store's file.
        path: PathBuf,
    },
    /// The file was written by a newer program.
    #[error("audit store {}: has schema version {found}, this program knows up to {known}; run a newer one", path.display())]
    Newer {
        /// The store's file.
        path: PathBuf,
        /// The version found in the file.
        found: i64,
        /// The newest version this program knows.
        known: i64,
    },
    /// The file was written by an older program and is only read after it was brought to the present version.
    #[error("audit store {}: has schema version {found}, this program reads {known}; start the gateway on it once", path.display())]
    Older {
        /// The store's file.
        path: PathBuf,
        /// The version found in the file.
        found: i64,
        /// The version this program reads.
        known: i64,
    },
    /// The key that signs checkpoints cannot be read or made.
    #[error("audit signing key {}: {cause}; give the gateway the right file, or move it away to have a new key made", path.display())]
    SigningKey {
        /// The key's file.
        path: PathBuf,
        /// What was found.
        cause: String,
    },
    /// The key of the prompts' fingerprints cannot be read or made.
    #[error("audit fingerprint key {}: {cause}; put the right file back, or move it away to have a new key made", path.display())]
    FingerprintKey {
        /// The key's file.
        path: PathBuf,
        /// What was found.
        cause: String,
    },
    /// The file is a database of some other program.
    #[error("audit store {}: is a database, but no audit store of this gateway; name another path", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file, or what belongs to it, is damaged.
    #[error("audit store {}: is damaged ({what}); restore it, or move it away together with its -wal file", path.display())]
    Corrupt {
        /// The store's file.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// The store cannot be opened for another reason: a missing or read-only folder, no permission.
    #[error("audit store {}: cannot be opened: {cause}", path.display())]
    Open {
        /// The store's file.
        path: PathBuf,
        /// What the system said.
        cause: String,
    },
    /// The queue in front of the writer is full: nothing was taken, nothing will be written.
    #[error("audit queue is full ({queued} events wait)")]
    Overloaded {
        /// Events in the queue at that moment.
        queued: usize,
    },
    /// The event could not be made durable. Whether it is in the store is open; recording the same event again is safe.
    #[error("audit event was not made durable: {cause}")]
    Write {
        /// The kind of failure.
        fault: Fault,
        /// What the system said.
        cause: Arc<str>,
    },
    /// Another event already stands under this event id, or the request already has its decision or completion.
    #[error("audit event {event_id}: {what}")]
    Conflict {
        /// The refused event's id.
        event_id: String,
        /// Which rule it breaks.
        what: &'static str,
    },
    /// An export could not be written, or what should be one cannot be read as one.
    #[error("audit export: {cause}")]
    Export {
        /// What is wrong.
        cause: String,
        /// Whoever read the output has gone.
        broken_pipe: bool,
    },
    /// A channel for alerts cannot be used as it is configured.
    #[error("alert channel `{channel}`: {cause}")]
    Alert {
        /// The channel's name.
        channel: String,
        /// What is wrong, and what to do.
        cause: String,
    },
    /// Events could not be read.
    #[error("audit store {}: cannot be read: {cause}", path.display())]
    Read {
        /// The store's file.
        path: PathBuf,
        /// What the system said.
        cause: String,
    },
    /// The store was closed, or its writer is gone.
    #[error("audit store is closed")]
    Closed,
}

/// The kind of a failed write, for metrics and readiness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No space left on the device, or the store's own quota is used up.
    DiskFull,
    /// The device or the file system failed.
    Io,
    /// The database file is damaged.
    Corrupt,
    /// Another process holds the file.
    Busy,
    /// The file or its folder cannot be written.
    ReadOnly,
    /// A bug of our own ended the commit.
    Panic,
    /// Anything else.
    Other,
}

impl Fault {
    /// Returns the stable word for logs and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DiskFull => "disk_full",
            Self::Io => "io",
            Self::Corrupt => "corrupt",
            Self::Busy => "busy",
            Self::ReadOnly => "read_only",
            Self::Panic => "panic",
            Self::Other => "other",
        }
    }

    /// Classifies an error of SQLite.
    pub(crate) fn of(error: &rusqlite::Error) -> Self {
        use rusqlite::ErrorCode as Code;
        match error.sqlite_error_code() {
            Some(Code::DiskFull) => Self::DiskFull,
            Some(Code::SystemIoFailure | Code::CannotOpen | Code::FileLockingProtocolFailed) => Self::Io,
            Some(Code::DatabaseCorrupt | Code::NotADatabase) => Self::Corrupt,
            Some(Code::DatabaseBusy | Code::DatabaseLocked) => Self::Busy,
            Some(Code::ReadOnly | Code::PermissionDenied) => Self::ReadOnly,
            _ => Self::Other,
        }
    }
}

impl AuditError {
    /// Returns the stable class of this error, for logs and metric labels.
    pub fn class(&self) -> &'static str {
        match self {
            Self::Locked { .. } => "locked",
            Self::Newer { .. } => "newer_schema",
            Self::SigningKey { .. } => "signing_key",
            Self::FingerprintKey { .. } => "fingerprint_key",
            Self::Older { .. } => "older_schema",
            Self::Foreign { .. } => "foreign_file",
            Self::Corrupt { .. } => "corrupt",
            Self::Open { .. } => "open",
            Self::Overloaded { .. } => "overloaded",
            Self::Write { fault, .. } => fault.as_str(),
            Self::Conflict { .. } => "conflict",
            Self::Export { .. } => "export",
            Self::Alert { .. } => "alert",
            Self::Read { .. } => "read",
            Self::Closed => "closed",
        }
    }

    pub(crate) fn write(error: &rusqlite::Error) -> Self {
        Self::Write { fault: Fault::of(error), cause: error.to_string().into() }
    }

    /// An error met while opening: damage is told apart, because the caller may choose to set the file aside.
    pub(crate) fn open(path: &Path, error: &rusqlite::Error) -> Self {
        match Fault::of(error) {
            Fault::Corrupt => Self::Corrupt { path: path.into(), what: error.to_string() },
            _ => Self::Open { path: path.into(), cause: error.to_string() },
        }
    }

    pub(crate) fn open_io(path: &Path, error: &std::io::Error) -> Self {
        Self::Open { path: path.into(), cause: error.to_string() }
    }

    pub(crate) fn read(path: &Path, error: &rusqlite::Error) -> Self {
        Self::Read { path: path.into(), cause: error.to_string() }
    }
}
