//! A tenant's layer 2: a bridge on the hypervisor, and a machine of the tenant's own on it.
//!
//! Two tenants may have the same addresses: their bridges never meet.

use std::path::Path;

use anyhow::{Context, Result};

use crate::{
    namespace::Namespace,
    process::{self, Background},
};

/// A bridge, and a namespace that is plugged into it.
#[derive(Debug)]
pub struct Tenant {
    hypervisor: Namespace,
    bridge: String,
    machine: Namespace,
}

impl Tenant {
    /// Makes a tenant's network; its machine has this address, such as `192.168.0.1/24`.
    pub fn create(hypervisor: &Namespace, vni: u32, address: &str) -> Result<Self> {
        let bridge = format!("br{vni}");
        hypervisor.ip(&format!("link add {bridge} type bridge"))?;
        hypervisor.ip(&format!("link set {bridge} up"))?;
        let machine = Namespace::create()?;
        let port = format!("ten{vni}");
        hypervisor.veth(&port, &machine, "eth0")?;
        hypervisor.ip(&format!("link set {port} master {bridge} up"))?;
        machine.ip(&format!("address add {address} dev eth0"))?;
        machine.ip("link set eth0 up")?;
        Ok(Self { hypervisor: hypervisor.clone(), bridge, machine })
    }

    /// Plugs a device of the hypervisor (a tap) into the bridge.
    pub fn plug(&self, device: &str) -> Result<()> {
        self.hypervisor.ip(&format!("link set {device} master {}", self.bridge))
    }

    /// The tenant's machine.
    pub fn machine(&self) -> &Namespace {
        &self.machine
    }

    /// Starts the tenant's own DHCP server, which gives this address to this MAC.
    pub fn serve_dhcp(&self, mac: &str, address: &str, directory: &Path) -> Result<Background> {
        let log = directory.join(format!("dnsmasq-{}.log", self.bridge));
        let leases = directory.join(format!("leases-{}", self.bridge));
        let network = address.rsplit_once('.').context("an IPv4 address")?.0;
        let mut command = self.machine.command("dnsmasq");
        command
            .args(["--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts"])
            .args(["--user=root", "--log-facility=-", "--log-dhcp", "--port=0", "--pid-file="])
            .args(["--interface=eth0", "--bind-interfaces"])
            .arg(format!("--dhcp-leasefile={}", leases.display()))
            .arg(format!("--dhcp-range={network}.10,{network}.99,1h"))
            .arg(format!("--dhcp-host={mac},{address}"));
        Background::start("dnsmasq", &mut command, &log)
    }

    /// Makes the machine the network's router, with this link-local address, and with another one
    /// that lies beyond it.
    pub fn become_router(&self, link_local: &str, far: &str) -> Result<()> {
        self.machine.ip(&format!("address add {link_local}/64 dev eth0 nodad"))?;
        self.machine.ip(&format!("address add {far}/128 dev lo nodad"))
    }

    /// Pings an address once; an error says that no answer came.
    pub fn ping(&self, address: &str) -> Result<()> {
        // busybox needs no group of its own for raw sockets, as Debian's ping might.
        process::succeed(
            self.machine.command("busybox").args(["ping", "-c", "1", "-W", "1", address]),
        )
    }

    /// The same from one of the machine's addresses.
    pub fn ping_from(&self, source: &str, address: &str) -> Result<()> {
        let words = ["ping", "-c", "1", "-W", "1", "-I", source, address];
        process::succeed(self.machine.command("busybox").args(words))
    }
}
