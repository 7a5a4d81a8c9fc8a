//! Tests of the OpenStack dialect.

mod network;
mod password;
mod schema;

use std::sync::Arc;

use mezame_model::{Dialect, Guest, TokenPolicy, service_address};
use serde_json::{Value, json};

use super::*;
use crate::{
    NoRandomness, Randomness, Response, Status, fixture::World, respond, tree::tests::crawl,
};

/// `web-0`, answered in this dialect alone.
fn web(world: &World) -> Guest {
    world.web_with(|it| it.dialects = [Dialect::Openstack].into())
}

/// `db-0`, which has one address, no keys, no data and no router, the same.
fn db(world: &World) -> Guest {
    let mut guest = world.db();
    let instance = Arc::make_mut(&mut guest.instance);
    instance.dialects = [Dialect::Openstack].into();
    // Tokens have tests of their own.
    instance.tokens = TokenPolicy::Optional;
    guest
}

fn json(world: &World, guest: &Guest, file: &str) -> Value {
    let reply = world.get(guest, &format!("/openstack/{file}"));
    assert_eq!((reply.status, reply.content_type), (Status::Ok, "application/json"), "{file}");
    serde_json::from_slice(&reply.body).unwrap()
}

/// Every file of a version, as a text that people can read.
fn golden(world: &World, guest: &Guest, root: &str) -> String {
    let mut out = String::new();
    for (path, reply) in crawl(world, guest, root) {
        let body = match serde_json::from_slice::<Value>(&reply.body) {
            Ok(value) => serde_json::to_string_pretty(&value).unwrap(),
            Err(_) => reply.body.escape_ascii().to_string().replace("\\n", "\n"),
        };
        let kind = if path.ends_with('/') { "listing" } else { reply.content_type };
        out.push_str(&format!("== {path} ({kind}, {} bytes)\n{body}\n", reply.body.len()));
    }
    out
}

#[test]
fn the_openstack_tree_is_as_it_was() {
    let world = World::new();
    insta::assert_snapshot!("openstack", golden(&world, &web(&world), "/openstack/latest/"));
}

#[test]
fn the_tree_of_a_guest_with_little_is_as_it_was() {
    let world = World::new();
    insta::assert_snapshot!("openstack-minimal", golden(&world, &db(&world), "/openstack/latest/"));
}

#[test]
fn each_version_has_the_files_that_nova_gave_it() {
    let world = World::new();
    let guest = web(&world);
    let first = "meta_data.json\nuser_data";
    let grizzly = format!("{first}\npassword");
    let havana = format!("{grizzly}\nvendor_data.json");
    let liberty = format!("{havana}\nnetwork_data.json");
    let newton = format!("{liberty}\nvendor_data2.json");
    for (version, files) in [
        ("2012-08-10", first),
        ("2013-04-04", &grizzly),
        ("2013-10-17", &havana),
        ("2015-10-15", &liberty),
        ("2016-06-30", &liberty),
        ("2016-10-06", &newton),
        ("2017-02-22", &newton),
        ("2018-08-27", &newton),
        ("2020-10-14", &newton),
        ("latest", &newton),
    ] {
        for slash in ["", "/"] {
            assert_eq!(world.text(&guest, &format!("/openstack/{version}{slash}")), files);
        }
    }
}

#[test]
fn the_versions_are_listed_a_line_each_with_and_without_a_slash() {
    let world = World::new();
    for path in ["/openstack", "/openstack/", "//openstack//"] {
        let reply = world.get(&web(&world), path);
        assert_eq!((reply.status, reply.content_type), (Status::Ok, "text/plain"));
        assert_eq!(reply.body, VERSIONS.join("\n"), "{path}");
    }
}

#[test]
fn listings_and_leaves_agree_in_each_version() {
    let world = World::new();
    let all = [
        "meta_data.json",
        "user_data",
        "password",
        "vendor_data.json",
        "network_data.json",
        "vendor_data2.json",
    ];
    for guest in [web(&world), db(&world)] {
        for version in world.text(&guest, "/openstack").lines() {
            let listing = world.text(&guest, &format!("/openstack/{version}/"));
            for file in all {
                let path = format!("/openstack/{version}/{file}");
                let there = listing.lines().any(|line| line == file);
                let status = if there { Status::Ok } else { Status::NotFound };
                assert_eq!(world.get(&guest, &path).status, status, "{path}");
                let head = world.ask(&guest, "HEAD", &path, &[]);
                assert_eq!(head.status, status, "HEAD {path}");
                assert!(head.body.is_empty());
                // Where the password is not listed, nothing can be posted either.
                let denied = if there { Status::MethodNotAllowed } else { Status::NotFound };
                assert_eq!(world.ask(&guest, "PUT", &path, &[]).status, denied, "PUT {path}");
            }
            assert!(listing.lines().all(|line| all.contains(&line)), "{listing}");
        }
    }
}

#[test]
fn an_unknown_version_or_file_is_not_there() {
    let world = World::new();
    let guest = web(&world);
    for path in [
        "/openstack/2014-01-01",
        "/openstack/2014-01-01/meta_data.json",
        "/openstack/content",
        "/openstack/content/0000",
        "/openstack/latest/meta_data.json/x",
        "/openstack/latest/meta-data",
        "/openstack/latest/password/x",
        "/openstack/LATEST",
    ] {
        assert_eq!(world.get(&guest, path).status, Status::NotFound, "{path}");
        let posted = world.answer(&guest, "POST", path, &[], b"x");
        assert!(matches!(posted, Answer::Reply(it) if it.status == Status::NotFound), "{path}");
    }
}

