//! Checks of the numbers of Asia (China apart) and the Pacific, as each issuing body publishes them.

use crate::check::Check;
use crate::check::arithmetic::{alphanumerics, calendar, digits, exactly, luhn_sum, mod11, number, repeated, verhoeff, weighted};

/// Name and check, for `check:` in a pack.
pub(super) const CHECKS: &[(&str, Check)] = &[
    ("au_tfn", au_tfn),
    ("au_abn", au_abn),
    ("au_acn", au_acn),
    ("au_medicare", au_medicare),
    ("id_nik", id_nik),
    ("id_npwp", id_npwp),
    ("in_aadhaar", in_aadhaar),
    ("in_epic", in_epic),
    ("in_gstin", in_gstin),
    ("in_pan", in_pan),
    ("in_vehicle", in_vehicle),
    ("jp_corporate_number", jp_corporate_number),
    ("jp_driver_license", jp_driver_license),
    ("jp_my_number", jp_my_number),
    ("kr_brn", kr_brn),
    ("kr_driver_license", kr_driver_license),
    ("kr_frn", kr_frn),
    ("kr_frn_bare", kr_frn_bare),
    ("kr_frn_old", kr_frn_old),
    ("kr_rrn", kr_rrn),
    ("kr_rrn_bare", kr_rrn_bare),
    ("kr_rrn_old", kr_rrn_old),
    ("lk_nic", lk_nic),
    ("my_nric", my_nric),
    ("nz_ird", nz_ird),
    ("ph_tin", ph_tin),
    ("pk_cnic", pk_cnic),
    ("sg_nric", sg_nric),
    ("sg_uen", sg_uen),
    ("th_tnin", th_tnin),
    ("vn_cccd", vn_cccd),
    ("vn_mst", vn_mst),
];

/// Australian tax file number: weights 1 4 3 7 5 8 6 9 10, mod 11; the eight digits given to others than persons: 10 7 8 4 6 3 5 1
/// (Australian Taxation Office).
pub(crate) fn au_tfn(text: &str) -> bool {
    let tfn = digits(text);
    let weights: &[u32] = match tfn.len() {
        9 => &[1, 4, 3, 7, 5, 8, 6, 9, 10],
        8 => &[10, 7, 8, 4, 6, 3, 5, 1],
        _ => return false,
    };
    !repeated(&tfn) && weighted(&tfn, weights).is_multiple_of(11)
}

/// Australian business number: first digit less one, weights, mod 89 (Australian Business Register, format of the ABN).
pub(crate) fn au_abn(text: &str) -> bool {
    exactly::<11>(text).is_some_and(|mut abn| {
        abn[0] != 0 && {
            abn[0] -= 1;
            weighted(&abn, &[10, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19]).is_multiple_of(89)
        }
    })
}

/// Australian company number: weights 8 to 1, complement mod 10 (ASIC, Australian Company Number digit check).
pub(crate) fn au_acn(text: &str) -> bool {
    exactly::<9>(text).is_some_and(|acn| !repeated(&acn) && (10 - weighted(&acn[..8], &[8, 7, 6, 5, 4, 3, 2, 1]) % 10) % 10 == acn[8])
}

/// Australian Medicare number: weights 1 3 7 9 1 3 7 9, mod 10, the ninth digit; the tenth counts issues, an eleventh names the person
/// (Services Australia).
pub(crate) fn au_medicare(text: &str) -> bool {
    let all = digits(text);
    matches!(all.len(), 10 | 11) && (2..=6).contains(&all[0]) && weighted(&all[..8], &[1, 3, 7, 9, 1, 3, 7, 9]) % 10 == all[8]
}

/// Singapore NRIC and FIN: weights 2765432, letter tables for S/T, F/G and, since 2022, M (Immigration & Checkpoints Authority).
pub(crate) fn sg_nric(text: &str) -> bool {
    let id = alphanumerics(text);
    let Some(seven) = exactly::<7>(text) else { return false };
    if id.len() != 9 {
        return false;
    }
    let sum = weighted(&seven, &[2, 7, 6, 5, 4, 3, 2]);
    let (offset, table): (u32, &[u8; 11]) = match id[0] {
        b'S' => (0, b"JZIHGFEDCBA"),
        b'T' => (4, b"JZIHGFEDCBA"),
        b'F' => (0, b"XWUTRQPNMLK"),
        b'G' => (4, b"XWUTRQPNMLK"),
        b'M' => (3, b"XWUTRQPNJLK"),
        _ => return false,
    };
    table[((sum + offset) % 11) as usize] == id[8]
}

