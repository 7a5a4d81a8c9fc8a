//! The schemas of volumes, pools and backups, and which call takes and answers which.

use mezame_model::api::volumes::{FlushState, VolumeClass};
use serde_json::{Value, json};

use super::{any, flag, list, named, number, object, text, texts};

/// The schema of a call's body; None of any that is not about volumes.
pub(in super::super) fn body(operation: &str) -> Option<&'static str> {
    Some(match operation {
        "create-volume" => "NewVolume",
        "limit-volume" => "VolumeLimits",
        "open-volume" | "flush-volume" | "rekey-volume" | "pause-hydration"
        | "resume-hydration" => "Monitor",
        "hydrate-volume" => "Hydrate",
        "resize-volume" => "ResizeVolume",
        "restore-volume" => "RestoreVolume",
        "capture-volume" => "Capture",
        "back-up" => "NewBackup",
        "prune-backups" => "PruneBackups",
        "create-pool" => "NewPool",
        "set-schedule" => "Schedule",
        _ => return None,
    })
}

/// The status of a call that goes well, and what it answers; None of any that is not about volumes.
pub(in super::super) fn answer(operation: &str) -> Option<(&'static str, Option<Value>)> {
    let list_of = |name| json!({ "type": "array", "items": named(name) });
    Some(match operation {
        "list-pools" => ("200", Some(list_of("Pool"))),
        "create-pool" => ("201", Some(named("Pool"))),
        "list-masters" => ("200", Some(list_of("Master"))),
        "list-leftovers" => ("200", Some(list_of("Leftover"))),
        "list-volumes" => ("200", Some(list_of("Volume"))),
        "show-volume" | "limit-volume" | "flush-volume" | "end-volume-flush" => {
            ("200", Some(named("Volume")))
        }
        "erase-volume" | "remove-leftover" => ("200", Some(named("VolumeDeleted"))),
        "open-volume" => ("200", Some(named("VolumeStart"))),
        "create-volume" | "rekey-volume" | "hydrate-volume" | "resize-volume"
        | "restore-volume" | "capture-volume" | "back-up" => ("202", Some(named("Job"))),
        "prune-backups" => ("200", Some(named("Pruned"))),
        "list-backups" => ("200", Some(list_of("Backup"))),
        "show-backup" => ("200", Some(named("Backup"))),
        "list-schedules" => ("200", Some(list_of("ScheduleView"))),
        "show-schedule" | "set-schedule" | "pause-schedule" | "resume-schedule" => {
            ("200", Some(named("ScheduleView")))
        }
        "pause-hydration" | "resume-hydration" | "abandon-restore" | "remove-backup"
        | "remove-schedule" | "remove-master" => ("204", None),
        _ => return None,
    })
}

/// All of them.
pub(super) fn all() -> Value {
    let parts = [volumes(), pools(), guests(), restores(), schedules()];
    let parts = parts.into_iter().filter_map(|part| match part {
        Value::Object(part) => Some(part),
        _ => None,
    });
    Value::Object(parts.flatten().collect())
}

fn restores() -> Value {
    json!({
        "RestoreVolume": object("An image that is to take the place of what a volume holds", &["image"], json!({
            "image": text("The image, or backup"),
            "way": json!({
                "type": "string",
                "enum": ["beside", "over"],
                "description": "To a new file, which takes the old one's place at the end, or over a plain volume as it lies there; 'beside' without",
            }),
            "keep_old": flag("A plain volume's old file is kept, under another name in its pool"),
        })),
        "Capture": object("An image that is to be made of what a volume holds", &["name"], json!({
            "name": text("What it is called: 1 to 255 characters"),
            "sealed": flag("'guest-agent seal' was run before the guest stopped; it is noted, and not looked for"),
            "qmp": text("The QMP socket of the QEMU that has the volume open; that which it was opened for last without. Where nobody listens there, no guest may run on it"),
            "freeze": named("Freezing"),
        })),
    })
}

