//! The model endpoints: pooled connections, one exchange at a time, every wait under a deadline.
//!
//! Nothing of the client's request head reaches an upstream, and nothing of an upstream's answer head reaches the client: both
//! heads are written anew. An answer is only ever read as what its head says it is.

use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, USER_AGENT};
use pingora::ErrorType;
use pingora::connectors::ConnectorOptions;
use pingora::connectors::http::Connector;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::client::HttpSession;
use pingora::upstreams::peer::{HttpPeer, Peer as _};
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::config::{Timeouts, UpstreamPlace, UpstreamSettings};
use crate::dialect::request::ClearedBody;
use crate::edge::Route;
use crate::reply::No;

/// Idle connections kept for one upstream.
const POOL_SIZE: usize = 128;
/// How long a connection may idle before it is closed: shorter than the five seconds after which common model servers close theirs,
/// so that a request is not written into a connection that is just going away.
const POOL_IDLE: Duration = Duration::from_secs(4);
/// How long a looked-up address is used.
const ADDRESS_TTL: Duration = Duration::from_secs(10);
/// Most bytes in the header fields of an answer.
const ANSWER_HEAD_BYTES_MAX: usize = 64 << 10;
/// Most 1xx answers before the real one.
const INFORMATIONAL_MAX: usize = 16;
/// Longest pause asked for by an upstream that is passed on.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

const UNKNOWN: u8 = 0;
const UP: u8 = 1;
const DOWN: u8 = 2;

/// One model endpoint.
pub struct Upstream {
    /// Its name.
    pub name: String,
    tls: bool,
    host: String,
    port: u16,
    prefix: String,
    credential: Option<Zeroizing<String>>,
    connector: Connector,
    address: Mutex<Option<(SocketAddr, Instant)>>,
    /// Whether the last attempt reached it, once there was one.
    state: AtomicU8,
}

/// What an upstream's answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerKind {
    /// One JSON document.
    Json,
    /// An event stream.
    Events,
}

/// A request under way at an upstream. Dropping it closes the connection, which tells the upstream to stop.
pub struct Exchange {
    session: HttpSession,
    peer: HttpPeer,
    idle: Duration,
}

impl Upstream {
    /// An upstream as configured; `echo` is the address of the built-in one.
    pub fn new(settings: &UpstreamSettings, echo: Option<SocketAddr>) -> Option<Self> {
        let (tls, host, port, prefix) = match &settings.place {
            UpstreamPlace::Echo => (false, echo?.ip().to_string(), echo?.port(), String::new()),
            UpstreamPlace::Server { tls, host, port, prefix } => (*tls, host.clone(), *port, prefix.clone()),
        };
        let mut options = ConnectorOptions::new(POOL_SIZE);
        options.ca_file = settings.ca.as_ref().map(|path| path.to_string_lossy().into_owned());
        Some(Self {
            name: settings.name.clone(),
            tls,
            host,
            port,
            prefix,
            credential: settings.credential.clone(),
            connector: Connector::new(Some(options)),
            address: Mutex::new(None),
            state: AtomicU8::new(UNKNOWN),
        })
    }

    /// Whether the last attempt to reach it succeeded; `None` before the first.
    pub fn is_up(&self) -> Option<bool> {
        match self.state.load(Ordering::Relaxed) {
            UNKNOWN => None,
            state => Some(state == UP),
        }
    }

    /// Sends a cleared body and returns the running exchange.
    ///
    /// # Errors
    /// [`No::Upstream`] or [`No::UpstreamTimeout`].
    pub async fn send(&self, route: Route, body: ClearedBody, stream: bool, request_id: &str, timeouts: &Timeouts) -> Result<Exchange, No> {
        let mut head = self.request_head(Method::POST, route, request_id).map_err(|_| No::Internal)?;
        let fields = [
            (CONTENT_TYPE, "application/json".to_owned()),
            (CONTENT_LENGTH, body.bytes.len().to_string()),
            (ACCEPT, if stream { "text/event-stream" } else { "application/json" }.to_owned()),
        ];
        for (name, value) in fields {
            head.insert_header(name, value).map_err(|_| No::Internal)?;
        }
        self.start(head, Bytes::from(body.bytes), timeouts).await
    }

    /// Asks for the list of models.
    ///
    /// # Errors
    /// As [`Upstream::send`].
    pub async fn list_models(&self, request_id: &str, timeouts: &Timeouts) -> Result<Exchange, No> {
        let mut head = self.request_head(Method::GET, Route::Models, request_id).map_err(|_| No::Internal)?;
        head.insert_header(ACCEPT, "application/json").map_err(|_| No::Internal)?;
        self.start(head, Bytes::new(), timeouts).await
    }

    fn request_head(&self, method: Method, route: Route, request_id: &str) -> pingora::Result<RequestHeader> {
        let path = format!("{}{}", self.prefix, route.path());
        let mut head = RequestHeader::build(method, path.as_bytes(), Some(9))?;
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        head.insert_header(HOST, format!("{host}:{}", self.port))?;
        head.insert_header(USER_AGENT, concat!("portcullis/", env!("CARGO_PKG_VERSION")))?;
        head.insert_header(ACCEPT_ENCODING, "identity")?;
        head.insert_header("x-request-id", request_id)?;
        if let Some(credential) = &self.credential {
            let value = Zeroizing::new(format!("Bearer {}", credential.as_str()));
            head.insert_header(AUTHORIZATION, value.as_str())?;
        }
        Ok(head)
    }

