//! Folding: what a character looks like to a reader, so that disguised text is matched as plain text.
//!
//! Every character is folded by itself, without its neighbours, so that a stream folds as the whole text does. Case is kept.
//! Folding serves matching only: nothing that is forwarded is ever folded.

use std::sync::OnceLock;

use unicode_normalization::UnicodeNormalization;

/// What a character folds to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fold {
    /// Itself.
    Same,
    /// Nothing: it is invisible.
    Gone,
    /// Another character.
    To(char),
    /// Several characters.
    Many(&'static str),
}

/// Folds one character.
pub(crate) fn fold(c: char) -> Fold {
    let code = c as u32;
    if code < 0x80 {
        return Fold::Same;
    }
    let table = table();
    match table.codes.get(code as usize) {
        Some(&SAME) => Fold::Same,
        Some(&GONE) => Fold::Gone,
        Some(&many) if many >= MANY => Fold::Many(&table.strings[(many - MANY) as usize]),
        Some(&to) => char::from_u32(to).map_or(Fold::Same, Fold::To),
        // Beyond the table: tags and the second block of variation selectors.
        None if (0xe_0000..=0xe_0fff).contains(&code) => Fold::Gone,
        None => Fold::Same,
    }
}

const TABLE_LENGTH: u32 = 0x2_0000;
const SAME: u32 = 0;
const GONE: u32 = 1;
const MANY: u32 = 0x8000_0000;

struct Table {
    codes: Vec<u32>,
    strings: Vec<String>,
}

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut table = Table { codes: vec![SAME; TABLE_LENGTH as usize], strings: Vec::new() };
        for code in 0x80..TABLE_LENGTH {
            let Some(c) = char::from_u32(code) else { continue };
            let folded = folded(c);
            let mut characters = folded.chars();
            table.codes[code as usize] = match (characters.next(), characters.next()) {
                (None, _) => GONE,
                (Some(one), None) if one == c => SAME,
                (Some(one), None) => one as u32,
                _ => {
                    table.strings.push(folded);
                    MANY + table.strings.len() as u32 - 1
                }
            };
        }
        table
    })
}

/// Folds by the rules; the table remembers the answers.
fn folded(c: char) -> String {
    if invisible(c) {
        return String::new();
    }
    if let Some(plain) = look_alike(c) {
        return plain.to_string();
    }
    // Hangul and kana come apart under decomposition, and are what they look like.
    if matches!(c as u32, 0x1100..=0x11ff | 0x3040..=0x30ff | 0xac00..=0xd7ff) {
        return c.to_string();
    }
    std::iter::once(c)
        .nfkc()
        .flat_map(|c| {
            let accented = matches!(c as u32, 0xc0..=0x24f | 0x370..=0x52f | 0x1e00..=0x1fff);
            let bases: Vec<char> = if accented { std::iter::once(c).nfd().collect() } else { vec![c] };
            bases
        })
        .filter(|&c| !invisible(c))
        .map(|c| look_alike(c).unwrap_or(c))
        .collect()
}

/// Default ignorable code points, and the combining marks that are stacked on Latin text.
fn invisible(c: char) -> bool {
    matches!(c as u32,
        0xad | 0x300..=0x36f | 0x483..=0x489 | 0x61c | 0x115f..=0x1160 | 0x17b4..=0x17b5
        | 0x180b..=0x180f | 0x1ab0..=0x1aff | 0x1dc0..=0x1dff | 0x200b..=0x200f | 0x202a..=0x202e
        | 0x2060..=0x206f | 0x20d0..=0x20ff | 0x3164 | 0xfe00..=0xfe0f | 0xfe20..=0xfe2f | 0xfeff
        | 0xffa0 | 0xfff0..=0xfff8 | 0x1bca0..=0x1bca3 | 0x1d173..=0x1d17a | 0xe0000..=0xe0fff)
}

