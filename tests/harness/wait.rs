//! Waiting with an end: no test hangs, and every wait that runs out says what it waited for.

use std::future::Future;
use std::time::Duration;

/// How long a test waits for anything that ought to happen at once; generous, because the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Pause between two looks at a condition that no event announces (a file, a row written by another process).
const LOOK_EVERY: Duration = Duration::from_millis(3);

/// Awaits `future`, and fails the test with `what` when it takes longer than [`PATIENCE`].
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    within(PATIENCE, what, future).await
}

/// Awaits `future`, and fails the test with `what` when it takes longer than `limit`.
pub async fn within<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(limit, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {limit:?} for {what}"),
    }
}

/// Looks until `look` finds something, and fails the test with `what` when [`PATIENCE`] runs out.
pub async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    soon(what, async {
        loop {
            if let Some(found) = look() {
                return found;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    })
    .await
}

/// The same for a look that has to ask somebody first.
pub async fn eventually_asked<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    soon(what, async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    })
    .await
}
