//! The `alerts` part of the configuration: channels, what each is told of, and where its secrets are. Secrets come from the
//! environment or from files; the configuration names the variable or the file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_audit::Severity;
use portcullis_audit::alert::{ChannelSettings, Language, Mail, MailTls, Retry, Rule, Secret, SecretUrl, Target, Topic};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::config::duration;

/// Channels of one gateway.
const CHANNELS_MAX: usize = 32;
/// Longest file with a secret, in bytes.
const SECRET_BYTES_MAX: u64 = 8_192;
/// Most attempts to deliver one message.
const ATTEMPTS_MAX: u32 = 20;

/// One entry of `alerts`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AlertFile {
    name: String,
    kind: KindFile,
    #[serde(default)]
    url_env: Option<String>,
    #[serde(default)]
    url_file: Option<PathBuf>,
    #[serde(default)]
    secret_env: Option<String>,
    #[serde(default)]
    secret_file: Option<PathBuf>,
    #[serde(default)]
    mail: Option<MailFile>,
    #[serde(default)]
    severity: SeverityFile,
    #[serde(default)]
    kinds: Vec<String>,
    #[serde(default)]
    tenants: Vec<String>,
    #[serde(default)]
    language: LanguageFile,
    #[serde(default = "window", deserialize_with = "duration")]
    window: Duration,
    #[serde(default = "per_minute")]
    per_minute: u32,
    #[serde(default = "timeout", deserialize_with = "duration")]
    timeout: Duration,
    #[serde(default)]
    retry: RetryFile,
    #[serde(default)]
    ca: Option<PathBuf>,
}

fn window() -> Duration {
    Duration::from_secs(300)
}

fn per_minute() -> u32 {
    15
}

