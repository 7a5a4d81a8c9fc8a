//! How connections end: with their tenancy, and with their process.

use std::time::Duration;

use super::arena::{Arena, SOON, slot, until};
use crate::sandbox;

const INSTANCE_ID: &str = "/latest/meta-data/instance-id";

#[test]
fn a_connection_does_not_outlive_its_tenancy() {
    sandbox::enter();
    let arena = Arena::new();
    arena.serve(1);
    let mut client = arena.connect(1).unwrap();
    assert_eq!(client.get(INSTANCE_ID).status, 200);
    arena.serving.identities.remove(slot(1));
    assert!(client.is_ended());
}

#[test]
fn the_next_tenant_of_a_slot_is_not_seen_through_an_old_connection() {
    sandbox::enter();
    let arena = Arena::new();
    arena.serve(1);
    let mut old = arena.connect(1).unwrap();
    assert_eq!(old.get(INSTANCE_ID).status, 200);
    // Another tenancy of the same slot.
    arena.serve(1);
    assert!(old.is_ended());
    assert_eq!(arena.connect(1).unwrap().get(INSTANCE_ID).status, 200);
}

#[test]
fn a_watch_ends_with_its_tenancy() {
    sandbox::enter();
    let arena = Arena::new();
    let attachment = arena.serve(1);
    let mut client = arena.connect(1).unwrap();
    client.watch();
    until("the watch waits", || attachment.watches.now() == 1);
    arena.serving.identities.remove(slot(1));
    assert!(client.is_ended());
    until("its place is free", || attachment.watches.now() == 0);
}

#[test]
fn a_guest_that_shuts_its_side_behind_its_request_is_answered_and_its_watch_ends() {
    sandbox::enter();
    let arena = Arena::new();
    let attachment = arena.serve(1);
    // The end is there before the request is read, or not: each time it is answered.
    for _ in 0..20 {
        let mut client = arena.connect(1).unwrap();
        client.send(&format!("GET {INSTANCE_ID} HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n"));
        client.shut();
        assert_eq!(client.reply().unwrap().status, 200);
        assert!(client.is_ended());
    }
    let mut client = arena.connect(1).unwrap();
    client.watch();
    until("the watch waits", || attachment.watches.now() == 1);
    client.shut();
    assert_eq!(client.reply().unwrap().status, 304);
    assert!(client.is_ended());
}

#[test]
fn a_watch_of_a_guest_that_is_gone_gives_its_place_back() {
    sandbox::enter();
    let arena = Arena::new();
    let attachment = arena.serve(1);
    let mut client = arena.connect(1).unwrap();
    client.watch();
    until("the watch waits", || attachment.watches.now() == 1);
    drop(client);
    until("its place is free", || attachment.watches.now() == 0);
}

#[test]
fn a_draining_process_answers_what_comes_and_closes_each_connection_after_it() {
    sandbox::enter();
    let mut arena = Arena::new();
    let attachment = arena.serve(1);
    let (mut busy, mut watching) = (arena.connect(1).unwrap(), arena.connect(1).unwrap());
    assert_eq!(busy.get(INSTANCE_ID).status, 200);
    watching.watch();
    until("the watch waits", || attachment.watches.now() == 1);
    let guests = std::thread::spawn(move || {
        // The watch is answered long before its time; only the drain can have been the cause.
        let watched = watching.reply().unwrap();
        assert_eq!((watched.status, watched.header("connection")), (304, Some("close")));
        let last = busy.get(INSTANCE_ID);
        assert_eq!((last.status, last.header("connection")), (200, Some("close")));
        assert!(busy.is_ended() && watching.is_ended());
    });
    assert_eq!(arena.drain(SOON), 0);
    guests.join().unwrap();
}

#[test]
fn a_draining_process_cuts_who_stays_too_long() {
    sandbox::enter();
    let mut arena = Arena::new();
    arena.serve(1);
    let mut idle = arena.connect(1).unwrap();
    assert_eq!(idle.get(INSTANCE_ID).status, 200);
    assert_eq!(arena.drain(Duration::from_millis(100)), 1);
    assert!(idle.is_ended());
}
