//! Rules of ports as they are given, changed and refused, and the service table's.

use std::net::Ipv4Addr;

use mezame_ebpf_loader::{
    AttachError, DataPath, PinRoot, PortRules, PortSlot, Rate, Trial, Uplink, Verdict,
};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

use super::{
    frames::Packet,
    lab::{
        GUEST, HOST_MAC, LOOPBACK, Lab, OTHER_SERVICE, PEER_MAC, SERVICE, enter_new_namespace,
        rules, services,
    },
    wire::{ifindex, open_tap},
};

fn from(source: [u8; 4]) -> Vec<u8> {
    Packet { source: source.into(), ..Packet::tcp() }.bytes()
}

#[test]
fn new_rules_take_the_place_of_the_old_ones_and_keep_the_counters() {
    let mut lab = Lab::with_port();
    assert_eq!(lab.guest(&from([10, 9, 0, 1])).action, Trial::REDIRECT);
    let mac = [0x52, 0x54, 0, 0, 0, 0x77];
    let allowed = vec!["10.8.0.0/16".parse().unwrap()];
    let addresses = vec![[192, 168, 0, 77].into()];
    let next = PortRules { mac, allowed, addresses, ..rules() };
    lab.path.attach(LOOPBACK, &next).unwrap();
    lab.dropped(&from([10, 8, 0, 1]), Verdict::WrongMac);
    let from =
        |source: [u8; 4]| Packet { source: source.into(), from_mac: mac, ..Packet::tcp() }.bytes();
    assert_eq!(lab.guest(&from([10, 8, 0, 1])).action, Trial::REDIRECT);
    assert_eq!(lab.guest(&from([192, 168, 0, 77])).action, Trial::REDIRECT);
    lab.dropped(&from([10, 9, 0, 1]), Verdict::SpoofedSource);
    lab.dropped(&from(GUEST.octets()), Verdict::SpoofedSource);
    assert_eq!(lab.counted(Verdict::Delivered), 3);
}

#[test]
fn another_generation_begins_with_nothing_that_the_one_before_had() {
    let mut lab = Lab::with_port();
    lab.guest(&from([10, 9, 0, 1]));
    lab.path.attach(LOOPBACK, &PortRules { generation: 8, ..rules() }).unwrap();
    assert_eq!(lab.nonzero(), []);
}

#[test]
fn a_range_of_one_port_is_not_anothers() {
    let mut lab = Lab::with_port();
    let _tap = open_tap("tap-one");
    let tap = ifindex("tap-one");
    let ranges = ["10.0.0.0/8", "10.9.0.0/24", "10.9.0.128/25", "172.16.5.5/32"];
    let other = PortRules {
        slot: PortSlot::new(3).unwrap(),
        allowed: ranges.map(|range| range.parse().unwrap()).to_vec(),
        ..rules()
    };
    lab.path.attach(tap, &other).unwrap();
    let action = |lab: &Lab, index, source| {
        lab.path.try_guest_frame(index, &from(source), 1).unwrap().action
    };
    for source in [[10, 200, 0, 1], [10, 9, 0, 200], [172, 16, 5, 5]] {
        assert_eq!(action(&lab, tap, source), Trial::REDIRECT, "{source:?}");
    }
    assert_eq!(action(&lab, LOOPBACK, [10, 200, 0, 1]), Trial::DROP);
    assert_eq!(action(&lab, LOOPBACK, [10, 9, 0, 200]), Trial::REDIRECT);
    // The other's ranges go with it, and ours stay.
    let with_both = lab.path.entries().unwrap();
    lab.path.detach(tap).unwrap();
    assert_eq!(lab.path.entries().unwrap(), with_both - 3 - ranges.len() - 1);
    assert_eq!(action(&lab, LOOPBACK, [10, 9, 0, 200]), Trial::REDIRECT);
}

#[test]
fn a_port_that_may_use_any_address_may_still_not_use_a_service_address_or_one_that_no_host_has() {
    let mut lab = Lab::new();
    let allowed = vec!["0.0.0.0/0".parse().unwrap()];
    lab.path.attach(LOOPBACK, &PortRules { allowed, ..rules() }).unwrap();
    assert_eq!(lab.guest(&from([8, 8, 8, 8])).action, Trial::REDIRECT);
    lab.dropped(&from(SERVICE.octets()), Verdict::FromService);
    for source in [[0; 4], [0, 1, 2, 3], [127, 0, 0, 1], [224, 0, 0, 251], [255; 4]] {
        lab.dropped(&from(source), Verdict::SpoofedSource);
    }
}

