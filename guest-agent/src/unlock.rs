//! `guest-agent unlock`: the key of an encrypted volume, for whoever opens the volume at boot.
//!
//! ```text
//!   each device, IPv4 before IPv6 ──► ask ──► which version opens the volume? ──► standard output
//!        ▲        │ no way, or not yet   │ withheld: the reason, at once, and nothing else
//!        └─ pause ┘                      └────────────────────────────────────────────────────►
//! ```
//! Runs in an initramfs, where there is no disk to write to and no network but what it brings up
//! itself; whatever it opened on the way is taken back. It asks once: the service gives a key once
//! a boot, so a "no" is final, and a request that was lost is not to be had again.

use std::{
    io::Write,
    process::ExitCode,
    time::{Duration, Instant},
};

use mezame_model::{SecretBytes, VolumeName};

use crate::{
    backoff::Backoff,
    boot::attempts::{Attempt, attempts},
    endpoint::Endpoint,
    facts::Facts,
    hpke::Recipient,
    platform::{Platform, PlatformError},
    settings::Settings,
    source::{
        Source, SourceError,
        http::{Client, HttpError},
        volume_key::{KeyError, VersionedKey},
    },
};

/// The first and the longest pause between two rounds over all devices.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// What is to be opened.
#[derive(Debug)]
pub struct Wanted {
    /// The key's name.
    pub volume: VolumeName,
    /// The device that one of its versions is to open.
    pub device: Option<String>,
    /// For how long a way to the service is looked for.
    pub timeout: Duration,
}

/// Why a volume stays locked.
#[derive(Debug, thiserror::Error)]
pub enum UnlockError {
    /// The service was found, and this came of it.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// No device leads to it.
    #[error("no device leads to the metadata service")]
    NoWay,
    /// None of the key's versions opens the volume.
    #[error("no version of the key opens {device}: {source}")]
    WrongKey {
        /// The volume's device.
        device: String,
        /// What cryptsetup said of the oldest one.
        #[source]
        source: PlatformError,
    },
    /// The system can't be asked what there is.
    #[error(transparent)]
    Platform(#[from] PlatformError),
    /// There are no random bytes.
    #[error("the system gives no random bytes")]
    NoRandomness,
}

/// Prints the key, and nothing but the key, or says why there is none.
pub fn show(settings: &Settings, platform: &dyn Platform, wanted: &Wanted) -> ExitCode {
    let say = |text: &str| eprintln!("guest-agent: {text}");
    let key = match unlock(settings, platform, wanted, &mut |text| say(text)) {
        Ok(key) => key,
        Err(error) => {
            say(&format!("volume {} stays locked: {error}", wanted.volume));
            let no_service =
                matches!(error, UnlockError::NoWay | UnlockError::Key(KeyError::Source(_)));
            return ExitCode::from(if no_service { 3 } else { 1 });
        }
    };
    let mut out = std::io::stdout().lock();
    match out.write_all(key.expose()).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("the key can't be written: {error}"));
            ExitCode::from(4)
        }
    }
}

/// Asks until there is an answer or the time is over, and gives the version that fits.
pub fn unlock(
    settings: &Settings,
    platform: &dyn Platform,
    wanted: &Wanted,
    say: &mut dyn FnMut(&str),
) -> Result<SecretBytes, UnlockError> {
    let deadline = Instant::now().checked_add(wanted.timeout);
    let mut backoff = Backoff::new(PAUSES.0, PAUSES.1);
    let mut last_words = String::new();
    loop {
        let error = match round(settings, platform, &wanted.volume)? {
            Ok(keys) => return choose(platform, wanted, keys),
            Err(error) => error,
        };
        let words = error.to_string();
        if words != last_words {
            say(&format!("{words}; waiting"));
            last_words = words;
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(error);
        }
        let mut random = [0; 8];
        // Without randomness only the jitter is lost.
        let _ = getrandom::fill(&mut random);
        std::thread::sleep(backoff.next(u64::from_ne_bytes(random), retry_after(&error)));
    }
}

