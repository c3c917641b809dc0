//! Putting changed files in force while requests run: the keys, and the policies with all files they name.
//!
//! One loop does all of it, so no two changes race. A file is read again when it has changed and come to rest, and at SIGHUP when
//! its bytes are not those in force. A policy is loaded and its tests run off the request path; then the whole table of callers is
//! replaced at once. What is broken changes nothing: the one before stays in force, and a log line and a counter say so. Either way an
//! event does. Signals that come while a policy loads make one more look, however many they are.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::anyhow;
use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use portcullis_audit::{ChangeOutcome, ChangeSource, Commit};
use portcullis_policies::Policy;

use crate::changes::{self, Change};
use crate::config::Settings;
use crate::gate::{Gate, callers, held_to};
use crate::keys::KeyFile;
use crate::load::load_policy;
use crate::policy_files::CanarySettings;
use crate::rollout::{Canary, Held, Policies, Track, Window};
use crate::server::stray;

/// How often the loop looks whether a signal came.
pub(crate) const TICK: Duration = Duration::from_millis(100);
/// How often, in ticks, the files are looked at. A file that looks the same twice has come to rest.
pub(crate) const TICKS_PER_LOOK: u32 = 4;

/// Makes SIGHUP set a flag from now on, instead of ending the process.
///
/// # Errors
/// When the system does not allow it.
pub fn hangup() -> std::io::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGHUP, Arc::clone(&flag))?;
    Ok(flag)
}

/// What a file looked like: time of change of content and of the entry, length, and which file it is.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    changed: (i64, i64),
    bytes: u64,
    inode: u64,
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    let changed = (metadata.ctime(), metadata.ctime_nsec());
    Some(Stamp { modified: metadata.modified().ok(), changed, bytes: metadata.len(), inode: metadata.ino() })
}

/// Some files, and what they looked like when they were read last and at the last look.
#[derive(Clone)]
pub(crate) struct Watch {
    read: BTreeMap<PathBuf, Option<Stamp>>,
    seen: BTreeMap<PathBuf, Option<Stamp>>,
}

impl Watch {
    fn new(path: &Path) -> Self {
        Self::of([path.to_path_buf()])
    }

    /// Looks at the files as they are now.
    pub(crate) fn of(files: impl IntoIterator<Item = PathBuf>) -> Self {
        let now = stamps(files);
        Self { read: now.clone(), seen: now }
    }

    /// Whether the files are other ones than those read, and the same as at the last look: half a file is not read.
    pub(crate) fn has_changed(&mut self) -> bool {
        let now = stamps(self.read.keys().cloned());
        let at_rest = now == self.seen;
        self.seen = now;
        at_rest && self.seen != self.read
    }

    /// Notes that the files are read as they looked at the last look.
    pub(crate) fn is_read(&mut self) {
        self.read = self.seen.clone();
    }

    /// Notes that `files` were read, as they looked at `before`. What was not looked at then is looked at now.
    fn was_read(&mut self, files: Vec<PathBuf>, before: &BTreeMap<PathBuf, Option<Stamp>>) {
        let at = |file: PathBuf| {
            let seen = before.get(&file).copied().unwrap_or_else(|| stamp(&file));
            (file, seen)
        };
        self.read = files.into_iter().map(at).collect();
        self.seen = self.read.clone();
    }

    /// Unless what was read still stands, lets the next look at rest find a change.
    pub(crate) fn forget_unless(&mut self, stands: bool) {
        if !stands {
            self.read.values_mut().for_each(|stamp| *stamp = None);
        }
    }
}

fn stamps(files: impl IntoIterator<Item = PathBuf>) -> BTreeMap<PathBuf, Option<Stamp>> {
    let look = |file: PathBuf| {
        let stamp = stamp(&file);
        (file, stamp)
    };
    files.into_iter().map(look).collect()
}

/// The files of a configuration, as they looked before they were read for the start.
#[derive(Clone)]
pub struct Watched {
    keys: (PathBuf, Watch),
    policies: BTreeMap<(String, Track), (PathBuf, Watch)>,
    /// Of those that have one: the share of the keys and when it is taken back.
    canaries: BTreeMap<String, CanarySettings>,
}

impl Watched {
    /// Looks at the files that the configuration names.
    pub fn new(settings: &Settings) -> Self {
        let watch = |path: &Path| (path.to_path_buf(), Watch::new(path));
        let policies = settings.policy_files().map(|(name, track, path)| ((name.to_owned(), track), watch(path))).collect();
        let canaries = settings.policies.iter().filter_map(|(name, policy)| Some((name.clone(), policy.canary.clone()?))).collect();
        Self { keys: watch(&settings.keys), policies, canaries }
    }
}

