//! Where webhooks may go: https on the open internet, and nowhere inside, by whatever name (SSRF).
//!
//! Checked twice: as far as the URL tells when an endpoint is made, and each address right before it is connected to.

use ipnet::IpNet;
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};
use url::{Host, Url};

/// Octets.
const LONGEST: usize = 2048;

/// An absolute URL that requests may be sent to, as far as can be said without asking for the addresses of its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookUrl(Url);

/// What is wrong with a URL; `code` is for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UrlFault {
    pub code: &'static str,
    pub detail: &'static str,
}

const fn fault(code: &'static str, detail: &'static str) -> UrlFault {
    UrlFault { code, detail }
}

const TOO_LONG: UrlFault = fault("too_long", "may have 2048 octets");
const MALFORMED: UrlFault =
    fault("malformed", "is no absolute URL; it looks like https://example.com/webhooks");
const NOT_HTTPS: UrlFault = fault("not_https", "must begin with https://");
const USER_INFO: UrlFault = fault(
    "user_info",
    "has a user name or a password in it, which would be shown and logged: put a token into the path instead, or rely \
     on the signature",
);
const FRAGMENT: UrlFault = fault("fragment", "has a fragment (#..), which is never sent: leave it out");
const NO_PORT: UrlFault = fault("malformed", "has the port 0, to which nothing can be sent");
const FORBIDDEN: UrlFault = fault(
    "forbidden_address",
    "is not on the open internet: private, loopback, link-local and reserved addresses are not called",
);

impl WebhookUrl {
    /// `allowed` are networks inside that the platform's settings open (`webhooks.allowed_networks`), to plain http too.
    pub fn parse(text: &str, allowed: &[IpNet]) -> Result<Self, UrlFault> {
        if text.len() > LONGEST {
            return Err(TOO_LONG);
        }
        // The parser would drop what is written around and within a URL.
        if text.contains(|letter: char| letter.is_whitespace() || letter.is_control()) {
            return Err(MALFORMED);
        }
        let url: Url = text.parse().map_err(|_| MALFORMED)?;
        if !["https", "http"].contains(&url.scheme()) {
            return Err(NOT_HTTPS);
        }
        if url.as_str().len() > LONGEST {
            return Err(TOO_LONG);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(USER_INFO);
        }
        if url.fragment().is_some() {
            return Err(FRAGMENT);
        }
        if url.port() == Some(0) {
            return Err(NO_PORT);
        }
        let url = Self(url);
        match url.literal() {
            Some(ip) if within(allowed, ip) => return Ok(url),
            Some(ip) if forbidden(ip, allowed) => return Err(FORBIDDEN),
            None if url.names_this_machine() && !allowed.iter().any(|net| net.addr().is_loopback()) => {
                return Err(FORBIDDEN);
            }
            // Its addresses are looked at when it is called.
            None if url.is_plain() && !allowed.is_empty() => return Ok(url),
            _ => {}
        }
        if url.is_plain() { Err(NOT_HTTPS) } else { Ok(url) }
    }

    pub fn as_url(&self) -> &Url {
        &self.0
    }

    /// Without TLS: only to networks that the settings open.
    pub fn is_plain(&self) -> bool {
        self.0.scheme() == "http"
    }

    /// The address, where there is one in the place of a name, however it is spelt: `0x7f.1`, `[::ffff:7f00:1]`.
    pub fn literal(&self) -> Option<IpAddr> {
        match self.0.host()? {
            Host::Domain(_) => None,
            Host::Ipv4(ip) => Some(ip.into()),
            Host::Ipv6(ip) => Some(ip.into()),
        }
    }

    /// RFC 6761, 6.3.
    fn names_this_machine(&self) -> bool {
        let name = self.0.host_str().unwrap_or_default().trim_end_matches('.');
        name == "localhost" || name.ends_with(".localhost")
    }
}

impl fmt::Display for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

/// Scheme, name and port. All that is told of a URL to whoever may not read webhooks: path and query may hold a token.
pub fn origin(url: &str) -> Option<String> {
    Some(url.parse::<Url>().ok()?.origin().ascii_serialization())
}

/// Whether the settings open this address.
pub fn within(allowed: &[IpNet], ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    allowed.iter().any(|network| network.contains(&ip))
}

/// Whether an address is not to be called: it is not on the open internet, and the settings do not open it.
pub fn forbidden(ip: IpAddr, allowed: &[IpNet]) -> bool {
    if within(allowed, ip) {
        return false;
    }
    match ip.to_canonical() {
        IpAddr::V4(ip) => inside_v4(ip),
        IpAddr::V6(ip) => inside_v6(ip),
    }
}

