//! haproxy in a tenant's namespace, forwarding to a unix socket: neutron's way.
//!
//! OpenStack's neutron starts one haproxy for each network or router; it listens on
//! 169.254.169.254, adds headers that name the network, opens a connection to the metadata
//! agent's unix socket for each request (`option http-server-close`) and logs each request to the
//! system's log, as neutron's driver configures it (docs.openstack.org, neutron, "metadata
//! service"). Behind the socket stands our own server here, where neutron has two more hops (its
//! agent, written in Python, and nova): the comparison favours the peer.

use std::{fs, net::SocketAddr, path::Path};

use mezame_tests::{namespace::Namespace, process::Background};

use crate::{
    load::Target,
    peer::{await_listener, program, system_log::SystemLog, upstream::Upstream},
    pinned::Cpu,
};

/// A running haproxy.
#[derive(Debug)]
pub struct Haproxy {
    _process: Background,
    _log: SystemLog,
    /// Where a client comes from.
    pub client: Namespace,
    /// What it asks for.
    pub target: Target,
}

impl Haproxy {
    /// Starts it in front of `upstream`; works in the folder `home`.
    pub fn start(cpu: Cpu, home: &Path, upstream: &Upstream) -> anyhow::Result<Self> {
        let program = program("haproxy")?;
        let address: SocketAddr = "169.254.169.254:80".parse()?;
        let (client, inside) = (Namespace::create()?, Namespace::create()?);
        inside.veth("peer0", &client, "eth0")?;
        inside.ip("address add 192.168.0.1/24 dev peer0")?;
        inside.ip("address add 169.254.169.254/32 dev peer0")?;
        client.ip("address add 192.168.0.10/24 dev eth0")?;
        inside.ip("link set peer0 up")?;
        client.ip("link set eth0 up")?;
        client.ip("route add 169.254.169.254/32 via 192.168.0.1")?;

        let log = SystemLog::start(home)?;
        let config = home.join("haproxy.cfg");
        fs::write(&config, settings(address, &upstream.socket, &log.socket))?;
        let mut command = inside.command(program);
        command.arg("-db").arg("-f").arg(&config);
        cpu.bind_command(&mut command);
        let mut process = Background::start("haproxy", &mut command, &home.join("haproxy.log"))?;
        await_listener(&client, address, &mut process)?;
        Ok(Self { _process: process, _log: log, client, target: Upstream::target(address)? })
    }
}

fn settings(address: SocketAddr, upstream: &Path, log: &Path) -> String {
    format!(
        "global
  log {log} local0 info
  maxconn 1024
  nbthread 1
defaults
  log global
  mode http
  option httplog
  option dontlognull
  option http-server-close
  option forwardfor
  retries 3
  timeout http-request 30s
  timeout connect 30s
  timeout client 32s
  timeout server 32s
  timeout http-keep-alive 30s
listen metadata
  bind {address}
  http-request set-header X-Network-ID 7d5c1c1e-0b5f-4f0e-9d5a-3f9a7d1b2c3d
  server agent unix@{upstream}
",
        log = log.display(),
        upstream = upstream.display()
    )
}
