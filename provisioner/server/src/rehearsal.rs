//! Admission by itself, against an installation with nothing in it.
//!
//! For fuzzing: what an operator can write reaches every rule of admission this way, with no
//! store, no socket and no clock. Nothing that runs in production uses it.

use mezame_model::{
    Generation,
    api::{Action, Fault},
};
use serde_json::Value;

use crate::{
    admission::{self, Rejection},
    environment::SystemEnvironment,
    site_keys::{KeyError, StoredSite},
    state::State,
};

/// An installation with nothing in it.
pub struct Rehearsal {
    site: StoredSite,
    environment: SystemEnvironment,
}

impl Rehearsal {
    /// Makes the installation's keys, which takes some hundred milliseconds.
    pub fn new() -> Result<Self, KeyError> {
        let environment = SystemEnvironment::new();
        let site = StoredSite::make("local-1", "mezame.internal", &environment)?;
        Ok(Self { site, environment })
    }

    /// What admission finds wrong with the documents. Where it finds nothing they are applied,
    /// and a second time, which must change nothing.
    ///
    /// # Panics
    /// If a promise of admission does not hold.
    pub fn faults(&self, documents: &[Value]) -> Vec<Fault> {
        let mut state = State::empty(Generation::ZERO, self.site.clone());
        let plan = match admission::admit(documents, &state, &self.environment) {
            Ok(plan) => plan,
            Err(Rejection::Faults(faults)) => {
                assert!(!faults.is_empty(), "refused without a fault");
                assert!(
                    faults.iter().all(|fault| fault.document < documents.len()),
                    "a fault of a document that is not there"
                );
                return faults;
            }
            Err(Rejection::NoRandomness(_)) => return Vec::new(),
        };
        assert_eq!(plan.outcome.len(), documents.len(), "not one outcome for each document");
        let applied = state.apply(plan.changes, Generation(1));
        assert!(applied.is_ok(), "what was admitted can't be applied: {applied:?}");
        let again = admission::admit(documents, &state, &self.environment);
        assert!(
            again.is_ok_and(|plan| {
                plan.changes.is_empty()
                    && plan.outcome.iter().all(|change| change.action == Action::Unchanged)
            }),
            "applied again, the documents change something"
        );
        Vec::new()
    }
}
