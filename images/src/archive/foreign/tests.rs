//! Tests of importing files, with the real `qemu-img` and `ssh-keygen`.

mod changing;
mod sandbox;

use std::{fs, process::Command, sync::Arc};

use mezame_model::ProjectName;
use ring::digest::{SHA256, digest};

use super::*;
use crate::{
    archive::{
        Detail, KeyOf, Kind, ObjectName, Phase, Progress, Settings, Unwatched, Viewer,
        id::hex,
        store::{Listed, Store, StoreError, memory::Memory},
        target::FileTarget,
    },
    environment::SystemEnvironment,
};

/// A store in memory that counts what was ever written as an image's record.
#[derive(Default)]
struct Counting {
    memory: Memory,
    records: std::sync::atomic::AtomicU64,
}

impl Counting {
    /// The folder's marker is none.
    fn records(&self) -> u64 {
        self.records.load(std::sync::atomic::Ordering::SeqCst) - 1
    }
}

impl Store for Counting {
    fn put_new(&self, name: &ObjectName, bytes: &[u8]) -> Result<(), StoreError> {
        if name.as_str().starts_with("images/") {
            self.records.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
        self.memory.put_new(name, bytes)
    }
    fn replace(&self, name: &ObjectName, bytes: &[u8]) -> Result<(), StoreError> {
        self.memory.replace(name, bytes)
    }
    fn read(&self, name: &ObjectName, limit: u64) -> Result<Vec<u8>, StoreError> {
        self.memory.read(name, limit)
    }
    fn read_at(&self, name: &ObjectName, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        self.memory.read_at(name, offset, buffer)
    }
    fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        self.memory.list(prefix)
    }
    fn delete(&self, name: &ObjectName) -> Result<(), StoreError> {
        self.memory.delete(name)
    }
}

struct Place {
    folder: tempfile::TempDir,
    store: Arc<Counting>,
    archive: Archive,
    project: ProjectName,
}

impl Place {
    /// With a disk of 5 MiB in `disk.raw`: zeros, and a MiB in the middle that is not.
    fn make() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut disk = vec![0; 5 << 20];
        for (n, byte) in disk[2 << 20..3 << 20].iter_mut().enumerate() {
            *byte = (n / 7 % 251) as u8;
        }
        fs::write(folder.path().join("disk.raw"), disk).unwrap();
        let environment = Arc::new(SystemEnvironment::new());
        let store = Arc::new(Counting::default());
        let archive = Archive::create(store.clone(), environment, Settings::default()).unwrap();
        Self { folder, store, archive, project: ProjectName::parse("web").unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let mut command = Command::new(program);
        let out = command.args(arguments).current_dir(self.folder.path()).output().unwrap();
        assert!(out.status.success(), "{program} {arguments:?}: {out:?}");
    }

    fn file<'a>(&'a self, path: &'a Path, format: ForeignFormat) -> FileImport<'a> {
        FileImport {
            path,
            format,
            sha256: None,
            signature: None,
            largest: 1 << 30,
            scratch: self.folder.path(),
            reserve: 0,
            patience: Duration::from_secs(60),
        }
    }

