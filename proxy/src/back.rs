//! The way back of one request: the upstream's answer through the screen to the client, whole or piece by piece.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pingora::protocols::http::ServerSession;
use portcullis_audit::crash;
use portcullis_policies::{Allowance, Direction, Language, Policy, Refusal};
use tokio::time::{timeout, timeout_at};

use crate::answer::{self, AnswerStream, Screened, Stop};
use crate::gate::{Gate, unhurried};
use crate::metrics::Stage;
use crate::pipeline::{Halt, Held};
use crate::record::{Ledger, Tokens};
use crate::reply::No;
use crate::respond::{self, or_gone, unwritable};
use crate::upstream::{Exchange, Upstream};

/// How long an upstream may take to end a stream that is done, and in how many pieces.
const TAIL: Duration = Duration::from_millis(50);
const TAIL_PIECES_MAX: usize = 8;

/// The way back of one request.
pub struct Back<'a> {
    /// The gate.
    pub gate: &'a Gate,
    /// The policy in force.
    pub policy: &'a Arc<Policy>,
    /// What is let off in the answer, and put back into it.
    pub allowance: Allowance,
    /// What a refusal is told in.
    pub language: Language,
    /// Where the exchange runs.
    pub upstream: &'a Upstream,
    /// The running exchange, its head read.
    pub exchange: Exchange,
    /// The request.
    pub request_id: &'a str,
    /// Bytes of text in the prompt, to estimate tokens.
    pub prompt_bytes: usize,
    /// When the whole exchange has to be over.
    pub deadline: tokio::time::Instant,
    /// What the request holds.
    pub held: Held,
}

impl Back<'_> {
    /// A whole answer.
    ///
    /// # Errors
    /// What the client is still to be told, or that there is nobody left to tell.
    pub async fn whole(mut self, session: &mut ServerSession, ledger: &mut Ledger) -> Result<(), Halt> {
        let body = self.read_whole(session).await?;
        let began = Instant::now();
        let mut found = Vec::new();
        let screen = || answer::screen_whole(self.policy, &self.allowance, &body, &mut found);
        let screened = unhurried(body.len(), screen);
        ledger.took(Stage::ScreenBack, began);
        for (pointer, findings) in &found {
            ledger.found(Direction::Response, pointer, findings);
        }
        self.upstream.release(self.exchange).await;
        match screened {
            Ok(Screened { bytes, kept, tokens, restored }) => {
                let tokens = tokens.unwrap_or_else(|| estimate(self.prompt_bytes, bytes.len()));
                note_answer(ledger, bytes.len(), kept);
                self.gate.metrics.pseudonyms_restored.inc_by(restored);
                drop(self.held);
                respond::json(session, self.request_id, bytes).await.map_err(|e| unwritable(&e))?;
                ledger.complete("ok", Some(200), Some(tokens));
                Ok(())
            }
            Err(Stop::Refused(refusal)) => {
                let no = refused(self.policy, self.language, refusal);
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

    /// A streamed answer. Once its head is out, a refusal is an event in the stream and no error here.
    ///
    /// # Errors
    /// As [`Back::whole`], and only before the head is out or when the client has left.
    pub async fn stream(mut self, session: &mut ServerSession, ledger: &mut Ledger) -> Result<(), Halt> {
        respond::events(session, self.request_id).await.map_err(|e| unwritable(&e))?;
        let mut screen = AnswerStream::new(Arc::clone(self.policy), self.allowance.clone(), self.gate.limits.sse_event_bytes);
        let mut sent = 0;
        let ended = self.pump(session, ledger, &mut screen, &mut sent).await;
        let tokens = screen.tokens.unwrap_or_else(|| estimate(self.prompt_bytes, screen.text_bytes));
        note_answer(ledger, sent, screen.kept.take());
        self.gate.metrics.pseudonyms_restored.inc_by(screen.restored());
        match ended {
            Ok(()) => {
                drop(self.held);
                session.write_response_body(Bytes::new(), true).await.map_err(|e| unwritable(&e))?;
                ledger.complete("ok", Some(200), Some(tokens));
                if drained(&mut self.exchange).await {
                    self.upstream.release(self.exchange).await;
                }
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
    async fn pump(
        &mut self,
        session: &mut ServerSession,
        ledger: &mut Ledger,
        screen: &mut AnswerStream,
        sent: &mut usize,
    ) -> Result<(), Halt> {
        let deadline = self.deadline;
        let (policy, language) = (self.policy, self.language);
        let told = |stop| match stop {
            Stop::Refused(refusal) => refused(policy, language, refusal),
            Stop::Broken(why) => No::Upstream(why),
        };
        loop {
            let piece = or_gone(session, timeout_at(deadline, self.exchange.piece())).await?;
            let piece = piece.unwrap_or(Err(No::UpstreamTimeout("the whole exchange")));
            let mut out = Vec::new();
            let began = Instant::now();
            let stop = match &piece {
                Ok(Some(bytes)) => screen.push(bytes, &mut out).err().map(&told),
                Ok(None) => screen.end(&mut out).err().map(&told),
                // What was said before it broke off is settled all the same.
                Err(no) => Some(screen.end(&mut out).err().filter(|stop| matches!(stop, Stop::Refused(_))).map_or(no.clone(), &told)),
            };
            ledger.took(Stage::ScreenBack, began);
            self.gate.metrics.held_back.observe(screen.held_bytes() as f64);
            for (pointer, findings) in screen.found.drain(..) {
                ledger.found(Direction::Response, &pointer, &findings);
            }
            if !out.is_empty() {
                *sent += out.len();
                session.write_response_body(Bytes::from(out), false).await.map_err(|e| unwritable(&e))?;
                crash::point("event");
            }
            match stop {
                Some(no) => return Err(Halt::No(no)),
                // Everything is said; how the upstream goes is its own affair.
                None if screen.is_done() => return Ok(()),
                None => {}
            }
        }
    }
}

/// Reads away what follows `[DONE]`, which is nobody's. True when the answer ended soon, and its connection can be used again.
async fn drained(exchange: &mut Exchange) -> bool {
    for _ in 0..TAIL_PIECES_MAX {
        match timeout(TAIL, exchange.piece()).await {
            Ok(Ok(None)) => return true,
            Ok(Ok(Some(_))) => {}
            Ok(Err(_)) | Err(_) => return false,
        }
    }
    false
}

fn refused(policy: &Policy, language: Language, mut refusal: Refusal) -> No {
    refusal.message = Some(policy.words(&refusal, language));
    No::Content(refusal)
}

/// Notes in the completion what the client got.
pub fn note_answer(ledger: &mut Ledger, bytes: usize, text: Option<String>) {
    if let Some(event) = ledger.completion() {
        event.bytes_out = Some(bytes as u64);
        event.redacted_answer = text;
    }
}

/// Four bytes a token, the usual rule of thumb, when the upstream does not say.
fn estimate(prompt_bytes: usize, answer_bytes: usize) -> Tokens {
    Tokens { prompt: prompt_bytes.div_ceil(4) as u64, answer: answer_bytes.div_ceil(4) as u64, measured: false }
}
