//! `dig`, BIND's own client, asked once for each query: what a real resolver's library makes of a
//! reply, also of one that is cut short.
//!
//! Never asks the machine's own resolver: the server is always named.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::process;

/// What a server said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reply {
    /// `NOERROR`, `NXDOMAIN`, …
    pub status: String,
    /// `qr`, `tc`, …
    pub flags: Vec<String>,
    /// The data of its answers, sorted, as in a zone file.
    pub answers: Vec<String>,
    /// `UDP` or `TCP`, whichever brought it in the end.
    pub transport: String,
}

impl Reply {
    /// Reads what dig prints.
    fn parse(text: &str) -> Option<Self> {
        let mut reply = Self::default();
        let mut in_answers = false;
        for line in text.lines() {
            if let Some((_, status)) = line.split_once(", status: ") {
                reply.status = status.split(',').next()?.into();
            } else if let Some(flags) = line.strip_prefix(";; flags: ") {
                reply.flags = flags.split(';').next()?.split(' ').map(Into::into).collect();
            } else if line.starts_with(";; SERVER: ") {
                reply.transport = line.rsplit_once('(')?.1.trim_end_matches(')').into();
            } else if line.starts_with(";; ANSWER SECTION:") {
                in_answers = true;
            } else if line.is_empty() {
                in_answers = false;
            } else if in_answers {
                // Name, time to live, class, type, data.
                reply.answers.push(line.split_whitespace().skip(4).collect::<Vec<_>>().join(" "));
            }
        }
        reply.answers.sort();
        (!reply.status.is_empty()).then_some(reply)
    }
}

/// Asks with `dig`, started by `command`: the server, the name, the type and options as dig knows
/// them. An error where no reply has come after 5 seconds, three times.
pub fn dig(mut command: Command, server: &str, words: &[&str]) -> Result<Reply> {
    // -r: without the options that this machine's user may have.
    command.arg("-r").arg(format!("@{server}")).args(words);
    let ended = process::run(&mut command)?;
    ensure!(ended.status.success(), "{}{}", ended.stdout, ended.stderr);
    Reply::parse(&ended.stdout).with_context(|| format!("no reply in {}", ended.stdout))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_dig_prints_is_read() {
        let text = "\n; <<>> DiG <<>> @192.0.2.1 a.example\n;; Got answer:\n\
            ;; ->>HEADER<<- opcode: QUERY, status: NOERROR, id: 33841\n\
            ;; flags: qr tc rd ra; QUERY: 1, ANSWER: 2, AUTHORITY: 0, ADDITIONAL: 1\n\n\
            ;; QUESTION SECTION:\n;a.example.\t\tIN\tA\n\n\
            ;; ANSWER SECTION:\na.example.\t60\tIN\tA\t192.0.2.9\na.example.\t60\tIN\tA\t192.0.2.8\n\n\
            ;; Query time: 0 msec\n;; SERVER: 192.0.2.1#53(192.0.2.1) (TCP)\n";
        let expected = Reply {
            status: "NOERROR".into(),
            flags: ["qr", "tc", "rd", "ra"].map(Into::into).into(),
            answers: ["192.0.2.8", "192.0.2.9"].map(Into::into).into(),
            transport: "TCP".into(),
        };
        assert_eq!(Reply::parse(text), Some(expected));
        assert_eq!(Reply::parse(";; connection timed out; no servers could be reached"), None);
    }
}
