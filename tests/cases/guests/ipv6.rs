//! Guests in networks of IPv6 alone: an unmodified Debian, and the small guest with our agent.
//!
//! Of IPv4 they have at most a link-local address. Their own come by DHCPv6 or by what the
//! metadata-server advertises, and their router, where they have one, is link-local.

use mezame_model::report::Outcome;
use mezame_tests::{
    Lab,
    guest_image::GuestImage,
    qemu::{Machine, QemuGuest},
    ssh::{Key, Login, SshTarget},
    tenant::Tenant,
    wait::{self, A_BOOT, SOON},
};
use serde_json::json;

use super::debian::{DebianGuest, Way};
use crate::seeds::{self, MAC};

/// Beyond the tenant's router.
const FAR: &str = "2001:db8:f::1";

/// No card has an IPv4 address.
fn assert_no_ipv4(addresses: &str) {
    assert!(addresses.lines().all(|line| line.contains(" lo ")), "{addresses}");
}

/// The guest answers what comes from beyond its router, so its default route leads there.
fn assert_answers_beyond_its_router(tenant: &Tenant, address: &str) {
    wait::until("an answer by the router", SOON, || tenant.ping_from(FAR, address)).unwrap();
}

/// The cards have no IPv4 address but the link-local one that DHCP gives them.
fn assert_no_ipv4_but_on_the_link(addresses: &str) {
    let mut others = addresses.lines().filter(|line| !line.contains(" lo "));
    assert!(others.all(|line| line.contains(" inet 169.254.")), "{addresses}");
}

/// Boots Debian in a network of IPv6 alone, with this dialect and a router.
fn debian(dialect: &str) -> DebianGuest {
    let way = Way::AsksByIpv6 { mode: "managed", gateway: Some("fe80::1") };
    let guest = DebianGuest::boot(dialect, way);
    assert_no_ipv4_but_on_the_link(&guest.run("ip -4 -o address"));
    assert_answers_beyond_its_router(&guest.tenant, way.address());
    guest
}

#[test]
fn unmodified_cloud_init_configures_debian_from_nocloud_by_dhcpv6_alone() {
    debian("nocloud").assert_configured_by("DataSourceNoCloudNet");
}

#[test]
fn unmodified_cloud_init_configures_debian_from_nocloud_by_an_advertised_prefix_alone() {
    let way = Way::AsksByIpv6 { mode: "stateless", gateway: None };
    let guest = DebianGuest::boot("nocloud", way);
    guest.assert_configured_by("DataSourceNoCloudNet");
    assert_no_ipv4_but_on_the_link(&guest.run("ip -4 -o address"));
}

#[test]
fn unmodified_cloud_init_configures_debian_from_the_ec2_dialect_in_a_network_of_ipv6_alone() {
    debian("ec2").assert_configured_by("DataSourceEc2Local");
}

#[test]
fn unmodified_cloud_init_configures_debian_from_openstack_in_a_network_of_ipv6_alone() {
    debian("openstack").assert_configured_by("DataSourceOpenStackLocal");
}

#[test]
fn unmodified_cloud_init_configures_debian_from_gce_in_a_network_of_ipv6_alone() {
    debian("gce").assert_configured_by("DataSourceGCELocal");
}

/// The small guest, configured by the agent.
struct SmallGuest {
    server: SshTarget,
    key: Key,
    _machine: QemuGuest,
    tenant: Tenant,
    _lab: Lab,
}

const SCRIPT: &str = "#!/bin/sh\necho \"$(hostname) ran it\" > /root/script-was-here\n";

