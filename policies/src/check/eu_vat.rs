//! The VAT numbers of the European Union, country by country (European Commission, "VIES: structure and check of VAT identification numbers").

use crate::check::Check;
use crate::check::arithmetic::{alphanumerics, digits, iso7064_mod11_10, luhn, mod11, number, repeated, weighted};
use crate::check::{europe_east, europe_north, europe_west};

/// Name and check, for `check:` in a pack.
pub(super) const CHECKS: &[(&str, Check)] = &[("eu_vat", eu_vat)];

/// VAT number with its country in front. Germany and Italy have rules of their own; XI is Northern Ireland.
fn eu_vat(text: &str) -> bool {
    let vat = alphanumerics(text);
    let Some((country, vat)) = vat.split_at_checked(2) else { return false };
    // Only ASCII letters and digits are left.
    let Ok(body) = std::str::from_utf8(vat) else { return false };
    let figures = digits(body);
    let plain = figures.len() == vat.len();
    if !figures.is_empty() && repeated(&figures) {
        return false;
    }
    match country {
        b"AT" => vat.len() == 9 && vat[0] == b'U' && figures.len() == 8 && austria(&figures),
        b"BE" => plain && figures.len() == 10 && figures[0] < 2 && 97 - number(&figures[..8]) % 97 == number(&figures[8..]),
        b"BG" => plain && bulgaria(&figures),
        b"CY" => cyprus(vat),
        b"CZ" => plain && (czechia(&figures) || europe_east::cz_rc(body)),
        b"DK" => plain && figures.len() == 8 && figures[0] != 0 && weighted(&figures, &[2, 7, 6, 5, 4, 3, 2, 1]).is_multiple_of(11),
        b"EE" => plain && figures.len() == 9 && weighted(&figures, &[3, 7, 1, 3, 7, 1, 3, 7, 1]).is_multiple_of(10),
        b"EL" | b"GR" => plain && europe_east::gr_afm(body),
        b"ES" => europe_west::es_nif(body) || europe_west::es_nie(body) || europe_west::es_cif(body),
        b"FI" => plain && figures.len() == 8 && weighted(&figures, &[7, 9, 10, 5, 8, 4, 2, 1]).is_multiple_of(11),
        b"FR" => france(vat, body),
        b"HR" => plain && figures.len() == 11 && iso7064_mod11_10(body),
        b"HU" => plain && figures.len() == 8 && weighted(&figures, &[9, 7, 3, 1, 9, 7, 3, 1]).is_multiple_of(10),
        b"IE" => europe_west::ie_pps(body),
        b"LT" => plain && lithuania(&figures),
        b"LU" => plain && figures.len() == 8 && number(&figures[..6]) % 89 == number(&figures[6..]),
        b"LV" => plain && figures.len() == 11 && latvia(&figures, body),
        b"MT" => plain && figures.len() == 8 && figures[0] != 0 && weighted(&figures, &[3, 4, 6, 7, 8, 9, 10, 1]).is_multiple_of(37),
        b"NL" => netherlands(vat, body),
        b"PL" => plain && europe_east::pl_nip(body),
        b"PT" => plain && europe_west::pt_nif(body),
        b"RO" => plain && romania(&figures),
        b"SE" => plain && figures.len() == 12 && body.ends_with("01") && luhn(&body[..10]),
        b"SI" => plain && figures.len() == 8 && slovenia(&figures),
        b"SK" => plain && figures.len() == 10 && figures[0] != 0 && matches!(figures[2], 2..=4 | 7..=9) && remainder(&figures, 11) == 0,
        b"XI" => plain && figures.len() == 9 && matches!(weighted(&figures, &[8, 7, 6, 5, 4, 3, 2, 10, 1]) % 97, 0 | 42),
        _ => false,
    }
}

/// Returns the rest of a long number.
fn remainder(digits: &[u32], divisor: u32) -> u32 {
    digits.iter().fold(0, |rest, digit| (rest * 10 + digit) % divisor)
}

fn austria(vat: &[u32]) -> bool {
    let doubled = |digit: u32| digit * 2 / 10 + digit * 2 % 10;
    let sum: u32 = vat[..7].iter().enumerate().map(|(i, &digit)| if i % 2 == 0 { digit } else { doubled(digit) }).sum();
    (10 - (sum + 4) % 10) % 10 == vat[7]
}

fn bulgaria(vat: &[u32]) -> bool {
    match vat.len() {
        9 => {
            let check = match weighted(&vat[..8], &[1, 2, 3, 4, 5, 6, 7, 8]) % 11 {
                10 => weighted(&vat[..8], &[3, 4, 5, 6, 7, 8, 9, 10]) % 11 % 10,
                rest => rest,
            };
            check == vat[8]
        }
        10 => {
            let foreigner = weighted(&vat[..9], &[21, 19, 17, 13, 11, 9, 7, 3, 1]) % 10 == vat[9];
            europe_east::egn(vat) || foreigner || mod11(vat, &[4, 3, 2, 7, 6, 5, 4, 3, 2], None)
        }
        _ => false,
    }
}

fn cyprus(vat: &[u8]) -> bool {
    const ODD: [u32; 10] = [1, 0, 5, 7, 9, 13, 15, 17, 19, 21];
    let Some((letter, body)) = vat.split_last() else { return false };
    if body.len() != 8 || !body.iter().all(u8::is_ascii_digit) || !letter.is_ascii_uppercase() || body.starts_with(b"12") {
        return false;
    }
    let value = |byte: u8| usize::from(byte - b'0');
    let sum: u32 = body.iter().enumerate().map(|(i, &byte)| if i % 2 == 0 { ODD[value(byte)] } else { value(byte) as u32 }).sum();
    sum % 26 == u32::from(letter - b'A')
}

