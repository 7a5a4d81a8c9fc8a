//! A network between the store and its server that loses and changes things, drawn from a seed.
//!
//! It is a proxy on loopback: each request is read whole, gets a fate, and goes to the server on a
//! connection of its own.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

/// What is wrong with it.
#[derive(Clone, Copy)]
enum Fault {
    /// One request in six is lost, in one of five ways.
    Losses,
    /// Refusals for a condition become successes.
    NoConditions,
    /// The first so many requests with a body have a byte of it changed.
    ChangedRequests(u64),
    /// Nothing: it only sees what passes.
    None,
}

struct State {
    server: u16,
    fault: Fault,
    random: AtomicU64,
    is_stopped: AtomicBool,
    lost: [AtomicU64; 5],
    /// Requests' first words and paths.
    seen: Mutex<Vec<String>>,
}

/// The network; gone when it is dropped.
pub(super) struct Network {
    port: u16,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

impl Network {
    pub(super) fn losing(server: u16, seed: u64) -> Self {
        Self::start(server, Fault::Losses, seed)
    }

    pub(super) fn without_conditions(server: u16) -> Self {
        Self::start(server, Fault::NoConditions, 0)
    }

    pub(super) fn changing_requests(server: u16, count: u64) -> Self {
        Self::start(server, Fault::ChangedRequests(count), 0)
    }

    pub(super) fn watching(server: u16) -> Self {
        Self::start(server, Fault::None, 0)
    }

    fn start(server: u16, fault: Fault, seed: u64) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            server,
            fault,
            random: AtomicU64::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            is_stopped: AtomicBool::new(false),
            lost: Default::default(),
            seen: Mutex::default(),
        });
        let seen = state.clone();
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if seen.is_stopped.load(Ordering::SeqCst) {
                    return;
                }
                let (seen, stream) = (seen.clone(), stream.unwrap());
                // A client or server that goes is part of the game.
                std::thread::spawn(move || _ = seen.pass(stream));
            }
        });
        Self { port, state, thread: Some(thread) }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// What has passed since the last time: of each request the method and the path.
    pub(super) fn seen(&self) -> Vec<String> {
        std::mem::take(&mut self.state.seen.lock().unwrap())
    }

    /// How many requests were lost, for each way.
    pub(super) fn lost(&self) -> [u64; 5] {
        std::array::from_fn(|way| self.state.lost[way].load(Ordering::SeqCst))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.state.is_stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl State {
    fn draw(&self, below: u64) -> u64 {
        let step = self.random.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::SeqCst);
        let mixed = (step ^ (step >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 33) % below
    }

    /// One request: the connection is closed after it.
    fn pass(&self, mut client: TcpStream) -> io::Result<()> {
        client.set_read_timeout(Some(Duration::from_secs(60)))?;
        let (head, mut body) = request(&mut client)?;
        let line = head.split('?').next().unwrap_or_default().to_owned();
        self.seen.lock().unwrap().push(line);
        match self.fault {
            Fault::Losses if self.draw(6) == 0 => {
                // A record that never arrived is not sent again: that is another test's matter.
                let is_record = head.starts_with("PUT") && head.contains("/images/");
                let way = (self.draw(5) as usize).max(usize::from(is_record));
                self.lost[way].fetch_add(1, Ordering::SeqCst);
                return self.lose(way, client, &head, &body);
            }
            Fault::ChangedRequests(count)
                if !body.is_empty() && self.lost[0].load(Ordering::SeqCst) < count =>
            {
                self.lost[0].fetch_add(1, Ordering::SeqCst);
                let middle = body.len() / 2;
                body[middle] ^= 0x10;
            }
            _ => {}
        }
        let mut answer = self.forward(&head, &body)?;
        if matches!(self.fault, Fault::NoConditions) && answer.starts_with(b"HTTP/1.1 412") {
            answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec();
        }
        client.write_all(&answer)?;
        client.shutdown(Shutdown::Write)
    }

    fn lose(&self, way: usize, mut client: TcpStream, head: &str, body: &[u8]) -> io::Result<()> {
        match way {
            // Nothing of it arrives.
            0 => Ok(()),
            1 => refuse(&mut client, "503 Slow Down", "SlowDown"),
            // It is done, and nobody says so.
            2 => self.forward(head, body).map(|_| ()),
            3 => {
                self.forward(head, body)?;
                refuse(&mut client, "500 Internal Server Error", "InternalError")
            }
            // Half of the answer comes.
            _ => {
                let answer = self.forward(head, body)?;
                client.write_all(&answer[..answer.len() / 2])?;
                client.shutdown(Shutdown::Write)
            }
        }
    }

    fn forward(&self, head: &str, body: &[u8]) -> io::Result<Vec<u8>> {
        let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, self.server))?;
        server.set_read_timeout(Some(Duration::from_secs(60)))?;
        server.write_all(head.trim_end_matches("\r\n").as_bytes())?;
        server.write_all(b"\r\nConnection: close\r\n\r\n")?;
        server.write_all(body)?;
        let mut answer = Vec::new();
        server.read_to_end(&mut answer)?;
        Ok(answer)
    }
}

fn refuse(client: &mut TcpStream, status: &str, code: &str) -> io::Result<()> {
    let body = format!("<Error><Code>{code}</Code><Message>of the network</Message></Error>");
    let length = body.len();
    write!(client, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")?;
    client.write_all(body.as_bytes())?;
    client.shutdown(Shutdown::Write)
}

/// A request's head, with the empty line, and its body.
pub(super) fn request(from: &mut impl Read) -> io::Result<(String, Vec<u8>)> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        from.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).map_err(io::Error::other)?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    from.read_exact(&mut body)?;
    Ok((head, body))
}
