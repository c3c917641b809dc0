//! Checks of the numbers of mainland China, Hong Kong, Macao and Taiwan, as each issuing body publishes them.

use crate::check::Check;
use crate::check::arithmetic::{alphanumerics, calendar, digits, exactly, iso7064_mod11_2, number, repeated, weighted};

/// Name and check, for `check:` in a pack.
pub(super) const CHECKS: &[(&str, Check)] =
    &[("cn_resident_id", cn_resident_id), ("cn_uscc", cn_uscc), ("tw_id", tw_id), ("hk_hkid", hk_hkid)];

/// Chinese resident identity number: GB 11643-1999 (province, date of birth, ISO 7064 MOD 11-2); the old form has 15 digits.
pub(crate) fn cn_resident_id(text: &str) -> bool {
    let id = alphanumerics(text);
    let all = digits(text);
    if all.len() < 15 {
        return false;
    }
    let province = matches!(number(&all[..2]),
        11..=15 | 21..=23 | 31..=37 | 41..=46 | 50..=54 | 61..=65 | 71 | 81..=83 | 91);
    match id.len() {
        18 => {
            all.len() >= 17
                && calendar(number(&all[6..10]), number(&all[10..12]), number(&all[12..14]))
                && province
                && iso7064_mod11_2(text)
        }
        15 => province && calendar(1900 + number(&all[6..8]), number(&all[8..10]), number(&all[10..12])),
        _ => false,
    }
}

/// Chinese unified social credit code: GB 32100-2015, mod 31 over an alphabet without I O Z S V.
pub(crate) fn cn_uscc(text: &str) -> bool {
    const ALPHABET: &[u8; 31] = b"0123456789ABCDEFGHJKLMNPQRTUWXY";
    const WEIGHTS: [u32; 17] = [1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28];
    let code = alphanumerics(text);
    let values: Option<Vec<u32>> = code.iter().map(|byte| ALPHABET.iter().position(|known| known == byte).map(|at| at as u32)).collect();
    let Some(values) = values.filter(|values| values.len() == 18) else { return false };
    !repeated(&values) && (31 - weighted(&values, &WEIGHTS) % 31) % 31 == values[17]
}

/// Taiwanese identity number: the letter as two digits, weights 1 9 8 ... 1 1, mod 10.
pub(crate) fn tw_id(text: &str) -> bool {
    let id = alphanumerics(text);
    let Some(nine) = exactly::<9>(text) else { return false };
    if id.len() != 10 || !id[0].is_ascii_uppercase() || !matches!(nine[0], 1 | 2 | 8 | 9) {
        return false;
    }
    const LETTERS: &[u8; 26] = b"ABCDEFGHJKLMNPQRSTUVXYWZIO";
    let Some(place) = LETTERS.iter().position(|&letter| letter == id[0]) else { return false };
    let letter = place as u32 + 10;
    (letter / 10 + letter % 10 * 9 + weighted(&nine, &[8, 7, 6, 5, 4, 3, 2, 1, 1])).is_multiple_of(10)
}

/// Hong Kong identity card: letters from 10, a missing first one counts 36, weights 9 to 1, mod 11.
pub(crate) fn hk_hkid(text: &str) -> bool {
    let id = alphanumerics(text);
    let letters = id.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    if !(1..=2).contains(&letters) || id.len() != letters + 7 {
        return false;
    }
    let value = |byte: u8| if byte.is_ascii_digit() { u32::from(byte - b'0') } else { u32::from(byte - b'A') + 10 };
    if !id[letters..letters + 6].iter().all(u8::is_ascii_digit) {
        return false;
    }
    let last = match id[letters + 6] {
        b'A' => 10,
        digit @ b'0'..=b'9' => u32::from(digit - b'0'),
        _ => return false,
    };
    let head = if letters == 1 { 36 * 9 + value(id[0]) * 8 } else { value(id[0]) * 9 + value(id[1]) * 8 };
    let tail: u32 = id[letters..letters + 6].iter().zip([7, 6, 5, 4, 3, 2]).map(|(&b, w)| value(b) * w).sum();
    (head + tail + last).is_multiple_of(11)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::passes;

    #[test]
    fn published_numbers_pass_and_their_neighbours_do_not() {
        passes(
            cn_resident_id,
            &["11010519491231002X", "110105491231002"],
            &["110105194912310021", "99010519491231002X", "11010519491331002X"],
        );
        passes(cn_uscc, &["91350100M000100Y43"], &["91350100M000100Y44", "91350100M000100I43"]);
        passes(tw_id, &["A123456789"], &["A123456788"]);
        passes(hk_hkid, &["A123456(3)", "C668668(9)"], &["A123456(4)"]);
    }
}
