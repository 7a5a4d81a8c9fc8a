//! Names of addresses: `5.0.0.10.in-addr.arpa` (RFC 1035, section 3.5) and its like below
//! `ip6.arpa` (RFC 3596, section 2.5).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;

/// The address that a reverse name in lower case is of; nothing for a part of one.
pub(super) fn address(name: &str) -> Option<IpAddr> {
    if let Some(labels) = name.strip_suffix(".in-addr.arpa") {
        let mut octets = [0; 4];
        let mut labels = labels.split('.');
        for octet in octets.iter_mut().rev() {
            let label = labels.next()?;
            *octet = label.parse().ok()?;
            // One spelling for each address: "010" and "+1" are other names.
            if octet.to_string() != label {
                return None;
            }
        }
        return labels.next().is_none().then(|| Ipv4Addr::from(octets).into());
    }
    let labels = name.strip_suffix(".ip6.arpa")?;
    let mut bits = 0u128;
    let mut count = 0;
    for label in labels.split('.') {
        let &[digit] = label.as_bytes() else { return None };
        let digit = char::from(digit).to_digit(16)?;
        if count == 32 {
            return None;
        }
        bits |= u128::from(digit) << (4 * count);
        count += 1;
    }
    (count == 32).then(|| Ipv6Addr::from_bits(bits).into())
}

/// The zone of the link-local services' addresses that a name is in, if it is in one: 169.254/16
/// (RFC 6303, section 4.2) or fd00:ec2::/32. No resolver elsewhere knows anything about them.
pub(super) fn service_zone(name: &str) -> Option<&'static str> {
    const ZONES: [&str; 2] = ["254.169.in-addr.arpa", "2.c.e.0.0.0.d.f.ip6.arpa"];
    ZONES.into_iter().find(|zone| super::local::is_within(name, zone))
}

/// Whether a name is the reverse of an address in one of these ranges.
pub(super) fn is_of(name: &str, ranges: impl IntoIterator<Item = IpNetwork>) -> bool {
    address(name).is_some_and(|address| ranges.into_iter().any(|range| range.contains(address)))
}

#[cfg(test)]
mod tests {
    use domain::base::Name;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_address_is_read_back_from_its_reverse_name(bits: u128, v4: bool) {
            let address: IpAddr =
                if v4 { Ipv4Addr::from(bits as u32).into() } else { Ipv6Addr::from(bits).into() };
            let name = Name::<Vec<u8>>::reverse_from_addr(address).unwrap().to_string();
            prop_assert_eq!(super::address(&name.to_lowercase()), Some(address));
        }
    }

    #[test]
    fn parts_and_other_spellings_of_a_reverse_name_are_none() {
        for name in [
            "in-addr.arpa",
            "10.in-addr.arpa",
            "05.0.0.10.in-addr.arpa",
            "+5.0.0.10.in-addr.arpa",
            "256.0.0.10.in-addr.arpa",
            "1.5.0.0.10.in-addr.arpa",
            "5.0.0.10.example",
            "2.c.e.0.0.0.d.f.ip6.arpa",
        ] {
            assert_eq!(address(name), None, "{name}");
        }
        let long = format!("0.{}ip6.arpa", "0.".repeat(32));
        assert_eq!(address(&long), None);
    }
}
