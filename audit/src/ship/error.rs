//! What can go wrong on the way to ClickHouse, one variant per thing that somebody can act on, and which of it lies in a row.

use std::error::Error as StdError;
use std::path::PathBuf;
use std::time::Duration;

use clickhouse::error::Error as ClientError;

use crate::AuditError;

/// Characters kept of a text that a server wrote.
const TEXT_KEPT: usize = 300;

/// Why events could not be delivered. Whatever it is, they stay in the local store and are sent again.
#[derive(Debug, thiserror::Error)]
pub enum ShipError {
    /// A setting cannot be used.
    #[error("{0}")]
    Options(String),
    /// A file of certificates cannot be used.
    #[error("{}: {what}", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// No connection, or it broke off before the answer.
    #[error("ClickHouse cannot be reached, or broke off: {0}; look at audit.clickhouse.url and at the server")]
    Unreachable(String),
    /// The TLS handshake failed.
    #[error("ClickHouse's certificate is not accepted: {0}; look at audit.clickhouse.ca_file and at the server's certificate")]
    Tls(String),
    /// No answer in time. Whether the rows were written is open; sending them again under the same token is safe.
    #[error("ClickHouse gave no answer within {0:?}")]
    TimedOut(Duration),
    /// User or password are wrong.
    #[error("ClickHouse refuses user or password: {0}; look at audit.clickhouse.user and password_env")]
    Credentials(Refusal),
    /// The user may not do this.
    #[error("ClickHouse does not allow the user this: {0}; grant INSERT and SELECT on the database")]
    Forbidden(Refusal),
    /// The database or the table is not there.
    #[error("ClickHouse has no audit tables there: {0}; run `portcullis audit migrate`")]
    Missing(Refusal),
    /// The tables are older than this program.
    #[error("ClickHouse's audit tables have version {found}, this program needs {known}; run `portcullis audit migrate`")]
    Old {
        /// Version of the tables.
        found: u32,
        /// Version this program needs.
        known: u32,
    },
    /// A column was dropped, retyped, or added without a default.
    #[error("ClickHouse's table is not the one this program knows: {0}; give back the column, or a new one a DEFAULT")]
    Drift(String),
    /// A materialized view on the table fails; the table itself may have taken the rows.
    #[error("a materialized view in ClickHouse fails: {0}; mend it or drop it")]
    View(Refusal),
    /// The server has no room, no memory, or too much to do.
    #[error("ClickHouse cannot take rows now: {0}")]
    Busy(Refusal),
    /// The server refuses a row for what is in it.
    #[error("ClickHouse refuses a row: {0}")]
    Content(Refusal),
    /// It refuses so many rows one after the other that the fault is hardly in them.
    #[error("ClickHouse refused {rows} rows one after the other, the last with {refusal}; look at the table's constraints")]
    RefusesAll {
        /// Rows refused since the last one taken.
        rows: usize,
        /// The last refusal.
        refusal: Refusal,
    },
    /// Any other answer.
    #[error("ClickHouse failed: {0}")]
    Server(String),
    /// The local store or its notes cannot be read or written.
    #[error(transparent)]
    Store(#[from] AuditError),
    /// The notes beside the store cannot be read or written.
    #[error("{}: {cause}", path.display())]
    Ledger {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        cause: String,
    },
}

/// An exception of ClickHouse. Shown are its number and name; its text may quote a row and is for the quarantine only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// ClickHouse's number of the exception.
    pub code: u32,
    /// ClickHouse's name of it, as `VIOLATED_CONSTRAINT`.
    pub name: String,
    /// Its text, at most 300 characters.
    pub text: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.code, self.name)
    }
}

impl ShipError {
    /// Every class, for metrics that are there from the start.
    pub const CLASSES: [&'static str; 15] = [
        "options",
        "unreachable",
        "tls",
        "timed_out",
        "credentials",
        "forbidden",
        "schema_missing",
        "schema_old",
        "schema_drift",
        "view",
        "busy",
        "content",
        "refuses_all",
        "server",
        "store",
    ];

