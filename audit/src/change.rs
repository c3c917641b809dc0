//! A change of the policy in force, as its event tells it: what, from which version, on whose word.
//!
//! The event's own fields say the rest: `policy` (the name in the configuration), `policy_version` (the new version; empty where none was
//! made) and `outcome`, one of [`ChangeOutcome`]'s words.

use serde::{Deserialize, Serialize};

use crate::event::{NAME_BYTES_MAX, shorten};
use crate::words::ChangeSource;

/// What a `policy_change` event knows beside the policy's name, its new version and the outcome.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PolicyChange {
    /// What made the gateway look.
    pub source: ChangeSource,
    /// Which version was changed: `stable`, or `canary` for one that some keys try first.
    pub track: String,
    /// The version before; absent at a start.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version_before: String,
    /// Share of the keys that try a canary, percent, 0..=100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<f64>,
    /// Why it was refused or taken back, a stable class.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

impl PolicyChange {
    /// Cuts every part to its bound; says whether anything was.
    pub(crate) fn bound(&mut self) -> bool {
        // JSON has no NaN: a share that is no number would come back as no event at all.
        self.percent = self.percent.filter(|percent| percent.is_finite());
        let Self { track, version_before, reason, .. } = self;
        [track, version_before, reason].into_iter().fold(false, |cut, name| cut | shorten(name, NAME_BYTES_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ChangeOutcome, Event, Kind};

    fn change(reason: &str, percent: Option<f64>) -> PolicyChange {
        let version_before = "0123456789abcdef".to_owned();
        PolicyChange { source: ChangeSource::FileWatch, track: "canary".into(), version_before, percent, reason: reason.into() }
    }

    #[test]
    fn a_change_survives_json_and_belongs_to_no_request() {
        let event = Event::of_change("default", ChangeOutcome::Refused, change("faults", None));
        assert_eq!((event.kind, event.request_id.as_str(), event.policy.as_str()), (Kind::PolicyChange, "", "default"));
        let json = serde_json::to_string(&event).unwrap();
        let told = r#""change":{"source":"file_watch","track":"canary","version_before":"0123456789abcdef","reason":"faults"}"#;
        assert!(json.contains(told) && json.contains(r#""outcome":"refused""#), "{json}");
        assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), event);
    }

    #[test]
    fn a_change_is_cut_at_its_bounds() {
        let sound = Event::of_change("p", ChangeOutcome::RolloutStart, change("", Some(12.5))).bounded();
        assert_eq!((sound.change.as_ref().and_then(|change| change.percent), sound.cut), (Some(12.5), false));
        let long = Event::of_change("p", ChangeOutcome::RolledBack, change(&"x".repeat(1000), Some(f64::NAN))).bounded();
        let kept = long.change.unwrap();
        assert_eq!((kept.reason.len(), kept.percent, long.cut), (NAME_BYTES_MAX, None, true));
    }
}
