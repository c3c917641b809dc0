//! The messages that wait for one channel: bounded, the oldest goes first and goes overboard first.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

/// Messages that wait for one channel.
pub(crate) const QUEUE_MESSAGES_MAX: usize = 256;

#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: Mutex<VecDeque<crate::alert::Message>>,
    changed: Notify,
}

impl Queue {
    /// Adds a message. Returns the oldest one where there is no room.
    pub fn push(&self, message: crate::alert::Message) -> Option<crate::alert::Message> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let overboard = if waiting.len() >= QUEUE_MESSAGES_MAX { waiting.pop_front() } else { None };
        waiting.push_back(message);
        drop(waiting);
        self.changed.notify_one();
        overboard
    }

    /// The next message; waits until there is one. For one taker.
    pub async fn next(&self) -> crate::alert::Message {
        loop {
            if let Some(message) = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front() {
                return message;
            }
            self.changed.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::Message;

    #[tokio::test]
    async fn the_oldest_goes_overboard_when_there_is_no_room() {
        let queue = Queue::default();
        let messages: Vec<Message> = (0..QUEUE_MESSAGES_MAX + 2).map(|_| Message::test()).collect();
        let overboard: Vec<Message> = messages.iter().filter_map(|message| queue.push(message.clone())).collect();
        assert_eq!(overboard, messages[..2]);
        for message in &messages[2..] {
            assert_eq!(queue.next().await, *message);
        }
    }
}
