//! Frames that are written into a tap byte for byte, with an offload header as a guest may make it.

use std::{io::Write, time::Duration};

use mezame_ebpf_loader::{PortRules, Rate, SERVICE_MAC, Verdict};

use super::{
    frames::{ArpFrame, Packet, ethernet, tagged},
    lab::{GUEST, GUEST_MAC, SERVICE},
    taps::{Site, rules_of},
    wire::{ifindex, ip, open_tap, receive, send},
};

#[test]
fn a_tag_that_the_kernel_took_off_the_bytes_is_seen() {
    let mut site = Site::new();
    let mut tap = open_tap("tap-one");
    ip("link set tap-one up");
    let index = ifindex("tap-one");
    site.lab.path.attach(index, &rules_of(11)).unwrap();
    let mut events = site.lab.path.drops().unwrap();
    send(&mut tap, &tagged(&Packet::tcp().bytes(), 0x8100, 100));
    let event = await_some(|| events.next());
    assert_eq!((event.verdict, event.vlan, event.ifindex), (Verdict::Tagged, 100, index));
    // A tag with a priority and no VLAN is none: the request is answered without it.
    let request = ArpFrame::request(SERVICE).bytes();
    send(&mut tap, &tagged(&request, 0x8100, 5 << 13));
    let answer = receive(&mut tap, |frame| frame[12..14] == [8, 6] && frame[21] == 2);
    assert_eq!(answer[..12], [GUEST_MAC, SERVICE_MAC].concat());
    send(&mut tap, &tagged(&Packet::tcp().bytes(), 0x8100, 5 << 13));
    let delivered = || site.lab.path.counters(index).unwrap().of(Verdict::Delivered);
    await_some(|| (delivered() == 1).then_some(()));
}

#[test]
fn frames_that_are_too_short_for_a_header_do_no_harm() {
    let mut site = Site::new();
    let mut tap = open_tap("tap-one");
    ip("link set tap-one up");
    let index = ifindex("tap-one");
    site.lab.path.attach(index, &rules_of(11)).unwrap();
    let whole = Packet::tcp().bytes();
    for length in 14..54 {
        send(&mut tap, &whole[..length]);
        send(&mut tap, &ArpFrame::request(SERVICE).bytes()[..length.min(41)]);
    }
    send(&mut tap, &ethernet([0xff; 6], GUEST_MAC, 0x0800));
    // What is long enough to be for a service is dropped as malformed; the rest is nobody's.
    let malformed = || site.lab.path.counters(index).unwrap().of(Verdict::Malformed);
    await_some(|| (malformed() == 20).then_some(()));
    send(&mut tap, &ArpFrame::request(SERVICE).bytes());
    receive(&mut tap, |frame| frame[12..14] == [8, 6] && frame[28..32] == SERVICE.octets());
}

#[test]
fn a_guest_can_not_hide_a_header_outside_of_linear_memory() {
    let mut site = Site::new();
    let mut tap = open_tap("tap-one");
    ip("link set tap-one up");
    let index = ifindex("tap-one");
    site.lab.path.attach(index, &rules_of(11)).unwrap();
    // A large frame whose offload header says that hardly the Ethernet header need be in one
    // piece.
    let rogue = Packet {
        source: SERVICE,
        source_port: 80,
        destination: GUEST,
        payload: vec![7; 30_000],
        ..Packet::tcp()
    };
    let mut offload = [0_u8; 10];
    offload[2..4].copy_from_slice(&14_u16.to_ne_bytes());
    let frame = [&offload[..], &rogue.bytes()].concat();
    assert_eq!(tap.write(&frame).unwrap(), frame.len());
    let counted = || site.lab.path.counters(index).unwrap().of(Verdict::FromService);
    await_some(|| (counted() == 1).then_some(()));
}

#[test]
fn an_offloaded_frame_from_a_tap_takes_a_token_for_each_of_its_segments() {
    let mut site = Site::new();
    let mut tap = open_tap("tap-one");
    ip("link set tap-one up");
    let index = ifindex("tap-one");
    let rate = Rate { frames_per_second: 1, burst: 10 };
    site.lab.path.attach(index, &PortRules { rate, ..rules_of(11) }).unwrap();
    // `virtio_net_hdr`: the checksum is to be made, TCP over IPv4, pieces of 1000 bytes.
    let mut offload = vec![1, 1];
    for value in [54_u16, 1000, 34, 16] {
        offload.extend(value.to_ne_bytes());
    }
    let packet = Packet { payload: vec![7; 5000], ..Packet::tcp() };
    for _ in 0..2 {
        let frame = [&offload[..], &packet.bytes()].concat();
        assert_eq!(tap.write(&frame).unwrap(), frame.len());
    }
    let counted = |verdict| site.lab.path.counters(index).unwrap().of(verdict);
    await_some(|| (counted(Verdict::RateLimited) == 1).then_some(()));
    assert_eq!(counted(Verdict::Delivered), 1);
}

/// Waits for something to be there; fails after long.
pub(crate) fn await_some<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let end = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(std::time::Instant::now() < end, "it did not come");
        std::thread::yield_now();
    }
}
