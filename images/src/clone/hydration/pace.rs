//! How fast a hydration copies, and whether it does.

use serde_json::json;

use super::{Hydration, HydrationError};
use crate::qmp::Qmp;

impl Hydration {
    /// Stops copying until it is resumed. What the guest writes still goes to both.
    pub fn pause(&self, qmp: &mut Qmp) -> Result<(), HydrationError> {
        self.tell(qmp, "job-pause")
    }

    /// Goes on copying.
    pub fn resume(&self, qmp: &mut Qmp) -> Result<(), HydrationError> {
        self.tell(qmp, "job-resume")
    }

    /// Copies this many bytes a second from here on; 0 is no limit.
    pub fn set_speed(&self, qmp: &mut Qmp, speed: u64) -> Result<(), HydrationError> {
        let arguments = json!({ "device": self.id.node("hydrate"), "speed": speed });
        Ok(qmp.execute("block-job-set-speed", arguments).map(drop)?)
    }
}
