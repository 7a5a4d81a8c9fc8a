//! A metadata service for tests: the agent's dialect over loopback, and what it was told.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Read, Write},
    net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use mezame_model::{Document, Report, report::SealedPassword};

/// What the service knows and was told.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) document: Option<Document>,
    pub(crate) version: u64,
    pub(crate) reports: Vec<Report>,
    pub(crate) passwords: Vec<SealedPassword>,
    pub(crate) acknowledged: BTreeSet<String>,
    pub(crate) tokens: u64,
    pub(crate) peers: Vec<IpAddr>,
    /// The values of Host.
    pub(crate) hosts: BTreeSet<String>,
    /// So many requests are answered 503 first.
    pub(crate) busy: u32,
    /// Reports are answered 503.
    pub(crate) no_reports: bool,
    /// Secrets are answered 503.
    pub(crate) no_secrets: bool,
    /// The versions that watches named.
    pub(crate) watched: BTreeSet<u64>,
    /// The token that this service hands out; another's is answered 401.
    token: String,
    /// Whether it is ending, and the connections that are to end with it.
    ending: bool,
    streams: Vec<TcpStream>,
    /// The endpoint is off.
    pub(crate) off: bool,
}

pub(crate) struct Service {
    address: SocketAddr,
    accepting: Option<JoinHandle<()>>,
    shared: Arc<(Mutex<Told>, Condvar)>,
}

impl Service {
    pub(crate) fn start(document: Document) -> Self {
        Self::on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(), document)
    }

    pub(crate) fn on(listener: TcpListener, document: Document) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(1);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let told = Told {
            document: Some(document),
            // Another process knows nothing of the versions and tokens of the one before.
            version: number << 32,
            token: format!("token-{}-{number}", std::process::id()),
            ..Told::default()
        };
        let shared = Arc::new((Mutex::new(told), Condvar::new()));
        let address = listener.local_addr().unwrap();
        let for_thread = Arc::clone(&shared);
        let accepting = std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut told = for_thread.0.lock().unwrap();
                if told.ending {
                    return;
                }
                told.streams.push(stream.try_clone().unwrap());
                let shared = Arc::clone(&for_thread);
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Self { address, accepting: Some(accepting), shared }
    }

    /// Goes away as a killed process does: its listener and its connections are closed when this
    /// returns. Gives the address, for the next one.
    pub(crate) fn end(mut self) -> SocketAddr {
        self.shared.0.lock().unwrap().ending = true;
        // Wakes the one that accepts.
        drop(TcpStream::connect(self.address));
        self.accepting.take().unwrap().join().unwrap();
        for stream in &self.shared.0.lock().unwrap().streams {
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Told) -> T) -> T {
        let mut told = self.shared.0.lock().unwrap();
        let result = change(&mut told);
        told.version += 1;
        self.shared.1.notify_all();
        result
    }

    /// A change that leaves the document, and so its version, alone.
    pub(crate) fn set(&self, change: impl FnOnce(&mut Told)) {
        change(&mut self.shared.0.lock().unwrap());
    }

    pub(crate) fn look<T>(&self, look: impl FnOnce(&Told) -> T) -> T {
        look(&self.shared.0.lock().unwrap())
    }

    /// Waits until it is so; a minute without it is a failure.
    pub(crate) fn until(&self, what: &str, so: impl Fn(&Told) -> bool) {
        let guard = self.shared.0.lock().unwrap();
        let wait = Duration::from_secs(60);
        let (_guard, result) =
            self.shared.1.wait_timeout_while(guard, wait, |told| !so(told)).unwrap();
        assert!(!result.timed_out(), "never came: {what}");
    }
}

struct Asked {
    method: String,
    target: String,
    host: String,
    token: Option<String>,
    if_match: Option<String>,
    body: Vec<u8>,
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Asked> {
    let mut line = String::new();
    if reader.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let mut words = line.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (mut host, mut token, mut if_match, mut length) = (String::new(), None, None, 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let Some((name, value)) = line.trim().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "x-aws-ec2-metadata-token" => token = Some(value.to_owned()),
            "host" => host = value.to_owned(),
            "if-match" => if_match = Some(value.to_owned()),
            "content-length" => length = value.parse().ok()?,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Asked { method, target, host, token, if_match, body })
}

fn serve(stream: TcpStream, shared: &(Mutex<Told>, Condvar)) {
    if let Ok(peer) = stream.peer_addr() {
        shared.0.lock().unwrap().peers.push(peer.ip());
    }
    let mut writer = stream.try_clone().unwrap();
    let mut reader = BufReader::new(stream);
    while let Some(asked) = read(&mut reader) {
        let (status, headers, body) = answer(&asked, shared);
        let length = body.len();
        let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n{headers}\r\n");
        if writer.write_all(&[head.into_bytes(), body].concat()).is_err() {
            return;
        }
        shared.1.notify_all();
    }
}

/// Of each secret.
const TAG: &str = "\"0123456789abcdef\"";

type Answer = (u16, String, Vec<u8>);

fn answer(asked: &Asked, shared: &(Mutex<Told>, Condvar)) -> Answer {
    let plain = |status, body: &str| (status, String::new(), body.as_bytes().to_vec());
    let mut told = shared.0.lock().unwrap();
    told.hosts.insert(asked.host.clone());
    if told.off {
        return plain(403, "");
    }
    if told.busy > 0 {
        told.busy -= 1;
        return (503, "Retry-After: 0\r\n".into(), Vec::new());
    }
    if (asked.method.as_str(), asked.target.as_str()) == ("PUT", "/latest/api/token") {
        told.tokens += 1;
        return plain(200, &told.token);
    }
    if asked.token.as_deref() != Some(told.token.as_str()) {
        return plain(401, "");
    }
    match (asked.method.as_str(), asked.target.as_str()) {
        ("GET", target) if target.starts_with("/mezame/v1/document") => {
            if let Some(query) = target.split_once("watch=").map(|(_, query)| query) {
                let (known, wait) = query.split_once("&timeout=").unwrap();
                let known: u64 = u64::from_str_radix(known, 16).unwrap();
                let wait = Duration::from_secs(wait.parse().unwrap());
                told.watched.insert(known);
                shared.1.notify_all();
                told = shared.1.wait_timeout_while(told, wait, |t| t.version == known).unwrap().0;
                if told.version == known {
                    return plain(304, "");
                }
            }
            let headers = format!("ETag: \"{:016x}\"\r\n", told.version);
            (200, headers, serde_json::to_vec(told.document.as_ref().unwrap()).unwrap())
        }
        ("POST", "/mezame/v1/report") if told.no_reports => plain(503, ""),
        ("POST", "/mezame/v1/report") => {
            told.reports.push(serde_json::from_slice(&asked.body).unwrap());
            plain(204, "")
        }
        ("POST", "/mezame/v1/password") => {
            told.passwords.push(serde_json::from_slice(&asked.body).unwrap());
            plain(204, "")
        }
        ("GET", target) if told.no_secrets && target.starts_with("/mezame/v1/secrets/") => {
            plain(503, "")
        }
        ("GET", target) if target.starts_with("/mezame/v1/secrets/") => {
            let body = format!("value of {}", target.rsplit('/').next().unwrap());
            (200, format!("ETag: {TAG}\r\n"), body.into_bytes())
        }
        ("POST", target) if target.ends_with("/ack") => {
            if asked.if_match.as_deref() != Some(TAG) {
                return plain(412, "");
            }
            told.acknowledged.insert(target.split('/').nth(4).unwrap().to_owned());
            plain(204, "")
        }
        _ => plain(404, ""),
    }
}
