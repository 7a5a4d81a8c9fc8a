//! What an operator changes while a guest runs, and how the guest notices: each dialect's own way,
//! from `mezame` through the control plane to the guest's card. See docs/live-changes.md.

mod agent;
mod passwords;

use std::{
    net::TcpStream,
    time::{Duration, Instant},
};

use mezame_tests::{
    Lab,
    client_machine::ClientMachine,
    http::{Connection, Response},
    namespace_guest::NamespaceGuest,
    process::{self, Background},
    wait::{self, SOON},
};
use serde_json::{Value, json};

use crate::seeds::{self, MAC};

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHVX0ZgvF5mRN0E7jMUbV4ZRHpPYHx7HAzn7dUUuSl2n ada";
const OTHER_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKTu3ewZ3Nq0vXnE0lH0zR1mJZ6vXqYxkqgq0Yx2a7bD ada";

/// Google's own path.
const GCE: &str = "/computeMetadata/v1/instance";

/// What a guest reads, and which changes it shows there: of `u`ser-data, `k`eys, `t`ags and guest
/// `a`ttributes.
const PLACES: &[(&str, &str)] = &[
    ("/latest/user-data", "u"),
    ("/latest/meta-data/public-keys/0/openssh-key", "k"),
    ("/latest/meta-data/tags/instance/role", "t"),
    ("/latest/meta-data/hostname", ""),
    ("/openstack/latest/user_data", "u"),
    ("/openstack/latest/meta_data.json", "kt"),
    ("/openstack/latest/network_data.json", ""),
    ("/nocloud/user-data", "u"),
    ("/nocloud/meta-data", "k"),
    ("/nocloud/network-config", ""),
    ("/computeMetadata/v1/instance/attributes/user-data", "u"),
    ("/computeMetadata/v1/instance/attributes/ssh-keys", "k"),
    ("/computeMetadata/v1/instance/attributes/role", "t"),
    ("/computeMetadata/v1/instance/guest-attributes/app/state", "a"),
    ("/computeMetadata/v1/instance/?recursive=true", "ukta"),
    ("/metadata/instance?api-version=2021-02-01", "ukt"),
    ("/metadata/v1/user-data", "u"),
    ("/metadata/v1/public-keys", "k"),
    ("/metadata/v1.json", "ukt"),
    ("/hetzner/v1/userdata", "u"),
    ("/hetzner/v1/metadata/public-keys", "k"),
    ("/hetzner/v1/metadata", "k"),
    ("/user-data/user-data", "u"),
    ("/v1/public-keys", "k"),
    ("/v1.json", "uk"),
    ("/mezame/v1/document", "ukt"),
];
const DIALECTS: &[&str] =
    &["ec2", "openstack", "nocloud", "gce", "azure", "digitalocean", "hetzner", "vultr", "mezame"];
/// The same of CloudStack, whose paths others have too.
const CLOUDSTACK_PLACES: &[(&str, &str)] = &[
    ("/latest/user-data", "u"),
    ("/latest/meta-data/public-keys", "k"),
    ("/latest/meta-data/local-hostname", ""),
    ("/mezame/v1/document", "ukt"),
];

/// A running guest, and what its operator wrote.
struct Running {
    guest: NamespaceGuest,
    documents: Vec<Value>,
    lab: Lab,
}

impl Running {
    fn with(dialects: &[&str]) -> Self {
        let more = json!({
            "user_data": "first-data", "ssh_keys": [KEY], "tags": {"role": "front"},
            "dialects": dialects,
        });
        let documents = seeds::tenant("tenant-a", 1000, "tapa", &more);
        let lab = Lab::start().unwrap();
        lab.operator.apply(&documents).unwrap();
        let guest = lab.guest("tapa", MAC, &["192.168.0.10/24"]).unwrap();
        seeds::until_known(&guest);
        Self { guest, documents, lab }
    }

    /// Applies this kind's document with these fields.
    fn apply(&mut self, kind: &str, fields: &Value) {
        let document = self.documents.iter_mut().find(|it| it["kind"] == kind).unwrap();
        document.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        self.lab.operator.apply(&self.documents).unwrap();
    }

    /// Changes a line of the instance by `mezame edit`, with sed as the editor.
    fn edit(&self, field: &str, value: &str) {
        let mut edit = self.lab.operator.command(&["edit", "instance", "guest", "-p", "tenant-a"]);
        let editor = format!("sed -i 's/^{field}: .*/{field}: {value}/'");
        process::succeed(edit.env("VISUAL", editor)).unwrap();
    }

