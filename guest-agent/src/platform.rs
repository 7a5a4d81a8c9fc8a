//! The operating system behind a trait: everything that a step does to the guest.
//!
//! This is the only file that selects by operating system. To add one, put a file beside
//! `platform/linux.rs`, implement [`Platform`], run the contract suite in `platform/contract.rs`
//! against it, and add it to [`native`].
//!
//! Each operation on state is idempotent: it says whether it changed anything, and doing it again
//! after a crash in its middle completes it.

pub mod fake;
#[cfg(target_os = "linux")]
pub mod linux;

#[cfg(test)]
mod contract;

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    time::Instant,
};

use mezame_model::{SecretBytes, SecretName, SecretString, document::Interface};

use crate::{
    doctor::instruments::Instruments,
    facts::Facts,
    settings::Settings,
    step::{Account, FileSpec, Ntp, Packages, Script},
};

/// Whether an operation changed something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It did.
    Changed,
    /// It was so already.
    Same,
}

impl Change {
    /// Changed, if either did.
    pub fn and(self, other: Self) -> Self {
        if self == Self::Changed { self } else { other }
    }
}

/// How a program that was run came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScriptEnd {
    /// By itself, with this status.
    Exited(i32),
    /// By this signal.
    Killed(i32),
    /// By the agent, since it ran too long.
    TimedOut,
}

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub enum PlatformError {
    /// A file can't be read or written.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A path leads over something that a user could have put there.
    #[error("{path}: {why}", path = path.display())]
    Untrusted {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A file is longer than the agent reads.
    #[error("{path} is too long", path = path.display())]
    TooLong {
        /// Which.
        path: PathBuf,
    },
    /// There is no such user.
    #[error("there is no user {name}")]
    NoSuchUser {
        /// Who.
        name: String,
    },
    /// There is no such group.
    #[error("there is no group {name}")]
    NoSuchGroup {
        /// Which.
        name: String,
    },
    /// No number is left for a user or a group.
    #[error("no free number is left")]
    NoFreeId,
    /// Another program holds the lock of the account files.
    #[error("the account files are locked by another program")]
    AccountsLocked,
    /// A value can't be written where it belongs.
    #[error("{what} is not valid: {why}")]
    Invalid {
        /// What.
        what: &'static str,
        /// Why.
        why: String,
    },
    /// The kernel refused a network request.
    #[error("network: {what}: {source}")]
    Network {
        /// What was asked.
        what: &'static str,
        /// Why it was refused.
        #[source]
        source: io::Error,
    },
    /// A device, or the whole kernel, does without IPv6.
    #[error("IPv6 can't be used on {device}: {why}")]
    NoIpv6 {
        /// Where.
        device: String,
        /// What is set, or missing.
        why: &'static str,
    },
    /// Somebody has set a route that forbids the way to the service.
    #[error("a route of type {kind} forbids the way to {endpoint}")]
    RouteRefused {
        /// To where.
        endpoint: IpAddr,
        /// As ip-route(8) calls it.
        kind: &'static str,
    },
    /// Somebody else has each link-local address that could be claimed.
    #[error("every link-local address that {device} could claim is taken")]
    NoFreeAddress {
        /// Where.
        device: String,
    },
    /// Processes could not be dealt with.
    #[error("{what}: {source}")]
    Process {
        /// What was to be done.
        what: &'static str,
        /// Why it was not.
        #[source]
        source: io::Error,
    },
    /// A tool that is needed is not in this image.
    #[error("{tool} is not in this image")]
    NoTool {
        /// Which.
        tool: &'static str,
    },
    /// A tool failed.
    #[error("{tool}: {detail}")]
    Tool {
        /// Which.
        tool: String,
        /// The end of what it said.
        detail: String,
    },
    /// This system can't do it, or is not to.
    #[error("{what}")]
    Unsupported {
        /// What.
        what: &'static str,
    },
}

impl PlatformError {
    /// A word for programs, which stays the same when the text is improved.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::File { .. } => "file",
            Self::Untrusted { .. } => "untrusted-path",
            Self::TooLong { .. } => "file-too-long",
            Self::NoSuchUser { .. } => "no-such-user",
            Self::NoSuchGroup { .. } => "no-such-group",
            Self::NoFreeId => "no-free-id",
            Self::AccountsLocked => "accounts-locked",
            Self::Invalid { .. } => "bad-value",
            Self::Network { .. } => "network",
            Self::NoIpv6 { .. } => "no-ipv6",
            Self::RouteRefused { .. } => "route-refused",
            Self::NoFreeAddress { .. } => "no-free-address",
            Self::Process { .. } => "process",
            Self::NoTool { .. } => "no-tool",
            Self::Tool { .. } => "tool-failed",
            Self::Unsupported { .. } => "unsupported",
        }
    }
}

