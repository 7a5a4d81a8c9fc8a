//! What is counted, in OpenMetrics' text form for Prometheus.
//!
//! The fast path touches atomics only; label sets are looked up once. What the kernel counted is
//! read when somebody asks. Labels hold port ids and fixed words, nothing that a guest wrote.

pub mod drops;
pub mod kernel;
pub mod link_local;
pub mod refusal;
pub mod serve;
pub mod storage;

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicI64, AtomicU64},
    },
    time::Duration,
};

use mezame_model::Dialect;
use prometheus_client::{
    collector::Collector,
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use self::{
    link_local::{Outcome, Service},
    refusal::Reason,
    storage::StorageFigures,
};

/// Labels of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    dialect: &'static str,
    status: u16,
}

/// One label that says why.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

/// Labels of what became of a datagram or a connection of a link-local service.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LinkLocalLabels {
    service: &'static str,
    outcome: &'static str,
}

const STATUSES: usize = 400;
const FIRST_STATUS: u16 = 200;

/// All counters of the service.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    by_dialect: Vec<[OnceLock<Counter>; STATUSES]>,
    /// From a request's head to its reply, in seconds; watches excepted.
    pub latency: Histogram,
    /// Open connections.
    pub connections: Gauge<i64, AtomicI64>,
    /// Connections that were let in.
    pub accepted: Counter<u64, AtomicU64>,
    refusals: Family<ReasonLabels, Counter>,
    /// Session tokens given out.
    pub tokens: Counter<u64, AtomicU64>,
    /// Secrets handed out.
    pub secrets: Counter<u64, AtomicU64>,
    /// Watches that wait.
    pub watches: Gauge<i64, AtomicI64>,
    /// The generation that is served.
    pub generation: Gauge<i64, AtomicI64>,
    /// The generation that is on disk.
    pub ledger_generation: Gauge<i64, AtomicI64>,
    /// How long the last write of the ledger took, in milliseconds.
    pub ledger_write: Gauge<i64, AtomicI64>,
    /// Events that wait for the control plane.
    pub outbox: Gauge<i64, AtomicI64>,
    /// Events that the control plane refused.
    pub events_refused: Counter<u64, AtomicU64>,
    /// 1 while the control plane is reached.
    pub control_plane: Gauge<i64, AtomicI64>,
    /// Ports that are attached.
    pub ports: Gauge<i64, AtomicI64>,
    attach_failures: Counter<u64, AtomicU64>,
    link_local: Family<LinkLocalLabels, Counter>,
    /// Datagrams of the link-local services that wait for an upstream.
    pub link_local_waiting: Gauge<i64, AtomicI64>,
    /// Open connections to the link-local services.
    pub link_local_streams: Gauge<i64, AtomicI64>,
    /// Volumes of running guests, as the control plane in this process counts them.
    pub storage: StorageFigures,
}

impl Default for Metrics {
    fn default() -> Self {
        // From 20 µs, a read from memory, to 2.6 s, a disk that is busy.
        let buckets = (0..18).map(|step| 2e-5 * f64::from(1 << step));
        let mut new = Self {
            registry: Registry::with_prefix("mezame"),
            requests: Family::default(),
            by_dialect: (0..=Dialect::ALL.len())
                .map(|_| std::array::from_fn(|_| OnceLock::new()))
                .collect(),
            latency: Histogram::new(buckets),
            connections: Gauge::default(),
            accepted: Counter::default(),
            refusals: Family::default(),
            tokens: Counter::default(),
            secrets: Counter::default(),
            watches: Gauge::default(),
            generation: Gauge::default(),
            ledger_generation: Gauge::default(),
            ledger_write: Gauge::default(),
            outbox: Gauge::default(),
            events_refused: Counter::default(),
            control_plane: Gauge::default(),
            ports: Gauge::default(),
            attach_failures: Counter::default(),
            link_local: Family::default(),
            link_local_waiting: Gauge::default(),
            link_local_streams: Gauge::default(),
            storage: StorageFigures::default(),
        };
        new.register_guests();
        new.register_state();
        new.register_link_local();
        let storage = new.storage.clone();
        new.collect_from(storage);
        new
    }
}

