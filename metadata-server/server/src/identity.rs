//! Who is asking: from a peer address to the attached port it stands for.
//!
//! The data path writes the identity into the source address (see `mezame-ebpf-loader`), so the
//! peer address is the whole truth; no header is looked at. A look-up costs one hash, however
//! many ports there are. A connection keeps the [`Attachment`] that it was let in by, and that
//! attachment ends with its tenancy: a later tenant of the same slot has another one, so an old
//! connection never sees a new tenant's record.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use mezame_ebpf_loader::{Identity, Identity6, PortSlot};
use mezame_model::{DeviceName, Generation, Guest, InstanceId, PortId};
use mezame_protocol::{Spent, Start, UnixTime, release::start_id};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::{
    clock::{host_boot, since_boot},
    limits::{Bucket, Count},
    link_local::PortShare,
    listener::Connection,
    orders::Orders,
    site::SiteKeys,
};

/// What is answered to one port, at one moment.
#[derive(Debug)]
pub struct Record {
    /// The guest's own data, joined.
    pub guest: Guest,
    /// The site's keys.
    pub keys: Arc<SiteKeys>,
    /// The values of its secrets that the guest has acknowledged.
    pub acknowledged: Arc<Spent>,
    /// The snapshot in which the record last changed.
    pub generation: Generation,
    /// When that was.
    pub modified: UnixTime,
}

/// Where an attachment stands.
#[derive(Debug, Clone)]
pub enum Standing {
    /// The port is known and its record has not come, or is not whole: 503.
    Waiting,
    /// It is served.
    Serving(Arc<Record>),
    /// The tenancy is over: nothing more is answered.
    Over,
}

/// That somebody has taken hold of a tap, as a hypervisor does to start a machine.
///
/// Linux switches a tap's carrier on when it is opened and off when it is closed (tun.c), and counts
/// how often (IFLA_CARRIER_UP_COUNT, Linux 4.16). No guest can do either.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// How often the carrier came up.
    pub carriers: u32,
    /// When it was seen for the first time, in milliseconds since the hypervisor's boot.
    pub since_ms: u64,
}

impl Taken {
    /// It is seen now.
    pub fn now(carriers: u32) -> Self {
        Self { carriers, since_ms: since_boot() }
    }
}

/// One tenancy of one port on one device.
#[derive(Debug)]
pub struct Attachment {
    /// The middle of its identities.
    pub slot: PortSlot,
    /// The port.
    pub port: PortId,
    /// The instance that the port belonged to when it was attached.
    pub instance: Option<InstanceId>,
    /// The tap.
    pub device: DeviceName,
    /// The tap's index.
    pub ifindex: u32,
    taken: Mutex<Taken>,
    standing: watch::Sender<Standing>,
    /// Requests.
    pub requests: Bucket,
    /// Events: reports, passwords, acknowledgements.
    pub events: Bucket,
    /// Watches that wait.
    pub watches: Count,
    /// What its guest's agent is asked to do.
    pub(crate) orders: Orders,
    /// What it uses of the link-local services.
    pub link_local: PortShare,
    /// A few at most; a hash map would take more of each port that has none.
    connections: Mutex<BTreeMap<u64, Arc<Connection>>>,
}

impl Attachment {
    /// A new tenancy, which waits for its record.
    pub fn new(
        slot: PortSlot,
        port: PortId,
        instance: Option<InstanceId>,
        device: DeviceName,
        ifindex: u32,
    ) -> Self {
        Self {
            slot,
            port,
            instance,
            device,
            ifindex,
            taken: Mutex::new(Taken::now(0)),
            standing: watch::Sender::new(Standing::Waiting),
            requests: Bucket::default(),
            events: Bucket::default(),
            watches: Count::default(),
            orders: Orders::default(),
            link_local: PortShare::default(),
            connections: Mutex::default(),
        }
    }

    /// When the tap was taken hold of last.
    pub fn taken(&self) -> Taken {
        *self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tap was taken hold of.
    pub fn take(&self, taken: Taken) {
        *self.taken.lock().unwrap_or_else(PoisonError::into_inner) = taken;
    }

    /// The start of the machine behind the tap.
    pub fn start(&self) -> Start {
        let taken = self.taken();
        let age_ms = since_boot().saturating_sub(taken.since_ms);
        let id = start_id(host_boot(), &self.port, self.ifindex, taken.carriers);
        Start { id, age_s: age_ms / 1000 }
    }

    /// As it stands now.
    pub fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }

