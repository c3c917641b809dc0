//! One thing that may be worth an alert: what is taken from an event, without any text of it.

use crate::alert::Topic;
use crate::{ChangeOutcome, Decision, Event, Guard, Severity};

/// Rules taken from one event.
pub(crate) const ITEMS_MAX: usize = 16;
/// Characters taken of a note.
const NOTE_CHARS_MAX: usize = 300;
/// How the rules of canary tokens begin; `policies` names them so.
const CANARY_PREFIX: &str = "CANARY_";

/// One rule, how bad it is, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    pub rule: String,
    pub severity: Severity,
    pub count: u64,
}

/// Who and what it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lead {
    pub topic: Topic,
    pub tenant: String,
    pub key_id: String,
    pub request_id: String,
    pub policy: String,
    pub policy_version: String,
    pub decision: Option<Decision>,
    pub time_us: i64,
    /// Words of our own, for what the gateway itself raises.
    pub note: String,
}

/// One thing that may be worth an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Matter {
    pub lead: Lead,
    pub items: Vec<Item>,
}

impl Matter {
    /// What of an event is at least this bad; `None` where nothing is.
    pub fn of(event: &Event, at_least: Severity) -> Option<Self> {
        let mut topic = Topic::of(event.kind)?;
        let mut items: Vec<Item> = Vec::new();
        for finding in event.findings.iter().filter(|finding| finding.severity >= at_least) {
            let count = u64::from(finding.count.max(1));
            if let Some(item) = items.iter_mut().find(|item| item.rule == finding.rule) {
                (item.count, item.severity) = (item.count + count, item.severity.max(finding.severity));
            } else if items.len() < ITEMS_MAX {
                items.push(Item { rule: finding.rule.clone(), severity: finding.severity, count });
            }
            if finding.rule.starts_with(CANARY_PREFIX) {
                topic = Topic::Canary;
            }
        }
        if items.is_empty() {
            items.push(Self::without_findings(event, topic).filter(|item| item.severity >= at_least)?);
        }
        let lead = Lead {
            topic,
            tenant: event.tenant.clone(),
            key_id: event.key_id.clone(),
            request_id: event.request_id.clone(),
            policy: event.policy.clone(),
            policy_version: event.policy_version.clone(),
            decision: event.decision,
            time_us: event.time_us,
            note: String::new(),
        };
        Some(Self { lead, items })
    }

    /// An event without findings stands for its outcome; a decision only where the guard model had it blocked.
    fn without_findings(event: &Event, topic: Topic) -> Option<Item> {
        let rule = match (topic, &event.guard) {
            (Topic::Decision, Some(Guard::Scored { label, .. })) if event.decision == Some(Decision::Block) => format!("guard:{label}"),
            (Topic::Decision | Topic::Completion, _) => return None,
            _ => event.outcome.clone(),
        };
        let failed = [ChangeOutcome::Refused, ChangeOutcome::RolledBack].map(ChangeOutcome::as_str);
        let severity = match topic {
            Topic::PolicyChange if failed.contains(&event.outcome.as_str()) => Severity::High,
            _ => topic.severity(),
        };
        event.findings.is_empty().then_some(Item { rule, severity, count: 1 })
    }

