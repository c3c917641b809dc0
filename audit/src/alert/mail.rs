//! Mail over SMTP, one connection for each message.

use std::path::Path;
use std::time::Duration;

use lettre::message::header::ContentType;
use lettre::message::{Mailbox, MessageBuilder};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};

use crate::alert::template::Text;
use crate::alert::{Failure, Mail, MailTls, Message};

pub(crate) struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    to: Vec<Mailbox>,
}

impl Mailer {
    /// Checks addresses and certificates.
    pub fn new(mail: &Mail, ca: Option<&Path>, timeout: Duration) -> Result<Self, String> {
        let mailbox = |address: &String| {
            address.parse::<Mailbox>().map_err(|error| format!("`{}` is no mail address: {error}", address.escape_debug()))
        };
        if mail.to.is_empty() {
            return Err("to: name at least one mail address".into());
        }
        if mail.login.is_some() && mail.tls == MailTls::Off {
            return Err("tls: off would send the password in the clear; use starttls or implicit".into());
        }
        let tls = match mail.tls {
            MailTls::Off => Tls::None,
            MailTls::Implicit => Tls::Wrapper(parameters(mail, ca)?),
            MailTls::StartTls => Tls::Required(parameters(mail, ca)?),
        };
        let mut builder =
            AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&mail.host).port(mail.port).tls(tls).timeout(Some(timeout));
        if let Some((user, password)) = &mail.login {
            builder = builder.credentials(Credentials::new(user.clone(), password.reveal().to_owned()));
        }
        Ok(Self { transport: builder.build(), from: mailbox(&mail.from)?, to: mail.to.iter().map(mailbox).collect::<Result<_, _>>()? })
    }

    /// Sends a message; the server's last line where it took it.
    pub async fn send(&self, message: &Message, text: &Text) -> Result<String, Failure> {
        let mut builder: MessageBuilder = lettre::Message::builder()
            .from(self.from.clone())
            .subject(&text.title)
            // The same in each attempt, so that a mail that came twice is seen as one.
            .message_id(Some(format!("<{}@portcullis>", message.id)))
            .header(ContentType::TEXT_PLAIN);
        for to in &self.to {
            builder = builder.to(to.clone());
        }
        let mail = builder.body(text.whole()).map_err(|error| Failure::lasting("mail", &error.to_string()))?;
        let response = self.transport.send(mail).await.map_err(|error| {
            let said = error.to_string();
            match error.status() {
                _ if error.is_permanent() => Failure::lasting("smtp", &said),
                Some(_) => Failure::passing("smtp", &said),
                None if error.is_tls() => Failure::passing("tls", &said),
                None if error.is_client() => Failure::lasting("smtp", &said),
                None => Failure::passing("connect", &said),
            }
        })?;
        Ok(format!("{} {}", response.code(), response.first_line().unwrap_or_default()))
    }
}

fn parameters(mail: &Mail, ca: Option<&Path>) -> Result<TlsParameters, String> {
    let mut builder = TlsParameters::builder(mail.host.clone());
    if let Some(ca) = ca {
        builder = builder.certificate_store(CertificateStore::None);
        for certificate in super::trust::certificates(Some(ca))? {
            let certificate = Certificate::from_der(certificate.to_vec()).map_err(|error| format!("ca: {}: {error}", ca.display()))?;
            builder = builder.add_root_certificate(certificate);
        }
    }
    builder.build_rustls().map_err(|error| format!("tls: {error}"))
}
