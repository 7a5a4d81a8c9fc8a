//! Names, asked for with `dig`.

use std::net::UdpSocket;

use mezame_tests::{
    Lab,
    dig::{self, Reply},
    namespace_guest::NamespaceGuest,
    upstream,
    wait::{self, SOON},
};
use serde_json::json;

use super::{UPSTREAMS, counted, guest, lab, one_guest, tenant};

/// Where guests' DNS is.
const SERVERS: [&str; 2] = ["169.254.169.253", "fd00:ec2::253"];
const TRANSPORTS: [&str; 2] = ["+notcp", "+tcp"];

fn dig(guest: &NamespaceGuest, server: &str, words: &[&str]) -> Reply {
    dig::dig(guest.namespace().command("dig"), server, words).unwrap()
}

/// Asks over both families and both transports, which must agree, and gives status and answers.
fn asked(guest: &NamespaceGuest, words: &[&str]) -> (String, Vec<String>) {
    let replies = SERVERS.iter().flat_map(|server| {
        TRANSPORTS.iter().map(move |transport| {
            let reply = dig(guest, server, &[words, &[*transport]].concat());
            (reply.status, reply.answers)
        })
    });
    let replies: Vec<_> = replies.collect();
    assert!(replies.iter().all(|reply| *reply == replies[0]), "{words:?}: {replies:?}");
    replies[0].clone()
}

fn found(answers: &[&str]) -> (String, Vec<String>) {
    ("NOERROR".into(), answers.iter().copied().map(Into::into).collect())
}

/// Waits until an instance's name is known: the index is made after the record has come.
pub(super) fn until_known(guest: &NamespaceGuest, name: &str) {
    wait::until("an instance's name", SOON, || {
        let reply = dig::dig(guest.namespace().command("dig"), SERVERS[0], &[name])?;
        anyhow::ensure!(!reply.answers.is_empty(), "{reply:?}");
        Ok(())
    })
    .unwrap();
}

/// A resolver on the hypervisor. One name has more addresses than a datagram holds.
fn resolver(lab: &Lab) -> mezame_tests::process::Background {
    let hosts: String = (0..200).map(|n| format!("192.0.2.{n} many.example.net\n")).collect();
    let domain = "/example.org/192.0.2.1";
    upstream::resolver(&lab.hypervisor, &UPSTREAMS, domain, &hosts, lab.directory()).unwrap()
}

#[test]
fn a_guest_finds_the_services_itself_and_its_neighbours_and_no_other_tenants() {
    let lab = lab();
    for (name, vni, device, db, more) in [
        ("tenant-a", 1000, "tapa", ["192.168.0.20", "2001:db8:1::20"], "only-a"),
        ("tenant-b", 2000, "tapb", ["192.168.0.30", "2001:db8:1::30"], "only-b"),
    ] {
        let mut documents = tenant(name, vni, device, db, &json!({}));
        let second = mezame_tests::operator::port(
            name,
            "more-port",
            "lan",
            "52:54:00:00:00:0c",
            &["192.168.0.40"],
            &format!("{device}more"),
        );
        let more = mezame_tests::operator::instance(name, more, "more-port", &json!({}));
        documents.extend([second, more]);
        lab.operator.apply(&documents).unwrap();
    }
    for (name, device, last, own, others) in
        [("tenant-a", "tapa", 20, "only-a", "only-b"), ("tenant-b", "tapb", 30, "only-b", "only-a")]
    {
        let guest = guest(&lab, device, name);
        until_known(&guest, "db");
        let (v4, v6) = (format!("192.168.0.{last}"), format!("2001:db8:1::{last}"));
        for db in ["db", "db.tenant.example", "DB.Tenant.Example"] {
            assert_eq!(asked(&guest, &[db, "A"]), found(&[&v4]));
            assert_eq!(asked(&guest, &[db, "AAAA"]), found(&[&v6]));
        }
        for address in [&v4, &v6] {
            assert_eq!(asked(&guest, &["-x", address]), found(&["db.tenant.example."]));
        }
        let itself = format!("{name}.tenant.example");
        assert_eq!(asked(&guest, &[&itself, "A"]), found(&["192.168.0.10"]));
        assert_eq!(asked(&guest, &["ip-192-168-0-10", "A"]), found(&["192.168.0.10"]));
        for service in ["metadata.google.internal", "metadata", "instance-data"] {
            assert_eq!(asked(&guest, &[service, "A"]), found(&["169.254.169.254"]));
            assert_eq!(asked(&guest, &[service, "AAAA"]), found(&["fd00:ec2::254"]));
        }
        assert_eq!(asked(&guest, &[&format!("{own}.tenant.example")]), found(&["192.168.0.40"]));
        // A name of the other tenant is as one that does not exist, and so is its neighbour.
        let missing = |name: &str| asked(&guest, &[&format!("{name}.tenant.example")]);
        assert_eq!(missing(others), missing("nobody"));
        assert_eq!(missing(others), ("NXDOMAIN".into(), Vec::new()));
        let foreign = if last == 20 { "192.168.0.30" } else { "192.168.0.20" };
        assert_eq!(asked(&guest, &["-x", foreign]), ("NXDOMAIN".into(), Vec::new()));
    }
}

