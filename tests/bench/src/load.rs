//! The load: one client with one connection at a time, each request sent when the last reply is in.
//!
//! A closed loop over plain blocking sockets costs the client as little as can be, so what is
//! left to compare is the server and the way to it; client and server share one CPU. Every reply
//! is checked for its status, its length and its body: a server that answers something else, or
//! closes early, ends the measurement and does not look fast. No other load generator is needed,
//! and none counts a new connection and its request as one unit as a guest's boot does.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};

use crate::sample::percentile;

/// How a run of the client treats its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// All requests over one connection.
    KeepAlive,
    /// A new connection for each request; the server is asked to close it.
    Connect,
}

/// What is asked, and what must come back.
#[derive(Debug, Clone)]
pub struct Target {
    /// Where the server listens.
    pub address: SocketAddr,
    /// The path asked for.
    pub path: String,
    /// Sent as the EC2 session token.
    pub token: String,
    /// The body that a right reply ends with.
    pub body: Vec<u8>,
}

/// What one run saw.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures {
    /// Requests (in [`Mode::Connect`]: connections) a second.
    pub rate: f64,
    /// The median time of one, in microseconds.
    pub p50: f64,
    /// The time that 99 of 100 do not exceed, in microseconds.
    pub p99: f64,
}

/// No reply takes this long unless something is broken.
const PATIENCE: Duration = Duration::from_secs(5);

/// The longest reply that the client takes.
const REPLY_MAX: usize = 64 * 1024;

impl Target {
    fn request(&self, mode: Mode) -> Vec<u8> {
        let closing = match mode {
            Mode::KeepAlive => "",
            Mode::Connect => "Connection: close\r\n",
        };
        let host = match self.address {
            SocketAddr::V4(_) => "169.254.169.254",
            SocketAddr::V6(_) => "[fd00:ec2::254]",
        };
        format!(
            "GET {} HTTP/1.1\r\nHost: {host}\r\nX-aws-ec2-metadata-token: {}\r\n{closing}\r\n",
            self.path, self.token
        )
        .into_bytes()
    }

    fn connect(&self) -> anyhow::Result<TcpStream> {
        let stream = TcpStream::connect_timeout(&self.address, PATIENCE)
            .with_context(|| format!("connecting to {}", self.address))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    fn check(&self, reply: &[u8]) -> anyhow::Result<()> {
        ensure!(
            reply.starts_with(b"HTTP/1.1 200") && reply.ends_with(&self.body),
            "a wrong reply: {:?}",
            String::from_utf8_lossy(&reply[..reply.len().min(400)])
        );
        Ok(())
    }

    /// Runs the client for `duration` in the calling thread.
    pub fn run(&self, mode: Mode, duration: Duration) -> anyhow::Result<Figures> {
        let mut times: Vec<u32> = Vec::with_capacity(1 << 20);
        let begin = Instant::now();
        match mode {
            Mode::KeepAlive => self.keep_alive(duration, &mut times)?,
            Mode::Connect => self.reconnect(duration, &mut times)?,
        }
        let elapsed = begin.elapsed();
        let rate = times.len() as f64 / elapsed.as_secs_f64();
        let mut microseconds = |share| {
            percentile(&mut times, share)
                .map(|ns| f64::from(ns) / 1e3)
                .context("no request was made")
        };
        Ok(Figures { rate, p50: microseconds(0.5)?, p99: microseconds(0.99)? })
    }

    fn keep_alive(&self, duration: Duration, times: &mut Vec<u32>) -> anyhow::Result<()> {
        let request = self.request(Mode::KeepAlive);
        let mut stream = self.connect()?;
        let mut buffer = vec![0; REPLY_MAX];
        stream.write_all(&request)?;
        let length = first_reply(&mut stream, &mut buffer)?;
        self.check(&buffer[..length])?;
        let begin = Instant::now();
        let mut sent = begin;
        while sent.duration_since(begin) < duration {
            stream.write_all(&request)?;
            // All replies are equally long, so the length of the first tells where each one
            // ends; were one not, the check of the next would fail.
            stream.read_exact(&mut buffer[..length])?;
            self.check(&buffer[..length])?;
            let now = Instant::now();
            times.push(nanoseconds(now - sent));
            sent = now;
        }
        Ok(())
    }

    fn reconnect(&self, duration: Duration, times: &mut Vec<u32>) -> anyhow::Result<()> {
        let request = self.request(Mode::Connect);
        let mut buffer = vec![0; REPLY_MAX];
        let begin = Instant::now();
        let mut started = begin;
        while started.duration_since(begin) < duration {
            let mut stream = self.connect()?;
            stream.write_all(&request)?;
            let mut length = 0;
            loop {
                match stream.read(&mut buffer[length..])? {
                    0 => break,
                    more => length += more,
                }
            }
            self.check(&buffer[..length])?;
            drop(stream);
            let now = Instant::now();
            times.push(nanoseconds(now - started));
            started = now;
        }
        Ok(())
    }
}

/// Reads the first reply of a connection by its Content-Length; gives its whole length.
fn first_reply(stream: &mut TcpStream, buffer: &mut [u8]) -> anyhow::Result<usize> {
    let mut length = 0;
    loop {
        let more = stream.read(&mut buffer[length..])?;
        ensure!(more > 0, "the server closed the connection before a whole reply");
        length += more;
        let Some(head) = buffer[..length].windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        let text = std::str::from_utf8(&buffer[..head])?;
        let body = text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .with_context(|| format!("a reply without Content-Length: {text:?}"))?
            .1
            .trim()
            .parse::<usize>()?;
        let whole = head + 4 + body;
        if length > whole {
            bail!("more bytes than the reply has");
        }
        if length == whole {
            return Ok(whole);
        }
    }
}

fn nanoseconds(time: Duration) -> u32 {
    u32::try_from(time.as_nanos()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
