//! Handlers of an image's own kinds of user-data: when they are asked, and with what. The firewall's
//! own is run here by busybox's shell and `ip`, as in its image, with stand-ins for nft and keepalived.

use std::{fs, os::unix::fs::symlink, path::Path};

use mezame_tests::{client_machine::ClientMachine, process};
use serde_json::json;

use super::{Appliance, BOUND, Tool, run, succeed};

/// A handler that keeps what it was given, and fails where it is told to.
const KEEPS: &str = "#!/bin/sh\ncat \"$1\" >/root/given\necho asked >>/root/asked\n\
                     [ ! -e /root/fail ] || exit 3\n";

fn handler(machine: &ClientMachine, kind: &str) {
    fs::create_dir_all(machine.path("/etc/mezame/handlers")).unwrap();
    machine.write(&format!("/etc/mezame/handlers/{kind}"), KEEPS).unwrap();
}

#[test]
fn a_handler_whose_document_is_gone_gets_an_empty_one_until_it_has_taken_it() {
    let mut appliance = Appliance::new(&json!({"user_data": "#kind one\n"}));
    let machine = appliance.machine(&[Tool::Curl]);
    handler(&machine, "kind");
    succeed(&machine, &["dash"]);
    let given = || machine.read("/root/given").unwrap();
    let asked = || machine.read("/root/asked").unwrap().lines().count();
    assert_eq!((given().as_str(), asked()), ("#kind one\n", 1));
    appliance.change(&json!({"user_data": null}));
    fs::write(machine.path("/root/fail"), "").unwrap();
    let ended = run(&machine, &["dash"]);
    assert!(ended.stderr.contains("kind: failed, handler"), "{}", ended.stderr);
    assert_eq!(given(), "");
    fs::remove_file(machine.path("/root/fail")).unwrap();
    assert!(succeed(&machine, &["dash"]).contains("kind: done"));
    assert_eq!((given().as_str(), asked()), ("", 3));
    // Nothing is wanted of it any more, and it is not asked.
    succeed(&machine, &["dash"]);
    assert_eq!(asked(), 3);
}

#[test]
fn a_document_of_another_kind_takes_the_place_of_the_former_ones_and_the_vendors_stays() {
    let mut appliance =
        Appliance::new(&json!({"user_data": "#kind one\n", "vendor_data": "#theirs\n"}));
    let machine = appliance.machine(&[Tool::Curl]);
    handler(&machine, "kind");
    handler(&machine, "theirs");
    succeed(&machine, &["dash"]);
    appliance.change(&json!({"user_data": "#!/bin/sh\n"}));
    let said = succeed(&machine, &["dash"]);
    assert!(said.contains("kind: done") && said.contains("user-data: done"), "{said}");
    assert_eq!(machine.read("/root/given").unwrap(), "", "the former one is asked last");
    assert!(!succeed(&machine, &["dash"]).contains("kind: done"));
    assert_eq!(machine.read("/root/given").unwrap(), "#theirs\n");
}

/// The firewall's, with the network as appliance-network would have left it.
fn firewall(appliance: &Appliance) -> ClientMachine {
    let machine = appliance.machine(&[]);
    for name in ["ip", "sh"] {
        let _ = fs::remove_file(machine.path(&format!("/usr/bin/{name}")));
        symlink("/usr/bin/busybox", machine.path(&format!("/usr/bin/{name}"))).unwrap();
    }
    let own = "../images/recipes/firewall/etc/mezame/handlers/mezame-firewall";
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join(own);
    machine.write("/usr/bin/mezame-firewall", &fs::read_to_string(own).unwrap()).unwrap();
    machine
        .write("/usr/sbin/nft", "#!/bin/sh\n[ \"$1\" = -c ] || cp \"$2\" /root/rules\n")
        .unwrap();
    machine
        .write("/usr/sbin/keepalived", "#!/bin/sh\n[ \"$1\" = -t ] || echo up >>/root/keepalived\n")
        .unwrap();
    for directory in ["/run/appliance", "/run/firewall"] {
        fs::create_dir_all(machine.path(directory)).unwrap();
    }
    machine.write("/run/appliance/zones", "lan eth0\n").unwrap();
    machine
}

/// Gives it these lines. Its status, and what it says.
fn told(machine: &ClientMachine, lines: &str) -> (Option<i32>, String) {
    fs::write(machine.path("/root/document"), lines).unwrap();
    let ended = machine.run(BOUND, &["mezame-firewall", "/root/document"]).unwrap();
    (ended.status.code(), format!("{}{}", ended.stdout, ended.stderr))
}

#[test]
fn the_firewalls_routes_follow_its_document_and_a_refused_one_keeps_nothing_else_back() {
    let appliance = Appliance::new(&json!({}));
    let machine = firewall(&appliance);
    let routes = || {
        let mut ip = appliance.guest.namespace().command("ip");
        let shown = process::run(ip.args(["-4", "route"])).unwrap().stdout;
        let of_ours = |line: &&str| line.starts_with("198.51.") || line.starts_with("203.0.");
        let first = |line: &str| line.split(" dev").next().unwrap_or_default().to_owned();
        shown.lines().filter(of_ours).map(first).collect::<Vec<_>>()
    };
    let one = "route 198.51.100.0/24 via 192.168.0.3\n";
    assert_eq!(told(&machine, one), (Some(0), String::new()));
    assert_eq!(routes(), ["198.51.100.0/24 via 192.168.0.3"]);
    assert_eq!(told(&machine, one), (Some(10), String::new()));
    // What vanished with its device comes back.
    appliance.guest.namespace().ip("route delete 198.51.100.0/24").unwrap();
    told(&machine, one);
    assert_eq!(routes(), ["198.51.100.0/24 via 192.168.0.3"]);
    // Nobody is at the router's address: the line is told, the other route and the floating address are set.
    let with_fault = "floating lan 51 200 192.168.0.1/24\n\
                      route 203.0.113.0/24 via 10.9.9.9\nroute 198.51.100.0/24 via 192.168.0.4\n";
    let (status, said) = told(&machine, with_fault);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("line 2: the kernel refused the route 203.0.113.0/24"), "{said}");
    assert_eq!(routes(), ["198.51.100.0/24 via 192.168.0.4"]);
    assert_eq!(machine.read("/root/keepalived").unwrap(), "up\n");
    // Set by a run with a fault, it is known as its own and goes with its line.
    let (status, said) = told(&machine, "route 203.0.113.0/24 via 192.168.0.3\n");
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(routes(), ["203.0.113.0/24 via 192.168.0.3"]);
    let twice = "route 203.0.113.0/24 via 192.168.0.3\nroute 203.0.113.0/24 via 192.168.0.4\n";
    let (status, said) = told(&machine, twice);
    assert!(status == Some(1) && said.contains("line 2: there is a route for"), "{said}");
    assert_eq!(routes(), ["203.0.113.0/24 via 192.168.0.3"]);
    // Without a document nothing is allowed, and nothing is routed.
    assert_eq!(told(&machine, "allow lan self tcp 22\n").0, Some(0));
    assert!(machine.read("/root/rules").unwrap().contains("dport { 22 } accept"));
    assert_eq!(told(&machine, ""), (Some(0), String::new()));
    assert!(!machine.read("/root/rules").unwrap().contains("dport"));
    assert!(routes().is_empty());
}