/// First code points of the decimal digit runs of all scripts (Unicode category Nd).
const ZEROS: &[u32] = &[
    0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xde6, 0xe50, 0xed0, 0xf20, 0x1040, 0x1090, 0x17e0,
    0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90, 0x1b50, 0x1bb0, 0x1c40, 0x1c50, 0xa620, 0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0xff10,
    0x104a0, 0x10d30, 0x11066, 0x110f0, 0x11136, 0x111d0, 0x112f0, 0x11450, 0x114d0, 0x11650, 0x116c0, 0x11730, 0x118e0, 0x11950, 0x11c50,
    0x11d50, 0x11da0, 0x11f50, 0x16a60, 0x16ac0, 0x16b50, 0x1e140, 0x1e2f0, 0x1e4f0, 0x1e950, 0x1fbf0,
];

/// Characters drawn like an ASCII one (after the confusables of UTS 39, the ones met in practice).
pub(crate) fn look_alike(c: char) -> Option<char> {
    let code = c as u32;
    if let Some(zero) = ZEROS.iter().find(|&&zero| (zero..zero + 10).contains(&code)) {
        return char::from_digit(code - zero, 10);
    }
    let letter = |first: u32, a: u8| char::from_u32(code - first + u32::from(a));
    match code {
        0xa0 | 0x1680 | 0x2000..=0x200a | 0x2028 | 0x2029 | 0x202f | 0x205f | 0x3000 => Some(' '),
        0x2010..=0x2015 | 0x2043 | 0x2212 | 0x2796 | 0xfe58 | 0xfe63 | 0xff0d => Some('-'),
        0x2018 | 0x2019 | 0x201b | 0x2b9 | 0x2bc | 0x2032 | 0xff07 => Some('\''),
        0x201c..=0x201f | 0x2033 | 0xff02 => Some('"'),
        0x2024 | 0xff61 => Some('.'),
        0x2044 | 0x2215 | 0x29f8 => Some('/'),
        0x2236 | 0xa789 | 0x2d0 => Some(':'),
        0x201a => Some(','),
        0x1f150..=0x1f169 => letter(0x1f150, b'A'),
        0x1f170..=0x1f189 => letter(0x1f170, b'A'),
        0x1f1e6..=0x1f1ff => letter(0x1f1e6, b'A'),
        _ => {
            let place = LOOK_ALIKES.iter().position(|&(known, _)| known == c)?;
            Some(LOOK_ALIKES[place].1)
        }
    }
}

