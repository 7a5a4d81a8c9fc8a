//! Writing a reply: RFC 2131, section 4.3.1 and table 3.

use std::net::Ipv4Addr;

use super::{
    Answer, Ask, Kind, Silence, Source,
    option::{self, Writer},
    parameters::{self, Parameters},
    request::{BROADCAST_FLAG, COOKIE, HEADER, Request},
    verdict::Verdict,
};

/// What every client takes: a datagram of 576 bytes, less the headers of IP and UDP (RFC 2131,
/// section 2).
const TAKEN_BY_ALL: usize = 576 - IP_AND_UDP;

const IP_AND_UDP: usize = 28;

/// The least that relays pass on (RFC 1542, section 2.1), and all that BOOTP has.
const SHORTEST: usize = 300;

/// Writes what the verdict says.
pub(super) fn write(
    verdict: Verdict,
    request: &Request<'_>,
    ask: &Ask<'_>,
    parameters: &Parameters<'_>,
) -> Result<Answer, Silence> {
    let is_nak = matches!(verdict, Verdict::Nak(_));
    let mut header = header(verdict, request, parameters);
    let file_is_used = !is_nak && parameters.header_file().is_some();
    let relay = request.option(option::RELAY_AGENT);
    if relay.is_some_and(|relay| relay.len() > 255) {
        return Err(Silence::TooLong);
    }

    let room = longest(verdict, request, ask).saturating_sub(HEADER + COOKIE.len());
    let mut writer = match verdict {
        Verdict::Bootp => Writer::new(room, 0, 0),
        _ => Writer::new(room, if file_is_used { 0 } else { 128 }, 64),
    };
    if let Some(relay) = relay {
        writer.reserve(relay.len());
    }
    for (code, value) in required(verdict, request, ask, parameters) {
        if !writer.add(code, &value) {
            return Err(Silence::TooLong);
        }
    }
    let left_out =
        if is_nak { 0 } else { add_parameters(&mut writer, verdict, request, parameters) };
    let written = writer.finish(relay.map(|relay| (option::RELAY_AGENT, relay)));
    for (at, field) in [(108, &written.file), (44, &written.sname)] {
        if let Some(field) = field {
            header[at..at + field.len()].copy_from_slice(field);
        }
    }

    let mut bytes = header.to_vec();
    // An old client that left the field empty reads no options, and expects none.
    if request.has_options() {
        bytes.extend_from_slice(&COOKIE);
        bytes.extend_from_slice(&written.options);
    }
    bytes.resize(bytes.len().max(SHORTEST), option::PAD);
    let (to, to_port) = destination(verdict, request, ask, parameters.own.ip());
    Ok(Answer { bytes, to, to_port, kind: kind(verdict), left_out })
}

fn kind(verdict: Verdict) -> Kind {
    match verdict {
        Verdict::Offer => Kind::Offer,
        Verdict::Commit | Verdict::Ack | Verdict::Inform => Kind::Ack,
        Verdict::Nak(_) => Kind::Nak,
        Verdict::Bootp => Kind::Bootp,
    }
}

/// How long the payload may be.
fn longest(verdict: Verdict, request: &Request<'_>, ask: &Ask<'_>) -> usize {
    if verdict == Verdict::Bootp {
        return request.length.clamp(SHORTEST, TAKEN_BY_ALL);
    }
    let asked = match request.option(option::LONGEST_MESSAGE) {
        Some(&[high, low]) => usize::from(u16::from_be_bytes([high, low])),
        _ => 0,
    };
    let by_link = usize::from(ask.port.network.mtu).saturating_sub(IP_AND_UDP);
    // Who sends a longer one takes one as long.
    let by_client = asked.saturating_sub(IP_AND_UDP).max(request.length);
    by_client.min(by_link).max(TAKEN_BY_ALL)
}

fn header(verdict: Verdict, request: &Request<'_>, parameters: &Parameters<'_>) -> [u8; HEADER] {
    let own = parameters.own.ip();
    let is_nak = matches!(verdict, Verdict::Nak(_));
    let nobody = Ipv4Addr::UNSPECIFIED;
    let (ciaddr, yiaddr) = match verdict {
        Verdict::Nak(_) => (nobody, nobody),
        Verdict::Inform => (request.ciaddr(), nobody),
        Verdict::Ack | Verdict::Bootp => (request.ciaddr(), own),
        Verdict::Offer | Verdict::Commit => (nobody, own),
    };
    let mut flags = request.flags();
    if is_nak && !request.giaddr().is_unspecified() {
        // The client may believe that it has another address, so the relay must not send it there.
        flags |= BROADCAST_FLAG;
    }
    let boot_server = parameters.boot_server().filter(|_| !is_nak).unwrap_or(nobody);
    let mut header = [0; HEADER];
    // A reply on Ethernet, over no relay.
    header[..4].copy_from_slice(&[2, 1, 6, 0]);
    header[4..8].copy_from_slice(&request.xid());
    header[10..12].copy_from_slice(&flags.to_be_bytes());
    header[12..16].copy_from_slice(&ciaddr.octets());
    header[16..20].copy_from_slice(&yiaddr.octets());
    header[20..24].copy_from_slice(&boot_server.octets());
    header[24..28].copy_from_slice(&request.giaddr().octets());
    header[28..44].copy_from_slice(request.chaddr());
    if let (Some(file), false) = (parameters.header_file(), is_nak) {
        header[108..108 + file.len()].copy_from_slice(file.as_bytes());
    }
    header
}

