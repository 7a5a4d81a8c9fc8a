//! A server that is killed or replaced while guests ask, and one that starts alone.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use mezame_tests::{
    Lab,
    load::{Load, Sample},
    namespace_guest::{Dial, NamespaceGuest},
    process,
    wait::{self, SOON},
};
use serde_json::{Value, json};

use crate::seeds::{self, MAC};

const REQUESTS: usize = 50_000;
const USER_DATA: &str = "/latest/user-data";
/// The limits on an abusive guest are not what is measured here.
const FLAGS: &[&str] = &["--requests-per-second", "0"];
const STANDALONE: &[&str] = &["--standalone", "--requests-per-second", "0"];

fn seed(number: u32, user_data: &str) -> Vec<Value> {
    let name = format!("tenant-{number}");
    let more = json!({"user_data": user_data});
    let mut documents = seeds::tenant(&name, 1000 + number, &format!("tap{number}"), &more);
    seeds::port_of(&mut documents)["rate_limit"] =
        json!({"frames_per_second": 1_000_000, "burst": 1_000_000});
    documents
}

fn guests(lab: &Lab) -> Vec<Arc<NamespaceGuest>> {
    (0..4)
        .map(|number| {
            lab.operator.apply(&seed(number, "before")).unwrap();
            let device = format!("tap{number}");
            let guest = lab.guest(&device, MAC, &["192.168.0.10/24"]).unwrap();
            seeds::until_served(&guest, &format!("tenant-{number}"));
            Arc::new(guest)
        })
        .collect()
}

fn until_answered(load: &Load, number: usize) {
    wait::until("the load to be under way", 10 * SOON, || {
        anyhow::ensure!(load.good() >= number, "{} answers", load.good());
        Ok(())
    })
    .unwrap();
}

fn failures(samples: &[Sample]) -> Vec<&String> {
    samples.iter().filter_map(|sample| sample.answer.as_ref().err()).collect()
}

#[test]
fn an_upgrade_in_the_middle_of_fifty_thousand_requests_loses_none() {
    let mut lab = Lab::start_with(FLAGS).unwrap();
    let guests = guests(&lab);
    let load = Load::begin(&guests, USER_DATA, REQUESTS);
    for upgrade in 1..=3 {
        until_answered(&load, upgrade * REQUESTS / 5);
        // Starting a second one with the same sockets is the upgrade; the first one ends.
        let next = lab.place.start_with(STANDALONE).unwrap();
        let mut old = lab.server.replace(next).unwrap();
        let ended = old.process.wait(SOON).unwrap();
        assert!(ended.success(), "the old server ended with {ended}");
    }
    let samples = load.finish().unwrap();
    assert_eq!(samples.len(), REQUESTS);
    let lost = failures(&samples);
    assert!(lost.is_empty(), "{} lost, such as {:?}", lost.len(), &lost[..lost.len().min(5)]);
    assert!(samples.iter().all(|sample| sample.answer.as_deref() == Ok("before")));
}

