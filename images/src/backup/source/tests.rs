//! What comes of a server that never says much at once: a map without end, slowly or not.

use std::{
    io::{Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    sync::atomic::AtomicU64,
    thread,
};

use super::*;
use crate::{
    archive::Progress,
    backup::{
        freeze::{Consistency, CrashReason},
        name::PointId,
        plan::{FullReason, Plan},
    },
    nbd::NbdAddress,
    volume::VolumeId,
};

const DISK: u64 = 1 << 40;

/// Serves one client: a disk whose map it tells by the mebibyte, waiting before each.
fn serve(socket: &Path, wait: Duration) -> thread::JoinHandle<()> {
    let listener = UnixListener::bind(socket).unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // The client goes when it has had enough.
        let _ = converse(&mut stream, wait);
    })
}

fn converse(stream: &mut UnixStream, wait: Duration) -> io::Result<()> {
    stream.write_all(b"NBDMAGICIHAVEOPT\0\x03")?;
    take::<4>(stream)?;
    loop {
        let [_, _, _, _, _, _, _, _, option @ .., a, b, c, d] = take::<16>(stream)?;
        let mut asked = vec![0; u32::from_be_bytes([a, b, c, d]) as usize];
        stream.read_exact(&mut asked)?;
        let mut reply = |kind: u32, data: &[u8]| {
            let length = u32::try_from(data.len()).unwrap();
            let head = [&0x0003_e889_0455_65a9_u64.to_be_bytes()[..], &option].concat();
            stream
                .write_all(&[&head[..], &kind.to_be_bytes(), &length.to_be_bytes(), data].concat())
        };
        match u32::from_be_bytes(option) {
            10 => reply(4, &[&[0, 0, 0, 1], ALLOCATION.as_bytes()].concat())?,
            7 => reply(3, &[&[0, 0][..], &DISK.to_be_bytes(), &[0, 3]].concat())?,
            _ => {}
        }
        reply(1, &[])?;
        if u32::from_be_bytes(option) == 7 {
            break;
        }
    }
    loop {
        let request = take::<28>(stream)?;
        thread::sleep(wait);
        let head = [&0x668e_33ef_u32.to_be_bytes()[..], &[0, 1, 0, 5], &request[8..16]].concat();
        let run = [1, 1 << 20, 0_u32].map(u32::to_be_bytes).concat();
        stream.write_all(&[&head[..], &12_u32.to_be_bytes(), &run].concat())?;
    }
}

fn take<const N: usize>(stream: &mut UnixStream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn offer(socket: &Path) -> Offer {
    Offer {
        volume: VolumeId::parse("disk").unwrap(),
        point: PointId::new([1; 16]),
        taken_ms: 0,
        consistency: Consistency::Crash(CrashReason::NoAgent),
        left_out: Vec::new(),
        size: DISK,
        encrypted: false,
        address: NbdAddress::Unix(socket.into()),
        tls: None,
        export: "disk".into(),
        plan: Plan::Full(FullReason::First),
        changes: None,
    }
}

/// Ends the work after it was asked so often.
struct Countdown(AtomicU64);

impl Watch for Countdown {
    fn tell(&self, _progress: Progress) {}

    fn is_cancelled(&self) -> bool {
        self.0.fetch_sub(1, Ordering::SeqCst) == 0
    }
}

#[test]
fn a_pull_is_ended_while_the_server_still_tells_its_map() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("nbd");
    let server = serve(&socket, Duration::ZERO);
    let offer = offer(&socket);
    let watch = Countdown(100.into());
    let source = NbdSource::new(&offer, Protection::Local, None, &watch);
    source.extents().unwrap_err();
    assert!(source.is_cancelled());
    server.join().unwrap();
}

#[test]
fn a_server_that_tells_its_map_slowly_is_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("nbd");
    let server = serve(&socket, Duration::from_millis(20));
    let offer = offer(&socket);
    // Without a bound it would take six hours.
    let watch = Countdown(1000.into());
    let mut source = NbdSource::new(&offer, Protection::Local, None, &watch);
    source.pace = Pace::new(Duration::from_millis(500));
    let error = source.extents().unwrap_err();
    assert!(!source.is_cancelled());
    let inner = error.into_inner().unwrap().downcast::<NbdError>().unwrap();
    assert!(matches!(&*inner, NbdError::Io(error) if error.kind() == io::ErrorKind::TimedOut));
    server.join().unwrap();
}
