//! A target that goes away under a volume and comes back, and one that says nothing.

use std::{
    thread,
    time::{Duration, Instant},
};

use mezame_images::{
    clone::{CloneError, HostName, Master, Pool},
    iscsi::LunError,
    volume::{Data, Durability, Format, HostCache, Place, Volume, VolumeId},
};

use crate::{Desk, MIB, bytes};

#[test]
fn writes_wait_for_a_target_that_is_away_for_a_while_and_none_is_lost() {
    let mut desk = Desk::lay();
    desk.target.add(1, 4 << 20);
    let (id, data) = (VolumeId::parse("one").unwrap(), Data::Plain(Place::Lun(desk.lun(1))));
    let volume = Volume::new(id, data, Durability::Plain, HostCache::Direct)
        .unwrap()
        .reached_by(desk.access(1).initiator());
    let daemon = desk.open(&volume);
    let mut blocks = daemon.open().unwrap();
    let expected = bytes(4 * MIB, 1);
    blocks.write(0, &expected[..MIB]).unwrap();
    let away = Duration::from_secs(6);
    for part in 1..4 {
        desk.target.kill();
        let (at, begin) = (part * MIB, Instant::now());
        let written = thread::scope(|scope| {
            let blocks = &mut blocks;
            let bytes = &expected[at..at + MIB];
            let writer = scope.spawn(move || {
                let written = blocks.write(at as u64, bytes);
                (written, begin.elapsed())
            });
            thread::sleep(away);
            desk.target.restart();
            writer.join().unwrap()
        });
        written.0.unwrap();
        // It was away, or this would say nothing.
        assert!(written.1 >= away, "{:?}", written.1);
        println!("a write waited for {:?}", written.1);
    }
    blocks.flush().unwrap();
    drop(blocks);
    daemon.end().unwrap();
    assert!(desk.contents(&volume) == expected);
}

#[test]
fn a_target_that_says_nothing_ends_the_call_and_holds_up_nobody_else_s() {
    let mut desk = Desk::lay();
    let length = 4 << 20;
    desk.target.add(1, length);
    desk.target.add(2, 16 * length);
    desk.target.add(3, 16 * length);
    let at = desk.path().join("master");
    let master = Master::seal_lun(&desk.lun(1), Format::Raw, &at, &desk.access(1)).unwrap();
    let ids = ["one", "two", "three"].map(|id| VolumeId::parse(id).unwrap());
    master.clone_onto(&desk.lun(2), &ids[0]).unwrap();
    let pool = Pool::create(&desk.path().join("pool")).unwrap();
    let host = HostName::parse("host-1").unwrap();
    desk.target.hold();
    let is_silent = |ended: Result<(), CloneError>| match ended {
        Err(CloneError::Lun(LunError::Silent { .. })) => {}
        other => panic!("{other:?}"),
    };
    let begin = Instant::now();
    thread::scope(|scope| {
        let calls = [
            scope.spawn(|| master.clone_onto(&desk.lun(3), &ids[1]).map(drop)),
            scope.spawn(|| master.clone_into(&pool, &ids[2..]).map(drop)),
            scope.spawn(|| master.remove_lun_clone(&ids[0])),
        ];
        // Who starts a guest meanwhile waits for none of them.
        let mut longest = Duration::ZERO;
        while !calls.iter().all(thread::ScopedJoinHandle::is_finished) {
            let asked = Instant::now();
            master.claim(&ids[0], &host).unwrap();
            longest = longest.max(asked.elapsed());
            assert!(begin.elapsed() < Duration::from_secs(120), "they wait for ever");
            thread::sleep(Duration::from_millis(100));
        }
        println!("ended after {:?}; a claim took {longest:?} at most", begin.elapsed());
        assert!(longest < Duration::from_secs(10), "a claim took {longest:?}");
        calls.into_iter().for_each(|call| is_silent(call.join().unwrap()));
    });
    // As one that is switched off and on.
    desk.target.restart();
    master.check().unwrap();
}
