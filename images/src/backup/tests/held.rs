//! Guests that are held up for the instant, stopped or frozen: they go on whatever becomes of who did
//! it, and what can't be put right is said.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use serde_json::json;

use super::{failures::check_next, guest::Guest, points::plain, *};
use crate::qmp::QmpError;

#[test]
fn a_guest_that_a_killed_process_had_stopped_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let (volume, bytes) = plain(directory.path(), "disk");
    let mut guest = Guest::start(directory.path(), &[volume], vec![bytes], &[]);
    let host = &mut guest.host;
    crate::backup::mark::Mark::Stopped.set(&mut host.qmp).unwrap();
    host.qmp.execute("stop", json!({})).unwrap();
    host.reconnect();
    assert!(!host.qmp.is_running().unwrap());
    survey(&mut host.qmp, &host.disks, None).unwrap();
    assert!(host.qmp.is_running().unwrap());
    // One that somebody else has stopped stays so.
    host.qmp.execute("stop", json!({})).unwrap();
    let point = host.open(&Vault::new(None)).unwrap();
    assert_eq!(point.offers()[0].consistency, Consistency::Crash(CrashReason::NotRunning));
    point.close(&mut host.qmp, &[], None).unwrap();
    assert!(!host.qmp.is_running().unwrap());
}

#[test]
fn that_a_guest_may_stand_still_is_said_and_the_next_one_lets_it_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let (volumes, contents): (Vec<_>, Vec<_>) =
        ["one", "two"].iter().map(|name| plain(directory.path(), name)).unzip();
    let mut guest = Guest::start(directory.path(), &volumes, contents, &[]);
    let vault = Vault::new(None);
    let host = &mut guest.host;
    // QEMU stops the guest, and takes longer to switch its disk than is waited for.
    host.lose_from("qom-set", Duration::from_secs(5));
    let error = host.open(&vault).unwrap_err();
    let PointError::Unsettled(cause) = &error else { panic!("{error}") };
    assert!(matches!(**cause, PointError::Qmp(QmpError::Deadline { .. })), "{cause}");
    host.reconnect();
    assert!(!host.qmp.is_running().unwrap());
    survey(&mut host.qmp, &host.disks, None).unwrap();
    assert!(host.qmp.is_running().unwrap());
    host.open(&vault).unwrap().close(&mut host.qmp, &[], None).unwrap();
}

/// An agent that keeps count.
#[derive(Default)]
struct Agent {
    freezes: AtomicU64,
    thaws: AtomicU64,
    /// Fails to freeze, and is frozen all the same.
    fails: bool,
    /// Thaws by itself.
    is_hasty: bool,
    /// Fails to thaw so often.
    stubborn: AtomicU64,
    takes: Duration,
    left_out: LeftOut,
}

impl Agent {
    fn is_frozen(&self) -> bool {
        self.freezes.load(Ordering::SeqCst) > self.thaws.load(Ordering::SeqCst)
    }
}

impl Freeze for Agent {
    fn freeze(&self, _bound: Duration) -> Result<LeftOut, FreezeError> {
        self.freezes.fetch_add(1, Ordering::SeqCst);
        thread::sleep(self.takes);
        if self.fails { Err(FreezeError("no".into())) } else { Ok(self.left_out.clone()) }
    }

    fn thaw(&self) -> Result<bool, FreezeError> {
        let left = |left: u64| left.checked_sub(1);
        if self.stubborn.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left).is_ok() {
            return Err(FreezeError("not yet".into()));
        }
        let was_frozen = self.is_frozen();
        self.thaws.store(self.freezes.load(Ordering::SeqCst), Ordering::SeqCst);
        Ok(was_frozen && !self.is_hasty)
    }
}

