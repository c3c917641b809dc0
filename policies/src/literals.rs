//! The first look at a text: where a literal of any rule may stand, where a run of digits begins, where a rare character is.
//!
//! One loop over the bytes. The first three, four and six bytes at each place, in lower case, are each looked up in a bitmap that holds one
//! window of each literal, the rarest it has; a hit is compared with the literals of that window. The bitmaps stay in the first caches, so
//! the loop does not slow down with the number of rules, as an automaton of thousands of literals does.

use crate::frequency::rate;

/// Shortest literal that can be looked for, in bytes.
pub(crate) const LITERAL_BYTES_MIN: usize = 3;

/// Bits of the three bitmaps, as powers of two.
const SHORT_BITS: u32 = 17;
const MIDDLE_BITS: u32 = 18;
const LONG_BITS: u32 = 17;
/// Entries are found by this many bits of the hash.
const INDEX_BITS: u32 = 13;
/// Lower case for letters; other bytes may fall together, which the comparison tells apart.
const LOWER: u64 = 0x2020_2020_2020_2020;

/// What the first look finds.
pub(crate) trait Sight {
    /// Literal number `literal` stands at `start..end`.
    fn literal(&mut self, literal: usize, start: usize, end: usize);
    /// A byte of class `class` (never 0) stands at `at`; for digits and codes, a run of them begins there.
    fn byte(&mut self, class: u8, at: usize);
}

/// Class of a byte at which nothing begins.
pub(crate) const NO_CLASS: u8 = 0;
/// Class of the digits, told of where a run of them begins.
pub(crate) const DIGIT_CLASS: u8 = 1;
/// Class of capitals and digits together, told of where a run of them begins.
pub(crate) const CODE_CLASS: u8 = 2;
/// Class of letters and digits, told of where a run of at least [`LONG_RUN_BYTES_MIN`] begins.
pub(crate) const LONG_CLASS: u8 = 3;
/// Shortest run of letters and digits that is told of, in bytes; no word is as long.
pub(crate) const LONG_RUN_BYTES_MIN: usize = 25;

/// One window of one literal.
struct Entry {
    /// The window in lower case.
    window: u64,
    /// The bit of case of each of its letters: with it set, a text's window is in lower case where the literal has letters.
    case: u64,
    literal: u32,
    /// Where in the literal the window lies.
    offset: u16,
    /// Length of the literal.
    length: u16,
}

/// All windows of `BYTES` bytes.
struct Windows<const BYTES: usize> {
    /// Two bits are set for each window, both in one word (a blocked Bloom filter: Putze, Sanders, Singler 2007).
    bits: Vec<u64>,
    /// The hash is shifted by so much to give a word.
    shift: u32,
    /// For each head of a hash, where its entries begin; one more at the end.
    index: Vec<u32>,
    entries: Vec<Entry>,
}

/// The literals of all rules, ready to be looked for.
pub(crate) struct Literals {
    /// All literals, one behind the other, and where each begins.
    bytes: Vec<u8>,
    begins: Vec<u32>,
    short: Windows<3>,
    middle: Windows<4>,
    long: Windows<6>,
    classes: [u8; 256],
}

impl<const BYTES: usize> Windows<BYTES> {
    fn new(bits: u32, words: &[&[u8]], lengths: std::ops::Range<usize>) -> Self {
        let mut entries: Vec<Entry> = Vec::new();
        for (number, word) in words.iter().enumerate().filter(|(_, word)| lengths.contains(&word.len())) {
            let rate = |&at: &usize| rate(&word[at..at + BYTES]);
            let offset = (0..=word.len() - BYTES).min_by(|a, b| rate(a).total_cmp(&rate(b))).unwrap_or(0);
            let (mut window, mut case) = ([0; 8], [0; 8]);
            window[..BYTES].copy_from_slice(&word[offset..offset + BYTES]);
            for (case, byte) in case.iter_mut().zip(window) {
                *case = if byte.is_ascii_lowercase() { 0x20 } else { 0 };
            }
            entries.push(Entry {
                window: u64::from_le_bytes(window),
                case: u64::from_le_bytes(case),
                literal: number as u32,
                offset: offset as u16,
                length: word.len() as u16,
            });
        }
        let head = |entry: &Entry| (Self::hash(Self::cut(entry.window | LOWER)) >> (64 - INDEX_BITS)) as usize;
        entries.sort_by_key(|entry| (head(entry), entry.window, entry.literal));
        let mut windows = Self { bits: vec![0; 1 << (bits - 6)], shift: 64 + 6 - bits, index: vec![0; (1 << INDEX_BITS) + 1], entries };
        for entry in &windows.entries {
            let hash = Self::hash(Self::cut(entry.window | LOWER));
            windows.bits[(hash >> windows.shift) as usize] |= Self::pair(hash);
            windows.index[head(entry) + 1] += 1;
        }
        for at in 1..windows.index.len() {
            windows.index[at] += windows.index[at - 1];
        }
        windows
    }

