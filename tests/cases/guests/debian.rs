//! An unmodified Debian with its own cloud-init, which finds out by itself where it is.
//!
//! Its image knows nothing of Mezame. SMBIOS makes cloud-init ask, and its addresses come from the
//! metadata-server's own DHCP or advertisements, unless a case says otherwise.

use mezame_tests::{
    Lab,
    guest_image::GuestImage,
    operator::Operator,
    process,
    qemu::{Machine, QemuGuest},
    ssh::{Key, SshTarget},
    tenant::Tenant,
    wait::A_BOOT,
};
use serde_json::{Value, json};

use crate::seeds::{self, MAC};

/// One that has booted and been left alone until cloud-init had ended.
pub(super) struct DebianGuest {
    server: SshTarget,
    key: Key,
    _guest: QemuGuest,
    pub(super) tenant: Tenant,
    _dhcp: Option<process::Background>,
    operator: Operator,
    _lab: Lab,
}

/// How a guest comes to know who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way<'a> {
    /// It asks, at the address that the metadata-server gives it by DHCP.
    Asks,
    /// It asks, at the address that the tenant's own DHCP server gives it.
    AsksByTenantsDhcp,
    /// It asks, and its network has IPv6 alone, in this mode and with this router.
    AsksByIpv6 { mode: &'a str, gateway: Option<&'a str> },
    /// It has a disk of this format, and nobody to ask: its tap is no port's, and there is no DHCP.
    Disk { format: &'a str },
}

impl Way<'_> {
    /// The tenant's own machine.
    fn tenants_address(self) -> &'static str {
        if self.is_ipv6() { "2001:db8::1/64 nodad" } else { "192.168.0.1/24" }
    }

    /// The guest's, as the port says or as it makes it of its MAC (RFC 4291, appendix A).
    pub(super) fn address(self) -> &'static str {
        match self {
            Self::AsksByIpv6 { mode: "managed", .. } => "2001:db8::10",
            Self::AsksByIpv6 { .. } => "2001:db8::5054:ff:fe00:a",
            _ => "192.168.0.10",
        }
    }

    fn is_ipv6(self) -> bool {
        matches!(self, Self::AsksByIpv6 { .. })
    }

    /// Makes a tenant's network what this way wants.
    pub(super) fn shape(self, documents: &mut [Value]) {
        let network = documents.iter_mut().find(|it| it["kind"] == "Network").unwrap();
        match self {
            Self::AsksByIpv6 { mode, gateway } => {
                network["subnets"] = json!([{"cidr": "2001:db8::/64", "gateway": gateway}]);
                network["dhcp"] = json!({"ipv6": mode});
                seeds::port_of(documents)["addresses"] = json!(["2001:db8::10"]);
            }
            Self::AsksByTenantsDhcp => network["dhcp"] = json!({"ipv4": false}),
            Self::Asks | Self::Disk { .. } => {}
        }
    }
}

/// What is asked for, and before it what is not: each of these takes seconds in software emulation, and
/// has nothing to do with where the data comes from.
const CLOUD_CONFIG: &str = "#cloud-config
locale: C.UTF-8
ssh_genkeytypes: [ed25519]
grub_dpkg: {enabled: false}
ssh: {emit_keys_to_console: false}
runcmd:
  - [sh, -c, 'echo ran as $(id -un) > /var/tmp/runcmd-was-here']
";

/// Waits for cloud-init's end, as `cloud-init status --wait` does, which takes some seconds of Python
/// for it in software emulation.
const WAIT: &str =
    "timeout 300 sh -c 'until [ -s /run/cloud-init/result.json ]; do sleep 0.5; done'; echo ended";

/// What cloud-init's log has where something went wrong or was tried again.
const COMPLAINTS: &str =
    r"\[(WARNING|ERROR|CRITICAL)\]|Traceback|Please wait|Calling .+ failed|Giving up|[Rr]etry";

impl DebianGuest {
    /// Boots one in a dialect. EC2's takes no answer without a token.
    pub(super) fn boot(dialect: &str, way: Way<'_>) -> Self {
        let lab = Lab::start().unwrap();
        let key = Key::generate(lab.directory(), "debian-key").unwrap();
        let more = json!({
            "ssh_keys": [key.public().unwrap()], "user_data": CLOUD_CONFIG, "dialects": [dialect],
            "tokens": if dialect == "ec2" { "required" } else { "optional" },
        });
        let mut documents = seeds::tenant("tenant-a", 1000, "tapa", &more);
        documents.last_mut().unwrap()["hostname"] = "woken".into();
        way.shape(&mut documents);
        lab.operator.apply(&documents).unwrap();
        let tenant = Tenant::create(&lab.hypervisor, 1000, way.tenants_address()).unwrap();
        if way.is_ipv6() {
            tenant.become_router("fe80::1", "2001:db8:f::1").unwrap();
        }
        let dhcp = (way == Way::AsksByTenantsDhcp)
            .then(|| tenant.serve_dhcp(MAC, way.address(), lab.directory()).unwrap());
        let (machine, tap) = machine(&lab, way);
        let card = lab.tap(tap).unwrap();
        tenant.plug(tap).unwrap();
        let image = GuestImage::debian().unwrap();
        let mut guest =
            QemuGuest::boot(&lab.hypervisor, &image, &machine, card, lab.directory()).unwrap();
        let server = SshTarget::new(tenant.machine(), way.address(), lab.directory());
        let ended = server.until_in("debian", &key, WAIT, 2 * A_BOOT);
        let ended = ended.unwrap_or_else(|error| {
            panic!("{error:#}; the console:\n{}", process::tail(&guest.console(), 80))
        });
        assert_eq!(ended, "ended\n");
        guest.ensure_running().unwrap();
        let operator = lab.operator.clone();
        Self { server, key, operator, _guest: guest, tenant, _dhcp: dhcp, _lab: lab }
    }

