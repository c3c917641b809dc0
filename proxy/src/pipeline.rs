//! The path of a request, one straight way: each step takes what the last one made.
//!
//! ```text
//! accept -> authenticate -> limit -> parse -> screen rules -> screen model -> decide -> record -> rewrite -> forward -> screen back -> respond
//! ```
//!
//! Only [`decide`] makes a clearance, only [`Parsed::rewrite`] makes a body from it, and only such a body can be sent: text that was
//! not screened cannot be forwarded, by type. Nothing is answered before the decision is durable.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use pingora::ErrorType;
use pingora::protocols::http::ServerSession;
use portcullis_audit::Commit;
use portcullis_guard_model::{Input, Speaker};
use portcullis_policies::{Cleared, Direction, Finding, ModelSignal, Outcome, Policy, Role, Text, decide};
use tokio::time::{timeout, timeout_at};

use crate::answer::{self, AnswerStream, Stop};
use crate::config::Durability;
use crate::dialect::{Leaf, Parsed};
use crate::edge::{self, BodyLength, Head, Route};
use crate::gate::{Caller, Gate};
use crate::json::Node;
use crate::limit::{Permit, Share};
use crate::metrics::Stage;
use crate::record::{Ledger, Tokens};
use crate::reply::No;
use crate::respond;
use crate::upstream::{AnswerKind, Exchange, Upstream};

/// What a body costs in memory: its bytes, the tree, the texts, the rewritten bytes.
const BODY_MEMORY_FACTOR: usize = 4;
/// Piece by which the memory of a body of unknown length is taken.
const BODY_MEMORY_STEP: usize = 64 << 10;
/// Most bytes of text that are screened on a thread that serves other requests too: some milliseconds' worth.
const INLINE_BYTES_MAX: usize = 64 << 10;
/// Most bytes of redacted text kept for the record of one request.
const STORED_TEXT_BYTES_MAX: usize = 64 << 10;

