//! Tests of the GCE dialect.

mod identity;
mod writing;

use mezame_model::{Dialect, Guest, Instance, TokenPolicy, UserData};
use serde_json::Value;

use super::*;
use crate::fixture::World;

const V1: &str = "/computeMetadata/v1";
const FLAVOR: (&str, &str) = ("Metadata-Flavor", "Google");

/// `web-0` in this dialect, with names in its record that the table has too, and with a change.
fn guest_with(world: &World, change: impl FnOnce(&mut Instance)) -> Guest {
    world.web_with(|it| {
        it.dialects = [Dialect::Gce].into();
        for (key, value) in [("id", "7"), ("disks", "none"), ("startup-script", "#!/bin/sh\nid\n")]
        {
            it.tags = it.tags.with(key, Some(value));
        }
        for (path, value) in [
            ("hostkeys/ssh-ed25519", "AAAAC3 a b"),
            ("hostkeys/ssh-rsa", "AAAAB3"),
            ("mtu/index", "1"),
            ("network-interfaces/ip", "x\ny"),
        ] {
            let change = GuestAttribute { path: path.into(), value: Some(value.into()) };
            it.guest_attributes = it.guest_attributes.with(&change).unwrap();
        }
        change(it);
    })
}

fn guest(world: &World) -> Guest {
    guest_with(world, |_| {})
}

/// GET with the header; `path` is below `v1`.
fn get(world: &World, guest: &Guest, path: &str) -> Response {
    let reply = world.ask(guest, "GET", &format!("{V1}{path}"), &[FLAVOR]);
    assert!(reply.flavor && reply.bare_etag, "{path}");
    reply
}

fn text(world: &World, guest: &Guest, path: &str) -> String {
    let reply = get(world, guest, path);
    assert_eq!(reply.status, Status::Ok, "{path}");
    String::from_utf8(reply.body.to_vec()).unwrap()
}

fn json(world: &World, guest: &Guest, path: &str) -> Value {
    let reply = get(world, guest, path);
    assert_eq!((reply.status, reply.content_type), (Status::Ok, "application/json"), "{path}");
    serde_json::from_slice(&reply.body).unwrap()
}

/// Every path that listings lead to, from the top, with what it answers.
fn crawl(world: &World, guest: &Guest) -> Vec<(String, Response)> {
    let mut found = Vec::new();
    let mut waiting = vec!["/".to_owned()];
    while let Some(path) = waiting.pop() {
        let reply = get(world, guest, &path);
        assert_eq!(reply.status, Status::Ok, "{path} is listed");
        if path.ends_with('/') {
            let listing = std::str::from_utf8(&reply.body).unwrap();
            waiting.extend(listing.lines().rev().map(|line| format!("{path}{line}")));
        }
        found.push((path, reply));
        assert!(found.len() < 1000, "the tree is endless");
    }
    found
}

/// A path as a pointer into the whole tree's JSON.
fn pointer(path: &str) -> String {
    let mut literal = false;
    let mut out = String::new();
    for segment in path.split('/').skip(1) {
        out.push('/');
        if literal {
            out.push_str(segment);
        } else {
            let mut words = segment.split('-');
            out.push_str(words.next().unwrap());
            for word in words {
                out.push_str(&word[..1].to_uppercase());
                out.push_str(&word[1..]);
            }
        }
        literal |= segment == "attributes" || segment == "guest-attributes";
    }
    out
}

fn leaves_in(value: &Value) -> usize {
    match value {
        Value::Object(members) => members.values().map(leaves_in).sum(),
        Value::Array(items) => items.iter().map(leaves_in).sum(),
        _ => 1,
    }
}

#[test]
fn the_gce_tree_is_as_it_was() {
    let world = World::new();
    let guest = guest(&world);
    let mut out = String::new();
    for (path, reply) in crawl(&world, &guest) {
        let kind = if path.ends_with('/') { "listing" } else { reply.content_type };
        let body = std::str::from_utf8(&reply.body).unwrap();
        out.push_str(&format!("== {path} ({kind}, {} bytes)\n{body}\n", body.len()));
    }
    insta::assert_snapshot!("gce", out);
    let whole = json(&world, &guest, "/?recursive=true");
    insta::assert_snapshot!("gce-recursive", serde_json::to_string_pretty(&whole).unwrap());
}

