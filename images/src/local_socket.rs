//! Connecting to a UNIX socket within a time.
//!
//! connect(2) waits while the other end's queue of connections is full: for ever, if that end accepts
//! none, as QEMU doesn't that stands still. With a time for sending it waits for as long as that
//! (unix(7), `SO_SNDTIMEO` of socket(7)).

use std::{
    io,
    os::{fd::AsRawFd, unix::net::UnixStream},
    path::Path,
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::{
        socket::{
            AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socket,
            sockopt::SendTimeout,
        },
        time::TimeVal,
    },
};

/// Connects within this time, which is at least a microsecond: none would be for ever.
pub(crate) fn connect_within(path: &Path, bound: Duration) -> io::Result<UnixStream> {
    let kind = (AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC);
    let socket = socket(kind.0, kind.1, kind.2, None)?;
    let seconds = i64::try_from(bound.as_secs()).unwrap_or(i64::MAX);
    let microseconds = i64::from(bound.subsec_micros());
    let bound =
        TimeVal::new(seconds, if seconds == 0 { microseconds.max(1) } else { microseconds });
    setsockopt(&socket, SendTimeout, &bound)?;
    connect(socket.as_raw_fd(), &UnixAddr::new(path)?).map_err(|error| match error {
        Errno::EAGAIN => io::ErrorKind::TimedOut.into(),
        error => io::Error::from(error),
    })?;
    let stream = UnixStream::from(socket);
    // Whoever writes says how long that may take.
    stream.set_write_timeout(None)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use std::{os::fd::OwnedFd, time::Instant};

    use nix::sys::socket::{Backlog, bind, listen};

    use super::*;

    #[test]
    fn a_server_that_accepts_nobody_is_given_up_in_time() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let stream = (AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC);
        let server: OwnedFd = socket(stream.0, stream.1, stream.2, None).unwrap();
        bind(server.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
        listen(&server, Backlog::new(0).unwrap()).unwrap();
        let begin = Instant::now();
        let bound = Duration::from_millis(200);
        // The queue holds one or two.
        let mut waiting = Vec::new();
        let error = loop {
            match connect_within(&path, bound) {
                Ok(stream) => waiting.push(stream),
                Err(error) => break error,
            }
            assert!(waiting.len() < 10);
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(begin.elapsed() >= bound && begin.elapsed() < Duration::from_secs(20));
    }
}
