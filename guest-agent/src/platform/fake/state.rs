//! What a guest in memory consists of. A test reads it, and may change it on the way.

use std::collections::{BTreeMap, BTreeSet};

use mezame_model::{
    Certificate, RemoteDesktop, SecretBytes, SecretName, SecretString, Winrm, document::Interface,
};

use crate::{
    licence::Licence,
    platform::{EndpointPath, ScriptEnd},
    step::{Account, Ntp, Packages},
};

/// What the guest consists of.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// The host's name.
    pub hostname: String,
    /// The names by which it finds itself.
    pub own_names: Vec<String>,
    /// The groups that were asked for by name.
    pub groups: BTreeMap<String, BTreeSet<String>>,
    /// Whether the SSH server takes passwords; nothing: as the image has it.
    pub ssh_passwords: Option<bool>,
    /// The name that a system has which takes one at a boot only.
    pub next_hostname: Option<String>,
    /// Passwords as texts, by user, where they are set so.
    pub texts: BTreeMap<String, SecretString>,
    /// Whether setting one fails.
    pub refuses_texts: bool,
    /// What it trusts besides its own.
    pub certificates: Vec<Certificate>,
    /// Who gets in by Remote Desktop; nothing: as the image has it.
    pub remote_desktop: Option<RemoteDesktop>,
    /// Who gets in by WinRM, and the name of the certificate.
    pub winrm: Option<(Winrm, String)>,
    /// What was written to serial ports.
    pub serial: String,
    /// The licence, if it was activated.
    pub licence: Option<Licence>,
    /// By name.
    pub users: BTreeMap<String, Account>,
    /// By user.
    pub sudo: BTreeMap<String, Vec<String>>,
    /// authorized_keys by user.
    pub keys: BTreeMap<String, Vec<u8>>,
    /// Password hashes by user.
    pub passwords: BTreeMap<String, SecretString>,
    /// Users whose accounts are shut.
    pub stopped: BTreeSet<String>,
    /// Users that must choose a new password.
    pub expired: BTreeSet<String>,
    /// By path: content, mode, owner.
    pub files: BTreeMap<String, (Vec<u8>, u32, String)>,
    /// By device.
    pub interfaces: BTreeMap<String, Interface>,
    /// The interfaces as they were before a change that is not known to be good yet.
    pub before: Option<BTreeMap<String, Interface>>,
    /// Devices whose configuration fails, and which one's is gone by then.
    pub half_done: BTreeMap<String, String>,
    /// What was written down for the network service.
    pub persisted: Vec<(String, Interface)>,
    /// Names of the scripts that were run.
    pub ran: Vec<String>,
    /// How the next scripts end, by name; the others end with 0.
    pub ends: BTreeMap<String, ScriptEnd>,
    /// What was installed.
    pub packages: Vec<Packages>,
    /// The zone.
    pub timezone: Option<String>,
    /// The servers.
    pub ntp: Option<Ntp>,
    /// Stored secrets.
    pub secrets: BTreeMap<SecretName, SecretString>,
    /// The SSH server's keys.
    pub host_keys: Vec<String>,
    /// Devices on which IPv6 is turned off.
    pub no_ipv6: BTreeSet<String>,
    /// What opens its encrypted volumes, by device.
    pub volumes: BTreeMap<String, SecretBytes>,
    /// The ways that are open now.
    pub paths: Vec<EndpointPath>,
}
