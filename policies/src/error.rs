//! What can be wrong with a policy or a pack, said so that its author can fix it.

use std::fmt;
use std::path::PathBuf;

/// Why a policy does not load.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// A file cannot be read.
    #[error("{}: cannot be read", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is larger than the limit.
    #[error("{}: {bytes} bytes, the limit is {limit}", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// A file is not UTF-8.
    #[error("{}:{line}: is not UTF-8; save it as such", .path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: u64,
    },
    /// A file is not YAML of the form asked for.
    #[error("{}:{line}: {reason}", .path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: u64,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// Rules or settings are wrong; all of them are listed.
    #[error("{}", list(.0))]
    Faults(Vec<Fault>),
}

/// One thing wrong with one rule or setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file.
    pub path: PathBuf,
    /// Line, from 1.
    pub line: u64,
    /// The rule, or the policy's setting.
    pub subject: String,
    /// What is wrong, with a hint.
    pub reason: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault { path, line, subject, reason } = self;
        write!(f, "{}:{line}: {subject}: {reason}", path.display())
    }
}

fn list(faults: &[Fault]) -> String {
    let lines: Vec<String> = faults.iter().map(Fault::to_string).collect();
    lines.join("\n")
}
