//! Checking a chain of events against its hashes and its signed checkpoints, wherever the events come from: a store, an export,
//! another database.
//!
//! Give a [`Verifier`] the events in the order of their numbers, one by one; it holds no event, only the checkpoints.

use std::fmt;

use crate::chain::{ChainHash, first_prev, link};
use crate::checkpoint::{Checkpoint, CheckpointKind, Statement};
use crate::event::rfc3339;
use crate::signing::PublicKey;

/// Problems kept; further ones are counted.
pub const PROBLEMS_MAX: usize = 32;

/// One event as it is found.
#[derive(Debug, Clone, Copy)]
pub struct ChainRow<'a> {
    /// Its number.
    pub seq: i64,
    /// Its id, to name it by.
    pub event_id: &'a str,
    /// The hash it bears.
    pub chain_hash: &'a [u8],
    /// Its JSON, exactly as it was stored.
    pub body: &'a [u8],
}

/// Which part of a chain is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All that a store has: from its first event, or from where retention cut.
    Whole,
    /// A part: from the event after `prev` to `last`.
    Part {
        /// Number of the first event.
        first: i64,
        /// Hash of the event before it.
        prev: ChainHash,
        /// Number of the last event.
        last: i64,
    },
}

/// Something that should not be so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// Body, number or hash of an event is not what it was.
    Changed {
        /// Its number.
        seq: i64,
        /// Its id.
        event_id: String,
    },
    /// Events are not there.
    Missing {
        /// The first.
        first: i64,
        /// The last.
        last: i64,
    },
    /// An event stands behind a later one, or twice.
    Reordered {
        /// Its number.
        seq: i64,
        /// Its id.
        event_id: String,
        /// The number before it.
        after: i64,
    },
    /// Something stands where an event should, and is none.
    Unreadable {
        /// The number before it.
        after: i64,
    },
    /// A column beside the body says something else than the body, which is what is chained.
    Column {
        /// The event's number.
        seq: i64,
        /// Its id.
        event_id: String,
        /// The column.
        column: &'static str,
    },
    /// The chain fits together and is not the one that was signed.
    Rewritten {
        /// The signed event's number.
        seq: i64,
        /// When it was signed, microseconds since 1970.
        time_us: i64,
    },
    /// The chain ends before an event that was signed.
    Truncated {
        /// Number of the last event there is.
        last: i64,
        /// The signed event's number.
        seq: i64,
        /// When it was signed, microseconds since 1970.
        time_us: i64,
    },
    /// A checkpoint is not what its key signed, not of this store, or of a key that is not trusted.
    Checkpoint {
        /// The number it names.
        seq: i64,
        /// What is wrong with it.
        what: &'static str,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed { seq, event_id } => write!(f, "seq {seq}, event {}: its body, number or hash was changed", shown(event_id)),
            Self::Missing { first, last } if first == last => write!(f, "seq {first}: this event is missing"),
            Self::Missing { first, last } => write!(f, "seq {first} to {last}: these events are missing"),
            Self::Reordered { seq, event_id, after } => write!(f, "seq {seq}, event {}: stands behind seq {after}", shown(event_id)),
            Self::Unreadable { after } => write!(f, "seq {}: what stands there cannot be read as an event", after.saturating_add(1)),
            Self::Column { seq, event_id, column } => {
                write!(f, "seq {seq}, event {}: its column `{column}` was changed, its body was not", shown(event_id))
            }
            Self::Rewritten { seq, time_us } => {
                write!(f, "seq {seq}: events up to here were rewritten after the checkpoint of {}", rfc3339(*time_us))
            }
            Self::Truncated { last, seq, time_us } => {
                write!(
                    f,
                    "seq {} to {seq}: these events are missing at the end; the checkpoint of {} has them",
                    last + 1,
                    rfc3339(*time_us)
                )
            }
            Self::Checkpoint { seq, what } => write!(f, "the checkpoint at seq {seq} {what}"),
        }
    }
}

