//! Running guests, seen to from their start: a volume's limits are set, and it is flushed as its class
//! says, by whichever process of ours is there.
//!
//! ```text
//!  open --qmp ─► awaited ──QEMU is there──► attended ──it is gone──► forgotten
//!                   │ ten minutes                │ the volume is plain     ▲
//!                   └────────────────────────────┴─────────────────────────┘
//! ```
//! Which guest it is stands in the volume's record, so that the next process goes on. Several times a
//! second all such records are looked at ([`entry`], which is pure); what has to be told to a
//! QEMU is told by threads of their own, since one that hangs must not hold up the others. A guest that
//! can't be seen to runs all the same: that its writes are not flushed is logged, counted and shown.

mod calls;
mod entry;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, atomic::Ordering},
    time::{Duration, Instant},
};

use mezame_images::volume::VolumeId;

use self::entry::{Entry, Step, Told};
use super::{
    Volumes,
    executor::{Attended, Flushed},
    record::{GuestRecord, VolumeRecord},
};

/// Between two looks. A guest that starts has no limits for about as long.
const LOOK: Duration = Duration::from_millis(100);
/// Between two times that a QEMU is told what it refused, or did not answer.
const AGAIN: Duration = Duration::from_secs(1);
/// For how long a QEMU is waited for, in milliseconds.
pub(super) const PATIENCE_MS: u64 = 600_000;

/// What is known of the guests that are seen to, besides what is in the records.
#[derive(Default)]
pub(super) struct Attendance(Mutex<BTreeMap<VolumeId, Entry>>);

impl Attendance {
    fn all(&self) -> MutexGuard<'_, BTreeMap<VolumeId, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is known of a guest, if it is still the one that is meant.
    fn change(&self, volume: &VolumeId, guest: &GuestRecord, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.all().get_mut(volume).filter(|it| it.guest == *guest) {
            change(entry);
        }
    }

    fn remove(&self, volume: &VolumeId, guest: &GuestRecord) {
        let mut all = self.all();
        if all.get(volume).is_some_and(|it| it.guest == *guest) {
            all.remove(volume);
        }
    }
}

