//! IPv6 frames that are written into a tap with an offload header as a guest may make it.

use std::{
    fs::File,
    io::{Read, Write},
    net::Ipv6Addr,
};

use mezame_ebpf_loader::{PortRules, PortSlot, SERVICE_MAC, Verdict};

use super::{
    frames6::{Packet6, Read6},
    lab::{GUEST_MAC, LINK_SERVICE, Lab, SERVICE6, dual_rules},
    raw_taps::await_some,
    wire::{OFFLOAD_HEADER, ifindex, ip, open_tap, receive, send},
};

/// Two guests' taps.
struct Taps {
    lab: Lab,
    one: File,
    two: File,
    index: u32,
}

impl Taps {
    fn new() -> Self {
        let mut lab = Lab::dual();
        let mut open = |name: &str, slot| {
            let tap = open_tap(name);
            ip(&format!("link set {name} addrgenmode none up"));
            let slot = PortSlot::new(slot).unwrap();
            lab.path.attach(ifindex(name), &PortRules { slot, ..dual_rules() }).unwrap();
            tap
        };
        let (one, two) = (open("tap-one", 21), open("tap-two", 22));
        Self { lab, one, two, index: ifindex("tap-one") }
    }

    fn counted(&self, verdict: Verdict) -> u64 {
        self.lab.path.counters(self.index).unwrap().of(verdict)
    }

    fn write(&mut self, offload: Offload, frame: &[u8]) {
        let bytes = [&offload.bytes()[..], frame].concat();
        assert_eq!(self.one.write(&bytes).unwrap(), bytes.len());
    }

    /// The guest is answered as ever, and the other has heard of nothing.
    fn assert_unharmed(&mut self) {
        send(&mut self.one, &solicitation(LINK_SERVICE, &[]).bytes());
        let answer = receive(&mut self.one, |frame| {
            is_advertisement(frame) && frame[62..78] == LINK_SERVICE.octets()
        });
        assert!(Read6(&answer).checksum_is_right());
        assert_eq!(Read6(&answer).macs(), (GUEST_MAC, SERVICE_MAC));
        // Its own question is the first that is answered there.
        send(&mut self.two, &solicitation(SERVICE6, &[]).bytes());
        let first = receive(&mut self.two, is_advertisement);
        assert_eq!(first[62..78], SERVICE6.octets());
    }
}

/// `virtio_net_hdr`, as far as a guest lies in it here.
#[derive(Default)]
struct Offload {
    header: u16,
    /// The kind of segmentation, and the size of a segment.
    segments: (u8, u16),
    /// Where the checksum that is to be made begins, and the place that it goes to, from there.
    checksum: Option<(u16, u16)>,
}

impl Offload {
    fn bytes(&self) -> [u8; OFFLOAD_HEADER] {
        let mut bytes = [0; OFFLOAD_HEADER];
        bytes[1] = self.segments.0;
        bytes[2..4].copy_from_slice(&self.header.to_ne_bytes());
        bytes[4..6].copy_from_slice(&self.segments.1.to_ne_bytes());
        if let Some((start, offset)) = self.checksum {
            bytes[0] = 1;
            bytes[6..8].copy_from_slice(&start.to_ne_bytes());
            bytes[8..10].copy_from_slice(&offset.to_ne_bytes());
        }
        bytes
    }
}

fn solicitation(target: Ipv6Addr, options: &[u8]) -> Packet6 {
    let rest = [&[0; 4][..], &target.octets(), options].concat();
    let node = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0x254);
    Packet6::icmp(node, 135, &rest)
}

/// A neighbour's: the host talks on the link too.
fn is_advertisement(frame: &[u8]) -> bool {
    frame.len() == 86 && frame[20] == 58 && frame[54] == 136
}

/// Options that nobody knows, so many times eight bytes.
fn options(count: usize) -> Vec<u8> {
    [253, 1, 0, 0, 0, 0, 0, 0].repeat(count)
}

#[test]
fn a_solicitation_outside_of_linear_memory_is_answered_like_any_other() {
    let mut taps = Taps::new();
    let packet = solicitation(SERVICE6, &options(3000));
    taps.write(Offload { header: 14, ..Offload::default() }, &packet.bytes());
    let answer = receive(&mut taps.one, is_advertisement);
    assert_eq!(answer.len(), 86);
    assert!(Read6(&answer).checksum_is_right());
    taps.assert_unharmed();
}

