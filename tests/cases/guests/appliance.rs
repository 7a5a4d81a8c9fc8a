//! Appliances: a minimal Linux with the agent that is a script, and two firewalls of one image, which
//! differ in their metadata alone.
//!
//! Both firewalls stand between the same two networks. What passes and what does not is tried with real
//! connections, through each by its own address, and through whichever holds the floating one.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use mezame_model::report::{Outcome, Report};
use mezame_tests::{
    Lab,
    guest_image::GuestImage,
    namespace::Namespace,
    operator::{instance, network, port, project},
    process::tail,
    qemu::{Machine, QemuGuest},
    ssh::{Key, Login, SshTarget},
    tenant::Tenant,
    wait::{self, A_BOOT, SOON},
};
use serde_json::{Value, json};

use crate::seeds::{self, MAC};

/// The service beyond the firewalls, by two ports.
const SERVER: &str = "203.0.113.100";
const PORTS: [u16; 2] = [8080, 8081];
/// The client's addresses: the way back to the second one leads through B.
const CLIENT: &str = "192.168.10.100";
const CLIENT_OF_B: &str = "192.168.10.101";
/// Where the client is asked from beyond A.
const BEHIND: u16 = 8090;
/// How long a connection may take that passes, and one that does not.
const PASSES: Duration = Duration::from_secs(5);
const BLOCKED: Duration = Duration::from_secs(3);

/// What makes one firewall differ from the other.
struct Firewall {
    name: &'static str,
    /// The last number of its addresses, and its taps' last letter.
    number: u8,
    rules: &'static str,
}

const A: Firewall = Firewall {
    name: "fw-a",
    number: 2,
    rules: "#mezame-firewall
floating lan 51 200 192.168.10.1/24
floating wan 52 200 203.0.113.1/24
allow lan wan tcp 8080          # and not 8081
allow lan self tcp 22 from 192.168.10.100
allow lan self icmp
masquerade lan wan
forward wan tcp 8022 192.168.10.100 8090
route 198.51.100.0/24 via 203.0.113.100
",
};

const B: Firewall = Firewall {
    name: "fw-b",
    number: 3,
    rules: "#mezame-firewall
floating lan 51 100 192.168.10.1/24
floating wan 52 100 203.0.113.1/24
allow lan wan tcp 8081-8090 to 203.0.113.100
",
};

impl Firewall {
    fn mac(&self, card: u8) -> String {
        format!("52:54:00:00:0{}:0{card}", self.number)
    }

    fn tap(&self, card: u8) -> String {
        format!("fw{}c{card}", self.number)
    }

    fn documents(&self, key: &Key) -> Vec<Value> {
        let (number, name) = (self.number, self.name);
        let port = |card: u8, network: &str, range: &str| {
            let address = format!("{range}.{number}");
            let (name, mac) = (format!("{name}-{network}"), self.mac(card));
            port("acme", &name, network, &mac, &[&address], &self.tap(card))
        };
        let mut firewall = instance(
            "acme",
            name,
            &format!("{name}-lan"),
            &json!({
                "ssh_keys": [key.public().unwrap()], "user_data": self.rules,
                "tokens": "required",
            }),
        );
        firewall["ports"] = json!([format!("{name}-lan"), format!("{name}-wan")]);
        vec![port(0, "lan", "192.168.10"), port(1, "wan", "203.0.113"), firewall]
    }

    fn boot(&self, site: &Site) -> QemuGuest {
        let [first, second] = [0, 1].map(|card| {
            let tap = site.lab.tap(&self.tap(card)).unwrap();
            [&site.lan, &site.wan][usize::from(card)].plug(&self.tap(card)).unwrap();
            tap
        });
        let mut machine = Machine::new(self.name, &self.mac(0));
        machine.memory = 256;
        let (image, directory) = (GuestImage::firewall().unwrap(), site.lab.directory());
        let further = vec![(self.mac(1), second)];
        QemuGuest::boot_with(&site.lab.hypervisor, &image, &machine, first, further, directory)
            .unwrap()
    }
}

/// The two networks with a client and a server, and nobody yet between them.
struct Site {
    lan: Tenant,
    wan: Tenant,
    lab: Lab,
}

