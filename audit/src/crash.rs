//! Places where a test ends the process at once, without any farewell, as kill -9 would: `PORTCULLIS_CRASH_AT=PLACE` or `PLACE:N` for
//! the Nth time that the place is passed.
//!
//! Only programs with debug assertions have them. In a release build [`point`] is an empty function and the variable means nothing.

/// Ends the process here if the environment says so.
#[cfg(debug_assertions)]
pub fn point(place: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    static WANTED: OnceLock<Option<(String, AtomicU64)>> = OnceLock::new();
    let wanted = WANTED.get_or_init(|| {
        let text = std::env::var(VARIABLE).ok()?;
        let (place, times) = text.split_once(':').unwrap_or((&text, "1"));
        Some((place.to_owned(), AtomicU64::new(times.parse().unwrap_or(1))))
    });
    if let Some((wanted, times)) = wanted
        && wanted == place
        && times.fetch_sub(1, Relaxed) == 1
    {
        std::process::abort();
    }
}

/// Does nothing.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn point(_: &str) {}

/// Names the place.
#[cfg(debug_assertions)]
const VARIABLE: &str = "PORTCULLIS_CRASH_AT";
