//! Every rule by its fault: where it is found, what it says, and that it repeats no secret.

mod guidance;
mod instances;
mod properties;
mod references;
mod trunks;

use std::sync::Arc;

use mezame_model::{Generation, api::Fault};
use serde_json::json;

use super::*;
use crate::{environment::fixed::FixedEnvironment, site_keys::StoredSite};

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ4yJHhSYAb3RwEwsbxA2zMlrMMhn31iSlbiEvYr1LvR a@b";

/// A state that documents are applied to, one call after the other.
struct World {
    state: State,
    environment: FixedEnvironment,
}

impl World {
    fn empty() -> Self {
        let environment = FixedEnvironment::new();
        let site = StoredSite::without_signing_key(&environment);
        Self { state: State::empty(Generation(1), site), environment }
    }

    /// With the project `p`, the networks `lan` and `far`, the port `web-0` and the instance
    /// `web`.
    fn seeded() -> Self {
        let mut world = Self::empty();
        world.apply(&json!([
            { "kind": "Project", "name": "p" },
            { "kind": "Network", "project": "p", "name": "lan", "vni": 1000,
              "subnets": [{ "cidr": "192.168.0.0/24", "gateway": "192.168.0.1" }] },
            { "kind": "Network", "project": "p", "name": "far", "vni": 2000,
              "subnets": [{ "cidr": "192.168.0.0/24", "gateway": "192.168.0.1" }] },
            port("web-0", json!({ "mac": "52:54:00:00:00:01", "addresses": ["192.168.0.10"],
                                  "device": "tap-web" })),
            instance("web", json!({ "ports": ["web-0"] })),
        ]));
        world
    }

    fn admit(&self, documents: &Value) -> Result<Plan, Vec<Fault>> {
        match admit(documents.as_array().unwrap(), &self.state, &self.environment) {
            Ok(plan) => Ok(plan),
            Err(Rejection::Faults(faults)) => Err(faults),
            Err(Rejection::NoRandomness(error)) => panic!("{error}"),
        }
    }

    fn apply(&mut self, documents: &Value) -> Vec<Change> {
        let plan = self.admit(documents).unwrap_or_else(|faults| panic!("{faults:#?}"));
        if !plan.changes.is_empty() {
            let next = self.state.generation.next();
            self.state.apply(plan.changes, next).unwrap();
        }
        plan.outcome
    }

    /// The faults as `document:path: message`.
    fn faults(&self, documents: Value) -> Vec<String> {
        let faults = self.admit(&documents).map(|_| ()).unwrap_err();
        for fault in &faults {
            assert!(!fault.mend.is_empty(), "{fault:?}");
            let document = &documents[fault.document];
            assert!(leads_somewhere(document, &fault.path), "{fault:?} in {document}");
        }
        faults.iter().map(|f| format!("{}:{}: {}", f.document, f.path, f.message)).collect()
    }

    /// The one fault of one document, besides its place.
    fn fault(&self, document: Value) -> String {
        let mut faults = self.faults(json!([document]));
        assert_eq!(faults.len(), 1, "{faults:#?}");
        faults.remove(0)
    }
}

/// A port in `lan`, with further fields.
fn port(name: &str, fields: Value) -> Value {
    with(json!({ "kind": "Port", "project": "p", "name": name, "network": "lan" }), fields)
}

/// An instance, with further fields.
fn instance(name: &str, fields: Value) -> Value {
    with(json!({ "kind": "Instance", "project": "p", "name": name }), fields)
}

/// A network of its own, with further fields.
fn network(fields: Value) -> Value {
    let subnets = json!([{ "cidr": "10.0.0.0/24" }]);
    let whole = json!({ "kind": "Network", "project": "p", "name": "n", "vni": 5,
                        "subnets": subnets });
    with(whole, fields)
}

fn with(mut document: Value, fields: Value) -> Value {
    for (name, value) in fields.as_object().unwrap() {
        document[name] = value.clone();
    }
    document
}