    /// Follows it from now on.
    pub fn follow(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// Changes what is answered and wakes those who wait, unless the tenancy is over.
    pub fn serve(&self, standing: Standing) {
        self.standing.send_if_modified(|now| {
            if matches!(now, Standing::Over) {
                return false;
            }
            *now = standing;
            true
        });
    }

    /// Changes the record that is served now, where `change` makes another of it, and wakes those
    /// who wait. A record that comes at the same time is not lost: one is changed, or the other.
    pub fn amend(&self, change: impl FnOnce(&Record) -> Option<Record>) {
        self.standing.send_if_modified(|now| {
            let Standing::Serving(record) = now else { return false };
            let Some(amended) = change(record) else { return false };
            *now = Standing::Serving(Arc::new(amended));
            true
        });
    }

    /// Wakes those who wait, to look at what is told besides the record.
    pub fn wake(&self) {
        self.standing.send_modify(|_| {});
    }

    /// Ends the tenancy: nothing is answered any more, open connections are reset.
    pub fn end(&self) {
        self.standing.send_replace(Standing::Over);
        for connection in self.connections.lock().unwrap_or_else(PoisonError::into_inner).values() {
            connection.reset();
        }
    }

    /// Counts a connection in; refused at the ceiling, or after the end of the tenancy.
    pub fn admit(&self, connection: &Arc<Connection>, ceiling: u32) -> bool {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock, so that `end` either sees the connection or is seen here.
        if connections.len() >= ceiling as usize
            || matches!(*self.standing.borrow(), Standing::Over)
        {
            return false;
        }
        connections.insert(connection.number(), Arc::clone(connection));
        true
    }

    /// Counts a connection out.
    pub fn dismiss(&self, number: u64) {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Looks at each open connection.
    pub fn for_each_connection(&self, each: impl FnMut(&Arc<Connection>)) {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner).values().for_each(each);
    }
}

/// All attachments of this hypervisor.
#[derive(Debug, Default)]
pub struct Identities {
    tables: RwLock<Tables>,
}

/// The slot in an identity address of either family.
pub(crate) fn slot_of(peer: IpAddr) -> Option<PortSlot> {
    match peer {
        IpAddr::V4(v4) => Some(Identity::parse(v4)?.0),
        IpAddr::V6(v6) => Some(Identity6::parse(v6)?.slot()),
    }
}

#[derive(Debug, Default)]
struct Tables {
    by_slot: HashMap<PortSlot, Arc<Attachment>>,
    by_port: HashMap<PortId, Arc<Attachment>>,
}

impl Identities {
    /// The attachment that a peer address stands for, if it stands for one.
    pub fn of_peer(&self, peer: IpAddr) -> Option<Arc<Attachment>> {
        let slot = slot_of(peer)?;
        self.read().by_slot.get(&slot).cloned()
    }

    /// The attachment of a slot.
    pub fn of_slot(&self, slot: PortSlot) -> Option<Arc<Attachment>> {
        self.read().by_slot.get(&slot).cloned()
    }

    /// The attachment of a port.
    pub fn of_port(&self, port: &PortId) -> Option<Arc<Attachment>> {
        self.read().by_port.get(port).cloned()
    }

    /// Lets an attachment in; one that had its slot or its port before has ended.
    pub fn insert(&self, attachment: Arc<Attachment>) {
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        let by_port = tables.by_port.insert(attachment.port.clone(), Arc::clone(&attachment));
        let by_slot = tables.by_slot.insert(attachment.slot, attachment);
        if let Some(old) = &by_port
            && tables.by_slot.get(&old.slot).is_some_and(|now| Arc::ptr_eq(now, old))
        {
            tables.by_slot.remove(&old.slot);
        }
        drop(tables);
        for old in [by_port, by_slot].into_iter().flatten() {
            old.end();
        }
    }

    /// Ends the attachment of a slot and takes it out.
    pub fn remove(&self, slot: PortSlot) -> Option<Arc<Attachment>> {
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        let old = tables.by_slot.remove(&slot)?;
        if tables.by_port.get(&old.port).is_some_and(|now| Arc::ptr_eq(now, &old)) {
            tables.by_port.remove(&old.port);
        }
        drop(tables);
        old.end();
        Some(old)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.read().by_slot.len()
    }

