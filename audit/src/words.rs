//! The fixed words of an event: enums that are the same on disk, in metrics and on the command line.

use serde::{Deserialize, Serialize};

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The screening's verdict over a request.
    #[default]
    Decision,
    /// The end of a forwarded request, however it ended.
    Completion,
    /// The request was refused before it was screened: malformed, too large, unknown model.
    Rejected,
    /// The caller's key is missing, unknown or revoked.
    AuthFailure,
    /// The caller is over a limit.
    Limit,
    /// Another version of a policy is in force, or was refused.
    PolicyChange,
    /// Somebody changed something about the gateway by hand.
    Admin,
    /// An alert was delivered or given up.
    Alert,
}

/// What made the gateway look for another version of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeSource {
    /// It was started.
    Start,
    /// It saw that a file had changed.
    FileWatch,
    /// It was told by a signal.
    Sighup,
    /// It compared the versions of a rollout.
    Rollout,
}

/// What became of another version of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeOutcome {
    /// It is in force for all keys that no canary has.
    InForce,
    /// It is broken; the one before stays in force.
    Refused,
    /// Some keys try it.
    RolloutStart,
    /// The keys that try a version try another one.
    RolloutStep,
    /// The version that some keys tried is the one for all.
    RolloutComplete,
    /// The version that some keys tried was taken back.
    RolledBack,
}

/// What was done with a request, or would have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Forwarded as it came.
    Allow,
    /// Forwarded as it came, with findings.
    Flag,
    /// Forwarded with parts replaced by placeholders, which the answer has put back.
    Pseudonymize,
    /// Forwarded with parts replaced.
    Redact,
    /// Stopped because of its text.
    Block,
    /// Stopped for another reason: framing, key, limit.
    Refused,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Low,
    /// Worth a look.
    Medium,
    /// Worth an action.
    High,
    /// Worth an alarm.
    Critical,
}

/// Which way a text travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From the client to the model.
    Request,
    /// From the model to the client.
    Response,
}

/// Whether a policy acts or only watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// It acts.
    Enforce,
    /// It watches: nothing is stopped or changed.
    Monitor,
}

/// Where token counts come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokensSource {
    /// The upstream's `usage`.
    Measured,
    /// The gateway's own estimate.
    Estimated,
}

macro_rules! words {
    ($type:ident { $($variant:ident => $word:literal),+ $(,)? }) => {
        impl $type {
            /// Every value, in the order of declaration.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Returns the word used on disk, in metrics and on the command line.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl std::str::FromStr for $type {
            type Err = String;

            fn from_str(word: &str) -> Result<Self, String> {
                match word {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(format!("`{}` is none of {}", word.escape_debug(), [$($word),+].join(", "))),
                }
            }
        }
    };
}

pub(crate) use words;

words!(Kind {
    Decision => "decision",
    Completion => "completion",
    Rejected => "rejected",
    AuthFailure => "auth_failure",
    Limit => "limit",
    PolicyChange => "policy_change",
    Admin => "admin",
    Alert => "alert",
});
words!(ChangeSource { Start => "start", FileWatch => "file_watch", Sighup => "sighup", Rollout => "rollout" });
words!(ChangeOutcome {
    InForce => "in_force",
    Refused => "refused",
    RolloutStart => "rollout_start",
    RolloutStep => "rollout_step",
    RolloutComplete => "rollout_complete",
    RolledBack => "rolled_back",
});
words!(Decision { Allow => "allow", Flag => "flag", Pseudonymize => "pseudonymize", Redact => "redact", Block => "block", Refused => "refused" });
words!(Severity { Low => "low", Medium => "medium", High => "high", Critical => "critical" });
words!(Direction { Request => "request", Response => "response" });
words!(Mode { Enforce => "enforce", Monitor => "monitor" });
words!(TokensSource { Measured => "measured", Estimated => "estimated" });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_the_same_on_disk_and_on_the_command_line() {
        macro_rules! check {
            ($($type:ident),+) => {$(
                for value in $type::ALL {
                    assert_eq!(serde_json::to_string(value).unwrap(), format!("\"{}\"", value.as_str()));
                    assert_eq!(value.as_str().parse::<$type>(), Ok(*value));
                }
            )+};
        }
        check!(Kind, ChangeSource, ChangeOutcome, Decision, Severity, Direction, Mode, TokensSource);
        let error = "no\nkind".parse::<Kind>().unwrap_err();
        assert_eq!(error, "`no\\nkind` is none of decision, completion, rejected, auth_failure, limit, policy_change, admin, alert");
    }
}
