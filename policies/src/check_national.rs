//! Checks of national numbers: check digits, dates and ranges as each issuing body publishes them.

use crate::check::{
    alphanumerics, calendar, digits, iso7064_mod11_2, iso7064_mod11_10, luhn_sum, repeated,
    verhoeff, weighted,
};

/// Returns the digits of `text` when there are exactly `N` of them.
fn exactly<const N: usize>(text: &str) -> Option<[u32; N]> {
    digits(text).try_into().ok()
}

fn number(digits: &[u32]) -> u32 {
    digits.iter().fold(0u32, |number, digit| number.wrapping_mul(10).wrapping_add(*digit))
}

/// True when the last digit is 11 less the weighted sum mod 11, where ten and eleven stand for `ten` and 0.
fn mod11(digits: &[u32], weights: &[u32], ten: Option<u32>) -> bool {
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
    let values: Option<Vec<u32>> = code
        .iter()
        .map(|byte| ALPHABET.iter().position(|known| known == byte).map(|at| at as u32))
        .collect();
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
    exactly::<9>(text).is_some_and(|itin| {
        itin[0] == 9 && matches!(number(&itin[3..5]), 50..=65 | 70..=88 | 90..=92 | 94..=99)
    })
}

/// ABA routing number: weights 3-7-1, and a Federal Reserve prefix.
pub(crate) fn aba_routing(text: &str) -> bool {
    exactly::<9>(text).is_some_and(|aba| {
        matches!(number(&aba[..2]), 1..=12 | 21..=32 | 61..=72 | 80)
            && weighted(&aba, &[3, 7, 1, 3, 7, 1, 3, 7, 1]) % 10 == 0
    })
}

/// US national provider identifier: Luhn over 80840 and the number (45 CFR 162.406).
pub(crate) fn us_npi(text: &str) -> bool {
    exactly::<10>(text).is_some_and(|npi| {
        matches!(npi[0], 1 | 2) && !repeated(&npi) && (luhn_sum(&npi) + 24) % 10 == 0
    })
}

/// US DEA registration: two letters and seven digits, (d1+d3+d5) + 2(d2+d4+d6) ends in d7.
pub(crate) fn us_dea(text: &str) -> bool {
    let all = digits(text);
    let seven = all.len().checked_sub(7).map(|skip| &all[skip..]);
    seven.is_some_and(|dea| {
        weighted(&dea[..6], &[1, 2, 1, 2, 1, 2]) % 10 == dea[6] && !repeated(dea)
    })
}

/// NHS number: weights 10 to 2, mod 11 (NHS Data Dictionary).
pub(crate) fn uk_nhs(text: &str) -> bool {
    exactly::<10>(text)
        .is_some_and(|nhs| !repeated(&nhs) && mod11(&nhs, &[10, 9, 8, 7, 6, 5, 4, 3, 2], None))
}

/// UK national insurance number: prefixes never allocated are refused (HMRC NIM39110).
pub(crate) fn uk_nino(text: &str) -> bool {
    let nino = alphanumerics(text);
    let [a, b, rest @ ..] = nino.as_slice() else { return false };
    let barred = [b"BG", b"GB", b"NK", b"KN", b"TN", b"NT", b"ZZ"];
    matches!(rest.len(), 6 | 7)
        && a.is_ascii_alphabetic()
        && b.is_ascii_alphabetic()
        && rest[..6].iter().all(u8::is_ascii_digit)
        && rest.get(6).is_none_or(|last| matches!(last, b'A'..=b'D'))
        && !b"DFIQUV".contains(a)
        && !b"DFIQUVO".contains(b)
        && !barred.contains(&&[*a, *b])
}

/// Spanish NIF and NIE: letter by mod 23 (Real Decreto 1553/2005).
pub(crate) fn es_nif(text: &str) -> bool {
    let mut nif = alphanumerics(text);
    let Some(letter) = nif.pop() else { return false };
    match nif.first_mut() {
        Some(first @ b'X'..=b'Z') => *first = *first - b'X' + b'0',
        Some(_) => {}
        None => return false,
    }
    nif.len() == 8
        && nif.iter().all(u8::is_ascii_digit)
        && {
            let value = nif.iter().fold(0u32, |n, byte| n * 10 + u32::from(byte - b'0'));
            b"TRWAGMYFPDXBNJZSQVHLCKE"[(value % 23) as usize] == letter
        }
}