/// Why the path ends early.
#[derive(Debug)]
pub enum Halt {
    /// With a refusal that the client is told.
    No(No),
    /// With nothing more to tell; the word goes into the record.
    Over(&'static str),
}

impl From<No> for Halt {
    fn from(no: No) -> Self {
        Halt::No(no)
    }
}

/// What a running request holds. Given back just before the last byte of its answer, so that a caller who has its answer can use it.
struct Held {
    _permit: Permit,
    _memory: Share,
}

/// A request that has passed every step up to the decision.
struct Decided {
    route: Route,
    caller: Arc<Caller>,
    parsed: Parsed,
    cleared: Cleared,
    commit: Commit,
    upstream: Arc<Upstream>,
}

/// Serves one request whose head has been read.
pub async fn run(gate: &Gate, session: &mut ServerSession, ledger: &mut Ledger, request_id: &str) -> Result<(), Halt> {
    let head = edge::read_head(session.req_header(), session.is_http2(), &gate.limits)?;
    ledger.route(head.route.name());
    let caller = authenticate(gate, session, ledger)?;
    let permit = caller.limits.take()?;
    if head.route == Route::Models {
        return models(gate, session, ledger, request_id, &caller).await;
    }
    let (body, memory) = receive(gate, session, ledger, &head).await?;
    let held = Held { _permit: permit, _memory: memory };
    let decided = screen(gate, ledger, &head, caller, &body).await?;
    drop(body);
    forward(gate, session, ledger, request_id, decided, held).await
}

fn authenticate(gate: &Gate, session: &ServerSession, ledger: &mut Ledger) -> Result<Arc<Caller>, No> {
    let key = edge::bearer(session.req_header())?;
    let caller = gate.callers().find(key).cloned().ok_or(No::BadKey)?;
    caller.record.tenant.clone_into(&mut ledger.event.tenant);
    caller.record.id.clone_into(&mut ledger.event.key_id);
    ledger.policy(&caller.policy);
    Ok(caller)
}

/// Reads the body, within its deadline, its limit and the memory budget.
async fn receive(gate: &Gate, session: &mut ServerSession, ledger: &mut Ledger, head: &Head) -> Result<(Vec<u8>, Share), Halt> {
    let began = Instant::now();
    let known = match head.body {
        BodyLength::Known(length) => length,
        _ => 0,
    };
    let mut memory = gate.memory.take(known * BODY_MEMORY_FACTOR).ok_or(No::Overloaded)?;
    if head.expects_continue {
        session.write_continue_response().await.map_err(|_| Halt::Over("client_gone"))?;
    }
    let mut body = Vec::with_capacity(known);
    let mut taken = known;
    let deadline = tokio::time::Instant::now() + gate.timeouts.body;
    loop {
        let piece = match timeout_at(deadline, session.read_request_body()).await {
            Err(_) => return Err(No::BodyTimeout.into()),
            Ok(Ok(None)) => break,
            Ok(Ok(Some(piece))) => piece,
            Ok(Err(e)) => return Err(unreadable(&e)),
        };
        if body.len() + piece.len() > gate.limits.body_bytes {
            return Err(No::BodyTooLarge { limit: gate.limits.body_bytes }.into());
        }
        while body.len() + piece.len() > taken {
            if !memory.grow(BODY_MEMORY_STEP * BODY_MEMORY_FACTOR) {
                return Err(No::Overloaded.into());
            }
            taken += BODY_MEMORY_STEP;
        }
        body.extend_from_slice(&piece);
    }
    ledger.event.bytes_in = Some(body.len() as u64);
    ledger.took(Stage::Receive, began);
    Ok((body, memory))
}

/// A body that broke off is a client that left; one with bad framing is a bad request.
fn unreadable(error: &pingora::Error) -> Halt {
    match error.etype() {
        ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::H2Error => Halt::Over("client_gone"),
        _ => No::BadHead("the body's framing is broken").into(),
    }
}

/// Parses, screens and decides. The decision is on its way to the disk when this returns.
async fn screen(gate: &Gate, ledger: &mut Ledger, head: &Head, caller: Arc<Caller>, body: &[u8]) -> Result<Decided, Halt> {
    let policy = Arc::clone(&caller.policy);
    let parsed = ledger.timed(Stage::Parse, |_| unhurried(body.len(), || Parsed::read(head.route, body, &policy)))?;
    parsed.model.clone_into(&mut ledger.event.model);
    if !caller.record.allows(&parsed.model) {
        return Err(No::ModelNotAllowed.into());
    }
    let upstream = upstream(gate, &parsed.model)?;
    upstream.name.clone_into(&mut ledger.event.upstream);
    let text_bytes = parsed.text_bytes() as u64;
    ledger.event.text_bytes = Some(text_bytes);
    let texts: Vec<Text<'_>> = parsed.leaves.iter().map(text).collect();
    let rules = |ledger: &mut Ledger| screen_rules(ledger, &policy, &parsed.leaves, &texts);
    let findings = ledger.timed(Stage::Rules, |ledger| unhurried(text_bytes as usize, || rules(ledger)));
    ledger.event.screened_bytes = Some(text_bytes);
    let signal = screen_model(gate, ledger, &parsed.leaves).await;
    let decision = decide(&policy, &texts, &findings, &signal);
    if policy.stores_redacted_text() {
        ledger.event.redacted_prompt = Some(redacted_prompt(&decision.outcome, &parsed.leaves));
    }
    drop(texts);
    let refused = matches!(decision.outcome, Outcome::Refuse(_));
    let commit = ledger.decide(&decision, &signal, refused.then_some(403));
    match decision.outcome {
        Outcome::Forward(cleared) => Ok(Decided { route: head.route, caller, parsed, cleared, commit, upstream }),
        Outcome::Refuse(refusal) => {
            durable(ledger, commit).await?;
            Err(No::Content(refusal).into())
        }
    }
}

/// Runs work over `bytes` of text. Long work leaves its thread's other requests to another thread first.
fn unhurried<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    if bytes > INLINE_BYTES_MAX { tokio::task::block_in_place(work) } else { work() }
}

fn upstream(gate: &Gate, model: &str) -> Result<Arc<Upstream>, No> {
    let index = gate.models.get(model).or_else(|| gate.models.get("*")).ok_or(No::NoModel)?;
    gate.upstreams.get(*index).cloned().ok_or(No::Internal)
}

fn text(leaf: &Leaf) -> Text<'_> {
    Text { role: leaf.role, encoding: leaf.encoding, redactable: leaf.redactable, text: &leaf.text }
}

