//! The words of the gate: what is screened, what is found, and what is done about it.

use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::own::OWN_PACK;

/// Which way a text travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From the caller to the model.
    Request,
    /// From the model to the caller.
    Response,
}

impl Direction {
    /// Both directions.
    pub const ALL: [Direction; 2] = [Direction::Request, Direction::Response];

    /// Returns the name used in policy files and events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Direction::Request => "request",
            Direction::Response => "response",
        }
    }
}

/// Who speaks a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The operator's own instructions.
    System,
    /// The person (or program) asking.
    User,
    /// The model.
    Assistant,
    /// What a tool gave back.
    Tool,
}

impl Role {
    /// All four roles.
    pub const ALL: [Role; 4] = [Role::System, Role::User, Role::Assistant, Role::Tool];

    /// Returns the name used in policy files and events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
        }
    }
}

/// How a text is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// The text is what it says.
    Plain,
    /// The text is itself a JSON document (tool-call arguments): its escapes are seen through when
    /// matching, and a redaction leaves valid JSON.
    Json,
}

/// One text to screen.
#[derive(Debug, Clone, Copy)]
pub struct Text<'a> {
    /// Who speaks it.
    pub role: Role,
    /// How it is written down.
    pub encoding: Encoding,
    /// False for an identifier or key that cannot be rewritten: there a redaction becomes a block.
    pub redactable: bool,
    /// The text.
    pub text: &'a str,
}

/// What kind of harm a rule looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    /// Data about a person.
    Pii,
    /// A credential.
    Secret,
    /// Text that tries to take over the model's instructions.
    Injection,
    /// Text that tries to talk the model out of its rules.
    Jailbreak,
    /// Code that attacks whatever runs or renders it.
    CodeAttack,
    /// Subjects the house does not want discussed.
    Sensitive,
}

impl Category {
    /// All categories.
    pub const ALL: [Category; 6] =
        [Category::Pii, Category::Secret, Category::Injection, Category::Jailbreak, Category::CodeAttack, Category::Sensitive];

    /// Returns the name used in packs, policy files and events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Category::Pii => "pii",
            Category::Secret => "secret",
            Category::Injection => "injection",
            Category::Jailbreak => "jailbreak",
            Category::CodeAttack => "code_attack",
            Category::Sensitive => "sensitive",
        }
    }
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Low,
    /// Worth a look.
    Medium,
    /// Harm if it passes.
    High,
    /// Harm at once and hard to undo.
    Critical,
}

impl Severity {
    /// All severities, mildest first.
    pub const ALL: [Severity; 4] = [Severity::Low, Severity::Medium, Severity::High, Severity::Critical];

    /// Returns the name used in packs, policy files and events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Low => "low",
            Severity::Medium => "medium",
            Severity::High => "high",
            Severity::Critical => "critical",
        }
    }
}

/// What is done about a finding; a later one is stronger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Let it pass.
    Allow,
    /// Let it pass, and say so in the record.
    Flag,
    /// Replace it by a placeholder that is put back in the answer.
    Pseudonymize,
    /// Replace it for good, in its rule's style.
    Redact,
    /// Refuse the request, or cut the answer.
    Block,
}

impl Action {
    /// All actions, mildest first.
    pub const ALL: [Action; 5] = [Action::Allow, Action::Flag, Action::Pseudonymize, Action::Redact, Action::Block];

    /// Returns true when the text does not pass as it is.
    #[must_use]
    pub fn hides(self) -> bool {
        self >= Action::Pseudonymize
    }

    /// Returns true when something else is put in the text's place.
    #[must_use]
    pub fn rewrites(self) -> bool {
        matches!(self, Action::Pseudonymize | Action::Redact)
    }

    /// Returns the name used in policy files and events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Allow => "allow",
            Action::Flag => "flag",
            Action::Pseudonymize => "pseudonymize",
            Action::Redact => "redact",
            Action::Block => "block",
        }
    }
}

/// What is put in the place of redacted text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Redaction {
    /// The rule's tag: `[US_SSN]`.
    #[default]
    Tag,
    /// Four stars and the last letters and digits: `****1234`.
    Mask {
        /// How many are kept; never more than half of them.
        keep: u8,
    },
    /// The tag with a keyed hash, the same for the same value: `[US_SSN:1a2b3c4d]`.
    Hash,
    /// Another value of the same form, the same for the same value.
    Synthetic,
}

/// Whether the policy acts or only watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Actions are carried out.
    #[default]
    Enforce,
    /// Nothing stronger than a flag is carried out; the record says what would have been.
    Monitor,
}

/// A kind of content that rules cannot read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unscreenable {
    /// A picture.
    Image,
    /// A recording.
    Audio,
    /// An attached file.
    File,
    /// A prompt given as token numbers.
    TokenArray,
    /// Token probabilities, which spell the answer a second time.
    Logprobs,
}

/// The public face of a rule.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RuleInfo {
    /// Identifier, unique over all packs loaded.
    pub id: String,
    /// One line for people.
    pub title: String,
    /// Kind of harm.
    pub category: Category,
    /// How bad it is.
    pub severity: Severity,
    /// Identifiers in public catalogues (OWASP, ATLAS, GDPR ...).
    pub tags: Vec<String>,
    /// One sentence on the score and severity.
    pub why: String,
    /// Name of the pack it came from.
    pub pack: String,
}

impl RuleInfo {
    /// Returns true for the rule of a policy's canary token.
    #[must_use]
    pub fn is_canary(&self) -> bool {
        self.pack == OWN_PACK && self.id.starts_with("CANARY_")
    }

    /// Returns what stands in the place of redacted text: the id in capitals, in brackets.
    #[must_use]
    pub fn redaction_tag(&self) -> String {
        let word: String = self.id.chars().map(|c| if c == '-' { '_' } else { c.to_ascii_uppercase() }).collect();
        format!("[{word}]")
    }
}

/// One place in a text that a rule speaks about.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// The rule.
    pub rule: Arc<RuleInfo>,
    /// Bytes of the original text, on character boundaries.
    pub span: Range<usize>,
    /// Confidence, 0..=1.
    pub score: f32,
    /// What the policy says for it, before any `monitor`.
    pub action: Action,
    /// Whether its rule is only watched: what the policy says is recorded, and no more than a flag is carried out.
    pub monitored: bool,
    /// What takes its place when it is redacted.
    pub redaction: Redaction,
    /// Whether the span is the whole of what the rule found, and not what another finding left of it.
    pub whole: bool,
}

impl Finding {
    /// Returns what is carried out for it, before `mode: monitor`.
    #[must_use]
    pub fn in_force(&self) -> Action {
        if self.monitored { self.action.min(Action::Flag) } else { self.action }
    }
}

/// What the classifier said about a whole request.
#[derive(Debug, Clone, PartialEq)]
pub enum ModelSignal {
    /// It was not asked.
    Skipped,
    /// It was asked and gave no answer.
    Unavailable {
        /// Why, for the record.
        reason: String,
    },
    /// It answered.
    Scored {
        /// Most likely label.
        label: String,
        /// 1 - P(benign), 0..=1.
        score: f32,
        /// Name and version of the classifier, for the record.
        version: String,
        /// The known attack that a text comes nearest to, where one is near.
        known: Option<KnownAttack>,
    },
}

/// A known attack that a text comes near to.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownAttack {
    /// Its id in the file of known attacks.
    pub id: String,
    /// How near, 0..=1.
    pub similarity: f32,
}
