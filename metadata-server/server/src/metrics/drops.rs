//! Dropped frames, from the kernel's ring buffer to whoever listens.

use std::{
    os::fd::{AsRawFd, RawFd},
    sync::Arc,
};

use bytes::Bytes;
use mezame_ebpf_loader::DropEvent;
use serde::Serialize;
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::broadcast,
};

use crate::{clock::unix_milliseconds, identity::Identities, taps::plane::Drops};

/// As many lines may a listener lag behind.
const BACKLOG: usize = 4096;

/// Lines of JSON, one for each dropped frame that the kernel recorded.
#[derive(Debug, Clone)]
pub struct DropFeed {
    lines: broadcast::Sender<Bytes>,
}

impl Default for DropFeed {
    fn default() -> Self {
        Self { lines: broadcast::Sender::new(BACKLOG) }
    }
}

#[derive(Serialize)]
struct Line<'a> {
    at_ms: u64,
    reason: &'a str,
    port: Option<&'a str>,
    instance: Option<&'a str>,
    ifindex: u32,
    slot: Option<u32>,
    mac: String,
    source: std::net::IpAddr,
    destination: std::net::IpAddr,
    source_port: u16,
    destination_port: u16,
    protocol: u8,
    ethertype: String,
    vlan: u16,
    length: u32,
}

impl DropFeed {
    /// Hears what comes from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Bytes> {
        self.lines.subscribe()
    }

    /// Reads the ring buffer for ever.
    pub async fn read(&self, drops: Box<dyn Drops>, identities: Arc<Identities>) {
        // SAFETY: the ring buffer keeps its descriptor, the same one, until it is dropped.
        let registered =
            unsafe { AsyncFd::register_with_interest(Ring(drops), Interest::READABLE) };
        let mut drops = match registered {
            Ok(drops) => drops,
            Err(error) => {
                tracing::error!(%error, "dropped frames can't be watched");
                return;
            }
        };
        loop {
            // Emptied before waiting: what came before the registration is no edge.
            while let Some(event) = drops.get_mut().0.next() {
                self.publish(&event, &identities);
            }
            match drops.readable_mut().await {
                Ok(mut ready) => ready.clear_ready(),
                Err(error) => {
                    tracing::error!(%error, "dropped frames can't be watched");
                    return;
                }
            }
        }
    }

    fn publish(&self, event: &DropEvent, identities: &Identities) {
        let attachment = event.slot.and_then(|slot| identities.of_slot(slot));
        let mac = mezame_model::MacAddress(event.mac).to_string();
        let line = Line {
            at_ms: unix_milliseconds(),
            reason: event.verdict.name(),
            port: attachment.as_ref().map(|one| one.port.as_str()),
            instance: attachment
                .as_ref()
                .and_then(|one| one.instance.as_ref().map(mezame_model::InstanceId::as_str)),
            ifindex: event.ifindex,
            slot: event.slot.map(mezame_ebpf_loader::PortSlot::number),
            mac,
            source: event.source,
            destination: event.destination,
            source_port: event.source_port,
            destination_port: event.destination_port,
            protocol: event.protocol,
            ethertype: format!("0x{:04x}", event.ethertype),
            vlan: event.vlan,
            length: event.length,
        };
        tracing::debug!(
            reason = line.reason, port = line.port, source = %line.source, mac = line.mac,
            "frame dropped"
        );
        if let Ok(mut bytes) = serde_json::to_vec(&line) {
            bytes.push(b'\n');
            // Nobody may be listening.
            let _ = self.lines.send(bytes.into());
        }
    }
}

struct Ring(Box<dyn Drops>);

impl AsRawFd for Ring {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
