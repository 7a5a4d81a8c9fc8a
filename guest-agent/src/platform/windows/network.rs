//! Setting an adapter by `netsh`, and guarding a change so that it can be taken back.
//!
//! ```text
//!   remember ──► written to the state ──► change ──► the service is asked ──► reached: forget
//!                      ▲                                  │ not
//!                      └── the next run, after a kill ────┴──► put back, forget
//! ```
//! netsh keeps what it sets over a reboot: so what was before is kept over one as well. What is
//! told to netsh, [`netsh`](crate::netsh) says.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use mezame_model::document::Interface;
use serde::{Deserialize, Serialize};

use super::{
    adapters,
    files::{self, Readers},
    script,
};
use crate::{
    netsh::{self, Now, Ours},
    platform::{Change, NetworkGuard, PlatformError, Result},
};

/// What the agent has set, by MAC.
const SET: &str = "network-set.json";
/// What was before a change that is not known to be good.
const JOURNAL: &str = "network-before.json";

/// The agent's network state, in this directory.
#[derive(Debug)]
pub(super) struct Network<'a> {
    pub(super) state: &'a Path,
}

/// The network of some adapters.
#[derive(Debug, Serialize, Deserialize)]
struct Before {
    /// Name and state.
    devices: Vec<(String, Now)>,
    /// What the agent had set.
    set: BTreeMap<String, Ours>,
}

/// Guards a change.
#[derive(Debug)]
pub(super) struct Guard {
    state: PathBuf,
    before: Before,
}

impl Network<'_> {
    /// Brings an adapter to what the document says.
    pub(super) fn configure(&self, device: &str, interface: &Interface) -> Result<Change> {
        let now = look(device)?;
        let mut set = self.set()?;
        let mac = interface.mac.to_string();
        let ours = set.get(&mac).cloned().unwrap_or_default();
        let wanted = Ours::of(interface);
        let commands = netsh::commands(device, interface, &ours, &now);
        if !commands.is_empty() && ours != ours.and(&wanted) {
            // Before it is set: cut off in between, it would be nobody's.
            set.insert(mac.clone(), ours.and(&wanted));
            self.keep_set(&set)?;
        }
        run(&commands)?;
        if netsh::wants_v6(interface) && !now.has_v6 {
            let why = "it is turned off there";
            return Err(PlatformError::NoIpv6 { device: device.to_owned(), why });
        }
        if set.get(&mac) != Some(&wanted) {
            set.insert(mac, wanted);
            self.keep_set(&set)?;
        }
        Ok(if commands.is_empty() { Change::Same } else { Change::Changed })
    }

    /// Remembers adapters as they are, on the disk.
    pub(super) fn guard(&self, devices: &[&str]) -> Result<Guard> {
        let look = |name: &&str| look(name).map(|now| ((*name).to_owned(), now));
        let devices = devices.iter().map(look).collect::<Result<_>>()?;
        let before = Before { devices, set: self.set()? };
        let json = serde_json::to_vec(&before).unwrap_or_default();
        files::write(&self.state.join(JOURNAL), &json, Readers::AsAbove)?;
        Ok(Guard { state: self.state.to_owned(), before })
    }

    /// The guard of a run that was killed before it knew whether the service is still reached.
    pub(super) fn left_behind(&self) -> Result<Option<Guard>> {
        let path = self.state.join(JOURNAL);
        let Some(bytes) = files::read(&path)? else { return Ok(None) };
        match serde_json::from_slice(&bytes) {
            Ok(before) => Ok(Some(Guard { state: self.state.to_owned(), before })),
            // It is renamed into its place whole: this is none of ours.
            Err(_) => remove(&path).map(|()| None),
        }
    }

    /// Nothing where that is not known: then nothing is taken away.
    fn set(&self) -> Result<BTreeMap<String, Ours>> {
        let bytes = files::read(&self.state.join(SET))?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default())
    }

    fn keep_set(&self, set: &BTreeMap<String, Ours>) -> Result<()> {
        let json = serde_json::to_vec(set).unwrap_or_default();
        files::write(&self.state.join(SET), &json, Readers::AsAbove).map(drop)
    }
}

impl NetworkGuard for Guard {
    fn keep(&self) -> Result<()> {
        remove(&self.state.join(JOURNAL))
    }

    fn roll_back(&self) -> Result<()> {
        let mut result = Ok(());
        for (device, before) in &self.before.devices {
            // An adapter that is gone must not keep the others from coming back, nor one command
            // the next.
            let commands = look(device).map(|now| netsh::restore(device, before, &now));
            match commands {
                Ok(commands) => {
                    for command in commands {
                        result = result.and(run(&[command]));
                    }
                }
                Err(error) => result = result.and(Err(error)),
            }
        }
        let network = Network { state: &self.state };
        result = result.and(network.keep_set(&self.before.set));
        // What can't be put back now is tried again by the next run.
        result?;
        self.keep()
    }
}

fn look(device: &str) -> Result<Now> {
    let what = "looking for the device";
    let adapter = adapters::named(device);
    adapter.map(|it| it.now).map_err(|source| PlatformError::Network { what, source })
}

fn run(commands: &[Vec<String>]) -> Result<()> {
    for words in commands {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        script::tool("netsh.exe", &words)?;
    }
    Ok(())
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(PlatformError::File { path: path.into(), source })
        }
        _ => Ok(()),
    }
}
