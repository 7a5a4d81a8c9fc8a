//! ARP out of a guest.

use std::net::Ipv4Addr;

use mezame_ebpf_loader::{SERVICE_MAC, Trial, Verdict};

use super::{
    frames::{ArpFrame, Packet, tagged},
    lab::{GUEST, GUEST_MAC, Lab, OTHER_SERVICE, SERVICE},
};

fn assert_answered(lab: &Lab, request: &ArpFrame) {
    let trial = lab.guest(&request.bytes());
    assert_eq!(trial.action, Trial::REDIRECT);
    let answer = ArpFrame {
        to_mac: request.sender_mac,
        from_mac: SERVICE_MAC,
        operation: 2,
        sender_mac: SERVICE_MAC,
        sender: request.target,
        target_mac: request.sender_mac,
        target: request.sender,
    };
    assert_eq!(trial.frame, answer.bytes());
}

#[test]
fn a_request_for_a_service_address_is_answered() {
    let lab = Lab::with_port();
    for target in [SERVICE, OTHER_SERVICE] {
        assert_answered(&lab, &ArpFrame::request(target));
        let unicast = ArpFrame { to_mac: SERVICE_MAC, ..ArpFrame::request(target) };
        assert_answered(&lab, &unicast);
    }
    assert_answered(
        &lab,
        &ArpFrame { sender: [169, 254, 9, 9].into(), ..ArpFrame::request(SERVICE) },
    );
    assert_answered(
        &lab,
        &ArpFrame { sender: [10, 9, 0, 77].into(), ..ArpFrame::request(SERVICE) },
    );
    assert_eq!(lab.counted(Verdict::ArpAnswered), 6);
}

#[test]
fn a_probe_for_a_service_address_is_answered_so_that_the_guest_does_not_take_it() {
    let lab = Lab::with_port();
    let probe = ArpFrame { sender: Ipv4Addr::UNSPECIFIED, ..ArpFrame::request(SERVICE) };
    assert_answered(&lab, &probe);
}

#[test]
fn the_padding_of_a_short_frame_stays() {
    let lab = Lab::with_port();
    let mut frame = ArpFrame::request(SERVICE).bytes();
    frame.resize(60, 0);
    let trial = lab.guest(&frame);
    assert_eq!((trial.action, trial.frame.len()), (Trial::REDIRECT, 60));
}

#[test]
fn a_claim_for_a_service_address_is_dropped_in_every_form() {
    let mut lab = Lab::with_port();
    let gratuitous = ArpFrame { sender: SERVICE, ..ArpFrame::request(SERVICE) };
    lab.dropped(&gratuitous.bytes(), Verdict::ArpClaim);
    let announcement = ArpFrame { operation: 2, ..gratuitous.clone() };
    lab.dropped(&announcement.bytes(), Verdict::ArpClaim);
    let answer = ArpFrame { target: [192, 168, 0, 20].into(), ..announcement };
    let event = lab.dropped(&answer.bytes(), Verdict::ArpClaim);
    assert_eq!((event.source, event.ethertype), (SERVICE.into(), 0x0806));
    lab.dropped(&ArpFrame { sender: OTHER_SERVICE, ..answer.clone() }.bytes(), Verdict::ArpClaim);
    // Receivers take IEEE 802's hardware type for Ethernet's.
    let mut other_hardware = answer.bytes();
    other_hardware[15] = 6;
    lab.dropped(&other_hardware, Verdict::ArpClaim);
}

#[test]
fn a_request_that_lies_about_its_sender_is_dropped() {
    let mut lab = Lab::with_port();
    let request = ArpFrame::request(SERVICE);
    let other = [0x52, 0x54, 0, 0, 0, 9];
    lab.dropped(&ArpFrame { from_mac: other, ..request.clone() }.bytes(), Verdict::WrongMac);
    lab.dropped(&ArpFrame { sender_mac: other, ..request.clone() }.bytes(), Verdict::WrongMac);
    let spoofed = ArpFrame { sender: [192, 168, 0, 99].into(), ..request.clone() };
    lab.dropped(&spoofed.bytes(), Verdict::SpoofedSource);
    lab.dropped(&ArpFrame { operation: 2, ..request }.bytes(), Verdict::Malformed);
}

#[test]
fn arp_among_guests_passes_untouched() {
    let lab = Lab::with_port();
    let neighbour = Ipv4Addr::new(192, 168, 0, 20);
    lab.passed(&ArpFrame::request(neighbour).bytes());
    lab.passed(&ArpFrame { sender: Ipv4Addr::UNSPECIFIED, ..ArpFrame::request(GUEST) }.bytes());
    lab.passed(&ArpFrame { operation: 2, ..ArpFrame::request(neighbour) }.bytes());
    lab.passed(&ArpFrame { sender_mac: [2; 6], ..ArpFrame::request(neighbour) }.bytes());
    // For another hardware or protocol, whatever its fields look like.
    for at in [15, 16, 18, 19] {
        let mut frame = ArpFrame { sender_mac: GUEST_MAC, ..ArpFrame::request(SERVICE) }.bytes();
        frame[at] ^= 0x10;
        lab.passed(&frame);
    }
}

#[test]
fn what_is_behind_llc_and_snap_headers_is_dropped_if_it_could_be_ip_or_arp() {
    let mut lab = Lab::with_port();
    // RFC 1042: a length, the service access points of SNAP, and then the type.
    let wrapped = |frame: &[u8], length: u16| {
        let snap = [0xaa, 0xaa, 3, 0, 0, 0];
        [&frame[..12], &length.to_be_bytes(), &snap, &frame[12..]].concat()
    };
    let claim = ArpFrame { sender: SERVICE, ..ArpFrame::request(GUEST) }.bytes();
    for frame in [claim.clone(), Packet::tcp().bytes(), tagged(&claim, 0x8100, 0)] {
        // Some receivers don't look at the length.
        for length in [frame.len() as u16 - 6, 0, 0x5ff] {
            lab.dropped(&wrapped(&frame, length), Verdict::Malformed);
            let tagged = tagged(&wrapped(&frame, length), 0x8100, 0);
            lab.dropped(&tagged, Verdict::Malformed);
        }
    }
    lab.passed(&wrapped(&claim, 0x600));
    // Spanning tree, and a protocol of somebody's own.
    let mut other = wrapped(&claim, 36);
    other[14..16].fill(0x42);
    lab.passed(&other);
    let mut other = wrapped(&claim, 36);
    other[20..22].copy_from_slice(&[0x20, 0]);
    lab.passed(&other);
}
