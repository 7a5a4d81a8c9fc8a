//! What the services on a guest's link say besides metadata: DHCP, router advertisements, DNS, and
//! what of NTP is passed on.
//!
//! Pure: from a datagram and the record of the port that it came from to the answer. No I/O, no
//! clock, no randomness, and no lease kept: the port's record is the lease.

pub mod dhcp4;
pub mod dhcp6;
pub mod dns;
pub mod ntp;
pub mod router;
mod told;

#[cfg(test)]
mod fixture;