    async fn start(&self, head: RequestHeader, body: Bytes, timeouts: &Timeouts) -> Result<Exchange, No> {
        let connected = timeout(timeouts.connect, self.connect(timeouts)).await;
        let (mut session, peer) = match connected {
            Ok(Ok(connected)) => connected,
            Ok(Err(no)) => {
                self.state.store(DOWN, Ordering::Relaxed);
                return Err(no);
            }
            Err(_) => {
                self.state.store(DOWN, Ordering::Relaxed);
                return Err(No::UpstreamTimeout("connecting"));
            }
        };
        self.state.store(UP, Ordering::Relaxed);
        let write = async {
            session.write_request_header(Box::new(head)).await?;
            if !body.is_empty() {
                session.write_request_body(body, true).await?;
            }
            session.finish_request_body().await
        };
        // The write itself is bounded by the connection's write timeout, set on the peer.
        write.await.map_err(|e| failure(&e, "sending the request"))?;
        session.set_read_timeout(None);
        Ok(Exchange { session, peer, idle: timeouts.idle })
    }

    async fn connect(&self, timeouts: &Timeouts) -> Result<(HttpSession, HttpPeer), No> {
        let address = self.resolve().await?;
        let mut peer = HttpPeer::new(address, self.tls, self.host.clone());
        peer.options.write_timeout = Some(timeouts.idle);
        peer.options.idle_timeout = Some(POOL_IDLE);
        let (session, _reused) = self.connector.get_http_session(&peer).await.map_err(|e| {
            // A name that moved is looked up again at the next attempt.
            self.remember(None);
            failure(&e, "connecting")
        })?;
        Ok((session, peer))
    }

    async fn resolve(&self) -> Result<SocketAddr, No> {
        if let Ok(ip) = self.host.parse::<IpAddr>() {
            return Ok(SocketAddr::new(ip, self.port));
        }
        let known = self.address.lock().ok().and_then(|known| *known);
        if let Some((address, at)) = known
            && at.elapsed() < ADDRESS_TTL
        {
            return Ok(address);
        }
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await.ok().and_then(|mut found| found.next());
        self.remember(found);
        found.ok_or(No::Upstream("its name cannot be resolved"))
    }

    fn remember(&self, address: Option<SocketAddr>) {
        if let Ok(mut known) = self.address.lock() {
            *known = address.map(|address| (address, Instant::now()));
        }
    }

    /// Puts the connection of a wholly read exchange back into the pool.
    pub async fn release(&self, exchange: Exchange) {
        let idle = exchange.peer.idle_timeout();
        self.connector.release_http_session(exchange.session, &exchange.peer, idle).await;
    }
}

impl Exchange {
    /// Reads the head of the answer, past any 1xx, and says what follows.
    ///
    /// # Errors
    /// [`No::UpstreamStatus`] for an error of the upstream, [`No::Upstream`] for what is no answer, [`No::UpstreamTimeout`].
    pub async fn head(&mut self, first_byte: Duration) -> Result<AnswerKind, No> {
        timeout(first_byte, self.final_head()).await.map_err(|_| No::UpstreamTimeout("no answer"))??;
        let head = self.session.response_header().ok_or(No::Upstream("no answer"))?;
        classify(head)
    }

    async fn final_head(&mut self) -> Result<(), No> {
        for _ in 0..INFORMATIONAL_MAX {
            self.session.read_response_header().await.map_err(|e| failure(&e, "reading the answer's head"))?;
            let status = self.session.response_header().map_or(0, |head| head.status.as_u16());
            match status {
                101 => return Err(No::Upstream("it switched protocols")),
                100..=199 => {}
                _ => return Ok(()),
            }
        }
        Err(No::Upstream("it sends 1xx answers only"))
    }

    /// Reads the next piece of the answer; `None` at its end.
    ///
    /// # Errors
    /// [`No::Upstream`] when it breaks off, [`No::UpstreamTimeout`] when nothing came for the idle time.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, No> {
        match timeout(self.idle, self.session.read_response_body()).await {
            Ok(Ok(piece)) => Ok(piece),
            Ok(Err(e)) => Err(failure(&e, "its answer broke off")),
            Err(_) => Err(No::UpstreamTimeout("its answer stalled")),
        }
    }
}

fn classify(head: &ResponseHeader) -> Result<AnswerKind, No> {
    let bytes: usize = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if bytes > ANSWER_HEAD_BYTES_MAX {
        return Err(No::Upstream("the head of its answer is too large"));
    }
    let status = head.status.as_u16();
    match status {
        200 => {}
        // Never followed: the place it names was not configured.
        300..=399 => return Err(No::Upstream("it answered with a redirect")),
        400..=599 => return Err(No::UpstreamStatus { status, retry_after: retry_after(head) }),
        _ => return Err(No::Upstream("it answered with an unexpected status")),
    }
    let field =
        |name: http::HeaderName| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_ascii_lowercase();
    if !matches!(field(http::header::CONTENT_ENCODING).as_str(), "" | "identity") {
        return Err(No::Upstream("it compressed its answer although told not to"));
    }
    match field(CONTENT_TYPE).split(';').next().unwrap_or_default().trim() {
        "application/json" => Ok(AnswerKind::Json),
        "text/event-stream" => Ok(AnswerKind::Events),
        _ => Err(No::Upstream("its answer is neither JSON nor an event stream")),
    }
}

/// Seconds only; a date, a negative or an absurd value is not passed on.
fn retry_after(head: &ResponseHeader) -> Option<Duration> {
    let seconds: u64 = head.headers.get(http::header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
}

fn failure(error: &pingora::Error, doing: &'static str) -> No {
    match error.etype() {
        ErrorType::ConnectTimedout | ErrorType::ReadTimedout | ErrorType::WriteTimedout | ErrorType::TLSHandshakeTimedout => {
            No::UpstreamTimeout(doing)
        }
        _ => No::Upstream(doing),
    }
}
