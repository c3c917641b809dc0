//! The checks a rule may name: arithmetic and structure that tell a real number from digits that only look like one.

use crate::check_europe as europe;
use crate::check_national as national;
use crate::check_token as token;

/// A check: true when the text may be what the rule says it is. Separators are the check's own business.
pub(crate) type Check = fn(&str) -> bool;

/// Returns the check of that name.
pub(crate) fn by_name(name: &str) -> Option<Check> {
    CHECKS.iter().find(|(known, _)| *known == name).map(|&(_, check)| check)
}

/// Returns all names, for an error's hint.
pub(crate) fn names() -> String {
    let names: Vec<&str> = CHECKS.iter().map(|&(name, _)| name).collect();
    names.join(", ")
}

const CHECKS: &[(&str, Check)] = &[
    ("luhn", luhn),
    ("card", card),
    ("mod97", iban),
    ("verhoeff", verhoeff),
    ("iso7064_mod11_10", iso7064_mod11_10),
    ("iso7064_mod11_2", iso7064_mod11_2),
    ("date", date),
    ("imei", imei),
    ("vin", vin),
    ("cn_resident_id", national::cn_resident_id),
    ("cn_uscc", national::cn_uscc),
    ("us_ssn", national::us_ssn),
    ("us_itin", national::us_itin),
    ("aba_routing", national::aba_routing),
    ("us_npi", national::us_npi),
    ("us_dea", national::us_dea),
    ("uk_nhs", europe::uk_nhs),
    ("uk_nino", europe::uk_nino),
    ("es_nif", europe::es_nif),
    ("it_fiscal_code", europe::it_fiscal_code),
    ("it_vat", luhn),
    ("pl_pesel", europe::pl_pesel),
    ("fr_nir", europe::fr_nir),
    ("nl_bsn", europe::nl_bsn),
    ("be_nn", europe::be_nn),
    ("pt_nif", europe::pt_nif),
    ("fi_hetu", europe::fi_hetu),
    ("se_personnummer", europe::se_personnummer),
    ("dk_cpr", europe::dk_cpr),
    ("no_fnr", europe::no_fnr),
    ("ch_ahv", europe::ch_ahv),
    ("ro_cnp", europe::ro_cnp),
    ("de_tax_id", europe::de_tax_id),
    ("ca_sin", national::ca_sin),
    ("br_cpf", national::br_cpf),
    ("br_cnpj", national::br_cnpj),
    ("cl_rut", national::cl_rut),
    ("ar_cuit", national::ar_cuit),
    ("mx_curp", national::mx_curp),
    ("au_tfn", national::au_tfn),
    ("au_abn", national::au_abn),
    ("au_acn", national::au_acn),
    ("au_medicare", national::au_medicare),
    ("sg_nric", national::sg_nric),
    ("kr_rrn", national::kr_rrn),
    ("kr_brn", national::kr_brn),
    ("jp_my_number", national::jp_my_number),
    ("in_aadhaar", national::in_aadhaar),
    ("in_pan", national::in_pan),
    ("in_gstin", national::in_gstin),
    ("tw_id", national::tw_id),
    ("hk_hkid", national::hk_hkid),
    ("tr_tckn", national::tr_tckn),
    ("th_tnin", national::th_tnin),
    ("za_id", europe::za_id),
    ("il_id", national::il_id),
    ("ru_inn", europe::ru_inn),
    ("ipv4", token::ipv4),
    ("ipv6", token::ipv6),
    ("ip_public", token::ip_public),
    ("mac", token::mac),
    ("jwt", token::jwt),
    ("github_token", token::github_token),
    ("base64", token::base64),
    ("bitcoin", token::bitcoin),
    ("base58check", token::base58check),
    ("uuid", token::uuid),
];

/// Returns the ASCII digits of `text` as numbers.
pub(crate) fn digits(text: &str) -> Vec<u32> {
    text.bytes().filter(u8::is_ascii_digit).map(|b| u32::from(b - b'0')).collect()
}