impl Site {
    fn new(key: &Key, lab: Lab) -> Self {
        let mut documents = vec![
            project("acme"),
            network("acme", "lan", 1000, "192.168.10.0/24"),
            network("acme", "wan", 2000, "203.0.113.0/24"),
        ];
        documents.extend([A, B].iter().flat_map(|it| it.documents(key)));
        lab.operator.apply(&documents).unwrap();
        let lan = Tenant::create(&lab.hypervisor, 1000, &format!("{CLIENT}/24")).unwrap();
        let wan = Tenant::create(&lab.hypervisor, 2000, &format!("{SERVER}/24")).unwrap();
        let (client, server) = (lan.machine(), wan.machine());
        client.ip("route add 203.0.113.0/24 via 192.168.10.1").unwrap();
        client.ip(&format!("address add {CLIENT_OF_B}/24 dev eth0")).unwrap();
        server.ip("route add 192.168.10.0/24 via 203.0.113.1").unwrap();
        server.ip(&format!("route add {CLIENT_OF_B}/32 via 203.0.113.3")).unwrap();
        PORTS.into_iter().for_each(|port| serve(server, port));
        serve(client, BEHIND);
        Self { lan, wan, lab }
    }

    /// From now on the client asks the server from this of its addresses, through this firewall's own
    /// address or the floating one.
    fn through(&self, last: u8, from: &str) {
        let route = format!("route replace 203.0.113.0/24 via 192.168.10.{last} src {from}");
        self.lan.machine().ip(&route).unwrap();
    }

    /// What the server says at this port to the client.
    fn ask(&self, port: u16, bound: Duration) -> Result<String> {
        Self::ask_from(&self.lan, SERVER, port, bound)
    }

    fn ask_from(from: &Tenant, address: &str, port: u16, bound: Duration) -> Result<String> {
        let server = SocketAddr::new(address.parse()?, port);
        let connected = from.machine().run(|| TcpStream::connect_timeout(&server, bound))?;
        let mut stream = connected.context("connecting")?;
        stream.set_read_timeout(Some(bound))?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// One port passes and the other does not, and the server is asked by this address.
    fn assert_passes(&self, passes: u16, by: &str) {
        let answer =
            wait::until(&format!("port {passes} to pass"), SOON, || self.ask(passes, PASSES));
        assert_eq!(answer.unwrap(), format!("{passes} {by}\n"));
        for blocked in PORTS.into_iter().filter(|port| *port != passes) {
            let answer = self.ask(blocked, BLOCKED);
            assert!(answer.is_err(), "port {blocked} passed: {answer:?}");
        }
    }

    /// The newest report of a firewall, as soon as it has this outcome.
    fn report(&self, firewall: &Firewall, outcome: Outcome, bound: Duration) -> Report {
        wait::until(&format!("a report of {}", firewall.name), bound, || {
            let reports = self.lab.operator.reports("acme", firewall.name)?;
            let newest = reports.into_iter().next().context("none has come")?.report;
            ensure!(newest.outcome == outcome, "{newest:?}");
            Ok(newest)
        })
        .unwrap_or_else(|error| panic!("{error:#}"))
    }
}

/// Answers each connection with its port and who it comes from, in a thread that ends with the
/// process.
fn serve(place: &Namespace, port: u16) {
    let address: SocketAddr = ([0, 0, 0, 0], port).into();
    let listener = place.run(|| TcpListener::bind(address)).unwrap().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that goes away in the middle is its own business.
            let _ = say(stream, port);
        }
    });
}

fn say(mut stream: TcpStream, port: u16) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    let peer = stream.peer_addr()?.ip();
    stream.write_all(format!("{port} {peer}\n").as_bytes())?;
    stream.shutdown(std::net::Shutdown::Write)?;
    stream.read(&mut [0; 1]).map(drop)
}

