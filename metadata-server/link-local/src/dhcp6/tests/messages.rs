//! Every message, by the sections 16 and 18.3 of RFC 8415.

use mezame_model::Boot;

use super::*;

const SOLICIT: u8 = 1;
const REQUEST: u8 = 3;
const CONFIRM: u8 = 4;
const RENEW: u8 = 5;
const REBIND: u8 = 6;
const RELEASE: u8 = 8;
const DECLINE: u8 = 9;
const INFORMATION_REQUEST: u8 = 11;

/// On the link, and not the port's.
const OTHER: &str = "2001:db8:1::99";
/// Of no subnet.
const FOREIGN: &str = "2001:db8:ffff::1";

const NO_ADDRESSES_AVAILABLE: u16 = 2;
const BINDING_UNKNOWN: u16 = 3;
const OFF_LINK: u16 = 4;
const NO_PREFIX_AVAILABLE: u16 = 6;

fn ended(id: u8, addresses: &[&str]) -> Told {
    let addresses = addresses.iter().map(|it| (it.parse().unwrap(), 0, 0)).collect();
    Told { code: ADDRESSES, id, times: [0, 0], addresses, status: None }
}

#[test]
fn a_solicit_is_advertised_all_of_the_ports_addresses_and_nobody_better_is_waited_for() {
    let reply = Message::of(SOLICIT).addresses(7, &[]).asked().unwrap();
    assert_eq!(reply.answer.kind, Kind::Advertise);
    assert_eq!(reply.associations(), [given(7)]);
    assert_eq!(reply.option(CLIENT), Some(CLIENT_DUID));
    assert_eq!(reply.option(PREFERENCE), Some(&[255][..]));
    assert_eq!((reply.option(RAPID_COMMIT), reply.option(REFRESH_TIME)), (None, None));
    // A wish changes nothing.
    let wishing = Message::of(SOLICIT).addresses(7, &[FOREIGN]).asked().unwrap();
    assert_eq!(wishing.associations(), [given(7)]);
}

#[test]
fn rapid_commit_saves_the_request() {
    let message = Message::of(SOLICIT).option(RAPID_COMMIT, &[]).addresses(7, &[]);
    let reply = message.asked().unwrap();
    assert_eq!((reply.answer.kind, reply.option(RAPID_COMMIT)), (Kind::Reply, Some(&[][..])));
    assert_eq!(reply.associations(), [given(7)]);
    assert_eq!(reply.option(PREFERENCE), None);
}

#[test]
fn a_request_is_given_what_was_advertised() {
    for listed in [&OWN[..], &OWN[..1], &[], &[OTHER]] {
        let reply = Message::to_us(REQUEST).addresses(7, listed).asked().unwrap();
        assert_eq!((reply.answer.kind, reply.associations()), (Kind::Reply, vec![given(7)]));
    }
    let reply = Message::to_us(REQUEST).addresses(7, &[OWN[0], FOREIGN]).asked().unwrap();
    assert_eq!(reply.associations(), [nothing(ADDRESSES, 7, OFF_LINK)]);
}

#[test]
fn a_confirm_is_told_whether_all_is_the_ports() {
    for (listed, status) in [(&OWN[..], 0), (&OWN[1..], 0), (&[OWN[0], OTHER], OFF_LINK)] {
        let reply = Message::of(CONFIRM).addresses(7, listed).asked().unwrap();
        assert_eq!(reply.status(), Some(status), "{listed:?}");
        assert_eq!(reply.order(), [CLIENT, SERVER, STATUS]);
    }
    let empty = Message::of(CONFIRM).addresses(7, &[]).asked();
    assert_eq!(empty.unwrap_err(), Silence::NothingToConfirm);
}

