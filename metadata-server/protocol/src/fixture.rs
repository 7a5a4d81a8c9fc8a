//! Two tenants' guests for the tests: same address, same MAC, different networks.
//!
//! Read from `testdata/`, whose keys are made for tests and secret nowhere.

use std::sync::Arc;

use ipnetwork::IpNetwork;
use mezame_model::{
    BondName, Dialect, Guest, GuestPort, Instance, Route, Snapshot, VlanId, guest::GuestVlan,
};

use crate::{
    Answer, Context, Gate, NoRandomness, Randomness, Request, Response, Signer, Spent, Start,
    Status, TokenKeys, UnixTime, Version, respond,
};

/// Everything that a request's answer depends on.
pub(crate) struct World {
    pub(crate) snapshot: Snapshot,
    pub(crate) keys: TokenKeys,
    pub(crate) signer: Signer,
    pub(crate) now: UnixTime,
    pub(crate) acknowledged: Spent,
    pub(crate) start: Start,
    pub(crate) order: Option<mezame_model::freeze::Order>,
    pub(crate) watch_over: bool,
    pub(crate) watched: Option<u64>,
}

/// Nonces that are all the same, so that a golden file can hold a token.
pub(crate) struct Same;

impl Randomness for Same {
    fn fill(&self, out: &mut [u8]) -> Result<(), NoRandomness> {
        out.fill(7);
        Ok(())
    }
}

impl World {
    /// The world of `testdata/snapshot-with-test-keys.json`.
    pub(crate) fn new() -> Self {
        let json = include_str!("../testdata/snapshot-with-test-keys.json");
        let snapshot: Snapshot = serde_json::from_str(json).unwrap();
        Self {
            keys: TokenKeys::new(&snapshot.site.token_keys).unwrap(),
            signer: Signer::new(
                &snapshot.site.signing_key,
                Box::new(ring::rand::SystemRandom::new()),
            )
            .unwrap(),
            snapshot,
            now: UnixTime(1_800_000_000),
            acknowledged: Spent::NONE,
            start: Start { age_s: 60, ..Start::NONE },
            order: None,
            watch_over: false,
            watched: None,
        }
    }

    /// The guest of the instance with this place.
    fn guest(&self, at: usize) -> Guest {
        Guest::join(&self.snapshot, &self.snapshot.instances[at]).unwrap()
    }

    /// `web-0`: two ports, keys, users, data, secrets; tokens optional.
    pub(crate) fn web(&self) -> Guest {
        self.guest(0)
    }

    /// `db-0` of another tenant, with the address and the MAC of `web-0`; tokens required.
    pub(crate) fn db(&self) -> Guest {
        self.guest(1)
    }

    /// `web-0` with a change.
    pub(crate) fn web_with(&self, change: impl FnOnce(&mut Instance)) -> Guest {
        let mut guest = self.web();
        change(Arc::make_mut(&mut guest.instance));
        guest
    }

    /// `web-0`, answered in one dialect alone.
    pub(crate) fn web_in(&self, dialect: Dialect) -> Guest {
        self.web_with(|it| it.dialects = [dialect].into())
    }

    /// `web-0` in one dialect, whose first network has routes in both families and a link-local
    /// router for IPv6.
    pub(crate) fn routed_in(&self, dialect: Dialect) -> Guest {
        let mut guest = self.web_in(dialect);
        let network = Arc::make_mut(&mut guest.ports[0].network);
        for subnet in &mut network.subnets {
            let (destination, via) = match subnet.cidr {
                IpNetwork::V4(_) => ("10.20.0.0/16", "192.168.0.2"),
                IpNetwork::V6(_) => {
                    subnet.gateway = Some("fe80::1".parse().unwrap());
                    ("2001:db8:9::/48", "fe80::2")
                }
            };
            let (destination, via) = (destination.parse().unwrap(), via.parse().unwrap());
            subnet.routes = vec![Route { destination, via }];
        }
        guest
    }

    /// `web-0` in one dialect, whose second network is VLAN 100 on its first port.
    pub(crate) fn trunked_in(&self, dialect: Dialect) -> Guest {
        let mut guest = self.web_in(dialect);
        let further = GuestPort { ..guest.ports[1].clone() };
        let vlan = GuestVlan { id: VlanId::try_from(100).unwrap(), entry: further };
        guest.ports = guest.ports[..1].into();
        guest.ports[0].vlans = [vlan].into();
        guest
    }

