//! The schemas of what operators write: documents, what is in them, and what asks carry.

use mezame_model::WindowsKey;
use serde_json::{Value, json};

use super::{flag, list, map, named, number, object, text, texts};
use crate::admission::DHCP_MODES as MODES;

pub(super) fn documents() -> Value {
    json!({
        "Name": {
            "type": "string",
            "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
            "description": mezame_model::id::NAME_RULE,
        },
        "Project": object("A tenant", &["name"], json!({
            "kind": kind("Project"),
            "name": named("Name"),
            "description": text("For people"),
            "encrypted_images": flag("Its images are encrypted, with a key of its own; never changed"),
            "volume_quota": named("VolumeQuota"),
        })),
        "Network": network(),
        "Port": port(),
        "Instance": instance(),
    })
}

fn kind(kind: &str) -> Value {
    json!({ "type": "string", "enum": [kind] })
}

fn network() -> Value {
    object(
        "A layer-2 network",
        &["name", "vni", "subnets"],
        json!({
            "kind": kind("Network"),
            "project": named("Name"),
            "name": named("Name"),
            "vni": number("The VXLAN network identifier, 1 to 16777215; one network's alone"),
            "mtu": number("In bytes, 576 to 9216; 1450 without"),
            "subnets": list(named("Subnet"), "The address ranges, at least one"),
            "dns": texts("Resolvers, most wanted first"),
            "domain": text("The domain that guests' names are in"),
            "ntp": texts("Time servers, most wanted first"),
            "dhcp": json!({
                "description": "How guests get their addresses; \"off\" for none of it",
                "oneOf": [named("Dhcp"), { "type": "string", "enum": ["off"] }],
            }),
            "forward": named("Forward"),
        }),
    )
}

fn port() -> Value {
    object(
        "A guest's attachment to a network",
        &["name", "network"],
        json!({
            "kind": kind("Port"),
            "project": named("Name"),
            "name": named("Name"),
            "network": named("Name"),
            "mac": text("A unicast MAC; made without, and kept then"),
            "addresses": texts("The guest's own, the primary one first; allocated without, and kept then"),
            "allowed": texts("Further ranges that it may send from"),
            "vlans": list(named("Vlan"), "Further networks on the same card, 16 at most"),
            "bond": text("The device that the instance's ports of this bond are: 'bond' and up to 11 characters"),
            "device": text("The tap's name; made of the port's id without, and kept then"),
            "dhcp_server": flag("Whether the guest may answer DHCP requests of others"),
            "rate_limit": named("RateLimit"),
            "boot": named("Boot"),
        }),
    )
}

fn instance() -> Value {
    object(
        "A guest",
        &["name", "ports"],
        json!({
            "kind": kind("Instance"),
            "project": named("Name"),
            "name": named("Name"),
            "hostname": text("The instance's name without"),
            "ports": list(named("Name"), "Its ports, the primary one first"),
            "ssh_keys": texts("authorized_keys lines of the image's default user"),
            "users": list(named("User"), "Further accounts"),
            "user_data": text("The tenant's data as text, at most 1 MiB; shown as \"(sealed)\""),
            "user_data_base64": text("The same as base64"),
            "vendor_data": text("The provider's data as text, at most 1 MiB; shown as \"(sealed)\""),
            "vendor_data_base64": text("The same as base64"),
            "tags": map("Labels that the guest may read"),
            "secrets": map("Values that the guest reads once; shown as \"(sealed)\""),
            "tokens": json!({ "type": "string", "enum": ["required", "optional", "off"] }),
            "hop_limit": number("The IP TTL of replies with a token, 1 to 64; 1 without"),
            "dialects": list(
                json!({ "type": "string", "enum": mezame_model::Dialect::ALL }),
                "What it answers in; ec2, nocloud and mezame without",
            ),
            "instance_type": text("Such as m1.small"),
            "image_id": text("'ami-' and 17 hexadecimal digits"),
            "zone": text("The zone's letter in the region"),
            "launch_index": number("Its place in a launch of several, from 0"),
            "block_devices": map("Disks: name to device"),
            "trusted_certificates": texts("Certificates in PEM that the guest is to trust, at most 32"),
            "remote_desktop": named("RemoteDesktop"),
            "winrm": named("Winrm"),
            "windows_keys": list(named("WindowsKey"), "Asks for passwords of Windows' users, at most 16"),
        }),
    )
}

