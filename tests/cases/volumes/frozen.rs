//! Backups, captures and schedules by `mezame` of a real guest that writes to ext4, for which its agent
//! freezes it: what is made needs no journal. Without an agent it is as after a power cut and says
//! why, or is not made at all.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use mezame_images::{
    backup::freeze::{Freeze, qemu_agent::QemuAgent},
    qmp::Qmp,
};
use mezame_tests::{
    lab::Lab,
    process::{self, tail},
    qemu::{Machine, QemuGuest},
    wait::{self, A_BOOT, SOON},
};
use serde_json::{Value, json};

use super::text;
use crate::{
    guests::frozen::{image, needs_recovery, until_written, whole_files, written},
    seeds::{self, MAC},
};

/// A daemon, and the guest of the instance `guest` of the project `a`, which writes to the volume
/// `disk`.
struct Desk {
    guest: QemuGuest,
    lab: Lab,
}

impl Desk {
    fn lay(agent: &str) -> Result<Self> {
        let mut lab = Lab::prepare()?;
        let root = lab.directory().to_path_buf();
        std::fs::create_dir(root.join("volumes"))?;
        start(&mut lab)?;
        let tenant = seeds::tenant("a", 1000, "tapa", &json!({ "dialects": ["mezame"] }));
        lab.operator.apply(&tenant)?;
        let raw = root.join("disk.raw");
        std::fs::File::create(&raw)?.set_len(96 << 20)?;
        process::succeed(process::command("mkfs.ext4").arg("-qF").arg(&raw))?;
        for words in [
            &["image", "archive", "create"][..],
            &["volume", "pool", "create", "default"],
            &["image", "import", text(&raw), "-p", "a", "--name", "ext4", "-q"],
            &["volume", "create", "disk", "--image", "ext4", "-p", "a", "-q"],
        ] {
            lab.operator.run(words)?;
        }
        let open = lab.operator.run(&["volume", "open", "disk", "-p", "a"])?;
        let mut words = vec![
            "-qmp".into(),
            format!("unix:{},server=on,wait=off", root.join("qmp").display()),
            "-chardev".into(),
            format!("socket,id=qga,path={},server=on,wait=off", root.join("qga").display()),
            "-device".into(),
            "virtio-serial".into(),
            "-device".into(),
            "virtserialport,chardev=qga,name=org.qemu.guest_agent.0".into(),
        ];
        words.extend(open.lines().map(str::to_owned));
        let machine = Machine {
            command_line: format!("agent={agent}"),
            words,
            ..Machine::new("frozen", MAC)
        };
        let (image, tap) = (image(&lab)?, lab.tap("tapa")?);
        let guest = QemuGuest::boot(&lab.hypervisor, &image, &machine, tap, &root)?;
        let desk = Self { guest, lab };
        desk.until_written(5)?;
        // An instance without a port here is another failure.
        wait::until("the guest's port", SOON, || desk.port().map(drop))?;
        Ok(desk)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.lab.directory().join(name)
    }

    fn port(&self) -> Result<Value> {
        let ports = self.lab.server.as_ref().context("a server")?.local("/ports")?.json()?;
        ensure!(ports[0]["instance"].is_string(), "{ports}");
        Ok(ports[0].clone())
    }

    /// Waits until the agent in the guest watches its document and waits for orders.
    fn until_obedient(&self) -> Result<()> {
        wait::until("an agent that waits for orders", A_BOOT, || {
            let watches = self.port()?["watches"].as_u64();
            ensure!(watches == Some(2), "{watches:?}: {}", tail(&self.guest.console(), 10));
            Ok(())
        })
    }

    fn written(&self) -> Result<u64> {
        written(&self.guest)
    }

    fn until_written(&self, count: u64) -> Result<()> {
        until_written(&self.guest, count)
    }

    /// That it writes on.
    fn writes_on(&self) -> Result<()> {
        self.until_written(self.written()? + 5)
    }

    fn json(&self, words: &[&str]) -> Result<Value> {
        let out = self.lab.operator.run(&[words, &["-p", "a", "-o", "json"]].concat())?;
        Ok(serde_json::from_str(&out)?)
    }

