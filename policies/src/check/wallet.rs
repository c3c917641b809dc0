//! Checks of addresses on public ledgers: each carries a checksum, so a false reading is next to impossible.

use sha2::{Digest, Sha256, Sha512_256};

use crate::check::Check;

/// Name and check, for `check:` in a pack.
pub(super) const CHECKS: &[(&str, Check)] = &[("wallet", wallet), ("ethereum", ethereum), ("eip55", eip55)];

/// Longest address that is looked at, in bytes; Cardano's longest has 108.
const ADDRESS_BYTES_MAX: usize = 128;
const BASE58: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
/// The XRP Ledger's own order of the same characters.
const BASE58_XRP: &[u8; 58] = b"rpshnaf39wBUDNEGHJKLM4PQRST7VWXYZ2bcdeCg65jkm8oFqi1tuvAxyz";
const BECH32: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// An address of any ledger whose addresses carry a checksum, Ethereum apart.
fn wallet(text: &str) -> bool {
    text.len() <= ADDRESS_BYTES_MAX
        && text.is_ascii()
        && (segwit(text)
            || base58check(text)
            || cash_address(text)
            || xrp(text)
            || stellar(text)
            || algorand(text)
            || monero(text)
            || ton(text))
}

/// An Ethereum address: one case throughout, or the mixed case of EIP-55. Zero and other one-digit constants are none.
fn ethereum(text: &str) -> bool {
    let Some(hex) = ethereum_hex(text) else { return false };
    let one_case = !hex.bytes().any(|b| b.is_ascii_lowercase()) || !hex.bytes().any(|b| b.is_ascii_uppercase());
    one_case || eip55(text)
}

/// An Ethereum address whose capitals are its checksum (EIP-55): a letter is a capital where Keccak-256 of the lower-case digits
/// has a nibble of 8 or more.
fn eip55(text: &str) -> bool {
    let Some(hex) = ethereum_hex(text) else { return false };
    let hash = keccak256(hex.to_ascii_lowercase().as_bytes());
    let mixed = hex.bytes().any(|b| b.is_ascii_lowercase()) && hex.bytes().any(|b| b.is_ascii_uppercase());
    mixed
        && hex.bytes().enumerate().all(|(i, byte)| {
            let nibble = if i % 2 == 0 { hash[i / 2] >> 4 } else { hash[i / 2] & 15 };
            byte.is_ascii_digit() || byte.is_ascii_uppercase() == (nibble >= 8)
        })
}

fn ethereum_hex(text: &str) -> Option<&str> {
    let hex = text.strip_prefix("0x").filter(|hex| hex.len() == 40 && hex.bytes().all(|b| b.is_ascii_hexdigit()))?;
    let distinct = (0..=255u8).filter(|byte| hex.as_bytes().contains(byte)).count();
    (distinct > 3).then_some(hex)
}

/// Reads base 58 in the given order of digits; leading zero digits are leading zero bytes.
fn base58(text: &str, alphabet: &[u8; 58]) -> Option<Vec<u8>> {
    // Least significant byte first.
    let mut number: Vec<u8> = Vec::with_capacity(text.len());
    for byte in text.bytes() {
        let mut carry = alphabet.iter().position(|&known| known == byte)?;
        for place in &mut number {
            carry += 58 * usize::from(*place);
            *place = (carry % 256) as u8;
            carry /= 256;
        }
        while carry > 0 {
            number.push((carry % 256) as u8);
            carry /= 256;
        }
    }
    let zeros = text.bytes().take_while(|&byte| byte == alphabet[0]).count();
    number.extend(std::iter::repeat_n(0, zeros));
    number.reverse();
    Some(number)
}

/// True when the last four bytes are the head of a double SHA-256 of the rest.
fn double_sha256(bytes: &[u8]) -> bool {
    let Some((payload, checksum)) = bytes.split_last_chunk::<4>() else { return false };
    Sha256::digest(Sha256::digest(payload))[..4] == *checksum
}

