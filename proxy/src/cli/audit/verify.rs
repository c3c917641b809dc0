//! `portcullis audit verify`.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use portcullis_audit::{Against, AuditError, PublicKey, Report, Verified, verify_export, verify_store};
use serde_json::json;

use super::progress;
use crate::cli::{say, say_error};

/// The exit code when nothing is known.
const NOT_CHECKED: u8 = 2;
/// Bytes read of a public key's file.
const KEY_BYTES_MAX: u64 = 4_096;

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["store", "export"]))]
pub(super) struct Verify {
    /// The audit store; works while the gateway runs
    #[arg(long, value_name = "FILE")]
    store: Option<PathBuf>,
    /// An export, as `audit export` writes it; - is standard input
    #[arg(long, value_name = "FILE")]
    export: Option<PathBuf>,
    /// Only checkpoints of this key count: base64 or a file with it, as `audit key` prints it; may be repeated. Without it: the keys
    /// that the store or the export names, which whoever can change those can change too
    #[arg(long = "public-key", value_name = "FILE|BASE64")]
    public_keys: Vec<String>,
    /// Checkpoints kept elsewhere; they show what was cut off at the end. Without it: <store>.checkpoints
    #[arg(long, value_name = "FILE")]
    checkpoints: Option<PathBuf>,
    /// Events at the end that may stand without a checkpoint; with more, the exit code is 2
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    unsigned_max: i64,
    /// For programs
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let verified = match self.check() {
            Ok(verified) => verified,
            Err(error) => {
                say_error(&error.context("not checked"));
                return Ok(ExitCode::from(NOT_CHECKED));
            }
        };
        let unproven = self.unproven(&verified);
        if self.json {
            say(as_json(&verified, unproven.as_deref()))?
        } else {
            print(&verified, unproven.as_deref())?
        }
        Ok(match (verified.report.is_good(), unproven) {
            (false, _) => ExitCode::FAILURE,
            (true, Some(_)) => ExitCode::from(NOT_CHECKED),
            (true, None) => ExitCode::SUCCESS,
        })
    }

    /// Why a chain that fits together shows little: whoever rewrites all of it and removes what was signed would leave just that.
    fn unproven(&self, verified: &Verified) -> Option<String> {
        let Report { first, last, signed_to, .. } = &verified.report;
        let (first, last) = first.zip(*last)?;
        let unsigned = last - signed_to.unwrap_or(first - 1);
        if signed_to.is_none() && !self.public_keys.is_empty() {
            return Some("no checkpoint of the key that was given confirms any of these events".into());
        }
        (unsigned > self.unsigned_max)
            .then(|| format!("the last {unsigned} events are confirmed by no checkpoint (--unsigned-max {})", self.unsigned_max))
    }

    fn check(&self) -> anyhow::Result<Verified> {
        let trusted = self.public_keys.iter().map(|word| public_key(word)).collect::<anyhow::Result<Vec<_>>>()?;
        let against = Against { trusted: &trusted, checkpoints: self.checkpoints.as_deref() };
        let (bar, moved) = progress();
        let verified = match (&self.store, &self.export) {
            (Some(store), _) => verify_store(store, &against, moved),
            (None, Some(export)) => verify_file(export, &against, moved),
            (None, None) => return Err(anyhow::anyhow!("name --store or --export")),
        };
        bar.finish_and_clear();
        Ok(verified?)
    }
}

fn verify_file(path: &Path, against: &Against<'_>, moved: impl FnMut(u64, u64)) -> Result<Verified, AuditError> {
    if path.as_os_str() == "-" {
        return verify_export(std::io::stdin().lock(), against, moved);
    }
    let file = File::open(path).map_err(|error| AuditError::Read { path: path.into(), cause: error.to_string() })?;
    verify_export(BufReader::new(file), against, moved)
}

/// A key as it is written on the command line.
pub(in crate::cli) fn public_key(word: &str) -> anyhow::Result<PublicKey> {
    if let Ok(key) = word.parse() {
        return Ok(key);
    }
    let mut text = String::new();
    let file = File::open(word).with_context(|| format!("--public-key: {} is no key and no file with one", word.escape_debug()))?;
    file.take(KEY_BYTES_MAX).read_to_string(&mut text).with_context(|| format!("--public-key: {word}"))?;
    text.parse().map_err(|what: String| anyhow::anyhow!("--public-key: {word} {what}"))
}

fn date(time_us: i64) -> String {
    jiff::Timestamp::from_microsecond(time_us).map_or_else(|_| "?".into(), |time| time.strftime("%Y-%m-%d").to_string())
}

fn print(verified: &Verified, unproven: Option<&str>) -> anyhow::Result<()> {
    let Verified { store_id, report, trusted, self_named, unreadable_lines } = verified;
    let Report { events, first, last, checkpoints, signed_to, removed, problems, problem_count } = report;
    match first.zip(*last) {
        Some((first, last)) => say(format!("store {}: {events} events, seq {first} to {last}", store_id.escape_debug()))?,
        None => say(format!("store {}: no event", store_id.escape_debug()))?,
    }
    if let Some((seq, time_us)) = removed {
        say(format!("events before seq {} were removed by retention on {}", seq + 1, date(*time_us)))?;
    }
    match signed_to {
        Some(seq) => {
            let above = last.unwrap_or(*seq) - seq;
            say(format!(
                "{checkpoints} checkpoints compared; signed up to seq {seq}, {above} events above it are chained, not signed yet"
            ))?;
        }
        None => say("no checkpoint confirms any of these events: they fit together, and nothing shows who wrote them")?,
    }
    let keys: Vec<String> = trusted.iter().map(ToString::to_string).collect();
    let named = if keys.is_empty() {
        "none"
    } else if *self_named {
        ", named by what was checked: to rule out a forged key, keep it elsewhere and give --public-key"
    } else {
        ""
    };
    say(format!("keys: {}{named}", keys.join(" ")))?;
    if *unreadable_lines > 0 {
        say(format!("{unreadable_lines} lines of checkpoints cannot be read and were passed over"))?;
    }
    if report.is_good()
        && let Some(unproven) = unproven
    {
        return say(format!("NOT PROVEN: what is there fits together, but {unproven}"));
    }
    if report.is_good() {
        return say("good: no event was changed, removed or moved");
    }
    say(format!("TAMPERED: {problem_count} problems; the first:"))?;
    for problem in problems {
        say(format!("  {problem}"))?;
    }
    Ok(())
}

fn as_json(verified: &Verified, unproven: Option<&str>) -> serde_json::Value {
    let Verified { store_id, report, trusted, self_named, unreadable_lines } = verified;
    json!({
        "store": store_id,
        "good": report.is_good() && unproven.is_none(),
        "unproven": unproven,
        "events": report.events,
        "first": report.first,
        "last": report.last,
        "signed_to": report.signed_to,
        "checkpoints": report.checkpoints,
        "removed_to": report.removed.map(|(seq, _)| seq),
        "problems": report.problem_count,
        "first_problems": report.problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "keys": trusted.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "keys_named_by_what_was_checked": self_named,
        "unreadable_checkpoint_lines": unreadable_lines,
    })
}
