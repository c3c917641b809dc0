//! Checks of addresses and tokens that carry their own structure or checksum.

use std::net::{Ipv4Addr, Ipv6Addr};

use sha2::{Digest, Sha256};

use crate::check::Check;

/// Name and check, for `check:` in a pack.
pub(super) const CHECKS: &[(&str, Check)] = &[
    ("ipv4", ipv4),
    ("ipv4_public", ipv4_public),
    ("ipv4_private", ipv4_private),
    ("ipv6", ipv6),
    ("ipv6_any", ipv6_any),
    ("ip_public", ip_public),
    ("mac", mac),
    ("jwt", jwt),
    ("github_token", github_token),
    ("gcp_api_key", gcp_api_key),
    ("pkcs12", pkcs12),
    ("has_digit", has_digit),
    ("random_key", random_key),
    ("base64", base64),
    ("uuid", uuid),
];

/// An IPv4 address (RFC 791, dotted quad, no leading zeros).
pub(crate) fn ipv4(text: &str) -> bool {
    text.parse::<Ipv4Addr>().is_ok()
}

/// An IPv4 address that may name a host on the Internet: neither of `ipv4_private` nor multicast nor reserved. The documentation
/// ranges (RFC 5737) pass, as they stand for such hosts.
pub(crate) fn ipv4_public(text: &str) -> bool {
    text.parse::<Ipv4Addr>().is_ok_and(|ip| !is_private(ip) && (1..224).contains(&ip.octets()[0]))
}

/// An IPv4 address of a private network, a loop-back, a link-local one or one behind a carrier's translation (RFC 1918, 1122, 3927, 6598).
pub(crate) fn ipv4_private(text: &str) -> bool {
    text.parse::<Ipv4Addr>().is_ok_and(is_private)
}

fn is_private(ip: Ipv4Addr) -> bool {
    let [a, b, ..] = ip.octets();
    ip.is_private() || ip.is_loopback() || ip.is_link_local() || (a == 100 && b & 0xc0 == 64)
}

/// An IPv6 address (RFC 4291, 2.2) that names a host: not `::` and not `::1`. A zone (RFC 4007) may follow.
pub(crate) fn ipv6(text: &str) -> bool {
    without_zone(text).parse::<Ipv6Addr>().is_ok_and(|ip| !ip.is_unspecified() && !ip.is_loopback())
}

/// Any IPv6 address but `::`, with or without a zone.
pub(crate) fn ipv6_any(text: &str) -> bool {
    without_zone(text).parse::<Ipv6Addr>().is_ok_and(|ip| !ip.is_unspecified())
}

fn without_zone(text: &str) -> &str {
    text.split_once('%').map_or(text, |(address, _)| address)
}

/// An IPv4 or IPv6 address outside the private, loopback, link-local and documentation ranges.
pub(crate) fn ip_public(text: &str) -> bool {
    if let Ok(ip) = text.parse::<Ipv4Addr>() {
        return !(ip.is_private()
            || ip.is_loopback()
            || ip.is_link_local()
            || ip.is_documentation()
            || ip.is_multicast()
            || ip.is_broadcast()
            || ip.octets()[0] == 0
            || ip.octets()[0] >= 240);
    }
    let Ok(ip) = text.parse::<Ipv6Addr>() else { return false };
    let head = ip.segments()[0];
    // Global unicast is 2000::/3; 2001:db8::/32 is for documentation (RFC 3849).
    head & 0xe000 == 0x2000 && !(head == 0x2001 && ip.segments()[1] == 0x0db8)
}

/// A MAC address (EUI-48) that is neither all zeros nor broadcast. With dots it has a letter: three numbers with dots are a version.
pub(crate) fn mac(text: &str) -> bool {
    let nibbles: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let is_number = text.contains('.') && nibbles.iter().all(u8::is_ascii_digit);
    nibbles.len() == 12 && !is_number && !nibbles.iter().all(|&b| b == b'0') && !nibbles.iter().all(|b| b.eq_ignore_ascii_case(&b'f'))
}

/// A JSON Web Token (RFC 7519, compact form): the header decodes to a JSON object with `alg` or `typ`.
pub(crate) fn jwt(text: &str) -> bool {
    let mut parts = text.split('.');
    let (Some(header), Some(payload)) = (parts.next(), parts.next()) else { return false };
    let object = |part: &str| base64_decode(part).filter(|bytes| bytes.first() == Some(&b'{'));
    let Some(header) = object(header) else { return false };
    let named = |name: &[u8]| header.windows(name.len()).any(|window| window == name);
    !payload.is_empty() && (named(b"\"alg\"") || named(b"\"typ\""))
}