#[test]
fn a_renew_and_a_rebind_go_on_with_what_is_the_ports_and_end_the_rest() {
    for message in [Message::to_us(RENEW), Message::of(REBIND)] {
        let reply = message.clone().addresses(7, &OWN).asked().unwrap();
        assert_eq!(reply.associations(), [given(7)]);
        let reply = message.clone().addresses(7, &[OWN[0], OTHER, FOREIGN]).asked().unwrap();
        let mut expected = given(7);
        expected.addresses.extend(ended(7, &[OTHER, FOREIGN]).addresses);
        assert_eq!(reply.associations(), [expected]);
        // An association more: its addresses end, or it is unknown.
        let two = message.clone().addresses(7, &OWN).addresses(8, &[OTHER]).addresses(9, &[]);
        let expected = [given(7), ended(8, &[OTHER]), nothing(ADDRESSES, 9, BINDING_UNKNOWN)];
        assert_eq!(two.asked().unwrap().associations(), expected);
    }
}

#[test]
fn a_release_and_a_decline_are_acknowledged_and_a_decline_is_told_on() {
    for (kind, declined) in [(RELEASE, &[][..]), (DECLINE, &OWN[..1])] {
        let message = Message::to_us(kind).addresses(7, &[OTHER, OWN[0], OWN[0]]);
        let reply = message.addresses(8, &[OTHER]).asked().unwrap();
        assert_eq!(reply.status(), Some(0));
        assert_eq!(reply.associations(), [nothing(ADDRESSES, 8, BINDING_UNKNOWN)]);
        let declined: Vec<Ipv6Addr> = declined.iter().map(|it| it.parse().unwrap()).collect();
        assert_eq!(reply.answer.declined, declined);
        assert_eq!(reply.option(RESOLVERS), None);
    }
}

#[test]
fn an_information_request_needs_no_identifier_and_learns_when_to_ask_again() {
    for message in [
        Message::bare(INFORMATION_REQUEST),
        Message::of(INFORMATION_REQUEST),
        Message::to_us(INFORMATION_REQUEST),
    ] {
        let reply = message.asked().unwrap();
        assert_eq!(reply.option(REFRESH_TIME).map(number), Some(86_400));
        assert!(reply.option(RESOLVERS).is_some());
        assert!(reply.associations().is_empty());
    }
    let short = fixture::with(|_, network| network.dhcp.lease_seconds = 120);
    let reply = Message::bare(INFORMATION_REQUEST).asked_of(&short).unwrap();
    assert_eq!(reply.option(REFRESH_TIME).map(number), Some(600));
}

#[test]
fn temporary_addresses_and_prefixes_are_refused_with_their_own_status() {
    let both = |message: Message| {
        let message = message.association(TEMPORARY_ADDRESSES, 1, &[]);
        message.association(PREFIXES, 2, &[]).addresses(3, &[])
    };
    for message in [Message::of(SOLICIT), Message::to_us(REQUEST)] {
        let expected = [
            nothing(TEMPORARY_ADDRESSES, 1, NO_ADDRESSES_AVAILABLE),
            nothing(PREFIXES, 2, NO_PREFIX_AVAILABLE),
            given(3),
        ];
        assert_eq!(both(message).asked().unwrap().associations(), expected);
    }
    for message in [Message::to_us(RENEW), Message::of(REBIND)] {
        let expected = [
            nothing(TEMPORARY_ADDRESSES, 1, BINDING_UNKNOWN),
            nothing(PREFIXES, 2, BINDING_UNKNOWN),
            given(3),
        ];
        assert_eq!(both(message).asked().unwrap().associations(), expected);
    }
}

#[test]
fn where_guests_make_their_addresses_they_are_given_none_and_told_the_rest() {
    let other = fixture::with(|_, network| network.dhcp.ipv6 = Ipv6Mode::Other);
    for message in [Message::of(SOLICIT), Message::to_us(REQUEST)] {
        let reply = message.addresses(7, &OWN[..1]).asked_of(&other).unwrap();
        assert_eq!(reply.associations(), [nothing(ADDRESSES, 7, NO_ADDRESSES_AVAILABLE)]);
        assert!(reply.option(RESOLVERS).is_some());
    }
    // What was leased before the network's mode changed ends.
    let reply = Message::to_us(RENEW).addresses(7, &OWN).asked_of(&other).unwrap();
    assert_eq!(reply.associations(), [ended(7, &OWN)]);
    let reply = Message::of(CONFIRM).addresses(7, &OWN).asked_of(&other).unwrap();
    assert_eq!(reply.status(), Some(OFF_LINK));
    assert!(Message::bare(INFORMATION_REQUEST).asked_of(&other).is_ok());
}

