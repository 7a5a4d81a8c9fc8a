//! A small HTTP/1.1 client (RFC 9112) for one server at one address.
//!
//! Own code over the crate httparse, because the sockets must be bound to a device and the whole
//! exchange to a deadline, which the small clients don't offer, and the ones that do bring an
//! executor. Keeps one connection; never follows a redirect; never reads more than
//! [`MAX_HEAD`] and [`MAX_BODY`].

mod answer;

use std::{
    io::{self, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use socket2::{Domain, Protocol, Socket, Type};

pub use self::answer::parse_head;
use self::answer::{Reader, left};

/// The longest head of a response, in bytes.
pub const MAX_HEAD: usize = 16 * 1024;
/// The longest body, in bytes: user-data and vendor-data in base64, and room.
pub const MAX_BODY: usize = 8 << 20;

/// Why an exchange failed.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No connection could be made.
    #[error("no connection")]
    Connect(#[source] io::Error),
    /// The connection broke, or the time was over.
    #[error("the connection broke or the time was over")]
    Exchange(#[source] io::Error),
    /// What came is no HTTP response.
    #[error("the answer is no HTTP/1.1 response")]
    Malformed,
    /// What came is longer than the bounds.
    #[error("the answer is too long")]
    TooLong,
}

/// The head of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Such as 200.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
}

impl Head {
    /// The first header of a name, which must be in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// A response.
#[derive(Clone)]
pub struct Response {
    /// Status and headers.
    pub head: Head,
    /// May hold a secret: not shown by Debug.
    pub body: Vec<u8>,
}

impl std::fmt::Debug for Response {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Response({}, {} bytes)", self.head.status, self.body.len())
    }
}

/// One request. Its headers may hold a token and its body what a user is told: neither is shown by
/// Debug.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Such as `GET`.
    pub method: &'a str,
    /// Path and query.
    pub target: &'a str,
    /// Besides Host and Content-Length.
    pub headers: &'a [(&'a str, &'a str)],
    /// Sent with its length, for POST and PUT.
    pub body: Option<&'a [u8]>,
    /// For the whole exchange.
    pub timeout: Duration,
}

impl std::fmt::Debug for Request<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let length = self.body.map_or(0, <[u8]>::len);
        write!(out, "Request({} {}, {length} bytes)", self.method, self.target)
    }
}

/// A client of one server.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    device: Option<String>,
    stream: Option<TcpStream>,
    /// For making a connection.
    pub connect_timeout: Duration,
    /// When the first connection was begun.
    pub first_packet: Option<Instant>,
    /// When the first response was whole.
    pub first_reply: Option<Instant>,
}

impl Client {
    /// A client that has not connected yet; with a device, its sockets are bound to that.
    pub fn new(address: SocketAddr, device: Option<String>) -> Self {
        Self {
            address,
            device,
            stream: None,
            connect_timeout: Duration::from_secs(3),
            first_packet: None,
            first_reply: None,
        }
    }

    /// Another client of the same server, through the same device.
    pub fn beside(&self) -> Self {
        Self {
            connect_timeout: self.connect_timeout,
            ..Self::new(self.address, self.device.clone())
        }
    }

    /// Whether both ask the same server through the same device.
    pub fn is_beside(&self, other: &Self) -> bool {
        (self.address, &self.device) == (other.address, &other.device)
    }

    /// Forgets the connection: the address that it was made from may be gone.
    pub fn disconnect(&mut self) {
        self.stream = None;
    }

    /// Goes to the same address through another device from now on.
    pub fn move_to(&mut self, device: &str, index: u32) {
        self.disconnect();
        self.device = Some(device.to_owned());
        if let SocketAddr::V6(address) = &mut self.address
            && address.scope_id() != 0
        {
            address.set_scope_id(index);
        }
    }

    /// Makes one exchange. A kept connection that the server has closed meanwhile is made anew,
    /// once; that is safe since the server had not answered on it.
    pub fn exchange(&mut self, request: &Request<'_>) -> Result<Response, HttpError> {
        let deadline = Instant::now() + request.timeout;
        let reused = self.stream.is_some();
        match self.attempt(request, deadline) {
            Err(HttpError::Exchange(error)) if reused && is_closed(&error) => {
                self.stream = None;
                self.attempt(request, deadline)
            }
            other => other,
        }
        .inspect(|_| {
            self.first_reply.get_or_insert_with(Instant::now);
        })
        .inspect_err(|_| self.stream = None)
    }

    fn attempt(&mut self, request: &Request<'_>, deadline: Instant) -> Result<Response, HttpError> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.connect()?,
        };
        let mut bytes = format!("{} {} HTTP/1.1\r\n", request.method, request.target);
        bytes.push_str(&format!("Host: {}\r\n", host(self.address)));
        bytes.push_str(concat!("User-Agent: mezame-guest-agent/", env!("CARGO_PKG_VERSION")));
        bytes.push_str("\r\n");
        for (name, value) in request.headers {
            bytes.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = request.body {
            bytes.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        bytes.push_str("\r\n");
        let mut bytes = bytes.into_bytes();
        bytes.extend_from_slice(request.body.unwrap_or_default());
        stream.set_write_timeout(Some(left(deadline)?)).map_err(HttpError::Exchange)?;
        stream.write_all(&bytes).map_err(HttpError::Exchange)?;
        let mut reader = Reader::new(&mut stream, deadline);
        let head = reader.head()?;
        let (body, reusable) = reader.body(&head)?;
        let clean = reader.is_clean();
        let closes = head.header("connection").is_some_and(|it| it.eq_ignore_ascii_case("close"));
        if reusable && clean && !closes {
            self.stream = Some(stream);
        }
        Ok(Response { head, body })
    }

    fn connect(&mut self) -> Result<TcpStream, HttpError> {
        let domain = Domain::for_address(self.address);
        let socket =
            Socket::new(domain, Type::STREAM, Some(Protocol::TCP)).map_err(HttpError::Connect)?;
        if let Some(device) = &self.device {
            crate::platform::bind_to_device(&socket, device, self.address.is_ipv4())
                .map_err(HttpError::Connect)?;
        }
        self.first_packet.get_or_insert_with(Instant::now);
        socket
            .connect_timeout(&self.address.into(), self.connect_timeout)
            .map_err(HttpError::Connect)?;
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true).map_err(HttpError::Connect)?;
        Ok(stream)
    }
}

/// The value of Host (RFC 9110, section 7.2): an IPv6 address in brackets, and without its zone,
/// which means nothing to anybody else (RFC 6874, section 4).
fn host(address: SocketAddr) -> String {
    let host = match address.ip() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    };
    match address.port() {
        80 => host,
        port => format!("{host}:{port}"),
    }
}

fn is_closed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionAborted
    )
}

#[cfg(test)]
mod tests;
