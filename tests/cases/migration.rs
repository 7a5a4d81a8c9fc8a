//! A guest on two clones that writes without a pause, moves between two hosts (network namespaces that
//! see the same files), and is backed up meanwhile by a third.
//!
//! Each block that it writes says its number, and none is written before the one before is on the
//! other disk. So the log of what it wrote, which is on its console, says to the byte what both disks
//! were at any instant: images are compared with that.

mod desk;
pub(crate) mod emulation;

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use mezame_images::{
    archive::{Progress, Watch},
    backup::{
        offer::Offer,
        plan::Plan,
        pull::{PullError, Pulled},
    },
    environment::SystemEnvironment,
    migration::{Backup, Ended, MigrationAddress, Moved, Settings, move_guest, prepare, settle},
    qmp::{Qmp, migration::MigrationStatus},
    volume::Limits,
};
use mezame_tests::{
    process::{self, Background},
    wait::{self, A_BOOT, SOON},
};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::durability::guest::until_written;
use desk::{Desk, Host, Vault};
use emulation::{retried, until_it_writes};

/// A watch that holds up whoever asks it.
struct Slow<'a>(&'a AtomicBool);

impl Watch for Slow<'_> {
    fn tell(&self, _: Progress) {}

    fn is_cancelled(&self) -> bool {
        let begin = Instant::now();
        while !self.0.load(Ordering::SeqCst) && begin.elapsed() < A_BOOT {
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }
}

fn is_incremental(pulled: &[Pulled]) -> bool {
    pulled.iter().all(|pulled| matches!(pulled.plan, Plan::Incremental { .. }))
}

/// Pulls a point in time while its guest is about to move, and once more while its memory is sent.
fn pull_twice(
    vault: &Vault,
    offers: &[Offer],
    watcher: &mut Qmp,
) -> Result<(Vec<Pulled>, Vec<Pulled>)> {
    let first = vault.pull_all(offers)?;
    wait::until("a migration", SOON, || {
        let status = watcher.migration()?.status;
        ensure!(status == MigrationStatus::Active, "{status:?}");
        Ok(())
    })?;
    let second = vault.pull_all(offers)?;
    let status = watcher.migration()?.status;
    ensure!(status == MigrationStatus::Active && watcher.is_running()?, "{status:?}");
    Ok((first, second))
}

/// Lets the guest go on on the other host; what it writes there is waited for.
fn arrive(desk: &Desk, there: &mut Host, moved: &Moved) -> Result<()> {
    let volumes: Vec<_> =
        desk.volumes()?.into_iter().map(|volume| (volume, Limits::default())).collect();
    let settled = settle(&mut there.qmp, &volumes, moved)?;
    ensure!(settled.lost.is_empty(), "{settled:?}");
    until_it_writes(&mut there.guest)?;
    until_written(&mut there.guest, 10)
}

#[test]
fn a_guest_that_moves_while_it_is_backed_up_is_restored_from_its_fifth_incremental() -> Result<()> {
    retried(move_while_it_is_backed_up)
}

fn move_while_it_is_backed_up(consoles: &Path) -> Result<()> {
    let mut desk = Desk::lay(consoles)?;
    let mut vault = Vault::new(desk.archive.clone())?;
    let mut here = desk.boot()?;
    until_written(&mut here.guest, 10)?;
    // A full backup, and the first incremental one.
    for number in 0..2 {
        let pulled = desk.back_up(&mut here, &mut vault)?;
        ensure!(is_incremental(&pulled) == (number > 0));
        here.write_on(5)?;
    }
    // The second one: two pulls of one point in time, from a third network, while the guest moves.
    let mut there = desk.machine(1, &["-S", "-incoming", "defer"])?;
    let to = MigrationAddress::TcpClear("192.0.2.2:4444".parse()?);
    prepare(&mut there.qmp, &to)?;
    let before = here.written()?;
    let point = desk.open(&mut here, &vault)?;
    let after = here.written()?;
    let offers = point.offers().to_vec();
    let mut watcher = desk.watcher(&here)?;
    let is_over = AtomicBool::new(false);
    let (twice, moved, ended) = std::thread::scope(|scope| -> Result<_> {
        let pulling = scope.spawn(|| {
            let twice = pull_twice(&vault, &offers, &mut watcher);
            is_over.store(true, Ordering::SeqCst);
            twice
        });
        let (disks, host) = (desk.disks.clone(), here.host.clone());
        let moved = host.run(|| {
            let published: Vec<_> = disks.iter().map(|disk| disk.id().clone()).collect();
            let mut pulled = || is_over.load(Ordering::SeqCst).then(|| published.clone());
            let mut backup = Some(Backup::new(point, &mut pulled, None));
            let settings = Settings::usual();
            let moved = move_guest(
                &mut here.qmp,
                &disks,
                &to,
                &settings,
                &mut backup,
                &SystemEnvironment::new(),
            );
            (moved, backup.and_then(|backup| backup.ended().cloned()))
        })?;
        let twice = pulling.join().map_err(|_| anyhow::anyhow!("a pull panicked"))??;
        Ok((twice, moved.0?, moved.1))
    })?;
    ensure!(matches!(&ended, Some(Ended::Closed(closed)) if closed.broken.is_empty()), "{ended:?}");
    arrive(&desk, &mut there, &moved)?;
    let gone = here.written()?;
    here.guest.kill()?;
    // Both are the disk at that instant, by the guest's own log.
    let (first, second) = twice;
    ensure!(is_incremental(&first) && is_incremental(&second));
    let (one, other) = (vault.restored_all(&first)?, vault.restored_all(&second)?);
    ensure!(one == other, "two pulls of one point in time differ");
    let last = desk.last_of(&one)?;
    ensure!((before..=after + 2).contains(&last), "{last}, not of {before} to {after}");
    ensure!(one == desk.replayed(last), "it is not what the guest had written by {last}");
    println!("of {last} writes; it went on to {gone}, stood still for {:?}", moved.downtime);
    vault.keep(&second)?;
    // The third and the fourth on the other host, the one before deleted each time.
    for _ in 3..5 {
        there.write_on(5)?;
        let pulled = desk.back_up(&mut there, &mut vault)?;
        ensure!(is_incremental(&pulled), "{pulled:?}");
        let disks = vault.restored_all(&pulled)?;
        ensure!(disks == desk.replayed(desk.last_of(&disks)?));
    }
    // The fifth is of a guest that stands still: what its disks are is then known to QEMU too.
    there.qmp.execute("stop", json!({}))?;
    let fifth = desk.back_up(&mut there, &mut vault)?;
    ensure!(is_incremental(&fifth), "{fifth:?}");
    desk.quit(there)?;
    let originals = desk.read()?;
    desk.destroy()?;
    vault.collect()?;
    for (pulled, original) in fifth.iter().zip(&originals) {
        let restored = vault.restore(pulled)?;
        process::succeed(process::command("cmp").arg(original).arg(&restored))?;
    }
    Ok(())
}

