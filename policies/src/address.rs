//! How much of a client's address the record keeps: an address is personal data in itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::Deserialize;

/// `client_address` of a policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientAddress {
    /// All of it.
    #[default]
    Full,
    /// Its network: the first 24 bits of an IPv4 address, the first 48 of an IPv6 address.
    Network,
    /// Nothing.
    None,
}

impl ClientAddress {
    /// Returns what is kept of an address, written with or without a port; nothing of what is no address, unless all is kept.
    #[must_use]
    pub fn kept(self, address: &str) -> String {
        let ip = || address.parse::<SocketAddr>().map(|address| address.ip()).or_else(|_| address.parse::<IpAddr>());
        match self {
            Self::Full => address.to_owned(),
            Self::None => String::new(),
            Self::Network => ip().map_or_else(|_| String::new(), |ip| network(ip.to_canonical())),
        }
    }
}

fn network(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => format!("{}/24", Ipv4Addr::from(u32::from(ip) & 0xffff_ff00)),
        IpAddr::V6(ip) => format!("{}/48", Ipv6Addr::from(u128::from(ip) & (u128::MAX << 80))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_kept_and_no_more() {
        for (address, network) in [
            ("203.0.113.77:5123", "203.0.113.0/24"),
            ("203.0.113.77", "203.0.113.0/24"),
            ("[2001:db8:1:2::9]:443", "2001:db8:1::/48"),
            ("[::ffff:203.0.113.77]:443", "203.0.113.0/24"),
            ("unix:/tmp/x", ""),
            ("", ""),
        ] {
            assert_eq!(ClientAddress::Network.kept(address), network, "{address}");
            assert_eq!(ClientAddress::Full.kept(address), address);
            assert_eq!(ClientAddress::None.kept(address), "");
        }
    }
}
