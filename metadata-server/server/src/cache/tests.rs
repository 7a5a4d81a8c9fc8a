//! Tests of the cache: what a swap keeps, changes and wakes.

use proptest::prelude::*;

use super::*;
use crate::fixture;

fn names(changes: &Changes) -> Vec<&str> {
    changes.devices.iter().map(DeviceName::as_str).collect()
}

#[test]
fn an_older_snapshot_and_the_same_one_are_ignored() {
    let mut cache = Cache::empty();
    assert!(cache.swap(Arc::new(fixture::snapshot(5, [1]))).is_some());
    assert!(cache.swap(Arc::new(fixture::snapshot(5, [1, 2]))).is_none());
    assert!(cache.swap(Arc::new(fixture::snapshot(4, []))).is_none());
    assert_eq!(cache.generation(), Generation(5));
    assert!(matches!(cache.owner("vnet1"), Claim::One(_)));
}

#[test]
fn only_the_changed_guests_ports_are_named() {
    let old = fixture::snapshot(1, 0..100);
    let mut cache = Cache::empty();
    cache.swap(Arc::new(old.clone()));
    let new = fixture::changed(&old, |new| {
        Arc::make_mut(&mut new.instances[7]).hostname = "renamed".into();
    });
    let changes = cache.swap(new).unwrap();
    assert_eq!(changes.ports.into_iter().collect::<Vec<_>>(), [fixture::port_id(7)]);
    assert!(changes.devices.is_empty());
    assert!(!changes.everyone);
}

#[test]
fn a_port_that_changes_its_device_names_both() {
    let old = fixture::snapshot(1, 0..3);
    let mut cache = Cache::empty();
    cache.swap(Arc::new(old.clone()));
    let new = fixture::changed(&old, |new| {
        Arc::make_mut(&mut new.ports[1]).device = DeviceName::parse("other").unwrap();
    });
    let changes = cache.swap(new).unwrap();
    assert_eq!(names(&changes), ["other", "vnet1"]);
    assert_eq!(cache.owner("vnet1"), Claim::Nobody);
    assert!(matches!(cache.owner("other"), Claim::One(_)));
}

#[test]
fn a_port_is_named_when_the_addresses_of_its_instances_other_one_change() {
    let mut old = fixture::snapshot(1, 0..3);
    for number in [0, 1] {
        let port = Arc::make_mut(&mut old.ports[number]);
        port.instance = Some(fixture::instance_id(0));
    }
    Arc::make_mut(&mut old.instances[0]).ports = vec![fixture::port_id(0), fixture::port_id(1)];
    let mut cache = Cache::empty();
    cache.swap(Arc::new(old.clone()));
    let new = fixture::changed(&old, |new| {
        Arc::make_mut(&mut new.ports[1]).addresses = vec!["192.168.0.99".parse().unwrap()];
    });
    let changes = cache.swap(new.clone()).unwrap();
    assert_eq!(names(&changes), ["vnet0", "vnet1"]);
    let wanted: Vec<std::net::IpAddr> = vec!["192.168.0.99".parse().unwrap()];
    assert_eq!(cache.sibling_addresses(&new.ports[0]), wanted);
    assert!(cache.sibling_addresses(&new.ports[2]).is_empty());
    // Given up, it is another guest's or nobody's: the one that stays may no longer use its own.
    let left = fixture::changed(&new, |new| {
        Arc::make_mut(&mut new.ports[1]).instance = None;
        Arc::make_mut(&mut new.instances[0]).ports.pop();
    });
    assert_eq!(names(&cache.swap(left.clone()).unwrap()), ["vnet0", "vnet1"]);
    assert!(cache.sibling_addresses(&left.ports[0]).is_empty());
}

