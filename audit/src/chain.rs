//! The hash chain over a store's events: what each hash covers, and where the chain ends.
//!
//! An event's `chain_hash` is
//!
//!     SHA-256( "portcullis-audit-v1" || prev || seq || length || body )
//!
//! `prev`: the `chain_hash` of the event before it, 32 bytes; of the first event the SHA-256 of the store's id (the UUID as 36 ASCII
//! characters). `seq`: 8 bytes, `length` of the body: 4 bytes, both unsigned and big-endian. `body`: the event's JSON as it is stored.
//! `seq` counts 1, 2, 3 ... without holes.

use ring::digest::{Context, Digest, SHA256};
use rusqlite::{Connection, OptionalExtension};

use crate::meta;

/// A SHA-256 of the chain.
pub type ChainHash = [u8; 32];

/// Separates these hashes from all others.
const DOMAIN: &[u8] = b"portcullis-audit-v1";

/// Returns what stands before the first event of a store: the SHA-256 of its id.
pub fn first_prev(store_id: &str) -> ChainHash {
    bytes(&ring::digest::digest(&SHA256, store_id.as_bytes()))
}

/// Returns the hash of the event `seq` with `body`, behind an event whose hash is `prev`.
pub fn link(prev: &ChainHash, seq: i64, body: &[u8]) -> ChainHash {
    let mut context = Context::new(&SHA256);
    context.update(DOMAIN);
    context.update(prev);
    context.update(&seq.to_be_bytes());
    // A body is bounded far below 4 GiB.
    context.update(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
    context.update(body);
    bytes(&context.finish())
}

fn bytes(digest: &Digest) -> ChainHash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest.as_ref());
    hash
}

/// The end of a store's chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// Number of the newest event; 0 where there never was one.
    pub seq: i64,
    /// Its hash.
    pub hash: ChainHash,
}

impl Head {
    /// Reads it: the newest event, or else the place where retention cut, or else the beginning.
    pub fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let place = |sql| {
            let mut statement = connection.prepare_cached(sql)?;
            statement.query_row([], |row| Ok(Self { seq: row.get(0)?, hash: row.get(1)? })).optional()
        };
        if let Some(newest) = place("SELECT seq, chain_hash FROM events ORDER BY seq DESC LIMIT 1")? {
            return Ok(newest);
        }
        if let Some(cut) = place("SELECT seq, chain_hash FROM checkpoints WHERE kind = 'cut' ORDER BY seq DESC LIMIT 1")? {
            return Ok(cut);
        }
        Ok(Self { seq: 0, hash: first_prev(&meta::store_id(connection)?) })
    }

    /// Moves on by one event.
    pub fn append(&mut self, body: &[u8]) {
        // A number at its end is one that somebody wrote there; then nothing more can be stored, and nothing breaks.
        self.seq = self.seq.saturating_add(1);
        self.hash = link(&self.hash, self.seq, body);
    }
}

/// Checks the links among the newest `events` of a store. Returns the first number whose hash does not fit the one before.
pub(crate) fn first_break(connection: &Connection, events: i64) -> rusqlite::Result<Option<i64>> {
    let mut statement = connection
        .prepare("SELECT seq, chain_hash, body FROM (SELECT seq, chain_hash, body FROM events ORDER BY seq DESC LIMIT ?1) ORDER BY seq")?;
    let mut rows = statement.query([events])?;
    let mut before: Option<Head> = None;
    while let Some(row) = rows.next()? {
        let here = Head { seq: row.get(0)?, hash: row.get(1)? };
        let body = row.get_ref(2)?.as_bytes().unwrap_or_default();
        if before.is_some_and(|before| here.seq != before.seq + 1 || here.hash != link(&before.hash, here.seq, body)) {
            return Ok(Some(here.seq));
        }
        before = Some(here);
    }
    Ok(None)
}

