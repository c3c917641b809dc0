//! Checks of the numbers of central, eastern and south-eastern Europe.

use crate::check::Check;
use crate::check::arithmetic::{calendar, digits, exactly, luhn, mod11, number, repeated, weighted};

/// Name and check, for `check:` in a pack.
pub(super) const CHECKS: &[(&str, Check)] = &[
    ("pl_pesel", pl_pesel),
    ("pl_nip", pl_nip),
    ("pl_regon", pl_regon),
    ("cz_rc", cz_rc),
    ("ro_cnp", ro_cnp),
    ("bg_egn", bg_egn),
    ("gr_amka", gr_amka),
    ("gr_afm", gr_afm),
    ("hu_tax_id", hu_tax_id),
    ("hu_taj", hu_taj),
    ("hu_personal_id", hu_personal_id),
    ("si_emso", si_emso),
    ("ru_inn", ru_inn),
    ("ru_snils", ru_snils),
    ("ua_rnokpp", ua_rnokpp),
];

/// Polish PESEL: date of birth with the century in the month, weights 1-3-7-9 (Ustawa o ewidencji ludności, art. 15).
pub(super) fn pl_pesel(text: &str) -> bool {
    exactly::<11>(text).is_some_and(|pesel| {
        let month = number(&pesel[2..4]);
        let century = [1900, 2000, 2100, 2200, 1800][(month / 20) as usize % 5];
        // The calendar ends in 2100; leap years repeat.
        let year = (century + number(&pesel[..2])).clamp(1800, 2099);
        calendar(if year < 1850 { year + 100 } else { year }, month % 20, number(&pesel[4..6]))
            && weighted(&pesel, &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1]).is_multiple_of(10)
    })
}

/// Polish NIP: weights 6 5 7 2 3 4 5 6 7, mod 11, never ten (Ustawa o zasadach ewidencji podatników).
pub(super) fn pl_nip(text: &str) -> bool {
    exactly::<10>(text).is_some_and(|nip| !repeated(&nip) && weighted(&nip[..9], &[6, 5, 7, 2, 3, 4, 5, 6, 7]) % 11 == nip[9])
}

/// Polish REGON: nine digits, or fourteen for a branch, each with its check digit mod 11 mod 10 (GUS).
fn pl_regon(text: &str) -> bool {
    let regon = digits(text);
    let nine = |regon: &[u32]| weighted(&regon[..8], &[8, 9, 2, 3, 4, 5, 6, 7]) % 11 % 10 == regon[8];
    !repeated(&regon)
        && match regon.len() {
            9 => nine(&regon),
            14 => nine(&regon) && weighted(&regon[..13], &[2, 4, 8, 5, 0, 9, 7, 3, 6, 1, 2, 4, 8]) % 11 % 10 == regon[13],
            _ => false,
        }
}

/// Czech and Slovak rodné číslo: date with 50 more in the month for women, 20 more when a day ran out; ten digits divide by 11, with the
/// exception made until 1985; nine digits, until 1953, have no check (zákon 133/2000 Sb. § 13).
pub(super) fn cz_rc(text: &str) -> bool {
    let rc = digits(text);
    if !matches!(rc.len(), 9 | 10) || repeated(&rc[..6]) {
        return false;
    }
    let (short, month) = (number(&rc[..2]), number(&rc[2..4]) % 50);
    let late = rc.len() == 10 && short < 54;
    let month = if late && month > 20 { month - 20 } else { month };
    let dated = number(&rc[2..4]) < 83 && calendar(if late { 2000 } else { 1900 } + short, month, number(&rc[4..6]));
    let rest = rc[..9].iter().fold(0, |rest, digit| (rest * 10 + digit) % 11);
    let serial = number(&rc[6..9]) != 0;
    dated && serial && if rc.len() == 9 { short < 54 } else { rest % 10 == rc[9] }
}

/// Romanian CNP: date, county, and weights 279146358279, mod 11, ten counts as one (OUG 97/2005).
fn ro_cnp(text: &str) -> bool {
    exactly::<13>(text).is_some_and(|cnp| {
        let rest = weighted(&cnp[..12], &[2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9]) % 11;
        let county = matches!(number(&cnp[7..9]), 1..=48 | 51 | 52 | 70 | 80..=83);
        cnp[0] != 0 && county && calendar(2000, number(&cnp[3..5]), number(&cnp[5..7])) && (if rest == 10 { 1 } else { rest }) == cnp[12]
    })
}

/// Bulgarian EGN: date with 20 more in the month before 1900 and 40 more since 2000, weights 2 4 8 5 10 9 7 3 6, mod 11 (GRAO).
fn bg_egn(text: &str) -> bool {
    exactly::<10>(text).is_some_and(|egn_| egn(&egn_))
}

/// The same for digits.
pub(super) fn egn(egn: &[u32]) -> bool {
    let (short, month) = (number(&egn[..2]), number(&egn[2..4]));
    let (year, month) = match month {
        41..=52 => (2000 + short, month - 40),
        21..=32 => (1800 + short, month - 20),
        _ => (1900 + short, month),
    };
    calendar(year, month, number(&egn[4..6])) && weighted(&egn[..9], &[2, 4, 8, 5, 10, 9, 7, 3, 6]) % 11 % 10 == egn[9]
}

/// Greek AMKA: birth date and Luhn (ΗΔΙΚΑ).
fn gr_amka(text: &str) -> bool {
    exactly::<11>(text).is_some_and(|amka| {
        (calendar(1900 + number(&amka[4..6]), number(&amka[2..4]), number(&amka[..2]))
            || calendar(2000 + number(&amka[4..6]), number(&amka[2..4]), number(&amka[..2])))
            && luhn(text)
    })
}

