//! A way to the control plane that breaks: a socket whose connections are cut or stall after so many
//! bytes of answers.

use std::{
    io::{Read, Write},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::Real;
use crate::{Ran, command, finish};

/// What becomes of a connection that had its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    Cut,
    Stall,
}

pub(super) struct Way {
    pub(super) socket: PathBuf,
    /// Bytes of requests that went through.
    pub(super) sent: Arc<AtomicU64>,
    /// Whether requests go slowly.
    pub(super) slow: Arc<AtomicBool>,
    ended: Arc<AtomicUsize>,
    _folder: tempfile::TempDir,
}

impl Way {
    /// Its threads end with the test's process.
    pub(super) fn to(real: &Real, bytes: u64, then: Then) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("way.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let (ended, sent) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicU64::new(0)));
        let slow = Arc::new(AtomicBool::new(false));
        let way = Self {
            socket,
            sent: sent.clone(),
            slow: slow.clone(),
            ended: ended.clone(),
            _folder: folder,
        };
        let to = real.socket();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                let server = UnixStream::connect(&to).unwrap();
                let (from, into) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let (sent, slow) = (Arc::clone(&sent), Arc::clone(&slow));
                std::thread::spawn(move || requests(from, into, &sent, &slow));
                let ended = Arc::clone(&ended);
                std::thread::spawn(move || answers(server, client, bytes, then, &ended));
            }
        });
        way
    }

    /// How many connections had their bytes.
    pub(super) fn ended(&self) -> usize {
        self.ended.load(Ordering::SeqCst)
    }

    pub(super) fn run(&self, real: &Real, arguments: &[&str]) -> Ran {
        let mut command = command(real.folder.path());
        finish(command.env("MEZAME_SERVER", &self.socket).args(arguments))
    }
}

fn requests(mut from: UnixStream, mut into: UnixStream, sent: &AtomicU64, slow: &AtomicBool) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        if slow.load(Ordering::SeqCst) {
            // Ten parts in a second.
            std::thread::sleep(Duration::from_millis(100));
        }
        match from.read(&mut buffer) {
            Ok(count) if count > 0 && into.write_all(&buffer[..count]).is_ok() => {
                sent.fetch_add(count as u64, Ordering::SeqCst);
            }
            _ => break,
        }
    }
    let _ = into.shutdown(Shutdown::Write);
}

fn answers(from: UnixStream, mut into: UnixStream, bytes: u64, then: Then, ended: &AtomicUsize) {
    let copied = std::io::copy(&mut from.try_clone().unwrap().take(bytes), &mut into);
    if copied.is_ok_and(|copied| copied == bytes) {
        ended.fetch_add(1, Ordering::SeqCst);
        if then == Then::Stall {
            // Its end is the process's.
            loop {
                std::thread::park();
            }
        }
    }
    let _ = (into.shutdown(Shutdown::Both), from.shutdown(Shutdown::Both));
}
