//! Names that are known here.

use super::*;

const NOERROR: OptRcode = OptRcode::NOERROR;

#[test]
fn the_metadata_service_has_the_names_that_the_guests_dialect_knows_it_by() {
    let mut world = World::new();
    world.dialects(&[Dialect::Gce]);
    for name in ["metadata.google.internal", "metadata", "metadata.acme.example"] {
        let told = world.ask("web-0", name, Rtype::A);
        assert_eq!(told.answers, [format!("{name} A 169.254.169.254")]);
        let told = world.ask("web-0", name, Rtype::AAAA);
        assert_eq!(told.answers, [format!("{name} AAAA fd00:ec2::254")]);
        assert!(told.zone.is_none());
    }
    for name in ["instance-data", "instance-data.ec2.internal"] {
        let refused = Told::refusal(OptRcode::REFUSED);
        assert_eq!(world.ask("web-0", name, Rtype::A), refused, "{name} is not GCE's");
    }
    world.dialects(&[Dialect::Ec2]);
    for name in ["instance-data", "instance-data.ec2.internal", "instance-data.acme.example"] {
        let told = world.ask("web-0", name, Rtype::A);
        assert_eq!(told.answers, [format!("{name} A 169.254.169.254")]);
    }
    let told = world.ask("web-0", "metadata.google.internal", Rtype::A);
    assert_eq!(told, Told::refusal(OptRcode::REFUSED));
}

#[test]
fn an_instance_is_known_by_its_full_name_and_its_first_label() {
    let world = World::new();
    for name in ["web-0.acme.example", "web-0"] {
        let told = world.ask("Web-1", name, Rtype::A);
        // Of its two networks, only the one that the asker is in too.
        assert_eq!(
            told.answers,
            [format!("{name} A 192.168.0.10"), format!("{name} A 203.0.113.7")]
        );
        let told = world.ask("Web-1", name, Rtype::AAAA);
        assert_eq!(told.answers, [format!("{name} AAAA 2001:db8:1::10")]);
    }
    let told = world.ask("web-0", "web-0", Rtype::A);
    assert_eq!(told.answers.len(), 4, "both networks are its own: {told:?}");
    let told = world.ask("db-0.rival.example", "db-0.rival.example", Rtype::A);
    assert_eq!(told.answers, ["db-0.rival.example A 192.168.0.10"]);
}

#[test]
fn a_name_behind_a_tag_is_told_in_that_network_and_to_the_guest_that_has_it() {
    let mut world = World::new();
    // `web-1` is in `back` by a VLAN, and `web-0` has a port there.
    let back = world.snapshot.networks[1].id.clone();
    let port = world.snapshot.ports.iter_mut().find(|it| it.id.as_str().ends_with("a9")).unwrap();
    Arc::make_mut(port).vlans = [mezame_model::Vlan {
        id: 7.try_into().unwrap(),
        network: back,
        addresses: vec!["10.1.0.77".parse().unwrap()],
    }]
    .into();
    let told = world.ask("web-0", "web-1", Rtype::A);
    assert_eq!(told.answers, ["web-1 A 192.168.0.11", "web-1 A 10.1.0.77"]);
    let told = world.ask("web-0", "77.0.1.10.in-addr.arpa", Rtype::PTR);
    assert_eq!(told.answers, ["77.0.1.10.in-addr.arpa PTR web-1.acme.example."]);
    let told = world.ask("Web-1", "ip-10-1-0-10", Rtype::A);
    assert_eq!(told.answers, ["ip-10-1-0-10 A 10.1.0.10"], "a neighbour in the VLAN's network");
    // By its own address there alone, and not to other tenants.
    let told = world.ask("db-0.rival.example", "web-1", Rtype::A);
    assert!(told.answers.is_empty(), "{told:?}");
}

#[test]
fn the_case_of_a_name_does_not_matter_and_is_kept() {
    let told = World::new().ask("web-0", "wEB-1.aCMe.eXAMPLE", Rtype::A);
    assert_eq!(told.answers, ["wEB-1.aCMe.eXAMPLE A 192.168.0.11"]);
}

#[test]
fn a_name_without_an_address_of_the_family_is_there_but_empty() {
    let world = World::new();
    let told = world.ask("web-0", "web-1.acme.example", Rtype::AAAA);
    assert_eq!(told, Told::nothing_in("acme.example", NOERROR));
    assert_eq!(world.ask("web-0", "web-1", Rtype::MX), Told::nothing_in("web-1", NOERROR));
}

#[test]
fn another_tenants_names_and_addresses_do_not_exist() {
    let mut world = World::new();
    let names = ["db-0", "db-0.rival.example", "nobody", "nobody.rival.example"];
    for name in names {
        let told = world.ask("web-0", name, Rtype::A);
        assert_eq!(told, Told::refusal(OptRcode::REFUSED), "{name}");
    }
    // Even if it got into the network, as no control plane lets it.
    let front = world.snapshot.networks[0].id.clone();
    let at = world.snapshot.ports.iter().position(|one| one.project.as_str() == "rival").unwrap();
    let port = Arc::make_mut(&mut world.snapshot.ports[at]);
    port.network = front;
    port.addresses = vec!["192.168.0.99".parse().unwrap()];
    for name in ["db-0", "db-0.rival.example"] {
        let told = world.ask("web-0", name, Rtype::A);
        assert_eq!(told, Told::refusal(OptRcode::REFUSED), "{name}");
    }
    let told = world.ask("web-0", "99.0.168.192.in-addr.arpa", Rtype::PTR);
    assert_eq!(told, Told::nothing_in("0.168.192.in-addr.arpa", OptRcode::NXDOMAIN));
}