    /// Lets the guest write an attribute of its own.
    fn put_attribute(&self, value: &str) {
        let path = format!("{GCE}/guest-attributes/app/state");
        let mut connection = self.guest.connect().unwrap();
        let put = connection.send("PUT", &path, &HEADERS, value.as_bytes()).unwrap();
        assert_eq!(put.status, 200, "{}", put.text());
    }

    fn get(&self, path: &str) -> Response {
        self.guest.connect().unwrap().get(path, &HEADERS).unwrap()
    }

    /// Sends a request that the service is to hold back, and waits until it does.
    fn begin(&mut self, path: &str, waiting: u32) -> Connection<TcpStream> {
        let mut connection = self.guest.connect().unwrap();
        connection.write_request("GET", path, &HEADERS, b"").unwrap();
        wait::until("the service to hold the request", SOON, || {
            let held = self.lab.server().metrics()?.sum("mezame_watches", &[]);
            anyhow::ensure!((held - f64::from(waiting)).abs() < 0.5, "{held} are held");
            Ok(())
        })
        .unwrap();
        connection
    }
}

/// What Google's and Azure's paths want; others don't mind.
const HEADERS: [(&str, &str); 2] = [("Metadata-Flavor", "Google"), ("Metadata", "true")];

fn tag(response: &Response) -> String {
    response.header("etag").unwrap_or_else(|| panic!("no tag: {response:?}")).to_owned()
}

/// The content as far as it tells of the guest: without what is drawn anew for each request, and
/// without what counts all tenants' changes.
fn content(response: &Response) -> String {
    let Ok(Value::Object(mut fields)) = response.json() else { return response.text() };
    fields.remove("random_seed");
    if fields.contains_key("instance_id") {
        fields.remove("generation");
    }
    Value::Object(fields).to_string()
}

/// Each place's answer now.
fn read(running: &Running, places: &[(&str, &str)]) -> Vec<Response> {
    let read = places.iter().map(|(path, _)| {
        let response = running.get(path);
        assert!(response.status == 200, "{path}: {response:?}");
        response
    });
    read.collect()
}

/// Makes a change and shows that the places that tell of it have other tags and contents, and
/// that no other has.
fn assert_noticed(
    running: &mut Running,
    places: &[(&str, &str)],
    change: char,
    act: impl FnOnce(&mut Running),
) {
    let before = read(running, places);
    act(running);
    let telling = places.iter().position(|(_, shows)| shows.contains(change)).unwrap();
    wait::until("the change", SOON, || {
        anyhow::ensure!(tag(&running.get(places[telling].0)) != tag(&before[telling]), "none");
        Ok(())
    })
    .unwrap();
    for (((path, shows), old), new) in places.iter().zip(&before).zip(read(running, places)) {
        let tells = shows.contains(change);
        assert_eq!(content(old) != content(&new), tells, "{change}: content of {path}");
        assert_eq!(tag(old) != tag(&new), tells, "{change}: tag of {path}");
        let has = tag(old);
        let header = [HEADERS[0], HEADERS[1], ("If-None-Match", has.as_str())];
        let asked = running.guest.connect().unwrap().get(path, &header).unwrap();
        assert_eq!(asked.status, if tells { 200 } else { 304 }, "{change}: {path}");
    }
}

fn assert_all_noticed(running: &mut Running, places: &[(&str, &str)]) {
    assert_noticed(running, places, 'u', |it| it.edit("user_data", "second-data"));
    // What follows is written beside it.
    running.apply("Instance", &json!({"user_data": "second-data"}));
    assert_noticed(running, places, 'k', |it| {
        it.apply("Instance", &json!({"ssh_keys": [OTHER_KEY]}));
    });
    assert_noticed(running, places, 't', |it| {
        it.apply("Instance", &json!({"tags": {"role": "back"}}));
    });
}

#[test]
fn a_tag_changes_with_its_content_and_with_nothing_else_in_each_dialect() {
    let mut running = Running::with(DIALECTS);
    running.put_attribute("starting");
    wait::until("the attribute", SOON, || {
        let status = running.get(&format!("{GCE}/guest-attributes/app/state")).status;
        anyhow::ensure!(status == 200, "status {status}");
        Ok(())
    })
    .unwrap();
    assert_all_noticed(&mut running, PLACES);
    assert_noticed(&mut running, PLACES, 'a', |it| it.put_attribute("started"));
}

#[test]
fn cloudstacks_tags_change_with_their_content_and_with_nothing_else() {
    assert_all_noticed(&mut Running::with(&["cloudstack", "mezame"]), CLOUDSTACK_PLACES);
}

