//! Reading the body of a request: within its deadline, its limit and the memory budget.

use std::time::Instant;

use pingora::ErrorType;
use pingora::protocols::http::ServerSession;
use tokio::time::timeout_at;

use crate::edge::{BodyLength, Head};
use crate::gate::Gate;
use crate::limit::Share;
use crate::metrics::Stage;
use crate::pipeline::Halt;
use crate::record::Ledger;
use crate::reply::No;

/// What a body costs in memory: its bytes, the tree, the texts, the rewritten bytes.
const BODY_MEMORY_FACTOR: usize = 4;
/// Piece by which the memory of a body of unknown length is taken.
const BODY_MEMORY_STEP: usize = 64 << 10;

/// Reads the body, within its deadline, its limit and the memory budget.
pub async fn body(gate: &Gate, session: &mut ServerSession, ledger: &mut Ledger, head: &Head) -> Result<(Vec<u8>, Share), Halt> {
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
