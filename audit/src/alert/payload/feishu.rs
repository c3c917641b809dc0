//! Feishu's and Lark's custom robots (飞书自定义机器人): plain text; `code` 0 is a yes. Signed, the body carries
//! `sign` = base64(HMAC-SHA256(key = timestamp "\n" secret, text = nothing)) and the timestamp in seconds.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::{Post, by_code, sign, stamped};
use crate::alert::http::Response;
use crate::alert::template::Text;
use crate::alert::{Failure, Secret};

/// `too many request`, `frequency limited`.
const PASSING: &[i64] = &[9_499, 11_232];

pub(crate) fn post(text: &Text, secret: Option<&Secret>, now: u64) -> Post {
    // In its texts `<at ...>` calls people; a full-width bracket does not.
    let whole = text.whole().replace('<', "＜").replace('>', "＞");
    let mut body = json!({"msg_type": "text", "content": {"text": whole}});
    if let Some(secret) = secret {
        body["timestamp"] = json!(now.to_string());
        body["sign"] = json!(STANDARD.encode(sign(stamped(now, secret).as_bytes(), b"")));
    }
    Post::json(&body)
}

pub(crate) fn read(response: &Response) -> Result<(), Failure> {
    by_code(response, &["code", "StatusCode"], PASSING)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_an_empty_text_under_timestamp_and_secret() {
        let text = Text { title: "t".into(), lines: vec!["<at user_id=\"all\">".into()] };
        let post = post(&text, Some(&Secret::new("demo".into())), 1_599_360_473);
        let body: serde_json::Value = serde_json::from_slice(&post.body).unwrap();
        // openssl: printf '' | openssl dgst -sha256 -mac HMAC -macopt key:$'1599360473\ndemo' -binary | base64
        assert_eq!(body["sign"], "l1N0gAcBjdwBvGm1xMjOF0XSyaLRpR7tuO5dHfhAYc8=");
        assert_eq!(body["timestamp"], "1599360473");
        assert_eq!(body["content"]["text"], "t\n＜at user_id=\"all\"＞");
    }
}
