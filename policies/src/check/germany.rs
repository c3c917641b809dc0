//! Checks of the numbers of Germany.

use crate::check::Check;
use crate::check::arithmetic::{alphanumerics, calendar, exactly, iso7064_mod11_10, number, repeated, weighted};
use crate::check::europe_west::es_nie;
use crate::check::uk::uk_nino;

/// Name and check, for `check:` in a pack.
pub(super) const CHECKS: &[(&str, Check)] = &[
    ("de_tax_id", de_tax_id),
    ("de_tax_number", de_tax_number),
    ("de_vat_id", de_vat_id),
    ("de_document", de_document),
    ("de_document_bare", de_document_bare),
    ("de_document_checked", de_document_checked),
    ("de_fuehrerschein", de_fuehrerschein),
    ("de_fuehrerschein_lettered", de_fuehrerschein_lettered),
    ("de_kfz", de_kfz),
    ("de_social_security", de_social_security),
    ("de_health_insurance", de_health_insurance),
    ("de_lanr", de_lanr),
    ("de_bsnr", de_bsnr),
];

/// Tax identification number (§ 139b AO): ISO 7064 MOD 11,10, and one digit of the first ten occurs two or three times, no other twice.
fn de_tax_id(text: &str) -> bool {
    exactly::<11>(text).is_some_and(|id| {
        let mut counts = [0; 10];
        id[..10].iter().for_each(|&digit| counts[digit as usize] += 1);
        let several = counts.iter().filter(|&&count| count > 1).count();
        let tripled = id[..10].windows(3).any(repeated);
        id[0] != 0 && several == 1 && !tripled && counts.iter().all(|&count| count <= 3) && iso7064_mod11_10(text)
    })
}

/// Tax number in the form of the electronic return (ELSTER): 13 digits, those of the state in front, a zero in the fifth place.
fn de_tax_number(text: &str) -> bool {
    exactly::<13>(text).is_some_and(|tax| {
        let state = matches!(tax[0], 1 | 3 | 4 | 5 | 9) || matches!(number(&tax[..2]), 21..=24 | 26..=28);
        state && tax[4] == 0 && !repeated(&tax[5..])
    })
}

/// VAT number: DE and nine digits by ISO 7064 MOD 11,10 (Bundeszentralamt für Steuern).
fn de_vat_id(text: &str) -> bool {
    exactly::<9>(text).is_some_and(|vat| vat[0] != 0 && !repeated(&vat) && iso7064_mod11_10(text))
}

/// The value of a digit or letter in ICAO documents and German licences: A is 10.
fn value(byte: u8) -> u32 {
    if byte.is_ascii_digit() { u32::from(byte - b'0') } else { u32::from(byte - b'A') + 10 }
}

/// Serial number of a passport or identity card: nine characters without vowels and B D Q S (PassV annex), a digit among them.
fn de_document(text: &str) -> bool {
    let serial = alphanumerics(text);
    let known = |byte: &u8| byte.is_ascii_digit() || b"CFGHJKLMNPRTVWXYZ".contains(byte);
    serial.len() == 9 && serial[0].is_ascii_alphabetic() && serial.iter().all(known) && serial.iter().any(u8::is_ascii_digit)
}

/// The same where no word announces it: what is a Spanish number of a foreigner or a British national insurance number is none.
fn de_document_bare(text: &str) -> bool {
    de_document(text) && !es_nie(text) && !uk_nino(text)
}

/// The same with its check digit behind it: weights 7 3 1, mod 10 (ICAO Doc 9303-3, 4.9).
fn de_document_checked(text: &str) -> bool {
    let mut serial = alphanumerics(text);
    let Some(check) = serial.pop() else { return false };
    let sum: u32 = serial.iter().zip([7, 3, 1].into_iter().cycle()).map(|(&byte, weight)| value(byte) * weight).sum();
    std::str::from_utf8(&serial).is_ok_and(de_document) && check.is_ascii_digit() && sum % 10 == value(check)
}

