//! Writing to the client: heads, whole answers, refusals, and letting go of a client whose body nobody reads.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, TRANSFER_ENCODING, WWW_AUTHENTICATE};
use http::{StatusCode, Version};
use pingora::ErrorType;
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use portcullis_audit::crash;
use tokio::time::timeout;

use crate::pipeline::Halt;
use crate::reply::{Answer, No};

/// How long a refused client may go on sending its body before it is cut off.
const LINGER: Duration = Duration::from_secs(2);
/// How much of such a body is read away.
const LINGER_BYTES_MAX: usize = 16 << 20;

fn head(status: u16, content_type: &'static str, request_id: &str) -> pingora::Result<ResponseHeader> {
    let mut head = ResponseHeader::build(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), Some(8))?;
    head.insert_header(CONTENT_TYPE, content_type)?;
    head.insert_header(CACHE_CONTROL, "no-store")?;
    head.insert_header("x-request-id", request_id)?;
    Ok(head)
}

/// Writes a whole JSON answer.
pub async fn json(session: &mut ServerSession, request_id: &str, body: Vec<u8>) -> pingora::Result<()> {
    let mut head = head(200, "application/json", request_id)?;
    head.insert_header(CONTENT_LENGTH, body.len().to_string())?;
    whole(session, head, body).await
}

/// Writes the head of an event stream.
pub async fn events(session: &mut ServerSession, request_id: &str) -> pingora::Result<()> {
    let mut head = head(200, "text/event-stream; charset=utf-8", request_id)?;
    if !session.is_http2() && session.req_header().version == Version::HTTP_11 {
        head.insert_header(TRANSFER_ENCODING, "chunked")?;
    }
    crash::point("before_first_byte");
    session.write_response_header(Box::new(head)).await?;
    crash::point("after_first_byte");
    Ok(())
}

async fn whole(session: &mut ServerSession, head: ResponseHeader, body: Vec<u8>) -> pingora::Result<()> {
    crash::point("before_first_byte");
    session.write_response_header(Box::new(head)).await?;
    session.write_response_body(Bytes::from(body), true).await?;
    crash::point("after_first_byte");
    Ok(())
}

/// Writes a refusal.
pub async fn error(session: &mut ServerSession, request_id: &str, no: &No, answer: &Answer) -> pingora::Result<()> {
    let body = answer.body();
    let mut head = head(answer.status, "application/json", request_id)?;
    head.insert_header(CONTENT_LENGTH, body.len().to_string())?;
    if let Some(seconds) = answer.retry_after {
        head.insert_header(RETRY_AFTER, seconds.to_string())?;
    }
    match no {
        No::Limit { name, .. } => head.insert_header("x-portcullis-limit", *name)?,
        No::WrongMethod { allow } => head.insert_header(http::header::ALLOW, *allow)?,
        No::ForbiddenMethod => head.insert_header(http::header::ALLOW, "GET, POST")?,
        No::BadKey => head.insert_header(WWW_AUTHENTICATE, "Bearer")?,
        _ => {}
    }
    whole(session, head, body).await
}

/// Reads away, for a while, what a refused client still sends: closing on unread bytes would reset the connection, and the client
/// would see the reset instead of the answer.
pub async fn linger(session: &mut ServerSession) {
    let drain = async {
        let mut read = 0;
        while let Ok(Some(piece)) = session.read_request_body().await {
            read += piece.len();
            if read > LINGER_BYTES_MAX {
                break;
            }
        }
    };
    let _ = timeout(LINGER, drain).await;
}

/// Waits for `work` unless the client leaves first.
pub async fn or_gone<T>(session: &mut ServerSession, work: impl Future<Output = T>) -> Result<T, Halt> {
    tokio::select! {
        biased;
        done = work => Ok(done),
        _ = session.read_body_or_idle(true) => Err(Halt::Over("client_gone")),
    }
}

/// Why a client could not be written to.
pub fn unwritable(error: &pingora::Error) -> Halt {
    match error.etype() {
        ErrorType::WriteTimedout => Halt::Over("client_slow"),
        _ => Halt::Over("client_gone"),
    }
}
