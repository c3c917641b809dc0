//! Check-digit arithmetic that many numbers share.

use crate::check::Check;

/// Name and check, for `check:` in a pack.
pub(super) const CHECKS: &[(&str, Check)] =
    &[("luhn", luhn), ("verhoeff", verhoeff), ("iso7064_mod11_10", iso7064_mod11_10), ("iso7064_mod11_2", iso7064_mod11_2)];

/// Returns the ASCII digits of `text` as numbers.
pub(crate) fn digits(text: &str) -> Vec<u32> {
    text.bytes().filter(u8::is_ascii_digit).map(|b| u32::from(b - b'0')).collect()
}

/// Returns the ASCII letters and digits of `text`, letters in capitals.
pub(crate) fn alphanumerics(text: &str) -> Vec<u8> {
    text.bytes().filter(u8::is_ascii_alphanumeric).map(|b| b.to_ascii_uppercase()).collect()
}

/// Returns the digits of `text` when there are exactly `N` of them.
pub(crate) fn exactly<const N: usize>(text: &str) -> Option<[u32; N]> {
    digits(text).try_into().ok()
}

/// Reads digits as one number.
pub(crate) fn number(digits: &[u32]) -> u32 {
    digits.iter().fold(0u32, |number, digit| number.wrapping_mul(10).wrapping_add(*digit))
}

/// Sums `digits` multiplied by `weights`, pair by pair.
pub(crate) fn weighted(digits: &[u32], weights: &[u32]) -> u32 {
    digits.iter().zip(weights).map(|(digit, weight)| digit * weight).sum()
}

/// True when the last digit is 11 less the weighted sum mod 11, where ten and eleven stand for `ten` and 0.
pub(crate) fn mod11(digits: &[u32], weights: &[u32], ten: Option<u32>) -> bool {
    let Some((&check, body)) = digits.split_last() else { return false };
    let expected = match 11 - weighted(body, weights) % 11 {
        11 => Some(0),
        10 => ten,
        rest => Some(rest),
    };
    expected == Some(check)
}

/// Luhn's mod 10 check digit (ISO/IEC 7812-1 annex B). Numbers of one repeated digit fail.
pub(crate) fn luhn(text: &str) -> bool {
    let digits = digits(text);
    digits.len() >= 2 && !repeated(&digits) && luhn_sum(&digits).is_multiple_of(10)
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