fn czechia(vat: &[u32]) -> bool {
    vat.len() == 8 && vat[0] != 9 && {
        let check = (11 - weighted(&vat[..7], &[8, 7, 6, 5, 4, 3, 2]) % 11) % 11;
        (if check == 0 { 1 } else { check }) % 10 == vat[7]
    }
}

/// Two digits are a key modulo 97; with a letter among them they are a number to base 34, kept modulo 11.
fn france(vat: &[u8], body: &str) -> bool {
    let place = |byte: u8| b"0123456789ABCDEFGHJKLMNPQRSTUVWXYZ".iter().position(|&known| known == byte).map(|at| at as u32);
    let Some((a, b)) = vat.first().and_then(|&a| place(a)).zip(vat.get(1).and_then(|&b| place(b))) else { return false };
    if vat.len() != 11 || !vat[2..].iter().all(u8::is_ascii_digit) || !luhn(&body[2..]) {
        return false;
    }
    let siren = number(&digits(&body[2..]));
    match (a, b) {
        (0..10, 0..10) => (12 + 3 * (siren % 97)) % 97 == a * 10 + b,
        (0..10, _) => lettered_key(siren, a * 24 + b - 10),
        _ => (a * 34 + b).checked_sub(100).is_some_and(|key| lettered_key(siren, key)),
    }
}

fn lettered_key(siren: u32, key: u32) -> bool {
    (siren % 11 + 1 + key / 11) % 11 == key % 11
}

fn lithuania(vat: &[u32]) -> bool {
    let (length, place) = (vat.len(), vat.len().saturating_sub(2));
    let sum = |first: u32| (0..length - 1).map(|i| (1 + (first + i as u32) % 9) * vat[i]).sum::<u32>() % 11;
    matches!(length, 9 | 12) && vat[place] == 1 && (if sum(0) == 10 { sum(2) % 10 } else { sum(0) }) == vat[length - 1]
}

/// A citizen service number and B01 to B99, or, since 2020, ISO 7064 MOD 97-10 over the whole.
fn netherlands(vat: &[u8], body: &str) -> bool {
    if vat.len() != 12 || vat[9] != b'B' || digits(body).len() != 11 || body.ends_with("00") {
        return false;
    }
    // N, L and B are 23, 21 and 11.
    let whole = vat.iter().fold(2321, |rest, &byte| match byte {
        b'B' => (rest * 100 + 11) % 97,
        digit => (rest * 10 + u32::from(digit - b'0')) % 97,
    });
    europe_west::nl_bsn(&body[..9]) || whole == 1
}

/// A company, or a person's code.
fn latvia(vat: &[u32], body: &str) -> bool {
    match vat[0] {
        4.. => weighted(vat, &[9, 1, 4, 8, 3, 10, 2, 5, 7, 6, 1]) % 11 == 3,
        _ => europe_north::lv_personal_code(body),
    }
}

fn slovenia(vat: &[u32]) -> bool {
    vat[0] != 0 && !weighted(vat, &[8, 7, 6, 5, 4, 3, 2]).is_multiple_of(11) && mod11(vat, &[8, 7, 6, 5, 4, 3, 2], Some(0))
}

fn romania(vat: &[u32]) -> bool {
    const WEIGHTS: [u32; 9] = [7, 5, 3, 2, 1, 7, 5, 3, 2];
    let Some((&check, body)) = vat.split_last() else { return false };
    (1..=9).contains(&body.len()) && vat[0] != 0 && weighted(body, &WEIGHTS[9 - body.len()..]) * 10 % 11 % 10 == check
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::passes;

    #[test]
    fn every_country_has_its_own_check() {
        let yes = [
            "ATU13585627",
            "BE0403019261",
            "BE 0428.759.497",
            "BG175074752",
            "CY10259033P",
            "CZ25123891",
            "CZ7103192745",
            "DK13585628",
            "EE100931558",
            "EL094259216",
            "ESA28015865",
            "ES54362315K",
            "FI20774740",
            "FR40303265045",
            "HR33392005961",
            "HU12892312",
            "IE6433435F",
            "LT119511515",
            "LU15027442",
            "LV40003521600",
            "MT11679112",
            "NL004495445B01",
            "PL8567346215",
            "PT501964843",
            "RO18547290",
            "SE556188840401",
            "SI50223054",
            "SK2022749619",
        ];
        let no = [
            "ATU13585626",
            "BE0403019262",
            "BG175074753",
            "CY10259033Q",
            "CZ25123892",
            "DK13585627",
            "EE100931557",
            "EL094259217",
            "ESA28015866",
            "FI20774741",
            "FR41303265045",
            "HR33392005960",
            "HU12892313",
            "IE6433435E",
            "LT119511516",
            "LU15027443",
            "LV40003521601",
            "MT11679113",
            "NL123456789B90",
            "PL8567346216",
            "PT501964844",
            "RO18547291",
            "SE556188840402",
            "SI50223055",
            "SK2022749618",
            "DE136695976",
            "ZZ123456789",
            "RO0",
            "LT1",
            "AT",
            "NL000000000B00",
        ];
        passes(eu_vat, &yes, &no);
    }
}
