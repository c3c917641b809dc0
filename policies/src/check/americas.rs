//! Checks of the numbers of the Americas, as each issuing body publishes them.

use crate::check::Check;
use crate::check::arithmetic::{alphanumerics, calendar, digits, exactly, luhn_sum, mod11, number, repeated, weighted};

/// Name and check, for `check:` in a pack.
pub(super) const CHECKS: &[(&str, Check)] = &[
    ("us_ssn", us_ssn),
    ("us_itin", us_itin),
    ("aba_routing", aba_routing),
    ("us_npi", us_npi),
    ("us_dea", us_dea),
    ("ca_sin", ca_sin),
    ("br_cpf", br_cpf),
    ("br_cnpj", br_cnpj),
    ("cl_rut", cl_rut),
    ("ar_cuit", ar_cuit),
    ("mx_curp", mx_curp),
    ("us_ein", us_ein),
    ("mx_rfc", mx_rfc),
    ("mx_clabe", mx_clabe),
    ("br_pis", br_pis),
    ("co_nit", co_nit),
    ("ec_ci", ec_ci),
    ("ec_ruc", ec_ruc),
    ("pe_ruc", pe_ruc),
    ("uy_ci", uy_ci),
    ("uy_rut", uy_rut),
    ("ve_rif", ve_rif),
    ("do_cedula", do_cedula),
];

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

/// US employer identification number: two digits of the campus that gave it out (IRS, "How EINs are assigned"), seven more.
pub(crate) fn us_ein(text: &str) -> bool {
    exactly::<9>(text).is_some_and(|ein| {
        let campus = number(&ein[..2]);
        let unassigned = matches!(campus, 0 | 7..=9 | 17..=19 | 28 | 29 | 49 | 69 | 70 | 78 | 79 | 89 | 96 | 97);
        !unassigned && !repeated(&ein)
    })
}

/// Mexican RFC of a person (13) or a company (12): a date, and a check character by weights 13 to 2, mod 11 (SAT, annex of the rule on
/// the homoclave).
pub(crate) fn mx_rfc(text: &str) -> bool {
    let rfc: Vec<char> = text.chars().filter(|c| c.is_alphanumeric() || *c == '&').flat_map(char::to_uppercase).collect();
    let value = |c: char| match c {
        '0'..='9' | 'A'..='N' => c.to_digit(36),
        '&' => Some(24),
        'O'..='Z' => c.to_digit(36).map(|value| value + 1),
        'Ñ' => Some(38),
        _ => None,
    };
    let Some(values) = rfc.iter().map(|&c| value(c)).collect::<Option<Vec<u32>>>() else { return false };
    if !matches!(values.len(), 12 | 13) {
        return false;
    }
    let (body, date) = (&values[..values.len() - 1], &values[values.len() - 9..values.len() - 3]);
    // A company's name has a letter less; a blank, worth 37, stands in its place.
    let blank = if values.len() == 12 { 37 * 13 } else { 0 };
    let sum: u32 = blank + body.iter().rev().zip(2..).map(|(value, weight)| value * weight).sum::<u32>();
    let expected = match 11 - sum % 11 {
        11 => '0',
        10 => 'A',
        rest => char::from_digit(rest, 10).unwrap_or('0'),
    };
    date.iter().all(|&digit| digit < 10)
        && (calendar(1900 + number(&date[..2]), number(&date[2..4]), number(&date[4..]))
            || calendar(2000 + number(&date[..2]), number(&date[2..4]), number(&date[4..])))
        && rfc.last() == Some(&expected)
}

/// Mexican CLABE: weights 3-7-1, each product mod 10, control digit to ten (ABM).
pub(crate) fn mx_clabe(text: &str) -> bool {
    exactly::<18>(text).is_some_and(|clabe| {
        let sum: u32 = clabe[..17].iter().zip([3, 7, 1].into_iter().cycle()).map(|(digit, weight)| digit * weight % 10).sum();
        (10 - sum % 10) % 10 == clabe[17] && !repeated(&clabe)
    })
}

/// Brazilian PIS, PASEP and NIS: weights 3298765432, mod 11.
pub(crate) fn br_pis(text: &str) -> bool {
    exactly::<11>(text).is_some_and(|pis| !repeated(&pis) && mod11(&pis, &[3, 2, 9, 8, 7, 6, 5, 4, 3, 2], Some(0)))
}

/// Colombian NIT: primes as weights from the right, mod 11; the rest itself where it is 0 or 1 (DIAN, Orden Administrativa 4 of 1989).
pub(crate) fn co_nit(text: &str) -> bool {
    const WEIGHTS: [u32; 15] = [3, 7, 13, 17, 19, 23, 29, 37, 41, 43, 47, 53, 59, 67, 71];
    let nit = digits(text);
    let Some((&check, body)) = nit.split_last().filter(|(_, body)| (8..=10).contains(&body.len())) else { return false };
    let rest = body.iter().rev().zip(WEIGHTS).map(|(digit, weight)| digit * weight).sum::<u32>() % 11;
    check == if rest < 2 { rest } else { 11 - rest } && !repeated(&nit)
}

