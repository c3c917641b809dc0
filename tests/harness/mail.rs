//! A small mail server on loopback: speaks as much SMTP as a client needs to hand over mail, with STARTTLS and a login, and keeps what
//! it was given.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::wait::eventually;

/// Lines of one mail; a client that sends more is broken.
const MAIL_LINES_MAX: usize = 10_000;

/// A mail that was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Letter {
    /// The sender on the envelope, as the command says it.
    pub from: String,
    /// The recipients on the envelope.
    pub to: Vec<String>,
    /// Whether it came over TLS.
    pub encrypted: bool,
    /// User name and password that came before it.
    pub login: Option<(String, String)>,
    /// Head and body as sent.
    pub text: String,
}

/// The running server; dropping it ends it.
pub struct MailServer {
    address: SocketAddr,
    certificate: String,
    letters: Arc<Mutex<Vec<Letter>>>,
    refusals: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

#[derive(Clone)]
struct Desk {
    acceptor: Option<TlsAcceptor>,
    letters: Arc<Mutex<Vec<Letter>>>,
    refusals: Arc<Mutex<Vec<String>>>,
}

/// Why a conversation ended.
#[derive(PartialEq, Eq)]
enum End {
    Closed,
    StartTls,
}

impl MailServer {
    /// A server that takes mail in the clear and knows nothing of TLS.
    pub async fn plain() -> Self {
        Self::start(None).await
    }

    /// A server that offers STARTTLS, with a certificate of its own for 127.0.0.1.
    pub async fn with_tls() -> Self {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions of TLS")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())
            .expect("a certificate with its key");
        Self::start(Some((TlsAcceptor::from(Arc::new(config)), made.cert.pem()))).await
    }

    async fn start(tls: Option<(TlsAcceptor, String)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let (acceptor, certificate) = tls.unzip();
        let desk = Desk { acceptor, letters: Arc::default(), refusals: Arc::default() };
        let (letters, refusals) = (Arc::clone(&desk.letters), Arc::clone(&desk.refusals));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, desk.clone()));
            }
        });
        Self { address, certificate: certificate.unwrap_or_default(), letters, refusals, _tasks: tasks }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its certificate, PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Answers the next mail with this line in the place of a yes.
    pub fn refuse_next(&self, line: &str) {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner).push(line.to_owned());
    }

    /// Waits until there are so many mails.
    pub async fn letters(&self, count: usize) -> Vec<Letter> {
        eventually(&format!("{count} mails"), || {
            Some(self.letters.lock().unwrap_or_else(PoisonError::into_inner).clone()).filter(|letters| letters.len() >= count)
        })
        .await
    }
}

async fn serve(stream: TcpStream, desk: Desk) {
    let mut stream = BufReader::new(stream);
    if stream.write_all(b"220 mail.test ready\r\n").await.is_err() {
        return;
    }
    let offers = desk.acceptor.is_some();
    if converse(&mut stream, &desk, offers, false).await != Some(End::StartTls) {
        return;
    }
    let Some(acceptor) = &desk.acceptor else { return };
    if let Ok(encrypted) = acceptor.accept(stream.into_inner()).await {
        converse(&mut BufReader::new(encrypted), &desk, false, true).await;
    }
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut BufReader<S>, desk: &Desk, offers: bool, encrypted: bool) -> Option<End> {
    let mut letter = Letter { encrypted, ..Letter::default() };
    loop {
        let line = line(stream).await?;
        let (word, rest) = line.split_once([' ', ':']).unwrap_or((&line, ""));
        let answer = match word.to_ascii_uppercase().as_str() {
            "EHLO" if offers => "250-mail.test\r\n250 STARTTLS".to_owned(),
            "EHLO" => "250-mail.test\r\n250 AUTH PLAIN".to_owned(),
            "STARTTLS" if offers => {
                say(stream, "220 go ahead").await?;
                return Some(End::StartTls);
            }
            "AUTH" => {
                let encoded = rest.rsplit(' ').next().unwrap_or_default();
                let decoded = base64::engine::general_purpose::STANDARD.decode(encoded).unwrap_or_default();
                let plain = String::from_utf8_lossy(&decoded).into_owned();
                let mut parts = plain.split('\0').skip(1).map(str::to_owned);
                letter.login = parts.next().zip(parts.next());
                "235 welcome".to_owned()
            }
            "MAIL" => {
                rest.clone_into(&mut letter.from);
                "250 ok".to_owned()
            }
            "RCPT" => {
                letter.to.push(rest.to_owned());
                "250 ok".to_owned()
            }
            "DATA" => {
                say(stream, "354 go on").await?;
                letter.text = text(stream).await?;
                let refusal = desk.refusals.lock().unwrap_or_else(PoisonError::into_inner).pop();
                if refusal.is_none() {
                    desk.letters.lock().unwrap_or_else(PoisonError::into_inner).push(letter.clone());
                }
                refusal.unwrap_or_else(|| "250 queued".to_owned())
            }
            "QUIT" => {
                say(stream, "221 bye").await?;
                return Some(End::Closed);
            }
            "RSET" | "NOOP" => "250 ok".to_owned(),
            _ => "502 not here".to_owned(),
        };
        say(stream, &answer).await?;
    }
}

async fn text<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut BufReader<S>) -> Option<String> {
    let mut lines = Vec::new();
    while lines.len() < MAIL_LINES_MAX {
        let line = line(stream).await?;
        if line == "." {
            return Some(lines.join("\n"));
        }
        lines.push(line);
    }
    None
}

async fn line<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> Option<String> {
    let mut line = String::new();
    match stream.read_line(&mut line).await {
        Ok(1..) => Some(line.trim_end_matches(['\r', '\n']).to_owned()),
        Ok(0) | Err(_) => None,
    }
}

async fn say<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut BufReader<S>, line: &str) -> Option<()> {
    stream.write_all(format!("{line}\r\n").as_bytes()).await.ok()?;
    stream.flush().await.ok()
}