#[test]
fn one_image_is_two_firewalls_that_differ_and_one_takes_over_from_the_other() {
    let lab = Lab::start().unwrap();
    let key = Key::generate(lab.directory(), "key").unwrap();
    let site = Site::new(&key, lab);
    let a = A.boot(&site);
    let b = B.boot(&site);
    for (firewall, guest) in [(&A, &a), (&B, &b)] {
        let reported = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            site.report(firewall, Outcome::Done, A_BOOT)
        }));
        let report = reported.unwrap_or_else(|_| panic!("{}", tail(&guest.console(), 80)));
        let step = report.steps.iter().find(|it| it.step == "mezame-firewall").unwrap();
        assert_eq!(step.outcome, Outcome::Done, "{report:?}");
    }
    // Each by its own address. B is asked from the address to which the way back leads through it.
    site.through(2, CLIENT);
    site.assert_passes(8080, "203.0.113.2");
    site.through(3, CLIENT_OF_B);
    site.assert_passes(8081, CLIENT_OF_B);
    // By the floating one: A has the higher priority.
    site.through(1, CLIENT);
    site.assert_passes(8080, "203.0.113.2");
    // A's other port is the client's, and B has none such.
    let behind = |address: &str, bound: Duration| Site::ask_from(&site.wan, address, 8022, bound);
    assert_eq!(behind("203.0.113.2", PASSES).unwrap(), format!("{BEHIND} {SERVER}\n"));
    assert!(behind("203.0.113.3", BLOCKED).is_err());
    // Only A lets its operator in, and only from one address.
    let at = |last: u8| {
        SshTarget::new(site.lan.machine(), &format!("192.168.10.{last}"), site.lab.directory())
    };
    let command = "hostname; ip route show 198.51.100.0/24";
    let in_a = at(2).until_in("root", &key, command, SOON).unwrap();
    assert!(in_a.starts_with("fw-a\n198.51.100.0/24 via 203.0.113.100 dev eth1"), "{in_a}");
    wait::until("A's answer to a ping", SOON, || site.lan.ping("192.168.10.2").map(drop)).unwrap();
    assert!(site.lan.ping("192.168.10.3").is_err(), "B answers a ping");
    assert!(!matches!(at(3).with_key("root", &key, "hostname"), Ok(Login::In(_))));
    // A is lost, and B has its address.
    drop(a);
    site.assert_passes(8081, CLIENT);
    // Rules with a fault change nothing, and the operator learns where it is.
    let with = |rules: &str| {
        let mut documents = B.documents(&key);
        documents.last_mut().unwrap()["user_data"] = rules.into();
        site.lab.operator.apply(&documents).unwrap();
    };
    with(&B.rules.replace("8081-8090", "8080 from 192.168.10.0/33"));
    let report = site.report(&B, Outcome::Failed, SOON + A_BOOT);
    let step = report.steps.iter().find(|it| it.step == "mezame-firewall").unwrap();
    assert_eq!(step.reason, "handler");
    site.assert_passes(8081, CLIENT);
    with(&B.rules.replace("allow lan wan", "allow lan dmz"));
    wait::until("the other fault", SOON + A_BOOT, || {
        let newest = site.report(&B, Outcome::Failed, SOON);
        let step =
            newest.steps.iter().find(|it| it.step == "mezame-firewall").context("no step")?;
        ensure!(step.detail.contains("line 4") && step.detail.contains("dmz"), "{step:?}");
        Ok(())
    })
    .unwrap();
    with(&B.rules.replace("8081-8090", "8080"));
    site.report(&B, Outcome::Done, SOON + A_BOOT);
    site.assert_passes(8080, CLIENT);
    drop(b);
}

#[test]
fn a_minimal_linux_is_configured_by_the_agent_that_is_a_script() {
    let lab = Lab::start().unwrap();
    let key = Key::generate(lab.directory(), "key").unwrap();
    let other = Key::generate(lab.directory(), "other-key").unwrap();
    let more = json!({
        "ssh_keys": [key.public().unwrap()], "tokens": "required",
        "user_data": "#!/bin/sh\nid -un >/var/lib/ran\n",
    });
    lab.operator.apply(&seeds::tenant("minimal", 1000, "tapa", &more)).unwrap();
    let tenant = Tenant::create(&lab.hypervisor, 1000, "192.168.0.1/24").unwrap();
    let tap = lab.tap("tapa").unwrap();
    tenant.plug("tapa").unwrap();
    let image = GuestImage::small_with_shell_agent(lab.directory()).unwrap();
    let machine = Machine::new("minimal", MAC);
    let mut guest =
        QemuGuest::boot(&lab.hypervisor, &image, &machine, tap, lab.directory()).unwrap();
    guest.until_says("user-data: done", A_BOOT).unwrap();
    let mut server = SshTarget::new(tenant.machine(), "192.168.0.10", lab.directory());
    let report = wait::until("the report", SOON, || {
        let newest = lab.operator.reports("minimal", "guest")?.into_iter().next();
        Ok(newest.context("none has come")?.report)
    })
    .unwrap();
    assert_eq!(report.outcome, Outcome::Done, "{report:?}");
    // Its host key is the one that it told the operator.
    let keys: Vec<String> = report.host_keys.into_iter().map(|it| it.public_key).collect();
    server.believe(&keys, "minimal").unwrap();
    let said = server.until_in("root", &key, "hostname; cat /var/lib/ran", SOON).unwrap();
    assert_eq!(said, "minimal\nroot\n");
    assert_eq!(server.with_key("root", &other, "id").unwrap(), Login::Refused);
    drop(guest);
}
