//! No guest reads another's metadata: every trick gets the trickster's own data, or nothing.

use std::{net::Ipv4Addr, time::Duration};

use mezame_tests::{
    Lab,
    frame::{self, Ip},
    http::{Response, TOKEN, TOKEN_TTL},
    namespace_guest::{Dial, NamespaceGuest},
    wait::{self, SOON},
};
use serde_json::json;

use crate::seeds::{self, MAC};

/// Stands in everything that the victim has.
const SECRET: &str = "belongs-to-the-victim";

/// A victim and an attacker, who is 192.168.0.10 like the victim.
struct Neighbours {
    lab: Lab,
    victim: NamespaceGuest,
    attacker: NamespaceGuest,
    victim_instance: String,
}

impl Neighbours {
    fn start() -> Self {
        let lab = Lab::start().unwrap();
        let more = json!({
            "user_data": SECRET, "vendor_data": SECRET, "tags": {"owner": SECRET},
            "secrets": {"token": SECRET}, "tokens": "optional",
        });
        let mut victim = seeds::tenant("victim", 1000, "tapv", &more);
        victim.last_mut().unwrap()["hostname"] = format!("{SECRET}-host").into();
        lab.operator.apply(&victim).unwrap();
        let mut attacker = seeds::tenant("attacker", 2000, "tapx", &json!({"tokens": "optional"}));
        seeds::port_of(&mut attacker)["allowed"] = json!(["192.168.0.99/32"]);
        lab.operator.apply(&attacker).unwrap();
        let victim = lab.guest("tapv", MAC, &["192.168.0.10/24"]).unwrap();
        let attacker = lab.guest("tapx", MAC, &["192.168.0.10/24", "192.168.0.99/24"]).unwrap();
        seeds::until_served(&victim, &format!("{SECRET}-host"));
        seeds::until_served(&attacker, "attacker");
        let victim_instance = victim.get("/latest/meta-data/instance-id").unwrap().text();
        assert!(victim_instance.starts_with("i-"));
        Self { lab, victim, attacker, victim_instance }
    }

    fn assert_harmless(&self, trick: &str, answer: &Response) {
        let text = answer.text();
        for word in [SECRET, self.victim_instance.as_str()] {
            assert!(!text.contains(word), "{trick} got {text}");
            for (name, value) in &answer.headers {
                assert!(!value.contains(word), "{trick} got {name}: {value}");
            }
        }
    }

    /// Where the victim's data would be, were it the victim who asked.
    fn places() -> [&'static str; 6] {
        [
            "/latest/user-data",
            "/latest/meta-data/instance-id",
            "/latest/dynamic/instance-identity/document",
            "/nocloud/user-data",
            "/nocloud/meta-data",
            "/mezame/v1/document",
        ]
    }
}

#[test]
fn the_victim_itself_reads_all_of_it() {
    // Without this the other cases here would show nothing.
    let neighbours = Neighbours::start();
    let own = |path: &str| neighbours.victim.get(path).unwrap().text();
    assert_eq!(own("/latest/user-data"), SECRET);
    assert!(
        own("/latest/dynamic/instance-identity/document").contains(&neighbours.victim_instance)
    );
    assert!(own("/nocloud/meta-data").contains(SECRET));
    assert_eq!(own("/nocloud/user-data"), SECRET);
    assert!(own("/mezame/v1/document").contains(&neighbours.victim_instance));
}

#[test]
fn headers_that_name_another_guest_change_nothing() {
    let neighbours = Neighbours::start();
    let instance = neighbours.victim_instance.as_str();
    for name in [
        "X-Forwarded-For",
        "X-Real-IP",
        "Forwarded",
        "X-Forwarded-Host",
        "X-Client-IP",
        "Via",
        "X-Instance-ID",
        "X-Instance-ID-Signature",
        "X-Tenant-ID",
        "X-Project",
        "X-OVN-Network-ID",
        "X-Neutron-Network-ID",
        "X-Neutron-Router-ID",
        "X-Mezame-Port",
        "X-Original-URL",
        "X-Rewrite-URL",
        "X-HTTP-Method-Override",
        "Cookie",
        "Authorization",
        "Referer",
        "Origin",
    ] {
        for value in [instance, "192.168.0.10", "for=192.168.0.10", "victim", "32.0.0.16"] {
            for path in Neighbours::places() {
                let mut connection = neighbours.attacker.connect().unwrap();
                let answer = connection.get(path, &[(name, value)]).unwrap();
                neighbours.assert_harmless(&format!("{name}: {value} at {path}"), &answer);
            }
        }
    }
}