fn screen_rules(ledger: &mut Ledger, policy: &Policy, leaves: &[Leaf], texts: &[Text<'_>]) -> Vec<Vec<Finding>> {
    texts
        .iter()
        .zip(leaves)
        .map(|(text, leaf)| {
            let findings = policy.screen(Direction::Request, text);
            ledger.found(Direction::Request, &leaf.pointer, &findings);
            findings
        })
        .collect()
}

/// Asks the guard model, if there is one; the worst text counts.
async fn screen_model(gate: &Gate, ledger: &mut Ledger, leaves: &[Leaf]) -> ModelSignal {
    let Some(guard) = &gate.guard else { return ModelSignal::Skipped };
    let inputs: Vec<Input> = leaves
        .iter()
        .filter(|leaf| leaf.redactable && leaf.role != Role::System)
        .map(|leaf| Input { speaker: speaker(leaf.role), text: leaf.text.clone() })
        .collect();
    if inputs.is_empty() {
        return ModelSignal::Skipped;
    }
    let (began, count) = (Instant::now(), inputs.len());
    // The deadline is the classifier's to keep, and ours to hold it to.
    let answer = timeout(gate.timeouts.guard, guard.classify(inputs, began + gate.timeouts.guard)).await;
    ledger.took(Stage::Guard, began);
    let unavailable = |reason: &str| ModelSignal::Unavailable { reason: reason.to_owned() };
    match answer {
        Err(_) => unavailable("late"),
        Ok(Err(e)) => unavailable(match e {
            portcullis_guard_model::Unavailable::Late => "late",
            portcullis_guard_model::Unavailable::Overloaded => "overloaded",
            portcullis_guard_model::Unavailable::Failed(_) => "failed",
        }),
        Ok(Ok(scores)) if scores.len() != count || !scores.iter().all(|s| s.is_sound()) => unavailable("failed"),
        Ok(Ok(scores)) => match scores.iter().max_by(|a, b| a.attack().total_cmp(&b.attack())) {
            Some(worst) => ModelSignal::Scored { label: worst.label().to_owned(), score: worst.attack() },
            None => ModelSignal::Skipped,
        },
    }
}

fn speaker(role: Role) -> Speaker {
    match role {
        Role::System => Speaker::System,
        Role::User => Speaker::User,
        Role::Assistant => Speaker::Assistant,
        Role::Tool => Speaker::Tool,
    }
}

/// The prompt as it left, for policies that keep it. A refused prompt is not kept: it has no redacted form.
fn redacted_prompt(outcome: &Outcome, leaves: &[Leaf]) -> String {
    let Outcome::Forward(cleared) = outcome else { return String::new() };
    let mut prompt = String::new();
    for (index, leaf) in leaves.iter().enumerate().filter(|(_, leaf)| leaf.redactable) {
        let text = cleared.redacted(index).unwrap_or(&leaf.text);
        keep(&mut prompt, text);
        keep(&mut prompt, "\n");
    }
    prompt
}

fn keep(kept: &mut String, text: &str) {
    let room = STORED_TEXT_BYTES_MAX.saturating_sub(kept.len());
    kept.push_str(&text[..text.floor_char_boundary(room.min(text.len()))]);
}

/// Waits until the decision is durable.
async fn durable(ledger: &mut Ledger, commit: Commit) -> Result<(), No> {
    let began = Instant::now();
    let receipt = commit.await;
    ledger.took(Stage::Record, began);
    receipt.map(drop).map_err(|e| {
        tracing::error!(error = %e, "a decision could not be made durable");
        No::AuditUnavailable
    })
}

/// Sends the cleared body and brings back the screened answer.
async fn forward(
    gate: &Gate,
    session: &mut ServerSession,
    ledger: &mut Ledger,
    request_id: &str,
    decided: Decided,
    held: Held,
) -> Result<(), Halt> {
    let Decided { route, caller, parsed, cleared, commit, upstream } = decided;
    let deadline = tokio::time::Instant::now() + gate.timeouts.total;
    let mut commit = Some(commit);
    if gate.durability == Durability::BeforeForward
        && let Some(commit) = commit.take()
    {
        durable(ledger, commit).await?;
    }
    let stream = parsed.stream;
    let prompt_bytes = parsed.text_bytes();
    let body = parsed.rewrite(&cleared);
    let began = Instant::now();
    let exchange = async {
        let mut exchange = upstream.send(route, body, stream, request_id, &gate.timeouts).await?;
        let kind = exchange.head(gate.timeouts.first_byte).await?;
        Ok::<_, No>((exchange, kind))
    };
    let sent = or_gone(session, timeout_at(deadline, exchange)).await?.unwrap_or(Err(No::UpstreamTimeout("the whole exchange")));
    ledger.took(Stage::FirstByte, began);
    let sent = counted(gate, &upstream, sent);
    // Also a failure is an answer, and no answer comes before the record.
    if let Some(commit) = commit {
        durable(ledger, commit).await?;
    }
    let (exchange, kind) = sent?;
    let back = Back { gate, policy: &caller.policy, upstream: &upstream, exchange, request_id, prompt_bytes, deadline, held };
    match kind {
        AnswerKind::Json => back.whole(session, ledger).await,
        AnswerKind::Events if stream => back.stream(session, ledger).await,
        AnswerKind::Events => Err(No::Upstream("it streamed an answer that was not to be streamed").into()),
    }
}

fn counted<T>(gate: &Gate, upstream: &Upstream, sent: Result<T, No>) -> Result<T, No> {
    let result = match &sent {
        Ok(_) => "ok",
        Err(No::UpstreamTimeout(_)) => "timeout",
        Err(No::UpstreamStatus { .. }) => "status",
        Err(_) => "error",
    };
    gate.metrics.upstream(&upstream.name, result, upstream.is_up());
    sent
}

/// Waits for `work` unless the client leaves first.
async fn or_gone<T>(session: &mut ServerSession, work: impl Future<Output = T>) -> Result<T, Halt> {
    tokio::select! {
        biased;
        done = work => Ok(done),
        _ = session.read_body_or_idle(true) => Err(Halt::Over("client_gone")),
    }
}

fn unwritable(error: &pingora::Error) -> Halt {
    match error.etype() {
        ErrorType::WriteTimedout => Halt::Over("client_slow"),
        _ => Halt::Over("client_gone"),
    }
}

/// The way back of one request.
struct Back<'a> {
    gate: &'a Gate,
    policy: &'a Arc<Policy>,
    upstream: &'a Upstream,
    exchange: Exchange,
    request_id: &'a str,
    prompt_bytes: usize,
    deadline: tokio::time::Instant,
    held: Held,
}

