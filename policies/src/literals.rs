//! The first look at a text: where a literal of any rule may stand, where a run of digits begins, where a rare character is.
//!
//! Of each literal one window of up to eight bytes is looked for, the rarest it has. The first three bytes at each place, in lower case, are
//! looked up in a bitmap; where they are found, the first four are in a second one; and what is left is compared with the windows that begin
//! alike. The first two steps go block by block and have no branch that depends on the text; the bitmaps stay in the first caches, so they do
//! not slow down with the number of rules, as an automaton of thousands of literals does.

use crate::frequency::rate;

/// Shortest literal that can be looked for, in bytes.
pub(crate) const LITERAL_BYTES_MIN: usize = 3;

/// Words of the first bitmap, for the first three bytes of every window.
const FIRST_WORDS: usize = 1 << 12;
/// Windows are found by this many bits of a hash.
const INDEX_BITS: u32 = 14;
/// Longest window, in bytes.
const WINDOW_BYTES_MAX: usize = 8;
/// Bytes of a text that are looked at together.
const BLOCK: usize = 1024;
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
    /// The bits in which a text has to agree with it: all but the case of its letters.
    care: u64,
    literal: u32,
    /// Where in the literal the window lies.
    offset: u16,
    /// Length of the literal.
    length: u16,
}

impl Entry {
    /// Chooses the rarest window of a literal.
    fn new(number: usize, word: &[u8]) -> Self {
        // Four bytes are looked at before windows are compared, and of all places that pass the first three, some are stopped there.
        let cost = |&at: &usize| rate(&word[at..(at + 4).min(word.len())]) + 0.2 * rate(&word[at..at + LITERAL_BYTES_MIN]);
        let offset = (0..=word.len().saturating_sub(4)).min_by(|a, b| cost(a).total_cmp(&cost(b))).unwrap_or(0);
        let bytes = (word.len() - offset).min(WINDOW_BYTES_MAX);
        let (mut window, mut care) = ([0; WINDOW_BYTES_MAX], [0; WINDOW_BYTES_MAX]);
        window[..bytes].copy_from_slice(&word[offset..offset + bytes]);
        for (care, byte) in care[..bytes].iter_mut().zip(window) {
            *care = if byte.is_ascii_lowercase() { !0x20 } else { !0 };
        }
        let (window, care) = (u64::from_le_bytes(window), u64::from_le_bytes(care));
        Self { window, care, literal: number as u32, offset: offset as u16, length: word.len() as u16 }
    }

    /// Returns how many bytes of the literal stand in the window.
    fn bytes(&self) -> usize {
        usize::from(self.length - self.offset).min(WINDOW_BYTES_MAX)
    }
}

/// A set of windows' beginnings: `BITS` bits are set for each, one or two, in one word (a blocked Bloom filter: Putze, Sanders, Singler 2007).
struct Bitmap<const WORDS: usize, const BITS: usize>(Box<[u64; WORDS]>);

impl<const WORDS: usize, const BITS: usize> Bitmap<WORDS, BITS> {
    fn new(hashes: impl Iterator<Item = u64>) -> Self {
        let mut words = Box::new([0; WORDS]);
        hashes.for_each(|hash| Self::bits(hash).into_iter().take(BITS).for_each(|bit| words[head(hash, WORDS)] |= 1 << bit));
        Self(words)
    }

    #[inline(always)]
    fn bits(hash: u64) -> [u64; 2] {
        [hash >> 32 & 63, hash >> 24 & 63]
    }

    /// Returns 1 when it may hold what has this hash, and 0 when it does not.
    #[inline(always)]
    fn may_hold(&self, hash: u64) -> usize {
        let (word, [first, second]) = (self.0[head(hash, WORDS)], Self::bits(hash));
        let both = if BITS == 1 { word >> first } else { (word >> first) & (word >> second) };
        (both & 1) as usize
    }
}

