//! The tables of fields, one a kind, in the order in which people write them.

use mezame_model::{
    api::Kind,
    id::{HOSTNAME_RULE, NAME_RULE},
};

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
];

const NETWORK: &[Field] = &[
    OWNER,
    NAME,
    field(
        "vni",
        "number",
        "required",
        "1 to 16777215, unique in the installation",
        "The VXLAN segment that carries it (RFC 7348).",
    ),
    field(
        "mtu",
        "number",
        "1450",
        "576 to 9216; 1280 at least with an IPv6 subnet",
        "The greatest packet, in bytes. The default fits into VXLAN on a plain Ethernet.",
    ),
    field(
        "subnets",
        "list of subnets",
        "required",
        "at least one; no two overlap; none has a link-local service's address",
        "The ranges of addresses in it. Other networks may have the same ranges.",
    ),
    field(
        "subnets.cidr",
        "range, such as 192.168.0.0/20",
        "required",
        "IPv4 or IPv6, host bits zero",
        "The range.",
    ),
    field(
        "subnets.gateway",
        "address",
        "",
        "in the range; of IPv6 also link-local, in fe80::/64",
        "The router that guests are told. None: guests have no default route. Router \
         advertisements can name a link-local one only; others are told by metadata.",
    ),
    field(
        "subnets.routes",
        "list of routes",
        "none",
        "at most 32, no destination twice",
        "Further routes that guests are told.",
    ),
    field(
        "subnets.routes.destination",
        "range, such as 10.20.0.0/16",
        "required",
        "of the subnet's family, host bits zero, not everywhere",
        "Where it leads to.",
    ),
    field(
        "subnets.routes.via",
        "address",
        "required",
        "in the subnet; of IPv6 also link-local, in fe80::/64",
        "The router.",
    ),
    field("dns", ADDRESS_LIST, "none", "", "Resolvers that guests are told, most wanted first."),
    field("domain", "host name", "", HOSTNAME_RULE, "The domain that guests' names are in."),
    field(
        "ntp",
        ADDRESS_LIST,
        "none",
        "at most 16",
        "Time servers that guests are told, most wanted first.",
    ),
    field(
        "dhcp",
        "settings, or off",
        "IPv4, and IPv6 managed",
        "",
        "How guests get their addresses. off: both families' requests pass into the network.",
    ),
    field(
        "dhcp.ipv4",
        "true or false",
        "true",
        "",
        "Whether DHCPv4 is answered out of the ports' records. false: requests pass into the \
         network, to a server of the tenant's own.",
    ),
    field(
        "dhcp.ipv6",
        "managed, other, stateless or off",
        "managed",
        "other and stateless: every IPv6 subnet is a /64",
        "managed: addresses by DHCPv6. other: addresses by autoconfiguration, the rest by DHCPv6. \
         stateless: all by router advertisements. off: requests pass into the network.",
    ),
    field(
        "dhcp.lease_seconds",
        "number",
        "86400",
        "20 to 4294967294",
        "How long an address is leased for. A port keeps its addresses; this is how soon a guest \
         learns of a change.",
    ),
    field(
        "forward",
        "upstreams",
        "none",
        "",
        "Where the link-local services send on what they don't answer. The hypervisor, not the \
         guest, must reach these.",
    ),
    field(
        "forward.dns",
        UPSTREAMS,
        "the network's dns",
        "at most 8; port 53 without one; no link-local address",
        "Resolvers.",
    ),
    field(
        "forward.ntp",
        UPSTREAMS,
        "none: no such service",
        "at most 8; port 123 without one; no link-local address",
        "Time servers.",
    ),
    field(
        "forward.kms",
        UPSTREAMS,
        "none: no such service",
        "at most 8; port 1688 without one; no link-local address",
        "Windows activation hosts.",
    ),
    field(
        "forward.tang",
        UPSTREAMS,
        "none: no such service",
        "at most 8; port 80 without one; no link-local address",
        "tang servers, which help guests to open encrypted volumes (clevis).",
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

const USER_DATA_LIMIT: &str = "at most 1 MiB; only one of the three fields";

const INSTANCE: &[Field] = &[
    OWNER,
    NAME,
    field(
        "hostname",
        "host name",
        "the instance's name",
        HOSTNAME_RULE,
        "What the guest calls itself.",
    ),
    field(
        "ports",
        "list of names",
        "required",
        "ports of the same project that no other instance has",
        "Its ports; the first is the primary one.",
    ),
    field(
        "ssh_keys",
        "list of authorized_keys lines",
        "none",
        "",
        "Keys of the image's default user (root for Mezame's agent).",
    ),
    field("users", "list of users", "none", "no name twice", "Further accounts."),
    field(
        "users.name",
        "user name",
        "required",
        "1 to 32 characters of a-z, 0-9, '_' and '-'",
        "The login name.",
    ),
    field("users.ssh_keys", "list of authorized_keys lines", "none", "", "The user's keys."),
    field(
        "users.password",
        "hash or generate",
        "",
        "one of the two",
        "The password. Without it the account has none.",
    ),
    field(
        "users.password.hash",
        "crypt(3) hash, such as $6$… or $y$…",
        "",
        "",
        "Made by 'mkpasswd -m yescrypt' or 'openssl passwd -6'. Never shown again.",
    ),
    field(
        "users.password.generate",
        "true",
        "",
        "the user needs an SSH key of type ssh-ed25519 or ssh-rsa",
        "The guest makes a password and seals it to the user's first key; 'mezame get password' \
         opens it.",
    ),
    field(
        "users.sudo",
        "true or false",
        "false",
        "",
        "Whether it may become root without a password.",
    ),
    field("users.groups", "list of group names", "none", "", "Groups besides its own."),
    field("users.shell", "path", "the guest's default", "absolute", "The login shell."),
    field(
        "users.stopped",
        "true or false",
        "false",
        "not of root",
        "The account stays, and nobody gets in: keys, sudo and password are off, its processes end.",
    ),
    field(
        "user_data",
        "text",
        "",
        USER_DATA_LIMIT,
        "A script (#!), #cloud-config or MIME archive that the guest runs at first boot.",
    ),
    field(
        "user_data_base64",
        "base64",
        "",
        USER_DATA_LIMIT,
        "The same for bytes that are no text: gzip, say.",
    ),
    field(
        "user_data_file",
        "path",
        "",
        USER_DATA_LIMIT,
        "The same from a file, relative to the seed's folder; read by this program.",
    ),
    field(
        "vendor_data",
        "text",
        "",
        USER_DATA_LIMIT,
        "Like user_data, but from the provider; runs before it.",
    ),
    field(
        "vendor_data_base64",
        "base64",
        "",
        USER_DATA_LIMIT,
        "The same for bytes that are no text.",
    ),
    field("vendor_data_file", "path", "", USER_DATA_LIMIT, "The same from a file."),
    field("tags", "map of texts", "none", "", "The tenant's labels; the guest can read them."),
    field(
        "secrets",
        "map of texts",
        "none",
        "names like those of instances; values of 64 KiB at most",
        "Values that the guest may read until it has acknowledged them, and never after. Never \
         shown again.",
    ),
    field(
        "tokens",
        "required, optional or off",
        "optional",
        "",
        "Whether a guest's requests need a session token (EC2: IMDSv2). off: it gets no metadata.",
    ),
    field(
        "hop_limit",
        "number",
        "1",
        "1 to 64",
        "The IP TTL of replies with a session token. Containers behind a bridge need 2.",
    ),
    field(
        "dialects",
        "list of ec2, openstack, gce, azure, digitalocean, hetzner, vultr, cloudstack, nocloud, mezame",
        "ec2, nocloud, mezame",
        "not empty; cloudstack not beside ec2 or openstack",
        "Which clients' paths are answered: that of the image's client, and mezame for our agent.",
    ),
    field("instance_type", "text", "m1.small", "", "The type that the guest is told."),
    field(
        "image_id",
        "ami- and 17 digits of 0-9 and a-f",
        "ami-00000000000000000",
        "",
        "The image that the guest is told.",
    ),
    field("zone", "letter", "a", "a to z", "The zone's letter within the region."),
    field("launch_index", "number", "0", "0 to 1048576", "Its place in a launch of several."),
    field(
        "block_devices",
        "map of texts",
        "none",
        "",
        "Disks that the guest is told of: name (root, ebs1, …) to device (vda, …).",
    ),
];
