//! The fields of a network.

use mezame_model::id::HOSTNAME_RULE;

use super::{ADDRESS_LIST, NAME, OWNER, UPSTREAMS, field};
use crate::explain::Field;

pub(super) const NETWORK: &[Field] = &[
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
