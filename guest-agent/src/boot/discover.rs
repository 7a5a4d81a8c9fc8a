//! Finding the device that leads to the metadata service.
//!
//! Each Ethernet device is tried in turn, those with an address first; the first one through which
//! a document comes is it. With several cards another service may answer on one of them (or
//! nothing at all): a device counts only when *our* document came through it.

use std::time::Duration;

use mezame_model::{Report, SecretName, SecretString, report::SealedPassword};

use crate::{
    platform::{EndpointPath, Platform, PlatformError},
    settings::Settings,
    source::{Fetched, Source, SourceError, Upstream, http::Client},
};

/// Why no device led to a document.
#[derive(Debug, thiserror::Error)]
pub enum DiscoverError {
    /// There is no Ethernet device at all.
    #[error("this guest has no network device yet")]
    NoDevice,
    /// A device could not be made ready.
    #[error("{device}: {source}")]
    Device {
        /// Which.
        device: String,
        /// Why.
        #[source]
        source: PlatformError,
    },
    /// The devices can't be listed.
    #[error("the network devices can't be listed: {0}")]
    List(#[source] PlatformError),
    /// The service did not answer with a document.
    #[error("{device}: {source}")]
    Source {
        /// Which, or the address.
        device: String,
        /// Why.
        #[source]
        source: SourceError,
    },
}

impl DiscoverError {
    /// What the service asked for.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Source { source: SourceError::NotReady { retry_after }, .. } => *retry_after,
            _ => None,
        }
    }

    /// A word for programs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoDevice => "no-device",
            Self::Device { source, .. } | Self::List(source) => source.reason(),
            Self::Source { source, .. } => source.reason(),
        }
    }

    /// How much it says: a device on which the service answered tells more than one without.
    fn weight(&self) -> u8 {
        match self {
            Self::Source { source: SourceError::Http(_), .. } => 2,
            Self::Source { .. } => 3,
            Self::Device { .. } => 1,
            Self::NoDevice | Self::List(_) => 0,
        }
    }
}

/// The way that was found: a source, and what was opened for it.
#[derive(Debug)]
pub struct Path {
    /// The service.
    pub source: Source,
    opened: Option<EndpointPath>,
}

/// What a run needs of the service goes through the way that was found.
impl Upstream for Path {
    fn secret(&mut self, name: &SecretName) -> Result<Option<SecretString>, SourceError> {
        self.source.secret(name)
    }

    fn acknowledge(&mut self, name: &SecretName) -> Result<(), SourceError> {
        self.source.acknowledge(name)
    }

    fn post_password(&mut self, password: &SealedPassword) -> Result<(), SourceError> {
        self.source.post_password(password)
    }

    fn post_report(&mut self, report: &Report) -> Result<(), SourceError> {
        self.source.post_report(report)
    }

    /// Where the device has an address of its own now, the claimed one goes, and the route stays
    /// for the agent. Where it has none (the document gives it none, or only IPv6), the claimed
    /// one is still the only way to the service.
    fn configured(&mut self, platform: &dyn Platform, network_changed: bool) {
        let replaced = self.opened.as_ref().is_some_and(|opened| has_own_address(platform, opened));
        let changed = network_changed
            || (replaced && self.opened.as_ref().is_some_and(|opened| opened.claimed.is_some()));
        if let Some(opened) = self.opened.as_mut().filter(|_| changed && replaced) {
            // That an address is gone already is as wanted.
            let _ = platform.close_path(opened, true);
            opened.claimed = None;
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

    /// Opens the way once more through the same device: a network service that was restarted may
    /// have taken the route or the address away. Where that fails, the next attempt may not.
    pub fn reopen(&mut self, platform: &dyn Platform) {
        let Some(opened) = &self.opened else { return };
        if let Ok(again) = platform.open_path(&opened.device, opened.endpoint) {
            self.opened = Some(again);
        }
    }
}

/// Whether a device has an IPv4 address besides the one that was claimed.
fn has_own_address(platform: &dyn Platform, opened: &EndpointPath) -> bool {
    let Ok(facts) = platform.facts() else { return false };
    facts.links.iter().filter(|link| link.index == opened.index).any(|link| {
        let claimed = opened.claimed.map(std::net::IpAddr::V4);
        link.addresses.iter().any(|it| it.is_ipv4() && Some(it.ip()) != claimed)
    })
}

/// One attempt over all devices.
pub fn attempt(
    settings: &Settings,
    platform: &dyn Platform,
) -> Result<(Path, Fetched), DiscoverError> {
    let endpoint = &settings.endpoint;
    if !endpoint.is_link_local() {
        let client = Client::new(endpoint.address, endpoint.port, None);
        return fetch(Source::new(client), None)
            .map_err(|(_, source)| DiscoverError::Source { device: endpoint.to_string(), source });
    }
    let mut links = platform.facts().map_err(DiscoverError::List)?.links;
    links.sort_by_key(|link| (!link.addresses.iter().any(|it| it.is_ipv4()), link.index));
    let several = links.len() > 1;
    let mut worst = DiscoverError::NoDevice;
    for link in links {
        let device = link.name;
        let error = match platform.open_path(&device, endpoint.address) {
            Err(source) => DiscoverError::Device { device, source },
            Ok(opened) => {
                let mut client = Client::new(endpoint.address, endpoint.port, Some(device.clone()));
                client.first_packet = opened.first_packet;
                if several {
                    client.connect_timeout = Duration::from_secs(1);
                }
                match fetch(Source::new(client), Some(opened)) {
                    Ok(found) => return Ok(found),
                    Err((opened, source)) => {
                        if let Some(opened) = opened {
                            let _ = platform.close_path(&opened, false);
                        }
                        DiscoverError::Source { device, source }
                    }
                }
            }
        };
        if error.weight() >= worst.weight() {
            worst = error;
        }
    }
    Err(worst)
}

type Failed = (Option<EndpointPath>, SourceError);

fn fetch(mut source: Source, opened: Option<EndpointPath>) -> Result<(Path, Fetched), Failed> {
    match source.document(None) {
        Ok(Some(fetched)) => Ok((Path { source, opened }, fetched)),
        Ok(None) => Err((opened, SourceError::Document("304 without having asked for it".into()))),
        Err(error) => Err((opened, error)),
    }
}
