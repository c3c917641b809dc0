//! Checks of the numbers of the United Kingdom.

use crate::check::Check;
use crate::check::arithmetic::{alphanumerics, calendar, exactly, mod11, repeated, weighted};

/// Name and check, for `check:` in a pack.
pub(super) const CHECKS: &[(&str, Check)] = &[
    ("uk_nhs", uk_nhs),
    ("uk_nino", uk_nino),
    ("uk_utr", uk_utr),
    ("uk_driving_licence", uk_driving_licence),
    ("uk_postcode", uk_postcode),
    ("uk_vehicle_registration", uk_vehicle_registration),
];

/// NHS number: weights 10 to 2, mod 11 (NHS Data Dictionary).
fn uk_nhs(text: &str) -> bool {
    exactly::<10>(text).is_some_and(|nhs| !repeated(&nhs) && mod11(&nhs, &[10, 9, 8, 7, 6, 5, 4, 3, 2], None))
}

/// National insurance number: prefixes never allocated are refused (HMRC NIM39110).
pub(super) fn uk_nino(text: &str) -> bool {
    let nino = alphanumerics(text);
    let [a, b, rest @ ..] = nino.as_slice() else { return false };
    let barred = [b"BG", b"GB", b"NK", b"KN", b"TN", b"NT", b"ZZ"];
    matches!(rest.len(), 6 | 7)
        && a.is_ascii_alphabetic()
        && b.is_ascii_alphabetic()
        && rest[..6].iter().all(u8::is_ascii_digit)
        && rest.get(6).is_none_or(|last| matches!(last, b'A'..=b'D'))
        && !b"DFIQUV".contains(a)
        && !b"DFIQUVO".contains(b)
        && !barred.contains(&&[*a, *b])
}

/// Unique taxpayer reference: check digit in front, weights 6 7 8 9 10 5 4 3 2 mod 11 (HMRC specification of modulus checks).
fn uk_utr(text: &str) -> bool {
    const CHECKS: [u32; 11] = [2, 1, 9, 8, 7, 6, 5, 4, 3, 2, 1];
    exactly::<10>(text).is_some_and(|utr| {
        let rest = weighted(&utr[1..], &[6, 7, 8, 9, 10, 5, 4, 3, 2]) % 11;
        !repeated(&utr) && CHECKS[rest as usize] == utr[0]
    })
}

/// Driver number (DVLA, INF45): five letters of the surname filled up with 9, birth date as decade, month (plus 50 for women), day and
/// year, two initials or 9, a digit, two letters.
fn uk_driving_licence(text: &str) -> bool {
    let number = alphanumerics(text);
    let Ok(number) = <[u8; 16]>::try_from(number) else { return false };
    let letters = number.iter().take(5).take_while(|byte| byte.is_ascii_alphabetic()).count();
    let middle = &number[5..11];
    if letters == 0 || number[letters..5].iter().any(|&byte| byte != b'9') || !middle.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let digit = |place: usize| u32::from(middle[place] - b'0');
    let (month, day) = (digit(1) * 10 + digit(2), digit(3) * 10 + digit(4));
    let month = if month > 50 { month - 50 } else { month };
    let initial = |byte: u8| byte.is_ascii_alphabetic() || byte == b'9';
    // The century is not in the number: 29 February passes where either century has one.
    let year = digit(0) * 10 + digit(5);
    (calendar(1900 + year, month, day) || calendar(2000 + year, month, day))
        && initial(number[11])
        && initial(number[12])
        && !(number[11] == b'9' && number[12] != b'9')
        && number[13].is_ascii_digit()
        && number[14..].iter().all(u8::is_ascii_alphabetic)
}

/// Postcode areas (Royal Mail), with the Crown dependencies and the non-geographic BX.
const AREAS: &str = "AB AL B BA BB BD BF BH BL BN BR BS BT BX CA CB CF CH CM CO CR CT CV CW DA DD DE DG DH DL DN DT DY E EC EH EN EX FK FY G GL GU GY \
HA HD HG HP HR HS HU HX IG IM IP IV JE KA KT KW KY L LA LD LE LL LN LS LU M ME MK ML N NE NG NN NP NR NW OL OX PA PE PH PL PO PR \
RG RH RM S SA SE SG SK SL SM SN SO SP SR SS ST SW SY TA TD TF TN TQ TR TS TW UB W WA WC WD WF WN WR WS WV YO ZE";

