//! What a guest must not send is dropped at its tap, counted, and told in the event stream.

use std::{net::Ipv4Addr, time::Duration};

use mezame_tests::{
    Lab,
    frame::{self, Ip},
    server::Events,
    tap::Tap,
    tenant::Tenant,
    wait::{self, SOON},
};
use serde_json::json;

use crate::seeds::{self, MAC};

const OWN: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 10);
const STRANGER: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 66);

/// The source port of honest SYNs, whose answers are repeated for a while.
const HONEST: u16 = 50_000;
/// The source port of all bad frames that have one.
const BAD: u16 = 40_000;

/// A guest whose frames the test writes, and a neighbour that hears what passes.
struct Rig {
    lab: Lab,
    guest: Tap,
    neighbour: Tap,
    service: [u8; 6],
    events: Events,
    _tenant: Tenant,
}

impl Rig {
    fn start() -> Self {
        let mut lab = Lab::start().unwrap();
        lab.operator.apply(&seeds::tenant("tenant-a", 1000, "tapa", &json!({}))).unwrap();
        let tenant = Tenant::create(&lab.hypervisor, 1000, "192.168.0.1/24").unwrap();
        let guest = lab.tap("tapa").unwrap();
        let neighbour = lab.tap("neighbour").unwrap();
        tenant.plug("tapa").unwrap();
        tenant.plug("neighbour").unwrap();
        let events = lab.server().events().unwrap();
        let asks = frame::arp(1, frame::mac(MAC), OWN, frame::SERVICE);
        let service = wait::until("the service's MAC", SOON, || {
            guest.send(&asks)?;
            let reply = guest.receive_first(Duration::from_millis(200), |frame| {
                let is_reply = frame[12..14] == [8, 6] && frame[20..22] == [0, 2];
                is_reply.then(|| frame[6..12].try_into().unwrap())
            })?;
            reply.ok_or_else(|| anyhow::anyhow!("no ARP reply"))
        })
        .unwrap();
        let mut rig = Self { lab, guest, neighbour, service, events, _tenant: tenant };
        rig.until_answered();
        rig
    }

    /// An honest SYN is answered: what comes after it was not dropped for want of a service.
    fn until_answered(&mut self) {
        let syn = frame::syn(frame::mac(MAC), self.service, &Ip::to_service(OWN), HONEST);
        wait::until("an answer to an honest SYN", SOON, || {
            self.guest.send(&syn)?;
            let answer = self.guest.receive_first(Duration::from_millis(300), |frame| {
                frame::is_answer_to(frame, HONEST).then_some(())
            })?;
            answer.ok_or_else(|| anyhow::anyhow!("none came"))
        })
        .unwrap();
    }

    fn count(&mut self, verdict: &str) -> f64 {
        let label = format!("verdict=\"{verdict}\"");
        let metrics = self.lab.server().metrics().unwrap();
        metrics.sum("mezame_frames_total", &["port=\"eni-", &label])
    }

    /// Sends a frame: it is counted and told with this reason, nothing comes back, and the
    /// neighbour hears nothing of it.
    fn assert_dropped(&mut self, bad: &[u8], reason: &str) {
        let before = self.count(reason);
        while self.neighbour.receive_raw(Duration::ZERO).unwrap().is_some() {}
        self.guest.send(bad).unwrap();
        let told =
            self.events.first(|event| (event["reason"] == reason).then(|| event.clone())).unwrap();
        assert!(told["port"].as_str().is_some_and(|port| port.starts_with("eni-")), "{told}");
        assert_eq!(told["mac"], frame_mac(bad), "{told}");
        wait::until("the counter", SOON, || {
            let now = self.count(reason);
            anyhow::ensure!(now >= before + 1.0, "{reason} is {now}");
            Ok(())
        })
        .unwrap();
        // A frame that may pass is sent behind it: when that has arrived, the bad one has not.
        let marker = frame::ethernet([0xff; 6], frame::mac(MAC), 0x88b5, b"marker");
        self.guest.send(&marker).unwrap();
        let mut heard = Vec::new();
        let passed = self
            .neighbour
            .receive_first(SOON, |frame| {
                heard.push(frame.to_vec());
                (frame[12..14] == [0x88, 0xb5]).then_some(())
            })
            .unwrap();
        assert!(passed.is_some(), "the marker passed");
        heard.pop();
        let leaked = heard.iter().any(|frame| frame[6..12] == bad[6..12]);
        assert!(!leaked, "the neighbour heard {heard:02x?}");
        let answer = self
            .guest
            .receive_first(Duration::from_millis(100), |frame| {
                frame::is_answer_to(frame, BAD).then(|| frame.to_vec())
            })
            .unwrap();
        assert!(answer.is_none(), "an answer came: {answer:02x?}");
    }
}

