//! What guests have used up of these services, and what the tasks share.

use std::{net::IpAddr, sync::Arc, time::Instant};

use tokio::sync::watch;

use crate::{
    identity::Attachment,
    limits::{Bucket, Count, Rate},
    listener::{Serving, Stage},
    metrics::link_local::{Outcome, Service},
};

/// What one port has used up.
#[derive(Debug, Default)]
pub struct PortShare {
    dns: Bucket,
    ntp: Bucket,
    dhcp: Bucket,
    kms: Bucket,
    tang: Bucket,
    declines: Bucket,
    waiting: Count,
    streams: Count,
}

/// What all tasks share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) serving: Arc<Serving>,
    dns_rate: Rate,
    ntp_rate: Rate,
    dhcp_rate: Rate,
    kms_rate: Rate,
    waiting: Count,
    streams: Count,
    stage: watch::Sender<Stage>,
}

impl Shared {
    pub(super) fn new(serving: Arc<Serving>) -> Self {
        let limits = &serving.limits.link_local;
        Self {
            dns_rate: Rate::new(limits.dns_per_second, limits.dns_burst),
            ntp_rate: Rate::new(limits.ntp_per_second, limits.ntp_burst),
            dhcp_rate: Rate::new(limits.dhcp_per_second, limits.dhcp_burst),
            kms_rate: Rate::new(limits.kms_per_second, limits.kms_burst),
            waiting: Count::default(),
            streams: Count::default(),
            stage: watch::Sender::new(Stage::Open),
            serving,
        }
    }

    /// Counts what became of a datagram or a connection.
    pub(super) fn count(&self, service: Service, outcome: Outcome) {
        self.serving.metrics.link_local(service, outcome);
    }

    /// Takes one off the port's rate, for a datagram, a connection, or a query on one.
    pub(super) fn take(&self, service: Service, port: &Attachment) -> Result<(), Outcome> {
        let share = &port.link_local;
        let (bucket, rate) = match service {
            Service::Dns | Service::DnsStream => (&share.dns, self.dns_rate),
            Service::Ntp => (&share.ntp, self.ntp_rate),
            Service::Dhcp | Service::Dhcp6 | Service::Router => (&share.dhcp, self.dhcp_rate),
            Service::Kms => (&share.kms, self.kms_rate),
            // As many as a boot needs, and more.
            Service::Tang => (&share.tang, self.kms_rate),
        };
        let now = self.serving.clock.nanoseconds(Instant::now());
        bucket.take(rate, now).map_err(|_| Outcome::RateOfPort)
    }

    /// Logs, at most once a minute for each port, that its guest says by DHCP that another machine
    /// has its address: as often as it likes, a guest could fill the log.
    pub(super) fn log_decline(&self, port: &Attachment, address: Option<IpAddr>) {
        let now = self.serving.clock.nanoseconds(Instant::now());
        if port.link_local.declines.take(Rate::once_in(60), now).is_ok() {
            let address = address.map(tracing::field::display);
            tracing::warn!(
                port = %port.port, address,
                "a guest says that another machine in its network uses its address"
            );
        }
    }

    /// Counts a datagram in that waits for an upstream.
    pub(super) fn wait(self: &Arc<Self>, port: &Arc<Attachment>) -> Result<Waiting, Outcome> {
        let limits = &self.serving.limits.link_local;
        let of_port = &port.link_local.waiting;
        of_port.raise(limits.waiting_per_port).map_err(|_| Outcome::WaitingOfPort)?;
        if self.waiting.raise(limits.waiting).is_err() {
            of_port.lower();
            return Err(Outcome::WaitingInAll);
        }
        self.serving.metrics.link_local_waiting.inc();
        Ok(Waiting { shared: Arc::clone(self), port: Arc::clone(port) })
    }

    /// Counts a connection in.
    pub(super) fn open(self: &Arc<Self>, port: &Arc<Attachment>) -> Result<Open, Outcome> {
        let limits = &self.serving.limits.link_local;
        let of_port = &port.link_local.streams;
        of_port.raise(limits.streams_per_port).map_err(|_| Outcome::StreamsOfPort)?;
        if self.streams.raise(limits.streams).is_err() {
            of_port.lower();
            return Err(Outcome::StreamsInAll);
        }
        self.serving.metrics.link_local_streams.inc();
        Ok(Open { shared: Arc::clone(self), port: Arc::clone(port) })
    }

    /// How many datagrams wait and connections are open.
    pub(super) fn under_way(&self) -> u32 {
        self.waiting.now() + self.streams.now()
    }

    /// Goes on to a later stage.
    pub(super) fn enter(&self, stage: Stage) {
        self.stage.send_replace(stage);
    }

    /// Returns once the stage is this or a later one.
    pub(super) async fn reached(&self, stage: Stage) {
        // The sender lives as long as this.
        let _ = self.stage.subscribe().wait_for(|now| *now >= stage).await;
    }
}

/// A datagram that waits, counted out however its task ends.
#[derive(Debug)]
pub(super) struct Waiting {
    shared: Arc<Shared>,
    port: Arc<Attachment>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.port.link_local.waiting.lower();
        self.shared.waiting.lower();
        self.shared.serving.metrics.link_local_waiting.dec();
    }
}

/// An open connection, counted out however its task ends.
#[derive(Debug)]
pub(super) struct Open {
    shared: Arc<Shared>,
    port: Arc<Attachment>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.port.link_local.streams.lower();
        self.shared.streams.lower();
        self.shared.serving.metrics.link_local_streams.dec();
    }
}