/// A GitHub or npm token: the last six characters are the CRC-32 of the random part in base 62 (GitHub, "Behind GitHub's new
/// authentication token formats", 2021).
pub(crate) fn github_token(text: &str) -> bool {
    let Some((_, secret)) = text.rsplit_once('_') else { return false };
    if secret.len() <= 6 || !secret.is_ascii() {
        return false;
    }
    let (random, checksum) = secret.split_at(secret.len() - 6);
    let mut value = 0u64;
    for byte in checksum.bytes() {
        let Some(digit) = BASE62.iter().position(|&known| known == byte) else { return false };
        value = value * 62 + digit as u64;
    }
    value == u64::from(crc32(random.as_bytes()))
}

/// A Google API key that is not one of those in public samples and test suites which other scanners pass over as well.
pub(crate) fn gcp_api_key(text: &str) -> bool {
    let digest = Sha256::digest(text.as_bytes());
    !PUBLISHED_GCP_KEYS.iter().any(|head| digest[..8] == head.to_be_bytes())
}

/// The first eight bytes of the SHA-256 of each published key, so that this file holds none.
const PUBLISHED_GCP_KEYS: &[u64] = &[
    0x0b47_6bdf_9acf_2123,
    0x2037_abca_ffb2_b777,
    0x27a9_a429_31df_f7eb,
    0x37f8_f09b_df12_c2f2,
    0x3a8b_61d0_f636_b007,
    0x3f37_0c9d_d822_5c63,
    0x49f7_77db_995e_8260,
    0x4c98_242d_cadc_8b29,
    0x8731_261c_b72d_8626,
    0xa19f_89ab_3555_eac1,
    0xa6c8_14bc_555a_e62c,
    0xdc0f_cf04_6c61_640c,
    0xe4a5_542b_b7fd_7b67,
    0xea9b_b108_2cf9_5663,
    0xeb54_0d2b_6ee2_a0a4,
];

/// The head of a PKCS#12 file in base64 (RFC 7292, section 4): a sequence of version 3 and a content of type `pkcs7-data`.
pub(crate) fn pkcs12(text: &str) -> bool {
    const DATA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];
    let compact: String = text.chars().filter(|c| !c.is_whitespace()).take(64).collect();
    let Some(bytes) = compact.get(..compact.len() / 4 * 4).and_then(base64_decode) else { return false };
    bytes.starts_with(&[0x30]) && bytes.windows(3).take(8).any(|w| w == [0x02, 0x01, 0x03]) && bytes.windows(DATA.len()).any(|w| w == DATA)
}

/// A text with a digit in it: random letters and digits nearly always have one, words and names in code do not.
pub(crate) fn has_digit(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_digit())
}

/// A text that looks drawn at random: letters and digits change places often. Words with a number behind them, versions,
/// dates, dotted names and UUIDs do not.
pub(crate) fn random_key(text: &str) -> bool {
    let pairs = || text.as_bytes().windows(2);
    let mixed =
        pairs().filter(|w| w[0].is_ascii_digit() && w[1].is_ascii_alphabetic() || w[0].is_ascii_alphabetic() && w[1].is_ascii_digit());
    let raised = pairs().filter(|w| w[0].is_ascii_lowercase() && w[1].is_ascii_uppercase());
    let (mixed, raised) = (mixed.count(), raised.count());
    mixed >= 2 && (mixed + raised) * 6 >= text.len() && !(text.len() == 36 && uuid(text))
}

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// CRC-32 as in ISO/IEC 13239 (the polynomial of Ethernet and zip), bit by bit: texts are short.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 })
    })
}

/// Base64 in either alphabet (RFC 4648), with or without padding.
pub(crate) fn base64(text: &str) -> bool {
    text.len() >= 4 && base64_decode(text).is_some()
}

fn base64_decode(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut count) = (0u32, 0);
    for byte in text.bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    (text.len() % 4 != 1).then_some(bytes)
}

