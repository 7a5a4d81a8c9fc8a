//! One spelling for each account, where names are the same in any case of their letters. Pure.
//!
//! To Windows `administrator` and `Administrator` are one account. Two users of one account would
//! undo each other's keys, and one that is taken out of the record would shut the other out. So
//! each name is brought to one spelling before anything is planned: the document's, whose passwords
//! the service takes under no other name; then the default user's, the built-in administrator's,
//! user-data's, that of asks for passwords, and what the ledger has. An ask itself stays as it was
//! made, since the asker looks for its own spelling in the answer.

use std::collections::BTreeMap;

use mezame_model::{Document, UserName};

use crate::{facts::Facts, ledger::History, user_data::cloud_config::CloudConfig};

/// Names by their letters in lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spelling(BTreeMap<String, String>);

impl Spelling {
    pub(super) fn of(
        document: &Document,
        facts: &Facts,
        configs: [&CloudConfig; 2],
        history: &History,
    ) -> Self {
        let mut all = Self::default();
        document.users.iter().for_each(|user| all.add(user.name.as_str()));
        all.add(&facts.default_user);
        all.add(facts.system.superuser());
        for config in configs {
            let listed = config.users.iter().chain(&config.default_user);
            listed.for_each(|user| all.add(&user.account.name));
            config
                .passwords
                .iter()
                .filter_map(|(name, _)| name.as_ref())
                .for_each(|it| all.add(it));
        }
        document.windows_keys.iter().for_each(|key| all.add(&key.user_name));
        history.rights().for_each(|(user, _)| all.add(user));
        all
    }

    fn add(&mut self, name: &str) {
        self.0.entry(name.to_ascii_lowercase()).or_insert_with(|| name.to_owned());
    }

    /// The one spelling of a name.
    pub fn name(&self, name: &str) -> String {
        self.0.get(&name.to_ascii_lowercase()).map_or(name, String::as_str).to_owned()
    }

    pub(super) fn document(&self, document: &Document) -> Document {
        let mut document = document.clone();
        for user in &mut document.users {
            // It is one of the document's own names.
            if let Ok(name) = UserName::parse(&self.name(user.name.as_str())) {
                user.name = name;
            }
        }
        document
    }

    pub(super) fn config(&self, config: &mut CloudConfig) {
        for user in config.users.iter_mut().chain(&mut config.default_user) {
            user.account.name = self.name(&user.account.name);
        }
        for name in config.passwords.iter_mut().filter_map(|(name, _)| name.as_mut()) {
            *name = self.name(name);
        }
        for member in config.groups.iter_mut().flat_map(|(_, members)| members) {
            *member = self.name(member);
        }
    }
}
