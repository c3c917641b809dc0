//! The path of a request, one straight way: each step takes what the last one made.
//!
//! ```text
//! accept -> authenticate -> limit -> parse -> screen rules -> screen model -> decide -> record -> rewrite -> forward -> screen back -> respond
//! ```
//!
//! Only [`decide`] makes a clearance, only [`Parsed::rewrite`] makes a body from it, and only such a body can be sent: text that was
//! not screened cannot be forwarded, by type. Nothing is answered before the decision is durable.

use std::sync::Arc;
use std::time::Instant;

use pingora::protocols::http::ServerSession;
use portcullis_audit::{Commit, crash};
use portcullis_policies::{
    Action, Allowance, Cleared, DECODING_BUDGET, Decision, Direction, Finding, Language, ModelSignal, Outcome, Policy, Screened, Text,
    decide, decide_in,
};
use tokio::time::timeout_at;

use crate::back::Back;
use crate::config::Durability;
use crate::dialect::{Leaf, Parsed};
use crate::edge::{self, Head, Route};
use crate::gate::{Caller, Gate, unhurried};
use crate::guard::Heard;
use crate::limit::{Permit, Share};
use crate::metrics::Stage;
use crate::record::Ledger;
use crate::reply::No;
use crate::respond::or_gone;
use crate::upstream::{AnswerKind, Upstream};
use crate::vault::Conversation;
use crate::{guard, kept, models, named, notices, receive, unrecorded};

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
pub struct Held {
    _permit: Permit,
    _memory: Share,
}

/// A request that has passed every step up to the decision.
struct Decided {
    route: Route,
    policy: Arc<Policy>,
    parsed: Parsed,
    cleared: Cleared,
    /// What is let off in the answer.
    allowance: Allowance,
    /// What the caller speaks.
    language: Language,
    commit: Commit,
    upstream: Arc<Upstream>,
}

/// Serves one request whose head has been read.
///
/// # Errors
/// What the client is still to be told, or that there is nobody left to tell.
pub async fn run(gate: &Gate, session: &mut ServerSession, ledger: &mut Ledger, request_id: &str) -> Result<(), Halt> {
    let head = edge::read_head(session.req_header(), session.is_http2(), &gate.limits)?;
    ledger.route(head.route.name());
    let caller = authenticate(gate, session, ledger, head.route)?;
    ledger.session(session.req_header(), &caller.held.on(head.route).policy);
    let permit = caller.limits.take()?;
    if head.route == Route::Models {
        return models::list(gate, session, ledger, request_id, &caller).await;
    }
    let (body, memory) = receive::body(gate, session, ledger, &head).await?;
    let held = Held { _permit: permit, _memory: memory };
    let decided = screen(gate, session, ledger, (&head, caller), &body).await?;
    drop(body);
    forward(gate, session, ledger, request_id, decided, held).await
}

fn authenticate(gate: &Gate, session: &ServerSession, ledger: &mut Ledger, route: Route) -> Result<Arc<Caller>, No> {
    let key = edge::bearer(session.req_header())?;
    let caller = gate.callers().find(key).cloned().ok_or(No::BadKey)?;
    caller.record.tenant.clone_into(&mut ledger.event.tenant);
    caller.record.id.clone_into(&mut ledger.event.key_id);
    let held = caller.held.on(route);
    ledger.policy(&held.policy);
    ledger.tally(&held.tally);
    Ok(caller)
}

