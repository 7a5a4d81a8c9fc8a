//! From the document, the facts and what was done before to the steps of this run. Pure.
//!
//! Order: network, host name, boot commands, files, disk, accounts with their keys and passwords,
//! certificates, ways in from outside, clock, licence, secrets, packages, deferred files, the first
//! boot's commands and scripts. Vendor-data comes before user-data in each of these; where both
//! name the same thing, user-data wins.
//!
//! What says "once" is looked up in the [`History`]: done before → settled; begun and not ended →
//! settled as `interrupted` if it runs code of others, done again if it is idempotent; the same
//! place with other content → settled as `changed-after-run`. What is not supported is a settled
//! step as well: nothing is dropped in silence.

mod hostname;
mod network;
mod once;
mod people;
mod seed;
mod spelling;
mod windows;

use std::fmt;

use mezame_model::{Document, report::Outcome};

use self::seed::Seed;
pub use self::spelling::Spelling;
use crate::{
    facts::{Facts, System},
    ledger::History,
    step::{Action, Step},
    user_data::Part,
};

/// When a run takes place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// At boot: everything.
    Boot,
    /// The document changed while the guest runs: keys, users, names, addresses. What is done
    /// once waits for the next boot.
    Live,
}

/// A step with the decision on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Planned {
    /// To be done.
    Do {
        /// What.
        step: Step,
        /// An earlier run began it and did not end it.
        resumed: bool,
    },
    /// Not to be done, and why.
    Settled {
        /// Names the step.
        key: String,
        /// `Unchanged`, `Skipped` or `Failed`.
        outcome: Outcome,
        /// A stable word, or empty.
        reason: String,
        /// For people.
        detail: String,
        /// The step whose end is to be noted now, where a crash took that note.
        note: Option<Box<Step>>,
    },
}

/// What is to be done in a run, in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<Planned>,
    /// How users are called in them, where their names have several spellings.
    pub spelling: Option<Spelling>,
}

/// Plans a run. `history` has entered the run's instance and boot already.
pub fn plan(
    document: &Document,
    vendor: &[Part],
    user: &[Part],
    facts: &Facts,
    history: &History,
    mode: Mode,
) -> Plan {
    let mut vendor = Seed::read("vendor-data", vendor, facts.system);
    let mut user = Seed::read("user-data", user, facts.system);
    if facts.system != System::Windows {
        let planner = Planner { history, spelling: None, mode, steps: Vec::new() };
        return Plan { steps: planner.all_of(document, vendor, user, facts), spelling: None };
    }
    let configs = [&vendor.config, &user.config];
    let spelling = Spelling::of(document, facts, configs, history);
    spelling.config(&mut vendor.config);
    spelling.config(&mut user.config);
    let document = spelling.document(document);
    let mut facts = facts.clone();
    facts.default_user = spelling.name(&facts.default_user);
    let history = history.respelled(&|name| spelling.name(name));
    let planner = Planner { history: &history, spelling: Some(&spelling), mode, steps: Vec::new() };
    let steps = planner.all_of(&document, vendor, user, &facts);
    Plan { steps, spelling: Some(spelling) }
}

struct Planner<'a> {
    history: &'a History,
    spelling: Option<&'a Spelling>,
    mode: Mode,
    steps: Vec<Planned>,
}

impl Planner<'_> {
    /// All steps, in their order.
    fn all_of(
        mut self,
        document: &Document,
        vendor: Seed,
        user: Seed,
        facts: &Facts,
    ) -> Vec<Planned> {
        let seeds = [&vendor, &user];
        self.network(document, facts);
        self.hostname(document, &vendor, &user);
        seeds.iter().for_each(|seed| self.all(&seed.boot));
        seeds.iter().for_each(|seed| self.all(&seed.files));
        seeds.iter().for_each(|seed| self.all(&seed.disk));
        people::plan(&mut self, document, &vendor.config, &user.config, facts);
        // Before anything that fetches something by TLS.
        if !document.trusted_certificates.is_empty() || facts.has_certificates {
            let action = Action::TrustCertificates(document.trusted_certificates.clone());
            self.always("trusted certificates".into(), action);
        }
        self.remote_access(document, facts);
        seeds.iter().for_each(|seed| self.all(&seed.clock));
        self.licence(facts);
        for name in &document.secrets {
            self.always(format!("secret {name}"), Action::Secret(name.clone()));
        }
        seeds.iter().for_each(|seed| self.all(&seed.packages));
        self.startup_tags(document, facts);
        seeds.iter().for_each(|seed| self.all(&seed.last));
        for (key, outcome, reason, detail) in vendor.settled.into_iter().chain(user.settled) {
            self.settle(key, outcome, reason, detail);
        }
        self.steps
    }

    /// The one name of a user.
    fn name(&self, user: &str) -> String {
        self.spelling.map_or_else(|| user.to_owned(), |spelling| spelling.name(user))
    }

    fn settle(&mut self, key: String, outcome: Outcome, reason: &str, detail: String) {
        let reason = reason.to_owned();
        self.steps.push(Planned::Settled { key, outcome, reason, detail, note: None });
    }
}

/// One line a step, for `--dry-run` and for golden files.
impl fmt::Display for Plan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for planned in &self.steps {
            match planned {
                Planned::Do { step, resumed } => {
                    let again = if *resumed { " (again)" } else { "" };
                    writeln!(
                        out,
                        "do      {}: {} [{}]{again}",
                        step.key, step.action, step.frequency
                    )?;
                }
                Planned::Settled { key, outcome, reason, detail, .. } => {
                    let word = match outcome {
                        Outcome::Done => "done",
                        Outcome::Unchanged => "keep",
                        Outcome::Skipped => "skip",
                        Outcome::Failed => "fail",
                    };
                    let dash = if reason.is_empty() { "" } else { ": " };
                    writeln!(out, "{word}    {key}: {reason}{dash}{detail}")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