#[test]
fn the_tree_of_a_guest_with_little_is_as_it_was() {
    let world = World::new();
    let mut guest = world.db();
    let instance = std::sync::Arc::make_mut(&mut guest.instance);
    instance.tokens = TokenPolicy::Optional;
    instance.dialects.insert(Dialect::Gce);
    let whole = json(&world, &guest, "/?recursive=true");
    insta::assert_snapshot!("gce-minimal", serde_json::to_string_pretty(&whole).unwrap());
    for (path, _) in crawl(&world, &guest) {
        assert!(whole.pointer(pointer(path.trim_end_matches('/')).as_str()).is_some(), "{path}");
    }
}

#[test]
fn listings_leaves_and_both_recursive_forms_agree() {
    let world = World::new();
    let guest = guest(&world);
    let whole = json(&world, &guest, "/?recursive=true&alt=json");
    let lines = text(&world, &guest, "/?recursive=true&alt=text");
    let (mut leaves, mut in_json, mut expected) = (0, 0, String::new());
    for (path, reply) in crawl(&world, &guest) {
        let found = whole.pointer(&pointer(path.trim_end_matches('/')));
        let found = found.unwrap_or_else(|| panic!("{path} is not in the JSON"));
        if path.ends_with('/') {
            assert!(found.is_object() || found.is_array(), "{path}");
            let again = json(&world, &guest, &format!("{path}?recursive=true"));
            assert_eq!(*found, again, "{path}");
            continue;
        }
        assert_eq!(*found, json(&world, &guest, &format!("{path}?alt=json")), "{path}");
        let body = std::str::from_utf8(&reply.body).unwrap();
        assert_eq!(text(&world, &guest, &format!("{path}?alt=text")), body, "{path}");
        match found {
            Value::String(text) => assert_eq!(text, body, "{path}"),
            Value::Number(number) => assert_eq!(number.to_string(), body, "{path}"),
            Value::Array(items) if reply.content_type == TEXT => {
                let lines: Vec<_> = items.iter().filter_map(Value::as_str).collect();
                assert_eq!(lines.join("\n"), body, "{path}");
            }
            other => assert_eq!(other.to_string(), body, "{path}"),
        }
        leaves += 1;
        in_json += leaves_in(found);
        expected.push_str(&format!("{} {body}\n", &path[1..]));
    }
    assert!(leaves > 60, "{leaves} leaves");
    assert_eq!(leaves_in(&whole), in_json, "the JSON has nothing that no listing leads to");
    assert_eq!(lines, expected);
}

#[test]
fn a_request_without_the_flavor_is_refused_and_every_reply_has_it() {
    let world = World::new();
    let guest = guest(&world);
    let wrong = ("Metadata-Flavor", "Amazon");
    for headers in [&[][..], &[wrong]] {
        for path in ["/computeMetadata/v1/instance/id", "/computeMetadata/", "/computeMetadata/x"] {
            let reply = world.ask(&guest, "GET", path, headers);
            assert_eq!((reply.status, reply.flavor), (Status::Forbidden, true), "{path}");
        }
    }
    let lower = [("metadata-flavor", "google")];
    let path = "/computeMetadata/v1/instance/name";
    assert_eq!(world.ask(&guest, "GET", path, &lower).status, Status::Ok);
    for (method, path, status) in [
        ("GET", "/instance/nothing", Status::NotFound),
        ("GET", "/instance/id/", Status::NotFound),
        ("GET", "/instance/id/x", Status::NotFound),
        ("GET", "/instance/service-accounts/default/token", Status::NotFound),
        ("GET", "/instance", Status::MovedPermanently),
        ("GET", "/instance/id?alt=xml", Status::BadRequest),
        ("GET", "/?wait_for_change=true&timeout_sec=soon", Status::BadRequest),
        ("HEAD", "/instance/id", Status::Ok),
        ("PUT", "/instance/id", Status::MethodNotAllowed),
        ("POST", "/instance/", Status::MethodNotAllowed),
        ("DELETE", "/nothing", Status::NotFound),
    ] {
        let reply = world.ask(&guest, method, &format!("{V1}{path}"), &[FLAVOR]);
        assert_eq!((reply.status, reply.flavor), (status, true), "{method} {path}");
    }
}

