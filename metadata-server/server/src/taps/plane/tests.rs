//! One contract, kept by the kernel's data path and by the one in memory.

use mezame_ebpf_loader::{PinRoot, Rate, Uplink};

use super::*;
use crate::{netns, sandbox};

const NO_DEVICE: u32 = 0x7fff_fff0;

fn rules(slot: u32, generation: u32) -> PortRules {
    PortRules {
        slot: PortSlot::new(slot).unwrap(),
        generation,
        mac: [0x52, 0x54, 0, 0, 0, 1],
        addresses: vec!["192.168.0.10".parse().unwrap()],
        allowed: Vec::new(),
        allowed6: Vec::new(),
        dhcp_server: false,
        answers: mezame_ebpf_loader::Answers::default(),
        rate: Rate { frames_per_second: 100, burst: 100 },
    }
}

/// What every data path does. `one` and `two` are devices that exist.
fn keeps_the_contract(plane: &mut dyn DataPlane, one: u32, two: u32) {
    let slot = |number| PortSlot::new(number).unwrap();
    let sorted = |plane: &dyn DataPlane| {
        let mut attached = plane.attached().unwrap();
        attached.sort_by_key(|(ifindex, _)| *ifindex);
        attached
    };
    assert_eq!(sorted(plane), []);
    plane.attach(one, &rules(1, 1)).unwrap();
    plane.attach(two, &rules(2, 2)).unwrap();
    assert_eq!(sorted(plane), [(one, slot(1)), (two, slot(2))]);
    plane.attach(one, &rules(1, 1)).unwrap();
    assert_eq!(sorted(plane).len(), 2, "attaching again changes nothing");
    plane.attach(one, &rules(3, 3)).unwrap();
    assert_eq!(sorted(plane), [(one, slot(3)), (two, slot(2))], "another tenancy replaces it");
    let refused = |plane: &dyn DataPlane| -> Vec<u32> {
        plane.refused().unwrap().into_iter().map(|(ifindex, _)| ifindex).collect()
    };
    assert!(refused(plane).is_empty());
    plane.refuse(two).unwrap();
    assert_eq!(sorted(plane), [(one, slot(3))], "a refused device has no port");
    assert_eq!(refused(plane), [two]);
    plane.attach(two, &rules(4, 4)).unwrap();
    assert!(refused(plane).is_empty(), "it has one now");
    plane.refuse(two).unwrap();
    plane.detach(two).unwrap();
    assert!(refused(plane).is_empty(), "a detached device is forgotten");
    plane.attach(two, &rules(4, 4)).unwrap();
    plane.detach(one).unwrap();
    plane.detach(one).unwrap();
    assert_eq!(sorted(plane), [(two, slot(4))]);
    assert!(plane.attach(NO_DEVICE, &rules(5, 5)).is_err());
    assert_eq!(sorted(plane), [(two, slot(4))], "a failure leaves nothing behind");
    plane.detach(NO_DEVICE).unwrap();
    plane.detach(two).unwrap();
    assert_eq!(sorted(plane), []);
}

#[test]
fn the_one_in_memory_keeps_the_contract() {
    let mut plane = MemoryPlane::with_devices([7, 8]);
    keeps_the_contract(&mut plane, 7, 8);
}

/// Takes the pins away whatever becomes of the test.
struct Pinned(PinRoot);

impl Drop for Pinned {
    fn drop(&mut self) {
        DataPath::remove(&self.0).unwrap();
        let _ = std::fs::remove_dir(self.0.path());
    }
}

#[test]
fn the_kernels_keeps_the_contract() {
    sandbox::enter();
    netns::alone(|handle| async move {
        let path = format!("/sys/fs/bpf/mezame-contract-{}", std::process::id());
        let pinned = Pinned(PinRoot::new(path));
        let uplink = Uplink {
            host_ifindex: netns::make_pair(&handle, "up0", "up1").await,
            host_mac: [2, 0, 0, 0, 0, 1],
            peer_mac: [2, 0, 0, 0, 0, 2],
        };
        let one = netns::make_pair(&handle, "one", "one-guest").await;
        let two = netns::make_pair(&handle, "two", "two-guest").await;
        let mut plane = DataPath::open(&pinned.0, &uplink, &[]).unwrap();
        keeps_the_contract(&mut plane, one, two);
    });
}
