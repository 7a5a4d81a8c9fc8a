//! Every state that a client can be in (RFC 2131, figure 5 and table 4), and what is not answered.

use super::*;

const OTHER: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 99);
const FOREIGN: Ipv4Addr = Ipv4Addr::new(10, 9, 9, 9);

fn request() -> Message {
    Message::of(3)
}

fn server(message: Message, server: Ipv4Addr) -> Message {
    message.option(54, &server.octets())
}

fn requested(message: Message, address: Ipv4Addr) -> Message {
    message.option(50, &address.octets())
}

#[test]
fn every_row_of_table_4_is_answered_as_it_says() {
    let selecting = || server(request(), METADATA);
    for (state, message, expected) in [
        ("INIT", Message::of(1), Ok(Kind::Offer)),
        ("INIT with a wish", requested(Message::of(1), OTHER), Ok(Kind::Offer)),
        ("SELECTING", requested(selecting(), OWN), Ok(Kind::Ack)),
        ("SELECTING another address", requested(selecting(), OTHER), Ok(Kind::Nak)),
        (
            "SELECTING another server",
            requested(server(request(), Ipv4Addr::new(192, 168, 0, 1)), OWN),
            Err(Silence::OtherServer),
        ),
        ("SELECTING without an address", selecting(), Err(Silence::Malformed)),
        ("INIT-REBOOT", requested(request(), OWN), Ok(Kind::Ack)),
        ("INIT-REBOOT, another address", requested(request(), OTHER), Ok(Kind::Nak)),
        ("INIT-REBOOT, another network", requested(request(), FOREIGN), Ok(Kind::Nak)),
        ("INIT-REBOOT without an address", request(), Err(Silence::Malformed)),
        ("RENEWING", request().ciaddr(OWN), Ok(Kind::Ack)),
        ("RENEWING, another address", request().ciaddr(OTHER), Ok(Kind::Nak)),
        ("REBINDING", request().ciaddr(OWN).broadcast(), Ok(Kind::Ack)),
        ("REBINDING, another network", request().ciaddr(FOREIGN).broadcast(), Ok(Kind::Nak)),
        ("RENEWING, with a wish", requested(request().ciaddr(OWN), OTHER), Ok(Kind::Ack)),
        ("INFORM", Message::of(8).ciaddr(OWN), Ok(Kind::Ack)),
        (
            "DECLINE",
            requested(server(Message::of(4), METADATA), OWN),
            Err(Silence::Decline(Some(OWN))),
        ),
        ("RELEASE", server(Message::of(7), METADATA).ciaddr(OWN), Err(Silence::Release)),
        (
            "RELEASE of another server's",
            server(Message::of(7), FOREIGN).ciaddr(OWN),
            Err(Silence::OtherServer),
        ),
    ] {
        let found = message.asked().map(|reply| reply.answer.kind);
        assert_eq!(found, expected, "{state}");
    }
}

#[test]
fn an_offer_and_its_ack_say_the_same_and_have_what_table_3_asks_for() {
    let offer = Message::of(1).asked().unwrap();
    let chosen = requested(server(request(), METADATA), offer.yiaddr());
    let ack = chosen.asked().unwrap();
    for (reply, kind) in [(&offer, 2), (&ack, 5)] {
        assert_eq!(reply.answer.bytes[4..8], XID);
        assert_eq!(reply.answer.bytes[28..34], fixture::MAC);
        assert_eq!((reply.field(12), reply.yiaddr()), (Ipv4Addr::UNSPECIFIED, OWN));
        assert_eq!(reply.option(53), Some(&[kind][..]));
        assert_eq!(reply.option(54), Some(&[169, 254, 169, 254][..]));
        assert_eq!(reply.option(51), Some(&86_400_u32.to_be_bytes()[..]));
        assert_eq!(reply.option(58), Some(&43_200_u32.to_be_bytes()[..]));
        assert_eq!(reply.option(59), Some(&75_600_u32.to_be_bytes()[..]));
        assert_eq!(reply.option(1), Some(&[255, 255, 255, 0][..]));
        // None of these may be sent.
        for code in [50, 55, 57] {
            assert_eq!(reply.option(code), None);
        }
    }
    assert_eq!(offer.order()[1..], ack.order()[1..]);
}

