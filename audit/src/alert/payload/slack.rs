//! Slack's incoming webhooks: `{"text": ...}`; the answer to a taken message is `ok`.

use serde_json::json;

use super::{Post, by_status};
use crate::alert::Failure;
use crate::alert::http::Response;
use crate::alert::template::Text;

pub(crate) fn post(text: &Text) -> Post {
    // Slack's three control characters; without them no name can call a channel or show a link. Lines are code, so that `*` is a star.
    let escape = |line: &str| line.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('`', "'");
    let lines = escape(&text.lines.join("\n"));
    Post::json(&json!({"text": format!("{}\n```{lines}```", escape(&text.title))}))
}

pub(crate) fn read(response: &Response) -> Result<(), Failure> {
    by_status(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_call_the_channel() {
        let post = post(&Text { title: "t".into(), lines: vec!["tenant: <!channel>```".into(), "a & b".into()] });
        assert_eq!(String::from_utf8(post.body).unwrap(), r#"{"text":"t\n```tenant: &lt;!channel&gt;'''\na &amp; b```"}"#);
    }
}
