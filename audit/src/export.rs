//! An export of a part of the chain, and its check without the store.
//!
//! JSON lines, in this order:
//!
//!     {"export":1,"store":"<UUID>","first":N,"last":N,"chain_prev":"<hex>","keys":["<base64>"]}
//!     {"checkpoint":1,...}                                                     each checkpoint of these events, as `checkpoint.rs` draws it
//!     {"seq":N,"chain_hash":"<hex>","body":"<the event's JSON, as text>"}      each event from first to last
//!
//! Checkpoints stand in front of the events, so that a check needs to hold nothing else.

use std::io::{BufRead, Read, Write};
use std::path::Path;

use rusqlite::{Connection, OptionalExtension};
use serde::{Deserialize, Serialize};

use crate::chain::{ChainHash, first_prev};
use crate::checkpoint::Checkpoint;
use crate::proof::{self, Against, Verified};
use crate::signing::PublicKey;
use crate::verify::{ChainRow, Extent, Verifier};
use crate::{AuditError, file, meta, schema};

/// The version of an export.
const VERSION: u16 = 1;
/// Bytes of a line of an export: a body may have a megabyte, and escaping doubles it at worst.
const LINE_BYTES_MAX: u64 = 16 << 20;
/// Checkpoints in an export.
const CHECKPOINTS_MAX: usize = 2_000_000;
/// Events between two words about progress.
const PROGRESS_EVENTS: u64 = 1_000;

/// Where a range of events begins or ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// At the event of this number, which belongs to it.
    Seq(i64),
    /// At this moment (microseconds since 1970): from then on, or before then.
    Time(i64),
}

/// Which events to export. All between the first and the last go, so that the chain stays whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Range {
    /// The first; `None`: the oldest there is.
    pub from: Option<Bound>,
    /// The last; `None`: the newest there is.
    pub to: Option<Bound>,
}

/// What went into an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exported {
    /// Number of the first event.
    pub first: i64,
    /// Number of the last.
    pub last: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    export: u16,
    store: String,
    first: i64,
    last: i64,
    chain_prev: String,
    keys: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    seq: i64,
    chain_hash: String,
    body: String,
}

/// Writes the events of `range` to `out`. `None`, and nothing is written, where there are none.
///
/// # Errors
/// `Open`, `Older`, `Read` for the store; `Export` for the output.
pub fn export(
    path: &Path,
    range: &Range,
    out: &mut impl Write,
    mut progress: impl FnMut(u64, u64),
) -> Result<Option<Exported>, AuditError> {
    std::fs::metadata(path).map_err(|error| AuditError::open_io(path, &error))?;
    let (connection, version) = file::look(path)?;
    if version < schema::VERSION {
        return Err(AuditError::Older { path: path.into(), found: version, known: schema::VERSION });
    }
    let failed = |error: rusqlite::Error| AuditError::read(path, &error);
    connection.execute_batch("BEGIN").map_err(failed)?;
    let Some(exported) = resolve(&connection, range).map_err(failed)? else { return Ok(None) };
    let Exported { first, last } = exported;
    let keys = proof::trusted(&connection, &[]).map_err(failed)?.0.iter().map(PublicKey::to_string).collect();
    let store = meta::store_id(&connection).map_err(failed)?;
    let prev = before(&connection, &store, first).map_err(failed)?;
    write_line(out, &Header { export: VERSION, store, first, last, chain_prev: hex::encode(prev), keys })?;
    let mut statement = connection.prepare("SELECT line FROM checkpoints WHERE seq BETWEEN ?1 AND ?2 ORDER BY seq").map_err(failed)?;
    let mut rows = statement.query([first - 1, last]).map_err(failed)?;
    while let Some(row) = rows.next().map_err(failed)? {
        writeln!(out, "{}", row.get::<_, String>(0).map_err(failed)?).map_err(|error| write_failed(&error))?;
    }
    let mut statement =
        connection.prepare("SELECT seq, chain_hash, body FROM events WHERE seq BETWEEN ?1 AND ?2 ORDER BY seq").map_err(failed)?;
    let mut rows = statement.query([first, last]).map_err(failed)?;
    let (mut done, total) = (0, (last - first + 1).unsigned_abs());
    while let Some(row) = rows.next().map_err(failed)? {
        let line = || Ok(Line { seq: row.get(0)?, chain_hash: hex::encode(row.get::<_, Vec<u8>>(1)?), body: row.get(2)? });
        write_line(out, &line().map_err(failed)?)?;
        done += 1;
        if done % PROGRESS_EVENTS == 0 || done == total {
            progress(done, total);
        }
    }
    out.flush().map_err(|error| write_failed(&error))?;
    Ok(Some(exported))
}

fn resolve(connection: &Connection, range: &Range) -> rusqlite::Result<Option<Exported>> {
    let number = |sql: &str, value: i64| connection.query_row(sql, [value], |row| row.get::<_, Option<i64>>(0));
    let first = match range.from.unwrap_or(Bound::Seq(0)) {
        Bound::Seq(seq) => number("SELECT min(seq) FROM events WHERE seq >= ?1", seq)?,
        Bound::Time(time_us) => number("SELECT min(seq) FROM events WHERE ts_us >= ?1", time_us)?,
    };
    let last = match range.to.unwrap_or(Bound::Seq(i64::MAX)) {
        Bound::Seq(seq) => number("SELECT max(seq) FROM events WHERE seq <= ?1", seq)?,
        Bound::Time(time_us) => number("SELECT max(seq) FROM events WHERE ts_us < ?1", time_us)?,
    };
    Ok(first.zip(last).filter(|(first, last)| first <= last).map(|(first, last)| Exported { first, last }))
}

