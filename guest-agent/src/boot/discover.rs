//! Finding the device that leads to the metadata service.
//!
//! Each Ethernet device is tried in turn, by IPv4 and by IPv6, in the order of
//! [`attempts`](super::attempts); the first way on which a document comes is it. With several cards
//! another service may answer on one of them (or nothing at all): a way counts only when *our*
//! document came on it.

use std::time::Duration;

use mezame_model::{Report, SecretName, report::SealedPassword};

use super::attempts::{Attempt, attempts};
use crate::{
    endpoint::Endpoint,
    facts::System,
    platform::{EndpointPath, Platform, PlatformError},
    settings::Settings,
    source::{Fetched, FetchedSecret, Source, SourceError, Upstream, http::Client},
};

/// Why no device led to a document.
#[derive(Debug, thiserror::Error)]
pub enum DiscoverError {
    /// There is no Ethernet device at all.
    #[error("this guest has no network device yet")]
    NoDevice,
    /// A device could not be made ready.
    #[error("{way}: {source}")]
    Device {
        /// The address and the device.
        way: String,
        /// Why.
        #[source]
        source: PlatformError,
    },
    /// The devices can't be listed.
    #[error("the network devices can't be listed: {0}")]
    List(#[source] PlatformError),
    /// The service did not answer with a document.
    #[error("{way}: {source}")]
    Source {
        /// The address, and the device where it is asked through one.
        way: String,
        /// Why.
        #[source]
        source: SourceError,
    },
    /// Neither by IPv4 nor by IPv6.
    #[error("{v4}; {v6}")]
    Both {
        /// What came of IPv4.
        v4: Box<DiscoverError>,
        /// What came of IPv6.
        v6: Box<DiscoverError>,
    },
}

impl DiscoverError {
    /// What the service asked for.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Source { source: SourceError::NotReady { retry_after }, .. } => *retry_after,
            Self::Both { v4, v6 } => v4.retry_after().max(v6.retry_after()),
            _ => None,
        }
    }

    /// A word for programs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoDevice => "no-device",
            Self::Device { source, .. } | Self::List(source) => source.reason(),
            Self::Source { source, .. } => source.reason(),
            Self::Both { v4, v6 } if v6.weight() > v4.weight() => v6.reason(),
            Self::Both { v4, .. } => v4.reason(),
        }
    }

    /// How much it says: a device on which the service answered tells more than one without.
    fn weight(&self) -> u8 {
        match self {
            Self::Source { source: SourceError::Http(_), .. } => 2,
            Self::Source { .. } => 3,
            Self::Device { .. } => 1,
            Self::NoDevice | Self::List(_) => 0,
            Self::Both { v4, v6 } => v4.weight().max(v6.weight()),
        }
    }
}

/// The way that was found: a source, and what was opened for it.
#[derive(Debug)]
pub struct Path {
    /// The service.
    pub source: Source,
    opened: Option<EndpointPath>,
    /// The device before a bond took it.
    card: Option<String>,
}

/// What a run needs of the service goes through the way that was found.
impl Upstream for Path {
    fn secret(&mut self, name: &SecretName) -> Result<Option<FetchedSecret>, SourceError> {
        self.source.secret(name)
    }

    fn acknowledge(&mut self, name: &SecretName, etag: Option<&str>) -> Result<(), SourceError> {
        self.source.acknowledge(name, etag)
    }

    fn post_password(&mut self, password: &SealedPassword) -> Result<(), SourceError> {
        self.source.post_password(password)
    }

    fn post_report(&mut self, report: &Report) -> Result<(), SourceError> {
        self.source.post_report(report)
    }

    fn is_reached(&mut self) -> bool {
        self.source.is_reached()
    }

    fn rolled_back(&mut self, platform: &dyn Platform) {
        self.source.disconnect();
        self.find_again(platform);
    }

    /// Where the device has an address of its own now, the claimed one goes, and the route stays
    /// for the agent. Where it has none (the document gives it none, or only IPv6), the claimed
    /// one is still the only way to the service.
    fn configured(&mut self, platform: &dyn Platform, network_changed: bool) {
        if network_changed {
            self.follow(platform);
        }
        let replaced = self.opened.as_ref().is_some_and(|opened| has_own_address(platform, opened));
        let changed = network_changed
            || (replaced && self.opened.as_ref().is_some_and(|opened| opened.claimed.is_some()));
        if let Some(opened) = self.opened.as_mut().filter(|_| changed && replaced) {
            // That an address is gone already is as wanted.
            let _ = platform.close_path(opened, true);
            opened.claimed = None;
        }
        // With Windows' own link-local address its way on the link goes, where another one is set.
        if network_changed && platform.facts().is_ok_and(|it| it.system == System::Windows) {
            self.reopen(platform);
        }
        self.source.configured(platform, changed);
    }
}

impl Path {
    /// Takes back what was opened.
    pub fn close(mut self, platform: &dyn Platform) {
        if let Some(opened) = self.opened.take() {
            let _ = platform.close_path(&opened, false);
        }
    }

    /// Finds the way again that may have gone: through another device where this one is gone or a
    /// bond's, else through the same.
    pub fn find_again(&mut self, platform: &dyn Platform) {
        if !self.follow(platform) {
            self.reopen(platform);
        }
    }

