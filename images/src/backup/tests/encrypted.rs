//! Encrypted disks: what their guest has written is in no file that a backup or a restore makes, while
//! the same words are in those of disks in the clear.

use std::{fs, path::Path};

use super::{
    guest::{Guest, Host},
    points::{plain, recovered, while_written},
    *,
};
use crate::{
    backup::restore::{NewVolume, RestoreError, restore_encrypted},
    clone::Master,
    encryption::{
        KeyNumber, Keyslots, VolumeKey, VolumeKeys,
        image::{self, Form},
        rotation::{self, Running},
        secret::{SecretError, Secrets},
    },
    environment::fixed::FixedEnvironment,
    storage_daemon::{DaemonError, StorageDaemon},
    testing::{Numbers, contents_with, first_difference, ids, keys, master, pool},
    volume::{Data, Durability, HostCache, Place, Volume, VolumeId},
};

const ONE: KeyNumber = KeyNumber(1);
const TWO: KeyNumber = KeyNumber(2);
const THREE: KeyNumber = KeyNumber(3);
/// Where the known words are written, and overwritten.
const FIRST: u64 = 1 << 20;
const SECOND: u64 = 5 << 20;

/// What is looked for: 4 KiB that nothing makes shorter.
fn known() -> Vec<u8> {
    let mut numbers = Numbers(4711);
    (0..4096).map(|_| u8::try_from(numbers.below(256)).unwrap()).collect()
}

/// Whether a piece of it is in there, at whatever place.
fn is_in(bytes: &[u8]) -> bool {
    let known = known();
    let piece = &known[1000..1064];
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|byte| *byte == piece[0]) {
        if bytes[from + at..].starts_with(piece) {
            return true;
        }
        from += at + 1;
    }
    false
}

/// All files below a folder in which it is.
fn files_with_it(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(files_with_it(&entry.path()));
        } else if kind.is_file() && is_in(&fs::read(entry.path()).unwrap()) {
            found.push(entry.file_name().into_string().unwrap());
        }
    }
    found.sort();
    found
}

/// How many files without a name QEMU has open, and in how many of them it is.
fn nameless(guest: &Guest) -> (usize, usize) {
    let files = fs::read_dir(format!("/proc/{}/fd", guest.pid())).unwrap();
    let is_scratch = |path: &std::path::PathBuf| {
        let target = fs::read_link(path).unwrap_or_default();
        target.to_string_lossy().ends_with(".scratch (deleted)")
    };
    let scratch: Vec<_> = files.map(|file| file.unwrap().path()).filter(is_scratch).collect();
    let with_it = scratch.iter().filter(|path| is_in(&fs::read(path).unwrap())).count();
    (scratch.len(), with_it)
}

fn objects_with_it(vault: &Vault) -> usize {
    let objects = vault.store.list("").unwrap();
    objects
        .iter()
        .filter(|object| is_in(&vault.store.read(&object.name, u64::MAX).unwrap()))
        .count()
}

/// An encrypted volume in a file, which reads as noise.
fn sealed(directory: &Path, name: &str, size: u64, keys: &VolumeKeys) -> Volume {
    let (id, path) = (VolumeId::parse(name).unwrap(), directory.join(name));
    image::make(&path, size, &Form::Luks, (&id, ONE, keys), || Ok(())).unwrap();
    let data = Data::Plain(Place::File(path));
    Volume::new(id, data, Durability::Plain, HostCache::Direct).unwrap().encrypted(ONE)
}

/// A guest with a clone and a plain volume, both encrypted or both in the clear.
struct Story {
    master: Master,
    volumes: Vec<Volume>,
    keys: VolumeKeys,
    guest: Guest,
    vault: Vault,
    is_encrypted: bool,
}

impl Story {
    fn begin(directory: &Path, is_encrypted: bool) -> Self {
        let (master, bytes) = master(directory);
        let (keys, id) = (keys(1), &ids(1)[0]);
        let pool = pool(directory);
        let clone = if is_encrypted {
            master.clone_encrypted(&pool, id, ONE, &keys).unwrap()
        } else {
            master.clone_into(&pool, std::slice::from_ref(id)).unwrap().remove(0)
        };
        let (clear, mut of_plain) = plain(directory, "clear");
        let other = if is_encrypted {
            sealed(directory, "sealed", of_plain.len() as u64, &keys)
        } else {
            clear
        };
        if is_encrypted {
            // As it will be written.
            of_plain.fill(1);
        }
        let volumes = vec![clone.volume(recovered(), HostCache::Direct).unwrap(), other];
        let secrets = volumes.iter().map(|volume| volume.secrets(&keys).unwrap());
        let secrets = secrets.fold(Secrets::none(), Secrets::and);
        let contents = vec![bytes, of_plain];
        let mut guest = Guest::start_with(directory, &volumes, contents, &[], &secrets);
        if is_encrypted {
            let length = guest.writer.contents[1].len() as u64;
            guest.writer.fill(1, 0, length, 1);
        }
        for disk in &mut guest.host.disks {
            *disk = disk.clone().with_keys(&keys);
        }
        let vault = Vault::new(is_encrypted.then(|| ProjectKey::new([3; 32])));
        Self { master, volumes, keys, guest, vault, is_encrypted }
    }

