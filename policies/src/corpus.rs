//! Ordinary texts that no policy should refuse, to measure false alarms with.

/// JSON lines `{"text","kind","lang"}`: prompts and prose in some thirty languages, code, logs, data, numbers, emoji, talk about
/// attacks. No line holds personal data or a credential, so whatever a rule finds in one is a false alarm.
/// `benign/compose.py` writes them.
pub const BENIGN: &str = include_str!("../benign/benign.jsonl");