    /// Returns the stable class of this error, for logs, health and metric labels.
    pub fn class(&self) -> &'static str {
        match self {
            Self::Options(_) | Self::Certificates { .. } => "options",
            Self::Unreachable(_) => "unreachable",
            Self::Tls(_) => "tls",
            Self::TimedOut(_) => "timed_out",
            Self::Credentials(_) => "credentials",
            Self::Forbidden(_) => "forbidden",
            Self::Missing(_) => "schema_missing",
            Self::Old { .. } => "schema_old",
            Self::Drift(_) => "schema_drift",
            Self::View(_) => "view",
            Self::Busy(_) => "busy",
            Self::Content(_) => "content",
            Self::RefusesAll { .. } => "refuses_all",
            Self::Server(_) => "server",
            Self::Store(_) | Self::Ledger { .. } => "store",
        }
    }
}

impl From<ClientError> for ShipError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::BadResponse(text) => refused(&text),
            ClientError::SchemaMismatch(text) => Self::Drift(cut(text.split("\n####").next().unwrap_or_default())),
            ClientError::Network(source) => {
                let cause = causes(&*source);
                if is_tls(&*source) { Self::Tls(cause) } else { Self::Unreachable(cause) }
            }
            other => Self::Server(cut(&other.to_string())),
        }
    }
}

/// Sorts an answer by the number in it.
fn refused(text: &str) -> ShipError {
    let Some(refusal) = refusal(text) else { return ShipError::Server(cut(text)) };
    // Before the numbers: a view may fail with any of them, and then the table has taken the rows.
    if text.contains("while pushing to view") {
        return ShipError::View(refusal);
    }
    match refusal.code {
        192 | 193 | 194 | 516 => ShipError::Credentials(refusal),
        164 | 291 | 452 | 497 => ShipError::Forbidden(refusal),
        60 | 81 => ShipError::Missing(refusal),
        8 | 10 | 16 | 20 | 43 | 47 | 50 | 386 => ShipError::Drift(refusal.text),
        // Of a column, not of a value in it.
        53 | 117 if text.contains("Type of ") || text.contains("Cannot convert: ") => ShipError::Drift(refusal.text),
        159 | 202 | 203 | 209 | 210 | 236 | 241 | 242 | 243 | 252 | 285 | 319 | 394 | 439 | 999 => ShipError::Busy(refusal),
        6 | 27 | 41 | 53 | 69 | 70 | 117 | 128 | 131 | 190 | 321 | 349 | 376 | 395 | 407 | 469 | 691 => ShipError::Content(refusal),
        _ => ShipError::Server(refusal.to_string()),
    }
}

/// Takes `Code: 469. DB::Exception: ... (VIOLATED_CONSTRAINT) (version ...)` apart.
fn refusal(text: &str) -> Option<Refusal> {
    let digits = text.split_once("Code: ")?.1;
    let end = digits.find(|character: char| !character.is_ascii_digit()).unwrap_or(digits.len());
    let code = digits[..end].parse().ok()?;
    let is_name = |word: &str| word.len() > 2 && word.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    let name = text.rsplit('(').filter_map(|rest| rest.split(')').next()).find(|word| is_name(word)).unwrap_or("UNKNOWN");
    Some(Refusal { code, name: name.to_owned(), text: cut(text) })
}

/// The first characters, none of which steers a terminal.
fn cut(text: &str) -> String {
    text.trim().chars().take(TEXT_KEPT).map(|character| if character.is_control() { ' ' } else { character }).collect()
}

/// An error and what caused it, in one line.
fn causes(error: &(dyn StdError + 'static)) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let word = error.to_string();
        if !words.last().is_some_and(|last| last.contains(&word)) {
            words.push(word);
        }
        next = error.source();
    }
    cut(&words.join(": "))
}