/// A UUID with a version of 1 to 8 and the variant of RFC 9562.
pub(crate) fn uuid(text: &str) -> bool {
    let hex: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    hex.len() == 32 && (b'1'..=b'8').contains(&hex[12]) && matches!(hex[16].to_ascii_lowercase(), b'8' | b'9' | b'a' | b'b')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_numbers_with_dots() {
        assert!(ipv4("192.168.1.10") && !ipv4("256.1.1.1") && !ipv4("01.2.3.4") && !ipv4("1.2.3"));
        assert!(ipv4_public("203.0.113.7") && !ipv4_public("100.64.0.1") && !ipv4_public("224.0.0.1") && !ipv4_public("0.0.0.0"));
        assert!(ipv4_private("100.127.0.1") && ipv4_private("127.0.0.1") && !ipv4_private("100.128.0.1") && !ipv4_private("8.8.8.8"));
        assert!(ipv6("fe80::1%eth0") && ipv6("::ffff:203.0.113.7") && !ipv6("::1") && ipv6_any("::1") && !ipv6_any("::"));
        assert!(ipv6("2001:db8::8a2e:370:7334") && !ipv6("::") && !ipv6("1:2:3"));
        assert!(ip_public("8.8.8.8") && !ip_public("10.0.0.1") && !ip_public("192.0.2.1"));
        assert!(ip_public("2606:4700::1111") && !ip_public("2001:db8::1") && !ip_public("fe80::1"));
        assert!(mac("00:1A:2B:3C:4D:5E") && !mac("00:00:00:00:00:00") && !mac("ff-ff-ff-ff-ff-ff"));
        assert!(mac("001a.2b3c.4d5e") && !mac("1234.5678.9012"));
    }

    #[test]
    fn a_token_header_must_decode_to_an_object() {
        assert!(jwt("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxIn0.c2ln"));
        assert!(!jwt("aGVsbG8.d29ybGQ.c2ln"));
        assert!(!jwt("eyJhbGciOiJIUzI1NiJ9"));
    }

    #[test]
    fn a_github_token_carries_its_crc() {
        let random = "abcdefghijklmnopqrstuvwxyz0123";
        let mut rest = crc32(random.as_bytes());
        let mut checksum = [b'0'; 6];
        for place in checksum.iter_mut().rev() {
            *place = BASE62[(rest % 62) as usize];
            rest /= 62;
        }
        let checksum = String::from_utf8(checksum.to_vec()).unwrap();
        assert!(github_token(&format!("ghp_{random}{checksum}")));
        assert!(!github_token(&format!("ghp_{random}000000")));
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn a_random_key_is_told_from_words_with_numbers() {
        for key in ["q7Rk2Vd9Xw4Ls8Tz1Mb6", "9f3a7c1e5b2d8f0a6c4e1b7d3f9a5c2e", "mT4vRk9xQz2LpWn7", "Zt5-Lw8_Qp3Vr6Ny1Kd4Gh7"] {
            assert!(random_key(key), "{key}");
        }
        let words = ["", "2024-01-15", "my-service-prod-2024", "getNextToken1", "v1.2.3-beta4+build567", "claude-3-5-sonnet-20241022"];
        for words in words.iter().chain(&["550e8400-e29b-41d4-a716-446655440000", "1234567890123456", "applicationConfiguration2"]) {
            assert!(!random_key(words), "{words}");
        }
        assert!(has_digit("abc1") && !has_digit("abc") && !has_digit(""));
    }

    #[test]
    fn a_key_of_public_samples_is_no_secret() {
        assert!(gcp_api_key("AIzaSyNotRealNotRealNotRealNotRealNotR"));
        assert!(PUBLISHED_GCP_KEYS.is_sorted());
    }

    #[test]
    fn a_pkcs12_file_is_told_by_its_version_and_content() {
        // 30 82 04 d2, 02 01 03, 30 82 04 a0, 06 09 2a 86 48 86 f7 0d 01 07 01, a0 ...
        let head = "MIIE0gIBAzCCBKAGCSqGSIb3DQEHAaCCBJEEggSN";
        assert!(pkcs12(head) && pkcs12("MIIE0gIBAzCC\nBKAGCSqGSIb3DQEHAaCCBJEEggSN"));
        assert!(!pkcs12("MIIE0gIBADANBgkqhkiG9w0BAQEFAASCBKcwggSj") && !pkcs12("") && !pkcs12("MII") && !pkcs12("aaaé"));
    }

    #[test]
    fn a_uuid_has_a_version_and_a_variant() {
        assert!(uuid("550e8400-e29b-41d4-a716-446655440000"));
        assert!(!uuid("550e8400-e29b-01d4-a716-446655440000") && !uuid("550e8400-e29b-41d4-c716-446655440000"));
        assert!(base64("aGVsbG8=") && !base64("a*b"));
    }
}
