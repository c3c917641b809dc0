//! Checks of the numbers of Africa, Turkey and the Middle East, as each issuing body publishes them.

use crate::check::Check;
use crate::check::arithmetic::{alphanumerics, calendar, exactly, luhn_sum, number, repeated, verhoeff, weighted};

/// Name and check, for `check:` in a pack.
pub(super) const CHECKS: &[(&str, Check)] = &[
    ("ae_emirates_id", ae_emirates_id),
    ("eg_national_id", eg_national_id),
    ("eg_national_id_digit", eg_national_id_digit),
    ("il_id_number", il_id_number),
    ("ir_national_code", ir_national_code),
    ("kw_civil_id", kw_civil_id),
    ("ng_nin", ng_nin),
    ("sa_national_id", sa_national_id),
    ("tr_license_plate", tr_license_plate),
    ("tr_national_id", tr_national_id),
    ("za_id_number", za_id_number),
];

/// Turkish identity number: tenth digit from odd and even sums, eleventh from the sum of all (Directorate of Population Affairs).
pub(crate) fn tr_national_id(text: &str) -> bool {
    exactly::<11>(text).is_some_and(|id| {
        let odd: u32 = id[..9].iter().step_by(2).sum();
        let even: u32 = id[1..8].iter().step_by(2).sum();
        id[0] != 0 && !repeated(&id) && (odd * 7 + 10 * 9 - even) % 10 == id[9] && id[..10].iter().sum::<u32>() % 10 == id[10]
    })
}

/// Turkish licence plate: a province (01 to 81) and letters of the Turkish alphabet (Highway Traffic Regulation, annex 1). Months and
/// units, which have the shape of the letters, are refused: 06 JAN 24, 16 GB 2400.
pub(crate) fn tr_license_plate(text: &str) -> bool {
    const OTHER: &str = "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC OCA SUB NIS HAZ TEM AGU EYL EKI KAS ARA MAI DEZ OKT \
                         KB MB GB TB PB HZ KHZ MHZ GHZ KG MG ML MM CM KM MPH RPM PM AM BC AD USD EUR TRY TL CAD AUD INR";
    let plate = alphanumerics(text);
    let letters: Vec<u8> = plate.iter().copied().filter(u8::is_ascii_alphabetic).collect();
    let letters = String::from_utf8_lossy(&letters).into_owned();
    let digit = |at: usize| plate.get(at).filter(|byte| byte.is_ascii_digit()).map(|byte| u32::from(byte - b'0'));
    let (Some(tens), Some(ones)) = (digit(0), digit(1)) else { return false };
    (1..=81).contains(&(tens * 10 + ones))
        && (1..=3).contains(&letters.len())
        && !letters.contains(['Q', 'W', 'X'])
        && !OTHER.split_whitespace().any(|word| word == letters)
        && plate.iter().skip(2).filter(|byte| byte.is_ascii_digit()).any(|&byte| byte != b'0')
}

/// South African identity number: date of birth, citizenship 0 to 2, Luhn (Identification Act 68 of 1997, regulations).
pub(crate) fn za_id_number(text: &str) -> bool {
    // A year that is leap in one century is in the other, but 1900, whose people are past a hundred and twenty.
    exactly::<13>(text).is_some_and(|id| {
        calendar(2000 + number(&id[..2]), number(&id[2..4]), number(&id[4..6])) && id[10] <= 2 && luhn_sum(&id).is_multiple_of(10)
    })
}

/// Israeli identity number: nine digits, weights 1 and 2 as Luhn (Population and Immigration Authority).
pub(crate) fn il_id_number(text: &str) -> bool {
    exactly::<9>(text).is_some_and(|id| !repeated(&id) && luhn_sum(&id).is_multiple_of(10))
}

/// Emirates identity card: 784 (ISO 3166-1), the year of birth, seven digits, Luhn (Federal Authority for Identity and Citizenship).
pub(crate) fn ae_emirates_id(text: &str) -> bool {
    exactly::<15>(text)
        .is_some_and(|id| id[..3] == [7, 8, 4] && (1900..=2040).contains(&number(&id[3..7])) && luhn_sum(&id).is_multiple_of(10))
}

