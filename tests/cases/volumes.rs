//! Volumes from an operator's command to a running guest and back: the real daemon, the real
//! `mezame`, and a guest under QEMU that is started with what it printed.

mod files;
mod flushes;
mod frozen;
mod places;
mod restores;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use mezame_images::qmp::Qmp;
use mezame_tests::{
    lab::Lab,
    operator::{Operator, project as named},
    process::{self, Background},
};
use serde_json::{Value, json};

use crate::durability::guest::{machine, repeated, until_written, writer};

const BLOCK: usize = 4 << 10;
const DISK: usize = 8 << 20;

/// A daemon with an archive, a pool and an image that two guests' disks are made of.
struct Desk {
    /// Whose they are.
    project: &'static str,
    lab: Lab,
    mezame: Operator,
    folder: tempfile::TempDir,
}

impl Desk {
    fn lay(project: &'static str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let (archive, volumes) = (folder.path().join("archive"), folder.path().join("volumes"));
        fs::create_dir(&volumes)?;
        let flags = ["--image-archive", text(&archive), "--volumes", text(&volumes)];
        Self::lay_in(project, folder, Lab::start_with(&flags)?)
    }

    /// The same in a lab whose server has an archive and the pool `default`.
    fn lay_in(project: &'static str, folder: tempfile::TempDir, lab: Lab) -> Result<Self> {
        let mezame = lab.operator.clone();
        let vault = json!({"kind": "Project", "name": "vault", "encrypted_images": true});
        mezame.apply(&[named("a"), named("b"), vault])?;
        mezame.run(&["image", "archive", "create"])?;
        mezame.run(&["volume", "pool", "create", "default"])?;
        let raw = folder.path().join("disk.raw");
        fs::write(&raw, repeated("nothing yet", DISK))?;
        mezame.run(&["image", "import", text(&raw), "-p", "a", "--name", "blank", "-q"])?;
        mezame.run(&["image", "share", "blank", "-p", "a", "--with", "vault"])?;
        Ok(Self { project, lab, mezame, folder })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn json(&self, words: &[&str]) -> Result<Value> {
        let out = self.mezame.run(&[words, &["-p", self.project, "-o", "json"]].concat())?;
        Ok(serde_json::from_str(&out)?)
    }

    /// Starts a guest that writes to two disks in turn, with what `volume open` says.
    fn start(&self, disks: [&str; 2], flags: &[&str]) -> Result<Background> {
        let mut qemu = self.machine(disks, flags)?;
        Background::start("the writing guest", &mut qemu, &self.path("console"))
    }

    /// What starts it.
    fn machine(&self, disks: [&str; 2], flags: &[&str]) -> Result<Command> {
        let image = writer(self.folder.path())?;
        let qemu = process::command("qemu-system-x86_64");
        let mut qemu = machine(qemu, &image, &[self.path("qmp")], "writer=disks after=0")?;
        for disk in disks {
            let words = [&["volume", "open", disk, "-p", self.project][..], flags].concat();
            qemu.args(self.mezame.run(&words)?.lines());
        }
        Ok(qemu)
    }

    fn qmp(&self) -> Result<Qmp> {
        Ok(Qmp::connect(&self.path("qmp"), Duration::from_secs(60))?)
    }

    fn back_up(&self, disks: &[&str]) -> Result<Vec<Value>> {
        let qmp = self.path("qmp");
        let words = [&["backup", "create"][..], disks, &["--qmp", text(&qmp)]].concat();
        let made = self.json(&words)?;
        made.as_array().cloned().context("no list of backups")
    }

    /// What an encrypted volume holds, as QEMU reads it with the keys that are handed out.
    fn read_sealed(&self, volume: &str) -> Result<Vec<u8>> {
        let secrets = tempfile::tempdir()?;
        let folder = text(secrets.path());
        let open = ["volume", "open", volume, "-p", self.project, "--secrets-dir", folder];
        let words = self.mezame.run(&open)?;
        let words: Vec<&str> = words.lines().collect();
        let mut convert = process::command("qemu-img");
        convert.args(["convert", "-O", "raw"]);
        let mut from = String::new();
        for pair in words.chunks(2) {
            match pair {
                ["-object", object] => {
                    let object: Value = serde_json::from_str(object)?;
                    let said = |name: &str| object[name].as_str().unwrap_or_default().to_owned();
                    let (id, format, file) = (said("id"), said("format"), said("file"));
                    convert.arg("--object");
                    convert.arg(format!("secret,id={id},format={format},file={file}"));
                }
                ["-blockdev", node] => from = format!("json:{node}"),
                _ => {}
            }
        }
        let to = self.path(&format!("{volume}.read"));
        process::succeed(convert.arg(from).arg(&to))?;
        Ok(fs::read(to)?)
    }

    /// A schedule's run that was begun at another time than this one, once it has ended.
    fn after_run(&self, schedule: &str, before: &Value) -> Result<Value> {
        let until = Instant::now() + Duration::from_secs(180);
        loop {
            let shown = self.json(&["backup", "schedule", "show", schedule])?;
            let last = &shown["last"];
            if !last.is_null() && last["at_ms"] != *before && last["outcome"] != "running" {
                return Ok(last.clone());
            }
            ensure!(Instant::now() < until, "no run in time: {shown}");
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// What a volume that no QEMU has open holds, as QEMU reads it.
    fn read(&self, volume: &str) -> Result<Vec<u8>> {
        let start = self.json(&["volume", "open", volume])?;
        let to = self.path(&format!("{volume}.read"));
        let from = format!("json:{}", start["blockdev"]);
        let mut convert = process::command("qemu-img");
        process::succeed(convert.args(["convert", "-O", "raw", &from]).arg(&to))?;
        Ok(fs::read(to)?)
    }
}

/// Whether any file below a folder has these bytes.
fn is_anywhere(folder: &Path, bytes: &[u8]) -> Result<bool> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let kind = fs::symlink_metadata(&path)?.file_type();
        let is_there = if kind.is_dir() {
            is_anywhere(&path, bytes)?
        } else {
            kind.is_file() && fs::read(&path)?.windows(bytes.len()).any(|it| it == bytes)
        };
        if is_there {
            return Ok(true);
        }
    }
    Ok(false)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of UTF-8")
}

/// Whether a disk holds the guest's writes of this parity up to some one.
fn writes(bytes: &[u8], parity: u64) -> u64 {
    let is_there = |number: &u64| {
        let place = usize::try_from(number / 2).unwrap_or(usize::MAX) * BLOCK;
        bytes[place..place + BLOCK] == repeated(&format!("disk {parity} write {number}"), BLOCK)[..]
    };
    let most = (DISK / BLOCK) as u64 * 2 - 1;
    (1..=most).filter(|number| number % 2 == parity).take_while(is_there).count() as u64
}

#[test]
fn a_volume_is_made_used_backed_up_twice_restored_and_deleted() -> Result<()> {
    let desk = Desk::lay("a")?;
    let mezame = desk.mezame.clone();
    for disk in ["one", "two"] {
        mezame.run(&["volume", "create", disk, "--image", "blank", "-p", "a", "-q"])?;
    }
    let shown = desk.json(&["volume", "show", "one"])?;
    ensure!(shown["state"] == "ready" && shown["size"] == DISK, "{shown}");
    // Another project neither sees it nor may have one of the same id.
    ensure!(mezame.run(&["volume", "show", "one", "-p", "b"]).is_err());
    ensure!(mezame.run(&["volume", "create", "one", "--size", "1MiB", "-p", "b"]).is_err());

    let mut guest = desk.start(["one", "two"], &[])?;
    until_written(&mut guest, 10)?;
    let qmp = desk.path("qmp");
    let limits = ["volume", "limits", "one", "-p", "a", "--limit-iops", "900", "--qmp"];
    mezame.run(&[&limits[..], &[text(&qmp)]].concat())?;
    let refused = mezame.run(&["volume", "delete", "one", "-p", "a"]).unwrap_err();
    ensure!(refused.to_string().contains("in use"), "{refused}");

    let first = desk.back_up(&["one", "two"])?;
    ensure!(first.iter().all(|it| it["read"] == "all: it is the first backup"), "{first:?}");
    ensure!(first.iter().all(|it| it["consistency"] == "crash"), "{first:?}");
    ensure!(first[0]["point"] == first[1]["point"], "{first:?}");
    until_written(&mut guest, 20)?;
    desk.qmp()?.execute("stop", json!({}))?;
    let second = desk.back_up(&["one", "two"])?;
    ensure!(second.iter().all(|it| it["read"] == "incremental"), "{second:?}");
    guest.kill()?;

    // The kill took nothing; the guest's writes are in the volume and in what is restored.
    for (parity, backup) in second.iter().enumerate() {
        let disk = backup["volume"].as_str().context("no volume")?;
        let id = backup["id"].as_str().context("no id")?;
        let restored = format!("{disk}-again");
        mezame.run(&["backup", "restore", id, "--to", &restored, "-p", "a", "-q"])?;
        let (now, then) = (desk.read(disk)?, desk.read(&restored)?);
        ensure!(now == then, "{restored} differs from {disk}");
        ensure!(writes(&then, parity as u64) >= 5, "{restored} lacks writes");
    }
    // Longer, it is what it was, and zeros.
    let before = desk.read("one")?;
    mezame.run(&["volume", "resize", "one", "1GiB", "-p", "a", "-q"])?;
    ensure!(desk.json(&["volume", "show", "one"])?["size"] == 1_u64 << 30);
    let longer = desk.read("one")?;
    ensure!(longer.len() == 1 << 30 && longer.starts_with(&before), "it is not what it was");
    ensure!(longer[before.len()..].iter().all(|byte| *byte == 0), "what was added is not zeros");
    drop((before, longer));
    let shorter = mezame.run(&["volume", "resize", "one", "1MiB", "-p", "a"]).unwrap_err();
    ensure!(shorter.to_string().contains("made shorter"), "{shorter}");

    let restored = first[0]["id"].as_str().context("no id")?;
    mezame.run(&["backup", "restore", restored, "--to", "older", "-p", "a", "-q"])?;
    ensure!(desk.read("older")? != desk.read("two")?);
    ensure!(desk.json(&["backup", "list", "--volume", "one"])?.as_array().unwrap().len() == 2);

    mezame.run(&["backup", "delete", restored, "-p", "a"])?;
    ensure!(mezame.run(&["backup", "show", restored, "-p", "a"]).is_err());
    // A project with volumes can't be deleted.
    ensure!(mezame.run(&["delete", "project", "a"]).is_err());
    for disk in ["one", "two", "one-again", "two-again", "older"] {
        let deleted = desk.json(&["volume", "delete", disk])?;
        ensure!(deleted["erased"] == "nothing" && deleted["keys_forgotten"] == 0, "{deleted}");
    }
    ensure!(desk.json(&["volume", "list"])? == json!([]));
    let masters = fs::read_dir(desk.path("volumes/masters"))?.collect::<Result<Vec<_>, _>>()?;
    let is_master = |entry: &&fs::DirEntry| entry.file_name().to_string_lossy().starts_with("img-");
    let left: Vec<_> = masters.iter().filter(is_master).collect();
    // Those of backups went with their volumes; the image's stays for the next one, with its lock.
    ensure!(left.len() == 2, "{left:?}");
    let masters = desk.json(&["volume", "master", "list"])?;
    let master = &masters[0];
    ensure!(master["image"].is_string() && master["volumes"] == 0, "{masters}");
    mezame.run(&["volume", "create", "last", "--image", "blank", "-p", "a", "-q"])?;
    let name = master["name"].as_str().context("no name")?;
    let used = mezame.run(&["volume", "master", "delete", name]).unwrap_err();
    ensure!(used.to_string().contains("in use"), "{used}");
    mezame.run(&["volume", "delete", "last", "-p", "a"])?;
    mezame.run(&["volume", "master", "delete", "--unused"])?;
    ensure!(desk.json(&["volume", "master", "list"])? == json!([]));
    Ok(())
}

#[test]
fn an_encrypted_volume_changes_its_key_is_hydrated_and_leaves_nothing() -> Result<()> {
    let mut desk = Desk::lay("vault")?;
    let mezame = desk.mezame.clone();
    let words = ["--image", "blank", "-p", "vault", "--encrypted", "-q"];
    for disk in ["one", "two"] {
        mezame.run(&[&["volume", "create", disk][..], &words].concat())?;
    }
    // Its keys are not printed.
    ensure!(mezame.run(&["volume", "open", "one", "-p", "vault"]).is_err());
    mezame.run(&["volume", "rotate-key", "one", "-p", "vault", "-q"])?;
    ensure!(desk.json(&["volume", "show", "one"])?["keys"] == json!([2]));

    let secrets = desk.path("secrets");
    fs::create_dir(&secrets)?;
    let mut guest = desk.start(["one", "two"], &["--secrets-dir", text(&secrets)])?;
    until_written(&mut guest, 6)?;
    let qmp = desk.path("qmp");
    let hydrate = ["volume", "hydrate", "one", "-p", "vault", "--qmp", text(&qmp), "-q"];
    mezame.run(&hydrate)?;
    ensure!(desk.json(&["volume", "show", "one"])?["class"] == "plain");
    let backups = desk.back_up(&["one", "two"])?;
    ensure!(backups.len() == 2, "{backups:?}");
    // Neither a backup in the clear nor a master in the clear is made of what is encrypted.
    let open = ["volume", "create", "open", "--size", "1MiB", "-p", "a", "--encrypted", "-q"];
    mezame.run(&open)?;
    let refused = mezame.run(&["backup", "create", "open", "-p", "a", "--qmp", text(&qmp)]);
    ensure!(refused.is_err_and(|error| error.to_string().contains("is encrypted")));
    let id = backups[0]["id"].as_str().context("no id")?;
    let restore = ["backup", "restore", id, "--to", "again", "-p", "vault", "-q"];
    let refused = mezame.run(&restore);
    ensure!(refused.is_err_and(|error| error.to_string().contains("encrypted")));
    mezame.run(&[&restore[..], &["--encrypted"]].concat())?;
    let there = desk.read_sealed("again")?;
    ensure!(writes(&there, 0) >= 1, "what was restored lacks writes");
    ensure!(!is_anywhere(&desk.path("volumes"), b"disk 0 write")?, "a write is in the clear");
    mezame.run(&["volume", "delete", "again", "-p", "vault"])?;
    let jobs = desk.json(&["job", "list"])?;
    let done: Vec<_> = (0..3).map(|at| &jobs[at]["what"]).collect();
    ensure!(done == ["create-volume", "backup", "hydrate"], "{jobs}");
    until_written(&mut guest, 12)?;
    guest.kill()?;

    // Volumes and their keys outlive a kill of the daemon.
    desk.lab.server().process.kill()?;
    let (archive, volumes) = (desk.path("archive"), desk.path("volumes"));
    let flags = ["--standalone", "--image-archive", text(&archive), "--volumes", text(&volumes)];
    desk.lab.server = Some(desk.lab.place.start_with(&flags)?);
    let mut again = desk.start(["one", "two"], &["--secrets-dir", text(&secrets)])?;
    until_written(&mut again, 4)?;
    again.kill()?;
    let listed = desk.json(&["volume", "list"])?;
    ensure!(listed.as_array().is_some_and(|all| all.len() == 2), "{listed}");
    for disk in ["one", "two"] {
        let deleted = desk.json(&["volume", "delete", disk])?;
        ensure!(deleted["erased"] != "nothing" && deleted["keys_forgotten"] != 0, "{deleted}");
    }
    let left = fs::read_dir(desk.path("volumes/pool"))?;
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    ensure!(!left.iter().any(|name| name.to_string_lossy().contains("one")), "{left:?}");
    Ok(())
}

#[test]
fn a_schedule_makes_backups_by_itself_and_deletes_the_older_of_its_own() -> Result<()> {
    let mut desk = Desk::lay("a")?;
    let mezame = desk.mezame.clone();
    for disk in ["one", "two"] {
        mezame.run(&["volume", "create", disk, "--image", "blank", "-p", "a", "-q"])?;
    }
    let qmp = desk.path("qmp");
    let mut guest = desk.start(["one", "two"], &["--qmp", text(&qmp)])?;
    until_written(&mut guest, 6)?;
    let by_hand = desk.back_up(&["one", "two"])?;
    // It would be at the end of its disks before the minute is over.
    let rest = |command: &str| desk.qmp()?.execute(command, json!({})).map_err(anyhow::Error::from);
    rest("stop")?;
    // What the volumes were opened for is asked.
    let at = ["backup", "schedule"];
    let when = ["--when", "every 1m", "--keep-last", "1", "-p", "a"];
    mezame.run(&[&at[..], &["create", "often", "one", "two"], &when].concat())?;
    let first = desk.after_run("often", &Value::Null)?;
    ensure!((&first["outcome"], &first["dropped"]) == (&json!("done"), &json!(0)), "{first}");
    let made = desk.json(&["backup", "list", "--volume", "one"])?;
    ensure!(made[0]["schedule"] == "often" && made[0]["read"] == "incremental", "{made}");
    rest("cont")?;
    until_written(&mut guest, 12)?;
    rest("stop")?;

    // A schedule outlives a kill of the daemon.
    desk.lab.server().process.kill()?;
    let (archive, volumes) = (desk.path("archive"), desk.path("volumes"));
    let flags = ["--standalone", "--image-archive", text(&archive), "--volumes", text(&volumes)];
    desk.lab.server = Some(desk.lab.place.start_with(&flags)?);
    let second = desk.after_run("often", &first["at_ms"])?;
    ensure!((&second["outcome"], &second["dropped"]) == (&json!("done"), &json!(2)), "{second}");
    let oldest = "mezame_backup_oldest_success_timestamp_seconds";
    let oldest = desk.lab.server().metrics()?.sum(oldest, &[]);
    ensure!(second["at_ms"].as_f64().is_some_and(|at| oldest >= (at / 1000.0).floor()), "{oldest}");
    mezame.run(&[&at[..], &["pause", "often", "-p", "a"]].concat())?;
    let left = desk.json(&["backup", "list"])?;
    let left = left.as_array().context("no list of backups")?;
    // Two that were made by hand, and the two of the newest point.
    ensure!(left.len() == 4, "{left:?}");
    ensure!(left.iter().filter(|it| it["schedule"] == "often").count() == 2, "{left:?}");
    for id in by_hand.iter().filter_map(|it| it["id"].as_str()) {
        ensure!(left.iter().any(|it| it["id"] == id), "{id} is gone: {left:?}");
    }
    let shown = mezame.run(&[&at[..], &["show", "often", "-p", "a"]].concat())?;
    ensure!(shown.contains("never: it is paused") && shown.contains("1 last"), "{shown}");
    let paused = ["state=\"paused\""];
    ensure!(
        desk.lab.server().metrics()?.sum("mezame_backup_schedules", &paused).to_string() == "1"
    );
    guest.kill()?;
    // A guest that is off is backed up too, both disks as of one moment.
    mezame.run(&["backup", "create", "one", "two", "-p", "a", "-q"])?;
    let off = desk.json(&["backup", "list"])?;
    let of = |at: usize| (&off[at]["consistency"], &off[at]["point"]);
    ensure!(of(0).0 == "stopped" && of(0) == of(1) && of(2).0 == "crash", "{off}");
    mezame.run(&[&at[..], &["delete", "often", "-p", "a"]].concat())?;
    ensure!(desk.json(&[&at[..], &["list"]].concat())? == json!([]));
    let id = left[0]["id"].as_str().context("no id")?;
    mezame.run(&["backup", "restore", id, "--to", "again", "-p", "a", "-q"])?;
    let parity = u64::from(left[0]["volume"] == "two");
    ensure!(writes(&desk.read("again")?, parity) >= 3, "the restored disk lacks writes");
    let pruned = desk.json(&["backup", "prune", "one", "--keep-last", "1"])?;
    ensure!(pruned["kept"] == json!([off[0]["id"]]) || pruned["kept"] == json!([off[1]["id"]]));
    let of_one = desk.json(&["backup", "list", "--volume", "one"])?;
    ensure!(of_one.as_array().is_some_and(|all| all.len() == 1), "{of_one}");
    Ok(())
}