fn class() -> Value {
    let all = VolumeClass::ALL.into_iter().chain([VolumeClass::Plain]);
    json!({
        "type": "string",
        "enum": all.map(VolumeClass::as_str).collect::<Vec<_>>(),
        "description": "What a hard stop takes; 'plain' is what was hydrated, or is on a disk of its own",
    })
}

fn volumes() -> Value {
    let limits = || named("Limits");
    let id = || text("1 to 19 of a-z, 0-9 and '-', a letter first; no other of the site has it");
    json!({
        "Limits": object("What a guest may do with a volume", &[], json!({
            "iops": number("Operations a second; no limit without"),
            "bytes": number("Bytes a second; no limit without"),
        })),
        "NewVolume": object("A volume that is to be made", &["id"], json!({
            "id": id(),
            "image": text("The image, or backup, that it begins as; zeros without"),
            "pool": text("Which pool it lies in; the site's default without"),
            "class": class(),
            "flush_ms": number("How long a write waits at most for the host's flush, 100 to 60000; 1000 without"),
            "size": number("In bytes, whole MiB, at least the image's; the image's without"),
            "encrypted": flag("What its guest writes is"),
            "limits": limits(),
        })),
        "Volume": object(
            "A volume",
            &["id", "project", "owner", "host", "pool", "size", "class", "encrypted", "state",
              "created_ms"],
            json!({
                "id": id(),
                "project": named("Name"),
                "owner": text("The caller who had it made"),
                "host": text("Whose pool it is in"),
                "pool": text("Which pool"),
                "place": text("The device or LUN that it is on, where it has one of its own"),
                "image": text("What it began as; zeros without"),
                "size": number("In bytes"),
                "class": class(),
                "flush_ms": number("How long a write waits at most for the host's flush"),
                "flush": named("VolumeFlush"),
                "encrypted": flag("What its guest writes is"),
                "keys": list(json!({ "type": "integer" }), "The numbers of its keys"),
                "limits": limits(),
                "qmp": text("The QMP socket of the QEMU that it was opened for last"),
                "state": json!({ "type": "string", "enum": ["creating", "ready"] }),
                "created_ms": number("Milliseconds since 1970"),
                "restoring": json!({
                    "type": "string",
                    "enum": ["beside", "over"],
                    "description": "A restore that was begun and has not ended; 'over' is half of each",
                }),
                "resizing": number("How long it is to be, where making it longer was begun and has not ended"),
                "rotating": flag("A change of its key was begun and has not ended"),
                "job": text("The job that is at work on it"),
                "kept": list(text("On its host"), "Files that restores have kept of it"),
            }),
        ),
        "VolumeFlush": object(
            "How a running guest's volume is flushed",
            &["qmp", "state", "flushes", "failures", "lates"],
            json!({
                "qmp": text("The QMP socket of the QEMU that has it open"),
                "state": json!({
                    "type": "string",
                    "enum": FlushState::ALL.map(FlushState::as_str),
                    "description": "Whether no write waits for longer than 'flush_ms'",
                }),
                "durable_until_ms": number("All that was acknowledged before is durable; milliseconds since 1970"),
                "flushes": number("How many have succeeded since this process began it"),
                "failures": number("How many have failed"),
                "lates": number("How often a write may have waited for longer"),
                "why": text("What is in the way"),
            }),
        ),
        "VolumeDeleted": object("What became of it", &["id", "erased", "keys_forgotten"], json!({
            "id": id(),
            "erased": json!({ "type": "string", "enum": ["in-place", "unsure", "nothing"] }),
            "doubt": text("Why that is not sure"),
            "keys_forgotten": number("How many"),
            "kept": list(text("On its host"), "Files that restores have kept of it"),
            "schedules": list(text("Its name"), "Schedules of backups that name it, and fail from now on"),
        })),
        "VolumeLimits": object("What limits are to be", &[], json!({
            "limits": limits(),
            "qmp": text("The QMP socket of the QEMU that has it open, which is told before they are set. Without, the one that it was opened for last is told after that"),
        })),
        "Master": object(
            "What volumes of one image and length are clones of",
            &["name", "host", "state", "bytes", "encrypted", "volumes"],
            json!({
                "name": text("What it is called"),
                "image": text("The image that it is of; zeros without"),
                "host": text("On which host"),
                "state": json!({ "type": "string", "enum": ["whole", "partial", "damaged"] }),
                "bytes": number("What it takes there"),
                "size": number("Its length as guests see it"),
                "encrypted": flag("It has a key of its own, which goes with the last of its volumes"),
                "volumes": number("How many are clones of it"),
            }),
        ),
        "Leftover": object(
            "Old contents of a volume, or a file of one that is not known",
            &["pool", "file", "volume", "known", "bytes", "host"],
            json!({
                "pool": named("Name"),
                "file": text("What it is called there"),
                "volume": text("Of which volume it was"),
                "known": flag("There is such a volume; else it is not deleted by a call"),
                "bytes": number("What it takes"),
                "host": text("On which host"),
            }),
        ),
    })
}

