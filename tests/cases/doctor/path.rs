//! Faults on the way between a guest and the service.

use super::*;

#[test]
fn a_guest_without_a_card_is_told_so() {
    let patient = Patient::new();
    let empty = Namespace::create().unwrap();
    let told = patient.examine_in(&empty, "doctor");
    told.assert_first("no-device", "either", "no network device");
}

#[test]
fn a_device_that_was_set_down_is_named_and_is_down_afterwards() {
    let patient = Patient::new();
    let told = patient.examine("run; ip link set eth0 down; doctor; ip link show eth0");
    told.assert_first("device-down", "guest-owner", "eth0 is set down");
    assert!(told.text.contains("state DOWN"), "{}", told.text);
}

#[test]
fn a_cable_that_is_pulled_is_named() {
    let patient = Patient::new();
    let told = patient.examine("run; ip link set eth0 carrier off; doctor");
    told.assert_first("no-carrier", "operator", "eth0 has no carrier");
}

#[test]
fn a_neighbour_that_claims_every_link_local_address_is_named() {
    let patient = Patient::with(&speaks_mezame(), &[]);
    let tenant = Tenant::create(&patient.lab.hypervisor, 1000, "192.168.0.1/24").unwrap();
    let neighbour = patient.lab.guest("neighbour", "52:54:00:00:00:0b", &[]).unwrap();
    tenant.plug("tapa").unwrap();
    tenant.plug("neighbour").unwrap();
    neighbour.namespace().ip("route add local 169.254.0.0/16 dev lo").unwrap();
    neighbour.namespace().ip("address add 192.168.0.99/24 dev eth0").unwrap();
    let told = patient.examine("doctor");
    told.assert_first("no-free-address", "either", "is taken");
}

#[test]
fn a_route_that_forbids_the_way_is_named_and_left_alone() {
    let patient = Patient::new();
    let told = patient.examine(
        "run; ip route del 169.254.169.254; ip route add blackhole 169.254.169.254
         doctor; ip route",
    );
    told.assert_first("route-refused", "guest-owner", "type blackhole");
    assert!(told.text.contains("blackhole 169.254.169.254"), "{}", told.text);
}

#[test]
fn a_firewall_of_the_guests_is_named_whichever_way_it_drops() {
    let patient = Patient::new();
    for rule in [
        "output ip daddr 169.254.169.254 drop",
        "output ip daddr 169.254.169.254 tcp dport 80 reject",
        "input ip saddr 169.254.169.254 drop",
    ] {
        let (hook, rule) = rule.split_once(' ').unwrap();
        let told = patient.examine(&format!(
            "run; nft 'add table inet t; add chain inet t c {{ type filter hook {hook} priority 0; }}'
             nft 'add rule inet t c {rule}'; doctor; nft delete table inet t"
        ));
        told.assert_first("firewall", "guest-owner", "a rule in this guest");
    }
}

#[test]
fn a_tap_that_no_port_is_attached_to_is_named() {
    let patient = Patient::new();
    patient.lab.operator.run(&["port", "attach", "port", "-p", "tenant-a", "elsewhere"]).unwrap();
    wait::until("the port to go", SOON, || {
        let dial = Dial { bound: Duration::from_millis(300), ..Dial::default() };
        anyhow::ensure!(patient.guest.connect_with(&dial).is_err(), "it still answers");
        Ok(())
    })
    .unwrap();
    let told = patient.examine("doctor");
    told.assert_first("no-neighbour", "operator", "0 of 8 ARP probes");
    assert!(told.findings[0]["mend"].to_string().contains("mezame port attach"));
}

#[test]
fn an_address_that_is_not_the_ports_is_named_as_dropped() {
    let patient = Patient::new();
    let told = patient
        .examine("run; ip address flush dev eth0; ip address add 192.168.0.66/24 dev eth0; doctor");
    told.assert_first("spoofed-source", "either", "192.168.0.66");
}

#[test]
fn a_mac_that_is_not_the_records_is_named() {
    let patient = Patient::new();
    let told = patient.examine("run; ip link set eth0 address 52:54:00:66:66:66; doctor");
    told.assert_first("wrong-mac", "either", MAC);
}

#[test]
fn a_port_over_its_limit_of_frames_is_named() {
    let mut patient = Patient::new();
    seeds::port_of(&mut patient.documents)["rate_limit"] =
        json!({"frames_per_second": 1, "burst": 1});
    patient.lab.operator.apply(&patient.documents).unwrap();
    wait::until("the limit", SOON, || {
        let dial = Dial { bound: Duration::from_millis(300), ..Dial::default() };
        anyhow::ensure!(patient.guest.connect_with(&dial).is_err(), "it is not there");
        Ok(())
    })
    .unwrap();
    let told = patient.examine("doctor");
    told.assert_first("rate-limited", "either", "of 8 ARP probes");
}

#[test]
fn a_service_that_has_ended_is_named() {
    let mut patient = Patient::new();
    patient.lab.server = None;
    let told = patient.examine("doctor");
    told.assert_first("not-listening", "operator", "no metadata service listens");
}

#[test]
fn a_wire_that_loses_full_packets_is_named() {
    let patient = Patient::new();
    patient.guest.lose(|frame| frame.len() > 1200);
    let told = patient.examine("run; doctor");
    told.assert_first("mtu-black-hole", "either", "a long request is not");
}

#[test]
fn a_hop_limit_that_ends_before_a_container_is_named() {
    let mut patient = Patient::new();
    seeds::port_of(&mut patient.documents)["allowed"] = json!(["192.168.0.20/32"]);
    patient.lab.operator.apply(&patient.documents).unwrap();
    let guest = patient.guest.namespace();
    let container = Namespace::create().unwrap();
    guest.veth("veth", &container, "eth0").unwrap();
    for words in ["link set veth up", "route add 192.168.0.20/32 dev veth"] {
        guest.ip(words).unwrap();
    }
    // The guest is the container's router, and answers for the service on its side.
    guest
        .run(|| {
            for (name, value) in [
                ("conf/all/forwarding", "1"),
                ("conf/veth/proxy_arp", "1"),
                ("neigh/veth/proxy_delay", "0"),
            ] {
                std::fs::write(format!("/proc/sys/net/ipv4/{name}"), value).unwrap();
            }
        })
        .unwrap();
    for words in ["address add 192.168.0.20/32 dev eth0", "link set eth0 up"] {
        container.ip(words).unwrap();
    }
    let told = patient.examine_in(&container, "doctor");
    told.assert_first("hop-limit", "operator", "hop_limit: 2");
    let instance = patient.documents.iter_mut().find(|it| it["kind"] == "Instance").unwrap();
    instance["hop_limit"] = json!(2);
    patient.lab.operator.apply(&patient.documents).unwrap();
    wait::until("the other limit", SOON, || {
        let told = patient.examine_in(&container, "doctor");
        anyhow::ensure!(told.text.contains("the document of guest"), "{}", told.text);
        Ok(())
    })
    .unwrap();
}
