//! Volumes on block devices and LUNs of their own: loop devices, and a real `tgtd` on the loopback of
//! the lab's hypervisor.

use std::{
    collections::BTreeMap,
    os::unix::fs::{FileExt, PermissionsExt},
};

use super::*;
use crate::iscsi::target::{self, Target};

const MIB: u64 = 1 << 20;

/// A file as a block device; gone when it is dropped.
struct Loop(String);

impl Loop {
    fn of(path: &Path, length: u64) -> Result<Self> {
        if !path.exists() {
            fs::File::create(path)?.set_len(length)?;
        }
        let mut find = process::command("losetup");
        let device = process::output(find.args(["--find", "--show"]).arg(path))?;
        Ok(Self(device.trim().to_owned()))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = process::succeed(process::command("losetup").args(["--detach", &self.0]));
    }
}

/// A desk whose settings have this pool beside the usual one.
fn lay(mut lab: Lab, project: &'static str, name: &str, pool: &Value) -> Result<(Desk, PathBuf)> {
    let folder = tempfile::tempdir()?;
    fs::create_dir(folder.path().join("volumes"))?;
    let at = |name: &str| folder.path().join(name);
    let pools: BTreeMap<&str, Value> =
        [("default", json!(at("volumes/pool"))), (name, pool.clone())].into();
    let volumes =
        json!({ "pools": pools, "default_pool": "default", "masters": at("volumes/masters") });
    let images = json!({ "directory": at("archive") });
    // A settings file replaces what the lab's flags say of these two.
    let (state, socket) = (lab.place.state(), lab.place.operator_socket());
    let provisioner =
        json!({ "state_dir": state, "socket": socket, "images": images, "volumes": volumes });
    let settings = json!({ "provisioner": provisioner });
    let config = at("settings.yaml");
    fs::write(&config, settings.to_string())?;
    lab.server = Some(lab.place.start_with(&["--standalone", "--config", text(&config)])?);
    Ok((Desk::lay_in(project, folder, lab)?, config))
}

impl Desk {
    /// A pool's disks: which, in what state, and what they carry.
    fn disks(&self, pool: &str) -> Result<Vec<(String, String, Option<String>)>> {
        let pools = self.json(&["volume", "pool", "list"])?;
        let pools = pools.as_array().context("no list")?;
        let pool = pools.iter().find(|it| it["name"] == pool).context("no such pool")?;
        let disks = pool["disks"].as_array().cloned().unwrap_or_default();
        let word = |it: &Value| it.as_str().map(str::to_owned);
        let of = |it: &Value| Some((word(&it["disk"])?, word(&it["state"])?, word(&it["volume"])));
        disks.iter().map(|it| of(it).context("no disk")).collect()
    }

    fn place(&self, volume: &str) -> Result<String> {
        let shown = self.json(&["volume", "show", volume])?;
        Ok(shown["place"].as_str().context("no place")?.to_owned())
    }
}

