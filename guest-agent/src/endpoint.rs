//! Where the metadata service is: an address and a port, and how an operator writes them.
//!
//! Without being told the agent looks for the service at its link-local addresses, through each
//! device. A URL in the settings names one place and no other: an address, never a name, which
//! would need a resolver that a guest at boot does not have. An IPv6 address stands in brackets
//! (RFC 3986, section 3.2.2) and without a zone (RFC 6874): devices are the agent's own affair.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// The service's IPv4 link-local address.
pub const LINK_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
/// The service's IPv6 link-local address: that one's octets below fe80::/64.
pub const LINK_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe);
/// The service's unique local address, the one that EC2 uses.
pub const UNIQUE_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

/// One address and port of the metadata service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// Never a name, never a group of hosts.
    pub address: IpAddr,
    /// Usually 80.
    pub port: u16,
}

/// Why a text names no endpoint, and what to write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Another scheme, or none.
    #[error("{0:?} is no endpoint: write http://ADDRESS or http://ADDRESS:PORT; no https")]
    Scheme(String),
    /// A name, or nothing that is an address.
    #[error("{0:?} is no address: write one as 169.254.169.254 or [fd00:ec2::254], and no name")]
    Address(String),
    /// An IPv6 address without its brackets.
    #[error("{0:?} is an IPv6 address without brackets: write [{0}]")]
    Brackets(String),
    /// An IPv6 address with the name of a device.
    #[error("{0:?} names a device: leave out what is behind %, each device is tried")]
    Zone(String),
    /// An address at which no service can be.
    #[error("no service can be at {0}: write the address of one host")]
    Unusable(IpAddr),
    /// An IPv4 address in IPv6's clothes.
    #[error("::ffff:{0} is an IPv4 address: write {0}")]
    Mapped(Ipv4Addr),
    /// No number of a port.
    #[error("{0:?} is no port: write a number from 1 to 65535")]
    Port(String),
}

impl Endpoint {
    /// Whether it can only be reached on the link, so that a path must be opened. The unique local
    /// address is: the hypervisor answers for it there, whatever the guest's routers know.
    pub fn is_on_link(&self) -> bool {
        match self.address {
            IpAddr::V4(address) => address.is_link_local(),
            IpAddr::V6(address) => address.is_unicast_link_local() || address == UNIQUE_V6,
        }
    }

    /// For a socket; a link-local IPv6 address means something only together with the kernel's
    /// number of a device (RFC 4007, section 6), which others ignore.
    pub fn socket_address(&self, device: u32) -> SocketAddr {
        match self.address {
            IpAddr::V6(address) if address.is_unicast_link_local() => {
                SocketAddrV6::new(address, self.port, 0, device).into()
            }
            address => SocketAddr::new(address, self.port),
        }
    }

    /// Reads what stands between `//` and `/` in a URL.
    pub fn of_authority(text: &str) -> Result<Self, EndpointError> {
        let shown = |text: &str| text.chars().take(80).collect::<String>();
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let absent = || EndpointError::Address(shown(text));
                let (host, rest) = rest.split_once(']').ok_or_else(absent)?;
                let port = if rest.is_empty() {
                    "80"
                } else {
                    rest.strip_prefix(':').ok_or_else(absent)?
                };
                if host.contains('%') {
                    return Err(EndpointError::Zone(shown(host)));
                }
                (host.parse().map(IpAddr::V6).map_err(|_| absent())?, port)
            }
            None if text.parse::<Ipv6Addr>().is_ok() => {
                return Err(EndpointError::Brackets(shown(text)));
            }
            None => {
                let (host, port) = text.split_once(':').unwrap_or((text, "80"));
                let address = host.parse().map(IpAddr::V4);
                (address.map_err(|_| EndpointError::Address(shown(host)))?, port)
            }
        };
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        let number = port.parse().ok().filter(|number| digits && *number != 0);
        let port = number.ok_or_else(|| EndpointError::Port(shown(port)))?;
        Ok(Self { address: usable(host)?, port })
    }
}

