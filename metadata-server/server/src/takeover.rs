//! How a new process takes over from the one that runs, without a request lost.
//!
//! ```text
//!   new                                   old (serves guests all the time until "ready")
//!    │── connect, hello ───────────────────►│ same user? stops changing anything: devices,
//!    │                                      │ records, store; flushes the ledger
//!    │◄───────── state, sockets (SCM_RIGHTS)│
//!    │ opens everything, serves             │
//!    │── ready ────────────────────────────►│ accepts no more, drains, ends
//!    │◄──────────────────────── end of file │
//! ```
//!
//! If the new one dies before it is ready, the old one sees the end of the stream and goes on as
//! before. The accept queue belongs to the listener, which is one and the same in both, so no
//! connection is lost between them. Both sides check that the other runs as the same user.

use std::{
    fs,
    io::{self, IoSlice, IoSliceMut, Read, Write},
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
    time::Duration,
};

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, getsockopt, recvmsg, sendmsg, sockopt,
};
use serde::{Deserialize, Serialize};

use crate::{entrances::Entrances, taps::table::Adopted};

/// The form of the exchange; another one is refused before anything is touched.
const VERSION: u32 = 2;
/// No side waits longer for the other.
const PATIENCE: Duration = Duration::from_secs(60);
/// A state longer than this was not written by us.
const MAX_STATE: usize = 64 << 20;

/// Why a process can't take over, or be taken over from.
#[derive(Debug, thiserror::Error)]
pub enum TakeoverError {
    /// The socket can't be used.
    #[error("{path}: {what} failed")]
    Socket {
        /// Which.
        path: PathBuf,
        /// What was attempted.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// State and sockets can't be handed to the successor.
    #[error("handing over to the new metadata-server failed")]
    HandOver(#[source] io::Error),
    /// Somebody else's process is at the other end.
    #[error("{path}: the other side runs as user {uid}, not as this one")]
    Stranger {
        /// Which socket.
        path: PathBuf,
        /// Its user.
        uid: u32,
    },
    /// The other side speaks another version of the exchange.
    #[error("the running metadata-server can't be taken over from by this version; stop it first")]
    Version,
    /// The other side hung up before it said anything.
    #[error(
        "the running metadata-server does not let itself be taken over from; is it of another \
         version? Stop it, then start this one"
    )]
    Refused,
    /// The other side ended in the middle, or did not wait any longer.
    #[error("the other metadata-server gave up in the middle of the takeover")]
    BrokenOff,
}

#[derive(Serialize, Deserialize)]
struct Hello {
    version: u32,
    pid: u32,
}

/// What the old process hands over besides the sockets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandOver {
    /// Who is attached, so that connections live on.
    pub tenancies: Vec<Adopted>,
    /// The next slot to be given.
    pub next_slot: u32,
    /// The names of the sockets, in the order in which they are handed over.
    pub entrances: Vec<String>,
}

/// No more sockets are handed over (SCM_MAX_FD is 253).
const MAX_SOCKETS: usize = 64;

/// Where successors knock.
#[derive(Debug)]
pub struct Door {
    path: PathBuf,
    listener: tokio::net::UnixListener,
    /// Whoever is being greeted, also while nobody waits for that.
    greeting: tokio::sync::Mutex<Option<Greeting>>,
}

type Greeting = tokio::task::JoinHandle<Result<Successor, TakeoverError>>;

impl Door {
    /// Opens the door; a predecessor's at the same path is replaced without a gap.
    pub fn open(path: &Path) -> Result<Self, TakeoverError> {
        let path = path.to_path_buf();
        match crate::unix::listen(&path) {
            Ok(listener) => Ok(Self { path, listener, greeting: tokio::sync::Mutex::default() }),
            Err(source) => Err(TakeoverError::Socket { path, what: "opening", source }),
        }
    }