/// Whether a fault's path is in the document: the test's own reading of it.
fn leads_somewhere(document: &Value, path: &str) -> bool {
    let mut value = document;
    let mut rest = path;
    while !rest.is_empty() {
        let next = if rest.starts_with("[\"") {
            let mut key = serde_json::Deserializer::from_str(&rest[1..]).into_iter::<String>();
            let name = key.next().unwrap().unwrap();
            rest = rest[1 + key.byte_offset()..].strip_prefix(']').unwrap();
            value.get(&name)
        } else if let Some(after) = rest.strip_prefix('[') {
            let (index, after) = after.split_once(']').unwrap();
            rest = after;
            value.get(index.parse::<usize>().unwrap())
        } else {
            let after = rest.strip_prefix('.').unwrap_or(rest);
            let end = after.find(['.', '[']).unwrap_or(after.len());
            rest = &after[end..];
            value.get(&after[..end])
        };
        match next {
            Some(next) => value = next,
            None => return false,
        }
    }
    true
}

#[test]
fn a_document_without_a_known_kind_is_at_fault_as_a_whole() {
    let world = World::empty();
    let faults = world.faults(json!([{ "name": "x" }, 7, { "kind": "Instanse" }, { "kind": 7 }]));
    assert_eq!(
        faults,
        [
            "0:: the field 'kind' is missing",
            "1:: this must be a set of fields, and is a number",
            "2:kind: this is none of Project, Network, Port or Instance",
            "3:kind: this must be a text, and is a number",
        ]
    );
}

#[test]
fn a_misspelt_field_is_answered_with_the_one_that_was_meant() {
    let world = World::seeded();
    let wrong = instance("a", json!({ "ports": ["web-0"], "ssh-keys": [], "wolume": 1 }));
    let Err(faults) = world.admit(&json!([wrong])) else { panic!() };
    let found: Vec<_> = faults.iter().map(|f| (f.path.as_str(), f.mend.as_str())).collect();
    assert!(found.contains(&("ssh-keys", "did you mean 'ssh_keys'?")), "{found:?}");
    assert!(found.iter().any(|(path, mend)| *path == "wolume" && mend.starts_with("known are")));
}

#[test]
fn wrong_types_are_named_by_what_was_wanted_and_what_was_found() {
    let world = World::seeded();
    for (fields, expected) in [
        (json!({ "vni": "5" }), "0:vni: this must be a whole number, and is a text"),
        (json!({ "vni": 1.5 }), "0:vni: this is not a whole number from 1 to 16777215"),
        (json!({ "vni": 16777216 }), "0:vni: this is not a whole number from 1 to 16777215"),
        (json!({ "mtu": 575 }), "0:mtu: this is not a whole number from 576 to 9216"),
        (json!({ "subnets": {} }), "0:subnets: this must be a list, and is fields"),
        (json!({ "subnets": [] }), "0:subnets: a network needs at least one subnet"),
        (json!({ "dns": [true] }), "0:dns[0]: this must be a text, and is true or false"),
        (json!({ "domain": "a b" }), "0:domain: \"a b\" is no domain name"),
    ] {
        assert_eq!(world.fault(network(fields)), expected);
    }
}

#[test]
fn a_networks_subnets_keep_their_rules() {
    let world = World::seeded();
    for (subnets, expected) in [
        (json!([{ "cidr": "10.0.0.1/24" }]), "0:subnets[0].cidr: 10.0.0.1/24 has host bits set"),
        (
            json!([{ "cidr": "10.0.0.0/33" }]),
            "0:subnets[0].cidr: \"10.0.0.0/33\" is no address range",
        ),
        (
            json!([{ "cidr": "169.254.0.0/16" }]),
            "0:subnets[0].cidr: the range contains 169.254.169.254, which is a link-local service's",
        ),
        (
            json!([{ "cidr": "10.0.0.0/24", "gateway": "10.0.1.1" }]),
            "0:subnets[0].gateway: the gateway 10.0.1.1 is outside the subnet 10.0.0.0/24",
        ),
        (
            json!([{ "cidr": "10.0.0.0/24", "gateway": "10.0.0.255" }]),
            "0:subnets[0].gateway: this is the subnet's broadcast address",
        ),
        (
            json!([{ "cidr": "10.0.0.0/24" }, { "cidr": "10.0.0.128/25" }]),
            "0:subnets[1]: 10.0.0.128/25 overlaps subnets[0], 10.0.0.0/24",
        ),
        (json!([{ "gateway": "10.0.0.1" }]), "0:subnets[0]: the field 'cidr' is missing"),
    ] {
        assert_eq!(world.fault(network(json!({ "subnets": subnets }))), expected);
    }
    let small = network(json!({ "mtu": 1000, "subnets": [{ "cidr": "2001:db8::/64" }] }));
    assert!(world.fault(small).contains("IPv6 needs an MTU of at least 1280"));
}

