//! A thousand ports come and go, and nothing of them stays.

use std::{fs, path::Path};

use mezame_tests::{
    Lab,
    bpf_maps::{Pinned, pinned},
    operator::{network, port, project},
    process,
    tap::{Offload, Tap},
    wait::{self, SOON},
};
use serde_json::{Value, json};

const PORTS: usize = 1000;
/// By which `ip` names all their devices.
const GROUP: u32 = 7;

/// What a server and the kernel hold.
#[derive(Debug, Clone, PartialEq)]
struct Held {
    descriptors: usize,
    namespaces: usize,
    pinned: Pinned,
    resident_kib: u64,
}

fn held(lab: &mut Lab) -> Held {
    let pid = lab.server().process.pid();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    Held {
        descriptors: fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count(),
        namespaces: fs::read_dir("/run/netns").unwrap().count(),
        pinned: pinned(Path::new("/sys/fs/bpf/mezame")).unwrap(),
        resident_kib: resident.trim().trim_end_matches(" kB").parse().unwrap(),
    }
}

fn seed() -> Vec<Value> {
    let mut documents = vec![project("many"), network("many", "lan", 1000, "10.0.0.0/16")];
    for number in 0..PORTS {
        let (high, low) = (number / 200, number % 200 + 1);
        let address = format!("10.0.{high}.{low}");
        let name = format!("port-{number}");
        let mac = format!("52:54:00:00:{high:02x}:{low:02x}");
        documents.push(port("many", &name, "lan", &mac, &[&address], &format!("tap{number}")));
        let instance = format!("guest-{number}");
        documents.push(mezame_tests::operator::instance("many", &instance, &name, &json!({})));
    }
    documents
}

fn until_attached(lab: &mut Lab, number: usize) {
    wait::until("the ports", 4 * SOON, || {
        let attached = lab.server().local("/ports")?.json()?.as_array().map_or(0, Vec::len);
        anyhow::ensure!(attached == number, "{attached} of {number} are attached");
        Ok(())
    })
    .unwrap();
}

/// Plugs a thousand taps in, waits for all of them, asks through one, and pulls them out.
fn round(lab: &mut Lab) {
    let taps: Vec<Tap> = (0..PORTS)
        .map(|number| {
            let name = format!("tap{number}");
            Tap::create_down(&lab.hypervisor, &name, Offload::None).unwrap()
        })
        .collect();
    let batch: String =
        (0..PORTS).map(|number| format!("link set tap{number} up group {GROUP}\n")).collect();
    let file = lab.directory().join("batch");
    fs::write(&file, batch).unwrap();
    process::succeed(lab.hypervisor.command("ip").arg("-batch").arg(&file)).unwrap();
    until_attached(lab, PORTS);
    // All at once: one by one the kernel takes 40 ms for each.
    lab.hypervisor.ip(&format!("link delete group {GROUP}")).unwrap();
    until_attached(lab, 0);
    drop(taps);
}

/// More rounds than this are not worth waiting for.
const ROUNDS: usize = 5;
/// At a kilobyte for each port a leak shows as this much, at every round.
const LEAK_KIB: u64 = 1000;

#[test]
fn a_thousand_ports_attached_and_detached_leave_nothing_behind() {
    let mut lab = Lab::start().unwrap();
    let empty = held(&mut lab);
    lab.operator.apply(&seed()).unwrap();
    // Early rounds fill caches, and the allocator's pools, by more or less as threads come to
    // share them. Those are full at some time; a leak grows at every round.
    let mut rounds: Vec<Held> = Vec::new();
    let settled = (0..ROUNDS).any(|_| {
        round(&mut lab);
        let now = held(&mut lab);
        assert_eq!(now.pinned, empty.pinned, "pins or map entries were left");
        assert_eq!(now.namespaces, empty.namespaces);
        let is_settled = rounds.last().is_some_and(|before| {
            now.resident_kib < before.resident_kib + LEAK_KIB
                && now.descriptors <= before.descriptors.max(empty.descriptors)
        });
        rounds.push(now);
        is_settled
    });
    assert!(settled, "each round left more behind: {empty:?} at first, then {rounds:?}");
    // And the service still works.
    let guest = lab.guest("tap7", "52:54:00:00:00:08", &["10.0.0.8/16"]).unwrap();
    crate::seeds::until_served(&guest, "guest-7");
}
