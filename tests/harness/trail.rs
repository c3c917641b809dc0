//! A made-up trail: as many events as wanted, spread over a period, the same for the same numbers.

use portcullis_audit::{Decision, Direction, Event, FindingRecord, Guard, Kind, Latencies, Mode, Severity, TokensSource};

const RULES: [(&str, &str, Severity, Decision); 6] = [
    ("EMAIL_ADDRESS", "pii", Severity::Medium, Decision::Redact),
    ("CREDIT_CARD", "pii", Severity::High, Decision::Redact),
    ("openai-api-key", "secret", Severity::Critical, Decision::Block),
    ("INJECTION_HIDDEN_TEXT", "injection", Severity::High, Decision::Block),
    ("JAILBREAK_PERSONA", "jailbreak", Severity::Medium, Decision::Flag),
    ("SQL_INJECTION_UNION", "code_attack", Severity::Low, Decision::Flag),
];

/// Makes the events of request `n` of `requests`, in a period that begins at `from_us` and takes `length_us` (microseconds): the one that
/// answers it, and its completion where it was forwarded. One request in ten has findings, one in forty is refused.
pub fn made_up(n: u64, requests: u64, from_us: i64, length_us: i64) -> Vec<Event> {
    let dice = |sides: u64, salt: u64| mix(n ^ (salt << 40)) % sides;
    let at = from_us + (i128::from(length_us) * i128::from(n) / i128::from(requests.max(1))) as i64;
    let kind = match dice(80, 1) {
        0 => Kind::Limit,
        1 => Kind::AuthFailure,
        _ => Kind::Decision,
    };
    let (rule, category, severity, action) = RULES[dice(6, 2) as usize];
    let found = kind == Kind::Decision && dice(10, 3) == 0;
    let mut event = Event {
        gateway: format!("gateway-{}", dice(3, 4)),
        client_addr: format!("10.0.{}.{}:{}", dice(4, 5), dice(250, 6), 1024 + dice(60_000, 7)),
        route: "chat".into(),
        ..Event::new(kind, format!("request-{n}"))
    };
    event.stamp(at);
    if kind != Kind::AuthFailure {
        event.tenant = format!("tenant-{}", dice(20, 8));
        event.key_id = format!("key-{}", dice(10, 9));
        event.model = ["llama-3.3-70b", "qwen3-32b", "gpt-4o", "mistral-small"][dice(4, 10) as usize].into();
    }
    if kind != Kind::Decision {
        event.decision = Some(Decision::Refused);
        event.outcome = if kind == Kind::Limit { "requests_per_minute" } else { "invalid_api_key" }.into();
        event.status = Some(if kind == Kind::Limit { 429 } else { 401 });
        return vec![event];
    }
    let decision = if found { action } else { Decision::Allow };
    event.direction = Some(Direction::Request);
    event.decision = Some(decision);
    event.intended = Some(decision);
    event.policy = "default".into();
    event.policy_version = if n * 3 < requests * 2 { "4f1d0c9b7a3e2211" } else { "9c1e77d2b0a54f36" }.into();
    event.mode = Some(Mode::Enforce);
    event.guard = Some(Guard::Scored { label: "benign".into(), score: 0.02, version: "small-1".into(), known: None });
    event.latencies_us = Latencies {
        receive: Some(40 + dice(200, 11)),
        parse: Some(20 + dice(60, 12)),
        screen_rules: Some(80 + dice(900, 13)),
        screen_model: Some(2_000 + dice(9_000, 14)),
        ..Latencies::default()
    };
    if dice(500, 15) == 0 {
        event.guard = Some(Guard::Unavailable { reason: "deadline".into() });
        event.failed_open = vec!["guard".into()];
    }
    if found {
        event.severity = Some(severity);
        let count = 1 + dice(3, 16) as u32;
        event.findings = vec![FindingRecord {
            rule: rule.into(),
            category: category.into(),
            severity,
            direction: Direction::Request,
            action,
            count,
            spans: Vec::new(),
        }];
    }
    if decision == Decision::Block {
        event.outcome = "blocked".into();
        event.status = Some(403);
        return vec![event];
    }
    let mut end = Event::completion_of(&event);
    end.stamp(at + 900_000);
    end.direction = Some(Direction::Response);
    end.outcome = if dice(50, 17) == 0 { "client_gone" } else { "ok" }.into();
    end.status = Some(200);
    end.tokens_in = Some(50 + dice(2_000, 18));
    end.tokens_out = Some(20 + dice(800, 19));
    end.tokens_source = Some(if dice(9, 20) == 0 { TokensSource::Estimated } else { TokensSource::Measured });
    end.latencies_us = Latencies {
        record: Some(900 + dice(6_000, 21)),
        first_byte: Some(60_000 + dice(300_000, 22)),
        screen_back: Some(200 + dice(2_000, 23)),
        total: Some(400_000 + dice(4_000_000, 24)),
        ..Latencies::default()
    };
    vec![event, end]
}

/// Spreads the bits of a number (the finalizer of `SplitMix64`: Steele, Lea and Flood 2014).
fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
