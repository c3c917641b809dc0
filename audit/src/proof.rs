//! Checking a whole store: its events, the columns beside them, and the checkpoints in it and in the plain file.
//!
//! All is read from one moment of the store, also while the gateway writes. Memory does not grow with the events, only with the
//! checkpoints (some 60 bytes each).

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;

use rusqlite::Connection;

use crate::checkpoint::Checkpoint;
use crate::disk::phase;
use crate::signing::PublicKey;
use crate::verify::{ChainRow, Extent, Report, Verifier};
use crate::{AuditError, Event, file, meta, notary, schema};

/// Checkpoints read from one place at most: with one a minute, some four years.
const CHECKPOINTS_MAX: usize = 2_000_000;
/// Bytes of a line of a checkpoint file.
const LINE_BYTES_MAX: u64 = 4_096;
/// The columns of an event that are checked.
pub(crate) const ROW: &str = "seq, event_id, chain_hash, body, ts_us, kind, phase, tenant, request_id, decision, severity";
/// Events between two words about progress.
const PROGRESS_EVENTS: u64 = 1_000;

/// What to check a chain against.
#[derive(Debug, Clone, Default)]
pub struct Against<'a> {
    /// Keys whose checkpoints count. None: those that the store or the export names itself.
    pub trusted: &'a [PublicKey],
    /// A file of checkpoints. `None`: the plain file beside the store, if it is there.
    pub checkpoints: Option<&'a Path>,
}

/// What a check came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The store's id.
    pub store_id: String,
    /// What was found.
    pub report: Report,
    /// The keys whose checkpoints counted.
    pub trusted: Vec<PublicKey>,
    /// Whether these were named by what was checked: then they show nothing about someone who could change that, too.
    pub self_named: bool,
    /// Lines of the checkpoint file that are none: torn by a crash, or damaged.
    pub unreadable_lines: u64,
}

/// Checks the store at `path`. `progress` hears how many events are done, and of how many.
///
/// # Errors
/// When it could not be checked: no store, an older one, a file that cannot be read.
pub fn verify_store(path: &Path, against: &Against<'_>, mut progress: impl FnMut(u64, u64)) -> Result<Verified, AuditError> {
    let path = &path.canonicalize().map_err(|error| AuditError::open_io(path, &error))?;
    // Before the store: whatever stands in the file was in the store first.
    let beside = notary::checkpoints_file(path);
    let file = against.checkpoints.or_else(|| beside.exists().then_some(&*beside));
    let (shipped, unreadable_lines) = file.map_or_else(|| Ok(Default::default()), read_checkpoints)?;
    let (connection, version) = file::look(path)?;
    if version < schema::VERSION {
        return Err(AuditError::Older { path: path.into(), found: version, known: schema::VERSION });
    }
    let failed = |error: rusqlite::Error| AuditError::read(path, &error);
    connection.execute_batch("BEGIN").map_err(failed)?;
    let store_id = meta::store_id(&connection).map_err(failed)?;
    let (trusted, self_named) = trusted(&connection, against.trusted).map_err(failed)?;
    let mut checkpoints = stored_checkpoints(&connection).map_err(failed)?;
    checkpoints.extend(shipped);
    let verifier = Verifier::new(&store_id, Extent::Whole, checkpoints, &trusted);
    let report = events(&connection, verifier, &mut progress).map_err(failed)?;
    Ok(Verified { store_id, report, trusted, self_named, unreadable_lines })
}

