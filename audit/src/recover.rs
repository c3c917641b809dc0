//! After a crash: gives every forwarded request that has no completion one with the outcome `incomplete`.

use rusqlite::Connection;

use crate::Event;
use crate::disk;
use crate::reader::{self, StoredEvent};
use crate::row::Row;

/// Requests completed in one transaction.
const GROUP_REQUESTS: i64 = 1_024;

/// The outcome of a request whose end nobody saw.
const INCOMPLETE: &str = "incomplete";

/// Completes all open requests, in groups. Returns how many there were.
pub(crate) fn complete_open_requests(connection: &mut Connection) -> rusqlite::Result<u64> {
    let mut completed = 0;
    loop {
        let open = open_requests(connection)?;
        let Some(last) = open.last() else { return Ok(completed) };
        let rows = open.iter().map(completion).collect::<rusqlite::Result<Vec<_>>>()?;
        let answers = disk::write(connection, &rows)?;
        // The writes have closed these already. Said again so that a damaged entry cannot keep this loop going.
        connection.execute("DELETE FROM open_requests WHERE seq <= ?1", [last.seq])?;
        completed += answers.iter().filter(|answer| answer.is_ok()).count() as u64;
    }
}

fn open_requests(connection: &Connection) -> rusqlite::Result<Vec<StoredEvent>> {
    let sql = format!("SELECT {} FROM events JOIN open_requests USING (seq) ORDER BY seq LIMIT ?1", reader::COLUMNS);
    connection.prepare(&sql)?.query_map([GROUP_REQUESTS], reader::stored_event)?.collect()
}

fn completion(open: &StoredEvent) -> rusqlite::Result<Row> {
    let mut event = Event::completion_of(&open.event);
    event.outcome = INCOMPLETE.into();
    Row::new(event.bounded()).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

#[cfg(test)]
mod tests {
    use crate::store::tests::{allowed, open, place};
    use crate::{Decision, Event, Filter, Kind, Reader};

    #[test]
    fn what_a_crash_left_open_is_completed_once_and_only_that() {
        let (_folder, path) = place();
        let store = open(&path);
        let ended = allowed("ended");
        let events = [
            allowed("open"),
            ended.clone(),
            Event::completion_of(&ended),
            Event { decision: Some(Decision::Redact), ..allowed("redacted") },
            Event { decision: Some(Decision::Block), ..allowed("blocked") },
            Event { decision: Some(Decision::Refused), ..Event::new(Kind::Rejected, "rejected") },
            Event { decision: Some(Decision::Refused), ..Event::new(Kind::Limit, "limited") },
            Event { decision: Some(Decision::Refused), ..Event::new(Kind::AuthFailure, "unknown") },
        ];
        for event in events {
            store.record(event).wait().unwrap();
        }
        store.close().unwrap();
        for (run, recovered) in [(1, 2), (2, 0)] {
            let store = open(&path);
            assert_eq!(store.stats().recovered, recovered, "run {run}");
        }
        let completions = Filter { kind: Some(Kind::Completion), ..Filter::default() };
        let read = Reader::open(&path).unwrap().tail(None, 100, &completions).unwrap();
        let ends: Vec<_> = read.iter().map(|stored| (&*stored.event.request_id, &*stored.event.outcome, &*stored.event.tenant)).collect();
        assert_eq!(ends, [("ended", "", "acme"), ("open", "incomplete", "acme"), ("redacted", "incomplete", "acme")]);
    }

    #[test]
    fn more_than_one_group_is_completed() {
        let (_folder, path) = place();
        let store = open(&path);
        let count = usize::try_from(super::GROUP_REQUESTS).unwrap() * 2 + 1;
        for n in 0..count {
            drop(store.record(allowed(&format!("r{n}"))));
        }
        store.close().unwrap();
        assert_eq!(open(&path).stats().recovered, count as u64);
        assert_eq!(Reader::open(&path).unwrap().count().unwrap(), 2 * count as u64);
    }

    #[test]
    fn a_decision_that_cannot_be_read_is_completed_from_its_columns() {
        let (_folder, path) = place();
        let store = open(&path);
        store.record(allowed("r1")).wait().unwrap();
        store.close().unwrap();
        rusqlite::Connection::open(&path).unwrap().execute("UPDATE events SET body = '{'", []).unwrap();
        let store = open(&path);
        assert_eq!(store.stats().recovered, 1);
        let read = Reader::open(&path).unwrap().events_after(0, 10).unwrap();
        assert_eq!((&*read[0].event.outcome, &*read[1].event.outcome), ("unreadable", "incomplete"));
        assert_eq!((&*read[1].event.request_id, &*read[1].event.tenant), ("r1", "acme"));
    }

    #[test]
    fn a_completion_that_came_first_leaves_nothing_open() {
        let (_folder, path) = place();
        let store = open(&path);
        let decision = allowed("r1");
        store.record(Event::completion_of(&decision)).wait().unwrap();
        store.record(decision).wait().unwrap();
        store.close().unwrap();
        assert_eq!(open(&path).stats().recovered, 0);
    }
}
