//! How many running guests' volumes are flushed in time, as the control plane in this process says when
//! somebody asks. A control plane that is elsewhere, or is closed, says nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, gauge::ConstGauge},
};

/// Whoever knows: how many volumes are in each state, by the state's word.
pub type FlushedVolumes = Arc<dyn Fn() -> Vec<(&'static str, u64)> + Send + Sync>;

/// Where the control plane of now is asked.
#[derive(Clone, Default)]
pub struct VolumeFigures(Arc<Mutex<Option<FlushedVolumes>>>);

impl VolumeFigures {
    /// Asks this one from now on, or nobody.
    pub fn ask(&self, control: Option<FlushedVolumes>) {
        *self.source() = control;
    }

    fn source(&self) -> MutexGuard<'_, Option<FlushedVolumes>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for VolumeFigures {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("VolumeFigures(..)")
    }
}

impl Collector for VolumeFigures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        // It is asked without the lock, since it may take a moment.
        let source = self.source().clone();
        let Some(states) = source.map(|ask| ask()).filter(|states| !states.is_empty()) else {
            return Ok(());
        };
        let mut volumes = encoder.encode_descriptor(
            "volumes_flushed",
            "Running guests' volumes whose class is flushed, by whether their interval is kept",
            None,
            MetricType::Gauge,
        )?;
        for (state, count) in states {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            ConstGauge::new(count).encode(volumes.encode_family(&[("state", state)])?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn volumes_are_counted_while_a_control_plane_is_there_that_has_some() {
        let metrics = Metrics::default();
        let is_told = || metrics.text().unwrap().contains("mezame_volumes_flushed");
        assert!(!is_told());
        metrics.volumes.ask(Some(Arc::new(|| vec![("kept", 3), ("late", 1)])));
        let text = metrics.text().unwrap();
        for line in
            ["mezame_volumes_flushed{state=\"kept\"} 3", "mezame_volumes_flushed{state=\"late\"} 1"]
        {
            assert!(text.contains(line), "{line} in:\n{text}");
        }
        metrics.volumes.ask(Some(Arc::new(Vec::new)));
        assert!(!is_told());
        metrics.volumes.ask(None);
        assert!(!is_told());
    }
}