#[test]
fn a_volume_takes_the_smallest_free_device_and_no_disk_is_given_out_twice() -> Result<()> {
    let places = tempfile::tempdir()?;
    let of = |name: &str, length| Loop::of(&places.path().join(name), length);
    let (large, small) = (of("large", 24 * MIB)?, of("small", 12 * MIB)?);
    let foreign = places.path().join("foreign");
    fs::write(&foreign, repeated("somebody's data", 12 << 20))?;
    let foreign = Loop::of(&foreign, 0)?;
    let devices = [&large.0, &small.0, &foreign.0];
    let (mut desk, config) = lay(Lab::prepare()?, "a", "disks", &json!({ "devices": devices }))?;
    let mezame = desk.mezame.clone();

    // What is not blank is left alone, and said so; nothing is taken then.
    let refused = mezame.run(&["volume", "pool", "create", "disks"]).unwrap_err().to_string();
    ensure!(refused.contains(&foreign.0) && refused.contains("--take-over"), "{refused}");
    ensure!(desk.disks("disks")?.iter().all(|(_, state, _)| state == "not-taken-in"));
    let untouched = fs::read(places.path().join("foreign"))?;
    ensure!(untouched == repeated("somebody's data", 12 << 20));
    mezame.run(&["volume", "pool", "create", "disks", "--take-over", &foreign.0])?;
    ensure!(desk.disks("disks")?.iter().all(|(_, state, _)| state == "free"));

    let create = |disk: &str, size: &str, image: &[&str]| {
        let words = ["volume", "create", disk, "--size", size, "--pool", "disks", "-p", "a", "-q"];
        mezame.run(&[&words[..], image].concat())
    };
    let of_image = ["--image", "blank"];
    create("one", "8MiB", &of_image)?;
    create("two", "8MiB", &of_image)?;
    let mut shorter = [small.0.clone(), foreign.0.clone()];
    shorter.sort();
    ensure!([desk.place("one")?, desk.place("two")?] == shorter);
    // Nothing of what was there is in it.
    ensure!(desk.read("two")? == repeated("nothing yet", DISK));
    create("three", "16MiB", &[])?;
    ensure!(desk.place("three")? == large.0);
    ensure!(desk.read("three")?.iter().all(|byte| *byte == 0));
    let full = create("four", "1MiB", &[]).unwrap_err().to_string();
    ensure!(full.contains("no free disk"), "{full}");
    ensure!(mezame.run(&["volume", "show", "four", "-p", "a"]).is_err());

    let mut guest = desk.start(["one", "two"], &[])?;
    until_written(&mut guest, 10)?;
    for words in [
        &["volume", "delete", "one", "-p", "a"][..],
        &["volume", "restore", "one", "--image", "blank", "--over", "-p", "a", "-q"],
        &["volume", "capture", "one", "--name", "no", "-p", "a", "-q"],
    ] {
        let refused = mezame.run(words).unwrap_err().to_string();
        ensure!(refused.contains("in use") || refused.contains("stop its guest"), "{refused}");
    }
    let qmp = desk.path("qmp");
    let limits = ["volume", "limits", "one", "-p", "a", "--qmp", text(&qmp), "--limit-iops", "900"];
    mezame.run(&limits)?;
    let hydrate = ["volume", "hydrate", "one", "-p", "a", "--qmp", text(&qmp), "-q"];
    let refused = mezame.run(&hydrate).unwrap_err().to_string();
    ensure!(refused.contains("plain already"), "{refused}");
    desk.back_up(&["one", "two"])?;
    until_written(&mut guest, 20)?;
    desk.qmp()?.execute("stop", json!({}))?;
    let second = desk.back_up(&["one", "two"])?;
    ensure!(second.iter().all(|it| it["read"] == "incremental"), "{second:?}");
    guest.kill()?;
    let now = desk.read("one")?;
    ensure!(now.len() == DISK && writes(&now, 0) >= 5);
    let backup = second[0]["id"].as_str().context("no id")?;
    mezame.run(&["backup", "restore", backup, "--to", "again", "-p", "a", "-q"])?;
    ensure!(desk.read("again")? == now, "the backup differs");

    mezame.run(&["volume", "capture", "one", "--name", "golden", "-p", "a", "-q"])?;
    let beside = ["volume", "restore", "one", "--image", "blank", "-p", "a", "-q"];
    ensure!(mezame.run(&beside).unwrap_err().to_string().contains("--over"));
    mezame.run(&[&beside[..], &["--over"]].concat())?;
    ensure!(desk.read("one")? == repeated("nothing yet", DISK));
    mezame.run(&["volume", "restore", "one", "--image", "golden", "--over", "-p", "a", "-q"])?;
    ensure!(desk.read("one")? == now, "what was captured differs");

    // A database that was made anew knows no volumes, and their disks are theirs all the same.
    let before = desk.disks("disks")?;
    desk.lab.server().process.kill()?;
    fs::remove_dir_all(desk.lab.place.state())?;
    desk.lab.server =
        Some(desk.lab.place.start_with(&["--standalone", "--config", text(&config)])?);
    mezame.apply(&[named("a")])?;
    ensure!(desk.json(&["volume", "list"])? == json!([]));
    ensure!(desk.disks("disks")? == before);
    let known = create("one", "8MiB", &[]).unwrap_err().to_string();
    ensure!(known.contains("left alone"), "{known}");
    let full = create("five", "1MiB", &[]).unwrap_err().to_string();
    ensure!(full.contains("no free disk"), "{full}");
    ensure!(desk.disks("disks")? == before);
    Ok(())
}