fn events(connection: &Connection, mut verifier: Verifier, progress: &mut impl FnMut(u64, u64)) -> rusqlite::Result<Report> {
    let total: i64 =
        connection
            .query_row("SELECT coalesce((SELECT max(seq) FROM events) - (SELECT min(seq) FROM events) + 1, 0)", [], |row| row.get(0))?;
    let mut statement = connection.prepare(&format!("SELECT {ROW} FROM events ORDER BY seq"))?;
    let mut rows = statement.query([])?;
    let mut done = 0;
    while let Some(row) = rows.next()? {
        let bytes = |index: usize| row.get_ref(index).map(|value| value.as_bytes().unwrap_or_default());
        let event_id = String::from_utf8_lossy(bytes(1)?);
        let here = ChainRow { seq: row.get(0)?, event_id: &event_id, chain_hash: bytes(2)?, body: bytes(3)? };
        verifier.row(&here);
        // A body that is no event says nothing.
        if let Ok(event) = serde_json::from_slice(here.body)
            && let Some(column) = changed_column(row, &event)?
        {
            verifier.column(&here, column);
        }
        done += 1;
        if done % PROGRESS_EVENTS == 0 {
            progress(done, total.unsigned_abs());
        }
    }
    progress(done, total.unsigned_abs());
    Ok(verifier.finish())
}

