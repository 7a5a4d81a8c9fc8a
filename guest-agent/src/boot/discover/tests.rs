//! Attempts over the devices of a guest in memory, and what their failures add up to.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use mezame_model::report::Outcome;

use super::*;
use crate::{
    boot::{Finished, next_document, retry::Retry, run::Agent},
    facts::{Link, LinkKind},
    platform::fake::Fake,
};

fn link(name: &str, index: u32, addresses: &[&str]) -> Link {
    Link {
        name: name.into(),
        index,
        mac: mezame_model::MacAddress([2, 0, 0, 0, 0, 1]),
        up: true,
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        kind: LinkKind::Card,
        bond: None,
    }
}

fn no_connection(way: &str) -> DiscoverError {
    let refused = std::io::ErrorKind::ConnectionRefused.into();
    let source = SourceError::Http(crate::source::http::HttpError::Connect(refused));
    DiscoverError::Source { way: way.into(), source }
}

fn not_ready() -> DiscoverError {
    let retry_after = Some(Duration::from_secs(7));
    DiscoverError::Source { way: "x".into(), source: SourceError::NotReady { retry_after } }
}

fn of(endpoint: &str) -> Attempt {
    Attempt { device: "eth0".into(), endpoint: endpoint.parse().unwrap() }
}

const V4: &str = "http://169.254.169.254";
const V6: &str = "http://[fe80::a9fe:a9fe]";

#[test]
fn without_a_way_both_families_are_named_and_nothing_is_left_open() {
    // No such device exists in the system that tests: what is opened leads nowhere.
    let fake = Fake::new("boot", vec![link("mz-none", 9, &[])]);
    fake.change(|state| state.no_ipv6 = ["mz-none".to_owned()].into());
    let error = attempt(&Settings::default(), &fake).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("169.254.169.254 through mz-none: "), "{text}");
    assert!(text.contains("; fe80::a9fe:a9fe through mz-none: "), "{text}");
    assert!(text.contains("IPv6 can't be used on mz-none: it is turned off"), "{text}");
    assert_eq!(error.reason(), "no-connection", "the way that came further is the reason");
    assert!(fake.state().paths.is_empty());
}

#[test]
fn one_card_is_one_whatever_is_made_of_it() {
    let card = link("eth0", 2, &[]);
    let vlan = Link { kind: LinkKind::Vlan { card: 2, id: 7 }, ..link("eth0.7", 3, &[]) };
    let with_vlan = attempts(&[card.clone(), vlan], None);
    assert_eq!(with_vlan.len(), 2, "by either family: {with_vlan:?}");
    assert!(!are_several(&with_vlan));
    let bond = Link { kind: LinkKind::Bond { backup: true }, ..link("bond0", 4, &[]) };
    let bonded = Link { bond: Some(4), ..card.clone() };
    assert!(!are_several(&attempts(&[bonded, bond], None)));
    assert!(are_several(&attempts(&[card, link("eth1", 3, &[])], None)));
    assert!(!are_several(&[]));
}

#[test]
fn a_named_endpoint_is_tried_alone() {
    let fake = Fake::new("boot", vec![link("mz-none", 9, &[])]);
    let endpoint = Some("http://[fd00:ec2::254]".parse().unwrap());
    let error = attempt(&Settings { endpoint, ..Settings::default() }, &fake).unwrap_err();
    assert!(error.to_string().starts_with("fd00:ec2::254 through mz-none: "), "{error}");
    assert!(matches!(error, DiscoverError::Source { .. }));
    let none = Fake::new("boot", Vec::new());
    let error = attempt(&Settings::default(), &none).unwrap_err();
    assert_eq!(error.reason(), "no-device");
}

#[test]
fn a_service_that_asks_for_patience_is_what_the_guest_waits_for() {
    let mut failures = Failures::default();
    failures.add(of(V4), not_ready());
    assert_eq!(failures.waiting, ["eth0"]);
    failures.add(of(V6), no_connection("y"));
    let error = failures.into_error();
    assert_eq!((error.reason(), error.retry_after()), ("not-ready", Some(Duration::from_secs(7))));
    let mut failures = Failures::default();
    failures.add(of(V4), no_connection("x"));
    failures.add(of(V6), not_ready());
    let error = failures.into_error();
    assert_eq!((error.reason(), error.retry_after()), ("not-ready", Some(Duration::from_secs(7))));
}

#[test]
fn an_own_address_is_one_of_the_family_that_was_asked_and_not_the_claimed_one() {
    let fake = |addresses: &[&str]| Fake::new("boot", vec![link("eth0", 1, addresses)]);
    let opened = |platform: &Fake, address: &str| {
        platform.open_path("eth0", address.parse().unwrap()).unwrap()
    };
    let claimed = opened(&fake(&[]), "169.254.169.254");
    assert!(claimed.claimed.is_some());
    for (addresses, wanted) in [
        (&["169.254.7.7/32"][..], false),
        (&["169.254.7.7/32", "10.0.0.1/24"], true),
        (&["fd00::1/64"], false),
    ] {
        assert_eq!(has_own_address(&fake(addresses), &claimed), wanted, "{addresses:?}");
    }
    let by_v6 = fake(&["fe80::1/64"]);
    let path = opened(&by_v6, "fe80::a9fe:a9fe");
    assert_eq!((path.claimed, path.routed), (None, false));
    assert!(has_own_address(&by_v6, &path));
    assert!(!has_own_address(&fake(&["10.0.0.1/24"]), &path));
}

