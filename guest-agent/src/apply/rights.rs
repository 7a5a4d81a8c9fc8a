//! What the agent has given to users, noted in the ledger: what it gave it can take back.

use super::Applier;
use crate::{
    ledger::{LedgerError, Right},
    step::{Action, Step},
};

impl Applier<'_> {
    /// That an account is the agent's own making is noted before it is made: noted too early it
    /// is noted once more, too late it would be taken for the image's and never be shut.
    pub(super) fn note_new_account(&mut self, step: &Step) -> Result<(), LedgerError> {
        let Action::Account(account) = &step.action else { return Ok(()) };
        if matches!(self.platform.has_account(&account.name), Ok(false)) {
            self.ledger.right(&account.name, Right::Account, true)?;
        }
        Ok(())
    }

    pub(super) fn note_right(&mut self, step: &Step, is_done: bool) -> Result<(), LedgerError> {
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
            | Action::GeneratePassword { user, .. } => self.note_password(user, is_done),
            Action::AnswerWindowsKey { user, .. } => self.note_password(user, is_done),
            // Shut in part is not shut: it is tried again.
            Action::Stop { user } if is_done => self.ledger.right(user, Right::Stopped, true),
            Action::Start { user } if is_done => self.ledger.right(user, Right::Stopped, false),
            Action::LockPassword { user } if is_done => {
                self.ledger.right(user, Right::Locked, true)?;
                self.ledger.right(user, Right::Password, false)
            }
            Action::Keys { user, .. } if is_done => self.ledger.right(user, Right::Keys, false),
            Action::Sudo { user, .. } if is_done => self.ledger.right(user, Right::Sudo, false),
            _ => Ok(()),
        }
    }

    /// One that could not be set may have been set in part; but what was locked before stays noted
    /// as locked, or it would be taken for done and never be set.
    fn note_password(&mut self, user: &str, is_done: bool) -> Result<(), LedgerError> {
        self.ledger.right(user, Right::Password, true)?;
        if is_done { self.ledger.right(user, Right::Locked, false) } else { Ok(()) }
    }
}
