//! Doing a plan, step by step, and noting each.
//!
//! The order of writes is what makes a crash harmless:
//! - code of others: *started* on the disk, run, *done* on the disk;
//! - files and accounts: done, everything flushed once, then the *done* notes;
//! - the network: what was is written down, changed, the service asked; where it is no longer reached
//!   what was comes back, and only what is good gets into the network service's files;
//! - a made password: written down sealed, then set, then noted, then posted.
//!
//! A step that fails does not end the run: each is reported.

mod network;

use std::time::{Duration, Instant};

use mezame_model::{
    InstanceId, SecretName, UserName,
    report::{Outcome, StepReport},
};

use self::network::Network;
use crate::{
    ledger::{Found, Ledger, LedgerError, Right},
    outbox::{Outbox, OutboxError},
    password::{self, PasswordError},
    plan::{Plan, Planned},
    platform::{Change, Platform, PlatformError, ScriptEnd},
    source::{SourceError, Upstream},
    step::{Action, Frequency, Step},
};

/// A report's detail has at most this many bytes.
const MAX_DETAIL: usize = 4096;

/// So often in a row a secret is read whose value the operator changes meanwhile.
const RECEIPTS: u32 = 3;

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The system.
    #[error(transparent)]
    Platform(#[from] PlatformError),
    /// Making a password.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The metadata service.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The outbox.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// A user that a password is made for has a name that can't be posted.
    #[error("the user's name can't be posted: {0}")]
    UserName(#[from] mezame_model::IdError),
    /// A script ended with a status other than 0.
    #[error("exit status {status}; its output ends: {tail}")]
    ScriptExit {
        /// Its status.
        status: i32,
        /// The end of its output.
        tail: String,
    },
    /// A signal ended a script.
    #[error("ended by signal {signal}; its output ends: {tail}")]
    ScriptSignal {
        /// Which.
        signal: i32,
        /// The end of its output.
        tail: String,
    },
    /// The service was not reached any more.
    #[error("with it the metadata service was no longer reached: what was before is back")]
    RolledBack,
    /// A script ran too long.
    #[error("ended after its time was over; its output ends: {tail}")]
    ScriptTimeout {
        /// The end of its output.
        tail: String,
    },
}

impl StepError {
    /// A word for programs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Platform(error) => error.reason(),
            Self::Password(error) => error.reason(),
            Self::Source(error) => error.reason(),
            Self::Outbox(_) => "outbox",
            Self::UserName(_) => "bad-value",
            Self::ScriptExit { .. } => "script-exit",
            Self::ScriptSignal { .. } => "script-signal",
            Self::ScriptTimeout { .. } => "script-timeout",
            Self::RolledBack => "rolled-back",
        }
    }
}

/// What a run did.
#[derive(Debug, Clone, Default)]
pub struct Applied {
    /// In order.
    pub steps: Vec<StepReport>,
    /// When the configuration was whole; before the last scripts.
    pub configured_at: Option<Instant>,
    /// How long scripts and package managers ran before that.
    pub scripts_before: Duration,
    /// A step failed because the service was away.
    pub lost_service: bool,
}

impl Applied {
    /// Failed if any step did, done if any was, else unchanged.
    pub fn outcome(&self) -> Outcome {
        let any = |outcome| self.steps.iter().any(|step| step.outcome == outcome);
        if any(Outcome::Failed) {
            Outcome::Failed
        } else if any(Outcome::Done) {
            Outcome::Done
        } else {
            Outcome::Unchanged
        }
    }
}

/// What a plan is done with.
pub struct Applier<'a> {
    /// The system.
    pub platform: &'a dyn Platform,
    /// Remembers.
    pub ledger: &'a mut Ledger,
    /// Keeps passwords until they are posted.
    pub outbox: &'a Outbox,
    /// Has the secrets.
    pub upstream: &'a mut dyn Upstream,
    /// Whose run it is.
    pub instance: InstanceId,
}

