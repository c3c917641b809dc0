//! Messages in words, English and Chinese. Ids, counts, severities, times: there is no field that a screened text could come in by.

use std::fmt::Write as _;

use crate::alert::matter::Lead;
use crate::alert::message::Form;
use crate::alert::{Message, Topic};
use crate::event::rfc3339;
use crate::{Decision, Severity};

/// Characters shown of a name.
const NAME_CHARS_MAX: usize = 64;

/// The language of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Language {
    /// English.
    #[default]
    En,
    /// Chinese, simplified.
    Zh,
}

crate::words::words!(Language { En => "en", Zh => "zh" });

/// A message in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text {
    /// One line, with the product's name: the robots of some rooms take only messages that hold a word they know.
    pub title: String,
    pub lines: Vec<String>,
}

impl Text {
    /// The whole of it.
    pub fn whole(&self) -> String {
        format!("{}\n{}", self.title, self.lines.join("\n"))
    }
}

/// Puts a message in words.
pub(crate) fn render(message: &Message, language: Language) -> Text {
    let words = Words(language);
    let lead = &message.lead;
    let severity = words.severity(message.severity());
    let topic = words.topic(lead.topic);
    let title = match message.form {
        Form::First if lead.topic == Topic::Test => format!("[Portcullis] {topic}"),
        Form::First => format!("[Portcullis] {severity}{}{topic}", words.colon()),
        Form::Summary { window } => {
            let (count, minutes) = (message.count(), window.as_secs());
            match language {
                Language::En => format!("[Portcullis] {severity}: {topic}, {count} more in the last {minutes} s"),
                Language::Zh => format!("[Portcullis] {severity}：{topic}，最近 {minutes} 秒内又发生 {count} 次"),
            }
        }
        Form::HeldBack { events } => match language {
            Language::En => format!("[Portcullis] {events} more alerts were held back by this channel's rate"),
            Language::Zh => format!("[Portcullis] 受本通道限速，另有 {events} 条告警未单独发送"),
        },
    };
    Text { title, lines: lines(message, lead, &words) }
}

fn lines(message: &Message, lead: &Lead, words: &Words) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = |name: (&str, &str), value: String| {
        if !value.is_empty() {
            lines.push(format!("{}{}{value}", words.pick(name), words.colon()));
        }
    };
    for item in message.items.iter().filter(|_| !lead.topic.is_of_the_gateway()) {
        line(("rule", "规则"), format!("{} ({}) × {}", name(&item.rule), words.severity(item.severity), item.count));
    }
    if lead.topic == Topic::Test {
        line(("this is a test", "这是一条测试消息"), words.pick(("the channel works", "通道可用")).to_owned());
    }
    line(("what", "说明"), name_of(&lead.note, usize::MAX));
    if !matches!(message.form, Form::HeldBack { .. }) {
        line(("decision", "处置"), message.decision().map(|decision| words.decision(decision).to_owned()).unwrap_or_default());
        line(("tenant", "租户"), name(&lead.tenant));
        line(("key", "密钥"), name(&lead.key_id));
        let version = lead.policy_version.chars().take(12).collect::<String>();
        line(("policy", "策略"), format!("{} {}", name(&lead.policy), name(&version)).trim().to_owned());
        line(("request", "请求"), name(&lead.request_id));
    }
    line(("time", "时间"), rfc3339(lead.time_us));
    lines
}

/// A name fit to be shown in a room: one line, no invisible characters, not too long.
fn name(name: &str) -> String {
    name_of(name, NAME_CHARS_MAX)
}

fn name_of(name: &str, chars_max: usize) -> String {
    let mut text = String::new();
    for character in name.chars().take(chars_max) {
        if crate::line::deceives(character) && character != ' ' {
            let _ = write!(text, "{}", character.escape_unicode());
        } else {
            text.push(character);
        }
    }
    text
}

struct Words(Language);

impl Words {
    fn pick<'a>(&self, (english, chinese): (&'a str, &'a str)) -> &'a str {
        match self.0 {
            Language::En => english,
            Language::Zh => chinese,
        }
    }

