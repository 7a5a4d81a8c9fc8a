//! What the control plane counts of its work on volumes, for whoever has metrics in the same process.

use std::sync::Arc;

use super::Provisioner;

/// How many of something are in which state.
pub type States = Arc<dyn Fn() -> Vec<(&'static str, u64)> + Send + Sync>;

/// A moment, in milliseconds since 1970, if there was one.
pub type Moment = Arc<dyn Fn() -> Option<u64> + Send + Sync>;

impl Provisioner {
    /// How many running guests' volumes are flushed in time, by a word for how that is, where the site
    /// has volumes. Nothing once it is closed.
    pub fn flush_states(&self) -> Option<States> {
        let volumes = Arc::downgrade(self.volumes.as_ref()?);
        Some(Arc::new(move || {
            let begun = volumes.upgrade().and_then(|volumes| volumes.begun());
            let states = begun.map(|volumes| volumes.flush_states()).unwrap_or_default();
            states.into_iter().map(|(state, count)| (state.as_str(), count)).collect()
        }))
    }

    /// What became of schedules of backups last, by a word for it, where the site has volumes. Nothing once
    /// it is closed.
    pub fn schedule_states(&self) -> Option<States> {
        let schedules = Arc::downgrade(self.schedules.as_ref()?);
        Some(Arc::new(move || {
            schedules.upgrade().map(|schedules| schedules.states()).unwrap_or_default()
        }))
    }

    /// When the last good backup ended of that schedule whose is the oldest, where the site has volumes.
    pub fn oldest_backup(&self) -> Option<Moment> {
        let schedules = Arc::downgrade(self.schedules.as_ref()?);
        Some(Arc::new(move || schedules.upgrade().and_then(|schedules| schedules.oldest_done_ms())))
    }
}