#[test]
fn a_guest_is_frozen_for_the_instant_and_its_image_says_what_came_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let (volume, bytes) = plain(directory.path(), "disk");
    let mut guest = Guest::start(directory.path(), &[volume], vec![bytes], &[]);
    let vault = Vault::new(None);
    let usual = guest.host.settings();
    let short = Settings { freeze: Duration::from_millis(500), ..guest.host.settings() };
    let slow = Duration::from_millis(600);
    let early = Consistency::Crash(CrashReason::ThawedEarly);
    for (agent, expected) in [
        (Agent::default(), Consistency::Application),
        (Agent { stubborn: 2.into(), ..Agent::default() }, Consistency::Application),
        (
            Agent { fails: true, ..Agent::default() },
            Consistency::Crash(CrashReason::NotFrozen("no".into())),
        ),
        (
            Agent { left_out: vec!["/efi: FAT".into(), "/t: ZFS".into()], ..Agent::default() },
            Consistency::Application,
        ),
        (
            Agent { is_hasty: true, left_out: vec!["/efi: FAT".into()], ..Agent::default() },
            early.clone(),
        ),
        (Agent { takes: slow, ..Agent::default() }, early),
    ] {
        let settings = if agent.takes == slow { &short } else { &usual };
        let point = guest.host.open_with(&vault, settings, Some(&agent)).unwrap();
        assert!(!agent.is_frozen());
        assert_eq!(agent.freezes.load(Ordering::SeqCst), 1);
        assert_eq!(point.offers()[0].consistency, expected);
        // A backup that is as after a power cut says nothing of what would have been left out.
        let is_whole = expected != Consistency::Application;
        let left_out = if is_whole { LeftOut::new() } else { agent.left_out.clone() };
        assert_eq!(point.offers()[0].left_out, left_out);
        let pulled = vault.pull(&point.offers()[0], &Unwatched).unwrap();
        assert_eq!(vault.label(pulled.image.id, "backup.consistency"), expected.name());
        let labels = vault.labels(pulled.image.id);
        let told = (!left_out.is_empty()).then(|| left_out.join("; "));
        assert_eq!(labels.get("backup.left-out"), told.as_ref());
        point.close(&mut guest.host.qmp, &[], None).unwrap();
    }
}

#[test]
fn a_guest_that_will_not_thaw_is_an_error_and_is_thawed_by_the_next_one() {
    let directory = tempfile::tempdir().unwrap();
    let (volume, bytes) = plain(directory.path(), "disk");
    let mut guest = Guest::start(directory.path(), &[volume], vec![bytes], &[]);
    let vault = Vault::new(None);
    guest.host.back_up(&vault);
    let settings = guest.host.settings();
    let agent = Agent { stubborn: 6.into(), ..Agent::default() };
    let error = guest.host.open_with(&vault, &settings, Some(&agent)).unwrap_err();
    assert!(matches!(error, PointError::Thaw(_)), "{error}");
    assert!(agent.is_frozen());
    // Everything else is as it was: what it writes goes to its disk, and nothing else is served.
    let disk = guest.host.disks[0].clone();
    assert_eq!(guest.host.qmp.drive(disk.device()).unwrap(), disk.node());
    let nodes = guest.host.qmp.nodes().unwrap();
    let ours = [disk.before().to_owned(), disk.point(), disk.scratch()];
    assert!(!nodes.iter().any(|node| ours.contains(&node.name)), "{nodes:?}");
    guest.host.reconnect();
    let host = &mut guest.host;
    let error = survey(&mut host.qmp, &host.disks, None).unwrap_err();
    assert!(matches!(error, PointError::Stays(_)), "{error}");
    survey(&mut host.qmp, &host.disks, Some(&agent)).unwrap();
    assert!(!agent.is_frozen());
    survey(&mut host.qmp, &host.disks, None).unwrap();
    guest.writer.write(0);
    check_next(&mut guest, &vault);
}

#[test]
fn a_guest_that_was_reset_is_not_frozen_any_more_whatever_its_agent_says() {
    let directory = tempfile::tempdir().unwrap();
    let (volume, bytes) = plain(directory.path(), "disk");
    let mut guest = Guest::start(directory.path(), &[volume], vec![bytes], &[]);
    let vault = Vault::new(None);
    let settings = guest.host.settings();
    let agent = Agent { stubborn: u64::MAX.into(), ..Agent::default() };
    // One before it was frozen says nothing.
    guest.reset();
    let error = guest.host.open_with(&vault, &settings, Some(&agent)).unwrap_err();
    assert!(matches!(error, PointError::Thaw(_)), "{error}");
    let error = survey(&mut guest.host.qmp, &guest.host.disks, Some(&agent)).unwrap_err();
    assert!(matches!(error, PointError::Thaw(_)), "{error}");
    guest.reset();
    survey(&mut guest.host.qmp, &guest.host.disks, None).unwrap();
}
