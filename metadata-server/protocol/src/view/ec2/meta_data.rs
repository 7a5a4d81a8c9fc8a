//! `meta-data/`: what EC2 tells an instance about itself.
//!
//! Ids of kinds that we don't have (reservation, owner, VPC, subnet) are derived from those that
//! we have, so that each is stable and no two tenants share one by chance.

use std::net::IpAddr;

use super::{V1_0, V2009, V2016, V2018, V2019, V2021_01, V2021_03, interfaces, keys};
use crate::{
    address::{ipv4_of, public_ipv4},
    tree::{
        Body, Directory, Entry, Family, Item, Label, Leaf, Node, Scope, directory, families::tags,
        family, folder, is_plain_segment, leaf, leaf_if,
    },
};

/// The directory.
pub(super) static META_DATA: Directory =
    Directory { entries: &ENTRIES, label: Label::Bare, keep: true };

/// Sorted, as EC2 lists them.
static ENTRIES: [Entry; 24] = [
    leaf("ami-id", V1_0, |it| Body::text(&it.guest.instance.image_id)),
    leaf("ami-launch-index", V1_0, |it| Body::text(it.guest.instance.launch_index.to_string())),
    leaf("ami-manifest-path", V1_0, |_| Body::fixed("(unknown)")),
    directory("block-device-mapping", V2009, &BLOCK_DEVICES),
    directory("events", V2018, &EVENTS),
    leaf("hostname", V1_0, |it| Body::text(it.guest.fqdn())),
    leaf("instance-action", V2009, |_| Body::fixed("none")),
    leaf("instance-id", V1_0, |it| Body::text(it.guest.instance.id.as_str())),
    leaf("instance-life-cycle", V2019, |_| Body::fixed("on-demand")),
    leaf("instance-type", V2009, |it| Body::text(&it.guest.instance.instance_type)),
    leaf_if("ipv6", V2021_01, |it| ipv6(it).is_some(), |it| Body::optional(ipv6(it))),
    leaf("local-hostname", V1_0, |it| Body::text(it.guest.fqdn())),
    leaf_if(
        "local-ipv4",
        V1_0,
        |it| ipv4_of(it.guest.primary()).next().is_some(),
        |it| Body::optional(ipv4_of(it.guest.primary()).next()),
    ),
    leaf("mac", V2009, |it| Body::text(it.guest.primary().port.mac.to_string())),
    directory("network", V2009, &NETWORK),
    directory("placement", V2009, &PLACEMENT),
    leaf("profile", V2009, |_| Body::fixed("default-hvm")),
    leaf_if(
        "public-hostname",
        V1_0,
        |it| public_ipv4(it.guest.primary()).is_some(),
        |it| Body::text(it.guest.fqdn()),
    ),
    leaf_if(
        "public-ipv4",
        V1_0,
        |it| public_ipv4(it.guest.primary()).is_some(),
        |it| Body::optional(public_ipv4(it.guest.primary())),
    ),
    directory("public-keys", V1_0, &keys::PUBLIC_KEYS),
    leaf("reservation-id", V1_0, |it| {
        Body::text(format!("r-{}", digits(it.guest.instance.id.as_str())))
    }),
    leaf("security-groups", V1_0, |_| Body::fixed("default")),
    directory("services", V2016, &SERVICES),
    directory("tags", V2021_03, &TAGS),
];

static NETWORK: Directory = folder(&NETWORK_ENTRIES);
static NETWORK_ENTRIES: [Entry; 1] = [directory("interfaces", V2009, &interfaces::INTERFACES)];

static BLOCK_DEVICES: Directory = folder(&BLOCK_DEVICE_ENTRIES);
static BLOCK_DEVICE_ENTRIES: [Entry; 1] = [family(
    V2009,
    Family {
        members: |scope, each| {
            let names = scope.guest.instance.block_devices.keys();
            names.filter(|name| is_plain_segment(name)).for_each(|name| each(name));
        },
        choose: |scope, segment| {
            let (name, _) = scope.guest.instance.block_devices.get_key_value(segment)?;
            is_plain_segment(name).then_some(Scope { item: Item::Name(name), ..scope })
        },
    },
    Node::Leaf(Leaf {
        exists: |_| true,
        read: |it| Body::optional(it.guest.instance.block_devices.get(it.name())),
        below: None,
    }),
)];

/// No maintenance is ever announced here; agents that ask want the empty list and not 404.
static EVENTS: Directory = folder(&EVENTS_ENTRIES);
static EVENTS_ENTRIES: [Entry; 1] = [directory("maintenance", V2018, &MAINTENANCE)];
static MAINTENANCE: Directory = folder(&MAINTENANCE_ENTRIES);
static MAINTENANCE_ENTRIES: [Entry; 2] = [
    leaf("history", V2018, |_| Body::fixed("[]")),
    leaf("scheduled", V2018, |_| Body::fixed("[]")),
];

static PLACEMENT: Directory = folder(&PLACEMENT_ENTRIES);
static PLACEMENT_ENTRIES: [Entry; 3] = [
    leaf("availability-zone", V2009, |it| Body::text(it.guest.zone())),
    leaf("availability-zone-id", V2019, |it| {
        // `a` is the first zone; a record's zone is a lower-case letter.
        let number = u32::from(it.guest.instance.zone).saturating_sub(u32::from('a')) + 1;
        Body::text(format!("{}-az{number}", it.guest.site.region))
    }),
    leaf("region", V2021_01, |it| Body::text(&it.guest.site.region)),
];

static SERVICES: Directory = folder(&SERVICES_ENTRIES);
static SERVICES_ENTRIES: [Entry; 2] = [
    leaf("domain", V2016, |it| Body::text(&it.guest.site.domain)),
    leaf("partition", V2016, |_| Body::fixed("mezame")),
];

static TAGS: Directory = folder(&TAGS_ENTRIES);
static TAGS_ENTRIES: [Entry; 1] = [directory("instance", V2021_03, &INSTANCE_TAGS)];
static INSTANCE_TAGS: Directory = folder(&INSTANCE_TAGS_ENTRIES);
static INSTANCE_TAGS_ENTRIES: [Entry; 1] = [family(
    V2021_03,
    tags(),
    Node::Leaf(Leaf {
        exists: |_| true,
        read: |it| Body::optional(it.guest.instance.tags.get(it.name())),
        below: None,
    }),
)];

/// The digits of one of our ids.
pub(super) fn digits(id: &str) -> &str {
    id.split_once('-').map_or(id, |(_, digits)| digits)
}

fn ipv6(scope: &Scope<'_>) -> Option<IpAddr> {
    scope.port().port.addresses.iter().copied().find(IpAddr::is_ipv6)
}