    fn back_up(&self, words: &[&str]) -> Result<Value> {
        let qmp = self.path("qmp");
        let create = ["backup", "create", "disk", "--qmp", text(&qmp)];
        Ok(self.json(&[&create[..], words].concat())?[0].clone())
    }

    /// What an image holds, as a raw file.
    fn restored(&self, id: &str) -> Result<PathBuf> {
        let to = format!("v{}", &id[id.len() - 8..]);
        let made = ["volume", "create", &to, "--image", id, "-p", "a", "-q"];
        self.lab.operator.run(&made)?;
        let start = self.json(&["volume", "open", &to])?;
        let (from, raw) = (format!("json:{}", start["blockdev"]), self.path(&to));
        let mut convert = process::command("qemu-img");
        process::succeed(convert.args(["convert", "-O", "raw", &from]).arg(&raw))?;
        Ok(raw)
    }

    /// The last run of a schedule of each minute, once it has ended.
    fn after_run(&self, words: &[&str]) -> Result<Value> {
        let qmp = self.path("qmp");
        let create = ["backup", "schedule", "create", "often", "disk", "--qmp", text(&qmp)];
        let when = ["--when", "every 1m", "-p", "a"];
        self.lab.operator.run(&[&create[..], words, &when].concat())?;
        let run = wait::until("a scheduled backup's end", A_BOOT, || {
            let last = self.json(&["backup", "schedule", "show", "often"])?["last"].clone();
            ensure!(last["outcome"].is_string() && last["outcome"] != "running", "{last}");
            Ok(last)
        })?;
        self.lab.operator.run(&["backup", "schedule", "pause", "often", "-p", "a"])?;
        Ok(run)
    }
}

fn start(lab: &mut Lab) -> Result<()> {
    let root = lab.directory().to_path_buf();
    let (archive, volumes) = (root.join("archive"), root.join("volumes"));
    let flags = ["--standalone", "--image-archive", text(&archive), "--volumes", text(&volumes)];
    lab.server = Some(lab.place.start_with(&flags)?);
    Ok(())
}

/// That a backup of the guest needs no journal, and has all that it was told is written.
fn is_whole(desk: &Desk, backup: &Value, before: u64) -> Result<()> {
    ensure!(backup["consistency"] == "application", "{backup}");
    let raw = desk.restored(backup["id"].as_str().context("no id")?)?;
    ensure!(!needs_recovery(&raw)?, "its journal has to be replayed");
    let whole = whole_files(&raw, before)?;
    ensure!(whole == before, "{whole} of the {before} files that were acknowledged are whole");
    desk.writes_on()
}

/// The longest that there is, since a machine in software emulation is slow beside others.
const OURS: [&str; 5] = ["--instance", "guest", "--require-consistent", "--freeze-within", "1m"];

#[test]
fn a_guest_with_our_agent_is_backed_up_captured_and_scheduled_without_a_need_of_its_journal()
-> Result<()> {
    let desk = Desk::lay("ours")?;
    desk.until_obedient()?;
    let before = desk.written()?;
    is_whole(&desk, &desk.back_up(&OURS)?, before)?;
    // What it would be without.
    let crash = desk.back_up(&[])?;
    ensure!(crash["why_crash"] == "nobody was asked to freeze the guest", "{crash}");
    let id = crash["id"].as_str().context("no id")?;
    ensure!(needs_recovery(&desk.restored(id)?)?, "it needs no journal without a freeze");
    let shown = desk.lab.operator.run(&["backup", "show", id, "-p", "a"])?;
    ensure!(shown.contains("Not frozen:  nobody was asked"), "{shown}");

    desk.until_obedient()?;
    let (before, qmp) = (desk.written()?, desk.path("qmp"));
    let capture = ["volume", "capture", "disk", "--name", "now", "--qmp", text(&qmp)];
    let captured = desk.json(&[&capture[..], &OURS].concat())?;
    let id = captured["image"].as_str().with_context(|| captured.to_string())?;
    let labels = desk.json(&["image", "show", id])?["labels"].clone();
    ensure!(labels["capture.state"] == "application", "{labels}");
    let raw = desk.restored(id)?;
    ensure!(!needs_recovery(&raw)? && whole_files(&raw, before)? == before);

    desk.until_obedient()?;
    let before = desk.written()?;
    let run = desk.after_run(&OURS)?;
    ensure!(run["outcome"] == "done", "{run}");
    let made = desk.json(&["backup", "list"])?[0].clone();
    ensure!(made["schedule"] == "often", "{made}");
    is_whole(&desk, &made, before)
}

