//! `guest-agent doctor`: for a person whose guest is not configured. Says what is wrong, how that
//! was seen, what to do, and who can.
//!
//! ```text
//!   instruments, platform, service, ledger ──► walk ──► Observations ──► judge (pure) ──► findings
//! ```
//! The walk takes the agent's own ways to the service, device by device, and listens meanwhile to
//! what leaves the device and what comes. What is seen is written down as plain values; from these
//! alone the findings follow, the likeliest cause first. Nothing stays changed: addresses, routes
//! and devices that were brought up for the walk are taken back. Never shows a secret.

mod ask;
pub mod finding;
pub mod instruments;
pub mod judge;
pub mod observation;
mod proxy;
mod walk;

use std::process::ExitCode;

use self::finding::Finding;
use crate::{platform, settings::Settings};

/// Prints what is wrong and gives the exit status: 0 where nothing is, 1 with a finding.
pub fn show(settings: &Settings, json: bool) -> ExitCode {
    let (worked, findings) = examine(settings);
    let ok = findings.is_empty();
    if json {
        println!("{}", serde_json::json!({ "ok": ok, "findings": findings, "worked": worked }));
    } else {
        print!("{}", text(&worked, &findings));
    }
    if ok { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

fn examine(settings: &Settings) -> (Vec<String>, Vec<Finding>) {
    let platform = match platform::native(settings) {
        Ok(platform) => platform,
        Err(error) => return (Vec::new(), vec![finding::no_platform(&error)]),
    };
    let instruments = platform::instruments(settings);
    let seen = walk::observe(settings, &*platform, &*instruments);
    (judge::worked(&seen), judge::judge(&seen))
}

/// For people: what works, then what is wrong with how it was seen and what to do.
fn text(worked: &[String], findings: &[Finding]) -> String {
    let mut out = String::new();
    for line in worked {
        out.push_str(&format!("ok     {line}\n"));
    }
    if findings.is_empty() {
        out.push_str("Nothing is wrong.\n");
    }
    for finding in findings {
        out.push_str(&format!("WRONG  {} ({})\n", finding.wrong, finding.reason));
        for seen in &finding.seen {
            out.push_str(&format!("       seen: {seen}\n"));
        }
        out.push_str(&format!("       do ({}): {}\n", finding.who, finding.mend));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_reads_what_is_wrong_how_it_was_seen_and_what_to_do() {
        let finding = Finding {
            reason: "no-carrier",
            wrong: "eth0 has no carrier".into(),
            seen: vec!["the device is up".into()],
            mend: "Plug it in.".into(),
            who: finding::Who::Operator,
        };
        let text = text(&["one thing".into()], &[finding]);
        let wanted = "ok     one thing\nWRONG  eth0 has no carrier (no-carrier)\n       \
            seen: the device is up\n       do (operator): Plug it in.\n";
        assert_eq!(text, wanted);
        assert_eq!(super::text(&[], &[]), "Nothing is wrong.\n");
    }
}
