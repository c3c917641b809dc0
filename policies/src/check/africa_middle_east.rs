//! Checks of the numbers of Africa, Turkey and the Middle East, as each issuing body publishes them.

use crate::check::Check;
use crate::check::arithmetic::{calendar, exactly, luhn_sum, number, repeated};

/// Name and check, for `check:` in a pack.
pub(super) const CHECKS: &[(&str, Check)] = &[("tr_tckn", tr_tckn), ("za_id", za_id), ("il_id", il_id)];

/// Turkish identity number: tenth digit from odd and even sums, eleventh from the sum of all.
pub(crate) fn tr_tckn(text: &str) -> bool {
    exactly::<11>(text).is_some_and(|id| {
        let odd: u32 = id[..9].iter().step_by(2).sum();
        let even: u32 = id[1..8].iter().step_by(2).sum();
        id[0] != 0 && !repeated(&id) && (odd * 7 + 10 * 9 - even) % 10 == id[9] && id[..10].iter().sum::<u32>() % 10 == id[10]
    })
}

/// South African identity number: date of birth, citizenship 0 to 2, Luhn.
pub(crate) fn za_id(text: &str) -> bool {
    exactly::<13>(text)
        .is_some_and(|id| calendar(2000, number(&id[2..4]), number(&id[4..6])) && id[10] <= 2 && luhn_sum(&id).is_multiple_of(10))
}

/// Israeli identity number: nine digits, weights 1 and 2 as Luhn.
pub(crate) fn il_id(text: &str) -> bool {
    exactly::<9>(text).is_some_and(|id| !repeated(&id) && luhn_sum(&id).is_multiple_of(10))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::passes;

    #[test]
    fn published_numbers_pass_and_their_neighbours_do_not() {
        passes(tr_tckn, &["10000000146"], &["10000000147"]);
        passes(za_id, &["8001015009087"], &["8001015009086"]);
        passes(il_id, &["123456782"], &["123456783"]);
    }
}
