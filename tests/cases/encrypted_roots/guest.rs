//! A Debian whose root is a LUKS volume, and whose initramfs Debian's own tools have made.

use std::{path::PathBuf, time::Duration};

use mezame_tests::{
    Lab,
    guest_image::{GuestImage, cached},
    process,
    qemu::{Machine, QemuGuest},
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
    let image = GuestImage::encrypted(&lab.binaries.agent, lab.directory()).unwrap();
    let card = lab.tap("tapa").unwrap();
    QemuGuest::boot(&lab.hypervisor, &image, machine, card, lab.directory()).unwrap()
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