    /// Waits for a successor of the same user. Who gives this up and asks again later misses none.
    pub async fn knock(&self) -> Successor {
        let mut place = self.greeting.lock().await;
        loop {
            let greeting = match &mut *place {
                Some(greeting) => greeting,
                None => {
                    let stream = match self.listener.accept().await {
                        Ok((stream, _)) => stream.into_std(),
                        Err(error) => Err(error),
                    };
                    let path = self.path.clone();
                    place.insert(tokio::task::spawn_blocking(move || greet(stream, &path)))
                }
            };
            let greeted = greeting.await;
            *place = None;
            match greeted {
                Ok(Ok(successor)) => return successor,
                Ok(Err(error)) => {
                    tracing::warn!(error = crate::chain(&error), "a takeover was refused");
                }
                Err(_) => tracing::error!("greeting a successor failed"),
            }
        }
    }

    /// Takes the door away; for a process that ends without a successor.
    pub fn close(self) {
        // Gone already is fine.
        let _ = fs::remove_file(&self.path);
    }
}

fn greet(stream: io::Result<UnixStream>, path: &Path) -> Result<Successor, TakeoverError> {
    let failed = |what| move |source| TakeoverError::Socket { path: path.into(), what, source };
    let stream = stream.map_err(failed("accepting"))?;
    prepare(&stream, path)?;
    let hello: Hello = receive(&stream).map_err(failed("reading"))?;
    if hello.version != VERSION {
        return Err(TakeoverError::Version);
    }
    Ok(Successor { stream, pid: hello.pid })
}

/// A new process that wants to take over.
#[derive(Debug)]
pub struct Successor {
    stream: UnixStream,
    pid: u32,
}

impl Successor {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Hands state and sockets over and waits until the successor serves. False if it ended
    /// before, or took so long that its word is not taken any more.
    pub async fn hand_over(
        &self,
        state: HandOver,
        sockets: &[BorrowedFd<'_>],
    ) -> Result<bool, TakeoverError> {
        let stream = self.stream.try_clone().map_err(TakeoverError::HandOver)?;
        let sockets: io::Result<Vec<OwnedFd>> =
            sockets.iter().map(BorrowedFd::try_clone_to_owned).collect();
        let sockets = sockets.map_err(TakeoverError::HandOver)?;
        let handed = tokio::task::spawn_blocking(move || -> io::Result<bool> {
            let byte = [IoSlice::new(b"L")];
            let fds: Vec<_> = sockets.iter().map(AsRawFd::as_raw_fd).collect();
            let rights = [ControlMessage::ScmRights(&fds)];
            sendmsg::<()>(stream.as_raw_fd(), &byte, &rights, MsgFlags::MSG_NOSIGNAL, None)?;
            send(&stream, &state)?;
            match is_ready(&stream) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // No word of it comes through from here on: it is told so when it says that
                    // it is ready, and ends. What came before is still read, so that never both
                    // are in charge, nor neither.
                    stream.shutdown(std::net::Shutdown::Read)?;
                    is_ready(&stream)
                }
                answered => answered,
            }
        });
        match handed.await {
            Ok(Ok(is_ready)) => Ok(is_ready),
            Ok(Err(error)) if is_broken_off(&error) => Ok(false),
            Ok(Err(error)) => Err(TakeoverError::HandOver(error)),
            Err(_) => Err(TakeoverError::BrokenOff),
        }
    }
}

/// Waits for the successor's word; false at the end of the stream.
fn is_ready(mut stream: &UnixStream) -> io::Result<bool> {
    let mut answer = [0; 1];
    Ok(stream.read(&mut answer)? == 1 && answer[0] == b'R')
}

/// The process that is being taken over from.
#[derive(Debug)]
pub struct Predecessor {
    stream: UnixStream,
    /// What it handed over.
    pub state: HandOver,
}

/// Takes over from the process behind this socket; none if nobody is there.
pub async fn take_over(path: &Path) -> Result<Option<(Predecessor, Entrances)>, TakeoverError> {
    let path = path.to_path_buf();
    match tokio::task::spawn_blocking(move || knock(&path)).await {
        Ok(done) => done,
        Err(_) => Err(TakeoverError::BrokenOff),
    }
}

