//! Which addresses may be connected to.
//!
//! Everything that is not a public unicast address is forbidden unless allowed by name. Literal addresses
//! are checked in the URL, names after resolution; both by the same rule, so that no spelling slips through.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use url::{Host, Url};

use crate::planted::{Bug, planted};

/// The operator's exceptions to the block list, and the ports that may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EgressPolicy {
    /// Ranges that are allowed though they are not public.
    pub allow: Vec<IpNet>,
    /// Ports that may be connected to.
    pub ports: Vec<u16>,
}

/// Why an address is forbidden.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// The address is in a range that is not public.
    #[error("address {address} is not public ({range}); list it under [egress] allow if it is meant")]
    Address {
        /// The address.
        address: IpAddr,
        /// The range that holds it.
        range: IpNet,
    },
    /// The address is public, but this machine's.
    #[error("address {0} is this machine's own; list it under [egress] allow if it is meant")]
    Own(IpAddr),
    /// The port is not among those allowed.
    #[error("port {0} is not allowed; list it under [egress] ports if it is meant")]
    Port(u16),
    /// The URL has no host, or a scheme other than http and https.
    #[error("the URL is not an http or https URL with a host")]
    Url,
}

const fn v4(a: u8, b: u8, c: u8, d: u8, length: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length))
}

const fn v6(segments: [u16; 3], length: u8) -> IpNet {
    let [a, b, c] = segments;
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), length))
}

/// The special-purpose registries of IANA (RFC 6890 and its updates), multicast and reserved space; and what looks
/// public but answers only within a cloud.
const BLOCKED: [IpNet; 34] = [
    v4(0, 0, 0, 0, 8),
    v4(10, 0, 0, 0, 8),
    v4(100, 64, 0, 0, 10),
    v4(127, 0, 0, 0, 8),
    // Azure's metadata and platform service.
    v4(168, 63, 129, 16, 32),
    v4(169, 254, 0, 0, 16),
    v4(172, 16, 0, 0, 12),
    v4(192, 0, 0, 0, 24),
    v4(192, 0, 2, 0, 24),
    v4(192, 31, 196, 0, 24),
    v4(192, 52, 193, 0, 24),
    v4(192, 88, 99, 0, 24),
    v4(192, 168, 0, 0, 16),
    v4(192, 175, 48, 0, 24),
    v4(198, 18, 0, 0, 15),
    v4(198, 51, 100, 0, 24),
    v4(203, 0, 113, 0, 24),
    v4(224, 0, 0, 0, 4),
    v4(240, 0, 0, 0, 4),
    // ::/64 holds the unspecified, loopback and IPv4-compatible addresses.
    v6([0, 0, 0], 64),
    v6([0x64, 0xff9b, 0], 96),
    v6([0x64, 0xff9b, 1], 48),
    v6([0x100, 0, 0], 64),
    // Protocol assignments, Teredo among them.
    v6([0x2001, 0, 0], 23),
    v6([0x2001, 0xdb8, 0], 32),
    v6([0x2002, 0, 0], 16),
    v6([0x2620, 0x4f, 0x8000], 48),
    v6([0x3fff, 0, 0], 20),
    v6([0x5f00, 0, 0], 16),
    v6([0xfc00, 0, 0], 7),
    v6([0xfe80, 0, 0], 9),
    // Whatever else is not 2000::/3, of which alone global unicast addresses are given out.
    v6([0, 0, 0], 3),
    v6([0x4000, 0, 0], 2),
    v6([0x8000, 0, 0], 1),
];

/// IPv6 multicast, beside the list because it needs no exception.
const MULTICAST: IpNet = v6([0xff00, 0, 0], 8);

impl EgressPolicy {
    /// Checks an address; IPv4 inside IPv6 is judged as the IPv4 address that it reaches.
    ///
    /// # Errors
    /// When it is not public and not allowed.
    pub fn check_address(&self, address: IpAddr) -> Result<(), Forbidden> {
        let address = address.to_canonical();
        if self.names(address) {
            return Ok(());
        }
        match BLOCKED.iter().chain([&MULTICAST]).find(|net| net.contains(&address)) {
            Some(range) => Err(Forbidden::Address { address, range: *range }),
            None => Ok(()),
        }
    }

    /// Whether an address is allowed by name.
    pub(super) fn names(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        planted(Bug::EgressOpen) || self.allow.iter().any(|net| net.contains(&address))
    }

    /// Checks scheme, port and, where the host is a literal address, the address.
    ///
    /// # Errors
    /// When one of them is forbidden.
    pub fn check_url(&self, url: &Url) -> Result<(), Forbidden> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Forbidden::Url);
        }
        let port = url.port_or_known_default().ok_or(Forbidden::Url)?;
        if !self.ports.contains(&port) {
            return Err(Forbidden::Port(port));
        }
        match url.host().ok_or(Forbidden::Url)? {
            Host::Domain(_) => Ok(()),
            Host::Ipv4(address) => self.check_address(address.into()),
            Host::Ipv6(address) => self.check_address(address.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(allow: &[&str]) -> EgressPolicy {
        EgressPolicy { allow: allow.iter().map(|net| net.parse().unwrap()).collect(), ports: vec![80, 443] }
    }

    #[test]
    fn addresses_that_are_not_public_are_forbidden() {
        for address in [
            "127.0.0.1",
            "10.1.2.3",
            "172.31.255.255",
            "192.168.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "198.19.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "fe80::1",
            "fd00:ec2::254",
            "fec0::1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001:0:1::",
            "2001:db8::1",
            "ff02::1",
            "168.63.129.16",
            "100.100.100.200",
            "192.0.0.192",
            "fd20:ce::254",
            "::ffff:0:127.0.0.1",
            "0:0:0:1::1",
            "64:ff9b:1::7f00:1",
            "2620:4f:8000::1",
            "4000::1",
            "9000::1",
            "fe00::1",
        ] {
            assert!(policy(&[]).check_address(address.parse().unwrap()).is_err(), "{address}");
        }
        for address in ["8.8.8.8", "2a00:1450:4001::1", "2620:fe::fe", "1.1.1.1", "168.63.129.17", "::ffff:8.8.8.8"] {
            assert_eq!(policy(&[]).check_address(address.parse().unwrap()), Ok(()), "{address}");
        }
    }

    #[test]
    fn an_exception_allows_its_range_only() {
        let policy = policy(&["10.20.0.0/16"]);
        assert_eq!(policy.check_address("10.20.3.4".parse().unwrap()), Ok(()));
        assert_eq!(policy.check_address("::ffff:10.20.3.4".parse().unwrap()), Ok(()));
        assert!(policy.check_address("10.21.0.1".parse().unwrap()).is_err());
    }

    #[test]
    fn urls_are_checked_whatever_their_spelling() {
        let check = |url: &str| policy(&[]).check_url(&Url::parse(url).unwrap());
        for url in ["http://127.1/", "http://0x7f.1/", "http://2130706433/", "http://１２７.0.0.1/", "http://[::1]/"]
        {
            assert!(matches!(check(url), Err(Forbidden::Address { .. })), "{url}");
        }
        assert_eq!(check("https://track.example:8443/"), Err(Forbidden::Port(8443)));
        assert_eq!(check("ftp://track.example/"), Err(Forbidden::Url));
        assert_eq!(check("https://track.example/"), Ok(()));
    }
}