    /// Something that the gateway itself raises.
    pub fn raised(topic: Topic, note: &str) -> Self {
        let lead = Lead {
            topic,
            tenant: String::new(),
            key_id: String::new(),
            request_id: String::new(),
            policy: String::new(),
            policy_version: String::new(),
            decision: None,
            time_us: jiff::Timestamp::now().as_microsecond(),
            note: note.chars().take(NOTE_CHARS_MAX).collect(),
        };
        Self { lead, items: vec![Item { rule: topic.as_str().to_owned(), severity: topic.severity(), count: 1 }] }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    #[test]
    fn a_policy_that_is_refused_or_taken_back_is_worth_an_alert_and_one_in_force_is_not() {
        for (outcome, told) in [("in_force", false), ("refused", true), ("rolled_back", true), ("rollout_step", false)] {
            let event = Event { outcome: outcome.into(), ..Event::new(Kind::PolicyChange, "") };
            assert_eq!(Matter::of(&event, Severity::High).is_some(), told, "{outcome}");
        }
    }
    use crate::{Direction, FindingRecord, Kind};

    /// A blocked decision of `tenant` with findings of these rules.
    pub(crate) fn blocked(tenant: &str, rules: &[(&str, Severity)]) -> Event {
        let finding = |(rule, severity): &(&str, Severity)| FindingRecord {
            rule: (*rule).into(),
            category: "secret".into(),
            severity: *severity,
            direction: Direction::Request,
            action: Decision::Block,
            count: 2,
            spans: Vec::new(),
        };
        Event {
            tenant: tenant.into(),
            key_id: "alice".into(),
            policy: "house".into(),
            decision: Some(Decision::Block),
            severity: rules.iter().map(|(_, severity)| *severity).max(),
            findings: rules.iter().map(finding).collect(),
            redacted_prompt: Some("the prompt".into()),
            ..Event::new(Kind::Decision, "req-1")
        }
    }

    #[test]
    fn only_what_is_bad_enough_is_taken_and_each_rule_once() {
        let event = blocked("acme", &[("A", Severity::High), ("B", Severity::Medium), ("A", Severity::Critical)]);
        let matter = Matter::of(&event, Severity::High).unwrap();
        assert_eq!(matter.items, [Item { rule: "A".into(), severity: Severity::Critical, count: 4 }]);
        assert_eq!(matter.lead.request_id, "req-1");
        assert!(!format!("{matter:?}").contains("the prompt"));
        assert_eq!(Matter::of(&blocked("acme", &[("B", Severity::Medium)]), Severity::High), None);
    }

    #[test]
    fn a_completion_speaks_of_its_answer_only() {
        let event = blocked("acme", &[("A", Severity::High)]);
        let mut completion = Event::completion_of(&event);
        assert_eq!(completion.severity, Some(Severity::High), "as its decision had it");
        assert_eq!(Matter::of(&completion, Severity::Low), None);
        completion.findings = blocked("acme", &[("CANARY_SYSTEM", Severity::Critical)]).findings;
        assert_eq!(Matter::of(&completion, Severity::Critical).unwrap().lead.topic, Topic::Canary);
    }

    #[test]
    fn events_without_findings_are_as_bad_as_their_kind() {
        let of = |event: &Event, severity| Matter::of(event, severity).map(|matter| matter.items[0].rule.clone());
        let admin = Event { outcome: "keys_erased".into(), ..Event::new(Kind::Admin, "") };
        assert_eq!(of(&admin, Severity::High), Some("keys_erased".into()));
        assert_eq!(of(&admin, Severity::Critical), None);
        let guarded = Event {
            guard: Some(Guard::Scored { label: "injection".into(), score: 1.0, version: String::new(), known: None }),
            findings: vec![],
            ..blocked("a", &[])
        };
        assert_eq!(of(&guarded, Severity::High), Some("guard:injection".into()));
        assert_eq!(of(&Event { decision: Some(Decision::Allow), ..guarded }, Severity::Low), None);
        let refused = Event { outcome: "invalid_api_key".into(), ..Event::new(Kind::AuthFailure, "r") };
        assert_eq!((of(&refused, Severity::High), of(&refused, Severity::Medium)), (None, Some("invalid_api_key".into())));
    }

    #[test]
    fn no_alert_leads_to_another() {
        let mut event = blocked("acme", &[("A", Severity::Critical)]);
        event.kind = Kind::Alert;
        assert_eq!(Matter::of(&event, Severity::Low), None);
    }

    #[test]
    fn one_event_cannot_fill_a_message() {
        let names: Vec<String> = (0..ITEMS_MAX + 5).map(|n| format!("R{n}")).collect();
        let rules: Vec<(&str, Severity)> = names.iter().map(|name| (name.as_str(), Severity::High)).collect();
        assert_eq!(Matter::of(&blocked("acme", &rules), Severity::High).unwrap().items.len(), ITEMS_MAX);
        assert_eq!(Matter::raised(Topic::StoreFailing, &"x".repeat(9_999)).lead.note.len(), NOTE_CHARS_MAX);
    }
}