/// Whether TLS is among the causes. An [`std::io::Error`] hides what it wraps from `source`.
fn is_tls(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if error.is::<rustls::Error>() || wrapped.is_some_and(|inner| inner.is::<rustls::Error>()) {
            return true;
        }
        next = wrapped.map(|inner| inner as &(dyn StdError + 'static)).or_else(|| error.source());
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class_of(text: &str) -> &'static str {
        ShipError::from(ClientError::BadResponse(text.into())).class()
    }

    #[test]
    fn every_answer_has_its_class() {
        for (text, class) in [
            ("Code: 516. DB::Exception: x: Authentication failed. (AUTHENTICATION_FAILED) (version 25.8)", "credentials"),
            ("Code: 497. DB::Exception: x: Not enough privileges. (ACCESS_DENIED)", "forbidden"),
            ("Code: 164. DB::Exception: Cannot execute query in readonly mode. (READONLY)", "forbidden"),
            ("Code: 60. DB::Exception: Table d.events does not exist. (UNKNOWN_TABLE)", "schema_missing"),
            ("Code: 16. DB::Exception: No such column model in table. (NO_SUCH_COLUMN_IN_TABLE)", "schema_drift"),
            ("Code: 43. DB::Exception: Illegal type String of argument of function sum. (ILLEGAL_TYPE_OF_ARGUMENT)", "schema_drift"),
            ("Code: 117. DB::Exception: Type of 'seq' must be String, not UInt64. (INCORRECT_DATA)", "schema_drift"),
            ("Code: 53. DB::Exception: Cannot convert: UInt64 to String: While executing Native. (TYPE_MISMATCH)", "schema_drift"),
            ("Code: 53. DB::Exception: Type mismatch in IN or VALUES section. (TYPE_MISMATCH)", "content"),
            ("Code: 117. DB::Exception: Unexpected value. (INCORRECT_DATA)", "content"),
            ("Code: 469. DB::Exception: Constraint `c` is violated at row 2. (VIOLATED_CONSTRAINT)", "content"),
            ("Code: 395. DB::Exception: no: while pushing to view d.v. (FUNCTION_THROW_IF_VALUE_IS_NON_ZERO)", "view"),
            ("Code: 241. DB::Exception: Memory limit (total) exceeded. (MEMORY_LIMIT_EXCEEDED)", "busy"),
            ("Code: 243. DB::Exception: Cannot reserve 1.00 MiB, not enough space. (NOT_ENOUGH_SPACE)", "busy"),
            ("Code: 252. DB::Exception: Too many parts (3000). (TOO_MANY_PARTS)", "busy"),
            ("Code: 202. DB::Exception: Too many simultaneous queries. (TOO_MANY_SIMULTANEOUS_QUERIES)", "busy"),
            ("Code: 4711. DB::Exception: What? (NEW_IN_A_LATER_VERSION)", "server"),
            ("502 Bad Gateway", "server"),
            ("Code: none", "server"),
            ("", "server"),
        ] {
            assert_eq!(class_of(text), class, "{text}");
            assert!(ShipError::CLASSES.contains(&class));
        }
    }

    #[test]
    fn what_a_server_quotes_of_a_row_is_not_shown() {
        let text = "Code: 469. DB::Exception: Constraint `c` is violated. Column values: body = 'secret (A_B) text'. (VIOLATED_CONSTRAINT) (version 26.9.2.1)";
        let error = ShipError::from(ClientError::BadResponse(text.into()));
        assert_eq!(error.to_string(), "ClickHouse refuses a row: 469 VIOLATED_CONSTRAINT");
    }

    #[test]
    fn a_long_text_with_control_characters_is_cut_and_made_plain() {
        let ShipError::Server(text) = refused(&format!("\u{1b}[2J{}", "é".repeat(999))) else { panic!("a server's text") };
        assert!(text.chars().count() == TEXT_KEPT && !text.contains('\u{1b}'));
    }
}