/// Greek AFM: powers of two, mod 11 mod 10 (ΑΑΔΕ).
pub(super) fn gr_afm(text: &str) -> bool {
    exactly::<9>(text).is_some_and(|afm| !repeated(&afm) && weighted(&afm[..8], &[256, 128, 64, 32, 16, 8, 4, 2]) % 11 % 10 == afm[8])
}

/// Hungarian adóazonosító jel: 8, the days since 1867 and a serial, weights 1 to 9, mod 11, never ten (1996. évi XX. törvény).
fn hu_tax_id(text: &str) -> bool {
    exactly::<10>(text)
        .is_some_and(|tax| tax[0] == 8 && !repeated(&tax) && weighted(&tax[..9], &[1, 2, 3, 4, 5, 6, 7, 8, 9]) % 11 == tax[9])
}

/// Hungarian TAJ: weights 3 7, mod 10 (1996. évi XX. törvény).
fn hu_taj(text: &str) -> bool {
    exactly::<9>(text).is_some_and(|taj| !repeated(&taj) && weighted(&taj[..8], &[3, 7, 3, 7, 3, 7, 3, 7]) % 10 == taj[8])
}

/// Hungarian személyi azonosító: sex and century, date, weights 1 to 10 mod 11, backwards since 1997 (1996. évi XX. törvény).
fn hu_personal_id(text: &str) -> bool {
    exactly::<11>(text).is_some_and(|id| {
        let year = number(&id[1..3]);
        let late = matches!(id[0], 3 | 4) && year < 50;
        let century = if late { 2000 } else { 1900 };
        let recent = late || (year >= 97 && matches!(id[0], 1 | 2));
        let sum = match recent {
            true => weighted(&id[..10], &[10, 9, 8, 7, 6, 5, 4, 3, 2, 1]),
            false => weighted(&id[..10], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        };
        (1..=8).contains(&id[0]) && calendar(century + year, number(&id[3..5]), number(&id[5..7])) && sum % 11 == id[10]
    })
}

/// Slovenian EMŠO, the JMBG of the other successors of Yugoslavia: date with three digits of the year, region, serial, mod 11 (ZCRP).
fn si_emso(text: &str) -> bool {
    exactly::<13>(text).is_some_and(|emso| {
        let year = number(&emso[4..7]);
        let year = if year < 100 { 2000 + year } else { 1000 + year };
        year >= 1880
            && calendar(year, number(&emso[2..4]), number(&emso[..2]))
            && mod11(&emso, &[7, 6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2], Some(0))
    })
}

/// Russian INN: ten digits with one, or twelve with two check digits, mod 11 mod 10 (Приказ ФНС ЕД-7-14/559).
fn ru_inn(text: &str) -> bool {
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

/// Russian SNILS: weights 9 to 1, mod 101, a hundred counts as nought; not for the first million (Постановление ПФР 192п).
fn ru_snils(text: &str) -> bool {
    exactly::<11>(text).is_some_and(|snils| {
        let sum = weighted(&snils[..9], &[9, 8, 7, 6, 5, 4, 3, 2, 1]) % 101 % 100;
        number(&snils[..9]) > 1_001_998 && !repeated(&snils[..9]) && sum == number(&snils[9..])
    })
}

/// Ukrainian RNOKPP: days since 1899, serial, weights -1 5 7 9 4 6 10 5 7, mod 11 mod 10 (Наказ МФУ 822).
fn ua_rnokpp(text: &str) -> bool {
    exactly::<10>(text).is_some_and(|tax| {
        // -1 is 10 modulo 11.
        let rest = weighted(&tax[..9], &[10, 5, 7, 9, 4, 6, 10, 5, 7]) % 11 % 10;
        !repeated(&tax) && (1..=55_000).contains(&number(&tax[..5])) && rest == tax[9]
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::passes;

    #[test]
    fn published_numbers_pass_and_their_neighbours_do_not() {
        passes(pl_pesel, &["44051401359", "02070803628"], &["44051401358", "44131401359"]);
        passes(pl_nip, &["856-734-62-15"], &["8567346216"]);
        passes(pl_regon, &["192598184", "12345678512347"], &["192598183", "12345678512348"]);
        passes(cz_rc, &["710319/2745", "7103192745", "471231123"], &["710319/2746", "711319/2745", "991231123"]);
        passes(ro_cnp, &["1630615123457"], &["1630615123458", "1631315123457"]);
        passes(bg_egn, &["7523169263", "8032056031"], &["7523169264", "7553169263"]);
        passes(gr_amka, &["01013099997"], &["01013099998", "01133099997"]);
        passes(gr_afm, &["023456780", "094259216"], &["123456780"]);
        passes(hu_tax_id, &["8071592153"], &["8071592154", "7071592153"]);
        passes(hu_taj, &["111111110"], &["111111112"]);
        passes(hu_personal_id, &["1-720315-4028"], &["1-720315-4029", "1-721315-4028"]);
        passes(si_emso, &["0101006500006"], &["0101006500007", "0113006500006"]);
        passes(ru_inn, &["7707083893", "500100732259"], &["7707083894", "500100732258"]);
        passes(ru_snils, &["112-233-445 95"], &["112-233-445 96"]);
        passes(ua_rnokpp, &["1759013776"], &["1759013777"]);
    }
}
