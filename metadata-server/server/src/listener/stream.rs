//! A guest's socket as hyper reads and writes it, with notes for the reaper on the way.

use std::{
    io,
    os::fd::AsRawFd,
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll, ready},
};

use hyper::rt::{Read, ReadBufCursor, Write};
use nix::{
    errno::Errno,
    sys::socket::{Shutdown, setsockopt, shutdown, sockopt},
};
use tokio::{io::ReadBuf, net::TcpStream};

use super::connection::Connection;
use crate::clock::CoarseClock;

/// The socket.
#[derive(Debug)]
pub(super) struct GuestStream {
    socket: Arc<TcpStream>,
    connection: Arc<Connection>,
    clock: Arc<CoarseClock>,
    /// What was set last; none is the system's own.
    ttl: Option<u8>,
    is_blocked: bool,
}

impl GuestStream {
    pub(super) fn new(
        socket: TcpStream,
        connection: Arc<Connection>,
        clock: Arc<CoarseClock>,
    ) -> Self {
        let socket = Arc::new(socket);
        connection.is_heard_by(Ear(Arc::downgrade(&socket)));
        Self { socket, connection, clock, ttl: None, is_blocked: false }
    }
}

/// Hears that a guest sends nothing more, while nobody reads: its process has ended, or it has shut
/// its side and awaits the answer (`printf … | nc`). TCP tells no difference.
#[derive(Debug)]
pub(super) struct Ear(Weak<TcpStream>);

impl Ear {
    /// Waits for the end of what the guest sends. Behind further requests it is not heard.
    pub(super) async fn silence(&self) {
        let Some(socket) = self.0.upgrade() else { return };
        match socket.peek(&mut [0]).await {
            Ok(0) | Err(_) => {}
            Ok(_) => std::future::pending().await,
        }
    }
}

impl Drop for GuestStream {
    fn drop(&mut self) {
        if self.connection.is_reset() {
            // Nothing that is still queued may reach whoever has the port now.
            reset_on_close(&self.socket);
        }
    }
}

/// The peer gets a reset, nothing that is queued, and no state is left behind here.
pub(crate) fn reset_on_close(socket: &TcpStream) {
    let _ = setsockopt(socket, sockopt::Linger, &nix::libc::linger { l_onoff: 1, l_linger: 0 });
}

impl Read for GuestStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        // SAFETY: the bytes are only given to `ReadBuf`, which never makes them uninitialised.
        let mut buffer = ReadBuf::uninit(unsafe { cursor.as_mut() });
        loop {
            ready!(this.socket.poll_read_ready(cx))?;
            match this.socket.try_read_buf(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(_) => break,
            }
        }
        let filled = buffer.filled();
        if !filled.is_empty() {
            this.connection.received(filled, this.clock.now());
        }
        let length = filled.len();
        // SAFETY: `ReadBuf` says that these are initialised.
        unsafe { cursor.advance(length) };
        Poll::Ready(Ok(()))
    }
}

impl GuestStream {
    /// Writes as soon as the socket takes bytes.
    fn poll_writing(
        &mut self,
        cx: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.socket.poll_write_ready(cx))?;
            match write(&self.socket) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn note<T>(&mut self, done: Poll<T>) -> Poll<T> {
        self.is_blocked = done.is_pending();
        self.connection.wrote(self.is_blocked, self.clock.now());
        done
    }

    /// Makes what is written now leave with the hop limit that its reply wants (IP_TTL,
    /// ip(7); IPV6_UNICAST_HOPS, ipv6(7)).
    ///
    /// A lower limit is set at once. It is lifted only when everything before was acknowledged,
    /// for the kernel sends a lost segment again with the limit of that later moment.
    fn set_ttl(&mut self) -> io::Result<()> {
        let wanted = self.connection.ttl();
        if wanted == self.ttl {
            return Ok(());
        }
        if self.ttl.is_some() && (self.is_blocked || unacknowledged(&self.socket)? > 0) {
            return Ok(());
        }
        // -1 is the system's own.
        let value = wanted.map_or(-1, i32::from);
        if self.connection.peer().is_ipv4() {
            setsockopt(&self.socket, sockopt::Ipv4Ttl, &value)?;
        } else {
            setsockopt(&self.socket, sockopt::Ipv6Ttl, &value)?;
        }
        self.ttl = wanted;
        Ok(())
    }
}

/// Bytes that the peer has not acknowledged (SIOCOUTQ, tcp(7)).
fn unacknowledged(socket: &TcpStream) -> io::Result<i32> {
    let mut bytes = 0;
    // SAFETY: the call writes one int, to a place that is one.
    unsafe { outgoing_queue(socket.as_raw_fd(), &mut bytes) }?;
    Ok(bytes)
}

nix::ioctl_read_bad!(outgoing_queue, nix::libc::TIOCOUTQ, nix::libc::c_int);

impl Write for GuestStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.set_ttl()?;
        let done = self.poll_writing(cx, |socket| socket.try_write(bytes));
        self.note(done)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.set_ttl()?;
        let done = self.poll_writing(cx, |socket| socket.try_write_vectored(slices));
        self.note(done)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A socket buffers nothing here.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(match shutdown(self.socket.as_raw_fd(), Shutdown::Write) {
            // The guest has reset it meanwhile: there is nothing left to end (shutdown(2)).
            Ok(()) | Err(Errno::ENOTCONN) => Ok(()),
            Err(error) => Err(error.into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Attachment;

    fn stream(socket: TcpStream) -> GuestStream {
        let attachment = Arc::new(Attachment::new(
            mezame_ebpf_loader::PortSlot::new(1).unwrap(),
            crate::fixture::port_id(1),
            None,
            crate::fixture::device(1),
            7,
        ));
        let peer = socket.peer_addr().unwrap();
        let gate = mezame_protocol::Gate::Metadata;
        let connection = Arc::new(Connection::new(1, gate, peer, attachment, 0));
        GuestStream::new(socket, connection, Arc::new(CoarseClock::start()))
    }

    #[tokio::test]
    async fn the_end_of_a_connection_that_the_guest_has_reset_is_no_fault() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let guest = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        let mut stream = stream(socket);
        reset_on_close(&guest);
        drop(guest);
        // Not before the reset has come.
        assert!(stream.socket.peek(&mut [0]).await.is_err());
        let end = std::future::poll_fn(|cx| Pin::new(&mut stream).poll_shutdown(cx));
        end.await.unwrap();
    }
}
