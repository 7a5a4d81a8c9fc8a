//! The namespace, the services in it, clients with identities, and upstreams outside.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use mezame_ebpf_loader::{Identity, PortSlot};
use mezame_model::{Network, Snapshot};
use nix::{
    sched::{CloneFlags, setns},
    sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket},
};

use super::super::{LinkLocal, LinkLocalSockets};
use crate::{
    cache::Cache,
    clock::unix_time,
    fixture,
    identity::{Attachment, Identities, Record, Standing},
    ledger::{outbox::Outbox, seal::LedgerKey},
    listener::Serving,
    metrics::Metrics,
    netns,
    settings::{Limits, LinkLocalLimits},
    site::SiteKeys,
};

/// No test waits longer than this for what must come.
pub(super) const SOON: Duration = Duration::from_secs(20);

/// How long a test waits for what must not come.
const QUIET: Duration = Duration::from_millis(300);

/// Where DNS is, on its own port. Who connects to it from no address in particular has this very
/// address (a local one is its own source), which is an identity of the port in slot 1.
pub(super) const RESOLVER: Ipv4Addr = Ipv4Addr::new(32, 0, 0, 31);

/// Where the services are in the namespace.
#[derive(Debug, Clone, Copy)]
pub(super) struct Addresses {
    pub(super) dns: SocketAddr,
    pub(super) dns_stream: SocketAddr,
    pub(super) ntp: SocketAddr,
    pub(super) kms: SocketAddr,
    pub(super) tang: SocketAddr,
}

/// The services with attachments, in a namespace of their own.
pub(super) struct Arena {
    namespace: std::fs::File,
    pub(super) serving: Arc<Serving>,
    link_local: Option<LinkLocal>,
    pub(super) at: Addresses,
    /// The socket of DNS, as a successor would have it.
    handed_over: UdpSocket,
    _state: tempfile::TempDir,
}

impl Arena {
    /// Limits that no honest test touches.
    pub(super) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(super) fn with(limit: impl FnOnce(&mut LinkLocalLimits)) -> Self {
        let (namespace, sockets) = std::thread::spawn(make_namespace).join().unwrap();
        let at = Addresses {
            dns: sockets.dns[0].local_addr().unwrap(),
            dns_stream: sockets.dns_streams[0].local_addr().unwrap(),
            ntp: sockets.ntp[0].local_addr().unwrap(),
            kms: sockets.kms[0].local_addr().unwrap(),
            tang: sockets.tang[0].local_addr().unwrap(),
        };
        let handed_over = sockets.dns[0].try_clone().unwrap();
        let state = tempfile::tempdir().unwrap();
        let key = Arc::new(LedgerKey::open(&state.path().join("key")).unwrap());
        let (outbox, _) = Outbox::open(state.path(), key, 1).unwrap();
        let (identities, metrics) = (Arc::new(Identities::default()), Arc::new(Metrics::default()));
        let mut limits = Limits::default();
        limit(&mut limits.link_local);
        let serving = Arc::new(Serving::new(identities, limits, metrics, Arc::new(outbox)));
        let link_local = LinkLocal::start(&serving, sockets).unwrap();
        Self { namespace, serving, link_local: Some(link_local), at, handed_over, _state: state }
    }

    /// Attaches the port of this number to the slot of the same number, with its record, whose
    /// networks are changed so.
    pub(super) fn serve(&self, number: u32, network: impl Fn(&mut Network)) -> Arc<Attachment> {
        let (port, instance) =
            (fixture::port_id(number as usize), fixture::instance_id(number as usize));
        let device = fixture::device(number as usize);
        let slot = PortSlot::new(number).unwrap();
        let attachment =
            Arc::new(Attachment::new(slot, port, Some(instance.clone()), device, number));
        let mut snapshot = fixture::snapshot(1, [number as usize]);
        for one in &mut snapshot.networks {
            let one = Arc::make_mut(one);
            one.dns.clear();
            network(one);
        }
        let snapshot = Arc::new(snapshot);
        let mut cache = Cache::empty();
        cache.swap(Arc::clone(&snapshot));
        attachment.serve(Standing::Serving(Arc::new(Record {
            guest: cache.guest(&attachment.port, &instance).unwrap(),
            keys: Arc::new(SiteKeys::new(&snapshot.site).unwrap()),
            acknowledged: self.serving.outbox.spent(&instance),
            generation: snapshot.generation,
            modified: unix_time(),
        })));
        self.publish(&snapshot);
        self.serving.identities.insert(Arc::clone(&attachment));
        attachment
    }

