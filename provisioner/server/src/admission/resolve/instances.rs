//! Instances: the ports that they claim, and the secrets that `"(sealed)"` stands for.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use mezame_model::{
    Instance, InstanceId, InstanceName, Password, Port, PortId, SecretName, SecretString, User,
    UserData, api::Kind,
};
use mezame_protocol::spent::digest_of;

use super::{Document, Found, Pending, Resolver};
use crate::{
    admission::{
        instance::{Given, InstanceForm},
        user::{PasswordForm, UserForm},
    },
    environment::NoRandomness,
    record::{Consumed, InstanceRecord},
};

/// Who claims a port: the document, and the instance.
type Claims = HashMap<PortId, (usize, InstanceId)>;

impl Resolver<'_> {
    pub(super) fn resolve_instances(
        &mut self,
        documents: Vec<Document<InstanceForm>>,
    ) -> Result<(), NoRandomness> {
        let mut claims = Claims::new();
        for Document { index, form } in documents {
            self.check_project(index, &form.project);
            let held = self.state.instance(&form.project, &form.name);
            let before = held.map(|held| Arc::clone(&held.record));
            let id = match &before {
                Some(before) => before.instance.id.clone(),
                None => self.make_instance_id()?,
            };
            let ports = self.claim_ports(index, &form, &id, &mut claims);
            let record = self.instance_record(index, form, id, ports, before.as_deref());
            let pending = Pending { document: Some(index), record, before };
            self.instances.insert(pending.record.instance.id.clone(), pending);
        }
        self.bind_ports(&claims);
        self.check_macs();
        Ok(())
    }

    fn make_instance_id(&self) -> Result<InstanceId, NoRandomness> {
        loop {
            if let Ok(id) = InstanceId::parse(&self.make_id("i-")?)
                && self.state.instance_by_id(&id).is_none()
            {
                return Ok(id);
            }
        }
    }

    fn claim_ports(
        &self,
        document: usize,
        form: &InstanceForm,
        id: &InstanceId,
        claims: &mut Claims,
    ) -> Vec<PortId> {
        const MEND: &str = "a port is one guest's: make another port, or take it from there first";
        let mut ports = Vec::with_capacity(form.ports.len());
        for (at, name) in form.ports.iter().enumerate() {
            let path = || format!("ports[{at}]");
            let port = match self.find_port(&form.project, name) {
                Found::Here(port) => port,
                Found::Faulty => continue,
                Found::Missing => {
                    let tenant = self.state.tenant(&form.project);
                    let names: Vec<&str> = tenant
                        .map(|tenant| tenant.ports.keys().map(|n| n.as_str()).take(1000).collect())
                        .unwrap_or_default();
                    let mend = match crate::admission::nearest(name.as_str(), &names) {
                        Some(near) => format!("did you mean '{near}'?"),
                        None => "add a document of kind Port with this name".into(),
                    };
                    let message = format!("project '{}' has no port '{name}'", form.project);
                    self.note(document, path(), message, mend);
                    continue;
                }
            };
            if let Some((earlier, _)) = claims.get(&port) {
                let message = format!("document {earlier} claims the port '{name}' too");
                self.note(document, path(), message, MEND);
            } else if let Some(owner) = self.owner_that_stands(&port, id) {
                let message = format!("the port '{name}' belongs to the instance '{owner}'");
                self.note(document, path(), message, MEND);
            }
            claims.insert(port.clone(), (document, id.clone()));
            ports.push(port);
        }
        ports
    }

    /// The other instance that has a port and keeps it: one with a document of its own says there
    /// what it keeps.
    fn owner_that_stands(&self, port: &PortId, claimer: &InstanceId) -> Option<InstanceName> {
        let owner = self.state.port_by_id(port)?.instance.as_ref().filter(|id| *id != claimer)?;
        let owner = &self.state.instance_by_id(owner)?.record.instance;
        let declared =
            self.declared.has(Kind::Instance, owner.project.as_str(), owner.name.as_str());
        (!declared).then(|| owner.name.clone())
    }

    fn instance_record(
        &self,
        document: usize,
        form: InstanceForm,
        id: InstanceId,
        ports: Vec<PortId>,
        before: Option<&InstanceRecord>,
    ) -> InstanceRecord {
        let stored = before.map(|before| &*before.instance);
        let (user_data, vendor_data) = stored
            .map(|stored| (stored.user_data.as_ref(), stored.vendor_data.as_ref()))
            .unwrap_or_default();
        let user_data = self.data(document, "user_data", form.user_data, user_data);
        let vendor_data = self.data(document, "vendor_data", form.vendor_data, vendor_data);
        let users = form.users.into_iter().enumerate();
        let users = users.map(|(at, user)| self.user(document, at, user, stored)).collect();
        let mut instance = Instance {
            id,
            project: form.project,
            name: form.name,
            hostname: form.hostname,
            ports,
            ssh_keys: form.ssh_keys,
            users,
            user_data,
            vendor_data,
            tags: form.tags.into_iter().collect(),
            secrets: Default::default(),
            tokens: form.tokens,
            hop_limit: form.hop_limit,
            dialects: form.dialects,
            instance_type: form.instance_type,
            image_id: form.image_id,
            zone: form.zone,
            launched_at: stored
                .map_or_else(|| self.environment.now_ms() / 1000, |stored| stored.launched_at),
            launch_index: form.launch_index,
            guest_attributes: stored
                .map(|stored| stored.guest_attributes.clone())
                .unwrap_or_default(),
            volume_keys: stored.map(|stored| stored.volume_keys.clone()).unwrap_or_default(),
            nova_password: stored.and_then(|stored| stored.nova_password.clone()),
            block_devices: form.block_devices,
            trusted_certificates: form.trusted_certificates.into(),
            remote_desktop: form.remote_desktop,
            winrm: form.winrm,
            windows_keys: form.windows_keys.into(),
        };
        let consumed = self.secrets(document, &mut instance, form.secrets, before);
        // No document has them: they are changed by calls of their own.
        let kept_back = before.map(|before| before.kept_back.clone()).unwrap_or_default();
        let mut renewed = before.map(|before| before.renewed.clone()).unwrap_or_default();
        renewed.retain(|name, _| instance.users.iter().any(|user| user.name == *name));
        let instance = Arc::new(instance);
        InstanceRecord { instance, consumed, kept_back, renewed, revision: None }
    }

    /// Gives the instance the secrets that its guest has yet to read; says which it has read.
    fn secrets(
        &self,
        document: usize,
        instance: &mut Instance,
        given: BTreeMap<SecretName, Given<SecretString>>,
        before: Option<&InstanceRecord>,
    ) -> Consumed {
        let mut consumed = Consumed::new();
        for (name, given) in given {
            let digest = before.and_then(|before| before.consumed.get(&name));
            let waiting = before.and_then(|before| before.instance.secrets.get(&name));
            match (given, digest, waiting) {
                (Given::Value(value), Some(digest), _)
                    if *digest == digest_of(&instance.id, &name, &value) =>
                {
                    consumed.insert(name, *digest);
                }
                (Given::Value(value), ..) => {
                    instance.secrets.insert(name, value);
                }
                (Given::Kept, _, Some(value)) => {
                    instance.secrets.insert(name, value.clone());
                }
                (Given::Kept, Some(digest), None) => {
                    consumed.insert(name, *digest);
                }
                (Given::Kept, None, None) => {
                    self.note_nothing_sealed(document, format!("secrets.{name}"));
                }
            }
        }
        consumed
    }

    fn data(
        &self,
        document: usize,
        field: &str,
        given: Option<Given<UserData>>,
        stored: Option<&UserData>,
    ) -> Option<UserData> {
        match given? {
            Given::Value(data) => Some(data),
            Given::Kept => {
                if stored.is_none() {
                    let coded = format!("{field}_base64");
                    let path = self.path_of(document, field, field);
                    let path = if path.is_empty() { coded } else { path };
                    self.note_nothing_sealed(document, path);
                }
                stored.cloned()
            }
        }
    }

    fn user(&self, document: usize, at: usize, form: UserForm, stored: Option<&Instance>) -> User {
        let before = stored.and_then(|s| s.users.iter().find(|user| user.name == form.name));
        let is_made = matches!(form.password, Some(PasswordForm::Generate));
        let password_reset = before.and_then(|user| user.password_reset).filter(|_| is_made);
        let password = match form.password {
            None => None,
            Some(PasswordForm::Generate) => Some(Password::Generate),
            Some(PasswordForm::Hash(Given::Value(hash))) => Some(Password::Hash(hash)),
            Some(PasswordForm::Hash(Given::Kept)) => {
                let kept = before.and_then(|user| user.password.clone());
                let kept = kept.filter(|password| matches!(password, Password::Hash(_)));
                if kept.is_none() {
                    self.note_nothing_sealed(document, format!("users[{at}].password.hash"));
                }
                kept
            }
        };
        User {
            name: form.name,
            ssh_keys: form.ssh_keys,
            password,
            sudo: form.sudo,
            groups: form.groups,
            shell: form.shell,
            stopped: form.stopped,
            password_reset,
        }
    }

    fn note_nothing_sealed(&self, document: usize, path: String) {
        self.note(
            document,
            path,
            "'(sealed)' stands for the stored value, and none is stored",
            "give the value itself",
        );
    }

    /// Writes into each port whose it is, and takes it out of those that were given up.
    fn bind_ports(&mut self, claims: &Claims) {
        let mut touched: Vec<PortId> = claims.keys().cloned().collect();
        for pending in self.instances.values() {
            let before = pending.before.iter().flat_map(|before| &before.instance.ports);
            touched.extend(before.cloned());
        }
        for id in touched {
            let owner = claims.get(&id).map(|(_, owner)| owner.clone());
            if let Some(pending) = self.ports.get_mut(&id) {
                pending.record.instance = owner;
            } else if let Some(before) = self.state.port_by_id(&id)
                && before.instance != owner
            {
                let record = Port { instance: owner, ..(**before).clone() };
                let before = Some(Arc::clone(before));
                self.ports.insert(id, Pending { document: None, record, before });
            }
        }
    }

    /// The MACs of an instance's ports differ.
    fn check_macs(&self) {
        let mac = |id: &PortId| match self.ports.get(id) {
            Some(pending) => Some(pending.record.mac),
            None => self.state.port_by_id(id).map(|port| port.mac),
        };
        let clash = |ports: &[PortId], at: usize| {
            let wanted = mac(&ports[at])?;
            ports[..at].iter().position(|earlier| mac(earlier) == Some(wanted))
        };
        const MEND: &str =
            "give one of them another MAC: the guest tells its interfaces apart by it";
        for pending in self.instances.values() {
            let ports = &pending.record.instance.ports;
            for at in 1..ports.len() {
                if let (Some(earlier), Some(document)) = (clash(ports, at), pending.document) {
                    let message = format!("this port has the MAC of the instance's port {earlier}");
                    self.note(document, "ports", message, MEND);
                }
            }
        }
        for pending in self.ports.values() {
            let Some(owner) = &pending.record.instance else { continue };
            let Some(document) = pending.document else { continue };
            if self.instances.contains_key(owner) {
                continue;
            }
            let Some(owner) = self.state.instance_by_id(owner) else { continue };
            let ports = &owner.record.instance.ports;
            let same = ports
                .iter()
                .any(|other| *other != pending.record.id && mac(other) == Some(pending.record.mac));
            if same {
                let path = self.path_of(document, "mac", "mac");
                let message = format!(
                    "another port of the instance '{}' has this MAC",
                    owner.record.instance.name
                );
                self.note(document, path, message, MEND);
            }
        }
    }
}
