//! What every platform must do, run against the fake and against Linux in a directory.

use std::net::IpAddr;

use mezame_model::SecretString;

use super::{Change, Platform, PlatformError, ScriptEnd, fake::Fake};
use crate::{
    endpoint::{LINK_V4, LINK_V6, UNIQUE_V6},
    step::{Account, FileSpec, Script},
};

/// Of a certificate authority, with Ed25519: made by `openssl req -x509`.
const CERTIFICATE: &str = include_str!("../../../metadata-server/model/testdata/authority.pem");

/// How the suite looks at what a platform did.
pub(super) trait Observe: Platform {
    fn authorized_keys(&self, user: &str) -> Vec<u8>;
    fn password_hash(&self, user: &str) -> Option<String>;
    fn hostname(&self) -> String;
    fn put_authorized_keys(&self, user: &str, text: &[u8]);
}

impl Observe for Fake {
    fn authorized_keys(&self, user: &str) -> Vec<u8> {
        self.state().keys.get(user).cloned().unwrap_or_default()
    }

    fn password_hash(&self, user: &str) -> Option<String> {
        self.state().passwords.get(user).map(|hash| hash.expose().to_owned())
    }

    fn hostname(&self) -> String {
        self.state().hostname.clone()
    }

    fn put_authorized_keys(&self, user: &str, text: &[u8]) {
        self.change(|state| {
            state.keys.insert(user.to_owned(), text.to_vec());
        });
    }
}

fn file(path: &str, content: &[u8], append: bool) -> FileSpec {
    FileSpec { path: path.into(), content: content.to_vec(), mode: 0o640, owner: None, append }
}

/// Changed the first time, the same the second.
fn twice(what: &str, mut operation: impl FnMut() -> super::Result<Change>) {
    assert_eq!(operation().unwrap(), Change::Changed, "{what}, first");
    assert_eq!(operation().unwrap(), Change::Same, "{what}, second");
}

/// A password's.
const HASH: &str = "$6$salt$hash";

pub(super) fn suite(platform: &impl Observe) {
    twice("host name", || platform.set_hostname("web.example"));
    assert_eq!(platform.hostname(), "web.example");

    twice("own name", || platform.set_own_name(&["web.example".into(), "web".into()]));
    accounts(platform);
    keys(platform);
    passwords(platform);
    shutting(platform);
    rights(platform);
    certificates(platform);
    files(platform);

    let name = mezame_model::SecretName::parse("token").unwrap();
    twice("secret", || platform.store_secret(&name, &SecretString::new(HASH.into())));
    let script = Script::unix("s", b"#!/bin/sh\nexit 0\n");
    assert_eq!(platform.run_script(&script).unwrap().0, ScriptEnd::Exited(0));
    platform.flush().unwrap();
    assert!(!platform.facts().unwrap().boot_id.is_empty());
}

fn accounts(platform: &impl Observe) {
    let mut ops = Account::named("ops");
    ops.groups = vec!["adm".into()];
    twice("account", || platform.ensure_account(&ops));
    ops.groups.push("wheel".into());
    twice("group", || platform.ensure_account(&ops));
    assert!(platform.ensure_account(&Account::named("a:b")).is_err());
    let members = ["ops".to_owned(), "nobody-here".to_owned()];
    twice("named group", || platform.ensure_group("crew", &members[1..]));
    twice("its members", || platform.ensure_group("crew", &members));
}

fn keys(platform: &impl Observe) {
    let keys = ["ssh-rsa A one".to_owned(), "ssh-rsa B two".to_owned()];
    platform.put_authorized_keys("ops", b"ssh-rsa MINE me\n");
    twice("keys", || platform.authorize_keys("ops", &keys));
    let text = platform.authorized_keys("ops");
    assert!(text.starts_with(b"ssh-rsa MINE me\n"));
    assert_eq!(crate::authorized_keys::keys(&text), keys);
    twice("fewer keys", || platform.authorize_keys("ops", &keys[..1]));
    twice("no keys", || platform.authorize_keys("ops", &[]));
    assert_eq!(platform.authorized_keys("ops"), b"ssh-rsa MINE me\n");
    assert_eq!(platform.authorize_keys("nobody-here", &[]).unwrap(), Change::Same);
    let missing = platform.authorize_keys("nobody-here", &keys);
    assert!(matches!(missing, Err(PlatformError::NoSuchUser { .. })), "{missing:?}");
}