impl SmallGuest {
    /// Boots one whose init starts `/bin/guest-agent`: the agent itself, or this script of ours
    /// that ends in `exec agent "$@"`.
    fn boot(before: Option<&str>) -> Self {
        let lab = Lab::start().unwrap();
        let key = Key::generate(lab.directory(), "small-key").unwrap();
        let more = json!({"ssh_keys": [key.public().unwrap()], "user_data": SCRIPT});
        let mut documents = seeds::tenant("tenant-a", 1000, "tapa", &more);
        let way = Way::AsksByIpv6 { mode: "stateless", gateway: Some("fe80::1") };
        way.shape(&mut documents);
        lab.operator.apply(&documents).unwrap();
        let tenant = Tenant::create(&lab.hypervisor, 1000, "2001:db8::1/64 nodad").unwrap();
        tenant.become_router("fe80::1", FAR).unwrap();
        let card = lab.tap("tapa").unwrap();
        tenant.plug("tapa").unwrap();
        let agent = &lab.binaries.agent;
        let image = match before {
            None => GuestImage::small(agent, lab.directory()),
            Some(script) => {
                let starter = lab.directory().join("starter");
                std::fs::write(&starter, format!("#!/bin/sh\n{script}\nexec agent \"$@\"\n"))
                    .unwrap();
                let files = [("bin/guest-agent", &*starter), ("bin/agent", agent)];
                GuestImage::small_with(&files, lab.directory())
            }
        };
        let machine = Machine::new("small", MAC);
        let mut machine =
            QemuGuest::boot(&lab.hypervisor, &image.unwrap(), &machine, card, lab.directory())
                .unwrap();
        let report = wait::until("the agent's report", A_BOOT, || {
            machine.ensure_running()?;
            let newest = lab.operator.reports("tenant-a", "guest")?.into_iter().next();
            newest.ok_or_else(|| anyhow::anyhow!("none yet:\n{}", machine.console()))
        });
        let report = report.unwrap().report;
        let faults: Vec<_> =
            report.steps.iter().filter(|step| step.outcome == Outcome::Failed).collect();
        assert!(faults.is_empty(), "{faults:#?}\n{}", machine.console());
        let mut server = SshTarget::new(tenant.machine(), "2001:db8::10", lab.directory());
        let keys: Vec<String> = report.host_keys.iter().map(|it| it.public_key.clone()).collect();
        server.believe(&keys, "small").unwrap();
        Self { server, key, _machine: machine, tenant, _lab: lab }
    }

    fn run(&self, command: &str) -> String {
        // A new address is looked for among the neighbours first (RFC 4862, section 5.4), so the
        // guest may have reported before it can be reached.
        let login = || self.server.with_key("root", &self.key, command);
        match wait::until("a login", SOON, login).unwrap() {
            Login::In(output) => output.trim().to_owned(),
            Login::Refused => panic!("its own key was refused"),
        }
    }

    /// Host name, script, address and default route are in place; a login by its own key and with
    /// the host key that it reported shows the rest.
    fn assert_configured(&self) {
        assert_eq!(self.run("hostname"), "tenant-a");
        wait::until("the script's file", SOON, || {
            let told = self.run("cat /root/script-was-here");
            anyhow::ensure!(told == "tenant-a ran it", "{told}");
            Ok(())
        })
        .unwrap();
        let addresses = self.run("ip -6 address show dev eth0");
        assert!(addresses.contains("2001:db8::10/64"), "{addresses}");
        // Of IPv4 at most what the agent may claim to ask by.
        assert_eq!(self.run("ip -4 -o address show dev eth0 scope global"), "");
        let routes = self.run("ip -6 route");
        assert!(routes.contains("default via fe80::1 dev eth0"), "{routes}");
        assert_answers_beyond_its_router(&self.tenant, "2001:db8::10");
    }
}

#[test]
fn the_agent_configures_a_guest_of_ipv6_alone() {
    SmallGuest::boot(None).assert_configured();
}

#[test]
fn the_agent_configures_a_guest_whose_card_has_no_ipv4_address() {
    // The kernel has taken the advertised prefix before the agent starts, so it asks by IPv6.
    let kernel_first = "ip link set eth0 up
until ip -6 address show dev eth0 scope global | grep -q 2001:; do sleep 0.1; done
(while true; do ip -4 -o address show dev eth0 >> /var/log/ipv4; sleep 0.1; done) &";
    let guest = SmallGuest::boot(Some(kernel_first));
    guest.assert_configured();
    assert_no_ipv4(&guest.run("ip -4 -o address"));
    assert_eq!(guest.run("cat /var/log/ipv4"), "", "an IPv4 address came and went");
}