#[test]
fn refusals_of_the_policy_have_the_flavor_too() {
    let world = World::new();
    let guest = guest_with(&world, |it| it.tokens = TokenPolicy::Required);
    let path = "/computeMetadata/v1/instance/id";
    let reply = world.ask(&guest, "GET", path, &[FLAVOR]);
    assert_eq!((reply.status, reply.flavor), (Status::Unauthorized, true));
    let relayed = [FLAVOR, ("X-Forwarded-For", "10.0.0.1")];
    let reply = world.ask(&guest, "GET", path, &relayed);
    assert_eq!((reply.status, reply.flavor), (Status::Forbidden, true));
    // A guest that is not answered in this dialect is not told that it is Google's.
    assert!(!world.ask(&world.web(), "GET", path, &[FLAVOR]).flavor);
}

#[test]
fn the_top_lists_the_version_and_doubled_slashes_count_as_one() {
    let world = World::new();
    let guest = guest(&world);
    let of = |path: &str| world.ask(&guest, "GET", path, &[FLAVOR]);
    assert_eq!(of("/computeMetadata/").body, "v1/\n");
    assert_eq!(of("/computeMetadata").location.as_deref(), Some("/computeMetadata/"));
    assert_eq!(
        of("/computeMetadata/v1//?recursive=true"),
        of("/computeMetadata/v1/?recursive=true")
    );
    // By this, and not by a path of its own, google-auth learns where it is.
    assert!(world.ask(&guest, "GET", "/", &[FLAVOR]).flavor);
}

#[test]
fn a_directory_without_its_slash_redirects_with_the_query() {
    let world = World::new();
    let guest = guest(&world);
    for (asked, location) in [
        ("/instance/disks", "/instance/disks/"),
        (
            "/instance/attributes?recursive=True&alt=json",
            "/instance/attributes/?recursive=True&alt=json",
        ),
        ("//instance//disks?x=/", "/instance/disks/?x=/"),
        ("/instance/guest-attributes/hostkeys", "/instance/guest-attributes/hostkeys/"),
    ] {
        let reply = get(&world, &guest, asked);
        assert_eq!(reply.status, Status::MovedPermanently, "{asked}");
        assert_eq!(reply.location.unwrap().strip_prefix(V1), Some(location), "{asked}");
    }
}

#[test]
fn a_listing_is_an_array_where_json_is_asked_for_and_not_all_below() {
    let world = World::new();
    let listing = json(&world, &guest(&world), "/instance/scheduling/?alt=JSON");
    let expected = ["automatic-restart", "on-host-maintenance", "preemptible"];
    assert_eq!(listing, serde_json::json!(expected));
}

#[test]
fn cloud_init_finds_what_it_requires() {
    let world = World::new();
    let guest = guest(&world);
    assert_eq!(text(&world, &guest, "/instance/id"), "161");
    let zone = text(&world, &guest, "/instance/zone");
    assert_eq!(zone.rsplit('/').next(), Some("jp-east-1-a"));
    assert_eq!(text(&world, &guest, "/instance/hostname"), "web-0.acme.example");
    assert_eq!(json(&world, &guest, "/project/attributes/?recursive=True"), serde_json::json!({}));
    let attributes = json(&world, &guest, "/instance/attributes/?recursive=True");
    // The fixture's user-data is not UTF-8.
    assert_eq!(attributes["user-data"], "IyEvYmluL3NoCmVjaG8g/wBiaW5hcnkK");
    assert_eq!(attributes["user-data-encoding"], "base64");
    let keys = attributes["ssh-keys"].as_str().unwrap();
    let of_default = keys.lines().filter_map(|line| line.strip_prefix("cloudinit:"));
    let own: Vec<_> = guest.instance.ssh_keys.iter().map(|key| &**key).collect();
    assert_eq!(of_default.collect::<Vec<_>>(), own);
    assert!(keys.lines().any(|line| line.starts_with("admin:ssh-ed25519 ")), "{keys}");
}