#[test]
fn hosts_and_request_targets_of_other_shapes_change_nothing() {
    let neighbours = Neighbours::start();
    let instance = &neighbours.victim_instance;
    let mut requests = vec![
        format!("GET /latest/user-data HTTP/1.1\r\nHost: {instance}\r\n\r\n"),
        "GET /latest/user-data HTTP/1.1\r\nHost: 192.168.0.10\r\n\r\n".to_owned(),
        "GET http://192.168.0.10/latest/user-data HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "GET /latest/user-data HTTP/1.0\r\n\r\n".to_owned(),
        "CONNECT 192.168.0.10:80 HTTP/1.1\r\nHost: 192.168.0.10:80\r\n\r\n".to_owned(),
        "TRACE /latest/user-data HTTP/1.1\r\nHost: x\r\nX-Injected: y\r\n\r\n".to_owned(),
        "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        format!("GET /latest/user-data HTTP/1.1\r\nHost: x\r\nX-A: b\r\n X-Instance-ID: {instance}\r\n\r\n"),
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /latest/user-data HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
    ];
    for path in [
        "/latest/../victim/user-data",
        "/..%2f..%2fvictim",
        "/%2e%2e/victim/user-data",
        "/latest/meta-data/../../../etc/passwd",
        "//latest//user-data",
        "/latest/user-data%00",
        "/latest/%c0%ae%c0%ae/user-data",
        "/latest/user-data;instance=x",
        "/v1/projects/victim",
        "/v1/projects/victim/instances/guest",
        "/victim/latest/user-data",
        "/metrics",
        "/ports",
        "/events",
        "/latest/meta-data/./../meta-data/instance-id",
        "/latest\\user-data",
    ] {
        requests.push(format!("GET {path} HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n"));
    }
    for path in Neighbours::places() {
        for query in ["instance", "instance_id", "id", "port", "project", "tenant", "ip", "mac"] {
            requests.push(format!(
                "GET {path}?{query}={instance} HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n"
            ));
        }
    }
    for request in &requests {
        let mut connection = neighbours.attacker.connect().unwrap();
        connection.write_raw(request.as_bytes()).unwrap();
        // A refused request is answered or cut off. Silence would show nothing.
        let end = connection.until_ended().unwrap();
        let text = String::from_utf8_lossy(&end.bytes).into_owned();
        assert!(end.is_reset || text.starts_with("HTTP/1."), "{request:?} got {text:?}");
        for word in [SECRET, instance.as_str()] {
            // The request's own words may not come back either: that is what TRACE was for.
            assert!(!text.contains(word), "{request:?} got {text}");
        }
    }
}

#[test]
fn a_token_of_another_instance_is_refused() {
    let neighbours = Neighbours::start();
    let token = neighbours.victim.token().unwrap();
    let own = neighbours.victim.connect().unwrap().get("/latest/user-data", &[(TOKEN, &token)]);
    assert_eq!(own.unwrap().text(), SECRET, "the token is good where it belongs");
    for path in ["/latest/user-data", "/latest/meta-data/instance-id"] {
        let mut connection = neighbours.attacker.connect().unwrap();
        let answer = connection.get(path, &[(TOKEN, &token)]).unwrap();
        assert_eq!(answer.status, 401, "{answer:?}");
        neighbours.assert_harmless("another instance's token", &answer);
    }
}

