//! DHCPv4 for guests: each datagram is answered by itself, out of the record of the port that it
//! came from.
//!
//! An answer to an address that the guest has not got yet goes to its whole link, which is its tap
//! alone; which way that is, the identity says (see `mezame-ebpf-loader`).

use std::net::{IpAddr, SocketAddr};

use mezame_ebpf_loader::Identity;
use mezame_link_local::dhcp4::{Ask, Kind, Silence, Source, answer as decide};
use mezame_model::service_address::METADATA;

use super::{asker::Asking, datagrams::Way};
use crate::metrics::link_local::Outcome;

/// Answers one datagram, or doesn't.
pub(super) fn answer(way: &Way, asking: &Asking, datagram: &[u8]) {
    let IpAddr::V4(peer) = way.peer().ip() else { return way.count(Outcome::UnknownPort) };
    let Some((slot, address)) = Identity::parse(peer) else {
        return way.count(Outcome::UnknownPort);
    };
    let is_known = address != Identity::UNSPECIFIED;
    let ask = Ask {
        guest: &asking.record.guest,
        port: asking.port(),
        server: METADATA,
        source: if is_known { Source::Own } else { Source::Unknown },
    };
    match decide(datagram, &ask) {
        Ok(answer) => {
            if answer.left_out > 0 {
                tracing::debug!(
                    port = %way.attachment.port, options = answer.left_out,
                    "a DHCP answer had no room for some options"
                );
            }
            let to = if is_known && !answer.to.is_broadcast() {
                peer
            } else {
                Identity::new(slot, Identity::UNSPECIFIED).address()
            };
            let outcome = match answer.kind {
                Kind::Nak => Outcome::Refused,
                Kind::Offer | Kind::Ack | Kind::Bootp => Outcome::Answered,
            };
            way.reply_to(SocketAddr::from((to, answer.to_port)), &answer.bytes, outcome);
        }
        Err(Silence::Decline(address)) => {
            way.shared.log_decline(&way.attachment, address.map(IpAddr::V4));
            way.count(Outcome::Declined);
        }
        Err(Silence::Malformed) => way.count(Outcome::Malformed),
        Err(silence) => {
            tracing::debug!(port = %way.attachment.port, why = silence.name(), "no DHCP answer");
            way.count(Outcome::Silent);
        }
    }
}
