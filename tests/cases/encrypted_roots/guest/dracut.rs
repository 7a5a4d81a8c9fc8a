//! A Debian whose root is a LUKS2 volume, and whose initramfs dracut has made: with systemd in it,
//! where systemd-cryptsetup opens the volume, and without, where dracut's own scripts do.

use mezame_tests::{
    Lab,
    guest_image::{GuestImage, cached},
    process,
    qemu::{Machine, QemuGuest},
    wait::{self, A_BOOT, SOON},
};

use super::{boot_image, key, lab, machine, until_says};
use crate::encrypted_roots::audit;

/// What the set-up makes, by its name in the cache.
const WITH_SYSTEMD: &str = "initrd.img";
const WITHOUT_SYSTEMD: &str = "initrd-without-systemd.img";

/// The volume is named by the image's crypttab, as `root`…
const BY_CRYPTTAB: &str = "root=/dev/mapper/root";
/// … or by the kernel's command line alone, and then it has the name that all give such a one.
const BY_KERNEL: &str = "root=/dev/mapper/luks-6d657a61-6d65-4c55-8b53-000000000002 \
                         rd.luks.crypttab=0 \
                         rd.luks.uuid=6d657a61-6d65-4c55-8b53-000000000002 \
                         rd.mezame.key=6d657a61-6d65-4c55-8b53-000000000002=root";

fn boot(lab: &Lab, initrd: &str, words: &str) -> QemuGuest {
    let agent = &lab.binaries.agent;
    let image = GuestImage::encrypted_by_dracut(initrd, agent, lab.directory()).unwrap();
    let disks = vec![agent.clone()];
    let command_line = format!("init=/usr/local/sbin/left then=ask {words}");
    let machine = Machine { command_line, disks, ..machine("") };
    boot_image(lab, &image, &machine, None)
}

/// Waits until the guest's root has said all that it was asked.
fn assert_unlocked_once(lab: &Lab, guest: &mut QemuGuest, mapped: &str) {
    until_says(guest, "TOLD all", 3 * A_BOOT);
    let console = guest.console();
    assert!(console.contains(&format!("TOLD root on /dev/mapper/{mapped}")), "{console}");
    assert!(console.contains("TOLD keys left: 0"), "{console}");
    assert!(console.contains("the key was given out in this boot already"), "{console}");
    assert!(console.contains("TOLD asked again, status 1, 0 bytes"), "{console}");
    let secret = std::fs::read_to_string(key()).unwrap();
    assert!(!console.contains(&secret), "the console shows the key");
    until_audited(lab, &["released [1]", "already-released"]);
}

/// Waits until the guest asks its console, having said why.
fn assert_stays_locked(lab: &Lab, guest: &mut QemuGuest, asks: &str) {
    until_says(guest, "volume root stays locked: the key is revoked (revoked)", 2 * A_BOOT);
    until_says(guest, asks, A_BOOT);
    guest.ensure_running().unwrap();
    assert!(!guest.console().contains("TOLD"), "{}", guest.console());
    until_audited(lab, &["revoked"]);
}

fn until_audited(lab: &Lab, expected: &[&str]) {
    wait::until("the audit trail", SOON, || {
        let told = audit(&lab.operator, "tenant-a");
        anyhow::ensure!(told == expected, "{told:?}");
        Ok(())
    })
    .unwrap();
}

fn revoked() -> Lab {
    let lab = lab();
    lab.operator.run(&["key", "revoke", "guest", "root", "-p", "tenant-a"]).unwrap();
    lab
}

#[test]
fn the_set_up_makes_the_volume_one_of_luks2() {
    let mut dump = process::command("cryptsetup");
    dump.arg("luksDump").arg(cached("encrypted-dracut", "test").unwrap().join("disk.luks"));
    let told = process::output(&mut dump).unwrap();
    let version = told.lines().find(|line| line.starts_with("Version:")).unwrap();
    assert_eq!(version.split_whitespace().last(), Some("2"), "{told}");
}

#[test]
fn systemd_in_dracuts_initramfs_opens_a_luks2_root_once_a_boot() {
    let lab = lab();
    let mut guest = boot(&lab, WITH_SYSTEMD, BY_CRYPTTAB);
    assert_unlocked_once(&lab, &mut guest, "root");
}

#[test]
fn dracut_without_systemd_opens_a_luks2_root_that_the_kernels_command_line_names_once_a_boot() {
    let lab = lab();
    let mut guest = boot(&lab, WITHOUT_SYSTEMD, BY_KERNEL);
    assert_unlocked_once(&lab, &mut guest, "luks-6d657a61-6d65-4c55-8b53-000000000002");
}

#[test]
fn with_the_key_revoked_systemd_in_dracuts_initramfs_asks_the_console_and_says_why() {
    let lab = revoked();
    let mut guest = boot(&lab, WITH_SYSTEMD, BY_KERNEL);
    assert_stays_locked(&lab, &mut guest, "Please enter passphrase");
}

#[test]
fn with_the_key_revoked_dracut_without_systemd_asks_the_console_and_says_why() {
    let lab = revoked();
    let mut guest = boot(&lab, WITHOUT_SYSTEMD, BY_CRYPTTAB);
    assert_stays_locked(&lab, &mut guest, "Enter passphrase for /dev/vda:");
}