/// Returns the ASCII letters and digits of `text`, letters in capitals.
pub(crate) fn alphanumerics(text: &str) -> Vec<u8> {
    text.bytes().filter(u8::is_ascii_alphanumeric).map(|b| b.to_ascii_uppercase()).collect()
}

/// Sums `digits` multiplied by `weights`, pair by pair.
pub(crate) fn weighted(digits: &[u32], weights: &[u32]) -> u32 {
    digits.iter().zip(weights).map(|(digit, weight)| digit * weight).sum()
}

/// Luhn's mod 10 check digit (ISO/IEC 7812-1 annex B). Numbers of one repeated digit fail.
pub(crate) fn luhn(text: &str) -> bool {
    let digits = digits(text);
    digits.len() >= 2 && !repeated(&digits) && luhn_sum(&digits).is_multiple_of(10)
}

/// Payment card number: ISO/IEC 7812 length for its first digits, and Luhn.
fn card(text: &str) -> bool {
    let digits = digits(text);
    let head = digits.iter().take(2).fold(0, |head, digit| head * 10 + digit);
    let length = match head {
        34 | 37 => 15..=15,
        30 | 36 | 38 | 39 => 14..=19,
        50 | 56..=59 | 61 | 63 | 66..=69 => 12..=19,
        62 => 16..=19,
        40..=49 => 13..=19,
        20..=29 | 35 | 51..=55 | 60 | 64 | 65 => 16..=19,
        _ => return false,
    };
    length.contains(&digits.len()) && luhn(text)
}

/// Returns the Luhn sum of digits, the check digit included.
pub(crate) fn luhn_sum(digits: &[u32]) -> u32 {
    let doubled = |digit: u32| if digit > 4 { 2 * digit - 9 } else { 2 * digit };
    let pairs = digits.iter().rev().enumerate();
    pairs.map(|(i, &digit)| if i % 2 == 1 { doubled(digit) } else { digit }).sum()
}

/// Returns true for a number made of one digit only.
pub(crate) fn repeated(digits: &[u32]) -> bool {
    digits.windows(2).all(|pair| pair[0] == pair[1])
}

/// IBAN: ISO 13616 length per country, check digits by ISO 7064 MOD 97-10.
fn iban(text: &str) -> bool {
    let iban = alphanumerics(text);
    let Some(country) = iban.get(..2) else { return false };
    let length = IBAN_LENGTHS.iter().find(|(code, _)| code.as_bytes() == country);
    length.is_some_and(|&(_, length)| length == iban.len()) && {
        let rotated = iban[4..].iter().chain(&iban[..4]);
        let remainder = rotated.fold(0u32, |rest, &byte| match byte {
            b'0'..=b'9' => (rest * 10 + u32::from(byte - b'0')) % 97,
            _ => (rest * 100 + u32::from(byte - b'A') + 10) % 97,
        });
        remainder == 1
    }
}

