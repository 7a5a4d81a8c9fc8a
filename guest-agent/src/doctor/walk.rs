//! The doctor's walk: looks at the devices, takes the agent's ways to the service, and looks at
//! what the agent has left on disk. Only looks; what it means is [`judge`](super::judge)'s affair.

use std::net::{IpAddr, Ipv4Addr};

use mezame_model::{Report, document::Interface};

use super::{
    ask::ask,
    instruments::Instruments,
    observation::{Agent, Asked, Device, FailureKind, Observations, Walked, Way},
    proxy,
};
use crate::{
    boot::{
        attempts::{Attempt, attempts},
        run::LAST_NETWORK,
    },
    endpoint::Endpoint,
    ledger::Ledger,
    outbox::Outbox,
    platform::Platform,
    settings::Settings,
    source::http::Client,
    status,
};

/// So many devices are walked through.
const MAX_DEVICES: usize = 8;

/// Looks at everything.
pub(super) fn observe(
    settings: &Settings,
    platform: &dyn Platform,
    instruments: &dyn Instruments,
) -> Observations {
    let mut seen = Observations {
        privileged: instruments.is_privileged(),
        named: settings.endpoint,
        configures_network: settings.configure_network,
        proxies: proxy::variables(std::env::vars(), &environment_file(settings)),
        ..Observations::default()
    };
    let mut boot_id = String::new();
    match platform.facts() {
        Ok(facts) => {
            let look = |link: crate::facts::Link| {
                let sight = instruments.sight(&link.name);
                Device { link, sight }
            };
            seen.devices = facts.links.into_iter().map(look).collect();
            boot_id = facts.boot_id;
        }
        Err(error) => seen.no_list = Some(error.to_string()),
    }
    seen.agent = agent(settings, instruments, boot_id);
    if !seen.privileged {
        return seen;
    }
    if let Some(named) = settings.endpoint.filter(|it| !it.is_on_link()) {
        let walked = Walked::Asked(Box::new(ask(&mut Client::new(named.socket_address(0), None))));
        seen.ways.push(Way { device: None, endpoint: named, walked });
    } else {
        walk(&mut seen, settings.endpoint, platform, instruments);
    }
    // Where the endpoint that was named leads nowhere, the usual ones may.
    if settings.endpoint.is_some() && !seen.ways.iter().any(is_answered) {
        walk(&mut seen, None, platform, instruments);
    }
    seen
}

/// What all logins get (environment(5) of PAM); empty where there is none.
fn environment_file(settings: &Settings) -> String {
    std::fs::read_to_string(settings.root.join("etc/environment")).unwrap_or_default()
}

/// Whether the service said anything at all on a way.
pub(super) fn is_answered(way: &Way) -> bool {
    matches!(&way.walked, Walked::Asked(asked) if asked.token.is_ok())
}

/// Tries each device, by its other address only where nothing came by the first one.
fn walk(
    seen: &mut Observations,
    named: Option<Endpoint>,
    platform: &dyn Platform,
    instruments: &dyn Instruments,
) {
    let links = seen.devices.iter().map(|device| &device.link).filter(|link| link.leads_out());
    let links: Vec<_> = links.take(MAX_DEVICES).cloned().collect();
    let mut answered: Vec<String> = Vec::new();
    for attempt in attempts(&links, named) {
        if answered.contains(&attempt.device) {
            continue;
        }
        let Some(device) = seen.devices.iter().find(|it| it.link.name == attempt.device) else {
            continue;
        };
        let way = try_one(device, &attempt, platform, instruments);
        if is_answered(&way) {
            answered.push(attempt.device);
        }
        seen.ways.push(way);
    }
}

/// Asks through one device, at one address, and leaves it as it was.
fn try_one(
    device: &Device,
    attempt: &Attempt,
    platform: &dyn Platform,
    instruments: &dyn Instruments,
) -> Way {
    let Attempt { device: name, endpoint } = attempt;
    let way = |walked| Way { device: Some(name.clone()), endpoint: *endpoint, walked };
    if device.link.up && device.sight.carrier == Some(false) {
        return way(Walked::NoCarrier);
    }
    let walked = match platform.open_path(name, endpoint.address) {
        Err(error) => Walked::Unopened { reason: error.reason(), text: error.to_string() },
        Ok(path) => {
            let mut ear = instruments.listen(name, endpoint.address);
            let address = endpoint.socket_address(path.index);
            let mut asked = ask(&mut Client::new(address, Some(name.clone())));
            asked.claimed = path.claimed;
            asked.heard = ear.as_mut().map(|ear| ear.heard());
            if asked.token.is_err() {
                asked.refusal = instruments.refusal(name, endpoint.address);
                look_for_neighbour(&mut asked, device, endpoint.address, instruments);
            }
            let _ = platform.close_path(&path, false);
            Walked::Asked(Box::new(asked))
        }
    };
    if !device.link.up {
        instruments.lower(name);
    }
    way(walked)
}

/// Asks by ARP, where something got lost: for want of an answer to it, or as that would.
fn look_for_neighbour(
    asked: &mut Asked,
    device: &Device,
    endpoint: IpAddr,
    instruments: &dyn Instruments,
) {
    let IpAddr::V4(endpoint) = endpoint else { return };
    let refused = matches!(&asked.token, Err(it) if it.kind == FailureKind::Refused);
    if refused && asked.heard.is_some_and(|heard| heard.resets > 0) {
        return;
    }
    let addresses = device.link.addresses.iter();
    let mut own: Vec<Ipv4Addr> = addresses
        .filter_map(|it| match it.ip() {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        })
        .take(8)
        .collect();
    own.extend(asked.claimed);
    asked.neighbour = instruments.ask_neighbour(&device.link.name, device.link.mac, endpoint, &own);
}

/// What the agent has left, and what starts it.
fn agent(settings: &Settings, instruments: &dyn Instruments, boot_id: String) -> Agent {
    let state = settings.state();
    let history = Ledger::look(&state).ok();
    let began = history.filter(|it| it.run > 0).map(|it| (it.boot, it.run));
    let network = std::fs::read(state.join(LAST_NETWORK)).ok();
    let network: Vec<Interface> =
        network.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    let report: Option<Report> = status::last_report(&state).ok().flatten();
    Agent {
        boot_id,
        starter: instruments.starter(),
        running: Ledger::is_held(&state),
        began,
        report,
        has_mail: state.join("outbox").is_dir()
            && Outbox::open(&state).is_ok_and(|outbox| !outbox.is_empty()),
        known_macs: network.iter().flat_map(|interface| interface.cards()).copied().collect(),
    }
}
