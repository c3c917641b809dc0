//! The notary of a store: signs now and then how far its chain has come, and keeps what it signed in the store and in a plain file.
//!
//! The plain file, `<store>.checkpoints`, only grows, one line each; shipped elsewhere it shows later that the store lost or changed
//! what it had.

use std::fs::OpenOptions;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension, params};

use crate::chain::{ChainHash, Head};
use crate::checkpoint::{Checkpoint, CheckpointKind, Statement};
use crate::signing::{PublicKey, SigningKey};
use crate::{AuditError, Signing, StoreOptions, crash, file, meta};

pub(crate) struct Notary {
    key: SigningKey,
    store_id: String,
    file: PathBuf,
    events: i64,
    interval: Duration,
    /// What was signed last.
    last: Option<Head>,
    /// The last event that was signed and is not what it was.
    pub broken_at: Option<i64>,
    signed_at: Instant,
}

impl Notary {
    /// Reads the key or makes it, and looks whether what was signed last is still there. `None` where the options say so.
    pub fn open(connection: &Connection, path: &Path, options: &StoreOptions) -> Result<Option<Self>, AuditError> {
        let key_path = match &options.signing {
            Signing::Off => return Ok(None),
            Signing::Beside => file::beside(path, ".signing-key"),
            Signing::File(path) => path.clone(),
        };
        let key = SigningKey::load_or_make(&key_path)?;
        let failed = |error: rusqlite::Error| AuditError::open(path, &error);
        enrol(connection, path, key.public_key()).map_err(failed)?;
        let mut notary = Self {
            store_id: meta::store_id(connection).map_err(failed)?,
            file: checkpoints_file(path),
            events: i64::try_from(options.checkpoint_events.max(1)).unwrap_or(i64::MAX),
            interval: options.checkpoint_interval,
            last: last_signed(connection).map_err(failed)?,
            broken_at: None,
            signed_at: Instant::now(),
            key,
        };
        notary.look_back(connection).map_err(failed)?;
        Ok(Some(notary))
    }

    pub fn public_key(&self) -> PublicKey {
        self.key.public_key()
    }

    /// Signs the end of the chain if enough events or enough time have passed since the last time.
    pub fn mark_if_due(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let timely = self.signed_at.elapsed() >= self.interval;
        let head = Head::read(connection)?;
        if timely || head.seq - self.last.map_or(0, |last| last.seq) >= self.events { self.mark(connection) } else { Ok(()) }
    }

    /// Signs the end of the chain, unless nothing was added.
    pub fn mark(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        self.signed_at = Instant::now();
        let head = Head::read(connection)?;
        if head.seq <= self.last.map_or(0, |last| last.seq) {
            return Ok(());
        }
        self.look_back(connection)?;
        let checkpoint = self.sign(connection, CheckpointKind::Mark, head)?;
        crash::point("signed");
        self.publish(&checkpoint);
        self.last = Some(head);
        Ok(())
    }

    /// Signs that retention removes the events up to `cut`; belongs into the transaction that removes them.
    pub fn cut(&self, transaction: &Connection, cut: Head) -> rusqlite::Result<Checkpoint> {
        transaction.execute("DELETE FROM checkpoints WHERE seq < ?1", [cut.seq])?;
        self.sign(transaction, CheckpointKind::Cut, cut)
    }

    /// Appends a line to the plain file. The store has it already: a failure is told, and stops nothing.
    pub fn publish(&self, checkpoint: &Checkpoint) {
        if let Err(error) = append(&self.file, &checkpoint.to_line()) {
            tracing::error!(path = %self.file.display(), %error, "audit store: a checkpoint could not be appended to the plain file");
        }
    }

