//! The harness itself: what every other case stands on, real guests excepted.

use std::{io::Read, net::TcpListener, time::Duration};

use mezame_tests::{
    frame,
    namespace::Namespace,
    namespace_guest::NamespaceGuest,
    tap::{Offload, Tap},
    wait::{self, SOON},
};

const MAC: &str = "52:54:00:00:00:0a";

#[test]
fn a_namespace_guest_sends_partial_checksums_and_long_segments_through_a_real_tap() {
    let hypervisor = Namespace::create().unwrap();
    let tap = Tap::create(&hypervisor, "tap0", Offload::ChecksumAndSegmentation).unwrap();
    hypervisor.ip("address add 192.0.2.1/24 dev tap0").unwrap();
    let guest = NamespaceGuest::plug(tap, MAC, &["192.0.2.2/24"], Offload::ChecksumAndSegmentation)
        .unwrap();
    let listener = hypervisor.run(|| TcpListener::bind("192.0.2.1:0")).unwrap().unwrap();
    let address = listener.local_addr().unwrap();
    let sent = vec![7; 1 << 20];
    let mut stream =
        guest.namespace().run(|| std::net::TcpStream::connect(address)).unwrap().unwrap();
    let writer = std::thread::spawn(move || std::io::Write::write_all(&mut stream, &sent));
    let mut received = Vec::new();
    listener.accept().unwrap().0.read_to_end(&mut received).unwrap();
    writer.join().unwrap().unwrap();
    assert_eq!(received.len(), 1 << 20);
    // More bytes than frames of 1500 could carry: the segments were long.
    let frames = hypervisor
        .run(|| std::fs::read_to_string("/proc/thread-self/net/dev").unwrap())
        .unwrap()
        .lines()
        .find_map(|line| {
            line.trim().strip_prefix("tap0:")?.split_whitespace().nth(1)?.parse::<u64>().ok()
        })
        .unwrap();
    assert!(frames < (1 << 20) / 1500, "{frames} frames carried a mebibyte");
}

#[test]
fn a_frame_of_the_tests_own_making_arrives_on_the_hypervisor() {
    let hypervisor = Namespace::create().unwrap();
    let tap = Tap::create(&hypervisor, "tap0", Offload::None).unwrap();
    hypervisor.ip("address add 192.0.2.1/24 dev tap0").unwrap();
    let mac = frame::mac(MAC);
    let asks = frame::arp(1, mac, "192.0.2.9".parse().unwrap(), "192.0.2.1".parse().unwrap());
    let answer = wait::until("an answer", SOON, || {
        tap.send(&asks)?;
        let reply = tap.receive_first(Duration::from_millis(200), |frame| {
            (frame[12..14] == [8, 6] && frame[20..22] == [0, 2]).then(|| frame.to_vec())
        })?;
        reply.ok_or_else(|| anyhow::anyhow!("none came"))
    })
    .unwrap();
    assert_eq!(&answer[28..32], [192, 0, 2, 1], "the hypervisor's stack answers for itself");
}
