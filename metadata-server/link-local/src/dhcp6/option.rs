//! Numbers of DHCPv6 options and status codes (RFC 8415, sections 21 and 21.13, but where another
//! is named), and how options are written.

pub(super) const CLIENT: u16 = 1;
pub(super) const SERVER: u16 = 2;
pub(super) const ADDRESSES: u16 = 3;
pub(super) const TEMPORARY_ADDRESSES: u16 = 4;
pub(super) const ADDRESS: u16 = 5;
pub(super) const WANTED: u16 = 6;
pub(super) const PREFERENCE: u16 = 7;
pub(super) const STATUS: u16 = 13;
pub(super) const RAPID_COMMIT: u16 = 14;
pub(super) const VENDOR_CLASS: u16 = 16;
/// RFC 3646.
pub(super) const RESOLVERS: u16 = 23;
/// RFC 3646.
pub(super) const SEARCH: u16 = 24;
pub(super) const PREFIXES: u16 = 25;
/// RFC 4075.
pub(super) const SIMPLE_TIME_SERVERS: u16 = 31;
pub(super) const REFRESH_TIME: u16 = 32;
/// RFC 5908.
pub(super) const TIME_SERVERS: u16 = 56;
/// RFC 5970.
pub(super) const BOOT_FILE: u16 = 59;

/// A status, and what people are told with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Status(pub(super) u16, pub(super) &'static str);

pub(super) const SUCCESS: Status = Status(0, "done");
pub(super) const NO_ADDRESSES: Status = Status(2, "no addresses for this");
pub(super) const NO_BINDING: Status = Status(3, "none of these is the port's");
pub(super) const NOT_ON_LINK: Status = Status(4, "none of this network");
pub(super) const NO_PREFIXES: Status = Status(6, "no prefixes are delegated");

/// Writes an option. What is longer than an option can be is left out.
pub(super) fn write(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    if let Ok(length) = u16::try_from(value.len()) {
        out.extend(code.to_be_bytes());
        out.extend(length.to_be_bytes());
        out.extend_from_slice(value);
    }
}

/// Writes a status.
pub(super) fn write_status(out: &mut Vec<u8>, Status(code, text): Status) {
    write(out, STATUS, &[&code.to_be_bytes(), text.as_bytes()].concat());
}
