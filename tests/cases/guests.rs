//! Real guests under QEMU: a small one alone, the demo's with our agent, and an unmodified Debian
//! with its own cloud-init.
//!
//! Every case that boots a machine is here: by this name they take turns, and `--quick` leaves
//! them out.

use std::path::Path;

use mezame_tests::{
    Lab,
    binaries::Binaries,
    guest_image::GuestImage,
    namespace::Namespace,
    operator::Operator,
    process,
    qemu::{Machine, QemuGuest},
    sandbox::Sandbox,
    ssh::{Key, SshTarget},
    tap::{Offload, Tap},
    tenant::Tenant,
    wait::{self, A_BOOT, SOON},
};
use serde_json::{Value, json};

use crate::seeds::{self, MAC};

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

/// An unmodified Debian that has booted and been left alone until cloud-init had ended.
struct DebianGuest {
    server: SshTarget,
    key: Key,
    _guest: QemuGuest,
    _tenant: Tenant,
    _dhcp: Option<process::Background>,
    operator: Operator,
    _lab: Lab,
}

/// How a guest comes to know who it is.
enum Way<'a> {
    /// It asks, at an address that DHCP gives it.
    Http { tokens: &'a str },
    /// It has a disk of this format, and nobody to ask: its tap is no port's, and there is no DHCP.
    Disk { format: &'a str },
}

const CLOUD_CONFIG: &str = "#cloud-config
runcmd:
  - [sh, -c, 'echo ran as $(id -un) > /var/tmp/runcmd-was-here']
";

/// What cloud-init's log has where something went wrong or was tried again.
const COMPLAINTS: &str =
    r"\[(WARNING|ERROR|CRITICAL)\]|Traceback|Please wait|Calling .+ failed|Giving up|[Rr]etry";

impl DebianGuest {
    fn boot(dialect: &str, way: &Way<'_>) -> Self {
        let lab = Lab::start().unwrap();
        let key = Key::generate(lab.directory(), "debian-key").unwrap();
        let tokens = if let Way::Http { tokens } = way { tokens } else { "optional" };
        let more = json!({
            "ssh_keys": [key.public().unwrap()], "user_data": CLOUD_CONFIG,
            "dialects": [dialect], "tokens": tokens,
        });
        let mut documents = seeds::tenant("tenant-a", 1000, "tapa", &more);
        documents.last_mut().unwrap()["hostname"] = "woken".into();
        lab.operator.apply(&documents).unwrap();
        let tenant = Tenant::create(&lab.hypervisor, 1000, "192.168.0.1/24").unwrap();
        let mut machine = Machine::new("debian", MAC);
        machine.memory = 640;
        machine.command_line = "root=/dev/vda rw".into();
        let (tap, dhcp) = match way {
            Way::Http { .. } => {
                // What makes cloud-init ask at all (ds-identify).
                machine.smbios = lab.operator.smbios("tenant-a", "guest").unwrap();
                let dhcp = tenant.serve_dhcp(MAC, "192.168.0.10", lab.directory()).unwrap();
                ("tapa", Some(dhcp))
            }
            Way::Disk { format } => {
                let disk = lab.directory().join("seed.img");
                lab.operator.disk("tenant-a", "guest", format, &disk).unwrap();
                machine.disks.push(disk);
                ("alone", None)
            }
        };
        let card = lab.tap(tap).unwrap();
        tenant.plug(tap).unwrap();
        let image = GuestImage::debian().unwrap();
        let mut guest =
            QemuGuest::boot(&lab.hypervisor, &image, &machine, card, lab.directory()).unwrap();
        let server = SshTarget::new(tenant.machine(), "192.168.0.10", lab.directory());
        let wait = "cloud-init status --wait >/dev/null; echo ended";
        let ended = server.until_in("debian", &key, wait, 2 * A_BOOT);
        let ended = ended.unwrap_or_else(|error| {
            panic!("{error:#}; the console:\n{}", process::tail(&guest.console(), 80))
        });
        assert_eq!(ended, "ended\n");
        guest.ensure_running().unwrap();
        let operator = lab.operator.clone();
        Self { server, key, operator, _guest: guest, _tenant: tenant, _dhcp: dhcp, _lab: lab }
    }

    fn run(&self, command: &str) -> String {
        self.server.until_in("debian", &self.key, command, A_BOOT).unwrap().trim().to_owned()
    }

    /// Keys (this login shows them), host name and runcmd are in place, and nothing was tried
    /// twice or warned of.
    fn assert_configured_by(&self, source: &str) {
        assert_eq!(self.run("hostname"), "woken");
        assert_eq!(self.run("cat /var/tmp/runcmd-was-here"), "ran as root");
        let complaints =
            self.run(&format!("sudo grep -E '{COMPLAINTS}' /var/log/cloud-init.log || true"));
        assert_eq!(complaints, "");
        let result: Value =
            serde_json::from_str(&self.run("cat /run/cloud-init/result.json")).unwrap();
        assert_eq!(result["v1"]["errors"], json!([]), "{result}");
        let used = result["v1"]["datasource"].as_str().unwrap_or_default();
        assert!(used.starts_with(source), "it was configured by {used}");
    }

    /// Whether somebody answers at the service's address.
    fn reaches_the_service(&self) -> bool {
        let ask = "timeout 10 bash -c ': < /dev/tcp/169.254.169.254/80' 2>/dev/null; echo $?";
        self.run(ask) == "0"
    }

    /// The address is the disk's own, since the login goes there and no DHCP server is; and there
    /// is nobody at the service's address.
    fn assert_it_asked_nobody(&self) {
        let addresses = self.run("ip -4 -o address show scope global");
        assert!(addresses.contains("192.168.0.10/24"), "{addresses}");
        assert!(!addresses.contains("dynamic"), "{addresses}");
        assert!(!self.reaches_the_service(), "somebody answers at the service's address");
    }
}

#[test]
fn unmodified_cloud_init_configures_debian_from_the_ec2_dialect_with_a_token() {
    let guest = DebianGuest::boot("ec2", &Way::Http { tokens: "required" });
    guest.assert_configured_by("DataSourceEc2");
}

#[test]
fn unmodified_cloud_init_configures_debian_from_nocloud() {
    let guest = DebianGuest::boot("nocloud", &Way::Http { tokens: "optional" });
    guest.assert_configured_by("DataSourceNoCloudNet");
    assert!(guest.reaches_the_service());
}

#[test]
fn unmodified_cloud_init_configures_debian_from_the_openstack_dialect() {
    let guest = DebianGuest::boot("openstack", &Way::Http { tokens: "optional" });
    guest.assert_configured_by("DataSourceOpenStack");
}

#[test]
fn unmodified_cloud_init_configures_debian_from_the_gce_dialect() {
    let guest = DebianGuest::boot("gce", &Way::Http { tokens: "optional" });
    guest.assert_configured_by("DataSourceGCE");
    // It tells the host's keys by guest attributes, from which the operator reads them.
    let shown = guest.operator.run(&["get", "instance", "guest", "-p", "tenant-a", "-o", "json"]);
    let shown: Value = serde_json::from_str(&shown.unwrap()).unwrap();
    let told = &shown["status"]["guest_attributes"]["hostkeys/ssh-ed25519"];
    let own = guest.run("cut -d' ' -f2 /etc/ssh/ssh_host_ed25519_key.pub");
    assert_eq!(told, own.as_str(), "{shown}");
}

#[test]
fn unmodified_cloud_init_configures_debian_from_a_nocloud_disk_without_a_service() {
    let guest = DebianGuest::boot("nocloud", &Way::Disk { format: "cidata" });
    guest.assert_configured_by("DataSourceNoCloud [seed=/dev/vdb]");
    guest.assert_it_asked_nobody();
}

#[test]
fn unmodified_cloud_init_configures_debian_from_a_config_drive_without_a_service() {
    let guest = DebianGuest::boot("openstack", &Way::Disk { format: "config-2" });
    guest.assert_configured_by("DataSourceConfigDrive [net,ver=2][source=/dev/vdb]");
    guest.assert_it_asked_nobody();
}

#[test]
fn the_agent_is_small_enough_for_any_image() {
    let agent = Binaries::locate().unwrap().agent;
    let size = std::fs::metadata(Path::new(&agent)).unwrap().len();
    assert!(size <= 4 << 20, "{size} bytes");
}
