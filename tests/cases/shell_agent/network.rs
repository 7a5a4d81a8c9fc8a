//! The network of an appliance, `images/recipes/appliance/appliance-network`: by busybox's shell and `ip`,
//! as in the images that have it, against the running service.

use std::{fs, os::unix::fs::symlink, path::Path};

use mezame_tests::{
    client_machine::ClientMachine,
    process,
    wait::{self, SOON},
};
use serde_json::{Value, json};

use super::{AGENT, Appliance, BOUND, Tool};

fn machine(appliance: &Appliance) -> ClientMachine {
    let machine = appliance.machine(&[Tool::Curl]);
    for name in ["ip", "sh"] {
        let _ = fs::remove_file(machine.path(&format!("/usr/bin/{name}")));
        symlink("/usr/bin/busybox", machine.path(&format!("/usr/bin/{name}"))).unwrap();
    }
    let own = "../images/recipes/appliance/appliance-network";
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join(own);
    machine.write("/usr/bin/appliance-network", &fs::read_to_string(own).unwrap()).unwrap();
    agent(&machine, "");
    machine
}

/// Puts the agent where the script looks for it; one read, of this leaf, brings no answer.
fn agent(machine: &ClientMachine, fails: &str) {
    let fault = format!("case $2 in */{fails}) exit 3 ;; esac\n");
    let fault = if fails.is_empty() { "" } else { &fault };
    machine
        .write("/usr/bin/guest-agent.sh", &format!("#!/bin/sh\n{fault}exec {AGENT} \"$@\"\n"))
        .unwrap();
}

fn configure(machine: &ClientMachine) -> (Option<i32>, String) {
    let ended = machine.run(BOUND, &["appliance-network", "configure"]).unwrap();
    (ended.status.code(), format!("{}{}", ended.stdout, ended.stderr))
}

/// What the guest's card and its routes come to be.
fn shown(appliance: &Appliance) -> String {
    let show = |words: &[&str]| {
        process::run(appliance.guest.namespace().command("ip").args(words)).unwrap().stdout
    };
    format!("{}{}", show(&["-4", "-o", "address"]), show(&["-4", "route"]))
}

/// Changes one of the documents that are not the instance.
fn change(appliance: &mut Appliance, kind: &str, change: impl Fn(&mut Value)) {
    let before = appliance.tag().unwrap();
    appliance.documents.iter_mut().filter(|it| it["kind"] == kind).for_each(change);
    appliance.lab.operator.apply(&appliance.documents).unwrap();
    wait::until("the change", SOON, || {
        anyhow::ensure!(appliance.tag()? != before, "it is as it was");
        Ok(())
    })
    .unwrap();
}

#[test]
fn an_answer_that_does_not_come_leaves_the_network_as_it_is() {
    let appliance = Appliance::new(&json!({}));
    let machine = machine(&appliance);
    assert_eq!(configure(&machine), (Some(0), String::new()));
    let before = (shown(&appliance), machine.read("/run/appliance/addresses").unwrap());
    assert!(before.0.contains("inet 192.168.0.10/24") && before.1.contains("192.168.0.10/24 "));
    for leaf in ["addresses", "routes", "gateways", "network", "mtu"] {
        agent(&machine, leaf);
        assert_eq!(configure(&machine).0, Some(1), "{leaf}");
        let now = (shown(&appliance), machine.read("/run/appliance/addresses").unwrap());
        assert_eq!(now, before, "{leaf}");
    }
    agent(&machine, "");
    assert_eq!(configure(&machine), (Some(0), String::new()));
    assert_eq!(shown(&appliance), before.0);
}

#[test]
fn addresses_and_routes_come_and_go_with_the_record_and_others_stay() {
    let mut appliance = Appliance::new(&json!({}));
    let machine = machine(&appliance);
    let routes = |routes: Value| {
        move |document: &mut Value| document["subnets"][0]["routes"] = routes.clone()
    };
    change(
        &mut appliance,
        "Network",
        routes(json!([
            {"destination": "10.20.0.0/16", "via": "192.168.0.3"},
            {"destination": "10.30.0.0/16", "via": "192.168.0.3"},
        ])),
    );
    assert_eq!(configure(&machine), (Some(0), String::new()));
    let one = shown(&appliance);
    assert!(one.contains("10.20.0.0/16 via 192.168.0.3"), "{one}");
    assert!(one.contains("10.30.0.0/16 via 192.168.0.3"), "{one}");
    let guest = appliance.guest.namespace();
    guest.ip("route add 10.40.0.0/16 via 192.168.0.3").unwrap();
    guest.ip("address add 192.168.0.99/24 dev eth0").unwrap();
    let moved = json!([{"destination": "10.20.0.0/16", "via": "192.168.0.4"}]);
    change(&mut appliance, "Network", routes(moved));
    assert_eq!(configure(&machine), (Some(0), String::new()));
    let two = shown(&appliance);
    assert!(two.contains("10.20.0.0/16 via 192.168.0.4"), "{two}");
    assert!(
        !two.contains("10.30.0.0/16") && !two.contains("10.20.0.0/16 via 192.168.0.3"),
        "{two}"
    );
    // Somebody else's: a floating address, and a route of the firewall's document.
    assert!(
        two.contains("10.40.0.0/16 via 192.168.0.3") && two.contains("192.168.0.99/24"),
        "{two}"
    );
    let ours = |numbers: &[u8]| {
        let addresses: Vec<String> = numbers.iter().map(|it| format!("192.168.0.{it}")).collect();
        move |port: &mut Value| port["addresses"] = json!(addresses)
    };
    change(&mut appliance, "Port", ours(&[10, 11]));
    assert_eq!(configure(&machine), (Some(0), String::new()));
    assert!(shown(&appliance).contains("inet 192.168.0.11/24"));
    change(&mut appliance, "Port", ours(&[10]));
    assert_eq!(configure(&machine), (Some(0), String::new()));
    let three = shown(&appliance);
    assert!(three.contains("inet 192.168.0.10/24") && three.contains("192.168.0.99/24"), "{three}");
    assert!(!three.contains("192.168.0.11"), "{three}");
}
