//! The checks a rule may name: arithmetic and structure that tell a real number from digits that only look like one.
//!
//! One file for each part of the world; each names its own checks.

mod africa_middle_east;
mod americas;
mod arithmetic;
mod asia_pacific;
mod china;
mod eu_vat;
mod europe_east;
mod europe_north;
mod europe_west;
mod generic;
mod germany;
mod token;
mod uk;
mod wallet;

/// A check: true when the text may be what the rule says it is. Separators are the check's own business.
pub(crate) type Check = fn(&str) -> bool;

/// All checks with their names.
fn all() -> impl Iterator<Item = &'static (&'static str, Check)> {
    let tables = [
        arithmetic::CHECKS,
        generic::CHECKS,
        token::CHECKS,
        wallet::CHECKS,
        americas::CHECKS,
        uk::CHECKS,
        germany::CHECKS,
        europe_west::CHECKS,
        europe_north::CHECKS,
        europe_east::CHECKS,
        eu_vat::CHECKS,
        asia_pacific::CHECKS,
        africa_middle_east::CHECKS,
        china::CHECKS,
    ];
    tables.into_iter().flatten()
}

/// Returns the check of that name.
pub(crate) fn by_name(name: &str) -> Option<Check> {
    all().find(|(known, _)| *known == name).map(|&(_, check)| check)
}

/// Returns all names, for an error's hint.
pub(crate) fn names() -> String {
    let names: Vec<&str> = all().map(|&(name, _)| name).collect();
    names.join(", ")
}

/// Asserts what a check says yes and no to; every check refuses texts that are no number at all.
#[cfg(test)]
#[track_caller]
fn passes(check: Check, yes: &[&str], no: &[&str]) {
    for text in yes {
        assert!(check(text), "should accept {text}");
    }
    for text in no.iter().chain(&["", "1", "A", "000000000"]) {
        assert!(!check(text), "should refuse {text}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn named(name: &str, yes: &[&str], no: &[&str]) {
        passes(by_name(name).unwrap_or_else(|| panic!("no check {name}")), yes, no);
    }

    #[test]
    fn every_name_is_given_once() {
        let mut names: Vec<&str> = all().map(|&(name, _)| name).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn checks_accept_published_examples_and_refuse_their_neighbours() {
        named("luhn", &["4111 1111 1111 1111", "79927398713"], &["4111111111111112", "0000000000000000"]);
        named(
            "mod97",
            &["GB82 WEST 1234 5698 7654 32", "DE89370400440532013000", "NO9386011117947"],
            &["GB82 WEST 1234 5698 7654 33", "DE8937040044053201300", "ZZ82WEST12345698765432"],
        );
        named("verhoeff", &["2363"], &["2364", "2633"]);
        named("iso7064_mod11_10", &["02476291358", "136695976"], &["02476291359"]);
        named("iso7064_mod11_2", &["0000000121032683", "079X"], &["0000000121032684", "0790"]);
        named("date", &["1990-02-28", "28.02.1990", "02/28/1990", "20000229"], &["1990-02-30", "19000229"]);
        named("imei", &["490154203237518"], &["490154203237519", "4111111111111111"]);
        named("vin", &["1M8GDM9AXKP042788", "1HGCM82633A004352"], &["1M8GDM9A1KP042788", "1M8GDM9AXKP04278I"]);
    }

    #[test]
    fn no_check_panics_on_any_short_text() {
        let pieces = ["", "0", "9", "A", "Z", "-", "é", "中", "00000000000000000000", "ZZZZZZZZZZZZZZZZZZZZ", "1.2.3.", "e."];
        for (_, check) in all() {
            for a in pieces {
                for b in pieces {
                    let _ = check(&format!("{a}{b}{a}"));
                }
            }
        }
    }
}