/// Korean resident registration number: a date of birth, and the digit of century and sex of a citizen (1 to 4, 9 and 0 before 1900).
/// No check digit is asked for: numbers given out since October 2020 have none (Resident Registration Act, enforcement rules).
pub(crate) fn kr_rrn(text: &str) -> bool {
    korean_birth(text, &[(1, 1900), (2, 1900), (3, 2000), (4, 2000), (9, 1800), (0, 1800)]).is_some()
}

/// Korean foreigner registration number: as the resident's, with 5 to 8 for century and sex (Immigration Act).
pub(crate) fn kr_frn(text: &str) -> bool {
    korean_birth(text, FOREIGNERS).is_some()
}

/// Korean resident registration number of before October 2020: its check digit holds, too.
pub(crate) fn kr_rrn_old(text: &str) -> bool {
    korean_birth(text, CITIZENS).is_some_and(|rrn| !south_african(&rrn) && (11 - korean_sum(&rrn) % 11) % 10 == rrn[12])
}

/// Korean foreigner registration number of before October 2020: its check digit, two more than a resident's, holds, too.
pub(crate) fn kr_frn_old(text: &str) -> bool {
    korean_birth(text, FOREIGNERS).is_some_and(|frn| !south_african(&frn) && (13 - korean_sum(&frn) % 11) % 10 == frn[12])
}

/// Korean resident registration number without its hyphen and its name: as `kr_rrn`, but no South African identity number.
pub(crate) fn kr_rrn_bare(text: &str) -> bool {
    korean_birth(text, CITIZENS).is_some_and(|rrn| !south_african(&rrn))
}

/// Korean foreigner registration number without its hyphen and its name: as `kr_frn`, but no South African identity number.
pub(crate) fn kr_frn_bare(text: &str) -> bool {
    korean_birth(text, FOREIGNERS).is_some_and(|frn| !south_african(&frn))
}

/// True for the other number of thirteen digits that begins with a date: citizenship, 8 or 9, and a Luhn digit.
fn south_african(all: &[u32; 13]) -> bool {
    all[10] <= 2 && matches!(all[11], 8 | 9) && luhn_sum(all).is_multiple_of(10)
}

const CITIZENS: &[(u32, u32)] = &[(1, 1900), (2, 1900), (3, 2000), (4, 2000)];
const FOREIGNERS: &[(u32, u32)] = &[(5, 1900), (6, 1900), (7, 2000), (8, 2000)];

/// Returns the digits when the first six are a date in the century that the seventh stands for.
fn korean_birth(text: &str, centuries: &[(u32, u32)]) -> Option<[u32; 13]> {
    let all = exactly::<13>(text)?;
    let &(_, century) = centuries.iter().find(|(digit, _)| *digit == all[6])?;
    calendar(century + number(&all[..2]), number(&all[2..4]), number(&all[4..6])).then_some(all)
}

fn korean_sum(all: &[u32; 13]) -> u32 {
    weighted(&all[..12], &[2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5])
}

/// Korean driver's licence: two digits for the police agency that gave it out (11 to 26 and 28). How the last two digits are
/// computed is not published.
pub(crate) fn kr_driver_license(text: &str) -> bool {
    exactly::<12>(text).is_some_and(|licence| matches!(number(&licence[..2]), 11..=26 | 28) && !repeated(&licence[4..10]))
}

/// Korean business number: weights 1 3 7 1 3 7 1 3 5 with the tens of the last product, mod 10 (National Tax Service).
pub(crate) fn kr_brn(text: &str) -> bool {
    exactly::<10>(text).is_some_and(|brn| {
        let sum = weighted(&brn[..9], &[1, 3, 7, 1, 3, 7, 1, 3, 5]) + brn[8] * 5 / 10;
        !repeated(&brn) && (10 - sum % 10) % 10 == brn[9]
    })
}