/// The hash that stands before the event `first`.
pub(crate) fn before(connection: &Connection, store_id: &str, first: i64) -> rusqlite::Result<ChainHash> {
    let sql = "SELECT chain_hash FROM events WHERE seq = ?1 \
               UNION ALL SELECT chain_hash FROM checkpoints WHERE seq = ?1 AND kind = 'cut' LIMIT 1";
    let found: Option<ChainHash> = connection.query_row(sql, [first - 1], |row| row.get(0)).optional()?;
    Ok(found.unwrap_or_else(|| first_prev(store_id)))
}

fn write_line(out: &mut impl Write, line: &impl Serialize) -> Result<(), AuditError> {
    serde_json::to_writer(&mut *out, line)
        .map_err(std::io::Error::from)
        .and_then(|()| out.write_all(b"\n"))
        .map_err(|error| write_failed(&error))
}

fn write_failed(error: &std::io::Error) -> AuditError {
    AuditError::Export { cause: error.to_string(), broken_pipe: error.kind() == std::io::ErrorKind::BrokenPipe }
}

/// Checks an export. `progress` hears how many events are done, and of how many.
///
/// # Errors
/// `Export` where the input is no export or cannot be read; then nothing is known of it.
pub fn verify_export(mut input: impl BufRead, against: &Against<'_>, mut progress: impl FnMut(u64, u64)) -> Result<Verified, AuditError> {
    let no = |what: String| AuditError::Export { cause: what, broken_pipe: false };
    let mut line = Vec::new();
    read_line(&mut input, &mut line)?;
    let header: Header =
        serde_json::from_slice(&line).map_err(|error| no(format!("its first line is no header of an export ({error})")))?;
    if header.export != VERSION {
        return Err(no(format!("it has version {}, this program knows {VERSION}", header.export)));
    }
    if !(1..=header.last).contains(&header.first) {
        return Err(no(format!("its header says seq {} to {}", header.first, header.last)));
    }
    let prev = hash(&header.chain_prev).ok_or_else(|| no("the header's chain_prev is no hash".into()))?;
    let self_named = against.trusted.is_empty();
    let trusted = if self_named { header.keys.iter().filter_map(|key| key.parse().ok()).collect() } else { against.trusted.to_vec() };
    let (mut checkpoints, mut unreadable_lines) = against.checkpoints.map_or_else(|| Ok(Default::default()), proof::read_checkpoints)?;
    checkpoints.retain(|checkpoint| (header.first - 1..=header.last).contains(&checkpoint.statement.seq));
    while read_line(&mut input, &mut line)? && line.starts_with(b"{\"checkpoint\"") && checkpoints.len() < CHECKPOINTS_MAX {
        match std::str::from_utf8(&line).map(Checkpoint::from_line) {
            Ok(Ok(checkpoint)) => checkpoints.push(checkpoint),
            _ => unreadable_lines += 1,
        }
    }
    let extent = Extent::Part { first: header.first, prev, last: header.last };
    let mut verifier = Verifier::new(&header.store, extent, checkpoints, &trusted);
    let (mut done, total) = (0, (header.last - header.first + 1).max(0).unsigned_abs());
    while !line.is_empty() {
        match serde_json::from_slice(&line) {
            Ok(Line { seq, chain_hash, body }) => {
                let (event_id, chain_hash) = (event_id(&body), hex::decode(&chain_hash).unwrap_or_default());
                verifier.row(&ChainRow { seq, event_id: &event_id, chain_hash: &chain_hash, body: body.as_bytes() });
            }
            Err(_) => verifier.unreadable(),
        }
        done += 1;
        if done % PROGRESS_EVENTS == 0 {
            progress(done, total);
        }
        read_line(&mut input, &mut line)?;
    }
    progress(done, total);
    Ok(Verified { store_id: header.store, report: verifier.finish(), trusted, self_named, unreadable_lines })
}

/// Reads one line without its end. False, and an empty line, at the end of the input or at an empty line.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> Result<bool, AuditError> {
    line.clear();
    let no = |what: String| AuditError::Export { cause: what, broken_pipe: false };
    let read = Read::take(&mut *input, LINE_BYTES_MAX).read_until(b'\n', line).map_err(|error| no(error.to_string()))?;
    if read as u64 == LINE_BYTES_MAX {
        return Err(no(format!("a line has more than {LINE_BYTES_MAX} bytes")));
    }
    line.truncate(line.trim_ascii_end().len());
    Ok(!line.is_empty())
}

fn hash(text: &str) -> Option<ChainHash> {
    hex::decode(text).ok().and_then(|bytes| bytes.try_into().ok())
}

/// The id in an event's body, to name it by.
fn event_id(body: &str) -> String {
    #[derive(Deserialize)]
    struct Named {
        event_id: String,
    }
    serde_json::from_str::<Named>(body).map(|named| named.event_id).unwrap_or_default()
}
