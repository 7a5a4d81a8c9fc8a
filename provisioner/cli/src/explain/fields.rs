//! The tables of fields, one a kind, in the order in which people write them.

mod instance;
mod network;

use mezame_model::{api::Kind, id::NAME_RULE};

use self::{instance::INSTANCE, network::NETWORK};
use super::Field;

/// The fields of a kind, besides `kind` itself.
pub fn of(kind: Kind) -> &'static [Field] {
    match kind {
        Kind::Project => PROJECT,
        Kind::Network => NETWORK,
        Kind::Port => PORT,
        Kind::Instance => INSTANCE,
    }
}

const fn field(
    path: &'static str,
    form: &'static str,
    default: &'static str,
    limits: &'static str,
    meaning: &'static str,
) -> Field {
    Field { path, form, default, limits, meaning }
}

const OWNER: Field = field(
    "project",
    "name",
    "required",
    "a project that exists or is in the same seed",
    "The project it belongs to; 'apply -p PROJECT' fills it in.",
);

const NAME: Field =
    field("name", "name", "required", NAME_RULE, "Its name, unique in its project.");

const ADDRESS_LIST: &str = "list of IPv4 or IPv6 addresses";

const UPSTREAMS: &str = "list of addresses, such as 192.0.2.53 or [2001:db8::53]:5353";

const PROJECT: &[Field] = &[
    field("name", "name", "required", NAME_RULE, "Its name, unique in the installation."),
    field("description", "text", "", "", "What it is for, shown to operators only."),
    field(
        "encrypted_images",
        "true or false",
        "false",
        "as it was when the project was made; it is never changed",
        "Its images in the archive are encrypted with a key of its own.",
    ),
    field("volume_quota", "limits", "no limit", "", "The most that it may have of volumes."),
    field("volume_quota.volumes", "number", "no limit", "0 to 10000", "How many volumes."),
    field(
        "volume_quota.bytes",
        "number",
        "no limit",
        "0 to 2^60",
        "The lengths of all of them together, as guests see them.",
    ),
];

const PORT: &[Field] = &[
    OWNER,
    NAME,
    field("network", "name", "required", "a network of the same project", "The network it is in."),
    field(
        "mac",
        "MAC address, such as 52:54:00:12:34:56",
        "made by the provisioner",
        "unicast; two ports of one instance differ",
        "The only source MAC that its frames may have.",
    ),
    field(
        "addresses",
        ADDRESS_LIST,
        "one that is free is chosen",
        "in the network's subnets",
        "The addresses that the guest is told are its own; the first is the primary one.",
    ),
    field(
        "allowed",
        "list of ranges",
        "none",
        "",
        "Further source addresses that it may use: floating ones, routed ranges. Any of \
         169.254.0.0/16 is always allowed.",
    ),
    field(
        "vlans",
        "list of VLANs",
        "none",
        "16 at most; not on a port of a bond",
        "Further networks on the same card, each behind a tag (802.1Q), by the port's MAC.",
    ),
    field("vlans.id", "number", "required", "1 to 4094, once in a port", "The tag's number."),
    field(
        "vlans.network",
        "name",
        "required",
        "another network of the same project, once in a port",
        "The network that it is.",
    ),
    field(
        "vlans.addresses",
        ADDRESS_LIST,
        "one that is free is chosen",
        "in that network's subnets",
        "The guest's own addresses there; the first is the primary one.",
    ),
    field(
        "bond",
        "name",
        "none",
        "'bond' and up to 11 of a-z, 0-9 and '-'",
        "The device that this port is a card of: with all ports of the instance that name the \
         same, in one network. One card is used at a time (active-backup).",
    ),
    field(
        "device",
        "device name",
        "tap and the first 11 digits of the port's id",
        "1 to 15 characters",
        "The tap on the hypervisor; 'mezame port attach' changes it.",
    ),
    field(
        "dhcp_server",
        "true or false",
        "false",
        "",
        "Whether the guest may answer DHCP requests of others, and advertise itself as a router.",
    ),
    field(
        "rate_limit",
        "limit",
        "20000 frames a second, 20000 at once",
        "",
        "How many frames to the link-local services it may send.",
    ),
    field(
        "rate_limit.frames_per_second",
        "number",
        "20000",
        "at least 1",
        "Sustained frames a second.",
    ),
    field("rate_limit.burst", "number", "20000", "at least 1", "Frames at once."),
    field(
        "boot",
        "boot files",
        "none",
        "",
        "What the guest boots from the network: told by DHCP alone.",
    ),
    field("boot.server", "address", "", "", "Where the file is fetched from by TFTP."),
    field(
        "boot.file",
        "path",
        "",
        "1 to 127 printable ASCII characters without spaces",
        "The file, for PXE.",
    ),
    field(
        "boot.url",
        "URL",
        "",
        "1 to 255 printable ASCII characters without spaces",
        "What is booted by HTTP (UEFI) and over IPv6.",
    ),
];
