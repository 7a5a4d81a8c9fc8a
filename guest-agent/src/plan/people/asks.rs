//! Asks for passwords of Google's form, `windows_keys` of the record. As Google's agent has it,
//! whoever is asked for is an administrator; but an ask that is over gives nobody anything, unless
//! it was answered in its time.

use mezame_model::{Document, WindowsKey, report::Outcome};

use super::{Person, SUDO_ALL, person};
use crate::{
    facts::{Facts, System},
    ledger::Past,
    plan::Planner,
    step::{Action, Frequency, Step},
    windows_key,
};

/// Names those who are asked for.
pub(super) fn name(
    planner: &Planner<'_>,
    people: &mut Vec<Person>,
    document: &Document,
    facts: &Facts,
) {
    if facts.system != System::Windows {
        return;
    }
    for key in &document.windows_keys {
        let was_answered = matches!(planner.history.past(&step(planner, key)), Past::Ended(_));
        if is_over(key, facts) && !was_answered {
            continue;
        }
        let name = planner.name(&key.user_name);
        let person = person(people, &name);
        person.named = true;
        person.sudo = Some(vec![SUDO_ALL.into()]);
    }
}

/// Each ask is answered once, and none that is void.
pub(super) fn answer(
    planner: &mut Planner<'_>,
    people: &[Person],
    document: &Document,
    facts: &Facts,
) {
    for key in &document.windows_keys {
        let user = planner.name(&key.user_name);
        let is_stopped = people.iter().any(|it| it.stopped && it.account.name == user);
        let (reason, detail) = if facts.system != System::Windows {
            ("other-system", "it asks for the password of a user of Windows")
        } else if is_over(key, facts) {
            ("expired", "by the guest's clock its time is over")
        } else if is_stopped {
            ("stopped", "the user is stopped")
        } else {
            planner.once_even_live(step(planner, key));
            continue;
        };
        planner.settle(windows_key::step_key(key), Outcome::Skipped, reason, detail.into());
    }
}

fn is_over(key: &WindowsKey, facts: &Facts) -> bool {
    key.expires_at().is_none_or(|at| at <= facts.now)
}

fn step(planner: &Planner<'_>, key: &WindowsKey) -> Step {
    Step {
        key: windows_key::step_key(key),
        frequency: Frequency::PerInstance,
        fingerprint: Some(windows_key::fingerprint(key)),
        action: Action::AnswerWindowsKey { user: planner.name(&key.user_name), key: key.clone() },
    }
}
