//! Checks of the numbers of the Nordic and Baltic countries.

use crate::check::Check;
use crate::check::arithmetic::{calendar, digits, exactly, luhn_sum, mod11, number, repeated, weighted};

/// Name and check, for `check:` in a pack.
pub(super) const CHECKS: &[(&str, Check)] = &[
    ("se_personnummer", se_personnummer),
    ("se_organisationsnummer", se_organisationsnummer),
    ("fi_hetu", fi_hetu),
    ("dk_cpr", dk_cpr),
    ("dk_cpr_checked", dk_cpr_checked),
    ("no_fnr", no_fnr),
    ("baltic_code", baltic_code),
    ("lv_personal_code", lv_personal_code),
];

/// Swedish personnummer: Luhn over the last ten digits, and a date (a coordination number adds 60 to the day) (SKV 704).
fn se_personnummer(text: &str) -> bool {
    let all = digits(text);
    let Some(short) = all.len().checked_sub(10).map(|skip| &all[skip..]) else { return false };
    let (month, day) = (number(&short[2..4]), number(&short[4..6]));
    let day = if day > 60 { day - 60 } else { day };
    let century = matches!(all.len(), 10) || (all.len() == 12 && matches!(number(&all[..2]), 18..=20));
    century && calendar(2000, month, day) && !repeated(short) && luhn_sum(short).is_multiple_of(10)
}

/// Swedish organisation number: Luhn, third digit 2 or more so that it is no birth date; 16 may stand in front (SKV 709).
fn se_organisationsnummer(text: &str) -> bool {
    let all = digits(text);
    let short = match all.as_slice() {
        [1, 6, short @ ..] if short.len() == 10 => short,
        short if short.len() == 10 => short,
        _ => return false,
    };
    matches!(short[0], 1..=3 | 5..=9) && short[2] >= 2 && !repeated(short) && luhn_sum(short).is_multiple_of(10)
}

/// Finnish personal identity code: date, century sign (those added in 2023 included), control character by mod 31 (DVV).
fn fi_hetu(text: &str) -> bool {
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
        && calendar_any(century + number(&digits[4..6]), number(&digits[2..4]), number(&digits[..2]))
        && number(&digits[6..]) >= 2
        && control == last.to_ascii_uppercase()
}

/// Danish CPR: a date; the mod 11 test is no longer kept since 2007 and is not asked for.
fn dk_cpr(text: &str) -> bool {
    exactly::<10>(text).is_some_and(|cpr| !repeated(&cpr) && calendar(2000, number(&cpr[2..4]), number(&cpr[..2])))
}

/// Danish CPR that keeps the mod 11 test of before 2007 (weights 4 3 2 7 6 5 4 3 2 1) and cannot be a Swedish number.
fn dk_cpr_checked(text: &str) -> bool {
    let kept = |cpr: [u32; 10]| weighted(&cpr, &[4, 3, 2, 7, 6, 5, 4, 3, 2, 1]).is_multiple_of(11);
    dk_cpr(text) && exactly::<10>(text).is_some_and(kept) && !se_personnummer(text)
}

/// Norwegian fødselsnummer: two mod 11 digits; D numbers add 4 to the first digit, auxiliary and test numbers 4 or 8 to the third
/// (Skatteetaten).
fn no_fnr(text: &str) -> bool {
    exactly::<11>(text).is_some_and(|fnr| {
        let day = number(&fnr[..2]) % 40;
        calendar(2000, number(&fnr[2..4]) % 40, day)
            && mod11(&fnr[..10], &[3, 7, 6, 1, 8, 9, 4, 5, 2], Some(10))
            && mod11(&fnr, &[5, 4, 3, 2, 7, 6, 5, 4, 3, 2], None)
    })
}

/// Estonian isikukood and Lithuanian asmens kodas: sex and century, date, two rows of weights mod 11 (EVS 585; LR gyventojų registro įstatymas).
fn baltic_code(text: &str) -> bool {
    exactly::<11>(text).is_some_and(|code| {
        let century = match code[0] {
            1..=8 => 1800 + (code[0] - 1) / 2 * 100,
            _ => return false,
        };
        let check = match weighted(&code[..10], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 1]) % 11 {
            10 => weighted(&code[..10], &[3, 4, 5, 6, 7, 8, 9, 1, 2, 3]) % 11 % 10,
            rest => rest,
        };
        calendar_any(century + number(&code[1..3]), number(&code[3..5]), number(&code[5..7])) && check == code[10]
    })
}

/// Like `calendar`, for the years before 1850 and after 2100 that a code can hold: their leap years are those of a century later or earlier.
fn calendar_any(year: u32, month: u32, day: u32) -> bool {
    let year = match year {
        ..1850 => year + 100,
        1850..=2100 => year,
        _ => year - 100,
    };
    calendar(year, month, day)
}

/// Latvian personas kods: a date, weights 10 5 8 4 2 1 6 3 7 9 (Ministru kabineta noteikumi); those given out since July 2017 begin with 32 and
/// hold no date.
pub(super) fn lv_personal_code(text: &str) -> bool {
    exactly::<11>(text).is_some_and(|code| {
        let check = (1 + weighted(&code, &[10, 5, 8, 4, 2, 1, 6, 3, 7, 9])) % 11 % 10;
        let dated = code[6] <= 2 && calendar(2000, number(&code[2..4]), number(&code[..2]));
        !repeated(&code) && (dated && check == code[10] || number(&code[..2]) == 32)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::passes;

    #[test]
    fn published_numbers_pass_and_their_neighbours_do_not() {
        passes(se_personnummer, &["811228-9874", "19811228-9874"], &["811228-9875", "811328-9874", "17811228-9874", "81122898740"]);
        passes(se_organisationsnummer, &["556036-0793", "165560360793"], &["556036-0794", "811228-9874", "175560360793"]);
        passes(fi_hetu, &["131052-308T", "131052W308T", "080931+1464"], &["131052-308U", "321052-308T", "131052G308T"]);
        passes(dk_cpr, &["311280-1234"], &["321280-1234"]);
        passes(dk_cpr_checked, &["211062-5629"], &["211062-5628"]);
        passes(no_fnr, &["15076500565"], &["15076500566", "15076500465"]);
        passes(baltic_code, &["37605030299", "38703181745"], &["37605030298", "37613030299", "97605030299"]);
        passes(lv_personal_code, &["161175-19997", "328673-00679"], &["161175-19998", "161375-19997"]);
    }
}
