//! Licence activation: the relay to the network's own host.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
};

use mezame_tests::{
    namespace_guest::NamespaceGuest,
    upstream::Echo,
    wait::{self, SOON},
};
use serde_json::json;

use super::{UPSTREAMS, counted, lab, one_guest};

const SERVICES: [&str; 2] = ["169.254.169.250", "fd00:ec2::250"];

fn connect(guest: &NamespaceGuest, service: &str) -> std::io::Result<TcpStream> {
    let address = SocketAddr::new(service.parse().unwrap(), 1688);
    let stream = guest.namespace().run(|| TcpStream::connect_timeout(&address, SOON)).unwrap()?;
    stream.set_read_timeout(Some(SOON))?;
    Ok(stream)
}

/// Whether a connection ends with a reset and without a byte.
fn is_refused(guest: &NamespaceGuest, service: &str) -> bool {
    match connect(guest, service) {
        Ok(mut stream) => is_reset(&mut stream),
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

fn is_reset(stream: &mut TcpStream) -> bool {
    stream.read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
}

#[test]
fn bytes_go_to_the_networks_host_and_back_until_the_tenancy_ends() {
    let mut lab = lab();
    let host = Echo::start(&lab.hypervisor, SocketAddr::new(UPSTREAMS[0].parse().unwrap(), 1688));
    let host = host.unwrap();
    let guest = one_guest(&lab, &json!({"forward": {"kms": [UPSTREAMS[0]]}}));
    let mut open = SERVICES.map(|service| connect(&guest, service).unwrap());
    for stream in &mut open {
        for round in 0..20_u8 {
            let sent = [round; 300];
            stream.write_all(&sent).unwrap();
            let mut received = [0; 300];
            stream.read_exact(&mut received).unwrap();
            assert_eq!(received, sent);
        }
    }
    // One that the guest ends is ended there too.
    let mut third = connect(&guest, SERVICES[0]).unwrap();
    third.write_all(b"last").unwrap();
    third.shutdown(std::net::Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    third.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"last");
    host.wait_for_end(SOON).unwrap();
    lab.operator.delete("instance", "tenant-a", "guest").unwrap();
    for stream in &mut open {
        host.wait_for_end(SOON).unwrap();
        assert!(is_reset(stream), "a connection outlived its tenancy");
    }
    assert!(counted(&mut lab, "kms", "tenancy_over") >= 2.0);
}

#[test]
fn without_a_host_a_connection_is_reset() {
    let mut lab = lab();
    let guest = one_guest(&lab, &json!({}));
    for service in SERVICES {
        assert!(is_refused(&guest, service), "{service}");
    }
    assert!(counted(&mut lab, "kms", "no_upstream") >= 2.0);
}

#[test]
fn connections_beyond_a_ports_rate_are_reset() {
    let mut lab = lab();
    let host = Echo::start(&lab.hypervisor, SocketAddr::new(UPSTREAMS[0].parse().unwrap(), 1688));
    let _host = host.unwrap();
    let guest = one_guest(&lab, &json!({"forward": {"kms": [UPSTREAMS[0]]}}));
    let mut open = Vec::new();
    wait::until("connections beyond the rate", SOON, || {
        open.push(connect(&guest, SERVICES[0]));
        let reset = counted(&mut lab, "kms", "rate_of_port");
        anyhow::ensure!(reset > 0.0, "none was reset");
        Ok(())
    })
    .unwrap();
    // Those before it live.
    let first = open[0].as_mut().unwrap();
    first.write_all(b"x").unwrap();
    assert_eq!(first.read(&mut [0]).unwrap(), 1);
}