impl Back<'_> {
    async fn whole(mut self, session: &mut ServerSession, ledger: &mut Ledger) -> Result<(), Halt> {
        let body = self.read_whole(session).await?;
        let began = Instant::now();
        let mut found = Vec::new();
        let screened = unhurried(body.len(), || answer::screen_whole(self.policy, &body, &mut found));
        ledger.took(Stage::ScreenBack, began);
        for (pointer, findings) in &found {
            ledger.found(Direction::Response, pointer, findings);
        }
        self.upstream.release(self.exchange).await;
        match screened {
            Ok((bytes, tokens)) => {
                let tokens = tokens.unwrap_or_else(|| estimate(self.prompt_bytes, bytes.len()));
                note_answer(ledger, bytes.len(), self.policy.stores_redacted_text().then(|| text_of(&bytes)));
                drop(self.held);
                respond::json(session, self.request_id, bytes).await.map_err(|e| unwritable(&e))?;
                ledger.complete("ok", Some(200), Some(tokens));
                Ok(())
            }
            Err(Stop::Refused(refusal)) => {
                let no = No::Content(refusal);
                ledger.complete("blocked_output", Some(no.answer().status), Some(estimate(self.prompt_bytes, body.len())));
                Err(no.into())
            }
            Err(Stop::Broken(why)) => Err(No::Upstream(why).into()),
        }
    }

    async fn read_whole(&mut self, session: &mut ServerSession) -> Result<Vec<u8>, Halt> {
        let limit = self.gate.limits.response_bytes;
        let deadline = self.deadline;
        let read = async {
            let mut body = Vec::new();
            while let Some(piece) = self.exchange.piece().await? {
                if body.len() + piece.len() > limit {
                    return Err(No::Upstream("its answer is too large"));
                }
                body.extend_from_slice(&piece);
            }
            Ok(body)
        };
        let body = or_gone(session, timeout_at(deadline, read)).await?.unwrap_or(Err(No::UpstreamTimeout("the whole exchange")))?;
        Ok(body)
    }

    async fn stream(mut self, session: &mut ServerSession, ledger: &mut Ledger) -> Result<(), Halt> {
        respond::events(session, self.request_id).await.map_err(|e| unwritable(&e))?;
        let mut screen = AnswerStream::new(Arc::clone(self.policy), self.gate.limits.sse_event_bytes);
        let mut progress = Progress::default();
        let ended = self.pump(session, ledger, &mut screen, &mut progress).await;
        let tokens = screen.tokens.unwrap_or_else(|| estimate(self.prompt_bytes, screen.text_bytes));
        note_answer(ledger, progress.sent, progress.kept.take());
        match ended {
            Ok(()) => {
                drop(self.held);
                session.write_response_body(Bytes::new(), true).await.map_err(|e| unwritable(&e))?;
                ledger.complete("ok", Some(200), Some(tokens));
                self.upstream.release(self.exchange).await;
                Ok(())
            }
            Err(Halt::Over(outcome)) => {
                ledger.complete(outcome, Some(200), Some(tokens));
                Err(Halt::Over(outcome))
            }
            Err(Halt::No(no)) => {
                // The upstream stops first: its connection goes with the exchange.
                drop((self.exchange, self.held));
                let outcome = if matches!(no, No::Content(_)) { "blocked_output" } else { no.answer().code };
                ledger.complete(outcome, Some(200), Some(tokens));
                let event = Bytes::from(no.answer().event());
                session.write_response_body(event, false).await.map_err(|e| unwritable(&e))?;
                session.write_response_body(Bytes::new(), true).await.map_err(|e| unwritable(&e))?;
                Ok(())
            }
        }
    }

    /// Moves pieces from the upstream through the screen to the client until one of them ends it.
    async fn pump(&mut self, session: &mut ServerSession, ledger: &mut Ledger, screen: &mut AnswerStream, progress: &mut Progress) -> Result<(), Halt> {
        let deadline = self.deadline;
        loop {
            let piece = or_gone(session, timeout_at(deadline, self.exchange.piece())).await?;
            let piece = piece.unwrap_or(Err(No::UpstreamTimeout("the whole exchange")));
            let mut out = Vec::new();
            let began = Instant::now();
            let stop = match &piece {
                Ok(Some(bytes)) => screen.push(bytes, &mut out).err().map(told),
                Ok(None) => screen.end(&mut out).err().map(told),
                // What was said before it broke off is settled all the same.
                Err(no) => Some(screen.end(&mut out).err().filter(|stop| matches!(stop, Stop::Refused(_))).map_or(no.clone(), told)),
            };
            ledger.took(Stage::ScreenBack, began);
            self.gate.metrics.held_back.observe(screen.held_bytes() as f64);
            for (pointer, findings) in screen.found.drain(..) {
                ledger.found(Direction::Response, &pointer, &findings);
            }
            if !out.is_empty() {
                progress.note(&out, self.policy.stores_redacted_text());
                session.write_response_body(Bytes::from(out), false).await.map_err(|e| unwritable(&e))?;
            }
            match (stop, piece) {
                (Some(no), _) => return Err(Halt::No(no)),
                (None, Ok(None)) => return Ok(()),
                // Whatever follows `[DONE]` is dropped, but the body is read to its end so that the connection can be used again.
                (None, _) => {}
            }
        }
    }
}

