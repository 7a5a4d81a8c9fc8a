//! What an operator asks of a guest's passwords later in its life, and what the guest answers.
//! Pure.
//!
//! ```text
//!           ask                    the guest's password for it
//!  (none) ──────► pending ────────────────────────────────────► done
//!                   ▲  └── again: another ask takes its place     │
//!                   └───────────────── ask ──────────────────────┘
//! ```
//! The time of the ask stands in the guest's own record and is what tells one ask from another: it
//! only goes forward, also where this installation's clock or its whole database goes back, so that
//! a guest that has answered an ask never takes another one for the same.

use std::sync::Arc;

use mezame_model::{
    Instance, Password, SecretString, User, UserName,
    api::{Fault, PasswordReset, ResetState},
    report::SealedPassword,
};

use crate::{
    record::{InstanceRecord, Record, Renewal},
    state::HeldInstance,
};

/// Why nothing is asked of the guest.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The instance has no such user.
    NotFound,
    /// The user's password is not the guest's to make.
    Fault(Fault),
}

/// The record with an ask for another password; None where one is pending and is to stay.
pub(crate) fn ask(
    record: &InstanceRecord,
    name: &UserName,
    again: bool,
    now_ms: u64,
) -> Result<Option<InstanceRecord>, Refused> {
    let mut instance = Instance::clone(&record.instance);
    let at = instance.users.iter().position(|user| user.name == *name).ok_or(Refused::NotFound)?;
    let user = &mut instance.users[at];
    if !matches!(user.password, Some(Password::Generate)) {
        return Err(Refused::Fault(Fault {
            document: 0,
            path: format!("users[{at}].password"),
            message: format!("the password of '{name}' is not made by the guest"),
            mend: "write another hash into the document, or {generate: true}".into(),
        }));
    }
    let pending = view(record, name).is_some_and(|reset| reset.state == ResetState::Pending);
    if pending && !again {
        return Ok(None);
    }
    let answered = record.renewed.get(name).map(|renewal| renewal.reset);
    let last = user.password_reset.max(answered);
    user.password_reset = Some(last.map_or(now_ms, |last| now_ms.max(last.saturating_add(1))));
    Ok(Some(InstanceRecord { instance: Arc::new(instance), revision: None, ..record.clone() }))
}

/// The record that a guest's password changes; None where it changes nothing.
///
/// An answer to the newest ask is noted. OpenStack's clients know one password of an instance: that
/// of the first user whose password the guest makes.
pub(crate) fn answered(
    held: &HeldInstance,
    password: &SealedPassword,
    at_ms: u64,
) -> Option<Record> {
    let record = &held.record;
    let is_made = |user: &&User| matches!(user.password, Some(Password::Generate));
    let user = record.instance.users.iter().find(|user| user.name == password.user)?;
    let known = record.renewed.get(&user.name).map(|renewal| renewal.reset);
    let mut after = InstanceRecord::clone(record);
    if let Some(reset) = user.password_reset.filter(|asked| password.reset == Some(*asked))
        && known != Some(reset)
    {
        after.renewed.insert(user.name.clone(), Renewal { reset, at_ms });
    }
    let first = record.instance.users.iter().find(is_made);
    if first.is_some_and(|first| first.name == user.name) {
        let before = &record.instance.nova_password;
        let nova = nova_after(before.as_ref(), user.password_reset, known, password);
        if nova != *before {
            let mut instance = Instance::clone(&record.instance);
            instance.nova_password = nova;
            after.instance = Arc::new(instance);
        }
    }
    if after == **record {
        return None;
    }
    // The revision stays what operators know, as with all that guests write.
    after.revision = Some(held.revision);
    Some(Record::Instance(Arc::new(after)))
}

/// The password that OpenStack's clients are shown after the guest has sent one, where `asked` is
/// the ask in the record and an answer to the one at `known` is the newest so far.
///
/// One that was held up on its way is not the guest's any more and does not come back. A newer one
/// that has no form for them, since its user has no RSA key by now, leaves them none: the one
/// before opens nothing.
fn nova_after(
    before: Option<&SecretString>,
    asked: Option<u64>,
    known: Option<u64>,
    password: &SealedPassword,
) -> Option<SecretString> {
    // The first password of all was made for no ask, and None is less than any. What the record
    // asks for now is never late: an operator who wrote a hash in between took the asks back.
    let is_late = password.reset < known && password.reset != asked;
    match &password.nova {
        Some(nova) if !is_late => Some(SecretString::new(nova.clone())),
        None if password.reset > known => None,
        _ => before.cloned(),
    }
}

/// What became of the newest ask for each user's password.
pub(crate) fn views(record: &InstanceRecord) -> Vec<PasswordReset> {
    record.instance.users.iter().filter_map(|user| view(record, &user.name)).collect()
}

/// What became of the newest ask for a user's password.
pub(crate) fn view(record: &InstanceRecord, name: &UserName) -> Option<PasswordReset> {
    let user = record.instance.users.iter().find(|user| user.name == *name)?;
    let asked_ms = user.password_reset?;
    let done = record.renewed.get(name).filter(|renewal| renewal.reset >= asked_ms);
    Some(PasswordReset {
        user: name.clone(),
        asked_ms,
        state: if done.is_some() { ResetState::Done } else { ResetState::Pending },
        done_ms: done.map(|renewal| renewal.at_ms),
    })
}

#[cfg(test)]
mod tests;
