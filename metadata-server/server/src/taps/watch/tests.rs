//! Tests of the watch on devices, in a namespace of their own.

use std::{os::fd::AsRawFd, time::Duration};

use nix::sched::{CloneFlags, unshare};
use rtnetlink::LinkUnspec;

use super::*;
use crate::{netns, sandbox};

/// The next event about this device that is one of these.
async fn next(watch: &mut LinkWatch, wanted: impl Fn(&LinkEvent) -> bool) -> LinkEvent {
    let found = async {
        loop {
            let event = watch.next().await.unwrap();
            if wanted(&event) {
                return event;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), found).await.unwrap()
}

fn named(index: u32, wanted: &str) -> impl Fn(&LinkEvent) -> bool {
    move |event| matches!(event, LinkEvent::Seen { ifindex, name, .. } if *ifindex == index && name == wanted)
}

#[test]
fn a_device_is_seen_when_it_comes_is_renamed_and_goes() {
    sandbox::enter();
    netns::alone(|handle| async move {
        let mut watch = LinkWatch::open().unwrap();
        let index = netns::make_pair(&handle, "one", "two").await;
        next(&mut watch, named(index, "one")).await;
        netns::rename(&handle, index, "other").await;
        next(&mut watch, named(index, "other")).await;
        handle.link().del(index).execute().await.unwrap();
        next(&mut watch, |event| *event == LinkEvent::Gone { ifindex: index }).await;
    });
}

#[test]
fn what_a_bridge_tells_of_its_ports_is_nothing_of_the_devices_own() {
    sandbox::enter();
    netns::alone(|handle| async move {
        let index = netns::make_pair(&handle, "one", "two").await;
        let of_iproute2 = |program: &str, words: &str| {
            let done = std::process::Command::new(program).args(words.split(' ')).status();
            assert!(done.unwrap().success(), "{program} {words}");
        };
        of_iproute2("ip", "link set one up");
        of_iproute2("ip", "link set two up");
        let counted = LinkWatch::open().unwrap().scan().await.unwrap()[&index].carriers;
        assert!(counted > 0);
        of_iproute2("ip", "link add bridge type bridge");
        of_iproute2("ip", "link set one master bridge");
        let mut watch = LinkWatch::open().unwrap();
        of_iproute2("bridge", "link set dev one learning off");
        of_iproute2("ip", "link set one nomaster");
        netns::rename(&handle, index, "other").await;
        // Each is told with its count, until the last thing that was done; and it is never gone.
        loop {
            match next(&mut watch, |_| true).await {
                LinkEvent::Seen { ifindex, .. } if ifindex != index => {}
                LinkEvent::Seen { name, .. } if name == "other" => break,
                LinkEvent::Seen { carriers, .. } => assert_eq!(carriers, counted),
                gone @ LinkEvent::Gone { .. } => panic!("{gone:?}"),
            }
        }
    });
}

#[test]
fn a_device_that_moves_to_another_namespace_is_gone_and_seen_again_when_it_comes_back() {
    sandbox::enter();
    netns::alone(|handle| async move {
        let here = std::fs::File::open("/proc/thread-self/ns/net").unwrap();
        let elsewhere = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            std::fs::File::open("/proc/thread-self/ns/net").unwrap()
        });
        let elsewhere = elsewhere.join().unwrap();
        let mut watch = LinkWatch::open().unwrap();
        let index = netns::make_pair(&handle, "one", "two").await;
        let away = LinkUnspec::new_with_index(index).setns_by_fd(elsewhere.as_raw_fd()).build();
        handle.link().set(away).execute().await.unwrap();
        next(&mut watch, |event| *event == LinkEvent::Gone { ifindex: index }).await;
        // Sent back from there, by a thread that goes there.
        std::thread::spawn(move || {
            nix::sched::setns(&elsewhere, CloneFlags::CLONE_NEWNET).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let (connection, handle, _) = rtnetlink::new_connection().unwrap();
                tokio::spawn(connection);
                let index = nix::net::if_::if_nametoindex("one").unwrap();
                let back = LinkUnspec::new_with_index(index).setns_by_fd(here.as_raw_fd()).build();
                handle.link().set(back).execute().await.unwrap();
            });
        })
        .join()
        .unwrap();
        next(&mut watch, |event| matches!(event, LinkEvent::Seen { name, .. } if name == "one"))
            .await;
    });
}

#[test]
fn a_scan_finds_what_was_there_before_the_watch() {
    sandbox::enter();
    netns::alone(|handle| async move {
        let index = netns::make_pair(&handle, "one", "two").await;
        let devices = LinkWatch::open().unwrap().scan().await.unwrap();
        assert_eq!(devices.get(&index).map(|device| device.name.as_str()), Some("one"));
        assert_eq!(devices.len(), 3, "lo and both ends: {devices:?}");
    });
}

#[test]
fn a_watch_that_could_not_keep_up_says_so() {
    sandbox::enter();
    netns::alone(|handle| async move {
        let mut watch = LinkWatch::open().unwrap();
        let index = netns::make_pair(&handle, "one", "two").await;
        next(&mut watch, named(index, "one")).await;
        // Far more than the socket has room for, while nothing on this thread reads it.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let (connection, handle, _) = rtnetlink::new_connection().unwrap();
                tokio::spawn(connection);
                for number in 0..1000 {
                    netns::rename(&handle, index, &format!("name{number}")).await;
                }
            });
        })
        .join()
        .unwrap();
        let lost = async { while watch.next().await.is_some() {} };
        tokio::time::timeout(Duration::from_secs(20), lost).await.unwrap();
        let devices = LinkWatch::open().unwrap().scan().await.unwrap();
        assert_eq!(devices.get(&index).map(|device| device.name.as_str()), Some("name999"));
    });
}
