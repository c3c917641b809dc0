//! The generic webhook: JSON, version 1, signed.
//!
//!     x-portcullis-delivery:  <uuid>                 the same in each attempt
//!     x-portcullis-timestamp: <seconds since 1970>   of the attempt
//!     x-portcullis-signature: v1=<hex>               HMAC-SHA256(secret, timestamp "." body)
//!
//! Whoever receives it computes the signature over the bytes that came, compares in constant time, and refuses timestamps that are
//! minutes away.

use serde_json::{Value, json};

use super::{Post, by_status, sign};
use crate::alert::http::Response;
use crate::alert::message::Form;
use crate::alert::template::Text;
use crate::alert::{Failure, Message, Secret};

pub(crate) fn post(message: &Message, text: &Text, secret: Option<&Secret>, now: u64) -> Post {
    let mut post = Post::json(&body(message, text));
    post.headers.push(("x-portcullis-delivery", message.id.clone()));
    post.headers.push(("x-portcullis-timestamp", now.to_string()));
    if let Some(secret) = secret {
        let signed = [now.to_string().as_bytes(), b".", &post.body].concat();
        post.headers.push(("x-portcullis-signature", format!("v1={}", hex::encode(sign(secret.reveal().as_bytes(), &signed)))));
    }
    post
}

pub(crate) fn read(response: &Response) -> Result<(), Failure> {
    by_status(response)
}

fn body(message: &Message, text: &Text) -> Value {
    let lead = &message.lead;
    let form = match message.form {
        Form::First => "first",
        Form::Summary { .. } => "summary",
        Form::HeldBack { .. } => "held_back",
    };
    let rules: Vec<Value> =
        message.items.iter().map(|item| json!({"rule": item.rule, "severity": item.severity.as_str(), "count": item.count})).collect();
    json!({
        "version": 1,
        "id": message.id,
        "form": form,
        "topic": lead.topic.as_str(),
        "severity": message.severity().as_str(),
        "count": message.count(),
        "window_s": match message.form { Form::Summary { window } => Some(window.as_secs()), _ => None },
        "rules": rules,
        "decision": lead.decision.map(crate::Decision::as_str),
        "tenant": lead.tenant,
        "key_id": lead.key_id,
        "request_id": lead.request_id,
        "policy": lead.policy,
        "policy_version": lead.policy_version,
        "time": crate::event::rfc3339(lead.time_us),
        "note": lead.note,
        "text": text.whole(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::Language;
    use crate::alert::template::render;

    #[test]
    fn the_signature_covers_time_and_body() {
        let message = Message::test();
        let secret = Secret::new("key".into());
        let post = post(&message, &render(&message, Language::En), Some(&secret), 1_700_000_000);
        let mut signed = b"1700000000.".to_vec();
        signed.extend(&post.body);
        let expected = format!("v1={}", hex::encode(sign(b"key", &signed)));
        assert_eq!(post.headers[2], ("x-portcullis-signature", expected));
        let body: Value = serde_json::from_slice(&post.body).unwrap();
        assert_eq!(
            (body["version"].as_i64(), body["topic"].as_str(), body["id"].as_str()),
            (Some(1), Some("test"), Some(message.id.as_str()))
        );
    }

    #[test]
    fn without_a_secret_there_is_no_signature() {
        let message = Message::test();
        let post = post(&message, &render(&message, Language::En), None, 1);
        assert!(post.headers.iter().all(|(name, _)| *name != "x-portcullis-signature"));
    }
}