#[test]
fn a_ports_addresses_keep_the_rules_of_its_network() {
    let world = World::seeded();
    for (fields, expected) in [
        (
            json!({ "addresses": ["10.0.0.5"] }),
            "0:addresses[0]: 10.0.0.5 is in no subnet of the network 'lan'",
        ),
        (
            json!({ "addresses": ["192.168.0.1"] }),
            "0:addresses[0]: 192.168.0.1 is the gateway of 192.168.0.0/24",
        ),
        (
            json!({ "addresses": ["192.168.0.0"] }),
            "0:addresses[0]: this is the subnet's own address",
        ),
        (
            json!({ "addresses": ["169.254.169.254"] }),
            "0:addresses[0]: this is a link-local service's own address",
        ),
        (
            json!({ "addresses": ["192.168.0.5", "192.168.0.5"] }),
            "0:addresses[1]: 192.168.0.5 is there twice",
        ),
        (json!({ "addresses": [] }), "0:addresses: a port needs an address"),
        (
            json!({ "addresses": ["192.168.0.10"] }),
            "0:addresses[0]: 192.168.0.10 belongs to the port 'web-0' already",
        ),
        (
            json!({ "mac": "52:54:00:00:00:01" }),
            "0:mac: 52:54:00:00:00:01 belongs to the port 'web-0' already",
        ),
        (json!({ "device": "tap-web" }), "0:device: tap-web belongs to the port 'web-0' already"),
        (
            json!({ "allowed": ["10.0.0.0/8", "0.0.0.0/0"] }),
            "0:allowed[1]: the range contains 169.254.169.254, which is a link-local service's",
        ),
        (json!({ "allowed": ["224.0.0.0/4"] }), "0:allowed[0]: no frame may come from this range"),
        (
            json!({ "rate_limit": { "burst": 0 } }),
            "0:rate_limit.burst: this is not a whole number from 1 to 4294967295",
        ),
        (json!({ "network": "lam" }), "0:network: project 'p' has no network 'lam'"),
        (json!({ "project": "q" }), "0:project: there is no project 'q'"),
    ] {
        let faults = world.faults(json!([port("new", fields)]));
        assert_eq!(faults[0], expected);
    }
}

#[test]
fn keys_that_sshd_would_not_take_are_refused_without_being_repeated() {
    let world = World::seeded();
    let private = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n";
    let wrong = instance(
        "web",
        json!({
            "ports": ["web-0"],
            "ssh_keys": [KEY, private],
            "users": [{ "name": "a", "ssh_keys": ["ssh-rsa hunter2"] }],
        }),
    );
    let faults = world.faults(json!([wrong]));
    assert_eq!(
        faults,
        [
            "0:ssh_keys[1]: this is a private key; whoever has seen this document can log in with it",
            "0:users[0].ssh_keys[0]: the key is cut short or damaged",
        ]
    );
}

#[test]
fn a_fault_never_repeats_what_may_be_a_secret() {
    let world = World::seeded();
    // The same secret in every place where a mistake could put it.
    const SECRET: &str = "hunter2-hunter2";
    let documents = json!([
        instance(
            "a",
            json!({
                "ports": ["web-0"],
                "ssh_keys": [SECRET, { SECRET: SECRET }],
                "users": [
                    { "name": "a", "password": SECRET },
                    { "name": "b", "password": { "hash": SECRET } },
                    { "name": "c", "password": { SECRET: true } },
                    { "name": "d", "password": { "hash": SECRET, "generate": true } },
                    { "name": "e", "password": { "hash": [SECRET] } },
                    { "name": "f", "ssh_keys": SECRET, "sudo": SECRET },
                ],
                "user_data": [SECRET],
                "vendor_data_base64": SECRET,
                "secrets": { "x": [SECRET], "y": { "z": SECRET }, "Z": SECRET },
                "tags": { "a/b": SECRET, "c": [SECRET] },
                "tokens": SECRET,
                "zone": SECRET,
                "instance_type": { "x": SECRET },
                "passwrd": SECRET,
            })
        ),
        instance("b", json!({ "ports": ["web-0"], "secrets": SECRET, "users": SECRET })),
    ]);
    let Err(faults) = world.admit(&documents) else { panic!() };
    assert!(faults.len() >= 18, "{faults:#?}");
    let text = serde_json::to_string(&faults).unwrap();
    assert!(!text.contains("hunter2"), "{text}");
}
