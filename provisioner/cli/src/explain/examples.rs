//! An example of each kind, ready to be edited and applied.

use mezame_model::api::Kind;

/// The example of a kind. All four together are a seed.
pub fn of(kind: Kind) -> &'static str {
    match kind {
        Kind::Project => PROJECT,
        Kind::Network => NETWORK,
        Kind::Port => PORT,
        Kind::Instance => INSTANCE,
    }
}

const PROJECT: &str = "\
kind: Project
name: tenant-a
description: The first tenant
";

const NETWORK: &str = "\
kind: Network
project: tenant-a
name: lan
vni: 1000
mtu: 1450
subnets:
  - cidr: 192.168.0.0/20
    gateway: 192.168.0.1
    routes: [{destination: 10.20.0.0/16, via: 192.168.0.2}]
  - cidr: 2001:db8:0:1::/64
    gateway: fe80::1
dns: [192.168.0.1]
domain: tenant-a.example
ntp: [169.254.169.123]
dhcp: {ipv4: true, ipv6: managed, lease_seconds: 86400}
forward: {dns: [192.0.2.53], ntp: [192.0.2.123]}
";

const PORT: &str = "\
kind: Port
project: tenant-a
name: web-0
network: lan
mac: 52:54:00:12:34:56
addresses: [192.168.0.10]
allowed: [192.168.0.100/32]     # a floating address
# vlans: [{id: 100, network: dmz, addresses: [10.1.0.10]}]   # another network of the project
rate_limit: {frames_per_second: 10000, burst: 20000}
boot: {server: 192.0.2.9, file: pxelinux.0}
";

const INSTANCE: &str = "\
kind: Instance
project: tenant-a
name: web
hostname: web
ports: [web-0]
ssh_keys:
  - ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIG1lemFtZS1leGFtcGxlLWtleS0wMDAwMDAwMDAwMDEw alice@example
users:
  - name: alice
    ssh_keys:
      - ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIG1lemFtZS1leGFtcGxlLWtleS0wMDAwMDAwMDAwMDEw alice@example
    password: {generate: true}
    sudo: true
user_data: |
  #!/bin/sh
  echo hello > /run/hello
tags:
  role: web
tokens: required
hop_limit: 1
";
