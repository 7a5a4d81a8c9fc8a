//! The client against QEMU's own server, and against garbage.

use std::{fs::File, io::Cursor, os::unix::net::UnixListener, thread};

use proptest::prelude::*;

use super::*;
use crate::testing::Daemon;

const BOUND: Duration = Duration::from_secs(20);

/// A daemon that exports a raw file of 8 MiB as `a` (to be written) and `b` (not).
fn exported(directory: &Path) -> (Daemon, PathBuf, PathBuf) {
    let disk = directory.join("disk");
    File::create(&disk).unwrap().set_len(8 << 20).unwrap();
    let (monitor, socket) = (directory.join("qmp"), directory.join("nbd"));
    let words = [
        format!("--blockdev=driver=file,node-name=disk,filename={}", disk.display()),
        format!("--nbd-server=addr.type=unix,addr.path={}", socket.display()),
        "--export=type=nbd,id=a,node-name=disk,name=a,writable=on".into(),
        "--export=type=nbd,id=b,node-name=disk,name=b".into(),
    ];
    (Daemon::storage(&monitor, &[&socket], &words), socket, disk)
}

#[test]
fn what_is_written_is_read_back_by_another_client_and_in_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let (_daemon, socket, disk) = exported(directory.path());
    let mut nbd = Nbd::connect(&socket, "a", BOUND).unwrap();
    assert_eq!(nbd.size(), 8 << 20);
    nbd.write(513, &[7; 5000]).unwrap();
    nbd.flush().unwrap();
    let mut other = Nbd::connect(&socket, "b", BOUND).unwrap();
    let mut seen = [1; 5002];
    other.read(512, &mut seen).unwrap();
    assert_eq!((seen[0], seen[5001]), (0, 0));
    assert!(seen[1..5001].iter().all(|byte| *byte == 7));
    assert_eq!(std::fs::read(disk).unwrap()[512..5514], seen);
}

#[test]
fn what_an_export_can_not_do_is_an_error_and_the_connection_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let (_daemon, socket, _) = exported(directory.path());
    let error = Nbd::connect(&socket, "no such", BOUND).unwrap_err();
    assert!(matches!(error, NbdError::NoExport { .. }), "{error}");
    let mut nbd = Nbd::connect(&socket, "b", BOUND).unwrap();
    assert!(matches!(nbd.write(0, &[1]), Err(NbdError::Unable("written"))));
    for (offset, length) in [(8 << 20, 1), (u64::MAX, 2), (0, (8 << 20) + 1)] {
        let error = nbd.read(offset, &mut vec![0; length]).unwrap_err();
        assert!(matches!(error, NbdError::OutOfRange { .. }), "{error}");
    }
    nbd.read(0, &mut [0]).unwrap();
}

#[test]
fn a_reply_to_another_request_ends_the_connection() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("nbd");
    let listener = UnixListener::bind(&socket).unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(&greeting(1 << 20)).unwrap();
        let reply = [&REPLY_MAGIC.to_be_bytes()[..], &[0; 4], &9_u64.to_be_bytes()].concat();
        stream.write_all(&reply).unwrap();
        // The client may have gone.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let mut nbd = Nbd::connect(&socket, "a", BOUND).unwrap();
    assert!(matches!(nbd.flush(), Err(NbdError::NotNbd("reply"))));
    assert!(matches!(nbd.flush(), Err(NbdError::Io(_))));
    server.join().unwrap();
}

/// What a server says up to the transmission phase.
fn greeting(size: u64) -> Vec<u8> {
    let head = |kind: u32, length: u32| {
        [
            &0x0003_e889_0455_65a9_u64.to_be_bytes()[..],
            &7_u32.to_be_bytes(),
            &kind.to_be_bytes(),
            &length.to_be_bytes(),
        ]
        .concat()
    };
    [
        &b"NBDMAGICIHAVEOPT\0\x03"[..],
        &head(3, 12),
        &[0, 0],
        &size.to_be_bytes(),
        &[0, 4],
        &head(1, 0),
    ]
    .concat()
}

/// A stream that says something and hears nothing.
struct Said(Cursor<Vec<u8>>);

impl Read for Said {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl Write for Said {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn an_option_reply_of_gigabytes_is_not_waited_for() {
    let mut said = greeting(1);
    // The length of the first reply's data.
    said[34..38].copy_from_slice(&u32::MAX.to_be_bytes());
    let error = handshake::go(&mut Said(Cursor::new(said)), "a").unwrap_err();
    assert!(matches!(error, NbdError::NotNbd(_)), "{error}");
}

proptest! {
    #[test]
    fn no_greeting_makes_the_client_panic(
        said in prop::collection::vec(any::<u8>(), 0..100), at in 0_usize..80, byte: u8,
    ) {
        let _ = handshake::go(&mut Said(Cursor::new(said)), "a");
        let mut bent = greeting(5);
        if let Some(bent) = bent.get_mut(at) {
            *bent = byte;
        }
        let _ = handshake::go(&mut Said(Cursor::new(bent)), "a");
    }
}