/// Lengths from the SWIFT IBAN registry.
const IBAN_LENGTHS: &[(&str, usize)] = &[
    ("AD", 24),
    ("AE", 23),
    ("AL", 28),
    ("AT", 20),
    ("AZ", 28),
    ("BA", 20),
    ("BE", 16),
    ("BG", 22),
    ("BH", 22),
    ("BI", 27),
    ("BR", 29),
    ("BY", 28),
    ("CH", 21),
    ("CR", 22),
    ("CY", 28),
    ("CZ", 24),
    ("DE", 22),
    ("DJ", 27),
    ("DK", 18),
    ("DO", 28),
    ("EE", 20),
    ("EG", 29),
    ("ES", 24),
    ("FI", 18),
    ("FK", 18),
    ("FO", 18),
    ("FR", 27),
    ("GB", 22),
    ("GE", 22),
    ("GI", 23),
    ("GL", 18),
    ("GR", 27),
    ("GT", 28),
    ("HN", 28),
    ("HR", 21),
    ("HU", 28),
    ("IE", 22),
    ("IL", 23),
    ("IQ", 23),
    ("IS", 26),
    ("IT", 27),
    ("JO", 30),
    ("KW", 30),
    ("KZ", 20),
    ("LB", 28),
    ("LC", 32),
    ("LI", 21),
    ("LT", 20),
    ("LU", 20),
    ("LV", 21),
    ("LY", 25),
    ("MC", 27),
    ("MD", 24),
    ("ME", 22),
    ("MK", 19),
    ("MN", 20),
    ("MR", 27),
    ("MT", 31),
    ("MU", 30),
    ("NI", 28),
    ("NL", 18),
    ("NO", 15),
    ("OM", 23),
    ("PK", 24),
    ("PL", 28),
    ("PS", 29),
    ("PT", 25),
    ("QA", 29),
    ("RO", 24),
    ("RS", 22),
    ("RU", 33),
    ("SA", 24),
    ("SC", 31),
    ("SD", 18),
    ("SE", 24),
    ("SI", 19),
    ("SK", 24),
    ("SM", 27),
    ("SO", 23),
    ("ST", 25),
    ("SV", 28),
    ("TL", 23),
    ("TN", 24),
    ("TR", 26),
    ("UA", 29),
    ("VA", 22),
    ("VG", 24),
    ("XK", 20),
    ("YE", 30),
];

/// Verhoeff's check digit over the dihedral group D5 (J. Verhoeff, Error Detecting Decimal Codes, 1969).
pub(crate) fn verhoeff(text: &str) -> bool {
    const MULTIPLY: [[usize; 10]; 10] = [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        [1, 2, 3, 4, 0, 6, 7, 8, 9, 5],
        [2, 3, 4, 0, 1, 7, 8, 9, 5, 6],
        [3, 4, 0, 1, 2, 8, 9, 5, 6, 7],
        [4, 0, 1, 2, 3, 9, 5, 6, 7, 8],
        [5, 9, 8, 7, 6, 0, 4, 3, 2, 1],
        [6, 5, 9, 8, 7, 1, 0, 4, 3, 2],
        [7, 6, 5, 9, 8, 2, 1, 0, 4, 3],
        [8, 7, 6, 5, 9, 3, 2, 1, 0, 4],
        [9, 8, 7, 6, 5, 4, 3, 2, 1, 0],
    ];
    // The permutation applied once per place; its powers repeat after eight places.
    const PERMUTE: [usize; 10] = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4];
    let digits = digits(text);
    let mut sum = 0;
    for (place, &digit) in digits.iter().rev().enumerate() {
        let mut permuted = digit as usize;
        for _ in 0..place % 8 {
            permuted = PERMUTE[permuted];
        }
        sum = MULTIPLY[sum][permuted];
    }
    digits.len() >= 2 && sum == 0
}

/// ISO/IEC 7064 MOD 11,10 (hybrid system), check digit last.
pub(crate) fn iso7064_mod11_10(text: &str) -> bool {
    let digits = digits(text);
    let Some((&check, body)) = digits.split_last() else { return false };
    let product = body.iter().fold(10, |product, digit| {
        let sum = (product + digit) % 10;
        (if sum == 0 { 10 } else { sum }) * 2 % 11
    });
    !body.is_empty() && (11 - product) % 10 == check
}

/// ISO/IEC 7064 MOD 11-2 (pure system), check character last, X for ten.
pub(crate) fn iso7064_mod11_2(text: &str) -> bool {
    let characters = alphanumerics(text);
    let Some((&last, body)) = characters.split_last() else { return false };
    let check = match last {
        b'X' => 10,
        b'0'..=b'9' => u32::from(last - b'0'),
        _ => return false,
    };
    if body.is_empty() || !body.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let rest = body.iter().fold(0, |rest, byte| (rest + u32::from(byte - b'0')) * 2 % 11);
    (rest + check) % 11 == 1
}