#[test]
fn another_tenants_change_changes_no_tag() {
    let mut running = Running::with(DIALECTS);
    let places: Vec<_> = PLACES.iter().filter(|(_, shows)| *shows != "a").copied().collect();
    let before: Vec<_> = read(&running, &places).iter().map(tag).collect();
    let generation = |running: &mut Running| {
        running.lab.server().metrics().unwrap().sum("mezame_generation", &[])
    };
    let old = generation(&mut running);
    let other = seeds::tenant("tenant-b", 2000, "tapb", &json!({"user_data": "other"}));
    running.lab.operator.apply(&other).unwrap();
    wait::until("the other tenant's change", SOON, || {
        anyhow::ensure!(generation(&mut running) > old, "it has not come");
        Ok(())
    })
    .unwrap();
    assert_eq!(read(&running, &places).iter().map(tag).collect::<Vec<_>>(), before);
}

#[test]
fn googles_waits_end_with_the_new_value_with_the_old_one_and_at_once() {
    let mut running = Running::with(&["gce"]);
    running.put_attribute("starting");
    let all = format!("{GCE}/?recursive=true&alt=json");
    let leaf = format!("{GCE}/attributes/role?alt=text");
    let attribute = format!("{GCE}/guest-attributes/app/state?alt=text");
    wait::until("the attribute", SOON, || {
        anyhow::ensure!(running.get(&attribute).status == 200, "it is not there");
        Ok(())
    })
    .unwrap();
    let had = [&all, &leaf, &attribute].map(|path| running.get(path));
    let wait = |path: &str, had: &Response, seconds: u32| {
        format!("{path}&wait_for_change=true&last_etag={}&timeout_sec={seconds}", tag(had))
    };
    for (path, had) in [(&all, &had[0]), (&leaf, &had[1])] {
        let began = Instant::now();
        let same = running.get(&wait(path, had, 1));
        assert!(began.elapsed() >= Duration::from_millis(900), "it did not wait");
        assert_eq!((same.status, tag(&same)), (200, tag(had)));
        assert_eq!(same.text(), had.text());
    }
    let mut whole = running.begin(&wait(&all, &had[0], 300), 1);
    let mut one = running.begin(&wait(&leaf, &had[1], 300), 2);
    let mut other = running.begin(&wait(&attribute, &had[2], 300), 3);
    running.apply("Instance", &json!({"tags": {"role": "back"}}));
    let new = whole.response(false).unwrap();
    assert_eq!(new.json().unwrap()["attributes"]["role"], "back");
    assert_ne!(tag(&new), tag(&had[0]));
    assert_eq!(one.response(false).unwrap().text().trim_end(), "back");
    // Who waits for something else is not woken by that.
    other.set_read_bound(Duration::from_millis(500)).unwrap();
    assert!(other.response(false).is_err(), "it was woken");
    other.set_read_bound(SOON).unwrap();
    running.put_attribute("started");
    assert_eq!(other.response(false).unwrap().text().trim_end(), "started");
    // What was missed in between is told at once.
    let mut late = running.guest.connect().unwrap();
    late.set_read_bound(SOON).unwrap();
    let told = late.get(&wait(&leaf, &had[1], 300), &HEADERS).unwrap();
    assert_eq!(told.text().trim_end(), "back");
}

#[test]
fn our_watch_ends_with_each_change_of_the_document_and_with_304_without_one() {
    let mut running = Running::with(&["mezame"]);
    let document = |has: &Response, seconds: u32| {
        let tag = tag(has).replace('"', "");
        format!("/mezame/v1/document?watch={tag}&timeout={seconds}")
    };
    let mut has = running.get("/mezame/v1/document");
    assert_eq!(running.get(&document(&has, 1)).status, 304);
    let changes: [(&str, Value, &str); 8] = [
        ("Instance", json!({"user_data": "second-data"}), "/user_data"),
        ("Instance", json!({"ssh_keys": [OTHER_KEY]}), "/ssh_keys"),
        ("Instance", json!({"users": [{"name": "ada", "sudo": true}]}), "/users"),
        ("Instance", json!({"tags": {"role": "back"}}), "/tags"),
        ("Instance", json!({"hostname": "renamed"}), "/hostname"),
        ("Instance", json!({"secrets": {"join-token": "hush"}}), "/secrets"),
        ("Network", json!({"dns": ["192.168.0.2"], "mtu": 1400}), "/interfaces"),
        ("Port", json!({"addresses": ["192.168.0.10", "192.168.0.11"]}), "/interfaces"),
    ];
    for (kind, fields, shown_at) in changes {
        let mut watch = running.begin(&document(&has, 300), 1);
        running.apply(kind, &fields);
        let now = watch.response(false).unwrap();
        assert_eq!(now.status, 200, "{fields}");
        let [before, after] = [&has, &now].map(|it| it.json().unwrap());
        assert_ne!(before.pointer(shown_at), after.pointer(shown_at), "{fields}");
        has = now;
    }
}

