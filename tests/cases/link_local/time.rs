//! Time, asked for with `ntpdig`, and by what no client should send.

use std::{net::UdpSocket, time::Duration};

use mezame_tests::{
    namespace_guest::NamespaceGuest,
    process,
    upstream::TimeServer,
    wait::{self, SOON},
};
use serde_json::{Value, json};

use super::{UPSTREAMS, counted, lab, one_guest};

/// Where guests' time is.
const SERVICES: [&str; 2] = ["169.254.169.123", "fd00:ec2::123"];

/// ntpdig, asked once; an error where it got no time.
fn ntpdig(guest: &NamespaceGuest, server: &str, seconds: &str) -> anyhow::Result<Value> {
    let mut command = guest.namespace().command("ntpdig");
    let text = process::output(command.args(["--json", "--timeout", seconds, server]))?;
    Ok(serde_json::from_str(&text)?)
}

fn socket(guest: &NamespaceGuest, service: &str) -> UdpSocket {
    let any = if service.contains(':') { "[::]:0" } else { "0.0.0.0:0" };
    let socket = guest.namespace().run(|| UdpSocket::bind(any)).unwrap().unwrap();
    socket.connect((service, 123)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    socket
}

/// 48 bytes of version 4 and this mode.
fn message(mode: u8) -> Vec<u8> {
    let mut bytes = vec![0; 48];
    bytes[0] = 0o40 | mode;
    bytes[40..].fill(9);
    bytes
}

#[test]
fn a_client_gets_the_time_of_the_hypervisors_server_over_both_families() {
    let lab = lab();
    let server = TimeServer::start(&lab.hypervisor, &format!("[{}]:123", UPSTREAMS[1])).unwrap();
    let guest = one_guest(&lab, &json!({"forward": {"ntp": [UPSTREAMS[1]]}}));
    for service in SERVICES {
        let told = ntpdig(&guest, service, "5").unwrap();
        assert_eq!(told["stratum"], 1, "{told}");
        // Server and guest have the one clock of this machine.
        let offset = told["offset"].as_f64().unwrap();
        assert!(offset.abs() < 1.0, "{told}");
    }
    let asked = server.asked();
    assert_eq!(asked.len(), 2);
    assert!(asked.iter().all(|question| question.len() == 48 && question[0] & 7 == 3), "{asked:?}");
}

#[test]
fn control_and_private_messages_never_get_to_the_server() {
    let mut lab = lab();
    let server = TimeServer::start(&lab.hypervisor, &format!("{}:123", UPSTREAMS[0])).unwrap();
    let guest = one_guest(&lab, &json!({"forward": {"ntp": [UPSTREAMS[0]]}}));
    for service in SERVICES {
        let socket = socket(&guest, service);
        for mode in [6, 7] {
            socket.send(&message(mode)).unwrap();
            // READVAR and MON_GETLIST_1, as scanners send them, are shorter than a question.
            let probe: &[u8] = if mode == 6 {
                &[0x16, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]
            } else {
                &[0x17, 0, 3, 42, 0, 0, 0, 0]
            };
            socket.send(probe).unwrap();
        }
        assert!(socket.recv(&mut [0; 64]).is_err(), "an answer to a control message");
    }
    wait::until("all to be dropped", SOON, || {
        let dropped = counted(&mut lab, "ntp", "malformed");
        anyhow::ensure!((dropped - 8.0).abs() < 0.5, "{dropped} were");
        Ok(())
    })
    .unwrap();
    // The way there is open.
    ntpdig(&guest, SERVICES[0], "5").unwrap();
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn questions_beyond_a_ports_rate_do_not_get_to_the_server() {
    let mut lab = lab();
    let server = TimeServer::start(&lab.hypervisor, &format!("{}:123", UPSTREAMS[0])).unwrap();
    let guest = one_guest(&lab, &json!({"forward": {"ntp": [UPSTREAMS[0]]}}));
    let socket = socket(&guest, SERVICES[0]);
    let mut sent = 0.0;
    wait::until("questions beyond the rate", SOON, || {
        for _ in 0..50 {
            socket.send(&message(3)).unwrap();
            sent += 1.0;
        }
        let dropped = counted(&mut lab, "ntp", "rate_of_port");
        anyhow::ensure!(dropped > 0.0, "none was dropped");
        Ok(())
    })
    .unwrap();
    assert!((server.asked().len() as f64) < sent);
}

#[test]
fn without_a_server_there_is_silence() {
    let mut lab = lab();
    let guest = one_guest(&lab, &json!({}));
    for service in SERVICES {
        assert!(ntpdig(&guest, service, "1").is_err());
    }
    assert!(counted(&mut lab, "ntp", "no_upstream") >= 2.0);
}
