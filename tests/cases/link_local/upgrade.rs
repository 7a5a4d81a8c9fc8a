//! A server that is replaced while guests ask for names.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use mezame_tests::{
    namespace_guest::NamespaceGuest,
    upstream,
    wait::{self, SOON},
};
use serde_json::json;

use super::{UPSTREAMS, lab, one_guest};

/// A question for the address of a name (RFC 1035, section 4.1).
pub(super) fn query(id: u16, name: &str) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend(label.as_bytes());
    }
    bytes.extend([0, 0, 1, 0, 1]);
    bytes
}

/// Fails unless this is an answer to the query with at least one record.
fn check(query: &[u8], reply: &[u8]) -> Result<()> {
    ensure!(reply.len() > query.len() && reply[..2] == query[..2], "{reply:?}");
    ensure!(reply[2] & 0x80 != 0 && reply[3] & 0xf == 0, "{reply:?}");
    ensure!(reply[7] > 0, "no record in {reply:?}");
    Ok(())
}

/// Asks by one datagram, which must be enough.
fn by_datagram(guest: &NamespaceGuest, server: SocketAddr, query: &[u8]) -> Result<()> {
    let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = guest.namespace().run(|| UdpSocket::bind(any))??;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    socket.connect(server)?;
    socket.send(query)?;
    let mut reply = [0; 512];
    let length = socket.recv(&mut reply).context("waiting for a reply")?;
    check(query, &reply[..length])
}

/// Asks on one connection, which must be enough.
fn by_stream(guest: &NamespaceGuest, server: SocketAddr, query: &[u8]) -> Result<()> {
    let bound = Duration::from_secs(10);
    let mut stream = guest.namespace().run(|| TcpStream::connect_timeout(&server, bound))??;
    stream.set_read_timeout(Some(bound))?;
    let mut framed = u16::try_from(query.len())?.to_be_bytes().to_vec();
    framed.extend(query);
    stream.write_all(&framed)?;
    let mut length = [0; 2];
    stream.read_exact(&mut length).context("waiting for a reply")?;
    let mut reply = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut reply)?;
    check(query, &reply)
}

/// What goes on while the server is replaced.
#[derive(Default)]
struct Progress {
    answered: AtomicU32,
    is_over: AtomicBool,
}

/// Asks one query after the other until it is over; what was lost.
fn ask_on(
    guest: &NamespaceGuest,
    server: SocketAddr,
    is_stream: bool,
    progress: &Progress,
) -> Vec<String> {
    let mut lost = Vec::new();
    for id in 0..10_000 {
        if progress.is_over.load(Ordering::Relaxed) {
            break;
        }
        // Known here, and forwarded, in turn.
        let name = if id % 2 == 0 { "tenant-a.tenant.example" } else { "www.example.org" };
        let query = query(id, name);
        let ask = if is_stream { by_stream } else { by_datagram };
        match ask(guest, server, &query) {
            Ok(()) => _ = progress.answered.fetch_add(1, Ordering::Relaxed),
            Err(error) => lost.push(format!("{name} of {server}, stream {is_stream}: {error:#}")),
        }
        // A port has a rate.
        std::thread::sleep(Duration::from_millis(8));
    }
    lost
}

/// Waits until so many more have been answered.
fn until_answered(progress: &Progress, more: u32) {
    let before = progress.answered.load(Ordering::Relaxed);
    wait::until("answers", SOON, || {
        let now = progress.answered.load(Ordering::Relaxed);
        ensure!(now - before >= more, "{} have come", now - before);
        Ok(())
    })
    .unwrap();
}

#[test]
fn an_upgrade_in_the_middle_of_queries_loses_none() {
    let mut lab = lab();
    let domain = "/example.org/192.0.2.1";
    let _resolver =
        upstream::resolver(&lab.hypervisor, &UPSTREAMS, domain, "", lab.directory()).unwrap();
    let guest = one_guest(&lab, &json!({"forward": {"dns": UPSTREAMS}}));
    super::names::until_known(&guest, "tenant-a");
    let progress = Progress::default();
    let servers = ["169.254.169.253:53", "[fd00:ec2::253]:53"].map(|it| it.parse().unwrap());
    std::thread::scope(|scope| {
        let (guest, progress) = (&guest, &progress);
        let asking: Vec<_> = servers
            .into_iter()
            .flat_map(|server| [(server, false), (server, true)])
            .map(|(server, is_stream)| {
                scope.spawn(move || ask_on(guest, server, is_stream, progress))
            })
            .collect();
        for _ in 0..6 {
            until_answered(progress, 100);
            let next = lab.place.start().unwrap();
            let mut old = lab.server.replace(next).unwrap();
            let ended = old.process.wait(SOON).unwrap();
            assert!(ended.success(), "the old server ended with {ended}");
        }
        until_answered(progress, 100);
        progress.is_over.store(true, Ordering::Relaxed);
        for asking in asking {
            let lost = asking.join().unwrap();
            assert!(lost.is_empty(), "{} lost, such as {:?}", lost.len(), lost.first());
        }
    });
}
