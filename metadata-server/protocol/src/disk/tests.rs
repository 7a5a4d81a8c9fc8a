//! What lies on a disk is what HTTP answers, path by path, in both directions.

use std::collections::{BTreeMap, BTreeSet};

use mezame_model::TokenPolicy;
use serde_json::Value;

use super::*;
use crate::{fixture::World, response::Status, tree::tests::crawl};

fn by_path(world: &World, guest: &Guest, format: DiskFormat) -> BTreeMap<String, Bytes> {
    let files = files(format, guest, &world.context(guest)).unwrap();
    let count = files.len();
    let map: BTreeMap<_, _> = files.into_iter().map(|file| (file.path, file.bytes)).collect();
    assert_eq!(map.len(), count, "no path is there twice");
    map
}

/// With all that a guest may have, and with as little as it may.
fn guests(world: &World, dialect: Dialect) -> [Guest; 2] {
    [world.web_in(dialect), world.bare_in(dialect, &["192.168.0.10"])]
}

#[test]
fn a_cidata_disk_is_the_nocloud_tree_byte_for_byte() {
    let world = World::new();
    for guest in guests(&world, Dialect::Nocloud) {
        let answered: BTreeMap<String, Bytes> = crawl(&world, &guest, "/nocloud/")
            .into_iter()
            .filter_map(|(path, reply)| {
                let name = path.strip_prefix("/nocloud/")?.to_owned();
                (!name.is_empty()).then_some((name, reply.body))
            })
            .collect();
        assert_eq!(answered.len(), 4);
        assert_eq!(by_path(&world, &guest, DiskFormat::Cidata), answered);
    }
}

#[test]
fn a_config_drive_has_all_versions_of_the_openstack_tree_byte_for_byte() {
    let world = World::new();
    for guest in guests(&world, Dialect::Openstack) {
        let mut answered = BTreeMap::new();
        for version in world.text(&guest, "/openstack").lines() {
            for (path, reply) in crawl(&world, &guest, &format!("/openstack/{version}/")) {
                if !path.ends_with('/') && !path.ends_with("/password") {
                    answered.insert(path.trim_start_matches('/').to_owned(), reply.body);
                }
            }
        }
        assert!(answered.len() >= 30, "{} files", answered.len());
        let mut written = by_path(&world, &guest, DiskFormat::ConfigTwo);
        written.retain(|path, _| path.starts_with("openstack/"));
        assert_eq!(written, answered);
        for version in ["2012-08-10", "latest"] {
            let path = format!("openstack/{version}/user_data");
            assert_eq!(written.contains_key(&path), guest.instance.user_data.is_some(), "{path}");
        }
    }
}

#[test]
fn a_config_drives_ec2_files_hold_every_leaf_that_http_answers() {
    let world = World::new();
    for guest in guests(&world, Dialect::Openstack) {
        let written = by_path(&world, &guest, DiskFormat::ConfigTwo);
        let ec2: BTreeSet<&str> =
            written.keys().filter(|path| path.starts_with("ec2/")).map(String::as_str).collect();
        let mut expected =
            BTreeSet::from(["ec2/2009-04-04/meta-data.json", "ec2/latest/meta-data.json"]);
        if guest.instance.user_data.is_some() {
            expected.extend(["ec2/2009-04-04/user-data", "ec2/latest/user-data"]);
        }
        assert_eq!(ec2, expected);
        for version in ["2009-04-04", "latest"] {
            let json: Value =
                serde_json::from_slice(&written[&format!("ec2/{version}/meta-data.json")]).unwrap();
            let above = format!("/{version}/meta-data/");
            let mut leaves = BTreeMap::new();
            flatten(&json, &above, &mut leaves);
            let answered: BTreeMap<String, Bytes> = crawl(&world, &guest, &above)
                .into_iter()
                .filter(|(path, _)| !path.ends_with('/'))
                .map(|(path, reply)| (path, reply.body))
                .collect();
            assert!(answered.len() > 20, "{} leaves", answered.len());
            assert_eq!(leaves, answered);
            if let Some(data) = &guest.instance.user_data {
                assert_eq!(written[&format!("ec2/{version}/user-data")], data.bytes());
            }
        }
    }
}

fn flatten(value: &Value, above: &str, leaves: &mut BTreeMap<String, Bytes>) {
    for (name, value) in value.as_object().unwrap() {
        match value {
            Value::String(text) => {
                leaves.insert(format!("{above}{name}"), Bytes::from(text.clone()));
            }
            value => flatten(value, &format!("{above}{name}/"), leaves),
        }
    }
}

#[test]
fn a_config_drive_has_nothing_that_http_does_not_answer() {
    let world = World::new();
    let guest = world.web_in(Dialect::Openstack);
    for (path, bytes) in by_path(&world, &guest, DiskFormat::ConfigTwo) {
        let path = match path.strip_prefix("ec2") {
            Some(path) if path.ends_with("/meta-data.json") => continue,
            Some(path) => path.to_owned(),
            None => format!("/{path}"),
        };
        let reply = world.get(&guest, &path);
        assert_eq!((reply.status, &reply.body), (Status::Ok, &bytes), "{path}");
    }
}

#[test]
fn a_disk_is_written_for_guests_that_may_not_ask_without_a_token_or_at_all() {
    let world = World::new();
    let free = world.web_in(Dialect::Nocloud);
    for tokens in [TokenPolicy::Required, TokenPolicy::Off] {
        let guest = world.web_with(|it| {
            it.dialects = [Dialect::Nocloud].into();
            it.tokens = tokens;
        });
        let (disk, other) = (
            by_path(&world, &guest, DiskFormat::Cidata),
            by_path(&world, &free, DiskFormat::Cidata),
        );
        assert_eq!(disk, other, "{tokens:?}");
    }
}

#[test]
fn a_dialect_that_the_instance_does_not_have_is_named() {
    let world = World::new();
    let guest = world.web_in(Dialect::Ec2);
    for format in DiskFormat::ALL {
        let missing = files(format, &guest, &world.context(&guest)).unwrap_err();
        assert_eq!(missing, DialectMissing(format.dialect()));
    }
}

#[test]
fn no_read_once_secret_and_no_password_hash_is_on_any_disk() {
    let world = World::new();
    let guest = world.web_with(|it| it.dialects = Dialect::ALL.into());
    let secrets: Vec<_> =
        guest.instance.secrets.values().map(|secret| secret.expose().to_owned()).collect();
    assert!(!secrets.is_empty());
    for format in DiskFormat::ALL {
        for (path, bytes) in by_path(&world, &guest, format) {
            let text = String::from_utf8_lossy(&bytes);
            assert!(!text.contains("$6$"), "{path}");
            assert!(secrets.iter().all(|secret| !text.contains(secret)), "{path}");
        }
    }
}

#[test]
fn formats_are_known_by_their_names_and_by_nothing_else() {
    for format in DiskFormat::ALL {
        assert_eq!(format.to_string().parse(), Ok(format));
    }
    for bad in ["", "CIDATA", "config2", "iso9660", "config-2 "] {
        assert_eq!(bad.parse::<DiskFormat>(), Err(UnknownFormat), "{bad:?}");
    }
}
