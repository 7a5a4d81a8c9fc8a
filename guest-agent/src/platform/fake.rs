//! A guest in memory, for tests and for trying a plan: an ordinary implementation of
//! [`Platform`] that passes the same contract suite as the real one.

mod deeds;
mod state;

use std::{
    cell::{Ref, RefCell},
    collections::BTreeMap,
};

use mezame_model::SecretBytes;

pub use self::state::State;
use super::{Change, PlatformError, Result};
use crate::{
    facts::{Facts, Link, System},
    licence::Licence,
    step::Account,
};

/// The fake's clock, in seconds since 1970.
pub const NOW: u64 = 1_700_000_000;

/// A guest in memory.
#[derive(Debug)]
pub struct Fake {
    /// What it says of itself; a test may change it on the way.
    pub facts: Facts,
    state: RefCell<State>,
}

impl Fake {
    /// A guest with only root, in this boot and with these devices.
    pub fn new(boot_id: &str, links: Vec<Link>) -> Self {
        Self::of(System::Unix, boot_id, links)
    }

    /// A guest that runs this kind of system, with only its superuser.
    pub fn of(system: System, boot_id: &str, links: Vec<Link>) -> Self {
        let superuser = system.superuser();
        let facts = Facts {
            system,
            boot_id: boot_id.to_owned(),
            links,
            default_user: superuser.into(),
            configures_network: true,
            has_certificates: false,
            now: NOW,
            licence: None,
        };
        let users = BTreeMap::from([(superuser.to_owned(), Account::named(superuser))]);
        Self { facts, state: RefCell::new(State { users, ..State::default() }) }
    }

    /// Has an encrypted volume that this key opens, and no other.
    pub fn locks(&self, device: &str, key: SecretBytes) {
        self.state.borrow_mut().volumes.insert(device.to_owned(), key);
    }

    /// The next boot of the guest.
    pub fn boot(&mut self, boot_id: &str) {
        boot_id.clone_into(&mut self.facts.boot_id);
        let state = self.state.get_mut();
        if let Some(name) = state.next_hostname.take() {
            state.hostname = name;
        }
    }

    /// Has the guest ask for its licence to be activated.
    pub fn want_licence(&mut self, licence: Licence) {
        self.facts.licence = Some(licence);
    }

    /// The guest as it is now.
    pub fn state(&self) -> Ref<'_, State> {
        self.state.borrow()
    }

    /// Changes the guest from outside.
    pub fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.borrow_mut());
    }

    fn user(&self, name: &str) -> Result<()> {
        if self.state().users.contains_key(name) {
            Ok(())
        } else {
            Err(PlatformError::NoSuchUser { name: name.to_owned() })
        }
    }

    fn put<T: PartialEq>(&self, slot: impl FnOnce(&mut State) -> &mut T, value: T) -> Change {
        let mut state = self.state.borrow_mut();
        let slot = slot(&mut state);
        if *slot == value {
            return Change::Same;
        }
        *slot = value;
        Change::Changed
    }
}