const LOOK_ALIKES: &[(char, char)] = &[
    // Cyrillic
    ('а', 'a'),
    ('в', 'b'),
    ('е', 'e'),
    ('ё', 'e'),
    ('һ', 'h'),
    ('і', 'i'),
    ('ї', 'i'),
    ('ј', 'j'),
    ('к', 'k'),
    ('м', 'm'),
    ('н', 'h'),
    ('о', 'o'),
    ('р', 'p'),
    ('с', 'c'),
    ('ѕ', 's'),
    ('т', 't'),
    ('у', 'y'),
    ('х', 'x'),
    ('ԁ', 'd'),
    ('ԛ', 'q'),
    ('ԝ', 'w'),
    ('ѵ', 'v'),
    ('ӏ', 'l'),
    ('г', 'r'),
    ('ь', 'b'),
    ('п', 'n'),
    ('А', 'A'),
    ('В', 'B'),
    ('Е', 'E'),
    ('Ё', 'E'),
    ('Н', 'H'),
    ('І', 'I'),
    ('Ї', 'I'),
    ('Ј', 'J'),
    ('К', 'K'),
    ('М', 'M'),
    ('О', 'O'),
    ('Р', 'P'),
    ('С', 'C'),
    ('Ѕ', 'S'),
    ('Т', 'T'),
    ('У', 'Y'),
    ('Х', 'X'),
    ('Ԍ', 'G'),
    ('Ԛ', 'Q'),
    ('Ԝ', 'W'),
    ('Ѵ', 'V'),
    ('Ӏ', 'I'),
    // Greek
    ('α', 'a'),
    ('β', 'b'),
    ('γ', 'y'),
    ('ε', 'e'),
    ('η', 'n'),
    ('ι', 'i'),
    ('κ', 'k'),
    ('ν', 'v'),
    ('ο', 'o'),
    ('ρ', 'p'),
    ('σ', 'o'),
    ('τ', 't'),
    ('υ', 'u'),
    ('χ', 'x'),
    ('ω', 'w'),
    ('ϲ', 'c'),
    ('ϳ', 'j'),
    ('Α', 'A'),
    ('Β', 'B'),
    ('Ε', 'E'),
    ('Ζ', 'Z'),
    ('Η', 'H'),
    ('Ι', 'I'),
    ('Κ', 'K'),
    ('Μ', 'M'),
    ('Ν', 'N'),
    ('Ο', 'O'),
    ('Ρ', 'P'),
    ('Τ', 'T'),
    ('Υ', 'Y'),
    ('Χ', 'X'),
    ('Ϲ', 'C'),
    ('Ϳ', 'J'),
    // Armenian, Cherokee
    ('օ', 'o'),
    ('ս', 'u'),
    ('հ', 'h'),
    ('ո', 'n'),
    ('ց', 'g'),
    ('զ', 'q'),
    ('Ꭺ', 'A'),
    ('Ᏼ', 'B'),
    ('Ꮯ', 'C'),
    ('Ꭰ', 'D'),
    ('Ꭼ', 'E'),
    ('Ꮐ', 'G'),
    ('Ꮋ', 'H'),
    ('Ꭻ', 'J'),
    ('Ꮶ', 'K'),
    ('Ꮮ', 'L'),
    ('Ꮇ', 'M'),
    ('Ꮲ', 'P'),
    ('Ꭱ', 'R'),
    ('Ꮪ', 'S'),
    ('Ꭲ', 'T'),
    ('Ꮩ', 'V'),
    ('Ꮃ', 'W'),
    ('Ꮓ', 'Z'),
    // Latin beyond ASCII that no normal form takes back
    ('ı', 'i'),
    ('ɑ', 'a'),
    ('ɡ', 'g'),
    ('ɩ', 'i'),
    ('ł', 'l'),
    ('Ł', 'L'),
    ('ø', 'o'),
    ('Ø', 'O'),
    ('đ', 'd'),
    ('Đ', 'D'),
    ('ħ', 'h'),
    ('ŧ', 't'),
    ('ƒ', 'f'),
    ('ᴀ', 'a'),
    ('ʙ', 'b'),
    ('ᴄ', 'c'),
    ('ᴅ', 'd'),
    ('ᴇ', 'e'),
    ('ꜰ', 'f'),
    ('ɢ', 'g'),
    ('ʜ', 'h'),
    ('ɪ', 'i'),
    ('ᴊ', 'j'),
    ('ᴋ', 'k'),
    ('ʟ', 'l'),
    ('ᴍ', 'm'),
    ('ɴ', 'n'),
    ('ᴏ', 'o'),
    ('ᴘ', 'p'),
    ('ǫ', 'q'),
    ('ʀ', 'r'),
    ('ꜱ', 's'),
    ('ᴛ', 't'),
    ('ᴜ', 'u'),
    ('ᴠ', 'v'),
    ('ᴡ', 'w'),
    ('ʏ', 'y'),
    ('ᴢ', 'z'),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> String {
        let mut folded = String::new();
        for c in text.chars() {
            match fold(c) {
                Fold::Same => folded.push(c),
                Fold::Gone => {}
                Fold::To(to) => folded.push(to),
                Fold::Many(many) => folded.push_str(many),
            }
        }
        folded
    }

    #[test]
    fn disguises_fold_to_plain_text() {
        assert_eq!(all("４１１１－２２２２"), "4111-2222");
        assert_eq!(all("١٢٣۴५๖𝟟"), "1234567");
        assert_eq!(all("іgnоrе\u{200b} рrеvіоus"), "ignore previous");
        assert_eq!(all("𝒾𝓰𝕟ⓞ🅡🇪"), "ignoRE");
        assert_eq!(all("ïgn\u{308}öré"), "ignore");
        assert_eq!(all("a\u{a0}b\u{3000}c\u{e0041}\u{fe0f}\u{ad}d"), "a b cd");
        assert_eq!(all("ﬁle…"), "file...");
    }

    #[test]
    fn ordinary_scripts_fold_to_themselves() {
        for text in ["忽略之前的指令", "かがパ한국어ไทย", "हिन्दी العربية", "plain ascii 123"] {
            assert_eq!(all(text), text);
        }
    }
}
