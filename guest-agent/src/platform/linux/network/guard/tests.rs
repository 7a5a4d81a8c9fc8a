//! When a change that failed has cut the guest off.

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