#[test]
fn a_puller_that_stands_still_keeps_no_guest_from_moving_and_is_told_that_it_was_broken()
-> Result<()> {
    retried(move_with_a_puller_that_stands_still)
}

fn move_with_a_puller_that_stands_still(consoles: &Path) -> Result<()> {
    let desk = Desk::lay(consoles)?;
    let mut vault = Vault::new(desk.archive.clone())?;
    let mut here = desk.boot()?;
    until_written(&mut here.guest, 10)?;
    desk.back_up(&mut here, &mut vault)?;
    let mut there = desk.machine(1, &["-S", "-incoming", "defer"])?;
    let to = MigrationAddress::TcpClear("192.0.2.2:4444".parse()?);
    prepare(&mut there.qmp, &to)?;
    let point = desk.open(&mut here, &vault)?;
    let offers = point.offers().to_vec();
    // One that has died with its connection open, and one that goes on once all is over.
    let mut dead = dead_puller(&desk, &offers[0])?;
    let patience = Duration::from_secs(3);
    let settings = Settings { patience, ..Settings::usual() };
    let is_over = AtomicBool::new(false);
    let (pulled, took, moved, ended) = std::thread::scope(|scope| -> Result<_> {
        let pulling = scope.spawn(|| vault.pull(&offers[1], &Slow(&is_over)));
        let (disks, host) = (desk.disks.clone(), here.host.clone());
        let moved = host.run(|| {
            let begin = Instant::now();
            let mut never = || None;
            let mut backup = Some(Backup::new(point, &mut never, None));
            let moved = move_guest(
                &mut here.qmp,
                &disks,
                &to,
                &settings,
                &mut backup,
                &SystemEnvironment::new(),
            );
            (begin.elapsed(), moved, backup.and_then(|backup| backup.ended().cloned()))
        });
        is_over.store(true, Ordering::SeqCst);
        let pulled = pulling.join().map_err(|_| anyhow::anyhow!("a pull panicked"))?;
        let (took, moved, ended) = moved?;
        Ok((pulled, took, moved?, ended))
    })?;
    ensure!(ended == Some(Ended::Broken), "{ended:?}");
    ensure!(took >= patience && took < patience + 3 * SOON, "{took:?}");
    let broken = pulled.err().context("there is an image of a point in time that was broken")?;
    let broken = broken.downcast::<PullError>()?;
    ensure!(matches!(broken, PullError::Broken(_)), "{broken:?}");
    dead.ensure_running()?;
    dead.kill()?;
    arrive(&desk, &mut there, &moved)?;
    here.guest.kill()?;
    println!("the guest moved after {took:?}, and stood still for {:?}", moved.downtime);
    // Nothing is forgotten.
    let pulled = desk.back_up(&mut there, &mut vault)?;
    ensure!(is_incremental(&pulled), "{pulled:?}");
    let disks = vault.restored_all(&pulled)?;
    ensure!(disks == desk.replayed(desk.last_of(&disks)?));
    Ok(())
}

/// A process on the archive's host that has begun to read and was stopped.
fn dead_puller(desk: &Desk, offer: &Offer) -> Result<Background> {
    let to = desk.path("dead.pulled");
    let from = format!(
        "driver=nbd,server.type=inet,server.host=192.0.2.1,server.port=10809,export={}",
        offer.export
    );
    let mut convert = desk.archive.command("qemu-img");
    convert.args(["convert", "-r", "64K", "-O", "raw", "--image-opts", &from]).arg(&to);
    let puller = Background::start("who pulls", &mut convert, &desk.path("dead.log"))?;
    wait::until("its first bytes", SOON, || {
        let metadata = std::fs::metadata(&to)?;
        ensure!(std::os::unix::fs::MetadataExt::blocks(&metadata) > 0);
        Ok(())
    })?;
    puller.signal(Signal::SIGSTOP)?;
    Ok(puller)
}
