//! The VFS of watched disks: SQLite's calls, noted and handed on to the system's own.
#![expect(unsafe_code, reason = "SQLite's VFS is an interface in C")]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rusqlite::ffi;

use super::{ALL, Deed, Note, Watch};

/// The folders and their watches.
pub(super) fn watched() -> std::sync::MutexGuard<'static, Vec<(PathBuf, Arc<Watch>)>> {
    static WATCHED: Mutex<Vec<(PathBuf, Arc<Watch>)>> = Mutex::new(Vec::new());
    WATCHED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn watch_of(path: &Path) -> Option<Arc<Watch>> {
    watched().iter().rev().find(|(folder, _)| path.starts_with(folder)).map(|(_, watch)| Arc::clone(watch))
}

/// What lies before the system's own file in the memory that SQLite gives for it.
#[repr(C)]
struct Handle {
    base: ffi::sqlite3_file,
    known: *mut Known,
}

/// Whose file it is.
struct Known {
    path: PathBuf,
    watch: Option<Arc<Watch>>,
    sync_failed: bool,
}

struct Vfs {
    real: *mut ffi::sqlite3_vfs,
}

// SAFETY: SQLite's VFS objects are made for use by all threads.
unsafe impl Send for Vfs {}
// SAFETY: as above.
unsafe impl Sync for Vfs {}

static REAL: OnceLock<Vfs> = OnceLock::new();

/// Registers the VFS as the default, once.
pub(super) fn install() {
    REAL.get_or_init(|| {
        // SAFETY: the default VFS lives as long as the process; ours is leaked, so it does too. The copy keeps the functions that do
        // not look at files; each takes the VFS only to find settings that are copied with it.
        unsafe {
            let real = ffi::sqlite3_vfs_find(std::ptr::null());
            assert!(!real.is_null(), "SQLite has a default VFS");
            let mut ours = Box::new(*real);
            ours.szOsFile = c_int::try_from(size_of::<Handle>()).expect("a small size") + (*real).szOsFile;
            ours.pNext = std::ptr::null_mut();
            ours.zName = c"watched".as_ptr();
            ours.xOpen = Some(open);
            ours.xDelete = Some(delete);
            let code = ffi::sqlite3_vfs_register(Box::into_raw(ours), 1);
            assert_eq!(code, ffi::SQLITE_OK, "the VFS is registered");
            Vfs { real }
        }
    });
}

fn real_vfs() -> *mut ffi::sqlite3_vfs {
    REAL.get().expect("an installed VFS").real
}

unsafe extern "C" fn open(
    _: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gives `szOsFile` bytes at `file`, aligned to eight or more, and `name` is null or a C string.
    unsafe {
        let handle = file.cast::<Handle>();
        (*handle).base.pMethods = std::ptr::null();
        let code = ((*real_vfs()).xOpen.expect("xOpen"))(real_vfs(), name, under(file), flags, out);
        if code == ffi::SQLITE_OK {
            let path = if name.is_null() { PathBuf::new() } else { path(name) };
            let known = Known { watch: watch_of(&path), path, sync_failed: false };
            (*handle).known = Box::into_raw(Box::new(known));
            (*handle).base.pMethods = &METHODS;
        }
        code
    }
}

unsafe extern "C" fn delete(_: *mut ffi::sqlite3_vfs, name: *const c_char, sync: c_int) -> c_int {
    // SAFETY: `name` is a C string.
    let (path, code) = unsafe { (path(name), ((*real_vfs()).xDelete.expect("xDelete"))(real_vfs(), name, sync)) };
    if let (ffi::SQLITE_OK, Some(watch)) = (code, watch_of(&path)) {
        watch.note(Note::Did { file: path, deed: if sync == 0 { Deed::Removed } else { Deed::Gone } });
    }
    code
}

unsafe fn path(name: *const c_char) -> PathBuf {
    // SAFETY: the caller gives a C string.
    PathBuf::from(unsafe { CStr::from_ptr(name) }.to_str().expect("a path in UTF-8"))
}

/// The system's own file.
unsafe fn under(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
    // SAFETY: it lies behind the handle in the memory that `szOsFile` asks for.
    unsafe { file.cast::<Handle>().add(1).cast() }
}

unsafe fn known<'a>(file: *mut ffi::sqlite3_file) -> &'a mut Known {
    // SAFETY: set when the file was opened, freed when it is closed; SQLite uses a file from one thread at a time.
    unsafe { &mut *(*file.cast::<Handle>()).known }
}