fn shown(event_id: &str) -> impl fmt::Display {
    event_id.chars().take(64).collect::<String>().escape_debug().to_string()
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Events looked at.
    pub events: u64,
    /// Number of the first.
    pub first: Option<i64>,
    /// Number of the last.
    pub last: Option<i64>,
    /// Checkpoints whose hash was compared with an event's.
    pub checkpoints: u64,
    /// The highest number that a checkpoint confirmed: events above it are chained, and not signed yet.
    pub signed_to: Option<i64>,
    /// Retention removed the events up to this number, at this moment (microseconds since 1970); signed.
    pub removed: Option<(i64, i64)>,
    /// The first [`PROBLEMS_MAX`] problems, in the order in which they were met.
    pub problems: Vec<Problem>,
    /// How many there are.
    pub problem_count: u64,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_good(&self) -> bool {
        self.problem_count == 0
    }

    fn add(&mut self, problem: Problem) {
        self.problem_count += 1;
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        }
    }
}

/// A check under way.
#[derive(Debug)]
pub struct Verifier {
    store_id: String,
    extent: Extent,
    /// Those that hold, by number.
    statements: Vec<Statement>,
    /// The first of them not yet passed.
    next_statement: usize,
    /// Number of the last event in its place, and its hash; no hash where the one before is not known.
    before: Option<(i64, Option<ChainHash>)>,
    report: Report,
}

impl Verifier {
    /// Begins to check events of the store `store_id`. Only checkpoints signed by one of `trusted` count, others are problems.
    pub fn new(store_id: &str, extent: Extent, checkpoints: impl IntoIterator<Item = Checkpoint>, trusted: &[PublicKey]) -> Self {
        let mut report = Report::default();
        let mut statements = Vec::new();
        for checkpoint in checkpoints {
            let what = if !trusted.contains(&checkpoint.public_key) {
                "is signed by a key that is not trusted"
            } else if !checkpoint.is_genuine() {
                "is not what its key signed"
            } else if checkpoint.statement.store_id != store_id {
                "is of another store"
            } else {
                statements.push(checkpoint.statement);
                continue;
            };
            report.add(Problem::Checkpoint { seq: checkpoint.statement.seq, what });
        }
        statements.sort_by_key(|statement| statement.seq);
        // The same checkpoint stands in the store and in the file beside it.
        statements.dedup();
        Self { store_id: store_id.to_owned(), extent, statements, next_statement: 0, before: None, report }
    }

    /// Takes the next event.
    pub fn row(&mut self, row: &ChainRow<'_>) {
        self.report.events += 1;
        let (before_seq, prev) = self.before.unwrap_or_else(|| self.start(row.seq));
        let event_id = || row.event_id.to_owned();
        if row.seq <= before_seq {
            return self.report.add(Problem::Reordered { seq: row.seq, event_id: event_id(), after: before_seq });
        }
        let adjacent = row.seq == before_seq + 1;
        if !adjacent {
            self.report.add(Problem::Missing { first: before_seq + 1, last: row.seq - 1 });
        }
        // Behind a gap, or an event that bears no hash, nothing is known of the hash before: a checkpoint has the last word.
        let expected = prev.filter(|_| adjacent).map(|prev| link(&prev, row.seq, row.body));
        let hash = <ChainHash>::try_from(row.chain_hash).ok();
        if hash.is_none() || expected.is_some_and(|expected| Some(expected) != hash) {
            self.report.add(Problem::Changed { seq: row.seq, event_id: event_id() });
        }
        self.before = Some((row.seq, hash));
        self.report.first.get_or_insert(row.seq);
        self.report.last = Some(row.seq);
        self.compare(row.seq, hash);
    }

    /// Notes that something stands where the next event should, and is none.
    pub fn unreadable(&mut self) {
        let after = match (self.before, self.extent) {
            (Some((seq, _)), _) => seq,
            (None, Extent::Part { first, .. }) => first - 1,
            (None, Extent::Whole) => 0,
        };
        self.report.add(Problem::Unreadable { after });
    }

