//! Checks of the numbers of mainland China, Hong Kong, Macao and Taiwan, as each issuing body publishes them.

use crate::check::Check;
use crate::check::arithmetic::{alphanumerics, calendar, digits, exactly, iso7064_mod11_2, number, repeated, weighted};

/// Name and check, for `check:` in a pack.
pub(super) const CHECKS: &[(&str, Check)] = &[
    ("cn_resident_id", cn_resident_id),
    ("cn_foreigner_permit", cn_foreigner_permit),
    ("cn_mobile", cn_mobile),
    ("cn_uscc", cn_uscc),
    ("cn_uscc_bare", cn_uscc_bare),
    ("cn_tax_id", cn_tax_id),
    ("tw_id", tw_id),
    ("tw_arc", tw_arc),
    ("tw_ubn", tw_ubn),
    ("hk_hkid", hk_hkid),
];

/// Years of birth that a living person can have, with room for what is printed in advance.
const BIRTH_YEARS: std::ops::RangeInclusive<u32> = 1900..=2035;

/// Prefectures of each province, today's and former ones: GB/T 2260 and its older editions, third and fourth digit of an area code.
/// 71 and 81 to 83 are the residence permits of people from Taiwan, Hong Kong and Macao.
const PREFECTURES: &[(u32, &[(u32, u32)])] = &[
    (11, &[(0, 2)]),
    (12, &[(0, 2)]),
    (13, &[(0, 11), (21, 30), (90, 90)]),
    (14, &[(0, 11), (21, 27), (90, 90)]),
    (15, &[(0, 9), (21, 29)]),
    (21, &[(0, 14), (21, 22), (90, 90)]),
    (22, &[(0, 8), (21, 26), (90, 90)]),
    (23, &[(0, 12), (21, 27), (90, 90)]),
    (31, &[(0, 2)]),
    (32, &[(0, 13), (21, 27), (90, 90)]),
    (33, &[(0, 11), (21, 28), (90, 90)]),
    (34, &[(0, 18), (21, 29)]),
    (35, &[(0, 9), (21, 27), (90, 90)]),
    (36, &[(0, 11), (21, 26)]),
    (37, &[(0, 17), (21, 29), (90, 90)]),
    (41, &[(0, 17), (21, 30), (90, 90)]),
    (42, &[(0, 13), (21, 29), (90, 90)]),
    (43, &[(0, 13), (21, 31), (90, 90)]),
    (44, &[(0, 29), (51, 53), (90, 90)]),
    (45, &[(0, 14), (21, 28)]),
    (46, &[(0, 4), (90, 90)]),
    (50, &[(0, 3)]),
    (51, &[(0, 39), (90, 90)]),
    (52, &[(0, 6), (21, 27)]),
    (53, &[(0, 9), (21, 35)]),
    (54, &[(0, 6), (21, 27)]),
    (61, &[(0, 10), (21, 27)]),
    (62, &[(0, 12), (21, 30)]),
    (63, &[(0, 2), (21, 28)]),
    (64, &[(0, 5), (21, 22)]),
    (65, &[(0, 5), (21, 32), (40, 43), (90, 90)]),
    (71, &[(0, 0)]),
    (81, &[(0, 0)]),
    (82, &[(0, 0)]),
    (83, &[(0, 0)]),
];

/// Returns the prefectures of a province, none for a number that is no province.
fn prefectures(province: u32) -> Option<&'static [(u32, u32)]> {
    PREFECTURES.iter().find(|(known, _)| *known == province).map(|(_, ranges)| *ranges)
}

/// Returns true when the first four of `area` name a prefecture.
fn is_prefecture(area: &[u32]) -> bool {
    let (Some(province), Some(prefecture)) = (area.get(..2), area.get(2..4)) else { return false };
    let prefecture = number(prefecture);
    prefectures(number(province)).is_some_and(|ranges| ranges.iter().any(|&(low, high)| (low..=high).contains(&prefecture)))
}

/// Returns true when eight digits are a day on which somebody alive may have been born.
fn is_birthday(date: &[u32]) -> bool {
    let [year @ .., m1, m2, d1, d2] = date else { return false };
    year.len() == 4 && BIRTH_YEARS.contains(&number(year)) && calendar(number(year), number(&[*m1, *m2]), number(&[*d1, *d2]))
}