/// Driving licence number (FeV annex 8; Kraftfahrt-Bundesamt): office, serial, check digit with weights 9 to 1 mod 11 (X for ten),
/// number of the copy.
fn de_fuehrerschein(text: &str) -> bool {
    let licence = alphanumerics(text);
    let Ok(licence) = <[u8; 11]>::try_from(licence) else { return false };
    let sum: u32 = licence[..9].iter().zip((1..=9).rev()).map(|(&byte, weight)| value(byte) * weight).sum();
    let check = if licence[9] == b'X' { 10 } else { value(licence[9]) };
    licence[0].is_ascii_alphabetic() && licence[1..3].iter().all(u8::is_ascii_digit) && sum % 11 == check
}

/// The form with the letters of the number plate, which has no known check: what begins like a VAT number of nine digits is none.
fn de_fuehrerschein_lettered(text: &str) -> bool {
    const VAT: [&str; 9] = ["DE", "BG", "EE", "EL", "GB", "GR", "LT", "PT", "XI"];
    text.len() == 11 && !VAT.iter().any(|country| text.starts_with(country))
}

/// Distinguishing signs of the registration districts (FZV § 9, Bundesanzeiger), with those given out again since 2012.
const DISTRICTS: &str = "\
A AA AB ABG ABI AC AE AH AIB AIC AK ALF ALZ AM AN ANA ANG ANK AP APD ARN ART AS ASL ASZ AT AU AUR AW AZ AZE AÖ \
B BA BAD BAR BB BBG BBL BC BCH BD BE BED BEI BER BF BGD BGL BH BI BID BIN BIR BIT BIW BK BKS BL BLB BLK BM BN BNA BO BOG BOH BOR BOT BP BR BRA BRB BRG \
BRI BRK BRL BRV BS BSB BSK BT BTF BW BWL BYL BZ BZA BÖ BÜD BÜR BÜS BÜZ \
C CA CAS CB CE CHA CLP CLZ CO COC COE CR CUX CW D DA DAH DAN DAU DB DBR DD DE DEG DEL DGF DH DI DIL DIN DIZ DKB DL DLG DM DN DO DON DS DU DUD DW DZ DÜW \
E EA EB EBE EBN EBS ECK ED EE EF EG EH EI EIC EIH EIL EIN EIS EL ELL EM EMD EMS EN ER ERB ERH ERK ERZ ES ESB ESW EU EUT EW \
F FB FD FDB FDS FEU FF FFB FG FH FI FKB FL FLÖ FN FO FOR FR FRG FRI FRW FS FT FTL FW FZ FÜ FÜS \
G GA GAN GAP GC GD GDB GE GEL GEM GEO GER GF GG GHA GHC GI GK GL GLA GM GMN GN GNT GOA GOH GP GR GRA GRH GRI GRM GRS GRZ GS GT GTH GUB GUN GV GVM GW GZ GÖ GÜ \
H HA HAB HAL HAM HAS HB HBN HBS HC HCH HD HDH HDL HE HEB HEF HEI HEL HER HET HF HG HGN HGW HH HHM HI HIG HIP HK HL HM HMÜ HN HO HOG HOH HOL HOM HOR HOT HP HR \
HRO HS HSK HST HU HV HVL HWI HX HY HZ HÖS HÜN IGB IK IL ILL IN INA IS IZ J JE JEV JL JÜL \
K KA KAR KB KC KE KEH KEL KEM KF KG KH KI KIB KK KL KLE KLZ KM KN KO KR KRU KS KT KU KUS KW KY KYF KÖN KÖT KÖZ KÜN \
L LA LAN LAU LB LBS LBZ LC LD LDK LDS LEO LER LEV LF LG LH LI LIB LIF LIN LIP LL LM LN LOS LP LR LRO LSA LSN LSZ LU LUK LUN LUP LWL LÖ LÖB LÜD LÜN \
M MA MAB MAI MAK MAL MAR MB MC MD ME MED MEG MEI MEK MEL MER MET MG MGH MGN MH MHL MI MIL MK MKK ML MM MN MO MOD MOL MON MOS MQ MR MS MSE MSH MSP MST MTK MTL MVL \
MW MY MYK MZ MZG MÜ MÜB MÜL MÜN MÜR N NAB NAI NAU NB ND NDH NE NEA NEB NEC NEN NES NEU NEW NF NH NI NIB NK NL NM NMB NMS NOH NOL NOM NOR NP NR NRW NT NU NVP NW NWM \
NY NZ NÖ OA OAL OB OBB OBG OC OCH OD OE OF OG OH OHA OHV OHZ OK OL OP OPR OR OS OSL OTW OVI OVL OVP OZ ÖHR \
P PA PAF PAN PAR PB PCH PE PEG PER PF PI PIR PK PL PLÖ PM PN PR PRÜ PS PW PZ QFT QLB \
R RA RC RD RDG RE REG REH REI RG RH RI RID RIE RIN RL RM RN RO ROD ROF ROK ROL ROS ROT ROW RP RPL RS RSL RT RU RV RW RY RZ RÜD RÜG \
S SAB SAD SAL SAN SAW SB SBG SBK SC SCZ SDH SDL SDT SE SEB SEE SEF SEL SFB SFT SG SGH SH SHA SHG SHK SHL SI SIG SIH SIM SK SL SLE SLF SLK SLN SLS SLZ SLÜ SM SMÜ SN SO SOB SOG \
SOK SOL SON SP SPB SPN SR SRB SRO ST STA STB STD STE STH STL STO SU SUL SW SWA SY SZ SZB SÄK SÖM SÜW \
TBB TDO TE TET TF TG THL THW TIR TO TP TR TS TT TUT TÖL TÜ UE UEM UFF UH UL UM UN USI V VAI VB VEC VER VG VIB VIE VIT VK VL VOH VR VS \
W WA WAF WAK WAN WAR WAT WB WBS WDA WE WEL WEN WER WES WF WG WHV WI WIL WIS WIT WIZ WK WL WLG WM WMS WN WND WO WOB WOH WOL WOR WOS WR WRN WS WSF WST WSW WT WTL WTM \
WUG WUN WUR WW WZ WZL WÜ WÜM X Y Z ZE ZEL ZI ZIG ZP ZR ZW ZZ";

