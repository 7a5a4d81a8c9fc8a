//! Ends the kernel's sockets of a tenancy that is over (SOCK_DESTROY, sock_diag(7)).
//!
//! Our own connections are reset by their tasks. This catches the rest: those that nobody has
//! accepted yet, those that wait for their last acknowledgement, and those of a process that is
//! draining. Needs CONFIG_INET_DIAG_DESTROY; a kernel without it says so once, and the identity
//! that no longer leads anywhere keeps such sockets from being answered.

use std::{
    collections::BTreeSet,
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use mezame_ebpf_loader::PortSlot;
use netlink_packet_sock_diag::{
    SockDiagMessage,
    constants::{AF_INET, AF_INET6, IPPROTO_TCP},
    inet::{ExtensionFlags, InetRequest, SocketId, StateFlags},
};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};

use crate::identity::slot_of;

const SOCK_DESTROY: u16 = 21;

/// A socket of sock_diag in the metadata namespace.
#[derive(Debug)]
pub struct SocketEnder {
    fd: OwnedFd,
}

impl SocketEnder {
    /// Opens it. To be called in the metadata namespace.
    pub fn open() -> io::Result<Self> {
        let fd = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkSockDiag,
        )?;
        Ok(Self { fd })
    }

    /// Ends all TCP sockets whose peer is an identity of one of these slots; says how many.
    pub fn end(&self, slots: &BTreeSet<PortSlot>) -> io::Result<usize> {
        let mut ended = 0;
        let mut sockets = self.list(SocketId::new_v4())?;
        sockets.extend(self.list(SocketId::new_v6())?);
        for id in sockets {
            if !slot_of(id.destination_address).is_some_and(|slot| slots.contains(&slot)) {
                continue;
            }
            match self.destroy(id) {
                Ok(()) => ended += 1,
                // It ended by itself.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(ended)
    }

    /// All sockets of the family of `any`.
    fn list(&self, any: SocketId) -> io::Result<Vec<SocketId>> {
        // TIME_WAIT holds nothing of ours, and is not destroyed either.
        let states = StateFlags::all() - StateFlags::LISTEN - StateFlags::TIME_WAIT;
        self.send(request(any, states), NLM_F_REQUEST | NLM_F_DUMP, None)?;
        let mut ids = Vec::new();
        loop {
            let is_over = self.receive(|payload| {
                match payload {
                    NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(one)) => {
                        ids.push(one.header.socket_id.clone());
                    }
                    NetlinkPayload::Done(_) => return Ok(true),
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    _ => {}
                }
                Ok(false)
            })?;
            if is_over {
                return Ok(ids);
            }
        }
    }

    fn destroy(&self, id: SocketId) -> io::Result<()> {
        let request = request(id, StateFlags::all());
        self.send(request, NLM_F_REQUEST | NLM_F_ACK, Some(SOCK_DESTROY))?;
        loop {
            let is_over = self.receive(|payload| match payload {
                NetlinkPayload::Error(error) if error.code.is_some() => Err(error.to_io()),
                NetlinkPayload::Error(_) => Ok(true),
                _ => Ok(false),
            })?;
            if is_over {
                return Ok(());
            }
        }
    }

    fn send(&self, request: InetRequest, flags: u16, kind: Option<u16>) -> io::Result<()> {
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
        message.finalize();
        if let Some(kind) = kind {
            message.header.message_type = kind;
        }
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        send(self.fd.as_raw_fd(), &bytes, MsgFlags::empty())?;
        Ok(())
    }

    /// Reads one datagram and shows each message of it, until one says that it was the last.
    fn receive(
        &self,
        mut each: impl FnMut(&NetlinkPayload<SockDiagMessage>) -> io::Result<bool>,
    ) -> io::Result<bool> {
        let mut buffer = vec![0; 1 << 16];
        let length = recv(self.fd.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        let mut rest = &buffer[..length];
        while !rest.is_empty() {
            let message =
                NetlinkMessage::<SockDiagMessage>::deserialize(rest).map_err(io::Error::other)?;
            if each(&message.payload)? {
                return Ok(true);
            }
            let length = (message.header.length as usize).next_multiple_of(4);
            if length == 0 || length >= rest.len() {
                break;
            }
            rest = &rest[length..];
        }
        Ok(false)
    }
}

fn request(socket_id: SocketId, states: StateFlags) -> InetRequest {
    let family = if socket_id.destination_address.is_ipv4() { AF_INET } else { AF_INET6 };
    InetRequest {
        family,
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::empty(),
        states,
        socket_id,
    }
}

#[cfg(test)]
mod tests;
