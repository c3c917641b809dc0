//! Checks of the numbers of western and southern Europe.

use crate::check::Check;
use crate::check::arithmetic::{alphanumerics, calendar, digits, exactly, luhn, luhn_sum, mod11, number, repeated, weighted};
use crate::check::europe_east::pl_pesel;

/// Name and check, for `check:` in a pack.
pub(super) const CHECKS: &[(&str, Check)] = &[
    ("es_nif", es_nif),
    ("es_nie", es_nie),
    ("es_cif", es_cif),
    ("it_fiscal_code", it_fiscal_code),
    ("it_vat", it_vat),
    ("fr_nir", fr_nir),
    ("fr_siren", fr_siren),
    ("fr_siret", fr_siret),
    ("nl_bsn", nl_bsn),
    ("be_nn", be_nn),
    ("be_nn_bare", be_nn_bare),
    ("pt_nif", pt_nif),
    ("ch_ahv", ch_ahv),
    ("at_svnr", at_svnr),
    ("ie_pps", ie_pps),
];

/// The letter of a number modulo 23 (Real Decreto 1553/2005, art. 11).
fn spanish_letter(digits: &[u32]) -> u8 {
    b"TRWAGMYFPDXBNJZSQVHLCKE"[(number(digits) % 23) as usize]
}

/// Spanish NIF of a person: seven or eight digits of the DNI, or K, L, M and seven digits, with the letter modulo 23 behind.
pub(super) fn es_nif(text: &str) -> bool {
    let nif = alphanumerics(text);
    let [first, middle @ .., letter] = nif.as_slice() else { return false };
    let figures = digits(text);
    let body = figures.len() == nif.len() - 1 && matches!(figures.len(), 7 | 8);
    let foreign = b"KLM".contains(first) && figures.len() == 7 && middle.len() == 7;
    (body || foreign) && !repeated_zero(&figures) && letter.is_ascii_alphabetic() && spanish_letter(&figures) == *letter
}

fn repeated_zero(digits: &[u32]) -> bool {
    digits.iter().all(|&digit| digit == 0)
}

/// Spanish number of a foreigner: X, Y, Z count as 0, 1, 2 before seven digits, letter modulo 23 (Orden INT/2058/2008).
pub(super) fn es_nie(text: &str) -> bool {
    let nie = alphanumerics(text);
    let [first @ b'X'..=b'Z', _, .., letter] = nie.as_slice() else { return false };
    let mut figures = digits(text);
    let shape = nie.len() == 9 && figures.len() == 7 && letter.is_ascii_alphabetic();
    figures.insert(0, u32::from(first - b'X'));
    shape && spanish_letter(&figures) == *letter
}

/// Spanish NIF of a company, the former CIF: kind, seven digits, control digit or letter (Orden EHA/451/2008).
pub(super) fn es_cif(text: &str) -> bool {
    let cif = alphanumerics(text);
    let [kind, _, _, _, _, _, _, _, control] = cif.as_slice() else { return false };
    let Ok(figures) = <[u32; 7]>::try_from(digits(text).get(..7).unwrap_or_default()) else { return false };
    if !cif[1..8].iter().all(u8::is_ascii_digit) || repeated(&figures) {
        return false;
    }
    let doubled = |digit: u32| digit * 2 / 10 + digit * 2 % 10;
    let sum: u32 = figures.iter().enumerate().map(|(i, &digit)| if i % 2 == 0 { doubled(digit) } else { digit }).sum();
    let check = ((10 - sum % 10) % 10) as usize;
    let (digit, letter) = (*control == b'0' + check as u8, *control == b"JABCDEFGHI"[check]);
    match kind {
        b'A' | b'B' | b'E' | b'H' => digit,
        b'P' | b'Q' | b'S' => letter,
        b'C' | b'D' | b'F' | b'G' | b'J' | b'N' | b'R' | b'U' | b'V' | b'W' => digit || letter,
        _ => false,
    }
}

