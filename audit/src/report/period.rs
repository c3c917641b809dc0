//! The period of a report, in UTC: its first moment belongs to it, its last does not.

use std::time::Duration;

use crate::event::rfc3339;

/// Longest period: its days and minutes are counted one by one.
const DAYS_MAX: i64 = 3_660;
pub(crate) const DAY_US: i64 = 24 * 60 * 60 * 1_000_000;
const HOW: &str = "write 2026-11-01 (UTC) or 2026-11-01T08:00:00Z";

/// A period, in microseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// The first moment.
    pub from_us: i64,
    /// The moment after the last.
    pub to_us: i64,
}

impl Period {
    /// Makes a period of two moments.
    ///
    /// # Errors
    /// In words, when it is empty or longer than ten years.
    pub fn new(from_us: i64, to_us: i64) -> Result<Self, String> {
        if from_us >= to_us {
            return Err(format!(
                "the period ends ({}) where it begins ({}) or before; `to` is the first moment that does not belong to it: for all of \
                 November write --from 2026-11-01 --to 2026-12-01",
                rfc3339(to_us),
                rfc3339(from_us)
            ));
        }
        if to_us.saturating_sub(from_us) > DAYS_MAX * DAY_US {
            return Err(format!("the period is longer than {DAYS_MAX} days; ask for a part of it"));
        }
        Ok(Self { from_us, to_us })
    }

    /// Makes a period of words: two moments, or `last` (such as `7d`, `24h`, `4w`) until `now_us`. Without `to` it ends now.
    ///
    /// # Errors
    /// In words that say what to write.
    pub fn parse(from: Option<&str>, to: Option<&str>, last: Option<&str>, now_us: i64) -> Result<Self, String> {
        let to_us = to.map_or(Ok(now_us), |word| moment(word).map_err(|error| format!("--to {}: {error}", word.escape_debug())))?;
        match (from, last) {
            (Some(_), Some(_)) => Err("give --from or --last, not both".into()),
            (None, None) => Err("give a period: --from 2026-11-01 --to 2026-12-01, or --last 7d".into()),
            (Some(word), None) => Self::new(moment(word).map_err(|error| format!("--from {}: {error}", word.escape_debug()))?, to_us),
            (None, Some(word)) => {
                let length = length(word).ok_or_else(|| format!("--last {}: write 7d, 24h or 4w", word.escape_debug()))?;
                Self::new(to_us.saturating_sub(i64::try_from(length.as_micros()).unwrap_or(i64::MAX)), to_us)
            }
        }
    }

    /// Whether a moment belongs to it.
    pub fn contains(&self, time_us: i64) -> bool {
        (self.from_us..self.to_us).contains(&time_us)
    }
}

/// Reads a moment; microseconds since 1970.
fn moment(word: &str) -> Result<i64, &'static str> {
    let day = || word.parse::<jiff::civil::Date>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|day| day.timestamp());
    // Both read a moment in the other's word: a date first would drop the time of day.
    let time = word.parse::<jiff::Timestamp>().ok().or_else(|| if word.len() == 10 { day() } else { None });
    time.map(|time| time.as_microsecond()).ok_or(HOW)
}

fn length(word: &str) -> Option<Duration> {
    let (number, hours) =
        [('h', 1), ('d', 24), ('w', 7 * 24)].into_iter().find_map(|(unit, hours)| Some((word.strip_suffix(unit)?, hours)))?;
    let number: u64 = number.parse().ok().filter(|number| *number > 0)?;
    Some(Duration::from_secs(number.checked_mul(hours)?.checked_mul(3600)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_764_547_200_000_000; // 2025-12-01

    #[test]
    fn a_period_is_read_from_dates_times_and_lengths() {
        let parse = |from, to, last| Period::parse(from, to, last, NOW).unwrap();
        let november = parse(Some("2025-11-01"), Some("2025-12-01"), None);
        assert_eq!((november.to_us - november.from_us, november.to_us), (30 * DAY_US, NOW));
        assert_eq!(parse(Some("2025-11-01T00:00:00Z"), None, None), november);
        assert_eq!(parse(Some("2025-11-01T08:00:00+08:00"), None, None), november);
        assert_eq!(parse(None, None, Some("30d")), november);
        assert_eq!(parse(None, None, Some("24h")), parse(None, Some("2025-12-01"), Some("1d")));
        assert_eq!(parse(None, None, Some("1w")), parse(None, None, Some("7d")));
        assert!(november.contains(november.from_us) && november.contains(NOW - 1));
        assert!(!november.contains(NOW) && !november.contains(november.from_us - 1));
    }

    #[test]
    fn an_error_says_what_to_write() {
        let error = |from, to, last| Period::parse(from, to, last, NOW).unwrap_err();
        assert_eq!(error(Some("yesterday"), None, None), "--from yesterday: write 2026-11-01 (UTC) or 2026-11-01T08:00:00Z");
        assert_eq!(error(None, None, None), "give a period: --from 2026-11-01 --to 2026-12-01, or --last 7d");
        for wrong in ["7", "d", "0d", "-1d", "7m", "99999999999999999d", "1.5d", ""] {
            assert!(error(None, None, Some(wrong)).contains("write 7d, 24h or 4w"), "{wrong}");
        }
        for wrong in ["2025-13-01", "2025-11-01T08:00", "01.11.2025", "", "2025-11-01\n"] {
            assert!(error(Some(wrong), None, None).contains(HOW), "{wrong}");
        }
        assert!(error(Some("2025-12-01"), Some("2025-11-01"), None).contains("the period ends"));
        assert!(error(Some("2025-11-01"), Some("2025-11-01"), None).contains("the period ends"));
        assert!(error(Some("1970-01-01"), None, None).contains("longer than 3660 days"));
        assert!(error(Some("2025-11-01"), None, Some("7d")).contains("not both"));
    }
}