impl Volumes {
    /// Sees to guests for as long as there is somebody who works with volumes.
    pub(super) async fn attend(volumes: Weak<Self>) {
        while let Some(volumes) = volumes.upgrade() {
            if volumes.has_ended.load(Ordering::SeqCst) {
                return;
            }
            volumes.look_at_guests();
            drop(volumes);
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Looks at all of them once, and has done what is to be.
    fn look_at_guests(self: &Arc<Self>) {
        let now = Instant::now();
        let records = self.control.volumes_of_guests(self.executor.host());
        let mut orders = Vec::new();
        {
            let mut all = self.attendance.all();
            for record in &records {
                let Some(guest) = &record.guest else { continue };
                let new = || Entry::new(guest.clone(), Arc::clone(record), now);
                let entry = all.entry(record.id.clone()).or_insert_with(new);
                // What is asked ends first.
                if entry.guest != *guest && !entry.is_asked {
                    *entry = new();
                }
                entry.record = Arc::clone(record);
            }
            for (id, entry) in &mut *all {
                let flushed = self.executor.flushed(id);
                let is_known = records.binary_search_by(|record| record.id.cmp(id)).is_ok();
                let step = if is_known {
                    entry.step(flushed, now)
                } else if entry.is_asked {
                    Step::Rest
                } else {
                    // It was deleted, or its guest forgotten.
                    Step::Leave
                };
                if step != Step::Rest {
                    entry.is_asked = true;
                    orders.push((Arc::clone(&entry.record), entry.guest.clone(), step));
                }
                // A guest that has ended is found to have before its flushes are called late.
                if is_known && !entry.is_asked {
                    tell(entry, flushed, now);
                }
            }
        }
        for (record, guest, step) in orders {
            let (volumes, id, of) = (Arc::clone(self), record.id.clone(), guest.clone());
            let order = move || volumes.order(&record, &guest, &step);
            if self.attendants.submit(order).is_err() {
                self.attendance.change(&id, &of, |it| it.is_asked = false);
            }
        }
    }

    /// Does what is to be done, on a thread that may wait.
    fn order(&self, record: &VolumeRecord, guest: &GuestRecord, step: &Step) {
        if self.has_ended.load(Ordering::SeqCst) {
            return;
        }
        if *step == Step::Leave {
            return self.forget_guest(record, guest);
        }
        let (id, limits) = (&record.id, record.limits);
        let attended = self.executor.attend(&record.facts(), limits, &guest.qmp);
        let now = Instant::now();
        let free = |entry: &mut Entry, pause: Duration, why: Option<String>| {
            (entry.is_asked, entry.again, entry.why) = (false, now + pause, why);
        };
        match attended {
            Ok(Attended::Flushed) => {
                let (qmp, interval) = (guest.qmp.display(), record.interval());
                let interval = interval.unwrap_or_default().bound();
                let has_run = self.note_run(record, guest);
                self.attendance.change(id, guest, |entry| {
                    if entry.begun.is_none() {
                        tracing::info!(volume = %id, %qmp, ?interval, "a guest's volume is flushed");
                    }
                    entry.begun.get_or_insert(now);
                    entry.limits = Some(limits);
                    entry.guest.has_run |= has_run;
                    free(entry, AGAIN / 2, None);
                });
            }
            Ok(Attended::Limited) => {
                tracing::info!(volume = %id, qmp = %guest.qmp.display(), "a guest has its limits");
                self.forget_guest(record, guest);
            }
            Ok(Attended::NotThere(why)) => self.miss(record, guest, why),
            Err(error) => {
                let why = error.message;
                self.attendance.change(id, guest, |entry| {
                    if entry.why.as_ref() != Some(&why) {
                        tracing::warn!(volume = %id, why, "a guest can't be seen to: trying again");
                    }
                    free(entry, AGAIN, Some(why));
                });
            }
        }
    }

    /// A guest that is not there: it has ended, or has not begun.
    fn miss(&self, record: &VolumeRecord, guest: &GuestRecord, why: String) {
        let (id, qmp) = (&record.id, guest.qmp.display());
        if guest.has_run {
            tracing::info!(volume = %id, %qmp, "a guest has ended");
            return self.forget_guest(record, guest);
        }
        if self.environment.now_ms().saturating_sub(guest.asked_ms) >= PATIENCE_MS {
            tracing::error!(
                volume = %id, %qmp, why,
                "no guest was started in time: one that is has no limits and is not flushed"
            );
            return self.forget_guest(record, guest);
        }
        self.attendance.change(id, guest, |entry| {
            (entry.is_asked, entry.again, entry.why) = (false, Instant::now() + LOOK, Some(why));
        });
    }

    /// Notes that a guest was there; whether that is so.
    fn note_run(&self, record: &VolumeRecord, guest: &GuestRecord) -> bool {
        if guest.has_run {
            return true;
        }
        let of = guest.clone();
        let change = self.control.change_volume(&record.project, &record.id, move |it| {
            if let Some(guest) = it.guest.as_mut().filter(|it| **it == of) {
                guest.has_run = true;
            }
        });
        self.wait(change).is_ok()
    }

    /// Sees to a guest no more, and has its QEMU serve nothing for that.
    fn forget_guest(&self, record: &VolumeRecord, guest: &GuestRecord) {
        let (id, qmp) = (&record.id, guest.qmp.display());
        if let Err(error) = self.executor.leave(&record.facts(), &guest.qmp) {
            tracing::warn!(volume = %id, %qmp, error = error.message, "a QEMU is left as it is");
        }
        let of = guest.clone();
        let change = self.control.change_volume(&record.project, id, move |it| {
            it.guest = it.guest.take().filter(|it| *it != of);
        });
        // It may have been deleted.
        let _ = self.wait(change);
        self.attendance.remove(id, guest);
    }
}

/// Logs that a volume is flushed too late, and that it is in time again.
fn tell(entry: &mut Entry, flushed: Option<Flushed>, now: Instant) {
    let state = entry.state(flushed, now);
    let Some(told) = entry.lateness.look(state, flushed, now) else { return };
    let (volume, interval) = (&entry.record.id, entry.record.interval());
    let interval = interval.unwrap_or_default().bound();
    match told {
        Told::Late => tracing::warn!(
            %volume, ?interval, age = ?flushed.and_then(|it| it.age), why = entry.why,
            "a volume's writes are not durable within its interval"
        ),
        Told::InTime => tracing::info!(%volume, ?interval, "a volume is flushed in time again"),
    }
}
