//! One metadata-server with one port, and two ways for its guest to reach it: through the data
//! path, and by a veth that ends beside the listener.

use std::{fs, net::Ipv4Addr};

use anyhow::{Context, ensure};
use mezame_tests::{
    Lab,
    http::{Connection, TOKEN, TOKEN_TTL},
    namespace::Namespace,
    process,
    wait::{self, SOON},
};

use serde_json::json;

use crate::{fixture::PATH, load::Target, pinned::Cpu, seed};

/// The metadata namespace's name; the lab's `/run` is private, so nothing else has it.
const METADATA: &str = "mezame-metadata";

/// The server and its two clients.
pub(super) struct Guests {
    /// Holds the server.
    pub(super) lab: Lab,
    /// The client behind the data path.
    pub(super) tapped: Namespace,
    /// The client beside the listener, with an identity address of the same port.
    pub(super) direct: Namespace,
    /// The client behind the hypervisor, which routes what it sends as it stands.
    pub(super) routed: Namespace,
    /// What both ask for.
    pub(super) target: Target,
}

impl Guests {
    /// Starts the server on `cpu`, its limits on one port's requests lifted, and both clients.
    pub(super) fn start(cpu: Cpu) -> anyhow::Result<Self> {
        // The server is a child of this thread, and takes its CPU over.
        cpu.bind()?;
        let mut lab = Lab::prepare()?;
        lab.server = Some(lab.place.start_with(&["--standalone", "--requests-per-second", "0"])?);
        cpu.release()?;
        let mut documents: Vec<_> = seed::ground().into_iter().chain(seed::guest(0)).collect();
        let subnets = json!([{"cidr": seed::CIDR}, {"cidr": "2001:db8::/64"}]);
        let addresses = json!([seed::address(0), "2001:db8::a"]);
        for document in &mut documents {
            match document["kind"].as_str() {
                Some("Network") => document["subnets"] = subnets.clone(),
                Some("Port") => document["addresses"] = addresses.clone(),
                _ => {}
            }
        }
        lab.operator.apply(&documents)?;

        let tapped = Namespace::create()?;
        let device = seed::device(0);
        lab.hypervisor.veth(&device, &tapped, "eth0")?;
        tapped.ip(&format!("link set eth0 address {} up", seed::mac(0)))?;
        tapped.ip(&format!("address add {}/14 dev eth0", seed::address(0)))?;
        tapped.ip("route add 169.254.169.254/32 dev eth0")?;
        tapped.ip("address add 2001:db8::a/64 dev eth0 nodad")?;
        tapped.ip("-6 route add fd00:ec2::/64 dev eth0")?;
        lab.hypervisor.ip(&format!("link set {device} up"))?;

        let token = wait::until("the first token", SOON, || token(&tapped))?;
        let mut target = Target {
            address: "169.254.169.254:80".parse()?,
            path: PATH.into(),
            token,
            body: Vec::new(),
        };
        target.body = body(&tapped, &target)?;
        // Open for as long as the server's connections are looked at.
        let mut open = tapped.run(connect)??;
        open.get(&target.path, &[(TOKEN, &target.token)])?;
        let identity = identity(&lab)?.to_bits();
        drop(open);
        // The last two identities of the port, which no address of the guest has.
        let direct = direct(Ipv4Addr::from_bits(identity | 0xf))?;
        let routed = routed(&lab, Ipv4Addr::from_bits(identity & !1 | 0xe))?;
        for client in [&direct, &routed] {
            ensure!(body(client, &target)? == target.body, "a plain veth leads to another guest");
        }
        Ok(Self { lab, tapped, direct, routed, target })
    }
}

/// A client whose veth ends in the metadata namespace.
fn direct(identity: Ipv4Addr) -> anyhow::Result<Namespace> {
    let client = Namespace::create()?;
    client.ip(&format!("link add eth0 type veth peer name direct0 netns {METADATA}"))?;
    client.ip(&format!("address add {identity}/32 dev eth0"))?;
    client.ip("link set eth0 up")?;
    client.ip(&format!("-n {METADATA} link set direct0 up"))?;
    client.ip(&format!("-n {METADATA} route add {identity}/32 dev direct0"))?;
    client.ip("route add 169.254.169.254/32 dev eth0")?;
    Ok(client)
}

/// A client whose veth ends on the hypervisor, and a second veth from there to the metadata
/// namespace: the way of a guest's packet, with the kernel's own forwarding in place of eBPF.
fn routed(lab: &Lab, identity: Ipv4Addr) -> anyhow::Result<Namespace> {
    let (client, hypervisor) = (Namespace::create()?, &lab.hypervisor);
    hypervisor.veth("routed0", &client, "eth0")?;
    hypervisor.ip(&format!("link add routed1 type veth peer name routed2 netns {METADATA}"))?;
    for line in
        ["link set routed0 up", "link set routed1 up", "address add 10.254.0.1/30 dev routed1"]
    {
        hypervisor.ip(line)?;
    }
    hypervisor.ip(&format!("-n {METADATA} link set routed2 up"))?;
    hypervisor.ip(&format!("-n {METADATA} address add 10.254.0.2/30 dev routed2"))?;
    hypervisor.ip(&format!("-n {METADATA} route add {identity}/32 via 10.254.0.1"))?;
    hypervisor.ip(&format!("route add {identity}/32 dev routed0"))?;
    hypervisor.ip("route add 169.254.169.254/32 via 10.254.0.2")?;
    hypervisor.run(|| fs::write("/proc/sys/net/ipv4/ip_forward", "1"))??;
    client.ip(&format!("address add {identity}/32 dev eth0"))?;
    client.ip("link set eth0 up")?;
    client.ip("route add 10.254.0.1/32 dev eth0")?;
    client.ip("route add 169.254.169.254/32 via 10.254.0.1")?;
    Ok(client)
}

/// The identity by which the server sees the guest: the peer of its one guest's connections.
fn identity(lab: &Lab) -> anyhow::Result<Ipv4Addr> {
    let mut command = lab.hypervisor.command("ip");
    command.args(["netns", "exec", METADATA, "cat", "/proc/net/tcp"]);
    let table = process::output(&mut command)?;
    table
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().nth(2)?.split(':').next())
        .filter_map(|address| u32::from_str_radix(address, 16).ok())
        .map(|address| Ipv4Addr::from(address.to_ne_bytes()))
        .find(|address| !address.is_unspecified())
        .context("the server has no connection of the guest")
}

fn token(client: &Namespace) -> anyhow::Result<String> {
    let reply = client
        .run(|| connect()?.send("PUT", "/latest/api/token", &[(TOKEN_TTL, "21600")], b""))??;
    ensure!(reply.status == 200, "no token: {reply:?}");
    Ok(reply.text())
}

fn body(client: &Namespace, target: &Target) -> anyhow::Result<Vec<u8>> {
    let headers = [(TOKEN, target.token.as_str()), ("Connection", "close")];
    let reply = client.run(|| connect()?.get(&target.path, &headers))??;
    ensure!(reply.status == 200, "{} answered {reply:?}", target.path);
    Ok(reply.body)
}

fn connect() -> anyhow::Result<Connection> {
    let address = "169.254.169.254:80".parse()?;
    let patience = std::time::Duration::from_millis(250);
    Connection::new(std::net::TcpStream::connect_timeout(&address, patience)?)
}
