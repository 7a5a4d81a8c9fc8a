//! Doing a plan, step by step, and noting each.
//!
//! The order of writes is what makes a crash harmless:
//! - code of others: *started* on the disk, run, *done* on the disk;
//! - files and accounts: done, everything flushed once, then the *done* notes;
//! - the network: what was is written down, changed, the service asked; where it is no longer
//!   reached what was comes back, and only what is good gets into the network service's files;
//! - a made password: written down sealed, then set, then noted, then posted; where it can't be set
//!   by a hash: set, then written down sealed, then noted, then posted.
//!
//! A reboot that a new host name or a script asks for ends the run: what is left is done in the
//! next boot.
//!
//! A step that fails does not end the run: each is reported.

mod failure;
mod foreign;
mod network;
mod passwords;
mod reboot;
mod rights;

use std::time::{Duration, Instant};

use mezame_model::{
    InstanceId, SecretName,
    report::{Outcome, StepReport},
};

pub use self::failure::StepError;
use self::{failure::said, foreign::after_reboot, network::Network};
use crate::{
    exit_code::Wish,
    ledger::{Found, Ledger, LedgerError},
    outbox::Outbox,
    password,
    plan::{Mode, Plan, Planned},
    platform::{Change, PasswordForm, Platform},
    source::Upstream,
    step::{Action, Frequency, Step},
};

/// A report's detail has at most this many bytes.
const MAX_DETAIL: usize = 4096;

/// So often in a row a secret is read whose value the operator changes meanwhile.
const RECEIPTS: u32 = 3;

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
    /// A change of the network was taken back.
    pub rolled_back: bool,
    /// Why the guest is to be rebooted now, if it is.
    pub reboot: Option<String>,
    /// A script asked for a reboot, heard or not.
    pub asked_for_reboot: bool,
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
    /// Only at boot a guest is rebooted.
    pub mode: Mode,
}

/// What came of a step that did not fail.
struct Deed {
    change: Change,
    wish: Wish,
    /// For who reads the report.
    detail: String,
}

impl From<Change> for Deed {
    fn from(change: Change) -> Self {
        Self { change, wish: Wish::default(), detail: String::new() }
    }
}

/// A run on its way.
struct Run<'p> {
    applied: Applied,
    /// Steps that are done and not yet noted.
    pending: Vec<(Step, Outcome, &'static str)>,
    network: Network<'p>,
}

impl<'a> Applier<'a> {
    /// Does every step. Fails only where the ledger can't be written: going on without it could
    /// run something twice.
    pub fn apply(&mut self, plan: &Plan) -> Result<Applied, LedgerError> {
        if let Some(spelling) = &plan.spelling {
            self.ledger.respell(&|name| spelling.name(name))?;
        }
        let network = Network::of(plan);
        let mut run = Run { applied: Applied::default(), pending: Vec::new(), network };
        let last_state = plan.steps.iter().rposition(
            |it| matches!(it, Planned::Do { step, .. } if !step.action.runs_foreign_code()),
        );
        if last_state.is_none() {
            run.applied.configured_at = Some(Instant::now());
        }
        for (at, planned) in plan.steps.iter().enumerate() {
            self.one(planned, &mut run)?;
            if run.network.is_changed(at) {
                self.ask_again(&mut run.network, &mut run.applied);
            }
            if Some(at) == last_state {
                run.applied.configured_at = Some(Instant::now());
                // Before scripts that may take an hour: a password is for the operator now.
                self.settle(&mut run.pending)?;
                self.upstream.configured(self.platform, run.network.changed);
                self.outbox.send_passwords(self.upstream, &self.instance);
            }
        }
        let Run { mut applied, mut pending, .. } = run;
        self.settle(&mut pending)?;
        self.reboot_for_a_name(&mut applied)?;
        self.forget_reboots(applied.asked_for_reboot || applied.reboot.is_some())?;
        Ok(applied)
    }

