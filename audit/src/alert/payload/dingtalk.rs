//! DingTalk's custom robots (钉钉自定义机器人): plain text; `errcode` 0 is a yes. Signed, the address carries `timestamp` in milliseconds
//! and `sign` = base64(HMAC-SHA256(key = secret, text = timestamp "\n" secret)), percent-encoded.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::{Post, by_code, sign, stamped};
use crate::alert::http::Response;
use crate::alert::template::Text;
use crate::alert::{Failure, Secret};

/// `send too fast`, `system busy`.
const PASSING: &[i64] = &[130_101, 410_100, -1];

pub(crate) fn post(text: &Text, secret: Option<&Secret>, now: u64) -> Post {
    let mut post = Post::json(&json!({"msgtype": "text", "text": {"content": text.whole()}, "at": {"isAtAll": false}}));
    if let Some(secret) = secret {
        let millis = now.saturating_mul(1_000);
        let signature = STANDARD.encode(sign(secret.reveal().as_bytes(), stamped(millis, secret).as_bytes()));
        // Of base64's characters these three have a meaning in a query.
        let encoded = signature.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        post.query = format!("timestamp={millis}&sign={encoded}");
    }
    post
}

pub(crate) fn read(response: &Response) -> Result<(), Failure> {
    by_code(response, &["errcode"], PASSING)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_timestamp_and_secret_under_the_secret() {
        let text = Text { title: "t".into(), lines: vec![] };
        let signed = post(&text, Some(&Secret::new("SECdemo".into())), 1_599_360_473);
        // openssl: printf '1599360473000\nSECdemo' | openssl dgst -sha256 -hmac SECdemo -binary | base64
        assert_eq!(signed.query, "timestamp=1599360473000&sign=tGWkA5eQOQNCNPDgphtxIoNLO%2B%2FgD8Lcb705KQoRzeY%3D");
        assert_eq!(post(&text, None, 1).query, "");
    }
}