/// Gives the events of a store from before the chain their hashes, and numbers without holes. Part of a migration.
pub(crate) fn chain_existing(connection: &Connection) -> rusqlite::Result<()> {
    let store_id = uuid::Uuid::now_v7().to_string();
    meta::set(connection, meta::STORE_ID, &store_id)?;
    let mut head = Head { seq: 0, hash: first_prev(&store_id) };
    let mut next = connection.prepare("SELECT seq, body FROM events WHERE seq > ?1 ORDER BY seq LIMIT 1")?;
    let mut chained = connection.prepare("UPDATE events SET seq = ?1, chain_hash = ?2 WHERE seq = ?3")?;
    let mut moved = connection.prepare("UPDATE open_requests SET seq = ?1 WHERE seq = ?2")?;
    let mut old = 0;
    loop {
        let found = next.query_row([old], |row| {
            head.append(row.get_ref(1)?.as_bytes().unwrap_or_default());
            row.get(0)
        });
        let Some(seq) = found.optional()? else { break };
        old = seq;
        // Never taken: new numbers are at most the old ones, and come in the same order.
        chained.execute((head.seq, head.hash, old))?;
        if head.seq != old {
            moved.execute((head.seq, old))?;
        }
    }
    connection.execute("UPDATE sqlite_sequence SET seq = ?1 WHERE name = 'events'", [head.seq])?;
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::Path;

    use rusqlite::params;

    use super::*;
    use crate::store::tests::{allowed, open, place};
    use crate::{Against, AuditError, Event, Reader, verify_store};

    #[test]
    fn a_hash_is_the_published_one_and_depends_on_every_part() {
        // From `printf` and `sha256sum`, so that anybody can check a chain with common tools.
        let prev = first_prev("0190a2b4-0000-7000-8000-000000000000");
        let hash = link(&prev, 1, b"{}");
        assert_eq!((hex::encode(prev), hex::encode(hash)), (PREV.to_owned(), HASH.to_owned()),);
        for other in [link(&hash, 1, b"{}"), link(&prev, 2, b"{}"), link(&prev, 1, b"{ }"), link(&prev, 1, b"")] {
            assert_ne!(other, hash);
        }
    }

    /// A store as the first version left it, with holes in its numbers, one body that is no event, and an open request.
    pub(crate) fn store_of_version_1(path: &Path) -> Vec<String> {
        let outside = Connection::open(path).unwrap();
        crate::schema::found(&outside).unwrap();
        outside.execute_batch(include_str!("../schema/0001_events.sql")).unwrap();
        outside.pragma_update(None, "user_version", 1).unwrap();
        let mut bodies: Vec<String> = (0..40).map(|n| serde_json::to_string(&allowed(&format!("r{n}"))).unwrap()).collect();
        bodies[7] = "no json".into();
        for (n, body) in (0_i64..).zip(&bodies) {
            let event: Event = serde_json::from_str(body).unwrap_or_else(|_| allowed("r7"));
            outside
                .execute(
                    "INSERT INTO events (seq, event_id, ts_us, kind, phase, tenant, request_id, decision, body) \
                     VALUES (?1, ?2, ?3, 'decision', 0, 'acme', ?4, 'allow', ?5)",
                    params![3 + n * n, event.event_id, event.time_us, event.request_id, body],
                )
                .unwrap();
        }
        outside.execute("INSERT INTO open_requests SELECT request_id, seq FROM events WHERE request_id = 'r39'", []).unwrap();
        bodies
    }

    #[test]
    fn a_store_of_version_1_is_chained_as_it_is_opened_and_loses_its_holes() {
        let (_folder, path) = place();
        let bodies = store_of_version_1(&path);
        assert!(matches!(Reader::open(&path), Err(AuditError::Older { found: 1, .. })));
        let store = open(&path);
        assert_eq!((store.stats().recovered, store.record(allowed("new")).wait().unwrap().seq), (1, 42));
        let reader = Reader::open(&path).unwrap();
        assert_eq!(reader.store_id(), store.store_id());
        let read = reader.events_after(0, 100).unwrap();
        assert!(read.iter().map(|stored| &stored.body).take(40).eq(&bodies), "bodies stay as they were");
        assert_eq!((&*read[40].event.request_id, &*read[40].event.outcome), ("r39", "incomplete"));
        let mut head = Head { seq: 0, hash: first_prev(store.store_id()) };
        for stored in &read {
            head.append(stored.body.as_bytes());
            assert_eq!(head, Head { seq: stored.seq, hash: stored.chain_hash });
        }
        let id = store.store_id().to_owned();
        store.close().unwrap();
        let report = verify_store(&path, &Against::default(), |_, _| {}).unwrap().report;
        assert!(report.is_good() && report.signed_to == Some(42), "{:?}", report.problems);
        assert_eq!(open(&path).store_id(), id, "made once");
    }

    #[test]
    fn numbers_have_no_holes_after_refused_and_repeated_events() {
        let (_folder, path) = place();
        let store = open(&path);
        let event = allowed("a");
        let seq = |event: Event| store.record(event).wait().map(|receipt| receipt.seq);
        assert_eq!(seq(event.clone()).unwrap(), 1);
        assert!(seq(allowed("a")).is_err());
        assert_eq!(seq(event).unwrap(), 1);
        assert_eq!(seq(allowed("b")).unwrap(), 2);
    }

    #[test]
    fn a_break_among_the_newest_events_is_found_at_opening() {
        let (_folder, path) = place();
        let store = open(&path);
        for n in 0..9 {
            store.record(allowed(&format!("r{n}"))).wait().unwrap();
        }
        let outside = Connection::open(&path).unwrap();
        assert_eq!(first_break(&outside, 100).unwrap(), None);
        outside.execute("UPDATE events SET body = replace(body, 'acme', 'acmf') WHERE seq = 5", []).unwrap();
        assert_eq!(first_break(&outside, 100).unwrap(), Some(5));
        assert_eq!(first_break(&outside, 5).unwrap(), None, "before the first looked at");
        outside.execute("DELETE FROM events WHERE seq = 8", []).unwrap();
        assert_eq!(first_break(&outside, 4).unwrap(), Some(9));
    }

    const PREV: &str = "7f6d9f986ee6383a796ffc6d76a75d22cb2dea32c8f18b1e542c3f5d889422ea";
    const HASH: &str = "10c6ddec107991cd96705751c5764c0d61858567c85e31803df3f29885a7ec9f";
}