    /// Cuts eight bytes to a window.
    #[inline(always)]
    fn cut(eight: u64) -> u64 {
        eight & (u64::MAX >> (64 - 8 * BYTES))
    }

    /// Multiplicative hashing (Knuth, The Art of Computer Programming 3, 6.4): the high bits of a product.
    #[inline(always)]
    fn hash(window: u64) -> u64 {
        window.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    /// Two bits of a word.
    #[inline(always)]
    fn pair(hash: u64) -> u64 {
        1 << (hash >> 24 & 63) | 1 << (hash >> 32 & 63)
    }

    #[inline(always)]
    fn may_hold(&self, eight: u64) -> bool {
        let hash = Self::hash(Self::cut(eight));
        let pair = Self::pair(hash);
        self.bits[(hash >> self.shift) as usize] & pair == pair
    }

    /// Calls `found` with each entry whose window stands in the first of these eight bytes, of which `lower` is the same with all bits of case set.
    #[inline(always)]
    fn entries(&self, eight: u64, lower: u64, mut found: impl FnMut(&Entry)) {
        if !self.may_hold(lower) {
            return;
        }
        let head = (Self::hash(Self::cut(lower)) >> (64 - INDEX_BITS)) as usize;
        for entry in &self.entries[self.index[head] as usize..self.index[head + 1] as usize] {
            if Self::cut(eight | entry.case) == entry.window {
                found(entry);
            }
        }
    }
}

impl Literals {
    /// Prepares literals (in lower case, each of at least [`LITERAL_BYTES_MIN`] bytes) and the classes of bytes to tell of.
    pub(crate) fn new(words: &[&[u8]], classes: [u8; 256]) -> Self {
        let short = Windows::new(SHORT_BITS, words, LITERAL_BYTES_MIN..4);
        let middle = Windows::new(MIDDLE_BITS, words, 4..6);
        let long = Windows::new(LONG_BITS, words, 6..usize::MAX);
        let begins = words.iter().scan(0, |at, word| Some(std::mem::replace(at, *at + word.len() as u32))).collect();
        Self { bytes: words.concat(), begins, short, middle, long, classes }
    }

    /// Tells everything seen at `from` or later, by place.
    pub(crate) fn look(&self, text: &[u8], from: usize, sight: &mut impl Sight) {
        let mut before = if from > 0 { self.classes[usize::from(text[from - 1])] } else { NO_CLASS };
        let mut at = from;
        for eight in text[from..].windows(8) {
            let Some(eight) = eight.first_chunk::<8>() else { break };
            before = self.look_at(eight, before, text, from, at, sight);
            at += 1;
        }
        while at < text.len() {
            let mut eight = [0; 8];
            eight[..text.len() - at].copy_from_slice(&text[at..]);
            before = self.look_at(&eight, before, text, from, at, sight);
            at += 1;
        }
    }

    /// Calls `found` where a long run of letters and digits begins, at `from` or later.
    pub(crate) fn long_runs(text: &[u8], from: usize, mut found: impl FnMut(usize)) {
        const BLOCK: usize = 8;
        let is_run = |block: &[u8]| block.iter().rev().all(u8::is_ascii_alphanumeric);
        let mut behind = from;
        // A run of 25 holds two whole blocks in a row, wherever it begins.
        for (block, pair) in text[from..].chunks_exact(BLOCK).zip(text[from..].chunks_exact(BLOCK).skip(1)).enumerate() {
            let at = from + block * BLOCK;
            if at < behind || !is_run(pair.0) || !is_run(pair.1) {
                continue;
            }
            let before = text[..at].iter().rev().take_while(|byte| byte.is_ascii_alphanumeric()).count();
            let after = text[at..].iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
            behind = at + after;
            if before + after >= LONG_RUN_BYTES_MIN && at - before >= from {
                found(at - before);
            }
        }
    }

    #[inline(always)]
    fn look_at(&self, bytes: &[u8; 8], before: u8, text: &[u8], from: usize, at: usize, sight: &mut impl Sight) -> u8 {
        let eight = u64::from_le_bytes(*bytes);
        let lower = eight | LOWER;
        if self.short.may_hold(lower) | self.middle.may_hold(lower) | self.long.may_hold(lower) {
            self.compare(eight, text, from, at, sight);
        }
        let class = self.classes[usize::from(bytes[0])];
        if class != NO_CLASS {
            match class {
                DIGIT_CLASS => {
                    if before != DIGIT_CLASS {
                        sight.byte(DIGIT_CLASS, at);
                        if before != CODE_CLASS {
                            sight.byte(CODE_CLASS, at);
                        }
                    }
                }
                CODE_CLASS => {
                    if before != CODE_CLASS && before != DIGIT_CLASS {
                        sight.byte(CODE_CLASS, at);
                    }
                }
                _ => sight.byte(class, at),
            }
        }
        class
    }