/// Japanese individual number: weights 6 5 4 3 2 7 6 5 4 3 2, mod 11 (Ordinance 85 of 2014, article 5).
pub(crate) fn jp_my_number(text: &str) -> bool {
    exactly::<12>(text).is_some_and(|my| {
        let rest = weighted(&my[..11], &[6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11;
        !repeated(&my) && (if rest <= 1 { 0 } else { 11 - rest }) == my[11]
    })
}

/// Indian Aadhaar number: Verhoeff, first digit two or more, no palindrome (UIDAI).
pub(crate) fn in_aadhaar(text: &str) -> bool {
    exactly::<12>(text).is_some_and(|id| id[0] >= 2 && !id.iter().eq(id.iter().rev()) && verhoeff(text))
}

/// Indian PAN: five letters, four digits, a letter; the fourth letter names the kind of holder.
pub(crate) fn in_pan(text: &str) -> bool {
    let pan = alphanumerics(text);
    pan.len() == 10
        && pan[..5].iter().all(u8::is_ascii_alphabetic)
        && b"ABCFGHJLPT".contains(&pan[3])
        && pan[5..9].iter().all(u8::is_ascii_digit)
        && pan[5..9] != *b"0000"
        && pan[9].is_ascii_alphabetic()
}

/// Indian GSTIN: state code, a PAN, and a check character by base 36 Luhn (GST Network).
pub(crate) fn in_gstin(text: &str) -> bool {
    let gstin = alphanumerics(text);
    if gstin.len() != 15 || !text.is_ascii() || !gstin[..2].iter().all(u8::is_ascii_digit) {
        return false;
    }
    let value = |byte: u8| if byte.is_ascii_digit() { byte - b'0' } else { byte - b'A' + 10 };
    let sum: u32 = gstin[..14]
        .iter()
        .enumerate()
        .map(|(i, &byte)| {
            let product = u32::from(value(byte)) * (1 + i as u32 % 2);
            product / 36 + product % 36
        })
        .sum();
    let pan = String::from_utf8_lossy(&gstin[2..12]);
    matches!(gstin[..2], [b'0', b'1'..=b'9'] | [b'1' | b'2', _] | [b'3', b'0'..=b'8'] | [b'9', b'7' | b'9'])
        && in_pan(&pan)
        && (36 - sum % 36) % 36 == u32::from(value(gstin[14]))
}

/// Thai national number: weights 13 to 2, mod 11 (Department of Provincial Administration).
pub(crate) fn th_tnin(text: &str) -> bool {
    exactly::<13>(text).is_some_and(|id| {
        let sum = weighted(&id[..12], &[13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2]);
        (1..=8).contains(&id[0]) && !repeated(&id) && (11 - sum % 11) % 10 == id[12]
    })
}

/// Singapore unique entity number: a business (8 digits), a local company (year and 5 digits) or another entity (T or S or R, year,
/// two letters for its kind, 4 digits), each with a check letter of its own (Accounting and Corporate Regulatory Authority).
pub(crate) fn sg_uen(text: &str) -> bool {
    const OTHER: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWX0123456789";
    const KINDS: &str =
        "CC CD CH CL CM CP CS CX DP FB FC FM FN GA GB GS HC HS LL LP MB MC MD MH MM MQ NB NR PA PB PF RF RP SM SS TC TU VH XL";
    let uen = alphanumerics(text);
    let Some((&letter, body)) = uen.split_last() else { return false };
    let all = digits(text);
    match (body.len(), all.len()) {
        (8, 8) => b"XMKECAWLJDB"[(weighted(&all, &[10, 4, 9, 3, 8, 2, 7, 1]) % 11) as usize] == letter && !repeated(&all),
        (9, 9) => {
            let check = b"ZKCMDNERGWH"[(weighted(&all, &[10, 8, 6, 4, 9, 7, 5, 3, 1]) % 11) as usize];
            check == letter && (1800..=2100).contains(&number(&all[..4]))
        }
        (9, 6) => {
            let place = |byte: &u8| OTHER.iter().position(|known| known == byte).and_then(|place| u32::try_from(place).ok());
            let kind = String::from_utf8_lossy(&body[3..5]).into_owned();
            let shaped = matches!(body[0], b'R' | b'S' | b'T') && KINDS.split(' ').any(|known| known == kind);
            let Some(values) = body.iter().map(place).collect::<Option<Vec<u32>>>() else { return false };
            // 330 is a multiple of 11 that keeps the difference positive.
            shaped && OTHER[((weighted(&values, &[4, 3, 5, 3, 10, 2, 2, 5, 7]) + 330 - 5) % 11) as usize] == letter
        }
        _ => false,
    }
}

/// Japanese corporate number: the first digit is 9 less the sum of the others, weighted 1 and 2 from the right, mod 9
/// (Ordinance of the Ministry of Finance 70 of 2014, article 2).
pub(crate) fn jp_corporate_number(text: &str) -> bool {
    exactly::<13>(text).is_some_and(|all| !repeated(&all) && 9 - weighted(&all[1..], &[2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1]) % 9 == all[0])
}

/// Japanese driver's licence: the code of the public safety commission (10 to 97), and an eleventh digit by weights
/// 5 4 3 2 7 6 5 4 3 2, mod 11; the twelfth counts losses.
pub(crate) fn jp_driver_license(text: &str) -> bool {
    exactly::<12>(text).is_some_and(|all| {
        (10..=97).contains(&number(&all[..2])) && !repeated(&all) && mod11(&all[..11], &[5, 4, 3, 2, 7, 6, 5, 4, 3, 2], Some(0))
    })
}

/// Indian elector's photo identity card: three letters, six digits and their Luhn digit (Election Commission of India).
pub(crate) fn in_epic(text: &str) -> bool {
    let epic = alphanumerics(text);
    epic.len() == 10
        && epic[..3].iter().all(u8::is_ascii_alphabetic)
        && exactly::<7>(text).is_some_and(|seven| !repeated(&seven) && luhn_sum(&seven).is_multiple_of(10))
}

/// Indian vehicle registration: the code of a state and of one of its transport offices (Central Motor Vehicles Rules, rule 50 and
/// notifications), the Bharat series since 2021, or the year and class letter of the armed forces. Number 0000 is not given out.
pub(crate) fn in_vehicle(text: &str) -> bool {
    /// State or union territory, present and former codes, and its highest office.
    const STATES: &str = "AN02 AP40 AR26 AS34 BR57 CG31 CH04 DD03 DL19 DN09 GA12 GJ39 HP99 HR99 JH24 JK22 KA71 KL99 LA02 LD09 \
                          MH58 ML14 MN07 MP71 MZ09 NL10 OD35 OR35 PB99 PY05 RJ60 SK08 TG38 TN99 TR08 TS38 UA20 UK20 UP96 WB98";
    let plate = alphanumerics(text);
    let digit = |at: usize| plate.get(at).filter(|byte| byte.is_ascii_digit()).map(|byte| u32::from(byte - b'0'));
    let Some(last) = plate.iter().rposition(u8::is_ascii_digit) else { return false };
    let run = plate[..=last].iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    if plate[last + 1 - run..=last].iter().all(|&byte| byte == b'0') {
        return false;
    }
    match (digit(0), digit(1)) {
        // 22 BH 1234 AB, or 03D 153874X
        (Some(tens), Some(ones)) => plate.get(2..4) != Some(b"BH") || (21..=60).contains(&(tens * 10 + ones)),
        (None, None) => {
            let Some(state) = STATES.split(' ').map(str::as_bytes).find(|state| plate.starts_with(&state[..2])) else { return false };
            let highest = u32::from(state[2] - b'0') * 10 + u32::from(state[3] - b'0');
            let office = match (digit(2), digit(3)) {
                // A one-digit office is followed by its series; DL 3C AB.
                (Some(tens), Some(ones)) => tens * 10 + ones,
                (Some(ones), None) => ones,
                _ => return false,
            };
            (1..=highest).contains(&office)
        }
        _ => false,
    }
}

/// Indonesian identity number: a province, a regency and a district, a date of birth (the day plus 40 for women) and a serial number
/// (Ministerial regulation on population codes; Law 24 of 2013).
pub(crate) fn id_nik(text: &str) -> bool {
    exactly::<16>(text).is_some_and(|nik| {
        let [province, regency, district, day, month, year] = [0, 2, 4, 6, 8, 10].map(|at| number(&nik[at..at + 2]));
        matches!(province, 11..=19 | 21 | 31..=36 | 51..=53 | 61..=65 | 71..=76 | 81 | 82 | 91..=97)
            && (1..=79).contains(&regency)
            && district > 0
            && calendar(2000 + year, month, if day > 40 { day - 40 } else { day })
            && number(&nik[12..]) > 0
    })
}

/// Indonesian tax number: nine digits with a Luhn digit, tax office and branch; since 2024 with a nought before it, or the identity
/// number itself (Directorate General of Taxes).
pub(crate) fn id_npwp(text: &str) -> bool {
    let npwp = digits(text);
    let fifteen = match npwp.len() {
        15 => &npwp[..],
        16 if npwp[0] == 0 => &npwp[1..],
        _ => return false,
    };
    !repeated(&fifteen[..9]) && luhn_sum(&fifteen[..9]).is_multiple_of(10)
}

/// Malaysian identity card: a date of birth and a place of birth (National Registration Department).
pub(crate) fn my_nric(text: &str) -> bool {
    exactly::<12>(text).is_some_and(|nric| {
        calendar(2000 + number(&nric[..2]), number(&nric[2..4]), number(&nric[4..6]))
            && matches!(number(&nric[6..8]), 1..=16 | 21..=68 | 71 | 72 | 74..=79 | 82..=93 | 98 | 99)
    })
}

/// Vietnamese citizen identity number: a province (001 to 096), a digit for century and sex, the year of birth, six digits
/// (Decree 137/2015/ND-CP, article 13).
pub(crate) fn vn_cccd(text: &str) -> bool {
    exactly::<12>(text).is_some_and(|id| (1..=96).contains(&number(&id[..3])) && id[3] <= 3 && !repeated(&id[6..]))
}

/// Vietnamese tax number: weights 31 29 23 19 17 13 7 5 3, 10 less the sum mod 11; a branch has three more digits
/// (General Department of Taxation, Circular 105/2020/TT-BTC).
pub(crate) fn vn_mst(text: &str) -> bool {
    let mst = digits(text);
    matches!(mst.len(), 10 | 13)
        && number(&mst[2..9]) > 0
        && (mst.len() == 10 || number(&mst[10..]) > 0)
        && 10 - weighted(&mst[..9], &[31, 29, 23, 19, 17, 13, 7, 5, 3]) % 11 == mst[9]
}

/// New Zealand IRD number: weights 3 2 7 6 5 4 3 2, mod 11, and 7 4 3 2 5 2 7 6 where that gives ten; from 10,000,000 to 200,000,000
/// (Inland Revenue, RWT and NRWT specification, appendix).
pub(crate) fn nz_ird(text: &str) -> bool {
    let mut ird = digits(text);
    if ird.len() == 8 {
        ird.insert(0, 0);
    }
    if ird.len() != 9 || repeated(&ird) || !(10_000_000..200_000_000).contains(&number(&ird)) {
        return false;
    }
    let rest = |weights: &[u32]| (11 - weighted(&ird[..8], weights) % 11) % 11;
    let first = rest(&[3, 2, 7, 6, 5, 4, 3, 2]);
    (if first == 10 { rest(&[7, 4, 3, 2, 5, 2, 7, 6]) } else { first }) == ird[8]
}

/// Philippine tax number: the ninth digit is the sum of the others, weighted 9 to 2, mod 11; three or five more digits name a branch
/// (Bureau of Internal Revenue).
pub(crate) fn ph_tin(text: &str) -> bool {
    let tin = digits(text);
    matches!(tin.len(), 9 | 12 | 14) && !repeated(&tin[..9]) && weighted(&tin[..8], &[9, 8, 7, 6, 5, 4, 3, 2]) % 11 == tin[8]
}

/// Pakistani identity card: a province (1 to 7, 8 abroad), five digits of place, seven of family, one for sex (NADRA).
pub(crate) fn pk_cnic(text: &str) -> bool {
    exactly::<13>(text).is_some_and(|cnic| (1..=8).contains(&cnic[0]) && cnic[12] != 0 && !repeated(&cnic[5..12]))
}

/// Sri Lankan identity card: the year and day of birth (500 more for women), old form with V or X behind nine digits, new form with
/// twelve (Department for Registration of Persons).
pub(crate) fn lk_nic(text: &str) -> bool {
    let nic = digits(text);
    let (year, day) = match nic.len() {
        9 => (1900 + number(&nic[..2]), number(&nic[2..5])),
        12 => (number(&nic[..4]), number(&nic[4..7])),
        _ => return false,
    };
    (1900..=2030).contains(&year) && matches!(day, 1..=366 | 501..=866) && !repeated(&nic)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::passes;

    #[test]
    fn published_numbers_pass_and_their_neighbours_do_not() {
        passes(au_tfn, &["123 456 782", "81854402"], &["123 456 783", "81854403", "1234567822"]);
        passes(au_abn, &["51 824 753 556"], &["51 824 753 557"]);
        passes(au_acn, &["004 085 616"], &["004 085 617"]);
        passes(au_medicare, &["2123 45670 1"], &["2123 45671 1"]);
        passes(sg_nric, &["S1234567D", "G1234567X", "F1234567N", "M1234567K"], &["S1234567E", "A1234567D"]);
        passes(kr_brn, &["120-81-47521"], &["120-81-47522"]);
        passes(jp_my_number, &["123456789018"], &["123456789019"]);
        passes(jp_corporate_number, &["7000012050002"], &["8000012050002", "7000012050003", "700001205000"]);
        passes(in_aadhaar, &["2341 2341 2346"], &["2341 2341 2347", "1341 2341 2346"]);
        passes(in_pan, &["ABCPE1234F"], &["ABCDE1234F", "ABCPE0000F"]);
        passes(in_gstin, &["27AAPFU0939F1ZV"], &["27AAPFU0939F1ZW"]);
        passes(in_epic, &["WKH1186253"], &["WKH1186263", "1231186253", "WKH118625"]);
        passes(th_tnin, &["1-2345-67890-12-1"], &["1-2345-67890-12-2"]);
        passes(nz_ird, &["49091850", "49-098-576"], &["136410133", "9125568", "49091851"]);
        passes(vn_mst, &["0100233488", "0314409058-002"], &["0100233480", "0314409058-000", "0000000000"]);
        passes(id_npwp, &["01.312.166.0-091.000", "0016090524017000"], &["01.312.166.1-091.000", "1016090524017000"]);
        passes(ph_tin, &["123-456-782-000", "123456782"], &["123-456-789-000", "1234567821"]);
    }

    #[test]
    fn korean_numbers_say_citizen_or_foreigner_in_their_seventh_digit() {
        passes(kr_rrn, &["900101-1234567", "001231-4234567"], &["901301-1234567", "900101-123456", "900101-5234567", "010229-3234567"]);
        passes(kr_frn, &["900101-5234567", "001231-8234567"], &["900101-1234567", "900230-5234567"]);
        passes(kr_rrn_old, &["900101-1234568"], &["900101-1234567", "900101-5234561"]);
        passes(kr_frn_old, &["900101-5234561"], &["900101-5234562"]);
        passes(kr_rrn_bare, &["9001011234567"], &["9001012234083", "9001015234567"]);
        passes(kr_frn_bare, &["9001015234567"], &["9001015009086", "9001011234567"]);
        passes(kr_driver_license, &["11-04-123456-12", "28-20-987654-01"], &["27-04-123456-12", "10-04-123456-12", "11-04-111111-12"]);
    }

    #[test]
    fn the_three_forms_of_a_unique_entity_number_have_letters_of_their_own() {
        passes(sg_uen, &["00192200M", "197401143C", "S16FC0121D", "T01FC6132D"], &["00192200K", "197401143D", "S16FC0121E", "T01ZZ6132D"]);
    }

    #[test]
    fn plates_need_an_office_that_exists() {
        passes(
            in_vehicle,
            &["MH 12 AB 1234", "DL3CAB1234", "22BH1234AB", "03D153874X", "KA-01-HH-1"],
            &["MH 59 AB 1234", "XX12AB1234", "MH 00 AB 1234"],
        );
        passes(in_vehicle, &["UP 96 A 4321"], &["CH 05 AB 1234", "MH 12 AB 0000", "19BH1234AB"]);
    }

    #[test]
    fn numbers_with_a_date_and_a_place_need_both_to_exist() {
        passes(
            id_nik,
            &["3171011708450001", "3171015708450001", "3171012902001234"],
            &["9971011708450001", "3171013002001234", "3171011708450000"],
        );
        passes(my_nric, &["770305-02-1234"], &["771305-02-1234", "770305-17-1234"]);
        passes(vn_cccd, &["001099012345", "079201012345"], &["097099012345", "000099012345", "001999012345"]);
        passes(pk_cnic, &["34201-0891231-8", "42201-0397640-8"], &["04201-0891231-8", "34201-0891231-0"]);
        passes(lk_nic, &["853400937V", "198534000937", "905010937X"], &["854000937V", "189034000937"]);
        passes(jp_driver_license, &["301234567810"], &["301234567840", "091234567810"]);
    }
}
