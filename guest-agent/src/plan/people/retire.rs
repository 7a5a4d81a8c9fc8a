//! What becomes of users that nobody names any more. Only what the agent gave is taken back, and no
//! account is ever deleted.

use super::Person;
use crate::{
    ledger::Right,
    plan::Planner,
    step::{Action, OfUser},
};

/// Takes back what users had from the agent who are not named any more.
pub(super) fn retire(planner: &mut Planner<'_>, people: &[Person]) {
    let gone = |name: &str| !people.iter().any(|person| person.account.name == name);
    let holders = |right| -> Vec<String> {
        planner.history.holders(right).filter(|name| gone(name)).map(str::to_owned).collect()
    };
    let (keys, sudo) = (holders(Right::Keys), holders(Right::Sudo));
    let mut accounts = holders(Right::Account);
    accounts.retain(|name| !planner.history.has(name, Right::Stopped));
    let mut passwords = holders(Right::Password);
    passwords.retain(|name| !planner.history.has(name, Right::Account));
    for user in keys {
        planner.always(format!("keys {user}"), Action::Keys { user, keys: Vec::new() });
    }
    for user in sudo {
        planner.always(format!("sudo {user}"), Action::Sudo { user, rules: Vec::new() });
    }
    // An account of the agent's making goes with its user, as far as anybody could get in by it.
    // One of the image's stays, without the password that the agent has set.
    for user in accounts {
        planner.always(format!("stop {user}"), Action::Stop { user });
    }
    for user in passwords {
        planner.always(OfUser::LockPassword.key(&user), Action::LockPassword { user });
    }
}