fn frame_mac(frame: &[u8]) -> String {
    let bytes: Vec<String> = frame[6..12].iter().map(|byte| format!("{byte:02x}")).collect();
    bytes.join(":")
}

#[test]
fn a_tagged_frame_to_the_service_is_dropped() {
    let mut rig = Rig::start();
    let syn = frame::syn(frame::mac(MAC), rig.service, &Ip::to_service(OWN), BAD);
    rig.assert_dropped(&frame::tagged(&syn, 7), "tagged");
}

#[test]
fn a_frame_that_is_tagged_twice_is_dropped() {
    let mut rig = Rig::start();
    let syn = frame::syn(frame::mac(MAC), rig.service, &Ip::to_service(OWN), BAD);
    rig.assert_dropped(&frame::tagged(&frame::tagged(&syn, 7), 8), "tagged");
}

#[test]
fn a_fragment_to_the_service_is_dropped() {
    let mut rig = Rig::start();
    for fragment in [0x2000, 0x0001] {
        let ip = Ip { fragment, ..Ip::to_service(OWN) };
        rig.assert_dropped(&frame::syn(frame::mac(MAC), rig.service, &ip, BAD), "fragment");
    }
}

#[test]
fn a_packet_with_ip_options_to_the_service_is_dropped() {
    let mut rig = Rig::start();
    // Record route (RFC 791, section 3.1).
    let packet = Ip::to_service(OWN).packet(6, &[7, 7, 4, 0, 0, 0, 0, 0], &[0; 20]);
    let bad = frame::ethernet(rig.service, frame::mac(MAC), 0x0800, &packet);
    rig.assert_dropped(&bad, "ip_options");
}

#[test]
fn a_spoofed_source_address_is_dropped() {
    let mut rig = Rig::start();
    let bad = frame::syn(frame::mac(MAC), rig.service, &Ip::to_service(STRANGER), BAD);
    rig.assert_dropped(&bad, "spoofed_source");
}

#[test]
fn a_spoofed_source_mac_is_dropped() {
    let mut rig = Rig::start();
    let bad = frame::syn(frame::mac("52:54:00:66:66:66"), rig.service, &Ip::to_service(OWN), BAD);
    rig.assert_dropped(&bad, "wrong_mac");
}

#[test]
fn arp_that_claims_the_services_address_is_dropped() {
    let mut rig = Rig::start();
    for operation in [1, 2] {
        let bad = frame::arp(operation, frame::mac(MAC), frame::SERVICE, OWN);
        rig.assert_dropped(&bad, "arp_claim");
    }
}

#[test]
fn a_dhcp_servers_message_out_of_a_guest_is_dropped() {
    let mut rig = Rig::start();
    rig.assert_dropped(&frame::dhcp_offer(frame::mac(MAC), OWN), "dhcp_server");
}

#[test]
fn a_frame_from_the_services_address_is_dropped() {
    let mut rig = Rig::start();
    let ip = Ip { from: frame::SERVICE, to: STRANGER, ttl: 64, fragment: 0 };
    let packet = ip.tcp(80, BAD, 0x12, &[]);
    let bad = frame::ethernet([0xff; 6], frame::mac(MAC), 0x0800, &packet);
    rig.assert_dropped(&bad, "from_service");
}

#[test]
fn a_port_of_the_service_address_that_no_service_has_is_refused_at_the_tap() {
    let mut rig = Rig::start();
    let packet = Ip::to_service(OWN).tcp(BAD, 22, frame::SYN, &[]);
    let bad = frame::ethernet(rig.service, frame::mac(MAC), 0x0800, &packet);
    rig.assert_dropped(&bad, "no_service");
}