    fn about(&self) -> NewImage<'_> {
        NewImage {
            project: &self.project,
            kind: Kind::Imported,
            detail: Detail::default(),
            key: None,
            base: None,
        }
    }

    fn import(&self, file: &FileImport<'_>) -> Result<Imported, ForeignError> {
        self.archive.import_file(file, self.about(), &Unwatched)
    }

    /// That the image holds the disk that all tests begin with.
    fn assert_whole(&self, imported: &Imported) {
        let image =
            self.archive.view(imported.image.id, Viewer::Operator, &|_| KeyOf::Open).unwrap();
        let path = self.path("restored");
        let target = FileTarget::create(&path).unwrap();
        self.archive.export(&image, &target, &Unwatched).unwrap();
        assert!(fs::read(&path).unwrap() == fs::read(self.path("disk.raw")).unwrap());
        assert!(fs::metadata(&path).unwrap().blocks() * 512 < 3 << 20, "it is not sparse");
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn a_disk_is_the_same_from_every_format_that_qemu_img_writes() {
    let place = Place::make();
    place.assert_whole(
        &place.import(&place.file(&place.path("disk.raw"), ForeignFormat::Raw)).unwrap(),
    );
    for (format, options) in [
        (ForeignFormat::Qcow2, ""),
        (ForeignFormat::Qcow2, "compat=0.10"),
        (ForeignFormat::Qcow2, "compression_type=zstd,extended_l2=on,cluster_size=128k"),
        (ForeignFormat::Vmdk, ""),
        (ForeignFormat::Vmdk, "subformat=streamOptimized"),
        (ForeignFormat::Vhdx, ""),
        (ForeignFormat::Vhdx, "subformat=fixed"),
    ] {
        let mut arguments = vec!["convert", "-O", format.name()];
        if !options.is_empty() {
            arguments.extend(["-o", options]);
        }
        place.run("qemu-img", &[&arguments[..], &["disk.raw", "disk.x"]].concat());
        let path = place.path("disk.x");
        let imported = place.import(&place.file(&path, format)).unwrap_or_else(|error| {
            panic!("{} {options}: {error:?}", format.name());
        });
        place.assert_whole(&imported);
        let detail = imported.image.detail.unwrap();
        assert_eq!(detail.provenance.format.as_deref(), Some(format.name()));
        fs::remove_file(path).unwrap();
    }
    assert_eq!(fs::read_dir(place.folder.path()).unwrap().count(), 1, "something is left over");
}

#[test]
fn a_file_that_names_another_file_of_the_host_is_refused() {
    let place = Place::make();
    fs::write(place.path("secret"), vec![b's'; 65536]).unwrap();
    place.run("qemu-img", &["create", "-q", "-f", "qcow2", "-F", "raw", "-b", "secret", "backed"]);
    let refused =
        place.import(&place.file(&place.path("backed"), ForeignFormat::Qcow2)).unwrap_err();
    assert!(matches!(refused, ForeignError::Qcow2 { source: Qcow2Fault::BackingFile, .. }));
    let options = "data_file=secret,data_file_raw=on";
    place.run("qemu-img", &["create", "-q", "-f", "qcow2", "-o", options, "outside", "64k"]);
    let refused =
        place.import(&place.file(&place.path("outside"), ForeignFormat::Qcow2)).unwrap_err();
    assert!(matches!(refused, ForeignError::Qcow2 { source: Qcow2Fault::DataFile, .. }));
    for kind in ["monolithicFlat", "twoGbMaxExtentSparse"] {
        let options = format!("subformat={kind}");
        place.run("qemu-img", &["create", "-q", "-f", "vmdk", "-o", &options, "x.vmdk", "1M"]);
        let refused =
            place.import(&place.file(&place.path("x.vmdk"), ForeignFormat::Vmdk)).unwrap_err();
        assert!(matches!(refused, ForeignError::Vmdk { .. }), "{kind}: {refused}");
    }
}

#[test]
fn a_file_is_never_taken_for_another_form_than_it_was_said_to_be_of() {
    let place = Place::make();
    for format in [ForeignFormat::Qcow2, ForeignFormat::Vmdk, ForeignFormat::Vhdx] {
        let refused = place.import(&place.file(&place.path("disk.raw"), format)).unwrap_err();
        assert!(!matches!(refused, ForeignError::Conversion { .. }), "{refused}");
    }
    // A guest can write such a head onto its own disk.
    place.run("qemu-img", &["create", "-q", "-f", "qcow2", "-F", "raw", "-b", "disk.raw", "raw"]);
    let imported = place.import(&place.file(&place.path("raw"), ForeignFormat::Raw)).unwrap();
    assert_eq!(imported.image.size, fs::metadata(place.path("raw")).unwrap().len());
}

#[test]
fn a_file_with_another_digest_is_refused_and_a_right_one_is_told() {
    let place = Place::make();
    let path = place.path("disk.raw");
    let mut file = place.file(&path, ForeignFormat::Raw);
    file.sha256 = Some([7; 32]);
    let refused = place.import(&file).unwrap_err();
    assert!(matches!(refused, ForeignError::Digest { .. }), "{refused}");
    assert!(place.archive.list(Viewer::Operator, &|_| KeyOf::Open).unwrap().is_empty());
    let right = digest(&SHA256, &fs::read(&path).unwrap());
    file.sha256 = Some(right.as_ref().try_into().unwrap());
    let imported = place.import(&file).unwrap();
    let told = imported.image.detail.unwrap().provenance.sha256;
    assert_eq!(told, Some(hex(right.as_ref())));
}

#[test]
fn a_signed_file_is_imported_and_one_that_was_changed_since_is_not() {
    let place = Place::make();
    place.run("qemu-img", &["convert", "-O", "qcow2", "disk.raw", "disk.qcow2"]);
    place.run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", "key"]);
    place.run("ssh-keygen", &["-Y", "sign", "-f", "key", "-n", "mezame-image", "disk.qcow2"]);
    let text = fs::read_to_string(place.path("disk.qcow2.sig")).unwrap();
    let signature = Signature::parse(&text).unwrap();
    let key = TrustedKey::parse(&fs::read_to_string(place.path("key.pub")).unwrap()).unwrap();
    let trusted = [key.clone()];
    let path = place.path("disk.qcow2");
    let mut file = place.file(&path, ForeignFormat::Qcow2);
    file.signature = Some((&signature, &trusted));
    let imported = place.import(&file).unwrap();
    place.assert_whole(&imported);
    let signer = imported.image.detail.unwrap().provenance.signer;
    assert_eq!(signer, Some(key.name().to_string()));
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&path, bytes).unwrap();
    let refused = place.import(&file).unwrap_err();
    assert!(matches!(refused, ForeignError::Signature { source: SignatureFault::Wrong, .. }));
}

