//! A way to the IPv4 link-local endpoint through a device, with an address claimed where there is none
//! (RFC 3927; the probes are RFC 5227's).
//!
//! ```text
//!   device up ─► has an IPv4 address? ──yes──────────────────► route to the endpoint, on-link
//!                       │ no                                          ▲
//!                       ▼                                             │
//!        candidate by MAC ─► 3 ARP probes ─► somebody answers? ─no─► claim it
//!                       ▲                          │ yes
//!                       └────── next candidate ────┘
//! ```
//! The waiting times are RFC 3927's only on request. The address stays for seconds, as a /32 with
//! a route to the one service address, so a clash with a neighbour that was too slow to answer
//! could hurt nothing but that exchange; and a boot must not begin by waiting five seconds.

use std::{
    io,
    net::Ipv4Addr,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    time::{Duration, Instant},
};

use ipnetwork::{IpNetwork, Ipv4Network};
use mezame_model::MacAddress;
use sha2::{Digest, Sha256};

use super::netlink::{Netlink, Route};
use crate::{
    facts::Link,
    platform::{EndpointPath, PlatformError, Result},
    settings::ProbePace,
};

/// RFC 3927, section 9: MAX_CONFLICTS.
const MAX_CONFLICTS: u32 = 10;
const PROBES: u32 = 3;
/// How long a device may take until it has a carrier.
const CARRIER: Duration = Duration::from_secs(5);

pub(super) fn open_path(device: &str, endpoint: Ipv4Addr, pace: ProbePace) -> Result<EndpointPath> {
    let mut netlink = Netlink::open()?;
    let link = netlink.link(device)?;
    if !link.up {
        netlink.set_link(link.index, true, None)?;
    }
    await_carrier(device);
    let mut path = EndpointPath {
        device: device.to_owned(),
        index: link.index,
        claimed: None,
        endpoint: endpoint.into(),
        routed: false,
        first_packet: None,
    };
    // Somebody else may have configured the device while its carrier was awaited.
    let link = netlink.link(device)?;
    if let Some(address) = left_behind(&link) {
        path.claimed = Some(address);
    } else if !link.addresses.iter().any(IpNetwork::is_ipv4) {
        path.first_packet = Some(Instant::now());
        let address = claim(&link, endpoint, pace)?;
        netlink.add_address(link.index, host(address), true)?;
        path.claimed = Some(address);
    }
    // A route that somebody else made stays as it is, now and at the end; one that prefers the
    // claimed address is ours, perhaps of a killed run.
    let is_there = netlink.routes(link.index)?.contains(&(host(endpoint), None));
    if path.claimed.is_some() || !is_there {
        netlink.add_route(&route(&path, endpoint))?;
        path.routed = true;
    }
    Ok(path)
}

pub(super) fn close_path(path: &EndpointPath, endpoint: Ipv4Addr, keep_route: bool) -> Result<()> {
    let mut netlink = Netlink::open()?;
    if let Some(address) = path.claimed {
        netlink.remove_address(path.index, host(address))?;
    }
    if keep_route {
        // Removing the address has removed the routes that prefer it.
        let source = netlink
            .links()?
            .iter()
            .find(|link| link.index == path.index)
            .is_some_and(|link| link.addresses.iter().any(IpNetwork::is_ipv4));
        if source {
            netlink.add_route(&Route { source: None, ..route(path, endpoint) })?;
        }
    } else if path.routed {
        netlink.remove_route(&Route { source: None, ..route(path, endpoint) })?;
    }
    Ok(())
}

/// The address that an agent claimed which was killed before it could take it back, perhaps after
/// it had given the device others.
fn left_behind(link: &Link) -> Option<Ipv4Addr> {
    candidates(link.mac)
        .take(MAX_CONFLICTS as usize)
        .find(|candidate| link.addresses.contains(&host(*candidate)))
}

/// With a low metric no better route can be meant: the service is on this link or nowhere.
fn route(path: &EndpointPath, endpoint: Ipv4Addr) -> Route {
    Route {
        destination: host(endpoint),
        gateway: None,
        device: path.index,
        metric: None,
        source: path.claimed,
    }
}

fn host(address: Ipv4Addr) -> IpNetwork {
    IpNetwork::V4(Ipv4Network::from(address))
}

