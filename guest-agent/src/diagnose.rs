//! `guest-agent diagnose`: walks the way to the metadata service and says where it ends.
//!
//! Each device is tried by itself. The walk changes nothing that stays: addresses and routes that
//! it needs are taken back.

use std::process::ExitCode;

use serde::Serialize;

use crate::{
    platform::{self, Platform},
    settings::Settings,
    source::{
        Source, SourceError,
        http::{Client, HttpError},
    },
};

/// What was found at one device.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// The device, or the endpoint where it is not link-local.
    pub through: String,
    /// What worked, in order.
    pub worked: Vec<String>,
    /// A stable word; empty where all is well.
    pub reason: String,
    /// What is wrong, for people.
    pub wrong: String,
    /// What to do about it.
    pub mend: String,
}

/// Prints the findings and gives the exit status: 0 where one way works.
pub fn show(settings: &Settings, json: bool) -> ExitCode {
    let findings = match platform::native(settings) {
        Ok(platform) => walk(settings, &*platform),
        Err(error) => vec![failed("this system", Vec::new(), "platform", error.to_string(), "")],
    };
    let ok = findings.iter().any(|finding| finding.reason.is_empty());
    if json {
        println!("{}", serde_json::json!({ "ok": ok, "findings": findings }));
    } else {
        for finding in &findings {
            println!("{}:", finding.through);
            for line in &finding.worked {
                println!("  ok     {line}");
            }
            if !finding.reason.is_empty() {
                println!("  WRONG  {} ({})", finding.wrong, finding.reason);
                if !finding.mend.is_empty() {
                    println!("         {}", finding.mend);
                }
            }
        }
    }
    if ok { ExitCode::SUCCESS } else { ExitCode::from(3) }
}

/// Walks through every device.
pub fn walk(settings: &Settings, platform: &dyn Platform) -> Vec<Finding> {
    let endpoint = &settings.endpoint;
    if !endpoint.is_link_local() {
        let client = Client::new(endpoint.address, endpoint.port, None);
        return vec![ask(endpoint.to_string(), Vec::new(), Source::new(client))];
    }
    let links = match platform.facts() {
        Ok(facts) => facts.links,
        Err(error) => {
            let wrong = error.to_string();
            return vec![failed("the devices", Vec::new(), error.reason(), wrong, "Run as root.")];
        }
    };
    if links.is_empty() {
        let wrong = "there is no Ethernet device in this guest".to_owned();
        let mend = "Is the network card's driver loaded?";
        return vec![failed("the devices", Vec::new(), "no-device", wrong, mend)];
    }
    links
        .into_iter()
        .map(|link| {
            let mut worked = Vec::new();
            match platform.open_path(&link.name, endpoint.address) {
                Err(error) => {
                    let mend = "Is the cable there, and does this user have the rights (root)?";
                    failed(&link.name, worked, error.reason(), error.to_string(), mend)
                }
                Ok(path) => {
                    match path.claimed {
                        Some(address) => worked.push(format!(
                            "the device had no address; claimed {address} for the walk"
                        )),
                        None => worked.push("the device is up and has an address".to_owned()),
                    }
                    worked.push(format!("a route to {} on the link", endpoint.address));
                    let device = Some(link.name.clone());
                    let client = Client::new(endpoint.address, endpoint.port, device);
                    let finding = ask(link.name.clone(), worked, Source::new(client));
                    let _ = platform.close_path(&path, false);
                    finding
                }
            }
        })
        .collect()
}

/// Asks the service, step by step.
fn ask(through: String, mut worked: Vec<String>, mut source: Source) -> Finding {
    let token = match source.fetch_token() {
        Ok(token) => token,
        Err(SourceError::Http(HttpError::Exchange(_))) => {
            // Connected, and no answer to the one reply that leaves with a TTL of its own.
            return silent(through, worked, &mut source);
        }
        Err(error) => return refused(through, worked, &error),
    };
    worked.push("TCP connection to the service".to_owned());
    worked.push(match token {
        Some(_) => "a session token".to_owned(),
        None => "the service hands out no session tokens".to_owned(),
    });
    match source.document(None) {
        Ok(Some(fetched)) => {
            worked.push(format!(
                "the document of {} ({}), generation {}",
                fetched.document.name, fetched.document.instance_id, fetched.document.generation
            ));
            Finding {
                through,
                worked,
                reason: String::new(),
                wrong: String::new(),
                mend: String::new(),
            }
        }
        Ok(None) => {
            let error = SourceError::Document("304 without having asked for it".into());
            refused(through, worked, &error)
        }
        Err(error) => refused(through, worked, &error),
    }
}

fn silent(through: String, worked: Vec<String>, source: &mut Source) -> Finding {
    let (reason, wrong, mend) = match source.probe("/latest/meta-data/instance-id") {
        Ok(_) => (
            "hop-limit",
            "the service answers, but its reply with the session token does not arrive: its hop \
             limit is too low for where this runs",
            "In a container, ask the operator for a hop limit of 2 for this instance.",
        ),
        Err(_) => (
            "no-answer",
            "the connection is there, but nothing is answered on it",
            "A proxy or a filter in this guest? Check its firewall rules for 169.254.169.254.",
        ),
    };
    failed(&through, worked, reason, wrong.to_owned(), mend)
}

fn refused(through: String, worked: Vec<String>, error: &SourceError) -> Finding {
    let mend = match error {
        SourceError::Http(HttpError::Connect(cause)) => match cause.kind() {
            std::io::ErrorKind::ConnectionRefused => {
                "Something answers at this address, but no metadata service listens there."
            }
            std::io::ErrorKind::HostUnreachable => {
                "Nobody answers ARP for the service: this port is not attached to it. \
                 Ask the operator for `mezame port attach`."
            }
            _ => {
                "No reply at all: the port may be unknown to the hypervisor, or a rule in this \
                 guest drops the packets."
            }
        },
        SourceError::NotReady { .. } => {
            "The service knows this port, but its record has not come yet; it will. Wait."
        }
        SourceError::Off => "The operator switched the endpoint off for this instance.",
        SourceError::Unauthorized => "The service requires a token and does not take ours.",
        SourceError::NoDocument => {
            "Another metadata service, or the instance's dialects do not name \"mezame\"."
        }
        _ => "See the service's log on the hypervisor.",
    };
    let mut wrong = error.to_string();
    if let SourceError::Http(HttpError::Connect(cause) | HttpError::Exchange(cause)) = error {
        wrong = format!("{wrong}: {cause}");
    }
    failed(&through, worked, error.reason(), wrong, mend)
}

fn failed(through: &str, worked: Vec<String>, reason: &str, wrong: String, mend: &str) -> Finding {
    Finding {
        through: through.to_owned(),
        worked,
        reason: reason.to_owned(),
        wrong,
        mend: mend.to_owned(),
    }
}
