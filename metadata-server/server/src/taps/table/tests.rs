//! Tests of the table of taps against a naive model.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::{
    fixture,
    taps::plane::{DataPlane, MemoryPlane},
};

fn cache_of(numbers: impl IntoIterator<Item = usize>) -> Cache {
    let mut cache = Cache::empty();
    cache.swap(Arc::new(fixture::snapshot(1, numbers)));
    cache
}

fn table() -> Table {
    Table::new(Vec::new(), Vec::new(), 0, 0)
}

#[test]
fn a_known_device_is_attached_when_it_appears_and_detached_when_it_goes() {
    let (cache, mut table) = (cache_of([1]), table());
    let steps = table.seen(7, "vnet1", &cache);
    let [Step::Attach { ifindex: 7, tenancy, rules }] = steps.as_slice() else {
        panic!("{steps:?}")
    };
    assert_eq!(tenancy.port, fixture::port_id(1));
    assert_eq!(table.seen(7, "vnet1", &cache), [], "nothing changed");
    assert_eq!(table.gone(7), [Step::End { slot: rules.slot }, Step::Detach { ifindex: 7 }]);
    assert_eq!(table.gone(7), []);
}

#[test]
fn a_device_that_is_nobodys_is_left_alone_unless_it_has_a_ports_form() {
    let (cache, mut table) = (cache_of([1]), table());
    assert_eq!(table.seen(3, "eth0", &cache), []);
    assert_eq!(table.seen(4, "docker0", &cache), []);
    assert_eq!(table.seen(5, "tap0123456789a", &cache), [Step::Refuse { ifindex: 5 }]);
}

#[test]
fn a_device_is_attached_when_its_record_comes_after_it() {
    let mut table = table();
    assert_eq!(table.seen(7, "vnet1", &cache_of([])), []);
    let steps = table.claimed(&fixture::device(1), &cache_of([1]));
    assert!(matches!(steps.as_slice(), [Step::Attach { ifindex: 7, .. }]), "{steps:?}");
}

#[test]
fn what_a_failed_step_left_is_taken_away_with_the_device() {
    let (cache, mut table) = (cache_of([1]), table());
    let steps = table.seen(7, "vnet1", &cache);
    let [Step::Attach { rules, .. }] = steps.as_slice() else { panic!("{steps:?}") };
    assert_eq!(table.failed(7), [Step::End { slot: rules.slot }]);
    assert_eq!(table.gone(7), [Step::Detach { ifindex: 7 }]);
    // Detaching fails too, so it is tried again until it is done.
    for _ in 0..2 {
        table.failed(7);
        assert_eq!(table.retry(&cache), [Step::Detach { ifindex: 7 }]);
    }
    assert!(!table.has_failed());
    assert_eq!(table.gone(7), []);
}

#[test]
fn a_device_that_could_not_be_refused_is_tried_again_whatever_its_name() {
    let (known, unknown, mut table) = (cache_of([1]), cache_of([]), table());
    table.seen(7, "vnet1", &known);
    table.claimed(&fixture::device(1), &unknown);
    assert_eq!(table.failed(7), []);
    assert_eq!(table.retry(&unknown), [Step::Refuse { ifindex: 7 }]);
}

#[test]
fn a_device_whose_record_goes_reaches_no_service_any_more() {
    let mut table = table();
    table.seen(7, "vnet1", &cache_of([1]));
    let steps = table.claimed(&fixture::device(1), &cache_of([]));
    assert!(matches!(steps.as_slice(), [Step::End { .. }, Step::Refuse { ifindex: 7 }]));
}

#[test]
fn a_port_that_gets_another_instance_is_another_tenancy() {
    let mut table = table();
    let first = table.seen(7, "vnet1", &cache_of([1]));
    let mut snapshot = fixture::snapshot(1, [1]);
    Arc::make_mut(&mut snapshot.ports[0]).instance = Some(fixture::instance_id(2));
    let mut cache = Cache::empty();
    cache.swap(Arc::new(snapshot));
    let second = table.claimed(&fixture::device(1), &cache);
    let ([Step::Attach { rules: old, .. }], [Step::End { slot }, Step::Attach { rules: new, .. }]) =
        (first.as_slice(), second.as_slice())
    else {
        panic!("{first:?} {second:?}")
    };
    assert_eq!(*slot, old.slot);
    assert_ne!(old.slot, new.slot);
    assert_ne!(old.generation, new.generation);
}