    /// Notes that a column beside the body of the last event is not what the body says.
    pub fn column(&mut self, row: &ChainRow<'_>, column: &'static str) {
        self.report.add(Problem::Column { seq: row.seq, event_id: row.event_id.to_owned(), column });
    }

    /// Ends the check.
    pub fn finish(mut self) -> Report {
        let (last, hash) = self.before.unwrap_or_else(|| self.start(i64::MAX));
        if self.before.is_none() {
            self.compare(last, hash);
        }
        match self.extent {
            Extent::Part { last: end, .. } if last < end => self.report.add(Problem::Missing { first: last + 1, last: end }),
            Extent::Part { .. } => {}
            Extent::Whole => {
                if let Some(Statement { seq, time_us, .. }) = self.statements.last().filter(|statement| statement.seq > last) {
                    let problem = Problem::Truncated { last, seq: *seq, time_us: *time_us };
                    self.report.add(problem);
                }
            }
        }
        self.report
    }

    /// What must stand before the first event, whose number is `first`; `i64::MAX` where there is no event.
    fn start(&mut self, first: i64) -> (i64, Option<ChainHash>) {
        let start = match self.extent {
            Extent::Part { first: 1, .. } => (0, Some(first_prev(&self.store_id))),
            Extent::Part { first, prev, .. } => (first - 1, Some(prev)),
            Extent::Whole => {
                let mut cuts = self.statements.iter().filter(|statement| statement.kind == CheckpointKind::Cut && statement.seq < first);
                match cuts.next_back() {
                    Some(cut) if first > 1 => {
                        self.report.removed = Some((cut.seq, cut.time_us));
                        (cut.seq, Some(cut.chain_hash))
                    }
                    _ => (0, Some(first_prev(&self.store_id))),
                }
            }
        };
        // What was signed of events that are not given any more cannot be compared; of the one just before it can.
        self.next_statement = self.statements.partition_point(|statement| statement.seq < start.0);
        self.compare(start.0, start.1);
        start
    }

    /// Compares what was signed of the event `seq` with the hash it bears.
    fn compare(&mut self, seq: i64, hash: Option<ChainHash>) {
        while let Some(statement) = self.statements.get(self.next_statement).filter(|statement| statement.seq <= seq) {
            self.next_statement += 1;
            if statement.seq < seq {
                continue;
            }
            self.report.checkpoints += 1;
            if Some(statement.chain_hash) == hash {
                self.report.signed_to = Some(seq);
            } else {
                self.report.add(Problem::Rewritten { seq, time_us: statement.time_us });
            }
        }
    }
}

