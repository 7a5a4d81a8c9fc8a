//! Tests of sync: newer generations only, and a control plane that is away.

use std::{collections::HashMap, sync::Mutex};

use mezame_ebpf_loader::PortSlot;
use mezame_model::{BoxFuture, GuestEvent};

use super::*;
use crate::{
    fixture,
    identity::Identities,
    ledger::{outbox::Outbox, seal::LedgerKey, snapshot_file},
    metrics::Metrics,
    settings::Limits,
    taps::{
        plane::{DataPlane, MemoryPlane},
        watch::Device,
    },
};

struct Bench {
    directory: tempfile::TempDir,
    key: Arc<LedgerKey>,
    plane: Arc<Mutex<MemoryPlane>>,
    sync: Sync,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let key = Arc::new(LedgerKey::open(&directory.path().join("key")).unwrap());
        let (outbox, _) = Outbox::open(directory.path(), Arc::clone(&key), 8).unwrap();
        let (outbox, metrics) = (Arc::new(outbox), Arc::new(Metrics::default()));
        let identities = Arc::new(Identities::default());
        let serving = Arc::new(Serving::new(
            Arc::clone(&identities),
            Limits::default(),
            Arc::clone(&metrics),
            Arc::clone(&outbox),
        ));
        let plane = Arc::new(Mutex::new(MemoryPlane::with_devices(1..100)));
        let shared: Arc<Mutex<dyn DataPlane>> = Arc::clone(&plane) as _;
        let taps =
            Taps::new(shared, identities, Arc::clone(&metrics), None, Vec::new(), 0).unwrap();
        let path = directory.path().join("snapshot.ledger");
        let ledger =
            LedgerWriter::start(path, Arc::clone(&key), outbox, metrics, Duration::ZERO).unwrap();
        Self { sync: Sync::new(serving, taps, ledger), plane, key, directory }
    }

    fn appear(&mut self, number: usize) {
        let name = fixture::device(number).to_string();
        self.sync.device(&LinkEvent::Seen { ifindex: number as u32, name, carriers: 1 });
    }

    fn attachment(&self, number: usize) -> Arc<Attachment> {
        self.sync.serving.identities.of_port(&fixture::port_id(number)).unwrap()
    }

    /// The host name that a port's guest is told, if it is told anything.
    fn hostname(&self, number: usize) -> Option<String> {
        match self.attachment(number).standing() {
            Standing::Serving(record) => Some(record.guest.instance.hostname.to_string()),
            _ => None,
        }
    }
}

#[test]
fn a_device_and_its_record_meet_whichever_comes_first() {
    for device_first in [true, false] {
        let mut bench = Bench::new();
        if device_first {
            bench.appear(1);
        }
        bench.sync.apply(Arc::new(fixture::snapshot(1, [1])), true);
        if !device_first {
            bench.appear(1);
        }
        assert_eq!(bench.hostname(1).as_deref(), Some("guest-1"));
    }
}

#[test]
fn a_port_without_a_whole_instance_waits() {
    let mut bench = Bench::new();
    let mut early = fixture::snapshot(1, [1]);
    early.instances.clear();
    bench.appear(1);
    bench.sync.apply(Arc::new(early), true);
    assert_eq!(bench.hostname(1), None);
    bench.sync.apply(Arc::new(fixture::snapshot(2, [1])), true);
    assert_eq!(bench.hostname(1).as_deref(), Some("guest-1"));
}

#[test]
fn an_older_snapshot_changes_nothing() {
    let mut bench = Bench::new();
    bench.appear(1);
    bench.sync.apply(Arc::new(fixture::snapshot(5, [1])), true);
    bench.sync.apply(Arc::new(fixture::snapshot(4, [])), true);
    assert_eq!(bench.hostname(1).as_deref(), Some("guest-1"));
    assert_eq!(bench.sync.generation(), Generation(5));
}

#[test]
fn dns_is_told_of_each_snapshot_that_is_taken_over() {
    let mut bench = Bench::new();
    for (generation, told) in [(5, 5), (4, 5), (6, 6)] {
        bench.sync.apply(Arc::new(fixture::snapshot(generation, [1])), true);
        let newest = bench.sync.serving.directory.newest().unwrap();
        assert_eq!(newest.generation, Generation(told));
    }
}