/// Base58Check with a version and a 160-bit hash (Bitcoin wiki, "Base58Check encoding"): Bitcoin, Litecoin, Dogecoin, Dash, Tron (one
/// byte of version), Zcash (two), Tezos (three).
fn base58check(text: &str) -> bool {
    (25..=37).contains(&text.len())
        && base58(text, BASE58).is_some_and(|bytes| {
            let known = match bytes.len() {
                // P2PKH and P2SH of Bitcoin, its test net, Litecoin, Dogecoin, Dash, and Tron.
                25 => matches!(bytes[0], 0x00 | 0x05 | 0x6f | 0xc4 | 0x30 | 0x32 | 0x1e | 0x16 | 0x4c | 0x10 | 0x41),
                26 => matches!(bytes[..2], [0x1c, 0xb8 | 0xbd]),
                27 => bytes[0] == 6,
                _ => false,
            };
            known && double_sha256(&bytes)
        })
}

/// An XRP Ledger account (XRPL docs, "base58 encodings"): version 0 and a 160-bit hash.
fn xrp(text: &str) -> bool {
    (25..=35).contains(&text.len())
        && base58(text, BASE58_XRP).is_some_and(|bytes| bytes.len() == 25 && bytes[0] == 0 && double_sha256(&bytes))
}

/// Bech32 and Bech32m (BIP 173, BIP 350). Bitcoin's and Litecoin's say which of the two by their version; Cardano's, Cosmos' and their
/// like use the first.
fn segwit(text: &str) -> bool {
    const GENERATOR: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
    const BECH32M: u32 = 0x2bc8_30a3;
    let lower = text.to_ascii_lowercase();
    if text != lower && text != text.to_ascii_uppercase() {
        return false;
    }
    let Some((human, data)) = lower.rsplit_once('1') else { return false };
    let Some(values) = places(data, BECH32).filter(|values| values.len() > 6 && !human.is_empty()) else { return false };
    let high = human.bytes().map(|b| b >> 5);
    let low = human.bytes().map(|b| b & 31);
    let all = high.chain([0]).chain(low).chain(values.iter().copied());
    let sum = all.fold(1u32, |sum, value| {
        let top = sum >> 25;
        let shifted = (sum & 0x01ff_ffff) << 5 ^ u32::from(value);
        GENERATOR.iter().enumerate().fold(shifted, |sum, (i, part)| if top >> i & 1 == 1 { sum ^ part } else { sum })
    });
    match human {
        "bc" | "tb" | "bcrt" | "ltc" | "tltc" => match values[0] {
            0 => sum == 1 && matches!(values.len(), 39 | 59),
            1..=16 => sum == BECH32M && (10..=72).contains(&values.len()),
            _ => false,
        },
        _ => sum == 1,
    }
}

/// Returns each character's place in an alphabet of 32.
fn places(text: &str, alphabet: &[u8; 32]) -> Option<Vec<u8>> {
    text.bytes().map(|byte| alphabet.iter().position(|&known| known == byte).map(|at| at as u8)).collect()
}

/// Bitcoin Cash (CashAddr specification): a 40-bit BCH code over the prefix and the payload.
fn cash_address(text: &str) -> bool {
    const GENERATOR: [u64; 5] = [0x98_f2bc_8e61, 0x79_b76d_99e2, 0xf3_3e5f_b3c4, 0xae_2eab_e2a8, 0x1e_4f43_e470];
    let lower = text.to_ascii_lowercase();
    if text != lower && text != text.to_ascii_uppercase() {
        return false;
    }
    let (prefix, data) = lower.split_once(':').unwrap_or(("bitcoincash", &lower));
    let Some(values) = places(data, BECH32).filter(|values| values.len() == 42) else { return false };
    let all = prefix.bytes().map(|b| b & 31).chain([0]).chain(values);
    let sum = all.fold(1u64, |sum, value| {
        let top = sum >> 35;
        let shifted = (sum & 0x07_ffff_ffff) << 5 ^ u64::from(value);
        GENERATOR.iter().enumerate().fold(shifted, |sum, (i, part)| if top >> i & 1 == 1 { sum ^ part } else { sum })
    });
    sum == 1
}

