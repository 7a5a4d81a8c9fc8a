//! Pools that are only noted down, and that do what a test wants.

use super::*;
use crate::volumes::monitors::GuestMonitor;

/// Pools without disks: which volumes there are, and the number of the key that opens each.
#[derive(Default)]
pub(super) struct Noted {
    pub(super) volumes: Mutex<BTreeMap<VolumeId, Option<KeyNumber>>>,
    /// What is refused next, once.
    refusal: Mutex<Option<Reason>>,
    /// Which volumes were restored, and whether over what was there.
    pub(super) restored: Mutex<Vec<(String, bool)>>,
    /// How long volumes were made, one after the other.
    pub(super) grown: Mutex<Vec<u64>>,
    /// Which restores were begun and have not ended.
    pub(super) restoring: Mutex<Vec<(VolumeId, bool)>>,
    /// Disks that pools were told to take over.
    pub(super) taken_over: Mutex<Vec<String>>,
    /// The disks of volumes whose making was undone.
    pub(super) undone: Mutex<Vec<Option<String>>>,
    /// By whom, as what, and what was captured.
    pub(super) captured: Mutex<Vec<String>>,
    /// What makes backups; without, none comes to be.
    pub(super) maker: Mutex<Option<Maker>>,
    /// Who was to freeze the guests of backups and captures.
    pub(super) freezes: Mutex<Vec<Option<FreezeOrder>>>,
    /// Whether jobs are to stay at work.
    pub(super) is_held: AtomicBool,
    /// Whether monitors are to leave calls unanswered, and how many do.
    pub(super) has_hung: AtomicBool,
    pub(super) hung: AtomicUsize,
    /// How many volumes were begun to be deleted.
    pub(super) deleting: AtomicUsize,
    /// The monitors of QEMUs that are there.
    pub(super) qemus: Mutex<BTreeSet<PathBuf>>,
    /// What guests that are seen to may do, and how their volumes are flushed.
    pub(super) told: Mutex<BTreeMap<VolumeId, Limits>>,
    pub(super) flushers: Mutex<BTreeMap<VolumeId, Flushed>>,
}

type Maker = Box<dyn Fn(BackupOrder) -> BackedUp + Send>;

impl Noted {
    fn refused(&self) -> Result<(), ExecutorError> {
        match self.refusal.lock().unwrap().take() {
            Some(reason) => Err(ExecutorError::new(reason, "refused, as the test wants")),
            None => Ok(()),
        }
    }

