//! The record of which policies were in force: one event for each version that is put in force, refused, tried or taken back.

use portcullis_audit::{AuditError, ChangeOutcome, ChangeSource, Commit, Event, PolicyChange, Store};

use crate::rollout::{Policies, Rollout, Track};

/// What became of one version of one policy.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// Name of the policy in the configuration.
    pub policy: &'a str,
    /// For whom the version is.
    pub track: Track,
    /// Who asked for it.
    pub source: ChangeSource,
    /// What became of it.
    pub outcome: ChangeOutcome,
    /// The version before; empty where there was none.
    pub before: &'a str,
    /// The version now; empty where none was made.
    pub version: &'a str,
    /// Share of the keys that try it, percent.
    pub percent: Option<f64>,
    /// Why it was refused or taken back: one of a closed set of words.
    pub reason: &'static str,
}

impl Change<'_> {
    /// Hands the event to the store; it stands before the events of every request that is decided after this.
    pub fn record(&self, store: &Store) -> Commit {
        let change = PolicyChange {
            source: self.source,
            track: self.track.as_str().to_owned(),
            version_before: self.before.to_owned(),
            percent: self.percent,
            reason: self.reason.to_owned(),
        };
        let mut event = Event::of_change(self.policy, self.outcome, change);
        self.version.clone_into(&mut event.policy_version);
        store.record(event)
    }
}

/// Says what has become of a version that was loaded: `rollout` is how things are with it.
pub fn outcome(rollout: &Rollout, track: Track, before: &str) -> ChangeOutcome {
    let canary = rollout.canary.as_ref().map(|canary| canary.held.policy.version());
    match track {
        Track::Stable if canary == Some(rollout.stable.policy.version()) => ChangeOutcome::RolloutComplete,
        Track::Stable => ChangeOutcome::InForce,
        Track::Canary if before.is_empty() => ChangeOutcome::RolloutStart,
        Track::Canary => ChangeOutcome::RolloutStep,
    }
}

/// Records all policies in force at a start and waits until they are. One that cannot be recorded is told in the log: answers wait for
/// records of their own.
pub fn record_start(store: &Store, policies: &Policies) {
    let mut commits = Vec::new();
    for (policy, rollout) in policies {
        for (track, outcome) in [(Track::Stable, ChangeOutcome::InForce), (Track::Canary, ChangeOutcome::RolloutStart)] {
            if let Some(held) = rollout.on(track) {
                let (version, percent) = (held.policy.version(), rollout.percent(track));
                let change = Change { policy, track, source: ChangeSource::Start, outcome, before: "", version, percent, reason: "" };
                commits.push(change.record(store));
            }
        }
    }
    for commit in commits {
        told(commit.wait().map(drop));
    }
}

/// Tells the log about a change that could not be recorded.
pub fn told(receipt: Result<(), AuditError>) {
    if let Err(error) = receipt {
        tracing::error!(%error, "a change of a policy could not be put on record");
    }
}
