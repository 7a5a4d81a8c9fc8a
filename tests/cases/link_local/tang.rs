//! tang: a real server on the hypervisor's side, which guests find at its link-local address.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use mezame_tests::{
    namespace_guest::NamespaceGuest,
    upstream,
    wait::{self, SOON},
};
use serde_json::json;

use super::{UPSTREAMS, counted, lab, one_guest};

const SERVICES: [&str; 2] = ["169.254.169.252", "fd00:ec2::252"];

/// Asks as clevis does, and reads to the end.
fn ask(guest: &NamespaceGuest, service: &str) -> std::io::Result<String> {
    let address = SocketAddr::new(service.parse().unwrap(), 80);
    let connected = guest.namespace().run(|| TcpStream::connect_timeout(&address, SOON)).unwrap();
    let mut stream = connected?;
    stream.set_read_timeout(Some(SOON))?;
    write!(stream, "GET /adv HTTP/1.1\r\nHost: {service}\r\nConnection: close\r\n\r\n")?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn the_networks_tang_server_is_found_at_its_address_by_both_families() {
    let mut lab = lab();
    let server = SocketAddr::new(UPSTREAMS[0].parse().unwrap(), 7500);
    upstream::tang(&lab.hypervisor, server, &lab.directory().join("tang")).unwrap();
    let guest = one_guest(&lab, &json!({"forward": {"tang": [server.to_string()]}}));
    for service in SERVICES {
        let answer = ask(&guest, service).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains("\"payload\"") && answer.contains("\"signature"), "{answer}");
    }
    // A connection is counted when both of its ends are closed.
    wait::until("both connections to be counted", SOON, || {
        let forwarded = counted(&mut lab, "tang", "forwarded");
        anyhow::ensure!(forwarded >= 2.0, "{forwarded}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn without_a_tang_server_nobody_answers_there() {
    let mut lab = lab();
    let guest = one_guest(&lab, &json!({}));
    for service in SERVICES {
        assert!(ask(&guest, service).is_err());
    }
    assert!(counted(&mut lab, "tang", "no_upstream") >= 2.0);
}
