//! A guest with a DHCP client's machine in it, and its tenant's router beside it.

use std::net::Ipv4Addr;

use mezame_tests::{
    Lab,
    client_machine::{ClientMachine, child_of},
    dhcp::{Kind, Message},
    namespace_guest::{By, Dial, NamespaceGuest},
    process::{self, Background},
    tenant::Tenant,
    wait::{self, SOON},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};

use super::client::{Client, NETWORKD_SETTINGS};
use crate::seeds::{self, MAC};

/// The guest's host name in its network's domain, which is what metadata says.
pub(super) const HOST_NAME: &str = "guest-host.tenant.example";

/// A boot, as far as clients see one: `/run` is empty but for what systemd's unit makes there for
/// its networkd, and the machine has a name that clients feel free to change.
const BOOT: &str = "mount -t tmpfs run /run; hostname localhost; \
    install -d -o systemd-network -g systemd-network /run/systemd/netif; \
    \"$@\"; echo the client has ended; exec sleep infinity";
/// What that says at the client's end.
const ENDED: &str = "the client has ended";

/// What is to be seen on the wire, one after the other.
pub(super) type Course = [(&'static str, fn(&Message) -> bool)];

/// The guest.
pub(super) struct Seat {
    pub(super) client: Client,
    pub(super) guest: NamespaceGuest,
    pub(super) machine: ClientMachine,
    pub(super) router: Tenant,
    documents: Vec<Value>,
    log: std::path::PathBuf,
}

impl Seat {
    /// A guest in a network of its own, whose document is completed with `network`; it has no
    /// address and no route.
    pub(super) fn make(lab: &Lab, client: Client, router: &str, network: &Value) -> Self {
        let number = Client::ALL.iter().position(|it| *it == client).unwrap();
        let (vni, device) = (u32::try_from(1000 + number).unwrap(), format!("tap{number}"));
        let project = format!("tenant-{number}");
        let mut documents = seeds::tenant(&project, vni, &device, &json!({}));
        documents.last_mut().unwrap()["hostname"] = "guest-host".into();
        let document = documents.iter_mut().find(|it| it["kind"] == "Network").unwrap();
        document.as_object_mut().unwrap().extend(network.as_object().unwrap().clone());
        let router = Tenant::create(&lab.hypervisor, vni, router).unwrap();
        let guest = lab.guest(&device, MAC, &[]).unwrap();
        router.plug(&device).unwrap();
        guest.namespace().ip("route flush dev eth0").unwrap();
        guest.namespace().ip("-6 route del fd00:ec2::/64 dev eth0").unwrap();
        let machine = ClientMachine::with_dhcp(&guest, lab.directory()).unwrap();
        machine.write("/etc/machine-id", "0123456789abcdef0123456789abcdef\n").unwrap();
        let log = lab.directory().join(format!("{}.log", client.name()));
        Self { client, guest, machine, router, documents, log }
    }

    /// Lets the operator say what this guest is, or is from now on.
    pub(super) fn apply(&mut self, lab: &Lab, change: impl FnOnce(&mut [Value])) {
        change(&mut self.documents);
        lab.operator.apply(&self.documents).unwrap();
    }

    /// Waits until the service knows its port.
    pub(super) fn until_known(&self) {
        wait::until("the port", SOON, || self.guest.connect_with(&Dial::to(By::LinkLocal)))
            .unwrap();
    }

    /// Lets systemd-networkd do this.
    pub(super) fn settle(&self, settings: &str) {
        self.machine.write(NETWORKD_SETTINGS, settings).unwrap();
    }

    /// Boots the machine with this program.
    pub(super) fn boot(&self, words: &[&str]) -> Background {
        let all: Vec<&str> = ["sh", "-c", BOOT, "sh"].iter().chain(words).copied().collect();
        let mut command = self.machine.command(&all);
        Background::start(self.client.name(), &mut command, &self.log).unwrap()
    }

    /// Ends the machine as a power cut would. Its disk stays.
    pub(super) fn cut(&self, mut running: Background) {
        running.kill().unwrap();
        self.guest.namespace().ip("address flush dev eth0 scope global").unwrap();
        self.guest.namespace().ip("route flush dev eth0").unwrap();
    }

    /// Sends the client itself a signal.
    pub(super) fn signal(&self, running: &Background, signal: Signal) {
        let shell = child_of(running.pid()).unwrap();
        let client = i32::try_from(child_of(shell).unwrap()).unwrap();
        kill(Pid::from_raw(client), signal).unwrap();
    }

    /// What a program prints that is run in the machine.
    pub(super) fn output(&self, running: &Background, words: &[&str]) -> anyhow::Result<String> {
        process::output(&mut self.machine.beside(running, words)?)
    }

    /// What `ip` prints.
    pub(super) fn ip(&self, words: &str) -> anyhow::Result<String> {
        process::output(self.guest.namespace().command("ip").args(words.split(' ')))
    }

    /// Waits for messages on its wire: from the `from`th on, each of these in this order, whatever
    /// stands between them. Gives the place after the last one.
    pub(super) fn until_said(
        &self,
        running: &mut Background,
        mut from: usize,
        what: &Course,
    ) -> usize {
        for (name, wanted) in what {
            let name = format!("{name} of {}", self.client.name());
            from = wait::until(&name, SOON, || {
                self.ensure_running(running)?;
                let said = self.guest.capture().dhcp();
                let at = said.iter().skip(from).position(wanted);
                let at = at.ok_or_else(|| anyhow::anyhow!("{:#?}", said.get(from..)))?;
                Ok(from + at + 1)
            })
            .unwrap();
        }
        from
    }

    /// How many messages went over its wire.
    pub(super) fn said(&self) -> usize {
        self.guest.capture().dhcp().len()
    }

    /// Waits until it has taken over all that it was told.
    pub(super) fn until_set_up(&self, running: &Background, address: Ipv4Addr) {
        let what = format!("{} to take {address}", self.client.name());
        wait::until(&what, SOON, || self.check(running, address)).unwrap();
        seeds::until_served(&self.guest, HOST_NAME);
    }

    fn check(&self, running: &Background, address: Ipv4Addr) -> anyhow::Result<()> {
        let addresses = self.ip("-4 -o address show dev eth0")?;
        ensure_has(&addresses, &[&format!("inet {address}/24 "), " brd 192.168.0.255 "])?;
        anyhow::ensure!(addresses.lines().count() == 1, "more than one address: {addresses}");
        let routes = self.ip("-4 route")?;
        ensure_has(&routes, &["default via 192.168.0.1 dev eth0"])?;
        if self.client.sets_routes() {
            ensure_has(&routes, &["169.254.169.254 dev eth0", "10.99.0.0/16 via 192.168.0.7 "])?;
        }
        // dhcpcd sets it at each route.
        let link = self.ip("link show dev eth0")?;
        let has_mtu = link.contains("mtu 1400") || routes.contains("mtu 1400");
        let is_next = address != super::FIRST;
        anyhow::ensure!(has_mtu || (is_next && !self.client.keeps_mtu()), "{link}{routes}");
        if self.client.sets_resolvers() {
            let resolvers = self.output(running, &["cat", "/etc/resolv.conf"])?;
            ensure_has(&resolvers, &["nameserver 192.168.0.2", "nameserver 192.168.0.3"])?;
            ensure_has(&resolvers, &["tenant.example"])?;
        }
        if self.client.sets_host_name() {
            ensure_has(&self.output(running, &["hostname"])?, &["guest-host"])?;
        }
        Ok(())
    }

    /// Gives the port other addresses.
    pub(super) fn renumber(&mut self, lab: &Lab, addresses: &[&str]) {
        self.apply(lab, |documents| {
            seeds::port_of(documents)["addresses"] = json!(addresses);
        });
    }

    /// Fails if the client has ended.
    pub(super) fn ensure_running(&self, running: &mut Background) -> anyhow::Result<()> {
        running.ensure_running()?;
        anyhow::ensure!(!running.log().contains(ENDED), "{} ended", self.client.name());
        Ok(())
    }
}

/// Whether it is an ACK.
pub(super) fn is_ack(message: &Message) -> bool {
    message.kind == Kind::Ack
}

/// Fails unless a text has each of these.
pub(super) fn ensure_has(text: &str, wanted: &[&str]) -> anyhow::Result<()> {
    for wanted in wanted {
        anyhow::ensure!(text.contains(wanted), "no {wanted:?} in:\n{text}");
    }
    Ok(())
}