/// Postcode (BS 7666-2; Royal Mail PAF programmers' guide): an area that exists, a district of its form, no C I K M O V in the last letters.
fn uk_postcode(text: &str) -> bool {
    let code = alphanumerics(text);
    if code == b"GIR0AA" {
        return true;
    }
    if !(5..=7).contains(&code.len()) {
        return false;
    }
    let (outward, inward) = code.split_at(code.len() - 3);
    let letters = outward.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    let (area, district) = outward.split_at(letters);
    let lettered = |letter: u8| match area {
        b"E" | b"N" | b"W" => b"ABCDEFGHJKPSTUW".contains(&letter),
        b"EC" | b"NW" | b"SE" | b"SW" | b"WC" => b"ABEHMNPRVWXY".contains(&letter),
        _ => false,
    };
    let known = match district {
        [digit] => digit.is_ascii_digit(),
        [tens @ b'1'..=b'9', last] => last.is_ascii_digit() || (matches!(tens, b'1'..=b'4') && lettered(*last)),
        _ => false,
    };
    let unit = |byte: &u8| byte.is_ascii_alphabetic() && !b"CIKMOV".contains(byte);
    known && AREAS.split(' ').any(|known| known.as_bytes() == area) && inward[0].is_ascii_digit() && inward[1..].iter().all(unit)
}

/// Registration mark (DVLA, INF104): current style with an age identifier that exists (02 to 29, 51 to 79), prefix style A1 BCD,
/// suffix style ABC 1D; years letters without I O Q U Z, other letters without I Q.
fn uk_vehicle_registration(text: &str) -> bool {
    let mark = alphanumerics(text);
    let letter = |byte: &u8| byte.is_ascii_alphabetic() && !b"IQ".contains(byte);
    let year = |byte: &u8| byte.is_ascii_alphabetic() && !b"IOQUZ".contains(byte);
    let count = |digits: &[u8]| (1..=3).contains(&digits.len()) && digits[0] != b'0' && digits.iter().all(u8::is_ascii_digit);
    let current = |mark: &[u8]| {
        let [a, b, tens, ones, rest @ ..] = mark else { return false };
        let age = [*tens, *ones];
        let known = (*b"02"..=*b"29").contains(&age) || (*b"51"..=*b"79").contains(&age);
        let area = |byte: &u8| letter(byte) && *byte != b'Z';
        rest.len() == 3 && area(a) && area(b) && ones.is_ascii_digit() && known && rest.iter().all(letter)
    };
    let prefix = |mark: &[u8]| {
        let Some((first, rest)) = mark.split_first() else { return false };
        rest.len() >= 4 && year(first) && count(&rest[..rest.len() - 3]) && rest[rest.len() - 3..].iter().all(letter)
    };
    let suffix = |mark: &[u8]| {
        let Some((last, rest)) = mark.split_last() else { return false };
        rest.len() >= 4 && year(last) && rest[..3].iter().all(letter) && count(&rest[3..])
    };
    current(&mark) || prefix(&mark) || suffix(&mark)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::passes;

    #[test]
    fn published_numbers_pass_and_their_neighbours_do_not() {
        passes(uk_nhs, &["943 476 5919"], &["943 476 5918", "943 476 591"]);
        passes(uk_nino, &["AB 12 34 56 C", "AB123456"], &["BG123456C", "DA123456C", "AB123456E"]);
        passes(uk_utr, &["1955839661"], &["2955839661", "195583966"]);
    }

    #[test]
    fn a_driver_number_holds_a_birth_date() {
        let yes = ["MORGA657054SM9IJ", "MORGA 657054 SM9IJ", "FOX99561306J99AB", "SMITH802290AB9CD"];
        let no = ["MORGA613054SM9IJ", "MORGA657324SM9IJ", "MO9GA657054SM9IJ", "MORGA6570549M9IJ", "MORGA657054SMXIJ", "MORGA657054SM9I"];
        passes(uk_driving_licence, &yes, &no);
    }

    #[test]
    fn a_postcode_has_an_area_and_a_district_that_exist() {
        let yes = ["SW1A 1AA", "M1 1AE", "B33 8TH", "CR2 6XH", "DN55 1PT", "EC1A 1BB", "W1A 0AX", "GIR 0AA"];
        let no = ["ZZ1 1AA", "M1A 1AA", "SW1A 1AC", "B3A 8TH", "M01 1AE", "DN55 PT1", "SW1C 1AA"];
        passes(uk_postcode, &yes, &no);
    }

    #[test]
    fn a_registration_mark_has_an_age_identifier_that_exists() {
        let yes = ["AB51 ABC", "BD02 XYZ", "LK75 OPR", "A123 BCD", "Y1 ABC", "ABC 123D", "ABC1Y"];
        let no = ["AB01 ABC", "AB50 ABC", "AB30 ABC", "AB80 ABC", "AI51 ABC", "AB51 AIC", "I123 BCD", "A012 BCD", "ABC 123Z", "ABC 1234"];
        passes(uk_vehicle_registration, &yes, &no);
    }
}
