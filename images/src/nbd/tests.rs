//! The client against QEMU's own server, and against garbage.

mod over_tls;

use std::{fs::File, os::unix::net::UnixListener, path::PathBuf, thread};

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
fn holes_are_told_and_not_sent_and_the_rest_is_read_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let (_daemon, socket, _) = exported(directory.path());
    Nbd::connect(&socket, "a", BOUND).unwrap().write(1 << 20, &[7; 64 << 10]).unwrap();
    let mut nbd =
        Nbd::open(&NbdAddress::Unix(socket), Protection::Local, "b", &[ALLOCATION], BOUND).unwrap();
    let maps = nbd.status(0, 8 << 20).unwrap();
    let hole = |length| Run { length, flags: HOLE | ZERO };
    let (before, data) = (hole(1 << 20), Run { length: 64 << 10, flags: 0 });
    assert_eq!(maps, [vec![before, data, hole((7 << 20) - (64 << 10))]]);
    let mut seen = vec![1; 2 << 20];
    nbd.read(512 << 10, &mut seen).unwrap();
    let data = (512 << 10)..(576 << 10);
    assert!(seen.iter().enumerate().all(|(at, b)| *b == if data.contains(&at) { 7 } else { 0 }));
    assert!(nbd.received() < 1 << 20, "{}", nbd.received());
    assert!(matches!(nbd.status(8 << 20, 1), Err(NbdError::OutOfRange { .. })));
    assert!(matches!(nbd.status(0, 0), Err(NbdError::OutOfRange { .. })));
}

#[test]
fn a_map_that_is_not_there_is_an_error_before_anything_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let (_daemon, socket, _) = exported(directory.path());
    let maps = [ALLOCATION, "qemu:dirty-bitmap:none"];
    let error =
        Nbd::open(&NbdAddress::Unix(socket), Protection::Local, "b", &maps, BOUND).unwrap_err();
    assert!(matches!(&error, NbdError::NoMap { name } if name.ends_with("none")), "{error}");
}

#[test]
fn a_server_on_tcp_is_read_as_one_on_a_unix_socket() {
    let directory = tempfile::tempdir().unwrap();
    let disk = directory.path().join("disk");
    std::fs::write(&disk, vec![5; 1 << 20]).unwrap();
    let (monitor, words) = (
        directory.path().join("qmp"),
        [
            format!("--blockdev=driver=file,node-name=disk,filename={}", disk.display()),
            "--nbd-server=addr.type=inet,addr.host=127.0.0.1,addr.port=0".into(),
            "--export=type=nbd,id=a,node-name=disk,name=a".into(),
        ],
    );
    let daemon = Daemon::storage(&monitor, &[], &words);
    let begin = Instant::now();
    let mut nbd = loop {
        let found = daemon.ports().into_iter().find_map(|port| {
            let address = NbdAddress::Tcp(([127, 0, 0, 1], port).into());
            Nbd::open(&address, Protection::Local, "a", &[ALLOCATION], BOUND).ok()
        });
        // Its monitor is there before its export is.
        match found {
            Some(nbd) => break nbd,
            None => assert!(begin.elapsed() < BOUND, "it does not listen"),
        }
        thread::sleep(Duration::from_millis(5));
    };
    let mut seen = [0; 4096];
    nbd.read(4096, &mut seen).unwrap();
    assert_eq!(seen, [5; 4096]);
}

#[test]
fn a_server_that_sends_a_byte_now_and_then_is_given_up_in_time() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("nbd");
    let listener = UnixListener::bind(&socket).unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // Until the client has gone.
        while stream.write_all(b"N").is_ok() {
            thread::sleep(Duration::from_millis(50));
        }
    });
    let begin = Instant::now();
    // The greeting would be wrong after eight bytes.
    let error = Nbd::connect(&socket, "a", Duration::from_millis(200)).unwrap_err();
    assert!(matches!(error, NbdError::Io(_)), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(10));
    server.join().unwrap();
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
    drop(nbd);
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

fn agree(said: &[u8]) -> Result<handshake::Agreed, NbdError> {
    let mut server = Said(said);
    handshake::greet(&mut server)?;
    handshake::agree(&mut server, "a", &[])
}

#[test]
fn an_option_reply_of_gigabytes_is_not_waited_for() {
    let mut said = greeting(1);
    // The length of the first reply's data.
    said[34..38].copy_from_slice(&u32::MAX.to_be_bytes());
    let error = agree(&said).unwrap_err();
    assert!(matches!(error, NbdError::NotNbd(_)), "{error}");
}

/// A chunk of a structured reply.
fn chunk(flags: u16, kind: u16, data: &[u8]) -> Vec<u8> {
    [
        &0x668e_33ef_u32.to_be_bytes()[..],
        &flags.to_be_bytes(),
        &kind.to_be_bytes(),
        &1_u64.to_be_bytes(),
        &u32::try_from(data.len()).unwrap().to_be_bytes(),
        data,
    ]
    .concat()
}

fn data(at: u64, length: usize) -> Vec<u8> {
    chunk(0, 1, &[&at.to_be_bytes()[..], &vec![at as u8 + 1; length]].concat())
}

fn hole(at: u64, length: u32) -> Vec<u8> {
    chunk(0, 2, &[&at.to_be_bytes()[..], &length.to_be_bytes()].concat())
}

/// What a read of eight bytes at 100 makes of these chunks.
fn read_of(chunks: &[Vec<u8>]) -> Result<[u8; 8], NbdError> {
    let said = [chunks.concat(), chunk(1, 0, &[])].concat();
    let mut into = [9; 8];
    structured::read(&mut Said(&said), 1, 100, &mut into).map(|_| into)
}

