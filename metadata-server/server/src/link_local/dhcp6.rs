//! DHCPv6 for guests: each datagram is answered by itself, out of the record of the port that it
//! came from.

use mezame_link_local::dhcp6::{Ask, ServerId, Silence, answer as decide};
use mezame_model::snapshot::Site;
use ring::digest::{SHA256, digest};

use super::{asker::Asking, datagrams::Way};
use crate::metrics::link_local::Outcome;

/// DHCPv6's clients listen here, RFC 8415, section 7.2.
const CLIENT: u16 = 546;

/// Answers one datagram, or doesn't.
pub(super) fn answer(way: &Way, asking: &Asking, datagram: &[u8]) {
    let guest = &asking.record.guest;
    let ask = Ask { guest, port: asking.port(), server: server_id(&guest.site) };
    match decide(datagram, &ask) {
        Ok(answer) => {
            if let Some(address) = answer.declined.first() {
                way.shared.log_decline(&way.attachment, Some((*address).into()));
            }
            if answer.left_out > 0 {
                tracing::debug!(
                    port = %way.attachment.port, left_out = answer.left_out,
                    "a DHCPv6 answer had no room for some addresses or options"
                );
            }
            let mut to = way.peer();
            to.set_port(CLIENT);
            let declined = !answer.declined.is_empty();
            let outcome = if declined { Outcome::Declined } else { Outcome::Answered };
            way.reply_to(to, &answer.bytes, outcome);
        }
        Err(Silence::Malformed | Silence::Invalid) => way.count(Outcome::Malformed),
        Err(silence) => {
            tracing::debug!(port = %way.attachment.port, why = silence.name(), "no DHCPv6 answer");
            way.count(Outcome::Silent);
        }
    }
}

/// Who we are: the same at every hypervisor of an installation and after every restart, since a
/// guest that has migrated renews with the server that it knows. Made of the site's name, as a
/// UUID of the kind that is free to be made of anything (RFC 9562, version 8).
fn server_id(site: &Site) -> ServerId {
    let text = format!("mezame DHCPv6\0{}\0{}", site.region, site.domain);
    let hash = digest(&SHA256, text.as_bytes());
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&hash.as_ref()[..16]);
    uuid[6] = (uuid[6] & 0x0f) | 0x80;
    uuid[8] = (uuid[8] & 0x3f) | 0x80;
    ServerId(uuid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_the_same_wherever_the_site_is_the_same() {
        let site = crate::fixture::world().site;
        let elsewhere = Site { region: "elsewhere-1".into(), ..Site::clone(&site) };
        assert_eq!(server_id(&site), server_id(&Site::clone(&site)));
        assert_ne!(server_id(&site), server_id(&elsewhere));
        let ServerId(uuid) = server_id(&site);
        assert_eq!((uuid[6] >> 4, uuid[8] >> 6), (8, 2));
    }
}