fn passwords(platform: &impl Observe) {
    let hash = SecretString::new(HASH.into());
    twice("password", || platform.set_password_hash("ops", &hash));
    assert_eq!(platform.password_hash("ops").as_deref(), Some(HASH));
    assert!(platform.set_password_hash("ops", &SecretString::new("a:b".into())).is_err());
    assert!(platform.set_password_hash("nobody-here", &hash).is_err());
    twice("locking", || platform.lock_password("ops"));
    assert_eq!(platform.password_hash("ops").as_deref(), Some("!$6$salt$hash"));
    assert_eq!(platform.lock_password("nobody-here").unwrap(), Change::Same);
    platform.set_password_hash("ops", &hash).unwrap();
    twice("expiry", || platform.expire_password("ops"));
}

fn shutting(platform: &impl Observe) {
    assert!(platform.has_account("ops").unwrap() && !platform.has_account("nobody-here").unwrap());
    twice("shutting", || platform.stop_account("ops"));
    twice("opening", || platform.start_account("ops"));
    assert_eq!(platform.password_hash("ops").as_deref(), Some(HASH));
    assert_eq!(platform.stop_account("nobody-here").unwrap(), Change::Same);
    assert!(platform.stop_account("root").is_err());
}

fn rights(platform: &impl Observe) {
    let rules = ["ALL=(ALL:ALL) NOPASSWD:ALL".to_owned()];
    twice("sudo", || platform.set_sudo("ops", &rules));
    assert!(platform.set_sudo("ops", &["ALL=ALL\nroot ALL=ALL".to_owned()]).is_err());
    assert!(platform.set_sudo("ops", &["True".to_owned()]).is_err());
    twice("no sudo", || platform.set_sudo("ops", &[]));
}

fn certificates(platform: &impl Observe) {
    let certificate = mezame_model::Certificate::try_from(CERTIFICATE.to_owned()).unwrap();
    assert!(!platform.facts().unwrap().has_certificates);
    twice("certificates", || platform.trust_certificates(std::slice::from_ref(&certificate)));
    assert!(platform.facts().unwrap().has_certificates);
    twice("no certificates", || platform.trust_certificates(&[]));
    assert!(!platform.facts().unwrap().has_certificates);
}

fn files(platform: &impl Observe) {
    twice("file", || platform.write_file(&file("/srv/deep/a", b"one", false), false));
    let more = file("/srv/deep/a", b"two", true);
    assert_eq!(platform.write_file(&more, false).unwrap(), Change::Changed);
    assert_eq!(platform.write_file(&more, true).unwrap(), Change::Same);
    assert_eq!(platform.read_file("/srv/deep/a").unwrap().unwrap(), b"onetwo");
    assert_eq!(platform.read_file("/srv/none/b").unwrap(), None);
}

/// Ways to the service through a device that has a carrier and no address but those the kernel
/// makes. At the end IPv6 is turned off there.
pub(super) fn ways(platform: &impl Platform, device: &str, turn_off: impl FnOnce()) {
    let (v4, link, unique) =
        (IpAddr::from(LINK_V4), IpAddr::from(LINK_V6), IpAddr::from(UNIQUE_V6));
    for endpoint in [v4, unique, link] {
        let open = || platform.open_path(device, endpoint).unwrap();
        let opened = open();
        assert_eq!((opened.device.as_str(), opened.endpoint), (device, endpoint));
        assert_eq!(opened.claimed.is_some(), endpoint == v4, "{endpoint}");
        assert_eq!(opened.routed, endpoint != link, "{endpoint}");
        if endpoint.is_ipv6() {
            assert!(!open().routed, "what was there before is not taken away by the second");
        }
        for _ in 0..2 {
            platform.close_path(&opened, false).unwrap();
        }
        let again = open();
        assert_eq!((again.claimed, again.routed), (opened.claimed, opened.routed), "{endpoint}");
        platform.close_path(&again, false).unwrap();
    }
    let missing = platform.open_path("mz-none", link).unwrap_err();
    assert_eq!(missing.reason(), "network", "{missing}");
    turn_off();
    for endpoint in [link, unique] {
        let refused = platform.open_path(device, endpoint).unwrap_err();
        assert!(matches!(refused, PlatformError::NoIpv6 { .. }), "{refused}");
        assert_eq!(refused.reason(), "no-ipv6");
    }
    platform.close_path(&platform.open_path(device, v4).unwrap(), false).unwrap();
}

#[test]
fn the_fake_keeps_the_contract_of_ways() {
    let link = crate::facts::Link {
        name: "eth0".into(),
        index: 1,
        mac: mezame_model::MacAddress([2, 0, 0, 0, 0, 1]),
        up: true,
        addresses: Vec::new(),
        kind: crate::facts::LinkKind::Card,
        bond: None,
    };
    let fake = Fake::new("boot", vec![link]);
    ways(&fake, "eth0", || fake.change(|state| state.no_ipv6 = ["eth0".to_owned()].into()));
}

#[test]
fn the_fake_keeps_the_contract() {
    suite(&Fake::new("boot", Vec::new()));
}