/// Italian codice fiscale: control letter by odd and even tables, mod 26 (D.M. 23.12.1976). Digits may have become letters where two
/// persons would share a code (omocodia, art. 6).
fn it_fiscal_code(text: &str) -> bool {
    const ODD: [u32; 26] = [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];
    let code = alphanumerics(text);
    if code.len() != 16 || !code[15].is_ascii_uppercase() {
        return false;
    }
    let digit = |place: usize| match code[place] {
        byte @ b'0'..=b'9' => Some(u32::from(byte - b'0')),
        byte => b"LMNPQRSTUV".iter().position(|&known| known == byte).map(|digit| digit as u32),
    };
    let day = digit(9).zip(digit(10)).map(|(tens, ones)| tens * 10 + ones);
    let day = day.map(|day| if day > 40 { day - 40 } else { day });
    let month = b"ABCDEHLMPRST".iter().position(|&known| known == code[8]);
    let Some((day, month)) = day.zip(month) else { return false };
    let placed = [6, 7, 12, 13, 14].into_iter().all(|place| digit(place).is_some());
    let figures = code.iter().filter(|byte| byte.is_ascii_digit()).count();
    let sum: u32 = code[..15]
        .iter()
        .enumerate()
        .map(|(i, &byte)| {
            let value = if byte.is_ascii_digit() { byte - b'0' } else { byte - b'A' };
            if i % 2 == 0 { ODD[usize::from(value)] } else { u32::from(value) }
        })
        .sum();
    placed && figures > 0 && calendar(2000, month as u32 + 1, day) && u32::from(code[15] - b'A') == sum % 26
}

/// Italian VAT number: Luhn, and the digits 8 to 10 name the office of a province (D.P.R. 633/72 art. 35).
fn it_vat(text: &str) -> bool {
    exactly::<11>(text).is_some_and(|vat| {
        let office = number(&vat[7..10]);
        (matches!(office, 1..=100 | 120 | 121 | 888 | 999)) && !repeated_zero(&vat[..7]) && luhn(text)
    })
}