/// Saudi identity number: 1 for a citizen, 2 for a resident, Luhn (Ministry of Interior).
pub(crate) fn sa_national_id(text: &str) -> bool {
    exactly::<10>(text).is_some_and(|id| matches!(id[0], 1 | 2) && !repeated(&id[1..]) && luhn_sum(&id).is_multiple_of(10))
}

/// Iranian national code: weights 10 to 2, mod 11; the rest itself below two, else 11 less it (National Organization for Civil
/// Registration).
pub(crate) fn ir_national_code(text: &str) -> bool {
    exactly::<10>(text).is_some_and(|code| {
        let rest = weighted(&code[..9], &[10, 9, 8, 7, 6, 5, 4, 3, 2]) % 11;
        !repeated(&code) && (if rest < 2 { rest } else { 11 - rest }) == code[9]
    })
}

/// Egyptian national number: century (2 or 3), date of birth, governorate (Civil Status Organization).
pub(crate) fn eg_national_id(text: &str) -> bool {
    egyptian(text).is_some()
}

/// Egyptian national number with the check digit that is in use, weights 2 7 6 5 4 3 2 7 6 5 4 3 2, mod 11; the issuer publishes none.
pub(crate) fn eg_national_id_digit(text: &str) -> bool {
    egyptian(text).is_some_and(|id| (11 - weighted(&id[..13], &[2, 7, 6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11) % 10 == id[13])
}

fn egyptian(text: &str) -> Option<[u32; 14]> {
    let id = exactly::<14>(text)?;
    let century = match id[0] {
        2 => 1900,
        3 => 2000,
        _ => return None,
    };
    let dated = calendar(century + number(&id[1..3]), number(&id[3..5]), number(&id[5..7]));
    (dated && matches!(number(&id[7..9]), 1..=4 | 11..=19 | 21..=29 | 31..=35 | 88)).then_some(id)
}

/// Nigerian identity number: eleven digits, Verhoeff (National Identity Management Commission).
pub(crate) fn ng_nin(text: &str) -> bool {
    exactly::<11>(text).is_some_and(|nin| !repeated(&nin) && verhoeff(text))
}

/// Kuwaiti civil number: century, date of birth, weights 2 1 6 3 7 9 10 5 8 4 2, 11 less the sum mod 11 (Public Authority for Civil
/// Information).
pub(crate) fn kw_civil_id(text: &str) -> bool {
    exactly::<12>(text).is_some_and(|id| {
        let century = 1700 + 100 * id[0];
        matches!(id[0], 1..=3)
            && calendar(century + number(&id[1..3]), number(&id[3..5]), number(&id[5..7]))
            && 11 - weighted(&id[..11], &[2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2]) % 11 == id[11]
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::passes;

    #[test]
    fn published_numbers_pass_and_their_neighbours_do_not() {
        passes(tr_national_id, &["10000000146"], &["10000000147", "1000000014"]);
        passes(za_id_number, &["8001015009087"], &["8001015009086", "8013015009082", "800101500908"]);
        passes(il_id_number, &["123456782"], &["123456783"]);
        passes(ae_emirates_id, &["784-1987-1234567-1"], &["784-1987-1234567-3", "785-1987-1234567-0", "784-1787-1234567-3"]);
        passes(sa_national_id, &["1058529940"], &["1058529941", "3058529946"]);
        passes(ir_national_code, &["0499370899", "0790419904"], &["0499370898", "1111111111"]);
        passes(ng_nin, &["12345678902"], &["12345678903"]);
        passes(kw_civil_id, &["285010100015"], &["285010100018", "285130100015"]);
    }

    #[test]
    fn an_egyptian_number_needs_a_day_and_a_governorate() {
        passes(eg_national_id, &["29001011234567", "30002290112345"], &["29002301234567", "29001015034567", "19001011234567"]);
        passes(eg_national_id_digit, &["29001011234564"], &["29001011234568"]);
    }

    #[test]
    fn a_turkish_plate_is_no_date_and_no_size() {
        passes(
            tr_license_plate,
            &["34 ABC 123", "06-AB-1234", "81 Z 99999"],
            &["82 ABC 123", "00 AB 1234", "06 JAN 24", "16 GB 2400", "34 AXB 12"],
        );
    }
}
