//! What the guest in memory does for the agent: each operation of [`Platform`], on its state alone.

use std::{
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr},
};

use mezame_model::{
    Certificate, RemoteDesktop, SecretBytes, SecretName, SecretString, Winrm, document::Interface,
};

use super::Fake;
use crate::{
    account::is_account_name,
    authorized_keys,
    facts::{Facts, System},
    licence::Licence,
    platform::{
        Change, EndpointPath, NetworkGuard, PasswordForm, Platform, PlatformError, Result,
        ScriptEnd, error::of_winrm,
    },
    step::{Account, FileSpec, Ntp, Packages, Script},
    thumbprint::Thumbprint,
    winrm,
};

struct FakeGuard<'a>(&'a Fake);

impl NetworkGuard for FakeGuard<'_> {
    fn keep(&self) -> Result<()> {
        self.0.state.borrow_mut().before = None;
        Ok(())
    }

    fn is_cut(&self, failed: &[(&str, &Interface)], good: &[&str]) -> Result<bool> {
        let state = self.0.state.borrow();
        let mut now = state.interfaces.values().flat_map(|it| &it.addresses);
        let before = state.before.iter().flatten().filter(|(name, _)| !good.contains(&&***name));
        let is_lost =
            { before }.flat_map(|(_, it)| &it.addresses).any(|address| now.all(|it| it != address));
        Ok(is_lost && failed.iter().any(|(name, _)| !state.interfaces.contains_key(*name)))
    }

    fn roll_back(&self) -> Result<()> {
        let mut state = self.0.state.borrow_mut();
        if let Some(before) = state.before.take() {
            state.interfaces = before;
        }
        Ok(())
    }
}

impl Platform for Fake {
    fn facts(&self) -> Result<Facts> {
        let has_certificates = !self.state().certificates.is_empty();
        Ok(Facts { has_certificates, ..self.facts.clone() })
    }

    fn open_path(&self, device: &str, endpoint: IpAddr) -> Result<EndpointPath> {
        let link = self.facts.links.iter().find(|link| link.name == device);
        let what = "looking for the device";
        let link = link.ok_or_else(|| PlatformError::Network {
            what,
            source: std::io::ErrorKind::NotFound.into(),
        })?;
        let mut state = self.state.borrow_mut();
        if endpoint.is_ipv6() && state.no_ipv6.contains(device) {
            let why = "it is turned off there";
            return Err(PlatformError::NoIpv6 { device: device.to_owned(), why });
        }
        let has_v4 = link.addresses.iter().any(|it| it.is_ipv4());
        let opened = EndpointPath {
            device: device.to_owned(),
            index: link.index,
            claimed: (endpoint.is_ipv4() && !has_v4).then_some(Ipv4Addr::new(169, 254, 7, 7)),
            endpoint,
            routed: !matches!(endpoint, IpAddr::V6(it) if it.is_unicast_link_local())
                && !state.paths.iter().any(|it| it.index == link.index && it.endpoint == endpoint),
            first_packet: None,
        };
        if opened.routed || opened.claimed.is_some() {
            state.paths.push(opened.clone());
        }
        Ok(opened)
    }

    fn close_path(&self, path: &EndpointPath, keep_route: bool) -> Result<()> {
        let same = |it: &EndpointPath| it.index == path.index && it.endpoint == path.endpoint;
        let mut state = self.state.borrow_mut();
        for known in state.paths.iter_mut().filter(|it| same(it)) {
            known.claimed = None;
        }
        if !keep_route {
            state.paths.retain(|it| !same(it));
        }
        Ok(())
    }

