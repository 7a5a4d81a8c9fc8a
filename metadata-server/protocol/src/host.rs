//! Which `Host` headers may reach the service.
//!
//! A page in a guest's browser can let its own name resolve to the link-local address (DNS
//! rebinding) and so read metadata as "same origin". Such a request carries the page's name as
//! its Host. So an address is taken, and a name that nobody can register: one without a dot
//! (`metadata`, `instance-data`) or under `.internal` (`metadata.google.internal`,
//! `instance-data.ec2.internal`). Never used to tell who asks or which dialect is meant.
//!
//! Follows RFC 9110, section 7.2, and RFC 3986, section 3.2.2.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::request::Refusal;

/// Takes or refuses the header's value.
pub(crate) fn check(value: &[u8]) -> Result<(), Refusal> {
    // What nearly everybody sends.
    if value == b"169.254.169.254" || value.is_empty() {
        return Ok(());
    }
    let text = std::str::from_utf8(value).map_err(|_| Refusal::Host)?;
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']').ok_or(Refusal::Host)?;
        // A link-local address may come with the client's own name for the interface.
        let address = address.split('%').next().unwrap_or_default();
        address.parse::<Ipv6Addr>().map_err(|_| Refusal::Host)?;
        return match port.strip_prefix(':') {
            Some(digits) => check_port(digits),
            None if port.is_empty() => Ok(()),
            None => Err(Refusal::Host),
        };
    }
    let (name, port) = text.split_once(':').unwrap_or((text, ""));
    check_port(port)?;
    let name = name.strip_suffix('.').unwrap_or(name);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if name.is_empty() || !name.bytes().all(plain) {
        return Err(Refusal::Host);
    }
    let (_, top) = name.rsplit_once('.').unwrap_or(("", "internal"));
    if top.eq_ignore_ascii_case("internal") || name.parse::<Ipv4Addr>().is_ok() {
        Ok(())
    } else {
        Err(Refusal::ForeignHost)
    }
}

/// A port is up to five digits, or none.
fn check_port(digits: &str) -> Result<(), Refusal> {
    let good = digits.len() <= 5 && digits.bytes().all(|byte| byte.is_ascii_digit());
    good.then_some(()).ok_or(Refusal::Host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_that_nobody_can_register_are_taken() {
        for host in [
            "169.254.169.254",
            "169.254.169.254:80",
            "10.0.0.1",
            "[fd00:ec2::254]",
            "[fd00:ec2::254]:80",
            "[fe80::a9fe:a9fe%25eth0]",
            "metadata",
            "instance-data",
            "metadata.google.internal",
            "METADATA.GOOGLE.INTERNAL.",
            "instance-data.ec2.internal:80",
        ] {
            assert_eq!(check(host.as_bytes()), Ok(()), "{host}");
        }
    }

    #[test]
    fn a_name_rebound_to_the_service_address_is_refused() {
        for host in
            ["evil.example", "169.254.169.254.nip.io", "internal.evil.example:80", "a.xinternal"]
        {
            assert_eq!(check(host.as_bytes()), Err(Refusal::ForeignHost), "{host}");
        }
    }

    #[test]
    fn what_is_no_host_is_malformed() {
        for host in ["a b", "a/b", "a@b", "[::1", "[x]", "[::1]x", "a:b", "a:123456", ":80", "a,b"]
        {
            assert_eq!(check(host.as_bytes()), Err(Refusal::Host), "{host}");
        }
        assert_eq!(check(b"\xff"), Err(Refusal::Host));
    }
}
