//! The harness itself: what every other case stands on.

use std::{io::Read, net::TcpListener, time::Duration};

use mezame_tests::{
    frame,
    guest_image::GuestImage,
    namespace::Namespace,
    namespace_guest::NamespaceGuest,
    qemu::{Machine, QemuGuest},
    sandbox::Sandbox,
    tap::{Offload, Tap},
    tenant::Tenant,
    wait::{self, A_BOOT, SOON},
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

#[test]
fn the_small_guest_boots_on_a_tap_and_starts_the_program_in_it() {
    let sandbox = Sandbox::enter().unwrap();
    let hypervisor = Namespace::create().unwrap();
    let tenant = Tenant::create(&hypervisor, 1000, "192.0.2.1/24").unwrap();
    let tap = Tap::create(&hypervisor, "tap0", Offload::None).unwrap();
    tenant.plug("tap0").unwrap();
    let program = sandbox.directory().join("stand-in");
    std::fs::write(&program, "#!/bin/sh\nip link set eth0 up\nip address add 192.0.2.2/24 dev eth0\necho guest: $1\nexec sleep 1000\n").unwrap();
    let image = GuestImage::small(&program, sandbox.directory()).unwrap();
    let machine = Machine::new("small", MAC);
    let mut guest =
        QemuGuest::boot(&hypervisor, &image, &machine, tap, sandbox.directory()).unwrap();
    guest.until_says("guest: watch", A_BOOT).unwrap();
    wait::until("the guest's answer to a ping", SOON, || tenant.ping("192.0.2.2")).unwrap();
}
