//! A target that goes away under a volume and comes back.

use std::{
    thread,
    time::{Duration, Instant},
};

use mezame_images::volume::{Data, Durability, HostCache, Place, Volume, VolumeId};

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
