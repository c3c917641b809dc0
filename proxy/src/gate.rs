//! The gate: everything that outlives a request, and the connection loop around the path.
//!
//! One [`Gate`] serves all connections. For each request it reads the head under a deadline, runs the path ([`crate::pipeline`])
//! and answers what the path refused. A panic ends one request and is on record; it ends nothing else.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use governor::DefaultDirectRateLimiter;
use http::header::TRANSFER_ENCODING;
use pingora::apps::{HttpPersistentSettings, HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::H2Options;
use pingora::server::ShutdownWatch;
use portcullis_audit::alert::Alerts;
use portcullis_audit::{Store, crash};
use tokio::time::timeout;

use crate::config::{Durability, Limits, Timeouts};
use crate::edge;
use crate::guard::Guard;
use crate::held::ByRoute;
use crate::keys::{KeyFile, KeyRecord, KeyTable};
use crate::limit::{Budget, KeyLimits, Strangers};
use crate::metrics::Metrics;
use crate::pipeline::{self, Halt};
use crate::record::Ledger;
use crate::reply::No;
use crate::respond;
use crate::rollout::Policies;
use crate::unrecorded::{OnFailure, Unrecorded};
use crate::upstream::Upstream;
use crate::vault::Vault;

/// Most bytes of text that are screened on a thread that serves other requests too: some milliseconds' worth.
const INLINE_BYTES_MAX: usize = 64 << 10;
/// Streams that one HTTP/2 connection may have open.
const H2_STREAMS_MAX: u32 = 100;

/// One key and what belongs to it. A request takes one `Caller` when its key is checked and keeps it to its end: whatever is put in
/// force meanwhile, it is held to one policy.
pub struct Caller {
    /// The key's record.
    pub record: KeyRecord,
    /// The policies its requests are held to.
    pub held: ByRoute,
    /// Its limits.
    pub limits: Arc<KeyLimits>,
}

/// The keys in force.
pub type Callers = KeyTable<Arc<Caller>>;

/// Everything that outlives a request.
pub struct Gate {
    /// The keys in force; replaced whole when the key file or a policy changes.
    pub callers: RwLock<Arc<Callers>>,
    /// The upstreams.
    pub upstreams: Vec<Arc<Upstream>>,
    /// Model name (or `*`) to an index into `upstreams`.
    pub models: BTreeMap<String, usize>,
    /// The guard, if there is one.
    pub guard: Option<Arc<Guard>>,
    /// The audit store.
    pub store: Store,
    /// Where alerts go, if anywhere.
    pub alerts: Option<Alerts>,
    /// When a decision must be durable.
    pub durability: Durability,
    /// What becomes of a request whose decision cannot be made durable.
    pub on_failure: OnFailure,
    /// Requests served without a record.
    pub unrecorded: Unrecorded,
    /// The pseudonyms of running conversations.
    pub vault: Vault,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// Memory for bodies.
    pub memory: Budget,
    /// Client connections.
    pub connections: Budget,
    /// How connections are kept.
    pub http: HttpServerOptions,
    /// Keeps a failing upstream or guard from filling the log.
    pub warnings: DefaultDirectRateLimiter,
    /// Callers without a key.
    pub strangers: Strangers,
    /// Sizes.
    pub limits: Limits,
    /// Times.
    pub timeouts: Timeouts,
}

/// Builds the table of callers. Callers whose record did not change keep their limits' state; a key whose policy does not exist is
/// left out.
pub fn callers(file: &KeyFile, policies: &Policies, before: Option<&Callers>) -> Callers {
    let old: BTreeMap<&str, &Arc<Caller>> =
        before.map(|table| table.values().map(|caller| (caller.record.id.as_str(), caller)).collect()).unwrap_or_default();
    KeyTable::new(file, |key| {
        let held = ByRoute::of(key, policies)?;
        let limits = match old.get(key.id.as_str()) {
            Some(caller) if caller.record == *key => Arc::clone(&caller.limits),
            _ => Arc::new(KeyLimits::new(key)),
        };
        Some(Arc::new(Caller { record: key.clone(), held, limits }))
    })
}

/// The same callers with the same limits, held to what `policies` says now.
pub fn held_to(policies: &Policies, before: &Callers) -> Callers {
    before.map(|caller| match ByRoute::of(&caller.record, policies) {
        Some(held) if !held.is(&caller.held) => {
            Arc::new(Caller { record: caller.record.clone(), held, limits: Arc::clone(&caller.limits) })
        }
        _ => Arc::clone(caller),
    })
}

impl Gate {
    /// The callers in force now.
    pub fn callers(&self) -> Arc<Callers> {
        match self.callers.read() {
            Ok(callers) => Arc::clone(&callers),
            Err(poisoned) => Arc::clone(&poisoned.into_inner()),
        }
    }

    /// Puts other callers in force.
    pub fn replace_callers(&self, callers: Callers) {
        let callers = Arc::new(callers);
        match self.callers.write() {
            Ok(mut current) => *current = callers,
            Err(poisoned) => *poisoned.into_inner() = callers,
        }
    }

    /// Counts how an exchange with an upstream began.
    ///
    /// # Errors
    /// Hands `sent` on.
    pub fn counted<T>(&self, upstream: &Upstream, sent: Result<T, No>) -> Result<T, No> {
        let result = match &sent {
            Ok(_) => "ok",
            Err(No::UpstreamTimeout(_)) => "timeout",
            Err(No::UpstreamStatus { .. }) => "status",
            Err(_) => "error",
        };
        self.metrics.upstream(&upstream.name, result, upstream.is_up() == Some(true));
        if let Err(no) = &sent
            && self.warnings.check().is_ok()
        {
            let status = if let No::UpstreamStatus { status, .. } = no { Some(*status) } else { None };
            tracing::warn!(upstream = upstream.name, result, status, reason = no.answer().message, "an exchange failed");
        }
        sent
    }

    fn open_ledger(&self, session: &ServerSession, request_id: &str) -> Ledger {
        let client = session.client_addr().map(ToString::to_string).unwrap_or_default();
        Ledger::open(self.store.clone(), Arc::clone(&self.metrics), request_id, client)
    }

    /// Reads the next request head. `None`: the connection is over and owes no answer.
    async fn read_head(&self, session: &mut ServerSession, wait: Duration) -> Option<Result<(), No>> {
        let read = timeout(wait, session.read_request()).await;
        Some(match read {
            Ok(Ok(true)) => match session.as_http1() {
                Some(http1) => edge::check_raw(&http1.get_headers_raw_bytes(), &self.limits),
                None => Ok(()),
            },
            Ok(Ok(false)) => return None,
            Ok(Err(e)) if *e.etype() == pingora::ErrorType::InvalidHTTPHeader => Err(malformed(&e)),
            Ok(Err(_)) => return None,
            Err(_) => Err(No::HeadTimeout),
        })
    }

    /// Runs the path for one request and answers it. True when the connection may be used again.
    async fn serve(self: &Arc<Self>, session: &mut ServerSession, head: Result<(), No>) -> bool {
        let request_id = uuid::Uuid::now_v7().to_string();
        let mut ledger = self.open_ledger(session, &request_id);
        if let Err(no) = head {
            self.refuse(session, &mut ledger, &request_id, no).await;
            return false;
        }
        if session.as_http1().is_some_and(|http1| http1.req_header().headers.contains_key(TRANSFER_ENCODING)) {
            // The chunk parser underneath is lenient too: it takes an empty size line for the last chunk. Whatever it took for the
            // end of such a body, nothing after it is ever read as a request.
            session.set_keepalive(None);
        }
        crash::point("accepted");
        let reusable = self.answer(session, &mut ledger, &request_id).await;
        reusable && session.as_http1().is_none_or(|http1| http1.will_keepalive())
    }

    /// Runs the path, and answers what it refused. True when the connection may be used again.
    async fn answer(self: &Arc<Self>, session: &mut ServerSession, ledger: &mut Ledger, request_id: &str) -> bool {
        let path = AssertUnwindSafe(pipeline::run(self, session, ledger, request_id)).catch_unwind().await;
        match path {
            Ok(Ok(())) => true,
            Ok(Err(Halt::No(no))) => self.refuse_and_linger(session, ledger, request_id, no).await,
            Ok(Err(Halt::Over(outcome))) => {
                ledger.complete(outcome, None, None);
                false
            }
            Err(_) => {
                self.metrics.panics.inc();
                tracing::error!(request_id, "a request ended in a panic");
                if ledger.completion().is_some() {
                    ledger.complete("panic", Some(500), None);
                }
                if session.response_written().is_some() {
                    return false;
                }
                self.refuse_and_linger(session, ledger, request_id, No::Internal).await
            }
        }
    }

    fn is_recorded(&self, session: &ServerSession) -> bool {
        let address = session.client_addr().and_then(|address| address.as_inet()).map(|address| address.ip());
        address.is_none_or(|address| self.strangers.is_recorded(address))
    }

    /// Refuses a request whose head was read. True when the connection may be used again.
    async fn refuse_and_linger(&self, session: &mut ServerSession, ledger: &mut Ledger, request_id: &str, no: No) -> bool {
        let body_pending = !session.is_body_done();
        let close = body_pending || no.answer().close;
        if close {
            session.set_keepalive(None);
        }
        let patient = body_pending && no != No::BodyTimeout;
        let written = self.refuse(session, ledger, request_id, no).await;
        if written && patient {
            respond::linger(session).await;
        }
        written && !close
    }

    /// Records a refusal and answers with it. True when it was written.
    async fn refuse(&self, session: &mut ServerSession, ledger: &mut Ledger, request_id: &str, no: No) -> bool {
        let answer = no.answer();
        if ledger.is_strangers() && !self.is_recorded(session) {
            self.metrics.unrecorded.inc();
            ledger.forget(answer.code);
            session.set_keepalive(None);
            return respond::error(session, request_id, &no, &answer).await.is_ok();
        }
        if let Some(commit) = ledger.refuse(&no)
            && commit.await.is_err()
        {
            // Nothing was served; the store counts what it could not write.
            tracing::error!(request_id, "the record of a refusal could not be written");
        }
        if ledger.completion().is_some() {
            ledger.complete(answer.code, Some(answer.status), None);
        }
        if answer.close {
            session.set_keepalive(None);
        }
        respond::error(session, request_id, &no, &answer).await.is_ok()
    }

    /// Ends a request's turn: hands the connection back for the next one, which has to begin within the keep-alive time.
    async fn next(&self, session: ServerSession, shutdown: &ShutdownWatch) -> Option<ReusedHttpStream> {
        if session.is_http2() {
            let _ = session.finish().await;
            return None;
        }
        let mut settings = HttpPersistentSettings::for_session(&session);
        let (mut stream, prefix) = session.finish().await.ok()??.into_parts();
        if let Some(prefix) = prefix {
            settings.set_pipelined_prefix(prefix);
            return Some(ReusedHttpStream::new(stream, Some(settings)));
        }
        let mut stopping = shutdown.clone();
        let mut first = [0_u8; 1];
        let peeked = tokio::select! {
            peeked = timeout(self.timeouts.keep_alive, stream.try_peek(&mut first)) => peeked.ok()?.ok()?,
            _ = stopping.changed() => return None,
        };
        if !peeked {
            // A stream that cannot be looked into waits inside the next read.
            settings.set_user_context(Box::new(self.timeouts.keep_alive));
        }
        Some(ReusedHttpStream::new(stream, Some(settings)))
    }
}

#[async_trait]
impl HttpServerApp for Gate {
    async fn process_new_http(self: &Arc<Self>, mut session: ServerSession, shutdown: &ShutdownWatch) -> Option<ReusedHttpStream> {
        let _connection = self.connections.take(1)?;
        session.set_pipelining_enabled(true);
        session.set_write_timeout(Some(self.timeouts.client_write));
        let idle = session.take_connection_user_context().and_then(|context| context.downcast::<Duration>().ok());
        let wait = self.timeouts.head + idle.map_or(Duration::ZERO, |idle| *idle);
        let head = self.read_head(&mut session, wait).await?;
        if *shutdown.borrow() {
            session.set_keepalive(None);
        }
        let reusable = self.serve(&mut session, head).await;
        if !reusable {
            // Dropped without `finish`: an HTTP/1 connection closes, an HTTP/2 stream is reset if it was not ended.
            return None;
        }
        self.next(session, shutdown).await
    }

    fn h2_options(&self) -> Option<H2Options> {
        let mut options = H2Options::new();
        options
            .max_concurrent_streams(H2_STREAMS_MAX)
            .max_header_list_size(u32::try_from(self.limits.head_bytes).unwrap_or(u32::MAX))
            .max_concurrent_reset_streams(H2_STREAMS_MAX as usize)
            .max_pending_accept_reset_streams(H2_STREAMS_MAX as usize);
        Some(options)
    }
}

/// The parser says in words what was too much for it.
fn malformed(error: &pingora::Error) -> No {
    let text = error.to_string();
    if text.contains("larger than") || text.contains("TooManyHeaders") || text.contains("too many headers") {
        No::HeadTooLarge { limit: "the parser takes".to_owned() }
    } else {
        No::BadHead("it is not valid HTTP")
    }
}

/// Runs work over `bytes` of text. Long work leaves its thread's other requests to another thread first.
pub fn unhurried<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    if bytes > INLINE_BYTES_MAX { tokio::task::block_in_place(work) } else { work() }
}
