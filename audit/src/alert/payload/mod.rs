//! What each service wants to be sent, and how it says whether it took it.

pub(crate) mod dingtalk;
pub(crate) mod feishu;
pub(crate) mod slack;
pub(crate) mod webhook;
pub(crate) mod wecom;

use std::time::Duration;

use ring::hmac;
use serde_json::Value;

use crate::alert::http::Response;
use crate::alert::{Failure, Secret};

/// A request's body, and what belongs to it in head and address.
#[derive(Debug, Default)]
pub(crate) struct Post {
    /// Added to the address's query.
    pub query: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

impl Post {
    fn json(body: &Value) -> Self {
        Self { body: body.to_string().into_bytes(), ..Self::default() }
    }
}

/// HMAC-SHA256.
fn sign(key: &[u8], text: &[u8]) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text)
}

/// The signature that Feishu and DingTalk share, in base64: both build `timestamp\nsecret` and differ in what is key and what is text.
fn stamped(timestamp: u64, secret: &Secret) -> zeroize::Zeroizing<String> {
    zeroize::Zeroizing::new(format!("{timestamp}\n{}", secret.reveal()))
}

/// Takes any status of success, and tells those that may pass from those that will not.
fn by_status(response: &Response) -> Result<(), Failure> {
    match response.status {
        200..=299 => Ok(()),
        300..=399 => {
            Err(Failure::lasting("redirect", &format!("HTTP {}: redirects are not followed; configure the final address", response.status)))
        }
        408 | 425 | 429 | 500..=599 => Err(Failure::passing("status", &format!("HTTP {}", response.status)).asked(response.retry_after)),
        status => Err(Failure::lasting("status", &format!("HTTP {status}"))),
    }
}

/// Takes an answer whose JSON says 0 under one of these names; the services answer HTTP 200 to messages that they refuse.
fn by_code(response: &Response, names: &[&str], passing: &[i64]) -> Result<(), Failure> {
    by_status(response)?;
    let answer: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    match names.iter().find_map(|name| answer.get(*name)?.as_i64()) {
        Some(0) => Ok(()),
        Some(code) if passing.contains(&code) => {
            Err(Failure::passing("code", &format!("code {code}: too many messages")).asked(Some(PAUSE)))
        }
        Some(code) => Err(Failure::lasting("code", &format!("code {code}"))),
        None => Err(Failure::lasting("answer", "the answer is none of this service's; check the address")),
    }
}

/// The services count by the minute.
const PAUSE: Duration = Duration::from_secs(15);

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn response(status: u16, body: &str) -> Response {
        Response { status, retry_after: None, body: body.as_bytes().to_vec() }
    }

    #[test]
    fn statuses_are_told_apart() {
        let of = |status| by_status(&response(status, "")).map_err(|failure| failure.is_passing());
        assert_eq!([200, 204].map(of), [Ok(()); 2]);
        assert_eq!([429, 500, 503].map(of), [Err(true); 3]);
        assert_eq!([301, 302, 307, 400, 401, 404, 410].map(of), [Err(false); 7]);
        let asked = Response { retry_after: Some(Duration::from_secs(9)), ..response(429, "") };
        assert_eq!(by_status(&asked).unwrap_err().retry_after, Some(Duration::from_secs(9)));
    }

    #[test]
    fn a_refusal_with_http_200_is_a_refusal() {
        let of = |body: &str| by_code(&response(200, body), &["errcode"], &[45_009]).map_err(|failure| failure.is_passing());
        assert_eq!(of(r#"{"errcode":0,"errmsg":"ok"}"#), Ok(()));
        assert_eq!(of(r#"{"errcode":45009}"#), Err(true));
        assert_eq!(of(r#"{"errcode":93000,"errmsg":"invalid webhook url"}"#), Err(false));
        for other in ["", "ok", "[]", "{}", r#"{"errcode":"0"}"#] {
            assert_eq!(of(other), Err(false), "{other}");
        }
    }
}
