//! WeCom's group robots (企业微信群机器人): plain text of at most 2048 bytes; `errcode` 0 is a yes.

use serde_json::json;

use super::{Post, by_code};
use crate::alert::Failure;
use crate::alert::http::Response;
use crate::alert::template::Text;

/// Bytes that the robot takes.
const TEXT_BYTES_MAX: usize = 2_048;
/// `api freq out of limit`, `system busy`.
const PASSING: &[i64] = &[45_009, -1];

pub(crate) fn post(text: &Text) -> Post {
    Post::json(&json!({"msgtype": "text", "text": {"content": shortened(text.whole(), TEXT_BYTES_MAX)}}))
}

pub(crate) fn read(response: &Response) -> Result<(), Failure> {
    by_code(response, &["errcode"], PASSING)
}

/// Cuts at the last whole character and says so with an ellipsis.
fn shortened(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        text.truncate(text.floor_char_boundary(bytes_max - '…'.len_utf8()));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_at_most_what_the_robot_takes() {
        let whole = "规".repeat(TEXT_BYTES_MAX / 3);
        assert_eq!(shortened(whole.clone(), TEXT_BYTES_MAX), whole);
        let cut = shortened("规".repeat(TEXT_BYTES_MAX), TEXT_BYTES_MAX);
        assert!(cut.len() <= TEXT_BYTES_MAX && cut.ends_with('…'));
    }
}
