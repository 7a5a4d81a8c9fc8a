//! Queries that go to a resolver, and its answers.

use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;

const RESOLVER: &str = "198.51.100.53:53";

fn world() -> World {
    let mut world = World::new();
    world.networks(|network| network.forward.dns = vec![RESOLVER.parse().unwrap()]);
    world
}

fn forwarded(message: &[u8]) -> Box<Forwarding> {
    match world().decide("web-0", message, Transport::Datagram) {
        Decision::Forward(forwarding) => forwarding,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_not_known_here_is_forwarded_even_in_the_tenants_domain() {
    for name in [
        "example.com",
        "nobody.acme.example",
        "acme.example",
        "db-0",
        "12.0.168.192.in-addr.arpa",
        "_ldap._tcp.example.com",
        "a b.example",
        ".",
    ] {
        assert_eq!(forwarded(&query(name, Rtype::A)).upstreams(), [RESOLVER.parse().unwrap()]);
    }
}

#[test]
fn names_of_this_link_are_never_forwarded() {
    for name in ["1.169.254.169.in-addr.arpa", "254.169.in-addr.arpa", "2.c.e.0.0.0.d.f.ip6.arpa"] {
        let told = world().ask("web-0", name, Rtype::PTR);
        let is_zone = name.split('.').count() != 6;
        let code = if is_zone { OptRcode::NOERROR } else { OptRcode::NXDOMAIN };
        assert_eq!(told.code, code, "{name}");
        assert!(told.zone.is_some());
    }
    assert_eq!(world().ask("web-0", "web-1", Rtype::A).answers.len(), 1);
}

#[test]
fn only_the_question_travels() {
    let mut builder = question("eXample.com", Rtype::A, Class::IN).additional();
    builder.header_mut().set_cd(true);
    builder
        .opt(|opt| {
            opt.set_udp_payload_size(4096);
            opt.set_dnssec_ok(true);
            opt.push_raw_option(domain::base::iana::OptionCode::COOKIE, 8, |target| {
                domain::dep::octseq::OctetsBuilder::append_slice(target, b"a cookie")
            })
        })
        .unwrap();
    let sent = forwarded(&builder.finish()).message(0xabcd);
    let sent = Message::from_octets(sent).unwrap();
    let header = sent.header();
    assert_eq!(header.id(), 0xabcd);
    assert!(header.rd() && header.cd() && !header.qr());
    assert_eq!(sent.sole_question().unwrap().qname().to_string(), "eXample.com");
    let opt = sent.opt().unwrap();
    assert!(opt.dnssec_ok() && opt.opt().is_empty());
    assert_eq!(opt.udp_payload_size(), DATAGRAM);
    let plain = forwarded(&query("example.com", Rtype::A)).message(1);
    assert!(Message::from_octets(plain).unwrap().opt().is_none());
}

/// The resolver's answer to a query.
fn answer(sent: &[u8]) -> Vec<u8> {
    let sent = Message::from_octets(sent).unwrap();
    let mut builder =
        MessageBuilder::new_vec().start_answer(&sent, domain::base::iana::Rcode::NOERROR).unwrap();
    let name = sent.sole_question().unwrap().into_qname();
    builder.push((name, 60, domain::rdata::A::from_octets(192, 0, 2, 1))).unwrap();
    builder.finish()
}

#[test]
fn an_answer_comes_back_under_the_guests_number() {
    let forwarding = forwarded(&query("eXample.com", Rtype::A));
    let reply = forwarding.accept(7, answer(&forwarding.message(7))).unwrap();
    assert!(!reply.is_failure);
    assert_eq!(reply.bytes[..2], [0x12, 0x34]);
    assert_eq!(Told::read(&reply.bytes).answers, ["eXample.com A 192.0.2.1"]);
}

#[test]
fn an_answer_to_something_else_is_not_believed() {
    let forwarding = forwarded(&query("eXample.com", Rtype::A));
    let good = answer(&forwarding.message(7));
    assert!(forwarding.accept(8, good.clone()).is_none(), "another number");
    for other in [
        query("example.com", Rtype::A),
        query("eXample.net", Rtype::A),
        query("eXample.com", Rtype::AAAA),
        question("eXample.com", Rtype::A, Class::CH).finish(),
    ] {
        let mut other = answer(&other);
        other[..2].copy_from_slice(&7u16.to_be_bytes());
        assert!(forwarding.accept(7, other.clone()).is_none(), "{other:?}");
    }
    assert!(forwarding.accept(7, forwarding.message(7)).is_none(), "the query itself");
    assert!(forwarding.accept(7, good[..11].to_vec()).is_none(), "too little");
}

#[test]
fn an_answer_longer_than_the_guest_takes_is_cut_to_its_question() {
    let forwarding = forwarded(&query("example.com", Rtype::A));
    let mut long = answer(&forwarding.message(7));
    long.resize(513, 0);
    let told = Told::read(&forwarding.accept(7, long).unwrap().bytes);
    assert!(told.is_truncated && told.answers.is_empty());
}

#[test]
fn a_resolver_that_can_not_say_is_told_from_one_that_says_no() {
    let forwarding = forwarded(&query("example.com", Rtype::A));
    for (code, is_failure) in [(0, false), (1, true), (2, true), (3, false), (4, true), (5, true)] {
        let mut bytes = answer(&forwarding.message(7));
        bytes[3] = (bytes[3] & 0xf0) | code;
        assert_eq!(forwarding.accept(7, bytes).unwrap().is_failure, is_failure, "{code}");
    }
    assert_eq!(Told::read(&forwarding.failure()), Told::refusal(OptRcode::SERVFAIL));
}

#[test]
fn a_networks_own_resolvers_are_asked_where_none_is_named_and_the_hypervisor_can_reach_them() {
    let mut world = World::new();
    world.networks(|network| {
        network.dns = [
            "169.254.169.253",
            "fd00:ec2::253",
            "127.0.0.53",
            "::1",
            "::ffff:169.254.169.253",
            "fe80::1",
            "0.0.0.0",
            "224.0.0.1",
            // In the tenant's own network.
            "192.168.0.2",
            "2001:db8:1::2",
            "9.9.9.9",
            "2620:fe::fe",
        ]
        .map(|it| it.parse().unwrap())
        .into();
    });
    let elsewhere: [SocketAddr; 2] =
        ["9.9.9.9:53".parse().unwrap(), "[2620:fe::fe]:53".parse().unwrap()];
    assert_eq!(upstreams(&world.snapshot.networks[0]), elsewhere);
    world.networks(|network| network.forward.dns = vec!["127.0.0.1:5353".parse().unwrap()]);
    let named: [SocketAddr; 1] = ["127.0.0.1:5353".parse().unwrap()];
    assert_eq!(upstreams(&world.snapshot.networks[0]), named);
}

proptest! {
    #[test]
    fn any_bytes_of_a_resolver_are_judged(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let forwarding = forwarded(&query("example.com", Rtype::A));
        let mut bytes = bytes;
        prop_assert!(forwarding.accept(7, bytes.clone()).is_none());
        // With the right head and question, whatever follows.
        let good = answer(&forwarding.message(7));
        if bytes.len() >= 29 {
            bytes[..29].copy_from_slice(&good[..29]);
            let reply = forwarding.accept(7, bytes).unwrap();
            prop_assert!(reply.bytes.len() <= 512);
        }
    }
}