/// Number plate (FZV § 9): a district that exists, one or two letters, a number of up to four digits, E or H behind it; eight at most.
fn de_kfz(text: &str) -> bool {
    let upper = text.to_uppercase();
    let mut parts = upper.split([' ', '-', ':', '.', '·']).filter(|part| !part.is_empty());
    let Some(district) = parts.next() else { return false };
    let rest: String = parts.collect();
    let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
    let (letters, figures) = rest.split_at(letters);
    let figures = figures.strip_suffix(['E', 'H']).unwrap_or(figures);
    let count = district.chars().count() + letters.len() + figures.len();
    let number = (1..=4).contains(&figures.len()) && !figures.starts_with('0') && figures.bytes().all(|byte| byte.is_ascii_digit());
    // Never given out: the signs of criminal organisations.
    let barred = matches!(letters, "SS" | "SA" | "HJ" | "KZ" | "NS");
    (1..=2).contains(&letters.len()) && number && !barred && count <= 8 && DISTRICTS.split([' ', '\n']).any(|known| known == district)
}

/// Pension insurance number (VKVV § 4): area, birth date (50 more for a second number of the same day), initial, serial, and a check digit:
/// weights 2 1 2 5 7 1 2 1 2 1 2 1, sums of digits, mod 10; the letter counts as two digits.
fn de_social_security(text: &str) -> bool {
    let insurance = alphanumerics(text);
    let Ok(insurance) = <[u8; 12]>::try_from(insurance) else { return false };
    let Some(digits) = lettered(&insurance, 8) else { return false };
    let day = number(&digits[2..4]);
    let day = if day > 50 { day - 50 } else { day };
    let sum = cross_sum(&digits[..12], &[2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1]);
    number(&digits[..2]) > 1 && calendar(2000, number(&digits[4..6]), day) && sum % 10 == digits[12]
}

/// Health insurance number (GKV-Spitzenverband, § 290 SGB V): a letter as two digits, weights 1 2, sums of digits, mod 10.
fn de_health_insurance(text: &str) -> bool {
    let insurance = alphanumerics(text);
    let Ok(insurance) = <[u8; 10]>::try_from(insurance) else { return false };
    let Some(digits) = lettered(&insurance, 0) else { return false };
    !repeated(&digits[2..]) && cross_sum(&digits[..10], &[1, 2, 1, 2, 1, 2, 1, 2, 1, 2]) % 10 == digits[10]
}

