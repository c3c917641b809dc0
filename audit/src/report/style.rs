//! The languages of a report, and how its values are shown: counts, moments, durations, and names that nobody can vouch for.

use crate::event::rfc3339;
use crate::line::deceives;

/// The language of a report's own words. Names and words of the record stay as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lang {
    /// English.
    #[default]
    En,
    /// Chinese, in simplified characters.
    Zh,
}

impl Lang {
    /// Chooses the words of this language.
    pub(super) fn say<'a>(self, en: &'a str, zh: &'a str) -> &'a str {
        match self {
            Self::En => en,
            Self::Zh => zh,
        }
    }

    /// Returns the language's code, as HTML writes it.
    pub(super) fn code(self) -> &'static str {
        self.say("en", "zh-Hans")
    }
}

impl std::str::FromStr for Lang {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "en" => Ok(Self::En),
            "zh" => Ok(Self::Zh),
            _ => Err(format!("`{}` is none of en, zh", word.escape_debug())),
        }
    }
}

/// A name with everything escaped that does not show or shows as something else; blanks are left between other characters.
pub(super) fn visible(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for (index, character) in name.char_indices() {
        let inside = index > 0 && index + 1 < name.len();
        match character {
            ' ' if inside => text.push(' '),
            '\\' | '\n' | '\r' | '\t' => text.extend(character.escape_default()),
            _ if deceives(character) => text.extend(character.escape_unicode()),
            _ => text.push(character),
        }
    }
    if text.is_empty() { "-".into() } else { text }
}

/// `1234567` as `1,234,567`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A moment to the second, `2026-11-01 08:00:00`.
pub(super) fn moment(time_us: i64) -> String {
    rfc3339(time_us).chars().take(19).map(|character| if character == 'T' { ' ' } else { character }).collect()
}

/// A duration of some microseconds, in the unit that fits, three digits at least.
pub(super) fn duration(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => format!("{:.2} ms", micros as f64 / 1e3),
        _ => format!("{:.2} s", micros as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_as_people_read_them() {
        assert_eq!([0, 7, 999, 1_000, 12_345, 1_234_567].map(count), ["0", "7", "999", "1,000", "12,345", "1,234,567"]);
        assert_eq!([999, 1_000, 15_230, 2_000_000].map(duration), ["999 µs", "1.00 ms", "15.23 ms", "2.00 s"]);
        assert_eq!(moment(1_700_000_000_000_000), "2023-11-14 22:13:20");
    }

    #[test]
    fn a_name_hides_nothing() {
        assert_eq!(visible("a b"), "a b");
        assert_eq!(visible(" a\u{202e}b\n\0 "), r"\u{20}a\u{202e}b\n\u{0}\u{20}");
        assert_eq!(visible(""), "-");
        assert_eq!(visible("模型<script>"), "模型<script>");
    }
}
