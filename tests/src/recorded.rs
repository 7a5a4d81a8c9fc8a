//! What a real client asked for, in its order: recorded once, sent again by tests and the bench.
//!
//! A file of `recorded/` for each client: for each request a line with the status that it was
//! answered with, the method and the target; the headers that a server may look at; an empty line.
//! `{mac}` stands for the card's address and `{token}` for the session token that the client was
//! given. The case `crawls` checks that the clients still ask for exactly this, and writes the
//! files anew, and fails, where `MEZAME_RECORD` is set.

use std::io::{Read, Write};

use anyhow::{Context, Result, ensure};

use crate::http::{self, Connection};

/// A client's requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    requests: Vec<Request>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Request {
    status: u16,
    method: String,
    target: String,
    headers: Vec<(String, String)>,
}

/// Headers that differ from one release of a client to the next, and that no server looks at.
const IDLE: [&str; 5] = ["user-agent", "accept", "accept-encoding", "connection", "content-length"];

macro_rules! recorded {
    ($($dialect:literal),+ $(,)?) => {
        /// cloud-init's crawl of each dialect: its name and the file.
        pub const CRAWLS: &[(&str, &str)] =
            &[$(($dialect, include_str!(concat!("recorded/", $dialect)))),+];
    };
}

recorded!(
    "azure",
    "cloudstack",
    "digitalocean",
    "ec2",
    "gce",
    "hetzner",
    "nocloud",
    "openstack",
    "vultr",
);

impl Recorded {
    /// cloud-init's crawl of a dialect.
    pub fn crawl(dialect: &str) -> Result<Self> {
        let (_, text) = CRAWLS
            .iter()
            .find(|(name, _)| *name == dialect)
            .with_context(|| format!("no crawl of {dialect} was recorded"))?;
        Self::parse(text)
    }

    /// Reads a file.
    pub fn parse(text: &str) -> Result<Self> {
        let requests = text.split_terminator("\n\n").map(|block| {
            let mut lines = block.lines();
            let mut first = lines.next().unwrap_or_default().split(' ');
            let mut word = || first.next().context("a request's line has three words");
            let status = word()?.parse().context("a status")?;
            let (method, target) = (word()?.to_owned(), word()?.to_owned());
            let headers = headers(lines)?;
            Ok(Request { status, method, target, headers })
        });
        Ok(Self { requests: requests.collect::<Result<_>>()? })
    }

    /// What a client sent, head by head; the statuses are those of a server that is asked again.
    pub fn of_heads(heads: &[String], mac: &str) -> Result<Self> {
        let requests = heads.iter().map(|head| {
            let mut lines = head.trim_end().split("\r\n");
            let mut first = lines.next().unwrap_or_default().split(' ');
            let method = first.next().unwrap_or_default().to_owned();
            let target = first.next().context("a head without a target")?.replace(mac, "{mac}");
            let mut headers = headers(lines)?;
            headers.retain(|(name, _)| !IDLE.contains(&name.to_ascii_lowercase().as_str()));
            for (name, value) in &mut headers {
                if name.eq_ignore_ascii_case(http::TOKEN) {
                    *value = "{token}".into();
                }
            }
            Ok(Request { status: 0, method, target, headers })
        });
        Ok(Self { requests: requests.collect::<Result<_>>()? })
    }

    /// The file's text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for Request { status, method, target, headers } in &self.requests {
            text += &format!("{status} {method} {target}\n");
            for (name, value) in headers {
                text += &format!("{name}: {value}\n");
            }
            text += "\n";
        }
        text
    }

    /// How many requests there are.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Asks all of it in order, each on the connection that `connect` gives for it, and keeps the
    /// statuses.
    pub fn ask<S: Read + Write>(
        &mut self,
        mac: &str,
        mut connect: impl FnMut() -> Result<Connection<S>>,
    ) -> Result<()> {
        let mut token = String::new();
        for request in &mut self.requests {
            request.status = request.ask(mac, &mut token, &mut connect()?)?.status;
        }
        Ok(())
    }

    /// Asks all of it in order on one connection; each answer must have the status that the client
    /// got.
    pub fn replay<S: Read + Write>(&self, mac: &str, connection: &mut Connection<S>) -> Result<()> {
        let mut token = String::new();
        self.requests.iter().try_for_each(|request| request.repeat(mac, &mut token, connection))
    }

    /// The same with a connection for each request, as the clients do.
    pub fn replay_apart<S: Read + Write>(
        &self,
        mac: &str,
        mut connect: impl FnMut() -> Result<Connection<S>>,
    ) -> Result<()> {
        let mut token = String::new();
        self.requests
            .iter()
            .try_for_each(|request| request.repeat(mac, &mut token, &mut connect()?))
    }
}

impl Request {
    fn repeat<S: Read + Write>(
        &self,
        mac: &str,
        token: &mut String,
        connection: &mut Connection<S>,
    ) -> Result<()> {
        let answer = self.ask(mac, token, connection)?;
        ensure!(
            answer.status == self.status,
            "{} {} was answered with {} and not with {}: {}",
            self.method,
            self.target,
            answer.status,
            self.status,
            answer.text()
        );
        Ok(())
    }

    fn ask<S: Read + Write>(
        &self,
        mac: &str,
        token: &mut String,
        connection: &mut Connection<S>,
    ) -> Result<http::Response> {
        let mut head =
            format!("{} {} HTTP/1.1\r\n", self.method, self.target.replace("{mac}", mac));
        for (name, value) in &self.headers {
            head += &format!("{name}: {}\r\n", value.replace("{token}", token));
        }
        if self.method == "PUT" {
            head += "Content-Length: 0\r\n";
        }
        head += "\r\n";
        connection.write_raw(head.as_bytes())?;
        let answer = connection
            .response(false)
            .with_context(|| format!("{} {}", self.method, self.target))?;
        if self.method == "PUT" {
            *token = answer.text();
        }
        Ok(answer)
    }
}

fn headers<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Vec<(String, String)>> {
    lines
        .map(|line| {
            let (name, value) = line.split_once(": ").context("a header without a value")?;
            Ok((name.to_owned(), value.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recorded_crawl_is_written_as_it_is_read() {
        for (name, text) in CRAWLS {
            let read = Recorded::parse(text).unwrap();
            assert!(!read.is_empty(), "{name}");
            assert_eq!(read.text(), *text, "{name}");
        }
    }

    #[test]
    fn what_differs_between_guests_and_releases_is_not_in_a_record() {
        let mac = "52:54:00:00:00:0a";
        let head = format!(
            "GET /a/{mac}/b HTTP/1.1\r\nHost: h\r\nUser-Agent: one/2\r\n{}: secret\r\n\r\n",
            http::TOKEN
        );
        let recorded = Recorded::of_heads(&[head], mac).unwrap();
        let token = http::TOKEN;
        assert_eq!(recorded.text(), format!("0 GET /a/{{mac}}/b\nHost: h\n{token}: {{token}}\n\n"));
    }
}