/// The first of [`ROW`] that says something else than the body.
pub(crate) fn changed_column(row: &rusqlite::Row<'_>, event: &Event) -> rusqlite::Result<Option<&'static str>> {
    let text = |index: usize| row.get_ref(index).map(|value| value.as_bytes_or_null().unwrap_or_default());
    let request_id = Some(event.request_id.as_bytes()).filter(|id| !id.is_empty());
    let columns = [
        ("event_id", text(1)? == Some(event.event_id.as_bytes())),
        ("ts_us", row.get::<_, i64>(4)? == event.time_us),
        ("kind", text(5)? == Some(event.kind.as_str().as_bytes())),
        ("phase", row.get::<_, i64>(6)? == phase(event.kind)),
        ("tenant", text(7)? == Some(event.tenant.as_bytes())),
        ("request_id", text(8)? == request_id),
        ("decision", text(9)? == event.decision.map(|word| word.as_str().as_bytes())),
        ("severity", text(10)? == event.severity.map(|word| word.as_str().as_bytes())),
    ];
    Ok(columns.into_iter().find(|(_, same)| !same).map(|(column, _)| column))
}

/// The keys given, or else those that the store names.
pub(crate) fn trusted(connection: &Connection, given: &[PublicKey]) -> rusqlite::Result<(Vec<PublicKey>, bool)> {
    if !given.is_empty() {
        return Ok((given.to_vec(), false));
    }
    let named: String = meta::get(connection, meta::PUBLIC_KEYS)?.unwrap_or_default();
    Ok((named.split(' ').filter_map(|key| key.parse().ok()).collect(), true))
}

/// The checkpoints in the store. A line that is none is left out: what matters is what a checkpoint says, and it could as well be gone.
pub(crate) fn stored_checkpoints(connection: &Connection) -> rusqlite::Result<Vec<Checkpoint>> {
    let mut statement =
        connection.prepare("SELECT line FROM (SELECT line, seq FROM checkpoints ORDER BY seq DESC LIMIT ?1) ORDER BY seq")?;
    let limit = i64::try_from(CHECKPOINTS_MAX).unwrap_or(i64::MAX);
    let lines = statement.query_map([limit], |row| row.get::<_, String>(0))?;
    lines.filter_map(|line| line.map(|line| Checkpoint::from_line(&line).ok()).transpose()).collect()
}

/// Reads a file of checkpoints. Returns them and how many lines are none.
pub(crate) fn read_checkpoints(path: &Path) -> Result<(Vec<Checkpoint>, u64), AuditError> {
    let failed = |error: std::io::Error| AuditError::Read { path: path.into(), cause: error.to_string() };
    let mut reader = BufReader::new(File::open(path).map_err(failed)?);
    let (mut checkpoints, mut unreadable) = (Vec::new(), 0);
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line).map_err(failed)? == 0 {
            return Ok((checkpoints, unreadable));
        }
        match std::str::from_utf8(&line).map(str::trim).map(Checkpoint::from_line) {
            Ok(Ok(_)) if checkpoints.len() == CHECKPOINTS_MAX => {
                let cause = format!("it has more than {CHECKPOINTS_MAX} checkpoints; give a part of it");
                return Err(AuditError::Read { path: path.into(), cause });
            }
            Ok(Ok(checkpoint)) => checkpoints.push(checkpoint),
            _ => unreadable += u64::from(!line.trim_ascii().is_empty()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use proptest::prelude::*;

    use super::*;
    use crate::store::tests::{allowed, place};
    use crate::{Bound, Problem, Range, Store, StoreOptions, export, verify_export};

    /// A closed store with twelve events and checkpoints at 5, 10 and 12.
    fn store() -> (tempfile::TempDir, PathBuf) {
        let (folder, path) = place();
        let store = Store::open(&path, StoreOptions { checkpoint_events: 5, ..StoreOptions::default() }).unwrap();
        for n in 0..12 {
            let event = Event { severity: Some(crate::Severity::High), ..allowed(&format!("r{n}")) };
            store.record(event).wait().unwrap();
        }
        store.close().unwrap();
        (folder, path)
    }

    fn check(path: &Path) -> Report {
        verify_store(path, &Against::default(), |_, _| {}).unwrap().report
    }

    fn change(path: &Path, sql: &str) {
        Connection::open(path).unwrap().execute_batch(sql).unwrap();
    }

    fn exported(path: &Path, range: Range) -> String {
        let mut out = Vec::new();
        export(path, &range, &mut out, |_, _| {}).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn offline(text: &str) -> Report {
        verify_export(text.as_bytes(), &Against::default(), |_, _| {}).unwrap().report
    }

    #[test]
    fn a_store_is_good_while_open_and_after() {
        let (_folder, path) = store();
        let mut heard = Vec::new();
        let verified = verify_store(&path, &Against::default(), |done, total| heard.push((done, total))).unwrap();
        assert!(verified.report.is_good(), "{:?}", verified.report.problems);
        assert_eq!((verified.report.events, verified.report.checkpoints, verified.report.signed_to), (12, 3, Some(12)));
        assert_eq!((verified.self_named, verified.trusted.len(), heard), (true, 1, vec![(12, 12)]));
        let store = Store::open(&path, StoreOptions::default()).unwrap();
        store.record(allowed("more")).wait().unwrap();
        assert!(check(&path).is_good());
    }

    #[test]
    fn every_way_to_tamper_with_a_row_is_found_at_that_row() {
        for (sql, column) in [
            ("UPDATE events SET body = replace(body, 'acme', 'acmf') WHERE seq = 7", None),
            ("UPDATE events SET body = body || ' ' WHERE seq = 7", None),
            ("UPDATE events SET body = CAST(x'7bff7d' AS TEXT) WHERE seq = 7", None),
            ("UPDATE events SET body = '' WHERE seq = 7", None),
            ("UPDATE events SET chain_hash = x'00' WHERE seq = 7", None),
            ("UPDATE events SET chain_hash = zeroblob(32) WHERE seq = 7", None),
            ("UPDATE events SET event_id = 'x' WHERE seq = 7", Some("event_id")),
            ("UPDATE events SET ts_us = ts_us + 1 WHERE seq = 7", Some("ts_us")),
            ("UPDATE events SET kind = 'limit' WHERE seq = 7", Some("kind")),
            ("UPDATE events SET phase = 1 WHERE seq = 7", Some("phase")),
            ("UPDATE events SET tenant = 'other' WHERE seq = 7", Some("tenant")),
            ("UPDATE events SET request_id = NULL WHERE seq = 7", Some("request_id")),
            ("UPDATE events SET decision = 'block' WHERE seq = 7", Some("decision")),
            ("UPDATE events SET decision = NULL WHERE seq = 7", Some("decision")),
            ("UPDATE events SET severity = 'low' WHERE seq = 7", Some("severity")),
        ] {
            let (_folder, path) = store();
            change(&path, sql);
            match (check(&path).problems.first(), column) {
                (Some(Problem::Column { seq: 7, column: found, .. }), Some(column)) => assert_eq!(*found, column),
                (Some(Problem::Changed { seq: 7, .. }), None) => {}
                found => panic!("{sql}: {found:?}"),
            }
        }
    }

    #[test]
    fn removed_moved_and_cut_off_events_are_found() {
        for (sql, expected) in [
            ("DELETE FROM events WHERE seq = 7", "seq 7: this event is missing"),
            ("DELETE FROM events WHERE seq <= 3", "seq 1 to 3: these events are missing"),
            ("DELETE FROM events WHERE seq > 10", "seq 11 to 12: these events are missing at the end"),
            ("UPDATE events SET seq = -seq WHERE seq < 3", "seq -2, event 0"),
            ("UPDATE events SET seq = 9223372036854775807 WHERE seq = 12", "seq 12 to 9223372036854775806: these"),
            ("DELETE FROM events", "seq 1 to 12: these events are missing at the end"),
            (
                "UPDATE events SET seq = 99 WHERE seq = 7; UPDATE events SET seq = 7 WHERE seq = 8; UPDATE events SET seq = 8 WHERE seq = 99",
                "seq 7",
            ),
            ("UPDATE events SET seq = seq + 100 WHERE seq > 5", "seq 6 to 105: these events are missing"),
        ] {
            let (_folder, path) = store();
            change(&path, sql);
            let report = check(&path);
            let first = report.problems.first().map(ToString::to_string).unwrap_or_default();
            assert!(first.starts_with(expected), "{sql}: {first}");
        }
    }

    #[test]
    fn a_tail_and_its_checkpoints_removed_together_are_missed_by_the_file_that_was_shipped() {
        let (folder, path) = store();
        let shipped = folder.path().join("shipped");
        std::fs::copy(notary::checkpoints_file(&path), &shipped).unwrap();
        change(&path, "DELETE FROM events WHERE seq > 10; DELETE FROM checkpoints WHERE seq > 10");
        std::fs::remove_file(notary::checkpoints_file(&path)).unwrap();
        assert!(check(&path).is_good(), "nothing left on this machine tells");
        let against = Against { checkpoints: Some(&shipped), ..Against::default() };
        let report = verify_store(&path, &against, |_, _| {}).unwrap().report;
        assert!(matches!(report.problems[..], [Problem::Truncated { last: 10, seq: 12, .. }]), "{:?}", report.problems);
        // Also after the gateway went on writing on what was left.
        let store = Store::open(&path, StoreOptions::default()).unwrap();
        for n in 0..5 {
            store.record(allowed(&format!("later{n}"))).wait().unwrap();
        }
        let report = verify_store(&path, &against, |_, _| {}).unwrap().report;
        assert!(matches!(report.problems[..], [Problem::Rewritten { seq: 12, .. }]), "{:?}", report.problems);
    }

    #[test]
    fn a_store_signed_by_another_key_than_the_pinned_one_is_not_good() {
        let (_folder, path) = store();
        let pinned = [crate::checkpoint::tests::key().public_key()];
        let against = Against { trusted: &pinned, ..Against::default() };
        let verified = verify_store(&path, &against, |_, _| {}).unwrap();
        assert!(matches!(verified.report.problems[0], Problem::Checkpoint { seq: 5, .. }) && !verified.self_named);
    }

    #[test]
    fn an_export_is_checked_without_its_store() {
        let (_folder, path) = store();
        let all = exported(&path, Range::default());
        let report = offline(&all);
        assert!(report.is_good(), "{:?}", report.problems);
        assert_eq!((report.events, report.checkpoints), (12, 3));
        let part = exported(&path, Range { from: Some(Bound::Seq(4)), to: Some(Bound::Seq(11)) });
        let report = offline(&part);
        assert!(report.is_good(), "{:?}", report.problems);
        assert_eq!((report.first, report.last, report.signed_to), (Some(4), Some(11), Some(10)));
        let lines: Vec<&str> = all.lines().collect();
        let event = |seq: i64| lines.iter().position(|line| line.starts_with(&format!("{{\"seq\":{seq},"))).unwrap();
        let with = |change: &dyn Fn(&mut Vec<String>)| {
            let mut lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
            change(&mut lines);
            let report = offline(&lines.join("\n"));
            report.problems.first().map(ToString::to_string).unwrap_or_default()
        };
        assert!(with(&|lines| lines[event(7)] = lines[event(7)].replace("acme", "acmf")).contains("seq 7, event 0"));
        assert_eq!(with(&|lines| drop(lines.remove(event(7)))), "seq 7: this event is missing");
        assert_eq!(with(&|lines| lines.truncate(event(11))), "seq 11 to 12: these events are missing");
        assert!(with(&|lines| lines.swap(event(7), event(8))).starts_with("seq 7: this event is missing"));
        assert!(with(&|lines| lines[event(7)].truncate(30)).starts_with("seq 7: what stands there"));
        assert!(verify_export(all.replace("chain_prev\":\"", "chain_prev\":\"00").as_bytes(), &Against::default(), |_, _| {}).is_err());
    }

    #[test]
    fn any_bit_of_a_body_in_an_export_is_found_and_no_bit_at_all_breaks_the_check() {
        let (_folder, path) = store();
        let text = exported(&path, Range::default()).into_bytes();
        let bodies: Vec<usize> = text
            .split_inclusive(|byte| *byte == b'\n')
            .scan(0, |at, line| {
                let begin = std::mem::replace(at, *at + line.len());
                let body = line.windows(8).position(|window| window == b"\"body\":\"").map(|body| begin + body + 8..begin + line.len() - 3);
                Some(body.into_iter().flatten())
            })
            .flatten()
            .collect();
        proptest!(|(place in 0..text.len() * 8, body in 0..bodies.len() * 8)| {
            let flipped = |byte: usize, bit: usize| {
                let mut text = text.clone();
                text[byte] ^= 1 << bit;
                verify_export(&*text, &Against::default(), |_, _| {})
            };
            drop(flipped(place / 8, place % 8));
            prop_assert!(!flipped(bodies[body / 8], body % 8).unwrap().report.is_good());
        });
    }

    #[test]
    fn a_range_by_time_takes_all_between_its_first_and_its_last() {
        let (_folder, path) = place();
        let store = Store::open(&path, StoreOptions::default()).unwrap();
        for time_us in [1_000_000, 3_000_000, 2_000_000, 5_000_000] {
            let mut event = allowed(&format!("r{time_us}"));
            event.stamp(time_us);
            store.record(event).wait().unwrap();
        }
        let seqs = |from, to| {
            let mut out = Vec::new();
            let range = Range { from: Some(Bound::Time(from)), to: Some(Bound::Time(to)) };
            export(&path, &range, &mut out, |_, _| {}).unwrap().map(|exported| (exported.first, exported.last))
        };
        assert_eq!(seqs(0, 10_000_000), Some((1, 4)));
        assert_eq!(seqs(2_500_000, 3_000_000), Some((2, 3)), "2 is the first at or after, 3 the last before");
        assert_eq!(seqs(6_000_000, 10_000_000), None);
    }

    #[test]
    fn what_cannot_be_checked_is_an_error_and_no_verdict() {
        let (folder, _) = place();
        let path = folder.path().join("absent");
        assert!(verify_store(&path, &Against::default(), |_, _| {}).is_err());
        let backwards = "{\"export\":1,\"store\":\"s\",\"first\":-9223372036854775808,\"last\":1,\"chain_prev\":\"\",\"keys\":[]}";
        for text in
            ["", "{}", backwards, "not an export", "{\"export\":2,\"store\":\"s\",\"first\":1,\"last\":1,\"chain_prev\":\"\",\"keys\":[]}"]
        {
            assert!(verify_export(text.as_bytes(), &Against::default(), |_, _| {}).is_err(), "{text}");
        }
    }
}