#[test]
fn a_port_whose_instance_does_not_name_it_has_no_name() {
    let mut world = World::new();
    let at = world.snapshot.ports.iter().position(|it| it.id.as_str().ends_with("a9")).unwrap();
    Arc::make_mut(&mut world.snapshot.ports[at]).instance =
        Some(world.snapshot.instances[0].id.clone());
    let told = world.ask("web-0", "web-1.acme.example", Rtype::A);
    assert_eq!(told, Told::nothing_in("acme.example", OptRcode::NXDOMAIN));
    let told = world.ask("web-0", "11.0.168.192.in-addr.arpa", Rtype::PTR);
    assert_eq!(told.code, OptRcode::NXDOMAIN);
}

#[test]
fn addresses_have_the_full_names_of_their_instances() {
    let mut world = World::new();
    world.dialects(&[Dialect::Gce, Dialect::Ec2]);
    for (reverse, name) in [
        ("10.0.168.192.in-addr.arpa", "web-0.acme.example"),
        ("11.0.168.192.in-addr.arpa", "web-1.acme.example"),
        ("10.0.1.10.in-addr.arpa", "web-0.acme.example"),
        (
            "0.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa",
            "web-0.acme.example",
        ),
        ("254.169.254.169.in-addr.arpa", "metadata.google.internal"),
    ] {
        let told = world.ask("web-0", reverse, Rtype::PTR);
        assert_eq!(told.answers, [format!("{reverse} PTR {name}.")], "{told:?}");
    }
    let told = world.ask("Web-1", "10.0.1.10.in-addr.arpa", Rtype::PTR);
    assert_eq!(told, Told::refusal(OptRcode::REFUSED), "it is in the other network alone");
}

#[test]
fn an_address_of_an_instance_is_known_by_the_name_that_ec2_makes_of_it() {
    let world = World::new();
    for name in ["ip-192-168-0-11", "ip-192-168-0-11.acme.example"] {
        let told = world.ask("web-0", name, Rtype::A);
        assert_eq!(told.answers, [format!("{name} A 192.168.0.11")]);
    }
    for name in ["ip-192-168-0-12", "ip-192-168-0-011", "ip-10-1-0"] {
        let told = world.ask("web-0", &format!("{name}.acme.example"), Rtype::A);
        assert_eq!(told.code, OptRcode::NXDOMAIN, "{name}");
    }
    let told = world.ask("Web-1", "ip-10-1-0-10", Rtype::A);
    assert_eq!(told, Told::refusal(OptRcode::REFUSED), "it is in the other network alone");
}

#[test]
fn instances_that_share_a_name_are_all_told() {
    let mut world = World::new();
    for instance in &mut world.snapshot.instances[..] {
        if instance.project.as_str() == "acme" {
            Arc::make_mut(instance).hostname = "same".into();
        }
    }
    let told = world.ask("same", "same.acme.example", Rtype::A);
    for address in ["192.168.0.10", "203.0.113.7", "192.168.0.11", "10.1.0.10"] {
        let line = format!("same.acme.example A {address}");
        assert!(told.answers.contains(&line), "{line} in {told:?}");
    }
}

#[test]
fn an_instance_called_metadata_is_found_in_its_own_domain_only() {
    let mut world = World::new();
    world.dialects(&[Dialect::Gce]);
    let at = world.snapshot.instances.iter().position(|it| &*it.hostname == "Web-1").unwrap();
    Arc::make_mut(&mut world.snapshot.instances[at]).hostname = "metadata".into();
    let told = world.ask("web-0", "metadata.acme.example", Rtype::A);
    assert_eq!(told.answers, ["metadata.acme.example A 192.168.0.11"]);
    for name in ["metadata", "metadata.google.internal"] {
        let told = world.ask("web-0", name, Rtype::A);
        assert_eq!(told.answers, [format!("{name} A 169.254.169.254")]);
    }
}

#[test]
fn a_question_for_everything_gets_the_least() {
    let told = World::new().ask("web-0", "web-1", Rtype::ANY);
    assert_eq!(told.answers, ["web-1 HINFO \"RFC8482\" \"\""]);
}

#[test]
fn what_is_unknown_and_can_not_be_forwarded_does_not_exist_here_or_is_refused() {
    let world = World::new();
    let nowhere = |zone| Told::nothing_in(zone, OptRcode::NXDOMAIN);
    let ask = |name| world.ask("web-0", name, Rtype::A);
    assert_eq!(ask("nobody.acme.example"), nowhere("acme.example"));
    assert_eq!(ask("a.b.acme.example"), nowhere("acme.example"));
    assert_eq!(ask("acme.example"), Told::nothing_in("acme.example", NOERROR));
    assert_eq!(ask("12.0.168.192.in-addr.arpa"), nowhere("0.168.192.in-addr.arpa"));
    for name in ["example.com", "notacme.example", "example", ".", "1.113.0.10.in-addr.arpa"] {
        assert_eq!(ask(name), Told::refusal(OptRcode::REFUSED), "{name}");
    }
}

#[test]
fn more_addresses_than_fit_are_truncated_over_udp_and_whole_over_tcp() {
    let mut world = World::new();
    let at = world.snapshot.ports.iter().position(|it| it.id.as_str().ends_with("a9")).unwrap();
    Arc::make_mut(&mut world.snapshot.ports[at]).addresses =
        (0..200u8).map(|last| [192, 168, 0, last].into()).collect();
    let message = query("web-1", Rtype::A);
    let over = |transport| Told::of(world.decide("web-0", &message, transport));
    let short = over(Transport::Datagram);
    assert!(short.is_truncated && short.answers.is_empty());
    let whole = over(Transport::Stream);
    assert!(!whole.is_truncated);
    assert_eq!(whole.answers.len(), 64);
}
