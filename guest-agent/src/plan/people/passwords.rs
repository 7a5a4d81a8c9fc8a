//! A user's password: set once an instance, and locked where the account is to have none. What the
//! agent has locked itself is told from what somebody locked by hand by the ledger's notes.

use mezame_model::SecretString;

use super::{Person, Wanted};
use crate::{
    ledger::Right,
    plan::{Planned, Planner},
    step::{Action, Fingerprint, Frequency, OfUser, Step},
};

/// One of the record's, of vendor-data or of user-data, set once; and locked where the account is.
pub(super) fn password(planner: &mut Planner<'_>, person: &Person, user: &str) {
    let owned = user.to_owned();
    let (key, fingerprint, action) = match &person.password {
        None => return lock(planner, person, user),
        Some(Wanted::Hash(hash)) => {
            // crypt(3) makes no "!": it is set, and opens nothing.
            let bang = if person.lock { "!" } else { "" };
            let hash = SecretString::new(format!("{bang}{}", hash.expose()));
            (
                OfUser::Password.key(user),
                Some(Fingerprint::of(&[b"hash", hash.expose().as_bytes()])),
                Action::PasswordHash { user: owned, hash },
            )
        }
        // No fingerprint of a text that a person may have chosen is kept: it could be guessed.
        Some(Wanted::Text(text)) => (
            OfUser::Password.key(user),
            None,
            Action::PasswordText { user: owned, text: text.clone() },
        ),
        Some(Wanted::Generate) => (
            OfUser::GeneratedPassword.key(user),
            person.reset.map(|asked_ms| Fingerprint::of_reset(user, asked_ms)),
            Action::GeneratePassword {
                user: owned,
                recipients: person.recipients.clone(),
                reset: person.reset,
                nova: person.nova,
            },
        ),
    };
    let is_text = matches!(action, Action::PasswordText { .. });
    let step = Step { key, frequency: Frequency::PerInstance, fingerprint, action };
    // It was set before, and locked when the user was taken out of the record. A text that is to be
    // locked is not set anew: what locks it was done once, and would not follow.
    let is_to_open = !(is_text && person.lock);
    if is_to_open && planner.history.has(user, Right::Locked) {
        planner.steps.push(Planned::Do { step, resumed: false });
    } else {
        planner.once_even_live(step);
    }
    if is_text {
        lock(planner, person, user);
    }
    if person.expire {
        planner.once(Step {
            key: OfUser::ExpirePassword.key(user),
            frequency: Frequency::PerInstance,
            fingerprint: None,
            action: Action::ExpirePassword { user: user.to_owned() },
        });
    }
}

/// Once an instance: who sets a password later means it to be used.
fn lock(planner: &mut Planner<'_>, person: &Person, user: &str) {
    if person.lock {
        planner.once_even_live(Step {
            key: OfUser::LockPassword.key(user),
            frequency: Frequency::PerInstance,
            fingerprint: None,
            action: Action::LockPassword { user: user.to_owned() },
        });
    }
}
