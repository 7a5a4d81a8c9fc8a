//! What a client's message is answered with: the state that it is in, told by its message (RFC
//! 2131, section 4.3.2 and table 4), against the one address that its port has.
//!
//! ```text
//!                    server id   requested   ciaddr    right address   wrong address
//!   INIT             -           any         -         OFFER           OFFER (the right one)
//!   SELECTING        ours        yes         0         ACK             NAK
//!   SELECTING        another's   yes         0         -               -
//!   INIT-REBOOT      -           yes         0         ACK             NAK
//!   RENEWING         -           -           yes       ACK             NAK
//!   REBINDING        -           -           yes       ACK             NAK
//! ```
//!
//! RENEWING and REBINDING differ in how the message was sent, which makes no difference here. In
//! REBINDING and INIT-REBOOT a server without a record is silent; ours has one for every port.

use std::net::Ipv4Addr;

use super::{
    Silence,
    option::{RAPID_COMMIT, REQUESTED_ADDRESS, SERVER},
    request::{Request, Type},
};

/// What is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// DHCPOFFER.
    Offer,
    /// DHCPACK to a DHCPDISCOVER (RFC 4039).
    Commit,
    /// DHCPACK with a lease.
    Ack,
    /// DHCPACK without one.
    Inform,
    /// DHCPNAK, and why.
    Nak(&'static str),
    /// A BOOTP reply.
    Bootp,
}

/// The verdict on a message, by the port's address and our own.
pub(super) fn judge(
    request: &Request<'_>,
    own: Ipv4Addr,
    server: Ipv4Addr,
) -> Result<Verdict, Silence> {
    let chosen = request.address(SERVER)?;
    let requested = request.address(REQUESTED_ADDRESS)?;
    let kind = request.kind()?;
    // A discovering client has chosen nobody yet, and one that informs itself asks everybody.
    let is_for_one = matches!(kind, Type::Request | Type::Decline | Type::Release);
    if is_for_one && chosen.is_some_and(|chosen| chosen != server) {
        return Err(Silence::OtherServer);
    }
    match kind {
        Type::Discover if request.option(RAPID_COMMIT).is_some() => Ok(Verdict::Commit),
        Type::Discover => Ok(Verdict::Offer),
        Type::Request => judge_request(request.ciaddr(), requested, own),
        Type::Decline => Err(Silence::Decline(requested)),
        Type::Release => Err(Silence::Release),
        Type::Inform => Ok(Verdict::Inform),
        // We have no name that a client could ask for.
        Type::Bootp if !request.sname().is_empty() => Err(Silence::OtherServer),
        Type::Bootp => Ok(Verdict::Bootp),
    }
}

fn judge_request(
    ciaddr: Ipv4Addr,
    requested: Option<Ipv4Addr>,
    own: Ipv4Addr,
) -> Result<Verdict, Silence> {
    // A client that has an address in use says so in `ciaddr`, whatever else it says: some repeat
    // the address as the requested one.
    let claimed = if ciaddr.is_unspecified() { requested } else { Some(ciaddr) };
    match claimed {
        Some(claimed) if claimed == own => Ok(Verdict::Ack),
        Some(_) => Ok(Verdict::Nak("this is not the port's address")),
        None => Err(Silence::Malformed),
    }
}
