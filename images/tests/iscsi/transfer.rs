//! Images that come from a LUN and go to one: by the archive, and by hydration of a running clone.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use mezame_images::{
    archive::{
        Archive, KeyOf, Settings, Unwatched, Viewer,
        import::NewImage,
        record::{Detail, Kind},
        store::memory::Memory,
    },
    clone::{Hydration, HydrationError, Master, Pool},
    environment::SystemEnvironment,
    iscsi::LunDisk,
    storage_daemon::StorageDaemon,
    volume::{Durability, Format, HostCache, Place, VolumeId},
};
use mezame_model::ProjectName;

use crate::{Desk, MIB, bytes};

#[test]
fn an_image_goes_from_a_lun_into_the_archive_and_to_another_lun() {
    let mut desk = Desk::lay();
    let length = 6 * MIB + 512;
    let mut disk = bytes(length, 1);
    disk[MIB..3 * MIB].fill(0);
    std::fs::write(desk.target.add(1, length as u64), &disk).unwrap();
    // Larger, and full of what was somebody's.
    let to = desk.target.add(2, 8 << 20);
    std::fs::write(&to, bytes(8 * MIB, 2)).unwrap();
    desk.target.add(3, MIB as u64);
    let archive = Archive::create(
        Arc::new(Memory::new()),
        Arc::new(SystemEnvironment::new()),
        Settings::default(),
    )
    .unwrap();
    let project = ProjectName::parse("acme").unwrap();
    let from = LunDisk::read(&desk.lun(1), &desk.access(1)).unwrap();
    let new = NewImage {
        project: &project,
        kind: Kind::Imported,
        detail: Detail { name: "disk".into(), ..Detail::default() },
        key: None,
        base: None,
    };
    let id = archive.import(&new, &from, &Unwatched).unwrap().image.id;
    from.close().unwrap();
    let image = archive.view(id, Viewer::Project(&project), &|_| KeyOf::Open).unwrap();
    let small = LunDisk::write(&desk.lun(3), &desk.access(1)).unwrap();
    assert!(archive.export(&image, &small, &Unwatched).is_err());
    for _ in 0..2 {
        let target = LunDisk::write(&desk.lun(2), &desk.access(1)).unwrap();
        archive.export(&image, &target, &Unwatched).unwrap();
        target.close().unwrap();
        let written = std::fs::read(&to).unwrap();
        assert!(written[..length] == disk);
        assert!(written[length..].iter().all(|byte| *byte == 0));
    }
}

#[test]
fn a_running_clone_is_hydrated_onto_a_lun_and_its_writes_are_there() {
    let mut desk = Desk::lay();
    let (image, mut expected) = (desk.path().join("image"), bytes(8 * MIB, 1));
    std::fs::write(&image, &expected).unwrap();
    let master = Master::seal(&image, Format::Raw, &desk.path().join("master")).unwrap();
    let master = master.reached_by(desk.access(1));
    let pool = Pool::create(&desk.path().join("pool")).unwrap();
    let clone = master.clone_into(&pool, &[VolumeId::parse("one").unwrap()]).unwrap().remove(0);
    let old = desk.target.add(1, 9 << 20);
    std::fs::write(&old, bytes(9 * MIB, 3)).unwrap();
    desk.target.add(2, 7 << 20);
    let hydrated = Durability::Hydrated(Default::default());
    let volume = clone.volume(hydrated, HostCache::Direct).unwrap();
    let (place, direct) = (Place::Lun(desk.lun(1)), HostCache::Direct);
    let plain = Hydration::of(&clone, place.clone(), direct).unwrap().plain().clone();
    let access = desk.access(1);
    let secrets = volume.secrets(access.keys()).unwrap().and(plain.secrets(access.keys()).unwrap());
    let mut daemon = StorageDaemon::start_with(&volume.blockdev(), &secrets, desk.path()).unwrap();
    let short = Place::Lun(desk.lun(2));
    let fault = Hydration::start(daemon.qmp(), &clone, master.size(), short, direct, None);
    assert!(matches!(fault, Err(HydrationError::Target { .. })), "{fault:?}");
    let mut blocks = daemon.open().unwrap();
    let hydration =
        Hydration::start(daemon.qmp(), &clone, master.size(), place, direct, None).unwrap();
    let written = bytes(2 * MIB, 4);
    blocks.write(3 << 20, &written).unwrap();
    expected[3 * MIB..5 * MIB].copy_from_slice(&written);
    let begin = Instant::now();
    while !hydration.progress(daemon.qmp()).unwrap().is_equal {
        assert!(begin.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(5));
    }
    let plain = hydration.complete(daemon.qmp(), &master).unwrap();
    blocks.write(0, &written[..512]).unwrap();
    expected[..512].copy_from_slice(&written[..512]);
    drop((blocks, daemon));
    let clone = master.find(clone.id()).unwrap();
    assert_eq!(clone.volume(hydrated, direct).unwrap(), plain);
    let mut there = desk.contents(&plain);
    assert!(there.split_off(8 * MIB).iter().all(|byte| *byte == 0));
    assert!(there == expected);
}