/// Parses, screens and decides. The decision is on its way to the disk when this returns.
async fn screen(
    gate: &Gate,
    session: &mut ServerSession,
    ledger: &mut Ledger,
    (head, caller): (&Head, Arc<Caller>),
    body: &[u8],
) -> Result<Decided, Halt> {
    let policy = Arc::clone(&caller.held.on(head.route).policy);
    let parsed = ledger.timed(Stage::Parse, |_| unhurried(body.len(), || Parsed::read(head.route, body, &policy)))?;
    named::kept(&policy, &parsed.model).clone_into(&mut ledger.event.model);
    if !caller.record.allows(&parsed.model) {
        return Err(No::ModelNotAllowed.into());
    }
    let upstream = upstream(gate, &parsed.model)?;
    upstream.name.clone_into(&mut ledger.event.upstream);
    let text_bytes = parsed.text_bytes() as u64;
    ledger.event.text_bytes = Some(text_bytes);
    unhurried(text_bytes as usize, || ledger.fingerprint(&parsed.leaves));
    let texts: Vec<Text<'_>> = parsed.leaves.iter().chain(parsed.joined.iter().map(|joined| &joined.leaf)).map(text).collect();
    let today = notices::today();
    notices::tell(gate, today);
    let allowance = policy.allowance(&caller.record.tenant, &caller.record.id, today);
    let rules = |ledger: &mut Ledger| screen_rules(ledger, (&policy, &allowance), &parsed, &texts);
    let mut findings = ledger.timed(Stage::Rules, |ledger| unhurried(text_bytes as usize, || rules(ledger)));
    ledger.event.screened_bytes = Some(text_bytes);
    let refused = findings.iter().flatten().any(|finding| finding.action == Action::Block && !finding.monitored);
    // Nobody waits for a verdict on what a client that left has said.
    let Heard { signal, too_much } = or_gone(session, guard::screen(gate, ledger, &policy, &parsed, refused)).await?;
    for nth in too_much {
        note_unread(ledger, &policy, &parsed, (nth, &mut findings[nth]));
    }
    let decision = decide_as(gate, (&caller, &policy), &parsed, &texts, &findings, &signal);
    if policy.stores_redacted_text() {
        ledger.event.redacted_prompt = Some(kept::prompt(&policy, &texts, &findings));
    }
    let language = policy.language(&texts);
    drop(texts);
    let status = match &decision.outcome {
        Outcome::Forward(_) => None,
        Outcome::Refuse(refusal) => Some(No::Content(refusal.clone()).answer().status),
    };
    crash::point("decided");
    let commit = ledger.decide(&decision, &signal, status);
    match decision.outcome {
        Outcome::Forward(cleared) => {
            let allowance = allowance.issued(cleared.restoration());
            gate.metrics.pseudonyms_issued.inc_by(cleared.restoration().len() as u64);
            Ok(Decided { route: head.route, policy, parsed, cleared, allowance, language, commit, upstream })
        }
        Outcome::Refuse(mut refusal) => {
            durable(gate, ledger, commit).await?;
            refusal.message = Some(policy.words(&refusal, language));
            Err(No::Content(refusal).into())
        }
    }
}

/// Decides; where something is to be pseudonymized, with the numbers that the conversation has already.
fn decide_as(
    gate: &Gate,
    (caller, policy): (&Caller, &Policy),
    parsed: &Parsed,
    texts: &[Text<'_>],
    findings: &[Vec<Finding>],
    signal: &ModelSignal,
) -> Decision {
    if !findings.iter().flatten().any(|finding| finding.in_force() == Action::Pseudonymize) {
        return decide(policy, texts, findings, signal);
    }
    let (known_by, mark) = parsed.conversation();
    let conversation = Conversation { tenant: &caller.record.tenant, key_id: &caller.record.id, known_by, mark };
    gate.vault.lend(&conversation, Instant::now(), |pseudonyms| decide_in(policy, texts, findings, signal, pseudonyms))
}

fn upstream(gate: &Gate, model: &str) -> Result<Arc<Upstream>, No> {
    let index = gate.models.get(model).or_else(|| gate.models.get("*")).ok_or(No::NoModel)?;
    gate.upstreams.get(*index).cloned().ok_or(No::Internal)
}

fn text(leaf: &Leaf) -> Text<'_> {
    Text { role: leaf.role, encoding: leaf.encoding, redactable: leaf.redactable, text: &leaf.text }
}

