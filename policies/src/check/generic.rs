//! Checks of numbers that belong to no country: cards, accounts, dates, devices, vehicles.

use crate::check::Check;
use crate::check::arithmetic::{alphanumerics, calendar, digits, luhn, repeated, weighted};

/// Name and check, for `check:` in a pack.
pub(super) const CHECKS: &[(&str, Check)] = &[
    ("card", card),
    ("mod97", iban),
    ("bic", bic),
    ("date", date),
    ("imei", imei),
    ("vin", vin),
    ("phone", phone),
    ("phone_international", phone_international),
    ("phone_nanp", phone_nanp),
    ("coordinates", coordinates),
];

/// Payment card number: ISO/IEC 7812 length for its first digits, and Luhn.
fn card(text: &str) -> bool {
    let digits = digits(text);
    let head = digits.iter().take(2).fold(0, |head, digit| head * 10 + digit);
    let length = match head {
        // Air travel (UATP); sixteen and more digits that begin with 1 are times.
        10..=19 => 15..=15,
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

/// A calendar date: year first or year last, any separators, the month as a number or a name, or eight digits year first. A time of
/// day may follow.
fn date(text: &str) -> bool {
    let parts: Vec<&str> = text.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty()).collect();
    let number = |part: &str| part.parse::<u32>().unwrap_or(0);
    // Two digits are a year of this century or the last.
    let exists = |year: &str, month: u32, day: u32| match year.len() {
        4 => calendar(number(year), month, day),
        2 => calendar(1900 + number(year), month, day) || calendar(2000 + number(year), month, day),
        _ => false,
    };
    if let Some(month) = named_month(text) {
        return match parts.as_slice() {
            [year] if year.len() == 4 => exists(year, month, 1),
            // No year: any that has the day.
            [day] => exists("2024", month, number(day)),
            [year, day] if year.len() == 4 => exists(year, month, number(day)),
            [day, year] | [day, year, _, _] | [day, year, _, _, _] => exists(year, month, number(day)),
            _ => false,
        };
    }
    match parts.as_slice() {
        [all] if all.len() == 8 => calendar(number(&all[..4]), number(&all[4..6]), number(&all[6..])),
        [month, year] if year.len() == 4 => exists(year, number(month), 1),
        [year, month] if year.len() == 4 => exists(year, number(month), 1),
        [first, second, third, time @ ..] if clock(time) => {
            if first.len() == 4 {
                return exists(first, number(second), number(third));
            }
            let (a, b) = (number(first), number(second));
            exists(third, b, a) || exists(third, a, b)
        }
        _ => false,
    }
}

/// True for hour, minute, second, fraction and time zone as far as they are given.
fn clock(parts: &[&str]) -> bool {
    let limits = [24, 59, 60];
    parts.len() != 1 && parts.iter().zip(limits).all(|(part, limit)| part.len() <= 2 && part.parse().is_ok_and(|value: u32| value <= limit))
}

/// Returns the month whose name, in one of seven languages, is a word of the text.
fn named_month(text: &str) -> Option<u32> {
    let mut words = text.split(|c: char| !c.is_alphabetic()).filter(|word| word.chars().count() >= 3);
    words.find_map(|word| {
        let word = word.to_lowercase();
        let names = |month: &&[&str]| month.iter().any(|name| *name == word || (name.chars().count() == 3 && word.starts_with(name)));
        MONTHS.iter().position(names).map(|at| at as u32 + 1)
    })
}

/// Months in English, German, French, Spanish, Italian, Portuguese and Dutch, accents on and off. Three letters stand for every word
/// that begins so.
const MONTHS: [&[&str]; 12] = [
    &["jan", "jän", "ene", "gen"],
    &["feb", "fév", "fev"],
    &["mar", "mär", "maa"],
    &["apr", "avr", "abr"],
    &["may", "mai", "mag", "mei"],
    &["jun", "juin", "giu"],
    &["jul", "juil", "juillet", "lug"],
    &["aug", "aoû", "aou", "ago"],
    &["sep", "set"],
    &["oct", "okt", "ott", "out"],
    &["nov"],
    &["dec", "dez", "déc", "dic"],
];

/// IMEI: fifteen digits with a Luhn check digit (3GPP TS 23.003, 6.2.1).
fn imei(text: &str) -> bool {
    digits(text).len() == 15 && luhn(text)
}

/// Vehicle identification number (ISO 3779). Place nine is a check digit in North America (49 CFR 565.15) and China (GB 16735); other
/// makers put there what they like.
fn vin(text: &str) -> bool {
    const WEIGHTS: [u32; 17] = [8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2];
    let vin = alphanumerics(text);
    let values: Option<Vec<u32>> = vin.iter().map(|&byte| vin_value(byte)).collect();
    let Some(values) = values.filter(|values| values.len() == 17) else { return false };
    let expected = match weighted(&values, &WEIGHTS) % 11 {
        10 => b'X',
        rest => b"0123456789"[rest as usize],
    };
    let is_checked = matches!(vin[0], b'1'..=b'5' | b'L');
    let is_mixed = vin.iter().any(u8::is_ascii_digit) && vin.iter().any(u8::is_ascii_alphabetic);
    (vin[8] == expected || !is_checked) && is_mixed && !repeated(&values)
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

/// Bank identifier (ISO 9362): four letters, a country (ISO 3166), two letters or digits, and three more or none.
fn bic(text: &str) -> bool {
    let bic = alphanumerics(text);
    matches!(bic.len(), 8 | 11)
        && bic.len() == text.len()
        && bic[..6].iter().all(u8::is_ascii_alphabetic)
        && COUNTRIES.as_bytes().chunks_exact(2).any(|country| *country == bic[4..6])
}

/// ISO 3166-1 alpha-2 codes, and XK for Kosovo as SWIFT uses it.
const COUNTRIES: &str = "ADAEAFAGAIALAMAOARATAUAWAZBABBBDBEBFBGBHBIBJBMBNBOBRBSBTBWBYBZCACDCFCGCHCICKCLCMCNCOCRCUCVCWCYCZDEDJDKDMDODZ\
ECEEEGERESETFIFJFKFMFOFRGAGBGDGEGFGGGHGIGLGMGNGPGQGRGTGUGWGYHKHNHRHTHUIDIEILIMINIQIRISITJEJMJOJPKEKGKHKIKMKNKPKRKWKYKZLALBLCLILKLRLSLTLULV\
LYMAMCMDMEMGMHMKMLMMMNMOMQMRMSMTMUMVMWMXMYMZNANCNENGNINLNONPNRNUNZOMPAPEPFPGPHPKPLPMPRPSPTPWPYQARERORSRURWSASBSCSDSESGSISKSLSMSNSOSRSTSVSX\
SYSZTCTDTGTHTJTLTMTNTOTRTTTVTWTZUAUGUSUYUZVAVCVEVGVIVNVUWFWSXKYEYTZAZMZW";

/// A subscriber number behind its name: seven to fifteen digits (E.164), not all alike, and not a date or a time stamp with dots or
/// hyphens.
fn phone(text: &str) -> bool {
    let digits = phone_digits(text);
    let is_date = text.starts_with(|c: char| c.is_ascii_digit()) && text.contains(['-', '.', '/']) && date(text);
    (7..=15).contains(&digits.len()) && !repeated(&digits) && !is_date
}

/// A number in international form: `+`, `00` or `011`, a country code of ITU-T E.164 and as many digits as that country's plan has.
fn phone_international(text: &str) -> bool {
    let digits = phone_digits(text);
    let digits = match (text.starts_with(['+', '(']), digits.as_slice()) {
        (true, digits) | (false, [0, 0, digits @ ..] | [0, 1, 1, digits @ ..]) => digits,
        _ => return false,
    };
    let (code, rest) = match digits {
        [1, rest @ ..] => return nanp(rest),
        [7, rest @ ..] => (7, rest),
        [a, b, rest @ ..] if COUNTRY_CODES.contains(&(a * 10 + b)) => (a * 10 + b, rest),
        [a, b, c, rest @ ..] => (a * 100 + b * 10 + c, rest),
        _ => return false,
    };
    let length = match code {
        45 | 47 | 65 | 852 | 853 | 502..=507 => 8..=8,
        33 | 34 | 40 | 41 | 48 | 351 | 56 | 93 | 94 | 251 | 254..=256 => 9..=9,
        52 => 10..=11,
        57 => 8..=10,
        7 | 30 | 58 | 90 | 91 | 98 => 10..=10,
        27 | 31 | 44 | 61 | 81 => 9..=10,
        86 => 9..=11,
        54 | 55 => 10..=11,
        49 | 43 | 39 => 6..=13,
        20 | 60 | 62..=64 | 82 | 84 | 92 | 95 => 8..=12,
        32 | 36 | 46 | 51 | 53 | 66 => 6..=10,
        211..=299 | 350..=389 | 420..=423 | 500..=509 | 590..=599 | 670..=692 | 850..=886 | 888 | 960..=998 => 6..=11,
        800 | 808 => 7..=12,
        _ => return false,
    };
    // A trunk zero in brackets, +44 (0)20, is no part of the number.
    let rest = if text.contains("(0)") { rest.strip_prefix(&[0]).unwrap_or(rest) } else { rest };
    length.contains(&rest.len()) && !repeated(rest)
}

/// Country codes of two digits (ITU-T E.164, list of assigned codes).
const COUNTRY_CODES: &[u32] = &[
    20, 27, 30, 31, 32, 33, 34, 36, 39, 40, 41, 43, 44, 45, 46, 47, 48, 49, 51, 52, 53, 54, 55, 56, 57, 58, 60, 61, 62, 63, 64, 65, 66, 81,
    82, 84, 86, 90, 91, 92, 93, 94, 95, 98,
];

/// A number of the North American plan, with or without its 1.
fn phone_nanp(text: &str) -> bool {
    match phone_digits(text).as_slice() {
        [1, rest @ ..] => nanp(rest),
        digits => nanp(digits),
    }
}

/// Area and exchange begin with 2 to 9, and no area code ends in 11 (NANPA, numbering resources).
fn nanp(digits: &[u32]) -> bool {
    matches!(digits, [2..=9, b, c, 2..=9, _, _, _, _, _, _] if (*b, *c) != (1, 1)) && !repeated(digits)
}

/// Returns the digits before an extension.
fn phone_digits(text: &str) -> Vec<u32> {
    let end = text.find(|c: char| c.is_alphabetic() || matches!(c, '#' | ',' | ';')).unwrap_or(text.len());
    digits(&text[..end])
}

/// Latitude and longitude in decimal degrees: within 90 and 180, and one of them past 9 so that pairs of fractions are none.
fn coordinates(text: &str) -> bool {
    let parts: Vec<f64> =
        text.split(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '-'))).filter_map(|part| part.parse().ok()).collect();
    matches!(parts.as_slice(), [latitude, longitude, ..]
        if latitude.abs() <= 90.0 && longitude.abs() <= 180.0 && latitude.abs().max(longitude.abs()) >= 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::passes;

    #[test]
    fn dates_exist_in_every_spelling() {
        let yes =
            ["2024-02-29", "29/02/2024", "1/15/24", "15 January 2024", "Feb 29, 2024", "3. März 2021", "15 de enero de 2024", "05/2024"];
        passes(date, &yes, &["2023-02-29", "31/04/2024", "2024-13-01", "30 February 2024", "2024-01-15 10", "1.2.3"]);
        passes(date, &["2024-01-15T12:30:45Z", "2024-01-15 12:30", "2024年1月15日", "15-Jan-2024"], &["2024-01-15 25:30:45"]);
    }

    #[test]
    fn phone_numbers_are_as_long_as_their_country_says() {
        let yes = ["+1 212 555 0123", "+44 (0)20 7946 0958", "0044 20 7946 0958", "+8613800138000", "+49 30 901820", "+852 2345 6789"];
        passes(phone_international, &yes, &["+1 112 555 0123", "+1 212 555 012", "+999 1234 5678", "+45 1234 567", "44 20 7946 0958"]);
        passes(phone_nanp, &["(212) 555-0123", "1-800-555-0199", "212.555.0123 x99"], &["212-155-0123", "911-555-0123", "212-555-012"]);
        passes(phone, &["555-0123", "0123 456789", "020 7946 0958"], &["2024-01-15", "123456", "1234567890123456", "0000000000"]);
    }

    #[test]
    fn a_bic_names_a_country_that_exists() {
        passes(bic, &["DEUTDEFF", "BNPAFRPPXXX", "chasus33"], &["PASSWORD", "DEUTDEF", "DEUTDEFFX", "DEU1DEFF"]);
    }

    #[test]
    fn coordinates_lie_on_the_globe() {
        passes(coordinates, &["40.7128, -74.0060", "-33.8688,151.2093"], &["91.0000, 10.0000", "0.1234, 0.5678", "40.7128"]);
    }

    #[test]
    fn only_some_vehicle_numbers_carry_a_check_digit() {
        passes(vin, &["1M8GDM9AXKP042788", "WVWZZZ1JZXW000001"], &["1M8GDM9A1KP042788", "WVWZZZ1JZXW00000I", "11111111111111111"]);
    }
}