fn usable(address: IpAddr) -> Result<IpAddr, EndpointError> {
    let wrong = match address {
        IpAddr::V4(address) => {
            address.is_unspecified() || address.is_multicast() || address.is_broadcast()
        }
        IpAddr::V6(address) => {
            if let Some(inner) = address.to_ipv4_mapped() {
                return Err(EndpointError::Mapped(inner));
            }
            // RFC 4291, section 2.5.6: a link-local address has 54 bits of zero behind its first
            // ten, and no host has a route to others.
            let link = address.is_unicast_link_local()
                && address.octets()[1..8] != [0x80, 0, 0, 0, 0, 0, 0];
            address.is_unspecified() || address.is_multicast() || link
        }
    };
    if wrong { Err(EndpointError::Unusable(address)) } else { Ok(address) }
}

impl From<IpAddr> for Endpoint {
    fn from(address: IpAddr) -> Self {
        Self { address, port: 80 }
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "http://{}", SocketAddr::new(self.address, self.port))
    }
}

impl std::str::FromStr for Endpoint {
    type Err = EndpointError;
    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let scheme = || EndpointError::Scheme(text.chars().take(80).collect());
        let rest = text.strip_prefix("http://").ok_or_else(scheme)?;
        Self::of_authority(rest.strip_suffix('/').unwrap_or(rest))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Endpoint, EndpointError> {
        text.parse()
    }

    #[test]
    fn addresses_of_both_families_are_taken_with_and_without_a_port() {
        for (text, address, port) in [
            ("http://169.254.169.254/", "169.254.169.254", 80),
            ("http://127.0.0.1:8080", "127.0.0.1", 8080),
            ("http://[fd00:ec2::254]", "fd00:ec2::254", 80),
            ("http://[fe80::a9fe:a9fe]:8080/", "fe80::a9fe:a9fe", 8080),
            ("http://[::1]:1", "::1", 1),
        ] {
            let endpoint = parse(text).unwrap();
            assert_eq!((endpoint.address.to_string().as_str(), endpoint.port), (address, port));
            assert_eq!(parse(&endpoint.to_string()), Ok(endpoint), "{text}");
        }
    }

    #[test]
    fn what_can_be_no_endpoint_is_refused_and_the_mend_is_named() {
        for (text, mend) in [
            ("https://169.254.169.254", "write http://ADDRESS"),
            ("169.254.169.254", "write http://ADDRESS"),
            ("http://metadata.example/", "and no name"),
            ("http://", "and no name"),
            ("http://169.254.169.254/latest", "and no name"),
            ("http://me@169.254.169.254", "and no name"),
            ("http://[169.254.169.254]", "and no name"),
            ("http://[fd00:ec2::254", "and no name"),
            ("http://[fd00:ec2::254]80", "and no name"),
            ("http://fd00:ec2::254", "write [fd00:ec2::254]"),
            ("http://[fe80::a9fe:a9fe%eth0]", "leave out what is behind %"),
            ("http://[fe80::a9fe:a9fe%25eth0]", "leave out what is behind %"),
            ("http://[::ffff:169.254.169.254]", "write 169.254.169.254"),
            ("http://[ff02::1]", "the address of one host"),
            ("http://[::]", "the address of one host"),
            ("http://[fe80:0:0:1::1]", "the address of one host"),
            ("http://224.0.0.1", "the address of one host"),
            ("http://[::1]:", "from 1 to 65535"),
            ("http://127.0.0.1:0", "from 1 to 65535"),
            ("http://127.0.0.1:+80", "from 1 to 65535"),
            ("http://127.0.0.1:65536", "from 1 to 65535"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(mend), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_only_on_the_link_is_known_and_takes_the_devices_number() {
        for (text, on_link, scope) in [
            ("http://169.254.169.254", true, 0),
            ("http://[fe80::a9fe:a9fe]", true, 7),
            ("http://[fd00:ec2::254]", true, 0),
            ("http://[fd00:ec2::253]", false, 0),
            ("http://10.0.0.1", false, 0),
        ] {
            let endpoint = parse(text).unwrap();
            assert_eq!(endpoint.is_on_link(), on_link, "{text}");
            let found = match endpoint.socket_address(7) {
                SocketAddr::V6(address) => address.scope_id(),
                SocketAddr::V4(_) => 0,
            };
            assert_eq!(found, scope, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_an_endpoint_or_an_error(text in "(http://)?[\\[\\]a-f0-9:.%/]{0,30}") {
            if let Ok(endpoint) = parse(&text) {
                prop_assert_eq!(parse(&endpoint.to_string()), Ok(endpoint));
            }
        }
    }
}