/// Returns true for YYMMDD of some year of the last century.
fn is_short_date(date: &[u32]) -> bool {
    let [y1, y2, m1, m2, d1, d2] = date else { return false };
    calendar(1900 + number(&[*y1, *y2]), number(&[*m1, *m2]), number(&[*d1, *d2]))
}

/// Chinese resident identity number: GB 11643-1999 (area, date of birth, ISO 7064 MOD 11-2); the old form has 15 digits.
pub(crate) fn cn_resident_id(text: &str) -> bool {
    let id = alphanumerics(text);
    let all = digits(text);
    match (id.len(), all.len()) {
        (18, 17 | 18) => is_prefecture(&all) && is_birthday(&all[6..14]) && iso7064_mod11_2(text),
        (15, 15) => is_prefecture(&all) && is_short_date(&all[6..12]),
        _ => false,
    }
}

/// Permanent residence card of a foreigner. Since 2023 (GA/T 1180): 9, province, nationality by ISO 3166-1 number, date of birth,
/// sequence, ISO 7064 MOD 11-2. Before: nationality by three letters, four digits of area, YYMMDD, two more.
pub(crate) fn cn_foreigner_permit(text: &str) -> bool {
    let id = alphanumerics(text);
    let all = digits(text);
    match (id.len(), all.len()) {
        (18, 17 | 18) => {
            let nationality = number(&all[3..6]);
            all[0] == 9
                && prefectures(number(&all[1..3])).is_some()
                && (4..=894).contains(&nationality)
                && is_birthday(&all[6..14])
                && iso7064_mod11_2(text)
        }
        (15, 12) => id[..3].iter().all(u8::is_ascii_uppercase) && is_prefecture(&all) && is_short_date(&all[4..10]),
        _ => false,
    }
}

/// Chinese mobile number, with or without the code of the country: the segments that the ministry has given to operators
/// (numbering plan of the public telecommunication network; of 174 only 1740 0 to 5).
pub(crate) fn cn_mobile(text: &str) -> bool {
    let all = digits(text);
    let Some(own) = all.len().checked_sub(11).map(|prefix| &all[prefix..]) else { return false };
    let prefix = number(&all[..all.len() - 11]);
    // Two to the power of 34 is the one power of two that looks like a number of 171.
    let is_power = own == [1, 7, 1, 7, 9, 8, 6, 9, 1, 8, 4];
    let segment = match number(&own[..3]) {
        130..=139 | 145..=153 | 155..=159 | 162 | 165..=167 | 170..=173 | 175..=178 | 180..=193 | 195..=199 => true,
        174 => own[3] == 0 && own[4] <= 5,
        _ => false,
    };
    segment && !is_power && matches!(prefix, 0 | 86)
}

/// Chinese unified social credit code: GB 32100-2015, registering body, area, mod 31 over an alphabet without I O Z S V.
pub(crate) fn cn_uscc(text: &str) -> bool {
    const ALPHABET: &[u8; 31] = b"0123456789ABCDEFGHJKLMNPQRTUWXY";
    const WEIGHTS: [u32; 17] = [1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28];
    let code = alphanumerics(text);
    let values: Option<Vec<u32>> = code.iter().map(|byte| ALPHABET.iter().position(|known| known == byte).map(|at| at as u32)).collect();
    let Some(values) = values.filter(|values| values.len() == 18) else { return false };
    // 100000 is the state itself.
    let area = code[2..8].iter().all(u8::is_ascii_digit) && (code[2..8] == *b"100000" || prefectures(values[2] * 10 + values[3]).is_some());
    area && !repeated(&values) && (31 - weighted(&values, &WEIGHTS) % 31) % 31 == values[17]
}

/// The same without a word that says so: digits alone must also be an organisation code (GB 11714-1997, characters 9 to 17).
pub(crate) fn cn_uscc_bare(text: &str) -> bool {
    const WEIGHTS: [u32; 8] = [3, 7, 9, 10, 5, 8, 4, 2];
    if !cn_uscc(text) {
        return false;
    }
    let all = digits(text);
    all.len() < 18 || (11 - weighted(&all[8..16], &WEIGHTS) % 11) % 11 == all[16]
}

/// Taxpayer number of before 2015: six digits of area and the nine of the organisation code of GB 11714, whose last may be X.
pub(crate) fn cn_tax_id(text: &str) -> bool {
    let id = alphanumerics(text);
    let Some(area) = id.get(..6).filter(|_| id.len() == 15) else { return false };
    area.iter().all(u8::is_ascii_digit) && is_prefecture(&digits(text))
}

