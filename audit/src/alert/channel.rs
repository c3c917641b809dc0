//! A channel ready for use: puts a message in its words, sends it once, and says what came back.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::timeout;

use crate::AuditError;
use crate::alert::http::HttpClient;
use crate::alert::mail::Mailer;
use crate::alert::payload::{dingtalk, feishu, slack, webhook, wecom};
use crate::alert::secret::redact;
use crate::alert::template::render;
use crate::alert::{ChannelSettings, Message, SecretUrl, Target};

/// Characters shown of what a channel said.
const SAID_CHARS_MAX: usize = 200;

/// A channel ready for use.
pub struct Channel {
    settings: ChannelSettings,
    line: Line,
}

enum Line {
    Http(HttpClient),
    Mail(Box<Mailer>),
}

/// A message was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// What the channel said, secrets taken out.
    pub said: String,
}

/// A message was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// A stable word: `connect`, `network`, `timeout`, `tls`, `status`, `redirect`, `code`, `answer`, `smtp`, `request`, `mail`.
    pub class: &'static str,
    /// What happened, secrets taken out.
    pub what: String,
    /// Whether another attempt may help.
    passing: bool,
    /// How long the channel asks us to wait.
    pub retry_after: Option<Duration>,
}

impl Failure {
    pub(crate) fn passing(class: &'static str, what: &str) -> Self {
        Self { class, what: what.to_owned(), passing: true, retry_after: None }
    }

    pub(crate) fn lasting(class: &'static str, what: &str) -> Self {
        Self { passing: false, ..Self::passing(class, what) }
    }

    pub(crate) fn asked(mut self, wait: Option<Duration>) -> Self {
        self.retry_after = wait;
        self
    }

    /// Whether another attempt may help.
    pub fn is_passing(&self) -> bool {
        self.passing
    }
}

impl Channel {
    /// Loads certificates and checks what can be checked without sending.
    ///
    /// # Errors
    /// `Alert`, with the channel's name and what to do.
    pub fn new(settings: ChannelSettings) -> Result<Self, AuditError> {
        let ca = settings.ca.as_deref();
        let line = match &settings.target {
            Target::Mail(mail) => Mailer::new(mail, ca, settings.timeout).map(|mailer| Line::Mail(Box::new(mailer))),
            _ => HttpClient::new(ca).map(Line::Http),
        };
        let line = line.map_err(|cause| AuditError::Alert { channel: settings.name.clone(), cause })?;
        Ok(Self { settings, line })
    }

    /// Its settings.
    pub fn settings(&self) -> &ChannelSettings {
        &self.settings
    }

    /// Sends a message once, within the channel's time.
    ///
    /// # Errors
    /// [`Failure`], secrets taken out.
    pub async fn send(&self, message: &Message) -> Result<Answered, Failure> {
        let limit = self.settings.timeout;
        let sent = match timeout(limit, self.try_send(message)).await {
            Ok(sent) => sent,
            Err(_) => Err(Failure::passing("timeout", &format!("no answer within {} ms", limit.as_millis()))),
        };
        let clean = |text: &str| redact(text, self.settings.target.url(), &self.settings.target.secrets(), SAID_CHARS_MAX);
        match sent {
            Ok(said) => Ok(Answered { said: clean(&said) }),
            Err(failure) => Err(Failure { what: clean(&failure.what), ..failure }),
        }
    }

    async fn try_send(&self, message: &Message) -> Result<String, Failure> {
        let text = render(message, self.settings.language);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let (http, url) = match (&self.line, self.settings.target.url()) {
            (Line::Mail(mailer), _) => return mailer.send(message, &text).await,
            (Line::Http(http), Some(url)) => (http, url),
            (Line::Http(_), None) => return Err(Failure::lasting("request", "the channel has no address")),
        };
        let post = match &self.settings.target {
            Target::Webhook { secret, .. } => webhook::post(message, &text, secret.as_ref(), now),
            Target::Slack { .. } => slack::post(&text),
            Target::Wecom { .. } | Target::Mail(_) => wecom::post(&text),
            Target::Feishu { secret, .. } => feishu::post(&text, secret.as_ref(), now),
            Target::Dingtalk { secret, .. } => dingtalk::post(&text, secret.as_ref(), now),
        };
        let response = http.post(address(url, &post.query)?, &post).await?;
        let taken = match &self.settings.target {
            Target::Webhook { .. } => webhook::read(&response),
            Target::Slack { .. } => slack::read(&response),
            Target::Wecom { .. } | Target::Mail(_) => wecom::read(&response),
            Target::Feishu { .. } => feishu::read(&response),
            Target::Dingtalk { .. } => dingtalk::read(&response),
        };
        let said = format!("HTTP {} {}", response.status, String::from_utf8_lossy(&response.body).trim());
        taken.map(|()| said.clone()).map_err(|failure| Failure { what: format!("{}; it said: {said}", failure.what), ..failure })
    }
}

fn address(url: &SecretUrl, query: &str) -> Result<http::Uri, Failure> {
    url.with_query(query).map_err(|_| Failure::lasting("request", "the address cannot be used"))
}