#[test]
fn the_documented_loop_runs_its_command_at_each_change() {
    let mut running = Running::with(&["mezame"]);
    let page = include_str!("../../docs/live-changes.md");
    let (_, block) = page.split_once("```sh\n").unwrap();
    let (script, _) = block.split_once("```").unwrap();
    let machine = ClientMachine::make(&running.guest, &[], running.lab.directory()).unwrap();
    machine.write("/root/loop.sh", script).unwrap();
    let command = "#!/bin/sh\ngrep -o '\"role\":\"[a-z]*\"' /run/document >> /root/seen\n";
    machine.write("/usr/local/sbin/on-change", command).unwrap();
    let log = running.lab.directory().join("loop.log");
    let mut process = machine.command(&["sh", "/root/loop.sh"]);
    let mut looping = Background::start("the loop", &mut process, &log).unwrap();
    let mut seen = String::new();
    for role in ["front", "back", "side"] {
        running.apply("Instance", &json!({"tags": {"role": role}}));
        seen += &format!("\"role\":\"{role}\"\n");
        wait::until("the command to be run", SOON, || {
            looping.ensure_running()?;
            let now = machine.read("/root/seen")?;
            anyhow::ensure!(now == seen, "it saw {now}");
            Ok(())
        })
        .unwrap();
    }
}

#[test]
fn a_dialect_is_answered_from_its_change_on_and_no_longer() {
    let mut running = Running::with(&["ec2"]);
    let status = |running: &Running, path: &str| running.get(path).status;
    assert_eq!(status(&running, "/v1.json"), 404);
    running.apply("Instance", &json!({"dialects": ["vultr"]}));
    wait::until("the other dialect", SOON, || {
        anyhow::ensure!(status(&running, "/v1.json") == 200, "it is not there");
        Ok(())
    })
    .unwrap();
    assert_eq!(status(&running, "/latest/meta-data/"), 404);
}

#[test]
fn an_advertisement_reaches_the_guest_unasked_when_its_network_changes() {
    let mut running = Running::with(&["ec2"]);
    let resolvers = |dns: &[&str]| {
        json!({
            "subnets": [{"cidr": "192.168.0.0/24"}, {"cidr": "2001:db8:1::/64"}], "dns": dns,
        })
    };
    running.apply("Network", &resolvers(&["2001:db8:1::53"]));
    let until_told = |running: &Running, expected: &[(&str, u32)]| {
        let expected = expected.iter().map(|(resolver, time)| (resolver.parse().unwrap(), *time));
        let expected: Vec<(std::net::Ipv6Addr, u32)> = expected.collect();
        wait::until("an advertisement", SOON, || {
            let told = running.guest.capture().advertised_resolvers();
            anyhow::ensure!(told.last() == Some(&expected), "{told:?}");
            Ok(())
        })
        .unwrap();
    };
    until_told(&running, &[("2001:db8:1::53", 9000)]);
    let solicited = |running: &mut Running| {
        let metrics = running.lab.server().metrics().unwrap();
        metrics.sum("mezame_link_local_total", &["service=\"router\""])
    };
    // The guest asks no more.
    let quiet = "/proc/sys/net/ipv6/conf/eth0/accept_ra";
    running.guest.namespace().run(|| std::fs::write(quiet, "0")).unwrap().unwrap();
    let before = solicited(&mut running);
    running.guest.capture().clear();
    running.apply("Network", &resolvers(&["2001:db8:1::54"]));
    // The former one is taken back.
    until_told(&running, &[("2001:db8:1::54", 9000), ("2001:db8:1::53", 0)]);
    assert!((solicited(&mut running) - before).abs() < 0.5, "the guest has asked");
    // Another tenant's change tells it nothing.
    running.guest.capture().clear();
    let other = seeds::tenant("tenant-b", 2000, "tapb", &json!({}));
    running.lab.operator.apply(&other).unwrap();
    let other = running.lab.guest("tapb", MAC, &["192.168.0.10/24"]).unwrap();
    seeds::until_served(&other, "tenant-b");
    // Longer than the service takes to look at all records.
    std::thread::sleep(Duration::from_millis(2500));
    let told = running.guest.capture().advertised_resolvers();
    assert!(told.is_empty(), "{told:?}");
}