    /// The same, where the network behind the tag names the platform's resolvers and its own.
    pub(crate) fn trunked_with_resolvers_in(&self, dialect: Dialect) -> Guest {
        let mut guest = self.trunked_in(dialect);
        let network = &mut guest.ports[0].vlans[0].entry.network;
        let dns = ["169.254.169.253", "fd00:ec2::253", "10.1.0.2"];
        Arc::make_mut(network).dns = dns.map(|it| it.parse().unwrap()).into();
        guest
    }

    /// `web-0` in one dialect, whose two ports are one bond in the first one's network.
    pub(crate) fn bonded_in(&self, dialect: Dialect) -> Guest {
        let mut guest = self.web_in(dialect);
        guest.ports[1].network = Arc::clone(&guest.ports[0].network);
        for entry in &mut guest.ports {
            Arc::make_mut(&mut entry.port).bond = Some(BondName::parse("bond0").unwrap());
        }
        let second = Arc::make_mut(&mut guest.ports[1].port);
        second.addresses = vec!["192.168.0.11".parse().unwrap()];
        guest
    }

    /// The same without anything that may be absent, on one port with these addresses alone.
    pub(crate) fn bare_in(&self, dialect: Dialect, addresses: &[&str]) -> Guest {
        let mut guest = self.web_in(dialect);
        let instance = Arc::make_mut(&mut guest.instance);
        instance.ssh_keys.clear();
        instance.user_data = None;
        instance.vendor_data = None;
        instance.tags.clear();
        guest.ports = guest.ports[..1].into();
        Arc::make_mut(&mut guest.ports[0].port).addresses =
            addresses.iter().map(|it| it.parse().unwrap()).collect();
        guest
    }

    /// Asks with these headers besides a Host.
    pub(crate) fn answer(
        &self,
        guest: &Guest,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        self.answer_by(Gate::Metadata, guest, method, target, headers, body)
    }

    /// The same by a gate.
    pub(crate) fn answer_by(
        &self,
        gate: Gate,
        guest: &Guest,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let fields = headers.iter().map(|(name, value)| (*name, value.as_bytes()));
        let fields = fields.chain([("Host", &b"169.254.169.254"[..])]);
        match Request::parse(Version::Http11, method, target.as_bytes(), fields) {
            Ok(request) => respond(&request.by(gate), body, guest, &self.context(guest)),
            Err(refusal) => Answer::Reply(refusal.response()),
        }
    }

    /// The shell's facts.
    pub(crate) fn context<'a>(&'a self, guest: &'a Guest) -> Context<'a> {
        Context {
            keys: &self.keys,
            signer: &self.signer,
            now: self.now,
            random: &Same,
            port: &guest.ports[0].port.id,
            generation: self.snapshot.generation,
            modified: Some(UnixTime(1_799_999_999)),
            acknowledged: &self.acknowledged,
            start: self.start,
            order: self.order,
            watch_over: self.watch_over,
            watched: self.watched,
        }
    }

    /// Asks, and takes the reply that the shell would send.
    pub(crate) fn ask(
        &self,
        guest: &Guest,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
    ) -> Response {
        match self.answer(guest, method, target, headers, b"") {
            Answer::Reply(reply) | Answer::Event { reply, .. } | Answer::Secret { reply, .. } => {
                reply
            }
            Answer::Watch { .. } => panic!("{target} waits"),
            Answer::Obeyed(_) => Response::obeyed(true),
            Answer::VolumeKey(_) => panic!("{target} is settled by the shell"),
        }
    }

    /// GET without a token.
    pub(crate) fn get(&self, guest: &Guest, target: &str) -> Response {
        self.ask(guest, "GET", target, &[])
    }

    /// The text of what must be 200.
    pub(crate) fn text(&self, guest: &Guest, target: &str) -> String {
        let reply = self.get(guest, target);
        assert_eq!(reply.status, Status::Ok, "{target}");
        String::from_utf8(reply.body.to_vec()).unwrap()
    }

    /// A token for the guest.
    pub(crate) fn token(&self, guest: &Guest, ttl: u32) -> String {
        let ttl = ttl.to_string();
        let headers = [("X-aws-ec2-metadata-token-ttl-seconds", ttl.as_str())];
        let reply = self.ask(guest, "PUT", "/latest/api/token", &headers);
        assert_eq!(reply.status, Status::Ok);
        String::from_utf8(reply.body.to_vec()).unwrap()
    }
}