#[test]
fn a_device_that_two_ports_claim_is_nobodys_until_one_lets_go() {
    let old = fixture::snapshot(1, 0..2);
    let both = fixture::changed(&old, |new| {
        Arc::make_mut(&mut new.ports[1]).device = fixture::device(0);
    });
    let one = fixture::changed(&both, |new| {
        new.ports.remove(0);
    });
    let mut cache = Cache::empty();
    cache.swap(Arc::new(old));
    cache.swap(both);
    assert_eq!(cache.owner("vnet0"), Claim::Several);
    cache.swap(one);
    assert!(matches!(cache.owner("vnet0"), Claim::One(port) if port.id == fixture::port_id(1)));
}

#[test]
fn two_ports_that_swap_devices_are_both_right_afterwards() {
    let old = fixture::snapshot(1, 0..2);
    let mut cache = Cache::empty();
    cache.swap(Arc::new(old.clone()));
    cache.swap(fixture::changed(&old, |new| {
        Arc::make_mut(&mut new.ports[0]).device = fixture::device(1);
        Arc::make_mut(&mut new.ports[1]).device = fixture::device(0);
    }));
    assert!(matches!(cache.owner("vnet0"), Claim::One(port) if port.id == fixture::port_id(1)));
    assert!(matches!(cache.owner("vnet1"), Claim::One(port) if port.id == fixture::port_id(0)));
}

#[test]
fn a_record_is_served_only_where_port_and_instance_name_each_other() {
    let mut snapshot = fixture::snapshot(1, 0..2);
    // Port 1 says that it is instance 0's; instance 0 does not know of it.
    Arc::make_mut(&mut snapshot.ports[1]).instance = Some(fixture::instance_id(0));
    let mut cache = Cache::empty();
    cache.swap(Arc::new(snapshot));
    let (port, instance) = (fixture::port_id, fixture::instance_id);
    assert!(cache.guest(&port(0), &instance(0)).is_some());
    assert!(cache.guest(&port(1), &instance(0)).is_none());
    assert!(cache.guest(&port(1), &instance(1)).is_none());
    assert!(cache.guest(&port(0), &instance(1)).is_none());
}

#[test]
fn an_instance_with_a_missing_port_is_not_whole() {
    let mut snapshot = fixture::snapshot(1, 0..1);
    Arc::make_mut(&mut snapshot.instances[0]).ports.push(fixture::port_id(9));
    let mut cache = Cache::empty();
    cache.swap(Arc::new(snapshot));
    assert!(cache.guest(&fixture::port_id(0), &fixture::instance_id(0)).is_none());
}

#[test]
fn another_site_concerns_everyone() {
    let old = fixture::snapshot(1, 0..2);
    let mut cache = Cache::empty();
    cache.swap(Arc::new(old.clone()));
    let new = fixture::changed(&old, |new| {
        Arc::make_mut(&mut new.site).domain = "elsewhere".into();
    });
    assert!(cache.swap(new).unwrap().everyone);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// However a state was reached, the index says what the newest snapshot says.
    #[test]
    fn the_index_of_devices_is_that_of_the_newest_snapshot(
        steps in prop::collection::vec(prop::collection::vec(0usize..6, 0..6), 1..6),
    ) {
        let mut cache = Cache::empty();
        for (generation, devices) in steps.iter().enumerate() {
            let mut snapshot = fixture::snapshot(generation as u64 + 1, 0..devices.len());
            for (port, device) in snapshot.ports.iter_mut().zip(devices) {
                Arc::make_mut(port).device = fixture::device(*device);
            }
            cache.swap(Arc::new(snapshot));
            for device in 0..6 {
                let claims: Vec<usize> =
                    (0..devices.len()).filter(|port| devices[*port] == device).collect();
                match (cache.owner(&format!("vnet{device}")), claims.as_slice()) {
                    (Claim::Nobody, []) => {}
                    (Claim::One(port), [only]) => prop_assert_eq!(&port.id, &fixture::port_id(*only)),
                    (Claim::Several, [_, _, ..]) => {}
                    (claim, expected) => prop_assert!(false, "{claim:?} of {expected:?}"),
                }
            }
        }
    }
}