/// IANA's special-purpose registry of IPv4, less what is globally reachable, and what clouds keep for themselves.
const INSIDE_V4: [(Ipv4Addr, u32); 16] = [
    (Ipv4Addr::UNSPECIFIED, 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    // Where clouds tell machines their credentials.
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
    // Azure's, for its own machines.
    (Ipv4Addr::new(168, 63, 129, 16), 32),
];

fn inside_v4(ip: Ipv4Addr) -> bool {
    INSIDE_V4.iter().any(|(network, prefix)| (ip.to_bits() ^ network.to_bits()) >> (32 - prefix) == 0)
}

/// What of `2000::/3`, the only addresses that are given out, is not reachable from everywhere.
const INSIDE_V6: [(Ipv6Addr, u32); 3] = [
    // Protocols' own: Teredo, benchmarking, ORCHID.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    // Documentation.
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

fn inside_v6(ip: Ipv6Addr) -> bool {
    let bits = ip.to_bits();
    let is_in = |network: Ipv6Addr, prefix: u32| (bits ^ network.to_bits()) >> (128 - prefix) == 0;
    match ip.segments() {
        // 6to4 (RFC 3056) and NAT64 (RFC 6052) lead on to the IPv4 address that is in them.
        [0x2002, high, low, ..] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            inside_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
        }
        [first, ..] => {
            first & 0xe000 != 0x2000 || INSIDE_V6.iter().any(|(network, prefix)| is_in(*network, *prefix))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str, allowed: &[&str]) -> &'static str {
        let allowed: Vec<IpNet> = allowed.iter().map(|network| network.parse().unwrap()).collect();
        WebhookUrl::parse(text, &allowed).map_or_else(|fault| fault.code, |_| "fine")
    }

    #[test]
    fn only_addresses_on_the_open_internet_are_called_however_they_are_clothed() {
        for outside in [
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2002:808:808::1",
            "2606:4700::1111",
            "2001:4860:4860::8888",
        ] {
            assert!(!forbidden(outside.parse().unwrap(), &[]), "{outside}");
        }
        for inside in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:0:127.0.0.1",
            "64:ff9b::127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::8.8.8.8",
            "100::1",
            "2001::1",
            "2001:2::1",
            "2001:10::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(forbidden(inside.parse().unwrap(), &[]), "{inside}");
        }
    }

    #[test]
    fn settings_open_a_network_and_nothing_beside_it() {
        let allowed = ["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        for ip in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert!(!forbidden(ip.parse().unwrap(), &allowed), "{ip}");
        }
        for ip in ["10.0.0.1", "169.254.169.254", "::2", "::7f00:1", "64:ff9b::127.0.0.1"] {
            assert!(forbidden(ip.parse().unwrap(), &allowed), "{ip}");
        }
    }

    #[test]
    fn a_url_is_refused_for_what_it_says_itself() {
        for (text, wanted) in [
            ("https://example.com/hooks?tenant=1", "fine"),
            ("https://example.com:8443", "fine"),
            ("https://8.8.8.8/", "fine"),
            ("https://bücher.example/", "fine"),
            ("", "malformed"),
            ("example.com/hooks", "malformed"),
            ("https://", "malformed"),
            (" https://example.com", "malformed"),
            ("https://exa\tmple.com", "malformed"),
            ("https://example.com:0/", "malformed"),
            ("https://example.com:99999/", "malformed"),
            ("ftp://example.com/", "not_https"),
            ("file:///etc/passwd", "not_https"),
            ("http://example.com/", "not_https"),
            ("http://8.8.8.8/", "not_https"),
            ("https://user@example.com/", "user_info"),
            ("https://:secret@example.com/", "user_info"),
            ("https://example.com/#top", "fragment"),
            ("https://localhost/", "forbidden_address"),
            ("https://LOCALHOST./", "forbidden_address"),
            ("https://api.localhost/", "forbidden_address"),
            ("https://127.0.0.1/", "forbidden_address"),
            ("https://127.1/", "forbidden_address"),
            ("https://2130706433/", "forbidden_address"),
            ("https://0x7f000001/", "forbidden_address"),
            ("https://0177.0.0.1/", "forbidden_address"),
            ("https://１２７.0.0.1/", "forbidden_address"),
            ("https://[::1]/", "forbidden_address"),
            ("https://[::ffff:7f00:1]:8443/", "forbidden_address"),
            ("https://169.254.169.254/latest/meta-data/", "forbidden_address"),
            ("http://[fd00:ec2::254]/", "forbidden_address"),
        ] {
            assert_eq!(code(text, &[]), wanted, "{text}");
        }
        assert_eq!(code(&format!("https://example.com/{}", "a".repeat(2048)), &[]), "too_long");
    }

    #[test]
    fn the_origin_of_a_url_holds_no_token() {
        for url in ["https://example.com/T0KEN", "https://example.com?t=T0KEN"] {
            assert_eq!(origin(url).unwrap(), "https://example.com", "{url}");
        }
        assert_eq!(origin("http://[::1]:3000/T0KEN").unwrap(), "http://[::1]:3000");
    }

    #[test]
    fn plain_http_goes_to_opened_networks_alone() {
        let loopback = ["127.0.0.0/8", "::1/128"];
        for (text, wanted) in [
            ("http://127.0.0.1:3000/", "fine"),
            ("http://[::1]:3000/", "fine"),
            ("http://localhost:3000/", "fine"),
            ("https://localhost:3000/", "fine"),
            // Its addresses will tell.
            ("http://example.com/", "fine"),
            ("http://8.8.8.8/", "not_https"),
            ("https://8.8.8.8/", "fine"),
            ("http://10.0.0.1/", "forbidden_address"),
            ("https://10.0.0.1/", "forbidden_address"),
        ] {
            assert_eq!(code(text, &loopback), wanted, "{text}");
        }
    }
}
