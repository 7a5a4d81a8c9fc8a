//! What the doctor looks with, besides the platform: instruments that a system may or may not have.
//!
//! Each has an answer for "can't tell", so that a system without an instrument still has a doctor,
//! only a less certain one. None changes anything that stays.

use std::net::{IpAddr, Ipv4Addr};

use mezame_model::MacAddress;

use super::observation::{Heard, Neighbour, Sight, Starter};

/// The instruments of one operating system.
pub trait Instruments {
    /// Whether this user may look at everything.
    fn is_privileged(&self) -> bool {
        true
    }

    /// What there is to know of a device besides its addresses.
    fn sight(&self, _device: &str) -> Sight {
        Sight::default()
    }

    /// What the routing tables say against sending to an address through a device.
    fn refusal(&self, _device: &str, _endpoint: IpAddr) -> Option<String> {
        None
    }

    /// Begins to listen to a device, for what is exchanged with an address.
    fn listen(&self, _device: &str, _endpoint: IpAddr) -> Option<Box<dyn Ear>> {
        None
    }

    /// Asks by ARP for an address: as somebody without an address, and as each of the guest's own.
    fn ask_neighbour(
        &self,
        _device: &str,
        _mac: MacAddress,
        _endpoint: Ipv4Addr,
        _own: &[Ipv4Addr],
    ) -> Option<Neighbour> {
        None
    }

    /// Sets a device down again that was so before.
    fn lower(&self, _device: &str) {}

    /// What starts the agent at boot.
    fn starter(&self) -> Starter {
        Starter::Unknown
    }
}

/// Listens since it was made.
pub trait Ear {
    /// What it has heard up to now.
    fn heard(&mut self) -> Heard;
}

/// No instruments at all.
#[derive(Debug, Clone, Copy)]
pub struct Blind;

impl Instruments for Blind {}
