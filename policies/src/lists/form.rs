//! Allow and deny lists as written, and the rule that a deny list brings.

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::values::Written;
use crate::error::Fault;
use crate::inherit::Placed;
use crate::model::{Action, Category, Direction, Severity};
use crate::own::{OWN_PACK, Own, own_id};
use crate::pack::Rule;

/// What is wrong with a list without values.
pub(super) const NO_VALUES: &str = "give at least one value under literals, regexes or sha256";

/// Defines a list: its own fields, and those that all lists have. Flattening would lose the known words that an error lists.
macro_rules! list_form {
    ($(#[$about:meta])* $name:ident { $($(#[$attribute:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$about])*
        #[derive(Deserialize, Clone)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct $name {
            pub name: String,
            $($(#[$attribute])* pub $field: $type,)*
            #[serde(default)]
            pub rules: Vec<String>,
            #[serde(default)]
            pub categories: Vec<Category>,
            #[serde(default)]
            literals: Vec<Spanned<String>>,
            #[serde(default)]
            regexes: Vec<Spanned<String>>,
            #[serde(default)]
            sha256: Vec<Spanned<String>>,
        }

        impl $name {
            /// Returns the values it names.
            pub(crate) fn written(&self) -> Written<'_> {
                Written { literals: &self.literals, regexes: &self.regexes, sha256: &self.sha256 }
            }

            /// Returns the rules it is for. An id without a rule was told before.
            pub(super) fn scope(&self, rules: &[Rule]) -> Vec<usize> {
                scope(&self.rules, &self.categories, rules)
            }
        }
    };
}

list_form! {
    /// Values that rules may find and that are nothing.
    AllowListForm {}
}

list_form! {
    /// Values that may not pass, searched for in the texts, or among what some rules find.
    DenyListForm {
        #[serde(default = "sensitive")]
        category: Category,
        #[serde(default = "high")]
        severity: Severity,
        #[serde(default = "block")]
        action: Action,
    }
}

fn sensitive() -> Category {
    Category::Sensitive
}

fn high() -> Severity {
    Severity::High
}

fn block() -> Action {
    Action::Block
}

fn scope(ids: &[String], categories: &[Category], rules: &[Rule]) -> Vec<usize> {
    let in_scope = |rule: &Rule| {
        let info = &rule.info;
        info.pack != OWN_PACK && (categories.contains(&info.category) || ids.contains(&info.id))
    };
    (0..rules.len()).filter(|&rule| in_scope(&rules[rule])).collect()
}

impl DenyListForm {
    pub(super) fn id(&self) -> String {
        own_id("DENY_LIST", &self.name).unwrap_or_default()
    }

    /// Whether its literals and expressions are searched in the texts, and not among what some rules find.
    pub(super) fn is_searched(&self) -> bool {
        self.rules.is_empty() && self.categories.is_empty()
    }

    /// Returns the values that are compared with what rules find, and the rules whose finds these are. A hash can be compared with what
    /// rules find only: with all of that.
    pub(super) fn compared(&self, rules: &[Rule]) -> (Written<'_>, Vec<usize>) {
        match self.is_searched() {
            true => (Written { sha256: &self.sha256, ..Written::default() }, scope(&[], &Category::ALL, rules)),
            false => (self.written(), self.scope(rules)),
        }
    }
}

impl Placed<DenyListForm> {
    /// Makes the list's own rule.
    pub(crate) fn rule(&self) -> Result<Rule, Fault> {
        let form = &self.value;
        let subject = format!("deny_lists.{}", form.name);
        let id = own_id("DENY_LIST", &form.name).map_err(|reason| self.fault(&subject, reason))?;
        if form.written().is_empty() {
            return Err(self.fault(&subject, NO_VALUES));
        }
        if !matches!(form.action, Action::Flag | Action::Redact | Action::Block) {
            return Err(self.fault(&subject, "action must be flag, redact or block"));
        }
        if form.literals.iter().any(|literal| literal.value.trim().is_empty()) {
            return Err(self.fault(&subject, "a literal is empty"));
        }
        let searched = form.is_searched();
        let written = |list: &[Spanned<String>]| if searched { list.iter().map(|value| value.value.clone()).collect() } else { vec![] };
        let own = Own {
            id,
            title: format!("Deny list {}", form.name),
            category: form.category,
            severity: form.severity,
            why: "it is named in the policy's deny list",
            tags: vec![],
            directions: Direction::ALL.to_vec(),
            literals: written(&form.literals),
            patterns: written(&form.regexes),
            insensitive: true,
        };
        Ok(own.rule(self.path.to_path_buf(), self.line))
    }
}
