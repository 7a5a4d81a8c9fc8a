//! `clone.100`, `clone.space`: a hundred clones of one master, against as many bare overlays that
//! `qemu-img create` makes.
//!
//! Ours are durable with their records when the clock stops, and the empty clone that they are
//! copies of is made within it. The bare ones are what the tool leaves behind.

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt,
    path::Path,
    time::Instant,
};

use anyhow::{Context, Result};
use mezame_images::{
    clone::{Master, Pool},
    volume::{Format, VolumeId},
};
use mezame_tests::process;

use crate::{pinned::Cpu, row::Row, sample::median};

const CLONES: usize = 100;
const ROUNDS: usize = 9;
/// The master's length: 10 GiB, nearly all of them holes.
const SIZE: u64 = 10 << 30;

/// Measures the rows.
pub fn measure(_: Cpu) -> Result<Vec<Row>> {
    let directory = tempfile::tempdir()?;
    let image = directory.path().join("image");
    File::create(&image)?.set_len(SIZE)?;
    let master = Master::seal(&image, Format::Raw, &directory.path().join("master"))?;
    let ids: Vec<VolumeId> = (0..CLONES)
        .map(|number| VolumeId::parse(&format!("clone-{number}")))
        .collect::<Result<_, _>>()?;
    let (mut times, mut bare_times, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let (mut space, mut bare_space) = (0, 0);
    for round in 0..=ROUNDS {
        let (mut ours, mut bare) = (0.0, 0.0);
        for is_ours in if round % 2 == 0 { [true, false] } else { [false, true] } {
            let pool = tempfile::tempdir_in(directory.path())?;
            let ours_pool = Pool::create(pool.path())?;
            let begin = Instant::now();
            if is_ours {
                let clones = master.clone_into(&ours_pool, &ids)?;
                ours = begin.elapsed().as_secs_f64() * 1e3;
                space = occupied(pool.path())? + occupied(&pool.path().join("templates"))?;
                clones.iter().try_for_each(|clone| master.remove_clone(clone))?;
            } else {
                let backing = master.backing().place;
                let backing = backing.path().context("a master in a file")?;
                for id in &ids {
                    let mut create = process::command("qemu-img");
                    create.args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"]).arg(backing);
                    process::succeed(create.arg(pool.path().join(id.as_str())))?;
                }
                bare = begin.elapsed().as_secs_f64() * 1e3;
                bare_space = occupied(pool.path())?;
            }
        }
        // The first warms up.
        if round > 0 {
            times.push(ours);
            bare_times.push(bare);
            ratios.push(ours / bare);
        }
    }
    let middle = |values: &[f64]| median(values).context("no round");
    let (space, bare_space) = (space as f64 / 1024.0, bare_space as f64 / 1024.0);
    Ok(vec![
        Row::beside(
            "clone.100",
            middle(&times)?,
            "ms",
            middle(&ratios)?,
            format!("qemu-img create: {:.0} ms", middle(&bare_times)?),
        ),
        Row::beside(
            "clone.space",
            space,
            "KiB",
            space / bare_space,
            format!("qemu-img create: {bare_space:.0} KiB"),
        ),
    ])
}

/// What a directory's files take of their file system, in bytes.
fn occupied(directory: &Path) -> Result<u64> {
    let mut all = 0;
    for entry in fs::read_dir(directory)? {
        let metadata = entry?.metadata()?;
        if metadata.is_file() {
            all += metadata.blocks() * 512;
        }
    }
    Ok(all)
}
