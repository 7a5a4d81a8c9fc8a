//! A Debian whose root is a LUKS volume, and whose initramfs Debian's own tools have made.

mod by_ipv6;
mod dracut;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use mezame_tests::{
    Lab,
    guest_image::{GuestImage, cached},
    process,
    qemu::{Machine, QemuGuest},
    tenant::Tenant,
    upstream,
    wait::{self, A_BOOT, SOON},
};
use serde_json::json;

use super::{audit, create};
use crate::seeds::{self, MAC};

/// What opens the image's root.
fn key() -> PathBuf {
    cached("encrypted-guest", "test").unwrap().join("key")
}

/// A lab with a tenant whose guest has the root's key.
fn lab() -> Lab {
    let lab = Lab::start().unwrap();
    lab.operator.apply(&seeds::tenant("tenant-a", 1000, "tapa", &json!({}))).unwrap();
    create(&lab.operator, "tenant-a", &key(), &[]);
    lab
}

fn machine(words: &str) -> Machine {
    let mut machine = Machine::new("encrypted", MAC);
    machine.memory = 512;
    machine.command_line = format!("root=/dev/mapper/root init=/usr/local/sbin/tell {words}");
    machine
}

/// Starts the guest at the tenant's tap.
fn boot(lab: &Lab, machine: &Machine) -> QemuGuest {
    boot_in(lab, machine, None)
}

/// The same, where the tap leads into the tenant's network.
fn boot_in(lab: &Lab, machine: &Machine, tenant: Option<&Tenant>) -> QemuGuest {
    let image = GuestImage::encrypted(&lab.binaries.agent, lab.directory()).unwrap();
    boot_image(lab, &image, machine, tenant)
}

fn boot_image(
    lab: &Lab,
    image: &GuestImage,
    machine: &Machine,
    tenant: Option<&Tenant>,
) -> QemuGuest {
    let card = lab.tap("tapa").unwrap();
    if let Some(tenant) = tenant {
        tenant.plug("tapa").unwrap();
    }
    QemuGuest::boot(&lab.hypervisor, image, machine, card, lab.directory()).unwrap()
}

fn until_says(guest: &mut QemuGuest, text: &str, bound: Duration) {
    if let Err(error) = guest.until_says(text, bound) {
        panic!("{error:#}; the console:\n{}", process::tail(&guest.console(), 60));
    }
}

#[test]
fn a_luks_root_is_unlocked_by_key_release_and_a_second_request_in_the_boot_is_refused() {
    let lab = lab();
    let mut machine = machine("then=ask");
    machine.disks.push(lab.binaries.agent.clone());
    let mut guest = boot(&lab, &machine);
    until_says(&mut guest, "TOLD all", 2 * A_BOOT);
    let console = guest.console();
    assert!(console.contains("root: set up successfully"), "{console}");
    assert!(console.contains("TOLD root on /dev/mapper/root"), "{console}");
    assert!(console.contains("the key was given out in this boot already"), "{console}");
    assert!(console.contains("TOLD asked again, status 1, 0 bytes"), "{console}");
    let secret = std::fs::read_to_string(key()).unwrap();
    assert!(!console.contains(&secret), "the console shows the key");
    wait::until("the audit trail", SOON, || {
        let told = audit(&lab.operator, "tenant-a");
        anyhow::ensure!(told == ["released [1]", "already-released"], "{told:?}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn with_its_key_revoked_a_luks_root_stays_locked_and_says_why() {
    let lab = lab();
    lab.operator.run(&["key", "revoke", "guest", "root", "-p", "tenant-a"]).unwrap();
    let mut guest = boot(&lab, &machine(""));
    until_says(&mut guest, "volume root stays locked: the key is revoked (revoked)", A_BOOT);
    // Who sits at the console may still know a passphrase.
    until_says(&mut guest, "Passphrase of root:", SOON);
    guest.ensure_running().unwrap();
    assert!(!guest.console().contains("TOLD"), "{}", guest.console());
    wait::until("the audit trail", SOON, || {
        let told = audit(&lab.operator, "tenant-a");
        anyhow::ensure!(told == ["revoked"], "{told:?}");
        Ok(())
    })
    .unwrap();
}

/// Where the tang server is: on the hypervisor's loopback device, which no guest reaches.
const TANG: &str = "198.51.100.53:7500";

#[test]
fn a_luks_root_is_unlocked_by_tang_once_it_has_been_bound() {
    let mut lab = Lab::start().unwrap();
    lab.hypervisor.ip("address add 198.51.100.53 dev lo").unwrap();
    let keys = lab.directory().join("tang");
    upstream::tang(&lab.hypervisor, TANG.parse::<SocketAddr>().unwrap(), &keys).unwrap();
    let mut documents = seeds::tenant("tenant-a", 1000, "tapa", &json!({}));
    let network = documents.iter_mut().find(|it| it["kind"] == "Network").unwrap();
    network["subnets"] = json!([{"cidr": "192.168.0.0/24", "gateway": "192.168.0.1"}]);
    network["forward"] = json!({ "tang": [TANG] });
    lab.operator.apply(&documents).unwrap();
    create(&lab.operator, "tenant-a", &key(), &[]);
    let tenant = Tenant::create(&lab.hypervisor, 1000, "192.168.0.1/24").unwrap();
    let overlay = lab.directory().join("root.qcow2");
    let base = cached("encrypted-guest", "test").unwrap().join("disk.luks");
    let mut make = process::command("qemu-img");
    make.args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"]).args([&base, &overlay]);
    process::succeed(&mut make).unwrap();

    // Once by its key, to be bound to tang.
    let mut bind = machine("then=bind address=192.168.0.10/24");
    (bind.overlay, bind.disks) = (Some(overlay.clone()), vec![key()]);
    let mut guest = boot(&lab, &bind);
    until_says(&mut guest, "TOLD all", 2 * A_BOOT);
    assert!(guest.console().contains("TOLD bound, status 0"), "{}", guest.console());
    guest.until_ended(A_BOOT).unwrap();
    drop(guest);
    lab.operator.run(&["key", "destroy", "guest", "root", "--yes", "-p", "tenant-a"]).unwrap();

    // From now on there is no key but the one that the guest and tang can make.
    let mut by_tang = machine("cryptopts=target=root,source=/dev/vda,luks");
    by_tang.name = "by-tang".into();
    by_tang.overlay = Some(overlay.clone());
    let mut guest = boot_in(&lab, &by_tang, Some(&tenant));
    until_says(&mut guest, "TOLD all", 2 * A_BOOT);
    let console = guest.console();
    assert!(console.contains("Please unlock disk root"), "{console}");
    assert!(console.contains("TOLD root on /dev/mapper/root"), "{console}");
    // The advertisement when it was bound, and the exchange when it was opened.
    let labels = ["service=\"tang\"", "outcome=\"forwarded\""];
    wait::until("two connections to be counted", SOON, || {
        let count = lab.server().metrics()?.sum("mezame_link_local_total", &labels);
        anyhow::ensure!(count >= 2.0, "{count}");
        Ok(())
    })
    .unwrap();
}