#[test]
fn only_those_whose_record_changed_are_woken() {
    let mut bench = Bench::new();
    let old = fixture::snapshot(1, 1..4);
    bench.sync.apply(Arc::new(old.clone()), true);
    (1..4).for_each(|number| bench.appear(number));
    let mut followed: Vec<_> = (1..4).map(|number| bench.attachment(number).follow()).collect();
    followed.iter_mut().for_each(|one| one.mark_unchanged());
    let new = fixture::changed(&old, |new| {
        Arc::make_mut(&mut new.instances[1]).hostname = "renamed".into();
    });
    bench.sync.apply(new, true);
    let woken: Vec<bool> = followed.iter().map(|one| one.has_changed().unwrap()).collect();
    assert_eq!(woken, [false, true, false]);
    assert_eq!(bench.hostname(2).as_deref(), Some("renamed"));
}

#[test]
fn a_change_of_the_site_that_a_guest_can_see_reaches_everyone() {
    let mut bench = Bench::new();
    let old = fixture::snapshot(1, 1..3);
    bench.sync.apply(Arc::new(old.clone()), true);
    (1..3).for_each(|number| bench.appear(number));
    bench.sync.apply(
        fixture::changed(&old, |new| {
            Arc::make_mut(&mut new.site).domain = "elsewhere".into();
        }),
        true,
    );
    for number in 1..3 {
        let Standing::Serving(record) = bench.attachment(number).standing() else { panic!() };
        assert_eq!(&*record.guest.site.domain, "elsewhere");
    }
}

#[test]
fn a_snapshot_with_a_site_that_can_not_be_served_is_ignored() {
    let mut bench = Bench::new();
    let good = fixture::snapshot(1, [1]);
    bench.appear(1);
    bench.sync.apply(Arc::new(good.clone()), true);
    bench.sync.apply(
        fixture::changed(&good, |new| {
            Arc::make_mut(&mut new.site).token_keys.clear();
            new.instances.clear();
        }),
        true,
    );
    assert_eq!(bench.hostname(1).as_deref(), Some("guest-1"));
}

#[test]
fn an_instance_that_is_deleted_is_served_no_more() {
    let mut bench = Bench::new();
    let old = fixture::snapshot(1, [1]);
    bench.appear(1);
    bench.sync.apply(Arc::new(old.clone()), true);
    let attachment = bench.attachment(1);
    bench.sync.apply(
        fixture::changed(&old, |new| {
            new.instances.clear();
            Arc::make_mut(&mut new.ports[0]).instance = None;
        }),
        true,
    );
    assert!(matches!(attachment.standing(), Standing::Over));
    assert_eq!(bench.hostname(1), None);
}

#[test]
fn a_thousand_ports_that_come_and_go_leave_nothing_behind() {
    let mut bench = Bench::new();
    bench.plane.lock().unwrap().devices = (0..2000).collect();
    bench.sync.apply(Arc::new(fixture::snapshot(1, 0..1000)), true);
    for _ in 0..2 {
        (0..1000).for_each(|number| bench.appear(number));
        assert_eq!(bench.sync.serving.identities.count(), 1000);
        for number in 0..1000 {
            bench.sync.device(&LinkEvent::Gone { ifindex: number });
        }
        assert_eq!(bench.sync.serving.identities.count(), 0);
        assert_eq!(bench.plane.lock().unwrap().attached().unwrap(), []);
    }
}

