//! The C library's own resolver (`getent`, so glibc's as guests have it) as the client.

use std::{
    io::Write,
    process::{Command, Output},
    time::Duration,
};

use mezame_ebpf_loader::{Identity, PortSlot};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

use super::arena::{Arena, RESOLVER, Upstream, answer, until};

/// What `getent` prints for a query, one answer a line.
fn getent(arena: &Arena, arguments: &[&str]) -> Vec<String> {
    let mut configuration = tempfile::NamedTempFile::new().unwrap();
    writeln!(configuration, "nameserver {RESOLVER}\nsearch acme.example").unwrap();
    let none = None::<&str>;
    let output: Output = arena.inside(|| {
        // A mount that only this thread and what it starts see, and that goes with them.
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        let from = Some(configuration.path());
        mount(from, "/etc/resolv.conf", none, MsFlags::MS_BIND, none).unwrap();
        // The namespace has no addresses but loopback's, and without this the library would not ask.
        Command::new("getent").arg("--no-addrconfig").args(arguments).output().unwrap()
    });
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn the_c_library_finds_names_addresses_and_what_is_forwarded() {
    let identity = Identity::parse(RESOLVER).unwrap();
    assert_eq!(identity.0, PortSlot::new(1).unwrap());
    let arena = Arena::new();
    // Whatever is asked for that is not known here: 192.0.2.1 for A, nothing for the rest.
    let resolver = Upstream::new(|query| {
        let is_for_a = query[query.len() - 4..] == [0, 1, 0, 1];
        vec![answer(query, if is_for_a { 0 } else { 3 })]
    });
    arena.serve(1, |network| network.forward.dns = vec![resolver.address]);
    until("the names are indexed", || {
        std::thread::sleep(Duration::from_millis(20));
        getent(&arena, &["ahostsv4", "guest-1"]).iter().any(|it| it.starts_with("192.168.0.10 "))
    });
    let found = getent(&arena, &["ahosts", "guest-1"]);
    for address in ["192.168.0.10", "203.0.113.7", "2001:db8:1::10"] {
        assert!(found.iter().any(|it| it.starts_with(&format!("{address} STREAM"))), "{found:?}");
    }
    assert_eq!(getent(&arena, &["hosts", "192.168.0.10"]), ["192.168.0.10 guest-1.acme.example"]);
    let instance_data = getent(&arena, &["ahostsv4", "instance-data"]);
    assert!(instance_data[0].starts_with("169.254.169.254 "), "{instance_data:?}");
    let elsewhere = getent(&arena, &["ahostsv4", "www.example.com"]);
    assert!(elsewhere[0].starts_with("192.0.2.1 "), "{elsewhere:?}");
    assert!(arena.counted("dns", "forwarded") > 0);
}
