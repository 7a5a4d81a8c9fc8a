//! Who may write to a clone on a LUN: one hypervisor at a time, by the master's record. Pure.
//!
//! QEMU locks files (fcntl(2)) and has no such lock over iSCSI: two QEMUs that open one LUN are told by
//! nobody, and each writes over the other's tables. So a clone on a LUN has an owner, and its volume is
//! described to that one alone.
//!
//! ```text
//!   nobody ──claim(a)──► held(a) ──hand over(a, b)──► moving(a, b) ──settle(b)──► held(b)
//!      ▲                  │   ▲                          │
//!      └────release(a)────┘   └────────settle(a)─────────┘
//!
//!   held(a)        a may start a guest on it
//!   moving(a, b)   a's guest runs on; b may start one that waits for the migration (`-incoming`),
//!                  which QEMU keeps from writing until a's QEMU has given its images up.
//!                  Neither may start one from the beginning.
//! ```
//! After the migration QEMU's `query-migrate` says which side has the guest: with `completed` settle on
//! b, once a's QEMU has ended; with anything else on a, once b's has. If both are gone, so is the guest:
//! settle on either.
//!
//! It is told by hypervisors: two QEMUs of one are that one's affair. It keeps away who asks, and no
//! foreign initiator: that is for the target's list of initiators to do.

use serde::{Deserialize, Serialize};

use crate::iscsi::InitiatorName;

/// Who may write to a clone's LUN.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Owner {
    /// Nobody, until it is claimed.
    #[default]
    Nobody,
    /// One hypervisor.
    Held(InitiatorName),
    /// A guest moves from one to the other.
    Moving {
        /// From this one.
        from: InitiatorName,
        /// To this one.
        to: InitiatorName,
    },
}

/// How a guest is started on a clone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// From its beginning.
    Cold,
    /// By QEMU's `-incoming`, waiting for a guest that moves here.
    Incoming,
}

/// Somebody else may write there.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{asked} may not {doing} it: {}", self.why())]
pub struct OwnerError {
    asked: InitiatorName,
    doing: &'static str,
    owner: Owner,
}

impl OwnerError {
    /// Whose it is.
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    fn why(&self) -> String {
        match &self.owner {
            Owner::Nobody => "nobody has claimed it".into(),
            Owner::Held(by) => format!("it is held by {by}"),
            Owner::Moving { from, to } => format!("its guest moves from {from} to {to}"),
        }
    }
}

impl Owner {
    /// Gives it to who asks, if nobody has it. Whoever has it may repeat this.
    pub(super) fn claim(self, by: &InitiatorName) -> Result<Self, OwnerError> {
        match self {
            Self::Nobody => Ok(Self::Held(by.clone())),
            Self::Held(holder) if holder == *by => Ok(Self::Held(holder)),
            owner => Err(owner.refuses(by, "claim")),
        }
    }

    /// Lets its guest move to another one.
    pub(super) fn hand_over(
        self,
        from: &InitiatorName,
        to: &InitiatorName,
    ) -> Result<Self, OwnerError> {
        let moving = Self::Moving { from: from.clone(), to: to.clone() };
        if self == Self::Held(from.clone()) || self == moving {
            Ok(moving)
        } else {
            Err(self.refuses(from, "hand over"))
        }
    }

    /// Ends a move, on the side that has the guest. May be repeated.
    pub(super) fn settle(self, on: &InitiatorName) -> Result<Self, OwnerError> {
        match &self {
            Self::Moving { from, to } if from == on || to == on => Ok(Self::Held(on.clone())),
            Self::Held(holder) if holder == on => Ok(self),
            _ => Err(self.refuses(on, "settle")),
        }
    }

    /// Takes it back from who has it. May be repeated.
    pub(super) fn release(self, by: &InitiatorName) -> Result<Self, OwnerError> {
        match self {
            Self::Nobody => Ok(Self::Nobody),
            Self::Held(holder) if holder == *by => Ok(Self::Nobody),
            owner => Err(owner.refuses(by, "release")),
        }
    }

