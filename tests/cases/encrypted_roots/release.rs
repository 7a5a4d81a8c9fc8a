//! Who is given a key and who is not: the real agent and the real service, with guests that are
//! namespaces behind real taps.

use std::path::PathBuf;

use mezame_tests::{
    Lab,
    http::TOKEN,
    namespace_guest::NamespaceGuest,
    process::{self, Ended},
    wait::{self, SOON},
};
use serde_json::{Value, json};

use super::{audit, create};
use crate::seeds::{self, MAC};

const KEY: &str = "a key that somebody has made up, with a line\nand a half";

/// A lab with a tenant, and a file with a key.
fn lab() -> (Lab, PathBuf) {
    let lab = Lab::start().unwrap();
    lab.operator.apply(&seeds::tenant("tenant-a", 1000, "tapa", &json!({}))).unwrap();
    let file = lab.directory().join("root.key");
    std::fs::write(&file, KEY).unwrap();
    (lab, file)
}

/// A guest behind a new tap of this name: to the service a machine that was started.
fn start(lab: &Lab, device: &str, hostname: &str) -> NamespaceGuest {
    let guest = lab.guest(device, MAC, &["192.168.0.10/24"]).unwrap();
    seeds::until_served(&guest, hostname);
    guest
}

/// The agent, as an initramfs runs it.
fn unlock(lab: &Lab, guest: &NamespaceGuest) -> Ended {
    let mut agent = guest.namespace().command(&lab.binaries.agent);
    agent.args(["unlock", "--volume", "root", "--timeout", "20"]);
    process::run(&mut agent).unwrap()
}

/// Asks by hand, in a boot of the guest's choice.
fn ask(guest: &NamespaceGuest, volume: &str, nonce: &str) -> (u16, Value) {
    let token = guest.token().unwrap();
    let body = json!({ "public_key": "CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=", "boot_nonce": nonce });
    let path = format!("/mezame/v1/volume-keys/{volume}");
    let headers = [(TOKEN, token.as_str()), ("Content-Type", "application/json")];
    let answer =
        guest.connect().unwrap().send("POST", &path, &headers, body.to_string().as_bytes());
    let answer = answer.unwrap();
    (answer.status, serde_json::from_slice(&answer.body).unwrap_or_default())
}

const NONCE: &str = "the-first-boot-of-it";
const OTHER_NONCE: &str = "another-boot-of-it-all";

#[test]
fn the_agent_gets_the_key_once_a_start_and_every_request_is_audited() {
    let (lab, file) = lab();
    create(&lab.operator, "tenant-a", &file, &[]);
    let guest = start(&lab, "tapa", "tenant-a");
    let ended = unlock(&lab, &guest);
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(ended.stdout, KEY);
    let again = unlock(&lab, &guest);
    assert!(!again.status.success() && again.stdout.is_empty());
    assert!(again.stderr.contains("the key was given out in this boot already"));
    // Nor if it says that it is in another boot.
    assert_eq!(ask(&guest, "root", OTHER_NONCE).0, 409);
    let expected = ["released [1]", "already-released", "already-released"];
    wait::until("the audit trail", SOON, || {
        anyhow::ensure!(audit(&lab.operator, "tenant-a") == expected);
        Ok(())
    })
    .unwrap();
    drop(guest);
    let guest = start(&lab, "tapa", "tenant-a");
    assert_eq!(unlock(&lab, &guest).stdout, KEY);
}

#[test]
fn a_tap_that_outlives_its_machine_is_a_start_each_time_that_it_is_opened() {
    let (lab, file) = lab();
    create(&lab.operator, "tenant-a", &file, &[]);
    lab.hypervisor.ip("tuntap add dev tapa mode tap vnet_hdr").unwrap();
    for _ in 0..2 {
        let guest = start(&lab, "tapa", "tenant-a");
        assert_eq!(unlock(&lab, &guest).stdout, KEY);
        // Set down and up by the hypervisor, it is the same machine.
        lab.hypervisor.ip("link set tapa down").unwrap();
        lab.hypervisor.ip("link set tapa up").unwrap();
        seeds::until_served(&guest, "tenant-a");
        assert!(!unlock(&lab, &guest).status.success());
    }
}

#[test]
fn a_service_that_crashes_or_is_upgraded_does_not_forget_what_it_gave_out() {
    let (mut lab, file) = lab();
    create(&lab.operator, "tenant-a", &file, &[]);
    let guest = start(&lab, "tapa", "tenant-a");
    assert_eq!(ask(&guest, "root", NONCE).0, 200);
    lab.server().process.kill().unwrap();
    lab.server = Some(lab.place.start().unwrap());
    seeds::until_served(&guest, "tenant-a");
    assert_eq!(ask(&guest, "root", OTHER_NONCE).1["error"], "already-released");
    let successor = lab.place.start().unwrap();
    let mut old = lab.server.replace(successor).unwrap();
    old.process.wait(SOON).unwrap();
    assert_eq!(ask(&guest, "root", OTHER_NONCE).1["error"], "already-released");
}

