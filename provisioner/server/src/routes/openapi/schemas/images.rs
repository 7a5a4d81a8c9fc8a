//! The schemas of images, of long work on them, and of the archive.

use mezame_model::api::images::ImageFormat;
use serde_json::{Value, json};

use super::{flag, list, map, named, number, object, text, texts};

/// All of them.
pub(super) fn all() -> Value {
    let parts = [images(), work(), files()].into_iter().filter_map(|part| match part {
        Value::Object(part) => Some(part),
        _ => None,
    });
    Value::Object(parts.flatten().collect())
}

fn files() -> Value {
    let bytes = |what| number(what);
    json!({
        "ImageDisk": object("How an image's disk is divided", &["table", "partitions"], json!({
            "table": json!({ "type": "string", "enum": ["none", "mbr", "gpt"] }),
            "partitions": list(named("ImagePartition"), "By their numbers; all of it where there is no table"),
        })),
        "ImagePartition": object(
            "A part of an image's disk",
            &["number", "offset", "size", "holds", "is_readable"],
            json!({
                "number": number("As Linux numbers it; 0 is a disk that is not divided"),
                "offset": bytes("Where it begins, in bytes"),
                "size": bytes("Its length in bytes"),
                "name": text("What its table calls it"),
                "holds": text("What is in it, in words"),
                "is_readable": flag("Files can be read out of it"),
            }),
        ),
        "ImageFiles": object("What is in a folder", &["partition", "items", "more"], json!({
            "partition": number("Which partition was looked at"),
            "items": list(named("ImageFile"), "In the order of their names' bytes"),
            "more": flag("There are more after them"),
        })),
        "ImageFile": object(
            "A name in a folder",
            &["name", "kind", "size", "mode", "uid", "gid", "modified"],
            json!({
                "name": text("As text; what is none of it is replaced"),
                "bytes": text("Its bytes in hexadecimal digits, where they are no text"),
                "kind": json!({ "type": "string", "enum": ["file", "folder", "link", "special"] }),
                "size": bytes("Bytes"),
                "mode": number("The lower twelve bits of its mode"),
                "uid": number("Its owner's number"),
                "gid": number("Its group's"),
                "modified": json!({ "type": "integer", "format": "int64", "description": "When it was last written, in seconds since 1970" }),
                "target": text("Where a symbolic link leads"),
            }),
        ),
    })
}

fn images() -> Value {
    json!({
        "NewImage": object("What is to be imported", &["name", "format"], json!({
            "name": text("What it is called, 1 to 255 characters; not unique"),
            "format": json!({
                "type": "string",
                "enum": ImageFormat::ALL.map(ImageFormat::as_str),
                "description": "The file's form, which is never guessed",
            }),
            "size": number("The file's length in bytes, if it is known"),
            "labels": map("The caller's own"),
            "sha256": text("The SHA-256 that the file must have, in hexadecimal digits"),
            "sha512": text("The SHA-512 that the file must have"),
            "signature": text("As 'ssh-keygen -Y sign -n mezame-image' writes it"),
            "trusted": texts("The public keys of which one must have made the signature"),
            "largest": number("How large the disk may be, in bytes; what the site allows without"),
            "source": text("Where it comes from, for people"),
        })),
        "Image": object("An image", &["id", "project", "kind", "created_ms", "size", "content"], json!({
            "id": text("img- and 32 hexadecimal digits"),
            "project": named("Name"),
            "kind": json!({ "type": "string", "enum": ["imported", "captured", "backup"] }),
            "created_ms": number("Milliseconds since 1970"),
            "size": number("The disk's length in bytes"),
            "content": text("The digest of its contents: the same for the same in one project"),
            "key": text("The name of the key that it is encrypted with"),
            "name": text("None where it is encrypted and its key is away"),
            "labels": map("The caller's own"),
            "format": text("The form of what was imported"),
            "sha256": text("Of the file that was imported, where it was checked"),
            "signer": text("The key whose signature of that file was verified"),
            "source": text("What the importer said of its origin"),
            "shares": named("Shares"),
        })),
        "Shares": object("Who sees an image besides its own project", &["all", "projects"], json!({
            "all": flag("All projects do"),
            "projects": texts("These do"),
        })),
        "ImageList": object("A page of images", &["items"], json!({
            "items": list(named("Image"), "Sorted by id"),
        })),
    })
}

fn work() -> Value {
    let states = [
        "awaiting",
        "uploading",
        "queued",
        "running",
        "done",
        "failed",
        "cancelled",
        "interrupted",
    ];
    let kinds = [
        "import",
        "verify",
        "collect",
        "scrub",
        "create-volume",
        "rotate-key",
        "hydrate",
        "backup",
        "restore-volume",
        "capture",
        "resize-volume",
    ];
    json!({
        "Job": object("Long work", &["id", "what", "state", "done", "total", "created_ms"], json!({
            "id": text("job- and 28 hexadecimal digits; later ones are greater"),
            "what": json!({ "type": "string", "enum": kinds }),
            "project": text("In which project; none of the operator's own"),
            "image": text("Which it is about, or which came of it"),
            "volumes": texts("Which it is about"),
            "backups": texts("The images that came of a backup"),
            "state": json!({ "type": "string", "enum": states }),
            "phase": json!({ "type": "string", "enum": ["checking", "converting", "archiving"] }),
            "done": number("Bytes that are dealt with: of the file while it comes, then of the disk"),
            "total": number("Bytes in all; 0 where that is not known"),
            "created_ms": number("Milliseconds since 1970"),
            "ended_ms": number("Milliseconds since 1970"),
            "figures": json!({
                "type": "object",
                "additionalProperties": { "type": "integer" },
                "description": "What came of it, such as the bytes written",
            }),
            "faults": list(named("Fault"), "Why it failed, or what it found damaged"),
        })),
        "ArchiveStatus": object(
            "How much is in the archive",
            &["place", "records", "packs", "bytes", "sessions", "quarantined", "uploading",
              "uploading_most", "jobs"],
            json!({
                "place": text("A directory, or a bucket"),
                "records": number("Images, and tombstones of sessions that were ended"),
                "packs": number("Packs of chunks"),
                "bytes": number("Of all of these"),
                "sessions": number("Imports, backups and collections under way, on any machine"),
                "quarantined": number("Packs in quarantine"),
                "uploading": number("Bytes of files that are being imported"),
                "uploading_most": number("How many bytes these may have"),
                "jobs": number("Jobs that have not ended"),
            }),
        ),
    })
}