    /// All of them, in no order.
    pub fn all(&self) -> Vec<Arc<Attachment>> {
        self.read().by_slot.values().cloned().collect()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Tables> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attachment(slot: u32, port: &str) -> Arc<Attachment> {
        Arc::new(Attachment::new(
            PortSlot::new(slot).unwrap(),
            PortId::parse(port).unwrap(),
            None,
            DeviceName::parse("tap0").unwrap(),
            7,
        ))
    }

    const PORT_A: &str = "eni-0123456789abcdef0";
    const PORT_B: &str = "eni-0123456789abcdef1";

    #[test]
    fn every_identity_address_of_a_slot_stands_for_its_port_and_no_other_does() {
        let identities = Identities::default();
        identities.insert(attachment(5, PORT_A));
        for n in 0..16 {
            let peer = Identity::new(PortSlot::new(5).unwrap(), n).address();
            assert_eq!(identities.of_peer(peer.into()).unwrap().port.as_str(), PORT_A);
            let other = Identity::new(PortSlot::new(6).unwrap(), n).address();
            assert!(identities.of_peer(other.into()).is_none());
        }
        for prefix in 0..8 {
            let peer = |slot| Identity6::new(PortSlot::new(slot).unwrap(), prefix, 7).address();
            assert_eq!(identities.of_peer(peer(5).into()).unwrap().port.as_str(), PORT_A);
            assert!(identities.of_peer(peer(6).into()).is_none());
        }
        for peer in ["192.168.0.5", "127.0.0.1", "fe80::1", "::ffff:32.0.0.80"] {
            assert!(identities.of_peer(peer.parse().unwrap()).is_none(), "{peer}");
        }
    }

    #[test]
    fn a_recycled_slot_ends_its_former_tenancy() {
        let identities = Identities::default();
        let old = attachment(5, PORT_A);
        identities.insert(Arc::clone(&old));
        identities.insert(attachment(5, PORT_B));
        assert!(matches!(old.standing(), Standing::Over));
        old.serve(Standing::Waiting);
        assert!(matches!(old.standing(), Standing::Over), "an ended tenancy can't begin again");
    }

    #[test]
    fn what_is_amended_is_the_record_that_is_served_at_that_moment() {
        let attachment = attachment(5, PORT_A);
        attachment.amend(|_| panic!("there is none"));
        let snapshot = crate::fixture::snapshot(1, [1]);
        let keys = Arc::new(SiteKeys::new(&snapshot.site).unwrap());
        let record = |generation| Record {
            guest: Guest::join(&snapshot, &snapshot.instances[0]).unwrap(),
            keys: Arc::clone(&keys),
            acknowledged: Arc::default(),
            generation: Generation(generation),
            modified: UnixTime(1),
        };
        attachment.serve(Standing::Serving(Arc::new(record(1))));
        let mut changes = attachment.follow();
        attachment.amend(|_| None);
        assert!(!changes.has_changed().unwrap(), "nobody is woken for nothing");
        attachment.serve(Standing::Serving(Arc::new(record(2))));
        changes.borrow_and_update();
        attachment.amend(|now| Some(Record { modified: UnixTime(2), ..record(now.generation.0) }));
        assert!(changes.has_changed().unwrap());
        let Standing::Serving(now) = attachment.standing() else { panic!() };
        assert_eq!((now.generation, now.modified), (Generation(2), UnixTime(2)));
        attachment.end();
        attachment.amend(|_| panic!("it is over"));
        assert!(matches!(attachment.standing(), Standing::Over));
    }

    #[test]
    fn a_port_that_moves_to_another_slot_leaves_nothing_behind() {
        let identities = Identities::default();
        identities.insert(attachment(5, PORT_A));
        identities.insert(attachment(6, PORT_A));
        let peer = |slot| Identity::new(PortSlot::new(slot).unwrap(), 0).address();
        assert!(identities.of_peer(peer(5).into()).is_none());
        assert!(identities.of_peer(peer(6).into()).is_some());
        identities.remove(PortSlot::new(6).unwrap());
        assert!(identities.of_port(&PortId::parse(PORT_A).unwrap()).is_none());
        assert!(identities.all().is_empty());
    }
}