#[test]
fn a_guest_without_an_agent_is_backed_up_as_after_a_power_cut_or_not_at_all() -> Result<()> {
    let desk = Desk::lay("none")?;
    let crash = desk.back_up(&["--instance", "guest"])?;
    ensure!(crash["consistency"] == "crash", "{crash}");
    ensure!(crash["why_crash"] == "no agent in the guest asks for orders", "{crash}");
    ensure!(needs_recovery(&desk.restored(crash["id"].as_str().context("no id")?)?)?);
    let listed = desk.lab.operator.run(&["backup", "list", "-p", "a"])?;
    ensure!(listed.contains("no agent in the guest asks for orders"), "{listed}");

    let refused = desk.back_up(&OURS).unwrap_err().to_string();
    ensure!(refused.contains("was not frozen: no agent in the guest asks for orders"), "{refused}");
    let qga = desk.path("qga");
    let qemus = desk.back_up(&["--guest-agent", text(&qga), "--require-consistent"]);
    let refused = qemus.unwrap_err().to_string();
    ensure!(refused.contains("no qemu-ga answers"), "{refused}");
    let run = desk.after_run(&OURS)?;
    ensure!(run["outcome"] == "failed", "{run}");
    ensure!(run["why"].as_str().is_some_and(|why| why.contains("was not frozen")), "{run}");
    ensure!(desk.json(&["backup", "list"])?.as_array().context("a list")?.len() == 1);
    // What was given up has taken nothing from the next one.
    desk.writes_on()?;
    ensure!(desk.back_up(&[])?["read"] == "incremental");
    desk.writes_on()
}

#[test]
fn a_guest_that_a_killed_daemon_has_left_frozen_by_qemus_agent_is_thawed_by_the_next_one()
-> Result<()> {
    let mut desk = Desk::lay("qemu-ga")?;
    let qga = desk.path("qga");
    let agent = QemuAgent::at(&qga);
    wait::until("qemu-ga", A_BOOT, || Ok(agent.freeze(std::time::Duration::from_secs(5))?))?;
    agent.thaw()?;
    let before = desk.written()?;
    let words = ["--guest-agent", text(&qga), "--require-consistent", "--freeze-within", "1m"];
    is_whole(&desk, &desk.back_up(&words)?, before)?;
    // As a kill in the middle of the freeze leaves it: a note, a mark in QEMU, and a frozen guest.
    desk.lab.server().process.kill()?;
    let note = json!({
        "what": "backup", "volumes": ["disk"], "qmp": desk.path("qmp"), "agent": { "qemu-ga": qga },
    });
    std::fs::write(desk.lab.place.state().join("volumes/backup-disk.left"), note.to_string())?;
    let mut qmp = Qmp::connect(&desk.path("qmp"), std::time::Duration::from_secs(60))?;
    let mark = json!({ "driver": "null-co", "node-name": "backup_frozen", "size": 0 });
    qmp.execute("blockdev-add", mark)?;
    drop(qmp);
    QemuAgent::at(&qga).freeze(std::time::Duration::from_secs(60))?;
    std::thread::sleep(std::time::Duration::from_secs(2));
    let frozen = desk.written()?;
    std::thread::sleep(std::time::Duration::from_secs(1));
    ensure!(desk.written()? == frozen, "it writes though it is frozen");
    start(&mut desk.lab)?;
    desk.writes_on()?;
    wait::until("the note's end", SOON, || {
        ensure!(!desk.lab.place.state().join("volumes/backup-disk.left").exists());
        Ok(())
    })?;
    let before = desk.written()?;
    is_whole(&desk, &desk.back_up(&words)?, before)
}
