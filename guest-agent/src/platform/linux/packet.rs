//! Packets of one device without their Ethernet header, by packet(7).

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    time::Duration,
};

/// A socket of one device and one EtherType.
pub(super) struct PacketSocket {
    socket: OwnedFd,
    index: i32,
    protocol: u16,
}

impl PacketSocket {
    /// Opens one; of [`libc::ETH_P_ALL`] it hears what leaves, too.
    pub(super) fn open(index: u32, protocol: u16) -> io::Result<Self> {
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
        // Protocol 0 hears nothing before the socket is bound: else it would hear other devices.
        // SAFETY: a plain system call; its result is checked below.
        let fd = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is open and nobody else's.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        let index = i32::try_from(index).map_err(|_| io::ErrorKind::InvalidInput)?;
        Ok(Self { socket, index, protocol })
    }

    /// Begins to hear.
    pub(super) fn bind(&self) -> io::Result<()> {
        let address = self.address([0; 6]);
        // SAFETY: the address is a whole sockaddr_ll and its length is given.
        let result = unsafe {
            libc::bind(
                self.socket.as_raw_fd(),
                (&raw const address).cast(),
                size_of_val(&address) as libc::socklen_t,
            )
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Hears only what a filter lets in (classic BPF); to be set before it is bound.
    pub(super) fn filter(&self, program: &mut [libc::sock_filter]) -> io::Result<()> {
        let length = u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let program = libc::sock_fprog { len: length, filter: program.as_mut_ptr() };
        // SAFETY: the program is whole, and the kernel copies it.
        let result = unsafe {
            libc::setsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_ATTACH_FILTER,
                (&raw const program).cast(),
                size_of_val(&program) as libc::socklen_t,
            )
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    fn address(&self, mac: [u8; 6]) -> libc::sockaddr_ll {
        let mut octets = [0; 8];
        octets[..6].copy_from_slice(&mac);
        libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: self.protocol.to_be(),
            sll_ifindex: self.index,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 6,
            sll_addr: octets,
        }
    }

    /// Sends a packet to everyone on the link.
    pub(super) fn broadcast(&self, packet: &[u8]) -> io::Result<()> {
        let address = self.address([0xff; 6]);
        // SAFETY: both buffers are whole and their lengths are given.
        let sent = unsafe {
            libc::sendto(
                self.socket.as_raw_fd(),
                packet.as_ptr().cast(),
                packet.len(),
                0,
                (&raw const address).cast(),
                size_of_val(&address) as libc::socklen_t,
            )
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Waits for something to hear; false when the time is over.
    pub(super) fn await_packet(&self, wait: Duration) -> bool {
        let timeout = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        let mut poll =
            libc::pollfd { fd: self.socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one whole pollfd.
        unsafe { libc::poll(&raw mut poll, 1, timeout) > 0 }
    }

    /// The beginning of the next packet that was heard, if there is one, and whether it left here.
    pub(super) fn receive<'b>(&self, buffer: &'b mut [u8]) -> Option<(&'b [u8], bool)> {
        let mut from = self.address([0; 6]);
        let mut from_length = size_of_val(&from) as libc::socklen_t;
        // SAFETY: both buffers are whole and their lengths are given.
        let length = unsafe {
            libc::recvfrom(
                self.socket.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                libc::MSG_DONTWAIT,
                (&raw mut from).cast(),
                &raw mut from_length,
            )
        };
        let length = usize::try_from(length).ok()?.min(buffer.len());
        Some((&buffer[..length], from.sll_pkttype == libc::PACKET_OUTGOING))
    }
}
