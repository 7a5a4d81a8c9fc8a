//! dnsmasq as neutron's DHCP agent starts it: on a bridge, with a file that has a fixed address for
//! each port.
//!
//! Its settings favour it: it logs nothing, writes no leases down, tries no address first, and the
//! bridge floods nothing of a guest into the taps of the others.

use std::{fmt::Write, fs, path::Path};

use anyhow::Context;
use mezame_tests::{
    namespace::Namespace,
    process::{self, Background},
};

use crate::{peer::program, pinned::Cpu, seed};

const BRIDGE: &str = "lan";
const ADDRESS: &str = "10.3.255.254";

/// A running dnsmasq and its bridge.
#[derive(Debug)]
pub struct Dnsmasq {
    _process: Background,
    namespace: Namespace,
}

impl Dnsmasq {
    /// Starts it on a new bridge of `namespace`, for the first `guests` guests of the seed; works
    /// in the folder `home`.
    pub fn start(
        cpu: Cpu,
        home: &Path,
        namespace: &Namespace,
        guests: u32,
    ) -> anyhow::Result<Self> {
        let program = program("dnsmasq")?;
        namespace.ip(&format!("link add {BRIDGE} type bridge mcast_snooping 0"))?;
        namespace.ip(&format!("address add {ADDRESS}/14 dev {BRIDGE}"))?;
        namespace.ip(&format!("link set {BRIDGE} up"))?;
        let mut hosts = String::new();
        for number in 0..guests {
            let (mac, address, name) =
                (seed::mac(number), seed::address(number), seed::name(number));
            writeln!(hosts, "{mac},{address},{name}")?;
        }
        let file = home.join("hosts");
        fs::write(&file, hosts).context("writing the peer's hosts")?;
        let mut command = namespace.command(program);
        command
            .args(["--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts"])
            .args(["--user=root", "--port=0", "--pid-file=", "--log-facility=-"])
            .args(["--quiet-dhcp", "--leasefile-ro", "--no-ping", "--dhcp-authoritative"])
            .args(["--bind-interfaces", &format!("--interface={BRIDGE}")])
            .args(["--dhcp-range=10.0.0.0,static,255.252.0.0,24h", "--dhcp-lease-max=100000"])
            .arg(format!("--dhcp-hostsfile={}", file.display()))
            // What ours tells beside the address, as long.
            .args(["--dhcp-option=3", "--dhcp-option=6,169.254.169.253", "--dhcp-option=26,1500"])
            .arg(
                "--dhcp-option=121,169.254.169.254/32,0.0.0.0,169.254.169.253/32,0.0.0.0,\
                 169.254.169.123/32,0.0.0.0,169.254.169.250/32,0.0.0.0",
            );
        cpu.bind_command(&mut command);
        let process = Background::start("dnsmasq", &mut command, &home.join("dnsmasq.log"))?;
        Ok(Self { _process: process, namespace: namespace.clone() })
    }

    /// By which address it is known.
    pub fn address(&self) -> &'static str {
        ADDRESS
    }

    /// Plugs devices of its namespace into its bridge.
    pub fn plug(&self, devices: impl IntoIterator<Item = String>) -> anyhow::Result<()> {
        for device in devices {
            self.namespace.ip(&format!("link set {device} master {BRIDGE}"))?;
            let mut bridge = self.namespace.command("bridge");
            bridge.args(["link", "set", "dev", &device, "bcast_flood", "off"]);
            process::succeed(bridge.args(["mcast_flood", "off", "flood", "off"]))?;
        }
        Ok(())
    }
}