    /// Says that this snapshot is the newest.
    pub(super) fn publish(&self, snapshot: &Arc<Snapshot>) {
        self.serving.directory.publish(snapshot);
    }

    /// Runs this in a thread that is in the namespace.
    pub(super) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            setns(self.namespace.as_fd(), CloneFlags::CLONE_NEWNET).unwrap();
            work()
        };
        std::thread::scope(|scope| scope.spawn(inside).join().unwrap())
    }

    /// A socket that is connected to a service, as the port of this slot.
    pub(super) fn datagrams(&self, number: u32, to: SocketAddr) -> UdpSocket {
        self.datagrams_from(identity(number), to)
    }

    pub(super) fn datagrams_from(&self, from: Ipv4Addr, to: SocketAddr) -> UdpSocket {
        let socket = UdpSocket::from(self.connected(SockType::Datagram, from, to).unwrap());
        socket.set_read_timeout(Some(SOON)).unwrap();
        socket
    }

    /// A connection to a service, as the port of this slot.
    pub(super) fn stream(&self, number: u32, to: SocketAddr) -> TcpStream {
        let fd = self.connected(SockType::Stream, identity(number), to).unwrap();
        let stream = TcpStream::from(fd);
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// Whether a connection of this slot's port is reset without a byte, at once or after a moment.
    pub(super) fn is_refused(&self, number: u32, to: SocketAddr) -> bool {
        match self.connected(SockType::Stream, identity(number), to) {
            Ok(fd) => {
                let mut stream = TcpStream::from(fd);
                stream.set_read_timeout(Some(SOON)).unwrap();
                is_reset(&mut stream)
            }
            Err(error) => error == nix::errno::Errno::ECONNRESET,
        }
    }

    fn connected(&self, kind: SockType, from: Ipv4Addr, to: SocketAddr) -> nix::Result<OwnedFd> {
        let SocketAddr::V4(to) = to else { unreachable!() };
        self.inside(|| {
            let fd = socket(AddressFamily::Inet, kind, SockFlag::SOCK_CLOEXEC, None)?;
            bind(fd.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(from, 0)))?;
            connect(fd.as_raw_fd(), &SockaddrIn::from(to))?;
            Ok(fd)
        })
    }

    /// How often this has become of something.
    pub(super) fn counted(&self, service: &str, outcome: &str) -> u64 {
        self.value(&format!(
            "mezame_link_local_total{{service=\"{service}\",outcome=\"{outcome}\"}}"
        ))
    }

    /// Waits until this has become of something so often, which may be a moment after the reply.
    pub(super) fn becomes(&self, service: &str, outcome: &str, count: u64) {
        until(&format!("{service} {outcome} {count} times"), || {
            self.counted(service, outcome) == count
        });
    }

    /// A metric's value; 0 where there is none yet.
    pub(super) fn value(&self, series: &str) -> u64 {
        let text = self.serving.metrics.text().unwrap();
        text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok()).unwrap_or(0)
    }

    /// Whether a datagram lies in the socket of DNS.
    pub(super) fn is_left_to_a_successor(&self) -> bool {
        self.handed_over.recv(&mut [0; 1]).is_ok()
    }

    /// Drains; says how much was cut off.
    pub(super) fn drain(&mut self, patience: Duration) -> u32 {
        let link_local = self.link_local.take().unwrap();
        std::thread::spawn(move || run(link_local.drain(patience))).join().unwrap()
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        if self.link_local.is_some() {
            self.drain(Duration::ZERO);
        }
    }
}

