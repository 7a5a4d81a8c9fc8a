//! What the data path counted, read when somebody asks.

use std::sync::{Arc, Mutex, PoisonError};

use mezame_ebpf_loader::PortCounters;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter},
};

use crate::{identity::Identities, taps::plane::DataPlane};

/// The kernel's counters, by port and verdict; of refused devices by their index.
#[derive(Clone)]
pub struct KernelCounters {
    plane: Arc<Mutex<dyn DataPlane>>,
    identities: Arc<Identities>,
}

impl KernelCounters {
    /// Reads from this data path.
    pub fn new(plane: Arc<Mutex<dyn DataPlane>>, identities: Arc<Identities>) -> Self {
        Self { plane, identities }
    }

    fn read(&self) -> Reading {
        let attachments = self.identities.all();
        let plane = self.plane.lock().unwrap_or_else(PoisonError::into_inner);
        let of_ports = attachments.iter().filter_map(|attachment| {
            // A device that went a moment ago has none.
            let counters = plane.counters(attachment.ifindex).ok()?;
            Some((attachment.port.to_string(), counters))
        });
        let mut all: Vec<_> = of_ports.collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all.extend(plane.totals().ok().map(|totals| ("none".to_owned(), totals)));
        let mut refused = plane.refused().unwrap_or_default();
        refused.sort_by_key(|(ifindex, _)| *ifindex);
        Reading { of_ports: all, refused }
    }
}

struct Reading {
    of_ports: Vec<(String, PortCounters)>,
    refused: Vec<(u32, PortCounters)>,
}

impl std::fmt::Debug for KernelCounters {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("KernelCounters(..)")
    }
}

impl Collector for KernelCounters {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Reading { of_ports: all, refused } = self.read();
        let mut frames = encoder.encode_descriptor(
            "frames",
            "Frames to and from the services by what became of them; port none: of no port",
            None,
            MetricType::Counter,
        )?;
        for (port, counters) in &all {
            for (verdict, count) in counters.iter().filter(|(_, count)| *count > 0) {
                let labels = [("port", port.as_str()), ("verdict", verdict.name())];
                ConstCounter::new(count).encode(frames.encode_family(&labels)?)?;
            }
        }
        let mut unknown = encoder.encode_descriptor(
            "unknown_device_frames",
            "Frames of devices that no port is attached to, by why they were dropped",
            None,
            MetricType::Counter,
        )?;
        for (ifindex, counters) in &refused {
            let ifindex = ifindex.to_string();
            for (verdict, count) in counters.iter().filter(|(_, count)| *count > 0) {
                let labels = [("ifindex", ifindex.as_str()), ("verdict", verdict.name())];
                ConstCounter::new(count).encode(unknown.encode_family(&labels)?)?;
            }
        }
        let mut events = encoder.encode_descriptor(
            "drop_events_suppressed",
            "Dropped frames of which no event was written, since there were too many",
            None,
            MetricType::Counter,
        )?;
        for (port, counters) in all.iter().filter(|(_, all)| all.suppressed_events() > 0) {
            let labels = [("port", port.as_str())];
            ConstCounter::new(counters.suppressed_events())
                .encode(events.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
