//! nginx: the same bytes as a static file, over a plain veth.
//!
//! It knows no tokens and no tenants: what it takes is the floor for any HTTP server here. Its
//! settings favour it: one worker, no access log, open files kept.

use std::{fs, net::SocketAddr, path::Path};

use anyhow::Context;
use mezame_tests::{namespace::Namespace, process::Background};

use crate::{
    load::Target,
    peer::{await_listener, program},
    pinned::Cpu,
};

/// A running nginx.
#[derive(Debug)]
pub struct Nginx {
    _process: Background,
    /// Where a client comes from.
    pub client: Namespace,
    /// What it asks for.
    pub target: Target,
}

impl Nginx {
    /// Starts it with a file for `target`'s path; works in the folder `home`.
    pub fn start(cpu: Cpu, home: &Path, target: &Target) -> anyhow::Result<Self> {
        let program = program("nginx")?;
        let address: SocketAddr = "10.251.0.1:80".parse()?;
        let (client, inside) = (Namespace::create()?, Namespace::create()?);
        inside.veth("peer0", &client, "eth0")?;
        inside.ip("address add 10.251.0.1/30 dev peer0")?;
        client.ip("address add 10.251.0.2/30 dev eth0")?;
        inside.ip("link set peer0 up")?;
        client.ip("link set eth0 up")?;

        let file = home.join("root").join(target.path.trim_start_matches('/'));
        fs::create_dir_all(file.parent().context("the path has no folder")?)?;
        fs::write(&file, &target.body)?;
        let config = home.join("nginx.conf");
        fs::write(&config, settings(home, address))?;
        let mut command = inside.command(program);
        command.arg("-c").arg(&config).arg("-p").arg(home).arg("-e").arg(home.join("error.log"));
        cpu.bind_command(&mut command);
        let mut process = Background::start("nginx", &mut command, &home.join("nginx.log"))?;
        await_listener(&client, address, &mut process)?;
        Ok(Self { _process: process, client, target: Target { address, ..target.clone() } })
    }
}

fn settings(home: &Path, address: SocketAddr) -> String {
    let home = home.display();
    format!(
        "daemon off;
master_process off;
user root;
worker_processes 1;
pid {home}/nginx.pid;
error_log {home}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  sendfile on;
  tcp_nodelay on;
  keepalive_requests 1000000000;
  open_file_cache max=100;
  default_type text/plain;
  server {{ listen {address}; root {home}/root; }}
}}
"
    )
}