    /// Goes on through the bond that has taken the device since, through one of the same name that
    /// was made anew, or through a card where the bond is gone. False where the device still leads out by itself.
    fn follow(&mut self, platform: &dyn Platform) -> bool {
        let Some(opened) = &self.opened else { return false };
        let Ok(facts) = platform.facts() else { return false };
        let by_index = |index| facts.links.iter().find(|link| link.index == index);
        let to = match by_index(opened.index).map(|link| link.bond) {
            Some(None) => return false,
            Some(Some(bond)) => {
                self.card = Some(opened.device.clone());
                by_index(bond).map(|link| link.name.clone())
            }
            None => {
                let leads = |name: &String| {
                    facts.links.iter().any(|link| link.name == *name && link.leads_out())
                };
                let card = [Some(&opened.device), self.card.as_ref()];
                let card = card.into_iter().flatten().find(|name| leads(name)).cloned();
                let endpoint = Some(Endpoint::from(opened.endpoint));
                let other = || attempts(&facts.links, endpoint).first().map(|it| it.device.clone());
                card.or_else(other)
            }
        };
        let Some(to) = to else { return false };
        let Ok(again) = platform.open_path(&to, opened.endpoint) else { return false };
        self.source.move_to(&to, again.index);
        self.opened = Some(again);
        true
    }

    /// Opens the way once more through the same device: a network service that was restarted may
    /// have taken the route or the address away. Where that fails, the next attempt may not.
    fn reopen(&mut self, platform: &dyn Platform) {
        let Some(opened) = &self.opened else { return };
        if let Ok(mut again) = platform.open_path(&opened.device, opened.endpoint) {
            // A route of ours that is still there is still to be taken away at the end.
            again.routed |= opened.routed;
            // A device that was made anew has another index, which an address on the link names.
            if again.index != opened.index {
                self.source.move_to(&again.device, again.index);
            }
            self.opened = Some(again);
        }
    }
}

/// Whether a device has an address of the endpoint's family besides the one that was claimed.
fn has_own_address(platform: &dyn Platform, opened: &EndpointPath) -> bool {
    let Ok(facts) = platform.facts() else { return false };
    facts.links.iter().filter(|link| link.index == opened.index).any(|link| {
        let claimed = opened.claimed.map(std::net::IpAddr::V4);
        let v4 = opened.endpoint.is_ipv4();
        link.addresses.iter().any(|it| it.is_ipv4() == v4 && Some(it.ip()) != claimed)
    })
}

/// One attempt over all devices.
pub fn attempt(
    settings: &Settings,
    platform: &dyn Platform,
) -> Result<(Path, Fetched), DiscoverError> {
    if let Some(endpoint) = settings.endpoint.filter(|it| !it.is_on_link()) {
        let client = Client::new(endpoint.socket_address(0), None);
        return fetch(Source::new(client), None)
            .map_err(|(_, source)| DiscoverError::Source { way: endpoint.to_string(), source });
    }
    let links = platform.facts().map_err(DiscoverError::List)?.links;
    let list = attempts(&links, settings.endpoint);
    // One card is given the time for a second SYN (RFC 6298: a second after the first).
    let several = are_several(&list);
    let mut failures = Failures::default();
    for attempt in list {
        if failures.waiting.contains(&attempt.device) {
            continue;
        }
        match through(platform, &attempt, several) {
            Ok(found) => return Ok(found),
            Err(error) => failures.add(attempt, error),
        }
    }
    Err(failures.into_error())
}

/// Whether more than one device is tried; VLANs and the cards of a bond are not.
fn are_several(list: &[Attempt]) -> bool {
    list.iter().any(|attempt| attempt.device != list[0].device)
}

/// Asks for the document through one device, and leaves nothing open where none comes.
fn through(
    platform: &dyn Platform,
    attempt: &Attempt,
    several: bool,
) -> Result<(Path, Fetched), DiscoverError> {
    let Attempt { device, endpoint } = attempt;
    let way = || format!("{} through {device}", endpoint.address);
    let opened = platform
        .open_path(device, endpoint.address)
        .map_err(|source| DiscoverError::Device { way: way(), source })?;
    let mut client = Client::new(endpoint.socket_address(opened.index), Some(device.clone()));
    client.first_packet = opened.first_packet;
    if several {
        client.connect_timeout = Duration::from_secs(1);
    }
    fetch(Source::new(client), Some(opened)).map_err(|(opened, source)| {
        if let Some(opened) = opened {
            let _ = platform.close_path(&opened, false);
        }
        DiscoverError::Source { way: way(), source }
    })
}

/// What came of the attempts so far: of each family what tells the most.
#[derive(Default)]
struct Failures {
    v4: Option<DiscoverError>,
    v6: Option<DiscoverError>,
    /// The devices on which the service was found and asked for patience: by its other address it
    /// would say the same.
    waiting: Vec<String>,
}

impl Failures {
    fn add(&mut self, attempt: Attempt, error: DiscoverError) {
        if matches!(error, DiscoverError::Source { source: SourceError::NotReady { .. }, .. }) {
            self.waiting.push(attempt.device);
        }
        let known = if attempt.endpoint.address.is_ipv4() { &mut self.v4 } else { &mut self.v6 };
        if known.as_ref().is_none_or(|known| error.weight() >= known.weight()) {
            *known = Some(error);
        }
    }

    fn into_error(self) -> DiscoverError {
        match (self.v4, self.v6) {
            (Some(v4), Some(v6)) => DiscoverError::Both { v4: Box::new(v4), v6: Box::new(v6) },
            (Some(error), None) | (None, Some(error)) => error,
            (None, None) => DiscoverError::NoDevice,
        }
    }
}

type Failed = (Option<EndpointPath>, SourceError);

fn fetch(mut source: Source, opened: Option<EndpointPath>) -> Result<(Path, Fetched), Failed> {
    match source.document(None) {
        Ok(Some(fetched)) => Ok((Path { source, opened, card: None }, fetched)),
        Ok(None) => Err((opened, SourceError::Document("304 without having asked for it".into()))),
        Err(error) => Err((opened, error)),
    }
}

#[cfg(test)]
mod tests;
