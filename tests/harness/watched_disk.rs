//! A disk that keeps account: every write and sync that SQLite does in one folder is noted, and can be made slow or made to fail.
//!
//! It is a VFS between SQLite and the system's own, the default of the test's process; files outside watched folders pass through.
//! From the notes a [`Crash`] makes what a loss of power would have left: all that was synced, and of the rest any part, by sector.

mod vfs;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What a disk writes as a whole or not at all.
const SECTOR_BYTES: usize = 512;
/// Stands for "from now on, all of them".
const ALL: u64 = u64::MAX / 2;

/// One thing done to a file.
#[derive(Clone, Debug)]
enum Deed {
    Write {
        at: usize,
        bytes: Vec<u8>,
    },
    Cut {
        len: usize,
    },
    Sync,
    /// A sync that failed: what it was to save is no longer known to any later sync.
    SyncFailed,
    /// Taken out of its folder; the folder is not synced.
    Removed,
    /// Taken out of its folder, which is synced.
    Gone,
}

#[derive(Clone, Debug)]
enum Note {
    Did { file: PathBuf, deed: Deed },
    Mark(u64),
}

#[derive(Debug, Default)]
struct Watch {
    notes: Mutex<Vec<Note>>,
    syncs: AtomicU64,
    sync_micros: AtomicU64,
    /// Number of the first sync that fails; 0 for none ...
    fail_from: AtomicU64,
    /// ... and how many do from there on.
    fail_count: AtomicU64,
    /// Files of which a handle was synced once more after that had failed.
    synced_again: Mutex<Vec<PathBuf>>,
    /// Bytes that may still be written; [`ALL`] for any number.
    room: AtomicU64,
}

impl Watch {
    fn note(&self, note: Note) {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).push(note);
    }
}

/// A watched folder.
#[derive(Clone, Debug)]
pub struct WatchedDisk {
    folder: PathBuf,
    /// What its files held when the watch began.
    before: BTreeMap<PathBuf, Vec<u8>>,
    watch: Arc<Watch>,
}

impl WatchedDisk {
    /// Watches `folder` from now on. SQLite connections opened before are not seen.
    pub fn over(folder: &Path) -> Self {
        let folder = folder.canonicalize().expect("a folder");
        let watch = Arc::new(Watch { room: AtomicU64::new(ALL), ..Watch::default() });
        vfs::install();
        vfs::watched().push((folder.clone(), Arc::clone(&watch)));
        let files = std::fs::read_dir(&folder).expect("a readable folder").map(|entry| entry.expect("an entry").path());
        let before =
            files.filter(|path| path.is_file()).map(|path| (path.clone(), std::fs::read(&path).expect("a readable file"))).collect();
        Self { folder, before, watch }
    }

    /// Notes that something was promised: `number` is whatever the test counts.
    pub fn mark(&self, number: u64) {
        self.watch.note(Note::Mark(number));
    }

    /// How many syncs there were.
    pub fn syncs(&self) -> u64 {
        self.watch.syncs.load(Relaxed)
    }

    /// The names of files of which a handle was synced once more after that had failed; whoever trusts such a sync loses data.
    pub fn synced_again(&self) -> Vec<String> {
        let files = self.watch.synced_again.lock().unwrap_or_else(PoisonError::into_inner);
        files.iter().filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect()
    }

    /// Makes each sync take this long.
    pub fn slow_syncs(&self, time: Duration) {
        self.watch.sync_micros.store(time.as_micros() as u64, Relaxed);
    }

    /// Makes `count` syncs fail with an input/output error, after `first` more that work.
    pub fn fail_syncs(&self, first: u64, count: u64) {
        self.watch.fail_count.store(count, Relaxed);
        self.watch.fail_from.store(self.syncs() + first + 1, Relaxed);
    }

    /// Whether all failures asked for have happened.
    pub fn has_failed(&self) -> bool {
        let from = self.watch.fail_from.load(Relaxed);
        from > 0 && self.syncs() >= from + self.watch.fail_count.load(Relaxed) - 1
    }

    /// Lets `bytes` more be written, the last write in part; then the disk is full.
    pub fn leave_room(&self, bytes: u64) {
        self.watch.room.store(bytes, Relaxed);
    }