#[test]
fn an_inform_is_answered_without_an_address_and_without_a_lease() {
    let reply = Message::of(8).ciaddr(OTHER).asked().unwrap();
    assert_eq!((reply.field(12), reply.yiaddr()), (OTHER, Ipv4Addr::UNSPECIFIED));
    assert_eq!(reply.answer.to, OTHER);
    for code in [51, 58, 59] {
        assert_eq!(reply.option(code), None);
    }
    assert!(reply.option(6).is_some());
    // Without its address in the message, the source address tells where it can be reached.
    let datagram = Message::of(8).end();
    let guest = fixture::guest();
    let to = |source| ask_from(&guest, 0, &datagram, source).unwrap().answer.to;
    assert_eq!(to(Source::Own), OWN);
    assert_eq!(to(Source::Unknown), Ipv4Addr::BROADCAST);
}

#[test]
fn a_refusal_is_broadcast_and_says_nothing_but_why() {
    let reply = requested(request(), FOREIGN).option(61, b"\x01abcdef").asked().unwrap();
    assert_eq!((reply.answer.to, reply.answer.to_port), (Ipv4Addr::BROADCAST, 68));
    assert_eq!(reply.order(), [53, 54, 56, 61]);
    for at in [12, 16, 20, 24] {
        assert_eq!(reply.field(at), Ipv4Addr::UNSPECIFIED);
    }
}

#[test]
fn a_record_whose_address_changed_refuses_the_old_one_and_offers_the_new_one() {
    let guest = fixture::with(|port, _| port.addresses = vec![OTHER.into()]);
    let renewal = request().ciaddr(OWN).asked_of(&guest).unwrap();
    assert_eq!(renewal.answer.kind, Kind::Nak);
    assert_eq!(Message::of(1).asked_of(&guest).unwrap().yiaddr(), OTHER);
}

#[test]
fn rapid_commit_saves_the_request() {
    let reply = Message::of(1).option(80, &[]).asked().unwrap();
    assert_eq!((reply.answer.kind, reply.yiaddr()), (Kind::Ack, OWN));
    assert_eq!((reply.option(53), reply.option(80)), (Some(&[5][..]), Some(&[][..])));
    // Only with the client's consent (RFC 4039, section 3.1).
    assert_eq!(Message::of(1).asked().unwrap().option(80), None);
}

#[test]
fn a_bootp_client_gets_its_address_for_good() {
    let mut bare = Message::bare();
    bare.bytes.resize(300, 0);
    let reply = ask(&fixture::guest(), &bare.bytes).unwrap();
    assert_eq!((reply.answer.kind, reply.yiaddr()), (Kind::Bootp, OWN));
    // Without vendor extensions in the request there are none in the reply.
    assert_eq!(reply.answer.bytes[HEADER..], [0; 64]);

    let mut extended = Message::bare();
    extended.bytes.extend(COOKIE);
    let reply = ask(&fixture::guest(), &extended.end()).unwrap();
    assert_eq!((reply.answer.bytes.len(), reply.yiaddr()), (300, OWN));
    assert_eq!(reply.option(1), Some(&[255, 255, 255, 0][..]));
    assert_eq!(reply.option(3), Some(&[192, 168, 0, 1][..]));
    for code in [51, 53, 54, 58, 59, 121] {
        assert_eq!(reply.option(code), None);
    }
    // One that asks for a server by name does not mean us.
    let named = Message::bare().at(44, b"bootserver").end();
    assert_eq!(ask(&fixture::guest(), &named).unwrap_err(), Silence::OtherServer);
}

#[test]
fn the_answer_goes_where_the_client_can_hear_it() {
    let ack = || requested(server(request(), METADATA), OWN);
    for (message, to) in [
        (Message::of(1), OWN),
        (Message::of(1).broadcast(), Ipv4Addr::BROADCAST),
        (ack(), OWN),
        (ack().broadcast(), Ipv4Addr::BROADCAST),
        (request().ciaddr(OWN).broadcast(), OWN),
    ] {
        let answer = message.asked().unwrap().answer;
        assert_eq!((answer.to, answer.to_port), (to, 68));
    }
}

#[test]
fn a_relayed_message_is_answered_through_its_relay_for_the_ports_own_address_alone() {
    let relay = Ipv4Addr::new(192, 168, 0, 254);
    let information = b"\x01\x04eth0\x02\x03abc";
    let relayed = || Message::of(1).giaddr(relay).option(82, information);
    let reply = relayed().asked().unwrap();
    assert_eq!((reply.answer.to, reply.answer.to_port), (relay, 67));
    assert_eq!(reply.field(24), relay);
    assert_eq!(reply.option(82), Some(&information[..]));
    // RFC 3046, section 2.2: the last.
    assert_eq!(reply.order().last(), Some(&82));
    let refusal = requested(request(), OTHER).giaddr(relay).option(82, information);
    let refusal = refusal.asked().unwrap();
    assert_eq!((refusal.answer.kind, refusal.answer.to), (Kind::Nak, relay));
    assert_eq!(refusal.answer.bytes[10..12], [0x80, 0]);
    assert_eq!(refusal.option(82), Some(&information[..]));
    let foreign = relayed().at(28, &[2, 0, 0, 0, 0, 1]);
    assert_eq!(foreign.asked().unwrap_err(), Silence::ForeignRelay);
}