#[test]
fn chunks_of_a_read_may_come_in_any_order_but_each_byte_comes_once() {
    let seen = read_of(&[data(104, 2), hole(106, 2), hole(100, 1), data(101, 3)]).unwrap();
    assert_eq!(seen, [0, 102, 102, 102, 105, 105, 0, 0]);
    for bad in [
        vec![data(100, 7)],
        vec![data(100, 8), data(103, 1)],
        vec![data(102, 6), hole(100, 3)],
        vec![data(100, 9)],
        vec![data(99, 8)],
        vec![data(100, 8), hole(104, 0)],
        vec![hole(u64::MAX, 8)],
        vec![data(100, 8), chunk(0, 5, &[0; 12])],
        vec![data(100, 8), chunk(0, 0x8001, &[])],
    ] {
        let error = read_of(&bad).unwrap_err();
        assert!(matches!(error, NbdError::NotNbd(_)), "{bad:?} {error}");
    }
}

#[test]
fn an_error_among_the_chunks_is_the_reads() {
    let failed = chunk(0, 0x8002, &[&22_u32.to_be_bytes()[..], &[0; 10]].concat());
    let error = read_of(&[data(100, 2), failed]).unwrap_err();
    assert!(matches!(error, NbdError::Failed { number: 22, .. }), "{error}");
}

#[test]
fn a_map_comes_once_and_is_one_that_was_asked_for() {
    let map = |context: u32, runs: &[(u32, u32)]| {
        let mut data = context.to_be_bytes().to_vec();
        for (length, flags) in runs {
            data.extend(length.to_be_bytes());
            data.extend(flags.to_be_bytes());
        }
        chunk(0, 5, &data)
    };
    let status = |chunks: &[Vec<u8>]| {
        let said = [chunks.concat(), chunk(1, 0, &[])].concat();
        structured::status(&mut Said(&said), 1, &[3, 4])
    };
    let run = |length, flags| Run { length, flags };
    let seen = status(&[map(4, &[(7, 1)]), map(3, &[(1, 0), (2, 3)])]).unwrap();
    assert_eq!(seen, [vec![run(1, 0), run(2, 3)], vec![run(7, 1)]]);
    for bad in [
        vec![map(3, &[(1, 0)])],
        vec![map(3, &[(1, 0)]), map(3, &[(1, 0)])],
        vec![map(3, &[(1, 0)]), map(5, &[(1, 0)])],
        vec![map(3, &[(1, 0)]), map(4, &[(0, 0)])],
        vec![map(3, &[(1, 0)]), map(4, &[])],
        vec![map(3, &[(1, 0)]), chunk(0, 5, &[0; 7])],
    ] {
        let error = status(&bad).unwrap_err();
        assert!(matches!(error, NbdError::NotNbd(_)), "{bad:?} {error}");
    }
}

/// All that a server says to whom [`against`] is.
fn conversation() -> Vec<u8> {
    let head = |option: u32, kind: u32, data: &[u8]| {
        let length = u32::try_from(data.len()).unwrap();
        let words = [option, kind, length].map(u32::to_be_bytes).concat();
        [&0x0003_e889_0455_65a9_u64.to_be_bytes()[..], &words, data].concat()
    };
    let map = |number: u8, name: &str| [&[0, 0, 0, number], name.as_bytes()].concat();
    let runs = |number: u8| chunk(0, 5, &[0, 0, 0, number, 0, 0, 1, 0, 0, 0, 0, 0]);
    let mut read = chunk(1, 1, &[&(1_u64 << 20).to_be_bytes()[..], &[6; 4096]].concat());
    // The second request's cookie.
    read[15] = 2;
    [
        &b"NBDMAGICIHAVEOPT\0\x03"[..],
        &head(8, 1, &[]),
        &head(10, 4, &map(1, ALLOCATION)),
        &head(10, 4, &map(2, "qemu:dirty-bitmap:a")),
        &head(10, 1, &[]),
        &head(7, 3, &[&[0, 0][..], &(2_u64 << 20).to_be_bytes(), &[0, 5]].concat()),
        &head(7, 1, &[]),
        &runs(1),
        &runs(2),
        &chunk(1, 0, &[]),
        &read,
    ]
    .concat()
}

#[test]
fn a_whole_conversation_is_understood() {
    against(&conversation()).unwrap();
}

proptest! {
    #[test]
    fn no_greeting_makes_the_client_panic(
        said in prop::collection::vec(any::<u8>(), 0..100), at in 0_usize..80, byte: u8,
    ) {
        let _ = agree(&said);
        let mut bent = greeting(5);
        if let Some(bent) = bent.get_mut(at) {
            *bent = byte;
        }
        let _ = agree(&bent);
    }
    #[test]
    fn no_bytes_in_a_conversation_make_the_client_panic(
        bends in prop::collection::vec((0_usize..500, any::<u8>()), 1..4), length in 0_usize..5000,
    ) {
        let mut said = conversation();
        for (at, byte) in bends {
            said[at] = byte;
        }
        let _ = against(&said[..length.min(said.len())]);
        let _ = against(&said);
    }

    #[test]
    fn no_structured_reply_makes_the_client_panic(
        said in prop::collection::vec(any::<u8>(), 0..200), kind in 0_u16..8,
    ) {
        let said = chunk(0, kind, &said);
        let _ = structured::read(&mut Said(&said), 1, 0, &mut [0; 64]);
        let _ = structured::status(&mut Said(&said), 1, &[0]);
    }
}