/// The service that watches.
pub struct Reload {
    /// Whose keys and policies are replaced.
    pub gate: Arc<Gate>,
    /// The policies in force at the start.
    pub policies: Policies,
    /// The files they came from.
    pub watched: Watched,
    /// Set by SIGHUP.
    pub hangup: Arc<AtomicBool>,
}

#[async_trait]
impl BackgroundService for Reload {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let (policies, watched) = (self.policies.clone(), self.watched.clone());
        let mut state = InForce { gate: &self.gate, policies, watched, windows: BTreeMap::new(), commits: Vec::new() };
        for ((name, track), (_, watch)) in &mut state.watched.policies {
            if let Some(held) = self.policies.get(name).and_then(|rollout| rollout.on(*track)) {
                // The packs are known only now. One that changed since it was read is read again soon.
                let before = watch.read.clone();
                watch.was_read(held.policy.files().to_vec(), &before);
                watch.forget_unless(held.policy.is_current());
            }
        }
        for tick in 1_u32.. {
            tokio::select! {
                () = tokio::time::sleep(TICK) => {}
                _ = shutdown.changed() => return,
            }
            let told = self.hangup.swap(false, Ordering::Relaxed);
            if told || tick % TICKS_PER_LOOK == 0 {
                state.look(told).await;
            }
        }
    }
}

/// What the loop knows.
struct InForce<'a> {
    gate: &'a Gate,
    policies: Policies,
    watched: Watched,
    /// What is being compared, for each policy with a canary.
    windows: BTreeMap<String, Window>,
    /// Events of this look that may not be durable yet.
    commits: Vec<Commit>,
}

/// A version that is to be looked at.
#[derive(Clone, Copy)]
struct Asked<'a> {
    name: &'a str,
    track: Track,
    source: ChangeSource,
}

