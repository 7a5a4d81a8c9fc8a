//! Volumes made images, and restored in place.

use super::*;
use crate::durability::guest::acknowledged;

/// A guest that has written to two volumes, twice, and what was taken of it on the way.
struct Taken {
    /// A backup of the first volume, and a capture of it that the running guest wrote on after.
    backup: String,
    running: String,
}

fn image_of(said: &str) -> Result<String> {
    let id = said.lines().find(|line| line.starts_with("img-")).context("no image is named")?;
    Ok(id.to_owned())
}

impl Desk {
    fn take(&self) -> Result<Taken> {
        for disk in ["one", "two"] {
            self.mezame.run(&["volume", "create", disk, "--image", "blank", "-p", "a", "-q"])?;
        }
        let mut guest = self.start(["one", "two"], &[])?;
        until_written(&mut guest, 6)?;
        let backups = self.back_up(&["one"])?;
        let backup = backups[0]["id"].as_str().context("no id")?.to_owned();
        // What a guest runs on is neither captured as if it were stopped nor restored.
        for words in [
            &["volume", "capture", "one", "--name", "no", "-p", "a", "-q"][..],
            &["volume", "restore", "one", "--image", &backup, "-p", "a", "-q"],
        ] {
            let refused = self.mezame.run(words).unwrap_err();
            ensure!(refused.to_string().contains("stop its guest"), "{refused}");
        }
        let qmp = self.path("qmp");
        let qmp = text(&qmp);
        let words = ["volume", "capture", "one", "--name", "now", "--qmp", qmp, "-p", "a", "-q"];
        let running = image_of(&self.mezame.run(&words)?)?;
        until_written(&mut guest, 12)?;
        // The capture is no backup: the next one goes on from the last.
        let next = self.back_up(&["one"])?;
        ensure!(next[0]["read"] == "incremental", "{next:?}");
        guest.kill()?;
        Ok(Taken { backup, running })
    }

    fn made_of(&self, image: &str, volume: &str) -> Result<Vec<u8>> {
        self.mezame.run(&["volume", "create", volume, "--image", image, "-p", "a", "-q"])?;
        self.read(volume)
    }

    fn files(&self) -> Result<Vec<String>> {
        let there = fs::read_dir(self.path("volumes/pool"))?;
        Ok(there.map(|it| it.unwrap().file_name().to_string_lossy().into_owned()).collect())
    }
}

#[test]
fn a_volume_is_captured_running_and_stopped_and_restored_in_place_each_way() -> Result<()> {
    let desk = Desk::lay("a")?;
    let mezame = desk.mezame.clone();
    let Taken { backup, running } = desk.take()?;
    let words = ["volume", "capture", "one", "--name", "golden", "--sealed", "-p", "a", "-q"];
    let stopped = image_of(&mezame.run(&words)?)?;
    let shown = desk.json(&["image", "show", "golden"])?;
    ensure!(shown["kind"] == "captured", "{shown}");
    ensure!(shown["labels"]["capture.sealed"] == "agent", "{shown}");
    ensure!(shown["labels"]["capture.state"] == "stopped", "{shown}");

    // The kill took nothing of what is in the image, and later writes are in no earlier image.
    let last = desk.read("one")?;
    ensure!(desk.made_of(&stopped, "copy")? == last, "the capture differs");
    let then = desk.made_of(&backup, "then")?;
    let between = desk.made_of(&running, "between")?;
    let (first, second, third) = (writes(&then, 0), writes(&between, 0), writes(&last, 0));
    ensure!(first >= 2 && first <= second && second < third, "{first} {second} {third}");

    mezame.run(&["volume", "restore", "one", "--image", &backup, "-p", "a", "-q"])?;
    ensure!(desk.read("one")? == then, "the restored volume differs from the backup");
    let shown = desk.json(&["volume", "show", "one"])?;
    ensure!(shown["class"] == "plain" && shown["image"] == *backup, "{shown}");
    // A guest runs on it, and its backup reads all.
    let mut guest = desk.start(["one", "two"], &[])?;
    // Its console goes on where the last guest's ended.
    let before = acknowledged(&guest.log())?.len();
    until_written(&mut guest, before + 4)?;
    let after = desk.back_up(&["one"])?;
    let read = after[0]["read"].as_str().unwrap_or_default();
    ensure!(read.starts_with("all: "), "{after:?}");
    guest.kill()?;

    mezame.run(&["volume", "restore", "one", "--image", "golden", "--over", "-p", "a", "-q"])?;
    ensure!(desk.read("one")? == last, "what was written over differs");
    let before = desk.files()?.len();
    let keep = ["volume", "restore", "one", "--image", &backup, "--keep-old", "-p", "a", "-q"];
    mezame.run(&keep)?;
    ensure!(desk.read("one")? == then);
    ensure!(desk.files()?.len() == before + 1, "{:?}", desk.files()?);
    mezame.run(&["volume", "delete", "one", "-p", "a"])?;
    Ok(())
}

#[test]
fn a_volume_that_is_half_restored_is_not_opened_until_it_is_restored() -> Result<()> {
    let mut desk = Desk::lay("a")?;
    let mezame = desk.mezame.clone();
    mezame.run(&["volume", "create", "one", "--image", "blank", "-p", "a", "-q"])?;
    let image = desk.json(&["volume", "show", "one"])?["image"].as_str().unwrap().to_owned();
    mezame.run(&["volume", "restore", "one", "--image", "blank", "-p", "a", "-q"])?;
    // What a process leaves that is killed while it writes over a volume.
    let records = desk.lab.place.state().join("restores");
    let record = json!({ "image": image, "way": "over" }).to_string();
    fs::write(records.join("one.json"), &record)?;
    for words in [
        &["volume", "open", "one", "-p", "a"][..],
        &["volume", "capture", "one", "--name", "half", "-p", "a", "-q"],
        // It can't be given up either: what it was is gone.
        &["volume", "restore", "one", "--cancel", "-p", "a"],
    ] {
        let refused = mezame.run(words).unwrap_err();
        ensure!(refused.to_string().contains("half restored"), "{refused}");
    }
    // Nor after a restart.
    desk.lab.server().process.kill()?;
    let (archive, volumes) = (desk.path("archive"), desk.path("volumes"));
    let flags = ["--standalone", "--image-archive", text(&archive), "--volumes", text(&volumes)];
    desk.lab.server = Some(desk.lab.place.start_with(&flags)?);
    ensure!(mezame.run(&["volume", "open", "one", "-p", "a"]).is_err());
    mezame.run(&["volume", "restore", "one", "--image", "blank", "--over", "-p", "a", "-q"])?;
    ensure!(desk.read("one")? == repeated("nothing yet", DISK));

    // One that was cut short beside is given up, and a volume that is deleted leaves no record.
    let part = desk.path("volumes/pool/one.restored-9.raw");
    fs::write(&part, "a part")?;
    let way = json!({ "clone": { "new": part, "removed": null } });
    let record = json!({ "image": image, "way": way }).to_string();
    fs::write(records.join("one.json"), &record)?;
    ensure!(desk.read("one")?.len() == DISK);
    mezame.run(&["volume", "restore", "one", "--cancel", "-p", "a"])?;
    ensure!(!part.exists() && !records.join("one.json").exists());
    fs::write(&part, "a part")?;
    fs::write(records.join("one.json"), &record)?;
    mezame.run(&["volume", "delete", "one", "-p", "a"])?;
    ensure!(!part.exists() && fs::read_dir(records)?.count() == 0);
    Ok(())
}
