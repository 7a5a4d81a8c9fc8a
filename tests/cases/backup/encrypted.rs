//! A guest on encrypted clones is backed up while its keys are changed, and goes on from volumes that
//! were restored; what it has written is in no file of all this. In the clear it is.

use std::{fs, path::Path, sync::Arc};

use anyhow::{Context, Result, ensure};
use mezame_images::{
    archive::{ImageId, ProjectKey, Unwatched, store::directory::Directory, target::FileTarget},
    backup::{
        pull::{Exceptions, PullError},
        restore::{NewVolume, restore_encrypted},
    },
    clone::{Master, Pool},
    encryption::{KeyNumber, VolumeKey, VolumeKeys, rotation::Running},
    environment::SystemEnvironment,
    storage_daemon::StorageDaemon,
    volume::{Data, Durability, FlushInterval, Format, HostCache, Place, Volume, VolumeId},
};
use mezame_tests::process;

use super::{DISK, Desk, last_of};
use crate::durability::guest::{repeated, until_written};

const ONE: KeyNumber = KeyNumber(1);
const TWO: KeyNumber = KeyNumber(2);
const THREE: KeyNumber = KeyNumber(3);
const CACHE: HostCache = HostCache::Direct;

/// A guest on two clones of a master that is in the clear.
struct Clones {
    desk: Desk,
    master: Master,
    volumes: Vec<Volume>,
    keys: VolumeKeys,
    is_encrypted: bool,
}

impl Clones {
    fn lay(is_encrypted: bool) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let root = directory.path();
        let image = root.join("image");
        fs::write(&image, repeated("nothing yet", usize::try_from(DISK)?))?;
        let (master, pool) =
            (Master::seal(&image, Format::Raw, &root.join("master"))?, Pool::create(root)?);
        let environment = SystemEnvironment::new();
        let mut keys = VolumeKeys::none();
        for number in [ONE, TWO, THREE] {
            keys = keys.with(number, VolumeKey::make(&environment)?);
        }
        let mut volumes = Vec::new();
        for name in ["one", "two"] {
            let id = VolumeId::parse(name)?;
            let clone = if is_encrypted {
                master.clone_encrypted(&pool, &id, ONE, &keys)?
            } else {
                master.clone_into(&pool, &[id])?.remove(0)
            };
            volumes.push(clone.volume(Durability::Recovered(FlushInterval::default()), CACHE)?);
        }
        let store = Arc::new(Directory::create(root.join("archive"))?);
        let qemu = process::command("qemu-system-x86_64");
        let mut desk = Desk::lay_on(qemu, directory, &volumes, &keys, store)?;
        desk.key = is_encrypted.then(|| ProjectKey::new([3; 32]));
        Ok(Self { desk, master, volumes, keys, is_encrypted })
    }

    /// Gives both volumes another key, by the QEMU in which the guest runs.
    fn rotate(&mut self) -> Result<()> {
        let environment = SystemEnvironment::new();
        for volume in &self.volumes {
            let mut header = Running::new(&mut self.desk.qmp, volume, &self.keys, &environment);
            self.master.rotate_key(volume.id(), TWO, &mut header)?;
        }
        Ok(())
    }

    /// A backup, in which the keys are changed if they are to be.
    fn back_up(&mut self, is_rotated: bool) -> Result<Vec<ImageId>> {
        let point = self.desk.open()?;
        let before = usize::try_from(self.desk.written()?)?;
        if is_rotated {
            self.rotate()?;
        }
        let mut images = Vec::new();
        for offer in point.offers() {
            ensure!(offer.encrypted == self.is_encrypted);
            images.push(self.desk.pull(offer)?.image.id);
        }
        until_written(&mut self.desk.guest, before + 4)?;
        // What the guest has written over is there, as long as the point in time is open.
        let found = scratch_with(self.desk.guest.pid(), b"nothing yet")?;
        ensure!(found == if self.is_encrypted { 0 } else { 2 }, "in {found} scratch files");
        let all = self.desk.all();
        let closed = point.close(&mut self.desk.qmp, &all, None)?;
        ensure!(closed.broken.is_empty());
        Ok(images)
    }

    /// An image as a plain volume, encrypted if the clone was.
    fn restore(&self, image: ImageId, name: &str) -> Result<Volume> {
        let root = self.desk.directory.path();
        let (id, path) = (VolumeId::parse(name)?, root.join(format!("restored-{name}")));
        let visible = self.desk.visible(image)?;
        let archive = &self.desk.archive;
        if self.is_encrypted {
            let (number, keys) = (THREE, &self.keys);
            let new = NewVolume { id, path, cache: CACHE, number, keys, run: root };
            return Ok(restore_encrypted(archive, &visible, new, &Unwatched)?);
        }
        archive.export(&visible, &FileTarget::create(&path)?, &Unwatched)?;
        Ok(Volume::new(id, Data::Plain(Place::File(path)), Durability::Plain, CACHE)?)
    }

    /// All that a volume has.
    fn contents(&self, volume: &Volume) -> Result<Vec<u8>> {
        let (run, secrets) = (self.desk.directory.path(), volume.secrets(&self.keys)?);
        let daemon = StorageDaemon::start_with(&volume.blockdev(), &secrets, run)?;
        let mut bytes = vec![0; usize::try_from(DISK)?];
        daemon.open()?.read(0, &mut bytes)?;
        daemon.end()?;
        Ok(bytes)
    }
}

