//! Asks for other passwords: no document has them, so each is a call of its own.

use std::sync::Arc;

use mezame_model::{
    Generation, InstanceName, ProjectName, UserName,
    api::{Event, Kind, PasswordReset},
};

use super::{Control, ControlError, uncut};
use crate::{
    password_resets::{self, Refused},
    record::Record,
    state::Changes,
    store::Batch,
};

impl Control {
    /// Has a guest make another password of a user's, and shows what became of it so far.
    pub(crate) async fn reset_password(
        self: &Arc<Self>,
        project: ProjectName,
        name: InstanceName,
        user: UserName,
        again: bool,
    ) -> Result<PasswordReset, ControlError> {
        let control = Arc::clone(self);
        uncut(async move {
            let _turn = control.turn.lock().await;
            let now_ms = control.environment.now_ms();
            let asked = {
                let state = control.state();
                let held = state.instance(&project, &name).ok_or(ControlError::NotFound)?;
                password_resets::ask(&held.record, &user, again, now_ms)?
            };
            if let Some(record) = asked {
                let event = Event {
                    generation: Generation::ZERO,
                    at_ms: now_ms,
                    project: project.to_string(),
                    kind: Kind::Instance,
                    name: name.to_string(),
                    what: "password-reset".into(),
                    detail: format!("of {user}"),
                };
                let puts = vec![Record::Instance(Arc::new(record))];
                let batch = Batch { events: vec![event], ..Batch::default() };
                control.commit(Changes { puts, ..Changes::default() }, batch).await?;
            }
            let state = control.state();
            let held = state.instance(&project, &name).ok_or(ControlError::NotFound)?;
            password_resets::view(&held.record, &user).ok_or(ControlError::NotFound)
        })
        .await
    }
}

impl From<Refused> for ControlError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NotFound => Self::NotFound,
            Refused::Fault(fault) => Self::Faults(vec![fault]),
        }
    }
}