#[test]
fn a_claim_outside_of_linear_memory_is_seen() {
    let mut taps = Taps::new();
    let rest = [&[0x20, 0, 0, 0][..], &SERVICE6.octets(), &options(3000)].concat();
    let everyone = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let claim = Packet6::icmp(everyone, 136, &rest);
    let router = Packet6::icmp(everyone, 134, &rest);
    let server = Packet6::udp("fe80::77".parse().unwrap(), (547, 546), &vec![0; 30_000]);
    let headers = [0, 60, 43];
    for (packet, verdict) in [
        (claim, Verdict::NeighbourClaim),
        (router, Verdict::RouterAdvertisement),
        (server, Verdict::DhcpServer),
    ] {
        for (n, frame) in [packet.bytes(), packet.extended(&headers).bytes()].iter().enumerate() {
            taps.write(Offload { header: 14, ..Offload::default() }, frame);
            await_some(|| (taps.counted(verdict) == n as u64 + 1).then_some(()));
        }
    }
    taps.assert_unharmed();
}

#[test]
fn a_checksum_to_be_made_in_a_strange_place_harms_nobody_but_its_guest() {
    let mut taps = Taps::new();
    let frame = solicitation(SERVICE6, &options(20)).bytes();
    // ICMPv6's own place, an address, the target, the answer's last bytes. The kernel takes none that
    // begins before the IP header's end would be.
    for (start, offset) in [(54, 2), (40, 0), (62, 0), (54, 30)] {
        taps.write(Offload { checksum: Some((start, offset)), ..Offload::default() }, &frame);
        let answer = receive_whole(&mut taps.one, is_advertisement);
        // Left to the guest, as it left it to others.
        assert_eq!(answer[0] & 1, 1, "{start} {offset}");
        assert_eq!(answer[OFFLOAD_HEADER + 62..][..16], SERVICE6.octets());
    }
    taps.assert_unharmed();
    // Behind the answer's end: there is none.
    for (n, (start, offset)) in [(54, 31), (86, 0), (200, 6), (54, 150)].into_iter().enumerate() {
        taps.write(Offload { checksum: Some((start, offset)), ..Offload::default() }, &frame);
        await_some(|| (taps.counted(Verdict::Malformed) == n as u64 + 1).then_some(()));
    }
    taps.assert_unharmed();
}

#[test]
fn a_solicitation_that_says_it_is_many_segments_gets_one_answer() {
    let mut taps = Taps::new();
    let frame = solicitation(SERVICE6, &options(3000)).bytes();
    // TCP over IPv6, pieces of 100 bytes.
    let offload = Offload { header: 74, segments: (4, 100), checksum: Some((54, 16)) };
    taps.write(offload, &frame);
    let answer = receive_whole(&mut taps.one, is_advertisement);
    assert_eq!((answer[1], &answer[4..6]), (0, &[0, 0][..]), "no segments");
    assert_eq!(taps.counted(Verdict::NeighbourAnswered), 1);
    taps.assert_unharmed();
}

#[test]
fn a_checksum_that_the_host_makes_in_a_strange_place_harms_nobody_but_its_guest() {
    let mut taps = Taps::new();
    set_no_offloads(&taps.one);
    let frame = solicitation(SERVICE6, &options(20)).bytes();
    for (start, offset) in [(54, 2), (40, 0), (62, 0), (54, 30)] {
        taps.write(Offload { checksum: Some((start, offset)), ..Offload::default() }, &frame);
        let answer = receive_whole(&mut taps.one, is_advertisement);
        assert_eq!(answer[0] & 1, 0, "{start} {offset}");
    }
    taps.assert_unharmed();
}

/// As for a guest that makes no checksums for others.
fn set_no_offloads(tap: &File) {
    use std::os::fd::AsRawFd;
    const TUNSETOFFLOAD: libc::c_ulong = 0x4004_54d0;
    // SAFETY: the argument is a number.
    let set = unsafe { libc::ioctl(tap.as_raw_fd(), TUNSETOFFLOAD as _, 0_u64) };
    assert_eq!(set, 0);
}

/// As [`receive`], with the offload header.
fn receive_whole(tap: &mut File, wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    use std::os::fd::AsFd;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut buffer = vec![0; 70_000];
    loop {
        let mut ready = [PollFd::new(tap.as_fd(), PollFlags::POLLIN)];
        let count = poll(&mut ready, PollTimeout::from(20_000_u16)).unwrap();
        assert_eq!(count, 1, "no such frame came");
        let length = tap.read(&mut buffer).unwrap();
        if wanted(&buffer[OFFLOAD_HEADER..length]) {
            return buffer[..length].to_vec();
        }
    }
}
