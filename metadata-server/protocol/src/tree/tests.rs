//! Tests of the tree: listings and leaves agree, whatever the table.

use super::*;
use crate::{
    fixture::World,
    response::{Response, Status},
};

/// Every path below `from` that listings lead to, in their order, with what it answers.
///
/// As cloud-init reads listings: a line with a slash at its end is a directory, `N=NAME` is a key
/// in `N/openssh-key`, any other line is a leaf.
pub(crate) fn crawl(world: &World, guest: &Guest, from: &str) -> Vec<(String, Response)> {
    let mut found = Vec::new();
    let mut waiting = vec![from.to_owned()];
    while let Some(path) = waiting.pop() {
        let reply = world.get(guest, &path);
        assert_eq!(reply.status, Status::Ok, "{path} is listed");
        if path.ends_with('/') {
            let listing = std::str::from_utf8(&reply.body).unwrap().to_owned();
            for line in listing.lines().rev() {
                // EC2's tops of trees are bare, so a crawler has to know them.
                let top = !path.starts_with("/nocloud/")
                    && path.split('/').count() == 3
                    && ["dynamic", "meta-data"].contains(&line);
                let key = line.split_once('=').filter(|(at, _)| at.parse::<u32>().is_ok());
                waiting.push(match key {
                    Some((at, _)) => format!("{path}{at}/"),
                    None if top => format!("{path}{line}/"),
                    None => format!("{path}{line}"),
                });
            }
        }
        found.push((path, reply));
        assert!(found.len() < 1000, "the tree is endless");
    }
    found
}

fn roots() -> Vec<String> {
    let versions = crate::view::ec2::VERSIONS.iter().map(|version| format!("/{version}/"));
    versions.chain(["/nocloud/".into(), "/mezame/".into()]).collect()
}

#[test]
fn every_listed_leaf_answers_and_every_directory_lists() {
    let world = World::new();
    let bare = world.web_with(|it| {
        it.ssh_keys.clear();
        it.tags.clear();
        it.secrets.clear();
        it.block_devices.clear();
        it.user_data = None;
        it.vendor_data = None;
    });
    for (guest, least) in [(world.web(), 150), (bare, 100)] {
        let paths: usize = roots().iter().map(|root| crawl(&world, &guest, root).len()).sum();
        assert!(paths > least, "{paths} paths");
    }
}

#[test]
fn a_slash_at_the_end_changes_nothing_that_is_read() {
    let world = World::new();
    let guest = world.web();
    for root in roots() {
        for (path, reply) in crawl(&world, &guest, &root) {
            let other = match path.strip_suffix('/') {
                Some(without) => without.to_owned(),
                None => format!("{path}/"),
            };
            assert_eq!(world.get(&guest, &other), reply, "{other}");
        }
    }
}

#[test]
fn nothing_lies_below_a_leaf() {
    let world = World::new();
    let guest = world.web();
    for root in roots() {
        for (path, _) in crawl(&world, &guest, &root) {
            let below = format!("{}/no-such-thing", path.trim_end_matches('/'));
            assert_eq!(world.get(&guest, &below).status, Status::NotFound, "{below}");
        }
    }
}

#[test]
fn head_answers_every_path_like_get_without_the_body() {
    let world = World::new();
    let guest = world.web();
    for root in roots() {
        for (path, reply) in crawl(&world, &guest, &root) {
            let head = world.ask(&guest, "HEAD", &path, &[]);
            assert_eq!(head, reply.without_body(), "{path}");
            assert!(head.body.is_empty() && head.audit.is_none());
        }
    }
}

#[test]
fn every_path_that_is_read_refuses_other_methods_with_405_and_allow() {
    let world = World::new();
    let guest = world.web();
    for root in roots() {
        for (path, _) in crawl(&world, &guest, &root) {
            for method in ["PUT", "POST", "DELETE", "PATCH", "OPTIONS", "get"] {
                let reply = world.ask(&guest, method, &path, &[]);
                assert_eq!(reply.status, Status::MethodNotAllowed, "{method} {path}");
                assert_eq!(reply.allow, Some("GET, HEAD"));
            }
        }
    }
}

#[test]
fn entries_of_a_directory_have_different_names() {
    fn check(directory: &Directory, path: &str) {
        let mut names = Vec::new();
        for entry in directory.entries {
            let name = match &entry.name {
                Name::Fixed(name) => *name,
                Name::Family(_) => "*",
            };
            assert!(!names.contains(&name), "{path}/{name} is there twice");
            // A family that stands before a fixed name would take its path.
            assert!(!names.contains(&"*"), "{path}: a family shadows {name}");
            names.push(name);
            if let Node::Directory(below) = &entry.node {
                check(below, &format!("{path}/{name}"));
            }
        }
    }
    check(crate::view::ec2::root(), "/latest");
    check(crate::view::nocloud::root(), "/nocloud");
    check(crate::view::mezame::root(), "/mezame");
}

#[test]
fn a_name_that_a_client_would_misread_is_no_segment() {
    for good in ["Name", "a=b", "x@y", "a:b", "=", "1.5", "a+b", "=1"] {
        assert!(is_plain_segment(good), "{good}");
    }
    for bad in ["", ".", "..", "a/b", "a b", "a%b", "ä", "0=a", "+1=a", "1_0=a", "a\n", "a?b"] {
        assert!(!is_plain_segment(bad), "{bad:?}");
    }
}