#[test]
fn a_port_without_addresses_is_told_that_it_has_none() {
    let guest = fixture::with(|port, _| port.addresses.retain(|it| it.is_ipv4()));
    let reply = Message::of(SOLICIT).addresses(7, &[]).asked_of(&guest).unwrap();
    assert_eq!(reply.associations(), [nothing(ADDRESSES, 7, NO_ADDRESSES_AVAILABLE)]);
}

#[test]
fn networks_without_dhcpv6_are_silent() {
    for mode in [Ipv6Mode::Stateless, Ipv6Mode::Off] {
        let guest = fixture::with(|_, network| network.dhcp.ipv6 = mode);
        let message = Message::of(SOLICIT).addresses(7, &[]);
        assert_eq!(message.asked_of(&guest).unwrap_err(), Silence::Off);
    }
    let guest = fixture::with(|_, network| network.subnets.truncate(1));
    assert_eq!(Message::of(SOLICIT).asked_of(&guest).unwrap_err(), Silence::Off);
}

#[test]
fn section_16_says_what_is_discarded() {
    let other_server = |kind| Message::of(kind).option(SERVER, &[0, 4, 1]);
    for (message, expected) in [
        (Message::bare(SOLICIT), Silence::Invalid),
        (Message::to_us(SOLICIT), Silence::Invalid),
        (Message::bare(CONFIRM), Silence::Invalid),
        (Message::to_us(CONFIRM), Silence::Invalid),
        (Message::to_us(REBIND), Silence::Invalid),
        (Message::bare(REQUEST).option(SERVER, &SERVER_ID.duid()), Silence::Invalid),
        (Message::of(REQUEST), Silence::OtherServer),
        (Message::of(RENEW), Silence::OtherServer),
        (other_server(REQUEST), Silence::OtherServer),
        (other_server(RENEW), Silence::OtherServer),
        (other_server(RELEASE), Silence::OtherServer),
        (other_server(DECLINE), Silence::OtherServer),
        (other_server(INFORMATION_REQUEST), Silence::OtherServer),
        (Message::of(INFORMATION_REQUEST).addresses(7, &[]), Silence::Invalid),
        (Message::bare(SOLICIT).option(CLIENT, &[0, 3]), Silence::Malformed),
        (Message::bare(SOLICIT).option(CLIENT, &[7; 131]), Silence::Malformed),
        (Message::of(SOLICIT).option(ADDRESSES, &[0; 11]), Silence::Malformed),
        (Message::bare(12), Silence::Relayed),
        (Message::of(2), Silence::NotARequest),
        (Message::of(7), Silence::NotARequest),
        (Message::of(10), Silence::NotARequest),
        (Message::of(13), Silence::NotARequest),
    ] {
        assert_eq!(message.asked().unwrap_err(), expected, "{:?}", message.bytes);
    }
    let guest = fixture::guest();
    assert_eq!(ask(&guest, &[]).unwrap_err(), Silence::Malformed);
    let cut = Message::of(SOLICIT).bytes;
    assert_eq!(ask(&guest, &cut[..cut.len() - 1]).unwrap_err(), Silence::Malformed);
}

#[test]
fn options_are_told_in_the_clients_order_and_only_those() {
    let reply = Message::of(SOLICIT).wants(&[24, 23, 24, 99, 82]).asked().unwrap();
    assert_eq!(reply.order(), [CLIENT, SERVER, PREFERENCE, 24, 23]);
    let resolver: Ipv6Addr = "2001:db8:1::2".parse().unwrap();
    assert_eq!(reply.option(23), Some(&resolver.octets()[..]));
    assert_eq!(reply.option(24), Some(&b"\x04acme\x07example\x00"[..]));
    // One that names nothing gets everything.
    let reply = Message::of(SOLICIT).asked().unwrap();
    assert_eq!(reply.order(), [CLIENT, SERVER, PREFERENCE, 23, 24, 56, 31]);
    let server: Ipv6Addr = "2001:db8:1::7".parse().unwrap();
    assert_eq!(reply.option(31), Some(&server.octets()[..]));
    assert_eq!(reply.option(56), Some(&[&[0, 1, 0, 16], &server.octets()[..]].concat()[..]));
}