/// A calendar date written year first or year last, any separators, or eight digits year first.
fn date(text: &str) -> bool {
    let parts: Vec<&str> = text.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty()).collect();
    let number = |part: &str| part.parse::<u32>().unwrap_or(0);
    match parts.as_slice() {
        [all] if all.len() == 8 => calendar(number(&all[..4]), number(&all[4..6]), number(&all[6..])),
        [first, second, third] if first.len() == 4 => calendar(number(first), number(second), number(third)),
        [first, second, third] if third.len() == 4 || third.len() == 2 => {
            let year = if third.len() == 4 { number(third) } else { 1900 + number(third) };
            let (a, b) = (number(first), number(second));
            calendar(year, b, a) || calendar(year, a, b)
        }
        _ => false,
    }
}

/// Returns true for a day that exists between 1850 and 2100 (Gregorian calendar).
pub(crate) fn calendar(year: u32, month: u32, day: u32) -> bool {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return false,
    };
    (1850..=2100).contains(&year) && (1..=days).contains(&day)
}

/// IMEI: fifteen digits with a Luhn check digit (3GPP TS 23.003, 6.2.1).
fn imei(text: &str) -> bool {
    digits(text).len() == 15 && luhn(text)
}

/// Vehicle identification number: ISO 3779, check digit in place nine (49 CFR 565.15).
fn vin(text: &str) -> bool {
    const WEIGHTS: [u32; 17] = [8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2];
    let vin = alphanumerics(text);
    let values: Option<Vec<u32>> = vin.iter().map(|&byte| vin_value(byte)).collect();
    let Some(values) = values.filter(|values| values.len() == 17) else { return false };
    let expected = match weighted(&values, &WEIGHTS) % 11 {
        10 => b'X',
        rest => b"0123456789"[rest as usize],
    };
    vin[8] == expected && !repeated(&values)
}

fn vin_value(byte: u8) -> Option<u32> {
    match byte {
        b'0'..=b'9' => Some(u32::from(byte - b'0')),
        b'A'..=b'H' => Some(u32::from(byte - b'A') + 1),
        b'J'..=b'N' => Some(u32::from(byte - b'J') + 1),
        b'P' => Some(7),
        b'R' => Some(9),
        b'S'..=b'Z' => Some(u32::from(byte - b'S') + 2),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn passes(name: &str, yes: &[&str], no: &[&str]) {
        let check = by_name(name).unwrap_or_else(|| panic!("no check {name}"));
        for text in yes {
            assert!(check(text), "{name} should accept {text}");
        }
        for text in no.iter().chain(&["", "0", "-", "中文"]) {
            assert!(!check(text), "{name} should refuse {text}");
        }
    }

    #[test]
    fn checks_accept_published_examples_and_refuse_their_neighbours() {
        passes("luhn", &["4111 1111 1111 1111", "79927398713"], &["4111111111111112", "0000000000000000"]);
        passes(
            "mod97",
            &["GB82 WEST 1234 5698 7654 32", "DE89370400440532013000", "NO9386011117947"],
            &["GB82 WEST 1234 5698 7654 33", "DE8937040044053201300", "ZZ82WEST12345698765432"],
        );
        passes("verhoeff", &["2363"], &["2364", "2633"]);
        passes("iso7064_mod11_10", &["02476291358", "136695976"], &["02476291359"]);
        passes("iso7064_mod11_2", &["0000000121032683", "079X"], &["0000000121032684", "0790"]);
        passes("date", &["1990-02-28", "28.02.1990", "02/28/1990", "20000229"], &["1990-02-30", "19000229"]);
        passes("imei", &["490154203237518"], &["490154203237519", "4111111111111111"]);
        passes("vin", &["1M8GDM9AXKP042788", "1HGCM82633A004352"], &["1M8GDM9A1KP042788", "1M8GDM9AXKP04278I"]);
    }

    #[test]
    fn no_check_panics_on_any_short_text() {
        let pieces = ["", "0", "9", "A", "Z", "-", "é", "中", "00000000000000000000", "ZZZZZZZZZZZZZZZZZZZZ", "1.2.3.", "e."];
        for (_, check) in CHECKS {
            for a in pieces {
                for b in pieces {
                    let _ = check(&format!("{a}{b}{a}"));
                }
            }
        }
    }
}