#[test]
fn other_rules_of_the_same_tenancy_amend_it() {
    let mut table = table();
    let first = table.seen(7, "vnet1", &cache_of([1]));
    let mut snapshot = fixture::snapshot(1, [1]);
    Arc::make_mut(&mut snapshot.ports[0]).dhcp_server = true;
    let mut cache = Cache::empty();
    cache.swap(Arc::new(snapshot));
    let second = table.claimed(&fixture::device(1), &cache);
    let ([Step::Attach { rules: old, .. }], [Step::Amend { rules: new, .. }]) =
        (first.as_slice(), second.as_slice())
    else {
        panic!("{second:?}")
    };
    assert_eq!((old.slot, old.generation), (new.slot, new.generation));
    assert!(new.dhcp_server);
}

#[test]
fn a_device_that_is_renamed_changes_hands() {
    let (cache, mut table) = (cache_of([1, 2]), table());
    table.seen(7, "vnet1", &cache);
    let steps = table.seen(7, "vnet2", &cache);
    let [Step::End { .. }, Step::Attach { ifindex: 7, tenancy, .. }] = steps.as_slice() else {
        panic!("{steps:?}")
    };
    assert_eq!(tenancy.port, fixture::port_id(2));
    let steps = table.seen(7, "eth9", &cache);
    assert!(matches!(steps.as_slice(), [Step::End { .. }, Step::Refuse { ifindex: 7 }]));
}

#[test]
fn a_failed_device_is_tried_again() {
    let (cache, mut table) = (cache_of([1]), table());
    table.seen(7, "vnet1", &cache);
    assert!(matches!(table.failed(7).as_slice(), [Step::End { .. }]));
    assert!(table.has_failed());
    assert!(matches!(table.retry(&cache).as_slice(), [Step::Attach { ifindex: 7, .. }]));
    assert!(!table.has_failed());
}

#[test]
fn a_handed_over_tenancy_keeps_its_slot_and_generation() {
    let (cache, mut old) = (cache_of([1]), table());
    let steps = old.seen(7, "vnet1", &cache);
    let [Step::Attach { rules: before, .. }] = steps.as_slice() else { panic!() };
    let mut new = Table::new(vec![(7, before.slot)], old.tenancies(), old.next_slot(), 1_000_000);
    let steps = new.scanned(&[(7, "vnet1".into())].into(), &cache);
    let [Step::Attach { rules: after, .. }] = steps.as_slice() else { panic!("{steps:?}") };
    assert_eq!(before, after);
}

#[test]
fn a_handed_over_tenancy_of_another_instance_is_not_kept() {
    let (cache, mut old) = (cache_of([1]), table());
    let steps = old.seen(7, "vnet1", &cache);
    let [Step::Attach { rules: before, .. }] = steps.as_slice() else { panic!() };
    let mut handed = old.tenancies();
    handed[0].tenancy.instance = Some(fixture::instance_id(9));
    let mut new = Table::new(vec![(7, before.slot)], handed, old.next_slot(), 1_000_000);
    let steps = new.scanned(&[(7, "vnet1".into())].into(), &cache);
    let [Step::Attach { rules: after, .. }] = steps.as_slice() else { panic!("{steps:?}") };
    assert_ne!(before.slot, after.slot);
}

#[test]
fn what_is_pinned_and_not_there_any_more_is_detached() {
    let slot = PortSlot::new(3).unwrap();
    let mut table = Table::new(vec![(7, slot), (8, slot)], Vec::new(), 0, 0);
    let devices = [(8, "eth8".to_owned())].into();
    let steps = table.scanned(&devices, &cache_of([]));
    assert_eq!(steps, [Step::Detach { ifindex: 7 }, Step::Refuse { ifindex: 8 }]);
}