/// Writes the one letter, at `place`, as two digits (A is 01); none when anything else is no digit.
fn lettered(characters: &[u8], place: usize) -> Option<Vec<u32>> {
    let mut digits = Vec::with_capacity(characters.len() + 1);
    for (at, &byte) in characters.iter().enumerate() {
        match (at == place, byte) {
            (true, b'A'..=b'Z') => digits.extend([u32::from(byte - b'A' + 1) / 10, u32::from(byte - b'A' + 1) % 10]),
            (false, b'0'..=b'9') => digits.push(u32::from(byte - b'0')),
            _ => return None,
        }
    }
    Some(digits)
}

/// Sums the digits of each product.
fn cross_sum(digits: &[u32], weights: &[u32]) -> u32 {
    digits.iter().zip(weights).map(|(digit, weight)| digit * weight).map(|product| product / 10 + product % 10).sum()
}

/// Physician number (KBV, Richtlinie zur Vergabe der Arztnummern): the seventh digit by weights 4 9, mod 10; the last two name the specialty.
fn de_lanr(text: &str) -> bool {
    exactly::<9>(text).is_some_and(|lanr| {
        let sum = weighted(&lanr[..6], &[4, 9, 4, 9, 4, 9]);
        !repeated(&lanr[..7]) && (10 - sum % 10) % 10 == lanr[6]
    })
}

/// Practice number (KBV, the same, annex 1): the first two digits name the association of physicians, or 35, 74, 75 for hospitals and the KBV.
/// The keys of their districts (19, 63 to 70 ...) are still about, but pass for this only behind the name.
fn de_bsnr(text: &str) -> bool {
    const AREAS: [u32; 20] = [1, 2, 3, 17, 20, 35, 38, 46, 51, 52, 71, 72, 73, 74, 75, 78, 83, 88, 93, 98];
    exactly::<9>(text).is_some_and(|bsnr| AREAS.contains(&number(&bsnr[..2])) && !repeated(&bsnr[2..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::passes;

    #[test]
    fn published_numbers_pass_and_their_neighbours_do_not() {
        passes(de_tax_id, &["86095742719", "36 574 261 809"], &["86095742718", "36574261890", "06095742719", "11123456785"]);
        passes(de_vat_id, &["DE136695976", "DE 136 695 976"], &["DE136695978", "DE036695976", "DE13669597"]);
        passes(de_tax_number, &["2893081508152", "9181081508155", "5133081508159"], &["2893181508152", "2593081508152", "289308150815"]);
        passes(de_document, &["C01X00T47", "T22000129"], &["B01X00T47", "C01X00T4", "101X00T47", "CCCCCCCCC"]);
        passes(de_document_bare, &["C01X00T47"], &["X7512173M", "PR123612C"]);
        passes(de_fuehrerschein_lettered, &["HH48120736K"], &["DE136695976", "HH48120736"]);
        passes(de_document_checked, &["C01X00T478", "T220001293"], &["C01X00T479", "T220001294", "C01X00T47"]);
        passes(de_fuehrerschein, &["B072RRE2I55"], &["B072RRE2I45", "B072RRE2J55", "BA72RRE2I55", "B072RRE2I5"]);
        passes(de_social_security, &["65 170839 J 003", "15070649C103"], &["65170839J004", "15071349C103", "15320649C103", "150706490103"]);
        passes(de_health_insurance, &["A123456780"], &["A123456781", "1123456780", "A12345678"]);
        passes(de_lanr, &["123456601", "123456699"], &["123456701", "12345660"]);
        passes(de_bsnr, &["021234568"], &["991234568", "020000000"]);
    }

    #[test]
    fn a_plate_has_a_district_that_exists_and_at_most_eight_characters() {
        let yes = ["B-AB 1234", "m xy 12", "TÜ-AB 123", "HH-AB 123E", "STA-A 1", "WOR-AB 123", "B:XY 7H"];
        let no = ["B-AB 12345", "QQ-AB 123", "B-ABC 123", "B-1234", "WOR-AB 12345", "WOR-AB 1234", "B-AB 0123", "B-SS 18", "STAA1"];
        passes(de_kfz, &yes, &no);
    }
}