    fn one<'p>(&mut self, planned: &Planned, run: &mut Run<'p>) -> Result<(), LedgerError>
    where
        'a: 'p,
    {
        let began = Instant::now();
        match planned {
            Planned::Settled { key, outcome, reason, detail, note } => {
                if let Some(step) = note {
                    self.ledger.done(step, Outcome::Failed, "interrupted")?;
                }
                let error = (reason.clone(), detail.clone());
                run.applied.steps.push(step_report(key, *outcome, error, began));
            }
            Planned::Do { step, .. } if run.applied.reboot.is_some() => {
                after_reboot(step, &mut run.applied);
            }
            Planned::Do { step, .. } if step.action.runs_foreign_code() => {
                // What came before must be on the disk before code that can end the guest.
                self.settle(&mut run.pending)?;
                self.reboot_for_a_name(&mut run.applied)?;
                if run.applied.reboot.is_none() {
                    self.run_foreign(step, &mut run.applied)?;
                } else {
                    after_reboot(step, &mut run.applied);
                }
            }
            Planned::Do { step, resumed } => {
                self.note_new_account(step)?;
                run.network.before(step, self.platform);
                let result = match (run.network.rolled_back_for(), &step.action) {
                    (Some(why), Action::PersistNetwork { .. }) => Err(why),
                    _ => self.reach(step, *resumed)?,
                };
                run.network.after(step, &result);
                let (outcome, reason) = self.told(step, &result, began, &mut run.applied);
                if outcome != Outcome::Failed {
                    run.pending.push((step.clone(), outcome, reason));
                }
                self.note_right(step, result.is_ok())?;
            }
        }
        Ok(())
    }

    /// Brings something to a state, which is no harm to do again.
    fn reach(
        &mut self,
        step: &Step,
        resumed: bool,
    ) -> Result<Result<Deed, StepError>, LedgerError> {
        if let Action::File(file) = &step.action
            && file.append
            && !resumed
        {
            let before = self.platform.read_file(&file.path).ok().flatten();
            let found = Found::of(&before.unwrap_or_default());
            self.ledger.started(step, Some(found))?;
        }
        Ok(self.perform(step))
    }

    /// Adds what came of a step to the report.
    fn told(
        &self,
        step: &Step,
        result: &Result<Deed, StepError>,
        began: Instant,
        applied: &mut Applied,
    ) -> (Outcome, &'static str) {
        let (outcome, reason, detail) = match result {
            Ok(Deed { wish: Wish { again: true, .. }, .. }) => {
                (Outcome::Done, "again-at-next-boot", String::new())
            }
            Ok(Deed { change: Change::Changed, detail, .. }) => (Outcome::Done, "", detail.clone()),
            Ok(Deed { change: Change::Same, detail, .. }) => {
                (Outcome::Unchanged, "", detail.clone())
            }
            Err(error) => (Outcome::Failed, error.reason(), said(error)),
        };
        applied.lost_service |= matches!(result, Err(StepError::Source(error)) if error.may_pass());
        applied.steps.push(step_report(&step.key, outcome, (reason.to_owned(), detail), began));
        (outcome, reason)
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

    fn perform(&mut self, step: &Step) -> Result<Deed, StepError> {
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
            Action::PasswordText { user, text } => match platform.password_form() {
                PasswordForm::Hash => {
                    platform.set_password_hash(user, &password::hash(text.expose())?)?
                }
                PasswordForm::Text => platform.set_password_text(user, text)?,
            },
            Action::GeneratePassword { .. } => self.generate_password(&step.action)?,
            Action::AnswerWindowsKey { user, key } => return self.answer_windows_key(user, key),
            Action::Stop { user } => platform.stop_account(user)?,
            Action::Start { user } => platform.start_account(user)?,
            Action::LockPassword { user } => platform.lock_password(user)?,
            Action::TrustCertificates(all) => platform.trust_certificates(all)?,
            Action::RemoteDesktop(wanted) => platform.set_remote_desktop(wanted)?,
            Action::Winrm { wanted, hostname } => {
                let (change, thumbprint) = platform.set_winrm(wanted, hostname)?;
                let detail = thumbprint.map(|it| format!("certificate {}", it.as_str()));
                return Ok(Deed { detail: detail.unwrap_or_default(), ..change.into() });
            }
            Action::SshPasswords(on) => platform.set_ssh_passwords(*on)?,
            Action::ExpirePassword { user } => platform.expire_password(user)?,
            Action::File(file) => {
                let now = platform.read_file(&file.path)?.unwrap_or_default();
                let found = self.ledger.history().found(step);
                let added = found.is_some_and(|found| found.grown_by(&file.content, &now));
                platform.write_file(file, file.append && added)?
            }
            Action::Run(script) => return self.run(script),
            Action::Packages(packages) => platform.install_packages(packages)?,
            Action::Grow { partition, filesystem } => {
                platform.grow_root(*partition, *filesystem)?
            }
            Action::Timezone(zone) => platform.set_timezone(zone)?,
            Action::Ntp(ntp) => platform.set_ntp(ntp)?,
            Action::Secret(name) => self.receive(name)?,
            Action::Activate(licence) => platform.activate(licence)?,
        };
        Ok(change.into())
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
