//! Checks of the numbers of Asia (China apart) and the Pacific, as each issuing body publishes them.

use crate::check::Check;
use crate::check::arithmetic::{alphanumerics, calendar, digits, exactly, number, repeated, verhoeff, weighted};

/// Name and check, for `check:` in a pack.
pub(super) const CHECKS: &[(&str, Check)] = &[
    ("au_tfn", au_tfn),
    ("au_abn", au_abn),
    ("au_acn", au_acn),
    ("au_medicare", au_medicare),
    ("sg_nric", sg_nric),
    ("kr_rrn", kr_rrn),
    ("kr_brn", kr_brn),
    ("jp_my_number", jp_my_number),
    ("in_aadhaar", in_aadhaar),
    ("in_pan", in_pan),
    ("in_gstin", in_gstin),
    ("th_tnin", th_tnin),
];

/// Australian tax file number: weights 1 4 3 7 5 8 6 9 10, mod 11.
pub(crate) fn au_tfn(text: &str) -> bool {
    exactly::<9>(text).is_some_and(|tfn| !repeated(&tfn) && weighted(&tfn, &[1, 4, 3, 7, 5, 8, 6, 9, 10]).is_multiple_of(11))
}

/// Australian business number: first digit less one, weights, mod 89.
pub(crate) fn au_abn(text: &str) -> bool {
    exactly::<11>(text).is_some_and(|mut abn| {
        abn[0] != 0 && {
            abn[0] -= 1;
            weighted(&abn, &[10, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19]).is_multiple_of(89)
        }
    })
}

/// Australian company number: weights 8 to 1, complement mod 10.
pub(crate) fn au_acn(text: &str) -> bool {
    exactly::<9>(text).is_some_and(|acn| !repeated(&acn) && (10 - weighted(&acn[..8], &[8, 7, 6, 5, 4, 3, 2, 1]) % 10) % 10 == acn[8])
}

/// Australian Medicare number: weights 1 3 7 9 1 3 7 9, mod 10, the ninth digit.
pub(crate) fn au_medicare(text: &str) -> bool {
    let all = digits(text);
    matches!(all.len(), 10 | 11) && (2..=6).contains(&all[0]) && weighted(&all[..8], &[1, 3, 7, 9, 1, 3, 7, 9]) % 10 == all[8]
}

/// Singapore NRIC and FIN: weights 2765432, letter tables for S/T, F/G and M.
pub(crate) fn sg_nric(text: &str) -> bool {
    let id = alphanumerics(text);
    let Some(seven) = exactly::<7>(text) else { return false };
    if id.len() != 9 {
        return false;
    }
    let sum = weighted(&seven, &[2, 7, 6, 5, 4, 3, 2]);
    let (offset, table): (u32, &[u8; 11]) = match id[0] {
        b'S' => (0, b"JZIHGFEDCBA"),
        b'T' => (4, b"JZIHGFEDCBA"),
        b'F' => (0, b"XWUTRQPNMLK"),
        b'G' => (4, b"XWUTRQPNMLK"),
        b'M' => (3, b"XWUTRQPNJLK"),
        _ => return false,
    };
    table[((sum + offset) % 11) as usize] == id[8]
}

/// Korean resident and foreigner numbers: date and gender digit; the check digit only before October 2020, so it is not asked for.
pub(crate) fn kr_rrn(text: &str) -> bool {
    exactly::<13>(text).is_some_and(|rrn| {
        let century = match rrn[6] {
            1 | 2 | 5 | 6 => 1900,
            3 | 4 | 7 | 8 => 2000,
            _ => 1800,
        };
        calendar(century + number(&rrn[..2]), number(&rrn[2..4]), number(&rrn[4..6]))
    })
}

/// Korean business number: weights 1 3 7 1 3 7 1 3 5 with the tens of the last product, mod 10.
pub(crate) fn kr_brn(text: &str) -> bool {
    exactly::<10>(text).is_some_and(|brn| {
        let sum = weighted(&brn[..9], &[1, 3, 7, 1, 3, 7, 1, 3, 5]) + brn[8] * 5 / 10;
        !repeated(&brn) && (10 - sum % 10) % 10 == brn[9]
    })
}

