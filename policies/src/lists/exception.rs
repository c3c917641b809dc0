//! Exceptions: a rule that does not hold for a while, for somebody or for some value.

use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::values::{Values, Written};
use crate::day::Day;
use crate::error::Fault;
use crate::inherit::Placed;
use crate::pack::Rule;

/// Days that an exception goes on to hold after it has expired, while it is warned about.
const GRACE_DAYS: i32 = 7;

/// An exception as written.
#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExceptionForm {
    pub rule: String,
    pub owner: String,
    pub reason: String,
    pub expires: Day,
    #[serde(default)]
    pub tenants: Vec<String>,
    #[serde(default)]
    pub keys: Vec<String>,
    pub literal: Option<Spanned<String>>,
    pub regex: Option<Spanned<String>>,
}

/// One exception, ready to be asked.
pub(crate) struct Exception {
    path: PathBuf,
    line: u64,
    /// Index of the rule.
    pub rule: usize,
    form: ExceptionForm,
    /// None for every value.
    values: Option<Values>,
}

impl Exception {
    /// Resolves the rule that a written exception names. None where the policy has no such rule, or a fault is told.
    pub(crate) fn new(placed: &Placed<ExceptionForm>, rules: &[Rule], faults: &mut Vec<Fault>) -> Option<Self> {
        let form = &placed.value;
        let subject = format!("exceptions.{}", form.rule);
        if form.owner.trim().is_empty() || form.reason.trim().is_empty() {
            faults.push(placed.fault(&subject, "owner and reason must not be empty: somebody has to answer for it"));
        }
        // A rule that is disabled needs no exception; one that does not exist was told before.
        let rule = rules.iter().position(|rule| rule.info.id == form.rule)?;
        let written = Written { literals: form.literal.as_slice(), regexes: form.regex.as_slice(), sha256: &[] };
        let values = match Values::new(written) {
            Ok(values) => (!values.is_empty()).then_some(values),
            Err(reason) => {
                faults.push(placed.fault(&subject, reason));
                return None;
            }
        };
        Some(Self { path: placed.path.to_path_buf(), line: placed.line, rule, form: form.clone(), values })
    }

    /// Returns true when it is for this caller and still holds on this day.
    pub(crate) fn is_in_force(&self, tenant: &str, key: &str, today: Day) -> bool {
        let named = |names: &[String], name: &str| names.is_empty() || names.iter().any(|known| known == name);
        named(&self.form.tenants, tenant) && named(&self.form.keys, key) && today <= self.last()
    }

    /// Returns true when its day is over, whether or not it still holds.
    pub(crate) fn is_expired(&self, today: Day) -> bool {
        self.form.expires < today
    }

    /// Returns true when it is for this value.
    pub(crate) fn holds(&self, value: &str) -> bool {
        self.values.as_ref().is_none_or(|values| values.holds(value))
    }

    /// Returns what is to be said about it once it has expired.
    pub(crate) fn notice(&self, today: Day) -> Notice {
        Notice {
            path: self.path.clone(),
            line: self.line,
            rule: self.form.rule.clone(),
            owner: self.form.owner.clone(),
            expired: self.form.expires,
            last: self.last(),
            holds: today <= self.last(),
        }
    }

    /// Returns the last day it holds.
    fn last(&self) -> Day {
        self.form.expires.plus(GRACE_DAYS)
    }
}

/// An exception that has expired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The file it is written in.
    pub path: PathBuf,
    /// Its line, from 1.
    pub line: u64,
    /// The rule it is from.
    pub rule: String,
    /// Who answers for it.
    pub owner: String,
    /// The day it expired.
    pub expired: Day,
    /// The last day it holds all the same.
    pub last: Day,
    /// Whether it still holds.
    pub holds: bool,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Notice { path, line, rule, owner, expired, last, holds } = self;
        write!(f, "{}:{line}: the exception from {rule} expired on {expired} ", path.display())?;
        match holds {
            true => write!(f, "and holds until {last}; {owner} has to renew or remove it"),
            false => write!(f, "and does not hold any more; {owner} has to remove it"),
        }
    }
}
