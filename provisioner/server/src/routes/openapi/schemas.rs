//! The schemas of documents and answers.
//!
//! A test holds the documents' properties against the fields that admission knows, and the
//! answers' against the wire types.

mod documents;
mod images;
pub(super) mod volumes;

use documents::{asks, documents, parts_of_instances, parts_of_networks, parts_of_ports};
use mezame_model::volume_key::Once;
use serde_json::{Map, Value, json};

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
    let documents = [documents(), parts_of_networks(), parts_of_ports(), parts_of_instances()];
    for part in documents.into_iter().chain([
        asks(),
        answers(),
        guests(),
        volume_keys(),
        images::all(),
        volumes::all(),
    ]) {
        if let Value::Object(part) = part {
            schemas.extend(part);
        }
    }
    schemas
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
