//! A portal: where a target listens (RFC 7143, §4.2.6), a host and a TCP port.

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
};

use super::AddressError;

/// The port that IANA gave iSCSI.
const PORT: u16 = 3260;

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Portal {
    host: Host,
    port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Host {
    V4(Ipv4Addr),
    V6(Ipv6Addr),
    Name(String),
}

impl Portal {
    /// Reads `HOST[:PORT]`; 3260 without a port. An IPv6 address is in brackets, and without a zone.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, port)) => {
                let host = address.parse().map(Host::V6);
                (host.map_err(|_| host_error(address))?, port)
            }
            None => {
                let (host, port) = text.split_at(text.find(':').unwrap_or(text.len()));
                (parse_host(host)?, port)
            }
        };
        if port.is_empty() {
            return Ok(Self { host, port: PORT });
        }
        let error = || AddressError::Port(shortened(port));
        let digits = port.strip_prefix(':').ok_or_else(error)?;
        let number: u16 = digits.parse().map_err(|_| error())?;
        if number == 0 || number.to_string() != digits {
            return Err(error());
        }
        Ok(Self { host, port: number })
    }
}

fn parse_host(text: &str) -> Result<Host, AddressError> {
    if let Ok(address) = text.parse() {
        return Ok(Host::V4(address));
    }
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // A last label of digits alone would be a misspelled address (RFC 3696, §2).
    let is_numeric = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    let last = text.rsplit('.').next().unwrap_or_default();
    if text.len() > 253 || !text.split('.').all(is_label) || is_numeric(last) {
        return Err(host_error(text));
    }
    Ok(Host::Name(text.to_ascii_lowercase()))
}

fn host_error(text: &str) -> AddressError {
    AddressError::Host(shortened(text))
}

fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}

impl fmt::Display for Portal {
    /// Always with the port.
    fn fmt(&self, into: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::V4(address) => write!(into, "{address}:{}", self.port),
            Host::V6(address) => write!(into, "[{address}]:{}", self.port),
            Host::Name(name) => write!(into, "{name}:{}", self.port),
        }
    }
}
