//! Ways by IPv6 through devices of the test's own, and the judging of addresses.

use std::net::IpAddr;

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

use super::*;
use crate::{
    endpoint::{LINK_V4, LINK_V6, UNIQUE_V6},
    platform::{Platform, contract, linux::Linux},
    settings::Settings,
};

/// Runs inside a network namespace of its own, with two devices that are joined by a cable; the
/// namespace goes with its thread. Fails without root: a test that can't run must not be taken for
/// one that passed.
pub(in crate::platform::linux) fn with_devices(test: fn(linux: &Linux, devices: [&str; 2])) {
    assert!(nix::unistd::geteuid().is_root(), "root is needed for a network namespace");
    let run = move || {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        // Of the devices /sys shows those of the namespace in which it was mounted.
        mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), none).unwrap();
        let arguments = "link add mzv6a type veth peer name mzv6b";
        let made = std::process::Command::new("ip").args(arguments.split(' ')).status().unwrap();
        assert!(made.success(), "ip {arguments}");
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("etc")).unwrap();
        let settings = Settings { root: root.path().to_owned(), ..Settings::default() };
        let linux = Linux::new(&settings).unwrap();
        let mut netlink = Netlink::open().unwrap();
        let index = netlink.link("mzv6b").unwrap().index;
        netlink.set_link(index, true, None).unwrap();
        test(&linux, ["mzv6a", "mzv6b"]);
    };
    std::thread::spawn(run).join().unwrap();
}

fn set(device: &str, name: &str, value: &str) {
    std::fs::write(format!("/proc/sys/net/ipv6/conf/{device}/{name}"), value).unwrap();
}

#[test]
fn linux_keeps_the_contract_of_ways() {
    with_devices(|linux, [device, _]| {
        contract::ways(linux, device, || set(device, "disable_ipv6", "1"));
    });
}

#[test]
fn a_route_through_one_device_stays_beside_that_through_another() {
    with_devices(|linux, devices| {
        let opened = devices.map(|device| linux.open_path(device, UNIQUE_V6.into()).unwrap());
        let mut netlink = Netlink::open().unwrap();
        let wanted = (route(0, UNIQUE_V6).destination, None);
        assert!(opened.iter().all(|it| it.routed));
        for path in &opened {
            assert!(netlink.routes(path.index).unwrap().contains(&wanted), "{path:?}");
        }
        linux.close_path(&opened[0], false).unwrap();
        assert!(!netlink.routes(opened[0].index).unwrap().contains(&wanted));
        assert!(netlink.routes(opened[1].index).unwrap().contains(&wanted));
    });
}

#[test]
fn a_device_for_which_the_kernel_makes_no_address_is_told_of_at_once() {
    with_devices(|linux, [device, _]| {
        set(device, "addr_gen_mode", "1");
        let began = Instant::now();
        let error = linux.open_path(device, LINK_V6.into()).unwrap_err();
        assert_eq!(error.reason(), "no-ipv6");
        assert!(error.to_string().contains("addr_gen_mode is none"), "{error}");
        assert!(began.elapsed() < PATIENCE);
        assert!(linux.open_path(device, LINK_V4.into()).is_ok());
    });
}

#[test]
fn what_turns_ipv6_off_is_named() {
    let say = |value: Option<&str>| {
        let value = value.map(str::to_owned);
        turned_off(&move |name| value.clone().filter(|_| name == "disable_ipv6"))
    };
    assert_eq!(say(Some("0")), None);
    assert!(say(Some("1")).unwrap().contains("disable_ipv6"));
    assert!(say(None).unwrap().contains("1280"));
}

#[test]
fn an_address_is_awaited_as_long_as_it_can_become_usable() {
    let link: IpAddr = "fe80::10".parse().unwrap();
    let global: IpAddr = "2001:db8::10".parse().unwrap();
    let own = |address, tentative, taken| match address {
        IpAddr::V6(address) => Address6 { address, tentative, taken },
        IpAddr::V4(_) => unreachable!(),
    };
    let judge = |list: &[Address6], endpoint| state(list, endpoint, Some("0"));
    assert_eq!(judge(&[], LINK_V6), Source::Awaited);
    assert_eq!(judge(&[own(link, true, false)], LINK_V6), Source::Awaited);
    assert_eq!(judge(&[own(link, false, false)], LINK_V6), Source::Usable);
    assert_eq!(judge(&[own(global, false, false)], LINK_V6), Source::Awaited);
    assert_eq!(judge(&[own(global, false, false)], UNIQUE_V6), Source::Usable);
    assert_eq!(judge(&[own(link, false, false)], UNIQUE_V6), Source::Usable);
    assert!(matches!(judge(&[own(link, true, true)], LINK_V6), Source::Never(_)));
    let both = [own(link, true, true), own(global, true, false)];
    assert_eq!(judge(&both, UNIQUE_V6), Source::Awaited);
    assert!(matches!(state(&[], LINK_V6, Some("1")), Source::Never(_)));
    // Somebody else makes the address there, as NetworkManager does.
    assert_eq!(state(&[own(link, false, false)], LINK_V6, Some("1")), Source::Usable);
    assert_eq!(state(&[], LINK_V6, None), Source::Awaited, "a kernel before 4.11");
}

#[test]
fn a_route_and_a_rule_that_forbid_the_way_are_told_and_left_alone() {
    with_devices(|linux, [device, _]| {
        let ip = |arguments: &str| {
            let made =
                std::process::Command::new("ip").args(arguments.split(' ')).status().unwrap();
            assert!(made.success(), "ip {arguments}");
        };
        ip("link set mzv6a up");
        ip("route add blackhole 169.254.169.254");
        ip("-6 route add prohibit fd00:ec2::254");
        for endpoint in [IpAddr::from(LINK_V4), IpAddr::from(UNIQUE_V6)] {
            let error = linux.open_path(device, endpoint).unwrap_err();
            assert_eq!(error.reason(), "route-refused", "{error}");
            let mut netlink = Netlink::open().unwrap();
            assert!(netlink.refusing_route(endpoint).unwrap().is_some());
            let addresses = netlink.link(device).unwrap().addresses;
            assert!(!addresses.iter().any(IpNetwork::is_ipv4), "{addresses:?}");
        }
        let mut netlink = Netlink::open().unwrap();
        let index = netlink.link(device).unwrap().index;
        assert_eq!(netlink.refusal(index, LINK_V6.into()), None);
        ip("-6 rule add to fe80::a9fe:a9fe prohibit");
        let told = netlink.refusal(index, LINK_V6.into());
        assert!(told.as_ref().is_some_and(|it| it.contains("prohibited")), "{told:?}");
    });
}
