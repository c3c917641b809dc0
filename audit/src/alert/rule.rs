//! What a channel wants to hear of.

use crate::Severity;
use crate::alert::Topic;
use crate::alert::matter::{Item, Matter};

/// What a channel wants to hear of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The least severity.
    pub severity: Severity,
    /// Only these topics; all where it is empty.
    pub topics: Vec<Topic>,
    /// Only these tenants; all where it is empty. What is about the gateway itself has no tenant and is told in any case.
    pub tenants: Vec<String>,
}

impl Default for Rule {
    fn default() -> Self {
        Self { severity: Severity::High, topics: Vec::new(), tenants: Vec::new() }
    }
}

impl Rule {
    /// The parts of a matter that the channel wants to hear of; empty where there are none.
    pub(crate) fn wanted<'a>(&self, matter: &'a Matter) -> Vec<&'a Item> {
        let topic = matter.lead.topic;
        let of_topic = self.topics.is_empty() || self.topics.contains(&topic);
        let of_tenant = self.tenants.is_empty() || topic.is_of_the_gateway() || self.tenants.contains(&matter.lead.tenant);
        if !(of_topic && of_tenant) {
            return Vec::new();
        }
        matter.items.iter().filter(|item| item.severity >= self.severity).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::matter::tests::blocked;

    fn wanted(rule: &Rule, matter: &Matter) -> Vec<String> {
        rule.wanted(matter).into_iter().map(|item| item.rule.clone()).collect()
    }

    #[test]
    fn threshold_topic_and_tenant_each_say_no() {
        let event = blocked("acme", &[("A", Severity::High), ("B", Severity::Critical)]);
        let matter = Matter::of(&event, Severity::Low).unwrap();
        let all = Rule::default();
        assert_eq!(wanted(&all, &matter), ["A", "B"]);
        assert_eq!(wanted(&Rule { severity: Severity::Critical, ..all.clone() }, &matter), ["B"]);
        assert_eq!(wanted(&Rule { topics: vec![Topic::Decision], tenants: vec!["acme".into()], ..all.clone() }, &matter), ["A", "B"]);
        assert!(wanted(&Rule { topics: vec![Topic::Canary], ..all.clone() }, &matter).is_empty());
        assert!(wanted(&Rule { tenants: vec!["other".into()], ..all }, &matter).is_empty());
    }

    #[test]
    fn the_gateway_itself_is_told_of_whatever_the_tenants() {
        let matter = Matter::raised(Topic::StoreFailing, "no space");
        let rule = Rule { tenants: vec!["acme".into()], ..Rule::default() };
        assert_eq!(wanted(&rule, &matter), ["store_failing"]);
        assert!(wanted(&Rule { topics: vec![Topic::Decision], ..rule }, &matter).is_empty());
    }
}