/// The result of an operation.
pub type Result<T> = std::result::Result<T, PlatformError>;

/// A way to the endpoint that was opened for the agent, and is to be closed again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointPath {
    /// Sockets are bound to it.
    pub device: String,
    /// The kernel's number for it.
    pub index: u32,
    /// The link-local address that was claimed, if the device had none at all. Never one of IPv6:
    /// those the kernel makes.
    pub claimed: Option<Ipv4Addr>,
    /// What it leads to.
    pub endpoint: IpAddr,
    /// Whether a route to the endpoint was added.
    pub routed: bool,
    /// When the first packet left, if one did already.
    pub first_packet: Option<Instant>,
}

/// The network as it was before a change.
pub trait NetworkGuard {
    /// The change is good: forgets what was before.
    fn keep(&self) -> Result<()>;
    /// Puts back what was before.
    fn roll_back(&self) -> Result<()>;
}

/// What a guest's operating system does for the agent.
pub trait Platform {
    /// What a plan must know.
    fn facts(&self) -> Result<Facts>;

    /// Brings a device up and makes the endpoint reachable through it: for IPv4 claiming a
    /// link-local address (RFC 3927) where it has none, for IPv6 awaiting for some seconds the
    /// one that the kernel makes (RFC 4862, section 5.3).
    fn open_path(&self, device: &str, endpoint: IpAddr) -> Result<EndpointPath>;
    /// Takes back what [`Platform::open_path`] did. `keep_route`: the agent goes on asking, with
    /// the addresses that the device has now.
    fn close_path(&self, path: &EndpointPath, keep_route: bool) -> Result<()>;

    /// Remembers how the network of these devices is set, so that a change of it can be taken back,
    /// also by the next run, should this one be killed. None where nothing is changed anyway.
    fn guard_network(&self, _devices: &[&str]) -> Result<Option<Box<dyn NetworkGuard + '_>>> {
        Ok(None)
    }
    /// Takes back a change of a run that was killed before it knew whether the change was good. Says
    /// whether there was one.
    fn recover_network(&self) -> Result<bool> {
        Ok(false)
    }

    /// Brings a device to the document's addresses, routes and MTU, now.
    fn configure_interface(&self, device: &str, interface: &Interface) -> Result<Change>;
    /// Writes the interfaces down for the system's own network service, and the resolvers.
    fn persist_network(&self, interfaces: &[(String, Interface)]) -> Result<Change>;
    /// Names the host: now, and at the next boot.
    fn set_hostname(&self, name: &str) -> Result<Change>;
    /// Lets the host find itself by its own names, without a resolver. Systems that do so by
    /// themselves have nothing to do.
    fn set_own_name(&self, _names: &[String]) -> Result<Change> {
        Ok(Change::Same)
    }

    /// Makes an account, its group and its home, or completes them.
    fn ensure_account(&self, account: &Account) -> Result<Change>;
    /// Makes a group, and takes those of its members in who are there.
    fn ensure_group(&self, _name: &str, _members: &[String]) -> Result<Change> {
        Err(PlatformError::Unsupported { what: "groups are not made on this system" })
    }
    /// Whether there is such an account already.
    fn has_account(&self, _name: &str) -> Result<bool> {
        Ok(true)
    }
    /// Shuts an account, but for root's: its password and the account itself open nothing any more,
    /// and its processes are ended. What it owns stays, so that nobody else is given its number.
    fn stop_account(&self, _user: &str) -> Result<Change> {
        Err(PlatformError::Unsupported { what: "accounts can't be shut on this system" })
    }
    /// Opens an account that was shut.
    fn start_account(&self, _user: &str) -> Result<Change> {
        Err(PlatformError::Unsupported { what: "accounts can't be opened on this system" })
    }
    /// Lets a user become another one; without rules, takes that back.
    fn set_sudo(&self, user: &str, rules: &[String]) -> Result<Change>;
    /// Makes the agent's block of authorized_keys hold exactly these lines.
    fn authorize_keys(&self, user: &str, keys: &[String]) -> Result<Change>;
    /// Sets a password by its crypt(3) hash.
    fn set_password_hash(&self, user: &str, hash: &SecretString) -> Result<Change>;
    /// Has a password open nothing any more.
    fn lock_password(&self, _user: &str) -> Result<Change> {
        Err(PlatformError::Unsupported { what: "passwords are not locked on this system" })
    }
    /// Says whether the SSH server takes passwords.
    fn set_ssh_passwords(&self, _on: bool) -> Result<Change> {
        Err(PlatformError::Unsupported { what: "the SSH server is not set on this system" })
    }
    /// Asks for a new password at the next login.
    fn expire_password(&self, user: &str) -> Result<Change>;

    /// Writes a file. `added`: what is to be added to its end stands there already, from an
    /// attempt that was cut off.
    fn write_file(&self, file: &FileSpec, added: bool) -> Result<Change>;
    /// Runs a program to its end and keeps its output. Gives the end of the output, too.
    fn run_script(&self, script: &Script) -> Result<(ScriptEnd, String)>;
    /// Installs packages.
    fn install_packages(&self, packages: &Packages) -> Result<Change>;
    /// Grows the root partition and its file system.
    fn grow_root(&self, partition: bool, filesystem: bool) -> Result<Change>;
    /// Sets the time zone.
    fn set_timezone(&self, zone: &str) -> Result<Change>;
    /// Sets the time servers.
    fn set_ntp(&self, ntp: &Ntp) -> Result<Change>;
    /// Stores a secret where only root reads it, and puts it on the disk.
    fn store_secret(&self, name: &SecretName, value: &SecretString) -> Result<Change>;

    /// Whether a key opens an encrypted volume, which stays as it is; an error where it does not.
    fn opens_volume(&self, device: &str, key: &SecretBytes) -> Result<()>;

    /// The SSH server's public keys that are there now.
    fn host_keys(&self) -> Vec<String>;
    /// Reads a file of the guest's; none where it is not there.
    fn read_file(&self, path: &str) -> Result<Option<Vec<u8>>>;
    /// Puts everything that was written on the disk.
    fn flush(&self) -> Result<()>;
}

