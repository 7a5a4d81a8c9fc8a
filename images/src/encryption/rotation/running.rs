//! A header that a QEMU has open, changed by that QEMU while its guest runs.
//!
//! The command is `x-blockdev-amend`, whose name says that QEMU may change it; it is there from 5.1
//! on, and is the one way to change a header that is open. The guest's reads and writes go on.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{Header, RotationError};
use crate::{
    encryption::{
        KeyNumber, VolumeKeys,
        image::{ATTEMPTS, Change, NOT_MEASURED, opens},
        secret,
    },
    environment::Environment,
    qmp::Qmp,
    volume::Volume,
};

/// How long QEMU may take: two seconds of measuring, and more on a busy host.
const AMENDMENT: Duration = Duration::from_secs(60);

/// The header of a volume that a QEMU, or its storage daemon, has open.
pub struct Running<'a> {
    qmp: &'a mut Qmp,
    volume: &'a Volume,
    keys: &'a VolumeKeys,
    environment: &'a dyn Environment,
}

impl<'a> Running<'a> {
    /// That of a volume, by its own keys, the new one among them. The QEMU was started with
    /// [`Volume::secrets`].
    pub fn new(
        qmp: &'a mut Qmp,
        volume: &'a Volume,
        keys: &'a VolumeKeys,
        environment: &'a dyn Environment,
    ) -> Self {
        Self { qmp, volume, keys, environment }
    }

    /// Changes a key's slot, and again where QEMU could not measure the processor.
    fn amend(
        &mut self,
        opening: KeyNumber,
        other: KeyNumber,
        change: Change,
    ) -> Result<(), RotationError> {
        if self.qmp.is_moving()? {
            return Err(RotationError::Moving);
        }
        let id = self.volume.id();
        let node = self.node()?;
        for key in [opening, other] {
            secret::give(self.qmp, id, key, self.keys, self.environment)?;
        }
        let job = id.node("keys");
        let options = change.options(self.volume, opening, other);
        for _ in 0..ATTEMPTS {
            self.dismiss(&job)?;
            let amend = json!({ "job-id": job, "node-name": node, "options": options });
            self.qmp.execute("x-blockdev-amend", amend)?;
            match self.concluded(&job)? {
                None => return sync(self.volume),
                Some(said) if said.contains(NOT_MEASURED) => {}
                Some(said) => return Err(RotationError::Job { said }),
            }
        }
        Err(RotationError::Job { said: NOT_MEASURED.into() })
    }

    /// The volume's node: named apart in a QEMU that has gone over to it from a clone.
    fn node(&mut self) -> Result<String, RotationError> {
        let id = self.volume.id();
        let hydrated = id.node("plain");
        let nodes = self.qmp.execute("query-named-block-nodes", json!({ "flat": true }))?;
        let Value::Array(nodes) = nodes else { return Ok(id.node("")) };
        let is_hydrated = nodes.iter().any(|node| node["node-name"] == *hydrated);
        Ok(if is_hydrated && !self.volume.is_overlay() { hydrated } else { id.node("") })
    }

    /// Waits for the job's end; its error, if it has one.
    fn concluded(&mut self, job: &str) -> Result<Option<String>, RotationError> {
        let begin = Instant::now();
        while begin.elapsed() < AMENDMENT {
            let Some(state) = self.job(job)? else {
                return Err(RotationError::Job { said: "it is gone".into() });
            };
            if state["status"] == "concluded" {
                let said = state["error"].as_str().map(str::to_owned);
                self.qmp.execute("job-dismiss", json!({ "id": job }))?;
                return Ok(said);
            }
            thread::sleep(Duration::from_millis(5));
        }
        Err(RotationError::Late)
    }

    /// Waits for a job of a process of ours that was stopped, and dismisses it.
    fn dismiss(&mut self, job: &str) -> Result<(), RotationError> {
        if self.job(job)?.is_some() {
            self.concluded(job)?;
        }
        Ok(())
    }

    fn job(&mut self, job: &str) -> Result<Option<Value>, RotationError> {
        let Value::Array(jobs) = self.qmp.execute("query-jobs", json!({}))? else {
            return Ok(None);
        };
        Ok(jobs.into_iter().find(|one| one["id"] == *job))
    }
}

impl Header for Running<'_> {
    fn add(&mut self, opening: KeyNumber, new: KeyNumber) -> Result<(), RotationError> {
        self.amend(opening, new, Change::Add)
    }

    fn remove(&mut self, staying: KeyNumber, old: KeyNumber) -> Result<(), RotationError> {
        self.amend(staying, old, Change::Remove)
    }

    fn opens(&mut self, key: KeyNumber) -> Result<bool, RotationError> {
        // A job that is still at work keeps others from looking.
        self.dismiss(&self.volume.id().node("keys"))?;
        Ok(opens(self.volume, key, self.keys)?)
    }

    fn forget(&mut self, old: KeyNumber) -> Result<(), RotationError> {
        Ok(secret::take(self.qmp, self.volume.id(), old)?)
    }
}

/// Makes what QEMU has written durable: it flushes a header no sooner than the guest its data.
pub(super) fn sync(volume: &Volume) -> Result<(), RotationError> {
    let place = volume.place();
    place
        .open()
        .and_then(|(file, _)| file.sync_all())
        .map_err(|source| RotationError::Sync { path: place.called(), source })
}
