//! Tests of the takeover: the sockets pass on, whatever dies on the way.

use std::os::{fd::AsFd, unix::net::UnixListener};

use super::*;
use crate::{entrances::Entrance, taps::table::Tenancy};

fn state() -> HandOver {
    HandOver {
        tenancies: vec![Adopted {
            ifindex: 7,
            tenancy: Tenancy {
                port: crate::fixture::port_id(1),
                instance: Some(crate::fixture::instance_id(1)),
                device: crate::fixture::device(1),
            },
            slot: 5,
            generation: 6,
            taken: Some(crate::identity::Taken { carriers: 2, since_ms: 3 }),
        }],
        next_slot: 9,
        entrances: vec!["http".into(), "dns".into()],
    }
}

#[tokio::test]
async fn state_and_sockets_reach_the_successor_and_its_readiness_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("door");
    let door = Door::open(&path).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let addresses = (listener.local_addr().unwrap(), socket.local_addr().unwrap());
    let new = tokio::spawn(async move {
        let (predecessor, entrances) = take_over(&path).await.unwrap().unwrap();
        assert_eq!(predecessor.state, state());
        let listeners = entrances.listeners(&[Entrance::Http]).unwrap();
        let sockets = entrances.datagrams(&[Entrance::Dns, Entrance::Dns6]).unwrap();
        assert_eq!((listeners.len(), sockets.len()), (1, 1));
        let handed = (listeners[0].local_addr().unwrap(), sockets[0].local_addr().unwrap());
        assert_eq!(handed, addresses);
        predecessor.ready().unwrap();
        predecessor.gone().await;
    });
    let successor = door.knock().await;
    assert_eq!(successor.pid(), std::process::id());
    let sockets = [listener.as_fd(), socket.as_fd()];
    assert!(successor.hand_over(state(), &sockets).await.unwrap());
    drop(successor);
    new.await.unwrap();
}

#[tokio::test]
async fn a_successor_that_dies_before_it_is_ready_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("door");
    let door = Door::open(&path).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let new = tokio::spawn(async move {
        drop(take_over(&path).await.unwrap());
    });
    let successor = door.knock().await;
    assert!(!successor.hand_over(state(), &[listener.as_fd()]).await.unwrap());
    new.await.unwrap();
}

#[tokio::test]
async fn whoever_is_being_greeted_is_not_lost_by_who_gives_up_waiting_for_that() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("door");
    let door = Door::open(&path).unwrap();
    let stream = UnixStream::connect(&path).unwrap();
    // Let in, and greeted until it says who it is.
    let given_up = tokio::time::timeout(Duration::from_millis(300), door.knock()).await;
    assert!(given_up.is_err() && door.greeting.lock().await.is_some());
    send(&stream, &Hello { version: VERSION, pid: 7 }).unwrap();
    let successor = tokio::time::timeout(Duration::from_secs(20), door.knock()).await.unwrap();
    assert_eq!(successor.pid(), 7);
}

#[tokio::test]
async fn nobody_behind_the_door_is_a_cold_start() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("door");
    assert!(take_over(&path).await.unwrap().is_none());
    // Left by a process that was killed.
    drop(UnixListener::bind(&path).unwrap());
    assert!(take_over(&path).await.unwrap().is_none());
}

#[tokio::test]
async fn a_predecessor_that_hangs_up_before_a_word_is_an_error_that_says_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("door");
    let door = Door::open(&path).unwrap();
    let new = tokio::spawn(async move { take_over(&path).await });
    drop(door.knock().await);
    let error = new.await.unwrap().unwrap_err();
    assert!(matches!(error, TakeoverError::Refused), "{error}");
}

#[tokio::test]
async fn a_new_door_replaces_the_old_one_and_closing_the_old_harms_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("door");
    let old = Door::open(&path).unwrap();
    let new = Door::open(&path).unwrap();
    drop(old);
    let knocking = tokio::spawn(async move { take_over(&path).await });
    drop(new.knock().await);
    assert!(knocking.await.unwrap().is_err());
}

#[tokio::test]
async fn another_version_is_refused_and_the_door_stays_open() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("door");
    let door = Door::open(&path).unwrap();
    let stranger = UnixStream::connect(&path).unwrap();
    send(&stranger, &Hello { version: VERSION + 1, pid: 1 }).unwrap();
    let good = UnixStream::connect(&path).unwrap();
    send(&good, &Hello { version: VERSION, pid: 2 }).unwrap();
    assert_eq!(door.knock().await.pid(), 2);
}

#[tokio::test]
async fn a_successor_whose_predecessor_has_gone_on_is_told_so() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("door");
    let door = Door::open(&path).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (gone_on, told) = tokio::sync::oneshot::channel::<()>();
    let new = tokio::spawn(async move {
        let (predecessor, _) = take_over(&path).await.unwrap().unwrap();
        told.await.unwrap();
        predecessor.ready()
    });
    let successor = door.knock().await;
    successor.stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    assert!(!successor.hand_over(state(), &[listener.as_fd()]).await.unwrap());
    // Not dropped: what counts is that its word is not taken any more.
    gone_on.send(()).unwrap();
    assert!(matches!(new.await.unwrap(), Err(TakeoverError::BrokenOff)));
}

#[test]
fn a_word_that_came_just_before_the_predecessor_gave_up_counts() {
    let (old, mut new) = UnixStream::pair().unwrap();
    new.write_all(b"R").unwrap();
    old.shutdown(std::net::Shutdown::Read).unwrap();
    assert!(is_ready(&old).unwrap());
    assert!(new.write_all(b"R").is_err());
}