fn pools() -> Value {
    json!({
        "NewPool": object("How a pool is made", &[], json!({
            "take_over": texts("Disks of it, as the settings name them, of whose contents nothing is needed any more"),
        })),
        "Pool": object(
            "What volumes lie on",
            &["name", "kind", "host", "is_default", "is_there"],
            json!({
                "name": named("Name"),
                "kind": json!({
                    "type": "string",
                    "enum": ["directory", "devices", "luns"],
                    "description": "A directory has any number of volumes, each device and LUN one",
                }),
                "directory": text("Where it is, if it is a directory"),
                "host": text("On which host"),
                "is_default": flag("Volumes lie here where none is named"),
                "is_there": flag("It can be used now"),
                "why": text("Why not"),
                "size": number("Of a directory its file system's length, else that of all disks that were taken in, in bytes"),
                "used": number("What of it is used, by others too; of disks, the length of those that carry a volume"),
                "free": number("What is left"),
                "disks": list(named("PoolDisk"), "Its disks, in the order of the settings"),
            }),
        ),
        "PoolDisk": object("A device or LUN of a pool", &["disk", "state"], json!({
            "disk": text("Its path, or its URL"),
            "state": json!({
                "type": "string",
                "enum": ["free", "taken", "not-taken-in", "away"],
                "description": "What is known of it",
            }),
            "size": number("What a volume can take of it, in bytes"),
            "volume": text("What it carries"),
            "why": text("What is there instead, or why it can't be read"),
        })),
    })
}