/// Hands a call on to the system's own file.
macro_rules! pass {
    ($name:ident, $method:ident $(, $argument:ident: $kind:ty)*) => {
        unsafe extern "C" fn $name(file: *mut ffi::sqlite3_file $(, $argument: $kind)*) -> c_int {
            // SAFETY: the file was opened by the system's VFS, whose methods are all there.
            unsafe { ((*(*under(file)).pMethods).$method.expect("a method of the system's VFS"))(under(file) $(, $argument)*) }
        }
    };
}

pass!(read, xRead, into: *mut c_void, bytes: c_int, at: i64);
pass!(real_write, xWrite, from: *const c_void, bytes: c_int, at: i64);
pass!(real_truncate, xTruncate, len: i64);
pass!(real_sync, xSync, flags: c_int);
pass!(real_close, xClose);
pass!(file_size, xFileSize, into: *mut i64);
pass!(lock, xLock, how: c_int);
pass!(unlock, xUnlock, how: c_int);
pass!(is_reserved, xCheckReservedLock, into: *mut c_int);
pass!(control, xFileControl, what: c_int, with: *mut c_void);
pass!(sector_size, xSectorSize);
pass!(characteristics, xDeviceCharacteristics);
pass!(shm_map, xShmMap, page: c_int, size: c_int, extend: c_int, into: *mut *mut c_void);
pass!(shm_lock, xShmLock, offset: c_int, count: c_int, flags: c_int);
pass!(shm_unmap, xShmUnmap, remove: c_int);

unsafe extern "C" fn shm_barrier(file: *mut ffi::sqlite3_file) {
    // SAFETY: as in `pass`.
    unsafe { ((*(*under(file)).pMethods).xShmBarrier.expect("a method of the system's VFS"))(under(file)) }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: SQLite closes a file once.
    unsafe {
        let code = real_close(file);
        drop(Box::from_raw((*file.cast::<Handle>()).known));
        code
    }
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, from: *const c_void, bytes: c_int, at: i64) -> c_int {
    // SAFETY: `from` has `bytes` bytes.
    unsafe {
        let Known { path, watch: Some(watch), .. } = known(file) else { return real_write(file, from, bytes, at) };
        let wanted = u64::from(bytes.unsigned_abs());
        let room = watch.room.load(Relaxed);
        let taken = wanted.min(room);
        if room < ALL {
            watch.room.store(room - taken, Relaxed);
        }
        let code = if taken > 0 { real_write(file, from, taken as c_int, at) } else { ffi::SQLITE_OK };
        if code != ffi::SQLITE_OK {
            return code;
        }
        let new = std::slice::from_raw_parts(from.cast::<u8>(), taken as usize).to_vec();
        watch.note(Note::Did { file: path.clone(), deed: Deed::Write { at: at as usize, bytes: new } });
        if taken < wanted { ffi::SQLITE_FULL } else { ffi::SQLITE_OK }
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, len: i64) -> c_int {
    // SAFETY: as in `pass`.
    unsafe {
        let code = real_truncate(file, len);
        if let (ffi::SQLITE_OK, Known { path, watch: Some(watch), .. }) = (code, known(file)) {
            watch.note(Note::Did { file: path.clone(), deed: Deed::Cut { len: len as usize } });
        }
        code
    }
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: as in `pass`.
    unsafe {
        let Known { path, watch: Some(watch), sync_failed } = known(file) else { return real_sync(file, flags) };
        let number = watch.syncs.fetch_add(1, Relaxed) + 1;
        if *sync_failed {
            watch.synced_again.lock().unwrap_or_else(PoisonError::into_inner).push(path.clone());
        }
        std::thread::sleep(Duration::from_micros(watch.sync_micros.load(Relaxed)));
        let from = watch.fail_from.load(Relaxed);
        let fails = from > 0 && (from..from + watch.fail_count.load(Relaxed)).contains(&number);
        *sync_failed |= fails;
        let deed = if fails { Deed::SyncFailed } else { Deed::Sync };
        watch.note(Note::Did { file: path.clone(), deed });
        // Nothing here needs the machine's own disk: what a loss of power would leave is told by the notes.
        if fails { ffi::SQLITE_IOERR_FSYNC } else { ffi::SQLITE_OK }
    }
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(is_reserved),
    xFileControl: Some(control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};