/// How far a stream has come.
#[derive(Default)]
struct Progress {
    sent: usize,
    kept: Option<String>,
}

impl Progress {
    fn note(&mut self, out: &[u8], keep_text: bool) {
        self.sent += out.len();
        if keep_text {
            let kept = self.kept.get_or_insert_default();
            for line in String::from_utf8_lossy(out).lines() {
                keep(kept, &text_of(line.strip_prefix("data: ").unwrap_or_default().as_bytes()));
            }
        }
    }
}

fn told(stop: Stop) -> No {
    match stop {
        Stop::Refused(refusal) => No::Content(refusal),
        Stop::Broken(why) => No::Upstream(why),
    }
}

fn note_answer(ledger: &mut Ledger, bytes: usize, text: Option<String>) {
    if let Some(event) = ledger.completion() {
        event.bytes_out = Some(bytes as u64);
        event.redacted_answer = text;
    }
}

/// The text of an answer or of a chunk as it left: contents of messages and deltas, and arguments of tool calls.
fn text_of(json: &[u8]) -> String {
    let mut text = String::new();
    if let Ok(document) = Node::parse(json) {
        for choice in document.field("choices").map(Node::items).unwrap_or_default() {
            let said = choice.field("message").or_else(|| choice.field("delta")).unwrap_or(choice);
            for name in ["reasoning_content", "content", "refusal", "text"] {
                keep(&mut text, said.field(name).and_then(Node::as_str).unwrap_or_default());
            }
            for call in said.field("tool_calls").map(Node::items).unwrap_or_default() {
                let arguments = call.field("function").and_then(|function| function.field("arguments"));
                keep(&mut text, arguments.and_then(Node::as_str).unwrap_or_default());
            }
        }
    }
    text
}

