//! What a network's guests are told in every protocol alike: resolvers, time servers, and names as labels.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use mezame_model::{
    Network,
    service_address::{DNS, DNS6, NTP, NTP6},
};

/// The IPv4 resolvers; the platform's own where the network names none of either family.
pub(crate) fn resolvers_v4(network: &Network) -> Vec<Ipv4Addr> {
    if network.dns.is_empty() { vec![DNS] } else { v4(&network.dns) }
}

/// The IPv6 resolvers, likewise.
pub(crate) fn resolvers_v6(network: &Network) -> Vec<Ipv6Addr> {
    if network.dns.is_empty() { vec![DNS6] } else { v6(&network.dns) }
}

/// The IPv4 time servers; where the network names none of either family, the platform's own, if that
/// has any to ask.
pub(crate) fn time_servers_v4(network: &Network) -> Vec<Ipv4Addr> {
    if has_platforms_time(network) { vec![NTP] } else { v4(&network.ntp) }
}

/// The IPv6 time servers, likewise.
pub(crate) fn time_servers_v6(network: &Network) -> Vec<Ipv6Addr> {
    if has_platforms_time(network) { vec![NTP6] } else { v6(&network.ntp) }
}

fn has_platforms_time(network: &Network) -> bool {
    network.ntp.is_empty() && !network.forward.ntp.is_empty()
}

/// Those of IPv4 among addresses.
pub(crate) fn v4(addresses: &[IpAddr]) -> Vec<Ipv4Addr> {
    let one = |it: &IpAddr| if let IpAddr::V4(it) = it { Some(*it) } else { None };
    addresses.iter().filter_map(one).collect()
}

/// Those of IPv6 among addresses.
pub(crate) fn v6(addresses: &[IpAddr]) -> Vec<Ipv6Addr> {
    let one = |it: &IpAddr| if let IpAddr::V6(it) = it { Some(*it) } else { None };
    addresses.iter().filter_map(one).collect()
}

/// A domain as labels, each with its length, and the root's: RFC 1035, section 3.1, without
/// compression. None of a name that is longer than names can be.
pub(crate) fn labels(domain: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(domain.len() + 2);
    for label in domain.trim_end_matches('.').split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        out.push(length);
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    (out.len() <= 255).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_becomes_labels_and_one_that_can_be_none_is_left_out() {
        assert_eq!(labels("a.example"), Some(b"\x01a\x07example\x00".to_vec()));
        assert_eq!(labels("a.example."), labels("a.example"));
        for bad in ["", ".", "a..b", &"x".repeat(64), &["abcdefg"; 32].join(".")] {
            assert_eq!(labels(bad), None, "{bad}");
        }
    }
}
