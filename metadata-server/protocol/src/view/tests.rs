//! Golden trees of every dialect, and crawls through them as clients do.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use mezame_model::{Guest, TokenPolicy};

use super::*;
use crate::{fixture::World, tree::tests::crawl};

#[test]
fn no_dialects_paths_shadow_anothers() {
    let all = || ROOTS.iter().flat_map(|(it, roots)| roots.iter().map(move |root| (*it, *root)));
    let are_rivals = |one, other| {
        Dialect::RIVALS.contains(&(one, other)) || Dialect::RIVALS.contains(&(other, one))
    };
    for (at, (one, root)) in all().enumerate() {
        assert!(!root.is_empty() && root.split('/').count() <= 2, "{root:?} is no root");
        for (other, theirs) in all().skip(at + 1) {
            let is_below =
                |a: &str, b: &str| a.strip_prefix(b).is_some_and(|it| it.starts_with('/'));
            let clash = root == theirs || is_below(root, theirs) || is_below(theirs, root);
            assert!(!clash || are_rivals(one, other), "{root} and {theirs}");
        }
    }
    for dialect in Dialect::ALL {
        assert!(ROOTS.iter().any(|(known, _)| *known == dialect), "{dialect:?} has no path");
    }
}

/// A tree as text: each path, its type, its body.
pub(super) fn golden(world: &World, guest: &Guest, roots: &[&str]) -> String {
    let mut out = String::new();
    for root in roots {
        for (path, reply) in crawl(world, guest, root) {
            let kind = if path.ends_with('/') { "listing" } else { reply.content_type };
            let body = match std::str::from_utf8(&reply.body) {
                Ok(text) => text.to_owned(),
                Err(_) => format!("base64 {}", STANDARD.encode(&reply.body)),
            };
            out.push_str(&format!("== {path} ({kind}, {} bytes)\n{body}\n", reply.body.len()));
        }
    }
    out
}

/// Crawls a tree, and checks of every path in it what holds for all trees: a slash at the end
/// changes nothing, nothing lies below a leaf, HEAD is GET without the body, nothing is written.
pub(super) fn check_tree(world: &World, guest: &Guest, root: &str) -> usize {
    let found = crawl(world, guest, root);
    for (path, reply) in &found {
        let other = match path.strip_suffix('/') {
            Some(without) => without.to_owned(),
            None => format!("{path}/"),
        };
        assert_eq!(world.get(guest, &other), *reply, "{other}");
        let below = format!("{}/no-such-thing", path.trim_end_matches('/'));
        assert_eq!(world.get(guest, &below).status, Status::NotFound, "{below}");
        let head = world.ask(guest, "HEAD", path, &[]);
        assert_eq!(head, reply.clone().without_body(), "{path}");
        for method in ["PUT", "POST", "DELETE", "OPTIONS"] {
            let reply = world.ask(guest, method, path, &[]);
            assert_eq!(reply.status, Status::MethodNotAllowed, "{method} {path}");
            assert_eq!(reply.allow, Some("GET, HEAD"));
        }
    }
    found.len()
}

#[test]
fn the_ec2_tree_is_as_it_was() {
    let world = World::new();
    insta::assert_snapshot!("ec2-latest", golden(&world, &world.web(), &["/latest/"]));
}

#[test]
fn each_ec2_version_has_the_paths_that_it_had() {
    let world = World::new();
    let mut out = String::new();
    for version in ec2::VERSIONS {
        let found = crawl(&world, &world.web(), &format!("/{version}/"));
        let leaves = found.iter().map(|(path, _)| path.as_str()).filter(|it| !it.ends_with('/'));
        out.push_str(&leaves.collect::<Vec<_>>().join("\n"));
        out.push_str("\n\n");
    }
    insta::assert_snapshot!("ec2-versions", out);
}

#[test]
fn the_nocloud_tree_is_as_it_was() {
    let world = World::new();
    insta::assert_snapshot!("nocloud", golden(&world, &world.web(), &["/nocloud/"]));
}

#[test]
fn the_mezame_tree_is_as_it_was() {
    let world = World::new();
    insta::assert_snapshot!("mezame", golden(&world, &world.web(), &["/mezame/"]));
}

#[test]
fn the_trees_of_a_guest_with_little_are_as_they_were() {
    let world = World::new();
    // Tokens would be in the way of the crawl; they have tests of their own.
    let mut guest = world.db();
    Arc::make_mut(&mut guest.instance).tokens = TokenPolicy::Optional;
    insta::assert_snapshot!("minimal", golden(&world, &guest, &["/latest/", "/mezame/"]));
}

#[test]
fn the_root_lists_what_the_guest_is_answered_in() {
    let world = World::new();
    let web = world.web();
    assert_eq!(
        world.text(&web, "/"),
        "1.0\n2009-04-04\n2016-09-02\n2018-09-24\n2019-10-01\n2021-01-03\n2021-03-23\nlatest\n\
         nocloud/\nmezame/"
    );
    let only = world.web_with(|it| it.dialects = [Dialect::Mezame].into());
    assert_eq!(world.text(&only, "/"), "mezame/");
    for path in ["/latest/meta-data/instance-id", "/nocloud/meta-data", "/1.0"] {
        assert_eq!(world.get(&only, path).status, Status::NotFound, "{path}");
    }
}

#[test]
fn a_reply_has_the_headers_that_ec2s_have() {
    let world = World::new();
    let reply = world.get(&world.web(), "/latest/meta-data/instance-id");
    let mut headers = Vec::new();
    reply.for_each_header(|name, value| {
        headers.push(format!("{name}: {}", String::from_utf8_lossy(value)));
    });
    let tag = format!("etag: \"{:016x}\"", reply.etag.unwrap());
    assert_eq!(
        headers,
        [
            "content-type: text/plain",
            "content-length: 19",
            &tag,
            "accept-ranges: none",
            "last-modified: Fri, 15 Jan 2027 07:59:59 GMT",
        ]
    );
}
