//! When a change that failed has cut the guest off, and what comes back after a while.

use super::*;
use crate::platform::linux::{link_local6::tests::with_devices, network::configure};

fn interface(address: &str) -> Interface {
    let value = serde_json::json!({
        "mac": "52:54:00:00:00:01", "mtu": 1450, "addresses": [address],
    });
    serde_json::from_value(value).unwrap()
}

#[test]
fn a_guest_is_cut_off_where_an_address_went_and_a_step_that_failed_brought_none() {
    with_devices(|_, [first, second]| {
        let root = tempfile::tempdir().unwrap();
        let tree = Tree::open(root.path()).unwrap();
        let (old, new) = (interface("10.0.0.9/24"), interface("10.1.0.9/24"));
        configure(&tree, first, &old).unwrap();
        let guard = Guard::new(&tree, &[(first, &new), (second, &new)]).unwrap();
        let is_cut = |failed: &str, good: &[&str]| guard.is_cut(&[(failed, &new)], good).unwrap();
        // A bond that the kernel can't make, say: nothing has gone.
        assert!(!is_cut("bond0", &[]));
        let mut netlink = Netlink::open().unwrap();
        let link = netlink.link(first).unwrap();
        netlink.remove_address(link.index, old.addresses[0]).unwrap();
        assert!(is_cut("bond0", &[]) && is_cut(first, &[]));
        assert!(!is_cut("bond0", &[first]), "it went as it was to go");
        netlink.add_address(link.index, "169.254.7.7/16".parse().unwrap(), true).unwrap();
        assert!(is_cut("bond0", &[]), "that is claimed for the time being");
        configure(&tree, second, &new).unwrap();
        assert!(!is_cut(second, &[]), "it has its address, if not all that it was to have");
        guard.roll_back().unwrap();
        assert!(netlink.link(first).unwrap().addresses.contains(&old.addresses[0]));
    });
}

#[test]
fn a_lease_that_has_ended_since_does_not_come_back_nor_keep_anything_else_away() {
    with_devices(|_, [device, _]| {
        let ip = |arguments: &str| {
            let output = std::process::Command::new("ip").args(arguments.split(' ')).output();
            let output = output.unwrap();
            assert!(output.status.success(), "ip {arguments}: {output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        let root = tempfile::tempdir().unwrap();
        let tree = Tree::open(root.path()).unwrap();
        ip(&format!("link set {device} up"));
        for address in ["10.1.0.9/24 valid_lft 600 preferred_lft 500", "10.2.0.9/24"] {
            ip(&format!("address add {address} dev {device}"));
        }
        ip(&format!("address add 10.3.0.9/24 valid_lft 5000 preferred_lft 900 dev {device}"));
        ip(&format!("route add 10.50.0.0/16 via 10.2.0.1 dev {device}"));
        drop(Guard::new(&tree, &[(device, &interface("10.9.0.9/24"))]).unwrap());
        ip(&format!("address flush dev {device} scope global"));
        let mut left = Guard::left_behind(&tree).unwrap().unwrap();
        // Another change is tried a quarter of an hour later.
        left.before.at = Some(left.before.at.unwrap() - 1000);
        left.roll_back().unwrap();
        let shown = ip(&format!("-4 -o address show dev {device}"));
        assert!(!shown.contains("10.1.0.9"), "{shown}");
        assert!(shown.contains("10.2.0.9/24") && shown.contains("10.3.0.9/24"), "{shown}");
        let (_, lease) =
            shown.split_once("valid_lft 39").or(shown.split_once("valid_lft 4000")).unwrap();
        assert!(lease.contains("preferred_lft 0sec"), "{shown}");
        assert!(ip("-4 route").contains("10.50.0.0/16 via 10.2.0.1"));
    });
}
