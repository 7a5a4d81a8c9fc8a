//! Passwords that are made here: set, and handed over encrypted.
//!
//! In which order that is done decides what a crash leaves behind; see the head of `apply.rs`.

use mezame_model::{UserName, WindowsKey};

use super::{Applier, Deed, StepError};
use crate::{
    password::{self, PasswordError},
    platform::{self, Change, PasswordForm, Weight},
    step::Action,
    windows_key,
};

impl Applier<'_> {
    pub(super) fn generate_password(&mut self, action: &Action) -> Result<Change, StepError> {
        let Action::GeneratePassword { user, recipients, reset, nova } = action else {
            return Ok(Change::Same);
        };
        let (name, reset) = (UserName::parse(user)?, *reset);
        let make = || -> Result<password::Made, StepError> {
            let made = password::make(user, recipients)?.for_reset(reset);
            Ok(if *nova { made.with_nova(recipients) } else { made })
        };
        if self.platform.password_form() == PasswordForm::Text {
            // Nobody has read an earlier one: it is posted only after it was noted.
            let made = make()?;
            let change = self.platform.set_password_text(user, &made.text)?;
            self.outbox.keep_password(&self.instance, &name, made, None)?;
            return Ok(change);
        }
        // One that waits and was made for an earlier ask is not what this one asks for.
        let waiting = self.outbox.password(&self.instance, user);
        let waiting = waiting.filter(|pending| pending.password.reset == reset);
        let hash = match waiting.and_then(|pending| pending.hash) {
            Some(hash) => hash,
            None => {
                let made = make()?;
                let hash = password::hash(made.text.expose())?;
                self.outbox.keep_password(&self.instance, &name, made, Some(hash.clone()))?;
                hash
            }
        };
        Ok(self.platform.set_password_hash(user, &hash)?)
    }

    /// Set, then told, then noted: who was told of one that a crash kept from being noted is told
    /// of another one, and of two answers to a key the later counts.
    pub(super) fn answer_windows_key(
        &self,
        user: &str,
        key: &WindowsKey,
    ) -> Result<Deed, StepError> {
        let text = password::random(user)?;
        let answer = windows_key::answer(key, text.expose()).map_err(PasswordError::from)?;
        self.platform.set_password_text(user, &text)?;
        let lines = format!("{}\n{answer}\n", windows_key::ready());
        // A guest without that port tells it in its report alone.
        if let Err(error) = self.platform.write_to_serial(windows_key::PORT, &lines) {
            let what = format!("{} can't be written: {error}", windows_key::PORT);
            platform::say(Weight::Waiting, &what);
        }
        Ok(Deed { detail: answer, ..Change::Changed.into() })
    }
}