    fn write_known(&mut self, at: u64) {
        for disk in [0, 1] {
            self.guest.writer.write_bytes(disk, at, &known().repeat(16));
        }
    }

    /// A backup of both disks, during which something is done. The images.
    fn back_up(&mut self, meanwhile: impl FnOnce(&mut Self, &Point)) -> Vec<ImageId> {
        let point = self.guest.host.open(&self.vault).unwrap();
        let then = self.guest.writer.contents.clone();
        meanwhile(self, &point);
        let pulled = while_written(&mut self.guest.writer, || {
            let offers = point.offers().iter();
            offers.map(|offer| self.vault.pull(offer, &Unwatched).unwrap()).collect::<Vec<_>>()
        });
        for ((pulled, then), offer) in pulled.iter().zip(&then).zip(point.offers()) {
            assert_eq!(offer.encrypted, self.is_encrypted);
            assert_eq!(pulled.plan, offer.plan);
            assert_eq!(first_difference(&self.vault.restored(pulled.image.id), then), None);
        }
        let published: Vec<_> =
            self.guest.host.disks.iter().map(|disk| disk.id().clone()).collect();
        let closed = point.close(&mut self.guest.host.qmp, &published, None).unwrap();
        assert!(closed.broken.is_empty());
        let objects = self.guest.host.qmp.objects().unwrap();
        assert!(!objects.iter().any(|object| object.contains("scratch")), "{objects:?}");
        pulled.iter().map(|pulled| pulled.image.id).collect()
    }

    /// Gives both volumes their second key; QEMU forgets the first.
    fn rotate(&mut self) {
        let (qmp, environment) = (&mut self.guest.host.qmp, FixedEnvironment::new(7));
        let [clone, other] = &self.volumes[..] else { panic!("two volumes") };
        let mut header = Running::new(qmp, clone, &self.keys, &environment);
        self.master.rotate_key(clone.id(), TWO, &mut header).unwrap();
        let mut header = Running::new(qmp, other, &self.keys, &environment);
        rotation::rotate(Keyslots::One(ONE), TWO, &mut header, &mut |_| Ok(())).unwrap();
        let objects = qmp.objects().unwrap();
        assert!(!objects.iter().any(|object| object.ends_with("key-1")), "{objects:?}");
    }

    /// Restores an image as its volume was: encrypted with a third key, or in the clear.
    fn restore(&self, directory: &Path, image: ImageId, name: &str) -> Vec<u8> {
        let path = directory.join(name);
        let visible = self.vault.visible(image);
        if !self.is_encrypted {
            let target = FileTarget::create(&path).unwrap();
            self.vault.archive.export(&visible, &target, &Unwatched).unwrap();
            return fs::read(path).unwrap();
        }
        assert_eq!(self.vault.label(image, "backup.encrypted"), "yes");
        let new = || NewVolume {
            id: VolumeId::parse(name).unwrap(),
            path: path.clone(),
            cache: HostCache::Direct,
            number: THREE,
            keys: &self.keys,
            run: directory,
        };
        let restored = restore_encrypted(&self.vault.archive, &visible, new(), &Unwatched).unwrap();
        let again = restore_encrypted(&self.vault.archive, &visible, new(), &Unwatched);
        assert!(matches!(again, Err(RestoreError::File { .. })));
        // No other key opens it.
        let wrong = restored.clone().encrypted(TWO);
        let secrets = wrong.secrets(&self.keys).unwrap();
        let opened = StorageDaemon::start_with(&wrong.blockdev(), &secrets, directory);
        assert!(matches!(opened, Err(DaemonError::WrongKey(_))));
        contents_with(&restored, &self.keys, directory)
    }
}