    pub(super) fn run(&self, command: &str) -> String {
        self.server.until_in("debian", &self.key, command, A_BOOT).unwrap().trim().to_owned()
    }

    /// What each of these commands writes, by one login.
    fn run_each<const N: usize>(&self, commands: [&str; N]) -> [String; N] {
        const BETWEEN: &str = "---- the next one ----";
        let all = self.run(&commands.join(&format!("\necho '{BETWEEN}'\n")));
        let each: Vec<_> = all.split(BETWEEN).map(|it| it.trim().to_owned()).collect();
        each.try_into().unwrap()
    }

    /// Keys (this login shows them), host name and runcmd are in place, and nothing was tried
    /// twice or warned of.
    pub(super) fn assert_configured_by(&self, source: &str) {
        let [name, ran, log, result] = self.run_each([
            "hostname",
            "cat /var/tmp/runcmd-was-here",
            &format!("sudo grep -E '{COMPLAINTS}' /var/log/cloud-init.log || true"),
            "cat /run/cloud-init/result.json",
        ]);
        assert_eq!(name, "woken");
        assert_eq!(ran, "ran as root");
        assert_eq!(log, "");
        let result: Value = serde_json::from_str(&result).unwrap();
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

    /// The DHCP server that gave it its address, as systemd-networkd wrote it down.
    fn dhcp_server(&self) -> String {
        self.run("sed -n s/^SERVER_ADDRESS=//p /run/systemd/netif/leases/*")
    }
}

/// The machine of a guest, and the name of its tap.
fn machine(lab: &Lab, way: Way<'_>) -> (Machine, &'static str) {
    let mut machine = Machine::new("debian", MAC);
    machine.memory = 640;
    machine.command_line = "root=/dev/vda rw".into();
    if let Way::Disk { format } = way {
        let disk = lab.directory().join("seed.img");
        lab.operator.disk("tenant-a", "guest", format, &disk).unwrap();
        machine.disks.push(disk);
        return (machine, "alone");
    }
    // What makes cloud-init ask at all (ds-identify).
    machine.smbios = lab.operator.smbios("tenant-a", "guest").unwrap();
    (machine, "tapa")
}

#[test]
fn unmodified_cloud_init_configures_debian_from_the_ec2_dialect_with_a_token() {
    let guest = DebianGuest::boot("ec2", Way::Asks);
    guest.assert_configured_by("DataSourceEc2");
    assert_eq!(guest.dhcp_server(), "169.254.169.254");
}

#[test]
fn unmodified_cloud_init_configures_debian_in_a_network_with_a_dhcp_server_of_its_own() {
    let guest = DebianGuest::boot("ec2", Way::AsksByTenantsDhcp);
    guest.assert_configured_by("DataSourceEc2");
    assert_eq!(guest.dhcp_server(), "192.168.0.1");
}

#[test]
fn unmodified_cloud_init_configures_debian_from_nocloud() {
    let guest = DebianGuest::boot("nocloud", Way::Asks);
    guest.assert_configured_by("DataSourceNoCloudNet");
    assert!(guest.reaches_the_service());
}

#[test]
fn unmodified_cloud_init_configures_debian_from_the_openstack_dialect() {
    let guest = DebianGuest::boot("openstack", Way::Asks);
    guest.assert_configured_by("DataSourceOpenStack");
}

#[test]
fn unmodified_cloud_init_configures_debian_from_the_gce_dialect() {
    let guest = DebianGuest::boot("gce", Way::Asks);
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
    let guest = DebianGuest::boot("nocloud", Way::Disk { format: "cidata" });
    guest.assert_configured_by("DataSourceNoCloud [seed=/dev/vdb]");
    guest.assert_it_asked_nobody();
}

#[test]
fn unmodified_cloud_init_configures_debian_from_a_config_drive_without_a_service() {
    let guest = DebianGuest::boot("openstack", Way::Disk { format: "config-2" });
    guest.assert_configured_by("DataSourceConfigDrive [net,ver=2][source=/dev/vdb]");
    guest.assert_it_asked_nobody();
}
