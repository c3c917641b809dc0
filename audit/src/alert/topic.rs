//! What an alert can be about: an event on record, or something that a part of the gateway raises.

use crate::{Kind, Severity};

/// What an alert is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// A prompt's verdict.
    Decision,
    /// The end of a forwarded request: what was found in the answer.
    Completion,
    /// A request refused before it was screened.
    Rejected,
    /// A key that is missing, unknown or revoked.
    AuthFailure,
    /// A caller over a limit.
    Limit,
    /// A version of a policy that was refused or taken back, or came into force.
    PolicyChange,
    /// An operator destroyed keys of stored text.
    Admin,
    /// An answer held a canary token.
    Canary,
    /// Events wait for ClickHouse, or it takes them no more.
    ClickhouseBacklog,
    /// Events cannot be made durable.
    StoreFailing,
    /// The audit trail was found changed.
    ChainBroken,
    /// Somebody tries the channel.
    Test,
}

crate::words::words!(Topic {
    Decision => "decision",
    Completion => "completion",
    Rejected => "rejected",
    AuthFailure => "auth_failure",
    Limit => "limit",
    PolicyChange => "policy_change",
    Admin => "admin",
    Canary => "canary",
    ClickhouseBacklog => "clickhouse_backlog",
    StoreFailing => "store_failing",
    ChainBroken => "chain_broken",
    Test => "test",
});

impl Topic {
    /// The topic of an event of this kind; `None` for alerts themselves, so that no alert leads to another.
    pub(crate) fn of(kind: Kind) -> Option<Self> {
        match kind {
            Kind::Decision => Some(Self::Decision),
            Kind::Completion => Some(Self::Completion),
            Kind::Rejected => Some(Self::Rejected),
            Kind::AuthFailure => Some(Self::AuthFailure),
            Kind::Limit => Some(Self::Limit),
            Kind::PolicyChange => Some(Self::PolicyChange),
            Kind::Admin => Some(Self::Admin),
            Kind::Alert => None,
        }
    }

    /// How bad it is where no finding says so.
    pub(crate) fn severity(self) -> Severity {
        match self {
            Self::Canary | Self::StoreFailing | Self::ChainBroken => Severity::Critical,
            Self::Decision | Self::Admin | Self::ClickhouseBacklog => Severity::High,
            Self::AuthFailure => Severity::Medium,
            Self::Completion | Self::Rejected | Self::Limit | Self::PolicyChange | Self::Test => Severity::Low,
        }
    }

    /// Whether it is about the gateway itself and not about anybody's request.
    pub(crate) fn is_of_the_gateway(self) -> bool {
        matches!(self, Self::ClickhouseBacklog | Self::StoreFailing | Self::ChainBroken | Self::Test)
    }
}
