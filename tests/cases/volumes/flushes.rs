//! A running guest's volumes, held to their limits from the first write on and flushed by the host, across
//! a kill of the daemon and one of QEMU.

use std::collections::BTreeMap;

use anyhow::bail;
use mezame_tests::wait::{self, A_BOOT, SOON};

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

    /// How many volumes are in a state, by the metrics.
    fn flushed(&mut self, state: &str) -> Result<String> {
        let metrics = self.lab.server().metrics()?;
        let label = format!("state=\"{state}\"");
        Ok(metrics.sum("mezame_volumes_flushed", &[&label]).to_string())
    }
}

/// That every second write, from the first one on, is held to four a second.
fn held(guest: &mut Background) -> Result<()> {
    let mut begin = Instant::now();
    wait::until("acknowledged writes", A_BOOT, || {
        let now = Instant::now();
        let writes = acknowledged(&guest.log())?.len();
        if writes == 0 {
            begin = now;
        }
        // Some are saved up, or were under way at the beginning.
        let (count, elapsed) = (writes / 2, begin.elapsed());
        let least = Duration::from_millis(250) * u32::try_from(count.saturating_sub(3))?;
        if elapsed < least {
            return Ok(Some((count, elapsed)));
        }
        guest.ensure_running()?;
        ensure!(writes >= 24, "{writes}");
        Ok(None)
    })?
    .map_or(Ok(()), |(count, elapsed)| bail!("{count} writes within {elapsed:?}"))
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
    create("one", &["--class", "bounded", "--flush-interval", "5s", "--limit-iops", "4"])?;
    create("two", &["--class", "flush-honouring", "--limit-iops", "5000"])?;
    ensure!(create("bad", &["--class", "bounded", "--flush-interval", "50ms"]).is_err());

    // Nothing but this is said before the guest's start.
    let qmp = desk.path("qmp");
    let mut qemu = desk.machine(["one", "two"], &["--qmp", text(&qmp)])?;
    for disk in ["one", "two"] {
        ensure!(desk.json(&["volume", "show", disk])?["flush"]["state"] == "waiting");
    }
    ensure!(desk.flushed("waiting")? == "1");
    let mut guest = Background::start("the writing guest", qemu.arg("-S"), &desk.path("console"))?;
    let is_kept = |it: &Value| it["flush"]["state"] == "kept";
    let kept = desk.until("one", is_kept)?;
    ensure!(kept["flush_ms"] == 5000, "{kept}");
    // One of a class that is not flushed has its limits, and that was all.
    desk.until("two", |it| it.get("flush").is_none())?;
    ensure!((desk.iops("one")?, desk.iops("two")?) == (json!(4), json!(5000)));
    let said = mezame.run(&["volume", "flush", "one", "two", "-p", "a"])?;
    ensure!(said.contains("one: within 5s: kept") && said.contains("two: its class"), "{said}");
    ensure!(desk.flushed("kept")? == "1" && desk.flushed("waiting")? == "0");
    ensure!(acknowledged(&guest.log())?.is_empty(), "it runs though it was not let go on");
    desk.qmp()?.execute("cont", json!({}))?;
    held(&mut guest)?;
    // Its limits are changed without a word of its monitor, and so are those of one that is not flushed.
    for (disk, limit) in [("one", 10), ("two", 6000)] {
        let iops = limit.to_string();
        mezame.run(&["volume", "limits", disk, "-p", "a", "--limit-iops", &iops])?;
        wait::until("the other limit", SOON, || {
            let iops = desk.iops(disk)?;
            ensure!(iops == limit, "{iops}");
            Ok(())
        })?;
    }

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
