//! The embedded store as a source: one pass over the period, counted and checked at once, from one moment of the store.
//!
//! The chain is checked from the neighbour before the period to the first trusted checkpoint after it, so that events missing at an
//! edge show and the period's last ones are confirmed. Memory does not grow with the events, only with the checkpoints.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension};

use super::chain::{Around, ChainProof};
use super::{Answer, Period, ReportError, Scope, Source, Tally};
use crate::checkpoint::Checkpoint;
use crate::proof::{self, Against};
use crate::signing::PublicKey;
use crate::verify::{ChainRow, Extent, Verifier};
use crate::{AuditError, Event, export, file, meta, notary, schema};

/// Events between two words about progress.
const PROGRESS_EVENTS: u64 = 1_000;

/// A store on this machine; also while the gateway writes.
#[derive(Debug, Clone)]
pub struct Embedded<'a> {
    /// The store's file.
    pub path: &'a Path,
    /// What its chain is checked against.
    pub against: Against<'a>,
}

impl Source for Embedded<'_> {
    fn answer(&self, scope: &Scope, progress: &mut dyn FnMut(u64, u64)) -> Result<Answer, ReportError> {
        let path = &self.path.canonicalize().map_err(|error| AuditError::open_io(self.path, &error))?;
        // Before the store: whatever stands in the file was in the store first.
        let beside = notary::checkpoints_file(path);
        let file = self.against.checkpoints.or_else(|| beside.exists().then_some(&*beside));
        let (shipped, unreadable_lines) = file.map_or_else(|| Ok(Default::default()), proof::read_checkpoints)?;
        let (connection, version) = file::look(path)?;
        if version < schema::VERSION {
            return Err(AuditError::Older { path: path.into(), found: version, known: schema::VERSION }.into());
        }
        let failed = |error: rusqlite::Error| AuditError::read(path, &error);
        connection.execute_batch("BEGIN").map_err(failed)?;
        let mut pass = Pass::prepare(&connection, scope, self.against.trusted, shipped).map_err(failed)?;
        pass.run(&connection, progress).map_err(failed)?;
        pass.around.unreadable_lines = unreadable_lines;
        let chain = ChainProof::new(&pass.verifier.finish(), pass.around);
        Ok(Answer { report: pass.tally.finish(), chain: Some(chain) })
    }
}

struct Pass {
    tally: Tally,
    verifier: Verifier,
    /// Numbers of the first and the last event to look at.
    first: i64,
    last: i64,
    period: Period,
    around: Around,
}

impl Pass {
    fn prepare(connection: &Connection, scope: &Scope, given: &[PublicKey], shipped: Vec<Checkpoint>) -> rusqlite::Result<Self> {
        let store_id = meta::store_id(connection)?;
        let (trusted, keys_self_named) = proof::trusted(connection, given)?;
        let (oldest, newest) = ends(connection)?.unwrap_or((1, 0));
        let (first, mut last) = neighbours(connection, &scope.period)?.unwrap_or((oldest, newest));
        let mut checkpoints = proof::stored_checkpoints(connection)?;
        checkpoints.extend(shipped);
        checkpoints.retain(|checkpoint| checkpoint.statement.seq >= first - 1);
        checkpoints.sort_by_key(|checkpoint| checkpoint.statement.seq);
        let holds = |checkpoint: &Checkpoint| {
            trusted.contains(&checkpoint.public_key) && checkpoint.is_genuine() && checkpoint.statement.store_id == store_id
        };
        if last < newest {
            let after = checkpoints.iter().find(|checkpoint| checkpoint.statement.seq >= last && holds(checkpoint));
            last = after.map_or(last, |checkpoint| checkpoint.statement.seq).min(newest);
            checkpoints.retain(|checkpoint| checkpoint.statement.seq <= last);
        }
        let extent = if first <= oldest {
            // From the beginning: the first event, or what stands behind retention's signed cut.
            Extent::Whole
        } else {
            let beyond = checkpoints.iter().rev().find(|checkpoint| holds(checkpoint)).map_or(last, |checkpoint| checkpoint.statement.seq);
            Extent::Part { first, prev: export::before(connection, &store_id, first)?, last: last.max(beyond) }
        };
        let keys = trusted.iter().map(ToString::to_string).collect();
        let verifier = Verifier::new(&store_id, extent, checkpoints, &trusted);
        let around = Around { store_id, period: None, unreadable: 0, keys, keys_self_named, unreadable_lines: 0 };
        Ok(Self { tally: Tally::new(scope.clone()), verifier, first, last, period: scope.period, around })
    }