#[test]
fn after_a_kill_in_the_middle_of_fifty_thousand_requests_service_is_back_within_a_second() {
    let mut lab = Lab::start_with(FLAGS).unwrap();
    let guests = guests(&lab);
    let load = Load::begin(&guests, USER_DATA, REQUESTS);
    until_answered(&load, REQUESTS / 5);
    // What was stored before the kill must be what is served after it.
    for number in 0..4 {
        lab.operator.apply(&seed(number, "after")).unwrap();
    }
    let mut old = lab.server.take().unwrap();
    old.process.kill().unwrap();
    let killed = Instant::now();
    lab.server = Some(lab.place.start_with(STANDALONE).unwrap());
    // Asked by connections of their own: a guest whose SYN fell into the gap sends it again only
    // after a second (RFC 6298, section 2.1), which would be its clock's time and not ours.
    let dial = Dial { bound: Duration::from_millis(100), ..Dial::default() };
    wait::until("the service", SOON, || guests[0].connect_with(&dial)?.get(USER_DATA, &[]))
        .unwrap();
    let back = killed.elapsed();
    assert!(back < Duration::from_secs(1), "the service was away for {back:?}");

    let samples = load.finish().unwrap();
    let after: Vec<_> = samples.iter().filter(|sample| sample.sent > killed).collect();
    let stale = after.iter().filter(|sample| sample.answer.as_deref() == Ok("before")).count();
    assert_eq!(stale, 0, "stale answers after the kill");
    let good = after.iter().filter(|sample| sample.answer.as_deref() == Ok("after")).count();
    assert!(good > REQUESTS / 10, "only {good} good answers after the kill");
    // Once it is back it stays back.
    let last = samples.iter().max_by_key(|sample| sample.ended).unwrap();
    assert_eq!(last.answer.as_deref(), Ok("after"));
}

#[test]
fn a_server_goes_on_after_a_successor_that_failed_though_the_same_keeps_its_control_plane_away() {
    let mut lab = Lab::start().unwrap();
    let guest = Arc::clone(&guests(&lab)[0]);
    // No socket can be bound there, by nobody.
    let socket = lab.place.operator_socket();
    std::fs::remove_file(&socket).unwrap();
    std::fs::create_dir_all(socket.join("in the way")).unwrap();
    let mut next = lab.place.spawn(&["--standalone"]).unwrap();
    let ended = next.process.wait(SOON).unwrap();
    assert!(!ended.success(), "the successor ended with {ended}");
    let user_data = || guest.connect()?.get(USER_DATA, &[]);
    for _ in 0..20 {
        assert_eq!(user_data().unwrap().text(), "before");
        std::thread::sleep(Duration::from_millis(50));
    }
    lab.server().process.ensure_running().unwrap();
    // Mended.
    std::fs::remove_dir_all(&socket).unwrap();
    wait::until("the control plane", SOON, || lab.operator.apply(&seed(0, "after")).map(drop))
        .unwrap();
    wait::until("what was changed", SOON, || {
        let now = user_data()?;
        anyhow::ensure!(now.text() == "after", "{}", now.text());
        Ok(())
    })
    .unwrap();
    let next = lab.place.start().unwrap();
    let mut old = lab.server.replace(next).unwrap();
    assert!(old.process.wait(SOON).unwrap().success());
    assert_eq!(user_data().unwrap().text(), "after");
}

#[test]
fn a_session_token_is_still_good_after_a_kill() {
    let mut lab = Lab::start().unwrap();
    lab.operator
        .apply(&seeds::tenant("tenant-a", 1000, "tapa", &json!({"tokens": "required"})))
        .unwrap();
    let guest = lab.guest("tapa", MAC, &["192.168.0.10/24"]).unwrap();
    let token = wait::until("a token", SOON, || guest.token()).unwrap();
    lab.server().process.kill().unwrap();
    lab.server = Some(lab.place.start().unwrap());
    let mut connection = wait::until("the service", SOON, || guest.connect()).unwrap();
    let headers = [(mezame_tests::http::TOKEN, token.as_str())];
    let answer = connection.get("/latest/meta-data/hostname", &headers).unwrap();
    assert_eq!(answer.text(), "tenant-a");
}