    fn guard_network(
        &self,
        _interfaces: &[(&str, &Interface)],
    ) -> Result<Option<Box<dyn NetworkGuard + '_>>> {
        let before = self.state().interfaces.clone();
        self.state.borrow_mut().before = Some(before);
        Ok(Some(Box::new(FakeGuard(self))))
    }

    fn recover_network(&self) -> Result<bool> {
        let left = self.state().before.is_some();
        FakeGuard(self).roll_back().map(|()| left)
    }

    fn configure_interface(&self, device: &str, interface: &Interface) -> Result<Change> {
        let mut state = self.state.borrow_mut();
        if let Some(gone) = state.half_done.get(device).cloned() {
            state.interfaces.remove(&gone);
            let what = "giving a card to a bond";
            return Err(PlatformError::Network { what, source: ErrorKind::ResourceBusy.into() });
        }
        let before = state.interfaces.insert(device.to_owned(), interface.clone());
        Ok(if before.as_ref() == Some(interface) { Change::Same } else { Change::Changed })
    }

    fn persist_network(&self, interfaces: &[(String, Interface)]) -> Result<Change> {
        Ok(self.put(|state| &mut state.persisted, interfaces.to_vec()))
    }

    fn set_hostname(&self, name: &str) -> Result<Change> {
        if self.facts.system == System::Unix {
            return Ok(self.put(|state| &mut state.hostname, name.to_owned()));
        }
        if self.state().hostname == name {
            return Ok(Change::Same);
        }
        Ok(self.put(|state| &mut state.next_hostname, Some(name.to_owned())))
    }

    fn name_awaiting_reboot(&self) -> Option<String> {
        self.state().next_hostname.clone()
    }

    fn activate(&self, licence: &Licence) -> Result<Change> {
        Ok(self.put(|state| &mut state.licence, Some(licence.clone())))
    }

    fn password_form(&self) -> PasswordForm {
        match self.facts.system {
            System::Unix => PasswordForm::Hash,
            System::Windows => PasswordForm::Text,
        }
    }

    fn set_password_text(&self, user: &str, text: &SecretString) -> Result<Change> {
        self.user(user)?;
        if self.state().refuses_texts {
            let detail = "the policy refuses it".to_owned();
            return Err(PlatformError::Tool { tool: "NetUserSetInfo".into(), detail });
        }
        self.state.borrow_mut().texts.insert(user.to_owned(), text.clone());
        Ok(Change::Changed)
    }

    fn set_own_name(&self, names: &[String]) -> Result<Change> {
        Ok(self.put(|state| &mut state.own_names, names.to_vec()))
    }

    fn ensure_group(&self, name: &str, members: &[String]) -> Result<Change> {
        let mut state = self.state.borrow_mut();
        let there: Vec<String> =
            members.iter().filter(|it| state.users.contains_key(*it)).cloned().collect();
        let is_new = !state.groups.contains_key(name);
        let group = state.groups.entry(name.to_owned()).or_default();
        let before = group.len();
        group.extend(there);
        Ok(if is_new || group.len() > before { Change::Changed } else { Change::Same })
    }

    fn trust_certificates(&self, certificates: &[Certificate]) -> Result<Change> {
        Ok(self.put(|state| &mut state.certificates, certificates.to_vec()))
    }

    fn set_remote_desktop(&self, wanted: &RemoteDesktop) -> Result<Change> {
        Ok(self.put(|state| &mut state.remote_desktop, Some(*wanted)))
    }

    /// Its certificate is known by what it is for.
    fn set_winrm(&self, wanted: &Winrm, hostname: &str) -> Result<(Change, Option<Thumbprint>)> {
        let names = winrm::Names::of(hostname).map_err(of_winrm)?;
        let new = wanted.https.then(|| (*wanted, hostname.to_owned()));
        let change = self.put(|state| &mut state.winrm, new);
        Ok((change, wanted.https.then(|| Thumbprint::of(format!("{names:?}").as_bytes()))))
    }

    fn write_to_serial(&self, _port: &str, lines: &str) -> Result<()> {
        self.state.borrow_mut().serial.push_str(lines);
        Ok(())
    }

    fn lock_password(&self, user: &str) -> Result<Change> {
        let mut state = self.state.borrow_mut();
        let Some(hash) = state.passwords.get_mut(user) else { return Ok(Change::Same) };
        if hash.expose().starts_with('!') {
            return Ok(Change::Same);
        }
        *hash = SecretString::new(format!("!{}", hash.expose()));
        Ok(Change::Changed)
    }

    fn set_ssh_passwords(&self, on: bool) -> Result<Change> {
        Ok(self.put(|state| &mut state.ssh_passwords, Some(on)))
    }

    fn ensure_account(&self, account: &Account) -> Result<Change> {
        if !is_account_name(&account.name) {
            let why = crate::account::NAME_RULE.to_owned();
            return Err(PlatformError::Invalid { what: "user name", why });
        }
        let mut state = self.state.borrow_mut();
        let Some(known) = state.users.get_mut(&account.name) else {
            state.users.insert(account.name.clone(), account.clone());
            return Ok(Change::Changed);
        };
        let before = known.clone();
        for group in &account.groups {
            if !known.groups.contains(group) {
                known.groups.push(group.clone());
            }
        }
        if account.shell.is_some() {
            known.shell.clone_from(&account.shell);
        }
        Ok(if *known == before { Change::Same } else { Change::Changed })
    }

    fn has_account(&self, name: &str) -> Result<bool> {
        Ok(self.state().users.contains_key(name))
    }

    fn stop_account(&self, user: &str) -> Result<Change> {
        if user == "root" {
            let why = "root is never shut out".to_owned();
            return Err(PlatformError::Invalid { what: "user", why });
        }
        if self.user(user).is_err() {
            return Ok(Change::Same);
        }
        let new = self.state.borrow_mut().stopped.insert(user.to_owned());
        Ok(if new { Change::Changed } else { Change::Same })
    }

    fn start_account(&self, user: &str) -> Result<Change> {
        let gone = self.state.borrow_mut().stopped.remove(user);
        Ok(if gone { Change::Changed } else { Change::Same })
    }

    fn set_sudo(&self, user: &str, rules: &[String]) -> Result<Change> {
        if rules.is_empty() {
            let gone = self.state.borrow_mut().sudo.remove(user).is_some();
            return Ok(if gone { Change::Changed } else { Change::Same });
        }
        if rules.iter().any(|rule| rule.contains('\n') || !rule.contains('=')) {
            let why = "it is not one line of HOSTS=(USERS) COMMANDS".to_owned();
            return Err(PlatformError::Invalid { what: "sudo rule", why });
        }
        let mut state = self.state.borrow_mut();
        let before = state.sudo.insert(user.to_owned(), rules.to_vec());
        Ok(if before.as_deref() == Some(rules) { Change::Same } else { Change::Changed })
    }

    fn authorize_keys(&self, user: &str, keys: &[String]) -> Result<Change> {
        match self.user(user) {
            Err(_) if keys.is_empty() => return Ok(Change::Same),
            other => other?,
        }
        let mut state = self.state.borrow_mut();
        let file = state.keys.entry(user.to_owned()).or_default();
        match authorized_keys::edit(file, keys) {
            None => Ok(Change::Same),
            Some(text) => {
                *file = text;
                Ok(Change::Changed)
            }
        }
    }

    fn set_password_hash(&self, user: &str, hash: &SecretString) -> Result<Change> {
        self.user(user)?;
        if hash.expose().is_empty() || hash.expose().contains([':', '\n']) {
            let why = "it can't stand in /etc/shadow".to_owned();
            return Err(PlatformError::Invalid { what: "password hash", why });
        }
        let mut state = self.state.borrow_mut();
        let before = state.passwords.insert(user.to_owned(), hash.clone());
        Ok(if before.as_ref() == Some(hash) { Change::Same } else { Change::Changed })
    }

    fn expire_password(&self, user: &str) -> Result<Change> {
        self.user(user)?;
        let new = self.state.borrow_mut().expired.insert(user.to_owned());
        Ok(if new { Change::Changed } else { Change::Same })
    }

    fn write_file(&self, file: &FileSpec, added: bool) -> Result<Change> {
        let owner = file.owner.clone().unwrap_or_else(|| "root".into());
        let mut content = Vec::new();
        if file.append {
            content = self.read_file(&file.path)?.unwrap_or_default();
        }
        if !added {
            content.extend_from_slice(&file.content);
        }
        let mut state = self.state.borrow_mut();
        let entry = (content, file.mode, owner);
        let before = state.files.insert(file.path.clone(), entry.clone());
        Ok(if before == Some(entry) { Change::Same } else { Change::Changed })
    }

    fn run_script(&self, script: &Script) -> Result<(ScriptEnd, String)> {
        let mut state = self.state.borrow_mut();
        state.ran.push(script.name.clone());
        let end = state.ends.get(&script.name).cloned().unwrap_or(ScriptEnd::Exited(0));
        Ok((end, String::new()))
    }

    fn install_packages(&self, packages: &Packages) -> Result<Change> {
        self.state.borrow_mut().packages.push(packages.clone());
        Ok(Change::Changed)
    }

    fn grow_root(&self, _partition: bool, _filesystem: bool) -> Result<Change> {
        Ok(Change::Same)
    }

    fn set_timezone(&self, zone: &str) -> Result<Change> {
        Ok(self.put(|state| &mut state.timezone, Some(zone.to_owned())))
    }

    fn set_ntp(&self, ntp: &Ntp) -> Result<Change> {
        Ok(self.put(|state| &mut state.ntp, Some(ntp.clone())))
    }

    fn store_secret(&self, name: &SecretName, value: &SecretString) -> Result<Change> {
        let before = self.state.borrow_mut().secrets.insert(name.clone(), value.clone());
        Ok(if before.as_ref() == Some(value) { Change::Same } else { Change::Changed })
    }

    fn opens_volume(&self, device: &str, key: &SecretBytes) -> Result<()> {
        if self.state().volumes.get(device) == Some(key) {
            return Ok(());
        }
        let detail = "no key available with this passphrase".to_owned();
        Err(PlatformError::Tool { tool: "cryptsetup".to_owned(), detail })
    }

    fn host_keys(&self) -> Vec<String> {
        self.state().host_keys.clone()
    }

    fn read_file(&self, path: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.state().files.get(path).map(|(content, ..)| content.clone()))
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }
}