/// Awaits the carrier; without one the probes would be lost.
fn await_carrier(device: &str) {
    let until = Instant::now() + CARRIER;
    while !has_carrier(device) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A device that does not know its carrier counts as having one.
pub(super) fn has_carrier(device: &str) -> bool {
    let path = format!("/sys/class/net/{device}/carrier");
    !std::fs::read_to_string(path).is_ok_and(|text| text.trim() == "0")
}

/// The addresses that a device tries, in this order: the same at each boot, others for another
/// MAC (RFC 3927, section 2.1). The first and last 256 are reserved, and so are the service's.
pub(super) fn candidates(mac: MacAddress) -> impl Iterator<Item = Ipv4Addr> {
    (0_u32..)
        .map(move |round| {
            let mut hash = Sha256::new();
            hash.update(mac.0);
            hash.update(round.to_be_bytes());
            let digest = hash.finalize();
            let [high, low] = [digest[0], digest[1]];
            Ipv4Addr::new(169, 254, 1 + high % 254, low)
        })
        .filter(|address| address.octets()[2] != 169)
}

fn claim(link: &Link, endpoint: Ipv4Addr, pace: ProbePace) -> Result<Ipv4Addr> {
    let what = "claiming a link-local address";
    let network = |source| PlatformError::Network { what, source };
    let socket = ArpSocket::open(link).map_err(network)?;
    let (first, spacing, last) = match pace {
        ProbePace::Fast => (0, 20, 30),
        // PROBE_WAIT up to 1 s, PROBE_MIN to PROBE_MAX 1 to 2 s, ANNOUNCE_WAIT 2 s: the jitter is
        // the MAC's, since two devices that start at once differ in nothing else.
        ProbePace::Rfc3927 => {
            let jitter = u64::from(link.mac.0[5]) * 1000 / 256;
            (jitter, 1000 + jitter, 2000)
        }
    };
    for address in candidates(link.mac).take(MAX_CONFLICTS as usize) {
        if address == endpoint {
            continue;
        }
        let mut taken = socket.listen(address, Duration::from_millis(first)).map_err(network)?;
        for probe in 0..PROBES {
            if taken {
                break;
            }
            socket.send(Ipv4Addr::UNSPECIFIED, address).map_err(network)?;
            let wait = if probe + 1 == PROBES { last } else { spacing };
            taken = socket.listen(address, Duration::from_millis(wait)).map_err(network)?;
        }
        if !taken {
            socket.send(address, address).map_err(network)?;
            return Ok(address);
        }
    }
    let source = io::Error::new(io::ErrorKind::AddrInUse, "every candidate is taken");
    Err(network(source))
}

/// ARP on one device, by packet(7).
struct ArpSocket {
    socket: OwnedFd,
    mac: [u8; 6],
    index: i32,
}

impl ArpSocket {
    fn open(link: &Link) -> io::Result<Self> {
        let protocol = (libc::ETH_P_ARP as u16).to_be();
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
        // SAFETY: a plain system call; its result is checked below.
        let fd = unsafe { libc::socket(libc::AF_PACKET, kind, i32::from(protocol)) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is open and nobody else's.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        let index = i32::try_from(link.index).map_err(|_| io::ErrorKind::InvalidInput)?;
        let opened = Self { socket, mac: link.mac.0, index };
        let address = opened.address(&[0; 6]);
        // SAFETY: the address is a whole sockaddr_ll and its length is given.
        let result = unsafe {
            libc::bind(
                opened.socket.as_raw_fd(),
                (&raw const address).cast(),
                size_of_val(&address) as libc::socklen_t,
            )
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(opened) }
    }

    fn address(&self, mac: &[u8; 6]) -> libc::sockaddr_ll {
        let mut octets = [0; 8];
        octets[..6].copy_from_slice(mac);
        libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: (libc::ETH_P_ARP as u16).to_be(),
            sll_ifindex: self.index,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 6,
            sll_addr: octets,
        }
    }

    /// A request for `target`; from 0.0.0.0 it is a probe, from the target itself an announcement
    /// (RFC 5227, section 1.1).
    fn send(&self, sender: Ipv4Addr, target: Ipv4Addr) -> io::Result<()> {
        let packet = request(self.mac, sender, target);
        let address = self.address(&[0xff; 6]);
        // SAFETY: both buffers are whole and their lengths are given.
        let sent = unsafe {
            libc::sendto(
                self.socket.as_raw_fd(),
                packet.as_ptr().cast(),
                packet.len(),
                0,
                (&raw const address).cast(),
                size_of_val(&address) as libc::socklen_t,
            )
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Listens for a while; true as soon as somebody else uses the address or probes for it.
    fn listen(&self, address: Ipv4Addr, wait: Duration) -> io::Result<bool> {
        let until = Instant::now() + wait;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let timeout = i32::try_from(left.as_millis()).unwrap_or(i32::MAX);
            let mut poll =
                libc::pollfd { fd: self.socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: one whole pollfd.
            let ready = unsafe { libc::poll(&raw mut poll, 1, timeout) };
            if ready == 0 {
                return Ok(false);
            }
            let mut packet = [0_u8; 64];
            // SAFETY: the buffer is whole and its length is given.
            let length = unsafe {
                libc::recv(
                    self.socket.as_raw_fd(),
                    packet.as_mut_ptr().cast(),
                    packet.len(),
                    libc::MSG_DONTWAIT,
                )
            };
            if let Ok(length) = usize::try_from(length)
                && conflicts(&packet[..length.min(packet.len())], self.mac, address)
            {
                return Ok(true);
            }
            if left.is_zero() {
                return Ok(false);
            }
        }
    }
}

/// An ARP request (RFC 826) without its Ethernet header.
fn request(mac: [u8; 6], sender: Ipv4Addr, target: Ipv4Addr) -> [u8; 28] {
    let mut packet = [0; 28];
    packet[..8].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, 1]);
    packet[8..14].copy_from_slice(&mac);
    packet[14..18].copy_from_slice(&sender.octets());
    packet[24..28].copy_from_slice(&target.octets());
    packet
}

/// Whether an ARP packet shows that somebody else has the address, or is about to take it
/// (RFC 3927, section 2.2.1).
pub(super) fn conflicts(packet: &[u8], mac: [u8; 6], address: Ipv4Addr) -> bool {
    let Some(packet) = packet.get(..28) else { return false };
    if packet[..6] != [0, 1, 8, 0, 6, 4] || packet[8..14] == mac {
        return false;
    }
    let sender = &packet[14..18];
    let target = &packet[24..28];
    let is_probe = packet[6..8] == [0, 1] && sender == [0; 4];
    sender == address.octets() || (is_probe && target == address.octets())
}

/// So that tests can ask for what a claim looks like without a device.
#[cfg(test)]
pub(super) fn probe_packet(mac: [u8; 6], target: Ipv4Addr) -> [u8; 28] {
    request(mac, Ipv4Addr::UNSPECIFIED, target)
}