    /// Gives the disk all the room in the world again.
    pub fn empty(&self) {
        self.watch.room.store(ALL, Relaxed);
    }

    /// How many things were noted until now.
    pub fn notes(&self) -> usize {
        self.watch.notes.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// What the power leaves when it goes after the first `notes` things; `keep` says for each sector not synced whether it is there.
    pub fn crash(&self, notes: usize, mut keep: impl FnMut() -> bool) -> Crash {
        let mut files: BTreeMap<PathBuf, File> =
            self.before.iter().map(|(path, bytes)| (path.clone(), File { synced: Some(bytes.clone()), ..File::default() })).collect();
        let mut promised = Vec::new();
        for note in self.watch.notes.lock().unwrap_or_else(PoisonError::into_inner).iter().take(notes) {
            match note {
                Note::Mark(number) => promised.push(*number),
                Note::Did { file, deed } => files.entry(file.clone()).or_default().take(deed, &mut keep),
            }
        }
        let files = files.into_iter().filter_map(|(path, file)| Some((path, file.left(&mut keep)?))).collect();
        Crash { folder: self.folder.clone(), files, promised }
    }
}

/// What a crash leaves.
#[derive(Debug)]
pub struct Crash {
    folder: PathBuf,
    files: BTreeMap<PathBuf, Vec<u8>>,
    /// What had been promised by then, in order.
    pub promised: Vec<u64>,
}

impl Crash {
    /// Writes the files that are left into another folder.
    pub fn write(&self, folder: &Path) {
        for (path, bytes) in &self.files {
            let name = path.strip_prefix(&self.folder).expect("a file of the watched folder");
            std::fs::write(folder.join(name), bytes).expect("a writable folder");
        }
    }
}

/// A file as a crash may find it.
#[derive(Clone, Debug, Default)]
struct File {
    /// What is on the disk for certain; `None` where not even the file is.
    synced: Option<Vec<u8>>,
    /// What was done since.
    pending: Vec<Deed>,
    /// What a failed sync was to save, before `pending`: the system has forgotten that it is not on the disk.
    forgotten: Vec<Deed>,
}

impl File {
    fn take(&mut self, deed: &Deed, keep: &mut impl FnMut() -> bool) {
        match deed {
            Deed::Sync => {
                let mut bytes = self.synced.take().unwrap_or_default();
                // What was forgotten went to the disk or did not. Where it was written anew since, that counts.
                for deed in self.forgotten.drain(..) {
                    apply(&mut bytes, &deed, keep);
                }
                for deed in self.pending.drain(..) {
                    apply(&mut bytes, &deed, &mut || true);
                }
                self.synced = Some(bytes);
            }
            Deed::Gone => *self = Self::default(),
            Deed::SyncFailed => self.forgotten.append(&mut self.pending),
            other => self.pending.push(other.clone()),
        }
    }

    fn left(self, keep: &mut impl FnMut() -> bool) -> Option<Vec<u8>> {
        let there = self.synced.is_some();
        let mut bytes = self.synced.unwrap_or_default();
        let mut removed = false;
        for deed in self.forgotten.iter().chain(&self.pending) {
            if matches!(deed, Deed::Removed) {
                removed |= keep();
            } else {
                apply(&mut bytes, deed, keep);
            }
        }
        ((there || !bytes.is_empty()) && !removed).then_some(bytes)
    }
}

/// Does it to `bytes`, as far as `keep` lets each sector through.
fn apply(bytes: &mut Vec<u8>, deed: &Deed, keep: &mut impl FnMut() -> bool) {
    match deed {
        Deed::Write { at, bytes: new } => {
            let mut from = 0;
            while from < new.len() {
                let to = new.len().min(from + SECTOR_BYTES - (at + from) % SECTOR_BYTES);
                if keep() {
                    if bytes.len() < at + to {
                        bytes.resize(at + to, 0);
                    }
                    bytes[at + from..at + to].copy_from_slice(&new[from..to]);
                }
                from = to;
            }
        }
        Deed::Cut { len } if keep() => bytes.truncate(*len),
        Deed::Removed => bytes.clear(),
        Deed::Cut { .. } | Deed::Sync | Deed::SyncFailed | Deed::Gone => {}
    }
}