fn identity(number: u32) -> Ipv4Addr {
    Identity::new(PortSlot::new(number).unwrap(), 0).address()
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn make_namespace() -> (std::fs::File, LinkLocalSockets) {
    netns::enter_with_identities();
    let (any, resolver) = ("127.0.0.1:0", (RESOLVER, 53));
    let sockets = LinkLocalSockets {
        dns: vec![UdpSocket::bind(resolver).unwrap()],
        dns_streams: vec![TcpListener::bind(resolver).unwrap()],
        ntp: vec![UdpSocket::bind(any).unwrap()],
        kms: vec![TcpListener::bind(any).unwrap()],
        tang: vec![TcpListener::bind(any).unwrap()],
        ..LinkLocalSockets::default()
    };
    (std::fs::File::open("/proc/thread-self/ns/net").unwrap(), sockets)
}

/// Waits until it is so.
pub(super) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !is_so() {
        assert!(Instant::now() < deadline, "still not: {what}");
        std::thread::yield_now();
    }
}

/// The next datagram.
pub(super) fn received(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 4096];
    let length = socket.recv(&mut buffer).unwrap();
    buffer.truncate(length);
    buffer
}

/// Whether nothing comes for a while.
pub(super) fn is_quiet(socket: &UdpSocket) -> bool {
    socket.set_read_timeout(Some(QUIET)).unwrap();
    let got = socket.recv(&mut [0; 1]);
    socket.set_read_timeout(Some(SOON)).unwrap();
    got.is_err()
}

/// Waits for the end of a connection; true if it is a reset.
pub(super) fn is_reset(stream: &mut TcpStream) -> bool {
    loop {
        match stream.read(&mut [0; 64]) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return true,
            Err(error) => panic!("neither ended nor reset: {error}"),
        }
    }
}

/// An upstream over UDP: shows the test what it was sent, and sends what the test says.
pub(super) struct Upstream {
    pub(super) address: SocketAddr,
    asked: mpsc::Receiver<Vec<u8>>,
    is_over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Upstream {
    /// Sends these datagrams for each that it gets.
    pub(super) fn new(answers: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> Self {
        Self::at("127.0.0.1:0", answers)
    }

    /// At an address.
    pub(super) fn at(
        address: &str,
        answers: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static,
    ) -> Self {
        let socket = UdpSocket::bind(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let address = socket.local_addr().unwrap();
        let (sender, asked) = mpsc::channel();
        let is_over = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&is_over);
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            while !stop.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
                // The test may look at some of them only.
                let _ = sender.send(buffer[..length].to_vec());
                for answer in answers(&buffer[..length]) {
                    socket.send_to(&answer, from).unwrap();
                }
            }
        });
        Self { address, asked, is_over, thread: Some(thread) }
    }

    /// Never answers.
    pub(super) fn silent() -> Self {
        Self::new(|_| Vec::new())
    }

    /// The next datagram that it gets.
    pub(super) fn next(&self) -> Vec<u8> {
        self.asked.recv_timeout(SOON).unwrap()
    }

    /// How many came that the test has not looked at.
    pub(super) fn others(&self) -> usize {
        self.asked.try_iter().count()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = self.thread.take().unwrap().join();
    }
}

/// An address at which nobody listens.
pub(super) fn nobody() -> SocketAddr {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A DNS query with this number.
pub(super) fn query(id: u16, name: &str, rtype: u16) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend(rtype.to_be_bytes());
    bytes.extend([0, 1]);
    bytes
}

pub(super) const A: u16 = 1;

/// The answer to a query: a code, and the address 192.0.2.1 where that is 0.
pub(super) fn answer(query: &[u8], code: u8) -> Vec<u8> {
    let mut bytes = query.to_vec();
    bytes[2] |= 0x80;
    bytes[3] = 0x80 | code;
    if code == 0 {
        bytes[7] = 1;
        bytes.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1]);
    }
    bytes
}

/// The response code of a reply.
pub(super) fn code(reply: &[u8]) -> u8 {
    assert!(reply[2] & 0x80 != 0, "a reply");
    reply[3] & 0xf
}

/// A message with its length before it.
pub(super) fn framed(message: &[u8]) -> Vec<u8> {
    let mut framed = u16::try_from(message.len()).unwrap().to_be_bytes().to_vec();
    framed.extend(message);
    framed
}

/// Sends a message over TCP.
pub(super) fn send(stream: &mut TcpStream, message: &[u8]) {
    stream.write_all(&framed(message)).unwrap();
}

/// Receives a message over TCP.
pub(super) fn receive(stream: &mut TcpStream) -> Vec<u8> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut message = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut message).unwrap();
    message
}