#[test]
fn a_guest_without_the_dialect_has_none_of_it() {
    let world = World::new();
    for path in ["/openstack", "/openstack/latest/meta_data.json", "/openstack/latest/password"] {
        assert_eq!(world.get(&world.web(), path).status, Status::NotFound, "{path}");
    }
}

#[test]
fn a_guest_with_this_dialect_alone_is_answered_in_ec2s_too() {
    let world = World::new();
    let guest = web(&world);
    assert_eq!(world.text(&guest, "/latest/meta-data/instance-id"), "i-000000000000000a1");
    assert!(crawl(&world, &guest, "/latest/").len() > 30);
    assert!(world.text(&guest, "/").ends_with("latest\nopenstack/"));
}

#[test]
fn tokens_that_are_required_are_required_here_too() {
    let world = World::new();
    let mut guest = db(&world);
    Arc::make_mut(&mut guest.instance).tokens = TokenPolicy::Required;
    assert_eq!(world.get(&guest, "/openstack").status, Status::Unauthorized);
    let token = world.token(&guest, 60);
    let headers = [("X-aws-ec2-metadata-token", token.as_str())];
    let reply = world.ask(&guest, "GET", "/openstack/latest/meta_data.json", &headers);
    assert_eq!(reply.status, Status::Ok);
}

#[test]
fn user_data_is_the_tenants_bytes_and_not_there_without() {
    let world = World::new();
    let guest = web(&world);
    let reply = world.get(&guest, "/openstack/latest/user_data");
    assert_eq!(reply.body, guest.instance.user_data.as_ref().unwrap().bytes());
    assert_eq!(reply.content_type, "application/octet-stream");
    let without = world.get(&db(&world), "/openstack/latest/user_data");
    assert_eq!(without.status, Status::NotFound);
}

#[test]
fn the_uuid_is_the_one_that_smbios_says() {
    let world = World::new();
    let guest = web(&world);
    let (dialect, smbios) =
        mezame_model::Smbios::all_of(&guest.instance, service_address::METADATA.into())
            .next()
            .unwrap();
    assert_eq!((dialect, &*smbios.product), (Dialect::Openstack, "OpenStack Nova"));
    assert_eq!(json(&world, &guest, "latest/meta_data.json")["uuid"], *smbios.uuid);
}

#[test]
fn fields_are_there_from_their_version_on() {
    let world = World::new();
    let guest = web(&world);
    for (at, version) in VERSIONS.iter().enumerate() {
        let value = json(&world, &guest, &format!("{version}/meta_data.json"));
        for (field, since) in [
            ("random_seed", GRIZZLY),
            ("project_id", LIBERTY),
            ("devices", NEWTON_ONE),
            ("dedicated_cpus", VICTORIA),
        ] {
            assert_eq!(value.get(field).is_some(), at >= usize::from(since), "{version}: {field}");
        }
        for field in ["admin_pass", "files", "network_config"] {
            assert!(value.get(field).is_none(), "{field}");
        }
    }
}

#[test]
fn the_tag_of_the_meta_data_is_not_the_seeds() {
    struct Other;
    impl Randomness for Other {
        fn fill(&self, out: &mut [u8]) -> Result<(), NoRandomness> {
            out.fill(9);
            Ok(())
        }
    }
    struct Nothing;
    impl Randomness for Nothing {
        fn fill(&self, _: &mut [u8]) -> Result<(), NoRandomness> {
            Err(NoRandomness)
        }
    }
    let world = World::new();
    let guest = web(&world);
    let ask = |random: &dyn Randomness| -> Response {
        let target = b"/openstack/latest/meta_data.json";
        let request = Request::parse(crate::Version::Http10, "GET", target, []).unwrap();
        let context = crate::Context { random, ..world.context(&guest) };
        match respond(&request, b"", &guest, &context) {
            Answer::Reply(reply) => reply,
            answer => panic!("{answer:?}"),
        }
    };
    let replies = [ask(&crate::fixture::Same), ask(&Other), ask(&Nothing)];
    assert_ne!(replies[0].body, replies[1].body);
    assert!(replies.iter().all(|reply| reply.etag == replies[0].etag));
    // Without randomness there is no seed, rather than one that could be foreseen.
    let value: Value = serde_json::from_slice(&replies[2].body).unwrap();
    assert!(value.get("random_seed").is_none() && value.get("uuid").is_some());
    let renamed = world.web_with(|it| {
        it.dialects = [Dialect::Openstack].into();
        it.hostname = "other".into();
    });
    assert_ne!(world.get(&renamed, "/openstack/latest/meta_data.json").etag, replies[0].etag);
}

#[test]
fn vendor_data_is_json_for_cloud_init_and_below_its_provider_in_the_second_file() {
    let world = World::new();
    let guest = web(&world);
    let text = "#cloud-config\ntimezone: Asia/Tokyo\n";
    let first = json(&world, &guest, "latest/vendor_data.json");
    assert_eq!(first, json!({ "cloud-init": text }));
    let second = json(&world, &guest, "latest/vendor_data2.json");
    assert_eq!(second, json!({ "static": first }));
    let little = db(&world);
    assert_eq!(json(&world, &little, "latest/vendor_data.json"), json!({}));
    assert_eq!(json(&world, &little, "latest/vendor_data2.json"), json!({ "static": {} }));
}
