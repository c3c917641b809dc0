//! Checks of addresses and tokens that carry their own structure or checksum.

use std::net::{Ipv4Addr, Ipv6Addr};

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

/// A GitHub token: the last six characters are the CRC-32 of the random part in base 62 (GitHub, "Behind GitHub's new
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
    fn a_uuid_has_a_version_and_a_variant() {
        assert!(uuid("550e8400-e29b-41d4-a716-446655440000"));
        assert!(!uuid("550e8400-e29b-01d4-a716-446655440000") && !uuid("550e8400-e29b-41d4-c716-446655440000"));
        assert!(base64("aGVsbG8=") && !base64("a*b"));
    }
}