/// French NIR: key is 97 less the number mod 97, Corsica's 2A and 2B count as 19 and 18 (INSEE; Décret 82-103).
fn fr_nir(text: &str) -> bool {
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

/// French SIREN: nine digits by Luhn (INSEE; ISO/IEC 7812-1).
fn fr_siren(text: &str) -> bool {
    exactly::<9>(text).is_some() && luhn(text)
}

/// French SIRET: a SIREN and five digits, Luhn over all; those of La Poste (SIREN 356000000) sum up to a multiple of five instead.
fn fr_siret(text: &str) -> bool {
    exactly::<14>(text).is_some_and(|siret| {
        let post = number(&siret[..9]) == 356_000_000 && siret.iter().sum::<u32>().is_multiple_of(5);
        luhn_sum(&siret[..9]).is_multiple_of(10) && (post || luhn_sum(&siret).is_multiple_of(10)) && !repeated_zero(&siret[..9])
    })
}

/// Dutch BSN: the eleven test, last digit weighted -1 (Wet algemene bepalingen burgerservicenummer).
pub(super) fn nl_bsn(text: &str) -> bool {
    exactly::<9>(text).is_some_and(|bsn| {
        let sum = weighted(&bsn[..8], &[9, 8, 7, 6, 5, 4, 3, 2]);
        !repeated(&bsn) && sum % 11 == bsn[8]
    })
}

/// Belgian national number: 97 less the first nine digits mod 97, a 2 in front for births since 2000 (Arrêté royal 3 April 1984). A bis
/// number adds 20 or 40 to the month.
fn be_nn(text: &str) -> bool {
    exactly::<11>(text).is_some_and(|nn| {
        let (body, check) = (u64::from(number(&nn[..9])), u64::from(number(&nn[9..])));
        let key = |n: u64| 97 - n % 97;
        let (month, day) = (number(&nn[2..4]), number(&nn[4..6]));
        month < 53 && month % 20 <= 12 && day <= 31 && body != 0 && (key(body) == check || key(2_000_000_000 + body) == check)
    })
}

/// The same where no word announces it: what is a Polish PESEL as well is left to that.
fn be_nn_bare(text: &str) -> bool {
    be_nn(text) && !pl_pesel(text)
}

/// Portuguese NIF: weights 9 to 2, mod 11 (Decreto-Lei 14/2013).
pub(super) fn pt_nif(text: &str) -> bool {
    exactly::<9>(text).is_some_and(|nif| {
        let kind = matches!(nif[0], 1..=3 | 5..=9) || nif[..2] == [4, 5];
        kind && !repeated(&nif) && mod11(&nif, &[9, 8, 7, 6, 5, 4, 3, 2], Some(0))
    })
}

/// Swiss AHV number: 756 and an EAN-13 check digit (AHVV art. 133; GS1).
fn ch_ahv(text: &str) -> bool {
    exactly::<13>(text)
        .is_some_and(|ahv| number(&ahv[..3]) == 756 && weighted(&ahv, &[1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1]).is_multiple_of(10))
}

/// Austrian social insurance number: weights 3 7 9 - 5 8 4 2 1 6 mod 11, the check digit in fourth place, birth date behind it; months 13
/// to 15 stand for a day that has run out of numbers (Dachverband der Sozialversicherungsträger).
fn at_svnr(text: &str) -> bool {
    exactly::<10>(text).is_some_and(|svnr| {
        let rest = weighted(&svnr, &[3, 7, 9, 0, 5, 8, 4, 2, 1, 6]) % 11;
        let (day, month) = (number(&svnr[4..6]), number(&svnr[6..8]));
        let dated = calendar(2000, month, day) || ((13..=15).contains(&month) && (1..=31).contains(&day));
        svnr[0] != 0 && dated && rest == svnr[3]
    })
}

/// Irish PPS number: weights 8 to 2, and 9 for a second letter, mod 23, W is nought (Department of Social Protection).
pub(super) fn ie_pps(text: &str) -> bool {
    let pps = alphanumerics(text);
    let figures = digits(text);
    let (length, letters) = (pps.len(), pps.get(7..).unwrap_or_default());
    if !matches!(length, 8 | 9) || figures.len() != 7 || !letters.iter().all(u8::is_ascii_uppercase) {
        return false;
    }
    let second = match letters.get(1) {
        None | Some(b'W') => 0,
        Some(letter @ b'A'..=b'I') => u32::from(letter - b'A') + 1,
        Some(b'T' | b'X') if repeated(&figures) => return false,
        // Spouses used to be given their partner's number with W, T or X.
        Some(b'T' | b'X') => 0,
        Some(_) => return false,
    };
    let rest = (weighted(&figures, &[8, 7, 6, 5, 4, 3, 2]) + 9 * second) % 23;
    !repeated_zero(&figures) && b"WABCDEFGHIJKLMNOPQRSTUV"[rest as usize] == letters[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::passes;

    #[test]
    fn published_numbers_pass_and_their_neighbours_do_not() {
        passes(es_nif, &["12345678Z", "1234567L", "54362315-K"], &["12345678A", "X1234567L", "123456L", "00000000T"]);
        passes(es_nie, &["X1234567L", "X-2482300-W", "Z8078221M"], &["X1234567M", "W1234567L", "12345678Z", "X123456L"]);
        passes(es_cif, &["A28015865", "B58378431", "Q2818029G"], &["A28015866", "A2801586E", "Q28180297", "Z28015865"]);
        passes(it_fiscal_code, &["RSSMRA85T10A562S"], &["RSSMRA85T10A562T", "RSSMRA85F10A562S"]);
        passes(it_vat, &["00743110157"], &["00743110158", "00743111056", "0074311015"]);
        passes(fr_nir, &["2 55 08 14 168 025 38"], &["2 55 08 14 168 025 39", "5 55 08 14 168 025 38"]);
        passes(fr_siren, &["732 829 320", "404833048"], &["732829321"]);
        passes(fr_siret, &["73282932000074", "35600000049837", "356 000 000 00048"], &["73282932000075", "35600000049838"]);
        passes(nl_bsn, &["111222333"], &["111222334"]);
        passes(be_nn, &["85.07.30-033 28"], &["85.07.30-033 29", "85.57.30-033 28"]);
        passes(be_nn_bare, &["85073003328"], &["85073003329"]);
        passes(pt_nif, &["501442600"], &["501442601", "401442600"]);
        passes(ch_ahv, &["756.9217.0769.85"], &["756.9217.0769.84"]);
        passes(at_svnr, &["1237 010180"], &["1238 010180", "1237 320180"]);
        passes(ie_pps, &["6433435F", "6433435OA", "1234567TW"], &["6433435E", "6433435OB", "643343F"]);
    }
}