#[test]
fn the_newest_snapshot_is_on_disk_when_the_ledger_is_closed() {
    let mut bench = Bench::new();
    let mut snapshot = fixture::snapshot(1, [1]);
    for generation in 1..20 {
        snapshot.generation = Generation(generation);
        bench.sync.apply(Arc::new(snapshot.clone()), true);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(bench.sync.close_ledger());
    let path = bench.directory.path().join("snapshot.ledger");
    assert_eq!(snapshot_file::read(&path, &bench.key).unwrap().unwrap(), snapshot);
}

#[test]
fn a_device_that_could_not_be_attached_is_tried_again() {
    let mut bench = Bench::new();
    bench.sync.apply(Arc::new(fixture::snapshot(1, [1])), true);
    bench.plane.lock().unwrap().devices.clear();
    bench.appear(1);
    assert!(bench.sync.serving.identities.of_port(&fixture::port_id(1)).is_none());
    bench.plane.lock().unwrap().devices.insert(1);
    bench.sync.retry();
    assert_eq!(bench.hostname(1).as_deref(), Some("guest-1"));
}

#[test]
fn a_scan_attaches_what_is_there_and_detaches_what_is_not() {
    let mut bench = Bench::new();
    bench.sync.apply(Arc::new(fixture::snapshot(1, 1..4)), true);
    bench.appear(1);
    let device = |name: &str| Device { name: name.into(), carriers: 1 };
    let devices = HashMap::from([(2, device("vnet2")), (3, device("vnet3"))]);
    let attached = bench.sync.taps.scanned(&devices, &bench.sync.cache);
    bench.sync.introduce(&attached);
    let held = bench.plane.lock().unwrap().attached().unwrap();
    assert_eq!(held.iter().map(|(ifindex, _)| *ifindex).collect::<Vec<_>>(), [2, 3]);
    let slots: Vec<PortSlot> = held.iter().map(|(_, slot)| *slot).collect();
    assert_ne!(slots[0], slots[1]);
    assert_eq!(bench.hostname(3).as_deref(), Some("guest-3"));
}

#[test]
fn a_tap_is_taken_hold_of_as_its_count_rises_and_not_by_an_event_that_a_scan_was_ahead_of() {
    let mut bench = Bench::new();
    bench.sync.apply(Arc::new(fixture::snapshot(1, [1])), true);
    let name = fixture::device(1).to_string();
    let hear = |bench: &mut Bench, carriers| {
        bench.sync.device(&LinkEvent::Seen { ifindex: 1, name: name.clone(), carriers });
        bench.attachment(1).taken().carriers
    };
    let scan = |bench: &mut Bench, carriers| {
        let devices = HashMap::from([(1, Device { name: name.clone(), carriers })]);
        let attached = bench.sync.taps.scanned(&devices, &bench.sync.cache);
        bench.sync.introduce(&attached);
        bench.attachment(1).taken().carriers
    };
    assert_eq!(hear(&mut bench, 1), 1);
    assert_eq!(scan(&mut bench, 3), 3);
    assert_eq!(hear(&mut bench, 2), 3, "it was on its way");
    assert_eq!(hear(&mut bench, 4), 4);
    assert_eq!(scan(&mut bench, 1), 1, "another device, with the number of one that is gone");
}

/// A control plane that is away a few times before it answers.
struct Reluctant(Mutex<Vec<Result<Arc<Snapshot>, FeedError>>>);

impl Feed for Reluctant {
    fn next(&self, after: Generation) -> BoxFuture<'_, Result<Arc<Snapshot>, FeedError>> {
        let next = self.0.lock().unwrap().pop();
        Box::pin(async move {
            match next {
                Some(Ok(snapshot)) if snapshot.generation <= after => std::future::pending().await,
                Some(answer) => answer,
                None => std::future::pending().await,
            }
        })
    }

    fn deliver(&self, _: GuestEvent) -> BoxFuture<'_, Result<(), FeedError>> {
        Box::pin(std::future::pending())
    }
}

#[test]
fn a_control_plane_that_was_away_is_asked_again() {
    let (snapshot, runtime) = (
        Arc::new(fixture::snapshot(3, [1])),
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build(),
    );
    let feed =
        Reluctant(Mutex::new(vec![Ok(snapshot), Err(FeedError::Away), Err(FeedError::Away)]));
    let mut bench = Bench::new();
    let metrics = Arc::clone(&bench.sync.serving.metrics);
    runtime.unwrap().block_on(async {
        let mut watch = LinkWatch::open().unwrap();
        let arrived = async {
            while metrics.generation.get() != 3 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            () = bench.sync.run(&feed, &mut watch) => unreachable!(),
            () = arrived => {}
        }
    });
    assert_eq!(bench.sync.generation(), Generation(3));
}