/// What came of asking through each device once: keys, or why none has answered. What no further
/// round can change is an error of its own.
type Round = Result<Vec<VersionedKey>, UnlockError>;

fn round(
    settings: &Settings,
    platform: &dyn Platform,
    volume: &VolumeName,
) -> Result<Round, UnlockError> {
    let facts = platform.facts()?;
    if let Some(endpoint) = settings.endpoint.filter(|it| !it.is_on_link()) {
        let source = Source::new(Client::new(endpoint.socket_address(0), None));
        return finally(ask(source, &facts, volume));
    }
    let mut best = UnlockError::NoWay;
    for attempt in attempts(&facts.links, settings.endpoint) {
        match finally(through(platform, &attempt, &facts, volume))? {
            Ok(keys) => return Ok(Ok(keys)),
            Err(error) if tells_more(&error, &best) => best = error,
            Err(_) => {}
        }
    }
    Ok(Err(best))
}

/// Asks through one device, and leaves nothing open.
fn through(
    platform: &dyn Platform,
    attempt: &Attempt,
    facts: &Facts,
    volume: &VolumeName,
) -> Round {
    let Attempt { device, endpoint: Endpoint { address, .. } } = attempt;
    let opened = platform.open_path(device, *address)?;
    let address = attempt.endpoint.socket_address(opened.index);
    let asked = ask(Source::new(Client::new(address, Some(device.clone()))), facts, volume);
    // The root's own network configuration begins with what it expects.
    let _ = platform.close_path(&opened, false);
    asked
}

fn ask(mut source: Source, facts: &Facts, volume: &VolumeName) -> Round {
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(|_| UnlockError::NoRandomness)?;
    let recipient = Recipient::new(random);
    Ok(source.volume_key(volume, &facts.boot_id, &recipient)?)
}

/// Sorts what came of asking: an error that another device or a later moment may mend, or one that
/// none does.
fn finally(round: Round) -> Result<Round, UnlockError> {
    match round {
        Err(error) if is_final(&error) => Err(error),
        other => Ok(other),
    }
}

fn is_final(error: &UnlockError) -> bool {
    match error {
        // The service that has this device's port is there, and another device's may say more.
        UnlockError::Key(KeyError::Withheld { code, .. }) => code != "other-port",
        UnlockError::Key(KeyError::Source(error)) => {
            !error.may_pass() && !matches!(error, SourceError::NoDocument)
        }
        UnlockError::Key(_) | UnlockError::NoRandomness => true,
        UnlockError::NoWay | UnlockError::WrongKey { .. } | UnlockError::Platform(_) => false,
    }
}

/// A device on which the service answered tells more than one without.
fn tells_more(error: &UnlockError, than: &UnlockError) -> bool {
    let weight = |error: &UnlockError| match error {
        UnlockError::Key(KeyError::Source(SourceError::Http(HttpError::Connect(_)))) => 1,
        UnlockError::Key(KeyError::Source(SourceError::Http(_))) => 2,
        UnlockError::Key(_) => 3,
        _ => 0,
    };
    weight(error) > weight(than)
}

fn retry_after(error: &UnlockError) -> Option<Duration> {
    match error {
        UnlockError::Key(KeyError::Source(SourceError::NotReady { retry_after })) => *retry_after,
        _ => None,
    }
}

/// The version that opens the device. One alone is not tried: whoever asked will.
fn choose(
    platform: &dyn Platform,
    wanted: &Wanted,
    mut keys: Vec<VersionedKey>,
) -> Result<SecretBytes, UnlockError> {
    let Some(device) = wanted.device.as_ref().filter(|_| keys.len() > 1) else {
        return Ok(keys.swap_remove(0).key);
    };
    let mut last = None;
    for VersionedKey { key, .. } in keys {
        match platform.opens_volume(device, &key) {
            Ok(()) => return Ok(key),
            Err(error) => last = Some(error),
        }
    }
    match last {
        Some(source) => Err(UnlockError::WrongKey { device: device.clone(), source }),
        None => Err(KeyError::Answer("it has no version of the key").into()),
    }
}

#[cfg(test)]
mod tests;