    #[inline(never)]
    fn compare(&self, eight: u64, text: &[u8], from: usize, at: usize, sight: &mut impl Sight) {
        let lower = eight | LOWER;
        let mut compare = |entry: &Entry, window: usize| {
            let (offset, length) = (usize::from(entry.offset), usize::from(entry.length));
            let Some(start) = at.checked_sub(offset).filter(|&start| start >= from) else { return };
            let end = start + length;
            // The window is known to be there; most literals are not much more.
            if end > text.len() {
                return;
            }
            if length > window {
                let begin = self.begins[entry.literal as usize] as usize;
                let Some(word) = self.bytes.get(begin..begin + length) else { return };
                if !text[start..at].eq_ignore_ascii_case(&word[..offset])
                    || !text[at + window..end].eq_ignore_ascii_case(&word[offset + window..])
                {
                    return;
                }
            }
            sight.literal(entry.literal as usize, start, end);
        };
        self.short.entries(eight, lower, |entry| compare(entry, 3));
        self.middle.entries(eight, lower, |entry| compare(entry, 4));
        self.long.entries(eight, lower, |entry| compare(entry, 6));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Default)]
    struct Seen(Vec<(usize, usize)>, Vec<(u8, usize)>);

    impl Sight for Seen {
        fn literal(&mut self, literal: usize, start: usize, _: usize) {
            self.0.push((literal, start));
        }

        fn byte(&mut self, class: u8, at: usize) {
            self.1.push((class, at));
        }
    }

    fn seen(words: &[&str], text: &str, from: usize) -> Seen {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        let mut classes = [NO_CLASS; 256];
        classes[usize::from(b'0')..=usize::from(b'9')].fill(DIGIT_CLASS);
        classes[usize::from(b'A')..=usize::from(b'Z')].fill(CODE_CLASS);
        classes[usize::from(b'@')] = 3;
        let mut seen = Seen::default();
        Literals::new(&words, classes).look(text.as_bytes(), from, &mut seen);
        seen.0.sort_unstable();
        seen
    }

    #[test]
    fn literals_are_seen_in_any_case_and_up_to_the_end() {
        let words = ["sk-", "ignore", "忽略", "gnor"];
        assert_eq!(seen(&words, "IgNORE sk-", 0).0, [(0, 7), (1, 0), (3, 1)]);
        assert_eq!(seen(&words, "请忽略SK-", 0).0, [(0, 9), (2, 3)]);
        assert_eq!(seen(&words, "ignore", 1).0, [(3, 1)]);
        assert_eq!(seen(&words, "igno", 0).0, []);
    }

    #[test]
    fn a_run_of_digits_is_told_once_where_it_begins() {
        assert_eq!(seen(&[], "12 a@3", 0).1, [(1, 0), (2, 0), (3, 4), (1, 5), (2, 5)]);
        assert_eq!(seen(&[], "AB1 c", 0).1, [(2, 0), (1, 2)]);
        assert_eq!(seen(&[], "123", 1).1, [], "the run began before");
    }

    #[test]
    fn long_runs_are_told_of_where_they_begin() {
        let runs = |text: &str, from| {
            let mut runs = Vec::new();
            Literals::long_runs(text.as_bytes(), from, |at| runs.push(at));
            runs
        };
        for offset in 0..20 {
            let text = format!("{}{} and {}", " ".repeat(offset), "a".repeat(25), "b1".repeat(30));
            assert_eq!(runs(&text, 0), [offset, offset + 30], "{offset}");
            assert_eq!(runs(&text, offset + 1), [offset + 30], "the first run began before");
        }
        assert!(runs(&"a".repeat(24), 0).is_empty());
    }

    proptest! {
        #[test]
        fn nothing_is_missed_or_made_up(text in "[abAB@`-]{0,40}", words in prop::collection::vec("[ab@`-]{3,9}", 1..9)) {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let lower = text.to_lowercase();
            let mut expected: Vec<(usize, usize)> = Vec::new();
            for (number, word) in words.iter().enumerate() {
                expected.extend((0..lower.len()).filter(|&at| lower[at..].starts_with(word)).map(|at| (number, at)));
            }
            prop_assert_eq!(seen(&words, &text, 0).0, expected);
        }
    }
}