#[test]
fn a_hypervisor_that_starts_cold_without_its_control_plane_serves_its_guests() {
    let mut lab = Lab::start().unwrap();
    lab.operator
        .apply(&seeds::tenant("tenant-a", 1000, "tapa", &json!({"user_data": "kept"})))
        .unwrap();
    let first = lab.guest("tapa", MAC, &["192.168.0.10/24"]).unwrap();
    seeds::until_served(&first, "tenant-a");
    let generation = lab.server().metrics().unwrap().sum("mezame_generation", &[]);
    assert!(generation > 1.0);
    wait::until("the ledger to hold it", SOON, || {
        let held = lab.server().metrics()?.sum("mezame_ledger_generation", &[]);
        anyhow::ensure!(held >= generation, "it holds {held} of {generation}");
        Ok(())
    })
    .unwrap();
    lab.server().process.kill().unwrap();
    drop(first);
    // A reboot: the device, the links, the maps and the namespace are gone. Only the disk is left.
    drop(lab.server.take());
    let pins = std::path::Path::new("/sys/fs/bpf/mezame");
    std::fs::remove_dir_all(pins).unwrap();
    lab.server = Some(lab.place.start_with(&[]).unwrap());
    let guest = lab.guest("tapa", MAC, &["192.168.0.10/24"]).unwrap();
    seeds::until_served(&guest, "tenant-a");
    assert_eq!(guest.get("/latest/user-data").unwrap().text(), "kept");
    let metrics = lab.server().metrics().unwrap();
    assert!(metrics.sum("mezame_control_plane_reachable", &[]) < 1.0);
}

#[test]
fn a_port_that_is_deleted_under_an_open_connection_takes_the_connection_with_it() {
    let mut lab = Lab::start().unwrap();
    lab.operator.apply(&seeds::tenant("tenant-a", 1000, "tapa", &json!({}))).unwrap();
    let guest = lab.guest("tapa", MAC, &["192.168.0.10/24"]).unwrap();
    seeds::until_served(&guest, "tenant-a");
    let mut idle = guest.connect().unwrap();
    idle.get("/latest/meta-data/hostname", &[]).unwrap();
    // This one has a request under way for as long as nobody changes anything.
    let document = guest.get("/mezame/v1/document").unwrap();
    let etag = document.header("etag").expect("an ETag").replace('"', "");
    let mut watch = guest.connect().unwrap();
    let path = format!("/mezame/v1/document?watch={etag}&timeout=60");
    watch.write_request("GET", &path, &[], b"").unwrap();
    wait::until("both connections", SOON, || {
        let open = sockets_of_the_service(&lab)?;
        anyhow::ensure!(open >= 2, "{open} are open");
        Ok(())
    })
    .unwrap();
    lab.operator.delete("instance", "tenant-a", "guest").unwrap();
    lab.operator.delete("port", "tenant-a", "port").unwrap();
    wait::until("the end of both connections", SOON, || {
        let open = sockets_of_the_service(&lab)?;
        anyhow::ensure!(open == 0, "{open} are open");
        Ok(())
    })
    .unwrap();
    let attached = lab.server().local("/ports").unwrap().json().unwrap();
    assert_eq!(attached, json!([]));
    for (name, connection) in [("idle", &mut idle), ("watch", &mut watch)] {
        connection.set_read_bound(Duration::from_secs(2)).unwrap();
        // Reset, closed or silent, but never an answer.
        let told = match connection.get("/latest/meta-data/hostname", &[]) {
            // The watch may still be told that its record has gone.
            Ok(answer) if name == "watch" && answer.status == 503 => continue,
            Ok(answer) => answer.text(),
            Err(_) => continue,
        };
        panic!("{name} was answered: {told}");
    }
    let dial = Dial { bound: Duration::from_secs(2), ..Dial::default() };
    assert!(guest.connect_with(&dial).is_err(), "a port that is gone still connects");
}

/// How many TCP connections, in whatever state, there are in the service's namespace.
fn sockets_of_the_service(lab: &Lab) -> anyhow::Result<usize> {
    let inside = "--net=/run/netns/mezame-metadata";
    let mut list = lab.hypervisor.command("nsenter");
    let text = process::output(list.args([inside, "cat", "/proc/net/tcp"]))?;
    // The first line is a header, and state 0A is the listener (linux/tcp_states.h).
    Ok(text.lines().skip(1).filter(|line| line.split_whitespace().nth(3) != Some("0A")).count())
}
