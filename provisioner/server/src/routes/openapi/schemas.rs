//! The schemas of documents and answers.
//!
//! A test holds the documents' properties against the fields that admission knows, and the
//! answers' against the wire types.

use mezame_model::{WindowsKey, volume_key::Once};
use serde_json::{Map, Value, json};

use crate::admission::DHCP_MODES as MODES;

/// A reference to a schema.
pub(super) fn named(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn text(description: &str) -> Value {
    json!({ "type": "string", "description": description })
}

fn number(description: &str) -> Value {
    json!({ "type": "integer", "description": description })
}

fn flag(description: &str) -> Value {
    json!({ "type": "boolean", "description": description })
}

fn list(items: Value, description: &str) -> Value {
    json!({ "type": "array", "items": items, "description": description })
}

fn texts(description: &str) -> Value {
    list(json!({ "type": "string" }), description)
}

fn map(description: &str) -> Value {
    json!({
        "type": "object",
        "additionalProperties": { "type": "string" },
        "description": description,
    })
}

fn any(description: &str) -> Value {
    let types = ["null", "boolean", "number", "string", "array", "object"];
    json!({ "type": types, "description": description })
}

fn object_of(description: &str) -> Value {
    json!({ "type": "object", "description": description })
}

fn object(description: &str, required: &[&str], properties: Value) -> Value {
    json!({
        "type": "object",
        "description": description,
        "required": required,
        "properties": properties,
    })
}

/// All of them.
pub(super) fn all() -> Map<String, Value> {
    let mut schemas = Map::new();
    for part in [documents(), nested(), answers(), guests(), volume_keys()] {
        if let Value::Object(part) = part {
            schemas.extend(part);
        }
    }
    schemas
}

fn documents() -> Value {
    let kind = |kind: &str| json!({ "type": "string", "enum": [kind] });
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
        })),
        "Network": object("A layer-2 network", &["name", "vni", "subnets"], json!({
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
        })),
        "Port": object("A guest's attachment to a network", &["name", "network"], json!({
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
        })),
        "Instance": object("A guest", &["name", "ports"], json!({
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
        })),
    })
}

