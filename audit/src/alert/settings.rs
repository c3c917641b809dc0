//! How a channel is set up.

use std::path::PathBuf;
use std::time::Duration;

use crate::alert::{Language, Rule, Secret, SecretUrl};

/// One channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelSettings {
    /// Its name in metrics, events and on the command line.
    pub name: String,
    /// Where its messages go.
    pub target: Target,
    /// What it is told of.
    pub rule: Rule,
    /// In which language.
    pub language: Language,
    /// Within it alerts of one tenant, key and rule are one.
    pub window: Duration,
    /// Messages a minute, and at once.
    pub per_minute: u32,
    /// For one attempt: from the look-up of the host to the last byte of the answer.
    pub timeout: Duration,
    /// When an attempt fails.
    pub retry: Retry,
    /// Certificates (PEM) to trust instead of the system's.
    pub ca: Option<PathBuf>,
}

impl ChannelSettings {
    /// A channel with everything else as it usually is.
    pub fn new(name: impl Into<String>, target: Target) -> Self {
        Self {
            name: name.into(),
            target,
            rule: Rule::default(),
            language: Language::En,
            window: Duration::from_secs(300),
            per_minute: 15,
            timeout: Duration::from_secs(10),
            retry: Retry::default(),
            ca: None,
        }
    }
}

/// How often a message is tried, and how long to wait in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Attempts, the first one included.
    pub attempts: u32,
    /// Wait after the first one; it doubles, up to a minute.
    pub first: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 5, first: Duration::from_secs(1) }
    }
}

/// Where messages go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Any HTTP endpoint: JSON, signed where there is a secret.
    Webhook {
        /// Its address.
        url: SecretUrl,
        /// Key of the signature (HMAC-SHA256).
        secret: Option<Secret>,
    },
    /// An incoming webhook of Slack.
    Slack {
        /// Its address.
        url: SecretUrl,
    },
    /// A group robot of WeCom (企业微信).
    Wecom {
        /// Its address.
        url: SecretUrl,
    },
    /// A custom robot of Feishu (飞书) or Lark.
    Feishu {
        /// Its address.
        url: SecretUrl,
        /// The secret of its signature check, where that is on.
        secret: Option<Secret>,
    },
    /// A custom robot of DingTalk (钉钉).
    Dingtalk {
        /// Its address.
        url: SecretUrl,
        /// The secret of its signature check, where that is on.
        secret: Option<Secret>,
    },
    /// Mail over SMTP.
    Mail(Mail),
}

/// A mail server and who writes to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// Name of the server.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Whether the connection is encrypted.
    pub tls: MailTls,
    /// User name and password.
    pub login: Option<(String, Secret)>,
    /// The sender, `name@host` or `Name <name@host>`.
    pub from: String,
    /// The recipients.
    pub to: Vec<String>,
}

/// How a connection to a mail server is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MailTls {
    /// From the first byte (port 465).
    Implicit,
    /// After STARTTLS, and not without it (port 587).
    #[default]
    StartTls,
    /// Not at all; without a login only.
    Off,
}

impl Target {
    /// The word for its kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Webhook { .. } => "webhook",
            Self::Slack { .. } => "slack",
            Self::Wecom { .. } => "wecom",
            Self::Feishu { .. } => "feishu",
            Self::Dingtalk { .. } => "dingtalk",
            Self::Mail(_) => "mail",
        }
    }

    /// Its address, where it has one.
    pub(crate) fn url(&self) -> Option<&SecretUrl> {
        match self {
            Self::Webhook { url, .. }
            | Self::Slack { url }
            | Self::Wecom { url }
            | Self::Feishu { url, .. }
            | Self::Dingtalk { url, .. } => Some(url),
            Self::Mail(_) => None,
        }
    }

    /// Its secrets beside the address.
    pub(crate) fn secrets(&self) -> Vec<&Secret> {
        match self {
            Self::Webhook { secret, .. } | Self::Feishu { secret, .. } | Self::Dingtalk { secret, .. } => secret.iter().collect(),
            Self::Slack { .. } | Self::Wecom { .. } => Vec::new(),
            Self::Mail(mail) => mail.login.iter().map(|(_, password)| password).collect(),
        }
    }
}