/// What may happen.
#[derive(Debug, Clone)]
enum Happening {
    Seen(u32, usize),
    Gone(u32),
    Records(Vec<(usize, usize)>),
    Scan,
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let one = prop_oneof![
        4 => (1u32..6, 0usize..5).prop_map(|(index, name)| Happening::Seen(index, name)),
        2 => (1u32..6).prop_map(Happening::Gone),
        2 => prop::collection::vec((0usize..5, 0usize..2), 0..5).prop_map(Happening::Records),
        1 => Just(Happening::Scan),
    ];
    prop::collection::vec(one, 1..40)
}

proptest! {
    /// Whatever happens in whatever order, what is attached in the end is what the names and the
    /// records say, no slot is given twice, and nothing is left on a device that is gone.
    #[test]
    fn what_is_attached_is_what_names_and_records_say(happenings in happenings()) {
        let (mut table, mut plane, mut cache) = (table(), MemoryPlane::default(), Cache::empty());
        let mut world: HashMap<u32, usize> = HashMap::new();
        let mut records: Vec<(usize, usize)> = Vec::new();
        let mut generation = 0;
        for happening in happenings {
            let steps = match happening {
                Happening::Seen(index, name) => {
                    // The kernel allows a name once; the other device was renamed before.
                    if world.iter().any(|(other, taken)| *taken == name && *other != index) {
                        continue;
                    }
                    world.insert(index, name);
                    plane.devices.insert(index);
                    table.seen(index, &format!("vnet{name}"), &cache)
                }
                Happening::Gone(index) => {
                    world.remove(&index);
                    plane.devices.remove(&index);
                    table.gone(index)
                }
                Happening::Records(new) => {
                    generation += 1;
                    let mut snapshot = fixture::snapshot(generation, 0..new.len());
                    for (port, (device, owner)) in snapshot.ports.iter_mut().zip(&new) {
                        let port = Arc::make_mut(port);
                        port.device = fixture::device(*device);
                        port.instance = Some(fixture::instance_id(*owner));
                    }
                    records = new;
                    let changes = cache.swap(Arc::new(snapshot)).unwrap();
                    if changes.everyone {
                        table.reviewed(&cache)
                    } else {
                        changes.devices.iter().flat_map(|d| table.claimed(d, &cache)).collect()
                    }
                }
                Happening::Scan => {
                    let devices = world.iter().map(|(i, n)| (*i, format!("vnet{n}"))).collect();
                    table.scanned(&devices, &cache)
                }
            };
            for step in steps {
                match step {
                    Step::Attach { ifindex, rules, .. } | Step::Amend { ifindex, rules } => {
                        plane.attach(ifindex, &rules).unwrap();
                    }
                    Step::Refuse { ifindex } => plane.refuse(ifindex).unwrap(),
                    Step::Detach { ifindex } => plane.detach(ifindex).unwrap(),
                    Step::End { .. } => {}
                }
            }
            let attached = plane.attached().unwrap();
            let slots: BTreeSet<_> = attached.iter().map(|(_, slot)| *slot).collect();
            prop_assert_eq!(slots.len(), attached.len(), "a slot was given twice");
            for (index, _) in &attached {
                prop_assert!(world.contains_key(index), "device {index} is gone");
            }
            for (index, name) in &world {
                let claims: Vec<_> =
                    (0..records.len()).filter(|port| records[*port].0 == *name).collect();
                let held = table.tenancies().into_iter().find(|one| one.ifindex == *index);
                match claims.as_slice() {
                    [only] => {
                        let held = held.unwrap();
                        prop_assert_eq!(&held.tenancy.port, &fixture::port_id(*only));
                        let owner = fixture::instance_id(records[*only].1);
                        prop_assert_eq!(held.tenancy.instance, Some(owner));
                        prop_assert_eq!(plane.rules(*index).unwrap().slot.number(), held.slot);
                    }
                    _ => {
                        prop_assert!(held.is_none());
                        prop_assert!(plane.rules(*index).is_none());
                    }
                }
            }
        }
    }
}
