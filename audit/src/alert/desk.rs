//! A channel's desk: decides of each matter whether it becomes a message now, is counted, or is held back.

use std::time::{Duration, Instant};

use crate::alert::group::{Groups, Sorted};
use crate::alert::matter::{Lead, Matter};
use crate::alert::message::{Form, Message};
use crate::alert::rate::Bucket;
use crate::alert::rule::Rule;

pub(crate) struct Desk {
    rule: Rule,
    groups: Groups,
    bucket: Bucket,
    window: Duration,
    held_back: HeldBack,
    /// Matters that became no message of their own, since the start.
    pub suppressed: u64,
}

/// Alerts without room, not yet told of.
#[derive(Default)]
struct HeldBack {
    events: u64,
    since: Option<Instant>,
    last: Option<Lead>,
}

impl Desk {
    pub fn new(rule: Rule, window: Duration, per_minute: u32, now: Instant) -> Self {
        let bucket = Bucket::new(per_minute, now);
        Self { rule, groups: Groups::new(window), bucket, window, held_back: HeldBack::default(), suppressed: 0 }
    }

    /// Takes a matter in; the message to be sent at once, if there is one.
    pub fn take(&mut self, now: Instant, matter: &Matter) -> Option<Message> {
        let wanted = self.rule.wanted(matter);
        if wanted.is_empty() {
            return None;
        }
        let Sorted { fresh, crowded, .. } = self.groups.sort(now, &matter.lead, &wanted);
        if fresh.is_empty() {
            self.suppressed += 1;
            if crowded > 0 {
                self.hold_back(now, &matter.lead, 1);
            }
            return None;
        }
        if self.bucket.take(now) {
            return Some(Message::new(Form::First, matter.lead.clone(), fresh));
        }
        self.suppressed += 1;
        self.hold_back(now, &matter.lead, 1);
        None
    }

    /// The summaries that are due.
    pub fn due(&mut self, now: Instant) -> Vec<Message> {
        let mut messages = Vec::new();
        for summary in self.groups.due(now) {
            if self.bucket.take(now) {
                messages.push(summary);
            } else {
                self.hold_back(now, &summary.lead, summary.count());
            }
        }
        // Once a window, and beside the rate: however much is held back, that it was is told.
        if self.held_back.since.is_some_and(|since| now.saturating_duration_since(since) >= self.window) {
            let HeldBack { events, last, .. } = std::mem::take(&mut self.held_back);
            messages.extend(last.map(|lead| Message::new(Form::HeldBack { events }, lead, Vec::new())));
        }
        messages
    }

    fn hold_back(&mut self, now: Instant, lead: &Lead, events: u64) {
        let held = &mut self.held_back;
        held.events += events;
        held.since.get_or_insert(now);
        held.last = Some(lead.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Severity;
    use crate::alert::matter::tests::blocked;

    const WINDOW: Duration = Duration::from_secs(60);

    fn matter(tenant: &str) -> Matter {
        Matter::of(&blocked(tenant, &[("A", Severity::High)]), Severity::Low).unwrap()
    }

    #[test]
    fn past_the_rate_alerts_are_held_back_and_that_is_told_once_a_window() {
        let begin = Instant::now();
        let mut desk = Desk::new(Rule::default(), WINDOW, 2, begin);
        let sent = (0..10).filter_map(|n| desk.take(begin, &matter(&format!("t{n}")))).count();
        assert_eq!((sent, desk.suppressed), (2, 8));
        assert!(desk.due(begin + WINDOW / 2).is_empty());
        let told = desk.due(begin + WINDOW);
        assert_eq!(told.len(), 1);
        assert_eq!((told[0].form, told[0].count()), (Form::HeldBack { events: 8 }, 8));
        assert!(desk.due(begin + WINDOW).is_empty());
    }

    #[test]
    fn a_million_events_of_one_kind_are_two_messages() {
        let begin = Instant::now();
        let mut desk = Desk::new(Rule::default(), WINDOW, 20, begin);
        let matter = matter("acme");
        let sent = (0..1_000_000).filter_map(|_| desk.take(begin, &matter)).count();
        let due = desk.due(begin + WINDOW);
        assert_eq!((sent, due.len(), due[0].count()), (1, 1, 999_999));
    }

    #[test]
    fn what_the_channel_does_not_want_is_nothing() {
        let now = Instant::now();
        let mut desk = Desk::new(Rule { severity: Severity::Critical, ..Rule::default() }, WINDOW, 20, now);
        assert_eq!(desk.take(now, &matter("acme")), None);
        assert_eq!(desk.suppressed, 0);
    }
}
