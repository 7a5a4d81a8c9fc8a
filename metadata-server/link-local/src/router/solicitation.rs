//! Checking router solicitations: RFC 4861, section 4.1, with the checks of section 6.1.1.

use std::net::Ipv6Addr;

/// ICMPv6 type of a router solicitation.
const SOLICITATION: u8 = 133;

/// Source link-layer address (RFC 4861, section 4.6.1).
const SOURCE_LINK_ADDRESS: u8 = 1;

/// Why a message is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Silence {
    /// Another message than a router solicitation.
    NotASolicitation,
    /// It came over a router, or claims to: the hop limit is not 255.
    Forwarded,
    /// It is cut short, has an unknown code, or an option without a length.
    Malformed,
    /// A sender without an address says that it has a link-layer address.
    Unspecified,
}

/// Whether an ICMPv6 message, from its type on, is a solicitation to be answered; the kernel has
/// checked its checksum. What is in it makes no difference: the answer goes to the port that it came
/// from. Never panics, whatever the bytes.
pub fn check(message: &[u8], source: Ipv6Addr, hop_limit: u8) -> Result<(), Silence> {
    if message.first() != Some(&SOLICITATION) {
        return Err(Silence::NotASolicitation);
    }
    if hop_limit != 255 {
        return Err(Silence::Forwarded);
    }
    // Type, code, checksum, four reserved bytes.
    let [_, 0, _, _, _, _, _, _, options @ ..] = message else { return Err(Silence::Malformed) };
    let mut rest = options;
    while let [kind, length, ..] = rest {
        let length = usize::from(*length) * 8;
        let option = rest.get(..length).filter(|_| length > 0).ok_or(Silence::Malformed)?;
        if *kind == SOURCE_LINK_ADDRESS && source.is_unspecified() {
            return Err(Silence::Unspecified);
        }
        rest = &rest[option.len()..];
    }
    if rest.is_empty() { Ok(()) } else { Err(Silence::Malformed) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GUEST: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0x5054, 0xff, 0xfe12, 0x3456);

    /// As Linux sends it once it has a link-local address.
    const LINUX: &[u8] = &[133, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0x52, 0x54, 0, 0x12, 0x34, 0x56];

    /// As systems send it before they have one, and NetBSD's rtsol.
    const BARE: &[u8] = &[133, 0, 0, 0, 0, 0, 0, 0];

    #[test]
    fn solicitations_of_real_systems_pass() {
        assert_eq!(check(LINUX, GUEST, 255), Ok(()));
        assert_eq!(check(BARE, Ipv6Addr::UNSPECIFIED, 255), Ok(()));
        // A nonce (RFC 3971), as a secured neighbour sends it, is passed over.
        let nonce = [BARE, &[14, 1, 1, 2, 3, 4, 5, 6]].concat();
        assert_eq!(check(&nonce, GUEST, 255), Ok(()));
    }

    #[test]
    fn each_check_of_rfc_4861_section_6_1_1_discards() {
        assert_eq!(check(LINUX, GUEST, 254), Err(Silence::Forwarded));
        assert_eq!(check(LINUX, Ipv6Addr::UNSPECIFIED, 255), Err(Silence::Unspecified));
        assert_eq!(check(&BARE[..7], GUEST, 255), Err(Silence::Malformed));
        let coded = [&[133, 1], &BARE[2..]].concat();
        assert_eq!(check(&coded, GUEST, 255), Err(Silence::Malformed));
        let empty_option = [BARE, &[1, 0, 0, 0, 0, 0, 0, 0]].concat();
        assert_eq!(check(&empty_option, GUEST, 255), Err(Silence::Malformed));
        let cut_option = &LINUX[..15];
        assert_eq!(check(cut_option, GUEST, 255), Err(Silence::Malformed));
        let odd_byte = [LINUX, &[1]].concat();
        assert_eq!(check(&odd_byte, GUEST, 255), Err(Silence::Malformed));
        for other in [&[134, 0, 0, 0, 0, 0, 0, 0][..], &[135], &[]] {
            assert_eq!(check(other, GUEST, 255), Err(Silence::NotASolicitation));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            mut bytes in prop::collection::vec(any::<u8>(), 0..200),
            known in any::<bool>(), source in any::<u128>(), hop_limit in 250_u8..,
        ) {
            if known {
                bytes.splice(0..0, [133, 0, 0, 0]);
            }
            let _ = check(&bytes, source.into(), hop_limit);
        }
    }
}