/// Italian codice fiscale: control letter by odd and even tables, mod 26 (D.M. 23.12.1976).
pub(crate) fn it_fiscal_code(text: &str) -> bool {
    const ODD: [u32; 26] = [
        1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23,
    ];
    let code = alphanumerics(text);
    if code.len() != 16 || !code[15].is_ascii_uppercase() {
        return false;
    }
    let sum: u32 = code[..15]
        .iter()
        .enumerate()
        .map(|(i, &byte)| {
            let value = if byte.is_ascii_digit() { byte - b'0' } else { byte - b'A' };
            if i % 2 == 0 { ODD[usize::from(value)] } else { u32::from(value) }
        })
        .sum();
    u32::from(code[15] - b'A') == sum % 26
}

/// Polish PESEL: date of birth with the century in the month, weights 1-3-7-9.
pub(crate) fn pl_pesel(text: &str) -> bool {
    exactly::<11>(text).is_some_and(|pesel| {
        let month = number(&pesel[2..4]);
        let century = [1900, 2000, 2100, 2200, 1800][(month / 20) as usize % 5];
        calendar(century + number(&pesel[..2]), month % 20, number(&pesel[4..6]))
            && weighted(&pesel, &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1]) % 10 == 0
    })
}

/// French NIR: key is 97 less the number mod 97, Corsica's 2A and 2B count as 19 and 18 (INSEE).
pub(crate) fn fr_nir(text: &str) -> bool {
    let nir = alphanumerics(text);
    if nir.len() != 15 || !matches!(nir[0], b'1'..=b'4' | b'7' | b'8') {
        return false;
    }
    let department: &[u8] = match &nir[5..7] {
        b"2A" => b"19",
        b"2B" => b"18",
        other => other,
    };
    let body: Vec<u8> = nir[..5].iter().chain(department).chain(&nir[7..]).copied().collect();
    if !body.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let value = |part: &[u8]| part.iter().fold(0u64, |n, byte| n * 10 + u64::from(byte - b'0'));
    97 - value(&body[..13]) % 97 == value(&body[13..])
}

/// Dutch BSN: the eleven test, last digit weighted -1.
pub(crate) fn nl_bsn(text: &str) -> bool {
    exactly::<9>(text).is_some_and(|bsn| {
        let sum = weighted(&bsn[..8], &[9, 8, 7, 6, 5, 4, 3, 2]);
        !repeated(&bsn) && sum % 11 == bsn[8]
    })
}

/// Belgian national number: 97 less the first nine digits mod 97, a 2 in front for births since 2000.
pub(crate) fn be_nn(text: &str) -> bool {
    exactly::<11>(text).is_some_and(|nn| {
        let (body, check) = (u64::from(number(&nn[..9])), u64::from(number(&nn[9..])));
        let key = |n: u64| 97 - n % 97;
        number(&nn[2..4]) <= 12
            && number(&nn[4..6]) <= 31
            && body != 0
            && (key(body) == check || key(2_000_000_000 + body) == check)
    })
}

/// Portuguese NIF: weights 9 to 2, mod 11.
pub(crate) fn pt_nif(text: &str) -> bool {
    exactly::<9>(text).is_some_and(|nif| {
        matches!(nif[0], 1 | 2 | 3 | 5 | 6 | 8 | 9)
            && !repeated(&nif)
            && mod11(&nif, &[9, 8, 7, 6, 5, 4, 3, 2], Some(0))
    })
}

/// Finnish personal identity code: date, century sign, control character by mod 31 (DVV).
pub(crate) fn fi_hetu(text: &str) -> bool {
    let Some(last) = text.bytes().last() else { return false };
    let sign = text.as_bytes().get(6).copied().unwrap_or(0).to_ascii_uppercase();
    let Some(digits) = digits(text).get(..9).map(<[u32]>::to_vec) else { return false };
    let century = match sign {
        b'+' => 1800,
        b'-' | b'U'..=b'Y' => 1900,
        b'A'..=b'F' => 2000,
        _ => return false,
    };
    let control = b"0123456789ABCDEFHJKLMNPRSTUVWXY"[(number(&digits) % 31) as usize];
    text.len() == 11
        && calendar(century + number(&digits[4..6]), number(&digits[2..4]), number(&digits[..2]))
        && control == last.to_ascii_uppercase()
}

/// Swedish personnummer: Luhn over the last ten digits, and a date (a coordination number adds 60 to the day).
pub(crate) fn se_personnummer(text: &str) -> bool {
    let all = digits(text);
    let Some(short) = all.len().checked_sub(10).map(|skip| &all[skip..]) else { return false };
    let (month, day) = (number(&short[2..4]), number(&short[4..6]));
    let day = if day > 60 { day - 60 } else { day };
    matches!(all.len(), 10 | 12)
        && calendar(2000, month, day)
        && !repeated(short)
        && luhn_sum(short) % 10 == 0
}

