//! The namespace, the server in it, and clients with identities.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream},
    os::fd::{AsFd, AsRawFd},
    sync::Arc,
    time::{Duration, Instant},
};

use mezame_ebpf_loader::{Identity, Identity6, PortSlot};
use mezame_protocol::Gate;
use nix::{
    sched::{CloneFlags, setns},
    sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, socket},
};

use super::super::{Idle, Serving, Workers, reap};
use crate::{
    cache::Cache,
    clock::unix_time,
    fixture,
    identity::{Attachment, Identities, Record, Standing},
    ledger::{outbox::Outbox, seal::LedgerKey},
    metrics::Metrics,
    netns,
    settings::Limits,
    site::SiteKeys,
};

/// No test waits longer than this for what must come.
pub(super) const SOON: Duration = Duration::from_secs(20);

/// A server with attachments, in a namespace of its own.
pub(super) struct Arena {
    namespace: std::fs::File,
    pub(super) serving: Arc<Serving>,
    workers: Option<Workers>,
    address: SocketAddr,
    address6: SocketAddr,
    password: SocketAddr,
    _state: tempfile::TempDir,
}

impl Arena {
    /// Limits that no honest test touches.
    pub(super) fn new() -> Self {
        Self::with(Limits::default())
    }

    pub(super) fn with(limits: Limits) -> Self {
        let (namespace, listeners) = std::thread::spawn(make_namespace).join().unwrap();
        let [address, address6, password] =
            listeners.each_ref().map(|(_, one)| one.local_addr().unwrap());
        let state = tempfile::tempdir().unwrap();
        let key = Arc::new(LedgerKey::open(&state.path().join("key")).unwrap());
        let ceiling = limits.events_per_port as usize;
        let (outbox, _) = Outbox::open(state.path(), key, ceiling).unwrap();
        let (identities, metrics) = (Arc::new(Identities::default()), Arc::new(Metrics::default()));
        let serving = Arc::new(Serving::new(identities, limits, metrics, Arc::new(outbox)));
        let workers = Workers::start(&serving, &listeners, 2).unwrap();
        let reaped = Arc::clone(&serving);
        std::thread::spawn(move || run(reap(reaped)));
        let workers = Some(workers);
        Self { namespace, serving, workers, address, address6, password, _state: state }
    }

    /// Attaches the port of this number to the slot of the same number; its record has not come.
    pub(super) fn attach(&self, number: u32) -> Arc<Attachment> {
        let attachment = Arc::new(Attachment::new(
            slot(number),
            fixture::port_id(number as usize),
            Some(fixture::instance_id(number as usize)),
            fixture::device(number as usize),
            number,
        ));
        self.serving.identities.insert(Arc::clone(&attachment));
        attachment
    }

    /// Attaches it, and lets its record come.
    pub(super) fn serve(&self, number: u32) -> Arc<Attachment> {
        let attachment = self.attach(number);
        self.record(&attachment, |_| {});
        attachment
    }

    /// Lets a record come, with a change.
    pub(super) fn record(
        &self,
        attachment: &Attachment,
        change: impl FnOnce(&mut mezame_model::Instance),
    ) {
        let number = attachment.slot.number() as usize;
        let mut snapshot = fixture::snapshot(1, [number]);
        change(Arc::make_mut(&mut snapshot.instances[0]));
        let keys = Arc::new(SiteKeys::new(&snapshot.site).unwrap());
        let generation = snapshot.generation;
        let mut cache = Cache::empty();
        cache.swap(Arc::new(snapshot));
        let instance = fixture::instance_id(number);
        attachment.serve(Standing::Serving(Arc::new(Record {
            guest: cache.guest(&attachment.port, &instance).unwrap(),
            keys,
            acknowledged: self.serving.outbox.spent(&instance),
            generation,
            modified: unix_time(),
        })));
    }

    /// Connects as the port of this slot.
    pub(super) fn connect(&self, number: u32) -> std::io::Result<Client> {
        self.connect_from(Identity::new(slot(number), 0).address().into())
    }

    /// The same over IPv6.
    pub(super) fn connect6(&self, number: u32) -> std::io::Result<Client> {
        self.connect_from(Identity6::new(slot(number), Identity6::LINK_LOCAL, 7).address().into())
    }

    /// Connects as the port of this slot to where passwords are handed out.
    pub(super) fn connect_for_password(&self, number: u32) -> std::io::Result<Client> {
        self.connect_to(self.password, Identity::new(slot(number), 0).address().into())
    }

    /// Connects from any address.
    pub(super) fn connect_from(&self, from: IpAddr) -> std::io::Result<Client> {
        let to = if from.is_ipv4() { self.address } else { self.address6 };
        self.connect_to(to, from)
    }