/// Four bytes a token, the usual rule of thumb, when the upstream does not say.
fn estimate(prompt_bytes: usize, answer_bytes: usize) -> Tokens {
    Tokens { prompt: prompt_bytes.div_ceil(4) as u64, answer: answer_bytes.div_ceil(4) as u64, measured: false }
}

/// `GET /v1/models`: the configured names, and for `*` what its upstream lists, as far as this key may use them.
async fn models(gate: &Gate, session: &mut ServerSession, ledger: &mut Ledger, request_id: &str, caller: &Caller) -> Result<(), Halt> {
    let decision = decide(&caller.policy, &[], &[], &ModelSignal::Skipped);
    let commit = ledger.decide(&decision, &ModelSignal::Skipped, None);
    let mut names: Vec<String> = gate.models.keys().filter(|name| *name != "*").cloned().collect();
    let mut listed_names = Ok(Vec::new());
    if let Some(upstream) = gate.models.get("*").and_then(|index| gate.upstreams.get(*index)) {
        let listed = timeout(gate.timeouts.first_byte, listed(gate, upstream, request_id));
        let listed = or_gone(session, listed).await?.unwrap_or(Err(No::UpstreamTimeout("listing its models")));
        listed_names = counted(gate, upstream, listed);
    }
    durable(ledger, commit).await?;
    names.extend(listed_names?);
    names.retain(|name| caller.record.allows(name));
    names.sort();
    names.dedup();
    let data: Vec<serde_json::Value> =
        names.iter().map(|name| serde_json::json!({"id": name, "object": "model", "created": 0, "owned_by": "portcullis"})).collect();
    let body = serde_json::json!({"object": "list", "data": data}).to_string().into_bytes();
    note_answer(ledger, body.len(), None);
    respond::json(session, request_id, body).await.map_err(|e| unwritable(&e))?;
    ledger.complete("ok", Some(200), None);
    Ok(())
}

/// The model names an upstream lists; only the names are taken over, and only plain ones.
async fn listed(gate: &Gate, upstream: &Upstream, request_id: &str) -> Result<Vec<String>, No> {
    let mut exchange = upstream.list_models(request_id, &gate.timeouts).await?;
    if exchange.head(gate.timeouts.first_byte).await? != AnswerKind::Json {
        return Err(No::Upstream("its list of models is not JSON"));
    }
    let mut body = Vec::new();
    while let Some(piece) = exchange.piece().await? {
        if body.len() + piece.len() > gate.limits.sse_event_bytes {
            return Err(No::Upstream("its list of models is too large"));
        }
        body.extend_from_slice(&piece);
    }
    upstream.release(exchange).await;
    let document = Node::parse(&body).map_err(|_| No::Upstream("its list of models is not valid JSON"))?;
    let plain = |name: &str| name.len() <= 128 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:/@+".contains(&b));
    Ok(document
        .field("data")
        .map(Node::items)
        .unwrap_or_default()
        .iter()
        .filter_map(|model| model.field("id").and_then(Node::as_str))
        .filter(|name| plain(name))
        .map(str::to_owned)
        .collect())
}