impl Applier<'_> {
    /// Does every step. Fails only where the ledger can't be written: going on without it could
    /// run something twice.
    pub fn apply(&mut self, plan: &Plan) -> Result<Applied, LedgerError> {
        let mut applied = Applied::default();
        let mut pending: Vec<(Step, Outcome, &'static str)> = Vec::new();
        let last_state = plan.steps.iter().rposition(
            |it| matches!(it, Planned::Do { step, .. } if !step.action.runs_foreign_code()),
        );
        let mut network = Network::of(plan);
        if last_state.is_none() {
            applied.configured_at = Some(Instant::now());
        }
        for (at, planned) in plan.steps.iter().enumerate() {
            let began = Instant::now();
            match planned {
                Planned::Settled { key, outcome, reason, detail, note } => {
                    if let Some(step) = note {
                        self.ledger.done(step, Outcome::Failed, "interrupted")?;
                    }
                    let error = (reason.clone(), detail.clone());
                    applied.steps.push(step_report(key, *outcome, error, began));
                }
                Planned::Do { step, resumed } => {
                    let foreign = step.action.runs_foreign_code();
                    if foreign {
                        // What came before must be on the disk before code that can end the guest.
                        self.settle(&mut pending)?;
                        self.ledger.started(step, None)?;
                    }
                    if let Action::File(file) = &step.action
                        && file.append
                        && !*resumed
                    {
                        let before = self.platform.read_file(&file.path).ok().flatten();
                        let found = Found::of(&before.unwrap_or_default());
                        self.ledger.started(step, Some(found))?;
                    }
                    self.note_new_account(step)?;
                    network.before(step, self.platform);
                    let result = match (&network.is_rolled_back, &step.action) {
                        (true, Action::PersistNetwork { .. }) => Err(StepError::RolledBack),
                        _ => self.perform(step),
                    };
                    network.after(step, &result);
                    let (outcome, reason, detail) = match &result {
                        Ok(Change::Changed) => (Outcome::Done, "", String::new()),
                        Ok(Change::Same) => (Outcome::Unchanged, "", String::new()),
                        Err(error) => (Outcome::Failed, error.reason(), said(error)),
                    };
                    applied.lost_service |=
                        matches!(&result, Err(StepError::Source(error)) if error.may_pass());
                    if foreign {
                        self.ledger.done(step, outcome, reason)?;
                        self.ledger.sync()?;
                        if applied.configured_at.is_none() {
                            applied.scripts_before += began.elapsed();
                        }
                    } else if outcome != Outcome::Failed {
                        pending.push((step.clone(), outcome, reason));
                    }
                    if !foreign {
                        self.note_right(step, &result)?;
                    }
                    let report =
                        step_report(&step.key, outcome, (reason.to_owned(), detail), began);
                    applied.steps.push(report);
                }
            }
            if network.is_changed(at) {
                self.ask_again(&mut network, &mut applied);
            }
            if Some(at) == last_state {
                applied.configured_at = Some(Instant::now());
                // Before scripts that may take an hour: a password is for the operator now.
                self.settle(&mut pending)?;
                self.upstream.configured(self.platform, network.changed);
                self.outbox.send_passwords(self.upstream, &self.instance);
            }
        }
        self.settle(&mut pending)?;
        Ok(applied)
    }

    /// Asks the service after a change of the network, and takes the change back where it is not
    /// reached any more.
    fn ask_again(&mut self, network: &mut Network<'_>, applied: &mut Applied) {
        // With the addresses that stay, and not with one that was claimed for the time being.
        self.upstream.configured(self.platform, true);
        let Some(guard) = network.guard.take() else { return };
        if self.upstream.is_reached() {
            // One that stays is taken back by the next run, which asks again.
            let _ = guard.keep();
            return;
        }
        let back = guard.roll_back();
        self.upstream.rolled_back(self.platform);
        (network.changed, network.is_rolled_back) = (false, true);
        let mut detail = StepError::RolledBack.to_string();
        if let Err(error) = back {
            detail = format!(
                "the metadata service is no longer reached, and what was before can't \
                be put back: {error}"
            );
        }
        for step in applied.steps.iter_mut().filter(|it| network.keys.contains(&it.step)) {
            step.outcome = Outcome::Failed;
            step.reason = StepError::RolledBack.reason().to_owned();
            step.detail.clone_from(&detail);
        }
    }

    /// Flushes what was written, then notes it as done.
    fn settle(
        &mut self,
        pending: &mut Vec<(Step, Outcome, &'static str)>,
    ) -> Result<(), LedgerError> {
        if pending.iter().any(|(_, outcome, _)| *outcome == Outcome::Done)
            && self.platform.flush().is_err()
        {
            // Not on the disk: to be done again.
            pending.clear();
        }
        let noted = pending.iter().any(|(step, ..)| step.frequency != Frequency::Always);
        for (step, outcome, reason) in pending.drain(..) {
            self.ledger.done(&step, outcome, reason)?;
        }
        if noted { self.ledger.sync() } else { Ok(()) }
    }

    /// That an account is the agent's own making is noted before it is made: noted too early it
    /// is noted once more, too late it would be taken for the image's and never be shut.
    fn note_new_account(&mut self, step: &Step) -> Result<(), LedgerError> {
        let Action::Account(account) = &step.action else { return Ok(()) };
        if matches!(self.platform.has_account(&account.name), Ok(false)) {
            self.ledger.right(&account.name, Right::Account, true)?;
        }
        Ok(())
    }

    fn note_right(
        &mut self,
        step: &Step,
        result: &Result<Change, StepError>,
    ) -> Result<(), LedgerError> {
        match &step.action {
            // A failed grant may have been made in part: it counts as held, so that it is retried.
            Action::Keys { user, keys } if !keys.is_empty() => {
                self.ledger.right(user, Right::Keys, true)
            }
            Action::Sudo { user, rules } if !rules.is_empty() => {
                self.ledger.right(user, Right::Sudo, true)
            }
            Action::PasswordHash { user, .. }
            | Action::PasswordText { user, .. }
            | Action::GeneratePassword { user, .. } => {
                self.ledger.right(user, Right::Password, true)?;
                self.ledger.right(user, Right::Locked, false)
            }
            // Shut in part is not shut: it is tried again.
            Action::Stop { user } if result.is_ok() => {
                self.ledger.right(user, Right::Stopped, true)
            }
            Action::Start { user } if result.is_ok() => {
                self.ledger.right(user, Right::Stopped, false)
            }
            Action::LockPassword { user } if result.is_ok() => {
                self.ledger.right(user, Right::Locked, true)?;
                self.ledger.right(user, Right::Password, false)
            }
            Action::Keys { user, .. } if result.is_ok() => {
                self.ledger.right(user, Right::Keys, false)
            }
            Action::Sudo { user, .. } if result.is_ok() => {
                self.ledger.right(user, Right::Sudo, false)
            }
            _ => Ok(()),
        }
    }

    fn perform(&mut self, step: &Step) -> Result<Change, StepError> {
        let platform = self.platform;
        let change = match &step.action {
            Action::Interface { device, interface } => {
                platform.configure_interface(device, interface)?
            }
            Action::PersistNetwork { interfaces } => platform.persist_network(interfaces)?,
            Action::Hostname(name) => platform.set_hostname(name)?,
            Action::OwnName(names) => platform.set_own_name(names)?,
            Action::Group { name, members } => platform.ensure_group(name, members)?,
            Action::Account(account) => platform.ensure_account(account)?,
            Action::Sudo { user, rules } => platform.set_sudo(user, rules)?,
            Action::Keys { user, keys } => platform.authorize_keys(user, keys)?,
            Action::PasswordHash { user, hash } => platform.set_password_hash(user, hash)?,
            Action::PasswordText { user, text } => {
                platform.set_password_hash(user, &password::hash(text.expose())?)?
            }
            Action::GeneratePassword { user, recipients } => {
                self.generate_password(user, recipients)?
            }
            Action::Stop { user } => platform.stop_account(user)?,
            Action::Start { user } => platform.start_account(user)?,
            Action::LockPassword { user } => platform.lock_password(user)?,
            Action::SshPasswords(on) => platform.set_ssh_passwords(*on)?,
            Action::ExpirePassword { user } => platform.expire_password(user)?,
            Action::File(file) => {
                let now = platform.read_file(&file.path)?.unwrap_or_default();
                let found = self.ledger.history().found(step);
                let added = found.is_some_and(|found| found.grown_by(&file.content, &now));
                platform.write_file(file, file.append && added)?
            }
            Action::Run(script) => {
                let (end, tail) = platform.run_script(script)?;
                match end {
                    ScriptEnd::Exited(0) => Change::Changed,
                    ScriptEnd::Exited(status) => {
                        return Err(StepError::ScriptExit { status, tail });
                    }
                    ScriptEnd::Killed(signal) => {
                        return Err(StepError::ScriptSignal { signal, tail });
                    }
                    ScriptEnd::TimedOut => return Err(StepError::ScriptTimeout { tail }),
                }
            }
            Action::Packages(packages) => platform.install_packages(packages)?,
            Action::Grow { partition, filesystem } => {
                platform.grow_root(*partition, *filesystem)?
            }
            Action::Timezone(zone) => platform.set_timezone(zone)?,
            Action::Ntp(ntp) => platform.set_ntp(ntp)?,
            Action::Secret(name) => self.receive(name)?,
        };
        Ok(change)
    }

    /// Stores a secret, then acknowledges what was stored. Where the operator has set another
    /// value in between, that one is to be had too.
    fn receive(&mut self, name: &SecretName) -> Result<Change, StepError> {
        let mut change = Change::Same;
        for attempt in 1..=RECEIPTS {
            let Some(secret) = self.upstream.secret(name)? else { break };
            if self.platform.store_secret(name, &secret.value)? == Change::Changed {
                change = Change::Changed;
            }
            match self.upstream.acknowledge(name, secret.etag.as_deref()) {
                Err(error) if error.is_outdated() && attempt < RECEIPTS => {}
                acknowledged => {
                    acknowledged?;
                    break;
                }
            }
        }
        Ok(change)
    }

    fn generate_password(
        &mut self,
        user: &str,
        recipients: &[String],
    ) -> Result<Change, StepError> {
        let pending = match self.outbox.password(&self.instance, user) {
            Some(pending) => pending,
            None => {
                let name = UserName::parse(user)?;
                self.outbox.keep_password(&self.instance, &name, password::make(recipients)?)?
            }
        };
        Ok(self.platform.set_password_hash(user, &pending.hash)?)
    }
}

fn step_report(
    key: &str,
    outcome: Outcome,
    (reason, detail): (String, String),
    began: Instant,
) -> StepReport {
    let milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let step = key.chars().take(200).collect();
    StepReport { step, outcome, reason, detail: tail(detail), milliseconds }
}

/// An error with its causes.
fn said(error: &StepError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// The end of a long text, at a character's boundary.
fn tail(text: String) -> String {
    let mut from = text.len().saturating_sub(MAX_DETAIL);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    text[from..].to_owned()
}

#[cfg(test)]
mod tests;