fn timeout() -> Duration {
    Duration::from_secs(10)
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum KindFile {
    Webhook,
    Slack,
    Wecom,
    Feishu,
    Dingtalk,
    Mail,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SeverityFile {
    Low,
    Medium,
    #[default]
    High,
    Critical,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum LanguageFile {
    #[default]
    En,
    Zh,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RetryFile {
    attempts: u32,
    #[serde(deserialize_with = "duration")]
    first: Duration,
}

impl Default for RetryFile {
    fn default() -> Self {
        let Retry { attempts, first } = Retry::default();
        Self { attempts, first }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MailFile {
    host: String,
    #[serde(default)]
    port: Option<u16>,
    #[serde(default)]
    tls: TlsFile,
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    password_env: Option<String>,
    #[serde(default)]
    password_file: Option<PathBuf>,
    from: String,
    to: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum TlsFile {
    Implicit,
    #[default]
    Starttls,
    Off,
}

/// All channels, checked, their secrets read.
///
/// # Errors
/// Names the channel, the setting and what to do; repeats no secret.
pub(crate) fn channels(files: Vec<AlertFile>, base: &Path) -> Result<Vec<ChannelSettings>, String> {
    if files.len() > CHANNELS_MAX {
        return Err(format!("alerts: {} channels; at most {CHANNELS_MAX}", files.len()));
    }
    let mut channels: Vec<ChannelSettings> = Vec::new();
    for file in files {
        let name = file.name.clone();
        if name.is_empty() || name.len() > 64 || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
            return Err(format!("alerts: `{}` is no name; use 1 to 64 letters, digits, - and _", name.escape_debug()));
        }
        if channels.iter().any(|channel| channel.name == name) {
            return Err(format!("alerts.{name}: there are two channels of this name"));
        }
        channels.push(file.settings(base).map_err(|why| format!("alerts.{name}.{why}"))?);
    }
    Ok(channels)
}

impl AlertFile {
    fn settings(self, base: &Path) -> Result<ChannelSettings, String> {
        if self.per_minute == 0 {
            return Err("per_minute: must be above 0".into());
        }
        if !(1..=ATTEMPTS_MAX).contains(&self.retry.attempts) {
            return Err(format!("retry.attempts: must be 1 to {ATTEMPTS_MAX}"));
        }
        let topics =
            self.kinds.iter().map(|word| word.parse::<Topic>()).collect::<Result<Vec<_>, _>>().map_err(|why| format!("kinds: {why}"))?;
        let target = self.target(base)?;
        Ok(ChannelSettings {
            rule: Rule { severity: self.severity.into(), topics, tenants: self.tenants },
            language: match self.language {
                LanguageFile::En => Language::En,
                LanguageFile::Zh => Language::Zh,
            },
            window: self.window,
            per_minute: self.per_minute,
            timeout: self.timeout,
            retry: Retry { attempts: self.retry.attempts, first: self.retry.first },
            ca: self.ca.map(|ca| base.join(ca)),
            ..ChannelSettings::new(self.name, target)
        })
    }

    fn target(&self, base: &Path) -> Result<Target, String> {
        if self.kind == KindFile::Mail {
            if self.url_env.is_some() || self.url_file.is_some() || self.secret_env.is_some() || self.secret_file.is_some() {
                return Err("url_env, secret_env: not for kind mail; use mail.host and mail.password_env".into());
            }
            let mail = self.mail.as_ref().ok_or("mail: kind mail needs { host, from, to }")?;
            return mail.settings(base).map(Target::Mail).map_err(|why| format!("mail.{why}"));
        }
        if self.mail.is_some() {
            return Err("mail: only for kind mail".into());
        }
        let url = secret("url", self.url_env.as_deref(), self.url_file.as_deref(), base)?
            .ok_or("url_env: name the environment variable that holds the address (or a file, with url_file)")?;
        let url = SecretUrl::parse(&url).map_err(|why| format!("url: the address {why}"))?;
        let signed = matches!(self.kind, KindFile::Webhook | KindFile::Feishu | KindFile::Dingtalk);
        let secret =
            secret("secret", self.secret_env.as_deref(), self.secret_file.as_deref(), base)?.map(|text| Secret::new(text.to_string()));
        if secret.is_some() && !signed {
            return Err("secret_env: only for kinds webhook, feishu and dingtalk; of the others the address is the secret".into());
        }
        Ok(match self.kind {
            KindFile::Slack => Target::Slack { url },
            KindFile::Wecom => Target::Wecom { url },
            KindFile::Feishu => Target::Feishu { url, secret },
            KindFile::Dingtalk => Target::Dingtalk { url, secret },
            KindFile::Webhook | KindFile::Mail => Target::Webhook { url, secret },
        })
    }
}

impl MailFile {
    fn settings(&self, base: &Path) -> Result<Mail, String> {
        let password = secret("password", self.password_env.as_deref(), self.password_file.as_deref(), base)?;
        let login = match (&self.user, password) {
            (None, None) => None,
            (Some(user), Some(password)) => Some((user.clone(), Secret::new(password.to_string()))),
            (Some(_), None) => return Err("password_env: a user needs a password (or a file, with password_file)".into()),
            (None, Some(_)) => return Err("user: a password needs a user".into()),
        };
        let tls = match self.tls {
            TlsFile::Implicit => MailTls::Implicit,
            TlsFile::Starttls => MailTls::StartTls,
            TlsFile::Off => MailTls::Off,
        };
        let usual = match tls {
            MailTls::Implicit => 465,
            MailTls::StartTls => 587,
            MailTls::Off => 25,
        };
        Ok(Mail { host: self.host.clone(), port: self.port.unwrap_or(usual), tls, login, from: self.from.clone(), to: self.to.clone() })
    }
}

/// Reads a secret from the variable or the file; `None` where neither is named.
fn secret(what: &str, variable: Option<&str>, file: Option<&Path>, base: &Path) -> Result<Option<Zeroizing<String>>, String> {
    let (setting, text) = match (variable, file) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => return Err(format!("{what}_env: give either {what}_env or {what}_file")),
        (Some(variable), None) => {
            let text = std::env::var(variable)
                .map_err(|_| format!("{what}_env: the environment has no variable `{variable}`; export it before the start"))?;
            (format!("{what}_env: the variable `{variable}`"), Zeroizing::new(text))
        }
        (None, Some(file)) => {
            let path = base.join(file);
            let failed = |why: String| format!("{what}_file: {}: {why}", path.display());
            if std::fs::metadata(&path).map_err(|error| failed(error.to_string()))?.len() > SECRET_BYTES_MAX {
                return Err(failed(format!("is longer than {SECRET_BYTES_MAX} bytes; it is to hold the secret alone")));
            }
            (
                format!("{what}_file: {}", path.display()),
                Zeroizing::new(std::fs::read_to_string(&path).map_err(|error| failed(error.to_string()))?),
            )
        }
    };
    let text = Zeroizing::new(text.trim().to_owned());
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(format!("{setting} holds no usable secret: one line, not empty"));
    }
    Ok(Some(text))
}

impl From<SeverityFile> for Severity {
    fn from(severity: SeverityFile) -> Self {
        match severity {
            SeverityFile::Low => Self::Low,
            SeverityFile::Medium => Self::Medium,
            SeverityFile::High => Self::High,
            SeverityFile::Critical => Self::Critical,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<ChannelSettings>, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("url"), "https://hooks.example/T0001/tokentoken\n").unwrap();
        std::fs::write(folder.path().join("pw"), "pass-word\n").unwrap();
        std::fs::write(folder.path().join("bad"), "no address tokentoken").unwrap();
        channels(serde_saphyr::from_str(text).map_err(|error| error.to_string())?, folder.path())
    }

    #[test]
    fn a_channel_needs_a_name_a_kind_and_an_address() {
        let channels = read(
            "[{name: ops, kind: slack, url_file: url, severity: critical, kinds: [canary], tenants: [acme], language: zh, window: 1m}]",
        )
        .unwrap();
        let Rule { severity, topics, tenants } = &channels[0].rule;
        assert_eq!(
            (*severity, topics.as_slice(), tenants.as_slice()),
            (Severity::Critical, &[Topic::Canary][..], &["acme".to_owned()][..])
        );
        assert_eq!((channels[0].language, channels[0].window), (Language::Zh, Duration::from_secs(60)));
        assert!(!format!("{channels:?}").contains("tokentoken"));
        let mail =
            read("[{name: m, kind: mail, mail: {host: h, user: u, password_file: pw, from: a@b.example, to: [c@d.example]}}]").unwrap();
        assert!(matches!(&mail[0].target, Target::Mail(Mail { port: 587, login: Some(_), .. })));
        assert!(!format!("{mail:?}").contains("pass-word"));
    }

    #[test]
    fn each_mistake_is_named_and_no_secret_is_repeated() {
        for (text, part) in [
            ("[{name: a, kind: slack}]", "alerts.a.url_env"),
            ("[{name: a, kind: slack, url_env: PORTCULLIS_NO_SUCH}]", "PORTCULLIS_NO_SUCH"),
            ("[{name: a, kind: slack, url_file: missing}]", "missing"),
            ("[{name: a, kind: slack, url_file: bad}]", "alerts.a.url: the address is no address"),
            ("[{name: a, kind: slack, url_file: url, url_env: X}]", "either url_env or url_file"),
            ("[{name: a, kind: slack, url_file: url, secret_file: pw}]", "secret_env: only for"),
            ("[{name: a, kind: slack, url_file: url, kinds: [fire]}]", "`fire` is none of"),
            ("[{name: a, kind: slack, url_file: url, per_minute: 0}]", "per_minute"),
            ("[{name: a, kind: slack, url_file: url, retry: {attempts: 0}}]", "retry.attempts"),
            ("[{name: a b, kind: slack, url_file: url}]", "is no name"),
            ("[{name: a, kind: slack, url_file: url}, {name: a, kind: slack, url_file: url}]", "two channels"),
            ("[{name: a, kind: slack, url: 'https://h/tokentoken'}]", "unknown field `url`"),
            ("[{name: a, kind: pager, url_file: url}]", "pager"),
            ("[{name: a, kind: mail}]", "mail: kind mail needs"),
            ("[{name: a, kind: mail, mail: {host: h, user: u, from: f, to: []}}]", "password_env"),
            ("[{name: a, kind: mail, mail: {host: h, password_file: pw, from: f, to: []}}]", "user: a password"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
            assert!(!error.contains("no address tokentoken") && !error.contains("pass-word"), "{error}");
        }
    }
}