fn is_in(bytes: &[u8], words: &[u8]) -> bool {
    bytes.windows(words.len()).any(|part| part == words)
}

/// In how many of a QEMU's scratch files these words are.
fn scratch_with(qemu: u32, words: &[u8]) -> Result<usize> {
    let mut found = 0;
    for file in fs::read_dir(format!("/proc/{qemu}/fd"))? {
        let path = file?.path();
        // Others may be closed by now.
        let target = fs::read_link(&path).unwrap_or_default();
        if target.to_string_lossy().ends_with(".scratch (deleted)") {
            found += usize::from(is_in(&fs::read(path)?, words));
        }
    }
    Ok(found)
}

/// The files below a folder in which something is that the guest has written.
fn files_with_writes(folder: &Path) -> Result<Vec<String>> {
    let mut grep = process::command("grep");
    grep.args(["-rlaF", "--devices=skip", "-e", "disk 0 write ", "-e", "disk 1 write "]);
    let said = process::run(grep.arg(folder))?;
    // 1 is that there is none.
    ensure!(matches!(said.status.code(), Some(0 | 1)), "{}", said.stderr);
    let name = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
    Ok(said.stdout.lines().map(name).collect())
}

/// Two backups, a restore, and a guest that goes on from it. The files with what was written.
fn live(is_encrypted: bool) -> Result<Vec<String>> {
    let mut clones = Clones::lay(is_encrypted)?;
    until_written(&mut clones.desk.guest, 10)?;
    if is_encrypted {
        refused_in_the_clear(&mut clones.desk)?;
    }
    clones.back_up(is_encrypted)?;
    let images = clones.back_up(false)?;
    clones.desk.guest.kill()?;
    let mut restored = Vec::new();
    for (image, name) in images.iter().zip(["one", "two"]) {
        restored.push(clones.restore(*image, name)?);
    }
    let disks: Result<Vec<_>> = restored.iter().map(|volume| clones.contents(volume)).collect();
    let last = last_of(&disks?)?;
    ensure!(last > 10, "{last} writes are in the backup");
    let Clones { desk, keys, .. } = clones;
    let found = files_with_writes(desk.directory.path())?;
    // The numbers begin anew: the first blocks are written again.
    let store = Arc::new(Directory::create(desk.directory.path().join("other"))?);
    let qemu = process::command("qemu-system-x86_64");
    let mut again = Desk::lay_on(qemu, tempfile::tempdir()?, &restored, &keys, store)?;
    until_written(&mut again.guest, 5)?;
    again.guest.kill()?;
    Ok(found)
}

/// That what is encrypted isn't put into a project that is not.
fn refused_in_the_clear(desk: &mut Desk) -> Result<()> {
    let key = desk.key.take();
    let point = desk.open()?;
    let refused = desk.pull_with(&point.offers()[0], Exceptions::default());
    point.close(&mut desk.qmp, &[], None)?;
    desk.key = key;
    let error =
        refused.err().context("an encrypted volume was put into an archive in the clear")?;
    ensure!(matches!(error.downcast_ref(), Some(PullError::WouldBeClear(_))), "{error:#}");
    Ok(())
}

#[test]
fn an_encrypted_guest_is_backed_up_and_restored_and_its_words_are_in_no_file() -> Result<()> {
    let found = live(true)?;
    ensure!(found.is_empty(), "what the guest has written is in {found:?}");
    Ok(())
}

#[test]
fn the_same_guest_in_the_clear_has_its_words_in_its_clones_and_in_what_is_restored() -> Result<()> {
    let found = live(false)?;
    for name in ["restored-one", "restored-two"] {
        ensure!(found.iter().any(|found| found == name), "{name} is not among {found:?}");
    }
    ensure!(found.len() >= 4, "{found:?} has no clones");
    Ok(())
}