/// Reads base 32 (RFC 4648, no padding); bits that fill no byte are dropped.
fn base32(text: &str) -> Option<Vec<u8>> {
    let values = places(text, BASE32)?;
    let (mut bits, mut count) = (0u32, 0);
    let mut bytes = Vec::with_capacity(values.len() * 5 / 8);
    for value in values {
        bits = (bits << 5 | u32::from(value)) & 0xfff;
        count += 5;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    Some(bytes)
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| {
        (0..8).fold(crc ^ u16::from(byte) << 8, |crc: u16, _| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 })
    })
}

/// A Stellar account (SEP-23): G, 32 bytes of key, CRC-16 little end first.
fn stellar(text: &str) -> bool {
    text.len() == 56
        && text.starts_with('G')
        && base32(text).is_some_and(|bytes| {
            let Some((payload, checksum)) = bytes.split_last_chunk::<2>() else { return false };
            crc16(payload).to_le_bytes() == *checksum
        })
}

/// An Algorand account: 32 bytes of key and the last four bytes of their SHA-512/256.
fn algorand(text: &str) -> bool {
    text.len() == 58 && base32(text).is_some_and(|bytes| bytes.len() == 36 && Sha512_256::digest(&bytes[..32])[28..] == bytes[32..])
}

/// A TON account in its friendly form (TEP-2): tag, work chain, 32 bytes of hash, CRC-16 big end first, in base 64.
fn ton(text: &str) -> bool {
    if text.len() != 48 {
        return false;
    }
    let mut bytes = Vec::with_capacity(36);
    let mut bits = 0u32;
    for (i, byte) in text.bytes().enumerate() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return false,
        };
        bits = bits << 6 | u32::from(value);
        if i % 4 == 3 {
            bytes.extend(&bits.to_be_bytes()[1..]);
            bits = 0;
        }
    }
    let Some((payload, checksum)) = bytes.split_last_chunk::<2>() else { return false };
    matches!(payload[0] & 0x7f, 0x11 | 0x51) && crc16(payload).to_be_bytes() == *checksum
}

/// A Monero address (CryptoNote standard 007): blocks of eight bytes in eleven digits, the last of five in seven; the last four bytes
/// are the head of a Keccak-256.
fn monero(text: &str) -> bool {
    if !matches!(text.len(), 95 | 106) {
        return false;
    }
    let mut bytes = Vec::with_capacity(77);
    for block in text.as_bytes().chunks(11) {
        let mut number = 0u128;
        for byte in block {
            let Some(digit) = BASE58.iter().position(|known| known == byte) else { return false };
            number = number * 58 + digit as u128;
        }
        let size = if block.len() == 11 { 8 } else { 5 };
        if number >> (8 * size) != 0 {
            return false;
        }
        bytes.extend(&number.to_be_bytes()[16 - size..]);
    }
    let Some((payload, checksum)) = bytes.split_last_chunk::<4>() else { return false };
    matches!(payload[0], 18 | 19 | 42) && keccak256(payload)[..4] == *checksum
}

/// Keccak-256 as Ethereum and Monero use it: the sponge of FIPS 202 with rate 136 and the padding of the original submission.
fn keccak256(message: &[u8]) -> [u8; 32] {
    const RATE: usize = 136;
    let mut padded = message.to_vec();
    padded.push(1);
    padded.resize(padded.len().div_ceil(RATE) * RATE, 0);
    if let Some(last) = padded.last_mut() {
        *last |= 0x80;
    }
    let mut state = [0u64; 25];
    for block in padded.chunks_exact(RATE) {
        for (lane, bytes) in state.iter_mut().zip(block.chunks_exact(8)) {
            *lane ^= bytes.iter().rev().fold(0, |lane, &byte| lane << 8 | u64::from(byte));
        }
        keccak_f(&mut state);
    }
    let mut digest = [0; 32];
    for (bytes, lane) in digest.chunks_exact_mut(8).zip(state) {
        bytes.copy_from_slice(&lane.to_le_bytes());
    }
    digest
}