#[test]
fn forty_addresses_of_one_port_are_all_served() {
    let mut lab = Lab::new();
    let addresses = (1..=40).map(|n| Ipv4Addr::new(192, 168, 7, n)).collect();
    lab.path.attach(LOOPBACK, &PortRules { addresses, ..rules() }).unwrap();
    for n in 1..=40 {
        assert_eq!(lab.guest(&from([192, 168, 7, n])).action, Trial::REDIRECT, "{n}");
    }
}

#[test]
fn rules_that_can_not_be_kept_are_refused_and_nothing_is_attached() {
    let mut lab = Lab::new();
    let multicast = PortRules { mac: [1, 0, 0x5e, 0, 0, 1], ..rules() };
    let no_mac = PortRules { mac: [0; 6], ..rules() };
    for rules in [multicast, no_mac] {
        assert!(matches!(lab.path.attach(LOOPBACK, &rules), Err(AttachError::Mac(_))));
    }
    for address in [SERVICE, OTHER_SERVICE, Ipv4Addr::LOCALHOST, Ipv4Addr::BROADCAST] {
        let rules = PortRules { addresses: vec![address], ..rules() };
        let error = lab.path.attach(LOOPBACK, &rules).unwrap_err();
        assert!(matches!(error, AttachError::Address(found) if found == address), "{error}");
    }
    for rate in [(0, 1), (1, 0)] {
        let rate = Rate { frames_per_second: rate.0, burst: rate.1 };
        let rules = PortRules { rate, ..rules() };
        assert!(matches!(lab.path.attach(LOOPBACK, &rules), Err(AttachError::Rate)));
    }
    assert_eq!(lab.path.entries().unwrap(), 0);
    assert_eq!(lab.path.linked_program(LOOPBACK).unwrap(), None);
}

#[test]
fn a_service_that_is_taken_from_the_table_is_nobodys_frame_any_more() {
    let mut lab = Lab::with_port();
    let frame =
        Packet { destination: OTHER_SERVICE, destination_port: 443, ..Packet::tcp() }.bytes();
    assert_eq!(lab.guest(&frame).action, Trial::REDIRECT);
    let uplink = Uplink { host_ifindex: LOOPBACK, host_mac: HOST_MAC, peer_mac: PEER_MAC };
    lab.path = DataPath::open(&lab.root, &uplink, &services()[..1]).unwrap();
    lab.passed(&frame);
    assert_eq!(lab.guest(&Packet::tcp().bytes()).action, Trial::REDIRECT);
    lab.path = DataPath::open(&lab.root, &uplink, &services()).unwrap();
    assert_eq!(lab.guest(&frame).action, Trial::REDIRECT);
}

#[test]
fn what_another_layout_left_stays_until_it_is_retired() {
    let lab = Lab::new();
    let old = lab.root.path().join("v0");
    for directory in ["maps", "programs", "links"] {
        std::fs::create_dir_all(old.join(directory)).unwrap();
    }
    let foreign = lab.root.path().join("vacation");
    std::fs::create_dir(&foreign).unwrap();
    let uplink = Uplink { host_ifindex: LOOPBACK, host_mac: HOST_MAC, peer_mac: PEER_MAC };
    let path = DataPath::open(&lab.root, &uplink, &services()).unwrap();
    assert!(old.exists(), "the ports are not attached anew yet");
    path.retire_other_layouts().unwrap();
    assert!(!old.exists());
    assert!(foreign.exists(), "not ours");
    std::fs::remove_dir(foreign).unwrap();
}

#[test]
fn bpffs_is_mounted_where_there_is_none() {
    enter_new_namespace();
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_PRIVATE | MsFlags::MS_REC, none).unwrap();
    let directory = std::env::temp_dir().join(format!("mezame-test-bpffs-{}", std::process::id()));
    let root = PinRoot::new(&directory);
    let uplink = Uplink { host_ifindex: LOOPBACK, host_mac: HOST_MAC, peer_mac: PEER_MAC };
    let path = DataPath::open(&root, &uplink, &services()).unwrap();
    drop(path);
    assert!(directory.join("v2/links/uplink").exists());
    DataPath::remove(&root).unwrap();
    assert!(!directory.join("v1").exists());
    nix::mount::umount(&directory).unwrap();
    std::fs::remove_dir(&directory).unwrap();
}