/// Multiplicative hashing (Knuth, The Art of Computer Programming 3, 6.4) of the first of eight bytes: the high bits of a product.
#[inline(always)]
fn hash<const BYTES: usize>(lower: u64) -> u64 {
    (lower & (u64::MAX >> (64 - 8 * BYTES))).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The highest bits of a hash, to choose one of `many`, a power of two.
#[inline(always)]
fn head(hash: u64, many: usize) -> usize {
    (hash >> (64 - many.ilog2())) as usize % many
}

/// Windows by their first `BYTES` bytes.
struct Windows<const BYTES: usize, const WORDS: usize> {
    bitmap: Bitmap<WORDS, 2>,
    /// For each head of a hash, where its windows begin; one more at the end.
    index: Vec<u32>,
    entries: Vec<Entry>,
}

impl<const BYTES: usize, const WORDS: usize> Windows<BYTES, WORDS> {
    fn new(mut entries: Vec<Entry>) -> Self {
        let hashed = |entry: &Entry| hash::<BYTES>(entry.window | LOWER);
        let head = |entry: &Entry| head(hashed(entry), 1 << INDEX_BITS);
        entries.sort_by_key(|entry| (head(entry), entry.window, entry.literal));
        let mut index = vec![0; (1 << INDEX_BITS) + 1];
        entries.iter().for_each(|entry| index[head(entry) + 1] += 1);
        for at in 1..index.len() {
            index[at] += index[at - 1];
        }
        Self { bitmap: Bitmap::new(entries.iter().map(hashed)), index, entries }
    }

    /// Lists the windows that may begin like these eight bytes.
    #[inline(always)]
    fn like(&self, lower: u64) -> &[Entry] {
        let head = head(hash::<BYTES>(lower), 1 << INDEX_BITS);
        &self.entries[self.index[head] as usize..self.index[head + 1] as usize]
    }
}

/// The literals of all rules, ready to be looked for.
pub(crate) struct Literals {
    /// All literals, one behind the other, and where each begins.
    bytes: Vec<u8>,
    begins: Vec<u32>,
    /// The first three bytes of every window.
    first: Bitmap<FIRST_WORDS, 1>,
    /// Windows of three bytes, and longer ones.
    short: Windows<3, { 1 << 11 }>,
    long: Windows<4, { 1 << 13 }>,
    classes: Classes,
}

/// The classes of bytes to tell of.
pub(crate) struct Classes {
    /// The class of each byte.
    of: [u8; 256],
    /// For each byte, what it belongs to: [`DIGITS`], [`CODES`], [`SIGNS`].
    member: [u8; 256],
    /// For each byte, what it may follow.
    follows: [u8; 256],
}

/// A digit; a capital or a digit; a byte of another class.
const DIGITS: u8 = 1;
const CODES: u8 = 2;
const SIGNS: u8 = 4;

impl Classes {
    /// Takes the class of each byte, and whether a byte may stand behind one of a class.
    pub(crate) fn new(of: [u8; 256], may_follow: impl Fn(u8, u8) -> bool) -> Self {
        let kind = |class: u8| match class {
            NO_CLASS => 0,
            DIGIT_CLASS => DIGITS | CODES,
            CODE_CLASS => CODES,
            _ => SIGNS,
        };
        let mut follows = [0; 256];
        for (next, follows) in (0..=255u8).zip(&mut follows) {
            for class in of.into_iter().chain([CODE_CLASS]).filter(|class| may_follow(*class, next)) {
                *follows |= if class == DIGIT_CLASS { DIGITS } else { kind(class) };
            }
        }
        // Behind the text, where zeros are read, anything may follow.
        follows[0] = u8::MAX;
        Self { of, member: of.map(kind), follows }
    }

    /// Returns which of the kinds begin at a byte, of which something may follow: a run of digits or of codes, or a sign. What the byte
    /// before belongs to is remembered.
    #[inline(always)]
    fn begins(&self, byte: u8, next: u8, before: &mut u8) -> u8 {
        let member = self.member[usize::from(byte)];
        let begins = member & !(*before & (DIGITS | CODES)) & self.follows[usize::from(next)];
        *before = member;
        begins
    }
}

/// Places of a block, and how many there are.
struct Places {
    list: [u16; BLOCK],
    count: usize,
}

impl Places {
    const NONE: Self = Self { list: [0; BLOCK], count: 0 };

    /// Notes a place if `more` is 1, and nothing if it is 0. It says where the next place is written, so there is no branch that a processor
    /// would have to foretell.
    #[inline(always)]
    fn note(&mut self, nth: u16, more: usize) {
        self.list[self.count % BLOCK] = nth;
        self.count += more;
    }

    fn all(&self) -> &[u16] {
        &self.list[..self.count.min(BLOCK)]
    }
}

/// Where windows may begin in a block.
struct Sifted {
    first: Places,
    short: Places,
    long: Places,
    /// Where something of a class begins.
    classes: Places,
}

impl Literals {
    /// Prepares literals (in lower case, each of [`LITERAL_BYTES_MIN`] to 65,535 bytes) besides the classes.
    pub(crate) fn new(words: &[&[u8]], classes: Classes) -> Self {
        let entries = words.iter().enumerate().map(|(number, word)| Entry::new(number, word));
        let (short, long): (Vec<Entry>, Vec<Entry>) = entries.partition(|entry| entry.bytes() < 4);
        let first = Bitmap::new(short.iter().chain(&long).map(|entry| hash::<3>(entry.window | LOWER)));
        let begins = words.iter().scan(0, |at, word| Some(std::mem::replace(at, *at + word.len() as u32))).collect();
        Self { bytes: words.concat(), begins, first, short: Windows::new(short), long: Windows::new(long), classes }
    }

    /// Tells everything seen at `from` or later: block by block, and in each block literals first.
    pub(crate) fn look(&self, text: &[u8], from: usize, sight: &mut impl Sight) {
        let mut block = [0; BLOCK + WINDOW_BYTES_MAX];
        let mut sifted = Sifted { first: Places::NONE, short: Places::NONE, long: Places::NONE, classes: Places::NONE };
        let mut before = if from > 0 { self.classes.member[usize::from(text[from - 1])] } else { 0 };
        for at in (from..text.len()).step_by(BLOCK) {
            let length = (text.len() - at).min(BLOCK);
            // Behind the text stand zeros.
            let copied = (text.len() - at).min(block.len());
            block[..copied].copy_from_slice(&text[at..at + copied]);
            block[copied..].fill(0);
            let first = before;
            self.sift(&block, length, &mut before, &mut sifted);
            for &nth in sifted.short.all() {
                let eight = eight(&block, nth);
                self.compare(self.short.like(eight | LOWER), eight, text, from, at + usize::from(nth), sight);
            }
            for &nth in sifted.long.all() {
                let eight = eight(&block, nth);
                self.compare(self.long.like(eight | LOWER), eight, text, from, at + usize::from(nth), sight);
            }
            self.tell(&block, first, &sifted.classes, at, sight);
        }
    }

    /// Lists where in a block windows may begin.
    #[inline(never)]
    fn sift(&self, block: &[u8; BLOCK + WINDOW_BYTES_MAX], length: usize, before: &mut u8, sifted: &mut Sifted) {
        let Sifted { first, short, long, classes } = sifted;
        (first.count, short.count, long.count, classes.count) = (0, 0, 0, 0);
        for nth in 0..length.min(BLOCK) as u16 {
            first.note(nth, self.first.may_hold(hash::<3>(eight(block, nth) | LOWER)));
        }
        for (nth, pair) in (0..length.min(BLOCK) as u16).zip(block.windows(2)) {
            classes.note(nth, usize::from(self.classes.begins(pair[0], pair[1], before) != 0));
        }
        for &nth in first.all() {
            let lower = eight(block, nth) | LOWER;
            short.note(nth, self.short.bitmap.may_hold(hash::<3>(lower)));
            long.note(nth, self.long.bitmap.may_hold(hash::<4>(lower)));
        }
    }

    /// Tells which of these literals, whose windows begin alike, stand where their windows would be at `at`.
    #[inline(always)]
    fn compare(&self, entries: &[Entry], eight: u64, text: &[u8], from: usize, at: usize, sight: &mut impl Sight) {
        for entry in entries {
            if (eight ^ entry.window) & entry.care != 0 {
                continue;
            }
            let (offset, length, bytes) = (usize::from(entry.offset), usize::from(entry.length), entry.bytes());
            let Some(start) = at.checked_sub(offset).filter(|&start| start >= from) else { continue };
            let end = start + length;
            if end > text.len() {
                continue;
            }
            // The window is known to be there; most literals are not more.
            if length > bytes {
                let begin = self.begins[entry.literal as usize] as usize;
                let Some(word) = self.bytes.get(begin..begin + length) else { continue };
                if !text[start..at].eq_ignore_ascii_case(&word[..offset])
                    || !text[at + bytes..end].eq_ignore_ascii_case(&word[offset + bytes..])
                {
                    continue;
                }
            }
            sight.literal(entry.literal as usize, start, end);
        }
    }

    /// Tells of what was seen of the classes; `first` is what the byte before the block belongs to.
    fn tell(&self, block: &[u8], first: u8, places: &Places, at: usize, sight: &mut impl Sight) {
        for &nth in places.all() {
            let nth = usize::from(nth);
            let before = nth.checked_sub(1).map_or(first, |last| self.classes.member[usize::from(block[last])]);
            let class = self.classes.of[usize::from(block[nth])];
            match class {
                DIGIT_CLASS => {
                    if before & DIGITS == 0 {
                        sight.byte(DIGIT_CLASS, at + nth);
                    }
                    if before & CODES == 0 {
                        sight.byte(CODE_CLASS, at + nth);
                    }
                }
                _ => sight.byte(class, at + nth),
            }
        }
    }

    /// Calls `found` where a long run of letters and digits begins, at `from` or later.
    pub(crate) fn long_runs(text: &[u8], from: usize, mut found: impl FnMut(usize)) {
        // Of places so far apart, the first that a long run holds is followed by another one in it.
        const STEP: usize = LONG_RUN_BYTES_MIN / 2;
        let is_run = |at: usize| text.get(at).is_some_and(u8::is_ascii_alphanumeric);
        let mut at = from;
        while at < text.len() {
            if !is_run(at) || !is_run(at + STEP) {
                at += STEP;
                continue;
            }
            let before = text[..at].iter().rev().take_while(|byte| byte.is_ascii_alphanumeric()).count();
            let after = text[at..].iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
            if before + after >= LONG_RUN_BYTES_MIN && at - before >= from {
                found(at - before);
            }
            at += after.max(STEP);
        }
    }
}

/// The eight bytes at a place of a block.
#[inline(always)]
fn eight(block: &[u8; BLOCK + WINDOW_BYTES_MAX], nth: u16) -> u64 {
    let nth = usize::from(nth) % BLOCK;
    block[nth..].first_chunk().map_or(0, |eight| u64::from_le_bytes(*eight))
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
        Literals::new(&words, Classes::new(classes, |_, _| true)).look(text.as_bytes(), from, &mut seen);
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
    fn blocks_hide_nothing() {
        for at in (BLOCK - 20..BLOCK + 20).chain(2 * BLOCK - 20..2 * BLOCK + 20) {
            let text = format!("{}ignore 12 AB", ".".repeat(at));
            let seen = seen(&["ignore", "gno", "e 12"], &text, 0);
            assert_eq!(seen.0, [(0, at), (1, at + 1), (2, at + 5)], "{at}");
            assert_eq!(seen.1, [(1, at + 7), (2, at + 7), (2, at + 10)], "{at}");
        }
        for at in BLOCK - 3..BLOCK + 3 {
            let text = "1".repeat(at) + " 2";
            assert_eq!(seen(&[], &text, 0).1, [(1, 0), (2, 0), (1, at + 1), (2, at + 1)], "{at}");
        }
    }

    #[test]
    fn a_class_is_told_of_only_where_something_may_follow() {
        let mut classes = [NO_CLASS; 256];
        classes[usize::from(b'0')..=usize::from(b'9')].fill(DIGIT_CLASS);
        classes[usize::from(b'@')] = 4;
        let may_follow = |class: u8, next: u8| match class {
            DIGIT_CLASS => next == b'7',
            4 => next == b'x',
            _ => false,
        };
        let mut seen = Seen::default();
        Literals::new(&[], Classes::new(classes, may_follow)).look(b"17 18 @y @x 71 @", 0, &mut seen);
        assert_eq!(seen.1, [(1, 0), (2, 0), (4, 9), (4, 15)], "a digit is told of as a code, too");
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
        fn every_long_run_is_told_of(lengths in prop::collection::vec(1usize..60, 1..12), from in 0usize..80) {
            let (mut text, mut expected) = (String::new(), Vec::new());
            for length in lengths {
                if length >= LONG_RUN_BYTES_MIN && text.len() >= from {
                    expected.push(text.len());
                }
                text += &"x".repeat(length);
                text += "-";
            }
            let mut runs = Vec::new();
            Literals::long_runs(text.as_bytes(), from.min(text.len()), |at| runs.push(at));
            prop_assert_eq!(runs, expected);
        }

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