/// What the reply is nothing without, in this order.
fn required(
    verdict: Verdict,
    request: &Request<'_>,
    ask: &Ask<'_>,
    parameters: &Parameters<'_>,
) -> Vec<(u8, Vec<u8>)> {
    let message_type = match verdict {
        Verdict::Bootp => None,
        Verdict::Offer => Some(2),
        Verdict::Commit | Verdict::Ack | Verdict::Inform => Some(5),
        Verdict::Nak(_) => Some(6),
    };
    let mut options = Vec::new();
    if let Some(message_type) = message_type {
        options.push((option::MESSAGE_TYPE, vec![message_type]));
        options.push((option::SERVER, ask.server.octets().to_vec()));
    }
    if let Verdict::Nak(why) = verdict {
        options.push((option::MESSAGE, why.as_bytes().to_vec()));
    }
    if matches!(verdict, Verdict::Offer | Verdict::Commit | Verdict::Ack) {
        let lease = ask.port.network.dhcp.lease_seconds;
        // Seven eighths, without an overflow (RFC 2131, section 4.4.5).
        let times = [
            (option::LEASE_TIME, lease),
            (option::RENEWAL_TIME, lease / 2),
            (option::REBINDING_TIME, lease - lease.div_ceil(8)),
        ];
        options.extend(times.map(|(code, time)| (code, time.to_be_bytes().to_vec())));
    }
    if !matches!(verdict, Verdict::Nak(_)) {
        options.push((option::SUBNET_MASK, parameters.own.mask().octets().to_vec()));
    }
    // RFC 6842.
    if let Some(client) = request.option(option::CLIENT) {
        options.push((option::CLIENT, client.to_vec()));
    }
    if verdict == Verdict::Commit {
        options.push((option::RAPID_COMMIT, Vec::new()));
    }
    options
}

/// What the client asks for, in its order, as far as there is room; for how many options there was
/// none.
fn add_parameters(
    writer: &mut Writer,
    verdict: Verdict,
    request: &Request<'_>,
    parameters: &Parameters<'_>,
) -> usize {
    let mut left_out = 0;
    let mut add = |code: u8, value: &[u8]| left_out += usize::from(!writer.add(code, value));
    let mut is_told = [false; 256];
    for (code, value) in parameters.http_boot().into_iter().flatten() {
        add(code, value);
        is_told[usize::from(code)] = true;
    }
    let all: &[u8] = match verdict {
        Verdict::Bootp => &parameters::OF_BOOTP,
        _ => &parameters::ALL,
    };
    for code in request.option(option::PARAMETERS).unwrap_or(all) {
        let is_told = &mut is_told[usize::from(*code)];
        if std::mem::replace(is_told, true) {
            continue;
        }
        if let Some(value) = parameters.value(*code) {
            add(*code, &value);
        }
    }
    left_out
}

/// Where the reply goes (RFC 2131, section 4.1).
fn destination(
    verdict: Verdict,
    request: &Request<'_>,
    ask: &Ask<'_>,
    own: Ipv4Addr,
) -> (Ipv4Addr, u16) {
    const CLIENT_PORT: u16 = 68;
    const SERVER_PORT: u16 = 67;
    let (giaddr, ciaddr) = (request.giaddr(), request.ciaddr());
    if !giaddr.is_unspecified() {
        return (giaddr, SERVER_PORT);
    }
    let to = match verdict {
        Verdict::Nak(_) => Ipv4Addr::BROADCAST,
        Verdict::Inform if ciaddr.is_unspecified() => match ask.source {
            Source::Own => own,
            Source::Unknown => Ipv4Addr::BROADCAST,
        },
        Verdict::Inform if ciaddr.is_multicast() => Ipv4Addr::BROADCAST,
        Verdict::Inform => ciaddr,
        _ if ciaddr == own => own,
        _ if request.flags() & BROADCAST_FLAG != 0 => Ipv4Addr::BROADCAST,
        _ => own,
    };
    (to, CLIENT_PORT)
}