impl InForce<'_> {
    /// Looks at all files; `told` by a signal, at their bytes.
    async fn look(&mut self, told: bool) {
        let mut replaced = false;
        let mut watched = std::mem::take(&mut self.watched.policies);
        for ((name, track), (path, watch)) in &mut watched {
            // A canary that was taken back has to change before it is tried again.
            let held = || self.policies.get(name).and_then(|rollout| rollout.on(*track));
            let stale = || held().map_or(*track == Track::Stable, |held| !held.policy.is_current());
            if watch.has_changed() || (told && stale()) {
                let source = if told { ChangeSource::Sighup } else { ChangeSource::FileWatch };
                replaced |= self.reload_policy(Asked { name, track: *track, source }, path, watch).await;
            }
        }
        self.watched.policies = watched;
        replaced |= self.take_back();
        if replaced {
            self.gate.replace_callers(held_to(&self.policies, &self.gate.callers()));
        }
        if self.watched.keys.1.has_changed() || told {
            self.reload_keys();
        }
        for commit in std::mem::take(&mut self.commits) {
            changes::told(commit.await.map(drop));
        }
    }

    /// Loads one policy. True when another version has to be put in force.
    async fn reload_policy(&mut self, asked: Asked<'_>, path: &Path, watch: &mut Watch) -> bool {
        let before = stamps(watch.read.keys().cloned());
        let file = path.to_path_buf();
        let load = move || {
            let mut files = Vec::new();
            let loaded = load_policy(&file, &mut files);
            (loaded, files)
        };
        // The runtime is this service's own, and the work is long: a blocking thread leaves the loop able to stop.
        let Ok((loaded, files)) = tokio::task::spawn_blocking(load).await else {
            watch.was_read(before.keys().cloned().collect(), &before);
            tracing::error!(policy = asked.name, "loading a changed policy panicked; the one before stays in force");
            self.refused(asked, "panic");
            return false;
        };
        watch.was_read(files, &before);
        match loaded {
            Err(error) => {
                let class = error.class();
                tracing::error!(
                    policy = asked.name,
                    track = asked.track.as_str(),
                    error = error.told(),
                    "a changed policy is broken; the one before stays in force"
                );
                self.refused(asked, class);
                false
            }
            Ok(policy) => {
                let stands = policy.is_current();
                watch.forget_unless(stands);
                // What was read while it was being written is no version of anybody's.
                stands && self.put_in_force(asked, policy)
            }
        }
    }

    /// Counts and records a version that is not put in force.
    fn refused(&mut self, asked: Asked<'_>, reason: &'static str) {
        let Asked { name, track, source } = asked;
        self.gate.metrics.policy_reload_failed(name);
        let held = self.policies.get(name).and_then(|rollout| rollout.on(track));
        let before = held.map_or("", |held| held.policy.version());
        let outcome = ChangeOutcome::Refused;
        let change = Change { policy: name, track, source, outcome, before, version: "", percent: None, reason };
        self.commits.push(change.record(&self.gate.store));
    }

    fn put_in_force(&mut self, asked: Asked<'_>, policy: Policy) -> bool {
        let Asked { name, track, source } = asked;
        let Some(rollout) = self.policies.get_mut(name) else { return false };
        let before = rollout.on(track).map_or(String::new(), |held| held.policy.version().to_owned());
        if before == policy.version() {
            return false;
        }
        let held = Held::new(name, track, policy);
        let policy = Arc::clone(&held.policy);
        match (track, self.watched.canaries.get(name)) {
            (Track::Stable, _) => rollout.stable = held,
            (Track::Canary, Some(settings)) => {
                rollout.canary = Some(Canary { held, percent: settings.percent, rollback: settings.rollback });
            }
            (Track::Canary, None) => return false,
        }
        let version = policy.version();
        let (outcome, percent) = (changes::outcome(rollout, track, &before), rollout.percent(track));
        let change = Change { policy: name, track, source, outcome, before: &before, version, percent, reason: "" };
        self.commits.push(change.record(&self.gate.store));
        let track = track.as_str();
        self.gate.metrics.policy_in_force(name, track, Some(&before), version);
        tracing::info!(policy = name, track, version, before, rules = policy.rules().count(), "a changed policy is in force");
        true
    }

    /// Takes canaries back that do worse than the version beside them. True when there was one.
    fn take_back(&mut self) -> bool {
        let mut took = false;
        for (name, rollout) in &mut self.policies {
            let reason = self.windows.get(name).filter(|window| window.compares(rollout)).and_then(|window| window.reason(rollout));
            if let Some(reason) = reason
                && let Some(canary) = rollout.canary.take()
            {
                let version = canary.held.policy.version();
                self.gate.metrics.policy_taken_back(name, version, reason);
                let (track, source, outcome) = (Track::Canary, ChangeSource::Rollout, ChangeOutcome::RolledBack);
                let back = rollout.stable.policy.version();
                let percent = Some(canary.percent);
                let change = Change { policy: name, track, source, outcome, before: version, version: back, percent, reason };
                self.commits.push(change.record(&self.gate.store));
                tracing::error!(policy = name, version, reason, "the canary was taken back; it is tried again when its file changes");
                took = true;
            }
            if self.windows.get(name).is_none_or(|window| window.is_over(rollout)) {
                match Window::open(rollout) {
                    Some(window) => self.windows.insert(name.clone(), window),
                    None => self.windows.remove(name),
                };
            }
        }
        took
    }

    fn reload_keys(&mut self) {
        let (path, watch) = &mut self.watched.keys;
        let seen = stamps([path.clone()]);
        let before = self.gate.callers();
        watch.was_read(vec![path.clone()], &seen);
        match KeyFile::load(path) {
            Ok(file) => {
                if let Some((key, policy)) = stray(&file, &self.policies) {
                    // Only such keys are refused: a revocation in the same file must not wait for them.
                    self.gate.metrics.key_reload_failures.inc();
                    tracing::error!(key, policy, "a key names a policy that does not exist; it is refused, the others are in force");
                }
                self.gate.replace_callers(callers(&file, &self.policies, Some(&before)));
                tracing::info!("the key file was read again; its keys are in force");
            }
            Err(error) => {
                self.gate.metrics.key_reload_failures.inc();
                tracing::error!(error = %format!("{:#}", anyhow!(error)), "the key file changed and is broken; the old keys stay in force");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_again_when_it_has_changed_and_come_to_rest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.yaml");
        std::fs::write(&path, "1").unwrap();
        let mut watch = Watch::new(&path);
        assert!(!watch.has_changed());
        std::fs::write(&path, "12").unwrap();
        assert!(!watch.has_changed(), "it may still be written");
        std::fs::write(&path, "123").unwrap();
        assert!(!watch.has_changed(), "and it was");
        assert!(watch.has_changed() && watch.has_changed(), "until it is read");
        let before = watch.seen.clone();
        watch.was_read(vec![path.clone()], &before);
        assert!(!watch.has_changed());
        std::fs::remove_file(&path).unwrap();
        assert!(!watch.has_changed());
        assert!(watch.has_changed(), "a file that is gone has changed");
    }

    #[test]
    fn what_changes_while_it_is_read_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.yaml");
        std::fs::write(&path, "1").unwrap();
        let mut watch = Watch::new(&path);
        let before = watch.seen.clone();
        std::fs::write(&path, "12").unwrap();
        watch.was_read(vec![path.clone()], &before);
        assert!(!watch.has_changed());
        assert!(watch.has_changed());
        let now = watch.seen.clone();
        watch.was_read(vec![path], &now);
        watch.forget_unless(false);
        assert!(watch.has_changed(), "what was read torn is read again at once");
    }
}
