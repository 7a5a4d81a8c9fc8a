//! What a guest's system does for the agent: the trait that each system implements, and the values
//! that it takes and gives. Nothing here knows which system it is.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Instant,
};

use mezame_model::{
    Certificate, RemoteDesktop, Report, SecretBytes, SecretName, SecretString, Winrm,
    document::Interface,
};

use super::{PlatformError, Result};
use crate::{
    facts::Facts,
    licence::Licence,
    step::{Account, FileSpec, Ntp, Packages, Script},
    thumbprint::Thumbprint,
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

    /// Of several deeds of which none depends on another: all are tried, and the first error is
    /// told when they were.
    pub fn of_all<E>(
        deeds: impl IntoIterator<Item = std::result::Result<Self, E>>,
    ) -> std::result::Result<Self, E> {
        let mut result = Ok(Self::Same);
        for deed in deeds {
            result = match (result, deed) {
                (Ok(before), Ok(change)) => Ok(before.and(change)),
                (Err(first), _) | (Ok(_), Err(first)) => Err(first),
            };
        }
        result
    }
}

/// In which form a system takes a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordForm {
    /// As the hash that it keeps.
    Hash,
    /// As a text; what it keeps is its own affair.
    Text,
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
    /// Whether steps that failed half-way have cut the guest off: an address that was there is on no
    /// device now, and one of the failed has none that it was to have. What `good` devices had went
    /// as it was to go. Where nothing is taken away before something else is there: never.
    fn is_cut(&self, _failed: &[(&str, &Interface)], _good: &[&str]) -> Result<bool> {
        Ok(false)
    }
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
    fn guard_network(
        &self,
        _interfaces: &[(&str, &Interface)],
    ) -> Result<Option<Box<dyn NetworkGuard + '_>>> {
        Ok(None)
    }
    /// Takes back a change of a run that was killed before it knew whether the change was good.
    /// Says whether there was one.
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

    /// The host name that is set and not in use before a reboot.
    fn name_awaiting_reboot(&self) -> Option<String> {
        None
    }
    /// Ends the system and starts it again, soon. What is on the disk stays.
    fn reboot(&self, _why: &str) -> Result<()> {
        Err(PlatformError::Unsupported { what: "the agent does not reboot this system" })
    }
    /// Activates the system's licence, where it is not.
    fn activate(&self, _licence: &Licence) -> Result<Change> {
        Err(PlatformError::Unsupported { what: "this system needs no activation" })
    }
    /// Takes away routes to link-local services that an image has kept from the network that it was
    /// made in. Gives those that are gone, for people.
    fn clear_stale_routes(&self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
    /// Tells the system's own places what a run has brought, for programs that look there.
    fn show_run(&self, _report: &Report) -> Result<()> {
        Ok(())
    }
    /// Forgets what it keeps of this guest outside of the agent's state directory.
    fn forget(&self) -> Result<()> {
        Ok(())
    }

    /// Makes an account, its group and its home, or completes them.
    fn ensure_account(&self, account: &Account) -> Result<Change>;
    /// Makes a group, and takes those of its members in who are there.
    fn ensure_group(&self, _name: &str, _members: &[String]) -> Result<Change> {
        Err(PlatformError::Unsupported { what: "groups are not made on this system" })
    }
    /// Whether there is such an account already.
    fn has_account(&self, name: &str) -> Result<bool>;
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
    /// How passwords are set here.
    fn password_form(&self) -> PasswordForm {
        PasswordForm::Hash
    }
    /// Sets a password by its text, where that is the form.
    fn set_password_text(&self, _user: &str, _text: &SecretString) -> Result<Change> {
        Err(PlatformError::Unsupported { what: "passwords are set by their hashes here" })
    }
    /// Sets a password by its crypt(3) hash.
    fn set_password_hash(&self, user: &str, hash: &SecretString) -> Result<Change>;
    /// Writes lines to a serial port, for programs on the hypervisor's side.
    fn write_to_serial(&self, _port: &str, _lines: &str) -> Result<()> {
        Err(PlatformError::Unsupported { what: "nothing is told by a serial port on this system" })
    }
    /// Has a password open nothing any more.
    fn lock_password(&self, _user: &str) -> Result<Change> {
        Err(PlatformError::Unsupported { what: "passwords are not locked on this system" })
    }
    /// Has the system's programs trust these certificates besides the system's own, and none that
    /// they were given here before.
    fn trust_certificates(&self, _certificates: &[Certificate]) -> Result<Change> {
        Err(PlatformError::Unsupported { what: "certificates can't be trusted on this system" })
    }
    /// Lets people in by Remote Desktop, or nobody.
    fn set_remote_desktop(&self, _wanted: &RemoteDesktop) -> Result<Change> {
        Err(PlatformError::Unsupported { what: "this system has no Remote Desktop" })
    }
    /// Has WinRM listen with a certificate for this name, or no longer. Gives what the certificate
    /// is known by, where there is one.
    fn set_winrm(&self, _wanted: &Winrm, _hostname: &str) -> Result<(Change, Option<Thumbprint>)> {
        Err(PlatformError::Unsupported { what: "this system has no WinRM" })
    }
    /// Says whether the SSH server takes passwords.
    fn set_ssh_passwords(&self, _on: bool) -> Result<Change> {
        Err(PlatformError::Unsupported { what: "the SSH server is not set on this system" })
    }
    /// Has services begin anew for which a run that was cut off had written something. Says whether
    /// there was one.
    fn complete_restarts(&self) -> Result<bool> {
        Ok(false)
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
    fn opens_volume(&self, _device: &str, _key: &SecretBytes) -> Result<()> {
        Err(PlatformError::Unsupported { what: "this system has no such volumes" })
    }

    /// The SSH server's public keys that are there now.
    fn host_keys(&self) -> Vec<String>;
    /// Reads a file of the guest's; none where it is not there.
    fn read_file(&self, path: &str) -> Result<Option<Vec<u8>>>;
    /// Puts everything that was written on the disk.
    fn flush(&self) -> Result<()>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_deeds_are_tried_and_the_first_error_is_told() {
        let mut tried = Vec::new();
        let deeds = [Ok(Change::Changed), Err("first"), Ok(Change::Same), Err("second")];
        let told = Change::of_all(deeds.into_iter().inspect(|deed| tried.push(*deed)));
        assert_eq!((told, tried.as_slice()), (Err("first"), &deeds[..]));
        assert_eq!(
            Change::of_all([Ok::<_, ()>(Change::Same), Ok(Change::Changed)]),
            Ok(Change::Changed)
        );
        assert_eq!(Change::of_all::<()>([]), Ok(Change::Same));
    }
}
