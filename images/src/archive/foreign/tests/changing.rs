//! Files that change while they are imported, and words for what was not checked.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::archive::{Phase, Progress};

/// Writes to a file once an import has begun to read what it archives.
struct Writing {
    path: PathBuf,
    is_archiving: AtomicBool,
    is_done: AtomicBool,
}

impl Writing {
    fn to(path: &Path) -> Self {
        Self { path: path.into(), is_archiving: false.into(), is_done: false.into() }
    }
}

impl Watch for Writing {
    fn enter(&self, phase: Phase) {
        self.is_archiving.store(phase == Phase::Archiving, Ordering::SeqCst);
    }

    fn tell(&self, progress: Progress) {
        let is_time = progress.done > 0 && self.is_archiving.load(Ordering::SeqCst);
        if is_time && !self.is_done.swap(true, Ordering::SeqCst) {
            let file = OpenOptions::new().write(true).open(&self.path).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, &[0xee; 5 << 20], 0).unwrap();
        }
    }
}

#[test]
fn what_is_archived_is_what_the_digest_is_of_whoever_writes_to_the_file() {
    let place = Place::make();
    let path = place.path("disk.raw");
    let before = fs::read(&path).unwrap();
    let mut file = place.file(&path, ForeignFormat::Raw);
    file.sha256 = Some(digest(&SHA256, &before).as_ref().try_into().unwrap());
    let watch = Writing::to(&path);
    let imported = place.archive.import_file(&file, place.about(), &watch).unwrap();
    assert!(fs::read(&path).unwrap() != before, "nobody wrote to it");
    fs::write(&path, &before).unwrap();
    place.assert_whole(&imported);
}

#[test]
fn a_file_that_changed_while_it_was_read_is_an_image_at_no_time() {
    let place = Place::make();
    let path = place.path("disk.raw");
    let watch = Writing::to(&path);
    let file = place.file(&path, ForeignFormat::Raw);
    let refused = place.archive.import_file(&file, place.about(), &watch).unwrap_err();
    assert!(matches!(refused, ForeignError::Changed { .. }), "{refused}");
    assert_eq!(place.store.records(), 0, "it was an image for a moment");
}

#[test]
fn a_caller_s_word_for_a_digest_or_a_signer_is_not_passed_on() {
    let place = Place::make();
    let path = place.path("disk.raw");
    let mut new = place.about();
    new.detail.provenance.sha256 = Some("00".repeat(32));
    new.detail.provenance.signer = Some("SHA256:somebody".into());
    new.detail.provenance.source = Some("a mirror".into());
    let file = place.file(&path, ForeignFormat::Raw);
    let imported = place.archive.import_file(&file, new, &Unwatched).unwrap();
    let told = imported.image.detail.unwrap().provenance;
    assert_eq!((told.sha256, told.signer), (None, None));
    assert_eq!(told.source.as_deref(), Some("a mirror"));
}