/// Danish CPR: a date; the mod 11 test is no longer kept since 2007 and is not asked for.
pub(crate) fn dk_cpr(text: &str) -> bool {
    exactly::<10>(text).is_some_and(|cpr| {
        !repeated(&cpr) && calendar(2000, number(&cpr[2..4]), number(&cpr[..2]))
    })
}

/// Norwegian fødselsnummer: two mod 11 digits (D numbers add 4 to the first digit).
pub(crate) fn no_fnr(text: &str) -> bool {
    exactly::<11>(text).is_some_and(|fnr| {
        let day = number(&fnr[..2]) % 40;
        calendar(2000, number(&fnr[2..4]) % 40, day)
            && mod11(&fnr[..10], &[3, 7, 6, 1, 8, 9, 4, 5, 2], None)
            && mod11(&fnr, &[5, 4, 3, 2, 7, 6, 5, 4, 3, 2], None)
    })
}

/// Swiss AHV number: 756 and an EAN-13 check digit.
pub(crate) fn ch_ahv(text: &str) -> bool {
    exactly::<13>(text).is_some_and(|ahv| {
        number(&ahv[..3]) == 756
            && weighted(&ahv, &[1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1]) % 10 == 0
    })
}

/// Romanian CNP: date and weights 279146358279, mod 11, ten counts as one.
pub(crate) fn ro_cnp(text: &str) -> bool {
    exactly::<13>(text).is_some_and(|cnp| {
        let rest = weighted(&cnp[..12], &[2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9]) % 11;
        cnp[0] != 0
            && calendar(2000, number(&cnp[3..5]), number(&cnp[5..7]))
            && (if rest == 10 { 1 } else { rest }) == cnp[12]
    })
}

/// German tax identification number: ISO 7064 MOD 11,10, and one digit of the first ten occurs two or three times.
pub(crate) fn de_tax_id(text: &str) -> bool {
    exactly::<11>(text).is_some_and(|id| {
        let mut counts = [0; 10];
        id[..10].iter().for_each(|&digit| counts[digit as usize] += 1);
        let several = counts.iter().filter(|&&count| count > 1).count();
        id[0] != 0
            && several == 1
            && counts.iter().all(|&count| count <= 3)
            && iso7064_mod11_10(text)
    })
}

/// Canadian SIN: Luhn, first digit neither 0 nor 8.
pub(crate) fn ca_sin(text: &str) -> bool {
    exactly::<9>(text)
        .is_some_and(|sin| !matches!(sin[0], 0 | 8) && !repeated(&sin) && luhn_sum(&sin) % 10 == 0)
}

/// Brazilian CPF: two mod 11 digits.
pub(crate) fn br_cpf(text: &str) -> bool {
    exactly::<11>(text).is_some_and(|cpf| {
        let weights = [11, 10, 9, 8, 7, 6, 5, 4, 3, 2];
        !repeated(&cpf)
            && mod11(&cpf[..10], &weights[1..], Some(0))
            && mod11(&cpf, &weights, Some(0))
    })
}

/// Brazilian CNPJ: two mod 11 digits over characters counted from '0', letters allowed since 2026 (IN RFB 2.229/2024).
pub(crate) fn br_cnpj(text: &str) -> bool {
    const WEIGHTS: [u32; 13] = [6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2];
    let values: Vec<u32> = alphanumerics(text).iter().map(|b| u32::from(b - b'0')).collect();
    values.len() == 14
        && !repeated(&values)
        && mod11(&values[..13], &WEIGHTS[1..], Some(0))
        && mod11(&values, &WEIGHTS, Some(0))
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
    exactly::<9>(text)
        .is_some_and(|tfn| !repeated(&tfn) && weighted(&tfn, &[1, 4, 3, 7, 5, 8, 6, 9, 10]) % 11 == 0)
}

/// Australian business number: first digit less one, weights, mod 89.
pub(crate) fn au_abn(text: &str) -> bool {
    exactly::<11>(text).is_some_and(|mut abn| {
        abn[0] != 0 && {
            abn[0] -= 1;
            weighted(&abn, &[10, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19]) % 89 == 0
        }
    })
}

/// Australian company number: weights 8 to 1, complement mod 10.
pub(crate) fn au_acn(text: &str) -> bool {
    exactly::<9>(text).is_some_and(|acn| {
        !repeated(&acn) && (10 - weighted(&acn[..8], &[8, 7, 6, 5, 4, 3, 2, 1]) % 10) % 10 == acn[8]
    })
}

