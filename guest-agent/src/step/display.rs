//! A step's action as a short line for people: in reports, logs and `--dry-run`. Never a secret.

use std::fmt;

use ipnetwork::IpNetwork;
use mezame_model::document::Interface;

use super::Action;
use crate::licence;

/// A short line for people, without any secret.
impl fmt::Display for Action {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interface { .. }
            | Self::PersistNetwork { .. }
            | Self::Hostname(_)
            | Self::OwnName(_) => self.network(out),
            Self::Group { .. }
            | Self::Account(_)
            | Self::Sudo { .. }
            | Self::Keys { .. }
            | Self::Stop { .. }
            | Self::Start { .. } => self.people(out),
            Self::PasswordHash { .. }
            | Self::PasswordText { .. }
            | Self::GeneratePassword { .. }
            | Self::AnswerWindowsKey { .. }
            | Self::LockPassword { .. }
            | Self::ExpirePassword { .. } => self.passwords(out),
            Self::TrustCertificates(_)
            | Self::RemoteDesktop(_)
            | Self::Winrm { .. }
            | Self::SshPasswords(_) => self.ways_in(out),
            Self::File(_)
            | Self::Run(_)
            | Self::Packages(_)
            | Self::Grow { .. }
            | Self::Timezone(_)
            | Self::Ntp(_)
            | Self::Secret(_)
            | Self::Activate(_) => self.system(out),
        }
    }
}

/// Each writes the actions that [`fmt::Display`] sends there, and nothing for others.
impl Action {
    fn network(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interface { device, interface } => configured(out, device, interface),
            Self::PersistNetwork { interfaces } => {
                let names: Vec<_> = interfaces.iter().map(|(name, _)| name.as_str()).collect();
                write!(out, "write the network configuration of {}", names.join(", "))
            }
            Self::Hostname(name) => write!(out, "set the host name to {name}"),
            Self::OwnName(names) => write!(out, "let the host find itself as {}", names.join(", ")),
            _ => Ok(()),
        }
    }

    fn people(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group { name, members } => {
                write!(out, "make sure that the group {name} exists")?;
                if !members.is_empty() {
                    write!(out, ", with {}", members.join(", "))?;
                }
                Ok(())
            }
            Self::Account(account) => {
                write!(out, "make sure that {} exists", account.name)?;
                if !account.groups.is_empty() {
                    write!(out, ", in {}", account.groups.join(", "))?;
                }
                Ok(())
            }
            Self::Sudo { user, rules } if rules.is_empty() => {
                write!(out, "take sudo from {user}")
            }
            Self::Sudo { user, rules } => write!(out, "give {user} sudo: {}", rules.join("; ")),
            Self::Keys { user, keys } => write!(out, "let {} key(s) log in as {user}", keys.len()),
            Self::Stop { user } => write!(out, "let nobody in as {user}, and end what runs as it"),
            Self::Start { user } => write!(out, "open {user}'s account again"),
            _ => Ok(()),
        }
    }

    fn passwords(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PasswordHash { user, .. } => write!(out, "set {user}'s password by its hash"),
            Self::PasswordText { user, .. } => write!(out, "set {user}'s password"),
            Self::GeneratePassword { user, reset, .. } => {
                let word = if reset.is_some() { "another" } else { "a" };
                write!(out, "make {word} password for {user} and seal it to the user's key")
            }
            Self::AnswerWindowsKey { key, .. } => {
                write!(out, "make a password for {}, and tell it on COM4", key.user_name)
            }
            Self::LockPassword { user } => write!(out, "lock {user}'s password"),
            Self::ExpirePassword { user } => {
                write!(out, "have {user} choose a new password at the next login")
            }
            _ => Ok(()),
        }
    }

    fn ways_in(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TrustCertificates(all) => write!(out, "trust {} certificate(s)", all.len()),
            Self::RemoteDesktop(wanted) if wanted.enabled => {
                let nla = if wanted.nla { "with" } else { "without" };
                write!(out, "let people in by Remote Desktop on port {}, {nla} NLA", wanted.port)
            }
            Self::RemoteDesktop(_) => out.write_str("let nobody in by Remote Desktop"),
            Self::Winrm { wanted, hostname } if wanted.https => {
                write!(out, "have WinRM listen by HTTPS on port {} as {hostname}", wanted.port)?;
                out.write_str(if wanted.basic { ", with Basic" } else { "" })
            }
            Self::Winrm { .. } => {
                out.write_str("take away the listener of WinRM that was made here")
            }
            Self::SshPasswords(on) => {
                write!(out, "have the SSH server {} passwords", if *on { "take" } else { "refuse" })
            }
            _ => Ok(()),
        }
    }

    fn system(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => write!(
                out,
                "{} {} byte(s) to {} (mode {:04o}, owner {})",
                if file.append { "append" } else { "write" },
                file.content.len(),
                file.path,
                file.mode,
                file.owner.as_deref().unwrap_or("root")
            ),
            Self::Run(script) => write!(out, "run {} ({} bytes)", script.name, script.body.len()),
            Self::Packages(packages) => write!(
                out,
                "packages: {}{}install {:?}",
                if packages.update { "update lists, " } else { "" },
                if packages.upgrade { "upgrade, " } else { "" },
                packages.install
            ),
            Self::Grow { partition, filesystem } => {
                write!(
                    out,
                    "grow the root disk (partition: {partition}, file system: {filesystem})"
                )
            }
            Self::Timezone(zone) => write!(out, "set the time zone to {zone}"),
            Self::Ntp(ntp) => {
                write!(out, "follow the time servers {:?} {:?}", ntp.servers, ntp.pools)
            }
            Self::Secret(name) => write!(out, "store the secret {name} and acknowledge it"),
            Self::Activate(licence) => {
                let host = licence.host.as_deref().unwrap_or(licence::HOST);
                write!(out, "activate the licence at {host}")
            }
            _ => Ok(()),
        }
    }
}

fn configured(out: &mut fmt::Formatter<'_>, device: &str, interface: &Interface) -> fmt::Result {
    let join =
        |list: &[IpNetwork]| list.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    write!(
        out,
        "configure {device} ({}): mtu {}, addresses {}, gateways {:?}, dns {:?}{}",
        interface.mac,
        interface.mtu,
        join(&interface.addresses),
        interface.gateways,
        interface.dns,
        interface
            .routes
            .iter()
            .map(|route| format!(", route {} via {}", route.destination, route.via))
            .chain(
                interface
                    .bond
                    .iter()
                    .map(|bond| { format!(", a bond ({}) of {:?}", bond.mode, bond.members) })
            )
            .chain(interface.vlans.iter().map(|vlan| {
                format!(", VLAN {}: mtu {}, addresses {}", vlan.id, vlan.mtu, join(&vlan.addresses))
            }))
            .collect::<String>()
    )
}