/// Ecuadorian identity card: province 1 to 24 or 30, third digit below 6, Luhn (Registro Civil).
pub(crate) fn ec_ci(text: &str) -> bool {
    exactly::<10>(text)
        .is_some_and(|ci| matches!(number(&ci[..2]), 1..=24 | 30) && ci[2] < 6 && !repeated(&ci) && luhn_sum(&ci).is_multiple_of(10))
}

/// Ecuadorian RUC: an identity card and 001, or a public (third digit 6) or private (9) body with a mod 11 digit (SRI).
pub(crate) fn ec_ruc(text: &str) -> bool {
    exactly::<13>(text).is_some_and(|ruc| {
        let is_place = |digits: &[u32]| number(digits) != 0;
        matches!(number(&ruc[..2]), 1..=24 | 30)
            && match ruc[2] {
                6 => mod11(&ruc[..9], &[3, 2, 7, 6, 5, 4, 3, 2], None) && is_place(&ruc[9..]),
                9 => mod11(&ruc[..10], &[4, 3, 2, 7, 6, 5, 4, 3, 2], None) && is_place(&ruc[10..]),
                0..=5 => luhn_sum(&ruc[..10]).is_multiple_of(10) && is_place(&ruc[10..]),
                _ => false,
            }
    })
}

/// Peruvian RUC: kind 10, 15, 16, 17 or 20, weights 5432765432, mod 11, last digit of the difference (SUNAT).
pub(crate) fn pe_ruc(text: &str) -> bool {
    exactly::<11>(text).is_some_and(|ruc| {
        let sum = weighted(&ruc[..10], &[5, 4, 3, 2, 7, 6, 5, 4, 3, 2]);
        matches!(number(&ruc[..2]), 10 | 15 | 16 | 17 | 20) && (11 - sum % 11) % 10 == ruc[10]
    })
}

/// Uruguayan identity card: weights 2987634, mod 10 (DNIC).
pub(crate) fn uy_ci(text: &str) -> bool {
    exactly::<8>(text).is_some_and(|ci| {
        let sum = weighted(&ci[..7], &[2, 9, 8, 7, 6, 3, 4]);
        (10 - sum % 10) % 10 == ci[7] && !repeated(&ci)
    })
}

/// Uruguayan RUT: kind 1 to 22, weights 43298765432, mod 11 (DGI).
pub(crate) fn uy_rut(text: &str) -> bool {
    exactly::<12>(text).is_some_and(|rut| {
        let sum = weighted(&rut[..11], &[4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2]);
        matches!(number(&rut[..2]), 1..=22) && number(&rut[2..8]) != 0 && (11 - sum % 11) % 11 == rut[11]
    })
}

/// Venezuelan RIF: a letter worth 4, 8, 12, 16 or 20, eight digits by weights 32765432, mod 11 (SENIAT).
pub(crate) fn ve_rif(text: &str) -> bool {
    let kind = match text.bytes().next().map(|byte| byte.to_ascii_uppercase()) {
        Some(b'V') => 4,
        Some(b'E') => 8,
        Some(b'J' | b'C') => 12,
        Some(b'P') => 16,
        Some(b'G') => 20,
        _ => return false,
    };
    exactly::<9>(text).is_some_and(|rif| {
        let sum = kind + weighted(&rif[..8], &[3, 2, 7, 6, 5, 4, 3, 2]);
        [0, 0, 9, 8, 7, 6, 5, 4, 3, 2, 1][(sum % 11) as usize] == rif[8] && !repeated(&rif[..8])
    })
}

/// Dominican identity card: Luhn over eleven digits (JCE).
pub(crate) fn do_cedula(text: &str) -> bool {
    exactly::<11>(text).is_some_and(|cedula| !repeated(&cedula) && luhn_sum(&cedula).is_multiple_of(10))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::passes;

    #[test]
    fn published_numbers_pass_and_their_neighbours_do_not() {
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
        passes(us_ein, &["91-1144442"], &["07-1144442", "91-114444"]);
        passes(mx_rfc, &["GODE561231GR8", "MAB9307148T4"], &["GODE561231GR9", "GODE561331GR8", "MAB-930714-8T5"]);
        passes(mx_clabe, &["032180000118359719"], &["032180000118359718"]);
        passes(br_pis, &["120.00000.00-4"], &["120.00000.00-3"]);
        passes(co_nit, &["213.123.432-1", "800197268-4"], &["213.123.432-5"]);
        passes(ec_ci, &["1714307103"], &["1714307104", "2514307103", "1764307103"]);
        passes(ec_ruc, &["1792060346001", "1714307103001"], &["1792060347001", "1792060346000"]);
        passes(pe_ruc, &["20512333797"], &["20512333798", "30512333797"]);
        passes(uy_ci, &["1.234.567-2"], &["1.234.567-3"]);
        passes(uy_rut, &["21-100342-001-7"], &["21-100342-001-8", "23-100342-001-7"]);
        passes(ve_rif, &["V-11470283-4"], &["V-11470283-5", "X-11470283-4"]);
        passes(do_cedula, &["001-1391820-5"], &["001-1391820-6"]);
    }
}