/// A whole life of two disks; how many scratch files had the known words, in which files they are in the
/// end, and in how many of the archive's objects.
fn live(is_encrypted: bool) -> (usize, Vec<String>, usize) {
    let directory = tempfile::tempdir().unwrap();
    let run = directory.path();
    let mut story = Story::begin(run, is_encrypted);
    let mut in_scratch = 0;
    let mut overwrite = |story: &mut Story, at| {
        for disk in [0, 1] {
            story.guest.writer.fill(disk, at, 64 << 10, 7);
        }
        let (count, with_it) = nameless(&story.guest);
        assert_eq!(count, 2);
        in_scratch += with_it;
    };
    story.write_known(FIRST);
    story.back_up(|story, _| {
        overwrite(story, FIRST);
        if story.is_encrypted {
            story.rotate();
        }
    });
    story.write_known(SECOND);
    // By now QEMU has another key than it was started with.
    let images = story.back_up(|story, _| overwrite(story, SECOND));
    let then = images.iter().map(|image| story.vault.restored(*image)).collect::<Vec<_>>();
    let restored = ["of-clone", "of-plain"].map(|name| {
        let at = usize::from(name == "of-plain");
        first_difference(&story.restore(run, images[at], name), &then[at])
    });
    assert_eq!(restored, [None, None]);
    assert!(then.iter().all(|bytes| is_in(bytes)), "the words should be in the images");
    let objects = objects_with_it(&story.vault);
    let Story { guest, .. } = story;
    guest.quit();
    (in_scratch, files_with_it(run), objects)
}

#[test]
fn what_a_guest_has_written_is_in_no_file_of_its_encrypted_disks_backups_and_restored_volumes() {
    let (in_scratch, files, objects) = live(true);
    assert_eq!((in_scratch, &files[..], objects), (0, &[][..], 0));
}

#[test]
fn the_same_words_are_in_all_files_of_disks_in_the_clear() {
    let (in_scratch, files, objects) = live(false);
    assert_eq!(in_scratch, 4);
    for name in ["of-clone", "of-plain"] {
        assert!(files.contains(&name.to_owned()), "{files:?}");
    }
    assert!(objects > 0);
}

#[test]
fn an_encrypted_disk_is_put_into_a_project_in_the_clear_only_where_that_is_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let mut story = Story::begin(directory.path(), true);
    story.write_known(FIRST);
    let open = Vault::new(None);
    let point = story.guest.host.open(&open).unwrap();
    let offer = &point.offers()[1];
    let error = open.pull(offer, &Unwatched).unwrap_err();
    assert!(matches!(&error, PullError::WouldBeClear(id) if id.as_str() == "sealed"), "{error}");
    assert_eq!(objects_with_it(&open), 0);
    assert!(open.published(&story.guest.host.disks[1]).is_empty());
    let exceptions = Exceptions { clear_archive: true, ..Exceptions::default() };
    open.pull_with(offer, exceptions, &Unwatched).unwrap();
    assert!(objects_with_it(&open) > 0);
    point.close(&mut story.guest.host.qmp, &[], None).unwrap();
}

#[test]
fn without_a_key_that_qemu_has_no_point_in_time_of_an_encrypted_disk_is_opened() {
    let directory = tempfile::tempdir().unwrap();
    let mut story = Story::begin(directory.path(), true);
    let right = story.guest.host.disks.clone();
    let other =
        VolumeKeys::none().with(KeyNumber(9), VolumeKey::make(&FixedEnvironment::new(5)).unwrap());
    for keys in [VolumeKeys::none(), other] {
        let disks = right.iter().map(|disk| disk.clone().with_keys(&keys)).collect();
        story.guest.host.disks = disks;
        let error = story.guest.host.open(&story.vault).unwrap_err();
        let is_told = matches!(error, PointError::Secret(SecretError::NoWrapping(_)));
        assert!(is_told, "{error}");
        assert!(is_at_rest(&mut story.guest.host));
        assert!(!error.to_string().contains("key-"), "{error}");
    }
    story.guest.host.disks = right;
    story.write_known(FIRST);
    story.back_up(|_, _| ());
    assert!(is_at_rest(&mut story.guest.host));
}

/// Whether nothing of a point in time is left: in QEMU, and in the folder of scratch files.
fn is_at_rest(host: &mut Host) -> bool {
    let nodes = host.qmp.nodes().unwrap();
    let is_ours =
        |name: &str| [".before", ".scratch", ".point"].iter().any(|of| name.ends_with(of));
    let files = fs::read_dir(&host.directory).unwrap().map(|entry| entry.unwrap().file_name());
    let mut left = files.filter(|name| name.to_string_lossy().contains(".scratch"));
    let objects = host.qmp.objects().unwrap();
    !nodes.iter().any(|node| is_ours(&node.name))
        && left.next().is_none()
        && !objects.iter().any(|object| object.contains("scratch"))
}