    fn connect_to(&self, to: SocketAddr, from: IpAddr) -> std::io::Result<Client> {
        let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let connecting = || -> std::io::Result<Client> {
            setns(self.namespace.as_fd(), CloneFlags::CLONE_NEWNET)?;
            let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
            bind(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(from, 0)))?;
            connect(fd.as_raw_fd(), &SockaddrStorage::from(to))?;
            let stream = TcpStream::from(fd);
            stream.set_read_timeout(Some(SOON))?;
            stream.set_nodelay(true)?;
            Ok(Client(BufReader::new(stream)))
        };
        std::thread::scope(|scope| scope.spawn(connecting).join().unwrap())
    }

    /// Looks at the packets that this client gets from now on.
    pub(super) fn sniff(&self, client: &Client) -> Sniffer {
        let open = || {
            setns(self.namespace.as_fd(), CloneFlags::CLONE_NEWNET).unwrap();
            let tcp = nix::sys::socket::SockProtocol::Tcp;
            socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, tcp).unwrap()
        };
        let fd = std::thread::scope(|scope| scope.spawn(open).join().unwrap());
        Sniffer { fd, to: client.0.get_ref().local_addr().unwrap().port() }
    }

    /// A counter's value; 0 if it was never counted.
    pub(super) fn counted(&self, series: &str) -> u64 {
        let text = self.serving.metrics.text().unwrap();
        text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok()).unwrap_or(0)
    }

    /// How many refusals were for this reason.
    pub(super) fn refused(&self, reason: &str) -> u64 {
        self.counted(&format!("mezame_refusals_total{{reason=\"{reason}\"}}"))
    }

    /// Drains; says how many connections were cut.
    pub(super) fn drain(&mut self, patience: Duration) -> u32 {
        let workers = self.workers.take().unwrap();
        std::thread::spawn(move || run(workers.drain(patience, Idle::Keep))).join().unwrap()
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        if self.workers.is_some() {
            self.drain(Duration::ZERO);
        }
    }
}

/// A raw socket, raw(7).
pub(super) struct Sniffer {
    fd: std::os::fd::OwnedFd,
    to: u16,
}

impl Sniffer {
    /// The TTL of the next packet to the client that has a payload.
    pub(super) fn next_ttl(&self) -> u8 {
        let mut packet = [0; 2048];
        loop {
            let fd = self.fd.as_raw_fd();
            let length =
                nix::sys::socket::recv(fd, &mut packet, nix::sys::socket::MsgFlags::empty());
            let ip = &packet[..length.unwrap()];
            let tcp = &ip[usize::from(ip[0] & 0xf) * 4..];
            let payload = &tcp[usize::from(tcp[12] >> 4) * 4..];
            if tcp[2..4] == self.to.to_be_bytes() && !payload.is_empty() {
                return ip[8];
            }
        }
    }
}

/// Waits until it is so.
pub(super) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !is_so() {
        assert!(Instant::now() < deadline, "still not: {what}");
        std::thread::yield_now();
    }
}

pub(super) fn slot(number: u32) -> PortSlot {
    PortSlot::new(number).unwrap()
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn make_namespace() -> (std::fs::File, [(Gate, TcpListener); 3]) {
    netns::enter_with_identities();
    let listeners = [
        (Gate::Metadata, "127.0.0.1:0"),
        (Gate::Metadata, "[::1]:0"),
        (Gate::Password, "127.0.0.1:0"),
    ];
    let listeners = listeners.map(|(gate, address)| {
        let listener = TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        (gate, listener)
    });
    (std::fs::File::open("/proc/thread-self/ns/net").unwrap(), listeners)
}

/// A guest's connection, with no more of HTTP than a test needs.
pub(super) struct Client(pub(super) BufReader<TcpStream>);

/// What came back.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Reply {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

impl Client {
    pub(super) fn send(&mut self, bytes: &str) {
        self.0.get_mut().write_all(bytes.as_bytes()).unwrap();
    }

    /// Sends nothing more, and listens on.
    pub(super) fn shut(&mut self) {
        self.0.get_mut().shutdown(Shutdown::Write).unwrap();
    }

    pub(super) fn get(&mut self, path: &str) -> Reply {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n"));
        self.reply().unwrap()
    }

    pub(super) fn ask(&mut self, method: &str, path: &str, headers: &str) -> Reply {
        self.send(&format!(
            "{method} {path} HTTP/1.1\r\nHost: 169.254.169.254\r\n{headers}\
             Content-Length: 0\r\n\r\n"
        ));
        self.reply().unwrap()
    }

    /// Asks for the document when it differs from what it is now; no reply is awaited.
    pub(super) fn watch(&mut self) {
        let etag = self.get("/mezame/v1/document").header("etag").unwrap().replace('"', "");
        self.send(&format!(
            "GET /mezame/v1/document?watch={etag}&timeout=60 HTTP/1.1\r\n\
             Host: 169.254.169.254\r\n\r\n"
        ));
    }

    /// The next reply; an error where the connection ends instead.
    pub(super) fn reply(&mut self) -> std::io::Result<Reply> {
        let mut reply = self.head()?;
        let length = reply.header("content-length").map_or(0, |text| text.parse().unwrap());
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        reply.body = String::from_utf8(body).unwrap();
        Ok(reply)
    }

    /// The next reply to a HEAD, which has no body.
    pub(super) fn head(&mut self) -> std::io::Result<Reply> {
        let mut head = String::new();
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            if line == "\r\n" {
                break;
            }
            head.push_str(&line);
        }
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Ok(Reply { status, head, body: String::new() })
    }

    /// Waits for the server to end it; true if it did, by a close or a reset.
    pub(super) fn is_ended(&mut self) -> bool {
        match self.0.read(&mut [0; 1]) {
            Ok(0) => true,
            Ok(_) => false,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}