fn nested() -> Value {
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
        "Boot": object("What the guest boots from the network", &[], json!({
            "server": text("The address that the file is fetched from"),
            "file": text("At most 127 printable ASCII characters without spaces"),
            "url": text("For HTTP boot and DHCPv6, at most 255 such characters"),
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

fn answers() -> Value {
    json!({
        "Resource": object("A stored thing", &["kind", "spec", "status", "revision"], json!({
            "kind": text("Project, Network, Port or Instance"),
            "spec": object_of("Its document, defaults filled in, secrets as \"(sealed)\""),
            "status": object_of("What the provisioner adds"),
            "revision": number("The generation of its last change; its ETag"),
        })),
        "List": object("Several at one generation", &["items", "generation"], json!({
            "items": list(named("Resource"), "Sorted by name"),
            "generation": number("The state that was read"),
        })),
        "Applied": object("What applying did", &["generation", "changes"], json!({
            "generation": number("After the change; as it is, for a dry run"),
            "changes": list(named("Change"), "One for each document, in their order"),
        })),
        "Change": object("What became of a document", &["kind", "name", "action", "fields"], json!({
            "kind": text("Its kind"),
            "project": text("Its project; none of a project"),
            "name": text("Its name"),
            "action": json!({ "type": "string", "enum": ["created", "updated", "unchanged"] }),
            "fields": list(named("FieldChange"), "Of an updated one, the fields that differ"),
        })),
        "FieldChange": object("A field that differs", &["path", "before", "after"], json!({
            "path": text("Such as users[0].ssh_keys[1]"),
            "before": any("Null where it was not set"),
            "after": any("Null where it is unset; \"(changed)\" for a secret"),
        })),
        "Fault": object("What is wrong with a document", &["document", "path", "message", "mend"], json!({
            "document": number("Which document, from 0"),
            "path": text("Where in it; empty for all of it"),
            "message": text("What is wrong"),
            "mend": text("How to mend it"),
        })),
        "Problem": object("A failure", &["type", "title", "status"], json!({
            "type": text("A stable word"),
            "title": text("For people"),
            "status": number("The HTTP status"),
            "detail": text("What happened here"),
            "faults": list(named("Fault"), "All at once"),
        })),
        "Event": object("Something that happened", &["generation", "at_ms", "project", "kind", "name", "what"], json!({
            "generation": number("After it"),
            "at_ms": number("Milliseconds since 1970"),
            "project": text("Which project"),
            "kind": text("Which kind of resource"),
            "name": text("Which one"),
            "what": text(
                "created, updated, deleted, reported, password, password-reset, secret-acknowledged, \
                 volume-key-created, -rotated, -revoked, -restored, -destroyed, -released",
            ),
            "detail": text("For people"),
        })),
    })
}

fn guests() -> Value {
    json!({
        "StoredReport": object("A report and its time", &["at_ms", "report"], json!({
            "at_ms": number("Milliseconds since 1970"),
            "report": named("Report"),
        })),
        "Report": object("What an agent said", &["instance_id", "agent", "boot_id", "run", "outcome", "steps"], json!({
            "instance_id": text("Whose"),
            "agent": text("Its version"),
            "boot_id": text("Differs for each boot"),
            "run": number("From 1 in each boot"),
            "outcome": text("done, unchanged, skipped or failed"),
            "steps": list(named("StepReport"), "In their order"),
            "configured_ms": json!({ "type": ["integer", "null"] }),
            "total_ms": number("With scripts"),
            "host_keys": list(
                object("A host key", &["public_key"], json!({ "public_key": text("As in .pub") })),
                "Of the guest's SSH server",
            ),
        })),
        "StepReport": object("A step", &["step", "outcome"], json!({
            "step": text("Such as 'user admin'"),
            "outcome": text("done, unchanged, skipped or failed"),
            "reason": text("A stable word for a failure"),
            "detail": text("For people"),
            "milliseconds": number("How long it took"),
        })),
        "StoredPassword": object("A sealed password and its time", &["at_ms", "password"], json!({
            "at_ms": number("Milliseconds since 1970"),
            "password": object("A sealed password", &["user", "recipient", "sealed"], json!({
                "user": text("Whose"),
                "recipient": text("The key that it is sealed to"),
                "sealed": text("An age file in its armor"),
                "reset": number("The asked_ms of the reset that it was made for; none of the first"),
                "nova": text("The same password for the user's RSA key by RSAES-PKCS1-v1_5, in base64"),
            })),
        })),
        "NewPasswordReset": object("An ask for another password", &[], json!({
            "again": flag("Ask anew even where the guest has not answered the last ask yet"),
        })),
        "PasswordReset": object("What became of it", &["user", "asked_ms", "state"], json!({
            "user": text("Whose password"),
            "asked_ms": number("Milliseconds since 1970"),
            "state": json!({ "type": "string", "enum": ["pending", "done"] }),
            "done_ms": number("When the guest's password came"),
        })),
    })
}

fn volume_keys() -> Value {
    let once = json!({
        "type": "string",
        "enum": Once::ALL.map(Once::as_str),
        "description": "How often it is given out; per-start without",
    });
    let window = number("For how long after a start of the machine, in seconds");
    let not_after = number("Until when, in seconds since 1970");
    json!({
        "NewVolumeKey": object("The key of an encrypted volume", &["name", "key"], json!({
            "name": named("Name"),
            "key": text("16 to 512 bytes as base64; never shown"),
            "once": once,
            "window_seconds": window,
            "not_after": not_after,
        })),
        "NewVersion": object("The next version of a volume's key", &["key"], json!({
            "key": text("16 to 512 bytes as base64; never shown"),
        })),
        "Revocation": object("What of a key is taken away", &[], json!({
            "version": number("This version, for good; without, all of it until it is restored"),
        })),
        "VolumeKey": object("A volume's key, without it", &["name", "state", "versions", "once"], json!({
            "name": named("Name"),
            "state": text("active or revoked"),
            "versions": list(json!({ "type": "integer" }), "Newest first"),
            "once": once,
            "window_seconds": window,
            "not_after": not_after,
        })),
        "StoredKeyRequest": object("A guest's request for a key", &["at_ms", "port", "request"], json!({
            "at_ms": number("Milliseconds since 1970"),
            "port": text("The id of the port that it came through"),
            "request": object("What came of it", &["volume", "start", "boot", "outcome"], json!({
                "volume": named("Name"),
                "start": text("Differs for each start of the machine, by the hypervisor's word"),
                "boot": text("Differs for each boot, by the guest's word"),
                "outcome": object_of(
                    "Either released, with the versions' numbers, or withheld, with the reason",
                ),
            })),
        })),
    })
}
