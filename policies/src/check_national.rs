//! Checks of the national numbers of the Americas, Asia and Australia, as each issuing body publishes them.

use crate::check::{alphanumerics, calendar, digits, iso7064_mod11_2, luhn_sum, repeated, verhoeff, weighted};

/// Returns the digits of `text` when there are exactly `N` of them.
pub(crate) fn exactly<const N: usize>(text: &str) -> Option<[u32; N]> {
    digits(text).try_into().ok()
}

/// Reads digits as one number.
pub(crate) fn number(digits: &[u32]) -> u32 {
    digits.iter().fold(0u32, |number, digit| number.wrapping_mul(10).wrapping_add(*digit))
}

/// True when the last digit is 11 less the weighted sum mod 11, where ten and eleven stand for `ten` and 0.
pub(crate) fn mod11(digits: &[u32], weights: &[u32], ten: Option<u32>) -> bool {
    let Some((&check, body)) = digits.split_last() else { return false };
    let expected = match 11 - weighted(body, weights) % 11 {
        11 => Some(0),
        10 => ten,
        rest => Some(rest),
    };
    expected == Some(check)
}

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

/// US social security number: area not 000, 666 or 9xx, group not 00, serial not 0000 (SSA, since 2011), no public samples.
pub(crate) fn us_ssn(text: &str) -> bool {
    let Some(ssn) = exactly::<9>(text) else { return false };
    let (area, group, serial) = (number(&ssn[..3]), number(&ssn[3..5]), number(&ssn[5..]));
    let sample = matches!(number(&ssn), 78_051_120 | 219_099_999 | 123_456_789 | 457_555_462);
    area != 0 && area != 666 && area < 900 && group != 0 && serial != 0 && !repeated(&ssn) && !sample
}

/// US individual taxpayer number: 9xx, fourth and fifth digit 50-65, 70-88, 90-92 or 94-99 (IRS).
pub(crate) fn us_itin(text: &str) -> bool {
    exactly::<9>(text).is_some_and(|itin| itin[0] == 9 && matches!(number(&itin[3..5]), 50..=65 | 70..=88 | 90..=92 | 94..=99))
}

/// ABA routing number: weights 3-7-1, and a Federal Reserve prefix.
pub(crate) fn aba_routing(text: &str) -> bool {
    exactly::<9>(text).is_some_and(|aba| {
        matches!(number(&aba[..2]), 1..=12 | 21..=32 | 61..=72 | 80) && weighted(&aba, &[3, 7, 1, 3, 7, 1, 3, 7, 1]).is_multiple_of(10)
    })
}

/// US national provider identifier: Luhn over 80840 and the number (45 CFR 162.406).
pub(crate) fn us_npi(text: &str) -> bool {
    exactly::<10>(text).is_some_and(|npi| matches!(npi[0], 1 | 2) && !repeated(&npi) && (luhn_sum(&npi) + 24).is_multiple_of(10))
}

/// US DEA registration: two letters and seven digits, (d1+d3+d5) + 2(d2+d4+d6) ends in d7.
pub(crate) fn us_dea(text: &str) -> bool {
    let all = digits(text);
    let seven = all.len().checked_sub(7).map(|skip| &all[skip..]);
    seven.is_some_and(|dea| weighted(&dea[..6], &[1, 2, 1, 2, 1, 2]) % 10 == dea[6] && !repeated(dea))
}

/// Canadian SIN: Luhn, first digit neither 0 nor 8.
pub(crate) fn ca_sin(text: &str) -> bool {
    exactly::<9>(text).is_some_and(|sin| !matches!(sin[0], 0 | 8) && !repeated(&sin) && luhn_sum(&sin).is_multiple_of(10))
}

/// Brazilian CPF: two mod 11 digits.
pub(crate) fn br_cpf(text: &str) -> bool {
    exactly::<11>(text).is_some_and(|cpf| {
        let weights = [11, 10, 9, 8, 7, 6, 5, 4, 3, 2];
        !repeated(&cpf) && mod11(&cpf[..10], &weights[1..], Some(0)) && mod11(&cpf, &weights, Some(0))
    })
}

/// Brazilian CNPJ: two mod 11 digits over characters counted from '0', letters allowed since 2026 (IN RFB 2.229/2024).
pub(crate) fn br_cnpj(text: &str) -> bool {
    const WEIGHTS: [u32; 13] = [6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2];
    let values: Vec<u32> = alphanumerics(text).iter().map(|b| u32::from(b - b'0')).collect();
    values.len() == 14 && !repeated(&values) && mod11(&values[..13], &WEIGHTS[1..], Some(0)) && mod11(&values, &WEIGHTS, Some(0))
}

/// Chilean RUT: weights 2 to 7 from the right, mod 11, K for ten.
pub(crate) fn cl_rut(text: &str) -> bool {
    let rut = alphanumerics(text);
    let Some((&last, body)) = rut.split_last() else { return false };
    if !(7..=8).contains(&body.len()) || !body.iter().all(u8::is_ascii_digit) || body.iter().all(|&b| b == b'0') {
        return false;
    }
    let weights = [2u32, 3, 4, 5, 6, 7].into_iter().cycle();
    let sum: u32 = body.iter().rev().zip(weights).map(|(b, w)| u32::from(b - b'0') * w).sum();
    last == match 11 - sum % 11 {
        11 => b'0',
        10 => b'K',
        rest => b"0123456789"[rest as usize],
    }
}