fn knock(path: &Path) -> Result<Option<(Predecessor, Entrances)>, TakeoverError> {
    let failed = |what| move |source| TakeoverError::Socket { path: path.into(), what, source };
    let stream = match UnixStream::connect(path) {
        Ok(stream) => stream,
        // Never started, or ended without taking its door away.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(failed("connecting")(error)),
    };
    prepare(&stream, path)?;
    let hello = Hello { version: VERSION, pid: std::process::id() };
    let sockets = send(&stream, &hello).and_then(|()| receive_fds(&stream));
    let sockets = match sockets {
        Err(error) if is_broken_off(&error) => return Err(TakeoverError::Refused),
        sockets => sockets.map_err(failed("taking over"))?,
    };
    let exchanged = receive(&stream)
        .map(|state: HandOver| (Entrances::handed_over(&state.entrances, sockets), state));
    match exchanged {
        Ok((entrances, state)) => Ok(Some((Predecessor { stream, state }, entrances))),
        Err(error) if is_broken_off(&error) => Err(TakeoverError::BrokenOff),
        Err(error) => Err(failed("taking over")(error)),
    }
}

impl Predecessor {
    /// Tells it that this process serves now. Fails if it is alive and has gone on by itself;
    /// one that has ended needs to be told nothing.
    pub fn ready(&self) -> Result<(), TakeoverError> {
        match (&self.stream).write_all(b"R") {
            Err(_) if self.is_alive() => Err(TakeoverError::BrokenOff),
            Err(error) => {
                tracing::warn!(%error, "the former process ended before it was told to");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Whether its process is there, kill(2).
    fn is_alive(&self) -> bool {
        let peer = getsockopt(&self.stream, sockopt::PeerCredentials);
        peer.is_ok_and(|peer| {
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(peer.pid()), None).is_ok()
        })
    }

    /// Waits for its end: what it wrote is complete then.
    pub async fn gone(self) {
        let waited = tokio::task::spawn_blocking(move || {
            let _ = self.stream.set_read_timeout(None);
            // Whatever comes, it is the end.
            let _ = (&self.stream).read(&mut [0; 1]);
        });
        let _ = waited.await;
    }
}

fn prepare(stream: &UnixStream, path: &Path) -> Result<(), TakeoverError> {
    let failed = |source| TakeoverError::Socket { path: path.into(), what: "checking", source };
    let peer =
        getsockopt(stream, sockopt::PeerCredentials).map_err(|errno| failed(errno.into()))?;
    if peer.uid() != nix::unistd::geteuid().as_raw() {
        return Err(TakeoverError::Stranger { path: path.into(), uid: peer.uid() });
    }
    stream
        .set_nonblocking(false)
        .and_then(|()| stream.set_read_timeout(Some(PATIENCE)))
        .and_then(|()| stream.set_write_timeout(Some(PATIENCE)))
        .map_err(failed)
}

fn send(mut stream: &UnixStream, value: &impl Serialize) -> io::Result<()> {
    let bytes = serde_json::to_vec(value)?;
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    stream.write_all(&length.to_be_bytes())?;
    stream.write_all(&bytes)
}

fn receive<T: serde::de::DeserializeOwned>(mut stream: &UnixStream) -> io::Result<T> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_STATE {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes)?;
    serde_json::from_slice(&bytes).map_err(io::Error::other)
}

fn receive_fds(stream: &UnixStream) -> io::Result<Vec<OwnedFd>> {
    let mut byte = [0; 1];
    let mut space = nix::cmsg_space!([std::os::fd::RawFd; MAX_SOCKETS]);
    let mut parts = [IoSliceMut::new(&mut byte)];
    let message = recvmsg::<()>(
        stream.as_raw_fd(),
        &mut parts,
        Some(&mut space),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )?;
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = part {
            // SAFETY: the kernel just made these descriptors for us; nobody else has them.
            let owned = fds.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
            return Ok(owned.collect());
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

fn is_broken_off(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}

#[cfg(test)]
mod tests;