#[test]
fn what_is_not_the_ports_own_request_is_not_answered() {
    let off = fixture::with(|_, network| network.dhcp.ipv4 = false);
    assert_eq!(Message::of(1).asked_of(&off).unwrap_err(), Silence::Off);
    for (message, expected) in [
        (Message::of(1).at(28, &[2]), Silence::OtherHardware),
        // Not Ethernet; not six bytes.
        (Message::of(1).at(1, &[6]), Silence::OtherHardware),
        (Message::of(1).at(2, &[16]), Silence::OtherHardware),
        (Message::of(1).at(0, &[2]), Silence::NotARequest),
        (Message::of(2), Silence::NotARequest),
        (Message::of(5), Silence::NotARequest),
        (Message::of(10), Silence::NotARequest),
        (Message::of(1).option(53, &[1]), Silence::Malformed),
        (Message::of(3).option(50, &[192, 168]), Silence::Malformed),
        (Message::of(1).option(61, &[7; 2000]), Silence::TooLong),
    ] {
        assert_eq!(message.asked().unwrap_err(), expected);
    }
    assert_eq!(ask(&fixture::guest(), &[1, 1, 6, 0]).unwrap_err(), Silence::Malformed);
    let mut cut = Message::of(1).bytes;
    cut.extend([12, 9, b'a']);
    assert_eq!(ask(&fixture::guest(), &cut).unwrap_err(), Silence::Malformed);
}

#[test]
fn the_second_port_has_its_own_address() {
    let guest = fixture::guest();
    let datagram = Message::of(1).at(33, &[0x57]).end();
    let reply = ask_from(&guest, 1, &datagram, Source::Unknown).unwrap();
    assert_eq!(reply.yiaddr(), Ipv4Addr::new(10, 1, 0, 10));
    // The first port's address is nothing to the second.
    let first = ask_from(&guest, 1, &Message::of(1).end(), Source::Unknown);
    assert_eq!(first.unwrap_err(), Silence::OtherHardware);
}

#[test]
fn a_port_without_an_ipv4_address_gets_a_link_local_one_and_what_is_on_the_link() {
    let v6_only = fixture::with(|port, network| {
        port.addresses.retain(|it| it.is_ipv6());
        network.dns.clear();
        network.ntp.clear();
        network.forward.ntp = vec!["192.0.2.123:123".parse().unwrap()];
    });
    let offer = Message::of(1).asked_of(&v6_only).unwrap();
    let own = offer.yiaddr();
    assert!(own.is_link_local() && own != METADATA, "{own}");
    assert_eq!((offer.answer.kind, offer.option(1)), (Kind::Offer, Some(&[255, 255, 0, 0][..])));
    assert_eq!(offer.option(3), None, "a router");
    assert_eq!(offer.option(6), Some(&[169, 254, 169, 253][..]));
    assert_eq!(offer.option(42), Some(&[169, 254, 169, 123][..]));
    let routes = offer.option(121).unwrap();
    assert!(routes.starts_with(&[32, 169, 254, 169, 254, 0, 0, 0, 0]), "{routes:?}");
    assert_eq!(routes.len(), 4 * 9, "more than the services: {routes:?}");
    let ack = requested(Message::of(3), own).asked_of(&v6_only).unwrap();
    assert_eq!((ack.answer.kind, ack.yiaddr()), (Kind::Ack, own));
    let renewed = Message::of(3).ciaddr(own).asked_of(&v6_only).unwrap();
    assert_eq!((renewed.answer.kind, renewed.answer.to), (Kind::Ack, own));
    let other = requested(Message::of(3), OWN).asked_of(&v6_only).unwrap();
    assert_eq!(other.answer.kind, Kind::Nak);
}

#[test]
fn a_link_local_address_leads_to_no_server_of_the_networks_own() {
    let v6_only = fixture::with(|port, network| {
        port.addresses.retain(|it| it.is_ipv6());
        network.dns = vec!["192.168.0.2".parse().unwrap()];
        network.ntp = vec!["192.168.0.3".parse().unwrap()];
    });
    let offer = Message::of(1).asked_of(&v6_only).unwrap();
    assert_eq!((offer.option(6), offer.option(42)), (None, None));
}
