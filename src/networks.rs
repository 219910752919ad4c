//! Allow-lists of networks: where the callers of an org, or the users of an API key, may come from.

use ipnet::{IpNet, Ipv4Net};
use serde::{Serialize, Serializer};
use std::net::IpAddr;

/// An allow-list. Empty, it lets in from anywhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// An IPv4 address in IPv6 clothes (RFC 4291, 2.5.5.2) is that IPv4 address.
    pub fn allow(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.0.is_empty() || self.0.iter().any(|network| network.contains(&ip))
    }

    /// Each as CIDR (RFC 4632), a single address without its mask.
    pub fn to_texts(&self) -> Vec<String> {
        let text = |network: &IpNet| {
            let is_single = network.prefix_len() == network.max_prefix_len();
            if is_single { network.addr().to_string() } else { network.to_string() }
        };
        self.0.iter().map(text).collect()
    }
}

/// Of texts that were checked by [`network`], or that Postgres printed.
impl From<Vec<String>> for Networks {
    fn from(texts: Vec<String>) -> Self {
        Self(texts.iter().filter_map(|text| read(text).ok()).collect())
    }
}

impl Serialize for Networks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.to_texts())
    }
}

/// Whether a text of a body is a network, for `#[garde(custom(network))]`.
pub fn network(text: &str, (): &()) -> garde::Result {
    read(text).map(drop).map_err(garde::Error::new)
}

fn read(text: &str) -> Result<IpNet, String> {
    let address = text.parse().ok().map(|address: IpAddr| IpNet::from(address));
    let network = address
        .or_else(|| text.parse().ok())
        .ok_or("expected a network like 203.0.113.0/24, or an address")?;
    if network.trunc() != network {
        return Err(format!("has an address beyond its mask: did you mean {}?", network.trunc()));
    }
    Ok(canonical(network))
}

/// `::ffff:203.0.113.0/120` is `203.0.113.0/24`.
fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(v6) = network else { return network };
    let mapped = v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(96));
    mapped.and_then(|(address, prefix)| Ipv4Net::new(address, prefix).ok()).map_or(network, IpNet::V4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(texts: &[&str]) -> Networks {
        Networks::from(texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
    }

    fn allow(texts: &[&str], ip: &str) -> bool {
        networks(texts).allow(ip.parse().unwrap())
    }

    #[test]
    fn an_address_is_let_in_by_its_network_alone_and_by_an_empty_list() {
        assert!(allow(&[], "198.51.100.1"));
        assert!(allow(&["203.0.113.0/24"], "203.0.113.255"));
        assert!(!allow(&["203.0.113.0/24"], "203.0.114.0"));
        assert!(allow(&["198.51.100.1", "2001:db8::/32"], "2001:db8:ffff::1"));
        assert!(!allow(&["2001:db8::/32"], "2001:db9::1"));
        assert!(!allow(&["2001:db8::/32"], "32.1.13.184"), "the same bits, of another family");
        assert!(allow(&["0.0.0.0/0"], "198.51.100.1") && !allow(&["0.0.0.0/0"], "::1"));
    }

    #[test]
    fn an_ipv4_address_in_ipv6_clothes_is_that_address_on_either_side() {
        assert!(allow(&["203.0.113.0/24"], "::ffff:203.0.113.7"));
        assert!(allow(&["::ffff:203.0.113.0/120"], "203.0.113.7"));
        assert!(allow(&["::ffff:203.0.113.7"], "203.0.113.7"));
        assert_eq!(
            networks(&["::ffff:203.0.113.0/120", "198.51.100.1/32", "2001:db8::1", "::/0"]).to_texts(),
            ["203.0.113.0/24", "198.51.100.1", "2001:db8::1", "::/0"]
        );
    }

    #[test]
    fn what_is_no_network_is_told_why() {
        for text in ["", "nowhere", "203.0.113.0/33", "203.0.113", "203.0.113.0/24/24", "10.0.0.0/-1", " ::1"]
        {
            assert!(read(text).unwrap_err().starts_with("expected a network"), "{text}");
        }
        assert_eq!(
            read("203.0.113.7/24").unwrap_err(),
            "has an address beyond its mask: did you mean 203.0.113.0/24?"
        );
    }
}
