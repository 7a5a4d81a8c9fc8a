//! Real guests under QEMU: a small one alone, the demo's with our agent, an unmodified Debian with
//! its own cloud-init, both in networks of IPv6 alone, two firewalls of one image, and guests with
//! VLANs and a bond.
//!
//! By this name they take turns, as all that boot a machine do (`.config/nextest.toml` names them), and
//! `--quick` leaves them out.

mod appliance;
mod debian;
pub(crate) mod frozen;
mod ipv6;
mod trunks;

use std::path::Path;

use mezame_tests::{
    binaries::Binaries,
    guest_image::GuestImage,
    namespace::Namespace,
    process,
    qemu::{Machine, QemuGuest},
    sandbox::Sandbox,
    tap::{Offload, Tap},
    tenant::Tenant,
    wait::{self, A_BOOT, SOON},
};
use serde_json::Value;

use crate::seeds::MAC;

#[test]
fn the_small_guest_boots_on_a_tap_and_starts_the_program_in_it() {
    let sandbox = Sandbox::enter().unwrap();
    let hypervisor = Namespace::create().unwrap();
    let tenant = Tenant::create(&hypervisor, 1000, "192.0.2.1/24").unwrap();
    let tap = Tap::create(&hypervisor, "tap0", Offload::None).unwrap();
    tenant.plug("tap0").unwrap();
    let program = sandbox.directory().join("stand-in");
    std::fs::write(&program, "#!/bin/sh\nip link set eth0 up\nip address add 192.0.2.2/24 dev eth0\necho guest: $1\nexec sleep 1000\n").unwrap();
    let image = GuestImage::small(&program, sandbox.directory()).unwrap();
    let machine = Machine::new("small", MAC);
    let mut guest =
        QemuGuest::boot(&hypervisor, &image, &machine, tap, sandbox.directory()).unwrap();
    guest.until_says("guest: watch", A_BOOT).unwrap();
    wait::until("the guest's answer to a ping", SOON, || tenant.ping("192.0.2.2")).unwrap();
}

#[test]
fn the_demo_ends_with_everything_as_it_must_be() {
    let binaries = Binaries::locate().unwrap();
    let ended = process::run(
        process::command(env!("CARGO_BIN_EXE_demo"))
            .arg("--json")
            .env("MEZAME_BINARIES", binaries.server.parent().unwrap())
            .env("MEZAME_AGENT", &binaries.agent),
    )
    .unwrap();
    assert!(ended.status.success(), "{}\n{}", ended.stdout, ended.stderr);
    let result: Value = serde_json::from_str(ended.stdout.lines().last().unwrap()).unwrap();
    assert_eq!(result["ok"], true, "{result}");
    let guests = result["guests"].as_array().unwrap();
    let of = |field: &str| guests.iter().map(|guest| guest[field].clone()).collect::<Vec<_>>();
    assert_eq!(of("vni"), [1000, 2000]);
    assert_eq!(of("ip")[0], of("ip")[1], "the same address");
    assert_eq!(of("mac")[0], of("mac")[1], "the same MAC");
    assert_eq!(of("ssh_own_key"), [true, true]);
    assert_eq!(of("ssh_other_key"), [false, false]);
    assert_eq!(of("password_set"), [true, true]);
    assert_eq!(of("script_ran"), [true, true]);
    assert!(of("configured_ms").iter().all(Value::is_u64), "{result}");
    assert!(result["live_key_ms"].is_u64(), "{result}");
}

#[test]
fn the_agent_is_small_enough_for_any_image() {
    let agent = Binaries::locate().unwrap().agent;
    let size = std::fs::metadata(Path::new(&agent)).unwrap().len();
    assert!(size <= 4 << 20, "{size} bytes");
}
