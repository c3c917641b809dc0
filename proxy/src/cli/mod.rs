//! The command line. Each subcommand has a file; this one holds their words.

mod alert;
mod audit;
mod check;
mod guard;
mod key;
mod policy;
mod report;
mod scan;
mod serve;
mod texts;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A gateway in front of model endpoints that screens every prompt and every answer.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway until SIGTERM (finishes running requests) or SIGINT (at once)
    Serve(serve::Serve),
    /// Check the configuration, the policies and every rule's examples; exit 0 if the gateway would start, else 1
    Check(check::Check),
    /// Screen texts: JSON lines {"id","text"} on standard input, JSON lines with decision and findings on standard output
    Scan(scan::Scan),
    /// Test, explain and compare policies
    Policy(policy::Policy),
    /// Train, measure, compare and use the guard model
    Guard(guard::Guard),
    /// Make, list and revoke the keys of callers
    Key(key::Key),
    /// Read, prove, export and erase the audit trail, and prepare ClickHouse for it
    Audit(audit::Audit),
    /// Try the channels that alerts go to
    Alert(alert::Alert),
    /// Report what happened in a period: decisions, findings, callers, latencies, by framework, with the proof of the record
    Report(report::Report),
}

impl Cli {
    /// Runs the command and says how it ended.
    pub fn run(self) -> ExitCode {
        let done = match self.command {
            Command::Serve(command) => command.run(),
            Command::Check(command) => command.run(),
            Command::Scan(command) => command.run(),
            Command::Policy(command) => command.run(),
            Command::Guard(command) => command.run(),
            Command::Key(command) => command.run(),
            Command::Audit(command) => command.run(),
            Command::Alert(command) => command.run(),
            Command::Report(command) => command.run().map(|()| ExitCode::SUCCESS),
        };
        match done {
            Ok(code) => code,
            Err(error) => {
                say_error(&error);
                ExitCode::FAILURE
            }
        }
    }
}

#[expect(clippy::print_stderr, reason = "the command line talks to a person")]
fn say_error(error: &anyhow::Error) {
    eprintln!("portcullis: {error:#}");
}

/// Says something beside the output: what was done, not what was asked for.
#[expect(clippy::print_stderr, reason = "the command line talks to a person")]
fn say_note(note: &str) {
    eprintln!("portcullis: {note}");
}

/// Reads a moment; microseconds since 1970.
fn moment(word: &str) -> Result<i64, String> {
    let day = || word.parse::<jiff::civil::Date>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|day| day.timestamp());
    let time = word.parse::<jiff::Timestamp>().ok().or_else(day);
    time.map(|time| time.as_microsecond()).ok_or_else(|| "write 2026-11-01 (UTC) or 2026-11-01T08:00:00Z".to_owned())
}

/// Prints a text as it is; a closed pipe ends the program quietly.
fn say_text(text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        written => Ok(written?),
    }
}

/// Prints a line; a closed pipe (as by `head`) ends the program quietly.
fn say(line: impl std::fmt::Display) -> anyhow::Result<()> {
    use std::io::Write as _;
    match writeln!(std::io::stdout().lock(), "{line}") {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        written => Ok(written?),
    }
}