    /// That a guest may be started on it so.
    pub(super) fn check(&self, by: &InitiatorName, start: Start) -> Result<(), OwnerError> {
        match (self, start) {
            (Self::Held(holder), Start::Cold) if holder == by => Ok(()),
            (Self::Moving { to, .. }, Start::Incoming) if to == by => Ok(()),
            _ => Err(self.clone().refuses(by, "start a guest on")),
        }
    }

    /// Why it is not removed.
    pub(super) fn keeps(self, asked: &InitiatorName) -> OwnerError {
        self.refuses(asked, "remove")
    }

    fn refuses(self, asked: &InitiatorName, doing: &'static str) -> OwnerError {
        OwnerError { asked: asked.clone(), doing, owner: self }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn host(number: u8) -> InitiatorName {
        InitiatorName::of_machine(&number.to_string())
    }

    #[test]
    fn a_guest_is_started_by_the_holder_alone_and_during_a_move_by_nobody_anew() {
        let [a, b, c] = [1, 2, 3].map(host);
        let may = |owner: &Owner| {
            let starts = [
                (&a, Start::Cold),
                (&b, Start::Cold),
                (&b, Start::Incoming),
                (&a, Start::Incoming),
            ];
            starts.map(|(by, start)| owner.check(by, start).is_ok())
        };
        assert_eq!(may(&Owner::Nobody), [false; 4]);
        let held = Owner::Nobody.claim(&a).unwrap();
        assert_eq!(may(&held), [true, false, false, false]);
        let fault = held.clone().claim(&b).unwrap_err();
        assert_eq!(fault.to_string(), format!("{b} may not claim it: it is held by {a}"));
        assert!(held.clone().hand_over(&b, &c).is_err() && held.clone().release(&b).is_err());
        let moving = held.hand_over(&a, &b).unwrap();
        assert_eq!(may(&moving), [false, false, true, false]);
        assert!(moving.clone().claim(&a).is_err() && moving.clone().release(&a).is_err());
        assert!(moving.clone().hand_over(&a, &c).is_err() && moving.clone().settle(&c).is_err());
        assert_eq!(moving.clone().settle(&a).unwrap(), Owner::Held(a.clone()));
        let moved = moving.settle(&b).unwrap();
        assert_eq!(may(&moved), [false, true, false, false]);
        assert_eq!(moved.release(&b).unwrap(), Owner::Nobody);
    }

    proptest! {
        /// Whatever is asked for in whatever order, and repeated: one at most may start a guest anew, and
        /// it is the one whose claim was not ended.
        #[test]
        fn at_no_time_may_two_start_a_guest(
            asked in prop::collection::vec((0_u8..4, 0_u8..3, 0_u8..3), 0..60)
        ) {
            let mut owner = Owner::Nobody;
            for (what, one, other) in asked {
                let (one, other) = (host(one), host(other));
                let next = match what {
                    0 => owner.clone().claim(&one),
                    1 => owner.clone().hand_over(&one, &other),
                    2 => owner.clone().settle(&one),
                    _ => owner.clone().release(&one),
                };
                // What is granted may be asked for again, and changes nothing.
                if let Ok(next) = next {
                    let again = match what {
                        0 => next.clone().claim(&one),
                        1 => next.clone().hand_over(&one, &other),
                        2 => next.clone().settle(&one),
                        _ => next.clone().release(&one),
                    };
                    prop_assert_eq!(again.as_ref(), Ok(&next));
                    owner = next;
                }
                let cold = (0..3).filter(|at| owner.check(&host(*at), Start::Cold).is_ok()).count();
                let incoming =
                    (0..3).filter(|at| owner.check(&host(*at), Start::Incoming).is_ok()).count();
                prop_assert!(cold + incoming <= 1, "{:?}", owner);
            }
        }
    }
}