#[test]
fn an_encrypted_volume_on_a_device_changes_its_key_and_its_disk_goes_back() -> Result<()> {
    let places = tempfile::tempdir()?;
    let device = Loop::of(&places.path().join("disk"), 16 * MIB)?;
    let (desk, _) = lay(Lab::prepare()?, "vault", "disks", &json!({ "devices": [&device.0] }))?;
    let mezame = desk.mezame.clone();
    mezame.run(&["volume", "pool", "create", "disks"])?;
    let words = ["volume", "create", "one", "--image", "blank", "--pool", "disks", "-p", "vault"];
    mezame.run(&[&words[..], &["--encrypted", "-q"]].concat())?;
    ensure!(desk.read_sealed("one")? == repeated("nothing yet", DISK));
    ensure!(!is_anywhere(places.path(), b"nothing yet")?, "it is in the clear");
    mezame.run(&["volume", "rotate-key", "one", "-p", "vault", "-q"])?;
    ensure!(desk.json(&["volume", "show", "one"])?["keys"] == json!([2]));
    ensure!(desk.read_sealed("one")? == repeated("nothing yet", DISK));
    mezame.run(&["volume", "capture", "one", "--name", "golden", "-p", "vault", "-q"])?;
    let words = ["volume", "restore", "one", "--image", "golden", "--over", "-p", "vault", "-q"];
    mezame.run(&words)?;
    ensure!(desk.read_sealed("one")? == repeated("nothing yet", DISK));

    // One whose mark can't be believed may carry it, so no key is forgotten.
    let disk = fs::File::options().read(true).write(true).open(&device.0)?;
    let mut marks = vec![0; 128 << 10];
    disk.read_exact_at(&mut marks, 15 * MIB)?;
    for slot in [15 * MIB, 15 * MIB + (64 << 10)] {
        disk.write_all_at(b"damaged", slot + 100)?;
    }
    disk.sync_all()?;
    let refused = mezame.run(&["volume", "delete", "one", "-p", "vault"]).unwrap_err().to_string();
    ensure!(refused.contains("its mark is damaged"), "{refused}");
    ensure!(desk.json(&["volume", "show", "one"])?["keys"] == json!([2]));
    let words = ["volume", "pool", "create", "disks", "--take-over", &device.0];
    let refused = mezame.run(&words).unwrap_err().to_string();
    ensure!(refused.contains("its mark is damaged"), "{refused}");
    disk.write_all_at(&marks, 15 * MIB)?;
    disk.sync_all()?;
    drop(disk);

    let deleted = desk.json(&["volume", "delete", "one"])?;
    ensure!(deleted["erased"] == "unsure" && deleted["keys_forgotten"] == 1, "{deleted}");
    ensure!(desk.disks("disks")? == [(device.0.clone(), "free".to_owned(), None)]);
    Ok(())
}

#[test]
fn a_volume_on_a_lun_is_used_backed_up_and_deleted_and_its_secret_is_nowhere() -> Result<()> {
    let lab = Lab::prepare()?;
    // The target and QEMU are where the server is, and end with this thread.
    lab.hypervisor.clone().run(|| on_luns(lab))?
}

