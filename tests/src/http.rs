//! A small HTTP/1.1 client that sends exactly what a test says.
//!
//! It is no model of a good client: no redirects, no retries, nothing added but `Host` and
//! `Content-Length`. Raw bytes can be sent for requests that no client would make.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

/// The header that asks for a token, or tells how long one lives.
pub const TOKEN_TTL: &str = "X-aws-ec2-metadata-token-ttl-seconds";
/// The header that carries a token.
pub const TOKEN: &str = "X-aws-ec2-metadata-token";

/// What the server answered.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Response {
    /// The value of a header, named in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("no JSON: {}", self.text()))
    }
}

/// How the server ended a connection.
#[derive(Debug)]
pub struct End {
    /// What it had sent until then.
    pub bytes: Vec<u8>,
    /// Whether it was cut off, and not closed.
    pub is_reset: bool,
}

/// A connection to the server, kept alive between requests.
#[derive(Debug)]
pub struct Connection<S = TcpStream> {
    stream: S,
    unread: Vec<u8>,
}

impl Connection<TcpStream> {
    /// Takes a stream. Reads and writes end after 30 seconds.
    pub fn new(stream: TcpStream) -> Result<Self> {
        stream.set_read_timeout(Some(Duration::from_secs(30))).context("setting a time limit")?;
        stream.set_write_timeout(Some(Duration::from_secs(30))).context("setting a time limit")?;
        stream.set_nodelay(true).context("TCP_NODELAY")?;
        Ok(Self { stream, unread: Vec::new() })
    }

    /// Changes how long a read may take.
    pub fn set_read_bound(&self, bound: Duration) -> Result<()> {
        self.stream.set_read_timeout(Some(bound)).context("setting a time limit")
    }

    /// Reads all that comes until the server ends the connection, by a close or by a reset. Says
    /// that nothing more will be sent once the answer has begun: a server may take it for the end
    /// if it comes before, and answer nothing.
    pub fn until_ended(&mut self) -> Result<End> {
        let mut bytes = [0; 16 << 10];
        let is_reset = loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => break false,
                Ok(length) => self.unread.extend_from_slice(&bytes[..length]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break true,
                Err(error) => return Err(error).context("receiving"),
            }
            // Refused only where the connection has ended already, which the next read tells.
            let _ = self.stream.shutdown(Shutdown::Write);
        };
        Ok(End { bytes: std::mem::take(&mut self.unread), is_reset })
    }
}

impl Connection<UnixStream> {
    /// Connects to a local socket.
    pub fn local(path: &Path) -> Result<Self> {
        let stream = UnixStream::connect(path)
            .with_context(|| format!("connecting to {}", path.display()))?;
        stream.set_read_timeout(Some(Duration::from_secs(30))).context("setting a time limit")?;
        Ok(Self { stream, unread: Vec::new() })
    }
}

impl<S: Read + Write> Connection<S> {
    /// A GET.
    pub fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> Result<Response> {
        self.send("GET", path, headers, b"")
    }

    /// A request with a body.
    pub fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Response> {
        self.write_request(method, path, headers, body)?;
        self.response(method == "HEAD")
    }

    /// Sends a request and doesn't wait for the answer.
    pub fn write_request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<()> {
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: 169.254.169.254\r\n");
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() || matches!(method, "PUT" | "POST") {
            text += &format!("Content-Length: {}\r\n", body.len());
        }
        text += "\r\n";
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(body);
        self.write_raw(&bytes)
    }

    /// Sends these bytes.
    pub fn write_raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).context("sending")
    }

    /// Reads one response. `bodiless` for the answer to HEAD.
    pub fn response(&mut self, bodiless: bool) -> Result<Response> {
        loop {
            let (head, response) = loop {
                if let Some(parsed) = parse_head(&self.unread)? {
                    break parsed;
                }
                ensure!(self.read_more()? > 0, "the connection was closed before an answer came");
            };
            self.unread.drain(..head);
            // An interim answer (RFC 9110, section 15.2) is followed by the true one.
            if response.status >= 200 {
                return self.body(response, bodiless);
            }
        }
    }

    /// The next line of a body that never ends, such as an event stream's.
    pub fn line(&mut self) -> Result<Option<String>> {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                return Ok(Some(String::from_utf8_lossy(&line).trim_end().to_owned()));
            }
            if self.read_more()? == 0 {
                return Ok(None);
            }
        }
    }

    /// Reads the head alone of an answer whose body never ends.
    pub fn head(&mut self) -> Result<Response> {
        loop {
            if let Some((head, response)) = parse_head(&self.unread)? {
                self.unread.drain(..head);
                return Ok(response);
            }
            ensure!(self.read_more()? > 0, "the connection was closed before an answer came");
        }
    }

    fn body(&mut self, mut response: Response, bodiless: bool) -> Result<Response> {
        if bodiless || matches!(response.status, 204 | 304) {
            return Ok(response);
        }
        if response.header("transfer-encoding").is_some_and(|value| value == "chunked") {
            loop {
                let size = self.line()?.context("the connection was closed in a chunk's head")?;
                let size = usize::from_str_radix(size.split(';').next().unwrap_or(""), 16)
                    .context("a chunk's size")?;
                let chunk = self.exactly(size + 2)?;
                if size == 0 {
                    return Ok(response);
                }
                response.body.extend_from_slice(&chunk[..size]);
            }
        }
        match response.header("content-length").map(str::parse::<usize>) {
            Some(Ok(length)) => response.body = self.exactly(length)?,
            Some(Err(_)) => bail!("Content-Length is no number"),
            None => response.body = self.rest()?,
        }
        Ok(response)
    }

    /// Reads on until the server closes the connection.
    fn rest(&mut self) -> Result<Vec<u8>> {
        while self.read_more()? > 0 {}
        Ok(std::mem::take(&mut self.unread))
    }

    fn exactly(&mut self, length: usize) -> Result<Vec<u8>> {
        while self.unread.len() < length {
            ensure!(self.read_more()? > 0, "the connection was closed within a body");
        }
        Ok(self.unread.drain(..length).collect())
    }

    fn read_more(&mut self) -> Result<usize> {
        let mut bytes = [0; 16 << 10];
        let length = self.stream.read(&mut bytes).context("receiving")?;
        self.unread.extend_from_slice(&bytes[..length]);
        Ok(length)
    }
}

/// The head's length and what it says, once it is whole.
fn parse_head(bytes: &[u8]) -> Result<Option<(usize, Response)>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = parsed.parse(bytes).context("reading an answer")?
    else {
        return Ok(None);
    };
    let status = parsed.code.context("an answer without a status")?;
    let headers = parsed
        .headers
        .iter()
        .map(|header| {
            let value = String::from_utf8_lossy(header.value).into_owned();
            (header.name.to_ascii_lowercase(), value)
        })
        .collect();
    Ok(Some((length, Response { status, headers, body: Vec::new() })))
}