pub(super) fn parts_of_networks() -> Value {
    json!({
        "Subnet": object("A range of addresses", &["cidr"], json!({
            "cidr": text("Such as 10.0.0.0/24, without host bits"),
            "gateway": text("The router: an address in it, or of IPv6 also a link-local one"),
            "routes": list(named("Route"), "Further routes that guests are told, at most 32"),
        })),
        "Route": object("A route besides the default one", &["destination", "via"], json!({
            "destination": text("Such as 10.20.0.0/16, without host bits; of the subnet's family"),
            "via": text("The router: an address in the subnet, or of IPv6 also a link-local one"),
        })),
        "Dhcp": object("How guests get their addresses", &[], json!({
            "ipv4": flag("Whether DHCPv4 is answered; true without"),
            "ipv6": json!({
                "type": "string",
                "enum": MODES.map(|(word, _)| word),
                "description": "By DHCPv6; by autoconfiguration with the rest by DHCPv6; by router \
                                advertisements alone; not at all. managed without",
            }),
            "lease_seconds": number("20 to 4294967294; 86400 without"),
        })),
        "Forward": object("Where the link-local services send on what they don't answer", &[], json!({
            "dns": texts("Resolvers, at most 8: an address, with a port other than 53"),
            "ntp": texts("Time servers, at most 8: an address, with a port other than 123"),
            "kms": texts("Activation hosts, at most 8: an address, with a port other than 1688"),
            "tang": texts("tang servers, at most 8: an address, with a port other than 80"),
        })),
    })
}

pub(super) fn parts_of_ports() -> Value {
    json!({
        "Boot": object("What the guest boots from the network", &[], json!({
            "server": text("The address that the file is fetched from"),
            "file": text("At most 127 printable ASCII characters without spaces"),
            "url": text("For HTTP boot and DHCPv6, at most 255 such characters"),
        })),
        "VolumeQuota": object("The most that a project may have of volumes", &[], json!({
            "volumes": number("How many, 0 to 10000; no limit without"),
            "bytes": number("The lengths of all of them together, 0 to 2^60; no limit without"),
        })),
        "RateLimit": object("What the port may send to the link-local services", &[], json!({
            "frames_per_second": number("Sustained"),
            "burst": number("At once"),
        })),
        "Vlan": object("A network behind a tag on a port's card", &["id", "network"], json!({
            "id": number("The tag's number, 1 to 4094; once in a port"),
            "network": named("Name"),
            "addresses": texts("The guest's own there, the primary one first; allocated without, and kept then"),
        })),
    })
}

pub(super) fn parts_of_instances() -> Value {
    json!({
        "User": object("An account in the guest", &["name"], json!({
            "name": text("The login name"),
            "ssh_keys": texts("authorized_keys lines"),
            "password": json!({
                "description": "A crypt(3) hash, or a password that the guest makes and seals to \
                                the user's first key",
                "oneOf": [
                    object("By its hash", &["hash"], json!({ "hash": text("$6$…, $y$…, …") })),
                    object("By the guest", &["generate"], json!({ "generate": flag("true") })),
                ],
            }),
            "sudo": flag("Whether it becomes root without a password"),
            "groups": texts("Groups besides its own"),
            "shell": text("The login shell"),
            "stopped": flag("Whether the account stays and nobody gets in by it"),
        })),
        "RemoteDesktop": object("Remote Desktop of a Windows", &["enabled"], json!({
            "enabled": flag("Whether anybody gets in by it"),
            "port": number("Of TCP and UDP; 3389 without"),
            "nla": flag("Whether clients prove who they are first; true without"),
        })),
        "Winrm": object("WinRM of a Windows", &["https"], json!({
            "https": flag("Whether it listens, with a certificate that the guest makes"),
            "port": number("Of TCP; 5986 without"),
            "basic": flag("Whether Basic authentication is taken; false without"),
        })),
        "WindowsKey": object(
            "An ask for a password as Google's tools make it",
            &["userName", "modulus", "exponent", "expireOn"],
            json!({
                "userName": text("Whose password"),
                "modulus": text("Of an RSA key of 2048 to 4096 bits, in base64"),
                "exponent": text("The same"),
                "expireOn": text("From then on it is void: a time by RFC 3339"),
                "email": text("Who asks; for people"),
                "hashFunction": json!({ "type": "string", "enum": WindowsKey::HASHES }),
            }),
        ),
    })
}

pub(super) fn asks() -> Value {
    json!({
        "Apply": object("Documents to be applied together", &["documents"], json!({
            "documents": list(
                json!({ "oneOf": [
                    named("Project"), named("Network"), named("Port"), named("Instance"),
                ] }),
                "In any order, each with its kind",
            ),
        })),
        "Device": object("A tap", &["device"], json!({ "device": text("Such as vnet7") })),
    })
}
