//! Watches the devices of this network namespace and keeps ports attached to the right ones.
//!
//! [`table`] decides, [`plane`] does, [`watch`] sees. What is decided is done at once and in
//! order; what fails is tried again.

pub mod plane;
mod rules;
mod slots;
pub mod table;
pub mod watch;

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use mezame_ebpf_loader::PortSlot;

use crate::{
    cache::{Cache, Changes},
    chain,
    identity::{Attachment, Identities, Taken},
    metrics::Metrics,
    sockets::SocketEnder,
};
use plane::DataPlane;
use table::{Adopted, Step, Table};
use watch::Device;

/// The devices, and what is attached to them.
pub struct Taps {
    table: Table,
    plane: Arc<Mutex<dyn DataPlane>>,
    identities: Arc<Identities>,
    metrics: Arc<Metrics>,
    ender: Option<SocketEnder>,
    /// When each device was taken hold of last, whosever it is.
    taken: HashMap<u32, Taken>,
}

impl Taps {
    /// Begins with what is pinned, and with what a predecessor handed over.
    pub fn new(
        plane: Arc<Mutex<dyn DataPlane>>,
        identities: Arc<Identities>,
        metrics: Arc<Metrics>,
        ender: Option<SocketEnder>,
        adopted: Vec<Adopted>,
        next_slot: u32,
    ) -> Result<Self, plane::PlaneError> {
        let pinned = plane.lock().unwrap_or_else(PoisonError::into_inner).attached()?;
        // Seconds are above every generation that an earlier process counted up to, as long as
        // it attached less than one port a second on the whole.
        let generation = u32::try_from(crate::clock::unix_time().0 & 0xffff_ffff).unwrap_or(0);
        let taken = adopted.iter().filter_map(|one| Some((one.ifindex, one.taken?))).collect();
        let table = Table::new(pinned, adopted, next_slot, generation);
        Ok(Self { table, plane, identities, metrics, ender, taken })
    }

    /// What a successor needs to go on: tenancies, and the next slot.
    pub fn hand_over(&self) -> (Vec<Adopted>, u32) {
        let mut tenancies = self.table.tenancies();
        for one in &mut tenancies {
            one.taken = self.taken.get(&one.ifindex).copied();
        }
        (tenancies, self.table.next_slot())
    }

    /// All devices there are. Returns the ports that were attached, for their records.
    pub fn scanned(
        &mut self,
        devices: &HashMap<u32, Device>,
        cache: &Cache,
    ) -> Vec<Arc<Attachment>> {
        self.taken.retain(|ifindex, _| devices.contains_key(ifindex));
        for (ifindex, device) in devices {
            // Also fewer: it is another device then, which has the number of one that is gone.
            if self.carriers(*ifindex) != Some(device.carriers) {
                self.note_taken(*ifindex, device.carriers);
            }
        }
        let names = devices.iter().map(|(ifindex, device)| (*ifindex, device.name.clone()));
        let steps = self.table.scanned(&names.collect(), cache);
        self.take(steps)
    }

    /// A device's carrier came up so often by now. To be said before the device is, so that a port
    /// is never attached without.
    pub fn taken(&mut self, ifindex: u32, carriers: u32) {
        // It never counts down: a smaller one was on its way when the devices were scanned.
        if self.carriers(ifindex).is_none_or(|known| known < carriers) {
            self.note_taken(ifindex, carriers);
        }
    }

    fn carriers(&self, ifindex: u32) -> Option<u32> {
        self.taken.get(&ifindex).map(|taken| taken.carriers)
    }

    fn note_taken(&mut self, ifindex: u32, carriers: u32) {
        let taken = Taken::now(carriers);
        self.taken.insert(ifindex, taken);
        let port = self.table.port_at(ifindex);
        if let Some(attachment) = port.and_then(|port| self.identities.of_port(port)) {
            tracing::info!(port = %attachment.port, ifindex, carriers, "tap taken hold of");
            attachment.take(taken);
        }
    }

    /// A device appeared or was renamed.
    pub fn seen(&mut self, ifindex: u32, name: &str, cache: &Cache) -> Vec<Arc<Attachment>> {
        let steps = self.table.seen(ifindex, name, cache);
        self.take(steps)
    }