    fn run(&mut self, connection: &Connection, progress: &mut dyn FnMut(u64, u64)) -> rusqlite::Result<()> {
        let total = (self.last - self.first).saturating_add(1).max(0).unsigned_abs();
        let mut statement = connection.prepare(&format!("SELECT {} FROM events WHERE seq BETWEEN ?1 AND ?2 ORDER BY seq", proof::ROW))?;
        let mut rows = statement.query([self.first, self.last])?;
        let mut done = 0;
        while let Some(row) = rows.next()? {
            self.row(row)?;
            done += 1;
            if done % PROGRESS_EVENTS == 0 {
                progress(done, total);
            }
        }
        progress(done, total);
        Ok(())
    }

    fn row(&mut self, row: &rusqlite::Row<'_>) -> rusqlite::Result<()> {
        let bytes = |index: usize| row.get_ref(index).map(|value| value.as_bytes().unwrap_or_default());
        let event_id = String::from_utf8_lossy(bytes(1)?);
        let here = ChainRow { seq: row.get(0)?, event_id: &event_id, chain_hash: bytes(2)?, body: bytes(3)? };
        self.verifier.row(&here);
        let Ok(event) = serde_json::from_slice::<Event>(here.body) else {
            self.around.unreadable += 1;
            return Ok(());
        };
        if let Some(column) = proof::changed_column(row, &event)? {
            self.verifier.column(&here, column);
        }
        if self.period.contains(event.time_us) {
            let (first, last) = self.around.period.unwrap_or((here.seq, here.seq));
            self.around.period = Some((first.min(here.seq), last.max(here.seq)));
            self.tally.add(&event);
        }
        Ok(())
    }
}

/// Numbers of the oldest and the newest event.
fn ends(connection: &Connection) -> rusqlite::Result<Option<(i64, i64)>> {
    let oldest = "SELECT min(seq) FROM events";
    let newest = "SELECT max(seq) FROM events";
    let number = |sql| connection.query_row(sql, [], |row| row.get::<_, Option<i64>>(0));
    Ok(number(oldest)?.zip(number(newest)?))
}

/// Numbers of the first and the last event of the period, or of their neighbours in time where these lie outside. `None` where there is
/// no event at all.
fn neighbours(connection: &Connection, period: &Period) -> rusqlite::Result<Option<(i64, i64)>> {
    let Period { from_us, to_us } = period;
    let inside: (Option<i64>, Option<i64>) =
        connection.query_row("SELECT min(seq), max(seq) FROM events WHERE ts_us >= ?1 AND ts_us < ?2", [from_us, to_us], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    let one = |sql: &str, time_us: &i64| connection.query_row(sql, [time_us], |row| row.get::<_, i64>(0)).optional();
    let before = one("SELECT seq FROM events WHERE ts_us < ?1 ORDER BY ts_us DESC, seq DESC LIMIT 1", from_us)?;
    let after = one("SELECT seq FROM events WHERE ts_us >= ?1 ORDER BY ts_us, seq LIMIT 1", to_us)?;
    let Some((oldest, newest)) = ends(connection)? else { return Ok(None) };
    let first = before.into_iter().chain(inside.0).chain(if before.is_none() { Some(oldest) } else { None }).min();
    let last = after.into_iter().chain(inside.1).chain(if after.is_none() { Some(newest) } else { None }).max();
    Ok(first.zip(last))
}