#[test]
fn user_data_that_is_text_is_sent_as_it_is() {
    let world = World::new();
    let data = "#cloud-config\n# \u{3b1}\0\n";
    let guest = guest_with(&world, |it| it.user_data = Some(UserData::new(data).unwrap()));
    assert_eq!(text(&world, &guest, "/instance/attributes/user-data"), data);
    assert_eq!(json(&world, &guest, "/instance/attributes/?recursive=true")["user-data"], data);
    let encoding = get(&world, &guest, "/instance/attributes/user-data-encoding");
    assert_eq!(encoding.status, Status::NotFound);
}

#[test]
fn asks_for_passwords_are_lines_of_json_and_no_tag_is_taken_for_one() {
    let world = World::new();
    let path = "/instance/attributes/windows-keys";
    let tagged = guest_with(&world, |it| it.tags = it.tags.with("windows-keys", Some("{}")));
    assert_eq!(get(&world, &tagged, path).status, Status::NotFound);
    let lines: Vec<String> = ["ops", "Administrator"]
        .map(|user| {
            format!(
                r#"{{"userName":"{user}","modulus":"AQ==","exponent":"AQAB","expireOn":"2026-11-26T05:24:30Z","email":"a@b"}}"#
            )
        })
        .into();
    let guest = guest_with(&world, |it| {
        it.windows_keys = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    });
    assert_eq!(text(&world, &guest, path).lines().collect::<Vec<_>>(), lines);
    let all = json(&world, &guest, "/instance/attributes/?recursive=true");
    assert_eq!(all["windows-keys"].as_str().unwrap().lines().count(), 2);
    let stopped = guest_with(&world, |it| {
        it.windows_keys = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        it.users = serde_json::from_str(r#"[{"name": "administrator", "stopped": true}]"#).unwrap();
    });
    assert_eq!(text(&world, &stopped, path).lines().collect::<Vec<_>>(), lines[..1]);
}

#[test]
fn a_tag_is_an_attribute_but_never_by_a_name_of_ours() {
    let world = World::new();
    let guest = guest_with(&world, |it| {
        it.user_data = None;
        for (key, value) in [
            ("ssh-keys", "root:ssh-rsa AAAA"),
            ("user-data", "x"),
            ("user-data-encoding", "base64"),
            ("block-project-ssh-keys", "TRUE"),
        ] {
            it.tags = it.tags.with(key, Some(value));
        }
    });
    let listing = text(&world, &guest, "/instance/attributes/");
    let expected =
        ["Name", "block-project-ssh-keys", "disks", "id", "role", "ssh-keys", "startup-script"];
    assert_eq!(listing.lines().collect::<Vec<_>>(), expected);
    assert!(!text(&world, &guest, "/instance/attributes/ssh-keys").contains("root:"));
    assert_eq!(text(&world, &guest, "/instance/attributes/block-project-ssh-keys"), "TRUE");
    for name in ["user-data", "user-data-encoding", "..", "0=trap"] {
        let reply = world.answer(
            &guest,
            "GET",
            &format!("{V1}/instance/attributes/{name}"),
            &[FLAVOR],
            b"",
        );
        let Answer::Reply(reply) = reply else { panic!("{name}") };
        assert!(matches!(reply.status, Status::NotFound | Status::BadRequest), "{name}");
    }
    let bare = guest_with(&world, |it| {
        it.ssh_keys.clear();
        it.users.clear();
    });
    let reply = get(&world, &bare, "/instance/attributes/ssh-keys");
    assert_eq!(reply.status, Status::NotFound);
}

#[test]
fn an_etag_is_bare_and_of_the_content_that_is_asked_for() {
    let world = World::new();
    let one = guest(&world);
    let reply = get(&world, &one, "/instance/name");
    let mut tag = String::new();
    reply.for_each_header(|name, value| {
        if name == "etag" {
            tag = String::from_utf8_lossy(value).into_owned();
        }
    });
    assert_eq!(tag, format!("{:016x}", reply.etag.unwrap()));
    let other = guest_with(&world, |it| it.tags = it.tags.with("new", Some("tag")));
    let tag = |guest: &Guest, path: &str| get(&world, guest, path).etag.unwrap();
    for path in ["/instance/name", "/instance/", "/project/?recursive=true"] {
        assert_eq!(tag(&one, path), tag(&other, path), "{path}");
    }
    for path in
        ["/?recursive=true", "/instance/attributes/", "/instance/attributes/?recursive=true"]
    {
        assert_ne!(tag(&one, path), tag(&other, path), "{path}");
    }
}
