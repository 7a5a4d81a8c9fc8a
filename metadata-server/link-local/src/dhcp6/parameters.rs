//! What a port's guest is told besides its addresses: options out of the record.

use std::net::IpAddr;

use mezame_model::GuestPort;

use super::{
    option::{self, write},
    request::Request,
};
use crate::told;

/// What a client gets that names nothing, which RFC 8415 (section 21.7) does not allow it:
/// everything.
const ALL: [u16; 5] = [
    option::RESOLVERS,
    option::SEARCH,
    option::TIME_SERVERS,
    option::SIMPLE_TIME_SERVERS,
    option::BOOT_FILE,
];

/// How UEFI asks for what it boots by HTTP (UEFI specification, section 24.7).
const HTTP_CLIENT: &[u8] = b"HTTPClient";

/// Intel's enterprise number, which UEFI's vendor class is under.
const INTEL: [u8; 4] = 343_u32.to_be_bytes();

/// What the client wants, in its order, and how many options are not in it: those for which so many
/// bytes are no room.
pub(super) fn wanted(request: &Request<'_>, port: &GuestPort, room: usize) -> (Vec<u8>, usize) {
    // Firmware takes an offer for its own by the class alone.
    let class =
        if boot_url(port).is_some() && request.option(option::VENDOR_CLASS).is_some_and(is_http) {
            let length = (HTTP_CLIENT.len() as u16).to_be_bytes();
            [&INTEL[..], &length, HTTP_CLIENT].concat()
        } else {
            Vec::new()
        };
    let of_class = if class.is_empty() { 0 } else { 4 + class.len() };
    let mut options = Options { room: room.saturating_sub(of_class), ..Options::default() };
    let mut left = ALL.to_vec();
    let mut tell = |code: u16| {
        // Each once, so that this ends early however long the list is.
        if let Some(at) = left.iter().position(|known| *known == code) {
            left.swap_remove(at);
            add_one(&mut options, code, port);
        }
    };
    match request.wanted() {
        Some(wanted) => wanted.for_each(&mut tell),
        None => ALL.into_iter().for_each(&mut tell),
    }
    options.room = room;
    options.add(option::VENDOR_CLASS, &class);
    (options.bytes, options.left_out)
}

fn add_one(options: &mut Options, code: u16, port: &GuestPort) {
    let network = &port.network;
    let octets = |addresses: Vec<std::net::Ipv6Addr>| -> Vec<u8> {
        addresses.iter().flat_map(|address| address.octets()).collect()
    };
    let value = match code {
        option::RESOLVERS => octets(told::resolvers_v6(network)),
        option::SEARCH => network.domain.as_deref().and_then(told::labels).unwrap_or_default(),
        option::SIMPLE_TIME_SERVERS => octets(told::time_servers_v6(network)),
        option::BOOT_FILE => boot_url(port).unwrap_or_default().into_bytes(),
        option::TIME_SERVERS => {
            // One option for each server: suboption 1, its address.
            for server in told::time_servers_v6(network) {
                options.add(code, &[&[0, 1, 0, 16], &server.octets()[..]].concat());
            }
            return;
        }
        _ => return,
    };
    options.add(code, &value);
}

/// Options being written.
#[derive(Debug, Default)]
struct Options {
    bytes: Vec<u8>,
    /// How long they may get.
    room: usize,
    /// For how many there was no room.
    left_out: usize,
}

impl Options {
    /// Writes one; none of ours may be empty.
    fn add(&mut self, code: u16, value: &[u8]) {
        if value.is_empty() {
            return;
        }
        if self.bytes.len() + 4 + value.len() <= self.room {
            write(&mut self.bytes, code, value);
        } else {
            self.left_out += 1;
        }
    }
}

/// What is booted: the record's URL, or a file of an IPv6 server.
fn boot_url(port: &GuestPort) -> Option<String> {
    let boot = port.port.boot.as_ref()?;
    match (&boot.url, boot.server, &boot.file) {
        (Some(url), ..) => Some(url.to_string()),
        (None, Some(IpAddr::V6(server)), Some(file)) => {
            Some(format!("tftp://[{server}]/{}", file.trim_start_matches('/')))
        }
        _ => None,
    }
}

/// Whether a vendor class (an enterprise, and texts with their lengths) is that of HTTP boot.
fn is_http(class: &[u8]) -> bool {
    class.get(6..).is_some_and(|text| text.starts_with(HTTP_CLIENT))
}
