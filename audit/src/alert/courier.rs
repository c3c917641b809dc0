//! One channel's courier: takes message after message from its queue and tries each until it is taken or given up.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::alert::backoff;
use crate::alert::ledger::{Counters, Ledger};
use crate::alert::queue::Queue;
use crate::alert::{Answered, Channel, Failure, Message};

/// Delivers for ever; a channel that fails or never answers holds up its own queue only.
pub(crate) async fn run(channel: Arc<Channel>, queue: Arc<Queue>, counters: Arc<Counters>, ledger: Arc<Ledger>) {
    loop {
        let message = queue.next().await;
        let (attempts, end) = deliver(&channel, &message).await;
        ledger.note(&channel, &counters, &message, attempts, &end);
        counters.in_hand.fetch_sub(1, Relaxed);
    }
}

async fn deliver(channel: &Channel, message: &Message) -> (u32, Result<Answered, Failure>) {
    let retry = channel.settings().retry;
    let mut attempt = 1;
    loop {
        let failure = match channel.send(message).await {
            Ok(answered) => return (attempt, Ok(answered)),
            Err(failure) => failure,
        };
        if attempt >= retry.attempts || !failure.is_passing() {
            return (attempt, Err(failure));
        }
        tokio::time::sleep(backoff::wait(retry.first, attempt, failure.retry_after, backoff::chance())).await;
        attempt += 1;
    }
}