#[test]
fn with_per_boot_each_boot_gets_the_key_and_none_gets_it_twice() {
    let (lab, file) = lab();
    create(&lab.operator, "tenant-a", &file, &["--once", "per-boot"]);
    let guest = start(&lab, "tapa", "tenant-a");
    for nonce in [NONCE, OTHER_NONCE] {
        assert_eq!(ask(&guest, "root", nonce).0, 200);
        assert_eq!(ask(&guest, "root", nonce).1["error"], "already-released");
    }
}

#[test]
fn another_tenants_guest_with_the_same_addresses_gets_nothing() {
    let (lab, file) = lab();
    create(&lab.operator, "tenant-a", &file, &[]);
    lab.operator.apply(&seeds::tenant("tenant-b", 2000, "tapb", &json!({}))).unwrap();
    let (own, other) = (start(&lab, "tapa", "tenant-a"), start(&lab, "tapb", "tenant-b"));
    let ended = unlock(&lab, &other);
    assert!(!ended.status.success() && ended.stdout.is_empty());
    assert!(ended.stderr.contains("this instance has no key of this name"));
    // Nor with the first one's token.
    let token = own.token().unwrap();
    let answer = other.connect().unwrap().send(
        "POST",
        "/mezame/v1/volume-keys/root",
        &[(TOKEN, &token)],
        b"{}",
    );
    assert_eq!(answer.unwrap().status, 401);
    wait::until("the audit trail", SOON, || {
        anyhow::ensure!(audit(&lab.operator, "tenant-b") == ["no-such-key"]);
        Ok(())
    })
    .unwrap();
    assert!(audit(&lab.operator, "tenant-a").is_empty());
    assert_eq!(unlock(&lab, &own).stdout, KEY);
}

#[test]
fn a_revoked_key_is_on_no_hypervisor_and_a_restored_one_is_given_out_again() {
    let (lab, file) = lab();
    create(&lab.operator, "tenant-a", &file, &[]);
    let guest = start(&lab, "tapa", "tenant-a");
    let key = |verb: &str| lab.operator.run(&["key", verb, "guest", "root", "-p", "tenant-a"]);
    key("revoke").unwrap();
    wait::until("the revocation", SOON, || {
        let (status, said) = ask(&guest, "root", NONCE);
        anyhow::ensure!((status, said["error"].as_str()) == (403, Some("revoked")), "{said}");
        Ok(())
    })
    .unwrap();
    key("restore").unwrap();
    wait::until("the key", SOON, || {
        let (status, said) = ask(&guest, "root", NONCE);
        anyhow::ensure!(status == 200, "{said}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn of_a_key_that_is_being_replaced_both_versions_are_given_the_new_one_first() {
    let (lab, file) = lab();
    create(&lab.operator, "tenant-a", &file, &[]);
    let new = lab.directory().join("new.key");
    let words = ["key", "rotate", "guest", "root", "-q", "-p", "tenant-a", "--to"];
    lab.operator.run(&[&words[..], &[new.to_str().unwrap()]].concat()).unwrap();
    let guest = start(&lab, "tapa", "tenant-a");
    // Without a volume to try them on, the newest is taken.
    let ended = unlock(&lab, &guest);
    assert_eq!(ended.stdout, std::fs::read_to_string(&new).unwrap(), "{ended:?}");
    assert_eq!(ended.stdout.len(), 64);
    wait::until("the audit trail", SOON, || {
        anyhow::ensure!(audit(&lab.operator, "tenant-a") == ["released [2,1]"]);
        Ok(())
    })
    .unwrap();
}

#[test]
fn after_its_window_or_its_deadline_a_key_is_not_given_out() {
    let (lab, file) = lab();
    create(&lab.operator, "tenant-a", &file, &["--until", "2020-01-01T00:00:00Z"]);
    let guest = start(&lab, "tapa", "tenant-a");
    assert_eq!(ask(&guest, "root", NONCE).1["error"], "deadline-over");
    let file = file.to_str().unwrap();
    let words = ["key", "create", "guest", "data", "-q", "-p", "tenant-a", "--window", "1s"];
    lab.operator.run(&[&words[..], &["--key-file", file]].concat()).unwrap();
    wait::until("the end of the window", SOON, || {
        let (_, said) = ask(&guest, "data", NONCE);
        anyhow::ensure!(said["error"] == "window-over", "{said}");
        Ok(())
    })
    .unwrap();
}