#[test]
fn a_file_that_was_cut_short_is_an_error_with_what_qemu_img_said() {
    let place = Place::make();
    for (format, options) in [
        (ForeignFormat::Qcow2, "compat=1.1"),
        (ForeignFormat::Vmdk, "subformat=monolithicSparse"),
        (ForeignFormat::Vmdk, "subformat=streamOptimized"),
    ] {
        place.run("qemu-img", &["convert", "-O", format.name(), "-o", options, "disk.raw", "x"]);
        let path = place.path("x");
        let length = fs::metadata(&path).unwrap().len();
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(length / 2 / 65536 * 65536).unwrap();
        let refused = place.import(&place.file(&path, format)).unwrap_err();
        let is_told = matches!(&refused, ForeignError::Conversion { said, .. } if !said.is_empty());
        assert!(is_told, "{options}: {refused}");
    }
    assert!(place.archive.list(Viewer::Operator, &|_| KeyOf::Open).unwrap().is_empty());
}

#[test]
fn a_file_system_without_room_is_told_as_that_and_not_as_a_fault_of_the_file() {
    let place = Place::make();
    place.run("qemu-img", &["convert", "-O", "qcow2", "disk.raw", "disk.qcow2"]);
    let path = place.path("disk.qcow2");
    let mut file = place.file(&path, ForeignFormat::Qcow2);
    file.reserve = u64::MAX;
    assert!(matches!(place.import(&file), Err(ForeignError::Room { .. })));
    assert_eq!(place.store.records(), 0);
}

/// Keeps what it is told.
#[derive(Default)]
struct Told(std::sync::Mutex<Vec<(Phase, Vec<Progress>)>>);

impl Watch for Told {
    fn enter(&self, phase: Phase) {
        self.0.lock().unwrap().push((phase, Vec::new()));
    }
    fn tell(&self, progress: Progress) {
        self.0.lock().unwrap().last_mut().unwrap().1.push(progress);
    }
}

#[test]
fn each_part_of_an_import_tells_how_far_it_is_and_never_less_than_before() {
    let place = Place::make();
    place.run("qemu-img", &["convert", "-O", "qcow2", "disk.raw", "disk.qcow2"]);
    let path = place.path("disk.qcow2");
    let told = Told::default();
    let file = place.file(&path, ForeignFormat::Qcow2);
    place.archive.import_file(&file, place.about(), &told).unwrap();
    let told = told.0.into_inner().unwrap();
    let phases: Vec<Phase> = told.iter().map(|(phase, _)| *phase).collect();
    assert_eq!(phases, [Phase::Checking, Phase::Converting, Phase::Archiving]);
    for (phase, told) in &told {
        assert!(told.is_sorted_by_key(|progress| progress.done), "{phase:?}: {told:?}");
        if *phase != Phase::Converting {
            let last = told.last().unwrap();
            assert_eq!((last.done, last.total > 0), (last.total, true), "{phase:?}");
        }
    }
}

#[test]
fn what_is_no_file_is_refused_and_nobody_waits_for_it() {
    let place = Place::make();
    place.run("mkfifo", &["pipe"]);
    for path in [place.path("pipe"), place.folder.path().to_owned()] {
        let refused = place.import(&place.file(&path, ForeignFormat::Raw)).unwrap_err();
        assert!(matches!(refused, ForeignError::NoFile { .. }), "{refused}");
    }
}

#[test]
fn a_small_file_of_a_disk_that_is_too_large_is_refused_before_anything_is_unpacked() {
    let place = Place::make();
    for format in
        [ForeignFormat::Raw, ForeignFormat::Qcow2, ForeignFormat::Vmdk, ForeignFormat::Vhdx]
    {
        place.run("qemu-img", &["create", "-q", "-f", format.name(), "bomb", "1T"]);
        let path = place.path("bomb");
        let refused = place.import(&place.file(&path, format)).unwrap_err();
        let is_told = matches!(refused, ForeignError::TooLarge { size: 0x100_0000_0000, .. });
        assert!(is_told, "{}: {refused}", format.name());
        fs::remove_file(path).unwrap();
    }
    // One byte more than it may have.
    let path = place.path("disk.raw");
    let mut file = place.file(&path, ForeignFormat::Raw);
    file.largest = (5 << 20) - 1;
    assert!(matches!(place.import(&file), Err(ForeignError::TooLarge { .. })));
    file.largest += 1;
    place.import(&file).unwrap();
}