    /// A device is gone.
    pub fn gone(&mut self, ifindex: u32) {
        self.taken.remove(&ifindex);
        let steps = self.table.gone(ifindex);
        self.take(steps);
    }

    /// Records changed: settles the devices that they concern.
    pub fn changed(&mut self, changes: &Changes, cache: &Cache) -> Vec<Arc<Attachment>> {
        let table = &mut self.table;
        let steps = if changes.everyone {
            table.reviewed(cache)
        } else {
            changes.devices.iter().flat_map(|device| table.claimed(device, cache)).collect()
        };
        self.take(steps)
    }

    /// Tries again what failed.
    pub fn retry(&mut self, cache: &Cache) -> Vec<Arc<Attachment>> {
        let steps = self.table.retry(cache);
        self.take(steps)
    }

    /// Whether something failed and waits to be tried again.
    pub fn has_failed(&self) -> bool {
        self.table.has_failed()
    }

    fn take(&mut self, steps: Vec<Step>) -> Vec<Arc<Attachment>> {
        let mut attached = Vec::new();
        let mut ended = BTreeSet::new();
        let (ends, others): (Vec<_>, Vec<_>) =
            steps.into_iter().partition(|step| matches!(step, Step::End { .. }));
        for step in ends {
            self.take_one(step, &mut attached, &mut ended);
        }
        // While the data path still has the way back, so that the guest gets the resets.
        self.end_sockets(&ended);
        for step in others {
            self.take_one(step, &mut attached, &mut ended);
        }
        // What came in between, and what a refused change has ended.
        self.end_sockets(&ended);
        self.metrics.ports.set(i64::try_from(self.identities.count()).unwrap_or(i64::MAX));
        attached
    }

    fn take_one(
        &mut self,
        step: Step,
        attached: &mut Vec<Arc<Attachment>>,
        ended: &mut BTreeSet<PortSlot>,
    ) {
        let plane = Arc::clone(&self.plane);
        let mut plane = plane.lock().unwrap_or_else(PoisonError::into_inner);
        let (ifindex, done) = match step {
            Step::Attach { ifindex, tenancy, rules } => {
                tracing::info!(
                    port = %tenancy.port, device = %tenancy.device, ifindex,
                    slot = rules.slot.number(), "port attached"
                );
                let attachment = Arc::new(Attachment::new(
                    rules.slot,
                    tenancy.port,
                    tenancy.instance,
                    tenancy.device,
                    ifindex,
                ));
                if let Some(taken) = self.taken.get(&ifindex) {
                    attachment.take(*taken);
                }
                // Known before its first frame can come.
                self.identities.insert(Arc::clone(&attachment));
                attached.push(attachment);
                (ifindex, plane.attach(ifindex, &rules))
            }
            Step::Amend { ifindex, rules } => (ifindex, plane.attach(ifindex, &rules)),
            Step::Refuse { ifindex } => (ifindex, plane.refuse(ifindex)),
            Step::Detach { ifindex } => (ifindex, plane.detach(ifindex)),
            Step::End { slot } => {
                if let Some(attachment) = self.identities.remove(slot) {
                    tracing::info!(
                        port = %attachment.port, device = %attachment.device,
                        slot = slot.number(), "port detached"
                    );
                }
                ended.insert(slot);
                return;
            }
        };
        drop(plane);
        if let Err(error) = done {
            self.metrics.attach_failed();
            tracing::warn!(ifindex, error = chain(&error), "the data path refused a change");
            for step in self.table.failed(ifindex) {
                self.take_one(step, attached, ended);
            }
        }
    }

    fn end_sockets(&mut self, slots: &BTreeSet<PortSlot>) {
        if slots.is_empty() {
            return;
        }
        let Some(ender) = &self.ender else { return };
        match ender.end(slots) {
            Ok(0) => {}
            Ok(count) => tracing::debug!(count, "sockets of ended tenancies destroyed"),
            Err(error) => {
                tracing::warn!(%error, "this kernel can't destroy sockets (SOCK_DESTROY)");
                self.ender = None;
            }
        }
    }
}
