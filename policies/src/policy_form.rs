//! The policy file: the form it is written in.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_saphyr::Spanned;

use crate::model::{Action, Category, Direction, Mode, Role, Severity, Unscreenable};

/// A policy as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PolicyForm {
    pub name: String,
    #[serde(default)]
    pub mode: Mode,
    pub packs: Vec<Spanned<String>>,
    #[serde(default)]
    pub disable: Vec<Spanned<String>>,
    #[serde(default = "half")]
    pub threshold: f32,
    #[serde(default)]
    pub actions: ActionsForm,
    #[serde(default)]
    pub rules: BTreeMap<String, Spanned<OverrideForm>>,
    #[serde(default)]
    pub guard: GuardForm,
    #[serde(default)]
    pub unscreenable: Vec<Unscreenable>,
    #[serde(default)]
    pub store_redacted_text: bool,
    #[serde(default)]
    pub tests: Vec<Spanned<TestForm>>,
}

fn half() -> f32 {
    0.5
}

/// Actions for each direction.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct ActionsForm {
    #[serde(default)]
    pub request: BTreeMap<Category, CategoryForm>,
    #[serde(default)]
    pub response: BTreeMap<Category, CategoryForm>,
}

/// One action for a category, or one for each severity.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected allow, flag, redact or block, or one of them for each severity: { low: flag, high: block }")]
pub(crate) enum CategoryForm {
    One(Action),
    BySeverity(SeverityForm),
}

/// Actions by severity; one that is missing is that of the next lower one given.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SeverityForm {
    low: Option<Action>,
    medium: Option<Action>,
    high: Option<Action>,
    critical: Option<Action>,
}

impl CategoryForm {
    /// Returns the action for a severity.
    pub(crate) fn action(&self, severity: Severity) -> Action {
        match self {
            CategoryForm::One(action) => *action,
            CategoryForm::BySeverity(by) => {
                let steps = [by.low, by.medium, by.high, by.critical];
                let given = steps[..=severity as usize].iter().rev().find_map(|step| *step);
                given.unwrap_or(Action::Flag)
            }
        }
    }
}

impl ActionsForm {
    /// Returns the action for a category and severity; what the file is silent about is flagged.
    pub(crate) fn action(&self, direction: Direction, category: Category, severity: Severity) -> Action {
        let actions = match direction {
            Direction::Request => &self.request,
            Direction::Response => &self.response,
        };
        actions.get(&category).map_or(Action::Flag, |form| form.action(severity))
    }
}

/// Another action for one rule.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OverrideForm {
    pub request: Option<Action>,
    pub response: Option<Action>,
}

/// What the classifier's score means.
#[derive(Deserialize, Clone, Copy)]
#[serde(deny_unknown_fields)]
pub(crate) struct GuardForm {
    #[serde(default = "flag_at")]
    pub flag_at: f32,
    #[serde(default = "block_at")]
    pub block_at: f32,
    #[serde(default)]
    pub unavailable: Unavailable,
}

impl Default for GuardForm {
    fn default() -> Self {
        Self { flag_at: flag_at(), block_at: block_at(), unavailable: Unavailable::Block }
    }
}

fn flag_at() -> f32 {
    0.7
}

fn block_at() -> f32 {
    0.9
}

/// What happens when the classifier gives no answer.
#[derive(Deserialize, Default, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unavailable {
    /// Nothing passes without it.
    #[default]
    Block,
    /// Texts pass, and the decision says that it failed open.
    Allow,
}

/// One of the policy's own tests.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TestForm {
    pub name: String,
    pub text: String,
    #[serde(default = "user")]
    pub role: Role,
    #[serde(default = "request")]
    pub direction: Direction,
    pub expect: Action,
    #[serde(default)]
    pub rules: Vec<String>,
}

fn user() -> Role {
    Role::User
}

fn request() -> Direction {
    Direction::Request
}