    fn colon(&self) -> &'static str {
        self.pick((": ", "："))
    }

    fn severity(&self, severity: Severity) -> &'static str {
        self.pick(match severity {
            Severity::Low => ("low", "低"),
            Severity::Medium => ("medium", "中"),
            Severity::High => ("HIGH", "高危"),
            Severity::Critical => ("CRITICAL", "严重"),
        })
    }

    fn decision(&self, decision: Decision) -> &'static str {
        self.pick(match decision {
            Decision::Allow => ("allowed", "放行"),
            Decision::Flag => ("flagged", "标记"),
            Decision::Pseudonymize => ("pseudonymized", "化名替换"),
            Decision::Redact => ("redacted", "脱敏"),
            Decision::Block => ("blocked", "拦截"),
            Decision::Refused => ("refused", "拒绝"),
        })
    }

    fn topic(&self, topic: Topic) -> &'static str {
        self.pick(match topic {
            Topic::Decision => ("findings in a prompt", "提示词命中规则"),
            Topic::Completion => ("findings in an answer", "模型回答命中规则"),
            Topic::Rejected => ("request refused before screening", "请求在检测前被拒绝"),
            Topic::AuthFailure => ("key refused", "密钥校验失败"),
            Topic::Limit => ("caller over a limit", "调用方超出限额"),
            Topic::PolicyChange => ("a policy changed", "策略版本变更"),
            Topic::Admin => ("keys of stored texts destroyed", "留存文本的密钥已销毁"),
            Topic::Canary => ("an answer holds a canary token", "模型回答泄露了诱饵标记"),
            Topic::ClickhouseBacklog => ("ClickHouse does not take audit events", "ClickHouse 审计写入积压"),
            Topic::StoreFailing => ("audit store is failing; requests are refused", "审计存储写入失败，请求已被拒绝"),
            Topic::ChainBroken => {
                ("audit trail was changed; run `portcullis audit verify`", "审计链校验不一致，请运行 portcullis audit verify")
            }
            Topic::Test => ("test of an alert channel", "告警通道测试"),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::alert::Matter;
    use crate::alert::matter::tests::blocked;

    fn message(form: Form) -> Message {
        let mut event = blocked("acme", &[("CN_ID", Severity::Critical)]);
        event.stamp(1_700_000_000_000_000);
        event.policy_version = "0123456789abcdef".into();
        let Matter { lead, items } = Matter::of(&event, Severity::High).unwrap();
        Message::new(form, lead, items)
    }

    #[test]
    fn a_message_says_what_who_and_where_to_look() {
        let text = render(&message(Form::First), Language::En);
        assert_eq!(
            text.whole(),
            "[Portcullis] CRITICAL: findings in a prompt\nrule: CN_ID (CRITICAL) × 2\ndecision: blocked\ntenant: acme\nkey: alice\n\
             policy: house 0123456789ab\nrequest: req-1\ntime: 2023-11-14T22:13:20.000000Z"
        );
        let text = render(&message(Form::First), Language::Zh);
        assert_eq!(
            text.whole(),
            "[Portcullis] 严重：提示词命中规则\n规则：CN_ID (严重) × 2\n处置：拦截\n租户：acme\n密钥：alice\n\
             策略：house 0123456789ab\n请求：req-1\n时间：2023-11-14T22:13:20.000000Z"
        );
    }

    #[test]
    fn summaries_say_how_many() {
        let window = Duration::from_secs(300);
        let title = |form, language| render(&message(form), language).title;
        assert!(title(Form::Summary { window }, Language::En).contains("2 more in the last 300 s"));
        assert!(title(Form::Summary { window }, Language::Zh).contains("最近 300 秒内又发生 2 次"));
        assert!(title(Form::HeldBack { events: 7 }, Language::En).contains("7 more"));
        assert!(title(Form::HeldBack { events: 7 }, Language::Zh).contains("7 条"));
    }

    #[test]
    fn every_topic_has_words_in_both_languages_and_the_name_that_robots_look_for() {
        for topic in Topic::ALL {
            let Matter { lead, items } = Matter::raised(*topic, "why");
            let message = Message::new(Form::First, lead, items);
            for language in Language::ALL {
                let text = render(&message, *language);
                assert!(text.title.starts_with("[Portcullis]") && text.whole().contains("why"), "{}", text.whole());
                assert_eq!(*language == Language::Zh, !text.title.is_ascii(), "{}", text.title);
            }
        }
    }

    #[test]
    fn a_name_cannot_add_lines() {
        let mut message = message(Form::First);
        message.lead.tenant = "a\nrule: none\u{202e}".into();
        message.lead.note = "x\r\ny".into();
        let text = render(&message, Language::En);
        assert!(text.lines.iter().all(|line| !line.contains(['\n', '\r', '\u{202e}'])), "{text:?}");
    }
}
