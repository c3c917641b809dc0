//! Checks of numbers that belong to no country: cards, accounts, dates, devices, vehicles.

use crate::check::Check;
use crate::check::arithmetic::{alphanumerics, calendar, digits, luhn, repeated, weighted};

/// Name and check, for `check:` in a pack.
pub(super) const CHECKS: &[(&str, Check)] = &[("card", card), ("mod97", iban), ("date", date), ("imei", imei), ("vin", vin)];

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
