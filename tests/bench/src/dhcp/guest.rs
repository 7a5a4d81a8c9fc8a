//! A guest that is nothing but the frames of a DHCP client (RFC 2131), the same for each server.
//!
//! What it asks for is what Debian's dhclient asks for. Its frames are made once, so that a lease
//! costs it two writes and two reads.

use std::{
    fs::File,
    io::{Read, Write},
    net::Ipv4Addr,
    os::fd::AsFd,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use mezame_tests::{
    dhcp::{Kind, Message},
    frame::{self, Ip},
    namespace::Namespace,
    tap::{HEADER, Offload, Tap},
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::seed;

/// Longer than any frame of an Ethernet.
const LONGEST: usize = HEADER + 2048;

/// The guest.
#[derive(Debug)]
pub(super) struct Guest {
    tap: File,
    server: Ipv4Addr,
    address: Ipv4Addr,
    xid: [u8; 4],
    discover: Vec<u8>,
    request: Vec<u8>,
}

impl Guest {
    /// Plugs in the `number`th guest of the seed; it takes offers of this server alone.
    pub(super) fn plug(
        namespace: &Namespace,
        number: u32,
        server: Ipv4Addr,
    ) -> anyhow::Result<Self> {
        let tap = Tap::create(namespace, &seed::device(number), Offload::None)?;
        let (mac, address) = (frame::mac(&seed::mac(number)), seed::address(number));
        let xid = (0x1ea5_0000 + number).to_be_bytes();
        let choice = [[50, 4].as_slice(), &address.octets(), &[54, 4], &server.octets()].concat();
        Ok(Self {
            tap: File::from(tap.into_descriptor()),
            server,
            address,
            xid,
            discover: message(mac, xid, 1, &[]),
            request: message(mac, xid, 3, &choice),
        })
    }

    /// Leases once.
    pub(super) fn lease(&self, bound: Duration) -> anyhow::Result<()> {
        self.ask(&self.discover, Kind::Offer, bound)?;
        self.ask(&self.request, Kind::Ack, bound)
    }

    fn ask(&self, question: &[u8], wanted: Kind, bound: Duration) -> anyhow::Result<()> {
        let written = (&self.tap).write(question).context("sending a frame")?;
        ensure!(written == question.len(), "a frame was cut");
        let end = Instant::now() + bound;
        let mut bytes = [0; LONGEST];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let mut ready = [PollFd::new(self.tap.as_fd(), PollFlags::POLLIN)];
            ensure!(poll(&mut ready, timeout)? > 0, "no {wanted:?} came");
            let length = (&self.tap).read(&mut bytes).context("receiving a frame")?;
            let frame = &bytes[HEADER..length.max(HEADER)];
            // Others may go over a bridge.
            let Some(answer) = Message::read(frame) else { continue };
            // Behind the headers of Ethernet, IPv4 and UDP, which have no options here.
            if frame.get(46..50) != Some(&self.xid) {
                continue;
            }
            ensure!(
                answer.kind == wanted
                    && answer.yiaddr == self.address
                    && answer.server == Some(self.server),
                "a wrong answer: {answer:?}"
            );
            return Ok(());
        }
    }
}

/// A frame with a message of this type.
fn message(mac: [u8; 6], xid: [u8; 4], kind: u8, more: &[u8]) -> Vec<u8> {
    let mut message = vec![1, 1, 6, 0];
    message.extend_from_slice(&xid);
    message.resize(28, 0);
    message.extend_from_slice(&mac);
    message.resize(236, 0);
    message.extend_from_slice(&[99, 130, 83, 99, 53, 1, kind]);
    message.extend_from_slice(more);
    message.extend_from_slice(&[55, 13, 1, 28, 2, 3, 15, 6, 119, 12, 44, 47, 26, 121, 42, 255]);
    message.resize(message.len().max(300), 0);
    let ip = Ip { from: Ipv4Addr::UNSPECIFIED, to: Ipv4Addr::BROADCAST, ttl: 64, fragment: 0 };
    let frame = frame::ethernet([0xff; 6], mac, 0x0800, &ip.udp(68, 67, &message));
    [[0; HEADER].as_slice(), &frame].concat()
}