/// Japanese individual number: weights 6 5 4 3 2 7 6 5 4 3 2, mod 11 (Ordinance 85 of 2014, article 5).
pub(crate) fn jp_my_number(text: &str) -> bool {
    exactly::<12>(text).is_some_and(|my| {
        let rest = weighted(&my[..11], &[6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11;
        !repeated(&my) && (if rest <= 1 { 0 } else { 11 - rest }) == my[11]
    })
}

/// Indian Aadhaar number: Verhoeff, first digit two or more, no palindrome (UIDAI).
pub(crate) fn in_aadhaar(text: &str) -> bool {
    exactly::<12>(text).is_some_and(|id| id[0] >= 2 && !id.iter().eq(id.iter().rev()) && verhoeff(text))
}

/// Indian PAN: five letters, four digits, a letter; the fourth letter names the kind of holder.
pub(crate) fn in_pan(text: &str) -> bool {
    let pan = alphanumerics(text);
    pan.len() == 10
        && pan[..5].iter().all(u8::is_ascii_alphabetic)
        && b"ABCFGHJLPT".contains(&pan[3])
        && pan[5..9].iter().all(u8::is_ascii_digit)
        && pan[5..9] != *b"0000"
        && pan[9].is_ascii_alphabetic()
}

/// Indian GSTIN: state code, a PAN, and a check character by base 36 Luhn.
pub(crate) fn in_gstin(text: &str) -> bool {
    let gstin = alphanumerics(text);
    if gstin.len() != 15 || !text.is_ascii() || !gstin[..2].iter().all(u8::is_ascii_digit) {
        return false;
    }
    let value = |byte: u8| if byte.is_ascii_digit() { byte - b'0' } else { byte - b'A' + 10 };
    let sum: u32 = gstin[..14]
        .iter()
        .enumerate()
        .map(|(i, &byte)| {
            let product = u32::from(value(byte)) * (1 + i as u32 % 2);
            product / 36 + product % 36
        })
        .sum();
    let pan = String::from_utf8_lossy(&gstin[2..12]);
    matches!(gstin[..2], [b'0', b'1'..=b'9'] | [b'1' | b'2', _] | [b'3', b'0'..=b'8'] | [b'9', b'7' | b'9'])
        && in_pan(&pan)
        && (36 - sum % 36) % 36 == u32::from(value(gstin[14]))
}

/// Thai national number: weights 13 to 2, mod 11.
pub(crate) fn th_tnin(text: &str) -> bool {
    exactly::<13>(text).is_some_and(|id| {
        let sum = weighted(&id[..12], &[13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2]);
        (1..=8).contains(&id[0]) && !repeated(&id) && (11 - sum % 11) % 10 == id[12]
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::passes;

    #[test]
    fn published_numbers_pass_and_their_neighbours_do_not() {
        passes(au_tfn, &["123 456 782"], &["123 456 783"]);
        passes(au_abn, &["51 824 753 556"], &["51 824 753 557"]);
        passes(au_acn, &["004 085 616"], &["004 085 617"]);
        passes(au_medicare, &["2123 45670 1"], &["2123 45671 1"]);
        passes(sg_nric, &["S1234567D", "G1234567X", "F1234567N", "M1234567K"], &["S1234567E", "A1234567D"]);
        passes(kr_rrn, &["900101-1234567"], &["901301-1234567", "900101-123456"]);
        passes(kr_brn, &["120-81-47521"], &["120-81-47522"]);
        passes(jp_my_number, &["123456789018"], &["123456789019"]);
        passes(in_aadhaar, &["2341 2341 2346"], &["2341 2341 2347", "1341 2341 2346"]);
        passes(in_pan, &["ABCPE1234F"], &["ABCDE1234F", "ABCPE0000F"]);
        passes(in_gstin, &["27AAPFU0939F1ZV"], &["27AAPFU0939F1ZW"]);
        passes(th_tnin, &["1-2345-67890-12-1"], &["1-2345-67890-12-2"]);
    }
}