    fn sign(&self, connection: &Connection, kind: CheckpointKind, at: Head) -> rusqlite::Result<Checkpoint> {
        let (first, last): (Option<i64>, Option<i64>) =
            connection.query_row("SELECT (SELECT min(seq) FROM events), (SELECT max(seq) FROM events)", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
        let statement = Statement {
            kind,
            store_id: self.store_id.clone(),
            seq: at.seq,
            chain_hash: at.hash,
            count: first.zip(last).map_or(0, |(first, last)| last - first + 1),
            time_us: jiff::Timestamp::now().as_microsecond(),
        };
        let checkpoint = Checkpoint::sign(statement, &self.key);
        connection.execute(
            "INSERT INTO checkpoints (kind, seq, chain_hash, line) VALUES (?1, ?2, ?3, ?4)",
            params![kind.as_str(), at.seq, at.hash, checkpoint.to_line()],
        )?;
        Ok(checkpoint)
    }

    /// Says so when the event that was signed last is no longer what it was: someone else had their hands in the file.
    fn look_back(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let Some(last) = self.last else { return Ok(()) };
        let end = Head::read(connection)?;
        let sql = "SELECT chain_hash FROM events WHERE seq = ?1";
        let hash: Option<ChainHash> = connection.query_row(sql, [last.seq], |row| row.get(0)).optional()?;
        if end.seq < last.seq || hash.is_some_and(|hash| hash != last.hash) {
            self.broken_at = Some(last.seq);
            tracing::error!(
                path = %self.file.display(), seq = last.seq, end = end.seq,
                "audit store: events that were signed are gone or changed; keep the files as they are and run `portcullis audit verify`"
            );
        }
        Ok(())
    }
}

/// The plain file of the store at `path`.
pub(crate) fn checkpoints_file(path: &Path) -> PathBuf {
    file::beside(path, ".checkpoints")
}

/// Adds the key to those that signed for this store; says so when it is another one than before.
fn enrol(connection: &Connection, path: &Path, key: PublicKey) -> rusqlite::Result<()> {
    let known: String = meta::get(connection, meta::PUBLIC_KEYS)?.unwrap_or_default();
    let word = key.to_string();
    if known.split(' ').next_back() == Some(&word) {
        return Ok(());
    }
    if !known.is_empty() {
        tracing::warn!(path = %path.display(), before = known, now = word, "audit store: checkpoints are signed by another key from now on");
    }
    let mut keys: Vec<&str> = known.split(' ').filter(|other| !other.is_empty() && *other != word).collect();
    keys.push(&word);
    meta::set(connection, meta::PUBLIC_KEYS, keys.join(" "))
}

fn last_signed(connection: &Connection) -> rusqlite::Result<Option<Head>> {
    let sql = "SELECT seq, chain_hash FROM checkpoints ORDER BY seq DESC LIMIT 1";
    connection.query_row(sql, [], |row| Ok(Head { seq: row.get(0)?, hash: row.get(1)? })).optional()
}

fn append(path: &Path, line: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    let mut text = format!("{line}\n");
    // What a crash or a full disk left of an earlier line stays a line of its own.
    if file.seek(SeekFrom::End(0))? > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            text.insert(0, '\n');
        }
    }
    file.write_all(text.as_bytes())?;
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;
    use crate::store::tests::{allowed, place};

    fn lines(path: &Path) -> Vec<Checkpoint> {
        let text = std::fs::read_to_string(checkpoints_file(path)).unwrap_or_default();
        text.lines().filter_map(|line| Checkpoint::from_line(line).ok()).collect()
    }

    #[test]
    fn a_checkpoint_is_signed_every_so_many_events_and_at_the_end() {
        let (_folder, path) = place();
        let store = Store::open(&path, StoreOptions { checkpoint_events: 10, ..StoreOptions::default() }).unwrap();
        for n in 0..25 {
            store.record(allowed(&format!("r{n}"))).wait().unwrap();
        }
        let key = store.public_key().unwrap();
        store.close().unwrap();
        let lines = lines(&path);
        let seqs: Vec<i64> = lines.iter().map(|line| line.statement.seq).collect();
        assert_eq!(seqs, [10, 20, 25]);
        assert!(lines.iter().all(|line| line.is_genuine() && line.public_key == key && line.statement.count == line.statement.seq));
        let kept: i64 = Connection::open(&path).unwrap().query_row("SELECT count(*) FROM checkpoints", [], |row| row.get(0)).unwrap();
        assert_eq!(kept, 3);
        Store::open(&path, StoreOptions { signing: Signing::Off, ..StoreOptions::default() }).unwrap().close().unwrap();
        assert_eq!(self::lines(&path).len(), 3, "who does not sign writes no checkpoint");
    }

    #[test]
    fn a_checkpoint_is_signed_when_enough_time_has_passed() {
        let (_folder, path) = place();
        let options = StoreOptions { checkpoint_interval: Duration::from_millis(1), ..StoreOptions::default() };
        let store = Store::open(&path, options).unwrap();
        store.record(allowed("a")).wait().unwrap();
        let began = Instant::now();
        while lines(&path).is_empty() {
            assert!(began.elapsed() < Duration::from_secs(30), "no checkpoint came");
            std::thread::yield_now();
        }
        assert_eq!(lines(&path)[0].statement.seq, 1);
    }

    #[test]
    fn a_line_half_written_does_not_spoil_the_next() {
        let (_folder, path) = place();
        std::fs::write(checkpoints_file(&path), "{\"checkpoint\":1,\"ki").unwrap();
        let store = Store::open(&path, StoreOptions::default()).unwrap();
        store.record(allowed("a")).wait().unwrap();
        store.close().unwrap();
        assert_eq!(lines(&path).len(), 1);
    }
}
