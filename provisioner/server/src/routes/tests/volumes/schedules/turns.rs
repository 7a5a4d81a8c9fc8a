//! Which of several schedules begin, and which wait for each other.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::{AT, Depot, every};

#[tokio::test]
async fn one_begins_at_a_look_the_longest_due_first_and_one_that_waits_keeps_none_back() {
    let depot = Depot::with_backups().await;
    depot.made(json!({ "id": "third", "size": 1 << 20 })).await;
    // Of other guests: one guest has one backup at once.
    for (name, volume) in [("b", "data"), ("a", "third")] {
        let mut spec = every(3, &[volume], json!({}));
        spec["qmp"] = json!(format!("/run/{volume}.qmp"));
        depot.set(name, spec).await;
    }
    depot.set("c", every(2, &["web"], json!({}))).await;
    depot.set("d", every(2, &["web"], json!({}))).await;
    depot.pass(3);
    depot.noted.is_held.store(true, Ordering::SeqCst);
    let mut begun = Vec::new();
    for _ in 0..4 {
        depot.schedules.tick().await;
        for schedule in depot.plane().get(AT).await.json().as_array().unwrap() {
            let name = schedule["name"].as_str().unwrap().to_owned();
            if schedule["last"]["outcome"] == "running" && !begun.contains(&name) {
                begun.push(name);
            }
        }
    }
    // `c` and `d` are due since the hour before, and `d` waits for the volume of `c`.
    assert_eq!(begun, ["c", "a", "b"]);
    let d = depot.schedule("d").await;
    assert!(d["waiting"].as_str().unwrap().contains("the volume web"), "{d}");
    assert_eq!(d["last"], Value::Null);
    // One that runs is not begun once more, however late it is.
    let job = depot.schedule("c").await["last"]["job"].clone();
    depot.pass(30);
    depot.schedules.tick().await;
    assert_eq!(depot.schedule("c").await["last"]["job"], job);
    depot.noted.is_held.store(false, Ordering::SeqCst);
    for name in ["a", "b", "c", "d"] {
        assert_eq!(depot.settled(name).await["last"]["outcome"], "done");
    }
    assert_eq!(depot.schedule("d").await["waiting"], Value::Null);
}

#[tokio::test]
async fn one_waits_while_another_backs_up_another_volume_of_its_guest() {
    let depot = Depot::with_backups().await;
    depot.set("a", every(1, &["web"], json!({}))).await;
    depot.set("b", every(1, &["data"], json!({}))).await;
    depot.pass(1);
    depot.noted.is_held.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        depot.schedules.tick().await;
    }
    assert_eq!(depot.schedule("a").await["last"]["outcome"], "running");
    let b = depot.schedule("b").await;
    assert!(b["waiting"].as_str().unwrap().contains("/run/"), "{b}");
    assert_eq!(b["last"], Value::Null);
    depot.noted.is_held.store(false, Ordering::SeqCst);
    for name in ["a", "b"] {
        assert_eq!(depot.settled(name).await["last"]["outcome"], "done");
    }
}

#[tokio::test]
async fn schedules_leave_room_in_the_table_of_jobs_for_what_operators_ask_for() {
    let depot = Depot::with_backups().await;
    for number in 0..10 {
        let id = format!("guest-{number}");
        depot.made(json!({ "id": id, "size": 1 << 20 })).await;
        let mut spec = every(1, &[&id], json!({}));
        spec["qmp"] = json!(format!("/run/{id}.qmp"));
        depot.set(&id, spec).await;
    }
    depot.pass(1);
    depot.noted.is_held.store(true, Ordering::SeqCst);
    for _ in 0..12 {
        depot.schedules.tick().await;
    }
    // A quarter of 32.
    let all = depot.plane().get(AT).await.json();
    let count =
        |is: &dyn Fn(&Value) -> bool| all.as_array().unwrap().iter().filter(|it| is(it)).count();
    assert_eq!(count(&|it| it["last"]["outcome"] == "running"), 8);
    assert_eq!(count(&|it| it["waiting"] == "schedules' jobs that are at work"), 2);
    let body = json!({ "volumes": ["web"], "qmp": "/run/other" });
    let by_hand = depot.plane().post("/v1/projects/p/backups", body).await;
    assert_eq!(by_hand.status, 202, "{}", by_hand.text);
    depot.noted.is_held.store(false, Ordering::SeqCst);
    for number in 0..10 {
        assert_eq!(depot.settled(&format!("guest-{number}")).await["last"]["outcome"], "done");
    }
}