impl Metrics {
    fn register_guests(&mut self) {
        let to = &mut self.registry;
        to.register("requests", "Requests of guests", self.requests.clone());
        to.register_with_unit(
            "request_duration",
            "From a request's head to its reply, watches excepted",
            Unit::Seconds,
            self.latency.clone(),
        );
        to.register("connections", "Open connections of guests", self.connections.clone());
        to.register("connections_accepted", "Connections let in", self.accepted.clone());
        to.register("refusals", "Connections and requests refused", self.refusals.clone());
        to.register("tokens_issued", "Session tokens given out", self.tokens.clone());
        to.register("secrets_handed_out", "Secrets handed out", self.secrets.clone());
        to.register("watches", "Watches that wait for a change", self.watches.clone());
    }

    /// What is known, what is kept, and where it is attached.
    fn register_state(&mut self) {
        let to = &mut self.registry;
        to.register("generation", "The snapshot that is served", self.generation.clone());
        to.register(
            "ledger_generation",
            "The snapshot that is on disk",
            self.ledger_generation.clone(),
        );
        to.register(
            "ledger_write_milliseconds",
            "How long the last write of the ledger took",
            self.ledger_write.clone(),
        );
        to.register(
            "outbox_events",
            "Guests' events that wait for the control plane",
            self.outbox.clone(),
        );
        to.register(
            "outbox_events_refused",
            "Guests' events that the control plane refused",
            self.events_refused.clone(),
        );
        to.register(
            "control_plane_reachable",
            "1 while the control plane is reached",
            self.control_plane.clone(),
        );
        to.register("ports_attached", "Ports attached to devices", self.ports.clone());
        to.register(
            "attach_failures",
            "Attempts to attach to a device that failed",
            self.attach_failures.clone(),
        );
    }

    fn register_link_local(&mut self) {
        let to = &mut self.registry;
        to.register(
            "link_local",
            "What became of guests' queries and connections to the link-local services",
            self.link_local.clone(),
        );
        to.register(
            "link_local_waiting",
            "Datagrams of guests that wait for an upstream",
            self.link_local_waiting.clone(),
        );
        to.register(
            "link_local_streams",
            "Open connections of guests to the link-local services",
            self.link_local_streams.clone(),
        );
    }

    /// Adds what is read only when somebody asks. Before the service starts.
    pub fn collect_from(&mut self, collector: impl Collector + 'static) {
        self.registry.register_collector(Box::new(collector));
    }

    /// Counts a reply; `dialect` is None where a request belongs to none.
    pub fn replied(&self, dialect: Option<Dialect>, status: u16) {
        let row = dialect.map_or(0, |dialect| {
            1 + Dialect::ALL.iter().position(|one| *one == dialect).unwrap_or_default()
        });
        let Some(at) = status.checked_sub(FIRST_STATUS).map(usize::from) else { return };
        let Some(counter) = self.by_dialect.get(row).and_then(|row| row.get(at)) else { return };
        counter
            .get_or_init(|| {
                let dialect = dialect.map_or("none", Dialect::as_str);
                self.requests.get_or_create_owned(&RequestLabels { dialect, status })
            })
            .inc();
    }

    /// Counts the time that a reply took.
    pub fn took(&self, time: Duration) {
        self.latency.observe(time.as_secs_f64());
    }

    /// Counts a refusal.
    pub fn refused(&self, reason: Reason) {
        self.refusals.get_or_create(&ReasonLabels { reason: reason.as_str() }).inc();
    }

    /// Counts what became of a datagram or a connection of a link-local service.
    pub fn link_local(&self, service: Service, outcome: Outcome) {
        let labels = LinkLocalLabels { service: service.as_str(), outcome: outcome.as_str() };
        self.link_local.get_or_create(&labels).inc();
    }

    /// Counts a failure to attach.
    pub fn attach_failed(&self) {
        self.attach_failures.inc();
    }

    /// All of it as text.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_counted_under_its_dialect_and_status() {
        let metrics = Metrics::default();
        metrics.replied(Some(Dialect::Ec2), 200);
        metrics.replied(Some(Dialect::Ec2), 200);
        metrics.replied(None, 404);
        metrics.refused(Reason::UnknownPort);
        metrics.took(Duration::from_micros(30));
        let text = metrics.text().unwrap();
        for line in [
            "mezame_requests_total{dialect=\"ec2\",status=\"200\"} 2",
            "mezame_requests_total{dialect=\"none\",status=\"404\"} 1",
            "mezame_refusals_total{reason=\"unknown_port\"} 1",
            "mezame_request_duration_seconds_count 1",
        ] {
            assert!(text.contains(line), "{line} in:\n{text}");
        }
    }
}
