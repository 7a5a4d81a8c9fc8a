//! `meta_data.json`: what the instance is, its name, its keys, and a seed for its randomness.
//!
//! A field is there from the edition on that added it. What nova leaves out where it is empty
//! (`meta`, `public_keys`, `keys`) is left out here too, as clients ask whether it is there.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use mezame_model::{Tags, smbios};
use serde::Serialize;

use super::{GRIZZLY, LIBERTY, NEWTON_ONE, VICTORIA};
use crate::{
    etag,
    render::key_comment,
    response::JSON,
    tree::{Body, Scope, is_plain_segment},
};

/// How many random bytes a guest gets.
const SEED: usize = 512;

/// The file.
#[derive(Serialize)]
struct MetaData<'a> {
    /// The same as SMBIOS says, so that clients know the instance again without asking.
    uuid: String,
    name: &'a str,
    hostname: String,
    availability_zone: String,
    launch_index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    project_id: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    public_keys: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "<[Key<'_>]>::is_empty")]
    keys: &'a [Key<'a>],
    #[serde(skip_serializing_if = "Tags::is_empty")]
    meta: &'a Tags,
    /// Devices that the tenant has tagged; there are no such tags here.
    #[serde(skip_serializing_if = "Option::is_none")]
    devices: Option<[(); 0]>,
    /// Processors that nobody else uses; which those are, the hypervisor doesn't tell us.
    #[serde(skip_serializing_if = "Option::is_none")]
    dedicated_cpus: Option<[(); 0]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    random_seed: Option<String>,
}

/// A key of the image's default user.
#[derive(Serialize)]
struct Key<'a> {
    name: String,
    #[serde(rename = "type")]
    kind: &'static str,
    data: &'a str,
}

/// The leaf.
pub(super) fn read(scope: &Scope<'_>) -> Body {
    let guest = scope.guest;
    let instance = &guest.instance;
    let keys = keys(&instance.ssh_keys);
    let has = |edition| scope.edition >= edition;
    let mut data = MetaData {
        uuid: smbios::uuid(&instance.id),
        name: instance.name.as_str(),
        hostname: guest.fqdn(),
        availability_zone: guest.zone(),
        launch_index: instance.launch_index,
        project_id: has(LIBERTY).then(|| instance.project.as_str()),
        public_keys: keys.iter().map(|key| (key.name.as_str(), key.data)).collect(),
        keys: &keys,
        meta: &instance.tags,
        devices: has(NEWTON_ONE).then_some([]),
        dedicated_cpus: has(VICTORIA).then_some([]),
        random_seed: None,
    };
    // The tag covers what is the instance's, and not the seed, which is another each time:
    // whoever asks again wants to know whether anything has changed.
    let tag = etag::of(&json(&data));
    data.random_seed = has(GRIZZLY).then(|| seed(scope)).flatten();
    Body { content_type: JSON, bytes: json(&data), etag: Some(tag), audit: None }
}

/// Serializing plain values fails only where a map's key is no text; there is none.
fn json(data: &MetaData<'_>) -> Bytes {
    serde_json::to_vec(data).unwrap_or_default().into()
}

/// Fresh random bytes; none where the system has none, rather than some that could be foreseen.
fn seed(scope: &Scope<'_>) -> Option<String> {
    let mut bytes = [0; SEED];
    scope.context.random.fill(&mut bytes).ok()?;
    Some(STANDARD.encode(bytes))
}

/// The distinct keys, each with a name of its own: clients file them by name, so that two keys of
/// one name would be one key to them. A comment is a name if it is plain and no other key has it;
/// the rest are numbered.
fn keys(lines: &[Box<str>]) -> Vec<Key<'_>> {
    let mut distinct: Vec<&str> = Vec::with_capacity(lines.len());
    for line in lines.iter().map(|line| line.trim()) {
        if !line.is_empty() && !distinct.contains(&line) {
            distinct.push(line);
        }
    }
    let comments: Vec<_> = distinct.iter().map(|line| key_comment(line)).collect();
    let is_name = |name: &str| {
        let times = comments.iter().filter(|it| **it == name).count();
        // What looks like one of our own numbers could be another key's.
        times == 1 && is_plain_segment(name) && !name.starts_with("key-")
    };
    let named = distinct.iter().zip(&comments).enumerate().map(|(at, (line, comment))| {
        let own = || format!("key-{at}");
        let name = if is_name(comment) { (*comment).to_owned() } else { own() };
        Key { name, kind: "ssh", data: line }
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_distinct_key_has_a_name_of_its_own() {
        let lines = [
            "ssh-ed25519 AAAAC3 alice@laptop",
            "ssh-rsa AAAAB3 bob",
            "ssh-rsa AAAAB4 bob",
            "ssh-rsa AAAAB5",
            "ssh-rsa AAAAB6 key-3",
            "command=\"x y\",no-pty ssh-rsa AAAAB7 with blanks",
            "ssh-ed25519 AAAAC3 alice@laptop\n",
            " ",
        ]
        .map(Box::from);
        let keys = keys(&lines);
        let names: Vec<_> = keys.iter().map(|key| key.name.as_str()).collect();
        assert_eq!(names, ["alice@laptop", "key-1", "key-2", "key-3", "key-4", "key-5"]);
        assert_eq!(keys[5].data, &*lines[5]);
    }
}
