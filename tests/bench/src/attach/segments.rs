//! A guest that is nothing but TCP segments (RFC 9293), enough for one request on a tap.

use std::{
    net::{Ipv4Addr, UdpSocket},
    os::fd::AsRawFd,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use mezame_ebpf_loader::SERVICE_MAC;
use mezame_tests::{
    frame::{self, Ip, SERVICE, SYN},
    namespace::Namespace,
    tap::{HEADER, Offload, Tap},
};
use nix::libc;

use crate::seed;

nix::ioctl_write_ptr_bad!(set_interface_flags, libc::SIOCSIFFLAGS, libc::ifreq);

const ACK: u8 = 0x10;
const PUSH: u8 = 0x08;
const RESET: u8 = 0x04;

/// The guest's port and its first sequence number.
const PORT: u16 = 40_000;
const FIRST: u32 = 1;

/// How often a SYN is repeated that nobody answers.
const PACE: Duration = Duration::from_micros(200);
/// More than any attachment may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// One request, so that one reply of 200 comes: a token.
const REQUEST: &[u8] = b"PUT /latest/api/token HTTP/1.1\r\nHost: 169.254.169.254\r\n\
    X-aws-ec2-metadata-token-ttl-seconds: 60\r\nContent-Length: 0\r\n\r\n";

/// Makes the `number`th guest's tap, and says how long its first 200 took.
pub(super) fn first_reply(hypervisor: &Namespace, number: u32) -> anyhow::Result<Duration> {
    let socket = hypervisor.run(|| UdpSocket::bind("0.0.0.0:0"))??;
    let begin = Instant::now();
    let tap = Tap::create_down(hypervisor, &seed::device(number), Offload::None)?;
    set_up(&socket, tap.name())?;
    let guest = Guest { tap, mac: frame::mac(&seed::mac(number)), address: seed::address(number) };
    let theirs = guest.handshake(begin)?;
    guest.send(FIRST + 1, theirs + 1, ACK | PUSH, REQUEST)?;
    let reply = guest.await_segment(begin, |segment| !segment.data.is_empty())?;
    let time = begin.elapsed();
    ensure!(
        reply.data.starts_with(b"HTTP/1.1 200 "),
        "the first reply is {:?}",
        String::from_utf8_lossy(&reply.data)
    );
    guest.send(FIRST + 1 + REQUEST.len() as u32, 0, RESET, &[])?;
    Ok(time)
}

struct Guest {
    tap: Tap,
    mac: [u8; 6],
    address: Ipv4Addr,
}

/// What is looked at of a segment from the service.
struct Segment {
    sequence: u32,
    flags: u8,
    data: Vec<u8>,
}

impl Guest {
    /// Repeats the SYN until it is answered; gives the service's first sequence number.
    fn handshake(&self, begin: Instant) -> anyhow::Result<u32> {
        loop {
            self.send(FIRST, 0, SYN, &[])?;
            let sent = Instant::now();
            while sent.elapsed() < PACE {
                if let Some(segment) = self.segment()?
                    && segment.flags & (SYN | ACK) == SYN | ACK
                {
                    return Ok(segment.sequence);
                }
            }
            ensure!(begin.elapsed() < PATIENCE, "nobody answers at {}", self.tap.name());
        }
    }

    fn await_segment(
        &self,
        begin: Instant,
        wanted: impl Fn(&Segment) -> bool,
    ) -> anyhow::Result<Segment> {
        loop {
            if let Some(segment) = self.segment()?.filter(&wanted) {
                return Ok(segment);
            }
            ensure!(begin.elapsed() < PATIENCE, "no reply comes at {}", self.tap.name());
        }
    }

    /// The next segment of the service to this guest, if one is there.
    fn segment(&self) -> anyhow::Result<Option<Segment>> {
        let Some(bytes) = self.tap.receive_raw(Duration::ZERO)? else { return Ok(None) };
        let Some(frame) = bytes.get(HEADER..).filter(|it| frame::is_answer_to(it, PORT)) else {
            return Ok(None);
        };
        Ok(read(frame))
    }

    fn send(&self, sequence: u32, acknowledged: u32, flags: u8, data: &[u8]) -> anyhow::Result<()> {
        let mut segment = Vec::new();
        segment.extend_from_slice(&PORT.to_be_bytes());
        segment.extend_from_slice(&80u16.to_be_bytes());
        segment.extend_from_slice(&sequence.to_be_bytes());
        segment.extend_from_slice(&acknowledged.to_be_bytes());
        segment.extend_from_slice(&[0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        segment.extend_from_slice(data);
        let sum = self.checksum(&segment);
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
        let packet = Ip::to_service(self.address).packet(6, &[], &segment);
        self.tap.send(&frame::ethernet(SERVICE_MAC, self.mac, 0x0800, &packet))
    }

    /// RFC 9293, section 3.1: over the pseudo-header and the segment.
    fn checksum(&self, segment: &[u8]) -> u16 {
        let mut sum = 6 + segment.len() as u32;
        let (from, to) = (self.address.octets(), SERVICE.octets());
        for part in [&from[..], &to, segment] {
            for pair in part.chunks(2) {
                sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
            }
        }
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }
}

/// Reads a frame that is known to be a TCP segment in IPv4.
fn read(frame: &[u8]) -> Option<Segment> {
    let total = usize::from(u16::from_be_bytes(frame.get(16..18)?.try_into().ok()?));
    let ip = usize::from(frame.get(14)? & 0xf) * 4;
    let segment = frame.get(14 + ip..14 + total)?;
    Some(Segment {
        sequence: u32::from_be_bytes(segment.get(4..8)?.try_into().ok()?),
        flags: *segment.get(13)?,
        data: segment.get(usize::from(segment.get(12)? >> 4) * 4..)?.to_vec(),
    })
}

/// Sets a device up through a socket of its namespace: a process started for it would take longer
/// than what is measured.
fn set_up(socket: &UdpSocket, name: &str) -> anyhow::Result<()> {
    // SAFETY: all zeroes are a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags =
        libc::c_short::try_from(libc::IFF_UP | libc::IFF_RUNNING).context("flags fit a short")?;
    // SAFETY: the descriptor is open and the request outlives the call.
    unsafe { set_interface_flags(socket.as_raw_fd(), &raw const request) }
        .with_context(|| format!("setting {name} up"))?;
    Ok(())
}
