//! Checks of the numbers of Europe, as each issuing body publishes them.

use crate::check::Check;
use crate::check::arithmetic::{
    alphanumerics, calendar, digits, exactly, iso7064_mod11_10, luhn, luhn_sum, mod11, number, repeated, weighted,
};

/// Name and check, for `check:` in a pack.
pub(super) const CHECKS: &[(&str, Check)] = &[
    ("uk_nhs", uk_nhs),
    ("uk_nino", uk_nino),
    ("es_nif", es_nif),
    ("it_fiscal_code", it_fiscal_code),
    ("pl_pesel", pl_pesel),
    ("fr_nir", fr_nir),
    ("nl_bsn", nl_bsn),
    ("be_nn", be_nn),
    ("pt_nif", pt_nif),
    ("fi_hetu", fi_hetu),
    ("se_personnummer", se_personnummer),
    ("dk_cpr", dk_cpr),
    ("no_fnr", no_fnr),
    ("ch_ahv", ch_ahv),
    ("ro_cnp", ro_cnp),
    ("de_tax_id", de_tax_id),
    ("ru_inn", ru_inn),
    ("it_vat", luhn),
];

/// NHS number: weights 10 to 2, mod 11 (NHS Data Dictionary).
pub(crate) fn uk_nhs(text: &str) -> bool {
    exactly::<10>(text).is_some_and(|nhs| !repeated(&nhs) && mod11(&nhs, &[10, 9, 8, 7, 6, 5, 4, 3, 2], None))
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
    nif.len() == 8 && nif.iter().all(u8::is_ascii_digit) && {
        let value = nif.iter().fold(0u32, |n, byte| n * 10 + u32::from(byte - b'0'));
        b"TRWAGMYFPDXBNJZSQVHLCKE"[(value % 23) as usize] == letter
    }
}

/// Italian codice fiscale: control letter by odd and even tables, mod 26 (D.M. 23.12.1976).
pub(crate) fn it_fiscal_code(text: &str) -> bool {
    const ODD: [u32; 26] = [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];
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
            && weighted(&pesel, &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1]).is_multiple_of(10)
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
        number(&nn[2..4]) <= 12 && number(&nn[4..6]) <= 31 && body != 0 && (key(body) == check || key(2_000_000_000 + body) == check)
    })
}

/// Portuguese NIF: weights 9 to 2, mod 11.
pub(crate) fn pt_nif(text: &str) -> bool {
    exactly::<9>(text).is_some_and(|nif| {
        matches!(nif[0], 1 | 2 | 3 | 5 | 6 | 8 | 9) && !repeated(&nif) && mod11(&nif, &[9, 8, 7, 6, 5, 4, 3, 2], Some(0))
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
    matches!(all.len(), 10 | 12) && calendar(2000, month, day) && !repeated(short) && luhn_sum(short).is_multiple_of(10)
}

/// Danish CPR: a date; the mod 11 test is no longer kept since 2007 and is not asked for.
pub(crate) fn dk_cpr(text: &str) -> bool {
    exactly::<10>(text).is_some_and(|cpr| !repeated(&cpr) && calendar(2000, number(&cpr[2..4]), number(&cpr[..2])))
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
    exactly::<13>(text)
        .is_some_and(|ahv| number(&ahv[..3]) == 756 && weighted(&ahv, &[1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1]).is_multiple_of(10))
}

/// Romanian CNP: date and weights 279146358279, mod 11, ten counts as one.
pub(crate) fn ro_cnp(text: &str) -> bool {
    exactly::<13>(text).is_some_and(|cnp| {
        let rest = weighted(&cnp[..12], &[2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9]) % 11;
        cnp[0] != 0 && calendar(2000, number(&cnp[3..5]), number(&cnp[5..7])) && (if rest == 10 { 1 } else { rest }) == cnp[12]
    })
}

/// German tax identification number: ISO 7064 MOD 11,10, and one digit of the first ten occurs two or three times.
pub(crate) fn de_tax_id(text: &str) -> bool {
    exactly::<11>(text).is_some_and(|id| {
        let mut counts = [0; 10];
        id[..10].iter().for_each(|&digit| counts[digit as usize] += 1);
        let several = counts.iter().filter(|&&count| count > 1).count();
        id[0] != 0 && several == 1 && counts.iter().all(|&count| count <= 3) && iso7064_mod11_10(text)
    })
}

/// Russian INN: ten digits with one, or twelve with two check digits, mod 11 mod 10.
pub(crate) fn ru_inn(text: &str) -> bool {
    const WEIGHTS: [u32; 11] = [3, 7, 2, 4, 10, 3, 5, 9, 4, 6, 8];
    let inn = digits(text);
    let check = |length: usize| weighted(&inn[..length], &WEIGHTS[WEIGHTS.len() - length..]) % 11 % 10 == inn[length];
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
    use crate::check::passes;

    #[test]
    fn published_numbers_pass_and_their_neighbours_do_not() {
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
        passes(dk_cpr, &["311280-1234"], &["321280-1234"]);
        passes(no_fnr, &["15076500565"], &["15076500566"]);
        passes(ch_ahv, &["756.9217.0769.85"], &["756.9217.0769.84"]);
        passes(ro_cnp, &["1800101221144"], &["1800101221145"]);
        passes(de_tax_id, &["86095742719"], &["86095742718"]);
        passes(ru_inn, &["7707083893", "500100732259"], &["7707083894", "500100732258"]);
    }
}
