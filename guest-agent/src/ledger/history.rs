//! What the ledger's records add up to, and what that says about a step. Pure.

use std::collections::{BTreeMap, BTreeSet};

use mezame_model::{InstanceId, report::Outcome};
use serde::{Deserialize, Serialize};

use crate::step::{Fingerprint, Frequency, Step, respelled};

/// What is remembered of a step that is not done in each run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// What it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Fingerprint>,
    /// How it ended; none while it runs, or after a crash in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// The failure's stable word.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What the step found when it began, where that tells later whether it came to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<Found>,
    /// Whether it asked to be run again; kept while it runs, so that the times are counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<Again>,
}

/// A script's wish to be run again at the next boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Again {
    /// The boot in which it was uttered.
    pub boot: String,
    /// How often in a row.
    pub times: u32,
}

/// A file as it was before something was added to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Its length in bytes.
    pub length: usize,
    /// Of its content.
    pub fingerprint: Fingerprint,
}

impl Found {
    /// Describes a content.
    pub fn of(content: &[u8]) -> Self {
        Self { length: content.len(), fingerprint: Fingerprint::of(&[content]) }
    }

    /// Whether `now` is that content with `added` behind it, and possibly more behind that.
    pub fn grown_by(&self, added: &[u8], now: &[u8]) -> bool {
        now.split_at_checked(self.length)
            .is_some_and(|(old, new)| Self::of(old) == *self && new.starts_with(added))
    }
}

/// A user's rights that the agent looks after, so that they can be taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Right {
    /// Keys in authorized_keys.
    Keys,
    /// A sudoers file.
    Sudo,
    /// An account that the agent made: without its user in the record it is shut.
    Account,
    /// A password that the agent set.
    Password,
    /// No right but its opposite: the agent has locked a password that it had set.
    Locked,
    /// The same of an account: it is to be opened where the user is wanted again.
    Stopped,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "record")]
pub(super) enum Record {
    /// A run began.
    Run { instance: InstanceId, boot: String, run: u32 },
    /// A step began, or ended.
    Step { scope: String, key: String, trace: Trace },
    /// A right was given or taken back.
    Right { user: String, right: Right, held: bool },
}

/// What the records add up to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// The instance of the newest run.
    pub instance: Option<InstanceId>,
    /// The boot of the newest run.
    pub boot: String,
    /// The number of the newest run in that boot.
    pub run: u32,
    traces: BTreeMap<(String, String), Trace>,
    pub(super) rights: BTreeSet<(String, Right)>,
}

/// What is known of a step before it is planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Past<'a> {
    /// Never begun.
    New,
    /// Begun, and not ended.
    Interrupted,
    /// Ended, and to be run again.
    Again(&'a Again),
    /// Ended.
    Ended(&'a Trace),
    /// Under its key, something else was done.
    Other(&'a Trace),
}

impl History {
    /// The key of the scope that a frequency counts in.
    pub(super) fn scope(&self, frequency: Frequency) -> String {
        match frequency {
            Frequency::Always => String::new(),
            Frequency::PerBoot => format!("boot {}", self.boot),
            Frequency::PerInstance => {
                format!("instance {}", self.instance.as_ref().map_or("", InstanceId::as_str))
            }
            Frequency::Once => "once".to_owned(),
        }
    }

    /// What became of a step before. The same content under another key counts as the same step:
    /// a part that moved to another place in user-data does not run again.
    pub fn past(&self, step: &Step) -> Past<'_> {
        let scope = self.scope(step.frequency);
        let here = self.traces.get(&(scope.clone(), step.key.clone()));
        if let Some(trace) = here {
            return match (&trace.outcome, trace.fingerprint == step.fingerprint) {
                (None, _) => Past::Interrupted,
                (Some(_), true) => ended(trace),
                (Some(_), false) => Past::Other(trace),
            };
        }
        if step.fingerprint.is_none() {
            return Past::New;
        }
        self.traces
            .iter()
            .filter(|((known, _), _)| *known == scope)
            .find(|(_, trace)| trace.fingerprint == step.fingerprint)
            .map_or(Past::New, |(_, trace)| match trace.outcome {
                None => Past::Interrupted,
                Some(_) => ended(trace),
            })
    }

    /// The wish of a step that asked before to be run again.
    pub(super) fn again(&self, step: &Step) -> Option<&Again> {
        let key = (self.scope(step.frequency), step.key.clone());
        self.traces.get(&key)?.again.as_ref()
    }

    /// What an interrupted step had found.
    pub fn found(&self, step: &Step) -> Option<&Found> {
        let key = (self.scope(step.frequency), step.key.clone());
        self.traces.get(&key)?.found.as_ref()
    }

    /// Whether a user has a right which the agent gave.
    pub fn has(&self, user: &str, right: Right) -> bool {
        self.holders(right).any(|name| name == user)
    }

    /// The users that have a right which the agent gave.
    pub fn holders(&self, right: Right) -> impl Iterator<Item = &str> {
        self.rights.iter().filter(move |(_, held)| *held == right).map(|(user, _)| user.as_str())
    }

    /// All rights that the agent gave.
    pub fn rights(&self) -> impl Iterator<Item = (&str, Right)> {
        self.rights.iter().map(|(user, right)| (user.as_str(), *right))
    }

    /// The same with users called otherwise: their rights, and what was done once for them.
    pub fn respelled(&self, spelling: &dyn Fn(&str) -> String) -> Self {
        let rights = self.rights().map(|(user, right)| (spelling(user), right)).collect();
        let mut traces = BTreeMap::new();
        for ((scope, key), trace) in &self.traces {
            let wanted = respelled(key, spelling);
            // What was noted under this very name is the newer one.
            if wanted == *key {
                traces.insert((scope.clone(), wanted), trace.clone());
            } else {
                traces.entry((scope.clone(), wanted)).or_insert_with(|| trace.clone());
            }
        }
        Self { rights, traces, ..self.clone() }
    }

    /// As it will be once a run of this instance in this boot has begun.
    pub fn entering(&self, instance: &InstanceId, boot: &str) -> Self {
        let run = if self.boot == boot { self.run.saturating_add(1) } else { 1 };
        let mut next = self.clone();
        next.take(Record::Run { instance: instance.clone(), boot: boot.to_owned(), run });
        next
    }

    pub(super) fn take(&mut self, record: Record) {
        match record {
            Record::Run { instance, boot, run } => {
                if boot != self.boot {
                    self.traces.retain(|(scope, _), _| !scope.starts_with("boot "));
                }
                self.instance = Some(instance);
                self.boot = boot;
                self.run = run;
            }
            Record::Step { scope, key, trace } => {
                self.traces.insert((scope, key), trace);
            }
            Record::Right { user, right, held: true } => {
                self.rights.insert((user, right));
            }
            Record::Right { user, right, held: false } => {
                self.rights.remove(&(user, right));
            }
        }
    }

    pub(super) fn records(&self) -> Vec<Record> {
        let run = self.instance.clone().map(|instance| Record::Run {
            instance,
            boot: self.boot.clone(),
            run: self.run,
        });
        let steps = self.traces.iter().map(|((scope, key), trace)| Record::Step {
            scope: scope.clone(),
            key: key.clone(),
            trace: trace.clone(),
        });
        let rights = self.rights.iter().map(|(user, right)| Record::Right {
            user: user.clone(),
            right: *right,
            held: true,
        });
        run.into_iter().chain(steps).chain(rights).collect()
    }
}

fn ended(trace: &Trace) -> Past<'_> {
    trace.again.as_ref().map_or(Past::Ended(trace), Past::Again)
}