#[test]
fn spoofed_addresses_of_the_victim_and_of_identities_get_no_answer() {
    let mut neighbours = Neighbours::start();
    // The attacker's kernel would not send these: the test writes them at a tap of its own.
    let documents = seeds::tenant("spoofer", 3000, "taps", &json!({}));
    neighbours.lab.operator.apply(&documents).unwrap();
    let tap = neighbours.lab.tap("taps").unwrap();
    let own = Ipv4Addr::new(192, 168, 0, 10);
    let mac = frame::mac(MAC);
    let service = wait::until("the service's MAC", SOON, || {
        tap.send(&frame::arp(1, mac, own, frame::SERVICE))?;
        let reply = tap.receive_first(Duration::from_millis(200), |frame| {
            let is_reply = frame[12..14] == [8, 6] && frame[20..22] == [0, 2];
            is_reply.then(|| frame[6..12].try_into().unwrap())
        })?;
        reply.ok_or_else(|| anyhow::anyhow!("no ARP reply"))
    })
    .unwrap();
    let answers = |source: Ipv4Addr| {
        tap.send(&frame::syn(mac, service, &Ip::to_service(source), 50_000)).unwrap();
        tap.receive_first(Duration::from_millis(300), |frame| {
            frame::is_answer_to(frame, 50_000).then_some(())
        })
        .unwrap()
        .is_some()
    };
    wait::until("an answer to an honest SYN", SOON, || {
        anyhow::ensure!(answers(own), "none came");
        Ok(())
    })
    .unwrap();
    let mut spoofed = vec![
        Ipv4Addr::new(192, 168, 0, 99),
        Ipv4Addr::new(10, 0, 0, 1),
        Ipv4Addr::LOCALHOST,
        Ipv4Addr::UNSPECIFIED,
        Ipv4Addr::BROADCAST,
        frame::SERVICE,
        Ipv4Addr::new(224, 0, 0, 1),
    ];
    spoofed.extend((0..64).map(|last| Ipv4Addr::new(32, 0, 0, last)));
    for source in spoofed {
        tap.send(&frame::syn(mac, service, &Ip::to_service(source), 40_000)).unwrap();
    }
    let answer = tap
        .receive_first(Duration::from_secs(1), |frame| {
            frame::is_answer_to(frame, 40_000).then(|| frame.to_vec())
        })
        .unwrap();
    assert!(answer.is_none(), "{answer:02x?}");
    let metrics = neighbours.lab.server().metrics().unwrap();
    let dropped = metrics.sum("mezame_frames_total", &["verdict=\"spoofed_source\""]);
    assert!(dropped >= 60.0, "{dropped} were counted as spoofed");
}

#[test]
fn a_recycled_port_reads_nothing_of_the_one_before() {
    let neighbours = Neighbours::start();
    let token = neighbours.victim.token().unwrap();
    let mut open = neighbours.victim.connect().unwrap();
    assert_eq!(open.get("/latest/user-data", &[]).unwrap().text(), SECRET);
    // The same device, MAC and address now belong to a new tenant.
    neighbours.lab.operator.delete("instance", "victim", "guest").unwrap();
    neighbours.lab.operator.delete("port", "victim", "port").unwrap();
    let heir = seeds::tenant("heir", 4000, "tapv", &json!({"tokens": "optional"}));
    neighbours.lab.operator.apply(&heir).unwrap();
    seeds::until_served(&neighbours.victim, "heir");
    // The connection that the victim had open is dead, and its token is worth nothing.
    match open.get("/latest/user-data", &[]) {
        Err(_) => {}
        Ok(answer) => neighbours.assert_harmless("the old tenant's connection", &answer),
    }
    let mut connection = neighbours.victim.connect().unwrap();
    let answer = connection.get("/latest/user-data", &[(TOKEN, &token)]).unwrap();
    assert_eq!(answer.status, 401, "{answer:?}");
    for path in Neighbours::places() {
        let answer = neighbours.victim.get(path).unwrap();
        neighbours.assert_harmless(path, &answer);
    }
}

#[test]
fn another_allowed_address_is_still_the_same_guest() {
    let neighbours = Neighbours::start();
    let dial = Dial::from("192.168.0.99");
    let mut connection = neighbours.attacker.connect_with(&dial).unwrap();
    let answer = connection.send("PUT", "/latest/api/token", &[(TOKEN_TTL, "60")], b"").unwrap();
    assert_eq!(answer.status, 200);
    let token = answer.text();
    let answer = neighbours
        .attacker
        .connect()
        .unwrap()
        .get("/latest/meta-data/hostname", &[(TOKEN, &token)])
        .unwrap();
    assert_eq!(answer.text(), "attacker");
}