fn guests() -> Value {
    json!({
        "VolumeStart": object(
            "What QEMU is started with",
            &["id", "class", "blockdev", "device", "recovered_bytes"],
            json!({
                "id": text("Which volume"),
                "class": class(),
                "blockdev": any("The argument of -blockdev"),
                "device": any("The argument of -device"),
                "secrets": list(named("SecretObject"), "Before both; in the clear"),
                "recovered_bytes": number("What a hard stop had taken and was put back now"),
                "limits": named("Limits"),
            }),
        ),
        "SecretObject": object("An argument of -object secret", &["id", "format", "data"], json!({
            "id": text("Its id"),
            "format": json!({ "type": "string", "enum": ["raw", "base64"] }),
            "data": text("The secret"),
        })),
        "Monitor": object("The QEMU that has a volume open", &[], json!({
            "qmp": text("Its QMP socket on the volume's host; but for an opening that which it was opened for last without"),
        })),
        "Hydrate": object("A hydration that is to begin", &[], json!({
            "qmp": text("The QMP socket of the QEMU that has the volume open; that which it was opened for last without"),
            "speed": number("Bytes a second; no limit without"),
        })),
        "ResizeVolume": object("How long a volume is to be", &["size"], json!({
            "size": number("In bytes, whole MiB: no less than it has"),
        })),
        "NewBackup": object("One point in time of a guest's volumes", &["volumes"], json!({
            "volumes": texts("1 to 64 of one guest"),
            "qmp": text("The QMP socket of the QEMU that has them open; that which they were opened for last without. Where nobody listens there, no guest may run on them"),
            "full": flag("All is read, whatever is known of changes"),
            "name": text("What the images are called; 'backup of VOLUME' without"),
            "freeze": named("Freezing"),
        })),
        "Freezing": object("Who freezes the guest for the moment; nobody without", &[], json!({
            "instance": text("An instance of the project, by its name or id, whose agent is asked; or 'guest_agent'"),
            "guest_agent": text("The socket of qemu-ga's serial port, of the QEMU that has the volumes open"),
            "required": flag("Nothing comes to be where the guest could not be frozen"),
            "within_ms": number("How long the guest may be frozen at most, 1 to 60000; 10000 without"),
        })),
        "Backup": object(
            "An image, and what it is of",
            &["id", "volume", "point", "taken_ms", "consistency", "read", "size"],
            json!({
                "id": text("The image's"),
                "name": text("What it is called"),
                "volume": text("Of which volume"),
                "point": text("The same for volumes that were backed up together"),
                "taken_ms": number("Milliseconds since 1970"),
                "consistency": json!({ "type": "string", "enum": ["application", "crash", "stopped"] }),
                "why_crash": text("Of a 'crash': why the guest was not frozen"),
                "left_out": text("Of an 'application': file systems that were not frozen, each with why"),
                "read": text("'incremental', or 'all: ' and why"),
                "size": number("The disk's length in bytes"),
                "schedule": text("The schedule that made it"),
            }),
        ),
    })
}

fn schedules() -> Value {
    json!({
        "PruneBackups": object("Which backups of a volume are deleted: those that are not kept", &["volume"], json!({
            "volume": text("As the backups' label backup.volume has it"),
            "keep": named("Keep"),
        })),
        "Pruned": object("What was deleted, or would be", &["kept", "dropped"], json!({
            "kept": texts("Ids, oldest first"),
            "dropped": texts("Ids of those that are deleted"),
            "faults": list(named("Fault"), "Why others are still there, by id"),
        })),
        "Keep": object("Which backups are kept; all, if all are 0", &[], json!({
            "last": number("The newest ones"),
            "hourly": number("The newest of each of so many hours"),
            "daily": number("The newest of each of so many days, in UTC"),
            "weekly": number("The newest of each of so many weeks, from Monday"),
            "monthly": number("The newest of each of so many months"),
            "yearly": number("The newest of each of so many years"),
        })),
        "Schedule": object("When volumes are backed up", &["volumes", "when"], json!({
            "volumes": texts("1 to 64 of one guest"),
            "qmp": text("The QMP socket of its QEMU; that which the volumes were opened for last without. Where nobody listens there, the volumes of the stopped guest are read"),
            "when": text("In UTC: '02:30', five fields as in crontab(5), or 'every 6h'"),
            "keep": named("Keep"),
            "freeze": named("Freezing"),
            "paused": flag("Nothing is done for now"),
        })),
        "ScheduleRun": object("What became of a time", &["at_ms", "outcome", "dropped"], json!({
            "at_ms": number("Milliseconds since 1970"),
            "job": text("The job, if it came to one"),
            "outcome": json!({ "type": "string", "enum": ["running", "done", "failed"] }),
            "why": text("Why it failed, or why older ones could not be deleted"),
            "dropped": number("Older backups that were deleted after it"),
        })),
        "ScheduleView": object("A schedule", &["name", "project", "spec", "failures"], json!({
            "name": named("Name"),
            "project": named("Name"),
            "spec": named("Schedule"),
            "next_ms": number("When it is due next, or has been since; none while it is paused"),
            "waiting": text("Why it is not begun or not ended, though it is due"),
            "last": named("ScheduleRun"),
            "done_ms": number("When it was done last"),
            "failures": number("How often it has failed since"),
        })),
    })
}