/// A way through `eth0`, which is then made a card of `bond0`.
#[test]
fn a_way_goes_on_through_the_bond_that_takes_its_card_and_back_when_the_bond_goes() {
    let endpoint: std::net::IpAddr = "169.254.169.254".parse().unwrap();
    let mut fake = Fake::new("boot", vec![link("eth0", 2, &[])]);
    let opened = fake.open_path("eth0", endpoint).unwrap();
    let client = Client::new(Endpoint::from(endpoint).socket_address(2), Some("eth0".into()));
    let mut path = Path { source: Source::new(client), opened: Some(opened), card: None };
    assert!(!path.follow(&fake), "it still leads out by itself");
    let card = Link { bond: Some(9), ..link("eth0", 2, &[]) };
    let kind = LinkKind::Bond { backup: true };
    let bond = Link { kind, ..link("bond0", 9, &["192.168.0.10/24"]) };
    fake.facts.links = vec![card, bond];
    path.configured(&fake, true);
    assert_eq!(path.opened.as_ref().unwrap().device, "bond0");
    // Taken back: the card is one again, beside another one that comes first.
    fake.facts.links = vec![link("eth1", 1, &["10.0.0.1/24"]), link("eth0", 2, &[])];
    path.rolled_back(&fake);
    assert_eq!(path.opened.as_ref().unwrap().device, "eth0");
}

/// A way through `bond0`, which has this index and is in no list of links any more.
fn through_a_bond(endpoint: &str, index: u32) -> Path {
    let endpoint: std::net::IpAddr = endpoint.parse().unwrap();
    let bond = link("bond0", index, &["192.168.0.10/24"]);
    let opened = Fake::new("boot", vec![bond]).open_path("bond0", endpoint).unwrap();
    let client = Client::new(Endpoint::from(endpoint).socket_address(index), Some("bond0".into()));
    Path { source: Source::new(client), opened: Some(opened), card: None }
}

/// Nothing else than the error wakes a watch: what it says for the second time ends it here.
#[test]
fn a_watch_goes_on_by_a_card_when_its_bond_was_taken_away() {
    let root = tempfile::tempdir().unwrap();
    let settings = Settings { root: root.path().into(), ..Settings::default() };
    let fake = Fake::new("boot", vec![link("mz-none", 3, &[])]);
    let mut agent = Agent::open(&settings, &fake).unwrap();
    let mut path = through_a_bond("169.254.169.254", 9);
    let document = serde_json::json!({
        "version": 1, "generation": 7, "instance_id": "i-0123456789abcdef0", "name": "web",
        "hostname": "web",
    });
    let document = serde_json::from_value(document).unwrap();
    let fetched = Fetched { document, etag: "1".into() };
    let report = Report {
        instance_id: fetched.document.instance_id.clone(),
        agent: String::new(),
        boot_id: String::new(),
        run: 1,
        outcome: Outcome::Done,
        steps: Vec::new(),
        configured_ms: None,
        total_ms: 0,
        host_keys: Vec::new(),
    };
    let finished = Finished {
        report,
        reply_to_configured: None,
        reported: true,
        lost_service: false,
        rolled_back: false,
        reboot: None,
    };
    let mut said = 0;
    let mut say = |_: &str| {
        said += 1;
        if said == 2 {
            resume_unwind(Box::new(()));
        }
    };
    let watch = AssertUnwindSafe(|| {
        let last = (fetched, &finished);
        let orders = crate::freeze::orders::Way::default();
        next_document(&mut agent, &mut path, &orders, &fake, last, &mut Retry::new(), &mut say)
    });
    assert!(catch_unwind(watch).is_err());
    assert_eq!(path.opened.as_ref().unwrap().device, "mz-none");
}

#[test]
fn a_bond_that_was_made_anew_is_asked_by_its_new_index() {
    let kind = LinkKind::Bond { backup: true };
    let anew = Link { kind, ..link("bond0", 12, &["192.168.0.10/24"]) };
    let fake = Fake::new("boot", vec![link("eth0", 2, &[]), anew]);
    for find in [Path::find_again, Path::reopen] {
        let mut path = through_a_bond("fe80::a9fe:a9fe", 9);
        assert!(format!("{:?}", path.source).contains("a9fe%9]"), "{:?}", path.source);
        find(&mut path, &fake);
        let opened = path.opened.as_ref().unwrap();
        assert_eq!((&*opened.device, opened.index), ("bond0", 12));
        assert!(format!("{:?}", path.source).contains("a9fe%12]"), "{:?}", path.source);
    }
}
