//! Grouping: the first of its kind is told at once, what follows within the window is counted, and the count is told at its end.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use crate::alert::Topic;
use crate::alert::matter::{Item, Lead};
use crate::alert::message::{Form, Message};

/// Groups that one channel keeps open.
pub(crate) const GROUPS_MAX: usize = 4_096;
/// Rules told in one summary; more go into the next one.
const SUMMARY_ITEMS_MAX: usize = 20;

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Key {
    topic: Topic,
    tenant: String,
    key_id: String,
    rule: String,
}

#[derive(Debug)]
struct Open {
    since: Instant,
    /// Events since the last message.
    more: u64,
    last: Lead,
    item: Item,
}

/// What became of a matter.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Sorted {
    /// Not told of within the window.
    pub fresh: Vec<Item>,
    /// How many were told of already and are counted.
    pub repeated: u64,
    /// How many there was no room for.
    pub crowded: u64,
}

/// The open groups of one channel.
#[derive(Debug)]
pub(crate) struct Groups {
    window: Duration,
    open: HashMap<Key, Open>,
}

impl Groups {
    pub fn new(window: Duration) -> Self {
        Self { window, open: HashMap::new() }
    }

    /// Sorts the parts of a matter.
    pub fn sort(&mut self, now: Instant, lead: &Lead, items: &[&Item]) -> Sorted {
        let mut sorted = Sorted::default();
        for &item in items {
            let key = Key { topic: lead.topic, tenant: lead.tenant.clone(), key_id: lead.key_id.clone(), rule: item.rule.clone() };
            if let Some(open) = self.open.get_mut(&key) {
                open.more += 1;
                open.last = lead.clone();
                open.item.severity = open.item.severity.max(item.severity);
                sorted.repeated += 1;
            } else if self.open.len() < GROUPS_MAX {
                self.open.insert(key, Open { since: now, more: 0, last: lead.clone(), item: item.clone() });
                sorted.fresh.push(item.clone());
            } else {
                sorted.crowded += 1;
            }
        }
        sorted
    }

    /// The summaries of all windows that have ended. A group that was quiet for a window ends with it.
    pub fn due(&mut self, now: Instant) -> Vec<Message> {
        let window = self.window;
        let ended = |open: &Open| now.saturating_duration_since(open.since) >= window;
        self.open.retain(|_, open| open.more > 0 || !ended(open));
        let mut by_caller: BTreeMap<(Topic, String, String), (Lead, Vec<Item>)> = BTreeMap::new();
        for (key, open) in self.open.iter_mut().filter(|(_, open)| ended(open)) {
            let caller = (key.topic, key.tenant.clone(), key.key_id.clone());
            let (lead, items) = by_caller.entry(caller).or_insert_with(|| (open.last.clone(), Vec::new()));
            if open.last.time_us > lead.time_us {
                lead.clone_from(&open.last);
            }
            items.push(Item { count: open.more, ..open.item.clone() });
            (open.since, open.more) = (now, 0);
        }
        let mut summaries = Vec::new();
        for (lead, mut items) in by_caller.into_values() {
            items.sort_by(|a, b| b.severity.cmp(&a.severity).then(b.count.cmp(&a.count)).then(a.rule.cmp(&b.rule)));
            for part in items.chunks(SUMMARY_ITEMS_MAX) {
                summaries.push(Message::new(Form::Summary { window }, lead.clone(), part.to_vec()));
            }
        }
        summaries
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Severity;
    use crate::alert::Matter;
    use crate::alert::matter::tests::blocked;

    const WINDOW: Duration = Duration::from_secs(60);

    fn sort(groups: &mut Groups, now: Instant, tenant: &str, rules: &[&str]) -> Sorted {
        let rules: Vec<(&str, Severity)> = rules.iter().map(|rule| (*rule, Severity::High)).collect();
        let matter = Matter::of(&blocked(tenant, &rules), Severity::High).unwrap();
        groups.sort(now, &matter.lead, &matter.items.iter().collect::<Vec<_>>())
    }

    #[test]
    fn the_first_is_told_and_the_rest_becomes_one_count() {
        let (mut groups, begin) = (Groups::new(WINDOW), Instant::now());
        assert_eq!(sort(&mut groups, begin, "acme", &["A"]).fresh.len(), 1);
        for second in 1..=40 {
            let sorted = sort(&mut groups, begin + Duration::from_secs(second), "acme", &["A"]);
            assert_eq!((sorted.fresh.len(), sorted.repeated), (0, 1));
        }
        assert!(groups.due(begin + WINDOW - Duration::from_millis(1)).is_empty());
        let summary = groups.due(begin + WINDOW);
        assert_eq!((summary.len(), summary[0].count()), (1, 40));
        assert!(groups.due(begin + WINDOW).is_empty(), "told once");
    }

    #[test]
    fn a_flood_that_goes_on_is_told_once_a_window_and_one_that_ended_begins_anew() {
        let (mut groups, begin) = (Groups::new(WINDOW), Instant::now());
        sort(&mut groups, begin, "acme", &["A"]);
        sort(&mut groups, begin, "acme", &["A"]);
        assert_eq!(groups.due(begin + WINDOW).len(), 1);
        assert_eq!(sort(&mut groups, begin + WINDOW, "acme", &["A"]).repeated, 1, "the next window");
        assert_eq!(groups.due(begin + 2 * WINDOW)[0].count(), 1);
        assert!(groups.due(begin + 3 * WINDOW).is_empty());
        assert_eq!(sort(&mut groups, begin + 3 * WINDOW, "acme", &["A"]).fresh.len(), 1);
    }

    #[test]
    fn tenants_rules_and_keys_do_not_hide_each_other() {
        let (mut groups, now) = (Groups::new(WINDOW), Instant::now());
        sort(&mut groups, now, "acme", &["A"]);
        assert_eq!(sort(&mut groups, now, "other", &["A"]).fresh.len(), 1);
        let both = sort(&mut groups, now, "acme", &["A", "B"]);
        assert_eq!((both.fresh[0].rule.as_str(), both.repeated), ("B", 1));
        sort(&mut groups, now, "acme", &["B"]);
        sort(&mut groups, now, "other", &["A"]);
        let summaries = groups.due(now + WINDOW);
        let told: Vec<(&str, usize)> = summaries.iter().map(|summary| (summary.lead.tenant.as_str(), summary.items.len())).collect();
        assert_eq!(told, [("acme", 2), ("other", 1)], "one summary for each caller");
    }

    #[test]
    fn there_is_a_last_group() {
        let (mut groups, now) = (Groups::new(WINDOW), Instant::now());
        for n in 0..GROUPS_MAX {
            assert_eq!(sort(&mut groups, now, &format!("t{n}"), &["A"]).crowded, 0);
        }
        assert_eq!(sort(&mut groups, now, "one more", &["A"]), Sorted { crowded: 1, ..Sorted::default() });
        assert!(groups.due(now + WINDOW).is_empty());
        assert_eq!(sort(&mut groups, now + WINDOW, "one more", &["A"]).fresh.len(), 1, "room again");
    }
}
