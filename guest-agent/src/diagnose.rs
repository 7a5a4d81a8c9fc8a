//! `guest-agent diagnose`: walks the way to the metadata service and says where it ends.
//!
//! Each device is tried by itself, in the agent's own order: by its other address the service is
//! asked only where the first one brought nothing. The walk changes nothing that stays: addresses
//! and routes that it needs are taken back.

use std::process::ExitCode;

use serde::Serialize;

use crate::{
    boot::attempts::{Attempt, attempts},
    platform::{self, EndpointPath, Platform, PlatformError},
    settings::Settings,
    source::{
        Source, SourceError,
        http::{Client, HttpError},
    },
};

/// What was found at one device.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// The device and the address, or the endpoint where it is not on the link.
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
    if let Some(endpoint) = settings.endpoint.filter(|it| !it.is_on_link()) {
        let client = Client::new(endpoint.socket_address(0), None);
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
    let mut findings = Vec::new();
    let mut found: Vec<String> = Vec::new();
    for attempt in attempts(&links, settings.endpoint) {
        if found.contains(&attempt.device) {
            continue;
        }
        let finding = try_one(platform, &attempt);
        if finding.reason.is_empty() {
            found.push(attempt.device);
        }
        findings.push(finding);
    }
    findings
}

/// Asks through one device, at one address.
fn try_one(platform: &dyn Platform, attempt: &Attempt) -> Finding {
    let Attempt { device, endpoint } = attempt;
    let through = format!("{device}, to {}", endpoint.address);
    match platform.open_path(device, endpoint.address) {
        Err(error) => {
            let mend = match &error {
                PlatformError::NoIpv6 { .. } => format!(
                    "No harm where IPv4 leads to the service. Else look at \
                     `sysctl net.ipv6.conf.{device}` and `ip -6 address show {device}`."
                ),
                _ => "Is the cable there, and does this user have the rights (root)?".to_owned(),
            };
            failed(&through, Vec::new(), error.reason(), error.to_string(), &mend)
        }
        Ok(path) => {
            let worked = opened(&path);
            let client = Client::new(endpoint.socket_address(path.index), Some(device.clone()));
            let finding = ask(through, worked, Source::new(client));
            let _ = platform.close_path(&path, false);
            finding
        }
    }
}

fn opened(path: &EndpointPath) -> Vec<String> {
    let address = match path.claimed {
        Some(address) => format!("the device had no address; claimed {address} for the walk"),
        None => "the device is up and has an address".to_owned(),
    };
    let route = match path.endpoint {
        std::net::IpAddr::V6(endpoint) if endpoint.is_unicast_link_local() => {
            format!("{endpoint} is on the link, as each link-local address is")
        }
        endpoint => format!("a route to {endpoint} on the link"),
    };
    vec![address, route]
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
            "A proxy or a filter in this guest? Check its firewall rules for the service's address.",
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
                "Nobody answers for the service's address (ARP, or IPv6's neighbour discovery): this \
                 port is not attached to it. Ask the operator for `mezame port attach`."
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