/// Taiwanese identity number of a citizen: the letter as two digits, weights 1 9 8 ... 1 1, mod 10.
pub(crate) fn tw_id(text: &str) -> bool {
    exactly::<9>(text).is_some_and(|nine| matches!(nine[0], 1 | 2)) && tw_letter_sum(text)
}

/// Taiwanese residence certificate: since 2021 as the citizen's with 8 or 9 after the letter, before with a second letter A to D,
/// which counts as the last digit of its number.
pub(crate) fn tw_arc(text: &str) -> bool {
    let id = alphanumerics(text);
    match id.get(1) {
        Some(b'8' | b'9') => exactly::<9>(text).is_some() && tw_letter_sum(text),
        Some(&second @ b'A'..=b'D') if id.len() == 10 => {
            let rest = std::str::from_utf8(&id[2..]).unwrap_or_default();
            tw_letter_sum(&format!("{}{}{rest}", char::from(id[0]), second - b'A'))
        }
        _ => false,
    }
}

/// A letter and nine digits whose weighted sum is a multiple of ten (the table of letters is the household registry's).
fn tw_letter_sum(text: &str) -> bool {
    const LETTERS: &[u8; 26] = b"ABCDEFGHJKLMNPQRSTUVXYWZIO";
    let id = alphanumerics(text);
    let Some(nine) = exactly::<9>(text).filter(|nine| !repeated(&nine[1..])) else { return false };
    let Some(place) = id.first().filter(|_| id.len() == 10).and_then(|first| LETTERS.iter().position(|letter| letter == first)) else {
        return false;
    };
    let letter = place as u32 + 10;
    (letter / 10 + letter % 10 * 9 + weighted(&nine, &[8, 7, 6, 5, 4, 3, 2, 1, 1])).is_multiple_of(10)
}

/// Taiwanese business number: digit sums of the products with 1 2 1 2 1 2 4 1, a multiple of five since 2023-04 (of ten before);
/// a seventh digit 7 gives 10, which counts as 1 or as 0.
pub(crate) fn tw_ubn(text: &str) -> bool {
    let Some(eight) = exactly::<8>(text).filter(|eight| !repeated(eight)) else { return false };
    let sum: u32 = eight.iter().zip([1, 2, 1, 2, 1, 2, 4, 1]).map(|(digit, weight)| (digit * weight) / 10 + (digit * weight) % 10).sum();
    sum.is_multiple_of(5) || eight[6] == 7 && (sum + 1).is_multiple_of(5)
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
            &["11010519491231002X", "440524198001010013", "110105491231002"],
            &["110105194912310021", "99010519491231002X", "11010519491331002X", "11030519491231002X", "440524188001010014"],
        );
        passes(cn_uscc, &["91350100M000100Y43"], &["91350100M000100Y44", "91350100M000100I43", "91990100M000100Y43"]);
        passes(cn_uscc_bare, &["91350100M000100Y43"], &["371103195413324276", "521000005000001235", "91350100M000100Y44"]);
        passes(cn_tax_id, &["110105710931512", "44030071093151X"], &["990105710931512", "11010571093151", "1101057109315122"]);
        passes(
            cn_mobile,
            &["13800001234", "+86 199-1234-5678", "0086 17001234567", "17405123456"],
            &["12800001234", "15412345678", "17406123456", "17912345678", "1380000123", "17179869184", "8713800001234"],
        );
        passes(tw_id, &["A123456789"], &["A123456788", "A823456783", "A1234567890"]);
        passes(tw_arc, &["A800000014", "AB12345677"], &["A800000015", "A123456789", "AB12345678", "AE12345677"]);
        passes(tw_ubn, &["04595257", "12345675", "10458575"], &["04595253", "1234567", "00000000"]);
        passes(hk_hkid, &["A123456(3)", "C668668(9)"], &["A123456(4)"]);
    }

    #[test]
    fn a_foreigner_has_a_province_a_nationality_and_a_birthday() {
        passes(
            cn_foreigner_permit,
            &["911124198108030024", "CAN110081080301"],
            &["911124198108030025", "999124198108030024", "911124198113030024", "CAN990081080301", "CAN110081130301"],
        );
    }
}