/// Checks all of `rows`, which must come in the order of their numbers: (number, event id, hash, body).
///
/// # Errors
/// The first error of the rows' source: then nothing is known.
pub fn verify<E>(mut verifier: Verifier, rows: impl IntoIterator<Item = Result<(i64, String, ChainHash, String), E>>) -> Result<Report, E> {
    for row in rows {
        let (seq, event_id, chain_hash, body) = row?;
        verifier.row(&ChainRow { seq, event_id: &event_id, chain_hash: &chain_hash, body: body.as_bytes() });
    }
    Ok(verifier.finish())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::checkpoint::tests::key;
    use crate::signing::SigningKey;

    const STORE: &str = "0190a2b4-0000-7000-8000-000000000000";
    type Row = (i64, String, ChainHash, String);

    fn chain(count: i64) -> Vec<Row> {
        let mut prev = first_prev(STORE);
        let events = (1..=count).map(|seq| {
            let body = format!("{{\"event_id\":\"e{seq}\",\"n\":{}}}", seq * seq);
            prev = link(&prev, seq, body.as_bytes());
            (seq, format!("e{seq}"), prev, body)
        });
        events.collect()
    }

    fn signed(kind: CheckpointKind, row: &Row, key: &SigningKey) -> Checkpoint {
        let statement = Statement { kind, store_id: STORE.into(), seq: row.0, chain_hash: row.2, count: row.0, time_us: 0 };
        Checkpoint::sign(statement, key)
    }

    fn check(rows: Vec<Row>, checkpoints: Vec<Checkpoint>, key: &SigningKey) -> Report {
        let verifier = Verifier::new(STORE, Extent::Whole, checkpoints, &[key.public_key()]);
        verify(verifier, rows.into_iter().map(Ok::<_, ()>)).unwrap()
    }

    fn marks(rows: &[Row], key: &SigningKey) -> Vec<Checkpoint> {
        rows.iter().filter(|row| row.0 % 4 == 0).map(|row| signed(CheckpointKind::Mark, row, key)).collect()
    }

    #[test]
    fn a_sound_chain_is_good_and_tells_how_far_it_is_signed() {
        let key = key();
        let rows = chain(10);
        let report = check(rows.clone(), marks(&rows, &key), &key);
        assert!(report.is_good(), "{:?}", report.problems);
        assert_eq!((report.events, report.checkpoints, report.signed_to, report.last), (10, 2, Some(8), Some(10)));
        assert!(check(Vec::new(), Vec::new(), &key).is_good(), "an empty store");
    }

    #[test]
    fn each_kind_of_tampering_is_named_with_its_place() {
        let key = key();
        let rows = chain(10);
        let marks = || marks(&rows, &key);
        let first = |rows: Vec<Row>| check(rows, marks(), &key).problems.into_iter().next();
        let changed = |seq: i64| Some(Problem::Changed { seq, event_id: format!("e{seq}") });
        let with = |change: fn(&mut Vec<Row>)| {
            let mut rows = rows.clone();
            change(&mut rows);
            first(rows)
        };
        assert_eq!(with(|rows| rows[4].3.push(' ')), changed(5));
        assert_eq!(with(|rows| rows[4].2[31] ^= 1), changed(5));
        assert_eq!(with(|rows| rows[9].3.clear()), changed(10));
        assert_eq!(with(|rows| drop(rows.remove(4))), Some(Problem::Missing { first: 5, last: 5 }));
        assert_eq!(with(|rows| drop(rows.remove(0))), Some(Problem::Missing { first: 1, last: 1 }));
        assert_eq!(with(|rows| rows.truncate(6)), Some(Problem::Truncated { last: 6, seq: 8, time_us: 0 }));
        assert_eq!(with(Vec::clear), Some(Problem::Truncated { last: 0, seq: 8, time_us: 0 }));
        let moved = Some(Problem::Missing { first: 5, last: 5 });
        assert_eq!(with(|rows| rows.swap(4, 5)), moved, "seen first as a gap");
        assert_eq!(
            check(rows.iter().chain([&rows[3]]).cloned().collect(), marks(), &key).problems,
            [Problem::Reordered { seq: 4, event_id: "e4".into(), after: 10 }]
        );
        // Two events that change places, numbers and all the rest included.
        let renumbered = with(|rows| {
            rows.swap(4, 5);
            (rows[4].0, rows[5].0) = (5, 6);
        });
        assert_eq!(renumbered, Some(Problem::Changed { seq: 5, event_id: "e6".into() }));
    }

    #[test]
    fn a_chain_rewritten_with_fitting_hashes_is_found_by_its_checkpoints() {
        let key = key();
        let rows = chain(10);
        let mut forged = rows.clone();
        let mut prev = first_prev(STORE);
        for (seq, _, hash, body) in &mut forged {
            if *seq == 3 {
                body.push(' ');
            }
            prev = link(&prev, *seq, body.as_bytes());
            *hash = prev;
        }
        let report = check(forged.clone(), marks(&rows, &key), &key);
        assert_eq!(report.problems, [Problem::Rewritten { seq: 4, time_us: 0 }, Problem::Rewritten { seq: 8, time_us: 0 }]);
        assert!(check(forged, Vec::new(), &key).is_good(), "without a checkpoint nobody can know");
    }

    #[test]
    fn a_checkpoint_counts_only_with_the_signature_of_a_trusted_key_and_for_its_store() {
        let (key, stranger) = (key(), self::key());
        let rows = chain(4);
        let mut forged = signed(CheckpointKind::Mark, &rows[1], &key);
        forged.statement.seq = 3;
        let mut elsewhere = signed(CheckpointKind::Mark, &rows[1], &key).statement;
        elsewhere.store_id = "another".into();
        for (checkpoint, what) in [
            (signed(CheckpointKind::Mark, &rows[1], &stranger), "is signed by a key that is not trusted"),
            (forged, "is not what its key signed"),
            (Checkpoint::sign(elsewhere, &key), "is of another store"),
        ] {
            let seq = checkpoint.statement.seq;
            assert_eq!(check(rows.clone(), vec![checkpoint], &key).problems, [Problem::Checkpoint { seq, what }]);
        }
    }

    #[test]
    fn what_retention_removed_needs_a_signed_cut_just_before_the_first_event() {
        let key = key();
        let rows = chain(10);
        let kept = rows[6..].to_vec();
        let cut = |row: usize| signed(CheckpointKind::Cut, &rows[row], &key);
        let report = check(kept.clone(), [marks(&rows, &key), vec![cut(2), cut(5)]].concat(), &key);
        assert!(report.is_good(), "{:?}", report.problems);
        assert_eq!((report.removed, report.first), (Some((6, 0)), Some(7)));
        assert_eq!(check(kept.clone(), vec![cut(4)], &key).problems, [Problem::Missing { first: 6, last: 6 }]);
        assert_eq!(check(kept.clone(), marks(&rows, &key), &key).problems, [Problem::Missing { first: 1, last: 6 }]);
        let mut wrong = cut(5).statement;
        wrong.chain_hash[0] ^= 1;
        let wrong = check(kept, vec![Checkpoint::sign(wrong, &key)], &key).problems;
        assert_eq!(wrong, [Problem::Changed { seq: 7, event_id: "e7".into() }]);
        assert!(check(Vec::new(), vec![cut(9)], &key).is_good(), "retention may remove all");
    }

    #[test]
    fn a_part_is_checked_from_the_hash_before_it_to_its_end() {
        let key = key();
        let rows = chain(10);
        let extent = Extent::Part { first: 4, prev: rows[2].2, last: 8 };
        let part = |rows: &[Row]| {
            let verifier = Verifier::new(STORE, extent, marks(&chain(10), &key), &[key.public_key()]);
            verify(verifier, rows.iter().cloned().map(Ok::<_, ()>)).unwrap()
        };
        assert!(part(&rows[3..8]).is_good());
        assert_eq!(part(&rows[3..7]).problems, [Problem::Missing { first: 8, last: 8 }]);
        assert_eq!(part(&rows[4..8]).problems, [Problem::Missing { first: 4, last: 4 }]);
    }

    #[test]
    fn many_problems_are_counted_and_some_are_kept() {
        let key = key();
        let rows: Vec<Row> = chain(1000).into_iter().step_by(2).collect();
        let report = check(rows, Vec::new(), &key);
        assert_eq!((report.problem_count, report.problems.len()), (499, PROBLEMS_MAX));
    }

    proptest! {
        #[test]
        fn any_single_bit_of_any_body_or_hash_is_found_where_it_is(row in 0_usize..12, bit in 0_usize..4096, in_hash: bool) {
            let key = key();
            let mut rows: Vec<(i64, String, Vec<u8>, Vec<u8>)> =
                chain(12).into_iter().map(|(seq, id, hash, body)| (seq, id, hash.to_vec(), body.into_bytes())).collect();
            let bytes = if in_hash { &mut rows[row].2 } else { &mut rows[row].3 };
            let bit = bit % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            let mut verifier = Verifier::new(STORE, Extent::Whole, Vec::new(), &[key.public_key()]);
            for (seq, event_id, chain_hash, body) in &rows {
                verifier.row(&ChainRow { seq: *seq, event_id, chain_hash, body });
            }
            let report = verifier.finish();
            let event_id = format!("e{}", row + 1);
            prop_assert_eq!(report.problems.first(), Some(&Problem::Changed { seq: row as i64 + 1, event_id }));
        }
    }
}