#[test]
fn what_is_not_known_here_is_asked_of_the_hypervisors_resolver() {
    let mut lab = lab();
    let mut resolver = resolver(&lab);
    let guest = one_guest(&lab, &json!({"forward": {"dns": UPSTREAMS}}));
    assert_eq!(asked(&guest, &["www.example.org", "A"]), found(&["192.0.2.1"]));
    assert!(resolver.log().contains("www.example.org"));
    assert!(counted(&mut lab, "dns", "forwarded") >= 2.0);
    assert!(counted(&mut lab, "dns_tcp", "forwarded") >= 2.0);
    // What is known here does not get there.
    until_known(&guest, "db");
    asked(&guest, &["db.tenant.example", "A"]);
    asked(&guest, &["metadata.google.internal", "A"]);
    let log = resolver.log();
    assert!(!log.contains("query[A] db.tenant.example"), "{log}");
    assert!(!log.contains("google.internal"), "{log}");
    for server in SERVERS {
        // Cut short in a datagram, and whole by TCP, where dig goes by itself.
        let cut = dig(&guest, server, &["many.example.net", "+ignore"]);
        assert!(cut.flags.iter().any(|flag| flag == "tc"), "{cut:?}");
        assert!(cut.answers.len() < 200 && cut.transport == "UDP", "{cut:?}");
        let whole = dig(&guest, server, &["many.example.net"]);
        assert_eq!((whole.answers.len(), whole.transport.as_str()), (200, "TCP"));
    }
    resolver.kill().unwrap();
    assert_eq!(asked(&guest, &["www.example.org"]), ("SERVFAIL".into(), Vec::new()));
    assert!(counted(&mut lab, "dns", "failed") >= 2.0);
    // The names of the network outlive it.
    assert_eq!(asked(&guest, &["db.tenant.example", "A"]), found(&["192.168.0.20"]));
}

#[test]
fn the_resolvers_that_guests_are_told_are_forwarded_to_where_no_others_are_named() {
    let lab = lab();
    let _resolver = resolver(&lab);
    let guest = one_guest(&lab, &json!({"dns": ["192.168.0.2", UPSTREAMS[1]]}));
    assert_eq!(asked(&guest, &["www.example.org", "A"]), found(&["192.0.2.1"]));
}

#[test]
fn without_a_resolver_the_network_has_no_other_names_and_the_rest_is_refused() {
    let lab = lab();
    let guest = one_guest(&lab, &json!({}));
    let none = |status: &str| (status.to_owned(), Vec::new());
    assert_eq!(asked(&guest, &["nobody.tenant.example"]), none("NXDOMAIN"));
    assert_eq!(asked(&guest, &["-x", "192.168.0.99"]), none("NXDOMAIN"));
    assert_eq!(asked(&guest, &["www.example.org"]), none("REFUSED"));
    assert_eq!(asked(&guest, &["-x", "192.0.2.9"]), none("REFUSED"));
    assert_eq!(asked(&guest, &["version.bind", "CH", "TXT"]), none("REFUSED"));
    assert_eq!(asked(&guest, &["+opcode=NOTIFY", "tenant.example"]), none("NOTIMP"));
    assert_eq!(asked(&guest, &["+edns=1", "+noednsnegotiation", "db"]), none("BADVERS"));
}

#[test]
fn a_guest_that_asks_without_end_has_its_share_and_its_neighbour_has_its_own() {
    let mut lab = lab();
    let guest_a = one_guest(&lab, &json!({}));
    let db = ["192.168.0.30", "2001:db8:1::30"];
    lab.operator.apply(&tenant("tenant-b", 2000, "tapb", db, &json!({}))).unwrap();
    let guest_b = guest(&lab, "tapb", "tenant-b");
    until_known(&guest_b, "db");
    let socket = guest_a.namespace().run(|| UdpSocket::bind("0.0.0.0:0")).unwrap().unwrap();
    socket.connect((SERVERS[0], 53)).unwrap();
    let query = super::upgrade::query(7, "db.tenant.example");
    wait::until("queries beyond the rate", SOON, || {
        for _ in 0..3000 {
            // What doesn't fit into the card's queue is lost, as on any wire.
            let _ = socket.send(&query);
        }
        let dropped = counted(&mut lab, "dns", "rate_of_port");
        anyhow::ensure!(dropped > 0.0, "none was dropped");
        Ok(())
    })
    .unwrap();
    assert_eq!(asked(&guest_b, &["db.tenant.example", "A"]), found(&["192.168.0.30"]));
}