    /// Stays at work for as long as it is to.
    fn held(&self, watch: &dyn Watch) -> Result<(), ExecutorError> {
        while self.is_held.load(Ordering::SeqCst) {
            if watch.is_cancelled() {
                return Err(ExecutorError::new(Reason::Cancelled, "cancelled"));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.refused()
    }

    pub(super) fn refuse(&self, reason: Reason) {
        *self.refusal.lock().unwrap() = Some(reason);
    }
}

impl Executor for Noted {
    fn host(&self) -> &str {
        "here"
    }

    fn pools(&self) -> Vec<Pool> {
        let pool = |name: &str, is_there| Pool {
            name: name.into(),
            kind: PoolKind::Directory,
            directory: Some("/p".into()),
            host: "here".into(),
            is_default: name == "fast",
            is_there,
            why: (!is_there).then(|| "not mounted".into()),
            size: None,
            used: None,
            free: None,
            disks: Vec::new(),
        };
        let disks = |name, kind| Pool { kind, directory: None, ..pool(name, true) };
        let (devices, luns) = (PoolKind::Devices, PoolKind::Luns);
        vec![pool("away", false), disks("disks", devices), pool("fast", true), disks("san", luns)]
    }

    fn list_masters(&self) -> Result<Vec<Master>, ExecutorError> {
        Ok(Vec::new())
    }

    fn remove_master(&self, _: &str) -> Result<bool, ExecutorError> {
        self.refused().map(|()| false)
    }

    fn leftovers(&self, _: &[Facts]) -> Result<Vec<Leftover>, ExecutorError> {
        Ok(Vec::new())
    }

    fn remove_leftover(&self, _: &Facts, _: &str) -> Result<Option<Erasure>, ExecutorError> {
        self.refused().map(|()| None)
    }

    fn claim(&self, volume: &Facts, _: &Beginning) -> Result<Option<String>, ExecutorError> {
        if volume.pool != "disks" {
            return Ok(None);
        }
        self.refused()?;
        Ok(Some("/dev/vdb".into()))
    }

    fn make_pool(&self, name: &str, take_over: &[String]) -> Result<Pool, ExecutorError> {
        self.refused()?;
        self.taken_over.lock().unwrap().extend(take_over.iter().cloned());
        let found = self.pools().into_iter().find(|pool| pool.name == name);
        found.ok_or_else(|| ExecutorError::new(Reason::NoPool, "no such pool"))
    }

    fn create(&self, volume: &Facts, _: &Beginning, _: &dyn Watch) -> Result<(), ExecutorError> {
        while self.is_held.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.refused()?;
        self.volumes.lock().unwrap().insert(volume.id.clone(), volume.newest);
        Ok(())
    }

    fn undo(&self, volume: &Facts) -> Result<(), ExecutorError> {
        self.undone.lock().unwrap().push(volume.place.clone());
        self.volumes.lock().unwrap().remove(&volume.id);
        Ok(())
    }

    fn open(&self, volume: &Facts) -> Result<VolumeStart, ExecutorError> {
        self.refused()?;
        Ok(VolumeStart {
            id: volume.id.to_string(),
            class: volume.class,
            blockdev: json!({}),
            device: json!({}),
            secrets: Vec::new(),
            recovered_bytes: 7,
            limits: Limits::default(),
        })
    }

    fn delete(&self, volume: &Facts) -> Result<Erasure, ExecutorError> {
        self.deleting.fetch_add(1, Ordering::SeqCst);
        while self.is_held.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.refused()?;
        let was = self.volumes.lock().unwrap().remove(&volume.id);
        let what = if was.flatten().is_some() { "in-place" } else { "nothing" };
        Ok(Erasure { what, doubt: None })
    }

    fn rotate_key(
        &self,
        volume: &Facts,
        _: Option<GuestMonitor>,
    ) -> Result<BTreeSet<u32>, ExecutorError> {
        self.refused()?;
        self.volumes.lock().unwrap().insert(volume.id.clone(), volume.newest);
        Ok(volume.newest.into_iter().map(|number| number.0).collect())
    }

    fn grow(&self, _: &Facts, size: u64, _: &dyn Watch) -> Result<(), ExecutorError> {
        self.refused()?;
        self.grown.lock().unwrap().push(size);
        Ok(())
    }

    fn set_limits(&self, of: &Facts, to: Limits, qmp: PathBuf) -> Result<(), ExecutorError> {
        self.hung.fetch_add(1, Ordering::SeqCst);
        while self.has_hung.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.refused()?;
        if !self.qemus.lock().unwrap().contains(&qmp) {
            return Err(ExecutorError::new(Reason::Monitor, "nobody is there"));
        }
        self.told.lock().unwrap().insert(of.id.clone(), to);
        Ok(())
    }

    fn attend(
        &self,
        volume: &Facts,
        limits: Limits,
        qmp: &Path,
    ) -> Result<Attended, ExecutorError> {
        if !self.qemus.lock().unwrap().contains(qmp) {
            return Ok(Attended::NotThere("nobody is there".into()));
        }
        self.refused()?;
        self.told.lock().unwrap().insert(volume.id.clone(), limits);
        if !volume.class.is_flushed() {
            return Ok(Attended::Limited);
        }
        let (age, is_kept) = (Some(Duration::from_millis(200)), true);
        let flushed =
            Flushed { age, is_kept, is_failing: false, flushes: 4, failures: 0, lates: 0 };
        self.flushers.lock().unwrap().insert(volume.id.clone(), flushed);
        Ok(Attended::Flushed)
    }

    fn flushed(&self, volume: &VolumeId) -> Option<Flushed> {
        self.flushers.lock().unwrap().get(volume).copied()
    }

    fn leave(&self, volume: &Facts, _: &Path) -> Result<(), ExecutorError> {
        self.flushers.lock().unwrap().remove(&volume.id);
        Ok(())
    }

    fn hydrate(
        &self,
        _: &Facts,
        _: PathBuf,
        _: Option<u64>,
        watch: &dyn Watch,
    ) -> Result<(), ExecutorError> {
        self.held(watch)
    }

    fn pace(&self, _: &Facts, _: PathBuf, _: bool) -> Result<(), ExecutorError> {
        self.refused()
    }

    fn restore(
        &self,
        volume: &Facts,
        order: &RestoreOrder,
        watch: &dyn Watch,
    ) -> Result<Restored, ExecutorError> {
        self.held(watch)?;
        self.restored.lock().unwrap().push((volume.id.to_string(), order.is_over));
        let kept = order.keeps_old.then(|| PathBuf::from(format!("/p/{}.raw", volume.id)));
        Ok(Restored { size: 2 << 20, written: 9, kept })
    }

    fn restoring(&self) -> Result<Vec<(VolumeId, bool)>, ExecutorError> {
        Ok(self.restoring.lock().unwrap().clone())
    }

    fn give_up_restore(&self, _: &Facts) -> Result<(), ExecutorError> {
        self.refused()
    }

    fn capture(
        &self,
        volume: &Facts,
        order: &CaptureOrder,
        watch: &dyn Watch,
    ) -> Result<Captured, ExecutorError> {
        self.held(watch)?;
        self.freezes.lock().unwrap().push(order.freeze.clone());
        let words = [order.by.as_str(), order.name.as_str(), volume.id.as_str()];
        self.captured.lock().unwrap().push(words.join(" "));
        let image = ImageId::parse("img-0123456789abcdef0123456789abcdef").unwrap();
        Ok(Captured { image, written: 9 })
    }

    fn back_up(&self, order: BackupOrder, watch: &dyn Watch) -> Result<BackedUp, ExecutorError> {
        self.held(watch)?;
        self.freezes.lock().unwrap().push(order.freeze.clone());
        if let Some(maker) = &*self.maker.lock().unwrap() {
            return Ok(maker(order));
        }
        let missing = order.volumes.into_iter().map(|facts| {
            (facts.id, ExecutorError::new(Reason::Failed, "the scratch file was full"))
        });
        Ok(BackedUp { missing: missing.collect(), ..BackedUp::default() })
    }
}
