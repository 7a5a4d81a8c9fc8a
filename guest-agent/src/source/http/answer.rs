//! What a server answers, read from its connection: RFC 9112's framing, to one deadline and within
//! [`MAX_HEAD`] and [`MAX_BODY`]. Nothing that comes is believed, and nothing here sends.

use std::{
    io::{self, Read},
    net::TcpStream,
    time::{Duration, Instant},
};

use super::{Head, HttpError, MAX_BODY, MAX_HEAD};

const MAX_HEADERS: usize = 64;

/// Reads the head of a response: none while it is not whole, else it and its length.
pub fn parse_head(bytes: &[u8]) -> Result<Option<(Head, usize)>, HttpError> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    match response.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => {
            let status = response.code.ok_or(HttpError::Malformed)?;
            let headers = response
                .headers
                .iter()
                .map(|header| {
                    let value = String::from_utf8_lossy(header.value).trim().to_owned();
                    (header.name.to_ascii_lowercase(), value)
                })
                .collect();
            Ok(Some((Head { status, headers }, length)))
        }
        Ok(httparse::Status::Partial) if bytes.len() > MAX_HEAD => Err(HttpError::TooLong),
        Ok(httparse::Status::Partial) => Ok(None),
        Err(_) => Err(HttpError::Malformed),
    }
}

/// Reads one answer.
pub(super) struct Reader<'a> {
    stream: &'a mut TcpStream,
    buffer: Vec<u8>,
    deadline: Instant,
}

impl<'a> Reader<'a> {
    /// A reader that has read nothing yet.
    pub(super) fn new(stream: &'a mut TcpStream, deadline: Instant) -> Self {
        Self { stream, buffer: Vec::new(), deadline }
    }

    /// Whether nothing has come behind what was taken.
    pub(super) fn is_clean(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Reads more; false at the end of the stream.
    fn fill(&mut self) -> Result<bool, HttpError> {
        self.stream.set_read_timeout(Some(left(self.deadline)?)).map_err(HttpError::Exchange)?;
        let mut chunk = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(false),
                Ok(length) => {
                    self.buffer.extend_from_slice(&chunk[..length]);
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(HttpError::Exchange(error)),
            }
        }
    }

    fn need(&mut self) -> Result<(), HttpError> {
        if self.fill()? {
            return Ok(());
        }
        Err(HttpError::Exchange(io::ErrorKind::UnexpectedEof.into()))
    }

    /// The head of the answer itself.
    pub(super) fn head(&mut self) -> Result<Head, HttpError> {
        loop {
            match parse_head(&self.buffer)? {
                // Interim responses (RFC 9110, section 15.2).
                Some((head, length)) if head.status < 200 => {
                    self.buffer.drain(..length);
                }
                Some((head, length)) => {
                    self.buffer.drain(..length);
                    return Ok(head);
                }
                None => self.need()?,
            }
        }
    }

    /// The body, and whether the connection can be used again (RFC 9112, section 6.3).
    pub(super) fn body(&mut self, head: &Head) -> Result<(Vec<u8>, bool), HttpError> {
        if matches!(head.status, 204 | 304) {
            return Ok((Vec::new(), true));
        }
        let encoding = head.header("transfer-encoding");
        match (encoding, head.header("content-length")) {
            (Some(_), Some(_)) => Err(HttpError::Malformed),
            (Some(encoding), None) if encoding.eq_ignore_ascii_case("chunked") => {
                Ok((self.chunked()?, true))
            }
            (Some(_), None) => Err(HttpError::Malformed),
            (None, Some(length)) => {
                let digits = !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit());
                let length = length.parse::<usize>().ok().filter(|_| digits);
                let length = length.ok_or(HttpError::Malformed)?;
                Ok((self.take(length)?, true))
            }
            (None, None) => {
                while self.fill()? {
                    if self.buffer.len() > MAX_BODY {
                        return Err(HttpError::TooLong);
                    }
                }
                Ok((std::mem::take(&mut self.buffer), false))
            }
        }
    }

    fn take(&mut self, length: usize) -> Result<Vec<u8>, HttpError> {
        if length > MAX_BODY {
            return Err(HttpError::TooLong);
        }
        while self.buffer.len() < length {
            self.need()?;
        }
        let rest = self.buffer.split_off(length);
        Ok(std::mem::replace(&mut self.buffer, rest))
    }

    /// RFC 9112, section 7.1; trailers are read and dropped.
    fn chunked(&mut self) -> Result<Vec<u8>, HttpError> {
        let mut body = Vec::new();
        loop {
            let size = loop {
                match httparse::parse_chunk_size(&self.buffer) {
                    Ok(httparse::Status::Complete((at, size))) => {
                        self.buffer.drain(..at);
                        break size;
                    }
                    Ok(httparse::Status::Partial) if self.buffer.len() > MAX_HEAD => {
                        return Err(HttpError::TooLong);
                    }
                    Ok(httparse::Status::Partial) => self.need()?,
                    Err(_) => return Err(HttpError::Malformed),
                }
            };
            let size = usize::try_from(size).map_err(|_| HttpError::TooLong)?;
            if size > MAX_BODY - body.len() {
                return Err(HttpError::TooLong);
            }
            if size == 0 {
                return self.trailers().map(|()| body);
            }
            body.extend(self.take(size)?);
            if self.take(2)? != b"\r\n" {
                return Err(HttpError::Malformed);
            }
        }
    }

    fn trailers(&mut self) -> Result<(), HttpError> {
        let mut read = 0;
        loop {
            match self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                Some(at) => {
                    self.buffer.drain(..at + 2);
                    read += at + 2;
                    if at == 0 {
                        return Ok(());
                    }
                }
                None => self.need()?,
            }
            if read + self.buffer.len() > MAX_HEAD {
                return Err(HttpError::TooLong);
            }
        }
    }
}

/// How much time is left; an error, where it is none.
pub(super) fn left(deadline: Instant) -> Result<Duration, HttpError> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(HttpError::Exchange(io::ErrorKind::TimedOut.into()));
    }
    Ok(left)
}