/// Has files that are made with these options readable by root alone.
#[cfg(unix)]
pub fn make_private(options: &mut std::fs::OpenOptions) {
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
}

/// Has files that are made with these options readable by the system alone: elsewhere by the
/// directory's own access list.
#[cfg(not(unix))]
pub fn make_private(_options: &mut std::fs::OpenOptions) {}

/// Makes a directory that only root enters; that it is there already is fine.
pub fn create_private_directory(path: &std::path::Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    #[allow(unused_mut, reason = "changed on Unix only")]
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        other => other,
    }
}

/// Puts the names in a directory on the disk.
#[cfg(unix)]
pub fn sync_directory(path: &std::path::Path) -> io::Result<()> {
    std::fs::File::open(path)?.sync_all()
}

/// Puts the names in a directory on the disk: elsewhere the file system does so by itself.
#[cfg(not(unix))]
pub fn sync_directory(_path: &std::path::Path) -> io::Result<()> {
    Ok(())
}

/// Has a socket's packets leave through one device and no other (SO_BINDTODEVICE).
pub fn bind_to_device(socket: &socket2::Socket, device: &str) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    return socket.bind_device(Some(device.as_bytes()));
    #[cfg(not(target_os = "linux"))]
    return Err(io::Error::new(
        io::ErrorKind::Unsupported,
        format!("can't bind {socket:?} to {device}"),
    ));
}

/// The platform that this binary runs on.
#[cfg(target_os = "linux")]
pub fn native(settings: &Settings) -> Result<Box<dyn Platform>> {
    Ok(Box::new(linux::Linux::new(settings)?))
}

/// The platform that this binary runs on.
#[cfg(not(target_os = "linux"))]
pub fn native(_settings: &Settings) -> Result<Box<dyn Platform>> {
    Err(PlatformError::Unsupported {
        what: "the agent for this system is guest-agent.sh (docs/appliances.md)",
    })
}

/// What the doctor looks with on the platform that this binary runs on.
#[cfg(target_os = "linux")]
pub fn instruments(settings: &Settings) -> Box<dyn Instruments> {
    Box::new(linux::instruments(settings))
}

/// What the doctor looks with: on this platform, nothing but the platform itself.
#[cfg(not(target_os = "linux"))]
pub fn instruments(_settings: &Settings) -> Box<dyn Instruments> {
    Box::new(crate::doctor::instruments::Blind)
}
