//! Checks of the numbers of the Americas, as each issuing body publishes them.

use crate::check::Check;
use crate::check::arithmetic::{alphanumerics, digits, exactly, luhn_sum, mod11, number, repeated, weighted};

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
    }
}