#[test]
fn a_network_without_resolvers_gets_the_platforms_and_one_with_ipv4_ones_alone_gets_none() {
    let guest = fixture::with(|_, network| network.dns.clear());
    let reply = Message::bare(INFORMATION_REQUEST).asked_of(&guest).unwrap();
    assert_eq!(reply.option(RESOLVERS), Some(&mezame_model::service_address::DNS6.octets()[..]));
    let guest = fixture::with(|_, network| network.dns = vec!["192.168.0.2".parse().unwrap()]);
    let reply = Message::bare(INFORMATION_REQUEST).asked_of(&guest).unwrap();
    assert_eq!(reply.option(RESOLVERS), None);
}

#[test]
fn the_platforms_time_server_is_told_where_it_has_the_time_and_the_network_names_none() {
    let told = |ntp: &[&str], forward: &[&str]| {
        let guest = fixture::with(|_, network| {
            network.ntp = ntp.iter().map(|it| it.parse().unwrap()).collect();
            network.forward.ntp = forward.iter().map(|it| it.parse().unwrap()).collect();
        });
        let reply = Message::bare(INFORMATION_REQUEST).asked_of(&guest).unwrap();
        [TIME_SERVERS, SIMPLE_TIME_SERVERS].map(|code| reply.option(code).map(<[u8]>::to_vec))
    };
    let platforms = mezame_model::service_address::NTP6.octets();
    let expected = [[&[0, 1, 0, 16], &platforms[..]].concat(), platforms.to_vec()].map(Some);
    assert_eq!(told(&[], &["198.51.100.1:123"]), expected);
    assert_eq!(told(&[], &[]), [None, None]);
    // One of the other family is one.
    assert_eq!(told(&["192.168.0.7"], &["198.51.100.1:123"]), [None, None]);
}

#[test]
fn firmware_finds_its_boot_file_and_http_firmware_that_it_is_meant() {
    let booted = |server: &str, url: Option<&str>| {
        fixture::with(|port, _| {
            port.boot = Some(Box::new(Boot {
                server: Some(server.parse().unwrap()),
                file: Some("/boot/x.efi".into()),
                url: url.map(Into::into),
            }));
        })
    };
    let class = [&[0, 0, 1, 87, 0, 33][..], b"HTTPClient:Arch:00016:UNDI:003001"].concat();
    let asked = |guest: &Guest, class: Option<&[u8]>| {
        let message = Message::of(SOLICIT).wants(&[BOOT_FILE]);
        let message = match class {
            Some(class) => message.option(VENDOR_CLASS, class),
            None => message,
        };
        let reply = message.asked_of(guest).unwrap();
        [BOOT_FILE, VENDOR_CLASS].map(|code| reply.option(code).map(<[u8]>::to_vec))
    };
    let some = |text: &str| Some(text.as_bytes().to_vec());
    let tftp = booted("2001:db8::9", None);
    assert_eq!(asked(&tftp, None), [some("tftp://[2001:db8::9]/boot/x.efi"), None]);
    let http = booted("192.0.2.9", Some("http://[2001:db8::9]/x.efi"));
    let echoed = Some([&[0, 0, 1, 87, 0, 10][..], b"HTTPClient"].concat());
    assert_eq!(asked(&http, Some(&class)), [some("http://[2001:db8::9]/x.efi"), echoed]);
    assert_eq!(asked(&booted("192.0.2.9", None), Some(&class)), [None, None]);
}

#[test]
fn lease_times_are_half_and_four_fifths_and_never_overflow() {
    for (lease, t1, t2) in
        [(120, 60, 96), (121, 60, 96), (u32::MAX - 1, 2_147_483_647, 3_435_973_835)]
    {
        let guest = fixture::with(|_, network| network.dhcp.lease_seconds = lease);
        let reply = Message::of(SOLICIT).addresses(7, &[]).asked_of(&guest).unwrap();
        let told = &reply.associations()[0];
        assert_eq!((told.times, told.addresses[0].2), ([t1, t2], lease));
    }
}