fn on_luns(lab: Lab) -> Result<()> {
    let places = tempfile::tempdir()?;
    let mut target = Target::start(places.path());
    for (number, length) in [(1, 24 * MIB), (2, 12 * MIB), (3, 12 * MIB)] {
        target.add(number, length);
    }
    let secret = places.path().join("secret");
    fs::write(&secret, format!("{}\n", target::SECRET))?;
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600))?;
    let url = target.url(1);
    let portal = url.split(['@', '/']).find(|it| it.starts_with("127.")).context("no portal")?;
    let chap = json!({ "user": target::USER, "secret_file": secret });
    let pool = json!({ "iscsi": {
        "portal": portal, "target": target::TARGET, "luns": [1, 2, 3],
        "initiator": "iqn.2026-01.org.example:hv-1", "chap": chap,
    }});
    let (desk, _) = lay(lab, "a", "san", &pool)?;
    let mezame = desk.mezame.clone();
    mezame.run(&["volume", "pool", "create", "san"])?;
    for disk in ["one", "two"] {
        let words = ["--image", "blank", "--pool", "san", "-p", "a", "-q"];
        mezame.run(&[&["volume", "create", disk][..], &words].concat())?;
    }
    ensure!([desk.place("one")?, desk.place("two")?] == [target.url(2), target.url(3)]);
    let sealed = ["volume", "create", "x", "--size", "1MiB", "--pool", "san", "-p", "a"];
    let refused = mezame.run(&[&sealed[..], &["--encrypted"]].concat()).unwrap_err().to_string();
    ensure!(refused.contains("volumes on LUNs are not encrypted"), "{refused}");

    let secrets = desk.path("secrets");
    fs::create_dir(&secrets)?;
    let mut guest = desk.start(["one", "two"], &["--secrets-dir", text(&secrets)])?;
    until_written(&mut guest, 10)?;
    desk.qmp()?.execute("stop", json!({}))?;
    let backups = desk.back_up(&["one", "two"])?;
    guest.kill()?;
    for (parity, backup) in backups.iter().enumerate() {
        let id = backup["id"].as_str().context("no id")?;
        let to = format!("again-{parity}");
        mezame.run(&["backup", "restore", id, "--to", &to, "-p", "a", "-q"])?;
        ensure!(writes(&desk.read(&to)?, parity as u64) >= 5, "{to} lacks writes");
    }
    for words in [
        &["volume", "restore", "one", "--image", "blank", "--over", "-p", "a", "-q"][..],
        &["volume", "capture", "one", "--name", "no", "-p", "a", "-q"],
    ] {
        let refused = mezame.run(words).unwrap_err().to_string();
        ensure!(refused.contains("LUN"), "{refused}");
    }
    for words in [&["volume", "show", "one"][..], &["volume", "list"], &["volume", "pool", "list"]]
    {
        let told = desk.json(words)?.to_string();
        ensure!(!told.contains(target::SECRET), "{words:?} tells the secret");
    }
    for folder in [desk.lab.place.state(), desk.lab.place.run()] {
        ensure!(!is_anywhere(&folder, target::SECRET.as_bytes())?, "{}", folder.display());
    }
    let log = fs::read_to_string(desk.lab.directory().join("metadata-server.log"))?;
    ensure!(!log.contains(target::SECRET));
    let deleted = desk.json(&["volume", "delete", "one"])?;
    ensure!(deleted["erased"] == "nothing" && deleted["doubt"].is_string(), "{deleted}");
    let free = (target.url(2), "free".to_owned(), None);
    ensure!(desk.disks("san")?.contains(&free), "{:?}", desk.disks("san")?);

    // A target that is away takes nothing from the records.
    target.kill();
    let away = mezame.run(&["volume", "delete", "two", "-p", "a"]).unwrap_err().to_string();
    ensure!(away.contains("can't be read"), "{away}");
    ensure!(desk.json(&["volume", "show", "two"])?["state"] == "ready");
    target.restart();
    mezame.run(&["volume", "delete", "two", "-p", "a"])?;
    Ok(())
}
