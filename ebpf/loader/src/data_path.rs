//! The data path of this hypervisor: loading it, adopting it, reading it, taking it away.

mod inspect;
mod ports;
mod services;
mod trial;

use std::{
    collections::HashSet,
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use aya::{
    EbpfError, EbpfLoader,
    programs::{ProgramError, SchedClassifier},
};
use mezame_ebpf_common::{PortKey, PortSlot, Settings};

use crate::{
    DropEvents, PinRoot, PortCounters, Service, Unsupported, Uplink,
    links::{self, Links},
    maps::{MapFault, Maps},
    object::{Object, ObjectError},
    probe,
    root::{RootError, list},
};

pub use ports::{AttachError, DetachError};
pub use services::ServiceError;
pub use trial::{Trial, TrialError};

/// Why the data path was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It can't run here.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// There is no place for pins.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The replacement for the embedded object is not there.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// The kernel did not take the maps.
    #[error("the kernel refused the data path's maps")]
    Maps(#[source] Box<EbpfError>),
    /// The kernel did not take a program.
    #[error("the kernel refused the program {name}")]
    Program {
        /// Which.
        name: &'static str,
        /// What the verifier said.
        #[source]
        source: Box<ProgramError>,
    },
    /// The object has no such program.
    #[error("the object has no program {0}")]
    NoProgram(&'static str),
    /// A map failed.
    #[error(transparent)]
    Map(#[from] MapFault),
    /// A link could not be renewed.
    #[error("can't renew the link of device {ifindex}")]
    Link {
        /// The device.
        ifindex: u32,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The link of the uplink could not be renewed.
    #[error("can't renew the link of the uplink")]
    UplinkLink(#[source] io::Error),
    /// The links that are pinned can't be listed.
    #[error("can't list the pinned links in {path}")]
    Links {
        /// Where.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A pin could not be written or removed.
    #[error("can't renew {path}")]
    Pin {
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The service table contradicts itself.
    #[error(transparent)]
    Services(#[from] ServiceError),
}

/// Why something was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Nothing is attached there.
    #[error("nothing is attached to the device with index {0}")]
    NotAttached(u32),
    /// A map failed.
    #[error(transparent)]
    Map(#[from] MapFault),
}

/// Why the pins were not removed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// A pin could not be removed.
    #[error("can't remove {path}")]
    Unlink {
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A directory could not be read.
    #[error(transparent)]
    Root(#[from] RootError),
}

const GUEST: &str = "guest_ingress";
const UPLINK: &str = "uplink_ingress";

/// The programs and maps in the kernel. They stay when this value goes.
pub struct DataPath {
    root: PinRoot,
    links: Links,
    maps: Maps,
    guest: SchedClassifier,
    uplink: SchedClassifier,
}

impl DataPath {
    /// Loads the data path, or adopts the one that is pinned under `root` and replaces its
    /// programs, without a gap for any port that is attached. What was pinned for devices that
    /// are gone is cleaned up; what a program of another layout pinned stays until it is
    /// [retired](Self::retire_other_layouts).
    pub fn open(root: &PinRoot, uplink: &Uplink, services: &[Service]) -> Result<Self, LoadError> {
        Self::open_with(root, uplink, services, &Object::find()?)
    }

    /// As [`DataPath::open`], with the programs of an object file of the same maps in place of
    /// the embedded ones.
    pub fn open_object(
        root: &PinRoot,
        uplink: &Uplink,
        services: &[Service],
        object: &Path,
    ) -> Result<Self, LoadError> {
        Self::open_with(root, uplink, services, &Object::read(object)?)
    }

    fn open_with(
        root: &PinRoot,
        uplink: &Uplink,
        services: &[Service],
        object: &Object,
    ) -> Result<Self, LoadError> {
        probe()?;
        let table = services::check(services)?;
        root.prepare()?;
        // What can't be opened is made anew.
        let mut adopted = Maps::open(&root.maps()).ok();
        let current = match &adopted {
            Some(maps) => maps.settings.get()?.program == object.digest,
            None => false,
        };
        if !current {
            if let Some(maps) = &mut adopted {
                // Until all links have the same program, they have none that has a name.
                let settings = maps.settings.get()?;
                maps.settings.set(Settings { program: [0; 32], ..settings })?;
            }
            renew_programs(root, object)?;
        }
        let mut path = Self {
            root: root.clone(),
            links: Links::new(root.links()),
            maps: Maps::open(&root.maps())?,
            guest: pinned_program(root, GUEST)?,
            uplink: pinned_program(root, UPLINK)?,
        };
        services::write(&mut path.maps, &table, uplink, object.digest)?;
        let program = program_fd(&path.uplink, UPLINK)?;
        path.links
            .uplink()
            .ensure(program.as_fd(), uplink.host_ifindex)
            .map_err(|source| LoadError::Link { ifindex: uplink.host_ifindex, source })?;
        path.clean()?;
        Ok(path)
    }

    /// Takes away what a program of another layout has pinned. To be called once the ports are
    /// attached here: until then the other one is what stands at their devices.
    pub fn retire_other_layouts(&self) -> Result<(), RemoveError> {
        for other in self.root.other_versions()? {
            take_away(&other).map_err(|(path, source)| RemoveError::Unlink { path, source })?;
        }
        Ok(())
    }

    /// The devices that a port is attached to, with the port's slot, in no order.
    pub fn attached(&self) -> Result<Vec<(u32, PortSlot)>, ReadError> {
        let mut found = Vec::new();
        for key in self.maps.ports.keys()? {
            let port = self.maps.ports.get(key)?;
            let slot = port.and_then(|port| PortSlot::new(port.slot));
            found.extend(slot.map(|slot| (key.ifindex, slot)));
        }
        Ok(found)
    }

    /// What the frames of a device came to since it was attached.
    pub fn counters(&self, ifindex: u32) -> Result<PortCounters, ReadError> {
        let state = self.maps.states.get(PortKey { ifindex, vlan: 0 })?;
        state.as_ref().map(PortCounters::of_state).ok_or(ReadError::NotAttached(ifindex))
    }

    /// What the frames of each [refused](Self::refuse) device came to since it was, in no order.
    /// All of them are counted, also those of which there is no event.
    pub fn refused(&self) -> Result<Vec<(u32, PortCounters)>, ReadError> {
        let mut found = Vec::new();
        for key in self.maps.states.keys()? {
            if self.maps.ports.get(key)?.is_some() {
                continue;
            }
            let state = self.maps.states.get(key)?;
            found.extend(state.map(|state| (key.ifindex, PortCounters::of_state(&state))));
        }
        Ok(found)
    }

    /// What the frames came to that belong to no device that is known here: replies to a port that
    /// is gone, and frames of a device just before it is refused. Its suppressed events are also those of any port
    /// that found the buffer full.
    pub fn totals(&self) -> Result<PortCounters, ReadError> {
        Ok(PortCounters::of_totals(&self.maps.totals()?))
    }

    /// The stream of dropped frames. One reader at a time.
    pub fn drops(&mut self) -> Result<DropEvents, ReadError> {
        Ok(DropEvents::open(&self.root.maps())?)
    }

    /// Takes every link, program and map under `root` away: guests' frames pass as if this had
    /// never been.
    pub fn remove(root: &PinRoot) -> Result<(), RemoveError> {
        let mut versions = root.other_versions()?;
        versions.push(root.version());
        for version in versions {
            take_away(&version).map_err(|(path, source)| RemoveError::Unlink { path, source })?;
        }
        // It may be a mount point, or hold what is not ours.
        let _ = std::fs::remove_dir(root.path());
        Ok(())
    }

    /// Forgets devices that are gone, and entries whose link was never pinned.
    fn clean(&mut self) -> Result<(), LoadError> {
        let link_error = |ifindex| move |source| LoadError::Link { ifindex, source };
        for ifindex in pinned_ports(&self.root, &self.links)? {
            if !self.links.port(ifindex).is_alive().map_err(link_error(ifindex))? {
                self.forget_device(ifindex)?;
                self.links.port(ifindex).remove().map_err(link_error(ifindex))?;
            }
        }
        let alive: HashSet<u32> = pinned_ports(&self.root, &self.links)?.into_iter().collect();
        let mut keys = self.maps.states.keys()?;
        keys.extend(self.maps.ports.keys()?);
        for key in keys {
            if !alive.contains(&key.ifindex) {
                self.forget_device(key.ifindex)?;
            }
        }
        for slot in self.maps.holders.keys()? {
            let holder = self.maps.holders.get(slot)?;
            let port = match holder {
                Some(holder) => self.maps.ports.get(holder.key)?,
                None => None,
            };
            if port.is_none_or(|port| port.slot != slot) {
                self.forget_slot(slot)?;
            }
        }
        Ok(())
    }
}

/// Loads new programs beside the pinned maps, puts them in the place of the old ones in every
/// link, and pins them.
fn renew_programs(root: &PinRoot, object: &Object) -> Result<(), LoadError> {
    let maps = root.maps();
    let mut loader = EbpfLoader::new();
    for name in Maps::NAMES {
        loader.map_pin_path(name, maps.join(name));
    }
    let mut loaded =
        loader.load(&object.bytes).map_err(|source| LoadError::Maps(Box::new(source)))?;
    for name in [GUEST, UPLINK] {
        let fail = |source| LoadError::Program { name, source: Box::new(source) };
        let program = loaded.program_mut(name).ok_or(LoadError::NoProgram(name))?;
        let program: &mut SchedClassifier = program.try_into().map_err(fail)?;
        program.load().map_err(fail)?;
        let fd = program_fd(program, name)?;
        let links = Links::new(root.links());
        if name == UPLINK {
            links.uplink().update(fd.as_fd()).map_err(LoadError::UplinkLink)?;
        } else {
            for ifindex in pinned_ports(root, &links)? {
                let renewed = links.port(ifindex).update(fd.as_fd());
                renewed.map_err(|source| LoadError::Link { ifindex, source })?;
            }
        }
        let path = root.programs().join(name);
        links::unlink(&path).map_err(|source| LoadError::Pin { path: path.clone(), source })?;
        crate::syscall::pin(fd.as_fd(), &path).map_err(|source| LoadError::Pin { path, source })?;
    }
    Ok(())
}

/// The devices that have a pinned link.
fn pinned_ports(root: &PinRoot, links: &Links) -> Result<Vec<u32>, LoadError> {
    links.ports().map_err(|source| LoadError::Links { path: root.links(), source })
}

fn pinned_program(root: &PinRoot, name: &'static str) -> Result<SchedClassifier, LoadError> {
    SchedClassifier::from_pin(root.programs().join(name))
        .map_err(|source| LoadError::Program { name, source: Box::new(source) })
}

fn program_fd(program: &SchedClassifier, name: &'static str) -> Result<OwnedFd, LoadError> {
    let fail = |source| LoadError::Program { name, source: Box::new(source) };
    let fd = program.fd().map_err(fail)?;
    fd.as_fd().try_clone_to_owned().map_err(|error| fail(ProgramError::IOError(error)))
}

/// Removes all pins of one layout version, links first.
fn take_away(version: &Path) -> Result<(), (PathBuf, io::Error)> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |error| (path, error)
    };
    let links = version.join("links");
    links::remove_all(&links).map_err(at(&links))?;
    for directory in [links, version.join("programs"), version.join("maps")] {
        let pins = list(&directory).map_err(|error| match error {
            RootError::Directory { path, source } | RootError::Mount { path, source } => {
                (path, source)
            }
        })?;
        for pin in pins {
            links::unlink(&pin).map_err(at(&pin))?;
        }
        remove_directory(&directory)?;
    }
    remove_directory(version)
}

fn remove_directory(path: &Path) -> Result<(), (PathBuf, io::Error)> {
    match std::fs::remove_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err((path.to_owned(), error)),
        _ => Ok(()),
    }
}