/// Australian Medicare number: weights 1 3 7 9 1 3 7 9, mod 10, the ninth digit.
pub(crate) fn au_medicare(text: &str) -> bool {
    let all = digits(text);
    matches!(all.len(), 10 | 11)
        && (2..=6).contains(&all[0])
        && weighted(&all[..8], &[1, 3, 7, 9, 1, 3, 7, 9]) % 10 == all[8]
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
    (letter / 10 + letter % 10 * 9 + weighted(&nine, &[8, 7, 6, 5, 4, 3, 2, 1, 1])) % 10 == 0
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
    (head + tail + last) % 11 == 0
}

/// Turkish identity number: tenth digit from odd and even sums, eleventh from the sum of all.
pub(crate) fn tr_tckn(text: &str) -> bool {
    exactly::<11>(text).is_some_and(|id| {
        let odd: u32 = id[..9].iter().step_by(2).sum();
        let even: u32 = id[1..8].iter().step_by(2).sum();
        id[0] != 0
            && !repeated(&id)
            && (odd * 7 + 10 * 9 - even) % 10 == id[9]
            && id[..10].iter().sum::<u32>() % 10 == id[10]
    })
}

/// Thai national number: weights 13 to 2, mod 11.
pub(crate) fn th_tnin(text: &str) -> bool {
    exactly::<13>(text).is_some_and(|id| {
        let sum = weighted(&id[..12], &[13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2]);
        (1..=8).contains(&id[0]) && !repeated(&id) && (11 - sum % 11) % 10 == id[12]
    })
}

/// South African identity number: date of birth, citizenship 0 to 2, Luhn.
pub(crate) fn za_id(text: &str) -> bool {
    exactly::<13>(text).is_some_and(|id| {
        calendar(2000, number(&id[2..4]), number(&id[4..6])) && id[10] <= 2 && luhn_sum(&id) % 10 == 0
    })
}

/// Israeli identity number: nine digits, weights 1 and 2 as Luhn.
pub(crate) fn il_id(text: &str) -> bool {
    exactly::<9>(text).is_some_and(|id| !repeated(&id) && luhn_sum(&id) % 10 == 0)
}

/// Russian INN: ten digits with one, or twelve with two check digits, mod 11 mod 10.
pub(crate) fn ru_inn(text: &str) -> bool {
    const WEIGHTS: [u32; 11] = [3, 7, 2, 4, 10, 3, 5, 9, 4, 6, 8];
    let inn = digits(text);
    let check = |length: usize| {
        weighted(&inn[..length], &WEIGHTS[WEIGHTS.len() - length..]) % 11 % 10 == inn[length]
    };
    !repeated(&inn)
        && match inn.len() {
            10 => check(9),
            12 => check(10) && check(11),
            _ => false,
        }
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
    fn asian_numbers() {
        passes(cn_resident_id, &["11010519491231002X", "110105491231002"], &["110105194912310021", "99010519491231002X", "11010519491331002X"]);
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
        passes(ru_inn, &["7707083893", "500100732259"], &["7707083894", "500100732258"]);
    }

    #[test]
    fn european_african_and_australian_numbers() {
        passes(uk_nhs, &["943 476 5919"], &["943 476 5918"]);
        passes(uk_nino, &["AB 12 34 56 C", "AB123456"], &["BG123456C", "DA123456C", "AB123456E"]);
        passes(es_nif, &["12345678Z", "X1234567L"], &["12345678A"]);
        passes(it_fiscal_code, &["RSSMRA85T10A562S"], &["RSSMRA85T10A562T"]);
        passes(pl_pesel, &["44051401359"], &["44051401358", "44131401359"]);
        passes(fr_nir, &["2 55 08 14 168 025 38"], &["2 55 08 14 168 025 39"]);
        passes(nl_bsn, &["111222333"], &["111222334"]);
        passes(be_nn, &["85.07.30-033 28"], &["85.07.30-033 29"]);
        passes(pt_nif, &["501442600"], &["501442601"]);
        passes(fi_hetu, &["131052-308T"], &["131052-308U", "321052-308T"]);
        passes(se_personnummer, &["811228-9874", "19811228-9874"], &["811228-9875", "811328-9874"]);
        passes(no_fnr, &["15076500565"], &["15076500566"]);
        passes(ch_ahv, &["756.9217.0769.85"], &["756.9217.0769.84"]);
        passes(ro_cnp, &["1800101221144"], &["1800101221145"]);
        passes(de_tax_id, &["86095742719"], &["86095742718"]);
        passes(za_id, &["8001015009087"], &["8001015009086"]);
        passes(au_tfn, &["123 456 782"], &["123 456 783"]);
        passes(au_abn, &["51 824 753 556"], &["51 824 753 557"]);
        passes(au_acn, &["004 085 616"], &["004 085 617"]);
        passes(au_medicare, &["2123 45670 1"], &["2123 45671 1"]);
        passes(dk_cpr, &["311280-1234"], &["321280-1234"]);
    }
}
