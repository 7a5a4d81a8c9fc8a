//! Room that is left to others: the disk of the control plane, which what guests overwrite during a
//! backup must not fill, and a pool, whose guests stop where a hydration takes its last byte.

use std::{
    os::unix::fs::MetadataExt,
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use mezame_images::{
    archive::{Progress, Watch},
    room::{free, usual_reserve},
};

use super::{ExecutorError, Local, Reason};
use crate::volumes::executor::BackedUp;

/// Between two looks at what is free.
const PAUSE: Duration = Duration::from_millis(250);

/// That a folder's file system has this much room, and what is left to others besides.
pub(super) fn check_room(folder: &Path, wanted: u64) -> Result<(), ExecutorError> {
    let failed =
        |error| ExecutorError::new(Reason::Failed, format!("{}: {error}", folder.display()));
    let (free, reserve) = (free(folder).map_err(failed)?, usual_reserve(folder).map_err(failed)?);
    if wanted.checked_add(reserve).is_some_and(|all| all <= free) {
        return Ok(());
    }
    let message = format!(
        "{} has {free} bytes free; {wanted} are needed, and {reserve} are left to others",
        folder.display()
    );
    Err(ExecutorError::new(Reason::NoRoom, message))
}

/// The same of what becomes of an image: it may have holes, and `there` bytes of it are there. Only
/// where all of its length does not fit is it asked how much it has, if it can have holes at all.
pub(super) fn check_image_room(
    folder: &Path,
    size: u64,
    there: u64,
    data: Option<impl FnOnce() -> Result<u64, ExecutorError>>,
) -> Result<(), ExecutorError> {
    let whole = check_room(folder, size.saturating_sub(there));
    match (whole, data) {
        (Err(error), Some(data)) if error.reason == Reason::NoRoom => {
            check_room(folder, data()?.saturating_sub(there))
        }
        (whole, _) => whole,
    }
}

/// Bytes that a file takes of its file system; none where there is none.
pub(super) fn taken(path: &Path) -> u64 {
    std::fs::symlink_metadata(path).map_or(0, |it| it.blocks().saturating_mul(512))
}

/// Whoever looks on at a backup, and the room that its scratch files take.
struct Roomy<'a> {
    whole: &'a dyn Watch,
    has_room: &'a (dyn Fn() -> bool + Sync),
    looked: Mutex<Option<Instant>>,
    is_short: AtomicBool,
}

impl<'a> Roomy<'a> {
    fn new(whole: &'a dyn Watch, has_room: &'a (dyn Fn() -> bool + Sync)) -> Self {
        Self { whole, has_room, looked: Mutex::new(None), is_short: AtomicBool::new(false) }
    }

    fn is_short(&self) -> bool {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if looked.is_none_or(|at| at.elapsed() >= PAUSE) {
            *looked = Some(Instant::now());
            if !(self.has_room)() {
                self.is_short.store(true, Ordering::SeqCst);
            }
        }
        self.is_short.load(Ordering::SeqCst)
    }
}

impl Watch for Roomy<'_> {
    fn enter(&self, phase: mezame_images::archive::Phase) {
        self.whole.enter(phase);
    }

    fn tell(&self, progress: Progress) {
        self.whole.tell(progress);
    }

    fn is_cancelled(&self) -> bool {
        self.whole.is_cancelled() || self.is_short()
    }
}

impl Local {
    /// Works at a point in time for as long as what the guest overwrites meanwhile leaves room to
    /// others: it is closed then, which frees all that it took, and the guest has noticed nothing.
    pub(super) fn roomy(
        &self,
        watch: &dyn Watch,
        work: impl FnOnce(&dyn Watch) -> Result<BackedUp, ExecutorError>,
    ) -> Result<BackedUp, ExecutorError> {
        check_room(&self.scratch, 0)?;
        let has_room = || check_room(&self.scratch, 0).is_ok();
        let watch = Roomy::new(watch, &has_room);
        let done = work(&watch)?;
        Ok(told(done, watch.is_short.into_inner(), &self.scratch))
    }
}

/// What was ended for want of room is no work that somebody has cancelled.
fn told(mut done: BackedUp, is_short: bool, scratch: &Path) -> BackedUp {
    let ended = done.missing.iter_mut().filter(|(_, error)| error.reason == Reason::Cancelled);
    for (_, error) in ended.filter(|_| is_short) {
        let message = format!(
            "what the guest has overwritten meanwhile left too little room in {}",
            scratch.display()
        );
        *error = ExecutorError::new(Reason::NoRoom, message);
    }
    done
}

#[cfg(test)]
mod tests {
    use mezame_images::{archive::Unwatched, volume::VolumeId};

    use super::*;

    #[test]
    fn work_that_would_take_the_last_room_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        check_room(folder.path(), 0).unwrap();
        for wanted in [1 << 60, u64::MAX] {
            let error = check_room(folder.path(), wanted).unwrap_err();
            assert_eq!(error.reason, Reason::NoRoom, "{error}");
        }
        // All that is free, too: others are left some.
        let all = free(folder.path()).unwrap();
        assert_eq!(check_room(folder.path(), all).unwrap_err().reason, Reason::NoRoom);
    }

    #[test]
    fn an_image_fits_by_its_data_where_it_may_have_holes_and_by_what_is_there_already() {
        let folder = tempfile::tempdir().unwrap();
        let data = |bytes| Some(move || Ok(bytes));
        let none: Option<fn() -> Result<u64, ExecutorError>> = None;
        let check = |there, data| check_image_room(folder.path(), 1 << 60, there, data);
        check(0, data(0)).unwrap();
        check(1 << 59, data(1 << 59)).unwrap();
        let full = [check(0, data(1 << 59)), check_image_room(folder.path(), 1 << 60, 0, none)];
        for refused in full {
            assert_eq!(refused.unwrap_err().reason, Reason::NoRoom);
        }
        // Nobody is asked who need not be.
        let unasked = || panic!("the image's chunks were looked at");
        check_image_room(folder.path(), 0, 0, Some(unasked)).unwrap();
        assert_eq!(taken(&folder.path().join("none")), 0);
        let hole = folder.path().join("hole");
        std::fs::File::create(&hole).unwrap().set_len(1 << 30).unwrap();
        assert!(taken(&hole) < 1 << 30);
    }

    #[test]
    fn a_backup_ends_when_its_scratch_files_leave_too_little_room_and_that_is_what_is_told() {
        let has_room = AtomicBool::new(true);
        let look = || has_room.load(Ordering::SeqCst);
        let watch = Roomy::new(&Unwatched, &look);
        assert!(!watch.is_cancelled());
        has_room.store(false, Ordering::SeqCst);
        let begin = Instant::now();
        while !watch.is_cancelled() {
            assert!(begin.elapsed() < Duration::from_secs(10));
            std::thread::sleep(Duration::from_millis(5));
        }
        // What is freed by its end does not begin it anew.
        has_room.store(true, Ordering::SeqCst);
        std::thread::sleep(PAUSE);
        assert!(watch.is_cancelled());
        let web = VolumeId::parse("web").unwrap();
        let missing = vec![(web, ExecutorError::new(Reason::Cancelled, "cancelled"))];
        let done = BackedUp { missing, ..BackedUp::default() };
        let done = told(done, watch.is_short.into_inner(), Path::new("/scratch"));
        assert_eq!(done.missing[0].1.reason, Reason::NoRoom);
    }
}