/// The permutation Keccak-f[1600] (FIPS 202, 3.2 and 3.3); lane (x, y) is at x + 5 y.
fn keccak_f(state: &mut [u64; 25]) {
    /// Rotations of step rho, in the order step pi visits the lanes.
    const RHO: [u32; 24] = [1, 3, 6, 10, 15, 21, 28, 36, 45, 55, 2, 14, 27, 41, 56, 8, 25, 43, 62, 18, 39, 61, 20, 44];
    /// The lanes in the order step pi visits them.
    const PI: [usize; 24] = [10, 7, 11, 17, 18, 3, 5, 16, 8, 21, 24, 4, 15, 23, 19, 13, 12, 2, 20, 14, 22, 9, 6, 1];
    // The round constants come from a shift register (FIPS 202, algorithm 5).
    let mut register = 1u8;
    for _ in 0..24 {
        let column: [u64; 5] = std::array::from_fn(|x| (0..5).fold(0, |sum, y| sum ^ state[x + 5 * y]));
        for (i, lane) in state.iter_mut().enumerate() {
            *lane ^= column[(i + 4) % 5] ^ column[(i + 1) % 5].rotate_left(1);
        }
        let mut moving = state[1];
        for (&lane, rotation) in PI.iter().zip(RHO) {
            moving = std::mem::replace(&mut state[lane], moving.rotate_left(rotation));
        }
        for row in state.chunks_exact_mut(5) {
            let old: [u64; 5] = std::array::from_fn(|x| row[x]);
            for (x, lane) in row.iter_mut().enumerate() {
                *lane = old[x] ^ (!old[(x + 1) % 5] & old[(x + 2) % 5]);
            }
        }
        for power in 0..7 {
            if register & 1 == 1 {
                state[0] ^= 1 << ((1u32 << power) - 1);
            }
            register = register << 1 ^ if register & 0x80 == 0 { 0 } else { 0x71 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::passes;

    #[test]
    fn keccak_of_nothing_is_the_published_one() {
        assert_eq!(hex::encode(keccak256(b"")), "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470");
        let long = keccak256(&[b'a'; 136]);
        assert_ne!(long, keccak256(&[b'a'; 137]));
    }

    #[test]
    fn published_addresses_pass_and_their_neighbours_do_not() {
        let bitcoin = [
            "1BoatSLRHtKNngkdXEeobR76b53LETtpyT",
            "3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy",
            "mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn",
            "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
            "BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4",
            "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0",
        ];
        let others = [
            "bitcoincash:qpm2qsznhks23z7629mms6s4cwef74vcwvy22gdx6a",
            "qpm2qsznhks23z7629mms6s4cwef74vcwvy22gdx6a",
            "rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTh",
            "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t",
            "GA7QYNF7SOWQ3GLR2BGMZEHXAVIRZA4KVWLTJJFC7MGXUA74P7UJVSGZ",
            "44AFFq5kSiGBoZ4NMDwYtN18obc8AemS33DBLWs3H7otXft3XjrpDtQGv7SqSsaBYBb98uNbr2VBBEt7f2wfn3RVGQBEP3A",
        ];
        let broken = [
            "1BoatSLRHtKNngkdXEeobR76b53LETtpyU",
            "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5",
            "bc1Qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
            "bitcoincash:qpm2qsznhks23z7629mms6s4cwef74vcwvy22gdx6b",
            "rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTi",
            "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6u",
            "GA7QYNF7SOWQ3GLR2BGMZEHXAVIRZA4KVWLTJJFC7MGXUA74P7UJVSGA",
            "44AFFq5kSiGBoZ4NMDwYtN18obc8AemS33DBLWs3H7otXft3XjrpDtQGv7SqSsaBYBb98uNbr2VBBEt7f2wfn3RVGQBEP3B",
        ];
        for address in bitcoin.iter().chain(&others) {
            assert!(wallet(address), "should accept {address}");
        }
        passes(wallet, &[], &broken);
    }

    #[test]
    fn capitals_of_an_ethereum_address_are_its_checksum() {
        let mixed = ["0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359"];
        let wrong = ["0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD", "0x0000000000000000000000000000000000000000"];
        passes(eip55, &mixed, &wrong);
        passes(eip55, &[], &["0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed"]);
        passes(ethereum, &["0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed", mixed[0]], &wrong);
    }
}
