//! What the doctor looks with on Linux.

use std::net::{IpAddr, Ipv4Addr};

use mezame_model::MacAddress;

use super::{arp::ArpSocket, ear::LinuxEar, netlink::Netlink, unit};
use crate::{
    doctor::{
        instruments::{Ear, Instruments},
        observation::{Neighbour, Sight, Starter},
    },
    settings::Settings,
};

/// Netlink, packet sockets, and systemd's directories.
pub(super) struct LinuxInstruments {
    settings: Settings,
}

impl LinuxInstruments {
    pub(super) fn new(settings: &Settings) -> Self {
        Self { settings: settings.clone() }
    }
}

impl Instruments for LinuxInstruments {
    fn is_privileged(&self) -> bool {
        nix::unistd::geteuid().is_root()
    }

    fn sight(&self, device: &str) -> Sight {
        Netlink::open().and_then(|mut netlink| netlink.sight(device)).unwrap_or_default()
    }

    fn refusal(&self, device: &str, endpoint: IpAddr) -> Option<String> {
        let mut netlink = Netlink::open().ok()?;
        let index = netlink.link(device).ok()?.index;
        netlink.refusal(index, endpoint)
    }

    fn listen(&self, device: &str, endpoint: IpAddr) -> Option<Box<dyn Ear>> {
        let index = Netlink::open().ok()?.link(device).ok()?.index;
        Some(Box::new(LinuxEar::open(index, endpoint).ok()?))
    }

    fn ask_neighbour(
        &self,
        device: &str,
        _mac: MacAddress,
        endpoint: Ipv4Addr,
        own: &[Ipv4Addr],
    ) -> Option<Neighbour> {
        let link = Netlink::open().ok()?.link(device).ok()?;
        ArpSocket::open(&link).ok()?.ask(endpoint, own).ok()
    }

    fn lower(&self, device: &str) {
        // It was brought up for the walk: that it stays so harms nobody.
        let _ = Netlink::open().and_then(|mut netlink| {
            let index = netlink.link(device)?.index;
            netlink.set_down(index)
        });
    }

    fn starter(&self) -> Starter {
        unit::starter(&self.settings.root)
    }
}