/// Argentine CUIT and CUIL: weights 5432765432, mod 11.
pub(crate) fn ar_cuit(text: &str) -> bool {
    exactly::<11>(text).is_some_and(|cuit| {
        matches!(number(&cuit[..2]), 20 | 23 | 24 | 27 | 30 | 33 | 34 | 50 | 51 | 55)
            && mod11(&cuit, &[5, 4, 3, 2, 7, 6, 5, 4, 3, 2], Some(9))
    })
}

/// Mexican CURP: check digit by weights 18 to 2, mod 10, over an alphabet with Ñ after N (RENAPO).
pub(crate) fn mx_curp(text: &str) -> bool {
    let curp = alphanumerics(text);
    if curp.len() != 18 || !curp[17].is_ascii_digit() {
        return false;
    }
    let value = |byte: u8| match byte {
        b'0'..=b'9' => u32::from(byte - b'0'),
        b'A'..=b'N' => u32::from(byte - b'A') + 10,
        _ => u32::from(byte - b'A') + 11,
    };
    let sum: u32 = curp[..17].iter().zip((2..=18).rev()).map(|(&b, w)| value(b) * w).sum();
    (10 - sum % 10) % 10 == u32::from(curp[17] - b'0')
}

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

/// Turkish identity number: tenth digit from odd and even sums, eleventh from the sum of all.
pub(crate) fn tr_tckn(text: &str) -> bool {
    exactly::<11>(text).is_some_and(|id| {
        let odd: u32 = id[..9].iter().step_by(2).sum();
        let even: u32 = id[1..8].iter().step_by(2).sum();
        id[0] != 0 && !repeated(&id) && (odd * 7 + 10 * 9 - even) % 10 == id[9] && id[..10].iter().sum::<u32>() % 10 == id[10]
    })
}

/// Thai national number: weights 13 to 2, mod 11.
pub(crate) fn th_tnin(text: &str) -> bool {
    exactly::<13>(text).is_some_and(|id| {
        let sum = weighted(&id[..12], &[13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2]);
        (1..=8).contains(&id[0]) && !repeated(&id) && (11 - sum % 11) % 10 == id[12]
    })
}

/// Israeli identity number: nine digits, weights 1 and 2 as Luhn.
pub(crate) fn il_id(text: &str) -> bool {
    exactly::<9>(text).is_some_and(|id| !repeated(&id) && luhn_sum(&id).is_multiple_of(10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn passes(check: fn(&str) -> bool, yes: &[&str], no: &[&str]) {
        for text in yes {
            assert!(check(text), "should accept {text}");
        }
        for text in no.iter().chain(&["", "1", "A", "000000000"]) {
            assert!(!check(text), "should refuse {text}");
        }
    }

    #[test]
    fn asian_and_australian_numbers() {
        passes(
            cn_resident_id,
            &["11010519491231002X", "110105491231002"],
            &["110105194912310021", "99010519491231002X", "11010519491331002X"],
        );
        passes(cn_uscc, &["91350100M000100Y43"], &["91350100M000100Y44", "91350100M000100I43"]);
        passes(sg_nric, &["S1234567D", "G1234567X", "F1234567N", "M1234567K"], &["S1234567E", "A1234567D"]);
        passes(kr_rrn, &["900101-1234567"], &["901301-1234567", "900101-123456"]);
        passes(kr_brn, &["120-81-47521"], &["120-81-47522"]);
        passes(jp_my_number, &["123456789018"], &["123456789019"]);
        passes(in_aadhaar, &["2341 2341 2346"], &["2341 2341 2347", "1341 2341 2346"]);
        passes(in_pan, &["ABCPE1234F"], &["ABCDE1234F", "ABCPE0000F"]);
        passes(in_gstin, &["27AAPFU0939F1ZV"], &["27AAPFU0939F1ZW"]);
        passes(tw_id, &["A123456789"], &["A123456788"]);
        passes(hk_hkid, &["A123456(3)", "C668668(9)"], &["A123456(4)"]);
        passes(th_tnin, &["1-2345-67890-12-1"], &["1-2345-67890-12-2"]);
        passes(il_id, &["123456782"], &["123456783"]);
        passes(au_tfn, &["123 456 782"], &["123 456 783"]);
        passes(au_abn, &["51 824 753 556"], &["51 824 753 557"]);
        passes(au_acn, &["004 085 616"], &["004 085 617"]);
        passes(au_medicare, &["2123 45670 1"], &["2123 45671 1"]);
        passes(tr_tckn, &["10000000146"], &["10000000147"]);
    }

    #[test]
    fn american_numbers() {
        passes(us_ssn, &["856-45-6789"], &["666-45-6789", "900-45-6789", "000-12-3456", "856-00-6789", "078-05-1120"]);
        passes(us_itin, &["912-70-1234"], &["912-69-1234", "812-70-1234"]);
        passes(aba_routing, &["021000021", "122105155"], &["021000022", "991000021"]);
        passes(us_npi, &["1234567893"], &["1234567890"]);
        passes(us_dea, &["AB1234563", "F91234563"], &["AB1234564"]);
        passes(ca_sin, &["130 692 544"], &["130 692 545", "046 454 286"]);
        passes(br_cpf, &["529.982.247-25"], &["529.982.247-26", "111.111.111-11"]);
        passes(br_cnpj, &["11.222.333/0001-81", "12.ABC.345/01DE-35"], &["11.222.333/0001-82"]);
        passes(cl_rut, &["12.345.678-5", "10.000.013-K"], &["12.345.678-6"]);
        passes(ar_cuit, &["20-12345678-6"], &["20-12345678-7"]);
        passes(mx_curp, &["BOXW310820HNERXN09"], &["BOXW310820HNERXN08"]);
    }
}
