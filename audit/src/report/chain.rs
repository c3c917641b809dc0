//! What was proven of the events that a report is made of.

use serde::Serialize;

use crate::verify;

/// How the events of a period stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// They fit together, and a signed checkpoint confirms each of them.
    Proven,
    /// They fit together; a signed checkpoint confirms all but the last ones.
    PartlySigned,
    /// They fit together, and no checkpoint confirms any: nothing shows who wrote them.
    Unproven,
    /// Some were changed, removed or moved.
    Tampered,
    /// There are none, and nothing says that there were.
    Empty,
}

impl Standing {
    /// Returns the stable word, the same as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Proven => "proven",
            Self::PartlySigned => "partly_signed",
            Self::Unproven => "unproven",
            Self::Tampered => "tampered",
            Self::Empty => "empty",
        }
    }
}

/// The result of checking the chain from the event before the period to the checkpoint after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChainProof {
    /// The store's id.
    pub store_id: String,
    /// The result in a word.
    pub standing: Standing,
    /// Events checked: those of the period, of every tenant, and the few around it.
    pub checked: u64,
    /// Number of the first event checked.
    pub first: Option<i64>,
    /// Number of the last.
    pub last: Option<i64>,
    /// Number of the first event of the period, whoever's it is.
    pub period_first: Option<i64>,
    /// Number of the last.
    pub period_last: Option<i64>,
    /// The highest number that a checkpoint confirmed.
    pub signed_to: Option<i64>,
    /// Events of the period above it.
    pub unsigned: u64,
    /// Checkpoints compared.
    pub checkpoints: u64,
    /// Retention removed the events up to this number, at this moment (microseconds since 1970); signed. Some may have been of the period.
    pub removed: Option<(i64, i64)>,
    /// Events that cannot be read any more, and are in no number of the report.
    pub unreadable: u64,
    /// The first problems, in words.
    pub problems: Vec<String>,
    /// How many there are.
    pub problem_count: u64,
    /// The public keys whose checkpoints counted.
    pub keys: Vec<String>,
    /// Whether the store named these itself: then they show nothing about someone who could change the store.
    pub keys_self_named: bool,
    /// Lines of the checkpoint file that are none.
    pub unreadable_lines: u64,
}

/// What stands beside a verification's own result.
pub(super) struct Around {
    pub store_id: String,
    pub period: Option<(i64, i64)>,
    pub unreadable: u64,
    pub keys: Vec<String>,
    pub keys_self_named: bool,
    pub unreadable_lines: u64,
}

impl ChainProof {
    pub(super) fn new(found: &verify::Report, around: Around) -> Self {
        let period_last = around.period.map(|(_, last)| last);
        let period_first = around.period.map(|(first, _)| first);
        let unsigned = period_first.zip(period_last).map_or(0, |(first, last)| {
            let signed_to = found.signed_to.unwrap_or(i64::MIN).max(first.saturating_sub(1));
            last.saturating_sub(signed_to).max(0).unsigned_abs()
        });
        let standing = match (found.is_good(), found.signed_to) {
            (false, _) => Standing::Tampered,
            (true, _) if found.events == 0 => Standing::Empty,
            (true, Some(signed_to)) if period_first.is_none_or(|first| signed_to >= first) => {
                if unsigned == 0 {
                    Standing::Proven
                } else {
                    Standing::PartlySigned
                }
            }
            (true, _) => Standing::Unproven,
        };
        let Around { store_id, unreadable, keys, keys_self_named, unreadable_lines, .. } = around;
        Self {
            store_id,
            standing,
            checked: found.events,
            first: found.first,
            last: found.last,
            period_first,
            period_last,
            signed_to: found.signed_to,
            unsigned,
            checkpoints: found.checkpoints,
            removed: found.removed,
            unreadable,
            problems: found.problems.iter().map(ToString::to_string).collect(),
            problem_count: found.problem_count,
            keys,
            keys_self_named,
            unreadable_lines,
        }
    }
}
