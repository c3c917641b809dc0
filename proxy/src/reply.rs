//! Every way the gate says no, in the shape the OpenAI SDKs understand, from one exhaustive table.
//!
//! A message names the object and the limit and says what to do next. It never holds a prompt, a key or an upstream address.

use std::time::Duration;

use portcullis_policies::{Language, Refusal, RefusalReason};
use serde_json::json;

/// A refusal by the gate, with the facts its answer needs.
#[derive(Clone, Debug, PartialEq)]
pub enum No {
    /// The request head breaks HTTP or our stricter reading of it. The connection is closed.
    BadHead(&'static str),
    /// The head did not arrive in time.
    HeadTimeout,
    /// More or longer header fields than allowed.
    HeadTooLarge {
        /// The limit that was passed, in words.
        limit: String,
    },
    /// The request target is too long.
    TargetTooLong,
    /// No such route.
    NoRoute,
    /// The route exists with another method.
    WrongMethod {
        /// The method it takes.
        allow: &'static str,
    },
    /// CONNECT or TRACE, which no route has. The connection is closed.
    ForbiddenMethod,
    /// A body without a length.
    LengthRequired,
    /// The body is longer than allowed.
    BodyTooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The body did not arrive in time.
    BodyTimeout,
    /// The body is of a type or encoding that is not read here.
    UnsupportedBody(&'static str),
    /// No key, a malformed one, or one that is not known or no longer valid.
    BadKey,
    /// The key may not use this model.
    ModelNotAllowed,
    /// No upstream serves this model.
    NoModel,
    /// A field is wrong; says which and why.
    BadField {
        /// Path of the field, such as `messages[2].role`.
        param: String,
        /// What is wrong with it and what is right.
        why: String,
    },
    /// A part that cannot be screened, so it is not forwarded.
    Unscreenable {
        /// Path of the part.
        param: String,
        /// What it is: `image`, `audio`, `file`, `token_array`, `logprobs`.
        kind: &'static str,
    },
    /// The policy refuses the content.
    Content(Refusal),
    /// One of the key's limits is reached.
    Limit {
        /// The limit's name: `requests_per_minute` or `concurrent`.
        name: &'static str,
        /// When to try again.
        retry_after: Duration,
    },
    /// The gateway's own memory or connection budget is used up.
    Overloaded,
    /// The audit record could not be made durable.
    AuditUnavailable,
    /// The upstream could not be reached or answered with something that is no answer.
    Upstream(&'static str),
    /// The upstream took too long.
    UpstreamTimeout(&'static str),
    /// The upstream answered with an error of its own.
    UpstreamStatus {
        /// Its status.
        status: u16,
        /// When it says to try again, capped.
        retry_after: Option<Duration>,
    },
    /// A promise of our own broke while this request was served.
    Internal,
}

/// What the client is told.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The error `type` of the body.
    pub kind: &'static str,
    /// The error `code` of the body, also the reason in the audit event.
    pub code: &'static str,
    /// For people.
    pub message: String,
    /// The field at fault.
    pub param: Option<String>,
    /// Seconds for `Retry-After`.
    pub retry_after: Option<u64>,
    /// Whether the connection has to be closed, as its framing can no longer be trusted.
    pub close: bool,
}

const INVALID: &str = "invalid_request_error";
const SERVER: &str = "server_error";

impl No {
    /// Status, code and words of this refusal.
    pub fn answer(&self) -> Answer {
        let plain =
            |status, kind, code, message: String| Answer { status, kind, code, message, param: None, retry_after: None, close: false };
        match self {
            No::BadHead(why) => closing(plain(400, INVALID, "bad_request_head", format!("the request head is refused: {why}"))),
            No::HeadTimeout => closing(plain(408, INVALID, "head_timeout", "the request head did not arrive in time".into())),
            No::HeadTooLarge { limit } => {
                closing(plain(431, INVALID, "head_too_large", format!("the request head is larger than {limit}")))
            }
            No::TargetTooLong => closing(plain(414, INVALID, "target_too_long", "the request target is too long".into())),
            No::NoRoute => plain(404, INVALID, "not_found", NO_ROUTE.into()),
            No::WrongMethod { allow } => plain(405, INVALID, "method_not_allowed", format!("this route takes {allow}")),
            No::ForbiddenMethod => closing(plain(405, INVALID, "method_not_allowed", "CONNECT and TRACE are not served".into())),
            No::LengthRequired => closing(plain(411, INVALID, "length_required", "send a content-length, or a chunked body".into())),
            No::BodyTooLarge { limit } => closing(plain(413, INVALID, "body_too_large", format!("the body is larger than {limit} bytes"))),
            No::BodyTimeout => closing(plain(408, INVALID, "body_timeout", "the request body did not arrive in time".into())),
            No::UnsupportedBody(why) => closing(plain(415, INVALID, "unsupported_media_type", (*why).into())),
            No::BadKey => plain(401, "authentication_error", "invalid_api_key", BAD_KEY.into()),
            No::ModelNotAllowed => Answer {
                param: Some("model".into()),
                ..plain(403, "permission_error", "model_not_allowed", "this key may not use this model".into())
            },
            No::NoModel => Answer {
                param: Some("model".into()),
                ..plain(404, INVALID, "model_not_found", "no upstream serves this model; GET /v1/models lists those that are served".into())
            },
            No::BadField { param, why } => {
                Answer { param: Some(param.clone()), ..plain(400, INVALID, "invalid_request", format!("{param}: {why}")) }
            }
            No::Unscreenable { param, kind } => Answer {
                param: Some(param.clone()),
                ..plain(400, INVALID, "unscreenable_content", format!("{param}: {}", unscreenable(kind)))
            },
            No::Content(refusal) if refusal.reason == RefusalReason::GuardUnavailable => {
                Answer { retry_after: Some(5), ..plain(503, SERVER, "guard_unavailable", content_message(refusal)) }
            }
            No::Content(refusal) => plain(403, "content_policy_error", "content_blocked", content_message(refusal)),
            No::Limit { name, retry_after } => Answer {
                retry_after: Some(seconds(*retry_after)),
                ..plain(
                    429,
                    "rate_limit_error",
                    "rate_limit_exceeded",
                    format!("this key's limit `{name}` is reached; try again after the time in retry-after"),
                )
            },
            No::Overloaded => Answer {
                retry_after: Some(1),
                ..plain(503, SERVER, "overloaded", "the gateway is at its memory or connection limit; try again".into())
            },
            No::AuditUnavailable => Answer {
                retry_after: Some(5),
                ..plain(503, SERVER, "audit_unavailable", "the audit record could not be written, so the request was not served".into())
            },
            No::Upstream(why) => plain(502, SERVER, "upstream_error", format!("the model endpoint failed: {why}")),
            No::UpstreamTimeout(why) => plain(504, SERVER, "upstream_timeout", format!("the model endpoint took too long: {why}")),
            No::UpstreamStatus { status, retry_after } => Answer { retry_after: retry_after.map(seconds), ..upstream_status(*status) },
            No::Internal => closing(plain(
                500,
                SERVER,
                "internal_error",
                "the gateway failed on this request; it is on record under its request id".into(),
            )),
        }
    }
}

const NO_ROUTE: &str = "no such route; there are POST /v1/chat/completions, POST /v1/completions, POST /v1/embeddings and GET /v1/models";
const BAD_KEY: &str = "no valid key; send `authorization: Bearer <key>` with a key made by `portcullis key new`";

fn closing(answer: Answer) -> Answer {
    Answer { close: true, ..answer }
}

/// An upstream's 4xx is passed on as what it is, since the caller can act on it; its 5xx says only that the endpoint failed.
fn upstream_status(status: u16) -> Answer {
    let (status, kind, code, message) = match status {
        400 | 404 | 409 | 413 | 422 => {
            (status, INVALID, "upstream_rejected", format!("the model endpoint rejected the request with status {status}"))
        }
        429 => (429, "rate_limit_error", "upstream_rate_limit", "the model endpoint is at its own rate limit".into()),
        503 => (503, SERVER, "upstream_unavailable", "the model endpoint is not available".into()),
        _ => (502, SERVER, "upstream_error", format!("the model endpoint failed with status {status}")),
    };
    Answer { status, kind, code, message, param: None, retry_after: None, close: false }
}

fn unscreenable(kind: &str) -> &'static str {
    match kind {
        "image" => "images cannot be screened; send text, or have the policy list `image` under `unscreenable`",
        "audio" => "audio cannot be screened; send text, or have the policy list `audio` under `unscreenable`",
        "file" => "files cannot be screened; send text, or have the policy list `file` under `unscreenable`",
        "token_array" => "arrays of token ids cannot be screened; send text, or have the policy list `token_array` under `unscreenable`",
        "logprobs" => {
            "log probabilities repeat the answer token by token and cannot be redacted; leave them out, or have the policy list `logprobs` under `unscreenable`"
        }
        _ => "this part cannot be screened; send text",
    }
}

/// Names the rules and categories, never the text that met them.
fn content_message(refusal: &Refusal) -> String {
    refusal.message.clone().unwrap_or_else(|| refusal.words(Language::English))
}

/// Whole seconds, at least 1, at most an hour.
fn seconds(duration: Duration) -> u64 {
    (duration.as_secs() + u64::from(duration.subsec_nanos() > 0)).clamp(1, 3600)
}

impl Answer {
    /// The body, `{"error":{...}}`.
    pub fn body(&self) -> Vec<u8> {
        self.json().to_string().into_bytes()
    }

    /// The same as one server-sent event, for a stream that has begun.
    pub fn event(&self) -> Vec<u8> {
        format!("data: {}\n\n", self.json()).into_bytes()
    }

    fn json(&self) -> serde_json::Value {
        json!({"error": {"message": self.message, "type": self.kind, "code": self.code, "param": self.param}})
    }
}

#[cfg(test)]
mod tests {
    use portcullis_policies::Category;

    use super::*;

    #[test]
    fn a_content_refusal_names_rules_and_categories() {
        let refusal = Refusal {
            rules: vec!["ignore-instructions".into()],
            categories: vec![Category::Injection],
            reason: RefusalReason::Rule,
            message: None,
        };
        let answer = No::Content(refusal).answer();
        assert_eq!((answer.status, answer.code), (403, "content_blocked"));
        assert!(answer.message.contains("ignore-instructions") && answer.message.contains("injection"));
    }

    #[test]
    fn retry_after_is_whole_seconds_and_capped() {
        assert_eq!(seconds(Duration::from_millis(1)), 1);
        assert_eq!(seconds(Duration::from_millis(1001)), 2);
        assert_eq!(seconds(Duration::from_secs(1 << 40)), 3600);
    }
}
