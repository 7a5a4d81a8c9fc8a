//! The stream of events: one JSON object a line, without end.

use bytes::{Buf, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use mezame_model::api::Event;

use super::{connection::Live, error::ClientError};

/// The longest line that is read, in bytes.
const MAX_LINE: usize = 1 << 20;

/// A stream under way. It ends when it is dropped.
#[derive(Debug)]
pub struct EventStream {
    body: Incoming,
    lines: Lines,
    _keep: Live,
}

impl EventStream {
    pub(super) fn new(body: Incoming, keep: Live) -> Self {
        Self { body, lines: Lines::default(), _keep: keep }
    }

    /// The next event; none when the server ended the stream. Safe to be dropped while it waits.
    pub async fn next(&mut self) -> Option<Result<Event, ClientError>> {
        loop {
            if let Some(line) = self.lines.next() {
                return Some(
                    line.and_then(|line| {
                        serde_json::from_slice(&line).map_err(ClientError::Answer)
                    }),
                );
            }
            match self.body.frame().await? {
                Ok(frame) => {
                    if let Ok(data) = frame.into_data() {
                        self.lines.buffer.extend_from_slice(&data);
                    }
                }
                Err(error) => return Some(Err(ClientError::Body(Box::new(error)))),
            }
        }
    }
}

/// The line has no end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a line of more than {MAX_LINE} bytes")]
struct LineTooLong;

/// Bytes in pieces of any size to lines. Empty ones (a server's sign of life) are passed over.
#[derive(Debug, Default)]
struct Lines {
    buffer: BytesMut,
    /// How much of the buffer is known to have no line break.
    searched: usize,
}

impl Lines {
    fn next(&mut self) -> Option<Result<BytesMut, ClientError>> {
        loop {
            let Some(at) = self.buffer[self.searched..].iter().position(|b| *b == b'\n') else {
                self.searched = self.buffer.len();
                return (self.searched > MAX_LINE)
                    .then(|| Err(ClientError::Body(Box::new(LineTooLong))));
            };
            let line = self.buffer.split_to(self.searched + at);
            self.buffer.advance(1);
            self.searched = 0;
            if !line.iter().all(u8::is_ascii_whitespace) {
                return Some(Ok(line));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_however_the_bytes_arrive() {
        let text = b"{\"a\":1}\n\n{\"b\":2}\r\n{\"c\"";
        for size in 1..text.len() {
            let mut lines = Lines::default();
            let mut seen = Vec::new();
            for piece in text.chunks(size) {
                lines.buffer.extend_from_slice(piece);
                while let Some(line) = lines.next() {
                    seen.push(String::from_utf8(line.unwrap().to_vec()).unwrap());
                }
            }
            assert_eq!(seen, ["{\"a\":1}", "{\"b\":2}\r"], "pieces of {size}");
        }
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let mut lines = Lines::default();
        lines.buffer.extend_from_slice(&vec![b'x'; MAX_LINE + 1]);
        assert!(lines.next().unwrap().is_err());
    }
}
