//! The policy file: the form it is written in.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_saphyr::Spanned;

use crate::address::ClientAddress;
use crate::canary::CanaryForm;
use crate::choice::ChoiceForm;
use crate::coverage::OnLimit;
use crate::day::Day;
use crate::lists::{AllowListForm, DenyListForm, ExceptionForm};
use crate::model::{Action, Category, Direction, Mode, Redaction, Role, Unscreenable};
use crate::refuse::{LanguageForm, MessagesForm};

/// A policy as written. What it leaves out is as in the policy it extends, or else the default.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PolicyForm {
    pub name: String,
    pub extends: Option<Spanned<String>>,
    pub mode: Option<Mode>,
    pub packs: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    pub disable: Vec<Spanned<String>>,
    pub threshold: Option<f32>,
    #[serde(default)]
    pub actions: ActionsForm,
    #[serde(default)]
    pub rules: BTreeMap<String, Spanned<OverrideForm>>,
    #[serde(default)]
    pub redaction: RedactionForm,
    #[serde(default)]
    pub guard: GuardForm,
    #[serde(default)]
    pub exceptions: Vec<Spanned<ExceptionForm>>,
    #[serde(default)]
    pub allow_lists: Vec<Spanned<AllowListForm>>,
    #[serde(default)]
    pub deny_lists: Vec<Spanned<DenyListForm>>,
    #[serde(default)]
    pub canaries: Vec<Spanned<CanaryForm>>,
    pub refusal_language: Option<LanguageForm>,
    #[serde(default)]
    pub refusal_messages: MessagesForm,
    pub unscreenable: Option<Vec<Unscreenable>>,
    pub on_decoding_budget: Option<OnLimit>,
    pub store_redacted_text: Option<bool>,
    pub client_address: Option<ClientAddress>,
    #[serde(default)]
    pub tests: Vec<Spanned<TestForm>>,
}

/// Actions for each direction.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct ActionsForm {
    #[serde(default)]
    pub request: BTreeMap<Category, Spanned<ChoiceForm>>,
    #[serde(default)]
    pub response: BTreeMap<Category, Spanned<ChoiceForm>>,
}

impl ActionsForm {
    /// Returns what is written for one direction.
    pub(crate) fn of(&self, direction: Direction) -> &BTreeMap<Category, Spanned<ChoiceForm>> {
        match direction {
            Direction::Request => &self.request,
            Direction::Response => &self.response,
        }
    }
}

/// What is different for one rule.
#[derive(Deserialize, Default, Clone)]
#[serde(deny_unknown_fields)]
pub(crate) struct OverrideForm {
    pub request: Option<ChoiceForm>,
    pub response: Option<ChoiceForm>,
    pub monitor: Option<bool>,
    pub threshold: Option<f32>,
    pub redaction: Option<StyleForm>,
}

impl OverrideForm {
    /// Returns what is written for one direction.
    pub(crate) fn of(&self, direction: Direction) -> Option<&ChoiceForm> {
        match direction {
            Direction::Request => self.request.as_ref(),
            Direction::Response => self.response.as_ref(),
        }
    }
}

/// What takes the place of redacted text, for each category; a tag where nothing is written.
#[derive(Deserialize, Default, Clone)]
#[serde(deny_unknown_fields)]
pub(crate) struct RedactionForm {
    /// The environment variable that holds the key of `hash` and `synthetic`.
    pub key_env: Option<Spanned<String>>,
    pub pii: Option<StyleForm>,
    pub secret: Option<StyleForm>,
    pub injection: Option<StyleForm>,
    pub jailbreak: Option<StyleForm>,
    pub code_attack: Option<StyleForm>,
    pub sensitive: Option<StyleForm>,
}

impl RedactionForm {
    /// Returns what is written for a category.
    pub(crate) fn of(&self, category: Category) -> Option<Redaction> {
        let style = match category {
            Category::Pii => &self.pii,
            Category::Secret => &self.secret,
            Category::Injection => &self.injection,
            Category::Jailbreak => &self.jailbreak,
            Category::CodeAttack => &self.code_attack,
            Category::Sensitive => &self.sensitive,
        };
        style.as_ref().map(|style| style.0)
    }
}

/// `tag`, `mask`, `hash`, `synthetic` or `{ style: mask, keep: 6 }`.
#[derive(Clone, Copy)]
pub(crate) struct StyleForm(pub Redaction);

/// Letters and digits that a mask keeps where the policy does not say.
const MASK_KEEP: u8 = 4;

impl<'de> Deserialize<'de> for StyleForm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
        #[serde(rename_all = "snake_case")]
        enum Word {
            Tag,
            Mask,
            Hash,
            Synthetic,
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Long {
            style: Word,
            keep: Option<u8>,
        }
        fn style<E: serde::de::Error>(Long { style, keep }: Long) -> Result<StyleForm, E> {
            if keep.is_some() && style != Word::Mask {
                return Err(E::custom("only a mask has something to keep; write { style: mask, keep: 4 }"));
            }
            Ok(StyleForm(match style {
                Word::Tag => Redaction::Tag,
                Word::Mask => Redaction::Mask { keep: keep.unwrap_or(MASK_KEEP) },
                Word::Hash => Redaction::Hash,
                Word::Synthetic => Redaction::Synthetic,
            }))
        }
        struct Style;
        impl<'de> Visitor<'de> for Style {
            type Value = StyleForm;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("tag, mask, hash, synthetic or { style: mask, keep: 4 }")
            }
            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<StyleForm, E> {
                style(Long { style: Word::deserialize(word.into_deserializer())?, keep: None })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<StyleForm, A::Error> {
                style(Long::deserialize(MapAccessDeserializer::new(map))?)
            }
        }
        deserializer.deserialize_any(Style)
    }
}

/// What the classifier's score means.
#[derive(Deserialize, Clone, Copy, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct GuardForm {
    pub flag_at: Option<f32>,
    pub block_at: Option<f32>,
    pub unavailable: Option<Unavailable>,
    pub known: Option<OnKnown>,
}

/// What happens to a text that comes near a known attack.
#[derive(Deserialize, Default, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnKnown {
    /// It is refused.
    #[default]
    Block,
    /// It passes and is on record.
    Flag,
    /// Nothing.
    Off,
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
#[derive(Deserialize, Clone)]
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
    /// Whose text it is, and on which day, for exceptions; without a day none holds.
    #[serde(default)]
    pub tenant: String,
    #[serde(default)]
    pub key: String,
    pub day: Option<Day>,
}

fn user() -> Role {
    Role::User
}

fn request() -> Direction {
    Direction::Request
}
