//! Addresses by identity: DHCPv4, DHCPv6 and router advertisements, for clients as they are.

use std::{collections::BTreeMap, path::PathBuf};

use mezame_tests::{
    Lab,
    namespace_guest::{By, Dial, NamespaceGuest},
    process::{self, Background},
    tenant::Tenant,
    wait::{self, SOON},
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::seeds::{self, MAC};

/// A tenant whose network says all that DHCP can.
fn tenant(name: &str, vni: u32, device: &str) -> Vec<Value> {
    let mut documents = seeds::tenant(name, vni, device, &json!({}));
    let network = documents.iter_mut().find(|document| document["kind"] == "Network").unwrap();
    network["subnets"] = json!([
        {"cidr": "192.168.0.0/24", "gateway": "192.168.0.1",
         "routes": [{"destination": "10.99.0.0/16", "via": "192.168.0.7"}]},
    ]);
    network["dns"] = json!(["192.168.0.2", "192.168.0.3"]);
    network["domain"] = json!("tenant.example");
    network["ntp"] = json!(["192.168.0.4"]);
    network["mtu"] = json!(1400);
    documents
}

/// busybox's client, asked once. What it was told, as its script sees it.
fn udhcpc(guest: &NamespaceGuest, lab: &Lab, more: &[&str]) -> BTreeMap<String, String> {
    let (script, told) = script(lab);
    let mut command = guest.namespace().command("busybox");
    command.args(["udhcpc", "-i", "eth0", "-f", "-n", "-q", "-t", "5", "-T", "1", "-s"]);
    command.arg(&script).args(more);
    let ran = process::run(&mut command).unwrap();
    assert!(ran.status.success(), "{}{}", ran.stdout, ran.stderr);
    read(&told)
}

/// A script that writes down what it is told, takes the address, and gives it up.
fn script(lab: &Lab) -> (PathBuf, PathBuf) {
    let (script, told) = (lab.directory().join("script"), lab.directory().join("told"));
    let text = format!(
        "#!/bin/sh\nenv > {}.$1\n[ \"$1\" = deconfig ] && ip -4 address flush dev $interface\n\
         [ \"$1\" = bound ] && ip address replace $ip/$mask dev $interface\n\
         [ \"$1\" = bound ] && ip route replace 169.254.169.254 dev $interface\nexit 0\n",
        told.display()
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    (script, told)
}

fn read(told: &std::path::Path) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(told.with_extension("bound")).unwrap();
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[test]
fn a_guest_without_an_address_gets_one_and_then_its_metadata_in_two_networks_alike() {
    let lab = Lab::start().unwrap();
    for (name, vni, device) in [("tenant-a", 1000, "tapa"), ("tenant-b", 2000, "tapb")] {
        lab.operator.apply(&tenant(name, vni, device)).unwrap();
        let guest = lab.guest(device, MAC, &[]).unwrap();
        wait::until("the port", SOON, || guest.connect_with(&Dial::to(By::LinkLocal))).unwrap();
        let all = ["-O", "121", "-O", "26", "-O", "42", "-O", "119"];
        let told = udhcpc(&guest, &lab, &all);
        let expected = [
            ("ip", "192.168.0.10"),
            ("mask", "24"),
            ("subnet", "255.255.255.0"),
            ("router", "192.168.0.1"),
            ("dns", "192.168.0.2 192.168.0.3"),
            ("domain", "tenant.example"),
            ("hostname", name),
            ("mtu", "1400"),
            ("ntpsrv", "192.168.0.4"),
            ("serverid", "169.254.169.254"),
            ("lease", "86400"),
        ];
        for (field, value) in expected {
            assert_eq!(told.get(field).map(String::as_str), Some(value), "{field} of {told:#?}");
        }
        let routes = &told["staticroutes"];
        for route in
            ["169.254.169.254/32 0.0.0.0", "10.99.0.0/16 192.168.0.7", "0.0.0.0/0 192.168.0.1"]
        {
            assert!(routes.contains(route), "{route} in {routes}");
        }
        seeds::until_served(&guest, &format!("{name}.tenant.example"));
    }
}

#[test]
fn a_client_that_renews_is_told_what_changed_and_gives_up_an_address_that_is_no_longer_its_own() {
    let lab = Lab::start().unwrap();
    let mut documents = tenant("tenant-a", 1000, "tapa");
    lab.operator.apply(&documents).unwrap();
    let guest = lab.guest("tapa", MAC, &[]).unwrap();
    wait::until("the port", SOON, || guest.connect_with(&Dial::to(By::LinkLocal))).unwrap();
    let (script, told) = script(&lab);
    let mut command = guest.namespace().command("busybox");
    command.args(["udhcpc", "-i", "eth0", "-f", "-t", "5", "-T", "1", "-s"]).arg(&script);
    let log = lab.directory().join("udhcpc.log");
    let client = Background::start("udhcpc", &mut command, &log).unwrap();
    // It renews when it is told to, as it would after half of the lease.
    let until_told = |by: &str, field: &str, value: &str| {
        wait::until("what the client is told", SOON, || {
            let path = told.with_extension(by);
            let text = std::fs::read_to_string(&path)?;
            anyhow::ensure!(text.lines().any(|line| line == format!("{field}={value}")), "{text}");
            Ok(())
        })
        .unwrap();
    };
    until_told("bound", "ip", "192.168.0.10");
    let network = documents.iter_mut().find(|document| document["kind"] == "Network").unwrap();
    network["dns"] = json!(["192.168.0.5"]);
    lab.operator.apply(&documents).unwrap();
    client.signal(Signal::SIGUSR1).unwrap();
    until_told("renew", "dns", "192.168.0.5");
    seeds::port_of(&mut documents)["addresses"] = json!(["192.168.0.11"]);
    lab.operator.apply(&documents).unwrap();
    client.signal(Signal::SIGUSR1).unwrap();
    until_told("bound", "ip", "192.168.0.11");
    assert!(client.log().contains("received DHCP NAK"), "{}", client.log());
    seeds::until_served(&guest, "tenant-a.tenant.example");
}

#[test]
fn a_rogue_dhcp_server_in_the_tenants_network_is_not_even_asked() {
    let lab = Lab::start().unwrap();
    lab.operator.apply(&tenant("tenant-a", 1000, "tapa")).unwrap();
    let rogue = Tenant::create(&lab.hypervisor, 1000, "192.168.0.66/24").unwrap();
    let server = rogue.serve_dhcp(MAC, "192.168.0.77", lab.directory()).unwrap();
    let guest = lab.guest("tapa", MAC, &[]).unwrap();
    rogue.plug("tapa").unwrap();
    wait::until("the port", SOON, || guest.connect_with(&Dial::to(By::LinkLocal))).unwrap();
    let told = udhcpc(&guest, &lab, &[]);
    assert_eq!(told["ip"], "192.168.0.10");
    seeds::until_served(&guest, "tenant-a.tenant.example");
    assert!(!server.log().contains("DHCPDISCOVER"), "{}", server.log());
}

#[test]
fn a_network_that_opts_out_has_its_own_server() {
    let lab = Lab::start().unwrap();
    let mut documents = tenant("tenant-a", 1000, "tapa");
    let network = documents.iter_mut().find(|document| document["kind"] == "Network").unwrap();
    network["dhcp"] = json!({"ipv4": false});
    lab.operator.apply(&documents).unwrap();
    let own = Tenant::create(&lab.hypervisor, 1000, "192.168.0.66/24").unwrap();
    let _server = own.serve_dhcp(MAC, "192.168.0.10", lab.directory()).unwrap();
    let guest = lab.guest("tapa", MAC, &[]).unwrap();
    own.plug("tapa").unwrap();
    wait::until("the port", SOON, || guest.connect_with(&Dial::to(By::LinkLocal))).unwrap();
    let told = udhcpc(&guest, &lab, &[]);
    assert_eq!((told["ip"].as_str(), told["serverid"].as_str()), ("192.168.0.10", "192.168.0.66"));
    seeds::until_served(&guest, "tenant-a.tenant.example");
}

#[test]
fn a_guest_is_advertised_its_prefixes_and_reaches_the_service_by_them() {
    let lab = Lab::start().unwrap();
    let mut documents = tenant("tenant-a", 1000, "tapa");
    let network = documents.iter_mut().find(|document| document["kind"] == "Network").unwrap();
    network["subnets"] = json!([
        {"cidr": "192.168.0.0/24"}, {"cidr": "2001:db8:1::/64", "gateway": "fe80::1"},
    ]);
    network["dhcp"] = json!({"ipv6": "stateless"});
    lab.operator.apply(&documents).unwrap();
    let guest = lab.guest("tapa", MAC, &[]).unwrap();
    wait::until("an address made of the advertised prefix", SOON, || {
        let shown = process::output(guest.namespace().command("ip").args(["-6", "address"]))?;
        anyhow::ensure!(shown.contains("2001:db8:1:0:5054:ff:fe00:a"), "{shown}");
        anyhow::ensure!(!shown.contains("tentative"), "{shown}");
        let routes = process::output(guest.namespace().command("ip").args(["-6", "route"]))?;
        anyhow::ensure!(routes.contains("default via fe80::1"), "{routes}");
        Ok(())
    })
    .unwrap();
    // What the harness put there goes, and what was advertised stays.
    guest.namespace().ip("-6 route delete fd00:ec2::/64 dev eth0 proto boot").unwrap();
    let mut connection = guest.connect_with(&Dial::to(By::Ipv6)).unwrap();
    let answer = connection.get("/latest/meta-data/hostname", &[]).unwrap();
    assert_eq!(answer.text(), "tenant-a.tenant.example");
}
