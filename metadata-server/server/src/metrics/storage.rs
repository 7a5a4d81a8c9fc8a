//! How the control plane in this process does its work on volumes: how many of these are flushed in time,
//! what became of schedules of backups, and how old their backups are. It is asked when somebody asks here; one that is elsewhere, or
//! is closed, says nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, gauge::ConstGauge},
};

/// Whoever knows: how many are in each state, by the state's word.
pub type States = Arc<dyn Fn() -> Vec<(&'static str, u64)> + Send + Sync>;

/// Whoever knows: a moment, in milliseconds since 1970, if there was one.
pub type Moment = Arc<dyn Fn() -> Option<u64> + Send + Sync>;

/// What a control plane with volumes says.
#[derive(Clone, Default)]
pub struct Storage {
    /// How running guests' volumes are flushed.
    pub volumes: Option<States>,
    /// What became of schedules of backups.
    pub schedules: Option<States>,
    /// When the last good backup ended of that schedule whose is the oldest.
    pub oldest_backup: Option<Moment>,
}

/// Where the control plane of now is asked.
#[derive(Clone, Default)]
pub struct StorageFigures(Arc<Mutex<Storage>>);

impl StorageFigures {
    /// Asks this one from now on; nobody, where it is none.
    pub fn ask(&self, control: Storage) {
        *self.source() = control;
    }

    fn source(&self) -> MutexGuard<'_, Storage> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for StorageFigures {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("StorageFigures(..)")
    }
}

impl Collector for StorageFigures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        // It is asked without the lock, since it may take a moment.
        let Storage { volumes, schedules, oldest_backup } = self.source().clone();
        let all = [
            (
                "volumes_flushed",
                "Running guests' volumes whose class is flushed, by whether their interval is kept",
                volumes,
            ),
            ("backup_schedules", "Schedules of backups, by what became of them last", schedules),
        ];
        for (name, help, ask) in all {
            let Some(states) = ask.map(|ask| ask()).filter(|states| !states.is_empty()) else {
                continue;
            };
            let mut gauge = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (state, count) in states {
                let count = i64::try_from(count).unwrap_or(i64::MAX);
                ConstGauge::new(count).encode(gauge.encode_family(&[("state", state)])?)?;
            }
        }
        if let Some(at_ms) = oldest_backup.and_then(|ask| ask()) {
            let (name, help) = (
                "backup_oldest_success_timestamp_seconds",
                "End of the last good backup of the schedule whose is the oldest",
            );
            let gauge = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(i64::try_from(at_ms / 1000).unwrap_or(i64::MAX)).encode(gauge)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    fn states(all: &[(&'static str, u64)]) -> Option<States> {
        let all = all.to_vec();
        Some(Arc::new(move || all.clone()))
    }

    #[test]
    fn what_is_counted_is_told_while_a_control_plane_is_there_that_has_some() {
        let metrics = Metrics::default();
        let is_told = |name: &str| metrics.text().unwrap().contains(name);
        assert!(!is_told("mezame_volumes_flushed") && !is_told("mezame_backup_schedules"));
        let volumes = states(&[("kept", 3), ("late", 1)]);
        let oldest_backup = Some(Arc::new(|| Some(1_750_000_000_999_u64)) as Moment);
        let schedules = states(&[("failed", 2)]);
        metrics.storage.ask(Storage { volumes, schedules, oldest_backup });
        for line in [
            "mezame_volumes_flushed{state=\"kept\"} 3",
            "mezame_volumes_flushed{state=\"late\"} 1",
            "mezame_backup_schedules{state=\"failed\"} 2",
            "mezame_backup_oldest_success_timestamp_seconds 1750000000\n",
        ] {
            assert!(is_told(line), "{line} in:\n{}", metrics.text().unwrap());
        }
        let (volumes, schedules) = (states(&[]), states(&[("done", 1)]));
        let oldest_backup = Some(Arc::new(|| None) as Moment);
        metrics.storage.ask(Storage { volumes, schedules, oldest_backup });
        assert!(!is_told("mezame_volumes_flushed") && is_told("mezame_backup_schedules"));
        assert!(!is_told("mezame_backup_oldest_success"), "none was good yet");
        metrics.storage.ask(Storage::default());
        assert!(!is_told("mezame_backup_schedules"));
    }
}
