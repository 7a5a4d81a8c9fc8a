//! A running guest's volumes flushed by the host, across a kill of the daemon and one of QEMU.

use std::collections::BTreeMap;

use super::*;
use crate::durability::guest::acknowledged;

/// How long a write may wait. Long, so that a busy host keeps it.
const BOUND: Duration = Duration::from_secs(5);

impl Desk {
    /// What is shown of a volume, once that is so.
    fn until(&self, volume: &str, is_so: impl Fn(&Value) -> bool) -> Result<Value> {
        let until = Instant::now() + Duration::from_secs(180);
        loop {
            let shown = self.json(&["volume", "show", volume])?;
            if is_so(&shown) {
                return Ok(shown);
            }
            ensure!(Instant::now() < until, "not in time: {shown}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// What the guest may do with a disk, as QEMU has it.
    fn iops(&self, disk: &str) -> Result<Value> {
        let blocks = self.qmp()?.execute("query-block", json!({}))?;
        let mut of = blocks.as_array().into_iter().flatten().map(|block| &block["inserted"]);
        let found = of.find(|it| it["node-name"] == disk).context("no such disk")?;
        Ok(found["iops"].clone())
    }
}

#[test]
fn a_bounded_volume_loses_no_more_than_its_interval_though_the_daemon_was_killed_before()
-> Result<()> {
    let mut desk = Desk::lay("a")?;
    let mezame = desk.mezame.clone();
    let create = |id: &str, words: &[&str]| {
        let of = ["volume", "create", id, "--image", "blank", "-p", "a", "-q"];
        mezame.run(&[&of[..], words].concat())
    };
    let limit = ["--limit-iops", "5000"];
    create("one", &["--class", "bounded", "--flush-interval", "5s"])?;
    create("two", &[&["--class", "flush-honouring"][..], &limit].concat())?;
    ensure!(create("bad", &["--class", "bounded", "--flush-interval", "50ms"]).is_err());

    // Nothing but this is said before the guest's start.
    let qmp = desk.path("qmp");
    let mut guest = desk.start(["one", "two"], &["--qmp", text(&qmp)])?;
    let is_kept = |it: &Value| it["flush"]["state"] == "kept";
    let kept = desk.until("one", is_kept)?;
    ensure!(kept["flush_ms"] == 5000, "{kept}");
    // One of a class that is not flushed has its limits, and that was all.
    desk.until("two", |it| it.get("flush").is_none())?;
    ensure!((desk.iops("one")?, desk.iops("two")?) == (json!(0), json!(5000)));
    let said = mezame.run(&["volume", "flush", "one", "two", "-p", "a"])?;
    ensure!(said.contains("one: within 5s: kept") && said.contains("two: its class"), "{said}");
    let metrics = desk.lab.server().metrics()?;
    ensure!(metrics.sum("mezame_volumes_flushed", &["state=\"kept\""]) > 0.5);
    until_written(&mut guest, 10)?;

    desk.lab.server().process.kill()?;
    let before = acknowledged(&guest.log())?.len();
    until_written(&mut guest, before + 4)?;
    let (archive, volumes) = (desk.path("archive"), desk.path("volumes"));
    let flags = ["--standalone", "--image-archive", text(&archive), "--volumes", text(&volumes)];
    desk.lab.server = Some(desk.lab.place.start_with(&flags)?);
    // The next daemon goes on by itself.
    let then = desk.until("one", is_kept)?["flush"]["flushes"].as_u64();
    desk.until("one", |it| is_kept(it) && it["flush"]["flushes"].as_u64() > then)?;

    // When each acknowledgement was read, which is late at most.
    let mut seen: BTreeMap<u64, Instant> = BTreeMap::new();
    let until = Instant::now() + Duration::from_secs(180);
    let old = |seen: &BTreeMap<u64, Instant>, now: Instant| -> Vec<u64> {
        let is_old = |at: &Instant| now.saturating_duration_since(*at) > BOUND;
        seen.iter().filter(|(_, at)| is_old(at)).map(|(number, _)| *number).collect()
    };
    let first = acknowledged(&guest.log())?.len() as u64;
    while !old(&seen, Instant::now()).iter().any(|number| *number > first + 40) {
        ensure!(Instant::now() < until, "the guest writes too slowly");
        let now = Instant::now();
        for number in acknowledged(&guest.log())? {
            seen.entry(number).or_insert(now);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let lates = desk.until("one", is_kept)?["flush"]["lates"].clone();
    let killed = Instant::now();
    guest.kill()?;
    // It is over by itself.
    desk.until("one", |it| it.get("flush").is_none())?;

    let old = old(&seen, killed);
    let must = |parity: u64| old.iter().filter(|number| *number % 2 == parity).count() as u64;
    let there = [("one", 0), ("two", 1)].map(|(disk, parity)| {
        let bytes = desk.read(disk)?;
        anyhow::Ok(writes(&bytes, parity))
    });
    let [one, two] = there;
    let (one, two) = (one?, two?);
    ensure!(one >= must(0), "{one} of {} writes are there, {lates} times late", must(0));
    // What is not flushed shows that there was something to lose.
    ensure!(two < must(1), "{two} of {} unflushed writes are there", must(1));
    Ok(())
}