/// Notes that the guard did not read all that a text says when it is decoded, unless the rules did not either and it is known.
fn note_unread(ledger: &mut Ledger, policy: &Policy, parsed: &Parsed, (nth, findings): (usize, &mut Vec<Finding>)) {
    let Some(finding) = policy.undecoded().filter(|finding| findings.iter().all(|known| known.rule.id != finding.rule.id)) else { return };
    let leaf = parsed.leaves.iter().chain(parsed.joined.iter().map(|joined| &joined.leaf)).nth(nth);
    ledger.found(Direction::Request, leaf.map_or("", |leaf| &leaf.pointer), std::slice::from_ref(&finding));
    findings.insert(0, finding);
}

fn screen_rules(ledger: &mut Ledger, (policy, allowance): (&Policy, &Allowance), parsed: &Parsed, texts: &[Text<'_>]) -> Vec<Vec<Finding>> {
    let mut all = Vec::with_capacity(texts.len());
    for (text, leaf) in texts.iter().zip(&parsed.leaves) {
        let findings = screen_text(ledger, policy, allowance, text);
        ledger.found(Direction::Request, &leaf.pointer, &findings);
        all.push(findings);
    }
    for (text, joined) in texts[parsed.leaves.len()..].iter().zip(&parsed.joined) {
        // What lies inside one part was found there.
        let mut findings = screen_text(ledger, policy, allowance, text);
        findings.retain(|finding| {
            finding.rule.id == DECODING_BUDGET || joined.edges.iter().any(|edge| finding.span.start < *edge && *edge < finding.span.end)
        });
        ledger.found(Direction::Request, &joined.leaf.pointer, &findings);
        all.push(findings);
    }
    all
}

/// Screens one text and notes when it was too much to be screened in every form.
fn screen_text(ledger: &mut Ledger, policy: &Policy, allowance: &Allowance, text: &Text<'_>) -> Vec<Finding> {
    let Screened { findings, limit } = policy.screened(Direction::Request, text, allowance);
    if let Some(limit) = limit {
        ledger.limited(limit);
    }
    findings
}

/// Waits until the decision is durable, or is known not to be and may be served all the same.
///
/// # Errors
/// [`No::AuditUnavailable`] when it is not durable and the request is to be refused.
pub async fn durable(gate: &Gate, ledger: &mut Ledger, commit: Commit) -> Result<(), No> {
    let began = Instant::now();
    let recorded = unrecorded::durable_or_counted(gate, commit).await;
    ledger.took(Stage::Record, began);
    match recorded {
        Ok(true) => {
            crash::point("recorded");
            Ok(())
        }
        Ok(false) => {
            ledger.completion().map(unrecorded::mark);
            Ok(())
        }
        Err(why) => {
            tracing::error!(class = why.class(), reason = ?why, "a decision could not be made durable");
            Err(No::AuditUnavailable)
        }
    }
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
    let Decided { route, policy, parsed, cleared, allowance, language, commit, upstream } = decided;
    let deadline = tokio::time::Instant::now() + gate.timeouts.total;
    let mut commit = Some(commit);
    if gate.durability == Durability::BeforeForward
        && let Some(commit) = commit.take()
    {
        durable(gate, ledger, commit).await?;
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
    let sent = gate.counted(&upstream, sent);
    // Also a failure is an answer, and no answer comes before the record.
    if let Some(commit) = commit {
        durable(gate, ledger, commit).await?;
    }
    let (exchange, kind) = sent?;
    let back = Back { gate, policy: &policy, allowance, language, upstream: &upstream, exchange, request_id, prompt_bytes, deadline, held };
    match kind {
        AnswerKind::Json => back.whole(session, ledger).await,
        AnswerKind::Events if stream => back.stream(session, ledger).await,
        AnswerKind::Events => Err(No::Upstream("it streamed an answer that was not to be streamed").into()),
    }
}
