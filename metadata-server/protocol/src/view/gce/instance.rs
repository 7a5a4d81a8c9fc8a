//! `instance/`: what a guest is told about itself.
//!
//! Names that point to other resources have Google's form, with our own ids in it.

use super::{
    attributes::ATTRIBUTES, guest_attributes::GUEST_ATTRIBUTES,
    network_interfaces::NETWORK_INTERFACES, project_number, zone,
};
use crate::{
    response::JSON,
    tree::{
        Body, Directory, Entry, Family, Item, Node, Scope, directory, families::place, family,
        kept, leaf,
    },
};

/// The directory.
pub(super) static INSTANCE: Directory = kept(&ENTRIES);

/// Sorted, as Google lists them.
static ENTRIES: [Entry; 19] = [
    directory("attributes", 0, &ATTRIBUTES),
    leaf("cpu-platform", 0, |_| Body::fixed("Unknown CPU Platform")),
    leaf("description", 0, |_| Body::fixed("")),
    directory("disks", 0, &DISKS),
    directory("guest-attributes", 0, &GUEST_ATTRIBUTES),
    leaf("hostname", 0, |it| Body::text(it.guest.fqdn())),
    leaf("id", 0, |it| Body::text(it.guest.instance.id.number().to_string())),
    leaf("image", 0, |it| {
        let instance = &it.guest.instance;
        Body::text(format!("projects/{}/global/images/{}", instance.project, instance.image_id))
    }),
    directory("licenses", 0, &EMPTY),
    leaf("machine-type", 0, |it| {
        let kind = &it.guest.instance.instance_type;
        Body::text(format!("projects/{}/machineTypes/{kind}", project_number(it)))
    }),
    leaf("maintenance-event", 0, |_| Body::fixed("NONE")),
    leaf("name", 0, |it| Body::text(it.guest.instance.name.as_str())),
    directory("network-interfaces", 0, &NETWORK_INTERFACES),
    leaf("preempted", 0, |_| Body::fixed("FALSE")),
    directory("scheduling", 0, &SCHEDULING),
    // No roles, so no account is listed. `default/` is answered all the same (see `identity`).
    directory("service-accounts", 0, &EMPTY),
    // Network tags choose firewall rules; we have neither.
    leaf("tags", 0, |_| Body::of(JSON, bytes::Bytes::from_static(b"[]"))),
    directory("virtual-clock", 0, &VIRTUAL_CLOCK),
    leaf("zone", 0, |it| Body::text(format!("projects/{}/zones/{}", project_number(it), zone(it)))),
];

static EMPTY: Directory = kept(&[]);

static SCHEDULING: Directory = kept(&SCHEDULING_ENTRIES);
static SCHEDULING_ENTRIES: [Entry; 3] = [
    leaf("automatic-restart", 0, |_| Body::fixed("TRUE")),
    leaf("on-host-maintenance", 0, |_| Body::fixed("MIGRATE")),
    leaf("preemptible", 0, |_| Body::fixed("FALSE")),
];

/// The token changes when a guest must set its clock anew, after a migration say. Ours never does:
/// the guest's clock is its hypervisor's business.
static VIRTUAL_CLOCK: Directory = kept(&VIRTUAL_CLOCK_ENTRIES);
static VIRTUAL_CLOCK_ENTRIES: [Entry; 1] = [leaf("drift-token", 0, |_| Body::fixed("0"))];

static DISKS: Directory = kept(&DISKS_ENTRIES);
static DISKS_ENTRIES: [Entry; 1] = [family(
    0,
    Family {
        members: |scope, each| {
            let count = scope.guest.instance.block_devices.len();
            (0..count).for_each(|at| each(&at.to_string()));
        },
        choose: |scope, segment| {
            let at = place(segment)?;
            let is_there = at < scope.guest.instance.block_devices.len();
            is_there.then_some(Scope { item: Item::Index(at), ..scope })
        },
    },
    Node::Directory(&DISK),
)];

static DISK: Directory = kept(&DISK_ENTRIES);
static DISK_ENTRIES: [Entry; 5] = [
    leaf("device-name", 0, |it| Body::text(disk(it).map_or("", |(name, _)| name))),
    leaf("index", 0, |it| Body::text(it.index().to_string())),
    leaf("interface", 0, |it| {
        let is_nvme = disk(it).is_some_and(|(_, device)| device.starts_with("nvme"));
        // Google knows these two; a guest's own look at the device says more.
        Body::fixed(if is_nvme { "NVME" } else { "SCSI" })
    }),
    leaf("mode", 0, |_| Body::fixed("READ_WRITE")),
    leaf("type", 0, |_| Body::fixed("PERSISTENT")),
];

/// The disk that the path has chosen: its name and its device. Disk 0 is the one to boot from.
fn disk<'a>(scope: &Scope<'a>) -> Option<(&'a str, &'a str)> {
    let devices = &scope.guest.instance.block_devices;
    let named =
        |is_root: bool| devices.iter().filter(move |(name, _)| (***name == *"root") == is_root);
    named(true).chain(named(false)).nth(scope.index()).map(|(name, device)| (&**name, &**device))
}
